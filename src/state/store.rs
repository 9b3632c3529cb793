//! Facts: what jobs have found. They change through events of the worker (`Store::apply`), when files go away and when a job is
//! submitted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::opened::{Aside, FoundNote};
use super::{Form, JobKind, JobRecord, JobStatus, Slot, TextChoice, Tour};
use crate::advise::CheckedCheckpoint;
use crate::bench::history::{Comparison, Kind, Row};
use crate::bench::known::RunOrigin;
use crate::bench::quality::QualityOutcome;
use crate::bench::tensors::tensor_error::TensorErrors;
use crate::bench::{AnswerOutcome, Outcome};
use crate::calibrate::imatrix::Collected;
use crate::convert::{Conversion, Verification};
use crate::error::Error;
use crate::format::CachedModel;
use crate::hardware::{Disk, Machine};
use crate::make::BudgetFacts;
use crate::model::{Model, OnnxNetwork};
use crate::worker::{Event, HistoryAnswer, HistoryRequest, Job, JobId, Output};

/// Everything that jobs have delivered.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// The open model.
    pub model: Slot<Arc<Model>>,
    /// The path that `model` is about, whether it could be read or not.
    pub model_path: Option<PathBuf>,
    /// The model that is being opened while another is open, and its job.
    pub opening: Option<(JobId, PathBuf)>,
    /// The file that could not be opened while another is open, until the next try.
    pub open_failure: Option<(PathBuf, Error)>,
    /// What was made and measured of models that were open before, the latest last.
    pub aside: Vec<Aside>,
    /// What the disk and the history had of the open model; `None` until that is known.
    pub found: Option<FoundNote>,
    /// Where those of `outcomes` and `quality` come from that were not measured in this session.
    pub origins: Vec<RunOrigin>,
    /// This machine.
    pub machine: Slot<Box<Machine>>,
    /// Files made from the open model: in this session, or found on the disk.
    pub conversions: Vec<Conversion>,
    /// Measurements, the latest of each file: of this session, or from the history.
    pub outcomes: Vec<Outcome>,
    /// All jobs, oldest first.
    pub jobs: Vec<JobRecord>,
    /// The chain of jobs that is at work, or has failed and not been read yet.
    pub tour: Option<Tour>,
    /// Why a wish, or something beside a job, could not be carried out; until the next job that the user asks for.
    pub refusal: Option<Error>,
    /// What the user should know, until it is taken away: for example that the settings could not be read.
    pub notices: Vec<String>,
    /// The tensors of one converted file beside those of its source.
    pub tensor_errors: Slot<Arc<TensorErrors>>,
    /// What was lost, the latest measurement of each file: of this session, or from the history.
    pub quality: Vec<QualityOutcome>,
    /// All runs of the history, the latest first.
    pub history: Slot<Arc<Vec<Row>>>,
    /// Runs of the history beside each other.
    pub history_comparison: Slot<Arc<Comparison>>,
    /// The latest file that the history was exported to.
    pub history_export: Option<PathBuf>,
    /// Answers to the latest prompts in the order of asking, as far as they have come.
    pub answers: Vec<AnswerOutcome>,
    /// The latest report, plot or table that was written; `None` while the next one is being written.
    pub exported: Option<PathBuf>,
    /// The open checkpoint; `model` is what it becomes, if it can, or the file that stands for it.
    pub checkpoint: Option<Arc<CheckedCheckpoint>>,
    /// The open ONNX network, which is shown instead of a model.
    pub network: Option<Arc<OnnxNetwork>>,
    /// Models in the local Hugging Face cache.
    pub cached: Vec<CachedModel>,
    /// The importance matrix that was collected for the open model.
    pub imatrix: Option<Arc<Collected>>,
    /// What each tensor of a model is worth, the latest that was asked for: of the open model or of another.
    pub budget: Slot<Arc<BudgetFacts>>,
    /// True once a file dialog was asked for and the system has none.
    pub lacks_file_dialogs: bool,
    /// The folder for outputs, and the disk on which it lies or will lie; `None` where the system does not tell.
    pub output_disk: Option<(PathBuf, Option<Disk>)>,
    /// What comparing the checksums of files found: the latest result for each file.
    pub verified: Vec<Arc<Verification>>,
}

