//! Second moments: how the columns of a tensor's inputs go together, on the user's text.
//!
//! A folder holds an index, `moments.json`, and a file of little-endian F32 for each input: first the mean square of each column, for one
//! expert after the other, which is what an importance matrix has; then, for each part, the lower triangle of a symmetric matrix, row by row.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Checksum;
use super::hf_config::read_small;
use super::imatrix::Imatrix;
use super::open::{is_plain_name, open_regular};
use super::tensor_reader::read_exact_at;
use crate::error::{Error, Result};
use crate::model::{Tensor, Text};

/// Name of the index in its folder.
pub const MOMENTS_INDEX: &str = "moments.json";

/// Version of the index.
const VERSION: u32 = 1;

/// A longer index is not ours.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The most columns: a matrix of more would not fit the memory of a laptop.
const MAX_COLUMNS: usize = 65_536;

/// The index of a folder with second moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MomentsIndex {
    /// Version of this format.
    pub planish_moments: u32,
    /// The text's name.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub text_sha256: String,
    /// Tokens that they are averaged over.
    pub n_tokens: u64,
    /// Tokens of a chunk of text.
    pub chunk_tokens: u32,
    /// One for each input of matrices.
    pub sites: Vec<MomentsSite>,
    /// What is to be known about the text: that it was short, that the model hardly knows its language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The inputs of one or more tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MomentsSite {
    /// The file in the folder.
    pub file: String,
    /// The file's checksum.
    pub blake3: Checksum,
    /// Length of an input.
    pub n_columns: usize,
    /// Matrices in the file, each for an equal share of a tensor's rows: 1, or one for each group of key and value heads. 0 where only the mean
    /// squares are known.
    pub n_parts: usize,
    /// The tensors that are multiplied by these inputs.
    pub tensors: Vec<String>,
    /// Experts of these tensors, which have mean squares of their own and all matrices together; 1 without experts.
    pub n_experts: usize,
}

/// Second moments of a model's inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    folder: PathBuf,
    sites: Vec<MomentsSite>,
    /// Tensor → index of its site.
    site_of: BTreeMap<String, usize>,
}

impl MomentsIndex {
    /// An index without sites.
    #[must_use]
    pub fn new(text: &str, text_sha256: &str, n_tokens: u64, chunk_tokens: u32) -> Self {
        Self {
            planish_moments: VERSION,
            text: text.into(),
            text_sha256: text_sha256.into(),
            n_tokens,
            chunk_tokens,
            sites: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// `Error::Internal`.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal { message: error.to_string() })
    }

    /// Reads an index; `path` is the file.
    ///
    /// # Errors
    /// `Error::Io`; `Error::BadImatrix` for a file that is no such index or contradicts itself.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |what: String| Error::BadImatrix { what, path: path.to_path_buf() };
        let bytes = read_small(path, "index of second moments", MAX_INDEX_BYTES)?;
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| bad(format!("no index of second moments: {error}")))?;
        if index.planish_moments != VERSION {
            return Err(bad(format!("second moments of version {}, this Planish reads {VERSION}", index.planish_moments)));
        }
        for site in &index.sites {
            let is_sized = (1..=MAX_COLUMNS).contains(&site.n_columns)
                && site.n_parts <= MAX_COLUMNS
                && (1..=MAX_COLUMNS).contains(&site.n_experts);
            if !is_plain_name(&site.file) || !is_sized {
                return Err(bad(format!("the entry {} contradicts itself", site.file)));
            }
        }
        Ok(index)
    }
}

/// Size in bytes of the lower triangle of a matrix of `n_columns`.
fn triangle_bytes(n_columns: usize) -> u64 {
    let n = n_columns as u64;
    n.saturating_mul(n.saturating_add(1)).saturating_mul(2)
}

