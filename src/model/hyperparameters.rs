//! What an architecture's keys say about the network's shape.

use super::{Metadata, Value};

/// The numbers that decide memory, speed and the recipe. 0 or `None` where the file says nothing and llama.cpp has no default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hyperparameters {
    /// `general.architecture`: `llama`, `qwen2`, `gemma3`.
    pub architecture: String,
    /// Number of blocks.
    pub n_layers: u64,
    /// Width of the residual stream.
    pub n_embd: u64,
    /// Context length that the model was trained with, in tokens.
    pub n_ctx_train: u64,
    /// Vocabulary size.
    pub n_vocab: u64,
    /// Query heads of each layer; `n_layers` long.
    pub n_heads: Vec<u64>,
    /// Key and value heads of each layer; 0 for layers without attention; `n_layers` long.
    pub n_kv_heads: Vec<u64>,
    /// Feed-forward width of each layer; `n_layers` long.
    pub n_ff: Vec<u64>,
    /// Length of a key vector per head.
    pub head_dim_k: u64,
    /// Length of a value vector per head.
    pub head_dim_v: u64,
    /// Number of experts; 0 for a dense model.
    pub n_experts: u64,
    /// Experts that one token passes through.
    pub n_experts_used: u64,
    /// Window of sliding-window layers in tokens.
    pub sliding_window: Option<u64>,
    /// Every n-th layer sees the whole context, the others only the window; `None`: all layers use the window, if there is one.
    pub full_attention_every: Option<u64>,
    /// Rank of the compressed KV cache (multi-head latent attention).
    pub kv_lora_rank: Option<u64>,
    /// Dimensions that RoPE rotates.
    pub n_rot: u64,
    /// Bytes of a Mamba layer's recurrent state, independent of the context; 0 without one. RWKV's and other states are not
    /// counted.
    pub recurrent_state_bytes_per_layer: u64,
    /// True for networks whose tokens also see the tokens after them, as in text encoders: nothing is kept for later tokens.
    pub is_encoder: bool,
}

impl Hyperparameters {
    /// Reads the keys of the model's architecture.
    ///
    /// Source of the key names and defaults: `llama_model_base::load_hparams` in llama-model.cpp and `LLM_KV_NAMES` in
    /// llama-arch.cpp, llama.cpp of 2026-08-21.
    #[must_use]
    pub fn from_metadata(metadata: &Metadata) -> Self {
        let architecture = metadata.str("general.architecture").unwrap_or_default().into_owned();
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        let number = |suffix: &str| metadata.u64(&key(suffix));
        // A hostile block count must not become an allocation: llama.cpp's own limit is 512 (LLAMA_MAX_LAYERS).
        let n_layers = number("block_count").unwrap_or(0).min(4096);
        let per_layer = |suffix: &str, default: u64| -> Vec<u64> {
            let values = match metadata.find(&key(suffix)) {
                Some(Value::Array(array)) => array.to_u64s().unwrap_or_default(),
                Some(value) => vec![value.as_u64().unwrap_or(default); usize::try_from(n_layers).unwrap_or(0)],
                None => Vec::new(),
            };
            (0..usize::try_from(n_layers).unwrap_or(0))
                .map(|layer_idx| values.get(layer_idx).copied().unwrap_or(default))
                .collect()
        };
        let n_embd = number("embedding_length").unwrap_or(0);
        let n_heads = per_layer("attention.head_count", 0);
        let n_kv_heads = match metadata.find(&key("attention.head_count_kv")) {
            Some(_) => per_layer("attention.head_count_kv", 0),
            None => n_heads.clone(),
        };
        let widest = n_heads.iter().copied().max().unwrap_or(0);
        let default_head_dim = n_embd.checked_div(widest).unwrap_or(0);
        let head_dim_k = number("attention.key_length").unwrap_or(default_head_dim);
        let head_dim_v = number("attention.value_length").unwrap_or(default_head_dim);
        let sliding_window = number("attention.sliding_window").filter(|&window| window > 0);
        // The pattern is fixed per architecture in llama.cpp's source (`set_swa_pattern`), not stored in most files.
        let full_attention_every = sliding_window.and(match architecture.as_str() {
            "gemma2" | "gpt-oss" => Some(2),
            "gemma3" => Some(6),
            "gemma3n" => Some(5),
            "cohere2" | "llama4" => Some(4),
            _ => None,
        });
        let n_vocab = number("vocab_size").or_else(|| match metadata.find("tokenizer.ggml.tokens") {
            Some(Value::Array(tokens)) => Some(tokens.len() as u64),
            _ => None,
        });
        Self {
            n_layers,
            n_embd,
            n_ctx_train: number("context_length").unwrap_or(0),
            n_vocab: n_vocab.unwrap_or(0),
            n_ff: per_layer("feed_forward_length", 0),
            n_heads,
            n_kv_heads,
            head_dim_k,
            head_dim_v,
            n_experts: number("expert_count").unwrap_or(0),
            n_experts_used: number("expert_used_count").unwrap_or(0),
            sliding_window,
            full_attention_every,
            kv_lora_rank: number("attention.kv_lora_rank").filter(|&rank| rank > 0),
            n_rot: number("rope.dimension_count").unwrap_or(head_dim_k),
            recurrent_state_bytes_per_layer: recurrent_state_bytes(
                number("ssm.conv_kernel").unwrap_or(0),
                number("ssm.inner_size").unwrap_or(0),
                number("ssm.state_size").unwrap_or(0),
                number("ssm.group_count").unwrap_or(0),
            ),
            is_encoder: matches!(metadata.find(&key("attention.causal")), Some(Value::Bool(false))),
            architecture,
        }
    }

