//! A model without some of its layers: later layers move up, and what counts or lists layers follows.
//!
//! Source: `remap_layer` and `remap_imatrix` in src/llama-quant.cpp, llama.cpp of 2026-08-21. They renumber blocks and set
//! `block_count`, no more: arrays with one value per layer keep their length there, and llama.cpp refuses to load the file.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::overrides::layers_text;
use crate::error::{Error, Result};
use crate::format::Imatrix;
use crate::model::{Array, Hyperparameters, Import, Metadata, Model, Tensor, Value};
use crate::units::ordinal_text;

/// Keys that count the first layers, which are of another kind; without the architecture in front.
const FIRST_LAYERS: [&str; 2] = ["leading_dense_block_count", "hash_layer_count"];
/// Keys that count the last layers, which are of another kind.
const LAST_LAYERS: [&str; 2] = ["nextn_predict_layers", "attention.shared_kv_layers"];
/// Keys that say that every n-th layer has other tensors: a layer in the place of another kind cannot be loaded.
const PERIODS_OF_TENSORS: [&str; 3] = ["interleave_moe_layer_step", "moe_every_n_layers", "full_attention_interval"];
/// Keys that name layers by their numbers, or count them in a way that is not known here.
const NUMBERING_KEYS: [&str; 8] = [
    "attn_res.block_size",
    "decoder_block_count",
    "deepstack_mapping",
    "hrm.layers_per_stack",
    "n_deepstack_layers",
    "num_loops",
    "ple.layers",
    "target_layers",
];
/// Arrays that may be as long as there are layers but have no value for each of them.
const OTHER_ARRAYS: [&str; 2] = ["rope.dimension_sections", "classifier.output_labels"];
/// A table whose rows hold something for each layer, one after the other.
const PER_LAYER_TABLE: &str = "per_layer_token_embd.weight";

/// Architectures in which every n-th layer rotates no positions, or sees the whole context, which no key says.
///
/// Source: `n_no_rope_layer_step` in src/models/{afmoe,llama4,smallthinker,smollm3}.cpp.
const PERIODS_OF_ARCHITECTURES: [(&str, u64); 4] = [("afmoe", 4), ("llama4", 4), ("smallthinker", 4), ("smollm3", 4)];

/// A model without some of its layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// The model with the remaining layers, renumbered. Its files are those of the whole model.
    pub model: Model,
    /// What the user should know: `2 of 28 layers are left out …`.
    pub warnings: Vec<String>,
}

/// The model without these layers.
///
/// # Errors
/// `Error::CannotPrune` for layers that it does not have, for all layers, and for architectures whose other tensors or keys
/// refer to single layers.
pub fn pruned(model: &Model, layers: &BTreeSet<u64>) -> Result<Pruned> {
    let n_layers = model.hyperparameters.n_layers;
    check(model, layers, n_layers)?;
    let kept: Vec<u64> = (0..n_layers).filter(|layer_idx| !layers.contains(layer_idx)).collect();
    check_tensor_kinds(model, &kept)?;
    let mut tensors = Vec::new();
    let mut kept_tensors = Vec::new();
    for (idx, tensor) in model.tensors.iter().enumerate() {
        if let Some(name) = pruned_name(&tensor.name, layers) {
            tensors.push(Tensor { name, ..tensor.clone() });
            kept_tensors.push(idx);
        }
    }
    let import = model.import.as_ref().map(|import| {
        let origins = kept_tensors.iter().filter_map(|&idx| import.origins.get(idx).cloned()).collect();
        Arc::new(Import { origins, ..Import::clone(import) })
    });
    let metadata = pruned_metadata(model, layers, &kept);
    let hyperparameters = Hyperparameters::from_metadata(&metadata);
    let warnings = warnings(model, layers, &kept);
    Ok(Pruned { model: Model { metadata, tensors, hyperparameters, import, ..model.clone() }, warnings })
}

/// The importance matrix of the model without these layers: entries have the names that the tensors get.
#[must_use]
pub fn pruned_imatrix(imatrix: Imatrix, layers: &BTreeSet<u64>) -> Imatrix {
    if layers.is_empty() {
        return imatrix;
    }
    let entries = imatrix.entries.into_iter().filter_map(|(name, values)| Some((pruned_name(&name, layers)?, values))).collect();
    let moments = imatrix.moments.map(|moments| moments.renamed(|name| pruned_name(name, layers)));
    Imatrix { entries, moments, ..imatrix }
}

