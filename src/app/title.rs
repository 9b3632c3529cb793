//! The title of the window.

use super::APP_NAME;
use crate::state::{JobStatus, Store};
use crate::ui::jobs::titles;

/// `Planish`, the model, and what is being done: also readable in a task bar.
pub(super) fn title_text(store: &Store) -> String {
    let mut title = APP_NAME.to_string();
    if let Some(network) = &store.network {
        title.push_str(&format!(" · {}", network.display_name()));
    } else if let Some(model) = store.model.ready() {
        title.push_str(&format!(" · {}", model.file_stem()));
    } else if let Some(checked) = &store.checkpoint {
        title.push_str(&format!(" · {}", checked.checkpoint.name));
    }
    if let Some(job) = store.running_job() {
        let verb = titles::verb(&job.kind);
        title.push_str(&format!(" · {verb}"));
        if let JobStatus::Running { progress: Some(progress), .. } = &job.status
            && let Some(fraction) = progress.fraction()
        {
            title.push_str(&format!(" {:.0} %", fraction * 100.0));
        }
    }
    title
}
