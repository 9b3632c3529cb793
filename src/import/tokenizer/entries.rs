//! Key-values in the order in which the converter writes them, and its kinds of tokens.

use std::collections::HashMap;

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
    /// Nothing: fills up the vocabulary.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

/// A vocabulary in the order of its ids.
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
    /// `n_tokens` unused tokens, as they fill up a SentencePiece vocabulary.
    pub fn unused(n_tokens: usize) -> Self {
        Self {
            texts: (0..n_tokens).map(|id| pad_text(id as u64)).collect(),
            scores: vec![-10_000.0; n_tokens],
            types: vec![TokenType::Unused; n_tokens],
        }
    }

    /// Gives each token a text of its own: llama.cpp loads no file in which two have the same. Tokens that fill up the
    /// vocabulary get texts that no token has (the ones of `convert_hf_to_gguf.py` may be taken); of two others, the one that
    /// encoding finds keeps its text. Returns what the user should know.
    pub fn make_unique(&mut self) -> Option<String> {
        let is_filler = |tokens: &Self, id: usize| {
            tokens.types.get(id) == Some(&TokenType::Unused) && tokens.texts.get(id) == Some(&pad_text(id as u64))
        };
        let is_added =
            |tokens: &Self, id: usize| matches!(tokens.types.get(id), Some(TokenType::Control | TokenType::UserDefined));
        let mut owners: HashMap<Text, usize> = HashMap::with_capacity(self.texts.len());
        let (mut fillers, mut others) = (Vec::new(), Vec::new());
        for id in 0..self.texts.len() {
            let text = &self.texts[id];
            // llama.cpp gives tokens without a text one of their own.
            if text.0.is_empty() {
                continue;
            }
            if is_filler(self, id) {
                fillers.push(id);
                continue;
            }
            match owners.get(text).copied() {
                // An added token is looked for before the text is split.
                Some(other) if is_added(self, id) && !is_added(self, other) => {
                    owners.insert(text.clone(), id);
                    others.push(other);
                }
                Some(_) => others.push(id),
                None => {
                    owners.insert(text.clone(), id);
                }
            }
        }
        let example = others.first().map(|&id| self.texts[id].lossy().escape_debug().take(40).collect::<String>());
        for &id in fillers.iter().chain(&others) {
            let mut text = pad_text(id as u64);
            while owners.contains_key(&text) {
                text.0.push(b'_');
            }
            owners.insert(text.clone(), id);
            self.texts[id] = text;
            self.types[id] = TokenType::Unused;
        }
        example.map(|example| match others.len() {
            1 => format!("two tokens have the text {example}: llama.cpp loads only one of them, the other is called {:?}", self.texts[others[0]]),
            n => format!("{n} tokens have the text of another one, such as {example}: llama.cpp loads none of these, they are called [PAD…]"),
        })
    }

    /// Puts a token in the place of its id; does nothing beyond the end.
    pub fn put(&mut self, id: usize, text: Text, score: f32, kind: TokenType) {
        if let (Some(place), Some(own_score), Some(own_kind)) =
            (self.texts.get_mut(id), self.scores.get_mut(id), self.types.get_mut(id))
        {
            (*place, *own_score, *own_kind) = (text, score, kind);
        }
    }
}

/// Text of a token that fills up the vocabulary.
pub(super) fn pad_text(id: u64) -> Text {
    Text::from(format!("[PAD{id}]").as_str())
}

/// Key-values under `tokenizer.`; one that is set again keeps its place.
#[derive(Debug, Default)]
pub(super) struct Entries(pub Metadata);

impl Entries {
    /// Sets a yes or no under `tokenizer.ggml.`.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.0.set(&format!("tokenizer.ggml.{key}"), Value::Bool(flag));
    }

    /// Sets a whole number under `tokenizer.ggml.`.
    pub fn number(&mut self, key: &str, number: u32) {
        self.0.set(&format!("tokenizer.ggml.{key}"), Value::U32(number));
    }

    /// Sets a list of texts under its whole key; an empty one is left out.
    pub fn texts(&mut self, key: &str, texts: Vec<Text>) {
        if !texts.is_empty() {
            self.0.set(key, Value::Array(Array::Str(texts)));
        }
    }

    /// Sets a text under its whole key; an empty one is left out.
    pub fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.0.set(key, Value::Str(Text::from(text)));
        }
    }

    /// Sets the kind of vocabulary, the pre-tokenizer, and the tokens, which `make_unique` must have looked at.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_have_one_text() {
        use TokenType::{Control, Normal, Unused, UserDefined};
        let check = |all: &[(&str, TokenType)], expected: &[&str], warning: &str| {
            let (texts, types) = all.iter().map(|(text, kind)| (Text::from(*text), *kind)).unzip();
            let mut tokens = Tokens { texts, types, scores: Vec::new() };
            let found = tokens.make_unique().unwrap_or_default();
            assert_eq!(tokens.texts, expected.iter().map(|&text| Text::from(text)).collect::<Vec<_>>(), "{all:?}");
            assert!(found.contains(warning) && found.is_empty() == warning.is_empty(), "{found}");
        };
        check(&[("a", Normal), ("[PAD1]", Unused)], &["a", "[PAD1]"], "");
        check(&[("[PAD1]", Control), ("[PAD1]", Unused)], &["[PAD1]", "[PAD1]_"], "");
        check(&[("[PAD2]", Normal), ("[PAD2]_", Normal), ("[PAD2]", Unused)], &["[PAD2]", "[PAD2]_", "[PAD2]__"], "");
        check(&[("a", Normal), ("a", UserDefined)], &["[PAD0]", "a"], "two tokens have the text a");
        check(&[("a", Control), ("a", Normal)], &["a", "[PAD1]"], "two tokens have the text a");
        check(
            &[("a", Normal), ("a", Normal), ("a", Normal)],
            &["a", "[PAD1]", "[PAD2]"],
            "2 tokens have the text of another one, such as a",
        );
        check(&[("", Normal), ("", Normal)], &["", ""], "");
    }
}
