//! Estimates of speed on the CPU, before anything is measured.

use super::Band;
use super::workload::Workload;
use crate::hardware::{Cpu, Machine};
use crate::model::DType;

/// Half width of the decode band of a machine that was never measured, as factors below and above the prediction.
const DECODE_BAND: (f64, f64) = (0.5, 1.6);

/// Half width of the prefill band, likewise.
const PREFILL_BAND: (f64, f64) = (0.4, 2.0);

/// Weights stream a little faster than the measured read bandwidth, because they are read far ahead; fitted, see `decode_secs`.
const STREAM_EFFICIENCY: f64 = 1.1;

/// The last-level cache is this many times as fast as main memory: 135 to 185 GB/s beside 38 on two Zen 4 cores (2026-11-29).
const CACHE_SPEED_UP: f64 = 4.0;

/// Time per layer and token that no bandwidth shortens (synchronization, attention, small operators, the first bytes of each matrix); fitted,
/// see `decode_secs`.
const SECS_PER_LAYER: f64 = 0.14e-3;

/// The same for a model that stays in the last-level cache as a whole: no matrix waits for main memory. From the bundled sample
/// (4 layers of width 256, 5.8 MB): 4,438 and 4,349 tokens per second at `BF16` and `Q8_0` after 512 tokens, on the cores that
/// `decode_secs` names (2026-11-29).
const SECS_PER_CACHED_LAYER: f64 = 0.047e-3;

/// Time of one core to compute with a gigabyte of weights of a type, beyond reading it, in seconds; fitted, see `decode_secs`.
///
/// Types that were not measured have the cost of their nearest relative: k-quants and i-quants of few bits that of `Q5_0`, because as
/// many weights lie in a byte and take more work each.
const SECS_PER_GB: [(DType, f64); 12] = [
    (DType::F32, 0.0),
    (DType::F16, 0.0),
    (DType::BF16, 0.0),
    (DType::Q8_0, 0.012),
    (DType::Q6_K, 0.021),
    (DType::Q4_K, 0.018),
    (DType::Q4_0, 0.018),
    (DType::IQ4_NL, 0.036),
    (DType::MXFP4, 0.036),
    (DType::Q5_1, 0.045),
    (DType::Q5_K, 0.03),
    (DType::Q5_0, 0.055),
];

/// The cost of every other type.
const OTHER_SECS_PER_GB: f64 = 0.055;

/// Multiply-adds per second of one AVX2 core, counted as two operations each; fitted, see `prefill_secs`.
const AVX2_FLOPS_PER_CORE: f64 = 32e9;

/// Predicted time of one decoded token on the CPU, with 512 tokens in the cache; `None` without a measured bandwidth.
///
/// The sum of three times: to read what a token needs (the weights, with a tied head in full, one row of the embeddings and
/// only the routed experts; and the KV cache) at the speed of memory, or of the last-level cache for as much as it holds; to
/// compute with each type on the cores; and a time per layer, which is shorter where everything is in the cache.
///
/// Fitted to llama.cpp with two threads on two Zen 4 cores with AVX-512 VNNI and 38 GB/s (2026-11-29): Llama shapes of 0.13,
/// 0.2 and 1.1 G weights with 30, 12 and 16 layers in `F16`, `Q8_0`, `Q6_K`, `Q4_K_M` and `Q4_0`, SmolLM2 at nine more levels.
/// Errors are in benches/README.md.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn decode_secs(workload: &Workload, machine: &Machine) -> Option<f64> {
    let bandwidth = machine.bandwidth?.all_threads_bytes_per_sec;
    let n_cores = machine.cpu.n_performance.unwrap_or(machine.cpu.n_physical).max(1) as f64;
    let bytes = workload.reads.iter().map(|read| read.1).sum::<f64>() + workload.kv_read_bytes as f64;
    let cached = bytes.min(last_cache_bytes(&machine.cpu));
    let layer_secs = if cached < bytes { SECS_PER_LAYER } else { SECS_PER_CACHED_LAYER };
    let reading = (bytes - cached + cached / CACHE_SPEED_UP) / (STREAM_EFFICIENCY * bandwidth);
    let computing: f64 = workload.reads.iter().map(|&(dtype, bytes)| bytes / 1e9 * secs_per_gb(dtype)).sum();
    let computing = computing * decode_cost(&machine.cpu) / n_cores;
    Some(reading + computing + layer_secs * workload.n_layers as f64)
}

