//! Eight f32 side by side: what the compiler turns into one AVX2 or two SSE and NEON registers.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use std::ops::{Add, Mul, Sub};

/// Width of [`Lanes`].
pub(super) const N_LANES: usize = 8;

/// `1.5 * 2^23`: adding and subtracting it rounds to the nearest integer, ties to even, for magnitudes below `2^22`.
///
/// `f32::round_ties_even` is a library call on baseline x86-64, this is two instructions everywhere.
const MAGIC: f32 = 12_582_912.0;

/// Eight numbers that go through the same operations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes(pub(super) [f32; N_LANES]);

impl Lanes {
    /// All zero.
    pub(super) const ZERO: Self = Self([0.0; N_LANES]);

    /// The same number in all lanes.
    #[inline(always)]
    pub(super) fn splat(value: f32) -> Self {
        Self([value; N_LANES])
    }

    /// One number per lane.
    #[inline(always)]
    pub(super) fn from_fn(of_lane: impl Fn(usize) -> f32) -> Self {
        let mut lanes = [0.0; N_LANES];
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value = of_lane(lane);
        }
        Self(lanes)
    }

    /// Each lane through the function.
    #[inline(always)]
    pub(super) fn map(self, function: impl Fn(f32) -> f32) -> Self {
        Self::from_fn(|lane| function(self.0[lane]))
    }

    /// Rounds to the nearest integer, ties to even; magnitudes above `2^22` stay roughly what they are.
    #[inline(always)]
    pub(super) fn round(self) -> Self {
        self.map(round)
    }

    /// Limits to `low..=high`.
    #[inline(always)]
    pub(super) fn clamp(self, low: f32, high: f32) -> Self {
        self.map(|value| clamp(value, low, high))
    }

    /// Sum in a fixed order.
    #[inline(always)]
    pub(super) fn sum(self) -> f32 {
        let v = self.0;
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
}

impl Add for Lanes {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self::from_fn(|lane| self.0[lane] + other.0[lane])
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self::from_fn(|lane| self.0[lane] - other.0[lane])
    }
}

impl Mul for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self::from_fn(|lane| self.0[lane] * other.0[lane])
    }
}

/// Nearest integer, ties to even, for magnitudes below `2^22`; larger ones stay roughly what they are.
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    (value + MAGIC) - MAGIC
}

/// Limits to `low..=high`, in two instructions where `f32::clamp` takes care of NaN.
#[inline(always)]
pub(super) fn clamp(value: f32, low: f32, high: f32) -> f32 {
    min(max(value, low), high)
}

/// The smaller one; the second where one is NaN.
#[inline(always)]
pub(super) fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The larger one; the second where one is NaN.
#[inline(always)]
pub(super) fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The low byte of an integral float of magnitude below `2^22` in two's complement, without the checks of `as`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the low byte is what is asked for")]
pub(super) fn low_byte(integral: f32) -> u8 {
    // The sum has a fixed exponent, so its low bits are the integer.
    (integral + MAGIC).to_bits() as u8
}

/// Smallest and largest of the numbers; `(inf, -inf)` for none. Of two zeros either.
#[inline(always)]
pub(super) fn extremes<const N: usize>(x: &[f32; N]) -> (f32, f32) {
    let (mut low, mut high) = ([f32::INFINITY; N_LANES], [f32::NEG_INFINITY; N_LANES]);
    for chunk in x.as_chunks::<N_LANES>().0 {
        for lane in 0..N_LANES {
            low[lane] = min(chunk[lane], low[lane]);
            high[lane] = max(chunk[lane], high[lane]);
        }
    }
    (low.into_iter().fold(f32::INFINITY, min), high.into_iter().fold(f32::NEG_INFINITY, max))
}

/// Largest magnitude as the bits of its f32; 0 for none. NaN and infinities come out as `0x7f80_0000` or more.
#[inline(always)]
pub(super) fn max_magnitude_bits(x: &[f32]) -> u32 {
    let (chunks, rest) = x.as_chunks::<32>();
    let mut largest = [0; 32];
    for chunk in chunks {
        for lane in 0..32 {
            // Bit patterns of magnitudes are ordered as the magnitudes are.
            largest[lane] = largest[lane].max(chunk[lane].to_bits() & 0x7fff_ffff);
        }
    }
    largest.into_iter().chain(rest.iter().map(|value| value.to_bits() & 0x7fff_ffff)).max().unwrap_or(0)
}
