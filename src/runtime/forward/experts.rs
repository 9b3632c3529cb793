//! The second half of a layer with a choice of networks for each token.
//!
//! Experts are loaded in groups, so that a layer of many needs little memory: once per layer the router chooses, then each group
//! computes all the tokens that were sent to it, and at last the sums are added to the hidden states.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{Blocks, band_tokens, sized};
use super::feed_forward::{Around, LoadedMlp};
use super::hidden::Hidden;
use super::weights::{Linear, WeightSource, normed};
use super::{Sink, SiteRows, Steps, contradiction, size};
use crate::error::Result;
use crate::model::{Decoder, DecoderLayer, Experts, Mlp, Site};
use crate::quant::functions::{add_scaled, sigmoid, softmax};

/// Bytes of experts that are in memory together; at least one expert is.
const MAX_GROUP_BYTES: u64 = 1 << 30;
/// Tokens of an expert that one thread computes at a time.
const BAND_TOKENS: usize = 256;

/// Weights of the second half of a layer, but for the experts themselves.
pub(super) struct ExpertsHalf<'a> {
    around: Around,
    router: Linear,
    shared: Option<(LoadedMlp, Linear)>,
    experts: &'a Experts,
    n_used: usize,
    n_embd: usize,
}

/// The experts of each token, with what their outputs are multiplied by.
struct Routes {
    /// `n_used` for each token, the one with the largest weight first.
    chosen: Vec<(usize, f32)>, // [n_tokens, n_used]
    n_used: usize,
}

/// Tokens of a block that go to one expert.
struct Sent {
    expert_idx: usize,
    /// Rows of the block, ascending.
    rows: Vec<usize>,
    weights: Vec<f32>,
}

/// What an expert makes of some tokens.
struct Computed {
    inputs: Vec<f32>,
    activations: Vec<f32>,
    outputs: Vec<f32>,
}

impl<'a> ExpertsHalf<'a> {
    /// Loads what all tokens pass through.
    pub(super) fn load(decoder: &Decoder, layer: &DecoderLayer, experts: &'a Experts, source: &dyn WeightSource) -> Result<Self> {
        let n_embd = size(decoder.n_embd)?;
        let (n_used, n_experts) = (size(experts.n_used)?, experts.experts.len());
        if !(1..=n_experts).contains(&n_used) {
            return Err(contradiction("a token uses no expert, or more than there are"));
        }
        let shared = experts
            .shared
            .as_ref()
            .map(|shared| Ok((LoadedMlp::load(source, &shared.mlp, n_embd)?, Linear::matrix(source, &shared.gate, 1, n_embd)?)));
        let router = Linear::matrix(source, &experts.router, n_experts, n_embd)?;
        Ok(Self { around: Around::load(source, layer, n_embd)?, router, shared: shared.transpose()?, experts, n_used, n_embd })
    }

