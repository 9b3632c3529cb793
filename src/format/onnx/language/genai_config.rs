//! `genai_config.json`: what ONNX Runtime GenAI has to know of a graph.

use serde_json::{Map, Value, json};

use super::{GRAPH_FILE, context_len};
use crate::format::token_ids;
use crate::model::Decoder;

/// Names that ONNX Runtime GenAI 0.18.0 has for these `model_type`s of checkpoints; others are called `decoder`, as it accepts.
const MODEL_TYPES: [&str; 9] = ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text", "granite", "smollm3"];
const OTHER_TYPE: &str = "decoder";

/// What a checkpoint says about the use of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenaiSettings<'a> {
    /// `model_type` of `config.json`.
    pub model_type: &'a str,
    /// All of `config.json`.
    pub config: Option<&'a Map<String, Value>>,
    /// All of `generation_config.json`.
    pub generation: Option<&'a Map<String, Value>>,
}

impl GenaiSettings<'_> {
    /// A number or list of numbers, from the settings of generation before those of the model.
    fn tokens(&self, key: &str) -> Vec<u32> {
        let text_config = self.config.and_then(|config| config.get("text_config")?.as_object());
        let places = [self.generation, text_config, self.config];
        let found = places.into_iter().flatten().filter_map(|entries| entries.get(key).map(token_ids));
        found.into_iter().find(|tokens| !tokens.is_empty()).unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.generation?.get(key)?.as_f64().filter(|number| number.is_finite())
    }
}

/// The content of `genai_config.json`.
///
/// Source: `make_genai_config` in `onnxruntime_genai/models/builders/base.py`, onnxruntime-genai 0.18.0.
#[must_use]
pub fn genai_config(decoder: &Decoder, settings: &GenaiSettings) -> Value {
    let attention = decoder.layers.first().map(|layer| &layer.attention);
    let model_type =
        MODEL_TYPES.iter().find(|known| **known == settings.model_type).copied().unwrap_or(match settings.model_type {
            "gemma3" => "gemma3_text",
            _ => OTHER_TYPE,
        });
    let ends = settings.tokens("eos_token_id");
    let end = ends.first().copied().unwrap_or(0);
    let pad = settings.tokens("pad_token_id").first().copied().unwrap_or(end);
    let bos = settings.tokens("bos_token_id").first().copied().unwrap_or(end);
    let n_ctx = context_len(decoder);
    json!({
        "model": {
            "bos_token_id": bos,
            "context_length": n_ctx,
            "decoder": {
                "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
                "filename": GRAPH_FILE,
                "head_size": attention.map_or(0, |attention| attention.head_dim),
                "hidden_size": decoder.n_embd,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": attention.map_or(0, |attention| attention.n_heads),
                "num_hidden_layers": decoder.layers.len(),
                "num_key_value_heads": attention.map_or(0, |attention| attention.n_kv_heads),
            },
            "eos_token_id": if ends.len() > 1 { json!(ends) } else { json!(end) },
            "pad_token_id": pad,
            "type": model_type,
            "vocab_size": decoder.n_vocab,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": settings.generation.and_then(|entries| entries.get("do_sample")?.as_bool()).unwrap_or(false),
            "early_stopping": true,
            "length_penalty": 1.0,
            "max_length": n_ctx,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": true,
            "repetition_penalty": settings.number("repetition_penalty").unwrap_or(1.0),
            "temperature": settings.number("temperature").unwrap_or(1.0),
            "top_k": settings.generation.and_then(|entries| entries.get("top_k")?.as_u64()).unwrap_or(50),
            "top_p": settings.number("top_p").unwrap_or(1.0),
        },
    })
}
