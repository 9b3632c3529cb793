//! Phi 3, 3.5 and 4: queries, keys and values in one tensor, gate and up in another, and factors for long contexts.
//!
//! Source: `modeling_phi3.py` of transformers; `Phi3MiniModel` in `conversion/phi.py`, llama.cpp of 2026-08-21.

use serde_json::Value as Json;

use super::config::Config;
use super::keys::{Keys, Rope, rms_epsilon};
use super::llama::{norm, outer};
use super::mapping::{Mapping, Tensors};
use super::rope::check_kind;
use super::rope_table::{divided_table, inv_freqs, table, theta_of};
use super::traits::{Traits, activation};
use crate::model::{Activation, LongRope, RopeTable};

/// Phi 3, 3.5, 4 and 4 mini.
pub fn phi3(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    let rope = Rope::of(config);
    // Early files call it su or yarn.
    check_kind(config, &rope, &["longrope", "su", "yarn"])?;
    let Stretch { n_ctx, original, n_rot } = Stretch::of(config, &rope)?;
    let mut tensors = Tensors::default();
    let mut first = Keys::new("phi3");
    if let Some((long, short)) = factors(&rope, n_rot)? {
        first.float("rope.scaling.attn_factor", attention_factor(n_ctx, original));
        tensors.computed("rope_factors_long.weight", long);
        tensors.computed("rope_factors_short.weight", short);
    }
    let mut keys = Keys::new("phi3");
    keys.number("context_length", n_ctx);
    keys.number("rope.scaling.original_context_length", original);
    keys.number("embedding_length", facts.n_embd);
    keys.number("feed_forward_length", facts.n_ff);
    keys.number("block_count", facts.n_layers);
    keys.number("attention.head_count", facts.n_heads);
    keys.number("attention.head_count_kv", facts.n_kv_heads);
    keys.some_float("attention.layer_norm_rms_epsilon", rms_epsilon(config));
    keys.number("rope.dimension_count", n_rot);
    keys.some_float("rope.freq_base", rope.float("rope_theta"));
    keys.file_type();
    // 0 tells a Phi 4 from others.
    keys.number("attention.sliding_window", config.number(&["sliding_window"]).unwrap_or(0));
    outer(&mut tensors, config, |tensors, layer_idx| layer(tensors, config, layer_idx));
    let first = first.all;
    Ok(Mapping { first, ..Mapping::of("phi3", keys, tensors) })
}

/// Phi 3 and 4: a window in all layers, if there is one, and other frequencies for contexts longer than the original one.
pub fn phi3_traits(config: &Config) -> Result<Traits, String> {
    let rope = Rope::of(config);
    let Stretch { n_ctx, original, n_rot } = Stretch::of(config, &rope)?;
    let theta = theta_of(&rope);
    let table = match factors(&rope, n_rot)? {
        Some((long, short)) => RopeTable {
            long: Some(LongRope { above: original, inv_freqs: divided_table(theta, &long).inv_freqs }),
            magnitude: attention_factor(n_ctx, original),
            ..divided_table(theta, &short)
        },
        None => table(&inv_freqs(theta, n_rot)),
    };
    let activation = activation(config, "hidden_act", Activation::Silu)?;
    Ok(Traits::of(config, activation, &table).with_windows(config))
}

/// What RoPE's scaling depends on.
struct Stretch {
    /// Longest context, in tokens.
    n_ctx: u64,
    /// The longest one before it was stretched.
    original: u64,
    /// Dimensions of a head that are rotated.
    n_rot: u64,
}

impl Stretch {
    fn of(config: &Config, rope: &Rope) -> Result<Self, String> {
        let n_ctx = config.dim("max_position_embeddings")?;
        let original = rope.full.get("original_max_position_embeddings").and_then(Json::as_u64).filter(|&n| n > 1);
        let original = original.ok_or("config.json has no possible value for original_max_position_embeddings")?;
        let part = rope.float("partial_rotary_factor").unwrap_or(1.0);
        Ok(Self { n_ctx, original, n_rot: rotated(part, config.facts.n_embd) / config.facts.n_heads })
    }
}

fn layer(tensors: &mut Tensors, config: &Config, layer_idx: u64) {
    let (n_embd, n_ff) = (config.facts.n_embd, config.facts.n_ff);
    let q = config.q_width();
    norm(tensors, config, layer_idx, "input_layernorm", "attn_norm");
    let mut matrix = |name: &str, source: &str, shape: [u64; 2]| {
        tensors.plain(format!("blk.{layer_idx}.{name}.weight"), format!("model.layers.{layer_idx}.{source}.weight"), &shape);
    };
    matrix("attn_qkv", "self_attn.qkv_proj", [q + 2 * config.kv_width(), n_embd]);
    matrix("attn_output", "self_attn.o_proj", [n_embd, q]);
    matrix("ffn_up", "mlp.gate_up_proj", [2 * n_ff, n_embd]);
    matrix("ffn_down", "mlp.down_proj", [n_embd, n_ff]);
    norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
}

/// Number of dimensions that are rotated, in all heads together.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "as the source rounds")]
fn rotated(part: f64, n_embd: u64) -> u64 {
    (part.clamp(0.0, 1.0) * n_embd as f64) as u64
}

/// How much the attention is sharpened for contexts `s` times as long as in training: `sqrt(1 + ln(s) / ln(original))`.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn attention_factor(n_ctx: u64, n_ctx_before: u64) -> f64 {
    let (n_ctx, n_ctx_before) = (n_ctx as f64, n_ctx_before as f64);
    let scale = n_ctx / n_ctx_before;
    if scale > 1.0 { (1.0 + scale.ln() / n_ctx_before.ln()).sqrt() } else { 1.0 }
}

/// What each frequency is divided by in long and in short contexts.
type Factors = (Vec<f32>, Vec<f32>);

/// The factors; `None` for a configuration without scaling.
fn factors(rope: &Rope, n_rot: u64) -> Result<Option<Factors>, String> {
    #[allow(clippy::cast_possible_truncation, reason = "as the source rounds")]
    let list = |key: &str| -> Option<Vec<f32>> {
        let numbers = rope.full.get(key)?.as_array()?.iter().map(|number| Some(number.as_f64()? as f32));
        numbers.collect::<Option<Vec<f32>>>().filter(|numbers| !numbers.is_empty())
    };
    if matches!(rope.kind(), "" | "default" | "dynamic") {
        return Ok(None);
    }
    let is_whole = |list: &Vec<f32>| list.len() as u64 == n_rot / 2 && n_rot.is_multiple_of(2);
    match (list("long_factor").filter(is_whole), list("short_factor").filter(is_whole)) {
        (Some(long), Some(short)) => Ok(Some((long, short))),
        _ => Err(format!("long_factor and short_factor in config.json are not lists of {} numbers", n_rot / 2)),
    }
}
