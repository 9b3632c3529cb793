//! MLX's quantized matrices: rows of groups, each group with a scale, codes packed into little-endian words.
//!
//! A quantized matrix is up to three tensors, here called components, all in rows: `weight`, the codes of all groups as one
//! stream of bits, the first code in the lowest bits (MLX stores it as U32, `row_len * bits / 32` words a row); `scales`, one per
//! group; and for the affine mode `biases`, one per group.
//!
//! The bytes are those of `mlx.core.quantize` on a CPU, mlx 0.32.4 (`affine_quantize` and `fp_quantize` in mlx/ops.cpp,
//! `quantize` in mlx/backend/cpu/quantized.cpp), and so are the decoded values (`affine_dequantize`, `fp_dequantize`). Where
//! MLX would write a group that decodes to NaN or to quite different numbers, there is an error instead, see [`MlxError`];
//! groups of tiny weights get the scale that MLX gives them on Metal and CUDA. Groups depend on their weights alone: not on
//! threads, chunks or the CPU.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

mod affine;
mod minifloat;
mod packing;
mod shared_scale;

use std::fmt;

use super::dispatch::{Kernel, run_fastest};
pub use super::float::Float;
use super::float::{Brain, Half, Precision, Single};
use super::lanes::Simd;

/// How the weights of a group become codes and a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Evenly spaced levels: `w[i] = scale * q[i] + bias`, scale and bias of the weights' type.
    Affine(Affine),

    /// 32 weights as E2M1 under a power of two (E8M0): 4.25 bits per weight.
    Mxfp4,

    /// 32 weights as E4M3 under a power of two (E8M0): 8.25 bits per weight.
    Mxfp8,

    /// 16 weights as E2M1 under an E4M3 scale: 4.5 bits per weight.
    ///
    /// As in `mlx_lm.convert`, the matrix as a whole has no scale: groups without a weight above 0.00586 become zeros.
    Nvfp4,
}

/// Bits and group length of the affine mode: only those that MLX has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Affine {
    bits: u8,
    group_len: u8,
}

impl Affine {
    /// 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128 weights; `None` for others.
    #[must_use]
    pub const fn new(bits: u8, group_len: u8) -> Option<Self> {
        if matches!(bits, 2..=6 | 8) && matches!(group_len, 32 | 64 | 128) { Some(Self { bits, group_len }) } else { None }
    }

    /// All of them, by bits, then by group length.
    pub fn all() -> impl Iterator<Item = Self> {
        (2..=8).flat_map(|bits| [32, 64, 128].into_iter().filter_map(move |group_len| Self::new(bits, group_len)))
    }
}

impl Mode {
    /// Every mode that can be encoded and decoded.
    pub fn all() -> impl Iterator<Item = Self> {
        Affine::all().map(Self::Affine).chain([Self::Mxfp4, Self::Mxfp8, Self::Nvfp4])
    }

    /// Name in `config.json`: `affine`, `mxfp4`, `mxfp8` or `nvfp4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Affine(_) => "affine",
            Self::Mxfp4 => "mxfp4",
            Self::Mxfp8 => "mxfp8",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// Bits of a code.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::Affine(affine) => affine.bits as u64,
            Self::Mxfp4 | Self::Nvfp4 => 4,
            Self::Mxfp8 => 8,
        }
    }

    /// Weights that share a scale.
    #[must_use]
    pub const fn group_len(self) -> u64 {
        match self {
            Self::Affine(affine) => affine.group_len as u64,
            Self::Mxfp4 | Self::Mxfp8 => 32,
            Self::Nvfp4 => 16,
        }
    }

    /// Sizes of the components of `n_weights` weights of type `float`; `None` if they are not whole groups.
    ///
    /// Rows are whole groups where MLX quantizes at all, so this is the size of a row as well as that of a matrix.
    #[must_use]
    pub const fn sizes(self, float: Float, n_weights: u64) -> Option<Sizes> {
        if !n_weights.is_multiple_of(self.group_len()) {
            return None;
        }
        let n_groups = n_weights / self.group_len();
        let (scale_bytes, bias_bytes) = match self {
            Self::Affine(_) => (float.width(), float.width()),
            Self::Mxfp4 | Self::Mxfp8 | Self::Nvfp4 => (1, 0),
        };
        // A group has a whole number of bytes in every mode.
        let group_bytes = self.group_len() * self.bits() / 8;
        Some(Sizes { weight: n_groups * group_bytes, scales: n_groups * scale_bytes, biases: n_groups * bias_bytes })
    }

    /// Bits per weight, scales and biases of type `float` included.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    pub fn bits_per_weight(self, float: Float) -> f64 {
        let bytes = self.sizes(float, self.group_len()).map_or(0, Sizes::total);
        (8 * bytes) as f64 / self.group_len() as f64
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Affine(Affine { bits, group_len }) => write!(f, "{bits}-bit-g{group_len}"),
            Self::Mxfp4 | Self::Mxfp8 | Self::Nvfp4 => f.write_str(self.name()),
        }
    }
}

