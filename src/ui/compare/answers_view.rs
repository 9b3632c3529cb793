//! Two files are asked the same prompts: the prompts, the files and the settings. The answers themselves are in `answer_pair`.

use std::path::{Path, PathBuf};

use eframe::egui::{ComboBox, DragValue, Margin, RichText, TextEdit, Ui};

use super::answer_pair::{self, Pair};
use crate::bench::{AnswerOutcome, Tally};
use crate::error::Error;
use crate::model::Model;
use crate::path_text;
use crate::state::{AskForm, Command, Form, JobKind, JobRecord, JobStatus, Store};
use crate::ui::kit::drop_down::{NUMBER_WIDTH, drop_down_ui, entry_ui, field_name_ui};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::units::bytes_text;

/// A card that is narrower has the settings in two rows.
const ONE_ROW_WIDTH: f32 = 1060.0;
/// More prompts than this are a benchmark, not a look.
const MAX_PROMPTS: usize = 20;

/// Draws the card and the gap below it: prompt, the two files, how they answer, the answers.
pub fn answers_view_ui(ui: &mut Ui, store: &Store, model: &Model, form: &mut Form, commands: &mut Vec<Command>) {
    let files = files(store, model);
    let job = store.latest_job(|kind| matches!(kind, JobKind::Answer(_)));
    widgets::card(ui, "Side by side", |ui| {
        prompts_ui(ui, &mut form.ask);
        settings_ui(ui, &files, &mut form.ask, job, commands);
        if let Some(job) = job.filter(|job| is_worth_showing(job)) {
            crate::ui::jobs::queue::job_ui(ui, job, commands);
        }
        if !store.answers.is_empty() {
            ui.add_space(theme::UNIT);
            answers_ui(ui, &store.answers, &files, &mut form.ask, job, commands);
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

/// The source, if it can run, and all files made from it.
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

fn prompts_ui(ui: &mut Ui, ask: &mut AskForm) {
    let has_more = !ask.more_prompts.is_empty();
    prompt_ui(ui, if has_more { "Prompt 1" } else { "Prompt" }, &mut ask.prompt, Removable::No);
    let mut removed = None;
    for (idx, prompt) in ask.more_prompts.iter_mut().enumerate() {
        if prompt_ui(ui, &format!("Prompt {}", idx + 2), prompt, Removable::Yes) {
            removed = Some(idx);
        }
    }
    if let Some(idx) = removed {
        ask.more_prompts.remove(idx);
    }
    ui.horizontal(|ui| {
        let can_add = ask.more_prompts.len() + 1 < MAX_PROMPTS;
        let button = ui.add_enabled_ui(can_add, |ui| widgets::small_button(ui, "Add a prompt", "Add a prompt")).inner;
        if button.on_hover_text("Both files are asked each prompt by itself").clicked() {
            ask.more_prompts.push(String::new());
        }
        let lines = ask.prompt.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > 1 && widgets::small_button(ui, "One prompt a line", "One prompt a line").clicked() {
            split_lines(ask);
        }
    });
}

/// Makes each line of the first prompt a prompt of its own.
fn split_lines(ask: &mut AskForm) {
    let lines = ask.prompt.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.take(MAX_PROMPTS).map(String::from).collect();
    if lines.is_empty() {
        return;
    }
    ask.prompt = lines.remove(0);
    lines.append(&mut ask.more_prompts);
    lines.truncate(MAX_PROMPTS - 1);
    ask.more_prompts = lines;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Removable {
    Yes,
    No,
}

/// Draws the field of a prompt; true when the user removes it.
fn prompt_ui(ui: &mut Ui, name: &str, prompt: &mut String, removable: Removable) -> bool {
    let mut is_removed = false;
    let label = ui
        .horizontal(|ui| {
            let label = ui.label(RichText::new(name).color(theme::muted(ui)));
            if removable == Removable::Yes {
                is_removed = widgets::small_button(ui, "Remove", &format!("Remove {name}")).clicked();
            }
            label
        })
        .inner;
    ui.add(
        TextEdit::multiline(prompt)
            .hint_text("A question or an instruction, as you would type it into a chat")
            .desired_rows(2)
            .desired_width(f32::INFINITY)
            .margin(Margin::symmetric(10, 8)),
    )
    .labelled_by(label.id);
    is_removed
}

fn settings_ui(ui: &mut Ui, files: &[File], ask: &mut AskForm, job: Option<&JobRecord>, commands: &mut Vec<Command>) {
    let first = chosen(files, ask.first.as_deref(), files.first());
    let second = chosen(files, ask.second.as_deref(), files.last());
    let obstacle = obstacle(ask, [first, second], job);
    let is_wide = ui.available_width() >= ONE_ROW_WIDTH;
    ui.horizontal_wrapped(|ui| {
        file_ui(ui, "First file", files, first, &mut ask.first);
        file_ui(ui, "Second file", files, second, &mut ask.second);
        if is_wide && numbers_ui(ui, ask, obstacle) {
            start(ask, first, second, commands);
        }
    });
    if !is_wide {
        ui.horizontal_wrapped(|ui| {
            if numbers_ui(ui, ask, obstacle) {
                start(ask, first, second, commands);
            }
        });
    }
}

/// Asks both; votes on earlier answers mean nothing for the new ones.
fn start(ask: &mut AskForm, first: Option<&File>, second: Option<&File>, commands: &mut Vec<Command>) {
    ask.votes.clear();
    ask.revealed.clear();
    commands.push(Command::Ask(first.into_iter().chain(second).map(|file| file.path.clone()).collect()));
}

/// Why the files cannot be asked now; empty when they can.
fn obstacle(ask: &AskForm, [first, second]: [Option<&File>; 2], job: Option<&JobRecord>) -> &'static str {
    if job.is_some_and(JobRecord::is_open) {
        "The files are being asked"
    } else if ask.prompts().is_empty() {
        "Write a prompt first"
    } else if first.map(|file| &file.path) == second.map(|file| &file.path) {
        "Choose two different files"
    } else {
        ""
    }
}

/// Draws how the files answer, and the button; true when the button was clicked.
fn numbers_ui(ui: &mut Ui, ask: &mut AskForm, obstacle: &str) -> bool {
    let label = field_name_ui(ui, "Answer tokens", NUMBER_WIDTH);
    ui.add(DragValue::new(&mut ask.max_tokens).range(1..=8192).speed(1.0))
        .labelled_by(label.id)
        .on_hover_text("The most tokens of an answer; a model may end earlier by itself");
    let label = field_name_ui(ui, "Temperature", NUMBER_WIDTH);
    ui.add(DragValue::new(&mut ask.temperature).range(0.0..=2.0).speed(0.01).fixed_decimals(2))
        .labelled_by(label.id)
        .on_hover_text("0: always the likeliest token. The higher, the more is left to chance");
    let label = field_name_ui(ui, "Seed", NUMBER_WIDTH);
    ui.add_enabled(ask.temperature > 0.0, DragValue::new(&mut ask.seed).range(0..=u32::MAX).speed(0.1))
        .labelled_by(label.id)
        .on_hover_text("Start of the random numbers: the same seed gives the same answer")
        .on_disabled_hover_text("Nothing is left to chance at temperature 0");
    ui.checkbox(&mut ask.is_blind, "Blind").on_hover_text(
        "Shuffles the sides and hides which file gave which answer until you have voted for one; the votes are counted",
    );
    widgets::make_room_for_primary(ui, "Ask both");
    let button = ui.add_enabled_ui(obstacle.is_empty(), |ui| widgets::primary_button(ui, "Ask both")).inner;
    button.on_disabled_hover_text(obstacle).clicked()
}

fn file_ui(ui: &mut Ui, name: &str, files: &[File], chosen: Option<&File>, choice: &mut Option<PathBuf>) {
    let label = field_name_ui(ui, name, 160.0);
    let field = ComboBox::from_id_salt(name).width(160.0).selected_text(chosen.map(File::text).unwrap_or_default());
    let field = drop_down_ui(ui, field, |ui| {
        for file in files {
            let is_chosen = chosen.is_some_and(|chosen| chosen.path == file.path);
            let response = entry_ui(ui, is_chosen, file.text());
            if response.on_hover_text(path_text::shown(&file.path)).clicked() {
                *choice = Some(file.path.clone());
            }
        }
    });
    let response = field.labelled_by(label.id);
    if let Some(chosen) = chosen {
        response.on_hover_text(path_text::shown(&chosen.path));
    }
}

/// Draws the votes so far and the answers to each prompt.
fn answers_ui(
    ui: &mut Ui,
    outcomes: &[AnswerOutcome],
    files: &[File],
    ask: &mut AskForm,
    job: Option<&JobRecord>,
    commands: &mut Vec<Command>,
) {
    let is_running = job.is_some_and(JobRecord::is_open);
    let name_of = |outcome: &AnswerOutcome| {
        let known = files.iter().find(|file| file.path == outcome.path);
        known.map_or_else(|| path_text::shown(&outcome.path), |file| file.name.clone())
    };
    // Both files of the first prompt, in the order of asking.
    let asked: Vec<String> = outcomes.iter().filter(|outcome| outcome.prompt_idx == 0).map(name_of).collect();
    if let (Some(first), Some(second), true) = (asked.first(), asked.get(1), !ask.votes.is_empty()) {
        let tally = Tally::of(ask.votes.values().copied());
        widgets::notice(ui, Tone::Neutral, &format!("Votes: {}", tally.text(first, second)));
        ui.add_space(theme::UNIT);
    }
    let now = ask.prompts();
    let n_prompts = outcomes.iter().map(|outcome| outcome.prompt_idx + 1).max().unwrap_or(0);
    for prompt_idx in 0..n_prompts {
        let of_prompt: Vec<(&AnswerOutcome, String)> = outcomes
            .iter()
            .filter(|outcome| outcome.prompt_idx == prompt_idx)
            .map(|outcome| (outcome, name_of(outcome)))
            .collect();
        if prompt_idx > 0 {
            ui.add_space(theme::UNIT);
            ui.separator();
        }
        ui.push_id(prompt_idx, |ui| {
            let pair = Pair { prompt_idx, outcomes: of_prompt, is_running };
            let shows_prompt =
                n_prompts > 1 || pair.prompt().is_some_and(|asked| now.first().map(|now| now.trim()) != Some(asked));
            answer_pair::pair_ui(ui, &pair, shows_prompt, ask, commands);
        });
    }
    let settings = outcomes.iter().filter_map(|outcome| outcome.result.as_deref().ok()).find(|answer| !answer.runtime.is_empty());
    if let Some(answer) = settings {
        answer_pair::settings_note_ui(ui, answer);
    }
}
