//! Encoders of IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S: magnitudes on grid points, and signs.
//!
//! Source of the layouts: `block_iq*` in ggml-common.h; of the mean squares that are added to importances: `quantize_row_iq*_impl` in
//! ggml-quants.c, llama.cpp of 2026-08-21. The search is our own.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockIQ2_S, BlockIQ2_XS, BlockIQ2_XXS, BlockIQ3_S, BlockIQ3_XXS, QK_K};
use super::codebook::{self, Book, Excess, FindNearest, N_HALVES, levels_of_halves, levels_of_points};
use super::iq_tables::{
    IQ2S_GRID_COORDINATES, IQ2XS_GRID_COORDINATES, IQ2XXS_GRID_COORDINATES, IQ3S_GRID, IQ3S_GRID_COORDINATES, IQ3XXS_GRID,
    IQ3XXS_GRID_COORDINATES,
};
use super::kquant::importance;
use super::lanes::{N_LANES, Simd, max, min};
use super::search_grid::{Choice, EightGroups, FitGrid, GridFit, GridType, Group, Room};

/// Coordinates of halves of the points of IQ2.
static IQ2_LEVELS: [[f32; 4]; N_HALVES] = levels_of_halves(floats(IQ2XXS_GRID_COORDINATES));

// One table serves all three grids.
const _: () = {
    let (a, b) = (floats(IQ2XS_GRID_COORDINATES), floats(IQ2S_GRID_COORDINATES));
    let values = floats(IQ2XXS_GRID_COORDINATES);
    let mut i = 0;
    while i < 3 {
        assert!(values[i] == a[i] && values[i] == b[i]);
        i += 1;
    }
};

/// Coordinates of the points of IQ3_XXS.
static IQ3_XXS_LEVELS: [[f32; 4]; 256] = levels_of_points(&IQ3XXS_GRID, IQ3XXS_GRID_COORDINATES);

/// Coordinates of the points of IQ3_S.
static IQ3_S_LEVELS: [[f32; 4]; 512] = levels_of_points(&IQ3S_GRID, IQ3S_GRID_COORDINATES);

/// Row `signs` has -1 in the lanes whose bits are 1, and 1 in the others.
static SIGNS: [[f32; N_LANES]; 256] = {
    let mut signs = [[1.0; N_LANES]; 256];
    let mut idx = 0;
    while idx < 256 * N_LANES {
        if (idx / N_LANES) >> (idx % N_LANES) & 1 == 1 {
            signs[idx / N_LANES][idx % N_LANES] = -1.0;
        }
        idx += 1;
    }
    signs
};

/// The three values of a coordinate.
const fn floats(coordinates: [i8; 4]) -> [f32; 3] {
    [coordinates[0] as f32, coordinates[1] as f32, coordinates[2] as f32]
}

/// Eight magnitudes on one point of eight coordinates.
#[derive(Debug, Clone, Copy)]
struct OnEights {
    book: &'static Book,
    /// True where the eighth sign follows from the others: the number of negative ones is even.
    has_even_signs: bool,
}

impl Group for OnEights {
    const N_WAYS: u8 = 1;
    const HAS_SIGNS: bool = true;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, _way: u8) -> S::Lanes {
        nearest_of_three(simd, numbers, floats(IQ2XXS_GRID_COORDINATES))
    }

    #[inline(always)]
    fn choose<S: Simd>(
        self,
        simd: S,
        groups: &EightGroups,
        scales: &[f32; N_LANES],
        _way: u8,
        room: &mut Room,
    ) -> [Choice; N_LANES] {
        let values = floats(IQ2XXS_GRID_COORDINATES);
        let (excess, signs) = excess_of_magnitudes(simd, groups, scales, &values, self.has_even_signs);
        room.costs.set_eights(simd, &excess);
        let nearest = simd.call(FindNearest { book: self.book, costs: room.costs, guesses: room.guesses[0] });
        room.guesses[0] = nearest.index;
        let mut choices = [Choice::default(); N_LANES];
        for (lane, choice) in choices.iter_mut().enumerate() {
            *choice = Choice { index: [nearest.index[lane], 0], signs: signs[lane] };
        }
        choices
    }

    #[inline(always)]
    fn levels<S: Simd>(self, simd: S, choice: Choice) -> S::Lanes {
        let [low, high] = self.book.halves(choice.index[0]);
        let magnitudes = simd.load_halves(&IQ2_LEVELS[low], &IQ2_LEVELS[high]);
        magnitudes * simd.load(&SIGNS[usize::from(choice.signs)])
    }
}

