//! An importance matrix before sums become means: what is counted, written and added up.
//!
//! Source of the layout: `save_imatrix` in tools/imatrix/imatrix.cpp, llama.cpp of 2026-08-21. A file of llama-imatrix that is read and
//! written again has the same bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::gguf::DEFAULT_ALIGNMENT;
use super::{Layout, TensorSpec, Writer};
use crate::error::{Error, Result};
use crate::model::{Array, DType, Metadata, Text, Value};

/// Follows a tensor's name: its sums of squares.
pub(super) const SUMS_SUFFIX: &str = ".in_sum2";
/// Follows a tensor's name: how many rows were summed.
pub(super) const COUNTS_SUFFIX: &str = ".counts";
pub(super) const TYPE_KEY: &str = "general.type";
pub(super) const TYPE: &str = "imatrix";
pub(super) const DATASETS_KEY: &str = "imatrix.datasets";
pub(super) const CHUNK_COUNT_KEY: &str = "imatrix.chunk_count";
pub(super) const CHUNK_SIZE_KEY: &str = "imatrix.chunk_size";
/// Most bytes of a name in llama.cpp, the zero at the end included. Source: `GGML_MAX_NAME` in ggml.h.
const MAX_NAME_BYTES: usize = 64;
/// Tokens per chunk where no file states them. Source: `n_ctx` in `main` of tools/imatrix/imatrix.cpp.
pub(super) const DEFAULT_CHUNK_TOKENS: u32 = 512;

/// Sums of squares of what each column of each tensor was multiplied by, and how many there were.
#[derive(Debug, Clone, PartialEq)]
pub struct ImatrixSums {
    /// The texts, as the file names them.
    pub datasets: Vec<Text>,
    /// Number of chunks of text; 0 if unknown.
    pub n_chunks: u32,
    /// Tokens per chunk; `None` if the file does not say.
    pub chunk_tokens: Option<u32>,
    /// True for a `.dat` file: it keeps means times chunks, and counts chunks.
    pub is_dat: bool,
    /// Tensor name → its sums.
    pub entries: BTreeMap<String, ColumnSums>,
}

/// The sums of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSums {
    /// One for each column, one expert after the other. Finite and not negative.
    pub sums: Vec<f32>,
    /// Rows that were summed: one number for each expert, or one for all. Finite and not negative.
    pub counts: Vec<f32>,
}

/// Experts of one tensor that the text did not reach.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UnusedExperts {
    /// The tensor.
    pub tensor: String,
    /// How many were not reached.
    pub n_unused: usize,
    /// How many there are.
    pub n_experts: usize,
}

impl ColumnSums {
    /// Columns of one expert.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.sums.len().checked_div(self.counts.len()).unwrap_or(0)
    }

    /// For each expert whether there is something to tell its columns apart: it was reached, and not by zeros alone.
    pub(super) fn is_used(&self) -> impl Iterator<Item = bool> {
        let experts = self.sums.chunks(self.n_columns().max(1)).zip(&self.counts);
        experts.map(|(sums, count)| count.round() > 0.0 && sums.iter().any(|sum| *sum > 0.0))
    }

    /// The mean square of each column, one expert after the other. All columns get 1 where nothing was counted, as in llama-quantize, and
    /// where only zeros were.
    #[must_use]
    pub fn means(&self) -> Vec<f32> {
        let mut means = self.sums.clone();
        for ((means, count), is_used) in means.chunks_mut(self.n_columns().max(1)).zip(&self.counts).zip(self.is_used()) {
            let count = count.round();
            for mean in means {
                *mean = if is_used { *mean / count } else { 1.0 };
            }
        }
        means
    }

    pub(super) fn scale(&mut self, factor: f32) {
        self.sums.iter_mut().chain(&mut self.counts).for_each(|number| *number *= factor);
    }

    /// `576 columns`, `576 columns of each of 8 experts`.
    fn text(&self) -> String {
        match self.counts.len() {
            1 => format!("{} columns", self.sums.len()),
            n => format!("{} columns of each of {n} experts", self.n_columns()),
        }
    }
}

