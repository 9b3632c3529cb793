//! Block layouts, byte for byte as they lie in a GGUF file.
//!
//! Every struct has alignment 1, so that a slice of file bytes casts to blocks wherever it starts. Source of all layouts and
//! formulas: `block_*` in ggml-common.h and `dequantize_row_*` in ggml-quants.c, llama.cpp of 2026-08-21 (the copy in
//! llama-cpp-sys-2 0.1.160).
#![allow(non_camel_case_types, reason = "types are spelled as llama.cpp prints them")]

use bytemuck::{Pod, Zeroable};
use half::f16;

/// Weights in a super-block of the k-quants and most IQ types.
pub const QK_K: usize = 256;

/// An f16 as its two little-endian bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Half([u8; 2]);

impl Half {
    /// Rounds to the nearest f16, ties to even; magnitudes of 65520 and above become infinite.
    #[must_use]
    #[inline]
    pub fn from_f32(value: f32) -> Self {
        Self(f16::from_f32(value).to_le_bytes())
    }

    /// The 16 bits of the f16.
    #[must_use]
    #[inline]
    pub fn to_bits(self) -> u16 {
        u16::from_le_bytes(self.0)
    }

    /// The exact value.
    #[must_use]
    #[inline]
    pub fn to_f32(self) -> f32 {
        f16::from_le_bytes(self.0).to_f32()
    }
}

