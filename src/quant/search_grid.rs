//! Finds scales and grid points of a super-block `x = d * (2 s[j] + 1) * unit * point` (IQ1, IQ2, IQ3).
//!
//! Each sub-block gets the real scale of least weighted error among candidates. The largest of them decides `d`. Then each sub-block takes
//! the better one of the two integer scales around its real one under the exact error, and `d` is refitted by least squares; where that
//! changes it much, scales and points follow once more. For every scale that is looked at, the points are the best ones (`codebook.rs`).
//! Eight groups of weights are looked at together, each in a lane of its own.
//!
//! The candidates lie on both sides of the scale that would be best if every weight could take any level. They were chosen on Gaussian,
//! Laplace's and heavy-tailed weights and the matrices of all-MiniLM-L6-v2, without importances and with three kinds of them (2026-11-30).
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::blocks::{Half, QK_K};
use super::codebook::{Costs, NO_GUESS};
use super::lanes::{Kernel, N_LANES, Simd, clamp, low_byte, max, round};
use super::search_affine::{inverse, nonzero_half};

/// Relative gain that decides between candidates of equal error, above the rounding of the sums.
const TIE: f32 = 1e-5;

/// Groups of a super-block.
const N_GROUPS: usize = QK_K / 8;

/// Relative change of `d` below which its integer scales and points are kept.
const LEAST_CHANGE: f32 = 0.004;

/// How eight weights are represented.
pub(super) trait Group: Copy {
    /// Number of ways to represent groups; all groups of a sub-block must use the same way.
    const N_WAYS: u8;

    /// True if every level has an opposite: then magnitudes are enough to find the scale of least error.
    const HAS_SIGNS: bool;

    /// The level nearest to each number in this way, as if every weight could take any level; for magnitudes alone where levels have
    /// opposites.
    fn nearest<S: Simd>(self, simd: S, numbers: S::Lanes, way: u8) -> S::Lanes;

    /// The best representations of eight groups, each at a positive scale of its own.
    fn choose<S: Simd>(
        self,
        simd: S,
        groups: &EightGroups,
        scales: &[f32; N_LANES],
        way: u8,
        room: &mut Room,
    ) -> [Choice; N_LANES];

    /// What is multiplied by the scale in this choice.
    fn levels<S: Simd>(self, simd: S, choice: Choice) -> S::Lanes;
}

/// Eight groups of eight weights: numbers are `[weight][group]`, so that each group is in a lane of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct EightGroups {
    pub(super) x: [[f32; N_LANES]; 8],
    /// Importances.
    pub(super) w: [[f32; N_LANES]; 8],
    /// A bit for each weight of each group: 1 for negative ones.
    pub(super) signs: [u8; N_LANES],
}

impl EightGroups {
    #[inline(always)]
    fn new(x: &[[f32; 8]], w: &[[f32; 8]]) -> Self {
        let mut groups = Self { x: [[0.0; N_LANES]; 8], w: [[0.0; N_LANES]; 8], signs: [0; N_LANES] };
        for (lane, (x, w)) in x.iter().zip(w).take(N_LANES).enumerate() {
            for i in 0..8 {
                groups.x[i][lane] = x[i];
                groups.w[i][lane] = w[i];
                groups.signs[lane] |= u8::from(x[i] < 0.0) << i;
            }
        }
        groups
    }
}

/// What is kept from one choice for eight groups to the next.
pub(super) struct Room<'a> {
    /// What halves of points cost.
    pub(super) costs: &'a mut Costs,
    /// Points that were chosen last, in two ways or for the two halves of each group: at another scale they are likely to be chosen again.
    pub(super) guesses: &'a mut [[u16; N_LANES]; 2],
}

/// One representation of eight weights.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Choice {
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
    /// Rounds of choosing integer scales and refitting `d`.
    pub(super) n_rounds: usize,
    /// Steps that a wanted scale must be away from the present one for that one's neighbour to be tried again in later rounds.
    pub(super) least_distance: f32,
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

/// Fits `J` sub-blocks of `G` groups of eight weights each.
pub(super) struct FitGrid<'a, Q, const G: usize, const J: usize> {
    pub(super) x: &'a [f32; QK_K],
    /// Importances, positive and around 1.
    pub(super) w: &'a [f32],
    pub(super) grid: GridType<Q>,
}

