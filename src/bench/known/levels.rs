//! Files and folders that were made from a model.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::bench::history::{FileIdentity, History};
use crate::convert::{Conversion, Manifest, manifest_path, output_path, source_sum, tensors_checksum};
use crate::error::Result;
use crate::format::{FOLDER_MANIFEST, Summary, TensorReader, read_gguf, summarize_gguf};
use crate::model::{Framework, Level, Model, RECIPE_KEY, SOURCE_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY, Tensor};
use crate::monitor::Monitor;
use crate::units;

/// The most folders that are looked into; the most GGUF files in all of them together, and the most entries of each that may be
/// MLX folders: a folder of downloads must not take seconds.
const MAX_FOLDERS: usize = 64;
const MAX_FILES: usize = 1000;
/// The largest model whose tensors are read to tell whether a file was made from it: some hundredths of a second.
const QUICK_BYTES: u64 = 64 << 20;
/// For a larger model only small tensors are compared: up to this size, and at most this many.
const SMALL_TENSOR_BYTES: u64 = 1 << 20;
const MAX_SMALL_TENSORS: usize = 16;

/// A GGUF file whose header says that it was made from another one.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) summary: Summary,
    /// Checksum of the tensors that it was made from.
    pub(super) source: String,
}

/// All files in these folders, and in those of noted conversions, that were made from the model.
///
/// A file carries the checksum of its source's tensors. The model's is known when something was made from it on this machine,
/// or when Planish made it; else a small model is read. For a large one the file's name or manifest must fit, and the names and
/// shapes of all tensors, and the small tensors that a conversion leaves as they are, must be the same.
pub(super) fn find(history: Option<&History>, model: &Model, folders: &[PathBuf]) -> Vec<Conversion> {
    let identity = FileIdentity::of(&model.files);
    let noted = history.zip(identity.as_ref()).and_then(|(history, identity)| history.conversions_of(identity).ok());
    let noted = noted.unwrap_or_default();
    let mut sums: BTreeSet<String> = noted.iter().map(|(_, sum)| sum.clone()).collect();
    sums.extend(own_sums(model));
    let noted_folders = noted.iter().filter_map(|(output, _)| Some(output.parent()?.to_path_buf()));
    let folders: Vec<PathBuf> = folders.iter().cloned().chain(noted_folders).collect();
    let folders_made = made_folders(model, &folders, &noted);
    let candidates = candidates(model, &folders);
    let (mut made, open): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| sums.contains(&candidate.source));
    let mut open: Vec<Candidate> = open.into_iter().filter(|candidate| has_same_shapes(model, candidate)).collect();
    let all = |made: &[Candidate]| {
        made.iter().filter_map(|candidate| conversion(model, candidate)).chain(folders_made.clone()).collect()
    };
    if open.is_empty() {
        return all(&made);
    }
    if model.tensor_bytes() <= QUICK_BYTES {
        let sum = tensors_checksum(model, &Monitor::silent()).map(|sum| sum.to_string());
        open.retain(|candidate| sum.as_ref() == Ok(&candidate.source));
        if let Some((history, identity)) = history.zip(identity.as_ref()) {
            for candidate in &open {
                if let Err(error) = history.remember_conversion(&candidate.path, identity, &candidate.source) {
                    tracing::warn!("{error}");
                }
            }
        }
    } else {
        open.retain(|candidate| is_named_after(model, candidate) && has_same_small_tensors(model, candidate).unwrap_or(false));
    }
    made.extend(open);
    all(&made)
}

/// The complete folders of MLX and ONNX Runtime in `folders` that were made from the model: those noted when they were made, and, for a small
/// checkpoint, those with the checksum of its tensors. Sorted by path.
fn made_folders(model: &Model, folders: &[PathBuf], noted: &[(PathBuf, String)]) -> Vec<Conversion> {
    let others = model.others.as_slice();
    if others.is_empty() {
        return Vec::new();
    }
    let is_small = !model.is_runnable() && model.tensor_bytes() <= QUICK_BYTES;
    let own_sums = OnceCell::new();
    let is_own = |sum: &str| {
        let sum_for = |framework| source_sum(&model.path, framework, &Monitor::silent()).ok().flatten();
        let own = || [Framework::OnnxRuntime, Framework::Mlx].map(|framework| sum_for(framework).map(|sum| sum.to_string()));
        is_small && own_sums.get_or_init(own).iter().flatten().any(|own| own == sum)
    };
    let mut seen = BTreeSet::new();
    let mut made = Vec::new();
    for folder in folders.iter().take(MAX_FOLDERS) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        // A link may lead to a folder.
        let subfolders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_file()));
        let paths = subfolders.take(MAX_FILES).map(|entry| entry.path());
        for path in paths.filter(|path| path.join(FOLDER_MANIFEST).is_file()) {
            if std::fs::canonicalize(&path).is_ok_and(|real| seen.insert(real)) {
                made.extend(made_folder(model, &path, noted, &is_own));
            }
        }
    }
    made.sort_by(|one, other| one.path.cmp(&other.path));
    made
}

