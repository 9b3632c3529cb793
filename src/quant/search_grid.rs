//! Finds scales and grid points of a super-block `x = d * (2 s[j] + 1) * unit * point` (IQ1, IQ2, IQ3).
//!
//! Each sub-block gets the real scale of least weighted error among candidates. The largest of them decides `d`. Then integer scales
//! move to better neighbours under the exact error and `d` is refitted by least squares, until it stops paying. For every scale that
//! is looked at, the points are the best ones (`codebook.rs`).
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::Half;
use super::lanes::{N_LANES, Simd, clamp, low_byte, max, min, round};
use super::search_affine::{inverse, nonzero_half};

/// Relative gain that decides between candidates of equal error, above the rounding of the sums.
const TIE: f32 = 1e-5;

/// How eight weights are represented.
pub(super) trait Group: Copy {
    /// Number of ways to represent groups; all groups of a sub-block must use the same way.
    const N_WAYS: u8;

    /// The level nearest to each number in this way, as if every weight could take any level.
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, way: u8) -> S::Lanes;

    /// The best representation of eight weights at this positive scale.
    fn choose<S: Simd>(self, simd: S, x: &[f32; 8], w: &[f32; 8], scale: f32, way: u8) -> Choice;
}

/// One representation of eight weights.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Choice {
    /// What is multiplied by the scale.
    pub(super) levels: [f32; 8],
    /// Index of one grid point of eight coordinates, or of two points of four.
    pub(super) index: [u16; 2],
    /// A bit per weight for its sign; for IQ1 one bit for the direction of the shift.
    pub(super) signs: u8,
}

/// What a type can represent, and how hard to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct GridType<Q> {
    /// How eight weights are represented.
    pub(super) group: Q,
    /// Factor between `d * (2 s + 1)` and the scale.
    pub(super) unit: f32,
    /// Integer scales `s` are in `0..n_scales`.
    pub(super) n_scales: u8,
    /// Largest of 16 candidates for the scale of a sub-block whose weights may take any level, as a fraction of its root mean square.
    pub(super) first: f32,
    /// From one of the 16 to the next, as a factor.
    pub(super) ratio: f32,
    /// Factors on the best of the 16 that are tried with grid points.
    pub(super) factors: &'static [f32],
    /// More factors, for sub-blocks of almost one magnitude: where a sign is wrong, a mix of small and large levels is better.
    pub(super) flat_factors: &'static [f32],
    /// One more candidate for such sub-blocks, as a fraction of the root mean square: the one that needs the smallest levels,
    /// which all grids have. 0 for no such candidate, where it would lead astray.
    pub(super) flat_fraction: f32,
    /// Rounds of moving integer scales and refitting `d`.
    pub(super) n_rounds: usize,
}

/// A super-block as it will be decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct GridFit<const G: usize, const J: usize> {
    /// Scale of the scales.
    pub(super) d: Half,
    /// Integer scales `s`.
    pub(super) scales: [u8; J],
    /// Representations of all groups.
    pub(super) choices: [[Choice; G]; J],
}

/// Fits `J` sub-blocks of `G` groups of eight weights each. `w` are the weights' importances, positive and around 1.
#[inline(always)]
pub(super) fn fit_grid<S: Simd, Q: Group, const G: usize, const J: usize>(
    simd: S,
    x: &[[[f32; 8]; G]; J],
    w: &[[[f32; 8]; G]; J],
    grid: GridType<Q>,
) -> GridFit<G, J> {
    let mut wanted = [0.0; J];
    for j in 0..J {
        wanted[j] = search(simd, &x[j], &w[j], grid);
    }
    let largest = wanted.iter().fold(0.0, |largest, &scale| max(scale, largest));
    let mut best = State { d: 0.0, scales: [0.0; J], choices: [[Choice::default(); G]; J], gain: 0.0 };
    let mut next = (largest > 0.0).then(|| nonzero_half(largest * inverse((2.0 * f32::from(grid.n_scales) - 1.0) * grid.unit)));
    for round in 0..grid.n_rounds {
        let Some(d) = next else { break };
        let (state, refitted) = improve(simd, x, w, &mut wanted, State { d, ..best }, grid, round == 0);
        if state.gain <= best.gain {
            break;
        }
        (best, next) = (state, refitted);
    }
    GridFit { d: Half::from_f32(best.d), scales: best.scales.map(low_byte), choices: best.choices }
}

