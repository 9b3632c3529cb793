//! StarCoder 2: layer norms and biases everywhere.
//!
//! Source: `modeling_starcoder2.py` of transformers; `conversion/starcoder.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::llama::{Attention, Biases, neox_keys, norm, outer, projections};
use super::mapping::{Mapping, Tensors};

/// StarCoder 2.
pub fn starcoder2(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    let keys = neox_keys(config, "starcoder2")?;
    let has_biases = config.flag("use_bias").unwrap_or(true);
    let attention = Attention { biases: Biases { qkv: has_biases, output: has_biases }, ..Attention::default() };
    let mut tensors = Tensors::default();
    outer(&mut tensors, config, |tensors, layer_idx| {
        layer_norm(tensors, config, layer_idx, "input_layernorm", "attn_norm");
        projections(tensors, config, layer_idx, attention);
        layer_norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        for (part, found, shape) in
            [("ffn_up", "c_fc", [facts.n_ff, facts.n_embd]), ("ffn_down", "c_proj", [facts.n_embd, facts.n_ff])]
        {
            let name = |ending: &str| format!("blk.{layer_idx}.{part}.{ending}");
            let source = |ending: &str| format!("model.layers.{layer_idx}.mlp.{found}.{ending}");
            tensors.plain(name("weight"), source("weight"), &shape);
            if has_biases {
                tensors.plain(name("bias"), source("bias"), &shape[..1]);
            }
        }
    });
    tensors.plain("output_norm.bias", "model.norm.bias", &[facts.n_embd]);
    Ok(Mapping::of("starcoder2", keys, tensors))
}

fn layer_norm(tensors: &mut Tensors, config: &Config, layer_idx: u64, source: &str, name: &str) {
    norm(tensors, config, layer_idx, source, name);
    let source = format!("model.layers.{layer_idx}.{source}.bias");
    tensors.plain(format!("blk.{layer_idx}.{name}.bias"), source, &[config.facts.n_embd]);
}
