//! Folders for MLX.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::gguf_reader::map::map_start;
use super::super::hf_config::read_small;
use super::super::open::open_regular;
use super::super::safetensors::{MAX_HEADER_BYTES, json_error, read_safetensors};
use super::{Artifact, files_of, total_bytes};
use crate::error::{Error, Result};
use crate::model::{CheckpointDType, Framework};

const CONFIG: &str = "config.json";
const FORMAT: &str = "config.json";
const MAX_CONFIG_BYTES: u64 = 16 << 20;
const LENGTH_BYTES: usize = 8;

/// Reads a folder that mlx-lm saved, or Planish in the same way: the headers of its weights say so. `None` for anything else.
pub(super) fn mlx_folder(path: &Path) -> Result<Option<Artifact>> {
    if !path.join(CONFIG).is_file() {
        return Ok(None);
    }
    let mut files = files_of(path)?;
    let is_weights = |name: &str| name.starts_with("model") && name.ends_with(".safetensors");
    files.retain(|file| is_weights(&file.name) || file.is_beside());
    let size_bytes = total_bytes(&files);
    let weights: Vec<&PathBuf> = files.iter().filter(|file| is_weights(&file.name)).map(|file| &file.path).collect();
    let Some(first) = weights.first() else { return Ok(None) };
    if !is_saved_by_mlx(first)? {
        return Ok(None);
    }
    let mut is_bf16 = false;
    for file in &weights {
        is_bf16 |= read_safetensors(file)?.1.iter().any(|tensor| tensor.dtype == CheckpointDType::BF16);
    }
    let config: Config = serde_json::from_slice(&read_small(&path.join(CONFIG), FORMAT, MAX_CONFIG_BYTES)?)
        .map_err(|error| Error::DamagedFile { format: FORMAT, what: json_error(&error), path: path.join(CONFIG) })?;
    if config.model_file.is_some() {
        let what = "an MLX folder with a program of its own (model_file), which is never run".into();
        return Err(Error::UnsupportedFormat { what, path: path.to_path_buf() });
    }
    let quantization = config.quantization.unwrap_or_default();
    let name = level_name(&quantization).filter(|_| is_bf16 || !quantization.is_empty());
    let level = name.and_then(|name| name.parse().ok());
    let recipe = recipe_of_mlx(&quantization);
    let files = files.into_iter().map(|file| file.path).collect();
    Ok(Some(Artifact { path: path.to_path_buf(), framework: Framework::Mlx, files, size_bytes, level, recipe, model: None }))
}

/// How `config.json` says an MLX folder is quantized: `bits`, `group_size`, `mode`, and the same for each layer that differs.
type Quantization = serde_json::Map<String, serde_json::Value>;

#[derive(Deserialize)]
struct Config {
    quantization: Option<Quantization>,
    /// A Python program that computes the network; mlx-lm would run it.
    model_file: Option<serde_json::Value>,
}

fn recipe_of_mlx(quantization: &Quantization) -> String {
    if quantization.is_empty() {
        return "not quantized".into();
    }
    let number = |key: &str| quantization.get(key).and_then(serde_json::Value::as_u64);
    let mode = quantization.get("mode").and_then(serde_json::Value::as_str).unwrap_or("affine");
    let others = match n_others(quantization) {
        0 => String::new(),
        1 => ", 1 layer differs".into(),
        n => format!(", {n} layers differ"),
    };
    let bits = number("bits").map_or(String::new(), |bits| format!(", {bits} bits"));
    let groups = number("group_size").map_or(String::new(), |len| format!(", groups of {len}"));
    format!("{mode}{bits}{groups}{others}")
}

/// Number of layers that are quantized differently from the rest.
fn n_others(quantization: &Quantization) -> usize {
    let differs = |value: &serde_json::Value| {
        let own = value.as_object().into_iter().flatten();
        own.into_iter().any(|(key, value)| quantization.get(key).is_some_and(|usual| usual != value))
    };
    quantization.values().filter(|value| differs(value)).count()
}

/// Whether a safetensors file says that MLX wrote it.
fn is_saved_by_mlx(path: &Path) -> Result<bool> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: HashMap<String, String>,
    }
    let (file, size_bytes) = open_regular(path)?;
    let n_bytes = usize::try_from(size_bytes.min(LENGTH_BYTES as u64 + MAX_HEADER_BYTES)).unwrap_or(0);
    if n_bytes <= LENGTH_BYTES {
        return Ok(false);
    }
    let map = map_start(&file, n_bytes).map_err(Error::io("read", path))?;
    let Some((length, rest)) = map.split_first_chunk::<LENGTH_BYTES>() else { return Ok(false) };
    let json = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|n| rest.get(..n));
    // A damaged header is reported when the file is read as a checkpoint.
    let header = json.and_then(|json| serde_json::from_slice::<Header>(json).ok());
    Ok(header.is_some_and(|header| header.metadata.get("format").is_some_and(|format| format == "mlx")))
}

