//! Encoders of IQ1_S and IQ1_M: ternary grid points, shifted by an eighth up or down.
//!
//! Source of the layouts: `block_iq1_*` in ggml-common.h; of the mean squares that are added to importances:
//! `quantize_row_iq1_*_impl` in ggml-quants.c, llama.cpp of 2026-08-21. The search is our own.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockIQ1_M, BlockIQ1_S, QK_K};
use super::codebook::{self, FindNearest, N_HALVES, levels_of_halves};
use super::dequant_iq::IQ1_SHIFT;
use super::kquant::importance;
use super::lanes::{N_LANES, Simd};
use super::search_grid::{Choice, EightGroups, FitGrid, GridFit, GridType, Group, Room};

/// Coordinates of halves of ternary points.
static TRITS: [[f32; 4]; N_HALVES] = levels_of_halves([-1.0, 0.0, 1.0]);

/// Eight weights on a ternary point, shifted up in way 0 and down in way 1.
#[derive(Debug, Clone, Copy)]
struct ShiftedTogether;

/// Eight weights on a ternary point, shifted up or down, whichever is better for them.
#[derive(Debug, Clone, Copy)]
struct ShiftedAlone;

impl Group for ShiftedTogether {
    const N_WAYS: u8 = 2;
    const HAS_SIGNS: bool = false;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, way: u8) -> S::Lanes {
        nearest_shifted(simd, numbers, way)
    }

    #[inline(always)]
    fn choose<S: Simd>(
        self,
        simd: S,
        groups: &EightGroups,
        scales: &[f32; N_LANES],
        way: u8,
        room: &mut Room,
    ) -> [Choice; N_LANES] {
        let found = on_ternary(simd, groups, scales, way, room);
        found.index.map(|index| Choice { index: [index, 0], signs: way })
    }

    #[inline(always)]
    fn levels<S: Simd>(self, simd: S, choice: Choice) -> S::Lanes {
        shifted_levels(simd, choice)
    }
}

impl Group for ShiftedAlone {
    const N_WAYS: u8 = 1;
    const HAS_SIGNS: bool = false;

    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, _way: u8) -> S::Lanes {
        nearest_shifted(simd, numbers, 0)
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
        let (up, down) = (on_ternary(simd, groups, scales, 0, room), on_ternary(simd, groups, scales, 1, room));
        let mut choices = [Choice::default(); N_LANES];
        for (lane, choice) in choices.iter_mut().enumerate() {
            let is_down = down.error[lane] < up.error[lane];
            let index = if is_down { down.index[lane] } else { up.index[lane] };
            *choice = Choice { index: [index, 0], signs: u8::from(is_down) };
        }
        choices
    }

    #[inline(always)]
    fn levels<S: Simd>(self, simd: S, choice: Choice) -> S::Lanes {
        shifted_levels(simd, choice)
    }
}

/// The nearest of -1, 0 and 1, shifted.
#[inline(always)]
fn nearest_shifted<S: Simd>(simd: S, numbers: S::Lanes, way: u8) -> S::Lanes {
    let shift = simd.splat(shift(way));
    simd.round_clamp(numbers - shift, -1.0, 1.0) + shift
}

/// By how much ternary points are shifted in this way.
#[inline(always)]
fn shift(way: u8) -> f32 {
    if way == 1 { -IQ1_SHIFT } else { IQ1_SHIFT }
}

/// What a choice is multiplied by; sums of trits and shifts are exact.
#[inline(always)]
fn shifted_levels<S: Simd>(simd: S, choice: Choice) -> S::Lanes {
    let [low, high] = codebook::IQ1S.halves(choice.index[0]);
    simd.load_halves(&TRITS[low], &TRITS[high]) + simd.splat(shift(choice.signs))
}

/// The nearest shifted points of eight groups.
struct OnTernary {
    index: [u16; N_LANES],
    /// The weighted errors.
    error: [f32; N_LANES],
}

/// The nearest shifted points; `way` 1 shifts down.
#[inline(always)]
fn on_ternary<S: Simd>(simd: S, groups: &EightGroups, scales: &[f32; N_LANES], way: u8, room: &mut Room) -> OnTernary {
    let shift = shift(way);
    let values = [shift - 1.0, shift, shift + 1.0];
    let scales = simd.load(scales);
    let mut excess = [[[0.0; N_LANES]; 8]; 3];
    let mut least = [simd.splat(f32::INFINITY); 8];
    for i in 0..8 {
        let (weights, importance) = (simd.load(&groups.x[i]), simd.load(&groups.w[i]));
        let mut of_values = [simd.zero(); 3];
        for (cost, value) in of_values.iter_mut().zip(values) {
            let difference = weights - scales * simd.splat(value);
            *cost = importance * difference * difference;
            least[i] = simd.min(*cost, least[i]);
        }
        for (excess, cost) in excess.iter_mut().zip(of_values) {
            excess[i] = simd.store(cost - least[i]);
        }
    }
    room.costs.set_eights(simd, &excess);
    let guesses = &mut room.guesses[usize::from(way & 1)];
    let nearest = simd.call(FindNearest { book: &codebook::IQ1S, costs: room.costs, guesses: *guesses });
    *guesses = nearest.index;
    // In the order in which lanes are summed.
    let four = [least[0] + least[4], least[1] + least[5], least[2] + least[6], least[3] + least[7]];
    let sum = (four[0] + four[2]) + (four[1] + four[3]);
    OnTernary { index: nearest.index, error: simd.store(sum + simd.load(&nearest.cost)) }
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
        factors: &[0.9],
        flat_factors: &[],
        flat_fraction: 1.0,
        n_rounds: 2,
        least_distance: 0.5,
    }
}

/// Encodes one super-block of IQ1_S.
#[inline(always)]
pub(super) fn encode_iq1_s(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ1_S {
    let w = importance::<_, QK_K, 32, 8>(simd, x, columns, Some(2.0), |magnitude, _| (2.0 + magnitude * magnitude).sqrt());
    let fit: GridFit<4, 8> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ1_S });
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
    let fit: GridFit<2, 16> = simd.call(FitGrid { x, w: w.as_flattened(), grid: IQ1_M });
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
