//! What a family's layers compute beyond what its tensors tell: scales, caps, windows, RoPE, activation.

use serde_json::Value as Json;

use super::config::Config;
use super::keys::Rope;
use super::rope_table::rope_table;
use crate::format::config_value::odd;
use crate::model::{Activation, RopeTable};

/// All that a decoder is made of, apart from its tensors and their sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Traits {
    /// What is applied to the gate.
    pub activation: Activation,
    /// As in `Decoder`.
    pub embedding_scale: f64,
    /// What the attention scores are multiplied by; `None`: `1 / sqrt(head_dim)`.
    pub attention_scale: Option<f64>,
    /// As in `Attention`.
    pub attention_softcap: Option<f64>,
    /// As in `DecoderLayer`.
    pub residual_scale: f64,
    /// As in `Decoder`.
    pub logit_scale: f64,
    /// As in `Decoder`.
    pub final_softcap: Option<f64>,
    /// As in `Experts`; of no matter without experts.
    pub has_normed_experts: bool,
    /// One for each layer.
    pub layers: Vec<LayerTraits>,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTraits {
    /// As in `Attention`.
    pub window: Option<u64>,
    /// How positions are rotated; `None` where they are not.
    pub rope: Option<RopeTable>,
}

impl Traits {
    /// Those of Llama: `SiLU` unless the configuration names another activation, one table for all layers, no window, no cap,
    /// no scale of its own.
    ///
    /// # Errors
    /// An activation that is not known.
    pub fn plain(config: &Config) -> Result<Self, String> {
        let table = rope_table(config, &Rope::of(config), config.facts.head_dim);
        Ok(Self::of(config, activation(config, "hidden_act", Activation::Silu)?, &table))
    }

    /// The same with this activation and this table.
    pub fn of(config: &Config, activation: Activation, table: &RopeTable) -> Self {
        let layer = || LayerTraits { window: None, rope: Some(table.clone()) };
        Self {
            activation,
            embedding_scale: 1.0,
            attention_scale: None,
            attention_softcap: None,
            residual_scale: 1.0,
            logit_scale: 1.0,
            final_softcap: None,
            has_normed_experts: true,
            layers: (0..config.facts.n_layers).map(|_| layer()).collect(),
        }
    }

    /// The same with the configuration's window, if it has one, in every layer.
    pub fn with_windows(self, config: &Config) -> Self {
        self.with_windows_in(config, std::iter::repeat(true))
    }

    /// The same with that window in the layers that are `true`.
    pub fn with_windows_in(mut self, config: &Config, layers: impl IntoIterator<Item = bool>) -> Self {
        for (layer, has_window) in self.layers.iter_mut().zip(layers) {
            layer.window = config.facts.sliding_window.filter(|_| has_window);
        }
        self
    }
}

/// Which layers see only a window: `layer_types` says so, or the family's `rule` for the layer's index where the key is missing.
///
/// # Errors
/// A kind of layer that is not known; too few kinds.
pub fn sliding_layers(config: &Config, rule: impl Fn(u64) -> bool) -> Result<Vec<bool>, String> {
    let n_layers = config.facts.n_layers;
    let Some(kinds) = config.list("layer_types") else { return Ok((0..n_layers).map(rule).collect()) };
    let is_sliding = |layer_idx: u64| {
        let kind = usize::try_from(layer_idx).ok().and_then(|idx| kinds.get(idx)).unwrap_or(&Json::Null);
        match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(format!("layer_types[{layer_idx}] is {} in config.json", odd(kind, "not a kind of layer that is known"))),
        }
    };
    (0..n_layers).map(is_sliding).collect()
}

/// The function that a key names; `default` where it names none.
///
/// Source: `ACT2FN` in `activations.py`, transformers 4.57.6.
///
/// # Errors
/// A function that is not known.
pub fn activation(config: &Config, key: &str, default: Activation) -> Result<Activation, String> {
    let Some(name) = config.text(key) else { return Ok(default) };
    match name.to_ascii_lowercase().as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" | "gelu_python" => Ok(Activation::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Activation::GeluTanh),
        _ => Err(format!("{key} is {} in config.json, a function that is not known", name.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckpointConfig;

    fn facts(json: &str) -> CheckpointConfig {
        let json: serde_json::Map<_, _> = serde_json::from_str(json).unwrap();
        CheckpointConfig {
            n_layers: 4,
            n_embd: 64,
            n_heads: 4,
            head_dim: 16,
            sliding_window: Some(8),
            json,
            ..Default::default()
        }
    }

    #[test]
    fn windows_are_where_layer_types_or_the_rule_put_them() {
        let check = |json: &str, expected: Result<[bool; 4], &str>| {
            let facts = facts(json);
            let found = sliding_layers(&Config::of(&facts), |layer_idx| layer_idx >= 3);
            match expected {
                Ok(expected) => assert_eq!(found.unwrap(), expected, "{json}"),
                Err(expected) => assert!(found.as_ref().unwrap_err().contains(expected), "{json}: {found:?}"),
            }
        };
        check("{}", Ok([false, false, false, true]));
        let kinds = r#"{"layer_types":["sliding_attention","full_attention","sliding_attention","full_attention"]}"#;
        check(kinds, Ok([true, false, true, false]));
        check(r#"{"layer_types":["full_attention"]}"#, Err("layer_types[1] is null"));
        check(r#"{"layer_types":["linear_attention"]}"#, Err(r#"layer_types[0] is "linear_attention""#));
        let facts = facts("{}");
        let config = Config::of(&facts);
        let windows = |traits: Traits| traits.layers.iter().map(|layer| layer.window).collect::<Vec<_>>();
        let plain = Traits::plain(&config).unwrap();
        assert_eq!(windows(plain.clone()), [None; 4]);
        assert_eq!(windows(plain.clone().with_windows(&config)), [Some(8); 4]);
        assert_eq!(windows(plain.with_windows_in(&config, [true, false, false, true])), [Some(8), None, None, Some(8)]);
    }

    #[test]
    fn activations_are_told_apart_by_name() {
        let check = |name: &str, expected: Option<Activation>| {
            let facts = facts(&format!(r#"{{"hidden_act":{name}}}"#));
            assert_eq!(activation(&Config::of(&facts), "hidden_act", Activation::Silu).ok(), expected, "{name}");
        };
        check("null", Some(Activation::Silu));
        check(r#""SiLU""#, Some(Activation::Silu));
        check(r#""swish""#, Some(Activation::Silu));
        check(r#""gelu""#, Some(Activation::GeluErf));
        check(r#""gelu_pytorch_tanh""#, Some(Activation::GeluTanh));
        check(r#""gelu_new""#, Some(Activation::GeluTanh));
        check(r#""quick_gelu""#, None);
    }
}
