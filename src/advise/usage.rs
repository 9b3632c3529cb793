//! How a model's tensors are used when llama.cpp runs it: which of them a token reads, and which are kept a second time.

use super::Recipe;
use super::recipe::{n_elements, n_rows, tensor_bytes};
use crate::hardware::Cpu;
use crate::model::{DType, Model, Tensor};

/// Which matrices llama.cpp keeps a second time on a processor, rearranged for its vector instructions.
///
/// That is why a `Q4_0` or `Q4_K` file takes 1.7 to 1.8 times its size in memory: the mapped file stays resident beside the copy.
/// Tables that are only looked up (`token_embd` of an untied model) are not rearranged.
///
/// Source: `ggml_repack_get_optimal_repack_type` in ggml-cpu/repack.cpp, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repacking {
    has_avx2: bool,
    has_avx512: bool,
    has_neon: bool, // with dot products
}

impl Repacking {
    /// What this processor's instruction sets lead to.
    #[must_use]
    pub fn of(cpu: &Cpu) -> Self {
        let has = |name: &str| cpu.simd.iter().any(|found| found == name);
        Self { has_avx2: has("AVX2"), has_avx512: has("AVX-512F"), has_neon: has("NEON") && (has("dotprod") || has("i8mm")) }
    }

    /// True if a tensor of this type with these rows is kept a second time.
    #[must_use]
    pub fn applies(self, dtype: DType, tensor: &Tensor) -> bool {
        let is_supported = match dtype {
            DType::Q4_0 | DType::Q4_K | DType::IQ4_NL | DType::MXFP4 => self.has_avx2 || self.has_neon,
            DType::Q2_K => self.has_avx512,
            DType::Q5_K | DType::Q6_K | DType::Q8_0 => self.has_neon,
            _ => false,
        };
        let is_k_quant = matches!(dtype, DType::Q4_K | DType::Q5_K | DType::Q6_K);
        let rows_per_group = if self.has_neon && !is_k_quant { 4 } else { 8 };
        is_supported && tensor.n_dims() >= 2 && tensor.shape.get(1).is_some_and(|n_rows| n_rows % rows_per_group == 0)
    }
}

/// How a tensor is used, whatever its type.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Use {
    /// The part of the tensor that one token reads: 1 for a dense matrix, one row of a table, the routed part of all experts.
    read_fraction: f64,
    is_in_block: bool,
    is_lookup: bool,
}

/// How all tensors of a model are used; computed once per model, from the names.
#[derive(Debug)]
pub struct Usage<'a> {
    model: &'a Model,
    uses: Vec<Use>,
}

impl<'a> Usage<'a> {
    /// Looks at every name once.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "estimates")]
    pub fn new(model: &'a Model) -> Self {
        let shape = &model.hyperparameters;
        let is_tied = model.has_tied_embeddings();
        let expert_fraction = match (shape.n_experts_used, shape.n_experts) {
            (0, _) | (_, 0) => 1.0,
            (used, all) => (used as f64 / all as f64).min(1.0),
        };
        let uses = model.tensors.iter().map(|tensor| {
            let name = tensor.name.as_str();
            let is_lookup = match name {
                "token_embd.weight" => !is_tied,
                "per_layer_token_embd.weight" | "position_embd.weight" | "token_types.weight" => true,
                _ => false,
            };
            let is_in_block = name.starts_with("blk.");
            let read_fraction = if is_lookup {
                1.0 / n_rows(tensor).max(1) as f64
            } else if is_in_block && name.contains("_exps.") {
                expert_fraction
            } else {
                1.0
            };
            Use { read_fraction, is_in_block, is_lookup }
        });
        Self { uses: uses.collect(), model }
    }

