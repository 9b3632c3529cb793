//! Models that other programs have fetched into the local Hugging Face cache.
//!
//! Source of the layout: `huggingface_hub`'s guide "Understand caching", and `constants.py` there for the variables.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::hf_config::read_small;
use super::shard_name::{ShardName, may_be_gguf_model};
use crate::error::{Error, Result};
use crate::path_text;

/// Largest reference of the cache that is read: it holds a commit hash.
const MAX_REF_BYTES: u64 = 256;
/// Most models of the cache and most files of a model that are looked at: others write the cache.
const MAX_MODELS: usize = 500;
const MAX_FILES: usize = 2000;
/// What a model's folder in the cache is called: `models--ORG--NAME`. Beside it lie data sets and locks.
const MODEL_PREFIX: &str = "models--";

/// A model in the cache that Planish can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// `ORG/NAME`; for a GGUF file `ORG/NAME/FILE`.
    pub name: String,
    /// The checkpoint's folder, or the GGUF file.
    pub path: PathBuf,
    /// Size of its weights in bytes; of a split GGUF model, that of all parts that are there.
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
    let is_model = |name: &OsStr| name.as_encoded_bytes().starts_with(MODEL_PREFIX.as_bytes());
    for folder in entries(hub, is_model).into_iter().take(MAX_MODELS) {
        let name = path_text::file_name(&folder);
        let Some(name) = name.strip_prefix(MODEL_PREFIX).map(|name| name.replacen("--", "/", 1)) else { continue };
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
    let ends_in = |path: &Path, extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    let is_wanted = |name: &OsStr| {
        let path = Path::new(name);
        ends_in(path, "safetensors") || ends_in(path, "gguf") || name == "config.json"
    };
    let files: Vec<(PathBuf, u64)> = entries(snapshot, is_wanted)
        .into_iter()
        .take(MAX_FILES)
        .filter_map(|path| {
            std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file).map(|metadata| (path, metadata.len()))
        })
        .collect();
    let weights = || files.iter().filter(|file| ends_in(&file.0, "safetensors"));
    if weights().next().is_some() && files.iter().any(|file| file.0.ends_with("config.json")) {
        let size_bytes = weights().map(|file| file.1).sum();
        return vec![CachedModel { name: name.into(), path: snapshot.to_path_buf(), size_bytes }];
    }
    let gguf = files.iter().filter(|file| file.0.file_name().is_some_and(may_be_gguf_model));
    gguf.map(|(path, size_bytes)| {
        let name = format!("{name}/{}", path_text::file_name(path));
        let size_bytes = size_of_parts(path, &files).unwrap_or(*size_bytes);
        CachedModel { name, path: path.clone(), size_bytes }
    })
    .collect()
}

/// The size of all parts of a split model that are among `files`; `None` for a file that is no part.
fn size_of_parts(path: &Path, files: &[(PathBuf, u64)]) -> Option<u64> {
    let part = ShardName::parse(path)?;
    let is_part = |other: &Path| ShardName::parse(other).is_some_and(|other| ShardName { number: part.number, ..other } == part);
    Some(files.iter().filter(|file| is_part(&file.0)).map(|file| file.1).fold(0, u64::saturating_add))
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
    let mut all: Vec<PathBuf> = entries(&snapshots, |_| true).into_iter().filter(|path| path.is_dir()).collect();
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

/// What in a folder has a name that is wanted, sorted.
fn entries(folder: &Path, is_wanted: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let wanted = entries.flatten().filter(|entry| is_wanted(&entry.file_name()));
    // More than the callers take, so that what is taken depends on the names and not on the order on the disk.
    let mut paths: Vec<PathBuf> = wanted.take(10 * MAX_FILES).map(|entry| entry.path()).collect();
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
        put("models--bob--big-GGUF/snapshots/d/big-Q4_K_M-00002-of-00002.gguf", 9);
        put("models--bob--big-GGUF/snapshots/d/big-Q8_0.gguf", 7);
        put("models--bob--big-GGUF/snapshots/d/mmproj-big-F16.gguf", 3);
        // Data sets come before models, and take no model's place.
        for number in 0..MAX_MODELS {
            std::fs::create_dir(hub.path().join(format!("datasets--ada--text{number}"))).unwrap();
        }
        put("models--ada--empty/refs/main", 3);
        let found: Vec<(String, u64)> =
            cached_models(hub.path()).into_iter().map(|model| (model.name, model.size_bytes)).collect();
        let expected = [("ada/tiny", 30), ("bob/big-GGUF/big-Q4_K_M-00001-of-00002.gguf", 14), ("bob/big-GGUF/big-Q8_0.gguf", 7)];
        assert_eq!(found, expected.map(|(name, size)| (name.to_string(), size)));
        assert_eq!(cached_models(&hub.path().join("nothing")), []);
    }
}
