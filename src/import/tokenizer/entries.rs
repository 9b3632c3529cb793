//! Key-values in the order in which the converter writes them, and what its kinds of tokens are called.

use crate::model::{Array, Metadata, Text, Value};

/// What a token is for.
///
/// Source: `TokenType` in `gguf-py/gguf/constants.py`, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    /// Text.
    Normal = 1,
    /// Stands for what is not in the vocabulary.
    Unknown = 2,
    /// Steers the model.
    Control = 3,
    /// Text that is never split.
    UserDefined = 4,
    /// Nothing: fills the vocabulary up.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

/// A vocabulary in the order of its numbers.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Their texts.
    pub texts: Vec<Text>,
    /// Their scores; empty where the kind of vocabulary has none.
    pub scores: Vec<f32>,
    /// Their types.
    pub types: Vec<TokenType>,
}

impl Tokens {
    /// So many unused ones, as they fill up a SentencePiece vocabulary.
    pub fn unused(n_tokens: usize) -> Self {
        Self {
            texts: (0..n_tokens).map(|id| pad_text(id as u64)).collect(),
            scores: vec![-10_000.0; n_tokens],
            types: vec![TokenType::Unused; n_tokens],
        }
    }

    /// Puts a token in its place, which must be one; nothing happens beyond the end.
    pub fn put(&mut self, id: usize, text: Text, score: f32, kind: TokenType) {
        if let (Some(place), Some(own_score), Some(own_kind)) =
            (self.texts.get_mut(id), self.scores.get_mut(id), self.types.get_mut(id))
        {
            (*place, *own_score, *own_kind) = (text, score, kind);
        }
    }
}

/// Text of a token that fills the vocabulary up.
pub(super) fn pad_text(id: u64) -> Text {
    Text::from(format!("[PAD{id}]").as_str())
}

/// Key-values under `tokenizer.`; one that is set again keeps its place.
#[derive(Debug, Default)]
pub(super) struct Entries(pub Metadata);

impl Entries {
    /// A yes or no.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.0.set(&format!("tokenizer.ggml.{key}"), Value::Bool(flag));
    }

    /// A whole number.
    pub fn number(&mut self, key: &str, number: u32) {
        self.0.set(&format!("tokenizer.ggml.{key}"), Value::U32(number));
    }

    /// A list of texts; an empty one is left out.
    pub fn texts(&mut self, key: &str, texts: Vec<Text>) {
        if !texts.is_empty() {
            self.0.set(key, Value::Array(Array::Str(texts)));
        }
    }

    /// A text; an empty one is left out.
    pub fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.0.set(key, Value::Str(Text::from(text)));
        }
    }

    /// Kind of vocabulary, pre-tokenizer and tokens.
    pub fn vocabulary(&mut self, kind: &str, pre: &str, tokens: Tokens) {
        self.text("tokenizer.ggml.model", kind);
        self.text("tokenizer.ggml.pre", pre);
        self.texts("tokenizer.ggml.tokens", tokens.texts);
        if !tokens.scores.is_empty() {
            self.0.set("tokenizer.ggml.scores", Value::Array(Array::F32(tokens.scores)));
        }
        if !tokens.types.is_empty() {
            let types = tokens.types.into_iter().map(|kind| kind as i32).collect();
            self.0.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
        }
    }
}
