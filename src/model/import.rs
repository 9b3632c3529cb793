//! How a checkpoint's tensors become those of the GGUF file that it stands for: plain data.

use super::{CheckpointDType, Framework};

/// Where the tensors of a checkpoint's model come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Import {
    /// The checkpoint's name: `ORG/NAME` from the Hugging Face cache, else that of its folder or file.
    pub name: String,
    /// One for each of `Model::tensors`, in their order.
    pub origins: Vec<Origin>,
    /// Frameworks other than llama.cpp that do not take the checkpoint, and why.
    pub hindrances: Vec<(Framework, String)>,
}

/// What a tensor is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Made from the configuration, as RoPE factors are.
    Computed(Vec<f32>),
    /// Rows of the checkpoint's tensors, one part after the other.
    Stored {
        /// At least one.
        parts: Vec<Part>,
        /// Added to every weight: 1 for norms that the checkpoint stores as their difference from 1, else 0.
        plus: f32,
    },
}

/// Rows of one tensor of the checkpoint, seen as a matrix whose row length is the last dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which of `Model::files` holds the data.
    pub file_idx: usize,
    /// Position of the tensor's first byte from the start of that file.
    pub offset: u64,
    /// Element type; U8 for MXFP4, which packs 32 weights into 16 bytes.
    pub dtype: CheckpointDType,
    /// Weights per row in the checkpoint.
    pub row_len: u64,
    /// The first row that is taken.
    pub first_row: u64,
    /// How many rows are taken.
    pub n_rows: u64,
    /// The order in which they are taken.
    pub order: RowOrder,
    /// The factors of 8-bit floats, or the exponents of MXFP4 blocks; `None` for weights without either.
    pub scale: Option<BlockScale>,
}

/// One factor for each block of a tensor: `w[r][c] * scale[r / block_rows][c / block_columns]`.
///
/// Source: `weight_block_size` and `weight_scale_inv` in `transformers/integrations/finegrained_fp8.py`, where the factor is called the
/// inverse of the scale that made the floats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockScale {
    /// Which of `Model::files` holds the factors.
    pub file_idx: usize,
    /// Position of the first factor from the start of that file, in bytes.
    pub offset: u64,
    /// Their type.
    pub dtype: CheckpointDType,
    /// Rows of a block.
    pub block_rows: u64,
    /// Columns of a block.
    pub block_columns: u64,
    /// Factors in a row of blocks.
    pub n_columns: u64,
}

/// The order in which rows of a checkpoint's tensor become rows of the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// One after the other.
    AsStored,
    /// The rows of each head's two halves alternate: `[2, head_rows / 2]` becomes `[head_rows / 2, 2]`.
    ///
    /// Source: `LlamaModel.permute` in `conversion/llama.py`, llama.cpp of 2026-08-21, whose RoPE rotates neighbouring rows for
    /// this architecture, while that of transformers rotates halves.
    Rope {
        /// Rows of a head, an even number.
        head_rows: u64,
    },
    /// The first row and every `step`-th row after it.
    Strided {
        /// Distance from one to the next, at least 1.
        step: u64,
    },
    /// Columns become rows: column `first` and every `step`-th column after it.
    Transposed {
        /// The first column.
        first: u64,
        /// Distance from one to the next, at least 1.
        step: u64,
    },
}

impl RowOrder {
    /// All columns become rows.
    pub const TRANSPOSED: Self = Self::Transposed { first: 0, step: 1 };
}

impl Part {
    /// Number of rows that this part gives.
    #[must_use]
    pub fn n_rows_out(&self) -> u64 {
        match self.order {
            RowOrder::Transposed { first, step } => self.row_len.saturating_sub(first).div_ceil(step.max(1)),
            _ => self.n_rows,
        }
    }

    /// Weights in each row that this part gives.
    #[must_use]
    pub fn row_len_out(&self) -> u64 {
        if matches!(self.order, RowOrder::Transposed { .. }) { self.n_rows } else { self.row_len }
    }

    /// Row and column in the checkpoint of the weight at `row` and `column` of this part.
    #[must_use]
    pub fn source_of(&self, row: u64, column: u64) -> (u64, u64) {
        match self.order {
            RowOrder::Transposed { first, step } => (self.first_row + column, first + row * step),
            _ => (self.source_row(row), column),
        }
    }

    /// The checkpoint's row that becomes row `row` of this part; only for parts that are not transposed.
    #[must_use]
    pub fn source_row(&self, row: u64) -> u64 {
        match self.order {
            RowOrder::AsStored | RowOrder::Transposed { .. } => self.first_row + row,
            RowOrder::Strided { step } => self.first_row + row * step,
            RowOrder::Rope { head_rows } => {
                let head_rows = head_rows.max(2);
                let (head, within) = (row / head_rows, row % head_rows);
                self.first_row + head * head_rows + (within % 2) * (head_rows / 2) + within / 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rope_rows_take_turns_within_a_head() {
        let part = |order| Part {
            file_idx: 0,
            offset: 0,
            dtype: CheckpointDType::BF16,
            row_len: 5,
            first_row: 10,
            n_rows: 12,
            order,
            scale: None,
        };
        let rows = |part: &Part| (0..part.n_rows_out()).map(|row| part.source_row(row)).collect::<Vec<_>>();
        assert_eq!(rows(&part(RowOrder::AsStored)), (10..22).collect::<Vec<_>>());
        let rope = part(RowOrder::Rope { head_rows: 6 });
        assert_eq!(rows(&rope), [10, 13, 11, 14, 12, 15, 16, 19, 17, 20, 18, 21]);
        assert_eq!(part(RowOrder::Strided { step: 3 }).source_row(2), 16);
        let transposed = part(RowOrder::TRANSPOSED);
        assert_eq!((transposed.n_rows_out(), transposed.row_len_out()), (5, 12));
        let every_second = |first| part(RowOrder::Transposed { first, step: 2 });
        assert_eq!((every_second(0).n_rows_out(), every_second(1).n_rows_out()), (3, 2));
        assert_eq!(every_second(1).source_of(1, 4), (14, 3));
    }
}