/// Eight magnitudes on two points of four coordinates.
#[derive(Debug, Clone, Copy)]
struct OnFours {
    book: &'static Book,
    /// Coordinates of all points.
    levels: &'static [[f32; 4]],
    coordinates: [i8; 8],
    /// As in [`OnEights`].
    has_even_signs: bool,
}

impl Group for OnFours {
    const N_WAYS: u8 = 1;
    const HAS_SIGNS: bool = true;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, _way: u8) -> S::Lanes {
        nearest_of_eight(simd, numbers, self.coordinates)
    }

    #[inline(always)]
    fn choose<S: Simd>(
        self,
        simd: S,
        groups: &EightGroups,
        scales: &[f32; N_LANES],
        _way: u8,
        room: &mut Room,
    ) -> [Choice; N_LANES] {
        let values = self.coordinates.map(f32::from);
        let (excess, signs) = excess_of_magnitudes(simd, groups, scales, &values, self.has_even_signs);
        for half in 0..2 {
            room.costs.set_fours(simd, &excess, 4 * half);
            let guesses = room.guesses[half];
            room.guesses[half] = simd.call(FindNearest { book: self.book, costs: room.costs, guesses }).index;
        }
        let [first, second] = room.guesses;
        let mut choices = [Choice::default(); N_LANES];
        for (lane, choice) in choices.iter_mut().enumerate() {
            *choice = Choice { index: [first[lane], second[lane]], signs: signs[lane] };
        }
        choices
    }

    #[inline(always)]
    fn levels<S: Simd>(self, simd: S, choice: Choice) -> S::Lanes {
        let [first, second] = choice.index.map(usize::from);
        simd.load_halves(&self.levels[first], &self.levels[second]) * simd.load(&SIGNS[usize::from(choice.signs)])
    }
}

/// The one of the ascending values that is nearest to each magnitude.
#[inline(always)]
fn nearest_of_three<S: Simd>(simd: S, magnitudes: S::Lanes, values: [f32; 3]) -> S::Lanes {
    let mut nearest = simd.splat(values[0]);
    for pair in values.windows(2) {
        nearest = simd.where_above(magnitudes, simd.splat(0.5 * (pair[0] + pair[1])), simd.splat(pair[1]), nearest);
    }
    nearest
}

/// The one of eight values with equal distances, but for the last, that is nearest to each magnitude.
#[inline(always)]
fn nearest_of_eight<S: Simd>(simd: S, magnitudes: S::Lanes, values: [i8; 8]) -> S::Lanes {
    let [first, second, .., last_but_one, last] = values.map(f32::from);
    let distance = second - first;
    let steps = simd.round_product(magnitudes - simd.splat(first), simd.splat(1.0 / distance), 0.0, 6.0);
    let nearest = simd.mul_add(steps, simd.splat(distance), simd.splat(first));
    simd.where_above(magnitudes, simd.splat(0.5 * (last_but_one + last)), simd.splat(last), nearest)
}

