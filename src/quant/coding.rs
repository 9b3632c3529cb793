//! How weights are written: one name for the encoders of all frameworks.

use std::fmt;

use super::feedback::{self, Factors};
use super::float::Float;
use super::mlx::{self, MlxError, Mode};
use super::nbits::{self, Method, NBits, NBitsError};
use super::{QuantError, quantize_rows_by};
use crate::model::DType;

/// The most components that a coding has.
pub const MAX_COMPONENTS: usize = 3;

/// How the weights of a tensor are encoded. The bytes lie in one to three components, each in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Blocks or floats of one of ggml's types; one component.
    Ggml(DType),
    /// Weights are rounded to `float` and become codes, scales and, in the affine mode, biases.
    Mlx {
        /// How a group of weights is encoded.
        mode: Mode,
        /// Type that the weights are rounded to first, and type of affine scales and biases.
        float: Float,
    },
    /// Weights become codes, scales and perhaps zero points of ONNX Runtime.
    NBits {
        /// Bits, block length and kind of the codes.
        nbits: NBits,
        /// How scales and zero points are chosen.
        method: Method,
        /// Type of the scales.
        float: Float,
    },
}

/// Why weights cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// In one of ggml's types.
    #[error(transparent)]
    Ggml(#[from] QuantError),
    /// In a mode of MLX.
    #[error(transparent)]
    Mlx(#[from] MlxError),
    /// In blocks of ONNX Runtime.
    #[error(transparent)]
    NBits(#[from] NBitsError),
}

impl Coding {
    /// Size in bytes of each component of the first `n_weights` weights of a matrix with rows of `row_len`, 0 for components that the coding
    /// lacks; `None` if the weights do not end with a block.
    ///
    /// The difference of two sizes is the size of what lies between.
    #[must_use]
    pub fn component_bytes(self, row_len: u64, n_weights: u64) -> Option<[u64; MAX_COMPONENTS]> {
        match self {
            Self::Ggml(dtype) => Some([dtype.row_bytes(n_weights)?, 0, 0]),
            Self::Mlx { mode, float } => mode.sizes(float, n_weights).map(|sizes| [sizes.weight, sizes.scales, sizes.biases]),
            Self::NBits { nbits, float, .. } => {
                nbits.sizes(float, row_len, n_weights).map(|sizes| [sizes.codes, sizes.scales, sizes.zero_points])
            }
        }
    }

    /// Size in bytes of all components of [`Coding::component_bytes`] together.
    #[must_use]
    pub fn n_bytes(self, row_len: u64, n_weights: u64) -> Option<u64> {
        self.component_bytes(row_len, n_weights)?.iter().try_fold(0, |sum: u64, bytes| sum.checked_add(*bytes))
    }

    /// True if a tensor of type `source` is copied unchanged.
    #[must_use]
    pub fn is_copy_of(self, source: DType) -> bool {
        self == Self::Ggml(source)
    }

    /// True if the codes and scales of a tensor of type `source` are those of this coding in another order: [`Coding::rearrange`].
    #[must_use]
    pub fn is_rearranged_from(self, source: DType) -> bool {
        matches!(self, Self::Mlx { mode: Mode::Mxfp4, .. }) && source == DType::MXFP4
    }

    /// Puts whole blocks of such a tensor into components of exactly [`Coding::component_bytes`]; no weight changes.
    pub fn rearrange(self, blocks: &[u8], [codes, scales, _]: [&mut [u8]; MAX_COMPONENTS]) {
        mlx::rearrange_mxfp4(blocks, codes, scales);
    }

    /// Encodes whole rows of `row_len` weights of type `source` into components of exactly [`Coding::component_bytes`].
    ///
    /// `importances` has one number per column; the modes of MLX ignore it.
    ///
    /// # Errors
    /// Those of [`super::quantize_rows_by`], [`mlx::quantize_rows`] and [`nbits::quantize_rows`].
    pub fn encode(
        self,
        weights: &[f32],
        row_len: usize,
        source: DType,
        importances: Option<&[f32]>,
        [first, second, third]: [&mut [u8]; MAX_COMPONENTS],
    ) -> Result<(), CodingError> {
        match self {
            Self::Ggml(dtype) => Ok(quantize_rows_by(dtype, weights, row_len, importances, first)?),
            Self::Mlx { mode, float } => {
                let out = mlx::ComponentsMut { weight: first, scales: second, biases: third };
                if float == Float::F32 || float.dtype() == source {
                    return Ok(mlx::quantize_rows(mode, float, weights, row_len, out)?);
                }
                let mut rounded = weights.to_vec();
                float.round_all(&mut rounded);
                Ok(mlx::quantize_rows(mode, float, &rounded, row_len, out)?)
            }
            Self::NBits { nbits, method, float } => {
                let out = nbits::ComponentsMut { codes: first, scales: second, zero_points: third };
                Ok(nbits::quantize_rows(nbits, method, float, weights, row_len, importances, out)?)
            }
        }
    }

    /// True if [`Coding::feed_back`] encodes rows of this length.
    #[must_use]
    pub fn feeds_back(self, row_len: u64) -> bool {
        match self {
            Self::Ggml(dtype) => feedback::can_feed_back(dtype),
            Self::Mlx { .. } => false,
            // The tool whose bytes the plain method has knows no moments.
            Self::NBits { nbits, method, .. } => method == Method::Searched && row_len.is_multiple_of(nbits.block_len()),
        }
    }

    /// Encodes whole rows of `factors.n_columns()` weights with error feedback and at most `sweeps` sweeps over each, into components of
    /// exactly [`Coding::component_bytes`].
    ///
    /// # Errors
    /// Those of [`feedback::encode_rows`] and [`feedback::encode_nbits`]; [`MlxError::NoFeedback`].
    pub fn feed_back(
        self,
        weights: &[f32],
        factors: &Factors,
        sweeps: usize,
        [first, second, third]: [&mut [u8]; MAX_COMPONENTS],
    ) -> Result<(), CodingError> {
        match self {
            Self::Ggml(dtype) => Ok(feedback::encode_rows(dtype, weights, factors, sweeps, first)?),
            Self::Mlx { mode, .. } => Err(MlxError::NoFeedback { mode }.into()),
            Self::NBits { nbits, float, .. } => {
                let out = nbits::ComponentsMut { codes: first, scales: second, zero_points: third };
                Ok(feedback::encode_nbits(nbits, float, weights, factors, sweeps, out)?)
            }
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ggml(dtype) => f.write_str(dtype.name()),
            Self::Mlx { mode, .. } => mode.fmt(f),
            Self::NBits { nbits, .. } => nbits.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mlx::Affine;
    use super::*;

    fn nbits(nbits: Option<NBits>) -> Coding {
        Coding::NBits { nbits: nbits.unwrap(), method: Method::Searched, float: Float::F32 }
    }

    #[test]
    fn components_have_the_sizes_that_encoding_fills() {
        let weights: Vec<f32> = (0..512_u16).map(|i| f32::from(i % 37) - 18.0).collect();
        let affine = Mode::Affine(Affine::new(4, 64).unwrap());
        for (coding, expected) in [
            (Coding::Ggml(DType::Q8_0), [544, 0, 0]),
            (Coding::Ggml(DType::BF16), [1024, 0, 0]),
            (Coding::Mlx { mode: affine, float: Float::BF16 }, [256, 16, 16]),
            (Coding::Mlx { mode: affine, float: Float::F32 }, [256, 32, 32]),
            (Coding::Mlx { mode: Mode::Nvfp4, float: Float::F16 }, [256, 32, 0]),
            (nbits(NBits::symmetric(4, 32)), [256, 64, 0]),
            (nbits(NBits::with_zero_points(4, 128)), [256, 16, 2]),
            (nbits(NBits::with_zero_points(8, 64)), [512, 32, 8]),
        ] {
            let sizes = coding.component_bytes(256, 512).unwrap();
            assert_eq!(sizes, expected, "{coding}");
            assert_eq!(coding.n_bytes(256, 512), Some(expected.iter().sum()));
            let mut parts = sizes.map(|size| vec![0; usize::try_from(size).unwrap()]);
            let [first, second, third] = &mut parts;
            coding.encode(&weights, 256, DType::F32, None, [first, second, third]).unwrap();
            assert!(parts[0].iter().any(|byte| *byte != 0));
            assert_eq!(coding.component_bytes(256, 511).is_some(), coding == Coding::Ggml(DType::BF16));
        }
        // Rows of ONNX Runtime's codes are filled up.
        let rows = |coding: Coding| coding.component_bytes(73, 7 * 73);
        assert_eq!(rows(nbits(NBits::with_zero_points(4, 32))), Some([7 * 48, 7 * 3 * 4, 7 * 2]));
        assert_eq!(rows(Coding::Ggml(DType::Q8_0)), None);
        assert!(Coding::Ggml(DType::F16).is_copy_of(DType::F16) && !Coding::Ggml(DType::F16).is_copy_of(DType::BF16));
    }

    #[test]
    fn blocks_of_mxfp4_keep_their_codes_and_scales() {
        let coding = Coding::Mlx { mode: Mode::Mxfp4, float: Float::BF16 };
        assert!(coding.is_rearranged_from(DType::MXFP4) && !coding.is_rearranged_from(DType::BF16));
        let blocks: Vec<u8> = (0..34_u8).map(|byte| byte.wrapping_mul(37).wrapping_add(11)).collect();
        let mut expected = vec![0.0; 64];
        super::super::dequantize_rows(DType::MXFP4, &blocks, &mut expected).unwrap();
        let (mut codes, mut scales) = (vec![0; 32], vec![0; 2]);
        coding.rearrange(&blocks, [&mut codes, &mut scales, &mut []]);
        assert_eq!(scales, [blocks[0], blocks[17]]);
        let mut found = vec![0.0; 64];
        let components = mlx::Components { weight: &codes, scales: &scales, biases: &[] };
        mlx::dequantize_rows(Mode::Mxfp4, Float::BF16, Float::F32, components, &mut found).unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn weights_are_rounded_to_the_type_of_the_scales_first() {
        let weights: Vec<f32> = (0..64_u16).map(|i| f32::from(i).mul_add(1e-3, 0.3)).collect();
        let mut rounded = weights.clone();
        Float::BF16.round_all(&mut rounded);
        assert_ne!(weights, rounded);
        let coding = Coding::Mlx { mode: Mode::Affine(Affine::new(8, 64).unwrap()), float: Float::BF16 };
        let encoded = |weights: &[f32]| {
            let mut parts = [vec![0; 64], vec![0; 2], vec![0; 2]];
            let [first, second, third] = &mut parts;
            coding.encode(weights, 64, DType::F32, None, [first, second, third]).unwrap();
            parts
        };
        assert_eq!(encoded(&weights), encoded(&rounded));
    }
}
