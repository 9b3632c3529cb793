//! The history's runs of a model and of its levels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Difference, Here, Known, RunOrigin};
use crate::bench::history::{FileIdentity, History, Kind, Measurement, Row};
use crate::bench::identity::sha256_with;
use crate::bench::quality::QualityOutcome;
use crate::bench::{OF_WEIGHTS_ALONE, Outcome};
use crate::format::Artifact;
use crate::model::{Model, RuntimeId};
use crate::monitor::Monitor;

/// The largest model that is hashed when its hash is not known: that takes a hundredth of a second.
const QUICK_BYTES: u64 = 16 << 20;

/// A file, and what its runs are recognised by.
struct File {
    path: PathBuf,
    identity: FileIdentity,
    sha256: Option<String>,
}

impl File {
    /// The entry for a model's files, for which `path` stands; `None` when they cannot be looked at.
    fn of(history: &History, path: &Path, files: &[PathBuf], rows: &[Row]) -> Option<Self> {
        let identity = FileIdentity::of(files)?;
        Some(Self { path: path.to_path_buf(), sha256: sha256_of(history, files, rows), identity })
    }

    /// The entry for a level: a file, or a folder with its files.
    fn of_level(history: &History, path: &Path, rows: &[Row]) -> Option<Self> {
        if path.is_dir() {
            return Self::of(history, path, &Artifact::open(path).ok()?.files, rows);
        }
        Self::of(history, path, &[path.to_path_buf()], rows)
    }

    /// True when the run is of this file: by the hash of its contents; where one is not known, by path and size, if the file
    /// has not changed since the run.
    fn has(&self, row: &Row) -> bool {
        match (&self.sha256, &row.model_sha256) {
            (Some(own), Some(of_row)) => own == of_row,
            _ => is_unchanged(&self.path, &self.identity, row),
        }
    }
}

fn is_unchanged(path: &Path, identity: &FileIdentity, row: &Row) -> bool {
    row.size_bytes == identity.size_bytes()
        && row.recorded_unix_secs >= identity.changed_unix_secs()
        && row.path.file_name() == path.file_name()
        && is_same_path(&row.path, path)
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

/// The hash of a model: as remembered, else that of a run of the same unchanged file, else computed where that is quick and the
/// history has a run that it could match.
pub(super) fn sha256_of(history: &History, files: &[PathBuf], rows: &[Row]) -> Option<String> {
    let (path, identity) = (files.first()?, FileIdentity::of(files)?);
    if let Ok(Some(known)) = history.known_sha256_anywhere(&identity) {
        return Some(known);
    }
    let of_run = rows.iter().filter(|row| row.model_sha256.is_some()).find(|row| is_unchanged(path, &identity, row));
    if let Some(row) = of_run {
        return row.model_sha256.clone();
    }
    let is_wanted = identity.size_bytes() <= QUICK_BYTES && rows.iter().any(|row| row.size_bytes == identity.size_bytes());
    let is_reference = || identity.size_bytes() <= QUICK_BYTES && rows.iter().any(|row| row.kind == Kind::Quality);
    (is_wanted || is_reference()).then(|| sha256_with(Some(history), files, &Monitor::silent()).ok()).flatten()
}

/// Adds the runs of the model, or of what stands for it, and of its levels.
pub(super) fn fill(known: &mut Known, history: &History, rows: &[Row], model: &Model, here: &Here) {
    let source_files = known.stand_in.as_ref().map_or(&model.files, |stand_in| &stand_in.files).clone();
    let source = source_files.first().and_then(|first| File::of(history, first, &source_files, rows));
    let source_sha256 = source.as_ref().and_then(|source| source.sha256.clone());
    let levels = known.levels.iter().filter_map(|level| File::of_level(history, &level.path, rows));
    let levels: Vec<File> = levels.collect();
    for file in source.iter().chain(&levels) {
        let runs: Vec<&Row> = rows.iter().filter(|row| row.kind == Kind::Speed && file.has(row)).collect();
        take(known, history, file, &runs, here, None);
    }
    let is_loss =
        |row: &&Row| row.kind == Kind::Quality && row.reference_sha256.is_some() && row.reference_sha256 == source_sha256;
    let losses: Vec<&Row> = rows.iter().filter(is_loss).collect();
    // Losses on different texts cannot be compared: the text of the latest run is the one that others should have.
    let latest = losses.iter().find(|row| levels.iter().any(|file| file.has(row)));
    let text = latest.and_then(|row| row.text_sha256.clone());
    for file in &levels {
        let runs: Vec<&Row> = losses.iter().copied().filter(|row| file.has(row)).collect();
        take(known, history, file, &runs, here, text.as_deref());
    }
}

/// Adds the run that differs least: one on `text` before one on another text, then the fewest differences, then the latest.
/// `runs` has the latest first; a run that cannot be read is skipped.
fn take(known: &mut Known, history: &History, file: &File, runs: &[&Row], here: &Here, text: Option<&str>) {
    let mut by_differences: Vec<(&Row, Vec<Difference>)> = runs.iter().map(|row| (*row, differences(row, here, text))).collect();
    let is_text = |difference: &Difference| matches!(difference, Difference::Text(_));
    by_differences.sort_by_key(|(_, differences)| (differences.iter().any(is_text), differences.len()));
    for (row, differences) in by_differences {
        let measurement = match history.get(&[row.id]) {
            Ok(mut entries) => entries.pop().map(|entry| entry.measurement),
            Err(error) => {
                tracing::warn!("{error}");
                continue;
            }
        };
        let path = file.path.clone();
        match measurement {
            Some(Measurement::Speed(mut run)) => {
                run.path.clone_from(&path);
                known.outcomes.push(Outcome { path: path.clone(), result: Ok(*run) });
            }
            Some(Measurement::Quality(mut run)) => {
                let changed = Arc::make_mut(&mut run);
                changed.path.clone_from(&path);
                changed.reference.clone_from(known.stand_in.as_ref().map_or(&known.source, |stand_in| &stand_in.path));
                known.quality.push(QualityOutcome { path: path.clone(), result: Ok(run) });
            }
            None => continue,
        }
        let (kind, run_id, recorded_unix_secs) = (row.kind, row.id, row.recorded_unix_secs);
        known.origins.push(RunOrigin { path, kind, run_id, recorded_unix_secs, differences });
        return;
    }
}

/// What makes a run differ from one that would be made here and now, on the text with this hash; `None`: on any text.
#[must_use]
pub fn differences(row: &Row, here: &Here, text: Option<&str>) -> Vec<Difference> {
    let mut differences = Vec::new();
    if text.is_some() && row.kind == Kind::Quality && row.text_sha256.as_deref() != text {
        differences.push(Difference::Text(row.text_name.clone().unwrap_or_default()));
    }
    if row.machine != here.machine {
        differences.push(Difference::Machine(row.machine.clone()));
    }
    // A run that another runtime measured by right, such as MLX its own levels, is not a run of an older llama.cpp.
    let is_of_own = row.runtime.starts_with(RuntimeId::LlamaCpp.name());
    let measured_by = row.runtime.strip_suffix(OF_WEIGHTS_ALONE).unwrap_or(&row.runtime);
    if here.runtime.as_ref().is_some_and(|runtime| is_of_own && *runtime != measured_by) {
        differences.push(Difference::Runtime(row.runtime.clone()));
    }
    differences
}
