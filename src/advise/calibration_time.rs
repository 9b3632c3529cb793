//! How long it takes to make calibrated levels, before any of it: second moments, their factors, and codes by error feedback.

use super::recipe::Planner;
use super::usage::Usage;
use super::{Plan, speed};
use crate::hardware::Machine;
use crate::model::{DType, Framework, Level, Model, Tensor, layer_idx_of};
use crate::quant::feedback::has_sweeps;

/// Calibration that is predicted to take less is what the window begins with, in seconds.
pub const SOON_SECS: f64 = 15.0 * 60.0;

/// What calibrated levels have won where that was measured: benches/README.md, SmolLM2-135M and the sample at five levels.
pub const MEASURED_GAIN: &str = "47 to 52 % less than Quick, 10 to 32 % less than with an importance matrix";

/// Bytes of moments that are collected in one run over the text: half of the model's size, in these bounds.
pub const MOMENTS_MEMORY: (u64, u64) = (256 << 20, 2 << 30);

/// The most groups of key and value heads with moments of their own: more cost as much as all other moments together.
pub const MAX_MOMENT_GROUPS: u64 = 4;

/// The most columns that moments are collected of.
const MAX_COLUMNS: u64 = 16_384;

/// Rows of a sum of moments that are computed together, of which the last ones are kept in full.
const MOMENT_BAND: u64 = 128;

/// Operations per second while the model runs over the text, as a part of those of a prefill: the weights are floats, every
/// node is looked at, and attention is kept. Fitted to SmolLM2 in F16: 114 s for 15,872 tokens in two runs, on two cores of an
/// AMD EPYC (benches/README.md, 2026-11-30).
const COLLECTING_PART: f64 = 0.55;

/// What a run over the text takes beside its tokens, in seconds: to start a child and to load the model.
const RUN_SECS: f64 = 2.0;

/// Seconds of a core for the factors of `n` columns: the first number times `n³`, the second times `n²`. From 0.13 s for 1,536
/// columns, 1.5 s for 4,096 and 9.4 s for 8,192 on two cores (benches/README.md, 2026-11-30).
const FACTOR_SECS: (f64, f64) = (3.2e-11, 5e-8);

/// Seconds that a core takes to encode a weight in `Q4_K` without feedback where the numbers of this file were measured.
const REFERENCE_SECS: f64 = 14e-9;

/// Seconds of a core that feedback and four sweeps add to a weight: the first number, and the second for each column. From 204
/// to 242 ns at 1,536 columns, and 22 s for the codes of SmolLM2 at `Q4_K_M`, most of whose rows have 576 (benches/README.md).
const FEEDBACK_SECS: (f64, f64) = (170e-9, 30e-12);

/// The same for types with grids, which have no sweeps: 50 to 60 ns at 1,536 columns.
const GRID_FEEDBACK_SECS: (f64, f64) = (42e-9, 8e-12);

/// Times as long as `Q4_K` takes a type whose speed here was not measured: those with grids, 61 to 119 ns beside 15.
const UNMEASURED_COST: f64 = 7.0;

/// Predicted times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationTime {
    /// To run the model over the text and to sum moments; 0 where they are there.
    pub moments_secs: f64,
    /// To factor the moments.
    pub factors_secs: f64,
    /// To choose the codes of all levels.
    pub codes_secs: f64,
}

impl CalibrationTime {
    /// All of it in seconds.
    #[must_use]
    pub fn total_secs(&self) -> f64 {
        self.moments_secs + self.factors_secs + self.codes_secs
    }
}

