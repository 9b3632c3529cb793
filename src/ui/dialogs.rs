//! What stands in front of the page: questions, help, settings.

use std::path::PathBuf;

use eframe::egui::{self, Align, CornerRadius, Frame, Id, Key, Label, Layout, Margin, Modal, RichText, Stroke, Ui};

use super::about_view::{about_ui, shortcuts_ui};
use super::kit::{theme, widgets};
use super::model::page::{file_name, path_ui};
use super::optimize::level_cards::names;
use super::settings_view::settings_ui;
use crate::model::Level;
use crate::state::{Command, Dialog, Form, JobKind, JobRecord, Leftovers, Store};
use crate::units::count_of;

/// What dropped models are converted to when no level is chosen.
const USUAL_LEVEL: Level = Level::Q4_K_M;

/// How much of the window's height the heading, the button and the frame of a dialog take.
const AROUND: f32 = 180.0;

/// Draws the open dialog, if there is one. Escape and a click beside it close it.
pub(super) fn dialogs_ui(ui: &Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    if ui.input_mut(|input| input.consume_key(egui::Modifiers::NONE, Key::F1)) {
        form.dialog = if form.dialog == Some(Dialog::Shortcuts) { None } else { Some(Dialog::Shortcuts) };
    }
    let Some(dialog) = form.dialog.clone() else { return };
    let p = theme::palette(ui);
    let frame = Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, p.control_line))
        .corner_radius(CornerRadius::same(theme::CARD_RADIUS))
        .inner_margin(Margin::same(20));
    // Each dialog has its own id: a modal keeps the size and place of its last frame.
    let id = Id::unique("dialog").with(std::mem::discriminant(&dialog));
    let response = Modal::new(id).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(width_of(&dialog).min(ui.ctx().content_rect().width() - 80.0));
        widgets::big_heading_ui(ui, &title_of(&dialog));
        ui.add_space(theme::UNIT);
        let height = ui.ctx().content_rect().height() - AROUND;
        let scrolled = egui::ScrollArea::vertical().min_scrolled_height(height).max_height(height).show(ui, |ui| match &dialog {
            Dialog::Quit => quit_ui(ui, store, commands),
            Dialog::Shortcuts => shortcuts_ui(ui, form),
            Dialog::About => about_ui(ui, store, commands),
            Dialog::Settings => settings_ui(ui, form, commands),
            Dialog::OpenPath => open_path_ui(ui, form, commands),
            Dialog::Dropped(paths) => dropped_ui(ui, paths, form, commands),
        });
        let mut is_closed = scrolled.inner;
        if dialog != Dialog::Quit {
            ui.add_space(theme::UNIT);
            let row =
                ui.horizontal(|ui| ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.button("Close").clicked()).inner);
            is_closed |= row.inner;
        }
        is_closed
    });
    // Another one may have been opened from this one.
    if (response.inner || response.should_close()) && form.dialog.as_ref() == Some(&dialog) {
        form.dialog = None;
    }
}

fn width_of(dialog: &Dialog) -> f32 {
    match dialog {
        Dialog::Quit => 460.0,
        Dialog::Shortcuts | Dialog::About => 520.0,
        Dialog::Settings | Dialog::OpenPath | Dialog::Dropped(_) => 620.0,
    }
}

fn title_of(dialog: &Dialog) -> String {
    match dialog {
        Dialog::Quit => "Work is in progress".into(),
        Dialog::Shortcuts => "Keys".into(),
        Dialog::About => "About Planish".into(),
        Dialog::Settings => "Settings".into(),
        Dialog::OpenPath => "Open by path".into(),
        Dialog::Dropped(paths) => format!("Dropped: {}", count_of(paths.len(), "model")),
    }
}

/// True for work that a person would not want to lose without being asked.
#[must_use]
pub fn is_worth_asking(job: &JobRecord) -> bool {
    let is_work = match job.kind {
        JobKind::Convert(_)
        | JobKind::Bench(_)
        | JobKind::Quality(_)
        | JobKind::CollectImatrix(_)
        | JobKind::Weigh(_)
        | JobKind::TensorErrors(_)
        | JobKind::Answer(_)
        | JobKind::Verify(_)
        | JobKind::Export(_)
        | JobKind::SetUp(_) => true,
        JobKind::Remove(_)
        | JobKind::RemoveRuntime(_)
        | JobKind::Inspect(_)
        | JobKind::Detect
        | JobKind::History(_)
        | JobKind::FindModels
        | JobKind::FindKnown
        | JobKind::FindDisk => false,
    };
    is_work && job.is_open()
}

fn quit_ui(ui: &mut Ui, store: &Store, commands: &mut Vec<Command>) -> bool {
    let mut is_closed = false;
    let jobs: Vec<&JobRecord> = store.jobs.iter().filter(|job| is_worth_asking(job)).collect();
    if jobs.is_empty() {
        ui.label("It has just ended.");
    }
    for job in &jobs {
        ui.add(Label::new(format!("•  {}", super::jobs::titles::to_do(job))).wrap());
    }
    ui.add_space(theme::UNIT);
    let text = "Files that you keep stay unfinished beside the others, and the same conversion goes on from there. Losses \
                measured so far are already in the history.";
    ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
    ui.add_space(theme::UNIT * 2.0);
    ui.horizontal_wrapped(|ui| {
        let go_on = widgets::primary_button(ui, "Go on working");
        // The harmless answer is the one that a careless Enter gives.
        if ui.memory(egui::Memory::focused).is_none() {
            go_on.request_focus();
        }
        is_closed |= go_on.clicked();
        for (text, leftovers) in [("Keep what is complete and quit", Leftovers::Keep), ("Discard and quit", Leftovers::Discard)] {
            if widgets::line_button(ui, text).clicked() {
                commands.push(Command::Quit(leftovers));
                is_closed = true;
            }
        }
    });
    is_closed
}

fn open_path_ui(ui: &mut Ui, form: &mut Form, commands: &mut Vec<Command>) -> bool {
    let n_commands = commands.len();
    ui.add(Label::new(RichText::new(super::model::page::NO_DIALOG_TEXT).color(theme::palette(ui).text_secondary)).wrap());
    ui.add_space(theme::UNIT);
    path_ui(ui, form, commands);
    commands.len() > n_commands
}

fn dropped_ui(ui: &mut Ui, paths: &[PathBuf], form: &Form, commands: &mut Vec<Command>) -> bool {
    let mut is_closed = false;
    egui::ScrollArea::vertical().max_height(300.0).show(ui, |ui| {
        for path in paths {
            let name = file_name(path);
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if widgets::small_button(ui, "Open", &format!("Open {name}")).clicked() {
                        commands.push(Command::OpenModel(path.clone()));
                        is_closed = true;
                    }
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        ui.add(Label::new(&name).truncate()).on_hover_text(crate::path_text::shown(path));
                    });
                });
            });
        }
    });
    ui.add_space(theme::UNIT);
    let levels: Vec<Level> = if form.levels.is_empty() { vec![USUAL_LEVEL] } else { form.levels.iter().copied().collect() };
    let place = match form.output_dir.trim() {
        "" => "beside each model".to_string(),
        dir => format!("in {dir}"),
    };
    let text = format!("Converting puts the files {place}. Levels: those chosen on the Optimize page, or else {USUAL_LEVEL}.");
    ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
    ui.add_space(theme::UNIT);
    if widgets::primary_button(ui, &format!("Convert all to {}", names(&levels))).clicked() {
        commands.push(Command::ConvertAll(paths.to_vec(), levels));
        is_closed = true;
    }
    is_closed
}
