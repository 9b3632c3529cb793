//! Prediction and measurement side by side: the one source of the Compare page, its table, its plots and the exports.

use std::path::Path;

use super::quality::QualityOutcome;
use super::{ComparisonRow, Outcome, Provenance, Run, Stat};
use crate::advise::{Candidate, GateKind, Gates, Goal, Interval, Plan, Target, advise, judge};
use crate::convert::Conversion;
use crate::hardware::{Framework, Machine};
use crate::model::{Level, Model};

/// The runtime makes its context a multiple of this. Source: `GGML_PAD(n_ctx, 256)` in llama-context.cpp, llama.cpp.
const CTX_GRANULE: u64 = 256;
/// A source at a preset counts as that preset when its size is within this part of the predicted one: a file of another recipe with the
/// same name is not what was predicted.
const SAME_SIZE: f64 = 0.02;

/// What is known of a model's files beside their predictions.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Speed and memory.
    pub speed: &'a [Outcome],
    /// What was lost, against the source.
    pub quality: &'a [QualityOutcome],
    /// The limits that verdicts hold the files against.
    pub gates: &'a Gates,
}

/// One row per file: the source if it was measured, then the conversions in their order.
///
/// Predictions are for this machine at the measured context, whatever the goal says, so that both columns speak of the same thing; without
/// a measurement they are for the goal's context.
#[must_use]
pub fn comparison_rows(
    model: &Model,
    machine: &Machine,
    goal: &Goal,
    conversions: &[Conversion],
    measured: Measured,
) -> Vec<ComparisonRow> {
    let n_ctx = measured_n_ctx(measured.speed).unwrap_or(goal.n_ctx);
    let plan = advise(model, machine, &Goal { n_ctx, target: Target::ThisMachine, ..goal.clone() });
    rows(&plan, model, conversions, measured)
}

/// The context that these rows were measured at, as the runtime made it; `None` when nothing was measured.
#[must_use]
pub fn compared_n_ctx(rows: &[ComparisonRow]) -> Option<u64> {
    n_ctx_of(rows.iter().filter_map(|row| row.run.as_ref()))
}

fn rows(plan: &Plan, model: &Model, conversions: &[Conversion], measured: Measured) -> Vec<ComparisonRow> {
    let outcomes = measured.speed;
    let source = outcomes.iter().any(|outcome| outcome.path == model.path).then(|| source_row(plan, model, outcomes));
    let source_run = source.as_ref().and_then(|row| row.run.clone());
    let converted = conversions.iter().map(|conversion| {
        let facts = FileFacts {
            level: Some(conversion.level),
            name: conversion.name(),
            path: &conversion.path,
            size_bytes: conversion.size_bytes,
            bits_per_weight: conversion.bits_per_weight,
        };
        // What is predicted is the level's own recipe.
        let predicted = candidate(plan, conversion.level).filter(|_| conversion.changes.is_empty());
        let mut row = row(facts, predicted, outcomes);
        add_quality(&mut row, source_run.as_ref(), measured);
        row
    });
    source.into_iter().chain(converted).collect()
}

/// Adds what was lost and the verdict. Speed and memory are held against the source's, measured in the same session.
fn add_quality(row: &mut ComparisonRow, source_run: Option<&Run>, measured: Measured) {
    let outcome = measured.quality.iter().rev().find(|outcome| outcome.path == row.path);
    row.quality = outcome.and_then(|outcome| outcome.result.as_ref().ok()).cloned();
    row.quality_failure = outcome.and_then(|outcome| outcome.result.as_ref().err()).map(ToString::to_string);
    if row.quality.is_none() && row.run.is_none() {
        return;
    }
    let runs = row.run.as_ref().zip(source_run);
    row.verdict = Some(judge(measured.gates, |kind| match kind {
        #[allow(clippy::cast_precision_loss, reason = "a ratio")]
        GateKind::MemoryRatio => {
            runs.map(|(run, source)| Interval::exact(run.peak_memory_bytes as f64 / source.peak_memory_bytes.max(1) as f64))
        }
        GateKind::SpeedRatio => runs.map(|(run, source)| ratio(&run.decode_tokens_per_sec, &source.decode_tokens_per_sec)),
        kind => row.quality.as_ref().and_then(|quality| quality.gate_interval(kind)),
    }));
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
    runs.map(|run| n_tokens(&run.provenance)).max().map(|n| n.next_multiple_of(CTX_GRANULE))
}