/// The name that a tensor gets: its block moves up by the number of pruned blocks before it; `None` in a pruned block.
fn pruned_name(name: &str, layers: &BTreeSet<u64>) -> Option<String> {
    let Some((layer_idx, rest)) = block_of(name) else { return Some(name.to_string()) };
    if layers.contains(&layer_idx) {
        return None;
    }
    Some(format!("blk.{}{rest}", layer_idx - layers.range(..layer_idx).count() as u64))
}

/// Number and rest of the name of a block's tensor: `(12, ".ffn_up.weight")`.
fn block_of(name: &str) -> Option<(u64, &str)> {
    let rest = name.strip_prefix("blk.")?;
    let (number, _) = rest.split_once('.')?;
    Some((number.parse().ok()?, rest.get(number.len()..)?))
}

fn check(model: &Model, layers: &BTreeSet<u64>, n_layers: u64) -> Result<()> {
    let refuse = |reason: String| Err(Error::CannotPrune { reason });
    let architecture = &model.hyperparameters.architecture;
    let unknown: BTreeSet<u64> = layers.iter().copied().filter(|&layer_idx| layer_idx >= n_layers).collect();
    if n_layers == 0 {
        return refuse("the model says nothing about layers".into());
    }
    if !unknown.is_empty() {
        return refuse(format!("there is no layer {}, only 0 to {}", layers_text(&unknown), n_layers - 1));
    }
    if layers.len() as u64 == n_layers {
        return refuse("none would be left".into());
    }
    let is_numbered_elsewhere =
        |tensor: &&Tensor| !tensor.name.starts_with("blk.") && tensor.name.contains("blk.") || tensor.name == PER_LAYER_TABLE;
    if let Some(tensor) = model.tensors.iter().find(is_numbered_elsewhere) {
        return refuse(format!("{} holds parts of single layers", tensor.name));
    }
    let numbering = NUMBERING_KEYS.iter().map(|key| format!("{architecture}.{key}"));
    match numbering.into_iter().find(|key| model.metadata.find(key).is_some()) {
        Some(key) => refuse(format!("{key} refers to single layers")),
        None => Ok(()),
    }
}

/// Refuses to put a layer into the place of one that has other tensors.
fn check_tensor_kinds(model: &Model, kept: &[u64]) -> Result<()> {
    let architecture = &model.hyperparameters.architecture;
    for key in PERIODS_OF_TENSORS {
        let key = format!("{architecture}.{key}");
        let period = model.metadata.u64(&key).unwrap_or(0);
        if let Some(layer_idx) = misplaced(kept, period) {
            let reason = format!("{key} is {period}, and layer {layer_idx} would stand in the place of one of another kind");
            return Err(Error::CannotPrune { reason });
        }
    }
    Ok(())
}

/// The first kept layer whose place in the period changes with its number; `None` without such a layer or a period.
fn misplaced(kept: &[u64], period: u64) -> Option<u64> {
    let mut moved = kept.iter().zip(0_u64..);
    moved.find(|&(&layer_idx, new_idx)| period > 1 && layer_idx.abs_diff(new_idx) % period != 0).map(|(&layer_idx, _)| layer_idx)
}

fn pruned_metadata(model: &Model, layers: &BTreeSet<u64>, kept: &[u64]) -> Metadata {
    let architecture = &model.hyperparameters.architecture;
    let n_layers = model.hyperparameters.n_layers;
    let mut metadata = model.metadata.clone();
    let set = |metadata: &mut Metadata, suffix: &str, value: u64| {
        metadata.set(&format!("{architecture}.{suffix}"), Value::U32(u32::try_from(value).unwrap_or(u32::MAX)));
    };
    set(&mut metadata, "block_count", kept.len() as u64);
    for suffix in FIRST_LAYERS {
        if let Some(n) = model.metadata.u64(&format!("{architecture}.{suffix}")) {
            set(&mut metadata, suffix, n - layers.range(..n).count() as u64);
        }
    }
    for suffix in LAST_LAYERS {
        if let Some(n) = model.metadata.u64(&format!("{architecture}.{suffix}")) {
            set(&mut metadata, suffix, n.saturating_sub(layers.range(n_layers.saturating_sub(n)..).count() as u64));
        }
    }
    for (key, value) in &mut metadata.0 {
        let Some(suffix) = key.strip_prefix(architecture.as_str()).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if let Value::Array(array) = value
            && array.len() as u64 == n_layers
            && !OTHER_ARRAYS.contains(&suffix)
        {
            *array = of_layers(array, kept);
        }
    }
    metadata
}

