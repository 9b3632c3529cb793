//! A Hugging Face checkpoint on disk: which files belong together, and what their headers say.
//!
//! Only names inside the folder are opened; a link that the user or the Hugging Face cache put there is followed.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::adapter::{adapter_in, adapter_kind};
use super::chat_template::chat_template_file;
use super::hf_config::{read_config, read_small};
use super::hub_cache::{Snapshot, snapshot_of};
use super::open::is_plain_name;
use super::python_json::from_python_json;
use super::quantized::settle_quantization;
use super::safetensors::{check_texts, json_error, read_safetensors};
use super::shard_index::{MAX_SHARDS, MAX_TENSORS, index_from_json};
use super::side_files::read_side_files;
use super::tied_head::{settle_missing_head, settle_tied_head};
use super::unfinished::unfinished_files;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, CheckpointTensor, QuantizationMethod, SourceQuantization};
use crate::path_text;

/// Name of the file that describes the network.
pub(super) const CONFIG_NAME: &str = "config.json";
/// How the name of an index of shards ends.
pub(super) const INDEX_ENDING: &str = ".safetensors.index.json";
const INDEX_NAME: &str = "model.safetensors.index.json";
const SINGLE_NAME: &str = "model.safetensors";
/// Largest index of shards that is read; the largest known ones have 9 MB.
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Largest `tokenizer_config.json` that is read: it may hold thousands of added tokens.
const MAX_TOKENIZER_CONFIG_BYTES: u64 = 16 << 20;
/// Most examples that are kept of one kind of problem.
const MAX_EXAMPLES: usize = 8;
/// Most entries of a folder that are looked at.
const MAX_FOLDER_ENTRIES: usize = 10_000;
/// Files that make or belong to a tokenizer.
const TOKENIZER_NAMES: [&str; 7] =
    ["tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json"];

/// Reads the headers of a checkpoint, given by its folder, `config.json`, index of shards, or one of its safetensors files.
///
/// What is missing or disagrees is recorded in the value; a file that is there and cannot be read is an error.
///
/// # Errors
/// As `read_safetensors` for the files; `Error::DamagedFile` for `config.json`, `tokenizer_config.json` and the index;
/// `Error::UnclearFolder` for several safetensors files that no index joins, and for a cache folder without a download;
/// `Error::Adapter` for an adapter without its base model; `Error::Pickle` for a folder with pickles and no `config.json`.
pub fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let is_folder = path.is_dir();
    let Snapshot { path: folder, note } =
        if is_folder { snapshot_of(path)? } else { Snapshot { path: parent_of(path), note: None } };
    let listed = Listing::read(&folder)?;
    let is_safetensors = !is_folder && !path.as_os_str().as_encoded_bytes().ends_with(b".json");
    if is_folder && let Some(error) = adapter_in(&folder, &listed) {
        return Err(error);
    }
    let picked = path.file_name().filter(|_| is_safetensors).map(OsStr::to_os_string);
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
        warnings: note.into_iter().chain(set.note.clone()).collect(),
        ..Checkpoint::default()
    };
    read_shards(&mut checkpoint, &folder, &set)?;
    if stands_alone && checkpoint.tensors.iter().all(|tensor| tensor.name.contains("lora_")) && !checkpoint.tensors.is_empty() {
        return Err(Error::Adapter { what: adapter_kind(&folder, &listed), path: path.to_path_buf() });
    }
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
        && let Some(&pickle) = listed.pickles().first()
    {
        return Err(Error::Pickle { what: "a PyTorch checkpoint", path: folder.join(pickle) });
    }
    checkpoint.pickle_files = listed.pickles().into_iter().map(|name| path_text::shown(Path::new(name))).collect();
    checkpoint.unfinished_files = unfinished_files(&folder, &listed);
    checkpoint.has_generation_config = listed.has("generation_config.json");
    read_side_files(&mut checkpoint, &folder, &|name| listed.has(name));
    read_tokenizer(&mut checkpoint, &folder, &listed)?;
    settle_quantization(&mut checkpoint);
    settle_missing_head(&mut checkpoint);
    settle_tied_head(&mut checkpoint)?;
    Ok(checkpoint)
}

/// The names in a folder, as bytes: files are opened by the name itself, and text is only for searching and for messages.
pub(super) struct Listing(BTreeSet<OsString>);

