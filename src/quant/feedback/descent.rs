//! Changes the scale, minimum and codes of a sub-block in all rows of a group.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use std::ops::Range;

use super::codec::{Codec, Levels, N_GROUPS, Offsets, SubScales, any_half, dot};
use super::factors::Factors;
use super::group::Group;
use super::spread::add_changes;
use crate::quant::dispatch::Kernel;
use crate::quant::lanes::{N_LANES, Simd};
use crate::quant::search_affine::inverse;

/// Row `i` has 1 in the lanes from `i` on and 0 before.
const FROM_LANE: [[f32; N_LANES]; N_LANES] = {
    let mut from = [[0.0; N_LANES]; N_LANES];
    let mut idx = 0;
    while idx < N_LANES * N_LANES {
        if idx % N_LANES >= idx / N_LANES {
            from[idx / N_LANES][idx % N_LANES] = 1.0;
        }
        idx += 1;
    }
    from
};

/// The columns `start..start + N`.
pub(super) struct PolishColumns<'a, 'b, L, const N: usize> {
    codec: &'a Codec<L, N>,
    group: &'a mut Group<'b>,
    panel: &'a Range<usize>,
    start: usize,
    /// Whether scales move.
    rescales: bool,
    /// Moments of all columns. `[n_columns, n_columns]`
    all_moments: &'a [f32],
    /// `[n_rows, n_columns]`
    gradients: &'a mut [f32],
    /// Moments of the sub-block's columns.
    moments: [[f32; N]; N],
    /// One by its diagonal.
    per_diagonal: [f32; N],
    diagonal: [f32; N],
    /// Its column sums.
    sums: [f32; N],
}

impl<'a, 'b, L: Levels, const N: usize> PolishColumns<'a, 'b, L, N> {
    pub(super) fn new(
        codec: &'a Codec<L, N>,
        group: &'a mut Group<'b>,
        factors: &'a Factors,
        panel: &'a Range<usize>,
        start: usize,
        rescales: bool,
        gradients: &'a mut [f32],
    ) -> Self {
        let (n, all_moments) = (group.n_columns, factors.moments());
        let mut moments = [[0.0; N]; N];
        let (mut diagonal, mut per_diagonal, mut sums) = ([0.0; N], [0.0; N], [0.0; N]);
        for i in 0..N {
            moments[i].copy_from_slice(&all_moments[(start + i) * n + start..][..N]);
            diagonal[i] = moments[i][i];
            per_diagonal[i] = inverse(diagonal[i]);
            sums.iter_mut().zip(&moments[i]).for_each(|(sum, moment)| *sum += moment);
        }
        Self { codec, group, panel, start, rescales, all_moments, gradients, moments, per_diagonal, diagonal, sums }
    }
}

/// A row's sub-block: changes here are known to the panel only at the end.
struct SubBlock<const N: usize> {
    weights: [f32; N],
    levels: [f32; N],
    errors: [f32; N],
    gradients: [f32; N],
}

impl<L: Levels, const N: usize> Kernel for PolishColumns<'_, '_, L, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let n = self.group.n_columns;
        let block_len = N * self.codec.n_subs;
        let n_blocks = n / block_len;
        let (block, j) = (self.start / block_len, self.start % block_len / N);
        for row in 0..self.group.n_rows() {
            let at = row * n + self.start;
            let mut sub = SubBlock { weights: [0.0; N], levels: [0.0; N], errors: [0.0; N], gradients: [0.0; N] };
            sub.weights.copy_from_slice(&self.group.weights[at..at + N]);
            sub.levels.copy_from_slice(&self.group.levels[at..at + N]);
            sub.errors.copy_from_slice(&self.group.errors[at..at + N]);
            sub.gradients.copy_from_slice(&self.gradients[at..at + N]);
            let mut scales = self.group.scales[row * n_blocks + block].sub(j);
            let before = sub.errors;
            let is_rescaled = self.rescales && self.rescale(simd, &mut sub, &mut scales);
            let is_recoded = self.recode(simd, &mut sub, scales);
            if !is_rescaled && !is_recoded {
                continue;
            }
            self.group.scales[row * n_blocks + block].set_sub(j, scales);
            self.group.levels[at..at + N].copy_from_slice(&sub.levels);
            self.group.errors[at..at + N].copy_from_slice(&sub.errors);
            let mut changes = [0.0; N];
            for i in 0..N {
                changes[i] = sub.errors[i] - before[i];
            }
            let gradients = &mut self.gradients[row * n..][self.panel.clone()];
            add_changes(simd, &changes, &self.all_moments[self.start * n..], n, self.panel.start, gradients);
        }
    }
}

