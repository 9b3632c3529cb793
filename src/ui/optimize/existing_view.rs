//! The question of what becomes of files that exist, asked once before a conversion.

use std::collections::BTreeSet;
use std::path::PathBuf;

use eframe::egui::{Align, Button, Grid, Id, Layout, Modal, RichText, Ui};

use crate::convert::Existing;
use crate::model::Level;
use crate::state::{Command, ExistingForm, Form, JobKind, Store};
use crate::ui::kit::theme;
use crate::ui::kit::widgets;
use crate::ui::model::page::file_name;

/// Widest that the question gets.
const WIDTH: f32 = 620.0;

/// Draws the question over everything while it is open; Escape or a click beside it takes it back.
pub fn existing_ui(ui: &mut Ui, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(question) = &mut form.existing else { return };
    let mut is_answered = false;
    let mut is_taken_back = false;
    let modal = Modal::new(Id::unique("existing files")).show(ui.ctx(), |ui| {
        ui.set_width(WIDTH.min(ui.ctx().content_rect().width() - 64.0));
        question_ui(ui, question);
        ui.add_space(theme::UNIT);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            is_answered = widgets::primary_button(ui, &verb_text(question)).clicked();
            is_taken_back = ui.add(Button::new("Cancel")).clicked();
        });
    });
    if is_answered {
        commands.push(Command::AnswerExisting);
    } else if is_taken_back || modal.should_close() {
        form.existing = None;
    }
}

/// What the button does: `Convert 2 of 3 levels`.
fn verb_text(question: &ExistingForm) -> String {
    let n_skipped = question.files.iter().filter(|(_, _, answer)| *answer == Existing::Skip).count();
    match (question.levels.len() - n_skipped, question.levels.len()) {
        (0, _) => "Convert nothing".into(),
        (1, 1) => "Convert it".into(),
        (n, all) if n == all => format!("Convert all {all} levels"),
        (n, all) => format!("Convert {n} of {all} levels"),
    }
}

fn question_ui(ui: &mut Ui, question: &mut ExistingForm) {
    let n_files = question.files.len() + usize::from(question.matrix.is_some());
    let title = if n_files == 1 { "A file exists already".to_string() } else { format!("{n_files} files exist already") };
    widgets::big_heading_ui(ui, &title);
    let text = "A replaced file stays until the new one is complete. To keep both, the new one gets a number in its name.";
    ui.label(RichText::new(text).color(theme::muted(ui)));
    ui.add_space(theme::UNIT);
    if question.files.len() > 1 {
        ui.horizontal(|ui| {
            ui.label("For all");
            for answer in Existing::ALL {
                if widgets::small_button(ui, answer.label(), &format!("{} all", answer.label())).clicked() {
                    question.files.iter_mut().for_each(|(_, _, of_file)| *of_file = answer);
                }
            }
        });
        ui.add_space(theme::UNIT);
    }
    let height = 320.0_f32.min(ui.ctx().content_rect().height() - 280.0);
    eframe::egui::ScrollArea::vertical().min_scrolled_height(height).max_height(height).show(ui, |ui| {
        Grid::new("existing files").num_columns(2).spacing([16.0, 8.0]).show(ui, |ui| {
            for (level, path, answer) in &mut question.files {
                ui.label(RichText::new(level.name()).font(theme::strong_font())).on_hover_text(crate::path_text::shown(path));
                ui.push_id(level.name(), |ui| {
                    widgets::segmented(ui, answer, &Existing::ALL.map(|answer| (answer, answer.label())))
                });
                ui.end_row();
            }
            if let Some((path, answer)) = &mut question.matrix {
                ui.label(RichText::new("Importance matrix").font(theme::strong_font())).on_hover_text(file_name(path));
                ui.push_id("matrix", |ui| {
                    widgets::segmented(ui, answer, &[(Existing::Skip, "Use it"), (Existing::Replace, "Collect again")])
                });
                ui.end_row();
            }
        });
    });
}