impl MomentsSite {
    /// Size of its file in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        triangle_bytes(self.n_columns).saturating_mul(self.n_parts as u64).saturating_add(self.diagonal_bytes())
    }

    fn diagonal_bytes(&self) -> u64 {
        4 * self.n_columns as u64 * self.n_experts as u64
    }

    /// The mean square of each column, for one expert after the other.
    fn diagonal(&self, folder: &Path) -> Result<Vec<f32>> {
        let path = folder.join(&self.file);
        let bad = |what: &str| Error::BadImatrix { what: what.into(), path: path.clone() };
        let file = self.open(folder)?;
        let mut bytes = vec![0; usize::try_from(self.diagonal_bytes()).unwrap_or_default()];
        read_exact_at(&file, &mut bytes, 0).map_err(Error::io("read", &path))?;
        let means: Vec<f32> = floats(&bytes).collect();
        let is_good = means.iter().all(|mean| mean.is_finite() && *mean >= 0.0);
        if is_good { Ok(means) } else { Err(bad("one of its means is negative or not finite")) }
    }

    fn open(&self, folder: &Path) -> Result<File> {
        let path = folder.join(&self.file);
        let (file, n_bytes) = open_regular(&path)?;
        if n_bytes == self.size_bytes() {
            return Ok(file);
        }
        Err(Error::BadImatrix { what: "its length is not what its index says".into(), path })
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// True for the index of second moments: it is JSON, and importance matrices are not.
///
/// # Errors
/// `Error::Io` and `Error::NotAFile` for what cannot be read.
pub(super) fn is_moments(path: &Path) -> Result<bool> {
    let (file, _) = open_regular(path)?;
    let mut head = Vec::new();
    file.take(2).read_to_end(&mut head).map_err(Error::io("read", path))?;
    Ok(head == *b"{\"")
}

/// The importance matrix that the diagonals are, with the moments behind it; `path` is the index.
///
/// # Errors
/// Those of [`MomentsIndex::read`]; `Error::Io` and `Error::BadImatrix` for a file that is missing or has another length.
pub fn read_moments(path: &Path) -> Result<Imatrix> {
    let index = MomentsIndex::read(path)?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut entries = BTreeMap::new();
    let mut site_of = BTreeMap::new();
    for (site_idx, site) in index.sites.iter().enumerate() {
        let importances = site.diagonal(&folder)?;
        for tensor in &site.tensors {
            entries.insert(tensor.clone(), importances.clone());
            if site.n_parts > 0 {
                site_of.insert(tensor.clone(), site_idx);
            }
        }
    }
    let n_chunks = index.n_tokens.checked_div(index.chunk_tokens.into()).unwrap_or(0);
    Ok(Imatrix {
        path: path.to_path_buf(),
        dataset: Some(Text::from(index.text.as_str())),
        n_chunks: u32::try_from(n_chunks).unwrap_or(u32::MAX),
        entries,
        warnings: Vec::new(),
        moments: Some(Moments { folder, sites: index.sites, site_of }),
    })
}

impl Moments {
    /// The same under the tensors' new names; without those that get none.
    #[must_use]
    pub fn renamed(self, new_name: impl Fn(&str) -> Option<String>) -> Self {
        let site_of = self.site_of.into_iter().filter_map(|(name, site_idx)| Some((new_name(&name)?, site_idx))).collect();
        Self { site_of, ..self }
    }

    /// The site of a tensor's inputs; `None` where there is none, and for a tensor of another shape.
    #[must_use]
    pub fn site_of(&self, tensor: &Tensor) -> Option<MomentsOf<'_>> {
        let site_idx = *self.site_of.get(&tensor.name)?;
        let site = self.sites.get(site_idx)?;
        let n_rows = tensor.shape.get(1).copied().unwrap_or(1);
        let n_parts = (site.n_parts as u64).max(1);
        let fits = tensor.row_len() == site.n_columns as u64 && n_rows.is_multiple_of(n_parts);
        fits.then(|| MomentsOf { folder: &self.folder, site, site_idx, rows_per_part: n_rows / n_parts })
    }
}

/// The second moments of one tensor's inputs.
#[derive(Debug, Clone, Copy)]
pub struct MomentsOf<'a> {
    folder: &'a Path,
    site: &'a MomentsSite,
    /// Tensors with the same number have the same moments.
    pub site_idx: usize,
    /// Rows of the tensor that share a part, the first ones the first part; they start again with each expert.
    pub rows_per_part: u64,
}

