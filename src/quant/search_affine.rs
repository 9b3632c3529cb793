//! Finds scales, minima and quants of a super-block `x = d * scale[j] * q - dmin * min[j]` (Q2_K, Q4_K, Q5_K).
//!
//! Three steps. Each sub-block gets the real scale and offset of least weighted error among candidates that stretch or clip
//! its range, offsets and scales by least squares. The largest of them decide `d` and `dmin`. Then integer scales and minima
//! move to better neighbours under the exact error, `d` and `dmin` are refitted by least squares, and so on until it stops
//! paying. All that the file can hold is decided on the exact error of what will be decoded.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{Half, QK_K};
use super::lanes::{N_LANES, Simd, argmax, argmin, clamp, extremes, low_byte, max, min, round};

/// What a type can represent, and how hard to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct AffineGrid {
    /// Largest quant.
    pub(super) q_max: f32,
    /// Largest integer scale and minimum.
    pub(super) scale_max: f32,
    /// Candidates for the real scale of a sub-block.
    pub(super) candidates: &'static [Candidates],
    /// Factors on the first `d` that are tried too.
    pub(super) d_factors: &'static [f32],
    /// Rounds of moving integer scales and refitting `d` and `dmin`.
    pub(super) n_rounds: usize,
}

/// Eight quantizations of a sub-block that are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates {
    /// Where quant 0 lies, as a fraction of the smallest weight. 1 keeps all weights in range; 0 is right when few large weights
    /// stand against many small ones, which then share a level.
    pub(super) origin: f32,
    /// Steps between there and the largest weight, less `q_max`: positive ones clip it.
    pub(super) first: f32,
    /// From one of the eight to the next.
    pub(super) distance: f32,
}

/// A super-block as it will be decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct AffineFit<const J: usize> {
    /// Scale of the scales.
    pub(super) d: Half,
    /// Scale of the minima.
    pub(super) dmin: Half,
    /// Integer scales.
    pub(super) scales: [u8; J],
    /// Integer minima.
    pub(super) mins: [u8; J],
    /// Quants.
    pub(super) q: [u8; QK_K],
}

/// Fits `J` sub-blocks of `N` weights each; `J * N` is 256. `w` are the weights' importances, positive and around 1.
#[inline(always)]
pub(super) fn fit_affine<S: Simd, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    grid: AffineGrid,
) -> AffineFit<J> {
    let mut wanted = [SubScale::ZERO; J];
    for j in 0..J {
        wanted[j] = search(simd, &x[j], &w[j], grid);
    }
    let largest = wanted.iter().fold(SubScale::ZERO, |largest, sub| SubScale {
        scale: max(sub.scale, largest.scale),
        offset: max(sub.offset, largest.offset),
    });

    let (d, dmin) = (largest.scale / grid.scale_max, largest.offset / grid.scale_max);
    let (mut best, mut refitted) = start(simd, x, w, &wanted, d, dmin, grid);
    for &factor in grid.d_factors {
        let (state, refit) = start(simd, x, w, &wanted, d * factor, dmin, grid);
        if state.error < best.error {
            (best, refitted) = (state, refit);
        }
    }
    for _ in 1..grid.n_rounds {
        let Some((d, dmin)) = refitted else { break };
        let mut state = State { d, dmin, ..best };
        refitted = improve(simd, x, w, &mut state, grid);
        if state.error >= best.error {
            break;
        }
        best = state;
    }
    if best.error > 0.0 && best.error < HALF_ROUNDING * energy(simd, x.as_flattened(), w.as_flattened()) {
        for integer in ROUNDING_TRIES {
            let factor = grid.scale_max / (grid.scale_max - integer);
            let (state, _) = start(simd, x, w, &wanted, d * factor, dmin * factor, grid);
            if state.error < best.error {
                best = state;
            }
        }
    }

    let mut fit = AffineFit {
        d: Half::from_f32(best.d),
        dmin: Half::from_f32(best.dmin),
        scales: best.scales.map(low_byte),
        mins: best.mins.map(low_byte),
        q: [0; QK_K],
    };
    for j in 0..J {
        let (scale, offset) = (best.d * best.scales[j], best.dmin * best.mins[j]);
        let inverse = inverse(scale);
        for (q, &weight) in fit.q[N * j..N * (j + 1)].iter_mut().zip(&x[j]) {
            *q = low_byte(clamp(round((weight + offset) * inverse), 0.0, grid.q_max));
        }
    }
    fit
}

/// Real scale and (negated) offset of a sub-block: `x = scale * q - offset`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubScale {
    /// From one quant to the next.
    pub(super) scale: f32,
    /// What quant 0 stands for, with the opposite sign.
    pub(super) offset: f32,
}

impl SubScale {
    const ZERO: Self = Self { scale: 0.0, offset: 0.0 };
}

/// A choice of everything but the quants, with its error.
#[derive(Debug, Clone, Copy)]
struct State<const J: usize> {
    d: f32,
    dmin: f32,
    scales: [f32; J],
    mins: [f32; J],
    error: f32,
}

