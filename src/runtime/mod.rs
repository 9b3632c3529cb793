//! Running models, always in a child process.
//!
//! A model that is damaged, too large or unsupported can take down the process that runs it. So the window and the command line never
//! load one: they start this same executable as `planish __child`, send it one [`Request`] and read [`Event`]s, one JSON document per line.
//!
//! ```text
//! process   the parent's side: start, read events, cancel, tell why it died
//! child     the child's side: read the request, let a runtime carry it out, write events
//! session   what a runtime must be able to do
//! tasks     what is done with one, written once: speed, answering, probing, scoring (its arithmetic in score, its chunks in text_plan,
//!           its answers in reference_file); sampler chooses tokens
//! llama_cpp built in; through llama_watch, collecting sums its activations for an importance matrix, with the arithmetic of importance and
//!           attention_mass, and disturbing finds out what the rounding of each tensor costs, with that of sensitivity;
//!           split_text cuts the texts of both
//! own       built in too, for checkpoints, which forward runs in F32 layer by layer
//! onnx      the library of ONNX Runtime, found by environment; chat_template puts questions into the model's template
//! mlx       a Python of its own, found by environment, spoken to by peer
//! pieces    writes tokens out, for all but llama.cpp
//! work_folder files that a child reads and writes, too large for its pipes
//! ```

pub mod attention_mass;
#[cfg(feature = "onnxruntime")]
mod chat_template;
pub mod child;
#[cfg(feature = "llama-cpp")]
mod collecting;
#[cfg(feature = "llama-cpp")]
mod disturbing;
pub mod environment;
pub mod forward;
pub mod importance;
#[cfg(feature = "llama-cpp")]
mod llama_cpp;
#[cfg(feature = "llama-cpp")]
mod llama_sys;
#[cfg(feature = "llama-cpp")]
mod llama_watch;
mod memory;
mod mlx;
pub mod moment_sites;
pub mod moments;
#[cfg(feature = "onnxruntime")]
mod onnx;
mod own;
mod peer;
mod pieces;
pub mod process;
pub mod reference_file;
mod sampler;
pub mod score;
pub mod sensitivity;
mod session;
#[cfg(feature = "llama-cpp")]
mod split_text;
mod tasks;
pub mod text_plan;
mod utf8_name;
pub(crate) mod work_folder;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{Artifact, MomentsSite};
pub use crate::model::RuntimeId;
use crate::monitor::Monitor;
use process::ChildProcess;

/// The first argument that makes the executable a child; never typed by a person.
pub const CHILD_ARGUMENT: &str = "__child";

/// The most tokens that random sampling chooses from. Source: `top_k` in `common_params_sampling`, common.h, llama.cpp.
pub const TOP_K: usize = 40;

/// Random sampling chooses from the likeliest tokens that together have at least this probability. Source: `top_p`, likewise.
pub const TOP_P: f32 = 0.95;

/// What a child is asked to do: one JSON document on its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who computes.
    pub runtime: RuntimeId,
    /// What is to be done.
    pub task: Task,
}

/// What is done with a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Measure one model once.
    Bench(BenchTask),
    /// Continue a text.
    Generate(GenerateTask),
    /// Run a model over chunks of a text, each when its number arrives as a further line; `end` ends it.
    Score(ScoreTask),
    /// Say what the runtime is.
    Info,
    /// Say how likely the model finds given tokens.
    Probe(ProbeTask),
    /// Run a model over a text and sum the squares of what each column of its weights is multiplied by.
    Collect(CollectTask),
    /// Say what the rounding of each tensor costs.
    Disturb(SensitivityTask),
}

impl Request {
    /// A request to the runtime that is built in.
    #[must_use]
    pub fn llama_cpp(task: Task) -> Self {
        Self { runtime: RuntimeId::LlamaCpp, task }
    }

    /// A request to the runtime of an artifact.
    ///
    /// # Errors
    /// `Error::RuntimeMissing` where that is neither built in nor found here; those of `Artifact::runtime`.
    pub fn to_runtime_of(artifact: &Artifact, task: Task) -> Result<Self> {
        let runtime = artifact.runtime()?;
        if runtime != RuntimeId::LlamaCpp {
            check_available(runtime)?;
        }
        Ok(Self { runtime, task })
    }

