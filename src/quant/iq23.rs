//! Encoders of IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S: magnitudes on grid points, and signs.
//!
//! Source of the layouts: `block_iq*` in ggml-common.h; of the mean squares that are added to importances: `quantize_row_iq*_impl` in
//! ggml-quants.c, llama.cpp of 2026-08-21. The search is our own.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockIQ2_S, BlockIQ2_XS, BlockIQ2_XXS, BlockIQ3_S, BlockIQ3_XXS, QK_K};
use super::codebook::{self, Eights, Fours};
use super::iq_tables::{
    IQ2S_GRID_COORDINATES, IQ2XS_GRID_COORDINATES, IQ2XXS_GRID_COORDINATES, IQ3S_GRID_COORDINATES, IQ3XXS_GRID_COORDINATES,
};
use super::kquant::importance;
use super::lanes::{Simd, max, min};
use super::search_grid::{Choice, GridFit, GridType, Group, fit_grid};

/// Eight magnitudes on one point of eight coordinates.
#[derive(Debug, Clone, Copy)]
struct OnEights {
    book: &'static Eights,
    coordinates: [i8; 4],
    /// True where the eighth sign follows from the others: the number of negative ones is even.
    has_even_signs: bool,
}

impl Group for OnEights {
    const N_WAYS: u8 = 1;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, _way: u8) -> S::Lanes {
        nearest_magnitude(simd, numbers, &self.coordinates[..3])
    }

    #[inline(always)]
    fn choose<S: Simd>(self, simd: S, x: &[f32; 8], w: &[f32; 8], scale: f32, _way: u8) -> Choice {
        let values: [f32; 3] = std::array::from_fn(|value| f32::from(self.coordinates[value]));
        let (excess, signs) = excess_of_magnitudes(simd, x, w, scale, &values, self.has_even_signs);
        let index = self.book.nearest(&excess).index;
        let point = self.book.points[usize::from(index)];
        let levels = std::array::from_fn(|i| signed(values[usize::from(point >> (2 * i) & 3).min(2)], signs, i));
        Choice { levels, index: [index, 0], signs }
    }
}

/// Eight magnitudes on two points of four coordinates.
#[derive(Debug, Clone, Copy)]
struct OnFours {
    book: &'static Fours,
    coordinates: [i8; 8],
    /// As in [`OnEights`].
    has_even_signs: bool,
}

impl Group for OnFours {
    const N_WAYS: u8 = 1;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, _way: u8) -> S::Lanes {
        nearest_magnitude(simd, numbers, &self.coordinates)
    }

    #[inline(always)]
    fn choose<S: Simd>(self, simd: S, x: &[f32; 8], w: &[f32; 8], scale: f32, _way: u8) -> Choice {
        let values = self.coordinates.map(f32::from);
        let (excess, signs) = excess_of_magnitudes(simd, x, w, scale, &values, self.has_even_signs);
        let index = [self.book.nearest(&excess, 0).index, self.book.nearest(&excess, 4).index];
        let levels = std::array::from_fn(|i| {
            let point = self.book.points[usize::from(index[i / 4])];
            signed(values[usize::from(point >> (3 * (i % 4)) & 7)], signs, i)
        });
        Choice { levels, index, signs }
    }
}

/// The one of the ascending values that is nearest to each number's magnitude, with the number's sign.
#[inline(always)]
fn nearest_magnitude<S: Simd>(simd: S, numbers: S::Lanes, values: &[i8]) -> S::Lanes {
    let magnitudes = simd.max(numbers, simd.zero() - numbers);
    let mut nearest = simd.splat(f32::from(values[0]));
    for pair in values.windows(2) {
        let (below, above) = (f32::from(pair[0]), f32::from(pair[1]));
        nearest = simd.where_above(magnitudes, simd.splat(0.5 * (below + above)), simd.splat(above), nearest);
    }
    simd.where_above(simd.zero(), numbers, simd.zero() - nearest, nearest)
}

