//! The tokenizer of a checkpoint as key-values of GGUF, as `convert_hf_to_gguf.py` writes them.
//!
//! ```text
//! files (limits) ─ json (tokenizer.json), settings (tokenizer_config.json)
//!   ─ encoder (Hugging Face's own) ─ pre (which pre-tokenizer: hashes, else definitions) ─ bpe, wordpiece
//! tokenizer.model ─ protobuf ─ sentencepiece; llama_hf where only tokenizer.json is there
//!   ─ special (roles, merges), chat ─ entries ─ splitter (splits texts with both)
//! ```
//!
//! No file is trusted: sizes, counts and what a description could make of a text are limited.

mod bpe;
mod chat;
mod encoder;
mod end_token;
mod entries;
mod files;
mod frame;
#[cfg(test)]
mod golden_tests;
mod json;
mod llama_hf;
mod normalizer;
mod pre;
mod pre_definitions;
mod pre_hashes;
mod protobuf;
mod sentencepiece;
mod settings;
mod special;
mod splitter;
#[cfg(test)]
mod tests;
mod wordpiece;

use bpe::add_bpe;
use entries::Entries;
use files::{Folder, text_of};
use json::TokenizerJson;
use llama_hf::add_llama_hf;
use sentencepiece::{Overlay, add_sentencepiece};
use special::{Special, Wanted};
use wordpiece::add_wordpiece;

pub use splitter::{Splitter, TokenKind};

use super::{class_name, gguf_architecture};
use crate::error::{Error, Result};
use crate::format::config_value::flag_of;
use crate::model::{Checkpoint, CheckpointConfig, Value};

/// Key-values `tokenizer.*` of a checkpoint, in the order of `convert_hf_to_gguf.py`, and what the user should know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenizerMetadata {
    /// The key-values.
    pub entries: Vec<(String, Value)>,
    /// What was assumed, left out or contradicts itself.
    pub warnings: Vec<String>,
}

/// Which kinds of tokenizer a class may have, in the order in which they are tried.
///
/// Source: `set_vocab` of the classes in `conversion/`, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// SentencePiece, else Llama 2's BPE, else byte-level BPE.
    Llama,
    /// SentencePiece, else byte-level BPE.
    Either,
    /// SentencePiece, else Llama 2's BPE; no space before a text.
    Gemma,
    /// SentencePiece, else Llama 2's BPE; byte-level BPE if its settings name GPT-2's tokenizer.
    Phi3,
    /// Byte-level BPE.
    Bytes,
    /// WordPiece.
    WordPiece,
}

impl Way {
    /// The way of an architecture, by its name in GGUF.
    fn of(architecture: &str) -> Self {
        match architecture {
            "llama" | "granite" | "smollm3" => Self::Llama,
            "qwen2" | "qwen3" => Self::Either,
            "gemma2" | "gemma3" => Self::Gemma,
            "phi3" => Self::Phi3,
            "bert" => Self::WordPiece,
            _ => Self::Bytes,
        }
    }
}

/// Turns a checkpoint's tokenizer into key-values.
///
/// # Errors
/// `Error::UnknownTokenizer` for files that are missing and tokenizers that llama.cpp does not have, `Error::DamagedFile` for
/// damaged files, `Error::TokenBeyondModel` for a token without a row, `Error::Io` and `Error::NotAFile` for files that cannot
/// be opened.
pub fn tokenizer_metadata(checkpoint: &Checkpoint) -> Result<TokenizerMetadata> {
    read_tokenizer(checkpoint).map_err(|error| match error {
        Error::UnknownTokenizer { what, path } if what.starts_with("there is no") => {
            Error::UnknownTokenizer { what: checkpoint.with_unfinished(what), path }
        }
        other => other,
    })
}

fn read_tokenizer(checkpoint: &Checkpoint) -> Result<TokenizerMetadata> {
    let folder = Folder { path: &checkpoint.path };
    match &checkpoint.config {
        Some(config) if checkpoint.path.is_dir() => metadata_of_folder(folder, config, n_vocab_of(checkpoint)),
        _ => Err(folder.unknown("there is no folder with config.json")),
    }
}