impl ImatrixSums {
    /// Tensors about which the text says nothing, and such experts of the other tensors. All their columns will count the same.
    #[must_use]
    pub fn unused(&self) -> (Vec<String>, Vec<UnusedExperts>) {
        let (mut tensors, mut experts) = (Vec::new(), Vec::new());
        for (name, entry) in &self.entries {
            let (n_unused, n_experts) = (entry.is_used().filter(|is_used| !is_used).count(), entry.counts.len());
            if n_unused == n_experts {
                tensors.push(name.clone());
            } else if n_unused > 0 {
                experts.push(UnusedExperts { tensor: name.clone(), n_unused, n_experts });
            }
        }
        (tensors, experts)
    }

    /// The GGUF file, byte by byte as llama-imatrix writes it.
    ///
    /// # Errors
    /// `Error::BadImatrix` without entries and for a name that llama.cpp has no room for; `path` is only for errors.
    pub fn to_gguf(&self, path: &Path) -> Result<Vec<u8>> {
        let bad = |what: String| Error::BadImatrix { what, path: path.to_path_buf() };
        if self.entries.is_empty() {
            return Err(bad("it has no entries".into()));
        }
        let mut metadata = Metadata::default();
        metadata.set(TYPE_KEY, Value::Str(TYPE.into()));
        metadata.set(DATASETS_KEY, Value::Array(Array::Str(self.datasets.clone())));
        metadata.set(CHUNK_COUNT_KEY, Value::U32(self.n_chunks));
        metadata.set(CHUNK_SIZE_KEY, Value::U32(self.chunk_tokens.unwrap_or(DEFAULT_CHUNK_TOKENS)));
        let mut specs = Vec::with_capacity(2 * self.entries.len());
        for (name, entry) in &self.entries {
            if name.len() + SUMS_SUFFIX.len() >= MAX_NAME_BYTES {
                return Err(bad(format!("the name {name} is too long for it")));
            }
            let n_experts = entry.counts.len() as u64;
            specs.push(spec(format!("{name}{SUMS_SUFFIX}"), entry.n_columns() as u64, n_experts));
            specs.push(spec(format!("{name}{COUNTS_SUFFIX}"), 1, n_experts));
        }
        let layout = Layout::plan(&metadata, &specs, DEFAULT_ALIGNMENT)?;
        let bytes = Vec::with_capacity(usize::try_from(layout.file_size_bytes).unwrap_or(0));
        let mut writer = Writer::start(bytes, layout, path)?;
        for entry in self.entries.values() {
            for numbers in [&entry.sums, &entry.counts] {
                writer.write_tensor(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
            }
        }
        writer.finish()
    }

    /// Adds another file's sums and counts. A single count of a `.dat` file stands for all experts.
    pub(super) fn add(&mut self, other: Self, path: &Path) -> Result<()> {
        let is_dat = other.is_dat || self.is_dat;
        for (name, mut entry) in other.entries {
            let mut known = match self.entries.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(entry);
                    continue;
                }
                Entry::Occupied(known) => known,
            };
            let n_experts = known.get().counts.len().max(entry.counts.len());
            if is_dat && known.get().sums.len() == entry.sums.len() {
                for counts in [&mut known.get_mut().counts, &mut entry.counts] {
                    if let [count] = counts[..] {
                        counts.resize(n_experts, count);
                    }
                }
            }
            if known.get().sums.len() != entry.sums.len() || known.get().counts.len() != entry.counts.len() {
                let (found, expected) = (entry.text(), known.get().text());
                return Err(Error::ImatrixesDiffer { tensor: known.key().clone(), found, expected, path: path.to_path_buf() });
            }
            let known = known.get_mut();
            for (known, new) in known.sums.iter_mut().zip(entry.sums).chain(known.counts.iter_mut().zip(entry.counts)) {
                *known += new;
            }
        }
        Ok(())
    }
}

/// An f32 tensor; as in `gguf_write_to_file`, without a last dimension of 1.
fn spec(name: String, n_columns: u64, n_experts: u64) -> TensorSpec {
    let shape = if n_experts == 1 { vec![n_columns] } else { vec![n_columns, n_experts] };
    TensorSpec { name, dtype: DType::F32, shape }
}
