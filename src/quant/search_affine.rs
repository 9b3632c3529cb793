//! Finds scales, minima and quants of a super-block `x = d * scale[j] * q - dmin * min[j]` (Q2_K, Q4_K, Q5_K).
//!
//! Three steps. Each sub-block gets the real scale and offset of least weighted error among candidates that stretch or clip
//! its range, offsets and scales by least squares. The largest of them decide `d` and `dmin`. Then integer scales and minima
//! move to better neighbours under the exact error, `d` and `dmin` are refitted by least squares, and so on until it stops
//! paying. All that the file can hold is decided on the exact error of what will be decoded.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{Half, QK_K};
use super::lanes::{Lanes, N_LANES, clamp, extremes, low_byte, max, min, round};

/// What a type can represent, and how hard to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct AffineGrid {
    /// Largest quant.
    pub(super) q_max: f32,
    /// Largest integer scale and minimum.
    pub(super) scale_max: f32,
    /// Groups of eight candidates for the number of steps between the ends of a sub-block's range.
    pub(super) n_step_groups: usize,
    /// Smallest candidate less `q_max`, and the distance between candidates.
    pub(super) first_step: f32,
    /// See `first_step`.
    pub(super) step_distance: f32,
    /// Fractions of the smallest weight at which the range starts.
    pub(super) origins: &'static [f32],
    /// Factors on the first `d`.
    pub(super) d_factors: &'static [f32],
    /// Rounds of moving integer scales and refitting `d` and `dmin`.
    pub(super) n_rounds: usize,
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
pub(super) fn fit_affine<const N: usize, const J: usize>(x: &[[f32; N]; J], w: &[[f32; N]; J], grid: AffineGrid) -> AffineFit<J> {
    let mut wanted = [SubScale::ZERO; J];
    for j in 0..J {
        wanted[j] = search(&x[j], &w[j], grid);
    }
    let largest = wanted.iter().fold(SubScale::ZERO, |largest, sub| SubScale {
        scale: max(sub.scale, largest.scale),
        offset: max(sub.offset, largest.offset),
    });

    let mut best = State { d: 0.0, dmin: 0.0, scales: [0.0; J], mins: [0.0; J], error: f32::INFINITY };
    for &factor in grid.d_factors {
        let d = nonzero_half(largest.scale * factor / grid.scale_max);
        let dmin = nonzero_half(largest.offset / grid.scale_max);
        let mut state = State { d, dmin, scales: [0.0; J], mins: [0.0; J], error: 0.0 };
        for j in 0..J {
            state.scales[j] = clamp(round(wanted[j].scale * inverse(d)), 0.0, grid.scale_max);
            state.mins[j] = clamp(round(wanted[j].offset * inverse(dmin)), 0.0, grid.scale_max);
        }
        for _ in 0..grid.n_rounds {
            state.error = 0.0;
            let mut equations = Equations::default();
            for j in 0..J {
                let moved = best_neighbour(&x[j], &w[j], state.d, state.dmin, state.scales[j], state.mins[j], grid);
                (state.scales[j], state.mins[j]) = (moved.scale, moved.min);
                state.error += moved.error;
                equations.add(&x[j], &w[j], &state, j, grid);
            }
            if state.error < best.error {
                best = state;
            }
            let Some((d, dmin)) = equations.solve(&state) else { break };
            if (d, dmin) == (state.d, state.dmin) {
                break;
            }
            (state.d, state.dmin) = (d, dmin);
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
struct SubScale {
    scale: f32,
    offset: f32,
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

/// The real scale and offset of least weighted error among the candidates.
///
/// For given quants `l`, scale and offset follow by least squares from running sums, and so does the error:
/// `Σwx² - (a Σwxl + b Σwx)` for `x = a l + b`. Only the subtrahend, the gain, is compared.
#[inline(always)]
fn search<const N: usize>(x: &[f32; N], w: &[f32; N], grid: AffineGrid) -> SubScale {
    let (low, high) = extremes(x);
    let low = min(low, 0.0);
    let (mut sum_w, mut sum_wx) = (Lanes::ZERO, Lanes::ZERO);
    for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
        sum_w = sum_w + Lanes(*w);
        sum_wx = sum_wx + Lanes(*w) * Lanes(*x);
    }
    let (sum_w, sum_wx) = (sum_w.sum(), sum_wx.sum());
    // Without any scale, the mean: right for constant negative weights.
    let mean = min(sum_wx / sum_w, 0.0);
    let mut best = SubScale { scale: 0.0, offset: -mean };
    let mut best_gain = mean * sum_wx;
    for &fraction in grid.origins {
        let origin = low * fraction;
        if high <= origin {
            continue;
        }
        let per_step = 1.0 / (high - origin);
        for group in 0..grid.n_step_groups {
            let inverse = Lanes::from_fn(|lane| {
                #[allow(clippy::cast_precision_loss, reason = "a small index")]
                let idx = (group * N_LANES + lane) as f32;
                (grid.q_max + grid.first_step + grid.step_distance * idx) * per_step
            });
            let (mut sum_l, mut sum_l2, mut sum_xl) = (Lanes::ZERO, Lanes::ZERO, Lanes::ZERO);
            for i in 0..N {
                let l = (Lanes::splat(x[i] - origin) * inverse).round().clamp(0.0, grid.q_max);
                let wl = Lanes::splat(w[i]) * l;
                sum_l = sum_l + wl;
                sum_l2 = sum_l2 + wl * l;
                sum_xl = sum_xl + Lanes::splat(w[i] * x[i]) * l;
            }
            for lane in 0..N_LANES {
                let (l, l2, xl) = (sum_l.0[lane], sum_l2.0[lane], sum_xl.0[lane]);
                let determinant = sum_w * l2 - l * l;
                let scale = (sum_w * xl - sum_wx * l) / determinant;
                let offset = (l2 * sum_wx - l * xl) / determinant;
                // The minimum of a file is subtracted, so an offset cannot be positive; and where all quants are equal the
                // determinant is rounding noise.
                let free = offset <= 0.0 && determinant > 1e-5 * sum_w * l2;
                let (scale, offset) = if free { (scale, offset) } else { (xl / l2, 0.0) };
                let gain = scale * xl + offset * sum_wx;
                if gain > best_gain && scale > 0.0 {
                    best_gain = gain;
                    best = SubScale { scale, offset: -offset };
                }
            }
        }
    }
    best
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
fn best_neighbour<const N: usize>(
    x: &[f32; N],
    w: &[f32; N],
    d: f32,
    dmin: f32,
    scale: f32,
    min: f32,
    grid: AffineGrid,
) -> Neighbour {
    #[allow(clippy::cast_precision_loss, reason = "a small index")]
    let scales = Lanes::from_fn(|lane| clamp(scale + (lane as f32 - 3.0), 0.0, grid.scale_max));
    let steps = Lanes::splat(d) * scales;
    let inverses = steps.map(inverse);
    let mut best = Neighbour { scale, min, error: f32::INFINITY };
    for distance in [0.0, -1.0, 1.0] {
        let min = clamp(min + distance, 0.0, grid.scale_max);
        let offset = dmin * min;
        let mut errors = Lanes::ZERO;
        for i in 0..N {
            let shifted = Lanes::splat(x[i] + offset);
            let l = (shifted * inverses).round().clamp(0.0, grid.q_max);
            let error = l * steps - shifted;
            errors = errors + error * error * Lanes::splat(w[i]);
        }
        for lane in 0..N_LANES {
            if errors.0[lane] < best.error {
                best = Neighbour { scale: scales.0[lane], min, error: errors.0[lane] };
            }
        }
    }
    best
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
    fn add<const N: usize, const J: usize>(&mut self, x: &[f32; N], w: &[f32; N], state: &State<J>, j: usize, grid: AffineGrid) {
        let (scale, min) = (state.scales[j], state.mins[j]);
        let offset = Lanes::splat(state.dmin * min);
        let inverse = Lanes::splat(inverse(state.d * scale));
        let (mut sum_w, mut sum_wx) = (Lanes::ZERO, Lanes::ZERO);
        let (mut sum_q, mut sum_q2, mut sum_xq) = (Lanes::ZERO, Lanes::ZERO, Lanes::ZERO);
        for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
            let (x, w) = (Lanes(*x), Lanes(*w));
            let q = ((x + offset) * inverse).round().clamp(0.0, grid.q_max);
            let wq = w * q;
            sum_w = sum_w + w;
            sum_wx = sum_wx + w * x;
            sum_q = sum_q + wq;
            sum_q2 = sum_q2 + wq * q;
            sum_xq = sum_xq + wq * x;
        }
        self.uu += scale * scale * sum_q2.sum();
        self.uv += scale * min * sum_q.sum();
        self.vv += min * min * sum_w.sum();
        self.xu += scale * sum_xq.sum();
        self.xv += min * sum_wx.sum();
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

/// The nearest f16, but not zero for a positive value: then integer scales still tell sub-blocks apart.
#[inline(always)]
pub(super) fn nonzero_half(value: f32) -> f32 {
    /// The smallest positive f16.
    const TINY: f32 = 5.960_464_5e-8;
    let half = Half::from_f32(value).to_f32();
    if half == 0.0 && value != 0.0 { TINY.copysign(value) } else { half }
}

/// `1 / value`, 0 for 0.
#[inline(always)]
pub(super) fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}
