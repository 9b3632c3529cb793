//! Element and block types of tensors.

/// Element or block type of a tensor, named as llama.cpp prints it.
///
/// Source of ids, block lengths and block sizes: `enum ggml_type` in ggml.h and `ggml-common.h`, llama.cpp of 2026-08-21
/// (the copy in llama-cpp-sys-2 0.1.160).
#[allow(non_camel_case_types, reason = "llama.cpp's spelling")]
#[allow(missing_docs, reason = "the table below says it all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ2_XXS,
    IQ2_XS,
    IQ3_XXS,
    IQ1_S,
    IQ4_NL,
    IQ3_S,
    IQ2_S,
    IQ4_XS,
    I8,
    I16,
    I32,
    I64,
    F64,
    IQ1_M,
    BF16,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
    Q2_0,
    /// A type that this version does not know, in a file that is only looked at. No id and no name leads to it.
    Unknown,
}

/// `(type, ggml id, name, weights per block, bytes per block)`.
const TABLE: [(DType, u32, &str, u64, u64); 36] = [
    (DType::F32, 0, "F32", 1, 4),
    (DType::F16, 1, "F16", 1, 2),
    (DType::Q4_0, 2, "Q4_0", 32, 18),
    (DType::Q4_1, 3, "Q4_1", 32, 20),
    (DType::Q5_0, 6, "Q5_0", 32, 22),
    (DType::Q5_1, 7, "Q5_1", 32, 24),
    (DType::Q8_0, 8, "Q8_0", 32, 34),
    (DType::Q8_1, 9, "Q8_1", 32, 36),
    (DType::Q2_K, 10, "Q2_K", 256, 84),
    (DType::Q3_K, 11, "Q3_K", 256, 110),
    (DType::Q4_K, 12, "Q4_K", 256, 144),
    (DType::Q5_K, 13, "Q5_K", 256, 176),
    (DType::Q6_K, 14, "Q6_K", 256, 210),
    (DType::Q8_K, 15, "Q8_K", 256, 292),
    (DType::IQ2_XXS, 16, "IQ2_XXS", 256, 66),
    (DType::IQ2_XS, 17, "IQ2_XS", 256, 74),
    (DType::IQ3_XXS, 18, "IQ3_XXS", 256, 98),
    (DType::IQ1_S, 19, "IQ1_S", 256, 50),
    (DType::IQ4_NL, 20, "IQ4_NL", 32, 18),
    (DType::IQ3_S, 21, "IQ3_S", 256, 110),
    (DType::IQ2_S, 22, "IQ2_S", 256, 82),
    (DType::IQ4_XS, 23, "IQ4_XS", 256, 136),
    (DType::I8, 24, "I8", 1, 1),
    (DType::I16, 25, "I16", 1, 2),
    (DType::I32, 26, "I32", 1, 4),
    (DType::I64, 27, "I64", 1, 8),
    (DType::F64, 28, "F64", 1, 8),
    (DType::IQ1_M, 29, "IQ1_M", 256, 56),
    (DType::BF16, 30, "BF16", 1, 2),
    (DType::TQ1_0, 34, "TQ1_0", 256, 54),
    (DType::TQ2_0, 35, "TQ2_0", 256, 66),
    (DType::MXFP4, 39, "MXFP4", 32, 17),
    (DType::NVFP4, 40, "NVFP4", 64, 36),
    (DType::Q1_0, 41, "Q1_0", 128, 18),
    (DType::Q2_0, 42, "Q2_0", 64, 18),
    (DType::Unknown, u32::MAX, "unknown", 1, 0),
];

