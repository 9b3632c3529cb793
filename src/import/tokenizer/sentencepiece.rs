//! SentencePiece vocabularies: pieces with scores, from `tokenizer.model`.

use serde_json::Value as Json;

use super::bpe::looks_special;
use super::entries::{Entries, TokenType, Tokens};
use super::files::Folder;
use super::json::{MAX_TOKENS, TokenizerJson};
use super::protobuf::{Field, Message};
use super::settings::added_by_number;
use super::special::{Special, Wanted};
use crate::error::Result;
use crate::model::Text;

const NAME: &str = "tokenizer.model";
/// Score of tokens that were added to a vocabulary.
const ADDED_SCORE: f32 = -1000.0;

/// A trained model.
///
/// Source of the numbers of fields and their defaults: `sentencepiece_model.proto` in <https://github.com/google/sentencepiece>.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentencePiece {
    /// Its pieces in the order of their ids.
    pub pieces: Vec<Piece>,
    /// How it splits: 1 by probability (Unigram), 2 by merges (BPE).
    pub model_type: u64,
    /// True when it puts a space before a text.
    pub adds_space: bool,
    /// What it does to a text first: `nmt_nfkc`; empty if it replaces nothing.
    pub normalizer: String,
    /// True when it joins several spaces into one.
    pub joins_spaces: bool,
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// The text, with ▁ for a space.
    pub text: String,
    /// The higher, the sooner it is merged or the likelier it is.
    pub score: f32,
    /// What it is for. Pieces that the user defined count as text.
    pub kind: TokenType,
}

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

impl SentencePiece {
    /// Reads a folder's `tokenizer.model`; `None` when it is not there, or is of another kind and there is a `tokenizer.json`.
    ///
    /// # Errors
    /// `Error::DamagedFile` when it is damaged, `Error::UnknownTokenizer` when it is of another kind and there is no
    /// `tokenizer.json`, else as `Folder::bytes`.
    pub fn read(folder: &Folder, warnings: &mut Vec<String>) -> Result<Option<Self>> {
        let Some(bytes) = folder.bytes(NAME)? else { return Ok(None) };
        if let Some(kind) = other_kind_of(&bytes) {
            if !folder.has("tokenizer.json") {
                return Err(
                    folder.unknown(format!("{NAME} is {kind}, not a SentencePiece model, and there is no tokenizer.json"))
                );
            }
            warnings.push(format!("{NAME} is {kind}, not a SentencePiece model: tokenizer.json is used instead"));
            return Ok(None);
        }
        Self::parse(&bytes).map(Some).map_err(|what| folder.damaged(NAME, what))
    }

    /// Reads the bytes of a `tokenizer.model`.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let (normalizer, joins_spaces) = (String::new(), false);
        let mut model = Self { pieces: Vec::new(), model_type: UNIGRAM, adds_space: true, normalizer, joins_spaces };
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => {
                    if model.pieces.len() as u64 >= MAX_TOKENS {
                        return Err(format!("more than {MAX_TOKENS} pieces"));
                    }
                    let piece = Piece::parse(bytes).map_err(|what| format!("in piece {}: {what}", model.pieces.len()))?;
                    model.pieces.push(piece);
                }
                (2, Field::Bytes(bytes)) => model.read_number(bytes, 3, |model, number| model.model_type = number)?,
                (3, Field::Bytes(bytes)) => {
                    // Several spaces become one unless the file says otherwise.
                    model.joins_spaces = true;
                    model.read_number(bytes, 3, |model, number| model.adds_space = number != 0)?;
                    model.read_number(bytes, 4, |model, number| model.joins_spaces = number != 0)?;
                    model.read_normalizer(bytes)?;
                }
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err("it has no pieces".into());
        }
        Ok(model)
    }

    fn read_number(&mut self, bytes: &[u8], wanted: u64, set: fn(&mut Self, u64)) -> std::result::Result<(), String> {
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next_field()? {
            if let (true, Field::Number(value)) = (number == wanted, field) {
                set(self, value);
            }
        }
        Ok(())
    }
}

