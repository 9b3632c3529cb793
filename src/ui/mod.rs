//! Drawing. Pages read `Store`, edit `Form` and push `Command`s; they do no I/O, start no work and wait for nothing.

mod about_view;
mod compare;
mod dialogs;
mod history;
pub(crate) mod jobs;
pub mod kit;
mod machine;
mod model;
mod opened;
mod optimize;
mod plan;
mod settings_view;
pub mod shell;

#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod keyboard_tests;
#[cfg(test)]
mod layout_check;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod wheel_tests;
#[cfg(test)]
mod window_tests;

use eframe::egui::{self, CornerRadius, Frame, Id, Margin, Panel, ScrollArea, Stroke, StrokeKind, Ui, UiBuilder, vec2};

pub use compare::page::compare_page_ui;
pub use dialogs::is_worth_asking;
pub use optimize::page::optimize_page_ui;
pub use plan::page::plan_page_ui;

use crate::state::{Command, Dialog, Form, Page, Store};
use jobs::page_bar;
use kit::{focus_order, icons, theme, toasts, widgets};
use opened::{delete_view, known_view};
use optimize::existing_view;

/// The widest that a page gets: longer lines are hard to follow.
const MAX_PAGE_WIDTH: f32 = 1520.0;

/// Draws everything. `theme::install` must have been called on the context.
pub fn window_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    theme::apply_choice(ui.ctx(), form.theme);
    // The name of the frame: without it screen readers say "unnamed".
    ui.ctx().accesskit_node_builder(egui::accesskit_root_id(), |node| node.set_label("Planish"));
    widgets::keep_main_action(ui);
    focus_order::walk(ui);
    // A question in front of the page gets the key that the page's button has.
    let is_asking = form.dialog.is_some() || form.existing.is_some() || form.deleting.is_some();
    let is_for_dialog = is_asking && widgets::take_main_action(ui);
    shell::page_shortcuts(ui, form);
    take_dropped_files(ui, form, commands);
    let p = theme::palette(ui);
    Panel::left("rail")
        .exact_size(shell::RAIL_WIDTH)
        .resizable(false)
        .show_separator_line(false)
        .frame(Frame::new().fill(p.rail))
        .show(ui, |ui| shell::rail_ui(ui, store, form));
    let right = ui.available_rect_before_wrap();
    let (area, status) = right.split_top_bottom_at_y(right.bottom() - shell::STATUS_BAR_HEIGHT);
    // Page, bar and status bar are drawn in the order in which they are read.
    let page_bottom = ui.scope_builder(UiBuilder::new().max_rect(area), |ui| area_ui(ui, store, form, commands)).inner;
    ui.scope_builder(UiBuilder::new().max_rect(status), |ui| {
        Panel::bottom("status")
            .exact_size(shell::STATUS_BAR_HEIGHT)
            .show_separator_line(false)
            .frame(Frame::new().fill(p.rail).inner_margin(Margin::symmetric(16, 0)))
            .show(ui, |ui| shell::status_bar_ui(ui, store, form, commands));
    });
    ui.painter().rect_stroke(area.expand(0.5), CornerRadius::ZERO, Stroke::new(1.0, p.line), StrokeKind::Middle);
    widgets::give_main_action(ui, is_for_dialog);
    existing_view::existing_ui(ui, form, commands);
    delete_view::delete_ui(ui, store, form, commands);
    dialogs::dialogs_ui(ui, store, form, commands);
    toasts::toasts_ui(ui, page_bottom, commands);
    drop_overlay(ui);
}