fn made_folder(model: &Model, path: &Path, noted: &[(PathBuf, String)], is_own: &dyn Fn(&str) -> bool) -> Option<Conversion> {
    let manifest = Manifest::read(&path.join(FOLDER_MANIFEST)).ok().flatten()?;
    let (level, changes) = level_and_changes(&manifest.recipe)?;
    let is_usual = |size_bytes: u64| size_bytes == manifest.size_bytes || !changes.is_empty();
    model.others.iter().find(|other| other.level == level && is_usual(other.size_bytes))?;
    let source = manifest.source.blake3.to_string();
    let is_noted = noted.iter().any(|(_, sum)| *sum == source);
    let is_whole = |(name, size_bytes): (&str, u64)| path.join(name).metadata().is_ok_and(|found| found.len() == size_bytes);
    let are_whole = manifest.files.iter().all(|file| is_whole((&file.name, file.size_bytes)));
    (are_whole && (is_noted || is_own(&source))).then(|| Conversion {
        level,
        path: path.to_path_buf(),
        source: model.path.clone(),
        size_bytes: manifest.size_bytes,
        bits_per_weight: bits_of_folder(&manifest),
        elapsed_secs: 0.0,
        warnings: Vec::new(),
        check: None,
        changes: changes.to_string(),
    })
}

/// Source checksums that a file made from the model may carry, as far as the model's own header tells: its tensors', and, where
/// it holds every weight of what it was made from, its source's. None for a checkpoint.
fn own_sums(model: &Model) -> Vec<String> {
    if !model.is_runnable() {
        return Vec::new();
    }
    let text = |key: &str| model.metadata.str(key).map(std::borrow::Cow::into_owned);
    let of_source = text(SOURCE_CHECKSUM_KEY).filter(|_| !model.is_quantized());
    text(TENSORS_CHECKSUM_KEY).into_iter().chain(of_source).collect()
}

/// The GGUF files in these folders that say what they were made from, except the model's own and copies of it.
fn candidates(model: &Model, folders: &[PathBuf]) -> Vec<Candidate> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let own: BTreeSet<PathBuf> = model.files.iter().filter_map(|file| real(file)).collect();
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    let new = folders.iter().filter(|folder| real(folder).is_some_and(|folder| seen.insert(folder)));
    for folder in new.take(MAX_FOLDERS) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let gguf = names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")));
        paths.extend(gguf.map(|name| folder.join(name)).take(MAX_FILES.saturating_sub(paths.len())));
    }
    paths.sort();
    let candidate = |path: &PathBuf| {
        let summary = summarize_gguf(path).ok()?;
        let source = summary.metadata.str(SOURCE_CHECKSUM_KEY)?.into_owned();
        // A copy of the model is no level of it.
        let is_copy = model.is_runnable()
            && summary
                .metadata
                .str(TENSORS_CHECKSUM_KEY)
                .is_some_and(|sum| model.metadata.str(TENSORS_CHECKSUM_KEY) == Some(sum));
        let is_own = is_copy || real(path).is_some_and(|real| own.contains(&real));
        (!is_own).then(|| Candidate { path: path.clone(), summary, source })
    };
    paths.par_iter().filter_map(candidate).collect()
}

/// True when names and shapes of all tensors are the same: then the file may have been made from the model.
fn has_same_shapes(model: &Model, candidate: &Candidate) -> bool {
    let shapes = |tensors: &[Tensor]| -> BTreeMap<String, Vec<u64>> {
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
    };
    shapes(&model.tensors) == shapes(&candidate.summary.tensors)
}

/// True when the manifest beside the file names the model; without one, when the file has the name that a conversion gets.
fn is_named_after(model: &Model, candidate: &Candidate) -> bool {
    if let Some(manifest) = Manifest::read(&manifest_path(&candidate.path)).ok().flatten() {
        return model
            .path
            .file_name()
            .is_some_and(|own| crate::path_text::to_text(std::path::Path::new(own)) == manifest.source.name);
    }
    let expected = level_of(&candidate.summary).map(|(level, _)| output_path(model, level, Path::new("")));
    expected.is_some_and(|expected| expected.file_name() == candidate.path.file_name())
}

