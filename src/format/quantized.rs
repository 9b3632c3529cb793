//! Whether a checkpoint's weights are quantized: by its tensors, whatever `config.json` says.
//!
//! Merged fine-tunes often keep the `quantization_config` of their training, and packed weights are published without one.
//! `convert_hf_to_gguf.py` believes the configuration.

use std::collections::HashSet;

use crate::model::{Checkpoint, CheckpointDType, CheckpointTensor, MXFP4_ENDINGS, QuantizationMethod, SourceQuantization};

use QuantizationMethod::{Awq, BitsAndBytes, Gptq, Mlx, Mxfp4, Other};

/// `(part of a tensor's name, method, its name)`: tensors that only packed weights have. The first that is found counts.
///
/// Source of the names: what the packages themselves saved in 2025.
const COMPANIONS: [(&str, QuantizationMethod, &str); 18] = [
    (".g_idx", Gptq, "gptq"),
    (".qweight", Awq, "awq"),
    (".quant_state.", BitsAndBytes, "bitsandbytes"),
    (".absmax", BitsAndBytes, "bitsandbytes"),
    (".quant_map", BitsAndBytes, "bitsandbytes"),
    (".SCB", BitsAndBytes, "bitsandbytes"),
    (".weight_packed", Other, "compressed-tensors"),
    (".weight_scale_2", Other, "modelopt"),
    (".W_q", Other, "hqq"),
    (".q_scale_max", Other, "exl2"),
    (".q_invperm", Other, "exl2"),
    (".trellis", Other, "exl3"),
    (".codebooks", Other, "aqlm"),
    (".weight._data", Other, "quanto"),
    (".weight_q", Other, "an unnamed method"),
    (".qzeros", Other, "an unnamed method"),
    (".int_weight", Other, "torchao"),
    (".weight_zero_point", Other, "compressed-tensors"),
];

/// Compares what `config.json` says with the tensors, and keeps what the tensors are. A quantization that is only left over in
/// the file becomes a warning.
pub(super) fn settle_quantization(checkpoint: &mut Checkpoint) {
    let found = quantization_of(&checkpoint.tensors);
    let is_float = checkpoint.missing_files.is_empty() && !checkpoint.tensors.is_empty() && all_floats(&checkpoint.tensors);
    let Some(config) = &mut checkpoint.config else { return };
    config.quantization = match (found, config.quantization.take()) {
        // What the file states says more than tensor names that several methods share.
        (Some((method, _)), Some(stated))
            if method == stated.method || matches!(method, Other | Awq) && !stated.method.is_float() =>
        {
            Some(stated)
        }
        (Some((method, name)), stated) => {
            Some(SourceQuantization { method, name: name.into(), bits: stated.and_then(|stated| stated.bits) })
        }
        (None, Some(stated)) if is_float => {
            checkpoint.warnings.push(format!(
                "config.json speaks of a quantization ({}) that the tensors do not have: they are floats, and are taken as they are",
                stated.name
            ));
            None
        }
        (None, stated) => stated,
    };
}

/// The quantization that the names and types of tensors show, with its name; `None` if they show none.
fn quantization_of(tensors: &[CheckpointTensor]) -> Option<(QuantizationMethod, &'static str)> {
    let with_ending = |ending: &'static str, dtype: CheckpointDType| {
        let of_type = tensors.iter().filter(move |tensor| tensor.dtype == dtype);
        of_type.filter_map(move |tensor| tensor.name.strip_suffix(ending)).collect::<HashSet<&str>>()
    };
    let packed = with_ending(".weight", CheckpointDType::U32);
    let has_scales = |tensor: &CheckpointTensor| tensor.name.strip_suffix(".scales").is_some_and(|stem| packed.contains(stem));
    if !packed.is_empty() && tensors.iter().any(has_scales) {
        return Some((Mlx, "MLX"));
    }
    let companion = COMPANIONS.iter().find(|(part, ..)| tensors.iter().any(|tensor| tensor.name.contains(part)));
    if let Some(&(_, method, name)) = companion {
        return Some((method, name));
    }
    let blocks = with_ending(MXFP4_ENDINGS.0, CheckpointDType::U8);
    let scales = with_ending(MXFP4_ENDINGS.1, CheckpointDType::U8);
    blocks.intersection(&scales).next().map(|_| (Mxfp4, "mxfp4"))
}

