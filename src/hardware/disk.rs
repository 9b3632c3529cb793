//! The disk that holds a folder.

use std::path::{Path, PathBuf};

use super::{Disk, portable};
use crate::path_text;

/// The disk on which `dir` lies or, while it does not exist, its nearest parent; `None` when the system does not tell.
#[must_use]
pub fn disk_of(dir: &Path) -> Option<Disk> {
    let folder = existing_folder(dir)?;
    mounted(&folder).or_else(|| portable::disk_of(&folder))
}

/// `dir` itself or its nearest parent that exists, with symbolic links resolved.
fn existing_folder(dir: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(dir).ok()?;
    absolute.ancestors().find_map(|folder| folder.canonicalize().ok())
}

/// Linux: the list of mounts for names, `statvfs` for sizes.
#[cfg(target_os = "linux")]
fn mounted(folder: &Path) -> Option<Disk> {
    let sizes = rustix::fs::statvfs(folder).ok()?;
    let text = super::root::Root::real().text("/proc/self/mounts").unwrap_or_default();
    let mount = mount_of(&text, folder).unwrap_or(Mount { point: PathBuf::from("/"), file_system: String::new() });
    Some(Disk {
        mount_point: path_text::shown(&mount.point),
        file_system: mount.file_system,
        total_bytes: sizes.f_blocks.saturating_mul(sizes.f_frsize),
        free_bytes: sizes.f_bavail.saturating_mul(sizes.f_frsize),
        write_bytes_per_sec: None,
    })
}

/// Elsewhere the list of disks tells everything.
#[cfg(not(target_os = "linux"))]
fn mounted(_folder: &Path) -> Option<Disk> {
    None
}

/// A line of `/proc/self/mounts`.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    file_system: String,
}

/// The mount that holds `path`: the longest mount point above it, and of equal ones the last, which covers the others.
#[cfg(target_os = "linux")]
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let lines = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, file_system) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Mount { point: PathBuf::from(unescaped(point)), file_system: file_system.to_string() })
    });
    lines.filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.components().count())
}

/// The kernel writes space, tab, newline and backslash as `\040` and the like.
#[cfg(target_os = "linux")]
fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            text.push(char::from(code));
            rest = after.get(3..).unwrap_or("");
        } else {
            text.push('\\');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_longest_mount_point_holds_the_folder() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\ntmpfs /home tmpfs rw 0 0\n/dev/sdb1 /home btrfs rw 0 0\n/dev/sdc1 /mnt/my\\040disk vfat rw 0 0\nbroken\n";
        let check = |path: &str, point: &str, file_system: &str| {
            let mount = mount_of(mounts, Path::new(path)).unwrap();
            assert_eq!((mount.point.as_path(), mount.file_system.as_str()), (Path::new(point), file_system), "{path}");
        };
        check("/", "/", "ext4");
        check("/homeless", "/", "ext4");
        check("/home/me/models", "/home", "btrfs");
        check("/mnt/my disk/a", "/mnt/my disk", "vfat");
        assert_eq!(mount_of("", Path::new("/")), None);
        assert_eq!(unescaped(r"a\b\09\1é\"), r"a\b\09\1é\");
    }

    #[test]
    fn a_folder_that_does_not_exist_lies_where_its_parent_lies() {
        let dir = tempfile::tempdir().unwrap();
        let there = disk_of(dir.path()).unwrap();
        let later = disk_of(&dir.path().join("not/yet/there")).unwrap();
        assert_eq!((&there.mount_point, there.total_bytes), (&later.mount_point, later.total_bytes));
        assert!(there.free_bytes <= there.total_bytes && there.total_bytes > 0);
    }
}
