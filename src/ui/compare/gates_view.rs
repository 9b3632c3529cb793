//! The user's limits: gates on quality, wishes beside them, and named sets of both.

use eframe::egui::{self, Button, DragValue, Grid, Label, Response, RichText, TextEdit, TextWrapMode, Ui};

use crate::advise::{GateKind, Gates, Limits, MAX_MEAN_KLD, Preset, WishKind};
use crate::model::Model;
use crate::state::Form;
use crate::ui::kit::theme;
use crate::ui::kit::widgets;

/// Least width of a limit.
const LIMIT_WIDTH: f32 = 360.0;
const LIMIT_GAP: f32 = 32.0;

/// Draws the card: the presets, one line for each gate, one for each wish.
pub fn gates_view_ui(ui: &mut Ui, model: &Model, form: &mut Form) {
    widgets::card(ui, "Gates and wishes", |ui| {
        presets_ui(ui, form);
        ui.add_space(theme::UNIT);
        let muted = theme::muted(ui);
        let text = "The verdict is about quality alone. It is PASS only when every gate that is on holds, error bars included.";
        ui.add(Label::new(RichText::new(text).color(muted)).wrap());
        grid_ui(ui, "gates", GateKind::ALL, |ui, kind| {
            let is_meaningless = kind == GateKind::PplRatio && model.has_recurrent_layers();
            gate_ui(ui, kind, is_meaningless, &mut form.limits.gates);
        });
        ui.add_space(theme::UNIT);
        let text =
            "Wishes are judged beside the verdict and named in words. All are off at first; a memory limit on Plan is one too.";
        ui.add(Label::new(RichText::new(text).color(muted)).wrap());
        grid_ui(ui, "wishes", WishKind::SET, |ui, kind| wish_ui(ui, kind, &mut form.limits));
    });
}

fn grid_ui<T>(ui: &mut Ui, id: &str, kinds: impl IntoIterator<Item = T>, mut draw: impl FnMut(&mut Ui, T)) {
    let n_columns = if ui.available_width() >= 2.0 * LIMIT_WIDTH + LIMIT_GAP { 2 } else { 1 };
    Grid::new(id).num_columns(n_columns).min_col_width(LIMIT_WIDTH).spacing([LIMIT_GAP, 8.0]).show(ui, |ui| {
        for (idx, kind) in kinds.into_iter().enumerate() {
            draw(ui, kind);
            if (idx + 1) % n_columns == 0 {
                ui.end_row();
            }
        }
    });
}

/// Draws the named limits: a click sets them, the user's own can be deleted, and what is set now can be saved under a name.
fn presets_ui(ui: &mut Ui, form: &mut Form) {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label(RichText::new("Presets").color(theme::muted(ui)));
        for preset in Preset::built_in() {
            let is_current = preset.limits == form.limits;
            if preset_ui(ui, is_current, &preset).clicked() {
                form.limits = preset.limits;
            }
        }
        let mut deleted = None;
        for (idx, preset) in form.presets.iter().enumerate() {
            let is_current = preset.limits == form.limits;
            if preset_ui(ui, is_current, preset).clicked() {
                form.limits = preset.limits.clone();
            }
            let name = format!("Delete the preset {}", preset.name);
            if widgets::small_button(ui, "×", &name).on_hover_text(&name).clicked() {
                deleted = Some(idx);
            }
        }
        if let Some(idx) = deleted {
            form.presets.remove(idx);
        }
        let field = TextEdit::singleline(&mut form.preset_name).hint_text("Name of a preset").desired_width(140.0);
        let field = ui.add(field).labelled_by(label.id);
        let is_entered = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
        let obstacle = save_obstacle(form);
        widgets::make_room_for_small(ui, "Save");
        let button = ui.add_enabled_ui(obstacle.is_empty(), |ui| widgets::small_button(ui, "Save", "Save the preset")).inner;
        let button = button.on_hover_text("Keep the limits below under this name").on_disabled_hover_text(obstacle);
        if obstacle.is_empty() && (button.clicked() || is_entered) {
            save(form);
        }
    });
}

fn preset_ui(ui: &mut Ui, is_current: bool, preset: &Preset) -> Response {
    let button = Button::selectable(is_current, &preset.name).wrap_mode(TextWrapMode::Extend);
    ui.add(button).on_hover_text(preset_text(&preset.limits))
}

/// Why the limits cannot be saved under the name in the field; empty when they can.
fn save_obstacle(form: &Form) -> &'static str {
    let name = form.preset_name.trim();
    if name.is_empty() {
        "Give it a name first"
    } else if Preset::built_in().iter().any(|preset| preset.name == name) {
        "This name belongs to Planish"
    } else {
        ""
    }
}

