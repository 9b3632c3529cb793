//! What the output folder's disk allows.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::paths::{journal_path, manifest_path, part_path};
use crate::error::{Error, Result};

/// The folder itself, or the closest one above it that exists: there it would be created.
pub(super) fn existing_ancestor(dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
    let found = dir.ancestors().find(|ancestor| std::fs::symlink_metadata(ancestor).is_ok());
    Ok(found.map_or_else(|| dir.clone(), Path::to_path_buf))
}

/// Refuses an output whose name, with the endings of its journal and of its unfinished manifest, is too long for its folder's file
/// system.
///
/// Also asks about the name in `folder`, which exists: below a folder that does not, every name is simply not found.
pub(super) fn check_name(folder: &Path, output: &Path) -> Result<()> {
    for path in [journal_path(output), part_path(&manifest_path(output))] {
        let name = path.file_name().unwrap_or_default();
        for place in [folder.join(name), path.clone()] {
            let too_long = std::fs::symlink_metadata(&place).is_err_and(|error| error.kind() == ErrorKind::InvalidFilename);
            if too_long {
                return Err(Error::NameTooLong { path: output.to_path_buf() });
            }
        }
    }
    Ok(())
}

/// Refuses a path that is not a folder or may not be written to.
pub(super) fn check_writable(dir: &Path) -> Result<()> {
    let metadata = std::fs::metadata(dir).map_err(Error::io("open", dir))?;
    let checked = if metadata.is_dir() { access(dir, &metadata) } else { Err(ErrorKind::NotADirectory.into()) };
    checked.map_err(Error::io("write to", dir))
}

#[cfg(unix)]
fn access(dir: &Path, _: &std::fs::Metadata) -> std::io::Result<()> {
    use rustix::fs::Access;
    Ok(rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn access(_: &Path, metadata: &std::fs::Metadata) -> std::io::Result<()> {
    if metadata.permissions().readonly() { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

/// Bytes that this user may still write to the file system of an existing folder; `None` where the system does not tell.
#[cfg(unix)]
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    // Some network and FUSE file systems answer zeros.
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes that this user may still write to the file system of an existing folder; `None` where the system does not tell.
#[cfg(not(unix))]
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let dir = dir.canonicalize().ok()?;
    let disks = sysinfo::Disks::new_with_refreshed_list();
    let of_dir = disks.iter().filter(|disk| {
        // Canonical paths on Windows start with \\?\, mount points do not.
        disk.mount_point().canonicalize().is_ok_and(|mount_point| dir.starts_with(mount_point))
    });
    of_dir.max_by_key(|disk| disk.mount_point().as_os_str().len()).map(sysinfo::Disk::available_space)
}

/// Bytes on disk that come free when what a killed run left under this name is replaced; 0 for anything else.
pub(super) fn reclaimed_bytes(part: &Path) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        const STAT_BLOCK_BYTES: u64 = 512; // of st_blocks, whatever the file system's own block size
        let left_over = std::fs::symlink_metadata(part).ok().filter(|metadata| metadata.is_file() && metadata.nlink() == 1);
        left_over.map_or(0, |metadata| metadata.blocks().saturating_mul(STAT_BLOCK_BYTES))
    }
    #[cfg(not(unix))]
    {
        let left_over = std::fs::symlink_metadata(part).ok().filter(std::fs::Metadata::is_file);
        left_over.map_or(0, |metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_be_created_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing_ancestor(&dir.path().join("a/b/c")).unwrap(), dir.path());
        assert_eq!(existing_ancestor(dir.path()).unwrap(), dir.path());
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert_eq!(check_writable(dir.path()), Ok(()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_that_are_too_long_are_known_before() {
        let dir = tempfile::tempdir().unwrap();
        let check = |n_bytes: usize, expected: bool| {
            let output = dir.path().join("new").join("m".repeat(n_bytes));
            assert_eq!(check_name(dir.path(), &output).is_ok(), expected, "{n_bytes}");
        };
        // A name has at most 255 bytes, with .manifest.json.part at its end.
        check(236, true);
        check(237, false);
        let deep = (0..30).fold(dir.path().to_path_buf(), |path, _| path.join("d".repeat(200)));
        assert!(matches!(check_name(dir.path(), &deep.join("m")), Err(Error::NameTooLong { .. })));
    }

    #[test]
    fn a_file_is_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = check_writable(&existing_ancestor(&file.join("out")).unwrap());
        assert!(matches!(refused, Err(Error::Io { kind: ErrorKind::NotADirectory, .. })), "{refused:?}");
    }

    #[test]
    fn only_a_plain_file_is_reclaimed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("part"), vec![1; 100_000]).unwrap();
        assert!(reclaimed_bytes(&at("part")) >= 100_000);
        assert_eq!((reclaimed_bytes(&at("missing")), reclaimed_bytes(dir.path())), (0, 0));
        std::fs::hard_link(at("part"), at("link")).unwrap();
        assert_eq!(cfg!(unix), reclaimed_bytes(&at("part")) == 0);
    }
}
