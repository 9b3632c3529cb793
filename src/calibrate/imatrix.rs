//! Collecting importances: a model runs over a text in a child process, and what its weights were multiplied by becomes a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::advise::Planner;
use crate::calibrate::text::{Corpus, TextSource, calibration_corpus};
use crate::calibrate::text_kind::vocabulary_warning;
use crate::convert::{Overwrite, check_target, fitting_imatrix, is_same_file, write_whole};
use crate::error::{Error, Result};
use crate::format::{self, ImatrixSums, UnusedExperts, merged_imatrix, read_imatrix_sums};
use crate::model::{Model, Text};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;
use crate::runtime::work_folder::WorkFolder;
use crate::runtime::{self, CollectTask, Event, ImatrixTensor, Request, RuntimeId, Task};
use crate::units::{count_of, small_percent_text};

/// Tokens per chunk by default. Source: `n_ctx` in `main` of tools/imatrix/imatrix.cpp, llama.cpp of 2026-08-21.
pub const DEFAULT_CHUNK_TOKENS: u32 = 512;
/// The shortest chunk: in a shorter one nearly all tokens lack what comes before them.
pub const MIN_CHUNK_TOKENS: u32 = 16;
/// The longest chunk.
pub const MAX_CHUNK_TOKENS: u32 = 16_384;

/// What to collect, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectRequest {
    /// The model: a GGUF file.
    pub model: PathBuf,
    /// The text to collect on; `Bundled` is the calibration text.
    pub text: TextSource,
    /// Tokens per chunk.
    pub n_ctx: u32,
    /// The largest number of chunks, drawn evenly over the kinds of the text; `None`: all that it has.
    pub max_chunks: Option<u32>,
    /// The file to write.
    pub out: PathBuf,
    /// What to do when it exists.
    pub existing: Existing,
    /// Whether keys and values count by the attention that their tokens receive, which loses less than counting all tokens alike, as
    /// llama-imatrix does; without effect for chunks of more than 512 tokens.
    pub by_attention: bool,
    /// Threads; `None`: one per physical core.
    pub n_threads: Option<u32>,
}

/// What to do with an importance matrix that exists under the name of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Refuse before any work.
    #[default]
    Refuse,
    /// Replace it when the new one is complete.
    Replace,
    /// Use it, if it fits this model, and collect nothing.
    Reuse,
}

impl Existing {
    fn overwrite(self) -> Overwrite {
        if self == Self::Replace { Overwrite::Allowed } else { Overwrite::Never }
    }
}

/// How much more text has changed the importances.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ImportanceChange {
    /// Chunks at this point, about twice as many as at the point before.
    pub n_chunks: u32,
    /// Part of the importance that lies in other columns than at the point before: see `Collector::change`.
    pub change: f64,
}

/// An importance matrix that is on the disk now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Collected {
    /// The file.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The model, or the files that were merged.
    #[serde(with = "crate::path_text")]
    pub sources: Vec<PathBuf>,
    /// The names of the texts, without folders.
    pub texts: Vec<String>,
    /// Tensors in the file.
    pub n_tensors: usize,
    /// Chunks of text.
    pub n_chunks: u32,
    /// Tokens per chunk; 0 where the file does not say.
    pub chunk_tokens: u32,
    /// The changes with each doubling of the text; empty for one chunk, for merged files and for a file that was there before.
    pub changes: Vec<ImportanceChange>,
    /// Tensors that levels change and that were multiplied by nothing, or by zeros alone: all their columns will count the same.
    pub unused_tensors: Vec<String>,
    /// Experts that the text did not reach: all their columns will count the same.
    pub unused_experts: Vec<UnusedExperts>,
    /// That the model hardly knows the language of the text; `None` where it does, and for files that were not collected now.
    pub foreign: Option<String>,
    /// True when nothing was collected because the file was there.
    pub is_reused: bool,
    /// Time that it took, in seconds.
    pub elapsed_secs: f64,
}

impl Collected {
    /// Tokens of all chunks together.
    #[must_use]
    pub fn n_tokens(&self) -> u64 {
        u64::from(self.n_chunks) * u64::from(self.chunk_tokens)
    }

    /// `importances changed by 1.80 % with the last doubling of the text`; `None` where that is not known.
    #[must_use]
    pub fn change_text(&self) -> Option<String> {
        let last = self.changes.last()?;
        Some(format!("importances changed by {} with the last doubling of the text", small_percent_text(last.change)))
    }

