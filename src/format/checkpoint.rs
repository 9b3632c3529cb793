//! A Hugging Face checkpoint on disk: which files belong together, and what their headers say.
//!
//! Only names inside the folder are opened; a link that the user or the Hugging Face cache put there is followed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::hf_config::{read_config, read_small};
use super::safetensors::{check_texts, json_error, read_safetensors};
use super::shard_index::index_from_json;
use super::side_files::read_side_files;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, CheckpointTensor, QuantizationMethod, SourceQuantization};

/// Name of the description of the network.
pub(super) const CONFIG_NAME: &str = "config.json";
/// How the name of an index of shards ends.
pub(super) const INDEX_ENDING: &str = ".safetensors.index.json";
const INDEX_NAME: &str = "model.safetensors.index.json";
const SINGLE_NAME: &str = "model.safetensors";
/// Largest index of shards that is read; that of the largest checkpoints has 9 MB.
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Most files of one checkpoint.
pub(super) const MAX_SHARDS: usize = 2000;
/// Most tensors of one checkpoint. The largest have 100,000.
pub(super) const MAX_TENSORS: usize = 200_000;
/// Largest `tokenizer_config.json` that is read: it may hold thousands of added tokens.
const MAX_TOKENIZER_CONFIG_BYTES: u64 = 16 << 20;
/// How many of several like problems are kept.
const MAX_EXAMPLES: usize = 8;
/// Entries of a folder that are looked at.
const MAX_FOLDER_ENTRIES: usize = 10_000;
/// Longest commit hash in a reference of the cache.
const MAX_REF_BYTES: u64 = 256;
/// Files that make or belong to a tokenizer.
const TOKENIZER_NAMES: [&str; 7] =
    ["tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json"];

/// Reads the headers of a checkpoint, given by its folder, `config.json`, index of shards, or one of its safetensors files.
///
/// What is missing or disagrees is told in the value; only a file that is there and cannot be read is an error.
///
/// # Errors
/// As `read_safetensors` for the files; `Error::DamagedFile` for `config.json` and the index; `Error::UnclearFolder` for several
/// safetensors files that no index joins; `Error::Pickle` for a folder that holds pickles and no `config.json`.
pub fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let is_folder = path.is_dir();
    let folder = if is_folder { snapshot_of(path)? } else { parent_of(path) };
    let listed = Listing::read(&folder)?;
    let is_safetensors = !is_folder && !path.to_string_lossy().ends_with(".json");
    let picked = if is_safetensors { path.file_name().map(|name| name.to_string_lossy().into_owned()) } else { None };
    let set = match (shard_set(&folder, &listed), picked) {
        (Ok(set), Some(picked)) if !set.names.contains(&picked) => ShardSet::alone(picked),
        (Err(Error::UnclearFolder { .. }), Some(picked)) => ShardSet::alone(picked),
        (set, _) => set?,
    };
    // A file beside the set is judged by itself: the folder's description is about the set.
    let stands_alone = is_safetensors && !listed.has(CONFIG_NAME) || set.is_alone;
    let mut checkpoint = Checkpoint {
        path: if stands_alone { path.to_path_buf() } else { folder.clone() },
        name: if stands_alone { file_name(path) } else { name_of(&folder) },
        ..Checkpoint::default()
    };
    read_shards(&mut checkpoint, &folder, &set)?;
    if set.is_alone {
        return Ok(checkpoint);
    }
    if listed.has(CONFIG_NAME) {
        let mut config = read_config(&folder.join(CONFIG_NAME))?;
        // GPTQ wrote its settings into a file of its own before transformers knew it.
        if config.quantization.is_none() && listed.has("quantize_config.json") {
            let method = QuantizationMethod::Gptq;
            config.quantization = Some(SourceQuantization { method, name: "gptq".into(), bits: None });
        }
        checkpoint.config = Some(config);
    } else if checkpoint.files.is_empty()
        && let Some(pickle) = listed.pickles().first()
    {
        return Err(Error::Pickle { what: "a PyTorch checkpoint", path: folder.join(pickle) });
    }
    checkpoint.pickle_files = listed.pickles();
    checkpoint.has_generation_config = listed.has("generation_config.json");
    read_side_files(&mut checkpoint, &folder, &|name| listed.has(name));
    read_tokenizer(&mut checkpoint, &folder, &listed)?;
    Ok(checkpoint)
}

/// The names in a folder.
struct Listing(BTreeSet<String>);

impl Listing {
    fn read(folder: &Path) -> Result<Self> {
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io("open", folder))?.take(MAX_FOLDER_ENTRIES) {
            names.insert(entry.map_err(Error::io("read", folder))?.file_name().to_string_lossy().into_owned());
        }
        Ok(Self(names))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Weights as pickles; not `training_args.bin` and the like, which hold none.
    fn pickles(&self) -> Vec<String> {
        let is_pickle = |name: &&String| {
            let has_extension = |known: &str| Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(known));
            let is_side_file = ["training_args", "optimizer", "scheduler", "rng_state"].iter().any(|side| name.starts_with(side));
            !is_side_file && ["bin", "pt", "pth", "ckpt"].iter().any(|extension| has_extension(extension))
        };
        self.0.iter().filter(is_pickle).cloned().collect()
    }
}

