//! Encoders of the k-quants: importances, search, packing.
//!
//! The importances without a calibration follow ggml's (`quantize_row_*_K_ref` in ggml-quants.c, llama.cpp of 2026-08-21): `|x|`
//! for Q2_K, `|x|` plus the sub-block's root mean square for Q4_K and Q5_K, `x²` for Q3_K and Q6_K. Where ggml's let small weights
//! vanish, a share of the mean square is added: then the plain error is below ggml's too, not only the weighted one. The shares
//! and the candidates below were chosen on SmolLM2 rows and the distributions of `tests/golden/make_quant_golden.py`.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockQ2_K, BlockQ3_K, BlockQ4_K, BlockQ5_K, BlockQ6_K, QK_K, pack_q3_scales, pack_scales_mins};
use super::lanes::{N_LANES, Simd};
use super::scale_of_scales::Largest;
use super::search_affine::{AffineFit, AffineGrid, Candidates, FitAffine, inverse};
use super::search_block::column_importance;
use super::search_symmetric::{FitSymmetric, Linear, SymmetricFit, SymmetricGrid};

/// The search for Q2_K. With four levels, where quant 0 lies matters as much as how far the levels are apart.
pub(super) const Q2_K: AffineGrid = AffineGrid {
    q_max: 3.0,
    scale_max: 15.0,
    candidates: &[
        Candidates { origin: 1.0, first: 0.3, distance: 0.15 },
        Candidates { origin: 1.0, first: -0.9, distance: 0.15 },
        Candidates { origin: 0.7, first: 0.3, distance: 0.15 },
        Candidates { origin: 0.7, first: -0.9, distance: 0.15 },
    ],
    d_candidates: Largest { first: 16.0, distance: 0.4, n_groups: 2 },
    n_rounds: 4,
    n_first: 1,
};

/// The search for Q4_K: two groups of candidates around the full range, one for sub-blocks of a few large weights.
pub(super) const Q4_K: AffineGrid = AffineGrid {
    q_max: 15.0,
    scale_max: 63.0,
    candidates: &[
        Candidates { origin: 1.0, first: 0.46, distance: 0.17 },
        Candidates { origin: 1.0, first: -0.9, distance: 0.17 },
        Candidates { origin: 0.0, first: -0.9, distance: 0.25 },
    ],
    d_candidates: Largest { first: 65.0, distance: 0.6, n_groups: 2 },
    n_rounds: 4,
    n_first: 2,
};

/// The search for Q5_K: the candidates of [`Q4_K`] serve 32 levels as well.
pub(super) const Q5_K: AffineGrid = AffineGrid { q_max: 31.0, n_first: 2, n_rounds: 4, ..Q4_K };

/// The search for Q3_K. With eight levels the lowest one, which has no opposite, matters: both signs are tried throughout.
pub(super) const Q3_K: SymmetricGrid<Linear> = SymmetricGrid {
    levels: Linear { q_max: 4.0 },
    scale_max: 32.0,
    n_step_groups: 2,
    first_step: 2.2,
    step_distance: 0.17,
    peak_levels: &[],
    d_candidates: Largest { first: 36.0, distance: 0.5, n_groups: 3 },
    n_rounds: 2,
};

/// The search for Q6_K: candidates from 30.3 to 32.4 steps, fine enough that only the integer scales decide.
pub(super) const Q6_K: SymmetricGrid<Linear> = SymmetricGrid {
    levels: Linear { q_max: 32.0 },
    scale_max: 128.0,
    n_step_groups: 1,
    first_step: 30.3,
    step_distance: 0.3,
    peak_levels: &[],
    d_candidates: Largest { first: 128.5, distance: 0.5, n_groups: 1 },
    n_rounds: 2,
};