/// A choice of everything, and by how much its weighted error is below that of all zeros.
#[derive(Debug, Clone, Copy)]
struct State<const G: usize, const J: usize> {
    d: f32,
    scales: [f32; J],
    choices: [[Choice; G]; J],
    gain: f32,
}

/// The best of the integer scales around the wanted or the present ones, and the `d` that fits them better, if any does.
///
/// `wanted` are real scales, and become those that fit the points found.
#[inline(always)]
fn improve<S: Simd, Q: Group, const G: usize, const J: usize>(
    simd: S,
    x: &[[[f32; 8]; G]; J],
    w: &[[[f32; 8]; G]; J],
    wanted: &mut [f32; J],
    mut state: State<G, J>,
    grid: GridType<Q>,
    is_start: bool,
) -> (State<G, J>, Option<f32>) {
    let (mut sum_uu, mut sum_xu) = (0.0, 0.0);
    state.gain = 0.0;
    let step = state.d * grid.unit;
    for j in 0..J {
        // The present scale and its neighbour on the side of the wanted one.
        let exact = 0.5 * (wanted[j] * inverse(step) - 1.0);
        let middle = if is_start { round(exact) } else { state.scales[j] };
        let other = if exact < middle { middle - 1.0 } else { middle + 1.0 };
        let within = |scale: f32| clamp(scale, 0.0, f32::from(grid.n_scales) - 1.0);
        let (first, last) = (within(min(middle, other)), within(max(middle, other)));
        let mut best = SubBlock { gain: f32::NEG_INFINITY, ..SubBlock::default() };
        let mut scale = first;
        while scale <= last {
            let factor = (2.0 * scale + 1.0) * grid.unit;
            let of_scale = represent(simd, &x[j], &w[j], state.d * factor, grid.group);
            if of_scale.gain > best.gain {
                best = of_scale;
                state.scales[j] = scale;
            }
            scale += 1.0;
        }
        // The best real scale with these points.
        wanted[j] = best.xu * inverse(best.uu);
        state.choices[j] = best.choices;
        state.gain += best.gain;
        let factor = (2.0 * state.scales[j] + 1.0) * grid.unit;
        sum_uu += factor * factor * best.uu;
        sum_xu += factor * best.xu;
    }
    let next = (sum_xu > 0.0 && sum_uu > 0.0).then(|| nonzero_half(sum_xu / sum_uu)).filter(|&d| d != state.d);
    (state, next)
}

/// The real scale of least weighted error among the candidates; 0 if all weights are 0.
///
/// Searches without the grid first, eight candidates at a time (cheap and close), then with grid points around the best.
#[inline(always)]
fn search<S: Simd, Q: Group, const G: usize>(simd: S, x: &[[f32; 8]; G], w: &[[f32; 8]; G], grid: GridType<Q>) -> f32 {
    let (mut sum_w, mut sum_wxx, mut squares) = (simd.zero(), simd.zero(), simd.zero());
    for (x, w) in x.iter().zip(w) {
        let (x, w) = (simd.load(x), simd.load(w));
        sum_w = sum_w + w;
        sum_wxx = sum_wxx + w * x * x;
        squares = simd.max(squares, x * x);
    }
    let largest_square = simd.store(squares).into_iter().fold(0.0, max);
    let rms = (simd.sum(sum_wxx) / simd.sum(sum_w)).sqrt();
    if rms == 0.0 {
        return 0.0;
    }
    let free = free_scale(simd, x, w, rms, grid);
    let (mut best_scale, mut best_gain) = (0.0, 0.0);
    let is_flat = largest_square < 2.0 * rms * rms;
    let of_flat = grid.flat_factors.iter().map(|factor| free * factor).chain([rms * grid.flat_fraction]);
    for scale in grid.factors.iter().map(|factor| free * factor).chain(of_flat.filter(|&scale| is_flat && scale > 0.0)) {
        let found = represent(simd, x, w, scale, grid.group);
        // With these points the best scale is `Σwxu / Σwu²`.
        let refitted = max(found.xu, 0.0) * inverse(found.uu);
        let gain = refitted * found.xu;
        if gain > best_gain {
            (best_scale, best_gain) = (refitted, gain);
        }
    }
    best_scale
}

