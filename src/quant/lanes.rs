//! Eight f32 side by side, and small functions on single f32.
//!
//! The searches are written once, over [`Simd`]: instruction sets differ in speed, not in a single bit of the result. All use
//! eight lanes and sum them in the same order, and fuse a multiplication with an addition only where the code says so.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use std::ops::{Add, Div, Mul, Sub};

/// Numbers in [`Simd::Lanes`].
pub(super) const N_LANES: usize = 8;

/// `1.5 * 2^23`: adding and subtracting it rounds to the nearest integer, ties to even, for magnitudes below `2^22`.
///
/// `f32::round_ties_even` is a library call on baseline x86-64, this is two instructions everywhere.
const MAGIC: f32 = 12_582_912.0;

/// Sixteen numbers in rising order, and the midpoints between neighbours.
#[derive(Debug)]
pub(super) struct SixteenLevels {
    pub(super) levels: [f32; 16],
    pub(super) middles: [f32; 15],
    /// The middles that the second, third and fourth step of a binary search compare with, by what the steps before found.
    pub(super) steps: [[f32; N_LANES]; 3],
}

impl SixteenLevels {
    pub(super) const fn new(levels: [f32; 16]) -> Self {
        let mut middles = [0.0; 15];
        let mut i = 0;
        while i < 15 {
            middles[i] = f32::midpoint(levels[i], levels[i + 1]);
            i += 1;
        }
        let m = &middles;
        let second = [m[3], m[11], 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let third = [m[1], m[5], m[9], m[13], 0.0, 0.0, 0.0, 0.0];
        let fourth = [m[0], m[2], m[4], m[6], m[8], m[10], m[12], m[14]];
        Self { levels, middles, steps: [second, third, fourth] }
    }
}

/// Work whose loops profit from wide vectors.
pub(super) trait Kernel: Sized {
    /// What the work gives back.
    type Output;

    /// Does the work. Implementations and all that they call must be `#[inline(always)]`: only then are they compiled for the
    /// caller's instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;

    /// [`Kernel::run`] in a function of its own.
    #[inline(never)]
    fn run_apart<S: Simd>(self, simd: S) -> Self::Output {
        self.run(simd)
    }
}

/// An instruction set: a value of it proves that this CPU has it.
pub(super) trait Simd: Copy {
    /// Eight numbers that go through the same operations.
    type Lanes: Copy
        + Add<Output = Self::Lanes>
        + Sub<Output = Self::Lanes>
        + Mul<Output = Self::Lanes>
        + Div<Output = Self::Lanes>;

    /// Runs the kernel in a function of its own that is compiled for this instruction set: what several kernels share is compiled once, and
    /// no function gets so long that compiling it takes minutes.
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run_apart(self)
    }

    /// The same number in all lanes.
    fn splat(self, value: f32) -> Self::Lanes;

    /// Puts one number into each lane.
    fn load(self, values: &[f32; N_LANES]) -> Self::Lanes;

    /// Puts four numbers into the lower lanes and four into the upper ones.
    #[inline(always)]
    fn load_halves(self, lower: &[f32; 4], upper: &[f32; 4]) -> Self::Lanes {
        let mut values = [0.0; N_LANES];
        values[..4].copy_from_slice(lower);
        values[4..].copy_from_slice(upper);
        self.load(&values)
    }

    /// The number of each lane.
    fn store(self, lanes: Self::Lanes) -> [f32; N_LANES];

    /// `a * b + c`, rounded once, in each lane.
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;

    /// `if a < b { a } else { b }` in each lane.
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;

    /// `if a > b { a } else { b }` in each lane.
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;

    /// `if a > b { yes } else { no }` in each lane.
    fn where_above(self, a: Self::Lanes, b: Self::Lanes, yes: Self::Lanes, no: Self::Lanes) -> Self::Lanes;

    /// The level of [`SixteenLevels`] that is nearest to each number; the lower one half way between two.
    #[inline(always)]
    fn nearest_level(self, numbers: Self::Lanes, levels: &SixteenLevels) -> Self::Lanes {
        let mut nearest = self.splat(levels.levels[0]);
        for i in 0..15 {
            nearest = self.where_above(numbers, self.splat(levels.middles[i]), self.splat(levels.levels[i + 1]), nearest);
        }
        nearest
    }

    /// All zero.
    #[inline(always)]
    fn zero(self) -> Self::Lanes {
        self.splat(0.0)
    }

    /// `first + lane * distance`.
    #[inline(always)]
    fn ramp(self, first: f32, distance: f32) -> Self::Lanes {
        self.splat(first) + self.load(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) * self.splat(distance)
    }

    /// Rounds `a * b` as [`round`] and limits it to `low..=high`.
    #[inline(always)]
    fn round_product(self, a: Self::Lanes, b: Self::Lanes, low: f32, high: f32) -> Self::Lanes {
        let rounded = self.mul_add(a, b, self.splat(MAGIC)) - self.splat(MAGIC);
        self.min(self.max(rounded, self.splat(low)), self.splat(high))
    }

