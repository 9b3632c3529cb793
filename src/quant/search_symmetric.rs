//! Finds scales and quants of a super-block `x = d * scale[j] * level[q]` (Q3_K, Q6_K, IQ4_XS) or a block `x = d * level[q]`.
//!
//! As in `search_affine.rs`, without minima; scales are signed, because levels reach further down than up.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{Half, QK_K};
use super::lanes::{Kernel, N_LANES, Simd, clamp, low_byte, max, round};
use super::scale_of_scales::{Largest, scale_of_scales};
use super::search_affine::{HALF_ROUNDING, ROUNDING_TRIES, TIE, energy, inverse, nonzero_half};

/// The numbers that quants stand for.
pub(super) trait Levels: Copy {
    /// The level nearest to each number.
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes;

    /// The level nearest to each `a * b`.
    #[inline(always)]
    fn nearest_to_product<S: Simd>(self, simd: S, a: S::Lanes, b: S::Lanes) -> S::Lanes {
        self.nearest(simd, a * b)
    }

    /// The quant, counted from the lowest, of the level nearest to the number.
    fn quant(self, number: f32) -> u8;
}

/// The integers in `-q_max..q_max`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub(super) q_max: f32,
}

impl Levels for Linear {
    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.round_clamp(numbers, -self.q_max, self.q_max - 1.0)
    }

    #[inline(always)]
    fn nearest_to_product<S: Simd>(self, simd: S, a: S::Lanes, b: S::Lanes) -> S::Lanes {
        simd.round_product(a, b, -self.q_max, self.q_max - 1.0)
    }

    #[inline(always)]
    fn quant(self, number: f32) -> u8 {
        low_byte(clamp(round(number), -self.q_max, self.q_max - 1.0) + self.q_max)
    }
}

/// What a type can represent, and how hard to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct SymmetricGrid<L> {
    /// What quants stand for.
    pub(super) levels: L,
    /// Integer scales are in `-scale_max..scale_max`.
    pub(super) scale_max: f32,
    /// Groups of eight candidates for the level of the largest magnitude, each tried with both signs.
    pub(super) n_step_groups: usize,
    /// Smallest candidate.
    pub(super) first_step: f32,
    /// Distance between candidates.
    pub(super) step_distance: f32,
    /// Levels that are tried for the largest weight of a single block where rounding decides.
    pub(super) peak_levels: &'static [f32],
    /// Candidates for what the largest scale becomes, which decide `d`.
    pub(super) d_candidates: Largest,
    /// Rounds of moving integer scales and refitting `d`.
    pub(super) n_rounds: usize,
}

/// A super-block as it will be decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct SymmetricFit<const J: usize> {
    /// Scale of the scales.
    pub(super) d: Half,
    /// Integer scales.
    pub(super) scales: [i8; J],
    /// Quants, counted from the lowest.
    pub(super) q: [u8; QK_K],
}

/// Fits `J` sub-blocks of `N` weights each; `J * N` is 256.
pub(super) struct FitSymmetric<'a, L, const N: usize, const J: usize> {
    pub(super) x: &'a [[f32; N]; J],
    /// Importances, positive and around 1.
    pub(super) w: &'a [[f32; N]; J],
    pub(super) grid: SymmetricGrid<L>,
}

impl<L: Levels, const N: usize, const J: usize> Kernel for FitSymmetric<'_, L, N, J> {
    type Output = SymmetricFit<J>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> SymmetricFit<J> {
        fit_symmetric(simd, self.x, self.w, self.grid)
    }
}

