//! Encoder of MXFP4: 32 four-bit floats under a power of two.
//!
//! ggml derives the exponent from the largest magnitude (`quantize_row_mxfp4_ref` in ggml-quants.c, llama.cpp of 2026-08-21), as the
//! OCP Microscaling specification does (v1.0, section 6.3). Here it is the best of eight, among them that one.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::BlockMXFP4;
use super::lanes::{N_LANES, Simd, max};
use super::legacy::pack_nibbles;
use super::search_block::column_importance;

/// The non-negative values of E2M1, doubled.
pub(super) const LEVELS: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

/// Half way between neighbours of [`LEVELS`].
pub(super) const MIDDLES: [f32; 7] = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0];

/// Exponents whose power of two has a normal inverse, and whose largest value is finite.
pub(super) const EXPONENTS: std::ops::RangeInclusive<i32> = 2..=252;

/// Encodes one block of MXFP4.
#[inline(always)]
pub(super) fn encode_mxfp4(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockMXFP4 {
    let w = columns.and_then(|columns| column_importance(simd, x, columns, None)).unwrap_or([1.0; 32]);
    let Some(exponent) = best_exponent(simd, x, &w) else {
        return BlockMXFP4 { e: 0, qs: [0; 16] };
    };
    let inverse = power_of_two(128 - exponent);
    let mut q = [0; 32];
    for (q, &weight) in q.iter_mut().zip(x) {
        let number = weight.abs() * inverse;
        let magnitude: u8 = MIDDLES.iter().map(|&middle| u8::from(number > middle)).sum();
        *q = magnitude | (u8::from(weight < 0.0 && magnitude > 0) << 3);
    }
    BlockMXFP4 { e: u8::try_from(exponent).unwrap_or(0), qs: pack_nibbles(&q) }
}

/// The exponent as the file holds it, in [`EXPONENTS`], of least error weighted by `w`; `None` where all weights are zero.
#[inline(always)]
pub(super) fn best_exponent(simd: impl Simd, x: &[f32; 32], w: &[f32; 32]) -> Option<i32> {
    let (low, high) = simd.extremes(x);
    let peak = max(-low, high);
    if peak == 0.0 {
        return None;
    }
    // From one above ggml's exponent, which puts the largest magnitude between 8 and 16 of the doubled values, to six below it.
    let top = (peak.to_bits() >> 23).cast_signed() - 1;
    let exponents: [i32; N_LANES] = std::array::from_fn(|lane| {
        let lane = i32::from(u8::try_from(lane).unwrap_or(0));
        (top - lane).clamp(*EXPONENTS.start(), *EXPONENTS.end())
    });
    let inverses = simd.load(&exponents.map(|exponent| power_of_two(128 - exponent)));
    // Errors are counted in units of the first exponent.
    let units = simd.load(&exponents.map(|exponent| power_of_two(exponent - exponents[0])));
    let mut error = simd.zero();
    for (&x, &w) in x.iter().zip(w) {
        let number = simd.splat(x.abs()) * inverses;
        let mut level = simd.zero();
        for (middle, above) in MIDDLES.iter().zip(&LEVELS[1..]) {
            level = simd.where_above(number, simd.splat(*middle), simd.splat(*above), level);
        }
        let difference = (level - number) * units;
        error = error + difference * difference * simd.splat(w);
    }
    Some(exponents[simd.argmin(error)])
}

/// `2^exponent` for exponents of normal numbers.
#[inline(always)]
pub(super) fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent + 127).cast_unsigned() << 23)
}
