//! `genai_config.json`: what ONNX Runtime GenAI is told about a language model in a folder.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::hf_config::{MAX_CONFIG_BYTES, read_small};
use super::open::is_plain_name;
use super::python_json::from_python_json;
use crate::error::{Error, Result};

/// The name of the file.
pub const GENAI_CONFIG: &str = "genai_config.json";
/// The most layers of a model; the largest known one has 126.
const MAX_LAYERS: usize = 4096;
/// The most heads, and the longest vectors of one: sizes made of them do not overflow.
const MAX_HEADS: usize = 4096;
const MAX_HEAD_DIM: usize = 1 << 16;

/// A language model as `genai_config.json` describes it.
///
/// Source of names and defaults: src/config.h, onnxruntime-genai 0.18.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenaiConfig {
    /// The type of the model: `llama`.
    pub model_type: String,
    /// Entries of the vocabulary, and the length of a row of logits.
    pub n_vocab: u32,
    /// Tokens of the longest text: the rows of its tables of rotary angles.
    pub n_ctx: u32,
    /// Tokens that end a text; empty where none is named.
    pub ends: BTreeSet<u32>,
    /// The file with the network, in the same folder.
    pub model_file: String,
    /// Heads of keys and values of each layer.
    pub n_kv_heads: usize,
    /// Length of each head's vectors.
    pub head_dim: usize,
    /// Names of the graph's inputs and outputs.
    pub names: GenaiNames,
    /// Whether the keys and values of all tokens lie in memory that the graph writes the new ones into.
    pub shares_buffers: bool,
    /// Execution providers that it names beside the CPU's: `cuda`.
    pub providers: Vec<String>,
}

/// Names of the inputs and outputs of a decoder's graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenaiNames {
    /// Token ids, `[1, n_tokens]`.
    pub input_ids: String,
    /// Ones, `[1, n_past + n_tokens]`.
    pub attention_mask: String,
    /// Positions, `[1, n_tokens]`; few graphs want them.
    pub position_ids: String,
    /// Logits, `[1, n_tokens, n_vocab]`.
    pub logits: String,
    /// `(past, present)` of the keys and of the values of each layer in turn, `[1, n_kv_heads, n_tokens, head_dim]`.
    pub caches: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct File {
    model: ModelPart,
    #[serde(default)]
    search: SearchPart,
}

#[derive(Deserialize)]
struct ModelPart {
    #[serde(rename = "type", default)]
    model_type: String,
    vocab_size: u32,
    context_length: u32,
    #[serde(default)]
    eos_token_id: Value,
    decoder: DecoderPart,
    #[serde(default)]
    encoder: Value,
    #[serde(default)]
    embedding: Value,
    #[serde(default)]
    vision: Value,
    #[serde(default)]
    speech: Value,
}

#[derive(Deserialize)]
struct DecoderPart {
    filename: String,
    num_hidden_layers: usize,
    num_key_value_heads: usize,
    head_size: usize,
    #[serde(default)]
    inputs: InputsPart,
    #[serde(default)]
    outputs: OutputsPart,
    #[serde(default)]
    session_options: SessionPart,
    #[serde(default)]
    pipeline: Value,
}

#[derive(Deserialize, Default)]
struct SearchPart {
    #[serde(default)]
    past_present_share_buffer: bool,
}

#[derive(Deserialize, Default)]
struct SessionPart {
    #[serde(default)]
    provider_options: Vec<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(default)]
struct InputsPart {
    input_ids: String,
    attention_mask: String,
    position_ids: String,
    past_key_names: String,
    past_value_names: String,
}

