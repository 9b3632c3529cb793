//! An output on its way: a file, or a folder with its files, and what is written down beside or in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Overwrite;
use super::folder::{self, MANIFEST_NAME};
use super::part_file::{PartFile, refuse_special_file, rename_to_free_name, sync_all, sync_dir};
use super::paths::{journal_path, manifest_path, part_path};
use crate::error::{Error, Result};
use crate::format::{PlannedFile, Spot};
use crate::monitor::{Monitor, Progress};

/// An output that has its final name only when it is complete: locked against other runs, removed on drop unless published or kept for
/// a later run.
///
/// Until then a file is called `NAME.part`, and its manifest `NAME.manifest.json.part`. A folder is called `NAME.part`; the
/// files in it, of which the manifest is one, have their names from the start.
#[derive(Debug)]
pub(super) struct PartOutput {
    path: PathBuf,
    /// In the order of the plan.
    files: Vec<PartFile>,
    manifest: PartFile,
    /// Dropped last, because it can be removed only when it is empty. `None` for a file.
    folder: Option<PartFolder>,
}

impl PartOutput {
    /// Opens what a killed run left of the output at `path`, and locks it; empty files where there is nothing.
    ///
    /// # Errors
    /// `Error::OutputLocked` while another run writes it; `Error::NotAFile` when a name is taken by something else.
    pub(super) fn open(path: &Path, files: &[PlannedFile]) -> Result<Self> {
        let this = |files, manifest, folder| Self { path: path.to_path_buf(), files, manifest, folder };
        if !PlannedFile::are_of_folder(files) {
            let file = PartFile::open(path)?;
            // The manifest has its size and takes its space from the start: only its checksums change.
            return Ok(this(vec![file], PartFile::create(&manifest_path(path))?, None));
        }
        let folder = PartFolder::open(path)?;
        let open = |name: &str| PartFile::open_as(&folder.part.join(name));
        let opened = files.iter().map(|file| open(&file.name)).collect::<Result<Vec<_>>>()?;
        let manifest = open(MANIFEST_NAME)?;
        // From here on nobody else writes this output: its journal may go with it.
        folder.is_locked.store(true, Ordering::Relaxed);
        manifest.empty()?;
        folder.remove_others(files)?;
        Ok(this(opened, manifest, Some(folder)))
    }

    /// Its final name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Throws away what it holds.
    pub(super) fn empty(&self) -> Result<()> {
        self.files.iter().try_for_each(PartFile::empty)
    }

    /// True where each file has its planned size, as after a kill.
    pub(super) fn is_of_size(&self, files: &[PlannedFile]) -> Result<bool> {
        let mut is_of_size = files.len() == self.files.len();
        for (part, file) in self.files.iter().zip(files) {
            is_of_size &= part.len()? == file.size_bytes;
        }
        Ok(is_of_size)
    }

    /// Says whether it stays, unfinished, for a run that goes on with it.
    pub(super) fn keep(&self, stays: bool) {
        for file in &self.files {
            file.keep(stays);
        }
        if let Some(folder) = &self.folder {
            folder.stays.store(stays, Ordering::Relaxed);
        }
    }

    /// Takes the space of all files and writes what does not depend on the weights.
    pub(super) fn begin(&self, files: &[PlannedFile]) -> Result<()> {
        for (part, file) in self.files.iter().zip(files) {
            part.reserve(file.size_bytes)?;
            part.write_at(&file.head, 0)?;
        }
        Ok(())
    }

    /// Writes from a spot on; callable from several threads at once.
    pub(super) fn write_at(&self, bytes: &[u8], spot: Spot) -> Result<()> {
        self.file(spot)?.write_at(bytes, spot.offset)
    }

    /// Fills `bytes` from a spot on; callable from several threads at once.
    pub(super) fn read_at(&self, bytes: &mut [u8], spot: Spot) -> Result<()> {
        self.file(spot)?.read_at(bytes, spot.offset)
    }

    fn file(&self, spot: Spot) -> Result<&PartFile> {
        let no_file = || Error::Internal { message: format!("file {} of {} was asked for", spot.file_idx, self.files.len()) };
        self.files.get(spot.file_idx).ok_or_else(no_file)
    }

    /// Writes the manifest, which has the same length each time.
    pub(super) fn write_manifest(&self, text: &[u8]) -> Result<()> {
        self.manifest.write_at(text, 0)
    }

