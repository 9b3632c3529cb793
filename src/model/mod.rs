//! What a model is: plain data, no I/O. Filled by `format`, read by everything else. What a decoder computes (`decoder`) is filled
//! by `import`.

mod checkpoint;
mod decoder;
mod decoder_names;
mod dtype;
mod framework;
mod hyperparameters;
mod import;
mod level;
mod metadata;
mod onnx;
mod other_kind;
mod preset;
mod provenance;
mod runtime;
mod tensor;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::path_text;
use crate::units::bits_per_weight;

pub use checkpoint::{
    Checkpoint, CheckpointConfig, CheckpointDType, CheckpointTensor, MXFP4_ENDINGS, Pooling, QuantizationMethod,
    SourceQuantization,
};
pub use decoder::{
    Activation, Attention, Decoder, DecoderLayer, Experts, FeedForward, Head, LongRope, Mlp, Norm, NormSpan, Projection, QkNorm,
    RopeTable, SharedExpert, Site, Weight,
};
pub use decoder_names::NamedWeight;
pub use dtype::DType;
pub use framework::{ArtifactKind, Framework};
pub use hyperparameters::Hyperparameters;
pub use import::{BlockScale, Import, Origin, Part, RowOrder};
pub use level::{Level, OtherLevel, PrecisionClass};
pub use metadata::{Array, Metadata, Text, Value, ValueType};
pub use onnx::{
    MultiplyAdds, OnnxDType, OnnxDTypeSum, OnnxDim, OnnxNetwork, OnnxOperator, OnnxOpset, OnnxPlace, OnnxPort, OnnxQuantization,
    OnnxTensor,
};
pub use other_kind::{OtherKind, other_kind};
pub use preset::Preset;
pub use provenance::{
    HEADER_CHECKSUM_KEY, IMATRIX_CHECKSUM_KEY, LEVEL_KEY, PROVENANCE_PREFIX, QUANTIZED_SOURCE_KEY, RECIPE_KEY,
    SOURCE_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY, VERSION_KEY, provenance_metadata,
};
pub use runtime::RuntimeId;
pub use tensor::{Tensor, layer_idx_of};

/// What comes before the number of shards in the first shard's name.
const SHARD_MARK: &[u8] = b"-00001-of-";

/// A model on disk as its headers describe it: a GGUF file, or a checkpoint as the GGUF file that it becomes without loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The file the user picked; the first shard of a split model; the folder or file of a checkpoint.
    pub path: PathBuf,
    /// All files in shard order; one for an unsplit model.
    pub files: Vec<PathBuf>,
    /// Size of all files together, in bytes.
    pub size_bytes: u64,
    /// Format and version, for a person: `GGUF v3`.
    pub format_name: String,
    /// Alignment of tensor data in bytes (`general.alignment`, else 32).
    pub alignment: u64,
    /// Key-values in file order, types kept; for a split model, those of the first shard.
    pub metadata: Metadata,
    /// Tensors in file order, shard after shard. A checkpoint's tensors have the names, shapes and types of GGUF.
    pub tensors: Vec<Tensor>,
    /// What the architecture's keys say; defaults where the file says nothing.
    pub hyperparameters: Hyperparameters,
    /// What is odd but no reason to refuse: `tokenizer missing`.
    pub warnings: Vec<String>,
    /// What its header shows that keeps llama.cpp from loading it; empty where nothing is known against it.
    pub obstacles: Vec<String>,
    /// Why this version's llama.cpp cannot run it although another one may: it can be converted, but no speed is predicted and
    /// no level recommended. Repeated in `warnings`.
    pub unknown: Vec<String>,
    /// What the tensors of a checkpoint are made of; `None` for a GGUF file.
    pub import: Option<Arc<Import>>,
    /// Levels of other frameworks, which can only be made from the checkpoint, with their sizes; filled when a checkpoint is
    /// opened, and for the file that stands for it.
    pub others: Vec<OtherLevel>,
}

impl Model {
    /// True for a GGUF file, which a runtime can load as it is.
    #[must_use]
    pub fn is_runnable(&self) -> bool {
        self.import.is_none()
    }

    /// Number of weights in all tensors.
    #[must_use]
    pub fn n_parameters(&self) -> u64 {
        self.tensors.iter().map(Tensor::n_elements).sum()
    }