impl<L: Levels, const N: usize> PolishColumns<'_, '_, L, N> {
    /// Moves scale and minimum where that lowers the error with the same levels `l`: by `p` and `q` it changes by
    /// `2 (p g·l + q g·1) + p² l·H·l + 2 p q l·H·1 + q² 1·H·1`.
    #[inline(always)]
    fn rescale<S: Simd>(&mut self, simd: S, sub: &mut SubBlock<N>, scales: &mut SubScales) -> bool {
        let mut product = [0.0; N];
        for i in 0..N {
            let level = simd.splat(sub.levels[i]);
            for (product, moments) in
                product.as_chunks_mut::<N_LANES>().0.iter_mut().zip(self.moments[i].as_chunks::<N_LANES>().0)
            {
                *product = simd.store(simd.mul_add(level, simd.load(moments), simd.load(product)));
            }
        }
        let gl = dot(simd, &sub.gradients, &sub.levels);
        let g1 = total(simd, &sub.gradients);
        let (ll, l1, ones) = (dot(simd, &product, &sub.levels), total(simd, &product), total(simd, &self.sums));
        let (step, offset) = (scales.step(), scales.offset());
        let codec = self.codec;
        let moved = if codec.n_subs > 1 {
            let mut best = (*scales, 0.0);
            for idx in 0..N_GROUPS {
                let choices = codec.neighbours.around(simd, *scales, idx);
                let p = choices.d * choices.scale - simd.splat(step);
                let q = (simd.zero() - choices.dmin * choices.min) - simd.splat(offset);
                let of_scale = p * (simd.splat(2.0 * gl) + p * simd.splat(ll) + q * simd.splat(2.0 * l1));
                let change = of_scale + q * (simd.splat(2.0 * g1) + q * simd.splat(ones));
                let least = simd.smallest(change);
                if least < best.1 {
                    best = (choices.choice(simd, simd.lane_of(change, least)), least);
                }
            }
            best.0
        } else {
            let mut moved = *scales;
            let determinant = ll * ones - l1 * l1;
            let z = scales.min;
            let (of_zero_points, curvature) = (gl - z * g1, ll - z * (2.0 * l1 - z * ones));
            if codec.offsets == Offsets::ZeroPoint && curvature > 0.0 {
                moved.d = codec.neighbours.representable(scales.d - of_zero_points / curvature);
                moved.dmin = moved.d;
            } else if codec.offsets == Offsets::Own && determinant > 1e-5 * ll * ones {
                moved.d = codec.neighbours.representable(scales.d + (g1 * l1 - gl * ones) / determinant);
                moved.dmin = any_half(scales.dmin + (gl * l1 - g1 * ll) / determinant);
            } else if ll > 0.0 {
                moved.d = codec.neighbours.representable(scales.d - gl / ll);
            }
            moved
        };
        let (p, q) = (moved.step() - step, moved.offset() - offset);
        let change = p * (2.0 * gl + p * ll + 2.0 * q * l1) + q * (2.0 * g1 + q * ones);
        if change.is_nan() || change >= 0.0 {
            return false;
        }
        *scales = moved;
        let (step, offset) = (scales.step(), scales.offset());
        for i in 0..N {
            sub.errors[i] = (step * sub.levels[i] + offset) - sub.weights[i];
            sub.gradients[i] += p * product[i] + q * self.sums[i];
        }
        true
    }

    /// Changes codes one after the other where that lowers the error.
    #[inline(always)]
    fn recode<S: Simd>(&mut self, simd: S, sub: &mut SubBlock<N>, scales: SubScales) -> bool {
        let (step, offset) = (scales.step(), scales.offset());
        let (steps, offsets, inverses) = (simd.splat(step), simd.splat(offset), simd.splat(inverse(step)));
        let mut is_changed = false;
        for chunk in 0..N / N_LANES {
            let mut first = 0;
            while first < N_LANES {
                let level = simd.load(&sub.levels.as_chunks().0[chunk]);
                let gradient = simd.load(&sub.gradients.as_chunks().0[chunk]);
                let decoded = steps * level + offsets;
                let wanted = decoded - gradient * simd.load(&self.per_diagonal.as_chunks().0[chunk]);
                let new = self.codec.levels.nearest(simd, (wanted - offsets) * inverses);
                let change = (steps * new + offsets) - decoded;
                let of_error = change * (gradient + gradient + change * simd.load(&self.diagonal.as_chunks().0[chunk]));
                let lowers = simd.where_above(simd.zero(), of_error, simd.load(&FROM_LANE[first]), simd.zero());
                if simd.largest(lowers) == 0.0 {
                    break;
                }
                let lane = simd.lane_of(lowers, 1.0);
                let i = chunk * N_LANES + lane;
                let change = simd.splat(simd.store(change)[lane]);
                sub.levels[i] = simd.store(new)[lane];
                sub.errors[i] = (step * sub.levels[i] + offset) - sub.weights[i];
                let gradients = sub.gradients.as_chunks_mut::<N_LANES>().0.iter_mut();
                for (gradient, moments) in gradients.zip(self.moments[i].as_chunks::<N_LANES>().0) {
                    *gradient = simd.store(simd.mul_add(change, simd.load(moments), simd.load(gradient)));
                }
                is_changed = true;
                first = lane + 1;
            }
        }
        is_changed
    }
}

#[inline(always)]
fn total<const N: usize>(simd: impl Simd, a: &[f32; N]) -> f32 {
    let mut sum = simd.zero();
    for a in a.as_chunks::<N_LANES>().0 {
        sum = sum + simd.load(a);
    }
    simd.sum(sum)
}
