//! What the window asks of the history.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bench::history::{Comparison, ExportFormat, Filter, History, Row, save_new};
use crate::error::Result;

/// A question to the user's history, or a change to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryRequest {
    /// All runs.
    List,
    /// Columns of runs beside each other, or one alone.
    Compare {
        /// Numbers of the runs of each column; the others are compared with the first column.
        columns: Vec<Vec<i64>>,
    },
    /// Removes runs for good.
    Delete {
        /// Their numbers.
        ids: Vec<i64>,
    },
    /// Writes runs into a new file.
    Export {
        /// Their numbers, in the order of the file.
        ids: Vec<i64>,
        /// What the file looks like.
        format: ExportFormat,
        /// Its folder; made if need be.
        dir: PathBuf,
    },
}

/// What the history answers.
#[derive(Debug, Clone)]
pub enum HistoryAnswer {
    /// All runs, the latest first; after a deletion those that are left.
    Runs(Arc<Vec<Row>>),
    /// The answer to `HistoryRequest::Compare`.
    Comparison(Arc<Comparison>),
    /// The file that was written.
    Exported(PathBuf),
}

/// Opens the history for one request: another program may have changed or replaced the file since the last.
pub(super) fn answer(request: &HistoryRequest) -> Result<HistoryAnswer> {
    let mut history = History::open_default()?;
    let runs = |history: &History| history.list(&Filter::default()).map(|rows| HistoryAnswer::Runs(Arc::new(rows)));
    match request {
        HistoryRequest::List => runs(&history),
        HistoryRequest::Compare { columns } => {
            history.compare_joined(columns).map(|comparison| HistoryAnswer::Comparison(Arc::new(comparison)))
        }
        HistoryRequest::Delete { ids } => {
            history.delete(ids)?;
            runs(&history)
        }
        HistoryRequest::Export { ids, format, dir } => {
            save_new(dir, &history.export(ids, *format)?, *format).map(HistoryAnswer::Exported)
        }
    }
}
