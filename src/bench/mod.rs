//! Measuring it: speed, memory, loss and answers on this machine, in child processes.

pub mod answers;
mod decoded;
pub mod history;
mod identity;
pub mod known;
mod memory_limit;
pub mod quality;
pub mod rows;
pub mod speed;
pub mod tensors;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::advise::{Band, Basis, Verdict, WishResult, Workload};
use crate::error::Result;
use crate::hardware::Conditions;
use crate::model::{Framework, Level, RuntimeId};
use crate::runtime;
use crate::units::{nans_from_nulls, significant_text};
use quality::QualityRun;

pub use answers::answer::{Answer, AnswerEnd, AnswerOutcome, AnswerRequest, AnswerToken, answer, answer_with};
pub use answers::divergence::{Divergence, agreement_text, first_divergence};
pub use answers::realign::{Piece, Realigned, realigned};
pub use answers::vote::{Tally, Vote, is_swapped};
pub use identity::model_sha256;
pub use memory_limit::MemoryLimit;
pub use rows::choice::{
    MeasuredChoice, PredictionError, closest_judged, deviation_text, measured_choice, prediction_errors, prediction_errors_text,
};
pub use rows::compare::{Measured, compared_n_ctx, comparison_rows};
pub use rows::headline::{Headline, headline};
pub use rows::teaching::{Lesson, kept_runs, learned, learned_from_history, lessons, levels_of_history, levels_of_session};
pub use speed::doubts::{Doubts, doubts};
pub use speed::energy::Energy;
pub use speed::run::{bench, bench_with};
pub use speed::sustained::Sustained;
pub use speed::warnings::merged_warnings;

/// Refuses files in a build that cannot run them, before anything is begun. With a folder among them nothing is refused here:
/// then the runtime of each is found later.
///
/// # Errors
/// `Error::RuntimeMissing`.
fn check_built_in(paths: &[PathBuf]) -> Result<()> {
    if paths.iter().any(|path| path.is_dir()) { Ok(()) } else { runtime::check_available(RuntimeId::LlamaCpp) }
}

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchRequest {
    /// Model files; measured interleaved (A B C A B C).
    pub models: Vec<PathBuf>,
    /// Tokens of the prefill measurement.
    pub n_prompt_tokens: u32,
    /// Tokens of the decode measurement.
    pub n_gen_tokens: u32,
    /// Rounds.
    pub n_repetitions: u32,
    /// Threads; `None`: one per physical core.
    pub n_threads: Option<u32>,
    /// After all rounds, decode each model for this many seconds to see how much of its speed heat leaves; `None`: do not.
    pub sustained_secs: Option<u32>,
    /// When to begin.
    pub start: Start,
    /// Models that would need more memory are not run; `None`: all are.
    pub memory_limit: Option<MemoryLimit>,
}

/// When a measurement begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// As soon as other programs leave the processor alone.
    WhenQuiet,
}

impl Default for BenchRequest {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            n_prompt_tokens: 512,
            n_gen_tokens: 128,
            n_repetitions: 3,
            n_threads: None,
            sustained_secs: None,
            start: Start::default(),
            memory_limit: None,
        }
    }
}

/// Repeated measurements of one quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Stat {
    /// All values in the order of measurement.
    #[serde(deserialize_with = "nans_from_nulls")]
    pub values: Vec<f64>,
}

/// Follows the runtime's name where llama.cpp measured the decoded weights of a folder in place of MLX.
pub(crate) const OF_WEIGHTS_ALONE: &str = " (weights of MLX, decoded)";

/// What is said of a speed that MLX reached without Metal.
pub(crate) const NOT_A_MAC: &str = "MLX off a Mac says nothing about its speed there";

impl ComparisonRow {
    /// The bits per weight for a person; `None` where they are unknown.
    #[must_use]
    pub fn bits_text(&self) -> Option<String> {
        (self.bits_per_weight > 0.0).then(|| significant_text(self.bits_per_weight))
    }

    /// Whether the file is for this framework.
    #[must_use]
    pub fn is_for(&self, framework: Framework) -> bool {
        self.level.is_some_and(|level| level.framework() == framework)
    }

    /// The run, unless it says nothing about the machines that the file is made for.
    #[must_use]
    pub fn telling_run(&self) -> Option<&Run> {
        self.run.as_ref().filter(|_| self.stand_in().is_none())
    }