/// Puts blocks of ggml's MXFP4 (17 bytes: the scale, then codes of which the second 16 lie above the first 16) into MLX's order: codes in the
/// order of the weights, scales apart. Both have the same codes (E2M1) and scales (E8M0).
pub(super) fn rearrange_mxfp4(blocks: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    for ((block, codes), scale) in blocks.as_chunks::<17>().0.iter().zip(codes.as_chunks_mut::<16>().0).zip(scales) {
        let [exponent, packed @ ..] = block;
        *scale = *exponent;
        for (code, pair) in codes.iter_mut().zip(0_usize..) {
            let number = |idx: usize| if idx < 16 { packed[idx] & 15 } else { packed[idx - 16] >> 4 };
            *code = number(2 * pair) | number(2 * pair + 1) << 4;
        }
    }
}

/// Bytes of each component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Codes.
    pub weight: u64,
    /// Scales.
    pub scales: u64,
    /// Biases; 0 for all modes but the affine one.
    pub biases: u64,
}

impl Sizes {
    /// All three together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.weight + self.scales + self.biases
    }

    /// Size and name of each component.
    const fn named(self) -> [(u64, &'static str); 3] {
        [(self.weight, "weight"), (self.scales, "scales"), (self.biases, "biases")]
    }
}

/// Components to read; each may start at any address.
#[derive(Debug, Clone, Copy)]
pub struct Components<'a> {
    /// Codes.
    pub weight: &'a [u8],
    /// Scales.
    pub scales: &'a [u8],
    /// Biases; empty for all modes but the affine one.
    pub biases: &'a [u8],
}

/// Components to write; each may start at any address.
#[derive(Debug)]
pub struct ComponentsMut<'a> {
    /// Codes.
    pub weight: &'a mut [u8],
    /// Scales.
    pub scales: &'a mut [u8],
    /// Biases; empty for all modes but the affine one.
    pub biases: &'a mut [u8],
}

/// Why rows cannot be decoded or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MlxError {
    /// A row is not a whole number of groups, or the weights are not a whole number of rows.
    #[error("{mode} needs whole groups of {}, found {n_weights} weights in rows of {row_len}", mode.group_len())]
    RowLength {
        /// The mode.
        mode: Mode,
        /// Weights in all.
        n_weights: usize,
        /// Weights per row.
        row_len: usize,
    },

    /// A component does not fit the weights.
    #[error("{component} of {n_weights} weights in {mode} take {expected_bytes} bytes, found {n_bytes}")]
    Length {
        /// The mode.
        mode: Mode,
        /// `weight`, `scales` or `biases`.
        component: &'static str,
        /// Weights in all.
        n_weights: usize,
        /// Bytes that the component takes.
        expected_bytes: u64,
        /// Bytes that it was given.
        n_bytes: usize,
    },

    /// A weight is NaN or infinite.
    ///
    /// MLX turns a NaN into the largest or smallest weight of its group, and a group with an infinite weight into NaN or zeros.
    #[error("a weight in row {row} is {value}")]
    NonFinite {
        /// The first such row, from 0.
        row: u64,
        /// `NaN` or `infinite`.
        value: &'static str,
    },

    /// A group's weights are finite, but their range is not (affine), or its scale is beyond the largest one (nvfp4).
    ///
    /// MLX writes an infinite scale, which decodes to NaN, or cuts off everything above the largest number.
    #[error("a weight in row {row} is too large for {mode}")]
    OutOfRange {
        /// The first such row, from 0.
        row: u64,
        /// The mode.
        mode: Mode,
    },

    /// There is no error feedback in this mode.
    #[error("cannot feed errors back in {mode}")]
    NoFeedback {
        /// The mode.
        mode: Mode,
    },
}

/// Encodes whole rows of `row_len` weights, which must be numbers of type `float` ([`Float::round_all`] makes them so).
///
/// `out` must have exactly the [`Mode::sizes`] of the weights. Rows before the one that an error names are written. No weights
/// give no bytes.
pub fn quantize_rows(mode: Mode, float: Float, src: &[f32], row_len: usize, out: ComponentsMut<'_>) -> Result<(), MlxError> {
    let whole = row_len > 0 && src.len().is_multiple_of(row_len) && mode.sizes(float, row_len as u64).is_some();
    if !whole && !src.is_empty() {
        return Err(MlxError::RowLength { mode, n_weights: src.len(), row_len });
    }
    check_lengths(mode, float, src.len(), [out.weight.len(), out.scales.len(), out.biases.len()])?;
    run_fastest(Encode { mode, float, src, row_len, out })
}

