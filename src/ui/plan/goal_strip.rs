//! What the user wants of a plan: use, target, context, memory, pipeline, power.

use eframe::egui::{Align, Align2, ComboBox, DragValue, Layout, RichText, TextEdit, Ui};

use crate::advise::{Goal, Priority, Target};
use crate::model::Model;
use crate::ui::kit::drop_down::{NUMBER_WIDTH, drop_down_ui, entry_ui, field_name_ui};
use crate::ui::kit::{glossary, theme, widgets};
use crate::units::{bytes_from_text, bytes_text, count_text};

/// Longest context that can be typed: more than any model is trained for.
const MAX_CTX: u64 = 16_777_216;
const MIN_CTX: u64 = 128;
/// As high as the highest control, so that all stand on one line.
const ROW_HEIGHT: f32 = 36.0;

const PRIORITIES: [(Priority, &str, &str); 4] = [
    (Priority::Balanced, "Balanced", "Low loss, clearly smaller and faster than the source"),
    (Priority::Quality, "Best quality", "The least loss that fits"),
    (Priority::Speed, "Fastest", "The fastest with acceptable loss"),
    (Priority::Size, "Smallest", "The smallest with acceptable loss"),
];

const TARGETS: [(Target, &str); 6] = [
    (Target::ThisMachine, "This machine"),
    (Target::Apple, "Apple silicon"),
    (Target::Intel, "Intel CPU, GPU or NPU"),
    (Target::Nvidia, "NVIDIA GPU"),
    (Target::Snapdragon, "Snapdragon"),
    (Target::CrossPlatform, "Any machine"),
];

/// Draws the goal and takes changes to it.
pub fn goal_strip_ui(ui: &mut Ui, goal: &mut Goal, model: &Model) {
    ui.horizontal_wrapped(|ui| {
        ui.set_row_height(ROW_HEIGHT);
        priority_ui(ui, goal);
        ui.add_space(16.0);
        target_ui(ui, goal);
        ui.add_space(16.0);
        ui.checkbox(&mut goal.battery, "On battery")
            .on_hover_text("Battery time counts: every byte read per token costs energy, so smaller levels are preferred");
        ui.checkbox(&mut goal.enterprise, "Enterprise pipeline")
            .on_hover_text("A versioned pipeline on ONNX Runtime or Windows ML is wanted");
    });
    ui.horizontal_wrapped(|ui| {
        ui.set_row_height(ROW_HEIGHT);
        context_ui(ui, goal, model.hyperparameters.n_ctx_train);
        ui.add_space(16.0);
        budget_ui(ui, goal);
    });
}

fn priority_ui(ui: &mut Ui, goal: &mut Goal) {
    ui.label(RichText::new("Use").color(theme::muted(ui))).on_hover_ui(|ui| {
        for (_, name, explanation) in PRIORITIES {
            ui.label(format!("{name}: {explanation}"));
        }
    });
    widgets::segmented(ui, &mut goal.priority, &PRIORITIES.map(|(priority, name, _)| (priority, name)));
}

fn target_ui(ui: &mut Ui, goal: &mut Goal) {
    let label = field_name_ui(ui, "Runs on", 180.0);
    let name_of = |target: Target| TARGETS.iter().find(|row| row.0 == target).map_or("", |row| row.1);
    let field = ComboBox::from_id_salt("target").width(180.0).selected_text(name_of(goal.target));
    let field = drop_down_ui(ui, field, |ui| {
        for (target, name) in TARGETS {
            if entry_ui(ui, goal.target == target, name).clicked() {
                goal.target = target;
            }
        }
    });
    field.labelled_by(label.id);
}

