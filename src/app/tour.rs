//! The way of the sample through all pages.

use std::path::PathBuf;

use super::App;
use crate::convert::{self, ConvertRequest, Overwrite, Resume};
use crate::error::{Error, Result};
use crate::state::{Command, Page};
use crate::worker::{Job, JobId};

/// The way of the sample through all pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tour {
    /// Nobody asked for it, it is over, or a job failed.
    #[default]
    Off,
    /// The checkpoint is being opened.
    Opening,
    /// This job converts it.
    Converting(JobId),
}

impl App {
    /// Takes the sample's next step once a job of its tour has ended; a failure, which the pages show, ends the tour.
    pub(super) fn go_on_with_sample(&mut self, ended: JobId, is_done: bool) {
        match self.tour {
            Tour::Opening if self.store.model.waiting_for().is_none() => {
                self.tour = Tour::Off;
                if let Err(error) = self.convert_sample() {
                    self.store.refusal = Some(error);
                }
            }
            Tour::Converting(id) if id == ended => {
                self.tour = Tour::Off;
                if let (true, Some(model)) = (is_done, self.store.model.ready()) {
                    let made: Vec<PathBuf> = self.store.conversions.iter().map(|made| made.path.clone()).collect();
                    let source = model.path.clone();
                    self.commands.push(Command::Bench(std::iter::once(source).chain(made.clone()).collect()));
                    self.commands.push(Command::Quality(made));
                    self.form.page = Page::Compare;
                }
            }
            Tour::Off | Tour::Opening | Tour::Converting(_) => {}
        }
    }

    fn convert_sample(&mut self) -> Result<()> {
        let parent = sample_parent()?;
        let sample = convert::sample_path(&parent);
        // Another model may have been opened meanwhile.
        let Some(model) = self.store.model.ready().filter(|model| model.path == sample).cloned() else { return Ok(()) };
        let levels = model.own_level().into_iter().chain(convert::SAMPLE_LEVELS).collect();
        let request = ConvertRequest {
            overwrite: Overwrite::Allowed,
            resume: Resume::IfSame,
            ..ConvertRequest::new(levels, parent.join("levels"))
        };
        self.tour = Tour::Converting(self.submit_for_id(&Job::Convert { model, request })?);
        self.form.page = Page::Optimize;
        Ok(())
    }
}

pub(super) fn sample_parent() -> Result<PathBuf> {
    convert::sample_parent().ok_or_else(|| Error::Internal { message: "the system names no data folder for the sample".into() })
}
