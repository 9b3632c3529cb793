//! Levels: a framework at a precision.

use super::{Framework, Preset};
use crate::error::{Error, Result};

/// A framework at a precision, made only from the tables: `Q4_K_M` of llama.cpp, `mlx:4-bit-g64`.
///
/// Levels of llama.cpp have bare names; those of other frameworks begin with the framework's word and a colon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level {
    framework: Framework,
    /// Position in the framework's table, from the most to the least precise.
    idx: u8,
}

/// Name, class and description of a level.
#[derive(Debug)]
pub(super) struct LevelRow {
    /// The name everywhere but in file names.
    pub(super) name: &'static str,
    class: PrecisionClass,
    description: &'static str,
}

impl LevelRow {
    pub(super) const fn new(name: &'static str, class: PrecisionClass, description: &'static str) -> Self {
        Self { name, class, description }
    }
}

/// A level that can only be made from a checkpoint, with its exact size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OtherLevel {
    /// The level.
    pub level: Level,
    /// Size of all its files together, in bytes.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// The same two with embeddings and head in 8 bits; `None` where that cannot be had.
    pub wide_ends: Option<(u64, f64)>,
}

impl OtherLevel {
    /// Size in bytes and bits per weight, with embeddings and head in 8 bits if that is asked for and can be had.
    #[must_use]
    pub fn size_and_bits(&self, has_wide_ends: bool) -> (u64, f64) {
        self.wide_ends.filter(|_| has_wide_ends).unwrap_or((self.size_bytes, self.bits_per_weight))
    }
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

/// Levels of MLX: those that `mlx_lm.convert` has (mlx-lm 0.32.2), with its words for bits, groups, recipes and modes.
const MLX: [LevelRow; 26] = [
    LevelRow::new("mlx:bf16", PrecisionClass::Full, "16-bit floats with the range of F32; not quantized"),
    LevelRow::new("mlx:8-bit-g32", PrecisionClass::Medium, "8 bits, a scale and an offset per 32 weights; no visible loss"),
    LevelRow::new("mlx:8-bit-g64", PrecisionClass::Medium, "8 bits, a scale and an offset per 64 weights; no visible loss"),
    LevelRow::new("mlx:8-bit-g128", PrecisionClass::Medium, "8 bits, a scale and an offset per 128 weights; no visible loss"),
    LevelRow::new("mlx:mxfp8", PrecisionClass::Medium, "8-bit floats, one power of two per 32 weights"),
    LevelRow::new(
        "mlx:6-bit-g32",
        PrecisionClass::Medium,
        "6 bits, a scale and an offset per 32 weights; very close to the original",
    ),
    LevelRow::new(
        "mlx:6-bit-g64",
        PrecisionClass::Medium,
        "6 bits, a scale and an offset per 64 weights; very close to the original",
    ),
    LevelRow::new(
        "mlx:6-bit-g128",
        PrecisionClass::Medium,
        "6 bits, a scale and an offset per 128 weights; very close to the original",
    ),
    LevelRow::new(
        "mlx:5-bit-g32",
        PrecisionClass::Medium,
        "5 bits, a scale and an offset per 32 weights; a loss that is hard to notice",
    ),
    LevelRow::new(
        "mlx:5-bit-g64",
        PrecisionClass::Medium,
        "5 bits, a scale and an offset per 64 weights; a loss that is hard to notice",
    ),
    LevelRow::new(
        "mlx:5-bit-g128",
        PrecisionClass::Medium,
        "5 bits, a scale and an offset per 128 weights; a loss that is hard to notice",
    ),
    LevelRow::new(
        "mlx:mixed_4_6",
        PrecisionClass::Low,
        "4 bits, the head and some value and down projections in 6 bits; closer than 4 bits throughout",
    ),
    LevelRow::new("mlx:4-bit-g32", PrecisionClass::Low, "4 bits, a scale and an offset per 32 weights; the usual compromise"),
    LevelRow::new("mlx:4-bit-g64", PrecisionClass::Low, "4 bits, a scale and an offset per 64 weights; the usual compromise"),
    LevelRow::new("mlx:4-bit-g128", PrecisionClass::Low, "4 bits, a scale and an offset per 128 weights; the usual compromise"),
    LevelRow::new("mlx:nvfp4", PrecisionClass::Low, "4-bit floats, one small scale per 16 weights; loses small weights"),
    LevelRow::new("mlx:mxfp4", PrecisionClass::Low, "4-bit floats, one power of two per 32 weights; for models trained in MXFP4"),
    LevelRow::new(
        "mlx:mixed_3_6",
        PrecisionClass::Low,
        "3 bits, the head and some value and down projections in 6 bits; noticeable loss",
    ),
    LevelRow::new(
        "mlx:mixed_3_4",
        PrecisionClass::Low,
        "3 bits, the head and some value and down projections in 4 bits; noticeable loss",
    ),
    LevelRow::new("mlx:3-bit-g32", PrecisionClass::Low, "3 bits, a scale and an offset per 32 weights; noticeable loss"),
    LevelRow::new("mlx:3-bit-g64", PrecisionClass::Low, "3 bits, a scale and an offset per 64 weights; noticeable loss"),
    LevelRow::new("mlx:3-bit-g128", PrecisionClass::Low, "3 bits, a scale and an offset per 128 weights; noticeable loss"),
    LevelRow::new(
        "mlx:mixed_2_6",
        PrecisionClass::UltraLow,
        "2 bits, the head and some value and down projections in 6 bits; breaks small models",
    ),
    LevelRow::new("mlx:2-bit-g32", PrecisionClass::UltraLow, "2 bits, a scale and an offset per 32 weights; breaks most models"),
    LevelRow::new("mlx:2-bit-g64", PrecisionClass::UltraLow, "2 bits, a scale and an offset per 64 weights; breaks most models"),
    LevelRow::new(
        "mlx:2-bit-g128",
        PrecisionClass::UltraLow,
        "2 bits, a scale and an offset per 128 weights; breaks most models",
    ),
];

/// Levels of ONNX Runtime: floats, and whole numbers of `MatMulNBits` and `GatherBlockQuantized` under a scale for each block.
const ONNX: [LevelRow; 9] = [
    LevelRow::new("onnx:FP32", PrecisionClass::Full, "32-bit floats; not quantized"),
    LevelRow::new("onnx:FP16", PrecisionClass::Full, "16-bit floats, computed with as such; made for GPUs"),
    LevelRow::new("onnx:INT8-g32", PrecisionClass::Medium, "8 bits, a scale per 32 weights; no visible loss"),
    LevelRow::new("onnx:INT8-g128", PrecisionClass::Medium, "8 bits, a scale per 128 weights; no visible loss"),
    LevelRow::new(
        "onnx:INT4-mixed",
        PrecisionClass::Low,
        "4 bits, embeddings, head and some value and down projections in 8 bits; closer than 4 bits throughout",
    ),
    LevelRow::new("onnx:INT4-g16", PrecisionClass::Low, "4 bits, a scale per 16 weights; larger and closer than per 32"),
    LevelRow::new("onnx:INT4-g32", PrecisionClass::Low, "4 bits, a scale per 32 weights; the usual compromise"),
    LevelRow::new("onnx:INT4-g64", PrecisionClass::Low, "4 bits, a scale per 64 weights; smaller than per 32"),
    LevelRow::new("onnx:INT4-g128", PrecisionClass::Low, "4 bits, a scale per 128 weights; the smallest"),
];

/// The endings that names may leave out: `mlx:4-bit` is `mlx:4-bit-g64`, `onnx:INT4` is `onnx:INT4-g32`.
const USUAL_GROUPS: [(&str, &str); 2] = [("mlx:", "-g64"), ("onnx:", "-g32")];

macro_rules! levels_of_presets {
    ($($name:ident),* $(,)?) => {
        /// The levels of llama.cpp.
        #[allow(missing_docs, reason = "the table of presets says it all")]
        impl Level {
            $(pub const $name: Self = Self::of_preset(Preset::$name);)*
        }
    };
}

levels_of_presets!(
    F32, BF16, F16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1, Q4_0, IQ4_NL, IQ4_XS, MXFP4_MOE, Q3_K_L,
    Q3_K_M, IQ3_M, IQ3_S, Q3_K_S, IQ3_XS, IQ3_XXS, Q2_K, Q2_K_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, TQ2_0, IQ1_M, TQ1_0, IQ1_S
);

impl Level {
    /// The llama.cpp level of a preset.
    #[must_use]
    pub const fn of_preset(preset: Preset) -> Self {
        Self { framework: Framework::LlamaCpp, idx: preset as u8 }
    }

