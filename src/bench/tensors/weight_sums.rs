//! What is added up over two runs of weights to tell how far they are apart.

/// Sums over pairs of weights `a` and `b`, in f64. The squares of f32 neither overflow nor vanish there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WeightSums {
    /// `Σ(a - b)²`.
    pub squares_difference: f64,
    /// `Σa²`.
    pub squares_a: f64,
    /// `Σb²`.
    pub squares_b: f64,
    /// `Σab`.
    pub products: f64,
    /// `max |a - b|`.
    pub max_difference: f64,
    /// How many `a` are NaN or infinite; then the sums mean nothing.
    pub n_bad_a: u64,
    /// How many `b` are.
    pub n_bad_b: u64,
}

/// Sums that are kept side by side, so that they fill the registers of a vector unit.
const N_LANES: usize = 8;

impl WeightSums {
    /// The sums over two slices of the same length.
    pub fn of(a: &[f32], b: &[f32]) -> Self {
        let mut lanes = Lanes::default();
        let ((a_whole, a_rest), (b_whole, b_rest)) = (a.as_chunks::<N_LANES>(), b.as_chunks::<N_LANES>());
        for (a, b) in a_whole.iter().zip(b_whole) {
            lanes.add(a, b);
        }
        let filled = |rest: &[f32]| std::array::from_fn(|idx| rest.get(idx).copied().unwrap_or(0.0));
        lanes.add(&filled(a_rest), &filled(b_rest));
        let mut sums = lanes.sums();
        // Sums of squares are finite exactly when all weights are.
        if !sums.squares_a.is_finite() || !sums.squares_b.is_finite() {
            let n_bad = |weights: &[f32]| weights.iter().filter(|weight| !weight.is_finite()).count() as u64;
            (sums.n_bad_a, sums.n_bad_b) = (n_bad(a), n_bad(b));
        }
        sums
    }

    /// Adds the sums over other weights.
    pub fn add(&mut self, other: &Self) {
        self.squares_difference += other.squares_difference;
        self.squares_a += other.squares_a;
        self.squares_b += other.squares_b;
        self.products += other.products;
        self.max_difference = self.max_difference.max(other.max_difference);
        self.n_bad_a += other.n_bad_a;
        self.n_bad_b += other.n_bad_b;
    }
}

#[derive(Default)]
struct Lanes {
    squares_difference: [f64; N_LANES],
    squares_a: [f64; N_LANES],
    squares_b: [f64; N_LANES],
    products: [f64; N_LANES],
    max_difference: [f64; N_LANES],
}

impl Lanes {
    #[inline]
    #[allow(clippy::needless_range_loop, reason = "one index walks seven arrays")]
    fn add(&mut self, a: &[f32; N_LANES], b: &[f32; N_LANES]) {
        for lane in 0..N_LANES {
            let (a, b) = (f64::from(a[lane]), f64::from(b[lane]));
            let difference = a - b;
            self.squares_difference[lane] += difference * difference;
            self.squares_a[lane] += a * a;
            self.squares_b[lane] += b * b;
            self.products[lane] += a * b;
            self.max_difference[lane] = self.max_difference[lane].max(difference.abs());
        }
    }

    fn sums(&self) -> WeightSums {
        WeightSums {
            squares_difference: self.squares_difference.iter().sum(),
            squares_a: self.squares_a.iter().sum(),
            squares_b: self.squares_b.iter().sum(),
            products: self.products.iter().sum(),
            max_difference: self.max_difference.iter().copied().fold(0.0, f64::max),
            n_bad_a: 0,
            n_bad_b: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_how_many_weights_fill_a_register() {
        let check = |n: usize| {
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let a: Vec<f32> = (0..n).map(|idx| idx as f32).collect();
            let b: Vec<f32> = a.iter().map(|weight| weight * 2.0).collect();
            let sums = WeightSums::of(&a, &b);
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let squares: f64 = (0..n).map(|idx| (idx * idx) as f64).sum();
            let expected = WeightSums {
                squares_difference: squares,
                squares_a: squares,
                squares_b: 4.0 * squares,
                products: 2.0 * squares,
                #[allow(clippy::cast_precision_loss, reason = "small numbers")]
                max_difference: n.saturating_sub(1) as f64,
                ..WeightSums::default()
            };
            assert_eq!(sums, expected, "{n}");
        };
        for n in [0, 1, 7, 8, 9, 16, 100] {
            check(n);
        }
    }

    #[test]
    fn extreme_weights_are_sums_like_others_and_damaged_ones_are_counted() {
        let sums = WeightSums::of(&[f32::MAX, 1e-45], &[f32::MIN, 0.0]);
        assert!(sums.squares_difference.is_finite() && sums.squares_a > 0.0);
        assert_eq!((sums.n_bad_a, sums.n_bad_b), (0, 0));
        assert!(WeightSums::of(&[1e-45], &[0.0]).squares_a > 0.0);
        let mut sums = WeightSums::of(&[f32::NAN, 1.0, f32::INFINITY], &[1.0, f32::NEG_INFINITY, 1.0]);
        sums.add(&WeightSums::of(&[1.0], &[f32::NAN]));
        assert_eq!((sums.n_bad_a, sums.n_bad_b), (2, 2));
    }
}
