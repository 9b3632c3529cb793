//! Encoders of the blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
//!
//! Scales and offsets are searched (`search_block.rs`); ggml takes the range of the weights unless it has an importance matrix.
//! Q8_0 has ggml's bytes.
//!
//! Source of Q8_0's formula: `quantize_row_q8_0_ref` in ggml-quants.c, llama.cpp of 2026-08-21.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, Half};
use super::lanes::{Simd, max};
use super::search_block::{affine, symmetric};

/// Encodes one block of Q4_0.
#[inline(always)]
pub(super) fn encode_q4_0(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ4_0 {
    let (d, q) = symmetric(simd, x, columns, 8.0);
    BlockQ4_0 { d: Half::from_f32(d), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q4_1.
#[inline(always)]
pub(super) fn encode_q4_1(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ4_1 {
    let (d, m, q) = affine(simd, x, columns, 15.0);
    BlockQ4_1 { d: Half::from_f32(d), m: Half::from_f32(m), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q5_0.
#[inline(always)]
pub(super) fn encode_q5_0(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ5_0 {
    let (d, q) = symmetric(simd, x, columns, 16.0);
    BlockQ5_0 { d: Half::from_f32(d), qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q5_1.
#[inline(always)]
pub(super) fn encode_q5_1(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockQ5_1 {
    let (d, m, q) = affine(simd, x, columns, 31.0);
    BlockQ5_1 { d: Half::from_f32(d), m: Half::from_f32(m), qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) }
}

/// Encodes one block of Q8_0: the largest magnitude becomes 127.
#[inline(always)]
pub(super) fn encode_q8_0(simd: impl Simd, x: &[f32; 32], _columns: Option<&[f32; 32]>) -> BlockQ8_0 {
    let (low, high) = simd.extremes(x);
    let d = max(-low, high) / 127.0;
    let qs = usable_inverse(d).map_or([0; 32], |inverse| simd.scaled_bytes(x, inverse));
    // `d.abs()`: a block of negative zeros has d = -0, ggml's magnitudes make it +0.
    BlockQ8_0 { d: Half::from_f32(d.abs()), qs }
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
pub(super) fn pack_fifth_bits(q: &[u8; 32]) -> [u8; 4] {
    let mut word = 0_u32;
    for (i, &q) in q.iter().enumerate() {
        word |= u32::from(q >> 4 & 1) << i;
    }
    word.to_le_bytes()
}
