//! Block-wise integers of ONNX Runtime (`MatMulNBits`, `GatherBlockQuantized`): rows of blocks, each with a scale and perhaps a
//! zero point.
//!
//! `w[i] = scale * (q[i] - zero_point)`; codes without zero points have the middle one, 8 or 128. A quantized matrix is up to
//! three tensors, here called components, all in rows of `n_blocks = ceil(row_len / block_len)` blocks:
//!
//! - codes: `block_len * bits / 8` bytes a block, of two codes in a byte the first one in the low half. A last block that the
//!   row does not fill is filled up with zeros. As a tensor U8 `[n_rows, n_blocks, block_bytes]`.
//! - scales: one per block. `[n_rows, n_blocks]`
//! - zero points: one per block, packed as codes are; each row starts with a whole byte, and a half that is left over holds 8.
//!   As a tensor U8 `[n_rows, ceil(n_blocks * bits / 8)]`.
//!
//! Source: docs/ContribOperators.md of ONNX Runtime 1.32.0, and what its operators computed from such components
//! (`tests/golden/onnx/make_nbits_golden.py`).
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

mod plain;
mod rows;
mod search;

use std::fmt;

use super::dispatch::run_fastest;
use super::float::Float;
pub(super) use rows::RowWriter;
pub(super) use search::FitScale;

/// Bits, block length and kind of the codes: only those that ONNX Runtime has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NBits {
    bits: u8,
    block_len: u8,
    has_zero_points: bool,
}

/// How scales and zero points are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// By the extremes of a block, with the bytes of ONNX Runtime's own tool.
    ///
    /// These are the bytes of `MatMulNBitsQuantizer` (onnxruntime 1.32.0, `quantize_matmul_4bits` and `quantize_matmul_8bits`
    /// on x86-64), for weights that are numbers of the scales' type. Behind rows of an odd length the tool leaves a code
    /// without a meaning, here it is 0. Importances are ignored. Weights below 1e-36 may become others of that size.
    Plain,
    /// By a search for the least squared error, weighted by importances if there are some. No block is worse than by
    /// [`Method::Plain`], and blocks of weights too large or too small to be squared are the same.
    Searched,
}

impl NBits {
    /// Codes around zero, 4 or 8 bits in blocks of 16, 32, 64 or 128 weights; `None` for others.
    #[must_use]
    pub const fn symmetric(bits: u8, block_len: u8) -> Option<Self> {
        Self::known(bits, block_len, false)
    }

    /// Codes with zero points, 4 or 8 bits in blocks of 16, 32, 64 or 128 weights; `None` for others.
    #[must_use]
    pub const fn with_zero_points(bits: u8, block_len: u8) -> Option<Self> {
        Self::known(bits, block_len, true)
    }

    const fn known(bits: u8, block_len: u8, has_zero_points: bool) -> Option<Self> {
        let is_known = matches!(bits, 4 | 8) && matches!(block_len, 16 | 32 | 64 | 128);
        if is_known { Some(Self { bits, block_len, has_zero_points }) } else { None }
    }

    /// All of them, by bits, then by block length, those without zero points first.
    pub fn all() -> impl Iterator<Item = Self> {
        let lengths = [4, 8].into_iter().flat_map(|bits| [16, 32, 64, 128].into_iter().map(move |block_len| (bits, block_len)));
        lengths
            .flat_map(|(bits, block_len)| [Self::symmetric(bits, block_len), Self::with_zero_points(bits, block_len)])
            .flatten()
    }

