//! Key-values that every architecture has, as `convert_hf_to_gguf.py` writes them.

use serde_json::{Map, Value as Json};

use super::config::{Config, positive_of};
use super::limits::check_rope_factor;
use crate::format::config_value::{number_of, odd, whole_of};
use crate::model::{Array, Text, Value};

/// Key-values under an architecture's name, in order.
#[derive(Debug)]
pub struct Keys {
    architecture: &'static str,
    /// The key-values so far.
    pub all: Vec<(String, Value)>,
}

/// The settings of RoPE: `rope_parameters`, else `rope_scaling`; what they lack is filled in from keys outside of both.
///
/// Source: `TextModel.__init__` in `conversion/base.py`, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    /// Settings of the layers that see the whole context.
    pub full: Map<String, Json>,
    /// Base of the layers that see a window, where it differs.
    pub sliding_theta: Option<f64>,
}

impl Rope {
    /// What a configuration says. Numbers written as texts become numbers; values that cannot be read are complaints.
    pub fn of(config: &Config) -> Self {
        let mut both = config.object(&["rope_parameters", "rope_scaling"]).cloned().unwrap_or_default();
        both.retain(|_, value| !value.is_null());
        let inner = |key: &str| {
            let value = both.get(key)?;
            config.read(key, value, |_| value.as_object().map(Some).ok_or_else(|| odd(value, "not an object")))
        };
        let (full, sliding) = (inner("full_attention"), inner("sliding_attention"));
        let mut rope = if full.is_some() || sliding.is_some() {
            let sliding_theta = sliding.and_then(|part| config.read("rope_theta", part.get("rope_theta")?, positive_of));
            Self { full: full.cloned().unwrap_or_default(), sliding_theta }
        } else {
            Self::with_outside(config, both)
        };
        rope.read_numbers(config);
        rope
    }

    fn with_outside(config: &Config, mut full: Map<String, Json>) -> Self {
        let theta =
            config.positive(&["global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"]);
        let outside = [
            ("rope_theta", theta.map(Json::from)),
            ("rope_type", full.get("type").cloned()),
            ("partial_rotary_factor", config.float(&["partial_rotary_factor", "rope_pct", "rope_percent"]).map(Json::from)),
            ("original_max_position_embeddings", config.number(&["original_max_position_embeddings"]).map(Json::from)),
        ];
        for (key, value) in outside {
            if let (false, Some(value)) = (full.contains_key(key), value) {
                full.insert(key.into(), value);
            }
        }
        let local = ["local_rope_theta", "rope_local_theta", "rope_theta_local", "swa_rope_theta", "rope_local_base_freq"];
        Self { full, sliding_theta: config.positive(&local) }
    }

    /// Turns numbers written as texts into numbers.
    fn read_numbers(&mut self, config: &Config) {
        for (key, value) in &mut self.full {
            let read = match key.as_str() {
                "rope_theta" | "factor" | "low_freq_factor" | "high_freq_factor" => {
                    config.read(key, value, positive_of).map(Json::from)
                }
                "original_max_position_embeddings" => config.read(key, value, whole_of).map(Json::from),
                "attention_factor"
                | "attn_factor"
                | "beta_fast"
                | "beta_slow"
                | "extrapolation_factor"
                | "mscale"
                | "mscale_all_dim"
                | "partial_rotary_factor" => config.read(key, value, number_of).map(Json::from),
                "long_factor" | "short_factor" => config.read(key, value, numbers_of).map(Json::from),
                "rope_type" | "type" if !value.is_string() && !value.is_null() => {
                    config.complain(format!("{key} is {},", odd(value, "not a text")));
                    None
                }
                _ => continue,
            };
            *value = read.unwrap_or_else(|| value.take());
        }
    }

    /// The kind of scaling: `linear`, `yarn`, `llama3`, `longrope`; empty without one.
    pub fn kind(&self) -> &str {
        self.full.get("rope_type").and_then(Json::as_str).unwrap_or_default()
    }

    /// A number among the settings; `None` if it is missing.
    pub fn float(&self, key: &str) -> Option<f64> {
        self.full.get(key)?.as_f64().filter(|number| number.is_finite())
    }
}

/// What keeps the roots of RMS norms away from 0.
pub fn rms_epsilon(config: &Config) -> Option<f64> {
    config.float(&["rms_norm_eps", "norm_eps"])
}

/// How many experts a token passes through.
pub fn n_experts_used(config: &Config) -> Option<u64> {
    config.number(&["num_experts_per_tok", "num_experts_per_token", "top_k_experts"])
}

/// A list of numbers.
fn numbers_of(value: &Json) -> Result<Option<Vec<f64>>, String> {
    let Some(list) = value.as_array() else {
        return if value.is_null() { Ok(None) } else { Err(odd(value, "not a list")) };
    };
    let numbers: Result<Vec<Option<f64>>, String> = list.iter().map(number_of).collect();
    numbers?
        .into_iter()
        .map(|number| number.ok_or_else(|| odd(value, "not a list of numbers")))
        .collect::<Result<Vec<f64>, _>>()
        .map(Some)
}

#[allow(clippy::cast_possible_truncation, reason = "GGUF keeps these numbers as f32")]
fn f32_of(number: f64) -> Value {
    Value::F32(number as f32)
}

