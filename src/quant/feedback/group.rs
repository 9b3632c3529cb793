//! Rows that are encoded side by side, so that feedback from a block to the rest of the row is a product of matrices.

use std::ops::Range;

use super::codec::{BlockType, Codec, Levels, Scales, of_mean_one};
use super::factors::Factors;
use super::polish::polish;
use super::rounding::RoundColumns;
use crate::quant::dispatch::run_fastest;
use crate::quant::matmul::{Matrix, MatrixMut};

/// Rows of a group: many enough that products of matrices run at full speed.
pub(super) const N_ROWS: usize = 128;

/// Columns whose errors are fed back to the rest of the row at once; whole blocks of every type.
pub(super) const PANEL: usize = 256;

/// Rows on their way. All matrices are `[n_rows, n_columns]`.
pub(super) struct Group<'a> {
    pub(super) n_columns: usize,
    /// What is encoded.
    pub(super) weights: &'a [f32],
    /// Columns to come: what a weight is best rounded to. Columns done: by how much it was missed.
    pub(super) targets: Vec<f32>,
    /// Decoded weight less weight; of the columns done.
    pub(super) errors: Vec<f32>,
    /// Of the columns done.
    pub(super) levels: Vec<f32>,
    /// `[n_rows, n_blocks]`
    pub(super) scales: Vec<Scales>,
}

impl<'a> Group<'a> {
    /// Nothing is rounded.
    pub(super) fn new(weights: &'a [f32], n_columns: usize, n_blocks: usize) -> Self {
        Self {
            n_columns,
            weights,
            targets: weights.to_vec(),
            errors: vec![0.0; weights.len()],
            levels: vec![0.0; weights.len()],
            scales: vec![Scales::of_block(0.0, 0.0, 0.0); n_blocks],
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.weights.len() / self.n_columns
    }

    /// Where these columns of a row are.
    pub(super) fn place(&self, row: usize, columns: &Range<usize>) -> Range<usize> {
        row * self.n_columns + columns.start..row * self.n_columns + columns.end
    }

    /// Takes what the errors of the columns `from` weigh in `to` off their targets.
    pub(super) fn feed_back(&mut self, factors: &Factors, from: Range<usize>, to: Range<usize>) {
        if from.is_empty() || to.is_empty() {
            return;
        }
        let (n_rows, n) = (self.n_rows(), self.n_columns);
        let errors = Matrix::new(&self.errors, n_rows, n).part(0..n_rows, from.clone());
        let weights = Matrix::new(factors.weights(), n, n).part(from, to.clone());
        MatrixMut::new(&mut self.targets, n_rows, n).part(0..n_rows, to).set_product(-1.0, errors, weights, 1.0);
    }
}

/// Ranges of at most [`PANEL`] columns.
pub(super) fn panels(n_columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n_columns).step_by(PANEL).map(move |start| start..n_columns.min(start + PANEL))
}

/// Encodes rows whose length and range were checked.
pub(super) fn encode<L: Levels, const N: usize>(
    BlockType { codec, block_bytes, pack }: &BlockType<L, N>,
    weights: &[f32],
    factors: &Factors,
    sweeps: usize,
    dst: &mut [u8],
) {
    let n_columns = factors.n_columns();
    let block_len = N * codec.n_subs;
    let row_bytes = n_columns / block_len * block_bytes;
    for (weights, dst) in weights.chunks(N_ROWS * n_columns).zip(dst.chunks_mut(N_ROWS * row_bytes)) {
        let group = rounded(codec, weights, factors, sweeps);
        let blocks = group.levels.chunks_exact(block_len).zip(&group.scales);
        for (bytes, (levels, scales)) in dst.chunks_exact_mut(*block_bytes).zip(blocks) {
            pack(scales, levels, bytes);
        }
    }
}

/// A group whose columns are all rounded and polished.
pub(super) fn rounded<'a, L: Levels, const N: usize>(
    codec: &Codec<L, N>,
    weights: &'a [f32],
    factors: &Factors,
    sweeps: usize,
) -> Group<'a> {
    let n_columns = factors.n_columns();
    let block_len = N * codec.n_subs;
    let mut group = Group::new(weights, n_columns, weights.len() / block_len);
    for panel in panels(n_columns) {
        for start in panel.clone().step_by(N) {
            group.feed_back(factors, panel.start..start, start..start + N);
            if start.is_multiple_of(block_len) {
                find_scales(codec, &mut group, factors, start..start + block_len);
            }
            run_fastest(RoundColumns::new(codec, &mut group, factors, start));
        }
        group.feed_back(factors, panel.clone(), panel.end..n_columns);
    }
    polish(codec, &mut group, factors, sweeps);
    group
}

/// Scales of the blocks in these columns, for what the columns are best rounded to.
fn find_scales<L: Levels, const N: usize>(codec: &Codec<L, N>, group: &mut Group, factors: &Factors, columns: Range<usize>) {
    let importances = of_mean_one(&factors.importances()[columns.clone()]);
    let n_blocks = group.n_columns / columns.len();
    for row in 0..group.n_rows() {
        let targets = &group.targets[group.place(row, &columns)];
        group.scales[row * n_blocks + columns.start / columns.len()] = (codec.search)(targets, &importances);
    }
}
