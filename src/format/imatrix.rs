//! Importance matrices that llama-imatrix wrote: GGUF files, and the older `.dat` files.
//!
//! Source: `common_imatrix_load` in common/imatrix-loader.cpp and `load_imatrix` in tools/quantize/quantize.cpp, llama.cpp of
//! 2026-08-21.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::gguf::MAGIC;
use super::open::open_regular;
use super::{TensorReader, read_gguf};
use crate::error::{Error, Result};
use crate::model::{Array, DType, Metadata, Model, Tensor, Text, Value};

/// The largest file that is read, because all of it is kept in memory. Those of models with 384 experts have 1.5 GiB.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// Longer names are none: then the file is something else.
const MAX_NAME_BYTES: u64 = 1024;
/// Bytes of the shortest entry of a `.dat` file: name length, one byte of name, calls, values, one value.
const MIN_ENTRY_BYTES: u64 = 4 + 1 + 4 + 4 + 4;
/// Values read at once.
const VALUES_AT_ONCE: usize = 64 * 1024;

const SUMS_SUFFIX: &str = ".in_sum2";
const COUNTS_SUFFIX: &str = ".counts";

/// How much each column of each tensor matters: the mean square of what it was multiplied by on the user's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Imatrix {
    /// The file.
    pub path: PathBuf,
    /// The text that it was made on, as the file names it.
    pub dataset: Option<Text>,
    /// Pieces of text that it was made on; 0: unknown.
    pub n_chunks: u32,
    /// Tensor → importances of its columns, of one expert after the other. Finite and not negative; all 1 where nothing was counted.
    pub entries: BTreeMap<String, Vec<f32>>,
    /// What the user should know: `1 of 211 tensors was never used …`.
    pub warnings: Vec<String>,
}

impl Imatrix {
    /// The key-values that llama-quantize writes into a file that was made with an importance matrix.
    ///
    /// Of the path only the file's name: a model is often given away, and the folders of its maker are nobody's business.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
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

