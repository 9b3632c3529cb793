//! Made-up measurements for tests of the history and of what shows it.

use std::sync::Arc;

use super::{Comparison, Filter, History, Measurement, NewRun, Row};
use crate::advise::{GateKind, Gates, Interval, judge};
use crate::bench::quality::{
    ChunkSums, Flip, FlipClass, KindSummary, QualityProvenance, QualityRun, QualitySummary, ReferenceBy, Stopping, TokenChoice,
};
use crate::bench::{Energy, Provenance, Run, Stat};
use crate::hardware::{Conditions, PowerSource};

/// 21 August 2026, 14:05 UTC.
pub(crate) const NOON: i64 = 1_787_321_100;
pub(crate) const LAPTOP: &str = "AMD Ryzen 7 PRO 7840U, 27.3 GiB";

pub(crate) fn conditions() -> Conditions {
    Conditions {
        power_source: PowerSource::Mains,
        battery_percent: Some(87.0),
        temperature_celsius: Some(48.5),
        other_load: Some(0.25),
    }
}

/// A speed run of `m-LEVEL.gguf`.
pub(crate) fn speed(level: &str, decode: &[f64]) -> NewRun {
    let stat = |values: &[f64]| Stat { values: values.to_vec() };
    let run = Run {
        path: format!("/models/m-{level}.gguf").into(),
        size_bytes: 144_811_072,
        prefill_tokens_per_sec: stat(&[900.0, 910.0, 890.0]),
        decode_tokens_per_sec: stat(decode),
        load_secs: stat(&[0.25, 0.5, 0.25]),
        peak_memory_bytes: 200_000_000,
        provenance: Provenance {
            runtime: "llama.cpp b6500".into(),
            backend: "CPU (AVX512, VNNI)".into(),
            n_threads: 8,
            n_prompt_tokens: 512,
            n_gen_tokens: 128,
            conditions: conditions(),
            warnings: vec!["other programs used 25.0 % of the CPU".into()],
        },
        energy: Energy::default(),
        sustained: None,
        workload: None,
    };
    new(Measurement::Speed(Box::new(run)), level, Some("a1".repeat(32)))
}

/// A quality run of `m-LEVEL.gguf` with this mean KL divergence in each chunk of 256 tokens.
#[allow(clippy::too_many_lines, reason = "a run has many fields")]
pub(crate) fn quality(level: &str, klds: &[f64]) -> NewRun {
    let chunk = |(idx, kld): (u32, &f64)| ChunkSums {
        chunk_idx: idx,
        part_idx: 0,
        n: 256.0,
        kld: 256.0 * kld,
        nll_reference: 500.0,
        nll_candidate: 502.0,
        same_top: 240.0,
        right_reference: 128.0,
        right_candidate: 126.0,
        delta_p_squared: 0.5,
    };
    let around = |value: f64, half: f64| Interval { value, low: value - half, high: value + half };
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let mean = klds.iter().sum::<f64>() / klds.len() as f64;
    let choice = |text: &str| TokenChoice { text: text.into(), p_reference: Some(0.75), p_candidate: 0.125 };
    let summary = QualitySummary {
        n_tokens: 256 * klds.len() as u64,
        n_chunks: klds.len() as u64,
        mean_kld: around(mean, 0.125),
        median_kld: around(0.5, 0.25),
        kld_p90: around(0.5, 0.25),
        kld_p99: around(0.5, 0.25),
        kld_p999: around(0.5, 0.25),
        max_kld: 4.0,
        ppl_reference: around(8.0, 1.0),
        ppl_candidate: around(8.5, 1.0),
        ppl_ratio: around(1.0625, 0.015_625),
        same_top: around(0.9375, 0.015_625),
        rms_delta_p: around(0.0625, 0.015_625),
        accuracy_reference: around(0.5, 0.0625),
        accuracy_candidate: around(0.5, 0.0625),
        accuracy_ratio: around(0.984_375, 0.007_812_5),
    };
    let verdict = judge(&Gates::default(), |kind| {
        Some(if kind == GateKind::MeanKld { around(mean, mean / 4.0) } else { summary.accuracy_ratio })
    });
    let run = QualityRun {
        path: format!("/models/m-{level}.gguf").into(),
        size_bytes: 144_811_072,
        reference: "/models/m-F16.gguf".into(),
        by_kind: vec![KindSummary {
            kind: "prose".into(),
            n_tokens: summary.n_tokens,
            mean_kld: summary.mean_kld,
            ppl_ratio: summary.ppl_ratio,
            same_top: summary.same_top,
        }],
        summary,
        verdict,
        n_looks: 3,
        chunks: (0..).zip(klds).map(chunk).collect(),
        flips: vec![Flip {
            chunk_idx: 0,
            position: 300,
            kind: "prose".into(),
            class: FlipClass::Number,
            before: "In the year ".into(),
            truth: choice("1969"),
            reference: choice("1969"),
            candidate: choice("1968"),
            kld: 2.5,
            probability_lost: 0.625,
        }],
        n_flips: 1,
        strips: Arc::default(),
        provenance: QualityProvenance {
            planish: "0.1.0".into(),
            runtime: "llama.cpp b6500".into(),
            backend: "CPU (AVX512, VNNI)".into(),
            n_threads: 8,
            text_name: "bundled evaluation text".into(),
            text_sha256: "7e".repeat(32),
            model_sha256: "a1".repeat(32),
            reference_sha256: "f0".repeat(32),
            reference_by: ReferenceBy::Runtime,
            n_ctx: 512,
            max_tokens: 16_000,
            stopping: Stopping::Decided,
            seed: 0,
            conditions: conditions(),
            candidate_secs: 12.5,
            reference_secs: 0.0,
            warnings: Vec::new(),
        },
    };
    new(Measurement::Quality(Arc::new(run)), level, None)
}

fn new(measurement: Measurement, level: &str, model_sha256: Option<String>) -> NewRun {
    NewRun {
        measurement,
        recorded_unix_secs: NOON,
        machine: LAPTOP.into(),
        model_sha256,
        level: Some(level.into()),
        recipe: Some("211 Q8_0, 61 F32".into()),
    }
}

/// The rows of a history with these runs, the latest first, and the runs with these numbers beside each other.
pub(crate) fn kept(runs: &[NewRun], compared: &[i64]) -> (Vec<Row>, Comparison) {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::open(&dir.path().join("history.sqlite3")).unwrap();
    history.record(runs).unwrap();
    (history.list(&Filter::default()).unwrap(), history.compare(compared).unwrap())
}
