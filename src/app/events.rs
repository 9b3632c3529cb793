//! What the worker says: into the store, and what follows from it.

use std::path::Path;

use super::{App, settings};
use crate::state::Command;
use crate::worker::{Event, HistoryAnswer, Output, Picked};

impl App {
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Picked { wanted: Picked::Model | Picked::ModelFolder, path: Some(path) } => {
                self.commands.push(Command::OpenModel(path));
            }
            Event::Picked { wanted: Picked::OutputDir, path: Some(path) } => {
                self.form.output_dir = path.to_string_lossy().into_owned();
            }
            Event::Picked { wanted: Picked::Imatrix, path: Some(path) } => {
                self.form.imatrix_path = path.to_string_lossy().into_owned();
            }
            Event::Picked { wanted: Picked::CalibrationText, path: Some(path) } => {
                self.form.imatrix.text_path = path.to_string_lossy().into_owned();
            }
            event => {
                let filled = self.store.imatrix.as_ref().map(|collected| collected.path.clone());
                let was_ready = self.store.model.ready().is_some() || self.store.checkpoint.is_some();
                let is_measured = matches!(&event, Event::Finished { result: Ok(output), .. } if output.is_measurement());
                let exported = match &event {
                    Event::Finished {
                        result: Ok(Output::History(HistoryAnswer::Exported(path)) | Output::Exported(path)),
                        ..
                    } => Some(path.clone()),
                    _ => None,
                };
                if let Event::Finished { result: Ok(Output::Imported { model, .. }), .. } = &event
                    && let Some(own) = model.own_level()
                {
                    // It is there now, and what stands for the checkpoint.
                    self.form.levels.remove(&own);
                }
                let ended = match &event {
                    Event::Finished { id, result, .. } => Some((*id, result.is_ok())),
                    _ => None,
                };
                let collected = match &event {
                    Event::Finished { result: Ok(Output::Imatrix(collected)), .. } => Some(collected.path.clone()),
                    _ => None,
                };
                self.store.apply(event);
                if self.store.imatrix.is_none() && filled.is_some_and(|path| path == Path::new(&self.form.imatrix_path)) {
                    // It was of the model before.
                    self.form.imatrix_path.clear();
                }
                if let Some((id, _)) = ended {
                    self.go_on_with_imatrix(id, collected);
                }
                if let Some((id, is_done)) = ended {
                    self.go_on_with_sample(id, is_done);
                }
                if is_measured && self.knows_history() {
                    self.commands.push(Command::LoadHistory);
                }
                self.commands.extend(exported.map(Command::Reveal));
                let opened = self.store.model.ready().map(|model| model.path.clone());
                let opened = opened.or_else(|| Some(self.store.checkpoint.as_ref()?.checkpoint.path.clone()));
                if let (false, Some(path)) = (was_ready, opened) {
                    self.form.remember(path);
                    // What a checkpoint's levels are measured against.
                    let own = self.store.model.ready().filter(|model| !model.is_runnable()).and_then(|model| model.own_level());
                    self.form.levels.extend(own);
                    settings::save(&self.form);
                }
            }
        }
        self.carry_out();
    }
}
