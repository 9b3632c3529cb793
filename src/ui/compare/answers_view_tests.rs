//! The answers side by side, driven by accessible names. With `PLANISH_SHOTS=folder` they are also drawn.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Role, Ui, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::answers_view::answers_view_ui;
use crate::bench::answers::test_answers::answer;
use crate::bench::{Answer, AnswerEnd, AnswerOutcome};
use crate::convert::Conversion;
use crate::error::Error;
use crate::model::Level;
use crate::monitor::{Progress, ProgressUnit};
use crate::runtime::TemplateUse;
use crate::state::{AskForm, Command, CompareTab, Form, JobKind, JobRecord, JobStatus, Store, Theme};
use crate::ui::compare_page_ui;
use crate::ui::layout_check::check_layout;
use crate::ui::test_support::{PageState, click, has, page_harness_sized, shoot, store_with_model_and_machine};
use crate::worker::JobId;

const PROMPT: &str = "Why is the sky blue?";
pub const FIRST: [&str; 12] = [
    "The",
    " sky",
    " appears",
    " blue",
    " because",
    " of",
    " a",
    " phenomenon",
    " called",
    " Rayleigh",
    " scattering",
    ": light of short wavelengths is scattered far more by the molecules of the air than light of long ones.\n\nAt sunset its way through the air is longer, so most of the blue is gone before it arrives.",
];
pub const SECOND: [&str; 11] = [
    "The",
    " sky",
    " appears",
    " blue",
    " because",
    " of",
    " the",
    " way",
    " light",
    " is",
    " reflected by the oceans. The oceans are blue because they reflect the sky, and so the sky is blue as well.",
];

fn source() -> PathBuf {
    store_with_model_and_machine().model.ready().unwrap().path.clone()
}

fn made(level: Level) -> PathBuf {
    source().with_file_name(format!("m-{level}.gguf"))
}

/// A model with two levels.
fn store() -> Store {
    let mut store = store_with_model_and_machine();
    for (level, size_bytes) in [(Level::Q8_0, 144_811_392), (Level::Q2_K, 88_200_000)] {
        store.conversions.push(Conversion {
            level,
            path: made(level),
            source: source(),
            size_bytes,
            bits_per_weight: 6.0,
            elapsed_secs: 1.0,
            warnings: Vec::new(),
            check: None,
            changes: String::new(),
        });
    }
    store
}

pub fn outcome(path: PathBuf, pieces: &[&str], change: impl FnOnce(&mut Answer)) -> AnswerOutcome {
    let mut answer = Answer { path: path.clone(), prompt: PROMPT.into(), ..answer(pieces) };
    change(&mut answer);
    AnswerOutcome { path, prompt_idx: 0, result: Ok(Arc::new(answer)) }
}

fn answered() -> Store {
    let answers = vec![
        outcome(source(), &FIRST, |_| {}),
        outcome(made(Level::Q2_K), &SECOND, |answer| {
            (answer.tokens_per_sec, answer.end) = (Some(63.2), Some(AnswerEnd::AtLimit));
        }),
    ];
    Store { answers, ..store() }
}

/// The first has just begun, the second waits.
fn running() -> Store {
    let mut store = store();
    let going_on = |answer: &mut Answer| (answer.tokens_per_sec, answer.end) = (None, None);
    store.answers = vec![outcome(source(), &FIRST[..5], going_on)];
    let progress = Progress { stage: "asking SmolLM2".into(), done: 5, total: 256, unit: ProgressUnit::Steps };
    let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 1.2, is_cancelling: false };
    store.jobs.push(JobRecord::new(JobId(9), JobKind::Answer(2)).with_status(status));
    store
}

fn form() -> Form {
    Form { ask: AskForm { prompt: PROMPT.into(), ..AskForm::default() }, ..Form::default() }
}

fn view_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let model = store.model.ready().unwrap();
    answers_view_ui(ui, store, model, form, commands);
}

fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(view_ui, store, form, vec2(1140.0, 800.0), 1.0, egui::Theme::Dark)
}

#[test]
fn source_and_latest_level_are_asked_unless_others_are_chosen() {
    let mut harness = harness(store(), form());
    click(&mut harness, "Ask both");
    harness.get_by_role_and_label(Role::ComboBox, "First file").click();
    harness.run();
    harness.get_by_role_and_label(Role::Button, "Q8_0 (138 MiB)").click();
    harness.run();
    click(&mut harness, "Ask both");
    harness.get_by_role_and_label(Role::ComboBox, "Second file").click();
    harness.run();
    harness.get_by_role_and_label(Role::Button, "Source (93.8 MiB)").click();
    harness.run();
    click(&mut harness, "Ask both");
    let expected = [
        Command::Ask(vec![source(), made(Level::Q2_K)]),
        Command::Ask(vec![made(Level::Q8_0), made(Level::Q2_K)]),
        Command::Ask(vec![made(Level::Q8_0), source()]),
    ];
    assert_eq!(harness.state().commands, expected);
}

#[test]
fn prompt_and_settings_are_typed() {
    let mut harness = harness(store(), Form { ask: AskForm { prompt: String::new(), ..AskForm::default() }, ..Form::default() });
    let is_disabled = |harness: &Harness<'_, PageState>, label: &str| harness.get_by_label(label).accesskit_node().is_disabled();
    assert!(is_disabled(&harness, "Ask both"), "there is no prompt");
    harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt").focus();
    harness.run();
    harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt").type_text("why?\nhow?");
    harness.run();
    assert!(!is_disabled(&harness, "Ask both"));
    let number = |harness: &mut Harness<'_, PageState>, label: &str, value: f64| {
        harness.get_by_role_and_label(Role::SpinButton, label).set_value_accesskit(value);
        harness.run();
    };
    assert!(harness.get_by_role_and_label(Role::SpinButton, "Seed").accesskit_node().is_disabled(), "nothing is left to chance");
    number(&mut harness, "Answer tokens", 64.0);
    number(&mut harness, "Temperature", 0.8);
    number(&mut harness, "Seed", 42.0);
    let ask = harness.state().form.ask.clone();
    let expected = AskForm { prompt: "why?\nhow?".into(), max_tokens: 64, temperature: 0.8, seed: 42, ..AskForm::default() };
    assert_eq!(ask, expected);
}

#[test]
fn a_file_is_not_asked_beside_itself() {
    let mut form = form();
    form.ask.first = Some(made(Level::Q2_K));
    let harness = harness(store(), form);
    assert!(harness.get_by_label("Ask both").accesskit_node().is_disabled());
}

#[test]
fn answers_grow_and_can_be_stopped() {
    let mut harness = harness(running(), form());
    assert!(harness.get_by_label("Ask both").accesskit_node().is_disabled());
    assert!(has(&harness, "5 tokens so far") && has(&harness, "Waits for the first answer"));
    assert!(has(&harness, "The sky appears blue because"));
    click(&mut harness, "Cancel Ask 2 files");
    assert_eq!(harness.state().commands, [Command::Cancel(JobId(9))]);
    // What had come stays.
    let mut store = running();
    store.jobs[0].status = JobStatus::Failed(Error::Cancelled);
    let harness = self::harness(store, form());
    assert!(has(&harness, "5 tokens, broken off") && !has(&harness, "ancelled"));
    let mut store = running();
    store.answers[0] = outcome(source(), &[], |answer| (answer.template, answer.end) = (None, None));
    assert!(has(&self::harness(store, form()), "loading…"));
}

