//! The wheel scrolls the page from wherever the pointer is.

use eframe::egui::{self, accesskit::Role, pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::layout_tests::full_store;
use super::page_tests::busy_store;
use super::test_support::{PageState, click, page_harness_sized, scroll};
use super::window_ui;
use crate::deploy::ChartKind;
use crate::state::{CompareTab, Form, Page, QualityForm, RecipeForm, Store, TextChoice};

/// A narrow window, in which tables are wider than the page.
const SIZE: egui::Vec2 = vec2(960.0, 600.0);

fn window(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(window_ui, store, form, SIZE, 1.0, egui::Theme::Dark)
}

fn top(harness: &Harness<'_, PageState>, title: &str) -> f32 {
    harness.get_all_by_role_and_label(Role::Heading, title).map(|node| node.rect().top()).fold(f32::INFINITY, f32::min)
}

/// Brings the widget into view, then turns the wheel over it until the page must have moved.
fn check(mut harness: Harness<'static, PageState>, title: &str, over: impl Fn(&Harness<'static, PageState>) -> egui::Rect) {
    for _ in 0..60 {
        let rect = over(&harness);
        if rect.top() > 40.0 && rect.top() < 400.0 {
            break;
        }
        let delta = if rect.top() <= 40.0 { 60.0 } else { -200.0 };
        // At the edge of the page, where nothing else takes the wheel.
        scroll(&mut harness, pos2(104.0, 300.0), vec2(0.0, delta), 1);
    }
    let rect = over(&harness);
    let at = pos2(rect.center().x.clamp(140.0, 900.0), rect.center().y.clamp(60.0, 460.0));
    assert!(rect.expand(1.0).contains(at), "{title}: not in view: {rect}");
    let before = top(&harness, title);
    let delta = if before > 0.0 { -300.0 } else { 300.0 };
    scroll(&mut harness, at, vec2(0.0, delta), 60);
    let after = top(&harness, title);
    assert!((after - before).abs() > 40.0, "{title}: {before} {after}: the wheel is trapped");
}

#[test]
fn over_a_table_that_scrolls_sideways() {
    let levels = |store| window(store, Form { page: Page::Compare, ..Form::default() });
    let heading =
        |label: &'static str| move |harness: &Harness<'static, PageState>| harness.get_all_by_label(label).next().unwrap().rect();
    check(levels(full_store()), "Compare", heading("Sort by prefill"));
    check(levels(full_store()), "Compare", heading("Sort by verdict"));
    check(window(busy_store(), Form { page: Page::Plan, ..Form::default() }), "Plan", heading("Sort by framework"));
    let history = Form { page: Page::Compare, compare_tab: CompareTab::History, ..Form::default() };
    check(window(full_store(), history), "Compare", heading("Sort by decode"));
}

#[test]
fn over_a_list_with_its_own_rows_to_scroll() {
    let on = |compare_tab| window(full_store(), Form { page: Page::Compare, compare_tab, ..Form::default() });
    check(on(CompareTab::Tensors), "Compare", |harness| harness.get_by_label("Sort by cosine").rect().translate(vec2(0.0, 60.0)));
    check(on(CompareTab::Flips), "Compare", |harness| harness.get_by_label("“1968”").rect());
    let mut recipe = RecipeForm::default();
    recipe.is_open = true;
    let form = Form { page: Page::Optimize, levels: [crate::model::Level::Q4_K_M].into(), recipe, ..Form::default() };
    check(window(busy_store(), form), "Optimize", |harness| {
        harness.get_by_label("Search tensors").rect().translate(vec2(0.0, 90.0))
    });
}

#[test]
fn over_a_plot_the_tree_and_text_fields() {
    for kind in [ChartKind::SizeSpeed, ChartKind::Decode] {
        let form = Form { page: Page::Compare, compare_plot: Some(kind), ..Form::default() };
        check(window(busy_store(), form), "Compare", |harness| {
            harness.get_all_by_label_contains("all numbers are in the tables below").next().unwrap().rect()
        });
    }
    let mut plan = window(busy_store(), Form { page: Page::Plan, ..Form::default() });
    plan.get_by_label("Show the whole tree").scroll_to_me();
    plan.run();
    click(&mut plan, "Show the whole tree");
    check(plan, "Plan", |harness| harness.get_all_by_role(Role::ListItem).next().unwrap().rect());
    let ask = Form { page: Page::Compare, compare_tab: CompareTab::Answers, ..Form::default() };
    let field = |harness: &Harness<'static, PageState>| harness.get_all_by_role(Role::MultilineTextInput).next().unwrap().rect();
    check(window(full_store(), ask), "Compare", field);
    let quality = QualityForm { text: TextChoice::Pasted, pasted: "words and more words\n".repeat(40), ..QualityForm::default() };
    check(window(full_store(), Form { page: Page::Compare, quality, ..Form::default() }), "Compare", field);
}
