//! Presets of `llama-quantize`: what a level of llama.cpp is in a GGUF file.

use super::DType;
use super::level::{Level, LevelRow, PrecisionClass};

/// A preset: which data type most matrices get. The exceptions are in `advise::rules`.
#[allow(non_camel_case_types, reason = "llama.cpp's spelling")]
#[allow(missing_docs, reason = "the table below says it all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Preset {
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

/// `(preset, llama_ftype id, base type, the row of its level)`, in the order of the declaration.
///
/// Source of the ids: `enum llama_ftype` in llama.h, llama.cpp of 2026-08-21.
const TABLE: [(Preset, u32, DType, LevelRow); 33] = [
    (
        Preset::F32,
        0,
        DType::F32,
        LevelRow::new("F32", PrecisionClass::Full, "32-bit floats; only useful as an exact intermediate"),
    ),
    (
        Preset::BF16,
        32,
        DType::BF16,
        LevelRow::new("BF16", PrecisionClass::Full, "16-bit floats with the range of F32; the type most models are trained in"),
    ),
    (Preset::F16, 1, DType::F16, LevelRow::new("F16", PrecisionClass::Full, "16-bit floats; the usual unquantized reference")),
    (
        Preset::Q8_0,
        7,
        DType::Q8_0,
        LevelRow::new("Q8_0", PrecisionClass::Medium, "8 bits, one scale per 32 weights; no visible loss"),
    ),
    (Preset::Q6_K, 18, DType::Q6_K, LevelRow::new("Q6_K", PrecisionClass::Medium, "6-bit k-quant; very close to the original")),
    (
        Preset::Q5_K_M,
        17,
        DType::Q5_K,
        LevelRow::new(
            "Q5_K_M",
            PrecisionClass::Medium,
            "5-bit k-quant, half of attn_v and ffn_down in 6 bits; a loss that is hard to notice",
        ),
    ),
    (Preset::Q5_K_S, 16, DType::Q5_K, LevelRow::new("Q5_K_S", PrecisionClass::Medium, "5-bit k-quant throughout")),
    (Preset::Q5_1, 9, DType::Q5_1, LevelRow::new("Q5_1", PrecisionClass::Medium, "5 bits with a minimum per 32 weights; legacy")),
    (Preset::Q5_0, 8, DType::Q5_0, LevelRow::new("Q5_0", PrecisionClass::Medium, "5 bits, one scale per 32 weights; legacy")),
    (
        Preset::Q4_K_M,
        15,
        DType::Q4_K,
        LevelRow::new(
            "Q4_K_M",
            PrecisionClass::Low,
            "4-bit k-quant, half of attn_v and ffn_down in 6 bits; the usual compromise",
        ),
    ),
    (Preset::Q4_K_S, 14, DType::Q4_K, LevelRow::new("Q4_K_S", PrecisionClass::Low, "4-bit k-quant, first layers in 5 bits")),
    (Preset::Q4_1, 3, DType::Q4_1, LevelRow::new("Q4_1", PrecisionClass::Low, "4 bits with a minimum per 32 weights; legacy")),
    (
        Preset::Q4_0,
        2,
        DType::Q4_0,
        LevelRow::new("Q4_0", PrecisionClass::Low, "4 bits, one scale per 32 weights; legacy, fast on many CPUs"),
    ),
    (
        Preset::IQ4_NL,
        25,
        DType::IQ4_NL,
        LevelRow::new(
            "IQ4_NL",
            PrecisionClass::Low,
            "4 bits on uneven levels, one scale per 32 weights; a little closer than Q4_0 and as large",
        ),
    ),
    (
        Preset::IQ4_XS,
        30,
        DType::IQ4_XS,
        LevelRow::new(
            "IQ4_XS",
            PrecisionClass::Low,
            "4 bits on uneven levels, shared scales; smaller than Q4_K_S and nearly as close",
        ),
    ),
    (
        Preset::MXFP4_MOE,
        38,
        DType::MXFP4,
        LevelRow::new(
            "MXFP4_MOE",
            PrecisionClass::Low,
            "4-bit floats for the experts of a mixture, 8 bits for the rest; for models trained in MXFP4",
        ),
    ),
    (
        Preset::Q3_K_L,
        13,
        DType::Q3_K,
        LevelRow::new("Q3_K_L", PrecisionClass::Low, "3-bit k-quant, attention output, values and ffn_down in 5 bits"),
    ),
    (
        Preset::Q3_K_M,
        12,
        DType::Q3_K,
        LevelRow::new(
            "Q3_K_M",
            PrecisionClass::Low,
            "3-bit k-quant, attention output, values and ffn_down in 4 bits; noticeable loss",
        ),
    ),
    (
        Preset::IQ3_M,
        27,
        DType::IQ3_S,
        LevelRow::new("IQ3_M", PrecisionClass::Low, "3-bit grid, attention values and output in 4 bits; noticeable loss"),
    ),
    (
        Preset::IQ3_S,
        26,
        DType::IQ3_S,
        LevelRow::new("IQ3_S", PrecisionClass::Low, "3-bit grid throughout; closer than Q3_K_S and as large"),
    ),
    (Preset::Q3_K_S, 11, DType::Q3_K, LevelRow::new("Q3_K_S", PrecisionClass::Low, "3-bit k-quant throughout; noticeable loss")),
    (
        Preset::IQ3_XS,
        22,
        DType::IQ3_S,
        LevelRow::new("IQ3_XS", PrecisionClass::Low, "3-bit grids, the coarser one for most layers; needs an importance matrix"),
    ),
    (
        Preset::IQ3_XXS,
        23,
        DType::IQ3_XXS,
        LevelRow::new("IQ3_XXS", PrecisionClass::Low, "3-bit coarse grid, parts in 2 bits; needs an importance matrix"),
    ),
    (
        Preset::Q2_K,
        10,
        DType::Q2_K,
        LevelRow::new(
            "Q2_K",
            PrecisionClass::UltraLow,
            "2-bit k-quant with 3-bit attention output and ffn_down; breaks small models",
        ),
    ),
    (
        Preset::Q2_K_S,
        21,
        DType::Q2_K,
        LevelRow::new("Q2_K_S", PrecisionClass::UltraLow, "2-bit k-quant throughout; needs an importance matrix"),
    ),
    (
        Preset::IQ2_M,
        29,
        DType::IQ2_S,
        LevelRow::new(
            "IQ2_M",
            PrecisionClass::UltraLow,
            "2-bit grid, parts in 3 bits; needs an importance matrix, breaks most models all the same",
        ),
    ),
    (
        Preset::IQ2_S,
        28,
        DType::IQ2_XS,
        LevelRow::new(
            "IQ2_S",
            PrecisionClass::UltraLow,
            "2-bit coarser grid, parts in 3 bits; needs an importance matrix, breaks most models all the same",
        ),
    ),
    (
        Preset::IQ2_XS,
        20,
        DType::IQ2_XS,
        LevelRow::new(
            "IQ2_XS",
            PrecisionClass::UltraLow,
            "2-bit coarser grid; needs an importance matrix, breaks most models all the same",
        ),
    ),
    (
        Preset::IQ2_XXS,
        19,
        DType::IQ2_XXS,
        LevelRow::new(
            "IQ2_XXS",
            PrecisionClass::UltraLow,
            "2-bit coarsest grid; needs an importance matrix, for very large models",
        ),
    ),
    (
        Preset::TQ2_0,
        37,
        DType::TQ2_0,
        LevelRow::new("TQ2_0", PrecisionClass::UltraLow, "ternary weights in 2 bits; only for models trained with them"),
    ),
    (
        Preset::IQ1_M,
        31,
        DType::IQ1_M,
        LevelRow::new("IQ1_M", PrecisionClass::UltraLow, "ternary grid; needs an importance matrix, for the largest models"),
    ),
    (
        Preset::TQ1_0,
        36,
        DType::TQ1_0,
        LevelRow::new("TQ1_0", PrecisionClass::UltraLow, "ternary weights in 1.7 bits; only for models trained with them"),
    ),
    (
        Preset::IQ1_S,
        24,
        DType::IQ1_S,
        LevelRow::new(
            "IQ1_S",
            PrecisionClass::UltraLow,
            "ternary grid with fewer scales; needs an importance matrix, for the largest models",
        ),
    ),
];

