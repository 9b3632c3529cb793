//! The title of the window.

use super::APP_NAME;
use crate::state::{JobStatus, Store};

/// `Planish`, the model, and what is being done: also readable in a task bar.
pub(super) fn title_text(store: &Store) -> String {
    let mut title = APP_NAME.to_string();
    if let Some(model) = store.model.ready() {
        title.push_str(&format!(" · {}", model.file_stem()));
    } else if let Some(checked) = &store.checkpoint {
        title.push_str(&format!(" · {}", checked.checkpoint.name));
    }
    if let Some(job) = store.running_job() {
        let verb = match job.kind {
            crate::state::JobKind::Inspect(_) => "opening",
            crate::state::JobKind::Detect => "measuring the machine",
            crate::state::JobKind::Convert(_) => "converting",
            crate::state::JobKind::Bench(_) => "measuring",
            crate::state::JobKind::TensorErrors(_) => "comparing tensors",
            crate::state::JobKind::Quality(_) => "measuring quality",
            crate::state::JobKind::History(_) => "reading the history",
            crate::state::JobKind::Answer(_) => "asking",
            crate::state::JobKind::Export(_) => "exporting",
            crate::state::JobKind::FindModels | crate::state::JobKind::FindKnown | crate::state::JobKind::FindDisk => {
                "looking around"
            }
            crate::state::JobKind::CollectImatrix(_) => "collecting importances",
            crate::state::JobKind::Verify(_) => "verifying",
            crate::state::JobKind::Remove(_) | crate::state::JobKind::RemoveRuntime(_) => "deleting",
            crate::state::JobKind::SetUp(_) => "setting up",
        };
        title.push_str(&format!(" · {verb}"));
        if let JobStatus::Running { progress: Some(progress), .. } = &job.status
            && let Some(fraction) = progress.fraction()
        {
            title.push_str(&format!(" {:.0} %", fraction * 100.0));
        }
    }
    title
}
