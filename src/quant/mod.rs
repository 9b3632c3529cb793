//! Numbers ↔ blocks: pure functions on slices.
//!
//! Decodes every type that llama.cpp decodes to float, encodes those of the levels in [`crate::model::Level`]. A block's bytes
//! depend on its weights alone: not on threads, chunks or the CPU. [`feedback`] encodes against second moments of a matrix's inputs: there
//! a row's bytes depend on its weights, the moments and, in the last bits of products, on the CPU.
//!
//! [`mlx`] does the same for the matrices of MLX, whose bytes are MLX's own, and [`nbits`] for those of ONNX Runtime. [`matmul`] multiplies
//! matrices of floats, [`functions`] is what a network computes between such products.
//!
//! Q8_0 gets the same bytes as from ggml. The scales of all other types are searched, with and without importances of the columns.
#![allow(clippy::doc_markdown, reason = "types are written as llama.cpp prints them, in text too")]
#![allow(clippy::float_cmp, reason = "zeros, ties and unchanged scales are meant exactly")]
#![allow(clippy::needless_range_loop, reason = "kernels walk several arrays with one index, as their formulas do")]

mod blocks;
mod codebook;
mod coding;
mod dequant;
mod dequant_iq;
mod dispatch;
mod float;
mod iq1;
mod iq23;
mod iq4;
mod iq_tables;
mod kquant;
mod lanes;
mod legacy;
mod mxfp4;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;
mod rows;
mod scale_of_scales;
mod search_affine;
mod search_block;
mod search_grid;
mod search_symmetric;
mod ternary;

pub mod feedback;
pub mod functions;
pub mod matmul;
pub mod mlx;
pub mod nbits;

use crate::model::DType;
pub use coding::{Coding, CodingError, MAX_COMPONENTS};
use dispatch::run_fastest;
pub use float::Float;

/// Why rows cannot be decoded or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantError {
    /// There is no decoder or encoder of this type.
    #[error("cannot {action} {dtype}")]
    Unsupported {
        /// `decode` or `encode`.
        action: &'static str,
        /// The type.
        dtype: DType,
    },

    /// A row is not a whole number of blocks, or the weights are not a whole number of rows.
    #[error("{dtype} needs whole blocks of {}, found {n_weights} weights in rows of {row_len}", dtype.block_len())]
    RowLength {
        /// The type.
        dtype: DType,
        /// Weights in all.
        n_weights: usize,
        /// Weights per row.
        row_len: usize,
    },

    /// The byte slice does not fit the weights.
    #[error("{n_weights} weights of {dtype} do not take {n_bytes} bytes")]
    Length {
        /// The type.
        dtype: DType,
        /// Weights in all.
        n_weights: usize,
        /// Length of the byte slice.
        n_bytes: usize,
    },

    /// A weight is NaN or infinite.
    #[error("a weight in row {row} is {value}")]
    NonFinite {
        /// The first such row, from 0.
        row: u64,
        /// `NaN` or `infinite`.
        value: &'static str,
    },

    /// A weight is finite, but larger than the type can hold.
    #[error("a weight in row {row} is too large for {dtype}")]
    OutOfRange {
        /// The first such row, from 0.
        row: u64,
        /// The type.
        dtype: DType,
    },

    /// There is not one importance for each column.
    #[error("rows of {row_len} weights need as many importances, found {n_importances}")]
    Importances {
        /// Weights per row.
        row_len: usize,
        /// Importances that were given.
        n_importances: usize,
    },
}

/// True for types that [`dequantize_rows`] decodes.
#[must_use]
pub fn can_dequantize(dtype: DType) -> bool {
    !matches!(dtype, DType::Q8_1 | DType::Q8_K | DType::I8 | DType::I16 | DType::I32 | DType::I64)
}

/// True for types that [`quantize_rows`] encodes.
#[must_use]
pub fn can_quantize(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    use DType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_NL, IQ4_XS, MXFP4, TQ1_0, TQ2_0};
    matches!(dtype, F32 | F16 | BF16 | Q8_0 | Q6_K | Q5_K | Q5_1 | Q5_0 | Q4_K | Q4_1 | Q4_0 | Q3_K | Q2_K)
        || matches!(dtype, IQ4_NL | IQ4_XS | MXFP4 | TQ1_0 | TQ2_0 | IQ3_S | IQ3_XXS | IQ2_S | IQ2_XS | IQ2_XXS | IQ1_M | IQ1_S)
}

/// True for types whose encoders heed importances of columns.
#[must_use]
pub fn heeds_importances(dtype: DType) -> bool {
    can_quantize(dtype) && !matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0)
}

/// Decodes blocks to f32, with the same values as llama.cpp.
///
/// `src` may start at any address; it must hold exactly the blocks of `dst.len()` weights. Both may be empty.
pub fn dequantize_rows(dtype: DType, src: &[u8], dst: &mut [f32]) -> Result<(), QuantError> {
    check_lengths(dtype, dst.len(), src.len())?;
    if !can_dequantize(dtype) {
        return Err(QuantError::Unsupported { action: "decode", dtype });
    }
    run_fastest(rows::Decode { dtype, src, dst });
    Ok(())
}

/// Encodes whole rows of `row_len` weights.
///
/// `dst` must have exactly the size of the blocks. A block's bytes depend on its weights alone. Rows before the one that an
/// error names are written, the others are not. No weights give no bytes.
pub fn quantize_rows(dtype: DType, src: &[f32], row_len: usize, dst: &mut [u8]) -> Result<(), QuantError> {
    quantize_rows_by(dtype, src, row_len, None, dst)
}

/// Encodes as [`quantize_rows`], with the least error weighted by the columns' importances, one for each weight of a row.
///
/// Importances are finite and not negative; only their ratios within a block matter. A block whose importances are all zero is
/// encoded as if there were none, and so are Q8_0 and the types without scales. A block's bytes depend on its weights and
/// importances alone.
pub fn quantize_rows_by(
    dtype: DType,
    src: &[f32],
    row_len: usize,
    importances: Option<&[f32]>,
    dst: &mut [u8],
) -> Result<(), QuantError> {
    if !can_quantize(dtype) {
        return Err(QuantError::Unsupported { action: "encode", dtype });
    }
    if src.is_empty() && dst.is_empty() {
        return Ok(());
    }
    let whole = row_len > 0 && src.len().is_multiple_of(row_len) && dtype.row_bytes(row_len as u64).is_some();
    if !whole {
        return Err(QuantError::RowLength { dtype, n_weights: src.len(), row_len });
    }
    check_lengths(dtype, src.len(), dst.len())?;
    if let Some(importances) = importances.filter(|importances| importances.len() != row_len) {
        return Err(QuantError::Importances { row_len, n_importances: importances.len() });
    }
    run_fastest(rows::Encode { dtype, src, row_len, importances, dst })
}

/// Checks that the bytes are exactly the blocks of the weights.
fn check_lengths(dtype: DType, n_weights: usize, n_bytes: usize) -> Result<(), QuantError> {
    match dtype.row_bytes(n_weights as u64) {
        Some(expected) if expected == n_bytes as u64 => Ok(()),
        Some(_) => Err(QuantError::Length { dtype, n_weights, n_bytes }),
        None => Err(QuantError::RowLength { dtype, n_weights, row_len: n_weights }),
    }
}

#[cfg(test)]
mod iq_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod weighted_tests;
