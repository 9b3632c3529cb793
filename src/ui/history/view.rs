//! What earlier measurements said, as the last tab of Compare: browse, compare, open, delete, export.

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{Align, Key, Label, Layout, RichText, Ui};

use super::comparison::comparison_ui;
use super::savings_view::savings_ui;
use super::table::{history_table_ui, sorted_levels, visible_groups};
use crate::bench::history::{ExportFormat, Group, LevelRuns, Row, savings};
use crate::bench::known::Here;
use crate::path_text;
use crate::state::{Command, CompareTab, Form, HistoryForm, Slot, Store};
use crate::ui::kit::icons::Icon;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::shell;
use crate::units::count_text;

/// From this width on filter and actions stand in one line.
const WIDE_TOOLBAR: f32 = 960.0;

/// Draws the tab; it needs no open model.
pub fn history_view_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    if let Slot::Ready(rows) = &store.history {
        form.history.selected.retain(|id| rows.iter().any(|row| row.id == *id));
    }
    match &store.history {
        Slot::Empty => {
            ui.label(RichText::new("Reading the history").color(theme::muted(ui)));
            commands.push(Command::LoadHistory);
        }
        Slot::Waiting { id } => shell::waiting_ui(ui, store, *id),
        Slot::Failed(error) => {
            widgets::error_banner(ui, error, commands);
            ui.add_space(theme::UNIT);
            if ui.button("Try again").clicked() {
                commands.push(Command::LoadHistory);
            }
        }
        Slot::Ready(rows) if rows.is_empty() => {
            let text = "Each measurement of speed or quality is kept here with model, machine and conditions, also those made \
                        on the command line. Measure a model first.";
            widgets::empty_state(ui, Icon::History, "Nothing measured yet", text, |ui| {
                if widgets::primary_button(ui, "Go to Levels").clicked() {
                    form.compare_tab = CompareTab::Levels;
                }
            });
        }
        Slot::Ready(rows) => runs_ui(ui, store, rows, &mut form.history, commands),
    }
}

/// `1 run`, `1,204 runs`.
pub fn runs_text(n_runs: usize) -> String {
    if n_runs == 1 { "1 run".into() } else { format!("{} runs", count_text(n_runs as u64)) }
}

fn compare_button_ui(ui: &mut Ui, columns: Vec<Vec<i64>>, commands: &mut Vec<Command>) {
    let text = match columns.len() {
        0 => "Compare".to_string(),
        1 => "Show 1 row".to_string(),
        n => format!("Compare {} rows", count_text(n as u64)),
    };
    widgets::make_room_for_primary(ui, &text);
    let button = ui.add_enabled_ui(!columns.is_empty(), |ui| widgets::primary_button(ui, &text)).inner;
    if button.on_disabled_hover_text("Choose rows of the table; the first is what the others are held against").clicked() {
        commands.push(Command::CompareRuns(columns));
    }
}

/// The runs that each row with chosen runs shows, one list per row, in the order in which the rows were chosen.
fn chosen_columns(groups: &[Group], selected: &[i64]) -> Vec<Vec<i64>> {
    let place = |level: &LevelRuns| level.ids.iter().filter_map(|id| selected.iter().position(|chosen| chosen == id)).min();
    let levels = groups.iter().flat_map(|group| &group.levels);
    let mut found: Vec<(usize, Vec<i64>)> = levels.filter_map(|level| Some((place(level)?, level.shown_ids()))).collect();
    found.sort();
    found.into_iter().map(|(_, ids)| ids).collect()
}

fn runs_ui(ui: &mut Ui, store: &Store, rows: &Arc<Vec<Row>>, form: &mut HistoryForm, commands: &mut Vec<Command>) {
    widgets::card(ui, "", |ui| {
        let is_wide = ui.available_width() >= WIDE_TOOLBAR;
        ui.horizontal(|ui| {
            filter_ui(ui, rows, form);
            if is_wide {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| actions_ui(ui, rows, form, commands));
            }
        });
        if !is_wide {
            ui.horizontal_wrapped(|ui| actions_ui(ui, rows, form, commands));
        }
        if form.asks_delete {
            delete_question_ui(ui, form, commands);
        }
        if let Some(path) = &store.history_export {
            exported_ui(ui, path, commands);
        }
        ui.add_space(theme::UNIT);
        let visible = visible_groups(ui, rows, &form.filter);
        if visible.is_empty() {
            ui.label(RichText::new("No run matches.").color(theme::muted(ui)));
        } else {
            let here = store.machine.ready().map(|machine| Here::of(machine));
            history_table_ui(ui, rows, &visible, here.as_ref(), form, commands);
        }
    });
    widgets::card_gap(ui);
    let all = super::table::all_groups(ui, rows);
    savings_ui(ui, &savings(rows, &chosen_columns(&all, &form.selected)));
    match &store.history_comparison {
        Slot::Ready(comparison) => comparison_ui(ui, comparison),
        Slot::Failed(error) => widgets::error_banner(ui, error, commands),
        Slot::Empty | Slot::Waiting { .. } => {}
    }
}

