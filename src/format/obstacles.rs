//! Why llama.cpp cannot load a GGUF file, from its header alone.
//!
//! What is certain is an obstacle: nothing is offered for such a file, and it is not converted. What is only odd, and all that
//! depends on an architecture that `needs` does not know, is a warning: a published model must not be refused because we know
//! too little.

mod keys;
mod vocabulary;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::needs::{ARCHITECTURES, Dim, Needs, needs_of};
use crate::model::{Hyperparameters, Model, Tensor, Value};
use crate::path_text::one_line;
use keys::{has_keys, have_types, numbers};
use vocabulary::vocabulary;

/// Most names that a message lists.
const MAX_NAMED: usize = 3;

/// What was found in a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// What keeps llama.cpp from loading the file, for certain.
    pub(crate) obstacles: Vec<String>,
    /// What is odd.
    pub(crate) warnings: Vec<String>,
    /// What the llama.cpp of this version does not know.
    pub(crate) unknown: Vec<String>,
}

impl Found {
    fn lacks(&mut self, what: &str, name: &str) {
        let name = one_line(name);
        self.unknown.push(format!("the llama.cpp of this version does not know the {what} {name}: it cannot run it"));
    }
}

/// Looks at a model; a file that holds something else (see `Model::other_kind`) has no obstacles.
pub(crate) fn of(model: &Model) -> Found {
    let mut found = Found::default();
    if model.other_kind().is_some() {
        return found;
    }
    let needs = needs_of(&model.hyperparameters.architecture);
    // Without its keys nothing can be said about the tensors.
    let has_types = have_types(model, &mut found);
    let needs_met = needs.filter(|needs| has_keys(model, needs, &mut found) && has_types);
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
        found.lacks("architecture", architecture);
    }
    found
}

/// Checks the names and shapes of the tensors, for an architecture whose layers are known.
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
    misshapen.extend(outer_faults(model, needs, by_name));
    let feed_forward = if shape.n_experts == 0 { needs.dense } else { needs.experts };
    let n_layers = shape.n_layers
        - model.metadata.u64(&format!("{}.nextn_predict_layers", needs.architecture)).unwrap_or(0).min(shape.n_layers);
    for layer_idx in 0..n_layers {
        let name = |ending: &str| format!("blk.{layer_idx}.{ending}");
        let fused = by_name.get(name("attn_qkv.weight").as_str());
        let qkv = if fused.is_some() { &[][..] } else { needs.qkv };
        for (ending, dims) in needs.layer.iter().chain(qkv).chain(feed_forward) {
            let name = name(ending);
            match by_name.get(name.as_str()) {
                None => missing.push(name),
                Some(tensor) => misshapen.extend(shape_fault(tensor, &lengths(shape, dims, layer_idx))),
            }
        }
        if let Some(fused) = fused.filter(|_| !needs.qkv.is_empty()) {
            let rows = needs.qkv.iter().filter_map(|(_, dims)| lengths(shape, dims, layer_idx).pop());
            misshapen.extend(shape_fault(fused, &[shape.n_embd, rows.fold(0, u64::saturating_add)]));
        }
        // A bias need not be there; if it is, it is as long as its matrix has rows.
        for (ending, dims) in needs.layer.iter().chain(needs.qkv).chain(feed_forward).filter(|(_, dims)| dims.len() == 2) {
            let bias = name(&ending.replace(".weight", ".bias"));
            let bias = by_name.get(bias.as_str()).filter(|bias| needs.knows(&bias.name));
            misshapen.extend(bias.and_then(|bias| shape_fault(bias, &[lengths(shape, dims, layer_idx).pop()?])));
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
        let (what, names) = (n_tensors_text(unknown.len()), listed(&unknown));
        found.warnings.push(format!("{what} not looked for by llama.cpp, which refuses such a file: {names}"));
    }
}

/// What is wrong with the optional tensors outside the layers.
fn outer_faults(model: &Model, needs: &Needs, by_name: &HashMap<&str, &Tensor>) -> Vec<String> {
    let shape = &model.hyperparameters;
    let n_tokens = by_name.get("token_embd.weight").map(|embedding| embedding.n_rows());
    let head = n_tokens.map(|n_tokens| ("output.weight", vec![shape.n_embd, n_tokens]));
    let factors = Some(("rope_freqs.weight", vec![shape.n_rot / 2]));
    let known = [head, factors].into_iter().flatten().filter(|(name, _)| needs.knows(name));
    known.filter_map(|(name, expected)| shape_fault(by_name.get(name)?, &expected)).collect()
}

/// The dimensions of a layer's tensor in numbers.
fn lengths(shape: &Hyperparameters, dims: &[Dim], layer_idx: u64) -> Vec<u64> {
    let of_layer = |values: &[u64]| usize::try_from(layer_idx).ok().and_then(|idx| values.get(idx).copied()).unwrap_or(0);
    let (n_heads, n_kv_heads, n_ff) = (of_layer(&shape.n_heads), of_layer(&shape.n_kv_heads), of_layer(&shape.n_ff));
    let keys = n_kv_heads.saturating_mul(shape.head_dim_k);
    let length = |dim: &Dim| match dim {
        Dim::Embd => shape.n_embd,
        Dim::Q => n_heads.saturating_mul(shape.head_dim_k),
        Dim::K => keys,
        Dim::V => n_kv_heads.saturating_mul(shape.head_dim_v),
        Dim::Qkv => shape.n_embd.saturating_add(keys.saturating_mul(2)),
        Dim::Ff => n_ff,
        Dim::TwoFf => n_ff.saturating_mul(2),
        Dim::Head => shape.head_dim_k,
        Dim::Experts => shape.n_experts,
    };
    dims.iter().map(length).collect()
}

/// What is wrong with the shape of a tensor; `None` if nothing is. Dimensions of 1 at the end do not count.
fn shape_fault(tensor: &Tensor, expected: &[u64]) -> Option<String> {
    let n = tensor.shape.len().max(expected.len());
    let dim = |dims: &[u64], idx: usize| dims.get(idx).copied().unwrap_or(1);
    let is_equal = (0..n).all(|idx| dim(&tensor.shape, idx) == dim(expected, idx));
    let text = |dims: &[u64]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    (!is_equal).then(|| format!("{} is {}, expected {}", tensor.name, tensor.shape_text(), text(expected)))
}

/// Warns, for an architecture whose tensors are not known, of a layer without tensors and of one that lacks what every other
/// layer has and has nothing in its place.
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

pub(super) fn n_tensors_text(n: usize) -> String {
    if n == 1 { "a tensor is".into() } else { format!("{n} tensors are") }
}

/// The first names, and how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMED).map(|name| one_line(name).into_owned()).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMED { format!("{shown} and {} more", names.len() - MAX_NAMED) } else { shown }
}
