//! The Python environments that Planish sets up, one for each runtime that needs one.

use std::path::PathBuf;

use crate::model::RuntimeId;

/// The folder of a runtime's environment in the user's data folder, whether it is there or not; `None` for a runtime that is built in, and
/// where the system names no such folder.
#[must_use]
pub fn own_environment(runtime: RuntimeId) -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "planish").filter(|_| !runtime.packages().is_empty())?;
    Some(dirs.data_dir().join("runtimes").join(runtime.slug()))
}
