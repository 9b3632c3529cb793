//! Collecting second moments: what error feedback needs to know of a model, kept in the user's cache folder for the next level.
//!
//! The model runs over the text in a child process, once or several times: the moments of all its layers may not fit into memory together.
//! What a run has collected is kept, so that a collection that was interrupted goes on after it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::imatrix::{DEFAULT_CHUNK_TOKENS, multiplied, stage_text, tensors, too_short};
use super::text::{Corpus, TextSource, mixed_corpus};
use super::text_kind::vocabulary_warning;
use crate::advise::{MOMENTS_MEMORY, n_moment_groups};
use crate::convert::{Overwrite, write_whole};
use crate::error::{Error, Result};
use crate::format::{MOMENTS_INDEX, MomentsIndex, TensorReader, read_imatrix};
use crate::model::{Model, layer_idx_of};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::moments::{MAX_COLUMNS, MomentSum};
use crate::runtime::text_plan::DRAWING;
use crate::runtime::work_folder::{WorkFolder, cache_folder, remove_older};
use crate::runtime::{self, CollectTask, Event, ImatrixTensor, MomentsTask, Request, RuntimeId, Task};

/// Tokens that moments are collected over by default: twice as many change the loss by 2 %, a quarter by 10 % (the sample, `Q3_K_M`).
pub const DEFAULT_TOKENS: u32 = 16_000;

/// The fewest tokens for a column of the widest matrix; with fewer, moments say more about the text than about the model.
const MIN_TOKENS_PER_COLUMN: f64 = 4.0;

/// Name of the folder in the user's cache.
const PURPOSE: &str = "second-moments";

/// Moments that were not used for so long are removed: they can be collected again.
const STALE: Duration = Duration::from_hours(30 * 24);

/// What to collect.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentsRequest<'a> {
    /// The model whose levels will be made: a GGUF file or a checkpoint.
    pub model: &'a Model,
    /// The text; `Bundled` is the calibration text.
    pub text: &'a TextSource,
    /// Percent of the tokens that come from the user's text; the others come from the bundled text.
    pub own_percent: u32,
    /// The most tokens of it.
    pub n_tokens: u32,
}

/// Second moments that are on the disk now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CollectedMoments {
    /// The index.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The text's name.
    pub text: String,
    /// Tokens of it.
    pub n_tokens: u64,
    /// True when they were there before.
    pub is_reused: bool,
    /// Time that it took, in seconds.
    pub elapsed_secs: f64,
    /// What the user should know: `2.1 tokens for a column of the widest matrix …`.
    pub warnings: Vec<String>,
}

/// The second moments that are there; `None` where none are, or not all of them.
///
/// # Errors
/// Those of [`mixed_corpus`] and of `TensorReader::open`.
pub fn known_moments(request: &MomentsRequest) -> Result<Option<CollectedMoments>> {
    let started = Instant::now();
    let folder = folder_of(request, &mixed_corpus(request.text, request.own_percent)?)?;
    let path = folder.join(MOMENTS_INDEX);
    // All of its files are looked at: moments that are not whole are collected again.
    let Ok(index) = read_imatrix(&path).and_then(|_| MomentsIndex::read(&path)) else { return Ok(None) };
    // The folder's age tells when it was used last; a cache that cannot be touched only ages sooner.
    let _ = std::fs::File::open(&folder).and_then(|folder| folder.set_modified(SystemTime::now()));
    Ok(Some(CollectedMoments { is_reused: true, ..collected(request.model, index, path, started) }))
}

/// Whether the second moments of a model on the bundled text are there, as far as their index tells; the folder's age stays.
#[must_use]
pub fn has_bundled_moments(model: &Model) -> bool {
    let request = MomentsRequest { model, text: &TextSource::Bundled, own_percent: 100, n_tokens: DEFAULT_TOKENS };
    let folder = mixed_corpus(request.text, request.own_percent).and_then(|corpus| folder_of(&request, &corpus));
    folder.is_ok_and(|folder| MomentsIndex::read(&folder.join(MOMENTS_INDEX)).is_ok())
}

