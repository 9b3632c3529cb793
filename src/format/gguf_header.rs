//! Bytes → header of one GGUF file. Pure: the bytes may come from a map, a test or a fuzzer.

use std::collections::HashSet;
use std::path::Path;

use super::cursor::Cursor;
use super::gguf::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_ALIGNMENT, MAX_ARRAY_DEPTH, MAX_DIMS, VERSION, align_up, alignment_is_valid,
    element_count, tensor_size_bytes,
};
use crate::error::{Error, Result};
use crate::model::{Array, DType, Metadata, Tensor, Value, ValueType};

/// Bytes of the shortest key-value: key length, one byte of key, type, one byte of value.
const MIN_KEY_VALUE_BYTES: u64 = 8 + 1 + 4 + 1;
/// Bytes of the shortest tensor info: name length, one byte of name, dimension count, type, offset.
const MIN_TENSOR_INFO_BYTES: u64 = 8 + 1 + 4 + 4 + 8;
/// Bytes of the shortest inner array: type and length.
const MIN_ARRAY_BYTES: u64 = 4 + 8;
/// Most entries that space is reserved for in advance; beyond that, only entries that are really there take space.
const MAX_RESERVED: u64 = 1 << 16;

/// Names of tensors with the ids of their types.
pub(super) type UnknownTypes = Vec<(String, u32)>;

/// What one file says before its tensor data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// 2 or 3.
    pub(super) version: u32,
    /// Key-values in file order.
    pub(super) metadata: Metadata,
    /// Alignment of tensor data in bytes.
    pub(super) alignment: u64,
    /// Tensors in file order, with offsets from the start of the file; `file_idx` is 0.
    pub(super) tensors: Vec<Tensor>,
    /// Tensors of types that Planish does not know, with the ids of the types. The size of each is the room up to what follows.
    pub(super) unknown: UnknownTypes,
    /// What llama.cpp would refuse although all data can be found.
    pub(super) warnings: Vec<String>,
}

/// Reads the header of a file whose first bytes are `bytes` and whose size is `file_size_bytes`.
///
/// Beyond what the format demands, tensor data must lie within the file and must not overlap. As in gguf.cpp the padding
/// after the last tensor may be missing, and a file without tensors needs none.
///
/// # Errors
/// `Error::Truncated`, `Error::Malformed` or `Error::UnsupportedVersion`, each naming the field. Never panics, and allocates at
/// most a small multiple of `bytes`.
pub(super) fn parse(bytes: &[u8], file_size_bytes: u64, path: &Path) -> Result<Header> {
    parse_with(bytes, file_size_bytes, path, Arrays::Read)
}

/// Reads a header without the keys that hold arrays: a vocabulary of 150,000 words is stepped over, not copied.
pub(super) fn parse_summary(bytes: &[u8], file_size_bytes: u64, path: &Path) -> Result<Header> {
    parse_with(bytes, file_size_bytes, path, Arrays::StepOver)
}

/// What to do with arrays among the key-values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrays {
    Read,
    StepOver,
}

fn parse_with(bytes: &[u8], file_size_bytes: u64, path: &Path, arrays: Arrays) -> Result<Header> {
    let mut cursor = Cursor::new(bytes, file_size_bytes, path);
    let magic = cursor.field::<4>(format_args!("the magic"))?;
    if magic != MAGIC {
        let found = magic.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        return Err(cursor.malformed(format!("the first bytes are {found}, not GGUF")));
    }
    let version = cursor.u32(format_args!("the version"))?;
    check_version(version, &cursor)?;
    let n_tensors = cursor.u64(format_args!("the number of tensors"))?;
    let n_key_values = cursor.u64(format_args!("the number of key-values"))?;
    cursor.need(n_key_values, MIN_KEY_VALUE_BYTES, format_args!("{n_key_values} key-values"))?;
    cursor.need(n_tensors, MIN_TENSOR_INFO_BYTES, format_args!("{n_tensors} tensor infos"))?;

    let metadata = read_metadata(&mut cursor, n_key_values, arrays)?;
    let alignment = alignment_of(&metadata, &cursor)?;
    let (mut tensors, unknown) = read_tensor_infos(&mut cursor, n_tensors)?;
    let mut warnings = Vec::new();
    if !tensors.is_empty() {
        place(&mut tensors, alignment, &cursor, file_size_bytes, &mut warnings)?;
    }
    Ok(Header { version, metadata, alignment, tensors, unknown, warnings })
}