/// The page, and the bar below it, whose height is that of the last frame. Returns where the page ends.
fn area_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) -> f32 {
    let p = theme::palette(ui);
    let area = ui.max_rect();
    ui.painter().rect_filled(area, CornerRadius::ZERO, p.page);
    let id = Id::unique("height of the page bar");
    let known = ui.data(|data| data.get_temp::<f32>(id)).unwrap_or_default();
    // Asked before the page is drawn, which may lead to another one.
    let has_bar = page_bar::has_page_bar(store, form);
    let page = area.with_max_y(area.bottom() - if has_bar { known } else { 0.0 });
    ui.scope_builder(UiBuilder::new().max_rect(page), |ui| scrolling_page_ui(ui, store, form, commands));
    if has_bar {
        let bar = ui.scope_builder(UiBuilder::new().max_rect(area), |ui| {
            Panel::bottom("page bar")
                .resizable(false)
                .show_separator_line(true)
                .frame(Frame::new().fill(p.card).inner_margin(page_bar::BAR_MARGIN))
                .show(ui, |ui| page_bar::page_bar_ui(ui, store, form, commands))
        });
        let drawn = bar.inner.response.rect.height();
        if (drawn - known).abs() > 0.5 {
            ui.data_mut(|data| data.insert_temp(id, drawn));
            ui.ctx().request_discard("the bar below the page has another height");
        }
    }
    page.bottom()
}

fn scrolling_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    ScrollArea::vertical().id_salt(("page", form.page.label())).auto_shrink(false).show(ui, |ui| {
        let side = ((ui.available_width() - MAX_PAGE_WIDTH) / 2.0).max(24.0);
        let margin = Margin { left: 0, right: 0, top: 20, bottom: 24 };
        Frame::new().inner_margin(margin).show(ui, |ui| {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 0.0;
                ui.add_space(side);
                let width = ui.available_width() - side;
                ui.allocate_ui_with_layout(vec2(width, 0.0), egui::Layout::top_down(egui::Align::Min), |ui| {
                    ui.set_width(width);
                    ui.spacing_mut().item_spacing.x = 8.0;
                    if let Some(refusal) = &store.refusal {
                        widgets::error_banner(ui, refusal, commands);
                        ui.add_space(theme::UNIT);
                    }
                    known_view::notices_ui(ui, store, commands);
                    known_view::open_failure_ui(ui, store, commands);
                    page_ui(ui, store, form, commands);
                });
            });
        });
        focus_order::bring_into_view(ui);
    });
}

fn page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    match form.page {
        Page::Model => model::page::model_page_ui(ui, store, form, commands),
        Page::Machine => machine::page::machine_page_ui(ui, store, form, commands),
        Page::Plan => plan_page_ui(ui, store, form, commands),
        Page::Optimize => optimize_page_ui(ui, store, form, commands),
        Page::Compare => compare_page_ui(ui, store, form, commands),
    }
}

/// Opens a file that is dropped anywhere; for several, asks the user what to do.
fn take_dropped_files(ui: &Ui, form: &mut Form, commands: &mut Vec<Command>) {
    let mut dropped: Vec<_> = ui.input(|input| input.raw.dropped_files.iter().map(|file| file.path().to_path_buf()).collect());
    match dropped.len() {
        0 => {}
        1 => {
            form.page = Page::Model;
            commands.extend(dropped.pop().map(Command::OpenModel));
        }
        _ => form.dialog = Some(Dialog::Dropped(dropped)),
    }
}

/// Says what will happen while a file hovers over the window.
fn drop_overlay(ui: &Ui) {
    if !is_file_hovering(ui) {
        return;
    }
    let p = theme::palette(ui);
    let rect = ui.ctx().content_rect().shrink(12.0);
    let painter = ui.ctx().layer_painter(egui::LayerId::new(egui::Order::Foreground, Id::unique("drop")));
    painter.rect_filled(rect, CornerRadius::same(12), p.page.gamma_multiply(0.88));
    painter.rect_stroke(rect, CornerRadius::same(12), Stroke::new(3.0, p.accent), StrokeKind::Inside);
    let icon = egui::Rect::from_center_size(rect.center() - vec2(0.0, 36.0), vec2(48.0, 48.0));
    icons::paint(&painter, icon, icons::Icon::Drop, p.accent);
    let font = egui::FontId::new(20.0, theme::semibold());
    let n_files = ui.input(|input| input.raw.hovered_files.len());
    let text = if n_files > 1 { format!("Drop to open or convert these {n_files}") } else { "Drop to open this model".into() };
    painter.text(rect.center() + vec2(0.0, 16.0), egui::Align2::CENTER_CENTER, text, font, p.text);
}

/// True while a file hovers over the window.
fn is_file_hovering(ui: &Ui) -> bool {
    ui.input(|input| !input.raw.hovered_files.is_empty())
}
