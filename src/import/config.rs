//! What an architecture's table reads from `config.json`.

use std::cell::RefCell;

use serde_json::{Map, Value as Json};

use crate::format::config_value::{MAX_WHOLE, flag_of, number_of, odd, whole_of};
use crate::model::CheckpointConfig;

/// Most layers of a model: llama.cpp's own limit (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// No dimension is larger: the product of two fits easily into 64 bits.
const MAX_DIM: u64 = MAX_WHOLE;
/// No model is wider.
const MAX_WIDTH: u64 = 1 << 24;
/// No part of a head, no rank and no expert is wider: with the width and the number of heads or experts the product fits into 64 bits.
const MAX_PART: u64 = 1 << 20;
/// Most experts of a layer: llama.cpp's own limit (`LLAMA_MAX_EXPERTS`).
const MAX_EXPERTS: u64 = 1024;
/// Most experts, and most heads, in all layers together: a table lists them one by one. The largest models have 24,000 experts.
const MAX_IN_ALL_LAYERS: u64 = 1 << 16;

/// A configuration whose numbers have been found possible.
///
/// A value of another kind than its key has is never taken for absent: it is kept as a complaint, and `complaint` returns it at
/// the end. `convert_hf_to_gguf.py` writes such a value as it is, or leaves it out without a word.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// What `config.json` says.
    pub facts: &'a CheckpointConfig,
    complaints: RefCell<Vec<String>>,
    warnings: RefCell<Vec<String>>,
}

impl<'a> Config<'a> {
    /// Checks the numbers that every architecture has.
    ///
    /// # Errors
    /// What is missing or impossible.
    pub fn checked(facts: &'a CheckpointConfig) -> Result<Self, String> {
        if let Some(problem) = facts.odd_values.first() {
            return Err(format!("{problem} in config.json"));
        }
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
        Ok(Self::of(facts))
    }

    /// A configuration whose numbers need no check, because they come from one that was checked.
    pub fn of(facts: &'a CheckpointConfig) -> Self {
        Self { facts, complaints: RefCell::default(), warnings: RefCell::default() }
    }

    /// Keeps what is wrong with a value.
    pub fn complain(&self, text: String) {
        self.complaints.borrow_mut().push(text);
    }

    /// Keeps what the user should know.
    pub fn warn(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    /// Takes over the complaints and warnings of another configuration.
    pub fn take_over(&self, other: &Config) {
        self.complaints.borrow_mut().append(&mut other.complaints.borrow_mut());
        self.warnings.borrow_mut().append(&mut other.warnings.borrow_mut());
    }

    /// What is wrong with the first value that could not be read; `None` if all could.
    pub fn complaint(&self) -> Option<String> {
        self.complaints.borrow().first().map(|text| format!("{text} in config.json"))
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// What a reader makes of a value; a value that it cannot read is a complaint.
    pub fn read<T>(&self, key: &str, value: &Json, reader: impl FnOnce(&Json) -> Result<Option<T>, String>) -> Option<T> {
        reader(value).unwrap_or_else(|what| {
            self.complain(format!("{key} is {what},"));
            None
        })
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> u64 {
        self.facts.n_heads * self.facts.head_dim
    }

    /// Width of all key heads; all value heads together are as wide.
    pub fn kv_width(&self) -> u64 {
        self.facts.n_kv_heads * self.facts.head_dim
    }

    /// Everything in `config.json`.
    pub fn json(&self) -> &'a Map<String, Json> {
        &self.facts.json
    }

    /// The first of these keys that is there and not null, with its value.
    fn value<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Json)> {
        keys.iter().find_map(|&key| Some((key, self.json().get(key).filter(|value| !value.is_null())?)))
    }

    /// The first of these keys that is there, as a whole number up to 2^28.
    pub fn number(&self, keys: &[&str]) -> Option<u64> {
        let (key, value) = self.value(keys)?;
        self.read(key, value, whole_of)
    }

    /// A dimension that the architecture needs, at least 1 and at most 2^20.
    ///
    /// # Errors
    /// That the dimension is missing or impossible.
    pub fn dim(&self, key: &str) -> Result<u64, String> {
        let number = self.number(&[key]).filter(|&number| number > 0 && number <= MAX_PART);
        number.ok_or_else(|| format!("config.json has no possible value for {key}"))
    }

    /// True where the configuration has the key at all, even if it is null.
    pub fn has(&self, key: &str) -> bool {
        self.json().contains_key(key)
    }

    /// The first of these keys that is there, as a finite number.
    pub fn float(&self, keys: &[&str]) -> Option<f64> {
        let (key, value) = self.value(keys)?;
        self.read(key, value, number_of)
    }

    /// The first of these keys that is there, as a number above 0.
    pub fn positive(&self, keys: &[&str]) -> Option<f64> {
        let (key, value) = self.value(keys)?;
        self.read(key, value, positive_of)
    }

    /// A yes or no; `None` where it says nothing.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let (key, value) = self.value(&[key])?;
        self.read(key, value, flag_of)
    }

    /// Refuses a yes or no other than the one that llama.cpp can follow; a missing key passes.
    ///
    /// # Errors
    /// The key and its value.
    pub fn expect(&self, key: &str, expected: bool) -> Result<(), String> {
        match self.flag(key) {
            Some(found) if found != expected => Err(format!("{key} is {found} in config.json, which llama.cpp cannot follow")),
            _ => Ok(()),
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let (key, value) = self.value(&[key])?;
        self.read(key, value, |_| value.as_str().map(Some).ok_or_else(|| odd(value, "not a text")))
    }

    /// A list.
    pub fn list(&self, key: &str) -> Option<&'a [Json]> {
        let (key, value) = self.value(&[key])?;
        self.read(key, value, |_| value.as_array().map(|list| Some(list.as_slice())).ok_or_else(|| odd(value, "not a list")))
    }

    /// An object.
    pub fn object(&self, keys: &[&str]) -> Option<&'a Map<String, Json>> {
        let (key, value) = self.value(keys)?;
        // What Python takes for false, such as an empty list, counts as absent for the classes.
        let is_nothing = match value {
            Json::Bool(flag) => !flag,
            Json::String(text) => text.is_empty(),
            Json::Array(list) => list.is_empty(),
            _ => false,
        };
        if is_nothing {
            return None;
        }
        self.read(key, value, |_| value.as_object().map(Some).ok_or_else(|| odd(value, "not an object")))
    }
}

/// A number above 0.
pub fn positive_of(value: &Json) -> Result<Option<f64>, String> {
    match number_of(value)? {
        Some(number) if number <= 0.0 => Err(odd(value, "not above 0")),
        number => Ok(number),
    }
}
