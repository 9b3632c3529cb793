//! Finds the scale, and the offset if there is one, of one block of 32 (Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL).
//!
//! Candidates are found as for the sub-blocks of the k-quants, then quants and least squares alternate, at last with scale and
//! offset as the file will hold them.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::Half;
use super::lanes::{Kernel, N_LANES, Simd, clamp, low_byte, round};
use super::scale_of_scales::Largest;
use super::search_affine::{self, AffineGrid, Candidates, energy, inverse, nonzero_half, quant_sums};
use super::search_symmetric::{self, Levels, Linear, SymmetricGrid, moments};

/// Rounds of least squares.
const N_ROUNDS: usize = 8;

/// Rounds of least squares before scales and offsets are rounded.
const N_REFINEMENTS: usize = 5;

/// How many of the best starts are tried with scale and offset rounded.
const N_ROUNDED: usize = 2;

/// Row `i` has 1 in lane `i` and 0 in the others.
const ONE_LANE: [[f32; N_LANES]; N_LANES] = {
    let mut one = [[0.0; N_LANES]; N_LANES];
    let mut lane = 0;
    while lane < N_LANES {
        one[lane][lane] = 1.0;
        lane += 1;
    }
    one
};

/// Relative weighted error of a block below which [`least_rounded`] looks for another scale.
const ROUNDED_SHARE: f32 = 4e-6;

/// Added to importances of mean 1, so that no part of a block is left to chance where the matrix says zero.
const FLOOR: f32 = 1e-6;

/// How many mean squares of the block are added to squared magnitudes, as for most k-quants.
///
/// ggml adds one mean square of the row instead, which is more than that of most blocks where few columns are large.
const BLOCK_MEAN_SQUARES: f32 = 2.0;

/// Candidates for the quant of the largest magnitude: from 1.3 below `q_max` to 1.4 above, with both signs.
pub(super) const fn symmetric_grid(q_max: f32) -> SymmetricGrid<Linear> {
    SymmetricGrid {
        levels: Linear { q_max },
        scale_max: 1.0,
        n_step_groups: 2,
        first_step: q_max - 1.3,
        step_distance: 0.18,
        peak_levels: &[],
        d_candidates: Largest::only(1.0),
        n_rounds: 1,
    }
}

/// Candidates around the full range, and some that clip the smallest or the largest weights, which may be of no importance.
///
/// The best of each eight is refined: where few levels are left for most weights, many starts end in different fits.
static STARTS: [Candidates; 8] = [
    Candidates { origin: 1.0, first: -0.9, distance: 0.17 },
    Candidates { origin: 1.0, first: 0.46, distance: 0.17 },
    Candidates { origin: 1.0, first: -0.815, distance: 0.17 },
    Candidates { origin: 1.0, first: 0.545, distance: 0.17 },
    Candidates { origin: 1.0, first: 2.0, distance: 1.5 },
    Candidates { origin: 0.96, first: -0.9, distance: 0.25 },
    Candidates { origin: 0.9, first: -0.9, distance: 0.25 },
    Candidates { origin: 0.6, first: -0.5, distance: 0.7 },
];

/// The search from one of the [`STARTS`].
#[inline(always)]
fn affine_grid(q_max: f32, start: &'static Candidates) -> AffineGrid {
    AffineGrid {
        q_max,
        scale_max: 1.0,
        candidates: std::slice::from_ref(start),
        d_candidates: Largest::only(1.0),
        n_rounds: 1,
        n_first: 1,
    }
}

