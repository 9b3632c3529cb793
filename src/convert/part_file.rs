//! An output that has its final name only when it is complete.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Overwrite;
use super::paths::{journal_path, part_path};
use crate::error::{Error, Result};
use crate::format::read_exact_at;
use crate::monitor::{Monitor, Progress};

/// A file being written under `NAME.part`: locked against other runs, removed on drop unless published or kept for a later run.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    /// `NAME.part`.
    part: PathBuf,
    /// `NAME`.
    path: PathBuf,
    stays: AtomicBool,
}

impl PartFile {
    /// Creates `PATH.part`, empty and locked. What a killed run left there is replaced.
    ///
    /// # Errors
    /// `Error::OutputLocked` while another run writes it; `Error::NotAFile` when the name is taken by something else.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let this = Self::open(path)?;
        this.empty()?;
        Ok(this)
    }

    /// Opens `PATH.part` with what a killed run left there, and locks it; an empty one where there is none.
    ///
    /// # Errors
    /// As `create`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::open_at(part_path(path), path)
    }

    /// Opens a file in a `.part` folder in the same way; it has its final name from the start.
    pub(super) fn open_as(path: &Path) -> Result<Self> {
        Self::open_at(path.to_path_buf(), path)
    }

    fn open_at(part: PathBuf, path: &Path) -> Result<Self> {
        // Another run may publish or remove its file between our opening and locking it: then the name leads to another file
        // or to none, and the next round opens that one. Each such round needs a run that ended just then.
        for _ in 0..16 {
            refuse_special_file(&part)?;
            let file = open_unemptied(&part).map_err(Error::io("create", &part))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::OutputLocked { path: part }),
                // Some network file systems have no locks; `is_at` below still keeps two runs from publishing one file.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &part)(error)),
            }
            if !is_at(&file, &part) {
                continue;
            }
            if n_links(&file) > 1 {
                // Emptying it would empty somebody's other file too.
                std::fs::remove_file(&part).map_err(Error::io("replace", &part))?;
                continue;
            }
            return Ok(Self { file, part, path: path.to_path_buf(), stays: AtomicBool::new(false) });
        }
        Err(Error::OutputLocked { path: part })
    }

    /// Throws away what it holds.
    pub(super) fn empty(&self) -> Result<()> {
        self.file.set_len(0).map_err(self.io("replace"))
    }

    /// Its size in bytes; after a kill already that of the whole output, see [`PartFile::reserve`].
    pub(super) fn len(&self) -> Result<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.io("read"))
    }

    /// Says whether it stays, unfinished, for a run that goes on with it.
    pub(super) fn keep(&self, stays: bool) {
        self.stays.store(stays, Ordering::Relaxed);
    }

    /// Sets the size and, where the file system can, takes the space now, so that a full disk is known before the work.
    pub(super) fn reserve(&self, size_bytes: u64) -> Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if size_bytes > 0 {
            use rustix::fs::{FallocateFlags, fallocate};
            use rustix::io::Errno;
            match rustix::io::retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, size_bytes)) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(error) => return Err(self.io("reserve space for")(error.into())),
            }
        }
        self.file.set_len(size_bytes).map_err(self.io("reserve space for"))
    }

    /// Writes at a position; callable from several threads at once.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        write_all_at(&self.file, bytes, offset).map_err(self.io("write"))
    }

    /// Fills `bytes` from a position; callable from several threads at once.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        read_exact_at(&self.file, bytes, offset).map_err(self.io("read"))
    }

    /// Waits until the disk has everything that was written.
    pub(super) fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(self.io("sync"))
    }

    /// A handle that can be synced elsewhere.
    pub(super) fn handle(&self) -> Result<File> {
        self.file.try_clone().map_err(self.io("sync"))
    }

    /// Gives the file its final name. Sync it before: a name that survives a power cut must have its data.
    ///
    /// # Errors
    /// `Error::OutputExists` when the name was taken meanwhile and may not be replaced; `Error::Io` when the file was removed.
    pub(super) fn publish(self, overwrite: Overwrite) -> Result<()> {
        self.check_place()?;
        let renamed = match overwrite {
            Overwrite::Never => rename_to_free_name(&self.part, &self.path),
            Overwrite::Allowed => std::fs::rename(&self.part, &self.path),
        };
        match renamed {
            Ok(()) => {
                self.stays.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && overwrite == Overwrite::Never => {
                Err(Error::OutputExists { path: self.path.clone() })
            }
            // Not by its name so far: under that it is removed now.
            Err(error) => Err(Error::io("create", &self.path)(error)),
        }
    }

    /// Refuses a file that is no longer where it was written.
    pub(super) fn check_place(&self) -> Result<()> {
        if !is_at(&self.file, &self.part) {
            // Its folder was removed, or another run took its name on a file system without locks.
            std::fs::symlink_metadata(&self.part).map_err(self.io("find"))?;
            return Err(Error::OutputLocked { path: self.part.clone() });
        }
        Ok(())
    }

    fn io(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::io(action, &self.part)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) && is_at(&self.file, &self.part) {
            // There is no one left to tell; what stays is called `.part` and is replaced by the next run.
            let _ = std::fs::remove_file(journal_path(&self.path));
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Waits until the disk has all of these files, which belong to `path`, reporting `progress`, which stands still, once a second.
///
/// # Errors
/// `Error::Cancelled` at once, even though the disk is still busy.
pub(super) fn sync_all(files: Vec<File>, path: &Path, progress: &Progress, monitor: &Monitor) -> Result<()> {
    monitor.report(progress.clone())?;
    let mut reported = Instant::now();
    // A slow disk can take a minute for what lies in the page cache, and nothing interrupts fsync. So it gets a thread of its
    // own, which a cancellation leaves behind: it holds only handles and ends when the disk is done.
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let syncing = move || drop(sender.send(files.iter().try_for_each(File::sync_all)));
    std::thread::Builder::new().name("convert-sync".into()).spawn(syncing).map_err(Error::io("sync", path))?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(synced) => return synced.map_err(Error::io("sync", path)),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) if reported.elapsed() >= Duration::from_secs(1) => {
                monitor.report(progress.clone())?;
                reported = Instant::now();
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => monitor.check()?,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                return Err(Error::Internal { message: "the syncing thread died".into() });
            }
        }
    }
}