/// Encodes one super-block of Q2_K.
#[inline(always)]
pub(super) fn encode_q2_k(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockQ2_K {
    let w = importance(simd, x, columns, Some(1.0), |magnitude, rms| 0.15 + 0.05 * rms + magnitude);
    pack_q2_k(&simd.call(FitAffine::<16, 16> { x: &split(x), w: &w, grid: Q2_K }))
}

/// The block of a fit.
#[inline(always)]
pub(super) fn pack_q2_k(fit: &AffineFit<16>) -> BlockQ2_K {
    let mut scales = [0; 16];
    for j in 0..16 {
        scales[j] = fit.scales[j] | (fit.mins[j] << 4);
    }
    BlockQ2_K { scales, qs: pack_two_bits(&fit.q), d: fit.d, dmin: fit.dmin }
}

/// Encodes one super-block of Q3_K.
#[inline(always)]
pub(super) fn encode_q3_k(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockQ3_K {
    let w = importance(simd, x, columns, Some(2.0), |magnitude, rms| 0.4 + 0.9 * rms * rms + magnitude * magnitude);
    pack_q3_k(&simd.call(FitSymmetric::<_, 16, 16> { x: &split(x), w: &w, grid: Q3_K }))
}

/// The block of a fit.
#[inline(always)]
pub(super) fn pack_q3_k(fit: &SymmetricFit<16>) -> BlockQ3_K {
    let mut hmask = [0; 32];
    for (row, q) in fit.q.as_chunks::<32>().0.iter().enumerate() {
        for (mask, q) in hmask.iter_mut().zip(q) {
            *mask |= (q >> 2) << row;
        }
    }
    let scales = pack_q3_scales(&fit.scales.map(|scale| scale.wrapping_add(32).cast_unsigned()));
    BlockQ3_K { hmask, qs: pack_two_bits(&fit.q), scales, d: fit.d }
}

/// Encodes one super-block of Q4_K.
#[inline(always)]
pub(super) fn encode_q4_k(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockQ4_K {
    let w = importance(simd, x, columns, Some(2.0), |magnitude, rms| magnitude + rms);
    pack_q4_k(&simd.call(FitAffine::<32, 8> { x: &split(x), w: &w, grid: Q4_K }))
}

/// The block of a fit.
#[inline(always)]
pub(super) fn pack_q4_k(fit: &AffineFit<8>) -> BlockQ4_K {
    BlockQ4_K { d: fit.d, dmin: fit.dmin, scales: pack_scales_mins(fit.scales, fit.mins), qs: pack_four_bits(&fit.q) }
}

/// Encodes one super-block of Q5_K.
#[inline(always)]
pub(super) fn encode_q5_k(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockQ5_K {
    let w = importance(simd, x, columns, Some(2.0), |magnitude, rms| magnitude + rms);
    pack_q5_k(&simd.call(FitAffine::<32, 8> { x: &split(x), w: &w, grid: Q5_K }))
}

/// The block of a fit.
#[inline(always)]
pub(super) fn pack_q5_k(fit: &AffineFit<8>) -> BlockQ5_K {
    let mut qh = [0; 32];
    for (row, q) in fit.q.as_chunks::<32>().0.iter().enumerate() {
        for (qh, q) in qh.iter_mut().zip(q) {
            *qh |= (q >> 4) << row;
        }
    }
    BlockQ5_K { d: fit.d, dmin: fit.dmin, scales: pack_scales_mins(fit.scales, fit.mins), qh, qs: pack_four_bits(&fit.q) }
}

/// Encodes one super-block of Q6_K.
#[inline(always)]
pub(super) fn encode_q6_k(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockQ6_K {
    let w = importance(simd, x, columns, None, |magnitude, rms| 0.5 * rms * rms + magnitude * magnitude);
    pack_q6_k(&simd.call(FitSymmetric::<_, 16, 16> { x: &split(x), w: &w, grid: Q6_K }))
}

/// The block of a fit.
#[inline(always)]
pub(super) fn pack_q6_k(fit: &SymmetricFit<16>) -> BlockQ6_K {
    let (mut ql, mut qh) = ([0; 128], [0; 64]);
    for half in 0..2 {
        let q = |row: usize, i: usize| fit.q[128 * half + 32 * row + i];
        for i in 0..32 {
            ql[64 * half + i] = (q(0, i) & 15) | (q(2, i) << 4);
            ql[64 * half + 32 + i] = (q(1, i) & 15) | (q(3, i) << 4);
            qh[32 * half + i] = (q(0, i) >> 4) | (q(1, i) >> 4 << 2) | (q(2, i) >> 4 << 4) | (q(3, i) >> 4 << 6);
        }
    }
    BlockQ6_K { ql, qh, scales: fit.scales, d: fit.d }
}

/// Importances of the weights: from those of the columns if any of these is not zero, else from [`local_importance`].
///
/// `mean_squares` is how many mean squares are added to squared magnitudes, as in ggml (`quantize_row_*_K_impl`); `None` where
/// magnitudes do not matter (Q6_K).
#[inline(always)]
pub(super) fn importance<S: Simd, const T: usize, const N: usize, const J: usize>(
    simd: S,
    x: &[f32; T],
    columns: Option<&[f32; T]>,
    mean_squares: Option<f32>,
    of_magnitude_and_rms: impl Fn(f32, f32) -> f32,
) -> [[f32; N]; J] {
    if let Some(columns) = columns
        && let Some(w) = column_importance(simd, x, columns, mean_squares)
    {
        return split(&w);
    }
    local_importance(simd, &split(x), of_magnitude_and_rms)
}

/// Importances without a calibration: a function of the weight's magnitude and its sub-block's root mean square, both divided
/// by the root mean square of the super-block.
#[inline(always)]
fn local_importance<S: Simd, const N: usize, const J: usize>(
    simd: S,
    x: &[[f32; N]; J],
    of_magnitude_and_rms: impl Fn(f32, f32) -> f32,
) -> [[f32; N]; J] {
    let mut rms = [0.0; J];
    let mut sum_squares = 0.0;
    for (rms, x) in rms.iter_mut().zip(x) {
        let mut sum = simd.zero();
        for chunk in x.as_chunks::<N_LANES>().0 {
            let lanes = simd.load(chunk);
            sum = sum + lanes * lanes;
        }
        let sum = simd.sum(sum);
        sum_squares += sum;
        *rms = sum;
    }
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let (n, total) = (N as f32, (N * J) as f32);
    let per_rms = inverse((sum_squares / total).sqrt());
    let mut w = [[0.0; N]; J];
    for j in 0..J {
        let rms = (rms[j] / n).sqrt() * per_rms;
        for i in 0..N {
            w[j][i] = of_magnitude_and_rms(x[j][i].abs() * per_rms, rms);
        }
    }
    w
}

/// The super-block as `J` sub-blocks of `N`.
#[inline(always)]
pub(super) fn split<const T: usize, const N: usize, const J: usize>(x: &[f32; T]) -> [[f32; N]; J] {
    const { assert!(N * J == T) };
    let mut split = [[0.0; N]; J];
    split.as_flattened_mut().copy_from_slice(x);
    split
}

/// Two low bits of 256 quants: of each half of 128, byte `l` holds weights `l`, `l + 32`, `l + 64`, `l + 96`.
#[inline(always)]
pub(super) fn pack_two_bits(q: &[u8; QK_K]) -> [u8; 64] {
    let mut packed = [0; 64];
    for half in 0..2 {
        for i in 0..32 {
            let q = |row: usize| (q[128 * half + 32 * row + i] & 3) << (2 * row);
            packed[32 * half + i] = q(0) | q(1) | q(2) | q(3);
        }
    }
    packed
}

/// Four low bits of 256 quants: of each 64, byte `l` holds weight `l` in its low and `l + 32` in its high half.
#[inline(always)]
fn pack_four_bits(q: &[u8; QK_K]) -> [u8; 128] {
    let mut packed = [0; 128];
    for (packed, q) in packed.as_chunks_mut::<32>().0.iter_mut().zip(q.as_chunks::<64>().0) {
        for i in 0..32 {
            packed[i] = (q[i] & 15) | (q[i + 32] << 4);
        }
    }
    packed
}
