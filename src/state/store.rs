//! Facts. They change only in `Store::apply`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Slot;
use crate::bench::Outcome;
use crate::bench::history::{Comparison, Row};
use crate::bench::quality::QualityOutcome;
use crate::bench::tensor_error::TensorErrors;
use crate::convert::Conversion;
use crate::deploy::Export;
use crate::error::Error;
use crate::hardware::Machine;
use crate::model::{Level, Model};
use crate::monitor::Progress;
use crate::worker::{Event, HistoryAnswer, HistoryRequest, Job, JobId, Output};

/// What kind of work a job is, with what the screen says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// Reading a model's headers.
    Inspect(PathBuf),
    /// Finding out what the machine is.
    Detect,
    /// Converting to these levels.
    Convert(Vec<Level>),
    /// Measuring so many files.
    Bench(usize),
    /// Comparing the tensors of this converted file with its source's.
    TensorErrors(PathBuf),
    /// Comparing so many files with the source.
    Quality(usize),
    /// Reading or changing the history.
    History(HistoryRequest),
    /// Writing the report, a plot or the table.
    Export(Export),
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq)]
pub enum JobStatus {
    /// Waits for the jobs before it.
    Queued,
    /// At work.
    Running {
        /// How far; `None` before the first report.
        progress: Option<Progress>,
        /// Since the start, in seconds.
        elapsed_secs: f64,
        /// True once the user has asked it to end.
        is_cancelling: bool,
    },
    /// Delivered after so many seconds.
    Done {
        /// Since the start, in seconds.
        elapsed_secs: f64,
    },
    /// Ended without a result.
    Failed(Error),
}

/// A job as the queue shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Which.
    pub id: JobId,
    /// What.
    pub kind: JobKind,
    /// Where it stands.
    pub status: JobStatus,
}

impl JobRecord {
    /// True until it has ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, JobStatus::Queued | JobStatus::Running { .. })
    }

    /// Seconds until the end at the present speed; `None` until a twentieth of a second and one per cent are done.
    #[must_use]
    pub fn left_secs(&self) -> Option<f64> {
        match &self.status {
            JobStatus::Running { progress: Some(progress), elapsed_secs, .. } => {
                let fraction = f64::from(progress.fraction()?);
                (fraction >= 0.01 && *elapsed_secs > 0.05).then(|| elapsed_secs * (1.0 - fraction) / fraction)
            }
            _ => None,
        }
    }

    /// Units of progress per second since the start; `None` before the first report.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    pub fn rate_per_sec(&self) -> Option<f64> {
        match &self.status {
            JobStatus::Running { progress: Some(progress), elapsed_secs, .. } if *elapsed_secs > 0.05 => {
                Some(progress.done as f64 / elapsed_secs)
            }
            _ => None,
        }
    }
}

/// Everything that jobs have delivered.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// The open model.
    pub model: Slot<Arc<Model>>,
    /// The path that `model` is about, whether it could be read or not.
    pub model_path: Option<PathBuf>,
    /// This machine.
    pub machine: Slot<Box<Machine>>,
    /// Files made from the open model in this session, the latest of each level.
    pub conversions: Vec<Conversion>,
    /// Measurements of this session, the latest of each file.
    pub outcomes: Vec<Outcome>,
    /// All jobs, oldest first.
    pub jobs: Vec<JobRecord>,
    /// A wish that could not even be started, until the next one can.
    pub refusal: Option<Error>,
    /// The tensors of one converted file beside those of its source.
    pub tensor_errors: Slot<Arc<TensorErrors>>,
    /// What was lost, as measured in this session: the latest of each file.
    pub quality: Vec<QualityOutcome>,
    /// All runs of the history, the latest first.
    pub history: Slot<Arc<Vec<Row>>>,
    /// Runs of the history beside each other.
    pub history_comparison: Slot<Arc<Comparison>>,
    /// The latest file that the history was exported to.
    pub history_export: Option<PathBuf>,
    /// The latest report, plot or table that was written; `None` while the next is.
    pub exported: Option<PathBuf>,
}