fn context_ui(ui: &mut Ui, goal: &mut Goal, n_ctx_train: u64) {
    let explanation = glossary::explain("context length").unwrap_or_default();
    let label = field_name_ui(ui, "Context length", NUMBER_WIDTH).on_hover_text(explanation);
    let field = DragValue::new(&mut goal.n_ctx).range(MIN_CTX..=MAX_CTX).speed(64.0).suffix(" tokens");
    ui.add(field).labelled_by(label.id);
    let steps: Vec<(u64, String)> = context_steps(n_ctx_train).into_iter().map(|n_ctx| (n_ctx, short_count(n_ctx))).collect();
    let choices: Vec<(u64, &str)> = steps.iter().map(|(n_ctx, name)| (*n_ctx, name.as_str())).collect();
    widgets::segmented(ui, &mut goal.n_ctx, &choices);
    if n_ctx_train > 0 && goal.n_ctx > n_ctx_train {
        ui.label(RichText::new(format!("longer than the {} of its training", count_text(n_ctx_train))).color(theme::warn(ui)));
    }
}

/// Powers of two from 512 up to what the model was trained for, that one included; at most seven, the longest ones.
fn context_steps(n_ctx_train: u64) -> Vec<u64> {
    const MAX_STEPS: usize = 7;
    // Without a known limit: what most programs offer.
    let longest = if n_ctx_train == 0 { 32_768 } else { n_ctx_train };
    let mut steps: Vec<u64> =
        std::iter::successors(Some(512_u64), |step| step.checked_mul(2)).take_while(|&step| step < longest).collect();
    steps.push(longest);
    let n_surplus = steps.len().saturating_sub(MAX_STEPS);
    steps.split_off(n_surplus)
}

/// `4K` for 4096, `131K` for 131,000.
fn short_count(n: u64) -> String {
    match n {
        n if n >= 1_048_576 && n % 1_048_576 == 0 => format!("{}M", n / 1_048_576),
        n if n >= 1024 && n % 1024 == 0 => format!("{}K", n / 1024),
        n if n >= 10_000 => format!("{}K", n / 1000),
        n => n.to_string(),
    }
}

fn budget_ui(ui: &mut Ui, goal: &mut Goal) {
    let label = ui
        .label(RichText::new("Memory").color(theme::muted(ui)))
        .on_hover_text("How much memory the model may use while it runs");
    let mut is_automatic = goal.memory_budget_bytes.is_none();
    if ui.checkbox(&mut is_automatic, "Automatic").on_hover_text("What is free now, minus headroom for other programs").changed()
    {
        goal.memory_budget_bytes = if is_automatic { None } else { Some(8 << 30) };
    }
    let Some(budget_bytes) = goal.memory_budget_bytes else { return };
    // What is typed stays as typed while it is being edited, also where it is no size yet.
    let text_id = ui.make_persistent_id("memory budget text");
    let mut text = ui.data(|data| data.get_temp::<String>(text_id)).unwrap_or_else(|| bytes_text(budget_bytes));
    let response = ui.add(TextEdit::singleline(&mut text).desired_width(90.0).align(Align2::RIGHT_CENTER)).labelled_by(label.id);
    let read = bytes_from_text(&text);
    if let (true, Ok(size_bytes)) = (response.changed(), &read) {
        goal.memory_budget_bytes = Some(*size_bytes);
    }
    if response.has_focus() || read.is_err() {
        ui.data_mut(|data| data.insert_temp(text_id, text));
    } else {
        ui.data_mut(|data| data.remove_temp::<String>(text_id));
    }
    if let Err(error) = read {
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.label(RichText::new(format!("{error}: {}", error.hint())).color(theme::bad(ui)));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_go_up_to_the_training_length() {
        let check = |n_ctx_train, expected: &[u64]| assert_eq!(context_steps(n_ctx_train), expected, "{n_ctx_train}");
        check(8192, &[512, 1024, 2048, 4096, 8192]);
        check(3000, &[512, 1024, 2048, 3000]);
        check(300, &[300]);
        check(131_072, &[2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072]);
        check(0, &[512, 1024, 2048, 4096, 8192, 16_384, 32_768]);
        assert_eq!(context_steps(u64::MAX).len(), 7);
    }

    #[test]
    fn counts_are_short() {
        let check = |n, expected: &str| assert_eq!(short_count(n), expected);
        check(512, "512");
        check(4096, "4K");
        check(3000, "3000");
        check(131_000, "131K");
        check(1_048_576, "1M");
    }
}
