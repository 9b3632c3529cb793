//! Models that other programs have fetched into the local Hugging Face cache.
//!
//! Source of the layout: `huggingface_hub`'s guide "Understand caching", and `constants.py` there for the variables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::hf_config::read_small;
use super::shard_name::may_be_gguf_model;
use crate::error::{Error, Result};
use crate::path_text;

/// Largest reference of the cache that is read: it holds a commit hash.
const MAX_REF_BYTES: u64 = 256;
/// Most folders of the cache and most files of a model that are looked at: others write the cache.
const MAX_MODELS: usize = 500;
const MAX_FILES: usize = 2000;

/// A model in the cache that Planish can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// `ORG/NAME`; for a GGUF file `ORG/NAME/FILE`.
    pub name: String,
    /// The checkpoint's folder, or the GGUF file.
    pub path: PathBuf,
    /// Size of its weights in bytes; for a split GGUF model only the size of the first part.
    pub size_bytes: u64,
}

/// The folder of the cache, whether it exists or not; `None` where the system names no home folder.
#[must_use]
pub fn hub_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let home = || directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".cache"));
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("huggingface").join("hub")))
}

/// All models in the cache's folder, sorted by name; of several snapshots, the one that opening the model's folder takes. What
/// cannot be read is left out.
#[must_use]
pub fn cached_models(hub: &Path) -> Vec<CachedModel> {
    let mut found = Vec::new();
    for folder in entries(hub).into_iter().take(MAX_MODELS) {
        let name = path_text::file_name(&folder);
        let Some(name) = name.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)) else { continue };
        if folder.join("snapshots").is_dir()
            && let Ok(snapshot) = snapshot_of(&folder)
        {
            found.extend(models_of(&name, &snapshot.path));
        }
    }
    found.sort_by_key(|model| model.name.to_lowercase());
    found
}

/// The checkpoint in a snapshot, else its GGUF files; for a split model, the first part.
fn models_of(name: &str, snapshot: &Path) -> Vec<CachedModel> {
    let files: Vec<(PathBuf, u64)> = entries(snapshot)
        .into_iter()
        .take(MAX_FILES)
        .filter_map(|path| {
            std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file).map(|metadata| (path, metadata.len()))
        })
        .collect();
    let ends_in = |path: &Path, extension: &str| path.extension().is_some_and(|found| found == extension);
    let weights = || files.iter().filter(|file| ends_in(&file.0, "safetensors"));
    if weights().next().is_some() && files.iter().any(|file| file.0.ends_with("config.json")) {
        let size_bytes = weights().map(|file| file.1).sum();
        return vec![CachedModel { name: name.into(), path: snapshot.to_path_buf(), size_bytes }];
    }
    let gguf = files.iter().filter(|file| file.0.file_name().is_some_and(may_be_gguf_model));
    gguf.map(|(path, size_bytes)| {
        let name = format!("{name}/{}", path_text::file_name(path));
        CachedModel { name, path: path.clone(), size_bytes: *size_bytes }
    })
    .collect()
}

/// The folder that holds a model's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Where it is.
    pub path: PathBuf,
    /// What the user should know about the choice.
    pub note: Option<String>,
}

/// The folder itself; for a model's folder in the cache (`models--ORG--NAME`), the snapshot that `refs/main` names, else the
/// latest one with a `config.json`, else the latest one.
///
/// # Errors
/// `Error::UnclearFolder` for a model's folder into which nothing was downloaded.
pub(super) fn snapshot_of(folder: &Path) -> Result<Snapshot> {
    let snapshots = folder.join("snapshots");
    if !snapshots.is_dir() || folder.join("config.json").exists() {
        return Ok(Snapshot { path: folder.to_path_buf(), note: None });
    }
    if let Ok(hash) = read_small(&folder.join("refs").join("main"), "reference", MAX_REF_BYTES) {
        let hash = String::from_utf8_lossy(&hash).trim().to_string();
        let is_plain = !hash.is_empty() && hash.chars().all(|c| c.is_ascii_alphanumeric());
        if is_plain && snapshots.join(&hash).is_dir() {
            return Ok(Snapshot { path: snapshots.join(hash), note: None });
        }
    }
    let mut all: Vec<PathBuf> = entries(&snapshots).into_iter().filter(|path| path.is_dir()).collect();
    let age = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    // One with a description before one without, then the latest.
    all.sort_by_key(|path| (path.join("config.json").exists(), age(path), path.clone()));
    match all.pop() {
        None => Err(Error::UnclearFolder { what: "no snapshot in it, nothing was downloaded".into(), path: snapshots }),
        Some(path) => {
            let name = path_text::file_name(&path);
            let note = (!all.is_empty())
                .then(|| format!("there are {} snapshots and none is named main: {name} is taken", all.len() + 1));
            Ok(Snapshot { path, note })
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.take(10 * MAX_FILES).flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_and_gguf_files_are_listed_and_nothing_else() {
        let hub = tempfile::tempdir().unwrap();
        let put = |path: &str, n_bytes: usize| {
            let path = hub.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; n_bytes]).unwrap();
        };
        put("models--ada--tiny/snapshots/abc/config.json", 1);
        put("models--ada--tiny/snapshots/abc/model-00001-of-00002.safetensors", 10);
        put("models--ada--tiny/snapshots/abc/model-00002-of-00002.safetensors", 20);
        put("models--ada--pickled/snapshots/abc/pytorch_model.bin", 9);
        put("models--bob--big-GGUF/snapshots/d/big-Q4_K_M-00001-of-00002.gguf", 5);
        put("models--bob--big-GGUF/snapshots/d/big-Q4_K_M-00002-of-00002.gguf", 5);
        put("models--bob--big-GGUF/snapshots/d/big-Q8_0.gguf", 7);
        put("models--bob--big-GGUF/snapshots/d/mmproj-big-F16.gguf", 3);
        put("datasets--ada--text/snapshots/abc/config.json", 1);
        put("models--ada--empty/refs/main", 3);
        let found: Vec<(String, u64)> =
            cached_models(hub.path()).into_iter().map(|model| (model.name, model.size_bytes)).collect();
        let expected = [("ada/tiny", 30), ("bob/big-GGUF/big-Q4_K_M-00001-of-00002.gguf", 5), ("bob/big-GGUF/big-Q8_0.gguf", 7)];
        assert_eq!(found, expected.map(|(name, size)| (name.to_string(), size)));
        assert_eq!(cached_models(&hub.path().join("nothing")), []);
    }
}
