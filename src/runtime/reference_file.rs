//! What the reference said about one chunk, as a file: written once, read for every later candidate.
//!
//! Little-endian words of 32 bits: a header, one row of fixed length for each scored token, then the SHA-256 of everything
//! before it. A file that is cut off, of another version or damaged is treated as missing.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::score::{N_TAIL, N_TOP, ReferenceRow};

/// `PLRF` and the version of the layout.
const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"PLRF"), 1];
/// Words before the rows: magic, version, vocabulary, likeliest tokens, draws, rows.
const N_HEADER_WORDS: usize = 6;
/// Words of a row before its lists: token, its log-probability, mass of the tail, number of draws.
const N_ROW_WORDS: usize = 4;
const N_HASH_BYTES: usize = 32;

/// The file of a chunk in the folder of its reference.
#[must_use]
pub fn chunk_path(dir: &Path, chunk_idx: u32) -> PathBuf {
    dir.join(format!("chunk-{chunk_idx:05}.bin"))
}

/// Writes a chunk's rows under a temporary name and renames the file: two programs may write the same chunk.
///
/// # Errors
/// What the system says.
pub fn write(dir: &Path, chunk_idx: u32, n_vocab: u32, rows: &[ReferenceRow]) -> std::io::Result<()> {
    let n_top = N_TOP.min(n_vocab as usize);
    let mut words: Vec<u32> = Vec::with_capacity(N_HEADER_WORDS + rows.len() * row_words(n_top));
    let count = |n: usize| u32::try_from(n).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData));
    words.extend(MAGIC);
    words.extend([n_vocab, count(n_top)?, count(N_TAIL)?, count(rows.len())?]);
    for row in rows {
        words.extend([row.id, row.logp.to_bits(), row.tail_mass.to_bits(), count(row.tail.len())?]);
        for (list, len) in [(&row.top, n_top), (&row.tail, N_TAIL)] {
            words.extend((0..len).map(|idx| list.get(idx).map_or(0, |entry| entry.0)));
            words.extend((0..len).map(|idx| list.get(idx).map_or(0, |entry| entry.1.to_bits())));
        }
    }
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash);
    let path = chunk_path(dir, chunk_idx);
    let part = dir.join(format!("chunk-{chunk_idx:05}.{}.part", std::process::id()));
    let written =
        std::fs::File::create(&part).and_then(|mut file| file.write_all(&bytes)).and_then(|()| std::fs::rename(&part, &path));
    if written.is_err() {
        // It may not even have been made.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// The rows of a chunk; `None` when the file is missing, damaged or of another vocabulary.
#[must_use]
pub fn read(dir: &Path, chunk_idx: u32, n_vocab: u32) -> Option<Vec<ReferenceRow>> {
    rows_from_bytes(&std::fs::read(chunk_path(dir, chunk_idx)).ok()?, n_vocab)
}

fn row_words(n_top: usize) -> usize {
    N_ROW_WORDS + 2 * (n_top + N_TAIL)
}

fn rows_from_bytes(bytes: &[u8], n_vocab: u32) -> Option<Vec<ReferenceRow>> {
    let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(N_HASH_BYTES)?)?;
    if Sha256::digest(content)[..] != *hash {
        return None;
    }
    let words: Vec<u32> = content.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let (header, rows) = words.split_at_checked(N_HEADER_WORDS)?;
    let n_top = N_TOP.min(n_vocab as usize);
    let n_rows = *header.get(5)? as usize;
    let expected = [MAGIC[0], MAGIC[1], n_vocab, u32::try_from(n_top).ok()?, u32::try_from(N_TAIL).ok()?];
    if !header.starts_with(&expected) || rows.len() != n_rows.checked_mul(row_words(n_top))? {
        return None;
    }
    rows.chunks_exact(row_words(n_top))
        .map(|row| {
            let (fixed, lists) = row.split_at_checked(N_ROW_WORDS)?;
            let (top, tail) = lists.split_at_checked(2 * n_top)?;
            let entries = |list: &[u32], len: usize, n_used: usize| -> Vec<(u32, f32)> {
                let (ids, logps) = list.split_at(len);
                ids.iter().copied().zip(logps.iter().map(|&bits| f32::from_bits(bits))).take(n_used).collect()
            };
            Some(ReferenceRow {
                id: *fixed.first()?,
                logp: f32::from_bits(*fixed.get(1)?),
                tail_mass: f32::from_bits(*fixed.get(2)?),
                top: entries(top, n_top, n_top),
                tail: entries(tail, N_TAIL, (*fixed.get(3)? as usize).min(N_TAIL)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::score::keep_reference;

    fn rows(n_vocab: u16, n_rows: u32) -> Vec<ReferenceRow> {
        let logits: Vec<f32> = (0..n_vocab).map(|idx| f32::from(idx % 97) / 10.0).collect();
        (0..n_rows).map(|idx| keep_reference(&logits, idx, u64::from(idx)).unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for n_vocab in [50_u16, 256, 1000] {
            let rows = rows(n_vocab, 7);
            write(dir.path(), 3, u32::from(n_vocab), &rows).unwrap();
            assert_eq!(read(dir.path(), 3, u32::from(n_vocab)), Some(rows), "{n_vocab}");
        }
        assert_eq!(read(dir.path(), 3, 999), None, "another vocabulary");
        assert_eq!(read(dir.path(), 4, 1000), None, "never written");
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["chunk-00003.bin"], "no part is left");
    }

    #[test]
    fn damage_at_any_place_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0, 300, &rows(300, 2)).unwrap();
        let bytes = std::fs::read(chunk_path(dir.path(), 0)).unwrap();
        assert!(rows_from_bytes(&bytes, 300).is_some());
        for len in 0..bytes.len() {
            assert_eq!(rows_from_bytes(&bytes[..len], 300), None, "cut to {len}");
        }
        for place in (0..bytes.len()).step_by(37) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(rows_from_bytes(&damaged, 300), None, "byte {place}");
        }
    }

    #[test]
    fn sixty_four_thousand_tokens_stay_below_200_megabytes() {
        assert!(64_000 * row_words(N_TOP) * 4 < 200_000_000);
    }
}
