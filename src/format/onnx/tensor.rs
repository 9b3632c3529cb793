//! The tensors of an ONNX file: type, shape and place are checked, and their data are read as plain bytes.

use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::external::{DataFiles, is_external};
use super::label;
use super::proto::TensorProto;
use super::wire::FORMAT;
use crate::error::{Error, Result};
use crate::model::{OnnxDType, OnnxPlace, OnnxTensor};

/// Most dimensions of a tensor.
pub(super) const MAX_DIMS: usize = 64;

/// Checks that a tensor's data match its type and shape.
///
/// # Errors
/// `Error::DamagedFile` for what contradicts itself, naming the tensor; for data in another file as `DataFiles::place`.
pub(super) fn checked(tensor: &TensorProto, name: &str, files: &mut DataFiles<'_>, path: &Path) -> Result<OnnxTensor> {
    let damaged = |what: String| {
        let what = format!("tensor {} {what}", label(name));
        Error::DamagedFile { format: FORMAT, what, path: path.to_path_buf() }
    };
    let (dtype, shape) = (dtype_of(tensor).map_err(damaged)?, shape_of(tensor).map_err(damaged)?);
    let n_elements = element_count(&shape).ok_or_else(|| damaged(format!("has the impossible shape {shape:?}")))?;
    if tensor.segment.is_some() {
        return Err(damaged("is cut into segments, which no program reads".into()));
    }
    let (size_bytes, place) = if is_external(tensor) {
        if has_own_data(tensor) {
            return Err(damaged("has data in the file and in another file".into()));
        }
        let size_bytes =
            dtype.size_bytes(n_elements).ok_or_else(|| damaged(format!("of type {dtype} cannot be in another file")))?;
        (size_bytes, files.place(tensor, name, size_bytes)?)
    } else {
        own_data(tensor, dtype, n_elements).map_err(damaged)?
    };
    Ok(OnnxTensor { name: name.into(), dtype, shape, n_elements, size_bytes, place, is_initializer: false })
}

/// The type of a tensor's elements.
fn dtype_of(tensor: &TensorProto) -> std::result::Result<OnnxDType, String> {
    let id = tensor.data_type.unwrap_or(0);
    OnnxDType::from_id(id).ok_or_else(|| format!("has the unknown type {id}"))
}

fn shape_of(tensor: &TensorProto) -> std::result::Result<Vec<u64>, String> {
    if tensor.dims.len() > MAX_DIMS {
        return Err(format!("has {} dimensions, at most {MAX_DIMS} are read", tensor.dims.len()));
    }
    let dim = |&dim: &i64| u64::try_from(dim).map_err(|_| format!("has the impossible shape {:?}", tensor.dims));
    tensor.dims.iter().map(dim).collect()
}

/// The product of the dimensions; 0 where one is 0. `None` where it overflows.
pub(super) fn element_count(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim))
}

fn has_own_data(tensor: &TensorProto) -> bool {
    tensor.raw_data.as_ref().is_some_and(|data| !data.is_empty()) || field_lens(tensor).iter().any(|(_, n)| *n > 0)
}

