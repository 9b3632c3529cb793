//! The llama family: Llama 2 and 3, Mistral, `SmolLM`, Yi; Qwen 2 and 3, which differ in biases and norms.
//!
//! Source: `modeling_llama.py`, `modeling_qwen2.py` and `modeling_qwen3.py` of transformers; `conversion/llama.py`, `conversion/qwen.py`
//! and `gguf-py/gguf/tensor_mapping.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Defaults, Keys, Rope};
use super::mapping::{Mapping, Tensors};
use super::rope::{check_kind, llama3_factors};

/// Base of RoPE where `config.json` says none.
const THETA: f64 = 10_000.0;

/// Names of the embedding, of the last norm and of the head, with their names in GGUF.
pub const EMBEDDING: (&str, &str) = ("model.embed_tokens.weight", "token_embd.weight");
/// The norm before the head.
pub const LAST_NORM: (&str, &str) = ("model.norm.weight", "output_norm.weight");
/// The head. A tied one may be there all the same: it is the embedding once more.
pub const HEAD: (&str, &str) = ("lm_head.weight", "output.weight");

/// Llama, Mistral and what else has their class.
pub fn llama(config: &Config) -> Result<Mapping, String> {
    let rope = Rope::of(config, Some(THETA));
    check_kind(&rope, &["linear", "yarn", "llama3"])?;
    let mut keys = Keys::new("llama");
    let n_ctx = if config.facts.model_type == "mistral" { 131_072 } else { 2048 };
    keys.common(config, &rope, Defaults { n_ctx: Some(n_ctx), has_head_dim: true, ..LLAMA_LIKE });
    keys.number("vocab_size", config.facts.n_vocab);
    keys.number("rope.dimension_count", config.facts.head_dim);
    let mut tensors = Tensors::default();
    if let Some(factors) = llama3_factors(&rope, config.facts.head_dim) {
        tensors.computed("rope_freqs.weight", factors);
    }
    let biases = Biases { qkv: config.facts.has_attention_bias, output: config.facts.has_attention_bias };
    decoder(&mut tensors, config, Attention { biases, is_rotated: true, has_head_norms: false });
    Ok(Mapping { architecture: "llama", entries: keys.all, tensors: tensors.all })
}

/// Qwen 2 and 2.5.
pub fn qwen2(config: &Config) -> Result<Mapping, String> {
    let rope = Rope::of(config, Some(THETA));
    check_kind(&rope, &["linear", "yarn"])?;
    let mut keys = Keys::new("qwen2");
    let has_head_dim = config.json().contains_key("head_dim");
    keys.common(config, &rope, Defaults { n_ctx: Some(32_768), has_head_dim, ..LLAMA_LIKE });
    let mut tensors = Tensors::default();
    decoder(
        &mut tensors,
        config,
        Attention { biases: Biases { qkv: true, output: false }, is_rotated: false, has_head_norms: false },
    );
    Ok(Mapping { architecture: "qwen2", entries: keys.all, tensors: tensors.all })
}

/// Qwen 3.
pub fn qwen3(config: &Config) -> Result<Mapping, String> {
    let rope = Rope::of(config, Some(THETA));
    check_kind(&rope, &["linear", "yarn"])?;
    let mut keys = Keys::new("qwen3");
    keys.common(config, &rope, Defaults { n_ctx: Some(32_768), has_head_dim: true, ..LLAMA_LIKE });
    let mut tensors = Tensors::default();
    let biases = Biases { qkv: config.facts.has_attention_bias, output: config.facts.has_attention_bias };
    decoder(&mut tensors, config, Attention { biases, is_rotated: false, has_head_norms: true });
    Ok(Mapping { architecture: "qwen3", entries: keys.all, tensors: tensors.all })
}

/// What most decoders have in common.
pub const LLAMA_LIKE: Defaults = Defaults {
    n_ctx: None,
    rms_norm_epsilon: Some(1e-6),
    norm_epsilon: None,
    n_experts_used: None,
    has_n_ff: true,
    has_kv_heads: true,
    has_head_dim: false,
};

/// Which projections of the attention have biases.
#[derive(Debug, Clone, Copy, Default)]
pub struct Biases {
    /// Those to queries, keys and values.
    pub qkv: bool,
    /// That to the output.
    pub output: bool,
}

