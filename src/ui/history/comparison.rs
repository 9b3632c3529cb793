//! Runs of the history beside each other, with what changed against the first.

use eframe::egui::{self, Align, Label, Layout, RichText, Stroke, Ui, vec2};

use crate::bench::history::{Change, Comparison, FactLine, Judgement, NumberLine, Quantity};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::kit::{glossary, theme};

/// Width of the names at the left.
const NAME_WIDTH: f32 = 190.0;
/// Least width of a run.
const RUN_WIDTH: f32 = 200.0;
/// Widest that a run gets: with one or two the numbers must not lie far apart.
const MAX_RUN_WIDTH: f32 = 420.0;
/// Between two runs.
const GAP: f32 = 16.0;
/// This many digits of a hash tell files apart.
const HASH_DIGITS: usize = 12;

/// Draws the card; a single run is shown alone.
pub fn comparison_ui(ui: &mut Ui, comparison: &Comparison) {
    let Some(first) = comparison.runs.first() else { return };
    let is_alone = comparison.runs.len() == 1;
    let title = if is_alone { format!("Run {}", first.id) } else { format!("Compared with run {}", first.id) };
    for note in &comparison.notes {
        widgets::notice(ui, Tone::Warn, &widgets::sentence(note));
        widgets::card_gap(ui);
    }
    widgets::card(ui, &title, |ui| {
        #[allow(clippy::cast_precision_loss, reason = "a handful of runs")]
        let share = (ui.available_width() - NAME_WIDTH) / comparison.runs.len() as f32 - GAP - 1.0;
        let width = share.clamp(RUN_WIDTH, MAX_RUN_WIDTH);
        #[allow(clippy::cast_precision_loss, reason = "a handful of runs")]
        let least_width = NAME_WIDTH + (width + GAP) * comparison.runs.len() as f32;
        sideways_ui(ui, "compared runs", least_width, |ui| {
            ui.spacing_mut().item_spacing = vec2(GAP, 0.0);
            header_ui(ui, comparison, width);
            for line in &comparison.numbers {
                number_line_ui(ui, line, width);
            }
            // What differs first: it is what explains the numbers.
            let (differing, same): (Vec<_>, Vec<_>) = comparison.facts.iter().partition(|fact| fact.differs);
            for fact in differing.into_iter().chain(same) {
                fact_line_ui(ui, fact, width);
            }
        });
    });
}

/// One line of cells, with a hairline above it.
fn line_ui(ui: &mut Ui, add: impl FnOnce(&mut Ui)) {
    let top = ui.cursor().min;
    let bar = ui.painter().add(egui::Shape::Noop);
    ui.add_space(5.0);
    let width = ui.horizontal_top(add).response.rect.width();
    ui.add_space(5.0);
    let stroke = Stroke::new(1.0, theme::palette(ui).line);
    ui.painter().set(bar, egui::Shape::hline(top.x..=top.x + width, top.y, stroke));
}

fn header_ui(ui: &mut Ui, comparison: &Comparison, width: f32) {
    ui.horizontal_top(|ui| {
        cell_ui(ui, NAME_WIDTH, |_| {});
        for row in &comparison.runs {
            cell_ui(ui, width, |ui| {
                let title = format!("Run {}: {}", row.id, row.short_name());
                ui.add(Label::new(RichText::new(title).font(theme::strong_font())).truncate());
            });
        }
    });
    ui.add_space(5.0);
}

fn number_line_ui(ui: &mut Ui, line: &NumberLine, width: f32) {
    line_ui(ui, |ui| {
        cell_ui(ui, NAME_WIDTH, |ui| {
            name_ui(ui, line.quantity.label(), term_of(line.quantity));
        });
        for (value, change) in line.values.iter().zip(&line.changes) {
            cell_ui(ui, width, |ui| {
                let Some(value) = value else {
                    ui.label(RichText::new("–").color(theme::muted(ui)));
                    return;
                };
                ui.label(RichText::new(line.quantity.value_text(*value)).font(theme::strong_font()));
                if let Some(change) = change {
                    let (text, color) = change_text(ui, line.quantity, change);
                    ui.add(Label::new(RichText::new(text).small().color(color)).wrap());
                }
            });
        }
    });
}

/// The change with its word: the colour is not needed to read it.
fn change_text(ui: &Ui, quantity: Quantity, change: &Change) -> (String, egui::Color32) {
    let text = quantity.change_text(change);
    match change.judgement {
        Judgement::Better => (format!("{text}, better"), theme::good(ui)),
        Judgement::Worse => (format!("{text}, worse"), theme::bad(ui)),
        Judgement::Unclear => (format!("{text}, not clear"), theme::muted(ui)),
        Judgement::Same => (text, theme::muted(ui)),
    }
}

fn fact_line_ui(ui: &mut Ui, fact: &FactLine, width: f32) {
    line_ui(ui, |ui| {
        cell_ui(ui, NAME_WIDTH, |ui| {
            let name = if fact.differs { format!("{} (differs)", fact.name) } else { fact.name.to_string() };
            name_ui(ui, &name, fact.name);
        });
        let color = if fact.differs { theme::palette(ui).text } else { theme::palette(ui).text_secondary };
        for value in &fact.values {
            cell_ui(ui, width, |ui| {
                let short = value.get(..HASH_DIGITS).filter(|_| fact.name.ends_with("SHA-256"));
                let shown = if value.is_empty() { "–" } else { short.unwrap_or(value) };
                let response = ui.add(Label::new(RichText::new(shown).color(color)).wrap());
                if short.is_some() {
                    response.on_hover_text(value);
                }
            });
        }
    });
}

fn name_ui(ui: &mut Ui, name: &str, term: &str) {
    let response = ui.add(Label::new(RichText::new(name).color(theme::palette(ui).text_secondary)).wrap());
    if let Some(explanation) = glossary::explain(term) {
        response.on_hover_text(explanation);
    }
}

/// The term of the glossary that explains a quantity.
fn term_of(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Decode => "decode",
        Quantity::Prefill => "prefill",
        Quantity::MeanKld => "kl divergence",
        Quantity::PplRatio => "perplexity",
        Quantity::Size | Quantity::Load | Quantity::PeakMemory | Quantity::SameTop => "",
    }
}

/// A cell of a fixed width, filled from the top.
fn cell_ui(ui: &mut Ui, width: f32, add: impl FnOnce(&mut Ui)) {
    ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 2.0;
        add(ui);
    });
}