/// Predicted time of calibrating these levels on `n_tokens`; those of other frameworks and of plain floats take none. `None`
/// where a speed of this machine is not known. `has_moments` where a run before has left its moments.
///
/// The model is taken to run at the speed of `plan`'s level that is nearest to it in size, which earlier runs on this machine
/// have corrected.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a prediction")]
pub fn calibration_time(
    (model, machine, plan): (&Model, &Machine, &Plan),
    levels: &[Level],
    n_tokens: u32,
    has_moments: bool,
) -> Option<CalibrationTime> {
    let planner = Planner::new(model);
    let presets = levels.iter().filter_map(|level| level.preset()).filter(|preset| preset.base_dtype().is_quantized());
    let recipes: Vec<_> = presets.map(|preset| planner.recipe(preset)).collect();
    if recipes.is_empty() {
        return Some(CalibrationTime { moments_secs: 0.0, factors_secs: 0.0, codes_secs: 0.0 });
    }
    let plain = |wanted: DType| machine.encoding.secs_per_weight.iter().find(|(dtype, _)| *dtype == wanted).map(|row| row.1);
    let slowness = plain(DType::Q4_K)? / REFERENCE_SECS;
    let n_cores = machine.encoding.n_threads.max(1) as f64;
    let tensors: Vec<(usize, &Tensor)> =
        model.tensors.iter().enumerate().filter(|(idx, _)| planner.is_quantizable(*idx)).collect();
    let code_secs = |dtype: DType, n_columns: u64| {
        let plain = plain(dtype).unwrap_or(UNMEASURED_COST * REFERENCE_SECS * slowness);
        let (secs, secs_per_column) = match dtype {
            _ if dtype.block_len() == 1 || n_columns > MAX_COLUMNS => (0.0, 0.0),
            dtype if has_sweeps(dtype) => FEEDBACK_SECS,
            _ => GRID_FEEDBACK_SECS,
        };
        plain + slowness * (secs + secs_per_column * n_columns as f64)
    };
    let mut codes_secs = 0.0;
    for recipe in &recipes {
        let of_tensor = |(idx, tensor): &(usize, &Tensor)| {
            Some(tensor.n_elements() as f64 * code_secs(*recipe.dtypes.get(*idx)?, tensor.row_len()))
        };
        codes_secs += tensors.iter().filter_map(of_tensor).sum::<f64>() / n_cores;
    }
    let sums: Vec<u64> = tensors.iter().flat_map(|(_, tensor)| moment_columns(model, tensor)).collect();
    let factors: f64 = sums.iter().map(|&n| FACTOR_SECS.0 * (n as f64).powi(3) + FACTOR_SECS.1 * (n as f64).powi(2)).sum();
    let moments_secs = if has_moments { 0.0 } else { moments_secs(model, machine, plan, &sums, n_tokens)? };
    Some(CalibrationTime { moments_secs, factors_secs: factors * slowness / n_cores, codes_secs })
}

/// Time to run the model over the text as often as memory asks for, and to sum the moments, each in one of these runs.
#[allow(clippy::cast_precision_loss, reason = "a prediction")]
fn moments_secs(model: &Model, machine: &Machine, plan: &Plan, sums: &[u64], n_tokens: u32) -> Option<f64> {
    let of_block = Usage::new(model).flops_per_prompt_token();
    let learned =
        plan.nearest_in_size(model).and_then(|candidate| candidate.prefill_tokens_per_sec).map(|band| band.mid * of_block);
    let flops_per_sec = learned.or_else(|| speed::prefill_flops_per_sec(&machine.cpu))? * COLLECTING_PART;
    let shape = &model.hyperparameters;
    // Each token is scored, since the head has inputs too.
    let head = 2.0 * shape.n_embd as f64 * shape.n_vocab as f64;
    let n_runs = n_moment_runs(model, sums) as f64;
    let sums: f64 = sums.iter().map(|&n| (n as f64).powi(2)).sum();
    Some(f64::from(n_tokens) * (n_runs * (of_block + head) + sums) / flops_per_sec + n_runs * RUN_SECS)
}

/// Runs over the text, so that the moments of each fit into memory: about as many as layers allow.
#[must_use]
pub fn n_moment_runs(model: &Model, sums: &[u64]) -> u64 {
    let limit = (model.tensor_bytes() / 2).clamp(MOMENTS_MEMORY.0, MOMENTS_MEMORY.1);
    sums.iter().map(|&n| 2 * n * (n + MOMENT_BAND)).sum::<u64>().div_ceil(limit).max(1)
}

