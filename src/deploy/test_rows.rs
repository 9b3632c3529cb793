//! A comparison with all that can happen to a row, for tests: a measured source, a judged level, one that failed.

use std::sync::Arc;

use crate::advise::{Band, Basis, Gates, Goal, Interval, Preset, judge_wishes};
use crate::bench::history::Measurement;
use crate::bench::history::test_runs::{quality, speed};
use crate::bench::{ComparisonRow, Run};
use crate::model::{Level, Model};

pub(crate) fn rows() -> Vec<ComparisonRow> {
    let run = |level: &str, decode: f64| -> Run {
        let Measurement::Speed(run) = speed(level, &[decode, decode * 1.1, decode * 0.9]).measurement else { panic!("no speed") };
        *run
    };
    let Measurement::Quality(lost) = quality("Q4_K_M", &[0.125, 0.375]).measurement else { panic!("no quality") };
    let production = Preset::built_in().into_iter().last().expect("there are some").limits;
    let band = |mid: f64| Some(Band { low: mid / 2.0, mid, high: mid * 2.0 });
    let row = |level: Level, name: &str, size_bytes: u64| ComparisonRow {
        level: Some(level),
        name: name.into(),
        path: format!("/models/m-{level}.gguf").into(),
        size_bytes,
        bits_per_weight: 4.8,
        predicted_decode_tokens_per_sec: band(50.0),
        predicted_prefill_tokens_per_sec: band(700.0),
        predicted_memory_bytes: Some(210_000_000),
        decode_basis: Basis::Adjusted { n_runs: 2 },
        prefill_basis: Basis::Adjusted { n_runs: 2 },
        memory_basis: Basis::Predicted,
        run: None,
        failure: None,
        not_run: None,
        quality: None,
        quality_failure: None,
        speed_origin: None,
        quality_origin: None,
        verdict: None,
        wishes: Vec::new(),
    };
    vec![
        ComparisonRow { run: Some(run("F16", 25.0)), ..row(Level::F16, "F16 (source)", 270_885_952) },
        ComparisonRow {
            run: Some(run("Q4_K_M", 60.0)),
            quality: Some(Arc::clone(&lost)),
            verdict: Some(lost.judged(&Gates { max_mean_kld: Some(0.5), ..Gates::default() })),
            wishes: judge_wishes(&production.wishes, &Goal::default(), |_| Some(Interval::exact(2.5))),
            ..row(Level::Q4_K_M, "Q4_K_M", 105_000_000)
        },
        ComparisonRow {
            speed_origin: Some("measured on another machine (Apple M3, 16.0 GiB)".into()),
            failure: Some("died, by \"signal 9\"\nand more".into()),
            quality_failure: Some("no memory".into()),
            ..row(Level::Q2_K, "Q2_K", 88_000_000)
        },
    ]
}

/// The model that the rows are of.
pub(crate) fn model() -> Model {
    let mut model = crate::ui::test_support::sample_model();
    model.path = "/models/m-F16.gguf".into();
    model.files = vec![model.path.clone()];
    model.size_bytes = 270_885_952;
    model
}
