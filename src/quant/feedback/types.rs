//! The types that errors can be fed back in, each with the search and the packing of its plain encoder.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]
#![allow(non_upper_case_globals, reason = "types are spelled as llama.cpp prints them")]

use bytemuck::Pod;

use super::codec::{BlockType, Codec, Integers, Neighbours, Offsets, Scales, Table, quants};
use crate::quant::blocks::{
    BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4, BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K,
    BlockQ6_K, BlockQ8_0, Half, QK_K,
};
use crate::quant::dispatch::{Kernel, run_fastest};
use crate::quant::lanes::{N_LANES, Simd, SixteenLevels, low_byte, max};
use crate::quant::legacy::{pack_fifth_bits, pack_nibbles};
use crate::quant::search_affine::{AffineFit, AffineGrid, FitAffine, nonzero_half};
use crate::quant::search_block::{FitAffineBlock, FitBlock, symmetric_grid};
use crate::quant::search_symmetric::{FitSymmetric, Levels, SymmetricFit, SymmetricGrid};
use crate::quant::{iq4, kquant, mxfp4};

/// Steps to neighbours, for scale and minimum: a larger scale goes with a larger minimum.
const AFFINE_STEPS: [[[f32; N_LANES]; 2]; 2] = [
    [[0.0, 1.0, -1.0, 0.0, 0.0, 1.0, -1.0, 2.0], [0.0, 0.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0]],
    [[1.0, -1.0, -2.0, 2.0, -2.0, 2.0, -2.0, 3.0], [-1.0, 1.0, -1.0, 0.0, 0.0, 2.0, -2.0, 2.0]],
];

/// Steps to neighbours of scales without minima.
const SYMMETRIC_STEPS: [[[f32; N_LANES]; 2]; 2] = [
    [[0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0], [0.0; N_LANES]],
    [[-4.0, 5.0, -5.0, 6.0, -6.0, 7.0, -7.0, 8.0], [0.0; N_LANES]],
];

/// Relative steps to neighbours of a block's own scale, in units of the type's.
const REAL_STEPS: [[f32; N_LANES]; 2] =
    [[0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0], [0.0, 0.0, 1.0, -1.0, 1.0, -1.0, -4.0, 5.0]];

/// Steps to neighbours of a block's own offset, in steps from one level to the next.
const OFFSET_STEPS: [[f32; N_LANES]; 2] = [[0.0; N_LANES], [0.12, -0.12, 0.12, 0.12, -0.12, -0.12, 0.0, 0.0]];

/// [`REAL_STEPS`] of a type.
pub(super) const fn real_steps(unit: f32) -> [[f32; N_LANES]; 2] {
    let mut steps = REAL_STEPS;
    let mut idx = 0;
    while idx < 2 * N_LANES {
        steps[idx / N_LANES][idx % N_LANES] *= unit;
        idx += 1;
    }
    steps
}

/// A super-block with scales and minima: its grid, a function that packs a fit, and one that searches.
const fn affine_super_block<B: Pod, const N: usize, const J: usize>(
    grid: &AffineGrid,
    search: fn(&[f32], &[f32]) -> Scales,
    pack: fn(&Scales, &[f32], &mut [u8]),
) -> BlockType<Integers, N> {
    let range = (0.0, grid.scale_max);
    let codec = Codec {
        levels: Integers { low: 0.0, high: grid.q_max },
        n_subs: J,
        offsets: Offsets::Integer,
        neighbours: Neighbours::Integers { steps: &AFFINE_STEPS, scales: range, mins: range },
        search,
    };
    BlockType { codec, block_bytes: size_of::<B>(), pack }
}

/// The scales that the plain encoder finds.
fn affine_scales<const N: usize, const J: usize>(x: &[f32], w: &[f32], grid: AffineGrid) -> Scales {
    let fit = run_fastest(FitAffine::<N, J> { x: &subs(x), w: &subs(w), grid });
    Scales::of_super_block(fit.d.to_f32(), fit.dmin.to_f32(), fit.scales.map(f32::from), fit.mins.map(f32::from))
}