impl Store {
    /// Notes a job that the worker has accepted.
    pub fn submitted(&mut self, id: JobId, job: &Job) {
        let kind = match job {
            Job::Inspect { path } => {
                self.begin_opening(id, path);
                JobKind::Inspect(path.clone())
            }
            Job::Detect { .. } => {
                self.machine = Slot::Waiting { id };
                JobKind::Detect
            }
            Job::Convert { request, .. } | Job::ConvertFile { request, .. } => JobKind::Convert(request.levels.clone()),
            Job::Bench { request } => JobKind::Bench(request.models.len()),
            Job::TensorErrors { converted, .. } => {
                self.tensor_errors = Slot::Waiting { id };
                JobKind::TensorErrors(converted.clone())
            }
            Job::Quality { request } => JobKind::Quality(request.candidates.len()),
            Job::History(request) => {
                match request {
                    // What is known stays on the screen until the answer comes.
                    HistoryRequest::List if self.history.ready().is_none() => self.history = Slot::Waiting { id },
                    HistoryRequest::Compare { .. } => self.history_comparison = Slot::Waiting { id },
                    HistoryRequest::Export { .. } => self.history_export = None,
                    HistoryRequest::List | HistoryRequest::Delete { .. } => {}
                }
                JobKind::History(request.clone())
            }
            Job::Answer { request } => {
                self.answers.clear();
                JobKind::Answer(request.paths.len())
            }
            Job::Export(request) => {
                self.exported = None;
                JobKind::Export(request.what)
            }
            Job::FindModels => JobKind::FindModels,
            Job::FindKnown { .. } => JobKind::FindKnown,
            Job::Remove { paths, .. } => JobKind::Remove(paths.len()),
            Job::FindDisk { .. } => JobKind::FindDisk,
            Job::CollectImatrix { request, .. } => JobKind::CollectImatrix(request.model.clone()),
            Job::Weigh { model, .. } => {
                self.budget = Slot::Waiting { id };
                JobKind::Weigh(model.path.clone())
            }
            Job::Verify { request } => {
                self.verified.retain(|found| found.path != request.path);
                JobKind::Verify(request.path.clone())
            }
            Job::SetUp { runtime } => JobKind::SetUp(*runtime),
            Job::RemoveRuntime { runtime } => JobKind::RemoveRuntime(*runtime),
        };
        // The list is read again by itself: that must not take away what the user has not read yet.
        if !matches!(job, Job::History(HistoryRequest::List) | Job::FindKnown { .. } | Job::FindDisk { .. }) {
            self.refusal = None;
        }
        let (source, outputs) = job.subject();
        let is_of_open = matches!(job, Job::Bench { .. } | Job::Answer { .. });
        let model = if is_of_open { self.model.ready().map(|model| model.path.clone()) } else { source };
        self.jobs.push(JobRecord { model, outputs, ..JobRecord::new(id, kind) });
    }

    /// Notes that the user wants a job to end.
    pub fn cancelling(&mut self, id: JobId) {
        if let Some(JobRecord { status: JobStatus::Running { is_cancelling, .. }, .. }) = self.job_mut(id) {
            *is_cancelling = true;
        }
    }

