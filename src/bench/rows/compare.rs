//! Prediction and measurement side by side: the one source of the Compare page, its table, its plots and the exports.

use std::path::{Path, PathBuf};

use super::teaching::{Lesson, learned_from_others};
use crate::advise::{
    Basis, Candidate, Goal, Interval, Learned, Limits, Predictor, WishKind, WishResult, judge_wishes, own_level, own_name,
    padded_n_ctx,
};
use crate::bench::history::Kind;
use crate::bench::known::RunOrigin;
use crate::bench::quality::QualityOutcome;
use crate::bench::{ComparisonRow, OF_WEIGHTS_ALONE, Outcome, Provenance, Run, Stat};
use crate::convert::Conversion;
use crate::error::Error;
use crate::hardware::Machine;
use crate::model::{Level, Model};
use crate::path_text;
use crate::units::bytes_text;

/// A source gets the prediction of the preset that it names when the predicted size differs from its own by at most this part:
/// a file of another recipe with the same name is not what was predicted.
const SAME_SIZE: f64 = 0.02;

/// What is known of a model's files beside their predictions.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Speed and memory.
    pub speed: &'a [Outcome],
    /// What was lost, against the source.
    pub quality: &'a [QualityOutcome],
    /// The limits that the files are held against.
    pub limits: &'a Limits,
    /// The runs that predictions learn from.
    pub lessons: &'a [Lesson],
    /// Where those measurements come from that were not made in this session.
    pub origins: &'a [RunOrigin],
}

impl Measured<'_> {
    /// What makes a measurement of a file differ from one that would be made here and now.
    fn note(&self, kind: Kind, path: &Path) -> Option<String> {
        self.origins.iter().find(|origin| origin.kind == kind && origin.path == path)?.note()
    }
}

/// A file with what is predicted of it.
type Prediction = (PathBuf, Candidate);

/// One row per file: the source if it was measured, then the conversions in their order.
///
/// Predictions are for this machine at the measured context, whatever the goal says, so that both columns speak of the same thing; without
/// a measurement they are for the goal's context. They learn from the runs of the other files.
#[must_use]
pub fn comparison_rows(
    model: &Model,
    machine: &Machine,
    goal: &Goal,
    conversions: &[Conversion],
    measured: Measured,
) -> Vec<ComparisonRow> {
    let n_ctx = measured_n_ctx(measured.speed).unwrap_or(goal.n_ctx);
    let predictions = predictions(&Predictor::new(model, machine, goal, n_ctx), model, machine, conversions, measured.lessons);
    rows(&predictions, goal, model, conversions, measured)
}

/// What is predicted of the source and of each file with its level's own recipe.
fn predictions(
    predictor: &Predictor,
    model: &Model,
    machine: &Machine,
    conversions: &[Conversion],
    lessons: &[Lesson],
) -> Vec<Prediction> {
    let source = own_level(model).map(|level| (model.path.clone(), level));
    // What other frameworks reach is not predicted.
    let is_plain = |conversion: &&Conversion| conversion.changes.is_empty() && conversion.level.preset().is_some();
    let plain = conversions.iter().filter(is_plain);
    let files = source.into_iter().chain(plain.map(|conversion| (conversion.path.clone(), conversion.level)));
    let (paths, levels): (Vec<PathBuf>, Vec<Level>) = files.unzip();
    let workload = predictor.workload();
    let learned = paths.iter().map(|path| learned_from_others(path, lessons, &workload, machine));
    let wanted: Vec<(Level, Learned)> = levels.into_iter().zip(learned).collect();
    paths.into_iter().zip(predictor.predict(&wanted)).collect()
}

/// The context that these rows were measured at, as the runtime made it; `None` when nothing was measured.
#[must_use]
pub fn compared_n_ctx(rows: &[ComparisonRow]) -> Option<u64> {
    n_ctx_of(rows.iter().filter_map(|row| row.run.as_ref()))
}