/// The values of these layers.
fn of_layers(array: &Array, kept: &[u64]) -> Array {
    fn pick<T: Clone>(values: &[T], kept: &[u64]) -> Vec<T> {
        kept.iter().filter_map(|&idx| values.get(usize::try_from(idx).ok()?).cloned()).collect()
    }
    match array {
        Array::U8(v) => Array::U8(pick(v, kept)),
        Array::I8(v) => Array::I8(pick(v, kept)),
        Array::U16(v) => Array::U16(pick(v, kept)),
        Array::I16(v) => Array::I16(pick(v, kept)),
        Array::U32(v) => Array::U32(pick(v, kept)),
        Array::I32(v) => Array::I32(pick(v, kept)),
        Array::F32(v) => Array::F32(pick(v, kept)),
        Array::Bool(v) => Array::Bool(pick(v, kept)),
        Array::Str(v) => Array::Str(pick(v, kept)),
        Array::Array(v) => Array::Array(pick(v, kept)),
        Array::U64(v) => Array::U64(pick(v, kept)),
        Array::I64(v) => Array::I64(pick(v, kept)),
        Array::F64(v) => Array::F64(pick(v, kept)),
    }
}

fn warnings(model: &Model, layers: &BTreeSet<u64>, kept: &[u64]) -> Vec<String> {
    let shape = &model.hyperparameters;
    let (is, they) = if layers.len() == 1 { ("is", "it") } else { ("are", "they") };
    let mut warnings =
        vec![format!("{} of {} layers {is} left out: the model loses what {they} did", layers.len(), shape.n_layers)];
    let pattern = model.metadata.u64(&format!("{}.attention.sliding_window_pattern", shape.architecture));
    let of_architecture = PERIODS_OF_ARCHITECTURES.iter().find(|row| row.0 == shape.architecture).map(|row| row.1);
    let period = pattern.or(shape.full_attention_every).or(of_architecture).unwrap_or(0);
    if let Some(layer_idx) = misplaced(kept, period) {
        warnings.push(format!(
            "every {} layer of {} attends in another way: layer {layer_idx} and others take the place of the other kind",
            ordinal_text(period),
            shape.architecture
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::test_models::model_of;
    use super::*;
    use crate::model::{DType, Origin};

    fn model(architecture: &str, n_layers: u64, entries: &[(&str, Value)], extra: &[(&str, Vec<u64>, DType)]) -> Model {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", Value::Str(architecture.into()));
        metadata.set(&format!("{architecture}.block_count"), Value::U32(u32::try_from(n_layers).unwrap()));
        for (suffix, value) in entries {
            metadata.set(&format!("{architecture}.{suffix}"), value.clone());
        }
        let names: Vec<String> = (0..n_layers).map(|layer_idx| format!("blk.{layer_idx}.attn_q.weight")).collect();
        let mut tensors = vec![("token_embd.weight", vec![256, 16], DType::F16)];
        tensors.extend(names.iter().map(|name| (name.as_str(), vec![256, 8], DType::F16)));
        tensors.extend(extra.iter().cloned());
        model_of(metadata, &tensors)
    }

    fn names(model: &Model) -> Vec<&str> {
        model.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    #[test]
    fn layers_behind_move_up_and_lists_get_shorter() {
        let whole = model(
            "x",
            5,
            &[
                ("attention.head_count_kv", Value::Array(Array::I32(vec![1, 2, 3, 4, 5]))),
                ("swiglu_clamp_exp", Value::Array(Array::F32(vec![0.1, 0.2, 0.3, 0.4, 0.5]))),
                ("rope.dimension_sections", Value::Array(Array::I32(vec![1, 2, 3, 4, 5]))),
                ("leading_dense_block_count", Value::U32(2)),
                ("nextn_predict_layers", Value::U32(1)),
            ],
            &[],
        );
        let found = pruned(&whole, &BTreeSet::from([1, 4])).unwrap().model;
        let expected = ["token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.2.attn_q.weight"];
        assert_eq!(names(&found), expected);
        let of = |suffix: &str| found.metadata.find(&format!("x.{suffix}")).unwrap().clone();
        assert_eq!(of("block_count"), Value::U32(3));
        assert_eq!(of("attention.head_count_kv"), Value::Array(Array::I32(vec![1, 3, 4])));
        assert_eq!(of("swiglu_clamp_exp"), Value::Array(Array::F32(vec![0.1, 0.3, 0.4])));
        assert_eq!(of("rope.dimension_sections"), Value::Array(Array::I32(vec![1, 2, 3, 4, 5])));
        assert_eq!(of("leading_dense_block_count"), Value::U32(1));
        assert_eq!(of("nextn_predict_layers"), Value::U32(0));
        assert_eq!((found.hyperparameters.n_layers, found.hyperparameters.n_kv_heads), (3, vec![1, 3, 4]));
        // Where the rest lies in the file has not changed.
        assert_eq!(found.tensors[2].offset, whole.tensors[3].offset);
    }

    #[test]
    fn a_name_moves_up_by_the_layers_before_it() {
        let layers = BTreeSet::from([0, 3, 4]);
        let check = |name: &str, expected: Option<&str>| assert_eq!(pruned_name(name, &layers).as_deref(), expected);
        check("blk.1.ffn_up.weight", Some("blk.0.ffn_up.weight"));
        check("blk.2.a.b.c", Some("blk.1.a.b.c"));
        check("blk.3.ffn_up.weight", None);
        check("blk.10.ffn_up.weight", Some("blk.7.ffn_up.weight"));
        check("output_norm.weight", Some("output_norm.weight"));
        check("blk.x.ffn_up.weight", Some("blk.x.ffn_up.weight"));
    }

    #[test]
    fn importances_follow_their_tensors() {
        let entry = |layer_idx: u64, value| (format!("blk.{layer_idx}.attn_q.weight"), vec![value]);
        let imatrix = Imatrix {
            path: "i".into(),
            dataset: None,
            n_chunks: 1,
            entries: [entry(0, 0.0), entry(1, 1.0), entry(2, 2.0)].into(),
            warnings: Vec::new(),
            moments: None,
        };
        let found = pruned_imatrix(imatrix.clone(), &BTreeSet::from([1]));
        assert_eq!(found.entries, [entry(0, 0.0), entry(1, 2.0)].into());
        assert_eq!(pruned_imatrix(imatrix.clone(), &BTreeSet::new()), imatrix);
    }

    #[test]
    fn tensors_of_a_checkpoint_keep_their_origins() {
        let mut whole = model("x", 3, &[], &[]);
        let origins: Vec<Origin> = (0_u8..4).map(|n| Origin::Computed(vec![f32::from(n)])).collect();
        whole.import = Some(Arc::new(Import { name: "a/b".into(), origins, ..Import::default() }));
        let found = pruned(&whole, &BTreeSet::from([0])).unwrap().model;
        let expected = [0.0, 2.0, 3.0].map(|n| Origin::Computed(vec![n]));
        assert_eq!(found.import.unwrap().origins, expected);
    }

    #[test]
    fn what_cannot_be_pruned_is_refused_with_the_reason() {
        let check = |model: &Model, layers: &[u64], expected: &str| {
            let error = pruned(model, &layers.iter().copied().collect()).unwrap_err();
            assert_eq!(error, Error::CannotPrune { reason: expected.into() });
        };
        let plain = model("x", 3, &[], &[]);
        check(&plain, &[3, 7], "there is no layer 3,7, only 0 to 2");
        check(&plain, &[0, 1, 2], "none would be left");
        check(&model("x", 0, &[], &[]), &[0], "the model says nothing about layers");
        let table = model("gemma3n", 3, &[], &[(PER_LAYER_TABLE, vec![96, 16], DType::F16)]);
        check(&table, &[1], "per_layer_token_embd.weight holds parts of single layers");
        let encoder = model("t5", 3, &[], &[("enc.blk.0.attn_q.weight", vec![96, 16], DType::F16)]);
        check(&encoder, &[1], "enc.blk.0.attn_q.weight holds parts of single layers");
        check(&model("x", 3, &[("num_loops", Value::U32(2))], &[]), &[1], "x.num_loops refers to single layers");
        let hybrid = model("x", 8, &[("full_attention_interval", Value::U32(4))], &[]);
        check(&hybrid, &[1], "x.full_attention_interval is 4, and layer 2 would stand in the place of one of another kind");
        assert!(pruned(&hybrid, &BTreeSet::from([0, 1, 2, 3])).is_ok());
        assert!(pruned(&hybrid, &BTreeSet::from([6, 7])).is_ok());
    }

    #[test]
    fn a_pattern_of_layers_that_is_broken_gives_a_warning() {
        let check = |architecture: &str, entries: &[(&str, Value)], layers: &[u64], n_warnings: usize| {
            let found = pruned(&model(architecture, 12, entries, &[]), &layers.iter().copied().collect()).unwrap();
            assert_eq!(found.warnings.len(), n_warnings, "{:?}", found.warnings);
        };
        check("llama", &[], &[3], 1);
        let window = [("attention.sliding_window", Value::U32(512))];
        check("gemma3", &window, &[3], 2);
        check("gemma3", &window, &[0, 1, 2, 3, 4, 5], 1);
        check("gemma3", &window, &[11], 1);
        check("smollm3", &[], &[0], 2);
    }
}
