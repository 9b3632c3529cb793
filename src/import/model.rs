//! The model that a checkpoint becomes: the GGUF file that a conversion without loss would give.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::architectures::{class_name, mapping_of};
use super::disagreement::disagreement;
use super::general::general_entries;
use super::mapping::{Content, Mapped, Mapping, Piece};
use super::mlx::mlx_hindrance;
use super::names::Names;
use super::naming::Weights;
use super::onnx::onnx_hindrance;
use super::tokenizer::tokenizer_metadata;
use crate::error::{Error, Result};
use crate::format::config_value::whole_of;
use crate::model::{
    BlockScale, Checkpoint, CheckpointConfig, CheckpointDType, CheckpointTensor, DType, Framework, Hyperparameters, Import,
    Metadata, Model, Origin, Part, Preset, RowOrder, Tensor, Value,
};

/// Version of the block layouts that quantized files are made for.
///
/// Source: `GGML_QUANT_VERSION` in `gguf-py/gguf/constants.py`, llama.cpp of 2026-08-21.
const QUANTIZATION_VERSION: u32 = 2;
/// Most examples that an error lists.
const MAX_EXAMPLES: usize = 3;

/// The type that keeps a tensor without loss: F32 for what is always F32, and where types mix.
pub(super) fn lossless_dtype(tensor: &Mapped, found: &HashMap<Cow<str>, &CheckpointTensor>) -> DType {
    let Content::Stored { pieces, .. } = &tensor.content else { return DType::F32 };
    if tensor.is_f32 {
        return DType::F32;
    }
    if pieces.iter().all(|piece| piece.is_mxfp4) {
        return DType::MXFP4;
    }
    // A missing tensor is assumed to have the type of most checkpoints.
    let dtype_of = |piece: &Piece| match found.get(piece.name.as_str()).map(|tensor| tensor.dtype) {
        // transformers applies the scales of 8-bit floats in BF16 too.
        None | Some(CheckpointDType::BF16 | CheckpointDType::F8_E4M3 | CheckpointDType::F8_E5M2) => DType::BF16,
        Some(CheckpointDType::F16) => DType::F16,
        Some(_) => DType::F32,
    };
    let mut dtypes = pieces.iter().map(dtype_of);
    let first = dtypes.next().unwrap_or(DType::F32);
    if dtypes.all(|dtype| dtype == first) { first } else { DType::F32 }
}