    /// Query heads per key head of the first layer, as `llama_hparams::n_gqa()`; 0 without key heads.
    #[must_use]
    pub fn gqa_ratio(&self) -> u64 {
        match (self.n_heads.first(), self.n_kv_heads.first()) {
            (Some(&n_heads), Some(&n_kv_heads)) => n_heads.checked_div(n_kv_heads).unwrap_or(0),
            _ => 0,
        }
    }

    /// True when this layer keeps only the window in its KV cache.
    ///
    /// Source: `llama_hparams::set_swa_pattern` in llama-hparams.cpp: the last of every n layers is full.
    #[must_use]
    pub fn is_windowed(&self, layer_idx: u64) -> bool {
        match (self.sliding_window, self.full_attention_every) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(_), Some(every)) => layer_idx % every < every - 1,
        }
    }
}

/// Bytes of one Mamba layer's convolution and state rows in f32: four times
/// `(d_conv - 1) * (d_inner + 2 * n_group * d_state) + d_state * d_inner`.
///
/// Source: `llama_hparams::n_embd_r` and `n_embd_s`, llama-hparams.cpp.
fn recurrent_state_bytes(d_conv: u64, d_inner: u64, d_state: u64, n_group: u64) -> u64 {
    let conv = d_conv.saturating_sub(1).saturating_mul(d_inner.saturating_add(n_group.saturating_mul(d_state).saturating_mul(2)));
    conv.saturating_add(d_state.saturating_mul(d_inner)).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::super::Array;
    use super::*;

    fn metadata(architecture: &str, entries: &[(&str, Value)]) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", Value::Str(architecture.into()));
        for (suffix, value) in entries {
            metadata.set(&format!("{architecture}.{suffix}"), value.clone());
        }
        metadata
    }

    #[test]
    fn scalars_are_spread_over_the_layers() {
        let of = Hyperparameters::from_metadata(&metadata(
            "llama",
            &[
                ("block_count", Value::U32(2)),
                ("embedding_length", Value::U32(576)),
                ("attention.head_count", Value::U32(9)),
                ("attention.head_count_kv", Value::U32(3)),
            ],
        ));
        assert_eq!((of.n_heads.as_slice(), of.n_kv_heads.as_slice()), (&[9, 9][..], &[3, 3][..]));
        assert_eq!((of.head_dim_k, of.head_dim_v, of.gqa_ratio()), (64, 64, 3));
    }

    #[test]
    fn arrays_are_per_layer_and_short_ones_are_filled() {
        let of = Hyperparameters::from_metadata(&metadata(
            "x",
            &[
                ("block_count", Value::U32(3)),
                ("attention.head_count", Value::U32(8)),
                ("attention.head_count_kv", Value::Array(Array::I32(vec![2, 0]))),
            ],
        ));
        assert_eq!(of.n_kv_heads, [2, 0, 0]);
    }

    #[test]
    fn every_sixth_layer_of_gemma3_is_full() {
        let of = Hyperparameters::from_metadata(&metadata(
            "gemma3",
            &[("block_count", Value::U32(12)), ("attention.sliding_window", Value::U32(512))],
        ));
        let full: Vec<u64> = (0..12).filter(|&layer_idx| !of.is_windowed(layer_idx)).collect();
        assert_eq!(full, [5, 11]);
    }

    #[test]
    fn encoders_say_so() {
        let check = |value: Option<Value>, expected: bool| {
            let entries: Vec<(&str, Value)> = value.into_iter().map(|value| ("attention.causal", value)).collect();
            assert_eq!(Hyperparameters::from_metadata(&metadata("bert", &entries)).is_encoder, expected, "{entries:?}");
        };
        check(Some(Value::Bool(false)), true);
        check(Some(Value::Bool(true)), false);
        check(None, false);
    }

    #[test]
    fn a_hostile_block_count_is_capped() {
        let of = Hyperparameters::from_metadata(&metadata(
            "x",
            &[("block_count", Value::U64(u64::MAX)), ("attention.head_count", Value::U32(1))],
        ));
        assert_eq!(of.n_heads.len(), 4096);
    }
}