    /// Waits until the disk has the tensors that were written.
    pub(super) fn sync_data(&self) -> Result<()> {
        self.files.iter().try_for_each(PartFile::sync_data)
    }

    /// Waits until the disk has everything, reporting `progress`, which stands still, once a second.
    ///
    /// # Errors
    /// `Error::Cancelled` at once, even though the disk is still busy.
    pub(super) fn sync(&self, progress: &Progress, monitor: &Monitor) -> Result<()> {
        let handles = self.files.iter().chain([&self.manifest]).map(PartFile::handle).collect::<Result<_>>()?;
        sync_all(handles, &self.path, progress, monitor)?;
        if let Some(folder) = &self.folder { sync_dir(&folder.part) } else { Ok(()) }
    }

    /// Gives the output its final name. Sync it before: a name that survives a power cut must have its data.
    ///
    /// Files in a replaced folder that are not Planish's own are kept; then the warning says where.
    ///
    /// # Errors
    /// `Error::OutputExists` when the name was taken meanwhile and may not be replaced; `Error::OutputLocked` and `Error::Io` when the
    /// output is no longer where it was.
    pub(super) fn publish(self, overwrite: Overwrite) -> Result<Option<String>> {
        let Some(folder) = self.folder else {
            for file in self.files {
                file.publish(overwrite)?;
            }
            // `preflight` has seen that nothing else has the name.
            self.manifest.publish(Overwrite::Allowed)?;
            return Ok(None);
        };
        for file in self.files.iter().chain([&self.manifest]) {
            file.check_place()?;
        }
        // The locks are held until the name has changed; but Windows moves no folder with open files in it.
        let held: Vec<PartFile> = self.files.into_iter().chain([self.manifest]).collect();
        if cfg!(windows) {
            for file in &held {
                file.keep(true);
            }
            drop(held);
            return folder.publish(overwrite);
        }
        let warning = folder.publish(overwrite)?;
        drop(held);
        Ok(warning)
    }
}

/// A folder whose files are being written.
#[derive(Debug)]
struct PartFolder {
    /// `NAME.part`.
    part: PathBuf,
    /// `NAME`.
    path: PathBuf,
    /// True once all of its files are locked.
    is_locked: AtomicBool,
    stays: AtomicBool,
}

impl PartFolder {
    fn open(path: &Path) -> Result<Self> {
        let part = part_path(path);
        match std::fs::create_dir(&part) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let metadata = std::fs::symlink_metadata(&part).map_err(Error::io("open", &part))?;
                if !metadata.is_dir() {
                    refuse_special_file(&part)?;
                    return Err(Error::NotAFolder { path: part });
                }
            }
            created => created.map_err(Error::io("create", &part))?,
        }
        let [is_locked, stays] = [AtomicBool::new(false), AtomicBool::new(false)];
        Ok(Self { part, path: path.to_path_buf(), is_locked, stays })
    }

    /// Removes files of an earlier run that are not in the plan.
    fn remove_others(&self, files: &[PlannedFile]) -> Result<()> {
        for entry in std::fs::read_dir(&self.part).map_err(Error::io("open", &self.part))? {
            let name = entry.map_err(Error::io("read", &self.part))?.file_name();
            let is_planned = name == MANIFEST_NAME || files.iter().any(|file| name == file.name.as_str());
            if !is_planned {
                let path = self.part.join(name);
                refuse_special_file(&path)?;
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn publish(&self, overwrite: Overwrite) -> Result<Option<String>> {
        let renamed = rename_to_free_name(&self.part, &self.path);
        let is_taken = renamed.as_ref().is_err_and(|error| {
            matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory)
        });
        let warning = if !is_taken {
            renamed.map_err(Error::io("create", &self.path))?;
            None
        } else if overwrite == Overwrite::Never {
            return Err(Error::OutputExists { path: self.path.clone() });
        } else {
            folder::replace(&self.part, &self.path)?
        };
        self.stays.store(true, Ordering::Relaxed);
        Ok(warning)
    }
}

impl Drop for PartFolder {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) {
            // Its files are gone already; with others in it, it stays, is called `.part` and is replaced by the next run.
            if self.is_locked.load(Ordering::Relaxed) {
                let _ = std::fs::remove_file(journal_path(&self.path));
            }
            let _ = std::fs::remove_dir(&self.part);
        }
    }
}
