//! The importance matrix of a conversion: a file, or one that is collected first.

use std::path::Path;

use eframe::egui::{self, Align, Label, Layout, Margin, Response, RichText, TextEdit, Ui};

use crate::calibrate::imatrix::{Collected, DEFAULT_CHUNK_TOKENS, imatrix_path};
use crate::model::Model;
use crate::state::{Command, Field, Form, ImatrixForm, Store, TextChoice};
use crate::ui::kit::{theme, widgets};
use crate::units::{count_of, count_text};
use crate::worker::Picked;

/// Most chunks that can be asked for: 50 million tokens.
const MAX_CHUNKS: u32 = 100_000;

/// Draws the file's field, the switch that collects one first with its settings, and what was collected.
pub fn imatrix_view_ui(ui: &mut Ui, model: &Model, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let label = widgets::term_rich(ui, "imatrix", RichText::new("Importance matrix").color(theme::muted(ui)));
    let advice = "A file that planish or llama-imatrix made from this model. Empty: all columns count the same";
    ui.add_enabled_ui(!form.imatrix.collect, |ui| {
        let takes_focus = form.takes_focus(Field::Imatrix);
        if path_ui(ui, &mut form.imatrix_path, "none", ("Choose importance matrix", advice), &label, takes_focus) {
            commands.push(Command::Pick(Picked::Imatrix));
        }
    });
    ui.checkbox(&mut form.imatrix.collect, "Collect an importance matrix first")
        .on_hover_text("Runs the model over a text and notes which columns of its weights matter: low levels lose less then");
    if form.imatrix.collect {
        let takes_focus = form.takes_focus(Field::CalibrationText);
        ui.indent("collecting", |ui| collecting_ui(ui, model, &mut form.imatrix, takes_focus, commands));
    } else if let Some(collected) =
        store.imatrix.as_ref().filter(|made| made.path == crate::path_text::from_text(form.imatrix_path.trim()))
    {
        collected_ui(ui, collected);
    }
}

/// A field for a path with a button that asks for one; true when it was clicked.
fn path_ui(
    ui: &mut Ui,
    path: &mut String,
    hint: &str,
    (button, advice): (&str, &str),
    label: &Response,
    takes_focus: bool,
) -> bool {
    let layout = Layout::right_to_left(Align::Center);
    let asked = ui.horizontal(|ui| {
        ui.with_layout(layout, |ui| {
            let is_clicked = ui.button("Choose…").accessible_name(button).clicked();
            let field = TextEdit::singleline(path).hint_text(hint).desired_width(f32::INFINITY).margin(Margin::symmetric(10, 6));
            let response = ui.add(field).labelled_by(label.id).on_hover_text(advice);
            if takes_focus {
                response.request_focus();
            }
            is_clicked
        })
        .inner
    });
    asked.inner
}

/// Draws the choice of the text that models are calibrated on, and the field for a file.
pub fn calibration_text_ui(ui: &mut Ui, form: &mut ImatrixForm, takes_focus: bool, commands: &mut Vec<Command>) {
    let label = ui
        .horizontal(|ui| {
            let label = ui.label(RichText::new("Calibration text").color(theme::muted(ui)));
            widgets::segmented(ui, &mut form.text, &[(TextChoice::Bundled, "Bundled"), (TextChoice::File, "Own file")]);
            label
        })
        .inner;
    if form.text != TextChoice::File {
        return;
    }
    let advice = "A text in UTF-8 like those that the model will meet: the more, the better";
    let hint = "/home/you/texts/letters.txt";
    if path_ui(ui, &mut form.text_path, hint, ("Choose calibration text", advice), &label, takes_focus) {
        commands.push(Command::Pick(Picked::CalibrationText));
    }
}

fn collecting_ui(ui: &mut Ui, model: &Model, form: &mut ImatrixForm, takes_focus: bool, commands: &mut Vec<Command>) {
    calibration_text_ui(ui, form, takes_focus, commands);
    ui.horizontal(|ui| {
        let label = ui.label(RichText::new("Most chunks").color(theme::muted(ui)));
        let field = egui::DragValue::new(&mut form.max_chunks).range(0..=MAX_CHUNKS).speed(0.2);
        let field = field.custom_formatter(|value, _| if value == 0.0 { "all".into() } else { format!("{value:.0}") });
        let field = field.custom_parser(|text| if text.trim() == "all" { Some(0.0) } else { text.trim().parse().ok() });
        let advice =
            format!("Pieces of {DEFAULT_CHUNK_TOKENS} tokens, taken evenly from the whole text; 0 means all. The bundled text has about 240");
        ui.add(field).labelled_by(label.id).on_hover_text(advice);
    });
    let name = crate::path_text::shown(&imatrix_path(model, Path::new("")));
    ui.checkbox(&mut form.reuse, "Use the file if it is there already").on_hover_text(format!(
        "Uses {name} in the output folder as it is, if it was made from this model. Otherwise an existing one is replaced only \
         if you allow it"
    ));
    let text = format!("Writes {name} into the output folder, then converts with it.");
    ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
}

/// What the file holds, how sure it is, and what is missing in it.
fn collected_ui(ui: &mut Ui, collected: &Collected) {
    let small = |ui: &mut Ui, text: &str, color: egui::Color32| {
        ui.add(Label::new(RichText::new(text).small().color(color)).wrap());
    };
    let origin = if collected.is_reused { "Taken as it was" } else { "Collected" };
    let text = format!(
        "{origin}: {}, {} tokens of {}.",
        count_of(collected.n_tensors, "tensor"),
        count_text(collected.n_tokens()),
        collected.texts.join(", ")
    );
    small(ui, &text, theme::muted(ui));
    if let Some(change) = collected.change_text() {
        small(ui, &format!("{}.", widgets::sentence(&change)), theme::muted(ui));
    }
    for warning in collected.warnings() {
        small(ui, &widgets::sentence(&warning), theme::warn(ui));
    }
}

/// Why nothing can be collected now; `None` when it can, or when it is not wanted.
pub fn imatrix_refusal(model: &Model, form: &ImatrixForm) -> Option<String> {
    if !form.collect {
        None
    } else if !model.is_runnable() {
        let level = model.own_level().map_or("BF16", crate::model::Level::name);
        Some(format!("A checkpoint cannot run, so nothing can be collected: convert it to {level} first, or do not collect"))
    } else if form.text == TextChoice::File && form.text_path.trim().is_empty() {
        Some("Name a calibration text first".into())
    } else {
        None
    }
}
