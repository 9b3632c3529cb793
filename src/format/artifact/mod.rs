//! What can be run: a file, its shards, or a folder.
//!
//! ```text
//! mlx   a folder that mlx-lm saved, or Planish in the same way
//! onnx  a folder for ONNX Runtime GenAI; onnx_summary reads what its network says about its weights
//! ```

mod mlx;
mod onnx;
mod onnx_summary;

use std::path::{Path, PathBuf};

use super::inspect;
use crate::error::{Error, Result};
use crate::model::{Framework, Level, Model, Preset, RuntimeId};
use crate::path_text;

/// Name of the file in which a folder made by Planish describes itself; it is not part of the model.
pub const FOLDER_MANIFEST: &str = "planish.manifest.json";

/// What a conversion writes and a runtime opens, as far as headers tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// The path as it was given: a file, any shard of several, or a folder.
    pub path: PathBuf,
    /// The framework that it is made for.
    pub framework: Framework,
    /// All files of the model: the shards of a GGUF file in order, or a folder's weights and side files by name.
    pub files: Vec<PathBuf>,
    /// Size of all files together, in bytes.
    pub size_bytes: u64,
    /// The level that the header, `config.json` or the network's file states; `None` if it states none that Planish has.
    pub level: Option<Level>,
    /// The data types of the tensors, for a person: `180 Q4_K, 31 Q6_K, imatrix chat.imatrix`, `affine, 4 bits, groups of 64`,
    /// `MatMulNBits, 4 bits, blocks of 32`.
    pub recipe: String,
    /// The model in a GGUF file; `None` for a folder.
    pub model: Option<Model>,
}

impl Artifact {
    /// Reads what a file or folder is.
    ///
    /// # Errors
    /// As [`inspect`]: `Error::CheckpointNotRunnable` for a folder that no runtime opens as it is. `Error::UnsupportedFormat`
    /// for an MLX folder with a program of its own, and for a folder of ONNX with several networks.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(artifact) = onnx::onnx_folder(path)? {
            return Ok(artifact);
        }
        if let Some(artifact) = mlx::mlx_folder(path)? {
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

/// Endings of the files beside the weights that belong to a model: configuration, tokenizer, chat template, card.
const SIDE_ENDINGS: [&str; 6] = ["json", "txt", "jinja", "model", "tiktoken", "md"];

/// A file of a folder.
struct FolderFile {
    name: String,
    path: PathBuf,
    size_bytes: u64,
}

impl FolderFile {
    /// Whether it belongs to a model beside its weights.
    fn is_beside(&self) -> bool {
        SIDE_ENDINGS.iter().any(|ending| Path::new(&self.name).extension().is_some_and(|own| own == *ending))
    }
}

/// The files of a folder by name, without the manifest and without hidden ones.
fn files_of(folder: &Path) -> Result<Vec<FolderFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("open", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = path_text::searchable(&entry.file_name()).into_owned();
        // Follows links: the files in a Hugging Face cache are links.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if metadata.is_file() && name != FOLDER_MANIFEST && !name.starts_with('.') {
            files.push(FolderFile { name, path: entry.path(), size_bytes: metadata.len() });
        }
    }
    files.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    Ok(files)
}

fn total_bytes(files: &[FolderFile]) -> u64 {
    files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Hyperparameters, Metadata, Tensor, Value};

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
}
