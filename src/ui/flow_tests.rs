//! The way through the pages: next steps, the bar below a page, questions in front of it, messages; driven by accessible names.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Key, Modifiers, Role, accesskit, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::kit::toasts;
use super::test_support::{
    Dropped, PageState, click, has, page_harness, page_harness_sized, scroll, shoot, store_with_model_and_machine, unquantized_at,
};
use super::window_ui;
use crate::error::Error;
use crate::model::Level;
use crate::monitor::{Progress, ProgressUnit};
use crate::state::{Command, Dialog, Field, Form, JobKind, JobRecord, JobStatus, Leftovers, Page, Slot, Store, Tour, TourStep};
use crate::worker::JobId;

fn unquantized() -> Store {
    unquantized_at("/home/ada/models/SmolLM2-135M-F16.gguf".into())
}

fn window(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness(window_ui, store, form)
}

fn on(page: Page) -> Form {
    Form { page, ..Form::default() }
}

fn running(id: u64, levels: &[Level]) -> JobRecord {
    let progress = Progress { stage: "quantizing blk.3".into(), done: 42, total: 100, unit: ProgressUnit::Steps };
    let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 4.2, is_cancelling: false };
    let job = JobRecord::new(JobId(id), JobKind::Convert(levels.to_vec())).with_status(status);
    let path = |level: &Level| PathBuf::from(format!("/home/ada/models/SmolLM2-135M-{level}.gguf"));
    let outputs = levels.iter().map(path).collect();
    JobRecord { model: Some("/home/ada/models/SmolLM2-135M-F16.gguf".into()), outputs, ..job }
}

#[test]
fn each_page_leads_to_the_next_by_its_button_and_by_the_key() {
    let check = |store: Store, page: Page, button: &str, expected: Page| {
        let mut by_mouse = window(store.clone(), on(page));
        click(&mut by_mouse, button);
        assert_eq!(by_mouse.state().form.page, expected, "{page:?}");
        let mut by_key = window(store, on(page));
        by_key.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
        by_key.run();
        assert_eq!(by_key.state().form.page, expected, "{page:?}");
    };
    check(unquantized(), Page::Model, "Next: Plan", Page::Plan);
    check(unquantized(), Page::Machine, "Next: Plan", Page::Plan);
    let no_machine = Store { machine: Slot::Empty, ..unquantized() };
    check(no_machine, Page::Model, "Next: Machine", Page::Machine);
    let no_model = Store { model: Slot::Empty, ..unquantized() };
    check(no_model, Page::Machine, "Open a model", Page::Model);
    // Nothing is recommended for what is quantized already.
    check(store_with_model_and_machine(), Page::Plan, "Choose levels", Page::Optimize);
}

#[test]
fn the_plan_ends_in_one_button_that_does_it_all() {
    let store = unquantized();
    let plan = crate::advise::advise(store.model.ready().unwrap(), store.machine.ready().unwrap(), &Form::default().goal);
    let levels = plan.levels_to_compare(store.model.ready().unwrap());
    let mut harness = window(store, on(Page::Plan));
    shoot(&mut harness, "plan-bar");
    let button = harness.get_by_label_contains("Convert and compare (about ");
    button.click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::ConvertAndCompare(levels)]);
    // Not twice.
    let tour = Tour::new(vec![TourStep::Convert, TourStep::Measure, TourStep::Judge], JobId(7), "/m/a.gguf".into());
    harness.state_mut().store.tour = Some(tour);
    harness.run();
    let button = harness.get_by_label_contains("Convert and compare (about ");
    assert!(button.accesskit_node().is_disabled());
}

