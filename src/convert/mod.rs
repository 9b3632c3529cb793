//! Conversion: streams, quantizes and writes files and folders, with a journal, checksums and a manifest.

#[cfg(test)]
mod calibrated_tests;
mod checkpoints;
mod chunk;
mod conversion;
mod decoded;
mod disk;
mod existing;
mod feedback;
mod folder;
#[cfg(test)]
mod folder_tests;
mod ground;
#[cfg(test)]
mod imatrix_tests;
mod journal;
mod manifest;
mod open;
mod part_file;
mod part_output;
mod paths;
mod pipeline;
mod preflight;
mod remove;
#[cfg(test)]
mod resume_tests;
mod sample;
mod sums;
#[cfg(test)]
mod tests;
mod verify;
mod verify_folder;
mod whole_file;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::advise::{Overrides, Pruned, asks_for_budget, asks_for_calibration, changed_name, pruned};
use crate::error::Result;
use crate::model::{Level, Model};

pub use self::conversion::convert;
pub use self::decoded::{DecodedGguf, decoded_gguf};
pub use self::existing::{Existing, copy_number, existing_outputs};
pub use self::feedback::factors_of;
pub use self::ground::{BUNDLED_CALIBRATION_TEXT, fitting_imatrix, made_before};
pub use self::manifest::{HeaderEntry, Ingredient, Manifest, TensorEntry};
pub use self::open::{check_checkpoint, open_model, own_tokens};
pub use self::paths::{
    default_output_dir, has_custom_name, is_same_file, manifest_path, model_name_of, output_path, output_path_by,
};
pub use self::preflight::{PlannedOutput, WorkPlan, preflight};
pub use self::remove::{Removal, remove_output, remove_outputs};
pub use self::sample::{SAMPLE_LEVELS, sample_parent, sample_path, unpack_sample};
pub use self::verify::{Verification, VerifyRequest, tensors_checksum, verify};
pub use self::verify_folder::source_sum;
pub use self::whole_file::{check_target, write_new, write_whole};

/// The model without the layers that are left out; `None` where all are kept.
///
/// # Errors
/// `Error::CannotPrune`, as `advise::pruned`.
pub fn without_layers(model: &Model, overrides: &Overrides) -> Result<Option<Pruned>> {
    let layers = &overrides.pruned_layers;
    if layers.is_empty() { Ok(None) } else { pruned(model, layers).map(Some) }
}

/// What to convert, to what, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertRequest {
    /// Levels, each to a file or folder of its own, in one pass over the source for each framework.
    pub levels: Vec<Level>,
    /// The folder for the outputs; created if missing.
    pub out_dir: PathBuf,
    /// What to do with an output that exists, where `existing` does not say it.
    pub overwrite: Overwrite,
    /// The same, level by level.
    pub existing: BTreeMap<Level, Existing>,
    /// Threads; `None`: all that this process may use.
    pub n_threads: Option<usize>,
    /// An importance matrix of this model, so that columns that matter more err less; `None`: all count the same.
    pub imatrix: Option<PathBuf>,
    /// Changes to the recipes of all levels.
    pub overrides: Overrides,
    /// What to do with an unfinished output of an earlier run.
    pub resume: Resume,
    /// Whether to leave what is complete to the next run when this one is cancelled or fails; else it is removed.
    pub keep_unfinished: bool,
}

impl ConvertRequest {
    /// These levels as they are, with all threads, without a matrix, replacing and continuing nothing.
    #[must_use]
    pub fn new(levels: Vec<Level>, out_dir: impl Into<PathBuf>) -> Self {
        Self {
            levels,
            out_dir: out_dir.into(),
            overwrite: Overwrite::Never,
            existing: BTreeMap::new(),
            n_threads: None,
            imatrix: None,
            overrides: Overrides::default(),
            resume: Resume::Never,
            keep_unfinished: false,
        }
    }
}

/// What to do with an unfinished output of a run that was killed or kept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// Start over.
    #[default]
    Never,
    /// Go on with it if it was begun from the same source, matrix, recipe and version, else start over.
    IfSame,
    /// Go on with it; refuse if it was begun from something else. If there is none, start.
    Required,
}

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Refuse before any work.
    #[default]
    Never,
    /// Replace it once the new one is complete: atomically, except for a folder where the system cannot swap two.
    Allowed,
}

/// A finished output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversion {
    /// The level.
    pub level: Level,
    /// The file or folder.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The file or folder that it was made from.
    #[serde(with = "crate::path_text")]
    pub source: PathBuf,
    /// Its size, which is the predicted size.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// Time of the whole conversion, the same for all its levels, in seconds; 0 for an output of an earlier run.
    pub elapsed_secs: f64,
    /// What the user should know: `requantized from Q4_1`.
    pub warnings: Vec<String>,
    /// What a first run showed, for outputs made from a checkpoint.
    pub check: Option<SelfCheck>,
    /// How the recipe differs from the level's, as options of the command line; empty: not at all.
    pub changes: String,
}

impl Conversion {
    /// The level, and how it was changed: `Q4_K_M custom`, `Q4_K_M calibrated`; for a file that was kept beside another, with its
    /// number: `Q4_K_M (2)`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = changed_name(self.level, &self.changes);
        match copy_number(&self.path, self.level) {
            Some(number) => format!("{name} ({number})"),
            None => name,
        }
    }

    /// Whether its codes were chosen by error feedback.
    #[must_use]
    pub fn is_calibrated(&self) -> bool {
        asks_for_calibration(&self.changes)
    }

    /// Whether its types were chosen for a budget.
    #[must_use]
    pub fn is_budgeted(&self) -> bool {
        asks_for_budget(&self.changes)
    }
}

/// What a first run of a new file showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfCheck {
    /// False for a file that cannot be run or does not know the text.
    pub is_plausible: bool,
    /// True for a file that cannot be what the checkpoint is, and so is not kept.
    pub is_broken: bool,
    /// Perplexity on a short text; `None` for a file that cannot be run.
    pub perplexity: Option<f64>,
    /// The result in words: `runs: perplexity 23.1 on 256 tokens`.
    pub text: String,
}
