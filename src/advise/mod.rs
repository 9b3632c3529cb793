//! What to do: the decision tree, the candidates and the recommendation. Pure: same input, same output.

pub mod budget;
mod calibration_time;
mod candidates;
mod chain_time;
mod checklist;
#[cfg(test)]
mod checklist_tests;
pub mod choices;
mod explain;
pub mod fallback;
pub mod gates;
mod gguf_output;
#[cfg(test)]
mod golden_tests;
mod interval;
pub mod learned;
mod limits;
mod loss;
mod loss_words;
mod memory;
pub mod mlx_changes;
mod mlx_output;
pub mod mlx_recipe;
mod more_bits;
mod offered;
mod onnx_output;
mod onnx_recipe;
mod output;
pub mod overrides;
#[cfg(test)]
mod overrides_tests;
mod own_level;
mod plan;
#[cfg(test)]
mod plan_tests;
mod predictor;
mod preflight;
mod prune;
mod published;
mod ranking;
pub mod recipe;
mod roles;
mod rules;
mod speed;
mod steps;
#[cfg(test)]
pub(crate) mod test_models;
mod tree;
mod usage;
mod wishes;
mod workload;

use serde::{Deserialize, Serialize};

pub use calibration_time::{
    CalibrationTime, MAX_MOMENT_GROUPS, MEASURED_GAIN, MOMENTS_MEMORY, SOON_SECS, calibration_time, moment_columns,
    n_moment_groups, n_moment_runs,
};
pub use chain_time::{ChainWork, chain_secs};
pub use checklist::{CheckItem, CheckState, CheckedCheckpoint, Checklist, Room, checklist};
pub use fallback::Fallback;
pub use gates::{Decision, GateKind, GateResult, Gates, MAX_MEAN_KLD, Verdict, cheapest_passing, judge};
pub use gguf_output::GgufOutputs;
pub use interval::Interval;
pub use learned::{Basis, Learned, MeasuredLevel, MeasuredLoss, Trial};
pub use limits::{Limits, Preset};
pub use loss::{loss_percent, loss_word};
pub use loss_words::{LossWord, LossWords, WORDS_ARE_TOKENS, accuracy_remark, same_words_text, scale_text};
pub use memory::{compute_bytes, kv_cache_bytes, memory_estimate, padded_n_ctx};
pub use mlx_changes::MlxChanges;
pub use mlx_output::MlxOutputs;
pub use more_bits::{MoreBits, more_bits};
pub use offered::class_of_bits;
pub use onnx_output::OnnxOutputs;
pub use output::{Draft, Outputs};
pub use overrides::{
    BUDGETED, CALIBRATED, CUSTOM, Overrides, TensorType, asks_for_budget, asks_for_calibration, changed_name, layers_from_text,
};
pub use own_level::{decoded_from, own_level, own_name, quantized_origin};
pub use plan::{advise, advise_with};
pub use predictor::Predictor;
pub use preflight::{PreflightRow, preflight};
pub use prune::{Pruned, pruned, pruned_imatrix};
pub use published::Published;
pub use recipe::{Planner, Recipe, bits_per_weight, output_metadata, output_size_bytes, output_specs, recipe};
pub use speed::{decode_band, prefill_band};
pub use steps::with_neighbours;
pub use tree::tree;
pub use wishes::{WishKind, WishResult, Wishes, judge_wishes};
pub use workload::Workload;

use crate::model::{Framework, Level};

/// What counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// A level with low loss that is clearly smaller and faster than the source.
    #[default]
    Balanced,
    /// The least loss that fits.
    Quality,
    /// The fastest with acceptable loss.
    Speed,
    /// The smallest with acceptable loss.
    Size,
}

/// Where the model will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Decided by what was detected.
    #[default]
    ThisMachine,
    /// Apple silicon.
    Apple,
    /// Intel CPU, GPU or NPU.
    Intel,
    /// NVIDIA GPU.
    Nvidia,
    /// Snapdragon with Hexagon NPU.
    Snapdragon,
    /// Anything: ARM boards, several operating systems.
    CrossPlatform,
}

/// What the user wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Goal {
    /// What counts most.
    pub priority: Priority,
    /// Where it will run.
    pub target: Target,
    /// Tokens of context that must fit in memory.
    pub n_ctx: u64,
    /// Upper limit of memory in bytes; `None`: what is free now, with head-room.
    pub memory_budget_bytes: Option<u64>,
    /// A versioned pipeline on ONNX Runtime or Windows ML is wanted.
    pub enterprise: bool,
    /// The machine will run on battery: bytes per token count more.
    pub battery: bool,
}

impl Default for Goal {
    fn default() -> Self {
        Self {
            priority: Priority::Balanced,
            target: Target::ThisMachine,
            n_ctx: 4096,
            memory_budget_bytes: None,
            enterprise: false,
            battery: false,
        }
    }
}

/// The whole advice, recomputed in every frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The tree with all its questions and leaves.
    pub tree: Tree,
    /// The path taken through it, from the root to a leaf.
    pub path: Vec<Step>,
    /// Frameworks in order of preference, with the reasons of the leaf.
    pub leaf: Leaf,
    /// Every framework and level, in the order in which they are recommended.
    pub candidates: Vec<Candidate>,
    /// Index of the best candidate that fits and that this version can carry out; `None` where there is none, and where the
    /// source is best used as it is: `reasons` says which.
    pub recommended: Option<usize>,
    /// True when the advice is to keep the source as it is: no conversion would give more than it costs.
    pub keeps_source: bool,
    /// Index of the second choice.
    pub runner_up: Option<usize>,
    /// Why the recommended one, with numbers; or why none.
    pub reasons: Vec<String>,
    /// What would change the choice: `with 4 GiB more: Q6_K`.
    pub counterfactual: Option<String>,
    /// What was assumed: `GPU memory unknown, planned for CPU`.
    pub warnings: Vec<String>,
    /// Memory that candidates are compared with, in bytes, and where the number comes from.
    pub budget: Budget,
}