/// True when the small tensors that have the same type in both are the same: norms and biases, which differ from one model to
/// the next. False where there are none.
pub(super) fn has_same_small_tensors(model: &Model, candidate: &Candidate) -> Result<bool> {
    let file = read_gguf(&candidate.path)?;
    let (source, made) = (TensorReader::open(model)?, TensorReader::open(&file)?);
    let by_name: BTreeMap<&str, &Tensor> = file.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let pairs = model.tensors.iter().filter(|tensor| tensor.size_bytes <= SMALL_TENSOR_BYTES).filter_map(|tensor| {
        let other = by_name.get(tensor.name.as_str())?;
        (other.dtype == tensor.dtype && other.size_bytes == tensor.size_bytes).then_some((tensor, *other))
    });
    let mut n_same = 0;
    for (tensor, other) in pairs.take(MAX_SMALL_TENSORS) {
        let n_bytes = usize::try_from(tensor.size_bytes).unwrap_or(0);
        let (mut before, mut after) = (vec![0; n_bytes], vec![0; n_bytes]);
        source.read(tensor, 0, &mut before)?;
        made.read(other, 0, &mut after)?;
        if before != after {
            return Ok(false);
        }
        n_same += 1;
    }
    Ok(n_same > 0)
}

/// The level of a file, and the changes to its recipe as options of the command line.
fn level_of(summary: &Summary) -> Option<(Level, String)> {
    let recipe = summary.metadata.str(RECIPE_KEY)?.into_owned();
    level_and_changes(&recipe).map(|(level, changes)| (level, changes.to_string()))
}

/// `Q4_K_M --pure` as the level and what changes there.
fn level_and_changes(recipe: &str) -> Option<(Level, &str)> {
    let (level, changes) = recipe.split_once(' ').unwrap_or((recipe, ""));
    level.parse().ok().map(|level| (level, changes))
}

/// Tensor data in bits divided by the number of weights of a folder, as its manifest has them.
#[must_use]
pub fn bits_of_folder(manifest: &Manifest) -> f64 {
    let n_weights = |shape: &[u64]| shape.iter().fold(1, |n: u64, dim| n.saturating_mul(*dim));
    bits_per_weight(manifest.tensors.iter().map(|tensor| (tensor.size_bytes, n_weights(&tensor.shape))))
}

/// Bits per weight of tensors, given by their bytes and number of weights.
fn bits_per_weight(tensors: impl Iterator<Item = (u64, u64)>) -> f64 {
    let add =
        |(n_bytes, n_weights): (u64, u64), (bytes, weights)| (n_bytes.saturating_add(bytes), n_weights.saturating_add(weights));
    let (n_bytes, n_weights) = tensors.fold((0, 0), add);
    units::bits_per_weight(n_bytes, n_weights)
}

fn conversion(model: &Model, candidate: &Candidate) -> Option<Conversion> {
    let (level, changes) = level_of(&candidate.summary)?;
    Some(Conversion {
        level,
        path: candidate.path.clone(),
        source: model.path.clone(),
        size_bytes: candidate.summary.size_bytes,
        bits_per_weight: bits_per_weight(candidate.summary.tensors.iter().map(|tensor| (tensor.size_bytes, tensor.n_elements()))),
        elapsed_secs: 0.0,
        warnings: Vec::new(),
        check: None,
        changes,
    })
}

/// Takes the file that keeps every weight of a checkpoint out of `levels` and makes it their source; `None` where there is
/// none, and for a GGUF model.
pub(super) fn stand_in(model: &Model, levels: &mut Vec<Conversion>) -> Option<Arc<Model>> {
    let own = model.own_level().filter(|_| !model.is_runnable())?;
    let at = levels.iter().position(|made| made.level == own && made.changes.is_empty())?;
    let found = read_gguf(&levels.get(at)?.path).ok()?;
    levels.remove(at);
    for level in levels {
        level.source.clone_from(&found.path);
    }
    Some(Arc::new(found))
}

/// Notes in the user's history what was made from a model, so that it is found again wherever it was written. A failure costs
/// only that: it is logged and not shown.
pub fn remember_conversions(model: &Model, made: &[Conversion]) {
    let noted = History::open_default().and_then(|history| remember_in(&history, model, made));
    if let Err(error) = noted {
        tracing::warn!("conversions are not noted: {error}");
    }
}

/// Forgets a file that was taken away; its runs stay. A failure costs only that it is looked for in vain: it is logged and not shown.
pub fn forget_conversion(path: &Path) {
    if let Err(error) = History::open_default().and_then(|history| history.forget_conversion(path)) {
        tracing::warn!("a conversion is not forgotten: {error}");
    }
}

pub(super) fn remember_in(history: &History, model: &Model, made: &[Conversion]) -> Result<()> {
    let Some(identity) = FileIdentity::of(&model.files) else { return Ok(()) };
    for conversion in made {
        let sum = if conversion.path.is_dir() {
            Manifest::read(&conversion.path.join(FOLDER_MANIFEST))?.map(|manifest| manifest.source.blake3.to_string())
        } else {
            summarize_gguf(&conversion.path)?.metadata.str(SOURCE_CHECKSUM_KEY).map(std::borrow::Cow::into_owned)
        };
        if let Some(sum) = sum {
            let output = std::path::absolute(&conversion.path).unwrap_or_else(|_| conversion.path.clone());
            history.remember_conversion(&output, &identity, &sum)?;
        }
    }
    Ok(())
}
