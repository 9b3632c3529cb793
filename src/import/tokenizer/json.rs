//! `tokenizer.json` as far as it is needed, with limits on what a hostile file could ask for.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::files::Folder;
use crate::error::Result;
use crate::format::from_python_json;

const NAME: &str = "tokenizer.json";
/// No vocabulary has more tokens: the largest have a quarter of a million.
pub(super) const MAX_TOKENS: u64 = 1 << 22;
/// Most tokens outside of the vocabulary proper. Gemma has six thousand.
const MAX_ADDED_TOKENS: usize = 1 << 18;
/// Most values in the description of a normalizer, pre-tokenizer, post-processor or decoder.
const MAX_VALUES: usize = 1 << 14;

/// What Hugging Face's tokenizers library keeps of a tokenizer.
#[derive(Debug, Deserialize)]
pub(super) struct TokenizerJson {
    /// Tokens that are recognised before the text is split; many are in the vocabulary too.
    #[serde(default)]
    pub added_tokens: AddedTokens,
    /// What changes the text first.
    #[serde(default)]
    pub normalizer: Part,
    /// What splits it.
    #[serde(default)]
    pub pre_tokenizer: Part,
    /// What adds special tokens.
    #[serde(default)]
    pub post_processor: Part,
    /// What makes text of tokens.
    #[serde(default)]
    pub decoder: Part,
    /// The vocabulary.
    pub model: ModelJson,
}

/// A token outside of the vocabulary proper.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct AddedEntry {
    /// Its id.
    pub id: u64,
    /// Its text.
    pub content: String,
    /// Matches whole words only.
    pub single_word: bool,
    /// Takes the spaces before it with it.
    pub lstrip: bool,
    /// Takes the spaces after it with it.
    pub rstrip: bool,
    /// Is looked for in the normalized text; by default only if it is not special.
    pub normalized: Option<bool>,
    /// Steers the model instead of being text.
    pub special: bool,
}

/// Tokens outside of the vocabulary proper, in the order of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct AddedTokens(pub Vec<AddedEntry>);

/// The vocabulary and its rules.
#[derive(Debug, Deserialize)]
pub(super) struct ModelJson {
    /// `BPE`, `WordPiece`, `Unigram`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// The tokens.
    #[serde(default)]
    pub vocab: Vocab,
    /// Pairs in the order in which they are merged.
    #[serde(default)]
    pub merges: Merges,
    /// The token for what is not in the vocabulary.
    #[serde(default)]
    pub unk_token: Option<String>,
    /// Prefix of pieces inside a word.
    #[serde(default)]
    pub continuing_subword_prefix: Option<String>,
    /// Suffix of the last piece of a word.
    #[serde(default)]
    pub end_of_word_suffix: Option<String>,
    /// True when several unknown pieces become one.
    #[serde(default)]
    pub fuse_unk: Option<bool>,
    /// True when unknown characters become their bytes.
    #[serde(default)]
    pub byte_fallback: Option<bool>,
    /// True when a whole word that is a token is not merged.
    #[serde(default)]
    pub ignore_merges: Option<bool>,
    /// Longest word that is looked at, in characters.
    #[serde(default)]
    pub max_input_chars_per_word: Option<u64>,
}

/// Token texts and their ids; empty where the file has a list instead, as for a Unigram model.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Vocab(pub HashMap<String, u32>);

/// Pairs of tokens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Merges(pub Vec<(String, String)>);

/// A normalizer, pre-tokenizer, post-processor or decoder; null without one.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Part(pub Json);

impl TokenizerJson {
    /// Reads a folder's `tokenizer.json`; `None` when it is not there.
    ///
    /// # Errors
    /// `Error::Io` and `Error::NotAFile` when it cannot be opened, `Error::DamagedFile` when it is damaged or beyond limits.
    pub fn read(folder: &Folder) -> Result<Option<Self>> {
        let Some(bytes) = folder.bytes(NAME)? else { return Ok(None) };
        Self::parse(&bytes).map(Some).map_err(|what| folder.damaged(NAME, what))
    }

