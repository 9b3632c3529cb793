//! What a comparison of two tensors finds: how far they are apart, or why that cannot be told.

use crate::model::DType;
use crate::units::count_text;

/// How far the weights `b` of a converted tensor are from the weights `a` of its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// `sqrt(Σ(a - b)² / Σa²)`.
    pub relative_rms: f64,
    /// `max |a - b|`.
    pub max_abs: f64,
    /// `Σab / sqrt(Σa² Σb²)`, in -1 to 1; `None` when one side has only zeros.
    pub cosine: Option<f64>,
    /// True when type and bytes are the same; then nothing was decoded.
    pub is_identical: bool,
}

/// Why the error of a tensor cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The converted file has no tensor of this name.
    #[error("missing in the converted file")]
    OnlyInSource,
    /// The source has no tensor of this name.
    #[error("missing in the source")]
    OnlyInConverted,
    /// The files disagree about the shape.
    #[error("shape {source_shape} became {converted_shape}")]
    Shape {
        /// The source's: `576 × 1536`.
        source_shape: String,
        /// The converted file's.
        converted_shape: String,
    },
    /// One of the types has no decoder.
    #[error("{dtype} cannot be decoded")]
    Undecodable {
        /// The type.
        dtype: DType,
    },
    /// Some weights are NaN or infinite.
    #[error("{}", not_finite_text(*n_in_source, *n_in_converted))]
    NotFinite {
        /// How many in the source.
        n_in_source: u64,
        /// How many in the converted file.
        n_in_converted: u64,
    },
    /// The source has only zeros, so there is no relative error.
    #[error("all weights of the source are 0, those of the converted file are not")]
    ZeroSource,
    /// The files have different numbers of layers: tensors of the same layer number need not be of the same layer.
    #[error("layers were left out, so this may be another layer of the source")]
    OtherLayers,
}

fn not_finite_text(n_in_source: u64, n_in_converted: u64) -> String {
    match (count_text(n_in_source), count_text(n_in_converted)) {
        (n, _) if n_in_converted == 0 => format!("NaN or infinite weights in the source: {n}"),
        (_, n) if n_in_source == 0 => format!("NaN or infinite weights in the converted file: {n}"),
        (source, converted) => format!("NaN or infinite weights: {source} in the source, {converted} in the converted file"),
    }
}
