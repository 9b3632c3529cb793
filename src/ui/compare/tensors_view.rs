//! The errors of a converted file, tensor by tensor: choice of the file, heat map, table.

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{Align, ComboBox, Layout, RichText, Ui};

use super::error_table::{error_table_ui, toggle};
use super::heat_map::{Grid, heat_map_ui};
use crate::bench::tensors::tensor_error::TensorErrors;
use crate::convert::Conversion;
use crate::error::Error;
use crate::model::Level;
use crate::path_text;
use crate::state::{Command, Form, JobKind, JobRecord, Page, Store};
use crate::ui::jobs::queue;
use crate::ui::kit::drop_down::{drop_down_ui, entry_ui};
use crate::ui::kit::icons::Icon;
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::optimize::more_bits_view;
use crate::units::{bytes_text, small_percent_text};

/// Height of the rows of the table that are in view.
const TABLE_HEIGHT: f32 = 420.0;

/// Draws the tab; without a converted file it says how to get one.
pub fn tensors_view_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(chosen) = chosen(store, form) else {
        let text = "Convert the model to a level first. Then every tensor of the file is compared with its source here.";
        widgets::empty_state(ui, Icon::Compare, "No converted file yet", text, |ui| {
            if widgets::primary_button(ui, "Go to Optimize").clicked() {
                form.page = Page::Optimize;
            }
        });
        return;
    };
    let measured = store.tensor_errors.ready().filter(|errors| errors.converted == chosen.path);
    settings_ui(ui, store, chosen, measured.is_some(), form, commands);
    if let Some(error) = store.tensor_errors.error().filter(|error| **error != Error::Cancelled) {
        widgets::card_gap(ui);
        widgets::error_banner(ui, error, commands);
    }
    if let Some(errors) = measured {
        widgets::card_gap(ui);
        result_ui(ui, store, errors, chosen.level, form, commands);
    }
}

/// The user's choice while it is still in the list; else the file that was measured; else the latest.
fn chosen<'a>(store: &'a Store, form: &Form) -> Option<&'a Conversion> {
    let find = |path: &Path| store.conversions.iter().find(|made| made.path == path);
    let wanted = form.errors_path.as_deref().and_then(find);
    let measured = || store.tensor_errors.ready().and_then(|errors| find(&errors.converted));
    wanted.or_else(measured).or(store.conversions.last())
}

fn settings_ui(ui: &mut Ui, store: &Store, chosen: &Conversion, is_measured: bool, form: &mut Form, commands: &mut Vec<Command>) {
    let job = store.latest_job(|kind| matches!(kind, JobKind::TensorErrors(_))).filter(|job| JobRecord::is_open(job));
    widgets::card(ui, "", |ui| {
        ui.horizontal_wrapped(|ui| {
            let label = ui.label(RichText::new("Converted file").color(theme::muted(ui)));
            let text_of = |made: &Conversion| format!("{} ({})", made.name(), bytes_text(made.size_bytes));
            let field = ComboBox::from_id_salt("converted file").width(180.0).selected_text(text_of(chosen));
            let field = drop_down_ui(ui, field, |ui| {
                for made in &store.conversions {
                    let response = entry_ui(ui, made.path == chosen.path, text_of(made));
                    if response.on_hover_text(path_text::shown(&made.path)).clicked() {
                        form.errors_path = Some(made.path.clone());
                    }
                }
            });
            field.labelled_by(label.id).on_hover_text(path_text::shown(&chosen.path));
            let name = if is_measured { "Measure errors again" } else { "Measure errors" };
            widgets::make_room_for_primary(ui, name);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let button = ui.add_enabled_ui(job.is_none(), |ui| widgets::primary_button(ui, name)).inner;
                if button.on_disabled_hover_text("A comparison is waiting or running").clicked() {
                    commands.push(Command::TensorErrors(chosen.path.clone()));
                }
                if !is_measured && job.is_none() && ui.available_width() > 320.0 {
                    let text = "Reads both files once and compares every weight";
                    ui.label(RichText::new(text).color(theme::muted(ui)));
                }
            });
        });
        if let Some(job) = job {
            queue::job_ui(ui, job, commands);
        }
    });
}

fn result_ui(ui: &mut Ui, store: &Store, errors: &Arc<TensorErrors>, level: Level, form: &mut Form, commands: &mut Vec<Command>) {
    // Names of another model's tensors mean nothing here.
    form.errors_chosen.retain(|name| errors.tensors.iter().any(|tensor| tensor.name == *name));
    for warning in &errors.warnings {
        widgets::notice(ui, Tone::Warn, &widgets::sentence(warning));
        widgets::card_gap(ui);
    }
    let grid = cached_grid(ui, errors);
    widgets::card_with_actions(
        ui,
        "Relative RMS error by layer",
        |ui| {
            if let Some(overall) = errors.overall_relative_rms {
                ui.label(RichText::new(small_percent_text(overall)).font(theme::strong_font()));
                ui.label(RichText::new("All weights").color(theme::muted(ui)));
            }
        },
        |ui| {
            let clicked = heat_map_ui(ui, errors, &grid, &form.errors_chosen);
            for tensor in clicked.into_iter().filter_map(|idx| errors.tensors.get(idx)) {
                toggle(&mut form.errors_chosen, &tensor.name);
            }
            // What is chosen gets more bits on Optimize, which has a recipe for files alone.
            if level.preset().is_some() {
                let text = "Click a cell to choose its tensor, or the name of a row to choose all of its kind.";
                ui.label(RichText::new(text).small().color(theme::muted(ui)));
            }
        },
    );
    more_bits_view::more_bits_ui(ui, store, level, form);
    widgets::card_gap(ui);
    widgets::card(ui, "Tensors, the worst first", |ui| {
        if let Some(text) = error_table_ui(ui, errors, &mut form.errors_filter, &mut form.errors_chosen, TABLE_HEIGHT) {
            commands.push(Command::Copy(text));
        }
    });
}

/// The grid, kept between frames: arranging ten thousand tensors takes longer than a frame has.
fn cached_grid(ui: &Ui, errors: &Arc<TensorErrors>) -> Arc<Grid> {
    memo::kept(ui, "error grid", Same::of(errors), || Grid::new(errors))
}
