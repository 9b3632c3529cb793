//! The types of floats that scales and biases have, and their numbers, kept as f32.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::dispatch::{Kernel, run_fastest};
use super::lanes::Simd;
use crate::model::DType;

/// Type of floats in a file: of weights that are not quantized, and of scales and biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Float {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an F32.
    BF16,
}

impl Float {
    /// All three.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// The type of the same name; `None` for one that is none of the three.
    #[must_use]
    pub const fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// The type of the same name among ggml's.
    #[must_use]
    pub const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// Bytes of a number.
    #[must_use]
    pub const fn width(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Rounds to the numbers of this type, ties to even, as MLX's `astype` does; weights too large for it become infinite.
    pub fn round_all(self, weights: &mut [f32]) {
        run_fastest(RoundAll { float: self, weights });
    }
}

/// The type that a result is rounded to; known when the kernel is compiled.
pub(super) trait Precision {
    /// Nearest number of the type, ties to even. NaN stays NaN.
    fn round(value: f32) -> f32;
}

/// F32.
pub(super) struct Single;

/// F16.
pub(super) struct Half;

/// BF16.
pub(super) struct Brain;

impl Precision for Single {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        value
    }
}

impl Precision for Half {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        let magnitude = value.abs();
        // Below 2^-14, numbers are multiples of 2^-24: the last place of 0.5.
        let subnormal = (magnitude + 0.5) - 0.5;
        let normal = f32::from_bits(round_bits::<13>(magnitude.to_bits()));
        let finite = if magnitude < f32::from_bits(0x3880_0000) { subnormal } else { normal };
        // Half way between the largest number and 2^16.
        let rounded = if magnitude < 65520.0 { finite } else { magnitude + f32::INFINITY };
        rounded.copysign(value)
    }
}

impl Precision for Brain {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        let rounded = f32::from_bits(round_bits::<16>(value.to_bits()));
        if value.is_nan() { value } else { rounded }
    }
}

/// Rounds to a multiple of `2^N`, ties to even.
#[inline(always)]
fn round_bits<const N: u32>(bits: u32) -> u32 {
    let half_less_one = (1 << (N - 1)) - 1;
    bits.wrapping_add(half_less_one + (bits >> N & 1)) & (u32::MAX << N)
}

impl Float {
    /// Nearest number of this type, ties to even.
    #[inline(always)]
    pub(super) fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => Single::round(value),
            Self::F16 => Half::round(value),
            Self::BF16 => Brain::round(value),
        }
    }

    /// Writes the number that is nearest to `value` at `idx` of a slice of little-endian numbers.
    #[inline(always)]
    pub(super) fn store(self, value: f32, idx: usize, dst: &mut [u8]) {
        match self {
            Self::F32 => dst[4 * idx..4 * idx + 4].copy_from_slice(&value.to_le_bytes()),
            Self::F16 => dst[2 * idx..2 * idx + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes()),
            Self::BF16 => dst[2 * idx..2 * idx + 2].copy_from_slice(&Brain::round(value).to_le_bytes()[2..]),
        }
    }

    /// Reads the number at `idx` of a slice of little-endian numbers.
    #[inline(always)]
    pub(super) fn load(self, idx: usize, src: &[u8]) -> f32 {
        match self {
            Self::F32 => f32::from_le_bytes(std::array::from_fn(|byte| src[4 * idx + byte])),
            Self::F16 => half::f16::from_le_bytes([src[2 * idx], src[2 * idx + 1]]).to_f32(),
            Self::BF16 => f32::from_le_bytes([0, 0, src[2 * idx], src[2 * idx + 1]]),
        }
    }
}

/// See [`Float::round_all`].
pub(super) struct RoundAll<'a> {
    pub(super) float: Float,
    pub(super) weights: &'a mut [f32],
}

impl Kernel for RoundAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        match self.float {
            Float::F32 => {}
            Float::F16 => round_all::<Half>(self.weights),
            Float::BF16 => round_all::<Brain>(self.weights),
        }
    }
}

#[inline(always)]
fn round_all<P: Precision>(weights: &mut [f32]) {
    for weight in weights {
        *weight = P::round(*weight);
    }
}
