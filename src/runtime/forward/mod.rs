//! A checkpoint's own forward pass in F32, with one layer in memory at a time over all chunks of a text.
//!
//! ```text
//! tokens ─ embedding ─ hidden (all tokens) ─┬─ layer 0, … ─┬─ norm, head ─ Sink::logits
//!                                           │  attention: weights, heads, rope
//!                                           └─ feed_forward | experts ─ Sink::rows
//! ```
//!
//! Memory is one half of a layer (attention or feed-forward network; experts in groups), or the head, plus the hidden states, which go
//! to a file if there are many; it does not grow with the number of layers. What is computed is what `model::Decoder` says, and
//! nothing depends on the number of threads or on how many chunks are computed together.

mod attention;
mod blocks;
mod experts;
mod feed_forward;
mod head;
mod heads;
mod hidden;
mod rope;
mod weights;

use std::ops::Range;

pub use weights::{StoredWeights, WeightSource};

use super::attention_mass::PositionWeights;
use crate::error::{Error, Result};
use crate::model::{Decoder, FeedForward, Site};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use attention::AttentionHalf;
use blocks::Blocks;
use feed_forward::DenseHalf;
use hidden::Hidden;

/// Bytes of hidden states up to which they stay in memory.
const MAX_HIDDEN_BYTES: u64 = 1 << 30;

/// Tokens that see each other: each sees itself and those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Their numbers in the vocabulary.
    pub tokens: Vec<u32>,
    /// The positions whose logits are wanted; empty if only the inputs of matrices are.
    pub wanted: Range<usize>,
}

/// Who receives what a forward pass computes.
pub trait Sink {
    /// Whether [`Sink::rows`] is to be called for this site; attention is only summed up for sites that are wanted.
    fn wants(&self, _site: Site) -> bool {
        false
    }

    /// Receives inputs of a site's matrices: chunk after chunk, each possibly in several pieces.
    ///
    /// # Errors
    /// Ends the pass.
    fn rows(&mut self, _rows: &SiteRows) -> Result<()> {
        Ok(())
    }

    /// Receives logits of a chunk: rows of the vocabulary for adjacent positions from `first_position` on.
    ///
    /// # Errors
    /// Ends the pass.
    fn logits(&mut self, chunk_idx: usize, first_position: usize, logits: &[f32]) -> Result<()>;
}

/// Inputs of a site's matrices.
#[derive(Debug)]
pub struct SiteRows<'a> {
    /// The site.
    pub site: Site,
    /// The chunk's index.
    pub chunk_idx: usize,
    /// The position of each row in the chunk, ascending; experts see only some positions.
    pub positions: &'a [usize],
    /// Row after row.
    pub rows: &'a [f32], // [positions.len(), n_columns]
    /// What each position of the chunk counts for keys and values; only at `Site::AttentionInput`.
    pub position_weights: Option<&'a PositionWeights>,
}

impl SiteRows<'_> {
    /// Numbers in a row: columns of the site's matrices.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.rows.len() / self.positions.len().max(1)
    }
}

/// A forward pass between two layers.
pub struct ForwardPass<'a> {
    decoder: &'a Decoder,
    chunks: &'a [Chunk],
    blocks: Blocks,
    hidden: Hidden,
    max_hidden_bytes: u64,
}

/// Runs a decoder over chunks of text, from the embedding to the logits.
///
/// # Errors
/// `Error::Cancelled`; `Error::BadRequest` for a token outside the vocabulary and for positions outside a chunk; `Error::Internal` for
/// a description that contradicts itself or the weights; errors of the weights, of the sink and of the file system.
pub fn run(
    decoder: &Decoder,
    weights: &dyn WeightSource,
    chunks: &[Chunk],
    sink: &mut dyn Sink,
    monitor: &Monitor,
) -> Result<()> {
    let mut pass = ForwardPass::start(decoder, weights, chunks)?;
    for layer_idx in 0..decoder.layers.len() {
        pass.layer(layer_idx, weights, sink, monitor)?;
    }
    pass.head(weights, sink, monitor)
}

impl<'a> ForwardPass<'a> {
    /// The hidden states before the first layer: rows of the embedding.
    ///
    /// # Errors
    /// As [`run`].
    pub fn start(decoder: &'a Decoder, weights: &dyn WeightSource, chunks: &'a [Chunk]) -> Result<Self> {
        Self::start_within(MAX_HIDDEN_BYTES, decoder, weights, chunks)
    }

    /// [`ForwardPass::start`] with another number of bytes that hidden states may take in memory.
    ///
    /// # Errors
    /// As [`run`].
    pub fn start_within(
        max_hidden_bytes: u64,
        decoder: &'a Decoder,
        weights: &dyn WeightSource,
        chunks: &'a [Chunk],
    ) -> Result<Self> {
        check(decoder, chunks)?;
        let blocks = Blocks::of(chunks);
        let n_embd = size(decoder.n_embd)?;
        let mut hidden = Hidden::zeros(blocks.n_tokens(), n_embd, max_hidden_bytes)?;
        head::embed(decoder, weights, chunks, &blocks, &mut hidden)?;
        Ok(Self { decoder, chunks, blocks, hidden, max_hidden_bytes })
    }

