//! Why llama.cpp cannot load a GGUF file, from its header alone.
//!
//! What is sure is an obstacle: nothing is offered for such a file, and it is not converted. What is only odd, and everything about
//! architectures that `needs` does not know, is a warning: a published model must not be refused because we know too little.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::needs::{ARCHITECTURES, Dim, KEYS_OF_ALL, Needs, needs_of};
use crate::model::{Array, Metadata, Model, Tensor, Text, Value, ValueType};
use crate::path_text::one_line;

/// More layers than llama.cpp takes. Source: `LLAMA_MAX_LAYERS` in llama-hparams.h, llama.cpp of 2026-08-21.
const MAX_LAYERS: u64 = 512;
/// Merges that are looked up: the header of a large vocabulary is still read in milliseconds.
const MAX_MERGES: usize = 20_000;
/// Names that a message lists.
const MAX_NAMED: usize = 3;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// Sure.
    pub(crate) obstacles: Vec<String>,
    /// Odd.
    pub(crate) warnings: Vec<String>,
}

/// Looks at a model; one that is none (see `Model::other_kind`) has no obstacles of its own.
pub(crate) fn of(model: &Model) -> Found {
    let mut found = Found::default();
    if model.other_kind().is_some() {
        return found;
    }
    let needs = needs_of(&model.hyperparameters.architecture);
    // Without its keys nothing can be said of the tensors.
    let needs_met = needs.filter(|needs| has_keys(model, needs, &mut found));
    if let Some(needs) = needs_met {
        numbers(model, needs, &mut found);
    }
    vocabulary(model, needs.is_some(), &mut found);
    let by_name: HashMap<&str, &Tensor> = model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    match (needs, needs_met) {
        (_, Some(needs)) => tensors(model, needs, &by_name, &mut found),
        (None, None) => uneven_layers(model, &mut found),
        (Some(_), None) => {}
    }
    let architecture = &model.hyperparameters.architecture;
    if !architecture.is_empty() && !ARCHITECTURES.contains(&architecture.as_str()) {
        let name = one_line(architecture);
        found.warnings.push(format!("the llama.cpp of this version does not know the architecture {name}: it cannot run it"));
    }
    found
}

/// Whether all keys are there without which llama.cpp does not look at the tensors.
fn has_keys(model: &Model, needs: &Needs, found: &mut Found) -> bool {
    let key = |suffix: &str| format!("{}.{suffix}", needs.architecture);
    let missing: Vec<String> =
        KEYS_OF_ALL.iter().chain(needs.keys).map(|suffix| key(suffix)).filter(|key| model.metadata.find(key).is_none()).collect();
    if !missing.is_empty() {
        found.obstacles.push(format!("keys are missing: {}", listed(&missing)));
    }
    missing.is_empty()
}

/// The numbers of the architecture.
fn numbers(model: &Model, needs: &Needs, found: &mut Found) {
    let shape = &model.hyperparameters;
    let key = |suffix: &str| format!("{}.{suffix}", needs.architecture);
    let n_blocks = model.metadata.u64(&key("block_count")).unwrap_or(0);
    if !(1..=MAX_LAYERS).contains(&n_blocks) {
        found.obstacles.push(format!("{} is {n_blocks}, llama.cpp takes 1 to {MAX_LAYERS} layers", key("block_count")));
    }
    let heads = shape.n_heads.iter().zip(&shape.n_kv_heads).enumerate();
    if let Some((layer_idx, (n_heads, n_kv_heads))) = heads
        .filter(|(_, (n_heads, n_kv_heads))| **n_kv_heads > 0 && !n_heads.is_multiple_of(**n_kv_heads))
        .map(|(layer_idx, (&n_heads, &n_kv_heads))| (layer_idx, (n_heads, n_kv_heads)))
        .next()
    {
        let what = format!("layer {layer_idx} has {n_heads} query heads, which are no multiple of its {n_kv_heads} key heads");
        found.obstacles.push(what);
    }
    if needs.rotates_heads && shape.n_heads.first().is_some_and(|&n| n > 0) && shape.n_rot != shape.head_dim_k {
        let what = format!("{} is {}, a head has {}", key("rope.dimension_count"), shape.n_rot, shape.head_dim_k);
        found.obstacles.push(what);
    }
    let (n_experts, n_used) = (shape.n_experts, shape.n_experts_used);
    if n_used > n_experts || n_experts > 0 && n_used == 0 {
        found.obstacles.push(format!("each token passes through {n_used} of {n_experts} experts"));
    }
}

