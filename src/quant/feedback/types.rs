//! The types that errors can be fed back in, each with the search and the packing of its plain encoder.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]
#![allow(non_camel_case_types, reason = "types are spelled as llama.cpp prints them")]

use super::codec::{Codec, Lanes, Scales, integer_neighbours, quants, real_neighbours};
use crate::quant::blocks::{
    BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4, BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K,
    BlockQ6_K, BlockQ8_0, Half, QK_K,
};
use crate::quant::lanes::{N_LANES, Simd, SixteenLevels, clamp, low_byte, max};
use crate::quant::legacy::{pack_fifth_bits, pack_nibbles};
use crate::quant::search_affine::{AffineFit, fit_affine, nonzero_half};
use crate::quant::search_block::{fit_affine_block, fit_block, symmetric_grid};
use crate::quant::search_symmetric::{Levels, SymmetricFit, SymmetricGrid, fit_symmetric};
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
const fn real_steps(unit: f32) -> [[f32; N_LANES]; 2] {
    let mut steps = REAL_STEPS;
    let mut idx = 0;
    while idx < 2 * N_LANES {
        steps[idx / N_LANES][idx % N_LANES] *= unit;
        idx += 1;
    }
    steps
}

/// Super-blocks with scales and minima.
macro_rules! affine_super_blocks {
    ($($name:ident, $n:literal, $j:literal, $block:ident, $pack:path;)*) => {
        $(
            #[derive(Debug, Clone, Copy)]
            pub(super) struct $name;

            impl Codec<$n, $j> for $name {
                type Block = $block;
                const SCALES: (f32, f32) = (0.0, kquant::$name.scale_max);
                const MINS: (f32, f32) = (0.0, kquant::$name.scale_max);

                #[inline(always)]
                fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes {
                    simd.round_clamp(numbers, 0.0, kquant::$name.q_max)
                }

                #[inline(always)]
                fn search<S: Simd>(simd: S, x: &[[f32; $n]; $j], w: &[[f32; $n]; $j]) -> Scales<$j> {
                    let fit = fit_affine(simd, x, w, kquant::$name);
                    Scales {
                        d: fit.d.to_f32(),
                        dmin: fit.dmin.to_f32(),
                        factors: fit.scales.map(f32::from),
                        mins: fit.mins.map(f32::from),
                    }
                }

                #[inline(always)]
                fn neighbours<S: Simd>(simd: S, scales: &Scales<$j>, j: usize, group: usize) -> Lanes<S> {
                    let ranges = [<Self as Codec<$n, $j>>::SCALES, <Self as Codec<$n, $j>>::MINS];
                    integer_neighbours(simd, scales, j, &AFFINE_STEPS[group], ranges)
                }

                #[inline(always)]
                fn pack(scales: &Scales<$j>, levels: &[[f32; $n]; $j]) -> $block {
                    $pack(&AffineFit {
                        d: Half::from_f32(scales.d),
                        dmin: Half::from_f32(scales.dmin),
                        scales: scales.factors.map(low_byte),
                        mins: scales.mins.map(low_byte),
                        q: quants::<$n, $j, QK_K>(levels, 0.0),
                    })
                }
            }
        )*
    };
}

affine_super_blocks! {
    Q2_K, 16, 16, BlockQ2_K, kquant::pack_q2_k;
    Q4_K, 32, 8, BlockQ4_K, kquant::pack_q4_k;
    Q5_K, 32, 8, BlockQ5_K, kquant::pack_q5_k;
}

/// Super-blocks with scales alone.
macro_rules! symmetric_super_blocks {
    ($($name:ident, $n:literal, $j:literal, $block:ident, $grid:path, $pack:path;)*) => {
        $(
            #[derive(Debug, Clone, Copy)]
            pub(super) struct $name;

            impl Codec<$n, $j> for $name {
                type Block = $block;
                const SCALES: (f32, f32) = (-$grid.scale_max, $grid.scale_max - 1.0);
                const MINS: (f32, f32) = (0.0, 0.0);

                #[inline(always)]
                fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes {
                    $grid.levels.nearest(simd, numbers)
                }

                #[inline(always)]
                fn search<S: Simd>(simd: S, x: &[[f32; $n]; $j], w: &[[f32; $n]; $j]) -> Scales<$j> {
                    let fit = fit_symmetric(simd, x, w, $grid);
                    Scales { d: fit.d.to_f32(), dmin: 0.0, factors: fit.scales.map(f32::from), mins: [0.0; $j] }
                }

                #[inline(always)]
                fn neighbours<S: Simd>(simd: S, scales: &Scales<$j>, j: usize, group: usize) -> Lanes<S> {
                    let ranges = [<Self as Codec<$n, $j>>::SCALES, <Self as Codec<$n, $j>>::MINS];
                    integer_neighbours(simd, scales, j, &SYMMETRIC_STEPS[group], ranges)
                }

                #[inline(always)]
                fn pack(scales: &Scales<$j>, levels: &[[f32; $n]; $j]) -> $block {
                    $pack(&SymmetricFit {
                        d: Half::from_f32(scales.d),
                        scales: scales.factors.map(|scale| low_byte(scale).cast_signed()),
                        q: quants_of::<_, $n, $j, QK_K>($grid, levels),
                    })
                }
            }
        )*
    };
}

