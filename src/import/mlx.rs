//! What a checkpoint becomes in mlx-lm: names, experts that are joined in one tensor, matrices that are transposed.
//!
//! Source: `sanitize` of each model in `mlx_lm/models/` and `MODEL_REMAPPING` in `mlx_lm/utils.py`, mlx-lm 0.32.2.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::architectures::{class_name, mapping_of};
use super::mapping::{Content, Mapping, Piece};
use super::model::{origin_of, source_model, source_tensor};
use super::names::Names;
use crate::error::{Error, Result};
use crate::format::config_value::whole_of;
use crate::model::{
    Checkpoint, CheckpointConfig, CheckpointDType, CheckpointTensor, DType, Framework, Model, Origin, Part, RowOrder, Tensor,
};

/// How mlx-lm arranges the tensors of a model type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrangement {
    /// As in the checkpoint.
    AsStored,
    /// Experts of a layer one after the other: `mlp.experts.3.up_proj` becomes a part of `mlp.switch_mlp.up_proj`.
    Experts,
    /// The same, and the projection from compressed keys and values is cut in two.
    ExpertsAndLatent,
    /// The checkpoint's matrices have one row for each input, and are transposed.
    Turned,
    /// The language model inside a vision model.
    WithinVision,
    /// Experts of a layer in one tensor of MXFP4, where rows of gate and up take turns.
    Packed,
}

/// `(model_type, arrangement)` of the model types that both mlx-lm and Planish know.
const MODEL_TYPES: [(&str, Arrangement); 19] = [
    ("llama", Arrangement::AsStored),
    ("mistral", Arrangement::AsStored),
    ("mixtral", Arrangement::Experts),
    ("qwen2", Arrangement::AsStored),
    ("qwen2_moe", Arrangement::Experts),
    ("qwen3", Arrangement::AsStored),
    ("qwen3_moe", Arrangement::Experts),
    ("gemma2", Arrangement::AsStored),
    ("gemma3_text", Arrangement::AsStored),
    ("gemma3", Arrangement::WithinVision),
    ("phi3", Arrangement::AsStored),
    ("gpt2", Arrangement::Turned),
    ("deepseek_v2", Arrangement::Experts),
    ("deepseek_v3", Arrangement::ExpertsAndLatent),
    ("starcoder2", Arrangement::AsStored),
    ("olmo2", Arrangement::AsStored),
    ("granite", Arrangement::AsStored),
    ("smollm3", Arrangement::AsStored),
    ("gpt_oss", Arrangement::Packed),
];

/// `(in a checkpoint, in mlx-lm)`: projections of Mixtral's experts.
const MIXTRAL_PROJECTIONS: [(&str, &str); 3] = [("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")];

/// Ends of the names of GPT-2's matrices that are transposed.
const TURNED: [&str; 4] = ["attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"];

/// Why mlx-lm does not take the checkpoints of an architecture; `None` for those that it does.
#[must_use]
pub fn mlx_hindrance(config: &CheckpointConfig) -> Option<String> {
    let model_type = config.model_type.as_str();
    match model_type {
        // `DeepseekV2Attention` of mlx-lm reads from it without looking whether it is there.
        "deepseek_v2" if config.json.get("rope_scaling").is_none_or(serde_json::Value::is_null) => {
            Some("mlx-lm does not load a deepseek_v2 without rope_scaling".into())
        }
        // Its `sanitize` splits gate and up along the wrong axis there.
        "gpt_oss" if !config.is_mxfp4() => Some("mlx-lm does not load a gpt_oss whose experts are not in MXFP4".into()),
        _ if arrangement_of(config).is_some() => None,
        "bert" | "falcon" => Some(format!("mlx-lm has no architecture {model_type}")),
        _ => Some(format!("nothing is known about {} in mlx-lm", class_name(config))),
    }
}

fn arrangement_of(config: &CheckpointConfig) -> Option<Arrangement> {
    MODEL_TYPES.iter().find(|row| row.0 == config.model_type).map(|row| row.1)
}

