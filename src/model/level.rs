//! Quantization levels: the presets of `llama-quantize` that Planish carries out.

use super::DType;
use crate::error::{Error, Result};

/// A preset: which data type most matrices get. The exceptions are in `advise::recipe`.
#[allow(non_camel_case_types, reason = "llama.cpp's spelling")]
#[allow(missing_docs, reason = "the table below says it all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    F32,
    BF16,
    F16,
    Q8_0,
    Q6_K,
    Q5_K_M,
    Q5_K_S,
    Q5_1,
    Q5_0,
    Q4_K_M,
    Q4_K_S,
    Q4_1,
    Q4_0,
    IQ4_NL,
    IQ4_XS,
    MXFP4_MOE,
    Q3_K_L,
    Q3_K_M,
    IQ3_M,
    IQ3_S,
    Q3_K_S,
    IQ3_XS,
    IQ3_XXS,
    Q2_K,
    Q2_K_S,
    IQ2_M,
    IQ2_S,
    IQ2_XS,
    IQ2_XXS,
    TQ2_0,
    IQ1_M,
    TQ1_0,
    IQ1_S,
}

/// How levels are grouped on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PrecisionClass {
    /// 16 bits and more.
    Full,
    /// 5 to 8 bits.
    Medium,
    /// 3 and 4 bits.
    Low,
    /// 1 and 2 bits.
    UltraLow,
}

impl PrecisionClass {
    /// All classes from the most to the least precise.
    pub const ALL: [Self; 4] = [Self::Full, Self::Medium, Self::Low, Self::UltraLow];

    /// The class with its bits, for a person.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "Full, 16-32 bits",
            Self::Medium => "Medium, 5-8 bits",
            Self::Low => "Low, 3-4 bits",
            Self::UltraLow => "Ultra-low, 1-2 bits",
        }
    }
}

