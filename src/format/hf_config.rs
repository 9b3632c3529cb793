//! `config.json` of a Hugging Face checkpoint → the shape of the network.

use std::cell::RefCell;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::class_defaults::fill_in;
use super::config_value::{flag_of, number_of, whole_of};
use super::open::open_regular;
use super::python_json::from_python_json;
use crate::error::{Error, HEAD_BYTES, Placeholder, Result};
use crate::model::{CheckpointConfig, QuantizationMethod, SourceQuantization};

/// Largest `config.json` that is read. Real ones have a few thousand bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Longest text that is kept.
const MAX_TEXT_CHARS: usize = 64;

/// The bytes of a small text file; one larger than `max_bytes` is refused before it is read.
///
/// # Errors
/// `Error::Placeholder` for what stands in for a file that was not fetched, else as `read_any_small`.
pub(crate) fn read_small(path: &Path, format: &'static str, max_bytes: u64) -> Result<Vec<u8>> {
    let bytes = read_any_small(path, format, max_bytes)?;
    match Placeholder::of_text(bytes.get(..HEAD_BYTES).unwrap_or(&bytes)) {
        Some(found) => Err(Error::Placeholder { found, path: path.to_path_buf() }),
        None => Ok(bytes),
    }
}

/// The same for any content: a model card may be empty or begin like a web page.
///
/// # Errors
/// As `open_regular`; `Error::DamagedFile` for a file that is too large.
pub(super) fn read_any_small(path: &Path, format: &'static str, max_bytes: u64) -> Result<Vec<u8>> {
    let (file, size_bytes) = open_regular(path)?;
    if size_bytes > max_bytes {
        let what = format!("it has {size_bytes} bytes, at most {max_bytes} are read");
        return Err(Error::DamagedFile { format, what, path: path.to_path_buf() });
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile must not fill the memory.
    file.take(max_bytes).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Reads `config.json`.
///
/// # Errors
/// As `read_small`; `Error::DamagedFile` when it is not a JSON object.
pub(crate) fn read_config(path: &Path) -> Result<CheckpointConfig> {
    let bytes = read_small(path, "config.json", MAX_CONFIG_BYTES)?;
    config_from_json(&bytes).map_err(|what| Error::DamagedFile { format: "config.json", what, path: path.to_path_buf() })
}

/// Model types whose head is the embedding unless the file says otherwise.
const TIED_BY_DEFAULT: [&str; 8] = ["gpt2", "gemma2", "gemma3", "gemma3_text", "falcon", "starcoder2", "smollm3", "bert"];
/// Keys that only models with an image encoder have.
const VISION_KEYS: [&str; 4] = ["vision_config", "vision_tower", "mm_vision_tower", "visual"];

/// The class of the model; empty where the file names none.
fn class_name_of(root: &Map<String, Value>) -> String {
    let name = match root.get("architectures") {
        Some(Value::Array(names)) => names.first().and_then(Value::as_str),
        // As people write it by hand.
        Some(Value::String(name)) => Some(name.as_str()),
        _ => None,
    };
    name.map(short).unwrap_or_default()
}

/// Reads the text of a `config.json`. A number that is missing is 0; so is one that cannot be read, which `odd_values` lists.
///
/// Source of the names: `attribute_map` in the `configuration_*.py` of transformers 4.57.6.
fn config_from_json(bytes: &[u8]) -> std::result::Result<CheckpointConfig, String> {
    let root: Map<String, Value> = from_python_json(bytes)?;
    // Models with an image encoder keep the language model's settings under a key of their own.
    let part = ["text_config", "llm_config"].iter().find_map(|key| root.get(*key).and_then(Value::as_object));
    let model_type = root.get("model_type").and_then(Value::as_str).map(short).unwrap_or_default();
    let mut json = merged(&root, part);
    let part_type = part.and_then(|part| part.get("model_type")?.as_str());
    fill_in(&mut json, part_type.unwrap_or(&model_type));
    let value = |key: &str| json.get(key).filter(|value| !value.is_null());
    let odd_values = RefCell::new(Vec::new());
    let complain = |key: &str, what: String| odd_values.borrow_mut().push(format!("{key} is {what},"));
    let number = |keys: &[&str]| {
        let found = keys.iter().find_map(|&key| Some((key, value(key)?)));
        let whole = found.and_then(|(key, value)| {
            whole_of(value).unwrap_or_else(|what| {
                complain(key, what);
                None
            })
        });
        whole.unwrap_or(0)
    };
    let text = |key: &str| value(key).and_then(Value::as_str).map(short);
    let is_true = |key: &str| {
        flag_of(value(key)?).unwrap_or_else(|what| {
            complain(key, what);
            None
        })
    };
    // Every family that needs the number reads it again and complains then.
    let quiet_number = |keys: &[&str]| keys.iter().find_map(|key| whole_of(value(key)?).ok()?).unwrap_or(0);
    let n_embd = number(&["hidden_size", "n_embd", "d_model"]);
    let n_heads = number(&["num_attention_heads", "n_head", "num_heads"]);
    // Falcon's first decoder has one key head for all queries, whatever the number says.
    let is_multi_query = model_type == "falcon"
        && is_true("multi_query").unwrap_or(false)
        && !is_true("new_decoder_architecture").unwrap_or(false);
    let n_kv_heads = match number(&["num_key_value_heads", "num_kv_heads", "n_head_kv"]) {
        _ if is_multi_query => 1,
        0 => n_heads,
        n => n,
    };
    let head_dim = match number(&["head_dim"]) {
        0 => n_embd.checked_div(n_heads).unwrap_or(0),
        n => n,
    };
    // GPT-2 leaves it out when it is four times the width.
    let n_ff = match number(&["intermediate_size", "n_inner", "ffn_hidden_size", "d_ff"]) {
        0 if matches!(model_type.as_str(), "gpt2" | "falcon") => n_embd.saturating_mul(4),
        n => n,
    };
    // Since transformers 5 both the kind and the base are in `rope_parameters`.
    let rope = value("rope_parameters").or_else(|| value("rope_scaling")).and_then(Value::as_object);
    let rope_scaling = rope.and_then(|rope| rope.get("rope_type").or_else(|| rope.get("type"))?.as_str()).map(short);
    let rope_theta = rope.and_then(|rope| rope.get("rope_theta")).or_else(|| value("rope_theta"));
    let rope_theta = rope_theta.and_then(|theta| number_of(theta).ok().flatten());
    let uses_window = is_true("use_sliding_window").unwrap_or(true);
    let config = CheckpointConfig {
        n_layers: number(&["num_hidden_layers", "n_layer", "num_layers"]),
        n_embd,
        n_ff,
        n_heads,
        n_kv_heads,
        head_dim,
        n_ctx_train: quiet_number(&["max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"]),
        n_vocab: number(&["vocab_size"]),
        n_experts: number(&["num_local_experts", "num_experts", "n_routed_experts"]),
        // Some files say `false` where the class has no window.
        sliding_window: value("sliding_window")
            .filter(|window| **window != Value::Bool(false))
            .map(|_| number(&["sliding_window"]))
            .filter(|&window| window > 0 && uses_window),
        rope_theta,
        rope_scaling: rope_scaling.filter(|kind| kind != "default"),
        has_tied_embeddings: is_true("tie_word_embeddings").unwrap_or_else(|| TIED_BY_DEFAULT.contains(&model_type.as_str())),
        has_attention_bias: is_true("attention_bias").unwrap_or(false),
        has_mlp_bias: is_true("mlp_bias").unwrap_or(false),
        torch_dtype: text("torch_dtype").or_else(|| text("dtype")),
        quantization: stated_quantization(&root, &json),
        has_vision: VISION_KEYS.iter().any(|key| root.get(*key).is_some_and(|v| !v.is_null())),
        pooling: None,
        odd_values: Vec::new(),
        class_name: class_name_of(&root),
        model_type,
        json: json.clone(),
    };
    Ok(CheckpointConfig { odd_values: odd_values.into_inner(), ..config })
}

/// The root's entries, overlaid with the language model's; the root's `architectures` and `model_type` stay.
fn merged(root: &Map<String, Value>, part: Option<&Map<String, Value>>) -> Map<String, Value> {
    let is_inner = |key: &&String| !matches!(key.as_str(), "architectures" | "model_type");
    let inner = part.into_iter().flatten().filter(|(key, _)| is_inner(key));
    root.iter().chain(inner).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The quantization that the configuration states, whatever the tensors are.
fn stated_quantization(root: &Map<String, Value>, json: &Map<String, Value>) -> Option<SourceQuantization> {
    let is_there = |key: &&&str| root.get(**key).or_else(|| json.get(**key)).is_some_and(|value| !value.is_null());
    if let Some(key) = ["quantization_config", "compression_config"].iter().find(is_there) {
        return quantization(root.get(*key).or_else(|| json.get(*key))?);
    }
    // `mlx_lm.convert -q` writes a key of its own, and since 2025 the other one as well.
    let mlx = root.get("quantization")?.as_object().filter(|entries| entries.contains_key("group_size"))?;
    let bits = mlx.get("bits").and_then(|bits| whole_of(bits).ok()?);
    Some(SourceQuantization { method: QuantizationMethod::Mlx, name: "MLX".into(), bits })
}

fn quantization(value: &Value) -> Option<SourceQuantization> {
    let entries = value.as_object()?;
    let flag = |key: &str| entries.get(key).and_then(|flag| flag_of(flag).ok()?).unwrap_or(false);
    let (in_4_bits, in_8_bits) = (flag("load_in_4bit"), flag("load_in_8bit"));
    let name = match entries.get("quant_method").and_then(Value::as_str) {
        Some(name) => short(name),
        // bitsandbytes files from before 2023 do not name the method.
        None if in_4_bits || in_8_bits => "bitsandbytes".into(),
        None => "an unnamed method".into(),
    };
    let bits = entries.get("bits").or_else(|| entries.get("w_bit")).and_then(|bits| whole_of(bits).ok()?);
    let bits = match (bits, in_4_bits, in_8_bits) {
        (Some(bits), ..) => Some(bits),
        (None, true, _) => Some(4),
        (None, false, true) => Some(8),
        (None, false, false) => None,
    };
    Some(SourceQuantization { method: QuantizationMethod::from_name(&name), name, bits })
}

/// The start of a text, without control characters: it goes to the screen.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> CheckpointConfig {
        config_from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn llama_is_read() {
        let of = config(
            r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":576,"intermediate_size":1536,
            "num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"max_position_embeddings":8192,
            "vocab_size":49152,"rope_theta":100000,"rope_scaling":null,"tie_word_embeddings":true,"torch_dtype":"bfloat16"}"#,
        );
        assert_eq!((of.class_name.as_str(), of.model_type.as_str()), ("LlamaForCausalLM", "llama"));
        assert_eq!((of.n_layers, of.n_embd, of.n_ff, of.n_heads, of.n_kv_heads, of.head_dim), (30, 576, 1536, 9, 3, 64));
        assert_eq!((of.n_ctx_train, of.n_vocab, of.rope_theta, of.rope_scaling), (8192, 49152, Some(100_000.0), None));
        assert!(of.has_tied_embeddings && !of.has_attention_bias && of.quantization.is_none());
        assert_eq!(of.torch_dtype.as_deref(), Some("bfloat16"));
    }

    #[test]
    fn other_spellings_and_defaults_are_known() {
        let gpt2 = config(r#"{"model_type":"gpt2","n_embd":768,"n_layer":12,"n_head":12,"n_positions":1024,"vocab_size":50257}"#);
        assert_eq!((gpt2.n_layers, gpt2.n_embd, gpt2.n_ff, gpt2.head_dim, gpt2.n_ctx_train), (12, 768, 3072, 64, 1024));
        assert!(gpt2.has_tied_embeddings);
        let new = config(r#"{"rope_parameters":{"rope_type":"yarn","rope_theta":1e6},"dtype":"float16"}"#);
        assert_eq!(
            (new.rope_scaling.as_deref(), new.rope_theta, new.torch_dtype.as_deref()),
            (Some("yarn"), Some(1e6), Some("float16"))
        );
        let old = config(r#"{"rope_scaling":{"type":"linear","factor":2.0}}"#);
        assert_eq!(old.rope_scaling.as_deref(), Some("linear"));
        let plain = config(r#"{"rope_parameters":{"rope_type":"default","rope_theta":10000.0}}"#);
        assert_eq!((plain.rope_scaling, plain.rope_theta), (None, Some(10_000.0)));
        let vision = config(r#"{"vision_config":{"hidden_size":1},"text_config":{"hidden_size":640,"num_hidden_layers":18}}"#);
        assert!(vision.has_vision);
        assert_eq!((vision.n_embd, vision.n_layers), (640, 18));
        let unused = config(r#"{"sliding_window":4096,"use_sliding_window":false}"#);
        assert_eq!(unused.sliding_window, None);
        assert_eq!(config(r#"{"sliding_window":4096}"#).sliding_window, Some(4096));
    }

    #[test]
    fn quantizations_are_recognised() {
        let check = |json: &str, method, bits| {
            let found = config(&format!(r#"{{"quantization_config":{json}}}"#)).quantization;
            assert_eq!(found.map(|q| (q.method, q.bits)), Some((method, bits)), "{json}");
        };
        check(r#"{"quant_method":"gptq","bits":4,"group_size":128}"#, QuantizationMethod::Gptq, Some(4));
        check(r#"{"quant_method":"awq","w_bit":4}"#, QuantizationMethod::Awq, Some(4));
        check(r#"{"load_in_4bit":true,"load_in_8bit":false}"#, QuantizationMethod::BitsAndBytes, Some(4));
        check(r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#, QuantizationMethod::Fp8, None);
        check(r#"{"quant_method":"mxfp4"}"#, QuantizationMethod::Mxfp4, None);
        check(r#"{"quant_method":"compressed-tensors"}"#, QuantizationMethod::Other, None);
        assert_eq!(config(r#"{"quantization_config":null}"#).quantization, None);
        let mlx = config(r#"{"quantization":{"group_size":64,"bits":4}}"#).quantization.unwrap();
        assert_eq!((mlx.method, mlx.bits), (QuantizationMethod::Mlx, Some(4)));
    }

    #[test]
    fn numbers_in_every_spelling_are_read_and_others_told() {
        let of =
            config(r#"{"hidden_size":"64","num_hidden_layers":4.0,"num_attention_heads":"8.0","tie_word_embeddings":"true"}"#);
        assert_eq!((of.n_embd, of.n_layers, of.n_heads, of.head_dim, of.has_tied_embeddings), (64, 4, 8, 8, true));
        assert!(of.odd_values.is_empty());
        let check = |json: &str, expected: &[&str]| assert_eq!(config(json).odd_values, expected, "{json}");
        check(r#"{"hidden_size":-1}"#, &["hidden_size is -1, below 0,"]);
        check(r#"{"num_hidden_layers":18446744073709551615}"#, &["num_hidden_layers is 18446744073709551615, impossibly large,"]);
        check(r#"{"n_head":"many"}"#, &[r#"n_head is "many", not a whole number,"#]);
        check(
            r#"{"vocab_size":1.5,"mlp_bias":"perhaps"}"#,
            &["vocab_size is 1.5, not a whole number,", r#"mlp_bias is "perhaps", neither true nor false,"#],
        );
        check(r#"{"intermediate_size":true}"#, &["intermediate_size is true, not a whole number,"]);
        check(r#"{"sliding_window":true}"#, &["sliding_window is true, not a whole number,"]);
        check(r#"{"sliding_window":false}"#, &[]);
        check(r#"{"intermediate_size":Infinity}"#, &[r#"intermediate_size is "Infinity", not a whole number,"#]);
        check(r#"{"time_step_limit":[0.0,Infinity],"a":NaN,"b":1e400,"hidden_size":null}"#, &[]);
        assert_eq!(config(r#"{"architectures":"LlamaForCausalLM"}"#).class_name, "LlamaForCausalLM");
    }

    #[test]
    fn nonsense_is_an_error() {
        assert_eq!(config(r#"{"architectures":[7]}"#).class_name, "");
        let check = |json: &str, expected: &str| {
            let error = config_from_json(json.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("", "EOF");
        check("[]", "expected a map");
        check(r#"{"a":Nan}"#, "expected");
        check(&format!("{{\"a\":{}", "[".repeat(200)), "recursion limit");
        check(&format!("{{\"a\":{}", " ".repeat(1 << 21)), "a text of more than");
    }
}
