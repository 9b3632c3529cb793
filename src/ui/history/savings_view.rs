//! Levels of several models beside each other: size, loss against each one's own source, speed, and loss for each gigabyte saved.

use eframe::egui::{Align, Label, Layout, RichText, Ui};
use egui_extras::{Column as Width, TableBuilder};

use crate::bench::history::Saving;
use crate::deploy::own_losses;
use crate::ui::compare::plots;
use crate::ui::kit::figures::NumberColumns;
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::units::{nats_text, plus_minus_text, significant_text};

const HEADER_HEIGHT: f32 = 26.0;
const NOTHING: &str = "–";
/// Least width of a model's name, and the width of its level.
const MODEL_WIDTH: f32 = 140.0;
const LEVEL_WIDTH: f32 = 90.0;
const COLUMN_GAP: f32 = 14.0;

/// A column with numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Size,
    Source,
    Saved,
    Kld,
    Decode,
    LossPerGb,
}

const COLUMNS: [(Column, &str, &str, f32); 6] = [
    (Column::Size, "Size, GB", "Size of the file", 58.0),
    (Column::Source, "Source, GB", "Size of what its loss was measured against", 72.0),
    (Column::Saved, "Saved, GB", "How much smaller than its own source it is", 66.0),
    (Column::Kld, "Own loss, nats", "Mean KL divergence from its own source, with its 95 % error", 92.0),
    (Column::Decode, "Decode, tok/s", "Median and half the range of the rounds", 86.0),
    (Column::LossPerGb, "Loss per GB, nats/GB", "Loss divided by the gigabytes that are saved", 140.0),
];

/// Draws the card and the gap below it; nothing unless rows of two models or more are chosen.
pub fn savings_ui(ui: &mut Ui, savings: &[Saving]) {
    if savings.is_empty() {
        return;
    }
    widgets::card(ui, "Models side by side", |ui| {
        let text =
            "Each loss is against the model's own source: it tells what the level cost that model, not which model is better.";
        ui.add(Label::new(RichText::new(text).color(theme::muted(ui))).wrap());
        let texts: Vec<&String> = savings.iter().filter_map(|saving| saving.text_sha256.as_ref()).collect();
        if texts.windows(2).any(|pair| pair.first() != pair.last()) {
            let text = "The losses were measured on different texts and cannot be compared";
            widgets::notice(ui, Tone::Warn, text);
        }
        if savings.iter().any(|saving| saving.mean_kld.is_some() && saving.source_bytes.is_none()) {
            let text = "The size of a source is not in the history: measure its speed once, with its levels";
            widgets::notice(ui, Tone::Neutral, text);
        }
        ui.add_space(theme::UNIT);
        table_ui(ui, savings);
        let files: Vec<_> = savings
            .iter()
            .filter_map(|saving| {
                let name = format!("{} {}", saving.model, saving.level);
                Some((name, saving.level.parse().ok(), saving.size_bytes, saving.mean_kld?))
            })
            .collect();
        if files.len() > 1 {
            ui.add_space(theme::UNIT * 2.0);
            plots::bare_scatter_ui(ui, own_losses(&files));
        }
    });
    widgets::card_gap(ui);
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn number_text(saving: &Saving, column: Column) -> Option<String> {
    let gb = |size_bytes: u64| significant_text(size_bytes as f64 / 1e9);
    match column {
        Column::Size => Some(gb(saving.size_bytes)),
        Column::Source => saving.source_bytes.map(gb),
        Column::Saved => saving.saved_bytes().map(gb),
        Column::Kld => saving.mean_kld.map(|kld| kld.text(nats_text)),
        Column::Decode => saving.decode.map(|(mid, spread)| plus_minus_text(mid, spread)),
        Column::LossPerGb => saving.loss_per_gb().map(nats_text),
    }
}

fn table_ui(ui: &mut Ui, savings: &[Saving]) {
    let all: Vec<Column> = COLUMNS.iter().map(|column| column.0).collect();
    let numbers = NumberColumns::of(ui, &all, savings, |column, saving| number_text(saving, column));
    let widths: Vec<f32> = COLUMNS.iter().map(|&(column, _, _, least)| numbers.width(column, least)).collect();
    #[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
    let gaps = COLUMN_GAP * (widths.len() as f32 + 1.0);
    sideways_ui(ui, "savings", MODEL_WIDTH + LEVEL_WIDTH + gaps + widths.iter().sum::<f32>(), |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        let mut table = TableBuilder::new(ui)
            .striped(true)
            .vscroll(false)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Width::remainder().at_least(MODEL_WIDTH).clip(true))
            .column(Width::exact(LEVEL_WIDTH).clip(true));
        for &width in &widths {
            table = table.column(Width::exact(width));
        }
        table
            .header(HEADER_HEIGHT, |mut header| {
                for name in ["Model", "Level"] {
                    header.col(|ui| {
                        ui.label(RichText::new(name).small().strong());
                    });
                }
                for (_, name, explanation, _) in COLUMNS {
                    header.col(|ui| {
                        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                            ui.label(RichText::new(name).small().strong()).on_hover_text(explanation);
                        });
                    });
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, savings.len(), |mut line| {
                    let Some(saving) = savings.get(line.index()) else { return };
                    for text in [&saving.model, &saving.level] {
                        line.col(|ui| {
                            ui.add(Label::new(RichText::new(text).font(theme::strong_font())).truncate());
                        });
                    }
                    for (column, ..) in COLUMNS {
                        line.col(|ui| {
                            let p = theme::palette(ui);
                            let text = number_text(saving, column);
                            let color = if text.is_some() { p.text } else { p.muted };
                            numbers.cell_ui(ui, column, text.as_deref().unwrap_or(NOTHING), color);
                        });
                    }
                });
            });
    });
}