fn check_version(version: u32, cursor: &Cursor<'_>) -> Result<()> {
    let unsupported = |what: String| Err(Error::UnsupportedVersion { what, path: cursor.path().to_path_buf() });
    match version {
        0 => Err(cursor.malformed("the version is 0")),
        1 => unsupported("GGUF version 1".into()),
        2..=VERSION => Ok(()),
        // As in gguf.cpp: in the other byte order, the version of a file has its low half empty.
        _ if version.trailing_zeros() >= 16 => unsupported(format!("a big-endian GGUF file (version {})", version.swap_bytes())),
        _ => unsupported(format!("GGUF version {version}")),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64, arrays: Arrays) -> Result<Metadata> {
    let mut seen = HashSet::new();
    let mut metadata = Metadata(Vec::with_capacity(reserved(count)));
    for key_idx in 0..count {
        let key = cursor.name(format_args!("key {key_idx}"))?;
        if !seen.insert(key) {
            return Err(cursor.malformed(format!("key {key:?} appears twice")));
        }
        let kind = value_type(cursor, key)?;
        if arrays == Arrays::StepOver && kind == ValueType::Array {
            step_over_array(cursor, key, 1)?;
            continue;
        }
        let value = read_value(cursor, key, kind)?;
        metadata.0.push((key.to_string(), value));
    }
    Ok(metadata)
}

fn value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType> {
    let id = cursor.u32(format_args!("the type of {key:?}"))?;
    ValueType::from_id(id).ok_or_else(|| cursor.malformed(format!("{key:?} has unknown value type {id}")))
}

fn read_value(cursor: &mut Cursor<'_>, key: &str, kind: ValueType) -> Result<Value> {
    let what = format_args!("the value of {key:?}");
    Ok(match kind {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.field(what)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.field(what)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.field(what)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.field(what)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.field(what)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.field(what)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.field(what)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.field(what)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.field(what)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.field(what)?)),
        ValueType::Bool => {
            let [byte] = cursor.field(what)?;
            Value::Bool(bool_from_byte(byte).ok_or_else(|| not_a_bool(cursor, key, byte))?)
        }
        ValueType::Str => Value::Str(cursor.text(what)?),
        ValueType::Array => Value::Array(read_array(cursor, key, 1)?),
    })
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array> {
    if depth > MAX_ARRAY_DEPTH {
        return Err(cursor.malformed(format!("{key:?} nests arrays deeper than {MAX_ARRAY_DEPTH}")));
    }
    let kind = value_type(cursor, key)?;
    let len = cursor.u64(format_args!("the array length of {key:?}"))?;
    let what = format_args!("{len} values of {key:?}");
    Ok(match kind {
        ValueType::U8 => Array::U8(cursor.take(len, what)?.to_vec()),
        ValueType::I8 => Array::I8(cursor.numbers(len, i8::from_le_bytes, what)?),
        ValueType::U16 => Array::U16(cursor.numbers(len, u16::from_le_bytes, what)?),
        ValueType::I16 => Array::I16(cursor.numbers(len, i16::from_le_bytes, what)?),
        ValueType::U32 => Array::U32(cursor.numbers(len, u32::from_le_bytes, what)?),
        ValueType::I32 => Array::I32(cursor.numbers(len, i32::from_le_bytes, what)?),
        ValueType::F32 => Array::F32(cursor.numbers(len, f32::from_le_bytes, what)?),
        ValueType::U64 => Array::U64(cursor.numbers(len, u64::from_le_bytes, what)?),
        ValueType::I64 => Array::I64(cursor.numbers(len, i64::from_le_bytes, what)?),
        ValueType::F64 => Array::F64(cursor.numbers(len, f64::from_le_bytes, what)?),
        ValueType::Bool => {
            let bytes = cursor.take(len, what)?;
            let values = bytes.iter().map(|&byte| bool_from_byte(byte).ok_or_else(|| not_a_bool(cursor, key, byte)));
            Array::Bool(values.collect::<Result<_>>()?)
        }
        ValueType::Str => {
            cursor.need(len, 8, what)?;
            let mut texts = Vec::with_capacity(reserved(len));
            for idx in 0..len {
                texts.push(cursor.text(format_args!("value {idx} of {key:?}"))?);
            }
            Array::Str(texts)
        }
        ValueType::Array => {
            cursor.need(len, MIN_ARRAY_BYTES, what)?;
            let mut arrays = Vec::with_capacity(reserved(len));
            for _ in 0..len {
                arrays.push(read_array(cursor, key, depth + 1)?);
            }
            Array::Array(arrays)
        }
    })
}

