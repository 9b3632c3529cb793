//! The header of a safetensors file: bytes → tensors.
//!
//! Source: the format's description and `safetensors/src/tensor.rs` in <https://github.com/huggingface/safetensors>.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::gguf_reader::map::map_start;
use super::magic::pickle_format;
use super::open::open_regular;
use crate::error::{Error, HEAD_BYTES, Placeholder, Result};
use crate::model::{CheckpointDType, CheckpointTensor};

/// Largest header that the format allows, in bytes.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Most tensors that are read from one file. The largest checkpoints have 100,000 in more than a hundred files.
const MAX_TENSORS: usize = 100_000;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;
/// Longest name of a tensor.
const MAX_NAME_BYTES: usize = 256;
/// Longest piece between two quotation marks. A longer one is no name and no value, but would be copied to find that out.
const MAX_TEXT_BYTES: usize = 1 << 20;
const LENGTH_BYTES: u64 = 8;
const FORMAT: &str = "safetensors";

/// The size of a file in bytes, and its tensors in the order of their data; `file_idx` is 0. The data stay on disk.
///
/// # Errors
/// `Error::NotAFile` and `Error::Io` for what cannot be opened, `Error::Truncated` for a file that ends too early,
/// `Error::Placeholder`, `Error::Pickle` and `Error::UnsupportedFormat` for a file that is something else, `Error::DamagedFile`
/// for anything else that contradicts the format.
pub fn read_safetensors(path: &Path) -> Result<(u64, Vec<CheckpointTensor>)> {
    let (file, size_bytes) = open_regular(path)?;
    let n_bytes = usize::try_from(size_bytes.min(LENGTH_BYTES + MAX_HEADER_BYTES)).unwrap_or(0);
    if n_bytes == 0 {
        return Err(Error::Placeholder { found: Placeholder::Empty, path: path.to_path_buf() });
    }
    let map = map_start(&file, n_bytes).map_err(Error::io("read", path))?;
    // Only after parsing has failed: the length of a sound header may look like anything.
    let told = |error| other_content(map.get(..HEAD_BYTES).unwrap_or(&map), path).unwrap_or(error);
    parse(&map, size_bytes, path).map(|tensors| (size_bytes, tensors)).map_err(told)
}

/// The error for a file that is named like a safetensors file and is something else.
fn other_content(head: &[u8], path: &Path) -> Option<Error> {
    let path = path.to_path_buf();
    if let Some(what) = pickle_format(head) {
        return Some(Error::Pickle { what, path });
    }
    if head.starts_with(&super::gguf::MAGIC) {
        let what = "a GGUF file under the name of a safetensors file".into();
        return Some(Error::UnsupportedFormat { what, path });
    }
    Placeholder::of(head).map(|found| Error::Placeholder { found, path })
}

/// Reads a header from the first bytes of a file of `file_bytes` bytes; offsets count from the start of the file.
pub(super) fn parse(head: &[u8], file_bytes: u64, path: &Path) -> Result<Vec<CheckpointTensor>> {
    let damaged = |what: String| Error::DamagedFile { format: FORMAT, what, path: path.to_path_buf() };
    let truncated = |what: &str, needed: u64, left: u64| Error::Truncated { what: what.into(), needed, left, path: path.into() };
    let Some((length, rest)) = head.split_first_chunk::<8>() else {
        return Err(truncated("the header's length", LENGTH_BYTES, file_bytes));
    };
    let n_header = u64::from_le_bytes(*length);
    if n_header > MAX_HEADER_BYTES {
        return Err(damaged(format!("the header's length is {n_header} bytes, at most {MAX_HEADER_BYTES} are allowed")));
    }
    let left = file_bytes.saturating_sub(LENGTH_BYTES);
    let json =
        usize::try_from(n_header).ok().and_then(|n| rest.get(..n)).ok_or_else(|| truncated("the header", n_header, left))?;
    if !json.starts_with(b"{") {
        return Err(damaged("the header is not a JSON object".into()));
    }
    check_texts(json).map_err(&damaged)?;
    let mut tensors = parse_json(json, Tensors).map_err(|error| damaged(format!("in the header: {}", json_error(&error))))?;
    let names: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    if names.len() < tensors.len() {
        let mut seen = HashSet::new();
        let twice = tensors.iter().find(|tensor| !seen.insert(tensor.name.as_str()));
        return Err(damaged(format!("tensor {} appears twice", twice.map_or("", |tensor| tensor.name.as_str()))));
    }
    drop(names);
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.size_bytes));
    check_layout(&tensors, left.saturating_sub(n_header), path)?;
    for tensor in &mut tensors {
        tensor.offset = tensor.offset.saturating_add(LENGTH_BYTES + n_header);
    }
    Ok(tensors)
}