#[test]
fn a_chain_is_told_on_every_page_and_why_it_ended() {
    let mut store = unquantized();
    store.jobs.push(running(7, &[Level::Q8_0]));
    let tour = Tour::new(vec![TourStep::Convert, TourStep::Measure, TourStep::Judge], JobId(7), "/m/a.gguf".into());
    store.tour = Some(tour.clone());
    for page in [Page::Model, Page::Plan, Page::Optimize, Page::Compare] {
        let mut harness = window(store.clone(), on(page));
        assert!(has(&harness, "Step 1 of 3: converting  ·  42 %  ·  5.8 s left"), "{page:?}");
        click(&mut harness, "Cancel the work of this page");
        assert_eq!(harness.state().commands, [Command::Cancel(JobId(7))], "{page:?}");
    }
    let error = Error::NotEnoughSpace { needed_bytes: 2 << 30, free_bytes: 1 << 30, path: "/m".into() };
    let hint = error.hint();
    store.jobs[0].status = JobStatus::Failed(error.clone());
    store.tour = Some(Tour { failure: Some(error.clone()), ..tour });
    let mut harness = window(store, on(Page::Compare));
    assert!(has(&harness, &format!("Stopped while converting: {error}")));
    assert!(has(&harness, &super::kit::widgets::sentence(&hint)));
    click(&mut harness, "Dismiss the stopped chain");
    assert_eq!(harness.state().commands, [Command::ForgetTour]);
}

#[test]
fn five_levels_are_shown_until_all_are_wanted() {
    let mut harness = window(unquantized(), on(Page::Optimize));
    let shown = |harness: &Harness<'_, PageState>| {
        Level::all().filter(|level| harness.query_by_role_and_label(Role::CheckBox, level.name()).is_some()).collect::<Vec<_>>()
    };
    let usual = [Level::Q8_0, Level::Q6_K, Level::Q5_K_M, Level::Q4_K_M, Level::Q3_K_M];
    assert_eq!(shown(&harness), usual, "the recommended level is one of them");
    assert!(!has(&harness, "Choose at least one level"), "nothing was done yet that could be wrong");
    shoot(&mut harness, "optimize-usual");
    click(&mut harness, "All levels");
    assert!(shown(&harness).len() > 20);
    harness.get_by_role_and_label(Role::CheckBox, "F16").click();
    harness.run();
    click(&mut harness, "Usual");
    assert_eq!(shown(&harness).first(), Some(&Level::F16), "what is chosen is seen");
}

#[test]
fn the_bar_stays_while_the_page_scrolls() {
    for size in [vec2(1280.0, 800.0), vec2(960.0, 600.0)] {
        let form = Form { levels: [Level::Q8_0].into(), all_levels: true, ..on(Page::Optimize) };
        let mut harness = page_harness_sized(window_ui, unquantized(), form, size, 1.0, egui::Theme::Dark);
        let place = |harness: &Harness<'_, PageState>| harness.get_by_label_contains("Convert 1 level").rect();
        let before = place(&harness);
        scroll(&mut harness, egui::pos2(400.0, 300.0), vec2(0.0, -600.0), 10);
        assert!(harness.get_by_role_and_label(Role::CheckBox, "F32").rect().bottom() < 0.0, "{size:?}: the page did not scroll");
        assert_eq!(place(&harness), before, "{size:?}");
        assert!(before.bottom() < size.y && before.right() < size.x, "{size:?}: {before:?}");
    }
}

#[test]
fn what_is_being_made_is_not_offered_again() {
    let mut store = unquantized();
    store.jobs.push(running(7, &[Level::Q8_0, Level::Q4_K_M]));
    let form = Form { levels: [Level::Q8_0, Level::Q4_K_M].into(), ..on(Page::Optimize) };
    let mut harness = window(store, form);
    assert!(has(&harness, "Q8_0, Q4_K_M are being converted already"));
    assert!(harness.get_by_role_and_label(Role::Button, "Convert 2 levels").accesskit_node().is_disabled());
    assert!(has(&harness, "Convert SmolLM2-135M-F16 to Q8_0, Q4_K_M  ·  42 %"), "the queue names the model");
    harness.state_mut().form.levels.insert(Level::Q6_K);
    harness.run();
    harness.get_by_label_contains("Convert 1 level").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::Convert(vec![Level::Q6_K])]);
}

