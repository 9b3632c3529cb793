//! The plots of Compare, driven by the pointer.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Event, Modifiers, PointerButton, Pos2, Rect, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use crate::bench::history::{Measurement, test_runs};
use crate::bench::quality::{QualityOutcome, QualityRun};
use crate::deploy::ChartKind;
use crate::state::{CompareTab, Form, Store};
use crate::ui::compare_page_ui;
use crate::ui::page_tests::busy_store;
use crate::ui::test_support::{PageState, click, has, page_harness_sized};

fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(compare_page_ui, store, form, vec2(1140.0, 3200.0), 1.0, egui::Theme::Dark)
}

fn plot_rect(harness: &Harness<'_, PageState>) -> Rect {
    harness.get_all_by_label_contains("all numbers are in the tables below").next().unwrap().rect()
}

/// Places all over a plot, those near its middle first.
fn places(rect: Rect) -> Vec<Pos2> {
    let at = |x: u8, y: u8| rect.lerp_inside(vec2((f32::from(x) + 0.5) / 16.0, (f32::from(y) + 0.5) / 10.0));
    let mut places: Vec<Pos2> = (0..16).flat_map(|x| (0..10).map(move |y| at(x, y))).collect();
    places.sort_by(|a, b| a.distance(rect.center()).total_cmp(&b.distance(rect.center())));
    places
}

fn button(harness: &Harness<'_, PageState>, pos: Pos2, pressed: bool) {
    harness.event(Event::PointerButton { pos, button: PointerButton::Primary, pressed, modifiers: Modifiers::NONE });
}

fn click_at(harness: &mut Harness<'_, PageState>, at: Pos2) {
    harness.hover_at(at);
    harness.step();
    button(harness, at, true);
    harness.step();
    button(harness, at, false);
    harness.run();
}

/// Clicks until something is chosen.
fn choose_somewhere(harness: &mut Harness<'_, PageState>) -> PathBuf {
    let rect = plot_rect(harness);
    for at in places(rect) {
        click_at(harness, at);
        if let Some(path) = harness.state().form.chosen_path.clone() {
            return path;
        }
    }
    panic!("no click chose anything");
}

#[test]
fn a_click_on_a_point_chooses_that_level_everywhere() {
    for kind in [ChartKind::SizeSpeed, ChartKind::Decode] {
        let mut harness = harness(busy_store(), Form { compare_plot: Some(kind), ..Form::default() });
        let path = choose_somewhere(&mut harness);
        let form = &harness.state().form;
        assert_eq!(
            (form.flips_path.as_ref(), form.errors_path.as_ref(), form.ask.second.as_ref()),
            (Some(&path), Some(&path), Some(&path))
        );
        assert!(has(&harness, "is chosen"));
        click(&mut harness, "Its tensors");
        assert_eq!(harness.state().form.compare_tab, CompareTab::Tensors);
    }
}

#[test]
fn the_name_in_the_table_chooses_too() {
    let store = busy_store();
    let (name, path) = (store.conversions[1].name(), store.conversions[1].path.clone());
    let mut harness = harness(store, Form::default());
    let table = harness.get_by_label("All numbers").rect().bottom();
    let row = harness.get_all_by_label(&name).find(|node| node.rect().top() > table).unwrap();
    row.click();
    harness.run();
    assert_eq!(harness.state().form.chosen_path.as_ref(), Some(&path));
    click(&mut harness, "Choose no file");
    assert_eq!(harness.state().form.chosen_path, None);
}

#[test]
fn the_pointer_reads_all_values_of_the_nearest_point() {
    for (kind, can_zoom) in [(ChartKind::SizeSpeed, true), (ChartKind::Decode, false)] {
        let mut harness = harness(busy_store(), Form { compare_plot: Some(kind), ..Form::default() });
        harness.ctx.all_styles_mut(|style| {
            style.interaction.tooltip_delay = 0.0;
            style.interaction.show_tooltips_only_when_still = false;
        });
        let is_told = places(plot_rect(&harness)).into_iter().any(|at| {
            harness.hover_at(at);
            harness.run();
            harness.step();
            has(&harness, "bits per weight") && has(&harness, "prefill measured") && has(&harness, "memory measured")
        });
        assert!(is_told && has(&harness, "choose this level everywhere"), "{kind:?}");
        assert_eq!(has(&harness, "Drag: zoom"), can_zoom, "{kind:?}");
    }
}

