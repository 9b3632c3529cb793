//! The arguments of every command.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

use super::budget::{BudgetArg, nats_from_text};
use super::level_parser::LevelParser;
use super::limits::{GateArgs, LimitArgs};
use super::overrides::OverrideArgs;
use super::{ask, history, imatrix, levels, runtime, verify};
use crate::advise::{Goal, Priority, Target};
use crate::calibrate::moments::DEFAULT_TOKENS;
use crate::convert::Existing;
use crate::deploy::ChartKind;
use crate::model::Level;

/// Make a language model fit your laptop, and see what it costs.
///
/// Without a command, the window opens.
#[derive(Debug, Parser)]
#[command(name = "planish", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub(super) struct Cli {
    /// Model to open in the window
    #[arg(value_name = "MODEL", value_hint = clap::ValueHint::FilePath)]
    pub(super) model: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// The commands without the model argument, so that clap answers a mistyped command with the nearest ones.
#[derive(Debug, Parser)]
#[command(name = "planish")]
pub(super) struct CommandsOnly {
    #[command(subcommand)]
    pub(super) _command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what this machine is, and measure its memory and disk
    Hardware {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show what a model is, and what can be done with it
    Inspect {
        /// GGUF file (any shard of a split model), ONNX file or the folder with it, or a Hugging Face checkpoint: folder, config.json,
        /// index or safetensors file
        model: PathBuf,
        /// List every tensor
        #[arg(long)]
        tensors: bool,
        /// List every key of the metadata
        #[arg(long)]
        metadata: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Recommend a framework and a level, with the reasons
    Recommend {
        /// GGUF file, or the folder of a Hugging Face checkpoint
        model: PathBuf,
        #[command(flatten)]
        goal: GoalArgs,
        /// List the candidates of all frameworks, not only those that can be carried out here
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write a model at one or more levels, in one pass over the source
    Convert {
        /// GGUF file, or the folder of a Hugging Face checkpoint
        model: PathBuf,
        #[command(flatten)]
        convert: ConvertArgs,
        /// With --budget gates: the largest mean KL divergence in nats that the file may be predicted to lose; default 0.1. Nothing is measured
        /// here: compare does that, and takes all gates
        #[arg(long, value_name = "NATS", requires = "budget", value_parser = nats_from_text)]
        max_kld: Option<f64>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure speed and memory of models on this machine
    Bench {
        /// GGUF files, MLX folders and folders for ONNX Runtime; they take turns in every round, rather than one being finished before
        /// the next
        #[arg(required = true)]
        models: Vec<PathBuf>,
        #[command(flatten)]
        bench: BenchArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure what models lose against a reference, on a text, and judge them by gates
    ///
    /// Ends with status 3 when a model does not pass.
    Quality {
        /// GGUF files, MLX folders and folders for ONNX Runtime, to be judged
        #[arg(required = true)]
        models: Vec<PathBuf>,
        /// The model to compare them with, usually the unquantized source: a file, or a checkpoint, which Planish computes itself, one
        /// layer at a time
        #[arg(long, value_name = "MODEL", value_hint = clap::ValueHint::AnyPath)]
        reference: PathBuf,
        #[command(flatten)]
        quality: QualityArgs,
        #[command(flatten)]
        gates: GateArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Convert to several levels, measure speed, memory and quality of each, and show prediction and measurement side by side
    ///
    /// Ends with status 3 when gates or wishes were given and no level meets them all, when --until-pass finds no level, or when no file for
    /// --budget gates passes.
    Compare {
        /// GGUF file, or the folder of a Hugging Face checkpoint
        model: PathBuf,
        #[command(flatten)]
        convert: Box<ConvertArgs>,
        #[command(flatten)]
        parts: CompareParts,
        #[command(flatten)]
        bench: BenchArgs,
        #[command(flatten)]
        quality: QualityArgs,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        files: FileArgs,
    },
    /// Show which runtimes are here and how to get the others
    Doctor {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page (roff): of the program, or of one command
    Man {
        /// The command, for example: history export
        #[arg(value_name = "COMMAND")]
        words: Vec<String>,
    },
    /// Show how far the weights of a converted file are from its source's, tensor by tensor, the worst first
    Errors {
        /// GGUF file or checkpoint that the converted file was made from
        source: PathBuf,
        /// The converted file or folder
        model: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Browse, compare, delete and export what was measured on this machine
    History(history::HistoryArgs),
    /// Ask models the same question, one after the other, and show where their answers diverge
    Ask(ask::AskArgs),
    /// Convert the small model that comes with Planish to several levels and compare them: the whole tour, without a download
    Sample {
        /// Folder for the sample and the files made from it; created if missing
        #[arg(long, short, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        out: PathBuf,
        /// Only write the sample's checkpoint, and say where it is
        #[arg(long)]
        only_unpack: bool,
        #[command(flatten)]
        bench: BenchArgs,
        #[command(flatten)]
        quality: QualityArgs,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write everything the history knows about a model and the files made from it into one HTML file
    Report {
        /// GGUF file that the others were made from
        model: PathBuf,
        /// File to write
        #[arg(long, short, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath)]
        out: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        goal: GoalArgs,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Collect an importance matrix: run a model over a text and note which columns of its weights matter; or merge several
    Imatrix(imatrix::ImatrixArgs),
    /// List the levels that were made from a model, with their latest measurements, or delete some of them
    Levels(levels::LevelsArgs),
    /// Show what runs models here, set up what is not built in, or remove it
    Runtime(runtime::RuntimeArgs),
    /// Compare every byte of files made by Planish with the checksums that they carry
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Print one JSON document to standard output, and nothing else there; a path that is not UTF-8 is written as a file: URI
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct GoalArgs {
    /// What counts most
    #[arg(long, value_enum, default_value = "balanced")]
    pub(super) goal: Priority,
    /// Where the model will run
    #[arg(long, value_enum, default_value = "this-machine")]
    pub(super) target: Target,
    /// Tokens of context that must fit in memory
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) context: u64,
    /// Upper limit of memory, for example 6G; default: 80 % of the free main memory, 90 % of the free GPU memory
    #[arg(long, value_name = "SIZE", value_parser = crate::units::bytes_from_text)]
    pub(super) memory_budget: Option<u64>,
    /// Ask for a versioned pipeline on ONNX Runtime or Windows ML
    #[arg(long)]
    pub(super) enterprise: bool,
    /// The machine will run on battery
    #[arg(long)]
    pub(super) battery: bool,
}

impl GoalArgs {
    pub(super) fn to_goal(&self) -> Goal {
        Goal {
            priority: self.goal,
            target: self.target,
            n_ctx: self.context,
            memory_budget_bytes: self.memory_budget,
            enterprise: self.enterprise,
            battery: self.battery,
        }
    }
}

#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("calibrating").args(["calibrated", "budget"]).multiple(true))]
pub(super) struct ConvertArgs {
    /// Levels, separated by commas: F32, BF16, F16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1, Q4_0,
    /// IQ4_NL, IQ4_XS, MXFP4_MOE, Q3_K_L, Q3_K_M, IQ3_M, IQ3_S, Q3_K_S, Q2_K, TQ2_0, TQ1_0; with an importance matrix also IQ3_XS,
    /// IQ3_XXS, Q2_K_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S. From a checkpoint also folders for ONNX Runtime GenAI:
    /// onnx:FP32, onnx:FP16, onnx:INT8, onnx:INT4 (a scale per 32 weights, or -g128; INT4 also -g16, -g64), onnx:INT4-mixed; and for MLX, with the
    /// bytes of mlx_lm.convert: mlx:bf16, mlx:8-bit, 6-bit, 5-bit, 4-bit, 3-bit, 2-bit (groups of 64, or -g32, -g128), mlx:mixed_2_6, mixed_3_4,
    /// mixed_3_6, mixed_4_6, mlx:mxfp4, mxfp8, nvfp4; --format mlx --level 4-bit is understood as well
    #[arg(long, short, value_name = "L[,L…]", required_unless_present = "budget", value_delimiter = ',', value_parser = LevelParser, hide_possible_values = true)]
    pub(super) level: Vec<Level>,
    /// Folder for the outputs; created if missing
    #[arg(long, short, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) out: PathBuf,
    /// Threads; default: all that this process may use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
    /// Replace outputs that exist; the same as --existing replace
    #[arg(long)]
    pub(super) force: bool,
    /// What to do with outputs that exist: leave them, replace them, or number the new ones; default: refuse before any work
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "force")]
    pub(super) existing: Option<Existing>,
    /// Importance matrix of this model, .gguf or .dat, from planish imatrix or llama-imatrix: with it, low levels lose less
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) imatrix: Option<PathBuf>,
    /// Choose the codes by error feedback: the model runs over a text first, and what one weight loses the next ones make good. Takes
    /// minutes instead of seconds, loses about half as much at the same size; the outputs are called NAME-LEVEL-calibrated
    #[arg(long, conflicts_with = "imatrix")]
    pub(super) calibrated: bool,
    /// A size for one more file: 4.5GiB, 4.8bpw (bits per weight), 60% (of the source), "fits 8GiB at 8192" (memory and context); or gates: the
    /// smallest file that is predicted to pass the quality gates. The model runs over a text first to learn what each tensor is worth; then each
    /// gets the type with which the file loses least, with error feedback. Its name is NAME-LEVEL-budget, LEVEL being about as large. With
    /// gates, compare measures the file; if it does not pass, it makes a larger one, three at most, and keeps them all
    #[arg(long, value_name = "SIZE|gates", conflicts_with = "imatrix", value_parser = BudgetArg::from_text)]
    pub(super) budget: Option<BudgetArg>,
    /// Text for --calibrated and --budget, in UTF-8, - for standard input; default: the bundled calibration text of 17 kinds
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, requires = "calibrating")]
    pub(super) calibration_text: Option<PathBuf>,
    /// Add the bundled calibration text to yours, and take this percentage of the tokens from yours; half without a number
    #[arg(long, value_name = "PERCENT", requires = "calibration_text", num_args = 0..=1, require_equals = true, default_missing_value = "50", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(super) calibration_mix: Option<u32>,
    /// The most tokens of the text, drawn evenly over its kinds and, within each, over its whole length
    #[arg(long, value_name = "N", requires = "calibrating", default_value_t = DEFAULT_TOKENS, value_parser = clap::value_parser!(u32).range(512..=10_000_000))]
    pub(super) calibration_tokens: u32,
    /// Skip the test run of files made from a checkpoint
    #[arg(long)]
    pub(super) no_check: bool,
    /// Continue from what an interrupted run left; if this run is interrupted, leave its unfinished files for the next
    #[arg(long)]
    pub(super) resume: bool,
    #[command(flatten)]
    pub(super) overrides: Box<OverrideArgs>,
}

impl ConvertArgs {
    /// The levels in the given order, each once.
    pub(super) fn levels(&self) -> Vec<Level> {
        let mut levels = Vec::new();
        for &level in &self.level {
            if !levels.contains(&level) {
                levels.push(level);
            }
        }
        levels
    }
}

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Tokens of the prefill measurement
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) prompt_tokens: u32,
    /// Tokens of the decode measurement
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) gen_tokens: u32,
    /// Rounds; each measures every model once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) repetitions: u32,
    /// Threads of the runtime; default: one per physical core
    #[arg(long = "bench-threads", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) bench_threads: Option<u32>,
    /// After the rounds, decode with each model for this many seconds, to see how much speed heat costs
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) sustained: Option<u32>,
    /// Wait until other programs leave the processor alone, then measure
    #[arg(long)]
    pub(super) when_quiet: bool,
}

/// Which parts of its work `compare` adds or leaves out, and in how much memory.
#[derive(Debug, Clone, Copy, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "one for each flag of the command line")]
pub(super) struct CompareParts {
    /// Measure outputs that exist already instead of writing them again
    #[arg(long, conflicts_with_all = ["force", "existing"])]
    pub(super) reuse: bool,
    /// Leave out the source: faster, but then nothing is said about its speed and memory
    #[arg(long)]
    pub(super) no_source: bool,
    /// Measure only speed and memory
    #[arg(long, conflicts_with = "until_pass")]
    pub(super) no_quality: bool,
    /// Memory that models may use, for example 6G; default: what is free. If the file that keeps every weight of a checkpoint needs
    /// more, Planish computes the reference itself, one layer at a time, and levels that need more are made but not run
    #[arg(long, value_name = "SIZE", value_parser = crate::units::bytes_from_text)]
    pub(super) memory_budget: Option<u64>,
    /// Find by bisection the smallest of the levels that passes the gates on quality, and measure only what that takes
    #[arg(long, conflicts_with = "budget")]
    pub(super) until_pass: bool,
}

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// Write the report at the end; --force replaces an existing file
    #[arg(long, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath)]
    pub(super) report: Option<PathBuf>,
    /// Write what the extension says: csv, tsv or json for the table, svg or png for a plot, html for the report; --force
    /// replaces an existing file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) export: Vec<PathBuf>,
    /// The plot of --export: size-loss, loss-speed, same-top, size-speed, decode, prefill or memory
    #[arg(long, value_name = "PLOT", default_value = "size-speed", value_parser = plot_from_text, requires = "export")]
    pub(super) plot: ChartKind,
}

fn plot_from_text(text: &str) -> std::result::Result<ChartKind, String> {
    ChartKind::ALL
        .into_iter()
        .find(|kind| kind.file_stem() == text)
        .ok_or_else(|| format!("known plots: {}", ChartKind::ALL.map(ChartKind::file_stem).join(", ")))
}

#[derive(Debug, Args)]
pub(super) struct QualityArgs {
    /// Text to measure on, in UTF-8, - for standard input; default: the bundled text of seven kinds
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) text: Option<PathBuf>,
    /// The most tokens to score for each model
    #[arg(long, value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) tokens: u32,
    /// Tokens per chunk; the second half of each chunk is scored
    #[arg(long = "chunk", value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=16_384))]
    pub(super) chunk_tokens: u32,
    /// Score all tokens, instead of stopping as soon as the gates are decided
    #[arg(long)]
    pub(super) full: bool,
    /// Seed of the random numbers that order the chunks and draw the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

/// Which long lists `inspect` adds.
#[derive(Clone, Copy)]
pub(super) struct InspectParts {
    pub(super) tensors: bool,
    pub(super) metadata: bool,
}
