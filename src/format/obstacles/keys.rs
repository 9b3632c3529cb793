//! Key-values that llama.cpp needs, and the types in which it reads them.

use super::super::needs::{KEYS_OF_ALL, Needs};
use super::{Found, listed, type_text};
use crate::model::{Model, Value, ValueType};
use crate::path_text::one_line;

/// Most layers that llama.cpp takes. Source: `LLAMA_MAX_LAYERS` in llama-hparams.h, llama.cpp of 2026-08-21.
const MAX_LAYERS: u64 = 512;

/// `(keys after the architecture's name, the type in which llama.cpp reads them)`; it loads no file where one has another type.
///
/// Source: `llama_model_base::load_hparams` in llama-model.cpp and `GKV::get_kv` in llama-model-loader.cpp, llama.cpp of 2026-08-21.
const TYPES: [(&[&str], ValueType); 4] = [
    (
        &[
            "context_length",
            "embedding_length",
            "block_count",
            "expert_count",
            "attention.key_length",
            "attention.value_length",
            "rope.dimension_count",
            "rope.scaling.original_context_length",
        ],
        ValueType::U32,
    ),
    (
        &[
            "attention.layer_norm_rms_epsilon",
            "attention.layer_norm_epsilon",
            "rope.freq_base",
            "rope.scaling.factor",
            "rope.scaling.attn_factor",
        ],
        ValueType::F32,
    ),
    (&["attention.causal"], ValueType::Bool),
    (&["rope.scaling.type"], ValueType::Str),
];
/// Keys with one number for all layers, or a list with one for each.
const PER_LAYER: [&str; 4] = ["attention.head_count", "attention.head_count_kv", "feed_forward_length", "expert_used_count"];
/// The same for keys without an architecture's name. Source: `llama_model_loader` in llama-model-loader.cpp and
/// `llama_vocab::impl::load` in llama-vocab.cpp.
const WHOLE_KEYS: [(&[&str], ValueType); 5] = [
    (&["split.no", "split.count"], ValueType::U16),
    (&["split.tensors.count"], ValueType::I32),
    (
        &[
            "general.file_type",
            "tokenizer.ggml.token_type_count",
            "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.eom_token_id",
            "tokenizer.ggml.unknown_token_id",
            "tokenizer.ggml.seperator_token_id",
            "tokenizer.ggml.padding_token_id",
            "tokenizer.ggml.mask_token_id",
        ],
        ValueType::U32,
    ),
    (&["tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token"], ValueType::Bool),
    (&["general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre"], ValueType::Str),
];

/// Whether every key has the type in which llama.cpp reads it, whatever the architecture.
pub(super) fn have_types(model: &Model, found: &mut Found) -> bool {
    let metadata = &model.metadata;
    let architecture = &model.hyperparameters.architecture;
    let mut wrong = Vec::new();
    let mut check = |key: &str, expected: ValueType| match metadata.find(key) {
        Some(value) if value.value_type() != expected => {
            wrong.push(format!("{} is {}, llama.cpp reads {expected:?}", one_line(key), type_text(value)));
        }
        _ => {}
    };
    for (suffixes, expected) in TYPES {
        for suffix in suffixes {
            check(&format!("{architecture}.{suffix}"), expected);
        }
    }
    for (keys, expected) in WHOLE_KEYS {
        for key in keys {
            check(key, expected);
        }
    }
    let n_layers = metadata.u64(&format!("{architecture}.block_count"));
    for suffix in PER_LAYER {
        let key = format!("{architecture}.{suffix}");
        match metadata.find(&key) {
            Some(Value::Array(values)) if matches!(values.element_type(), ValueType::U32 | ValueType::I32) => {
                if let Some(n_layers) = n_layers.filter(|&n_layers| n_layers != values.len() as u64) {
                    wrong.push(format!("{} has {} entries for {n_layers} layers", one_line(&key), values.len()));
                }
            }
            Some(value) if value.value_type() != ValueType::U32 => {
                wrong.push(format!("{} is {}, llama.cpp reads U32", one_line(&key), type_text(value)));
            }
            _ => {}
        }
    }
    if !wrong.is_empty() {
        found.obstacles.push(format!("keys have other types than llama.cpp reads: {}", listed(&wrong)));
    }
    wrong.is_empty()
}

/// Whether all keys are there that llama.cpp needs before it looks at the tensors.
pub(super) fn has_keys(model: &Model, needs: &Needs, found: &mut Found) -> bool {
    let key = |suffix: &str| format!("{}.{suffix}", needs.architecture);
    let missing: Vec<String> =
        KEYS_OF_ALL.iter().chain(needs.keys).map(|suffix| key(suffix)).filter(|key| model.metadata.find(key).is_none()).collect();
    if !missing.is_empty() {
        found.obstacles.push(format!("keys are missing: {}", listed(&missing)));
    }
    missing.is_empty()
}

/// Checks the architecture's numbers against each other and against what llama.cpp takes.
pub(super) fn numbers(model: &Model, needs: &Needs, found: &mut Found) {
    let shape = &model.hyperparameters;
    let key = |suffix: &str| format!("{}.{suffix}", needs.architecture);
    let n_blocks = model.metadata.u64(&key("block_count")).unwrap_or(0);
    if !(1..=MAX_LAYERS).contains(&n_blocks) {
        found.obstacles.push(format!("{} is {n_blocks}, llama.cpp takes 1 to {MAX_LAYERS} layers", key("block_count")));
    }
    let heads = shape.n_heads.iter().zip(&shape.n_kv_heads).enumerate();
    let uneven = |&(_, (&n_heads, &n_kv_heads)): &(usize, (&u64, &u64))| n_kv_heads > 0 && !n_heads.is_multiple_of(n_kv_heads);
    if let Some((layer_idx, (n_heads, n_kv_heads))) = { heads }.find(uneven) {
        let what = format!("layer {layer_idx} has {n_heads} query heads, not a multiple of its {n_kv_heads} key heads");
        found.obstacles.push(what);
    }
    if needs.rotates_heads && shape.n_heads.first().is_some_and(|&n| n > 0) && shape.n_rot != shape.head_dim_k {
        let what = format!("{} is {}, a head has {}", key("rope.dimension_count"), shape.n_rot, shape.head_dim_k);
        found.obstacles.push(what);
    }
    let (n_experts, n_used) = (shape.n_experts, shape.n_experts_used);
    // A list with a number for each layer is not looked at.
    let is_list = matches!(model.metadata.find(&key("expert_used_count")), Some(Value::Array(_)));
    if !is_list && (n_used > n_experts || n_experts > 0 && n_used == 0) {
        found.obstacles.push(format!("each token passes through {n_used} of {n_experts} experts"));
    }
}
