//! Second moments of a site's inputs, damped and factored.
//!
//! With moments `H = R D Rᵀ`, `R` upper triangular with a diagonal of ones, the output error of a row's errors `a` is a sum of squares:
//! `a H aᵀ = Σ D_j (a_j + Σ_{i<j} a_i R_ij)²`. So a column is best rounded to the nearest of its weight less `Σ_{i<j} a_i R_ij`, and `D_j` is
//! what its rounding costs. This is LDLQ of `QuIP` (Chee et al., 2023, section 3); its theorem 6 shows that OPTQ, which feeds back by the
//! inverse's factor `U` (`H⁻¹ = Uᵀ U`, `D_j = 1 / U_jj²`), gives the same codes. Here no inverse is needed.

use rayon::prelude::*;

use crate::quant::matmul::{Matrix, MatrixMut};

/// How much of the mean of the diagonal is added to the diagonal of the moments. From 0.003 to 0.1 results differ by 2 %.
pub const DEFAULT_DAMPING: f64 = 0.03;

/// Columns that are eliminated at a time: wide enough that nearly all the work is in products of matrices.
const BLOCK: usize = 128;

/// Rows that one thread updates at a time.
const BAND_ROWS: usize = 128;

/// The least part of the mean diagonal that may be left of a column when all later columns are known. Below it lies the rounding of
/// moments to f32.
const LEAST_PIVOT: f64 = 1e-9;

/// Why moments cannot be factored.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FeedbackError {
    /// There is not one moment for each pair of columns.
    #[error("{n_columns} columns have {n_columns} times {n_columns} second moments, found {n_moments}")]
    Size {
        /// Columns.
        n_columns: usize,
        /// Moments that were given.
        n_moments: usize,
    },

    /// A moment is NaN or infinite.
    #[error("a second moment of column {column} is not finite")]
    NonFinite {
        /// The first such column, from 0.
        column: usize,
    },

    /// All columns are zero in all vectors.
    #[error("the second moments are all zero")]
    NoMass,

    /// The damping is negative, NaN or infinite.
    #[error("damping must be zero or more, found {damping}")]
    Damping {
        /// The damping that was given.
        damping: f64,
    },

    /// No vectors have such moments, or so few that the damping is too small for them.
    #[error("the second moments are not those of any vectors, seen at column {column}")]
    Indefinite {
        /// A column that would have no error, or less, whatever it is rounded to.
        column: usize,
    },
}

/// Damped second moments of a site's vectors, and their factors `H = R D Rᵀ`.
#[derive(Debug, Clone)]
pub struct Factors {
    n_columns: usize,
    /// `H`, damped, of mean diagonal 1 before. `[n_columns, n_columns]`
    moments: Vec<f32>,
    /// `R`: upper triangular, ones in the diagonal, zeros below. `[n_columns, n_columns]`
    weights: Vec<f32>,
    /// `D`. `[n_columns]`
    importances: Vec<f32>,
}

impl Factors {
    /// Factors symmetric moments `[n_columns, n_columns]` of any positive scale, of which only the upper triangle is read.
    ///
    /// `damping` times the mean of the diagonal is added to the diagonal, see [`DEFAULT_DAMPING`]: columns that never occurred get some
    /// importance, and few vectors do not decide too much. Takes `n_columns³ / 3` multiplications on all threads, and for a while 16 bytes per
    /// moment.
    ///
    /// # Errors
    /// See [`FeedbackError`].
    pub fn new(moments: &[f32], n_columns: usize, damping: f64) -> Result<Self, FeedbackError> {
        if n_columns.checked_mul(n_columns) != Some(moments.len()) {
            return Err(FeedbackError::Size { n_columns, n_moments: moments.len() });
        }
        if !(damping >= 0.0 && damping.is_finite()) {
            return Err(FeedbackError::Damping { damping });
        }
        if let Some(idx) = moments.iter().position(|moment| !moment.is_finite()) {
            return Err(FeedbackError::NonFinite { column: idx % n_columns });
        }
        let mass: f64 = moments.iter().step_by(n_columns + 1).map(|&moment| f64::from(moment)).sum();
        if mass <= 0.0 {
            return Err(FeedbackError::NoMass);
        }
        #[allow(clippy::cast_precision_loss, reason = "a count of columns")]
        let per_mean = n_columns as f64 / mass;
        let mut work = damped(moments, n_columns, per_mean, damping);
        let moments = to_f32(&work);
        reverse_cholesky(&mut work, n_columns).map_err(|column| FeedbackError::Indefinite { column })?;
        let diagonal: Vec<f64> = work.iter().step_by(n_columns + 1).copied().collect();
        let per_diagonal: Vec<f64> = diagonal.iter().map(|pivot| 1.0 / pivot).collect();
        for row in work.chunks_exact_mut(n_columns) {
            row.iter_mut().zip(&per_diagonal).for_each(|(number, per_diagonal)| *number *= per_diagonal);
        }
        let importances: Vec<f64> = diagonal.iter().map(|pivot| pivot * pivot).collect();
        Ok(Self { n_columns, moments, weights: to_f32(&work), importances: to_f32(&importances) })
    }

