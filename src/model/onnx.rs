//! What an ONNX file holds, as plain data: filled by `format/onnx`, shown by both front doors.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::path_text;
use crate::units::{count_of, count_text};

/// Data types of ONNX tensors, in the spelling that Planish uses for other formats too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, missing_docs, reason = "the names say it")]
pub enum OnnxDType {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    String,
    Bool,
    F16,
    F64,
    U32,
    U64,
    C64,
    C128,
    BF16,
    F8_E4M3FN,
    F8_E4M3FNUZ,
    F8_E5M2,
    F8_E5M2FNUZ,
    U4,
    I4,
    F4_E2M1,
    F8_E8M0,
    U2,
    I2,
    F6_E2M3,
    F6_E3M2,
}

/// `(type, name, bits of an element)` in the order of their numbers, which begin at 1. Strings have no fixed width: 0 bits.
///
/// Source: `TensorProto.DataType` in onnx.proto, onnx 1.23.2.
const DTYPES: [(OnnxDType, &str, u64); 28] = [
    (OnnxDType::F32, "F32", 32),
    (OnnxDType::U8, "U8", 8),
    (OnnxDType::I8, "I8", 8),
    (OnnxDType::U16, "U16", 16),
    (OnnxDType::I16, "I16", 16),
    (OnnxDType::I32, "I32", 32),
    (OnnxDType::I64, "I64", 64),
    (OnnxDType::String, "STRING", 0),
    (OnnxDType::Bool, "BOOL", 8),
    (OnnxDType::F16, "F16", 16),
    (OnnxDType::F64, "F64", 64),
    (OnnxDType::U32, "U32", 32),
    (OnnxDType::U64, "U64", 64),
    (OnnxDType::C64, "C64", 64),
    (OnnxDType::C128, "C128", 128),
    (OnnxDType::BF16, "BF16", 16),
    (OnnxDType::F8_E4M3FN, "F8_E4M3FN", 8),
    (OnnxDType::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8),
    (OnnxDType::F8_E5M2, "F8_E5M2", 8),
    (OnnxDType::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8),
    (OnnxDType::U4, "U4", 4),
    (OnnxDType::I4, "I4", 4),
    (OnnxDType::F4_E2M1, "F4_E2M1", 4),
    (OnnxDType::F8_E8M0, "F8_E8M0", 8),
    (OnnxDType::U2, "U2", 2),
    (OnnxDType::I2, "I2", 2),
    (OnnxDType::F6_E2M3, "F6_E2M3", 6),
    (OnnxDType::F6_E3M2, "F6_E3M2", 6),
];

impl OnnxDType {
    /// The type with this number in a file; `None` for 0 and for numbers that onnx.proto does not define.
    #[must_use]
    pub fn from_id(id: i32) -> Option<Self> {
        let idx = usize::try_from(id).ok()?.checked_sub(1)?;
        DTYPES.get(idx).map(|row| row.0)
    }

    /// Its number in a file.
    #[must_use]
    pub fn id(self) -> i32 {
        self as i32 + 1
    }

    /// Its name: `F32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        DTYPES.get(self as usize).map_or("", |row| row.1)
    }

    /// Bits of an element; 0 for strings, which have no fixed width.
    #[must_use]
    pub fn bits(self) -> u64 {
        DTYPES.get(self as usize).map_or(0, |row| row.2)
    }

    /// True for real floats of any width.
    #[must_use]
    pub fn is_float(self) -> bool {
        self.name().starts_with('F') || self == Self::BF16
    }

    /// Bytes of a tensor with this many elements, the last byte filled up; `None` for strings and for what overflows.
    #[must_use]
    pub fn size_bytes(self, n_elements: u64) -> Option<u64> {
        let n_bits = match self.bits() {
            0 => return None,
            bits => u128::from(n_elements) * u128::from(bits),
        };
        u64::try_from(n_bits.div_ceil(8)).ok()
    }
}

impl fmt::Display for OnnxDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for OnnxDType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One dimension of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OnnxDim {
    /// A fixed length.
    Fixed(u64),
    /// A length that is known when the network runs; equal names have equal lengths.
    Named(String),
    /// A length that is known when the network runs.
    Open,
}

impl fmt::Display for OnnxDim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(len) => write!(f, "{len}"),
            Self::Named(name) => f.write_str(&path_text::one_line(name)),
            Self::Open => f.write_str("?"),
        }
    }
}

/// An input or output of a network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxPort {
    /// Its name.
    pub name: String,
    /// The type of what goes through it, for a person: `F32`, `sequence of F32`.
    pub type_text: String,
    /// The type of its elements; `None` for what is no tensor.
    pub dtype: Option<OnnxDType>,
    /// Its dimensions, outermost first; `None` where the file states no rank.
    pub shape: Option<Vec<OnnxDim>>,
}

