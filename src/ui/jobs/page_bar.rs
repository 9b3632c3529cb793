//! The bar below a page, which does not scroll away: how far the work of the page has come, and its next step.

use std::path::Path;

use eframe::egui::{self, Align, Label, Layout, RichText, Ui, vec2};

use crate::error::Error;
use crate::monitor::Progress;
use crate::state::{Command, Form, JobRecord, JobStatus, Page, Slot, Store, Tour};
use crate::ui::kit::bars::bar_sized;
use crate::ui::kit::theme;
use crate::ui::kit::widgets;
use crate::ui::optimize::bar::optimize_bar_ui;
use crate::ui::plan::bar::plan_bar_ui;
use crate::units::duration_text;

/// Height of a row: a button, or two lines of text.
const ROW_HEIGHT: f32 = 40.0;

/// Draws the bar of the page in view, in the panel that holds it.
pub fn page_bar_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    if let Some(tour) = &store.tour {
        tour_ui(ui, store, tour, commands);
    }
    match form.page {
        Page::Model => next_page_ui(ui, form, page_after_model(store)),
        Page::Machine => next_page_ui(ui, form, page_after_machine(store)),
        Page::Plan => plan_bar_ui(ui, store, form, commands),
        Page::Optimize => optimize_bar_ui(ui, store, form, commands),
        Page::Compare => {}
    }
}

/// True when the page in view has something to say below it.
pub fn has_page_bar(store: &Store, form: &Form) -> bool {
    let is_convertible = store.model.ready().is_some_and(|model| model.has_weights());
    store.tour.is_some()
        || match form.page {
            Page::Model | Page::Optimize => is_convertible,
            Page::Machine => store.machine.ready().is_some(),
            Page::Plan => is_convertible && store.machine.ready().is_some(),
            Page::Compare => false,
        }
}

/// The page after Model: Plan, which also says that the machine is being measured; Machine while nobody has measured it,
/// because a plan needs it.
fn page_after_model(store: &Store) -> Option<Page> {
    store.model.ready().filter(|model| model.has_weights())?;
    Some(if matches!(store.machine, Slot::Empty | Slot::Failed(_)) { Page::Machine } else { Page::Plan })
}

fn page_after_machine(store: &Store) -> Option<Page> {
    store.machine.ready()?;
    Some(if store.model.ready().is_some() { Page::Plan } else { Page::Model })
}

fn next_page_ui(ui: &mut Ui, form: &mut Form, next: Option<Page>) {
    let Some(next) = next else { return };
    let text = match next {
        Page::Model => "Open a model",
        Page::Machine => "Next: Machine",
        Page::Plan => "Next: Plan",
        Page::Optimize => "Next: Optimize",
        Page::Compare => "Next: Compare",
    };
    row_ui(
        ui,
        |_| {},
        |ui| {
            if widgets::primary_button(ui, text).clicked() {
                form.page = next;
            }
        },
    );
}

/// Texts at the left, which get the room that the buttons at the right leave.
pub fn row_ui(ui: &mut Ui, texts: impl FnOnce(&mut Ui), buttons: impl FnOnce(&mut Ui)) {
    ui.allocate_ui_with_layout(vec2(ui.available_width(), ROW_HEIGHT), Layout::right_to_left(Align::Center), |ui| {
        buttons(ui);
        ui.add_space(theme::UNIT);
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            texts(ui);
        });
    });
}

/// Words, in as many lines as they need.
pub fn words_ui(ui: &mut Ui, text: RichText) {
    ui.add(Label::new(text).wrap());
}

/// One line that is cut where it has no room, for paths; the whole is its tooltip.
pub fn line_ui(ui: &mut Ui, text: RichText) {
    ui.add(Label::new(text).truncate());
}

/// Draws how far the chain of jobs has come, or why it ended.
fn tour_ui(ui: &mut Ui, store: &Store, tour: &Tour, commands: &mut Vec<Command>) {
    let job = store.jobs.iter().find(|job| job.id == tour.job);
    if let Some(error) = &tour.failure {
        failure_ui(ui, &format!("Stopped while {}", tour.step().map_or("", crate::state::TourStep::label)), error, |ui| {
            if widgets::small_button(ui, "Dismiss", "Dismiss the stopped chain").clicked() {
                commands.push(Command::ForgetTour);
            }
        });
    } else {
        progress_ui(ui, &tour.text(), job, commands);
    }
    ui.add_space(theme::UNIT);
}

/// Draws what is being done, how far it has come, how long it will take, and a button that cancels it.
pub fn progress_ui(ui: &mut Ui, title: &str, job: Option<&JobRecord>, commands: &mut Vec<Command>) {
    let status = job.map(|job| &job.status);
    let (progress, is_cancelling) = match status {
        Some(JobStatus::Running { progress, is_cancelling, .. }) => (progress.as_ref(), *is_cancelling),
        _ => (None, false),
    };
    let fraction = progress.and_then(Progress::fraction);
    row_ui(
        ui,
        |ui| {
            let mut parts = vec![title.to_string()];
            match status {
                Some(JobStatus::Queued) => parts.push("waits for the job before it".into()),
                _ => parts.extend(fraction.map(|fraction| format!("{:.0} %", fraction * 100.0))),
            }
            parts.extend(job.and_then(JobRecord::left_secs).map(|secs| format!("{} left", duration_text(secs))));
            line_ui(ui, RichText::new(parts.join("  ·  ")).font(theme::strong_font()));
            let stage = progress.map_or("", |progress| progress.stage.as_str());
            line_ui(ui, RichText::new(stage).small().color(theme::muted(ui)));
            let size = vec2(ui.available_width(), 6.0);
            bar_sized(ui, &format!("How far: {title}"), fraction.unwrap_or(0.0), theme::accent(ui), size);
        },
        |ui| {
            let Some(job) = job else { return };
            let text = if is_cancelling { "Cancelling…" } else { "Cancel" };
            let button = ui.add_enabled_ui(!is_cancelling, |ui| widgets::small_button(ui, text, "Cancel the work of this page"));
            if button.inner.on_disabled_hover_text("It ends at the next safe point").clicked() {
                commands.push(Command::Cancel(job.id));
            }
        },
    );
}

/// What went wrong, why, and what to do about it. What the user has cancelled is no failure.
pub fn failure_ui(ui: &mut Ui, what: &str, error: &Error, buttons: impl FnOnce(&mut Ui)) {
    row_ui(
        ui,
        |ui| {
            if *error == Error::Cancelled {
                line_ui(ui, RichText::new(format!("{what}: cancelled")).font(theme::strong_font()));
                return;
            }
            let text = format!("{what}: {error}");
            ui.add(Label::new(RichText::new(text).font(theme::strong_font()).color(theme::bad(ui))).wrap().selectable(true));
            let hint = widgets::sentence(&error.hint());
            ui.add(Label::new(RichText::new(hint).small().color(theme::palette(ui).text_secondary)).wrap());
        },
        buttons,
    );
}

/// The name of the model that a job works on, as queue and bars say it: without folder and `.gguf`; `None` without a model.
pub fn model_name(job: &JobRecord) -> Option<String> {
    let path = job.model.as_ref()?;
    let name = if path.extension().is_some_and(|ending| ending == "gguf") { path.file_stem() } else { path.file_name() };
    name.map(|name| crate::path_text::shown(Path::new(name)))
}

/// Space around what stands in the bar.
pub const BAR_MARGIN: egui::Margin = egui::Margin { left: 24, right: 24, top: 10, bottom: 10 };
