//! Sweeps over finished rows: scales and codes change one after the other where that lowers the output error.
//!
//! Coordinate descent on `a H aᵀ` of a row's errors `a`, with its half gradient `g = a H`: a change `δ` of column `j` lowers it if
//! `δ (2 g_j + δ H_jj) < 0`. Within a panel `g` is up to date after each sub-block; the other columns follow after each panel.

use std::ops::Range;

use super::codec::{Codec, Levels};
use super::descent::PolishColumns;
use super::factors::Factors;
use super::group::{Group, PANEL, panels};
use super::refit::RefitBlocks;
use super::spread::Spread;
use crate::quant::dispatch::run_fastest;
use crate::quant::matmul::{Matrix, MatrixMut};

/// Sweeps that move scales which all columns of a block share. After two, nothing is left to gain, and changes of single columns are cheaper
/// to spread.
const N_REFITS: usize = 2;

/// Share of a row's columns in a panel from which on their changes are spread by a product of matrices.
const DENSE: f32 = 0.6;

/// Sweeps over a group whose columns are all rounded.
pub(super) fn polish<L: Levels, const N: usize>(codec: &Codec<L, N>, group: &mut Group, factors: &Factors, sweeps: usize) {
    if sweeps == 0 {
        return;
    }
    let mut gradients = first_gradients(group, factors);
    for sweep in 0..sweeps {
        let mut has_changed = false;
        for panel in panels(group.n_columns) {
            let before = panel_of(group, &panel);
            let refits = sweep < N_REFITS;
            let rescales = refits || codec.n_subs > 1;
            if codec.n_subs > 1 && refits {
                let products = products_of_levels::<N>(group, factors, &panel);
                run_fastest(RefitBlocks::new(codec, group, factors, panel.start, &products, &mut gradients));
            }
            for start in panel.clone().step_by(N) {
                run_fastest(PolishColumns::new(codec, group, factors, &panel, start, rescales, &mut gradients));
            }
            let mut changes = panel_of(group, &panel);
            changes.iter_mut().zip(&before).for_each(|(change, before)| *change -= before);
            has_changed |= changes.iter().any(|&change| change != 0.0);
            // The last sweep does not come back to the columns before.
            let others = if sweep + 1 == sweeps { panel.end..panel.end } else { 0..panel.start };
            for others in [others, panel.end..group.n_columns] {
                spread(group, factors, &changes, &panel, others, &mut gradients);
            }
        }
        if !has_changed {
            break;
        }
    }
}

/// The errors of a panel. `[n_rows, panel.len()]`
fn panel_of(group: &Group, panel: &Range<usize>) -> Vec<f32> {
    (0..group.n_rows()).flat_map(|row| group.errors[group.place(row, panel)].iter().copied()).collect()
}

/// `a H`, which is `(z D) Rᵀ` with what the columns missed their targets by. `[n_rows, n_columns]`
fn first_gradients(group: &mut Group, factors: &Factors) -> Vec<f32> {
    let (n_rows, n) = (group.n_rows(), group.n_columns);
    for row in group.targets.chunks_exact_mut(n) {
        row.iter_mut().zip(factors.importances()).for_each(|(miss, importance)| *miss *= importance);
    }
    let mut gradients = vec![0.0; n_rows * n];
    for panel in panels(n) {
        let later = panel.start..n;
        let misses = Matrix::new(&group.targets, n_rows, n).part(0..n_rows, later.clone());
        let weights = Matrix::new(factors.weights(), n, n).part(panel.clone(), later).transposed();
        MatrixMut::new(&mut gradients, n_rows, n).part(0..n_rows, panel).set_product(1.0, misses, weights, 0.0);
    }
    gradients
}

/// `u H` within a panel, with `u` the integer scale times the level. `[n_rows, panel.len()]`
fn products_of_levels<const N: usize>(group: &Group, factors: &Factors, panel: &Range<usize>) -> Vec<f32> {
    let (n_rows, n, width) = (group.n_rows(), group.n_columns, panel.len());
    let mut scaled = vec![0.0; n_rows * width];
    for (row, scaled) in scaled.chunks_exact_mut(width).enumerate() {
        let scales = &group.scales[row * (n / PANEL) + panel.start / PANEL].factors;
        let levels = &group.levels[group.place(row, panel)];
        let subs = scaled.chunks_exact_mut(N).zip(levels.chunks_exact(N)).zip(scales);
        for ((scaled, levels), scale) in subs {
            scaled.iter_mut().zip(levels).for_each(|(scaled, level)| *scaled = scale * level);
        }
    }
    let mut products = vec![0.0; n_rows * width];
    let moments = Matrix::new(factors.moments(), n, n).part(panel.clone(), panel.clone());
    let scaled = Matrix::new(&scaled, n_rows, width);
    MatrixMut::new(&mut products, n_rows, width).set_product(1.0, scaled, moments, 0.0);
    products
}

/// Adds what the changes `[n_rows, panel.len()]` of a panel's errors do to the gradients of `others`.
///
/// Rows with many changes go through a product of matrices, those with few one change after the other: each row for itself, so that its
/// bytes do not depend on the rows beside it.
fn spread(group: &Group, factors: &Factors, changes: &[f32], panel: &Range<usize>, others: Range<usize>, gradients: &mut [f32]) {
    let (n, width) = (group.n_columns, panel.len());
    if others.is_empty() {
        return;
    }
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let is_dense = |row: &[f32]| row.iter().filter(|&&change| change != 0.0).count() as f32 > DENSE * width as f32;
    let dense: Vec<usize> = (0..group.n_rows()).filter(|row| is_dense(&changes[row * width..][..width])).collect();
    let mut added = vec![0.0; dense.len() * others.len()];
    if !dense.is_empty() {
        let dense_changes: Vec<f32> = dense.iter().flat_map(|row| &changes[row * width..][..width]).copied().collect();
        let moments = Matrix::new(factors.moments(), n, n).part(panel.clone(), others.clone());
        let dense_changes = Matrix::new(&dense_changes, dense.len(), width);
        MatrixMut::new(&mut added, dense.len(), others.len()).set_product(1.0, dense_changes, moments, 0.0);
    }
    for (&row, added) in dense.iter().zip(added.chunks_exact(others.len())) {
        let gradients = &mut gradients[group.place(row, &others)];
        gradients.iter_mut().zip(added).for_each(|(gradient, added)| *gradient += added);
    }
    let sparse: Vec<usize> = (0..group.n_rows()).filter(|row| !dense.contains(row)).collect();
    run_fastest(Spread { n_columns: n, rows: &sparse, changes, panel, others, moments: factors.moments(), gradients });
}
