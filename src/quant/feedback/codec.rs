//! What a type can represent, in one form for all: `weight = step * level + offset` in each sub-block.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use crate::quant::float::Float;
use crate::quant::lanes::{N_LANES, Simd, SixteenLevels, clamp, round};
use crate::quant::mxfp4;
use crate::quant::search_affine::nonzero_half;

/// Groups of eight neighbours that are tried for a sub-block's scale and minimum.
pub(super) const N_GROUPS: usize = 2;

/// Sub-blocks that a block has at most.
pub(super) const MAX_SUBS: usize = 16;

/// A type of blocks of sub-blocks of `N` weights, each with a code of its own.
///
/// Types differ by values, not by code: kernels are compiled once for each `N` and `L`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec<L, const N: usize> {
    /// The numbers that codes stand for.
    pub(super) levels: L,
    /// Sub-blocks of a block.
    pub(super) n_subs: usize,
    /// What the offset of a sub-block is.
    pub(super) offsets: Offsets,
    /// What scales and minima may become.
    pub(super) neighbours: Neighbours,
    /// Scales and minima of small error, for a block's weights and their importances, which are positive and around 1.
    pub(super) search: fn(&[f32], &[f32]) -> Scales,
}

/// A type with its blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockType<L, const N: usize> {
    pub(super) codec: Codec<L, N>,
    /// Bytes of a block.
    pub(super) block_bytes: usize,
    /// Writes the block of scales and levels.
    pub(super) pack: fn(&Scales, &[f32], &mut [u8]),
}

/// What the offset of a sub-block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offsets {
    /// There is none.
    None,
    /// A number of its own.
    Own,
    /// An integer minimum times the block's `dmin`.
    Integer,
    /// A zero point times the scale, with the opposite sign: `dmin` is the scale too, and the zero point is the minimum.
    ZeroPoint,
}

/// The neighbours of a sub-block's scale and minimum, in [`N_GROUPS`] groups of eight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Neighbours {
    /// Other integers in these ranges, by steps of scale and minimum.
    Integers { steps: &'static [[[f32; N_LANES]; 2]; N_GROUPS], scales: (f32, f32), mins: (f32, f32) },
    /// Other scales and offsets of a block, see [`real_neighbours`].
    Reals { scale_steps: [[f32; N_LANES]; N_GROUPS], offset_steps: [[f32; N_LANES]; N_GROUPS], middle: f32 },
    /// Other scales of type `float` by the factors `1 + scale_step`, and other zero points up to `q_max`; without zero points none move.
    ZeroPoints { scale_steps: [[f32; N_LANES]; N_GROUPS], point_steps: [[f32; N_LANES]; N_GROUPS], q_max: f32, float: Float },
    /// Other powers of two.
    Powers,
}

impl Neighbours {
    /// Eight neighbours of a sub-block's scale and minimum; the first of group 0 is the present one.
    #[inline(always)]
    pub(super) fn around<S: Simd>(&self, simd: S, present: SubScales, group: usize) -> Lanes<S> {
        match self {
            Self::Integers { steps, scales, mins } => integer_neighbours(simd, present, &steps[group], [*scales, *mins]),
            Self::Reals { scale_steps, offset_steps, middle } => {
                real_neighbours(simd, present, &scale_steps[group], &offset_steps[group], *middle)
            }
            Self::ZeroPoints { scale_steps, point_steps, q_max, float } => {
                let mut d = [0.0; N_LANES];
                for (d, step) in d.iter_mut().zip(&scale_steps[group]) {
                    *d = nonzero(*float, present.d * (1.0 + step));
                }
                let d = simd.load(&d);
                let min = simd.round_clamp(simd.splat(present.min) + simd.load(&point_steps[group]), 0.0, *q_max);
                Lanes { d, dmin: d, scale: simd.splat(1.0), min }
            }
            Self::Powers => {
                let mut d = [present.d; N_LANES];
                d[1] = nearest_power(2.0 * present.d);
                d[2] = nearest_power(0.5 * present.d);
                d[3] = nearest_power(0.25 * present.d);
                Lanes { d: simd.load(&d), dmin: simd.zero(), scale: simd.splat(1.0), min: simd.zero() }
            }
        }
    }

    /// The scale nearest to `d` that a file can hold.
    #[inline(always)]
    pub(super) fn representable(&self, d: f32) -> f32 {
        match self {
            Self::Powers => nearest_power(d),
            Self::ZeroPoints { float, .. } => nonzero(*float, d),
            Self::Integers { .. } | Self::Reals { .. } => nonzero_half(d),
        }
    }
}

/// The numbers that codes stand for.
pub(super) trait Levels: Copy {
    /// The level nearest to each number.
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes;
}

/// All integers from `low` to `high`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Integers {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Levels for Integers {
    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.round_clamp(numbers, self.low, self.high)
    }
}

/// Sixteen numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table(pub(super) &'static SixteenLevels);

impl Levels for Table {
    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.nearest_level(numbers, self.0)
    }
}

/// Everything of a block but its levels: `step = d * factor` and `offset = -(dmin * min)` of each sub-block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales {
    /// Scale of the scales, as the file holds it.
    pub(super) d: f32,
    /// Scale of the minima, as the file holds it.
    pub(super) dmin: f32,
    /// Integer scales. Types without integer scales have 1 alone.
    pub(super) factors: [f32; MAX_SUBS],
    /// Integer minima: -1 alone where the offset is a number of its own, 0 where there is none.
    pub(super) mins: [f32; MAX_SUBS],
}

