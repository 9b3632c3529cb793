//! How the codes of a conversion are chosen: each weight by itself, or with error feedback, and how long that will take.

use eframe::egui::{Label, RichText, Ui};

use super::batch::Batch;
use super::imatrix_view::{calibration_text_ui, imatrix_view_ui};
use super::level_cards::names;
use crate::advise::{CalibrationTime, MEASURED_GAIN, Overrides, SOON_SECS, calibration_time};
use crate::calibrate::moments::DEFAULT_TOKENS;
use crate::model::{Framework, Level};
use crate::state::{Command, Field, Form, JobKind, Store};
use crate::ui::kit::words::about_duration_text;
use crate::ui::kit::{memo, theme, widgets};
use crate::units::{count_of, count_text};

/// The level that a time is predicted for where none is chosen or recommended.
const USUAL_LEVEL: Level = Level::Q4_K_M;

/// Draws the choice, what calibration takes and wins, and what belongs to the chosen method: the importance matrix of a quick
/// conversion, or the text of a calibrated one.
pub fn method_view_ui(ui: &mut Ui, batch: &Batch, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let model = &batch.model;
    suggest_method(ui, batch, store, form);
    let before = form.recipe.of(model);
    let mut calibrated = before.calibrated;
    ui.horizontal(|ui| {
        widgets::term_rich(ui, "calibrated", RichText::new("Method").color(theme::muted(ui)));
        widgets::segmented(ui, &mut calibrated, &[(false, "Quick"), (true, "Calibrated")]);
    });
    if calibrated != before.calibrated {
        form.recipe.set(model, Overrides { calibrated, ..before });
    }
    let small = |ui: &mut Ui, text: String| ui.add(Label::new(RichText::new(text).small().color(theme::muted(ui))).wrap());
    small(ui, time_text(ui, batch, store, form));
    if !calibrated {
        imatrix_view_ui(ui, model, store, form, commands);
        return;
    }
    let takes_focus = form.takes_focus(Field::CalibrationText);
    calibration_text_ui(ui, &mut form.imatrix, takes_focus, commands);
    let text = format!(
        "Runs the model over {} tokens of this text first, then makes good what each weight loses with the next ones. For levels of llama.cpp \
         and ONNX Runtime, called NAME-LEVEL-calibrated.",
        count_text(DEFAULT_TOKENS.into())
    );
    small(ui, text);
}

/// Decides once for a model of which nothing is chosen and nothing was made or is being made whether to begin with calibration:
/// where it is predicted to be soon done.
fn suggest_method(ui: &Ui, batch: &Batch, store: &Store, form: &mut Form) {
    let model = &batch.model;
    let has_matrix = form.imatrix.collect || !form.imatrix_path.trim().is_empty();
    let is_in_work = store.jobs.iter().any(|job| job.is_open() && matches!(job.kind, JobKind::Convert(_)));
    let is_fresh = !form.recipe.is_for(model) && store.conversions.is_empty() && !is_in_work && !has_matrix;
    if form.recipe.has_suggestion(model) || !is_fresh {
        return;
    }
    let Some(machine) = store.machine.ready() else { return };
    // The model has to run.
    let is_possible =
        machine.runtimes.iter().any(|runtime| runtime.framework == Framework::LlamaCpp && runtime.version.is_some());
    let level = batch.recommended.filter(|level| level.preset().is_some()).unwrap_or(USUAL_LEVEL);
    let has_moments = store.has_moments(form);
    let time = calibration_time((model, machine, &batch.plan), &[level], DEFAULT_TOKENS, has_moments);
    form.recipe.suggest(model, is_possible && time.is_some_and(|time| time.total_secs() < SOON_SECS));
    // The bar was drawn before.
    ui.ctx().request_repaint();
}