    /// Bits of a code: 4 or 8.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bits as u64
    }

    /// Weights that share a scale: 16, 32, 64 or 128.
    #[must_use]
    pub const fn block_len(self) -> u64 {
        self.block_len as u64
    }

    /// True if each block has a zero point of its own.
    #[must_use]
    pub const fn has_zero_points(self) -> bool {
        self.has_zero_points
    }

    /// Blocks of a row, the last of which may be filled up.
    #[must_use]
    pub const fn n_blocks(self, row_len: u64) -> u64 {
        row_len.div_ceil(self.block_len as u64)
    }

    /// Bytes of the codes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> u64 {
        self.block_len() * self.bits() / 8
    }

    /// Bytes of the zero points of so many blocks of a row; 0 without zero points.
    #[must_use]
    pub const fn zero_point_bytes(self, n_blocks: u64) -> u64 {
        if !self.has_zero_points {
            0
        } else if self.bits == 4 {
            n_blocks.div_ceil(2)
        } else {
            n_blocks
        }
    }

    /// Sizes of the components of the first `n_weights` weights of a matrix with rows of `row_len`, with scales of type
    /// `float`.
    ///
    /// That may be whole rows, or end behind a block in the middle of a row, if the zero points end with a byte there: `None`
    /// elsewhere, and where the sizes are beyond 64 bits.
    #[must_use]
    pub fn sizes(self, float: Float, row_len: u64, n_weights: u64) -> Option<Sizes> {
        let n_rows = n_weights.checked_div(row_len).unwrap_or(0);
        let rest = n_weights.checked_sub(n_rows * row_len)?;
        let blocks_of_rest = rest / self.block_len();
        let ends_with_byte = self.bits == 8 || !self.has_zero_points || blocks_of_rest.is_multiple_of(2);
        if !rest.is_multiple_of(self.block_len()) || !ends_with_byte || (row_len == 0 && n_weights > 0) {
            return None;
        }
        let n_blocks = n_rows.checked_mul(self.n_blocks(row_len))?.checked_add(blocks_of_rest)?;
        let of_rows = n_rows.checked_mul(self.zero_point_bytes(self.n_blocks(row_len)))?;
        Some(Sizes {
            codes: n_blocks.checked_mul(self.block_bytes())?,
            scales: n_blocks.checked_mul(float.width())?,
            zero_points: of_rows.checked_add(self.zero_point_bytes(blocks_of_rest))?,
        })
    }

    /// Bits per weight in rows of an even number of whole blocks, with scales of type `float` and zero points.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    pub fn bits_per_weight(self, float: Float) -> f64 {
        let n_weights = 2 * self.block_len();
        let bytes = self.sizes(float, n_weights, n_weights).map_or(0, Sizes::total);
        (8 * bytes) as f64 / n_weights as f64
    }

    /// The largest code.
    #[inline(always)]
    pub(super) const fn q_max(self) -> f32 {
        if self.bits == 4 { 15.0 } else { 255.0 }
    }

    /// The zero point of codes without zero points.
    #[inline(always)]
    pub(super) const fn middle(self) -> f32 {
        if self.bits == 4 { 8.0 } else { 128.0 }
    }
}

/// `INT4-g32`, and `UINT4-g32` with zero points.
impl fmt::Display for NBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.has_zero_points { "U" } else { "" };
        write!(f, "{sign}INT{}-g{}", self.bits, self.block_len)
    }
}

/// Bytes of each component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Codes.
    pub codes: u64,
    /// Scales.
    pub scales: u64,
    /// Zero points; 0 for codes without them.
    pub zero_points: u64,
}

impl Sizes {
    /// All three together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.codes.saturating_add(self.scales).saturating_add(self.zero_points)
    }

    /// Size and name of each component.
    const fn named(self) -> [(u64, &'static str); 3] {
        [(self.codes, "codes"), (self.scales, "scales"), (self.zero_points, "zero points")]
    }
}

/// Components to read; each may start at any address.
#[derive(Debug, Clone, Copy)]
pub struct Components<'a> {
    /// Codes.
    pub codes: &'a [u8],
    /// Scales.
    pub scales: &'a [u8],
    /// Zero points; empty for codes without them.
    pub zero_points: &'a [u8],
}

/// Components to write; each may start at any address.
#[derive(Debug)]
pub struct ComponentsMut<'a> {
    /// Codes.
    pub codes: &'a mut [u8],
    /// Scales.
    pub scales: &'a mut [u8],
    /// Zero points; empty for codes without them.
    pub zero_points: &'a mut [u8],
}

