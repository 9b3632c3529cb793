//! A checkpoint's tokenizer at work: Hugging Face's encoder, framed by the special tokens that the GGUF file of the checkpoint names.

use std::path::Path;

use super::encoder::Encoder;
use super::entries::TokenType;
use super::files::Folder;
use super::json::TokenizerJson;
use super::settings::Settings;
use super::{TokenizerMetadata, metadata_of_folder, tokenizer_metadata};
use crate::error::Result;
use crate::format::read_config;
use crate::import::class_of_runtime_type;
use crate::model::{Array, Checkpoint, CheckpointConfig, Metadata, Text, Value};

/// Pre-tokenizers of byte-level BPE whose texts start with a special token unless the file says otherwise.
///
/// Source: `llama_vocab::impl::load` in llama-vocab.cpp, llama.cpp of 2026-08-21 (`add_bos = true`).
const PRE_WITH_BOS: [&str; 11] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
    "chameleon",
];

/// What a token of a vocabulary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text, in the writing of its vocabulary.
    Piece,
    /// Text as it stands.
    Added,
    /// A special token.
    Mark,
}

/// A tokenizer that splits texts as llama.cpp does with the GGUF file made from the checkpoint. What stands for a special token in a text
/// is text, unless it is asked to split with marks.
pub struct Splitter {
    encoder: Encoder,
    /// In the order of their ids.
    tokens: Vec<(Text, TokenKind)>,
    is_byte_level: bool,
    bos: Option<u32>,
    eos: Option<u32>,
    ends_with_eos: bool,
    chat_template: Option<String>,
    special_texts: Vec<(String, String)>,
}

impl Splitter {
    /// Reads the tokenizer of a checkpoint.
    ///
    /// # Errors
    /// As [`tokenizer_metadata`]; `Error::UnknownTokenizer` for a checkpoint without `tokenizer.json`, and for an encoder's vocabulary.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        Self::of(Folder { path: &checkpoint.path }, tokenizer_metadata(checkpoint)?)
    }

    /// Reads the tokenizer of a folder that a runtime opens: `tokenizer.json` and what belongs to it. It splits as [`Splitter::read`] does
    /// for the checkpoint that the folder was made from.
    ///
    /// The class of the model comes from `config.json`; where that is missing, as in folders of ONNX Runtime's own model builder, from
    /// `runtime_type`, the type that the runtime's configuration names. `n_vocab` counts the model's tokens where `config.json` does not.
    ///
    /// # Errors
    /// As [`Splitter::read`]; `Error::UnknownTokenizer` where nothing names the class.
    pub fn read_folder(path: &Path, runtime_type: &str, n_vocab: u32) -> Result<Self> {
        let folder = Folder { path };
        let config = if folder.has("config.json") {
            read_config(&folder.file("config.json"))?
        } else {
            let class_name = class_of_runtime_type(runtime_type).ok_or_else(|| {
                folder.unknown(format!("there is no config.json, and the type {runtime_type:?} names no class"))
            })?;
            CheckpointConfig { class_name: class_name.into(), ..CheckpointConfig::default() }
        };
        let n_vocab = if config.n_vocab > 0 { config.n_vocab } else { n_vocab.into() };
        Self::of(folder, metadata_of_folder(folder, &config, n_vocab)?)
    }

    fn of(folder: Folder, metadata: TokenizerMetadata) -> Result<Self> {
        let metadata = Metadata(metadata.entries);
        let settings = Settings::read(&folder)?;
        let json = TokenizerJson::read(&folder)?;
        let mut json = json.ok_or_else(|| folder.unknown("there is no tokenizer.json, which splits the texts"))?;
        if json.kind() != "BPE" {
            return Err(folder.unknown("only vocabularies of BPE are split"));
        }
        let encoder = Encoder::new(&mut json, &settings).map_err(|what| folder.unknown(what))?.with_marks_as_text();
        let flag = |key: &str| match metadata.find(&format!("tokenizer.ggml.{key}")) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        };
        let is_byte_level = metadata.str("tokenizer.ggml.model").is_some_and(|model| model == "gpt2");
        let pre = metadata.str("tokenizer.ggml.pre").unwrap_or_default();
        let has_bos = flag("add_bos_token").unwrap_or(!is_byte_level || PRE_WITH_BOS.contains(&pre.as_ref()));
        // Source of the numbers: the same function.
        let [own_bos, own_eos] = if is_byte_level { [11, 11] } else { [1, 2] };
        let id = |role: &str, own: u32| {
            let id = metadata.u64(&format!("tokenizer.ggml.{role}_token_id")).map_or(Ok(own), u32::try_from);
            id.ok()
        };
        Ok(Self {
            encoder,
            tokens: tokens(&metadata),
            is_byte_level,
            bos: id("bos", own_bos).filter(|_| has_bos),
            eos: id("eos", own_eos),
            ends_with_eos: flag("add_eos_token").unwrap_or(false),
            chat_template: metadata.str("tokenizer.chat_template").map(std::borrow::Cow::into_owned),
            special_texts: settings.specials,
        })
    }

    /// The tokens of a text, nothing before or after it.
    ///
    /// # Errors
    /// What the library says.
    pub fn split(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        self.encoder.encode(text)
    }

    /// [`Splitter::split`] with the tokens that the model wants around a text.
    ///
    /// # Errors
    /// What the library says.
    pub fn split_framed(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        Ok(self.framed(self.split(text)?))
    }

    /// The tokens of a text in which what stands for a special token is one, nothing before or after it.
    ///
    /// # Errors
    /// What the library says.
    pub fn split_with_marks(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        self.encoder.encode_with_marks(text)
    }

    /// The tokens with those that the model wants around a text.
    #[must_use]
    pub fn framed(&self, ids: Vec<u32>) -> Vec<u32> {
        let last = self.eos.filter(|_| self.ends_with_eos);
        self.bos.into_iter().chain(ids).chain(last).collect()
    }

    /// The template of conversations, in Jinja; `None` where there is none, or none for use without a name.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The token that starts a text, where the model wants one.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Role and text of the special tokens, such as `("eos_token", "</s>")`: what templates name them by.
    #[must_use]
    pub fn special_texts(&self) -> &[(String, String)] {
        &self.special_texts
    }

    /// Texts and kinds of all tokens, in the order of their ids.
    #[must_use]
    pub fn tokens(&self) -> &[(Text, TokenKind)] {
        &self.tokens
    }

    /// Whether each character of a piece stands for a byte; else pieces are written as SentencePiece writes them.
    #[must_use]
    pub fn is_byte_level(&self) -> bool {
        self.is_byte_level
    }
}

