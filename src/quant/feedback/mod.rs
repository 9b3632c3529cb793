//! Encoding with error feedback: the error of each column is made up for by the columns after it, as far as their inputs go together.
//!
//! What is lowered is the error of the output, `Σ (ŵ - w) H (ŵ - w)ᵀ` with `H` the second moments of the vectors that the matrix is multiplied
//! with, instead of a sum of errors weighted by column. Blocks have the layouts and decoders of their types.
//!
//! The scales of a block are searched on what its columns should make up for, a sub-block's integers are chosen by rounding it with
//! feedback inside (`rounding.rs`), then the rest of the row is updated by products of matrices (`group.rs`). Sweeps over the finished row
//! change codes and scales one at a time where that lowers the error (`polish.rs`). Types whose codes stand for several weights get feedback
//! from block to block (`blocks.rs`). The codes of ONNX Runtime go the way of a block of ggml's (`nbits.rs`).

mod blocks;
mod codec;
mod descent;
mod factors;
mod group;
mod nbits;
mod polish;
mod refit;
mod rounding;
mod spread;
mod types;

pub use factors::{DEFAULT_DAMPING, Factors, FeedbackError};
pub use nbits::encode_nbits;

use super::matmul::{Matrix, MatrixMut};
use super::rows::check_row;
use super::{QuantError, check_lengths, quantize_rows_by};
use crate::model::DType;

/// Sweeps that give nearly all that sweeps can give; the first gives two thirds.
pub const DEFAULT_SWEEPS: usize = 4;

/// Weights beyond this have squares that are near the end of f32.
const LARGEST_SQUARED: f32 = 1e15;

/// Rows whose output error is computed at a time.
const ERROR_ROWS: usize = 64;

/// True for types that [`encode_rows`] encodes: all with blocks that [`super::quantize_rows`] encodes.
#[must_use]
pub fn can_feed_back(dtype: DType) -> bool {
    super::can_quantize(dtype) && dtype.block_len() > 1
}

/// True for types with a code for each weight, which sweeps can change; the codes of others stand for several weights, and errors are fed back
/// from block to block.
#[must_use]
pub fn has_sweeps(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::Q4_0
            | DType::Q4_1
            | DType::Q5_0
            | DType::Q5_1
            | DType::Q8_0
            | DType::IQ4_NL
            | DType::MXFP4
            | DType::Q2_K
            | DType::Q3_K
            | DType::Q4_K
            | DType::Q5_K
            | DType::Q6_K
            | DType::IQ4_XS
    )
}

/// Encodes whole rows of `factors.n_columns()` weights, with at most `sweeps` sweeps over each.
///
/// `dst` must have exactly the size of the blocks. A row's bytes depend on its weights and the factors alone, and on the instructions of
/// this CPU, which the products of matrices depend on. Nothing is written if there is an error: the same as [`super::quantize_rows`] gives.
/// No weights give no bytes. Fast from about a hundred rows on; takes about 20 bytes for each weight of 128 rows. Types with grids have no
/// sweeps.
///
/// Nanoseconds per weight on one core of a busy Sapphire Rapids at 1,536 columns (2026-11-30), plainly, with feedback, with one sweep and with
/// four: Q4_K 15, 57, 115, 220; Q3_K 13, 54, 112, 229; Q4_0 9, 50, 115, 220; Q4_1 34, 84, 150, 260; IQ3_XXS 110 and about 50 more.
///
/// # Errors
/// See [`QuantError`].
pub fn encode_rows(dtype: DType, weights: &[f32], factors: &Factors, sweeps: usize, dst: &mut [u8]) -> Result<(), QuantError> {
    if !can_feed_back(dtype) {
        return Err(QuantError::Unsupported { action: "encode", dtype });
    }
    if weights.is_empty() && dst.is_empty() {
        return Ok(());
    }
    let row_len = factors.n_columns();
    if !weights.len().is_multiple_of(row_len) || dtype.row_bytes(row_len as u64).is_none() {
        return Err(QuantError::RowLength { dtype, n_weights: weights.len(), row_len });
    }
    check_lengths(dtype, weights.len(), dst.len())?;
    for (row, weights) in weights.chunks_exact(row_len).enumerate() {
        check_row(dtype, row, weights)?;
    }
    let row_bytes = dst.len() / (weights.len() / row_len);
    // Rows that are too large to compute with are rounded plainly; those between them keep together.
    let is_large = |row: &&[f32]| row.iter().any(|weight| weight.abs() > LARGEST_SQUARED);
    let rows: Vec<&[f32]> = weights.chunks_exact(row_len).collect();
    let mut done = 0;
    for same in rows.chunk_by(|a, b| is_large(a) == is_large(b)) {
        let (weights, dst) =
            (&weights[done * row_len..][..same.len() * row_len], &mut dst[done * row_bytes..][..same.len() * row_bytes]);
        done += same.len();
        if same.first().is_some_and(is_large) {
            quantize_rows_by(dtype, weights, row_len, Some(factors.importances()), dst)?;
        } else {
            encode_checked(dtype, weights, factors, sweeps, dst)?;
        }
    }
    Ok(())
}

