//! Jobs as the window knows them: what they are, which model they are about, and how far they are.

use std::path::PathBuf;

use crate::deploy::Export;
use crate::error::Error;
use crate::model::{Level, RuntimeId};
use crate::monitor::Progress;
use crate::worker::{HistoryRequest, JobId};

/// What kind of work a job is, with what the screen says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// Reading a model's headers.
    Inspect(PathBuf),
    /// Finding out what the machine is.
    Detect,
    /// Converting to these levels.
    Convert(Vec<Level>),
    /// Measuring this many files.
    Bench(usize),
    /// Comparing the tensors of this converted file with its source's.
    TensorErrors(PathBuf),
    /// Comparing this many files with the source.
    Quality(usize),
    /// Reading or changing the history.
    History(HistoryRequest),
    /// Asking this many files.
    Answer(usize),
    /// Writing the report, a plot or the table.
    Export(Export),
    /// Looking for models in the local Hugging Face cache.
    FindModels,
    /// Looking for levels and runs of the open model.
    FindKnown,
    /// Deleting this many files.
    Remove(usize),
    /// Looking for the disk of the folder for outputs.
    FindDisk,
    /// Collecting the importance matrix of this model.
    CollectImatrix(PathBuf),
    /// Learning what each tensor of this model is worth.
    Weigh(PathBuf),
    /// Comparing this file with the checksums that it carries.
    Verify(PathBuf),
    /// Setting up this runtime.
    SetUp(RuntimeId),
    /// Removing this runtime.
    RemoveRuntime(RuntimeId),
}

impl JobKind {
    /// True for what takes a moment and runs beside the job at work: the history, exports, deletions, looking for files.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        matches!(self, Self::History(_) | Self::Export(_) | Self::Remove(_)) || self.is_unasked()
    }

    /// True for what may write or delete files where outputs go: afterwards another amount of space is free.
    #[must_use]
    pub fn changes_free_space(&self) -> bool {
        matches!(self, Self::Convert(_) | Self::CollectImatrix(_) | Self::Remove(_) | Self::SetUp(_) | Self::RemoveRuntime(_))
    }

    /// True for what the program does by itself, which is no news.
    #[must_use]
    pub fn is_unasked(&self) -> bool {
        matches!(self, Self::FindModels | Self::FindKnown | Self::FindDisk)
    }
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
    /// It has delivered its result.
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
    /// The source of what it converts or measures; `None` for jobs that are about no model.
    pub model: Option<PathBuf>,
    /// The files that it writes.
    pub outputs: Vec<PathBuf>,
    /// When its progress began to grow, since the start, in seconds: a part of the work with steps of its own begins anew.
    pub growing_from_secs: f64,
}

impl JobRecord {
    /// A job that waits, about no model in particular.
    #[must_use]
    pub fn new(id: JobId, kind: JobKind) -> Self {
        Self { id, kind, status: JobStatus::Queued, model: None, outputs: Vec::new(), growing_from_secs: 0.0 }
    }

    /// The same job in this state.
    #[must_use]
    pub fn with_status(self, status: JobStatus) -> Self {
        Self { status, ..self }
    }

    /// Takes in how far it has come, `now` seconds after the start; nothing unless it is at work.
    pub(super) fn report(&mut self, new: Progress, now: f64) {
        let JobStatus::Running { progress, elapsed_secs, .. } = &mut self.status else { return };
        if progress.as_ref().is_some_and(|old| new.done < old.done) {
            self.growing_from_secs = now;
        }
        *progress = Some(new);
        *elapsed_secs = now;
    }

    /// How far it has come, and for how many seconds that has grown; `None` in the first twentieth of a second.
    fn growth(&self) -> Option<(&Progress, f64)> {
        match &self.status {
            JobStatus::Running { progress: Some(progress), elapsed_secs, .. } => {
                Some((progress, elapsed_secs - self.growing_from_secs)).filter(|growth| growth.1 > 0.05)
            }
            _ => None,
        }
    }

    /// True until it has ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, JobStatus::Queued | JobStatus::Running { .. })
    }

    /// Seconds until the end at the present speed; `None` until a twentieth of a second and one per cent are done.
    #[must_use]
    pub fn left_secs(&self) -> Option<f64> {
        let (progress, secs) = self.growth()?;
        let fraction = f64::from(progress.fraction()?);
        (fraction >= 0.01).then(|| secs * (1.0 - fraction) / fraction)
    }

    /// Units of progress per second; `None` before the first report and in the first twentieth of a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    pub fn rate_per_sec(&self) -> Option<f64> {
        self.growth().map(|(progress, secs)| progress.done as f64 / secs)
    }
}
