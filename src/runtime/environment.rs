//! Where a runtime in Python is: in the active environment, in one that Planish has set up, or in the system's Python.

use super::RuntimeId;
use crate::error::{Error, Result};
use crate::hardware::{PythonPackages, python_with};

/// Finds the Python of a runtime by looking at folders: nothing is started.
///
/// # Errors
/// `Error::RuntimeMissing` where none has its packages.
pub fn find(runtime: RuntimeId) -> Result<PythonPackages> {
    let wanted = runtime.packages();
    python_with(wanted).ok_or_else(|| {
        let names = wanted.iter().map(|(name, (major, minor))| format!("{} {major}.{minor}", name.replace('_', "-")));
        Error::RuntimeMissing {
            runtime: runtime.name().into(),
            reason: format!("no Python here has {} or newer", names.collect::<Vec<_>>().join(" and ")),
        }
    })
}
