//! Small files, written like the large ones: under their final name only when they are complete.

use std::path::Path;

use super::Overwrite;
use super::part_file::{PartFile, sync_dir};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress, ProgressUnit};

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
    part.sync(&Progress { stage: "sync".into(), done, total: done, unit: ProgressUnit::Bytes }, &Monitor::silent())?;
    part.publish(overwrite)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_dir(folder.unwrap_or(Path::new(".")))
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
}