    /// What the rounding of each column costs when all later columns make up for it as well as they can: only ratios matter.
    /// `[n_columns]`, positive.
    #[must_use]
    pub fn importances(&self) -> &[f32] {
        &self.importances
    }

    /// Weights per row.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Damped moments of mean diagonal `1 + damping`. `[n_columns, n_columns]`
    pub(super) fn moments(&self) -> &[f32] {
        &self.moments
    }

    /// How much of a column's error each later column takes over: upper triangular with a diagonal of ones. `[n_columns, n_columns]`
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }
}

/// The upper triangle and its mirror image, scaled and damped.
fn damped(moments: &[f32], n: usize, factor: f64, damping: f64) -> Vec<f64> {
    let mut work = vec![0.0; n * n];
    for row in 0..n {
        for column in row..n {
            let moment = f64::from(moments[row * n + column]) * factor;
            work[row * n + column] = moment;
            work[column * n + row] = moment;
        }
        work[row * n + row] += damping;
    }
    work
}

#[allow(clippy::cast_possible_truncation, reason = "the one rounding")]
fn to_f32(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&number| number as f32).collect()
}

/// Turns symmetric `h` `[n, n]` into upper triangular `R` with `h = R Rᵀ`, zeros below the diagonal.
///
/// Cholesky's method from the last column up, in blocks. The error is the first column whose pivot is not positive.
pub(super) fn reverse_cholesky(h: &mut [f64], n: usize) -> Result<(), usize> {
    let mut end = n;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let width = end - start;
        let mut corner = vec![0.0; width * width];
        for row in 0..width {
            corner[row * width..][row..width].copy_from_slice(&h[(start + row) * n + start + row..(start + row) * n + end]);
        }
        factor_corner(&mut corner, width).map_err(|column| start + column)?;
        for row in 0..width {
            h[(start + row) * n..][start..end].copy_from_slice(&corner[row * width..][..width]);
        }
        eliminate(h, n, start, &inverse_of_upper(&corner, width), width);
        end = start;
    }
    for row in 1..n {
        h[row * n..row * n + row].fill(0.0);
    }
    Ok(())
}

/// Makes the rows above a factored corner part of `R`, and takes their squares off what is left.
fn eliminate(h: &mut [f64], n: usize, start: usize, inverse: &[f64], width: usize) {
    if start == 0 {
        return;
    }
    let mut above = vec![0.0; start * width];
    {
        let moments = Matrix::new(h, n, n).part(0..start, start..start + width);
        let inverse = Matrix::new(inverse, width, width).transposed();
        MatrixMut::new(&mut above, start, width).set_product_in_parallel(1.0, moments, inverse, 0.0);
    }
    let all = Matrix::new(&above, start, width);
    h[..start * n].par_chunks_mut(BAND_ROWS * n).enumerate().for_each(|(idx, band)| {
        let first = idx * BAND_ROWS;
        let n_rows = band.len() / n;
        for (row, numbers) in band.chunks_exact_mut(n).enumerate() {
            numbers[start..start + width].copy_from_slice(&above[(first + row) * width..][..width]);
        }
        // The rest is symmetric: only the part above the diagonal is needed.
        let mut rest = MatrixMut::new(band, n_rows, n).part(0..n_rows, first..start);
        rest.set_product(-1.0, all.part(first..first + n_rows, 0..width), all.part(first..start, 0..width).transposed(), 1.0);
    });
}

/// [`reverse_cholesky`] of a small matrix of which only the upper triangle is read.
fn factor_corner(h: &mut [f64], n: usize) -> Result<(), usize> {
    for column in (0..n).rev() {
        let pivot = h[column * n + column];
        if pivot.is_nan() || pivot <= LEAST_PIVOT {
            return Err(column);
        }
        let root = pivot.sqrt();
        h[column * n + column] = root;
        for row in 0..column {
            h[row * n + column] /= root;
        }
        for row in 0..column {
            let factor = h[row * n + column];
            for other in row..column {
                h[row * n + other] -= factor * h[other * n + column];
            }
        }
    }
    Ok(())
}

