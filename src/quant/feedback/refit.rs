//! Moves the two numbers that scale all of a super-block, where that lowers the output error with the same integers.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::codec::{Codec, Levels, Offsets, dot};
use super::factors::Factors;
use super::group::{Group, PANEL};
use crate::quant::dispatch::Kernel;
use crate::quant::lanes::{N_LANES, Simd, max};

/// The super-block at column `start` of all rows of a group.
pub(super) struct RefitBlocks<'a, 'b, L, const N: usize> {
    codec: &'a Codec<L, N>,
    group: &'a mut Group<'b>,
    start: usize,
    /// `u H` with `u` the integer scale times the level. `[n_rows, PANEL]`
    products: &'a [f32],
    /// `[n_rows, n_columns]`
    gradients: &'a mut [f32],
    /// Moments of the columns, added up over each sub-block's rows.
    sums: Vec<[f32; PANEL]>,
}

impl<'a, 'b, L: Levels, const N: usize> RefitBlocks<'a, 'b, L, N> {
    pub(super) fn new(
        codec: &'a Codec<L, N>,
        group: &'a mut Group<'b>,
        factors: &Factors,
        start: usize,
        products: &'a [f32],
        gradients: &'a mut [f32],
    ) -> Self {
        let n = group.n_columns;
        let mut sums = vec![[0.0; PANEL]; codec.n_subs];
        for (j, sums) in sums.iter_mut().enumerate() {
            for i in 0..N {
                let moments = &factors.moments()[(start + N * j + i) * n + start..][..PANEL];
                sums.iter_mut().zip(moments).for_each(|(sum, moment)| *sum += moment);
            }
        }
        Self { codec, group, start, products, gradients, sums }
    }
}

impl<L: Levels, const N: usize> Kernel for RefitBlocks<'_, '_, L, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codec, group, start, products, gradients, sums } = self;
        let n = group.n_columns;
        for (row, of_scales) in products.chunks_exact(PANEL).enumerate() {
            let at = row * n + start;
            let scales = &mut group.scales[at / PANEL];
            let (levels, gradients) = (&group.levels[at..at + PANEL], &mut gradients[at..at + PANEL]);
            // What a change of `d` and `dmin` by one does to the weights, and what that does to the gradients.
            let (mut u, mut v, mut of_mins) = ([0.0; PANEL], [0.0; PANEL], [0.0; PANEL]);
            for j in 0..codec.n_subs {
                for i in N * j..N * (j + 1) {
                    u[i] = scales.factors[j] * levels[i];
                    v[i] = -scales.mins[j];
                }
                if codec.offsets == Offsets::Integer {
                    let min = simd.splat(-scales.mins[j]);
                    for (of_mins, sums) in of_mins.as_chunks_mut::<N_LANES>().0.iter_mut().zip(sums[j].as_chunks::<N_LANES>().0) {
                        *of_mins = simd.store(simd.mul_add(min, simd.load(sums), simd.load(of_mins)));
                    }
                }
            }
            let (gu, gv) = (dot(simd, gradients, &u), dot(simd, gradients, &v));
            let (uu, uv, vv) = (dot(simd, of_scales, &u), dot(simd, of_scales, &v), dot(simd, &of_mins, &v));
            let determinant = uu * vv - uv * uv;
            let (mut d, mut dmin) = (scales.d, scales.dmin);
            if vv > 0.0 && determinant > 1e-5 * uu * vv {
                d += (gv * uv - gu * vv) / determinant;
                dmin = max(dmin + (gu * uv - gv * uu) / determinant, 0.0);
            } else if uu > 0.0 {
                d -= gu / uu;
            }
            let (d, dmin) = (codec.neighbours.representable(d), codec.neighbours.representable(dmin));
            let (p, q) = (d - scales.d, dmin - scales.dmin);
            let change = p * (2.0 * gu + p * uu + 2.0 * q * uv) + q * (2.0 * gv + q * vv);
            if change.is_nan() || change >= 0.0 {
                continue;
            }
            (scales.d, scales.dmin) = (d, dmin);
            for j in 0..codec.n_subs {
                let (step, offset) = (scales.sub(j).step(), scales.sub(j).offset());
                for i in N * j..N * (j + 1) {
                    group.errors[at + i] = (step * levels[i] + offset) - group.weights[at + i];
                    gradients[i] += p * of_scales[i] + q * of_mins[i];
                }
            }
        }
    }
}
