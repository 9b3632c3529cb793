//! Estimates of memory. Everything saturates: hostile hyperparameters give huge numbers, never a panic.

use super::usage::{Repacking, Usage};
use super::workload::Workload;
use super::{MemoryEstimate, Recipe};
use crate::hardware::Cpu;
use crate::model::{Hyperparameters, Model};

/// Tokens of one compute step: llama.cpp's default `n_ubatch`.
const N_UBATCH: u64 = 512;

/// The cells of a KV cache are a multiple of this: `GGML_PAD(n_ctx, 256)` in llama-context.cpp and llama-kv-cache-iswa.cpp.
const KV_PADDING: u64 = 256;

/// A process of Planish with llama.cpp and its backends but without a model: 21 MB beside models of 200 MB and more, 25 MB beside the
/// sample of 6 MB (dev profile, 2026-11-29). llama.cpp alone takes 7.
const PROGRAM_BYTES: u64 = 24_000_000;

/// What a token of the vocabulary takes: its text, a table from text to number, its merges, and its part of the file's header, which is
/// mapped too. SmolLM2: 17.5 MB on the heap and 1.8 MB of header for 49,152 tokens (2026-11-29).
const BYTES_PER_TOKEN: u64 = 393;

/// Bytes of the attention mask per token and cell, in f32 and f16; 5.2 measured between 768 and 2,048 cells.
const MASK_BYTES: u64 = 5;

/// Size of the KV cache in bytes at 16 bits per value: the sum over layers of `cells * n_kv_heads * (head_dim_k + head_dim_v) * 2`.
///
/// `cells` is `n_ctx`, padded to 256; in sliding-window layers the window and one compute step, padded to 256. With multi-head latent
/// attention a cell holds `kv_lora_rank + n_rot` values for all heads; older files of such models, with more than one key head, are
/// run with a full cache. Layers without key heads hold their recurrent state, whatever the context. Encoders have no cache.
///
/// Source: `llama_kv_cache`, `llama_kv_cache_iswa` and `llama_hparams::n_embd_k_gqa`, llama.cpp of 2026-08-21.
#[must_use]
pub fn kv_cache_bytes(shape: &Hyperparameters, n_ctx: u64) -> u64 {
    if shape.is_encoder {
        return 0;
    }
    (0_u64..).zip(&shape.n_kv_heads).fold(0, |sum, (layer_idx, &n_kv_heads)| {
        let cells = if shape.is_windowed(layer_idx) {
            let window = shape.sliding_window.unwrap_or(0);
            padded_n_ctx(window.saturating_add(N_UBATCH)).min(padded_n_ctx(n_ctx))
        } else {
            padded_n_ctx(n_ctx)
        };
        sum.saturating_add(match (n_kv_heads, shape.kv_lora_rank) {
            (0, _) => shape.recurrent_state_bytes_per_layer,
            (1, Some(rank)) => cells.saturating_mul(rank.saturating_add(shape.n_rot)).saturating_mul(2),
            _ => {
                let head_bytes = shape.head_dim_k.saturating_add(shape.head_dim_v).saturating_mul(2);
                cells.saturating_mul(n_kv_heads).saturating_mul(head_bytes)
            }
        })
    })
}

/// Size of the compute buffers in bytes as llama.cpp reserves them, for one step of 512 tokens in f32: what a GPU has to give.
///
/// The widest row of the graph (the logits, or gate, up and product of the feed-forward), four rows of the residual stream, the
/// attention mask in f32 and f16, and one row of logits for the answer. Flash attention is assumed, which llama.cpp uses by default.
/// SmolLM2: 120 MB at 4,096 tokens.
///
/// Source: what `llama_context::graph_reserve` reserves, llama.cpp of 2026-08-21; an approximation, the allocator reuses buffers.
#[must_use]
pub fn compute_bytes(shape: &Hyperparameters, n_ctx: u64) -> u64 {
    let n_tokens = N_UBATCH.min(n_ctx.max(1));
    let n_ff = shape.n_ff.iter().copied().max().unwrap_or(0);
    let widest = shape.n_vocab.max(n_ff.saturating_mul(3));
    let row_bytes = widest.saturating_add(shape.n_embd.saturating_mul(4)).saturating_mul(4);
    let mask_row_bytes = padded_n_ctx(n_ctx).saturating_mul(4 + 2);
    n_tokens.saturating_mul(row_bytes.saturating_add(mask_row_bytes)).saturating_add(shape.n_vocab.saturating_mul(4))
}