/// Declares a block struct with its size check.
macro_rules! block {
    ($(#[$meta:meta])* $name:ident, $bytes:literal, { $($(#[$field_meta:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }
        const _: () = assert!(size_of::<$name>() == $bytes && align_of::<$name>() == 1);
    };
}

block! {
    /// 128 weights in 18 bytes: 1.125 bits per weight. `w[i] = bit[i] ? d : -d`, lowest bit first.
    BlockQ1_0, 18, {
        /// Scale.
        d: Half,
        /// One bit per weight.
        qs: [u8; 16],
    }
}

block! {
    /// 64 weights in 18 bytes: 2.25 bits per weight. `w[i] = d * (q[i] - 1)` with `q[i]` in `0..4`, four per byte, lowest bits first.
    BlockQ2_0, 18, {
        /// Scale.
        d: Half,
        /// Two bits per weight.
        qs: [u8; 16],
    }
}

block! {
    /// 32 weights in 18 bytes: 4.5 bits per weight. `w[i] = d * (q[i] - 8)` with `q[i]` in `0..16`.
    ///
    /// `qs[i]` holds weight `i` in its low and weight `i + 16` in its high half.
    BlockQ4_0, 18, {
        /// Scale.
        d: Half,
        /// Four bits per weight.
        qs: [u8; 16],
    }
}

block! {
    /// 32 weights in 20 bytes: 5 bits per weight. `w[i] = d * q[i] + m` with `q[i]` in `0..16`, packed as in [`BlockQ4_0`].
    BlockQ4_1, 20, {
        /// Scale.
        d: Half,
        /// Offset: the value of quant 0.
        m: Half,
        /// Four bits per weight.
        qs: [u8; 16],
    }
}

block! {
    /// 32 weights in 22 bytes: 5.5 bits per weight. `w[i] = d * (q[i] - 16)` with `q[i]` in `0..32`.
    BlockQ5_0, 22, {
        /// Scale.
        d: Half,
        /// Fifth bits: bit `i` of the little-endian word belongs to weight `i`.
        qh: [u8; 4],
        /// Low four bits, packed as in [`BlockQ4_0`].
        qs: [u8; 16],
    }
}

block! {
    /// 32 weights in 24 bytes: 6 bits per weight. `w[i] = d * q[i] + m` with `q[i]` in `0..32`, packed as in [`BlockQ5_0`].
    BlockQ5_1, 24, {
        /// Scale.
        d: Half,
        /// Offset: the value of quant 0.
        m: Half,
        /// Fifth bits.
        qh: [u8; 4],
        /// Low four bits.
        qs: [u8; 16],
    }
}

block! {
    /// 32 weights in 34 bytes: 8.5 bits per weight. `w[i] = d * q[i]` with `q[i]` in `-127..=127`.
    BlockQ8_0, 34, {
        /// Scale.
        d: Half,
        /// Quants.
        qs: [i8; 32],
    }
}

block! {
    /// 256 weights in 84 bytes: 2.625 bits per weight. `w[i] = d * sc[i / 16] * q[i] - dmin * m[i / 16]`, `q[i]` in `0..4`.
    BlockQ2_K, 84, {
        /// Per sub-block of 16: `sc` in the low, `m` in the high four bits.
        scales: [u8; 16],
        /// Two bits per weight: of each half of 128, byte `l` holds weights `l`, `l + 32`, `l + 64`, `l + 96`, lowest bits first.
        qs: [u8; 64],
        /// Scale of the scales.
        d: Half,
        /// Scale of the minima.
        dmin: Half,
    }
}

block! {
    /// 256 weights in 110 bytes: 3.4375 bits per weight. `w[i] = d * (sc[i / 16] - 32) * (q[i] - 4)`, `q[i]` in `0..8`.
    BlockQ3_K, 110, {
        /// Third bits: bit `i / 32` of byte `i % 32`.
        hmask: [u8; 32],
        /// Low two bits, packed as in [`BlockQ2_K`].
        qs: [u8; 64],
        /// 16 scales of six bits: four low bits in bytes 0 to 7, two high bits in bytes 8 to 11.
        scales: [u8; 12],
        /// Scale of the scales.
        d: Half,
    }
}

block! {
    /// 256 weights in 144 bytes: 4.5 bits per weight. `w[i] = d * sc[i / 32] * q[i] - dmin * m[i / 32]`, `q[i]` in `0..16`.
    BlockQ4_K, 144, {
        /// Scale of the scales.
        d: Half,
        /// Scale of the minima.
        dmin: Half,
        /// Eight scales and eight minima of six bits, see [`scale_min`].
        scales: [u8; 12],
        /// Four bits per weight: of each 64, byte `l` holds weight `l` in its low and `l + 32` in its high half.
        qs: [u8; 128],
    }
}

block! {
    /// 256 weights in 176 bytes: 5.5 bits per weight. `w[i] = d * sc[i / 32] * q[i] - dmin * m[i / 32]`, `q[i]` in `0..32`.
    BlockQ5_K, 176, {
        /// Scale of the scales.
        d: Half,
        /// Scale of the minima.
        dmin: Half,
        /// Eight scales and eight minima of six bits, see [`scale_min`].
        scales: [u8; 12],
        /// Fifth bits: bit `i / 32` of byte `i % 32`.
        qh: [u8; 32],
        /// Low four bits, packed as in [`BlockQ4_K`].
        qs: [u8; 128],
    }
}

block! {
    /// 256 weights in 210 bytes: 6.5625 bits per weight. `w[i] = d * sc[i / 16] * (q[i] - 32)`, `q[i]` in `0..64`.
    BlockQ6_K, 210, {
        /// Low four bits: of each half of 128, byte `l < 64` holds weight `l` in its low and `l + 64` in its high half.
        ql: [u8; 128],
        /// High two bits: of each half of 128, byte `l < 32` holds weights `l`, `l + 32`, `l + 64`, `l + 96`, lowest bits first.
        qh: [u8; 64],
        /// Scales of the sub-blocks of 16.
        scales: [i8; 16],
        /// Scale of the scales.
        d: Half,
    }
}

block! {
    /// 32 weights in 18 bytes: 4.5 bits per weight. `w[i] = d * KVALUES_IQ4NL[q[i]]`, packed as in [`BlockQ4_0`].
    BlockIQ4_NL, 18, {
        /// Scale.
        d: Half,
        /// Four-bit indices.
        qs: [u8; 16],
    }
}

block! {
    /// 256 weights in 136 bytes: 4.25 bits per weight. `w[i] = d * (sc[i / 32] - 32) * KVALUES_IQ4NL[q[i]]`.
    BlockIQ4_XS, 136, {
        /// Scale of the scales.
        d: Half,
        /// High two bits of the eight scales, little-endian.
        scales_h: [u8; 2],
        /// Low four bits of the eight scales.
        scales_l: [u8; 4],
        /// Four-bit indices: each 32 packed as in [`BlockQ4_0`].
        qs: [u8; 128],
    }
}

block! {
    /// 32 weights in 17 bytes: 4.25 bits per weight. `w[i] = 2^(e - 128) * KVALUES_FP4[q[i]]`, packed as in [`BlockQ4_0`].
    ///
    /// The table holds doubled E2M1 values, hence 128 where the standard's E8M0 bias is 127.
    BlockMXFP4, 17, {
        /// Exponent (E8M0).
        e: u8,
        /// Four-bit indices.
        qs: [u8; 16],
    }
}

block! {
    /// 64 weights in 36 bytes: 4.5 bits per weight. `w[i] = ue4m3(d[i / 16]) / 2 * KVALUES_FP4[q[i]]`.
    BlockNVFP4, 36, {
        /// Scales of the sub-blocks of 16 (unsigned E4M3).
        d: [u8; 4],
        /// Four-bit indices: of each 16, byte `l < 8` holds weight `l` in its low and `l + 8` in its high half.
        qs: [u8; 32],
    }
}

block! {
    /// 256 ternary weights in 54 bytes: 1.6875 bits per weight. `w[i] = d * (t[i] - 1)` with `t[i]` in `0..3`.
    ///
    /// A byte holds five trits (four in `qh`) as a fraction of 256: multiplying it by 3 carries the first trit out of the byte.
    BlockTQ1_0, 54, {
        /// Weights 0 to 159 (five rows of 32) and 160 to 239 (five rows of 16).
        qs: [u8; 48],
        /// Weights 240 to 255 (four rows of 4).
        qh: [u8; 4],
        /// Scale.
        d: Half,
    }
}

block! {
    /// 256 ternary weights in 66 bytes: 2.0625 bits per weight. `w[i] = d * (q[i] - 1)`, packed as in [`BlockQ2_K`].
    BlockTQ2_0, 66, {
        /// Two bits per weight.
        qs: [u8; 64],
        /// Scale.
        d: Half,
    }
}

block! {
    /// 256 weights in 66 bytes: 2.0625 bits per weight. Eight weights share a grid point; their signs take seven bits.
    BlockIQ2_XXS, 66, {
        /// Scale of the scales.
        d: Half,
        /// Per 32 weights: four grid indices of 8 bits, then four times seven sign bits and a scale of four bits (little-endian).
        qs: [[u8; 8]; 8],
    }
}

block! {
    /// 256 weights in 74 bytes: 2.3125 bits per weight. A grid point for eight weights.
    BlockIQ2_XS, 74, {
        /// Scale of the scales.
        d: Half,
        /// Nine bits of grid index and seven sign bits, little-endian.
        qs: [[u8; 2]; 32],
        /// Two scales of four bits per 32 weights.
        scales: [u8; 8],
    }
}

block! {
    /// 256 weights in 82 bytes: 2.5625 bits per weight. A grid point for eight weights.
    BlockIQ2_S, 82, {
        /// Scale of the scales.
        d: Half,
        /// Low eight bits of the grid indices.
        qs: [u8; 32],
        /// Signs, one bit per weight.
        signs: [u8; 32],
        /// High two bits of four grid indices.
        qh: [u8; 8],
        /// Two scales of four bits per 32 weights.
        scales: [u8; 8],
    }
}

block! {
    /// 256 weights in 98 bytes: 3.0625 bits per weight. A grid point for four weights.
    BlockIQ3_XXS, 98, {
        /// Scale of the scales.
        d: Half,
        /// Grid indices.
        qs: [u8; 64],
        /// Per 32 weights: four times seven sign bits and a scale of four bits, little-endian.
        scales_and_signs: [[u8; 4]; 8],
    }
}

block! {
    /// 256 weights in 110 bytes: 3.4375 bits per weight. A grid point for four weights.
    BlockIQ3_S, 110, {
        /// Scale of the scales.
        d: Half,
        /// Low eight bits of the grid indices.
        qs: [u8; 64],
        /// Ninth bits of the grid indices.
        qh: [u8; 8],
        /// Signs, one bit per weight.
        signs: [u8; 32],
        /// A scale of four bits per 32 weights.
        scales: [u8; 4],
    }
}

block! {
    /// 256 weights in 50 bytes: 1.5625 bits per weight. A ternary grid point for eight weights, shifted by an eighth.
    BlockIQ1_S, 50, {
        /// Scale of the scales.
        d: Half,
        /// Low eight bits of the grid indices.
        qs: [u8; 32],
        /// Per 32 weights: four times three high bits of the indices, a scale of three bits, the sign of the shift; little-endian.
        qh: [[u8; 2]; 8],
    }
}

block! {
    /// 256 weights in 56 bytes: 1.75 bits per weight. As [`BlockIQ1_S`], with a shift sign for each eight weights.
    BlockIQ1_M, 56, {
        /// Low eight bits of the grid indices.
        qs: [u8; 32],
        /// Three high bits of two grid indices, each followed by the sign of its shift.
        qh: [u8; 16],
        /// Per 64 weights four scales of three bits; the top four bits of the four words make the f16 scale of the scales.
        scales: [[u8; 2]; 4],
    }
}

/// Scale and minimum of sub-block `j < 8` from the 12 bytes of [`BlockQ4_K`] and [`BlockQ5_K`], each in `0..64`.
///
/// Source: `get_scale_min_k4` in ggml-quants.c.
#[must_use]
#[inline]
pub fn scale_min(packed: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4), (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
    }
}

