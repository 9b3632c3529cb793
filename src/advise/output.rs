//! What outputs of each framework will be: the one place that knows them all.

use super::gguf_output::GgufOutputs;
use super::mlx_output::MlxOutputs;
use super::onnx_output::OnnxOutputs;
use crate::error::Result;
use crate::format::{FolderFiles, Planned, PlannedFile, Way};
use crate::model::{Level, Model};
use crate::units::bits_per_weight;

/// Outputs of one model in one framework.
#[derive(Debug)]
pub enum Outputs<'a> {
    /// Levels of llama.cpp.
    Gguf(Box<GgufOutputs<'a>>),
    /// Levels of MLX.
    Mlx(Box<MlxOutputs<'a>>),
    /// Levels of ONNX Runtime.
    Onnx(Box<OnnxOutputs<'a>>),
}

/// What is known of an output before it is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Exact size of all its files in bytes, without the manifest of the conversion.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// What the user should know: `requantized from Q4_1`.
    pub warnings: Vec<String>,
}

impl Draft {
    /// Of a folder: its own files, its tensors' ways, and the files that are copied.
    pub(super) fn of_folder(
        source: &Model,
        own: &[PlannedFile],
        ways: &[Way],
        files: &FolderFiles,
        warnings: Vec<String>,
    ) -> Self {
        let (mut n_weights, mut n_bytes) = (0_u64, 0_u64);
        for (tensor, way) in source.tensors.iter().zip(ways) {
            n_weights = n_weights.saturating_add(tensor.n_elements());
            n_bytes = n_bytes.saturating_add(way.coding.n_bytes(tensor.row_len(), tensor.n_elements()).unwrap_or(0));
        }
        let copied = files.copied.iter().map(|(_, bytes)| bytes.len() as u64);
        let size_bytes = own.iter().map(|file| file.size_bytes).chain(copied).fold(0, u64::saturating_add);
        Self { size_bytes, bits_per_weight: bits_per_weight(n_bytes, n_weights), warnings }
    }
}

impl Outputs<'_> {
    /// The model that is read: each of its tensors has a way into each output.
    #[must_use]
    pub fn source(&self) -> &Model {
        match self {
            Self::Gguf(outputs) => outputs.source(),
            Self::Mlx(outputs) => outputs.source(),
            Self::Onnx(outputs) => outputs.source(),
        }
    }

    /// The output of a level, as far as it can be told without its bytes.
    ///
    /// # Errors
    /// Whatever keeps the level from being made of this model.
    pub fn draft(&self, level: Level) -> Result<Draft> {
        match self {
            Self::Gguf(outputs) => outputs.draft(level),
            Self::Mlx(outputs) => outputs.draft(level),
            Self::Onnx(outputs) => outputs.draft(level),
        }
    }

    /// The output of a level, ready to be written.
    ///
    /// # Errors
    /// As `draft`; `Error::Internal` for an output that no reader accepts.
    pub fn planned(&self, level: Level) -> Result<Planned> {
        match self {
            Self::Gguf(outputs) => outputs.planned(level),
            Self::Mlx(outputs) => outputs.planned(level),
            Self::Onnx(outputs) => outputs.planned(level),
        }
    }

    /// The level and the changes of its recipe: `Q4_K_M --pure`.
    #[must_use]
    pub fn recipe_text(&self, level: Level) -> String {
        match self {
            Self::Gguf(outputs) => outputs.recipe_text(level),
            Self::Mlx(outputs) => outputs.recipe_text(level),
            Self::Onnx(outputs) => outputs.recipe_text(level),
        }
    }
}
