//! Chains of jobs that one click asks for. Each job is submitted when the one before it has delivered; one that fails or is
//! cancelled ends the chain, and the window says why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::App;
use crate::convert::{self, ConvertRequest, Existing, Overwrite, Resume};
use crate::error::{Error, Result};
use crate::make::Calibration;
use crate::model::Level;
use crate::state::{Command, CompareTab, Page, Tour, TourStep};
use crate::ui::kit::toasts::Toast;
use crate::units::count_of;
use crate::worker::{Job, JobId, Output};

impl App {
    /// Opens the bundled sample, converts it, measures the files and shows them side by side.
    pub(super) fn try_sample(&mut self) -> Result<()> {
        use TourStep::{Convert, Judge, Measure, Open};
        self.refuse_second_tour()?;
        let path = convert::sample_path(&sample_parent()?);
        let job = self.submit_for_id(&Job::Inspect { path: path.clone() })?;
        self.store.tour = Some(Tour::new(vec![Open, Convert, Measure, Judge], job, path));
        Ok(())
    }

    /// Makes the levels that do not exist yet, then measures all of them and the open model.
    pub(super) fn convert_and_compare(&mut self, mut levels: Vec<Level>) -> Result<()> {
        use TourStep::{Collect, Convert, Judge, Measure};
        self.refuse_second_tour()?;
        let (model, plain) = self.conversion(Vec::new(), None)?;
        // A checkpoint cannot be run: the level that keeps every weight stands for it, unless it is larger than memory.
        let is_file = self.store.reference(&self.form).limit().is_none();
        levels.extend(model.own_level().filter(|own| !model.is_runnable() && is_file && !levels.contains(own)));
        let path_of = |level: &Level| {
            let source = self.store.source_of(*level).unwrap_or(&model);
            convert::output_path_by(source, *level, &plain.overrides, &plain.out_dir)
        };
        let is_there = |level: &Level| self.store.conversions.iter().any(|made| made.path == path_of(level));
        let (there, missing): (Vec<Level>, Vec<Level>) = levels.into_iter().partition(is_there);
        let mut files: Vec<PathBuf> = there.iter().map(path_of).collect();
        let of_frameworks: Vec<PathBuf> = missing.iter().filter(|level| level.preset().is_none()).map(path_of).collect();
        let (missing, of_others) = self.convert_others(missing, &BTreeMap::new())?;
        let mut tour = if let Some(job) = of_others.filter(|_| missing.is_empty()) {
            Tour::new(vec![Convert, Measure, Judge], job, model.path.clone())
        } else if missing.is_empty() {
            let job = self.bench_request(std::iter::once(&model.path).chain(&files).cloned().collect());
            let job = self.submit_for_id(&Job::Bench { request: job })?;
            Tour::new(vec![Measure, Judge], job, model.path.clone())
        } else if self.form.collects_imatrix(&model) {
            let (job, conversion) = self.collecting(missing, BTreeMap::new(), None)?;
            let job = self.submit_for_id(&job)?;
            Tour {
                conversions: [*conversion].into(),
                ..Tour::new(vec![Collect, Convert, Measure, Judge], job, model.path.clone())
            }
        } else {
            let (model, request) = self.conversion(missing, self.chosen_imatrix(&model))?;
            let source = model.path.clone();
            let calibration = self.calibration();
            let job = self.submit_for_id(&Job::Convert { model, request, calibration })?;
            Tour::new(vec![Convert, Measure, Judge], job, source)
        };
        // Where two jobs convert, the chain waits for the second, which reports only its own files.
        if of_others.is_some_and(|job| job != tour.job) {
            files.extend(of_frameworks);
        }
        tour.files = files;
        self.save();
        self.form.page = if tour.step() == Some(Measure) { Page::Compare } else { Page::Optimize };
        self.form.compare_tab = CompareTab::Levels;
        self.store.tour = Some(tour);
        Ok(())
    }

    /// Collects an importance matrix, then converts to these levels with it. `existing` and `matrix` are the user's answers for
    /// files that exist.
    pub(super) fn collect_and_convert(
        &mut self,
        levels: Vec<Level>,
        existing: BTreeMap<Level, Existing>,
        matrix: Option<Existing>,
    ) -> Result<()> {
        self.refuse_second_tour()?;
        self.save();
        let (levels, _) = self.convert_others(levels, &existing)?;
        if levels.is_empty() {
            return Ok(());
        }
        let (job, conversion) = self.collecting(levels, existing, matrix)?;
        let source = job.subject().0.unwrap_or_default();
        let job = self.submit_for_id(&job)?;
        let tour = Tour::new(vec![TourStep::Collect, TourStep::Convert], job, source);
        self.store.tour = Some(Tour { conversions: [*conversion].into(), ..tour });
        Ok(())
    }

    pub(super) fn refuse_second_tour(&mut self) -> Result<()> {
        match &self.store.tour {
            Some(tour) if tour.is_at_work() => {
                let step = tour.step().map_or("", TourStep::label);
                Err(Error::BadRequest {
                    message: format!("a chain of jobs is at work already, {step}: wait for its end or cancel it"),
                })
            }
            _ => Ok(()),
        }
    }

