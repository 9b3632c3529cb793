//! Private Python environments, one for each runtime that needs one, in the user's data folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::installer::{Installer, find_installer, try_import};
use crate::error::{Error, Result};
use crate::hardware::{PythonPackages, own_environment, python_below, python_with};
use crate::model::RuntimeId;
use crate::monitor::{Monitor, Progress, ProgressUnit};

/// The packages of MLX with their checksums for all platforms, made by `packaging/pin_runtimes.sh`.
const MLX_PACKAGES: &str = include_str!("../../assets/runtimes/mlx.txt");

/// The packages of ONNX Runtime, likewise.
const ONNX_RUNTIME_PACKAGES: &str = include_str!("../../assets/runtimes/onnxruntime.txt");

/// The file in an environment that lists what was installed: it shows whether another version of Planish did that.
const PACKAGES_FILE: &str = "planish-packages.txt";

/// What a set-up will do, said before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUpPlan {
    /// The runtime.
    pub runtime: RuntimeId,
    /// Where it goes.
    pub folder: PathBuf,
    /// What installs it: `uv`, `Python 3.12`.
    pub installer: String,
    /// Packages on the list, which is for all platforms: one machine fetches only those that are made for it.
    pub n_packages: usize,
    /// About how many bytes are fetched, as measured on Linux, x86-64.
    pub download_bytes: u64,
    /// About how many bytes are on the disk afterwards, likewise.
    pub installed_bytes: u64,
}

/// A runtime that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Version of its first package.
    pub version: String,
    /// Folder of its packages.
    pub packages_dir: PathBuf,
    /// Whether Planish has set it up, so that it can be removed.
    pub is_own: bool,
}

/// The Python packages of a runtime that is there already, whoever has installed it; `None` for one that is missing or built in.
#[must_use]
pub fn installed(runtime: RuntimeId) -> Option<Installed> {
    let packages = Some(runtime.packages()).filter(|packages| !packages.is_empty())?;
    let PythonPackages { packages_dir, version, .. } = python_with(packages)?;
    let is_own = own_environment(runtime).is_some_and(|folder| packages_dir.starts_with(folder));
    Some(Installed { version, packages_dir, is_own })
}

/// What a set-up would do. Looks for Python and starts what it finds to ask for its version, which takes about 100 ms.
///
/// # Errors
/// `Error::SetUp` for a runtime that is built in or not made for this system, and where neither uv nor a Python is found.
pub fn plan(runtime: RuntimeId) -> Result<SetUpPlan> {
    let (folder, installer) = ground(runtime)?;
    let (download_bytes, installed_bytes) = sizes(runtime);
    let n_packages = n_packages(runtime);
    Ok(SetUpPlan { runtime, folder, installer: installer.name(), n_packages, download_bytes, installed_bytes })
}

