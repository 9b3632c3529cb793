//! Encoders of IQ4_NL and IQ4_XS: 16 levels that are denser around zero.
//!
//! IQ4_XS uses the search of Q3_K (`search_symmetric.rs`), IQ4_NL that of Q4_0 (`search_block.rs`), with another rounding.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{BlockIQ4_NL, BlockIQ4_XS, Half, QK_K};
use super::iq_tables::KVALUES_IQ4NL;
use super::kquant::{importance, split};
use super::lanes::{Simd, SixteenLevels, max};
use super::legacy::pack_nibbles;
use super::scale_of_scales::Largest;
use super::search_affine::inverse;
use super::search_block::FitBlock;
use super::search_symmetric::{FitSymmetric, Levels, SymmetricFit, SymmetricGrid};

/// [`KVALUES_IQ4NL`] as f32, with the midpoints between neighbours.
pub(super) static LEVELS: SixteenLevels = {
    let mut levels = [0.0; 16];
    let mut i = 0;
    while i < 16 {
        levels[i] = KVALUES_IQ4NL[i] as f32;
        i += 1;
    }
    SixteenLevels::new(levels)
};

/// Levels that a block's largest weight may take without hurting most of the others.
const PEAK_LEVELS: [f32; 12] = [-127.0, 113.0, -104.0, 89.0, -83.0, 69.0, -65.0, 53.0, -49.0, 38.0, -35.0, 25.0];

/// Quants that stand for the numbers of [`KVALUES_IQ4NL`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Uneven;

impl Levels for Uneven {
    #[inline(always)]
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes) -> S::Lanes {
        simd.nearest_level(numbers, &LEVELS)
    }

    #[inline(always)]
    fn quant(self, number: f32) -> u8 {
        LEVELS.middles.iter().map(|&middle| u8::from(number > middle)).sum()
    }
}

/// The search for IQ4_NL. Candidates for the level of the largest magnitude have both signs: the ends are at -127 and 113.
pub(super) const IQ4_NL: SymmetricGrid<Uneven> = SymmetricGrid {
    levels: Uneven,
    scale_max: 1.0,
    n_step_groups: 2,
    first_step: 100.0,
    step_distance: 2.4,
    peak_levels: &PEAK_LEVELS,
    d_candidates: Largest::only(1.0),
    n_rounds: 1,
};

/// The search for IQ4_XS, as for [`IQ4_NL`].
pub(super) const IQ4_XS: SymmetricGrid<Uneven> = SymmetricGrid {
    levels: Uneven,
    scale_max: 32.0,
    n_step_groups: 2,
    first_step: 104.0,
    step_distance: 2.2,
    peak_levels: &PEAK_LEVELS,
    d_candidates: Largest { first: 33.0, distance: 0.5, n_groups: 2 },
    n_rounds: 3,
};

/// Encodes one block of IQ4_NL.
#[inline(always)]
pub(super) fn encode_iq4_nl(simd: impl Simd, x: &[f32; 32], columns: Option<&[f32; 32]>) -> BlockIQ4_NL {
    // The more a single weight dominates, the less the others count: the error is then mostly how well the rounded `d` fits it.
    let (low, high) = simd.extremes(x);
    let peak_share = max(low * low, high * high) * inverse(x.iter().fold(0.0, |sum, weight| sum + weight * weight));
    let base = 2.5 * (1.0 - peak_share) + 0.05;
    let [w] = importance::<_, 32, 32, 1>(simd, x, columns, Some(2.0), |magnitude, _| base + magnitude * magnitude);
    let (d, q) = simd.call(FitBlock { x, w: &w, grid: IQ4_NL });
    BlockIQ4_NL { d: Half::from_f32(d), qs: pack_nibbles(&q) }
}

/// Encodes one super-block of IQ4_XS.
#[inline(always)]
pub(super) fn encode_iq4_xs(simd: impl Simd, x: &[f32; QK_K], columns: Option<&[f32; QK_K]>) -> BlockIQ4_XS {
    let w = importance(simd, x, columns, Some(2.0), |magnitude, rms| 1.2 + 1.5 * rms * rms + magnitude * magnitude);
    pack_iq4_xs(&simd.call(FitSymmetric::<_, 32, 8> { x: &split(x), w: &w, grid: IQ4_XS }))
}

/// The block of a fit.
#[inline(always)]
pub(super) fn pack_iq4_xs(fit: &SymmetricFit<8>) -> BlockIQ4_XS {
    let mut qs = [0; 128];
    for (qs, q) in qs.as_chunks_mut::<16>().0.iter_mut().zip(fit.q.as_chunks::<32>().0) {
        *qs = pack_nibbles(q);
    }
    let (mut scales_l, mut scales_h) = ([0; 4], 0_u16);
    for (j, scale) in fit.scales.into_iter().enumerate() {
        let scale = scale.wrapping_add(32).cast_unsigned();
        scales_l[j / 2] |= (scale & 15) << (4 * (j % 2));
        scales_h |= u16::from(scale >> 4 & 3) << (2 * j);
    }
    BlockIQ4_XS { d: fit.d, scales_h: scales_h.to_le_bytes(), scales_l, qs }
}
