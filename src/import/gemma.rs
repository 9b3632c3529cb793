//! Gemma 2 and 3: norms before and after attention and feed-forward, stored as their difference from 1, and windows.
//!
//! Source: `modeling_gemma2.py` and `modeling_gemma3.py` of transformers; `conversion/gemma.py` and `src/models/gemma{2,3}.cpp` in
//! llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Keys, Rope};
use super::llama::{Attention, attention_block, feed_forward, norm, outer};
use super::mapping::{Mapping, Tensors};
use super::rope::check_kind;

/// Base of RoPE that is not written for Gemma 2: llama.cpp takes it where a file states none.
const THETA: f64 = 10_000.0;
/// In every two layers of Gemma 2, the last one sees the whole context.
const GEMMA2_PERIOD: u64 = 2;
/// The same for every six layers of Gemma 3.
const GEMMA3_PERIOD: u64 = 6;

/// Gemma 2.
pub fn gemma2(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    let rope = Rope::of(config);
    check_kind(config, &rope, &[])?;
    check_windows(config, GEMMA2_PERIOD)?;
    config.expect("tie_word_embeddings", true)?;
    if !facts.has_tied_embeddings {
        return Err("lm_head.weight differs from the embedding, which llama.cpp cannot follow for this architecture".into());
    }
    check_scale(config)?;
    let mut keys = Keys::new("gemma2");
    keys.some_number("context_length", config.number(&["max_position_embeddings"]));
    keys.number("embedding_length", facts.n_embd);
    keys.number("block_count", facts.n_layers);
    keys.number("feed_forward_length", facts.n_ff);
    keys.number("attention.head_count", facts.n_heads);
    keys.number("attention.head_count_kv", facts.n_kv_heads);
    keys.some_float("attention.layer_norm_rms_epsilon", config.float(&["rms_norm_eps"]));
    keys.number("attention.key_length", facts.head_dim);
    keys.number("attention.value_length", facts.head_dim);
    keys.file_type();
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        // Without the key llama.cpp takes the cap of the published models.
        keys.float(key, config.float(&[key]).ok_or_else(|| format!("config.json does not say {key}"))?);
    }
    keys.some_number("attention.sliding_window", config.number(&["sliding_window"]));
    keys.some_float("rope.freq_base", rope.float("rope_theta").filter(|theta| (theta - THETA).abs() > f64::EPSILON));
    Ok(Mapping::of("gemma2", keys, tensors_of(config, false)))
}

/// Gemma 3 without its image encoder.
pub fn gemma3(config: &Config) -> Result<Mapping, String> {
    let rope = Rope::of(config);
    check_kind(config, &rope, &["linear"])?;
    config.expect("use_bidirectional_attention", false)?;
    check_scale(config)?;
    if config.float(&["attn_logit_softcapping"]).is_some() {
        return Err("config.json has attn_logit_softcapping, which Gemma 3 does not have".into());
    }
    let mut keys = Keys::new("gemma3");
    keys.common(config, &rope);
    keys.some_float("final_logit_softcapping", config.float(&["final_logit_softcapping"]).filter(|&cap| cap != 0.0));
    if config.number(&["sliding_window_pattern"]) != Some(1) {
        check_windows(config, GEMMA3_PERIOD)?;
        keys.some_number("attention.sliding_window", config.number(&["sliding_window"]));
    }
    Ok(Mapping::of("gemma3", keys, tensors_of(config, true)))
}

fn tensors_of(config: &Config, has_head_norms: bool) -> Tensors {
    let mut tensors = Tensors::default();
    let attention = Attention { has_head_norms, ..Attention::of(config) };
    outer(&mut tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, attention);
        norm(tensors, config, layer_idx, "post_attention_layernorm", "post_attention_norm");
        norm(tensors, config, layer_idx, "pre_feedforward_layernorm", "ffn_norm");
        feed_forward(tensors, config, layer_idx);
        norm(tensors, config, layer_idx, "post_feedforward_layernorm", "post_ffw_norm");
    });
    for tensor in &mut tensors.all {
        if tensor.name.ends_with("norm.weight") {
            tensor.plus_one();
        }
    }
    tensors
}

/// Refuses layers with windows in another order than llama.cpp's: all but the last in every `period` layers.
fn check_windows(config: &Config, period: u64) -> Result<(), String> {
    let pattern = config.number(&["sliding_window_pattern", "_sliding_window_pattern"]).unwrap_or(period);
    let kinds = config.list("layer_types").unwrap_or_default();
    let is_other = |(layer_idx, kind): (u64, &serde_json::Value)| {
        let expected = if (layer_idx + 1).is_multiple_of(period) { "full_attention" } else { "sliding_attention" };
        kind != expected
    };
    if pattern != period || (0..config.facts.n_layers).zip(kinds).any(is_other) {
        return Err(format!("the windows of its layers do not follow the pattern of {period} that llama.cpp knows"));
    }
    Ok(())
}

/// Refuses an attention scale that llama.cpp cannot follow: it computes the scale from one of two widths.
fn check_scale(config: &Config) -> Result<(), String> {
    let facts = config.facts;
    match config.float(&["query_pre_attn_scalar"]) {
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        Some(scalar)
            if ![facts.head_dim, facts.n_embd / facts.n_heads].iter().any(|&known| (known as f64 - scalar).abs() < 1e-6) =>
        {
            Err(format!("query_pre_attn_scalar is {scalar} in config.json, which llama.cpp cannot follow"))
        }
        _ => Ok(()),
    }
}
