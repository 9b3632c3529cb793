//! Puts the worker's events into the store and does what follows from them.

use std::path::PathBuf;

use super::App;
use crate::error::Error;
use crate::state::{Command, DeleteForm, Dialog, Field, Page};
use crate::ui;
use crate::ui::kit::toasts::Toast;
use crate::worker::{Event, HistoryAnswer, JobId, Output, Picked};

/// People look elsewhere while they wait for a job that takes this long.
const LONG_JOB_SECS: f64 = 30.0;

impl App {
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Picked { wanted: Picked::Model | Picked::ModelFolder, path: Some(path) } => {
                self.commands.push(Command::OpenModel(path));
            }
            Event::Picked { wanted: Picked::OutputDir, path: Some(path) } => {
                self.form.output_dir = crate::path_text::to_text(&path);
                self.commands.push(Command::FindKnown);
            }
            Event::Picked { wanted: Picked::Imatrix, path: Some(path) } => {
                self.form.imatrix_path = crate::path_text::to_text(&path);
            }
            Event::Picked { wanted: Picked::CalibrationText, path: Some(path) } => {
                self.form.imatrix.text_path = crate::path_text::to_text(&path);
            }
            Event::NoDialog { wanted } => {
                self.store.apply(Event::NoDialog { wanted });
                self.ask_for_path(wanted);
            }
            event => self.take_in(event),
        }
        self.carry_out();
    }

    /// Gives an event to the store, and does what follows from it.
    fn take_in(&mut self, event: Event) {
        let filled = self.store.imatrix.as_ref().map(|collected| collected.path.clone());
        let is_opened = matches!(
            &event,
            Event::Finished { result: Ok(Output::Model(_) | Output::Checkpoint(_) | Output::Network(_)), .. } if self.store.is_opening()
        );
        let is_known = matches!(&event, Event::Finished { result: Ok(Output::Known(_)), .. });
        let is_measured = matches!(&event, Event::Finished { result: Ok(output), .. } if output.is_measurement());
        let exported = match &event {
            Event::Finished { result: Ok(Output::History(HistoryAnswer::Exported(path)) | Output::Exported(path)), .. } => {
                Some(path.clone())
            }
            _ => None,
        };
        if let Event::Finished { result: Ok(Output::Imported { model, .. }), .. } = &event
            && let Some(own) = model.own_level()
        {
            // The file exists now and stands for the checkpoint.
            self.form.levels.remove(&own);
        }
        if let Event::Finished { result: Err(error @ Error::NoBin { paths, .. }), .. } = &event {
            // The others are in the bin already.
            self.form.deleting = Some(DeleteForm { paths: paths.clone(), no_bin: Some(error.clone()) });
        }
        let of_tour = self.store.tour.as_ref().filter(|tour| tour.is_at_work()).map(|tour| tour.job);
        let ended = match &event {
            Event::Finished { id, result, .. } if of_tour == Some(*id) => Some((*id, result.clone())),
            _ => None,
        };
        if let Event::Finished { id, elapsed_secs, result } = &event {
            self.note_long_job(*id, *elapsed_secs, result.as_ref().err());
        }
        let has_written = matches!(&event, Event::Finished { id, .. }
            if self.store.jobs.iter().any(|job| job.id == *id && job.kind.changes_free_space()));
        let before = self.store.model.ready().filter(|model| !model.is_runnable()).map(|model| model.path.clone());
        self.store.apply(event);
        if let (Some(checkpoint), Some(file)) = (before, self.store.model.ready().filter(|model| model.is_runnable()))
            && self.store.checkpoint.is_some()
        {
            self.form.recipe.follow(&checkpoint, file);
        }
        if has_written {
            // The job has changed how much space is free.
            self.store.output_disk = None;
        }
        if self.store.imatrix.is_none() && filled.is_some_and(|path| path == crate::path_text::from_text(&self.form.imatrix_path))
        {
            // The matrix belonged to the model that was open before.
            self.form.imatrix_path.clear();
        }
        if is_known && let Some(model) = self.store.model.ready().filter(|model| model.is_runnable()) {
            // As after a conversion: the file that stands for a checkpoint is not a level still to be made.
            let own = model.own_level().filter(|_| self.store.checkpoint.is_some());
            own.map(|own| self.form.levels.remove(&own));
        }
        if let Some((id, result)) = ended {
            self.go_on_with_tour(id, result);
        }
        if is_measured {
            self.commands.push(Command::LoadHistory);
        }
        self.toasts.extend(exported.map(saved_toast));
        if let Some(path) = self.store.opened_path().filter(|_| is_opened && !self.store.is_opening()) {
            self.form.remember(path.to_path_buf());
            // A checkpoint's levels are measured against the file of this level, unless it is larger than memory.
            let is_file = self.store.reference(&self.form).limit().is_none();
            let own =
                self.store.model.ready().filter(|model| !model.is_runnable() && is_file).and_then(|model| model.own_level());
            self.form.levels.extend(own);
            self.save();
            if self.store.network.is_none() {
                self.commands.push(Command::FindKnown);
            }
        }
    }

    /// Puts the cursor where the path can be typed, since there is no file dialog.
    fn ask_for_path(&mut self, wanted: Picked) {
        let is_open = self.store.opened_path().is_some();
        self.form.focus = Some(match wanted {
            Picked::Model | Picked::ModelFolder => Field::ModelPath,
            Picked::OutputDir => Field::OutputDir,
            Picked::Imatrix => Field::Imatrix,
            Picked::CalibrationText => Field::CalibrationText,
        });
        match wanted {
            // Without a model the page has the field already.
            Picked::Model | Picked::ModelFolder if self.form.page != Page::Model || is_open => {
                self.form.dialog = Some(Dialog::OpenPath);
            }
            Picked::Model | Picked::ModelFolder => {}
            _ => self.toasts.push(Toast::new("No file dialog here: type or paste the path")),
        }
    }

    /// Remembers the outcome of a job that took so long that the user may be looking elsewhere. A job that the user cancelled
    /// is no news; of a chain, only its end or its failure is.
    fn note_long_job(&mut self, id: JobId, elapsed_secs: f64, error: Option<&Error>) {
        let is_amid_chain = self.store.tour.as_ref().is_some_and(|tour| tour.job == id && tour.next_step().is_some());
        let Some(job) = self.store.jobs.iter().find(|job| job.id == id) else { return };
        if elapsed_secs < LONG_JOB_SECS || error == Some(&Error::Cancelled) || (is_amid_chain && error.is_none()) {
            return;
        }
        let what = ui::jobs::titles::doing(&job.kind);
        self.ended_unseen = Some(match error {
            None => format!("Done: {what}"),
            Some(error) => format!("Failed: {what}: {error}"),
        });
    }
}

/// `Saved planish-report.html`, with buttons that open the file and show it in its folder.
fn saved_toast(path: PathBuf) -> Toast {
    let name = crate::path_text::file_name(&path);
    Toast::new(format!("Saved {name}"))
        .with_action("Open", Command::OpenFile(path.clone()))
        .with_action("Show in folder", Command::Reveal(path))
}