/// Makes renames in `dir` survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    // Other systems have no handle of a folder that could be synced.
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        match synced {
            // Some network and FUSE file systems cannot; the rename itself was done.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => {}
            synced => synced.map_err(Error::io("sync", dir))?,
        }
    }
    Ok(())
}

pub(super) fn refuse_special_file(part: &Path) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(part) else { return Ok(()) };
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_symlink() => "a symbolic link",
        () => "a FIFO, device or socket",
    };
    Err(Error::NotAFile { kind, path: part.to_path_buf() })
}

/// Opens for writing without emptying: the file may be another run's. Follows no symbolic link.
pub(super) fn open_unemptied(part: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    }
    options.open(part)
}

/// True when `path` leads to this very file.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use super::paths::FileId;
        let at_path = std::fs::symlink_metadata(path).ok().map(|metadata| FileId::of_metadata(&metadata));
        at_path.is_some() && at_path == file.metadata().ok().map(|metadata| FileId::of_metadata(&metadata))
    }
    // Windows keeps the name of an open file from going to another one.
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

fn n_links(file: &File) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        file.metadata().map_or(1, |metadata| metadata.nlink())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        1
    }
}

fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(windows)]
    {
        use std::os::windows::fs::FileExt;
        let (mut bytes, mut offset) = (bytes, offset);
        while !bytes.is_empty() {
            let n_written = file.seek_write(bytes, offset)?;
            if n_written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(n_written..).unwrap_or_default();
            offset += n_written as u64;
        }
        Ok(())
    }
}

/// Renames; fails with `AlreadyExists` when `to` exists, without a moment in which another run could slip in where the system
/// allows that.
pub(super) fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag.
            Err(errno) if [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&errno) => {}
            renamed => return renamed.map_err(io::Error::from),
        }
    }
    rename_by_link(from, to)
}