impl SentencePiece {
    fn read_normalizer(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        let mut message = Message::new(bytes);
        let mut has_map = false;
        while let Some((number, field)) = message.next_field()? {
            match (number, field) {
                (1, Field::Bytes(name)) => {
                    self.normalizer = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(32).collect();
                }
                (2, Field::Bytes(map)) => has_map = !map.is_empty(),
                _ => {}
            }
        }
        // Without a table of replacements nothing is replaced, whatever the name.
        if !has_map {
            self.normalizer.clear();
        } else if self.normalizer.is_empty() {
            self.normalizer = "a table of its own".into();
        }
        Ok(())
    }
}

/// What a `tokenizer.model` is if it is not a SentencePiece model; `None` if it is one, is damaged or is missing.
///
/// # Errors
/// As `Folder::bytes`.
pub(super) fn other_kind(folder: &Folder) -> Result<Option<&'static str>> {
    Ok(folder.bytes(NAME)?.and_then(|bytes| other_kind_of(&bytes)))
}

/// Llama 3's own file has lines of base64, each with its rank; Mistral's is JSON. `convert_hf_to_gguf.py` fails at both.
fn other_kind_of(bytes: &[u8]) -> Option<&'static str> {
    let is_ranked = |line: &[u8]| {
        let mut parts = line.split(|&byte| byte == b' ');
        let (token, rank) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        !token.is_empty()
            && token.iter().all(is_base64)
            && !rank.is_empty()
            && rank.iter().all(u8::is_ascii_digit)
            && parts.next().is_none()
    };
    let mut lines =
        bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty()).take(3).peekable();
    if lines.peek().is_some() && lines.all(is_ranked) {
        return Some("tiktoken's");
    }
    bytes.trim_ascii_start().starts_with(b"{").then_some("JSON")
}

impl Piece {
    fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: TokenType::Normal };
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next_field()? {
            match (number, field) {
                (1, Field::Bytes(text)) => {
                    piece.text = std::str::from_utf8(text).map_err(|error| format!("not UTF-8: {error}"))?.into();
                }
                (2, Field::Fixed32(score)) => piece.score = f32::from_le_bytes(score),
                (3, Field::Number(kind)) => {
                    piece.kind = match kind {
                        2 => TokenType::Unknown,
                        3 => TokenType::Control,
                        5 => TokenType::Unused,
                        6 => TokenType::Byte,
                        _ => TokenType::Normal,
                    };
                }
                _ => {}
            }
        }
        Ok(piece)
    }
}

/// How a class treats added tokens and the space before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    /// As most classes do.
    Usual,
    /// The same, and no space before a text.
    Gemma,
    /// As Phi-3 does: its `tokenizer.json` counts too, and nothing but a file makes a token special.
    Phi3,
}