/// The tensors of a checkpoint with the names, shapes and order of weights of mlx-lm, in the checkpoint's own types.
///
/// The result stands for the source of a conversion: it has no metadata.
///
/// # Errors
/// `Error::CannotWrite` for an architecture that mlx-lm lacks, and for weights that are not F32, F16 or BF16;
/// `Error::CheckpointNotConvertible` as [`super::import`].
pub fn mlx_model(checkpoint: &Checkpoint) -> Result<Model> {
    let cannot = |why: String| Error::CannotWrite { framework: Framework::Mlx.name(), why, path: checkpoint.path.clone() };
    let obstacle = |what: String| Error::CheckpointNotConvertible { what, path: checkpoint.path.clone() };
    let config = checkpoint.config.as_ref().ok_or_else(|| obstacle("config.json is missing".into()))?;
    if let Some(why) = mlx_hindrance(config) {
        return Err(cannot(why));
    }
    let arrangement = arrangement_of(config).unwrap_or(Arrangement::AsStored);
    let mapping =
        mapping_of(config).ok_or_else(|| obstacle(format!("{} is not known", class_name(config))))?.map_err(obstacle)?;
    let names = Names::of(checkpoint, &mapping);
    let (found, _) = names.found(checkpoint);
    let mut outputs = Outputs::default();
    let is_packed = |name: &str| arrangement == Arrangement::Packed && name.contains(".mlp.experts.");
    for name in needed(&mapping).filter(|name| !is_packed(name)) {
        let tensor = found.get(name).ok_or_else(|| obstacle(format!("{name} is missing")))?;
        let dtype =
            float_of(tensor).ok_or_else(|| cannot(format!("{name} is {}, not a 16- or 32-bit float", tensor.dtype.name())))?;
        outputs.add(name, tensor, dtype, arrangement, config).map_err(&cannot)?;
    }
    outputs.check().map_err(&cannot)?;
    let mut all: Vec<(Tensor, Origin)> = outputs.all.into_iter().map(Output::tensor_and_origin).collect();
    if arrangement == Arrangement::Packed {
        all.extend(packed_experts(&mapping, &found).map_err(obstacle)?);
    }
    let warnings = checkpoint.warnings.iter().chain(&mapping.warnings).cloned().collect();
    Ok(source_model(checkpoint, all, warnings))
}

/// The checkpoint's tensors that the network needs, each once, in the order in which it needs them.
fn needed(mapping: &Mapping) -> impl Iterator<Item = &str> {
    let mut seen = HashSet::new();
    let pieces = mapping.tensors.iter().flat_map(|tensor| match &tensor.content {
        Content::Stored { pieces, .. } => pieces.as_slice(),
        Content::Computed(_) => &[],
    });
    pieces.map(|piece| piece.name.as_str()).filter(move |name| seen.insert(*name))
}

