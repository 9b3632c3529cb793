//! The SHA-256 of a model, which names it in results.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::history::{FileIdentity, History};
use crate::error::{Error, Result};
use crate::format::Artifact;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;
use crate::runtime::hex;

/// Bytes that are read and hashed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// SHA-256 of a model's file in hexadecimal; for a split model, of all its files one after the other, in their order.
///
/// Computed once and then remembered in the user's history until path, size, time of change or inode differ. Without a history it is
/// computed every time.
///
/// # Errors
/// Those of opening the model, `Error::Io`, `Error::Cancelled`.
pub fn model_sha256(path: &Path, monitor: &Monitor) -> Result<String> {
    artifact_sha256(&Artifact::open(path)?, monitor)
}

/// As [`model_sha256`], for what is already open; for a folder, of all its files one after the other.
///
/// # Errors
/// `Error::Io`, `Error::Cancelled`.
pub fn artifact_sha256(artifact: &Artifact, monitor: &Monitor) -> Result<String> {
    sha256_of_files(&artifact.files, monitor)
}

/// As [`model_sha256`], for the files of a model in their order.
///
/// # Errors
/// `Error::Io`, `Error::Cancelled`.
pub(super) fn sha256_of_files(files: &[PathBuf], monitor: &Monitor) -> Result<String> {
    let history = History::open_default();
    if let Err(error) = &history {
        tracing::warn!("hashes of models are not remembered: {error}");
    }
    sha256_with(history.ok().as_ref(), files, monitor)
}

/// As [`artifact_sha256`], with the hashes that this history remembers; without one, always computed.
pub(super) fn sha256_with(history: Option<&History>, files: &[PathBuf], monitor: &Monitor) -> Result<String> {
    let memory = history.zip(FileIdentity::of(files));
    if let Some((history, identity)) = &memory {
        match history.known_sha256(identity) {
            Ok(Some(sha256)) => return Ok(sha256),
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
    let sha256 = computed_sha256(files, monitor)?;
    if let Some((history, identity)) = memory {
        // A file that was changed while it was read has no hash that could be remembered.
        let is_unchanged = FileIdentity::of(files).is_some_and(|now| now == identity);
        if let (true, Err(error)) = (is_unchanged, history.remember_sha256(&identity, &sha256)) {
            tracing::warn!("{error}");
        }
    }
    Ok(sha256)
}

fn computed_sha256(files: &[PathBuf], monitor: &Monitor) -> Result<String> {
    let name = files.first().map_or_else(String::new, |first| path_text::file_name(first));
    let total: u64 = files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    let mut hash = Sha256::new();
    let mut done = 0;
    let mut block = vec![0; BLOCK_BYTES];
    for file_path in files {
        let mut file = std::fs::File::open(file_path).map_err(Error::io("open", file_path))?;
        loop {
            let n = file.read(&mut block).map_err(Error::io("read", file_path))?;
            let Some(read) = block.get(..n).filter(|read| !read.is_empty()) else { break };
            hash.update(read);
            done += n as u64;
            monitor.report(Progress {
                stage: format!("hash of {name}"),
                done,
                total: total.max(done),
                unit: ProgressUnit::Bytes,
            })?;
        }
    }
    Ok(hex(&hash.finalize()))
}