/// Keeps the limits under the name in the field, in place of an earlier preset of that name.
fn save(form: &mut Form) {
    let name = std::mem::take(&mut form.preset_name).trim().to_string();
    let limits = form.limits.clone();
    match form.presets.iter_mut().find(|preset| preset.name == name) {
        Some(preset) => preset.limits = limits,
        None => form.presets.push(Preset { name, limits }),
    }
}

/// What a preset sets, one line for each part.
fn preset_text(limits: &Limits) -> String {
    format!("Verdict: {}\nWishes: {}", limits.gates.text(), limits.wishes.text())
}

fn gate_ui(ui: &mut Ui, kind: GateKind, is_meaningless: bool, gates: &mut Gates) {
    let explanation = if is_meaningless {
        "Not meaningful for this model: with its recurrent layers an F16 file can have a higher perplexity than a Q8_0 one"
    } else {
        gate_explanation(kind)
    };
    let field = Field { label: kind.label(), is_minimum: kind.is_minimum(), unit: gate_unit(kind), explanation };
    ui.add_enabled_ui(!is_meaningless, |ui| limit_ui(ui, &field, first_gate(kind), gates.limit_mut(kind)));
}

fn wish_ui(ui: &mut Ui, kind: WishKind, limits: &mut Limits) {
    let (unit, explanation) = (wish_unit(kind), wish_explanation(kind));
    let field = Field { label: kind.label(), is_minimum: kind.is_minimum(), unit, explanation };
    let mut limit = limits.wishes.limit(kind);
    limit_ui(ui, &field, first_wish(kind), &mut limit);
    limits.wishes.set_limit(kind, limit);
}

/// What a limit looks like on screen.
struct Field {
    label: &'static str,
    is_minimum: bool,
    /// What the limit is multiplied by for the screen, and what stands behind the number there.
    unit: (f64, &'static str),
    explanation: &'static str,
}

/// A check box that switches the limit on, at `first`, and a field for its value.
fn limit_ui(ui: &mut Ui, field: &Field, first: f64, limit: &mut Option<f64>) {
    ui.horizontal(|ui| {
        let mut is_on = limit.is_some();
        let checkbox =
            ui.checkbox(&mut is_on, field.label).on_hover_text(field.explanation).on_disabled_hover_text(field.explanation);
        if checkbox.changed() {
            *limit = is_on.then_some(first);
        }
        ui.label(RichText::new(if field.is_minimum { "at least" } else { "at most" }).color(theme::muted(ui)));
        let Some(limit) = limit else {
            ui.label(RichText::new("off").color(theme::muted(ui)));
            return;
        };
        let (scale, unit) = field.unit;
        let mut shown = *limit * scale;
        let (step, range) = if scale > 1.0 { (0.1, 0.0..=1000.0) } else { (0.001, 0.0..=1000.0) };
        let value = DragValue::new(&mut shown).speed(step).range(range).max_decimals(4).suffix(unit);
        if ui.add(value).labelled_by(checkbox.id).on_hover_text(field.explanation).changed() {
            *limit = shown / scale;
        }
    });
}

fn gate_unit(kind: GateKind) -> (f64, &'static str) {
    match kind {
        GateKind::AccuracyRatio => (100.0, " % of the source"),
        GateKind::SameTop => (100.0, " %"),
        GateKind::PplRatio => (1.0, " × the source"),
        GateKind::MeanKld => (1.0, " nats"),
    }
}

fn wish_unit(kind: WishKind) -> (f64, &'static str) {
    match kind {
        WishKind::MemoryRatio | WishKind::SizeRatio => (100.0, " % of the source"),
        WishKind::SpeedRatio => (1.0, " × the source"),
        WishKind::FirstToken => (1.0, " s"),
        WishKind::Memory => (1.0, " B"),
    }
}

/// The limit of a gate when it is switched on: the default, 9 of 10 next words the same, or 5 % more perplexity.
fn first_gate(kind: GateKind) -> f64 {
    match kind {
        GateKind::MeanKld => MAX_MEAN_KLD,
        GateKind::SameTop => 0.9,
        GateKind::AccuracyRatio => 0.95,
        GateKind::PplRatio => 1.05,
    }
}

/// The limit of a wish when it is switched on.
fn first_wish(kind: WishKind) -> f64 {
    match kind {
        WishKind::MemoryRatio | WishKind::SizeRatio => 0.5,
        WishKind::SpeedRatio => 2.0,
        WishKind::FirstToken | WishKind::Memory => 1.0,
    }
}

fn gate_explanation(kind: GateKind) -> &'static str {
    match kind {
        GateKind::AccuracyRatio => "How often the file's first choice is the next token of the text, as a part of the source's",
        GateKind::MeanKld => "Mean KL divergence from the source over all tokens of the text",
        GateKind::SameTop => "Tokens at which file and source put the same token first",
        GateKind::PplRatio => "Perplexity on the text, as a multiple of the source's",
    }
}

