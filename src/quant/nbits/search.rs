//! Scales and zero points of least weighted squared error.
//!
//! Codes stand for the integers from `-zero_point` to `q_max - zero_point` times the scale: where zero is one of them, a zero
//! point decides about the range alone. Candidates that stretch or clip the range of the weights are compared, by what they
//! gain with the scale of least squares; then codes and least squares alternate, with scales as the file will hold them. The
//! result counts if it beats that of `plain.rs`.
//!
//! The candidates were chosen on bell curves and on curves with longer tails, in blocks of 16 to 128: the error is within half
//! a percent of that of a search through all zero points and a hundred scales.

use super::NBits;
use super::plain::Block;
use crate::quant::float::Float;
use crate::quant::lanes::{Kernel, N_LANES, Simd, clamp, low_byte, max, min, round};
use crate::quant::scale_of_scales::Largest;
use crate::quant::search_affine::inverse;
use crate::quant::search_symmetric::{self, Levels, SymmetricGrid, level_sums};

/// Rounds of least squares.
const N_ROUNDS: usize = 8;

/// The integers that codes stand for.
#[derive(Debug, Clone, Copy)]
struct Shifted {
    zero_point: f32,
    q_max: f32,
}

impl Levels for Shifted {
    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.round_clamp(numbers, -self.zero_point, self.q_max - self.zero_point)
    }

    #[inline(always)]
    fn nearest_to_product<S: Simd>(self, simd: S, a: S::Lanes, b: S::Lanes) -> S::Lanes {
        simd.round_product(a, b, -self.zero_point, self.q_max - self.zero_point)
    }

    #[inline(always)]
    fn quant(self, number: f32) -> u8 {
        low_byte(clamp(round(number) + self.zero_point, 0.0, self.q_max))
    }
}

/// The best block for weights of positive importances `w` around 1; `plain` if no other is better.
#[inline(always)]
pub(super) fn fit<const N: usize>(
    simd: impl Simd,
    x: &[f32; N],
    w: &[f32; N],
    nbits: NBits,
    float: Float,
    plain: Block<N>,
) -> Block<N> {
    let mut best = Choice::of(simd, x, w, plain.scale, Shifted { zero_point: plain.zero_point, q_max: nbits.q_max() });
    let again = (best.least_squares(), best.levels);
    for (mut wanted, levels) in [start(simd, x, w, nbits.q_max(), nbits.has_zero_points), again] {
        for _ in 0..N_ROUNDS {
            let choice = Choice::of(simd, x, w, float.round(wanted), levels);
            // Not so where an error is NaN: then the plain block stays.
            let is_better = choice.error < best.error;
            if !is_better {
                break;
            }
            wanted = choice.least_squares();
            best = choice;
        }
    }
    if best.scale == plain.scale && best.levels.zero_point == plain.zero_point {
        return plain;
    }
    let inverse = inverse(best.scale);
    let mut codes = [0; N];
    for (code, &weight) in codes.iter_mut().zip(x) {
        *code = best.levels.quant(weight * inverse);
    }
    Block { scale: best.scale, zero_point: best.levels.zero_point, codes }
}

/// The real scale and the zero point of least weighted error among the candidates, for feedback.
pub(in crate::quant) struct FitScale<'a, const N: usize> {
    pub(in crate::quant) x: &'a [f32; N],
    /// Importances, positive and around 1.
    pub(in crate::quant) w: &'a [f32; N],
    /// The largest code: 15 or 255.
    pub(in crate::quant) q_max: f32,
    pub(in crate::quant) has_zero_points: bool,
}

impl<const N: usize> Kernel for FitScale<'_, N> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        let (scale, levels) = start(simd, self.x, self.w, self.q_max, self.has_zero_points);
        (scale, levels.zero_point)
    }
}

/// A scale with the nearest levels of all weights.
#[derive(Debug, Clone, Copy)]
struct Choice {
    scale: f32,
    levels: Shifted,
    /// Weighted squared error.
    error: f32,
    /// `Σwxl`
    xl: f32,
    /// `Σwl²`
    l2: f32,
}

