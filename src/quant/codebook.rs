//! The nearest point of a grid: exact, by branch and bound.
//!
//! The cost of a point is a sum over its coordinates, so what a coordinate costs above the cheapest one is a lower bound for
//! all points that have it. Points are sorted by their packed coordinates, the last ones on top: those that share their upper
//! half lie together, and a half that costs no less than the best point so far is skipped. ggml instead looks through lists of
//! neighbours that it makes at start.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::iq_tables::{IQ1S_GRID, IQ2S_GRID, IQ2XS_GRID, IQ2XXS_GRID, IQ3S_GRID, IQ3XXS_GRID};

/// Points of eight coordinates of three values each, two bits per coordinate.
#[derive(Debug)]
pub(super) struct Eights {
    pub(super) points: &'static [u16],
    /// `starts[h]` is the index of the first point whose upper byte is at least `h`.
    starts: [u16; 257],
}

/// Points of four coordinates of eight values each, three bits per coordinate.
#[derive(Debug)]
pub(super) struct Fours {
    pub(super) points: &'static [u16],
    /// `starts[h]` is the index of the first point whose upper six bits are at least `h`.
    starts: [u16; 65],
}

pub(super) static IQ2XXS: Eights = Eights::new(&IQ2XXS_GRID);
pub(super) static IQ2XS: Eights = Eights::new(&IQ2XS_GRID);
pub(super) static IQ2S: Eights = Eights::new(&IQ2S_GRID);
pub(super) static IQ1S: Eights = Eights::new(&IQ1S_GRID);
pub(super) static IQ3XXS: Fours = Fours::new(&IQ3XXS_GRID);
pub(super) static IQ3S: Fours = Fours::new(&IQ3S_GRID);

/// The index of a grid point as a file stores it, and what the point costs above the cheapest coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearest {
    pub(super) index: u16,
    pub(super) cost: f32,
}

/// All pairs of two coordinates with three values each, as they are packed.
const PAIRS: [usize; 9] = [0, 1, 2, 4, 5, 6, 8, 9, 10];

impl Eights {
    const fn new(points: &'static [u16]) -> Self {
        Self { points, starts: starts(points, 8) }
    }

    /// The point of least cost; among equals the first one found.
    ///
    /// `excess[v][i]` is what value `v` at coordinate `i` costs above the cheapest value there.
    #[inline(always)]
    pub(super) fn nearest(&self, excess: &[[f32; 8]; 3]) -> Nearest {
        let mut pairs = [[0.0; 16]; 4];
        for (i, pair) in pairs.iter_mut().enumerate() {
            for packed in PAIRS {
                pair[packed] = excess[packed & 3][2 * i] + excess[packed >> 2][2 * i + 1];
            }
        }
        let mut best = Nearest { index: 0, cost: f32::INFINITY };
        // A good bound is likely where the upper half costs nothing.
        let cheapest = |i: usize| (0..3).fold(0, |best, value| if excess[value][i] < excess[best][i] { value } else { best });
        let first = cheapest(4) | cheapest(5) << 2 | cheapest(6) << 4 | cheapest(7) << 6;
        self.look(first, 0.0, &pairs, &mut best);
        for high in PAIRS {
            let of_high = pairs[3][high];
            if of_high >= best.cost {
                continue;
            }
            for low in PAIRS {
                let of_upper_half = of_high + pairs[2][low];
                if of_upper_half < best.cost {
                    self.look(high << 4 | low, of_upper_half, &pairs, &mut best);
                }
            }
        }
        best
    }

    /// Looks at the points with this upper half.
    #[inline(always)]
    fn look(&self, upper_half: usize, cost: f32, pairs: &[[f32; 16]; 4], best: &mut Nearest) {
        let (start, end) = (self.starts[upper_half], self.starts[upper_half + 1]);
        for index in start..end {
            let point = usize::from(self.points[usize::from(index)]);
            let cost = cost + (pairs[0][point & 15] + pairs[1][point >> 4 & 15]);
            if cost < best.cost {
                *best = Nearest { index, cost };
            }
        }
    }
}

impl Fours {
    const fn new(points: &'static [u16]) -> Self {
        Self { points, starts: starts(points, 6) }
    }

