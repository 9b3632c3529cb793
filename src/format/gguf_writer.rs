//! Model → bytes: a GGUF file whose offsets and size are all known before the first byte is written.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::gguf::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_ARRAY_DEPTH, MAX_DIMS, VERSION, align_up, alignment_is_valid, tensor_size_bytes,
};
use crate::error::{Error, Result};
use crate::model::{Array, DType, Metadata, Text, Value};

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the file, unique and not empty.
    pub name: String,
    /// Element or block type.
    pub dtype: DType,
    /// Dimensions, the row length first; written as they are. `llama-quantize` drops trailing ones (`Tensor::n_dims`).
    pub shape: Vec<u64>,
}

/// Where a tensor's data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Position of the first byte from the start of the file.
    pub offset: u64,
    /// Size in bytes, without the padding that follows.
    pub size_bytes: u64,
}

/// Where everything goes, known before the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Magic, version, counts, metadata, tensor infos and padding: all bytes before the first tensor.
    pub header: Vec<u8>,
    /// The place of each tensor, in the order of the specs.
    pub tensors: Vec<Placed>,
    /// Size of the complete file in bytes, the padding after the last tensor included.
    pub file_size_bytes: u64,
    /// Alignment of tensor data in bytes.
    pub alignment: u64,
}

impl Layout {
    /// Lays out a file of version 3 with metadata and tensors in the given order.
    ///
    /// Every tensor is padded to the alignment with zeros, the last one too, and so is a header without tensors, as
    /// `gguf_write_out` in gguf.cpp and `llama-quantize` do it.
    ///
    /// # Errors
    /// `Error::Internal` for what no reader accepts: an empty or repeated key or tensor name, more than four dimensions, a
    /// dimension of 0, a row that is not a whole number of blocks, arrays nested too deep, an alignment that is not a power of
    /// two or differs from the one in the metadata (without one it must be 32), a size above 2^63.
    pub fn plan(metadata: &Metadata, tensors: &[TensorSpec], alignment: u64) -> Result<Self> {
        check_names(metadata, tensors)?;
        check_alignment(metadata, alignment)?;
        let infos = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice()));
        let header_size = header_size_bytes(metadata_size_bytes(metadata), infos, alignment)?;
        let mut header = Vec::with_capacity(usize::try_from(header_size).unwrap_or(0));
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        put_len(&mut header, tensors.len());
        put_len(&mut header, metadata.0.len());
        for (key, value) in &metadata.0 {
            put_bytes(&mut header, key.as_bytes());
            put_value(&mut header, key, value)?;
        }
        let mut placed = Vec::with_capacity(tensors.len());
        let mut end = header_size;
        for tensor in tensors {
            let size_bytes = spec_size_bytes(&tensor.name, tensor.dtype, &tensor.shape)?;
            put_bytes(&mut header, tensor.name.as_bytes());
            header.extend_from_slice(&u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX).to_le_bytes());
            tensor.shape.iter().for_each(|dim| header.extend_from_slice(&dim.to_le_bytes()));
            header.extend_from_slice(&tensor.dtype.ggml_id().to_le_bytes());
            header.extend_from_slice(&(end - header_size).to_le_bytes());
            placed.push(Placed { offset: end, size_bytes });
            end = padded_end(end, size_bytes, alignment)?;
        }
        // Only padding is missing now: the size was computed from the same metadata and infos.
        header.resize(usize::try_from(header_size).unwrap_or(0), 0);
        Ok(Self { header, tensors: placed, file_size_bytes: end, alignment })
    }
}

/// Exact size of the file that `Layout::plan` lays out, without making the header.
///
/// # Errors
/// As `Layout::plan`, except that names, the number of dimensions and nesting are not checked.
pub fn file_size_bytes(metadata: &Metadata, tensors: &[TensorSpec], alignment: u64) -> Result<u64> {
    check_alignment(metadata, alignment)?;
    let infos = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice()));
    file_size_bytes_from(metadata_size_bytes(metadata), infos, alignment)
}

/// The same size from `metadata_size_bytes` and borrowed tensors, for callers that size one model at many levels.
///
/// Replacing a number in the metadata by one of the same type (`general.file_type`) leaves its size alone.
///
/// # Errors
/// As `file_size_bytes`, except that the alignment is not compared with the metadata.
pub fn file_size_bytes_from<'a>(
    metadata_size_bytes: u64,
    tensors: impl IntoIterator<Item = (&'a str, DType, &'a [u64])> + Clone,
    alignment: u64,
) -> Result<u64> {
    let mut end = header_size_bytes(metadata_size_bytes, tensors.clone(), alignment)?;
    for (name, dtype, shape) in tensors {
        end = padded_end(end, spec_size_bytes(name, dtype, shape)?, alignment)?;
    }
    Ok(end)
}