/// `(level, name, llama_ftype id, base type, class, what it is)`.
///
/// Source of the ids: `enum llama_ftype` in llama.h, llama.cpp of 2026-08-21.
const TABLE: [(Level, &str, u32, DType, PrecisionClass, &str); 33] = [
    (Level::F32, "F32", 0, DType::F32, PrecisionClass::Full, "32-bit floats; only useful as an exact intermediate"),
    (
        Level::BF16,
        "BF16",
        32,
        DType::BF16,
        PrecisionClass::Full,
        "16-bit floats with the range of F32; the type most models are trained in",
    ),
    (Level::F16, "F16", 1, DType::F16, PrecisionClass::Full, "16-bit floats; the usual unquantized reference"),
    (Level::Q8_0, "Q8_0", 7, DType::Q8_0, PrecisionClass::Medium, "8 bits, one scale per 32 weights; no visible loss"),
    (Level::Q6_K, "Q6_K", 18, DType::Q6_K, PrecisionClass::Medium, "6-bit k-quant; very close to the original"),
    (
        Level::Q5_K_M,
        "Q5_K_M",
        17,
        DType::Q5_K,
        PrecisionClass::Medium,
        "5-bit k-quant, half of attn_v and ffn_down in 6 bits; a loss that is hard to notice",
    ),
    (Level::Q5_K_S, "Q5_K_S", 16, DType::Q5_K, PrecisionClass::Medium, "5-bit k-quant throughout"),
    (Level::Q5_1, "Q5_1", 9, DType::Q5_1, PrecisionClass::Medium, "5 bits with a minimum per 32 weights; legacy"),
    (Level::Q5_0, "Q5_0", 8, DType::Q5_0, PrecisionClass::Medium, "5 bits, one scale per 32 weights; legacy"),
    (
        Level::Q4_K_M,
        "Q4_K_M",
        15,
        DType::Q4_K,
        PrecisionClass::Low,
        "4-bit k-quant, half of attn_v and ffn_down in 6 bits; the usual compromise",
    ),
    (Level::Q4_K_S, "Q4_K_S", 14, DType::Q4_K, PrecisionClass::Low, "4-bit k-quant, first layers in 5 bits"),
    (Level::Q4_1, "Q4_1", 3, DType::Q4_1, PrecisionClass::Low, "4 bits with a minimum per 32 weights; legacy"),
    (Level::Q4_0, "Q4_0", 2, DType::Q4_0, PrecisionClass::Low, "4 bits, one scale per 32 weights; legacy, fast on many CPUs"),
    (
        Level::IQ4_NL,
        "IQ4_NL",
        25,
        DType::IQ4_NL,
        PrecisionClass::Low,
        "4 bits on uneven levels, one scale per 32 weights; a little closer than Q4_0 and as large",
    ),
    (
        Level::IQ4_XS,
        "IQ4_XS",
        30,
        DType::IQ4_XS,
        PrecisionClass::Low,
        "4 bits on uneven levels, shared scales; smaller than Q4_K_S and nearly as close",
    ),
    (
        Level::MXFP4_MOE,
        "MXFP4_MOE",
        38,
        DType::MXFP4,
        PrecisionClass::Low,
        "4-bit floats for the experts of a mixture, 8 bits for the rest; for models trained in MXFP4",
    ),
    (
        Level::Q3_K_L,
        "Q3_K_L",
        13,
        DType::Q3_K,
        PrecisionClass::Low,
        "3-bit k-quant, attention output, values and ffn_down in 5 bits",
    ),
    (
        Level::Q3_K_M,
        "Q3_K_M",
        12,
        DType::Q3_K,
        PrecisionClass::Low,
        "3-bit k-quant, attention output, values and ffn_down in 4 bits; noticeable loss",
    ),
    (
        Level::IQ3_M,
        "IQ3_M",
        27,
        DType::IQ3_S,
        PrecisionClass::Low,
        "3-bit grid, attention values and output in 4 bits; noticeable loss",
    ),
    (Level::IQ3_S, "IQ3_S", 26, DType::IQ3_S, PrecisionClass::Low, "3-bit grid throughout; closer than Q3_K_S and as large"),
    (Level::Q3_K_S, "Q3_K_S", 11, DType::Q3_K, PrecisionClass::Low, "3-bit k-quant throughout; noticeable loss"),
    (
        Level::IQ3_XS,
        "IQ3_XS",
        22,
        DType::IQ3_S,
        PrecisionClass::Low,
        "3-bit grids, the coarser one for most layers; needs an importance matrix",
    ),
    (
        Level::IQ3_XXS,
        "IQ3_XXS",
        23,
        DType::IQ3_XXS,
        PrecisionClass::Low,
        "3-bit coarse grid, parts in 2 bits; needs an importance matrix",
    ),
    (
        Level::Q2_K,
        "Q2_K",
        10,
        DType::Q2_K,
        PrecisionClass::UltraLow,
        "2-bit k-quant with 3-bit attention output and ffn_down; breaks small models",
    ),
    (Level::Q2_K_S, "Q2_K_S", 21, DType::Q2_K, PrecisionClass::UltraLow, "2-bit k-quant throughout; needs an importance matrix"),
    (
        Level::IQ2_M,
        "IQ2_M",
        29,
        DType::IQ2_S,
        PrecisionClass::UltraLow,
        "2-bit grid, parts in 3 bits; needs an importance matrix, breaks most models all the same",
    ),
    (
        Level::IQ2_S,
        "IQ2_S",
        28,
        DType::IQ2_XS,
        PrecisionClass::UltraLow,
        "2-bit coarser grid, parts in 3 bits; needs an importance matrix, breaks most models all the same",
    ),
    (
        Level::IQ2_XS,
        "IQ2_XS",
        20,
        DType::IQ2_XS,
        PrecisionClass::UltraLow,
        "2-bit coarser grid; needs an importance matrix, breaks most models all the same",
    ),
    (
        Level::IQ2_XXS,
        "IQ2_XXS",
        19,
        DType::IQ2_XXS,
        PrecisionClass::UltraLow,
        "2-bit coarsest grid; needs an importance matrix, for very large models",
    ),
    (
        Level::TQ2_0,
        "TQ2_0",
        37,
        DType::TQ2_0,
        PrecisionClass::UltraLow,
        "three values in 2 bits; only for models trained with ternary weights",
    ),
    (
        Level::IQ1_M,
        "IQ1_M",
        31,
        DType::IQ1_M,
        PrecisionClass::UltraLow,
        "three values on a grid; needs an importance matrix, for the largest models",
    ),
    (
        Level::TQ1_0,
        "TQ1_0",
        36,
        DType::TQ1_0,
        PrecisionClass::UltraLow,
        "three values in 1.7 bits; only for models trained with ternary weights",
    ),
    (
        Level::IQ1_S,
        "IQ1_S",
        24,
        DType::IQ1_S,
        PrecisionClass::UltraLow,
        "three values on a grid with fewer scales; needs an importance matrix, for the largest models",
    ),
];

