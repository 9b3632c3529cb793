//! What measurements of this session and of the history teach the predictions.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::advise::{Decision, Gates, Learned, MeasuredLevel, MeasuredLoss, Planner, Trial, Workload};
use crate::bench::history::{FileIdentity, Filter, History, Kind, Row, default_path, machine_text};
use crate::bench::quality::QualityOutcome;
use crate::bench::{Outcome, Run};
use crate::convert::Conversion;
use crate::error::Result;
use crate::hardware::{BUSY_LOAD, Machine};
use crate::model::{Level, Model};
use crate::runtime;

/// A file of the history is a level of the model when its size is within this part of the predicted one: a changed recipe is not.
const SAME_SIZE: f64 = 0.01;

/// A run that teaches predictions, and the file that it was of.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    path: PathBuf,
    trial: Trial,
}

/// What the runs of a session and of the history have to teach, the latest first.
///
/// Runs count when they are of this machine, of the device that the latest of them used, and with as many threads as a run gets
/// by default; only the latest of each file counts, and at most [`Learned::MAX_RUNS`] in all. All of `session` must be of this
/// machine and its runtime.
#[must_use]
pub fn lessons(session: &[&Outcome], rows: &[Row], machine: &Machine) -> Vec<Lesson> {
    let runs = session.iter().rev().filter_map(|outcome| outcome.result.as_ref().ok()).filter(|run| has_usual_threads(run));
    let runs = runs.map(|run| (run.path.as_path(), run.provenance.backend.as_str(), trial_of_run(run)));
    let rows = runs_here(rows, machine).map(|row| (row.path.as_path(), row.backend.as_str(), trial_of_row(row)));
    let mut found: Vec<Lesson> = Vec::new();
    let mut seen: HashSet<&Path> = HashSet::new();
    let mut latest_backend = None;
    for (path, backend, trial) in runs.chain(rows) {
        if *latest_backend.get_or_insert(backend) != backend || !seen.insert(path) {
            continue;
        }
        // The same run may be known under the path that the file had then.
        let new = trial.filter(|trial| found.iter().all(|known| known.trial != *trial));
        found.extend(new.map(|trial| Lesson { path: path.to_path_buf(), trial }));
        if found.len() == Learned::MAX_RUNS {
            break;
        }
    }
    found
}

/// What lessons teach about predictions for `model`, beside what was measured of its levels.
#[must_use]
pub fn learned(model: &Model, machine: &Machine, levels: BTreeMap<Level, MeasuredLevel>, lessons: &[Lesson]) -> Learned {
    // A measured level stands for itself already.
    let is_of_level = |trial: &Trial| levels.values().any(|level| level.trial.as_ref() == Some(trial));
    let trials: Vec<Trial> = lessons.iter().map(|lesson| &lesson.trial).filter(|trial| !is_of_level(trial)).cloned().collect();
    Learned::new(&trials, levels, &Workload::of_file(model, &machine.cpu, 0), machine)
}

/// What the runs of other files teach about the file at `path`, whose network is that of `workload`. Its own run is left out:
/// the prediction is compared with it.
#[must_use]
pub fn learned_from_others(path: &Path, lessons: &[Lesson], workload: &Workload, machine: &Machine) -> Learned {
    let others: Vec<Trial> = lessons.iter().filter(|lesson| lesson.path != path).map(|lesson| lesson.trial.clone()).collect();
    Learned::new(&others, BTreeMap::new(), workload, machine)
}

/// The runs of the user's history, the latest first; none where there is no history.
///
/// # Errors
/// Those of opening and reading the history.
pub fn kept_runs() -> Result<Vec<Row>> {
    kept()?.map_or_else(|| Ok(Vec::new()), |history| history.list(&Filter::default()))
}

/// The user's history; `None` where there is none: asking for advice must not make a file.
fn kept() -> Result<Option<History>> {
    default_path()?.is_file().then(History::open_default).transpose()
}

/// What the user's history teaches about predictions for `model`, and what it knows of its levels; nothing where there is no history.
///
/// # Errors
/// Those of opening and reading the history.
pub fn learned_from_history(model: &Model, machine: &Machine) -> Result<Learned> {
    let Some(history) = kept()? else { return Ok(Learned::default()) };
    let rows = history.list(&Filter::default())?;
    // A model that was never compared has no losses, and is not read for its hash.
    let known = FileIdentity::of(&model.files).and_then(|identity| history.known_sha256_anywhere(&identity).transpose());
    let levels = known.transpose()?.map_or_else(BTreeMap::new, |sha256| levels_of_history(model, &sha256, machine, &rows));
    Ok(learned(model, machine, levels, &lessons(&[], &rows, machine)))
}

