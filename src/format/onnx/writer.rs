//! ONNX messages → bytes.

use std::path::Path;

use prost::Message as _;

use super::file::MAX_FILE_BYTES;
use super::proto::ModelProto;
use crate::error::{Error, Result};

/// The bytes of an ONNX file. A model that has been read and is written unchanged gives the same bytes, if they were written
/// field by field in the order of their numbers, as Google's libraries do.
///
/// # Errors
/// `Error::TooLargeForOnnx` for more than 2 GiB: weights have to be laid out in a file of their own then (see
/// `ExternalLayout`).
pub fn to_bytes(model: &ModelProto, path: &Path) -> Result<Vec<u8>> {
    let size_bytes = model.encoded_len() as u64;
    if size_bytes > MAX_FILE_BYTES {
        return Err(Error::TooLargeForOnnx { size_bytes, path: path.to_path_buf() });
    }
    Ok(model.encode_to_vec())
}
