//! OLMo 2: norms after attention and feed-forward, and over all heads' queries and keys.
//!
//! Source: `modeling_olmo2.py` of transformers; `Olmo2Model` in `conversion/olmo.py`, llama.cpp of 2026-08-21.

use super::config::Config;
use super::llama::{Attention, feed_forward, neox_keys, norm, outer, projections};
use super::mapping::{Mapping, Tensors};

/// OLMo 2.
pub fn olmo2(config: &Config) -> Result<Mapping, String> {
    let keys = neox_keys(config, "olmo2")?;
    let mut tensors = Tensors::default();
    outer(&mut tensors, config, |tensors, layer_idx| {
        projections(tensors, config, layer_idx, Attention::of(config));
        for (part, width) in [("q", config.q_width()), ("k", config.kv_width())] {
            let source = format!("model.layers.{layer_idx}.self_attn.{part}_norm.weight");
            tensors.plain(format!("blk.{layer_idx}.attn_{part}_norm.weight"), source, &[width]);
        }
        norm(tensors, config, layer_idx, "post_attention_layernorm", "post_attention_norm");
        feed_forward(tensors, config, layer_idx);
        norm(tensors, config, layer_idx, "post_feedforward_layernorm", "post_ffw_norm");
    });
    Ok(Mapping::of("olmo2", keys, tensors))
}
