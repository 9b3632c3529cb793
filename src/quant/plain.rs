//! F64, F32, F16 and BF16 rows.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Weights converted at a time: small enough for the stack, large enough to hide the call.
const CHUNK: usize = 256;

/// Copies little-endian f32.
#[inline(always)]
pub(super) fn decode_f32(src: &[u8], dst: &mut [f32]) {
    for (bytes, weight) in src.as_chunks::<4>().0.iter().zip(dst) {
        *weight = f32::from_le_bytes(*bytes);
    }
}

/// Rounds little-endian f64 to the nearest f32.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "that is the purpose")]
pub(super) fn decode_f64(src: &[u8], dst: &mut [f32]) {
    for (bytes, weight) in src.as_chunks::<8>().0.iter().zip(dst) {
        *weight = f64::from_le_bytes(*bytes) as f32;
    }
}

/// Widens f16; `half` uses F16C or NEON where the CPU has it.
#[inline(always)]
pub(super) fn decode_f16(src: &[u8], dst: &mut [f32]) {
    let mut buffer = [f16::ZERO; CHUNK];
    for (bytes, weights) in src.chunks(2 * CHUNK).zip(dst.chunks_mut(CHUNK)) {
        for (half, pair) in buffer.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*pair);
        }
        buffer[..weights.len()].convert_to_f32_slice(weights);
    }
}

/// Widens bf16: the upper half of an f32.
#[inline(always)]
pub(super) fn decode_bf16(src: &[u8], dst: &mut [f32]) {
    for (bytes, weight) in src.as_chunks::<2>().0.iter().zip(dst) {
        *weight = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// Copies as little-endian f32.
#[inline(always)]
pub(super) fn encode_f32(src: &[f32], dst: &mut [u8]) {
    for (weight, bytes) in src.iter().zip(dst.as_chunks_mut::<4>().0) {
        *bytes = weight.to_le_bytes();
    }
}

/// Rounds to the nearest f16, ties to even.
#[inline(always)]
pub(super) fn encode_f16(src: &[f32], dst: &mut [u8]) {
    let mut buffer = [f16::ZERO; CHUNK];
    for (weights, bytes) in src.chunks(CHUNK).zip(dst.chunks_mut(2 * CHUNK)) {
        buffer[..weights.len()].convert_from_f32_slice(weights);
        for (half, pair) in buffer.iter().zip(bytes.as_chunks_mut::<2>().0) {
            *pair = half.to_le_bytes();
        }
    }
}

/// Rounds finite weights to the nearest bf16, ties to even.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the upper half is what is left after the shift")]
pub(super) fn encode_bf16(src: &[f32], dst: &mut [u8]) {
    for (weight, bytes) in src.iter().zip(dst.as_chunks_mut::<2>().0) {
        let bits = weight.to_bits();
        // Half a unit in the last place, less one where the kept part is even.
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        *bytes = ((rounded >> 16) as u16).to_le_bytes();
    }
}