fn wish_explanation(kind: WishKind) -> &'static str {
    match kind {
        WishKind::MemoryRatio => "Peak memory while running, as a part of the source's; needs both measured",
        WishKind::SizeRatio => "Size of the file, as a part of the source's",
        WishKind::SpeedRatio => "Decode speed, as a multiple of the source's; needs both measured",
        WishKind::FirstToken => "Time to read a prompt of the measured length, before the first word of the answer",
        WishKind::Memory => "Peak memory while running; set on Plan",
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

    fn store_with_level() -> crate::state::Store {
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
        store
    }

    fn harness() -> egui_kittest::Harness<'static, PageState> {
        harness_of(store_with_level())
    }

    fn harness_of(store: crate::state::Store) -> egui_kittest::Harness<'static, PageState> {
        page_harness_sized(
            compare_page_ui,
            store,
            Form::default(),
            eframe::egui::vec2(1160.0, 1400.0),
            1.0,
            eframe::egui::Theme::Dark,
        )
    }

    #[test]
    fn every_limit_can_be_switched_and_a_preset_brings_all_back() {
        let mut harness = harness();
        for kind in GateKind::ALL {
            let before = harness.state().form.limits.gates.limit(kind);
            harness.get_by_role_and_label(Role::CheckBox, kind.label()).click();
            harness.run();
            let after = harness.state().form.limits.gates.limit(kind);
            assert_ne!(before.is_some(), after.is_some(), "{kind:?}");
        }
        for kind in WishKind::SET {
            assert_eq!(harness.state().form.limits.wishes.limit(kind), None, "{kind:?} is off at first");
            harness.get_by_role_and_label(Role::CheckBox, kind.label()).click();
            harness.run();
            assert!(harness.state().form.limits.wishes.limit(kind).is_some(), "{kind:?}");
        }
        harness.get_by_label("Quality alone").click();
        harness.run();
        assert_eq!(harness.state().form.limits, Limits::default());
    }

    #[test]
    fn the_production_gates_are_one_click_away_and_own_presets_are_kept_and_deleted() {
        let mut harness = harness();
        harness.get_by_label("Production gates").click();
        harness.run();
        let production = harness.state().form.limits.clone();
        assert_eq!((production.wishes.max_memory_ratio, production.wishes.min_speed_ratio), (Some(0.5), Some(2.0)));
        assert!(harness.get_by_label("Save the preset").accesskit_node().is_disabled(), "no name yet");
        harness.get_by_role_and_label(Role::TextInput, "Presets").focus();
        harness.run();
        harness.get_by_role_and_label(Role::TextInput, "Presets").type_text("phone");
        harness.run();
        harness.get_by_label("Save the preset").click();
        harness.run();
        assert_eq!(harness.state().form.presets, [Preset { name: "phone".into(), limits: production.clone() }]);
        harness.get_by_label("Quality alone").click();
        harness.run();
        harness.get_by_label("phone").click();
        harness.run();
        assert_eq!(harness.state().form.limits, production);
        harness.get_by_label("Delete the preset phone").click();
        harness.run();
        assert!(harness.state().form.presets.is_empty());
    }

    #[test]
    fn perplexity_is_no_gate_for_recurrent_layers() {
        let mut store = store_with_level();
        let mut model = (**store.model.ready().unwrap()).clone();
        let key = format!("{}.ssm.conv_kernel", model.hyperparameters.architecture);
        model.metadata.set(&key, crate::model::Value::U32(4));
        store.model = crate::state::Slot::Ready(std::sync::Arc::new(model));
        let harness = harness_of(store);
        assert!(harness.get_by_role_and_label(Role::CheckBox, "Perplexity").accesskit_node().is_disabled());
        assert!(!harness.get_by_role_and_label(Role::CheckBox, "Same top token").accesskit_node().is_disabled());
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
        assert_eq!(harness.state().form.limits.gates.min_accuracy_ratio, Some(0.975));
    }
}
