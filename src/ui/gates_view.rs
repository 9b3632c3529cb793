//! The user's limits: each can be switched off and set.

use eframe::egui::{DragValue, Grid, RichText, Ui};

use super::theme;
use super::widgets;
use crate::advise::{GateKind, Gates};
use crate::state::Form;

/// Draws the card: one line for each gate, and a button that brings the defaults back.
pub fn gates_view_ui(ui: &mut Ui, form: &mut Form) {
    let is_default = form.gates == Gates::default();
    let mut is_reset = false;
    widgets::card_with_actions(
        ui,
        "Gates",
        |ui| {
            let button = ui.add_enabled_ui(!is_default, |ui| widgets::small_button(ui, "Reset", "Reset the gates")).inner;
            is_reset = button.on_hover_text("Back to the limits that Planish begins with").clicked();
        },
        |ui| {
            let text = "What a file must reach. A verdict is PASS only when every gate that is on holds, error bars included.";
            ui.label(RichText::new(text).color(theme::muted(ui)));
            ui.add_space(theme::UNIT);
            let n_columns = if ui.available_width() > 980.0 { 3 } else { 2 };
            Grid::new("gates").num_columns(n_columns).spacing([32.0, 8.0]).show(ui, |ui| {
                for (idx, kind) in GateKind::ALL.into_iter().enumerate() {
                    gate_ui(ui, kind, &mut form.gates);
                    if (idx + 1) % n_columns == 0 {
                        ui.end_row();
                    }
                }
            });
        },
    );
    if is_reset {
        form.gates = Gates::default();
    }
}

fn gate_ui(ui: &mut Ui, kind: GateKind, gates: &mut Gates) {
    let limit = gates.limit_mut(kind);
    ui.horizontal(|ui| {
        let mut is_on = limit.is_some();
        let checkbox = ui.checkbox(&mut is_on, kind.label()).on_hover_text(explanation(kind));
        if checkbox.changed() {
            *limit = is_on.then(|| Gates::default().limit(kind).unwrap_or(first_limit(kind)));
        }
        ui.label(RichText::new(if kind.is_minimum() { "at least" } else { "at most" }).color(theme::muted(ui)));
        let Some(limit) = limit else {
            ui.label(RichText::new("off").color(theme::muted(ui)));
            return;
        };
        let (scale, unit) = unit(kind);
        let mut shown = *limit * scale;
        let (step, range) = if scale > 1.0 { (0.1, 0.0..=1000.0) } else { (0.001, 0.0..=1000.0) };
        let field = DragValue::new(&mut shown).speed(step).range(range).max_decimals(4).suffix(unit);
        if ui.add(field).labelled_by(checkbox.id).on_hover_text(explanation(kind)).changed() {
            *limit = shown / scale;
        }
    });
}

/// What the number on screen is multiplied with, and what stands behind it.
fn unit(kind: GateKind) -> (f64, &'static str) {
    match kind {
        GateKind::AccuracyRatio | GateKind::MemoryRatio => (100.0, " % of the source"),
        GateKind::SameTop => (100.0, " %"),
        GateKind::PplRatio | GateKind::SpeedRatio => (1.0, " × the source"),
        GateKind::MeanKld => (1.0, " nats"),
    }
}

/// The limit of a gate that is off at first, when it is switched on. Assumed: between `Q5_K_M` and `Q4_K_M` of small models.
fn first_limit(kind: GateKind) -> f64 {
    match kind {
        GateKind::MeanKld => 0.05,
        GateKind::SameTop => 0.9,
        _ => 1.0,
    }
}

fn explanation(kind: GateKind) -> &'static str {
    match kind {
        GateKind::AccuracyRatio => "How often the file's first choice is the next token of the text, as a part of the source's",
        GateKind::PplRatio => "Perplexity on the text, as a multiple of the source's",
        GateKind::MeanKld => "Mean KL divergence from the source over all tokens of the text",
        GateKind::SameTop => "Tokens at which file and source put the same token first",
        GateKind::MemoryRatio => "Peak memory while running, as a part of the source's; needs both speeds measured",
        GateKind::SpeedRatio => "Decode speed, as a multiple of the source's; needs both speeds measured",
    }
}

#[cfg(test)]
mod tests {
    use eframe::egui::accesskit::Role;
    use egui_kittest::kittest::{NodeT as _, Queryable as _};

    use super::*;
    use crate::convert::Conversion;
    use crate::model::Level;
    use crate::ui::compare_page_ui;
    use crate::ui::test_support::{PageState, page_harness_sized, store_with_model_and_machine};

    fn harness() -> egui_kittest::Harness<'static, PageState> {
        let mut store = store_with_model_and_machine();
        let source = store.model.ready().unwrap().path.clone();
        store.conversions.push(Conversion {
            level: Level::Q8_0,
            path: source.with_file_name("m-Q8_0.gguf"),
            source,
            size_bytes: 100_000_000,
            bits_per_weight: 8.5,
            elapsed_secs: 1.0,
            warnings: Vec::new(),
            check: None,
            changes: String::new(),
        });
        let harness = page_harness_sized(
            compare_page_ui,
            store,
            Form::default(),
            eframe::egui::vec2(1160.0, 1400.0),
            1.0,
            eframe::egui::Theme::Dark,
        );
        assert!(harness.get_by_label("Reset the gates").accesskit_node().is_disabled());
        harness
    }

    #[test]
    fn every_gate_can_be_switched_and_all_be_reset() {
        let mut harness = harness();
        for kind in GateKind::ALL {
            let before = harness.state().form.gates.limit(kind);
            harness.get_by_role_and_label(Role::CheckBox, kind.label()).click();
            harness.run();
            let after = harness.state().form.gates.limit(kind);
            assert_ne!(before.is_some(), after.is_some(), "{kind:?}");
        }
        assert_eq!(harness.state().form.gates.limit(GateKind::MeanKld), Some(0.05));
        harness.get_by_label("Reset the gates").click();
        harness.run();
        assert_eq!(harness.state().form.gates, Gates::default());
    }

    #[test]
    fn a_limit_is_typed_in_the_unit_of_the_screen() {
        let mut harness = harness();
        harness.get_by_role_and_label(Role::SpinButton, "Next-token accuracy").focus();
        harness.run();
        harness.key_press_modifiers(eframe::egui::Modifiers::COMMAND, eframe::egui::Key::A);
        harness.run();
        harness.get_by_role_and_label(Role::SpinButton, "Next-token accuracy").type_text("97.5");
        harness.key_press(eframe::egui::Key::Enter);
        harness.run();
        assert_eq!(harness.state().form.gates.min_accuracy_ratio, Some(0.975));
    }
}