    /// What is wrong with the text, and what it did not reach, one line for tensors and one for experts.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.foreign.iter().cloned().collect();
        if let Some(first) = self.unused_tensors.first() {
            let names = match self.unused_tensors.len() {
                1 => format!("{first} was"),
                n => format!("{first} and {} were", count_of(n - 1, "more tensor")),
            };
            warnings.push(format!("{names} not used by the text: all columns count the same there"));
        }
        if let Some(first) = self.unused_experts.first() {
            let n_experts: usize = self.unused_experts.iter().map(|row| row.n_unused).sum();
            let was = if n_experts == 1 { "was" } else { "were" };
            let experts = format!("{} {was}", count_of(n_experts, "expert"));
            let first = format!("{} of {} in {}", first.n_unused, first.n_experts, first.tensor);
            warnings
                .push(format!("{experts} not reached by the text, {first}: all columns count the same there; more text helps"));
        }
        warnings
    }
}

/// Where the importance matrix of a model goes: `MODEL-NAME.imatrix.gguf`.
#[must_use]
pub fn imatrix_path(model: &Model, dir: &Path) -> PathBuf {
    let mut name = model.file_stem_os();
    name.push(".imatrix.gguf");
    dir.join(name)
}

/// Runs the model over the text and writes the importance matrix.
///
/// # Errors
/// `Error::Cancelled` with the child killed and nothing written; `Error::BadRequest`; `Error::OutputExists`; `Error::BadText` for a text
/// that cannot be used or is shorter than a chunk; `Error::CheckpointNotRunnable` for a checkpoint; what llama.cpp says, which for numbers
/// that are not finite names the tensor.
pub fn collect_imatrix(request: &CollectRequest, monitor: &Monitor) -> Result<Collected> {
    runtime::check_available(RuntimeId::LlamaCpp)?;
    collect_imatrix_with(&runtime::process::executable()?, request, monitor)
}

/// The same with a given `planish` executable: for programs that use the library without being `planish`, such as its tests.
///
/// # Errors
/// As [`collect_imatrix`].
pub fn collect_imatrix_with(exe: &Path, request: &CollectRequest, monitor: &Monitor) -> Result<Collected> {
    let started = Instant::now();
    check_request(request)?;
    let model = format::inspect(&request.model)?;
    if request.existing == Existing::Reuse && request.out.exists() {
        fitting_imatrix(&model, &request.out)?;
        let sums = read_imatrix_sums(&request.out)?;
        return Ok(Collected { is_reused: true, ..summary(&sums, request, &model, Seen::default(), started) });
    }
    let text = if let TextSource::File(path) = &request.text { Some(path) } else { None };
    check_out(&request.out, request.existing.overwrite(), model.files.iter().chain(text))?;
    let corpus = calibration_corpus(&request.text)?;
    let folder = WorkFolder::new("imatrix")?;
    let task = CollectTask {
        path: model.files.first().unwrap_or(&model.path).clone(),
        corpus_path: folder.path().join("text.json"),
        sums_path: folder.path().join("sums.gguf"),
        tensors: tensors(&model),
        n_ctx: request.n_ctx,
        max_chunks: request.max_chunks,
        is_encoder: model.hyperparameters.is_encoder,
        by_attention: request.by_attention,
        moments: None,
        n_threads: request.n_threads.unwrap_or_else(runtime::default_n_threads),
    };
    corpus.write(&task.corpus_path)?;
    let seen = run(exe, &Request::llama_cpp(Task::Collect(task.clone())), request, &corpus, monitor)?;

    let mut sums = read_imatrix_sums(&task.sums_path)?;
    sums.datasets = vec![Text::from(corpus.name.as_str())];
    monitor.check()?;
    write(&sums, &request.out, request.existing.overwrite())?;
    Ok(summary(&sums, request, &model, seen, started))
}

/// Adds up importance matrices of one model and writes the sum: see `format::merged_imatrix`.
///
/// # Errors
/// Those of `format::merged_imatrix`, `Error::OutputExists` and `Error::Io`.
pub fn merge_imatrices(paths: &[PathBuf], out: &Path, overwrite: Overwrite) -> Result<Collected> {
    let started = Instant::now();
    check_out(out, overwrite, paths)?;
    let sums = merged_imatrix(paths)?;
    write(&sums, out, overwrite)?;
    let (unused_tensors, unused_experts) = sums.unused();
    Ok(Collected { unused_tensors, ..collected(&sums, paths.to_vec(), out, unused_experts, started) })
}