impl Plan {
    /// The recommended level that this version can make; `None` where it recommends no conversion.
    #[must_use]
    pub fn recommended_level(&self) -> Option<Level> {
        self.candidates.get(self.recommended?)?.level
    }
}

/// The memory that a model may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// In main memory (or unified memory), in bytes.
    pub ram_bytes: u64,
    /// In dedicated GPU memory, in bytes; 0 without.
    pub vram_bytes: u64,
    /// Where the numbers come from: `80 % of 22.1 GiB free`.
    pub origin: String,
}

/// The decision tree as a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tree {
    /// Nodes; the first is the root. Every branch leads to a node of higher index.
    pub nodes: Vec<Node>,
}

/// A question, or a leaf.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// A stable name for tests and links: `where`, `leaf-apple`.
    pub id: &'static str,
    /// The question, or the leaf's headline.
    pub text: &'static str,
    /// Answers and the nodes they lead to; empty for a leaf.
    pub branches: Vec<Branch>,
    /// The advice; `None` for a question.
    pub leaf: Option<Leaf>,
}

/// One answer of a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Branch {
    /// The answer, short.
    pub answer: &'static str,
    /// Index of the node it leads to.
    pub to: usize,
}

/// What a leaf advises.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leaf {
    /// Frameworks, first choice first.
    pub frameworks: Vec<Framework>,
    /// The family of levels: `Q4_K_M and neighbours`.
    pub level_family: &'static str,
    /// Why, one line each.
    pub reasons: Vec<&'static str>,
}

/// One step of the taken path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Index of the node in `Tree::nodes`.
    pub node_idx: usize,
    /// Index of the taken branch; `None` at the leaf.
    pub branch_idx: Option<usize>,
    /// The facts and numbers that decided: `no GPU, AVX2 CPU`.
    pub facts: String,
}

/// A framework at a level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The framework.
    pub framework: Framework,
    /// The level; `None` for what this version does not make from this model.
    pub level: Option<Level>,
    /// The level's name in the framework's own words: `Q4_K_M`, `INT4 group 64`, `4-bit group 64`, `A16W8`.
    pub level_name: String,
    /// Size of the output; to the byte when `size_is_exact`.
    pub size_bytes: u64,
    /// True for what this version writes; the rest is estimated.
    pub size_is_exact: bool,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// Memory at the wanted context.
    pub memory: MemoryEstimate,
    /// Decode speed in tokens per second; `None` without a measured bandwidth, for another machine, and for frameworks other
    /// than llama.cpp, which have only what is `published`.
    pub decode_tokens_per_sec: Option<Band>,
    /// Where the decode speed comes from: predicted, adjusted by earlier runs, or measured.
    pub decode_basis: Basis,
    /// Prefill speed in tokens per second; `None` for a processor without known cores, for another machine, and for frameworks
    /// other than llama.cpp.
    pub prefill_tokens_per_sec: Option<Band>,
    /// Where the prefill speed comes from.
    pub prefill_basis: Basis,
    /// Where `memory` comes from.
    pub memory_basis: Basis,
    /// The word for the loss that is expected from published measurements; once the loss is measured, for its mean KL divergence.
    pub expected_loss: LossWord,
    /// The increase of perplexity in per cent that the word stands for.
    pub expected_loss_percent: f64,
    /// What this model lost at this level, as measured; `None` until then.
    pub measured_loss: Option<MeasuredLoss>,
    /// Whether it fits.
    pub fit: Fit,
    /// What keeps this version or machine from carrying it out; `None`: it can be done here.
    pub missing: Option<String>,
    /// The level whose file is the same tensor by tensor, because of this model's shapes; `None` where there is none.
    pub copy_of: Option<Level>,
    /// What others publish about the framework's speed and size, where nothing is predicted; `None` for llama.cpp.
    pub published: Option<Published>,
    /// One line about this candidate alone: `1.2 GiB too large`, `requantized from Q4_1`.
    pub note: Option<String>,
}

/// Memory in bytes while the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryEstimate {
    /// Weights, with the copy that CPU repacking makes.
    pub weights_bytes: u64,
    /// KV cache at the wanted context.
    pub kv_cache_bytes: u64,
    /// Compute buffers.
    pub compute_bytes: u64,
    /// The program itself and the vocabulary, corrected by what earlier runs took more or less than predicted.
    pub fixed_bytes: u64,
}

impl MemoryEstimate {
    /// The sum.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes.saturating_add(self.kv_cache_bytes).saturating_add(self.compute_bytes).saturating_add(self.fixed_bytes)
    }
}

/// A speed with its band, predicted or measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// The lowest that is expected, or the lowest round of a measurement.
    pub low: f64,
    /// The prediction, or the median of the rounds.
    pub mid: f64,
    /// The highest that is expected, or the highest round of a measurement.
    pub high: f64,
}

/// Whether a candidate fits the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Fit {
    /// It fits one kind of memory as a whole.
    Fits,
    /// It fits when this many layers go to the GPU and the rest stays in main memory.
    FitsWithOffload {
        /// Layers on the GPU.
        n_gpu_layers: u64,
    },
    /// It does not fit.
    TooLarge {
        /// Bytes that are missing.
        missing_bytes: u64,
    },
}
