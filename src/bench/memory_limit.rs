//! Whether a model is run at all: not where it would need more memory than it may use.

use std::path::Path;

use crate::advise::Workload;
use crate::convert::open_model;
use crate::error::{Error, Result};
use crate::format::Artifact;
use crate::hardware::Cpu;
use crate::model::Model;

/// The memory that a model may use while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// In bytes.
    pub limit_bytes: u64,
    /// The processor, which decides what llama.cpp rearranges.
    pub cpu: Cpu,
}

impl MemoryLimit {
    /// Memory that a model, or the file that a checkpoint becomes without loss, is predicted to need at this context, in bytes.
    #[must_use]
    pub fn needed_bytes(cpu: &Cpu, model: &Model, n_ctx: u64) -> u64 {
        Workload::of_file(model, cpu, n_ctx).memory().total_bytes()
    }

    /// Refuses a model that needs more than this; `path` is its own.
    ///
    /// # Errors
    /// `Error::LargerThanMemory`.
    pub fn check_model(&self, model: &Model, path: &Path, n_ctx: u64) -> Result<()> {
        self.check(Self::needed_bytes(&self.cpu, model, n_ctx), path)
    }

    /// Refuses a checkpoint whose file of full size needs more than this, and one that cannot be opened.
    ///
    /// # Errors
    /// `Error::LargerThanMemory`; those of `convert::open_model`.
    pub fn check_checkpoint(&self, path: &Path, n_ctx: u64) -> Result<()> {
        self.check_model(&open_model(path)?, path, n_ctx)
    }

    /// Refuses a file or folder that needs more than this. Of a folder only the weights are counted.
    ///
    /// # Errors
    /// `Error::LargerThanMemory`.
    pub fn check_artifact(&self, artifact: &Artifact, n_ctx: u64) -> Result<()> {
        match &artifact.model {
            Some(model) => self.check_model(model, &artifact.path, n_ctx),
            None => self.check(artifact.size_bytes, &artifact.path),
        }
    }

    fn check(&self, needed_bytes: u64, path: &Path) -> Result<()> {
        let Self { limit_bytes, .. } = *self;
        if needed_bytes <= limit_bytes {
            return Ok(());
        }
        Err(Error::LargerThanMemory { needed_bytes, limit_bytes, path: path.to_path_buf() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    #[test]
    fn what_needs_more_than_the_limit_is_refused_with_both_numbers() {
        let (model, cpu) = (sample_model(), Cpu::default());
        let needed_bytes = MemoryLimit::needed_bytes(&cpu, &model, 512);
        assert!(needed_bytes > model.tensor_bytes());
        let check = |limit_bytes| MemoryLimit { limit_bytes, cpu: cpu.clone() }.check_model(&model, &model.path, 512);
        assert_eq!(check(needed_bytes), Ok(()));
        let limit_bytes = needed_bytes - 1;
        assert_eq!(check(limit_bytes), Err(Error::LargerThanMemory { needed_bytes, limit_bytes, path: model.path.clone() }));
    }
}
