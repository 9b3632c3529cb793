//! Rounds a sub-block's columns of all rows of a group, with feedback from each column to the next ones.
//!
//! The integer scale and minimum are chosen among neighbours of those that the search gave, by what the sub-block costs when its errors
//! are fed back: `Σ D_j z_j²` with `z` what a column misses its target by.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::codec::{Codec, Lanes, Levels, N_GROUPS};
use super::factors::Factors;
use super::group::Group;
use crate::quant::dispatch::Kernel;
use crate::quant::lanes::{N_LANES, Simd};

/// The columns `start..start + N`.
pub(super) struct RoundColumns<'a, 'b, L, const N: usize> {
    codec: &'a Codec<L, N>,
    group: &'a mut Group<'b>,
    start: usize,
    /// `[j][i]` is the negated weight of column `i`'s error in column `j`, for `i < j`.
    weights: [[f32; N]; N],
    /// What missing the target of a column costs.
    costs: [f32; N],
}

impl<'a, 'b, L: Levels, const N: usize> RoundColumns<'a, 'b, L, N> {
    /// For rows whose scales are found.
    pub(super) fn new(codec: &'a Codec<L, N>, group: &'a mut Group<'b>, factors: &Factors, start: usize) -> Self {
        let n = group.n_columns;
        let mut weights = [[0.0; N]; N];
        for j in 0..N {
            for i in 0..j {
                weights[j][i] = -factors.weights()[(start + i) * n + start + j];
            }
        }
        let mut costs = [0.0; N];
        costs.copy_from_slice(&factors.importances()[start..start + N]);
        Self { codec, group, start, weights, costs }
    }
}

/// A rounded sub-block, with one choice of its scale and minimum in each lane of each group.
struct Trial<S: Simd, const N: usize> {
    /// By how much a column misses its target.
    misses: [[[f32; N_LANES]; N_GROUPS]; N],
    errors: [[[f32; N_LANES]; N_GROUPS]; N],
    levels: [[[f32; N_LANES]; N_GROUPS]; N],
    /// What the choices cost.
    costs: [S::Lanes; N_GROUPS],
}

impl<L: Levels, const N: usize> Kernel for RoundColumns<'_, '_, L, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codec, group, start, weights, costs } = self;
        let block_len = N * codec.n_subs;
        let n_blocks = group.n_columns / block_len;
        let (block, j) = (start / block_len, start % block_len / N);
        for row in 0..group.n_rows() {
            let at = row * group.n_columns + start;
            let scales = &mut group.scales[row * n_blocks + block];
            let (mut x, mut w) = ([0.0; N], [0.0; N]);
            x.copy_from_slice(&group.targets[at..at + N]);
            w.copy_from_slice(&group.weights[at..at + N]);
            let mut choices = [codec.neighbours.around(simd, scales.sub(j), 0); N_GROUPS];
            for idx in 1..N_GROUPS {
                choices[idx] = codec.neighbours.around(simd, scales.sub(j), idx);
            }
            let trial = round_all(simd, codec.levels, &x, &w, &choices, &weights, &costs);
            let (mut best, mut lane, mut least) = (0, 0, f32::INFINITY);
            for idx in 0..N_GROUPS {
                let smallest = simd.smallest(trial.costs[idx]);
                if smallest < least {
                    (best, lane, least) = (idx, simd.lane_of(trial.costs[idx], smallest), smallest);
                }
            }
            let choice = choices[best].choice(simd, lane);
            scales.set_sub(j, choice);
            let (step, offset) = (choice.step(), choice.offset());
            for i in 0..N {
                let level = trial.levels[i][best][lane];
                group.targets[at + i] = trial.misses[i][best][lane];
                group.levels[at + i] = level;
                group.errors[at + i] = (step * level + offset) - w[i];
            }
        }
    }
}

/// Rounds with the scale and minimum of each lane.
///
/// The groups are rounded side by side: a column waits for the error of the one before it, and each for its rounding.
#[inline(always)]
fn round_all<S: Simd, L: Levels, const N: usize>(
    simd: S,
    levels: L,
    x: &[f32; N],
    w: &[f32; N],
    choices: &[Lanes<S>; N_GROUPS],
    weights: &[[f32; N]; N],
    costs: &[f32; N],
) -> Trial<S, N> {
    let zeros = [[[0.0; N_LANES]; N_GROUPS]; N];
    let zero = [simd.zero(); N_GROUPS];
    let mut trial = Trial { misses: zeros, errors: zeros, levels: zeros, costs: zero };
    let (mut steps, mut offsets, mut inverses, mut shifts, mut last) = (zero, zero, zero, zero, zero);
    for (idx, choice) in choices.iter().enumerate() {
        steps[idx] = choice.d * choice.scale;
        offsets[idx] = simd.zero() - choice.dmin * choice.min;
        inverses[idx] = simd.inverse(steps[idx]);
        shifts[idx] = simd.zero() - offsets[idx] * inverses[idx];
    }
    for j in 0..N {
        let weights = &weights[j];
        // Two sums, and the last error, which has only just been computed, at the end.
        let (mut even, mut odd) = ([simd.splat(x[j]); N_GROUPS], zero);
        let n_known = j.saturating_sub(1);
        for i in 0..n_known / 2 {
            let (first, second) = (simd.splat(weights[2 * i]), simd.splat(weights[2 * i + 1]));
            for idx in 0..N_GROUPS {
                even[idx] = simd.mul_add(simd.load(&trial.errors[2 * i][idx]), first, even[idx]);
                odd[idx] = simd.mul_add(simd.load(&trial.errors[2 * i + 1][idx]), second, odd[idx]);
            }
        }
        if n_known % 2 == 1 {
            let weight = simd.splat(weights[n_known - 1]);
            for idx in 0..N_GROUPS {
                even[idx] = simd.mul_add(simd.load(&trial.errors[n_known - 1][idx]), weight, even[idx]);
            }
        }
        let weight = simd.splat(weights[n_known]);
        for idx in 0..N_GROUPS {
            let target = simd.mul_add(last[idx], weight, even[idx] + odd[idx]);
            let level = levels.nearest(simd, simd.mul_add(target, inverses[idx], shifts[idx]));
            // Of the decoded weight; its own rounding does not matter here.
            let error = simd.mul_add(level, steps[idx], offsets[idx] - simd.splat(w[j]));
            let miss = error + (simd.splat(w[j]) - target);
            trial.costs[idx] = simd.mul_add(miss * simd.splat(costs[j]), miss, trial.costs[idx]);
            trial.misses[j][idx] = simd.store(miss);
            trial.errors[j][idx] = simd.store(error);
            trial.levels[j][idx] = simd.store(level);
            last[idx] = error;
        }
    }
    trial
}
