//! What an architecture's table needs of `config.json`, with the names and defaults of the field.

use serde_json::{Map, Value as Json};

use crate::model::CheckpointConfig;

/// More layers than any model has: llama.cpp's own limit is 512 (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// No dimension is larger: the product of two fits easily into 64 bits.
const MAX_DIM: u64 = 1 << 28;
/// No model is wider.
const MAX_WIDTH: u64 = 1 << 24;
/// No part of a head, no rank and no expert is wider: with the width and the number of heads or experts the product fits into 64 bits.
const MAX_PART: u64 = 1 << 20;
/// Most experts of a layer: llama.cpp's own limit (`LLAMA_MAX_EXPERTS`).
const MAX_EXPERTS: u64 = 1024;
/// Most experts, and most heads, of all layers together: a table lists them one by one. The largest models have 24,000 experts.
const MAX_IN_ALL_LAYERS: u64 = 1 << 16;

/// A configuration whose numbers have been found possible.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// What `config.json` says.
    pub facts: &'a CheckpointConfig,
}

impl<'a> Config<'a> {
    /// Checks the numbers that every architecture has.
    ///
    /// # Errors
    /// What is missing or impossible.
    pub fn checked(facts: &'a CheckpointConfig) -> Result<Self, String> {
        let &CheckpointConfig { n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_experts, .. } = facts;
        for (name, number) in [
            ("num_hidden_layers", n_layers),
            ("hidden_size", n_embd),
            ("intermediate_size", n_ff),
            ("num_attention_heads", n_heads),
            ("head_dim", head_dim),
            ("vocab_size", n_vocab),
        ] {
            if number == 0 {
                return Err(format!("config.json does not say {name}"));
            }
        }
        if n_layers > MAX_LAYERS {
            return Err(format!("config.json says {n_layers} layers, llama.cpp runs at most {MAX_LAYERS}"));
        }
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            return Err(format!("{n_heads} attention heads cannot share {n_kv_heads} key and value heads"));
        }
        let widest = [n_embd, n_ff, n_vocab, n_experts, n_heads.saturating_mul(head_dim)].into_iter().max().unwrap_or(0);
        let n_listed = n_layers.saturating_mul(n_heads.max(n_experts));
        let is_too_wide = widest > MAX_DIM || n_embd.max(n_ff) > MAX_WIDTH || head_dim > MAX_PART;
        if is_too_wide || n_experts > MAX_EXPERTS || n_listed > MAX_IN_ALL_LAYERS {
            return Err("the numbers of config.json are impossibly large".into());
        }
        Ok(Self { facts })
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> u64 {
        self.facts.n_heads * self.facts.head_dim
    }

    /// Width of all key heads, which is that of all value heads.
    pub fn kv_width(&self) -> u64 {
        self.facts.n_kv_heads * self.facts.head_dim
    }

    /// Everything in `config.json`.
    pub fn json(&self) -> &'a Map<String, Json> {
        &self.facts.json
    }

    fn value(&self, keys: &[&str]) -> Option<&'a Json> {
        keys.iter().find_map(|key| self.json().get(*key).filter(|value| !value.is_null()))
    }

    /// The first of these keys that is there, as a whole number up to 2^28.
    pub fn number(&self, keys: &[&str]) -> Option<u64> {
        self.value(keys)?.as_u64().filter(|&number| number <= MAX_DIM)
    }

    /// A dimension that the architecture needs, at least 1 and at most 2^20.
    ///
    /// # Errors
    /// That it is missing or impossible.
    pub fn dim(&self, key: &str) -> Result<u64, String> {
        let number = self.number(&[key]).filter(|&number| number > 0 && number <= MAX_PART);
        number.ok_or_else(|| format!("config.json does not say a possible {key}"))
    }

    /// True where the configuration has the key at all, be it null.
    pub fn has(&self, key: &str) -> bool {
        self.json().contains_key(key)
    }

    /// The first of these keys that is there, as a finite number.
    pub fn float(&self, keys: &[&str]) -> Option<f64> {
        self.value(keys)?.as_f64().filter(|number| number.is_finite())
    }

    /// A yes or no; `None` where it says nothing.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value(&[key])?.as_bool()
    }

    /// Refuses a yes or no that the architecture knows in one way only.
    ///
    /// # Errors
    /// The key.
    pub fn expect(&self, key: &str, expected: bool) -> Result<(), String> {
        match self.flag(key) {
            Some(found) if found != expected => Err(format!("{key} is {found} in config.json, which llama.cpp cannot follow")),
            _ => Ok(()),
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.value(&[key])?.as_str()
    }

    /// A list.
    pub fn list(&self, key: &str) -> Option<&'a [Json]> {
        Some(self.value(&[key])?.as_array()?.as_slice())
    }

    /// An object.
    pub fn object(&self, keys: &[&str]) -> Option<&'a Map<String, Json>> {
        self.value(keys)?.as_object()
    }
}
