//! Native file dialogs.

use std::path::PathBuf;

use super::Picked;

/// Asks the user for a path. Blocks until answered: call it on a thread of its own.
pub trait Picker: Send + Sync {
    /// The choice; `None` when cancelled or when the system offers no dialog (rfd cannot tell these apart).
    fn pick(&self, wanted: Picked) -> Option<PathBuf>;
}

/// The system's dialog: desktop portal or zenity on Linux, native on Windows and macOS.
#[derive(Debug, Default)]
pub struct NativePicker;

impl Picker for NativePicker {
    fn pick(&self, wanted: Picked) -> Option<PathBuf> {
        match wanted {
            Picked::Model => rfd::FileDialog::new()
                .set_title("Open a model")
                .add_filter("Models", &["gguf", "safetensors", "json"])
                .add_filter("All files", &["*"])
                .pick_file(),
            Picked::ModelFolder => rfd::FileDialog::new().set_title("Open the folder of a checkpoint").pick_folder(),
            Picked::OutputDir => rfd::FileDialog::new().set_title("Folder for converted models").pick_folder(),
            Picked::Imatrix => rfd::FileDialog::new()
                .set_title("Choose an importance matrix")
                .add_filter("Importance matrices", &["gguf", "dat", "imatrix"])
                .add_filter("All files", &["*"])
                .pick_file(),
            Picked::CalibrationText => rfd::FileDialog::new().set_title("Choose a text").pick_file(),
        }
    }
}
