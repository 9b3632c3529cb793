//! NEON, which every aarch64 CPU has: eight lanes are two registers.
#![allow(unsafe_code, reason = "loads and stores take pointers")]
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vbslq_f32, vcgtq_f32, vcltq_f32, vcombine_s8, vcombine_s16, vcvtaq_s32_f32, vdivq_f32, vdupq_n_f32,
    vfmaq_f32, vld1q_f32, vmulq_f32, vqmovn_s16, vqmovn_s32, vst1q_f32, vst1q_s8, vsubq_f32,
};
use std::ops::{Add, Div, Mul, Sub};

use super::lanes::{N_LANES, Simd};

/// Stands for NEON, which needs no proof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon;

/// Lanes 0 to 3 and 4 to 7.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair(float32x4_t, float32x4_t);

impl Simd for Neon {
    type Lanes = Pair;

    #[inline(always)]
    fn splat(self, value: f32) -> Pair {
        // SAFETY: NEON is part of aarch64; the same holds for all blocks below.
        let four = unsafe { vdupq_n_f32(value) };
        Pair(four, four)
    }

    #[inline(always)]
    fn load(self, values: &[f32; N_LANES]) -> Pair {
        // SAFETY: four f32 each are read from both halves of an array of eight.
        unsafe { Pair(vld1q_f32(values.as_ptr()), vld1q_f32(values.as_ptr().add(4))) }
    }

    #[inline(always)]
    fn store(self, lanes: Pair) -> [f32; N_LANES] {
        let mut values = [0.0; N_LANES];
        // SAFETY: four f32 each are written to both halves of an array of eight.
        unsafe {
            vst1q_f32(values.as_mut_ptr(), lanes.0);
            vst1q_f32(values.as_mut_ptr().add(4), lanes.1);
        }
        values
    }

    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    /// Not `vminq_f32`, which returns NaN if either number is NaN.
    #[inline(always)]
    fn min(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(vbslq_f32(vcltq_f32(a.0, b.0), a.0, b.0), vbslq_f32(vcltq_f32(a.1, b.1), a.1, b.1)) }
    }

    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        self.where_above(a, b, a, b)
    }

    #[inline(always)]
    fn where_above(self, a: Pair, b: Pair, yes: Pair, no: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(vbslq_f32(vcgtq_f32(a.0, b.0), yes.0, no.0), vbslq_f32(vcgtq_f32(a.1, b.1), yes.1, no.1)) }
    }

    /// One instruction rounds ties away from zero.
    #[inline(always)]
    fn scaled_bytes(self, x: &[f32; 32], factor: f32) -> [i8; 32] {
        let mut bytes = [0; 32];
        for (x, bytes) in x.as_chunks::<16>().0.iter().zip(bytes.as_chunks_mut::<16>().0) {
            // SAFETY: see `splat`; each load reads four of the 16 f32, the store writes 16 bytes.
            unsafe {
                let whole = |idx: usize| vcvtaq_s32_f32(vmulq_f32(vld1q_f32(x.as_ptr().add(4 * idx)), vdupq_n_f32(factor)));
                let low = vcombine_s16(vqmovn_s32(whole(0)), vqmovn_s32(whole(1)));
                let high = vcombine_s16(vqmovn_s32(whole(2)), vqmovn_s32(whole(3)));
                vst1q_s8(bytes.as_mut_ptr(), vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
            }
        }
        bytes
    }
}

/// Implements an operator by one instruction for each half.
macro_rules! operator {
    ($trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for Pair {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: NEON is part of aarch64.
                unsafe { Self($instruction(self.0, other.0), $instruction(self.1, other.1)) }
            }
        }
    };
}

operator!(Add, add, vaddq_f32);
operator!(Sub, sub, vsubq_f32);
operator!(Mul, mul, vmulq_f32);
operator!(Div, div, vdivq_f32);