/// Collects second moments. `runnable` is a GGUF file with the model's weights, which can be run.
///
/// # Errors
/// `Error::Cancelled`, with what is complete kept; `Error::RuntimeMissing` without llama.cpp; `Error::BadText` for a text that cannot be
/// used or is shorter than a chunk; what llama.cpp says, which for numbers that are not finite names the tensor; `Error::Io`.
pub fn collect_moments(request: &MomentsRequest, runnable: &Model, monitor: &Monitor) -> Result<CollectedMoments> {
    let started = Instant::now();
    runtime::check_available(RuntimeId::LlamaCpp)?;
    let corpus = mixed_corpus(request.text, request.own_percent)?;
    let folder = folder_of(request, &corpus)?;
    remove_older(&cache_folder(PURPOSE), STALE);
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let index = collect(request, runnable, &corpus, &folder, monitor)?;
    let path = folder.join(MOMENTS_INDEX);
    write_whole(&path, &index.to_json()?, Overwrite::Allowed)?;
    let _ = std::fs::remove_file(unfinished(&folder));
    Ok(collected(request.model, index, path, started))
}

fn collected(model: &Model, index: MomentsIndex, path: PathBuf, started: Instant) -> CollectedMoments {
    CollectedMoments {
        path,
        n_tokens: index.n_tokens,
        warnings: warnings(model, &index),
        text: index.text,
        is_reused: false,
        elapsed_secs: started.elapsed().as_secs_f64(),
    }
}