/// Importances of a block's weights from those of their columns, of mean 1; `None` when all columns have zero.
///
/// As ggml does (`quantize_row_*_impl` in ggml-quants.c, llama.cpp of 2026-08-21) a column's importance is multiplied by
/// `sqrt(mean_squares * mean(x²) + x²)`, or by nothing where magnitudes do not matter. The mean is taken over the block: ggml
/// takes the row's for blocks of 32, which would make bytes depend on where a row is cut, see [`BLOCK_MEAN_SQUARES`].
#[inline(always)]
pub(super) fn column_importance<const N: usize>(
    simd: impl Simd,
    x: &[f32; N],
    columns: &[f32; N],
    mean_squares: Option<f32>,
) -> Option<[f32; N]> {
    let (_, largest) = simd.extremes(columns);
    if largest < f32::MIN_POSITIVE {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let per_weight = 1.0 / N as f32;
    let mut w = columns.map(|column| column / largest);
    if let Some(mean_squares) = mean_squares {
        let mut sum = simd.zero();
        for chunk in x.as_chunks::<N_LANES>().0 {
            sum = sum + simd.load(chunk) * simd.load(chunk);
        }
        let per_rms = inverse((simd.sum(sum) * per_weight).sqrt());
        for i in 0..N {
            let magnitude = x[i] * per_rms;
            w[i] *= (mean_squares + magnitude * magnitude).sqrt();
        }
    }
    let mut sum = simd.zero();
    for chunk in w.as_chunks::<N_LANES>().0 {
        sum = sum + simd.load(chunk);
    }
    let per_mean = inverse(simd.sum(sum) * per_weight);
    for w in &mut w {
        *w = *w * per_mean + FLOOR;
    }
    Some(w)
}

/// Importances of a block's weights: by those of the columns, else by magnitude alone.
#[inline(always)]
fn block_importance(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> [f32; 32] {
    // No closures: they would not be compiled for the caller's instruction set.
    let mut columns = match columns {
        Some(columns) => *columns,
        None => [1.0; 32],
    };
    if simd.extremes(&columns).1 < f32::MIN_POSITIVE {
        columns = [1.0; 32];
    }
    match column_importance(simd, x, &columns, Some(BLOCK_MEAN_SQUARES)) {
        Some(w) => w,
        None => columns,
    }
}

/// Scale and quants with `x = d * (q - q_max)` of least weighted error.
#[inline(always)]
pub(super) fn symmetric(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>, q_max: f32) -> (f32, [u8; 32]) {
    simd.call(FitBlock { x, w: &block_importance(simd, x, columns), grid: symmetric_grid(q_max) })
}

/// Finds scale and quants with `x = d * level[q]` of least weighted error.
pub(super) struct FitBlock<'a, L> {
    pub(super) x: &'a [f32; 32],
    /// Importances, positive and around 1.
    pub(super) w: &'a [f32; 32],
    pub(super) grid: SymmetricGrid<L>,
}

impl<L: Levels> Kernel for FitBlock<'_, L> {
    type Output = (f32, [u8; 32]);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        fit_block(simd, self.x, self.w, self.grid)
    }
}

#[inline(always)]
fn fit_block<L: Levels>(simd: impl Simd, x: &[f32; 32], w: &[f32; 32], grid: SymmetricGrid<L>) -> (f32, [u8; 32]) {
    let (mut best_d, mut best_gain) = (0.0, 0.0);
    let (mut wanted, _) = search_symmetric::search(simd, x, w, grid);
    for _ in 0..N_ROUNDS {
        let d = nonzero_half(wanted);
        let (uu, xu) = moments(simd, x, w, d, 1.0, grid);
        // By how much the weighted error is below that of all zeros.
        let gain = d * (2.0 * xu - d * uu);
        if gain <= best_gain {
            break;
        }
        (best_d, best_gain) = (d, gain);
        wanted = xu * inverse(uu);
    }
    best_d = least_rounded(simd, x, w, best_d, grid);
    let inverse = inverse(best_d);
    let mut q = [0; 32];
    for (q, &weight) in q.iter_mut().zip(x) {
        *q = grid.levels.quant(weight * inverse);
    }
    (best_d, q)
}

