//! What takes the place of a type whose blocks do not fit a tensor's rows: llama.cpp's choice, or a closer one by measured error.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rules;
use crate::error::{Error, Result};
use crate::model::DType;

/// Types of 32-blocks, each with the relative error of its weights: root mean square of the difference over that of the
/// weights.
///
/// Measured by `benches/fallback.rs` on the matrices of SmolLM2-135M's layers, F16, without an importance matrix, on 2026-11-25. On Gaussian
/// weights and with an importance matrix the same types win on every menu (`benches/README.md`).
const MEASURED: [(DType, f64); 7] = [
    (DType::Q8_0, 0.00556),
    (DType::Q5_1, 0.03905),
    (DType::Q5_0, 0.04436),
    (DType::IQ4_NL, 0.07089),
    (DType::Q4_1, 0.07745),
    (DType::Q4_0, 0.08915),
    (DType::MXFP4, 0.11338),
];

/// The menu of types for tensors whose rows are not whole blocks of the wanted type. Where no 32-block fits either: F16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Fallback {
    /// The type of lowest measured error that is not larger than llama.cpp's.
    #[default]
    LowestError,
    /// What llama-quantize takes: the same tensor types.
    LlamaCpp,
    /// The type of lowest measured error that is not larger than the wanted one or 4.5 bits, whichever is more: so a file gets
    /// about the size that its level stands for.
    SameSize,
}

impl Fallback {
    /// All menus, the default first.
    pub const ALL: [Self; 3] = [Self::LowestError, Self::LlamaCpp, Self::SameSize];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LowestError => "lowest-error",
            Self::LlamaCpp => "llama.cpp",
            Self::SameSize => "same-size",
        }
    }

    /// What it does, for a person.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::LowestError => "The type of lowest measured error that is not larger than llama.cpp's choice",
            Self::LlamaCpp => "What llama-quantize takes, often larger than the wanted type",
            Self::SameSize => "The type of lowest measured error that is about as large as the wanted one",
        }
    }

    /// The type that a tensor with rows of this length gets.
    pub(super) fn dtype(self, wanted: DType, row_len: u64) -> DType {
        let theirs = rules::fallback(wanted, row_len);
        // Floats fit all rows; where 32-blocks do not fit, no menu knows better.
        if row_len.is_multiple_of(wanted.block_len()) || !theirs.is_quantized() {
            return theirs;
        }
        match self {
            Self::LlamaCpp => theirs,
            Self::LowestError => closest(theirs.bits_per_weight(), row_len).unwrap_or(theirs),
            Self::SameSize => {
                // No type of 32-blocks is worth having below that.
                let smallest = DType::IQ4_NL.bits_per_weight();
                closest(wanted.bits_per_weight().max(smallest), row_len).unwrap_or(theirs)
            }
        }
    }
}

/// The type of lowest measured error with at most `most_bits` per weight; `None` where none fits the rows.
fn closest(most_bits: f64, row_len: u64) -> Option<DType> {
    let fitting =
        MEASURED.iter().filter(|(dtype, _)| dtype.bits_per_weight() <= most_bits && row_len.is_multiple_of(dtype.block_len()));
    fitting.min_by(|a, b| a.1.total_cmp(&b.1)).map(|&(dtype, _)| dtype)
}

impl Display for Fallback {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fallback {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|fallback| fallback.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Error::BadChange {
            text: text.to_string(),
            reason: format!("known: {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_menu_has_its_own_types() {
        use DType::{F16, IQ2_XS, IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q3_K, Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, TQ2_0};
        let check = |wanted: DType, row_len: u64, expected: [DType; 3]| {
            let found = [Fallback::LlamaCpp, Fallback::LowestError, Fallback::SameSize].map(|menu| menu.dtype(wanted, row_len));
            assert_eq!(found, expected, "{wanted} in rows of {row_len}");
        };
        check(Q2_K, 576, [Q4_0, IQ4_NL, IQ4_NL]);
        check(Q3_K, 576, [Q4_0, IQ4_NL, IQ4_NL]);
        check(TQ2_0, 576, [Q4_0, IQ4_NL, IQ4_NL]);
        check(IQ2_XS, 576, [IQ4_NL, IQ4_NL, IQ4_NL]);
        check(IQ4_XS, 576, [IQ4_NL, IQ4_NL, IQ4_NL]);
        check(Q4_K, 576, [Q5_0, Q5_0, IQ4_NL]);
        check(Q5_K, 576, [Q5_1, Q5_1, Q5_0]);
        check(Q6_K, 576, [Q8_0, Q8_0, Q5_1]);
        // Whole blocks need none, and what no block fits becomes F16.
        check(Q4_K, 512, [Q4_K; 3]);
        check(Q8_0, 576, [Q8_0; 3]);
        check(MXFP4, 576, [MXFP4; 3]);
        check(Q8_0, 100, [F16; 3]);
        check(Q4_K, 100, [F16; 3]);
        check(DType::F32, 100, [DType::F32; 3]);
    }

    #[test]
    fn a_menu_is_read_by_its_name() {
        for menu in Fallback::ALL {
            assert_eq!(menu.to_string().parse(), Ok(menu));
        }
        assert!("best".parse::<Fallback>().is_err());
    }
}