/// The same for a folder that need not hold weights; `n_vocab` is the number of the model's tokens.
fn metadata_of_folder(folder: Folder, config: &CheckpointConfig, n_vocab: u64) -> Result<TokenizerMetadata> {
    let architecture = gguf_architecture(config).ok_or_else(|| folder.unknown(format!("{} is not known", class_name(config))))?;
    let (mut entries, mut warnings) = (Entries::default(), Vec::new());
    match Way::of(architecture) {
        Way::Llama => add_llama(&folder, n_vocab, &mut entries, &mut warnings)?,
        Way::Either => {
            if !add_sentencepiece(&folder, n_vocab, Overlay::Usual, &mut entries, &mut warnings)? {
                add_bpe(&folder, n_vocab, &mut entries, &mut warnings)?;
            }
        }
        Way::Gemma => {
            let is_found = add_sentencepiece(&folder, n_vocab, Overlay::Gemma, &mut entries, &mut warnings)?
                || add_llama_hf(&folder, n_vocab, &mut entries, &mut warnings)?;
            if !is_found {
                return Err(folder.unknown("there is no tokenizer.model and no tokenizer.json of its kind"));
            }
            entries.flag("add_space_prefix", false);
        }
        Way::Phi3 => {
            let settings = folder.json("tokenizer_config.json")?.unwrap_or_default();
            if text_of(&settings, "tokenizer_class") == Some("GPT2Tokenizer") {
                add_bpe(&folder, n_vocab, &mut entries, &mut warnings)?;
            } else if !add_sentencepiece(&folder, n_vocab, Overlay::Phi3, &mut entries, &mut warnings)?
                && !add_llama_hf(&folder, n_vocab, &mut entries, &mut warnings)?
            {
                return Err(folder.unknown("there is no tokenizer.model and no tokenizer.json of its kind"));
            }
        }
        Way::Bytes => add_bpe(&folder, n_vocab, &mut entries, &mut warnings)?,
        Way::WordPiece => add_wordpiece(&folder, config, n_vocab, &mut entries, &mut warnings)?,
    }
    Ok(TokenizerMetadata { entries: entries.0.0, warnings })
}

/// The token ids of a text by the checkpoint's own tokenizer, without special tokens around it; `None` unless it is byte-level
/// BPE, the only kind whose tokens do not depend on what comes before the text.
///
/// # Errors
/// As `tokenizer_metadata`.
pub fn encode(checkpoint: &Checkpoint, text: &str) -> Result<Option<Vec<u32>>> {
    let folder = Folder { path: &checkpoint.path };
    let has = |name: &str| checkpoint.tokenizer_files.iter().any(|file| file == name);
    let is_sentencepiece = has("spiece.model") || has("tokenizer.model") && sentencepiece::other_kind(&folder)?.is_none();
    if is_sentencepiece || !checkpoint.path.is_dir() { Ok(None) } else { bpe::encode(&folder, text) }
}

/// Source: `LlamaModel.set_vocab` in `conversion/llama.py`, llama.cpp of 2026-08-21.
fn add_llama(folder: &Folder, n_vocab: u64, entries: &mut Entries, warnings: &mut Vec<String>) -> Result<()> {
    let settings = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let adds_space = settings.get("add_prefix_space").map_or(Ok(None), flag_of).unwrap_or_else(|what| {
        warnings.push(format!("tokenizer_config.json says add_prefix_space is {what}; it is left out"));
        None
    });
    if let Some(adds_space) = adds_space {
        entries.flag("add_space_prefix", adds_space);
    }
    if !add_sentencepiece(folder, n_vocab, Overlay::Usual, entries, warnings)?
        && !add_llama_hf(folder, n_vocab, entries, warnings)?
    {
        if folder.has("tekken.json") && !folder.has("tokenizer.json") {
            return Err(folder.unknown("tekken.json is not read, tokenizer.json is missing"));
        }
        add_bpe(folder, n_vocab, entries, warnings)?;
    }
    match n_vocab {
        // Code Llama: the tokens around an infill, and the one that ends it.
        32016 => {
            let roles = ["prefix", "suffix", "middle", "eot"];
            let json = TokenizerJson::read(folder)?;
            let mut special = Special::read(folder, json.as_ref(), Wanted { roles: &roles, ..Wanted::default() })?;
            special.set("eot", 32010);
            special.add_to(entries);
        }
        // Granite's small models, and all others of this size.
        49152 => entries.flag("add_bos_token", false),
        _ => {}
    }
    Ok(())
}

/// Number of tokens of the model: by `config.json`, else the rows of the embedding; 0 where neither tells.
fn n_vocab_of(checkpoint: &Checkpoint) -> u64 {
    let stated = checkpoint.config.as_ref().map_or(0, |config| config.n_vocab);
    let is_embedding =
        |name: &str| ["embed_tokens.weight", "wte.weight", "word_embeddings.weight"].iter().any(|end| name.ends_with(end));
    let rows = || checkpoint.tensors.iter().find(|tensor| is_embedding(&tensor.name)).and_then(|tensor| tensor.shape.first());
    if stated > 0 { stated } else { rows().copied().unwrap_or(0) }
}
