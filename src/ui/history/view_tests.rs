//! The History tab, driven by accessible names. With `PLANISH_SHOTS=folder`, `history_pictures` also draws it.

use std::sync::Arc;

use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::view::history_view_ui;
use crate::bench::history::test_runs::{NOON, kept, quality, speed};
use crate::bench::history::{Comparison, ExportFormat, Measurement, NewRun};
use crate::error::Error;
use crate::state::{Command, CompareTab, Form, HistoryForm, Page, Slot, Store, Theme};
use crate::ui::test_support::{PageState, click, has, page_harness_sized, shoot, store_with_model_and_machine};
use crate::ui::window_ui;
use crate::units::local_day_text;
use crate::worker::JobId;

/// Six runs on two days. On the first day, runs 1 and 2 measure the speed and runs 4 and 5 the loss of the same two files; on
/// the second, run 3 is a speed from another machine, and run 6 a loss that was not decided.
fn runs() -> Vec<NewRun> {
    let at = |run: NewRun, days: i64, minutes: i64| NewRun { recorded_unix_secs: NOON + 86_400 * days + 60 * minutes, ..run };
    let server = NewRun {
        machine: "Intel Xeon Platinum 8488C with a very long name, 61.8 GiB".into(),
        ..speed("Q2_K", &[93.1, 88.4, 97.9])
    };
    let mut undecided = quality("Q2_K", &[0.61, 0.9, 0.75, 0.52, 0.83, 0.7]);
    if let Measurement::Quality(run) = &mut undecided.measurement {
        Arc::make_mut(run).verdict.decision = crate::advise::Decision::Inconclusive;
    }
    vec![
        at(speed("Q8_0", &[41.2, 40.6, 41.8]), 0, 0),
        at(speed("Q4_K_M", &[60.3, 62.0, 61.1]), 0, 1),
        at(server, 1, 0),
        at(quality("Q8_0", &[0.0021, 0.0034, 0.0018, 0.0040, 0.0025, 0.0030]), 0, 2),
        at(quality("Q4_K_M", &[0.031, 0.045, 0.027, 0.052, 0.036, 0.040]), 0, 3),
        at(undecided, 1, 1),
    ]
}

fn store(compared: &[i64]) -> (Store, Comparison) {
    let (rows, comparison) = kept(&runs(), compared);
    (Store { history: Slot::Ready(Arc::new(rows)), ..store_with_model_and_machine() }, comparison)
}

fn form_with(history: HistoryForm) -> Form {
    Form { page: Page::Compare, compare_tab: CompareTab::History, history, ..Form::default() }
}

/// Wide and high enough to show all of it.
fn harness_with(store: Store, form: HistoryForm) -> Harness<'static, PageState> {
    page_harness_sized(history_view_ui, store, form_with(form), vec2(1800.0, 1800.0), 1.0, egui::Theme::Dark)
}

fn harness() -> Harness<'static, PageState> {
    harness_with(store(&[1]).0, HistoryForm::default())
}

/// The names of all boxes, in the order of the numbers.
const BOXES: [&str; 4] = ["Select runs 1, 4", "Select runs 2, 5", "Select run 3", "Select run 6"];

/// Numbers of the first runs of the listed rows from top to bottom.
fn listed(harness: &Harness<'_, PageState>) -> Vec<i64> {
    let place = |(label, id): (&str, i64)| Some((harness.query_by_label(label)?.rect().top(), id));
    let mut rows: Vec<(f32, i64)> = BOXES.into_iter().zip([1, 2, 3, 6]).filter_map(place).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows.into_iter().map(|row| row.1).collect()
}

#[test]
fn levels_are_listed_by_model_and_day_with_speed_and_loss_together() {
    let harness = harness();
    assert_eq!(listed(&harness), [6, 3, 2, 1]);
    let (early, late) = (local_day_text(NOON), local_day_text(NOON + 86_400));
    for text in ["41.2 ± 0.6", "0.0028 ± 0.125", "93.8 ± 1.6", "PASS", "INCONCLUSIVE", "AMD Ryzen 7 PRO 7840U", "6 runs"] {
        assert!(has(&harness, text), "{text}");
    }
    assert!(has(&harness, "a very long name, 61.8 GiB (another)") && !has(&harness, "7840U, 27.3 GiB (another)"));
    assert!(harness.get_by_label(&late).rect().top() < harness.get_by_label(&early).rect().top());
    let top = |text: &str| harness.get_by_label_contains(text).rect().center().y;
    assert!((top("41.2 ± 0.6") - top("0.0028 ± 0.125")).abs() < 2.0, "one row");
}

