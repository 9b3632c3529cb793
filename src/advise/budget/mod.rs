//! A budget: how many bytes a file may have, and which type each tensor gets so that it loses least.
//!
//! ```text
//! mod     what a budget is, in words and in bytes
//! costs   what each tensor loses in each type, from what was measured of it
//! curve   the least loss at every size: types bought one after the other, the most loss for a byte first
//! recipe  the types as changes of a level's recipe, which llama-quantize understands too
//! gated   the smallest file that passes the gates on quality
//! ```

mod costs;
mod curve;
mod gated;
mod recipe;

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::recipe::{Planner, n_elements};
use super::{Gates, memory_estimate};
use crate::error::{Error, Result};
use crate::hardware::Cpu;
use crate::model::{Level, Model, Preset};
use crate::units::{bytes_from_text, bytes_text};

pub use costs::{Costs, TensorCosts, candidate_dtypes};
pub use curve::{Correction, Curve, CurvePoint, nearest_point};
pub use gated::{GATES_BUDGET, GateSearch, GatedBy, GatedPoint, LossLimit, MAX_GATED_FILES, file_points, gated_recipe};
pub use recipe::{BudgetRecipe, budget_recipe, nearest_level};

/// Weights in a byte's worth of bits.
const BITS_PER_BYTE: f64 = 8.0;

/// What a file is made for whose types are chosen tensor by tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Aim {
    /// To lose least at this size.
    Size(Budget),
    /// To be the smallest that is predicted to pass these gates.
    Gates(Gates),
}

/// How large a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Budget {
    /// So many bytes: `4.5GiB`.
    Bytes(u64),
    /// So many bits for each weight on average: `4.8bpw`.
    BitsPerWeight(f64),
    /// This part of the source's size: `60%`.
    Share(f64),
    /// What fits into this much memory with this many tokens of context: `fits 8 GiB at 8192`.
    Fits {
        /// Bytes of memory for the whole process.
        memory_bytes: u64,
        /// Tokens.
        n_ctx: u64,
    },
}

impl Budget {
    /// The most bytes that the file of this model may have.
    ///
    /// # Errors
    /// `Error::BadRequest` where cache and program alone need more memory than there is; `Error::Internal` for a model that no reader accepts.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a size of a file")]
    pub fn size_bytes(self, model: &Model, cpu: &Cpu) -> Result<u64> {
        match self {
            Self::Bytes(n_bytes) => Ok(n_bytes),
            Self::Share(share) => Ok((model.size_bytes as f64 * share) as u64),
            Self::BitsPerWeight(bits) => {
                let planner = Planner::new(model);
                let recipe = planner.recipe(Preset::Q8_0);
                let weights = |n_bytes: f64| n_bytes.max(0.0) as u64;
                let n_weights: u64 = model.tensors.iter().map(n_elements).sum();
                let data = super::bits_per_weight(model, &recipe) / BITS_PER_BYTE * n_weights as f64;
                let header = planner.output_size_bytes(&recipe)? as f64 - data;
                Ok(weights(bits / BITS_PER_BYTE * n_weights as f64 + header))
            }
            Self::Fits { memory_bytes, n_ctx } => {
                let recipe = super::recipe(model, Preset::Q4_K_M);
                let estimate = memory_estimate(model, &recipe, cpu, n_ctx);
                let rest = estimate.total_bytes() - estimate.weights_bytes;
                let left = memory_bytes.checked_sub(rest).filter(|&left| left > 0);
                left.ok_or_else(|| Error::BadRequest {
                    message: format!(
                        "{} of memory are less than cache and program need at {n_ctx} tokens: {}",
                        bytes_text(memory_bytes),
                        bytes_text(rest)
                    ),
                })
            }
        }
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::BadRequest {
            message: format!("{text:?} is no budget; write 4.5GiB, 4.8bpw, 60% or \"fits 8GiB at 8192\""),
        };
        let trimmed = text.trim();
        let positive = |number: &str| {
            let number = number.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
            number.ok_or_else(bad)
        };
        if let Some(number) = trimmed.strip_suffix('%') {
            return positive(number).map(|percent| Self::Share(percent / 100.0));
        }
        if let Some(number) = trimmed.to_ascii_lowercase().strip_suffix("bpw") {
            return positive(number).map(Self::BitsPerWeight);
        }
        let size = |text: &str| bytes_from_text(text).ok().filter(|&n_bytes| n_bytes > 0).ok_or_else(bad);
        if let Some(rest) = trimmed.strip_prefix("fits ") {
            let (memory, n_ctx) = rest.split_once(" at ").ok_or_else(bad)?;
            let n_ctx = n_ctx.trim().parse::<u64>().ok().filter(|&n_ctx| n_ctx > 0).ok_or_else(bad)?;
            return Ok(Self::Fits { memory_bytes: size(memory)?, n_ctx });
        }
        size(trimmed).map(Self::Bytes)
    }
}

impl Display for Budget {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(n_bytes) => write!(f, "{n_bytes}"),
            Self::BitsPerWeight(bits) => write!(f, "{bits}bpw"),
            Self::Share(share) => write!(f, "{}%", (share * 1e4).round() / 100.0),
            Self::Fits { memory_bytes, n_ctx } => write!(f, "fits {memory_bytes} at {n_ctx}"),
        }
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.to_string()
    }
}

impl TryFrom<String> for Budget {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Levels whose names say how large a budgeted file is: those that need no importance matrix.
fn named_levels() -> impl Iterator<Item = Level> {
    Preset::all().filter(|preset| preset.base_dtype().is_quantized() && !preset.needs_imatrix()).map(Level::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_written() {
        let check = |text: &str, expected: Budget| {
            assert_eq!(text.parse::<Budget>().unwrap(), expected, "{text}");
            assert_eq!(expected.to_string().parse::<Budget>().unwrap(), expected, "{expected}");
        };
        check("4.5GiB", Budget::Bytes(4_831_838_208));
        check("1000", Budget::Bytes(1000));
        check("4.8bpw", Budget::BitsPerWeight(4.8));
        check(" 60 % ", Budget::Share(0.6));
        check("fits 8 GiB at 8192", Budget::Fits { memory_bytes: 8 << 30, n_ctx: 8192 });
        for text in ["", "0", "-3%", "bpw", "nan%", "fits 8GiB", "fits 8GiB at 0", "4.8 bits", "infbpw"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }
}