impl MomentsOf<'_> {
    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.site.file)
    }

    /// Length of an input.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.site.n_columns
    }

    /// A part as a whole matrix, `[n_columns, n_columns]`, row by row: the mean of `x xᵀ` over the inputs.
    ///
    /// # Errors
    /// `Error::Io`, and `Error::BadImatrix` for a file that is not the one that the index means.
    pub fn matrix(&self, part_idx: usize) -> Result<Vec<f32>> {
        let Self { site, folder, .. } = self;
        let part_bytes = triangle_bytes(site.n_columns);
        let start = part_bytes * part_idx as u64 + site.diagonal_bytes();
        let file = site.open(folder)?;
        let mut bytes = vec![0; usize::try_from(part_bytes).unwrap_or_default()];
        read_exact_at(&file, &mut bytes, start).map_err(Error::io("read", &folder.join(&site.file)))?;
        let n = site.n_columns;
        let mut matrix = vec![0.0; n * n];
        let mut numbers = floats(&bytes);
        for row in 0..n {
            for column in 0..=row {
                let number = numbers.next().unwrap_or(f32::NAN);
                matrix[row * n + column] = number;
                matrix[column * n + row] = number;
            }
        }
        Ok(matrix)
    }

    /// Refuses a file that is damaged: its checksum is not the index's.
    ///
    /// # Errors
    /// `Error::BadImatrix`, `Error::Io`.
    pub fn check(&self) -> Result<()> {
        let path = self.path();
        if Checksum::of_file(&path)? == self.site.blake3 {
            return Ok(());
        }
        Err(Error::BadImatrix { what: "its bytes are not those that its index was made for".into(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DType;

    fn tensor(name: &str, shape: &[u64]) -> Tensor {
        Tensor { name: name.into(), dtype: DType::F32, shape: shape.into(), file_idx: 0, offset: 0, size_bytes: 0 }
    }

    fn folder(numbers: &[f32], change: impl Fn(&mut MomentsIndex)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = [2.5, 4.5].iter().chain(numbers).flat_map(|number: &f32| number.to_le_bytes()).collect();
        std::fs::write(dir.path().join("v.f32"), &bytes).unwrap();
        let mut index = MomentsIndex::new("text", "00", 1024, 512);
        index.sites.push(MomentsSite {
            file: "v.f32".into(),
            blake3: Checksum::of(&bytes),
            n_columns: 2,
            n_parts: 2,
            tensors: vec!["v".into()],
            n_experts: 1,
        });
        change(&mut index);
        std::fs::write(dir.path().join(MOMENTS_INDEX), index.to_json().unwrap()).unwrap();
        dir
    }

    #[test]
    fn triangles_become_matrices_for_shares_of_the_rows() {
        let dir = folder(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], |_| ());
        let imatrix = read_moments(&dir.path().join(MOMENTS_INDEX)).unwrap();
        assert_eq!((imatrix.n_chunks, imatrix.entries["v"].as_slice()), (2, [2.5, 4.5].as_slice()));
        let moments = imatrix.moments.unwrap();
        let of = moments.site_of(&tensor("v", &[2, 6])).unwrap();
        assert_eq!((of.rows_per_part, of.n_columns()), (3, 2));
        assert_eq!(of.matrix(0).unwrap(), [1.0, 2.0, 2.0, 3.0]);
        assert_eq!(of.matrix(1).unwrap(), [4.0, 5.0, 5.0, 6.0]);
        assert_eq!(of.check(), Ok(()));
        // Another tensor, other columns, rows that cannot be shared out.
        for (name, shape) in [("w", [2, 6]), ("v", [3, 6]), ("v", [2, 5])] {
            assert!(moments.site_of(&tensor(name, &shape)).is_none(), "{name} {shape:?}");
        }
    }

    #[test]
    fn damaged_moments_are_refused_with_the_cause() {
        let check = |numbers: &[f32], change: &dyn Fn(&mut MomentsIndex), expected: &str| {
            let dir = folder(numbers, change);
            let whole = read_moments(&dir.path().join(MOMENTS_INDEX)).and_then(|imatrix| {
                let moments = imatrix.moments.unwrap();
                let of = moments.site_of(&tensor("v", &[2, 6])).unwrap();
                of.check()?;
                of.matrix(1)
            });
            let error = whole.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        let good = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        check(&good[..5], &|_| (), "its length");
        check(&good, &|index| index.sites[0].blake3 = Checksum::default(), "its bytes");
        check(&good, &|index| index.planish_moments = 9, "version 9");
        check(&good, &|index| index.sites[0].file = "../v.f32".into(), "contradicts itself");
        check(&good, &|index| index.sites[0].n_columns = 1 << 30, "contradicts itself");
        check(&good, &|index| index.sites[0].n_experts = 0, "contradicts itself");
    }
}
