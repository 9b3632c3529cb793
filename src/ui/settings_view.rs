//! Choices that belong to no page, or to several.

use eframe::egui::{self, Align, DragValue, Grid, Layout, Margin, RichText, TextEdit, Ui};

use super::kit::{theme, widgets};
use crate::state::{Command, Field, Form, Theme};
use crate::worker::Picked;

/// Most threads that can be asked for.
const MAX_THREADS: u32 = 1024;
const ZOOMS: std::ops::RangeInclusive<f32> = 0.5..=3.0;

/// Draws the settings, which take effect at once. Returns `false`: the dialog around them has the button that closes it.
pub(super) fn settings_ui(ui: &mut Ui, form: &mut Form, commands: &mut Vec<Command>) -> bool {
    Grid::new("settings").num_columns(2).spacing([24.0, 12.0]).show(ui, |ui| {
        label_ui(ui, "Theme");
        widgets::segmented(
            ui,
            &mut form.theme,
            &[(Theme::System, "Follow the system"), (Theme::Light, "Light theme"), (Theme::Dark, "Dark theme")],
        );
        ui.end_row();

        let label = label_ui(ui, "Zoom");
        let mut percent = (ui.ctx().zoom_factor() * 100.0).round();
        let field = DragValue::new(&mut percent)
            .range(ZOOMS.start() * 100.0..=ZOOMS.end() * 100.0)
            .suffix(" %")
            .update_while_editing(false);
        // While it is dragged the window would change under the pointer.
        let response = ui.add(field).labelled_by(label.id);
        if response.drag_stopped() || (response.changed() && !response.dragged()) {
            ui.ctx().set_zoom_factor(percent / 100.0);
        }
        ui.end_row();

        threads_ui(ui, "Threads to convert", &mut form.convert_threads, "all");
        threads_ui(ui, "Threads to measure", &mut form.bench.n_threads, "one per core");

        let label = label_ui(ui, "Folder for outputs");
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Choose…").accessible_name("Choose the folder for outputs").clicked() {
                    commands.push(Command::Pick(Picked::OutputDir));
                }
                let field = TextEdit::singleline(&mut form.output_dir)
                    .hint_text("beside the source")
                    .desired_width(f32::INFINITY)
                    .margin(Margin::symmetric(10, 6));
                let response = ui.add(field).labelled_by(label.id);
                if form.takes_focus(Field::OutputDir) {
                    response.request_focus();
                }
            });
        });
        ui.end_row();

        label_ui(ui, "When cancelled");
        ui.checkbox(&mut form.keep_unfinished, "Keep unfinished files")
            .on_hover_text("Converting to the same files again goes on from there, as it does after a power loss");
        ui.end_row();
    });
    false
}

fn label_ui(ui: &mut Ui, text: &str) -> egui::Response {
    ui.label(RichText::new(text).color(theme::muted(ui)))
}

fn threads_ui(ui: &mut Ui, name: &str, n_threads: &mut u32, word_for_none: &'static str) {
    let label = label_ui(ui, name);
    let field = DragValue::new(n_threads).range(0..=MAX_THREADS).speed(0.1);
    let field = field.custom_formatter(move |value, _| if value == 0.0 { word_for_none.into() } else { format!("{value:.0}") });
    let field = field.custom_parser(move |text| if text.trim() == word_for_none { Some(0.0) } else { text.trim().parse().ok() });
    ui.add(field).labelled_by(label.id).on_hover_text(format!("0 means {word_for_none}"));
    ui.end_row();
}