    /// Takes the next step once the job of the present one has ended.
    pub(super) fn go_on_with_tour(&mut self, ended: JobId, result: Result<Output>) {
        let Some(mut tour) = self.store.tour.take_if(|tour| tour.is_at_work() && tour.job == ended) else { return };
        match result.and_then(|output| self.next_of_tour(&mut tour, output)) {
            Ok(Some(job)) => {
                tour.job = job;
                tour.step_idx += 1;
                self.show_step(tour.step());
                self.store.tour = Some(tour);
            }
            Ok(None) => self.end_tour(&tour),
            Err(error) => {
                tour.failure = Some(error);
                self.store.tour = Some(tour);
            }
        }
    }

    /// Submits the job of the next step, made from what the present one has delivered; `None` after the last.
    fn next_of_tour(&mut self, tour: &mut Tour, output: Output) -> Result<Option<JobId>> {
        match output {
            Output::Imatrix(collected) => self.take_imatrix(&collected.path),
            Output::Weighed(facts) => self.spend_in_tour(tour, &facts)?,
            Output::Conversions(made) => tour.files.extend(made.into_iter().map(|made| made.path)),
            Output::Imported { made, model } => {
                tour.source.clone_from(&model.path);
                tour.files.extend(made.into_iter().map(|made| made.path).filter(|path| *path != model.path));
            }
            Output::Outcomes(outcomes) => fail_if_all_failed(outcomes.iter().map(|outcome| &outcome.result))?,
            Output::Quality(outcomes) => fail_if_all_failed(outcomes.iter().map(|outcome| &outcome.result))?,
            _ => {}
        }
        let job = match tour.next_step() {
            Some(TourStep::Convert) => match tour.conversions.pop_front() {
                Some(job) => job,
                None => self.sample_conversion()?,
            },
            Some(TourStep::Measure) => {
                let files = std::iter::once(&tour.source).chain(&tour.files).cloned().collect();
                Job::Bench { request: self.bench_request(files) }
            }
            // A job beside the chain reports itself what it could not make: such files are left out here.
            Some(TourStep::Judge) => {
                let is_made = |path: &PathBuf| self.store.conversions.iter().any(|made| made.path == *path);
                tour.files.retain(|path| is_made(path) || path.exists());
                Job::Quality { request: self.quality_request(tour.source.clone(), tour.files.clone()) }
            }
            // Only the first step opens, collects or weighs.
            None | Some(TourStep::Open | TourStep::Collect | TourStep::Weigh) => return Ok(None),
        };
        self.submit_for_id(&job).map(Some)
    }

    /// Shows the page of this step, unless the user has gone elsewhere meanwhile.
    fn show_step(&mut self, step: Option<TourStep>) {
        let page = &mut self.form.page;
        match (step, *page) {
            (Some(TourStep::Convert), Page::Model) => *page = Page::Optimize,
            (Some(TourStep::Measure | TourStep::Judge), Page::Optimize | Page::Plan) => {
                *page = Page::Compare;
                self.form.compare_tab = CompareTab::Levels;
            }
            _ => {}
        }
    }

    fn end_tour(&mut self, tour: &Tour) {
        let is_compared = tour.steps.contains(&TourStep::Judge);
        if is_compared && self.form.page != Page::Compare {
            let text = format!("Compared {}", count_of(tour.files.len(), "level"));
            self.toasts.push(Toast::new(text).with_action("Show", Command::Show(Page::Compare)));
        }
    }

    fn sample_conversion(&self) -> Result<Job> {
        let parent = sample_parent()?;
        let sample = convert::sample_path(&parent);
        // Another model may have been opened meanwhile.
        let checked = self.store.checkpoint.as_ref().filter(|checked| checked.checkpoint.path == sample);
        let Some(model) = checked.and_then(|checked| checked.model.clone()) else {
            return Err(Error::BadRequest { message: "another model was opened before the sample could be converted".into() });
        };
        let levels = model.own_level().into_iter().chain(convert::SAMPLE_LEVELS).collect();
        let request = ConvertRequest {
            overwrite: Overwrite::Allowed,
            resume: Resume::IfSame,
            ..ConvertRequest::new(levels, parent.join("levels"))
        };
        Ok(Job::Convert { model, request, calibration: Calibration::default() })
    }
}

/// Fails with the first error when all files failed: then there is nothing to go on with. One that failed among others is shown
/// beside them.
fn fail_if_all_failed<'a, T: 'a>(mut results: impl Iterator<Item = &'a Result<T>>) -> Result<()> {
    let Some(Err(first)) = results.next() else { return Ok(()) };
    if results.all(std::result::Result::is_err) { Err(first.clone()) } else { Ok(()) }
}

pub(super) fn sample_parent() -> Result<PathBuf> {
    convert::sample_parent().ok_or_else(|| Error::Internal { message: "the system names no data folder for the sample".into() })
}