/// The tokens, and the lists that go with them.
fn vocabulary(model: &Model, is_known: bool, found: &mut Found) {
    let metadata = &model.metadata;
    let kind = metadata.str("tokenizer.ggml.model").unwrap_or_default();
    if matches!(&*kind, "" | "none" | "no_vocab") {
        return;
    }
    let tokens = match metadata.find("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::Str(tokens))) => tokens,
        Some(other) => {
            let what = format!("tokenizer.ggml.tokens is no list of texts but {}", type_text(other));
            return found.obstacles.push(what);
        }
        None => return found.obstacles.push("tokenizer.ggml.tokens is missing: the tokenizer has no vocabulary".into()),
    };
    let ids = doubled_tokens(tokens, found);
    for (key, types) in [("scores", &[ValueType::F32, ValueType::I32][..]), ("token_type", &[ValueType::I32][..])] {
        let key = format!("tokenizer.ggml.{key}");
        match metadata.find(&key) {
            None => {}
            Some(Value::Array(values)) if types.contains(&values.element_type()) => {
                let (n, n_tokens) = (values.len(), tokens.len());
                let what = format!("{key} has {n} entries for {n_tokens} tokens");
                if n < n_tokens {
                    found.obstacles.push(what);
                } else if n > n_tokens {
                    found.warnings.push(what);
                }
            }
            Some(other) => found.obstacles.push(format!("{key} is no list of numbers but {}", type_text(other))),
        }
    }
    merges(metadata, &kind, &ids, found);
    for (key, value) in &metadata.0 {
        let is_id = key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id");
        if let Some(id) = value.as_u64().filter(|&id| is_id && id >= tokens.len() as u64 && id != u64::from(u32::MAX)) {
            found.warnings.push(format!("{key} is {id}, the vocabulary has only {} tokens", tokens.len()));
        }
    }
    let embeddings = model.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    if let Some(n_rows) = embeddings.map(Tensor::n_rows).filter(|&n_rows| n_rows != tokens.len() as u64) {
        let what = format!("the tokenizer has {} tokens but token_embd.weight has {n_rows} rows", tokens.len());
        if is_known { found.obstacles.push(what) } else { found.warnings.push(what) }
    }
}

/// Tokens by their text. llama.cpp looks them up so and aborts when two have the same; empty ones it renames.
fn doubled_tokens<'a>(tokens: &'a [Text], found: &mut Found) -> HashMap<&'a [u8], usize> {
    let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(tokens.len());
    let mut doubled = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(_, token)| !token.0.is_empty()) {
        if let Some(first) = seen.insert(&token.0, id) {
            doubled.push(format!("{} (ids {first} and {id})", shown_token(token)));
        }
    }
    if !doubled.is_empty() {
        let n = doubled.len();
        let what = if n == 1 { "a token is there twice".into() } else { format!("{n} tokens are there twice") };
        found.obstacles.push(format!("{what} in the vocabulary: {}", listed(&doubled)));
    }
    seen
}

fn shown_token(token: &Text) -> String {
    let text = token.lossy();
    let start: String = text.chars().take(40).collect();
    format!("\"{}{}\"", one_line(&start), if text.chars().nth(40).is_some() { "…" } else { "" })
}

