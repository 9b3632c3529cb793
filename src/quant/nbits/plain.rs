//! Scales and zero points by a block's extremes, as ONNX Runtime's own tool chooses them.
//!
//! Without zero points the weight farthest from zero becomes the lowest code, whatever its sign: scales may be negative. With
//! zero points, the lowest and the highest code are the extremes, zero included.
//!
//! Source: `range2scale` and `range2scalezp` in onnxruntime/core/mlas/lib/q4_dq.cpp, and what 1.32.0 makes of odd rows.

use super::NBits;
use crate::quant::float::Float;
use crate::quant::lanes::{Simd, clamp, low_byte, max, min, round};
use crate::quant::search_affine::inverse;

/// A block as it will be decoded: `w[i] = scale * (codes[i] - zero_point)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<const N: usize> {
    /// As the file holds it; infinite if it would have to be larger than the type can hold.
    pub(super) scale: f32,
    pub(super) zero_point: f32,
    pub(super) codes: [u8; N],
}

/// The block of `N` finite weights; zeros behind the end of a row change nothing.
#[inline(always)]
pub(super) fn fit<const N: usize>(simd: impl Simd, x: &[f32; N], nbits: NBits, float: Float) -> Block<N> {
    let q_max = nbits.q_max();
    let (low, high) = simd.extremes(x);
    let (scale, zero_point) = if nbits.has_zero_points {
        let (low, high) = (min(low, 0.0), max(high, 0.0));
        let scale = (high - low) / q_max;
        (scale, if scale == 0.0 { 0.0 } else { round_half_up(clamp(-low / scale, 0.0, q_max)) })
    } else {
        let extreme = if high.abs() > low.abs() { high } else { low };
        // The scale of zeros has a sign too, by that of the first one.
        let extreme = if extreme == 0.0 { x[0] } else { extreme };
        (extreme / -nbits.middle(), nbits.middle())
    };
    let scale = float.round(scale);
    let inverse = inverse(scale);
    let mut codes = [0; N];
    for (code, &weight) in codes.iter_mut().zip(x) {
        // With a scale so small that its inverse is infinite, zeros become NaN, and then code 0.
        *code = low_byte(round_half_up(clamp(weight * inverse + zero_point, 0.0, q_max)));
    }
    Block { scale, zero_point, codes }
}

/// C's `roundf` for numbers from 0 to 255.
#[inline(always)]
fn round_half_up(value: f32) -> f32 {
    let even = round(value);
    even + if value - even == 0.5 { 1.0 } else { 0.0 }
}