    /// The point of least cost for coordinates `first..first + 4`; among equals the first one found.
    ///
    /// `excess[v][i]` is what value `v` at coordinate `i` costs above the cheapest value there.
    #[inline(always)]
    pub(super) fn nearest(&self, excess: &[[f32; 8]; 8], first: usize) -> Nearest {
        let mut best = Nearest { index: 0, cost: f32::INFINITY };
        let cheapest = |i: usize| (0..8).fold(0, |best, value| if excess[value][i] < excess[best][i] { value } else { best });
        self.look(cheapest(first + 2) | cheapest(first + 3) << 3, 0.0, excess, first, &mut best);
        for high in 0..8 {
            let of_high = excess[high][first + 3];
            if of_high >= best.cost {
                continue;
            }
            for low in 0..8 {
                let of_upper_half = of_high + excess[low][first + 2];
                if of_upper_half < best.cost {
                    self.look(high << 3 | low, of_upper_half, excess, first, &mut best);
                }
            }
        }
        best
    }

    /// Looks at the points with this upper half.
    #[inline(always)]
    fn look(&self, upper_half: usize, cost: f32, excess: &[[f32; 8]; 8], first: usize, best: &mut Nearest) {
        let (start, end) = (self.starts[upper_half], self.starts[upper_half + 1]);
        for index in start..end {
            let point = usize::from(self.points[usize::from(index)]);
            let cost = cost + (excess[point & 7][first] + excess[point >> 3 & 7][first + 1]);
            if cost < best.cost {
                *best = Nearest { index, cost };
            }
        }
    }
}

/// For each upper half, the index of the first point that has it or a larger one. `points` must be sorted.
const fn starts<const N: usize>(points: &[u16], n_low_bits: u32) -> [u16; N] {
    let mut starts = [0; N];
    let mut index = 0;
    let mut upper_half = 0;
    while upper_half < N {
        while index < points.len() && ((points[index] >> n_low_bits) as usize) < upper_half {
            index += 1;
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most 2048")]
        {
            starts[upper_half] = index as u16;
        }
        upper_half += 1;
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in `0..1` that look random.
    fn noise() -> impl FnMut() -> f32 {
        let mut state = 0x2545_f491_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap()) / 65536.0
        }
    }

    /// Random costs; the least one of each coordinate is 0.
    fn random_excess<const V: usize>(noise: &mut impl FnMut() -> f32) -> [[f32; 8]; V] {
        let mut excess: [[f32; 8]; V] = std::array::from_fn(|_| std::array::from_fn(|_| noise()));
        for i in 0..8 {
            let least = (0..V).map(|value| excess[value][i]).fold(f32::INFINITY, f32::min);
            for costs in &mut excess {
                costs[i] -= least;
            }
        }
        excess
    }

    #[test]
    fn grids_are_sorted() {
        for points in [&IQ2XXS_GRID[..], &IQ2XS_GRID, &IQ2S_GRID, &IQ1S_GRID, &IQ3XXS_GRID, &IQ3S_GRID] {
            assert!(points.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn the_nearest_point_is_that_of_an_exhaustive_search() {
        let mut noise = noise();
        for _ in 0..200 {
            let excess = random_excess::<3>(&mut noise);
            for book in [&IQ2XXS, &IQ2XS, &IQ2S, &IQ1S] {
                let cost = |point: u16| (0..8).map(|i| excess[usize::from(point >> (2 * i) & 3)][i]).sum::<f32>();
                let least = book.points.iter().map(|&point| cost(point)).fold(f32::INFINITY, f32::min);
                let found = book.nearest(&excess);
                assert!((found.cost - least).abs() < 1e-6 && (cost(book.points[usize::from(found.index)]) - least).abs() < 1e-6);
            }
            let excess = random_excess::<8>(&mut noise);
            for (book, first) in [(&IQ3XXS, 0), (&IQ3XXS, 4), (&IQ3S, 0), (&IQ3S, 4)] {
                let cost = |point: u16| (0..4).map(|i| excess[usize::from(point >> (3 * i) & 7)][first + i]).sum::<f32>();
                let least = book.points.iter().map(|&point| cost(point)).fold(f32::INFINITY, f32::min);
                let found = book.nearest(&excess, first);
                assert!((found.cost - least).abs() < 1e-6 && (cost(book.points[usize::from(found.index)]) - least).abs() < 1e-6);
            }
        }
    }
}