    /// The model file or folder, if the request has one.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match &self.task {
            Task::Bench(task) => Some(&task.path),
            Task::Generate(task) => Some(&task.path),
            Task::Score(task) => Some(&task.path),
            Task::Probe(task) => Some(&task.path),
            Task::Collect(task) => Some(&task.path),
            Task::Disturb(task) => Some(&task.path),
            Task::Info => None,
        }
    }

    /// The same request for the model at another path.
    fn at(&self, path: &Path) -> Self {
        let mut request = self.clone();
        match &mut request.task {
            Task::Bench(BenchTask { path: own, .. })
            | Task::Generate(GenerateTask { path: own, .. })
            | Task::Score(ScoreTask { path: own, .. })
            | Task::Probe(ProbeTask { path: own, .. })
            | Task::Collect(CollectTask { path: own, .. })
            | Task::Disturb(SensitivityTask { path: own, .. }) => *own = path.to_path_buf(),
            Task::Info => {}
        }
        request
    }
}

/// One measurement of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchTask {
    /// The model file, the first shard of a split model, or a folder for MLX or ONNX Runtime.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Tokens of the prefill measurement; at least 1.
    pub n_prompt_tokens: u32,
    /// Tokens of the decode measurement, which follow the prompt's; at least 1.
    pub n_gen_tokens: u32,
    /// Threads; at least 1.
    pub n_threads: u32,
    /// After that, decode for this many seconds and tell the speed of each; `None`: do not.
    #[serde(default)]
    pub sustained_secs: Option<u32>,
}

/// A text to be continued or a question to be answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateTask {
    /// The model file, the first shard of a split model, or a folder for MLX or ONNX Runtime.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The text, or what the user says.
    pub prompt: String,
    /// How the prompt is given to the model.
    pub mode: PromptMode,
    /// The most tokens to generate.
    pub n_predict: u32,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Threads; at least 1.
    pub n_threads: u32,
}

/// Tokens or texts for one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTask {
    /// The model file, the first shard of a split model, a folder for MLX or ONNX Runtime, or a checkpoint's folder.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Each is answered by an `Event::Probed`, in order and independently of the others.
    pub inputs: Vec<ProbeInput>,
    /// Tokens of each input that the model is run over, at most 2048; 0 only splits the texts.
    pub max_tokens: u32,
    /// Whether the logits after the last of these tokens are told.
    pub with_logits: bool,
    /// Attention in F32 throughout, slower: for comparisons with other programs.
    pub exact_attention: bool,
    /// Threads; at least 1.
    pub n_threads: u32,
}

/// What a model is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeInput {
    /// A text, split by the model; nothing is put before it, and marks in it are text.
    Text(String),
    /// Numbers of tokens.
    Ids(Vec<u32>),
}

/// A text for one model, and the tensors whose columns are summed over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectTask {
    /// The model file; the first shard of a split model.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The text: a [`Corpus`] as JSON.
    #[serde(with = "crate::path_text")]
    pub corpus_path: PathBuf,
    /// The file for the sums: an importance matrix in GGUF that does not name its text yet.
    #[serde(with = "crate::path_text")]
    pub sums_path: PathBuf,
    /// The tensors whose columns are summed.
    pub tensors: Vec<ImatrixTensor>,
    /// Tokens of a chunk.
    pub n_ctx: u32,
    /// The most chunks, drawn evenly over the parts and their lengths; `None`: all that the text has.
    pub max_chunks: Option<u32>,
    /// Whether a chunk must be computed at once, because each token sees the ones after it.
    pub is_encoder: bool,
    /// Whether keys and values count by the attention that their tokens receive; only chunks of at most 512 tokens show it.
    pub by_attention: bool,
    /// Collect second moments instead of the sums.
    #[serde(default)]
    pub moments: Option<MomentsTask>,
    /// Threads; at least 1.
    pub n_threads: u32,
}

/// Tensors of a model whose rounding costs something, and a text that shows what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensitivityTask {
    /// The model file; the first shard of a split model.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// The same model with rounded weights, whose errors are added.
    #[serde(with = "crate::path_text")]
    pub rounded_path: PathBuf,
    /// The text: a [`Corpus`] as JSON.
    #[serde(with = "crate::path_text")]
    pub corpus_path: PathBuf,
    /// A folder for a file of notes, which is removed with it.
    #[serde(with = "crate::path_text")]
    pub work_dir: PathBuf,
    /// The tensors.
    pub tensors: Vec<String>,
    /// Tokens of a chunk, at most 512.
    pub n_ctx: u32,
    /// The most chunks.
    pub n_chunks: u32,
    /// Threads; at least 1.
    pub n_threads: u32,
}

