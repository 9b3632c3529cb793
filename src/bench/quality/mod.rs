//! What is lost: a model compared with its reference, token by token, on a text.
//!
//! ```text
//! reference what candidates are compared with: a file, or a checkpoint that Planish computes itself
//! cache     what the reference said, kept for every later candidate
//! schedule  which chunks are scored, in which order, and when the gates are looked at
//! measure   the reference and the candidates in child processes, chunk by chunk, until the gates are decided
//! stats     intervals from chunks: bootstrap, and the bounds that may be looked at repeatedly
//! summary   what is reported
//! flips     where the likeliest token changed, the worst first
//! ```

mod cache;
mod flips;
mod measure;
mod reference;
mod schedule;
mod stats;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::memory_limit::MemoryLimit;
use crate::advise::{GateKind, Gates, Interval, LossWords, Verdict, judge};
use crate::calibrate::text::TextSource;
use crate::error::Error;
use crate::hardware::Conditions;
use crate::units::{count_text, nan_from_null, nats_text, percent_text, ratio_text};

pub use flips::{Flip, FlipClass, TokenChoice, flips};
pub use measure::{quality, quality_with};
pub use reference::{OWN_REFERENCE_FLOOR_NATS, ReferenceBy};
pub use stats::{ChunkSums, paired_difference};

/// What to measure, and until when.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityRequest {
    /// The model that the others are compared with: usually the unquantized source. A checkpoint is computed by Planish itself, one
    /// layer at a time.
    pub reference: PathBuf,
    /// The models to be judged; measured one after the other, each on the same chunks.
    pub candidates: Vec<PathBuf>,
    /// The text to measure on.
    pub text: TextSource,
    /// Tokens of a chunk; the second half is scored. 16 to 16384.
    pub n_ctx: u32,
    /// The most tokens to score per candidate.
    pub max_tokens: u32,
    /// The limits; perplexity is left out for a reference with recurrent layers.
    pub gates: Gates,
    /// When to stop.
    pub stopping: Stopping,
    /// Start of the random numbers: order of the chunks, bootstrap.
    pub seed: u64,
    /// Threads; `None`: one per physical core.
    pub n_threads: Option<u32>,
    /// Where the reference's answers are kept; `None`: in the user's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// Candidates that would need more memory are not run; `None`: all are.
    pub memory_limit: Option<MemoryLimit>,
}

impl Default for QualityRequest {
    fn default() -> Self {
        Self {
            reference: PathBuf::new(),
            candidates: Vec::new(),
            text: TextSource::Bundled,
            n_ctx: 512,
            max_tokens: 16_000,
            gates: Gates::default(),
            stopping: Stopping::Decided,
            seed: 0,
            n_threads: None,
            cache_dir: None,
            memory_limit: None,
        }
    }
}

/// When a measurement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopping {
    /// As soon as every gate is decided.
    #[default]
    Decided,
    /// At the maximum of tokens.
    Full,
}

/// What was measured of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityRun {
    /// The candidate.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What it was compared with.
    #[serde(with = "crate::path_text")]
    pub reference: PathBuf,
    /// All numbers.
    pub summary: QualitySummary,
    /// The same for each kind of text, in the order of the text; one entry for a text without kinds.
    pub by_kind: Vec<KindSummary>,
    /// The gates on quality, with the bounds that hold however often one looks.
    pub verdict: Verdict,
    /// How often the gates were looked at.
    pub n_looks: u32,
    /// Sums of each scored chunk in the order of measurement: what intervals and paired differences are made from.
    pub chunks: Vec<ChunkSums>,
    /// The places where the likeliest token changed, the most harmful first; at most 200.
    pub flips: Vec<Flip>,
    /// How many such places there are.
    pub n_flips: u64,
    /// The text with the divergence of each token, for the first chunks; not kept in the history.
    #[serde(skip)]
    pub strips: Arc<Vec<Strip>>,
    /// What it was measured with.
    pub provenance: QualityProvenance,
}

impl QualityRun {
    /// The interval that a gate of this kind is decided with: the verdict's where the gate was on, else a 95 % interval from
    /// the chunks.
    #[must_use]
    pub fn gate_interval(&self, kind: GateKind) -> Interval {
        let known = self.verdict.gates.iter().find(|gate| gate.kind == kind).and_then(|gate| gate.measured);
        let floor_nats = self.provenance.reference_by.floor_nats();
        known.unwrap_or_else(|| summary::gate_interval(kind, &self.chunks, floor_nats, summary::ALPHA))
    }

    /// The verdict by these gates, from the stored measurement: the one that was stored where the gates are the same.
    #[must_use]
    pub fn judged(&self, gates: &Gates) -> Verdict {
        judge(gates, |kind| Some(self.gate_interval(kind)))
    }

    /// The gates that gave the stored verdict.
    #[must_use]
    pub fn gates(&self) -> Gates {
        let mut gates = Gates::OFF;
        for gate in &self.verdict.gates {
            *gates.limit_mut(gate.kind) = Some(gate.limit);
        }
        gates
    }
}

