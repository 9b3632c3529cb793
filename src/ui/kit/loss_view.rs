//! A verdict and a loss as every page shows them: a badge for the one, a word with the number behind it for the other.

use eframe::egui::{Label, Response, RichText, Sense, Ui};

use super::theme;
use super::widgets::{self, Tone};
use crate::advise::{Decision, Interval, LossWord, LossWords, Verdict, same_words_text, scale_text};
use crate::bench::ComparisonRow;
use crate::units::nats_text;

/// The tone of a decision on quality.
#[must_use]
pub fn decision_tone(decision: Decision) -> Tone {
    match decision {
        Decision::Pass => Tone::Good,
        Decision::Inconclusive => Tone::Warn,
        Decision::Fail => Tone::Bad,
    }
}

/// A badge with the verdict on quality; its tooltip goes gate by gate.
pub fn verdict_badge(ui: &mut Ui, verdict: &Verdict) -> Response {
    widgets::badge(ui, verdict.decision.label(), decision_tone(verdict.decision)).on_hover_text(gates_text(verdict))
}

/// One line for each gate.
#[must_use]
pub fn gates_text(verdict: &Verdict) -> String {
    let line = |gate: &crate::advise::GateResult| format!("{} {}: {}", gate.decision.label(), gate.kind.label(), gate.text());
    if verdict.gates.is_empty() { "No gate is on".into() } else { verdict.gates.iter().map(line).collect::<Vec<_>>().join("\n") }
}

/// The loss in a word, with a question mark where the error bars reach into worse ones; its tooltip has the numbers behind it
/// and what the words mean. `unknown` unless both numbers are known.
pub fn loss_label(ui: &mut Ui, mean_kld: Option<Interval>, same_top: Option<Interval>) -> Response {
    let words = mean_kld.zip(same_top).and_then(|(kld, top)| LossWords::of(kld, top));
    let (text, color) = match words {
        Some(words) => (words.short_text(), word_color(ui, words.word)),
        None => ("unknown".into(), theme::muted(ui)),
    };
    let label = ui.add(Label::new(RichText::new(text).color(color)).sense(Sense::hover()));
    label.on_hover_ui(|ui| {
        ui.set_max_width(460.0);
        let mut lines: Vec<String> = words.map(|words| widgets::sentence(&words.text())).into_iter().collect();
        lines.extend(same_top.map(|top| widgets::sentence(&same_words_text(top.value))));
        lines.extend(mean_kld.map(|kld| format!("Mean KL divergence {} nats", kld.text(nats_text))));
        ui.label(format!("{}\n\n{}", lines.join("\n"), scale_text()));
    })
}

/// The colour beside a word: small losses need no attention.
pub fn word_color(ui: &Ui, word: LossWord) -> eframe::egui::Color32 {
    match word {
        LossWord::None | LossWord::HardToNotice | LossWord::Slight => ui.visuals().text_color(),
        LossWord::Noticeable => theme::warn(ui),
        LossWord::Broken => theme::bad(ui),
    }
}

/// Draws the mark of a measurement that cannot be compared with others as it is: a word, with the reason as its tooltip.
pub fn origin_ui(ui: &mut Ui, origin: &str) {
    let mark = ui.label(RichText::new("differs").small().color(theme::warn(ui)));
    mark.on_hover_text(widgets::sentence(origin));
}

/// Draws how well each file meets the wishes, in words; nothing without a wish.
pub fn wishes_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    for row in rows.iter().filter(|row| !row.wishes.is_empty()) {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(&row.name).font(theme::strong_font()));
            for wish in &row.wishes {
                let color = if wish.decision == Decision::Fail { theme::warn(ui) } else { theme::muted(ui) };
                ui.label(RichText::new(widgets::sentence(&wish.text())).color(color));
            }
        });
    }
}