#[test]
fn the_place_where_answers_part_is_told_and_marked() {
    let mut harness = harness(answered(), form());
    assert!(has(&harness, "Same for 6 tokens, then they differ: ≠ marks the place"));
    assert!(has(&harness, "because of≠ a phenomenon") && has(&harness, "because of≠ the way"));
    assert!(has(&harness, "41.8 tok/s  ·  12 tokens  ·  37 prompt tokens"));
    assert!(has(&harness, "63.2 tok/s  ·  11 tokens, stopped at the limit"));
    assert!(has(&harness, "Greedy, llama.cpp 0.6.0, CPU icelake (AVX512), 2 threads"));
    click(&mut harness, "Copy answer of Q2_K");
    click(&mut harness, "Copy answer of Source");
    assert_eq!(harness.state().commands, [Command::Copy(SECOND.concat()), Command::Copy(FIRST.concat())]);
    let mut store = answered();
    store.answers[1] = outcome(made(Level::Q2_K), &FIRST[..4], |_| {});
    let harness = self::harness(store, form());
    assert!(has(&harness, "Same for 4 tokens, then the second ends") && has(&harness, "blue≠ ends here"));
}

#[test]
fn equal_answers_have_no_mark() {
    let mut store = answered();
    store.answers[1] = outcome(made(Level::Q2_K), &FIRST, |_| {});
    let harness = harness(store, form());
    assert!(has(&harness, "The same, all 12 tokens") && !has(&harness, "≠"));
}

#[test]
fn what_both_say_behind_the_difference_is_not_marked() {
    let mut store = answered();
    store.answers[0] = outcome(source(), &["The", " sky", " is", " blue", "."], |_| {});
    store.answers[1] = outcome(made(Level::Q2_K), &["The", " sea", " is", " blue", "."], |_| {});
    let harness = harness(store, form());
    assert!(has(&harness, "Same for 1 token, then they differ"));
    assert!(has(&harness, "75.0 % of the text is the same"), "24 of 32 bytes");
    assert!(has(&harness, "The≠ sky is blue.") && has(&harness, "The≠ sea is blue."));
}

#[test]
fn several_prompts_are_asked_one_by_one() {
    let mut harness = harness(store(), form());
    click(&mut harness, "Add a prompt");
    click(&mut harness, "Add a prompt");
    for (label, text) in [("Prompt 2", "Why?"), ("Prompt 3", "How?\nWhen?")] {
        harness.get_by_role_and_label(Role::MultilineTextInput, label).focus();
        harness.run();
        harness.get_by_role_and_label(Role::MultilineTextInput, label).type_text(text);
        harness.run();
    }
    assert_eq!(harness.state().form.ask.prompts(), [PROMPT, "Why?", "How?\nWhen?"]);
    click(&mut harness, "Remove Prompt 2");
    assert_eq!(harness.state().form.ask.prompts(), [PROMPT, "How?\nWhen?"]);
    harness.state_mut().form.ask = AskForm { prompt: "one\n\ntwo\nthree".into(), ..AskForm::default() };
    harness.run();
    click(&mut harness, "One prompt a line");
    assert_eq!(harness.state().form.ask.prompts(), ["one", "two", "three"]);
}

/// Two prompts with the answers of both files; the answers to the second are the same.
fn twice() -> Store {
    let mut store = answered();
    let again = store.answers.clone().into_iter().map(|outcome| AnswerOutcome { prompt_idx: 1, ..outcome });
    store.answers.extend(again.collect::<Vec<_>>());
    store
}

