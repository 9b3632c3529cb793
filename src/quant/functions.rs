//! Functions of many numbers at once, in single precision: what a network computes between its products of matrices.
//!
//! Loops without branches, which the compiler turns into vector instructions; results are the same to the bit on every path.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]
#![allow(clippy::excessive_precision, reason = "constants are written as their source has them")]

use super::dispatch::{Kernel, run_fastest};
use super::lanes::Simd;
use crate::model::Activation;

/// Numbers whose squares are added up in single precision before the sum goes on in double precision.
const SUM_BLOCK: usize = 64;

/// `gate[i] = activation(gate[i]) * up[i]`.
///
/// Relative error of SiLU below 1e-6, of the erf form of GELU below 1e-7, of its tanh form below `1e-6 + 4e-7 * |y|` with `tanh(y)` in its
/// definition: more than 3e-6 only where the result is below 1e-4 times its input.
pub fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => run_fastest(Gate { x: gate, up, function: Silu }),
        Activation::GeluTanh => run_fastest(Gate { x: gate, up, function: GeluTanh }),
        Activation::GeluErf => gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = gelu_erf(*gate) * up),
    }
}

/// Probabilities in proportion to `exp(row[i])`; all NaN if the largest number is not finite. Relative error below 1e-6.
pub fn softmax(row: &mut [f32]) {
    run_fastest(Softmax(row));
}

/// `row[i] = cap * tanh(row[i] / cap)`. Relative error below 1e-6.
pub fn soft_cap(row: &mut [f32], cap: f32) {
    run_fastest(SoftCap { row, cap });
}

/// `out[i] = x[i] / sqrt(mean(x²) + epsilon) * weights[i]`; `out` is as long as `x` and the weights.
pub fn rms_norm(x: &[f32], weights: &[f32], epsilon: f64, out: &mut [f32]) {
    run_fastest(RmsNorm { x, weights, epsilon, out });
}

/// `x[i] += scale * y[i]`.
pub fn add_scaled(x: &mut [f32], scale: f32, y: &[f32]) {
    run_fastest(AddScaled { x, scale, y });
}

/// `1 / (1 + exp(-x))`.
#[must_use]
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let small = exp_negative(-x.abs());
    let above = if x >= 0.0 { 1.0 } else { small };
    // A NaN is lost in the exponential, which clamps.
    above / (1.0 + small) + 0.0 * x
}

/// `exp(x)` for `x <= 0`; never below `exp(-87)`.
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    let (power, less_one) = exp_parts(x);
    power * less_one + power
}

/// `2^n` and `exp(r) - 1` with `exp(x) = 2^n * exp(r)` and `|r| <= ln 2 / 2`, for `x <= 0`, taken as -87 below that.
///
/// The exponential is its Taylor series to the seventh power: the rest is below `(ln 2 / 2)^8 / 8! = 5.2e-9`.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, f32) {
    /// Adding it rounds to an integer, which is then in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 in two parts, so that n times the first is exact. Source: Cody and Waite, "Software Manual for the Elementary Functions", 1980.
    const LN_2: (f32, f32) = (0.693_359_375, -2.121_944_4e-4);
    let clamped = x.max(-87.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (clamped - n * LN_2.0) - n * LN_2.1;
    let (third, fourth, fifth, sixth) = (1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0);
    let higher = third + r * (fourth + r * (fifth + r * (sixth + r * (1.0 / 5040.0))));
    let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    (f32::from_bits(exponent), r + r * r * (0.5 + r * higher))
}

