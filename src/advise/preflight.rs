//! What can be done with a model, from its headers alone.

use serde::Serialize;

use crate::model::{Framework, Level, Model, Preset};
use crate::units::count_of;

/// One framework and what it can do with the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreflightRow {
    /// The framework.
    pub framework: Framework,
    /// True when this version can write the model for it.
    pub is_possible: bool,
    /// Which levels, or why none.
    pub text: String,
}

/// A row for each framework, in the order of `Framework::ALL`.
#[must_use]
pub fn preflight(model: &Model) -> Vec<PreflightRow> {
    Framework::ALL
        .into_iter()
        .map(|framework| match framework {
            Framework::LlamaCpp => llama_cpp_row(model),
            Framework::Mlx | Framework::OnnxRuntime => folder_row(framework, model),
            other => PreflightRow {
                framework: other,
                is_possible: false,
                text: format!("needs {}; this version of Planish writes GGUF, ONNX and MLX", input_of(other)),
            },
        })
        .collect()
}

fn llama_cpp_row(model: &Model) -> PreflightRow {
    let row = |is_possible, text| PreflightRow { framework: Framework::LlamaCpp, is_possible, text };
    if let Some(kind) = model.other_kind() {
        return row(false, format!("this is {}: there is nothing to convert or to run", kind.name()));
    }
    if !model.obstacles.is_empty() {
        return row(false, format!("llama.cpp cannot load this file: {}", model.obstacles.join("; ")));
    }
    let undecodable =
        model.tensors.iter().find(|tensor| !crate::quant::can_dequantize(tensor.dtype) && tensor.dtype.is_quantized());
    if let Some(tensor) = undecodable {
        return row(false, format!("{} of type {} cannot be decoded by this version", tensor.name, tensor.dtype));
    }
    let n_fallbacks = super::recipe::recipe(model, Preset::Q4_K_M).n_fallbacks;
    let mut parts = vec![format!("{} levels from IQ1_S to F32", Level::of(Framework::LlamaCpp).len())];
    if n_fallbacks > 0 {
        let have = if n_fallbacks == 1 { "has" } else { "have" };
        parts.push(format!(
            "{} {have} rows that are not a multiple of 256, so k-quants fall back to larger types there",
            count_of(n_fallbacks, "tensor")
        ));
    }
    if model.is_quantized() {
        parts.push(format!("the source is {} already, so each level adds to that loss", super::own_name(model)));
    } else if let Some(first) = super::decoded_from(model) {
        parts.push(format!("the source was decoded from {first}, so each level adds to that loss"));
    }
    row(true, parts.join("; "))
}

/// The row of a framework whose folders are made of a checkpoint.
pub(super) fn folder_row(framework: Framework, model: &Model) -> PreflightRow {
    let row = |is_possible, text| PreflightRow { framework, is_possible, text };
    let Some(import) = &model.import else {
        return row(false, format!("needs {}, which this is not", input_of(framework)));
    };
    if let Some((_, why)) = import.hindrances.iter().find(|(hindered, _)| *hindered == framework) {
        return row(false, why.clone());
    }
    let levels = Level::of(framework);
    let ends = levels.clone().next_back().zip(levels.clone().next());
    let range = ends.map_or_else(String::new, |(smallest, largest)| format!("from {smallest} to {largest}, "));
    row(true, format!("{} levels {range}under All levels on Optimize", levels.len()))
}

/// What the framework's converters start from.
fn input_of(framework: Framework) -> &'static str {
    match framework {
        Framework::LlamaCpp => "a GGUF file",
        Framework::Qnn => "an ONNX model",
        Framework::OpenVino => "OpenVINO IR or an ONNX model",
        Framework::Mlx | Framework::OnnxRuntime => "a Hugging Face checkpoint",
    }
}
