//! Granite: a Llama with four multipliers.
//!
//! Source: `modeling_granite.py` of transformers; `conversion/granite.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::Rope;
use super::llama::{Attention, decoder, llama_like};
use super::mapping::Mapping;
use super::rope_table::rope_table;
use super::traits::{Traits, activation};
use crate::model::{Activation, CheckpointConfig};

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
        keys.some_float(key, multiplier(&config, source));
    }
    outer.take_over(&config);
    decoder(&mut tensors, &config, Attention { is_rotated: true, ..Attention::of(&config) });
    Ok(Mapping::of("granite", keys, tensors))
}

/// One of the four multipliers; `None` where the configuration has none.
fn multiplier(config: &Config, key: &str) -> Option<f64> {
    config.float(&[key]).filter(|&number| number != 0.0)
}

/// Granite's multipliers. `logits_scaling` divides the logits.
pub fn granite_traits(config: &Config) -> Result<Traits, String> {
    let facts = config.facts;
    let table = rope_table(config, &Rope::of(config), facts.n_embd / facts.n_heads);
    let plain = Traits::of(config, activation(config, "hidden_act", Activation::Silu)?, &table);
    Ok(Traits {
        attention_scale: multiplier(config, "attention_multiplier").or(plain.attention_scale),
        embedding_scale: multiplier(config, "embedding_multiplier").unwrap_or(plain.embedding_scale),
        residual_scale: multiplier(config, "residual_multiplier").unwrap_or(plain.residual_scale),
        logit_scale: multiplier(config, "logits_scaling").map_or(plain.logit_scale, f64::recip),
        ..plain
    })
}
