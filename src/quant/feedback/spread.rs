//! What few changes of a panel's errors do to the gradients of other columns.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use std::ops::Range;

use super::group::PANEL;
use crate::quant::dispatch::Kernel;
use crate::quant::lanes::{N_LANES, Simd};

/// Columns whose moments with a panel stay in the cache while all rows need them.
const TILE: usize = 256;

/// Adds changes times moments to gradients, row by row.
pub(super) struct Spread<'a> {
    pub(super) n_columns: usize,
    /// Rows that take part.
    pub(super) rows: &'a [usize],
    /// `[n_rows, panel.len()]`
    pub(super) changes: &'a [f32],
    pub(super) panel: &'a Range<usize>,
    /// Columns whose gradients change.
    pub(super) others: Range<usize>,
    /// `[n_columns, n_columns]`
    pub(super) moments: &'a [f32],
    /// `[n_rows, n_columns]`
    pub(super) gradients: &'a mut [f32],
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { n_columns, rows, changes, panel, others, moments, gradients } = self;
        for start in others.clone().step_by(TILE) {
            let tile = start..others.end.min(start + TILE);
            for &row in rows {
                let gradients = &mut gradients[row * n_columns..][tile.clone()];
                let changes = &changes[row * panel.len()..][..panel.len()];
                add_changes(simd, changes, &moments[panel.start * n_columns..], n_columns, tile.start, gradients);
            }
        }
    }
}

/// Adds `Σ changes[i] * moments[i * stride + first + k]` to each `gradients[k]`, four changes at a time.
#[inline(always)]
pub(super) fn add_changes<S: Simd>(
    simd: S,
    changes: &[f32],
    moments: &[f32],
    stride: usize,
    first: usize,
    gradients: &mut [f32],
) {
    let len = gradients.len();
    let mut found = [(0, 0.0); PANEL];
    let mut n_found = 0;
    for (i, &change) in changes.iter().enumerate() {
        if change != 0.0 && n_found < PANEL {
            found[n_found] = (i, change);
            n_found += 1;
        }
    }
    // The last ones are filled up with changes of zero.
    for four in found[..n_found.next_multiple_of(4)].as_chunks::<4>().0 {
        let mut factors = [simd.zero(); 4];
        let mut rows: [&[[f32; N_LANES]]; 4] = [&[]; 4];
        for k in 0..4 {
            factors[k] = simd.splat(four[k].1);
            rows[k] = moments[four[k].0 * stride + first..][..len].as_chunks().0;
        }
        let [a, b, c, d] = rows;
        for ((((gradient, a), b), c), d) in gradients.as_chunks_mut::<N_LANES>().0.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            let sum = simd.mul_add(factors[0], simd.load(a), simd.load(gradient));
            let sum = simd.mul_add(factors[1], simd.load(b), sum);
            let sum = simd.mul_add(factors[2], simd.load(c), sum);
            *gradient = simd.store(simd.mul_add(factors[3], simd.load(d), sum));
        }
    }
}
