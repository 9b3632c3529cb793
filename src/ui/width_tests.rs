//! What must not overlap or be cut off at any width of the window.

use eframe::egui::{self, Vec2};
use egui_kittest::kittest::Queryable as _;

use super::page_tests::busy_store;
use super::test_support::page_harness_sized;
use crate::state::{Form, Page};

#[test]
fn the_button_that_measures_covers_no_setting() {
    for width in [960.0, 1024.0, 1100.0, 1180.0, 1280.0, 1920.0] {
        let form = Form { page: Page::Compare, ..Form::default() };
        let size = Vec2::new(width, 1600.0);
        let harness = page_harness_sized(super::window_ui, busy_store(), form, size, 1.0, egui::Theme::Dark);
        let setting = harness.get_by_label("With the source").rect();
        let button = harness.query_all_by_label_contains("Measure ").find(|node| node.rect().height() >= 28.0);
        let button = button.expect("a button").rect();
        assert!(!setting.intersects(button) && button.right() <= width, "{width}: {setting:?} {button:?}");
    }
}