impl Preset {
    /// All presets, from the most to the least precise.
    #[must_use]
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The name as llama.cpp writes it, which is also the level's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.level_row().name
    }

    /// The value of `general.file_type`.
    #[must_use]
    pub fn file_type_id(self) -> u32 {
        self.row().1
    }

    /// The preset that keeps floats of this type as they are; `None` for any type but F32, BF16 and F16.
    #[must_use]
    pub fn from_float(dtype: DType) -> Option<Self> {
        [Self::F32, Self::BF16, Self::F16].into_iter().find(|preset| preset.base_dtype() == dtype)
    }

    /// The preset that `general.file_type` names; `None` for those that Planish does not write.
    #[must_use]
    pub fn from_file_type_id(id: u64) -> Option<Self> {
        TABLE.iter().find(|row| u64::from(row.1) == id).map(|row| row.0)
    }

    /// The type that matrices get unless the recipe makes an exception.
    #[must_use]
    pub fn base_dtype(self) -> DType {
        self.row().2
    }

    /// True for presets whose types are worth nothing without importances of the columns.
    #[must_use]
    pub fn needs_imatrix(self) -> bool {
        use Preset::{IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XS, IQ3_XXS, Q2_K_S};
        matches!(self, IQ3_XS | IQ3_XXS | Q2_K_S | IQ2_M | IQ2_S | IQ2_XS | IQ2_XXS | IQ1_M | IQ1_S)
    }

    /// What this preset needs to make a useful file: `an importance matrix`; `None` where any model will do.
    #[must_use]
    pub fn prerequisite(self) -> Option<&'static str> {
        match self {
            _ if self.needs_imatrix() => Some("an importance matrix"),
            Self::TQ2_0 | Self::TQ1_0 => Some("a model that was trained with ternary weights"),
            Self::MXFP4_MOE => Some("a mixture of experts that was trained in MXFP4"),
            _ => None,
        }
    }

    /// Name, class and description of its level.
    pub(super) fn level_row(self) -> &'static LevelRow {
        &self.row().3
    }

    fn row(self) -> &'static (Self, u32, DType, LevelRow) {
        // The table is in declaration order, which the test below checks.
        &TABLE[self as usize]
    }
}

impl From<Preset> for Level {
    fn from(preset: Preset) -> Self {
        Self::of_preset(preset)
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Framework;
    use super::*;

    #[test]
    fn table_is_in_declaration_order() {
        for (idx, preset) in Preset::all().enumerate() {
            assert_eq!(preset as usize, idx);
            assert_eq!(Preset::from_file_type_id(preset.file_type_id().into()), Some(preset));
            assert_eq!(Level::from(preset).preset(), Some(preset));
            assert_eq!(Level::of(Framework::LlamaCpp).nth(idx), Some(preset.into()));
        }
    }
}