fn float_of(tensor: &CheckpointTensor) -> Option<DType> {
    match tensor.dtype {
        CheckpointDType::F32 => Some(DType::F32),
        CheckpointDType::F16 => Some(DType::F16),
        CheckpointDType::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// A tensor of mlx-lm.
#[derive(Debug)]
struct Output {
    name: String,
    dtype: DType,
    /// Rows first.
    shape: Vec<u64>,
    parts: Vec<Part>,
    /// For experts, how many there must be.
    n_experts: Option<u64>,
}

impl Output {
    fn tensor_and_origin(self) -> (Tensor, Origin) {
        let shape: Vec<u64> = self.shape.iter().rev().copied().collect();
        let origin = Origin::Stored { parts: self.parts, plus: 0.0 };
        (source_tensor(self.name, self.dtype, shape, &origin), origin)
    }
}

#[derive(Debug, Default)]
struct Outputs {
    all: Vec<Output>,
    /// Name of a tensor of experts → its index in `all`.
    experts: HashMap<String, usize>,
}

impl Outputs {
    fn add(
        &mut self,
        name: &str,
        tensor: &CheckpointTensor,
        dtype: DType,
        arrangement: Arrangement,
        config: &CheckpointConfig,
    ) -> std::result::Result<(), String> {
        let shape = tensor.shape.clone();
        let whole = whole(tensor);
        let has_experts = matches!(arrangement, Arrangement::Experts | Arrangement::ExpertsAndLatent);
        match (arrangement, expert_name(name)) {
            (_, Some((joined, expert_idx))) if has_experts => self.add_expert(joined, expert_idx, dtype, &shape, whole, config),
            (Arrangement::ExpertsAndLatent, _) if name.ends_with("kv_b_proj.weight") => {
                self.add_latent(name, dtype, &shape, &whole, config)
            }
            (Arrangement::Turned, _) => {
                let turned = matches!(shape.as_slice(), [_, _]) && TURNED.iter().any(|end| name.ends_with(end));
                let order = if turned { RowOrder::TRANSPOSED } else { RowOrder::AsStored };
                let shape = if turned { shape.into_iter().rev().collect() } else { shape };
                self.push(format!("model.{name}"), dtype, shape, vec![Part { order, ..whole }]);
                Ok(())
            }
            (Arrangement::WithinVision, _) => {
                self.push(format!("language_model.{name}"), dtype, shape, vec![whole]);
                Ok(())
            }
            _ => {
                self.push(name.into(), dtype, shape, vec![whole]);
                Ok(())
            }
        }
    }

    fn push(&mut self, name: String, dtype: DType, shape: Vec<u64>, parts: Vec<Part>) {
        self.all.push(Output { name, dtype, shape, parts, n_experts: None });
    }

    fn add_expert(
        &mut self,
        name: String,
        expert_idx: u64,
        dtype: DType,
        shape: &[u64],
        part: Part,
        config: &CheckpointConfig,
    ) -> std::result::Result<(), String> {
        let place = *self.experts.entry(name.clone()).or_insert_with(|| {
            let shape = [0].iter().chain(shape).copied().collect();
            self.all.push(Output { name, dtype, shape, parts: Vec::new(), n_experts: Some(config.n_experts) });
            self.all.len() - 1
        });
        let output = &mut self.all[place];
        let is_next = output.parts.len() as u64 == expert_idx;
        if !is_next || output.dtype != dtype || output.shape.get(1..) != Some(shape) {
            return Err(format!("the experts of {} differ in order, type or shape", output.name));
        }
        output.parts.push(part);
        output.shape[0] += 1;
        Ok(())
    }

    /// Splits the matrix that computes keys and values from one compressed vector: mlx-lm has two, the keys' transposed.
    fn add_latent(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[u64],
        whole: &Part,
        config: &CheckpointConfig,
    ) -> std::result::Result<(), String> {
        let dim = |key: &str| config.json.get(key).and_then(|value| whole_of(value).ok().flatten());
        let dims = dim("qk_nope_head_dim").zip(dim("v_head_dim")).filter(|(nope, v)| *nope > 0 && *v > 0);
        let (Some((nope, v)), &[n_rows, rank]) = (dims, shape) else { return Err(format!("{name} has no known heads")) };
        let n_heads = config.n_heads;
        if nope.checked_add(v).and_then(|head| head.checked_mul(n_heads)) != Some(n_rows) {
            return Err(format!("{name} has {n_rows} rows, not {n_heads} heads of {nope} and {v}"));
        }
        let part = |head: u64, first: u64, n_rows: u64, order| Part {
            first_row: head * (nope + v) + first,
            n_rows,
            order,
            ..whole.clone()
        };
        let keys = (0..n_heads).map(|head| part(head, 0, nope, RowOrder::TRANSPOSED)).collect();
        let values = (0..n_heads).map(|head| part(head, nope, v, RowOrder::AsStored)).collect();
        let layer = name.strip_suffix("kv_b_proj.weight").unwrap_or(name);
        self.push(format!("{layer}embed_q.weight"), dtype, vec![n_heads, rank, nope], keys);
        self.push(format!("{layer}unembed_out.weight"), dtype, vec![n_heads, v, rank], values);
        Ok(())
    }

    /// Refuses layers without all of their experts.
    fn check(&self) -> std::result::Result<(), String> {
        let lacking = self.all.iter().find(|output| output.n_experts.is_some_and(|n| n != output.parts.len() as u64));
        lacking.map_or(Ok(()), |output| {
            Err(format!("{} has {} of {} experts", output.name, output.parts.len(), output.n_experts.unwrap_or(0)))
        })
    }
}

/// Packed experts and their biases, which llama.cpp splits into gate and up as mlx-lm does.
fn packed_experts(
    mapping: &Mapping,
    found: &HashMap<Cow<str>, &CheckpointTensor>,
) -> std::result::Result<Vec<(Tensor, Origin)>, String> {
    let mut all = Vec::new();
    for mapped in &mapping.tensors {
        let (Some(name), Content::Stored { pieces, .. }) = (packed_name(&mapped.name), &mapped.content) else { continue };
        let find = |name: &str| found.get(name).copied().ok_or_else(|| format!("{name} is missing"));
        for exponents in pieces.iter().filter_map(Piece::exponents) {
            find(&exponents.name)?;
        }
        let tensors = pieces.iter().map(|piece| find(&piece.name)).collect::<std::result::Result<Vec<_>, String>>()?;
        let first = tensors.first().ok_or_else(|| format!("{name} is made of nothing"))?;
        let dtype = if pieces.iter().all(|piece| piece.is_mxfp4) { Some(DType::MXFP4) } else { float_of(first) };
        let dtype = dtype.ok_or_else(|| format!("{name} is not a 16- or 32-bit float"))?;
        let origin = origin_of(mapped, found, None);
        all.push((source_tensor(name, dtype, mapped.shape.clone(), &origin), origin));
    }
    Ok(all)
}

/// All rows of a tensor.
fn whole(tensor: &CheckpointTensor) -> Part {
    let row_len = tensor.shape.last().copied().unwrap_or(1).max(1);
    let n_rows = tensor.n_elements() / row_len;
    let &CheckpointTensor { file_idx, offset, dtype, .. } = tensor;
    Part { file_idx, offset, dtype, row_len, first_row: 0, n_rows, order: RowOrder::AsStored, scale: None }
}

/// The tensor that an expert's matrix is a part of, and the number of the expert: `….mlp.switch_mlp.up_proj.weight` and 3 of
/// `….mlp.experts.3.up_proj.weight`.
fn expert_name(name: &str) -> Option<(String, u64)> {
    let (layer, rest) = name.split_once(".experts.")?;
    let (expert_idx, rest) = rest.split_once('.')?;
    let projection = rest.strip_suffix(".weight")?;
    let renamed =
        MIXTRAL_PROJECTIONS.iter().find(|row| row.0 == projection).map_or(Cow::Borrowed(projection), |row| row.1.into());
    Some((format!("{layer}.switch_mlp.{renamed}.weight"), expert_idx.parse().ok()?))
}

/// The name that mlx-lm has for packed experts or their biases: `model.layers.3.mlp.experts.gate_proj.bias` for
/// `blk.3.ffn_gate_exps.bias`.
fn packed_name(name: &str) -> Option<String> {
    let (layer_idx, rest) = name.strip_prefix("blk.")?.split_once(".ffn_")?;
    let (projection, part) = rest.split_once("_exps.")?;
    Some(format!("model.layers.{layer_idx}.mlp.experts.{projection}_proj.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_parts_of_one_tensor() {
        let check = |name: &str, expected: Option<(&str, u64)>| {
            assert_eq!(expert_name(name), expected.map(|(name, idx)| (name.to_string(), idx)), "{name}");
        };
        check("model.layers.1.mlp.experts.3.up_proj.weight", Some(("model.layers.1.mlp.switch_mlp.up_proj.weight", 3)));
        let joined = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.weight";
        check("model.layers.0.block_sparse_moe.experts.11.w1.weight", Some((joined, 11)));
        check("model.layers.0.mlp.shared_expert.up_proj.weight", None);
        check("model.layers.0.mlp.experts.x.up_proj.weight", None);
    }
}