impl Keys {
    /// An empty list for an architecture.
    pub fn new(architecture: &'static str) -> Self {
        Self { architecture, all: Vec::new() }
    }

    fn push(&mut self, key: &str, value: Value) {
        self.all.push((format!("{}.{key}", self.architecture), value));
    }

    /// Adds a whole number, as u32.
    pub fn number(&mut self, key: &str, number: u64) {
        self.push(key, Value::U32(u32::try_from(number).unwrap_or(u32::MAX)));
    }

    /// Replaces an earlier whole number; does nothing if there is none.
    pub fn set_number(&mut self, key: &str, number: u64) {
        let key = format!("{}.{key}", self.architecture);
        if let Some(entry) = self.all.iter_mut().find(|entry| entry.0 == key) {
            entry.1 = Value::U32(u32::try_from(number).unwrap_or(u32::MAX));
        }
    }

    /// Adds a number, as f32.
    pub fn float(&mut self, key: &str, number: f64) {
        self.push(key, f32_of(number));
    }

    /// Adds a whole number, if there is one.
    pub fn some_number(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    /// Adds a number, if there is one.
    pub fn some_float(&mut self, key: &str, number: Option<f64>) {
        if let Some(number) = number {
            self.float(key, number);
        }
    }

    /// Adds a yes or no.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.push(key, Value::Bool(flag));
    }

    /// Adds a text.
    pub fn text(&mut self, key: &str, text: &str) {
        self.push(key, Value::Str(Text::from(text)));
    }

    /// Adds a place for the file type; the level decides the value.
    pub fn file_type(&mut self) {
        self.all.push(("general.file_type".into(), Value::U32(0)));
    }

    /// Adds a list of texts.
    pub fn texts(&mut self, key: &str, texts: &[&str]) {
        self.push(key, Value::Array(Array::Str(texts.iter().map(|&text| text.into()).collect())));
    }

    /// Adds what all language models have: shape, RoPE, norms, experts. What `config.json` does not say is left out.
    ///
    /// Source: `TextModel.set_gguf_parameters` in `conversion/base.py`, llama.cpp of 2026-08-21.
    pub fn common(&mut self, config: &Config, rope: &Rope) {
        let facts = config.facts;
        self.number("block_count", facts.n_layers);
        self.some_number(
            "context_length",
            config.number(&[
                "max_position_embeddings",
                "n_ctx",
                "n_positions",
                "max_length",
                "max_sequence_length",
                "model_max_length",
            ]),
        );
        self.number("embedding_length", facts.n_embd);
        self.number("feed_forward_length", facts.n_ff);
        self.number("attention.head_count", facts.n_heads);
        if config.has("num_key_value_heads") {
            self.number("attention.head_count_kv", facts.n_kv_heads);
        }
        check_rope_factor(config, rope);
        self.rope_scaling(rope);
        self.some_float("rope.freq_base", rope.float("rope_theta"));
        self.some_float("rope.freq_base_swa", rope.sliding_theta);
        self.some_float("attention.layer_norm_rms_epsilon", rms_epsilon(config));
        self.some_float("attention.layer_norm_epsilon", config.float(&["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"]));
        if facts.n_experts > 0 {
            self.number("expert_count", facts.n_experts);
            self.some_number("expert_used_count", n_experts_used(config));
        }
        self.some_number("expert_group_count", config.number(&["n_group"]));
        self.some_number("expert_group_used_count", config.number(&["topk_group"]));
        match config.text("scoring_func") {
            Some("softmax") => self.number("expert_gating_func", 1),
            Some("sigmoid") => self.number("expert_gating_func", 2),
            Some(other) => config.complain(format!("scoring_func is {}, which llama.cpp cannot follow,", other.escape_debug())),
            None => {}
        }
        if config.number(&["head_dim"]).is_some() {
            self.number("attention.key_length", facts.head_dim);
            self.number("attention.value_length", facts.head_dim);
        }
        self.file_type();
    }

    /// Adds the kind of pooling of an embedding model.
    pub fn pooling(&mut self, config: &Config) {
        self.some_number("pooling_type", config.facts.pooling.map(|pooling| pooling as u64));
    }

    fn rope_scaling(&mut self, rope: &Rope) {
        match (rope.kind(), rope.float("factor")) {
            ("linear", Some(factor)) => {
                self.text("rope.scaling.type", "linear");
                self.float("rope.scaling.factor", factor);
            }
            ("yarn", Some(factor)) => {
                self.text("rope.scaling.type", "yarn");
                self.float("rope.scaling.factor", factor);
                if let Some(n) = rope.full.get("original_max_position_embeddings").and_then(Json::as_u64) {
                    self.number("rope.scaling.original_context_length", n);
                }
                for (key, name) in [
                    ("extrapolation_factor", "rope.scaling.yarn_ext_factor"),
                    ("attention_factor", "rope.scaling.yarn_attn_factor"),
                    ("beta_fast", "rope.scaling.yarn_beta_fast"),
                    ("beta_slow", "rope.scaling.yarn_beta_slow"),
                ] {
                    let other = if key == "attention_factor" { rope.float("attn_factor") } else { None };
                    if let Some(number) = rope.float(key).or(other) {
                        self.float(name, number);
                    }
                }
            }
            ("su" | "longrope", _) => self.text("rope.scaling.type", "longrope"),
            _ => {}
        }
    }
}
