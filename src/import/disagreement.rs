//! Where a checkpoint's tensors and the table of its architecture disagree, and why.

use std::collections::HashSet;

use super::mapping::{Content, Mapping, Piece};
use super::names::Names;
use crate::model::{Checkpoint, CheckpointConfig};

/// Parts of names that only adapters have: their weights were not merged into the model's.
const ADAPTER_PARTS: [&str; 8] =
    ["lora_", "base_layer", "hada_w", "lokr_w", "ia3_l", "modules_to_save", "original_module", "adapter_scaling"];
/// Names of lists of layers.
const LAYER_LISTS: [&str; 4] = ["layers", "h", "layer", "blocks"];

/// Where a checkpoint's tensors and the table of its architecture disagree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disagreement {
    /// How many tensors of a checkpoint the table needs.
    pub n_needed: usize,
    /// What comes before the names and is taken off, such as `language_model.`; empty if nothing does.
    pub prefix: String,
    /// Names of needed tensors that are not there.
    pub missing: Vec<String>,
    /// Names that the table does not know.
    pub extra: Vec<String>,
    /// Needed tensors of another shape: `model.norm.weight is 576, config.json leads to 577`.
    pub wrong_shapes: Vec<String>,
    /// What is behind the missing or unknown names, where one thing explains them all.
    pub cause: Option<String>,
}

/// Compares a checkpoint's tensors with the ones that its configuration calls for.
#[must_use]
pub fn disagreement(checkpoint: &Checkpoint, mapping: &Mapping) -> Disagreement {
    let names = Names::of(checkpoint, mapping);
    let (found, twice) = names.found(checkpoint);
    let mut known = HashSet::new();
    let mut all = Disagreement { prefix: names.prefix().into(), ..Disagreement::default() };
    for piece in pieces(mapping) {
        if !known.insert(piece.name.clone()) {
            continue;
        }
        all.n_needed += 1;
        match found.get(piece.name.as_str()).map(|tensor| tensor.shape.as_slice()) {
            None => all.missing.push(piece.name.clone()),
            Some(shape) if shape != piece.shape => all.wrong_shapes.push(format!(
                "{} is {}, config.json leads to {}",
                piece.name,
                shape_text(shape),
                shape_text(&piece.shape)
            )),
            Some(_) => {}
        }
    }
    let mut extra_layers = Vec::new();
    for tensor in &checkpoint.tensors {
        let Some(name) = names.name(&tensor.name) else { continue };
        if !names.is_needed(&name) && !is_harmless(&name, checkpoint.config.as_ref()) {
            extra_layers.push(layer_of(&name));
            all.extra.push(tensor.name.clone());
        }
    }
    let layers = checkpoint.tensors.iter().filter_map(|tensor| layer_of(&names.name(&tensor.name)?));
    let n_found = layers.max().map_or(0, |last| last + 1);
    all.cause = cause(checkpoint, &all, &twice, &extra_layers, n_found);
    all
}

/// What causes the disagreement, where one thing explains it.
fn cause(
    checkpoint: &Checkpoint,
    all: &Disagreement,
    twice: &[String],
    extra_layers: &[Option<u64>],
    n_found: u64,
) -> Option<String> {
    let is_adapter = |name: &&String| name.split('.').any(|part| ADAPTER_PARTS.iter().any(|known| part.starts_with(known)));
    if let Some(name) = all.extra.iter().find(is_adapter) {
        return Some(format!(
            "it holds an adapter that is not merged into the weights ({name}): merge it first (merge_and_unload of PEFT)"
        ));
    }
    if let Some(both) = twice.first() {
        return Some(format!("two tensors stand for one: {both}"));
    }
    if !checkpoint.missing_files.is_empty() {
        return None;
    }
    let n_layers = checkpoint.config.as_ref()?.n_layers;
    let text = || format!("config.json says {n_layers} layers (num_hidden_layers), the tensors have {n_found}");
    let are_beyond = |mut layers: Box<dyn Iterator<Item = Option<u64>> + '_>, end: u64| {
        layers.all(|layer| layer.is_some_and(|layer| layer >= end))
    };
    if !extra_layers.is_empty() && are_beyond(Box::new(extra_layers.iter().copied()), n_layers) {
        return Some(text());
    }
    let missing = || all.missing.iter().map(|name| layer_of(name));
    (n_found > 0 && n_found < n_layers && !all.missing.is_empty() && are_beyond(Box::new(missing()), n_found)).then(text)
}

