//! The nearest points of a grid, exact, for eight groups of weights at a time.
//!
//! The cost of a point is the sum of its coordinates' costs. A point has a lower and an upper half of its coordinates, and each half takes
//! few values: what these cost is computed once. Points that share their upper half lie together, so the cheapest of them is the one with the
//! cheapest lower half, and all are skipped where the upper half alone costs no less than the best point so far. Each group has a lane of
//! its own, so that a step looks at one point for eight groups. ggml instead looks through lists of neighbours that it makes at start.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::iq_tables::{IQ1S_GRID, IQ2S_GRID, IQ2XS_GRID, IQ2XXS_GRID, IQ3S_GRID, IQ3XXS_GRID};
use super::lanes::{Kernel, N_LANES, Simd};

/// Room for the values that a half may take, 81 of four coordinates of three values or 64 of two of eight values: as many as a byte has, so
/// that no index is out of range.
pub(super) const N_HALVES: usize = 256;

/// Upper halves that are compared with the bound, in eights; those beyond the last one have no points and cost infinitely much.
const N_EIGHTS: usize = 11;

/// Points that are looked at in one go.
const CHUNK: u16 = 4;

/// [`CHUNK`] as a length.
const CHUNK_LEN: usize = CHUNK as usize;

/// The points of a grid, sorted by their upper halves.
#[derive(Debug)]
pub(super) struct Book {
    /// Lower half of each point.
    lows: &'static [u8],
    /// Upper half of each point.
    highs: &'static [u8],
    /// `starts[h]` is the index of the first point whose upper half is at least `h`.
    starts: &'static [u16],
    /// The lower halves again, where each upper half begins a chunk of its own: the last chunk of each is filled up with its last point.
    chunks: &'static [[u8; CHUNK_LEN]],
    /// First chunk of each upper half, and the one after its last.
    places: [[u16; 2]; 8 * N_EIGHTS],
}

/// Declares books: the grid, how its points are cut into halves, the bits of a half and the number of its values and one.
macro_rules! books {
    ($($name:ident: $grid:ident, $halves:ident, $n_bits:literal, $n_starts:literal;)*) => {
        $(
            pub(super) static $name: Book = {
                const LOWS: &[u8] = &$halves(&$grid, 0);
                const STARTS: [u16; $n_starts] = starts(&$halves(&$grid, $n_bits));
                const CHUNK_STARTS: [u16; $n_starts] = chunk_starts(&STARTS);
                const N_CHUNKS: usize = CHUNK_STARTS[$n_starts - 1] as usize;
                Book {
                    lows: LOWS,
                    highs: &$halves(&$grid, $n_bits),
                    starts: &STARTS,
                    chunks: &chunks::<N_CHUNKS>(LOWS, &STARTS, &CHUNK_STARTS),
                    places: places(&CHUNK_STARTS),
                }
            };
        )*
    };
}

books! {
    IQ2XXS: IQ2XXS_GRID, eights, 8, 82;
    IQ2XS: IQ2XS_GRID, eights, 8, 82;
    IQ2S: IQ2S_GRID, eights, 8, 82;
    IQ1S: IQ1S_GRID, eights, 8, 82;
    IQ3XXS: IQ3XXS_GRID, fours, 6, 65;
    IQ3S: IQ3S_GRID, fours, 6, 65;
}

impl Book {
    /// The lower halves of the points that have this upper half.
    #[inline(always)]
    fn chunks_of(&self, half: usize) -> &[[u8; CHUNK_LEN]] {
        let [start, end] = self.places[half];
        &self.chunks[usize::from(start)..usize::from(end)]
    }

    /// Lower and upper half of a point.
    #[inline(always)]
    pub(super) fn halves(&self, index: u16) -> [usize; 2] {
        let index = usize::from(index);
        [usize::from(self.lows[index]), usize::from(self.highs[index])]
    }
}