#[test]
fn a_click_on_a_model_opens_it() {
    let mut harness = harness();
    harness.get_all_by_label("m").next().unwrap().click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::OpenModel("/models/m-Q2_K.gguf".into())], "the latest of the largest");
}

#[test]
fn earlier_days_are_shown_when_asked_for() {
    let runs: Vec<NewRun> =
        (0..50).map(|days| NewRun { recorded_unix_secs: NOON + 86_400 * days, ..speed("Q8_0", &[1.0]) }).collect();
    let store = Store { history: Slot::Ready(Arc::new(kept(&runs, &[1]).0)), ..Store::default() };
    let form = form_with(HistoryForm::default());
    let mut harness = page_harness_sized(history_view_ui, store, form, vec2(1140.0, 4500.0), 1.0, egui::Theme::Dark);
    let n_shown = |harness: &Harness<'_, PageState>| harness.get_all_by_role_and_label(egui::Role::Button, "m").count();
    assert_eq!(n_shown(&harness), 20);
    click(&mut harness, "Show 20 earlier");
    click(&mut harness, "Show 10 earlier");
    assert_eq!(n_shown(&harness), 50);
    assert!(!has(&harness, "earlier"));
}

#[test]
fn the_tab_is_there_without_a_model() {
    let store = Store { history: store(&[1]).0.history, ..Store::default() };
    let form = Form { page: Page::Compare, ..Form::default() };
    let mut harness = page_harness_sized(window_ui, store, form, vec2(1280.0, 800.0), 1.0, egui::Theme::Dark);
    assert!(has(&harness, "No model yet"));
    click(&mut harness, "History");
    assert!(has(&harness, "41.2 ± 0.6") && !has(&harness, "No model yet"));
}

#[test]
fn the_list_is_read_when_it_is_not_known() {
    let harness = harness_with(Store::default(), HistoryForm::default());
    assert!(has(&harness, "Reading the history"));
    assert_eq!(harness.state().commands.first(), Some(&Command::LoadHistory));
    let waiting = Store { history: Slot::Waiting { id: JobId(1) }, ..Store::default() };
    assert_eq!(harness_with(waiting, HistoryForm::default()).state().commands, []);
}

#[test]
fn an_empty_history_says_what_to_do() {
    let empty = Store { history: Slot::Ready(Arc::default()), ..Store::default() };
    let mut harness = harness_with(empty, HistoryForm::default());
    assert!(has(&harness, "Nothing measured yet"));
    click(&mut harness, "Go to Levels");
    assert_eq!(harness.state().form.compare_tab, CompareTab::Levels);
}

#[test]
fn a_history_that_cannot_be_read_says_why_and_is_tried_again() {
    let error = Error::HistoryTooNew { found: 9, known: 2, path: "/data/history.sqlite3".into() };
    let failed = Store { history: Slot::Failed(error), ..Store::default() };
    let mut harness = harness_with(failed, HistoryForm::default());
    assert!(has(&harness, "schema version 9") && has(&harness, "Update Planish"));
    click(&mut harness, "Try again");
    assert_eq!(harness.state().commands, [Command::LoadHistory]);
}

#[test]
fn runs_are_filtered_by_words() {
    let mut harness = harness();
    harness.get_by_label("Filter by model, level or machine").focus();
    harness.run();
    harness.get_by_label("Filter by model, level or machine").type_text("ryzen q4");
    harness.run();
    assert_eq!(listed(&harness), [2]);
    assert!(has(&harness, "2 of 6 runs"));
    harness.get_by_label("Filter by model, level or machine").type_text(" nothing");
    harness.run();
    assert!(has(&harness, "No run matches") && listed(&harness).is_empty());
}

#[test]
fn rows_are_sorted_within_their_day_with_unknown_values_last() {
    let mut harness = harness();
    let check = |harness: &mut Harness<'_, PageState>, label: &str, expected: [i64; 4]| {
        click(harness, label);
        assert_eq!(listed(harness), expected, "{label}");
    };
    check(&mut harness, "Sort by decode", [3, 6, 1, 2]);
    check(&mut harness, "Sort by decode", [6, 3, 2, 1]);
    check(&mut harness, "Sort by kld", [6, 3, 1, 2]);
    check(&mut harness, "Sort by same top", [6, 3, 2, 1]);
    check(&mut harness, "Sort by verdict", [6, 3, 2, 1]);
    check(&mut harness, "Sort by time", [3, 6, 1, 2]);
    check(&mut harness, "Sort by level", [6, 3, 2, 1]);
    check(&mut harness, "Sort by machine", [6, 3, 2, 1]);
    check(&mut harness, "Sort by runs", [3, 6, 1, 2]);
}

