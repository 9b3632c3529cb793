//! Architectures of Hugging Face checkpoints and their names in GGUF.

use super::config::Config;
use super::mapping::Mapping;
use super::traits::Traits;
use super::{bert, deepseek2, falcon, gemma, gpt_oss, gpt2, granite, limits, llama, moe, olmo2, phi3, smollm3, starcoder2};
use crate::model::CheckpointConfig;

/// Makes the table of an architecture.
type Table = fn(&Config) -> Result<Mapping, String>;
/// Tells what an architecture computes beyond what its tensors tell.
type TraitsOf = fn(&Config) -> Result<Traits, String>;
type Row = (&'static str, &'static str, &'static str, Table, Option<TraitsOf>);

/// `(class, model_type, architecture in GGUF, its table, its traits)`; no traits for what `Decoder` cannot express.
///
/// Source: `@ModelBase.register` in `convert_hf_to_gguf.py` and `MODEL_ARCH_NAMES` in gguf-py, llama.cpp of 2026-08-21.
const ARCHITECTURES: [Row; 23] = [
    ("LlamaForCausalLM", "llama", "llama", llama::llama, Some(Traits::plain)),
    ("MistralForCausalLM", "mistral", "llama", llama::llama, Some(llama::mistral_traits)),
    ("MixtralForCausalLM", "mixtral", "llama", moe::mixtral, Some(llama::mistral_traits)),
    ("Qwen2ForCausalLM", "qwen2", "qwen2", llama::qwen2, Some(llama::qwen_traits)),
    ("Qwen2MoeForCausalLM", "qwen2_moe", "qwen2moe", moe::qwen2_moe, Some(moe::qwen2_moe_traits)),
    ("Qwen3ForCausalLM", "qwen3", "qwen3", llama::qwen3, Some(llama::qwen_traits)),
    ("Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", moe::qwen3_moe, Some(llama::mistral_traits)),
    ("Gemma2ForCausalLM", "gemma2", "gemma2", gemma::gemma2, Some(gemma::gemma2_traits)),
    ("Gemma3ForCausalLM", "gemma3_text", "gemma3", gemma::gemma3, Some(gemma::gemma3_traits)),
    ("Gemma3ForConditionalGeneration", "gemma3", "gemma3", gemma::gemma3, Some(gemma::gemma3_traits)),
    ("Phi3ForCausalLM", "phi3", "phi3", phi3::phi3, Some(phi3::phi3_traits)),
    ("GPT2LMHeadModel", "gpt2", "gpt2", gpt2::gpt2, None),
    ("GptOssForCausalLM", "gpt_oss", "gpt-oss", gpt_oss::gpt_oss, None),
    ("DeepseekV2ForCausalLM", "deepseek_v2", "deepseek2", deepseek2::deepseek2, None),
    ("DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", deepseek2::deepseek2, None),
    ("Starcoder2ForCausalLM", "starcoder2", "starcoder2", starcoder2::starcoder2, None),
    ("FalconForCausalLM", "falcon", "falcon", falcon::falcon, None),
    ("Olmo2ForCausalLM", "olmo2", "olmo2", olmo2::olmo2, Some(Traits::plain)),
    ("GraniteForCausalLM", "granite", "granite", granite::granite, Some(granite::granite_traits)),
    ("SmolLM3ForCausalLM", "smollm3", "smollm3", smollm3::smollm3, Some(smollm3::smollm3_traits)),
    ("BertModel", "bert", "bert", bert::bert, None),
    ("BertForMaskedLM", "bert", "bert", bert::bert, None),
    ("BertForSequenceClassification", "bert", "bert", bert::bert, None),
];

/// `(class, the class whose weights it has)`: base classes, which are saved without a head, and heads that are left out.
const RELATIVES: [(&str, &str); 21] = [
    ("LlamaModel", "LlamaForCausalLM"),
    ("MistralModel", "MistralForCausalLM"),
    ("MixtralModel", "MixtralForCausalLM"),
    ("Qwen2Model", "Qwen2ForCausalLM"),
    ("Qwen2MoeModel", "Qwen2MoeForCausalLM"),
    ("Qwen3Model", "Qwen3ForCausalLM"),
    ("Qwen3MoeModel", "Qwen3MoeForCausalLM"),
    ("Gemma2Model", "Gemma2ForCausalLM"),
    ("Gemma3TextModel", "Gemma3ForCausalLM"),
    ("Gemma3Model", "Gemma3ForConditionalGeneration"),
    ("Phi3Model", "Phi3ForCausalLM"),
    ("GPT2Model", "GPT2LMHeadModel"),
    ("GptOssModel", "GptOssForCausalLM"),
    ("DeepseekV2Model", "DeepseekV2ForCausalLM"),
    ("DeepseekV3Model", "DeepseekV3ForCausalLM"),
    ("Starcoder2Model", "Starcoder2ForCausalLM"),
    ("FalconModel", "FalconForCausalLM"),
    ("Olmo2Model", "Olmo2ForCausalLM"),
    ("GraniteModel", "GraniteForCausalLM"),
    ("SmolLM3Model", "SmolLM3ForCausalLM"),
    ("BertForPreTraining", "BertForMaskedLM"),
];

/// The class that `config.json` names, else the first one with its `model_type`; empty if that is not known either.
pub fn class_name(config: &CheckpointConfig) -> String {
    if !config.class_name.is_empty() {
        return config.class_name.clone();
    }
    ARCHITECTURES.iter().find(|row| row.1 == config.model_type).map_or_else(String::new, |row| row.0.into())
}

/// The class of a model by the type that the configuration of a runtime names: for ONNX Runtime's, the class up to `For` in small letters,
/// or the `model_type`; `None` for one that is not known, and for one that says nothing, such as `decoder`.
///
/// Source: `make_genai_config` in src/python/py/models/builders/base.py, onnxruntime-genai 0.18.
#[must_use]
pub fn class_of_runtime_type(runtime_type: &str) -> Option<&'static str> {
    let is_named_so = |row: &&Row| {
        let stem = row.0.find("For").and_then(|end| row.0.get(..end));
        row.1 == runtime_type || stem.is_some_and(|stem| stem.eq_ignore_ascii_case(runtime_type))
    };
    ARCHITECTURES.iter().find(is_named_so).map(|row| row.0)
}

