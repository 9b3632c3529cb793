//! Files that a child reads and writes, too large for its pipes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// Age at which folders of killed runs are removed: longer than any run takes.
const STALE: Duration = Duration::from_hours(7 * 24);

/// A folder that parent and child share for one run, gone with the value.
pub struct WorkFolder(PathBuf);

impl WorkFolder {
    /// An empty folder below the user's cache folder.
    pub fn new(purpose: &str) -> Result<Self> {
        let base = cache_folder(purpose);
        remove_older(&base, STALE);
        let folder = Self(base.join(format!("{}-{:016x}", std::process::id(), fastrand::u64(..))));
        std::fs::create_dir_all(&folder.0).map_err(Error::io("create", &folder.0))?;
        Ok(folder)
    }

    /// The folder, which exists until this value is dropped.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a run a week later.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The folder for this purpose below the user's cache folder; in the system's folder for temporary files where there is none.
pub(crate) fn cache_folder(purpose: &str) -> PathBuf {
    let dirs = directories::ProjectDirs::from("", "", "planish");
    dirs.map_or_else(|| std::env::temp_dir().join("planish"), |dirs| dirs.cache_dir().to_path_buf()).join(purpose)
}

/// Removes the folders in `base` that nobody has changed for this long: what killed runs have left, or what was not used again.
pub(crate) fn remove_older(base: &Path, age: Duration) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_gone_with_its_value_and_old_ones_of_killed_runs_too() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let dir = base.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("text.json"), "{}").unwrap();
            std::fs::File::open(&dir).unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
            dir
        };
        let (old, fresh) = (make("1-a", 2 * STALE), make("2-b", STALE / 2));
        remove_older(base.path(), STALE);
        assert_eq!((old.exists(), fresh.exists()), (false, true));
        let folder = WorkFolder(fresh.clone());
        assert_eq!(folder.path(), fresh);
        drop(folder);
        assert!(!fresh.exists());
    }
}
