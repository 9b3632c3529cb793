//! A position in a header that never reads past the end of the file.

use std::fmt::Arguments;
use std::path::Path;

use super::gguf::MAX_HEADER_BYTES;
use crate::error::{Error, Result};
use crate::model::Text;

/// Reads little-endian fields one after the other. Each length is checked against the bytes left before anything is allocated.
pub(super) struct Cursor<'a> {
    /// The start of the file, as much of it as may be header.
    bytes: &'a [u8],
    /// Bytes read.
    at: usize,
    /// Size of the whole file in bytes; at least the length of `bytes`.
    file_size_bytes: u64,
    /// The file, for messages.
    path: &'a Path,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first byte.
    pub(super) fn new(bytes: &'a [u8], file_size_bytes: u64, path: &'a Path) -> Self {
        Self { bytes, at: 0, file_size_bytes: file_size_bytes.max(bytes.len() as u64), path }
    }

    /// Position of the next field from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.at as u64
    }

    /// Bytes between the next field and the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.file_size_bytes - self.at as u64
    }

    /// The error for a contradiction in the bytes.
    pub(super) fn malformed(&self, what: impl Into<String>) -> Error {
        Error::Malformed { what: what.into(), path: self.path.to_path_buf() }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// Checks that `count` entries of at least `min_bytes` each fit into what is left.
    pub(super) fn need(&self, count: u64, min_bytes: u64, what: Arguments<'_>) -> Result<()> {
        let needed = count.saturating_mul(min_bytes);
        if needed > self.left() {
            return Err(Error::Truncated { what: what.to_string(), needed, left: self.left(), path: self.path.to_path_buf() });
        }
        // Files beyond the limit are mapped only up to it.
        if needed > (self.bytes.len() - self.at) as u64 {
            return Err(self.malformed(format!("{what} makes the header longer than {MAX_HEADER_BYTES} bytes")));
        }
        Ok(())
    }

    /// The next `n_bytes`.
    pub(super) fn take(&mut self, n_bytes: u64, what: Arguments<'_>) -> Result<&'a [u8]> {
        self.need(n_bytes, 1, what)?;
        let end = self.at + usize::try_from(n_bytes).unwrap_or(0);
        let taken = self.bytes.get(self.at..end).unwrap_or_default();
        self.at = end;
        Ok(taken)
    }

    /// A field of fixed width.
    pub(super) fn field<const N: usize>(&mut self, what: Arguments<'_>) -> Result<[u8; N]> {
        let mut field = [0; N];
        field.copy_from_slice(self.take(N as u64, what)?);
        Ok(field)
    }

    /// A 32-bit number.
    pub(super) fn u32(&mut self, what: Arguments<'_>) -> Result<u32> {
        self.field(what).map(u32::from_le_bytes)
    }

    /// A signed 32-bit number.
    pub(super) fn i32(&mut self, what: Arguments<'_>) -> Result<i32> {
        self.field(what).map(i32::from_le_bytes)
    }

    /// A 64-bit number.
    pub(super) fn u64(&mut self, what: Arguments<'_>) -> Result<u64> {
        self.field(what).map(u64::from_le_bytes)
    }

    /// `count` numbers of `N` bytes each.
    pub(super) fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        from: fn([u8; N]) -> T,
        what: Arguments<'_>,
    ) -> Result<Vec<T>> {
        let bytes = self.take(count.saturating_mul(N as u64), what)?;
        Ok(bytes.as_chunks().0.iter().map(|&chunk| from(chunk)).collect())
    }

    /// A string: its length, then its bytes.
    pub(super) fn text(&mut self, what: Arguments<'_>) -> Result<Text> {
        self.str_bytes(what).map(|bytes| Text(bytes.to_vec()))
    }

    /// A name, which unlike other strings must be UTF-8 and not empty.
    pub(super) fn name(&mut self, what: Arguments<'_>) -> Result<&'a str> {
        match std::str::from_utf8(self.str_bytes(what)?) {
            Ok("") => Err(self.malformed(format!("{what} is empty"))),
            Ok(name) => Ok(name),
            Err(error) => Err(self.malformed(format!("{what} is not UTF-8: {error}"))),
        }
    }

    fn str_bytes(&mut self, what: Arguments<'_>) -> Result<&'a [u8]> {
        let n_bytes = self.u64(format_args!("length of {what}"))?;
        self.take(n_bytes, what)
    }
}