fn tokens(metadata: &Metadata) -> Vec<(Text, TokenKind)> {
    let texts = match metadata.find("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::Str(texts))) => texts.clone(),
        _ => Vec::new(),
    };
    let kinds = match metadata.find("tokenizer.ggml.token_type") {
        Some(Value::Array(kinds)) => kinds.to_u64s().unwrap_or_default(),
        _ => Vec::new(),
    };
    let kind_of = |kind: u64| match kind {
        kind if kind == TokenType::Control as u64 => TokenKind::Mark,
        kind if kind == TokenType::UserDefined as u64 => TokenKind::Added,
        _ => TokenKind::Piece,
    };
    let kinds = kinds.into_iter().map(kind_of).chain(std::iter::repeat(TokenKind::Piece));
    texts.into_iter().zip(kinds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn folder(config: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/tokenizer");
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(golden.join(name), dir.path().join(name)).unwrap();
        }
        if let Some(config) = config {
            std::fs::write(dir.path().join("config.json"), config).unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_without_weights_splits_texts() {
        let named = folder(Some(r#"{ "architectures": ["LlamaForCausalLM"], "vocab_size": 330 }"#));
        let typed = folder(None);
        let by_name = Splitter::read_folder(named.path(), "decoder", 320).unwrap();
        let by_type = Splitter::read_folder(typed.path(), "llama", 330).unwrap();
        assert_eq!(by_name.tokens().len(), 330, "config.json counts, as in a GGUF file");
        assert_eq!(by_name.tokens(), by_type.tokens());
        assert_eq!(by_name.split("hello there"), by_type.split("hello there"));
        assert_eq!(by_name.special_texts().iter().find(|(role, _)| role == "eos_token").unwrap().1, "<|endoftext|>");
        for unknown in ["decoder", ""] {
            assert!(matches!(Splitter::read_folder(typed.path(), unknown, 330), Err(Error::UnknownTokenizer { .. })));
        }
        assert!(Splitter::read_folder(tempfile::tempdir().unwrap().path(), "llama", 330).is_err());
    }

    #[test]
    fn marks_are_tokens_only_where_they_are_wanted() {
        let dir = folder(None);
        let splitter = Splitter::read_folder(dir.path(), "llama", 320).unwrap();
        let text = "a<|endoftext|>b";
        let (as_text, as_marks) = (splitter.split(text).unwrap(), splitter.split_with_marks(text).unwrap());
        assert!(as_text.len() > 3 && !as_text.contains(&0), "{as_text:?}");
        assert!(as_marks.len() == 3 && as_marks[1] == 0, "{as_marks:?}");
        assert_eq!(splitter.split(text).unwrap(), as_text, "the splitter itself is unchanged");
    }
}