/// Integer scales and minima for these `d` and `dmin`, improved once.
#[inline(always)]
fn start<S: Simd, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    wanted: &[SubScale; J],
    d: f32,
    dmin: f32,
    grid: AffineGrid,
) -> (State<J>, Option<(f32, f32)>) {
    let mut state = State { d: nonzero_half(d), dmin: nonzero_half(dmin), scales: [0.0; J], mins: [0.0; J], error: 0.0 };
    for j in 0..J {
        state.scales[j] = clamp(round(wanted[j].scale * inverse(state.d)), 0.0, grid.scale_max);
        state.mins[j] = clamp(round(wanted[j].offset * inverse(state.dmin)), 0.0, grid.scale_max);
    }
    let refitted = improve(simd, x, w, &mut state, grid);
    (state, refitted)
}

/// Moves integer scales and minima to their best neighbours, and returns the `d` and `dmin` that fit them better, if any do.
#[inline(always)]
fn improve<S: Simd, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    w: &[[f32; N]; J],
    state: &mut State<J>,
    grid: AffineGrid,
) -> Option<(f32, f32)> {
    state.error = 0.0;
    let mut equations = Equations::default();
    for j in 0..J {
        let moved = best_neighbour(simd, &x[j], &w[j], state, j, grid);
        (state.scales[j], state.mins[j]) = (moved.scale, moved.min);
        state.error += moved.error;
        equations.add(simd, &x[j], &w[j], state, j, grid);
    }
    equations.solve(state).filter(|&refitted| refitted != (state.d, state.dmin))
}

/// The real scale and offset of least weighted error among the candidates.
///
/// For given quants `l`, scale and offset follow by least squares from running sums, and so does the error:
/// `Σwx² - (a Σwxl + b Σwx)` for `x = a l + b`. Only the subtrahend, the gain, is compared.
#[inline(always)]
pub(super) fn search<S: Simd, const N: usize>(simd: S, x: &[f32; N], w: &[f32; N], grid: AffineGrid) -> SubScale {
    let (low, high) = extremes(x);
    let low = min(low, 0.0);
    let (mut sum_w, mut sum_wx) = (simd.zero(), simd.zero());
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        sum_w = sum_w + simd.load(w);
        sum_wx = sum_wx + simd.load(w) * simd.load(x);
    }
    let (sum_w, sum_wx) = (simd.sum(sum_w), simd.sum(sum_wx));
    // Without any scale, the mean: right for constant negative weights.
    let mean = min(sum_wx / sum_w, 0.0);
    let (mut best_gain, mut best_scale, mut best_offset) = (simd.splat(mean * sum_wx), simd.zero(), simd.splat(mean));
    let (sum_w, sum_wx) = (simd.splat(sum_w), simd.splat(sum_wx));
    for candidates in grid.candidates {
        let origin = low * candidates.origin;
        if high <= origin {
            continue;
        }
        let per_step = 1.0 / (high - origin);
        let inverse = simd.ramp(grid.q_max + candidates.first, candidates.distance) * simd.splat(per_step);
        let (mut l1, mut l2, mut xl) = (simd.zero(), simd.zero(), simd.zero());
        for i in 0..N {
            let l = simd.round_clamp(simd.splat(x[i] - origin) * inverse, 0.0, grid.q_max);
            let wl = simd.splat(w[i]) * l;
            l1 = l1 + wl;
            l2 = l2 + wl * l;
            xl = xl + wl * simd.splat(x[i]);
        }
        let determinant = sum_w * l2 - l1 * l1;
        let scale = (sum_w * xl - sum_wx * l1) / determinant;
        let offset = (l2 * sum_wx - l1 * xl) / determinant;
        // Where all quants are equal the determinant is rounding noise; and the minimum of a file is subtracted, so an
        // offset cannot be positive.
        let noise = simd.splat(1e-5) * sum_w * l2;
        let scale_alone = xl / l2;
        let offset = simd.where_above(determinant, noise, offset, simd.splat(1.0));
        let scale = simd.where_above(offset, simd.zero(), scale_alone, scale);
        let offset = simd.where_above(offset, simd.zero(), simd.zero(), offset);
        let gain = simd.where_above(scale, simd.zero(), scale * xl + offset * sum_wx, simd.zero());
        best_scale = simd.where_above(gain, best_gain, scale, best_scale);
        best_offset = simd.where_above(gain, best_gain, offset, best_offset);
        best_gain = simd.where_above(gain, best_gain, gain, best_gain);
    }
    let lane = argmax(&simd.store(best_gain));
    SubScale { scale: simd.store(best_scale)[lane], offset: -simd.store(best_offset)[lane] }
}

/// A sub-block's integer scale and minimum with its weighted error.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    scale: f32,
    min: f32,
    error: f32,
}

