//! Estimates of memory and speed. Everything saturates: hostile hyperparameters give huge numbers, never a panic.

use super::recipe::{n_elements, n_rows, tensor_bytes};
use super::{Band, MemoryEstimate, Recipe};
use crate::hardware::{Cpu, Machine};
use crate::model::{DType, Hyperparameters, Model, Tensor};

/// Tokens of one compute step: llama.cpp's default `n_ubatch`.
const N_UBATCH: u64 = 512;

/// The cells of a KV cache are a multiple of this: `GGML_PAD(n_ctx, 256)` in llama-context.cpp and llama-kv-cache-iswa.cpp.
const KV_PADDING: u64 = 256;

/// A process with llama.cpp and its backends but without a model; assumed, not measured.
const PROGRAM_BYTES: u64 = 32 << 20;

/// Tokens in the cache while decoding is predicted: as after the 512 tokens of the usual prefill measurement.
const DECODE_CONTEXT: u64 = 512;

/// Part of the measured read bandwidth that weights stream with; fitted, see `decode_band`.
const STREAM_EFFICIENCY: f64 = 0.8;

/// Time per layer and token that no bandwidth shortens (synchronization, small operators); fitted, see `decode_band`.
const SECS_PER_LAYER: f64 = 0.12e-3;

/// Multiply-adds per second of one AVX2 core, counted as two operations each; fitted, see `prefill_band`.
const AVX2_FLOPS_PER_CORE: f64 = 32e9;

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
            padded(window.saturating_add(N_UBATCH)).min(padded(n_ctx))
        } else {
            padded(n_ctx)
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

/// Size of the compute buffers in bytes, for one step of 512 tokens in f32.
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
    let mask_row_bytes = padded(n_ctx).saturating_mul(4 + 2);
    n_tokens.saturating_mul(row_bytes.saturating_add(mask_row_bytes)).saturating_add(shape.n_vocab.saturating_mul(4))
}

fn padded(n_ctx: u64) -> u64 {
    n_ctx.div_ceil(KV_PADDING).saturating_mul(KV_PADDING)
}

/// Memory of the model while it runs on this processor at this context.
#[must_use]
pub fn memory_estimate(model: &Model, recipe: &Recipe, cpu: &Cpu, n_ctx: u64) -> MemoryEstimate {
    let load = Usage::new(model).recipe_load(recipe, Repacking::of(cpu));
    load.memory(&model.hyperparameters, n_ctx)
}

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

    /// True for a tensor of this type with these rows.
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

impl Load {
    /// Memory on the CPU.
    #[must_use]
    pub fn memory(&self, shape: &Hyperparameters, n_ctx: u64) -> MemoryEstimate {
        MemoryEstimate {
            weights_bytes: self.weights_bytes.saturating_add(self.repacked_bytes),
            kv_cache_bytes: kv_cache_bytes(shape, n_ctx),
            compute_bytes: compute_bytes(shape, n_ctx),
            fixed_bytes: PROGRAM_BYTES,
        }
    }
}

/// Predicted decode speed on the CPU in tokens per second, with 512 tokens in the cache; `None` without a measured bandwidth.
///
/// `1 / (bytes / (0.8 * bandwidth) + 0.12 ms * n_layers)`, where `bytes` is what one token reads: weights (a tied head in full, of
/// embeddings one row, of experts the routed ones) and cache. Fitted to llama.cpp on 2 AVX2 cores with SmolLM2-135M at ten levels from
/// 88 to 271 MB (2026-11-22): decode time is 51 ms per GB and 3.6 ms for 30 layers, within 20 %. The plain roofline overestimates by
/// 1.2 to 3.9 times there; the band, 0.6 to 1.3 times the prediction, is set so wide that it holds all ten.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn decode_band(shape: &Hyperparameters, load: &Load, n_ctx: u64, machine: &Machine) -> Option<Band> {
    let bandwidth = machine.bandwidth?.all_threads_bytes_per_sec;
    let bytes = load.read_bytes + kv_cache_bytes(shape, n_ctx.min(DECODE_CONTEXT)) as f64;
    let secs = bytes / (STREAM_EFFICIENCY * bandwidth) + SECS_PER_LAYER * shape.n_layers as f64;
    band(1.0 / secs, 0.6, 1.3)
}

