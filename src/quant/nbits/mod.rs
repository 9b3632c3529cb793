//! Whole numbers of 4 or 8 bits under a scale for each block, as ONNX Runtime's `MatMulNBits` and `GatherBlockQuantized` have them.
//!
//! ```text
//! w[i] = scale * (q[i] - 2^(bits - 1))     q[i] in 0..2^bits
//! ```
//!
//! A quantized matrix is two tensors, here called components, both row by row: `codes`, a blob for each block, of 4 bits two to a byte,
//! the first in the lower half; and `scales`, an F32 for each block. A row whose length is no whole number of blocks ends in one
//! that is filled up with zeros.
//!
//! Source: `MatMulNBits` in docs/ContribOperators.md, ONNX Runtime 1.32.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

mod rows;

use std::fmt;

use super::dispatch::run_fastest;
use rows::EncodeRows;

/// Bytes of a scale.
const SCALE_BYTES: u64 = 4;

/// Bits of a code, weights under a scale, and how scales are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NBits {
    bits: u8,
    block_len: u16,
    scales: Scales,
}

/// How the scale of a block is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scales {
    /// The weight of the largest magnitude becomes the lowest code: the bytes of ONNX Runtime's own tool.
    ///
    /// Source: `MlasQuantizeBlockwise` by way of `quantize_matmul_4bits` and `_8bits`, onnxruntime 1.32.0.
    Extreme,
    /// The one of least squared error among many, weighted by the importances of columns.
    Searched,
}

impl NBits {
    /// 4 or 8 bits in blocks of 16, 32, 64 or 128 weights, with searched scales; `None` for others.
    #[must_use]
    pub const fn new(bits: u8, block_len: u16) -> Option<Self> {
        let is_known = matches!(bits, 4 | 8) && matches!(block_len, 16 | 32 | 64 | 128);
        if is_known { Some(Self { bits, block_len, scales: Scales::Searched }) } else { None }
    }

    /// All of them, with searched scales.
    pub fn all() -> impl Iterator<Item = Self> {
        [4, 8].into_iter().flat_map(|bits| [16, 32, 64, 128].into_iter().filter_map(move |len| Self::new(bits, len)))
    }

    /// The same with scales that are found in this way.
    #[must_use]
    pub const fn with_scales(self, scales: Scales) -> Self {
        Self { scales, ..self }
    }

    /// Bits of a code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Weights under a scale.
    #[must_use]
    pub const fn block_len(self) -> u16 {
        self.block_len
    }

    /// Bytes of the codes of a block.
    #[must_use]
    pub fn blob_bytes(self) -> usize {
        usize::from(self.block_len) * usize::from(self.bits) / 8
    }

    /// Sizes in bytes of the codes and scales of `n_weights` weights in rows of `row_len`; `None` if they are not whole rows.
    #[must_use]
    pub fn sizes(self, n_weights: u64, row_len: u64) -> Option<[u64; 2]> {
        if !n_weights.is_multiple_of(row_len) {
            return None;
        }
        let n_blocks = n_weights.checked_div(row_len)?.checked_mul(row_len.div_ceil(self.block_len.into()))?;
        Some([n_blocks.checked_mul(self.blob_bytes() as u64)?, n_blocks.checked_mul(SCALE_BYTES)?])
    }

    /// Encodes whole rows of `row_len` weights; `importances` has one number for each column.
    ///
    /// `codes` and `scales` must have exactly the sizes of [`Self::sizes`]. A block depends on its weights and importances alone. Nothing
    /// is written if there is an error.
    ///
    /// # Errors
    /// See [`NBitsError`].
    pub fn quantize_rows(
        self,
        weights: &[f32],
        row_len: usize,
        importances: Option<&[f32]>,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<(), NBitsError> {
        let n_weights = weights.len();
        if n_weights == 0 && codes.is_empty() && scales.is_empty() {
            return Ok(());
        }
        let sizes = self.sizes(n_weights as u64, row_len as u64);
        let is_fit = sizes == Some([codes.len() as u64, scales.len() as u64])
            && importances.is_none_or(|importances| importances.len() == row_len);
        if !is_fit {
            return Err(NBitsError::Length { n_bits: self, n_weights, row_len });
        }
        for (row, weights) in weights.chunks_exact(row_len).enumerate() {
            check_row(self, row, weights)?;
        }
        match self.block_len {
            16 => run_fastest(EncodeRows::<16> { n_bits: self, weights, row_len, importances, codes, scales }),
            32 => run_fastest(EncodeRows::<32> { n_bits: self, weights, row_len, importances, codes, scales }),
            64 => run_fastest(EncodeRows::<64> { n_bits: self, weights, row_len, importances, codes, scales }),
            _ => run_fastest(EncodeRows::<128> { n_bits: self, weights, row_len, importances, codes, scales }),
        }
        Ok(())
    }

    /// Decodes whole rows of `row_len` weights; false, with nothing written, where the lengths do not go together.
    #[must_use]
    pub fn dequantize_rows(self, codes: &[u8], scales: &[u8], row_len: usize, weights: &mut [f32]) -> bool {
        if self.sizes(weights.len() as u64, row_len as u64) != Some([codes.len() as u64, scales.len() as u64]) {
            return false;
        }
        let mut blocks = codes.chunks_exact(self.blob_bytes()).zip(scales.as_chunks::<4>().0);
        let middle = f32::from(1_u8 << (self.bits - 1));
        for row in weights.chunks_exact_mut(row_len) {
            for (block, (codes, scale)) in row.chunks_mut(self.block_len.into()).zip(&mut blocks) {
                let scale = f32::from_le_bytes(*scale);
                for (idx, weight) in block.iter_mut().enumerate() {
                    let code = if self.bits == 8 { codes[idx] } else { codes[idx / 2] >> (idx % 2 * 4) & 15 };
                    *weight = scale * (f32::from(code) - middle);
                }
            }
        }
        true
    }
}

impl fmt::Display for NBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "INT{}-g{}", self.bits, self.block_len)
    }
}

/// Why rows cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NBitsError {
    /// Weights, row length, importances and components do not go together.
    #[error("{n_weights} weights in rows of {row_len} do not fit their places in {n_bits}")]
    Length {
        /// The kind of blocks.
        n_bits: NBits,
        /// Weights in all.
        n_weights: usize,
        /// Weights per row.
        row_len: usize,
    },

    /// A weight is NaN or infinite.
    #[error("row {row} has a weight that is {value}")]
    NonFinite {
        /// The row, counted from 0.
        row: u64,
        /// `NaN` or `infinite`.
        value: &'static str,
    },
}

fn check_row(_: NBits, row: usize, weights: &[f32]) -> Result<(), NBitsError> {
    // Without an early exit this becomes vector code.
    let largest = weights.iter().fold(0, |largest: u32, weight| largest.max(weight.to_bits() & 0x7fff_ffff));
    match largest {
        0..0x7f80_0000 => Ok(()),
        0x7f80_0000 => Err(NBitsError::NonFinite { row: row as u64, value: "infinite" }),
        _ => Err(NBitsError::NonFinite { row: row as u64, value: "NaN" }),
    }
}

/// Codes of 4 bits, two to a byte, the first in the lower half.
#[inline(always)]
pub(super) fn pack_pairs(q: &[u8], packed: &mut [u8]) {
    for (byte, pair) in packed.iter_mut().zip(q.as_chunks::<2>().0) {
        *byte = (pair[0] & 15) | pair[1] << 4;
    }
}

#[cfg(test)]
mod tests;