fn step_over_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<()> {
    if depth > MAX_ARRAY_DEPTH {
        return Err(cursor.malformed(format!("{key:?} nests arrays deeper than {MAX_ARRAY_DEPTH}")));
    }
    let kind = value_type(cursor, key)?;
    let len = cursor.u64(format_args!("the array length of {key:?}"))?;
    let what = format_args!("{len} values of {key:?}");
    let width = match kind {
        ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
        ValueType::U16 | ValueType::I16 => 2,
        ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
        ValueType::U64 | ValueType::I64 | ValueType::F64 => 8,
        ValueType::Str => {
            cursor.need(len, 8, what)?;
            for _ in 0..len {
                let n_bytes = cursor.u64(what)?;
                cursor.take(n_bytes, what)?;
            }
            return Ok(());
        }
        ValueType::Array => {
            cursor.need(len, MIN_ARRAY_BYTES, what)?;
            return (0..len).try_for_each(|_| step_over_array(cursor, key, depth + 1));
        }
    };
    cursor.take(len.saturating_mul(width), what).map(drop)
}

/// `None` for any byte but 0 and 1. gguf.cpp takes them for true, but they would not survive a rewrite and come from damage.
fn bool_from_byte(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn not_a_bool(cursor: &Cursor<'_>, key: &str, byte: u8) -> Error {
    cursor.malformed(format!("{key:?} holds {byte} where a truth value is 0 or 1"))
}

fn alignment_of(metadata: &Metadata, cursor: &Cursor<'_>) -> Result<u64> {
    match metadata.find(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(alignment)) if alignment_is_valid((*alignment).into()) => Ok((*alignment).into()),
        Some(Value::U32(alignment)) => {
            Err(cursor.malformed(format!("alignment {alignment} is not a power of two between 1 and {MAX_ALIGNMENT}")))
        }
        Some(other) => Err(cursor.malformed(format!("{ALIGNMENT_KEY} has type {:?}, not U32", other.value_type()))),
    }
}

/// The infos as they stand; `offset` still counts from the start of the tensor data.
fn read_tensor_infos(cursor: &mut Cursor<'_>, count: u64) -> Result<(Vec<Tensor>, UnknownTypes)> {
    let mut seen = HashSet::new();
    let mut tensors = Vec::with_capacity(reserved(count));
    let mut unknown = Vec::new();
    for tensor_idx in 0..count {
        let name = cursor.name(format_args!("the name of tensor {tensor_idx}"))?;
        if !seen.insert(name) {
            return Err(cursor.malformed(format!("tensor {name} appears twice")));
        }
        let n_dims = cursor.u32(format_args!("the dimension count of tensor {name}"))?;
        if n_dims as usize > MAX_DIMS {
            return Err(cursor.malformed(format!("tensor {name} has {n_dims} dimensions, at most {MAX_DIMS} are possible")));
        }
        let shape = cursor.numbers(n_dims.into(), u64::from_le_bytes, format_args!("the shape of tensor {name}"))?;
        let type_id = cursor.u32(format_args!("the type of tensor {name}"))?;
        let offset = cursor.u64(format_args!("the offset of tensor {name}"))?;
        let dtype = DType::from_ggml_id(type_id).unwrap_or(DType::Unknown);
        if element_count(&shape).is_none() {
            let dims = shape.iter().map(|&dim| dim.cast_signed()).collect::<Vec<_>>();
            return Err(cursor.malformed(format!("tensor {name} has the impossible shape {dims:?}")));
        }
        if dtype == DType::Unknown {
            unknown.push((name.to_string(), type_id));
        }
        let size_bytes = tensor_size_bytes(dtype, &shape).ok_or_else(|| {
            cursor.malformed(format!("tensor {name} of shape {shape:?} is not a whole number of {dtype} blocks per row"))
        })?;
        tensors.push(Tensor { name: name.to_string(), dtype, shape, file_idx: 0, offset, size_bytes });
    }
    Ok((tensors, unknown))
}