/// The number of the layer that a tensor belongs to.
fn layer_of(name: &str) -> Option<u64> {
    let mut parts = name.split('.');
    parts.find(|part| LAYER_LISTS.contains(part))?;
    parts.next()?.parse().ok().filter(|&layer: &u64| layer < 1 << 20)
}

/// All pieces that the model's tensors are made of.
fn pieces(mapping: &Mapping) -> impl Iterator<Item = std::borrow::Cow<'_, Piece>> {
    use std::borrow::Cow;
    let stored = mapping.tensors.iter().flat_map(|tensor| match &tensor.content {
        Content::Stored { pieces, .. } => pieces.as_slice(),
        Content::Computed(_) => &[],
    });
    stored.flat_map(|piece| std::iter::once(Cow::Borrowed(piece)).chain(piece.exponents().map(Cow::Owned)))
}

fn shape_text(shape: &[u64]) -> String {
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
}

/// True for a tensor that no table names and that harms nothing: what the program computes by itself, a tied head, scales of an FP8
/// checkpoint, an image encoder.
fn is_harmless(name: &str, config: Option<&CheckpointConfig>) -> bool {
    let is_computed = [".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias", ".attn.bias", ".attn.masked_bias"]
        .iter()
        .any(|end| name.ends_with(end))
        || name.ends_with("embeddings.position_ids")
        // Left by TransformerEngine: settings of its own, without numbers of the model.
        || name.ends_with("._extra_state");
    let is_scale = ["_scale_inv", "_scale"].iter().any(|end| name.ends_with(end));
    let is_float_quantized =
        config.and_then(|config| config.quantization.as_ref()).is_some_and(|quantization| quantization.method.is_float());
    let is_tied_head = name == "lm_head.weight" && config.is_some_and(|config| config.has_tied_embeddings);
    let is_vision = config.is_some_and(|config| config.has_vision)
        && ["vision_tower.", "visual.", "multi_modal_projector."].iter().any(|part| name.contains(part));
    is_computed || is_scale && is_float_quantized || is_tied_head || is_vision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::read_checkpoint;
    use crate::format::test_checkpoints::{CONFIG, Spec, llama_tensors, write_described, write_safetensors};
    use crate::import::mapping_of;

    fn of(tensors: &[Spec]) -> Disagreement {
        let dir = tempfile::tempdir().unwrap();
        write_described(dir.path(), CONFIG);
        write_safetensors(&dir.path().join("model.safetensors"), tensors);
        let checkpoint = read_checkpoint(dir.path()).unwrap();
        disagreement(&checkpoint, &mapping_of(checkpoint.config.as_ref().unwrap()).unwrap().unwrap())
    }

    #[test]
    fn what_is_behind_it_is_told() {
        let cause = |tensors: &[Spec]| of(tensors).cause.unwrap_or_default();
        assert_eq!(cause(&llama_tensors(3)), "");
        assert_eq!(cause(&llama_tensors(4)), "config.json says 3 layers (num_hidden_layers), the tensors have 4");
        assert_eq!(cause(&llama_tensors(2)), "config.json says 3 layers (num_hidden_layers), the tensors have 2");
        let mut tensors = llama_tensors(3);
        tensors.push(("model.layers.1.self_attn.q_proj.lora_A.default.weight".into(), "F32", vec![4, 64]));
        assert!(cause(&tensors).contains("not merged"));
        let mut tensors = llama_tensors(3);
        tensors.push(("module.model.norm.weight".into(), "BF16", vec![64]));
        assert!(cause(&tensors).starts_with("two tensors stand for one: "));
        let mut tensors = llama_tensors(3);
        tensors.push(("model.layers.1.self_attn._extra_state".into(), "U8", vec![0]));
        assert_eq!(of(&tensors).extra, [] as [String; 0]);
        // One thing does not explain these.
        let mut tensors = llama_tensors(4);
        tensors.push(("other.weight".into(), "F32", vec![4]));
        assert_eq!(cause(&tensors), "");
    }

    #[test]
    fn a_prefix_is_no_disagreement() {
        let mut tensors = llama_tensors(3);
        for tensor in &mut tensors {
            tensor.0.insert_str(0, "_orig_mod.model.");
        }
        let found = of(&tensors);
        assert_eq!((found.prefix.as_str(), found.missing.len(), found.extra.len()), ("model.", 0, 0));
    }
}