/// Where second moments go, and what is collected at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MomentsTask {
    /// The folder for a file for each input of tensors.
    #[serde(with = "crate::path_text")]
    pub folder: PathBuf,
    /// Indices of the tensors that are collected in each run over the text: all of a model at once may not fit into memory.
    pub passes: Vec<Vec<usize>>,
    /// Groups of key and value heads that have moments of their own; divides their number.
    pub n_groups: usize,
}

/// A tensor whose columns are summed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImatrixTensor {
    /// Its name in the model.
    pub name: String,
    /// Its columns: the length of a row.
    pub n_columns: usize,
    /// Its matrices: experts, or heads; 1 for most.
    pub n_matrices: usize,
    /// Matrices along its third dimension; all of them but for tensors of four dimensions.
    pub n_matrices_of_batch: usize,
}

/// One model's part in a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreTask {
    /// The model file, the first shard of a split model, a folder for MLX or ONNX Runtime, or a checkpoint's folder.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Which of the two it is.
    pub role: ScoreRole,
    /// The text: a [`Corpus`] as JSON.
    #[serde(with = "crate::path_text")]
    pub corpus_path: PathBuf,
    /// The folder with the reference's answers, one file for each chunk.
    #[serde(with = "crate::path_text")]
    pub reference_dir: PathBuf,
    /// Tokens of a chunk.
    pub n_ctx: u32,
    /// Threads; at least 1.
    pub n_threads: u32,
}

/// A model's role in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreRole {
    /// Its answers are kept.
    Reference,
    /// Its answers are compared with the reference's.
    Candidate,
}

/// A text in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corpus {
    /// In the order of the text.
    pub parts: Vec<Part>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What kind of text it is: `prose`, `code`.
    pub kind: String,
    /// The text.
    pub text: String,
    /// Percent of what is collected on the text that should come from it; 0: what other parts leave is shared evenly. Scoring takes no notice.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub percent: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What a candidate says about one chunk, beside the reference. Most lists have one entry for each scored token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkScores {
    /// The chunk's number in the text.
    pub chunk_idx: u32,
    /// Index of its part.
    pub part_idx: u32,
    /// Position of the first scored token.
    pub first_scored: u32,
    /// Text of every token of the chunk.
    pub pieces: Vec<String>,
    /// Text of the tokens that one of the models puts first where they differ. A list, because serde cannot read a map with numbers as
    /// keys inside a tagged enum.
    pub tops: Vec<(u32, String)>,
    /// The scored tokens of the text.
    pub ids: Vec<u32>,
    /// Their log-probabilities by the reference, in nats.
    pub reference_logps: Vec<f32>,
    /// The reference's first tokens with their log-probabilities.
    pub reference_tops: Vec<(u32, f32)>,
    /// The candidate's scores.
    pub scores: Vec<score::RowScore>,
}

/// How a prompt is given to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptMode {
    /// As it is: the model continues it.
    Completion,
    /// As the user's turn in the model's own chat template: the model answers it. Without a template that can be used, as it is.
    Chat,
}

/// Whether a prompt was put into the model's chat template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateUse {
    /// It was.
    Applied,
    /// The model has none: it continued the bare prompt.
    Missing,
    /// The model has one that the runtime cannot apply: it continued the bare prompt.
    Unknown,
    /// Nobody asked for it.
    Unwanted,
}

/// How a token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The likeliest: the same text each time.
    Greedy,
    /// Among the [`TOP_K`] likeliest that make up [`TOP_P`] of the probability: the same text for the same seed.
    Random {
        /// 1 leaves the probabilities as they are, less makes likely tokens likelier, 0 always takes the likeliest.
        temperature: f32,
        /// Start of the random numbers.
        seed: u32,
    },
}

