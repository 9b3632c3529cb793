//! The bar below the Optimize page: what will be made and where it fits, the work at hand, its result or why there is none.

use std::path::PathBuf;

use eframe::egui::{RichText, Ui};

use super::batch::{Batch, free_text};
use crate::model::Level;
use crate::state::{Command, CompareTab, Form, JobKind, JobRecord, JobStatus, Page, Store, Tour};
use crate::ui::compare::page::paths_to_measure;
use crate::ui::jobs::page_bar::{failure_ui, line_ui, model_name, progress_ui, row_ui, words_ui};
use crate::ui::kit::{theme, widgets};
use crate::units::{bytes_text, count_of, duration_text};

/// Draws the work at hand, then sum, free space and buttons.
pub fn optimize_bar_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(batch) = Batch::of(ui, store, form) else { return };
    let is_of_page = |kind: &JobKind| matches!(kind, JobKind::Convert(_) | JobKind::CollectImatrix(_) | JobKind::Weigh(_));
    let running = store.running_job().filter(|job| is_of_page(&job.kind));
    let of_tour = store.tour.as_ref().map(|tour| tour.job);
    let latest = running.or_else(|| store.latest_job(is_of_page));
    let status = match latest {
        // The chain says it above.
        Some(job) if of_tour == Some(job.id) => None,
        Some(JobRecord { status: JobStatus::Done { elapsed_secs }, kind: JobKind::Convert(levels), .. }) => {
            Some(format!("Made {} in {}", count_of(levels.len(), "level"), duration_text(*elapsed_secs)))
        }
        Some(job) => {
            work_ui(ui, job, commands);
            None
        }
        None => None,
    };
    sum_ui(ui, store, form, &batch, status, commands);
}

fn work_ui(ui: &mut Ui, job: &JobRecord, commands: &mut Vec<Command>) {
    let name = model_name(job).unwrap_or_default();
    match &job.status {
        JobStatus::Queued | JobStatus::Running { .. } => {
            progress_ui(ui, &crate::ui::jobs::titles::to_do(job), Some(job), commands);
        }
        JobStatus::Failed(error) => {
            let what = match job.kind {
                JobKind::Convert(_) => "not converted",
                JobKind::Weigh(_) => "nothing was learned of its tensors",
                _ => "no importance matrix",
            };
            failure_ui(ui, &format!("{name}: {what}"), error, |ui| {
                if widgets::small_button(ui, "Dismiss", "Dismiss the failed job").clicked() {
                    commands.push(Command::ClearFinished);
                }
            });
        }
        JobStatus::Done { .. } => return,
    }
    ui.add_space(theme::UNIT);
}

fn sum_ui(ui: &mut Ui, store: &Store, form: &mut Form, batch: &Batch, status: Option<String>, commands: &mut Vec<Command>) {
    let paths = paths_to_measure(store, &batch.model, &form.bench);
    let has_made = !store.conversions.is_empty();
    let mut parts: Vec<String> = status.into_iter().collect();
    // After a conversion an empty choice is not worth a word.
    if parts.is_empty() || !batch.chosen.is_empty() {
        parts.push(batch.text());
    }
    let refusal = batch.refusal.as_ref().filter(|_| !batch.chosen.is_empty());
    row_ui(
        ui,
        |ui| {
            words_ui(ui, RichText::new(parts.join("  ·  ")).font(theme::strong_font()));
            if let Some(reason) = refusal {
                words_ui(ui, RichText::new(reason).small().color(theme::warn(ui)));
            } else {
                let text = format!("Into {}: {}", crate::path_text::shown(&batch.dir), free_text(store, &batch.dir));
                line_ui(ui, RichText::new(text).small().color(theme::muted(ui)));
            }
        },
        |ui| {
            let is_next = batch.todo.is_empty() && has_made;
            if is_next {
                let is_at_work = store.tour.as_ref().is_some_and(Tour::is_at_work);
                let button = ui.add_enabled_ui(!is_at_work, |ui| widgets::primary_button(ui, "Measure these")).inner;
                measure_on_click(&button.on_hover_text(measure_hint(&paths)), paths, form, commands);
                again_button_ui(ui, form, batch, commands);
            } else {
                convert_button_ui(ui, form, batch, commands);
                if has_made {
                    let button = ui.button("Measure these");
                    measure_on_click(&button.on_hover_text(measure_hint(&paths)), paths, form, commands);
                }
            }
        },
    );
}

/// Draws the button that converts existing levels again; what becomes of their files is asked after the click.
fn again_button_ui(ui: &mut Ui, form: &Form, batch: &Batch, commands: &mut Vec<Command>) {
    let levels: Vec<Level> = batch.chosen.iter().copied().filter(|level| batch.existing.contains(level)).collect();
    if levels.is_empty() || !batch.in_work.is_empty() {
        return;
    }
    if ui.button("Convert again…").on_hover_text("Asks what becomes of the files that exist").clicked() {
        commands.push(if form.collects_imatrix(&batch.model) {
            Command::CollectImatrix(levels)
        } else {
            Command::Convert(levels)
        });
    }
}

fn measure_hint(paths: &[PathBuf]) -> String {
    format!(
        "Speed and memory of {}, on this machine. Compare says whether the source is one of them",
        count_of(paths.len(), "file")
    )
}

fn measure_on_click(button: &eframe::egui::Response, paths: Vec<PathBuf>, form: &mut Form, commands: &mut Vec<Command>) {
    if button.clicked() {
        commands.push(Command::Bench(paths));
        form.page = Page::Compare;
        form.compare_tab = CompareTab::Levels;
    }
}

fn convert_button_ui(ui: &mut Ui, form: &Form, batch: &Batch, commands: &mut Vec<Command>) {
    let verb = if form.collects_imatrix(&batch.model) { "Collect, then convert" } else { "Convert" };
    let text = match (batch.todo.len(), batch.in_work.len()) {
        (0, 0) => "Convert".to_string(),
        (0, n) => format!("{verb} {}", count_of(n, "level")),
        (n, _) => format!("{verb} {} ({})", count_of(n, "level"), bytes_text(batch.todo_bytes)),
    };
    let is_possible = !batch.todo.is_empty() && batch.refusal.is_none();
    let button = ui.add_enabled_ui(is_possible, |ui| widgets::primary_button(ui, &text)).inner;
    let reason = batch.refusal.clone().unwrap_or_else(|| batch.text());
    if button.on_disabled_hover_text(reason).clicked() {
        let levels = batch.todo.clone();
        commands.push(if form.collects_imatrix(&batch.model) {
            Command::CollectImatrix(levels)
        } else {
            Command::Convert(levels)
        });
    }
}
