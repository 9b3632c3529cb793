//! Adapters: what fine-tuning adds to a base model that lies elsewhere.

use std::path::Path;

use super::checkpoint::Listing;
use super::hf_config::read_small;
use super::python_json::from_python_json;
use crate::error::Error;
use crate::path_text::one_line;

/// Largest `adapter_config.json` that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Name of the file that describes an adapter.
const NAME: &str = "adapter_config.json";

/// The error for a folder that holds an adapter and no weights of its base model; `None` for any other folder.
pub(super) fn adapter_in(folder: &Path, listed: &Listing) -> Option<Error> {
    let has_weights = listed.names().any(|(_, name)| {
        let is_weights = name.ends_with(".safetensors") || name.starts_with("pytorch_model");
        is_weights && !name.starts_with("adapter")
    });
    let is_adapter = listed.has(NAME) || listed.names().any(|(_, name)| name.starts_with("adapter_model."));
    (is_adapter && !has_weights).then(|| Error::Adapter { what: adapter_kind(folder, listed), path: folder.to_path_buf() })
}

/// Names an adapter for an error, as far as `adapter_config.json` tells: `a LoRA adapter of meta-llama/Llama-3.2-1B`.
pub(super) fn adapter_kind(folder: &Path, listed: &Listing) -> String {
    let entries = listed.has(NAME).then(|| read_small(&folder.join(NAME), NAME, MAX_BYTES).ok());
    let entries = entries.flatten().and_then(|bytes| from_python_json::<serde_json::Map<_, _>>(&bytes).ok()).unwrap_or_default();
    let text = |key: &str| {
        let text = entries.get(key).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty())?;
        Some(one_line(&text.chars().take(96).collect::<String>()).into_owned())
    };
    let kind = match text("peft_type").as_deref() {
        None | Some("LORA") => "a LoRA adapter".to_string(),
        Some(kind) => format!("a PEFT adapter ({kind})"),
    };
    text("base_model_name_or_path").map_or(kind.clone(), |base| format!("{kind} of {base}"))
}