/// Scales and levels in the form of the plain encoder.
fn affine_fit<const J: usize>(scales: &Scales, levels: &[f32]) -> AffineFit<J> {
    AffineFit {
        d: Half::from_f32(scales.d),
        dmin: Half::from_f32(scales.dmin),
        scales: std::array::from_fn(|j| low_byte(scales.factors[j])),
        mins: std::array::from_fn(|j| low_byte(scales.mins[j])),
        q: quants::<QK_K>(levels, 0.0),
    }
}

/// A slice of `N * J` numbers as `J` sub-blocks of `N`.
pub(super) fn subs<const N: usize, const J: usize>(x: &[f32]) -> [[f32; N]; J] {
    let mut subs = [[0.0; N]; J];
    subs.as_flattened_mut().copy_from_slice(x);
    subs
}

fn write(bytes: &mut [u8], block: &impl Pod) {
    bytes.copy_from_slice(bytemuck::bytes_of(block));
}

pub(super) static Q2_K: BlockType<Integers, 16> = affine_super_block::<BlockQ2_K, 16, 16>(
    &kquant::Q2_K,
    |x, w| affine_scales::<16, 16>(x, w, kquant::Q2_K),
    |scales, levels, bytes| write(bytes, &kquant::pack_q2_k(&affine_fit(scales, levels))),
);

pub(super) static Q4_K: BlockType<Integers, 32> = affine_super_block::<BlockQ4_K, 32, 8>(
    &kquant::Q4_K,
    |x, w| affine_scales::<32, 8>(x, w, kquant::Q4_K),
    |scales, levels, bytes| write(bytes, &kquant::pack_q4_k(&affine_fit(scales, levels))),
);

pub(super) static Q5_K: BlockType<Integers, 32> = affine_super_block::<BlockQ5_K, 32, 8>(
    &kquant::Q5_K,
    |x, w| affine_scales::<32, 8>(x, w, kquant::Q5_K),
    |scales, levels, bytes| write(bytes, &kquant::pack_q5_k(&affine_fit(scales, levels))),
);

/// A super-block with scales alone: what its quants stand for, the largest integer scale and one, functions that search and pack.
const fn symmetric_super_block<L, B: Pod, const N: usize, const J: usize>(
    levels: L,
    scale_max: f32,
    search: fn(&[f32], &[f32]) -> Scales,
    pack: fn(&Scales, &[f32], &mut [u8]),
) -> BlockType<L, N> {
    let scales = (-scale_max, scale_max - 1.0);
    let codec = Codec {
        levels,
        n_subs: J,
        offsets: Offsets::None,
        neighbours: Neighbours::Integers { steps: &SYMMETRIC_STEPS, scales, mins: (0.0, 0.0) },
        search,
    };
    BlockType { codec, block_bytes: size_of::<B>(), pack }
}

/// The scales that the plain encoder finds.
fn symmetric_scales<L: Levels, const N: usize, const J: usize>(x: &[f32], w: &[f32], grid: SymmetricGrid<L>) -> Scales {
    let fit = run_fastest(FitSymmetric::<L, N, J> { x: &subs(x), w: &subs(w), grid });
    Scales::of_super_block(fit.d.to_f32(), 0.0, fit.scales.map(f32::from), [0.0; J])
}

/// Scales and levels in the form of the plain encoder.
fn symmetric_fit<L: Levels, const J: usize>(grid: SymmetricGrid<L>, scales: &Scales, levels: &[f32]) -> SymmetricFit<J> {
    SymmetricFit {
        d: Half::from_f32(scales.d),
        scales: std::array::from_fn(|j| low_byte(scales.factors[j]).cast_signed()),
        q: quants_of(grid, levels),
    }
}

/// Quants of levels that are the grid's.
fn quants_of<L: Levels, const T: usize>(grid: SymmetricGrid<L>, levels: &[f32]) -> [u8; T] {
    let mut q = [0; T];
    for (q, &level) in q.iter_mut().zip(levels) {
        *q = grid.levels.quant(level);
    }
    q
}