/// The inverse of [`scale_min`] for all eight sub-blocks; values are in `0..64`.
#[must_use]
#[inline]
pub fn pack_scales_mins(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | (scales[j + 4] >> 4 << 6);
        packed[j + 4] = mins[j] | (mins[j + 4] >> 4 << 6);
        packed[j + 8] = (scales[j + 4] & 15) | (mins[j + 4] << 4);
    }
    packed
}

/// The 16 six-bit scales of a [`BlockQ3_K`], each in `0..64`.
#[must_use]
#[inline]
pub fn unpack_q3_scales(packed: &[u8; 12]) -> [u8; 16] {
    std::array::from_fn(|j| {
        let low = if j < 8 { packed[j] & 15 } else { packed[j - 8] >> 4 };
        low | ((packed[8 + j % 4] >> (2 * (j / 4)) & 3) << 4)
    })
}

/// The inverse of [`unpack_q3_scales`].
#[must_use]
#[inline]
pub fn pack_q3_scales(scales: &[u8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..8 {
        packed[j] = (scales[j] & 15) | (scales[j + 8] << 4);
    }
    for j in 0..4 {
        packed[8 + j] = (scales[j] >> 4) | (scales[j + 4] >> 4 << 2) | (scales[j + 8] >> 4 << 4) | (scales[j + 12] >> 4 << 6);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_scales_come_back() {
        // 37 and 64 are coprime: every value occurs in every place.
        for start in 0..64_u8 {
            let value = |j: usize| (start.wrapping_add(37_u8.wrapping_mul(u8::try_from(j).unwrap()))) % 64;
            let (scales, mins) = (std::array::from_fn(value), std::array::from_fn(|j| value(j + 8)));
            let packed = pack_scales_mins(scales, mins);
            for j in 0..8 {
                assert_eq!(scale_min(&packed, j), (scales[j], mins[j]));
            }
            let scales = std::array::from_fn(value);
            assert_eq!(unpack_q3_scales(&pack_q3_scales(&scales)), scales);
        }
    }
}
