//! How the codes of a conversion are chosen: each weight by itself, or with error feedback.

use eframe::egui::{Label, RichText, Ui};

use super::imatrix_view::{calibration_text_ui, imatrix_view_ui};
use crate::advise::Overrides;
use crate::calibrate::moments::DEFAULT_TOKENS;
use crate::model::Model;
use crate::state::{Command, Field, Form, Store};
use crate::ui::kit::{theme, widgets};
use crate::units::count_text;

/// Draws the choice, and what belongs to it: the importance matrix of a quick conversion, or what calibration does.
pub fn method_view_ui(ui: &mut Ui, model: &Model, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let before = form.recipe.of(model);
    let mut calibrated = before.calibrated;
    ui.horizontal(|ui| {
        widgets::term_rich(ui, "calibrated", RichText::new("Method").color(theme::muted(ui)));
        widgets::segmented(ui, &mut calibrated, &[(false, "Quick"), (true, "Calibrated")]);
    });
    if calibrated != before.calibrated {
        form.recipe.set(model, Overrides { calibrated, ..before });
    }
    if !calibrated {
        imatrix_view_ui(ui, model, store, form, commands);
        return;
    }
    let takes_focus = form.takes_focus(Field::CalibrationText);
    calibration_text_ui(ui, &mut form.imatrix, takes_focus, commands);
    let text = format!(
        "Runs the model over {} tokens of this text first, then makes good what each weight loses with the next ones. Takes minutes \
         instead of seconds, loses about half as much at the same size. For levels of llama.cpp, called NAME-LEVEL-calibrated.gguf.",
        count_text(DEFAULT_TOKENS.into())
    );
    ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
}
