//! Second moments on their way to the encoders: factored when the reader comes to a tensor, shared by its chunks, gone with the last of them.

use std::ops::Range;
use std::sync::Arc;

use super::chunk::Chunk;
use crate::error::{Error, Result};
use crate::format::MomentsOf;
use crate::model::Tensor;
use crate::quant::feedback::{DEFAULT_DAMPING, Factors, FeedbackError};

/// Damping of the head: what the text did not show must not be lost there either.
///
/// Source: the head's moments of the prototype, 0.9 of the measured and 0.1 of the even ones.
const HEAD_DAMPING: f64 = 0.1 / 0.9;

/// Rows of a chunk, and what their errors are weighed by; rows that no factors name are encoded without feedback.
#[derive(Debug, Clone)]
pub(super) struct RowFactors {
    /// Counted from the chunk's first row.
    pub(super) rows: Range<u64>,
    pub(super) factors: Arc<Factors>,
}

/// The factors of the tensor that is being read, kept for the next ones with the same inputs.
#[derive(Debug, Default)]
pub(super) struct FactorCache {
    site_idx: Option<usize>,
    /// By part of the site; `None` where the inputs were all zeros.
    parts: Vec<(u64, Option<Arc<Factors>>)>,
}

impl FactorCache {
    /// The factors of a chunk of whole rows.
    ///
    /// # Errors
    /// `Error::BadImatrix` for moments that are damaged, `Error::Io`.
    pub(super) fn of_chunk(&mut self, moments: &MomentsOf, tensor: &Tensor, chunk: Chunk) -> Result<Vec<RowFactors>> {
        if self.site_idx != Some(moments.site_idx) {
            moments.check()?;
            *self = Self { site_idx: Some(moments.site_idx), parts: Vec::new() };
        }
        let row_len = chunk.row_len.max(1);
        let (first, n_rows) = (chunk.first_weight / row_len, chunk.n_weights / row_len);
        let rows_per_expert = tensor.shape.get(1).copied().unwrap_or(1).max(1);
        let mut found = Vec::new();
        let mut row = 0;
        while row < n_rows {
            let in_expert = (first + row) % rows_per_expert;
            let part_idx = in_expert / moments.rows_per_part.max(1);
            let end = (row + moments.rows_per_part.max(1) - in_expert % moments.rows_per_part.max(1)).min(n_rows);
            let factors = self.part(moments, tensor, part_idx)?;
            found.extend(factors.map(|factors| RowFactors { rows: row..end, factors }));
            row = end;
        }
        Ok(found)
    }

    fn part(&mut self, moments: &MomentsOf, tensor: &Tensor, part_idx: u64) -> Result<Option<Arc<Factors>>> {
        if let Some((_, factors)) = self.parts.iter().find(|(known, _)| *known == part_idx) {
            return Ok(factors.clone());
        }
        let matrix = moments.matrix(usize::try_from(part_idx).unwrap_or(usize::MAX))?;
        let factors = factors_of(moments, tensor, &matrix)?.map(Arc::new);
        self.parts.push((part_idx, factors.clone()));
        Ok(factors)
    }
}

/// The factors that a tensor is encoded with, from a part of its moments; `None` where the inputs were all zeros.
///
/// # Errors
/// `Error::BadImatrix` for moments of no vectors.
pub fn factors_of(moments: &MomentsOf, tensor: &Tensor, matrix: &[f32]) -> Result<Option<Factors>> {
    let damping = if is_head(tensor) { HEAD_DAMPING } else { DEFAULT_DAMPING };
    match Factors::new(matrix, moments.n_columns(), damping) {
        Ok(factors) => Ok(Some(factors)),
        Err(FeedbackError::NoMass) => Ok(None),
        Err(error) => Err(Error::BadImatrix { what: format!("{}: {error}", tensor.name), path: moments.path() }),
    }
}

fn is_head(tensor: &Tensor) -> bool {
    ["output.weight", "token_embd.weight"].contains(&tensor.name.as_str())
}