/// Checks that the tensors' data fill the file without holes, one after the other.
fn check_layout(tensors: &[CheckpointTensor], data_bytes: u64, path: &Path) -> Result<()> {
    let damaged = |what: String| Error::DamagedFile { format: FORMAT, what, path: path.to_path_buf() };
    let mut end = 0_u64;
    let mut before = "the header";
    for tensor in tensors {
        let CheckpointTensor { name, offset, size_bytes, .. } = tensor;
        if *offset < end {
            return Err(damaged(format!("the data of {name} begin at {offset}, inside those of {before}")));
        }
        if *offset > end {
            return Err(damaged(format!("{} bytes between {before} and {name} belong to no tensor", offset - end)));
        }
        // Offsets come as begin and end, so the sum is a number of the file.
        end = offset.saturating_add(*size_bytes);
        if end > data_bytes {
            let left = data_bytes.saturating_sub(*offset);
            return Err(Error::Truncated { what: format!("tensor {name}"), needed: *size_bytes, left, path: path.to_path_buf() });
        }
        before = name;
    }
    if end < data_bytes {
        return Err(damaged(format!("{} bytes after {before} belong to no tensor", data_bytes - end)));
    }
    Ok(())
}

/// The first bytes of a file with this header: its length, then the text, padded so that numbers of every width after it are
/// aligned. `None` for a header that cannot be written as JSON.
pub(crate) fn head_bytes(header: &Map<String, Value>) -> Option<Vec<u8>> {
    const ALIGNMENT: usize = 8;
    let mut text = serde_json::to_vec(header).ok()?;
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    let mut head = (text.len() as u64).to_le_bytes().to_vec();
    head.append(&mut text);
    Some(head)
}

/// Refuses JSON with a piece too long to be a name or a value in a model: parsing would copy it.
pub(crate) fn check_texts(json: &[u8]) -> std::result::Result<(), String> {
    let (mut n_bytes, mut is_escaped) = (0, false);
    for &byte in json {
        n_bytes = if byte == b'"' && !is_escaped { 0 } else { n_bytes + 1 };
        if n_bytes > MAX_TEXT_BYTES {
            return Err(format!("a text of more than {MAX_TEXT_BYTES} bytes"));
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    Ok(())
}

/// What is wrong with a JSON text. It may quote the text, which must not control a terminal.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    const MAX_CHARS: usize = 300;
    error.to_string().chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}

/// Reads a JSON object with a visitor, to its end.
pub(super) fn parse_json<'de, V: Visitor<'de>>(json: &'de [u8], visitor: V) -> serde_json::Result<V::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = deserializer.deserialize_map(visitor)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads all tensors; `offset` is from the end of the header.
struct Tensors;

impl<'de> Visitor<'de> for Tensors {
    type Value = Vec<CheckpointTensor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut tensors = Vec::new();
        let mut has_metadata = false;
        while let Some(Key(name)) = map.next_key::<Key<'de>>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(de::Error::custom("__metadata__ appears twice"));
                }
                map.next_value::<StringMap>()?;
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(de::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(de::Error::custom(format!("a name of {} bytes", name.len())));
            }
            if name.chars().any(char::is_control) {
                return Err(de::Error::custom(format!("the name {name:?} with control characters")));
            }
            let info: Info<'de> = map.next_value()?;
            tensors.push(info.tensor(name.into_owned()).map_err(de::Error::custom)?);
        }
        Ok(tensors)
    }
}

/// A key, borrowed from the header unless it holds escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A tensor as the header describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: (u64, u64), // begin, end
}

impl Info<'_> {
    fn tensor(self, name: String) -> std::result::Result<CheckpointTensor, String> {
        let Self { dtype, shape: Shape(shape), data_offsets: (begin, end) } = self;
        let Some(known) = CheckpointDType::from_name(&dtype) else {
            return Err(format!("tensor {name} has the unknown type {:?}", dtype.chars().take(32).collect::<String>()));
        };
        let n_bits = shape.iter().try_fold(known.bits(), |n, &dim| n.checked_mul(dim));
        let Some(n_bits) = n_bits else {
            return Err(format!("the shape {shape:?} of tensor {name} has more than 2^64 bits"));
        };
        if !n_bits.is_multiple_of(8) {
            return Err(format!("tensor {name} ends inside a byte"));
        }
        let size_bytes = n_bits / 8;
        match end.checked_sub(begin) {
            None => Err(format!("the data of {name} end at {end}, before they begin at {begin}")),
            Some(found) if found != size_bytes => {
                Err(format!("{} of shape {shape:?} needs {size_bytes} bytes, but {name} has {found}", known.name()))
            }
            Some(_) => Ok(CheckpointTensor { name, dtype: known, shape, file_idx: 0, offset: begin, size_bytes }),
        }
    }
}

/// Dimensions, at most `MAX_DIMS`: a hostile list may be long.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Shape, A::Error> {
                let mut dims = Vec::with_capacity(2);
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_DIMS {
                        return Err(de::Error::custom(format!("a tensor with more than {MAX_DIMS} dimensions")));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}

/// Named texts that nobody needs: they are checked and dropped.
struct StringMap;

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = StringMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<StringMap, A::Error> {
                while map.next_entry::<IgnoredAny, Key<'de>>()?.is_some() {}
                Ok(StringMap)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
