//! Importance matrices of one model, added up.

use std::path::{Path, PathBuf};

use super::imatrix_reader::read_imatrix_sums;
use super::imatrix_sums::{CHUNK_SIZE_KEY, DEFAULT_CHUNK_TOKENS, ImatrixSums};
use super::read_gguf;
use crate::error::{Error, Result};
use crate::model::Text;

/// One importance matrix from several of the same model: sums and counts are added, so each file counts by its tokens.
///
/// A `.dat` file keeps means times chunks and counts chunks: both are multiplied by the tokens per chunk. The file does not
/// state them, so they are taken from the first GGUF file among the others, or are 512, llama-imatrix's default. Texts are
/// named without their folders.
///
/// # Errors
/// Those of `read_imatrix_sums`; `Error::ImatrixesDiffer` when a tensor has other columns or experts than in the files before,
/// `Error::BadImatrix` for a file that has no tensor in common with them, and `Error::BadRequest` without files.
pub fn merged_imatrix(paths: &[PathBuf]) -> Result<ImatrixSums> {
    let chunk_tokens = paths.iter().find_map(|path| chunk_tokens_of(path)).unwrap_or(DEFAULT_CHUNK_TOKENS);
    let mut merged: Option<ImatrixSums> = None;
    let mut datasets = Vec::new();
    let mut n_tokens = 0_u64;
    for path in paths {
        let mut file = read_imatrix_sums(path)?;
        if file.is_dat {
            #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
            file.entries.values_mut().for_each(|entry| entry.scale(chunk_tokens as f32));
        }
        n_tokens += u64::from(file.n_chunks) * u64::from(file.chunk_tokens.unwrap_or(chunk_tokens));
        datasets.extend(file.datasets.iter().map(|name| Text(without_folders(&name.0).to_vec())));
        match &mut merged {
            None => merged = Some(file),
            Some(merged) if !file.entries.keys().any(|name| merged.entries.contains_key(name)) => {
                let what = "it has no tensor in common with the files before".into();
                return Err(Error::BadImatrix { what, path: path.clone() });
            }
            Some(merged) => {
                let is_dat = file.is_dat;
                merged.add(file, path)?;
                merged.is_dat |= is_dat;
            }
        }
    }
    let merged = merged.ok_or_else(|| Error::BadRequest { message: "no importance matrix to merge".into() })?;
    let n_chunks = u32::try_from(n_tokens / u64::from(chunk_tokens)).unwrap_or(u32::MAX);
    Ok(ImatrixSums { datasets, n_chunks, chunk_tokens: Some(chunk_tokens), is_dat: false, ..merged })
}

/// Tokens per chunk, if this is a GGUF file that states them.
fn chunk_tokens_of(path: &Path) -> Option<u32> {
    let n = read_gguf(path).ok()?.metadata.u64(CHUNK_SIZE_KEY)?;
    u32::try_from(n).ok().filter(|&n| n > 0)
}

/// The part after the last slash of either kind.
fn without_folders(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or(name)
}
