//! Finds scales, minima and quants of a super-block `x = d * scale[j] * q - dmin * min[j]` (Q2_K, Q4_K, Q5_K).
//!
//! Three steps. Each sub-block gets the real scale and offset of least weighted error among candidates that stretch or clip
//! its range, offsets and scales by least squares. They decide `d` and `dmin` (`scale_of_scales.rs`). Then integer scales and minima
//! move to better neighbours under the exact error, `d` and `dmin` are refitted by least squares, and so on until it stops
//! paying. Integer scales and minima are chosen by the exact error of what will be decoded.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{Half, QK_K};
use super::lanes::{Kernel, N_LANES, Simd, clamp, low_byte, max, min, round};
use super::scale_of_scales::{Largest, scale_of_scales};

/// What a type can represent, and how hard to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct AffineGrid {
    /// Largest quant.
    pub(super) q_max: f32,
    /// Largest integer scale and minimum.
    pub(super) scale_max: f32,
    /// Candidates for the real scale of a sub-block.
    pub(super) candidates: &'static [Candidates],
    /// Candidates for what the largest scale and minimum become, which decide `d` and `dmin`.
    pub(super) d_candidates: Largest,
    /// Rounds of moving integer scales and refitting `d` and `dmin`.
    pub(super) n_rounds: usize,
    /// Groups of [`NEIGHBOURS`] that are tried in the first round.
    pub(super) n_first: usize,
}

/// Eight quantizations of a sub-block that are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates {
    /// Where quant 0 lies, as a fraction of the smallest weight. 1 keeps all weights in range; 0 is right when few large weights
    /// stand against many small ones, which then share a level.
    pub(super) origin: f32,
    /// Steps between quant 0 and the largest weight, less `q_max`, in the first of the eight: positive ones clip that weight.
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

/// Fits `J` sub-blocks of `N` weights each; `J * N` is 256.
pub(super) struct FitAffine<'a, const N: usize, const J: usize> {
    pub(super) x: &'a [[f32; N]; J],
    /// Importances, positive and around 1.
    pub(super) w: &'a [[f32; N]; J],
    pub(super) grid: AffineGrid,
}

impl<const N: usize, const J: usize> Kernel for FitAffine<'_, N, J> {
    type Output = AffineFit<J>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> AffineFit<J> {
        fit_affine(simd, self.x, self.w, self.grid)
    }
}

