//! gpt-oss: experts in MXFP4 with biases, the rows of gate and up taking turns; attention with sinks, every other layer in a window.
//!
//! Source: `modeling_gpt_oss.py` of transformers; `conversion/gpt_oss.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Keys, Rope};
use super::llama::{Attention, Biases, attention_block, norm, outer};
use super::mapping::{Mapping, Piece, Tensors};
use super::rope::check_kind;
use crate::model::{DType, RowOrder};

/// gpt-oss 20b and 120b, and unquantized models that were made from them.
pub fn gpt_oss(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    let rope = Rope::of(config);
    check_kind(config, &rope, &["yarn"])?;
    check_windows(config)?;
    config.expect("attention_bias", true)?;
    let biases = Biases { qkv: true, output: true };
    let is_mxfp4 = facts.is_mxfp4();
    if facts.n_experts == 0 {
        return Err("config.json does not say how many experts there are".into());
    }
    let block_len = DType::MXFP4.block_len();
    if is_mxfp4 && !(facts.n_embd.is_multiple_of(block_len) && facts.n_ff.is_multiple_of(block_len)) {
        return Err("hidden_size or intermediate_size in config.json is not a multiple of 32, which MXFP4 needs".into());
    }
    let mut keys = Keys::new("gpt-oss");
    keys.common(config, &rope);
    keys.number("attention.sliding_window", config.dim("sliding_window")?);
    keys.number("expert_feed_forward_length", facts.n_ff);
    let mut tensors = Tensors::default();
    outer(&mut tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, Attention { biases, ..Attention::default() });
        let sinks = format!("model.layers.{layer_idx}.self_attn.sinks");
        tensors.plain(format!("blk.{layer_idx}.attn_sinks.weight"), sinks, &[facts.n_heads]);
        norm(tensors, config, layer_idx, "post_attention_layernorm", "post_attention_norm");
        let router = |ending: &str| format!("model.layers.{layer_idx}.mlp.router.{ending}");
        let shape = [facts.n_experts, facts.n_embd];
        tensors.plain(format!("blk.{layer_idx}.ffn_gate_inp.weight"), router("weight"), &shape);
        tensors.plain(format!("blk.{layer_idx}.ffn_gate_inp.bias"), router("bias"), &shape[..1]);
        experts(tensors, config, layer_idx, is_mxfp4);
    });
    Ok(Mapping::of("gpt-oss", keys, tensors))
}

/// Refuses other windows than llama.cpp's, which gives one to every other layer, starting with the first, whatever a file says.
fn check_windows(config: &Config) -> Result<(), String> {
    let Some(kinds) = config.list("layer_types") else { return Ok(()) };
    let is_expected = |(idx, kind): (usize, &serde_json::Value)| {
        kind.as_str() == Some(if idx % 2 == 0 { "sliding_attention" } else { "full_attention" })
    };
    if kinds.iter().enumerate().all(is_expected) {
        Ok(())
    } else {
        Err("layer_types in config.json has another order than llama.cpp follows for this architecture".into())
    }
}

/// All experts of a layer, with their biases.
fn experts(tensors: &mut Tensors, config: &Config, layer_idx: u64, is_mxfp4: bool) {
    let (n_embd, n_ff, n_experts) = (config.facts.n_embd, config.facts.n_ff, config.facts.n_experts);
    // Gate has the even rows, up the odd ones.
    for (kind, source, n_rows, row_len, first, step) in [
        ("down", "down_proj", n_embd, n_ff, 0, 1),
        ("gate", "gate_up_proj", n_ff, n_embd, 0, 2),
        ("up", "gate_up_proj", n_ff, n_embd, 1, 2),
    ] {
        let source = format!("model.layers.{layer_idx}.mlp.experts.{source}");
        let name = |ending: &str| format!("blk.{layer_idx}.ffn_{kind}_exps.{ending}");
        let transposed = RowOrder::Transposed { first, step };
        let pieces = if is_mxfp4 {
            let all = Piece::mxfp4(&source, [n_experts, step * n_rows, row_len]);
            vec![all.rows(first, n_experts * n_rows).ordered(RowOrder::Strided { step })]
        } else {
            // Floats are stored transposed.
            let all = Piece::whole(&source, &[n_experts, row_len, step * n_rows]).ordered(transposed);
            (0..n_experts).map(|idx| all.clone().rows(idx * row_len, row_len)).collect()
        };
        tensors.of(name("weight"), &[row_len, n_rows, n_experts], pieces);
        let biases = Piece::whole(format!("{source}_bias"), &[n_experts, step * n_rows]).ordered(transposed);
        let of_expert = |idx| biases.clone().rows(idx, 1);
        tensors.of(name("bias"), &[n_rows, n_experts], (0..n_experts).map(of_expert).collect());
    }
}