/// Ids of types that llama.cpp no longer has or never had, for messages: `(id, name)`.
///
/// Source: `enum ggml_type` in ggml.h of `ik_llama.cpp`, July 2026; ids that llama.cpp has given up, from its own ggml.h.
const FOREIGN: [(u32, &str); 29] = [
    (4, "Q4_2, given up by llama.cpp in 2023"),
    (5, "Q4_3, given up by llama.cpp in 2023"),
    (31, "Q4_0_4_4, given up by llama.cpp in 2024"),
    (32, "Q4_0_4_8, given up by llama.cpp in 2024"),
    (33, "Q4_0_8_8, given up by llama.cpp in 2024"),
    (36, "IQ4_NL_4_4, given up by llama.cpp in 2025"),
    (37, "IQ4_NL_4_8, given up by llama.cpp in 2025"),
    (38, "IQ4_NL_8_8, given up by llama.cpp in 2025"),
    (97, "Q8_0_X4 of ik_llama.cpp"),
    (98, "Q8_1_X4 of ik_llama.cpp"),
    (99, "Q8_2_X4 of ik_llama.cpp"),
    (133, "Q6_0 of ik_llama.cpp"),
    (134, "IQ1_BN of ik_llama.cpp"),
    (135, "IQ2_BN of ik_llama.cpp"),
    (136, "Q8_K64 of ik_llama.cpp"),
    (137, "IQ2_K of ik_llama.cpp"),
    (138, "IQ3_K of ik_llama.cpp"),
    (139, "IQ4_K of ik_llama.cpp"),
    (140, "IQ5_K of ik_llama.cpp"),
    (141, "IQ6_K of ik_llama.cpp"),
    (144, "IQ4_KS of ik_llama.cpp"),
    (145, "IQ2_KS of ik_llama.cpp"),
    (146, "IQ4_KSS of ik_llama.cpp"),
    (152, "IQ5_KS of ik_llama.cpp"),
    (153, "IQ2_KT of ik_llama.cpp"),
    (154, "IQ3_KT of ik_llama.cpp"),
    (155, "IQ4_KT of ik_llama.cpp"),
    (156, "IQ3_KS of ik_llama.cpp"),
    (157, "IQ2_KL of ik_llama.cpp"),
];

impl DType {
    /// All types, in the order of their ids.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0).filter(|dtype| *dtype != Self::Unknown)
    }

    /// The type with this id in a GGUF file; `None` for ids that llama.cpp has removed or never had.
    #[must_use]
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::all().find(|dtype| dtype.ggml_id() == id)
    }

    /// The type with this name in any case; `None` for an unknown one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|dtype| dtype.name().eq_ignore_ascii_case(name))
    }

    /// A type id that `from_ggml_id` does not know, for a message: `139 (IQ4_K of ik_llama.cpp)`.
    #[must_use]
    pub fn foreign_text(id: u32) -> String {
        match FOREIGN.iter().find(|row| row.0 == id) {
            Some((_, name)) => format!("{id} ({name})"),
            None => id.to_string(),
        }
    }

    /// The id in a GGUF file.
    #[must_use]
    pub fn ggml_id(self) -> u32 {
        self.row().1
    }

    /// The name as llama.cpp prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Weights per block; 1 for plain types.
    #[must_use]
    pub fn block_len(self) -> u64 {
        self.row().3
    }

    /// Bytes per block.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().4
    }

    /// Bits per weight, the block's scales included.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "both are below 300")]
    pub fn bits_per_weight(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_len() as f64
    }

    /// True for block types, whose weights lie on a grid, and for `Unknown`.
    #[must_use]
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1 || self == Self::Unknown
    }

    /// Bytes of a row of `row_len` weights; `None` when it is not a whole number of blocks or overflows.
    #[must_use]
    pub fn row_bytes(self, row_len: u64) -> Option<u64> {
        if row_len.is_multiple_of(self.block_len()) { (row_len / self.block_len()).checked_mul(self.block_bytes()) } else { None }
    }

    fn row(self) -> &'static (Self, u32, &'static str, u64, u64) {
        // The table is in declaration order, which the test below checks.
        &TABLE[self as usize]
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for DType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown data type {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_declaration_order() {
        for (idx, dtype) in DType::all().enumerate() {
            assert_eq!(dtype as usize, idx);
            assert_eq!(DType::from_ggml_id(dtype.ggml_id()), Some(dtype));
            assert_eq!(DType::from_name(&dtype.name().to_lowercase()), Some(dtype));
        }
    }

    #[test]
    fn removed_and_future_ids_are_unknown() {
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(DType::from_ggml_id(id), None, "{id}");
        }
    }

    #[test]
    fn foreign_ids_are_named_and_no_name_finds_an_unknown_type() {
        assert_eq!(DType::foreign_text(139), "139 (IQ4_K of ik_llama.cpp)");
        assert_eq!(DType::foreign_text(4000), "4000");
        assert_eq!(DType::from_name("unknown"), None);
        assert!(FOREIGN.iter().all(|&(id, _)| DType::from_ggml_id(id).is_none()));
    }

    #[test]
    fn rows_are_whole_blocks() {
        let check = |dtype: DType, row_len, expected| assert_eq!(dtype.row_bytes(row_len), expected, "{dtype}");
        check(DType::Q4_K, 256, Some(144));
        check(DType::Q4_K, 576, None);
        check(DType::Q8_0, 576, Some(612));
        check(DType::F16, 3, Some(6));
        check(DType::F64, u64::MAX, None);
    }
}