impl<Q: Group, const G: usize, const J: usize> Kernel for FitGrid<'_, Q, G, J> {
    type Output = GridFit<G, J>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> GridFit<G, J> {
        let grid = self.grid;
        let mut fitting = Fitting::<Q, G, J>::new(self.x, self.w, grid);
        let mut wanted = fitting.search(simd);
        let largest = wanted.iter().fold(0.0, |largest, &scale| max(scale, largest));
        let largest_factor = (2.0 * f32::from(grid.n_scales) - 1.0) * grid.unit;
        let mut best = State { d: 0.0, scales: [0.0; J], choices: [[Choice::default(); G]; J], sums: Sums { uu: 0.0, xu: 0.0 } };
        let mut next = nonzero_half(largest * inverse(largest_factor));
        for round in 0..grid.n_rounds {
            let is_start = round == 0;
            if !is_start && (next - best.d).abs() < LEAST_CHANGE * best.d {
                break;
            }
            let state = fitting.round_scales(simd, &mut wanted, &State { d: next, ..best }, is_start);
            if state.sums.gain(next) <= best.sums.gain(best.d) {
                break;
            }
            best = state;
            next = nonzero_half(best.sums.xu * inverse(best.sums.uu));
        }
        if best.sums.gain(next) > best.sums.gain(best.d) {
            best.d = next;
        }
        GridFit { d: Half::from_f32(best.d), scales: best.scales.map(low_byte), choices: best.choices }
    }
}

/// A choice of everything, with what its `d` is refitted by.
#[derive(Debug, Clone, Copy)]
struct State<const G: usize, const J: usize> {
    d: f32,
    scales: [f32; J],
    choices: [[Choice; G]; J],
    sums: Sums,
}

/// Sums over a super-block with `u` the levels times the integer scales' factors.
#[derive(Debug, Clone, Copy)]
struct Sums {
    /// `Σwu²`
    uu: f32,
    /// `Σwxu`
    xu: f32,
}

impl Sums {
    /// By how much the weighted error with this `d` is below that of all zeros.
    #[inline(always)]
    fn gain(self, d: f32) -> f32 {
        d * (2.0 * self.xu - d * self.uu)
    }
}

/// A super-block that is being fitted.
struct Fitting<Q, const G: usize, const J: usize> {
    x: [[[f32; 8]; G]; J],
    w: [[[f32; 8]; G]; J],
    /// The same in lanes.
    eights: [EightGroups; N_GROUPS / N_LANES],
    grid: GridType<Q>,
    costs: Costs,
    /// See [`Room`].
    guesses: [[[u16; N_LANES]; 2]; N_GROUPS / N_LANES],
}

/// The best real scale of each sub-block so far, and by how much it lowers the error.
struct Found<const J: usize> {
    scales: [f32; J],
    gains: [f32; J],
}

impl<Q: Group, const G: usize, const J: usize> Fitting<Q, G, J> {
    #[inline(always)]
    fn new(x: &[f32; QK_K], w: &[f32], grid: GridType<Q>) -> Self {
        const { assert!(G * J == N_GROUPS) };
        let (mut of_x, mut of_w) = ([[[0.0; 8]; G]; J], [[[0.0; 8]; G]; J]);
        of_x.as_flattened_mut().as_flattened_mut().copy_from_slice(x);
        of_w.as_flattened_mut().as_flattened_mut().copy_from_slice(w);
        let empty = EightGroups { x: [[0.0; N_LANES]; 8], w: [[0.0; N_LANES]; 8], signs: [0; N_LANES] };
        let mut eights = [empty; N_GROUPS / N_LANES];
        for (idx, eight) in eights.iter_mut().enumerate() {
            *eight = EightGroups::new(&of_x.as_flattened()[N_LANES * idx..], &of_w.as_flattened()[N_LANES * idx..]);
        }
        let guesses = [[[NO_GUESS; N_LANES]; 2]; N_GROUPS / N_LANES];
        Self { x: of_x, w: of_w, eights, grid, costs: Costs::NONE, guesses }
    }

