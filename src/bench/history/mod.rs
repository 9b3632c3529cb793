//! Every measurement with what it was measured with, in a SQLite database in the user's data folder.
//!
//! ```text
//! schema    opening: whose file it is, its version, migrations, write-ahead log
//! row       what is filtered and sorted: one row per measured file
//! store     list, get, record, delete
//! savings   levels of several models beside each other
//! verdicts  what the gates said of each run
//! record    from finished measurements to rows
//! made      which file was made from which
//! hashes    SHA-256 of models, remembered by path, size, time of change and inode
//! compare   rows beside each other
//! groups    rows by model and day
//! export    CSV and JSON
//! ```
//!
//! Two programs may use it at once: readers never wait, writers wait for each other. A run is in the file once `record` has returned, and
//! stays there when the program is killed or the power fails.

mod compare;
mod export;
mod groups;
mod hashes;
mod made;
mod record;
mod row;
mod savings;
mod schema;
mod store;
#[cfg(test)]
pub(crate) mod test_runs;
#[cfg(test)]
mod tests;
mod verdicts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::quality::QualityRun;
use super::{Outcome, Run};
use crate::error::{Error, Result};

pub use compare::{Change, Comparison, FactLine, Judgement, NumberLine, Quantity};
pub use export::{ExportFormat, save_new};
pub use groups::{Group, LevelRuns, groups};
pub use hashes::FileIdentity;
pub use record::{machine_text, record_all};
pub use row::{Kind, Row};
pub use savings::{Saving, savings};

/// The environment variable that names a history file to use in place of the one in the user's data folder.
pub const PATH_VARIABLE: &str = "PLANISH_HISTORY";

/// An open history.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    path: PathBuf,
}

impl History {
    /// Opens the database at `path`, or makes it with its folder; brings one of an earlier version up to date, and judges runs
    /// without a verdict by today's gates on quality.
    ///
    /// # Errors
    /// `Error::NotAHistory` for any other file, which is left as it is; `Error::HistoryTooNew`; `Error::History`; `Error::Io` for the folder.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = schema::open(path, &schema::MIGRATIONS)?;
        let mut history = Self { connection, path: path.to_path_buf() };
        history.judge_unjudged()?;
        Ok(history)
    }

    /// Opens the user's history.
    ///
    /// # Errors
    /// As [`History::open`]; `Error::Internal` where the system names no data folder.
    pub fn open_default() -> Result<Self> {
        Self::open(&default_path()?)
    }

    /// The database's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns the database's errors into the crate's.
    fn error(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
        schema::error(action, &self.path)
    }
}

/// Where the user's history is: the file that `PLANISH_HISTORY` names, else `history.sqlite3` in the user's data folder.
///
/// # Errors
/// `Error::Internal` where the system names no data folder.
pub fn default_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    // Unit tests of whatever measures must not write into the history of the person who runs them.
    if cfg!(test) {
        return Ok(std::env::temp_dir().join(format!("planish-unit-tests-{}", std::process::id())).join("history.sqlite3"));
    }
    directories::ProjectDirs::from("", "", "planish")
        .map(|dirs| dirs.data_dir().join("history.sqlite3"))
        .ok_or_else(|| Error::Internal { message: format!("the system names no data folder; set {PATH_VARIABLE} to a file") })
}

/// What was measured of one file.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful at a time")]
pub enum Measurement {
    /// Speed and memory.
    Speed(Box<Run>),
    /// Loss on a text.
    Quality(Arc<QualityRun>),
}

/// An outcome that may hold a measurement.
pub trait Measured {
    /// The measurement; `None` when it failed.
    fn measurement(&self) -> Option<Measurement>;
}

impl Measured for Outcome {
    fn measurement(&self) -> Option<Measurement> {
        self.result.as_ref().ok().cloned().map(|run| Measurement::Speed(Box::new(run)))
    }
}

impl Measured for super::quality::QualityOutcome {
    fn measurement(&self) -> Option<Measurement> {
        self.result.as_ref().ok().cloned().map(Measurement::Quality)
    }
}

/// A measurement to be kept, with what it does not know itself.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// What was measured.
    pub measurement: Measurement,
    /// When, in seconds since 1970 in UTC.
    pub recorded_unix_secs: i64,
    /// Processor and memory: `AMD Ryzen 7 PRO 7840U, 27.3 GiB`.
    pub machine: String,
    /// SHA-256 of a model that was measured for speed; `None` when it could not be computed. A quality run has its own.
    pub model_sha256: Option<String>,
    /// The level that the model's header names.
    pub level: Option<String>,
    /// Tensors of each data type: `180 Q4_K, 31 Q6_K, 61 F32`.
    pub recipe: Option<String>,
}

/// A run with everything that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What is filtered and sorted.
    pub row: Row,
    /// Everything that was measured, except the strips of text.
    pub measurement: Measurement,
}

/// Which runs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Words that must all occur in model, level or machine, in any case.
    pub text: String,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only those recorded at this moment or later, in seconds since 1970.
    pub since_unix_secs: Option<i64>,
    /// At most this many, the latest; `None`: all.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether a run is wanted, whatever the limit.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        let is_kind = self.kind.is_none_or(|kind| kind == row.kind);
        let is_recent = self.since_unix_secs.is_none_or(|since| row.recorded_unix_secs >= since);
        if !is_kind || !is_recent || self.text.trim().is_empty() {
            return is_kind && is_recent;
        }
        let text = format!("{} {} {}", row.model_name, row.level.as_deref().unwrap_or_default(), row.machine).to_lowercase();
        self.text.split_whitespace().all(|word| text.contains(&word.to_lowercase()))
    }
}
