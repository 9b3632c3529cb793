//! Key-values that every architecture has, as `convert_hf_to_gguf.py` writes them.

use serde_json::{Map, Value as Json};

use super::config::Config;
use crate::model::{Text, Value};

/// Key-values under an architecture's name, in order.
#[derive(Debug)]
pub struct Keys {
    architecture: &'static str,
    /// So far.
    pub all: Vec<(String, Value)>,
}

/// `rope_parameters`, else `rope_scaling`, with what stands outside of both laid under it.
///
/// Source: `TextModel.__init__` in `conversion/base.py`, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    /// Of layers that see the whole context.
    pub full: Map<String, Json>,
    /// Base of the layers that see a window, where it differs.
    pub sliding_theta: Option<f64>,
}

impl Rope {
    /// What a configuration says; `default_theta` is the base of the class where it says none.
    pub fn of(config: &Config, default_theta: Option<f64>) -> Self {
        let both = config.object(&["rope_parameters", "rope_scaling"]).cloned().unwrap_or_default();
        let inner = |key: &str| both.get(key).and_then(Json::as_object);
        if inner("full_attention").is_some() || inner("sliding_attention").is_some() {
            let sliding_theta = inner("sliding_attention").and_then(|part| part.get("rope_theta")?.as_f64());
            return Self { full: inner("full_attention").cloned().unwrap_or_default(), sliding_theta };
        }
        let mut full = both;
        let theta = config
            .float(&["global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"])
            .or(default_theta);
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
        Self { full, sliding_theta: config.float(&local) }
    }

    /// `linear`, `yarn`, `llama3`, `longrope`; empty without.
    pub fn kind(&self) -> &str {
        self.full.get("rope_type").and_then(Json::as_str).unwrap_or_default()
    }

    /// A number of it.
    pub fn float(&self, key: &str) -> Option<f64> {
        self.full.get(key)?.as_f64().filter(|number| number.is_finite())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "GGUF keeps these numbers as f32")]
fn f32_of(number: f64) -> Value {
    Value::F32(number as f32)
}

impl Keys {
    /// None yet.
    pub fn new(architecture: &'static str) -> Self {
        Self { architecture, all: Vec::new() }
    }

    fn push(&mut self, key: &str, value: Value) {
        self.all.push((format!("{}.{key}", self.architecture), value));
    }

    /// A whole number, as u32.
    pub fn number(&mut self, key: &str, number: u64) {
        self.push(key, Value::U32(u32::try_from(number).unwrap_or(u32::MAX)));
    }

    /// A number, as f32.
    pub fn float(&mut self, key: &str, number: f64) {
        self.push(key, f32_of(number));
    }

    /// A yes or no.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.push(key, Value::Bool(flag));
    }

    /// A text.
    pub fn text(&mut self, key: &str, text: &str) {
        self.push(key, Value::Str(Text::from(text)));
    }

    /// Any other value.
    pub fn value(&mut self, key: &str, value: Value) {
        self.push(key, value);
    }

    /// What all language models have: shape, RoPE, norms, experts.
    ///
    /// Source: `TextModel.set_gguf_parameters` in `conversion/base.py`, llama.cpp of 2026-08-21. What `config.json` leaves out has the
    /// default of its class in transformers, which `facts` and `defaults` hold.
    pub fn common(&mut self, config: &Config, rope: &Rope, defaults: Defaults) {
        let facts = config.facts;
        self.number("block_count", facts.n_layers);
        if let Some(n_ctx) = config
            .number(&["max_position_embeddings", "n_ctx", "n_positions", "max_length", "max_sequence_length", "model_max_length"])
            .or(defaults.n_ctx)
        {
            self.number("context_length", n_ctx);
        }
        self.number("embedding_length", facts.n_embd);
        if defaults.has_n_ff {
            self.number("feed_forward_length", facts.n_ff);
        }
        self.number("attention.head_count", facts.n_heads);
        if defaults.has_kv_heads {
            self.number("attention.head_count_kv", facts.n_kv_heads);
        }
        self.rope_scaling(rope);
        if let Some(theta) = rope.float("rope_theta") {
            self.float("rope.freq_base", theta);
        }
        if let Some(theta) = rope.sliding_theta {
            self.float("rope.freq_base_swa", theta);
        }
        if let Some(epsilon) = config.float(&["rms_norm_eps", "norm_eps"]).or(defaults.rms_norm_epsilon) {
            self.float("attention.layer_norm_rms_epsilon", epsilon);
        }
        if let Some(epsilon) = config.float(&["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"]).or(defaults.norm_epsilon) {
            self.float("attention.layer_norm_epsilon", epsilon);
        }
        if facts.n_experts > 0 {
            self.number("expert_count", facts.n_experts);
            let used = ["num_experts_per_tok", "num_experts_per_token", "top_k_experts"];
            if let Some(n) = config.number(&used).or(defaults.n_experts_used) {
                self.number("expert_used_count", n);
            }
        }
        if let Some(n) = config.number(&["n_group"]) {
            self.number("expert_group_count", n);
        }
        if let Some(n) = config.number(&["topk_group"]) {
            self.number("expert_group_used_count", n);
        }
        match config.text("scoring_func") {
            Some("softmax") => self.number("expert_gating_func", 1),
            Some("sigmoid") => self.number("expert_gating_func", 2),
            _ => {}
        }
        if defaults.has_head_dim {
            self.number("attention.key_length", facts.head_dim);
            self.number("attention.value_length", facts.head_dim);
        }
        // Its place; the level decides the value.
        self.all.push(("general.file_type".into(), Value::U32(0)));
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

/// What a class of transformers has where `config.json` says nothing, and which keys its configuration has at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defaults {
    /// Context length.
    pub n_ctx: Option<u64>,
    /// Epsilon of RMS norms.
    pub rms_norm_epsilon: Option<f64>,
    /// Epsilon of layer norms.
    pub norm_epsilon: Option<f64>,
    /// Experts that one token passes through.
    pub n_experts_used: Option<u64>,
    /// True where the configuration has a feed-forward width under a name that the converter looks for.
    pub has_n_ff: bool,
    /// True where it has a number of key and value heads.
    pub has_kv_heads: bool,
    /// True where it has a `head_dim`.
    pub has_head_dim: bool,
}