    /// For each sub-block the real scale of least weighted error among the candidates; 0 if all its weights are 0.
    ///
    /// Searches without the grid first, eight candidates at a time (cheap and close), then with grid points around the best.
    #[inline(always)]
    fn search<S: Simd>(&mut self, simd: S) -> [f32; J] {
        let (mut free, mut rms, mut is_any, mut is_flat) = ([0.0; J], [0.0; J], [false; J], [false; J]);
        for j in 0..J {
            let (mut sum_w, mut sum_wxx, mut squares) = (simd.zero(), simd.zero(), simd.zero());
            for (x, w) in self.x[j].iter().zip(&self.w[j]) {
                let (x, w) = (simd.load(x), simd.load(w));
                sum_w = sum_w + w;
                sum_wxx = sum_wxx + w * x * x;
                squares = simd.max(squares, x * x);
            }
            rms[j] = (simd.sum(sum_wxx) / simd.sum(sum_w)).sqrt();
            is_any[j] = rms[j] != 0.0;
            is_flat[j] = is_any[j] && simd.largest(squares) < 2.0 * rms[j] * rms[j];
            if is_any[j] {
                free[j] = free_scale(simd, &self.x[j], &self.w[j], rms[j], self.grid);
            }
        }
        let mut found = Found { scales: [0.0; J], gains: [0.0; J] };
        for &factor in self.grid.factors {
            self.compare(simd, &times(&free, factor), &is_any, &mut found);
        }
        if is_flat.contains(&true) {
            for &factor in self.grid.flat_factors {
                self.compare(simd, &times(&free, factor), &is_flat, &mut found);
            }
            if self.grid.flat_fraction > 0.0 {
                self.compare(simd, &times(&rms, self.grid.flat_fraction), &is_flat, &mut found);
            }
        }
        found.scales
    }

    /// Takes the scales that fit the points best which are found at these candidates, where they lower the error most.
    #[inline(always)]
    fn compare<S: Simd>(&mut self, simd: S, candidates: &[f32; J], is_wanted: &[bool; J], found: &mut Found<J>) {
        let sub_blocks = self.represent(simd, candidates, is_wanted);
        for j in 0..J {
            // With these points the best scale is `Σwxu / Σwu²`.
            let refitted = max(sub_blocks[j].xu, 0.0) * inverse(sub_blocks[j].uu);
            let gain = refitted * sub_blocks[j].xu;
            if is_wanted[j] && gain > found.gains[j] {
                (found.scales[j], found.gains[j]) = (refitted, gain);
            }
        }
    }

    /// The best integer scales for this `d` and the best points for them.
    ///
    /// At the start that is the better one of the two around each wanted scale. Later it is the present one, or its neighbour on the side of
    /// the wanted scale if that is far enough away. `wanted` are real scales, and become those that fit the points found.
    #[inline(always)]
    fn round_scales<S: Simd>(&mut self, simd: S, wanted: &mut [f32; J], present: &State<G, J>, is_start: bool) -> State<G, J> {
        let (d, unit) = (present.d, self.grid.unit);
        let last = f32::from(self.grid.n_scales) - 1.0;
        let (mut first, mut second, mut has_two) = ([0.0; J], [0.0; J], [false; J]);
        for j in 0..J {
            let exact = 0.5 * (wanted[j] * inverse(d * unit) - 1.0);
            let middle = if is_start { round(exact) } else { present.scales[j] };
            let other = if exact < middle { middle - 1.0 } else { middle + 1.0 };
            first[j] = clamp(middle, 0.0, last);
            second[j] = clamp(other, 0.0, last);
            has_two[j] = first[j] != second[j] && (is_start || (exact - middle).abs() > self.grid.least_distance);
        }
        let (of_first, of_second) = (real_scales(&first, d, unit), real_scales(&second, d, unit));
        let mut best = self.represent(simd, &of_first, &[true; J]);
        let others = self.represent(simd, &of_second, &has_two);
        let mut state = State { scales: first, sums: Sums { uu: 0.0, xu: 0.0 }, ..*present };
        for j in 0..J {
            if has_two[j] && others[j].gain > best[j].gain {
                (best[j], state.scales[j]) = (others[j], second[j]);
            }
            wanted[j] = best[j].xu * inverse(best[j].uu);
            state.choices[j] = best[j].choices;
            let factor = (2.0 * state.scales[j] + 1.0) * unit;
            state.sums.uu += factor * factor * best[j].uu;
            state.sums.xu += factor * best[j].xu;
        }
        state
    }

