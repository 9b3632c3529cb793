//! Jobs with their stage, progress, speed and time left; and the line of a finished file.

use eframe::egui::{self, Align, Layout, RichText, Ui};

use super::titles;
use crate::convert::Conversion;
use crate::monitor::{Progress, ProgressUnit};
use crate::path_text;
use crate::state::{Command, JobKind, JobRecord, JobStatus, Store};
use crate::ui::kit::bars::bar;
use crate::ui::kit::{theme, widgets};
use crate::ui::model::origin_view::{VERIFY_HINT, verification_ui};
use crate::units::{bytes_per_sec_text, bytes_text, count_text, duration_text, exact_bytes_text, percent_text};

/// From this width on a finished file's line has room for its path.
const WIDE_RESULT: f32 = 600.0;

/// Draws the jobs that are worth showing, the latest first, and a button that clears the finished ones.
pub fn queue_ui(ui: &mut Ui, store: &Store, commands: &mut Vec<Command>) {
    let jobs: Vec<&JobRecord> = store.jobs.iter().rev().filter(|job| is_worth_showing(job)).collect();
    let has_ended = store.jobs.iter().any(|job| !job.is_open());
    let mut is_cleared = false;
    widgets::card_with_actions(
        ui,
        "Queue",
        |ui| is_cleared = has_ended && widgets::small_button(ui, "Clear finished", "Clear finished jobs").clicked(),
        |ui| jobs_ui(ui, &jobs, commands),
    );
    if is_cleared {
        commands.push(Command::ClearFinished);
    }
}

fn jobs_ui(ui: &mut Ui, jobs: &[&JobRecord], commands: &mut Vec<Command>) {
    if jobs.is_empty() {
        ui.label(
            RichText::new("Nothing is running. Jobs run one after the other, so that no measurement is disturbed.")
                .color(theme::muted(ui)),
        );
    }
    for (idx, job) in jobs.iter().enumerate() {
        if idx > 0 {
            ui.separator();
        }
        ui.push_id(job.id, |ui| job_ui(ui, job, commands));
    }
}

/// Jobs that show their result elsewhere are listed only while they are open or when they failed, quick ones only when they
/// failed, and searches never.
fn is_worth_showing(job: &JobRecord) -> bool {
    match job.kind {
        JobKind::Convert(_)
        | JobKind::Bench(_)
        | JobKind::Quality(_)
        | JobKind::CollectImatrix(_)
        | JobKind::Weigh(_)
        | JobKind::SetUp(_) => true,
        JobKind::Inspect(_) | JobKind::Detect | JobKind::TensorErrors(_) => !matches!(job.status, JobStatus::Done { .. }),
        JobKind::Answer(_) | JobKind::Verify(_) => !matches!(job.status, JobStatus::Done { .. }),
        JobKind::History(_) | JobKind::Export(_) | JobKind::Remove(_) | JobKind::RemoveRuntime(_) => {
            matches!(job.status, JobStatus::Failed(_))
        }
        JobKind::FindModels | JobKind::FindKnown | JobKind::FindDisk => false,
    }
}

/// Draws a job: its title and state, a button that cancels it while it is open, its progress, or why it failed.
pub fn job_ui(ui: &mut Ui, job: &JobRecord, commands: &mut Vec<Command>) {
    let title = titles::to_do(job);
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if job.is_open() {
                let is_cancelling = matches!(job.status, JobStatus::Running { is_cancelling: true, .. });
                let response =
                    ui.add_enabled_ui(!is_cancelling, |ui| widgets::small_button(ui, "Cancel", &format!("Cancel {title}"))).inner;
                if response.on_disabled_hover_text("It ends at the next safe point").clicked() {
                    commands.push(Command::Cancel(job.id));
                }
            }
            ui.with_layout(Layout::left_to_right(Align::Center).with_main_wrap(true), |ui| {
                ui.label(RichText::new(&title).font(theme::strong_font()));
                let (state, color) = state_text(ui, job);
                ui.label(RichText::new(state).color(color));
            });
        });
    });
    match &job.status {
        JobStatus::Running { progress, .. } => running_ui(ui, job, progress.as_ref(), &title),
        JobStatus::Failed(error) if *error != crate::Error::Cancelled => {
            widgets::error_banner(ui, error, commands);
        }
        JobStatus::Queued | JobStatus::Done { .. } | JobStatus::Failed(_) => {}
    }
}

