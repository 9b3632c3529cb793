//! The window by keyboard alone, and what screen readers are told of it.

use eframe::egui::{self, Key, Modifiers, accesskit::Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::kit::{theme, widgets};
use super::layout_tests::{full_store, questions};
use super::page_tests::busy_store;
use super::test_support::{PageState, click, has, page_harness, page_harness_sized, unquantized_at};
use super::window_ui;
use crate::advise::Target;
use crate::model::Level;
use crate::state::{CompareTab, Form, HistoryForm, Page, Store};

fn window(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness(window_ui, store, form)
}

fn on(page: Page) -> Form {
    Form { page, ..Form::default() }
}

fn unquantized() -> Store {
    unquantized_at("/home/ada/models/SmolLM2-135M-F16.gguf".into())
}

fn press(harness: &mut Harness<'_, PageState>, key: Key) {
    harness.key_press(key);
    harness.run();
}

/// The name of the widget that has the focus.
fn focused(harness: &Harness<'_, PageState>) -> Option<String> {
    let node = harness.root().children_recursive().find(|node| node.accesskit_node().is_focused())?;
    node.accesskit_node().label()
}

/// Names of all stops, from the first to the last.
fn stops(harness: &mut Harness<'_, PageState>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..200 {
        press(harness, Key::Tab);
        let name = focused(harness).unwrap_or_default();
        if names.len() > 5 && names.first() == Some(&name) {
            return names;
        }
        names.push(name);
    }
    panic!("no end: {names:?}");
}

#[test]
fn tab_goes_from_the_rail_through_the_page_in_reading_order_to_the_status_bar() {
    let mut empty = window(Store::default(), on(Page::Model));
    let pages = ["Model", "Machine", "Plan", "Optimize", "Compare"];
    let status = ["Help", "Settings", "Reset zoom", "System", "Light", "Dark"];
    let page = ["Open…", "Open folder…", "Try the sample", "Path of a model"];
    assert_eq!(stops(&mut empty), [&pages[..], &page, &status].concat());
    // And back.
    empty.key_press_modifiers(Modifiers::SHIFT, Key::Tab);
    empty.run();
    assert_eq!(focused(&empty).as_deref(), Some("Dark"));

    let mut optimize = window(unquantized(), on(Page::Optimize));
    let names = stops(&mut optimize);
    let cards = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"];
    let expected =
        [&pages[..], &["Choose the recommended level and its neighbours", "Choose no level", "Usual", "All levels"], &cards];
    assert!(names.starts_with(&expected.concat().map_strings()), "one stop for each card: {names:?}");
    let after_cards = names.get(expected.concat().len()..).unwrap();
    assert!(after_cards.starts_with(&vec!["Folder", "Choose output folder"].map_strings()), "{after_cards:?}");
    assert!(names.ends_with(&status.to_vec().map_strings()), "{names:?}");
}

trait Strings {
    fn map_strings(&self) -> Vec<String>;
}