impl Listing {
    pub fn read(folder: &Path) -> Result<Self> {
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io("open", folder))?.take(MAX_FOLDER_ENTRIES) {
            names.insert(entry.map_err(Error::io("read", folder))?.file_name());
        }
        Ok(Self(names))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains(OsStr::new(name))
    }

    /// Each name, and its text for searching.
    pub fn names(&self) -> impl Iterator<Item = (&OsStr, Cow<'_, str>)> {
        self.0.iter().map(|name| (name.as_os_str(), path_text::searchable(name)))
    }

    /// Names of files that hold weights as pickles; not `training_args.bin` and the like, which hold no weights.
    fn pickles(&self) -> Vec<&OsStr> {
        let is_pickle = |name: &OsStr, text: &str| {
            let has_extension = |known: &str| Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(known));
            let is_side_file = ["training_args", "optimizer", "scheduler", "rng_state"].iter().any(|side| text.starts_with(side));
            !is_side_file && ["bin", "pt", "pth", "ckpt"].iter().any(|extension| has_extension(extension))
        };
        self.names().filter(|(name, text)| is_pickle(name, text)).map(|(name, _)| name).collect()
    }
}

/// The files that belong together.
#[derive(Debug, Default, PartialEq)]
struct ShardSet {
    /// Their names, in order.
    names: Vec<OsString>,
    /// Tensor → position in `names`, from an index.
    places: Option<HashMap<String, usize>>,
    /// True for a file that does not belong to the checkpoint in its folder.
    is_alone: bool,
    /// What the user should know about the choice.
    note: Option<String>,
}

impl ShardSet {
    fn of(names: Vec<OsString>) -> Self {
        Self { names, ..Self::default() }
    }

    fn alone(name: OsString) -> Self {
        Self { names: vec![name], is_alone: true, ..Self::default() }
    }
}

/// Finds out which files of a folder make up the checkpoint, from the index, else from their names.
fn shard_set(folder: &Path, listed: &Listing) -> Result<ShardSet> {
    let index = Some(OsStr::new(INDEX_NAME)).filter(|_| listed.has(INDEX_NAME));
    let index = index.or_else(|| listed.names().find(|(_, text)| text.ends_with(INDEX_ENDING)).map(|(name, _)| name));
    if let Some(index) = index {
        let set = read_index(&folder.join(index))?;
        if set.names.is_empty() || set.names.iter().any(|name| listed.0.contains(name)) {
            return Ok(set);
        }
        // The index may be left over from before the weights were joined or split again.
        let others = shard_set_by_name(folder, listed).unwrap_or_default();
        let is_named_so = |name: &OsString| name == SINGLE_NAME || numbered_name(name).is_some();
        let is_whole = others.names.iter().all(|name| listed.0.contains(name));
        let Some(first) = others.names.first().filter(|first| is_whole && is_named_so(first)) else { return Ok(set) };
        let [index, first] = [index, first].map(|name| path_text::shown(Path::new(name)));
        let note = format!("{index} is left over: none of the files that it names is there, {first} is taken instead");
        return Ok(ShardSet { note: Some(note), ..others });
    }
    shard_set_by_name(folder, listed)
}

/// `model.safetensors`, else the numbered files, else the only safetensors file; an empty set if there is none.
fn shard_set_by_name(folder: &Path, listed: &Listing) -> Result<ShardSet> {
    if listed.has(SINGLE_NAME) {
        return Ok(ShardSet::of(vec![SINGLE_NAME.into()]));
    }
    let files: Vec<&OsStr> = listed.names().filter(|(_, text)| text.ends_with(".safetensors")).map(|(name, _)| name).collect();
    let numbered: BTreeSet<(OsString, usize)> = files.iter().filter_map(|name| numbered_name(name)).collect();
    match (files.as_slice(), numbered.iter().next()) {
        (_, Some((stem, count))) if numbered.len() == 1 => {
            let named = |number: usize| {
                let mut name = stem.clone();
                name.push(format!("-{number:05}-of-{count:05}.safetensors"));
                name
            };
            Ok(ShardSet::of((1..=*count).map(named).collect()))
        }
        ([], _) => Ok(ShardSet::default()),
        ([only], _) => Ok(ShardSet::of(vec![only.to_os_string()])),
        (several, _) => Err(Error::UnclearFolder {
            what: format!("{} safetensors files and no index that says which belong together", several.len()),
            path: folder.to_path_buf(),
        }),
    }
}

