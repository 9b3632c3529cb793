//! MLX: mlx-lm in a Python of its own, which loads folders and computes; everything else is done here.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::peer::Peer;
use super::pieces::{bytes_of, spaced};
use super::session::{Engine, Language, Marks, Purpose, Session, SessionSettings, TextStart, Vocabulary};
use super::{RuntimeId, RuntimeInfo, TemplateUse, environment, hex};
use crate::hardware::own_environment;

/// What Python runs.
const SCRIPT: &str = include_str!("../../assets/runtimes/mlx_session.py");

/// A Python with mlx-lm, ready to load a folder.
pub(super) struct Mlx {
    peer: Peer,
    info: RuntimeInfo,
    /// Whether a GPU computes.
    is_gpu: bool,
}

#[derive(Deserialize)]
struct Info {
    version: String,
    backend: String,
    is_gpu: bool,
}

#[derive(Deserialize)]
struct Loaded {
    n_vocab: u32,
    n_ctx_train: u32,
    bos: Option<u32>,
    ends: BTreeSet<u32>,
    /// Special tokens.
    marks: BTreeSet<u32>,
    /// Tokens beside the vocabulary proper, whose text stands as it is.
    added: BTreeSet<u32>,
    /// Whether each character of a token's text stands for a byte.
    is_byte_level: bool,
    has_template: bool,
}

/// A loaded folder.
struct MlxModel<'a> {
    peer: &'a Peer,
    loaded: Loaded,
    /// The text of each token, as the tokenizer's file has it.
    texts: Vec<String>,
    vocabulary_sha256: String,
}

/// The one text that the process computes.
struct MlxSession<'a> {
    peer: &'a Peer,
    n_vocab: usize,
    bytes: Vec<u8>,
    logits: Vec<f32>,
}

impl Mlx {
    /// Starts Python and lets it load the libraries, which takes two seconds.
    pub(super) fn start() -> Result<Self, String> {
        let environment = environment::find(RuntimeId::Mlx).map_err(|error| error.to_string())?;
        let mut command = Command::new(&environment.python);
        if own_environment(RuntimeId::Mlx).is_some_and(|folder| environment.packages_dir.starts_with(folder)) {
            // The user's own settings for Python are not for a private environment.
            command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        }
        let peer = Peer::start(command.args(["-u", "-c", SCRIPT]), RuntimeId::Mlx.name())?;
        let Info { version, backend, is_gpu } = peer.ask(&json!({ "request": "info" }))?;
        let system = format!("Python at {}", crate::path_text::shown(&environment.python));
        let info = RuntimeInfo { version, devices: vec![backend.clone()], backend, system };
        Ok(Self { peer, info, is_gpu })
    }
}

impl Engine for Mlx {
    fn info(&self) -> RuntimeInfo {
        self.info.clone()
    }

    fn load(&self, path: &Path, purpose: Purpose) -> Result<Box<dyn Language + '_>, String> {
        // On a CPU, products of quantized weights in BF16 err by 5 %, more than 8 bits lose.
        let in_f32 = purpose == Purpose::Losses && !self.is_gpu;
        let loaded: Loaded =
            self.peer.ask(&json!({ "request": "load", "path": crate::path_text::to_text(path), "in_f32": in_f32 }))?;
        let mut blob = Vec::new();
        self.peer.ask_for_bytes(&json!({ "request": "vocabulary", "n_vocab": loaded.n_vocab }), &mut blob)?;
        let vocabulary_sha256 = hex(&Sha256::digest(&blob));
        let texts = blob.split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        Ok(Box::new(MlxModel { peer: &self.peer, loaded, texts, vocabulary_sha256 }))
    }
}

