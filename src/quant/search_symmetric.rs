//! Finds scales and quants of a super-block `x = d * scale[j] * level[q]` (Q3_K, Q6_K, IQ4_XS) or a block `x = d * level[q]`.
//!
//! As in `search_affine.rs`, without minima; scales are signed, because levels reach further down than up.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{Half, QK_K};
use super::lanes::{N_LANES, Simd, argmax, argmin, clamp, extremes, low_byte, max, round};
use super::search_affine::{HALF_ROUNDING, ROUNDING_TRIES, energy, inverse, nonzero_half};

/// Relative gain that decides between candidates of equal error.
const TIE: f32 = 1e-6;

/// The numbers that quants stand for.
pub(super) trait Levels: Copy {
    /// The level nearest to each number.
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes;

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
    /// Whether scales of the other sign are tried again when `d` is known.
    pub(super) flips: bool,
    /// Levels of the largest weight that a block alone tries where rounding decides.
    pub(super) peak_levels: &'static [f32],
    /// Factors on the first `d` that are tried too.
    pub(super) d_factors: &'static [f32],
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

/// Fits `J` sub-blocks of `N` weights each; `J * N` is 256. `w` are the weights' importances, positive and around 1.
#[inline(always)]
pub(super) fn fit_symmetric<S: Simd, L: Levels, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    grid: SymmetricGrid<L>,
) -> SymmetricFit<J> {
    let mut wanted = [0.0; J];
    for j in 0..J {
        wanted[j] = search(simd, &x[j], &w[j], grid);
    }
    let largest = wanted.iter().fold(0.0, |largest: f32, &scale| if scale.abs() > largest.abs() { scale } else { largest });

    // The largest scale gets the integer that has no opposite.
    let d = -largest / grid.scale_max;
    let (mut best, mut refitted) = start(simd, x, w, &wanted, d, grid);
    for &factor in grid.d_factors {
        let (state, refit) = start(simd, x, w, &wanted, d * factor, grid);
        if state.error < best.error {
            (best, refitted) = (state, refit);
        }
    }
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
            let (state, _) = start(simd, x, w, &wanted, d * grid.scale_max / (grid.scale_max - integer), grid);
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
    let (mut sum_uu, mut sum_xu) = (0.0, 0.0);
    for j in 0..J {
        let moved = best_neighbour(simd, &x[j], &w[j], state.d, state.scales[j], grid);
        state.scales[j] = moved.scale;
        state.error += moved.error;
        let (uu, xu) = moments(simd, &x[j], &w[j], state.d, moved.scale, grid);
        sum_uu += uu;
        sum_xu += xu;
    }
    (sum_uu > 0.0).then(|| nonzero_half(sum_xu / sum_uu)).filter(|&d| d != state.d)
}

/// The real scale of least weighted error among the candidates.
///
/// For given quants `l` the best scale is `Σwxl / Σwl²`, and it lowers the error by `(Σwxl)² / Σwl²`.
#[inline(always)]
pub(super) fn search<S: Simd, L: Levels, const N: usize>(simd: S, x: &[f32; N], w: &[f32; N], grid: SymmetricGrid<L>) -> f32 {
    let (low, high) = extremes(x);
    let peak = max(-low, high);
    if peak == 0.0 {
        return 0.0;
    }
    // Levels reach further down than up: with this sign the largest weight may take the lowest.
    let to_lowest = if high > -low { -1.0 } else { 1.0 };
    let mut best_scale = simd.zero();
    let mut best_gain = simd.zero();
    for group in 0..grid.n_step_groups {
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        let first = grid.first_step + grid.step_distance * (group * N_LANES) as f32;
        // A single large weight is represented exactly by many scales. The smallest of them leaves most room to the other
        // sub-blocks' scales. The margins are above the rounding of the sums.
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        let finer_first = simd.ramp(1.0 + TIE * (group * N_LANES) as f32, TIE);
        for (sign, finer_first) in [(to_lowest, finer_first), (-to_lowest, finer_first - simd.splat(2.0 * TIE))] {
            let inverse = simd.ramp(first, grid.step_distance) * simd.splat(sign / peak);
            let (mut xl, mut l2) = (simd.zero(), simd.zero());
            for i in 0..N {
                let l = grid.levels.nearest(simd, simd.splat(x[i]) * inverse);
                let wl = simd.splat(w[i]) * l;
                xl = xl + wl * simd.splat(x[i]);
                l2 = l2 + wl * l;
            }
            let scale = xl / l2;
            let gain = scale * xl * finer_first;
            best_scale = simd.where_above(gain, best_gain, scale, best_scale);
            best_gain = simd.where_above(gain, best_gain, gain, best_gain);
        }
    }
    simd.store(best_scale)[argmax(&simd.store(best_gain))]
}

/// A sub-block's integer scale with its weighted error.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    scale: f32,
    error: f32,
}

/// The best of eight scales around the present one, and of eight around its opposite, on the exact error.
#[inline(always)]
fn best_neighbour<S: Simd, L: Levels, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    d: f32,
    scale: f32,
    grid: SymmetricGrid<L>,
) -> Neighbour {
    let mut best = Neighbour { scale, error: f32::INFINITY };
    for sign in if grid.flips { &[1.0, -1.0][..] } else { &[1.0][..] } {
        let scales = simd.round_clamp(simd.ramp(scale * sign - 3.0, 1.0), -grid.scale_max, grid.scale_max - 1.0);
        let steps = simd.splat(d) * scales;
        let inverses = simd.inverse(steps);
        let mut error = simd.zero();
        for i in 0..N {
            let weight = simd.splat(x[i]);
            let l = grid.levels.nearest(simd, weight * inverses);
            let difference = l * steps - weight;
            error = error + difference * difference * simd.splat(w[i]);
        }
        let error = simd.store(error);
        let lane = argmin(&error);
        if error[lane] < best.error {
            best = Neighbour { scale: simd.store(scales)[lane], error: error[lane] };
        }
    }
    best
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
    let inverse = simd.splat(inverse(d * scale));
    let (mut uu, mut xu) = (simd.zero(), simd.zero());
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        let x = simd.load(x);
        let u = grid.levels.nearest(simd, x * inverse) * simd.splat(scale);
        let wu = simd.load(w) * u;
        uu = uu + wu * u;
        xu = xu + wu * x;
    }
    (simd.sum(uu), simd.sum(xu))
}