/// Sets up a runtime in an environment of its own, or returns the one that is there. The environment gets its name only once it
/// is complete and its packages have been imported; what an interrupted set-up left is removed by the next.
///
/// # Errors
/// `Error::SetUp` with the cause: no Python, no network, a package that does not exist for this system; `Error::Io`;
/// `Error::Cancelled`, with the installer killed and nothing left.
pub fn install(runtime: RuntimeId, monitor: &Monitor) -> Result<Installed> {
    let (folder, installer) = ground(runtime)?;
    // One from an earlier version of Planish may have other packages.
    let is_current = std::fs::read_to_string(folder.join(PACKAGES_FILE)).is_ok_and(|text| text == packages(runtime));
    if let Some(there) = installed_own(runtime, &folder).filter(|_| is_current) {
        return Ok(there);
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let _lock = lock(runtime, &folder)?;
    let part = PartFolder(folder.with_extension("part"));
    remove_folder(&part.0)?;
    let total = n_packages(runtime) as u64;
    let report = |stage: &str, done: u64| {
        let stage = format!("{}: {stage}", runtime.name());
        monitor.report(Progress { stage, done: done.min(total), total, unit: ProgressUnit::Steps })
    };
    report("a Python environment", 0)?;
    let requirements = part.0.join(PACKAGES_FILE);
    let made = installer.make_environment(&part.0, monitor).and_then(|()| {
        std::fs::write(&requirements, packages(runtime)).map_err(Error::io("write", &requirements))?;
        let mut n_begun = 0;
        installer.install(&part.0, &requirements, monitor, &mut |package| {
            n_begun += 1;
            report(package, n_begun)
        })
    });
    made.map_err(|error| named(error, runtime))?;
    report("a first start", total)?;
    try_import(&part.0, &runtime.packages().iter().map(|(name, _)| *name).collect::<Vec<_>>(), monitor)
        .map_err(|error| named(error, runtime))?;
    // There may be an old or an incomplete one.
    remove_folder(&folder)?;
    std::fs::rename(&part.0, &folder).map_err(Error::io("create", &folder))?;
    installed_own(runtime, &folder).ok_or_else(|| set_up_error(runtime, "its packages are not where they should be", ""))
}

/// What is in Planish's own environment, whatever the user has elsewhere.
fn installed_own(runtime: RuntimeId, folder: &Path) -> Option<Installed> {
    let PythonPackages { packages_dir, version, .. } = python_below(folder, runtime.packages())?;
    Some(Installed { version, packages_dir, is_own: true })
}

/// Removes what Planish has set up; false where there is nothing. What the user has installed stays.
///
/// # Errors
/// `Error::Io`; `Error::SetUp` while a set-up is running.
pub fn remove(runtime: RuntimeId) -> Result<bool> {
    let Some(folder) = own_environment(runtime).filter(|folder| folder.exists() || folder.with_extension("part").exists()) else {
        return Ok(false);
    };
    let _lock = lock(runtime, &folder)?;
    remove_folder(&folder)?;
    remove_folder(&folder.with_extension("part"))?;
    Ok(true)
}

/// A folder that is removed when the value is dropped, unless it was renamed.
struct PartFolder(PathBuf);

impl Drop for PartFolder {
    fn drop(&mut self) {
        // The next set-up removes what cannot be removed now.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Whether Planish can set up a runtime on this system: not what is built in, and MLX not on Windows.
#[must_use]
pub fn is_offered(runtime: RuntimeId) -> bool {
    let is_held_back = runtime == RuntimeId::Mlx && cfg!(windows);
    !runtime.packages().is_empty() && !is_held_back
}

fn ground(runtime: RuntimeId) -> Result<(PathBuf, Installer)> {
    if runtime.packages().is_empty() {
        return Err(set_up_error(runtime, "it is built in", ""));
    }
    if !is_offered(runtime) {
        return Err(set_up_error(runtime, "Planish has not tried it on Windows", "compare its levels on a Mac or on Linux"));
    }
    let no_folder = || set_up_error(runtime, "the system names no folder for data", "set HOME");
    let folder = own_environment(runtime).ok_or_else(no_folder)?;
    let no_python = || {
        let advice = "install Python from python.org or your system's packages, or uv from docs.astral.sh/uv, and try again";
        set_up_error(runtime, "it needs Python 3.11 or newer, and neither that nor uv is here", advice)
    };
    Ok((folder, find_installer().ok_or_else(no_python)?))
}

/// Keeps a second set-up away for as long as the file lives.
fn lock(runtime: RuntimeId, folder: &Path) -> Result<File> {
    let path = folder.with_extension("lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(set_up_error(runtime, "it is being set up by another window or command", "wait until that has finished"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

fn packages(runtime: RuntimeId) -> &'static str {
    match runtime {
        RuntimeId::LlamaCpp | RuntimeId::Planish => "",
        RuntimeId::OnnxRuntime => ONNX_RUNTIME_PACKAGES,
        RuntimeId::Mlx => MLX_PACKAGES,
    }
}

/// Packages for all platforms together.
fn n_packages(runtime: RuntimeId) -> usize {
    packages(runtime).lines().filter(|line| line.contains("==")).count()
}

/// About how many bytes are fetched, and how many are on the disk afterwards: measured on Linux, x86-64, with Python 3.11, in November and
/// December 2026.
#[must_use]
pub fn sizes(runtime: RuntimeId) -> (u64, u64) {
    match runtime {
        RuntimeId::LlamaCpp | RuntimeId::Planish => (0, 0),
        RuntimeId::OnnxRuntime => (57_000_000, 220_000_000),
        RuntimeId::Mlx => (61_000_000, 350_000_000),
    }
}

pub(super) fn set_up_error(runtime: RuntimeId, reason: &str, advice: &'static str) -> Error {
    Error::SetUp { runtime: runtime.name().into(), reason: reason.into(), advice }
}

/// The same failure under the runtime's name, which an installer does not know.
fn named(error: Error, runtime: RuntimeId) -> Error {
    match error {
        Error::SetUp { reason, advice, .. } => Error::SetUp { runtime: runtime.name().into(), reason, advice },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_by_version_and_checksum() {
        for runtime in RuntimeId::ALL {
            let text = packages(runtime);
            let entries: Vec<&str> = text.split("\n\n").flat_map(|part| part.split_inclusive('\n')).collect();
            let names: Vec<&str> = entries.iter().filter(|line| line.contains("==")).copied().collect();
            assert_eq!(names.is_empty(), runtime.packages().is_empty(), "{runtime:?}");
            // A package's lines go on with backslashes, and the one behind its name has a checksum.
            let mut lines = text.lines().peekable();
            while let Some(line) = lines.next() {
                if line.contains("==") {
                    assert!(lines.peek().is_some_and(|next| next.trim_start().starts_with("--hash=sha256:")), "{line}");
                }
            }
            for (package, _) in runtime.packages() {
                let wanted = format!("{}==", package.replace('_', "-"));
                assert!(names.iter().any(|name| name.starts_with(&wanted)), "{wanted}");
            }
        }
    }

    #[test]
    fn what_is_built_in_is_not_set_up() {
        assert!(matches!(plan(RuntimeId::LlamaCpp), Err(Error::SetUp { .. })));
        assert_eq!(installed(RuntimeId::LlamaCpp), None);
        assert_eq!(remove(RuntimeId::LlamaCpp), Ok(false));
    }
}
