//! Bytes ↔ model: recognise a file, read and write GGUF.

pub mod gguf;
pub mod gguf_writer;

pub use gguf_writer::{Layout, Placed, TensorSpec, Writer, file_size_bytes, file_size_bytes_from, metadata_size_bytes};