#[test]
fn the_first_chosen_row_is_what_the_others_are_held_against() {
    let mut harness = harness();
    assert!(harness.get_by_label("Compare").accesskit_node().is_disabled());
    click(&mut harness, "Select runs 2, 5");
    click(&mut harness, "Show 1 row");
    click(&mut harness, "Select runs 1, 4");
    click(&mut harness, "Select run 3");
    click(&mut harness, "Select run 3");
    assert!(has(&harness, "4 runs chosen"));
    click(&mut harness, "Compare 2 rows");
    let expected = [Command::CompareRuns(vec![vec![2, 5]]), Command::CompareRuns(vec![vec![2, 5], vec![1, 4]])];
    assert_eq!(harness.state().commands, expected);
    click(&mut harness, "Choose none");
    assert_eq!(harness.state().form.history.selected, [0; 0]);
}

#[test]
fn all_runs_of_the_table_are_chosen_at_once() {
    let mut harness =
        harness_with(store(&[1]).0, HistoryForm { selected: vec![1], filter: "q2".into(), ..HistoryForm::default() });
    click(&mut harness, "Select all runs of the table");
    assert_eq!(harness.state().form.history.selected, [1, 6, 3]);
    click(&mut harness, "Select all runs of the table");
    assert_eq!(harness.state().form.history.selected, [1], "what the filter hides stays chosen");
}

#[test]
fn runs_are_deleted_only_after_a_second_word() {
    let mut harness = harness();
    assert!(harness.get_by_label("Delete…").accesskit_node().is_disabled());
    click(&mut harness, "Select run 3");
    click(&mut harness, "Select runs 1, 4");
    click(&mut harness, "Delete…");
    assert!(has(&harness, "Delete 3 runs for good"));
    click(&mut harness, "Keep");
    assert!(!has(&harness, "for good") && harness.state().commands.is_empty());
    click(&mut harness, "Delete…");
    click(&mut harness, "Delete 3 runs");
    assert_eq!(harness.state().commands, [Command::DeleteRuns(vec![3, 1, 4])]);
    assert!(harness.state().form.history.selected.is_empty() && !has(&harness, "for good"));
}

#[test]
fn runs_that_are_gone_are_no_longer_chosen() {
    let form = HistoryForm { selected: vec![77, 2], ..HistoryForm::default() };
    assert_eq!(harness_with(store(&[1]).0, form).state().form.history.selected, [2]);
}

#[test]
fn the_choice_or_else_the_table_is_exported_in_its_order() {
    let mut harness = harness();
    click(&mut harness, "Sort by decode");
    click(&mut harness, "Export CSV");
    click(&mut harness, "Select runs 2, 5");
    click(&mut harness, "Select run 3");
    click(&mut harness, "Export JSON");
    let expected =
        [Command::ExportRuns(vec![3, 6, 1, 4, 2, 5], ExportFormat::Csv), Command::ExportRuns(vec![3, 2, 5], ExportFormat::Json)];
    assert_eq!(harness.state().commands, expected);
}

#[test]
fn a_finished_export_is_told_with_its_file() {
    let saved = Store { history_export: Some("/out/planish-history.csv".into()), ..store(&[1]).0 };
    let mut harness = harness_with(saved, HistoryForm::default());
    assert!(has(&harness, "Saved /out/planish-history.csv"));
    click(&mut harness, "Reveal export");
    assert_eq!(harness.state().commands, [Command::Reveal("/out/planish-history.csv".into())]);
}

fn with_comparison(compared: &[i64]) -> (Harness<'static, PageState>, Comparison) {
    let (mut store, comparison) = store(compared);
    store.history_comparison = Slot::Ready(Arc::new(comparison.clone()));
    (harness_with(store, HistoryForm { selected: compared.to_vec(), ..HistoryForm::default() }), comparison)
}