    /// The level of MLX that quantizes nothing.
    pub const MLX_BF16: Self = Self { framework: Framework::Mlx, idx: 0 };

    /// All levels that Planish makes, framework after framework.
    pub fn all() -> impl Iterator<Item = Self> {
        Framework::ALL.into_iter().flat_map(Self::of)
    }

    /// The levels of a framework, from the most to the least precise; empty for one that Planish does not write.
    #[must_use]
    pub fn of(framework: Framework) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        let n = match framework {
            Framework::LlamaCpp => 33,
            Framework::Mlx => 26,
            Framework::OnnxRuntime => 9,
            Framework::OpenVino | Framework::Qnn => 0,
        };
        (0..n).map(move |idx| Self { framework, idx })
    }

    /// The framework that the level belongs to.
    #[must_use]
    pub const fn framework(self) -> Framework {
        self.framework
    }

    /// The preset of a level of llama.cpp; `None` for other frameworks.
    #[must_use]
    pub fn preset(self) -> Option<Preset> {
        if self.framework == Framework::LlamaCpp { Preset::all().nth(self.idx.into()) } else { None }
    }

    /// The name: `Q4_K_M`, `mlx:4-bit-g64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The name as part of a file name, which may not hold a colon: `mlx-4-bit-g64`.
    #[must_use]
    pub fn file_name(self) -> String {
        self.name().replace(':', "-")
    }

