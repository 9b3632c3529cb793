//! Defaults of the configuration classes of transformers, for what `config.json` does not say.
//!
//! A published `config.json` may hold only what differs from its class; `convert_hf_to_gguf.py` reads it through the class too.
//!
//! Source: the `configuration_*.py` of transformers 4.57.6.

use serde_json::{Map, Value as Json};

use super::config_value::whole_of;

/// The default of one key.
#[derive(Debug, Clone, Copy)]
enum Filling {
    /// A whole number, where the key is missing; null stays null.
    N(u64),
    /// A number, in the same way.
    F(f64),
    /// A yes or no, in the same way.
    Is(bool),
    /// The value of another key, where the key is missing or null.
    As(&'static str),
    /// `hidden_size / num_attention_heads`, where the key is missing or null.
    HeadDim,
}

use Filling::{As, F, HeadDim, Is, N};

type Row = (&'static str, Filling);

const KV_HEADS: Row = ("num_key_value_heads", As("num_attention_heads"));
const THETA: Row = ("rope_theta", F(10_000.0));
const EPS_6: Row = ("rms_norm_eps", F(1e-6));
const EPS_5: Row = ("rms_norm_eps", F(1e-5));
const NO_WINDOW: Row = ("use_sliding_window", Is(false));

/// `model_type` → its rows.
const CLASSES: [(&str, &[Row]); 20] = [
    ("llama", &[KV_HEADS, ("head_dim", HeadDim), THETA, EPS_6, ("max_position_embeddings", N(2048))]),
    ("mistral", &[("num_key_value_heads", N(8)), THETA, EPS_6, ("max_position_embeddings", N(131_072))]),
    (
        "mixtral",
        &[
            ("num_key_value_heads", N(8)),
            ("rope_theta", F(1e6)),
            EPS_5,
            ("max_position_embeddings", N(131_072)),
            ("num_local_experts", N(8)),
            ("num_experts_per_tok", N(2)),
        ],
    ),
    ("qwen2", &[("num_key_value_heads", N(32)), THETA, EPS_6, ("max_position_embeddings", N(32_768)), NO_WINDOW]),
    (
        "qwen3",
        &[("num_key_value_heads", N(32)), ("head_dim", N(128)), THETA, EPS_6, ("max_position_embeddings", N(32_768)), NO_WINDOW],
    ),
    (
        "qwen2_moe",
        &[
            ("num_key_value_heads", N(16)),
            THETA,
            EPS_6,
            ("max_position_embeddings", N(32_768)),
            ("num_experts", N(60)),
            ("num_experts_per_tok", N(4)),
            ("moe_intermediate_size", N(1408)),
            ("shared_expert_intermediate_size", N(5632)),
            ("decoder_sparse_step", N(1)),
            ("norm_topk_prob", Is(false)),
            ("qkv_bias", Is(true)),
            NO_WINDOW,
        ],
    ),
    (
        "qwen3_moe",
        &[
            ("num_key_value_heads", N(4)),
            THETA,
            EPS_6,
            ("max_position_embeddings", N(32_768)),
            ("num_experts", N(128)),
            ("num_experts_per_tok", N(8)),
            ("moe_intermediate_size", N(768)),
            ("decoder_sparse_step", N(1)),
            ("norm_topk_prob", Is(false)),
            NO_WINDOW,
        ],
    ),
    (
        "gemma2",
        &[
            ("num_attention_heads", N(8)),
            ("num_key_value_heads", N(4)),
            ("head_dim", N(256)),
            THETA,
            EPS_6,
            ("max_position_embeddings", N(8192)),
            ("sliding_window", N(4096)),
            ("attn_logit_softcapping", F(50.0)),
            ("final_logit_softcapping", F(30.0)),
            ("query_pre_attn_scalar", N(256)),
        ],
    ),
    (
        "gemma3_text",
        &[
            ("vocab_size", N(262_208)),
            ("num_attention_heads", N(8)),
            ("num_key_value_heads", N(4)),
            ("head_dim", N(256)),
            ("rope_theta", F(1e6)),
            ("rope_local_base_freq", F(10_000.0)),
            EPS_6,
            ("max_position_embeddings", N(131_072)),
            ("sliding_window", N(4096)),
            ("query_pre_attn_scalar", N(256)),
        ],
    ),
    (
        "phi3",
        &[
            KV_HEADS,
            THETA,
            EPS_5,
            ("max_position_embeddings", N(4096)),
            ("original_max_position_embeddings", N(4096)),
            ("partial_rotary_factor", F(1.0)),
        ],
    ),
    (
        "gpt_oss",
        &[
            ("num_key_value_heads", N(8)),
            ("head_dim", N(64)),
            ("rope_theta", F(150_000.0)),
            EPS_5,
            ("max_position_embeddings", N(131_072)),
            ("num_local_experts", N(128)),
            ("num_experts_per_tok", N(4)),
            ("sliding_window", N(128)),
        ],
    ),
    ("gpt2", &[("n_positions", N(1024)), ("layer_norm_epsilon", F(1e-5))]),
    (
        "starcoder2",
        &[
            ("num_key_value_heads", N(2)),
            THETA,
            ("norm_epsilon", F(1e-5)),
            ("max_position_embeddings", N(4096)),
            ("use_bias", Is(true)),
        ],
    ),
    (
        "falcon",
        &[
            ("layer_norm_epsilon", F(1e-5)),
            ("max_position_embeddings", N(2048)),
            THETA,
            ("multi_query", Is(true)),
            ("parallel_attn", Is(true)),
            ("new_decoder_architecture", Is(false)),
            ("alibi", Is(false)),
            ("bias", Is(false)),
        ],
    ),
    ("olmo2", &[KV_HEADS, THETA, EPS_5, ("max_position_embeddings", N(2048))]),
    (
        "granite",
        &[
            KV_HEADS,
            THETA,
            EPS_6,
            ("max_position_embeddings", N(2048)),
            ("attention_multiplier", F(1.0)),
            ("embedding_multiplier", F(1.0)),
            ("residual_multiplier", F(1.0)),
            ("logits_scaling", F(1.0)),
        ],
    ),
    (
        "smollm3",
        &[("num_key_value_heads", N(4)), ("rope_theta", F(2e6)), EPS_6, ("max_position_embeddings", N(32_768)), NO_WINDOW],
    ),
    ("bert", &[("max_position_embeddings", N(512)), ("layer_norm_eps", F(1e-12)), ("type_vocab_size", N(2))]),
    (
        "deepseek_v2",
        &[
            KV_HEADS,
            THETA,
            EPS_6,
            ("max_position_embeddings", N(2048)),
            ("n_routed_experts", N(64)),
            ("n_shared_experts", N(2)),
            ("moe_intermediate_size", N(1407)),
            ("first_k_dense_replace", N(0)),
            ("kv_lora_rank", N(512)),
            ("q_lora_rank", N(1536)),
            ("qk_nope_head_dim", N(128)),
            ("qk_rope_head_dim", N(64)),
            ("v_head_dim", N(128)),
            ("routed_scaling_factor", F(1.0)),
            ("norm_topk_prob", Is(false)),
            ("head_dim", As("qk_rope_head_dim")),
        ],
    ),
    (
        "deepseek_v3",
        &[
            KV_HEADS,
            THETA,
            EPS_6,
            ("max_position_embeddings", N(4096)),
            ("n_routed_experts", N(256)),
            ("n_shared_experts", N(1)),
            ("num_experts_per_tok", N(8)),
            ("n_group", N(8)),
            ("topk_group", N(4)),
            ("moe_intermediate_size", N(2048)),
            ("first_k_dense_replace", N(3)),
            ("kv_lora_rank", N(512)),
            ("q_lora_rank", N(1536)),
            ("qk_nope_head_dim", N(128)),
            ("qk_rope_head_dim", N(64)),
            ("v_head_dim", N(128)),
            ("routed_scaling_factor", F(2.5)),
            ("norm_topk_prob", Is(true)),
            ("head_dim", As("qk_rope_head_dim")),
        ],
    ),
];

/// Adds the defaults of the class for what the entries do not say; none for an unknown class.
pub(super) fn fill_in(entries: &mut Map<String, Json>, model_type: &str) {
    // A Gemma 3 with an image encoder has the language model of one without.
    let model_type = if model_type == "gemma3" { "gemma3_text" } else { model_type };
    let Some((_, rows)) = CLASSES.iter().find(|row| row.0 == model_type) else { return };
    for &(key, default) in *rows {
        let number = |key: &str| entries.get(key).and_then(|value| whole_of(value).ok()?);
        let value = match default {
            N(n) => n.into(),
            F(number) => number.into(),
            Is(flag) => flag.into(),
            As(other) => entries.get(other).cloned().unwrap_or_default(),
            HeadDim => {
                let per_head = number("hidden_size").zip(number("num_attention_heads"));
                per_head.and_then(|(width, n_heads)| width.checked_div(n_heads)).map_or(Json::Null, Json::from)
            }
        };
        let is_open = match entries.get(key) {
            None => true,
            Some(found) => found.is_null() && matches!(default, As(_) | HeadDim),
        };
        if is_open && !value.is_null() {
            entries.insert(key.into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_the_class_default() {
        let check = |model_type: &str, config: &str, key: &str, expected: &str| {
            let mut entries = serde_json::from_str(config).unwrap();
            fill_in(&mut entries, model_type);
            let found = entries.get(key).cloned().unwrap_or_default();
            assert_eq!(found, serde_json::from_str::<Json>(expected).unwrap(), "{model_type} {config} {key}");
        };
        check("llama", r#"{"num_attention_heads":4,"hidden_size":64}"#, "num_key_value_heads", "4");
        check("llama", r#"{"num_attention_heads":4,"num_key_value_heads":null}"#, "num_key_value_heads", "4");
        check("llama", r#"{"num_attention_heads":4,"hidden_size":64}"#, "head_dim", "16");
        check("llama", r#"{"num_attention_heads":0,"hidden_size":64}"#, "head_dim", "null");
        check("llama", r#"{"rope_theta":1.5}"#, "rope_theta", "1.5");
        check("qwen2", r#"{"num_key_value_heads":null}"#, "num_key_value_heads", "null");
        check("qwen2", "{}", "num_key_value_heads", "32");
        check("qwen2", "{}", "head_dim", "null");
        check("qwen3", "{}", "head_dim", "128");
        check("gemma3", "{}", "rope_local_base_freq", "10000.0");
        check("deepseek_v2", r#"{"q_lora_rank":null}"#, "q_lora_rank", "null");
        check("deepseek_v2", r#"{"qk_rope_head_dim":8}"#, "head_dim", "8");
        check("gpt_neo", "{}", "rope_theta", "null");
    }
}
