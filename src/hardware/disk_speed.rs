//! How fast a folder takes data, measured by writing some.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::disk_of;
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;

/// After this time no further piece is begun.
const MAX_TIME: Duration = Duration::from_millis(600);

/// The first piece is small, so that a slow memory stick is done in time; each next one is twice as large.
const FIRST_BYTES: u64 = 1 << 20;

/// The largest piece: at 2 GB/s it takes 16 ms, far longer than the few tenths of a millisecond of a flush.
const MAX_PIECE_BYTES: u64 = 32 << 20;

/// The most that is written in all.
const MAX_BYTES: u64 = 512 << 20;

/// At most one eighth of the free space is used.
const FREE_PART: u64 = 8;

/// Sequential write speed of the disk below `dir`, in bytes per second, in less than a second.
///
/// Writes random bytes in pieces that grow, each flushed to the disk, and returns the speed of the fastest: the small first pieces mostly
/// measure the flush. The file has no name while it is written where the system allows that, and is removed in any case.
///
/// # Errors
/// `Error::NotEnoughSpace` with less than 8 MiB free, `Error::Io` when the folder cannot be written, `Error::Cancelled`.
pub fn measure_disk_write(dir: &Path, monitor: &Monitor) -> Result<f64> {
    monitor.check()?;
    let free_bytes = disk_of(dir).map_or(MAX_BYTES * FREE_PART, |disk| disk.free_bytes);
    let budget_bytes = (free_bytes / FREE_PART).min(MAX_BYTES);
    if budget_bytes < FIRST_BYTES {
        return Err(Error::NotEnoughSpace { needed_bytes: FIRST_BYTES * FREE_PART, free_bytes, path: dir.to_path_buf() });
    }
    let mut scratch = Scratch::create(dir)?;
    let noise = noise();
    let started = Instant::now();
    let (mut written, mut piece_bytes, mut best) = (0_u64, FIRST_BYTES, 0.0_f64);
    loop {
        let stage = format!("measuring the disk at {}", path_text::shown(dir));
        monitor.report(Progress { stage, done: written, total: budget_bytes, unit: ProgressUnit::Bytes })?;
        let piece_start = Instant::now();
        scratch.write(&noise, piece_bytes)?;
        let elapsed = piece_start.elapsed();
        #[allow(clippy::cast_precision_loss, reason = "at most 32 MiB")]
        let rate = piece_bytes as f64 / elapsed.as_secs_f64().max(1e-9);
        best = best.max(rate);
        written += piece_bytes;
        piece_bytes = (piece_bytes * 2).min(MAX_PIECE_BYTES);
        // The next piece takes about twice as long: it must fit too.
        if written + piece_bytes > budget_bytes || started.elapsed() + elapsed * 2 > MAX_TIME {
            return Ok(best);
        }
    }
}

/// 1 MiB that no file system or disk can compress: a xorshift sequence (Marsaglia 2003, triple 13, 7, 17).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A file of our own that is gone when this is dropped.
struct Scratch {
    file: Option<File>,
    path: PathBuf,
}

impl Scratch {
    /// A new file under a name that nobody has.
    fn create(dir: &Path) -> Result<Self> {
        for attempt in 0..100_u32 {
            let path = dir.join(format!(".planish-speed-{}-{attempt}.part", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    // Where an open file may lose its name, nothing is left behind even if this process is killed.
                    #[cfg(unix)]
                    let _ = fs::remove_file(&path);
                    return Ok(Self { file: Some(file), path });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
        Err(Error::io("create", dir)(ErrorKind::AlreadyExists.into()))
    }

    /// Appends `n_bytes` of `noise`, over and over, and waits until the disk has them.
    fn write(&mut self, noise: &[u8], n_bytes: u64) -> Result<()> {
        let path = &self.path;
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        for _ in 0..n_bytes / noise.len() as u64 {
            file.write_all(noise).map_err(Error::io("write", path))?;
        }
        file.sync_data().map_err(Error::io("sync", path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Windows removes no open file. On Unix the file lost its name when it was made, and the name may be another's by now.
        self.file = None;
        #[cfg(not(unix))]
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).unwrap().next().is_none()
    }

    #[test]
    fn a_measurement_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let rate = measure_disk_write(dir.path(), &Monitor::silent()).unwrap();
        println!("{:?} {rate:e}", started.elapsed());
        assert!(rate.is_finite() && rate > 1e5, "{rate}");
        assert!(is_empty(dir.path()));
    }

    #[test]
    fn a_cancelled_measurement_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        // Cancelled by its own first report: at the second one the file holds a piece.
        let monitor = Monitor::new(cancelled, move |_| flag.store(true, Ordering::Relaxed));
        let outcome = measure_disk_write(dir.path(), &monitor);
        assert!(outcome == Err(Error::Cancelled) || outcome.is_ok(), "{outcome:?}");
        assert!(is_empty(dir.path()));
        assert_eq!(measure_disk_write(dir.path(), &monitor), Err(Error::Cancelled));
        assert!(is_empty(dir.path()));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = measure_disk_write(&missing, &Monitor::silent()).unwrap_err();
        assert!(matches!(error, Error::Io { action: "create", kind: ErrorKind::NotFound, .. }), "{error}");
    }
}
