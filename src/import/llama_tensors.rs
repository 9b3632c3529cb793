//! Which tensors a checkpoint of the llama family holds, and which shapes they have, by its `config.json`.

use crate::model::{CheckpointConfig, DType, Hyperparameters, Metadata, Model, Tensor, Value};

/// More layers than any model has: llama.cpp's own limit is 512 (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// Bytes of tokenizer in a GGUF file for each token. SmolLM2 has 36, Llama 3 has 61.
const TOKENIZER_BYTES_PER_TOKEN: u64 = 48;

/// Architectures whose tensors are checked one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, Mistral, `SmolLM`, Yi.
    Llama,
    /// Biases on q, k and v.
    Qwen2,
    /// Norms on q and k.
    Qwen3,
}

/// A tensor that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its name in a GGUF file.
    pub gguf_name: String,
    /// Its dimensions, rows first.
    pub shape: Vec<u64>,
}

impl Family {
    /// The family of a class name.
    pub fn of(class_name: &str) -> Option<Self> {
        match class_name {
            "LlamaForCausalLM" | "MistralForCausalLM" => Some(Self::Llama),
            "Qwen2ForCausalLM" => Some(Self::Qwen2),
            "Qwen3ForCausalLM" => Some(Self::Qwen3),
            _ => None,
        }
    }

    /// All tensors, in the order of a GGUF file.
    ///
    /// Source: `modeling_llama.py`, `modeling_qwen2.py` and `modeling_qwen3.py` of transformers 4.57; names in GGUF:
    /// `gguf-py/gguf/tensor_mapping.py` in llama.cpp of 2026-08-21.
    ///
    /// # Errors
    /// What is missing or impossible in the configuration.
    pub fn expected(self, config: &CheckpointConfig) -> Result<Vec<Expected>, String> {
        let &CheckpointConfig { n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, .. } = config;
        for (name, number) in [
            ("num_hidden_layers", n_layers),
            ("hidden_size", n_embd),
            ("intermediate_size", n_ff),
            ("num_attention_heads", n_heads),
            ("head_dim", head_dim),
            ("vocab_size", n_vocab),
        ] {
            if number == 0 {
                return Err(format!("config.json does not say {name}"));
            }
        }
        if n_layers > MAX_LAYERS {
            return Err(format!("config.json says {n_layers} layers, llama.cpp runs at most {MAX_LAYERS}"));
        }
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            return Err(format!("{n_heads} attention heads cannot share {n_kv_heads} key and value heads"));
        }
        let product =
            |a: u64, b: u64| a.checked_mul(b).ok_or_else(|| "the numbers of config.json are impossibly large".to_string());
        let (q, kv) = (product(n_heads, head_dim)?, product(n_kv_heads, head_dim)?);
        product(product(n_embd.max(q), n_ff.max(n_vocab))?, n_layers.saturating_mul(64))?;
        let has_qkv_bias = self == Self::Qwen2 || config.has_attention_bias;
        let has_o_bias = self != Self::Qwen2 && config.has_attention_bias;
        let mut block: Vec<(&str, &str, Vec<u64>)> = vec![
            ("input_layernorm.weight", "attn_norm.weight", vec![n_embd]),
            ("self_attn.q_proj.weight", "attn_q.weight", vec![q, n_embd]),
            ("self_attn.k_proj.weight", "attn_k.weight", vec![kv, n_embd]),
            ("self_attn.v_proj.weight", "attn_v.weight", vec![kv, n_embd]),
            ("self_attn.o_proj.weight", "attn_output.weight", vec![n_embd, q]),
            ("post_attention_layernorm.weight", "ffn_norm.weight", vec![n_embd]),
            ("mlp.gate_proj.weight", "ffn_gate.weight", vec![n_ff, n_embd]),
            ("mlp.up_proj.weight", "ffn_up.weight", vec![n_ff, n_embd]),
            ("mlp.down_proj.weight", "ffn_down.weight", vec![n_embd, n_ff]),
        ];
        if has_qkv_bias {
            block.push(("self_attn.q_proj.bias", "attn_q.bias", vec![q]));
            block.push(("self_attn.k_proj.bias", "attn_k.bias", vec![kv]));
            block.push(("self_attn.v_proj.bias", "attn_v.bias", vec![kv]));
        }
        if has_o_bias {
            block.push(("self_attn.o_proj.bias", "attn_output.bias", vec![n_embd]));
        }
        if self == Self::Llama && config.has_mlp_bias {
            block.push(("mlp.gate_proj.bias", "ffn_gate.bias", vec![n_ff]));
            block.push(("mlp.up_proj.bias", "ffn_up.bias", vec![n_ff]));
            block.push(("mlp.down_proj.bias", "ffn_down.bias", vec![n_embd]));
        }
        if self == Self::Qwen3 {
            block.push(("self_attn.q_norm.weight", "attn_q_norm.weight", vec![head_dim]));
            block.push(("self_attn.k_norm.weight", "attn_k_norm.weight", vec![head_dim]));
        }
        let whole = |name: &str, gguf_name: &str, shape: &[u64]| Expected {
            name: name.into(),
            gguf_name: gguf_name.into(),
            shape: shape.to_vec(),
        };
        let mut all = vec![whole("model.embed_tokens.weight", "token_embd.weight", &[n_vocab, n_embd])];
        for layer_idx in 0..n_layers {
            all.extend(block.iter().map(|(name, gguf_name, shape)| Expected {
                name: format!("model.layers.{layer_idx}.{name}"),
                gguf_name: format!("blk.{layer_idx}.{gguf_name}"),
                shape: shape.clone(),
            }));
        }
        all.push(whole("model.norm.weight", "output_norm.weight", &[n_embd]));
        if !config.has_tied_embeddings {
            all.push(whole(HEAD, "output.weight", &[n_vocab, n_embd]));
        }
        Ok(all)
    }
}

