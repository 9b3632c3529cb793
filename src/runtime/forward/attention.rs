//! The first half of a layer: the norm, the projections, the attention, and what is added to the hidden states.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{Blocks, Piece, band_tokens, sized};
use super::heads::{Heads, KeysValues, Scratch};
use super::hidden::Hidden;
use super::rope::Rotation;
use super::weights::{Linear, RmsNorm, WeightSource, normed};
use super::{Sink, Steps, size};
use crate::error::Result;
use crate::model::{Decoder, DecoderLayer, NormSpan, RopeTable, Site};
use crate::quant::functions::add_scaled;
use crate::runtime::attention_mass::{PositionWeights, Received};

/// Weights of the first half of a layer.
pub(super) struct AttentionHalf<'a> {
    norm: Option<RmsNorm>,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    qk_norm: Option<[RmsNorm; 2]>,
    post_norm: Option<RmsNorm>,
    heads: Heads,
    table: Option<&'a RopeTable>,
    residual_scale: f32,
}

/// Activations of a block, used for all blocks.
#[derive(Default)]
struct Buffers {
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    out: Vec<f32>,
}

/// The rotations of contexts up to the length at which other frequencies begin, and beyond it.
struct Rotations {
    usual: Rotation,
    long: Option<(u64, Rotation)>,
}

impl Rotations {
    fn of(table: &RopeTable, lens: &[usize]) -> Self {
        let above = table.long.as_ref().map_or(u64::MAX, |long| long.above);
        let longest = |is_long: bool| lens.iter().copied().filter(|&len| (len as u64 > above) == is_long).max().unwrap_or(0);
        let long = table.long.as_ref().map(|long| (long.above, Rotation::new(table, longest(true))));
        Self { usual: Rotation::new(table, longest(false)), long }
    }

    fn of_context(&self, n_ctx: usize) -> &Rotation {
        match &self.long {
            Some((above, rotation)) if n_ctx as u64 > *above => rotation,
            _ => &self.usual,
        }
    }
}

impl<'a> AttentionHalf<'a> {
    /// Loads the weights.
    pub(super) fn load(decoder: &'a Decoder, layer: &DecoderLayer, source: &dyn WeightSource) -> Result<Self> {
        let attention = &layer.attention;
        let n_embd = size(decoder.n_embd)?;
        let (n_heads, n_kv_heads) = (size(attention.n_heads)?, size(attention.n_kv_heads)?);
        let head_dim = size(attention.head_dim)?;
        let (n_q, n_kv) = (n_heads * head_dim, n_kv_heads * head_dim);
        let qk_norm = attention.qk_norm.as_ref().map(|norms| {
            let of_span = |n_all| if norms.span == NormSpan::Head { head_dim } else { n_all };
            Ok([RmsNorm::load(source, &norms.q, of_span(n_q))?, RmsNorm::load(source, &norms.k, of_span(n_kv))?])
        });
        #[allow(clippy::cast_possible_truncation, reason = "computed with in single precision")]
        let (scale, softcap) = (attention.scale as f32, attention.softcap.map(|cap| cap as f32));
        let window = attention.window.map(size).transpose()?.map(|window| window.max(1));
        #[allow(clippy::cast_possible_truncation, reason = "computed with in single precision")]
        let residual_scale = layer.residual_scale as f32;
        Ok(Self {
            norm: RmsNorm::load_some(source, layer.attention_norm.as_ref(), n_embd)?,
            q: Linear::load(source, &attention.q, n_q, n_embd)?,
            k: Linear::load(source, &attention.k, n_kv, n_embd)?,
            v: Linear::load(source, &attention.v, n_kv, n_embd)?,
            o: Linear::load(source, &attention.o, n_embd, n_q)?,
            qk_norm: qk_norm.transpose()?,
            post_norm: RmsNorm::load_some(source, layer.post_attention_norm.as_ref(), n_embd)?,
            heads: Heads { n_heads, n_kv_heads, head_dim, scale, softcap, window },
            table: attention.rope_idx.and_then(|idx| decoder.rope_tables.get(idx)),
            residual_scale,
        })
    }

    /// Adds the attention to the hidden states of all chunks.
    pub(super) fn compute(
        &self,
        layer_idx: usize,
        blocks: &Blocks,
        hidden: &mut Hidden,
        sink: &mut dyn Sink,
        steps: &Steps,
    ) -> Result<()> {
        let lens: Vec<usize> = blocks.chunk_lens();
        let rotations = self.table.map(|table| Rotations::of(table, &lens));
        let mut buffers = Buffers::default();
        for block in blocks.of_chunks() {
            steps.report()?;
            hidden.change(&block, |x| {
                self.project(x, &block, blocks, rotations.as_ref(), &mut buffers);
                let wants_received = sink.wants(Site::AttentionInput(layer_idx));
                let received = self.attend(&blocks.pieces(&block), wants_received, &mut buffers);
                self.add_output(x, &mut buffers);
                let weights: Vec<PositionWeights> = received.iter().map(Received::weights).collect();
                let n = block.len();
                let inputs = sized(&mut buffers.normed, n * self.q.n_in);
                blocks.tell(sink, Site::AttentionInput(layer_idx), &block, inputs, &weights)?;
                let outputs = sized(&mut buffers.out, n * self.o.n_in);
                blocks.tell(sink, Site::AttentionOutput(layer_idx), &block, outputs, &[])
            })?;
        }
        Ok(())
    }