/// In what the attention of this family's members differs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attention {
    /// Which biases there are.
    pub biases: Biases,
    /// True where llama.cpp rotates neighbours, so that the rows of queries and keys change places.
    pub is_rotated: bool,
    /// True for norms on each head's queries and keys.
    pub has_head_norms: bool,
}

fn decoder(tensors: &mut Tensors, config: &Config, attention: Attention) {
    outer(tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, attention);
        norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        feed_forward(tensors, config, layer_idx);
    });
}

/// Embedding, layers, last norm and, where it is not tied, the head.
pub fn outer(tensors: &mut Tensors, config: &Config, mut layer: impl FnMut(&mut Tensors, u64)) {
    let facts = config.facts;
    tensors.plain(EMBEDDING.1, EMBEDDING.0, &[facts.n_vocab, facts.n_embd]);
    for layer_idx in 0..facts.n_layers {
        layer(tensors, layer_idx);
    }
    tensors.plain(LAST_NORM.1, LAST_NORM.0, &[facts.n_embd]);
    if !facts.has_tied_embeddings {
        tensors.plain(HEAD.1, HEAD.0, &[facts.n_vocab, facts.n_embd]);
    }
}

/// A norm over the width of the residual stream.
pub fn norm(tensors: &mut Tensors, config: &Config, layer_idx: u64, source: &str, name: &str) {
    tensors.plain(
        format!("blk.{layer_idx}.{name}.weight"),
        format!("model.layers.{layer_idx}.{source}.weight"),
        &[config.facts.n_embd],
    );
}

/// The norm before it, and projections with their biases and norms.
pub fn attention_block(tensors: &mut Tensors, config: &Config, layer_idx: u64, attention: Attention) {
    norm(tensors, config, layer_idx, "input_layernorm", "attn_norm");
    projections(tensors, config, layer_idx, attention);
}

/// Projections with their biases and norms.
pub fn projections(tensors: &mut Tensors, config: &Config, layer_idx: u64, attention: Attention) {
    let (n_embd, head_dim) = (config.facts.n_embd, config.facts.head_dim);
    let (q, kv) = (config.q_width(), config.kv_width());
    let source = |part: &str| format!("model.layers.{layer_idx}.self_attn.{part}");
    let name = |part: &str| format!("blk.{layer_idx}.{part}");
    for (part, gguf, width, is_rotated) in [
        ("q_proj", "attn_q", q, attention.is_rotated),
        ("k_proj", "attn_k", kv, attention.is_rotated),
        ("v_proj", "attn_v", kv, false),
    ] {
        let mut add = |ending: &str, shape: &[u64]| {
            let (name, source) = (name(&format!("{gguf}.{ending}")), source(&format!("{part}.{ending}")));
            if is_rotated {
                tensors.rope(name, source, shape, head_dim);
            } else {
                tensors.plain(name, source, shape);
            }
        };
        add("weight", &[width, n_embd]);
        if attention.biases.qkv {
            add("bias", &[width]);
        }
    }
    tensors.plain(name("attn_output.weight"), source("o_proj.weight"), &[n_embd, q]);
    if attention.biases.output {
        tensors.plain(name("attn_output.bias"), source("o_proj.bias"), &[n_embd]);
    }
    if attention.has_head_norms {
        tensors.plain(name("attn_q_norm.weight"), source("q_norm.weight"), &[head_dim]);
        tensors.plain(name("attn_k_norm.weight"), source("k_norm.weight"), &[head_dim]);
    }
}

/// Gate, up and down, with biases where `mlp_bias` says so.
pub fn feed_forward(tensors: &mut Tensors, config: &Config, layer_idx: u64) {
    let (n_embd, n_ff) = (config.facts.n_embd, config.facts.n_ff);
    for (part, gguf, shape) in [
        ("gate_proj", "ffn_gate", [n_ff, n_embd]),
        ("up_proj", "ffn_up", [n_ff, n_embd]),
        ("down_proj", "ffn_down", [n_embd, n_ff]),
    ] {
        let source = |ending: &str| format!("model.layers.{layer_idx}.mlp.{part}.{ending}");
        let name = |ending: &str| format!("blk.{layer_idx}.{gguf}.{ending}");
        tensors.plain(name("weight"), source("weight"), &shape);
        if config.facts.has_mlp_bias {
            tensors.plain(name("bias"), source("bias"), &shape[..1]);
        }
    }
}
