//! What jobs are called, everywhere: in the queue, at the foot of the window, in its title.

use super::page_bar::model_name;
use crate::model::Level;
use crate::state::{JobKind, JobRecord};
use crate::ui::history::view::runs_text;
use crate::ui::model::page::file_name;
use crate::units::count_of;
use crate::worker::HistoryRequest;

/// What a job does, and to which model: `Convert SmolLM2-135M to Q8_0, Q4_K_M`.
#[must_use]
pub fn to_do(job: &JobRecord) -> String {
    let of_model = |text: String| match model_name(job) {
        Some(name) => format!("{text} of {name}"),
        None => text,
    };
    match &job.kind {
        JobKind::Inspect(path) => format!("Read {}", file_name(path)),
        JobKind::Detect => "Measure this machine".into(),
        JobKind::Convert(levels) => {
            let names = levels.iter().copied().map(Level::name).collect::<Vec<_>>().join(", ");
            match model_name(job) {
                Some(model) => format!("Convert {model} to {names}"),
                None => format!("Convert to {names}"),
            }
        }
        JobKind::Bench(n) => of_model(format!("Measure {}", count_of(*n, "file"))),
        JobKind::TensorErrors(path) => {
            format!("Compare the tensors of {}", file_name(path))
        }
        JobKind::Quality(n) => of_model(format!("Measure quality of {}", count_of(*n, "file"))),
        JobKind::History(_) | JobKind::FindModels | JobKind::FindKnown | JobKind::FindDisk | JobKind::Remove(_) => {
            doing(&job.kind)
        }
        JobKind::Answer(n) => of_model(format!("Ask {}", count_of(*n, "file"))),
        JobKind::Export(what) => format!("Export the {}", crate::ui::compare::export_view::what_text(*what)),
        JobKind::Verify(path) => format!("Verify {}", file_name(path)),
        JobKind::SetUp(runtime) => format!("Set up {}", runtime.name()),
        JobKind::RemoveRuntime(runtime) => format!("Remove {}", runtime.name()),
        JobKind::CollectImatrix(path) => {
            format!("Collect importances of {}", file_name(path))
        }
        JobKind::Weigh(path) => format!("Learn what each tensor of {} is worth", file_name(path)),
    }
}

/// What a job does, for a person: `Converting to Q8_0, Q4_K_M`.
#[must_use]
pub fn doing(kind: &JobKind) -> String {
    match kind {
        JobKind::Inspect(path) => {
            format!("Reading {}", file_name(path))
        }
        JobKind::Detect => "Measuring this machine".into(),
        JobKind::Convert(levels) => {
            let names: Vec<&str> = levels.iter().map(|level| level.name()).collect();
            format!("Converting to {}", names.join(", "))
        }
        JobKind::Bench(1) => "Measuring 1 file".into(),
        JobKind::Bench(n) => format!("Measuring {n} files"),
        JobKind::TensorErrors(path) => {
            format!("Comparing the tensors of {}", file_name(path))
        }
        JobKind::Quality(1) => "Measuring quality of 1 file".into(),
        JobKind::Quality(n) => format!("Measuring quality of {n} files"),
        JobKind::History(request) => history_title(request),
        JobKind::FindModels => "Looking for models in the Hugging Face cache".into(),
        JobKind::Remove(1) => "Deleting 1 file".into(),
        JobKind::Remove(n) => format!("Deleting {n} files"),
        JobKind::FindKnown => "Looking for levels and earlier measurements".into(),
        JobKind::FindDisk => "Looking at the disk".into(),
        JobKind::Answer(1) => "Asking 1 file".into(),
        JobKind::Answer(n) => format!("Asking {n} files"),
        JobKind::Export(what) => format!("Exporting the {}", crate::ui::compare::export_view::what_text(*what)),
        JobKind::Verify(path) => format!("Verifying {}", file_name(path)),
        JobKind::SetUp(runtime) => format!("Setting up {}", runtime.name()),
        JobKind::RemoveRuntime(runtime) => format!("Removing {}", runtime.name()),
        JobKind::CollectImatrix(path) => {
            format!("Collecting importances of {}", file_name(path))
        }
        JobKind::Weigh(path) => format!("Learning what each tensor of {} is worth", file_name(path)),
    }
}

fn history_title(request: &HistoryRequest) -> String {
    match request {
        HistoryRequest::List => "Reading the history".into(),
        HistoryRequest::Compare { columns } => format!("Comparing {}", runs_text(columns.iter().map(Vec::len).sum())),
        HistoryRequest::Delete { ids } => format!("Deleting {}", runs_text(ids.len())),
        HistoryRequest::Export { ids, .. } => format!("Exporting {}", runs_text(ids.len())),
    }
}

/// What a job does in a word or two, for the title of the window.
#[must_use]
pub fn verb(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::Inspect(_) => "opening",
        JobKind::Detect => "measuring the machine",
        JobKind::Convert(_) => "converting",
        JobKind::Bench(_) => "measuring",
        JobKind::TensorErrors(_) => "comparing tensors",
        JobKind::Quality(_) => "measuring quality",
        JobKind::History(_) => "reading the history",
        JobKind::Answer(_) => "asking",
        JobKind::Export(_) => "exporting",
        JobKind::FindModels | JobKind::FindKnown | JobKind::FindDisk => "looking around",
        JobKind::CollectImatrix(_) => "collecting importances",
        JobKind::Weigh(_) => "weighing tensors",
        JobKind::Verify(_) => "verifying",
        JobKind::Remove(_) | JobKind::RemoveRuntime(_) => "deleting",
        JobKind::SetUp(_) => "setting up",
    }
}
