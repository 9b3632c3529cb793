//! Outputs that are folders: what in them is Planish's own.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::manifest::Manifest;
use crate::error::{Error, Result};
use crate::path_text;

/// Name of the manifest in a folder: what was done and what came out.
pub(super) use crate::format::FOLDER_MANIFEST as MANIFEST_NAME;

/// Path of a folder's manifest.
pub(super) fn manifest_path(folder: &Path) -> PathBuf {
    folder.join(MANIFEST_NAME)
}

/// The files of a folder that Planish wrote, as its manifest names them, and the manifest; `None` for any other folder.
pub(super) fn own_files(folder: &Path) -> Option<Vec<PathBuf>> {
    files_of(folder, &Manifest::read(&manifest_path(folder)).ok().flatten()?)
}

/// [`own_files`] by a manifest that was read already.
pub(super) fn files_of(folder: &Path, manifest: &Manifest) -> Option<Vec<PathBuf>> {
    // A manifest that names something outside the folder is not ours.
    let is_plain = |name: &str| {
        let mut parts = Path::new(name).components();
        matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none()
    };
    if manifest.files.is_empty() || !manifest.files.iter().all(|file| is_plain(&file.name)) {
        return None;
    }
    Some(manifest.files.iter().map(|file| folder.join(&file.name)).chain([manifest_path(folder)]).collect())
}

/// Removes a folder's own files and, where nothing else is left in it, the folder.
///
/// The manifest goes last, so that an interrupted removal can be recognized and repeated.
pub(super) fn remove(folder: &Path) -> Result<()> {
    let files = own_files(folder).ok_or_else(|| Error::NotOurFolder { path: folder.to_path_buf() })?;
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("delete", &file)(error)),
            _ => {}
        }
    }
    // Others' files stay, and the folder with them.
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

/// Puts a complete folder in the place of an earlier one, which is then removed; returns a warning that says where anything
/// that is left of the earlier one lies.
pub(super) fn replace(complete: &Path, path: &Path) -> Result<Option<String>> {
    // A swap where the system can: one is always there. But others' files must not get into a `.part`, which may be emptied.
    if has_own_files_alone(path) && exchange(complete, path).is_ok() {
        let left = |error| format!("the earlier {} is in {}: {error}", path_text::shown(path), path_text::shown(complete));
        return Ok(remove(complete).err().map(left));
    }
    let aside = aside_of(path);
    std::fs::rename(path, &aside).map_err(Error::io("rename", path))?;
    if let Err(error) = std::fs::rename(complete, path) {
        return Err(put_back(&aside, path, &error));
    }
    let removed = remove(&aside);
    let left = std::fs::symlink_metadata(&aside).is_ok();
    let (name, aside) = (path_text::shown(path), path_text::shown(&aside));
    Ok(match removed {
        Err(error) => Some(format!("the earlier {name} is in {aside}: {error}")),
        Ok(()) if left => Some(format!("the earlier {name} held files that Planish did not write: they are in {aside}")),
        Ok(()) => None,
    })
}

/// Gives an earlier folder its name again, because `error` kept the new one from getting it; returns what the user should know.
///
/// The error names the folder that stays: the new one is called `.part`, and goes.
fn put_back(aside: &Path, path: &Path, error: &std::io::Error) -> Error {
    let reason = match std::fs::rename(aside, path) {
        Ok(()) => error.to_string(),
        Err(_) => format!("{error}; the earlier one is in {}", path_text::shown(aside)),
    };
    Error::Io { action: "replace", path: path.to_path_buf(), kind: error.kind(), reason }
}

/// True for a folder in which every entry is one that Planish wrote.
pub(super) fn has_own_files_alone(folder: &Path) -> bool {
    let own = own_files(folder).unwrap_or_default();
    let is_own = |entry: std::fs::DirEntry| own.contains(&entry.path()) && entry.file_type().is_ok_and(|kind| !kind.is_dir());
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(is_own)))
}

/// Swaps the names of two folders in one step; fails where the system cannot.
fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(std::io::Error::from)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (one, other);
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// The first free name for what is replaced: `NAME.replaced`.
fn aside_of(path: &Path) -> PathBuf {
    let named = |number: u32| {
        let mut name = path.file_name().unwrap_or(OsStr::new("output")).to_os_string();
        name.push(if number == 1 { ".replaced".to_string() } else { format!(".replaced-{number}") });
        path.with_file_name(name)
    };
    let free = (1..u32::MAX).map(named).find(|name| std::fs::symlink_metadata(name).is_err());
    free.unwrap_or_else(|| named(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_folder_that_cannot_be_put_back_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("a.replaced")).unwrap();
        let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let told = put_back(&at("a.replaced"), &at("a"), &error);
        assert!(at("a").is_dir() && !at("a.replaced").exists());
        assert_eq!(told.to_string(), format!("cannot replace {}: {error}", at("a").display()));
        // Something took its name meanwhile.
        std::fs::rename(at("a"), at("a.replaced")).unwrap();
        std::fs::write(at("a"), "mine").unwrap();
        let told = put_back(&at("a.replaced"), &at("a"), &error);
        assert!(matches!(&told, Error::Io { reason, .. } if reason.contains("the earlier one is in ")), "{told}");
        assert!(told.to_string().ends_with("a.replaced") && at("a.replaced").is_dir());
    }
}