/// The files that belong together.
#[derive(Debug, Default, PartialEq)]
struct ShardSet {
    /// Their names, in order.
    names: Vec<String>,
    /// Tensor → position in `names`, from an index.
    places: Option<HashMap<String, usize>>,
    /// True for a file that belongs to nothing in its folder.
    is_alone: bool,
}

impl ShardSet {
    fn of(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    fn alone(name: String) -> Self {
        Self { names: vec![name], places: None, is_alone: true }
    }
}

/// Finds out which files of a folder make the checkpoint: those of the index, else the single file, else numbered ones.
fn shard_set(folder: &Path, listed: &Listing) -> Result<ShardSet> {
    let index = listed.0.get(INDEX_NAME).or_else(|| listed.0.iter().find(|name| name.ends_with(INDEX_ENDING)));
    if let Some(index) = index {
        return read_index(&folder.join(index));
    }
    if listed.has(SINGLE_NAME) {
        return Ok(ShardSet::of(vec![SINGLE_NAME.into()]));
    }
    let files: Vec<&String> = listed.0.iter().filter(|name| name.ends_with(".safetensors")).collect();
    let numbered: BTreeSet<(String, usize)> = files.iter().filter_map(|name| numbered_name(name)).collect();
    match (files.as_slice(), numbered.iter().next()) {
        (_, Some((stem, count))) if numbered.len() == 1 => {
            Ok(ShardSet::of((1..=*count).map(|number| format!("{stem}-{number:05}-of-{count:05}.safetensors")).collect()))
        }
        ([], _) => Ok(ShardSet::default()),
        ([only], _) => Ok(ShardSet::of(vec![(*only).clone()])),
        (several, _) => Err(Error::UnclearFolder {
            what: format!("{} safetensors files and no index that says which belong together", several.len()),
            path: folder.to_path_buf(),
        }),
    }
}

/// `model` and 3 of `model-00001-of-00003.safetensors`.
fn numbered_name(name: &str) -> Option<(String, usize)> {
    let (rest, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<usize>().ok())?;
    let (number, count) = (digits(number)?, digits(count)?);
    ((1..=count).contains(&number) && count <= MAX_SHARDS).then(|| (stem.to_string(), count))
}

fn read_index(path: &Path) -> Result<ShardSet> {
    let damaged = |what: String| Error::DamagedFile { format: "index of shards", what, path: path.to_path_buf() };
    let bytes = read_small(path, "index of shards", MAX_INDEX_BYTES)?;
    check_texts(&bytes).map_err(&damaged)?;
    let index = index_from_json(&bytes).map_err(|error| damaged(json_error(&error)))?;
    let Some(places) = index.places else { return Err(damaged("it has no weight_map".into())) };
    for name in &index.names {
        let is_plain = !name.is_empty()
            && !name.contains(['/', '\\', ':'])
            && !name.chars().any(char::is_control)
            && name != "."
            && name != "..";
        if !is_plain {
            return Err(damaged(format!("it names a file that is not in its folder: {}", name.escape_debug())));
        }
    }
    // Files in the order of their names, which is that of their numbers.
    let mut order: Vec<usize> = (0..index.names.len()).collect();
    order.sort_by(|&a, &b| index.names[a].cmp(&index.names[b]));
    let mut place_of = vec![0; order.len()];
    for (place, &idx) in order.iter().enumerate() {
        place_of[idx] = place;
    }
    Ok(ShardSet {
        names: order.iter().map(|&idx| index.names[idx].clone()).collect(),
        places: Some(places.into_iter().map(|(tensor, idx)| (tensor, place_of[idx])).collect()),
        is_alone: false,
    })
}

/// Reads the header of each file that is there, and compares them with the index.
fn read_shards(checkpoint: &mut Checkpoint, folder: &Path, set: &ShardSet) -> Result<()> {
    let mut places = Vec::new(); // in `set.names`, of each file that is there
    for (place, name) in set.names.iter().enumerate() {
        let path = folder.join(name);
        let (size_bytes, mut tensors) = match read_safetensors(&path) {
            Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => {
                checkpoint.missing_files.push(name.clone());
                continue;
            }
            read => read?,
        };
        if checkpoint.tensors.len() + tensors.len() > MAX_TENSORS {
            let what = format!("more than {MAX_TENSORS} tensors in all files together");
            return Err(Error::DamagedFile { format: "checkpoint", what, path });
        }
        for tensor in &mut tensors {
            tensor.file_idx = places.len();
        }
        checkpoint.tensors.append(&mut tensors);
        checkpoint.size_bytes = checkpoint.size_bytes.saturating_add(size_bytes);
        checkpoint.files.push(path);
        places.push(place);
    }
    let (duplicates, index_errors) = contradictions(&checkpoint.tensors, &places, set);
    checkpoint.duplicates = duplicates;
    checkpoint.index_errors = index_errors;
    Ok(())
}

/// The first few names that two files have, and the first few disagreements of files and index.
fn contradictions(tensors: &[CheckpointTensor], places: &[usize], set: &ShardSet) -> (Vec<String>, Vec<String>) {
    let (mut duplicates, mut index_errors) = (Vec::new(), Vec::new());
    let mut seen: HashSet<&str> = HashSet::new();
    let name_at = |place: usize| set.names.get(place).map_or("", String::as_str);
    for CheckpointTensor { name, file_idx, .. } in tensors {
        if !seen.insert(name) {
            keep_example(&mut duplicates, || name.clone());
        }
        let (Some(index), Some(&place)) = (&set.places, places.get(*file_idx)) else { continue };
        match index.get(name) {
            None => keep_example(&mut index_errors, || format!("{name} of {} is not in the index", name_at(place))),
            Some(&other) if other != place => {
                keep_example(&mut index_errors, || format!("{name} is in {}, the index says {}", name_at(place), name_at(other)));
            }
            Some(_) => {}
        }
    }
    // What a missing file holds is told once, by its name.
    let is_lost = |tensor: &str, place: usize| places.binary_search(&place).is_ok() && !seen.contains(tensor);
    let index = set.places.iter().flatten();
    let mut lost: Vec<(&String, usize)> =
        index.map(|(tensor, &place)| (tensor, place)).filter(|(tensor, place)| is_lost(tensor, *place)).collect();
    lost.sort_unstable();
    for (tensor, place) in lost {
        keep_example(&mut index_errors, || format!("{tensor} is not in {}", name_at(place)));
    }
    (duplicates, index_errors)
}

fn keep_example(examples: &mut Vec<String>, text: impl FnOnce() -> String) {
    if examples.len() < MAX_EXAMPLES {
        examples.push(text());
    }
}

/// What is needed of `tokenizer_config.json`.
#[derive(Deserialize)]
struct TokenizerConfig {
    tokenizer_class: Option<String>,
    chat_template: Option<IgnoredAny>,
}

fn read_tokenizer(checkpoint: &mut Checkpoint, folder: &Path, listed: &Listing) -> Result<()> {
    checkpoint.tokenizer_files = TOKENIZER_NAMES.iter().filter(|name| listed.has(name)).map(ToString::to_string).collect();
    let template_files = ["chat_template.jinja", "chat_template.json"];
    checkpoint.chat_template_file = template_files.iter().find(|name| listed.has(name)).map(ToString::to_string);
    let name = "tokenizer_config.json";
    if listed.has(name) {
        let path = folder.join(name);
        let bytes = read_small(&path, name, MAX_TOKENIZER_CONFIG_BYTES)?;
        let damaged = |what: String| Error::DamagedFile { format: "tokenizer_config.json", what, path: path.clone() };
        check_texts(&bytes).map_err(&damaged)?;
        let config: TokenizerConfig = serde_json::from_slice(&bytes).map_err(|error| damaged(json_error(&error)))?;
        checkpoint.tokenizer_class =
            config.tokenizer_class.map(|class| class.chars().filter(|c| !c.is_control()).take(64).collect());
        if checkpoint.chat_template_file.is_none() && config.chat_template.is_some() {
            checkpoint.chat_template_file = Some(name.into());
        }
    }
    Ok(())
}

/// The folder itself; of a model's folder in the Hugging Face cache (`models--ORG--NAME`) the snapshot that `refs/main` names, else the
/// only one.
fn snapshot_of(folder: &Path) -> Result<PathBuf> {
    let snapshots = folder.join("snapshots");
    if !snapshots.is_dir() || folder.join(CONFIG_NAME).exists() {
        return Ok(folder.to_path_buf());
    }
    if let Ok(hash) = read_small(&folder.join("refs").join("main"), "reference", MAX_REF_BYTES) {
        let hash = String::from_utf8_lossy(&hash).trim().to_string();
        let is_plain = !hash.is_empty() && hash.chars().all(|c| c.is_ascii_alphanumeric());
        if is_plain && snapshots.join(&hash).is_dir() {
            return Ok(snapshots.join(hash));
        }
    }
    let names = Listing::read(&snapshots)?;
    match names.0.iter().collect::<Vec<_>>().as_slice() {
        [only] => Ok(snapshots.join(only)),
        several => {
            Err(Error::UnclearFolder { what: format!("{} snapshots and none named main", several.len()), path: snapshots })
        }
    }
}

/// `ORG/NAME` for a snapshot of the Hugging Face cache, else the folder's own name.
fn name_of(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let cached = absolute.ancestors().nth(2).filter(|_| absolute.parent().is_some_and(|parent| parent.ends_with("snapshots")));
    let cached = cached.map(file_name).and_then(|name| name.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)));
    cached.unwrap_or_else(|| file_name(&absolute))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()).into_owned()
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
