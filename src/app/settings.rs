//! The user's choices between runs: one JSON file in the system's place for settings.

use std::path::PathBuf;

use crate::state::Form;

/// Where the choices are kept; `None` where the system has no such place.
fn path() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "planish")?.config_dir().join("settings.json"))
}

/// The saved choices; the defaults when there are none or they cannot be read.
pub(super) fn load() -> Form {
    let Some(path) = path() else { return Form::default() };
    match std::fs::read(&path) {
        Ok(bytes) => read(&bytes).unwrap_or_else(|error| {
            tracing::warn!("settings are ignored, {error}: {}", path.display());
            Form::default()
        }),
        Err(_) => Form::default(),
    }
}

fn read(bytes: &[u8]) -> serde_json::Result<Form> {
    let mut saved = serde_json::from_slice(bytes)?;
    Form::update_saved(&mut saved);
    serde_json::from_value(saved)
}

/// Saves the choices. A failure costs only comfort, so it is logged and not shown.
pub(super) fn save(form: &Form) {
    let Some(path) = path() else { return };
    let saved = serde_json::to_vec_pretty(form).map_err(std::io::Error::other).and_then(|bytes| {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Renamed into place: a crash must not leave half a file, which would lose all choices.
        let part = path.with_extension("json.part");
        std::fs::write(&part, bytes)?;
        std::fs::rename(&part, &path)
    });
    if let Err(error) = saved {
        tracing::warn!("settings could not be saved: {error}");
    }
}