fn rows(
    predictions: &[Prediction],
    goal: &Goal,
    model: &Model,
    conversions: &[Conversion],
    measured: Measured,
) -> Vec<ComparisonRow> {
    let outcomes = measured.speed;
    let source = outcomes.iter().any(|outcome| outcome.path == model.path).then(|| source_row(predictions, model, outcomes));
    let source_run = source.as_ref().and_then(|row| row.run.clone());
    let converted = conversions.iter().map(|conversion| {
        let facts = FileFacts {
            level: Some(conversion.level),
            name: conversion.name(),
            path: &conversion.path,
            size_bytes: conversion.size_bytes,
            bits_per_weight: conversion.bits_per_weight,
        };
        let mut row = row(facts, predicted(predictions, &conversion.path), outcomes);
        add_quality(&mut row, model, measured);
        row.wishes = wish_results(&row, model, source_run.as_ref(), goal, measured.limits);
        row
    });
    let mut rows: Vec<ComparisonRow> = source.into_iter().chain(converted).collect();
    for row in &mut rows {
        let note = measured.note(Kind::Speed, &row.path).or_else(|| row.stand_in().map(str::to_string));
        row.speed_origin = note.filter(|_| row.run.is_some());
        let is_of_weights = row.quality.as_ref().is_some_and(|run| run.provenance.runtime.ends_with(OF_WEIGHTS_ALONE));
        let of_weights = is_of_weights.then(|| "weights alone: decoded, and measured with llama.cpp".to_string());
        row.quality_origin = measured.note(Kind::Quality, &row.path).or(of_weights).filter(|_| row.quality.is_some());
    }
    rows
}

/// Adds what was lost and the verdict on it.
fn add_quality(row: &mut ComparisonRow, model: &Model, measured: Measured) {
    let outcome = measured.quality.iter().rev().find(|outcome| outcome.path == row.path);
    row.quality = outcome.and_then(|outcome| outcome.result.as_ref().ok()).cloned();
    row.quality_failure = outcome.and_then(|outcome| outcome.result.as_ref().err()).map(reason_text);
    let gates = measured.limits.gates.meaningful(model.has_recurrent_layers());
    row.verdict = row.quality.as_ref().map(|quality| quality.judged(&gates));
}

/// Why there is no measurement, in the units of a table.
fn reason_text(error: &Error) -> String {
    match error {
        Error::LargerThanMemory { needed_bytes, limit_bytes, .. } => {
            format!("larger than memory: it needs {}, and {} may be used", bytes_text(*needed_bytes), bytes_text(*limit_bytes))
        }
        error => error.to_string(),
    }
}

/// The wishes, judged by what was measured. Ratios of speed and memory are to the source's run.
#[allow(clippy::cast_precision_loss, reason = "ratios and sizes, shown with three digits")]
fn wish_results(row: &ComparisonRow, model: &Model, source_run: Option<&Run>, goal: &Goal, limits: &Limits) -> Vec<WishResult> {
    let run = row.telling_run();
    let runs = run.zip(source_run);
    judge_wishes(&limits.wishes, goal, |kind| match kind {
        WishKind::MemoryRatio => {
            runs.map(|(run, source)| Interval::exact(run.peak_memory_bytes as f64 / source.peak_memory_bytes.max(1) as f64))
        }
        WishKind::Memory => run.map(|run| Interval::exact(run.peak_memory_bytes as f64)),
        WishKind::SizeRatio => Some(Interval::exact(row.size_bytes as f64 / model.size_bytes.max(1) as f64)),
        WishKind::SpeedRatio => runs.map(|(run, source)| speed_ratio(run, source)),
        WishKind::FirstToken => run.map(first_token_secs),
    })
}

/// Seconds to read the measured prompt: at the median speed, and at those of the fastest and the slowest round.
fn first_token_secs(run: &Run) -> Interval {
    let (n, stat) = (f64::from(run.provenance.n_prompt_tokens), &run.prefill_tokens_per_sec);
    Interval { value: n / stat.median(), low: n / stat.max(), high: n / stat.min() }
}

/// Decode speed as a multiple of the source's.
pub fn speed_ratio(run: &Run, source: &Run) -> Interval {
    ratio(&run.decode_tokens_per_sec, &source.decode_tokens_per_sec)
}

/// Quotient of the medians, between the least and the most favourable pair of rounds.
fn ratio(stat: &Stat, of: &Stat) -> Interval {
    Interval { value: stat.median() / of.median(), low: stat.min() / of.max(), high: stat.max() / of.min() }
}