/// What each value costs at each weight above the cheapest one, and the signs as bits.
///
/// Where the number of negative signs must be even and is not, the weight for which it costs least gets the wrong sign.
#[inline(always)]
fn excess_of_magnitudes<S: Simd, const V: usize>(
    simd: S,
    x: &[f32; 8],
    w: &[f32; 8],
    scale: f32,
    values: &[f32; V],
    has_even_signs: bool,
) -> ([[f32; 8]; V], u8) {
    let magnitudes = x.map(f32::abs);
    let mut signs = 0;
    for (i, &x) in x.iter().enumerate() {
        signs |= u8::from(x < 0.0) << i;
    }
    let (magnitude, importance) = (simd.load(&magnitudes), simd.load(w));
    let mut costs = [simd.zero(); V];
    let mut least = simd.splat(f32::INFINITY);
    for (cost, value) in costs.iter_mut().zip(values) {
        let difference = magnitude - simd.splat(scale * value);
        *cost = importance * difference * difference;
        least = simd.min(*cost, least);
    }
    let mut excess = [[0.0; 8]; V];
    for (excess, cost) in excess.iter_mut().zip(costs) {
        *excess = simd.store(cost - least);
    }
    if has_even_signs && signs.count_ones() % 2 == 1 {
        let sum = magnitude + simd.splat(scale * values[0]);
        let wrong = simd.argmin(importance * sum * sum - least);
        signs ^= 1 << wrong;
        // The smallest value is the cheapest one then.
        let cost = |value: f32| w[wrong] * (magnitudes[wrong] + scale * value) * (magnitudes[wrong] + scale * value);
        for (excess, &value) in excess.iter_mut().zip(values) {
            excess[wrong] = cost(value) - cost(values[0]);
        }
    }
    (excess, signs)
}

#[inline(always)]
fn signed(value: f32, signs: u8, i: usize) -> f32 {
    if signs >> i & 1 == 1 { -value } else { value }
}

/// The search for IQ2_XXS. Candidates were chosen on SmolLM2 rows and the distributions of `tests/golden/make_quant_golden.py`:
/// sparse grids like larger scales.
const IQ2_XXS: GridType<OnEights> = GridType {
    group: OnEights { book: &codebook::IQ2XXS, coordinates: IQ2XXS_GRID_COORDINATES, has_even_signs: true },
    unit: 0.125,
    n_scales: 16,
    first: 0.135,
    ratio: 0.88,
    factors: &[0.95, 1.1],
    flat_factors: &[0.32, 0.2],
    flat_fraction: 0.125,
    n_rounds: 2,
};

const IQ2_XS: GridType<OnEights> =
    GridType { group: OnEights { book: &codebook::IQ2XS, coordinates: IQ2XS_GRID_COORDINATES, has_even_signs: true }, ..IQ2_XXS };

const IQ2_S: GridType<OnEights> = GridType {
    group: OnEights { book: &codebook::IQ2S, coordinates: IQ2S_GRID_COORDINATES, has_even_signs: false },
    factors: &[0.95, 1.05],
    flat_factors: &[0.32],
    ..IQ2_XXS
};

const IQ3_XXS: GridType<OnFours> = GridType {
    group: OnFours { book: &codebook::IQ3XXS, coordinates: IQ3XXS_GRID_COORDINATES, has_even_signs: true },
    unit: 0.25,
    n_scales: 16,
    first: 0.045,
    ratio: 0.95,
    factors: &[0.98, 1.02],
    flat_factors: &[0.9],
    flat_fraction: 0.0,
    n_rounds: 3,
};

const IQ3_S: GridType<OnFours> = GridType {
    group: OnFours { book: &codebook::IQ3S, coordinates: IQ3S_GRID_COORDINATES, has_even_signs: false },
    unit: 1.0,
    first: 0.18,
    flat_fraction: 1.0,
    n_rounds: 2,
    ..IQ3_XXS
};

/// Importance of a weight of IQ3 without a calibration: its squared magnitude and a share of its sub-block's mean square.
/// Sub-blocks of small weights count too, or all the others would pay for the fit of an outlier.
#[inline(always)]
fn importance_3(magnitude: f32, rms: f32) -> f32 {
    let mean_square = max(rms * rms, 1e-6);
    (0.25 * mean_square + magnitude * magnitude) * (1.0 + 0.3 / mean_square) + 0.05
}

/// Encodes one super-block of IQ2_XXS.
#[inline(always)]
pub(super) fn encode_iq2_xxs(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ2_XXS {
    let w = importance::<_, QK_K, 32, 8>(simd, x, columns, Some(1.0), |magnitude, _| (1.0 + magnitude * magnitude).sqrt());
    let fit: GridFit<4, 8> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ2_XXS);
    let mut qs = [[0; 8]; 8];
    for j in 0..8 {
        let choices = &fit.choices[j];
        let tail = seven_signs(choices, fit.scales[j]).to_le_bytes();
        let (low, high) = qs[j].split_at_mut(4);
        for (byte, choice) in low.iter_mut().zip(choices) {
            *byte = choice.index[0].to_le_bytes()[0];
        }
        high.copy_from_slice(&tail);
    }
    BlockIQ2_XXS { d: fit.d, qs }
}

