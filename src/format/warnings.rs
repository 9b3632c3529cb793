//! What is odd about a model but no reason to refuse it.

use crate::model::{Model, OtherKind, QUANTIZED_SOURCE_KEY};
use crate::path_text::one_line;

/// Longest tensor name that llama.cpp loads (`GGML_MAX_NAME` less the final zero).
const MAX_NAME_BYTES: usize = 63;

/// One line for each oddity, in no particular order.
pub(super) fn of(model: &Model) -> Vec<String> {
    // For a file that is not a model, nothing else matters.
    match model.other_kind() {
        Some(OtherKind::Vocabulary | OtherKind::Settings) => {
            return vec!["no weights: this file holds a vocabulary or settings only".into()];
        }
        Some(kind) => return vec![format!("this is not a language model but {}", kind.name())],
        None => {}
    }
    let mut warnings = Vec::new();
    let shape = &model.hyperparameters;
    if shape.architecture.is_empty() {
        warnings.push("architecture unknown: general.architecture is missing, llama.cpp cannot run it".into());
    } else if shape.n_layers == 0 || shape.n_embd == 0 {
        warnings.push(format!(
            "no layer count or width for architecture {}: memory and speed cannot be predicted",
            one_line(&shape.architecture)
        ));
    }
    if let Some(kind) = model.metadata.str("general.type").filter(|kind| kind != "model") {
        warnings.push(format!("general.type says \"{}\", not \"model\"", one_line(&kind)));
    }
    if let Some(first) = model.metadata.str(QUANTIZED_SOURCE_KEY).filter(|_| !model.is_quantized()) {
        warnings.push(format!("decoded from {first}: what that lost stays lost, and a level made from it loses a second time"));
    }
    if let Some(long) = model.tensors.iter().find(|tensor| tensor.name.len() > MAX_NAME_BYTES) {
        warnings.push(format!(
            "tensor name {} is longer than {MAX_NAME_BYTES} bytes: llama.cpp refuses such a file",
            one_line(&long.name)
        ));
    }
    warnings
}
