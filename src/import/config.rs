//! What an architecture's table needs of `config.json`, with the names and defaults of the field.

use serde_json::{Map, Value as Json};

use crate::model::CheckpointConfig;

/// More layers than any model has: llama.cpp's own limit is 512 (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// No dimension is larger: the product of two fits easily into 64 bits.
const MAX_DIM: u64 = 1 << 28;

/// A configuration whose numbers have been found possible.
#[derive(Debug, Clone, Copy)]
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
        if widest > MAX_DIM {
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

    /// The first of these keys that is there, as a finite number.
    pub fn float(&self, keys: &[&str]) -> Option<f64> {
        self.value(keys)?.as_f64().filter(|number| number.is_finite())
    }

    /// A yes or no; `None` where it says nothing.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value(&[key])?.as_bool()
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
