//! A chain of jobs that one click asks for: the sample, *Convert and compare*, or a conversion with a new importance matrix.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::advise::budget::Budget;
use crate::error::Error;
use crate::worker::{Job, JobId};

/// A step of a tour. Each is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TourStep {
    /// A model is being opened.
    Open,
    /// An importance matrix is being collected.
    Collect,
    /// What each tensor is worth is being learned.
    Weigh,
    /// Levels are being made.
    Convert,
    /// Speed and memory are being measured.
    Measure,
    /// Losses are being measured.
    Judge,
}

impl TourStep {
    /// What is being done, for a person: `measuring losses`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "opening the model",
            Self::Collect => "collecting an importance matrix",
            Self::Weigh => "learning what each tensor is worth",
            Self::Convert => "converting",
            Self::Measure => "measuring speed and memory",
            Self::Judge => "measuring losses",
        }
    }
}

/// How far a tour has come. Its end removes it from the store; a failure stays until the user has read it.
#[derive(Debug, Clone)]
pub struct Tour {
    /// Its steps in their order.
    pub steps: Vec<TourStep>,
    /// Index of the one at work, or of the one that failed.
    pub step_idx: usize,
    /// The job of that step.
    pub job: JobId,
    /// What the files are made from and compared with.
    pub source: PathBuf,
    /// The files to compare: those that were there, then those that were made.
    pub files: Vec<PathBuf>,
    /// The conversions that follow, with the choices of the start.
    pub conversions: VecDeque<Job>,
    /// The budget whose conversions follow once it is known what tensors are worth.
    pub budget: Option<Budget>,
    /// Why it ended early; `None` while it is at work.
    pub failure: Option<Error>,
}

impl Tour {
    /// A tour whose first step is this job.
    #[must_use]
    pub fn new(steps: Vec<TourStep>, job: JobId, source: PathBuf) -> Self {
        Self { steps, step_idx: 0, job, source, files: Vec::new(), conversions: VecDeque::new(), budget: None, failure: None }
    }

    /// The step at work, or the one that failed.
    #[must_use]
    pub fn step(&self) -> Option<TourStep> {
        self.steps.get(self.step_idx).copied()
    }

    /// The step after that.
    #[must_use]
    pub fn next_step(&self) -> Option<TourStep> {
        self.steps.get(self.step_idx + 1).copied()
    }

    /// True until it has failed.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.failure.is_none()
    }

    /// `Step 2 of 3: measuring speed and memory`.
    #[must_use]
    pub fn text(&self) -> String {
        let step = self.step().map_or("", TourStep::label);
        format!("Step {} of {}: {step}", self.step_idx + 1, self.steps.len())
    }
}
