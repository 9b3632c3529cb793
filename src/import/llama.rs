//! The llama family: Llama 2 and 3, Mistral, `SmolLM`, Yi; Qwen 2 and 3, which differ in biases and norms.
//!
//! Source: `modeling_llama.py`, `modeling_qwen2.py` and `modeling_qwen3.py` of transformers; `conversion/llama.py`, `conversion/qwen.py`
//! and `gguf-py/gguf/tensor_mapping.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Keys, Rope};
use super::mapping::{Mapping, Tensors};
use super::rope::{check_kind, llama3_factors};
use super::traits::{Traits, sliding_layers};

/// The embedding: its name in checkpoints, and in GGUF.
pub const EMBEDDING: (&str, &str) = ("model.embed_tokens.weight", "token_embd.weight");
/// The norm before the head, in the same way.
pub const LAST_NORM: (&str, &str) = ("model.norm.weight", "output_norm.weight");
/// The head, in the same way. A tied one may be stored all the same, as a copy of the embedding.
pub const HEAD: (&str, &str) = ("lm_head.weight", "output.weight");

/// `max_window_layers` of Qwen's classes where a configuration does not say it.
///
/// Source: `configuration_qwen2.py` of transformers 4.57.6.
pub const QWEN_FULL_LAYERS: u64 = 28;

/// Llama, Mistral and other models of their classes.
pub fn llama(config: &Config) -> Result<Mapping, String> {
    let (keys, mut tensors) = llama_like(config, "llama")?;
    decoder(&mut tensors, config, Attention { is_rotated: true, ..Attention::of(config) });
    Ok(Mapping::of("llama", keys, tensors))
}

/// Keys of an architecture of Llama's kind, and the tensors before its embedding.
pub fn llama_like(config: &Config, architecture: &'static str) -> Result<(Keys, Tensors), String> {
    let rope = Rope::of(config);
    check_kind(config, &rope, &["linear", "yarn", "llama3"])?;
    let mut keys = Keys::new(architecture);
    keys.common(config, &rope);
    keys.number("vocab_size", config.facts.n_vocab);
    keys.number("rope.dimension_count", config.facts.head_dim);
    let mut tensors = Tensors::default();
    if let Some(factors) = llama3_factors(&rope, config.facts.head_dim) {
        tensors.computed("rope_freqs.weight", factors);
    }
    Ok((keys, tensors))
}

/// Qwen 2 and 2.5.
pub fn qwen2(config: &Config) -> Result<Mapping, String> {
    let mut keys = neox_keys(config, "qwen2")?;
    keys.pooling(config);
    let mut tensors = Tensors::default();
    decoder(&mut tensors, config, Attention { biases: Biases { qkv: true, output: false }, ..Attention::default() });
    Ok(Mapping::of("qwen2", keys, tensors))
}

/// Qwen 3.
pub fn qwen3(config: &Config) -> Result<Mapping, String> {
    let mut keys = neox_keys(config, "qwen3")?;
    keys.pooling(config);
    let mut tensors = Tensors::default();
    decoder(&mut tensors, config, Attention { has_head_norms: true, ..Attention::of(config) });
    Ok(Mapping::of("qwen3", keys, tensors))
}

/// Mistral, Mixtral and Qwen 3 with experts: all layers see only the window, if there is one.
pub fn mistral_traits(config: &Config) -> Result<Traits, String> {
    Ok(Traits::plain(config)?.with_windows(config))
}

/// Qwen 2 and 3: where `layer_types` is missing, the first `max_window_layers` layers see the whole context.
pub fn qwen_traits(config: &Config) -> Result<Traits, String> {
    let n_full = config.number(&["max_window_layers"]).unwrap_or(QWEN_FULL_LAYERS);
    let layers = sliding_layers(config, |layer_idx| layer_idx >= n_full)?;
    Ok(Traits::plain(config)?.with_windows_in(config, layers))
}

/// Keys of an architecture that needs only the common ones; llama.cpp rotates halves of its heads, not neighbours.
pub fn neox_keys(config: &Config, architecture: &'static str) -> Result<Keys, String> {
    let rope = Rope::of(config);
    check_kind(config, &rope, &["linear", "yarn"])?;
    let mut keys = Keys::new(architecture);
    keys.common(config, &rope);
    Ok(keys)
}

/// Which projections of the attention have biases.
#[derive(Debug, Clone, Copy, Default)]
pub struct Biases {
    /// The projections to queries, keys and values.
    pub qkv: bool,
    /// The projection to the output.
    pub output: bool,
}

/// How the attention of this family's members differs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attention {
    /// Which biases there are.
    pub biases: Biases,
    /// True where llama.cpp rotates neighbours, so that the rows of queries and keys change places.
    pub is_rotated: bool,
    /// True for norms on each head's queries and keys.
    pub has_head_norms: bool,
}

impl Attention {
    /// Attention with the biases that the configuration names.
    pub fn of(config: &Config) -> Self {
        let has_biases = config.facts.has_attention_bias;
        Self { biases: Biases { qkv: has_biases, output: has_biases }, ..Self::default() }
    }
}

/// Adds the embedding, layers of attention and feed-forward with a norm before each, and the rest.
pub fn decoder(tensors: &mut Tensors, config: &Config, attention: Attention) {
    outer(tensors, config, |tensors, layer_idx| {
        attention_block(tensors, config, layer_idx, attention);
        norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        feed_forward(tensors, config, layer_idx);
    });
}

/// Adds the embedding, the layers, the last norm and, where it is not tied, the head.
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

/// Adds a norm over the width of the residual stream.
pub fn norm(tensors: &mut Tensors, config: &Config, layer_idx: u64, source: &str, name: &str) {
    tensors.plain(
        format!("blk.{layer_idx}.{name}.weight"),
        format!("model.layers.{layer_idx}.{source}.weight"),
        &[config.facts.n_embd],
    );
}

/// Adds the norm before the attention, and the projections with their biases and norms.
pub fn attention_block(tensors: &mut Tensors, config: &Config, layer_idx: u64, attention: Attention) {
    norm(tensors, config, layer_idx, "input_layernorm", "attn_norm");
    projections(tensors, config, layer_idx, attention);
}

/// Adds the projections of the attention with their biases and norms.
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

/// Adds gate, up and down, with biases where `mlp_bias` says so.
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