/// The scale of least weighted error where every weight may take any level.
///
/// Of scales that are equally good, as they are for weights of one magnitude, the largest: it needs the smallest levels, which all
/// grids have.
#[inline(always)]
fn free_scale<S: Simd, Q: Group, const G: usize>(
    simd: S,
    x: &[[f32; 8]; G],
    w: &[[f32; 8]; G],
    rms: f32,
    grid: GridType<Q>,
) -> f32 {
    let (mut best_scale, mut best_gain) = (simd.splat(rms * grid.first), simd.zero());
    let mut scale = rms * grid.first;
    for half in [1.0, 1.0 - 8.0 * TIE] {
        let mut scales = [0.0; N_LANES];
        for lane in &mut scales {
            *lane = scale;
            scale *= grid.ratio;
        }
        let inverses = simd.inverse(simd.load(&scales));
        let smaller_later = simd.ramp(half, -TIE);
        for way in 0..Q::N_WAYS {
            let (mut xu, mut uu) = (simd.zero(), simd.zero());
            for (&x, &w) in x.as_flattened().iter().zip(w.as_flattened()) {
                let x = simd.splat(x);
                let u = grid.group.nearest(simd, x * inverses, way);
                let wu = simd.splat(w) * u;
                xu = xu + wu * x;
                uu = uu + wu * u;
            }
            let refitted = xu * simd.inverse(uu);
            let gain = refitted * xu * smaller_later;
            best_scale = simd.where_above(gain, best_gain, refitted, best_scale);
            best_gain = simd.where_above(gain, best_gain, gain, best_gain);
        }
    }
    simd.store(best_scale)[simd.argmax(best_gain)]
}

/// A sub-block at some scale.
#[derive(Debug, Clone, Copy)]
struct SubBlock<const G: usize> {
    choices: [Choice; G],
    /// `Σwu²` of the levels `u`.
    uu: f32,
    /// `Σwxu`.
    xu: f32,
    /// By how much the weighted error is below that of all zeros.
    gain: f32,
}

impl<const G: usize> Default for SubBlock<G> {
    fn default() -> Self {
        Self { choices: [Choice::default(); G], uu: 0.0, xu: 0.0, gain: 0.0 }
    }
}

/// The best representation at this scale.
#[inline(always)]
fn represent<S: Simd, Q: Group, const G: usize>(
    simd: S,
    x: &[[f32; 8]; G],
    w: &[[f32; 8]; G],
    scale: f32,
    group: Q,
) -> SubBlock<G> {
    let mut best = SubBlock { gain: f32::NEG_INFINITY, ..SubBlock::default() };
    for way in 0..Q::N_WAYS {
        let mut of_way = SubBlock::default();
        let (mut uu, mut xu) = (simd.zero(), simd.zero());
        for g in 0..G {
            let choice = group.choose(simd, &x[g], &w[g], scale, way);
            let u = simd.load(&choice.levels);
            let wu = simd.load(&w[g]) * u;
            uu = uu + wu * u;
            xu = xu + wu * simd.load(&x[g]);
            of_way.choices[g] = choice;
        }
        (of_way.uu, of_way.xu) = (simd.sum(uu), simd.sum(xu));
        of_way.gain = scale * (2.0 * of_way.xu - scale * of_way.uu);
        if of_way.gain > best.gain {
            best = of_way;
        }
    }
    best
}
