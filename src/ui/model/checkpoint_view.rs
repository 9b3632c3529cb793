//! The Model page for a Hugging Face checkpoint: its facts, and the checklist of what a conversion needs.

use eframe::egui::{self, Label, RichText, Sense, Stroke, Ui, vec2};

use super::page::{opened_header_ui, or_unknown};
use crate::advise::{CheckItem, CheckState, CheckedCheckpoint};
use crate::model::{Checkpoint, CheckpointConfig, Level};
use crate::state::{Command, Form, Store};
use crate::ui::kit::icons;
use crate::ui::kit::theme::{self, ValueKind};
use crate::ui::kit::widgets::{
    StatTile, Tone, card, card_gap, key_value_grid, notice, sentence, small_button, stat_tiles, two_columns,
};
use crate::ui::opened::known_view::found_ui;
use crate::units::{bytes_text, count_of, count_text, exact_bytes_text, parameters_text};

/// Draws facts and checklist.
pub fn checkpoint_ui(ui: &mut Ui, store: &Store, checked: &CheckedCheckpoint, form: &mut Form, commands: &mut Vec<Command>) {
    let CheckedCheckpoint { checkpoint, checklist, model, .. } = checked;
    opened_header_ui(ui, &checkpoint.name, &checkpoint.path, form, commands);
    found_ui(ui, store, form);
    match model {
        None => notice(ui, Tone::Bad, "This Hugging Face checkpoint cannot be converted: the checklist says what is in the way."),
        Some(model) => {
            let own = model.own_level().map_or("F32", Level::name);
            let text = format!(
                "A Hugging Face checkpoint. It is converted straight to the levels you choose; {own} keeps every weight, \
                and what the others lose is measured against it."
            );
            notice(ui, Tone::Neutral, &text);
        }
    }
    card_gap(ui);
    stat_tiles(ui, &tiles(checkpoint));
    card_gap(ui);
    card(ui, "Checklist", |ui| {
        ui.label(RichText::new("From the headers and the tokenizer, without the weights").small().color(theme::muted(ui)));
        for item in &checklist.items {
            item_ui(ui, item);
        }
    });
    card_gap(ui);
    two_columns(
        ui,
        0.5,
        |ui| {
            if let Some(config) = &checkpoint.config {
                card(ui, "Architecture", |ui| key_value_grid(ui, &architecture_rows(config)));
            } else {
                card(ui, "Architecture", |ui| ui.label(RichText::new("There is no config.json.").color(theme::muted(ui))));
            }
        },
        |ui| files_ui(ui, checkpoint, commands),
    );
}

fn tiles(checkpoint: &Checkpoint) -> Vec<StatTile> {
    let fact = |label: &str, text: &str| StatTile::from_text(label, text, ValueKind::Fact);
    let config = checkpoint.config.as_ref();
    let number = |of: fn(&CheckpointConfig) -> u64| or_unknown(config.map_or(0, of));
    vec![
        fact("Parameters", &parameters_text(checkpoint.n_parameters())).note(count_text(checkpoint.n_parameters())),
        fact("File size", &bytes_text(checkpoint.size_bytes)).note(exact_bytes_text(checkpoint.size_bytes)),
        fact("Layers", &number(|config| config.n_layers)).note(count_of(checkpoint.tensors.len(), "tensor")),
        fact("Context length", &number(|config| config.n_ctx_train)).note("tokens"),
        fact("Vocabulary", &number(|config| config.n_vocab)).note("tokens"),
    ]
}

fn architecture_rows(config: &CheckpointConfig) -> Vec<(&'static str, String)> {
    let class_name = if config.class_name.is_empty() { &config.model_type } else { &config.class_name };
    let mut rows = vec![
        ("Architecture", if class_name.is_empty() { "unknown".into() } else { class_name.clone() }),
        ("Embedding length", or_unknown(config.n_embd)),
        ("Feed-forward length", or_unknown(config.n_ff)),
        ("Attention heads", or_unknown(config.n_heads)),
        ("KV heads", or_unknown(config.n_kv_heads)),
        ("Head dimension", or_unknown(config.head_dim)),
    ];
    if config.n_experts > 0 {
        rows.push(("Experts", count_text(config.n_experts)));
    }
    if let Some(window) = config.sliding_window {
        rows.push(("Sliding window", format!("{} tokens", count_text(window))));
    }
    if let Some(scaling) = &config.rope_scaling {
        rows.push(("RoPE scaling", scaling.clone()));
    }
    rows.push(("Tied embeddings", if config.has_tied_embeddings { "yes" } else { "no" }.into()));
    rows
}

fn files_ui(ui: &mut Ui, checkpoint: &Checkpoint, commands: &mut Vec<Command>) {
    let actions = |ui: &mut Ui| {
        if small_button(ui, "Show in folder", "Show in folder").clicked() {
            commands.push(Command::Reveal(checkpoint.path.clone()));
        }
    };
    crate::ui::kit::widgets::card_with_actions(ui, "Files", actions, |ui| {
        let dtypes: Vec<&str> = checkpoint.weights_by_dtype().iter().map(|row| row.0.name()).collect();
        let rows = [
            ("Format", "safetensors".to_string()),
            ("Files", count_text(checkpoint.files.len() as u64)),
            ("Data types", if dtypes.is_empty() { "none".into() } else { dtypes.join(", ") }),
            ("Tokenizer", checkpoint.tokenizer_class.clone().unwrap_or_else(|| "not stated".into())),
            ("Chat template", checkpoint.chat_template_file.clone().unwrap_or_else(|| "none".into())),
            ("Generation settings", if checkpoint.has_generation_config { "generation_config.json" } else { "none" }.into()),
        ];
        key_value_grid(ui, &rows);
    });
}

/// Mark, name, and what was found.
fn item_ui(ui: &mut Ui, item: &CheckItem) {
    const NAME_WIDTH: f32 = 116.0;
    const STATE_WIDTH: f32 = 60.0;
    const MARK_WIDTH: f32 = 16.0;
    let p = theme::palette(ui);
    let tone = match item.state {
        CheckState::Ok => Tone::Good,
        CheckState::Warning => Tone::Warn,
        CheckState::Blocked => Tone::Bad,
    };
    let y = ui.cursor().top() - ui.spacing().item_spacing.y / 2.0;
    ui.painter().hline(ui.max_rect().x_range(), y, Stroke::new(1.0, p.line));
    ui.horizontal_top(|ui| {
        let (rect, _) = ui.allocate_exact_size(egui::Vec2::splat(MARK_WIDTH), Sense::hover());
        icons::paint(ui.painter(), rect, tone.icon(), tone.color(ui));
        let cell = |ui: &mut Ui, width: f32, text: RichText| {
            ui.allocate_ui_with_layout(vec2(width, 0.0), egui::Layout::top_down(egui::Align::Min), |ui| {
                ui.set_width(width);
                ui.label(text);
            });
        };
        cell(ui, NAME_WIDTH, RichText::new(item.name).font(theme::strong_font()));
        cell(ui, STATE_WIDTH, RichText::new(item.state.label()).color(tone.color(ui)));
        ui.add(Label::new(RichText::new(sentence(&item.text)).color(p.text_secondary)).wrap().selectable(true));
    });
}
