//! Made-up models for the tests of this module.

use std::collections::BTreeMap;

use crate::format::Imatrix;
use crate::model::{DType, Hyperparameters, Metadata, Model, Tensor, Value};

/// A model with these key-values and tensors.
pub fn model_of(metadata: Metadata, tensors: &[(&str, Vec<u64>, DType)]) -> Model {
    let tensors: Vec<Tensor> = tensors
        .iter()
        .map(|(name, shape, dtype)| {
            let n_rows: u64 = shape.iter().skip(1).product();
            let size_bytes = dtype.row_bytes(shape.first().copied().unwrap_or(1)).unwrap() * n_rows;
            Tensor { name: (*name).into(), dtype: *dtype, shape: shape.clone(), file_idx: 0, offset: 0, size_bytes }
        })
        .collect();
    Model {
        path: "model.gguf".into(),
        files: vec!["model.gguf".into()],
        size_bytes: tensors.iter().map(|tensor| tensor.size_bytes).sum(),
        format_name: "GGUF v3".into(),
        alignment: 32,
        hyperparameters: Hyperparameters::from_metadata(&metadata),
        metadata,
        tensors,
        warnings: Vec::new(),
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: None,
        others: Vec::new(),
    }
}

/// The numbers that a made-up decoder of the Llama family is built from.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    pub architecture: &'static str,
    pub n_layers: u64,
    pub n_embd: u64,
    pub n_ff: u64,
    pub n_heads: u64,
    pub n_kv_heads: u64,
    pub n_vocab: u64,
    pub n_experts: u64,
    pub sliding_window: u64,
    pub is_tied: bool,
    pub dtype: DType,
}

/// `SmolLM2-135M` as F16.
pub const SMOLLM2: Decoder = Decoder {
    architecture: "llama",
    n_layers: 30,
    n_embd: 576,
    n_ff: 1536,
    n_heads: 9,
    n_kv_heads: 3,
    n_vocab: 49152,
    n_experts: 0,
    sliding_window: 0,
    is_tied: true,
    dtype: DType::F16,
};

/// `Llama-3-8B` as F16.
pub const LLAMA3_8B: Decoder =
    Decoder { n_layers: 32, n_embd: 4096, n_ff: 14336, n_heads: 32, n_kv_heads: 8, n_vocab: 128_256, is_tied: false, ..SMOLLM2 };

impl Decoder {
    /// The model with all its tensors.
    pub fn build(self) -> Model {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", Value::Str(self.architecture.into()));
        let entries = [
            ("block_count", self.n_layers),
            ("embedding_length", self.n_embd),
            ("feed_forward_length", self.n_ff),
            ("attention.head_count", self.n_heads),
            ("attention.head_count_kv", self.n_kv_heads),
            ("vocab_size", self.n_vocab),
            ("context_length", 8192),
            ("expert_count", self.n_experts),
            ("expert_used_count", self.n_experts / 4),
            ("attention.sliding_window", self.sliding_window),
        ];
        for (key, value) in entries.into_iter().filter(|&(_, value)| value > 0) {
            metadata.set(&format!("{}.{key}", self.architecture), Value::U32(value.try_into().unwrap()));
        }
        let n_kv = self.n_embd / self.n_heads * self.n_kv_heads;
        let mut tensors = vec![("token_embd.weight".to_string(), vec![self.n_embd, self.n_vocab])];
        if !self.is_tied {
            tensors.push(("output.weight".into(), vec![self.n_embd, self.n_vocab]));
        }
        tensors.push(("output_norm.weight".into(), vec![self.n_embd]));
        for layer_idx in 0..self.n_layers {
            let mut push = |name: &str, shape: &[u64]| tensors.push((format!("blk.{layer_idx}.{name}.weight"), shape.to_vec()));
            push("attn_norm", &[self.n_embd]);
            push("attn_q", &[self.n_embd, self.n_embd]);
            push("attn_k", &[self.n_embd, n_kv]);
            push("attn_v", &[self.n_embd, n_kv]);
            push("attn_output", &[self.n_embd, self.n_embd]);
            push("ffn_norm", &[self.n_embd]);
            if self.n_experts > 0 {
                push("ffn_gate_inp", &[self.n_embd, self.n_experts]);
                push("ffn_gate_exps", &[self.n_embd, self.n_ff, self.n_experts]);
                push("ffn_up_exps", &[self.n_embd, self.n_ff, self.n_experts]);
                push("ffn_down_exps", &[self.n_ff, self.n_embd, self.n_experts]);
            } else {
                push("ffn_gate", &[self.n_embd, self.n_ff]);
                push("ffn_up", &[self.n_embd, self.n_ff]);
                push("ffn_down", &[self.n_ff, self.n_embd]);
            }
        }
        let typed: Vec<_> = tensors
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.clone(), if shape.len() < 2 { DType::F32 } else { self.dtype }))
            .collect();
        model_of(metadata, &typed)
    }
}

/// An importance matrix that knows no tensor.
pub fn empty_imatrix() -> Imatrix {
    Imatrix { path: "none".into(), entries: BTreeMap::new(), dataset: None, n_chunks: 0, warnings: Vec::new(), moments: None }
}
