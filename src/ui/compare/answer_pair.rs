//! The answers of two files to one prompt, side by side: what both say, what differs, and a vote without knowing whose they are.

use std::sync::Arc;

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{self, Align, Color32, CornerRadius, Frame, Label, Layout, Margin, RichText, Stroke, Ui};

use crate::bench::{
    Answer, AnswerEnd, AnswerOutcome, Piece, Realigned, Vote, agreement_text, first_divergence, is_swapped, realigned,
};
use crate::state::{AskForm, Command};
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::units::{count_of, count_text, percent_text, tokens_per_sec_text};

/// Stands before the first stretch that differs.
const MARK: &str = "≠";
/// Stands at the end of the answer that is over where the other goes on.
const END_MARK: &str = "≠ ends here";

/// The answers to one prompt.
pub struct Pair<'a> {
    /// Index of the prompt.
    pub prompt_idx: usize,
    /// The answers of both files in the order of asking, each with its file's name; fewer while they are being asked.
    pub outcomes: Vec<(&'a AnswerOutcome, String)>,
    /// True while answers may still come.
    pub is_running: bool,
}

impl Pair<'_> {
    fn answer(&self, idx: usize) -> Option<&Arc<Answer>> {
        self.outcomes.get(idx).and_then(|(outcome, _)| outcome.result.as_ref().ok())
    }

    /// The prompt without the space around it; `None` while there is no answer.
    pub fn prompt(&self) -> Option<&str> {
        self.answer(0).or(self.answer(1)).map(|answer| answer.prompt.trim())
    }

    /// Both answers, once both are complete.
    fn both(&self) -> Option<(&Arc<Answer>, &Arc<Answer>)> {
        let is_over = |answer: &&Arc<Answer>| answer.end.is_some();
        self.answer(0).filter(is_over).zip(self.answer(1).filter(is_over))
    }
}

/// Which answer stands on one side, and under which name.
#[derive(Clone, Copy)]
struct Side<'a> {
    idx: usize,
    /// `Answer A` while the names are hidden.
    hidden_name: Option<&'a str>,
}

/// Draws the prompt if it is wanted, the agreement, both answers, and the vote where the user wants a blind one.
pub fn pair_ui(ui: &mut Ui, pair: &Pair<'_>, shows_prompt: bool, ask: &mut AskForm, commands: &mut Vec<Command>) {
    if let Some(asked) = pair.prompt().filter(|_| shows_prompt) {
        let text = format!("Answers to: {}", asked.replace('\n', " "));
        ui.add(Label::new(RichText::new(&text).color(theme::palette(ui).text_secondary)).truncate()).on_hover_text(asked);
    }
    let has_failed = pair.outcomes.iter().any(|(outcome, _)| outcome.result.is_err());
    if ask.is_blind && pair.both().is_none() && !has_failed {
        let text = "The answers are shown when both are complete, on sides chosen by chance";
        ui.label(RichText::new(if pair.is_running { text } else { "Broken off" }).color(theme::muted(ui)));
        return;
    }
    let swapped = pair.both().is_some_and(|(first, second)| ask.is_blind && is_swapped(first, second));
    let is_known =
        !ask.is_blind || has_failed || ask.votes.contains_key(&pair.prompt_idx) || ask.revealed.contains(&pair.prompt_idx);
    let aligned = pair.answer(0).zip(pair.answer(1)).map(|(first, second)| cached(ui, pair.prompt_idx, first, second));
    agreement_ui(ui, pair, aligned.as_deref(), is_known);
    let (left, right) = if swapped { (1, 0) } else { (0, 1) };
    let side = |idx, name| Side { idx, hidden_name: (!is_known).then_some(name) };
    // Only one of the two closures can borrow the list of commands: the other fills a list of its own.
    let mut wishes = Vec::new();
    widgets::two_columns(
        ui,
        0.5,
        |ui| outcome_ui(ui, pair, side(left, "Answer A"), aligned.as_deref(), commands),
        |ui| outcome_ui(ui, pair, side(right, "Answer B"), aligned.as_deref(), &mut wishes),
    );
    commands.append(&mut wishes);
    if ask.is_blind && pair.both().is_some() {
        vote_ui(ui, pair, is_known, [left, right], ask);
    }
}

