//! Bytes ↔ model: recognise a file, read and write GGUF, read the headers of Hugging Face checkpoints and ONNX files.
//!
//! ```text
//! read_any ─ recognise ─ checkpoint (folder, index) ─ safetensors, hf_config (bytes → header) ─ Checkpoint
//!                                              └ side_files (model card, settings beside it) ─┘
//! read_any ─ recognise ─ onnx (bytes → messages, checked) ─ OnnxNetwork
//! inspect ─ recognise ─ gguf_reader (files, shards) ─ gguf_header (bytes → header) ─ Model
//! imatrix_reader (GGUF or .dat) ─ imatrix_sums (added up, → GGUF) ─ imatrix ─ Imatrix
//!                                                     moments (a folder) ─┘
//! Model ─ TensorReader ─ bytes of tensors ─ … ─ gguf_writer (Layout, Writer) ─ file
//! ```
//!
//! Nothing read from a file is trusted: every length is checked against the bytes left before anything is allocated.

mod adapter;
mod artifact;
mod chat_template;
mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod checksum;
mod class_defaults;
pub(crate) mod config_value;
mod cursor;
mod folder_files;
mod genai_config;
pub mod gguf;
mod gguf_header;
mod gguf_reader;
pub mod gguf_writer;
mod hf_config;
mod hub_cache;
mod imatrix;
mod imatrix_merge;
mod imatrix_reader;
mod imatrix_sums;
mod import_reader;
mod magic;
pub mod mlx;
mod model_card;
mod moments;
mod needs;
mod obstacles;
pub mod onnx;
mod open;
mod planned;
mod python_json;
mod quantized;
mod recognise;
mod safetensors;
mod shard_index;
mod shard_name;
mod side_files;
mod tensor_reader;
#[cfg(test)]
pub(crate) mod test_checkpoints;
#[cfg(test)]
mod tests_header;
#[cfg(test)]
mod tests_imatrix;
#[cfg(test)]
mod tests_imatrix_sums;
#[cfg(test)]
mod tests_obstacles;
#[cfg(test)]
mod tests_round_trip;
#[cfg(test)]
mod tests_safetensors;
mod tied_head;
mod unfinished;
mod warnings;

use std::path::Path;

pub use artifact::{Artifact, FOLDER_MANIFEST};
pub use chat_template::{additional_files, templates_of};
pub use checkpoint::read_checkpoint;
pub use checksum::{Checksum, header_checksum, set_checksum};
pub use folder_files::{FolderFiles, model_card, plain_config, pretty_json, read_folder_files};
pub use genai_config::{GENAI_CONFIG, GenaiConfig, GenaiNames, read_genai_config, token_ids};
pub use gguf_reader::{Summary, read_gguf, summarize_gguf};
pub use gguf_writer::{Layout, Placed, TensorSpec, Writer, file_size_bytes, file_size_bytes_from, metadata_size_bytes};
pub use hub_cache::{CachedModel, cached_models, hub_folder};
pub use imatrix::{Imatrix, read_imatrix};
pub use imatrix_merge::merged_imatrix;
pub use imatrix_reader::read_imatrix_sums;
pub use imatrix_sums::{ColumnSums, ImatrixSums, UnusedExperts};
pub use moments::{MOMENTS_INDEX, Moments, MomentsIndex, MomentsOf, MomentsSite};
pub use needs::generates_text;
pub use planned::{Planned, PlannedFile, Spot, Way};
pub use safetensors::read_safetensors;
pub use tensor_reader::TensorReader;

pub(crate) use hf_config::{read_config, read_small};
pub(crate) use open::open_regular;
pub(crate) use python_json::from_python_json;
pub(crate) use safetensors::head_bytes;
pub(crate) use shard_name::ShardName;
pub(crate) use tensor_reader::read_exact_at;

use crate::error::{Error, Result};
use crate::model::{Checkpoint, Model, OnnxNetwork};
use recognise::Kind;

/// What a path turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    /// A model that can be converted and run.
    Model(Box<Model>),
    /// A Hugging Face checkpoint: `import` makes a model of it.
    Checkpoint(Box<Checkpoint>),
    /// An ONNX network, which is shown.
    Onnx(Box<OnnxNetwork>),
}

/// What a file or folder is, from headers alone. Takes milliseconds whatever the size; of an ONNX file, all but the weights is read.
///
/// A file's format is recognised by its content, and by its name only where the content does not tell. Any shard of a split
/// model stands for the whole model.
///
/// # Errors
/// `Error::Pickle` and `Error::UnsupportedFormat` for other model formats and `Error::UnknownFormat` for files that are not
/// models; else as `read_gguf`, `read_checkpoint` and `onnx::read_onnx`.
pub fn read_any(path: &Path) -> Result<Opened> {
    match recognise::kind_of(path)? {
        (Kind::Gguf, path) => read_gguf(&path).map(|model| Opened::Model(Box::new(model))),
        (Kind::Checkpoint, path) => read_checkpoint(&path).map(|checkpoint| Opened::Checkpoint(Box::new(checkpoint))),
        (Kind::Onnx, path) => onnx::inspect_onnx(&path).map(|network| Opened::Onnx(Box::new(network))),
    }
}

/// Returns the model, or an error if the file holds something else.
///
/// # Errors
/// `Error::NotAModel` for an importance matrix, an adapter, a vocabulary and the like.
pub fn a_model(model: Model) -> Result<Model> {
    match model.other_kind() {
        Some(kind) => Err(Error::NotAModel { what: kind.name(), hint: kind.hint(), path: model.path }),
        None => Ok(model),
    }
}

/// The model in a GGUF file: `read_any` for callers that need a model that can be run.
///
/// # Errors
/// `Error::CheckpointNotRunnable` for a checkpoint, `Error::OnlyInspected` for an ONNX network, `Error::NotAModel` for a GGUF file that holds no model, else as `read_any`.
pub fn inspect(path: &Path) -> Result<Model> {
    match recognise::kind_of(path)? {
        (Kind::Gguf, path) => read_gguf(&path).and_then(a_model),
        (Kind::Checkpoint, path) => Err(Error::CheckpointNotRunnable { path: path.into_owned() }),
        (Kind::Onnx, path) => Err(Error::OnlyInspected { what: OnnxNetwork::WHAT, path: path.into_owned() }),
    }
}