/// The head. A tied one may be there all the same: it is the embedding once more.
const HEAD: &str = "lm_head.weight";

/// True for a tensor that is not among the expected and harms nothing: tables that the program computes by itself, a tied head, scales of
/// an FP8 checkpoint.
pub fn is_harmless(name: &str, config: &CheckpointConfig) -> bool {
    let is_computed = [".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"].iter().any(|end| name.ends_with(end));
    let is_scale = ["_scale_inv", "_scale"].iter().any(|end| name.ends_with(end));
    let is_float_quantized = config.quantization.as_ref().is_some_and(|quantization| quantization.method.is_float());
    is_computed || is_scale && is_float_quantized || name == HEAD && config.has_tied_embeddings
}

/// The numbers that decide memory.
pub fn hyperparameters(config: &CheckpointConfig, architecture: &str) -> Hyperparameters {
    let n_layers = config.n_layers.min(MAX_LAYERS);
    let per_layer = |number: u64| (0..n_layers).map(|_| number).collect();
    Hyperparameters {
        architecture: architecture.into(),
        n_layers,
        n_embd: config.n_embd,
        n_ctx_train: config.n_ctx_train,
        n_vocab: config.n_vocab,
        n_heads: per_layer(config.n_heads),
        n_kv_heads: per_layer(config.n_kv_heads),
        n_ff: per_layer(config.n_ff),
        head_dim_k: config.head_dim,
        head_dim_v: config.head_dim,
        n_rot: config.head_dim,
        sliding_window: config.sliding_window,
        ..Hyperparameters::default()
    }
}

/// The model that a conversion without loss would give, as far as its size goes: for predictions, there is no such file.
pub fn model_of(expected: &[Expected], config: &CheckpointConfig, architecture: &str) -> Model {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::Str(architecture.into()));
    let tensors = expected.iter().map(|tensor| {
        let shape: Vec<u64> = tensor.shape.iter().rev().copied().collect();
        // convert_hf_to_gguf.py keeps vectors in F32.
        let (dtype, bytes_each) = if shape.len() == 1 { (DType::F32, 4) } else { (DType::BF16, 2) };
        let size_bytes = shape.iter().fold(bytes_each, |n: u64, &dim| n.saturating_mul(dim));
        Tensor { name: tensor.gguf_name.clone(), dtype, shape, file_idx: 0, offset: 0, size_bytes }
    });
    Model {
        path: std::path::PathBuf::new(),
        files: Vec::new(),
        size_bytes: 0,
        format_name: String::new(),
        alignment: 32,
        metadata,
        tensors: tensors.collect(),
        hyperparameters: hyperparameters(config, architecture),
        warnings: Vec::new(),
        import: None,
    }
}

/// What the tokenizer adds to a GGUF file, in bytes, about.
pub fn tokenizer_bytes(config: &CheckpointConfig) -> u64 {
    config.n_vocab.saturating_mul(TOKENIZER_BYTES_PER_TOKEN)
}