/// The context that the runtime makes of a wanted one: rounded up to a multiple of 256 tokens.
#[must_use]
pub fn padded_n_ctx(n_ctx: u64) -> u64 {
    n_ctx.div_ceil(KV_PADDING).saturating_mul(KV_PADDING)
}

/// Memory of the model while it runs on this processor at this context.
#[must_use]
pub fn memory_estimate(model: &Model, recipe: &Recipe, cpu: &Cpu, n_ctx: u64) -> MemoryEstimate {
    let usage = Usage::new(model);
    let load = usage.recipe_load(recipe, Repacking::of(cpu));
    Workload::new(&usage, &recipe.dtypes, &load, n_ctx).memory()
}

impl Workload {
    /// Highest resident memory on the CPU: weights, which are mapped and touched as a whole, with their rearranged copies; the cache, which
    /// is cleared at the start; of the compute buffers what a prompt touches; program and vocabulary.
    ///
    /// llama.cpp reserves buffers for logits of all 512 tokens of a step, but a prompt needs those of its last token, and pages that
    /// nobody writes take no memory: so this is 100 MB less than `compute_bytes` at a vocabulary of 49,152. A step touches four
    /// rows of the residual stream and three of the feed-forward for each token: 14.5 MB for SmolLM2 and 72 MB for a Llama of
    /// width 2,048 with a feed-forward of 8,192, measured 14.5 and 71 (2026-11-29).
    #[must_use]
    pub fn memory(&self) -> MemoryEstimate {
        let n_tokens = N_UBATCH.min(self.n_ctx.max(1));
        let row_bytes = self.n_embd.saturating_mul(4).saturating_add(self.n_ff.saturating_mul(3)).saturating_mul(4);
        let mask_row_bytes = padded_n_ctx(self.n_ctx).saturating_mul(MASK_BYTES);
        let logits_bytes = self.n_vocab.saturating_mul(4 + 4); // one row in the graph and one for the caller
        let touched = n_tokens.saturating_mul(row_bytes.saturating_add(mask_row_bytes));
        MemoryEstimate {
            weights_bytes: self.weights_bytes.saturating_add(self.repacked_bytes),
            kv_cache_bytes: self.kv_cache_bytes,
            compute_bytes: touched.saturating_add(logits_bytes),
            fixed_bytes: PROGRAM_BYTES.saturating_add(self.n_vocab.saturating_mul(BYTES_PER_TOKEN)),
        }
    }
}