/// Of the scales that put the largest weight on a level, the best one if it beats `d`: where one weight or one magnitude decides, the
/// rounding of the scale to f16 is most of the error.
#[inline(always)]
fn least_rounded<L: Levels>(simd: impl Simd, x: &[f32; 32], w: &[f32; 32], d: f32, grid: SymmetricGrid<L>) -> f32 {
    if grid.peak_levels.is_empty() {
        return d;
    }
    let (low, high) = simd.extremes(x);
    let peak = if high > -low { high } else { low };
    let (mut best_d, mut least) = (d, error(simd, x, w, d, grid));
    if least > ROUNDED_SHARE * energy(simd, x, w) {
        return d;
    }
    for &level in grid.peak_levels {
        let d = nonzero_half(peak / level);
        let error = error(simd, x, w, d, grid);
        if error < least {
            (best_d, least) = (d, error);
        }
    }
    best_d
}

/// The weighted error of `x = d * level`.
#[inline(always)]
fn error<L: Levels>(simd: impl Simd, x: &[f32; 32], w: &[f32; 32], d: f32, grid: SymmetricGrid<L>) -> f32 {
    let (step, inverse) = (simd.splat(d), simd.splat(inverse(d)));
    let mut error = simd.zero();
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        let x = simd.load(x);
        let difference = grid.levels.nearest(simd, x * inverse) * step - x;
        error = error + difference * difference * simd.load(w);
    }
    simd.sum(error)
}

/// Scale, offset and quants with `x = d * q + m` and `q` in `0..=q_max` of least weighted error.
#[inline(always)]
pub(super) fn affine(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>, q_max: f32) -> (f32, f32, [u8; 32]) {
    simd.call(FitAffineBlock { x, w: &block_importance(simd, x, columns), q_max })
}

/// Finds what [`affine`] does.
pub(super) struct FitAffineBlock<'a> {
    pub(super) x: &'a [f32; 32],
    /// Importances, positive and around 1.
    pub(super) w: &'a [f32; 32],
    pub(super) q_max: f32,
}

impl Kernel for FitAffineBlock<'_> {
    type Output = (f32, f32, [u8; 32]);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        fit_affine_block(simd, self.x, self.w, self.q_max)
    }
}

#[inline(always)]
fn fit_affine_block(simd: impl Simd, x: &[f32; 32], w: &[f32; 32], q_max: f32) -> (f32, f32, [u8; 32]) {
    // The search finds only offsets that are not positive. Weights that were moved below zero always have such an offset.
    let (_, high) = simd.extremes(x);
    let mut moved = *x;
    for weight in &mut moved {
        *weight -= high;
    }
    let (mut scales, mut offsets) = ([0.0; N_LANES], [0.0; N_LANES]);
    for (start, (scale, offset)) in STARTS.iter().zip(scales.iter_mut().zip(&mut offsets)) {
        let wanted = search_affine::search(simd, &moved, w, affine_grid(q_max, start));
        (*scale, *offset) = (wanted.scale, -wanted.offset);
    }
    let (scales, offsets, gains) = refined(simd, &moved, w, simd.load(&scales), simd.load(&offsets), q_max);
    let (scales, offsets, mut gains) = (simd.store(scales), simd.store(offsets), gains);
    let mut best = BlockFit { d: 0.0, m: 0.0, error: f32::INFINITY };
    for _ in 0..N_ROUNDED {
        let lane = simd.argmax(gains);
        gains = simd.where_above(simd.load(&ONE_LANE[lane]), simd.zero(), simd.splat(f32::NEG_INFINITY), gains);
        let (mut d, mut m) = (scales[lane], high + offsets[lane]);
        let mut best_of_start = f32::INFINITY;
        for _ in 0..N_ROUNDS {
            let (fit, next) = fitted(simd, x, w, d, m, q_max);
            if fit.error >= best_of_start {
                break;
            }
            best_of_start = fit.error;
            if fit.error < best.error {
                best = fit;
            }
            let Some(next) = next else { break };
            (d, m) = next;
        }
    }
    let inverse = inverse(best.d);
    let mut q = [0; 32];
    for (q, &weight) in q.iter_mut().zip(x) {
        *q = low_byte(clamp(round((weight - best.m) * inverse), 0.0, q_max));
    }
    (best.d, best.m, q)
}