#[test]
fn a_level_that_is_being_made_cannot_be_chosen() {
    let mut store = unquantized();
    store.jobs.push(running(7, &[Level::Q8_0]));
    let mut harness = window(store, on(Page::Optimize));
    let card = harness.get_by_role_and_label(Role::CheckBox, "Q8_0");
    assert!(card.accesskit_node().is_disabled());
    card.click();
    harness.run();
    assert!(harness.state().form.levels.is_empty() && has(&harness, "being made"));
    harness.get_by_role_and_label(Role::CheckBox, "Q6_K").click();
    harness.run();
    assert_eq!(harness.state().form.levels, [Level::Q6_K].into());
}

#[test]
fn a_failed_conversion_is_told_in_the_bar_with_its_hint() {
    let mut store = unquantized();
    let error = Error::NotEnoughSpace { needed_bytes: 2 << 30, free_bytes: 1 << 30, path: "/m".into() };
    store.jobs.push(running(7, &[Level::Q8_0]).with_status(JobStatus::Failed(error.clone())));
    let mut harness = page_harness_sized(window_ui, store, on(Page::Optimize), vec2(960.0, 600.0), 1.0, egui::Theme::Dark);
    shoot(&mut harness, "optimize-failed");
    let text = harness.get_by_label_contains("SmolLM2-135M-F16: not converted: ").rect();
    assert!(text.bottom() < 600.0 && text.top() > 300.0, "{text:?}");
    click(&mut harness, "Dismiss the failed job");
    assert_eq!(harness.state().commands, [Command::ClearFinished]);
}

#[test]
fn quitting_asks_what_becomes_of_the_work() {
    let mut store = unquantized();
    store.jobs.push(running(7, &[Level::Q8_0]));
    let check = |button: &str, expected: &[Command]| {
        let mut harness = window(store.clone(), Form { dialog: Some(Dialog::Quit), ..on(Page::Optimize) });
        assert!(has(&harness, "Convert SmolLM2-135M-F16 to Q8_0"));
        click(&mut harness, button);
        assert_eq!((harness.state().commands.as_slice(), &harness.state().form.dialog), (expected, &None), "{button}");
    };
    check("Go on working", &[]);
    check("Keep what is complete and quit", &[Command::Quit(Leftovers::Keep)]);
    check("Discard and quit", &[Command::Quit(Leftovers::Discard)]);
    let mut harness = window(store, Form { dialog: Some(Dialog::Quit), ..on(Page::Optimize) });
    shoot(&mut harness, "quit");
    harness.key_press(Key::Escape);
    harness.run();
    assert_eq!((harness.state().commands.as_slice(), &harness.state().form.dialog), ([].as_slice(), &None));
}

#[test]
fn help_settings_and_about_are_opened_and_closed() {
    let mut harness = window(unquantized(), on(Page::Model));
    harness.key_press(Key::F1);
    harness.run();
    assert!(has(&harness, "Press the page's main button"));
    shoot(&mut harness, "keys");
    click(&mut harness, "About Planish");
    assert!(has(&harness, env!("CARGO_PKG_VERSION")) && has(&harness, "MIT OR Apache-2.0") && has(&harness, "b6210"));
    shoot(&mut harness, "about");
    harness.key_press(Key::Escape);
    harness.run();
    assert_eq!(harness.state().form.dialog, None);
    click(&mut harness, "Settings");
    shoot(&mut harness, "settings");
    click(&mut harness, "Keep unfinished files");
    click(&mut harness, "Light theme");
    click(&mut harness, "Close");
    let form = &harness.state().form;
    assert_eq!((form.dialog.clone(), form.keep_unfinished, form.theme), (None, true, crate::state::Theme::Light));
}