impl OnnxPort {
    /// `1 × 3 × height × width`; `scalar` without dimensions, `any shape` without a rank.
    #[must_use]
    pub fn shape_text(&self) -> String {
        match self.shape.as_deref() {
            None => "any shape".into(),
            Some([]) => "scalar".into(),
            Some(dims) => dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × "),
        }
    }
}

/// A set of operators that a network uses, and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxOpset {
    /// Who defines the operators: `ai.onnx`, `com.microsoft`.
    pub domain: String,
    /// Its version.
    pub version: i64,
}

/// How often a network uses an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxOperator {
    /// Who defines it: `ai.onnx`, `com.microsoft`.
    pub domain: String,
    /// Its name: `Conv`.
    pub name: String,
    /// Number of nodes, in subgraphs too; a function's body counts once.
    pub n_nodes: u64,
}

impl OnnxOperator {
    /// `Conv`, or `com.microsoft.MatMulNBits` outside the standard.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.domain == "ai.onnx" { self.name.clone() } else { format!("{}.{}", self.domain, self.name) }
    }
}

/// Where the data of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnnxPlace {
    /// In the file, as plain bytes.
    Raw,
    /// In the file, as a list of numbers or texts.
    Fields,
    /// In a file beside it.
    External {
        /// Which of `OnnxNetwork::files`.
        file_idx: usize,
        /// Position of the first byte in that file.
        offset: u64,
    },
}

/// A tensor whose values the file holds: an initializer or the value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxTensor {
    /// The initializer's name; for the value of an attribute, the name of the node's first output.
    pub name: String,
    /// Type of its elements.
    pub dtype: OnnxDType,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Number of elements; the reader has checked that it does not overflow.
    pub n_elements: u64,
    /// Size of its data in bytes.
    pub size_bytes: u64,
    /// Where its data are.
    pub place: OnnxPlace,
    /// True for an initializer, false for the value of an attribute, as that of a `Constant`.
    pub is_initializer: bool,
}

/// Tensors of one data type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxDTypeSum {
    /// The type.
    pub dtype: OnnxDType,
    /// Number of tensors.
    pub n_tensors: u64,
    /// Number of elements.
    pub n_elements: u64,
    /// Size of their data in bytes.
    pub size_bytes: u64,
}

/// A way in which a network is quantized already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnnxQuantization {
    /// `QuantizeLinear` and `DequantizeLinear` around operators on floats.
    Qdq,
    /// `DequantizeLinear` of weights alone.
    WeightsOnly,
    /// Operators on integers: `QLinearConv`.
    QOperator,
    /// Activations are quantized while it runs: `DynamicQuantizeLinear`, `MatMulInteger`.
    Dynamic,
    /// Weights in blocks under one scale each: `MatMulNBits`, `GatherBlockQuantized`.
    Blocks {
        /// Bits of a weight.
        bits: u64,
        /// Weights of a block.
        block_len: u64,
    },
}

impl fmt::Display for OnnxQuantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qdq => f.write_str("QDQ"),
            Self::WeightsOnly => f.write_str("weights only, DequantizeLinear"),
            Self::QOperator => f.write_str("QOperator"),
            Self::Dynamic => f.write_str("dynamic"),
            Self::Blocks { bits, block_len } => write!(f, "{bits}-bit weights in blocks of {block_len}"),
        }
    }
}

/// How much a network computes for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MultiplyAdds {
    /// Multiply-adds of all nodes that multiply matrices or convolve; `None` where the file does not state the shapes of some.
    pub n_total: Option<u64>,
    /// Number of such nodes.
    pub n_nodes: u64,
    /// Number of those whose shapes the file does not state, or states with lengths that are known only when it runs.
    pub n_unknown: u64,
}

impl MultiplyAdds {
    /// `1.2 G`; where the file does not tell: `the shapes at 62 of 62 matrix products are not in the file`.
    #[must_use]
    pub fn text(&self) -> String {
        match self.n_total {
            Some(_) if self.n_nodes == 0 => "no matrix products".into(),
            Some(n) => count_text(n),
            None => {
                let (unknown, all) = (count_text(self.n_unknown), count_of(self.n_nodes, "matrix product"));
                format!("unknown: {unknown} of {all} have lengths that the file leaves open")
            }
        }
    }
}