/// Encodes one super-block of IQ2_XS.
#[inline(always)]
pub(super) fn encode_iq2_xs(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ2_XS {
    let w = importance::<_, QK_K, 16, 16>(simd, x, columns, Some(1.0), |magnitude, _| (1.0 + magnitude * magnitude).sqrt());
    let fit: GridFit<2, 16> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ2_XS);
    let mut qs = [[0; 2]; 32];
    for (qs, choice) in qs.iter_mut().zip(fit.choices.as_flattened()) {
        *qs = (choice.index[0] | u16::from(choice.signs & 127) << 9).to_le_bytes();
    }
    BlockIQ2_XS { d: fit.d, qs, scales: pack_scales(&fit.scales) }
}

/// Encodes one super-block of IQ2_S.
#[inline(always)]
pub(super) fn encode_iq2_s(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ2_S {
    let w = importance::<_, QK_K, 16, 16>(simd, x, columns, Some(2.0), |magnitude, _| 1.0 + min(magnitude * magnitude, 10.0));
    let fit: GridFit<2, 16> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ2_S);
    let (mut qs, mut signs, mut qh) = ([0; 32], [0; 32], [0; 8]);
    for (group, choice) in fit.choices.as_flattened().iter().enumerate() {
        let [low, high] = choice.index[0].to_le_bytes();
        qs[group] = low;
        qh[group / 4] |= high << (2 * (group % 4));
        signs[group] = choice.signs;
    }
    BlockIQ2_S { d: fit.d, qs, signs, qh, scales: pack_scales(&fit.scales) }
}

/// Encodes one super-block of IQ3_XXS.
#[inline(always)]
pub(super) fn encode_iq3_xxs(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ3_XXS {
    let w = importance::<_, QK_K, 32, 8>(simd, x, columns, Some(2.0), importance_3);
    let fit: GridFit<4, 8> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ3_XXS);
    let (mut qs, mut scales_and_signs) = ([0; 64], [[0; 4]; 8]);
    for (qs, choice) in qs.as_chunks_mut::<2>().0.iter_mut().zip(fit.choices.as_flattened()) {
        *qs = choice.index.map(|index| index.to_le_bytes()[0]);
    }
    for j in 0..8 {
        scales_and_signs[j] = seven_signs(&fit.choices[j], fit.scales[j]).to_le_bytes();
    }
    BlockIQ3_XXS { d: fit.d, qs, scales_and_signs }
}

/// Encodes one super-block of IQ3_S.
#[inline(always)]
pub(super) fn encode_iq3_s(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ3_S {
    let w = importance::<_, QK_K, 32, 8>(simd, x, columns, Some(2.0), importance_3);
    let fit: GridFit<4, 8> = fit_grid(simd, &groups(x), &groups(w.as_flattened()), IQ3_S);
    let (mut qs, mut qh, mut signs, mut scales) = ([0; 64], [0; 8], [0; 32], [0; 4]);
    for (group, choice) in fit.choices.as_flattened().iter().enumerate() {
        for (i, index) in choice.index.into_iter().enumerate() {
            let [low, high] = index.to_le_bytes();
            qs[2 * group + i] = low;
            qh[group / 4] |= high << (2 * (group % 4) + i);
        }
        signs[group] = choice.signs;
    }
    for (j, &scale) in fit.scales.iter().enumerate() {
        scales[j / 2] |= scale << (4 * (j % 2));
    }
    BlockIQ3_S { d: fit.d, qs, qh, signs, scales }
}

/// The super-block as `J` sub-blocks of `G` groups of eight.
#[inline(always)]
pub(super) fn groups<const G: usize, const J: usize>(x: &[f32]) -> [[[f32; 8]; G]; J] {
    let mut groups = [[[0.0; 8]; G]; J];
    groups.as_flattened_mut().as_flattened_mut().copy_from_slice(x);
    groups
}

/// Four times seven sign bits and a scale of four bits.
#[inline(always)]
fn seven_signs(choices: &[Choice; 4], scale: u8) -> u32 {
    let mut word = u32::from(scale) << 28;
    for (g, choice) in choices.iter().enumerate() {
        word |= u32::from(choice.signs & 127) << (7 * g);
    }
    word
}

/// Two scales of four bits per byte.
#[inline(always)]
fn pack_scales(scales: &[u8; 16]) -> [u8; 8] {
    std::array::from_fn(|j| scales[2 * j] | scales[2 * j + 1] << 4)
}
