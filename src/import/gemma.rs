//! Gemma 2 and 3: norms before and after attention and feed-forward, stored as their difference from 1, and windows.
//!
//! Source: `modeling_gemma2.py` and `modeling_gemma3.py` of transformers; `conversion/gemma.py` and `src/models/gemma{2,3}.cpp` in
//! llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Keys, Rope, rms_epsilon};
use super::llama::{Attention, attention_block, feed_forward, norm, outer};
use super::mapping::{Mapping, Tensors};
use super::rope::check_kind;
use super::rope_table::{DEFAULT_THETA, inv_freqs, rope_table, table};
use super::traits::{Traits, activation, sliding_layers};
use crate::model::{Activation, RopeTable};

/// Base of RoPE that is not written for Gemma 2: llama.cpp takes it where a file states none.
const THETA: f64 = 10_000.0;
/// The key of the cap on attention scores, here and in GGUF.
const ATTENTION_CAP: &str = "attn_logit_softcapping";
/// The key of the cap on logits, here and in GGUF.
const FINAL_CAP: &str = "final_logit_softcapping";
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
    keys.some_float("attention.layer_norm_rms_epsilon", rms_epsilon(config));
    keys.number("attention.key_length", facts.head_dim);
    keys.number("attention.value_length", facts.head_dim);
    keys.file_type();
    for key in [ATTENTION_CAP, FINAL_CAP] {
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
    if config.float(&[ATTENTION_CAP]).is_some() {
        return Err("config.json has attn_logit_softcapping, which Gemma 3 does not have".into());
    }
    let mut keys = Keys::new("gemma3");
    keys.common(config, &rope);
    keys.some_float(FINAL_CAP, cap(config, FINAL_CAP));
    if has_windows(config) {
        check_windows(config, GEMMA3_PERIOD)?;
        keys.some_number("attention.sliding_window", config.number(&["sliding_window"]));
    }
    Ok(Mapping::of("gemma3", keys, tensors_of(config, true)))
}

/// A cap on scores or logits; `None` without one.
fn cap(config: &Config, key: &str) -> Option<f64> {
    config.float(&[key]).filter(|&cap| cap != 0.0)
}

/// True for a Gemma 3 some of whose layers see only a window.
fn has_windows(config: &Config) -> bool {
    config.number(&["sliding_window_pattern"]) != Some(1)
}

/// What Gemma 2 and 3 share, with this table in all layers.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn traits_with(config: &Config, table: &RopeTable) -> Result<Traits, String> {
    let activation = activation(config, "hidden_activation", Activation::GeluTanh)?;
    Ok(Traits {
        embedding_scale: (config.facts.n_embd as f64).sqrt(),
        attention_scale: config.positive(&["query_pre_attn_scalar"]).map(|scalar| scalar.sqrt().recip()),
        final_softcap: cap(config, FINAL_CAP),
        ..Traits::of(config, activation, table)
    })
}

/// Gemma 2: soft caps, and windows in all but every second layer.
pub fn gemma2_traits(config: &Config) -> Result<Traits, String> {
    let table = rope_table(config, &Rope::of(config), config.facts.head_dim);
    let layers = sliding_layers(config, |layer_idx| !(layer_idx + 1).is_multiple_of(GEMMA2_PERIOD))?;
    let traits = traits_with(config, &table)?.with_windows_in(config, layers);
    Ok(Traits { attention_softcap: cap(config, ATTENTION_CAP), ..traits })
}

/// Gemma 3: windows in all but every sixth layer, and in these layers another base of RoPE without scaling.
pub fn gemma3_traits(config: &Config) -> Result<Traits, String> {
    let rope = Rope::of(config);
    let head_dim = config.facts.head_dim;
    let is_sliding = |layer_idx: u64| has_windows(config) && !(layer_idx + 1).is_multiple_of(GEMMA3_PERIOD);
    let layers = sliding_layers(config, is_sliding)?;
    let mut traits = traits_with(config, &rope_table(config, &rope, head_dim))?;
    let local = table(&inv_freqs(rope.sliding_theta.unwrap_or(DEFAULT_THETA), head_dim));
    for (layer, _) in traits.layers.iter_mut().zip(&layers).filter(|(_, is_sliding)| **is_sliding) {
        layer.rope = Some(local.clone());
    }
    Ok(traits.with_windows_in(config, layers))
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
