//! Rows that are encoded side by side, so that feedback from a block to the rest of the row is a product of matrices.

use std::ops::Range;

use super::codec::{Codec, Scales};
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
pub(super) struct Group<'a, const J: usize> {
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
    pub(super) scales: Vec<Scales<J>>,
}

impl<'a, const J: usize> Group<'a, J> {
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
pub(super) fn encode<C: Codec<N, J>, const N: usize, const J: usize>(
    weights: &[f32],
    factors: &Factors,
    sweeps: usize,
    dst: &mut [u8],
) {
    let n_columns = factors.n_columns();
    let row_bytes = n_columns / (N * J) * size_of::<C::Block>();
    for (weights, dst) in weights.chunks(N_ROWS * n_columns).zip(dst.chunks_mut(N_ROWS * row_bytes)) {
        let group = rounded::<C, N, J>(weights, factors, sweeps);
        let blocks = group.levels.as_chunks::<N>().0.as_chunks::<J>().0.iter().zip(&group.scales);
        for (bytes, (levels, scales)) in dst.chunks_exact_mut(size_of::<C::Block>()).zip(blocks) {
            bytes.copy_from_slice(bytemuck::bytes_of(&C::pack(scales, levels)));
        }
    }
}

/// A group whose columns are all rounded and polished.
pub(super) fn rounded<'a, C: Codec<N, J>, const N: usize, const J: usize>(
    weights: &'a [f32],
    factors: &Factors,
    sweeps: usize,
) -> Group<'a, J> {
    let n_columns = factors.n_columns();
    let mut group = Group::new(weights, n_columns, weights.len() / (N * J));
    for panel in panels(n_columns) {
        for start in panel.clone().step_by(N) {
            group.feed_back(factors, panel.start..start, start..start + N);
            run_fastest(RoundColumns::<C, N, J>::new(&mut group, factors, start));
        }
        group.feed_back(factors, panel.clone(), panel.end..n_columns);
    }
    polish::<C, N, J>(&mut group, factors, sweeps);
    group
}
