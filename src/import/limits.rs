//! What `config.json` may ask for and llama.cpp does not compute, for every architecture.
//!
//! `convert_hf_to_gguf.py` looks at none of these, so its file computes something else than the model.

use super::config::Config;
use super::keys::Rope;
use super::mapping::Mapping;

/// `(architectures, the key of their classes, what llama.cpp computes, the names that transformers has for it)`.
///
/// llama.cpp computes GELU by its tanh form whatever the name; the difference is below the precision of a half float.
///
/// Source: `LLM_FFN_…` in `src/models/*.cpp`, llama.cpp of 2026-08-21; `ACT2FN` in `activations.py`, transformers 4.57.
const ACTIVATIONS: [(&[&str], &str, &str, &[&str]); 5] = [
    (
        &["llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi3", "deepseek2", "olmo2", "granite", "smollm3", "gpt-oss"],
        "hidden_act",
        "SiLU",
        &["silu", "swish"],
    ),
    (&["gemma2", "gemma3"], "hidden_activation", "GELU", &GELUS),
    (&["gpt2"], "activation_function", "GELU", &GELUS),
    (&["falcon"], "activation", "GELU", &GELUS),
    (&["starcoder2", "bert"], "hidden_act", "GELU", &GELUS),
];
const GELUS: [&str; 7] =
    ["gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_python", "gelu_accurate"];