    /// Adds the experts' outputs to the hidden states of all chunks; `sums` are zeros of their size.
    #[allow(clippy::too_many_arguments, reason = "two stores and where they come from")]
    pub(super) fn compute(
        &self,
        layer_idx: usize,
        source: &dyn WeightSource,
        blocks: &Blocks,
        hidden: &mut Hidden,
        sums: &mut Hidden,
        sink: &mut dyn Sink,
        steps: &Steps,
    ) -> Result<()> {
        let routes = self.route_all(layer_idx, blocks, hidden, sums, sink, steps)?;
        let mut inputs = Vec::new();
        for group in groups(&self.experts.experts) {
            let loaded: Vec<LoadedMlp> = self.experts.experts[group.clone()]
                .iter()
                .map(|mlp| LoadedMlp::load(source, mlp, self.n_embd))
                .collect::<Result<_>>()?;
            for block in blocks.of_tokens() {
                steps.report()?;
                let inputs = self.inputs(hidden.rows(&block)?, &mut inputs);
                let sent = routes.sent(&group, &block);
                let computed: Vec<Computed> =
                    sent.par_iter().map(|sent| self.through(&loaded[sent.expert_idx - group.start], inputs, sent)).collect();
                sums.change(&block, |sums| {
                    self.add_weighted(&sent, &computed, sums);
                    Ok(())
                })?;
                for (sent, computed) in sent.iter().zip(&computed) {
                    tell_expert(blocks, sink, layer_idx, &block, sent, computed)?;
                }
            }
        }
        let mut scratch = Vec::new();
        for block in blocks.of_tokens() {
            let y = sized(&mut inputs, block.len() * self.n_embd);
            y.copy_from_slice(sums.rows(&block)?);
            hidden.change(&block, |x| {
                self.around.add(x, y, &mut scratch);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Chooses the experts of all tokens, and adds the shared one's outputs to the sums.
    fn route_all(
        &self,
        layer_idx: usize,
        blocks: &Blocks,
        hidden: &mut Hidden,
        sums: &mut Hidden,
        sink: &mut dyn Sink,
        steps: &Steps,
    ) -> Result<Routes> {
        let [mut inputs, mut activations] = <[Vec<f32>; 2]>::default();
        let mut routes = Routes { chosen: Vec::new(), n_used: self.n_used };
        for block in blocks.of_tokens() {
            steps.report()?;
            let inputs = self.inputs(hidden.rows(&block)?, &mut inputs);
            routes.chosen.extend(self.route(inputs));
            blocks.tell(sink, Site::FeedForwardInput(layer_idx), &block, inputs, &[])?;
            if let Some((mlp, gate)) = &self.shared {
                let activations = sized(&mut activations, block.len() * mlp.n_ff());
                sums.change(&block, |sums| {
                    add_shared(mlp, gate, inputs, activations, sums);
                    Ok(())
                })?;
                blocks.tell(sink, Site::FeedForwardHidden(layer_idx), &block, activations, &[])?;
            }
        }
        Ok(routes)
    }

    /// The normed inputs of a block.
    fn inputs<'b>(&self, x: &[f32], buffer: &'b mut Vec<f32>) -> &'b mut [f32] {
        let band = band_tokens(x.len() / self.n_embd) * self.n_embd;
        let inputs = sized(buffer, x.len());
        let bands = x.par_chunks(band).zip(inputs.par_chunks_mut(band));
        bands.for_each(|(x, input)| normed(self.around.norm.as_ref(), x, input));
        inputs
    }

    /// The experts of each token of a block; of equal ones, the first is taken.
    fn route(&self, inputs: &[f32]) -> Vec<(usize, f32)> {
        let n_experts = self.router.n_out;
        let band = band_tokens(inputs.len() / self.n_embd) * self.n_embd;
        let choose = |input: &[f32]| {
            let mut scores = vec![0.0; input.len() / self.n_embd * n_experts];
            self.router.apply(input, &mut scores);
            scores.chunks_exact_mut(n_experts).flat_map(|scores| self.choose(scores)).collect::<Vec<_>>()
        };
        inputs.par_chunks(band).flat_map_iter(choose).collect()
    }

    fn choose(&self, scores: &mut [f32]) -> Vec<(usize, f32)> {
        softmax(scores);
        let mut order: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        order.truncate(self.n_used);
        if self.experts.has_normed_weights {
            let sum: f32 = order.iter().map(|(_, weight)| weight).sum();
            for (_, weight) in &mut order {
                *weight /= sum;
            }
        }
        order
    }

    /// Computes an expert for the tokens that are sent to it, on all threads.
    fn through(&self, mlp: &LoadedMlp, inputs: &[f32], sent: &Sent) -> Computed {
        let (n_embd, n_ff, n) = (self.n_embd, mlp.n_ff(), sent.rows.len());
        let gathered: Vec<f32> = sent.rows.iter().flat_map(|&row| &inputs[row * n_embd..(row + 1) * n_embd]).copied().collect();
        let (mut activations, mut outputs) = (vec![0.0; n * n_ff], vec![0.0; n * n_embd]);
        let bands = gathered.par_chunks(BAND_TOKENS * n_embd).zip(activations.par_chunks_mut(BAND_TOKENS * n_ff));
        let bands = bands.zip(outputs.par_chunks_mut(BAND_TOKENS * n_embd));
        bands.for_each_init(Vec::new, |scratch, ((x, activations), y)| mlp.apply(x, activations, y, scratch));
        Computed { inputs: gathered, activations, outputs }
    }

    fn add_weighted(&self, sent: &[Sent], computed: &[Computed], sums: &mut [f32]) {
        for (sent, computed) in sent.iter().zip(computed) {
            let outputs = computed.outputs.chunks_exact(self.n_embd);
            for ((&row, &weight), y) in sent.rows.iter().zip(&sent.weights).zip(outputs) {
                add_scaled(&mut sums[row * self.n_embd..(row + 1) * self.n_embd], weight, y);
            }
        }
    }
}

/// Adds `sigmoid(gate(x)) * mlp(x)` to the sums and sets the hidden vectors.
fn add_shared(mlp: &LoadedMlp, gate: &Linear, inputs: &[f32], activations: &mut [f32], sums: &mut [f32]) {
    let (n_embd, n_ff) = (gate.n_in, mlp.n_ff());
    let band = band_tokens(inputs.len() / n_embd);
    let bands = inputs.par_chunks(band * n_embd).zip(activations.par_chunks_mut(band * n_ff));
    bands.zip(sums.par_chunks_mut(band * n_embd)).for_each(|((input, activations), sums)| {
        let n = input.len() / n_embd;
        let (mut y, mut parts, mut scratch) = (vec![0.0; n * n_embd], vec![0.0; n], Vec::new());
        mlp.apply(input, activations, &mut y, &mut scratch);
        gate.apply(input, &mut parts);
        for ((sums, y), part) in sums.chunks_exact_mut(n_embd).zip(y.chunks_exact(n_embd)).zip(parts) {
            add_scaled(sums, sigmoid(part), y);
        }
    });
}

/// Experts that are loaded together.
fn groups(experts: &[Mlp]) -> Vec<Range<usize>> {
    let bytes = |mlp: &Mlp| {
        let matrices = [&mlp.gate, &mlp.up, &mlp.down];
        matrices.iter().fold(0_u64, |sum, matrix| sum.saturating_add(matrix.weight.n_weights().saturating_mul(4)))
    };
    let (mut groups, mut start, mut sum) = (Vec::new(), 0, 0_u64);
    for (idx, mlp) in experts.iter().enumerate() {
        if idx > start && sum.saturating_add(bytes(mlp)) > MAX_GROUP_BYTES {
            groups.push(start..idx);
            (start, sum) = (idx, 0);
        }
        sum = sum.saturating_add(bytes(mlp));
    }
    groups.push(start..experts.len());
    groups
}

impl Routes {
    /// For each expert of a group that gets any, the tokens of a block.
    fn sent(&self, group: &Range<usize>, block: &Range<usize>) -> Vec<Sent> {
        let none = |expert_idx| Sent { expert_idx, rows: Vec::new(), weights: Vec::new() };
        let mut all: Vec<Sent> = group.clone().map(none).collect();
        let chosen = self.chosen.chunks_exact(self.n_used).skip(block.start).take(block.len());
        for (row, chosen) in chosen.enumerate() {
            for &(expert_idx, weight) in chosen.iter().filter(|(expert_idx, _)| group.contains(expert_idx)) {
                let sent = &mut all[expert_idx - group.start];
                sent.rows.push(row);
                sent.weights.push(weight);
            }
        }
        all.retain(|sent| !sent.rows.is_empty());
        all
    }
}

/// Gives the sink an expert's inputs and hidden vectors, chunk by chunk.
fn tell_expert(
    blocks: &Blocks,
    sink: &mut dyn Sink,
    layer_idx: usize,
    block: &Range<usize>,
    sent: &Sent,
    computed: &Computed,
) -> Result<()> {
    let expert_idx = sent.expert_idx;
    let sites = [
        (Site::ExpertInput(layer_idx, expert_idx), &computed.inputs),
        (Site::ExpertHidden(layer_idx, expert_idx), &computed.activations),
    ];
    for (site, rows) in sites {
        if !sink.wants(site) {
            continue;
        }
        let n_columns = rows.len() / sent.rows.len().max(1);
        for piece in blocks.pieces(block) {
            let [first, end] = [piece.rows.start, piece.rows.end].map(|row| sent.rows.partition_point(|&sent| sent < row));
            if first == end {
                continue;
            }
            let positions: Vec<usize> =
                sent.rows[first..end].iter().map(|row| piece.positions.start + row - piece.rows.start).collect();
            let rows = &rows[first * n_columns..end * n_columns];
            sink.rows(&SiteRows { site, chunk_idx: piece.chunk_idx, positions: &positions, rows, position_weights: None })?;
        }
    }
    Ok(())
}