/// Decodes to f32, with the values that `mlx.core.dequantize` gives in `computed`.
///
/// `stored` is the type of affine scales and biases; other modes ignore it. MLX computes in that type unless the model was
/// loaded in another one: decoding in [`Float::F32`] gives the weights of a model that was upcast to it.
/// `src` must have exactly the [`Mode::sizes`] of `dst.len()` weights. Any bytes are fine, and may decode to NaN or infinity.
pub fn dequantize_rows(mode: Mode, stored: Float, computed: Float, src: Components<'_>, dst: &mut [f32]) -> Result<(), MlxError> {
    check_lengths(mode, stored, dst.len(), [src.weight.len(), src.scales.len(), src.biases.len()])?;
    run_fastest(Decode { mode, stored, computed, src, dst });
    Ok(())
}

/// Checks that the components have exactly the sizes that the weights need.
fn check_lengths(mode: Mode, float: Float, n_weights: usize, found: [usize; 3]) -> Result<(), MlxError> {
    let sizes = mode.sizes(float, n_weights as u64).ok_or(MlxError::RowLength { mode, n_weights, row_len: n_weights })?;
    for ((expected_bytes, component), n_bytes) in sizes.named().into_iter().zip(found) {
        if n_bytes as u64 != expected_bytes {
            return Err(MlxError::Length { mode, component, n_weights, expected_bytes, n_bytes });
        }
    }
    Ok(())
}

/// Encoding of rows whose lengths were checked.
struct Encode<'a> {
    mode: Mode,
    float: Float,
    src: &'a [f32],
    row_len: usize,
    out: ComponentsMut<'a>,
}

impl Kernel for Encode<'_> {
    type Output = Result<(), MlxError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { mode, float, src, row_len, out } = self;
        if src.is_empty() {
            return Ok(());
        }
        let n_rows = src.len() / row_len;
        let (weight, scales, biases) = (out.weight.len() / n_rows, out.scales.len() / n_rows, out.biases.len() / n_rows);
        for (row, src) in src.chunks_exact(row_len).enumerate() {
            let out = &mut ComponentsMut {
                weight: &mut out.weight[row * weight..][..weight],
                scales: &mut out.scales[row * scales..][..scales],
                biases: &mut out.biases[row * biases..][..biases],
            };
            if !is_finite(src) {
                return Err(not_finite(row as u64, src));
            }
            let is_held = match mode {
                Mode::Affine(affine) => affine::encode_row(simd, affine, float, src, out),
                Mode::Mxfp4 => shared_scale::encode_mx_row::<4>(simd, float, src, out),
                Mode::Mxfp8 => shared_scale::encode_mx_row::<8>(simd, float, src, out),
                Mode::Nvfp4 => shared_scale::encode_nvfp4_row(simd, float, src, out),
            };
            if !is_held {
                return Err(MlxError::OutOfRange { row: row as u64, mode });
            }
        }
        Ok(())
    }
}

/// True if no weight is NaN or infinite.
#[inline(always)]
fn is_finite(src: &[f32]) -> bool {
    // Bit patterns of magnitudes are ordered as the magnitudes are.
    src.iter().fold(0, |largest, weight| largest.max(weight.to_bits() & 0x7fff_ffff)) < f32::INFINITY.to_bits()
}

/// The error for a row with a weight that is NaN or infinite.
#[cold]
fn not_finite(row: u64, src: &[f32]) -> MlxError {
    let is_nan = src.iter().find(|weight| !weight.is_finite()).is_some_and(|weight| weight.is_nan());
    MlxError::NonFinite { row, value: if is_nan { "NaN" } else { "infinite" } }
}

/// Decoding of components whose lengths were checked.
struct Decode<'a> {
    mode: Mode,
    stored: Float,
    computed: Float,
    src: Components<'a>,
    dst: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Self { mode, stored, computed, src, dst } = self;
        match computed {
            Float::F32 => decode::<Single>(mode, stored, src, dst),
            Float::F16 => decode::<Half>(mode, stored, src, dst),
            Float::BF16 => decode::<Brain>(mode, stored, src, dst),
        }
    }
}

/// Decodes in the given precision.
#[inline(always)]
fn decode<P: Precision>(mode: Mode, stored: Float, src: Components<'_>, dst: &mut [f32]) {
    match mode {
        Mode::Affine(affine) => affine::decode::<P>(affine, stored, src, dst),
        Mode::Mxfp4 => shared_scale::decode::<P, 32, 4>(src, dst, minifloat::decode_e8m0),
        Mode::Mxfp8 => shared_scale::decode::<P, 32, 8>(src, dst, minifloat::decode_e8m0),
        Mode::Nvfp4 => shared_scale::decode::<P, 16, 4>(src, dst, minifloat::decode_e4m3),
    }
}

#[cfg(test)]
mod tests;
