//! An output before it is written, as a value: literal bytes, and what becomes of each tensor.

use crate::quant::{Coding, MAX_COMPONENTS};

/// An output that is not written yet; every size in it is exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its files. A single one without a name is the output itself; otherwise they are in a folder.
    pub files: Vec<PlannedFile>,
    /// One for each tensor of the source, in its order.
    pub ways: Vec<Way>,
}

/// A file of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// The name in the output's folder; empty for an output that is a file.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its first bytes, which do not depend on the weights: a header, or all of it.
    pub head: Vec<u8>,
}

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The name of its first component in the output.
    pub name: String,
    /// How it is written.
    pub coding: Coding,
    /// Dimensions in the output, the row length first.
    pub shape: Vec<u64>,
    /// Where each component begins; the default for components that the coding does not have.
    pub spots: [Spot; MAX_COMPONENTS],
}

/// A position in an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spot {
    /// Index into `Planned::files`.
    pub file_idx: usize,
    /// Bytes from the start of the file.
    pub offset: u64,
}

impl Spot {
    /// The position `n_bytes` further on in the same file.
    #[must_use]
    pub fn behind(self, n_bytes: u64) -> Self {
        Self { offset: self.offset.saturating_add(n_bytes), ..self }
    }
}

impl PlannedFile {
    /// A file whose bytes are all known.
    #[must_use]
    pub fn whole(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), size_bytes: bytes.len() as u64, head: bytes }
    }

    /// True for the files of a folder, false for one that is the output itself.
    #[must_use]
    pub fn are_of_folder(files: &[Self]) -> bool {
        !matches!(files, [file] if file.name.is_empty())
    }
}

impl Planned {
    /// Size of all files together, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// True for an output that is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        PlannedFile::are_of_folder(&self.files)
    }
}
