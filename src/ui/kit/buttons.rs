//! Buttons: the one that a page asks for, with its key, and small ones. Their words stay on one line.

use eframe::egui::{self, Button, Color32, Response, RichText, Role, Stroke, TextWrapMode, Ui, WidgetInfo, vec2};

use super::theme;
use crate::state::Command;

/// The keys that press the page's primary button from anywhere on the page.
pub const MAIN_ACTION: egui::KeyboardShortcut = egui::KeyboardShortcut::new(egui::Modifiers::COMMAND, egui::Key::Enter);

/// Takes [`MAIN_ACTION`] out of the input before anything is drawn and keeps it for the page's one primary button: else the widget that
/// has the focus would take the Enter as its own.
pub fn keep_main_action(ui: &Ui) {
    let is_pressed = ui.input_mut(|input| input.consume_shortcut(&MAIN_ACTION));
    give_main_action(ui, is_pressed);
}

fn main_action_id() -> egui::Id {
    egui::Id::unique("main action of this frame")
}

/// True once for a frame in which [`MAIN_ACTION`] was pressed. A page that is drawn without the window looks for the key itself.
#[must_use]
pub fn take_main_action(ui: &Ui) -> bool {
    match ui.data_mut(|data| data.get_temp::<bool>(main_action_id())) {
        Some(is_pressed) => {
            give_main_action(ui, false);
            is_pressed
        }
        None => ui.input_mut(|input| input.consume_shortcut(&MAIN_ACTION)),
    }
}

/// Sets whether [`MAIN_ACTION`] presses the next primary button.
pub fn give_main_action(ui: &Ui, is_pressed: bool) {
    ui.data_mut(|data| data.insert_temp(main_action_id(), is_pressed));
}

/// The one action that a page asks for: clicked by the mouse, by the keyboard focus or by [`MAIN_ACTION`].
pub fn primary_button(ui: &mut Ui, text: &str) -> Response {
    let p = theme::palette(ui);
    let is_pressed = ui.is_enabled() && take_main_action(ui);
    make_room_for_primary(ui, text);
    let mut response = ui
        .scope(|ui| {
            let widgets = &mut ui.visuals_mut().widgets;
            for (widget, fill) in [
                (&mut widgets.inactive, p.accent_fill),
                (&mut widgets.hovered, p.accent_fill.lerp_to_gamma(Color32::WHITE, 0.10)),
                (&mut widgets.active, p.accent_fill.lerp_to_gamma(Color32::BLACK, 0.12)),
            ] {
                widget.weak_bg_fill = fill;
                widget.bg_stroke = Stroke::NONE;
                widget.fg_stroke = Stroke::new(1.0, p.on_accent);
            }
            // The focus must be seen on copper too.
            widgets.active.bg_stroke = Stroke::new(2.0, p.text);
            if !ui.is_enabled() {
                // A main button must be readable while it is disabled too: grey instead of copper, and no fading.
                ui.set_opacity(1.0);
                let widget = &mut ui.visuals_mut().widgets.inactive;
                (widget.weak_bg_fill, widget.bg_stroke) = (p.neutral_soft, Stroke::new(1.0, p.control_line));
                widget.fg_stroke = Stroke::new(1.0, p.muted);
            }
            ui.add(Button::new(RichText::new(text).family(theme::semibold())).truncate())
        })
        .inner;
    if is_pressed {
        response.flags.insert(egui::response::Flags::FAKE_PRIMARY_CLICKED);
    }
    let keys = ui.ctx().format_shortcut(&MAIN_ACTION);
    response.on_hover_text(keys)
}

/// An ordinary button whose words stay on one line: in a row that wraps it goes to the next line instead of breaking them.
pub fn line_button(ui: &mut Ui, text: &str) -> Response {
    ui.add(Button::new(text).wrap_mode(TextWrapMode::Extend))
}

/// A small button that puts `text` on the clipboard. Its accessible name is "Copy `name`".
pub fn copy_button(ui: &mut Ui, name: &str, text: impl FnOnce() -> String, commands: &mut Vec<Command>) -> Response {
    let response = small_button(ui, "Copy", &format!("Copy {name}"));
    if response.clicked() {
        commands.push(Command::Copy(text()));
    }
    response
}

/// A button of the height of small text with an accessible name of its own.
pub fn small_button(ui: &mut Ui, text: &str, accessible_name: &str) -> Response {
    make_room_for_small(ui, text);
    ui.scope(|ui| {
        ui.spacing_mut().button_padding = vec2(8.0, 3.0);
        ui.spacing_mut().interact_size.y = 24.0;
        let response = ui.add(Button::new(RichText::new(text).size(12.0)).truncate());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), accessible_name));
        response
    })
    .inner
}

/// Starts the next line of a row that wraps if these words, with `around` points beside them, do not fit on this one: what is
/// drawn in a frame or a scope of its own does not know that its row is full, and would be broken or cut.
pub fn make_room(ui: &mut Ui, words: &str, font: &egui::FontId, around: f32) {
    if !ui.layout().main_wrap() {
        return;
    }
    let width = ui.painter().layout_no_wrap(words.to_string(), font.clone(), Color32::WHITE).size().x + around;
    if ui.available_size_before_wrap().x < width {
        ui.end_row();
    }
}

/// Makes room for a [`primary_button`] in a row that wraps; for callers that draw it in a scope of its own, as to disable it.
pub fn make_room_for_primary(ui: &mut Ui, text: &str) {
    let around = 2.0 * ui.spacing().button_padding.x + 2.0;
    make_room(ui, text, &egui::FontId::new(14.0, theme::semibold()), around);
}

/// The same for a [`small_button`].
pub fn make_room_for_small(ui: &mut Ui, text: &str) {
    make_room(ui, text, &egui::FontId::new(12.0, theme::medium()), 18.0);
}
