//! What makes measured speeds doubtful: one line, its details when they are asked for, and the way to better numbers.

use eframe::egui::{Align, Id, Label, Layout, RichText, Ui};

use crate::bench::doubts;
use crate::bench::{ComparisonRow, Run};
use crate::state::{Command, JobKind, JobRecord, Store};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};

/// Draws the line and the gap below it; nothing when all is well.
pub fn doubts_ui(ui: &mut Ui, store: &Store, rows: &[ComparisonRow], commands: &mut Vec<Command>) {
    let runs: Vec<(&str, &Run)> = rows.iter().filter_map(|row| Some((row.name.as_str(), row.run.as_ref()?))).collect();
    let Some(found) = doubts(&runs) else { return };
    let id = Id::unique("doubts");
    let mut is_open = ui.data(|data| data.get_temp::<bool>(id)).unwrap_or_default();
    let has_more = found.details.len() > 1 || found.details.first() != Some(&found.line);
    let measured: Vec<_> = runs.iter().map(|(_, run)| run.path.clone()).collect();
    let is_measuring = store.latest_job(|kind| matches!(kind, JobKind::Bench(_))).is_some_and(JobRecord::is_open);
    widgets::toned_box(ui, Tone::Warn, |ui| {
        ui.vertical(|ui| {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if found.wants_quiet {
                        let text = "Measure again when it is quiet";
                        let button = ui.add_enabled_ui(!is_measuring, |ui| widgets::small_button(ui, text, text)).inner;
                        let button = button
                            .on_hover_text("Waits until other programs leave the processor alone, then measures these files");
                        if button.on_disabled_hover_text("A measurement is waiting or running").clicked() {
                            commands.push(Command::BenchWhenQuiet(measured));
                        }
                    }
                    if has_more {
                        let n = found.details.len();
                        let text = match (is_open, n) {
                            (true, _) => "Hide details".to_string(),
                            (false, 1) => "1 warning…".to_string(),
                            (false, n) => format!("{n} warnings…"),
                        };
                        is_open ^= widgets::small_button(ui, &text, &text).clicked();
                    }
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        ui.add(Label::new(widgets::sentence(&found.line)).truncate());
                    });
                });
            });
            if has_more && is_open {
                for line in &found.details {
                    let text = RichText::new(widgets::sentence(line)).color(theme::palette(ui).text_secondary);
                    ui.add(Label::new(text).wrap());
                }
            }
        });
    });
    ui.data_mut(|data| data.insert_temp(id, is_open));
    widgets::card_gap(ui);
}