#[inline(always)]
fn fit_symmetric<S: Simd, L: Levels, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    grid: SymmetricGrid<L>,
) -> SymmetricFit<J> {
    let (mut wanted, mut curvatures) = ([0.0; J], [0.0; J]);
    for j in 0..J {
        (wanted[j], curvatures[j]) = search(simd, &x[j], &w[j], grid);
    }
    let largest = wanted.iter().fold(0.0, |largest: f32, &scale| if scale.abs() > largest.abs() { scale } else { largest });

    // The largest scale gets the integer that has no opposite.
    let range = (-grid.scale_max, grid.scale_max - 1.0);
    let d = scale_of_scales(simd, &wanted, &curvatures, -largest, range, grid.d_candidates);
    let (mut best, mut refitted) = start(simd, x, w, &wanted, d, grid);
    for _ in 1..grid.n_rounds {
        let Some(d) = refitted else { break };
        let mut state = State { d, ..best };
        refitted = improve(simd, x, w, &mut state, grid);
        if state.error >= best.error {
            break;
        }
        best = state;
    }
    if best.error > 0.0 && best.error < HALF_ROUNDING * energy(simd, x.as_flattened(), w.as_flattened()) {
        for integer in ROUNDING_TRIES {
            let (state, _) = start(simd, x, w, &wanted, -largest / (grid.scale_max - integer), grid);
            if state.error < best.error {
                best = state;
            }
        }
    }

    let mut fit =
        SymmetricFit { d: Half::from_f32(best.d), scales: best.scales.map(|scale| low_byte(scale).cast_signed()), q: [0; QK_K] };
    for j in 0..J {
        let inverse = inverse(best.d * best.scales[j]);
        for (q, &weight) in fit.q[N * j..N * (j + 1)].iter_mut().zip(&x[j]) {
            *q = grid.levels.quant(weight * inverse);
        }
    }
    fit
}

/// A choice of everything but the quants, with its error.
#[derive(Debug, Clone, Copy)]
struct State<const J: usize> {
    d: f32,
    scales: [f32; J],
    error: f32,
}

/// Integer scales for this `d`, improved once.
#[inline(always)]
fn start<S: Simd, L: Levels, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    wanted: &[f32; J],
    d: f32,
    grid: SymmetricGrid<L>,
) -> (State<J>, Option<f32>) {
    let mut state = State { d: nonzero_half(d), scales: [0.0; J], error: 0.0 };
    for j in 0..J {
        state.scales[j] = clamp(round(wanted[j] * inverse(state.d)), -grid.scale_max, grid.scale_max - 1.0);
    }
    let refitted = improve(simd, x, w, &mut state, grid);
    (state, refitted)
}

/// Moves integer scales to their best neighbours, and returns the `d` that fits them better, if any does.
#[inline(always)]
fn improve<S: Simd, L: Levels, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    state: &mut State<J>,
    grid: SymmetricGrid<L>,
) -> Option<f32> {
    state.error = 0.0;
    let mut sums = (simd.zero(), simd.zero());
    for j in 0..J {
        let moved = best_neighbour(simd, &x[j], &w[j], state.d, state.scales[j], grid);
        state.scales[j] = moved.scale;
        state.error += moved.error;
        sums = add_moments(simd, &x[j], &w[j], state.d, moved.scale, grid, sums);
    }
    let (sum_uu, sum_xu) = (simd.sum(sums.0), simd.sum(sums.1));
    (sum_uu > 0.0).then(|| nonzero_half(sum_xu / sum_uu)).filter(|&d| d != state.d)
}

/// The real scale of least weighted error among the candidates, and the curvature of the error there, `Σwl²`.
///
/// For given quants `l` the best scale is `Σwxl / Σwl²`, and it lowers the error by `(Σwxl)² / Σwl²`.
#[inline(always)]
pub(super) fn search<S: Simd, L: Levels, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    grid: SymmetricGrid<L>,
) -> (f32, f32) {
    let (low, high) = simd.extremes(x);
    let peak = max(-low, high);
    if peak == 0.0 {
        return (0.0, 0.0);
    }
    // Levels reach further down than up: with this sign the largest weight may take the lowest.
    let to_lowest = if high > -low { -1.0 } else { 1.0 };
    let (mut best_scale, mut best_l2, mut best_gain) = (simd.zero(), simd.zero(), simd.zero());
    for group in 0..grid.n_step_groups {
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        let first = grid.first_step + grid.step_distance * (group * N_LANES) as f32;
        // A single large weight is represented exactly by many scales. The smallest of them leaves most room to the other
        // sub-blocks' scales. The margins are above the rounding of the sums.
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        let finer_first = simd.ramp(1.0 + TIE * (group * N_LANES) as f32, TIE);
        for (sign, finer_first) in [(to_lowest, finer_first), (-to_lowest, finer_first - simd.splat(2.0 * TIE))] {
            let inverse = simd.ramp(first, grid.step_distance) * simd.splat(sign / peak);
            let [xl, l2] = level_sums(simd, x, w, inverse, grid.levels);
            let scale = xl / l2;
            let gain = scale * xl * finer_first;
            best_scale = simd.where_above(gain, best_gain, scale, best_scale);
            best_l2 = simd.where_above(gain, best_gain, l2, best_l2);
            best_gain = simd.where_above(gain, best_gain, gain, best_gain);
        }
    }
    let lane = simd.argmax(best_gain);
    (simd.store(best_scale)[lane], simd.store(best_l2)[lane])
}