    /// The sums over all tensors; `of` gives a tensor's size in bytes and whether a rearranged copy is kept.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "estimates")]
    pub fn load(&self, of: impl Fn(usize, &Tensor) -> (u64, bool)) -> Load {
        let mut load = Load::default();
        for (idx, (tensor, tensor_use)) in self.model.tensors.iter().zip(&self.uses).enumerate() {
            let (bytes, is_repacked) = of(idx, tensor);
            let repacked_bytes = if is_repacked && !tensor_use.is_lookup { bytes } else { 0 };
            load.weights_bytes = load.weights_bytes.saturating_add(bytes);
            load.repacked_bytes = load.repacked_bytes.saturating_add(repacked_bytes);
            load.read_bytes += bytes as f64 * tensor_use.read_fraction;
            if tensor_use.is_in_block {
                load.block_bytes = load.block_bytes.saturating_add(bytes.saturating_add(repacked_bytes));
                load.block_gpu_bytes = load.block_gpu_bytes.saturating_add(bytes);
            }
        }
        load
    }

    /// The sums for a GGUF file of this recipe.
    #[must_use]
    pub fn recipe_load(&self, recipe: &Recipe, repacking: Repacking) -> Load {
        self.load(|idx, tensor| {
            let dtype = recipe.dtypes.get(idx).copied().unwrap_or(tensor.dtype);
            (tensor_bytes(tensor, dtype), repacking.applies(dtype, tensor))
        })
    }

    /// Bytes that one decoded token reads of each type, for a file of these types.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "estimates")]
    pub fn reads(&self, dtypes: &[DType]) -> Vec<(DType, f64)> {
        let mut reads: Vec<(DType, f64)> = Vec::new();
        for ((tensor, tensor_use), &dtype) in self.model.tensors.iter().zip(&self.uses).zip(dtypes) {
            let bytes = tensor_bytes(tensor, dtype) as f64 * tensor_use.read_fraction;
            match reads.iter_mut().find(|read| read.0 == dtype) {
                Some(read) => read.1 += bytes,
                None => reads.push((dtype, bytes)),
            }
        }
        reads
    }

    /// Operations of one prompt token: two for each weight of the blocks that it meets, and four for each value of attention at
    /// half of 512 tokens. The head is not counted: only the last token of a prompt needs it.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "estimates")]
    pub fn flops_per_prompt_token(&self) -> f64 {
        let shape = &self.model.hyperparameters;
        let weights: f64 = self
            .model
            .tensors
            .iter()
            .zip(&self.uses)
            .filter(|(_, tensor_use)| tensor_use.is_in_block)
            .map(|(tensor, tensor_use)| n_elements(tensor) as f64 * tensor_use.read_fraction)
            .sum();
        let heads: f64 = shape.n_heads.iter().map(|&n_heads| n_heads as f64).sum();
        2.0 * weights + 4.0 * heads * shape.head_dim_k as f64 * 256.0
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }
}

/// Sums over all tensors at some level.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(clippy::struct_field_names, reason = "a unit is part of the name")]
pub struct Load {
    /// All tensors.
    pub weights_bytes: u64,
    /// Rearranged copies on the CPU.
    pub repacked_bytes: u64,
    /// What one decoded token reads.
    pub read_bytes: f64,
    /// All blocks, with their rearranged copies.
    pub block_bytes: u64,
    /// All blocks on a GPU, which keeps no copies.
    pub block_gpu_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::super::test_models::{Decoder, SMOLLM2};
    use super::*;

    #[test]
    fn a_token_reads_the_head_but_not_the_embeddings_and_only_routed_experts() {
        let read = |decoder: Decoder| {
            let model = decoder.build();
            Usage::new(&model).load(|_, tensor| (tensor.size_bytes, false)).read_bytes
        };
        let table = 576.0 * 49152.0 * 2.0;
        let (tied, untied) = (read(SMOLLM2), read(Decoder { is_tied: false, ..SMOLLM2 }));
        assert!((untied - tied - 576.0 * 2.0).abs() < 1.0, "one row more: {tied} {untied}");
        assert!(tied > table);
        let experts = Decoder { n_experts: 8, ..SMOLLM2 };
        let router = 30.0 * 576.0 * 8.0 * 2.0;
        // Two of eight experts: twice the feed-forward of the dense model.
        let feed_forward = 30.0 * 3.0 * 576.0 * 1536.0 * 2.0;
        assert!((read(experts) - (tied + feed_forward + router)).abs() < 1.0);
    }
}
