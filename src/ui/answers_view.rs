//! The answers of two files to one prompt, side by side, with the place where they part.

use std::path::{Path, PathBuf};

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    self, Align, Color32, ComboBox, CornerRadius, DragValue, Frame, Label, Layout, Margin, RichText, TextEdit, Ui,
};

use super::theme;
use super::widgets::{self, Tone};
use crate::bench::{Answer, AnswerEnd, AnswerOutcome, Divergence, agreement_text, first_divergence};
use crate::error::Error;
use crate::model::Model;
use crate::state::{AskForm, Command, Form, JobKind, JobRecord, JobStatus, Store};
use crate::units::{bytes_text, count_text, tokens_per_sec_text};

/// Stands before the first token that differs.
const MARK: &str = "≠";
/// Stands there in the answer that is over.
const END_MARK: &str = "≠ ends here";

/// A card that is narrower has the settings in two rows.
const ONE_ROW_WIDTH: f32 = 960.0;

/// Draws the card and the gap below it: prompt, the two files, how they answer, the answers.
pub fn answers_view_ui(ui: &mut Ui, store: &Store, model: &Model, form: &mut Form, commands: &mut Vec<Command>) {
    let files = files(store, model);
    let job = store.latest_job(|kind| matches!(kind, JobKind::Answer(_)));
    widgets::card(ui, "Side by side", |ui| {
        prompt_ui(ui, &mut form.ask);
        settings_ui(ui, &files, &mut form.ask, job, commands);
        if let Some(job) = job.filter(|job| is_worth_showing(job)) {
            super::queue::job_ui(ui, job, commands);
        }
        if !store.answers.is_empty() {
            ui.add_space(theme::UNIT);
            answers_ui(ui, &store.answers, &files, &form.ask, job, commands);
        }
    });
    widgets::card_gap(ui);
}

fn is_worth_showing(job: &JobRecord) -> bool {
    job.is_open() || matches!(&job.status, JobStatus::Failed(error) if *error != Error::Cancelled)
}

/// A file that can be asked.
struct File {
    path: PathBuf,
    /// `Source`, `Q4_K_M`.
    name: String,
    size_bytes: u64,
}

impl File {
    fn text(&self) -> String {
        format!("{} ({})", self.name, bytes_text(self.size_bytes))
    }
}

/// The source and all files made from it.
fn files(store: &Store, model: &Model) -> Vec<File> {
    let source = File { path: model.path.clone(), name: "Source".into(), size_bytes: model.size_bytes };
    let made =
        store.conversions.iter().map(|made| File { path: made.path.clone(), name: made.name(), size_bytes: made.size_bytes });
    std::iter::once(source).filter(|_| model.is_runnable()).chain(made).collect()
}

/// The user's choice while it is still in the list, else the fallback.
fn chosen<'a>(files: &'a [File], wanted: Option<&Path>, fallback: Option<&'a File>) -> Option<&'a File> {
    wanted.and_then(|path| files.iter().find(|file| file.path == path)).or(fallback)
}

fn prompt_ui(ui: &mut Ui, ask: &mut AskForm) {
    let label = ui.label(RichText::new("Prompt").color(theme::muted(ui)));
    ui.add(
        TextEdit::multiline(&mut ask.prompt)
            .hint_text("A question or an instruction, as you would type it into a chat")
            .desired_rows(2)
            .desired_width(f32::INFINITY)
            .margin(Margin::symmetric(10, 8)),
    )
    .labelled_by(label.id);
}

fn settings_ui(ui: &mut Ui, files: &[File], ask: &mut AskForm, job: Option<&JobRecord>, commands: &mut Vec<Command>) {
    let first = chosen(files, ask.first.as_deref(), files.first());
    let second = chosen(files, ask.second.as_deref(), files.last());
    let obstacle = obstacle(ask, [first, second], job);
    let is_wide = ui.available_width() >= ONE_ROW_WIDTH;
    ui.horizontal(|ui| {
        file_ui(ui, "First file", files, first, &mut ask.first);
        file_ui(ui, "Second file", files, second, &mut ask.second);
        if is_wide && numbers_ui(ui, ask, obstacle) {
            commands.push(command(first, second));
        }
    });
    if !is_wide {
        ui.horizontal(|ui| {
            if numbers_ui(ui, ask, obstacle) {
                commands.push(command(first, second));
            }
        });
    }
}