impl Strings for Vec<&str> {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn what_tab_comes_to_is_scrolled_into_view() {
    let mut harness = page_harness_sized(window_ui, full_store(), on(Page::Compare), vec2(960.0, 600.0), 1.0, egui::Theme::Dark);
    for _ in 0..40 {
        press(&mut harness, Key::Tab);
        let node = harness.root().children_recursive().find(|node| node.accesskit_node().is_focused());
        let Some(node) = node else { continue };
        let rect = node.rect();
        assert!(rect.center().y > 0.0 && rect.center().y < 600.0, "{:?} at {rect}", node.accesskit_node().label());
    }
}

#[test]
fn a_card_is_chosen_by_the_space_bar() {
    let mut harness = window(unquantized(), on(Page::Optimize));
    harness.get_by_role_and_label(Role::CheckBox, "Q6_K").focus();
    harness.run();
    press(&mut harness, Key::Space);
    assert!(harness.state().form.levels.contains(&Level::Q6_K));
    press(&mut harness, Key::Space);
    assert!(harness.state().form.levels.is_empty());
}

#[test]
fn enter_opens_a_list_chooses_and_closes_it() {
    let mut harness = window(unquantized(), on(Page::Plan));
    let is_open = |harness: &Harness<'_, PageState>| has(harness, "NVIDIA GPU");
    harness.get_by_role_and_label(Role::ComboBox, "Runs on").focus();
    harness.run();
    press(&mut harness, Key::Enter);
    assert!(is_open(&harness));
    press(&mut harness, Key::ArrowDown);
    press(&mut harness, Key::ArrowDown);
    press(&mut harness, Key::Enter);
    assert_eq!(harness.state().form.goal.target, Target::Apple);
    assert!(!is_open(&harness), "it is closed");
    assert_eq!(focused(&harness).as_deref(), Some("Runs on"), "the keyboard goes on at the field");
    press(&mut harness, Key::Enter);
    press(&mut harness, Key::ArrowDown);
    press(&mut harness, Key::Escape);
    assert!(!is_open(&harness));
    assert_eq!((harness.state().form.goal.target, focused(&harness).as_deref()), (Target::Apple, Some("Runs on")));
}

#[test]
fn escape_closes_every_question_and_every_list() {
    for scene in questions() {
        let mut harness = window(full_store(), scene.form);
        press(&mut harness, Key::Escape);
        let form = &harness.state().form;
        let is_closed = form.dialog.is_none() && form.existing.is_none() && form.deleting.is_none();
        assert!(is_closed && harness.state().commands.is_empty(), "{}", scene.name);
    }
    let check = |form: Form, opener: &str, entry: &str| {
        let mut harness = page_harness_sized(window_ui, full_store(), form, vec2(1280.0, 6000.0), 1.0, egui::Theme::Dark);
        click(&mut harness, opener);
        assert!(has(&harness, entry), "{opener}");
        press(&mut harness, Key::Escape);
        assert!(!has(&harness, entry), "{opener}");
    };
    check(on(Page::Compare), "Export", "Table as CSV");
    let recent = Form { recent: vec!["/home/ada/models/other-model.gguf".into()], ..on(Page::Model) };
    check(recent, "Open recent", "other-model.gguf");
    check(on(Page::Plan), "Framework", "Olive / ONNX Runtime");
    let history = HistoryForm { selected: vec![1], asks_delete: true, ..HistoryForm::default() };
    let mut asked = window(full_store(), Form { history, compare_tab: CompareTab::History, ..on(Page::Compare) });
    assert!(has(&asked, "for good?"));
    press(&mut asked, Key::Escape);
    assert!(!has(&asked, "for good?") && asked.state().commands.is_empty());
}

#[test]
fn each_page_has_headings_and_the_frame_a_name() {
    for (page, title) in [
        (Page::Model, "Smollm2 135M 8k Lc100K Mix1 Ep2"),
        (Page::Machine, "Machine"),
        (Page::Plan, "Plan"),
        (Page::Optimize, "Optimize"),
        (Page::Compare, "Compare"),
    ] {
        let harness = window(busy_store(), on(page));
        harness.get_by_role_and_label(Role::Heading, title);
        assert!(harness.get_all_by_role(Role::Heading).count() > 2, "{page:?}: its cards have headings too");
        let root = harness.root();
        let root = root.accesskit_node();
        assert_eq!((root.role(), root.label().as_deref()), (Role::Window, Some("Planish")));
    }
    let empty = window(Store::default(), on(Page::Compare));
    empty.get_by_role_and_label(Role::Heading, "No model yet");
}

/// Colours of the ground and the letters of a main button, as they reach the screen.
fn button_colors(variant: egui::Theme, is_enabled: bool) -> (egui::Color32, egui::Color32) {
    fn disabled(ui: &mut egui::Ui, _: &Store, _: &mut Form, _: &mut Vec<crate::state::Command>) {
        ui.add_enabled_ui(false, |ui| widgets::primary_button(ui, "Convert"));
    }
    fn enabled(ui: &mut egui::Ui, _: &Store, _: &mut Form, _: &mut Vec<crate::state::Command>) {
        widgets::primary_button(ui, "Convert");
    }
    let page = if is_enabled { enabled } else { disabled };
    let harness = page_harness_sized(page, Store::default(), Form::default(), vec2(200.0, 100.0), 1.0, variant);
    let palette = if variant == egui::Theme::Dark { theme::DARK } else { theme::LIGHT };
    let (mut ground, mut ink) = (palette.card, None);
    for shape in &harness.output().shapes {
        match &shape.shape {
            egui::Shape::Rect(rect) if rect.rect.width() < 190.0 && rect.fill.a() > 0 => ground = ground.blend(rect.fill),
            egui::Shape::Text(text) => {
                let of_text = text.galley.job.sections.first().map(|section| section.format.color).unwrap();
                let of_text = if of_text == egui::Color32::PLACEHOLDER { text.fallback_color } else { of_text };
                ink = Some(text.override_text_color.unwrap_or(of_text).gamma_multiply(text.opacity_factor));
            }
            _ => {}
        }
    }
    (ground, ground.blend(ink.unwrap()))
}

#[test]
fn a_main_button_is_read_also_while_it_is_disabled() {
    for variant in [egui::Theme::Dark, egui::Theme::Light] {
        let (ground, ink) = button_colors(variant, false);
        let contrast = theme::contrast(ground, ink);
        assert!(contrast >= 3.0, "{variant:?}: {contrast:.2}");
        let (other_ground, _) = button_colors(variant, true);
        assert_ne!(ground, other_ground, "it is seen that it is disabled");
    }
}