/// `tanh(x)`, exact also near 0: `exp(-2|x|) - 1` is not computed as a difference there.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let (power, less_one) = exp_parts(-2.0 * x.abs());
    let difference = power * less_one + (power - 1.0);
    (-difference / (2.0 + difference)).copysign(x) + 0.0 * x
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`.
///
/// `erf(z) = 2 / sqrt(pi) * exp(-z²) * Σ 2^n z^(2n + 1) / (1 · 3 · … · (2n + 1))`, whose terms have one sign. Source: Abramowitz and
/// Stegun, "Handbook of Mathematical Functions", 7.1.6.
#[allow(clippy::cast_possible_truncation, reason = "the result is single precision")]
fn gelu_erf(x: f32) -> f32 {
    let z = f64::from(x) / std::f64::consts::SQRT_2;
    // Beyond 6 it is 1 in double precision.
    let erf = if z.abs() < 6.0 {
        let (mut term, mut sum, mut divisor) = (z, z, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            divisor += 2.0;
            term *= 2.0 * z * z / divisor;
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-z * z).exp() * sum
    } else {
        z.signum()
    };
    (f64::from(x) / 2.0 * (1.0 + erf)) as f32
}

/// A function that is compiled into its caller.
trait Function: Copy {
    fn of(self, x: f32) -> f32;
}

#[derive(Clone, Copy)]
struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        x * sigmoid(x)
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl Function for GeluTanh {
    /// `1 + tanh(y) = 2 / (1 + exp(-2 y))`.
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        /// `2 * sqrt(2 / pi)`.
        const FACTOR: f32 = 1.595_769_1;
        x * sigmoid(FACTOR * (x + 0.044_715 * x * x * x))
    }
}

struct Gate<'a, F> {
    x: &'a mut [f32],
    up: &'a [f32],
    function: F,
}

impl<F: Function> Kernel for Gate<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (x, &up) in self.x.iter_mut().zip(self.up) {
            *x = self.function.of(*x) * up;
        }
    }
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let row = self.0;
        let mut lanes = [f32::NEG_INFINITY; 8];
        let (eights, rest) = row.as_chunks::<8>();
        for eight in eights {
            for (lane, &x) in lanes.iter_mut().zip(eight) {
                *lane = if x > *lane { x } else { *lane };
            }
        }
        let max = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        if !max.is_finite() {
            return row.fill(f32::NAN);
        }
        let mut sums = [0.0_f32; 8];
        let (eights, rest) = row.as_chunks_mut::<8>();
        let mut sum = 0.0_f64;
        for block in eights.chunks_mut(SUM_BLOCK / 8) {
            for eight in block {
                for (lane, x) in sums.iter_mut().zip(eight) {
                    *x = exp_negative(*x - max);
                    *lane += *x;
                }
            }
            sum += f64::from(sums.iter().sum::<f32>());
            sums = [0.0; 8];
        }
        for x in rest {
            *x = exp_negative(*x - max);
            sum += f64::from(*x);
        }
        #[allow(clippy::cast_possible_truncation, reason = "the result is single precision")]
        let factor = sum.recip() as f32;
        for x in row {
            *x *= factor;
        }
    }
}

struct SoftCap<'a> {
    row: &'a mut [f32],
    cap: f32,
}

impl Kernel for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let factor = self.cap.recip();
        for x in self.row {
            *x = self.cap * tanh(*x * factor);
        }
    }
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    epsilon: f64,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a count, and a single-precision result")]
    fn run<S: Simd>(self, _: S) {
        let mut sum = 0.0_f64;
        for block in self.x.chunks(SUM_BLOCK) {
            let mut lanes = [0.0_f32; 8];
            let (eights, rest) = block.as_chunks::<8>();
            for eight in eights {
                for (lane, &x) in lanes.iter_mut().zip(eight) {
                    *lane += x * x;
                }
            }
            sum += f64::from(lanes.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>());
        }
        let factor = (sum / self.x.len().max(1) as f64 + self.epsilon).sqrt().recip() as f32;
        for ((out, &x), &weight) in self.out.iter_mut().zip(self.x).zip(self.weights) {
            *out = x * factor * weight;
        }
    }
}

struct AddScaled<'a> {
    x: &'a mut [f32],
    scale: f32,
    y: &'a [f32],
}

impl Kernel for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (x, &y) in self.x.iter_mut().zip(self.y) {
            *x += self.scale * y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::run_portable;
    use super::*;

    /// From -30 to 30, dense near 0.
    fn numbers() -> Vec<f32> {
        let many = (-3000_i16..=3000).map(|idx| f32::from(idx) / 100.0);
        let small = (-40_i16..40).map(|idx| f32::from(idx.signum()) * (f32::from(idx.abs()) / -2.0).exp());
        many.chain(small).collect()
    }

    fn check(name: &str, found: &[f32], tolerance: f64, expected: impl Fn(f64) -> f64) {
        for (&x, &found) in numbers().iter().zip(found) {
            let expected = expected(f64::from(x));
            let error = (f64::from(found) - expected).abs() / expected.abs().max(1e-30);
            assert!(error < tolerance, "{name}({x}) is {found}, not {expected}: {error:e}");
        }
    }

    /// By the series of `exp(-z²) / z` (Abramowitz and Stegun 7.1.14) where `1 + erf` would cancel.
    fn exact_gelu_erf(x: f64) -> f64 {
        let z = -x / 2.0_f64.sqrt();
        if z < 2.0 {
            let mut sum = 0.0;
            let n = 20_000;
            let at = |idx: i32| (-(z * f64::from(idx) / f64::from(n)).powi(2)).exp();
            for idx in 0..n {
                // Simpson's rule over each piece.
                sum += (at(idx) + 4.0 * (-(z * (f64::from(idx) + 0.5) / f64::from(n)).powi(2)).exp() + at(idx + 1)) / 6.0;
            }
            let erf = std::f64::consts::FRAC_2_SQRT_PI * sum * z / f64::from(n);
            return x / 2.0 * (1.0 - erf);
        }
        let mut fraction = z;
        for k in (1..200).rev() {
            fraction = z + f64::from(k) / 2.0 / fraction;
        }
        x / 2.0 * (-z * z).exp() / fraction / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gates_are_what_they_are_called() {
        let of = |activation: Activation| {
            let mut x = numbers();
            let twos = vec![2.0; x.len()];
            gate(activation, &mut x, &twos);
            x.iter().map(|x| x / 2.0).collect::<Vec<f32>>()
        };
        check("silu", &of(Activation::Silu), 1e-6, |x| x / (1.0 + (-x).exp()));
        let some = of(Activation::GeluTanh);
        for (&x, &found) in numbers().iter().zip(&some) {
            let x = f64::from(x);
            let y = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            let expected = x / (1.0 + (-2.0 * y).exp());
            // The argument of the exponential is rounded: its error grows with it.
            let tolerance = 1e-6 + 4e-7 * y.abs();
            assert!(
                (f64::from(found) - expected).abs() <= tolerance * expected.abs() + 1e-36,
                "gelu({x}) = {found}, not {expected}"
            );
        }
        let erf = of(Activation::GeluErf);
        for (&x, &found) in numbers().iter().zip(&erf).filter(|(x, _)| **x > -4.0).step_by(37) {
            let expected = exact_gelu_erf(f64::from(x));
            assert!((f64::from(found) - expected).abs() <= 1e-7 * expected.abs() + 1e-30, "gelu({x}) = {found}, not {expected}");
        }
        assert_eq!(gelu_erf(-20.0), 0.0);
        assert_eq!(gelu_erf(20.0).to_bits(), 20.0_f32.to_bits());
    }

    #[test]
    fn a_cap_is_exact_near_zero_and_far_away() {
        let mut row = numbers();
        soft_cap(&mut row, 5.0);
        check("cap", &row, 1e-6, |x| 5.0 * (x / 5.0).tanh());
    }

    #[test]
    fn probabilities_add_up_to_one() {
        for n in [1_usize, 7, 8, 9, 100, 1000] {
            let mut row: Vec<f32> = numbers().into_iter().step_by(3).take(n).collect();
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f64> = row.iter().map(|&x| f64::from(x - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            softmax(&mut row);
            for (found, power) in row.iter().zip(powers) {
                assert!((f64::from(*found) - power / sum).abs() < 1e-6 * (power / sum), "{n}");
            }
        }
        softmax(&mut []);
        for bad in [f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = [bad; 3];
            softmax(&mut row);
            assert!(row.iter().all(|x| x.is_nan()), "{row:?}");
        }
    }

    #[test]
    fn numbers_that_are_none_stay_visible() {
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::GeluErf] {
            let mut x = [f32::NAN];
            gate(activation, &mut x, &[1.0]);
            assert!(x[0].is_nan(), "{activation:?}");
        }
        let mut x = [f32::NAN];
        soft_cap(&mut x, 2.0);
        assert!(x[0].is_nan());
    }

    #[test]
    fn norms_have_a_mean_square_of_one_and_sums_are_scaled() {
        let x: Vec<f32> = numbers().into_iter().take(300).collect();
        let mut out = vec![0.0; 300];
        rms_norm(&x, &vec![2.0; 300], 1e-6, &mut out);
        let mean = out.iter().map(|x| f64::from(x * x)).sum::<f64>() / 300.0;
        assert!((mean - 4.0).abs() < 1e-5, "{mean}");
        let mut sum = vec![1.0; 300];
        add_scaled(&mut sum, 0.5, &out);
        assert!(sum.iter().zip(&out).all(|(sum, out)| (sum - (1.0 + 0.5 * out)).abs() < 1e-6));
    }

    #[test]
    fn wide_vectors_change_nothing() {
        let (mut wide, mut plain) = (numbers(), numbers());
        run_fastest(Softmax(&mut wide));
        run_portable(Softmax(&mut plain));
        assert_eq!(wide, plain);
        let up = numbers();
        run_fastest(Gate { x: &mut wide, up: &up, function: Silu });
        run_portable(Gate { x: &mut plain, up: &up, function: Silu });
        assert_eq!(wide, plain);
    }
}
