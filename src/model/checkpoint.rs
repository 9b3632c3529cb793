//! A Hugging Face checkpoint as its headers and its `config.json` describe it: plain data.

use std::path::PathBuf;

/// A checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// The folder, or a `.safetensors` file that belongs to no folder's set.
    pub path: PathBuf,
    /// `ORG/NAME` from the Hugging Face cache, else the name of the folder or file.
    pub name: String,
    /// The safetensors files that are there, in the order of the index.
    pub files: Vec<PathBuf>,
    /// Names of files that belong to it and are not there.
    pub missing_files: Vec<String>,
    /// Downloads in the same folder that have not ended: `model.safetensors.crdownload`.
    pub unfinished_files: Vec<String>,
    /// Size of all files together, in bytes.
    pub size_bytes: u64,
    /// Tensors, file after file, in the order of their data.
    pub tensors: Vec<CheckpointTensor>,
    /// The first few tensor names that occur in two files.
    pub duplicates: Vec<String>,
    /// Where index and files disagree, the first few: `lm_head.weight is not in model-00002-of-00002.safetensors`.
    pub index_errors: Vec<String>,
    /// What `config.json` says; `None` without one.
    pub config: Option<CheckpointConfig>,
    /// Files of a tokenizer that are there: `tokenizer.json`.
    pub tokenizer_files: Vec<String>,
    /// `tokenizer_class` of `tokenizer_config.json`.
    pub tokenizer_class: Option<String>,
    /// The file that holds the chat template; `None` without one.
    pub chat_template_file: Option<String>,
    /// True when `generation_config.json` is there.
    pub has_generation_config: bool,
    /// Pickle files beside the others; never opened.
    pub pickle_files: Vec<String>,
    /// Front matter of the model card, `README.md`; empty without one. Scalars are kept as the text that is written.
    pub card: serde_json::Map<String, serde_json::Value>,
    /// All of `generation_config.json`; empty without one.
    pub generation: serde_json::Map<String, serde_json::Value>,
    /// What is odd but no reason to refuse: `README.md is left out: …`.
    pub warnings: Vec<String>,
}

/// A tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointTensor {
    /// The name in the file: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Element type.
    pub dtype: CheckpointDType,
    /// Dimensions in PyTorch's order: rows first, the row length last. Empty for a scalar.
    pub shape: Vec<u64>,
    /// Which of `Checkpoint::files` holds the data.
    pub file_idx: usize,
    /// Position of the first byte from the start of that file.
    pub offset: u64,
    /// Size of the data in bytes.
    pub size_bytes: u64,
}

impl CheckpointTensor {
    /// Number of weights. The reader has checked that the product does not overflow.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// What `config.json` says. 0 or `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckpointConfig {
    /// The first of `architectures`: `LlamaForCausalLM`.
    pub class_name: String,
    /// `model_type`: `llama`.
    pub model_type: String,
    /// Number of blocks.
    pub n_layers: u64,
    /// Width of the residual stream.
    pub n_embd: u64,
    /// Feed-forward width.
    pub n_ff: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Key and value heads.
    pub n_kv_heads: u64,
    /// Length of a head's vectors.
    pub head_dim: u64,
    /// Context length that the model was trained with, in tokens.
    pub n_ctx_train: u64,
    /// Rows of the embedding.
    pub n_vocab: u64,
    /// Experts; 0 for a dense model.
    pub n_experts: u64,
    /// Window of sliding-window layers in tokens.
    pub sliding_window: Option<u64>,
    /// Base of the rotary embedding.
    pub rope_theta: Option<f64>,
    /// Kind of RoPE scaling: `llama3`, `yarn`; `None` without.
    pub rope_scaling: Option<String>,
    /// True when the head uses the embedding's weights.
    pub has_tied_embeddings: bool,
    /// True when the attention's projections have biases that the architecture does not have by itself.
    pub has_attention_bias: bool,
    /// True when the feed-forward's projections have biases that the architecture does not have by itself.
    pub has_mlp_bias: bool,
    /// `torch_dtype`: the type that the weights were trained or saved in.
    pub torch_dtype: Option<String>,
    /// How the weights were quantized before.
    pub quantization: Option<SourceQuantization>,
    /// True when an image encoder belongs to it.
    pub has_vision: bool,
    /// How a sentence-transformers model turns the vectors of all tokens into one; found through `modules.json`.
    pub pooling: Option<Pooling>,
    /// Values of the wrong kind for their keys, each as the start of a sentence: `hidden_size is "many", not a whole number,`.
    pub odd_values: Vec<String>,
    /// All of the file. For a model with an image encoder, the language model's part is laid over the rest.
    pub json: serde_json::Map<String, serde_json::Value>,
}

