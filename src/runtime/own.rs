//! Planish's own runtime: a checkpoint, whose texts `import`'s tokenizer splits and which `forward` runs.

use std::path::Path;

use super::forward::StoredWeights;
use super::pieces::piece;
use super::session::{Marks, TextStart, Vocabulary};
use super::{RuntimeId, RuntimeInfo};
use crate::format::{Opened, read_any};
use crate::import::tokenizer::Splitter;
use crate::import::{decoder, stored_model};
use crate::model::{Decoder, Model};
use crate::path_text;

/// A checkpoint whose headers have been read.
pub(super) struct OwnModel {
    pub(super) decoder: Decoder,
    model: Model,
    /// A checkpoint without a usable tokenizer still runs over numbers of tokens.
    splitter: Result<Splitter, String>,
    n_vocab: u32,
}

impl OwnModel {
    /// Opens the folder or file of a checkpoint.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let checkpoint = match read_any(path).map_err(|error| error.to_string())? {
            Opened::Checkpoint(checkpoint) => checkpoint,
            Opened::Model(_) | Opened::Onnx(_) => {
                return Err(format!("only checkpoints can be run by it, not {}", path_text::shown(path)));
            }
        };
        let decoder = decoder(&checkpoint).map_err(|error| error.to_string())?;
        let model = stored_model(&checkpoint, &decoder).map_err(|error| error.to_string())?;
        let splitter = Splitter::read(&checkpoint).map_err(|error| error.to_string());
        let n_vocab = u32::try_from(decoder.n_vocab).map_err(|error| error.to_string())?;
        Ok(Self { decoder, model, splitter, n_vocab })
    }

    /// Opens the files with its weights.
    pub(super) fn weights(&self) -> Result<StoredWeights<'_>, String> {
        StoredWeights::open(&self.model).map_err(|error| error.to_string())
    }
}

impl Vocabulary for OwnModel {
    fn n_vocab(&self) -> u32 {
        self.n_vocab
    }

    fn bos(&self) -> Option<u32> {
        self.splitter.as_ref().ok().and_then(Splitter::bos)
    }

    fn piece(&self, token: u32, marks: Marks) -> Vec<u8> {
        self.splitter.as_ref().map_or_else(|_| Vec::new(), |splitter| piece(splitter, token, marks))
    }

    fn tokenize(&self, text: &str, start: TextStart, marks: Marks) -> Result<Vec<u32>, String> {
        if marks == Marks::Tokens {
            return Err("Planish's own runtime takes special tokens for text".into());
        }
        let splitter = self.splitter.as_ref().map_err(Clone::clone)?;
        if start == TextStart::Marked { splitter.split_framed(text) } else { splitter.split(text) }
    }
}

/// What it is and what it computes with.
pub(super) fn info() -> RuntimeInfo {
    RuntimeInfo {
        version: format!("{} {}", RuntimeId::Planish.name(), env!("CARGO_PKG_VERSION")),
        backend: "CPU (F32)".into(),
        system: format!("{} threads", rayon::current_num_threads()),
        devices: vec!["CPU".into()],
    }
}
