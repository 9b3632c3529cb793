//! Bytes → the sums of an importance matrix: GGUF files, and the older `.dat` files.
//!
//! Source: `common_imatrix_load` in common/imatrix-loader.cpp, llama.cpp of 2026-08-21.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::cursor::Cursor;
use super::gguf::MAGIC;
use super::imatrix_sums::{
    CHUNK_COUNT_KEY, CHUNK_SIZE_KEY, COUNTS_SUFFIX, ColumnSums, DATASETS_KEY, ImatrixSums, SUMS_SUFFIX, TYPE_KEY,
};
use super::open::open_regular;
use super::{TensorReader, read_gguf};
use crate::error::{Error, Result};
use crate::model::{Array, DType, OtherKind, Tensor, Text, Value};

/// The largest file that is read, because all of it is kept in memory. Files for models with 384 experts have 1.5 GiB.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// Longest name of an entry; with a longer one, the file is something else.
const MAX_NAME_BYTES: u64 = 1024;
/// Bytes of the shortest entry of a `.dat` file: name length, one byte of name, calls, values, one value.
const MIN_ENTRY_BYTES: u64 = 4 + 1 + 4 + 4 + 4;
/// Values read at once.
const VALUES_AT_ONCE: usize = 64 * 1024;

/// Reads the sums of an importance matrix of either format, recognised by its first bytes.
///
/// # Errors
/// `Error::Io` and `Error::NotAFile` for what cannot be opened; `Error::BadImatrix` for other files, and for numbers that
/// cannot be importances; `Error::Truncated` and the other errors of `read_gguf` for damaged files. Nothing is allocated from a
/// length that the file does not have.
pub fn read_imatrix_sums(path: &Path) -> Result<ImatrixSums> {
    let (mut file, size_bytes) = open_regular(path)?;
    if size_bytes > MAX_FILE_BYTES {
        return Err(bad(path, format!("it has {size_bytes} bytes, more than {MAX_FILE_BYTES}")));
    }
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(Error::io("read", path))?;
    let sums = if magic == MAGIC {
        from_gguf(path)?
    } else {
        let mut bytes = magic;
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        from_dat(&bytes, path)?
    };
    if sums.entries.is_empty() {
        return Err(bad(path, "it has no entries"));
    }
    Ok(sums)
}

fn bad(path: &Path, what: impl Into<String>) -> Error {
    Error::BadImatrix { what: what.into(), path: path.to_path_buf() }
}

fn from_gguf(path: &Path) -> Result<ImatrixSums> {
    let model = read_gguf(path)?;
    let kind = model.metadata.str(TYPE_KEY).unwrap_or("model".into());
    match model.other_kind() {
        Some(OtherKind::ImportanceMatrix) => {}
        Some(other) => return Err(bad(path, format!("it is {}", other.name()))),
        None => return Err(bad(path, format!("it is a GGUF file of the type {kind:?}"))),
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
    let mut entries = BTreeMap::new();
    for (name, pair) in pairs {
        match pair {
            (Some(sums), Some(counts)) => {
                let (sums, counts) = (read_floats(&reader, sums, path)?, read_floats(&reader, counts, path)?);
                add(&mut entries, name, ColumnSums { sums, counts }, path)?;
            }
            (Some(_), None) => return Err(bad(path, format!("it has sums but no counts of {name}"))),
            (None, _) => return Err(bad(path, format!("it has counts but no sums of {name}"))),
        }
    }
    let datasets = match model.metadata.find(DATASETS_KEY) {
        Some(Value::Array(Array::Str(datasets))) => datasets.clone(),
        _ => Vec::new(),
    };
    let number = |key| model.metadata.u64(key).and_then(|n| u32::try_from(n).ok());
    let chunk_tokens = number(CHUNK_SIZE_KEY).filter(|&n| n > 0);
    Ok(ImatrixSums { datasets, n_chunks: number(CHUNK_COUNT_KEY).unwrap_or(0), chunk_tokens, is_dat: false, entries })
}

/// The numbers of an f32 tensor, whose size was checked against the size of the file.
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

fn from_dat(bytes: &[u8], path: &Path) -> Result<ImatrixSums> {
    let mut cursor = Cursor::new(bytes, bytes.len() as u64, path);
    let neither = || bad(path, "it is neither a GGUF file nor a list of entries");
    let n_entries = i64::from(cursor.i32(format_args!("the number of entries")).map_err(|_| neither())?);
    let n_entries = u64::try_from(n_entries).ok().filter(|&n| n > 0).ok_or_else(neither)?;
    if n_entries.saturating_mul(MIN_ENTRY_BYTES) > cursor.left() {
        return Err(neither());
    }
    let mut entries = BTreeMap::new();
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
        add(&mut entries, name, ColumnSums { sums, counts: vec![n_calls as f32] }, path)?;
    }
    // What follows the entries may be missing.
    let mut datasets = Vec::new();
    let mut n_chunks = 0;
    if cursor.left() > 0 {
        n_chunks = u32::try_from(cursor.i32(format_args!("the number of chunks"))?).unwrap_or(0);
    }
    if cursor.left() > 0 {
        let n_bytes = cursor.i32(format_args!("the length of the dataset's name"))?;
        let n_bytes = u64::try_from(n_bytes).map_err(|_| bad(path, format!("the dataset's name has {n_bytes} bytes")))?;
        let name = cursor.take(n_bytes, format_args!("the dataset's name"))?;
        datasets.extend((!name.is_empty()).then(|| Text(name.to_vec())));
    }
    Ok(ImatrixSums { datasets, n_chunks, chunk_tokens: None, is_dat: true, entries })
}

/// Adds an entry; refuses numbers that cannot be importances.
fn add(entries: &mut BTreeMap<String, ColumnSums>, name: &str, entry: ColumnSums, path: &Path) -> Result<()> {
    let ColumnSums { sums, counts } = &entry;
    let n_columns = entry.n_columns();
    if n_columns == 0 || n_columns * counts.len() != sums.len() {
        return Err(bad(path, format!("{name} has {} sums for {} counts", sums.len(), counts.len())));
    }
    if let Some(sum) = sums.iter().find(|sum| !(sum.is_finite() && **sum >= 0.0)) {
        return Err(bad(path, format!("a sum of squares of {name} is {sum}")));
    }
    if let Some(count) = counts.iter().find(|count| !(count.is_finite() && **count >= 0.0)) {
        return Err(bad(path, format!("a count of {name} is {count}")));
    }
    match entries.insert(name.to_string(), entry) {
        None => Ok(()),
        Some(_) => Err(bad(path, format!("{name} appears twice"))),
    }
}
