//! DeepSeek V2 and V3: attention with compressed keys and values, experts and shared experts.
//!
//! Source: `modeling_deepseek_v2.py` and `modeling_deepseek_v3.py` of transformers; `DeepseekV2Model` in `conversion/deepseek.py`,
//! llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::{Keys, Rope};
use super::llama::{feed_forward, norm, outer};
use super::mapping::{Mapping, Piece, Spelling, Tensors};
use super::moe::{PROJECTIONS, experts, router, shared_experts};
use super::rope::check_kind;
use crate::model::{CheckpointConfig, RowOrder};

/// Most shared experts that are counted; published models have 1 or 2.
const MAX_SHARED: u64 = 1024;

/// Lengths of a head's vectors, and ranks of what they are computed from.
#[derive(Debug, Clone, Copy)]
struct Latent {
    /// Part of keys and queries that is not rotated.
    nope: u64,
    /// Part of them that is rotated.
    rope: u64,
    /// Values.
    v: u64,
    /// Rank of keys and values.
    kv_rank: u64,
    /// Rank of the queries; `None` where they are computed in one step.
    q_rank: Option<u64>,
}

/// DeepSeek V2, V2 Lite and V3.
pub fn deepseek2(config: &Config) -> Result<Mapping, String> {
    let rope = Rope::of(config);
    check_kind(config, &rope, &["yarn"])?;
    config.expect("rope_interleave", true)?;
    config.expect("attention_bias", false)?;
    if config.number(&["moe_layer_freq"]).unwrap_or(1) != 1 {
        return Err("some of its layers have no experts, which llama.cpp does not know for this architecture".into());
    }
    let latent = Latent {
        nope: config.dim("qk_nope_head_dim")?,
        rope: config.dim("qk_rope_head_dim")?,
        v: config.dim("v_head_dim")?,
        kv_rank: config.dim("kv_lora_rank")?,
        q_rank: if config.number(&["q_lora_rank"]).is_some() { Some(config.dim("q_lora_rank")?) } else { None },
    };
    let mut tensors = Tensors::default();
    let layers = Layers::of(config)?;
    outer(&mut tensors, config, |tensors, layer_idx| {
        norm(tensors, config, layer_idx, "input_layernorm", "attn_norm");
        attention(tensors, config, layer_idx, latent);
        norm(tensors, config, layer_idx, "post_attention_layernorm", "ffn_norm");
        layers.add(tensors, config, layer_idx);
    });
    // Layers that guess the tokens after the next one come after the others.
    let n_guessing = config.number(&["num_nextn_predict_layers"]).unwrap_or(0).min(8);
    let first = config.facts.n_layers;
    let left_out = (first..first + n_guessing).map(|layer_idx| format!("model.layers.{layer_idx}.")).collect();
    let spelling = Spelling { left_out, ..Spelling::default() };
    Ok(Mapping::of("deepseek2", keys_of(config, &rope, latent, layers), tensors).spelled(spelling))
}

fn keys_of(config: &Config, rope: &Rope, latent: Latent, layers: Layers) -> Keys {
    // llama.cpp computes with one key head that all queries share.
    let facts = CheckpointConfig { n_kv_heads: 1, head_dim: latent.kv_rank + latent.rope, ..config.facts.clone() };
    let mut keys = Keys::new("deepseek2");
    let own = Config::of(&facts);
    keys.common(&own, rope);
    config.take_over(&own);
    if layers.is_corrected && config.text("scoring_func").is_none() {
        // V3 uses sigmoid scores without saying so.
        keys.number("expert_gating_func", 2);
    }
    keys.number("leading_dense_block_count", layers.n_dense);
    keys.number("vocab_size", facts.n_vocab);
    keys.some_number("attention.q_lora_rank", latent.q_rank);
    keys.number("attention.kv_lora_rank", latent.kv_rank);
    keys.set_number("attention.value_length", latent.kv_rank);
    keys.number("attention.key_length_mla", latent.nope + latent.rope);
    keys.number("attention.value_length_mla", latent.v);
    keys.number("expert_feed_forward_length", layers.n_ff);
    keys.number("expert_shared_count", layers.n_shared);
    keys.some_float("expert_weights_scale", config.float(&["routed_scaling_factor"]));
    if config.flag("norm_topk_prob").unwrap_or(false) {
        keys.flag("expert_weights_norm", true);
    }
    keys.number("rope.dimension_count", latent.rope);
    keys.some_float("rope.scaling.yarn_log_multiplier", rope.float("mscale_all_dim").map(|scale| 0.1 * scale));
    keys
}