/// The best of three minima and eight scales around the present ones, on the exact error.
#[inline(always)]
fn best_neighbour<S: Simd, const N: usize, const J: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    state: &State<J>,
    j: usize,
    grid: AffineGrid,
) -> Neighbour {
    let scales = simd.round_clamp(simd.ramp(state.scales[j] - 3.0, 1.0), 0.0, grid.scale_max);
    let steps = simd.splat(state.d) * scales;
    let inverses = simd.inverse(steps);
    let mut best_error = simd.splat(f32::INFINITY);
    let mut best_min = simd.zero();
    for distance in [0.0, -1.0, 1.0] {
        let min = clamp(state.mins[j] + distance, 0.0, grid.scale_max);
        let offset = state.dmin * min;
        let mut error = simd.zero();
        for i in 0..N {
            let shifted = simd.splat(x[i] + offset);
            let l = simd.round_clamp(shifted * inverses, 0.0, grid.q_max);
            let difference = l * steps - shifted;
            error = error + difference * difference * simd.splat(w[i]);
        }
        best_min = simd.where_above(best_error, error, simd.splat(min), best_min);
        best_error = simd.min(error, best_error);
    }
    let errors = simd.store(best_error);
    let lane = argmin(&errors);
    Neighbour { scale: simd.store(scales)[lane], min: simd.store(best_min)[lane], error: errors[lane] }
}

/// Sums of the normal equations of `x = d * u - dmin * v` with `u = scale * q` and `v = min`.
#[derive(Debug, Clone, Copy, Default)]
struct Equations {
    uu: f32,
    uv: f32,
    vv: f32,
    xu: f32,
    xv: f32,
}

impl Equations {
    /// Adds sub-block `j` with the quants that its present scale and minimum give.
    #[inline(always)]
    fn add<S: Simd, const N: usize, const J: usize>(
        &mut self,
        simd: S,
        x: &[f32; N],
        w: &[f32; N],
        state: &State<J>,
        j: usize,
        grid: AffineGrid,
    ) {
        let (scale, min) = (state.scales[j], state.mins[j]);
        let offset = simd.splat(state.dmin * min);
        let inverse = simd.splat(inverse(state.d * scale));
        let (mut w1, mut wx, mut q1, mut q2, mut xq) = (simd.zero(), simd.zero(), simd.zero(), simd.zero(), simd.zero());
        for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
            let (x, w) = (simd.load(x), simd.load(w));
            let q = simd.round_clamp((x + offset) * inverse, 0.0, grid.q_max);
            let wq = w * q;
            w1 = w1 + w;
            wx = wx + w * x;
            q1 = q1 + wq;
            q2 = q2 + wq * q;
            xq = xq + wq * x;
        }
        self.uu += scale * scale * simd.sum(q2);
        self.uv += scale * min * simd.sum(q1);
        self.vv += min * min * simd.sum(w1);
        self.xu += scale * simd.sum(xq);
        self.xv += min * simd.sum(wx);
    }

    /// `d` and `dmin` of least error, rounded to f16; `None` where nothing is determined.
    #[inline(always)]
    fn solve<const J: usize>(&self, state: &State<J>) -> Option<(f32, f32)> {
        let determinant = self.uu * self.vv - self.uv * self.uv;
        let (d, dmin) = if determinant > 1e-6 * self.uu * self.vv {
            ((self.xu * self.vv - self.xv * self.uv) / determinant, (self.xu * self.uv - self.xv * self.uu) / determinant)
        } else if self.uu > 0.0 {
            ((self.xu + state.dmin * self.uv) / self.uu, state.dmin)
        } else if self.vv > 0.0 {
            (state.d, -self.xv / self.vv)
        } else {
            return None;
        };
        (d >= 0.0 && dmin >= 0.0).then(|| (nonzero_half(d), nonzero_half(dmin)))
    }
}

/// Relative squared error below which little more than the rounding of `d` to f16 is left, which is `2^-24 / 3` on average.
///
/// Then a `d` that is larger by a factor close to 1, with smaller integers, may happen to be rounded less.
pub(super) const HALF_ROUNDING: f32 = 2.5e-7;

/// How much less than the largest integer scale is tried then.
pub(super) const ROUNDING_TRIES: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

/// `Σwx²`: the weighted error of all zeros.
#[inline(always)]
pub(super) fn energy(simd: impl Simd, x: &[f32], w: &[f32]) -> f32 {
    let mut sum = simd.zero();
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        sum = sum + simd.load(w) * simd.load(x) * simd.load(x);
    }
    simd.sum(sum)
}

/// The nearest finite f16, but zero for zero only: else integer scales could not tell sub-blocks apart.
#[inline(always)]
pub(super) fn nonzero_half(value: f32) -> f32 {
    /// The smallest positive f16.
    const TINY: f32 = 5.960_464_5e-8;
    /// The largest one. Least squares may ask for a little more at the end of the type's range.
    const LARGEST: f32 = 65504.0;
    let half = Half::from_f32(clamp(value, -LARGEST, LARGEST)).to_f32();
    if half == 0.0 && value != 0.0 { TINY.copysign(value) } else { half }
}

/// `1 / value`, 0 for 0.
#[inline(always)]
pub(super) fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}
