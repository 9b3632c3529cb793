//! Tensor data from disk, by position and without a map.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::checksum::Checksum;
use super::import_reader::read_import;
use super::open::open_regular;
use crate::error::{Error, Result};
use crate::model::{Import, Model, Tensor};

/// Open files of a model, for reading pieces of tensors, also from several threads at once.
///
/// Positioned reads instead of a map: resident memory stays what the caller's buffers take, and a file that is truncated
/// meanwhile is an error instead of a SIGBUS.
#[derive(Debug)]
pub struct TensorReader {
    files: Vec<Source>,
    /// For a checkpoint: what each tensor is made from, and the index of each tensor by name.
    import: Option<(Arc<Import>, HashMap<String, usize>)>,
}

#[derive(Debug)]
struct Source {
    file: File,
    path: PathBuf,
    stamp: Stamp,
}

/// What changes when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size_bytes: u64,
    modified: Option<SystemTime>, // `None` where the file system keeps no time
}

impl TensorReader {
    /// Opens all files of the model for reading and remembers their sizes and times.
    ///
    /// # Errors
    /// `Error::SourceChanged` when the files are not as large as when the model was read; `Error::Io` and `Error::NotAFile`
    /// when one cannot be opened.
    pub fn open(model: &Model) -> Result<Self> {
        let mut files = Vec::with_capacity(model.files.len());
        for path in &model.files {
            let (file, _) = open_regular(path)?;
            let stamp = stamp(&file).map_err(Error::io("read", path))?;
            files.push(Source { file, path: path.clone(), stamp });
        }
        if files.iter().map(|source| source.stamp.size_bytes).sum::<u64>() != model.size_bytes {
            return Err(Error::SourceChanged { path: model.path.clone() });
        }
        let import = model.import.as_ref().map(|import| {
            let places = model.tensors.iter().enumerate().map(|(idx, tensor)| (tensor.name.clone(), idx));
            (Arc::clone(import), places.collect())
        });
        Ok(Self { files, import })
    }

    /// Fills `dst` with the tensor's bytes from `start` on; for a checkpoint, with the bytes that a GGUF file would have.
    ///
    /// # Errors
    /// `Error::Internal` when the range reaches beyond the tensor or a checkpoint does not have the tensor;
    /// `Error::SourceChanged` when the file has become shorter; `Error::Io` when the disk fails.
    pub fn read(&self, tensor: &Tensor, start: u64, dst: &mut [u8]) -> Result<()> {
        if let Some((import, places)) = &self.import {
            let origin = places.get(&tensor.name).and_then(|&idx| import.origins.get(idx));
            let origin =
                origin.ok_or_else(|| Error::Internal { message: format!("tensor {} is not of this checkpoint", tensor.name) })?;
            return read_import(tensor, origin, start, dst, &|file_idx, position, dst| self.read_at(file_idx, position, dst));
        }
        let end = start.checked_add(dst.len() as u64).filter(|&end| end <= tensor.size_bytes);
        let (Some(_), Some(_), Some(position)) = (self.files.get(tensor.file_idx), end, tensor.offset.checked_add(start)) else {
            let message = format!(
                "bytes {start}..{start}+{} of tensor {} ({} bytes, file {}) were asked for",
                dst.len(),
                tensor.name,
                tensor.size_bytes,
                tensor.file_idx
            );
            return Err(Error::Internal { message });
        };
        self.read_at(tensor.file_idx, position, dst)
    }

    /// A checksum of the files' sizes and times, but not of their names: it stays the same as long as nobody writes to them.
    #[must_use]
    pub fn stamps_checksum(&self) -> Checksum {
        let nanos = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let stamps = self.files.iter().map(|Source { stamp, .. }| {
            let mut bytes = stamp.size_bytes.to_le_bytes().to_vec();
            bytes.extend_from_slice(&stamp.modified.map_or(0, nanos).to_le_bytes());
            Checksum::of(&bytes)
        });
        Checksum::of_parts(&stamps.collect::<Vec<_>>())
    }