#[test]
fn compared_runs_stand_beside_each_other_with_what_changed() {
    let (harness, comparison) = with_comparison(&[4, 5, 6]);
    assert!(has(&harness, "Compared with run 4") && has(&harness, "Run 6: Q2_K"));
    for line in &comparison.numbers {
        for (value, change) in line.values.iter().zip(&line.changes) {
            assert!(value.is_none_or(|value| has(&harness, &line.quantity.value_text(value))), "{:?}", line.quantity);
            assert!(change.is_none_or(|change| has(&harness, &line.quantity.change_text(&change))), "{:?}", line.quantity);
        }
    }
    assert!(has(&harness, ", worse") && has(&harness, "Level (differs)") && has(&harness, "no change"));
    let left = |text: &str| harness.get_by_label_contains(text).rect().left();
    assert!(left("Run 4: Q8_0") < left("Run 5: Q4_K_M") && left("Run 5: Q4_K_M") < left("Run 6: Q2_K"));
}

#[test]
fn what_forbids_a_comparison_is_said() {
    let (harness, _) = with_comparison(&[1, 3]);
    assert!(has(&harness, "Run 3 was measured on another machine"));
    let (alone, _) = with_comparison(&[2]);
    assert!(has(&alone, "Run 2: Q4_K_M") && !has(&alone, "Compared with"));
}

#[test]
fn a_comparison_that_failed_says_why() {
    let failed = Store { history_comparison: Slot::Failed(Error::UnknownRun { id: 4 }), ..store(&[1]).0 };
    assert!(has(&harness_with(failed, HistoryForm::default()), "The history has no run 4"));
}

#[test]
fn levels_of_two_models_stand_side_by_side_with_their_own_losses() {
    let other = |mut run: NewRun| {
        if let Measurement::Quality(run) = &mut run.measurement {
            Arc::make_mut(run).path = "/models/other-Q4_K_M.gguf".into();
        }
        run
    };
    let source = NewRun { model_sha256: Some("f0".repeat(32)), ..speed("F16", &[20.0]) };
    let mut large = source;
    if let Measurement::Speed(run) = &mut large.measurement {
        run.size_bytes = 1_144_811_072;
    }
    let runs = [large, quality("Q8_0", &[0.5]), other(quality("Q4_K_M", &[0.25]))];
    let store = Store { history: Slot::Ready(Arc::new(kept(&runs, &[1]).0)), ..Store::default() };
    let form = HistoryForm { selected: vec![2], ..HistoryForm::default() };
    let mut harness = harness_with(store, form);
    assert!(!has(&harness, "Models side by side"), "one model");
    click(&mut harness, "Select run 3");
    assert!(has(&harness, "Models side by side") && has(&harness, "against the model's own source"));
    // A gigabyte saved: the loss itself.
    let card = harness.get_by_label("Models side by side").rect().bottom();
    for text in ["1.14", "1.00", "0.500", "0.250"] {
        assert!(harness.query_all_by_label(text).any(|node| node.rect().top() > card), "{text}");
    }
    assert!(has(&harness, "Size against loss; all numbers"));
}

/// Draws the page in its window for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn history_pictures() {
    let full = |compared: &[i64]| {
        let (mut store, comparison) = store(compared);
        store.history_comparison = Slot::Ready(Arc::new(comparison));
        store.history_export = Some("/home/ada/models/planish-history-2.csv".into());
        store
    };
    let scenes: [(&str, Store, HistoryForm); 4] = [
        ("quality", full(&[4, 5, 6]), HistoryForm { selected: vec![4, 5, 6], ..HistoryForm::default() }),
        ("speed", full(&[1, 3]), HistoryForm { selected: vec![1, 3], asks_delete: true, ..HistoryForm::default() }),
        ("list", store(&[1]).0, HistoryForm::default()),
        ("empty", Store { history: Slot::Ready(Arc::default()), ..Store::default() }, HistoryForm::default()),
    ];
    for (name, store, history) in scenes {
        for (variant, theme) in [(egui::Theme::Light, Theme::Light), (egui::Theme::Dark, Theme::Dark)] {
            for (width, height) in [(960.0, 600.0), (1280.0, 800.0), (1280.0, 1500.0)] {
                let form = Form { theme, ..form_with(history.clone()) };
                let mut harness = page_harness_sized(window_ui, store.clone(), form, vec2(width, height), 1.0, variant);
                shoot(&mut harness, &format!("history-{name}-{width}x{height}-{}", format!("{variant:?}").to_lowercase()));
            }
        }
    }
}