/// The name that a level with this quantization has or would have; `None` where layers differ.
fn level_name(quantization: &Quantization) -> Option<String> {
    if quantization.is_empty() {
        return Some("mlx:bf16".into());
    }
    if n_others(quantization) > 0 {
        return None;
    }
    let number = |key: &str| quantization.get(key).and_then(serde_json::Value::as_u64);
    match quantization.get("mode").and_then(serde_json::Value::as_str).unwrap_or("affine") {
        "affine" => Some(format!("mlx:{}-bit-g{}", number("bits")?, number("group_size")?)),
        mode => Some(format!("mlx:{mode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::safetensors::head_bytes;
    use super::super::FOLDER_MANIFEST;
    use super::*;
    use crate::model::Level;
    use crate::path_text;
    use serde_json::json;

    fn folder(format: &str, quantization: serde_json::Value) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let header = json!({ "__metadata__": { "format": format }, "a.weight": { "dtype": "BF16", "shape": [2], "data_offsets": [0, 4] } });
        let bytes = [head_bytes(header.as_object().unwrap()).unwrap(), vec![0; 4]].concat();
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        let mut config = json!({ "model_type": "llama" });
        if !quantization.is_null() {
            config["quantization"] = quantization;
        }
        std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
        std::fs::write(dir.path().join(FOLDER_MANIFEST), "{}").unwrap();
        std::fs::write(dir.path().join("other.gguf"), "GGUF").unwrap();
        std::fs::write(dir.path().join("adapters.safetensors"), "").unwrap();
        dir
    }

    #[test]
    fn folders_of_mlx_are_known_by_their_headers() {
        let check = |quantization: serde_json::Value, level: Option<&str>| {
            let dir = folder("mlx", quantization);
            let artifact = Artifact::open(dir.path()).unwrap();
            assert_eq!((artifact.framework, artifact.run_path()), (Framework::Mlx, dir.path()));
            assert_eq!(artifact.level.map(Level::name), level);
            let names: Vec<_> = artifact.files.iter().map(|path| path_text::file_name(path)).collect();
            assert_eq!(names, ["config.json", "model.safetensors"], "the manifest is no part of it");
        };
        check(json!(null), Some("mlx:bf16"));
        check(json!({ "group_size": 64, "bits": 4, "mode": "affine" }), Some("mlx:4-bit-g64"));
        check(json!({ "group_size": 32, "bits": 8 }), Some("mlx:8-bit-g32"));
        check(json!({ "group_size": 32, "bits": 4, "mode": "mxfp4" }), Some("mlx:mxfp4"));
        check(json!({ "group_size": 64, "bits": 4, "mode": "affine", "lm_head": false }), Some("mlx:4-bit-g64"));
        check(json!({ "group_size": 64, "bits": 2, "lm_head": { "group_size": 64, "bits": 6 } }), None);
        check(json!({ "group_size": 48, "bits": 4 }), None);
    }

    #[test]
    fn a_recipe_of_mlx_says_what_is_known() {
        let check = |quantization: serde_json::Value, expected: &str| {
            assert_eq!(recipe_of_mlx(quantization.as_object().unwrap()), expected);
        };
        check(json!({}), "not quantized");
        check(json!({ "group_size": 64, "bits": 4 }), "affine, 4 bits, groups of 64");
        check(json!({ "mode": "mxfp4" }), "mxfp4");
        check(json!({ "bits": 4, "lm_head": { "bits": 6 } }), "affine, 4 bits, 1 layer differs");
    }

    #[test]
    fn other_folders_are_checkpoints() {
        let dir = folder("pt", json!(null));
        assert_eq!(Artifact::open(dir.path()), Err(Error::CheckpointNotRunnable { path: dir.path().to_path_buf() }));
        let empty = tempfile::tempdir().unwrap();
        assert!(Artifact::open(empty.path()).is_err());
    }

    #[test]
    fn a_damaged_folder_is_told() {
        let dir = folder("mlx", json!({ "group_size": 64, "bits": 4 }));
        let weights = dir.path().join("model.safetensors");
        let bytes = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, &bytes[..bytes.len() - 2]).unwrap();
        assert!(matches!(Artifact::open(dir.path()), Err(Error::Truncated { .. })));
        std::fs::write(&weights, &bytes).unwrap();
        std::fs::write(dir.path().join(CONFIG), r#"{ "model_file": "model.py" }"#).unwrap();
        assert!(matches!(Artifact::open(dir.path()), Err(Error::UnsupportedFormat { .. })));
        std::fs::write(dir.path().join(CONFIG), "{").unwrap();
        assert!(matches!(Artifact::open(dir.path()), Err(Error::DamagedFile { .. })));
    }
}