/// The row of a class: its own, or its relative's. Case does not matter: Llama's first class was `LLaMAForCausalLM`.
fn row_of(config: &CheckpointConfig) -> Option<&'static Row> {
    let class_name = class_name(config);
    let is_same = |known: &str| known.eq_ignore_ascii_case(&class_name);
    let relative = RELATIVES.iter().find(|row| is_same(row.0)).map(|row| row.1);
    ARCHITECTURES.iter().find(|row| relative.map_or_else(|| is_same(row.0), |relative| relative == row.0))
}

/// The architecture's name in GGUF; `None` for one that is not known.
#[must_use]
pub fn gguf_architecture(config: &CheckpointConfig) -> Option<&'static str> {
    row_of(config).map(|row| row.2)
}

/// What a configuration leads to: `None` for an architecture that is not known.
///
/// # Errors
/// What is missing, impossible or unknown in the configuration; inside the option.
#[must_use]
pub fn mapping_of(config: &CheckpointConfig) -> Option<Result<Mapping, String>> {
    let (.., architecture, table, _) = row_of(config)?;
    Some(Config::checked(config).and_then(|config| {
        let checked = limits::check(&config, architecture);
        let made = checked.and_then(|()| table(&config));
        // A value that cannot be read comes first: it is the cause of the errors that follow from it.
        if let Some(complaint) = config.complaint() {
            return Err(complaint);
        }
        let mut mapping = made?;
        limits::check_norms(&mapping)?;
        mapping.warnings = config.warnings();
        mapping.warnings.dedup();
        Ok(mapping)
    }))
}

