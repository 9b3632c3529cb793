//! The answer of the Compare page: which file to take, why, and what to do with it.

use std::path::Path;

use eframe::egui::{CornerRadius, Frame, Label, Margin, RichText, Stroke, Ui};

use crate::bench::{ComparisonRow, Headline};
use crate::deploy::{llama_cli_command, mlx_command, ollama_command};
use crate::model::{Framework, Model};
use crate::state::Command;
use crate::ui::kit::loss_view;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};

/// Draws the card. `rows` are those that the headline was made from; `beside` is one more line in small type, empty for none.
pub fn headline_ui(
    ui: &mut Ui,
    model: &Model,
    headline: &Headline,
    rows: &[ComparisonRow],
    beside: &str,
    commands: &mut Vec<Command>,
) {
    let Some(row) = rows.get(headline.row_idx) else { return };
    let tone = if headline.has_won { Tone::Good } else { Tone::Warn };
    Frame::new()
        .fill(tone.ground(ui))
        .stroke(Stroke::new(1.0, tone.color(ui)))
        .corner_radius(CornerRadius::same(theme::CARD_RADIUS))
        .inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 14 })
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            words_ui(ui, headline, row, tone);
            ui.add_space(theme::UNIT);
            ui.horizontal_wrapped(|ui| actions_ui(ui, model, row, commands));
            if !beside.is_empty() {
                ui.label(RichText::new(beside).small().color(theme::palette(ui).text_secondary));
            }
        });
    widgets::card_gap(ui);
}

fn words_ui(ui: &mut Ui, headline: &Headline, row: &ComparisonRow, tone: Tone) {
    ui.horizontal_wrapped(|ui| {
        let what = if headline.has_won { "Take this one" } else { "None passes yet" };
        ui.label(RichText::new(what).small().color(tone.color(ui)));
        if let Some(verdict) = &row.verdict {
            loss_view::verdict_badge(ui, verdict);
        }
        if let Some(run) = &row.quality {
            ui.label(RichText::new("loss").small().color(theme::palette(ui).text_secondary));
            loss_view::loss_label(ui, Some(run.summary.mean_kld), Some(run.summary.same_top));
        }
    });
    let title = widgets::heading_ui(ui, RichText::new(&headline.title).heading());
    title.on_hover_text(crate::advise::WORDS_ARE_TOKENS);
    let mut lines = vec![headline.reason.clone()];
    lines.extend(Some(headline.gain.clone()).filter(|gain| !gain.is_empty()));
    lines.extend(Some(headline.advice.clone()).filter(|advice| !advice.is_empty()));
    for line in lines {
        ui.add(Label::new(widgets::sentence(&line)).wrap());
    }
    for wish in &headline.refused_wishes {
        ui.label(RichText::new(widgets::sentence(wish)).color(theme::warn(ui)));
    }
}

/// What can be done with the file: show it, copy its path, copy how to run it.
fn actions_ui(ui: &mut Ui, model: &Model, row: &ComparisonRow, commands: &mut Vec<Command>) {
    if widgets::small_button(ui, "Open folder", "Open the folder of the winner").on_hover_text(path_text(&row.path)).clicked() {
        commands.push(Command::Reveal(row.path.clone()));
    }
    let mut copy = |ui: &mut Ui, text: &str, name: &str, copied: String, note: &str| {
        let hover = if note.is_empty() { copied.clone() } else { format!("{copied}\n\n{note}") };
        if widgets::small_button(ui, text, name).on_hover_text(hover).clicked() {
            commands.push(Command::Copy(copied));
        }
    };
    copy(ui, "Copy path", "Copy the path of the winner", path_text(&row.path), "");
    if row.is_for(Framework::Mlx) {
        let note = "On a Mac with mlx-lm. The folder carries tokenizer and chat template.";
        copy(ui, "Copy for mlx-lm", "Copy the command for mlx-lm", mlx_command(&row.path), note);
        return;
    }
    copy(ui, "Copy for llama-cli", "Copy the command for llama-cli", llama_cli_command(&row.path), template_note(model));
    let ollama = ollama_command(&row.path, &model.file_stem(), &row.name.replace(" (source)", ""));
    let note = format!("Ollama keeps its own copy of the file. {}", template_note(model));
    copy(ui, "Copy for Ollama", "Copy the commands for Ollama", ollama, note.trim());
}

/// Says whether the file has the chat template that conversations need.
fn template_note(model: &Model) -> &'static str {
    if model.metadata.find("tokenizer.chat_template").is_some() {
        "The file carries the chat template that conversations need."
    } else {
        "The file has no chat template: it completes text, and conversations need a template of yours."
    }
}

fn path_text(path: &Path) -> String {
    crate::path_text::shown(path)
}