    /// Why its speed and memory say nothing about the machines that it is made for; `None` where they were measured on such a
    /// machine, or not at all.
    #[must_use]
    pub fn stand_in(&self) -> Option<&'static str> {
        let by_run = self.run.as_ref().map(|run| (&run.provenance.runtime, &run.provenance.backend));
        let by_quality = self.quality.as_ref().map(|run| (&run.provenance.runtime, &run.provenance.backend));
        let (runtime, backend) = by_run.or(by_quality)?;
        // Decoded weights were measured by llama.cpp.
        let is_on_mac = runtime.starts_with(RuntimeId::Mlx.name()) && !is_stand_in(runtime, backend);
        (self.is_for(Framework::Mlx) && !is_on_mac).then_some(NOT_A_MAC)
    }
}

/// Whether a runtime computed where nobody would run its models: MLX without a Mac's GPU.
#[must_use]
pub fn is_stand_in(runtime: &str, backend: &str) -> bool {
    runtime.starts_with(RuntimeId::Mlx.name()) && !backend.starts_with("Metal")
}

/// Whether the speed of a framework's models is worth measuring on this machine: MLX only on Macs with Apple silicon. On a CPU
/// a model of a usual size would take hours, and say nothing.
#[must_use]
pub fn is_timed_here(framework: Framework) -> bool {
    framework != Framework::Mlx || cfg!(all(target_os = "macos", target_arch = "aarch64"))
}

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The model file.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Prompt tokens per second.
    pub prefill_tokens_per_sec: Stat,
    /// Generated tokens per second.
    pub decode_tokens_per_sec: Stat,
    /// Time from the start of loading to a ready context, in seconds.
    pub load_secs: Stat,
    /// Highest resident memory of the measuring process over all rounds, in bytes.
    pub peak_memory_bytes: u64,
    /// What it was measured with.
    pub provenance: Provenance,
    /// Joules for each token, or why they are not known.
    pub energy: Energy,
    /// The long run; `None` when none was asked for, or when it failed, as a warning then says.
    pub sustained: Option<Sustained>,
    /// What the file asks of the machine, so that later predictions can learn from the run; `None` in runs of earlier versions.
    #[serde(default)]
    pub workload: Option<Workload>,
}

/// What a result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// `llama.cpp` and its build.
    pub runtime: String,
    /// The compute backend in use: `CPU (AVX512, VNNI)`.
    pub backend: String,
    /// Threads.
    pub n_threads: u32,
    /// Tokens of the prefill measurement.
    pub n_prompt_tokens: u32,
    /// Tokens of the decode measurement.
    pub n_gen_tokens: u32,
    /// Power, heat and other load before the first round.
    pub conditions: Conditions,
    /// What makes the result doubtful: `other programs used 40 % of the CPU`.
    pub warnings: Vec<String>,
}

/// The outcome of measuring one file: a failed one leaves the others alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The model file.
    pub path: PathBuf,
    /// The run, or why there is none.
    pub result: Result<Run>,
}

/// One line of the comparison: what was predicted and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// The level; `None` for the source when it is no preset.
    pub level: Option<Level>,
    /// Its name; `F16 (source)` for the source, or its file name when it is no preset.
    pub name: String,
    /// The file.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights; 0 where that is unknown, as of a folder that was measured earlier
    /// and is gone.
    pub bits_per_weight: f64,
    /// Predicted decode speed in tokens per second.
    pub predicted_decode_tokens_per_sec: Option<Band>,
    /// Predicted prefill speed in tokens per second.
    pub predicted_prefill_tokens_per_sec: Option<Band>,
    /// Predicted memory in bytes at the measured context.
    pub predicted_memory_bytes: Option<u64>,
    /// How the decode prediction came about: predicted, or adjusted by runs of other files on this machine.
    pub decode_basis: Basis,
    /// The same for the prefill prediction.
    pub prefill_basis: Basis,
    /// The same for the memory prediction.
    pub memory_basis: Basis,
    /// The measurement; `None` until there is one.
    pub run: Option<Run>,
    /// Why the measurement failed; `None` when it did not.
    pub failure: Option<String>,
    /// Why it was not run: `larger than memory: it needs 140 GiB, and 22.0 GiB may be used`; `None` for what was, or will be.
    pub not_run: Option<String>,
    /// What was lost against the source; `None` until it was measured.
    pub quality: Option<Arc<QualityRun>>,
    /// Why that measurement failed; `None` when it did not.
    pub quality_failure: Option<String>,
    /// Why its speed cannot be compared with others as it is: `measured on another machine (…)`; `None` for one that can.
    pub speed_origin: Option<String>,
    /// The same for what was lost: `measured on another text (…)`.
    pub quality_origin: Option<String>,
    /// The gates on quality; `None` for the source and while the loss is not measured.
    pub verdict: Option<Verdict>,
    /// What the user wishes of size, memory and speed, judged beside the verdict; empty for the source.
    pub wishes: Vec<WishResult>,
}