impl Default for InputsPart {
    fn default() -> Self {
        Self {
            input_ids: "input_ids".into(),
            attention_mask: "attention_mask".into(),
            position_ids: "position_ids".into(),
            past_key_names: "past_key_values.%d.key".into(),
            past_value_names: "past_key_values.%d.value".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct OutputsPart {
    logits: String,
    present_key_names: String,
    present_value_names: String,
}

impl Default for OutputsPart {
    fn default() -> Self {
        Self {
            logits: "logits".into(),
            present_key_names: "present.%d.key".into(),
            present_value_names: "present.%d.value".into(),
        }
    }
}

/// Reads `genai_config.json` of a folder.
///
/// # Errors
/// As `read_small`; `Error::DamagedFile` for what is missing or makes no sense; `Error::UnsupportedFormat` for a model of several
/// networks, such as one that sees or hears.
pub fn read_genai_config(folder: &Path) -> Result<GenaiConfig> {
    let path = folder.join(GENAI_CONFIG);
    let bytes = read_small(&path, GENAI_CONFIG, MAX_CONFIG_BYTES)?;
    let damaged = |what: String| Error::DamagedFile { format: GENAI_CONFIG, what, path: path.clone() };
    let File { model, search } = from_python_json(&bytes).map_err(damaged)?;
    let others =
        [("encoder", &model.encoder), ("embedding", &model.embedding), ("vision", &model.vision), ("speech", &model.speech)];
    let has_file = |part: &Value| part.get("filename").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if let Some((name, _)) = others.into_iter().find(|(_, part)| has_file(part)) {
        let what = format!("a model for ONNX Runtime of several networks, one of them its {name}");
        return Err(Error::UnsupportedFormat { what, path: folder.to_path_buf() });
    }
    if model.decoder.pipeline.as_array().is_some_and(|parts| !parts.is_empty()) {
        let what = "a model for ONNX Runtime whose decoder is a chain of several networks".into();
        return Err(Error::UnsupportedFormat { what, path: folder.to_path_buf() });
    }
    config_of(model, &search).map_err(damaged)
}

fn config_of(model: ModelPart, search: &SearchPart) -> std::result::Result<GenaiConfig, String> {
    let decoder = model.decoder;
    let numbers = [
        ("vocab_size", model.vocab_size as usize),
        ("context_length", model.context_length as usize),
        ("num_hidden_layers", decoder.num_hidden_layers),
        ("num_key_value_heads", decoder.num_key_value_heads),
        ("head_size", decoder.head_size),
    ];
    if let Some((name, _)) = numbers.iter().find(|(_, number)| *number == 0) {
        return Err(format!("{name} is 0"));
    }
    let limits = [
        ("num_hidden_layers", decoder.num_hidden_layers, MAX_LAYERS),
        ("num_key_value_heads", decoder.num_key_value_heads, MAX_HEADS),
        ("head_size", decoder.head_size, MAX_HEAD_DIM),
    ];
    if let Some((name, number, most)) = limits.into_iter().find(|(_, number, most)| number > most) {
        return Err(format!("{name} is {number}, at most {most} are read"));
    }
    if !is_plain_name(&decoder.filename) {
        return Err(format!("it names a file that is not in its folder: {}", decoder.filename.escape_debug()));
    }
    let (inputs, outputs) = (decoder.inputs, decoder.outputs);
    let of_layers =
        [(&inputs.past_key_names, &outputs.present_key_names), (&inputs.past_value_names, &outputs.present_value_names)];
    if let Some(name) = of_layers.iter().flat_map(|(past, present)| [*past, *present]).find(|name| !name.contains("%d")) {
        return Err(format!("the name {:?} of keys or values has no %d for the layer", name.escape_debug().to_string()));
    }
    let named = |name: &str, layer_idx: usize| name.replacen("%d", &layer_idx.to_string(), 1);
    let caches = (0..decoder.num_hidden_layers)
        .flat_map(|layer_idx| of_layers.map(|(past, present)| (named(past, layer_idx), named(present, layer_idx))))
        .collect();
    let providers = decoder.session_options.provider_options.iter().flat_map(|options| options.keys().cloned());
    Ok(GenaiConfig {
        model_type: model.model_type,
        n_vocab: model.vocab_size,
        n_ctx: model.context_length,
        ends: token_ids(&model.eos_token_id).into_iter().collect(),
        model_file: decoder.filename,
        n_kv_heads: decoder.num_key_value_heads,
        head_dim: decoder.head_size,
        names: GenaiNames {
            input_ids: inputs.input_ids,
            attention_mask: inputs.attention_mask,
            position_ids: inputs.position_ids,
            logits: outputs.logits,
            caches,
        },
        shares_buffers: search.past_present_share_buffer,
        providers: providers.filter(|name| !name.eq_ignore_ascii_case("cpu")).collect(),
    })
}

/// The ids in a number or a list of numbers, in their order; what is none is left out.
#[must_use]
pub fn token_ids(value: &Value) -> Vec<u32> {
    let all = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    all.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: &Value) -> Result<GenaiConfig> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(GENAI_CONFIG), config.to_string()).unwrap();
        read_genai_config(dir.path())
    }

