//! What an MLX folder holds besides the weights.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::layout::pretty;
use crate::error::{Error, Result};
use crate::format::hf_config::{MAX_CONFIG_BYTES, read_any_small, read_small};
use crate::format::planned::PlannedFile;
use crate::format::python_json::from_python_json;
use crate::model::Checkpoint;
use crate::quant::mlx::Mode;

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

/// What an MLX folder takes from a checkpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SideFiles {
    /// All of `config.json`.
    pub config: Map<String, Value>,
    /// `(name, content)` of the files that are copied.
    pub copied: Vec<(String, Vec<u8>)>,
}

/// Reads the side files from a checkpoint's folder.
///
/// # Errors
/// `Error::Io`, `Error::NotAFile`, `Error::DamagedFile` for a file that is there and cannot be read or is far too large, and
/// for a missing `config.json`.
pub fn read_side_files(checkpoint: &Checkpoint) -> Result<SideFiles> {
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
    Ok(SideFiles { config, copied })
}

fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// `config.json` with the modes: `usual` for all matrices except those in `others`, which are paths with modes of their own.
/// Without a usual mode, the weights are not quantized.
///
/// Never `None` in practice: there is no value in it that JSON cannot hold.
#[must_use]
pub fn config_file(config: &Map<String, Value>, usual: Option<Mode>, others: &[(&str, Mode)]) -> Option<PlannedFile> {
    let mut config = config.clone();
    for key in ["_name_or_path", "vision_config", "quantization", "quantization_config"] {
        config.remove(key);
    }
    if let Some(usual) = usual {
        let Value::Object(mut quantization) = entry(usual) else { return None };
        quantization.extend(others.iter().map(|&(path, mode)| (path.to_string(), entry(mode))));
        for key in ["quantization", "quantization_config"] {
            config.insert(key.into(), Value::Object(quantization.clone()));
        }
    }
    Some(PlannedFile::whole("config.json", pretty(&Value::Object(config))?))
}

fn entry(mode: Mode) -> Value {
    json!({ "group_size": mode.group_len(), "bits": mode.bits(), "mode": mode.name() })
}

/// `README.md`: front matter that tells hubs and programs what the folder is, and a line that says how it was made.
#[must_use]
pub fn model_card(checkpoint: &Checkpoint, level: &str) -> PlannedFile {
    let text_of = |key: &str| checkpoint.card.get(key).and_then(Value::as_str).map(one_line);
    let mut lines = vec!["---".to_string()];
    for key in ["license", "license_name", "license_link"] {
        lines.extend(text_of(key).map(|text| format!("{key}: {}", json!(text))));
    }
    lines.extend(["library_name: mlx", "pipeline_tag: text-generation", "tags:", "- mlx"].map(String::from));
    // Only a name on the hub leads others to the model.
    let base = checkpoint.name.contains('/').then(|| format!("base_model: {}", json!(one_line(&checkpoint.name))));
    lines.extend(base);
    lines.push("---".into());
    let name = one_line(checkpoint.name.rsplit('/').next().unwrap_or_default());
    lines.push(format!("\n{name} for MLX, {level}. Made by Planish {}.\n", env!("CARGO_PKG_VERSION")));
    PlannedFile::whole("README.md", lines.join("\n").into_bytes())
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::mlx::Affine;

    fn mode(bits: u8) -> Mode {
        Mode::Affine(Affine::new(bits, 64).unwrap())
    }

    #[test]
    fn the_configuration_tells_the_modes() {
        let config = json!({ "model_type": "llama", "_name_or_path": "x", "quantization_config": { "quant_method": "fp8" } });
        let config = config.as_object().unwrap();
        let file = |usual, others: &[(&str, Mode)]| -> Value {
            serde_json::from_slice(&config_file(config, usual, others).unwrap().head).unwrap()
        };
        assert_eq!(file(None, &[]), json!({ "model_type": "llama" }));
        let expected = json!({
            "group_size": 64, "bits": 4, "mode": "affine",
            "lm_head": { "group_size": 64, "bits": 8, "mode": "affine" },
        });
        let found = file(Some(mode(4)), &[("lm_head", mode(8))]);
        assert_eq!((&found["quantization"], &found["quantization_config"]), (&expected, &expected));
    }

    #[test]
    fn the_card_names_the_model_and_its_licence() {
        let card = json!({ "license": "apache-2.0", "tags": ["x"] }).as_object().unwrap().clone();
        let checkpoint = Checkpoint { name: "org/Model\n---".into(), card, ..Checkpoint::default() };
        let text = String::from_utf8(model_card(&checkpoint, "mlx:4-bit-g64").head).unwrap();
        assert!(text.starts_with("---\nlicense: \"apache-2.0\"\nlibrary_name: mlx\n"), "{text}");
        assert!(text.contains("base_model: \"org/Model---\"\n---\n\nModel--- for MLX, mlx:4-bit-g64. Made by Planish"), "{text}");
    }
}
