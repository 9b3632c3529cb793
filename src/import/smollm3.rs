//! `SmolLM` 3: a Llama in which every fourth layer does not rotate its queries and keys.
//!
//! Source: `modeling_smollm3.py` and `configuration_smollm3.py` of transformers 4.57.6; `SmolLM3Model` in `conversion/llama.py` and
//! `src/models/smollm3.cpp` in llama.cpp of 2026-08-21.

use serde_json::Value as Json;

use super::config::Config;
use super::keys::{Keys, Rope};
use super::llama::{Attention, Biases, decoder};
use super::mapping::{Mapping, Tensors};
use super::rope::check_kind;
use super::traits::{Traits, sliding_layers};
use crate::format::config_value::odd;

/// Every how many layers one does not rotate, where a configuration does not say it; the only distance that llama.cpp knows.
const INTERVAL: u64 = 4;

/// `SmolLM` 3.
pub fn smollm3(config: &Config) -> Result<Mapping, String> {
    let rope = Rope::of(config);
    // llama.cpp reads no factors of frequencies here, which llama3 needs.
    check_kind(config, &rope, &["linear", "yarn"])?;
    if !rotating_layers(config)?.into_iter().eq((1..=config.facts.n_layers).map(|number| number % INTERVAL != 0)) {
        let text = "the layers without RoPE in config.json are not every fourth, as llama.cpp has them for this architecture";
        return Err(text.into());
    }
    // Its graph has biases at queries, keys and values alone.
    if config.facts.has_attention_bias || config.facts.has_mlp_bias {
        return Err("config.json asks for biases, which llama.cpp does not have for this architecture".into());
    }
    let mut keys = Keys::new("smollm3");
    keys.common(config, &rope);
    keys.number("vocab_size", config.facts.n_vocab);
    keys.number("rope.dimension_count", config.facts.head_dim);
    let mut tensors = Tensors::default();
    decoder(&mut tensors, config, Attention { is_rotated: true, has_head_norms: false, biases: Biases::default() });
    Ok(Mapping::of("smollm3", keys, tensors))
}

/// Layers without RoPE, and windows in those that `layer_types` names, else in just these.
pub fn smollm3_traits(config: &Config) -> Result<Traits, String> {
    let rotating = rotating_layers(config)?;
    let is_rotating = |layer_idx: u64| usize::try_from(layer_idx).is_ok_and(|idx| rotating.get(idx) == Some(&true));
    let sliding = sliding_layers(config, |layer_idx| !is_rotating(layer_idx))?;
    let mut traits = Traits::plain(config)?.with_windows_in(config, sliding);
    for (layer, _) in traits.layers.iter_mut().zip(&rotating).filter(|(_, rotates)| !**rotates) {
        layer.rope = None;
    }
    Ok(traits)
}

/// Which layers rotate their queries and keys: `no_rope_layers` has a 1 for each, in spite of its name.
fn rotating_layers(config: &Config) -> Result<Vec<bool>, String> {
    let n_layers = config.facts.n_layers;
    let Some(marks) = config.list("no_rope_layers") else {
        let interval = config.number(&["no_rope_layer_interval"]).unwrap_or(INTERVAL);
        return match interval {
            0 => Err("no_rope_layer_interval is 0 in config.json".into()),
            interval => Ok((1..=n_layers).map(|number| number % interval != 0).collect()),
        };
    };
    let Some(marks) = usize::try_from(n_layers).ok().and_then(|n| marks.get(..n)) else {
        return Err(format!("no_rope_layers in config.json has {} entries for {n_layers} layers", marks.len()));
    };
    let rotates = |(layer_idx, mark): (usize, &Json)| match mark {
        Json::Bool(mark) => Ok(*mark),
        mark => mark
            .as_u64()
            .filter(|&mark| mark <= 1)
            .map(|mark| mark == 1)
            .ok_or_else(|| format!("no_rope_layers[{layer_idx}] is {} in config.json", odd(mark, "neither 0 nor 1"))),
    };
    marks.iter().enumerate().map(rotates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckpointConfig;

    fn facts(json: &str) -> CheckpointConfig {
        let json: serde_json::Map<_, _> = serde_json::from_str(json).unwrap();
        CheckpointConfig {
            n_layers: 5,
            n_embd: 64,
            n_ff: 96,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 16,
            n_vocab: 100,
            sliding_window: Some(8),
            json,
            ..CheckpointConfig::default()
        }
    }

    #[test]
    fn layers_without_rope_are_where_the_configuration_puts_them() {
        let check = |json: &str, expected: Result<[bool; 5], &str>| {
            let facts = facts(json);
            let found = smollm3_traits(&Config::of(&facts)).map(|traits| {
                let windows: Vec<bool> = traits.layers.iter().map(|layer| layer.window.is_some()).collect();
                let rotates: Vec<bool> = traits.layers.iter().map(|layer| layer.rope.is_some()).collect();
                assert!(windows.iter().zip(&rotates).all(|(window, rotates)| window != rotates), "{json}");
                rotates
            });
            match expected {
                Ok(expected) => assert_eq!(found.unwrap(), expected, "{json}"),
                Err(expected) => assert!(found.as_ref().unwrap_err().contains(expected), "{json}: {found:?}"),
            }
        };
        check("{}", Ok([true, true, true, false, true]));
        check(r#"{"no_rope_layer_interval":2}"#, Ok([true, false, true, false, true]));
        check(r#"{"no_rope_layers":[1,0,1,1,0,1,1],"no_rope_layer_interval":4}"#, Ok([true, false, true, true, false]));
        check(r#"{"no_rope_layers":[true,true,true,false,true]}"#, Ok([true, true, true, false, true]));
        check(r#"{"no_rope_layers":[1,0]}"#, Err("has 2 entries for 5 layers"));
        check(r#"{"no_rope_layers":[1,1,1,"0",1]}"#, Err(r#"no_rope_layers[3] is "0""#));
        check(r#"{"no_rope_layer_interval":0}"#, Err("no_rope_layer_interval is 0"));
    }

    #[test]
    fn what_llama_cpp_does_not_compute_is_refused() {
        let check = |json: &str, change: fn(&mut CheckpointConfig), expected: Option<&str>| {
            let mut facts = facts(json);
            change(&mut facts);
            let error = smollm3(&Config::of(&facts)).err();
            assert_eq!(error.is_some(), expected.is_some(), "{json}: {error:?}");
            assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{json}");
        };
        check("{}", |_| {}, None);
        check(r#"{"no_rope_layers":[1,1,1,0,1]}"#, |_| {}, None);
        check(r#"{"no_rope_layers":[1,1,1,1,1]}"#, |_| {}, Some("not every fourth"));
        check(r#"{"no_rope_layer_interval":3}"#, |_| {}, Some("not every fourth"));
        check("{}", |facts| facts.has_attention_bias = true, Some("biases"));
        check("{}", |facts| facts.has_mlp_bias = true, Some("biases"));
        check(r#"{"rope_scaling":{"rope_type":"llama3","factor":8.0}}"#, |_| {}, Some("llama3"));
    }
}
