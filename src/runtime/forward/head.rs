//! Both ends of a pass: the embedding, and the head with its norm.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::blocks::{Blocks, sized};
use super::hidden::Hidden;
use super::weights::{Linear, RmsNorm, WeightSource};
use super::{Chunk, Sink, SiteRows, Steps, size};
use crate::error::Result;
use crate::model::{Decoder, Site};
use crate::quant::functions::soft_cap;

/// Logits that are kept at a time: enough rows to use the cores well, few enough for a vocabulary of 256,000.
const MAX_LOGITS_BYTES: usize = 64 << 20;

/// Sets the hidden states to the tokens' rows of the embedding. Each row is read once, and no other rows are.
pub(super) fn embed(
    decoder: &Decoder,
    weights: &dyn WeightSource,
    chunks: &[Chunk],
    blocks: &Blocks,
    hidden: &mut Hidden,
) -> Result<()> {
    let n_embd = size(decoder.n_embd)?;
    #[allow(clippy::cast_possible_truncation, reason = "computed with in single precision")]
    let scale = decoder.embedding_scale as f32;
    for block in blocks.of_tokens() {
        let pieces = blocks.pieces(&block);
        let tokens = pieces.iter().filter_map(|piece| chunks.get(piece.chunk_idx)?.tokens.get(piece.positions.clone()));
        let tokens: Vec<u32> = tokens.flatten().copied().collect();
        let known: HashSet<u32> = tokens.iter().copied().collect();
        let read = |token: u32| {
            let mut row = vec![0.0; n_embd];
            weights.read(&decoder.embedding.rows(token.into(), 1), &mut row)?;
            for number in &mut row {
                *number *= scale;
            }
            Ok((token, row))
        };
        let rows: HashMap<u32, Vec<f32>> = known.into_par_iter().map(read).collect::<Result<_>>()?;
        hidden.change(&block, |x| {
            for (token, x) in tokens.iter().zip(x.chunks_exact_mut(n_embd)) {
                if let Some(row) = rows.get(token) {
                    x.copy_from_slice(row);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Gives the sink the logits of all wanted positions, in blocks.
pub(super) fn logits(
    decoder: &Decoder,
    weights: &dyn WeightSource,
    chunks: &[Chunk],
    blocks: &Blocks,
    hidden: &mut Hidden,
    sink: &mut dyn Sink,
    steps: &Steps,
) -> Result<()> {
    if chunks.iter().all(|chunk| chunk.wanted.is_empty()) && !sink.wants(Site::HeadInput) {
        return Ok(());
    }
    let (n_embd, n_vocab) = (size(decoder.n_embd)?, size(decoder.n_vocab)?);
    let norm = RmsNorm::load(weights, &decoder.output_norm, n_embd)?;
    let head = Linear::matrix(weights, decoder.head_weight(), n_vocab, n_embd)?;
    #[allow(clippy::cast_possible_truncation, reason = "computed with in single precision")]
    let (scale, cap) = (decoder.logit_scale as f32, decoder.final_softcap.map(|cap| cap as f32));
    let n_block = (MAX_LOGITS_BYTES / (4 * n_vocab.max(1))).max(16);
    let [mut inputs, mut outputs] = <[Vec<f32>; 2]>::default();
    for (chunk_idx, chunk) in chunks.iter().enumerate() {
        let (start, wants_inputs) = (blocks.chunk_start(chunk_idx), sink.wants(Site::HeadInput));
        let positions = if wants_inputs { 0..chunk.tokens.len() } else { chunk.wanted.clone() };
        for first in positions.clone().step_by(n_block) {
            steps.report()?;
            let positions = first..positions.end.min(first + n_block);
            let inputs = sized(&mut inputs, positions.len() * n_embd);
            norm.apply(hidden.rows(&(start + positions.start..start + positions.end))?, inputs);
            if wants_inputs {
                let positions: Vec<usize> = positions.clone().collect();
                let (site, rows) = (Site::HeadInput, &*inputs);
                sink.rows(&SiteRows { site, chunk_idx, positions: &positions, rows, position_weights: None })?;
            }
            let wanted = positions.start.max(chunk.wanted.start)..positions.end.min(chunk.wanted.end);
            if wanted.is_empty() {
                continue;
            }
            let offset = (wanted.start - positions.start) * n_embd;
            let inputs = &inputs[offset..offset + wanted.len() * n_embd];
            let outputs = sized(&mut outputs, wanted.len() * n_vocab);
            head.apply_by_columns(inputs, outputs);
            outputs.par_chunks_mut(n_vocab).for_each(|row| finish(row, scale, cap));
            sink.logits(chunk_idx, wanted.start, outputs)?;
        }
    }
    Ok(())
}

/// What follows the head's product.
#[allow(clippy::float_cmp, reason = "most decoders have exactly 1")]
fn finish(row: &mut [f32], scale: f32, cap: Option<f32>) {
    if scale != 1.0 {
        for logit in row.iter_mut() {
            *logit *= scale;
        }
    }
    if let Some(cap) = cap {
        soft_cap(row, cap);
    }
}