    /// Sets the buffers for normed inputs, queries, keys and values.
    fn project(&self, x: &[f32], block: &Range<usize>, blocks: &Blocks, rotations: Option<&Rotations>, buffers: &mut Buffers) {
        let n = block.len();
        let (n_embd, n_q, n_kv) = (self.q.n_in, self.q.n_out, self.k.n_out);
        let band = band_tokens(n);
        let normed_rows = sized(&mut buffers.normed, n * n_embd).par_chunks_mut(band * n_embd);
        let q = sized(&mut buffers.q, n * n_q).par_chunks_mut(band * n_q);
        let k = sized(&mut buffers.k, n * n_kv).par_chunks_mut(band * n_kv);
        let v = sized(&mut buffers.v, n * n_kv).par_chunks_mut(band * n_kv);
        let bands = x.par_chunks(band * n_embd).zip(normed_rows).zip(q).zip(k.zip(v)).enumerate();
        bands.for_each_init(Vec::new, |scratch, (idx, (((x, input), q), (k, v)))| {
            normed(self.norm.as_ref(), x, input);
            self.q.apply(input, q);
            self.k.apply(input, k);
            self.v.apply(input, v);
            if let Some([q_norm, k_norm]) = &self.qk_norm {
                q_norm.apply_in_place(q, scratch);
                k_norm.apply_in_place(k, scratch);
            }
            let Some(rotations) = rotations else { return };
            let start = block.start + idx * band;
            for Piece { chunk_idx, positions, rows } in blocks.pieces(&(start..start + x.len() / n_embd)) {
                let rotation = rotations.of_context(blocks.chunk_len(chunk_idx));
                let Heads { n_heads, n_kv_heads, head_dim, .. } = self.heads;
                rotation.rotate(&mut q[rows.start * n_q..rows.end * n_q], n_heads, head_dim, positions.start);
                rotation.rotate(&mut k[rows.start * n_kv..rows.end * n_kv], n_kv_heads, head_dim, positions.start);
            }
        });
    }

    /// Sets the buffer of the heads' outputs, chunk by chunk. Returns the attention that each chunk's positions receive, if it is wanted.
    fn attend(&self, pieces: &[Piece], wants_received: bool, buffers: &mut Buffers) -> Vec<Received> {
        let (n_q, n_kv) = (self.q.n_out, self.k.n_out);
        let n = pieces.last().map_or(0, |piece| piece.rows.end);
        let (q, k, v) = (&buffers.q, &buffers.k, &buffers.v);
        let mut rest = sized(&mut buffers.out, n * n_q);
        let mut tasks = Vec::new();
        for (idx, piece) in pieces.iter().enumerate() {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(piece.rows.len() * n_q);
            rest = others;
            let n_queries = self.heads.block_queries(piece.rows.len());
            tasks.extend(own.chunks_mut(n_queries * n_q).enumerate().map(|(block, out)| (idx, block * n_queries, out)));
        }
        let compute = |scratch: &mut Scratch, (idx, first, out): (usize, usize, &mut [f32])| {
            let rows = &pieces[idx].rows;
            let seen =
                KeysValues { keys: &k[rows.start * n_kv..rows.end * n_kv], values: &v[rows.start * n_kv..rows.end * n_kv] };
            let start = (rows.start + first) * n_q;
            let mut received = wants_received.then(|| Received::none(rows.len()));
            self.heads.attend(&q[start..start + out.len()], first, seen, out, scratch, received.as_mut());
            (idx, received)
        };
        let parts: Vec<(usize, Option<Received>)> = tasks.into_par_iter().map_init(Scratch::default, compute).collect();
        if !wants_received {
            return Vec::new();
        }
        let mut sums: Vec<Received> = pieces.iter().map(|piece| Received::none(piece.rows.len())).collect();
        for (idx, part) in parts {
            if let (Some(sum), Some(part)) = (sums.get_mut(idx), part) {
                sum.add_all(&part);
            }
        }
        sums
    }

    fn add_output(&self, x: &mut [f32], buffers: &mut Buffers) {
        let (n_embd, n_q) = (self.o.n_out, self.o.n_in);
        let n = x.len() / n_embd;
        let band = band_tokens(n);
        let outputs = sized(&mut buffers.out, n * n_q).par_chunks(band * n_q);
        let bands = x.par_chunks_mut(band * n_embd).zip(outputs);
        bands.for_each_init(<[Vec<f32>; 2]>::default, |[y, scratch], (x, out)| {
            let y = sized(y, x.len());
            self.o.apply(out, y);
            if let Some(norm) = &self.post_norm {
                norm.apply_in_place(y, scratch);
            }
            add_scaled(x, self.residual_scale, y);
        });
    }
}