    /// Rounds as [`round`] and limits to `low..=high`.
    #[inline(always)]
    fn round_clamp(self, lanes: Self::Lanes, low: f32, high: f32) -> Self::Lanes {
        let rounded = (lanes + self.splat(MAGIC)) - self.splat(MAGIC);
        self.min(self.max(rounded, self.splat(low)), self.splat(high))
    }

    /// Rounds each `x * factor`, whose magnitudes must be below 127.5, to the nearest whole number, ties away from zero.
    #[inline(always)]
    fn scaled_bytes(self, x: &[f32; 32], factor: f32) -> [i8; 32] {
        x.map(|number| low_byte(round_half_away(number * factor)).cast_signed())
    }

    /// `1 / value` in each lane, 0 for 0.
    #[inline(always)]
    fn inverse(self, lanes: Self::Lanes) -> Self::Lanes {
        let reciprocal = self.splat(1.0) / lanes;
        let positive = self.where_above(lanes, self.zero(), reciprocal, self.zero());
        self.where_above(self.zero(), lanes, reciprocal, positive)
    }

    /// `if a > b { value } else { 0 }` in each lane.
    #[inline(always)]
    fn keep_above(self, a: Self::Lanes, b: Self::Lanes, value: Self::Lanes) -> Self::Lanes {
        self.where_above(a, b, value, self.zero())
    }

    /// True if `a > b` in some lane.
    #[inline(always)]
    fn is_any_above(self, a: Self::Lanes, b: Self::Lanes) -> bool {
        self.largest(self.where_above(a, b, self.splat(1.0), self.zero())) > 0.0
    }

    /// Combines all lanes into one number: first lanes that are four apart, then two, then one.
    #[inline(always)]
    fn fold(self, lanes: Self::Lanes, operation: impl Fn(f32, f32) -> f32) -> f32 {
        let v = self.store(lanes);
        let four = [operation(v[0], v[4]), operation(v[1], v[5]), operation(v[2], v[6]), operation(v[3], v[7])];
        operation(operation(four[0], four[2]), operation(four[1], four[3]))
    }

    /// Sum of the lanes, in the order of [`Simd::fold`].
    #[inline(always)]
    fn sum(self, lanes: Self::Lanes) -> f32 {
        self.fold(lanes, Add::add)
    }

    /// The smallest number.
    #[inline(always)]
    fn smallest(self, lanes: Self::Lanes) -> f32 {
        self.fold(lanes, min)
    }

    /// The largest number.
    #[inline(always)]
    fn largest(self, lanes: Self::Lanes) -> f32 {
        self.fold(lanes, max)
    }

    /// The first lane that has this number; 0 for none.
    #[inline(always)]
    fn lane_of(self, lanes: Self::Lanes, number: f32) -> usize {
        self.store(lanes).iter().position(|&lane| lane == number).unwrap_or(0)
    }

    /// The lane with the smallest number; the first of several.
    #[inline(always)]
    fn argmin(self, lanes: Self::Lanes) -> usize {
        self.lane_of(lanes, self.smallest(lanes))
    }

    /// The lane with the largest number; the first of several.
    #[inline(always)]
    fn argmax(self, lanes: Self::Lanes) -> usize {
        self.lane_of(lanes, self.largest(lanes))
    }

    /// Smallest and largest of `N` numbers, `N` a multiple of eight; `(inf, -inf)` for none. A zero may have either sign.
    #[inline(always)]
    fn extremes<const N: usize>(self, x: &[f32; N]) -> (f32, f32) {
        let (mut low, mut high) = (self.splat(f32::INFINITY), self.splat(f32::NEG_INFINITY));
        for chunk in x.as_chunks::<N_LANES>().0 {
            let lanes = self.load(chunk);
            low = self.min(lanes, low);
            high = self.max(lanes, high);
        }
        (self.smallest(low), self.largest(high))
    }
}

/// Arrays: the specification, and what CPUs without a path of their own use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

/// [`Simd::Lanes`] of [`Portable`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ArrayLanes([f32; N_LANES]);

impl Simd for Portable {
    type Lanes = ArrayLanes;

    #[inline(always)]
    fn splat(self, value: f32) -> ArrayLanes {
        ArrayLanes([value; N_LANES])
    }

    #[inline(always)]
    fn load(self, values: &[f32; N_LANES]) -> ArrayLanes {
        ArrayLanes(*values)
    }

    #[inline(always)]
    fn store(self, lanes: ArrayLanes) -> [f32; N_LANES] {
        lanes.0
    }