/// Every number of a comparison; each interval covers 95 %.
///
/// Source of the definitions: `kl_divergence` in tools/perplexity/perplexity.cpp, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualitySummary {
    /// Scored tokens.
    pub n_tokens: u64,
    /// Scored chunks.
    pub n_chunks: u64,
    /// Mean KL divergence of the candidate from the reference, in nats.
    pub mean_kld: Interval,
    /// Median of the tokens' KL divergences, in nats.
    pub median_kld: Interval,
    /// 90th percentile.
    pub kld_p90: Interval,
    /// 99th percentile.
    pub kld_p99: Interval,
    /// 99.9th percentile.
    pub kld_p999: Interval,
    /// The largest of all; no interval, because a sample says little about it.
    #[serde(deserialize_with = "nan_from_null")]
    pub max_kld: f64,
    /// Perplexity of the reference.
    pub ppl_reference: Interval,
    /// Perplexity of the candidate.
    pub ppl_candidate: Interval,
    /// Candidate's perplexity divided by the reference's, paired by token: far narrower than the two alone.
    pub ppl_ratio: Interval,
    /// Part of the tokens at which both put the same token first.
    pub same_top: Interval,
    /// Root mean square of the change of the true token's probability.
    pub rms_delta_p: Interval,
    /// Part of the tokens that the reference predicts right.
    pub accuracy_reference: Interval,
    /// Part of the tokens that the candidate predicts right.
    pub accuracy_candidate: Interval,
    /// Candidate's accuracy divided by the reference's, paired by token.
    pub accuracy_ratio: Interval,
}

impl QualitySummary {
    /// The loss in words; `None` where one of its numbers is not finite.
    #[must_use]
    pub fn loss_words(&self) -> Option<LossWords> {
        LossWords::of(self.mean_kld, self.same_top)
    }

    /// What a table shows: mean KLD, its 99th percentile, perplexity ratio, same top token, accuracy ratio, tokens.
    #[must_use]
    pub fn texts(&self) -> [String; 6] {
        [
            self.mean_kld.text(nats_text),
            nats_text(self.kld_p99.value),
            self.ppl_ratio.text(ratio_text),
            self.same_top.text(percent_text),
            self.accuracy_ratio.text(percent_text),
            count_text(self.n_tokens),
        ]
    }
}

/// The losses on one kind of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindSummary {
    /// `code`, `german`, …; the text's name when it has no kinds.
    pub kind: String,
    /// Scored tokens.
    pub n_tokens: u64,
    /// Mean KL divergence in nats.
    pub mean_kld: Interval,
    /// Candidate's perplexity divided by the reference's.
    pub ppl_ratio: Interval,
    /// Part of the tokens at which both put the same token first.
    pub same_top: Interval,
}

/// A chunk as text, tinted by the divergence of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// The kind of text.
    pub kind: String,
    /// Text of each token and its KL divergence in nats; `None` in the first half, which is not scored.
    pub tokens: Vec<(String, Option<f32>)>,
}

/// What a quality result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityProvenance {
    /// Version of Planish.
    pub planish: String,
    /// `llama.cpp` and its build.
    pub runtime: String,
    /// The compute backend in use.
    pub backend: String,
    /// Threads.
    pub n_threads: u32,
    /// The text's name: `bundled evaluation text`, or a file name.
    pub text_name: String,
    /// SHA-256 of the text, in hexadecimal.
    pub text_sha256: String,
    /// SHA-256 of the candidate, in hexadecimal.
    pub model_sha256: String,
    /// SHA-256 of the reference, in hexadecimal.
    pub reference_sha256: String,
    /// Who computed the reference; the files' runtime in runs of earlier versions.
    #[serde(default)]
    pub reference_by: ReferenceBy,
    /// Tokens of a chunk.
    pub n_ctx: u32,
    /// The most tokens that could have been scored.
    pub max_tokens: u32,
    /// When it was to stop.
    pub stopping: Stopping,
    /// Start of the random numbers.
    pub seed: u64,
    /// Power, heat and other load before the start.
    pub conditions: Conditions,
    /// Time that the candidate took, loading included, in seconds.
    pub candidate_secs: f64,
    /// Time that the reference took for chunks not known before, in seconds; 0 when all were known.
    pub reference_secs: f64,
    /// What makes the result doubtful.
    pub warnings: Vec<String>,
}

/// The outcome of judging one file: a failed one leaves the others alone.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityOutcome {
    /// The candidate.
    pub path: PathBuf,
    /// The run, or why there is none.
    pub result: Result<Arc<QualityRun>, Error>,
}

/// What the two models say about one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// The token that the text has.
    pub id: i32,
    /// KL divergence of the candidate from the reference, in nats.
    pub kld: f64,
    /// Log-probability of the true token by the reference, in nats.
    pub logp_reference: f64,
    /// The same by the candidate.
    pub logp_candidate: f64,
    /// The token that the reference puts first.
    pub top_reference: i32,
    /// The token that the candidate puts first.
    pub top_candidate: i32,
    /// Probability that the reference gives its first.
    pub p_top_reference: f32,
    /// Probability that the candidate gives its first.
    pub p_top_candidate: f32,
    /// Probability that the candidate gives the reference's first.
    pub p_top_reference_by_candidate: f32,
    /// Probability that the reference gives the candidate's first; `None` when it is not among those that were kept.
    pub p_top_candidate_by_reference: Option<f32>,
}

/// A chunk that both models have scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredChunk {
    /// Its number in the text.
    pub chunk_idx: u32,
    /// Index of its part in the text.
    pub part_idx: u32,
    /// The kind of that part.
    pub kind: String,
    /// Position of the first scored token.
    pub first_scored: u32,
    /// Text of every token of the chunk.
    pub pieces: Vec<String>,
    /// Texts of the tokens that the models put first where they differ, by token.
    pub tops: std::collections::BTreeMap<i32, String>,
    /// The scored tokens in the order of the text.
    pub tokens: Vec<TokenScore>,
}

impl ScoredChunk {
    /// Text of a token that one of the models puts first; empty where they agree.
    #[must_use]
    pub fn piece(&self, token: i32) -> &str {
        self.tops.get(&token).map_or("", String::as_str)
    }
}