impl Scales {
    /// What the types without integer scales have.
    pub(super) fn of_block(d: f32, m: f32, min: f32) -> Self {
        Self { d, dmin: m, factors: [1.0; MAX_SUBS], mins: [min; MAX_SUBS] }
    }

    /// What super-blocks have.
    pub(super) fn of_super_block<const J: usize>(d: f32, dmin: f32, factors: [f32; J], mins: [f32; J]) -> Self {
        let mut scales = Self { d, dmin, factors: [0.0; MAX_SUBS], mins: [0.0; MAX_SUBS] };
        scales.factors[..J].copy_from_slice(&factors);
        scales.mins[..J].copy_from_slice(&mins);
        scales
    }

    /// Those of a sub-block.
    #[inline(always)]
    pub(super) fn sub(&self, j: usize) -> SubScales {
        SubScales { d: self.d, dmin: self.dmin, factor: self.factors[j], min: self.mins[j] }
    }

    /// Takes those of a sub-block, and the block's from it.
    #[inline(always)]
    pub(super) fn set_sub(&mut self, j: usize, sub: SubScales) {
        (self.d, self.dmin, self.factors[j], self.mins[j]) = (sub.d, sub.dmin, sub.factor, sub.min);
    }
}

/// [`Scales`] of one sub-block.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubScales {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) factor: f32,
    pub(super) min: f32,
}

impl SubScales {
    #[inline(always)]
    pub(super) fn step(self) -> f32 {
        self.d * self.factor
    }

    /// Computed as decoders do, so that decoded weights are the same to the bit.
    #[inline(always)]
    pub(super) fn offset(self) -> f32 {
        -(self.dmin * self.min)
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
    /// The choice in `lane`.
    #[inline(always)]
    pub(super) fn choice(&self, simd: S, lane: usize) -> SubScales {
        let number = |lanes: S::Lanes| simd.store(lanes)[lane];
        SubScales { d: number(self.d), dmin: number(self.dmin), factor: number(self.scale), min: number(self.min) }
    }
}

/// Neighbours with other integers.
#[inline(always)]
fn integer_neighbours<S: Simd>(
    simd: S,
    scales: SubScales,
    steps: &[[f32; N_LANES]; 2],
    [of_scales, of_mins]: [(f32, f32); 2],
) -> Lanes<S> {
    let around = |middle: f32, steps: &[f32; N_LANES], range: (f32, f32)| {
        simd.round_clamp(simd.splat(middle) + simd.load(steps), range.0, range.1)
    };
    Lanes {
        d: simd.splat(scales.d),
        dmin: simd.splat(scales.dmin),
        scale: around(scales.factor, &steps[0], of_scales),
        min: around(scales.min, &steps[1], of_mins),
    }
}

/// Neighbours of a block's own scale and offset: scales by the factors `1 + scale_step * t`, and offsets that keep level `middle` where it
/// is but for `offset_step` steps.
#[inline(always)]
fn real_neighbours<S: Simd>(
    simd: S,
    scales: SubScales,
    scale_steps: &[f32; N_LANES],
    offset_steps: &[f32; N_LANES],
    middle: f32,
) -> Lanes<S> {
    let (mut d, mut m) = ([0.0; N_LANES], [0.0; N_LANES]);
    for lane in 0..N_LANES {
        d[lane] = nonzero_half(scales.d * (1.0 + scale_steps[lane]));
        m[lane] = scales.dmin;
        if scales.min != 0.0 {
            m[lane] = any_half(scales.dmin + (scales.d - d[lane]) * middle + scales.d * offset_steps[lane]);
        }
    }
    Lanes { d: simd.load(&d), dmin: simd.load(&m), scale: simd.splat(scales.factor), min: simd.splat(scales.min) }
}

/// The nearest finite number of the type; only zero becomes zero.
#[inline(always)]
fn nonzero(float: Float, value: f32) -> f32 {
    if float == Float::F16 { nonzero_half(value) } else { float.round(value) }
}

/// The nearest finite f16, of any sign.
#[inline(always)]
pub(super) fn any_half(value: f32) -> f32 {
    let half = nonzero_half(value);
    // Nothing is gained by telling such offsets from zero.
    if half.abs() <= 1e-7 { 0.0 } else { half }
}

/// The nearest power of two that a block of MXFP4 may have; zero for zero.
#[inline(always)]
fn nearest_power(d: f32) -> f32 {
    let (lowest, highest) = (mxfp4::EXPONENTS.start() - 128, mxfp4::EXPONENTS.end() - 128);
    if d <= 0.0 {
        return 0.0;
    }
    let power = f32::from_bits((d.to_bits() + 0x0040_0000) & 0x7f80_0000);
    clamp(power, mxfp4::power_of_two(lowest), mxfp4::power_of_two(highest))
}

/// Importances of mean 1, none quite zero.
pub(super) fn of_mean_one(importances: &[f32]) -> Vec<f32> {
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let per_mean = importances.len() as f32 / importances.iter().sum::<f32>();
    importances.iter().map(|importance| importance * per_mean + 1e-6).collect()
}

/// Levels as quants, where levels are the integers from `lowest` on.
pub(super) fn quants<const T: usize>(levels: &[f32], lowest: f32) -> [u8; T] {
    let mut q = [0; T];
    for (q, level) in q.iter_mut().zip(levels) {
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