/// The columns of each sum of moments that a tensor needs: one, one for each group of heads, or none where another tensor has
/// the same inputs, where it is only looked up, or where there are too many columns.
#[must_use]
pub fn moment_columns(model: &Model, tensor: &Tensor) -> Vec<u64> {
    let is_of = |ends: &[&str]| ends.iter().any(|end| tensor.name.ends_with(end));
    let is_lookup = tensor.name == "token_embd.weight" && (!model.has_tied_embeddings() || model.hyperparameters.is_encoder);
    // Gate has the inputs of up.
    let is_shared = is_of(&[".ffn_gate.weight", ".ffn_gate_exps.weight"]);
    if is_lookup || is_shared || tensor.row_len() > MAX_COLUMNS {
        return Vec::new();
    }
    let is_grouped = layer_idx_of(&tensor.name).is_some() && is_of(&[".attn_k.weight", ".attn_v.weight"]);
    let n_sums = if is_grouped { n_moment_groups(model) } else { 1 };
    vec![tensor.row_len(); n_sums]
}

/// Groups of key and value heads: as many as there are heads, or the largest number of equal groups.
#[must_use]
pub fn n_moment_groups(model: &Model) -> usize {
    let heads = &model.hyperparameters.n_kv_heads;
    let n_groups = (1..=MAX_MOMENT_GROUPS).rev().find(|n| heads.iter().all(|heads| *heads > 0 && heads.is_multiple_of(*n)));
    n_groups.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
}

