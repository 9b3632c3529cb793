//! Architectures of Hugging Face checkpoints and their names in GGUF.

use super::config::Config;
use super::mapping::Mapping;
use super::{bert, deepseek2, falcon, gemma, gpt_oss, gpt2, granite, llama, moe, olmo2, phi3, starcoder2};
use crate::model::CheckpointConfig;

/// Makes the table of an architecture.
type Table = fn(&Config) -> Result<Mapping, String>;

/// `(class, model_type, architecture in GGUF, its table)`.
///
/// Source: `@ModelBase.register` in `convert_hf_to_gguf.py` and `MODEL_ARCH_NAMES` in gguf-py, llama.cpp of 2026-08-21.
const ARCHITECTURES: [(&str, &str, &str, Table); 22] = [
    ("LlamaForCausalLM", "llama", "llama", llama::llama),
    ("MistralForCausalLM", "mistral", "llama", llama::llama),
    ("MixtralForCausalLM", "mixtral", "llama", moe::mixtral),
    ("Qwen2ForCausalLM", "qwen2", "qwen2", llama::qwen2),
    ("Qwen2MoeForCausalLM", "qwen2_moe", "qwen2moe", moe::qwen2_moe),
    ("Qwen3ForCausalLM", "qwen3", "qwen3", llama::qwen3),
    ("Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", moe::qwen3_moe),
    ("Gemma2ForCausalLM", "gemma2", "gemma2", gemma::gemma2),
    ("Gemma3ForCausalLM", "gemma3_text", "gemma3", gemma::gemma3),
    ("Gemma3ForConditionalGeneration", "gemma3", "gemma3", gemma::gemma3),
    ("Phi3ForCausalLM", "phi3", "phi3", phi3::phi3),
    ("GPT2LMHeadModel", "gpt2", "gpt2", gpt2::gpt2),
    ("GptOssForCausalLM", "gpt_oss", "gpt-oss", gpt_oss::gpt_oss),
    ("DeepseekV2ForCausalLM", "deepseek_v2", "deepseek2", deepseek2::deepseek2),
    ("DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", deepseek2::deepseek2),
    ("Starcoder2ForCausalLM", "starcoder2", "starcoder2", starcoder2::starcoder2),
    ("FalconForCausalLM", "falcon", "falcon", falcon::falcon),
    ("Olmo2ForCausalLM", "olmo2", "olmo2", olmo2::olmo2),
    ("GraniteForCausalLM", "granite", "granite", granite::granite),
    ("BertModel", "bert", "bert", bert::bert),
    ("BertForMaskedLM", "bert", "bert", bert::bert),
    ("BertForSequenceClassification", "bert", "bert", bert::bert),
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

/// What a configuration leads to: `None` for an architecture that is not known.
///
/// # Errors
/// What is missing, impossible or unknown in the configuration; inside the option.
pub fn mapping_of(config: &CheckpointConfig) -> Option<Result<Mapping, String>> {
    let class_name = class_name(config);
    let table = ARCHITECTURES.iter().find(|row| row.0 == class_name)?.3;
    Some(Config::checked(config).and_then(|config| table(&config)))
}