/// Predicted prefill speed on the CPU in tokens per second for a prompt of 512; `None` for a processor without known cores.
///
/// Operations per token divided by cores times 32 G operations per second, an AVX2 core's share: SmolLM2-135M on 2 such cores reached
/// 17 to 44 G per core, depending on the level (2026-11-22), on 2 Zen 4 cores with AVX-512 VNNI 75 to 140 G (660 to 1,210 tokens per
/// second, 2026-11-24). Other instruction sets by a factor, assumed from their width. The band is wide for that reason: 0.4 to 2 times
/// the prediction.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn prefill_band(usage: &Usage, machine: &Machine) -> Option<Band> {
    let cpu = &machine.cpu;
    let n_cores = cpu.n_performance.unwrap_or(cpu.n_physical);
    if n_cores == 0 {
        return None;
    }
    let flops = n_cores as f64 * AVX2_FLOPS_PER_CORE * simd_factor(cpu);
    band(flops / usage.flops_per_prompt_token(), 0.4, 2.0)
}

fn simd_factor(cpu: &Cpu) -> f64 {
    const FACTORS: [(&str, f64); 9] = [
        ("AMX-INT8", 4.0),
        ("AVX-512 VNNI", 3.0),
        ("AVX-VNNI", 1.3),
        ("AVX-512F", 1.3),
        ("AVX2", 1.0),
        ("i8mm", 1.5),
        ("dotprod", 1.0),
        ("NEON", 0.4),
        ("AVX", 0.4),
    ];
    FACTORS.iter().find(|(name, _)| cpu.simd.iter().any(|found| found == name)).map_or(0.15, |&(_, factor)| factor)
}

fn band(mid: f64, low: f64, high: f64) -> Option<Band> {
    (mid.is_finite() && mid > 0.0).then_some(Band { low: mid * low, mid, high: mid * high })
}

#[cfg(test)]
mod tests {
    use super::super::test_models::{Decoder, LLAMA3_8B, SMOLLM2};
    use super::super::{Planner, recipe};
    use super::*;
    use crate::hardware::Bandwidth;
    use crate::model::Level;

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
        check(Level::Q4_0, &["AVX2"], 1.7..1.9);
        check(Level::Q4_K_M, &["AVX2"], 1.5..1.8);
        check(Level::Q8_0, &["AVX2"], 1.0..1.001);
        check(Level::F16, &["AVX2"], 1.0..1.001);
        check(Level::Q4_0, &[], 1.0..1.001);
        check(Level::Q8_0, &["NEON", "dotprod"], 1.9..2.0);
        check(Level::Q8_0, &["NEON"], 1.0..1.001);
    }

    #[test]
    fn the_speed_model_holds_what_it_was_fitted_to() {
        // Decode and prefill in tokens per second on 2 AVX2 cores; the effective bandwidth there is 19.5 GB/s.
        const MEASURED: [(Level, f64, f64); 7] = [
            (Level::F16, 57.0, 412.0),
            (Level::Q8_0, 88.0, 284.0),
            (Level::Q6_K, 79.0, 346.0),
            (Level::Q5_K_M, 86.0, 161.0),
            (Level::Q4_K_M, 110.0, 280.0),
            (Level::Q4_0, 120.0, 416.0),
            (Level::Q2_K, 118.0, 400.0),
        ];
        let mut machine = Machine::default();
        machine.cpu.n_physical = 2;
        machine.cpu.simd = vec!["AVX2".into()];
        let bandwidth = 19.5e9 / STREAM_EFFICIENCY;
        machine.bandwidth =
            Some(Bandwidth { one_thread_bytes_per_sec: bandwidth / 2.0, all_threads_bytes_per_sec: bandwidth, n_threads: 2 });
        let model = SMOLLM2.build();
        let (planner, usage) = (Planner::new(&model), Usage::new(&model));
        for (level, decode, prefill) in MEASURED {
            let dtypes = planner.recipe(level).dtypes;
            let load = usage.load(|idx, tensor| (tensor_bytes(tensor, dtypes[idx]), false));
            let predicted = decode_band(&model.hyperparameters, &load, 4096, &machine).unwrap();
            assert!((predicted.low..predicted.high).contains(&decode), "{level}: {predicted:?}");
            assert!((predicted.mid / decode - 1.0).abs() < 0.3, "{level}: {predicted:?} for {decode}");
            let predicted = prefill_band(&usage, &machine).unwrap();
            assert!((predicted.low..predicted.high).contains(&prefill), "{level}: {predicted:?}");
        }
    }

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
