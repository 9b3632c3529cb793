//! What a folder for another framework holds besides weights and graph: files copied from the checkpoint, and a card.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::hf_config::{MAX_CONFIG_BYTES, read_any_small, read_small};
use super::planned::PlannedFile;
use super::python_json::from_python_json;
use crate::error::{Error, Result};
use crate::model::Checkpoint;

/// Largest file that is copied; the largest tokenizers have 40 MB.
const MAX_COPIED_BYTES: u64 = 256 << 20;

/// Files that are copied as they are, if they are there.
const COPIED: [&str; 13] = [
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tekken.json",
];

/// What a folder takes from a checkpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FolderFiles {
    /// All of `config.json`.
    pub config: Map<String, Value>,
    /// `(name, content)` of the files that are copied.
    pub copied: Vec<(String, Vec<u8>)>,
}

impl FolderFiles {
    /// The copied files as those of an output.
    pub fn planned(&self) -> impl Iterator<Item = PlannedFile> {
        self.copied.iter().map(|(name, bytes)| PlannedFile::whole(name, bytes.clone()))
    }
}

/// Reads the side files from a checkpoint's folder.
///
/// # Errors
/// `Error::Io`, `Error::NotAFile`, `Error::DamagedFile` for a file that is there and cannot be read or is far too large, and
/// for a missing `config.json`.
pub fn read_folder_files(checkpoint: &Checkpoint) -> Result<FolderFiles> {
    let folder = checkpoint.path.as_path();
    let path = folder.join("config.json");
    let bytes = read_small(&path, "config.json", MAX_CONFIG_BYTES)?;
    let config = from_python_json(&bytes).map_err(|what| Error::DamagedFile { format: "config.json", what, path })?;
    let mut copied = Vec::new();
    for name in COPIED {
        let path = folder.join(name);
        if is_there(&path) {
            copied.push((name.to_string(), read_any_small(&path, "file of a checkpoint", MAX_COPIED_BYTES)?));
        }
    }
    Ok(FolderFiles { config, copied })
}

fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// `config.json` without what it says of where it was and how it was quantized.
#[must_use]
pub fn plain_config(config: &Map<String, Value>) -> Map<String, Value> {
    let mut config = config.clone();
    for key in ["_name_or_path", "vision_config", "quantization", "quantization_config"] {
        config.remove(key);
    }
    config
}

/// JSON with four spaces, as Python's `json.dump(…, indent=4)`. Never `None` in practice: there is no value that JSON cannot hold.
#[must_use]
pub fn pretty_json(value: &Value) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    serde::Serialize::serialize(value, &mut serde_json::Serializer::with_formatter(&mut text, formatter)).ok()?;
    Some(text)
}

/// `README.md`: front matter that tells hubs and programs what the folder is, `library` in their words, and a line that says how it
/// was made, for a `framework` in a person's words.
#[must_use]
pub fn model_card(checkpoint: &Checkpoint, library: &str, framework: &str, level: &str) -> PlannedFile {
    let text_of = |key: &str| checkpoint.card.get(key).and_then(Value::as_str).map(one_line);
    let mut lines = vec!["---".to_string()];
    for key in ["license", "license_name", "license_link"] {
        lines.extend(text_of(key).map(|text| format!("{key}: {}", json!(text))));
    }
    lines.extend([format!("library_name: {library}"), "pipeline_tag: text-generation".into(), "tags:".into()]);
    lines.push(format!("- {library}"));
    // Only a name on the hub leads others to the model.
    let base = checkpoint.name.contains('/').then(|| format!("base_model: {}", json!(one_line(&checkpoint.name))));
    lines.extend(base);
    lines.push("---".into());
    let name = one_line(checkpoint.name.rsplit('/').next().unwrap_or_default());
    lines.push(format!("\n{name} for {framework}, {level}. Made by Planish {}.\n", env!("CARGO_PKG_VERSION")));
    PlannedFile::whole("README.md", lines.join("\n").into_bytes())
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_names_the_model_and_its_licence() {
        let card = json!({ "license": "apache-2.0", "tags": ["x"] }).as_object().unwrap().clone();
        let checkpoint = Checkpoint { name: "org/Model\n---".into(), card, ..Checkpoint::default() };
        let text = String::from_utf8(model_card(&checkpoint, "mlx", "MLX", "mlx:4-bit-g64").head).unwrap();
        assert!(text.starts_with("---\nlicense: \"apache-2.0\"\nlibrary_name: mlx\n"), "{text}");
        assert!(text.contains("base_model: \"org/Model---\"\n---\n\nModel--- for MLX, mlx:4-bit-g64. Made by Planish"), "{text}");
    }
}