/// The merges of a byte-level BPE: each is two pieces with a space between them, and together they are a token.
fn merges(metadata: &Metadata, kind: &str, ids: &HashMap<&[u8], usize>, found: &mut Found) {
    const KEY: &str = "tokenizer.ggml.merges";
    if kind != "gpt2" {
        return;
    }
    let merges = match metadata.find(KEY) {
        Some(Value::Array(Array::Str(merges))) => merges,
        Some(other) => return found.obstacles.push(format!("{KEY} is no list of texts but {}", type_text(other))),
        // The only tokenizer of this kind that has none.
        None if metadata.str("tokenizer.ggml.pre").as_deref() == Some("kimi-k2") => return,
        None => return found.obstacles.push(format!("{KEY} is missing: the tokenizer cannot join bytes to tokens")),
    };
    let (mut n_whole, mut n_unknown) = (0, 0);
    for (idx, merge) in merges.iter().enumerate() {
        let space = merge.0.iter().skip(1).position(|&byte| byte == b' ').map(|at| at + 1);
        let Some((first, second)) = space.and_then(|at| Some((merge.0.get(..at)?, merge.0.get(at + 1..)?))) else {
            n_whole += 1;
            continue;
        };
        if idx < MAX_MERGES && !ids.contains_key([first, second].concat().as_slice()) {
            n_unknown += 1;
        }
    }
    let n = merges.len();
    if n_whole > 0 {
        found.warnings.push(format!("{n_whole} of {n} merges of the tokenizer are not two pieces with a space between them"));
    }
    // A few are left over in vocabularies that were cut.
    let n_checked = n.min(MAX_MERGES);
    if n_unknown * 10 > n_checked {
        found.warnings.push(format!("{n_unknown} of {n_checked} merges of the tokenizer make no token of its vocabulary"));
    }
    if n == 0 && ids.len() > 512 {
        found.warnings.push("the tokenizer has no merges: it splits every text into single bytes".into());
    }
}

/// Names and shapes of an architecture whose layers are known.
fn tensors(model: &Model, needs: &Needs, by_name: &HashMap<&str, &Tensor>, found: &mut Found) {
    let shape = &model.hyperparameters;
    if !model.has_weights() || shape.n_layers == 0 || shape.n_embd == 0 {
        return;
    }
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    for name in ["token_embd.weight"].iter().chain(needs.outer) {
        match by_name.get(name) {
            None => missing.push((*name).to_string()),
            // The head and the positions have rows of this length too.
            Some(tensor) if tensor.row_len() != shape.n_embd => {
                misshapen.push(format!("{name} has rows of {}, expected {}", tensor.row_len(), shape.n_embd));
            }
            Some(_) => {}
        }
    }
    let feed_forward = if shape.n_experts == 0 { needs.dense } else { needs.experts };
    let n_layers = shape.n_layers
        - model.metadata.u64(&format!("{}.nextn_predict_layers", needs.architecture)).unwrap_or(0).min(shape.n_layers);
    for layer_idx in 0..n_layers {
        let name = |ending: &str| format!("blk.{layer_idx}.{ending}");
        let is_fused = by_name.contains_key(name("attn_qkv.weight").as_str());
        let qkv = if is_fused { &[][..] } else { needs.qkv };
        for (ending, dims) in needs.layer.iter().chain(qkv).chain(feed_forward) {
            let name = name(ending);
            match by_name.get(name.as_str()) {
                None => missing.push(name),
                Some(tensor) => misshapen.extend(shape_fault(model, tensor, dims, layer_idx)),
            }
        }
    }
    if !missing.is_empty() {
        let n = missing.len();
        let what = if n == 1 { "a tensor is missing".into() } else { format!("{n} tensors are missing") };
        found.obstacles.push(format!("{what}: {}", listed(&missing)));
    }
    if !misshapen.is_empty() {
        found.obstacles.push(format!(
            "{} of another shape than the keys say: {}",
            n_tensors_text(misshapen.len()),
            listed(&misshapen)
        ));
    }
    let n_stored = model.tensors.iter().filter_map(Tensor::layer_idx).max().map_or(0, |last| last.saturating_add(1));
    if n_stored > shape.n_layers {
        let key = format!("{}.block_count", needs.architecture);
        found.obstacles.push(format!("{key} says {} layers, the tensors have {n_stored}", shape.n_layers));
    }
    let unknown: Vec<String> =
        model.tensors.iter().filter(|tensor| !needs.knows(&tensor.name)).map(|tensor| tensor.name.clone()).collect();
    if !unknown.is_empty() {
        let what = if unknown.len() == 1 { "a tensor is".into() } else { format!("{} tensors are", unknown.len()) };
        let names = listed(&unknown);
        found.warnings.push(format!("{what} not looked for by llama.cpp, which refuses such a file: {names}"));
    }
}

