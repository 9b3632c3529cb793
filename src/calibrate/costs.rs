//! What a budget needs to know of a model: what each tensor loses in each type. Kept beside the second moments that it follows from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::moments::{CollectedMoments, MomentsRequest};
use super::text::mixed_corpus;
use super::type_errors::type_errors;
use crate::advise::budget::{Costs, TensorCosts, candidate_dtypes};
use crate::advise::{Overrides, Planner};
use crate::convert::{ConvertRequest, Overwrite, convert, fitting_imatrix, write_whole};
use crate::error::{Error, Result};
use crate::model::{Level, Model};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::sensitivity::{DISTURBANCE, Sensitivity};
use crate::runtime::work_folder::WorkFolder;
use crate::runtime::{self, Event, Request, RuntimeId, SensitivityTask, Task};

/// Name of the file in the folder of the moments.
const FILE_NAME: &str = "costs.json";

/// Version of that file.
const VERSION: u32 = 2;

/// Tokens of a chunk.
const CHUNK_TOKENS: u32 = 128;

/// Chunks that are disturbed, of as many kinds of text: few tokens and many rounds tell tensors apart better than the other way round.
const N_CHUNKS: u32 = 4;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    planish_costs: u32,
    costs: Costs,
}

/// What was measured before; `None` where nothing was, or another version has.
#[must_use]
pub fn known_costs(moments: &CollectedMoments) -> Option<Costs> {
    let bytes = std::fs::read(path_of(&moments.path)).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    (kept.planish_costs == VERSION).then_some(kept.costs)
}

/// Measures what each tensor loses in each type, and keeps it. `runnable` is a GGUF file with the model's weights, which can be run.
///
/// # Errors
/// `Error::Cancelled`; `Error::RuntimeMissing` without llama.cpp; what llama.cpp says; `Error::BadImatrix` for damaged moments; `Error::Io`.
pub fn measure_costs(request: &MomentsRequest, moments: &CollectedMoments, runnable: &Model, monitor: &Monitor) -> Result<Costs> {
    let model = request.model;
    let sensitivities = sensitivities(request, moments, runnable, monitor)?;
    let imatrix = fitting_imatrix(model, &moments.path)?;
    let planner = Planner::new(model);
    let changed: Vec<usize> = (0..model.tensors.len()).filter(|&idx| planner.is_quantizable(idx)).collect();
    let mut errors = type_errors(model, &changed, &imatrix, monitor)?;
    let tensors = changed.iter().map(|&idx| {
        let tensor = model.tensors[idx].name.clone();
        let measured = sensitivities.iter().find(|found| found.tensor == tensor);
        let disturbance = measured.map(|found| (found.loss, found.loss_error));
        TensorCosts { disturbance, errors: errors.remove(&idx).unwrap_or_default(), tensor }
    });
    let costs = Costs { tensors: tensors.collect() };
    let kept = Kept { planish_costs: VERSION, costs };
    let text = serde_json::to_vec(&kept).map_err(|error| Error::Internal { message: error.to_string() })?;
    write_whole(&path_of(&moments.path), &text, Overwrite::Allowed)?;
    Ok(kept.costs)
}

fn path_of(index: &Path) -> PathBuf {
    index.with_file_name(FILE_NAME)
}

/// What the rounding of each tensor costs, for those that the model uses.
fn sensitivities(
    request: &MomentsRequest,
    moments: &CollectedMoments,
    runnable: &Model,
    monitor: &Monitor,
) -> Result<Vec<Sensitivity>> {
    runtime::check_available(RuntimeId::LlamaCpp)?;
    let work = WorkFolder::new("sensitivities")?;
    let corpus_path = work.path().join("text.json");
    mixed_corpus(request.text, request.own_percent)?.write(&corpus_path)?;
    let planner = Planner::new(runnable);
    let tensors = runnable.tensors.iter().enumerate();
    let tensors = tensors.filter(|(idx, tensor)| planner.is_quantizable(*idx) && !candidate_dtypes(tensor).is_empty());
    let task = SensitivityTask {
        path: runnable.files.first().unwrap_or(&runnable.path).clone(),
        corpus_path,
        rounded_path: rounded(runnable, moments, work.path(), monitor)?,
        work_dir: work.path().to_path_buf(),
        tensors: tensors.map(|(_, tensor)| tensor.name.clone()).collect(),
        n_ctx: CHUNK_TOKENS,
        n_chunks: N_CHUNKS,
        n_threads: runtime::default_n_threads(),
    };
    let mut found = Vec::new();
    monitor.report(Progress { stage: "load the model".into(), done: 0, total: 0, unit: ProgressUnit::Steps })?;
    runtime::run(&Request::llama_cpp(Task::Disturb(task)), monitor, |event| match event {
        Event::CollectedChunk { n_done, n_chunks, .. } => {
            let stage = format!("what each tensor is worth, round {n_done} of {n_chunks}");
            monitor.report(Progress { stage, done: n_done.into(), total: n_chunks.into(), unit: ProgressUnit::Steps })
        }
        Event::Sensitivities { tensors } => {
            found = tensors;
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok(found)
}

/// A file with every matrix rounded to [`DISTURBANCE`] by error feedback.
fn rounded(model: &Model, moments: &CollectedMoments, folder: &Path, monitor: &Monitor) -> Result<PathBuf> {
    let level = Level::Q4_0;
    let overrides = Overrides {
        pure: true,
        output: Some(DISTURBANCE),
        token_embedding: Some(DISTURBANCE),
        calibrated: true,
        ..Overrides::default()
    };
    let request = ConvertRequest { imatrix: Some(moments.path.clone()), overrides, ..ConvertRequest::new(vec![level], folder) };
    let made = convert(model, &request, monitor)?;
    let file =
        made.into_iter().next().ok_or_else(|| Error::Internal { message: format!("no file of level {level} was made") })?;
    Ok(file.path)
}
