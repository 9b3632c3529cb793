//! Products of matrices in single and double precision, on top of the crate `matrixmultiply`.
#![allow(unsafe_code, reason = "the kernels of matrixmultiply take pointers; every length is checked before")]

use std::ops::Range;

use rayon::prelude::*;

/// Rows of a product that one thread computes at a time.
const BAND_ROWS: usize = 128;

/// Columns of a product that one thread computes at a time, where it has few rows.
const BAND_COLUMNS: usize = 2048;

/// A matrix in a slice: element `[row, column]` is at `row * row_stride + column * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    numbers: &'a [T],
    n_rows: usize,
    n_columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix in a slice that can be changed: rows of adjacent numbers, `stride` numbers from one row to the next.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    numbers: &'a mut [T],
    n_rows: usize,
    n_columns: usize,
    stride: usize,
}

/// A number that matrices can be made of.
pub trait Number: Copy + Send + Sync + PartialEq {
    /// `c = factor * a · b + keep * c` with `c` of `m` rows and `n` columns and `k` terms in each sum, all with row and column strides.
    ///
    /// # Safety
    /// Every element of the three matrices must lie in memory that may be read, that of `c` also written and by nobody else meanwhile.
    #[allow(clippy::too_many_arguments, reason = "the signature of the kernels")]
    unsafe fn gemm(
        sizes: [usize; 3],
        factor: Self,
        a: *const Self,
        a_strides: [isize; 2],
        b: *const Self,
        b_strides: [isize; 2],
        keep: Self,
        c: *mut Self,
        c_stride: isize,
    );

    /// The number 0.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;
}

macro_rules! number {
    ($type:ty, $kernel:path) => {
        impl Number for $type {
            unsafe fn gemm(
                [m, k, n]: [usize; 3],
                factor: Self,
                a: *const Self,
                a_strides: [isize; 2],
                b: *const Self,
                b_strides: [isize; 2],
                keep: Self,
                c: *mut Self,
                c_stride: isize,
            ) {
                // SAFETY: passed on to the caller.
                unsafe {
                    $kernel(m, k, n, factor, a, a_strides[0], a_strides[1], b, b_strides[0], b_strides[1], keep, c, c_stride, 1)
                }
            }

            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
        }
    };
}

number!(f32, matrixmultiply::sgemm);
number!(f64, matrixmultiply::dgemm);

impl<'a, T> Matrix<'a, T> {
    /// Rows of `n_columns` adjacent numbers, one after the other.
    ///
    /// # Panics
    /// If the numbers are not `n_rows` such rows.
    #[must_use]
    pub fn new(numbers: &'a [T], n_rows: usize, n_columns: usize) -> Self {
        assert_eq!(Some(numbers.len()), n_rows.checked_mul(n_columns), "a matrix fills its slice");
        Self { numbers, n_rows, n_columns, row_stride: n_columns, column_stride: 1 }
    }

    /// Rows become columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        let Self { numbers, n_rows, n_columns, row_stride, column_stride } = self;
        Self { numbers, n_rows: n_columns, n_columns: n_rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If the ranges reach beyond it.
    #[must_use]
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.n_rows && columns.end <= self.n_columns, "a part lies in its matrix");
        let (n_rows, n_columns) = (rows.len(), columns.len());
        let is_empty = n_rows == 0 || n_columns == 0;
        let start = if is_empty { 0 } else { rows.start * self.row_stride + columns.start * self.column_stride };
        Self { numbers: self.numbers.get(start..).unwrap_or_default(), n_rows, n_columns, ..self }
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.n_rows, self.n_columns]
    }
}

impl<'a, T> MatrixMut<'a, T> {
    /// Rows of `n_columns` adjacent numbers, one after the other.
    ///
    /// # Panics
    /// If the numbers are not `n_rows` such rows.
    #[must_use]
    pub fn new(numbers: &'a mut [T], n_rows: usize, n_columns: usize) -> Self {
        assert_eq!(Some(numbers.len()), n_rows.checked_mul(n_columns), "a matrix fills its slice");
        Self { numbers, n_rows, n_columns, stride: n_columns }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If the ranges reach beyond it.
    #[must_use]
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.n_rows && columns.end <= self.n_columns, "a part lies in its matrix");
        let (n_rows, n_columns) = (rows.len(), columns.len());
        let is_empty = n_rows == 0 || n_columns == 0;
        let start = if is_empty { 0 } else { rows.start * self.stride + columns.start };
        Self { numbers: self.numbers.get_mut(start..).unwrap_or_default(), n_rows, n_columns, stride: self.stride }
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.n_rows, self.n_columns]
    }
}

