//! Importance matrices as quantizers use them: the mean square of what each column was multiplied by.
//!
//! Source: `load_imatrix` in tools/quantize/quantize.cpp, llama.cpp of 2026-08-21.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::imatrix_reader::read_imatrix_sums;
use super::imatrix_sums::ImatrixSums;
use super::moments::{Moments, is_moments, read_moments};
use crate::error::{Error, Result};
use crate::model::{Metadata, Tensor, Text, Value};
use crate::path_text;
use crate::units::count_of;

/// How much each column of each tensor matters: the mean square of what it was multiplied by on the user's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Imatrix {
    /// The file.
    pub path: PathBuf,
    /// The first text that it was made on, as the file names it; `None` if it names none.
    pub dataset: Option<Text>,
    /// Number of chunks of text that it was made on; 0 if unknown.
    pub n_chunks: u32,
    /// Tensor → importances of its columns, one expert after the other. Finite and not negative; 1 where nothing was counted.
    pub entries: BTreeMap<String, Vec<f32>>,
    /// What the user should know: `3 of 211 tensors in the importance matrix were not used by its text …`.
    pub warnings: Vec<String>,
    /// How the columns go together, where that was collected too: error feedback needs it.
    pub moments: Option<Moments>,
}

impl Imatrix {
    /// The key-values that llama-quantize writes into a file that was made with an importance matrix.
    ///
    /// Only the file's name, not its folders: a model is often passed on, and its maker's folders are nobody's business.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let name = path_text::file_name(&self.path);
        let mut metadata = Metadata::default();
        metadata.set("quantize.imatrix.file", Value::Str(Text::from(&*name)));
        if let Some(dataset) = &self.dataset {
            metadata.set("quantize.imatrix.dataset", Value::Str(dataset.clone()));
        }
        let n_entries = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        metadata.set("quantize.imatrix.entries_count", Value::U32(n_entries));
        if self.n_chunks > 0 {
            metadata.set("quantize.imatrix.chunks_count", Value::U32(self.n_chunks));
        }
        metadata
    }

    /// Importances of the tensor's columns, one expert after the other; `None` without an entry.
    ///
    /// As in llama-quantize, an entry of the embeddings that does not fit them is ignored: older tools wrote such entries.
    ///
    /// # Errors
    /// `Error::ImatrixMismatch` when the entry has another number of columns or experts than the tensor.
    pub fn importances_of(&self, tensor: &Tensor) -> Result<Option<&[f32]>> {
        let Some(importances) = self.entries.get(&tensor.name) else { return Ok(None) };
        let n_experts: u64 = tensor.shape.iter().skip(2).product();
        let expected = tensor.row_len().saturating_mul(n_experts);
        let found = importances.len() as u64;
        match found == expected {
            true => Ok(Some(importances)),
            false if tensor.name == "token_embd.weight" => Ok(None),
            false => {
                let (tensor, path) = (tensor.name.clone(), self.path.clone());
                Err(Error::ImatrixMismatch { tensor, found, expected, path })
            }
        }
    }
}

/// Reads an importance matrix of either format, or the index of second moments, told apart by their first bytes.
///
/// # Errors
/// Those of `read_imatrix_sums` and `read_moments`.
pub fn read_imatrix(path: &Path) -> Result<Imatrix> {
    if is_moments(path)? { read_moments(path) } else { Ok(divided(read_imatrix_sums(path)?, path)) }
}

/// Means from sums.
fn divided(sums: ImatrixSums, path: &Path) -> Imatrix {
    let n_entries = sums.entries.len();
    let (tensors, experts) = sums.unused();
    let mut warnings = Vec::new();
    let mut warn = |n: usize, which: String| {
        if n > 0 {
            let (was, its) = if n == 1 { ("was", "its") } else { ("were", "their") };
            let what = format!("{which} in the importance matrix {was} not used by its text");
            warnings.push(format!("{what}: all {its} columns count the same"));
        }
    };
    warn(tensors.len(), format!("{} of {n_entries} tensors", tensors.len()));
    let n_experts: usize = experts.iter().map(|row| row.n_unused).sum();
    warn(n_experts, count_of(n_experts, "expert"));
    Imatrix {
        path: path.to_path_buf(),
        dataset: sums.datasets.into_iter().next(),
        n_chunks: sums.n_chunks,
        entries: sums.entries.into_iter().map(|(name, entry)| (name, entry.means())).collect(),
        warnings,
        moments: None,
    }
}
