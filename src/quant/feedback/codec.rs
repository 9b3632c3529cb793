//! What a type can represent, in one form for all: `weight = step * level + offset` in each sub-block.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use bytemuck::Pod;

use crate::quant::lanes::{N_LANES, Simd, round};
use crate::quant::search_affine::nonzero_half;

/// Groups of eight neighbours that are tried for a sub-block's scale and minimum.
pub(super) const N_GROUPS: usize = 2;

/// A type of blocks of `J` sub-blocks of `N` weights, each with a code of its own.
pub(super) trait Codec<const N: usize, const J: usize>: Copy + Send + Sync {
    /// A block as it lies in a file.
    type Block: Pod;

    /// Smallest and largest integer scale. Types without integer scales have 1 alone.
    const SCALES: (f32, f32);

    /// Smallest and largest integer minimum: -1 alone where the offset is a number of its own, 0 alone where there is none.
    const MINS: (f32, f32);

    /// The level nearest to each number.
    fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes;

    /// Scales and minima of small error weighted by `w`, positive and around 1.
    fn search<S: Simd>(simd: S, x: &[[f32; N]; J], w: &[[f32; N]; J]) -> Scales<J>;

    /// Eight neighbours of a sub-block's scale and minimum; the first of group 0 is the present one.
    fn neighbours<S: Simd>(simd: S, scales: &Scales<J>, j: usize, group: usize) -> Lanes<S>;

    /// The scale nearest to `d` that a file can hold.
    #[inline(always)]
    fn representable(d: f32) -> f32 {
        nonzero_half(d)
    }

    /// The block of scales and levels.
    fn pack(scales: &Scales<J>, levels: &[[f32; N]; J]) -> Self::Block;
}

/// Everything of a block but its levels: `step = d * factor`, `offset = -(dmin * min)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales<const J: usize> {
    /// Scale of the scales, as the file holds it.
    pub(super) d: f32,
    /// Scale of the minima, as the file holds it.
    pub(super) dmin: f32,
    /// Integer scales.
    pub(super) factors: [f32; J],
    /// Integer minima.
    pub(super) mins: [f32; J],
}

impl<const J: usize> Scales<J> {
    /// What the types without integer scales have.
    #[inline(always)]
    pub(super) fn of_block(d: f32, m: f32, min: f32) -> Self {
        Self { d, dmin: m, factors: [1.0; J], mins: [min; J] }
    }

    #[inline(always)]
    pub(super) fn step(&self, j: usize) -> f32 {
        self.d * self.factors[j]
    }

    /// Computed as decoders do, so that decoded weights are the same to the bit.
    #[inline(always)]
    pub(super) fn offset(&self, j: usize) -> f32 {
        -(self.dmin * self.mins[j])
    }
}

/// Eight choices of a sub-block's scale and minimum.
#[derive(Clone, Copy)]
pub(super) struct Lanes<S: Simd> {
    pub(super) d: S::Lanes,
    pub(super) dmin: S::Lanes,
    pub(super) scale: S::Lanes,
    pub(super) min: S::Lanes,
}

impl<S: Simd> Lanes<S> {
    /// Makes the choice in `lane` that of the block.
    #[inline(always)]
    pub(super) fn choose<const J: usize>(&self, simd: S, lane: usize, scales: &mut Scales<J>, j: usize) {
        scales.d = simd.store(self.d)[lane];
        scales.dmin = simd.store(self.dmin)[lane];
        scales.factors[j] = simd.store(self.scale)[lane];
        scales.mins[j] = simd.store(self.min)[lane];
    }
}

/// Neighbours with other integers.
#[inline(always)]
pub(super) fn integer_neighbours<S: Simd, const J: usize>(
    simd: S,
    scales: &Scales<J>,
    j: usize,
    steps: &[[f32; N_LANES]; 2],
    [of_scales, of_mins]: [(f32, f32); 2],
) -> Lanes<S> {
    let around = |middle: f32, steps: &[f32; N_LANES], range: (f32, f32)| {
        simd.round_clamp(simd.splat(middle) + simd.load(steps), range.0, range.1)
    };
    Lanes {
        d: simd.splat(scales.d),
        dmin: simd.splat(scales.dmin),
        scale: around(scales.factors[j], &steps[0], of_scales),
        min: around(scales.mins[j], &steps[1], of_mins),
    }
}

/// Neighbours of a block's own scale and offset: scales by the factors `1 + scale_step * t`, and offsets that keep level `middle` where it
/// is but for `offset_step` steps.
#[inline(always)]
pub(super) fn real_neighbours<S: Simd, const J: usize>(
    simd: S,
    scales: &Scales<J>,
    scale_steps: &[f32; N_LANES],
    offset_steps: &[f32; N_LANES],
    middle: f32,
) -> Lanes<S> {
    let (mut d, mut m) = ([0.0; N_LANES], [0.0; N_LANES]);
    for lane in 0..N_LANES {
        d[lane] = nonzero_half(scales.d * (1.0 + scale_steps[lane]));
        m[lane] = scales.dmin;
        if scales.mins[0] != 0.0 {
            m[lane] = any_half(scales.dmin + (scales.d - d[lane]) * middle + scales.d * offset_steps[lane]);
        }
    }
    Lanes { d: simd.load(&d), dmin: simd.load(&m), scale: simd.splat(scales.factors[0]), min: simd.splat(scales.mins[0]) }
}

/// The nearest finite f16, of any sign.
#[inline(always)]
pub(super) fn any_half(value: f32) -> f32 {
    let half = nonzero_half(value);
    // Nothing is gained by telling such offsets from zero.
    if half.abs() <= 1e-7 { 0.0 } else { half }
}

/// Importances of mean 1, none quite zero.
#[inline(always)]
pub(super) fn of_mean_one<const N: usize, const J: usize>(importances: &[f32]) -> [[f32; N]; J] {
    let mut w = [[0.0; N]; J];
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let per_mean = (N * J) as f32 / importances.iter().sum::<f32>();
    for (w, importance) in w.as_flattened_mut().iter_mut().zip(importances) {
        *w = importance * per_mean + 1e-6;
    }
    w
}

/// Levels as quants, where levels are the integers from `lowest` on.
#[inline(always)]
pub(super) fn quants<const N: usize, const J: usize, const T: usize>(levels: &[[f32; N]; J], lowest: f32) -> [u8; T] {
    let mut q = [0; T];
    for (q, level) in q.iter_mut().zip(levels.as_flattened()) {
        *q = crate::quant::lanes::low_byte(round(level - lowest));
    }
    q
}

/// `Σ a_i b_i` over whole lanes.
#[inline(always)]
pub(super) fn dot(simd: impl Simd, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = simd.zero();
    for (a, b) in a.as_chunks::<N_LANES>().0.iter().zip(b.as_chunks::<N_LANES>().0) {
        sum = simd.mul_add(simd.load(a), simd.load(b), sum);
    }
    simd.sum(sum)
}
