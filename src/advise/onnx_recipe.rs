//! How levels of ONNX Runtime write each tensor.

use crate::model::{DType, Level, Tensor};
use crate::quant::nbits::{Method, NBits};
use crate::quant::{Coding, Float};

/// What a level makes of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnnxRecipe {
    /// All of them floats of one type, which is also what is computed with.
    Floats(Float),
    /// Matrices as whole numbers of this many bits under a scale for each block; vectors in F32.
    Integers {
        /// Bits of most matrices.
        bits: u8,
        /// Bits of embeddings and head, and of value and down projections in the layers that count most.
        wide_bits: u8,
        /// Weights under a scale, where rows are whole blocks.
        block_len: u8,
    },
}

impl OnnxRecipe {
    /// The recipe of a level; `None` for levels of other frameworks.
    pub(super) fn of(level: Level) -> Option<Self> {
        let name = level.name().strip_prefix("onnx:")?;
        let integers = |bits, wide_bits, block_len| Some(Self::Integers { bits, wide_bits, block_len });
        match name {
            "FP32" => Some(Self::Floats(Float::F32)),
            "FP16" => Some(Self::Floats(Float::F16)),
            "INT8-g32" => integers(8, 8, 32),
            "INT8-g128" => integers(8, 8, 128),
            "INT4-mixed" => integers(4, 8, 32),
            "INT4-g16" => integers(4, 4, 16),
            "INT4-g32" => integers(4, 4, 32),
            "INT4-g64" => integers(4, 4, 64),
            "INT4-g128" => integers(4, 4, 128),
            _ => None,
        }
    }

    /// What is computed with.
    pub(super) const fn float(self) -> Float {
        match self {
            Self::Floats(float) => float,
            Self::Integers { .. } => Float::F32,
        }
    }

    /// How a tensor is written, given by its name in GGUF.
    ///
    /// Rows that are looked up must be whole blocks: embeddings of other lengths get shorter blocks, or stay floats.
    pub(super) fn coding(self, tensor: &Tensor, n_layers: u64) -> Coding {
        let (bits, wide_bits, block_len) = match self {
            Self::Floats(float) => return Coding::Ggml(float.dtype()),
            Self::Integers { bits, wide_bits, block_len } => (bits, wide_bits, block_len),
        };
        if tensor.shape.len() <= 1 {
            return Coding::Ggml(DType::F32);
        }
        let is_embedding = tensor.name == EMBEDDING;
        let bits = if counts_most(&tensor.name, n_layers) { wide_bits } else { bits };
        let is_whole = |len: &u8| tensor.row_len().is_multiple_of((*len).into());
        let len =
            if is_embedding { BLOCK_LENS.into_iter().filter(|len| *len <= block_len).find(is_whole) } else { Some(block_len) };
        let nbits = len.and_then(|len| NBits::symmetric(bits, len));
        nbits.map_or(Coding::Ggml(DType::F32), |nbits| Coding::NBits { nbits, method: Method::Searched, float: Float::F32 })
    }
}

/// Lengths of blocks, the longest first.
const BLOCK_LENS: [u8; 4] = [128, 64, 32, 16];
/// The embeddings in GGUF.
pub(super) const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// Embeddings and head, and the value and down projections of the first and last eighth of the layers and every third one
/// between them: llama.cpp's choice for its mixed levels.
///
/// Source: `use_more_bits` in src/llama-quant.cpp, llama.cpp of 2026-08-21.
fn counts_most(name: &str, n_layers: u64) -> bool {
    let of_layer = || {
        let (layer_idx, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let layer_idx: u64 = layer_idx.parse().ok()?;
        let is_projection = matches!(part, "attn_v.weight" | "ffn_down.weight");
        let (first, last) = (n_layers / 8, 7 * n_layers / 8);
        Some(is_projection && (layer_idx < first || layer_idx >= last || (layer_idx - first) % 3 == 2))
    };
    [EMBEDDING, HEAD].contains(&name) || of_layer().unwrap_or(false)
}
