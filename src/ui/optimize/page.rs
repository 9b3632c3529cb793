//! Doing it: levels, output, recipe, queue and finished files. The buttons stand in the bar below, which does not scroll away.

use eframe::egui::{self, Align, Layout, Margin, RichText, TextEdit, Ui};

use super::batch::Batch;
use super::budget_view::budget_view_ui;
use super::level_cards::{Cards, level_cards_ui};
use super::method_view::method_view_ui;
use super::recipe_view::recipe_view_ui;
use crate::advise::{MlxChanges, Overrides, Target};
use crate::convert;
use crate::model::Framework;
use crate::state::{Command, Field, Form, Store};
use crate::ui::jobs::queue::{queue_ui, result_ui};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::opened::known_view::sum_text;
use crate::ui::plan::page::{model_or_hint_ui, requantizing_warning};
use crate::worker::Picked;

/// Most threads that can be asked for.
const MAX_THREADS: u32 = 1024;
const SUBTITLE: &str = "Convert the model in the background, several levels in one pass";

/// Draws the page.
pub fn optimize_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(model) = model_or_hint_ui(ui, store, form, commands, "Optimize", SUBTITLE) else { return };
    let Some(batch) = Batch::of(ui, store, form) else { return };
    widgets::page_header(ui, "Optimize", SUBTITLE, |_| {});
    if let Some(warning) = requantizing_warning(&model) {
        widgets::notice(ui, Tone::Warn, &warning);
        widgets::card_gap(ui);
    }
    let note = size_note(form, &batch.overrides);
    let cards = Cards {
        model: &model,
        store,
        plan: &batch.plan,
        recommended: batch.recommended,
        in_work: &batch.all_in_work,
        for_mac: form.goal.target == Target::Apple || cfg!(target_os = "macos"),
        has_wide_ends: batch.overrides.mlx.are_wide_ends(),
        note,
    };
    // Copies, because the right column edits the rest of the form.
    let (mut levels, mut shows_all) = (form.levels.clone(), form.all_levels);
    let mut has_wide_ends = cards.has_wide_ends;
    widgets::two_columns(
        ui,
        0.66,
        |ui| level_cards_ui(ui, &cards, &mut levels, &mut shows_all, &mut has_wide_ends),
        |ui| output_ui(ui, &batch, store, form, commands),
    );
    (form.levels, form.all_levels) = (levels, shows_all);
    if has_wide_ends != cards.has_wide_ends {
        let mlx = if has_wide_ends { MlxChanges::wide_ends() } else { MlxChanges::default() };
        form.recipe.set(&model, Overrides { mlx, ..form.recipe.of(&model) });
    }
    widgets::card_gap(ui);
    budget_view_ui(ui, &model, store, form, commands);
    widgets::card_gap(ui);
    recipe_view_ui(ui, &model, form, commands);
    widgets::card_gap(ui);
    queue_ui(ui, store, commands);
    if !store.conversions.is_empty() {
        widgets::card_gap(ui);
        widgets::card(ui, &format!("Finished files, {}", sum_text(store)), |ui| {
            for conversion in &store.conversions {
                result_ui(ui, store, conversion, commands);
            }
        });
    }
}

/// What the sizes on the cards leave out: the file with the importances is not read before the conversion.
fn size_note(form: &Form, overrides: &Overrides) -> &'static str {
    if overrides.of_types().part_of(Framework::LlamaCpp).is_custom() {
        return "Sizes on the cards are those of the plain levels; the total in the bar counts the tensor types below.";
    }
    if overrides.calibrated {
        "Sizes and published losses are those of quick levels. Calibrated ones have a few more bytes, and lose less."
    } else if form.imatrix_path.trim().is_empty() && !form.imatrix.collect {
        "Sizes are exact. Expected loss is published, not measured."
    } else {
        "Sizes and published losses are those without an importance matrix. One adds some bytes, to Q4_0 and Q5_0 up to 1 %."
    }
}

fn output_ui(ui: &mut Ui, batch: &Batch, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    widgets::card(ui, "Output", |ui| {
        let label = ui.label(RichText::new("Folder").color(theme::muted(ui)));
        let hint = crate::path_text::shown(&convert::default_output_dir(Some(&batch.model)));
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Choose…").accessible_name("Choose output folder").clicked() {
                    commands.push(Command::Pick(Picked::OutputDir));
                }
                let field = TextEdit::singleline(&mut form.output_dir)
                    .hint_text(hint)
                    .desired_width(f32::INFINITY)
                    .margin(Margin::symmetric(10, 6));
                let response = ui.add(field).labelled_by(label.id).on_hover_text("Empty: beside the source");
                if form.dialog.is_none() && form.takes_focus(Field::OutputDir) {
                    response.request_focus();
                }
            });
        });
        method_view_ui(ui, batch, store, form, commands);
        ui.checkbox(&mut form.keep_unfinished, "Keep unfinished files when cancelled")
            .on_hover_text("Converting to the same files again goes on from there, as it does after a power loss");
        ui.horizontal(|ui| {
            let label = ui.label(RichText::new("Threads").color(theme::muted(ui)));
            let field = egui::DragValue::new(&mut form.convert_threads).range(0..=MAX_THREADS).speed(0.1);
            let field = field.custom_formatter(|value, _| if value == 0.0 { "all".into() } else { format!("{value:.0}") });
            let field = field.custom_parser(|text| if text.trim() == "all" { Some(0.0) } else { text.trim().parse().ok() });
            ui.add(field).labelled_by(label.id).on_hover_text("0 means all that this program may use");
        });
    });
}