fn attention(tensors: &mut Tensors, config: &Config, layer_idx: u64, latent: Latent) {
    let (n_embd, n_heads) = (config.facts.n_embd, config.facts.n_heads);
    let Latent { nope, rope, v, kv_rank, q_rank } = latent;
    let source = |part: &str| format!("model.layers.{layer_idx}.self_attn.{part}.weight");
    let name = |part: &str| format!("blk.{layer_idx}.{part}.weight");
    let q_width = n_heads * (nope + rope);
    match q_rank {
        Some(rank) => {
            tensors.plain(name("attn_q_a"), source("q_a_proj"), &[rank, n_embd]);
            tensors.plain(name("attn_q_a_norm"), source("q_a_layernorm"), &[rank]);
            tensors.plain(name("attn_q_b"), source("q_b_proj"), &[q_width, rank]);
        }
        None => {
            tensors.plain(name("attn_q"), source("q_proj"), &[q_width, n_embd]);
        }
    }
    tensors.plain(name("attn_kv_a_mqa"), source("kv_a_proj_with_mqa"), &[kv_rank + rope, n_embd]);
    tensors.plain(name("attn_kv_a_norm"), source("kv_a_layernorm"), &[kv_rank]);
    // For each head the rows of its key, then of its value. The keys are needed transposed: the queries are multiplied by them.
    let fused = Piece::whole(source("kv_b_proj"), &[n_heads * (nope + v), kv_rank]);
    let rows = |start: u64, n: u64| {
        let fused = &fused;
        (0..n_heads).map(move |head| fused.clone().rows(head * (nope + v) + start, n))
    };
    let keys = rows(0, nope).map(|piece| piece.ordered(RowOrder::TRANSPOSED)).collect();
    tensors.of(name("attn_k_b"), &[nope, kv_rank, n_heads], keys);
    tensors.of(name("attn_v_b"), &[kv_rank, v, n_heads], rows(nope, v).collect());
    tensors.plain(name("attn_output"), source("o_proj"), &[n_embd, n_heads * v]);
}

/// Which layers have experts, and how wide they are.
#[derive(Debug, Clone, Copy)]
struct Layers {
    /// Layers without experts at the start.
    n_dense: u64,
    /// Feed-forward width of an expert.
    n_ff: u64,
    /// Experts that every token passes through.
    n_shared: u64,
    /// True where a vector corrects the scores, as in V3.
    is_corrected: bool,
}

impl Layers {
    fn of(config: &Config) -> Result<Self, String> {
        let facts = config.facts;
        if facts.n_experts == 0 {
            return Ok(Self { n_dense: facts.n_layers, n_ff: facts.n_ff, n_shared: 0, is_corrected: false });
        }
        Ok(Self {
            n_dense: config.number(&["first_k_dense_replace"]).unwrap_or(0),
            n_ff: config.dim("moe_intermediate_size")?,
            n_shared: config.number(&["n_shared_experts"]).unwrap_or(0).min(MAX_SHARED),
            is_corrected: facts.model_type == "deepseek_v3"
                || facts.class_name.starts_with("DeepseekV3")
                || config.text("topk_method") == Some("noaux_tc"),
        })
    }

    fn add(self, tensors: &mut Tensors, config: &Config, layer_idx: u64) {
        if layer_idx < self.n_dense {
            feed_forward(tensors, config, layer_idx);
            return;
        }
        let part = format!("model.layers.{layer_idx}.mlp");
        router(tensors, config, layer_idx, &part);
        if self.is_corrected {
            let source = format!("{part}.gate.e_score_correction_bias");
            tensors.plain(format!("blk.{layer_idx}.exp_probs_b.bias"), source, &[config.facts.n_experts]);
        }
        experts(tensors, config, layer_idx, self.n_ff, PROJECTIONS, &part);
        if self.n_shared > 0 {
            let n_ff = self.n_ff.saturating_mul(self.n_shared);
            shared_experts(tensors, config, layer_idx, n_ff, &format!("{part}.shared_experts"));
        }
    }
}