fn running_ui(ui: &mut Ui, job: &JobRecord, progress: Option<&Progress>, title: &str) {
    let fraction = progress.and_then(Progress::fraction).unwrap_or(0.0);
    bar(ui, &format!("Progress of {title}"), fraction, theme::accent(ui));
    let Some(progress) = progress else { return };
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&progress.stage).color(theme::palette(ui).text_secondary));
        ui.label(RichText::new(progress_text(job, progress)).color(theme::muted(ui)));
    });
}

/// `62 % · 163 MiB of 263 MiB · 48.0 MB/s · 4.1 s left`.
fn progress_text(job: &JobRecord, progress: &Progress) -> String {
    let mut parts = Vec::new();
    if let Some(fraction) = progress.fraction() {
        parts.push(percent_text(f64::from(fraction)));
    }
    match progress.unit {
        ProgressUnit::Bytes => {
            parts.push(format!("{} of {}", bytes_text(progress.done), bytes_text(progress.total)));
            parts.extend(job.rate_per_sec().map(bytes_per_sec_text));
        }
        ProgressUnit::Steps => parts.push(format!("{} of {}", count_text(progress.done), count_text(progress.total))),
    }
    parts.extend(job.left_secs().map(|secs| format!("{} left", duration_text(secs))));
    parts.join("  ·  ")
}

fn state_text(ui: &Ui, job: &JobRecord) -> (String, egui::Color32) {
    let palette = theme::palette(ui);
    match &job.status {
        JobStatus::Queued => ("waiting".into(), palette.muted),
        JobStatus::Running { is_cancelling: true, .. } => ("cancelling…".into(), palette.warn),
        JobStatus::Running { elapsed_secs, .. } => (format!("running for {}", duration_text(*elapsed_secs)), palette.accent),
        JobStatus::Done { elapsed_secs } => (format!("done in {}", duration_text(*elapsed_secs)), palette.good),
        JobStatus::Failed(crate::Error::Cancelled) => ("cancelled".into(), palette.muted),
        JobStatus::Failed(_) => ("failed".into(), palette.bad),
    }
}

/// A text in a column of its own, so that the rows of a list are aligned.
fn cell_ui(ui: &mut Ui, width: f32, align: Align, text: RichText) -> egui::Response {
    let layout = if align == Align::Max { Layout::right_to_left(Align::Center) } else { Layout::left_to_right(Align::Center) };
    ui.allocate_ui_with_layout(egui::vec2(width, 24.0), layout, |ui| {
        ui.set_min_width(width);
        ui.label(text)
    })
    .inner
}

/// One file with its size, path and what can be done with it.
pub fn result_ui(ui: &mut Ui, store: &Store, conversion: &Conversion, commands: &mut Vec<Command>) {
    let name = conversion.name();
    // In a narrow window the path, which is the tooltip of the name too, has no room.
    let is_wide = ui.available_width() >= WIDE_RESULT;
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 24.0;
        let path = path_text::shown(&conversion.path);
        let name_width = if is_wide { 124.0 } else { 84.0 };
        cell_ui(ui, name_width, Align::Min, RichText::new(&name).font(theme::strong_font())).on_hover_text(&path);
        cell_ui(ui, 72.0, Align::Max, RichText::new(bytes_text(conversion.size_bytes)))
            .on_hover_text(exact_bytes_text(conversion.size_bytes));
        ui.add_space(theme::UNIT * 2.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::small_button(ui, "Delete…", &format!("Delete {name}"))
                .on_hover_text("Move it to the bin; its measurements stay in the history")
                .clicked()
            {
                commands.push(Command::AskDelete(vec![conversion.path.clone()]));
            }
            if widgets::small_button(ui, "Copy path", &format!("Copy path of {name}")).clicked() {
                commands.push(Command::Copy(path_text::shown(&conversion.path)));
            }
            if widgets::small_button(ui, "Reveal", &format!("Reveal {name}"))
                .on_hover_text("Show it in the file manager")
                .clicked()
            {
                commands.push(Command::Reveal(conversion.path.clone()));
            }
            if widgets::small_button(ui, "Verify", &format!("Verify {name}")).on_hover_text(VERIFY_HINT).clicked() {
                commands.push(Command::Verify(conversion.path.clone()));
            }
            if is_wide {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(egui::Label::new(RichText::new(&path).monospace().color(theme::muted(ui))).truncate())
                        .on_hover_text(&path);
                });
            }
        });
    });
    verification_ui(ui, store, &conversion.path);
    if let Some(check) = &conversion.check {
        let color = if check.is_plausible { theme::muted(ui) } else { theme::bad(ui) };
        ui.label(RichText::new(widgets::sentence(&check.text)).color(color));
    }
    for warning in &conversion.warnings {
        ui.label(RichText::new(warning).color(theme::warn(ui)));
    }
}