/// Why rows cannot be decoded or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NBitsError {
    /// The weights are not a whole number of rows.
    #[error("{n_weights} weights are not whole rows of {row_len}")]
    RowLength {
        /// Weights in all.
        n_weights: usize,
        /// Weights per row.
        row_len: usize,
    },

    /// Errors are fed back in whole blocks only.
    #[error("feedback in {nbits} needs rows of whole blocks, found rows of {row_len} weights")]
    PartOfBlock {
        /// Bits, block length and kind of the codes.
        nbits: NBits,
        /// Weights per row.
        row_len: usize,
    },

    /// A component does not fit the weights.
    #[error("{component} of {n_weights} weights in {nbits} take {expected_bytes} bytes, found {n_bytes}")]
    Length {
        /// Bits, block length and kind of the codes.
        nbits: NBits,
        /// `codes`, `scales` or `zero points`.
        component: &'static str,
        /// Weights in all.
        n_weights: usize,
        /// Bytes that the component takes.
        expected_bytes: u64,
        /// Bytes that it was given.
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

    /// A block's weights are finite, but its scale is beyond the largest number of the scales' type.
    #[error("a weight in row {row} is too large for {nbits}")]
    OutOfRange {
        /// The first such row, from 0.
        row: u64,
        /// Bits, block length and kind of the codes.
        nbits: NBits,
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

impl NBitsError {
    /// The error of a call that got the rows from `first` on.
    pub(super) const fn in_rows_from(self, first: u64) -> Self {
        match self {
            Self::NonFinite { row, value } => Self::NonFinite { row: first + row, value },
            Self::OutOfRange { row, nbits } => Self::OutOfRange { row: first + row, nbits },
            other => other,
        }
    }
}

/// Encodes whole rows of `row_len` weights, with scales of type `float`.
///
/// `importances` has one number per column, finite and not negative; only their ratios within a block matter, and a block whose
/// importances are all zero is encoded as if there were none. `out` must have exactly the [`NBits::sizes`] of the weights. A
/// block's bytes depend on its weights and importances alone: not on threads, chunks or the CPU. Rows before the one that an
/// error names are written. No weights give no bytes.
///
/// Nanoseconds of processor time per weight on one core of a busy Sapphire Rapids (2026-12-01), plainly 1.2 to 1.9, searched
/// without and with importances: INT4-g32 10 and 11, INT4-g128 7 and 8, UINT4-g32 14 and 16, UINT4-g64 11, INT8-g32 8 and 10,
/// UINT8-g32 11.
///
/// # Errors
/// See [`NBitsError`].
pub fn quantize_rows(
    nbits: NBits,
    method: Method,
    float: Float,
    src: &[f32],
    row_len: usize,
    importances: Option<&[f32]>,
    out: ComponentsMut<'_>,
) -> Result<(), NBitsError> {
    check_lengths(nbits, float, src.len(), row_len, [out.codes.len(), out.scales.len(), out.zero_points.len()])?;
    if let Some(importances) = importances.filter(|importances| importances.len() != row_len && !src.is_empty()) {
        return Err(NBitsError::Importances { row_len, n_importances: importances.len() });
    }
    if src.is_empty() {
        return Ok(());
    }
    run_fastest(rows::Encode { nbits, method, float, src, row_len, importances, out })
}

/// Decodes whole rows of `row_len` weights with scales of type `float` to f32.
///
/// These are the values of `GatherBlockQuantized`, and those that `MatMulNBits` multiplies with where it does not round its
/// inputs to 8 bits. `src` must have exactly the [`NBits::sizes`] of `dst.len()` weights. Any bytes are fine, and may decode to
/// NaN or infinity.
///
/// # Errors
/// [`NBitsError::RowLength`], [`NBitsError::Length`].
pub fn dequantize_rows(
    nbits: NBits,
    float: Float,
    src: Components<'_>,
    row_len: usize,
    dst: &mut [f32],
) -> Result<(), NBitsError> {
    check_lengths(nbits, float, dst.len(), row_len, [src.codes.len(), src.scales.len(), src.zero_points.len()])?;
    if !dst.is_empty() {
        run_fastest(rows::Decode { nbits, float, src, row_len, dst });
    }
    Ok(())
}

/// Checks that the weights are whole rows and that the components have exactly the sizes that they need.
pub(super) fn check_lengths(
    nbits: NBits,
    float: Float,
    n_weights: usize,
    row_len: usize,
    found: [usize; 3],
) -> Result<(), NBitsError> {
    let is_whole = n_weights == 0 || n_weights.checked_rem(row_len) == Some(0);
    let sizes = nbits.sizes(float, row_len as u64, n_weights as u64).filter(|_| is_whole);
    let sizes = sizes.ok_or(NBitsError::RowLength { n_weights, row_len })?;
    for ((expected_bytes, component), n_bytes) in sizes.named().into_iter().zip(found) {
        if n_bytes as u64 != expected_bytes {
            return Err(NBitsError::Length { nbits, component, n_weights, expected_bytes, n_bytes });
        }
    }
    Ok(())
}

/// Refuses a row with a weight that is NaN or infinite.
#[inline(always)]
pub(super) fn check_row(row: usize, src: &[f32]) -> Result<(), NBitsError> {
    if super::lanes::max_magnitude_bits(src) < f32::INFINITY.to_bits() { Ok(()) } else { Err(non_finite(row as u64, src)) }
}

#[cold]
fn non_finite(row: u64, src: &[f32]) -> NBitsError {
    let is_nan = src.iter().find(|weight| !weight.is_finite()).is_some_and(|weight| weight.is_nan());
    NBitsError::NonFinite { row, value: if is_nan { "NaN" } else { "infinite" } }
}

#[cfg(test)]
pub(super) mod tests;
