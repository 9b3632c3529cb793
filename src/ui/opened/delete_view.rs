//! The question whether converted files should really be deleted.

use eframe::egui::{Align, Button, Id, Label, Layout, Modal, RichText, Ui};

use crate::state::{Command, DeleteForm, Form, Store};
use crate::ui::kit::theme;
use crate::ui::kit::widgets;
use crate::ui::model::page::file_name;
use crate::units::bytes_text;

const WIDTH: f32 = 520.0;

/// Draws the question over everything while it is open; Escape or a click beside it takes it back.
pub fn delete_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(question) = &form.deleting else { return };
    let (mut is_answered, mut is_taken_back) = (false, false);
    let modal = Modal::new(Id::unique("delete files")).show(ui.ctx(), |ui| {
        ui.set_width(WIDTH.min(ui.ctx().content_rect().width() - 64.0));
        question_ui(ui, store, question);
        ui.add_space(theme::UNIT);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let verb = if question.no_bin.is_some() { "Delete for good" } else { "Move to the bin" };
            is_answered = widgets::primary_button(ui, verb).clicked();
            is_taken_back = ui.add(Button::new("Cancel")).clicked();
        });
    });
    if is_answered {
        commands.push(Command::AnswerDelete);
    } else if is_taken_back || modal.should_close() {
        form.deleting = None;
    }
}

fn question_ui(ui: &mut Ui, store: &Store, question: &DeleteForm) {
    let title = match question.paths.as_slice() {
        [path] => format!("Delete {}?", file_name(path)),
        paths => format!("Delete {} files?", paths.len()),
    };
    widgets::big_heading_ui(ui, &title);
    if let Some(reason) = &question.no_bin {
        ui.add(Label::new(RichText::new(widgets::sentence(&reason.to_string())).color(theme::warn(ui))).wrap());
    }
    let is_wanted = |path| question.paths.contains(path);
    let sizes = store.conversions.iter().filter(|made| is_wanted(&made.path)).map(|made| made.size_bytes);
    let size = bytes_text(sizes.fold(0, u64::saturating_add));
    let what = if question.no_bin.is_some() {
        format!("{size} become free and cannot be restored.")
    } else {
        format!("{size} go to the bin, from where they can be restored.")
    };
    let text = format!("{what} The measurements stay in the history.");
    ui.add(Label::new(RichText::new(text).color(theme::palette(ui).text_secondary)).wrap());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Conversion;
    use crate::error::Error;
    use crate::model::Level;
    use crate::state::{JobKind, Page};
    use crate::ui::test_support::{PageState, click, has, page_harness_sized, shoot, store_with_model_and_machine};
    use crate::worker::{Event, Job, JobId, Output};
    use eframe::egui::{Key, Modifiers};
    use egui_kittest::Harness;

    fn store() -> Store {
        let mut store = store_with_model_and_machine();
        let source = store.model.ready().unwrap().path.clone();
        store.conversions = [Level::Q8_0, Level::Q4_0]
            .map(|level| Conversion {
                level,
                path: format!("/levels/m-{level}.gguf").into(),
                source: source.clone(),
                size_bytes: 150 << 20,
                bits_per_weight: 4.5,
                elapsed_secs: 0.0,
                warnings: Vec::new(),
                check: None,
                changes: String::new(),
            })
            .to_vec();
        store
    }

    fn on(deleting: Option<DeleteForm>) -> Harness<'static, PageState> {
        let form = Form { page: Page::Optimize, deleting, ..Form::default() };
        // Tall: the files stand at the end of the page.
        let size = eframe::egui::vec2(1280.0, 3000.0);
        page_harness_sized(crate::ui::window_ui, store(), form, size, 1.0, eframe::egui::Theme::Dark)
    }

    #[test]
    fn deleting_a_level_asks_first() {
        let mut harness = on(None);
        assert!(has(&harness, "Finished files, together 300 MiB"));
        click(&mut harness, "Delete Q4_0");
        let asked = Command::AskDelete(vec!["/levels/m-Q4_0.gguf".into()]);
        assert_eq!(harness.state().commands, [asked]);
        let question = DeleteForm { paths: vec!["/levels/m-Q4_0.gguf".into()], no_bin: None };
        let mut harness = on(Some(question.clone()));
        assert!(has(&harness, "Delete m-Q4_0.gguf?") && has(&harness, "150 MiB go to the bin"));
        shoot(&mut harness, "optimize-delete");
        click(&mut harness, "Move to the bin");
        assert_eq!(harness.state().commands, [Command::AnswerDelete]);
        let mut harness = on(Some(question));
        harness.key_press_modifiers(Modifiers::NONE, Key::Escape);
        harness.run();
        assert_eq!((&harness.state().form.deleting, harness.state().commands.len()), (&None, 0));
    }

    #[test]
    fn without_a_bin_it_is_asked_again() {
        let error = Error::NoBin { reason: "no such folder".into(), paths: vec!["/levels/m-Q4_0.gguf".into()] };
        let mut harness = on(Some(DeleteForm { paths: vec!["/levels/m-Q4_0.gguf".into()], no_bin: Some(error) }));
        assert!(has(&harness, "Cannot move to the bin: no such folder") && has(&harness, "become free and cannot be restored"));
        click(&mut harness, "Delete for good");
        assert_eq!(harness.state().commands, [Command::AnswerDelete]);
    }

    #[test]
    fn what_is_deleted_leaves_the_lists() {
        let mut store = store();
        let (id, paths) = (JobId(5), vec!["/levels/m-Q4_0.gguf".into()]);
        store.submitted(id, &Job::Remove { paths: paths.clone(), removal: crate::convert::Removal::Bin });
        assert!(matches!(store.jobs[0].kind, JobKind::Remove(1)));
        store.apply(Event::Partial { id, output: Output::Removed(paths) });
        assert_eq!(store.conversions.iter().map(|made| made.level).collect::<Vec<_>>(), [Level::Q8_0]);
    }
}