/// Gives tensors of unknown types the room up to the next tensor, or up to the end of the data.
fn size_unknown(tensors: &mut [Tensor], data_bytes: u64) {
    if tensors.iter().all(|tensor| tensor.dtype != DType::Unknown) {
        return;
    }
    let mut offsets: Vec<u64> = tensors.iter().map(|tensor| tensor.offset).collect();
    offsets.sort_unstable();
    for tensor in tensors.iter_mut().filter(|tensor| tensor.dtype == DType::Unknown) {
        let behind = offsets.get(offsets.partition_point(|&offset| offset <= tensor.offset)..).unwrap_or_default();
        tensor.size_bytes = behind.first().copied().unwrap_or(data_bytes).saturating_sub(tensor.offset);
    }
}

/// Makes offsets absolute and checks that data is aligned, within the file and not shared.
fn place(
    tensors: &mut [Tensor],
    alignment: u64,
    cursor: &Cursor<'_>,
    file_size_bytes: u64,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let start = align_up(cursor.position(), alignment).unwrap_or(u64::MAX);
    size_unknown(tensors, file_size_bytes.saturating_sub(start));
    let mut expected = Some(start);
    let mut is_packed = true;
    for tensor in &mut *tensors {
        if tensor.offset % alignment != 0 {
            let what = format!("tensor {} starts at {}, not at a multiple of {alignment}", tensor.name, tensor.offset);
            return Err(cursor.malformed(what));
        }
        let offset = start.checked_add(tensor.offset);
        let left = file_size_bytes.saturating_sub(offset.unwrap_or(u64::MAX));
        let Some(offset) = offset.filter(|_| tensor.size_bytes <= left) else {
            let what = format!("data of tensor {}", tensor.name);
            return Err(Error::Truncated { what, needed: tensor.size_bytes, left, path: cursor.path().to_path_buf() });
        };
        tensor.offset = offset;
        is_packed &= expected == Some(offset);
        expected = align_up(offset + tensor.size_bytes, alignment);
    }
    // Packed data cannot overlap; only unusual files are sorted.
    let mut by_offset: Vec<&Tensor> = tensors.iter().collect();
    if !is_packed {
        by_offset.sort_by_key(|tensor| tensor.offset);
        for pair in by_offset.windows(2) {
            if let [before, after] = pair
                && before.offset + before.size_bytes > after.offset
            {
                let what = format!(
                    "tensor {} ends at {} but tensor {} starts at {}",
                    before.name,
                    before.offset + before.size_bytes,
                    after.name,
                    after.offset
                );
                return Err(cursor.malformed(what));
            }
        }
        warnings.push("tensor data is not packed in file order: llama.cpp refuses such a file".into());
    }
    if let Some(last) = by_offset.last() {
        let end = align_up(last.offset + last.size_bytes, alignment).unwrap_or(u64::MAX);
        if file_size_bytes > end {
            warnings.push(format!("{} bytes after the last tensor are not used", file_size_bytes - end));
        }
    }
    Ok(())
}

fn reserved(count: u64) -> usize {
    usize::try_from(count.min(MAX_RESERVED)).unwrap_or(0)
}
