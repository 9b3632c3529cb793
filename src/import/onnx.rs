//! A checkpoint's tensors for a graph of ONNX: GGUF's names, which importances go by, and the checkpoint's own order of rows.

use std::borrow::Cow;
use std::collections::HashMap;

use super::architectures::{class_name, traits_of};
use super::decoder::decoder;
use super::mapping::{Content, Piece, Tensors};
use super::model::{block_size, lossless_dtype, origin_of, source_model, source_tensor};
use crate::error::{Error, Result};
use crate::format::onnx::language::check_expressible;
use crate::model::{Checkpoint, CheckpointConfig, CheckpointTensor, Decoder, Framework, Model};

/// Why no graph of ONNX can be written for the checkpoints of an architecture; `None` for those that the configuration does not
/// speak against.
#[must_use]
pub fn onnx_hindrance(config: &CheckpointConfig) -> Option<String> {
    if traits_of(config).is_none() {
        return Some(format!("{} is not described as a decoder, from which graphs are written", class_name(config)));
    }
    (config.n_experts > 0).then(|| "experts have no place in its graphs yet".into())
}

/// What a checkpoint computes, and its tensors as the source of a conversion to ONNX, one for each of `Decoder::named_weights`.
///
/// Matrices have the lossless type of the checkpoint's, vectors are F32. Offsets of norms are added. There is no metadata.
///
/// # Errors
/// `Error::CannotWrite` for a decoder that the graphs cannot express; `Error::CheckpointNotConvertible` as [`decoder`].
pub fn onnx_model(checkpoint: &Checkpoint) -> Result<(Decoder, Model)> {
    let cannot =
        |why: String| Error::CannotWrite { framework: Framework::OnnxRuntime.name(), why, path: checkpoint.path.clone() };
    if let Some(why) = checkpoint.config.as_ref().and_then(onnx_hindrance) {
        return Err(cannot(why));
    }
    let decoder = decoder(checkpoint)?;
    check_expressible(&decoder).map_err(cannot)?;
    let found: HashMap<Cow<str>, &CheckpointTensor> =
        checkpoint.tensors.iter().map(|tensor| (tensor.name.as_str().into(), tensor)).collect();
    let mut tensors = Tensors::default();
    for named in decoder.named_weights() {
        let weight = named.weight;
        let missing =
            || Error::CheckpointNotConvertible { what: format!("{} is missing", weight.name), path: checkpoint.path.clone() };
        let stored = found.get(weight.name.as_str()).ok_or_else(missing)?;
        let is_vector = stored.shape.len() <= 1;
        let shape = if is_vector { vec![weight.n_rows] } else { vec![weight.row_len, weight.n_rows] };
        let piece = Piece::whole(&weight.name, &stored.shape).rows(weight.first_row, weight.n_rows);
        let mapped = tensors.of(named.name, &shape, vec![piece]);
        mapped.is_f32 = is_vector;
        #[allow(clippy::cast_possible_truncation, reason = "0 or 1")]
        if let Content::Stored { plus, .. } = &mut mapped.content {
            *plus = named.plus as f32;
        }
    }
    let block_size = checkpoint.config.as_ref().and_then(block_size);
    let all = tensors.all.into_iter().map(|mapped| {
        let (dtype, origin) = (lossless_dtype(&mapped, &found), origin_of(&mapped, &found, block_size));
        (source_tensor(mapped.name, dtype, mapped.shape, &origin), origin)
    });
    let model = source_model(checkpoint, all.collect(), checkpoint.warnings.clone());
    Ok((decoder, model))
}
