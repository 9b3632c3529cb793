//! Decoders of the types without a linear grid: IQ, ternary and 4-bit floats.
//!
//! Source of the formulas: `dequantize_row_*` in ggml-quants.c, llama.cpp of 2026-08-21.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{
    BlockIQ1_M, BlockIQ1_S, BlockIQ2_S, BlockIQ2_XS, BlockIQ2_XXS, BlockIQ3_S, BlockIQ3_XXS, BlockIQ4_NL, BlockIQ4_XS,
    BlockMXFP4, BlockNVFP4, BlockQ1_0, BlockQ2_0, BlockTQ1_0, BlockTQ2_0, QK_K,
};
use super::dequant::two_bits;
use super::iq_tables::{
    IQ1S_GRID, IQ1S_GRID_COORDINATES, IQ2S_GRID, IQ2S_GRID_COORDINATES, IQ2XS_GRID, IQ2XS_GRID_COORDINATES, IQ2XXS_GRID,
    IQ2XXS_GRID_COORDINATES, IQ3S_GRID, IQ3S_GRID_COORDINATES, IQ3XXS_GRID, IQ3XXS_GRID_COORDINATES, KVALUES_FP4, KVALUES_IQ4NL,
};
use half::f16;

/// Shift of the ternary grid of IQ1_S and IQ1_M (`IQ1S_DELTA`).
pub(super) const IQ1_SHIFT: f32 = 0.125;

/// Decodes one block of Q1_0.
#[inline(always)]
pub(super) fn decode_q1_0(block: &BlockQ1_0, out: &mut [f32; 128]) {
    let d = block.d.to_f32();
    for (&bits, out) in block.qs.iter().zip(out.as_chunks_mut::<8>().0) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = if bits >> i & 1 != 0 { d } else { -d };
        }
    }
}

/// Decodes one block of Q2_0.
#[inline(always)]
pub(super) fn decode_q2_0(block: &BlockQ2_0, out: &mut [f32; 64]) {
    let d = block.d.to_f32();
    for (&bits, out) in block.qs.iter().zip(out.as_chunks_mut::<4>().0) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = (f32::from(bits >> (2 * i) & 3) - 1.0) * d;
        }
    }
}

/// Decodes one block of IQ4_NL.
#[inline(always)]
pub(super) fn decode_iq4_nl(block: &BlockIQ4_NL, out: &mut [f32; 32]) {
    let d = block.d.to_f32();
    decode_table(&block.qs, d, &KVALUES_IQ4NL, out);
}

/// Decodes one block of IQ4_XS.
#[inline(always)]
pub(super) fn decode_iq4_xs(block: &BlockIQ4_XS, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    let scales_h = u16::from_le_bytes(block.scales_h);
    for (j, (qs, out)) in block.qs.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<32>().0).enumerate() {
        let scale = u16::from(block.scales_l[j / 2] >> (4 * (j % 2)) & 15) | (scales_h >> (2 * j) & 3) << 4;
        decode_table(qs, d * (f32::from(scale) - 32.0), &KVALUES_IQ4NL, out);
    }
}

/// Decodes one block of MXFP4.
#[inline(always)]
pub(super) fn decode_mxfp4(block: &BlockMXFP4, out: &mut [f32; 32]) {
    // 2^(e - 128): a subnormal for the two smallest exponents.
    let bits = if block.e < 2 { 0x0020_0000 << block.e } else { u32::from(block.e - 1) << 23 };
    decode_table(&block.qs, f32::from_bits(bits), &KVALUES_FP4, out);
}

/// Decodes one block of NVFP4.
#[inline(always)]
pub(super) fn decode_nvfp4(block: &BlockNVFP4, out: &mut [f32; 64]) {
    for (j, (qs, out)) in block.qs.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<16>().0).enumerate() {
        let d = half_of_ue4m3(block.d[j]);
        for (i, &q) in qs.iter().enumerate() {
            out[i] = f32::from(KVALUES_FP4[usize::from(q & 15)]) * d;
            out[i + 8] = f32::from(KVALUES_FP4[usize::from(q >> 4)]) * d;
        }
    }
}

