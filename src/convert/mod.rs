//! Doing it: stream, quantize, write. One file per target format.

mod chunk;
mod disk;
#[cfg(test)]
mod imatrix_tests;
mod open;
mod part_file;
mod paths;
mod pipeline;
mod preflight;
mod sample;
#[cfg(test)]
mod tests;
mod whole_file;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use self::part_file::PartFile;
use crate::advise::recipe::Planner;
use crate::advise::{Overrides, Pruned, pruned};
use crate::error::{Error, Result};
use crate::format::TensorReader;
use crate::model::{DType, Level, Model};
use crate::monitor::{Monitor, Progress, ProgressUnit};

pub use self::open::{check_checkpoint, open_model, own_tokens};
pub use self::paths::{default_output_dir, has_custom_name, is_same_file, output_path, output_path_by};
pub use self::preflight::{PlannedOutput, WorkPlan, fitting_imatrix, preflight};
pub use self::sample::{SAMPLE_LEVELS, sample_parent, sample_path, unpack_sample};
pub use self::whole_file::{check_target, write_new, write_whole};

/// Converts a model to all requested levels in one pass over it.
///
/// Outputs get their names together, after all of them are complete and on the disk, and only if the source did not change
/// meanwhile. Before that they are called `NAME.part`, and whatever ends the work early removes them; after a kill the next run
/// replaces them. Same source, same bytes, whatever the number of threads.
///
/// Progress is counted in bytes of the source.
///
/// # Errors
/// Those of `preflight` before any work; `Error::OutputLocked` when another run writes one of the outputs; `Error::NonFinite` for a
/// damaged weight; `Error::SourceChanged`; `Error::Io`, with the kind `StorageFull` when others filled the disk meanwhile.
pub fn convert(model: &Model, request: &ConvertRequest, monitor: &Monitor) -> Result<Vec<Conversion>> {
    let started = Instant::now();
    let plan = preflight(model, request)?;
    let (whole, rest) = (model, without_layers(model, &request.overrides)?);
    let model = rest.as_ref().map_or(whole, |rest| &rest.model);
    let source = TensorReader::open(model)?;
    std::fs::create_dir_all(&request.out_dir).map_err(Error::io("create", &request.out_dir))?;

    let planner = Planner::changed(model, plan.imatrix.as_ref(), whole, &request.overrides)?;
    let mut parts = Vec::with_capacity(plan.outputs.len());
    let mut places = Vec::with_capacity(plan.outputs.len());
    for output in &plan.outputs {
        monitor.check()?;
        let part = PartFile::create(&output.path)?;
        places.push(start_output(&planner, output, &part)?);
        parts.push(part);
    }
    pipeline::run(&chunk::works(model, &places, plan.imatrix.as_ref()), &source, &parts, plan.n_threads, monitor)?;
    let total = model.tensor_bytes();
    for (part, output) in parts.iter().zip(&plan.outputs) {
        let stage = format!("syncing {}", output.path.display());
        part.sync(&Progress { stage, done: total, total, unit: ProgressUnit::Bytes }, monitor)?;
    }
    source.check_unchanged()?;
    // The last moment at which nothing has happened yet.
    monitor.check()?;
    for part in parts {
        part.publish(request.overwrite)?;
    }
    part_file::sync_dir(&request.out_dir)?;

    let elapsed_secs = started.elapsed().as_secs_f64();
    let conversion = |output: PlannedOutput| Conversion {
        level: output.level,
        path: output.path,
        source: model.path.clone(),
        size_bytes: output.size_bytes,
        bits_per_weight: output.bits_per_weight,
        elapsed_secs,
        warnings: output.warnings,
        check: None,
        changes: if request.overrides.change(output.level) { request.overrides.to_string() } else { String::new() },
    };
    Ok(plan.outputs.into_iter().map(conversion).collect())
}

/// Takes the space, writes the header and returns type and position of each source tensor in the output.
///
/// Only one level's header is in memory at a time: with a large vocabulary each has several megabytes.
fn start_output(planner: &Planner, output: &PlannedOutput, part: &PartFile) -> Result<Vec<(DType, u64)>> {
    let model = planner.model();
    let (specs, layout) = preflight::layout(planner, output)?;
    let is_planned = layout.file_size_bytes == output.size_bytes
        && specs.len() == model.tensors.len()
        && specs.iter().zip(&model.tensors).all(|(spec, tensor)| spec.name == tensor.name);
    if !is_planned {
        let (name, found, planned) = (output.path.display(), layout.file_size_bytes, output.size_bytes);
        return Err(Error::Internal {
            message: format!("{name} has {found} bytes or other tensors than planned ({planned} bytes)"),
        });
    }
    part.reserve(layout.file_size_bytes)?;
    part.write_at(&layout.header, 0)?;
    Ok(specs.iter().zip(&layout.tensors).map(|(spec, placed)| (spec.dtype, placed.offset)).collect())
}

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
    /// Levels, each to a file of its own, all in one pass over the source.
    pub levels: Vec<Level>,
    /// The folder for the outputs; created if missing.
    pub out_dir: PathBuf,
    /// What to do with an output that exists.
    pub overwrite: Overwrite,
    /// Threads; `None`: all that this process may use.
    pub n_threads: Option<usize>,
    /// An importance matrix of this model, so that columns that matter more err less; `None`: all count the same.
    pub imatrix: Option<PathBuf>,
    /// What all outputs get otherwise than their levels have it.
    pub overrides: Overrides,
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
    /// What a first run showed, of files made from a checkpoint.
    pub check: Option<SelfCheck>,
    /// How the recipe differs from the level's, as options of the command line; empty: not at all.
    pub changes: String,
}

impl Conversion {
    /// The level, and whether its recipe was changed: `Q4_K_M custom`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.changes.is_empty() { self.level.to_string() } else { format!("{} custom", self.level) }
    }
}

/// What a first run of a new file showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfCheck {
    /// False for a file that cannot be run or makes no sense.
    pub is_plausible: bool,
    /// Perplexity on a short text; `None` for a file that cannot be run.
    pub perplexity: Option<f64>,
    /// `runs: perplexity 23.1 on 256 tokens`.
    pub text: String,
}