fn check_request(request: &CollectRequest) -> Result<()> {
    if !(MIN_CHUNK_TOKENS..=MAX_CHUNK_TOKENS).contains(&request.n_ctx) {
        let message = format!("a chunk must have {MIN_CHUNK_TOKENS} to {MAX_CHUNK_TOKENS} tokens");
        return Err(Error::BadRequest { message });
    }
    if request.max_chunks == Some(0) {
        return Err(Error::BadRequest { message: "at least one chunk is needed".into() });
    }
    runtime::check_threads(request.n_threads)
}

/// Refuses an output that exists or cannot be written, and in any case one that is a source.
fn check_out<'a>(out: &Path, overwrite: Overwrite, sources: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    match sources.into_iter().find(|source| is_same_file(source, out)) {
        Some(source) => Err(Error::OutputIsSource { path: source.clone() }),
        None => check_target(out, overwrite),
    }
}

/// What a run over a text has shown beside the sums.
#[derive(Debug, Default)]
struct Seen {
    changes: Vec<ImportanceChange>,
    foreign: Option<String>,
}

/// Runs the child to its end and returns what it reported.
fn run(exe: &Path, task: &Request, request: &CollectRequest, corpus: &Corpus, monitor: &Monitor) -> Result<Seen> {
    let name = path_text::file_name(&request.model);
    let mut seen = Seen::default();
    monitor.report(Progress { stage: format!("load {name}"), done: 0, total: 0, unit: ProgressUnit::Steps })?;
    runtime::run_with(exe, task, monitor, |event| {
        let (stage, done, total) = match event {
            Event::TextPlan { chunk_parts, n_tokens, .. } if chunk_parts.is_empty() => {
                return Err(too_short(corpus, n_tokens, request.n_ctx));
            }
            Event::TextPlan { chunk_parts, n_tokens, .. } => {
                seen.foreign = vocabulary_warning(corpus, n_tokens);
                ("chunk 1".into(), 0, chunk_parts.len() as u64)
            }
            Event::CollectedChunk { n_done, n_chunks, change } => {
                seen.changes.extend(change.map(|change| ImportanceChange { n_chunks: n_done, change }));
                (stage_text(n_done, n_chunks, &seen.changes), u64::from(n_done), u64::from(n_chunks))
            }
            _ => return Ok(()),
        };
        monitor.report(Progress { stage, done, total, unit: ProgressUnit::Steps })
    })?;
    Ok(seen)
}

/// That a text has no chunk of so many tokens.
pub(super) fn too_short(corpus: &Corpus, n_tokens: u64, chunk_tokens: u32) -> Error {
    let problem = match corpus.parts.parts.len() {
        1 => format!("it has {n_tokens} tokens for this model, and a chunk has {chunk_tokens}"),
        n => format!("none of its {n} parts has the {chunk_tokens} tokens of a chunk, together they have {n_tokens}"),
    };
    Error::BadText { problem, name: corpus.name.clone() }
}

/// `chunk 12 of 40, the last doubling changed importances by 4.10 %`.
pub(super) fn stage_text(n_done: u32, n_chunks: u32, changes: &[ImportanceChange]) -> String {
    let at = format!("chunk {} of {n_chunks}", (n_done + 1).min(n_chunks));
    match changes.last() {
        Some(last) => format!("{at}, the last doubling changed importances by {}", small_percent_text(last.change)),
        None => at,
    }
}

/// All tensors that can be multiplied by something.
pub(super) fn tensors(model: &Model) -> Vec<ImatrixTensor> {
    let size = |dims: &[u64]| dims.iter().product::<u64>().try_into().unwrap_or(usize::MAX);
    let tensor = |tensor: &crate::model::Tensor| ImatrixTensor {
        name: tensor.name.clone(),
        n_columns: size(&[tensor.row_len()]),
        n_matrices: size(tensor.shape.get(2..).unwrap_or_default()),
        n_matrices_of_batch: size(tensor.shape.get(2..3).unwrap_or_default()),
    };
    model.tensors.iter().filter(|tensor| tensor.name.ends_with("weight")).map(tensor).collect()
}

/// Tensors that levels change and that the model multiplies by. Embeddings are only looked up, unless they are the head as well.
pub(super) fn multiplied(model: &Model) -> impl Iterator<Item = &str> {
    let planner = Planner::new(model);
    let has_head = model.has_tied_embeddings() && !model.hyperparameters.is_encoder;
    let tensors = model.tensors.iter().enumerate().filter(move |(idx, _)| planner.is_quantizable(*idx));
    let names = tensors.map(|(_, tensor)| tensor.name.as_str());
    names.filter(move |name| has_head || *name != "token_embd.weight").filter(|name| *name != "per_layer_token_embd.weight")
}