impl Store {
    /// Notes a job that the worker has accepted.
    pub fn submitted(&mut self, id: JobId, job: &Job) {
        let kind = match job {
            Job::Inspect { path } => {
                self.model = Slot::Waiting { id };
                self.model_path = Some(path.clone());
                JobKind::Inspect(path.clone())
            }
            Job::Detect { .. } => {
                self.machine = Slot::Waiting { id };
                JobKind::Detect
            }
            Job::Convert { request, .. } => JobKind::Convert(request.levels.clone()),
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
            Job::Export(request) => {
                self.exported = None;
                JobKind::Export(request.what)
            }
        };
        // The list is read again by itself: that must not take away what the user has not read yet.
        if !matches!(job, Job::History(HistoryRequest::List)) {
            self.refusal = None;
        }
        self.jobs.push(JobRecord { id, kind, status: JobStatus::Queued });
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
            Event::Progress { id, progress: new, elapsed_secs: now } => {
                if let Some(JobRecord { status: JobStatus::Running { progress, elapsed_secs, .. }, .. }) = self.job_mut(id) {
                    *progress = Some(new);
                    *elapsed_secs = now;
                }
            }
            Event::Finished { id, result, elapsed_secs } => self.finish(id, result, elapsed_secs),
            Event::Refused { error } => self.refusal = Some(error),
            Event::Picked { .. } => {}
            Event::Partial { id, output } => self.take(id, output),
        }
    }

    fn finish(&mut self, id: JobId, result: Result<Output, Error>, elapsed_secs: f64) {
        if let Some(JobKind::History(request)) = self.job_mut(id).map(|job| job.kind.clone()) {
            return self.finish_history(id, &request, result, elapsed_secs);
        }
        if let Some(job) = self.job_mut(id) {
            job.status = match &result {
                Err(error) => JobStatus::Failed(error.clone()),
                Ok(_) => JobStatus::Done { elapsed_secs },
            };
        }
        match result {
            Ok(output) => self.take(id, output),
            Err(error) => {
                self.model.settle(id, Err(error.clone()));
                self.tensor_errors.settle(id, Err(error.clone()));
                self.machine.settle(id, Err(error));
            }
        }
    }

    /// Takes in what a job delivers, at its end or before.
    fn take(&mut self, id: JobId, output: Output) {
        match output {
            Output::Model(model) => {
                self.forget_tensor_errors(|errors| errors.source != model.path);
                let is_other = self.conversions.iter().any(|conversion| conversion.source != model.path);
                if self.model.settle(id, Ok(model)) && is_other {
                    self.conversions.clear();
                    self.outcomes.clear();
                    self.quality.clear();
                }
            }
            Output::Machine(machine) => {
                self.machine.settle(id, Ok(machine));
            }
            Output::Conversions(new) => {
                let open_path = self.model.ready().map(|model| model.path.clone());
                for conversion in new {
                    // The user may have opened another model meanwhile: the file is on disk, but it is not about this one.
                    if open_path.as_ref() != Some(&conversion.source) {
                        continue;
                    }
                    self.outcomes.retain(|outcome| outcome.path != conversion.path);
                    self.forget_tensor_errors(|errors| errors.converted == conversion.path);
                    self.quality.retain(|outcome| outcome.path != conversion.path);
                    self.conversions.retain(|known| known.path != conversion.path);
                    self.conversions.push(conversion);
                }
            }
            Output::Outcomes(new) => {
                for outcome in new {
                    self.outcomes.retain(|known| known.path != outcome.path);
                    self.outcomes.push(outcome);
                }
            }
            // Of `finish_history`.
            Output::History(_) => {}
            Output::Exported(path) => self.exported = Some(path),
            Output::TensorErrors(errors) => {
                self.tensor_errors.settle(id, Ok(errors));
            }
            Output::Quality(new) => {
                for outcome in new {
                    self.quality.retain(|known| known.path != outcome.path);
                    self.quality.push(outcome);
                }
            }
        }
    }

    /// Drops errors that are no longer of the files they were measured on.
    fn forget_tensor_errors(&mut self, is_old: impl Fn(&TensorErrors) -> bool) {
        if self.tensor_errors.ready().is_some_and(|errors| is_old(errors)) {
            self.tensor_errors = Slot::Empty;
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

    /// The job at work; not one on the history or an export, which take a moment and stand beside the others.
    #[must_use]
    pub fn running_job(&self) -> Option<&JobRecord> {
        let is_quick = |job: &JobRecord| matches!(job.kind, JobKind::History(_) | JobKind::Export(_));
        self.jobs.iter().find(|job| matches!(job.status, JobStatus::Running { .. }) && !is_quick(job))
    }

    /// The latest job of which `is_wanted` is true.
    pub fn latest_job(&self, is_wanted: impl Fn(&JobKind) -> bool) -> Option<&JobRecord> {
        self.jobs.iter().rev().find(|job| is_wanted(&job.kind))
    }

    /// The latest measurement of a file.
    #[must_use]
    pub fn outcome_of(&self, path: &Path) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.path == path)
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
mod tests {
    use super::*;
    use crate::monitor::ProgressUnit;

    fn conversion(source: &str, path: &str) -> Conversion {
        Conversion {
            level: Level::Q8_0,
            path: path.into(),
            source: source.into(),
            size_bytes: 1,
            bits_per_weight: 8.5,
            elapsed_secs: 1.0,
            warnings: Vec::new(),
        }
    }

    fn model(path: &str) -> Arc<Model> {
        Arc::new(Model {
            path: path.into(),
            files: vec![path.into()],
            size_bytes: 0,
            format_name: "GGUF v3".into(),
            alignment: 32,
            metadata: crate::model::Metadata::default(),
            tensors: Vec::new(),
            hyperparameters: crate::model::Hyperparameters::default(),
            warnings: Vec::new(),
        })
    }

    fn open(store: &mut Store, id: u64, path: &str) {
        let id = JobId(id);
        store.submitted(id, &Job::Inspect { path: path.into() });
        store.apply(Event::Started { id });
        store.apply(Event::Finished { id, result: Ok(Output::Model(model(path))), elapsed_secs: 1.0 });
    }

    fn convert(store: &mut Store, id: u64, source: &str) -> JobId {
        let id = JobId(id);
        let request = crate::convert::ConvertRequest {
            levels: vec![Level::Q8_0],
            out_dir: "out".into(),
            overwrite: crate::convert::Overwrite::Never,
            n_threads: None,
        };
        store.submitted(id, &Job::Convert { model: model(source), request });
        store.apply(Event::Started { id });
        id
    }

    #[test]
    fn a_second_model_forgets_the_files_of_the_first() {
        let mut store = Store::default();
        open(&mut store, 1, "a.gguf");
        let id = convert(&mut store, 2, "a.gguf");
        store.apply(Event::Finished {
            id,
            result: Ok(Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")])),
            elapsed_secs: 1.0,
        });
        assert_eq!(store.conversions.len(), 1);
        open(&mut store, 3, "b.gguf");
        assert!(store.conversions.is_empty());
    }

    #[test]
    fn files_of_a_model_that_is_no_longer_open_are_not_listed() {
        let mut store = Store::default();
        open(&mut store, 1, "a.gguf");
        let id = convert(&mut store, 2, "a.gguf");
        open(&mut store, 3, "b.gguf");
        store.apply(Event::Finished {
            id,
            result: Ok(Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")])),
            elapsed_secs: 1.0,
        });
        assert!(store.conversions.is_empty());
        assert!(matches!(store.latest_job(|kind| matches!(kind, JobKind::Convert(_))).unwrap().status, JobStatus::Done { .. }));
    }

    #[test]
    fn a_failed_job_keeps_its_error_and_leaves_the_model_alone() {
        let mut store = Store::default();
        open(&mut store, 1, "a.gguf");
        let id = convert(&mut store, 2, "a.gguf");
        store.apply(Event::Finished { id, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
        assert!(store.model.ready().is_some());
        assert_eq!(store.jobs[1].status, JobStatus::Failed(Error::Cancelled));
        store.clear_finished();
        assert!(store.jobs.is_empty());
    }

    fn ask(store: &mut Store, id: u64, request: HistoryRequest, result: Result<HistoryAnswer, Error>) {
        let id = JobId(id);
        store.submitted(id, &Job::History(request));
        store.apply(Event::Started { id });
        assert!(store.running_job().is_none(), "it stands beside the others");
        store.apply(Event::Finished { id, result: result.map(Output::History), elapsed_secs: 0.1 });
    }

    #[test]
    fn the_history_stays_on_the_screen_while_it_is_read_again() {
        use crate::bench::history::test_runs::{kept, speed};
        let (rows, comparison) = kept(&[speed("Q8_0", &[1.0]), speed("Q4_0", &[2.0])], &[1, 2]);
        let (rows, comparison) = (Arc::new(rows), Arc::new(comparison));
        let mut store = Store::default();
        ask(&mut store, 1, HistoryRequest::List, Ok(HistoryAnswer::Runs(Arc::clone(&rows))));
        ask(&mut store, 2, HistoryRequest::Compare { ids: vec![1, 2] }, Ok(HistoryAnswer::Comparison(comparison)));
        assert!(store.jobs.is_empty(), "reading is no news");
        store.submitted(JobId(3), &Job::History(HistoryRequest::List));
        assert_eq!(store.history.ready(), Some(&rows));
        store.apply(Event::Finished {
            id: JobId(3),
            result: Ok(Output::History(HistoryAnswer::Runs(Arc::clone(&rows)))),
            elapsed_secs: 0.1,
        });
        assert!(store.history_comparison.ready().is_some());
        let left = Arc::new(rows[..1].to_vec());
        ask(&mut store, 4, HistoryRequest::Delete { ids: vec![1] }, Ok(HistoryAnswer::Runs(left)));
        assert_eq!(store.history.ready().map(|rows| rows.len()), Some(1));
        assert!(store.history_comparison.ready().is_none(), "one of the compared runs is gone");
    }

    #[test]
    fn failures_of_the_history_are_told_where_they_belong() {
        let error = || Error::History { action: "write", reason: "disk full".into(), path: "h".into() };
        let mut store = Store::default();
        ask(&mut store, 1, HistoryRequest::List, Err(error()));
        assert_eq!(store.history.error(), Some(&error()));
        ask(&mut store, 2, HistoryRequest::Delete { ids: vec![1] }, Err(error()));
        assert_eq!(store.refusal, Some(error()));
        store.submitted(JobId(3), &Job::History(HistoryRequest::List));
        assert_eq!(store.refusal, Some(error()), "reading again does not hide it");
        let export =
            || HistoryRequest::Export { ids: vec![1], format: crate::bench::history::ExportFormat::Csv, dir: "out".into() };
        ask(&mut store, 4, export(), Ok(HistoryAnswer::Exported("out/a.csv".into())));
        assert_eq!((&store.refusal, &store.history_export), (&None, &Some("out/a.csv".into())));
        ask(&mut store, 5, export(), Err(error()));
        assert_eq!((&store.refusal, &store.history_export), (&Some(error()), &None));
    }

    #[test]
    fn errors_of_tensors_are_forgotten_with_the_files_they_are_of() {
        let measured = || {
            let mut store = Store::default();
            open(&mut store, 1, "a.gguf");
            let id = JobId(2);
            store.submitted(id, &Job::TensorErrors { source: "a.gguf".into(), converted: "out/a.gguf".into() });
            let errors = TensorErrors {
                source: "a.gguf".into(),
                converted: "out/a.gguf".into(),
                tensors: Vec::new(),
                overall_relative_rms: None,
                warnings: Vec::new(),
            };
            store.apply(Event::Finished { id, result: Ok(Output::TensorErrors(Arc::new(errors))), elapsed_secs: 1.0 });
            assert!(store.tensor_errors.ready().is_some());
            store
        };
        let mut store = measured();
        open(&mut store, 3, "a.gguf");
        assert!(store.tensor_errors.ready().is_some(), "the same model again");
        open(&mut store, 4, "b.gguf");
        assert!(store.tensor_errors.ready().is_none());
        let mut store = measured();
        for (id, path, is_kept) in [(3, "out/other.gguf", true), (4, "out/a.gguf", false)] {
            let id = convert(&mut store, id, "a.gguf");
            let result = Ok(Output::Conversions(vec![conversion("a.gguf", path)]));
            store.apply(Event::Finished { id, result, elapsed_secs: 1.0 });
            assert_eq!(store.tensor_errors.ready().is_some(), is_kept, "{path}");
        }
    }

    #[test]
    fn an_export_is_told_when_it_is_written_and_its_failure_in_the_queue() {
        let mut store = Store::default();
        let mut write = |id, result: Result<PathBuf, Error>| {
            let id = JobId(id);
            let request = crate::deploy::ExportRequest {
                what: Export::Report,
                dir: "out".into(),
                model: model("a.gguf"),
                machine: Box::default(),
                goal: crate::advise::Goal::default(),
                gates: crate::advise::Gates::default(),
                rows: Vec::new(),
            };
            store.submitted(id, &Job::Export(Box::new(request)));
            store.apply(Event::Started { id });
            assert!(store.running_job().is_none(), "it stands beside the others");
            store.apply(Event::Finished { id, result: result.map(Output::Exported), elapsed_secs: 0.1 });
            (store.exported.clone(), store.jobs.last().map(|job| job.status.clone()))
        };
        let done = JobStatus::Done { elapsed_secs: 0.1 };
        assert_eq!(write(1, Ok("out/a-report.html".into())), (Some("out/a-report.html".into()), Some(done)));
        let full = Error::Internal { message: "full".into() };
        assert_eq!(write(2, Err(full.clone())), (None, Some(JobStatus::Failed(full))));
    }

    #[test]
    fn time_left_follows_the_speed() {
        let mut store = Store::default();
        let id = convert(&mut store, 1, "a.gguf");
        assert_eq!(store.jobs[0].left_secs(), None);
        let progress = Progress { stage: String::new(), done: 25, total: 100, unit: ProgressUnit::Bytes };
        store.apply(Event::Progress { id, progress, elapsed_secs: 10.0 });
        assert_eq!((store.jobs[0].left_secs(), store.jobs[0].rate_per_sec()), (Some(30.0), Some(2.5)));
    }
}