/// Encodes rows of ordinary magnitudes whose lengths were checked.
fn encode_checked(dtype: DType, weights: &[f32], factors: &Factors, sweeps: usize, dst: &mut [u8]) -> Result<(), QuantError> {
    match dtype {
        DType::Q4_0 => group::encode(&types::Q4_0, weights, factors, sweeps, dst),
        DType::Q4_1 => group::encode(&types::Q4_1, weights, factors, sweeps, dst),
        DType::Q5_0 => group::encode(&types::Q5_0, weights, factors, sweeps, dst),
        DType::Q5_1 => group::encode(&types::Q5_1, weights, factors, sweeps, dst),
        DType::Q8_0 => group::encode(&types::Q8_0, weights, factors, sweeps, dst),
        DType::IQ4_NL => group::encode(&types::IQ4_NL, weights, factors, sweeps, dst),
        DType::MXFP4 => group::encode(&types::MXFP4, weights, factors, sweeps, dst),
        DType::Q2_K => group::encode(&types::Q2_K, weights, factors, sweeps, dst),
        DType::Q3_K => group::encode(&types::Q3_K, weights, factors, sweeps, dst),
        DType::Q4_K => group::encode(&types::Q4_K, weights, factors, sweeps, dst),
        DType::Q5_K => group::encode(&types::Q5_K, weights, factors, sweeps, dst),
        DType::Q6_K => group::encode(&types::Q6_K, weights, factors, sweeps, dst),
        DType::IQ4_XS => group::encode(&types::IQ4_XS, weights, factors, sweeps, dst),
        _ => blocks::encode(dtype, weights, factors, dst)?,
    }
    Ok(())
}

/// `Σ (ŵ - w) M (ŵ - w)ᵀ` over rows of `n_columns` weights `w` and decoded weights `ŵ`: how far outputs are off, squared, times the number of
/// vectors that the moments `M` `[n_columns, n_columns]` were divided by.
///
/// Zero for no weights, NaN where the lengths do not go together.
#[must_use]
pub fn output_error(weights: &[f32], decoded: &[f32], moments: &[f32], n_columns: usize) -> f64 {
    let fits = n_columns.checked_mul(n_columns) == Some(moments.len())
        && weights.len() == decoded.len()
        && (weights.is_empty() || weights.len().checked_rem(n_columns) == Some(0));
    if !fits {
        return f64::NAN;
    }
    let moments = Matrix::new(moments, n_columns, n_columns);
    let mut sum = 0.0;
    let group_len = (ERROR_ROWS * n_columns).max(1);
    for (weights, decoded) in weights.chunks(group_len).zip(decoded.chunks(group_len)) {
        let errors: Vec<f32> = decoded.iter().zip(weights).map(|(decoded, weight)| decoded - weight).collect();
        let n_rows = errors.len() / n_columns;
        let mut outputs = vec![0.0; errors.len()];
        let product = Matrix::new(&errors, n_rows, n_columns);
        MatrixMut::new(&mut outputs, n_rows, n_columns).set_product(1.0, product, moments, 0.0);
        sum += errors.iter().zip(&outputs).map(|(error, output)| f64::from(*error) * f64::from(*output)).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod nbits_tests;
#[cfg(test)]
mod tests;