#[test]
fn a_blind_vote_hides_the_names_until_it_is_given_and_is_counted() {
    let mut form = form();
    form.ask.is_blind = true;
    let mut harness = page_harness_sized(view_ui, twice(), form, vec2(1140.0, 1400.0), 1.0, egui::Theme::Dark);
    assert_eq!(harness.query_all_by_label("Answer A").count(), 2);
    assert!(!has(&harness, "41.8 tok/s") && !has(&harness, "63.2 tok/s"), "the speed would tell");
    let left_is_first = |harness: &Harness<'_, PageState>| {
        let left = |text: &str| harness.query_all_by_label_contains(text).next().unwrap().rect().left();
        left("because of≠ a phenomenon") < left("because of≠ the way")
    };
    let is_first_left = left_is_first(&harness);
    harness.get_all_by_label("A is better").next().unwrap().click();
    harness.run();
    let (first, second) = if is_first_left { (1, 0) } else { (0, 1) };
    assert!(has(&harness, &format!("Votes: Source {first}, Q2_K {second}, the same 0")));
    assert!(has(&harness, "41.8 tok/s") && has(&harness, "Your vote: "));
    assert_eq!(left_is_first(&harness), is_first_left, "the sides stay");
    assert_eq!(harness.query_all_by_label("Answer A").count(), 1, "the other prompt is still blind");
    click(&mut harness, "Show names");
    assert!(has(&harness, "No vote: the names were shown before"));
    assert_eq!(harness.query_all_by_label("Answer A").count(), 0);
    click(&mut harness, "Ask both");
    assert!(harness.state().form.ask.votes.is_empty(), "new answers, new votes");
}

#[test]
fn a_blind_vote_waits_for_both_answers() {
    let mut form = form();
    form.ask.is_blind = true;
    let harness = harness(running(), form);
    assert!(has(&harness, "The answers are shown when both are complete") && !has(&harness, "The sky appears"));
}

#[test]
fn what_is_unusual_is_told() {
    let mut store = answered();
    store.answers[0] = outcome(source(), &FIRST, |answer| answer.template = Some(TemplateUse::Missing));
    store.answers[1].result = Err(Error::ChildDied { reason: "signal: 9".into(), path: made(Level::Q2_K) });
    let mut form = form();
    form.ask.prompt = "Something else?".into();
    let harness = harness(store, form);
    assert!(has(&harness, "The model has no chat template: it continued the bare prompt"));
    assert!(has(&harness, "The measuring process died (signal: 9)"));
    assert!(has(&harness, "Answers to: Why is the sky blue?"));
    assert!(!has(&harness, "≠"), "nothing to compare with");
}

#[test]
fn the_card_is_a_tab_of_the_compare_page() {
    let form = Form { compare_tab: CompareTab::Answers, ..form() };
    let mut harness = page_harness_sized(compare_page_ui, answered(), form, vec2(1140.0, 900.0), 1.0, egui::Theme::Dark);
    click(&mut harness, "Ask both");
    assert_eq!(harness.state().commands, [Command::Ask(vec![source(), made(Level::Q2_K)])]);
}

#[test]
fn nothing_is_wider_than_the_view() {
    for width in [700.0, 820.0, 1140.0, 1500.0] {
        let mut store = answered();
        store.answers[0] = outcome(source(), &["unbroken".repeat(80).as_str()], |_| {});
        let mut form = form();
        form.ask.prompt = format!("{}?", "long ".repeat(100));
        let harness = page_harness_sized(view_ui, store, form, vec2(width, 1200.0), 1.0, egui::Theme::Light);
        check_layout(&harness);
    }
}

/// Draws the view for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn pictures() {
    for (variant, name, theme) in [(egui::Theme::Dark, "dark", Theme::Dark), (egui::Theme::Light, "light", Theme::Light)] {
        let mut odd = answered();
        odd.answers[0] = outcome(source(), &SECOND[..6], |answer| answer.template = Some(TemplateUse::Missing));
        for (store, what, width) in
            [(store(), "before", 1140.0), (running(), "running", 1140.0), (answered(), "after", 1140.0), (odd, "odd", 820.0)]
        {
            let form = Form { theme, ..form() };
            let mut harness = page_harness_sized(view_ui, store, form, vec2(width, 520.0), 1.0, variant);
            shoot(&mut harness, &format!("answers-{what}-{name}"));
        }
        let form = Form { theme, ..form() };
        let mut harness = page_harness_sized(compare_page_ui, answered(), form, vec2(1140.0, 1700.0), 1.0, variant);
        shoot(&mut harness, &format!("answers-page-{name}"));
    }
}