fn command(first: Option<&File>, second: Option<&File>) -> Command {
    Command::Ask(first.into_iter().chain(second).map(|file| file.path.clone()).collect())
}

/// Why the files cannot be asked now; empty when they can.
fn obstacle(ask: &AskForm, [first, second]: [Option<&File>; 2], job: Option<&JobRecord>) -> &'static str {
    if job.is_some_and(JobRecord::is_open) {
        "The files are being asked"
    } else if ask.prompt.trim().is_empty() {
        "Write a prompt first"
    } else if first.map(|file| &file.path) == second.map(|file| &file.path) {
        "Choose two different files"
    } else {
        ""
    }
}

/// How they answer, and the button; true when it was clicked.
fn numbers_ui(ui: &mut Ui, ask: &mut AskForm, obstacle: &str) -> bool {
    let label = ui.label(RichText::new("Answer tokens").color(theme::muted(ui)));
    ui.add(DragValue::new(&mut ask.max_tokens).range(1..=8192).speed(1.0))
        .labelled_by(label.id)
        .on_hover_text("The most tokens of an answer; a model may end earlier by itself");
    let label = ui.label(RichText::new("Temperature").color(theme::muted(ui)));
    ui.add(DragValue::new(&mut ask.temperature).range(0.0..=2.0).speed(0.01).fixed_decimals(2))
        .labelled_by(label.id)
        .on_hover_text("0: always the likeliest token. More: chosen by chance, the more the higher");
    let label = ui.label(RichText::new("Seed").color(theme::muted(ui)));
    ui.add_enabled(ask.temperature > 0.0, DragValue::new(&mut ask.seed).range(0..=u32::MAX).speed(0.1))
        .labelled_by(label.id)
        .on_hover_text("Start of the random numbers: the same seed gives the same answer")
        .on_disabled_hover_text("Nothing is left to chance at temperature 0");
    let button = ui.add_enabled_ui(obstacle.is_empty(), |ui| widgets::primary_button(ui, "Ask both")).inner;
    button.on_disabled_hover_text(obstacle).clicked()
}

fn file_ui(ui: &mut Ui, name: &str, files: &[File], chosen: Option<&File>, choice: &mut Option<PathBuf>) {
    let label = ui.label(RichText::new(name).color(theme::muted(ui)));
    let response = ComboBox::from_id_salt(name)
        .width(160.0)
        .selected_text(chosen.map(File::text).unwrap_or_default())
        .show_ui(ui, |ui| {
            for file in files {
                let is_chosen = chosen.is_some_and(|chosen| chosen.path == file.path);
                let response = ui.selectable_label(is_chosen, file.text());
                if response.on_hover_text(file.path.display().to_string()).clicked() {
                    *choice = Some(file.path.clone());
                }
            }
        })
        .response
        .labelled_by(label.id);
    if let Some(chosen) = chosen {
        response.on_hover_text(chosen.path.display().to_string());
    }
}