    fn read_at(&self, file_idx: usize, position: u64, dst: &mut [u8]) -> Result<()> {
        let no_file = || Error::Internal { message: format!("file {file_idx} of {} was asked for", self.files.len()) };
        let source = self.files.get(file_idx).ok_or_else(no_file)?;
        read_exact_at(&source.file, dst, position).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::SourceChanged { path: source.path.clone() },
            _ => Error::io("read", &source.path)(error),
        })
    }

    /// Checks that the files still have the size and time of modification that they had when they were opened.
    ///
    /// # Errors
    /// `Error::SourceChanged` with the first file that does not; `Error::Io` when a file's size and time cannot be read.
    pub fn check_unchanged(&self) -> Result<()> {
        for Source { file, path, stamp: opened } in &self.files {
            if stamp(file).map_err(Error::io("read", path))? != *opened {
                return Err(Error::SourceChanged { path: path.clone() });
            }
        }
        Ok(())
    }
}

fn stamp(file: &File) -> std::io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp { size_bytes: metadata.len(), modified: metadata.modified().ok() })
}

/// Fills `dst` from a position, whatever other threads read.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, dst: &mut [u8], position: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, dst, position)
}

/// Fills `dst` from a position, whatever other threads read: `seek_read` moves only the file's own position, which is not used.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut dst: &mut [u8], mut position: u64) -> std::io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !dst.is_empty() {
        match file.seek_read(dst, position) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                dst = dst.get_mut(n..).unwrap_or_default();
                position += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::super::{read_gguf, tests_header::small_file};
    use super::*;

    fn opened() -> (tempfile::TempDir, Model, TensorReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.gguf");
        std::fs::write(&path, small_file()).unwrap();
        let model = read_gguf(&path).unwrap();
        let reader = TensorReader::open(&model).unwrap();
        (folder, model, reader)
    }

    #[test]
    fn pieces_are_read_from_their_place() {
        let (_folder, model, reader) = opened();
        for (tensor, byte) in model.tensors.iter().zip(1..) {
            let mut whole = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
            reader.read(tensor, 0, &mut whole).unwrap();
            assert!(whole.iter().all(|&found| found == byte), "{}: {whole:?}", tensor.name);
            reader.read(tensor, tensor.size_bytes - 2, &mut [0; 2]).unwrap();
            for start in [tensor.size_bytes - 1, tensor.size_bytes, u64::MAX] {
                let error = reader.read(tensor, start, &mut [0; 2]).unwrap_err();
                assert!(matches!(error, Error::Internal { .. }), "{error}");
            }
        }
        reader.check_unchanged().unwrap();
    }

    #[test]
    fn threads_may_share_a_reader() {
        let (_folder, model, reader) = opened();
        std::thread::scope(|scope| {
            for (tensor, byte) in model.tensors.iter().zip(1u8..) {
                let reader = &reader;
                scope.spawn(move || {
                    for start in (0..1000).map(|round| round % (tensor.size_bytes - 3)) {
                        let mut piece = [0; 4];
                        reader.read(tensor, start, &mut piece).unwrap();
                        assert_eq!(piece, [byte; 4]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_source_that_shrinks_is_an_error() {
        let (_folder, model, reader) = opened();
        let last = model.tensors.last().unwrap();
        std::fs::File::options().write(true).open(&model.path).unwrap().set_len(last.offset + 5).unwrap();
        let expected = Err(Error::SourceChanged { path: model.path.clone() });
        assert_eq!(reader.read(last, 0, &mut [0; 16]), expected);
        assert_eq!(reader.check_unchanged(), expected);
        assert_eq!(TensorReader::open(&model).map(drop), expected);
    }

    #[test]
    fn a_source_that_is_written_to_is_noticed() {
        let (_folder, model, reader) = opened();
        let mut file = std::fs::File::options().write(true).open(&model.path).unwrap();
        file.write_all(b"GGUF").unwrap();
        // Set by hand, because two writes may share one tick of the file system's clock.
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert_eq!(reader.check_unchanged(), Err(Error::SourceChanged { path: model.path }));
    }
}
