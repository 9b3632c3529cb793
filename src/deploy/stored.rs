//! A comparison from the history: the latest measurement of each file that was made from a model.

use std::path::{Path, PathBuf};

use crate::advise::{self, Gates, Goal, Limits};
use crate::bench::history::{Filter, History, Kind, Measurement, Row};
use crate::bench::known::{Here, RunOrigin, bits_of_folder, differences};
use crate::bench::quality::QualityOutcome;
use crate::bench::{ComparisonRow, Measured, Outcome, comparison_rows, lessons};
use crate::convert::{Conversion, Manifest, has_custom_name, output_path};
use crate::error::{Error, Result};
use crate::format::{FOLDER_MANIFEST, inspect};
use crate::hardware::Machine;
use crate::model::{Level, Model};
use crate::path_text;
use crate::units::local_time_text;

/// A comparison that was measured earlier.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The rows as if they had just been measured; predictions are for this machine.
    pub rows: Vec<ComparisonRow>,
    /// The runs of the history that the rows are made from; their paths are those of the rows.
    pub kept: Vec<Row>,
    /// What makes the comparison doubtful, in sentences.
    pub warnings: Vec<String>,
}

/// A file with its latest runs.
struct File {
    path: PathBuf,
    speed: Option<Row>,
    quality: Option<Row>,
}

impl File {
    fn of(row: &Row) -> Self {
        Self { path: row.path.clone(), speed: None, quality: None }
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.speed.iter().chain(&self.quality)
    }

    /// Whether a run is of this file: by hash, or by path where a hash is unknown.
    fn is_of(&self, row: &Row) -> bool {
        self.rows().any(|known| same_file(known, row))
    }
}

fn same_file(one: &Row, other: &Row) -> bool {
    match (&one.model_sha256, &other.model_sha256) {
        (Some(one), Some(other)) => one == other,
        _ => same_path(&one.path, &other.path),
    }
}

fn same_path(one: &Path, other: &Path) -> bool {
    let real =
        |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_path_buf());
    one == other || real(one) == real(other)
}

/// The latest speed and quality run of the model and of each file made from it.
///
/// A quality run names its source by hash. A speed run names none: it belongs to the model when its file is the source, has a quality run
/// against it, or has the name that a conversion of the model gets. `model_sha256` is the hash of the model's bytes.
///
/// # Errors
/// `Error::NothingStored` when there is no such run; `Error::History`.
pub fn stored_comparison(
    history: &History,
    model: &Model,
    model_sha256: &str,
    machine: &Machine,
    goal: &Goal,
    limits: &Limits,
) -> Result<Stored> {
    let mut warnings = Vec::new();
    let all = history.list(&Filter::default())?;
    let (source, mut files) = files_of(&all, model, model_sha256);
    if source.is_none() && files.is_empty() {
        return Err(Error::NothingStored { path: model.path.clone() });
    }
    files.retain(|file| {
        let has_level = level_of(file).is_some();
        if !has_level {
            warnings.push(format!("{} is left out: its header names no level", name(&file.path)));
        }
        has_level
    });
    files.sort_by_key(|file| std::cmp::Reverse(file.rows().map(|row| row.size_bytes).max()));
    warnings.extend(session_warnings(source.as_ref(), &files));
    let mut speed: Vec<Outcome> = Vec::new();
    let mut quality: Vec<QualityOutcome> = Vec::new();
    let mut kept: Vec<Row> = Vec::new();
    let source_file = source.map(|row| File { path: model.path.clone(), speed: Some(row), quality: None });
    for file in source_file.iter().chain(&files) {
        for row in file.rows() {
            match history.get(&[row.id]).map(|mut entries| entries.pop().map(|entry| entry.measurement)) {
                Ok(Some(Measurement::Speed(mut run))) => {
                    run.path.clone_from(&file.path);
                    speed.push(Outcome { path: file.path.clone(), result: Ok(*run) });
                }
                Ok(Some(Measurement::Quality(run))) => quality.push(QualityOutcome { path: file.path.clone(), result: Ok(run) }),
                Ok(None) => continue,
                Err(error) => {
                    warnings.push(format!("run {} is left out: {error}", row.id));
                    continue;
                }
            }
            kept.push(Row { path: file.path.clone(), ..row.clone() });
        }
    }
    let conversions: Vec<Conversion> = files.iter().filter_map(|file| conversion(file, model)).collect();
    let lessons = lessons(&[], &all, machine);
    let origins = origins_of(&kept, machine);
    let measured = Measured { speed: &speed, quality: &quality, limits, lessons: &lessons, origins: &origins };
    let mut rows = comparison_rows(model, machine, goal, &conversions, measured);
    tell_apart(&mut rows);
    Ok(Stored { rows, kept, warnings })
}