symmetric_super_blocks! {
    Q3_K, 16, 16, BlockQ3_K, kquant::Q3_K, kquant::pack_q3_k;
    Q6_K, 16, 16, BlockQ6_K, kquant::Q6_K, kquant::pack_q6_k;
    IQ4_XS, 32, 8, BlockIQ4_XS, iq4::IQ4_XS, iq4::pack_iq4_xs;
}

/// Quants of levels that are the grid's.
#[inline(always)]
fn quants_of<L: Levels, const N: usize, const J: usize, const T: usize>(
    grid: SymmetricGrid<L>,
    levels: &[[f32; N]; J],
) -> [u8; T] {
    let mut q = [0; T];
    for (q, &level) in q.iter_mut().zip(levels.as_flattened()) {
        *q = grid.levels.quant(level);
    }
    q
}

/// Blocks of 32 with a scale alone.
macro_rules! symmetric_blocks {
    ($($name:ident, $block:ident, $grid:expr, $unit:literal, |$d:ident, $q:ident| $pack:expr;)*) => {
        $(
            #[derive(Debug, Clone, Copy)]
            pub(super) struct $name;

            impl Codec<32, 1> for $name {
                type Block = $block;
                const SCALES: (f32, f32) = (1.0, 1.0);
                const MINS: (f32, f32) = (0.0, 0.0);

                #[inline(always)]
                fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes {
                    $grid.levels.nearest(simd, numbers)
                }

                #[inline(always)]
                fn search<S: Simd>(simd: S, [x]: &[[f32; 32]; 1], [w]: &[[f32; 32]; 1]) -> Scales<1> {
                    Scales::of_block(nonzero_half(fit_block(simd, x, w, $grid).0), 0.0, 0.0)
                }

                #[inline(always)]
                fn neighbours<S: Simd>(simd: S, scales: &Scales<1>, _j: usize, group: usize) -> Lanes<S> {
                    const STEPS: [[f32; N_LANES]; 2] = real_steps($unit);
                    real_neighbours(simd, scales, &STEPS[group], &[0.0; N_LANES], 0.0)
                }

                #[inline(always)]
                fn pack(scales: &Scales<1>, levels: &[[f32; 32]; 1]) -> $block {
                    let ($d, $q) = (Half::from_f32(scales.d), quants_of::<_, 32, 1, 32>($grid, levels));
                    $pack
                }
            }
        )*
    };
}

symmetric_blocks! {
    Q4_0, BlockQ4_0, symmetric_grid(8.0), 0.02, |d, q| BlockQ4_0 { d, qs: pack_nibbles(&q) };
    Q5_0, BlockQ5_0, symmetric_grid(16.0), 0.006, |d, q| BlockQ5_0 { d, qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) };
    IQ4_NL, BlockIQ4_NL, iq4::IQ4_NL, 0.02, |d, q| BlockIQ4_NL { d, qs: pack_nibbles(&q) };
}

/// Blocks of 32 with scale and offset.
macro_rules! affine_blocks {
    ($($name:ident, $block:ident, $q_max:literal, $unit:literal, |$d:ident, $m:ident, $q:ident| $pack:expr;)*) => {
        $(
            #[derive(Debug, Clone, Copy)]
            pub(super) struct $name;

            impl Codec<32, 1> for $name {
                type Block = $block;
                const SCALES: (f32, f32) = (1.0, 1.0);
                const MINS: (f32, f32) = (-1.0, -1.0);

                #[inline(always)]
                fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes {
                    simd.round_clamp(numbers, 0.0, $q_max)
                }

                #[inline(always)]
                fn search<S: Simd>(simd: S, [x]: &[[f32; 32]; 1], [w]: &[[f32; 32]; 1]) -> Scales<1> {
                    let (d, m, _) = fit_affine_block(simd, x, w, $q_max);
                    Scales::of_block(d, m, -1.0)
                }

                #[inline(always)]
                fn neighbours<S: Simd>(simd: S, scales: &Scales<1>, _j: usize, group: usize) -> Lanes<S> {
                    const STEPS: [[f32; N_LANES]; 2] = real_steps($unit);
                    real_neighbours(simd, scales, &STEPS[group], &OFFSET_STEPS[group], $q_max * 0.5)
                }

                #[inline(always)]
                fn pack(scales: &Scales<1>, levels: &[[f32; 32]; 1]) -> $block {
                    let ($d, $m) = (Half::from_f32(scales.d), Half::from_f32(scales.dmin));
                    let $q = quants::<32, 1, 32>(levels, 0.0);
                    $pack
                }
            }
        )*
    };
}