impl Plan {
    /// The level of llama.cpp whose file is closest in size to the source: what a token costs is much the same there.
    #[must_use]
    pub fn nearest_in_size(&self, model: &Model) -> Option<&super::Candidate> {
        let levels = self.candidates.iter().filter(|candidate| candidate.framework == Framework::LlamaCpp);
        levels.min_by_key(|candidate| candidate.size_bytes.abs_diff(model.size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::test_models::{Decoder, LLAMA3_8B, SMOLLM2};
    use crate::advise::{Goal, advise};
    use crate::hardware::{Bandwidth, Cpu, EncodingSpeed};

    const N_TOKENS: u32 = 15_872;

    /// The two cores that benches/README.md was measured on, with the nanoseconds per weight of its table, quiet or busy.
    fn machine(n_cores: usize, slowness: f64) -> Machine {
        let secs = [
            (DType::F32, 0.1),
            (DType::F16, 0.2),
            (DType::Q8_0, 0.4),
            (DType::Q6_K, 4.5),
            (DType::Q5_K, 9.2),
            (DType::Q5_1, 20.0),
            (DType::Q5_0, 5.6),
            (DType::Q4_K, 9.3),
            (DType::Q4_0, 5.3),
            (DType::Q3_K, 8.2),
            (DType::Q2_K, 12.0),
            (DType::IQ4_NL, 13.0),
            (DType::IQ4_XS, 15.6),
        ];
        Machine {
            cpu: Cpu { n_physical: n_cores, n_logical: n_cores, simd: vec!["AVX-512 VNNI".into()], ..Cpu::default() },
            bandwidth: Some(Bandwidth {
                one_thread_bytes_per_sec: 2e10,
                all_threads_bytes_per_sec: 3.8e10,
                n_threads: n_cores,
                other_load: None,
            }),
            encoding: EncodingSpeed {
                secs_per_weight: secs.map(|(dtype, ns)| (dtype, slowness * ns * 1e-9)).to_vec(),
                n_threads: n_cores,
            },
            ..Machine::default()
        }
    }

    fn time(model: &Model, machine: &Machine, levels: &[Level], has_moments: bool) -> Option<CalibrationTime> {
        let plan = advise(model, machine, &Goal::default());
        calibration_time((model, machine, &plan), levels, N_TOKENS, has_moments)
    }

    /// Within this factor, up or down.
    #[track_caller]
    fn check(predicted: f64, measured: f64, factor: f64) {
        assert!((measured / factor..measured * factor).contains(&predicted), "{predicted} s for {measured} s");
    }

    #[test]
    fn times_are_near_those_that_were_measured() {
        let model = SMOLLM2.build();
        let machine = machine(2, 1.5);
        let found = time(&model, &machine, &[Level::Q4_K_M], false).unwrap();
        check(found.moments_secs, 114.0, 1.5);
        check(found.factors_secs + found.codes_secs, 22.0, 1.5);
        check(found.total_secs(), 137.0, 1.5);
        // Q5_K_M, IQ4_XS, Q3_K_M and Q2_K in one pass, from moments that were there.
        let more = [Level::Q5_K_M, Level::IQ4_XS, Level::Q3_K_M, Level::Q2_K];
        check(time(&model, &machine, &more, true).unwrap().total_secs(), 89.0, 1.5);
        // Factors of one matrix on both cores, and the codes of its weights on one.
        for (n, factors) in [(1536.0_f64, 0.13), (4096.0, 1.5), (8192.0, 9.4)] {
            let of_core = FACTOR_SECS.0 * n.powi(3) + FACTOR_SECS.1 * n.powi(2);
            check(of_core / 2.0, factors, 1.2);
        }
        check(FEEDBACK_SECS.0 + FEEDBACK_SECS.1 * 1536.0, 220e-9, 1.1);
        check(GRID_FEEDBACK_SECS.0 + GRID_FEEDBACK_SECS.1 * 1536.0, 55e-9, 1.1);
    }

    #[test]
    fn moments_that_are_there_cost_nothing_and_large_models_are_not_soon() {
        let small = SMOLLM2.build();
        let large = LLAMA3_8B.build();
        let check = |model: &Model, n_cores: usize, has_moments: bool, is_soon: bool| {
            let found = time(model, &machine(n_cores, 1.0), &[Level::Q4_K_M], has_moments).unwrap();
            assert_eq!(found.total_secs() < SOON_SECS, is_soon, "{n_cores} {has_moments}: {found:?}");
            assert_eq!(found.moments_secs == 0.0, has_moments);
        };
        check(&small, 2, false, true);
        check(&large, 2, false, false);
        check(&large, 8, false, false);
        check(&large, 8, true, true);
    }

    #[test]
    fn what_is_not_calibrated_takes_no_time_and_what_is_not_known_has_none() {
        let model = SMOLLM2.build();
        let floats = time(&model, &machine(2, 1.0), &[Level::F16], false).unwrap();
        assert!(floats.total_secs() == 0.0, "{floats:?}");
        let unknown = Machine { encoding: EncodingSpeed::default(), ..machine(2, 1.0) };
        assert_eq!(time(&model, &unknown, &[Level::Q4_K_M], false), None);
        let unknown = Machine { cpu: Cpu::default(), ..machine(2, 1.0) };
        assert_eq!(time(&model, &unknown, &[Level::Q4_K_M], false), None);
        assert!(time(&model, &unknown, &[Level::Q4_K_M], true).is_some(), "the model need not run");
    }

    #[test]
    fn what_earlier_runs_took_scales_the_prediction() {
        let model = SMOLLM2.build();
        let machine = machine(2, 1.0);
        let mut plan = advise(&model, &machine, &Goal::default());
        let secs =
            |plan: &Plan| calibration_time((&model, &machine, plan), &[Level::Q4_K_M], N_TOKENS, false).unwrap().moments_secs;
        let before = secs(&plan);
        for band in plan.candidates.iter_mut().filter_map(|candidate| candidate.prefill_tokens_per_sec.as_mut()) {
            band.mid *= 4.0;
        }
        assert!(secs(&plan) < 0.3 * before, "{before}");
    }

    #[test]
    fn tied_heads_have_moments_and_embeddings_alone_have_none() {
        let small = Decoder { n_layers: 1, n_embd: 64, n_ff: 128, n_heads: 4, n_kv_heads: 2, n_vocab: 256, ..LLAMA3_8B }.build();
        let columns = |name: &str| {
            let tensor = small.tensors.iter().find(|tensor| tensor.name == name).unwrap();
            moment_columns(&small, tensor)
        };
        assert_eq!((columns("token_embd.weight"), columns("output.weight")), (vec![], vec![64]));
        assert_eq!((columns("blk.0.attn_v.weight"), columns("blk.0.attn_q.weight")), (vec![64, 64], vec![64]));
        assert_eq!((columns("blk.0.ffn_gate.weight"), columns("blk.0.ffn_down.weight")), (vec![], vec![128]));
        let tied = SMOLLM2.build();
        let embeddings = tied.tensors.iter().find(|tensor| tensor.name == "token_embd.weight").unwrap();
        assert_eq!(moment_columns(&tied, embeddings), [576]);
    }
}