/// Writes a SentencePiece vocabulary; false when there is no `tokenizer.model`.
///
/// Source: `_set_vocab_sentencepiece` in `conversion/base.py` and `Phi3MiniModel.set_vocab` in `conversion/phi.py`, llama.cpp of
/// 2026-08-21. As there, a Unigram model gets the same kind, with a warning: llama.cpp merges its pieces by score.
///
/// # Errors
/// `Error::DamagedFile` and `Error::UnknownTokenizer` for files that are damaged or contradict themselves.
pub(super) fn add_sentencepiece(
    folder: &Folder,
    n_vocab: u64,
    overlay: Overlay,
    entries: &mut Entries,
    warnings: &mut Vec<String>,
) -> Result<bool> {
    let Some(model) = SentencePiece::read(folder, warnings)? else { return Ok(false) };
    if model.model_type != BPE {
        warnings.push("tokenizer.model is not a BPE model: llama.cpp may split some texts differently".into());
    }
    let says_space = entries.0.find("tokenizer.ggml.add_space_prefix").is_some() || overlay == Overlay::Gemma;
    if !model.adds_space && !says_space {
        warnings.push("the tokenizer puts no space before a text, llama.cpp does".into());
    }
    if !matches!(model.normalizer.as_str(), "" | "identity") {
        warnings.push(format!(
            "llama.cpp does not have the normalizer of tokenizer.model ({}): some texts are split into other tokens",
            model.normalizer
        ));
    }
    if model.joins_spaces {
        warnings.push("the tokenizer joins several spaces into one, llama.cpp does not".into());
    }
    let n_tokens = if n_vocab == 0 { model.pieces.len() as u64 } else { n_vocab };
    if n_tokens > MAX_TOKENS {
        return Err(folder.unknown(format!("the model has {n_tokens} tokens, at most {MAX_TOKENS} are read")));
    }
    let n_tokens = usize::try_from(n_tokens).unwrap_or(0);
    if model.pieces.len() > n_tokens {
        warnings.push(format!("tokenizer.model has {} pieces, the model only {n_tokens} tokens", model.pieces.len()));
    }
    let mut tokens = Tokens::unused(n_tokens);
    for (id, piece) in model.pieces.into_iter().enumerate() {
        tokens.put(id, Text::from(piece.text.as_str()), piece.score, piece.kind);
    }
    let json = TokenizerJson::read(folder)?;
    let mut n_beyond = add_from_added_tokens(folder, &mut tokens)?;
    let config = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let mut added = match config.get("added_tokens_decoder").and_then(Json::as_object) {
        Some(added) => added_by_number(added).map_err(|what| folder.damaged("tokenizer_config.json", what))?,
        None => Vec::new(),
    };
    if overlay == Overlay::Phi3 {
        added.extend(json.as_ref().map(TokenizerJson::added_tokens).unwrap_or_default().iter().cloned());
    }
    for token in added {
        let is_control = token.special || overlay != Overlay::Phi3 && looks_special(&token.content);
        let (text, kind) = match overlay {
            _ if is_control => (token.content, TokenType::Control),
            Overlay::Phi3 => (token.content, TokenType::UserDefined),
            Overlay::Usual | Overlay::Gemma => (token.content.replace('\u{2581}', " "), TokenType::UserDefined),
        };
        match usize::try_from(token.id).ok().filter(|&id| id < n_tokens) {
            Some(id) => tokens.put(id, Text::from(text.as_str()), ADDED_SCORE, kind),
            None => n_beyond += 1,
        }
    }
    if n_beyond > 0 {
        let beyond = format!("beyond the model's {n_tokens} tokens");
        warnings.push(match n_beyond {
            1 => format!("1 added token has a number {beyond}; it is left out"),
            n => format!("{n} added tokens have numbers {beyond}; they are left out"),
        });
    }
    warnings.extend(tokens.make_unique());
    let mut special = Special::read(folder, json.as_ref(), Wanted { n_tokens: Some(n_tokens), ..Wanted::default() })?;
    special.find_end(folder, &tokens.texts)?;
    entries.vocabulary("llama", "default", tokens);
    warnings.append(&mut special.warnings);
    special.add_to(entries);
    Ok(true)
}

/// Lays `added_tokens.json` over the vocabulary; returns how many of its tokens have no place there.
fn add_from_added_tokens(folder: &Folder, tokens: &mut Tokens) -> Result<usize> {
    const NAME: &str = "added_tokens.json";
    let mut n_beyond = 0;
    for (text, id) in folder.json(NAME)?.unwrap_or_default() {
        let id = id.as_u64().ok_or_else(|| folder.damaged(NAME, format!("{text:?} has no number")))?;
        match usize::try_from(id).ok().filter(|&id| id < tokens.texts.len()) {
            Some(id) => tokens.put(id, Text::from(text.as_str()), ADDED_SCORE, TokenType::UserDefined),
            None => n_beyond += 1,
        }
    }
    Ok(n_beyond)
}