impl<T: Number> MatrixMut<'_, T> {
    /// Becomes `factor * a · b + keep * self`; with `keep` 0 what was there before does not matter, even NaN.
    ///
    /// The terms of each sum are added in the same order whatever the matrices' sizes and the number of threads.
    ///
    /// # Panics
    /// If the sizes do not go together.
    pub fn set_product(&mut self, factor: T, a: Matrix<T>, b: Matrix<T>, keep: T) {
        assert_eq!((a.n_columns, [a.n_rows, b.n_columns]), (b.n_rows, self.size()), "sizes of a product");
        if self.n_rows == 0 || self.n_columns == 0 {
            return;
        }
        if a.n_columns == 0 {
            let rows = self.numbers.chunks_mut(self.stride).take(self.n_rows);
            rows.flat_map(|row| row.iter_mut().take(self.n_columns)).for_each(|number| {
                if keep != T::ONE {
                    assert!(keep == T::ZERO, "an empty product keeps all or nothing");
                    *number = T::ZERO;
                }
            });
            return;
        }
        // SAFETY: a view reaches from its slice's start to its last element, `new` and `part` have checked that this is inside, and `self`
        // is borrowed mutably.
        unsafe { set_product_at(self.numbers.as_mut_ptr(), self.stride, factor, a, b, keep) }
    }

    /// [`MatrixMut::set_product`] on all threads of the pool, with the same result.
    ///
    /// # Panics
    /// If the sizes do not go together.
    pub fn set_product_in_parallel(&mut self, factor: T, a: Matrix<T>, b: Matrix<T>, keep: T) {
        assert_eq!(a.n_rows, self.n_rows, "sizes of a product");
        let n_columns = self.n_columns;
        let bands = self.numbers.par_chunks_mut((BAND_ROWS * self.stride).max(1)).enumerate();
        bands.take(self.n_rows.div_ceil(BAND_ROWS)).for_each(|(idx, numbers)| {
            let rows = idx * BAND_ROWS..a.n_rows.min((idx + 1) * BAND_ROWS);
            let mut band = MatrixMut { numbers, n_rows: rows.len(), n_columns, stride: self.stride };
            band.set_product(factor, a.part(rows, 0..a.n_columns), b, keep);
        });
    }

    /// [`MatrixMut::set_product`] on all threads of the pool, with the same result: for few rows and many columns. Each thread prepares its
    /// part of `b` once for all rows.
    ///
    /// # Panics
    /// If the sizes do not go together.
    pub fn set_product_by_columns(&mut self, factor: T, a: Matrix<T>, b: Matrix<T>, keep: T) {
        assert_eq!((a.n_columns, [a.n_rows, b.n_columns]), (b.n_rows, self.size()), "sizes of a product");
        if self.n_rows == 0 || a.n_columns == 0 {
            return self.set_product(factor, a, b, keep);
        }
        let (target, stride) = (Target(self.numbers.as_mut_ptr()), self.stride);
        (0..self.n_columns.div_ceil(BAND_COLUMNS)).into_par_iter().for_each(|idx| {
            let columns = idx * BAND_COLUMNS..b.n_columns.min((idx + 1) * BAND_COLUMNS);
            // SAFETY: as in `set_product`; each thread writes to columns of its own, which no view overlaps.
            unsafe { set_product_at(target.column(columns.start), stride, factor, a, b.part(0..b.n_rows, columns), keep) }
        });
    }
}

/// Where a matrix begins whose columns several threads set.
#[derive(Clone, Copy)]
struct Target<T>(*mut T);

// SAFETY: the pointer is only used for columns that no other thread touches, and `Number`s can be sent.
unsafe impl<T: Number> Send for Target<T> {}
// SAFETY: likewise.
unsafe impl<T: Number> Sync for Target<T> {}

impl<T: Number> Target<T> {
    /// The first element of a column.
    ///
    /// # Safety
    /// The column must lie in the matrix.
    unsafe fn column(self, column: usize) -> *mut T {
        // SAFETY: passed on to the caller.
        unsafe { self.0.add(column) }
    }
}