impl Level {
    /// All levels, from the most to the least precise.
    #[must_use]
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The name as llama.cpp writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The value of `general.file_type`.
    #[must_use]
    pub fn file_type_id(self) -> u32 {
        self.row().2
    }

    /// The level that keeps floats of this type as they are; `None` for blocks.
    #[must_use]
    pub fn from_float(dtype: DType) -> Option<Self> {
        [Self::F32, Self::BF16, Self::F16].into_iter().find(|level| level.base_dtype() == dtype)
    }

    /// The level that `general.file_type` names; `None` for presets that Planish does not write.
    #[must_use]
    pub fn from_file_type_id(id: u64) -> Option<Self> {
        TABLE.iter().find(|row| u64::from(row.2) == id).map(|row| row.0)
    }

    /// The type that matrices get unless the recipe makes an exception.
    #[must_use]
    pub fn base_dtype(self) -> DType {
        self.row().3
    }

    /// The group on the screen.
    #[must_use]
    pub fn class(self) -> PrecisionClass {
        self.row().4
    }

    /// True for levels whose types are worth nothing without importances of the columns.
    #[must_use]
    pub fn needs_imatrix(self) -> bool {
        use Level::{IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XS, IQ3_XXS, Q2_K_S};
        matches!(self, IQ3_XS | IQ3_XXS | Q2_K_S | IQ2_M | IQ2_S | IQ2_XS | IQ2_XXS | IQ1_M | IQ1_S)
    }

    /// What a useful file of this level takes besides the model: `an importance matrix`.
    #[must_use]
    pub fn prerequisite(self) -> Option<&'static str> {
        match self {
            _ if self.needs_imatrix() => Some("an importance matrix"),
            Self::TQ2_0 | Self::TQ1_0 => Some("a model that was trained with ternary weights"),
            Self::MXFP4_MOE => Some("a mixture of experts that was trained in MXFP4"),
            _ => None,
        }
    }

    /// One line for a tooltip.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.row().5
    }

    /// Reads names separated by commas, in any case: `Q8_0,q4_k_m`. Order is kept, repeats are dropped.
    ///
    /// # Errors
    /// `Error::UnknownLevel` for the first name that is no level; also for an empty list.
    pub fn list_from_text(text: &str) -> Result<Vec<Self>> {
        let mut levels = Vec::new();
        for name in text.split(',') {
            let level: Self = name.trim().parse()?;
            if !levels.contains(&level) {
                levels.push(level);
            }
        }
        Ok(levels)
    }

    fn row(self) -> &'static (Self, &'static str, u32, DType, PrecisionClass, &'static str) {
        // The table is in declaration order, which the test below checks.
        &TABLE[self as usize]
    }
}

impl std::str::FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = TABLE.iter().find(|row| row.1.eq_ignore_ascii_case(name));
        found.map(|row| row.0).ok_or_else(|| Error::UnknownLevel {
            name: name.to_string(),
            known: Self::all().map(Self::name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Level {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_declaration_order() {
        for (idx, level) in Level::all().enumerate() {
            assert_eq!(level as usize, idx);
            assert_eq!(Level::from_file_type_id(level.file_type_id().into()), Some(level));
        }
    }

    #[test]
    fn lists_keep_order_and_drop_repeats() {
        let check =
            |text: &str, expected: Option<&[Level]>| assert_eq!(Level::list_from_text(text).ok().as_deref(), expected, "{text}");
        check("Q8_0", Some(&[Level::Q8_0]));
        check("q4_k_m, Q8_0,Q4_K_M", Some(&[Level::Q4_K_M, Level::Q8_0]));
        check("", None);
        check("Q8_0,", None);
        check("Q9", None);
    }
}