/// How these runs differ from those that this machine would make now, on the text of the latest quality run.
fn origins_of(runs: &[Row], machine: &Machine) -> Vec<RunOrigin> {
    let here = Here::of(machine);
    let losses = runs.iter().filter(|row| row.kind == Kind::Quality);
    let text = losses.max_by_key(|row| row.recorded_unix_secs).and_then(|row| row.text_sha256.as_deref());
    let origin = |row: &Row| RunOrigin {
        path: row.path.clone(),
        kind: row.kind,
        run_id: row.id,
        recorded_unix_secs: row.recorded_unix_secs,
        differences: differences(row, &here, text),
    };
    runs.iter().map(origin).collect()
}

/// The gates that the latest quality run against this model was judged by; `None` if none are kept.
///
/// # Errors
/// `Error::History`.
pub fn stored_gates(history: &History, model_sha256: &str) -> Result<Option<Gates>> {
    let all = history.list(&Filter { kind: Some(Kind::Quality), ..Filter::default() })?;
    Ok(all.into_iter().find(|row| row.reference_sha256.as_deref() == Some(model_sha256)).and_then(|row| row.gates))
}

/// The latest speed run of the source, and the files made from it; `all` has the latest run first.
fn files_of(all: &[Row], model: &Model, model_sha256: &str) -> (Option<Row>, Vec<File>) {
    let is_source = |row: &Row| match &row.model_sha256 {
        Some(sha256) => sha256 == model_sha256,
        None => same_path(&row.path, &model.path),
    };
    let mut files: Vec<File> = Vec::new();
    let of_model = |row: &&Row| row.reference_sha256.as_deref() == Some(model_sha256) && !is_source(row);
    for row in all.iter().filter(|row| row.kind == Kind::Quality).filter(of_model) {
        // An earlier run of the same file, or of what had its name before, is outdated.
        if !files.iter().any(|file| file.is_of(row) || same_path(&file.path, &row.path)) {
            files.push(File { quality: Some(row.clone()), ..File::of(row) });
        }
    }
    let mut source = None;
    for row in all.iter().filter(|row| row.kind == Kind::Speed) {
        if is_source(row) {
            source.get_or_insert_with(|| row.clone());
        } else if let Some(file) = files.iter_mut().find(|file| file.is_of(row)) {
            file.speed.get_or_insert_with(|| row.clone());
        } else if is_named_after(row, model) && !files.iter().any(|file| same_path(&file.path, &row.path)) {
            files.push(File { speed: Some(row.clone()), ..File::of(row) });
        }
    }
    (source, files)
}

/// Whether a file has the name that a conversion of the model to its level gets.
fn is_named_after(row: &Row, model: &Model) -> bool {
    let level = row.level.as_deref().and_then(|level| level.parse::<Level>().ok());
    level.is_some_and(|level| row.path.file_name() == output_path(model, level, Path::new("")).file_name())
}

fn level_of(file: &File) -> Option<Level> {
    file.rows().find_map(|row| row.level.as_deref()?.parse().ok())
}

/// The file as a conversion. `None` without a level.
fn conversion(file: &File, model: &Model) -> Option<Conversion> {
    let level = level_of(file)?;
    let size_bytes = file.rows().map(|row| row.size_bytes).next()?;
    Some(Conversion {
        level,
        path: file.path.clone(),
        source: model.path.clone(),
        size_bytes,
        bits_per_weight: bits_of(&file.path, level, size_bytes, model).unwrap_or_default(),
        elapsed_secs: 0.0,
        warnings: Vec::new(),
        check: None,
        // The history does not keep the options of a changed recipe.
        changes: if has_custom_name(&file.path) { "unknown".into() } else { String::new() },
    })
}