/// What a child tells: one JSON document per line on its standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The model is loaded and its context is ready.
    Loaded {
        /// From the start of loading to a ready context, in seconds.
        load_secs: f64,
        /// Who computes.
        info: RuntimeInfo,
    },
    /// The prompt has been processed.
    Prefill {
        /// Prompt tokens per second.
        tokens_per_sec: f64,
    },
    /// Tokens have been generated.
    Decode {
        /// Generated tokens per second.
        tokens_per_sec: f64,
    },
    /// A generated token.
    Token {
        /// Its number in the vocabulary.
        id: u32,
        /// The characters that it completes: one that is spread over several tokens comes with the last of them.
        text: String,
        /// Since the prompt was read, in seconds.
        elapsed_secs: f64,
    },
    /// The answer to [`Task::Info`].
    Info {
        /// Who computes.
        info: RuntimeInfo,
    },
    /// How a model splits the text.
    TextPlan {
        /// Entries of its vocabulary.
        n_vocab: u32,
        /// Tokens of the whole text.
        n_tokens: u64,
        /// The index of its part, for each chunk that is used.
        chunk_parts: Vec<u32>,
        /// SHA-256 of the tokens, in hexadecimal: equal for models with the same tokenizer. Empty for [`Task::Collect`].
        tokens_sha256: String,
    },
    /// All granted chunks have passed through some layers; only from the runtime that computes one layer at a time.
    Layer {
        /// Layers that are computed; with all of them, the head is next.
        n_done: u32,
        /// Layers of the model.
        n_layers: u32,
    },
    /// The reference's answer to a chunk is kept.
    ReferenceChunk {
        /// The chunk's number.
        chunk_idx: u32,
    },
    /// A candidate's answer to a chunk.
    ScoredChunk {
        /// What it says.
        scores: Box<ChunkScores>,
    },
    /// The request is carried out; nothing follows.
    Done {
        /// Highest resident memory of the child in bytes, weights mapped from the file included.
        peak_memory_bytes: u64,
    },
    /// The request failed; nothing follows.
    Error {
        /// Why, in the runtime's words where it has some.
        reason: String,
    },
    /// The warm-up is over; the prefill that is measured begins.
    WarmedUp,
    /// A second of the long run is over; for a slow model, the time of a token.
    SustainedSecond {
        /// Generated tokens per second.
        tokens_per_sec: f64,
    },
    /// The prompt in the model's tokens.
    Prompt {
        /// How many; at least 1.
        n_tokens: u32,
        /// Whether it stands in the model's chat template.
        template: TemplateUse,
        /// SHA-256 of the vocabulary, in hexadecimal: tokens of models with the same one can be compared by number.
        vocabulary_sha256: String,
    },
    /// The text is at its end.
    Generated {
        /// Generated tokens per second; `None` for no tokens.
        tokens_per_sec: Option<f64>,
        /// True when the model ended it, false at the limit.
        ended_by_itself: bool,
        /// A replacement for the character that the last token left incomplete; mostly empty.
        rest: String,
    },
    /// The answer to one input of a probe.
    Probed {
        /// Entries of the vocabulary.
        n_vocab: u32,
        /// All its tokens.
        ids: Vec<u32>,
        /// Log-probability of each token but the first that the model was run over, in nats.
        logps: Vec<f64>,
        /// Logits after the last of those; empty where not wanted.
        last_logits: Vec<f32>,
    },
    /// The answer to [`Task::Disturb`]: tensors that the model used.
    Sensitivities {
        /// What the rounding of each costs.
        tensors: Vec<sensitivity::Sensitivity>,
    },
    /// Another chunk is in the sums of an importance matrix; or another round of errors is over.
    CollectedChunk {
        /// Chunks so far.
        n_done: u32,
        /// Chunks that there will be.
        n_chunks: u32,
        /// Part of the importance that moved to other columns since the last comparison; `None` at the first and between two.
        change: Option<f64>,
    },
    /// The second moments of one run over the text are on the disk.
    MomentsWritten {
        /// The files.
        sites: Vec<MomentsSite>,
    },
}

/// The runtime and what it computes with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// Name and version: `llama.cpp 0.6.0 (ggml 0.26.0)`.
    pub version: String,
    /// The device that computes: `CPU icelake (AVX2, AVX512, AVX512_VNNI)`.
    pub backend: String,
    /// Everything that the runtime says about its backends.
    pub system: String,
    /// Devices that it found: `CPU: AMD EPYC 7B13`.
    pub devices: Vec<String>,
}