/// Architectures whose layers llama.cpp never gives a window.
const WITHOUT_WINDOWS: [&str; 9] =
    ["llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "starcoder2", "granite", "smollm3", "deepseek2"];
/// Architectures whose RoPE rotates part of a head, or that have no RoPE.
const WITH_PARTIAL_ROPE: [&str; 3] = ["phi3", "gpt2", "bert"];
/// Architectures with layer norms instead of RMS norms.
const WITH_LAYER_NORMS: [&str; 4] = ["gpt2", "bert", "falcon", "starcoder2"];

/// Refuses what llama.cpp would compute differently; warns of what differs only in some uses.
///
/// # Errors
/// The key and its value.
pub fn check(config: &Config, architecture: &str) -> Result<(), String> {
    for (_, key, computed, names) in ACTIVATIONS.iter().filter(|row| row.0.contains(&architecture)) {
        if let Some(name) = config.text(key).filter(|name| !names.contains(&name.to_ascii_lowercase().as_str())) {
            let name = name.escape_debug();
            return Err(format!("{key} is {name} in config.json, llama.cpp computes {computed} for this architecture"));
        }
    }
    let rope = if WITH_PARTIAL_ROPE.contains(&architecture) { Rope::default() } else { Rope::of(config) };
    if let Some(part) = rope.float("partial_rotary_factor").filter(|part| (part - 1.0).abs() > f64::EPSILON) {
        return Err(format!(
            "partial_rotary_factor is {part} in config.json, which llama.cpp cannot follow for this architecture"
        ));
    }
    let facts = config.facts;
    let window = facts.sliding_window.filter(|&window| window < facts.n_ctx_train && WITHOUT_WINDOWS.contains(&architecture));
    if let Some(window) = window {
        config.warn(format!(
            "sliding_window is {window} in config.json, llama.cpp has none for this architecture: beyond {window} tokens its answers differ"
        ));
    }
    Ok(())
}

/// Refuses a mapping without the epsilon of its norms: llama.cpp loads no file without it.
///
/// # Errors
/// The key that is missing.
pub fn check_norms(mapping: &Mapping) -> Result<(), String> {
    let has = |entries: &[(String, _)]| entries.iter().any(|(key, _)| key.contains(".attention.layer_norm_"));
    let key = if WITH_LAYER_NORMS.contains(&mapping.architecture) { "layer_norm_epsilon" } else { "rms_norm_eps" };
    if has(&mapping.entries) { Ok(()) } else { Err(format!("config.json does not say {key}")) }
}

/// Complains of a kind of RoPE scaling that needs a factor and has none.
pub fn check_rope_factor(config: &Config, rope: &Rope) {
    if matches!(rope.kind(), "linear" | "yarn") && rope.float("factor").is_none() {
        config.complain(format!("rope_scaling of the kind {} has no factor,", rope.kind()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckpointConfig;

    fn checked(architecture: &str, json: &str) -> Result<Vec<String>, String> {
        let json: serde_json::Map<_, _> = serde_json::from_str(json).unwrap();
        let window = json.get("sliding_window").and_then(serde_json::Value::as_u64);
        let facts = CheckpointConfig { json, n_ctx_train: 100, sliding_window: window, ..CheckpointConfig::default() };
        let config = Config::of(&facts);
        check(&config, architecture)?;
        config.complaint().map_or(Ok(config.warnings()), Err)
    }

    #[test]
    fn activations_are_those_of_llama_cpp() {
        let check = |architecture: &str, json: &str, expected: Option<&str>| {
            let found = checked(architecture, json).err();
            assert_eq!(found.is_some(), expected.is_some(), "{architecture} {json} {found:?}");
            assert!(expected.is_none_or(|expected| found.as_ref().is_some_and(|found| found.contains(expected))), "{found:?}");
        };
        check("llama", r#"{"hidden_act":"silu"}"#, None);
        check("llama", r#"{"hidden_act":null}"#, None);
        check("llama", r#"{"hidden_act":"gelu"}"#, Some("hidden_act is gelu in config.json, llama.cpp computes SiLU"));
        check("llama", r#"{"hidden_act":7}"#, Some("hidden_act is 7, not a text, in config.json"));
        check("qwen3moe", r#"{"hidden_act":"relu2"}"#, Some("relu2"));
        check("gpt-oss", r#"{"hidden_act":"gelu"}"#, Some("gelu"));
        // Gemma's class does not look at hidden_act.
        check("gemma2", r#"{"hidden_act":"relu","hidden_activation":"gelu_pytorch_tanh"}"#, None);
        check("gemma3", r#"{"hidden_activation":"silu"}"#, Some("llama.cpp computes GELU"));
        check("gpt2", r#"{"activation_function":"gelu_new"}"#, None);
        check("gpt2", r#"{"activation_function":"relu"}"#, Some("relu"));
        check("falcon", r#"{"activation":"silu"}"#, Some("silu"));
        check("starcoder2", r#"{"hidden_act":"quick_gelu"}"#, Some("quick_gelu"));
        check("bert", r#"{"hidden_act":"relu"}"#, Some("relu"));
        check("bert", r#"{"hidden_act":"gelu"}"#, None);
    }

    #[test]
    fn parts_of_heads_and_windows_are_told() {
        assert!(checked("llama", r#"{"partial_rotary_factor":0.5}"#).unwrap_err().contains("partial_rotary_factor is 0.5"));
        assert_eq!(checked("llama", r#"{"partial_rotary_factor":1}"#), Ok(Vec::new()));
        assert_eq!(checked("phi3", r#"{"partial_rotary_factor":0.5}"#), Ok(Vec::new()));
        assert!(checked("llama", r#"{"sliding_window":50}"#).unwrap()[0].contains("beyond 50 tokens"));
        assert_eq!(checked("llama", r#"{"sliding_window":100}"#), Ok(Vec::new()));
        assert_eq!(checked("gemma3", r#"{"sliding_window":50}"#), Ok(Vec::new()));
    }

    #[test]
    fn a_scale_without_its_factor_is_refused() {
        let facts = CheckpointConfig::default();
        let check = |json: &str, is_complete: bool| {
            let config = Config::of(&facts);
            let rope = Rope { full: serde_json::from_str(json).unwrap(), sliding_theta: None };
            check_rope_factor(&config, &rope);
            assert_eq!(config.complaint().is_none(), is_complete, "{json}");
        };
        check(r#"{"rope_type":"linear"}"#, false);
        check(r#"{"rope_type":"linear","factor":2.0}"#, true);
        check(r#"{"rope_type":"yarn"}"#, false);
        check(r#"{"rope_type":"llama3"}"#, true);
        check("{}", true);
    }
}