/// What is wrong with the shape of a layer's tensor.
fn shape_fault(model: &Model, tensor: &Tensor, dims: &[Dim], layer_idx: u64) -> Option<String> {
    let shape = &model.hyperparameters;
    let of_layer = |values: &[u64]| usize::try_from(layer_idx).ok().and_then(|idx| values.get(idx).copied()).unwrap_or(0);
    let (n_heads, n_kv_heads, n_ff) = (of_layer(&shape.n_heads), of_layer(&shape.n_kv_heads), of_layer(&shape.n_ff));
    let keys = n_kv_heads.saturating_mul(shape.head_dim_k);
    let expected: Vec<u64> = dims
        .iter()
        .map(|dim| match dim {
            Dim::Embd => shape.n_embd,
            Dim::Q => n_heads.saturating_mul(shape.head_dim_k),
            Dim::K => keys,
            Dim::V => n_kv_heads.saturating_mul(shape.head_dim_v),
            Dim::Qkv => shape.n_embd.saturating_add(keys.saturating_mul(2)),
            Dim::Ff => n_ff,
            Dim::TwoFf => n_ff.saturating_mul(2),
            Dim::Head => shape.head_dim_k,
            Dim::Experts => shape.n_experts,
        })
        .collect();
    let n = tensor.shape.len().max(expected.len());
    let dim = |dims: &[u64], idx: usize| dims.get(idx).copied().unwrap_or(1);
    let is_equal = (0..n).all(|idx| dim(&tensor.shape, idx) == dim(&expected, idx));
    let text = |dims: &[u64]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    (!is_equal).then(|| format!("{} is {}, expected {}", tensor.name, tensor.shape_text(), text(&expected)))
}

/// Where the tensors of an architecture are not known: a layer that lacks what every other layer has, and has nothing of its own instead.
fn uneven_layers(model: &Model, found: &mut Found) {
    let mut layers: BTreeMap<u64, HashSet<&str>> = BTreeMap::new();
    for tensor in &model.tensors {
        let parts = tensor.layer_idx().zip(tensor.name.splitn(3, '.').nth(2));
        if let Some((layer_idx, ending)) = parts {
            layers.entry(layer_idx).or_default().insert(ending);
        }
    }
    if let Some(gap) = layers.keys().zip(0..).find(|&(&layer_idx, expected)| layer_idx != expected).map(|(_, gap)| gap) {
        found.warnings.push(format!("there is no tensor of layer {gap}"));
    }
    let n = layers.len();
    if n < 4 {
        return;
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for ending in layers.values().flatten() {
        *counts.entry(ending).or_default() += 1;
    }
    for (layer_idx, endings) in &layers {
        // A layer of another kind, such as the dense ones before those with experts, has tensors that are nowhere else.
        if endings.iter().any(|ending| counts.get(ending).is_some_and(|&count| count < n - 1)) {
            continue;
        }
        let mut lacks: Vec<String> = counts
            .iter()
            .filter(|(ending, count)| **count == n - 1 && !endings.contains(*ending))
            .map(|(ending, _)| format!("blk.{layer_idx}.{ending}"))
            .collect();
        lacks.sort();
        if !lacks.is_empty() {
            found.warnings.push(format!("layer {layer_idx} lacks what every other layer has: {}", listed(&lacks)));
        }
    }
}

fn type_text(value: &Value) -> String {
    match value {
        Value::Array(array) => format!("a list of {:?}", array.element_type()),
        other => format!("{:?}", other.value_type()),
    }
}

fn n_tensors_text(n: usize) -> String {
    if n == 1 { "a tensor is".into() } else { format!("{n} tensors are") }
}

/// The first names, and how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMED).map(|name| one_line(name).into_owned()).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMED { format!("{shown} and {} more", names.len() - MAX_NAMED) } else { shown }
}
