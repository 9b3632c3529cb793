//! Granite: a Llama with four multipliers.
//!
//! Source: `modeling_granite.py` of transformers; `conversion/granite.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::llama::{Attention, decoder, llama_like};
use super::mapping::Mapping;
use crate::model::CheckpointConfig;

/// Granite 3 without experts.
pub fn granite(config: &Config) -> Result<Mapping, String> {
    // llama.cpp knows no other length of a head than this.
    let mut facts: CheckpointConfig = config.facts.clone();
    facts.json.remove("head_dim");
    facts.head_dim = facts.n_embd / facts.n_heads;
    let (outer, config) = (config, Config::checked(&facts)?);
    let made = llama_like(&config, "granite");
    outer.take_over(&config);
    let (mut keys, mut tensors) = made?;
    for (source, key) in [
        ("attention_multiplier", "attention.scale"),
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        keys.some_float(key, config.float(&[source]).filter(|&number| number != 0.0));
    }
    outer.take_over(&config);
    decoder(&mut tensors, &config, Attention { is_rotated: true, ..Attention::of(&config) });
    Ok(Mapping::of("granite", keys, tensors))
}