    /// Importances of the tensor's columns, of one expert after the other; `None` without an entry.
    ///
    /// As in llama-quantize an entry of the embeddings that does not fit them is no entry: older tools wrote such ones.
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

/// Reads an importance matrix of either format, recognised by its first bytes.
///
/// # Errors
/// `Error::Io` and `Error::NotAFile` for what cannot be opened; `Error::BadImatrix` for what is none, or holds numbers that cannot
/// be importances; `Error::Truncated` and the other errors of `read_gguf` for damaged files. Nothing is allocated from a length
/// that the file does not have.
pub fn read_imatrix(path: &Path) -> Result<Imatrix> {
    let (mut file, size_bytes) = open_regular(path)?;
    if size_bytes > MAX_FILE_BYTES {
        return Err(bad(path, format!("it has {size_bytes} bytes, more than {MAX_FILE_BYTES}")));
    }
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(Error::io("read", path))?;
    if magic == MAGIC {
        return from_gguf(path);
    }
    let mut bytes = magic;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    from_dat(&bytes, path)
}

fn bad(path: &Path, what: impl Into<String>) -> Error {
    Error::BadImatrix { what: what.into(), path: path.to_path_buf() }
}

fn from_gguf(path: &Path) -> Result<Imatrix> {
    let model = read_gguf(path)?;
    let kind = model.metadata.str("general.type").unwrap_or("model".into());
    if kind != "imatrix" {
        return Err(bad(path, format!("it is a GGUF file of the type {kind:?}")));
    }
    let mut pairs: BTreeMap<&str, (Option<&Tensor>, Option<&Tensor>)> = BTreeMap::new();
    for tensor in &model.tensors {
        if let Some(name) = tensor.name.strip_suffix(SUMS_SUFFIX) {
            pairs.entry(name).or_default().0 = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(COUNTS_SUFFIX) {
            pairs.entry(name).or_default().1 = Some(tensor);
        }
    }
    let reader = TensorReader::open(&model)?;
    let mut builder = Builder::new(path);
    for (name, pair) in pairs {
        match pair {
            (Some(sums), Some(counts)) => {
                let (sums, counts) = (read_floats(&reader, sums, path)?, read_floats(&reader, counts, path)?);
                builder.add(name, sums, &counts)?;
            }
            (Some(_), None) => return Err(bad(path, format!("it has sums but no counts of {name}"))),
            (None, _) => return Err(bad(path, format!("it has counts but no sums of {name}"))),
        }
    }
    let dataset = match model.metadata.find("imatrix.datasets") {
        Some(Value::Array(Array::Str(datasets))) => datasets.first().cloned(),
        _ => None,
    };
    builder.finish(dataset, n_chunks(&model))
}

fn n_chunks(model: &Model) -> u32 {
    model.metadata.u64("imatrix.chunk_count").and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// The numbers of a tensor of f32, whose size was checked against that of the file.
fn read_floats(reader: &TensorReader, tensor: &Tensor, path: &Path) -> Result<Vec<f32>> {
    if tensor.dtype != DType::F32 {
        return Err(bad(path, format!("{} is stored as {}, not as F32", tensor.name, tensor.dtype)));
    }
    let mut numbers = Vec::new();
    let mut bytes = vec![0; 4 * VALUES_AT_ONCE];
    let mut start = 0;
    while start < tensor.size_bytes {
        let n_bytes = usize::try_from(tensor.size_bytes - start).unwrap_or(usize::MAX).min(bytes.len());
        let Some(piece) = bytes.get_mut(..n_bytes) else { break };
        reader.read(tensor, start, piece)?;
        numbers.extend(piece.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        start += n_bytes as u64;
    }
    Ok(numbers)
}

fn from_dat(bytes: &[u8], path: &Path) -> Result<Imatrix> {
    let mut cursor = Cursor::new(bytes, bytes.len() as u64, path);
    let neither = || bad(path, "it is neither a GGUF file nor a list of entries");
    let n_entries = i64::from(cursor.i32(format_args!("the number of entries")).map_err(|_| neither())?);
    let n_entries = u64::try_from(n_entries).ok().filter(|&n| n > 0).ok_or_else(neither)?;
    if n_entries.saturating_mul(MIN_ENTRY_BYTES) > cursor.left() {
        return Err(neither());
    }
    let mut builder = Builder::new(path);
    for idx in 0..n_entries {
        let n_bytes = cursor.i32(format_args!("the name length of entry {idx}"))?;
        let n_bytes = u64::try_from(n_bytes).ok().filter(|n| (1..=MAX_NAME_BYTES).contains(n)).ok_or_else(neither)?;
        let name = cursor.take(n_bytes, format_args!("the name of entry {idx}"))?;
        let name = std::str::from_utf8(name).map_err(|_| neither())?;
        let n_calls = cursor.i32(format_args!("the number of calls of {name}"))?;
        let n_values = cursor.i32(format_args!("the number of values of {name}"))?;
        let n_values =
            u64::try_from(n_values).ok().filter(|&n| n > 0).ok_or_else(|| bad(path, format!("{name} has {n_values} values")))?;
        let sums = cursor.numbers(n_values, f32::from_le_bytes, format_args!("{n_values} values of {name}"))?;
        #[allow(clippy::cast_precision_loss, reason = "llama.cpp divides by the same float")]
        builder.add(name, sums, &[n_calls as f32])?;
    }
    // The rest may be missing.
    let mut dataset = None;
    let mut n_chunks = 0;
    if cursor.left() > 0 {
        n_chunks = u32::try_from(cursor.i32(format_args!("the number of chunks"))?).unwrap_or(0);
    }
    if cursor.left() > 0 {
        let n_bytes = cursor.i32(format_args!("the length of the dataset's name"))?;
        let n_bytes = u64::try_from(n_bytes).map_err(|_| bad(path, format!("the dataset's name has {n_bytes} bytes")))?;
        let name = cursor.take(n_bytes, format_args!("the dataset's name"))?;
        dataset = (!name.is_empty()).then(|| Text(name.to_vec()));
    }
    builder.finish(dataset, n_chunks)
}

/// Entries as they are read.
struct Builder<'a> {
    path: &'a Path,
    entries: BTreeMap<String, Vec<f32>>,
    /// Tensors of which nothing was counted.
    n_unused: usize,
    /// Experts of which nothing was counted, in tensors whose other experts were.
    n_unused_experts: usize,
}

impl<'a> Builder<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, entries: BTreeMap::new(), n_unused: 0, n_unused_experts: 0 }
    }

    /// Divides the sums of each expert by its count. Experts that were never counted get 1, as in llama-quantize.
    fn add(&mut self, name: &str, mut importances: Vec<f32>, counts: &[f32]) -> Result<()> {
        let wrong = |what: String| bad(self.path, what);
        let n_columns = importances.len().checked_div(counts.len()).unwrap_or(0);
        if n_columns == 0 || n_columns * counts.len() != importances.len() {
            return Err(wrong(format!("{name} has {} sums for {} counts", importances.len(), counts.len())));
        }
        if let Some(sum) = importances.iter().find(|sum| !(sum.is_finite() && **sum >= 0.0)) {
            return Err(wrong(format!("a sum of squares of {name} is {sum}")));
        }
        if let Some(count) = counts.iter().find(|count| !(count.is_finite() && **count >= 0.0)) {
            return Err(wrong(format!("a count of {name} is {count}")));
        }
        let mut n_unused = 0;
        for (importances, count) in importances.chunks_mut(n_columns).zip(counts) {
            let count = count.round();
            n_unused += usize::from(count == 0.0);
            for importance in importances {
                *importance = if count == 0.0 { 1.0 } else { *importance / count };
            }
        }
        if n_unused == counts.len() {
            self.n_unused += 1;
        } else {
            self.n_unused_experts += n_unused;
        }
        match self.entries.insert(name.to_string(), importances) {
            None => Ok(()),
            Some(_) => Err(bad(self.path, format!("{name} is there twice"))),
        }
    }

    fn finish(self, dataset: Option<Text>, n_chunks: u32) -> Result<Imatrix> {
        let n_entries = self.entries.len();
        if n_entries == 0 {
            return Err(bad(self.path, "it has no entries"));
        }
        let mut warnings = Vec::new();
        let mut warn = |n: usize, what: String| {
            if n > 0 {
                warnings.push(format!("{n} {what}: all their columns count the same"));
            }
        };
        warn(self.n_unused, format!("of {n_entries} tensors in the importance matrix were not used by its text"));
        warn(self.n_unused_experts, "experts in the importance matrix were not used by its text".into());
        Ok(Imatrix { path: self.path.to_path_buf(), dataset, n_chunks, entries: self.entries, warnings })
    }
}