/// What this session knows of the model's levels. All of `speed` must be of this machine and its runtime.
#[must_use]
pub fn levels_of_session(
    conversions: &[Conversion],
    speed: &[&Outcome],
    quality: &[QualityOutcome],
    gates: &Gates,
) -> BTreeMap<Level, MeasuredLevel> {
    let plain = conversions.iter().filter(|conversion| conversion.changes.is_empty());
    let measured = plain.filter_map(|conversion| {
        let run =
            speed.iter().rev().filter(|outcome| outcome.path == conversion.path).find_map(|outcome| outcome.result.as_ref().ok());
        let mut loss = quality.iter().rev().filter(|outcome| outcome.path == conversion.path);
        let loss = loss.find_map(|outcome| outcome.result.as_ref().ok()).map(|run| MeasuredLoss {
            mean_kld: run.summary.mean_kld,
            same_top: run.summary.same_top,
            decision: run.judged(gates).decision,
        });
        let trial = run.filter(|run| has_usual_threads(run)).and_then(trial_of_run);
        let decode_range = run.map(|run| (run.decode_tokens_per_sec.min(), run.decode_tokens_per_sec.max()));
        let level = MeasuredLevel { decode_range: decode_range.filter(|_| trial.is_some()), trial, loss };
        (level != MeasuredLevel::default()).then_some((conversion.level, level))
    });
    measured.collect()
}

/// What the history knows of the levels of the model with this SHA-256: their losses, and the latest speed of the same files on this
/// machine.
#[must_use]
pub fn levels_of_history(model: &Model, sha256: &str, machine: &Machine, rows: &[Row]) -> BTreeMap<Level, MeasuredLevel> {
    let planner = Planner::new(model);
    let is_plain = |level: Level, size_bytes: u64| {
        #[allow(clippy::cast_precision_loss, reason = "compared within one per cent")]
        let near = |planned: u64| (planned as f64 - size_bytes as f64).abs() <= planned as f64 * SAME_SIZE;
        level.preset().is_some_and(|preset| planner.output_size_bytes(&planner.recipe(preset)).is_ok_and(near))
    };
    let mut found: BTreeMap<Level, MeasuredLevel> = BTreeMap::new();
    let losses = rows.iter().filter(|row| row.kind == Kind::Quality && row.reference_sha256.as_deref() == Some(sha256));
    for row in losses {
        let Some(level) = row.level.as_deref().and_then(|name| name.parse::<Level>().ok()) else { continue };
        if found.contains_key(&level) || !is_plain(level, row.size_bytes) {
            continue;
        }
        let is_same_file = |other: &&Row| other.model_sha256.is_some() && other.model_sha256 == row.model_sha256;
        let speed = runs_here(rows, machine).find(is_same_file);
        let trial = speed.and_then(trial_of_row);
        let decode_range = speed.filter(|_| trial.is_some()).and_then(|row| row.decode_range);
        let decision = row.verdict.unwrap_or(Decision::Inconclusive);
        let loss = row.mean_kld.zip(row.same_top).map(|(mean_kld, same_top)| MeasuredLoss { mean_kld, same_top, decision });
        found.insert(level, MeasuredLevel { trial, decode_range, loss });
    }
    found
}

/// Speed runs on this machine with the threads that predictions assume, and on the device of the latest of them; the latest
/// first.
fn runs_here<'a>(rows: &'a [Row], machine: &Machine) -> impl Iterator<Item = &'a Row> + use<'a> {
    let here = machine_text(machine);
    let n_threads = runtime::default_n_threads();
    let mut backend: Option<&str> = None;
    rows.iter().filter(move |row| {
        let is_candidate = row.kind == Kind::Speed && row.machine == here && row.n_threads == n_threads;
        is_candidate && *backend.get_or_insert(row.backend.as_str()) == row.backend
    })
}

/// True for a run with as many threads as are predicted for.
fn has_usual_threads(run: &Run) -> bool {
    run.provenance.n_threads == runtime::default_n_threads()
}

