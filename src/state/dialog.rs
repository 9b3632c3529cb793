//! What stands in front of the page.

use std::path::PathBuf;

/// A question or a piece of help that must be answered or closed before the page can be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialog {
    /// Work is in progress: what becomes of it when the program ends?
    Quit,
    /// Keys and what they do.
    Shortcuts,
    /// Which program this is.
    About,
    /// Choices that belong to no page.
    Settings,
    /// The path of a model, where the system has no file dialog.
    OpenPath,
    /// Several models that were dropped at once.
    Dropped(Vec<PathBuf>),
}

/// What becomes of unfinished work when the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// It stays, and the same conversion goes on from there next time.
    Keep,
    /// It is removed.
    Discard,
}

/// A text field that waits for the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The path of a model.
    ModelPath,
    /// The folder for outputs.
    OutputDir,
    /// The path of an importance matrix.
    Imatrix,
    /// The path of a calibration text.
    CalibrationText,
}