    /// Reads the text of a `tokenizer.json`.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let json: Self = from_python_json(bytes)?;
        let ids = json.model.vocab.0.values().map(|&id| u64::from(id)).chain(json.added_tokens().iter().map(|token| token.id));
        match ids.max() {
            Some(id) if id >= MAX_TOKENS => Err(format!("a token has the number {id}, at most {MAX_TOKENS} tokens are read")),
            _ => Ok(json),
        }
    }

    /// Reads a `vocab.json`: token texts and their ids.
    pub fn parse_vocab(bytes: &[u8]) -> std::result::Result<Vocab, String> {
        let vocab: Vocab = from_python_json(bytes)?;
        match vocab.0.values().max() {
            Some(&id) if u64::from(id) >= MAX_TOKENS => {
                Err(format!("a token has the number {id}, at most {MAX_TOKENS} tokens are read"))
            }
            _ => Ok(vocab),
        }
    }

    /// Tokens outside of the vocabulary proper.
    pub fn added_tokens(&self) -> &[AddedEntry] {
        &self.added_tokens.0
    }

    /// `BPE`, `WordPiece`, `Unigram`; old files do not say it.
    pub fn kind(&self) -> &str {
        match &self.model.kind {
            Some(kind) => kind,
            None if !self.model.merges.0.is_empty() => "BPE",
            None => "",
        }
    }
}

impl Part {
    /// Its fields; `None` for anything but an object.
    pub fn object(&self) -> Option<&Map<String, Json>> {
        self.0.as_object()
    }

    /// The part itself, or for a sequence the parts that it consists of; `list` names their field. Only objects count.
    pub fn steps<'a>(&'a self, list: &str) -> Vec<&'a Map<String, Json>> {
        fn collect<'a>(value: &'a Json, list: &str, steps: &mut Vec<&'a Map<String, Json>>) {
            let Some(object) = value.as_object() else { return };
            match object.get(list).and_then(Json::as_array) {
                Some(parts) => parts.iter().for_each(|part| collect(part, list, steps)),
                None => steps.push(object),
            }
        }
        let mut steps = Vec::new();
        collect(&self.0, list, &mut steps);
        steps
    }
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocab, A::Error> {
                let mut tokens = HashMap::new();
                while let Some((text, id)) = map.next_entry::<String, u32>()? {
                    tokens.insert(text, id);
                    if tokens.len() as u64 > MAX_TOKENS {
                        return Err(de::Error::custom(format!("more than {MAX_TOKENS} tokens")));
                    }
                }
                Ok(Vocab(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Vocab, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab::default())
            }
        }
        deserializer.deserialize_any(Tokens)
    }
}

impl<'de> Deserialize<'de> for AddedTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = AddedTokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of added tokens")
            }

            fn visit_unit<E: de::Error>(self) -> std::result::Result<AddedTokens, E> {
                Ok(AddedTokens::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<AddedTokens, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = seq.next_element()? {
                    tokens.push(token);
                    if tokens.len() > MAX_ADDED_TOKENS {
                        return Err(de::Error::custom(format!("more than {MAX_ADDED_TOKENS} added tokens")));
                    }
                }
                Ok(AddedTokens(tokens))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_unit<E: de::Error>(self) -> std::result::Result<Merges, E> {
                Ok(Merges::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Merges, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Merge(left, right)) = seq.next_element()? {
                    pairs.push((left, right));
                    if pairs.len() as u64 > MAX_TOKENS {
                        return Err(de::Error::custom(format!("more than {MAX_TOKENS} merges")));
                    }
                }
                Ok(Merges(pairs))
            }
        }
        deserializer.deserialize_any(Pairs)
    }
}

/// `"a b"` or, since transformers 4.45, `["a", "b"]`.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Merge, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => Ok(Merge(left.into(), right.into())),
                    _ => Err(E::custom("a merge that is not two tokens")),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Merge, A::Error> {
                let (left, right) = (seq.next_element()?, seq.next_element()?);
                match (left, right, seq.next_element::<IgnoredAny>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(de::Error::custom("a merge that is not two tokens")),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut n_left = MAX_VALUES;
        de::DeserializeSeed::deserialize(Few(&mut n_left), deserializer).map(Part)
    }
}

/// Reads a JSON value of few parts: without a limit, a small file could ask for a hundred times its size.
struct Few<'a>(&'a mut usize);

impl Few<'_> {
    fn count<E: de::Error>(&mut self) -> std::result::Result<(), E> {
        *self.0 = self.0.checked_sub(1).ok_or_else(|| E::custom(format!("more than {MAX_VALUES} values in one part")))?;
        Ok(())
    }
}

impl<'de> de::DeserializeSeed<'de> for Few<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> std::result::Result<Json, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Few<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> std::result::Result<Json, E> {
        Ok(flag.into())
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Json, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Json, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Json, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Json, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Few(&mut *self.0))? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Few(&mut *self.0))?;
            values.insert(key, value);
        }
        Ok(values.into())
    }
}