pub(super) static Q3_K: BlockType<Integers, 16> = symmetric_super_block::<_, BlockQ3_K, 16, 16>(
    Integers { low: -4.0, high: 3.0 },
    kquant::Q3_K.scale_max,
    |x, w| symmetric_scales::<_, 16, 16>(x, w, kquant::Q3_K),
    |scales, levels, bytes| write(bytes, &kquant::pack_q3_k(&symmetric_fit(kquant::Q3_K, scales, levels))),
);

pub(super) static Q6_K: BlockType<Integers, 16> = symmetric_super_block::<_, BlockQ6_K, 16, 16>(
    Integers { low: -32.0, high: 31.0 },
    kquant::Q6_K.scale_max,
    |x, w| symmetric_scales::<_, 16, 16>(x, w, kquant::Q6_K),
    |scales, levels, bytes| write(bytes, &kquant::pack_q6_k(&symmetric_fit(kquant::Q6_K, scales, levels))),
);

pub(super) static IQ4_XS: BlockType<Table, 32> = symmetric_super_block::<_, BlockIQ4_XS, 32, 8>(
    Table(&iq4::LEVELS),
    iq4::IQ4_XS.scale_max,
    |x, w| symmetric_scales::<_, 32, 8>(x, w, iq4::IQ4_XS),
    |scales, levels, bytes| write(bytes, &iq4::pack_iq4_xs(&symmetric_fit(iq4::IQ4_XS, scales, levels))),
);

/// A block of 32 with a scale alone: what its quants stand for, the unit of relative steps to neighbours, functions that search and pack.
const fn symmetric_block<L, B: Pod>(
    levels: L,
    unit: f32,
    search: fn(&[f32], &[f32]) -> Scales,
    pack: fn(&Scales, &[f32], &mut [u8]),
) -> BlockType<L, 32> {
    let codec = Codec {
        levels,
        n_subs: 1,
        offsets: Offsets::None,
        neighbours: Neighbours::Reals { scale_steps: real_steps(unit), offset_steps: [[0.0; N_LANES]; 2], middle: 0.0 },
        search,
    };
    BlockType { codec, block_bytes: size_of::<B>(), pack }
}

/// The scale that the plain encoder finds.
fn block_scale<L: Levels>(x: &[f32], w: &[f32], grid: SymmetricGrid<L>) -> Scales {
    let ([x], [w]) = (subs(x), subs(w));
    Scales::of_block(nonzero_half(run_fastest(FitBlock { x: &x, w: &w, grid }).0), 0.0, 0.0)
}

pub(super) static Q4_0: BlockType<Integers, 32> = symmetric_block::<_, BlockQ4_0>(
    Integers { low: -8.0, high: 7.0 },
    0.02,
    |x, w| block_scale(x, w, symmetric_grid(8.0)),
    |scales, levels, bytes| {
        let q = quants_of(symmetric_grid(8.0), levels);
        write(bytes, &BlockQ4_0 { d: Half::from_f32(scales.d), qs: pack_nibbles(&q) });
    },
);

pub(super) static Q5_0: BlockType<Integers, 32> = symmetric_block::<_, BlockQ5_0>(
    Integers { low: -16.0, high: 15.0 },
    0.006,
    |x, w| block_scale(x, w, symmetric_grid(16.0)),
    |scales, levels, bytes| {
        let q = quants_of(symmetric_grid(16.0), levels);
        write(bytes, &BlockQ5_0 { d: Half::from_f32(scales.d), qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) });
    },
);

pub(super) static IQ4_NL: BlockType<Table, 32> = symmetric_block::<_, BlockIQ4_NL>(
    Table(&iq4::LEVELS),
    0.02,
    |x, w| block_scale(x, w, iq4::IQ4_NL),
    |scales, levels, bytes| {
        let q = quants_of(iq4::IQ4_NL, levels);
        write(bytes, &BlockIQ4_NL { d: Half::from_f32(scales.d), qs: pack_nibbles(&q) });
    },
);

