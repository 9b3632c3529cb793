//! A vector for each token of all chunks: in memory, or in a file where that would take too much.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::runtime::work_folder::WorkFolder;

/// Rows of equal length, which are looked at and changed range by range.
pub(super) struct Hidden {
    width: usize,
    store: Store,
}

enum Store {
    Memory(Vec<f32>),
    File(Spilled),
}

struct Spilled {
    file: File,
    path: PathBuf,
    buffer: Vec<f32>,
    /// Removed with this value.
    _folder: WorkFolder,
}

impl Hidden {
    /// Zeros: in memory up to `max_bytes`, else in a file.
    ///
    /// # Errors
    /// What the system says about the file.
    pub(super) fn zeros(n_rows: usize, width: usize, max_bytes: u64) -> Result<Self> {
        let n_bytes = (n_rows as u64).saturating_mul(width as u64).saturating_mul(4);
        let store = if n_bytes <= max_bytes {
            Store::Memory(vec![0.0; n_rows * width])
        } else {
            let folder = WorkFolder::new("forward")?;
            let path = folder.path().join("hidden.f32");
            let open = || File::options().read(true).write(true).create_new(true).open(&path);
            let file = open().map_err(Error::io("create", &path))?;
            file.set_len(n_bytes).map_err(Error::io("write", &path))?;
            Store::File(Spilled { file, path, buffer: Vec::new(), _folder: folder })
        };
        Ok(Self { width, store })
    }

    /// Some rows, to be read.
    pub(super) fn rows(&mut self, rows: &Range<usize>) -> Result<&[f32]> {
        let range = rows.start * self.width..rows.end * self.width;
        match &mut self.store {
            Store::Memory(numbers) => numbers.get(range).ok_or_else(outside),
            Store::File(spilled) => spilled.load(range).map(|rows| &*rows),
        }
    }

    /// Lets `change` change some rows.
    pub(super) fn change<T>(&mut self, rows: &Range<usize>, change: impl FnOnce(&mut [f32]) -> Result<T>) -> Result<T> {
        let range = rows.start * self.width..rows.end * self.width;
        match &mut self.store {
            Store::Memory(numbers) => change(numbers.get_mut(range).ok_or_else(outside)?),
            Store::File(spilled) => {
                let outcome = change(spilled.load(range.clone())?)?;
                spilled.keep(range)?;
                Ok(outcome)
            }
        }
    }
}

fn outside() -> Error {
    Error::Internal { message: "hidden states beyond the last token were asked for".into() }
}

impl Spilled {
    fn load(&mut self, range: Range<usize>) -> Result<&mut [f32]> {
        self.buffer.resize(range.len(), 0.0);
        let bytes = bytemuck::cast_slice_mut(&mut self.buffer);
        let read = self.file.seek(SeekFrom::Start(4 * range.start as u64)).and_then(|_| self.file.read_exact(bytes));
        read.map_err(Error::io("read", &self.path))?;
        Ok(&mut self.buffer)
    }

    fn keep(&mut self, range: Range<usize>) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.buffer);
        let written = self.file.seek(SeekFrom::Start(4 * range.start as u64)).and_then(|_| self.file.write_all(bytes));
        written.map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_memory_holds() {
        for max_bytes in [0, u64::MAX] {
            let mut hidden = Hidden::zeros(5, 3, max_bytes).unwrap();
            let set = |rows: &mut [f32]| {
                rows.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
                Ok(())
            };
            hidden.change(&(1..3), set).unwrap();
            let add = |rows: &mut [f32]| {
                for number in rows.iter_mut() {
                    *number += 10.0;
                }
                Ok(())
            };
            hidden.change(&(2..5), add).unwrap();
            let expected = [[0.0; 3], [1.0, 2.0, 3.0], [14.0, 15.0, 16.0], [10.0; 3], [10.0; 3]].concat();
            assert_eq!(hidden.rows(&(0..5)).unwrap(), expected, "{max_bytes}");
            assert!(hidden.rows(&(4..6)).is_err(), "{max_bytes}");
        }
    }
}