/// Scales and offsets after some rounds of quants and least squares in turns, one start in each lane, and by how much the weighted error
/// is then below that of all zeros.
#[inline(always)]
fn refined<S: Simd>(
    simd: S,
    x: &[f32; 32],
    w: &[f32; 32],
    mut scales: S::Lanes,
    mut offsets: S::Lanes,
    q_max: f32,
) -> (S::Lanes, S::Lanes, S::Lanes) {
    let (mut sum_w, mut sum_wx) = (simd.zero(), simd.zero());
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        sum_w = sum_w + simd.load(w);
        sum_wx = simd.mul_add(simd.load(w), simd.load(x), sum_wx);
    }
    let (sum_w, sum_wx) = (simd.splat(simd.sum(sum_w)), simd.splat(simd.sum(sum_wx)));
    let mut gains = simd.zero();
    for _ in 0..N_REFINEMENTS {
        let inverses = simd.inverse(scales);
        let [l1, l2, xl] = quant_sums(simd, x, w, offsets, inverses, q_max);
        let determinant = sum_w * l2 - l1 * l1;
        // Where all quants are equal it is rounding noise.
        let noise = simd.splat(1e-5) * sum_w * l2;
        scales = simd.where_above(determinant, noise, (sum_w * xl - sum_wx * l1) / determinant, scales);
        offsets = simd.where_above(determinant, noise, (l2 * sum_wx - l1 * xl) / determinant, offsets);
        gains = simd.where_above(determinant, noise, scales * xl + offsets * sum_wx, simd.zero());
    }
    (scales, offsets, gains)
}

/// Scale and offset as a file holds them, with the weighted error of the quants that they give.
#[derive(Debug, Clone, Copy)]
struct BlockFit {
    d: f32,
    m: f32,
    error: f32,
}

/// Rounds scale and offset to f16, and returns what they give and the ones that would fit the same quants better.
#[inline(always)]
fn fitted(simd: impl Simd, x: &[f32; 32], w: &[f32; 32], d: f32, m: f32, q_max: f32) -> (BlockFit, Option<(f32, f32)>) {
    /// The largest f16.
    const LARGEST: f32 = 65504.0;
    let d = nonzero_half(d);
    let m = Half::from_f32(clamp(m, -LARGEST, LARGEST)).to_f32();
    let (minus_step, offset, inverse) = (simd.splat(-d), simd.splat(m), simd.splat(inverse(d)));
    let (mut error, mut w1, mut wx) = (simd.zero(), simd.zero(), simd.zero());
    let (mut q1, mut q2, mut xq) = (simd.zero(), simd.zero(), simd.zero());
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        let (w, shifted) = (simd.load(w), simd.load(x) - offset);
        let q = simd.round_product(shifted, inverse, 0.0, q_max);
        let (difference, wq) = (simd.mul_add(q, minus_step, shifted), w * q);
        error = simd.mul_add(difference * w, difference, error);
        w1 = w1 + w;
        wx = simd.mul_add(w, shifted, wx);
        q1 = q1 + wq;
        q2 = simd.mul_add(wq, q, q2);
        xq = simd.mul_add(wq, shifted, xq);
    }
    let (w1, wx, q1, q2, xq) = (simd.sum(w1), simd.sum(wx), simd.sum(q1), simd.sum(q2), simd.sum(xq));
    let determinant = w1 * q2 - q1 * q1;
    let next = (determinant > 1e-5 * w1 * q2).then(|| ((w1 * xq - wx * q1) / determinant, m + (q2 * wx - q1 * xq) / determinant));
    (BlockFit { d, m, error: simd.sum(error) }, next)
}