fn filter_ui(ui: &mut Ui, rows: &Arc<Vec<Row>>, form: &mut HistoryForm) {
    widgets::search_field(ui, "Filter by model, level or machine", &mut form.filter);
    let visible = visible_groups(ui, rows, &form.filter);
    let n_visible: usize = visible.iter().flat_map(|group| &group.levels).map(|level| level.ids.len()).sum();
    let text = if n_visible == rows.len() {
        runs_text(n_visible)
    } else {
        format!("{} of {}", count_text(n_visible as u64), runs_text(rows.len()))
    };
    ui.label(RichText::new(text).color(theme::muted(ui)));
}

/// What can be done with the chosen runs, from the right where the layout goes that way.
fn actions_ui(ui: &mut Ui, rows: &Arc<Vec<Row>>, form: &mut HistoryForm, commands: &mut Vec<Command>) {
    // Also those that the filter hides.
    let columns = chosen_columns(&super::table::all_groups(ui, rows), &form.selected);
    compare_button_ui(ui, columns, commands);
    let visible = visible_groups(ui, rows, &form.filter);
    let of_table: Vec<i64> =
        visible.iter().flat_map(|group| sorted_levels(ui, rows, group)).flat_map(|level| level.ids).collect();
    let (exported, what) = if form.selected.is_empty() {
        (of_table, "the table")
    } else {
        // Also those that the filter hides, but in the order of the table as far as it goes.
        let is_chosen = |id: &&i64| form.selected.contains(id);
        let hidden = form.selected.iter().filter(|id| !of_table.contains(id));
        (of_table.iter().filter(is_chosen).chain(hidden).copied().collect(), "the choice")
    };
    let explanation = format!("Write the {} of {what} into a new file in the output folder", runs_text(exported.len()));
    for (format, text) in [(ExportFormat::Json, "Export JSON"), (ExportFormat::Csv, "Export CSV")] {
        widgets::make_room_for_small(ui, text);
        let button = ui.add_enabled_ui(!exported.is_empty(), |ui| widgets::small_button(ui, text, text)).inner;
        if button.on_hover_text(&explanation).clicked() {
            commands.push(Command::ExportRuns(exported.clone(), format));
        }
    }
    let can_delete = !form.selected.is_empty() && !form.asks_delete;
    widgets::make_room_for_small(ui, "Delete…");
    let button = ui.add_enabled_ui(can_delete, |ui| widgets::small_button(ui, "Delete…", "Delete…")).inner;
    if button.on_disabled_hover_text("Choose rows of the table first").clicked() {
        form.asks_delete = true;
    }
    if !form.selected.is_empty() {
        if widgets::small_button(ui, "Choose none", "Choose none").clicked() {
            form.selected.clear();
        }
        ui.label(format!("{} chosen", runs_text(form.selected.len())));
    }
}

fn delete_question_ui(ui: &mut Ui, form: &mut HistoryForm, commands: &mut Vec<Command>) {
    if form.selected.is_empty() {
        form.asks_delete = false;
        return;
    }
    let runs = runs_text(form.selected.len());
    let is_taken_back = ui.input(|input| input.key_pressed(Key::Escape));
    widgets::toned_box(ui, Tone::Warn, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::small_button(ui, "Keep", "Keep").clicked() || is_taken_back {
                form.asks_delete = false;
            }
            let text = format!("Delete {runs}");
            if widgets::small_button(ui, &text, &text).clicked() {
                form.asks_delete = false;
                commands.push(Command::DeleteRuns(std::mem::take(&mut form.selected)));
            }
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.add(Label::new(format!("Delete {runs} for good? There is no way back.")).wrap());
            });
        });
    });
}

fn exported_ui(ui: &mut Ui, path: &Path, commands: &mut Vec<Command>) {
    widgets::toned_box(ui, Tone::Good, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::small_button(ui, "Reveal", "Reveal export").on_hover_text("Show it in the file manager").clicked() {
                commands.push(Command::Reveal(path.to_path_buf()));
            }
            let text = format!("Saved {}", path_text::shown(path));
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| ui.add(Label::new(text).truncate()));
        });
    });
}