/// `c = factor * a · b + keep * c` where `a` has columns, and `c` as many rows as `a`, `stride` apart, and as many columns as `b`.
///
/// # Safety
/// Every element of `c` must lie in memory that nobody else uses meanwhile.
unsafe fn set_product_at<T: Number>(c: *mut T, stride: usize, factor: T, a: Matrix<T>, b: Matrix<T>, keep: T) {
    let strides = |of: &Matrix<T>| [of.row_stride.cast_signed(), of.column_stride.cast_signed()];
    let sizes = [a.n_rows, a.n_columns, b.n_columns];
    let (a_start, b_start) = (a.numbers.as_ptr(), b.numbers.as_ptr());
    // SAFETY: views reach from their slice's start to their last element, which `new` and `part` have checked; `c` is the caller's.
    unsafe { T::gemm(sizes, factor, a_start, strides(&a), b_start, strides(&b), keep, c, stride.cast_signed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn numbers(n: usize, step: usize) -> Vec<f64> {
        (0..n).map(|idx| ((idx * step) % 17) as f64 - 8.0).collect()
    }

    fn plain(a: Matrix<f64>, b: Matrix<f64>) -> Vec<f64> {
        let at = |of: &Matrix<f64>, row: usize, column: usize| of.numbers[row * of.row_stride + column * of.column_stride];
        let element = |row: usize, column: usize| (0..a.n_columns).map(|k| at(&a, row, k) * at(&b, k, column)).sum();
        (0..a.n_rows)
            .flat_map(|row| (0..b.n_columns).map(move |column| (row, column)))
            .map(|(row, column)| element(row, column))
            .collect()
    }

    #[test]
    fn products_of_matrices_and_of_their_parts_are_exact_for_small_numbers() {
        let (a, b) = (numbers(300 * 40, 5), numbers(40 * 70, 3));
        let (a, b) = (Matrix::new(&a, 300, 40), Matrix::new(&b, 40, 70));
        for (a, b) in [(a, b), (b.transposed(), a.transposed()), (a.part(7..9, 3..20), b.part(3..20, 1..2)), (a, a.transposed())]
        {
            let [n_rows, n_columns] = [a.n_rows, b.n_columns];
            let mut found = vec![f64::NAN; n_rows * n_columns];
            MatrixMut::new(&mut found, n_rows, n_columns).set_product(1.0, a, b, 0.0);
            assert_eq!(found, plain(a, b));
            MatrixMut::new(&mut found, n_rows, n_columns).set_product_in_parallel(-2.0, a, b, 3.0);
            assert_eq!(found, plain(a, b), "-2 ab + 3 ab");
            MatrixMut::new(&mut found, n_rows, n_columns).set_product_by_columns(-2.0, a, b, 3.0);
            assert_eq!(found, plain(a, b), "-2 ab + 3 ab");
        }
    }

    #[test]
    fn bands_of_columns_are_those_of_the_whole() {
        let (a, b) = (numbers(3 * 5, 7), numbers(5 * 5000, 11));
        let (a, b) = (Matrix::new(&a, 3, 5), Matrix::new(&b, 5000, 5).transposed());
        let (mut whole, mut banded) = (vec![f64::NAN; 3 * 5000], vec![f64::NAN; 3 * 5000]);
        MatrixMut::new(&mut whole, 3, 5000).set_product(1.0, a, b, 0.0);
        MatrixMut::new(&mut banded, 3, 5000).set_product_by_columns(1.0, a, b, 0.0);
        assert_eq!(whole, banded);
        banded.fill(7.0);
        MatrixMut::new(&mut banded, 3, 5000).part(1..2, 10..4990).set_product_by_columns(
            1.0,
            a.part(1..2, 0..5),
            b.part(0..5, 10..4990),
            0.0,
        );
        assert_eq!(banded[5010..9990], whole[5010..9990]);
        assert!(banded[..5010].iter().chain(&banded[9990..]).all(|number| *number == 7.0));
    }

    #[test]
    fn only_the_part_changes_and_empty_products_are_zero() {
        let mut found = vec![1.0; 4 * 5];
        let ones = [1.0; 4];
        let (column, row) = (Matrix::new(&ones[..2], 2, 1), Matrix::new(&ones[..3], 1, 3));
        MatrixMut::new(&mut found, 4, 5).part(1..3, 2..5).set_product_in_parallel(1.0, column, row, 1.0);
        assert_eq!(found[7..10], [2.0; 3]);
        assert!((found.iter().sum::<f64>() - 26.0).abs() < 1e-9);
        let none: [f64; 0] = [];
        MatrixMut::new(&mut found, 4, 5).part(0..4, 0..1).set_product(
            1.0,
            Matrix::new(&none, 4, 0),
            Matrix::new(&none, 0, 1),
            0.0,
        );
        assert!((found.iter().sum::<f64>() - 22.0).abs() < 1e-9);
        let five = Matrix::new(&found, 4, 5).part(0..1, 0..5);
        MatrixMut::new(&mut [], 0, 5).set_product(1.0, Matrix::new(&none, 0, 1), five, 0.0);
    }

    #[test]
    #[should_panic(expected = "a part lies in its matrix")]
    fn parts_beyond_a_matrix_are_refused() {
        let _ = Matrix::new(&[1.0; 6], 2, 3).part(0..3, 0..1);
    }
}