/// Bits per weight by the header of a file or the manifest of a folder; where it is gone or has another size, those that the
/// model has at this level, if that is known.
fn bits_of(path: &Path, level: Level, size_bytes: u64, model: &Model) -> Option<f64> {
    if let Some(preset) = level.preset() {
        let found = inspect(path).ok().filter(|found| found.size_bytes == size_bytes);
        let by_recipe = || advise::bits_per_weight(model, &advise::recipe(model, preset));
        return Some(found.map_or_else(by_recipe, |found| found.bits_per_weight()));
    }
    let manifest = Manifest::read(&path.join(FOLDER_MANIFEST)).ok().flatten();
    let found = manifest.filter(|manifest| manifest.size_bytes == size_bytes).map(|manifest| bits_of_folder(&manifest));
    found.or_else(|| {
        let other = model.others.iter().find(|other| other.level == level)?;
        Some(other.wide_ends.filter(|(wide, _)| *wide == size_bytes).map_or(other.bits_per_weight, |(_, bits)| bits))
    })
}

/// Warnings about speeds that were measured in another session than the source's, and about runs from another machine.
fn session_warnings(source: Option<&Row>, files: &[File]) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(source) = source else {
        if files.iter().any(|file| file.speed.is_some()) {
            warnings.push("the source's speed is not in the history: no level is held against it".into());
        }
        return warnings;
    };
    let others: Vec<&File> = files
        .iter()
        .filter(|file| file.speed.as_ref().is_some_and(|row| row.recorded_unix_secs != source.recorded_unix_secs))
        .collect();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|file| name(&file.path)).collect();
        warnings.push(format!(
            "{} measured in another session than the source ({}): their speeds and the source's may differ because of heat and load",
            names.join(", "),
            local_time_text(source.recorded_unix_secs)
        ));
    }
    let elsewhere = files.iter().flat_map(File::rows).filter(|row| row.machine != source.machine);
    let mut machines: Vec<&str> = elsewhere.map(|row| row.machine.as_str()).collect();
    machines.sort_unstable();
    machines.dedup();
    warnings
        .extend(machines.iter().map(|machine| format!("some runs are from another machine: {machine}, not {}", source.machine)));
    warnings
}

/// Adds the file name to rows that share a name, such as two files of one level.
fn tell_apart(rows: &mut [ComparisonRow]) {
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    for row in rows.iter_mut().filter(|row| names.iter().filter(|name| **name == row.name).count() > 1) {
        row.name = format!("{} ({})", row.name, name(&row.path));
    }
}

fn name(path: &Path) -> String {
    path_text::file_name(path)
}

/// The history's runs that these rows come from; those that were not kept are missing.
///
/// # Errors
/// `Error::History`.
pub fn kept_rows(history: &History, rows: &[ComparisonRow]) -> Result<Vec<Row>> {
    let all = history.list(&Filter::default())?;
    let latest = |row: &ComparisonRow, kind: Kind| {
        // A run that was not kept must not borrow the date of an earlier one.
        let is_it = |kept: &&Row| match kind {
            Kind::Speed => {
                row.run.as_ref().is_some_and(|run| kept.decode_tokens_per_sec == Some(run.decode_tokens_per_sec.median()))
            }
            Kind::Quality => {
                row.quality.as_ref().is_some_and(|run| kept.mean_kld.map(|kld| kld.value) == Some(run.summary.mean_kld.value))
            }
        };
        let of_file = |kept: &&Row| kept.kind == kind && kept.path == row.path;
        let kept = all.iter().filter(of_file).find(is_it)?;
        Some(Row { path: row.path.clone(), ..kept.clone() })
    };
    Ok(rows
        .iter()
        .flat_map(|row| [Kind::Speed, Kind::Quality].into_iter().filter_map(move |kind| latest(row, kind)).collect::<Vec<_>>())
        .collect())
}