/// The measured context: prompt and generated tokens, rounded up as the runtime does; the largest if runs differ.
fn measured_n_ctx(outcomes: &[Outcome]) -> Option<u64> {
    n_ctx_of(outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok()))
}

fn n_ctx_of<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<u64> {
    let n_tokens = |of: &Provenance| u64::from(of.n_prompt_tokens) + u64::from(of.n_gen_tokens);
    runs.map(|run| n_tokens(&run.provenance)).max().map(padded_n_ctx)
}

fn predicted<'a>(predictions: &'a [Prediction], path: &Path) -> Option<&'a Candidate> {
    predictions.iter().find(|(file, _)| file == path).map(|(_, candidate)| candidate)
}

fn source_row(predictions: &[Prediction], model: &Model, outcomes: &[Outcome]) -> ComparisonRow {
    let level = own_level(model);
    let predicted = predicted(predictions, &model.path).filter(|candidate| {
        #[allow(clippy::cast_precision_loss, reason = "compared within two per cent")]
        let (predicted, actual) = (candidate.size_bytes as f64, model.size_bytes as f64);
        (predicted - actual).abs() <= actual * SAME_SIZE
    });
    let facts = FileFacts {
        level,
        name: match own_name(model).as_str() {
            "" => path_text::file_name(&model.path),
            own => format!("{own} (source)"),
        },
        path: &model.path,
        size_bytes: model.size_bytes,
        bits_per_weight: model.bits_per_weight(),
    };
    row(facts, predicted, outcomes)
}

struct FileFacts<'a> {
    level: Option<Level>,
    name: String,
    path: &'a Path,
    size_bytes: u64,
    bits_per_weight: f64,
}

