//! Bytes ↔ model: recognise a file, read and write GGUF.
//!
//! ```text
//! inspect ─ recognise ─ gguf_reader (files, shards) ─ gguf_header (bytes → header) ─ Model
//! imatrix (GGUF or .dat) ─ Imatrix
//! Model ─ TensorReader ─ bytes of tensors ─ … ─ gguf_writer (Layout, Writer) ─ file
//! ```
//!
//! Nothing read from a file is trusted: every length is checked against the bytes left before anything is allocated.

mod cursor;
pub mod gguf;
mod gguf_header;
mod gguf_reader;
pub mod gguf_writer;
mod imatrix;
mod open;
mod recognise;
mod tensor_reader;
#[cfg(test)]
mod tests_header;
#[cfg(test)]
mod tests_imatrix;
#[cfg(test)]
mod tests_round_trip;
mod warnings;

use std::path::Path;

pub use gguf_reader::read_gguf;
pub use gguf_writer::{Layout, Placed, TensorSpec, Writer, file_size_bytes, file_size_bytes_from, metadata_size_bytes};
pub use imatrix::{Imatrix, read_imatrix};
pub use tensor_reader::TensorReader;

use crate::error::Result;
use crate::model::Model;

/// What a model file is, from its header alone. Takes milliseconds whatever the size.
///
/// The format is recognised by content, not by name. Any shard of a split model stands for the whole model.
///
/// # Errors
/// `Error::UnsupportedFormat` for other model formats and `Error::UnknownFormat` for files that are none; else as `read_gguf`.
pub fn inspect(path: &Path) -> Result<Model> {
    recognise::expect_gguf(path)?;
    read_gguf(path)
}