impl MemoryEstimate {
    /// The same estimate with this many bytes more or less, counted as the program's; never less than weights and cache.
    #[must_use]
    pub fn with_offset(self, offset_bytes: i64) -> Self {
        let magnitude = offset_bytes.unsigned_abs();
        if offset_bytes >= 0 {
            return Self { fixed_bytes: self.fixed_bytes.saturating_add(magnitude), ..self };
        }
        // Weights and cache are there for certain.
        let from_fixed = magnitude.min(self.fixed_bytes);
        let from_compute = (magnitude - from_fixed).min(self.compute_bytes);
        Self { fixed_bytes: self.fixed_bytes - from_fixed, compute_bytes: self.compute_bytes - from_compute, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recipe;
    use super::super::recipe::tensor_bytes;
    use super::super::test_models::{Decoder, LLAMA3_8B, SMOLLM2};
    use super::*;
    use crate::model::Preset;

    fn shape(decoder: Decoder) -> Hyperparameters {
        decoder.build().hyperparameters
    }

    #[test]
    fn kv_cache_is_what_llama_cpp_allocates() {
        let check = |shape: &Hyperparameters, n_ctx, expected| assert_eq!(kv_cache_bytes(shape, n_ctx), expected, "{n_ctx}");
        let smollm2 = shape(SMOLLM2);
        check(&smollm2, 0, 0);
        check(&smollm2, 1, 30 * 256 * 3 * (64 + 64) * 2);
        check(&smollm2, 4096, 94_371_840); // llama.cpp prints 90.00 MiB
        check(&shape(LLAMA3_8B), 8192, 1 << 30); // llama.cpp prints 1024.00 MiB
        check(&smollm2, u64::MAX, u64::MAX);
        // Five of six layers keep the window of 512 and a step of 512.
        let gemma3 = shape(Decoder { architecture: "gemma3", n_layers: 6, sliding_window: 512, ..SMOLLM2 });
        check(&gemma3, 4096, (5 * 1024 + 4096) * 3 * 128 * 2);
        check(&gemma3, 300, 6 * 512 * 3 * 128 * 2);
        let mla = Hyperparameters { kv_lora_rank: Some(512), n_rot: 64, n_kv_heads: vec![1; 27], ..smollm2.clone() };
        check(&mla, 1024, 27 * 1024 * 576 * 2);
        let full = Hyperparameters { n_kv_heads: vec![16; 27], ..mla };
        check(&full, 1024, 27 * 1024 * 16 * 128 * 2);
        let hybrid = Hyperparameters { n_kv_heads: vec![0, 2], recurrent_state_bytes_per_layer: 1000, ..smollm2.clone() };
        check(&hybrid, 256, 1000 + 256 * 2 * 128 * 2);
        check(&Hyperparameters { is_encoder: true, ..smollm2 }, 512, 0);
    }

    #[test]
    fn rearranged_copies_are_counted_where_llama_cpp_makes_them() {
        let cpu = |simd: &[&str]| Cpu { simd: simd.iter().map(ToString::to_string).collect(), ..Cpu::default() };
        let check = |level, simd: &[&str], expected: std::ops::Range<f64>| {
            let model = LLAMA3_8B.build();
            let recipe = recipe(&model, level);
            let size: u64 = model.tensors.iter().zip(&recipe.dtypes).map(|(tensor, &dtype)| tensor_bytes(tensor, dtype)).sum();
            #[allow(clippy::cast_precision_loss)]
            let ratio = memory_estimate(&model, &recipe, &cpu(simd), 512).weights_bytes as f64 / size as f64;
            assert!(expected.contains(&ratio), "{level} {simd:?}: {ratio}");
        };
        check(Preset::Q4_0, &["AVX2"], 1.7..1.9);
        check(Preset::Q4_K_M, &["AVX2"], 1.5..1.8);
        check(Preset::Q8_0, &["AVX2"], 1.0..1.001);
        check(Preset::F16, &["AVX2"], 1.0..1.001);
        check(Preset::Q4_0, &[], 1.0..1.001);
        check(Preset::Q8_0, &["NEON", "dotprod"], 1.9..2.0);
        check(Preset::Q8_0, &["NEON"], 1.0..1.001);
    }

    #[test]
    fn memory_is_what_llama_cpp_takes() {
        // Megabytes beyond the program's own 6.7, of llama.cpp with two threads on AVX-512 after a prompt of 512 (2026-11-29).
        let cpu = Cpu { simd: ["AVX2", "AVX-512F"].map(String::from).to_vec(), ..Cpu::default() };
        let medium = Decoder { n_layers: 12, n_embd: 1024, n_ff: 3072, n_heads: 16, n_kv_heads: 4, ..SMOLLM2 };
        let large = Decoder { n_layers: 16, n_embd: 2048, n_ff: 8192, n_heads: 32, n_kv_heads: 8, ..SMOLLM2 };
        let check = |decoder: Decoder, level, n_ctx, measured: f64| {
            let model = decoder.build();
            let memory = memory_estimate(&model, &recipe(&model, level), &cpu, n_ctx);
            #[allow(clippy::cast_precision_loss)]
            let predicted = (memory.total_bytes() - PROGRAM_BYTES) as f64 / 1e6;
            assert!((predicted / (measured - 6.7)).ln().abs() < 0.05, "{level} at {n_ctx}: {predicted} MB for {measured}");
        };
        check(SMOLLM2, Preset::F16, 768, 330.8);
        check(SMOLLM2, Preset::F16, 2048, 363.7);
        check(SMOLLM2, Preset::Q8_0, 768, 204.0);
        check(SMOLLM2, Preset::Q4_0, 768, 210.4);
        check(SMOLLM2, Preset::Q4_K_M, 768, 174.4);
        check(medium, Preset::F16, 768, 456.5);
        check(large, Preset::F16, 768, 2273.8);
    }

    #[test]
    fn corrections_never_eat_weights_or_cache() {
        let memory = MemoryEstimate { weights_bytes: 100, kv_cache_bytes: 50, compute_bytes: 20, fixed_bytes: 10 };
        let check = |offset, expected| assert_eq!(memory.with_offset(offset).total_bytes(), expected, "{offset}");
        check(0, 180);
        check(7, 187);
        check(-7, 173);
        check(-25, 155);
        check(i64::MIN, 150);
        check(i64::MAX, 180 + i64::MAX.unsigned_abs());
    }
}