fn secs_per_gb(dtype: DType) -> f64 {
    SECS_PER_GB.iter().find(|cost| cost.0 == dtype).map_or(OTHER_SECS_PER_GB, |cost| cost.1)
}

/// How many times as long a core computes as one with AVX-512 VNNI. AVX2: SmolLM2 on two such cores (2026-11-22); others
/// assumed.
fn decode_cost(cpu: &Cpu) -> f64 {
    const COSTS: [(&str, f64); 6] =
        [("AVX-512 VNNI", 1.0), ("AVX-VNNI", 1.2), ("AVX2", 1.6), ("i8mm", 1.2), ("dotprod", 1.6), ("NEON", 3.0)];
    COSTS.iter().find(|(name, _)| cpu.simd.iter().any(|found| found == name)).map_or(5.0, |&(_, cost)| cost)
}

/// Bytes of all last-level caches together; 0 where they are not known.
#[allow(clippy::cast_precision_loss, reason = "some megabytes")]
fn last_cache_bytes(cpu: &Cpu) -> f64 {
    let last = cpu.caches.iter().map(|cache| cache.level).max();
    let of_last = cpu.caches.iter().filter(|cache| Some(cache.level) == last);
    of_last.map(|cache| cache.size_bytes as f64 * cache.n_instances as f64).sum()
}

/// Predicted decode speed in tokens per second with its band; `None` without a measured bandwidth.
#[must_use]
pub fn decode_band(workload: &Workload, machine: &Machine) -> Option<Band> {
    band(1.0 / decode_secs(workload, machine)?, DECODE_BAND)
}

/// Predicted time of one prompt token on the CPU, for a prompt of 512; `None` for a processor without known cores.
///
/// Operations per token divided by cores times 32 G operations per second, an AVX2 core's share: SmolLM2-135M on 2 such cores reached
/// 17 to 44 G per core, depending on the level (2026-11-22), on 2 Zen 4 cores with AVX-512 VNNI 75 to 140 G (660 to 1,210 tokens per
/// second, 2026-11-24). Other instruction sets by a factor, assumed from their width. The band is wide for that reason: 0.4 to 2 times
/// the prediction.
#[must_use]
pub fn prefill_secs(workload: &Workload, cpu: &Cpu) -> Option<f64> {
    Some(workload.flops_per_prompt_token / prefill_flops_per_sec(cpu)?)
}

/// Operations per second that a prompt is predicted to be computed with; `None` for a processor without known cores.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn prefill_flops_per_sec(cpu: &Cpu) -> Option<f64> {
    let n_cores = cpu.n_performance.unwrap_or(cpu.n_physical);
    (n_cores > 0).then(|| n_cores as f64 * AVX2_FLOPS_PER_CORE * simd_factor(cpu))
}

