//! A folder for ONNX Runtime GenAI.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::graph::Graph;
use super::session::OnnxSession;
use crate::format::{GenaiConfig, from_python_json, read_genai_config, read_small, token_ids};
use crate::import::tokenizer::Splitter;
use crate::runtime::chat_template::question_in_template;
use crate::runtime::pieces::piece;
use crate::runtime::session::{Language, Marks, Session, SessionSettings, TextStart, Vocabulary};
use crate::runtime::{TemplateUse, hex, memory};

/// The file with the tokens that end an answer, beside those of `genai_config.json`.
const GENERATION_CONFIG: &str = "generation_config.json";
/// The largest that is read of it.
const MAX_GENERATION_BYTES: u64 = 1 << 20;

/// A folder whose configuration and tokenizer have been read; the network is loaded by a session, which says how many threads it may use.
pub(super) struct OnnxModel<'a> {
    environment: &'a Environment,
    folder: PathBuf,
    config: GenaiConfig,
    /// A folder without a usable tokenizer still computes numbers of tokens.
    splitter: Result<Splitter, String>,
    ends: BTreeSet<u32>,
}

impl<'a> OnnxModel<'a> {
    /// Reads what stands beside the network.
    pub(super) fn open(environment: &'a Environment, folder: &Path) -> Result<Self, String> {
        let config = read_genai_config(folder).map_err(|error| error.to_string())?;
        // The library's own tokenizer splits texts wrongly where digits and bytes are split in two steps, as SmolLM2 does.
        let splitter = Splitter::read_folder(folder, &config.model_type, config.n_vocab).map_err(|error| error.to_string());
        let mut ends = &config.ends | &ends_of_generation(folder);
        if let (Ok(splitter), true) = (&splitter, ends.is_empty()) {
            ends.extend(splitter.eos());
        }
        Ok(Self { environment, folder: folder.to_path_buf(), config, splitter, ends })
    }

    fn splitter(&self) -> Result<&Splitter, String> {
        self.splitter.as_ref().map_err(Clone::clone)
    }
}

/// The tokens that `generation_config.json` ends an answer with; none without the file, or where it cannot be read.
fn ends_of_generation(folder: &Path) -> BTreeSet<u32> {
    let bytes = read_small(&folder.join(GENERATION_CONFIG), GENERATION_CONFIG, MAX_GENERATION_BYTES);
    let entries = bytes.ok().and_then(|bytes| from_python_json::<Map<String, Value>>(&bytes).ok()).unwrap_or_default();
    token_ids(entries.get("eos_token_id").unwrap_or(&Value::Null)).into_iter().collect()
}

impl Vocabulary for OnnxModel<'_> {
    fn n_vocab(&self) -> u32 {
        self.config.n_vocab
    }

    fn bos(&self) -> Option<u32> {
        self.splitter.as_ref().ok().and_then(Splitter::bos)
    }

    fn piece(&self, token: u32, marks: Marks) -> Vec<u8> {
        self.splitter.as_ref().map_or_else(|_| Vec::new(), |splitter| piece(splitter, token, marks))
    }

    fn tokenize(&self, text: &str, start: TextStart, marks: Marks) -> Result<Vec<u32>, String> {
        let splitter = self.splitter()?;
        let ids = match marks {
            Marks::Tokens => splitter.split_with_marks(text),
            Marks::Text => splitter.split(text),
        }?;
        Ok(if start == TextStart::Marked { splitter.framed(ids) } else { ids })
    }
}

impl Language for OnnxModel<'_> {
    fn n_ctx_train(&self) -> u32 {
        self.config.n_ctx
    }

    fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    fn templated(&self, prompt: &str) -> Result<(String, TemplateUse), String> {
        let splitter = self.splitter()?;
        let Some(template) = splitter.chat_template() else { return Ok((prompt.into(), TemplateUse::Missing)) };
        let Ok(text) = question_in_template(template, splitter.special_texts(), prompt) else {
            return Ok((prompt.into(), TemplateUse::Unknown));
        };
        // The template writes the mark that starts a text, but splitting adds it again: one of them must go.
        let start = splitter.bos().and_then(|bos| splitter.tokens().get(bos as usize)).map(|(text, _)| text.lossy());
        let text = start.and_then(|start| text.strip_prefix(start.as_ref())).map(String::from).unwrap_or(text);
        Ok((text, TemplateUse::Applied))
    }

    fn vocabulary_sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (text, _) in self.splitter.iter().flat_map(Splitter::tokens) {
            hash.update(&text.0);
            hash.update(b"\0");
        }
        hex(&hash.finalize())
    }

    fn session(&self, settings: SessionSettings) -> Result<Box<dyn Session + '_>, String> {
        let SessionSettings { n_tokens, n_threads, .. } = settings;
        let n_ctx = self.config.n_ctx;
        if n_tokens > n_ctx {
            return Err(format!("a text of {n_tokens} tokens is wanted, the model's context holds {n_ctx}"));
        }
        let graph = Graph::open(self.environment, &self.folder, &self.config, n_tokens, n_threads)?;
        Ok(Box::new(OnnxSession::new(graph, self.config.n_vocab)))
    }

    fn peak_memory_bytes(&self) -> u64 {
        memory::peak_memory_bytes()
    }
}
