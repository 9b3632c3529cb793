//! The end of the plan: one button that converts, measures and compares what the plan recommends.

use eframe::egui::{RichText, Ui};

use crate::advise::{ChainWork, calibration_time, chain_secs};
use crate::calibrate::moments::DEFAULT_TOKENS;
use crate::convert;
use crate::model::Level;
use crate::state::{Command, Form, Page, Store, Tour};
use crate::ui::jobs::page_bar::{row_ui, words_ui};
use crate::ui::kit::words::about_duration_text;
use crate::ui::kit::{theme, widgets};
use crate::ui::optimize::batch::Batch;
use crate::ui::optimize::level_cards::names;
use crate::units::bytes_text;

/// A lower window has no room for two lines beside the button.
const LOW: f32 = 500.0;

/// Draws the button with what it does at its left.
pub fn plan_bar_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let (Some(machine), Some(batch)) = (store.machine.ready(), Batch::of(ui, store, form)) else { return };
    let levels = batch.plan.levels_to_compare(&batch.model);
    if levels.is_empty() {
        return no_recommendation_ui(ui, store, form, commands);
    }
    let is_there = |level: &Level| {
        let path = convert::output_path_by(&batch.model, *level, &batch.overrides, &batch.dir);
        store.conversions.iter().any(|made| made.path == path)
    };
    let mut missing: Vec<Level> = levels.iter().copied().filter(|level| !is_there(level)).collect();
    // A checkpoint cannot be run: the level that keeps every weight is made too and stands for it, unless it is larger than memory.
    let is_file = store.reference(form).limit().is_none();
    let own = batch.model.own_level().filter(|own| !batch.model.is_runnable() && is_file && !missing.contains(own));
    missing.extend(own);
    let work = ChainWork {
        convert: &missing,
        measure: &levels,
        n_prompt_tokens: form.bench.n_prompt_tokens,
        n_gen_tokens: form.bench.n_gen_tokens,
        n_repetitions: form.bench.n_repetitions,
        n_sustained_secs: form.bench.n_sustained_secs,
        max_tokens: form.quality.max_tokens,
        is_full: form.quality.full,
    };
    let calibration = || {
        let has_moments = store.has_moments(form);
        let time = calibration_time((&batch.model, machine, &batch.plan), &missing, DEFAULT_TOKENS, has_moments);
        time.map(|time| time.total_secs())
    };
    let calibrating = if batch.overrides.calibrated { calibration() } else { Some(0.0) };
    let secs = chain_secs(&batch.model, machine, &batch.plan, &work).zip(calibrating).map(|(chain, more)| chain + more);
    let verb = if missing.is_empty() { "Compare" } else { "Convert and compare" };
    let text = match secs {
        Some(secs) => format!("{verb} (about {})", about_duration_text(secs)),
        None => verb.to_string(),
    };
    let is_at_work = store.tour.as_ref().is_some_and(Tour::is_at_work);
    row_ui(
        ui,
        |ui| {
            let size_bytes: u64 =
                missing.iter().filter_map(|&level| batch.plan.candidate_of(level)).map(|found| found.size_bytes).sum();
            words_ui(ui, RichText::new(format!("{} and the source, side by side", names(&levels))).font(theme::strong_font()));
            let made = match missing.as_slice() {
                [] => "all levels are there already".to_string(),
                missing if missing.len() >= levels.len() => {
                    format!("writes {} to {}", bytes_text(size_bytes), crate::path_text::shown(&batch.dir))
                }
                missing => format!("makes {}, the others are there already", names(missing)),
            };
            let text = format!("Speed, memory and loss of each, measured on this machine; {made}.");
            // In a low window the page needs the room.
            if ui.ctx().content_rect().height() >= LOW {
                words_ui(ui, RichText::new(text).small().color(theme::muted(ui)));
            }
        },
        |ui| {
            let button = ui.add_enabled_ui(!is_at_work, |ui| widgets::primary_button(ui, &text)).inner;
            let explanation = "Predicted from how fast this machine encodes, the predicted speeds and the settings of Compare";
            if button.on_hover_text(explanation).on_disabled_hover_text("A chain of jobs is at work already").clicked() {
                commands.push(Command::ConvertAndCompare(levels.clone()));
            }
        },
    );
}

/// Where nothing is recommended, the next step is the user's own choice.
fn no_recommendation_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    row_ui(
        ui,
        |ui| {
            words_ui(
                ui,
                RichText::new("No conversion is recommended. Levels can be chosen all the same.").color(theme::muted(ui)),
            );
        },
        |ui| {
            if widgets::primary_button(ui, "Choose levels").clicked() {
                form.page = Page::Optimize;
            }
            let runnable = store.model.ready().filter(|model| model.is_runnable());
            if let Some(model) = runnable
                && ui.button("Measure the source").on_hover_text("Speed and memory of the file as it is").clicked()
            {
                commands.push(Command::Bench(vec![model.path.clone()]));
                form.page = Page::Compare;
            }
        },
    );
}
