//! Chooses the scale of a super-block's scales.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::lanes::{N_LANES, Simd};

/// Candidates for the largest scale in units of the scale of the scales. They need not be whole: the other scales decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Largest {
    /// The largest candidate; where it lies beyond the range, the largest scale is clipped.
    pub(super) first: f32,
    /// From one candidate to the next lower one.
    pub(super) distance: f32,
    /// Groups of eight candidates.
    pub(super) n_groups: usize,
}

impl Largest {
    /// The end of the range alone.
    pub(super) const fn only(last: f32) -> Self {
        Self { first: last, distance: 0.0, n_groups: 1 }
    }
}

/// The scale of the scales that loses least when each wanted scale becomes a whole multiple of it, with factors in `range`.
///
/// A scale that is off by `e` costs `curvature * e²` as long as the quants stay the same. `largest` is the wanted scale of
/// largest magnitude, negated if the range reaches further below zero than above.
#[inline(always)]
pub(super) fn scale_of_scales<S: Simd, const J: usize>(
    simd: S,
    wanted: &[f32; J],
    curvatures: &[f32; J],
    largest: f32,
    range: (f32, f32),
    candidates: Largest,
) -> f32 {
    let (mut best, mut best_cost) = (simd.zero(), simd.splat(f32::INFINITY));
    for group in 0..candidates.n_groups {
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        let first = candidates.first - (group * N_LANES) as f32 * candidates.distance;
        let scales = simd.splat(largest) / simd.ramp(first, -candidates.distance);
        let (inverses, minus_scales) = (simd.inverse(scales), simd.zero() - scales);
        let mut cost = simd.zero();
        for j in 0..J {
            let wanted = simd.splat(wanted[j]);
            let integer = simd.round_product(wanted, inverses, range.0, range.1);
            let difference = simd.mul_add(integer, minus_scales, wanted);
            cost = simd.mul_add(difference * simd.splat(curvatures[j]), difference, cost);
        }
        best = simd.where_above(best_cost, cost, scales, best);
        best_cost = simd.min(cost, best_cost);
    }
    simd.store(best)[simd.argmin(best_cost)]
}