/// What halves cost above the cheapest coordinates, with a group in each lane.
#[derive(Debug, Clone)]
pub(super) struct Costs {
    low: [[f32; N_LANES]; N_HALVES],
    high: [[f32; N_LANES]; 8 * N_EIGHTS],
    /// An upper half that costs nothing.
    cheapest: [f32; N_LANES],
}

/// What each value costs at each coordinate above the cheapest value there, with a group in each lane: `[value][coordinate]`.
pub(super) type Excess<const V: usize> = [[[f32; N_LANES]; 8]; V];

impl Costs {
    /// Nothing is known.
    pub(super) const NONE: Self =
        Self { low: [[0.0; N_LANES]; N_HALVES], high: [[f32::INFINITY; N_LANES]; 8 * N_EIGHTS], cheapest: [0.0; N_LANES] };

    /// Sets the costs of points of eight coordinates.
    #[inline(always)]
    pub(super) fn set_eights<S: Simd>(&mut self, simd: S, excess: &Excess<3>) {
        let mut pairs = [[simd.zero(); 9]; 4];
        for (k, pairs) in pairs.iter_mut().enumerate() {
            for (packed, pair) in pairs.iter_mut().enumerate() {
                *pair = simd.load(&excess[packed % 3][2 * k]) + simd.load(&excess[packed / 3][2 * k + 1]);
            }
        }
        for second in 0..9 {
            for first in 0..9 {
                self.low[first + 9 * second] = simd.store(pairs[0][first] + pairs[1][second]);
                self.high[first + 9 * second] = simd.store(pairs[2][first] + pairs[3][second]);
            }
        }
        let cheapest = |i: usize| cheapest(simd, excess, i);
        let upper = simd.mul_add(cheapest(7), simd.splat(3.0), cheapest(6));
        let lower = simd.mul_add(cheapest(5), simd.splat(3.0), cheapest(4));
        self.cheapest = simd.store(simd.mul_add(upper, simd.splat(9.0), lower));
    }

    /// Sets the costs of points of the four coordinates from `first` on.
    #[inline(always)]
    pub(super) fn set_fours<S: Simd>(&mut self, simd: S, excess: &Excess<8>, first: usize) {
        for upper in 0..8 {
            let second = [simd.load(&excess[upper][first + 1]), simd.load(&excess[upper][first + 3])];
            for lower in 0..8 {
                self.low[lower + 8 * upper] = simd.store(simd.load(&excess[lower][first]) + second[0]);
                self.high[lower + 8 * upper] = simd.store(simd.load(&excess[lower][first + 2]) + second[1]);
            }
        }
        let (upper, lower) = (cheapest(simd, excess, first + 3), cheapest(simd, excess, first + 2));
        self.cheapest = simd.store(simd.mul_add(upper, simd.splat(8.0), lower));
    }
}

/// The cheapest value of a coordinate; the first of several.
#[inline(always)]
fn cheapest<S: Simd, const V: usize>(simd: S, excess: &Excess<V>, coordinate: usize) -> S::Lanes {
    let (mut best, mut least) = (simd.zero(), simd.load(&excess[0][coordinate]));
    for (value, costs) in excess.iter().enumerate().skip(1) {
        let cost = simd.load(&costs[coordinate]);
        #[allow(clippy::cast_precision_loss, reason = "below eight")]
        let number = simd.splat(value as f32);
        best = simd.where_above(least, cost, number, best);
        least = simd.min(cost, least);
    }
    best
}

/// The indices of grid points as a file stores them, and what the points cost above the cheapest coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearest {
    pub(super) index: [u16; N_LANES],
    pub(super) cost: [f32; N_LANES],
}

/// Finds the points of least cost.
pub(super) struct FindNearest<'a> {
    pub(super) book: &'static Book,
    pub(super) costs: &'a Costs,
    /// Points that are likely to be cheap, or [`NO_GUESS`]: the cheaper they are, the fewer points must be looked at. One of them is taken
    /// where no other point is cheaper.
    pub(super) guesses: [u16; N_LANES],
}