/// What each value costs at each weight above the cheapest one, and the signs as bits.
///
/// Where the number of negative signs must be even and is not, the weight for which it costs least gets the wrong sign.
#[inline(always)]
fn excess_of_magnitudes<S: Simd, const V: usize>(
    simd: S,
    groups: &EightGroups,
    scales: &[f32; N_LANES],
    values: &[f32; V],
    has_even_signs: bool,
) -> (Excess<V>, [u8; N_LANES]) {
    let of_lanes = simd.load(scales);
    let mut excess = [[[0.0; N_LANES]; 8]; V];
    // The weight for which a wrong sign costs least.
    let (mut wrong, mut least_of_wrong) = (simd.zero(), simd.splat(f32::INFINITY));
    let mut number = simd.zero();
    for i in 0..8 {
        let (x, importance) = (simd.load(&groups.x[i]), simd.load(&groups.w[i]));
        let magnitude = simd.max(x, simd.zero() - x);
        let mut costs = [simd.zero(); V];
        let mut least = simd.splat(f32::INFINITY);
        for (cost, &value) in costs.iter_mut().zip(values) {
            let difference = magnitude - of_lanes * simd.splat(value);
            *cost = importance * difference * difference;
            least = simd.min(*cost, least);
        }
        for (excess, cost) in excess.iter_mut().zip(costs) {
            excess[i] = simd.store(cost - least);
        }
        let sum = magnitude + of_lanes * simd.splat(values[0]);
        let of_wrong = importance * sum * sum - least;
        wrong = simd.where_above(least_of_wrong, of_wrong, number, wrong);
        least_of_wrong = simd.min(of_wrong, least_of_wrong);
        number = number + simd.splat(1.0);
    }
    let mut signs = groups.signs;
    if has_even_signs {
        let wrong = simd.store(wrong);
        for lane in 0..N_LANES {
            if signs[lane].count_ones() % 2 == 1 {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
                let i = wrong[lane] as usize % 8;
                signs[lane] ^= 1 << i;
                // The smallest value is the cheapest one then.
                let (magnitude, importance) = (groups.x[i][lane].abs(), groups.w[i][lane]);
                let cost = |value: f32| {
                    let sum = magnitude + scales[lane] * value;
                    importance * sum * sum
                };
                for (excess, &value) in excess.iter_mut().zip(values) {
                    excess[i][lane] = cost(value) - cost(values[0]);
                }
            }
        }
    }
    (excess, signs)
}

/// The search for IQ2_XXS.
const IQ2_XXS: GridType<OnEights> = GridType {
    group: OnEights { book: &codebook::IQ2XXS, has_even_signs: true },
    unit: 0.125,
    n_scales: 16,
    first: 0.135,
    ratio: 0.88,
    factors: &[0.85, 1.1],
    flat_factors: &[0.32, 0.2],
    flat_fraction: 0.125,
    n_rounds: 2,
    least_distance: 0.5,
};

const IQ2_XS: GridType<OnEights> = GridType { group: OnEights { book: &codebook::IQ2XS, has_even_signs: true }, ..IQ2_XXS };

const IQ2_S: GridType<OnEights> =
    GridType { group: OnEights { book: &codebook::IQ2S, has_even_signs: false }, flat_factors: &[0.32], ..IQ2_XXS };

const IQ3_XXS: GridType<OnFours> = GridType {
    group: OnFours {
        book: &codebook::IQ3XXS,
        levels: &IQ3_XXS_LEVELS,
        coordinates: IQ3XXS_GRID_COORDINATES,
        has_even_signs: true,
    },
    unit: 0.25,
    n_scales: 16,
    first: 0.045,
    ratio: 0.95,
    factors: &[0.83, 1.05],
    flat_factors: &[0.9],
    flat_fraction: 0.0,
    n_rounds: 2,
    least_distance: 0.0,
};

const IQ3_S: GridType<OnFours> = GridType {
    group: OnFours { book: &codebook::IQ3S, levels: &IQ3_S_LEVELS, coordinates: IQ3S_GRID_COORDINATES, has_even_signs: false },
    unit: 1.0,
    first: 0.18,
    flat_fraction: 1.0,
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
    let fit: GridFit<4, 8> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ2_XXS });
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
    let fit: GridFit<2, 16> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ2_XS });
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
    let fit: GridFit<2, 16> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ2_S });
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
    let fit: GridFit<4, 8> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ3_XXS });
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
    let fit: GridFit<4, 8> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ3_S });
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