/// Size of all key-values in the file in bytes, without the fixed fields before them.
#[must_use]
pub fn metadata_size_bytes(metadata: &Metadata) -> u64 {
    metadata.0.iter().map(|(key, value)| 8 + key.len() as u64 + 4 + value_size_bytes(value)).sum()
}

/// Writes a planned file, tensor after tensor, each in one or more pieces.
///
/// The output should be buffered when pieces are small.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    path: PathBuf,
    layout: Layout,
    tensor_idx: usize,
    written_bytes: u64, // of the current tensor
}

impl<W: Write> Writer<W> {
    /// Writes the header. `path` is only used in error messages.
    ///
    /// # Errors
    /// `Error::Io` when the output refuses.
    pub fn start(mut out: W, layout: Layout, path: &Path) -> Result<Self> {
        out.write_all(&layout.header).map_err(Error::io("write", path))?;
        Ok(Self { out, path: path.to_path_buf(), layout, tensor_idx: 0, written_bytes: 0 })
    }

    /// The plan that is carried out.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Index of the tensor that the next byte belongs to; the number of tensors once all are complete.
    #[must_use]
    pub fn tensor_idx(&self) -> usize {
        self.tensor_idx
    }

    /// Writes the next tensor as a whole.
    ///
    /// # Errors
    /// `Error::Internal` when `data` does not have exactly the planned size or the tensor is already begun; `Error::Io` when
    /// the output refuses.
    pub fn write_tensor(&mut self, data: &[u8]) -> Result<()> {
        let planned = self.layout.tensors.get(self.tensor_idx).map(|placed| placed.size_bytes);
        if self.written_bytes != 0 || planned != Some(data.len() as u64) {
            return Err(self.wrong_size(data.len(), "a whole tensor"));
        }
        self.write(data)
    }

    /// Writes the next piece of the current tensor. The piece that completes it is followed by the padding.
    ///
    /// # Errors
    /// `Error::Internal` when the piece reaches beyond the tensor; `Error::Io` when the output refuses.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        let Some(placed) = self.layout.tensors.get(self.tensor_idx).copied() else {
            return Err(self.wrong_size(piece.len(), "data after the last tensor"));
        };
        let piece_bytes = piece.len() as u64;
        if piece_bytes > placed.size_bytes - self.written_bytes {
            return Err(self.wrong_size(piece.len(), "a piece"));
        }
        self.out.write_all(piece).map_err(Error::io("write", &self.path))?;
        self.written_bytes += piece_bytes;
        if self.written_bytes == placed.size_bytes {
            self.tensor_idx += 1;
            self.written_bytes = 0;
            let next = self.layout.tensors.get(self.tensor_idx).map_or(self.layout.file_size_bytes, |next| next.offset);
            self.pad(next - placed.offset - placed.size_bytes)?;
        }
        Ok(())
    }

    /// Flushes and returns the output.
    ///
    /// # Errors
    /// `Error::Internal` when tensors are missing or incomplete; `Error::Io` when the output refuses.
    pub fn finish(mut self) -> Result<W> {
        if self.tensor_idx != self.layout.tensors.len() {
            return Err(self.wrong_size(0, "the end of the file"));
        }
        self.out.flush().map_err(Error::io("write", &self.path))?;
        Ok(self.out)
    }

    fn pad(&mut self, mut n_bytes: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while n_bytes > 0 {
            let piece = ZEROS.get(..usize::try_from(n_bytes).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            self.out.write_all(piece).map_err(Error::io("write", &self.path))?;
            n_bytes -= piece.len() as u64;
        }
        Ok(())
    }

    fn wrong_size(&self, n_bytes: usize, what: &str) -> Error {
        let planned = self.layout.tensors.get(self.tensor_idx).map_or(0, |placed| placed.size_bytes);
        invalid(format!(
            "{what} of {n_bytes} bytes does not fit the plan: tensor {} of {} has {} of {planned} bytes",
            self.tensor_idx,
            self.layout.tensors.len(),
            self.written_bytes,
        ))
    }
}

fn invalid(message: String) -> Error {
    Error::Internal { message }
}

