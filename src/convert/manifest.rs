//! What was done and what came out, as a small JSON file beside each output.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{Checksum, PlannedFile, Way};
use crate::path_text;
use crate::quant::MAX_COMPONENTS;

/// What every manifest starts with: it is recognized by this.
const START: &str = "{\n  \"planish_manifest\": ";
/// The largest manifest that is read: a tensor takes some 300 bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Where a file comes from, and a checksum of each of its tensors.
///
/// The file itself has only one checksum of all tensors together; these tell which tensor is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1: the version of this format.
    pub planish_manifest: u32,
    /// The version of Planish that made the file.
    pub planish: String,
    /// The file's name.
    pub file: String,
    /// The file's size in bytes.
    pub size_bytes: u64,
    /// The level, and the changes of its recipe as options of the command line.
    pub recipe: String,
    /// The model that it was made from: the name of its file or folder, and the checksum of its tensors.
    pub source: Ingredient,
    /// The importance matrix: the name of its file, and its BLAKE3.
    pub imatrix: Option<Ingredient>,
    /// All bytes before the first tensor.
    pub header: HeaderEntry,
    /// Checksum of all tensors together.
    pub tensors_blake3: Checksum,
    /// All tensors in file order; for a folder, in the order of the source.
    pub tensors: Vec<TensorEntry>,
    /// The files of a folder; empty for an output that is a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Bytes before its weights; all of them for a file without weights.
    pub head_bytes: u64,
    /// BLAKE3 of these bytes.
    pub blake3: Checksum,
}

impl FileEntry {
    pub(super) fn of(file: &PlannedFile) -> Self {
        let (size_bytes, head_bytes) = (file.size_bytes, file.head.len() as u64);
        Self { name: file.name.clone(), size_bytes, head_bytes, blake3: Checksum::of(&file.head) }
    }
}

/// Something that a file was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// Its name without folders: where its maker keeps it is nobody's business.
    pub name: String,
    /// Its checksum.
    pub blake3: Checksum,
}

/// All bytes before the first tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderEntry {
    /// Their number.
    pub size_bytes: u64,
    /// Their BLAKE3; where they hold this value themselves, it counts as zeros.
    pub blake3: Checksum,
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub dtype: String,
    /// Its dimensions, the row length first.
    pub shape: Vec<u64>,
    /// Position of its first byte in the file.
    pub offset: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its checksum: that of its chunks, each with one component after the other.
    pub blake3: Checksum,
    /// Where its components lie in the files of a folder; empty for an output that is a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentEntry>,
}

/// A part of a tensor in a file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentEntry {
    /// The file's name.
    pub file: String,
    /// Position of its first byte in the file.
    pub offset: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl TensorEntry {
    /// An entry without a checksum yet; `folder` has the files of an output that is a folder.
    ///
    /// # Errors
    /// `Error::Internal` for a tensor that is not whole blocks.
    pub(super) fn new(way: &Way, folder: Option<&Vec<PlannedFile>>) -> Result<Self> {
        let n_weights = way.shape.iter().product();
        let broken = || Error::Internal { message: format!("{} is not a whole number of blocks in {}", way.name, way.coding) };
        let sizes = way.coding.component_bytes(way.shape.first().copied().unwrap_or(1), n_weights).ok_or_else(broken)?;
        let component = |idx: usize| {
            let (spot, size_bytes) = (way.spots[idx], sizes[idx]);
            let file = folder?.get(spot.file_idx)?;
            (size_bytes > 0).then(|| ComponentEntry { file: file.name.clone(), offset: spot.offset, size_bytes })
        };
        Ok(Self {
            name: way.name.clone(),
            dtype: way.coding.to_string(),
            shape: way.shape.clone(),
            offset: way.spots[0].offset,
            size_bytes: sizes.iter().sum(),
            blake3: Checksum::default(),
            components: (0..MAX_COMPONENTS).filter_map(component).collect(),
        })
    }
}

impl Ingredient {
    /// An ingredient that is a file, hashed as a whole.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        Ok(Self { name: name_of(path), blake3: Checksum::of_file(path)? })
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path_text::to_text(Path::new(path.file_name().unwrap_or_default()))
}

impl Manifest {
    /// The text of the file.
    ///
    /// # Errors
    /// `Error::Internal`, never seen.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| Error::Internal { message: format!("manifest: {error}") })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads a manifest; `None` where there is none.
    ///
    /// # Errors
    /// `Error::Damaged` for a file that is not a manifest, `Error::Io`.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
        file.take(MAX_BYTES).read_to_end(&mut text).map_err(Error::io("read", path))?;
        let damaged =
            |error: serde_json::Error| Error::Damaged { what: format!("not a manifest ({error})"), path: path.to_path_buf() };
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }
}

/// True when the name is free or taken by an earlier manifest, which may be replaced with its output.
pub(super) fn may_be_written(path: &Path) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return true };
    let mut start = [0; START.len()];
    let is_read = metadata.is_file() && std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok());
    is_read && start == *START.as_bytes()
}