fn answers_ui(
    ui: &mut Ui,
    outcomes: &[AnswerOutcome],
    files: &[File],
    ask: &AskForm,
    job: Option<&JobRecord>,
    commands: &mut Vec<Command>,
) {
    let is_running = job.is_some_and(JobRecord::is_open);
    let answer_of = |idx: usize| outcomes.get(idx).and_then(|outcome| outcome.result.as_deref().ok());
    let (first, second) = (answer_of(0), answer_of(1));
    if let Some(asked) = first.or(second).map(|answer| answer.prompt.trim()).filter(|asked| *asked != ask.prompt.trim()) {
        let text = format!("Answers to: {}", asked.replace('\n', " "));
        ui.add(Label::new(RichText::new(&text).color(theme::palette(ui).text_secondary)).truncate()).on_hover_text(asked);
    }
    let mut divergence = None;
    if let (Some(first), Some(second)) = (first, second) {
        divergence = first_divergence(first, second);
        let text = agreement_text(first, second);
        match divergence {
            Some(_) => widgets::notice(ui, Tone::Neutral, &format!("{text}: {MARK} marks the place")),
            None if first.end.is_some() && second.end.is_some() => widgets::notice(ui, Tone::Good, &text),
            None if second.tokens.is_empty() => {}
            None => widgets::notice(ui, Tone::Neutral, &text),
        }
    }
    // Both columns need the list of wishes: one after the other.
    let mut wishes = Vec::new();
    widgets::two_columns(
        ui,
        0.5,
        |ui| outcome_ui(ui, outcomes.first(), files, divergence, is_running, commands),
        |ui| outcome_ui(ui, outcomes.get(1), files, divergence, is_running, &mut wishes),
    );
    commands.append(&mut wishes);
    if let Some(answer) = first.or(second).filter(|answer| !answer.runtime.is_empty()) {
        let text = widgets::sentence(&answer.settings_text());
        ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
    }
}

fn outcome_ui(
    ui: &mut Ui,
    outcome: Option<&AnswerOutcome>,
    files: &[File],
    divergence: Option<Divergence>,
    is_running: bool,
    commands: &mut Vec<Command>,
) {
    let Some(outcome) = outcome else {
        if is_running {
            let text = "Waits for the first answer: two models at once would slow each other.";
            ui.add(Label::new(RichText::new(text).color(theme::muted(ui))).wrap());
        }
        return;
    };
    let known = files.iter().find(|file| file.path == outcome.path);
    let name = known.map_or_else(|| outcome.path.display().to_string(), |file| file.name.clone());
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 24.0;
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Ok(answer) = &outcome.result
                && !answer.text.is_empty()
            {
                widgets::copy_button(ui, &format!("answer of {name}"), || answer.text.clone(), commands);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.label(RichText::new(&name).font(theme::strong_font())).on_hover_text(outcome.path.display().to_string());
                if let Ok(answer) = &outcome.result {
                    let facts = RichText::new(facts_text(answer, is_running)).color(theme::palette(ui).text_secondary);
                    ui.add(Label::new(facts).truncate())
                        .on_hover_text("The speed is of this one answer; Measure gives it with error bars");
                }
            });
        });
    });
    match &outcome.result {
        Ok(answer) => answer_ui(ui, answer, divergence),
        Err(error) => widgets::error_banner(ui, error, commands),
    }
}

/// `41.8 tok/s · 24 tokens · ended by itself`.
fn facts_text(answer: &Answer, is_running: bool) -> String {
    let n_tokens = answer.tokens.len();
    let tokens = if n_tokens == 1 { "1 token".to_string() } else { format!("{} tokens", count_text(n_tokens as u64)) };
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

fn answer_ui(ui: &mut Ui, answer: &Answer, divergence: Option<Divergence>) {
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
            if answer.text.is_empty() && divergence.is_none() {
                ui.label(RichText::new("Ended at once, without text").color(p.muted));
            } else {
                ui.add(Label::new(marked_text(ui, answer, divergence)).wrap().selectable(true));
            }
        });
}

/// The text; from the place on where it parts from the other, on a ground of its own behind a mark.
fn marked_text(ui: &Ui, answer: &Answer, divergence: Option<Divergence>) -> LayoutJob {
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
    let Some(divergence) = divergence else {
        job.append(&answer.text, 0.0, plain);
        return job;
    };
    let (same, other) = divergence.split(answer);
    job.append(same, 0.0, plain);
    job.append(if other.is_empty() { END_MARK } else { MARK }, 2.0, format(p.warn, p.warn_soft));
    job.append(other, 0.0, format(p.text, p.warn_soft));
    job
}
