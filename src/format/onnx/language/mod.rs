//! Folders for ONNX Runtime GenAI, written from the description of a decoder.
//!
//! ```text
//! Decoder, codings ─ layout (places in model.onnx.data) ─ graph (nodes) ─ model.onnx
//!                                                       └ tables (cosines and sines) ─ head of model.onnx.data
//! Decoder, settings ─ genai_config ─ genai_config.json
//! ```
//!
//! Inputs and outputs have the names, types and shapes that `onnxruntime_genai.models.builder` gives them (onnxruntime-genai 0.18.0):
//! `input_ids` and `attention_mask` (I64), `past_key_values.N.key` and `.value` → `logits`, `present.N.key` and `.value`.

mod genai_config;
mod graph;
mod layout;
mod nodes;
mod tables;
mod weights;

use crate::model::{Decoder, FeedForward};

pub use genai_config::{GenaiSettings, genai_config};
pub use graph::graph_model;
pub use layout::{Arranged, DATA_FILE, GRAPH_FILE, Place, arranged};
pub use tables::head_of;

/// Longest context in tokens that cosines and sines are written for: at 131,072 they take 64 MiB at 64 pairs of dimensions.
pub const MAX_CONTEXT: u64 = 131_072;

/// The context where the configuration does not say how long it may be.
const USUAL_CONTEXT: u64 = 4096;

/// Tokens of context that a decoder's graph takes.
#[must_use]
pub fn context_len(decoder: &Decoder) -> u64 {
    if decoder.n_ctx == 0 { USUAL_CONTEXT } else { decoder.n_ctx.min(MAX_CONTEXT) }
}

/// Refuses what the graphs have no nodes for.
///
/// # Errors
/// What it is.
pub fn check_expressible(decoder: &Decoder) -> Result<(), String> {
    let Some(first) = decoder.layers.first().map(|layer| &layer.attention) else { return Err("it has no layers".into()) };
    let shape = (first.n_heads, first.n_kv_heads, first.head_dim);
    for layer in &decoder.layers {
        let attention = &layer.attention;
        if matches!(layer.feed_forward, FeedForward::Experts(_)) {
            return Err("experts have no place in its graphs yet".into());
        }
        if (attention.n_heads, attention.n_kv_heads, attention.head_dim) != shape {
            return Err("its layers have different numbers of heads, and genai_config.json holds one for all".into());
        }
    }
    // Source: `CheckRotaryCaches` in contrib_ops/cpu/bert/group_query_attention_helper.h, ONNX Runtime.
    let unit = if decoder.rope_tables.is_empty() { 8 } else { 16 };
    if !first.head_dim.is_multiple_of(unit) {
        return Err(format!("its heads have {} dimensions, and GroupQueryAttention takes multiples of {unit}", first.head_dim));
    }
    let odd = decoder.rope_tables.iter().find(|table| !table.n_dims.is_multiple_of(16));
    odd.map_or(Ok(()), |table| {
        Err(format!("{} dimensions are rotated, and GroupQueryAttention takes multiples of 16", table.n_dims))
    })
}