fn summary(sums: &ImatrixSums, request: &CollectRequest, model: &Model, seen: Seen, started: Instant) -> Collected {
    let (unused, unused_experts) = sums.unused();
    let is_unused = |name: &&str| !sums.entries.contains_key(*name) || unused.iter().any(|unused| unused == name);
    Collected {
        changes: seen.changes,
        foreign: seen.foreign,
        unused_tensors: multiplied(model).filter(is_unused).map(String::from).collect(),
        ..collected(sums, vec![request.model.clone()], &request.out, unused_experts, started)
    }
}

fn collected(
    sums: &ImatrixSums,
    sources: Vec<PathBuf>,
    path: &Path,
    unused_experts: Vec<UnusedExperts>,
    started: Instant,
) -> Collected {
    Collected {
        path: path.to_path_buf(),
        sources,
        texts: sums.datasets.iter().map(|name| name.lossy().into_owned()).collect(),
        n_tensors: sums.entries.len(),
        n_chunks: sums.n_chunks,
        chunk_tokens: sums.chunk_tokens.unwrap_or(0),
        changes: Vec::new(),
        unused_tensors: Vec::new(),
        unused_experts,
        foreign: None,
        is_reused: false,
        elapsed_secs: started.elapsed().as_secs_f64(),
    }
}

fn write(sums: &ImatrixSums, out: &Path, overwrite: Overwrite) -> Result<()> {
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    write_whole(out, &sums.to_gguf(out)?, overwrite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(changes: &[f64], unused_tensors: &[&str], unused_experts: &[(usize, usize)]) -> Collected {
        let sums = ImatrixSums {
            datasets: vec!["a.txt".into()],
            n_chunks: 4,
            chunk_tokens: Some(512),
            is_dat: false,
            entries: std::collections::BTreeMap::new(),
        };
        let expert = |&(n_unused, n_experts): &(usize, usize)| UnusedExperts { tensor: "x".into(), n_unused, n_experts };
        let experts = unused_experts.iter().map(expert).collect();
        Collected {
            changes: changes.iter().map(|&change| ImportanceChange { n_chunks: 4, change }).collect(),
            unused_tensors: unused_tensors.iter().map(ToString::to_string).collect(),
            ..collected(&sums, vec!["m.gguf".into()], Path::new("o.gguf"), experts, Instant::now())
        }
    }

    #[test]
    fn what_was_collected_is_told_in_words() {
        let collected = made(&[0.3, 0.018], &[], &[]);
        assert_eq!(collected.n_tokens(), 2048);
        let text = collected.change_text();
        assert_eq!(text.as_deref(), Some("importances changed by 1.80 % with the last doubling of the text"));
        assert!(collected.warnings().is_empty());
        assert_eq!(made(&[], &[], &[]).change_text(), None);
        let check = |collected: &Collected, expected: &[&str]| assert_eq!(collected.warnings(), expected);
        check(&made(&[], &["a"], &[]), &["a was not used by the text: all columns count the same there"]);
        check(&made(&[], &["a", "b"], &[]), &["a and 1 more tensor were not used by the text: all columns count the same there"]);
        check(
            &made(&[], &["a", "b", "c"], &[]),
            &["a and 2 more tensors were not used by the text: all columns count the same there"],
        );
        let experts = "6 experts were not reached by the text, 2 of 8 in x: all columns count the same there; more text helps";
        check(&made(&[], &[], &[(2, 8), (4, 8)]), &[experts]);
    }

    #[test]
    fn senseless_requests_are_refused() {
        let good = CollectRequest {
            model: "m.gguf".into(),
            text: TextSource::Bundled,
            n_ctx: 512,
            max_chunks: None,
            out: "o.gguf".into(),
            existing: Existing::Refuse,
            by_attention: true,
            n_threads: None,
        };
        assert_eq!(check_request(&good), Ok(()));
        for bad in [
            CollectRequest { n_ctx: 8, ..good.clone() },
            CollectRequest { n_ctx: 1 << 20, ..good.clone() },
            CollectRequest { max_chunks: Some(0), ..good.clone() },
            CollectRequest { n_threads: Some(0), ..good.clone() },
        ] {
            assert!(matches!(check_request(&bad), Err(Error::BadRequest { .. })), "{bad:?}");
        }
    }
}
