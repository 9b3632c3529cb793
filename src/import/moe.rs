//! Mixtures of experts: Mixtral, Qwen 2 and 3. The experts of a layer become one tensor.
//!
//! Source: `modeling_mixtral.py`, `modeling_qwen2_moe.py` and `modeling_qwen3_moe.py` of transformers; `conversion/llama.py` and
//! `conversion/qwen.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::llama::{Attention, Biases, QWEN_FULL_LAYERS, attention_block, llama_like, neox_keys, norm, outer};
use super::mapping::{Mapping, Piece, Tensors};
use super::traits::{Traits, sliding_layers};

/// Mixtral.
pub fn mixtral(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    let (keys, mut tensors) = llama_like(config, "llama")?;
    check_experts(config)?;
    outer(&mut tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, Attention { is_rotated: true, ..Attention::default() });
        norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        let part = format!("model.layers.{layer_idx}.block_sparse_moe");
        router(tensors, config, layer_idx, &part);
        experts(tensors, config, layer_idx, facts.n_ff, [("w1", "gate"), ("w2", "down"), ("w3", "up")], &part);
    });
    Ok(Mapping::of("llama", keys, tensors))
}

/// Qwen 1.5 and 2 with experts.
pub fn qwen2_moe(config: &Config) -> Result<Mapping, String> {
    check_layers(config)?;
    config.expect("norm_topk_prob", false)?;
    let mut keys = neox_keys(config, "qwen2moe")?;
    let (n_ff, n_ff_shared) = (config.dim("moe_intermediate_size")?, config.dim("shared_expert_intermediate_size")?);
    keys.number("expert_feed_forward_length", n_ff);
    keys.number("expert_shared_feed_forward_length", n_ff_shared);
    let biases = Biases { qkv: config.flag("qkv_bias").unwrap_or(true), output: false };
    let mut tensors = Tensors::default();
    outer(&mut tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, Attention { biases, ..Attention::default() });
        norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        let part = format!("model.layers.{layer_idx}.mlp");
        router(tensors, config, layer_idx, &part);
        experts(tensors, config, layer_idx, n_ff, PROJECTIONS, &part);
        shared_experts(tensors, config, layer_idx, n_ff_shared, &format!("{part}.shared_expert"));
        let gate = format!("{part}.shared_expert_gate.weight");
        tensors.plain(format!("blk.{layer_idx}.ffn_gate_inp_shexp.weight"), gate, &[1, config.facts.n_embd]);
    });
    Ok(Mapping::of("qwen2moe", keys, tensors))
}

/// Where `layer_types` is missing, every other one of the first `max_window_layers` layers has the window, starting with the first.
pub fn qwen2_moe_traits(config: &Config) -> Result<Traits, String> {
    let n_mixed = config.number(&["max_window_layers"]).unwrap_or(QWEN_FULL_LAYERS);
    let layers = sliding_layers(config, |layer_idx| layer_idx.is_multiple_of(2) && layer_idx < n_mixed)?;
    Ok(Traits { has_normed_experts: false, ..Traits::plain(config)?.with_windows_in(config, layers) })
}

/// Qwen 3 with experts.
pub fn qwen3_moe(config: &Config) -> Result<Mapping, String> {
    check_layers(config)?;
    config.expect("norm_topk_prob", true)?;
    let mut keys = neox_keys(config, "qwen3moe")?;
    let n_ff = config.dim("moe_intermediate_size")?;
    keys.number("expert_feed_forward_length", n_ff);
    let mut tensors = Tensors::default();
    outer(&mut tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, Attention { has_head_norms: true, ..Attention::of(config) });
        norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        let part = format!("model.layers.{layer_idx}.mlp");
        router(tensors, config, layer_idx, &part);
        experts(tensors, config, layer_idx, n_ff, PROJECTIONS, &part);
    });
    Ok(Mapping::of("qwen3moe", keys, tensors))
}

/// Names of the projections in most checkpoints, and in GGUF.
pub const PROJECTIONS: [(&str, &str); 3] = [("down_proj", "down"), ("gate_proj", "gate"), ("up_proj", "up")];

/// Refuses a mixture without experts.
fn check_experts(config: &Config) -> Result<(), String> {
    if config.facts.n_experts == 0 { Err("config.json does not say how many experts there are".into()) } else { Ok(()) }
}

/// Refuses layers without experts among the others: llama.cpp's Qwen has experts in every layer.
fn check_layers(config: &Config) -> Result<(), String> {
    check_experts(config)?;
    let is_mixed = config.list("mlp_only_layers").is_some_and(|layers| !layers.is_empty());
    if is_mixed || config.number(&["decoder_sparse_step"]).unwrap_or(1) != 1 {
        return Err("some of its layers have no experts, which llama.cpp does not know for this architecture".into());
    }
    Ok(())
}

/// Shape of a projection, rows first.
fn shape_of(config: &Config, kind: &str, n_ff: u64) -> [u64; 2] {
    let n_embd = config.facts.n_embd;
    if kind == "down" { [n_embd, n_ff] } else { [n_ff, n_embd] }
}

/// Adds the matrix that scores the experts.
pub fn router(tensors: &mut Tensors, config: &Config, layer_idx: u64, part: &str) {
    let shape = [config.facts.n_experts, config.facts.n_embd];
    tensors.plain(format!("blk.{layer_idx}.ffn_gate_inp.weight"), format!("{part}.gate.weight"), &shape);
}

/// Adds the experts of a layer, one after the other in one tensor.
pub fn experts(tensors: &mut Tensors, config: &Config, layer_idx: u64, n_ff: u64, projections: [(&str, &str); 3], part: &str) {
    let n_experts = config.facts.n_experts;
    for (source, kind) in projections {
        let shape = shape_of(config, kind, n_ff);
        let piece = |idx: u64| Piece::whole(format!("{part}.experts.{idx}.{source}.weight"), &shape);
        let gguf_shape = [shape[1], shape[0], n_experts];
        tensors.of(format!("blk.{layer_idx}.ffn_{kind}_exps.weight"), &gguf_shape, (0..n_experts).map(piece).collect());
    }
}

/// Adds the shared experts, which every token passes through.
pub fn shared_experts(tensors: &mut Tensors, config: &Config, layer_idx: u64, n_ff: u64, part: &str) {
    for (source, kind) in PROJECTIONS {
        let shape = shape_of(config, kind, n_ff);
        tensors.plain(format!("blk.{layer_idx}.ffn_{kind}_shexp.weight"), format!("{part}.{source}.weight"), &shape);
    }
}