impl Vocabulary for MlxModel<'_> {
    fn n_vocab(&self) -> u32 {
        self.loaded.n_vocab
    }

    fn bos(&self) -> Option<u32> {
        self.loaded.bos
    }

    fn piece(&self, token: u32, marks: Marks) -> Vec<u8> {
        let text = self.texts.get(token as usize).map_or("", String::as_str);
        if self.loaded.marks.contains(&token) || self.loaded.added.contains(&token) {
            let is_shown = marks == Marks::Tokens || !self.loaded.marks.contains(&token);
            return if is_shown { text.as_bytes().to_vec() } else { Vec::new() };
        }
        if self.loaded.is_byte_level { bytes_of(text) } else { spaced(text) }
    }

    fn tokenize(&self, text: &str, start: TextStart, marks: Marks) -> Result<Vec<u32>, String> {
        #[derive(Deserialize)]
        struct Tokens {
            ids: Vec<u32>,
        }
        let (is_marked, has_marks) = (start == TextStart::Marked, marks == Marks::Tokens);
        let request = json!({ "request": "tokenize", "text": text, "is_marked": is_marked, "has_marks": has_marks });
        self.peer.ask::<Tokens>(&request).map(|tokens| tokens.ids)
    }
}

impl Language for MlxModel<'_> {
    fn n_ctx_train(&self) -> u32 {
        self.loaded.n_ctx_train
    }

    fn is_end(&self, token: u32) -> bool {
        self.loaded.ends.contains(&token)
    }

    fn templated(&self, prompt: &str) -> Result<(String, TemplateUse), String> {
        #[derive(Deserialize)]
        struct Templated {
            text: String,
        }
        if !self.loaded.has_template {
            return Ok((prompt.into(), TemplateUse::Missing));
        }
        Ok(match self.peer.ask::<Templated>(&json!({ "request": "template", "prompt": prompt })) {
            // The template writes the mark that starts a text, but splitting adds it again: one of them must go.
            Ok(Templated { text }) => {
                let start = self.loaded.bos.and_then(|bos| self.texts.get(bos as usize)).map_or("", String::as_str);
                (text.strip_prefix(start).unwrap_or(&text).to_string(), TemplateUse::Applied)
            }
            Err(_) => (prompt.into(), TemplateUse::Unknown),
        })
    }

    fn vocabulary_sha256(&self) -> String {
        self.vocabulary_sha256.clone()
    }

    fn session(&self, _: SessionSettings) -> Result<Box<dyn Session + '_>, String> {
        let n_vocab = self.loaded.n_vocab as usize;
        let mut session = MlxSession { peer: self.peer, n_vocab, bytes: Vec::new(), logits: Vec::new() };
        session.clear()?;
        Ok(Box::new(session))
    }

    fn peak_memory_bytes(&self) -> u64 {
        #[derive(Deserialize)]
        struct Memory {
            peak_bytes: u64,
        }
        self.peer.ask::<Memory>(&json!({ "request": "memory" })).map_or(0, |memory| memory.peak_bytes)
    }
}

impl MlxSession<'_> {
    fn ask_for_logits(&mut self, request: &Value, n_rows: usize) -> Result<&[f32], String> {
        self.peer.ask_for_bytes(request, &mut self.bytes)?;
        let (numbers, rest) = self.bytes.as_chunks::<4>();
        if !rest.is_empty() || numbers.len() != n_rows * self.n_vocab {
            return Err(format!("MLX gave {} logits in place of {n_rows} rows of {}", numbers.len(), self.n_vocab));
        }
        self.logits.clear();
        self.logits.extend(numbers.iter().map(|&number| f32::from_ne_bytes(number)));
        Ok(&self.logits)
    }
}

impl Session for MlxSession<'_> {
    fn clear(&mut self) -> Result<(), String> {
        self.peer.ask::<Value>(&json!({ "request": "clear" })).map(drop)
    }

    fn forget_from(&mut self, position: u32) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct Forgotten {
            is_done: bool,
        }
        self.peer.ask::<Forgotten>(&json!({ "request": "forget", "position": position })).map(|forgotten| forgotten.is_done)
    }

    fn compute(&mut self, tokens: &[u32]) -> Result<(), String> {
        if tokens.is_empty() {
            return Ok(());
        }
        self.peer.ask::<Value>(&json!({ "request": "compute", "ids": tokens })).map(drop)
    }

    fn last_logits(&mut self) -> Result<&[f32], String> {
        self.ask_for_logits(&json!({ "request": "last_logits" }), 1)
    }

    fn rows(&mut self, tokens: &[u32], _: usize, first_wanted: usize) -> Result<&[f32], String> {
        let n_rows = tokens.len().saturating_sub(first_wanted);
        self.ask_for_logits(&json!({ "request": "rows", "ids": tokens, "first_wanted": first_wanted }), n_rows)
    }
}