#[inline(always)]
fn fit_affine<S: Simd, const N: usize, const J: usize>(
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
        ..largest
    });

    let range = (0.0, grid.scale_max);
    let (mut scales, mut offsets, mut of_scales, mut of_offsets) = ([0.0; J], [0.0; J], [0.0; J], [0.0; J]);
    for j in 0..J {
        (scales[j], offsets[j], of_scales[j], of_offsets[j]) = (wanted[j].scale, wanted[j].offset, wanted[j].l2, wanted[j].l0);
    }
    let d = scale_of_scales(simd, &scales, &of_scales, largest.scale, range, grid.d_candidates);
    let dmin = scale_of_scales(simd, &offsets, &of_offsets, largest.offset, range, grid.d_candidates);
    let (mut best, mut refitted) = start(simd, x, w, &wanted, (d, dmin), grid, grid.n_first);
    for _ in 1..grid.n_rounds {
        let Some((d, dmin)) = refitted else { break };
        let mut state = State { d, dmin, ..best };
        refitted = improve(simd, x, w, &mut state, grid, 1);
        if state.error >= best.error {
            break;
        }
        best = state;
    }
    if best.error > 0.0 && best.error < HALF_ROUNDING * energy(simd, x.as_flattened(), w.as_flattened()) {
        // With few quants thirds are tried as well: with a smaller quant the scale may be larger.
        let parts: u8 = if grid.q_max == 3.0 { 3 } else { 1 };
        for integer in ROUNDING_TRIES {
            for part in 0..parts {
                let d = largest.scale / (grid.scale_max - integer - f32::from(part) / 3.0);
                let (state, _) = start(simd, x, w, &wanted, (d, best.dmin), grid, NEIGHBOURS.len());
                if state.error < best.error {
                    best = state;
                }
            }
        }
        for integer in ROUNDING_TRIES {
            let dmin = largest.offset / (grid.scale_max - integer);
            let (state, _) = start(simd, x, w, &wanted, (best.d, dmin), grid, NEIGHBOURS.len());
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
    /// Curvature of the error in the scale: `Σwq²`.
    l2: f32,
    /// Curvature of the error in the offset: `Σw`.
    l0: f32,
}

impl SubScale {
    const ZERO: Self = Self { scale: 0.0, offset: 0.0, l2: 0.0, l0: 0.0 };
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
    (d, dmin): (f32, f32),
    grid: AffineGrid,
    n_groups: usize,
) -> (State<J>, Option<(f32, f32)>) {
    let mut state = State { d: nonzero_half(d), dmin: nonzero_half(dmin), scales: [0.0; J], mins: [0.0; J], error: 0.0 };
    for j in 0..J {
        state.scales[j] = clamp(round(wanted[j].scale * inverse(state.d)), 0.0, grid.scale_max);
        state.mins[j] = clamp(round(wanted[j].offset * inverse(state.dmin)), 0.0, grid.scale_max);
    }
    let refitted = improve(simd, x, w, &mut state, grid, n_groups);
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
    n_groups: usize,
) -> Option<(f32, f32)> {
    state.error = 0.0;
    let mut equations = Equations::new(simd);
    for j in 0..J {
        let moved = best_neighbour(simd, &x[j], &w[j], state, j, grid, n_groups);
        (state.scales[j], state.mins[j]) = (moved.scale, moved.min);
        state.error += moved.error;
        equations.add(simd, &x[j], &w[j], moved, (state.d, state.dmin), grid);
    }
    equations.solve(simd, state).filter(|&refitted| refitted != (state.d, state.dmin))
}

/// The real scale and offset of least weighted error among the candidates.
///
/// For given quants `l`, scale and offset follow by least squares from running sums, and so does the error:
/// `Σwx² - (a Σwxl + b Σwx)` for `x = a l + b`. Only the subtrahend, the gain, is compared.
#[inline(always)]
pub(super) fn search<S: Simd, const N: usize>(simd: S, x: &[f32; N], w: &[f32; N], grid: AffineGrid) -> SubScale {
    let (low, high) = simd.extremes(x);
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
    let (l0, mut best_l2) = (sum_w, simd.zero());
    let (sum_w, sum_wx) = (simd.splat(sum_w), simd.splat(sum_wx));
    for (group, candidates) in grid.candidates.iter().enumerate() {
        let origin = low * candidates.origin;
        if high <= origin {
            continue;
        }
        let per_step = 1.0 / (high - origin);
        // Among equals, as all are for equal weights, the one with most steps wins: it leaves the integer scales most room. The
        // margins are above the rounding of the sums.
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        let more_steps_first = simd.ramp(1.0 - TIE * (group * N_LANES) as f32, -TIE);
        let last = grid.q_max + candidates.first + 7.0 * candidates.distance;
        let inverse = simd.ramp(last, -candidates.distance) * simd.splat(per_step);
        let [l1, l2, xl] = quant_sums(simd, x, w, simd.splat(origin), inverse, grid.q_max);
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
        let gain = simd.where_above(scale, simd.zero(), (scale * xl + offset * sum_wx) * more_steps_first, simd.zero());
        best_scale = simd.where_above(gain, best_gain, scale, best_scale);
        best_offset = simd.where_above(gain, best_gain, offset, best_offset);
        best_l2 = simd.where_above(gain, best_gain, l2, best_l2);
        best_gain = simd.where_above(gain, best_gain, gain, best_gain);
    }
    let lane = simd.argmax(best_gain);
    SubScale { scale: simd.store(best_scale)[lane], offset: -simd.store(best_offset)[lane], l2: simd.store(best_l2)[lane], l0 }
}

/// `Σwl`, `Σwl²` and `Σwxl` of the quants `l` that each lane's origin and inverse scale give.
///
/// Two sums of each, because an addition takes longer than all the work between two additions to one sum.
#[inline(always)]
pub(super) fn quant_sums<S: Simd, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    origins: S::Lanes,
    inverses: S::Lanes,
    q_max: f32,
) -> [S::Lanes; 3] {
    let (mut l1, mut l2, mut xl) = ([simd.zero(); 2], [simd.zero(); 2], [simd.zero(); 2]);
    for (x, w) in x.as_chunks::<2>().0.iter().zip(w.as_chunks::<2>().0) {
        for k in 0..2 {
            let x = simd.splat(x[k]);
            let l = simd.round_product(x - origins, inverses, 0.0, q_max);
            let wl = simd.splat(w[k]) * l;
            l1[k] = l1[k] + wl;
            l2[k] = simd.mul_add(wl, l, l2[k]);
            xl[k] = simd.mul_add(wl, x, xl[k]);
        }
    }
    [l1[0] + l1[1], l2[0] + l2[1], xl[0] + xl[1]]
}

/// A sub-block's integer scale and minimum with its weighted error.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    scale: f32,
    min: f32,
    error: f32,
}

/// Steps to the neighbours that are tried: scale and minimum of each lane. A larger scale goes with a larger minimum.
const NEIGHBOURS: [[[f32; N_LANES]; 2]; 2] = [
    [[0.0, 1.0, -1.0, 0.0, 0.0, 1.0, -1.0, -2.0], [0.0, 0.0, 0.0, 1.0, -1.0, 1.0, -1.0, -1.0]],
    [[2.0, 2.0, -2.0, 3.0, -3.0, 3.0, -3.0, 4.0], [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0]],
];

