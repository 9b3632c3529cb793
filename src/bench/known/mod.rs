//! What this machine knows of a model: its levels on the disk, and what was measured of it and of them.
//!
//! ```text
//! levels    files that were made from the model, recognised by what they carry and by what was noted when they were made
//! runs      the history's runs of these files, recognised by their hashes
//! ```
//!
//! Nothing large is read: a file is known by path, size, time of change and inode.

mod levels;
mod runs;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Outcome;
use super::history::{Filter, History, Kind, Row, machine_text};
use super::quality::QualityOutcome;
use crate::calibrate::moments::has_bundled_moments;
use crate::convert::Conversion;
use crate::error::{Error, Result};
use crate::hardware::{self, Machine};
use crate::model::Model;
use crate::runtime;

pub use levels::{bits_of_folder, forget_conversion, remember_conversions};
pub use runs::differences;

/// The model whose levels and runs are wanted, and where to look.
#[derive(Debug, Clone)]
pub struct FindRequest {
    /// The model: a GGUF file, or what a checkpoint becomes.
    pub model: Arc<Model>,
    /// Folders to look into, besides the model's own and those of its earlier conversions.
    pub folders: Vec<PathBuf>,
    /// Files that are already known; those that no longer exist come back in `Known::gone`.
    pub known: Vec<PathBuf>,
    /// This machine as the history names it; `None`: it is detected, which takes some tens of milliseconds.
    pub machine: Option<String>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Known {
    /// The model that it is about.
    pub source: PathBuf,
    /// For a checkpoint, the file among its levels that keeps every weight, and so can stand for it.
    pub stand_in: Option<Arc<Model>>,
    /// The levels, the largest first.
    pub levels: Vec<Conversion>,
    /// Those of `FindRequest::known` that are gone.
    pub gone: Vec<PathBuf>,
    /// The speed of the model and of its levels: for each file the run that suits this machine best, and of several the latest.
    pub outcomes: Vec<Outcome>,
    /// The losses of the levels, chosen likewise.
    pub quality: Vec<QualityOutcome>,
    /// Where these runs come from: one for each of `outcomes` and `quality`.
    pub origins: Vec<RunOrigin>,
    /// Whether the model has run over the bundled calibration text before: calibrated levels need not wait for that.
    pub has_moments: bool,
    /// Why runs are missing: a history that cannot be read.
    pub problem: Option<Error>,
}

/// Where a run of the history comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOrigin {
    /// The file that was measured.
    pub path: PathBuf,
    /// What was measured.
    pub kind: Kind,
    /// Its number in the history.
    pub run_id: i64,
    /// When, in seconds since 1970 in UTC.
    pub recorded_unix_secs: i64,
    /// What makes it differ from what would be measured here now.
    pub differences: Vec<Difference>,
}

/// Why a run cannot be compared with others as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Another machine; its name.
    Machine(String),
    /// Another runtime or version; its name.
    Runtime(String),
    /// Another text than that of the latest quality run; its name.
    Text(String),
}

impl RunOrigin {
    /// `measured on another machine (Apple M3, 16.0 GiB)`; `None` for a run that is like one made here and now.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let part = |difference: &Difference| match difference {
            Difference::Machine(name) => format!("on another machine ({name})"),
            Difference::Runtime(name) => format!("with another runtime ({name})"),
            Difference::Text(name) => format!("on another text ({name})"),
        };
        let parts: Vec<String> = self.differences.iter().map(part).collect();
        (!parts.is_empty()).then(|| format!("measured {}", parts.join(" and ")))
    }
}

/// This machine and its runtime, as runs name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Processor and memory.
    pub machine: String,
    /// The runtime with its version; `None` in a build that cannot measure: then no run counts as made with another.
    pub runtime: Option<String>,
}

impl Here {
    /// The names that a run made on this machine now would carry.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self { machine: machine_text(machine), runtime: runtime::version() }
    }
}

/// Looks for the levels and runs of a model in the user's history and on the disk.
///
/// # Errors
/// Those of reading a history that was opened. One that cannot be opened is reported in `Known::problem`; files that cannot be
/// read are left out.
pub fn find_known(request: &FindRequest) -> Result<Known> {
    match History::open_default() {
        Ok(history) => find_in(Some(&history), request),
        Err(error) => Ok(Known { problem: Some(error), ..find_in(None, request)? }),
    }
}

/// As [`find_known`], with this history.
fn find_in(history: Option<&History>, request: &FindRequest) -> Result<Known> {
    let model = &request.model;
    let rows = history.map(|history| history.list(&Filter::default())).transpose()?.unwrap_or_default();
    let source_sha256 = history.and_then(|history| runs::sha256_of(history, &model.files, &rows));
    let folders = folders(request, &rows, source_sha256.as_deref());
    let mut levels = levels::find(history, model, &folders);
    let stand_in = levels::stand_in(model, &mut levels);
    levels.sort_by(|one, other| other.size_bytes.cmp(&one.size_bytes).then_with(|| one.path.cmp(&other.path)));
    let mut known = Known {
        source: model.path.clone(),
        stand_in,
        levels,
        gone: request.known.iter().filter(|path| !path.exists()).cloned().collect(),
        outcomes: Vec::new(),
        quality: Vec::new(),
        origins: Vec::new(),
        has_moments: has_bundled_moments(model),
        problem: None,
    };
    if let (Some(history), false) = (history, rows.is_empty()) {
        let machine = || machine_text(&hardware::detect(model.path.parent().unwrap_or(Path::new("."))));
        let here = Here { machine: request.machine.clone().unwrap_or_else(machine), runtime: runtime::version() };
        runs::fill(&mut known, history, &rows, model, &here);
    }
    Ok(known)
}

/// Where to look: the folders of the request, the model's own, and those where levels of it were measured.
fn folders(request: &FindRequest, rows: &[Row], source_sha256: Option<&str>) -> Vec<PathBuf> {
    let measured = rows.iter().filter(|row| source_sha256.is_some() && row.reference_sha256.as_deref() == source_sha256);
    let beside = request.model.path.parent().map(Path::to_path_buf);
    let all =
        request.folders.iter().cloned().chain(beside).chain(measured.filter_map(|row| Some(row.path.parent()?.to_path_buf())));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in all {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}