/// The numbers of upper halves.
static NUMBERS: [f32; 8 * N_EIGHTS] = {
    let mut numbers = [0.0; 8 * N_EIGHTS];
    let mut half = 0;
    while half < numbers.len() {
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        {
            numbers[half] = half as f32;
        }
        half += 1;
    }
    numbers
};

/// Stands for no point.
pub(super) const NO_GUESS: u16 = u16::MAX;

impl Kernel for FindNearest<'_> {
    type Output = Nearest;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Nearest {
        let Self { book, costs: Costs { low, high, .. }, .. } = self;
        let mut nearest = self.first_guesses();
        let bound = simd.load(&nearest.cost);
        // A bit for each upper half that costs less than the bound in some lane.
        let mut may_be_nearest = [0_u64; 2];
        for (idx, eight) in high.as_chunks::<8>().0.iter().enumerate() {
            let mut bits = 0;
            for (bit, of_upper_half) in eight.iter().enumerate() {
                bits |= u64::from(simd.is_any_above(bound, simd.load(of_upper_half))) << bit;
            }
            may_be_nearest[idx / 8] |= bits << (8 * (idx % 8));
        }
        let (mut least, mut best_half) = (bound, simd.splat(-1.0));
        for (idx, mut bits) in may_be_nearest.into_iter().enumerate() {
            while bits != 0 {
                let half = 64 * idx + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let mut cheapest = [simd.splat(f32::INFINITY); 2];
                for chunk in book.chunks_of(half) {
                    for k in 0..CHUNK_LEN {
                        cheapest[k % 2] = simd.min(cheapest[k % 2], simd.load(&low[usize::from(chunk[k])]));
                    }
                }
                let cost = simd.load(&high[half]) + simd.min(cheapest[0], cheapest[1]);
                best_half = simd.where_above(least, cost, simd.splat(NUMBERS[half]), best_half);
                least = simd.min(cost, least);
            }
        }
        let (least, best_half) = (simd.store(least), simd.store(best_half));
        for lane in 0..N_LANES {
            if best_half[lane] >= 0.0 {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
                let half = best_half[lane] as usize;
                let (start, end) = (usize::from(book.starts[half]), usize::from(book.starts[half + 1]));
                let cost = |low_half: u8| high[half][lane] + low[usize::from(low_half)][lane];
                let place = book.lows[start..end].iter().position(|&low_half| cost(low_half) == least[lane]).unwrap_or(0);
                (nearest.index[lane], nearest.cost[lane]) = (small(start + place), least[lane]);
            }
        }
        nearest
    }
}

impl FindNearest<'_> {
    /// The guesses with their costs; where there is none, the best of the points whose upper half costs nothing.
    #[inline(always)]
    fn first_guesses(&self) -> Nearest {
        let Self { book, costs: Costs { low, high, cheapest }, guesses } = self;
        let mut nearest = Nearest { index: *guesses, cost: [f32::INFINITY; N_LANES] };
        for lane in 0..N_LANES {
            if guesses[lane] != NO_GUESS {
                let [low_half, high_half] = book.halves(guesses[lane]);
                nearest.cost[lane] = high[high_half][lane] + low[low_half][lane];
                continue;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
            let half = cheapest[lane] as usize;
            let points = usize::from(book.starts[half])..usize::from(book.starts[half + 1]);
            for (index, &low_half) in points.clone().zip(&book.lows[points]) {
                let cost = low[usize::from(low_half)][lane];
                if cost < nearest.cost[lane] {
                    (nearest.index[lane], nearest.cost[lane]) = (small(index), cost);
                }
            }
        }
        nearest
    }
}

/// The index of a point.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "there are at most 2048 points")]
fn small(index: usize) -> u16 {
    index as u16
}

