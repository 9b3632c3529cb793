//! The second half of a layer with one network for all tokens.

use rayon::prelude::*;

use super::blocks::{Blocks, band_tokens, sized};
use super::hidden::Hidden;
use super::weights::{Linear, RmsNorm, WeightSource, normed};
use super::{Sink, Steps, contradiction, size};
use crate::error::Result;
use crate::model::{Activation, Decoder, DecoderLayer, Mlp, Site};
use crate::quant::functions::{add_scaled, gate};

/// Weights of a gated network.
#[derive(Debug)]
pub(super) struct LoadedMlp {
    activation: Activation,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl LoadedMlp {
    pub(super) fn load(source: &dyn WeightSource, mlp: &Mlp, n_embd: usize) -> Result<Self> {
        let n_ff = size(mlp.n_ff)?;
        if n_ff == 0 {
            return Err(contradiction("a feed-forward network has no hidden vector"));
        }
        Ok(Self {
            activation: mlp.activation,
            gate: Linear::load(source, &mlp.gate, n_ff, n_embd)?,
            up: Linear::load(source, &mlp.up, n_ff, n_embd)?,
            down: Linear::load(source, &mlp.down, n_embd, n_ff)?,
        })
    }

    /// Width of the hidden vector.
    pub(super) fn n_ff(&self) -> usize {
        self.down.n_in
    }

    /// Sets the hidden vectors and the output of some inputs, on the calling thread.
    pub(super) fn apply(&self, x: &[f32], hidden: &mut [f32], out: &mut [f32], scratch: &mut Vec<f32>) {
        self.gate.apply(x, hidden);
        let up = sized(scratch, hidden.len());
        self.up.apply(x, up);
        gate(self.activation, hidden, up);
        self.down.apply(hidden, out);
    }
}

/// Norms around a feed-forward network, and what its output is multiplied by.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) norm: Option<RmsNorm>,
    pub(super) post_norm: Option<RmsNorm>,
    pub(super) residual_scale: f32,
}

impl Around {
    pub(super) fn load(source: &dyn WeightSource, layer: &DecoderLayer, n_embd: usize) -> Result<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "computed with in single precision")]
        let residual_scale = layer.residual_scale as f32;
        Ok(Self {
            norm: RmsNorm::load_some(source, layer.feed_forward_norm.as_ref(), n_embd)?,
            post_norm: RmsNorm::load_some(source, layer.post_feed_forward_norm.as_ref(), n_embd)?,
            residual_scale,
        })
    }

    /// Adds the network's output, which is overwritten, to the hidden states.
    pub(super) fn add(&self, x: &mut [f32], y: &mut [f32], scratch: &mut Vec<f32>) {
        if let Some(norm) = &self.post_norm {
            norm.apply_in_place(y, scratch);
        }
        add_scaled(x, self.residual_scale, y);
    }
}

/// Weights of the second half of a layer.
#[derive(Debug)]
pub(super) struct DenseHalf {
    around: Around,
    mlp: LoadedMlp,
    n_embd: usize,
}

impl DenseHalf {
    /// Loads the weights.
    pub(super) fn load(decoder: &Decoder, layer: &DecoderLayer, mlp: &Mlp, source: &dyn WeightSource) -> Result<Self> {
        let n_embd = size(decoder.n_embd)?;
        Ok(Self { around: Around::load(source, layer, n_embd)?, mlp: LoadedMlp::load(source, mlp, n_embd)?, n_embd })
    }

    /// Adds the network's output to the hidden states of all chunks.
    pub(super) fn compute(
        &self,
        layer_idx: usize,
        blocks: &Blocks,
        hidden: &mut Hidden,
        sink: &mut dyn Sink,
        steps: &Steps,
    ) -> Result<()> {
        let (n_embd, n_ff) = (self.n_embd, self.mlp.n_ff());
        let [mut inputs, mut activations] = <[Vec<f32>; 2]>::default();
        for block in blocks.of_tokens() {
            steps.report()?;
            hidden.change(&block, |x| {
                let inputs = sized(&mut inputs, block.len() * n_embd);
                let activations = sized(&mut activations, block.len() * n_ff);
                let band = band_tokens(block.len());
                let bands = x.par_chunks_mut(band * n_embd).zip(inputs.par_chunks_mut(band * n_embd));
                let bands = bands.zip(activations.par_chunks_mut(band * n_ff));
                bands.for_each_init(<[Vec<f32>; 2]>::default, |[y, scratch], ((x, input), activations)| {
                    normed(self.around.norm.as_ref(), x, input);
                    let y = sized(y, x.len());
                    self.mlp.apply(input, activations, y, scratch);
                    self.around.add(x, y, scratch);
                });
                blocks.tell(sink, Site::FeedForwardInput(layer_idx), &block, inputs, &[])?;
                blocks.tell(sink, Site::FeedForwardHidden(layer_idx), &block, activations, &[])
            })?;
        }
        Ok(())
    }
}
