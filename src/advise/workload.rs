//! What running a file asks of a machine, in a few numbers that are kept with each measurement.

use serde::{Deserialize, Serialize};

use super::memory::kv_cache_bytes;
use super::usage::{Load, Repacking, Usage};
use crate::hardware::Cpu;
use crate::model::{DType, Model};

/// Tokens in the cache while decoding is predicted: as after the 512 tokens of the usual prefill measurement.
const DECODE_CONTEXT: u64 = 512;

/// One file at one context. Predictions follow from it and the machine, so they can be made again by a later version, or with a
/// bandwidth that was measured again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Workload {
    /// Number of blocks.
    pub n_layers: u64,
    /// Width of the residual stream.
    pub n_embd: u64,
    /// Width of the widest feed-forward that one token passes through, all its experts together.
    pub n_ff: u64,
    /// Vocabulary size.
    pub n_vocab: u64,
    /// Tokens of context.
    pub n_ctx: u64,
    /// All tensors, in bytes.
    pub weights_bytes: u64,
    /// Rearranged copies on the CPU.
    pub repacked_bytes: u64,
    /// KV cache at `n_ctx`.
    pub kv_cache_bytes: u64,
    /// Part of the KV cache that one decoded token reads with 512 tokens in it.
    pub kv_read_bytes: u64,
    /// Bytes of weights that one decoded token reads, by type.
    pub reads: Vec<(DType, f64)>,
    /// Operations per prompt token.
    pub flops_per_prompt_token: f64,
}

impl Workload {
    /// The workload of a file of these types.
    #[must_use]
    pub fn new(usage: &Usage, dtypes: &[DType], load: &Load, n_ctx: u64) -> Self {
        let shape = &usage.model().hyperparameters;
        let n_ff = shape.n_ff.iter().copied().max().unwrap_or(0);
        Self {
            n_layers: shape.n_layers,
            n_embd: shape.n_embd,
            n_ff: n_ff.saturating_mul(shape.n_experts_used.max(1)),
            n_vocab: shape.n_vocab,
            n_ctx,
            weights_bytes: load.weights_bytes,
            repacked_bytes: load.repacked_bytes,
            kv_cache_bytes: kv_cache_bytes(shape, n_ctx),
            kv_read_bytes: kv_cache_bytes(shape, n_ctx.min(DECODE_CONTEXT)),
            reads: usage.reads(dtypes),
            flops_per_prompt_token: usage.flops_per_prompt_token(),
        }
    }

    /// The workload of this very file on this processor.
    #[must_use]
    pub fn of_file(model: &Model, cpu: &Cpu, n_ctx: u64) -> Self {
        let usage = Usage::new(model);
        let repacking = Repacking::of(cpu);
        let load = usage.load(|_, tensor| (tensor.size_bytes, repacking.applies(tensor.dtype, tensor)));
        let dtypes: Vec<DType> = model.tensors.iter().map(|tensor| tensor.dtype).collect();
        Self::new(&usage, &dtypes, &load, n_ctx)
    }

    /// True for files of one network, whatever their levels.
    #[must_use]
    pub fn is_same_network(&self, other: &Self) -> bool {
        let shape = |workload: &Self| (workload.n_layers, workload.n_embd, workload.n_ff, workload.n_vocab);
        shape(self) == shape(other)
    }
}