/// How an embedding model turns the vectors of all tokens into one. The numbers are those of GGUF.
///
/// Source: `PoolingType` in `gguf-py/gguf/constants.py`, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean = 1,
    /// The vector of the first token.
    Cls = 2,
    /// The vector of the last token.
    Last = 3,
}

/// A quantization that the checkpoint already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceQuantization {
    /// The method, as far as it matters for what can be done.
    pub method: QuantizationMethod,
    /// The file's own word: `gptq`, `compressed-tensors`.
    pub name: String,
    /// Bits per weight; `None` where the file does not say.
    pub bits: Option<u64>,
}

/// Quantizations of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizationMethod {
    /// GPTQ: packed integers with scales and zero points.
    Gptq,
    /// AWQ: packed integers with scales and zero points.
    Awq,
    /// bitsandbytes: NF4, FP4 or LLM.int8.
    BitsAndBytes,
    /// 8-bit floats, often with a scale per block.
    Fp8,
    /// 4-bit floats with a scale per 32 weights.
    Mxfp4,
    /// MLX: packed integers with scales and biases.
    Mlx,
    /// Any other.
    Other,
}

impl QuantizationMethod {
    /// The method that `quant_method` names, in any case; `Other` for an unknown name.
    ///
    /// Source of the names: `QuantizationMethod` in `transformers/utils/quantization_config.py`.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "gptq" => Self::Gptq,
            "awq" => Self::Awq,
            "bitsandbytes" | "bitsandbytes_4bit" | "bitsandbytes_8bit" => Self::BitsAndBytes,
            "fp8" | "fbgemm_fp8" => Self::Fp8,
            "mxfp4" => Self::Mxfp4,
            "mlx" => Self::Mlx,
            _ => Self::Other,
        }
    }

    /// True for methods whose weights are plain floats with scales, from which a conversion can start.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::Fp8 | Self::Mxfp4)
    }
}

/// Element types of safetensors.
#[allow(non_camel_case_types, reason = "the format's spelling")]
#[allow(missing_docs, reason = "the table below says it all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckpointDType {
    Bool,
    F4,
    F6_E2M3,
    F6_E3M2,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

/// `(type, name, bits, is a float that weights are kept in)`.
///
/// Source: `Dtype` in safetensors/src/tensor.rs, safetensors 0.6.
const DTYPES: [(CheckpointDType, &str, u64, bool); 22] = [
    (CheckpointDType::Bool, "BOOL", 8, false),
    (CheckpointDType::F4, "F4", 4, false),
    (CheckpointDType::F6_E2M3, "F6_E2M3", 6, false),
    (CheckpointDType::F6_E3M2, "F6_E3M2", 6, false),
    (CheckpointDType::U8, "U8", 8, false),
    (CheckpointDType::I8, "I8", 8, false),
    (CheckpointDType::F8_E5M2, "F8_E5M2", 8, true),
    (CheckpointDType::F8_E4M3, "F8_E4M3", 8, true),
    (CheckpointDType::F8_E8M0, "F8_E8M0", 8, false),
    (CheckpointDType::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8, false),
    (CheckpointDType::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8, false),
    (CheckpointDType::I16, "I16", 16, false),
    (CheckpointDType::U16, "U16", 16, false),
    (CheckpointDType::F16, "F16", 16, true),
    (CheckpointDType::BF16, "BF16", 16, true),
    (CheckpointDType::I32, "I32", 32, false),
    (CheckpointDType::U32, "U32", 32, false),
    (CheckpointDType::F32, "F32", 32, true),
    (CheckpointDType::C64, "C64", 64, false),
    (CheckpointDType::F64, "F64", 64, true),
    (CheckpointDType::I64, "I64", 64, false),
    (CheckpointDType::U64, "U64", 64, false),
];

impl CheckpointDType {
    /// Reads the format's spelling; `None` for a type that it does not define.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        DTYPES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The format's spelling.
    #[must_use]
    pub fn name(self) -> &'static str {
        DTYPES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// Bits per element.
    #[must_use]
    pub fn bits(self) -> u64 {
        DTYPES.iter().find(|row| row.0 == self).map_or(0, |row| row.2)
    }