fn check_names(metadata: &Metadata, tensors: &[TensorSpec]) -> Result<()> {
    let mut seen = HashSet::new();
    for (key, _) in &metadata.0 {
        if key.is_empty() || !seen.insert(key) {
            return Err(invalid(format!("key {key:?} cannot be written: empty or repeated")));
        }
    }
    seen.clear();
    for TensorSpec { name, shape, .. } in tensors {
        if name.is_empty() || !seen.insert(name) {
            return Err(invalid(format!("tensor name {name:?} cannot be written: empty or repeated")));
        }
        if shape.len() > MAX_DIMS {
            return Err(invalid(format!("tensor {name} cannot be written: {} dimensions", shape.len())));
        }
    }
    Ok(())
}

fn check_alignment(metadata: &Metadata, alignment: u64) -> Result<()> {
    let named = match metadata.find(ALIGNMENT_KEY) {
        None => Some(DEFAULT_ALIGNMENT),
        Some(Value::U32(named)) => Some(u64::from(*named)),
        Some(_) => None,
    };
    if alignment_is_valid(alignment) && named == Some(alignment) {
        Ok(())
    } else {
        Err(invalid(format!("alignment {alignment} cannot be written, {ALIGNMENT_KEY} says {named:?}")))
    }
}

fn header_size_bytes<'a>(
    metadata_size_bytes: u64,
    tensors: impl IntoIterator<Item = (&'a str, DType, &'a [u64])>,
    alignment: u64,
) -> Result<u64> {
    const FIXED: u64 = 4 + 4 + 8 + 8; // magic, version, counts
    if !alignment_is_valid(alignment) {
        return Err(invalid(format!("alignment {alignment} cannot be written")));
    }
    let infos: u64 = tensors.into_iter().map(|(name, _, shape)| 8 + name.len() as u64 + 4 + 8 * shape.len() as u64 + 4 + 8).sum();
    align_up(FIXED + metadata_size_bytes + infos, alignment).ok_or_else(|| invalid("header size overflows".into()))
}

fn spec_size_bytes(name: &str, dtype: DType, shape: &[u64]) -> Result<u64> {
    tensor_size_bytes(dtype, shape)
        .ok_or_else(|| invalid(format!("tensor {name} of shape {shape:?} cannot be written as {dtype}")))
}

fn padded_end(start: u64, size_bytes: u64, alignment: u64) -> Result<u64> {
    start
        .checked_add(size_bytes)
        .and_then(|end| align_up(end, alignment))
        .filter(|&end| i64::try_from(end).is_ok())
        .ok_or_else(|| invalid("file size is above 2^63 bytes".into()))
}

fn value_size_bytes(value: &Value) -> u64 {
    match value {
        Value::U8(_) | Value::I8(_) | Value::Bool(_) => 1,
        Value::U16(_) | Value::I16(_) => 2,
        Value::U32(_) | Value::I32(_) | Value::F32(_) => 4,
        Value::U64(_) | Value::I64(_) | Value::F64(_) => 8,
        Value::Str(text) => 8 + text.0.len() as u64,
        Value::Array(array) => array_size_bytes(array),
    }
}

fn array_size_bytes(array: &Array) -> u64 {
    let n = array.len() as u64;
    let elements = match array {
        Array::U8(_) | Array::I8(_) | Array::Bool(_) => n,
        Array::U16(_) | Array::I16(_) => 2 * n,
        Array::U32(_) | Array::I32(_) | Array::F32(_) => 4 * n,
        Array::U64(_) | Array::I64(_) | Array::F64(_) => 8 * n,
        Array::Str(texts) => texts.iter().map(|text| 8 + text.0.len() as u64).sum(),
        Array::Array(arrays) => arrays.iter().map(array_size_bytes).sum(),
    };
    4 + 8 + elements
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_value(out: &mut Vec<u8>, key: &str, value: &Value) -> Result<()> {
    out.extend_from_slice(&(value.value_type() as u32).to_le_bytes());
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::Str(Text(bytes)) => put_bytes(out, bytes),
        Value::Array(array) => put_array(out, key, array, 1)?,
    }
    Ok(())
}

fn put_array(out: &mut Vec<u8>, key: &str, array: &Array, depth: usize) -> Result<()> {
    if depth > MAX_ARRAY_DEPTH {
        return Err(invalid(format!("key {key:?} cannot be written: arrays nested deeper than {MAX_ARRAY_DEPTH}")));
    }
    out.extend_from_slice(&(array.element_type() as u32).to_le_bytes());
    put_len(out, array.len());
    match array {
        Array::U8(v) => out.extend_from_slice(v),
        Array::I8(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::U64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().copied().map(u8::from)),
        Array::Str(texts) => texts.iter().for_each(|text| put_bytes(out, &text.0)),
        Array::Array(arrays) => {
            for inner in arrays {
                put_array(out, key, inner, depth + 1)?;
            }
        }
    }
    Ok(())
}
