//! A list that drops down from its field, for the mouse and for the keyboard: Enter opens it, arrows go through it, Enter chooses, Escape
//! leaves it as it was.

use eframe::egui::{ComboBox, Response, RichText, Ui, WidgetText};

use super::figures::text_width;
use super::theme;

/// About the width of a field for a number.
pub const NUMBER_WIDTH: f32 = 56.0;

/// Draws the name of a field that is `field_width` wide, in a row that wraps: on a line that has room for both.
pub fn field_name_ui(ui: &mut Ui, name: &str, field_width: f32) -> Response {
    let label = RichText::new(name).color(theme::muted(ui));
    if ui.layout().main_wrap() && ui.available_size_before_wrap().x < text_width(ui, name) + field_width + 16.0 {
        ui.end_row();
    }
    ui.label(label)
}

/// Draws the field, and the list while it is open. When the list closes, the focus returns to the field.
pub fn drop_down_ui(ui: &mut Ui, field: ComboBox<'_>, entries: impl FnOnce(&mut Ui)) -> Response {
    let shown = field.show_ui(ui, entries);
    let (response, is_open) = (shown.response, shown.inner.is_some());
    let id = response.id.with("was open");
    let was_open = ui.data(|data| data.get_temp::<bool>(id)).unwrap_or_default();
    if was_open != is_open {
        ui.data_mut(|data| data.insert_temp(id, is_open));
        if was_open && ui.memory(|memory| memory.focused().is_none()) {
            response.request_focus();
        }
    }
    response
}

/// Draws an entry of the list, which closes when it is chosen. egui closes lists by itself only for the mouse.
pub fn entry_ui(ui: &mut Ui, is_chosen: bool, text: impl Into<WidgetText>) -> Response {
    let response = ui.selectable_label(is_chosen, text.into());
    if response.clicked() {
        ui.memory_mut(|memory| memory.surrender_focus(response.id));
        ui.close();
    }
    response
}