affine_blocks! {
    Q4_1, BlockQ4_1, 15.0, 0.02, |d, m, q| BlockQ4_1 { d, m, qs: pack_nibbles(&q) };
    Q5_1, BlockQ5_1, 31.0, 0.006, |d, m, q| BlockQ5_1 { d, m, qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) };
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Q8_0;

impl Codec<32, 1> for Q8_0 {
    type Block = BlockQ8_0;
    const SCALES: (f32, f32) = (1.0, 1.0);
    const MINS: (f32, f32) = (0.0, 0.0);

    #[inline(always)]
    fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.round_clamp(numbers, -127.0, 127.0)
    }

    /// The range of the weights, as in the plain encoder.
    #[inline(always)]
    fn search<S: Simd>(simd: S, [x]: &[[f32; 32]; 1], _w: &[[f32; 32]; 1]) -> Scales<1> {
        let (low, high) = simd.extremes(x);
        Scales::of_block(nonzero_half(max(-low, high).abs() / 127.0), 0.0, 0.0)
    }

    #[inline(always)]
    fn neighbours<S: Simd>(simd: S, scales: &Scales<1>, _j: usize, group: usize) -> Lanes<S> {
        const STEPS: [[f32; N_LANES]; 2] = real_steps(0.0015);
        real_neighbours(simd, scales, &STEPS[group], &[0.0; N_LANES], 0.0)
    }

    #[inline(always)]
    fn pack(scales: &Scales<1>, [levels]: &[[f32; 32]; 1]) -> BlockQ8_0 {
        BlockQ8_0 { d: Half::from_f32(scales.d), qs: levels.map(|level| low_byte(level).cast_signed()) }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct MXFP4;

/// The values of E2M1, doubled. Two of them are zero.
static E2M1: SixteenLevels =
    SixteenLevels::new([-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);

impl Codec<32, 1> for MXFP4 {
    type Block = BlockMXFP4;
    const SCALES: (f32, f32) = (1.0, 1.0);
    const MINS: (f32, f32) = (0.0, 0.0);

    #[inline(always)]
    fn nearest<S: Simd>(simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.nearest_level(numbers, &E2M1)
    }

    #[inline(always)]
    fn search<S: Simd>(simd: S, [x]: &[[f32; 32]; 1], [w]: &[[f32; 32]; 1]) -> Scales<1> {
        let d = match mxfp4::best_exponent(simd, x, w) {
            Some(exponent) => mxfp4::power_of_two(exponent - 128),
            None => 0.0,
        };
        Scales::of_block(d, 0.0, 0.0)
    }

    #[inline(always)]
    fn neighbours<S: Simd>(simd: S, scales: &Scales<1>, _j: usize, _group: usize) -> Lanes<S> {
        let mut d = [scales.d; N_LANES];
        d[1] = Self::representable(2.0 * scales.d);
        d[2] = Self::representable(0.5 * scales.d);
        d[3] = Self::representable(0.25 * scales.d);
        Lanes { d: simd.load(&d), dmin: simd.zero(), scale: simd.splat(1.0), min: simd.zero() }
    }

    /// The nearest power of two that a block may have; zero for zero.
    #[inline(always)]
    fn representable(d: f32) -> f32 {
        let (lowest, highest) = (mxfp4::EXPONENTS.start() - 128, mxfp4::EXPONENTS.end() - 128);
        if d <= 0.0 {
            return 0.0;
        }
        let power = f32::from_bits((d.to_bits() + 0x0040_0000) & 0x7f80_0000);
        clamp(power, mxfp4::power_of_two(lowest), mxfp4::power_of_two(highest))
    }

    #[inline(always)]
    fn pack(scales: &Scales<1>, [levels]: &[[f32; 32]; 1]) -> BlockMXFP4 {
        let mut q = [0; 32];
        for (q, &level) in q.iter_mut().zip(levels) {
            let magnitude: u8 = mxfp4::MIDDLES.iter().map(|&middle| u8::from(level.abs() > middle)).sum();
            *q = magnitude | (u8::from(level < 0.0 && magnitude > 0) << 3);
        }
        // The exponent's field of the f32 is one less.
        let e = if scales.d == 0.0 { 0 } else { (scales.d.to_bits() >> 23).to_le_bytes()[0].wrapping_add(1) };
        BlockMXFP4 { e, qs: pack_nibbles(&q) }
    }
}