impl CollectedMoments {
    /// After an error that says that they are damaged: forgets them, so that they are collected again the next time.
    pub fn forget_if_damaged(&self, error: &Error) {
        let is_inside = |path: &Path| self.path.parent().is_some_and(|folder| path.starts_with(folder));
        if matches!(error, Error::BadImatrix { path, .. } | Error::Io { path, .. } if is_inside(path)) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The index of what an interrupted collection has.
fn unfinished(folder: &Path) -> PathBuf {
    folder.join("unfinished.json")
}

fn collect(request: &MomentsRequest, model: &Model, corpus: &Corpus, folder: &Path, monitor: &Monitor) -> Result<MomentsIndex> {
    let work = WorkFolder::new("moments")?;
    let wanted: Vec<&str> = multiplied(model).collect();
    let tensors: Vec<_> = tensors(model).into_iter().filter(|tensor| wanted.contains(&tensor.name.as_str())).collect();
    let n_groups = n_moment_groups(model);
    // What an earlier run has left counts only where it is of the same format.
    let begun = MomentsIndex::read(&unfinished(folder)).ok();
    let is_there = |name: &str| begun.iter().flat_map(|index| &index.sites).any(|site| site.tensors.iter().any(|of| of == name));
    let limit = (model.tensor_bytes() / 2).clamp(MOMENTS_MEMORY.0, MOMENTS_MEMORY.1);
    let passes = passes(&tensors, n_groups, limit, is_there);
    let corpus_path = work.path().join("text.json");
    corpus.write(&corpus_path)?;
    let task = CollectTask {
        path: model.files.first().unwrap_or(&model.path).clone(),
        corpus_path,
        sums_path: PathBuf::new(),
        tensors,
        n_ctx: DEFAULT_CHUNK_TOKENS,
        max_chunks: Some((request.n_tokens / DEFAULT_CHUNK_TOKENS).max(1)),
        is_encoder: model.hyperparameters.is_encoder,
        by_attention: true,
        moments: Some(MomentsTask { folder: folder.to_path_buf(), passes, n_groups }),
        n_threads: runtime::default_n_threads(),
    };
    let begun = begun.unwrap_or_else(|| MomentsIndex::new(&corpus.name, &corpus.sha256, 0, DEFAULT_CHUNK_TOKENS));
    run(task, begun, corpus, folder, monitor)
}

/// Runs the child to its end; each of its runs over the text is noted when its moments are on the disk.
fn run(task: CollectTask, begun: MomentsIndex, corpus: &Corpus, folder: &Path, monitor: &Monitor) -> Result<MomentsIndex> {
    let mut index = begun;
    let n_passes = task.moments.as_ref().map_or(0, |moments| moments.passes.len());
    let needed = task.n_ctx;
    if n_passes == 0 {
        return Ok(index);
    }
    monitor.report(Progress { stage: "load the model".into(), done: 0, total: 0, unit: ProgressUnit::Steps })?;
    runtime::run(&Request::llama_cpp(Task::Collect(task)), monitor, |event| {
        let (stage, done, total) = match event {
            Event::TextPlan { chunk_parts, n_tokens, .. } => {
                index.notes = notes(corpus, &chunk_parts, n_tokens, needed)?;
                let n_chunks = chunk_parts.len() as u64;
                index.n_tokens = n_chunks * u64::from(needed);
                ("second moments, chunk 1".into(), 0, n_chunks * n_passes as u64)
            }
            Event::CollectedChunk { n_done, n_chunks, .. } => {
                (format!("second moments, {}", stage_text(n_done, n_chunks, &[])), u64::from(n_done), u64::from(n_chunks))
            }
            Event::MomentsWritten { sites } => {
                index.sites.extend(sites);
                return write_whole(&unfinished(folder), &index.to_json()?, Overwrite::Allowed);
            }
            _ => return Ok(()),
        };
        monitor.report(Progress { stage, done, total, unit: ProgressUnit::Steps })
    })?;
    Ok(index)
}

/// What is to be known about the chunks that were drawn, by the index of their part.
///
/// # Errors
/// `Error::BadText` when there are none, or none of the user's text.
fn notes(corpus: &Corpus, chunk_parts: &[u32], n_tokens: u64, chunk_tokens: u32) -> Result<Vec<String>> {
    let parts = &corpus.parts.parts;
    if chunk_parts.is_empty() {
        return Err(too_short(corpus, n_tokens, chunk_tokens));
    }
    let mut notes: Vec<String> = vocabulary_warning(corpus, n_tokens).into_iter().collect();
    if let Some(percent) = parts.first().map(|own| own.percent).filter(|percent| *percent > 0) {
        let n_own = chunk_parts.iter().filter(|part| **part == 0).count();
        if n_own == 0 {
            let problem = format!("your text has fewer tokens for this model than the {chunk_tokens} of a chunk");
            return Err(Error::BadText { problem, name: corpus.name.clone() });
        }
        let found = 100 * n_own / chunk_parts.len();
        // A chunk more or less is no reason to warn.
        if (n_own + 1) * 100 < percent as usize * chunk_parts.len() {
            notes.push(format!("your text is short: it gave {found} % of the tokens instead of {percent} %"));
        }
    }
    Ok(notes)
}

/// The tensors of each run over the text, so that their moments fit into `limit` bytes, as evenly as layers allow; without those that are
/// there.
fn passes(tensors: &[ImatrixTensor], n_groups: usize, limit: u64, is_there: impl Fn(&str) -> bool) -> Vec<Vec<usize>> {
    let mut passes: Vec<Vec<usize>> = Vec::new();
    let mut n_bytes = u64::MAX;
    let is_there = |idx: &usize| is_there(&tensors[*idx].name);
    let total: u64 = (0..tensors.len()).filter(|idx| !is_there(idx)).map(|idx| sum_bytes(&tensors[idx], n_groups)).sum();
    let share = total / total.div_ceil(limit.max(1)).max(1);
    let mut order: Vec<usize> = (0..tensors.len()).filter(|idx| !is_there(idx)).collect();
    // Layer by layer: what shares its inputs is in one run.
    order.sort_by_key(|&idx| (layer_of(&tensors[idx].name), idx));
    for layer in order.chunk_by(|&one, &other| layer_of(&tensors[one].name) == layer_of(&tensors[other].name)) {
        let needed = layer.iter().map(|&idx| sum_bytes(&tensors[idx], n_groups)).sum::<u64>();
        // A share is full with the layer that reaches it.
        let fits = n_bytes < share && n_bytes + needed <= limit;
        if let Some(pass) = passes.last_mut().filter(|_| fits) {
            pass.extend(layer);
            n_bytes += needed;
        } else {
            passes.push(layer.to_vec());
            n_bytes = needed;
        }
    }
    passes
}

/// The number of a tensor's layer; the greatest for tensors outside of layers, of which the head comes last.
fn layer_of(name: &str) -> u64 {
    layer_idx_of(name).unwrap_or(u64::MAX)
}

/// Bytes that the moments of a tensor take while they are collected.
fn sum_bytes(tensor: &ImatrixTensor, n_groups: usize) -> u64 {
    let is_of = |ends: &[&str]| ends.iter().any(|end| tensor.name.ends_with(end));
    // Gate has the inputs of up.
    if is_of(&[".ffn_gate.weight", ".ffn_gate_exps.weight"]) || tensor.n_columns > MAX_COLUMNS {
        return 0;
    }
    let n_parts = if is_of(&[".attn_k.weight", ".attn_v.weight"]) { n_groups as u64 } else { 1 };
    MomentSum::size_bytes(tensor.n_columns) * n_parts
}

#[allow(clippy::cast_precision_loss, reason = "a rounded number in a warning")]
fn warnings(model: &Model, index: &MomentsIndex) -> Vec<String> {
    let widest = index.sites.iter().filter(|site| site.n_parts > 0).map(|site| site.n_columns).max().unwrap_or(0);
    let per_column = index.n_tokens as f64 / widest.max(1) as f64;
    let mut warnings = index.notes.clone();
    if widest > 0 && per_column < MIN_TOKENS_PER_COLUMN {
        warnings.push(format!(
            "{per_column:.1} tokens for a column of the widest matrix are few: with more text they would lose less"
        ));
    }
    let without: Vec<&str> = multiplied(model)
        .filter(|name| !index.sites.iter().any(|site| site.n_parts > 0 && site.tensors.iter().any(|of| of == name)))
        .collect();
    if let Some(first) = without.first() {
        let names = if without.len() == 1 { (*first).to_string() } else { format!("{first} and {} more", without.len() - 1) };
        warnings.push(format!("without second moments, so encoded as in a plain level: {names}"));
    }
    warnings
}

fn folder_of(request: &MomentsRequest, corpus: &Corpus) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(TensorReader::open(request.model)?.stamps_checksum().to_string());
    hash.update(&corpus.sha256);
    hash.update(request.n_tokens.to_le_bytes());
    hash.update(DRAWING);
    // What one version has collected another one may not collect alike.
    hash.update(env!("CARGO_PKG_VERSION"));
    let key = runtime::hex(&hash.finalize());
    Ok(cache_folder(PURPOSE).join(key.get(..32).unwrap_or(&key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::{moment_columns, n_moment_runs};

    fn tensor(name: &str, n_columns: usize) -> ImatrixTensor {
        ImatrixTensor { name: name.into(), n_columns, n_matrices: 1, n_matrices_of_batch: 1 }
    }

    #[test]
    fn layers_share_runs_as_far_as_memory_reaches() {
        let names =
            ["output.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.0.attn_v.weight", "blk.10.ffn_up.weight"];
        let tensors = names.map(|name| tensor(name, 1000));
        let one = MomentSum::size_bytes(1000);
        let check = |limit: u64, there: &str, expected: &[&[usize]]| {
            assert_eq!(passes(&tensors, 2, limit, |name| name == there), expected, "{limit} {there}");
        };
        check(100 * one, "", &[&[1, 3, 2, 4, 0]]);
        check(4 * one, "", &[&[1, 3], &[2, 4, 0]]);
        // A layer that does not fit is still collected, alone.
        check(1, "", &[&[1, 3], &[2], &[4], &[0]]);
        check(100 * one, "blk.0.attn_v.weight", &[&[1, 2, 4, 0]]);
        assert!(passes(&[], 1, 1, |_| false).is_empty());
    }

    #[test]
    fn the_runs_that_a_time_is_predicted_for_are_those_that_are_made() {
        use crate::advise::test_models::{Decoder, LLAMA3_8B, SMOLLM2};
        for decoder in [SMOLLM2, LLAMA3_8B, Decoder { n_layers: 16, n_embd: 2048, n_ff: 8192, ..LLAMA3_8B }] {
            let model = decoder.build();
            let predicted: Vec<u64> = {
                let wanted: Vec<&str> = multiplied(&model).collect();
                let is_wanted = |tensor: &&crate::model::Tensor| wanted.contains(&tensor.name.as_str());
                model.tensors.iter().filter(is_wanted).flat_map(|tensor| moment_columns(&model, tensor)).collect()
            };
            let planner = crate::advise::Planner::new(&model);
            let of_all: Vec<u64> = model
                .tensors
                .iter()
                .enumerate()
                .filter(|(idx, _)| planner.is_quantizable(*idx))
                .flat_map(|(_, tensor)| moment_columns(&model, tensor))
                .collect();
            assert_eq!(predicted, of_all, "what is only looked up has no columns");
            let limit = (model.tensor_bytes() / 2).clamp(MOMENTS_MEMORY.0, MOMENTS_MEMORY.1);
            let names: Vec<&str> = multiplied(&model).collect();
            let collected: Vec<_> = tensors(&model).into_iter().filter(|of| names.contains(&of.name.as_str())).collect();
            let made = passes(&collected, n_moment_groups(&model), limit, |_| false).len() as u64;
            let runs = n_moment_runs(&model, &predicted);
            // Layers are not cut in two, so there can be a few more.
            assert!(runs <= made && made <= runs + 1 + runs / 4, "{runs} predicted, {made} made");
        }
    }

    #[test]
    fn a_text_that_is_short_or_foreign_is_told() {
        let own = TextSource::Pasted("a few words ".repeat(20));
        let check =
            |corpus: &Corpus, chunk_parts: &[u32], n_tokens: u64, expected: &str| match notes(corpus, chunk_parts, n_tokens, 512)
            {
                Ok(notes) => assert_eq!(notes.join("; "), expected),
                Err(Error::BadText { problem, .. }) => assert_eq!(problem, expected),
                Err(other) => panic!("{other}"),
            };
        let alone = mixed_corpus(&own, 100).unwrap();
        check(&alone, &[], 60, "it has 60 tokens for this model, and a chunk has 512");
        check(&alone, &[0, 0], 60, "");
        let foreign = "the model makes 300 tokens of the 240 characters of pasted text, so it has hardly learned this language; a text in \
                       one that it knows would say more";
        check(&alone, &[0, 0], 300, foreign);
        let half = mixed_corpus(&own, 50).unwrap();
        check(&half, &[0, 1, 0, 2], 90_000, "");
        check(&half, &[0, 1, 2], 90_000, "");
        check(&half, &[0, 1, 2, 3, 4, 5], 90_000, "your text is short: it gave 16 % of the tokens instead of 50 %");
        check(&half, &[1, 2, 3], 90_000, "your text has fewer tokens for this model than the 512 of a chunk");
        check(&mixed_corpus(&TextSource::Bundled, 50).unwrap(), &[1, 2, 3], 90_000, "");
    }

    #[test]
    fn gate_and_up_take_memory_once_and_values_for_each_group() {
        let check = |name: &str, expected: u64| {
            assert_eq!(sum_bytes(&tensor(name, 64), 3), expected * MomentSum::size_bytes(64), "{name}");
        };
        check("blk.0.ffn_up.weight", 1);
        check("blk.0.ffn_gate.weight", 0);
        check("blk.0.attn_v.weight", 3);
    }
}