impl Choice {
    #[inline(always)]
    fn of<const N: usize>(simd: impl Simd, x: &[f32; N], w: &[f32; N], scale: f32, levels: Shifted) -> Self {
        let (inverse, minus_scale) = (simd.splat(inverse(scale)), simd.splat(-scale));
        let (mut error, mut xl, mut l2) = (simd.zero(), simd.zero(), simd.zero());
        for (x, w) in x.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
            let (x, w) = (simd.load(x), simd.load(w));
            let l = levels.nearest_to_product(simd, x, inverse);
            let (difference, wl) = (simd.mul_add(l, minus_scale, x), w * l);
            error = simd.mul_add(difference * w, difference, error);
            xl = simd.mul_add(wl, x, xl);
            l2 = simd.mul_add(wl, l, l2);
        }
        Self { scale, levels, error: simd.sum(error), xl: simd.sum(xl), l2: simd.sum(l2) }
    }

    /// The scale of least squares for the same levels.
    #[inline(always)]
    fn least_squares(&self) -> f32 {
        self.xl * inverse(self.l2)
    }
}

/// Where the search starts.
#[inline(always)]
fn start<const N: usize>(simd: impl Simd, x: &[f32; N], w: &[f32; N], q_max: f32, has_zero_points: bool) -> (f32, Shifted) {
    let has_few_levels = q_max == 15.0;
    let levels = Shifted { zero_point: 0.5 * (q_max + 1.0), q_max };
    if has_zero_points {
        return start_with_zero_point(simd, x, w, levels, if has_few_levels { &FOUR_BITS } else { &EIGHT_BITS });
    }
    // With 256 levels nothing is gained by clipping.
    let (n_step_groups, first_step, step_distance) = if has_few_levels { (2, 6.7, 0.18) } else { (1, 126.3, 0.3) };
    let grid = SymmetricGrid {
        levels,
        scale_max: 1.0,
        n_step_groups,
        first_step,
        step_distance,
        peak_levels: &[],
        d_candidates: Largest::only(1.0),
        n_rounds: 1,
    };
    (search_symmetric::search(simd, x, w, grid).0, levels)
}

/// Candidates for scale and zero point.
struct Candidates {
    /// Zero points, by steps from the one that cuts the range of the weights in the right proportion.
    points: &'static [f32],
    /// The factor by which the range is larger than that of the levels, in the first of eight candidates.
    first: f32,
    /// From one of the eight to the next.
    distance: f32,
}

static FOUR_BITS: Candidates = Candidates { points: &[0.0, -1.0, 1.0, -2.0, 2.0], first: 0.96, distance: 0.06 };
static EIGHT_BITS: Candidates = Candidates { points: &[0.0, -1.0, 1.0], first: 0.992, distance: 0.004 };

#[inline(always)]
fn start_with_zero_point<S: Simd, const N: usize>(
    simd: S,
    x: &[f32; N],
    w: &[f32; N],
    levels: Shifted,
    candidates: &Candidates,
) -> (f32, Shifted) {
    let q_max = levels.q_max;
    let (low, high) = simd.extremes(x);
    let (low, high) = (min(low, 0.0), max(high, 0.0));
    if low == high {
        return (0.0, levels);
    }
    let middle = round(-low / (high - low) * q_max);
    let (mut best_gain, mut best_scale, mut best_point) = (simd.zero(), simd.zero(), simd.splat(middle));
    for step in candidates.points {
        let zero_point = middle + step;
        if !(0.0..=q_max).contains(&zero_point) {
            continue;
        }
        // The smallest scale that reaches all weights, or nearly so where all of one side would have to become zero.
        let full = max(-low / max(zero_point, 0.5), high / max(q_max - zero_point, 0.5));
        let inverses = simd.ramp(candidates.first, candidates.distance) * simd.splat(1.0 / full);
        let [xl, l2] = level_sums(simd, x, w, inverses, Shifted { zero_point, q_max });
        let scale = xl / l2;
        let gain = scale * xl;
        best_scale = simd.where_above(gain, best_gain, scale, best_scale);
        best_point = simd.where_above(gain, best_gain, simd.splat(zero_point), best_point);
        best_gain = simd.where_above(gain, best_gain, gain, best_gain);
    }
    let lane = simd.argmax(best_gain);
    (simd.store(best_scale)[lane], Shifted { zero_point: simd.store(best_point)[lane], q_max })
}
