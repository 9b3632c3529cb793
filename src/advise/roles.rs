//! What a tensor is for and whether levels change it, from its name and shape alone.
//!
//! Source: `tensor_get_category` and `tensor_allows_quantization` in src/llama-quant.cpp, `weight_name_comparer` in
//! src/llama-model-loader.h, llama.cpp of 2026-08-21.

use std::borrow::Cow;

use crate::model::{DType, Tensor};

/// What a tensor's name and shape say, whatever the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) category: Category,
    pub(super) is_quantizable: bool,
    /// -1 outside the blocks.
    pub(super) layer_idx: i32,
}

impl Role {
    pub(super) fn of(tensor: &Tensor, is_glm5_next: bool) -> Self {
        Self {
            category: Category::of(&tensor.name),
            is_quantizable: is_quantizable(tensor, is_glm5_next),
            layer_idx: layer_idx(&tensor.name),
        }
    }
}

/// `tensor_category`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    TokenEmbedding,
    AttentionQ,
    AttentionK,
    AttentionV,
    AttentionQkv,
    AttentionKvB,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Output,
    Other,
}

impl Category {
    /// `tensor_get_category`.
    fn of(name: &str) -> Self {
        const PARTS: [(&str, Category); 9] = [
            ("attn_qkv.weight", Category::AttentionQkv),
            ("attn_kv_b.weight", Category::AttentionKvB),
            ("attn_v.weight", Category::AttentionV),
            ("attn_k.weight", Category::AttentionK),
            ("attn_q.weight", Category::AttentionQ),
            ("attn_output.weight", Category::AttentionOutput),
            ("ffn_up", Category::FfnUp),
            ("ffn_gate", Category::FfnGate),
            ("ffn_down", Category::FfnDown),
        ];
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::TokenEmbedding,
            _ => PARTS.iter().find(|(part, _)| name.contains(part)).map_or(Self::Other, |&(_, category)| category),
        }
    }

    /// `category_is_attn_v`.
    pub(super) fn is_attention_v(self) -> bool {
        matches!(self, Self::AttentionV | Self::AttentionQkv | Self::AttentionKvB)
    }
}

/// Parts of names of matrices that llama-quantize leaves as they are.
const KEPT_PARTS: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// The same for the architecture `glm5-next` alone.
const KEPT_PARTS_OF_GLM5_NEXT: [&str; 14] = [
    "hc_",
    "indexer.attn_q_b",
    "indexer.attn_k",
    "indexer.proj",
    "indexer_compressor_gate",
    "indexer_compressor_ape",
    "ssm_f_a.weight",
    "ssm_f_b.weight",
    "ssm_g_a.weight",
    "ssm_g_b.weight",
    "ssm_beta.weight",
    "attn_kv_a_mqa.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
];

/// `tensor_allows_quantization`.
///
/// Integers and F64, which llama-quantize refuses with an error, are left as they are. (Its check for the ending also lets
/// every name of five characters through, an unsigned wrap-around: such names get the same answer here.)
fn is_quantizable(tensor: &Tensor, is_glm5_next: bool) -> bool {
    let name = tensor.name.as_str();
    if tensor.n_dims() < 2 || !(name.ends_with("weight") || name.len() == 5) {
        return false;
    }
    if matches!(tensor.dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64) {
        return false;
    }
    if has_common_name(name) {
        return !is_glm5_next || !name.contains("hc_");
    }
    let is_kept = matches!(name, "position_embd.weight" | "token_types.weight")
        || KEPT_PARTS.iter().any(|part| name.contains(part))
        || (is_glm5_next && KEPT_PARTS_OF_GLM5_NEXT.iter().any(|part| name.contains(part)));
    !is_kept
}

/// True for the names that almost all matrices have and that contain none of the kept parts, which saves 50 searches for each.
fn has_common_name(name: &str) -> bool {
    let in_block = name.strip_prefix("blk.").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    matches!(
        in_block.unwrap_or(name),
        ".attn_q.weight"
            | ".attn_k.weight"
            | ".attn_v.weight"
            | ".attn_qkv.weight"
            | ".attn_output.weight"
            | ".ffn_gate.weight"
            | ".ffn_up.weight"
            | ".ffn_down.weight"
            | ".ffn_gate_exps.weight"
            | ".ffn_up_exps.weight"
            | ".ffn_down_exps.weight"
            | "output.weight"
            | "token_embd.weight"
    )
}

/// What `sscanf(name, "blk.%d.", &layer)` leaves in a variable that starts at -1.
fn layer_idx(name: &str) -> i32 {
    let Some(rest) = name.strip_prefix("blk.") else { return -1 };
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (sign, rest) = match rest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", rest.strip_prefix('+').unwrap_or(rest)),
    };
    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number: Cow<'_, str> = if sign.is_empty() { rest[..n_digits].into() } else { format!("-{}", &rest[..n_digits]).into() };
    number.parse().unwrap_or(-1)
}
