//! Encoders of the blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0, with the same bytes as ggml's.
//!
//! With importances of the columns the scales of all but Q8_0 are searched instead, see `search_block.rs`.
//!
//! Source of the formulas: `quantize_row_*_ref` in ggml-quants.c, llama.cpp of 2026-08-21.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, Half};
use super::lanes::{Simd, extremes, low_byte, max, round};
use super::search_block::{weighted_affine, weighted_symmetric};

/// Encodes one block of Q4_0: the weight of largest magnitude becomes -8.
#[inline(always)]
pub(super) fn encode_q4_0(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ4_0 {
    let (d, q) = match weighted_symmetric(simd, x, columns, 8.0) {
        Some(fit) => fit,
        None => symmetric(x, 8.0),
    };
    BlockQ4_0 { d: Half::from_f32(d), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q4_1: the range from smallest to largest weight in 15 steps.
#[inline(always)]
pub(super) fn encode_q4_1(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ4_1 {
    let (d, m, q) = match weighted_affine(simd, x, columns, 15.0) {
        Some(fit) => fit,
        None => affine(x, 15.0),
    };
    BlockQ4_1 { d: Half::from_f32(d), m: Half::from_f32(m), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q5_0: the weight of largest magnitude becomes -16.
#[inline(always)]
pub(super) fn encode_q5_0(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ5_0 {
    let (d, q) = match weighted_symmetric(simd, x, columns, 16.0) {
        Some(fit) => fit,
        None => symmetric(x, 16.0),
    };
    BlockQ5_0 { d: Half::from_f32(d), qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q5_1: the range from smallest to largest weight in 31 steps.
#[inline(always)]
pub(super) fn encode_q5_1(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ5_1 {
    let (d, m, q) = match weighted_affine(simd, x, columns, 31.0) {
        Some(fit) => fit,
        None => affine(x, 31.0),
    };
    BlockQ5_1 { d: Half::from_f32(d), m: Half::from_f32(m), qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q8_0: the largest magnitude becomes 127.
#[inline(always)]
pub(super) fn encode_q8_0(_simd: impl Simd, x: &[f32; 32], _columns: Option<&[f32; 32]>) -> BlockQ8_0 {
    let (low, high) = extremes(x);
    let d = max(-low, high) / 127.0;
    let inverse = usable_inverse(d);
    let mut qs = [0; 32];
    if let Some(inverse) = inverse {
        for (q, &weight) in qs.iter_mut().zip(x) {
            *q = low_byte(round_half_away(weight * inverse)).cast_signed();
        }
    }
    // `d.abs()`: a block of negative zeros has d = -0, ggml's magnitudes make it +0.
    BlockQ8_0 { d: Half::from_f32(d.abs()), qs }
}

/// Scale and quants `q` with `x = d * (q - middle)`: the weight of largest magnitude gets `q = 0`.
#[inline(always)]
fn symmetric(x: &[f32; 32], middle: f32) -> (f32, [u8; 32]) {
    let (low, high) = extremes(x);
    let peak = match (-low).total_cmp(&high) {
        _ if low == 0.0 && high == 0.0 => 0.0,
        std::cmp::Ordering::Less => high,
        std::cmp::Ordering::Greater => low,
        // Of two equal magnitudes ggml takes the first.
        std::cmp::Ordering::Equal => x.iter().copied().find(|weight| weight.abs() == high).unwrap_or(high),
    };
    let d = peak / -middle;
    let mut q = [0; 32];
    if let Some(inverse) = usable_inverse(d) {
        for (q, &weight) in q.iter_mut().zip(x) {
            *q = low_byte(floor(weight * inverse + (middle + 0.5))).min(low_byte(2.0 * middle - 1.0));
        }
    }
    (d, q)
}

/// Scale, offset and quants with `x = d * q + m` and `q` in `0..=steps`.
#[inline(always)]
fn affine(x: &[f32; 32], steps: f32) -> (f32, f32, [u8; 32]) {
    let (mut low, high) = extremes(x);
    if low == 0.0 {
        // ggml keeps the first of several zeros, and its sign is in the file.
        low = x.iter().copied().find(|&weight| weight == 0.0).unwrap_or(low);
    }
    // `abs`: of zeros of both signs ggml makes a scale of +0.
    let d = ((high - low) / steps).abs();
    let mut q = [0; 32];
    if let Some(inverse) = usable_inverse(d) {
        for (q, &weight) in q.iter_mut().zip(x) {
            *q = low_byte(floor((weight - low) * inverse + 0.5)).min(low_byte(steps));
        }
    }
    (d, low, q)
}

/// `1 / d`, or 0 for `d = 0`; `None` where it overflows.
///
/// Such a `d` is zero as f16, so the quants do not matter; ggml's casts of infinities give zeros on x86-64.
#[inline(always)]
fn usable_inverse(d: f32) -> Option<f32> {
    if d == 0.0 {
        return Some(0.0);
    }
    let inverse = 1.0 / d;
    inverse.is_finite().then_some(inverse)
}

/// Nearest integer, ties away from zero, as C's `roundf`, for magnitudes below `2^22`.
#[inline(always)]
fn round_half_away(value: f32) -> f32 {
    let even = round(value);
    // The difference is exact: it is not zero only where both are close.
    let up = if value - even == 0.5 && value > 0.0 { 1.0 } else { 0.0 };
    let down = if even - value == 0.5 && value < 0.0 { 1.0 } else { 0.0 };
    even + up - down
}

/// Largest integer not above the value, for magnitudes below `2^22`.
#[inline(always)]
fn floor(value: f32) -> f32 {
    let nearest = round(value);
    if nearest > value { nearest - 1.0 } else { nearest }
}

/// Low four bits: weight `i` in the low, weight `i + 16` in the high half of byte `i`.
#[inline(always)]
pub(super) fn pack_nibbles(q: &[u8; 32]) -> [u8; 16] {
    let mut packed = [0; 16];
    for i in 0..16 {
        packed[i] = (q[i] & 15) | (q[i + 16] << 4);
    }
    packed
}

/// Fifth bits: bit `i` of the little-endian word belongs to weight `i`.
#[inline(always)]
fn pack_fifth_bits(q: &[u8; 32]) -> [u8; 4] {
    let mut word = 0_u32;
    for (i, &q) in q.iter().enumerate() {
        word |= u32::from(q >> 4 & 1) << i;
    }
    word.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_c_library() {
        for quarter in -600..600_i16 {
            let value = f32::from(quarter) / 4.0;
            assert_eq!(round_half_away(value), value.round(), "{value}");
            assert_eq!(floor(value), value.floor(), "{value}");
            for near in [value.next_up(), value.next_down()] {
                assert_eq!(round_half_away(near), near.round(), "{near}");
                assert_eq!(floor(near), near.floor(), "{near}");
            }
        }
    }
}