#[test]
fn a_drag_zooms_and_a_double_click_shows_all_again() {
    let mut harness = harness(busy_store(), Form { compare_plot: Some(ChartKind::SizeSpeed), ..Form::default() });
    let rect = plot_rect(&harness);
    let is_zoomed = |harness: &Harness<'_, PageState>| super::plot_pointer::is_zoomed(&harness.ctx, ChartKind::SizeSpeed);
    // An empty corner: nothing but zoomed emptiness is left.
    let (from, to) = (rect.left_bottom() + vec2(10.0, -10.0), rect.left_bottom() + vec2(60.0, -40.0));
    harness.hover_at(from);
    harness.step();
    button(&harness, from, true);
    harness.step();
    for part in [0.3_f32, 0.6, 1.0] {
        harness.hover_at(from + (to - from) * part);
        harness.step();
    }
    assert!(!is_zoomed(&harness), "not before the button is let go");
    button(&harness, to, false);
    harness.run();
    assert!(is_zoomed(&harness));
    click_at(&mut harness, rect.center());
    assert_eq!(harness.state().form.chosen_path, None, "no level is so small and so slow");
    // Long after that click: the next two are one double click and not a triple one.
    harness.run_steps(8);
    harness.hover_at(rect.center());
    harness.step();
    let turn = |pressed| Event::PointerButton {
        pos: rect.center(),
        button: PointerButton::Primary,
        pressed,
        modifiers: Modifiers::NONE,
    };
    // In one frame: the frames of a test are a quarter of a second apart.
    harness.input_mut().events.extend([true, false, true, false].map(turn));
    harness.step();
    harness.run();
    assert!(!is_zoomed(&harness), "a double click shows all again");
    assert_eq!(choose_somewhere(&mut harness).extension().and_then(|ending| ending.to_str()), Some("gguf"));
}

#[test]
fn size_against_loss_comes_first_once_losses_are_measured() {
    let is_shown = |harness: &Harness<'_, PageState>, label: &str| has(harness, &format!("{label}; all numbers"));
    let mut store = busy_store();
    let mut harness = harness(store.clone(), Form::default());
    assert!(is_shown(&harness, "Size against speed"));
    let path = store.conversions[0].path.clone();
    let Measurement::Quality(run) = test_runs::quality("Q8_0", &[0.25]).measurement else { panic!() };
    let run = Arc::new(QualityRun { path: path.clone(), ..(*run).clone() });
    store.quality.push(QualityOutcome { path, result: Ok(run) });
    harness.state_mut().store = store;
    harness.run();
    assert!(is_shown(&harness, "Size against loss"));
    click(&mut harness, "Memory");
    assert_eq!(harness.state().form.compare_plot, Some(ChartKind::Memory), "the user's choice stays");
}

#[test]
fn the_memory_of_this_machine_is_told_where_an_axis_has_sizes() {
    let harness = harness(busy_store(), Form { compare_plot: Some(ChartKind::SizeSpeed), ..Form::default() });
    // A laptop's memory is far beyond a model of 135 M weights.
    assert!(has(&harness, "Memory for a model here: ") && has(&harness, "more than this plot shows"));
    let mut form = Form { compare_plot: Some(ChartKind::Memory), ..Form::default() };
    form.goal.memory_budget_bytes = Some(200 << 20);
    let harness = self::harness(busy_store(), form);
    assert!(has(&harness, "Line: memory for a model here, 200 MiB"));
    let harness = self::harness(busy_store(), Form { compare_plot: Some(ChartKind::Decode), ..Form::default() });
    assert!(!has(&harness, "memory for a model here"));
}