/// How long calibration of the chosen levels takes, and what it wins.
fn time_text(ui: &Ui, batch: &Batch, store: &Store, form: &Form) -> String {
    let chosen: Vec<Level> = batch.todo.iter().copied().filter(|level| level.preset().is_some()).collect();
    let usual = || vec![batch.recommended.filter(|level| level.preset().is_some()).unwrap_or(USUAL_LEVEL)];
    let levels = if chosen.is_empty() { usual() } else { chosen };
    let has_moments = store.has_moments(form);
    let facts = (memo::Same::of(&batch.plan), levels.clone(), has_moments);
    let time = memo::kept(ui, "time of calibration", facts, || -> Option<CalibrationTime> {
        let machine = store.machine.ready()?;
        calibration_time((&batch.model, machine, &batch.plan), &levels, DEFAULT_TOKENS, has_moments)
    });
    let what = if levels.len() == 1 { names(&levels) } else { count_of(levels.len(), "level") };
    let takes = match time.as_ref() {
        Some(time) => format!("about {} for {what}, predicted", about_duration_text(time.total_secs())),
        None => format!("minutes instead of seconds for {what}"),
    };
    let again = if has_moments { "; the model has run over the text already" } else { "" };
    format!("Calibrated: {takes}{again}. Loses {MEASURED_GAIN}: that is what we measured of SmolLM2-135M and the sample.")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eframe::egui::{self, vec2};
    use egui_kittest::Harness;

    use super::*;
    use crate::convert::Conversion;
    use crate::model::Model;
    use crate::state::{FoundNote, ImatrixForm, JobRecord, Slot, TextChoice};
    use crate::ui::layout_check::check_layout;
    use crate::ui::test_support::{PageState, click, has, optimize_ui, page_harness_sized, store_with_model_and_machine};
    use crate::worker::JobId;

    fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
        page_harness_sized(optimize_ui, store, form, vec2(1140.0, 2400.0), 1.0, egui::Theme::Dark)
    }

    fn model(harness: &Harness<'_, PageState>) -> Arc<Model> {
        Arc::clone(harness.state().store.model.ready().unwrap())
    }

    fn is_calibrated(harness: &Harness<'_, PageState>) -> bool {
        harness.state().form.recipe.of(&model(harness)).calibrated
    }

    #[test]
    fn calibration_is_preselected_where_it_is_soon_done() {
        let mut harness = harness(store_with_model_and_machine(), Form::default());
        assert!(is_calibrated(&harness) && has(&harness, "called NAME-LEVEL-calibrated"));
        assert!(has(&harness, "predicted. Loses 47 to 52 % less than Quick"));
        assert!(has(&harness, "Calibrated: about ") && !has(&harness, "has run over the text already"));
        // What the user chooses stays, also for the next run of the program.
        click(&mut harness, "Quick");
        assert!(!is_calibrated(&harness) && has(&harness, "Collect an importance matrix first"));
        let saved = serde_json::to_string(&harness.state().form).unwrap();
        let again = self::harness(store_with_model_and_machine(), serde_json::from_str(&saved).unwrap());
        assert!(!is_calibrated(&again));
    }

    #[test]
    fn what_takes_long_or_is_not_known_begins_quick() {
        let quick = |store: Store, form: Form| !is_calibrated(&harness(store, form));
        assert!(quick(Store { machine: Slot::Empty, ..store_with_model_and_machine() }, Form::default()));
        // A matrix was chosen, levels are being made, or are there.
        let imatrix = ImatrixForm { collect: true, ..ImatrixForm::default() };
        assert!(quick(store_with_model_and_machine(), Form { imatrix, ..Form::default() }));
        let mut store = store_with_model_and_machine();
        store.jobs.push(JobRecord::new(JobId(7), JobKind::Convert(vec![Level::Q8_0])));
        assert!(quick(store, Form::default()));
        let mut store = store_with_model_and_machine();
        store.conversions.push(made(store.model.ready().unwrap(), ""));
        assert!(quick(store, Form::default()));
        // A thousand times as many weights.
        let mut store = store_with_model_and_machine();
        let mut large = (**store.model.ready().unwrap()).clone();
        large.tensors.iter_mut().filter(|tensor| tensor.shape.len() == 2).for_each(|tensor| tensor.shape[1] *= 1000);
        store.model = Slot::Ready(Arc::new(large));
        assert!(quick(store.clone(), Form::default()));
        assert!(has(&harness(store, Form::default()), " h for "), "but how long it takes is told");
    }

    fn made(model: &Model, changes: &str) -> Conversion {
        Conversion {
            level: Level::Q4_K_M,
            path: "/home/ada/models/SmolLM2-135M-Instruct-Q4_K_M.gguf".into(),
            source: model.path.clone(),
            size_bytes: 90_000_000,
            bits_per_weight: 5.3,
            elapsed_secs: 9.0,
            warnings: Vec::new(),
            check: None,
            changes: changes.into(),
        }
    }

    #[test]
    fn moments_that_are_there_are_told() {
        let mut store = store_with_model_and_machine();
        store.found = Some(FoundNote { n_levels: 0, n_measured: 0, latest_unix_secs: None, has_moments: true });
        assert!(has(&harness(store, Form::default()), "has run over the text already"));
        let mut store = store_with_model_and_machine();
        store.conversions.push(made(store.model.ready().unwrap(), "--calibrated"));
        assert!(has(&harness(store.clone(), Form::default()), "has run over the text already"));
        // But not over another text.
        let imatrix = ImatrixForm { text: TextChoice::File, ..ImatrixForm::default() };
        assert!(!has(&harness(store, Form { imatrix, ..Form::default() }), "has run over the text already"));
    }

    #[test]
    fn nothing_is_cut_in_a_low_window() {
        for form in [Form::default(), Form { levels: [Level::Q8_0, Level::Q4_K_M].into(), ..Form::default() }] {
            let form = Form { page: crate::state::Page::Optimize, ..form };
            let size = vec2(960.0, 600.0);
            let store = store_with_model_and_machine();
            check_layout(&page_harness_sized(crate::ui::window_ui, store, form, size, 1.0, egui::Theme::Light));
        }
    }
}
