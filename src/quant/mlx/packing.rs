//! Codes as a stream of bits, the first one in the lowest bits: eight codes of `BITS` bits take `BITS` bytes.
//!
//! The same for all widths: MLX's words of 32 bits hold 16, 8 or 4 codes of 2, 4 or 8 bits from the lowest bits up, and its three
//! or five bytes hold eight codes of 3 or 5 bits, or four of 6 (`get_pack_factor` and `get_bytes_per_pack` in
//! mlx/backend/common/quantized.h, mlx 0.32.4).

use crate::quant::lanes::{N_LANES, Simd};

/// Weights that are encoded together: whole groups of every length.
///
/// Many, because the compiler unrolls a loop over a group of 32 before it could vectorize it, and then does not.
pub(super) const TILE: usize = 256;

/// Turns a weight that was divided by its scale into a code.
///
/// A trait, not a function argument: a call through `impl Fn` is not always inlined, and then misses the wide vectors.
pub(super) trait Code {
    /// The code, below 256. It is as wide as the number, so that a register holds as many codes as numbers.
    fn of(number: f32) -> u32;
}

/// Encodes up to [`TILE`] numbers and packs them. `dst` holds `BITS` bytes for every eight; `codes` is overwritten.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "codes are below 256")]
pub(super) fn encode<C: Code, const BITS: usize>(numbers: &[f32], codes: &mut [u8; TILE], dst: &mut [u8]) {
    for (code, number) in codes.iter_mut().zip(numbers) {
        *code = C::of(*number) as u8;
    }
    for (codes, bytes) in codes.as_chunks::<8>().0.iter().zip(dst.as_chunks_mut::<BITS>().0) {
        bytes.copy_from_slice(&pack::<BITS>(*codes).to_le_bytes()[..BITS]);
    }
}

/// Masks of the low half of each 16, each 32 and all 64 bits.
const LOW: [u64; 3] = [0x00ff_00ff_00ff_00ff, 0x0000_ffff_0000_ffff, 0x0000_0000_ffff_ffff];

/// Packs eight codes below `2^BITS` into the low `8 * BITS` bits.
#[inline(always)]
fn pack<const BITS: usize>(codes: [u8; 8]) -> u64 {
    // Neighbours move together: pairs of bytes, then of 16 bits, then of 32.
    let x = u64::from_le_bytes(codes);
    let x = (x & LOW[0]) | (x & !LOW[0]) >> (8 - BITS);
    let x = (x & LOW[1]) | (x & !LOW[1]) >> (16 - 2 * BITS);
    (x & LOW[2]) | (x & !LOW[2]) >> (32 - 4 * BITS)
}

/// Unpacks as many codes as fit into `codes`, in whole eights.
#[inline(always)]
pub(super) fn unpack<const BITS: usize>(src: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in src.as_chunks::<BITS>().0.iter().zip(codes.as_chunks_mut::<8>().0) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        let x = u64::from_le_bytes(word);
        // The steps of `pack`, backwards.
        let x = (x & low_bits(4 * BITS, 2)) | (x & !low_bits(4 * BITS, 2)) << (32 - 4 * BITS);
        let x = (x & low_bits(2 * BITS, 1)) | (x & !low_bits(2 * BITS, 1)) << (16 - 2 * BITS);
        let x = (x & low_bits(BITS, 0)) | (x & !low_bits(BITS, 0)) << (8 - BITS);
        *codes = x.to_le_bytes();
    }
}

/// The low `n_bits` of each low half in [`LOW`].
#[inline(always)]
const fn low_bits(n_bits: usize, step: usize) -> u64 {
    let halves = LOW[step];
    // Dividing by a half's ones leaves a one in the lowest bit of each.
    halves / ((1 << (8 << step)) - 1) * ((1 << n_bits) - 1)
}

/// Applies `map` to eight weights at a time and writes the results.
#[inline(always)]
pub(super) fn map_lanes<S: Simd>(simd: S, weights: &[f32], dst: &mut [f32], map: impl Fn(S::Lanes) -> S::Lanes) {
    for (weights, dst) in weights.as_chunks::<N_LANES>().0.iter().zip(dst.as_chunks_mut::<N_LANES>().0) {
        *dst = simd.store(map(simd.load(weights)));
    }
}

/// Smallest and largest of finite weights in each lane.
#[inline(always)]
pub(super) fn extremes<S: Simd>(simd: S, weights: &[f32]) -> (S::Lanes, S::Lanes) {
    // Two registers for each, so that they need not wait for each other.
    let (mut low, mut high) = ([simd.splat(f32::INFINITY); 2], [simd.splat(f32::NEG_INFINITY); 2]);
    for pair in weights.as_chunks::<N_LANES>().0.as_chunks::<2>().0 {
        for i in 0..2 {
            let lanes = simd.load(&pair[i]);
            (low[i], high[i]) = (simd.min(lanes, low[i]), simd.max(lanes, high[i]));
        }
    }
    (simd.min(low[0], low[1]), simd.max(high[0], high[1]))
}