/// Draws the question which answer is better, or the vote. Once the names are shown there is nothing to vote on.
fn vote_ui(ui: &mut Ui, pair: &Pair<'_>, is_known: bool, sides: [usize; 2], ask: &mut AskForm) {
    let vote_for = |idx: usize| if idx == 0 { Vote::First } else { Vote::Second };
    let voted = ask.votes.get(&pair.prompt_idx).copied();
    ui.add_space(theme::UNIT);
    ui.horizontal_wrapped(|ui| {
        if let Some(vote) = voted {
            let name = |idx: usize| pair.outcomes.get(idx).map(|(_, name)| name.as_str()).unwrap_or_default();
            let text = match vote {
                Vote::First => format!("Your vote: {}", name(0)),
                Vote::Second => format!("Your vote: {}", name(1)),
                Vote::Same => "Your vote: the same".to_string(),
            };
            ui.label(RichText::new(text).font(theme::strong_font()));
            return;
        }
        if is_known {
            ui.label(RichText::new("No vote: the names were shown before").color(theme::muted(ui)));
            return;
        }
        let choices =
            [("A is better", vote_for(sides[0])), ("B is better", vote_for(sides[1])), ("They are the same", Vote::Same)];
        for (text, vote) in choices {
            if widgets::line_button(ui, text).clicked() {
                ask.votes.insert(pair.prompt_idx, vote);
            }
        }
        if widgets::small_button(ui, "Show names", "Show names").on_hover_text("Without a vote").clicked() {
            ask.revealed.insert(pair.prompt_idx);
        }
    });
}

fn agreement_ui(ui: &mut Ui, pair: &Pair<'_>, aligned: Option<&Realigned>, is_known: bool) {
    let (Some(first), Some(second), Some(aligned)) = (pair.answer(0), pair.answer(1), aligned) else { return };
    let text = agreement_text(first, second);
    // Which one ends first would tell whose it is.
    let text = if is_known { text } else { text.replace("the first ends", "one ends").replace("the second ends", "one ends") };
    match first_divergence(first, second) {
        Some(_) => {
            let same = percent_text(aligned.same_part());
            let text = format!("{text}: {MARK} marks the place. {same} of the text is the same, in order; the rest is marked");
            widgets::notice(ui, Tone::Neutral, &text);
        }
        None if first.end.is_some() && second.end.is_some() => widgets::notice(ui, Tone::Good, &text),
        None if second.tokens.is_empty() => {}
        None => widgets::notice(ui, Tone::Neutral, &text),
    }
}

/// Draws the settings with which both files were asked.
pub fn settings_note_ui(ui: &mut Ui, answer: &Answer) {
    let text = widgets::sentence(&answer.settings_text());
    ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
}

fn outcome_ui(ui: &mut Ui, pair: &Pair<'_>, side: Side<'_>, aligned: Option<&Realigned>, commands: &mut Vec<Command>) {
    let Some((outcome, name)) = pair.outcomes.get(side.idx) else {
        if pair.is_running {
            let text = "Waits for the first answer: two models at once would slow each other down.";
            ui.add(Label::new(RichText::new(text).color(theme::muted(ui))).wrap());
        }
        return;
    };
    let shown_name = side.hidden_name.unwrap_or(name);
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 24.0;
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Ok(answer) = &outcome.result
                && !answer.text.is_empty()
            {
                widgets::copy_button(ui, &format!("answer of {shown_name}"), || answer.text.clone(), commands);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let label = ui.label(RichText::new(shown_name).font(theme::strong_font()));
                if side.hidden_name.is_some() {
                    return;
                }
                label.on_hover_text(crate::path_text::shown(&outcome.path));
                if let Ok(answer) = &outcome.result {
                    let facts = RichText::new(facts_text(answer, pair.is_running)).color(theme::palette(ui).text_secondary);
                    ui.add(Label::new(facts).truncate())
                        .on_hover_text("The speed of this one answer; Measure gives speeds with error bars");
                }
            });
        });
    });
    match &outcome.result {
        Ok(answer) => answer_ui(ui, answer, marks(pair, side.idx, aligned)),
        Err(error) => widgets::error_banner(ui, error, commands),
    }
}

