//! What goes to the worker and what comes back.

use std::path::PathBuf;
use std::sync::Arc;

use super::history::{HistoryAnswer, HistoryRequest};
use crate::advise::CheckedCheckpoint;
use crate::bench::known::{FindRequest, Known};
use crate::bench::quality::{QualityOutcome, QualityRequest};
use crate::bench::tensors::tensor_error::TensorErrors;
use crate::bench::{AnswerOutcome, AnswerRequest, BenchRequest, Outcome};
use crate::calibrate::imatrix::{CollectRequest, Collected};
use crate::convert::{self, Conversion, ConvertRequest, Removal, Verification, VerifyRequest};
use crate::deploy::ExportRequest;
use crate::error::Error;
use crate::format::CachedModel;
use crate::hardware::{Bandwidth, Disk, Machine, Runtime};
use crate::make::{BudgetFacts, Calibration};
use crate::model::{Level, Model, OnnxNetwork, RuntimeId};
use crate::monitor::Progress;

/// Names one job of this process; later jobs have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Work for the background.
#[derive(Debug, Clone)]
pub enum Job {
    /// Read a model's headers.
    Inspect {
        /// The file or folder.
        path: PathBuf,
    },
    /// Find out what this machine is and measure its memory and disk.
    Detect {
        /// The folder whose disk is measured.
        output_dir: PathBuf,
    },
    /// Write a model at several levels.
    Convert {
        /// The source.
        model: Arc<Model>,
        /// What to make of it.
        request: ConvertRequest,
        /// What calibrated levels are calibrated on.
        calibration: Calibration,
    },
    /// Open a model and write it at several levels, whatever is open in the window.
    ConvertFile {
        /// The file or folder.
        path: PathBuf,
        /// What to make of it; an empty folder for outputs means beside it.
        request: ConvertRequest,
    },
    /// Measure models.
    Bench {
        /// Which and how.
        request: BenchRequest,
    },
    /// Compare the tensors of two files.
    TensorErrors {
        /// The file that the other was made from.
        source: PathBuf,
        /// The converted file.
        converted: PathBuf,
    },
    /// Compare models with their reference on a text.
    Quality {
        /// Which and how.
        request: QualityRequest,
    },
    /// Read or change the history, beside all other jobs.
    History(HistoryRequest),
    /// Ask several models the same prompts.
    Answer {
        /// Which and what.
        request: AnswerRequest,
    },
    /// Write what is shown into a new file, beside all other jobs.
    Export(Box<ExportRequest>),
    /// Look for models in the local Hugging Face cache, beside all other jobs.
    FindModels,
    /// Look for the levels and earlier measurements of a model, beside all other jobs.
    FindKnown {
        /// Whose, and where.
        request: FindRequest,
    },
    /// Take converted files away, beside all other jobs. The history keeps their runs.
    Remove {
        /// The files.
        paths: Vec<PathBuf>,
        /// Where they go.
        removal: Removal,
    },
    /// Find the disk of a folder that may not exist yet, and what is free there, beside all other jobs.
    FindDisk {
        /// The folder.
        dir: PathBuf,
    },
    /// Collect an importance matrix.
    CollectImatrix {
        /// Of what and on which text.
        request: Box<CollectRequest>,
        /// The conversion that will follow, with the matrix: what would make it fail is reported before the matrix is
        /// collected.
        before: Option<Box<(Arc<Model>, ConvertRequest)>>,
    },
    /// Learn what each tensor of a model is worth, for budgets.
    Weigh {
        /// The model.
        model: Arc<Model>,
        /// What it runs over.
        calibration: Calibration,
    },
    /// Compare a file with the checksums that it carries.
    Verify {
        /// Which, and what it should be made from.
        request: VerifyRequest,
    },
    /// Set up a runtime that is not built in.
    SetUp {
        /// Which.
        runtime: RuntimeId,
    },
    /// Remove a runtime that Planish has set up.
    RemoveRuntime {
        /// Which.
        runtime: RuntimeId,
    },
}

impl Job {
    /// True for what takes a moment and runs beside the job at work.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        matches!(
            self,
            Self::History(_)
                | Self::Export(_)
                | Self::FindModels
                | Self::FindKnown { .. }
                | Self::FindDisk { .. }
                | Self::Remove { .. }
        )
    }

    /// The source of what it converts or measures, and the files that it writes.
    #[must_use]
    pub fn subject(&self) -> (Option<PathBuf>, Vec<PathBuf>) {
        match self {
            Self::Convert { model, request, .. } => {
                let path = |level: &Level| convert::output_path_by(model, *level, &request.overrides, &request.out_dir);
                (Some(model.path.clone()), request.levels.iter().map(path).collect())
            }
            // Its outputs have names only once it is open.
            Self::ConvertFile { path, .. } => (Some(path.clone()), Vec::new()),
            Self::TensorErrors { source, .. } => (Some(source.clone()), Vec::new()),
            Self::Quality { request } => (Some(request.reference.clone()), Vec::new()),
            Self::CollectImatrix { request, .. } => (Some(request.model.clone()), vec![request.out.clone()]),
            Self::Weigh { model, .. } => (Some(model.path.clone()), Vec::new()),
            Self::Bench { .. }
            | Self::Inspect { .. }
            | Self::Detect { .. }
            | Self::History(_)
            | Self::Answer { .. }
            | Self::Export(_)
            | Self::FindModels
            | Self::FindKnown { .. }
            | Self::Remove { .. }
            | Self::FindDisk { .. }
            | Self::Verify { .. }
            | Self::SetUp { .. }
            | Self::RemoveRuntime { .. } => (None, Vec::new()),
        }
    }
}