/// Warnings about what these runs should have in common to be compared, and do not: machine, runtime, text.
pub(super) fn mixed_warnings(kept: &[Row]) -> Vec<String> {
    let names = |of: fn(&Row) -> Option<&str>| {
        let mut names: Vec<&str> = kept.iter().filter_map(of).collect();
        names.sort_unstable();
        names.dedup();
        (names.len() > 1).then(|| names.join("; "))
    };
    let machines = names(|row| Some(&row.machine)).map(|names| format!("the runs are from several machines: {names}"));
    let runtimes = names(|row| Some(&row.runtime)).map(|names| format!("the runs are from several runtimes: {names}"));
    let texts = names(|row| row.text_name.as_deref())
        .map(|names| format!("the losses are on several texts, so they cannot be compared: {names}"));
    [machines, runtimes, texts].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::history::NewRun;
    use crate::bench::history::test_runs::{quality, speed};
    use crate::convert;
    use crate::deploy::test_rows::model;
    use crate::model::OtherLevel;

    /// SHA-256 of the source in the made-up quality runs.
    fn source_sha256() -> String {
        "f0".repeat(32)
    }

    fn with_sha256(mut run: NewRun, sha256: &str) -> NewRun {
        if let Measurement::Quality(quality) = &mut run.measurement {
            std::sync::Arc::make_mut(quality).provenance.model_sha256 = sha256.into();
        }
        run.model_sha256 = Some(sha256.into());
        run
    }

    fn at(mut run: NewRun, unix_secs: i64) -> NewRun {
        run.recorded_unix_secs = unix_secs;
        run
    }

    fn comparison(runs: &[NewRun]) -> Result<Stored> {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(&dir.path().join("history.sqlite3")).unwrap();
        history.record(runs).unwrap();
        let (machine, goal, limits) = (Machine::default(), Goal::default(), Limits::default());
        stored_comparison(&history, &model(), &source_sha256(), &machine, &goal, &limits)
    }

    #[test]
    fn a_folder_that_is_gone_has_the_bits_of_its_level_or_none() {
        let level: Level = "mlx:4-bit-g64".parse().unwrap();
        let other = OtherLevel { level, size_bytes: 100, bits_per_weight: 4.5, wide_ends: Some((120, 5.0)) };
        let model = Model { others: vec![other], ..model() };
        let bits = |size_bytes| bits_of(Path::new("/gone"), level, size_bytes, &model);
        assert_eq!((bits(100), bits(120)), (Some(4.5), Some(5.0)));
        let other_level = "mlx:8-bit-g64".parse().unwrap();
        assert_eq!(bits_of(Path::new("/gone"), other_level, 100, &model), None);
        let mut row = crate::deploy::test_rows::rows().remove(0);
        assert!(row.bits_text().is_some());
        row.bits_per_weight = 0.0;
        assert_eq!(row.bits_text(), None, "nothing is shown");
    }

    #[test]
    fn a_folder_that_is_there_has_the_bits_of_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let source = convert::open_model(&convert::unpack_sample(dir.path()).unwrap()).unwrap();
        let level: Level = "mlx:4-bit-g64".parse().unwrap();
        let request = convert::ConvertRequest::new(vec![level], dir.path());
        let made = convert::convert(&source, &request, &crate::Monitor::silent()).unwrap().remove(0);
        let found = bits_of(&made.path, level, made.size_bytes, &model()).unwrap();
        assert!((found - made.bits_per_weight).abs() < 1e-9, "{found} {}", made.bits_per_weight);
    }

    #[test]
    fn the_latest_runs_of_each_file_make_its_row() {
        let stored = comparison(&[
            with_sha256(speed("F16", &[10.0]), &source_sha256()),
            with_sha256(quality("Q8_0", &[0.5]), "q8"),
            with_sha256(speed("Q8_0", &[20.0]), "q8"),
            with_sha256(speed("Q8_0", &[22.0]), "q8"),
            with_sha256(quality("Q8_0", &[0.25]), "q8"),
            with_sha256(speed("Q2_K", &[30.0]), "q2"),
        ])
        .unwrap();
        let found: Vec<(&str, Option<f64>, Option<f64>)> = stored
            .rows
            .iter()
            .map(|row| {
                let decode = row.run.as_ref().map(|run| run.decode_tokens_per_sec.median());
                (row.name.as_str(), decode, row.quality.as_ref().map(|run| run.summary.mean_kld.value))
            })
            .collect();
        let source = stored.rows[0].name.clone();
        assert_eq!(found, [(source.as_str(), Some(10.0), None), ("Q8_0", Some(22.0), Some(0.25)), ("Q2_K", Some(30.0), None)]);
        assert!(source.ends_with("(source)"));
        assert_eq!((stored.kept.len(), stored.warnings.as_slice()), (4, &[][..]));
        assert!(stored.rows[1].verdict.is_some());
    }

    #[test]
    fn a_stored_run_is_judged_by_the_gates_that_it_was_judged_by() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(&dir.path().join("history.sqlite3")).unwrap();
        assert_eq!(stored_gates(&history, &source_sha256()), Ok(None));
        let mut strict = quality("Q8_0", &[0.05]);
        let gates = Gates { max_mean_kld: Some(0.01), ..Gates::default() };
        if let Measurement::Quality(run) = &mut strict.measurement {
            let run = std::sync::Arc::make_mut(run);
            run.verdict = run.judged(&gates);
        }
        history.record(&[strict]).unwrap();
        assert_eq!(stored_gates(&history, &source_sha256()), Ok(Some(gates)));
        assert_eq!(stored_gates(&history, "another"), Ok(None));
    }

    #[test]
    fn runs_of_other_models_are_left_alone() {
        let other = |mut run: NewRun| {
            if let Measurement::Quality(quality) = &mut run.measurement {
                std::sync::Arc::make_mut(quality).provenance.reference_sha256 = "00".repeat(32);
            }
            run
        };
        let foreign = |mut run: NewRun| {
            if let Measurement::Speed(speed) = &mut run.measurement {
                speed.path = "/models/another-Q8_0.gguf".into();
            }
            run
        };
        let found =
            comparison(&[with_sha256(other(quality("Q8_0", &[0.5])), "q8"), foreign(with_sha256(speed("Q8_0", &[1.0]), "x"))]);
        assert_eq!(found, Err(Error::NothingStored { path: model().path }));
        assert!(found.unwrap_err().hint().contains("planish compare"));
    }

    #[test]
    fn other_sessions_and_machines_are_told() {
        let mut elsewhere = at(with_sha256(speed("Q2_K", &[30.0]), "q2"), 5);
        elsewhere.machine = "another laptop".into();
        let stored = comparison(&[at(with_sha256(speed("F16", &[10.0]), &source_sha256()), 9_000), elsewhere]).unwrap();
        let origin = stored.rows.iter().find(|row| row.name == "Q2_K").and_then(|row| row.speed_origin.clone());
        assert!(origin.is_some_and(|origin| origin.starts_with("measured on another machine (another laptop)")));
        let warnings = stored.warnings;
        assert!(warnings.len() == 2 && warnings[0].contains("m-Q2_K.gguf measured in another session"), "{warnings:?}");
        assert!(warnings[1].contains("another laptop"));
        let warnings = comparison(&[with_sha256(speed("Q2_K", &[30.0]), "q2")]).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("no level is held against it"), "{warnings:?}");
    }

    #[test]
    fn runs_of_several_machines_runtimes_and_texts_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(&dir.path().join("history.sqlite3")).unwrap();
        let elsewhere = NewRun { machine: "Apple M3, 16.0 GiB".into(), ..speed("Q8_0", &[1.0]) };
        let mut on_other_text = quality("Q8_0", &[0.5]);
        if let Measurement::Quality(run) = &mut on_other_text.measurement {
            std::sync::Arc::make_mut(run).provenance.text_name = "mine.txt".into();
        }
        history.record(&[speed("F16", &[1.0]), elsewhere, quality("Q4_0", &[0.5]), on_other_text]).unwrap();
        let rows = history.list(&Filter::default()).unwrap();
        let warnings = mixed_warnings(&rows);
        assert!(warnings.len() == 2 && warnings[0].contains("Apple M3") && warnings[1].contains("mine.txt"), "{warnings:?}");
        assert_eq!(mixed_warnings(&rows[3..]), [] as [&str; 0]);
    }

    #[test]
    fn runs_that_were_kept_are_found_again_and_only_those() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(&dir.path().join("history.sqlite3")).unwrap();
        let rows = crate::deploy::test_rows::rows();
        assert_eq!(kept_rows(&history, &rows).unwrap(), []);
        history.record(&[speed("F16", &[25.0]), quality("Q4_K_M", &[0.125, 0.375]), speed("Q4_K_M", &[1.0])]).unwrap();
        let kept: Vec<(i64, Kind)> = kept_rows(&history, &rows).unwrap().iter().map(|row| (row.id, row.kind)).collect();
        assert_eq!(kept, [(1, Kind::Speed), (2, Kind::Quality)], "another speed of Q4_K_M is not the one shown");
    }
}