    /// Computes a layer. Layers come in their order, each once; the same layer's weights may come from another source than those of
    /// the one before.
    ///
    /// # Errors
    /// As [`run`].
    pub fn layer(&mut self, layer_idx: usize, weights: &dyn WeightSource, sink: &mut dyn Sink, monitor: &Monitor) -> Result<()> {
        let layer = self.decoder.layers.get(layer_idx).ok_or_else(|| contradiction("it has no such layer"))?;
        let steps = Steps { done: layer_idx, total: self.decoder.layers.len() + 1, monitor };
        let attention = AttentionHalf::load(self.decoder, layer, weights)?;
        attention.compute(layer_idx, &self.blocks, &mut self.hidden, sink, &steps)?;
        drop(attention);
        match &layer.feed_forward {
            FeedForward::Dense(mlp) => {
                let half = DenseHalf::load(self.decoder, layer, mlp, weights)?;
                half.compute(layer_idx, &self.blocks, &mut self.hidden, sink, &steps)
            }
            FeedForward::Experts(experts) => {
                let half = experts::ExpertsHalf::load(self.decoder, layer, experts, weights)?;
                let mut sums = Hidden::zeros(self.blocks.n_tokens(), size(self.decoder.n_embd)?, self.max_hidden_bytes)?;
                half.compute(layer_idx, weights, &self.blocks, &mut self.hidden, &mut sums, sink, &steps)
            }
        }
    }

    /// Computes the logits of the wanted positions.
    ///
    /// # Errors
    /// As [`run`].
    pub fn head(&mut self, weights: &dyn WeightSource, sink: &mut dyn Sink, monitor: &Monitor) -> Result<()> {
        let n_layers = self.decoder.layers.len();
        let steps = Steps { done: n_layers, total: n_layers + 1, monitor };
        head::logits(self.decoder, weights, self.chunks, &self.blocks, &mut self.hidden, sink, &steps)
    }
}

/// How far a pass has come.
struct Steps<'a> {
    /// Layers that are computed.
    done: usize,
    /// All layers, and the head.
    total: usize,
    monitor: &'a Monitor,
}

impl Steps<'_> {
    /// Tells it, and ends the work if the user has cancelled.
    fn report(&self) -> Result<()> {
        let stage = "running the checkpoint itself".to_string();
        let (done, total) = (self.done as u64, self.total as u64);
        self.monitor.report(Progress { stage, done, total, unit: ProgressUnit::Steps })
    }
}

/// Refuses tokens that the decoder does not have and a decoder that cannot be computed.
fn check(decoder: &Decoder, chunks: &[Chunk]) -> Result<()> {
    for (chunk_idx, chunk) in chunks.iter().enumerate() {
        if let Some(token) = chunk.tokens.iter().find(|&&token| u64::from(token) >= decoder.n_vocab) {
            let message = format!("token {token} is outside the vocabulary of {}", decoder.n_vocab);
            return Err(Error::BadRequest { message });
        }
        if chunk.wanted.end > chunk.tokens.len() {
            return Err(Error::BadRequest { message: format!("chunk {chunk_idx} has fewer tokens than answers are wanted") });
        }
    }
    if decoder.n_embd == 0 || decoder.n_vocab == 0 {
        return Err(contradiction("it has no numbers"));
    }
    let is_rotatable = |n_pairs: usize| {
        decoder.rope_tables.iter().all(|table| {
            let long = table.long.iter().map(|long| &long.inv_freqs);
            let lens = std::iter::once(&table.inv_freqs).chain(long).map(Vec::len);
            lens.into_iter().all(|len| len <= n_pairs && len as u64 * 2 == table.n_dims)
        })
    };
    for layer in &decoder.layers {
        let attention = &layer.attention;
        if attention.n_kv_heads == 0 || attention.head_dim == 0 || !attention.n_heads.is_multiple_of(attention.n_kv_heads) {
            return Err(contradiction("its heads do not share keys and values evenly"));
        }
        if attention.rope_idx.is_some_and(|idx| idx >= decoder.rope_tables.len()) {
            return Err(contradiction("a layer has a RoPE table that it lacks"));
        }
        if attention.rope_idx.is_some() && !is_rotatable(size(attention.head_dim)? / 2) {
            return Err(contradiction("a RoPE table does not fit a head"));
        }
    }
    Ok(())
}

fn contradiction(what: &str) -> Error {
    Error::Internal { message: format!("the description of a decoder contradicts itself: {what}") }
}

/// A number as an index.
fn size(n: u64) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::Internal { message: format!("{n} does not fit this machine's memory") })
}