/// True where every tensor except buffers is a float of at least 16 bits.
fn all_floats(tensors: &[CheckpointTensor]) -> bool {
    let is_wide =
        |dtype| matches!(dtype, CheckpointDType::F16 | CheckpointDType::BF16 | CheckpointDType::F32 | CheckpointDType::F64);
    let is_buffer = |name: &str| [".position_ids", ".bias", ".masked_bias"].iter().any(|ending| name.ends_with(ending));
    tensors.iter().all(|tensor| is_wide(tensor.dtype) || is_buffer(&tensor.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckpointConfig;

    fn settled(stated: Option<QuantizationMethod>, tensors: &[(&str, CheckpointDType)]) -> (Option<QuantizationMethod>, usize) {
        let tensor = |(name, dtype): &(&str, CheckpointDType)| CheckpointTensor {
            name: (*name).into(),
            dtype: *dtype,
            shape: vec![1],
            file_idx: 0,
            offset: 0,
            size_bytes: 1,
        };
        let stated = stated.map(|method| SourceQuantization { method, name: "x".into(), bits: Some(4) });
        let mut checkpoint = Checkpoint {
            tensors: tensors.iter().map(tensor).collect(),
            config: Some(CheckpointConfig { quantization: stated, ..CheckpointConfig::default() }),
            ..Checkpoint::default()
        };
        settle_quantization(&mut checkpoint);
        (checkpoint.config.unwrap().quantization.map(|found| found.method), checkpoint.warnings.len())
    }

    #[test]
    fn tensors_tell_how_they_are_quantized() {
        use CheckpointDType::{BF16, F8_E4M3, F16, I32, I64, U8, U32};
        let floats = [("a.weight", BF16), ("a.position_ids", I64)];
        for method in [BitsAndBytes, Gptq, Awq, Mlx, Mxfp4, Other, QuantizationMethod::Fp8] {
            assert_eq!(settled(Some(method), &floats), (None, 1), "{method:?} is left over");
        }
        assert_eq!(settled(None, &floats), (None, 0));
        let check = |stated, tensors: &[(&str, CheckpointDType)], expected| {
            assert_eq!(settled(stated, tensors), (Some(expected), 0), "{tensors:?}");
        };
        check(None, &[("a.weight", U32), ("a.scales", BF16), ("a.biases", BF16)], Mlx);
        // What newer versions of mlx_lm write names no method.
        check(Some(Other), &[("a.weight", U32), ("a.scales", BF16)], Mlx);
        check(None, &[("a.qweight", I32), ("a.qzeros", I32), ("a.scales", F16), ("a.g_idx", I32)], Gptq);
        check(Some(Gptq), &[("a.qweight", I32), ("a.qzeros", I32), ("a.scales", F16), ("a.g_idx", I32)], Gptq);
        check(None, &[("a.qweight", I32), ("a.qzeros", I32), ("a.scales", F16)], Awq);
        check(None, &[("a.weight", U8), ("a.weight.absmax", U8)], BitsAndBytes);
        check(Some(BitsAndBytes), &[("a.weight", U8), ("a.weight.quant_state.bitsandbytes__nf4", U8)], BitsAndBytes);
        check(Some(Other), &[("a.weight_packed", I32)], Other);
        // Without `g_idx`, GPTQ and AutoRound have the same names as AWQ.
        check(Some(Gptq), &[("a.qweight", I32), ("a.qzeros", I32), ("a.scales", F16)], Gptq);
        check(Some(Other), &[("a.qweight", I32), ("a.qzeros", I32), ("a.scales", F16)], Other);
        check(None, &[("a_blocks", U8), ("a_scales", U8)], Mxfp4);
        check(Some(QuantizationMethod::Fp8), &[("a.weight", F8_E4M3)], QuantizationMethod::Fp8);
        check(Some(Gptq), &[], Gptq);
    }
}
