//! What can be run: a file, its shards, or a folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::gguf_reader::map::map_start;
use super::hf_config::read_small;
use super::inspect;
use super::open::open_regular;
use super::safetensors::{MAX_HEADER_BYTES, read_safetensors};
use crate::error::{Error, Result};
use crate::model::{CheckpointDType, Framework, Level, Model, Preset, RuntimeId};
use crate::path_text;

/// Name of the file in which a folder made by Planish describes itself; it is not part of the model.
pub const FOLDER_MANIFEST: &str = "planish.manifest.json";
const CONFIG: &str = "config.json";
const FORMAT: &str = "config.json";
const MAX_CONFIG_BYTES: u64 = 16 << 20;
const LENGTH_BYTES: usize = 8;

/// What a conversion writes and a runtime opens, as far as headers tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// The path as it was given: a file, any shard of several, or a folder.
    pub path: PathBuf,
    /// The framework that it is made for.
    pub framework: Framework,
    /// All files of the model: the shards of a GGUF file in order, or an MLX folder's weights and side files by name.
    pub files: Vec<PathBuf>,
    /// Size of all files together, in bytes.
    pub size_bytes: u64,
    /// The level that the header or `config.json` states; `None` if it states none that Planish has.
    pub level: Option<Level>,
    /// The data types of the tensors, for a person: `180 Q4_K, 31 Q6_K, imatrix chat.imatrix`, `affine, 4 bits, groups of 64`.
    pub recipe: String,
    /// The model in a GGUF file; `None` for an MLX folder.
    pub model: Option<Model>,
}

impl Artifact {
    /// Reads what a file or folder is.
    ///
    /// # Errors
    /// As [`inspect`]: `Error::CheckpointNotRunnable` for a folder that no runtime opens as it is. `Error::UnsupportedFormat`
    /// for an MLX folder with a program of its own.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(artifact) = mlx_folder(path)? {
            return Ok(artifact);
        }
        inspect(path).map(|model| Self::of_model(path, model))
    }

    /// The artifact for a GGUF model that has already been read.
    #[must_use]
    pub fn of_model(path: &Path, model: Model) -> Self {
        Self {
            path: path.to_path_buf(),
            framework: Framework::LlamaCpp,
            files: model.files.clone(),
            size_bytes: model.size_bytes,
            level: model.metadata.u64("general.file_type").and_then(Preset::from_file_type_id).map(Level::from),
            recipe: recipe_of_gguf(&model),
            model: Some(model),
        }
    }

    /// The runtime that runs it.
    ///
    /// # Errors
    /// `Error::RuntimeMissing` for a framework whose models Planish cannot run.
    pub fn runtime(&self) -> Result<RuntimeId> {
        RuntimeId::of(self.framework).ok_or_else(|| Error::RuntimeMissing {
            runtime: self.framework.name().into(),
            reason: "Planish knows no runtime for it".into(),
        })
    }

    /// What the runtime is given: the folder, or the first shard of a split model.
    #[must_use]
    pub fn run_path(&self) -> &Path {
        match (&self.model, self.files.first()) {
            (Some(_), Some(first)) => first,
            _ => &self.path,
        }
    }
}

/// How `config.json` says an MLX folder is quantized: `bits`, `group_size`, `mode`, and the same for each layer that differs.
type Quantization = serde_json::Map<String, serde_json::Value>;

#[derive(Deserialize)]
struct Config {
    quantization: Option<Quantization>,
    /// A Python program that computes the network; mlx-lm would run it.
    model_file: Option<serde_json::Value>,
}

/// Endings of the files beside the weights that belong to a model: configuration, tokenizer, chat template, card.
const SIDE_ENDINGS: [&str; 6] = ["json", "txt", "jinja", "model", "tiktoken", "md"];