fn row(facts: FileFacts, predicted: Option<&Candidate>, outcomes: &[Outcome]) -> ComparisonRow {
    // The last one: a repeated measurement replaces the earlier.
    let outcome = outcomes.iter().rev().find(|outcome| outcome.path == facts.path);
    let run: Option<Run> = outcome.and_then(|outcome| outcome.result.as_ref().ok()).cloned();
    let error = outcome.and_then(|outcome| outcome.result.as_ref().err());
    let is_run = |error: &&Error| !matches!(error, Error::LargerThanMemory { .. });
    let failure = error.filter(is_run).map(ToString::to_string);
    let not_run = error.filter(|error| !is_run(error)).map(reason_text);
    ComparisonRow {
        level: facts.level,
        name: facts.name,
        path: facts.path.to_path_buf(),
        size_bytes: facts.size_bytes,
        bits_per_weight: facts.bits_per_weight,
        predicted_decode_tokens_per_sec: predicted.and_then(|candidate| candidate.decode_tokens_per_sec),
        predicted_prefill_tokens_per_sec: predicted.and_then(|candidate| candidate.prefill_tokens_per_sec),
        predicted_memory_bytes: predicted.map(|candidate| candidate.memory.total_bytes()),
        decode_basis: predicted.map_or(Basis::Predicted, |candidate| candidate.decode_basis),
        prefill_basis: predicted.map_or(Basis::Predicted, |candidate| candidate.prefill_basis),
        memory_basis: predicted.map_or(Basis::Predicted, |candidate| candidate.memory_basis),
        run,
        failure,
        not_run,
        quality: None,
        quality_failure: None,
        speed_origin: None,
        quality_origin: None,
        verdict: None,
        wishes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::test_models::SMOLLM2;
    use crate::advise::{Band, Decision, Fit, LossWord, MemoryEstimate, Preset, Workload};
    use crate::bench::history::{Measurement, test_runs};
    use crate::bench::{Stat, lessons};
    use crate::hardware::{Bandwidth, Conditions};
    use crate::model::{Framework, Hyperparameters, Metadata, Value};

    fn candidate_of(level: Level, size_bytes: u64, decode: f64) -> Candidate {
        let band = Band { low: decode / 2.0, mid: decode, high: decode * 2.0 };
        Candidate {
            framework: Framework::LlamaCpp,
            level: Some(level),
            level_name: level.name().into(),
            size_bytes,
            size_is_exact: true,
            bits_per_weight: 4.5,
            memory: MemoryEstimate { weights_bytes: size_bytes, kv_cache_bytes: 10, compute_bytes: 5, fixed_bytes: 1 },
            decode_tokens_per_sec: Some(band),
            prefill_tokens_per_sec: None,
            expected_loss: LossWord::Slight,
            expected_loss_percent: 3.0,
            fit: Fit::Fits,
            missing: None,
            decode_basis: Basis::Predicted,
            prefill_basis: Basis::Predicted,
            memory_basis: Basis::Predicted,
            measured_loss: None,
            copy_of: None,
            published: None,
            note: None,
        }
    }

    /// What is predicted of these files: `Q8_0` and `Q4_K_M` alone are known.
    fn predicted_of(model: &Model, conversions: &[Conversion]) -> Vec<Prediction> {
        let of = |level: Level| match level {
            Level::Q8_0 => Some(candidate_of(level, 2000, 20.0)),
            Level::Q4_K_M => Some(candidate_of(level, 1000, 40.0)),
            _ => None,
        };
        let source = own_level(model).and_then(of).map(|candidate| (model.path.clone(), candidate));
        // What other frameworks reach is not predicted.
        let is_plain = |conversion: &&Conversion| conversion.changes.is_empty() && conversion.level.preset().is_some();
        let plain = conversions.iter().filter(is_plain);
        let made = plain.filter_map(|conversion| Some((conversion.path.clone(), of(conversion.level)?)));
        source.into_iter().chain(made).collect()
    }

    fn model(file_type: Level, size_bytes: u64) -> Model {
        let mut metadata = Metadata::default();
        metadata.set("general.file_type", Value::U32(file_type.preset().unwrap().file_type_id()));
        Model {
            path: "dir/source.gguf".into(),
            files: vec!["dir/source.gguf".into()],
            size_bytes,
            format_name: "GGUF v3".into(),
            alignment: 32,
            hyperparameters: Hyperparameters::from_metadata(&metadata),
            metadata,
            tensors: Vec::new(),
            warnings: Vec::new(),
            obstacles: Vec::new(),
            unknown: Vec::new(),
            import: None,
            others: Vec::new(),
        }
    }

    fn conversion(level: Level, path: &str) -> Conversion {
        Conversion {
            level,
            path: path.into(),
            source: "dir/source.gguf".into(),
            size_bytes: 1000,
            bits_per_weight: 4.8,
            elapsed_secs: 1.0,
            warnings: Vec::new(),
            check: None,
            changes: String::new(),
        }
    }

    fn measured(path: &str, n_prompt_tokens: u32, decode: f64) -> Outcome {
        let stat = |value| Stat { values: vec![value] };
        let provenance = Provenance {
            runtime: "llama.cpp".into(),
            backend: "CPU".into(),
            n_threads: 1,
            n_prompt_tokens,
            n_gen_tokens: 128,
            conditions: Conditions::default(),
            warnings: Vec::new(),
        };
        let run = Run {
            path: path.into(),
            size_bytes: 1000,
            prefill_tokens_per_sec: stat(1.0),
            decode_tokens_per_sec: stat(decode),
            load_secs: stat(1.0),
            peak_memory_bytes: 1,
            provenance,
            energy: crate::bench::Energy::default(),
            sustained: None,
            workload: None,
        };
        Outcome { path: path.into(), result: Ok(run) }
    }

    static LIMITS: std::sync::LazyLock<Limits> =
        std::sync::LazyLock::new(|| Preset::built_in().into_iter().last().unwrap().limits);

    fn speed_only(speed: &[Outcome]) -> Measured<'_> {
        Measured { speed, quality: &[], limits: &LIMITS, lessons: &[], origins: &[] }
    }

    fn rows_of(model: &Model, conversions: &[Conversion], measured: Measured) -> Vec<ComparisonRow> {
        rows(&predicted_of(model, conversions), &Goal::default(), model, conversions, measured)
    }

    #[test]
    fn speed_and_memory_are_held_against_the_source_of_the_same_session() {
        let conversions = [conversion(Level::Q4_K_M, "q4.gguf"), conversion(Level::Q2_K, "q2.gguf")];
        let decision = |outcomes: &[Outcome], kind| {
            let rows = rows_of(&model(Level::F16, 4000), &conversions, speed_only(outcomes));
            let row = rows.into_iter().find(|row| row.name == "Q4_K_M").unwrap();
            assert_eq!(row.verdict, None, "no loss is measured, so there is no verdict");
            row.wishes.into_iter().find(|wish| wish.kind == kind).map(|wish| wish.decision)
        };
        let source = measured("dir/source.gguf", 512, 10.0);
        let both = |decode| [source.clone(), measured("q4.gguf", 512, decode)];
        assert_eq!(decision(&both(25.0), WishKind::SpeedRatio), Some(Decision::Pass));
        assert_eq!(decision(&both(15.0), WishKind::SpeedRatio), Some(Decision::Fail));
        assert_eq!(decision(&both(25.0)[1..], WishKind::SpeedRatio), Some(Decision::Inconclusive), "no source, no ratio");
        assert_eq!(decision(&both(25.0), WishKind::MemoryRatio), Some(Decision::Fail), "as much as the source");
        assert_eq!(decision(&both(25.0), WishKind::SizeRatio), None, "not wished");
        assert_eq!(decision(&[], WishKind::SpeedRatio), Some(Decision::Inconclusive), "nothing measured");
    }

    #[test]
    fn a_verdict_is_about_quality_alone() {
        let Measurement::Quality(run) = test_runs::quality("Q8_0", &[0.003, 0.004, 0.005]).measurement else { panic!() };
        let outcome = QualityOutcome { path: "q8.gguf".into(), result: Ok(run) };
        let source = measured("dir/source.gguf", 512, 10.0);
        let speed = [source, measured("q8.gguf", 512, 9.0)];
        let all =
            Measured { speed: &speed, quality: std::slice::from_ref(&outcome), limits: &LIMITS, lessons: &[], origins: &[] };
        let rows = rows_of(&model(Level::F16, 4000), &[conversion(Level::Q8_0, "q8.gguf")], all);
        assert_eq!(rows[1].verdict.as_ref().map(|verdict| verdict.decision), Some(Decision::Pass));
        let words: Vec<String> = rows[1].wishes.iter().map(WishResult::text).collect();
        assert_eq!(words, ["too much memory for your wish: 100 of 50.0 %", "too slow for your wish: 0.900 of 2.00 ×"]);
        assert!(rows[0].verdict.is_none() && rows[0].wishes.is_empty(), "the source is what the others are held against");
    }

    #[test]
    fn each_conversion_meets_its_own_prediction_and_measurement() {
        let conversions = [conversion(Level::Q4_K_M, "q4.gguf"), conversion(Level::Q2_K, "q2.gguf")];
        let died = Error::ChildDied { reason: "signal: 9 (SIGKILL)".into(), path: "q2.gguf".into() };
        let outcomes = [
            measured("q4.gguf", 512, 30.0),
            Outcome { path: "q2.gguf".into(), result: Err(died.clone()) },
            measured("q4.gguf", 512, 33.0),
        ];
        let rows = rows_of(&model(Level::F16, 4000), &conversions, speed_only(&outcomes));
        assert_eq!(
            rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            ["Q4_K_M", "Q2_K"],
            "no row for a source not measured"
        );
        assert_eq!(rows[0].predicted_decode_tokens_per_sec.map(|band| band.mid), Some(40.0));
        assert_eq!(rows[0].predicted_memory_bytes, Some(1016));
        let decode = rows[0].run.as_ref().map(|run| run.decode_tokens_per_sec.values.clone());
        assert_eq!(decode, Some(vec![33.0]), "the later measurement");
        assert_eq!((rows[1].predicted_memory_bytes, rows[1].run.is_some()), (None, false), "no candidate, no invention");
        assert_eq!(rows[1].failure, Some(died.to_string()));
    }

    #[test]
    fn a_source_larger_than_memory_is_named_and_has_no_number() {
        let error = Error::LargerThanMemory { needed_bytes: 140 << 30, limit_bytes: 22 << 30, path: "dir/source.gguf".into() };
        let outcomes = [Outcome { path: "dir/source.gguf".into(), result: Err(error) }, measured("q4.gguf", 512, 30.0)];
        let rows = rows_of(&model(Level::F16, 4000), &[conversion(Level::Q4_K_M, "q4.gguf")], speed_only(&outcomes));
        let reason = "larger than memory: it needs 140 GiB, and 22.0 GiB may be used";
        assert_eq!((rows[0].not_run.as_deref(), &rows[0].failure, &rows[0].run), (Some(reason), &None, &None));
        let ratio =
            rows[1].wishes.iter().find(|wish| wish.kind == WishKind::SpeedRatio).map(|wish| (wish.measured, wish.decision));
        assert_eq!(ratio, Some((None, Decision::Inconclusive)), "unknown without a source");
        assert!(rows[1].run.is_some() && rows[1].not_run.is_none());
    }

    #[test]
    fn a_changed_recipe_has_a_name_of_its_own_and_no_prediction() {
        let changed = Conversion { changes: "--pure".into(), ..conversion(Level::Q4_K_M, "q4-custom.gguf") };
        let rows = rows_of(&model(Level::F16, 4000), &[changed], speed_only(&[measured("q4-custom.gguf", 512, 30.0)]));
        assert_eq!((rows[0].name.as_str(), rows[0].level), ("Q4_K_M custom", Some(Level::Q4_K_M)));
        assert!(rows[0].run.is_some() && rows[0].predicted_memory_bytes.is_none());
    }

    #[test]
    fn a_measured_source_comes_first_with_its_levels_prediction_if_it_is_that_level() {
        let predicted = |file_type, size| {
            let rows = rows_of(&model(file_type, size), &[], speed_only(&[measured("dir/source.gguf", 512, 9.0)]));
            assert_eq!(
                (rows.len(), rows[0].name.as_str(), rows[0].level),
                (1, format!("{file_type} (source)").as_str(), Some(file_type))
            );
            assert!(rows[0].run.is_some());
            rows[0].predicted_memory_bytes
        };
        assert_eq!(predicted(Level::Q8_0, 2010), Some(2016));
        assert_eq!(predicted(Level::Q8_0, 2500), None, "another recipe under the same name");
        assert_eq!(predicted(Level::F16, 4000), None);
    }

    #[test]
    fn predictions_learn_from_the_runs_of_the_other_files() {
        let model = SMOLLM2.build();
        let mut machine = Machine::default();
        machine.cpu.n_physical = 2;
        machine.bandwidth =
            Some(Bandwidth { one_thread_bytes_per_sec: 1e10, all_threads_bytes_per_sec: 2e10, n_threads: 2, other_load: None });
        let mut source = measured("model.gguf", 512, 9.0);
        if let Ok(run) = &mut source.result {
            run.workload = Some(Workload::of_file(&model, &machine.cpu, 768));
            run.provenance.n_threads = crate::runtime::default_n_threads();
        }
        let lessons = lessons(&[&source], &[], &machine);
        let made = Conversion { source: model.path.clone(), ..conversion(Level::Q8_0, "q8.gguf") };
        let of = |lessons: &[Lesson]| {
            let speed = std::slice::from_ref(&source);
            let measured = Measured { speed, quality: &[], limits: &LIMITS, lessons, origins: &[] };
            comparison_rows(&model, &machine, &Goal::default(), std::slice::from_ref(&made), measured)
        };
        let (before, after) = (of(&[]), of(&lessons));
        assert_eq!(before[1].decode_basis, Basis::Predicted);
        let adjusted = Basis::Adjusted { n_runs: 1 };
        assert_eq!((after[1].decode_basis, after[1].prefill_basis, after[1].memory_basis), (adjusted, adjusted, adjusted));
        let mid = |row: &ComparisonRow| row.predicted_decode_tokens_per_sec.unwrap().mid;
        assert!(mid(&after[1]) < mid(&before[1]), "the source was slower than predicted");
        assert_eq!((after[0].decode_basis, mid(&after[0])), (Basis::Predicted, mid(&before[0])), "not from its own run");
    }

    #[test]
    fn the_measured_context_is_what_the_runtime_made() {
        let check = |outcomes: &[Outcome], expected| assert_eq!(measured_n_ctx(outcomes), expected);
        check(&[], None);
        check(&[measured("a", 512, 1.0)], Some(768));
        check(&[measured("a", 128, 1.0), measured("b", 896, 1.0)], Some(1024));
        check(&[Outcome { path: "c".into(), result: Err(Error::Cancelled) }], None);
    }
}