    /// True for the floats that weights are kept in.
    #[must_use]
    pub fn is_weight_float(self) -> bool {
        DTYPES.iter().any(|row| row.0 == self && row.3)
    }
}

/// Endings of the two tensors that MXFP4 is stored in: two weights in a byte, and the exponents of blocks.
pub const MXFP4_ENDINGS: (&str, &str) = ("_blocks", "_scales");

impl CheckpointConfig {
    /// True where experts are in MXFP4, as those of gpt-oss.
    #[must_use]
    pub fn is_mxfp4(&self) -> bool {
        self.quantization.as_ref().is_some_and(|found| found.method == QuantizationMethod::Mxfp4)
    }
}

impl Checkpoint {
    /// Number of weights in all tensors. A byte of MXFP4 counts as two, its exponents do not count.
    #[must_use]
    pub fn n_parameters(&self) -> u64 {
        let is_mxfp4 = self.config.as_ref().is_some_and(CheckpointConfig::is_mxfp4);
        let n_weights = |tensor: &CheckpointTensor| match tensor.dtype {
            CheckpointDType::U8 if is_mxfp4 && tensor.name.ends_with(MXFP4_ENDINGS.0) => tensor.n_elements().saturating_mul(2),
            CheckpointDType::U8 if is_mxfp4 && tensor.name.ends_with(MXFP4_ENDINGS.1) => 0,
            _ => tensor.n_elements(),
        };
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(n_weights(tensor)))
    }

    /// Which of its weights are missing, and what is there instead; `None` for a checkpoint with all its files.
    #[must_use]
    pub fn missing_weights(&self) -> Option<String> {
        let text = match (self.missing_files.len(), self.files.len(), self.pickle_files.as_slice()) {
            (0, 0, []) => "no safetensors file: there are no weights".to_string(),
            (0, 0, pickles) => {
                format!("its weights are only there as Python pickles ({}), which are never opened", first_names(pickles))
            }
            (0, ..) => return None,
            (n, n_there, _) => format!("{n} of {} files are missing: {}", n + n_there, first_names(&self.missing_files)),
        };
        Some(self.with_unfinished(text))
    }

    /// A text about a missing file, followed by the downloads that have not ended.
    #[must_use]
    pub fn with_unfinished(&self, text: String) -> String {
        match self.unfinished_files.as_slice() {
            [] => text,
            names => format!("{text}; downloads that have not ended: {}", first_names(names)),
        }
    }

    /// `(data type, tensors, weights, bytes)` for each type that occurs, the largest first.
    #[must_use]
    pub fn weights_by_dtype(&self) -> Vec<(CheckpointDType, usize, u64, u64)> {
        let mut rows: Vec<(CheckpointDType, usize, u64, u64)> = Vec::new();
        for tensor in &self.tensors {
            match rows.iter_mut().find(|row| row.0 == tensor.dtype) {
                Some(row) => {
                    row.1 += 1;
                    row.2 = row.2.saturating_add(tensor.n_elements());
                    row.3 = row.3.saturating_add(tensor.size_bytes);
                }
                None => rows.push((tensor.dtype, 1, tensor.n_elements(), tensor.size_bytes)),
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.3));
        rows
    }
}

/// The first few names, each already on one line, and how many more there are.
fn first_names(names: &[String]) -> String {
    const MAX_NAMES: usize = 3;
    let shown = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_names_and_sizes() {
        let check = |name: &str, expected: Option<(u64, bool)>| {
            let dtype = CheckpointDType::from_name(name);
            assert_eq!(dtype.map(|dtype| (dtype.bits(), dtype.is_weight_float())), expected, "{name}");
            assert!(dtype.is_none_or(|dtype| dtype.name() == name));
        };
        check("BF16", Some((16, true)));
        check("F8_E4M3", Some((8, true)));
        check("F64", Some((64, true)));
        check("BOOL", Some((8, false)));
        check("F4", Some((4, false)));
        check("bf16", None);
        check("", None);
    }

    #[test]
    fn quantizations_are_known_by_name() {
        let check = |name: &str, expected| assert_eq!(QuantizationMethod::from_name(name), expected, "{name}");
        check("gptq", QuantizationMethod::Gptq);
        check("AWQ", QuantizationMethod::Awq);
        check("bitsandbytes", QuantizationMethod::BitsAndBytes);
        check("fp8", QuantizationMethod::Fp8);
        check("mxfp4", QuantizationMethod::Mxfp4);
        check("compressed-tensors", QuantizationMethod::Other);
    }
}
