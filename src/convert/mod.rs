//! Doing it: stream, quantize, write. One file per target format.

use std::path::PathBuf;

use serde::Serialize;

use crate::model::Level;

/// What to convert, to what, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertRequest {
    /// Levels, each to a file of its own, all in one pass over the source.
    pub levels: Vec<Level>,
    /// The folder for the outputs; created if missing.
    pub out_dir: PathBuf,
    /// What to do with an output that exists.
    pub overwrite: Overwrite,
    /// Threads; `None`: all that this process may use.
    pub n_threads: Option<usize>,
}

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Refuse before any work.
    #[default]
    Never,
    /// Replace it, atomically and only when the new file is complete.
    Allowed,
}

/// A finished output file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversion {
    /// The level.
    pub level: Level,
    /// The file.
    pub path: PathBuf,
    /// The file it was made from.
    pub source: PathBuf,
    /// Its size, which is the predicted size.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// Time of the whole pass, shared by all its levels, in seconds.
    pub elapsed_secs: f64,
    /// What the user should know: `requantized from Q4_1`.
    pub warnings: Vec<String>,
}