fn candidate(plan: &Plan, level: Level) -> Option<&Candidate> {
    plan.candidates.iter().find(|candidate| candidate.framework == Framework::LlamaCpp && candidate.level == Some(level))
}

fn source_row(plan: &Plan, model: &Model, outcomes: &[Outcome]) -> ComparisonRow {
    let level = model.metadata.u64("general.file_type").and_then(Level::from_file_type_id);
    let predicted = level.and_then(|level| candidate(plan, level)).filter(|candidate| {
        #[allow(clippy::cast_precision_loss, reason = "compared within two per cent")]
        let (predicted, actual) = (candidate.size_bytes as f64, model.size_bytes as f64);
        (predicted - actual).abs() <= actual * SAME_SIZE
    });
    let facts = FileFacts {
        level,
        name: level.map_or_else(
            || model.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            |level| format!("{level} (source)"),
        ),
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
    let failure = outcome.and_then(|outcome| outcome.result.as_ref().err()).map(ToString::to_string);
    ComparisonRow {
        level: facts.level,
        name: facts.name,
        path: facts.path.to_path_buf(),
        size_bytes: facts.size_bytes,
        bits_per_weight: facts.bits_per_weight,
        predicted_decode_tokens_per_sec: predicted.and_then(|candidate| candidate.decode_tokens_per_sec),
        predicted_prefill_tokens_per_sec: predicted.and_then(|candidate| candidate.prefill_tokens_per_sec),
        predicted_memory_bytes: predicted.map(|candidate| candidate.memory.total_bytes()),
        run,
        failure,
        quality: None,
        quality_failure: None,
        verdict: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::{Band, Budget, Decision, ExpectedLoss, Fit, Leaf, MemoryEstimate, Tree};
    use crate::bench::Stat;
    use crate::error::Error;
    use crate::hardware::Conditions;
    use crate::model::{Hyperparameters, Metadata, Value};

    fn candidate_of(framework: Framework, level: Level, size_bytes: u64, decode: f64) -> Candidate {
        let band = Band { low: decode / 2.0, mid: decode, high: decode * 2.0 };
        Candidate {
            framework,
            level: Some(level),
            level_name: level.name().into(),
            size_bytes,
            size_is_exact: true,
            bits_per_weight: 4.5,
            memory: MemoryEstimate { weights_bytes: size_bytes, kv_cache_bytes: 10, compute_bytes: 5, fixed_bytes: 1 },
            decode_tokens_per_sec: Some(band),
            prefill_tokens_per_sec: None,
            expected_loss: ExpectedLoss::Low,
            fit: Fit::Fits,
            missing: None,
            note: None,
        }
    }

    fn plan() -> Plan {
        Plan {
            tree: Tree { nodes: Vec::new() },
            path: Vec::new(),
            leaf: Leaf { frameworks: Vec::new(), level_family: "", reasons: Vec::new() },
            candidates: vec![
                candidate_of(Framework::Mlx, Level::Q4_K_M, 1, 1.0),
                candidate_of(Framework::LlamaCpp, Level::Q8_0, 2000, 20.0),
                candidate_of(Framework::LlamaCpp, Level::Q4_K_M, 1000, 40.0),
            ],
            recommended: None,
            runner_up: None,
            reasons: Vec::new(),
            counterfactual: None,
            warnings: Vec::new(),
            budget: Budget { ram_bytes: 0, vram_bytes: 0, origin: String::new() },
        }
    }

    fn model(file_type: Level, size_bytes: u64) -> Model {
        let mut metadata = Metadata::default();
        metadata.set("general.file_type", Value::U32(file_type.file_type_id()));
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
            import: None,
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
        };
        Outcome { path: path.into(), result: Ok(run) }
    }

    static GATES: std::sync::LazyLock<Gates> = std::sync::LazyLock::new(Gates::default);

    fn speed_only(speed: &[Outcome]) -> Measured<'_> {
        Measured { speed, quality: &[], gates: &GATES }
    }

    #[test]
    fn speed_and_memory_are_held_against_the_source_of_the_same_session() {
        let conversions = [conversion(Level::Q4_K_M, "q4.gguf"), conversion(Level::Q2_K, "q2.gguf")];
        let decision = |outcomes: &[Outcome], kind| {
            let rows = rows(&plan(), &model(Level::F16, 4000), &conversions, speed_only(outcomes));
            let verdict = rows.iter().find(|row| row.name == "Q4_K_M")?.verdict.clone()?;
            verdict.gates.into_iter().find(|gate| gate.kind == kind).map(|gate| gate.decision)
        };
        let source = measured("dir/source.gguf", 512, 10.0);
        let both = |decode| [source.clone(), measured("q4.gguf", 512, decode)];
        assert_eq!(decision(&both(25.0), GateKind::SpeedRatio), Some(Decision::Pass));
        assert_eq!(decision(&both(15.0), GateKind::SpeedRatio), Some(Decision::Fail));
        assert_eq!(decision(&both(25.0)[1..], GateKind::SpeedRatio), Some(Decision::Inconclusive), "no source, no ratio");
        assert_eq!(decision(&both(25.0), GateKind::MemoryRatio), Some(Decision::Fail), "as much as the source");
        assert_eq!(decision(&both(25.0), GateKind::PplRatio), Some(Decision::Inconclusive));
        assert_eq!(decision(&[], GateKind::SpeedRatio), None, "nothing measured, no verdict");
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
        let rows = rows(&plan(), &model(Level::F16, 4000), &conversions, speed_only(&outcomes));
        assert_eq!(
            rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            ["Q4_K_M", "Q2_K"],
            "no row for a source not measured"
        );
        assert_eq!(rows[0].predicted_decode_tokens_per_sec.map(|band| band.mid), Some(40.0), "llama.cpp's, not MLX's");
        assert_eq!(rows[0].predicted_memory_bytes, Some(1016));
        let decode = rows[0].run.as_ref().map(|run| run.decode_tokens_per_sec.values.clone());
        assert_eq!(decode, Some(vec![33.0]), "the later measurement");
        assert_eq!((rows[1].predicted_memory_bytes, rows[1].run.is_some()), (None, false), "no candidate, no invention");
        assert_eq!(rows[1].failure, Some(died.to_string()));
    }

    #[test]
    fn a_changed_recipe_has_a_name_of_its_own_and_no_prediction() {
        let changed = Conversion { changes: "--pure".into(), ..conversion(Level::Q4_K_M, "q4-custom.gguf") };
        let rows = rows(&plan(), &model(Level::F16, 4000), &[changed], speed_only(&[measured("q4-custom.gguf", 512, 30.0)]));
        assert_eq!((rows[0].name.as_str(), rows[0].level), ("Q4_K_M custom", Some(Level::Q4_K_M)));
        assert!(rows[0].run.is_some() && rows[0].predicted_memory_bytes.is_none());
    }

    #[test]
    fn a_measured_source_comes_first_with_its_levels_prediction_if_it_is_that_level() {
        let predicted = |file_type, size| {
            let rows = rows(&plan(), &model(file_type, size), &[], speed_only(&[measured("dir/source.gguf", 512, 9.0)]));
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
    fn the_measured_context_is_what_the_runtime_made() {
        let check = |outcomes: &[Outcome], expected| assert_eq!(measured_n_ctx(outcomes), expected);
        check(&[], None);
        check(&[measured("a", 512, 1.0)], Some(768));
        check(&[measured("a", 128, 1.0), measured("b", 896, 1.0)], Some(1024));
        check(&[Outcome { path: "c".into(), result: Err(Error::Cancelled) }], None);
    }
}