    /// The group on the screen.
    #[must_use]
    pub fn class(self) -> PrecisionClass {
        self.row().class
    }

    /// What the level is, in one line for a tooltip.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.row().description
    }

    /// Reads names separated by commas, in any case: `Q8_0,q4_k_m,mlx:4-bit`. Order is kept, repeats are dropped.
    ///
    /// # Errors
    /// `Error::UnknownLevel` for the first name that is not a level; also for an empty list.
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

    fn row(self) -> &'static LevelRow {
        match self.preset() {
            Some(preset) => preset.level_row(),
            None if self.framework == Framework::OnnxRuntime => &ONNX[usize::from(self.idx)],
            None => &MLX[usize::from(self.idx)],
        }
    }
}

impl std::str::FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let is_named = |level: &Self| {
            let usual = USUAL_GROUPS.iter().find(|(prefix, _)| level.name().starts_with(prefix)).map_or("", |row| row.1);
            let rest = level.name().get(name.len()..).filter(|rest| rest.is_empty() || *rest == usual);
            rest.is_some() && level.name().get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        Self::all().find(is_named).ok_or_else(|| Error::UnknownLevel {
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

impl std::fmt::Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
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
    fn every_level_has_a_name_of_its_own_that_reads_back() {
        let mut names = std::collections::BTreeSet::new();
        for level in Level::all() {
            assert!(names.insert(level.name().to_lowercase()), "{level}");
            assert_eq!(level.name().to_lowercase().parse(), Ok(level));
            assert!(!level.file_name().contains(':') && !level.description().is_empty());
            assert_eq!(level.preset().is_some(), level.framework() == Framework::LlamaCpp);
        }
        assert_eq!(names.len(), 68);
        assert_eq!(Level::MLX_BF16.name(), "mlx:bf16");
        // From the most to the least precise.
        for framework in Framework::ALL {
            assert!(Level::of(framework).map(Level::class).is_sorted(), "{framework:?}");
        }
    }

    #[test]
    fn lists_keep_order_and_drop_repeats() {
        let check =
            |text: &str, expected: Option<&[Level]>| assert_eq!(Level::list_from_text(text).ok().as_deref(), expected, "{text}");
        check("Q8_0", Some(&[Level::Q8_0]));
        check("q4_k_m, Q8_0,Q4_K_M", Some(&[Level::Q4_K_M, Level::Q8_0]));
        let short: Level = "MLX:4-bit".parse().unwrap();
        assert_eq!((short.name(), short.file_name().as_str()), ("mlx:4-bit-g64", "mlx-4-bit-g64"));
        check("mlx:4-bit-g64,mlx:4-bit", Some(&[short]));
        let short: Level = "onnx:int4".parse().unwrap();
        assert_eq!((short.name(), short.file_name().as_str()), ("onnx:INT4-g32", "onnx-INT4-g32"));
        check("onnx:INT8,onnx:INT4-g64", Level::list_from_text("onnx:INT8-g32,onnx:INT4-g64").ok().as_deref());
        check("onnx:INT4-", None);
        check("mlx:4", None);
        check("mlx:", None);
        check("4-bit-g64", None);
        check("", None);
        check("Q8_0,", None);
        check("Q9", None);
    }
}