    /// Takes in what the worker says.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Started { id } => {
                if let Some(job) = self.job_mut(id) {
                    job.status = JobStatus::Running { progress: None, elapsed_secs: 0.0, is_cancelling: false };
                }
            }
            Event::Progress { id, progress, elapsed_secs } => {
                if let Some(job) = self.job_mut(id) {
                    job.report(progress, elapsed_secs);
                }
            }
            Event::Finished { id, result, elapsed_secs } => self.finish(id, result, elapsed_secs),
            Event::Refused { error } => self.refusal = Some(error),
            Event::Bandwidth { bandwidth } => {
                if let Slot::Ready(machine) = &mut self.machine {
                    machine.bandwidth = Some(bandwidth);
                }
            }
            Event::Picked { .. } => {}
            Event::NoDialog { .. } => self.lacks_file_dialogs = true,
            Event::Partial { id, output } => self.take(id, output),
        }
    }

    fn finish(&mut self, id: JobId, result: Result<Output, Error>, elapsed_secs: f64) {
        if let Some(JobKind::History(request)) = self.job_mut(id).map(|job| job.kind.clone()) {
            return self.finish_history(id, &request, result, elapsed_secs);
        }
        let is_unasked = self.job_mut(id).is_some_and(|job| job.kind.is_unasked());
        if is_unasked {
            self.jobs.retain(|job| job.id != id);
        } else if let Some(job) = self.job_mut(id) {
            job.status = match &result {
                Err(error) => JobStatus::Failed(error.clone()),
                Ok(_) => JobStatus::Done { elapsed_secs },
            };
        }
        match result {
            Ok(output) => self.take(id, output),
            Err(error) if is_unasked => self.refusal = Some(error),
            Err(error) => {
                self.fail_opening(id, &error);
                self.model.settle(id, Err(error.clone()));
                self.tensor_errors.settle(id, Err(error.clone()));
                self.budget.settle(id, Err(error.clone()));
                self.machine.settle(id, Err(error));
            }
        }
    }

    /// Takes in what a job delivers, at its end or before.
    fn take(&mut self, id: JobId, output: Output) {
        match output {
            Output::Model(model) => self.open_model(id, model),
            Output::Machine(machine) => {
                self.machine.settle(id, Ok(machine));
            }
            Output::Conversions(new) => self.take_conversions(new),
            Output::Imported { made, model } => self.adopt(made, model),
            Output::Outcomes(new) => {
                for outcome in new {
                    self.origins.retain(|origin| origin.kind != Kind::Speed || origin.path != outcome.path);
                    self.outcomes.retain(|known| known.path != outcome.path);
                    self.outcomes.push(outcome);
                }
            }
            // `finish_history` takes it.
            Output::History(_) => {}
            Output::Exported(path) => self.exported = Some(path),
            Output::Weighed(facts) => {
                self.budget.settle(id, Ok(facts));
            }
            Output::FoundModels(found) => self.cached = found,
            Output::Known(known) => self.take_known(*known),
            Output::Removed(paths) => self.forget_files(&paths),
            Output::Runtimes(runtimes) => {
                if let Slot::Ready(machine) = &mut self.machine {
                    machine.runtimes = runtimes;
                }
            }
            Output::Disk { dir, disk } => self.output_disk = Some((dir, disk)),
            Output::Verified(found) => {
                self.verified.retain(|known| known.path != found.path);
                self.verified.push(found);
            }
            Output::Imatrix(collected) => {
                // The user may have opened another model meanwhile.
                if self.model.ready().is_some_and(|model| collected.sources.contains(&model.path)) {
                    self.imatrix = Some(collected);
                }
            }
            Output::Checkpoint(checked) => self.open_checkpoint(id, checked),
            Output::Network(network) => self.open_network(id, network),
            Output::TensorErrors(errors) => {
                self.tensor_errors.settle(id, Ok(errors));
            }
            Output::Quality(new) => {
                for outcome in new {
                    // As with conversions: it may be of another model than the open one.
                    if !self.conversions.iter().any(|made| made.path == outcome.path) {
                        continue;
                    }
                    self.origins.retain(|origin| origin.kind != Kind::Quality || origin.path != outcome.path);
                    self.quality.retain(|known| known.path != outcome.path);
                    self.quality.push(outcome);
                }
            }
            Output::Answers(new) => {
                for outcome in new {
                    match self
                        .answers
                        .iter_mut()
                        .find(|known| (known.prompt_idx, &known.path) == (outcome.prompt_idx, &outcome.path))
                    {
                        Some(known) => *known = outcome,
                        None => self.answers.push(outcome),
                    }
                }
            }
        }
    }

    /// Takes in what the history says. Answers come in the order of the questions, so the last list is the true one.
    fn finish_history(&mut self, id: JobId, request: &HistoryRequest, result: Result<Output, Error>, elapsed_secs: f64) {
        // Reading takes a moment and shows its result elsewhere: it is no news in the list of jobs.
        if !matches!(request, HistoryRequest::Export { .. }) {
            self.jobs.retain(|job| job.id != id);
        } else if let Some(job) = self.job_mut(id) {
            job.status = match &result {
                Err(error) => JobStatus::Failed(error.clone()),
                Ok(_) => JobStatus::Done { elapsed_secs },
            };
        }
        match (request, result) {
            (_, Ok(Output::History(HistoryAnswer::Runs(rows)))) => {
                let is_there = |compared: &Row| rows.iter().any(|row| row.id == compared.id);
                if self.history_comparison.ready().is_some_and(|comparison| !comparison.runs.iter().all(is_there)) {
                    self.history_comparison = Slot::Empty;
                }
                self.history = Slot::Ready(rows);
            }
            (_, Ok(Output::History(HistoryAnswer::Comparison(comparison)))) => {
                self.history_comparison.settle(id, Ok(comparison));
            }
            (_, Ok(Output::History(HistoryAnswer::Exported(path)))) => self.history_export = Some(path),
            (_, Ok(_)) => {}
            (HistoryRequest::List, Err(error)) => self.history = Slot::Failed(error),
            (HistoryRequest::Compare { .. }, Err(error)) => {
                self.history_comparison.settle(id, Err(error));
            }
            (HistoryRequest::Delete { .. } | HistoryRequest::Export { .. }, Err(error)) => self.refusal = Some(error),
        }
    }

    /// What budgets for the open model are spent by, and the model to spend them on: the checkpoint itself where they were learned from it.
    #[must_use]
    pub fn budget_facts(&self) -> Option<(&Arc<BudgetFacts>, &Arc<Model>)> {
        let facts = self.budget.ready()?;
        let models = [self.model.ready(), self.checkpoint_model()];
        models.into_iter().flatten().find(|model| model.path == facts.model).map(|model| (facts, model))
    }

    /// Whether the open model has run over the form's calibration text, as far as is known: before it was opened, or for a level of this session.
    #[must_use]
    pub fn has_moments(&self, form: &Form) -> bool {
        // Files of earlier sessions took no time of this one; their moments may have been removed since.
        let is_of_now = |made: &Conversion| made.is_calibrated() && made.elapsed_secs > 0.0;
        let is_known = self.found.as_ref().is_some_and(|found| found.has_moments) || self.conversions.iter().any(is_of_now);
        is_known && form.imatrix.text == TextChoice::Bundled
    }

    /// The job at work; not a quick one. Between two jobs it is the one that comes next: a chain of jobs never looks idle.
    #[must_use]
    pub fn running_job(&self) -> Option<&JobRecord> {
        let first = |is_wanted: fn(&JobRecord) -> bool| self.jobs.iter().find(|job| is_wanted(job) && !job.kind.is_quick());
        first(|job| matches!(job.status, JobStatus::Running { .. })).or_else(|| first(JobRecord::is_open))
    }

    /// The disk of the folder for outputs; `None` while it is not known.
    #[must_use]
    pub fn disk_of(&self, dir: &Path) -> Option<&Disk> {
        self.output_disk.as_ref().filter(|(known, _)| known == dir)?.1.as_ref()
    }

    /// The latest job for which `is_wanted` is true.
    pub fn latest_job(&self, is_wanted: impl Fn(&JobKind) -> bool) -> Option<&JobRecord> {
        self.jobs.iter().rev().find(|job| is_wanted(&job.kind))
    }

    /// The latest measurement of a file.
    #[must_use]
    pub fn outcome_of(&self, path: &Path) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.path == path)
    }

    /// The latest measurement of what a file has lost.
    #[must_use]
    pub fn quality_of(&self, path: &Path) -> Option<&QualityOutcome> {
        self.quality.iter().rev().find(|outcome| outcome.path == path)
    }

    /// Takes ended jobs off the list.
    pub fn clear_finished(&mut self) {
        self.jobs.retain(JobRecord::is_open);
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut JobRecord> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