    /// A function of its own: where it is emulated, it is so long that kernels would take more time to compile than all other code.
    #[inline(never)]
    fn mul_add(self, a: ArrayLanes, b: ArrayLanes, c: ArrayLanes) -> ArrayLanes {
        let mut out = [0.0; N_LANES];
        for lane in 0..N_LANES {
            out[lane] = mul_add(a.0[lane], b.0[lane], c.0[lane]);
        }
        ArrayLanes(out)
    }

    #[inline(always)]
    fn min(self, a: ArrayLanes, b: ArrayLanes) -> ArrayLanes {
        lanewise(a, b, min)
    }

    #[inline(always)]
    fn max(self, a: ArrayLanes, b: ArrayLanes) -> ArrayLanes {
        lanewise(a, b, max)
    }

    #[inline(always)]
    fn where_above(self, a: ArrayLanes, b: ArrayLanes, yes: ArrayLanes, no: ArrayLanes) -> ArrayLanes {
        let mut out = no;
        for lane in 0..N_LANES {
            if a.0[lane] > b.0[lane] {
                out.0[lane] = yes.0[lane];
            }
        }
        out
    }
}

impl Add for ArrayLanes {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        lanewise(self, other, Add::add)
    }
}

impl Sub for ArrayLanes {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        lanewise(self, other, Sub::sub)
    }
}

impl Mul for ArrayLanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        lanewise(self, other, Mul::mul)
    }
}

impl Div for ArrayLanes {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        lanewise(self, other, Div::div)
    }
}

/// The operation in each lane.
#[inline(always)]
fn lanewise(a: ArrayLanes, b: ArrayLanes, operation: impl Fn(f32, f32) -> f32) -> ArrayLanes {
    let mut out = [0.0; N_LANES];
    for lane in 0..N_LANES {
        out[lane] = operation(a.0[lane], b.0[lane]);
    }
    ArrayLanes(out)
}

/// `a * b + c`, rounded once.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        return a.mul_add(b, c);
    }
    // Elsewhere `f32::mul_add` is a slow library call. The product is exact in f64; if the sum is not, its last bit is made odd in
    // the direction of what was lost, and then the second rounding is that of the exact sum (Boldo and Melquiond, "Emulation of FMA
    // and correctly rounded sums", 2008).
    let (product, addend) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + addend;
    let of_addend = sum - product;
    let lost = (product - (sum - of_addend)) + (addend - of_addend);
    let bits = sum.to_bits();
    let is_settled = lost == 0.0 || bits & 1 == 1 || !lost.is_finite();
    let towards_lost = if (lost > 0.0) == (sum > 0.0) { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    #[allow(clippy::cast_possible_truncation, reason = "the one rounding")]
    let rounded = f64::from_bits(if is_settled { bits } else { towards_lost }) as f32;
    rounded
}

/// Nearest integer, ties to even, for magnitudes below `2^22`; larger ones stay roughly what they are.
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    (value + MAGIC) - MAGIC
}

/// Nearest integer, ties away from zero, as C's `roundf`, for magnitudes below `2^22`.
#[inline(always)]
fn round_half_away(value: f32) -> f32 {
    let even = round(value);
    // The difference is exact: where it is not zero, the two are close to each other.
    let up = if value - even == 0.5 && value > 0.0 { 1.0 } else { 0.0 };
    let down = if even - value == 0.5 && value < 0.0 { 1.0 } else { 0.0 };
    even + up - down
}

/// Limits to `low..=high` in two instructions; NaN, which `f32::clamp` would keep, becomes `low`.
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

/// Largest magnitude as the bits of its f32; 0 for none. NaN and infinities come out as `0x7f80_0000` or more.
#[inline(always)]
pub(super) fn max_magnitude_bits(x: &[f32]) -> u32 {
    // Bit patterns of magnitudes are ordered as the magnitudes are.
    let magnitude = |value: f32| value.to_bits() & 0x7fff_ffff;
    let (chunks, rest) = x.as_chunks::<N_LANES>();
    let mut largest = [0; N_LANES];
    for chunk in chunks {
        for lane in 0..N_LANES {
            largest[lane] = largest[lane].max(magnitude(chunk[lane]));
        }
    }
    let of_rest = rest.iter().fold(0, |largest, &value| largest.max(magnitude(value)));
    largest.into_iter().fold(of_rest, u32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::dispatch::run_fastest;

    struct ScaledBytes([f32; 32]);

    impl Kernel for ScaledBytes {
        type Output = [i8; 32];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [i8; 32] {
            simd.scaled_bytes(&self.0, 1.0)
        }
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
    fn rounding_is_that_of_the_c_library() {
        for quarter in -508..=508_i16 {
            let value = f32::from(quarter) / 4.0;
            for near in [value, value.next_up(), value.next_down()] {
                let expected = near.round() as i8;
                assert_eq!(round_half_away(near), near.round(), "{near}");
                assert_eq!(run_fastest(ScaledBytes([near; 32])), [expected; 32], "{near}");
            }
        }
    }
}