/// The lists that may hold a tensor's values, with their lengths.
fn field_lens(tensor: &TensorProto) -> [(&'static str, u64); 6] {
    [
        ("float_data", tensor.float_data.len()),
        ("int32_data", tensor.int32_data.len()),
        ("int64_data", tensor.int64_data.len()),
        ("double_data", tensor.double_data.len()),
        ("uint64_data", tensor.uint64_data.len()),
        ("string_data", tensor.string_data.len()),
    ]
    .map(|(name, len)| (name, len as u64))
}

/// The list that holds the values of a type, and how many entries `n_elements` take.
///
/// Source: the comments at `float_data` and its siblings in onnx.proto.
fn field_of(dtype: OnnxDType, n_elements: u64) -> (&'static str, u64) {
    match dtype {
        OnnxDType::F32 => ("float_data", n_elements),
        OnnxDType::C64 => ("float_data", n_elements.saturating_mul(2)),
        OnnxDType::F64 => ("double_data", n_elements),
        OnnxDType::C128 => ("double_data", n_elements.saturating_mul(2)),
        OnnxDType::I64 => ("int64_data", n_elements),
        OnnxDType::U32 | OnnxDType::U64 => ("uint64_data", n_elements),
        OnnxDType::String => ("string_data", n_elements),
        OnnxDType::U4 | OnnxDType::I4 | OnnxDType::F4_E2M1 => ("int32_data", n_elements.div_ceil(2)),
        OnnxDType::U2 | OnnxDType::I2 => ("int32_data", n_elements.div_ceil(4)),
        _ => ("int32_data", n_elements),
    }
}

/// Size and place of data in the file itself.
fn own_data(tensor: &TensorProto, dtype: OnnxDType, n_elements: u64) -> std::result::Result<(u64, OnnxPlace), String> {
    let filled: Vec<_> = field_lens(tensor).into_iter().filter(|(_, n)| *n > 0).collect();
    let raw_bytes = tensor.raw_data.as_ref().map_or(0, Bytes::len) as u64;
    if raw_bytes > 0 || filled.is_empty() && tensor.raw_data.is_some() {
        let Some(needed) = dtype.size_bytes(n_elements) else { return Err(format!("of type {dtype} has raw data")) };
        return match filled.first() {
            Some((name, _)) => Err(format!("has raw data and {name}")),
            None if needed != raw_bytes => {
                Err(format!("of type {dtype} and shape {:?} needs {needed} bytes, but has {raw_bytes}", tensor.dims))
            }
            None => Ok((raw_bytes, OnnxPlace::Raw)),
        };
    }
    let (wanted, needed) = field_of(dtype, n_elements);
    if let Some((other, _)) = filled.iter().find(|(name, _)| *name != wanted) {
        return Err(format!("of type {dtype} has its values in {other}, not in {wanted}"));
    }
    let found = filled.first().map_or(0, |(_, n)| *n);
    if found != needed {
        return Err(format!("of type {dtype} and shape {:?} needs {needed} values in {wanted}, but has {found}", tensor.dims));
    }
    let size_bytes = match dtype {
        OnnxDType::String => tensor.string_data.iter().map(|text| text.len() as u64).sum(),
        _ => dtype.size_bytes(n_elements).ok_or_else(|| format!("has the impossible shape {:?}", tensor.dims))?,
    };
    Ok((size_bytes, OnnxPlace::Fields))
}

/// The values of a tensor that has been checked and has its data in the file, as `raw_data` would hold them: little-endian,
/// row after row, elements of less than a byte packed from the lowest bits up. Raw data are not copied.
///
/// # Errors
/// What is wrong with them, without the tensor's name: texts have no such form, and a number may not fit its type.
pub(super) fn own_bytes(tensor: &TensorProto) -> std::result::Result<Bytes, String> {
    let dtype = dtype_of(tensor)?;
    if let Some(raw) = tensor.raw_data.as_ref().filter(|raw| !raw.is_empty()) {
        return Ok(raw.clone());
    }
    Ok(match dtype {
        OnnxDType::String => return Err("holds texts".into()),
        OnnxDType::F32 | OnnxDType::C64 => all(&tensor.float_data, f32::to_le_bytes),
        OnnxDType::F64 | OnnxDType::C128 => all(&tensor.double_data, f64::to_le_bytes),
        OnnxDType::I64 => all(&tensor.int64_data, i64::to_le_bytes),
        OnnxDType::U64 => all(&tensor.uint64_data, u64::to_le_bytes),
        OnnxDType::U32 => {
            let narrow = |&value: &u64| u32::try_from(value).map_err(|_| format!("of type U32 has the value {value}"));
            all(&tensor.uint64_data.iter().map(narrow).collect::<std::result::Result<Vec<_>, _>>()?, u32::to_le_bytes)
        }
        OnnxDType::I32 => all(&tensor.int32_data, i32::to_le_bytes),
        OnnxDType::F6_E2M3 | OnnxDType::F6_E3M2 => six_bits(&tensor.int32_data)?,
        // Entries of less than a byte are packed already.
        _ => narrow(&tensor.int32_data, dtype)?,
    })
}

/// Numbers one after the other.
fn all<T: Copy, const N: usize>(values: &[T], to_bytes: fn(T) -> [u8; N]) -> Bytes {
    values.iter().flat_map(|&value| to_bytes(value)).collect()
}

/// The low bytes of numbers that fit a type of one or two bytes, signed or not.
fn narrow(values: &[i32], dtype: OnnxDType) -> std::result::Result<Bytes, String> {
    let width = if dtype.bits() == 16 { 2 } else { 1 };
    let most = 1_i32 << (8 * width);
    let mut bytes = BytesMut::with_capacity(values.len() * width);
    for &value in values {
        if !(-most / 2..most).contains(&value) {
            return Err(format!("of type {dtype} has the value {value}"));
        }
        bytes.extend_from_slice(value.to_le_bytes().get(..width).unwrap_or_default());
    }
    Ok(bytes.freeze())
}

/// Numbers of six bits, four in three bytes, the first in the lowest bits.
fn six_bits(values: &[i32]) -> std::result::Result<Bytes, String> {
    let mut bytes = BytesMut::with_capacity(values.len() * 6 / 8 + 1);
    for group in values.chunks(4) {
        let mut bits = 0_u32;
        for (idx, &value) in group.iter().enumerate() {
            let value = u32::try_from(value).ok().filter(|value| *value < 64);
            bits |= value.ok_or("of six bits has a larger value")? << (6 * idx);
        }
        bytes.extend_from_slice(bits.to_le_bytes().get(..(group.len() * 6).div_ceil(8)).unwrap_or_default());
    }
    Ok(bytes.freeze())
}