#[test]
fn several_dropped_models_are_listed_and_converted_after_one_question() {
    let paths: Vec<PathBuf> = ["/m/a.gguf", "/m/b.gguf", "/m/c"].map(PathBuf::from).to_vec();
    let dropped = || {
        let mut harness = window(Store::default(), Form { levels: [Level::Q8_0, Level::Q4_K_M].into(), ..on(Page::Machine) });
        harness
            .input_mut()
            .dropped_files
            .extend(paths.iter().map(|path| -> Arc<dyn egui::DroppedFile + Send + Sync> { Arc::new(Dropped(path.clone())) }));
        harness.run();
        assert!(has(&harness, "Dropped: 3 models"));
        harness
    };
    let mut all = dropped();
    shoot(&mut all, "dropped");
    assert_eq!(all.state().commands, [], "nothing happens unasked");
    click(&mut all, "Convert all to Q8_0, Q4_K_M");
    assert_eq!(all.state().commands, [Command::ConvertAll(paths.clone(), vec![Level::Q8_0, Level::Q4_K_M])]);
    let mut one = dropped();
    click(&mut one, "Open b.gguf");
    assert_eq!(
        (one.state().commands.as_slice(), &one.state().form.dialog),
        ([Command::OpenModel("/m/b.gguf".into())].as_slice(), &None)
    );
}

#[test]
fn without_a_file_dialog_the_path_can_be_typed_at_once() {
    let store = Store { lacks_file_dialogs: true, ..Store::default() };
    let mut harness = window(store, Form { focus: Some(Field::ModelPath), ..on(Page::Model) });
    assert!(has(&harness, "This system has no file dialog"));
    let field = harness.get_by_role_and_label(Role::TextInput, "Path of a model");
    assert!(field.accesskit_node().is_focused());
    field.type_text("/m/a.gguf");
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(harness.state().commands, [Command::OpenModel("/m/a.gguf".into())]);

    let mut over_a_page =
        window(unquantized(), Form { focus: Some(Field::ModelPath), dialog: Some(Dialog::OpenPath), ..on(Page::Compare) });
    assert!(over_a_page.get_by_role_and_label(Role::TextInput, "Path of a model").accesskit_node().is_focused());
    shoot(&mut over_a_page, "open-path");
}

#[test]
fn a_message_is_announced_and_goes_away() {
    let mut harness = window(unquantized(), on(Page::Optimize));
    let path = PathBuf::from("/home/ada/report.html");
    let toast = toasts::Toast::new("Saved report.html").with_action("Open", Command::OpenFile(path.clone()));
    toasts::push(&harness.ctx, toasts::Toast::new("Copied"));
    toasts::push(&harness.ctx, toast);
    harness.run_steps(3);
    shoot(&mut harness, "toasts");
    let copied = harness.get_by_label("Copied");
    assert_eq!(copied.accesskit_node().live(), accesskit::Live::Polite);
    let bar = harness.get_by_role_and_label(Role::Button, "Convert").rect();
    assert!(harness.get_by_label("Saved report.html").rect().bottom() < bar.top(), "it does not cover the bar");
    click(&mut harness, "Open: Saved report.html");
    assert_eq!(harness.state().commands, [Command::OpenFile(path)]);
    assert!(!has(&harness, "Saved report.html"), "it is done with");
    // Whoever points at a message is reading it.
    harness.hover_at(egui::pos2(400.0, 300.0));
    // A quarter of a second each.
    harness.run_steps(40);
    assert!(!has(&harness, "Copied"));
}

#[test]
fn the_main_key_does_not_press_the_widget_with_the_focus() {
    let mut harness = window(unquantized(), Form { levels: [Level::Q8_0].into(), ..on(Page::Optimize) });
    harness.get_by_label("Choose output folder").focus();
    harness.run();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run();
    assert_eq!(harness.state().commands, [Command::Convert(vec![Level::Q8_0])]);
    // While a question is open the key belongs to the question.
    let mut asked =
        window(unquantized(), Form { dialog: Some(Dialog::Quit), levels: [Level::Q8_0].into(), ..on(Page::Optimize) });
    asked.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    asked.run();
    assert_eq!((asked.state().commands.as_slice(), &asked.state().form.dialog), ([].as_slice(), &None));
}