/// What a configuration's layers compute: `None` for an architecture that is not known or not described as a decoder.
///
/// # Errors
/// As `mapping_of`, which has to be asked first: it refuses impossible numbers.
pub fn traits_of(config: &CheckpointConfig) -> Option<Result<Traits, String>> {
    let traits = row_of(config)?.4?;
    let config = Config::of(config);
    let made = traits(&config);
    Some(config.complaint().map_or(made, Err))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_of_onnx_runtime_name_classes() {
        let check = |runtime_type: &str, expected: Option<&str>| {
            assert_eq!(class_of_runtime_type(runtime_type), expected, "{runtime_type}");
        };
        check("llama", Some("LlamaForCausalLM"));
        check("mistral", Some("MistralForCausalLM"));
        check("qwen2moe", Some("Qwen2MoeForCausalLM"));
        check("gemma3_text", Some("Gemma3ForCausalLM"));
        check("gptoss", Some("GptOssForCausalLM"));
        check("decoder", None);
        check("", None);
    }

    #[test]
    fn base_classes_and_old_spellings_are_known() {
        let check = |class_name: &str, model_type: &str, expected: Option<&str>| {
            let config = CheckpointConfig { class_name: class_name.into(), model_type: model_type.into(), ..Default::default() };
            assert_eq!(gguf_architecture(&config), expected, "{class_name} {model_type}");
        };
        check("LlamaForCausalLM", "llama", Some("llama"));
        check("LLaMAForCausalLM", "llama", Some("llama"));
        check("LlamaModel", "llama", Some("llama"));
        check("Qwen2Model", "qwen2", Some("qwen2"));
        check("GPT2Model", "gpt2", Some("gpt2"));
        check("BertForPreTraining", "bert", Some("bert"));
        check("", "qwen3", Some("qwen3"));
        check("", "", None);
        check("GPTNeoForCausalLM", "gpt_neo", None);
        for (_, relative) in RELATIVES {
            assert!(ARCHITECTURES.iter().any(|row| row.0 == relative), "{relative}");
        }
    }

    #[test]
    fn values_of_another_kind_are_never_taken_for_absent() {
        let json = r#"{"hidden_size":64,"intermediate_size":256,"num_hidden_layers":1,"num_attention_heads":4,"vocab_size":100,
            "rms_norm_eps":1e-5,"max_position_embeddings":512}"#;
        let with = |key: &str, value: serde_json::Value| {
            let mut json: serde_json::Map<_, _> = serde_json::from_str(json).unwrap();
            json.insert(key.into(), value);
            let config = CheckpointConfig {
                class_name: "LlamaForCausalLM".into(),
                n_layers: 1,
                n_embd: 64,
                n_ff: 256,
                n_heads: 4,
                n_kv_heads: 4,
                head_dim: 16,
                n_vocab: 100,
                json,
                ..CheckpointConfig::default()
            };
            mapping_of(&config).unwrap()
        };
        let entry = |key: &str, value, name: &str| {
            let mapping = with(key, value).unwrap();
            mapping.entries.iter().find(|entry| entry.0 == name).map(|entry| format!("{:?}", entry.1)).unwrap_or_default()
        };
        assert_eq!(entry("rope_theta", json!("500000.0"), "llama.rope.freq_base"), "F32(500000.0)");
        assert_eq!(entry("rms_norm_eps", json!("1e-05"), "llama.attention.layer_norm_rms_epsilon"), "F32(1e-5)");
        assert_eq!(entry("max_position_embeddings", json!("2048.0"), "llama.context_length"), "U32(2048)");
        let linear = json!({"type": "linear", "factor": "2.5"});
        assert_eq!(entry("rope_scaling", linear, "llama.rope.scaling.factor"), "F32(2.5)");
        let check = |key: &str, value: serde_json::Value, expected: &str| {
            let error = with(key, value.clone()).unwrap_err();
            assert!(error.contains(expected) && error.ends_with("in config.json"), "{key} {value}: {error}");
        };
        check("rope_theta", json!("fast"), r#"rope_theta is "fast", not a number"#);
        check("rope_theta", json!(true), "rope_theta is true, not a number");
        check("rope_theta", json!(-5), "rope_theta is -5, not above 0");
        check("rope_theta", json!("Infinity"), r#"rope_theta is "Infinity", not a number"#);
        check("rms_norm_eps", json!([1e-5]), "rms_norm_eps is [");
        check("max_position_embeddings", json!(2048.5), "max_position_embeddings is 2048.5, not a whole number");
        check("max_position_embeddings", json!(1e30), "impossibly large");
        check("rope_scaling", json!("linear"), r#"rope_scaling is "linear", not an object"#);
        check("rope_scaling", json!({"type": "linear"}), "rope_scaling of the kind linear has no factor");
        check("rope_scaling", json!({"type": "linear", "factor": "x"}), r#"factor is "x", not a number"#);
        check("rope_scaling", json!({"rope_type": 3}), "rope_type is 3, not a text");
        check("hidden_act", json!(1), "hidden_act is 1, not a text");
        for nothing in [json!(false), json!(""), json!([]), json!({})] {
            assert!(with("rope_scaling", nothing).is_ok());
        }
        // Nobody reads these here.
        assert!(with("time_step_limit", json!([0, "Infinity"])).is_ok());
        assert!(with("attention_dropout", json!("none")).is_ok());
        assert_eq!(with("rms_norm_eps", json!(null)).unwrap_err(), "config.json does not say rms_norm_eps");
    }
}