/// The levels among these whose files are being made by a job that runs or waits.
pub fn being_made(store: &Store, levels: impl Iterator<Item = Level>, path: impl Fn(Level) -> PathBuf) -> Vec<Level> {
    let is_making = |kind: &JobKind| matches!(kind, JobKind::Convert(_));
    let mut open = store.jobs.iter().filter(|job| job.is_open() && is_making(&job.kind)).flat_map(|job| &job.outputs).peekable();
    if open.peek().is_none() {
        return Vec::new();
    }
    let outputs: BTreeSet<&PathBuf> = open.collect();
    levels.filter(|&level| outputs.contains(&path(level))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::output_path;
    use crate::state::{JobRecord, JobStatus, Page};
    use crate::ui::test_support::{PageState, click, has, page_harness, shoot, store_with_model_and_machine};
    use crate::worker::JobId;
    use eframe::egui::{Key, Modifiers};
    use egui_kittest::Harness;
    use egui_kittest::kittest::{NodeT as _, Queryable as _};

    fn question(levels: &[Level], matrix: Option<PathBuf>) -> Form {
        let files = levels.iter().map(|&level| (level, format!("/out/m-{level}.gguf").into(), Existing::Skip)).collect();
        let matrix = matrix.map(|path| (path, Existing::Skip));
        let existing = ExistingForm { levels: vec![Level::Q8_0, Level::Q4_0, Level::Q2_K], files, matrix, is_collecting: false };
        Form { page: Page::Optimize, existing: Some(existing), ..Form::default() }
    }

    fn on(form: Form) -> Harness<'static, PageState> {
        page_harness(crate::ui::window_ui, store_with_model_and_machine(), form)
    }

    fn answers(harness: &Harness<'_, PageState>) -> Vec<(Level, Existing)> {
        let question = harness.state().form.existing.as_ref().unwrap();
        question.files.iter().map(|(level, _, answer)| (*level, *answer)).collect()
    }

    #[test]
    fn each_file_has_its_answer_and_all_can_have_one() {
        let mut harness = on(question(&[Level::Q8_0, Level::Q2_K], Some("/out/m.imatrix.gguf".into())));
        assert!(has(&harness, "3 files exist already"));
        shoot(&mut harness, "optimize-existing");
        harness.get_by_label("Convert 1 of 3 levels");
        click(&mut harness, "Keep both all");
        assert_eq!(answers(&harness), [(Level::Q8_0, Existing::KeepBoth), (Level::Q2_K, Existing::KeepBoth)]);
        harness.get_all_by_label("Replace").last().unwrap().click();
        harness.run();
        assert_eq!(answers(&harness), [(Level::Q8_0, Existing::KeepBoth), (Level::Q2_K, Existing::Replace)]);
        click(&mut harness, "Collect again");
        assert_eq!(harness.state().form.existing.as_ref().unwrap().matrix.as_ref().unwrap().1, Existing::Replace);
        click(&mut harness, "Convert all 3 levels");
        assert_eq!(harness.state().commands, [Command::AnswerExisting]);
    }

    #[test]
    fn the_question_can_be_taken_back() {
        let mut harness = on(question(&[Level::Q8_0], None));
        assert!(has(&harness, "A file exists already") && harness.query_by_label("Skip all").is_none());
        harness.key_press_modifiers(Modifiers::NONE, Key::Escape);
        harness.run();
        assert_eq!((&harness.state().form.existing, harness.state().commands.len()), (&None, 0));
        let mut harness = on(question(&[Level::Q8_0], None));
        click(&mut harness, "Cancel");
        assert_eq!((&harness.state().form.existing, harness.state().commands.len()), (&None, 0));
    }

    #[test]
    fn a_conversion_that_runs_or_waits_is_not_offered_again() {
        let mut store = store_with_model_and_machine();
        let model = std::sync::Arc::clone(store.model.ready().unwrap());
        let out = model.path.parent().unwrap().to_path_buf();
        let kind = JobKind::Convert(vec![Level::Q8_0]);
        let job = JobRecord { outputs: vec![output_path(&model, Level::Q8_0, &out)], ..JobRecord::new(JobId(7), kind) };
        store.jobs.push(job);
        let form = |level| Form { page: Page::Optimize, levels: [level].into(), ..Form::default() };
        let is_disabled = |store: &Store, level| {
            let harness = page_harness(crate::ui::window_ui, store.clone(), form(level));
            let is_told = has(&harness, "is being converted already");
            let is_disabled = harness.get_by_label_contains("Convert 1 level").accesskit_node().is_disabled();
            assert_eq!(is_told, is_disabled);
            is_disabled
        };
        assert!(is_disabled(&store, Level::Q8_0) && !is_disabled(&store, Level::Q4_0));
        store.jobs.last_mut().unwrap().status = JobStatus::Done { elapsed_secs: 1.0 };
        assert!(!is_disabled(&store, Level::Q8_0));
    }
}
