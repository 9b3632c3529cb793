//! Small floats under one scale: mxfp4, mxfp8 and nvfp4.
//!
//! The scale is the smallest that keeps the group's largest weight within the codes' range (a power of two, E8M0), or the nearest to
//! it (E4M3). Results between the steps are rounded to the weights' type, as MLX's are.
//!
//! Source: `fp_quantize` and `fp_dequantize` in mlx/ops.cpp, mlx 0.32.4.

use std::marker::PhantomData;

use super::minifloat::{E2M1, E2M1_MAX, E4M3, E4M3_MAX, decode_e2m1, decode_e4m3, decode_e8m0, encode_e8m0_above};
use super::packing::{Code, TILE, encode, extremes, map_lanes, unpack};
use super::{Components, ComponentsMut, Float};
use crate::quant::float::{Brain, Half, Precision, Single};
use crate::quant::lanes::{N_LANES, Simd};

/// Encodes a row of finite weights: E2M1 for 4 bits, E4M3 for 8, under powers of two. All weights fit, so it is always true.
///
/// Groups whose scale would be below `2^-127` get `2^-127`, as on Metal and CUDA. On a CPU, MLX's subtraction goes below zero,
/// and the code of such a scale comes out as one of the largest.
#[inline(always)]
pub(super) fn encode_mx_row<const BITS: usize>(simd: impl Simd, float: Float, src: &[f32], out: &mut ComponentsMut<'_>) -> bool {
    let largest = if BITS == 4 { E2M1_MAX } else { E4M3_MAX };
    let (mut numbers, mut codes) = ([0.0; TILE], [0; TILE]);
    let tiles = src.chunks(TILE).zip(out.weight.chunks_mut(TILE * BITS / 8)).zip(out.scales.chunks_mut(TILE / 32));
    for ((weights, bytes), scales) in tiles {
        for ((weights, numbers), scale) in weights.as_chunks::<32>().0.iter().zip(numbers.as_chunks_mut::<32>().0).zip(scales) {
            let peak = peak(simd, weights);
            *scale = encode_e8m0_above(float.round(peak / largest));
            // A power of two whose inverse is a normal number: dividing and multiplying are the same.
            let inverse = simd.splat(1.0 / decode_e8m0(*scale));
            map_lanes(simd, weights, numbers, |lanes| lanes * inverse);
        }
        let numbers = &numbers[..weights.len()];
        if BITS == 4 {
            encode::<E2M1, BITS>(numbers, &mut codes, bytes);
        } else {
            encode::<E4M3, BITS>(numbers, &mut codes, bytes);
        }
    }
    true
}

/// Encodes a row of finite weights as E2M1 under E4M3 scales; false if a weight is beyond the largest number under the largest
/// scale.
#[inline(always)]
pub(super) fn encode_nvfp4_row(simd: impl Simd, float: Float, src: &[f32], out: &mut ComponentsMut<'_>) -> bool {
    match float {
        Float::F32 => encode_nvfp4_tiles::<Single>(simd, src, out),
        Float::F16 => encode_nvfp4_tiles::<Half>(simd, src, out),
        Float::BF16 => encode_nvfp4_tiles::<Brain>(simd, src, out),
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "codes are below 256")]
fn encode_nvfp4_tiles<P: Precision>(simd: impl Simd, src: &[f32], out: &mut ComponentsMut<'_>) -> bool {
    let (mut numbers, mut codes) = ([0.0; TILE], [0; TILE]);
    let tiles = src.chunks(TILE).zip(out.weight.chunks_mut(TILE / 2)).zip(out.scales.chunks_mut(TILE / 16));
    for ((weights, bytes), scales) in tiles {
        for ((weights, numbers), scale) in weights.as_chunks::<16>().0.iter().zip(numbers.as_chunks_mut::<16>().0).zip(scales) {
            let peak = peak(simd, weights);
            if peak > E2M1_MAX * E4M3_MAX {
                return false;
            }
            *scale = E4M3::of(P::round(peak / E2M1_MAX)) as u8;
            // Weights under a scale of zero become zeros.
            let divisor = simd.splat(if *scale == 0 { f32::INFINITY } else { decode_e4m3(*scale) });
            map_lanes(simd, weights, numbers, |lanes| lanes / divisor);
        }
        encode::<Rounded<P>, 4>(&numbers[..weights.len()], &mut codes, bytes);
    }
    true
}

/// Largest magnitude of finite weights.
#[inline(always)]
fn peak(simd: impl Simd, weights: &[f32]) -> f32 {
    let (low, high) = extremes(simd, weights);
    // Not `-low`: lanes have no negation. Zeros may come out with a sign.
    simd.largest(simd.max(simd.zero() - low, high)).abs()
}

/// [`E2M1`] of a number that is first rounded to another type.
struct Rounded<P>(PhantomData<P>);

impl<P: Precision> Code for Rounded<P> {
    #[inline(always)]
    fn of(number: f32) -> u32 {
        E2M1::of(P::round(number))
    }
}

/// Decodes groups of `N` weights of `BITS` bits, E2M1 for 4 and E4M3 for 8. The product is rounded.
#[inline(always)]
pub(super) fn decode<P: Precision, const N: usize, const BITS: usize>(
    src: Components<'_>,
    dst: &mut [f32],
    decode_scale: impl Fn(u8) -> f32,
) {
    let groups = dst.as_chunks_mut::<N>().0.iter_mut().zip(src.weight.chunks_exact(N * BITS / 8)).zip(src.scales);
    for ((weights, bytes), &scale) in groups {
        let scale = P::round(decode_scale(scale));
        let mut codes = [0; N];
        unpack::<BITS>(bytes, &mut codes);
        for (weights, codes) in weights.as_chunks_mut::<N_LANES>().0.iter_mut().zip(codes.as_chunks::<N_LANES>().0) {
            // Two loops: lookups are not vectorized.
            *weights = codes.map(if BITS == 4 { decode_e2m1 } else { decode_e4m3 });
            for weight in weights {
                *weight = P::round(*weight * scale);
            }
        }
    }
}
