//! Decoders of the blocks of 32 and of the k-quants.
//!
//! Source of the formulas: `dequantize_row_*` in ggml-quants.c, llama.cpp of 2026-08-21. Operations are done in the same
//! order, so that the values are the same to the bit.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{
    BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K, BlockQ8_0, QK_K,
    scale_min, unpack_q3_scales,
};

/// Decodes one block of Q4_0.
#[inline(always)]
pub(super) fn decode_q4_0(block: &BlockQ4_0, out: &mut [f32; 32]) {
    let d = block.d.to_f32();
    let (low, high) = out.split_at_mut(16);
    for ((&q, low), high) in block.qs.iter().zip(low).zip(high) {
        *low = (f32::from(q & 15) - 8.0) * d;
        *high = (f32::from(q >> 4) - 8.0) * d;
    }
}

/// Decodes one block of Q4_1.
#[inline(always)]
pub(super) fn decode_q4_1(block: &BlockQ4_1, out: &mut [f32; 32]) {
    let (d, m) = (block.d.to_f32(), block.m.to_f32());
    let (low, high) = out.split_at_mut(16);
    for ((&q, low), high) in block.qs.iter().zip(low).zip(high) {
        *low = f32::from(q & 15) * d + m;
        *high = f32::from(q >> 4) * d + m;
    }
}

/// Decodes one block of Q5_0.
#[inline(always)]
pub(super) fn decode_q5_0(block: &BlockQ5_0, out: &mut [f32; 32]) {
    let d = block.d.to_f32();
    for (out, q) in out.iter_mut().zip(five_bits(block.qh, &block.qs)) {
        *out = (f32::from(q) - 16.0) * d;
    }
}

/// Decodes one block of Q5_1.
#[inline(always)]
pub(super) fn decode_q5_1(block: &BlockQ5_1, out: &mut [f32; 32]) {
    let (d, m) = (block.d.to_f32(), block.m.to_f32());
    for (out, q) in out.iter_mut().zip(five_bits(block.qh, &block.qs)) {
        *out = f32::from(q) * d + m;
    }
}

/// Decodes one block of Q8_0.
#[inline(always)]
pub(super) fn decode_q8_0(block: &BlockQ8_0, out: &mut [f32; 32]) {
    let d = block.d.to_f32();
    for (out, &q) in out.iter_mut().zip(&block.qs) {
        *out = f32::from(q) * d;
    }
}

/// Decodes one block of Q2_K.
#[inline(always)]
pub(super) fn decode_q2_k(block: &BlockQ2_K, out: &mut [f32; QK_K]) {
    let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
    let q = two_bits(&block.qs);
    for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block.scales[j] & 15);
        let offset = dmin * f32::from(block.scales[j] >> 4);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(q[16 * j + i]) - offset;
        }
    }
}

/// Decodes one block of Q3_K.
#[inline(always)]
pub(super) fn decode_q3_k(block: &BlockQ3_K, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    let scales = unpack_q3_scales(&block.scales);
    let low = two_bits(&block.qs);
    for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * (f32::from(scales[j]) - 32.0);
        for (i, out) in out.iter_mut().enumerate() {
            let high = block.hmask[16 * (j % 2) + i] >> (j / 2) & 1;
            *out = scale * (f32::from(low[16 * j + i] | (high << 2)) - 4.0);
        }
    }
}

/// Decodes one block of Q4_K.
#[inline(always)]
pub(super) fn decode_q4_k(block: &BlockQ4_K, out: &mut [f32; QK_K]) {
    let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
    for (j, (qs, out)) in block.qs.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<64>().0).enumerate() {
        let (low, high) = out.split_at_mut(32);
        let (scale, min) = scale_min(&block.scales, 2 * j);
        let (scale, offset) = (d * f32::from(scale), dmin * f32::from(min));
        for (out, &q) in low.iter_mut().zip(qs) {
            *out = scale * f32::from(q & 15) - offset;
        }
        let (scale, min) = scale_min(&block.scales, 2 * j + 1);
        let (scale, offset) = (d * f32::from(scale), dmin * f32::from(min));
        for (out, &q) in high.iter_mut().zip(qs) {
            *out = scale * f32::from(q >> 4) - offset;
        }
    }
}

/// Decodes one block of Q5_K.
#[inline(always)]
pub(super) fn decode_q5_k(block: &BlockQ5_K, out: &mut [f32; QK_K]) {
    let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_min(&block.scales, j);
        let (scale, offset) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, out) in out.iter_mut().enumerate() {
            let low = block.qs[32 * (j / 2) + i] >> (4 * (j % 2)) & 15;
            let high = block.qh[i] >> j & 1;
            *out = scale * f32::from(low | (high << 4)) - offset;
        }
    }
}

/// Decodes one block of Q6_K.
#[inline(always)]
pub(super) fn decode_q6_k(block: &BlockQ6_K, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (row, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (half, quarter) = (row / 4, row % 4);
        for (i, out) in out.iter_mut().enumerate() {
            let low = block.ql[64 * half + 32 * (quarter % 2) + i] >> (4 * (quarter / 2)) & 15;
            let high = block.qh[32 * half + i] >> (2 * quarter) & 3;
            let scale = d * f32::from(block.scales[2 * row + i / 16]);
            *out = scale * (f32::from(low | (high << 4)) - 32.0);
        }
    }
}

/// Five-bit quants of 32 weights.
#[inline(always)]
fn five_bits(qh: [u8; 4], qs: &[u8; 16]) -> [u8; 32] {
    let high = u32::from_le_bytes(qh);
    let mut q = [0; 32];
    for i in 0..16 {
        q[i] = (qs[i] & 15) | (u8::from(high >> i & 1 != 0) << 4);
        q[i + 16] = (qs[i] >> 4) | (u8::from(high >> (i + 16) & 1 != 0) << 4);
    }
    q
}

/// Two-bit quants of 256 weights: of each half of 128, byte `l` holds weights `l`, `l + 32`, `l + 64`, `l + 96`.
#[inline(always)]
pub(super) fn two_bits(qs: &[u8; 64]) -> [u8; QK_K] {
    let mut q = [0; QK_K];
    for (row, q) in q.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (half, quarter) = (row / 4, row % 4);
        for (i, q) in q.iter_mut().enumerate() {
            *q = qs[32 * half + i] >> (2 * quarter) & 3;
        }
    }
    q
}