/// The best of the neighbours around the present scale and minimum, by the exact error.
#[inline(always)]
fn best_neighbour<S: Simd, const N: usize, const J: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    state: &State<J>,
    j: usize,
    grid: AffineGrid,
    n_groups: usize,
) -> Neighbour {
    let mut best = Neighbour { scale: state.scales[j], min: state.mins[j], error: f32::INFINITY };
    let around =
        |steps: &[f32; N_LANES], middle: f32| simd.round_clamp(simd.load(steps) + simd.splat(middle), 0.0, grid.scale_max);
    for [scale_steps, min_steps] in &NEIGHBOURS[..n_groups] {
        let (scales, mins) = (around(scale_steps, state.scales[j]), around(min_steps, state.mins[j]));
        let steps = simd.splat(state.d) * scales;
        let offsets = simd.splat(state.dmin) * mins;
        let (inverses, minus_steps) = (simd.inverse(steps), simd.zero() - steps);
        let mut errors = [simd.zero(); 2];
        for (x, w) in x.as_chunks::<2>().0.iter().zip(w.as_chunks::<2>().0) {
            for k in 0..2 {
                let shifted = simd.splat(x[k]) + offsets;
                let l = simd.round_product(shifted, inverses, 0.0, grid.q_max);
                let difference = simd.mul_add(l, minus_steps, shifted);
                errors[k] = simd.mul_add(difference * simd.splat(w[k]), difference, errors[k]);
            }
        }
        let errors = errors[0] + errors[1];
        let error = simd.smallest(errors);
        if error < best.error {
            let lane = simd.lane_of(errors, error);
            best = Neighbour { scale: simd.store(scales)[lane], min: simd.store(mins)[lane], error };
        }
    }
    best
}

/// Sums of the normal equations of `x = d * u - dmin * v` with `u = scale * q` and `v = min`, spread over lanes: they are added up once,
/// at the end.
#[derive(Debug, Clone, Copy)]
struct Equations<S: Simd> {
    uu: S::Lanes,
    uv: S::Lanes,
    vv: S::Lanes,
    xu: S::Lanes,
    xv: S::Lanes,
}

impl<S: Simd> Equations<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let zero = simd.zero();
        Self { uu: zero, uv: zero, vv: zero, xu: zero, xv: zero }
    }

    /// Adds a sub-block with the quants that its scale and minimum give.
    #[inline(always)]
    fn add<const N: usize>(
        &mut self,
        simd: S,
        x: &[f32; N],
        w: &[f32; N],
        found: Neighbour,
        (d, dmin): (f32, f32),
        grid: AffineGrid,
    ) {
        let (scale, min) = (simd.splat(found.scale), simd.splat(found.min));
        let offset = simd.splat(dmin * found.min);
        let inverse = simd.splat(inverse(d * found.scale));
        for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
            let (x, w) = (simd.load(x), simd.load(w));
            let u = simd.round_product(x + offset, inverse, 0.0, grid.q_max) * scale;
            let (wu, wv) = (w * u, w * min);
            self.uu = simd.mul_add(wu, u, self.uu);
            self.uv = simd.mul_add(wu, min, self.uv);
            self.vv = simd.mul_add(wv, min, self.vv);
            self.xu = simd.mul_add(wu, x, self.xu);
            self.xv = simd.mul_add(wv, x, self.xv);
        }
    }

    /// `d` and `dmin` of least error, rounded to f16; `None` where nothing is determined or one would be negative.
    #[inline(always)]
    fn solve<const J: usize>(&self, simd: S, state: &State<J>) -> Option<(f32, f32)> {
        let [uu, uv, vv, xu, xv] = [self.uu, self.uv, self.vv, self.xu, self.xv].map(|lanes| simd.sum(lanes));
        let determinant = uu * vv - uv * uv;
        let (d, dmin) = if determinant > 1e-6 * uu * vv {
            ((xu * vv - xv * uv) / determinant, (xu * uv - xv * uu) / determinant)
        } else if uu > 0.0 {
            ((xu + state.dmin * uv) / uu, state.dmin)
        } else if vv > 0.0 {
            (state.d, -xv / vv)
        } else {
            return None;
        };
        (d >= 0.0 && dmin >= 0.0).then(|| (nonzero_half(d), nonzero_half(dmin)))
    }
}

/// Relative gain that decides between candidates of equal error.
pub(super) const TIE: f32 = 1e-6;

/// Relative squared error below which little more than the rounding of `d` to f16 is left, which is `2^-24 / 3` on average.
///
/// Then a `d` that is larger by a factor close to 1, with smaller integers, may happen to be rounded less.
pub(super) const HALF_ROUNDING: f32 = 2.5e-7;

/// Steps below the largest integer scale that are tried when the error is below [`HALF_ROUNDING`].
pub(super) const ROUNDING_TRIES: [f32; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];

/// `Σwx²`: the weighted error of all zeros.
#[inline(always)]
pub(super) fn energy(simd: impl Simd, x: &[f32], w: &[f32]) -> f32 {
    let mut sum = simd.zero();
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        sum = sum + simd.load(w) * simd.load(x) * simd.load(x);
    }
    simd.sum(sum)
}

/// The nearest finite f16, but only zero becomes zero: otherwise integer scales could not tell sub-blocks apart.
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
