//! Small files, written like the large ones: under their final name only when they are complete.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::part_file::{PartFile, sync_all, sync_dir};
use super::{Overwrite, disk};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress, ProgressUnit};

/// How often another name is tried before giving up.
const MAX_NAMES: u32 = 10_000;

/// Writes `bytes` to `PATH.part`, syncs it and gives it its name.
///
/// # Errors
/// `Error::OutputExists` when the name is taken and may not be replaced, `Error::OutputLocked`, `Error::Io`; no file is left then.
pub fn write_whole(path: &Path, bytes: &[u8], overwrite: Overwrite) -> Result<()> {
    if overwrite == Overwrite::Never && path.exists() {
        return Err(Error::OutputExists { path: path.to_path_buf() });
    }
    let part = PartFile::create(path)?;
    part.write_at(bytes, 0)?;
    let done = bytes.len() as u64;
    let progress = Progress { stage: "sync".into(), done, total: done, unit: ProgressUnit::Bytes };
    sync_all(vec![part.handle()?], path, &progress, &Monitor::silent())?;
    part.publish(overwrite)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_dir(folder.unwrap_or(Path::new(".")))
}

/// Refuses a name that `write_whole` could not write to, for work that takes long before it writes. A folder that does not
/// exist yet is judged by the closest one above it.
///
/// # Errors
/// `Error::OutputExists` when the name is taken and may not be replaced, `Error::NotAFile` for a folder, `Error::NameTooLong`,
/// `Error::Io` when the folder may not be written to.
pub fn check_target(path: &Path, overwrite: Overwrite) -> Result<()> {
    if path.is_dir() {
        return Err(Error::NotAFile { kind: "a folder", path: path.to_path_buf() });
    }
    if overwrite == Overwrite::Never && path.exists() {
        return Err(Error::OutputExists { path: path.to_path_buf() });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = disk::existing_ancestor(folder.unwrap_or(Path::new(".")))?;
    disk::check_name(&folder, path)?;
    disk::check_writable(&folder)
}

/// Writes `bytes` into `dir`, which is made if need be, as `STEM.EXTENSION`, or with the next free number after the stem;
/// returns the file.
///
/// # Errors
/// `Error::Io`; `Error::OutputExists` when thousands of names are taken.
pub fn write_new(dir: &Path, stem: impl AsRef<OsStr>, extension: &str, bytes: &[u8]) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let mut taken = PathBuf::new();
    for number in 1..=MAX_NAMES {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let mut name = stem.as_ref().to_os_string();
        name.push(format!("{suffix}.{extension}"));
        let path = dir.join(name);
        match write_whole(&path, bytes, Overwrite::Never) {
            Ok(()) => return Ok(path),
            Err(Error::OutputExists { path } | Error::OutputLocked { path }) => taken = path,
            Err(error) => return Err(error),
        }
    }
    Err(Error::OutputExists { path: taken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_replaced_only_when_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let text = || std::fs::read_to_string(&path).unwrap();
        write_whole(&path, b"one", Overwrite::Never).unwrap();
        assert_eq!(write_whole(&path, b"two", Overwrite::Never), Err(Error::OutputExists { path: path.clone() }));
        assert_eq!(text(), "one");
        write_whole(&path, b"three", Overwrite::Allowed).unwrap();
        assert_eq!(text(), "three");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no part is left");
        assert!(matches!(write_whole(&dir.path().join("no/a.csv"), b"", Overwrite::Never), Err(Error::Io { .. })));
    }

    #[test]
    fn a_target_that_cannot_be_written_is_known_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        assert_eq!(check_target(&path, Overwrite::Never), Ok(()));
        assert_eq!(check_target(&dir.path().join("new/folder/a.csv"), Overwrite::Never), Ok(()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(check_target(&path, Overwrite::Never), Err(Error::OutputExists { path: path.clone() }));
        assert_eq!(check_target(&path, Overwrite::Allowed), Ok(()));
        assert!(matches!(check_target(&path.join("b.csv"), Overwrite::Allowed), Err(Error::Io { .. })));
        assert!(matches!(check_target(dir.path(), Overwrite::Allowed), Err(Error::NotAFile { .. })));
    }
}