/// What a runtime says about itself and this machine. A child loads its back ends, which takes a fraction of a second; MLX
/// takes two seconds.
///
/// # Errors
/// `Error::RuntimeMissing` in a build without the runtime, where its back ends or the library of ONNX Runtime cannot be loaded, and where no Python has the packages.
pub fn info(runtime: RuntimeId, monitor: &Monitor) -> Result<RuntimeInfo> {
    check_available(runtime)?;
    info_with(&process::executable()?, runtime, monitor)
}

/// [`info`] with a given `planish` executable.
///
/// # Errors
/// As [`info`].
pub fn info_with(exe: &Path, runtime: RuntimeId, monitor: &Monitor) -> Result<RuntimeInfo> {
    let mut found = None;
    let missing = |reason: String| Error::RuntimeMissing { runtime: runtime.name().into(), reason };
    let outcome = run_with(exe, &Request { runtime, task: Task::Info }, monitor, |event| {
        if let Event::Info { info } = event {
            found = Some(info);
        }
        Ok(())
    });
    match outcome {
        Err(Error::Runtime { reason, .. } | Error::ChildDied { reason, .. }) => Err(missing(reason)),
        Err(error) => Err(error),
        Ok(()) => found.ok_or_else(|| missing("it did not answer".into())),
    }
}

/// Carries out a request in a child, gives each event to `on_event`, and returns when the child has ended.
///
/// # Errors
/// `Error::Cancelled` within 300 ms of the cancellation, with the child killed; `Error::RuntimeMissing` in a build without llama.cpp;
/// `Error::Runtime` when the child said why it failed; `Error::ChildDied` when it did not; an error of `on_event`.
pub fn run(request: &Request, monitor: &Monitor, on_event: impl FnMut(Event) -> Result<()>) -> Result<()> {
    check_available(request.runtime)?;
    run_with(&process::executable()?, request, monitor, on_event)
}

/// [`run`] with a given `planish` executable: for programs that use the library without being `planish`, such as its tests.
///
/// # Errors
/// As [`run`].
pub fn run_with(exe: &Path, request: &Request, monitor: &Monitor, mut on_event: impl FnMut(Event) -> Result<()>) -> Result<()> {
    let mut child = ChildProcess::spawn(exe, request)?;
    while let Some(event) = child.next_event(monitor)? {
        on_event(event)?;
    }
    Ok(())
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.concat()
}

/// Name and version of llama.cpp, as results carry it; `None` in a build without it.
#[must_use]
pub fn version() -> Option<String> {
    #[cfg(feature = "llama-cpp")]
    return Some(llama_sys::version());
    #[cfg(not(feature = "llama-cpp"))]
    None
}

/// Refuses a runtime that cannot be started here.
///
/// # Errors
/// `Error::RuntimeMissing` in a build without it; for ONNX Runtime and MLX where no Python has them.
pub fn check_available(runtime: RuntimeId) -> Result<()> {
    let missing = |reason: String| Error::RuntimeMissing { runtime: runtime.name().into(), reason };
    match runtime {
        RuntimeId::Planish => Ok(()),
        RuntimeId::LlamaCpp if cfg!(feature = "llama-cpp") => Ok(()),
        RuntimeId::LlamaCpp => Err(missing("this build of planish was made without it (cargo feature llama-cpp)".into())),
        RuntimeId::OnnxRuntime if !cfg!(feature = "onnxruntime") => {
            Err(missing("this build of planish was made without it (cargo feature onnxruntime)".into()))
        }
        RuntimeId::OnnxRuntime | RuntimeId::Mlx => environment::find(runtime).map(drop),
    }
}

/// The most threads that may be asked for. Source: `GGML_MAX_N_THREADS` in ggml.h, llama.cpp.
const MAX_THREADS: u32 = 512;

/// Refuses a number of threads that no machine has; `None` stands for the usual number.
///
/// # Errors
/// `Error::BadRequest`.
pub fn check_threads(n_threads: Option<u32>) -> Result<()> {
    if n_threads.is_some_and(|n| !(1..=MAX_THREADS).contains(&n)) {
        return Err(Error::BadRequest { message: format!("threads must be between 1 and {MAX_THREADS}") });
    }
    Ok(())
}

/// One thread per physical core that this process may use; at least 1.
///
/// More threads than cores make decoding slower: it waits for memory, and two threads of one core share its ports.
#[must_use]
pub fn default_n_threads() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let physical = sysinfo::System::physical_core_count().unwrap_or(allowed);
    u32::try_from(physical.min(allowed).max(1)).unwrap_or(1)
}
