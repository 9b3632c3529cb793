//! One tensor's name, shape, type and place.

use super::DType;

/// A tensor as the header describes it. The data stays on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// The name in the file: `blk.0.attn_q.weight`.
    pub name: String,
    /// Element or block type.
    pub dtype: DType,
    /// Dimensions in GGUF order: the row length first, then rows, then experts. Empty for a scalar.
    pub shape: Vec<u64>,
    /// Which of `Model::files` holds the data.
    pub file_idx: usize,
    /// Position of the first byte from the start of that file.
    pub offset: u64,
    /// Size of the data in bytes, without padding.
    pub size_bytes: u64,
}

/// The number of a block by the name of one of its tensors: `12` for `blk.12.ffn_up.weight`; `None` outside the blocks.
#[must_use]
pub fn layer_idx_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

impl Tensor {
    /// Number of weights. The reader has checked that the product does not overflow.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Weights per row: the first dimension, 1 for a scalar.
    #[must_use]
    pub fn row_len(&self) -> u64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Rows of all matrices together.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.shape.iter().skip(1).product()
    }

    /// Dimensions without trailing ones, as `ggml_n_dims` counts them; at least 1.
    #[must_use]
    pub fn n_dims(&self) -> usize {
        self.shape.iter().rposition(|&dim| dim > 1).map_or(1, |last| last + 1)
    }

    /// The number of its block; `None` outside the blocks.
    #[must_use]
    pub fn layer_idx(&self) -> Option<u64> {
        layer_idx_of(&self.name)
    }

    /// The shape for a person: `576 × 49152`.
    #[must_use]
    pub fn shape_text(&self) -> String {
        self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[u64]) -> Tensor {
        Tensor { name: name.into(), dtype: DType::F32, shape: shape.into(), file_idx: 0, offset: 0, size_bytes: 0 }
    }

    #[test]
    fn shape_is_read_row_first() {
        let check = |shape: &[u64], row_len, n_rows, n_dims| {
            let tensor = tensor("t", shape);
            assert_eq!((tensor.row_len(), tensor.n_rows(), tensor.n_dims()), (row_len, n_rows, n_dims), "{shape:?}");
        };
        check(&[], 1, 1, 1);
        check(&[576], 576, 1, 1);
        check(&[576, 3], 576, 3, 2);
        check(&[576, 1], 576, 1, 1);
        check(&[64, 3, 8], 64, 24, 3);
    }

    #[test]
    fn layer_comes_from_the_name() {
        let check = |name: &str, expected| assert_eq!(tensor(name, &[1]).layer_idx(), expected);
        check("blk.12.ffn_up.weight", Some(12));
        check("token_embd.weight", None);
        check("blk.x.ffn_up.weight", None);
    }
}
