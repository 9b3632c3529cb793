//! What candidates are compared with: a file that a runtime runs, or a checkpoint that Planish computes itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bench::identity::sha256_of_files;
use crate::error::{Error, Result};
use crate::format::{Artifact, Opened, read_any};
use crate::import::{check_computable, import};
use crate::model::Model;
use crate::monitor::Monitor;
use crate::runtime::{self, Request, RuntimeId, ScoreTask, Task, hex};

/// What the two runtimes may differ by on the same weights, in nats of mean KL divergence.
///
/// Measured for SmolLM2 between Planish's forward pass and llama.cpp on the F32 file of the same checkpoint: 4.7e-7 in chunks of 512
/// tokens, 2e-6 in chunks of 128 (`benches/README.md`; llama.cpp keeps keys and values in F16). The tests of both runtimes fail above
/// this bound.
pub const OWN_REFERENCE_FLOOR_NATS: f64 = 1e-5;

/// Who computed what candidates are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceBy {
    /// The runtime of the reference's file.
    #[default]
    Runtime,
    /// Planish's own forward pass over a checkpoint.
    Planish,
}

impl ReferenceBy {
    /// What stands in a result beside the reference's name; `None` where a file was run as usual.
    #[must_use]
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::Runtime => None,
            Self::Planish => Some("the checkpoint, computed by Planish in F32, one layer at a time"),
        }
    }

    /// What is added to both ends of the interval of each mean KL divergence, because another runtime than the candidates' computed
    /// the reference, in nats.
    #[must_use]
    pub fn floor_nats(self) -> f64 {
        match self {
            Self::Runtime => 0.0,
            Self::Planish => OWN_REFERENCE_FLOOR_NATS,
        }
    }
}

/// The reference of a comparison, opened.
pub(super) struct Reference {
    /// As it was given.
    pub path: PathBuf,
    pub by: ReferenceBy,
    /// A GGUF file's model, or the one that a checkpoint becomes; `None` for an MLX folder.
    pub model: Option<Model>,
    runtime: RuntimeId,
    /// What the runtime is given.
    run_path: PathBuf,
    /// The files with its weights, of which its hash is made.
    files: Vec<PathBuf>,
    /// Files beside them on which a checkpoint's answers depend.
    side_files: Vec<PathBuf>,
}

impl Reference {
    /// Opens a file or folder that a runtime runs, or a checkpoint.
    ///
    /// # Errors
    /// Those of `Artifact::open`; for a checkpoint, those of `import::import` and of `import::check_computable`.
    pub(super) fn open(path: &std::path::Path) -> Result<Self> {
        let artifact = match Artifact::open(path) {
            Err(Error::CheckpointNotRunnable { .. }) => return Self::of_checkpoint(path),
            artifact => artifact?,
        };
        Ok(Self {
            path: path.to_path_buf(),
            by: ReferenceBy::Runtime,
            runtime: artifact.runtime()?,
            run_path: artifact.run_path().to_path_buf(),
            files: artifact.files,
            side_files: Vec::new(),
            model: artifact.model,
        })
    }

    fn of_checkpoint(path: &std::path::Path) -> Result<Self> {
        let Opened::Checkpoint(checkpoint) = read_any(path)? else {
            return Err(Error::CheckpointNotRunnable { path: path.to_path_buf() });
        };
        let model = import(&checkpoint)?;
        check_computable(&checkpoint)?;
        let folder = model.files.first().and_then(|file| file.parent()).unwrap_or(&checkpoint.path);
        let names = checkpoint.tokenizer_files.iter().map(String::as_str).chain(["config.json"]);
        Ok(Self {
            path: path.to_path_buf(),
            by: ReferenceBy::Planish,
            runtime: RuntimeId::Planish,
            run_path: checkpoint.path.clone(),
            side_files: names.map(|name| folder.join(name)).collect(),
            files: model.files.clone(),
            model: Some(model),
        })
    }

    pub(super) fn runtime(&self) -> RuntimeId {
        self.runtime
    }

    /// SHA-256 of the files with its weights.
    pub(super) fn sha256(&self, monitor: &Monitor) -> Result<String> {
        sha256_of_files(&self.files, monitor)
    }

    /// What its answers depend on besides those files and the runtime; empty for what has all in these files.
    pub(super) fn side_sha256(&self) -> Result<String> {
        if self.side_files.is_empty() {
            return Ok(String::new());
        }
        let mut hash = Sha256::new();
        for path in &self.side_files {
            let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Ok(hex(&hash.finalize()))
    }

    /// The request to let it score; the task's path is filled in.
    pub(super) fn request(&self, task: ScoreTask) -> Result<Request> {
        if self.runtime != RuntimeId::LlamaCpp {
            runtime::check_available(self.runtime)?;
        }
        Ok(Request { runtime: self.runtime, task: Task::Score(ScoreTask { path: self.run_path.clone(), ..task }) })
    }
}