    /// The level that `general.file_type` names; for a checkpoint, the one that keeps every weight.
    #[must_use]
    pub fn own_level(&self) -> Option<Level> {
        self.metadata.u64("general.file_type").and_then(Preset::from_file_type_id).map(Level::from)
    }

    /// Size of all tensor data in bytes, without headers and padding.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.size_bytes).sum()
    }

    /// Tensor data in bits divided by the number of weights; 0 for a model without tensors.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        bits_per_weight(self.tensor_bytes(), self.n_parameters())
    }

    /// True for GGUF files with tensors: a vocabulary-only file has none.
    #[must_use]
    pub fn has_weights(&self) -> bool {
        !self.tensors.is_empty()
    }

    /// True when the head has no tensor of its own and uses `token_embd.weight`.
    #[must_use]
    pub fn has_tied_embeddings(&self) -> bool {
        !self.tensors.iter().any(|tensor| tensor.name == "output.weight")
    }

    /// The data type that most weights have; `None` without tensors.
    #[must_use]
    pub fn main_dtype(&self) -> Option<DType> {
        self.weights_by_dtype().into_iter().max_by_key(|&(_, n, _)| n).map(|(dtype, ..)| dtype)
    }

    /// `(data type, weights, bytes)` for each type that occurs, in order of first occurrence.
    #[must_use]
    pub fn weights_by_dtype(&self) -> Vec<(DType, u64, u64)> {
        let mut rows: Vec<(DType, u64, u64)> = Vec::new();
        for tensor in &self.tensors {
            match rows.iter_mut().find(|row| row.0 == tensor.dtype) {
                Some(row) => {
                    row.1 += tensor.n_elements();
                    row.2 += tensor.size_bytes;
                }
                None => rows.push((tensor.dtype, tensor.n_elements(), tensor.size_bytes)),
            }
        }
        rows
    }

    /// True for networks that carry a state from token to token in some layers: Mamba, RWKV and hybrids of them with attention.
    ///
    /// Source: the keys of `LLM_KV_SSM_CONV_KERNEL`, `LLM_KV_WKV_HEAD_SIZE`, `LLM_KV_SHORTCONV_L_CACHE` and `LLM_KV_KDA_HEAD_DIM` in
    /// llama-arch.cpp, llama.cpp of 2026-08-21, which only the recurrent and hybrid architectures have.
    #[must_use]
    pub fn has_recurrent_layers(&self) -> bool {
        let own = self.hyperparameters.architecture.as_str();
        let suffixes = self.metadata.0.iter().filter_map(|(key, _)| key.strip_prefix(own)?.strip_prefix('.'));
        suffixes.into_iter().any(|suffix| ["ssm.", "wkv.", "shortconv.", "kda."].iter().any(|part| suffix.starts_with(part)))
    }

    /// True when some matrix already lies on a quantization grid: quantizing it again adds a second loss.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.dtype.is_quantized())
    }

    /// `general.name` on one line, else the file name without extension.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.metadata.str("general.name").map_or_else(|| self.file_stem(), |name| path_text::one_line(&name).into_owned())
    }

    /// The file name without `.gguf` and without a shard number; for a checkpoint, its name without the organization.
    #[must_use]
    pub fn file_stem(&self) -> String {
        if let Some(import) = &self.import {
            return import.name.rsplit('/').next().unwrap_or_default().to_string();
        }
        let stem = path_text::stem(&self.path);
        match stem.find("-00001-of-") {
            Some(at) => stem[..at].to_string(),
            None => stem,
        }
    }

    /// The same name with its bytes unchanged, for naming files.
    #[must_use]
    pub fn file_stem_os(&self) -> OsString {
        if self.import.is_some() {
            let name = self.path.file_name().unwrap_or_default();
            let is_named_so = path_text::file_name(&self.path) == self.file_stem();
            return if is_named_so { name.to_os_string() } else { self.file_stem().into() };
        }
        let stem = path_text::stem_of(&self.path);
        let bytes = stem.as_encoded_bytes();
        match bytes.windows(SHARD_MARK.len()).position(|part| part == SHARD_MARK) {
            Some(at) => path_text::without_end(&stem, bytes.len() - at),
            None => stem,
        }
    }
}