/// Halves of points of eight coordinates of three values, which are packed into two bits each: from bit `shift` on, to the base of three.
const fn eights<const N: usize>(points: &[u16; N], shift: u32) -> [u8; N] {
    let mut halves = [0; N];
    let mut i = 0;
    while i < N {
        let half = (points[i] >> shift).to_le_bytes()[0];
        halves[i] = (half & 3) + 3 * (half >> 2 & 3) + 9 * (half >> 4 & 3) + 27 * (half >> 6);
        i += 1;
    }
    halves
}

/// Halves of points of four coordinates of eight values, three bits each: from bit `shift` on.
const fn fours<const N: usize>(points: &[u16; N], shift: u32) -> [u8; N] {
    let mut halves = [0; N];
    let mut i = 0;
    while i < N {
        halves[i] = (points[i] >> shift).to_le_bytes()[0] & 63;
        i += 1;
    }
    halves
}

/// For each upper half, the index of the first point that has it or a larger one. `highs` must be sorted.
const fn starts<const N: usize, const H: usize>(highs: &[u8; N]) -> [u16; H] {
    let mut starts = [0; H];
    let mut index = 0;
    let mut half = 0;
    while half < H {
        while index < N && (highs[index] as usize) < half {
            index += 1;
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most 2048")]
        {
            starts[half] = index as u16;
        }
        half += 1;
    }
    starts
}

/// For each upper half, the index of the first chunk that has it or a larger one.
const fn chunk_starts<const H: usize>(starts: &[u16; H]) -> [u16; H] {
    let mut chunk_starts = [0; H];
    let mut half = 1;
    while half < H {
        let n_points = starts[half] - starts[half - 1];
        chunk_starts[half] = chunk_starts[half - 1] + n_points.div_ceil(CHUNK);
        half += 1;
    }
    chunk_starts
}

/// [`Book::places`].
const fn places(chunk_starts: &[u16]) -> [[u16; 2]; 8 * N_EIGHTS] {
    let mut places = [[0; 2]; 8 * N_EIGHTS];
    let mut half = 0;
    while half + 1 < chunk_starts.len() {
        places[half] = [chunk_starts[half], chunk_starts[half + 1]];
        half += 1;
    }
    places
}

/// [`Book::chunks`].
const fn chunks<const N: usize>(lows: &[u8], starts: &[u16], chunk_starts: &[u16]) -> [[u8; CHUNK_LEN]; N] {
    let mut chunks = [[0; CHUNK_LEN]; N];
    let mut half = 0;
    while half + 1 < starts.len() {
        let (start, end) = (starts[half] as usize, starts[half + 1] as usize);
        let first = chunk_starts[half] as usize;
        let mut i = 0;
        while i < CHUNK_LEN * (chunk_starts[half + 1] as usize - first) {
            let point = if start + i < end { start + i } else { end - 1 };
            chunks[first + i / CHUNK_LEN][i % CHUNK_LEN] = lows[point];
            i += 1;
        }
        half += 1;
    }
    chunks
}

/// The coordinates of all halves of points of eight, from the three values of a coordinate.
pub(super) const fn levels_of_halves(values: [f32; 3]) -> [[f32; 4]; N_HALVES] {
    let mut levels = [[0.0; 4]; N_HALVES];
    let mut half = 0;
    while half < 81 {
        levels[half] = [values[half % 3], values[half / 3 % 3], values[half / 9 % 3], values[half / 27]];
        half += 1;
    }
    levels
}

/// The coordinates of all points of four, from the eight values of a coordinate.
pub(super) const fn levels_of_points<const N: usize>(points: &[u16; N], values: [i8; 8]) -> [[f32; 4]; N] {
    let mut levels = [[0.0; 4]; N];
    let mut i = 0;
    while i < 4 * N {
        levels[i / 4][i % 4] = values[(points[i / 4] >> (3 * (i % 4)) & 7) as usize] as f32;
        i += 1;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::{run_fastest, run_portable};
    use super::*;

    /// Numbers in `0..1` that look random; `steps` of them, so that few steps give many equal costs.
    fn noise(steps: u32) -> impl FnMut() -> f32 {
        let mut state = 0x2545_f491_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (u64::from(state) * u64::from(steps)) >> 32;
            f32::from(u16::try_from(number).unwrap()) / f32::from(u16::try_from(steps).unwrap())
        }
    }

    /// Random costs; the least one of each coordinate is 0.
    fn random_excess<const V: usize>(noise: &mut impl FnMut() -> f32) -> Excess<V> {
        let mut excess: Excess<V> = std::array::from_fn(|_| std::array::from_fn(|_| std::array::from_fn(|_| noise())));
        for i in 0..8 {
            for lane in 0..N_LANES {
                let least = (0..V).map(|value| excess[value][i][lane]).fold(f32::INFINITY, f32::min);
                for costs in &mut excess {
                    costs[i][lane] -= least;
                }
            }
        }
        excess
    }

    /// Sets the costs of the coordinates from the given one on.
    struct SetCosts<'a, const V: usize>(&'a mut Costs, &'a Excess<V>, usize);

    impl Kernel for SetCosts<'_, 3> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            self.0.set_eights(simd, self.1);
        }
    }

    impl Kernel for SetCosts<'_, 8> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            self.0.set_fours(simd, self.1, self.2);
        }
    }

    /// Compares with all points; `cost` gives what a point costs in a lane.
    fn check(book: &'static Book, points: &[u16], costs: &Costs, cost: impl Fn(u16, usize) -> f32) {
        let any = u16::try_from(points.len() / 3).unwrap();
        for guesses in [[NO_GUESS; N_LANES], [any; N_LANES], [0, NO_GUESS, any, 1, any + 1, NO_GUESS, NO_GUESS, 2]] {
            let found = run_fastest(FindNearest { book, costs, guesses });
            let portable = run_portable(FindNearest { book, costs, guesses });
            assert_eq!((found.index, found.cost), (portable.index, portable.cost));
            for lane in 0..N_LANES {
                let least = points.iter().map(|&point| cost(point, lane)).fold(f32::INFINITY, f32::min);
                let of_found = cost(points[usize::from(found.index[lane])], lane);
                assert!((found.cost[lane] - least).abs() < 1e-6 && (of_found - least).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn grids_are_sorted() {
        for points in [&IQ2XXS_GRID[..], &IQ2XS_GRID, &IQ2S_GRID, &IQ1S_GRID, &IQ3XXS_GRID, &IQ3S_GRID] {
            assert!(points.is_sorted_by(|a, b| a < b));
        }
        for book in [&IQ2XXS, &IQ2XS, &IQ2S, &IQ1S, &IQ3XXS, &IQ3S] {
            assert!(book.highs.is_sorted() && usize::from(*book.starts.last().unwrap()) == book.lows.len());
        }
    }

    #[test]
    fn the_nearest_points_are_those_of_an_exhaustive_search() {
        let mut costs = Costs::NONE;
        for steps in [3, 50_000] {
            let mut noise = noise(steps);
            for _ in 0..50 {
                let excess = random_excess::<3>(&mut noise);
                run_fastest(SetCosts(&mut costs, &excess, 0));
                let cost = |point: u16, lane: usize| (0..8).map(|i| excess[usize::from(point >> (2 * i) & 3)][i][lane]).sum();
                check(&IQ2XXS, &IQ2XXS_GRID, &costs, cost);
                check(&IQ2XS, &IQ2XS_GRID, &costs, cost);
                check(&IQ2S, &IQ2S_GRID, &costs, cost);
                check(&IQ1S, &IQ1S_GRID, &costs, cost);
                let excess = random_excess::<8>(&mut noise);
                for first in [0, 4] {
                    run_fastest(SetCosts(&mut costs, &excess, first));
                    let cost = |point: u16, lane: usize| {
                        (0..4).map(|i| excess[usize::from(point >> (3 * i) & 7)][first + i][lane]).sum()
                    };
                    check(&IQ3XXS, &IQ3XXS_GRID, &costs, cost);
                    check(&IQ3S, &IQ3S_GRID, &costs, cost);
                }
            }
        }
    }
}
