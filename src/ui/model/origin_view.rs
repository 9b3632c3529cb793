//! Where a file that Planish made comes from, and whether it is still what was written.

use std::path::Path;

use eframe::egui::{Label, RichText, Ui};

use crate::convert::Verification;
use crate::model::{Model, QUANTIZED_SOURCE_KEY, RECIPE_KEY, SOURCE_CHECKSUM_KEY, VERSION_KEY};
use crate::state::{Command, Store};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{card_with_actions, key_value_grid, sentence, small_button};

/// What `planish verify` does, for a tooltip.
pub const VERIFY_HINT: &str = "Compare every byte with the checksums that the file carries";

/// Draws the card of a file that Planish made; nothing for others. Returns the command to verify it after a click.
pub fn origin_ui(ui: &mut Ui, store: &Store, model: &Model) -> Option<Command> {
    let text = |key: &str| model.metadata.str(key).map(std::borrow::Cow::into_owned);
    let version = text(VERSION_KEY).filter(|_| model.import.is_none())?;
    let mut is_wanted = false;
    let actions = |ui: &mut Ui| is_wanted = small_button(ui, "Verify", "Verify this file").on_hover_text(VERIFY_HINT).clicked();
    crate::ui::kit::widgets::card_gap(ui);
    card_with_actions(ui, "Origin", actions, |ui| {
        let mut rows = vec![
            ("Written by", format!("Planish {version}")),
            ("Recipe", text(RECIPE_KEY).unwrap_or_default()),
            // The first digits tell sources apart; the metadata has all.
            ("Source BLAKE3", text(SOURCE_CHECKSUM_KEY).unwrap_or_default().chars().take(16).collect()),
        ];
        rows.extend(text(QUANTIZED_SOURCE_KEY).map(|level| ("The source was", format!("{level}, quantized before"))));
        key_value_grid(ui, &rows);
        verification_ui(ui, store, &model.path);
    });
    is_wanted.then(|| Command::Verify(model.path.clone()))
}

/// Draws what the last verification of a file found; nothing before the first.
pub fn verification_ui(ui: &mut Ui, store: &Store, path: &Path) {
    let Some(found) = store.verified.iter().find(|found| found.path == path) else { return };
    let (text, color) = verdict(ui, found);
    ui.add(Label::new(RichText::new(text).color(color)).wrap());
}

fn verdict(ui: &Ui, found: &Verification) -> (String, eframe::egui::Color32) {
    if found.findings.is_empty() {
        return (format!("As it was written; compared: {}", found.compared_text()), theme::good(ui));
    }
    (format!("Damaged: {}", sentence(&found.findings.join("; "))), theme::bad(ui))
}
