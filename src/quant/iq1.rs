//! Encoders of IQ1_S and IQ1_M: ternary grid points, shifted by an eighth up or down.
//!
//! Source of the layouts: `block_iq1_*` in ggml-common.h; of the mean squares that are added to importances:
//! `quantize_row_iq1_*_impl` in ggml-quants.c, llama.cpp of 2026-08-21. The search is our own.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockIQ1_M, BlockIQ1_S, QK_K};
use super::codebook;
use super::dequant_iq::IQ1_SHIFT;
use super::iq23::groups;
use super::kquant::importance;
use super::lanes::Simd;
use super::search_grid::{Choice, GridFit, GridType, Group, fit_grid};

/// Eight weights on a ternary point, shifted up in way 0 and down in way 1.
#[derive(Debug, Clone, Copy)]
struct ShiftedTogether;

/// Eight weights on a ternary point, shifted up or down, whichever is better for them.
#[derive(Debug, Clone, Copy)]
struct ShiftedAlone;

impl Group for ShiftedTogether {
    const N_WAYS: u8 = 2;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, way: u8) -> S::Lanes {
        nearest_shifted(simd, numbers, way)
    }

    #[inline(always)]
    fn choose<S: Simd>(self, simd: S, x: &[f32; 8], w: &[f32; 8], scale: f32, way: u8) -> Choice {
        on_ternary(simd, x, w, scale, way).0
    }
}

impl Group for ShiftedAlone {
    const N_WAYS: u8 = 1;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, _way: u8) -> S::Lanes {
        nearest_shifted(simd, numbers, 0)
    }

    #[inline(always)]
    fn choose<S: Simd>(self, simd: S, x: &[f32; 8], w: &[f32; 8], scale: f32, _way: u8) -> Choice {
        let ((up, error_up), (down, error_down)) = (on_ternary(simd, x, w, scale, 0), on_ternary(simd, x, w, scale, 1));
        if error_down < error_up { down } else { up }
    }
}

/// The nearest of -1, 0 and 1, shifted.
#[inline(always)]
fn nearest_shifted<S: Simd>(simd: S, numbers: S::Lanes, way: u8) -> S::Lanes {
    let shift = simd.splat(if way == 1 { -IQ1_SHIFT } else { IQ1_SHIFT });
    simd.round_clamp(numbers - shift, -1.0, 1.0) + shift
}

/// The nearest shifted point with its weighted error; `way` 1 shifts down.
#[inline(always)]
fn on_ternary(simd: impl Simd, x: &[f32; 8], w: &[f32; 8], scale: f32, way: u8) -> (Choice, f32) {
    let shift = if way == 1 { -IQ1_SHIFT } else { IQ1_SHIFT };
    let values = [shift - 1.0, shift, shift + 1.0];
    let (weights, importance) = (simd.load(x), simd.load(w));
    let mut costs = [simd.zero(); 3];
    let mut least = simd.splat(f32::INFINITY);
    for (cost, value) in costs.iter_mut().zip(values) {
        let difference = weights - simd.splat(scale * value);
        *cost = importance * difference * difference;
        least = simd.min(*cost, least);
    }
    let nearest = codebook::IQ1S.nearest(&costs.map(|cost| simd.store(cost - least)));
    let point = codebook::IQ1S.points[usize::from(nearest.index)];
    let levels = std::array::from_fn(|i| values[usize::from(point >> (2 * i) & 3).min(2)]);
    (Choice { levels, index: [nearest.index, 0], signs: way }, simd.sum(least) + nearest.cost)
}

const IQ1_S: GridType<ShiftedTogether> = grid(ShiftedTogether);
const IQ1_M: GridType<ShiftedAlone> = grid(ShiftedAlone);

/// Both types search the same scales.
const fn grid<G>(group: G) -> GridType<G> {
    GridType {
        group,
        unit: 1.0,
        n_scales: 8,
        first: 1.8,
        ratio: 0.9,
        factors: &[1.0],
        flat_factors: &[],
        flat_fraction: 1.0,
        n_rounds: 2,
    }
}

/// Encodes one super-block of IQ1_S.
#[inline(always)]
pub(super) fn encode_iq1_s(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ1_S {
    let w = importance::<_, QK_K, 32, 8>(simd, x, columns, Some(2.0), |magnitude, _| (2.0 + magnitude * magnitude).sqrt());
    let fit: GridFit<4, 8> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ1_S);
    let (mut qs, mut qh) = ([0; 32], [[0; 2]; 8]);
    for j in 0..8 {
        let mut word = u16::from(fit.scales[j]) << 12 | u16::from(fit.choices[j][0].signs) << 15;
        for (g, choice) in fit.choices[j].iter().enumerate() {
            let [low, high] = choice.index[0].to_le_bytes();
            qs[4 * j + g] = low;
            word |= u16::from(high) << (3 * g);
        }
        qh[j] = word.to_le_bytes();
    }
    BlockIQ1_S { d: fit.d, qs, qh }
}

/// Encodes one super-block of IQ1_M.
#[inline(always)]
pub(super) fn encode_iq1_m(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ1_M {
    let w = importance::<_, QK_K, 16, 16>(simd, x, columns, Some(2.0), |magnitude, rms| {
        0.4 + 0.9 * rms * rms + magnitude * magnitude
    });
    let fit: GridFit<2, 16> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ1_M);
    let (mut qs, mut qh) = ([0; 32], [0; 16]);
    for (group, choice) in fit.choices.as_flattened().iter().enumerate() {
        let [low, high] = choice.index[0].to_le_bytes();
        qs[group] = low;
        qh[group / 2] |= (high | choice.signs << 3) << (4 * (group % 2));
    }
    // Each word takes four bits of `d`, the lowest first.
    let d = fit.d.to_bits();
    let scales = std::array::from_fn(|word| {
        let of_word = &fit.scales[4 * word..4 * word + 4];
        let packed = of_word.iter().rev().fold(0, |packed, &scale| packed << 3 | u16::from(scale));
        (packed | (d >> (4 * word) & 15) << 12).to_le_bytes()
    });
    BlockIQ1_M { qs, qh, scales }
}
