//! Falcon: attention and feed-forward side by side; queries, keys and values in one tensor, group by group.
//!
//! Source: `modeling_falcon.py` of transformers; `conversion/falcon.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Keys, Rope};
use super::mapping::{Mapping, Piece, Tensors};
use super::rope::check_kind;

/// Falcon 7b, 11b, 40b and 180b.
pub fn falcon(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    let rope = Rope::of(config);
    check_kind(config, &rope, &[])?;
    config.expect("alibi", false)?;
    config.expect("bias", false)?;
    config.expect("parallel_attn", true)?;
    let (n_embd, n_ff, head_dim) = (facts.n_embd, facts.n_ff, facts.head_dim);
    let mut keys = Keys::new("falcon");
    keys.number("context_length", config.dim("max_position_embeddings")?);
    keys.text("tensor_data_layout", "jploski");
    keys.number("embedding_length", n_embd);
    keys.number("feed_forward_length", n_ff);
    keys.number("block_count", facts.n_layers);
    keys.number("attention.head_count", facts.n_heads);
    keys.number("attention.head_count_kv", facts.n_kv_heads);
    keys.some_float("attention.layer_norm_epsilon", config.float(&["layer_norm_epsilon"]));
    keys.file_type();
    // llama.cpp takes a base of 10,000 where a file states none.
    keys.some_float("rope.freq_base", rope.float("rope_theta").filter(|theta| (theta - 10_000.0).abs() > f64::EPSILON));
    let has_two_norms =
        config.flag("new_decoder_architecture").unwrap_or(false) && config.number(&["num_ln_in_parallel_attn"]).unwrap_or(2) == 2;
    let norms: &[(&str, &str)] =
        if has_two_norms { &[("attn_norm", "ln_mlp"), ("attn_norm_2", "ln_attn")] } else { &[("attn_norm", "input_layernorm")] };
    let mut tensors = Tensors::default();
    tensors.plain("token_embd.weight", "transformer.word_embeddings.weight", &[facts.n_vocab, n_embd]);
    for layer_idx in 0..facts.n_layers {
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        let source = |part: &str| format!("transformer.h.{layer_idx}.{part}");
        for (part, found) in norms {
            for ending in ["weight", "bias"] {
                tensors.plain(name(&format!("{part}.{ending}")), source(&format!("{found}.{ending}")), &[n_embd]);
            }
        }
        let n_rows = (facts.n_heads + 2 * facts.n_kv_heads) * head_dim;
        let fused = Piece::whole(source("self_attention.query_key_value.weight"), &[n_rows, n_embd]);
        tensors.of(name("attn_qkv.weight"), &[n_embd, n_rows], sorted(config, &fused));
        tensors.plain(name("attn_output.weight"), source("self_attention.dense.weight"), &[n_embd, facts.n_heads * head_dim]);
        tensors.plain(name("ffn_up.weight"), source("mlp.dense_h_to_4h.weight"), &[n_ff, n_embd]);
        tensors.plain(name("ffn_down.weight"), source("mlp.dense_4h_to_h.weight"), &[n_embd, n_ff]);
    }
    tensors.plain("output_norm.weight", "transformer.ln_f.weight", &[n_embd]);
    tensors.plain("output_norm.bias", "transformer.ln_f.bias", &[n_embd]);
    if !facts.has_tied_embeddings {
        tensors.plain("output.weight", "lm_head.weight", &[facts.n_vocab, n_embd]);
    }
    Ok(Mapping::of("falcon", keys, tensors))
}

/// The rows of all queries, then of all keys, then of all values. In the checkpoint each key head follows the queries that
/// share it, and its value head follows the key head.
fn sorted(config: &Config, fused: &Piece) -> Vec<Piece> {
    let facts = config.facts;
    let head_dim = facts.head_dim;
    let n_sharing = facts.n_heads / facts.n_kv_heads;
    let rows = |start: u64, n_heads: u64| {
        let group = move |idx: u64| ((idx * (n_sharing + 2) + start) * head_dim, n_heads * head_dim);
        (0..facts.n_kv_heads).map(group)
    };
    let all = rows(0, n_sharing).chain(rows(n_sharing, 1)).chain(rows(n_sharing + 1, 1));
    all.map(|(first, n)| fused.clone().rows(first, n)).collect()
}