/// What an ONNX file holds, from its structure; the weights stay on the disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxNetwork {
    /// The `.onnx` file.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The `.onnx` file, then the files that hold weights for it.
    #[serde(with = "crate::path_text")]
    pub files: Vec<PathBuf>,
    /// Size of all files together, in bytes.
    pub size_bytes: u64,
    /// The graph's name; may be empty.
    pub graph_name: String,
    /// Version of the format.
    pub ir_version: i64,
    /// The program that wrote it, with its version; may be empty.
    pub producer: String,
    /// What its author says about it; may be empty.
    pub doc_string: String,
    /// The sets of operators that it uses.
    pub opsets: Vec<OnnxOpset>,
    /// What it takes; initializers that may be replaced are left out.
    pub inputs: Vec<OnnxPort>,
    /// What it gives.
    pub outputs: Vec<OnnxPort>,
    /// Its operators, the most frequent first.
    pub operators: Vec<OnnxOperator>,
    /// Number of nodes, in subgraphs and functions too.
    pub n_nodes: u64,
    /// Number of graphs inside nodes: branches and bodies of loops.
    pub n_subgraphs: u64,
    /// Number of functions that the file defines.
    pub n_functions: u64,
    /// Number of weights: see `format::onnx`.
    pub n_parameters: u64,
    /// Tensors by data type, the largest share of bytes first.
    pub dtypes: Vec<OnnxDTypeSum>,
    /// Tensors in the order of the file.
    #[serde(skip)]
    pub tensors: Vec<OnnxTensor>,
    /// How it is quantized already; empty for floats.
    pub quantization: Vec<OnnxQuantization>,
    /// How much it computes.
    pub multiply_adds: MultiplyAdds,
    /// Key and value of what else its author says, in file order.
    pub metadata: Vec<(String, String)>,
    /// Fields that Planish does not know: `NodeProto field 99`. Such a file can be read but not written again without loss.
    pub unknown_fields: Vec<String>,
    /// What is odd but no reason to refuse it.
    pub warnings: Vec<String>,
}

impl OnnxNetwork {
    /// What a message calls it.
    pub const WHAT: &'static str = "an ONNX network";
    /// What can be done with it.
    pub const WHAT_NEXT: &'static str = "it can be inspected, but not converted, run or measured yet";

    /// The file's name without `.onnx`.
    #[must_use]
    pub fn display_name(&self) -> String {
        let name = path_text::file_name(&self.path);
        name.strip_suffix(".onnx").filter(|stem| !stem.is_empty()).map(str::to_string).unwrap_or(name)
    }

    /// Size of all tensors' data in bytes.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.dtypes.iter().fold(0, |sum, row| sum.saturating_add(row.size_bytes))
    }

    /// `QDQ, 4-bit weights in blocks of 32`, or `no`.
    #[must_use]
    pub fn quantization_text(&self) -> String {
        if self.quantization.is_empty() {
            return "no".into();
        }
        self.quantization.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// `ai.onnx 17, com.microsoft 1`.
    #[must_use]
    pub fn opsets_text(&self) -> String {
        let opset = |opset: &OnnxOpset| format!("{} {}", path_text::one_line(&opset.domain), opset.version);
        self.opsets.iter().map(opset).collect::<Vec<_>>().join(", ")
    }

    /// Names of lengths that inputs and outputs leave open, each once; `?` for one without a name.
    #[must_use]
    pub fn open_dims(&self) -> Vec<String> {
        let ports = self.inputs.iter().chain(&self.outputs);
        let dims = ports.filter_map(|port| port.shape.as_ref()).flatten();
        let names = dims.filter(|dim| !matches!(dim, OnnxDim::Fixed(_))).map(ToString::to_string);
        let mut seen = HashSet::new();
        names.filter(|name| seen.insert(name.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_numbers_of_the_format() {
        for (number, (dtype, name, bits)) in (1..).zip(DTYPES) {
            assert_eq!((OnnxDType::from_id(number), dtype.id()), (Some(dtype), number));
            assert_eq!((dtype.name(), dtype.bits()), (name, bits));
        }
        assert_eq!([0, -1, 29, i32::MIN].map(OnnxDType::from_id), [None; 4]);
        assert!(OnnxDType::BF16.is_float() && OnnxDType::F8_E8M0.is_float() && !OnnxDType::U8.is_float());
    }

    #[test]
    fn sizes_fill_the_last_byte_and_do_not_overflow() {
        let check = |dtype: OnnxDType, n, expected| assert_eq!(dtype.size_bytes(n), expected, "{dtype} {n}");
        check(OnnxDType::F32, 3, Some(12));
        check(OnnxDType::I4, 3, Some(2));
        check(OnnxDType::U2, 5, Some(2));
        check(OnnxDType::F6_E2M3, 4, Some(3));
        check(OnnxDType::F6_E2M3, 5, Some(4));
        check(OnnxDType::F32, 0, Some(0));
        check(OnnxDType::F32, u64::MAX, None);
        check(OnnxDType::U4, u64::MAX, Some(1 << 63));
        check(OnnxDType::String, 1, None);
    }
}