/// Decodes one block of TQ1_0.
#[inline(always)]
pub(super) fn decode_tq1_0(block: &BlockTQ1_0, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    let (wide, rest) = out.split_at_mut(160);
    let (narrow, last) = rest.split_at_mut(80);
    for (packed, out) in [(&block.qs[..32], wide), (&block.qs[32..], narrow), (&block.qh[..], last)] {
        let mut power_of_3 = 1_u8;
        for out in out.chunks_exact_mut(packed.len()) {
            for (&packed, out) in packed.iter().zip(out) {
                let fraction = packed.wrapping_mul(power_of_3);
                *out = (f32::from((u16::from(fraction) * 3) >> 8) - 1.0) * d;
            }
            power_of_3 = power_of_3.wrapping_mul(3);
        }
    }
}

/// Decodes one block of TQ2_0.
#[inline(always)]
pub(super) fn decode_tq2_0(block: &BlockTQ2_0, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (out, q) in out.iter_mut().zip(two_bits(&block.qs)) {
        *out = (f32::from(q) - 1.0) * d;
    }
}

/// Decodes one block of IQ2_XXS.
#[inline(always)]
pub(super) fn decode_iq2_xxs(block: &BlockIQ2_XXS, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for ([g0, g1, g2, g3, tail @ ..], out) in block.qs.iter().zip(out.as_chunks_mut::<32>().0) {
        let tail = u32::from_le_bytes(*tail);
        let scale = d * (0.5 + small_f32(tail >> 28)) * 0.25;
        for (l, (index, out)) in [g0, g1, g2, g3].into_iter().zip(out.as_chunks_mut::<8>().0).enumerate() {
            let point = eight(IQ2XXS_GRID[usize::from(*index)], IQ2XXS_GRID_COORDINATES);
            signed(out, point, scale, seven_signs(tail >> (7 * l)));
        }
    }
}

/// Decodes one block of IQ2_XS.
#[inline(always)]
pub(super) fn decode_iq2_xs(block: &BlockIQ2_XS, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (group, (qs, out)) in block.qs.iter().zip(out.as_chunks_mut::<8>().0).enumerate() {
        let word = u16::from_le_bytes(*qs);
        let point = eight(IQ2XS_GRID[usize::from(word & 511)], IQ2XS_GRID_COORDINATES);
        signed(out, point, half_scale(d, &block.scales, group), seven_signs(u32::from(word >> 9)));
    }
}

/// Decodes one block of IQ2_S.
#[inline(always)]
pub(super) fn decode_iq2_s(block: &BlockIQ2_S, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = usize::from(block.qh[group / 4] >> (2 * (group % 4)) & 3);
        let point = eight(IQ2S_GRID[usize::from(block.qs[group]) | high << 8], IQ2S_GRID_COORDINATES);
        signed(out, point, half_scale(d, &block.scales, group), block.signs[group]);
    }
}

/// Decodes one block of IQ3_XXS.
#[inline(always)]
pub(super) fn decode_iq3_xxs(block: &BlockIQ3_XXS, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u32::from_le_bytes(block.scales_and_signs[group / 4]);
        let scale = d * (0.5 + small_f32(word >> 28)) * 0.5;
        let index = |i: usize| usize::from(block.qs[2 * group + i]);
        let point = four_and_four(IQ3XXS_GRID[index(0)], IQ3XXS_GRID[index(1)], IQ3XXS_GRID_COORDINATES);
        signed(out, point, scale, seven_signs(word >> (7 * (group % 4))));
    }
}

/// Decodes one block of IQ3_S.
#[inline(always)]
pub(super) fn decode_iq3_s(block: &BlockIQ3_S, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let scale = d * f32::from(1 + 2 * (block.scales[group / 8] >> (4 * (group / 4 % 2)) & 15));
        let index = |i: usize| {
            let high = block.qh[group / 4] >> (2 * (group % 4) + i) & 1;
            usize::from(block.qs[2 * group + i]) | usize::from(high) << 8
        };
        let point = four_and_four(IQ3S_GRID[index(0)], IQ3S_GRID[index(1)], IQ3S_GRID_COORDINATES);
        signed(out, point, scale, block.signs[group]);
    }
}

