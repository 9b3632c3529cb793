//! The affine mode: evenly spaced levels between a group's extremes.
//!
//! `w[i] = scale * q[i] + bias` with `q[i]` in `0..2^bits`. The extreme that is farther from zero is the bias, so that it is kept
//! exactly, and the scale is such that zero is a level. At 16-bit scales and biases, 4 bits in groups of 64 take 4.5 bits per
//! weight.
//!
//! Source: `quantize` in mlx/backend/cpu/quantized.cpp and `affine_dequantize` in mlx/ops.cpp, mlx 0.32.4.

use super::packing::{Code, TILE, encode, extremes, map_lanes, unpack};
use super::{Affine, Components, ComponentsMut, Float};
use crate::quant::float::Precision;
use crate::quant::lanes::{Simd, clamp, low_byte, max};

/// Smallest step between levels, before zero is made one of them.
const SMALLEST_STEP: f32 = 1e-7;

/// Weights of the longest group.
const LONGEST_GROUP: usize = 128;

/// Encodes a row of finite weights; false if the range of a group's weights is infinite.
#[inline(always)]
pub(super) fn encode_row(simd: impl Simd, affine: Affine, float: Float, src: &[f32], out: &mut ComponentsMut<'_>) -> bool {
    let group_len = usize::from(affine.group_len);
    match affine.bits {
        2 => encode_tiles::<2>(simd, group_len, float, src, out),
        3 => encode_tiles::<3>(simd, group_len, float, src, out),
        4 => encode_tiles::<4>(simd, group_len, float, src, out),
        5 => encode_tiles::<5>(simd, group_len, float, src, out),
        6 => encode_tiles::<6>(simd, group_len, float, src, out),
        _ => encode_tiles::<8>(simd, group_len, float, src, out),
    }
}

#[inline(always)]
fn encode_tiles<const BITS: usize>(
    simd: impl Simd,
    group_len: usize,
    float: Float,
    src: &[f32],
    out: &mut ComponentsMut<'_>,
) -> bool {
    let (mut numbers, mut codes) = ([0.0; TILE], [0; TILE]);
    let mut group_idx = 0;
    for (weights, bytes) in src.chunks(TILE).zip(out.weight.chunks_mut(TILE * BITS / 8)) {
        for (weights, numbers) in weights.chunks_exact(group_len).zip(numbers.chunks_exact_mut(group_len)) {
            let Some(Levels { scale, bias }) = Levels::of(simd, weights, Level::<BITS>::LARGEST) else {
                return false;
            };
            float.store(scale, group_idx, out.scales);
            float.store(bias, group_idx, out.biases);
            group_idx += 1;
            let (scale, bias) = (simd.splat(scale), simd.splat(bias));
            map_lanes(simd, weights, numbers, |lanes| (lanes - bias) / scale);
        }
        encode::<Level<BITS>, BITS>(&numbers[..weights.len()], &mut codes, bytes);
    }
    true
}

/// The nearest of `2^BITS` levels, ties to even.
struct Level<const BITS: usize>;

impl<const BITS: usize> Level<BITS> {
    #[allow(clippy::cast_precision_loss, reason = "255 at most")]
    const LARGEST: f32 = ((1_u32 << BITS) - 1) as f32;
}

impl<const BITS: usize> Code for Level<BITS> {
    #[inline(always)]
    fn of(number: f32) -> u32 {
        // Limited first: with whole limits the result is the same, and the rounding is then one addition.
        u32::from(low_byte(clamp(number, 0.0, Self::LARGEST)))
    }
}

/// Where a group's levels lie. Codes are chosen before scale and bias are rounded to the weights' type.
struct Levels {
    scale: f32,
    bias: f32,
}

impl Levels {
    /// Levels of a group of finite weights; `None` if their range is infinite.
    #[inline(always)]
    fn of(simd: impl Simd, weights: &[f32], largest_code: f32) -> Option<Self> {
        let (low, high) = extremes(simd, weights);
        let (low, high) = (simd.smallest(low), simd.largest(high));
        let range = high - low;
        if range.is_infinite() {
            return None;
        }
        let step = max(range / largest_code, SMALLEST_STEP);
        let (edge, step) = if low.abs() > high.abs() { (low, step) } else { (high, -step) };
        // Levels between zero and the edge. Not `round`: equal weights can be any number of the smallest steps away from zero.
        let n_levels = (edge / step).round_ties_even();
        Some(if n_levels == 0.0 { Self { scale: step, bias: 0.0 } } else { Self { scale: edge / n_levels, bias: edge } })
    }
}

/// Decodes whole groups, rounding after the product and after the sum.
#[inline(always)]
pub(super) fn decode<P: Precision>(affine: Affine, stored: Float, src: Components<'_>, dst: &mut [f32]) {
    let group_len = usize::from(affine.group_len);
    match affine.bits {
        2 => decode_groups::<P, 2>(group_len, stored, src, dst),
        3 => decode_groups::<P, 3>(group_len, stored, src, dst),
        4 => decode_groups::<P, 4>(group_len, stored, src, dst),
        5 => decode_groups::<P, 5>(group_len, stored, src, dst),
        6 => decode_groups::<P, 6>(group_len, stored, src, dst),
        _ => decode_groups::<P, 8>(group_len, stored, src, dst),
    }
}

#[inline(always)]
fn decode_groups<P: Precision, const BITS: usize>(group_len: usize, stored: Float, src: Components<'_>, dst: &mut [f32]) {
    let mut codes = [0; LONGEST_GROUP];
    let groups = dst.chunks_exact_mut(group_len).zip(src.weight.chunks_exact(group_len * BITS / 8));
    for (idx, (weights, bytes)) in groups.enumerate() {
        let (scale, bias) = (P::round(stored.load(idx, src.scales)), P::round(stored.load(idx, src.biases)));
        unpack::<BITS>(bytes, &mut codes);
        for (weight, code) in weights.iter_mut().zip(codes) {
            *weight = P::round(P::round(f32::from(code) * scale) + bias);
        }
    }
}
