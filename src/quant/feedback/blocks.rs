//! Feedback for types whose codes stand for several weights: from block to block.
//!
//! A block is encoded by its plain encoder, for the weights that are best when all earlier blocks are done. With a row's factors cut into
//! blocks, `a H aᵀ = Σ_b (a_b + s_b R_bb⁻¹) R_bb D_b R_bbᵀ (a_b + s_b R_bb⁻¹)ᵀ` with `s_b = Σ_{c<b} a_c R_cb`: so these are `w_b - s_b R_bb⁻¹`, and
//! the importances are the diagonal of `R_bb D_b R_bbᵀ`.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::factors::Factors;
use super::group::{Group, N_ROWS, PANEL, panels};
use crate::model::DType;
use crate::quant::dispatch::{Kernel, run_fastest};
use crate::quant::lanes::{N_LANES, Simd};
use crate::quant::{QuantError, dequantize_rows, quantize_rows_by};

/// Encodes rows of super-blocks whose length and range were checked.
pub(super) fn encode(dtype: DType, weights: &[f32], factors: &Factors, dst: &mut [u8]) -> Result<(), QuantError> {
    let n = factors.n_columns();
    if weights.is_empty() || !n.is_multiple_of(PANEL) {
        return Err(QuantError::Unsupported { action: "encode", dtype });
    }
    let block_bytes = dst.len() / (weights.len() / PANEL);
    let row_bytes = block_bytes * (n / PANEL);
    for (weights, dst) in weights.chunks(N_ROWS * n).zip(dst.chunks_mut(N_ROWS * row_bytes)) {
        let mut group = Group::new(weights, n, 0);
        let n_rows = group.n_rows();
        let mut blocks = vec![0; n_rows * block_bytes];
        let mut decoded = vec![0.0; n_rows * PANEL];
        for (idx, panel) in panels(n).enumerate() {
            let mut wanted = vec![0.0; n_rows * PANEL];
            for (row, wanted) in wanted.chunks_exact_mut(PANEL).enumerate() {
                let place = group.place(row, &panel);
                let numbers = wanted.iter_mut().zip(&group.targets[place.clone()]).zip(&group.weights[place]);
                numbers.for_each(|((wanted, target), weight)| *wanted = target - weight);
            }
            run_fastest(Solve { factors, start: panel.start, rows: &mut wanted });
            for (row, wanted) in wanted.chunks_exact_mut(PANEL).enumerate() {
                let place = group.place(row, &panel);
                wanted.iter_mut().zip(&group.weights[place]).for_each(|(wanted, weight)| *wanted += weight);
            }
            quantize_rows_by(dtype, &wanted, PANEL, Some(&importances(factors, panel.start)), &mut blocks)?;
            dequantize_rows(dtype, &blocks, &mut decoded)?;
            for (row, decoded) in decoded.chunks_exact(PANEL).enumerate() {
                let place = group.place(row, &panel);
                let numbers = group.errors[place.clone()].iter_mut().zip(decoded).zip(&group.weights[place]);
                numbers.for_each(|((error, decoded), weight)| *error = decoded - weight);
            }
            for (dst, block) in dst.chunks_exact_mut(row_bytes).zip(blocks.chunks_exact(block_bytes)) {
                dst[idx * block_bytes..][..block_bytes].copy_from_slice(block);
            }
            group.feed_back(factors, panel.clone(), panel.end..n);
        }
    }
    Ok(())
}

/// The diagonal of `R_bb D_b R_bbᵀ` of the block at column `start`.
fn importances(factors: &Factors, start: usize) -> Vec<f32> {
    let (n, columns) = (factors.n_columns(), start..start + PANEL);
    let of_row = |row: usize| {
        let weights = &factors.weights()[row * n..][columns.clone()];
        weights.iter().zip(&factors.importances()[columns.clone()]).map(|(weight, importance)| weight * weight * importance).sum()
    };
    columns.clone().map(of_row).collect()
}

/// Multiplies rows `[n_rows, PANEL]` from the right by `R_bb⁻¹` of the block at column `start`.
struct Solve<'a> {
    factors: &'a Factors,
    start: usize,
    rows: &'a mut [f32],
}

impl Kernel for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let n = self.factors.n_columns();
        for row in self.rows.as_chunks_mut::<PANEL>().0 {
            for i in 0..PANEL {
                let number = simd.splat(-row[i]);
                let weights = &self.factors.weights()[(self.start + i) * n + self.start..][..PANEL];
                // From this column's chunk on: before the diagonal there are zeros.
                let first = i / N_LANES;
                let own = row[i];
                let later = row.as_chunks_mut::<N_LANES>().0[first..].iter_mut();
                for (later, weights) in later.zip(&weights.as_chunks::<N_LANES>().0[first..]) {
                    *later = simd.store(simd.mul_add(number, simd.load(weights), simd.load(later)));
                }
                // The diagonal is one, which has taken the number itself away.
                row[i] = own;
            }
        }
    }
}