/// How many tensors each data type has, the most frequent first, and the importance matrix where the header names one.
fn recipe_of_gguf(model: &Model) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for tensor in &model.tensors {
        let name = tensor.dtype.name();
        match counts.iter_mut().find(|count| count.0 == name) {
            Some(count) => count.1 += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by_key(|count| std::cmp::Reverse(count.1));
    let mut parts: Vec<String> = counts.into_iter().map(|(name, n)| format!("{n} {name}")).collect();
    parts.extend(model.metadata.str("quantize.imatrix.file").map(|file| format!("imatrix {file}")));
    parts.join(", ")
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

/// Reads a folder that mlx-lm saved, or Planish in the same way: the headers of its weights say so. `None` for anything else.
fn mlx_folder(path: &Path) -> Result<Option<Artifact>> {
    if !path.join(CONFIG).is_file() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("open", path))? {
        let entry = entry.map_err(Error::io("read", path))?;
        let name = path_text::searchable(&entry.file_name()).into_owned();
        // Follows links: the files in a Hugging Face cache are links.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if metadata.is_file() && name != FOLDER_MANIFEST && !name.starts_with('.') {
            files.push((name, entry.path(), metadata.len()));
        }
    }
    files.sort();
    let is_weights = |name: &str| name.starts_with("model") && name.ends_with(".safetensors");
    let is_beside = |name: &str| SIDE_ENDINGS.iter().any(|ending| Path::new(name).extension().is_some_and(|own| own == *ending));
    files.retain(|(name, _, _)| is_weights(name) || is_beside(name));
    let size_bytes = files.iter().fold(0_u64, |sum, (_, _, n_bytes)| sum.saturating_add(*n_bytes));
    let weights: Vec<&PathBuf> = files.iter().filter(|(name, ..)| is_weights(name)).map(|(_, path, _)| path).collect();
    let Some(first) = weights.first() else { return Ok(None) };
    if !is_saved_by_mlx(first)? {
        return Ok(None);
    }
    let mut is_bf16 = false;
    for file in &weights {
        is_bf16 |= read_safetensors(file)?.1.iter().any(|tensor| tensor.dtype == CheckpointDType::BF16);
    }
    let config: Config = serde_json::from_slice(&read_small(&path.join(CONFIG), FORMAT, MAX_CONFIG_BYTES)?).map_err(|error| {
        Error::DamagedFile { format: FORMAT, what: super::safetensors::json_error(&error), path: path.join(CONFIG) }
    })?;
    if config.model_file.is_some() {
        let what = "an MLX folder with a program of its own (model_file), which is never run".into();
        return Err(Error::UnsupportedFormat { what, path: path.to_path_buf() });
    }
    let quantization = config.quantization.unwrap_or_default();
    let name = level_name(&quantization).filter(|_| is_bf16 || !quantization.is_empty());
    let level = name.and_then(|name| name.parse().ok());
    let recipe = recipe_of_mlx(&quantization);
    let files = files.into_iter().map(|(_, path, _)| path).collect();
    Ok(Some(Artifact { path: path.to_path_buf(), framework: Framework::Mlx, files, size_bytes, level, recipe, model: None }))
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
    use super::super::safetensors::head_bytes;
    use super::*;
    use crate::model::{DType, Hyperparameters, Metadata, Tensor, Value};
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
    fn a_recipe_is_told_by_the_tensors_of_each_type() {
        let tensor = |dtype| Tensor { name: "t".into(), dtype, shape: vec![256], file_idx: 0, offset: 0, size_bytes: 144 };
        let mut metadata = Metadata::default();
        let mut model = Model {
            path: "m.gguf".into(),
            files: vec!["m.gguf".into()],
            size_bytes: 0,
            format_name: "GGUF v3".into(),
            alignment: 32,
            hyperparameters: Hyperparameters::from_metadata(&metadata),
            metadata: metadata.clone(),
            tensors: [DType::F32, DType::Q4_K, DType::Q4_K].map(tensor).to_vec(),
            warnings: Vec::new(),
            obstacles: Vec::new(),
            unknown: Vec::new(),
            import: None,
            others: Vec::new(),
        };
        let told = |model: &Model| {
            let artifact = Artifact::of_model(&model.path, model.clone());
            (artifact.recipe, artifact.level)
        };
        assert_eq!(told(&model), ("2 Q4_K, 1 F32".into(), None));
        metadata.set("general.file_type", Value::U32(Preset::Q4_K_M.file_type_id()));
        metadata.set("quantize.imatrix.file", Value::Str("chat.imatrix".into()));
        model.metadata = metadata;
        assert_eq!(told(&model), ("2 Q4_K, 1 F32, imatrix chat.imatrix".into(), Some(Level::Q4_K_M)));
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
