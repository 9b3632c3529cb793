//! `planish inspect` of a Hugging Face checkpoint.

use serde_json::{Value as Json, json};

use super::args::InspectParts;
use super::output::{columns_text, facts_text, print_json, print_text};
use super::tables::{metadata_json, metadata_text};
use crate::advise::CheckedCheckpoint;
use crate::convert::check_checkpoint;
use crate::error::Result;
use crate::model::{Checkpoint, CheckpointConfig};
use crate::{path_text, units};

/// Prints what the checkpoint is, and its checklist.
pub(super) fn inspect(checkpoint: Checkpoint, parts: InspectParts, as_json: bool) -> Result<()> {
    let checked = check_checkpoint(checkpoint);
    if as_json {
        return print_json(&checkpoint_json(&checked, parts));
    }
    let mut text = checkpoint_text(&checked, parts.tensors);
    if let (true, Some(model)) = (parts.metadata, &checked.model) {
        text.push_str(&metadata_text(&model.metadata));
    }
    print_text(&text)
}

fn checkpoint_text(checked: &CheckedCheckpoint, with_tensors: bool) -> String {
    let checkpoint = &checked.checkpoint;
    let mut facts = vec![
        ("name", checkpoint.name.clone()),
        ("path", path_text::shown(&checkpoint.path)),
        ("format", "Hugging Face checkpoint".into()),
        ("size", format!("{} ({})", units::bytes_text(checkpoint.size_bytes), units::exact_bytes_text(checkpoint.size_bytes))),
    ];
    let n_parameters = checkpoint.n_parameters();
    facts.push(("parameters", format!("{} ({})", units::parameters_text(n_parameters), units::count_text(n_parameters))));
    facts.push(("tensors", units::count_text(checkpoint.tensors.len() as u64)));
    facts.push(("files", units::count_text(checkpoint.files.len() as u64)));
    if let Some(config) = &checkpoint.config {
        facts.extend(config_facts(config));
    }
    let mut text = facts_text(&facts);
    text.push_str("\n\nChecklist (from headers and tokenizer, without the weights)\n");
    let rows: Vec<Vec<String>> = checked
        .checklist
        .items
        .iter()
        .map(|item| vec![item.state.label().to_string(), item.name.to_string(), item.text.clone()])
        .collect();
    text.push_str(&columns_text(&["state", "point", "what was found"], &rows, &[]));
    if with_tensors {
        text.push_str("\n\n");
        let rows: Vec<Vec<String>> = checkpoint
            .tensors
            .iter()
            .map(|tensor| {
                let shape = tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
                let name = tensor.name.escape_debug().to_string();
                vec![name, tensor.dtype.name().into(), shape, units::exact_bytes_text(tensor.size_bytes)]
            })
            .collect();
        text.push_str(&columns_text(&["tensor", "type", "shape", "size"], &rows, &[3]));
    }
    text
}

fn config_facts(config: &CheckpointConfig) -> Vec<(&'static str, String)> {
    let optional = |n: u64| if n == 0 { "-".to_string() } else { units::count_text(n) };
    let class_name = if config.class_name.is_empty() { config.model_type.clone() } else { config.class_name.clone() };
    let mut facts = vec![
        ("architecture", class_name),
        ("layers", optional(config.n_layers)),
        ("width", optional(config.n_embd)),
        ("feed-forward", optional(config.n_ff)),
        (
            "heads",
            format!(
                "{} query, {} key/value, dimension {}",
                optional(config.n_heads),
                optional(config.n_kv_heads),
                optional(config.head_dim)
            ),
        ),
        ("context", optional(config.n_ctx_train)),
        ("vocabulary", optional(config.n_vocab)),
        ("tied embeddings", if config.has_tied_embeddings { "yes" } else { "no" }.into()),
    ];
    if config.n_experts > 0 {
        facts.push(("experts", units::count_text(config.n_experts)));
    }
    if let Some(window) = config.sliding_window {
        facts.push(("sliding window", format!("{} tokens", units::count_text(window))));
    }
    if let Some(theta) = config.rope_theta {
        facts.push(("rope base", units::significant_text(theta)));
    }
    if let Some(scaling) = &config.rope_scaling {
        facts.push(("rope scaling", scaling.clone()));
    }
    facts
}

fn checkpoint_json(checked: &CheckedCheckpoint, parts: InspectParts) -> Json {
    let checkpoint = &checked.checkpoint;
    let config = checkpoint.config.as_ref().map(|config| {
        json!({
            "class_name": config.class_name,
            "model_type": config.model_type,
            "n_layers": config.n_layers,
            "n_embd": config.n_embd,
            "n_ff": config.n_ff,
            "n_heads": config.n_heads,
            "n_kv_heads": config.n_kv_heads,
            "head_dim": config.head_dim,
            "n_ctx_train": config.n_ctx_train,
            "n_vocab": config.n_vocab,
            "n_experts": config.n_experts,
            "sliding_window": config.sliding_window,
            "rope_theta": config.rope_theta,
            "rope_scaling": config.rope_scaling,
            "has_tied_embeddings": config.has_tied_embeddings,
            "torch_dtype": config.torch_dtype,
            "quantization": config.quantization.as_ref().map(|quantization| json!({
                "method": quantization.name, "bits": quantization.bits
            })),
        })
    });
    let dtypes = checkpoint.weights_by_dtype();
    let mut json = json!({
        "name": checkpoint.name,
        "path": path_text::to_text(&checkpoint.path),
        "format": "Hugging Face checkpoint",
        "can_be_converted": checked.model.is_some(),
        "files": checkpoint.files,
        "missing_files": checkpoint.missing_files,
        "pickle_files": checkpoint.pickle_files,
        "tokenizer_files": checkpoint.tokenizer_files,
        "tokenizer_class": checkpoint.tokenizer_class,
        "chat_template_file": checkpoint.chat_template_file,
        "has_generation_config": checkpoint.has_generation_config,
        "size_bytes": checkpoint.size_bytes,
        "n_parameters": checkpoint.n_parameters(),
        "n_tensors": checkpoint.tensors.len(),
        "dtypes": dtypes.iter().map(|(dtype, n_tensors, n_weights, size_bytes)| json!({
            "dtype": dtype.name(), "n_tensors": n_tensors, "n_weights": n_weights, "size_bytes": size_bytes
        })).collect::<Vec<_>>(),
        "config": config,
        "checklist": checked.checklist.items,
    });
    if let (true, Some(model)) = (parts.metadata, &checked.model) {
        json["metadata"] = metadata_json(&model.metadata);
    }
    if parts.tensors {
        let tensors = checkpoint.tensors.iter().map(|tensor| {
            json!({ "name": tensor.name, "dtype": tensor.dtype.name(), "shape": tensor.shape, "offset": tensor.offset,
                "size_bytes": tensor.size_bytes, "file_idx": tensor.file_idx })
        });
        json["tensors"] = tensors.collect::<Vec<_>>().into();
    }
    json
}
