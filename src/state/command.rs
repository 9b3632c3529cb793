//! Wishes of the user, collected in a frame and carried out after it.

use std::path::PathBuf;

use super::{Leftovers, Page};
use crate::advise::budget::Budget;
use crate::bench::history::ExportFormat;
use crate::deploy::Export;
use crate::model::{Level, RuntimeId};
use crate::worker::{JobId, Picked};

/// What the user wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Open this model.
    OpenModel(PathBuf),
    /// Ask for a file or a folder with a native dialog.
    Pick(Picked),
    /// Take this path off the list of recent models.
    ForgetRecent(PathBuf),
    /// Find out again what this machine is, and measure it.
    Detect,
    /// Convert the open model to these levels, into the form's folder. What becomes of files that exist is asked first.
    Convert(Vec<Level>),
    /// Ask whether these files should really be deleted.
    AskDelete(Vec<PathBuf>),
    /// Delete the files of the form's question.
    AnswerDelete,
    /// Convert as the user has answered the form's question about files that exist.
    AnswerExisting,
    /// Measure these files with the form's settings.
    Bench(Vec<PathBuf>),
    /// Measure these files as soon as other programs leave the processor alone.
    BenchWhenQuiet(Vec<PathBuf>),
    /// End this job.
    Cancel(JobId),
    /// Take this notice away: the user has read it.
    DismissNotice(usize),
    /// Take finished jobs off the queue's list.
    ClearFinished,
    /// Put this text on the clipboard.
    Copy(String),
    /// Show this file in the system's file manager.
    Reveal(PathBuf),
    /// Compare the tensors of this converted file with those of its source.
    TensorErrors(PathBuf),
    /// Compare these files with the open model, with the form's text, gates and limit.
    Quality(Vec<PathBuf>),
    /// Read the history again.
    LoadHistory,
    /// Show columns of runs of the history beside each other, or one alone; the runs of a column are of one file.
    CompareRuns(Vec<Vec<i64>>),
    /// Remove these runs from the history for good.
    DeleteRuns(Vec<i64>),
    /// Write these runs into a new file in the form's folder.
    ExportRuns(Vec<i64>, ExportFormat),
    /// Ask these files the form's prompts, one after the other.
    Ask(Vec<PathBuf>),
    /// Write the report, a plot or the table into a new file in the form's folder.
    Export(Export),
    /// Make the levels that do not exist yet, measure all of them and the open model, and show them side by side.
    ConvertAndCompare(Vec<Level>),
    /// Make a file within this budget, after learning what each tensor is worth where that is not known.
    ConvertBudget(Budget),
    /// The same, then measure it and the plain level of its size, and show them side by side.
    CompareBudget(Budget),
    /// Learn what each tensor of the open model is worth.
    Weigh,
    /// Convert each of these models to these levels, one after the other.
    ConvertAll(Vec<PathBuf>, Vec<Level>),
    /// Open this file with the program that the system has for it.
    OpenFile(PathBuf),
    /// Go to this page.
    Show(Page),
    /// End the program, and what is at work with it.
    Quit(Leftovers),
    /// Take a chain of jobs that has failed off the screen.
    ForgetTour,
    /// Open the bundled sample, convert it, measure the files and show them side by side.
    TrySample,
    /// Look again for models in the local Hugging Face cache.
    FindModels,
    /// Look for levels and earlier measurements of the open model.
    FindKnown,
    /// Collect an importance matrix of the open model with the form's text, then convert to these levels with it.
    CollectImatrix(Vec<Level>),
    /// Compare this file with the checksums that it carries.
    Verify(PathBuf),
    /// Set up this runtime: fetch its packages.
    SetUp(RuntimeId),
    /// Remove this runtime, which Planish has set up.
    RemoveRuntime(RuntimeId),
}