/// What a job delivers, at its end or in parts.
#[derive(Debug, Clone)]
pub enum Output {
    /// From `Job::Inspect`, when it is a model that can be converted and run.
    Model(Arc<Model>),
    /// From `Job::Detect`.
    Machine(Box<Machine>),
    /// From `Job::Convert` and `Job::ConvertFile`.
    Conversions(Vec<Conversion>),
    /// From `Job::Bench`.
    Outcomes(Vec<Outcome>),
    /// From `Job::TensorErrors`.
    TensorErrors(Arc<TensorErrors>),
    /// From `Job::Quality`, in parts as well.
    Quality(Vec<QualityOutcome>),
    /// From `Job::History`.
    History(HistoryAnswer),
    /// From `Job::Answer`, in parts as well.
    Answers(Vec<AnswerOutcome>),
    /// From `Job::Export`: the file that was written.
    Exported(PathBuf),
    /// From `Job::Inspect`, when it is a checkpoint.
    Checkpoint(Arc<CheckedCheckpoint>),
    /// From `Job::Inspect`, when it is an ONNX network.
    Network(Arc<OnnxNetwork>),
    /// Files made from a checkpoint, with the one among them that keeps every weight: it stands for the checkpoint from now on.
    Imported {
        /// All of them.
        made: Vec<Conversion>,
        /// The one that keeps every weight.
        model: Arc<Model>,
    },
    /// From `Job::Weigh`.
    Weighed(Arc<BudgetFacts>),
    /// From `Job::FindModels`.
    FoundModels(Vec<CachedModel>),
    /// From `Job::FindKnown`.
    Known(Box<Known>),
    /// From `Job::Remove`, in parts: files that are gone.
    Removed(Vec<PathBuf>),
    /// From `Job::FindDisk`.
    Disk {
        /// The folder.
        dir: PathBuf,
        /// The disk on which it lies, or will lie.
        disk: Option<Disk>,
    },
    /// From `Job::CollectImatrix`.
    Imatrix(Arc<Collected>),
    /// From `Job::Verify`.
    Verified(Arc<Verification>),
    /// From `Job::SetUp` and `Job::RemoveRuntime`: what runs models here now.
    Runtimes(Vec<Runtime>),
}

impl Output {
    /// True for what is kept in the history.
    #[must_use]
    pub fn is_measurement(&self) -> bool {
        matches!(self, Self::Outcomes(_) | Self::Quality(_))
    }
}

/// What the worker says. Each job sends one `Started`, any number of `Progress` and `Partial`, exactly one `Finished`;
/// a job cancelled while it waits sends only `Finished`.
#[derive(Debug, Clone)]
pub enum Event {
    /// Work has begun.
    Started {
        /// Which job.
        id: JobId,
    },
    /// How far it is.
    Progress {
        /// Which job.
        id: JobId,
        /// How far.
        progress: Progress,
        /// Since the start, in seconds.
        elapsed_secs: f64,
    },
    /// It ended.
    Finished {
        /// Which job.
        id: JobId,
        /// What it delivers, or why not.
        result: Result<Output, Error>,
        /// Since the start, in seconds; 0 for a job that never started.
        elapsed_secs: f64,
    },
    /// The user picked something in a native dialog; `None`: cancelled, or no dialog exists here.
    Picked {
        /// What was asked for.
        wanted: Picked,
        /// The choice.
        path: Option<PathBuf>,
    },
    /// The system has no file dialog to ask in.
    NoDialog {
        /// What was to be asked for.
        wanted: Picked,
    },
    /// The memory bandwidth, measured again in a quiet moment, because the machine was busy before.
    Bandwidth {
        /// The new one.
        bandwidth: Bandwidth,
    },
    /// Something outside a job's own work failed: the file manager, a program to open a file, keeping a run in the history.
    Refused {
        /// Why.
        error: Error,
    },
    /// A part of what a job delivers, before its end; it is kept when the job is cancelled.
    Partial {
        /// Which job.
        id: JobId,
        /// That part.
        output: Output,
    },
}

/// What a native dialog was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picked {
    /// The folder of a checkpoint to open.
    ModelFolder,
    /// A model file.
    Model,
    /// The folder for outputs.
    OutputDir,
    /// An importance matrix.
    Imatrix,
    /// A text to collect an importance matrix on.
    CalibrationText,
}
