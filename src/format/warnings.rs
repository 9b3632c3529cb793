//! What is odd about a model but no reason to refuse it.

use crate::model::{Model, QUANTIZED_SOURCE_KEY, Value};

/// Longest tensor name that llama.cpp loads (`GGML_MAX_NAME` less the final zero).
const MAX_NAME_BYTES: usize = 63;

/// One line for each oddity, in no particular order of weight.
pub(super) fn of(model: &Model) -> Vec<String> {
    let mut warnings = Vec::new();
    let shape = &model.hyperparameters;
    if shape.architecture.is_empty() {
        warnings.push("architecture unknown: general.architecture is missing, llama.cpp cannot run it".into());
    } else if shape.n_layers == 0 || shape.n_embd == 0 {
        warnings.push(format!(
            "no layer count or width for architecture {}: memory and speed cannot be predicted",
            shape.architecture
        ));
    }
    match model.metadata.str("general.type") {
        Some(kind) if kind != "model" => warnings.push(format!("this is no language model on its own but its type is {kind:?}")),
        _ => {}
    }
    if !model.has_weights() {
        warnings.push("no weights: this file holds a vocabulary or settings only".into());
    }
    if model.metadata.find("tokenizer.ggml.model").is_none() {
        warnings.push("tokenizer missing: text cannot be turned into tokens".into());
    }
    if let Some(first) = model.metadata.str(QUANTIZED_SOURCE_KEY).filter(|_| !model.is_quantized()) {
        warnings.push(format!("decoded from {first}: what that lost stays lost, and a level made from it loses a second time"));
    }
    if let Some(warning) = vocabulary_mismatch(model) {
        warnings.push(warning);
    }
    if let Some(long) = model.tensors.iter().find(|tensor| tensor.name.len() > MAX_NAME_BYTES) {
        warnings.push(format!("tensor name {} is longer than {MAX_NAME_BYTES} bytes: llama.cpp refuses such a file", long.name));
    }
    warnings
}

fn vocabulary_mismatch(model: &Model) -> Option<String> {
    let Some(Value::Array(tokens)) = model.metadata.find("tokenizer.ggml.tokens") else { return None };
    let embeddings = model.tensors.iter().find(|tensor| tensor.name == "token_embd.weight")?;
    let (n_tokens, n_rows) = (tokens.len() as u64, embeddings.n_rows());
    (n_tokens != n_rows).then(|| format!("the tokenizer has {n_tokens} tokens but token_embd.weight has {n_rows} rows"))
}