/// `41.8 tok/s · 24 tokens · 37 prompt tokens`.
fn facts_text(answer: &Answer, is_running: bool) -> String {
    let n_tokens = answer.tokens.len();
    let tokens = count_of(n_tokens, "token");
    let mut parts: Vec<String> = answer.tokens_per_sec.map(tokens_per_sec_text).into_iter().collect();
    parts.push(match (answer.end, is_running) {
        (None, true) if answer.template.is_none() => "loading…".into(),
        (None, true) if n_tokens == 0 => "reading the prompt…".into(),
        (None, true) => format!("{tokens} so far"),
        (None, false) => format!("{tokens}, broken off"),
        (Some(AnswerEnd::ByItself), _) => tokens,
        (Some(AnswerEnd::AtLimit), _) => format!("{tokens}, stopped at the limit"),
    });
    if answer.end.is_some() {
        parts.push(format!("{} prompt tokens", count_text(u64::from(answer.n_prompt_tokens))));
    }
    parts.join("  ·  ")
}

/// How an answer is marked: its pieces, and whether it ends where the other goes on.
struct Marks<'a> {
    pieces: &'a [Piece],
    ends_early: bool,
}

/// The marks of the answer at `idx`; `None` while nothing differs.
fn marks<'a>(pair: &Pair<'_>, idx: usize, aligned: Option<&'a Realigned>) -> Option<Marks<'a>> {
    let (first, second) = (pair.answer(0)?, pair.answer(1)?);
    first_divergence(first, second)?;
    let aligned = aligned?;
    let (own, other) = if idx == 0 { (&aligned.one, &aligned.other) } else { (&aligned.other, &aligned.one) };
    let is_same = |piece: &Piece| piece.is_same;
    let ends_early = own.last().is_none_or(is_same) && !other.last().is_none_or(is_same);
    Some(Marks { pieces: own, ends_early })
}

fn answer_ui(ui: &mut Ui, answer: &Answer, marks: Option<Marks<'_>>) {
    if let Some(note) = answer.template_note() {
        widgets::notice(ui, Tone::Warn, &widgets::sentence(note));
    }
    if answer.text.is_empty() && answer.end.is_none() {
        return;
    }
    let p = theme::palette(ui);
    Frame::new()
        .fill(p.well)
        .corner_radius(CornerRadius::same(theme::CONTROL_RADIUS))
        .inner_margin(Margin::symmetric(12, 10))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            if answer.text.is_empty() && marks.is_none() {
                ui.label(RichText::new("Ended at once, without text").color(p.muted));
            } else {
                ui.add(Label::new(marked_text(ui, answer, marks)).wrap().selectable(true));
            }
        });
}

/// The text; what the other answer does not say is highlighted and underlined, and a mark stands before the first such stretch.
fn marked_text(ui: &Ui, answer: &Answer, marks: Option<Marks<'_>>) -> LayoutJob {
    let p = theme::palette(ui);
    let font = egui::TextStyle::Body.resolve(ui.style());
    let format = |color: Color32, background: Color32| TextFormat {
        font_id: font.clone(),
        color,
        background,
        line_height: Some(20.0),
        ..TextFormat::default()
    };
    let mut job = LayoutJob::default();
    let plain = format(p.text, Color32::TRANSPARENT);
    let Some(marks) = marks else {
        job.append(&answer.text, 0.0, plain);
        return job;
    };
    let changed = TextFormat { underline: Stroke::new(1.0, p.warn), ..format(p.text, p.warn_soft) };
    let mut has_mark = false;
    for piece in marks.pieces {
        let text = answer.text.get(piece.range.clone()).unwrap_or_default();
        if piece.is_same {
            job.append(text, 0.0, plain.clone());
            continue;
        }
        if !has_mark {
            has_mark = true;
            job.append(MARK, 2.0, format(p.warn, p.warn_soft));
        }
        job.append(text, 0.0, changed.clone());
    }
    if marks.ends_early {
        job.append(END_MARK, 2.0, format(p.warn, p.warn_soft));
    }
    job
}

/// The aligned answers, computed once for each part that arrives: long ones take some milliseconds.
fn cached(ui: &Ui, prompt_idx: usize, first: &Arc<Answer>, second: &Arc<Answer>) -> Arc<Realigned> {
    memo::kept(ui, ("realigned", prompt_idx), [first, second].map(Same::of), || realigned(first, second))
}