fn trial_of_run(run: &Run) -> Option<Trial> {
    Some(Trial {
        workload: run.workload.clone()?,
        decode_tokens_per_sec: run.decode_tokens_per_sec.median(),
        prefill_tokens_per_sec: run.prefill_tokens_per_sec.median(),
        peak_memory_bytes: run.peak_memory_bytes,
        is_disturbed: run.provenance.conditions.other_load.is_some_and(|load| load > BUSY_LOAD),
    })
}

fn trial_of_row(row: &Row) -> Option<Trial> {
    Some(Trial {
        workload: row.workload.clone()?,
        decode_tokens_per_sec: row.decode_tokens_per_sec.unwrap_or(f64::NAN),
        prefill_tokens_per_sec: row.prefill_tokens_per_sec.unwrap_or(f64::NAN),
        peak_memory_bytes: row.peak_memory_bytes.unwrap_or(0),
        is_disturbed: row.other_load.is_some_and(|load| load > f64::from(BUSY_LOAD)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::test_models::{Decoder, SMOLLM2};
    use crate::bench::history::{Measurement, NewRun, test_runs};
    use crate::hardware::Bandwidth;
    use crate::model::Preset;

    const MACHINE: &str = "Test CPU, 16.0 GiB";

    fn machine() -> Machine {
        let mut machine = Machine::default();
        machine.cpu.name = "Test CPU".into();
        machine.cpu.n_physical = 2;
        machine.cpu.simd = vec!["AVX2".into()];
        machine.memory.total_bytes = 16 << 30;
        machine.bandwidth =
            Some(Bandwidth { one_thread_bytes_per_sec: 1e10, all_threads_bytes_per_sec: 2e10, n_threads: 2, other_load: None });
        machine
    }

    fn model() -> Model {
        Decoder { n_layers: 1, n_embd: 256, n_ff: 512, n_heads: 4, n_kv_heads: 4, n_vocab: 1024, ..SMOLLM2 }.build()
    }

    /// A speed run of the model with `decode` tokens per second, changed by `change`.
    fn run(path: &str, decode: f64, change: impl FnOnce(&mut Run, &mut NewRun)) -> NewRun {
        let mut new = test_runs::speed("Q8_0", &[decode]);
        let Measurement::Speed(mut run) = new.measurement.clone() else { panic!() };
        run.path = path.into();
        run.workload = Some(Workload::of_file(&model(), &machine().cpu, 768));
        run.provenance.n_threads = runtime::default_n_threads();
        run.provenance.conditions.other_load = Some(0.0);
        new.machine = MACHINE.into();
        change(&mut run, &mut new);
        new.measurement = Measurement::Speed(run);
        new
    }

    /// The rows that a database gives of these runs, the last recorded first.
    fn rows(runs: &[NewRun]) -> Vec<Row> {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::open(&folder.path().join("h.sqlite3")).unwrap();
        history.record(runs).unwrap();
        history.list(&Filter::default()).unwrap()
    }

    fn of_rows(rows: &[Row]) -> Learned {
        learned(&model(), &machine(), BTreeMap::new(), &lessons(&[], rows, &machine()))
    }

    fn n_runs(rows: &[Row]) -> usize {
        of_rows(rows).decode.map_or(0, |correction| correction.n_runs)
    }

    #[test]
    fn runs_of_this_machine_device_and_number_of_threads_teach_each_file_once() {
        let check = |runs: &[NewRun], expected| assert_eq!(n_runs(&rows(runs)), expected);
        let plain = |path: &str| run(path, if path == "a" { 50.0 } else { 60.0 }, |_, _| {});
        check(&[], 0);
        check(&[plain("a"), plain("b"), plain("a")], 2);
        check(&[plain("a"), run("b", 50.0, |_, new| new.machine = "Other CPU, 16.0 GiB".into())], 1);
        check(&[plain("a"), run("b", 50.0, |run, _| run.provenance.n_threads += 1)], 1);
        check(&[run("b", 50.0, |run, _| run.provenance.backend = "CUDA0".into()), plain("a")], 1);
        check(&[plain("a"), run("b", 50.0, |run, _| run.workload = None)], 1);
        check(&[plain("a"), run("b", 50.0, |run, _| run.provenance.conditions.other_load = Some(0.9))], 1);
        check(&[test_runs::quality("Q8_0", &[0.01])], 0);
    }

    #[test]
    fn the_latest_run_of_a_file_counts() {
        let factor = |rows: &[Row]| of_rows(rows).decode.unwrap().factor;
        // Near what is predicted of so small a model: corrections have a limit.
        let (slow, fast) = (run("a", 3_000.0, |_, _| {}), run("a", 12_000.0, |_, _| {}));
        let (first, second) = (factor(&rows(&[slow.clone(), fast.clone()])), factor(&rows(&[fast, slow])));
        assert!(first > second * 2.0, "{first} {second}");
    }

    #[test]
    fn the_history_knows_levels_by_the_hash_of_their_source_and_their_size() {
        let model = model();
        let planner = Planner::new(&model);
        let size_bytes = planner.output_size_bytes(&planner.recipe(Preset::Q8_0)).unwrap();
        let quality = |size_bytes: u64| {
            let mut new = test_runs::quality("Q8_0", &[0.01, 0.02]);
            let Measurement::Quality(run) = &new.measurement else { panic!() };
            let mut run = (**run).clone();
            run.size_bytes = size_bytes;
            let hashes = (run.provenance.reference_sha256.clone(), run.provenance.model_sha256.clone());
            new.measurement = Measurement::Quality(std::sync::Arc::new(run));
            (new, hashes)
        };
        let (loss, (source, own)) = quality(size_bytes);
        let speed = run("m-Q8_0.gguf", 80.0, |run, new| {
            run.decode_tokens_per_sec.values = vec![10.0, 80.0, 300.0];
            new.model_sha256 = Some(own);
        });
        let rows_of_both = rows(&[loss, speed]);
        let found = levels_of_history(&model, &source, &machine(), &rows_of_both);
        let level = &found[&Level::Q8_0];
        assert!(level.loss.is_some() && level.trial.is_some(), "{level:?}");
        assert_eq!(level.decode_range, Some((10.0, 300.0)), "of the rounds");
        let learned = learned(&model, &machine(), found, &lessons(&[], &rows_of_both, &machine()));
        assert_eq!(learned.decode.unwrap().n_runs, 1, "the level's run is not counted twice");
        assert!(levels_of_history(&model, "another", &machine(), &rows_of_both).is_empty());
        let (custom, _) = quality(size_bytes * 2);
        assert!(levels_of_history(&model, &source, &machine(), &rows(&[custom])).is_empty(), "a changed recipe");
    }

    /// A measurement of this session.
    fn outcome(path: &str, decode: f64, change: impl FnOnce(&mut Run)) -> Outcome {
        let new = run(path, decode, |run, _| change(run));
        let Measurement::Speed(run) = new.measurement else { panic!() };
        Outcome { path: path.into(), result: Ok(*run) }
    }

    #[test]
    fn runs_of_the_session_teach_like_those_of_the_history_and_once() {
        let check = |session: &[Outcome], rows: &[Row], expected: usize| {
            let session: Vec<&Outcome> = session.iter().collect();
            assert_eq!(lessons(&session, rows, &machine()).len(), expected);
        };
        let (a, b) = (outcome("a", 50.0, |_| {}), outcome("b", 60.0, |_| {}));
        check(&[a.clone(), b.clone()], &[], 2);
        check(&[a.clone(), outcome("b", 60.0, |run| run.provenance.n_threads += 1)], &[], 1);
        check(&[outcome("b", 60.0, |run| run.provenance.backend = "CUDA0".into()), a.clone()], &[], 1);
        // Kept under the path that the file had then.
        check(&[a], &rows(&[run("before it was moved", 50.0, |_, _| {})]), 1);
        check(&[b], &rows(&[run("another", 50.0, |_, _| {})]), 2);
    }

    #[test]
    fn a_prediction_learns_from_the_runs_of_other_files_alone() {
        let session = [outcome("a", 3_000.0, |_| {}), outcome("b", 6_000.0, |_| {})];
        let all = lessons(&session.iter().collect::<Vec<_>>(), &[], &machine());
        let workload = Workload::of_file(&model(), &machine().cpu, 768);
        let factor = |path: &str| learned_from_others(Path::new(path), &all, &workload, &machine()).decode.unwrap();
        assert_eq!((factor("a").n_runs, factor("c").n_runs), (1, 2));
        assert!(factor("a").factor > factor("b").factor * 1.5, "{:?} {:?}", factor("a"), factor("b"));
    }
}