/// `Σwxl` and `Σwl²` of the levels `l` that each lane's inverse scale gives.
///
/// Two sums of each, because an addition takes longer than all the work between two additions to one sum.
#[inline(always)]
pub(super) fn level_sums<S: Simd, L: Levels, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    inverses: S::Lanes,
    levels: L,
) -> [S::Lanes; 2] {
    let (mut xl, mut l2) = ([simd.zero(); 2], [simd.zero(); 2]);
    for (x, w) in x.as_chunks::<2>().0.iter().zip(w.as_chunks::<2>().0) {
        for k in 0..2 {
            let x = simd.splat(x[k]);
            let l = levels.nearest_to_product(simd, x, inverses);
            let wl = simd.splat(w[k]) * l;
            xl[k] = simd.mul_add(wl, x, xl[k]);
            l2[k] = simd.mul_add(wl, l, l2[k]);
        }
    }
    [xl[0] + xl[1], l2[0] + l2[1]]
}

/// A sub-block's integer scale with its weighted error.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    scale: f32,
    error: f32,
}

/// Steps to the neighbours that are tried. Among equals the first one counts.
const NEIGHBOURS: [f32; N_LANES] = [0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0];

/// The best of the neighbours of the present scale, by the exact error.
#[inline(always)]
fn best_neighbour<S: Simd, L: Levels, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    d: f32,
    scale: f32,
    grid: SymmetricGrid<L>,
) -> Neighbour {
    let scales = simd.round_clamp(simd.splat(scale) + simd.load(&NEIGHBOURS), -grid.scale_max, grid.scale_max - 1.0);
    let steps = simd.splat(d) * scales;
    let (inverses, minus_steps) = (simd.inverse(steps), simd.zero() - steps);
    let mut errors = [simd.zero(); 2];
    for (x, w) in x.as_chunks::<2>().0.iter().zip(w.as_chunks::<2>().0) {
        for k in 0..2 {
            let x = simd.splat(x[k]);
            let l = grid.levels.nearest_to_product(simd, x, inverses);
            let difference = simd.mul_add(l, minus_steps, x);
            errors[k] = simd.mul_add(difference * simd.splat(w[k]), difference, errors[k]);
        }
    }
    let errors = errors[0] + errors[1];
    let error = simd.smallest(errors);
    Neighbour { scale: simd.store(scales)[simd.lane_of(errors, error)], error }
}

/// `Σwu²` and `Σwxu` with `u = scale * level`.
#[inline(always)]
pub(super) fn moments<S: Simd, L: Levels, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    d: f32,
    scale: f32,
    grid: SymmetricGrid<L>,
) -> (f32, f32) {
    let (uu, xu) = add_moments(simd, x, w, d, scale, grid, (simd.zero(), simd.zero()));
    (simd.sum(uu), simd.sum(xu))
}

/// [`moments`], added to sums that are spread over lanes.
#[inline(always)]
fn add_moments<S: Simd, L: Levels, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    d: f32,
    scale: f32,
    grid: SymmetricGrid<L>,
    (mut uu, mut xu): (S::Lanes, S::Lanes),
) -> (S::Lanes, S::Lanes) {
    let inverse = simd.splat(inverse(d * scale));
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        let x = simd.load(x);
        let u = grid.levels.nearest_to_product(simd, x, inverse) * simd.splat(scale);
        let wu = simd.load(w) * u;
        uu = simd.mul_add(wu, u, uu);
        xu = simd.mul_add(wu, x, xu);
    }
    (uu, xu)
}
