//! The tensors that a decoder names, as a source that `TensorReader` reads.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::decoder::decoder;
use super::mapping::Tensors;
use super::model::{block_size, lossless_dtype, origin_of, source_model, source_tensor};
use super::tokenizer::Splitter;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, CheckpointTensor, Decoder, Model};

/// The checkpoint's tensors that a decoder's weights are rows of, each once, under their own names and with all their rows.
///
/// Matrices are F32, F16 or BF16, whichever keeps them without loss; vectors are F32. Offsets of norms are not added. Row `r`
/// of a tensor starts at byte `r * row_bytes` of its data.
///
/// # Errors
/// `Error::CheckpointNotConvertible` for a tensor that the checkpoint does not have.
pub fn stored_model(checkpoint: &Checkpoint, decoder: &Decoder) -> Result<Model> {
    let found: HashMap<Cow<str>, &CheckpointTensor> =
        checkpoint.tensors.iter().map(|tensor| (tensor.name.as_str().into(), tensor)).collect();
    let (mut tensors, mut seen) = (Tensors::default(), HashSet::new());
    for weight in decoder.weights().into_iter().filter(|weight| seen.insert(weight.name.as_str())) {
        let missing =
            || Error::CheckpointNotConvertible { what: format!("{} is missing", weight.name), path: checkpoint.path.clone() };
        let stored = found.get(weight.name.as_str()).ok_or_else(missing)?;
        // Names in GGUF would tell which matrices stay in F32; these do not.
        tensors.plain(&weight.name, &weight.name, &stored.shape).is_f32 = stored.shape.len() <= 1;
    }
    let block_size = checkpoint.config.as_ref().and_then(block_size);
    let all = tensors.all.into_iter().map(|mapped| {
        let (dtype, origin) = (lossless_dtype(&mapped, &found), origin_of(&mapped, &found, block_size));
        (source_tensor(mapped.name, dtype, mapped.shape, &origin), origin)
    });
    Ok(source_model(checkpoint, all.collect(), checkpoint.warnings.clone()))
}

/// Refuses a checkpoint that a forward pass over its own tensors cannot score on a text: one that no description of a decoder fits, or
/// without a tokenizer that can be asked.
///
/// # Errors
/// Those of [`decoder`], [`stored_model`] and `Splitter::read`.
pub fn check_computable(checkpoint: &Checkpoint) -> Result<()> {
    stored_model(checkpoint, &decoder(checkpoint)?)?;
    Splitter::read(checkpoint).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CheckpointDType, DType, Head, Norm, Origin, Weight};

    #[test]
    fn tensors_keep_their_names_and_8_bit_floats_their_scales() {
        let tensor = |name: &str, dtype, shape: &[u64], offset| CheckpointTensor {
            name: name.into(),
            dtype,
            shape: shape.into(),
            file_idx: 0,
            offset,
            size_bytes: 0,
        };
        let tensors = vec![
            tensor("m.embed", CheckpointDType::BF16, &[4, 2], 8),
            tensor("m.norm", CheckpointDType::BF16, &[2], 24),
            tensor("m.head", CheckpointDType::F8_E4M3, &[4, 2], 28),
            tensor("m.head_scale_inv", CheckpointDType::F32, &[1], 36),
        ];
        let checkpoint = Checkpoint { tensors, ..Checkpoint::default() };
        let weight = |name: &str, n_rows, row_len| Weight { name: name.into(), first_row: 0, n_rows, row_len };
        let decoder = |head: &str| Decoder {
            n_vocab: 4,
            n_embd: 2,
            n_ctx: 8,
            embedding: weight("m.embed", 4, 2),
            embedding_scale: 1.0,
            rope_tables: Vec::new(),
            layers: Vec::new(),
            output_norm: Norm { weight: weight("m.norm", 2, 1), offset: 1.0, epsilon: 1e-6 },
            head: Head::Own(weight(head, 4, 2)),
            logit_scale: 1.0,
            final_softcap: None,
        };
        let model = stored_model(&checkpoint, &decoder("m.head")).unwrap();
        let found: Vec<(&str, DType, &[u64], u64)> =
            model.tensors.iter().map(|of| (of.name.as_str(), of.dtype, of.shape.as_slice(), of.size_bytes)).collect();
        let expected: [(&str, DType, &[u64], u64); 3] =
            [("m.embed", DType::BF16, &[2, 4], 16), ("m.norm", DType::F32, &[2], 8), ("m.head", DType::BF16, &[2, 4], 16)];
        assert_eq!(found, expected);
        let import = model.import.unwrap();
        let Origin::Stored { parts, plus } = &import.origins[2] else { panic!("computed") };
        assert_eq!(parts[0].scale.as_ref().map(|scale| scale.offset), Some(36));
        assert_eq!(plus.to_bits(), 0);
        assert!(stored_model(&checkpoint, &decoder("other")).unwrap_err().to_string().contains("other is missing"));
    }
}