/// The inverse of an upper triangular matrix `[n, n]` with zeros below and none on the diagonal.
fn inverse_of_upper(r: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for row in (0..n).rev() {
        let pivot = 1.0 / r[row * n + row];
        let (upper, lower) = inverse.split_at_mut((row + 1) * n);
        let own = &mut upper[row * n..];
        for other in row + 1..n {
            let factor = r[row * n + other];
            for (number, below) in own[other..].iter_mut().zip(&lower[(other - row - 1) * n + other..]) {
                *number -= factor * below;
            }
        }
        for number in own.iter_mut() {
            *number *= pivot;
        }
        own[row] = pivot;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments of `2 n` random vectors, as f64.
    fn moments(n: usize) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(7);
        let vectors: Vec<f64> = (0..2 * n * n).map(|idx| (random.f64() - 0.4) * if idx % n == 3 { 9.0 } else { 1.0 }).collect();
        let vectors = Matrix::new(&vectors, 2 * n, n);
        let mut moments = vec![0.0; n * n];
        MatrixMut::new(&mut moments, n, n).set_product(1.0, vectors.transposed(), vectors, 0.0);
        moments
    }

    fn product(a: Matrix<f64>, b: Matrix<f64>) -> Vec<f64> {
        let (n_rows, n_columns) = (a.size()[0], b.size()[1]);
        let mut product = vec![0.0; n_rows * n_columns];
        MatrixMut::new(&mut product, n_rows, n_columns).set_product(1.0, a, b, 0.0);
        product
    }

    #[test]
    fn factors_give_the_moments_and_their_inverse() {
        // Less than a block, one block, and blocks that do not fill the last one.
        for n in [1, 5, BLOCK, 2 * BLOCK + 37] {
            let h = moments(n);
            let mut r = h.clone();
            reverse_cholesky(&mut r, n).unwrap();
            let r = Matrix::new(&r, n, n);
            let largest = h.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
            for (found, expected) in product(r, r.transposed()).iter().zip(&h) {
                assert!((found - expected).abs() < 1e-10 * largest, "{n} columns: {found}, not {expected}");
            }
            // U = R⁻¹ with H⁻¹ = Uᵀ U is the same as U H Uᵀ = 1.
            let r: Vec<f64> = product(r, Matrix::new(&identity(n), n, n));
            let u = inverse_of_upper(&r, n);
            let u = Matrix::new(&u, n, n);
            let one = product(Matrix::new(&product(u, Matrix::new(&h, n, n)), n, n), u.transposed());
            for (found, expected) in one.iter().zip(identity(n)) {
                assert!((found - expected).abs() < 1e-8, "{n} columns: {found}, not {expected}");
            }
        }
    }

    fn identity(n: usize) -> Vec<f64> {
        (0..n * n).map(|idx| if idx % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn factors_of_two_columns_are_those_of_the_formula() {
        // Mean diagonal 3: H = [[2, 1], [1, 4]] / 3.
        let factors = Factors::new(&[2.0, 1.0, f32::MAX, 4.0], 2, 0.0).unwrap();
        let expected = [[(2.0 - 1.0 / 4.0) / 3.0, 4.0 / 3.0], [1.0, 0.25]];
        for (found, expected) in [factors.importances(), &factors.weights()[..2]].iter().zip(expected) {
            assert!((found[0] - expected[0]).abs() < 1e-6 && (found[1] - expected[1]).abs() < 1e-6, "{found:?}");
        }
        assert_eq!(factors.weights()[2..], [0.0, 1.0]);
        assert_eq!(factors.moments()[1..3], [1.0 / 3.0; 2], "the lower triangle is not read");
    }

    #[test]
    fn damaged_moments_are_refused() {
        let check = |moments: &[f32], n_columns: usize, damping: f64, expected: FeedbackError| {
            assert_eq!(Factors::new(moments, n_columns, damping).err(), Some(expected));
        };
        check(&[1.0; 5], 2, 0.03, FeedbackError::Size { n_columns: 2, n_moments: 5 });
        check(&[], usize::MAX, 0.03, FeedbackError::Size { n_columns: usize::MAX, n_moments: 0 });
        check(&[], 0, 0.03, FeedbackError::NoMass);
        check(&[1.0, f32::NAN, 0.0, 1.0], 2, 0.03, FeedbackError::NonFinite { column: 1 });
        check(&[f32::INFINITY, 0.0, 0.0, 1.0], 2, 0.03, FeedbackError::NonFinite { column: 0 });
        check(&[0.0; 4], 2, 0.03, FeedbackError::NoMass);
        check(&[-1.0, 0.0, 0.0, -1.0], 2, 0.03, FeedbackError::NoMass);
        check(&[1.0, 0.0, 0.0, 1.0], 2, -0.1, FeedbackError::Damping { damping: -0.1 });
        check(&[1.0, 2.0, 2.0, 1.0], 2, 0.03, FeedbackError::Indefinite { column: 0 });
        check(&[1.0, 0.0, 0.0, -1e-3], 2, 0.0, FeedbackError::Indefinite { column: 1 });
        check(&[1.0, 0.0, 0.0, 0.0], 2, 0.0, FeedbackError::Indefinite { column: 1 });
        assert!(Factors::new(&[1.0, 0.0, 0.0, 0.0], 2, DEFAULT_DAMPING).is_ok(), "a dead column");
    }
}