    /// The best representations of the wanted sub-blocks, each at a scale of its own. Those of the others are of no use.
    #[inline(always)]
    fn represent<S: Simd>(&mut self, simd: S, scales: &[f32; J], is_wanted: &[bool; J]) -> [SubBlock<G>; J] {
        let mut best = [SubBlock { choices: [Choice::default(); G], uu: 0.0, xu: 0.0, gain: f32::NEG_INFINITY }; J];
        let group = self.grid.group;
        let n_subs = N_LANES / G;
        for way in 0..Q::N_WAYS {
            for (idx, (eight, guesses)) in self.eights.iter().zip(&mut self.guesses).enumerate() {
                let subs = n_subs * idx..n_subs * (idx + 1);
                if !is_wanted[subs.clone()].contains(&true) {
                    continue;
                }
                let mut of_lanes = [0.0; N_LANES];
                for (lane, scale) in of_lanes.iter_mut().enumerate() {
                    *scale = scales[subs.start + lane / G];
                }
                let choices = group.choose(simd, eight, &of_lanes, way, &mut Room { costs: &mut self.costs, guesses });
                for (j, choices) in subs.zip(choices.as_chunks::<G>().0) {
                    let (mut uu, mut xu) = (simd.zero(), simd.zero());
                    for g in 0..G {
                        let u = group.levels(simd, choices[g]);
                        let wu = simd.load(&self.w[j][g]) * u;
                        uu = uu + wu * u;
                        xu = xu + wu * simd.load(&self.x[j][g]);
                    }
                    let (uu, xu) = (simd.sum(uu), simd.sum(xu));
                    let gain = scales[j] * (2.0 * xu - scales[j] * uu);
                    if gain > best[j].gain {
                        best[j] = SubBlock { choices: *choices, uu, xu, gain };
                    }
                }
            }
        }
        best
    }
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

/// The scales that integer ones stand for.
#[inline(always)]
fn real_scales<const J: usize>(scales: &[f32; J], d: f32, unit: f32) -> [f32; J] {
    let mut real = *scales;
    for scale in &mut real {
        *scale = d * ((2.0 * *scale + 1.0) * unit);
    }
    real
}

#[inline(always)]
fn times<const J: usize>(numbers: &[f32; J], factor: f32) -> [f32; J] {
    let mut products = *numbers;
    for number in &mut products {
        *number *= factor;
    }
    products
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
    let mut scales = [[0.0; N_LANES]; 2];
    let mut scale = rms * grid.first;
    for lane in scales.as_flattened_mut() {
        *lane = scale;
        scale *= grid.ratio;
    }
    let inverses = [simd.inverse(simd.load(&scales[0])), simd.inverse(simd.load(&scales[1]))];
    let smaller_later = [simd.ramp(1.0, -TIE), simd.ramp(1.0 - 8.0 * TIE, -TIE)];
    for way in 0..Q::N_WAYS {
        let (mut xu, mut uu) = ([simd.zero(); 2], [simd.zero(); 2]);
        for (&x, &w) in x.as_flattened().iter().zip(w.as_flattened()) {
            let (x, w) = (simd.splat(if Q::HAS_SIGNS { x.abs() } else { x }), simd.splat(w));
            for half in 0..2 {
                let u = grid.group.nearest(simd, x * inverses[half], way);
                let wu = w * u;
                xu[half] = simd.mul_add(wu, x, xu[half]);
                uu[half] = simd.mul_add(wu, u, uu[half]);
            }
        }
        for half in 0..2 {
            let refitted = xu[half] * simd.inverse(uu[half]);
            let gain = refitted * xu[half] * smaller_later[half];
            best_scale = simd.where_above(gain, best_gain, refitted, best_scale);
            best_gain = simd.where_above(gain, best_gain, gain, best_gain);
        }
    }
    simd.store(best_scale)[simd.argmax(best_gain)]
}