fn rename_by_link(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => {
            // The output is complete under its name; a `.part` that cannot be removed is replaced by the next run.
            let _ = std::fs::remove_file(from);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // No hard links here, as on FAT: look, then rename.
        Err(_) if std::fs::symlink_metadata(to).is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn progress() -> Progress {
        Progress { stage: "syncing".into(), done: 1, total: 1, unit: crate::monitor::ProgressUnit::Bytes }
    }

    #[test]
    fn an_output_has_its_name_only_when_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let part = PartFile::create(&path).unwrap();
        part.reserve(6).unwrap();
        part.write_at(b"def", 3).unwrap();
        part.write_at(b"abc", 0).unwrap();
        assert_eq!(names(dir.path()), ["a.gguf.part"]);
        sync_all(vec![part.handle().unwrap()], &path, &progress(), &Monitor::silent()).unwrap();
        part.publish(Overwrite::Never).unwrap();
        sync_dir(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["a.gguf"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
    }

    #[test]
    fn an_unpublished_output_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        drop(PartFile::create(&dir.path().join("a")).unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn two_runs_cannot_write_one_output() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = PartFile::create(&path).unwrap();
        first.write_at(b"first", 0).unwrap();
        assert_eq!(PartFile::create(&path).unwrap_err(), Error::OutputLocked { path: part_path(&path) });
        first.publish(Overwrite::Never).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        drop(PartFile::create(&path).unwrap());
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn what_a_killed_run_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(part_path(&path), "left over").unwrap();
        let part = PartFile::create(&path).unwrap();
        part.write_at(b"new", 0).unwrap();
        part.publish(Overwrite::Never).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_name_taken_meanwhile_is_not_replaced_unless_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let check = |overwrite, expected: Result<()>, content: &str| {
            let part = PartFile::create(&path).unwrap();
            part.write_at(b"new", 0).unwrap();
            std::fs::write(&path, "old").unwrap();
            assert_eq!(part.publish(overwrite), expected);
            assert_eq!(names(dir.path()), ["a"]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        };
        check(Overwrite::Never, Err(Error::OutputExists { path: path.clone() }), "old");
        check(Overwrite::Allowed, Ok(()), "new");
    }

    #[test]
    fn a_file_that_cannot_get_its_name_is_told_by_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let part = PartFile::create(&path).unwrap();
        std::fs::create_dir_all(path.join("folder")).unwrap();
        let refused = part.publish(Overwrite::Allowed).unwrap_err();
        assert!(matches!(&refused, Error::Io { action: "create", path: told, .. } if *told == path), "{refused:?}");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn renaming_by_link_keeps_what_exists() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("from"), "new").unwrap();
        std::fs::write(at("taken"), "old").unwrap();
        assert_eq!(rename_by_link(&at("from"), &at("taken")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        rename_by_link(&at("from"), &at("free")).unwrap();
        assert_eq!(names(dir.path()), ["free", "taken"]);
    }

    #[cfg(unix)]
    #[test]
    fn other_files_behind_the_part_name_keep_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "keep").unwrap();
        std::fs::hard_link(&precious, part_path(&path)).unwrap();
        PartFile::create(&path).unwrap().publish(Overwrite::Never).unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "keep");
        std::os::unix::fs::symlink(&precious, part_path(&path)).unwrap();
        let refused = Error::NotAFile { kind: "a symbolic link", path: part_path(&path) };
        assert_eq!(PartFile::create(&path).unwrap_err(), refused);
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "keep");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        File::create(&plain).unwrap();
        let path = dir.path().join("a");
        PartFile::create(&path).unwrap().publish(Overwrite::Never).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn syncing_ends_when_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let part = PartFile::create(&dir.path().join("a")).unwrap();
        let cancelled = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        assert_eq!(
            sync_all(vec![part.handle().unwrap()], dir.path(), &progress(), &Monitor::new(cancelled, |_| {})),
            Err(Error::Cancelled)
        );
    }
}