pub(super) static Q8_0: BlockType<Integers, 32> = symmetric_block::<_, BlockQ8_0>(
    Integers { low: -127.0, high: 127.0 },
    0.0015,
    // The range of the weights, as in the plain encoder.
    |x, _| Scales::of_block(nonzero_half(x.iter().fold(0.0, |largest, weight| max(weight.abs(), largest)) / 127.0), 0.0, 0.0),
    |scales, levels, bytes| {
        let qs = std::array::from_fn(|i| low_byte(levels[i]).cast_signed());
        write(bytes, &BlockQ8_0 { d: Half::from_f32(scales.d), qs });
    },
);

/// A block of 32 with scale and offset: its largest quant, the unit of relative steps to neighbours, functions that search and pack.
const fn affine_block<B: Pod>(
    q_max: f32,
    unit: f32,
    search: fn(&[f32], &[f32]) -> Scales,
    pack: fn(&Scales, &[f32], &mut [u8]),
) -> BlockType<Integers, 32> {
    let codec = Codec {
        levels: Integers { low: 0.0, high: q_max },
        n_subs: 1,
        offsets: Offsets::Own,
        neighbours: Neighbours::Reals { scale_steps: real_steps(unit), offset_steps: OFFSET_STEPS, middle: q_max * 0.5 },
        search,
    };
    BlockType { codec, block_bytes: size_of::<B>(), pack }
}

/// Scale and offset that the plain encoder finds.
fn block_scale_and_offset(x: &[f32], w: &[f32], q_max: f32) -> Scales {
    let ([x], [w]) = (subs(x), subs(w));
    let (d, m, _) = run_fastest(FitAffineBlock { x: &x, w: &w, q_max });
    Scales::of_block(d, m, -1.0)
}

pub(super) static Q4_1: BlockType<Integers, 32> = affine_block::<BlockQ4_1>(
    15.0,
    0.02,
    |x, w| block_scale_and_offset(x, w, 15.0),
    |scales, levels, bytes| {
        let (d, m, q) = (Half::from_f32(scales.d), Half::from_f32(scales.dmin), quants(levels, 0.0));
        write(bytes, &BlockQ4_1 { d, m, qs: pack_nibbles(&q) });
    },
);

pub(super) static Q5_1: BlockType<Integers, 32> = affine_block::<BlockQ5_1>(
    31.0,
    0.006,
    |x, w| block_scale_and_offset(x, w, 31.0),
    |scales, levels, bytes| {
        let (d, m, q) = (Half::from_f32(scales.d), Half::from_f32(scales.dmin), quants(levels, 0.0));
        write(bytes, &BlockQ5_1 { d, m, qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) });
    },
);

/// The values of E2M1, doubled. Two of them are zero.
static E2M1: SixteenLevels =
    SixteenLevels::new([-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);

pub(super) static MXFP4: BlockType<Table, 32> = BlockType {
    codec: Codec {
        levels: Table(&E2M1),
        n_subs: 1,
        offsets: Offsets::None,
        neighbours: Neighbours::Powers,
        search: |x, w| {
            let ([x], [w]) = (subs(x), subs(w));
            let exponent = run_fastest(BestExponent { x: &x, w: &w });
            Scales::of_block(exponent.map_or(0.0, |exponent| mxfp4::power_of_two(exponent - 128)), 0.0, 0.0)
        },
    },
    block_bytes: size_of::<BlockMXFP4>(),
    pack: |scales, levels, bytes| {
        let mut q = [0; 32];
        for (q, &level) in q.iter_mut().zip(levels) {
            let magnitude: u8 = mxfp4::MIDDLES.iter().map(|&middle| u8::from(level.abs() > middle)).sum();
            *q = magnitude | (u8::from(level < 0.0 && magnitude > 0) << 3);
        }
        // The exponent's field of the f32 is one less.
        let e = if scales.d == 0.0 { 0 } else { (scales.d.to_bits() >> 23).to_le_bytes()[0].wrapping_add(1) };
        write(bytes, &BlockMXFP4 { e, qs: pack_nibbles(&q) });
    },
};

/// See [`mxfp4::best_exponent`].
struct BestExponent<'a> {
    x: &'a [f32; 32],
    w: &'a [f32; 32],
}

impl Kernel for BestExponent<'_> {
    type Output = Option<i32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<i32> {
        mxfp4::best_exponent(simd, self.x, self.w)
    }
}