/// Decodes one block of IQ1_S.
#[inline(always)]
pub(super) fn decode_iq1_s(block: &BlockIQ1_S, out: &mut [f32; QK_K]) {
    let d = block.d.to_f32();
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let qh = u16::from_le_bytes(block.qh[group / 4]);
        let scale = d * f32::from(2 * (qh >> 12 & 7) + 1);
        let shift = if qh & 0x8000 != 0 { -IQ1_SHIFT } else { IQ1_SHIFT };
        let high = usize::from(qh >> (3 * (group % 4)) & 7);
        let point = eight(IQ1S_GRID[usize::from(block.qs[group]) | high << 8], IQ1S_GRID_COORDINATES);
        *out = point.map(|coordinate| scale * (coordinate + shift));
    }
}

/// Decodes one block of IQ1_M.
#[inline(always)]
pub(super) fn decode_iq1_m(block: &BlockIQ1_M, out: &mut [f32; QK_K]) {
    let words = block.scales.map(u16::from_le_bytes);
    let d_bits = words[0] >> 12 | words[1] >> 8 & 0x00f0 | words[2] >> 4 & 0x0f00 | words[3] & 0xf000;
    let d = f16::from_bits(d_bits).to_f32();
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let scale = d * f32::from(2 * (words[group / 8] >> (3 * (group / 2 % 4)) & 7) + 1);
        let high = block.qh[group / 2] >> (4 * (group % 2));
        let shift = if high & 8 != 0 { -IQ1_SHIFT } else { IQ1_SHIFT };
        let point = eight(IQ1S_GRID[usize::from(block.qs[group]) | usize::from(high & 7) << 8], IQ1S_GRID_COORDINATES);
        *out = point.map(|coordinate| scale * (coordinate + shift));
    }
}

/// 32 weights from four-bit indices into a table.
#[inline(always)]
fn decode_table(qs: &[u8; 16], d: f32, table: &[i8; 16], out: &mut [f32; 32]) {
    for (i, &q) in qs.iter().enumerate() {
        out[i] = f32::from(table[usize::from(q & 15)]) * d;
        out[i + 16] = f32::from(table[usize::from(q >> 4)]) * d;
    }
}

/// Half the value of an unsigned E4M3 float; 0 for its NaN, as in ggml.
#[inline(always)]
fn half_of_ue4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (byte >> 3 & 15, byte & 7);
    match (byte, exponent) {
        (0 | 0x7f, _) => 0.0,
        // Subnormal: mantissa * 2^-9, and half of that.
        (_, 0) => f32::from(mantissa) / 1024.0,
        // (1 + mantissa / 8) * 2^(exponent - 7), and half of that: 119 is the bias of f32 less 7 less 1.
        _ => f32::from_bits((u32::from(exponent) + 119) << 23 | u32::from(mantissa) << 20),
    }
}

/// `d * (s + 1/2) / 4` with the four-bit scale of a group of eight weights (IQ2_XS, IQ2_S).
#[inline(always)]
fn half_scale(d: f32, scales: &[u8; 8], group: usize) -> f32 {
    d * (0.5 + f32::from(scales[group / 4] >> (4 * (group / 2 % 2)) & 15)) * 0.25
}

/// Eight signs; the last one makes the number of negative ones even (`ksigns_iq2xs`).
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "seven bits are kept")]
fn seven_signs(bits: u32) -> u8 {
    let seven = (bits & 127) as u8;
    seven | u8::from(!seven.count_ones().is_multiple_of(2)) << 7
}

/// A grid point of eight two-bit coordinates.
#[inline(always)]
fn eight(packed: u16, coordinates: [i8; 4]) -> [f32; 8] {
    std::array::from_fn(|i| f32::from(coordinates[usize::from(packed >> (2 * i) & 3)]))
}

/// Two grid points of four three-bit coordinates.
#[inline(always)]
fn four_and_four(first: u16, second: u16, coordinates: [i8; 8]) -> [f32; 8] {
    std::array::from_fn(|i| {
        let packed = if i < 4 { first } else { second };
        f32::from(coordinates[usize::from(packed >> (3 * (i % 4)) & 7)])
    })
}

/// Writes `scale * point`, negated where the sign bit is set.
#[inline(always)]
fn signed(out: &mut [f32; 8], point: [f32; 8], scale: f32, signs: u8) {
    for (i, (out, coordinate)) in out.iter_mut().zip(point).enumerate() {
        let magnitude = scale * coordinate;
        *out = if signs >> i & 1 != 0 { -magnitude } else { magnitude };
    }
}

/// A number below 2^16 as f32.
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "callers pass four bits")]
fn small_f32(value: u32) -> f32 {
    value as f32
}
