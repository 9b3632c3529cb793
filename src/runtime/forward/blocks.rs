//! How the tokens of all chunks are cut up: for memory, and for threads.

use std::ops::Range;

use super::{Chunk, Sink, SiteRows};
use crate::error::Result;
use crate::model::Site;
use crate::runtime::attention_mass::PositionWeights;

/// Tokens that are computed together, on a machine with few cores. Activations of a layer take some tens of MB.
const BLOCK_TOKENS: usize = 2048;
/// At least as many for each thread: a product of few rows prepares its weights again and again.
const BLOCK_TOKENS_PER_THREAD: usize = 256;
/// The fewest and the most tokens that one thread computes at a time.
const BAND_TOKENS: [usize; 2] = [64, 512];

/// Tokens of all chunks, one after the other.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Where each chunk begins, and the end of the last one.
    starts: Vec<usize>,
    n_block_tokens: usize,
}

/// A part of a chunk within some range of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) chunk_idx: usize,
    /// Positions in the chunk.
    pub(super) positions: Range<usize>,
    /// Rows of the range.
    pub(super) rows: Range<usize>,
}

impl Blocks {
    pub(super) fn of(chunks: &[Chunk]) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for chunk in chunks {
            end += chunk.tokens.len();
            starts.push(end);
        }
        Self { starts, n_block_tokens: BLOCK_TOKENS.max(BLOCK_TOKENS_PER_THREAD * rayon::current_num_threads()) }
    }

    pub(super) fn n_tokens(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Tokens of each chunk.
    pub(super) fn chunk_lens(&self) -> Vec<usize> {
        self.starts.windows(2).map(|bounds| bounds[1] - bounds[0]).collect()
    }

    /// Tokens of a chunk; 0 for one that is not there.
    pub(super) fn chunk_len(&self, chunk_idx: usize) -> usize {
        let bounds = self.starts.get(chunk_idx).zip(self.starts.get(chunk_idx + 1));
        bounds.map_or(0, |(start, end)| end - start)
    }

    /// The token in the order of all chunks that stands first in a chunk.
    pub(super) fn chunk_start(&self, chunk_idx: usize) -> usize {
        self.starts.get(chunk_idx).copied().unwrap_or(0)
    }

    /// All tokens in blocks of adjacent ones, whatever the chunks.
    pub(super) fn of_tokens(&self) -> Vec<Range<usize>> {
        let n_tokens = self.n_tokens();
        (0..n_tokens).step_by(self.n_block_tokens).map(|start| start..n_tokens.min(start + self.n_block_tokens)).collect()
    }

    /// All tokens in blocks of whole chunks; only a long chunk has more tokens than a block.
    pub(super) fn of_chunks(&self) -> Vec<Range<usize>> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for pair in self.starts.windows(2) {
            let &[start, end] = pair else { continue };
            match blocks.last_mut() {
                Some(block) if end - block.start <= self.n_block_tokens => block.end = end,
                _ => blocks.push(start..end),
            }
        }
        blocks
    }

    /// The chunks that a range of tokens belongs to; those without tokens are left out.
    pub(super) fn pieces(&self, range: &Range<usize>) -> Vec<Piece> {
        let first = self.starts.partition_point(|&start| start <= range.start).saturating_sub(1);
        let chunks = self.starts.windows(2).enumerate().skip(first);
        let pieces = chunks.filter_map(|(chunk_idx, bounds)| {
            let (start, end) = (*bounds.first()?, *bounds.last()?);
            let (first, last) = (start.max(range.start), end.min(range.end));
            let (positions, rows) =
                (first.checked_sub(start)?..last.checked_sub(start)?, first - range.start..last.checked_sub(range.start)?);
            Some(Piece { chunk_idx, positions, rows })
        });
        pieces.take_while(|piece| piece.rows.start < range.len()).filter(|piece| !piece.rows.is_empty()).collect()
    }

    /// Gives a sink the inputs of a site for a range of tokens, chunk by chunk; `weights` has an entry for each of these chunks, or none.
    pub(super) fn tell(
        &self,
        sink: &mut dyn Sink,
        site: Site,
        range: &Range<usize>,
        rows: &[f32],
        weights: &[PositionWeights],
    ) -> Result<()> {
        if !sink.wants(site) {
            return Ok(());
        }
        let n_columns = rows.len() / range.len().max(1);
        for (idx, piece) in self.pieces(range).into_iter().enumerate() {
            let rows = rows.get(piece.rows.start * n_columns..piece.rows.end * n_columns).unwrap_or_default();
            let positions: Vec<usize> = piece.positions.collect();
            let position_weights = weights.get(idx);
            sink.rows(&SiteRows { site, chunk_idx: piece.chunk_idx, positions: &positions, rows, position_weights })?;
        }
        Ok(())
    }
}

/// Tokens that one thread computes at a time, of a block of `n_tokens`. Results do not depend on it.
pub(super) fn band_tokens(n_tokens: usize) -> usize {
    let [fewest, most] = BAND_TOKENS;
    n_tokens.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(8).clamp(fewest, most)
}

/// The first `n` numbers of a buffer that is used again and again; their content is whatever was there.
pub(super) fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(lens: &[usize], n_block_tokens: usize) -> Blocks {
        let chunks: Vec<Chunk> = lens.iter().map(|&len| Chunk { tokens: vec![0; len], wanted: 0..0 }).collect();
        Blocks { n_block_tokens, ..Blocks::of(&chunks) }
    }

    #[test]
    fn chunks_stay_whole_in_their_blocks() {
        let check = |lens: &[usize], expected: &[Range<usize>]| assert_eq!(blocks(lens, 10).of_chunks(), expected, "{lens:?}");
        check(&[4, 4, 4], &[0..8, 8..12]);
        check(&[25, 3, 3, 10], &[0..25, 25..31, 31..41]);
        check(&[], &[]);
    }

    #[test]
    fn a_range_is_cut_at_the_ends_of_chunks() {
        let blocks = blocks(&[4, 0, 3, 5], 10);
        let found: Vec<_> =
            blocks.pieces(&(2..9)).into_iter().map(|piece| (piece.chunk_idx, piece.positions, piece.rows)).collect();
        assert_eq!(found, [(0, 2..4, 0..2), (2, 0..3, 2..5), (3, 0..2, 5..7)]);
        assert_eq!(blocks.pieces(&(12..12)), []);
        assert_eq!(blocks.of_tokens(), [0..10, 10..12]);
    }
}