/// `model` and 3 of `model-00001-of-00003.safetensors`.
fn numbered_name(name: &OsStr) -> Option<(OsString, usize)> {
    const END_BYTES: usize = "-00003-of-00003.safetensors".len();
    let end = name.as_encoded_bytes().last_chunk::<END_BYTES>().and_then(|end| std::str::from_utf8(end).ok())?;
    let (number, count) = end.strip_suffix(".safetensors")?.strip_prefix('-')?.split_once("-of-")?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = |text: &str| is_number(text).then(|| text.parse::<usize>().ok())?;
    let (number, count) = (digits(number)?, digits(count)?);
    ((1..=count).contains(&number) && count <= MAX_SHARDS).then(|| (path_text::without_end(name, END_BYTES), count))
}

fn read_index(path: &Path) -> Result<ShardSet> {
    let damaged = |what: String| Error::DamagedFile { format: "index of shards", what, path: path.to_path_buf() };
    let bytes = read_small(path, "index of shards", MAX_INDEX_BYTES)?;
    check_texts(&bytes).map_err(&damaged)?;
    let index = index_from_json(&bytes).map_err(|error| damaged(json_error(&error)))?;
    let Some(places) = index.places else { return Err(damaged("it has no weight_map".into())) };
    for name in &index.names {
        if !is_plain_name(name) {
            return Err(damaged(format!("it names a file that is not in its folder: {}", name.escape_debug())));
        }
    }
    // Files in the order of their names, which is the order of their numbers.
    let mut order: Vec<usize> = (0..index.names.len()).collect();
    order.sort_by(|&a, &b| index.names[a].cmp(&index.names[b]));
    let mut place_of = vec![0; order.len()];
    for (place, &idx) in order.iter().enumerate() {
        place_of[idx] = place;
    }
    Ok(ShardSet {
        names: order.iter().map(|&idx| OsString::from(&index.names[idx])).collect(),
        places: Some(places.into_iter().map(|(tensor, idx)| (tensor, place_of[idx])).collect()),
        ..ShardSet::default()
    })
}

/// Reads the header of each file that is there, and compares its tensors with the index.
fn read_shards(checkpoint: &mut Checkpoint, folder: &Path, set: &ShardSet) -> Result<()> {
    let mut places = Vec::new(); // in `set.names`, of each file that is there
    for (place, name) in set.names.iter().enumerate() {
        let path = folder.join(name);
        let (size_bytes, mut tensors) = match read_safetensors(&path) {
            Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => {
                checkpoint.missing_files.push(path_text::shown(Path::new(name)));
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

/// The first few tensor names that two files share, and the first few disagreements between files and index.
fn contradictions(tensors: &[CheckpointTensor], places: &[usize], set: &ShardSet) -> (Vec<String>, Vec<String>) {
    let (mut duplicates, mut index_errors) = (Vec::new(), Vec::new());
    let mut seen: HashSet<&str> = HashSet::new();
    let name_at = |place: usize| set.names.get(place).map_or(Cow::default(), |name| path_text::searchable(name));
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
    // A missing file is reported once, by its name, and not for each of its tensors.
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

/// The parts of `tokenizer_config.json` that are needed.
#[derive(Deserialize)]
struct TokenizerConfig {
    tokenizer_class: Option<String>,
    #[serde(default)]
    chat_template: serde_json::Value,
}

fn read_tokenizer(checkpoint: &mut Checkpoint, folder: &Path, listed: &Listing) -> Result<()> {
    checkpoint.tokenizer_files = TOKENIZER_NAMES.iter().filter(|name| listed.has(name)).map(ToString::to_string).collect();
    let name = "tokenizer_config.json";
    let mut stated = serde_json::Value::Null;
    if listed.has(name) {
        let path = folder.join(name);
        let bytes = read_small(&path, name, MAX_TOKENIZER_CONFIG_BYTES)?;
        let damaged = |what: String| Error::DamagedFile { format: "tokenizer_config.json", what, path: path.clone() };
        let config: TokenizerConfig = from_python_json(&bytes).map_err(damaged)?;
        checkpoint.tokenizer_class =
            config.tokenizer_class.map(|class| class.chars().filter(|c| !c.is_control()).take(64).collect());
        stated = config.chat_template;
    }
    checkpoint.chat_template_file = chat_template_file(folder, listed, &stated).map(String::from);
    Ok(())
}

/// `ORG/NAME` for a snapshot of the Hugging Face cache, else the folder's own name.
fn name_of(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let cached = absolute.ancestors().nth(2).filter(|_| absolute.parent().is_some_and(|parent| parent.ends_with("snapshots")));
    let cached = cached.map(file_name).and_then(|name| name.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)));
    cached.unwrap_or_else(|| file_name(&absolute))
}

fn file_name(path: &Path) -> String {
    path_text::file_name(path)
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
