//! The arithmetic of second moments: `Σ x xᵀ` over the inputs `x` of a tensor, in single precision.

use rayon::prelude::*;

use crate::quant::matmul::{Matrix, MatrixMut};

/// Rows of a matrix that are kept and computed together. The lower triangle alone takes half the memory and half the time.
const BAND: usize = 128;

/// The most columns that are summed: factoring the moments of more takes more memory than laptops have, 16 bytes for each pair.
pub const MAX_COLUMNS: usize = 16_384;

/// A sum of products `x xᵀ` of vectors of `n_columns` numbers: the lower triangle, in bands of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentSum {
    n_columns: usize,
    /// Band `b` has the rows from `b * BAND` on, each up to the band's last column.
    bands: Vec<Vec<f32>>,
    /// Sum of the vectors' weights.
    weight: f64,
}

impl MomentSum {
    /// A sum of nothing.
    #[must_use]
    pub fn new(n_columns: usize) -> Self {
        let band = |start: usize| {
            let end = (start + BAND).min(n_columns);
            vec![0.0; (end - start) * end]
        };
        Self { n_columns, bands: (0..n_columns).step_by(BAND).map(band).collect(), weight: 0.0 }
    }

    /// Bytes that a sum takes.
    #[must_use]
    pub fn size_bytes(n_columns: usize) -> u64 {
        let n = n_columns as u64;
        2 * n * (n + BAND as u64)
    }

    /// Adds the products of these vectors, one after the other in `rows`.
    ///
    /// The result does not depend on the number of threads.
    ///
    /// # Panics
    /// If `rows` is not a whole number of vectors.
    #[allow(clippy::cast_precision_loss, reason = "a number of tokens")]
    pub fn add(&mut self, rows: &[f32]) {
        let n_rows = rows.len() / self.n_columns.max(1);
        self.add_weighing(rows, n_rows as f64);
    }

    /// Adds the products of these vectors, each times its weight, which is not negative.
    ///
    /// # Panics
    /// If there is not one weight for each vector.
    #[allow(clippy::cast_possible_truncation, reason = "as precise as the vectors")]
    pub fn add_weighted(&mut self, rows: &[f32], weights: &[f64]) {
        assert_eq!(rows.len(), weights.len() * self.n_columns, "a weight for each vector");
        let scaled = |(row, weight): (&[f32], &f64)| {
            let factor = weight.sqrt() as f32;
            row.iter().map(|x| x * factor).collect::<Vec<_>>()
        };
        let rows: Vec<f32> = rows.chunks_exact(self.n_columns.max(1)).zip(weights).flat_map(scaled).collect();
        self.add_weighing(&rows, weights.iter().sum());
    }

    fn add_weighing(&mut self, rows: &[f32], weight: f64) {
        let n = self.n_columns;
        let x = Matrix::new(rows, rows.len() / n.max(1), n);
        let [n_rows, _] = x.size();
        // The longest bands first: they end together.
        self.bands.par_iter_mut().enumerate().rev().for_each(|(band_idx, band)| {
            let start = band_idx * BAND;
            let end = (start + BAND).min(n);
            let of_band = x.part(0..n_rows, start..end).transposed();
            MatrixMut::new(band, end - start, end).set_product(1.0, of_band, x.part(0..n_rows, 0..end), 1.0);
        });
        self.weight += weight;
    }

    /// The element `[row, column]` with `column <= row`.
    fn at(&self, row: usize, column: usize) -> f32 {
        let start = row / BAND * BAND;
        let end = (start + BAND).min(self.n_columns);
        self.bands[row / BAND][(row - start) * end + column]
    }

    /// True where a product is NaN or infinite.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        (0..self.n_columns).any(|column| !self.at(column, column).is_finite())
    }

    /// The mean square of each column; zeros for a sum of nothing.
    #[must_use]
    pub fn diagonal(&self) -> Vec<f32> {
        let factor = self.factor();
        (0..self.n_columns).map(|column| self.at(column, column) * factor).collect()
    }

    /// Appends the means of the products as little-endian F32: the lower triangle, row by row; zeros for a sum of nothing.
    pub fn write_triangle(&self, bytes: &mut Vec<u8>) {
        let factor = self.factor();
        for row in 0..self.n_columns {
            let means = (0..=row).map(|column| self.at(row, column) * factor);
            bytes.extend(means.flat_map(f32::to_le_bytes));
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "as precise as the sums")]
    fn factor(&self) -> f32 {
        if self.weight > 0.0 { (1.0 / self.weight) as f32 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn rows(n_rows: usize, n_columns: usize) -> Vec<f32> {
        (0..n_rows * n_columns).map(|idx| ((idx * 7919) % 23) as f32 - 11.0).collect()
    }

    /// The means of products, computed as the definition says.
    fn plain(rows: &[f32], n_columns: usize, weights: &[f64]) -> Vec<f64> {
        let sum: f64 = weights.iter().sum();
        let mean = |i: usize, j: usize| {
            let products =
                rows.chunks(n_columns).zip(weights).map(|(row, weight)| weight * f64::from(row[i]) * f64::from(row[j]));
            products.sum::<f64>() / sum
        };
        (0..n_columns).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| mean(i, j)).collect()
    }

    #[track_caller]
    fn check(sum: &MomentSum, expected: &[f64]) {
        let mut bytes = Vec::new();
        sum.write_triangle(&mut bytes);
        let found: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-3, "{found} instead of {expected}");
        }
    }

    #[test]
    fn products_are_summed_over_calls_and_bands() {
        for n_columns in [1, 5, BAND, BAND + 3, 2 * BAND + 1] {
            let all = rows(20, n_columns);
            let mut sum = MomentSum::new(n_columns);
            sum.add(&all[..7 * n_columns]);
            sum.add(&all[7 * n_columns..]);
            let expected = plain(&all, n_columns, &[1.0; 20]);
            check(&sum, &expected);
            let last = *expected.last().unwrap();
            assert!((f64::from(*sum.diagonal().last().unwrap()) - last).abs() < 1e-3);
        }
    }

    #[test]
    fn vectors_count_by_their_weights() {
        let all = rows(4, 3);
        let weights = [0.0, 2.0, 0.5, 1.0];
        let mut sum = MomentSum::new(3);
        sum.add_weighted(&all, &weights);
        check(&sum, &plain(&all, 3, &weights));
    }

    #[test]
    fn nothing_gives_zeros_and_damage_is_seen() {
        let mut sum = MomentSum::new(2);
        check(&sum, &[0.0; 3]);
        assert!(!sum.is_damaged());
        sum.add(&[1.0, f32::NAN]);
        assert!(sum.is_damaged());
    }
}
