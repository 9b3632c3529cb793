//! Where a runtime in Python is: in the active environment, in one that Planish has set up, or in the system's Python.

use std::path::PathBuf;

use super::RuntimeId;
use crate::error::{Error, Result};
use crate::hardware::{PythonPackages, python_with};

/// A Python with the packages of a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The program.
    pub python: PathBuf,
    /// Folder of the packages.
    pub packages_dir: PathBuf,
    /// Version of the first package.
    pub version: String,
}

/// Finds the Python of a runtime by looking at folders: nothing is started.
///
/// # Errors
/// `Error::RuntimeMissing` where none has its packages.
pub fn find(runtime: RuntimeId) -> Result<Environment> {
    let wanted = runtime.packages();
    match python_with(wanted) {
        Some(PythonPackages { python, packages_dir, version }) => Ok(Environment { python, packages_dir, version }),
        None => Err(Error::RuntimeMissing {
            runtime: runtime.name().into(),
            reason: {
                let names = wanted.iter().map(|(name, (major, minor))| format!("{} {major}.{minor}", name.replace('_', "-")));
                format!("no Python here has {} or newer", names.collect::<Vec<_>>().join(" and "))
            },
        }),
    }
}