/// The model without its tokenizer, for predictions: tensors that are missing count as if they were there.
#[must_use]
pub fn planned_model(checkpoint: &Checkpoint, mapping: &Mapping) -> Model {
    let names = Names::of(checkpoint, mapping);
    let (found, _) = names.found(checkpoint);
    let mut tensors = Vec::with_capacity(mapping.tensors.len());
    let mut origins = Vec::with_capacity(mapping.tensors.len());
    let mut has_wide_matrix = false;
    let block_size = checkpoint.config.as_ref().and_then(block_size);
    for mapped in &mapping.tensors {
        let dtype = lossless_dtype(mapped, &found);
        has_wide_matrix |= dtype == DType::F32 && !mapped.is_f32;
        let (row_len, n_rows) = mapped
            .shape
            .split_first()
            .map_or((1, 1), |(row_len, rest)| (*row_len, rest.iter().fold(1, |n: u64, &dim| n.saturating_mul(dim))));
        let origin = origin_of(mapped, &found, block_size);
        let (file_idx, offset) = place_of(&origin);
        let size_bytes = dtype.row_bytes(row_len).map_or(u64::MAX, |row_bytes| n_rows.saturating_mul(row_bytes));
        tensors.push(Tensor { name: mapped.name.clone(), dtype, shape: mapped.shape.clone(), file_idx, offset, size_bytes });
        origins.push(origin);
    }
    let own_dtype = if has_wide_matrix { DType::F32 } else { common_dtype(&tensors) };
    let mut metadata = Metadata(general_entries(checkpoint, mapping.architecture, &mapping.first, Weights::of(&tensors)));
    let own = Preset::from_float(own_dtype).map_or(0, Preset::file_type_id);
    for (key, value) in &mapping.entries {
        metadata.set(key, value.clone());
    }
    metadata.set("general.file_type", Value::U32(own));
    metadata.set("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    let mut hyperparameters = Hyperparameters::from_metadata(&metadata);
    if hyperparameters.n_vocab == 0 {
        hyperparameters.n_vocab = checkpoint.config.as_ref().map_or(0, |config| config.n_vocab);
    }
    Model {
        path: checkpoint.path.clone(),
        files: checkpoint.files.clone(),
        size_bytes: checkpoint.size_bytes,
        format_name: "Hugging Face checkpoint".into(),
        alignment: 32,
        metadata,
        tensors,
        hyperparameters,
        warnings: checkpoint.warnings.iter().chain(&mapping.warnings).cloned().collect(),
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: Some(Arc::new(Import { name: checkpoint.name.clone(), origins, hindrances: hindrances(checkpoint) })),
        others: Vec::new(),
    }
}

/// Frameworks besides llama.cpp that do not take a checkpoint, and why.
fn hindrances(checkpoint: &Checkpoint) -> Vec<(Framework, String)> {
    let Some(config) = &checkpoint.config else { return Vec::new() };
    let all = [(Framework::OnnxRuntime, onnx_hindrance(config)), (Framework::Mlx, mlx_hindrance(config))];
    all.into_iter().filter_map(|(framework, why)| Some((framework, why?))).collect()
}

/// The type that keeps all weights of a model: the type of its float matrices, F32 where types mix.
fn common_dtype(tensors: &[Tensor]) -> DType {
    let mut found = tensors.iter().map(|tensor| tensor.dtype).filter(|dtype| !matches!(dtype, DType::F32 | DType::MXFP4));
    match found.next() {
        Some(first) if found.all(|dtype| dtype == first) => first,
        _ => DType::F32,
    }
}

/// Where the checkpoint has the weights of a tensor; parts that it lacks are left out.
pub(super) fn origin_of(mapped: &Mapped, found: &HashMap<Cow<str>, &CheckpointTensor>, block_size: Option<(u64, u64)>) -> Origin {
    match &mapped.content {
        Content::Computed(weights) => Origin::Computed(weights.clone()),
        Content::Stored { pieces, plus } => {
            let parts = pieces.iter().filter_map(|piece| {
                let tensor = found.get(piece.name.as_str())?;
                Some(Part {
                    file_idx: tensor.file_idx,
                    offset: tensor.offset,
                    dtype: tensor.dtype,
                    row_len: piece.row_len(),
                    first_row: piece.rows.0,
                    n_rows: piece.rows.1,
                    order: piece.order,
                    scale: match piece.exponents() {
                        Some(exponents) => exponents_of(&exponents, found),
                        None => scale_of(&piece.name, tensor, found, block_size),
                    },
                })
            });
            Origin::Stored { parts: parts.collect(), plus: *plus }
        }
    }
}

/// The exponents of blocks of MXFP4.
fn exponents_of(piece: &Piece, found: &HashMap<Cow<str>, &CheckpointTensor>) -> Option<BlockScale> {
    let tensor = found.get(piece.name.as_str()).filter(|tensor| tensor.shape == piece.shape)?;
    let &CheckpointTensor { file_idx, offset, dtype, .. } = *tensor;
    Some(BlockScale {
        file_idx,
        offset,
        dtype,
        block_rows: 1,
        block_columns: DType::MXFP4.block_len(),
        n_columns: piece.row_len(),
    })
}

/// Rows and columns of the blocks that share a scale.
pub(super) fn block_size(config: &CheckpointConfig) -> Option<(u64, u64)> {
    match config.json.get("quantization_config")?.get("weight_block_size")?.as_array()?.as_slice() {
        [rows, columns] => {
            let dim = |dim| whole_of(dim).ok().flatten().filter(|&dim| dim > 0);
            Some((dim(rows)?, dim(columns)?))
        }
        _ => None,
    }
}

/// The factors of a tensor of 8-bit floats: of its blocks, of its rows, or one for all.
fn scale_of(
    name: &str,
    tensor: &CheckpointTensor,
    found: &HashMap<Cow<str>, &CheckpointTensor>,
    block_size: Option<(u64, u64)>,
) -> Option<BlockScale> {
    if !is_f8(tensor.dtype) {
        return None;
    }
    let names = [format!("{name}_scale_inv"), format!("{name}_scale")];
    let factors = names.iter().find_map(|name| found.get(name.as_str()))?;
    let [n_rows, row_len] = *tensor.shape.as_slice() else { return None };
    let (block_rows, block_columns, n_columns) = match (block_size, factors.shape.as_slice()) {
        (_, [] | [1] | [1, 1]) => (n_rows, row_len, 1),
        (Some((rows, columns)), &[down, across]) if down == n_rows.div_ceil(rows) && across == row_len.div_ceil(columns) => {
            (rows, columns, across)
        }
        (None, &[rows] | &[rows, 1]) if rows == n_rows => (1, row_len, 1),
        _ => return None,
    };
    let &CheckpointTensor { file_idx, offset, dtype, .. } = *factors;
    Some(BlockScale { file_idx, offset, dtype, block_rows, block_columns, n_columns })
}

fn is_f8(dtype: CheckpointDType) -> bool {
    matches!(dtype, CheckpointDType::F8_E4M3 | CheckpointDType::F8_E5M2)
}

/// The model that a complete checkpoint becomes, with its tokenizer.
///
/// # Errors
/// Those of `checked_model` and of `tokenizer_metadata`.
pub fn import(checkpoint: &Checkpoint) -> Result<Model> {
    let mut model = checked_model(checkpoint)?;
    let tokenizer = tokenizer_metadata(checkpoint)?;
    for (key, value) in tokenizer.entries {
        model.metadata.set(&key, value);
    }
    model.hyperparameters = Hyperparameters::from_metadata(&model.metadata);
    model.warnings.extend(tokenizer.warnings);
    Ok(model)
}

/// The model that a complete checkpoint becomes, without its tokenizer.
///
/// # Errors
/// `Error::CheckpointNotConvertible` with the first obstacle: no table for the architecture, quantized before, files or tensors
/// that are missing, unknown or of another shape, weights that are not floats.
pub fn checked_model(checkpoint: &Checkpoint) -> Result<Model> {
    checked(checkpoint).map(|(model, _)| model)
}

/// The same with the table that it is made from.
///
/// # Errors
/// As `checked_model`.
pub(super) fn checked(checkpoint: &Checkpoint) -> Result<(Model, Mapping)> {
    let obstacle = |what: String| Error::CheckpointNotConvertible { what, path: checkpoint.path.clone() };
    let config =
        checkpoint.config.as_ref().ok_or_else(|| obstacle(checkpoint.with_unfinished("config.json is missing".into())))?;
    let mapping = match mapping_of(config) {
        None if class_name(config).is_empty() => {
            return Err(obstacle("config.json names no architecture (neither architectures nor a known model_type)".into()));
        }
        None => return Err(obstacle(format!("{} is not known", class_name(config)))),
        Some(mapping) => mapping.map_err(obstacle)?,
    };
    if let Some(quantization) = config.quantization.as_ref().filter(|found| !found.method.is_float()) {
        return Err(obstacle(format!(
            "its weights are quantized already ({}): take the unquantized original",
            quantization.name
        )));
    }
    if let Some(lack) = checkpoint.missing_weights() {
        return Err(obstacle(lack));
    }
    let disagreement = disagreement(checkpoint, &mapping);
    let first = |names: &[String]| names.iter().take(MAX_EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    for (what, names) in
        [("tensors are in two files", &checkpoint.duplicates), ("index and files disagree", &checkpoint.index_errors)]
    {
        if !names.is_empty() {
            return Err(obstacle(format!("{what}: {}", first(names))));
        }
    }
    if let Some(cause) = disagreement.cause {
        return Err(obstacle(cause));
    }
    for (what, names) in [
        ("tensors are missing", &disagreement.missing),
        ("this architecture does not have these tensors", &disagreement.extra),
        ("tensors have another shape", &disagreement.wrong_shapes),
    ] {
        if !names.is_empty() {
            return Err(obstacle(format!("{what}: {}", first(names))));
        }
    }
    let model = planned_model(checkpoint, &mapping);
    check_sources(&model).map_err(obstacle)?;
    Ok((model, mapping))
}

/// Tensors of a checkpoint, in whatever arrangement, as the source of a conversion: without metadata.
pub(super) fn source_model(checkpoint: &Checkpoint, all: Vec<(Tensor, Origin)>, warnings: Vec<String>) -> Model {
    let (tensors, origins) = all.into_iter().unzip();
    Model {
        path: checkpoint.path.clone(),
        files: checkpoint.files.clone(),
        size_bytes: checkpoint.size_bytes,
        format_name: "Hugging Face checkpoint".into(),
        alignment: 1,
        metadata: Metadata::default(),
        tensors,
        hyperparameters: Hyperparameters::default(),
        warnings,
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: Some(Arc::new(Import { name: checkpoint.name.clone(), origins, ..Import::default() })),
        others: Vec::new(),
    }
}

/// A tensor that is read from where its origin begins; a size that is no whole number of blocks becomes the largest.
pub(super) fn source_tensor(name: String, dtype: DType, shape: Vec<u64>, origin: &Origin) -> Tensor {
    let n_weights = shape.iter().fold(1, |n: u64, &dim| n.saturating_mul(dim));
    let size_bytes = dtype.row_bytes(n_weights).unwrap_or(u64::MAX);
    let (file_idx, offset) = place_of(origin);
    Tensor { name, dtype, shape, file_idx, offset, size_bytes }
}

/// File and offset of the first part; zeros for numbers from the configuration.
fn place_of(origin: &Origin) -> (usize, u64) {
    match origin {
        Origin::Stored { parts, .. } => parts.first().map(|part| (part.file_idx, part.offset)).unwrap_or_default(),
        Origin::Computed(_) => (0, 0),
    }
}

/// Refuses tensors that the reader cannot make.
fn check_sources(model: &Model) -> std::result::Result<(), String> {
    let Some(import) = &model.import else { return Ok(()) };
    for (tensor, origin) in model.tensors.iter().zip(&import.origins) {
        let Origin::Stored { parts, .. } = origin else { continue };
        let n_weights: u64 = parts.iter().map(|part| part.n_rows_out().saturating_mul(part.row_len_out())).sum();
        let is_rope_odd = |part: &Part| match part.order {
            RowOrder::Rope { head_rows } => {
                !head_rows.is_multiple_of(2) || head_rows == 0 || !part.n_rows.is_multiple_of(head_rows)
            }
            _ => false,
        };
        if n_weights != tensor.n_elements() || parts.iter().any(is_rope_odd) {
            return Err(format!("the numbers of config.json do not fit together for tensor {}", tensor.name));
        }
        let readable =
            |dtype| matches!(dtype, CheckpointDType::F64 | CheckpointDType::F32 | CheckpointDType::F16 | CheckpointDType::BF16);
        if let Some(part) = parts.iter().find(|part| is_f8(part.dtype) && part.scale.is_none()) {
            return Err(format!("tensor {} is made of {} without scales that fit it", tensor.name, part.dtype.name()));
        }
        if tensor.dtype == DType::MXFP4 {
            let is_bytes = |part: &Part| {
                part.dtype == CheckpointDType::U8 && part.scale.as_ref().is_some_and(|scale| scale.dtype == CheckpointDType::U8)
            };
            match parts.iter().find(|part| !is_bytes(part)) {
                Some(part) => return Err(format!("tensor {} is made of {}, not of MXFP4", tensor.name, part.dtype.name())),
                None => continue,
            }
        }
        let is_float = |dtype| readable(dtype) || is_f8(dtype);
        let bad = |part: &&Part| !is_float(part.dtype) || part.scale.as_ref().is_some_and(|scale| !readable(scale.dtype));
        if let Some(part) = parts.iter().find(bad) {
            return Err(format!("tensor {} is made of weights of type {}", tensor.name, part.dtype.name()));
        }
    }
    Ok(())
}
