//! More bits for chosen tensors: what it costs, and the way to Optimize with that recipe.

use std::collections::BTreeSet;
use std::sync::Arc;

use eframe::egui::{Align, Id, Label, Layout, RichText, Ui};

use crate::advise::{MoreBits, Overrides, more_bits};
use crate::error::{Error, Result};
use crate::model::{Level, Model};
use crate::state::{Form, Page, Store};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::units::{bytes_change_text, count_text, exact_bytes_change_text};

/// Draws the gap and the line; nothing while no tensor is chosen.
pub fn more_bits_ui(ui: &mut Ui, store: &Store, level: Level, form: &mut Form) {
    // Only levels of llama.cpp have a table of tensors on Optimize.
    let is_asked = !form.errors_chosen.is_empty() && level.preset().is_some();
    let Some(model) = store.model.ready().filter(|_| is_asked) else { return };
    let overrides = form.recipe.of(model);
    let found = cached(ui, model, level, &overrides, &form.errors_chosen);
    let n_chosen = form.errors_chosen.len();
    widgets::card_gap(ui);
    widgets::toned_box(ui, Tone::Accent, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::small_button(ui, "Choose none", "Choose no tensors").clicked() {
                form.errors_chosen.clear();
            }
            match &*found {
                Ok(found) if found.n_tensors > 0 => {
                    let text = button_text(found);
                    let button = widgets::small_button(ui, &text, &text).on_hover_text(format!(
                        "{level} with the next larger type for each of them: {}. Goes to Optimize, where the recipe can be changed further.",
                        exact_bytes_change_text(found.from_bytes, found.to_bytes)
                    ));
                    if button.clicked() {
                        form.recipe.set(model, found.overrides.clone());
                        form.recipe.is_open = true;
                        form.recipe.level = Some(level);
                        form.levels = [level].into();
                        form.page = Page::Optimize;
                    }
                }
                Ok(_) => {
                    let text = "They have as many bits as their source, or no level changes them";
                    ui.label(RichText::new(text).color(theme::muted(ui)));
                }
                Err(error) => {
                    ui.label(RichText::new(widgets::sentence(&error.to_string())).color(theme::bad(ui)));
                }
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let tensors = if n_chosen == 1 { "1 tensor is chosen".into() } else { format!("{n_chosen} tensors are chosen") };
                ui.add(Label::new(tensors).truncate());
            });
        });
    });
}

/// `Give these 12 tensors more bits (+3.00 MiB)`.
fn button_text(found: &MoreBits) -> String {
    let change = bytes_change_text(found.from_bytes, found.to_bytes);
    match found.n_tensors {
        1 => format!("Give this tensor more bits ({change})"),
        n => format!("Give these {} tensors more bits ({change})", count_text(n as u64)),
    }
}

/// A result with what it was computed from.
struct Cached {
    model: Arc<Model>,
    level: Level,
    overrides: Overrides,
    names: BTreeSet<String>,
    found: Arc<Result<MoreBits>>,
}

/// The result, kept between frames: looking at the names of ten thousand tensors takes longer than a frame has.
fn cached(ui: &Ui, model: &Arc<Model>, level: Level, overrides: &Overrides, names: &BTreeSet<String>) -> Arc<Result<MoreBits>> {
    let id = Id::unique("more bits");
    let known = ui.data(|data| data.get_temp::<Arc<Cached>>(id));
    let is_same = |known: &Arc<Cached>| {
        Arc::ptr_eq(&known.model, model) && known.level == level && known.overrides == *overrides && known.names == *names
    };
    if let Some(known) = known.filter(is_same) {
        return Arc::clone(&known.found);
    }
    let preset = level.preset().ok_or_else(|| Error::Internal { message: format!("{level} has no ggml types") });
    let found = Arc::new(preset.and_then(|preset| more_bits(model, preset, overrides, names)));
    let (model, overrides, names) = (Arc::clone(model), overrides.clone(), names.clone());
    ui.data_mut(|data| data.insert_temp(id, Arc::new(Cached { model, level, overrides, names, found: Arc::clone(&found) })));
    found
}
