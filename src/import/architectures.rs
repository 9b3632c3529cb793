//! Architectures of Hugging Face checkpoints and their names in GGUF.

use super::config::Config;
use super::llama;
use super::mapping::Mapping;
use crate::model::CheckpointConfig;

/// Makes the table of an architecture.
type Table = fn(&Config) -> Result<Mapping, String>;

/// `(class, model_type, architecture in GGUF, its table)`.
///
/// Source: `@ModelBase.register` in `convert_hf_to_gguf.py` and `MODEL_ARCH_NAMES` in gguf-py, llama.cpp of 2026-08-21.
const ARCHITECTURES: [(&str, &str, &str, Option<Table>); 21] = [
    ("LlamaForCausalLM", "llama", "llama", Some(llama::llama)),
    ("MistralForCausalLM", "mistral", "llama", Some(llama::llama)),
    ("MixtralForCausalLM", "mixtral", "llama", None),
    ("Qwen2ForCausalLM", "qwen2", "qwen2", Some(llama::qwen2)),
    ("Qwen2MoeForCausalLM", "qwen2_moe", "qwen2moe", None),
    ("Qwen3ForCausalLM", "qwen3", "qwen3", Some(llama::qwen3)),
    ("Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", None),
    ("Gemma2ForCausalLM", "gemma2", "gemma2", None),
    ("Gemma3ForCausalLM", "gemma3_text", "gemma3", None),
    ("Gemma3ForConditionalGeneration", "gemma3", "gemma3", None),
    ("Phi3ForCausalLM", "phi3", "phi3", None),
    ("GPT2LMHeadModel", "gpt2", "gpt2", None),
    ("DeepseekV2ForCausalLM", "deepseek_v2", "deepseek2", None),
    ("DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", None),
    ("Starcoder2ForCausalLM", "starcoder2", "starcoder2", None),
    ("FalconForCausalLM", "falcon", "falcon", None),
    ("Olmo2ForCausalLM", "olmo2", "olmo2", None),
    ("GraniteForCausalLM", "granite", "granite", None),
    ("BertModel", "bert", "bert", None),
    ("BertForMaskedLM", "bert", "bert", None),
    ("BertForSequenceClassification", "bert", "bert", None),
];

/// The class; where `config.json` names none, that of its `model_type`.
pub fn class_name(config: &CheckpointConfig) -> String {
    if !config.class_name.is_empty() {
        return config.class_name.clone();
    }
    ARCHITECTURES.iter().find(|row| row.1 == config.model_type).map_or_else(String::new, |row| row.0.into())
}

/// The architecture's name in GGUF; `None` for one that is not known.
pub fn gguf_architecture(config: &CheckpointConfig) -> Option<&'static str> {
    let class_name = class_name(config);
    ARCHITECTURES.iter().find(|row| row.0 == class_name).map(|row| row.2)
}

/// What a configuration leads to: `None` for an architecture without a table.
///
/// # Errors
/// What is missing, impossible or unknown in the configuration; inside the option.
pub fn mapping_of(config: &CheckpointConfig) -> Option<Result<Mapping, String>> {
    let class_name = class_name(config);
    let table = ARCHITECTURES.iter().find(|row| row.0 == class_name)?.3?;
    Some(Config::checked(config).and_then(|config| table(&config)))
}
