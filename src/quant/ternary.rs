//! Encoders of TQ1_0 and TQ2_0: weights are `-d`, 0 or `d`.
//!
//! ggml takes the largest magnitude for `d` (`quantize_row_tq1_0_ref` in ggml-quants.c, llama.cpp of 2026-08-21), which is exact for
//! models that were trained so. Here `d` is the one of least error: the same for those, and far better for all others.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockTQ1_0, BlockTQ2_0, Half, QK_K};
use super::kquant::pack_two_bits;
use super::lanes::{N_LANES, Simd, max};
use super::search_affine::{inverse, nonzero_half};
use super::search_block::column_importance;

/// Rounds of least squares.
const N_ROUNDS: usize = 8;

/// Encodes one super-block of TQ1_0.
#[inline(always)]
pub(super) fn encode_tq1_0(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockTQ1_0 {
    let (d, trits) = fit(simd, x, columns);
    let (mut qs, mut qh) = ([0; 48], [0; 4]);
    for (i, packed) in qs.iter_mut().enumerate() {
        let (first, n_rows) = if i < 32 { (i, 32) } else { (160 + i - 32, 16) };
        *packed = pack_trits(std::array::from_fn(|row| trits[first + n_rows * row]));
    }
    for (i, packed) in qh.iter_mut().enumerate() {
        *packed = pack_trits(std::array::from_fn(|row| if row < 4 { trits[240 + i + 4 * row] } else { 0 }));
    }
    BlockTQ1_0 { qs, qh, d }
}

/// Encodes one super-block of TQ2_0.
#[inline(always)]
pub(super) fn encode_tq2_0(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockTQ2_0 {
    let (d, trits) = fit(simd, x, columns);
    BlockTQ2_0 { qs: pack_two_bits(&trits), d }
}

/// Five trits as a fraction of 256, rounded up; the first trit is the most significant one.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "243 values fit a byte")]
fn pack_trits(trits: [u8; 5]) -> u8 {
    let number = trits.into_iter().fold(0, |number, trit| 3 * number + u16::from(trit));
    (number * 256).div_ceil(243) as u8
}

/// The scale of least error, and for each weight the nearest of `-d`, 0 and `d` as 0, 1 and 2.
#[inline(always)]
fn fit(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> (Half, [u8; QK_K]) {
    let w = columns.and_then(|columns| column_importance(simd, x, columns, None)).unwrap_or([1.0; QK_K]);
    let magnitudes = x.map(f32::abs);
    let (_, peak) = simd.extremes(&magnitudes);

    // With the weights above a threshold at `d`, the best `d` is their mean, and the error falls by `(Σwx)² / Σw` of them. The
    // best threshold is half of its `d`, so at most half of the peak. 16 thresholds bracket it, then eight between its
    // neighbours are compared.
    let distance = peak / 32.0;
    let mut best = Split { gain: 0.0, threshold: 0.0, d: 0.0 };
    for found in splits(simd, &magnitudes, &w, [0.0, 8.0 * distance], distance) {
        best = better(best, found);
    }
    for found in splits(simd, &magnitudes, &w, [max(best.threshold - distance, 0.0)], distance / 4.0) {
        best = better(best, found);
    }

    let (mut best_d, mut best_gain, mut wanted) = (0.0, 0.0, best.d);
    for _ in 0..N_ROUNDS {
        let d = nonzero_half(wanted);
        let (mut sum_w, mut sum_wx) = (simd.zero(), simd.zero());
        for (x, w) in magnitudes.as_chunks::<N_LANES>().0.iter().zip(w.as_chunks::<N_LANES>().0) {
            let (x, w) = (simd.load(x), simd.load(w));
            let counted = simd.keep_above(x, simd.splat(d / 2.0), w);
            sum_w = sum_w + counted;
            sum_wx = sum_wx + counted * x;
        }
        let (sum_w, sum_wx) = (simd.sum(sum_w), simd.sum(sum_wx));
        let gain = d * (2.0 * sum_wx - d * sum_w);
        if gain <= best_gain {
            break;
        }
        (best_d, best_gain) = (d, gain);
        wanted = sum_wx * inverse(sum_w);
    }
    let threshold = best_d / 2.0;
    let mut trits = [1; QK_K];
    for (trit, &weight) in trits.iter_mut().zip(x) {
        *trit = 1 + u8::from(weight > threshold) - u8::from(weight < -threshold);
    }
    (Half::from_f32(best_d), if best_d == 0.0 { [1; QK_K] } else { trits })
}

/// A threshold above which weights are not zero, with the scale of least error and by how much that lowers the error.
#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f32,
    threshold: f32,
    d: f32,
}

#[inline(always)]
fn better(a: Split, b: Split) -> Split {
    if b.gain > a.gain { b } else { a }
}

/// The best of eight thresholds from each of the first ones on. They are looked at side by side: a sum waits for its last addition.
#[inline(always)]
fn splits<S: Simd, const K: usize>(
    simd: S,
    magnitudes: &[f32; QK_K],
    w: &[f32; QK_K],
    firsts: [f32; K],
    distance: f32,
) -> [Split; K] {
    let mut thresholds = [simd.zero(); K];
    for k in 0..K {
        thresholds[k] = simd.ramp(firsts[k], distance);
    }
    let (mut sum_w, mut sum_wx) = ([simd.zero(); K], [simd.zero(); K]);
    for (&x, &w) in magnitudes.iter().zip(w) {
        let (x, w) = (simd.splat(x), simd.splat(w));
        for k in 0..K {
            let counted = simd.keep_above(x, thresholds[k], w);
            sum_w[k] = sum_w[k] + counted;
            sum_wx[k] = sum_wx[k] + counted * x;
        }
    }
    let mut best = [Split { gain: 0.0, threshold: 0.0, d: 0.0 }; K];
    for k in 0..K {
        let scales = sum_wx[k] * simd.inverse(sum_w[k]);
        let gains = scales * sum_wx[k];
        let lane = simd.argmax(gains);
        best[k] =
            Split { gain: simd.store(gains)[lane], threshold: simd.store(thresholds[k])[lane], d: simd.store(scales)[lane] };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::dequant_iq::{decode_tq1_0, decode_tq2_0};
    use crate::quant::lanes::Portable;

    #[test]
    fn ternary_weights_come_back() {
        let x: [f32; QK_K] = std::array::from_fn(|i| [-0.75, 0.0, 0.75][(i * i + i / 7) % 3]);
        let (mut one, mut two) = ([0.0; QK_K], [0.0; QK_K]);
        decode_tq1_0(&encode_tq1_0(Portable, &x, None), &mut one);
        decode_tq2_0(&encode_tq2_0(Portable, &x, None), &mut two);
        assert_eq!((one, two), (x, x));
    }
}