/// Predicted prefill speed in tokens per second with its band.
#[must_use]
pub fn prefill_band(workload: &Workload, cpu: &Cpu) -> Option<Band> {
    band(1.0 / prefill_secs(workload, cpu)?, PREFILL_BAND)
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

fn band(mid: f64, (low, high): (f64, f64)) -> Option<Band> {
    (mid.is_finite() && mid > 0.0).then_some(Band { low: mid * low, mid, high: mid * high })
}

#[cfg(test)]
mod tests {
    use super::super::recipe::tensor_bytes;
    use super::super::test_models::{Decoder, SMOLLM2};
    use super::super::usage::Usage;
    use super::super::{Planner, Workload};
    use super::*;
    use crate::hardware::{Bandwidth, Cache};
    use crate::model::{Model, Preset};

    fn machine(simd: &str, bandwidth: f64) -> Machine {
        let mut machine = Machine::default();
        machine.cpu.n_physical = 2;
        machine.cpu.simd = vec![simd.into()];
        machine.cpu.caches = vec![Cache { level: 3, size_bytes: 32 << 20, n_instances: 1 }];
        machine.bandwidth = Some(Bandwidth {
            one_thread_bytes_per_sec: bandwidth / 2.0,
            all_threads_bytes_per_sec: bandwidth,
            n_threads: 2,
            other_load: None,
        });
        machine
    }

    fn workload(level: Preset) -> Workload {
        workload_of(&SMOLLM2.build(), level)
    }

    fn workload_of(model: &Model, level: Preset) -> Workload {
        let usage = Usage::new(model);
        let dtypes = Planner::new(model).recipe(level).dtypes;
        let load = usage.load(|idx, tensor| (tensor_bytes(tensor, dtypes[idx]), false));
        Workload::new(&usage, &dtypes, &load, 768)
    }

    #[test]
    fn the_speed_model_holds_what_it_was_fitted_to() {
        // SmolLM2, decode in tokens per second: the best of three on two Zen 4 cores (2026-11-29), the median on two AVX2 cores (2026-11-22).
        let zen4 = [
            (Preset::F16, 98.8),
            (Preset::Q8_0, 100.5),
            (Preset::Q5_K_M, 94.8),
            (Preset::Q4_K_M, 114.6),
            (Preset::Q4_0, 127.6),
            (Preset::IQ4_NL, 121.2),
        ];
        let avx2 =
            [(Preset::F16, 57.0), (Preset::Q8_0, 88.0), (Preset::Q5_K_M, 86.0), (Preset::Q4_K_M, 110.0), (Preset::Q4_0, 120.0)];
        let check = |machine: &Machine, measured: &[(Preset, f64)], error: f64| {
            for &(level, decode) in measured {
                let predicted = decode_band(&workload(level), machine).unwrap();
                println!("{level}: {:.1} for {decode}", predicted.mid);
                assert!((predicted.low..predicted.high).contains(&decode), "{level}: {predicted:?} for {decode}");
                assert!((predicted.mid / decode).ln().abs() < error, "{level}: {predicted:?} for {decode}");
            }
        };
        check(&machine("AVX-512 VNNI", 38e9), &zen4, 0.3);
        check(&machine("AVX2", 24.4e9), &avx2, 0.4);
    }

    #[test]
    fn a_model_that_stays_in_the_cache_has_short_layers() {
        let sample = Decoder { n_layers: 4, n_embd: 256, n_ff: 512, n_heads: 4, n_kv_heads: 2, n_vocab: 2048, ..SMOLLM2 }.build();
        let machine = machine("AVX-512 VNNI", 38e9);
        for (level, measured) in [(Preset::BF16, 4438.0_f64), (Preset::Q8_0, 4349.0)] {
            let found = decode_band(&workload_of(&sample, level), &machine).unwrap();
            assert!((found.mid / measured).ln().abs() < 0.2, "{level}: {found:?} for {measured}");
        }
    }

    #[test]
    fn prefill_is_within_its_band() {
        let check = |simd, measured: &[f64]| {
            for &prefill in measured {
                let predicted = prefill_band(&workload(Preset::Q8_0), &machine(simd, 1e10).cpu).unwrap();
                assert!((predicted.low..predicted.high).contains(&prefill), "{predicted:?} for {prefill}");
            }
        };
        check("AVX2", &[161.0, 280.0, 416.0]);
        check("AVX-512 VNNI", &[660.0, 783.0, 1210.0]);
    }

    #[test]
    fn what_fits_the_cache_is_read_faster() {
        let mut small = workload(Preset::Q4_0);
        small.reads.iter_mut().for_each(|read| read.1 /= 20.0);
        let machine = machine("AVX-512 VNNI", 38e9);
        let mut without = machine.clone();
        without.cpu.caches.clear();
        assert!(decode_secs(&small, &machine).unwrap() < decode_secs(&small, &without).unwrap());
        assert_eq!(decode_secs(&small, &Machine::default()), None, "without a bandwidth nothing is predicted");
    }
}
