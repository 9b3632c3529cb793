//! SHA-256 of models, remembered by path, size, time of the last change and inode.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension as _, params};

use super::History;
use crate::error::Result;

/// A file that was changed less than this long ago is not remembered: it may be changed again within the same tick of the file
/// system's clock, which is 2 seconds on FAT. Source: "racy git" in Documentation/technical/racy-git.adoc, git.
const RACY: Duration = Duration::from_secs(2);

/// What shows, without reading them, whether a model's files are still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileIdentity {
    /// The first file, without symbolic links.
    pub(super) path: PathBuf,
    /// Size in bytes; for a split model the sum over all files, as in the next two fields.
    pub(super) size_bytes: i64,
    /// Time of the last change in nanoseconds since 1970.
    pub(super) mtime_ns: i64,
    /// Number of the file in its file system; 0 where there is none.
    pub(super) inode: i64,
    /// The latest change of any of the files, in nanoseconds since 1970.
    changed_ns: i64,
    /// False for files changed a moment ago, or in the future.
    is_settled: bool,
}

impl FileIdentity {
    /// The identity of a model's files; `None` for no files, and when one cannot be looked at.
    #[must_use]
    pub fn of(files: &[PathBuf]) -> Option<Self> {
        let path = std::fs::canonicalize(files.first()?).ok()?;
        let mut identity = Self { path, size_bytes: 0, mtime_ns: 0, inode: 0, changed_ns: i64::MIN, is_settled: true };
        for file in files {
            let metadata = std::fs::metadata(file).ok()?;
            let modified = metadata.modified().ok()?;
            // Sums: whichever of the files changes, the sum does too.
            identity.size_bytes = identity.size_bytes.wrapping_add(metadata.len().cast_signed());
            identity.mtime_ns = identity.mtime_ns.wrapping_add(nanoseconds(modified));
            identity.changed_ns = identity.changed_ns.max(nanoseconds(modified));
            identity.inode = identity.inode.wrapping_add(inode(&metadata));
            // Also false for a time in the future, which says nothing about the present.
            identity.is_settled &= modified.elapsed().is_ok_and(|age| age >= RACY);
        }
        Some(identity)
    }

    /// When the files were changed last, in seconds since 1970.
    #[must_use]
    pub fn changed_unix_secs(&self) -> i64 {
        self.changed_ns.div_euclid(1_000_000_000)
    }

    /// Size of all files together, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.cast_unsigned()
    }
}

impl History {
    /// The remembered hash of a model; `None` when it has changed since, or was never hashed.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn known_sha256(&self, identity: &FileIdentity) -> Result<Option<String>> {
        let sql = "SELECT sha256 FROM model_hashes WHERE path = ?1 AND size_bytes = ?2 AND mtime_ns = ?3 AND inode = ?4";
        let found = self.connection.query_row(
            sql,
            params![crate::path_text::to_text(&identity.path), identity.size_bytes, identity.mtime_ns, identity.inode],
            |row| row.get(0),
        );
        found.optional().map_err(self.error("read"))
    }

    /// As [`Self::known_sha256`], also for a model that was moved or renamed within its file system.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn known_sha256_anywhere(&self, identity: &FileIdentity) -> Result<Option<String>> {
        if let Some(sha256) = self.known_sha256(identity)? {
            return Ok(Some(sha256));
        }
        // Without an inode number, another file may have the same size and time.
        if identity.inode == 0 {
            return Ok(None);
        }
        let sql = "SELECT sha256 FROM model_hashes WHERE size_bytes = ?1 AND mtime_ns = ?2 AND inode = ?3";
        let values = params![identity.size_bytes, identity.mtime_ns, identity.inode];
        self.connection.query_row(sql, values, |row| row.get(0)).optional().map_err(self.error("read"))
    }

    /// Remembers the hash of a model, in place of an earlier one of the same path. One that was changed a moment ago is not remembered.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn remember_sha256(&self, identity: &FileIdentity, sha256: &str) -> Result<()> {
        if !identity.is_settled {
            return Ok(());
        }
        let sql = "INSERT OR REPLACE INTO model_hashes (path, size_bytes, mtime_ns, inode, sha256) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values =
            params![crate::path_text::to_text(&identity.path), identity.size_bytes, identity.mtime_ns, identity.inode, sha256];
        self.connection.execute(sql, values).map(drop).map_err(self.error("write"))
    }
}

/// Nanoseconds since 1970, negative before; wraps after the year 2262.
fn nanoseconds(moment: SystemTime) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "wraps only after the year 2262")]
    let count = |duration: Duration| duration.as_nanos() as i64;
    moment.duration_since(UNIX_EPOCH).map_or_else(|error| count(error.duration()).wrapping_neg(), count)
}

fn inode(metadata: &std::fs::Metadata) -> i64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::ino(metadata).cast_signed();
    #[cfg(not(unix))]
    {
        let _ = metadata;
        0
    }
}