    fn least() -> Value {
        let decoder = json!({ "filename": "model.onnx", "num_hidden_layers": 2, "num_key_value_heads": 3, "head_size": 64 });
        json!({ "model": { "type": "llama", "vocab_size": 320, "context_length": 512, "eos_token_id": 2, "decoder": decoder } })
    }

    #[test]
    fn names_that_are_not_stated_are_those_of_genai() {
        let config = read(&least()).unwrap();
        assert_eq!((config.model_type.as_str(), config.n_vocab, config.n_ctx), ("llama", 320, 512));
        assert_eq!((config.model_file.as_str(), config.n_kv_heads, config.head_dim), ("model.onnx", 3, 64));
        assert_eq!((config.shares_buffers, config.ends), (false, BTreeSet::from([2])));
        assert_eq!((config.names.input_ids.as_str(), config.names.logits.as_str()), ("input_ids", "logits"));
        let caches: Vec<(&str, &str)> = config.names.caches.iter().map(|(past, new)| (past.as_str(), new.as_str())).collect();
        let expected = [
            ("past_key_values.0.key", "present.0.key"),
            ("past_key_values.0.value", "present.0.value"),
            ("past_key_values.1.key", "present.1.key"),
            ("past_key_values.1.value", "present.1.value"),
        ];
        assert_eq!(caches, expected);
    }

    #[test]
    fn what_is_stated_counts() {
        let mut config = least();
        config["model"]["eos_token_id"] = json!([7, 9]);
        config["model"]["decoder"]["inputs"] = json!({ "input_ids": "ids", "past_key_names": "k_%d" });
        config["model"]["decoder"]["session_options"] = json!({ "provider_options": [{ "cuda": { "enable_cuda_graph": "0" } }] });
        config["search"] = json!({ "past_present_share_buffer": true });
        let config = read(&config).unwrap();
        assert_eq!((config.ends, config.shares_buffers), (BTreeSet::from([7, 9]), true));
        assert_eq!((config.names.input_ids.as_str(), config.names.attention_mask.as_str()), ("ids", "attention_mask"));
        assert_eq!(config.names.caches[2], ("k_1".to_string(), "present.1.key".to_string()));
        assert_eq!(config.providers, ["cuda"]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let check = |at: &[&str], value: Value, expected: &str| {
            let mut config = least();
            let mut place = &mut config;
            for key in at {
                place = &mut place[*key];
            }
            *place = value;
            let error = read(&config).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&["model", "vocab_size"], json!(0), "vocab_size is 0");
        check(&["model", "vocab_size"], json!(-1), "-1");
        check(&["model", "context_length"], json!("many"), "many");
        check(&["model", "decoder"], json!(null), "null");
        check(&["model", "decoder", "filename"], json!("../model.onnx"), "not in its folder");
        check(&["model", "decoder", "filename"], json!("/etc/passwd"), "not in its folder");
        check(&["model", "decoder", "num_hidden_layers"], json!(1_000_000_000), "at most 4096");
        check(&["model", "decoder", "head_size"], json!(u64::MAX), "at most 65536");
        check(&["model", "decoder", "inputs"], json!({ "past_key_names": "past" }), "no %d");
        check(&["model", "vision"], json!({ "filename": "vision.onnx" }), "its vision");
        check(&["model", "decoder", "pipeline"], json!([{ "embeddings": {} }]), "chain of several networks");
        assert!(matches!(read(&json!([])), Err(Error::DamagedFile { .. })));
    }
}
