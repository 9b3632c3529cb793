//! The command line: clap definitions and dispatch. Same domain, same words as the window.
#![allow(clippy::doc_markdown, reason = "the documentation of arguments is their help text, where backticks would be noise")]

mod ask;
mod checkpoint;
mod comparison_table;
mod errors;
mod examples;
mod extras;
mod history;
mod imatrix;
mod level_parser;
mod levels;
mod limits;
mod manual;
mod output;
mod overrides;
mod plan_table;
mod progress;
mod quality;
mod report;
mod run;
mod signals;
mod tables;
mod verify;

pub use signals::ignore_file_size_signal;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use limits::{GateArgs, LimitArgs};

use crate::advise::{Goal, Priority, Target};
use crate::convert::{self, Existing, Overwrite};
use crate::deploy::ChartKind;
use crate::error::{Error, Result};
use crate::model::Level;
use crate::path_text;
use crate::path_text::one_line;

/// Exit status of a failed request.
const EXIT_FAILED: u8 = 1;
/// Exit status when a gate was not met.
const EXIT_GATE_NOT_MET: u8 = 3;
/// Exit status after SIGINT, as shells report it.
const EXIT_CANCELLED: u8 = 130;

/// What the arguments ask for.
pub enum Action {
    /// Open the window, with this model if there is one.
    Window(Option<PathBuf>),
    /// The command has been carried out; leave with this status.
    Exit(ExitCode),
}

/// Make a language model fit your laptop, and see what it costs.
///
/// Without a command the window opens.
#[derive(Debug, Parser)]
#[command(name = "planish", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    /// Model to open in the window
    #[arg(value_name = "MODEL", value_hint = clap::ValueHint::FilePath)]
    model: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands alone: clap's own answer to a word that is none, with the commands that are near.
#[derive(Debug, Parser)]
#[command(name = "planish")]
struct CommandsOnly {
    #[command(subcommand)]
    _command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this machine is, and measure its memory and disk
    Hardware {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show what a model is, and what can be done with it
    Inspect {
        /// GGUF file, of a split model any shard; or a Hugging Face checkpoint: folder, config.json, index or safetensors file
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
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure speed and memory of models on this machine
    Bench {
        /// GGUF files; measured in turns, not one after the other
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
        /// GGUF files to be judged
        #[arg(required = true)]
        models: Vec<PathBuf>,
        /// The model that they are compared with, usually the unquantized source
        #[arg(long, value_name = "GGUF", value_hint = clap::ValueHint::FilePath)]
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
    /// Ends with status 3 when gates or wishes were given and no level passes the gates and grants the wishes.
    Compare {
        /// GGUF file
        model: PathBuf,
        #[command(flatten)]
        convert: ConvertArgs,
        /// Measure outputs that exist already instead of writing them again
        #[arg(long, conflicts_with_all = ["force", "existing"])]
        reuse: bool,
        /// Leave out the source: faster, but then nothing is said about its speed and memory
        #[arg(long)]
        no_source: bool,
        /// Measure only speed and memory
        #[arg(long, conflicts_with = "until_pass")]
        no_quality: bool,
        /// Find the smallest of the levels that passes the gates on quality by bisection, and measure only what that needs
        #[arg(long)]
        until_pass: bool,
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
        /// The file that the model was made from
        source: PathBuf,
        /// The converted file
        model: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Browse, compare, delete and export what was measured on this machine
    History(history::HistoryArgs),
    /// Ask models the same, one after the other, and show where their answers part
    Ask(ask::AskArgs),
    /// Convert the small model that comes with Planish to a ladder of levels and compare them: everything once, without a download
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
    /// Write all that was measured of a model and of the files made from it into one HTML file, from the history
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
    /// List the levels that were made from a model, wherever they are, with what was measured of them
    Levels(levels::LevelsArgs),
    /// Compare every byte of files made by Planish with the checksums that they carry
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// Print one JSON document to standard output, and nothing else there; a path in it that is not UTF-8 is a file: URI
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct GoalArgs {
    /// What counts most
    #[arg(long, value_enum, default_value = "balanced")]
    goal: Priority,
    /// Where the model will run
    #[arg(long, value_enum, default_value = "this-machine")]
    target: Target,
    /// Tokens of context that must fit in memory
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    context: u64,
    /// Upper limit of memory, for example 6G; default: 80 % of what is free
    #[arg(long, value_name = "SIZE", value_parser = crate::units::bytes_from_text)]
    memory_budget: Option<u64>,
    /// A versioned pipeline on ONNX Runtime or Windows ML is wanted
    #[arg(long)]
    enterprise: bool,
    /// The machine will run on battery
    #[arg(long)]
    battery: bool,
}

impl GoalArgs {
    fn to_goal(&self) -> Goal {
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
struct ConvertArgs {
    /// Levels, separated by commas: F32, BF16, F16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1, Q4_0,
    /// IQ4_NL, IQ4_XS, MXFP4_MOE, Q3_K_L, Q3_K_M, IQ3_M, IQ3_S, Q3_K_S, Q2_K, TQ2_0, TQ1_0; with an importance matrix also IQ3_XS,
    /// IQ3_XXS, Q2_K_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S
    #[arg(long, short, value_name = "L[,L…]", required = true, value_delimiter = ',', value_parser = level_parser::LevelParser, hide_possible_values = true)]
    level: Vec<Level>,
    /// Folder for the outputs; created if missing
    #[arg(long, short, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
    /// Threads; default: all that this process may use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Replace outputs that exist; the same as --existing replace
    #[arg(long)]
    force: bool,
    /// What to do with outputs that exist: leave them, replace them, or give the new ones a number; default: refuse before any work
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "force")]
    existing: Option<Existing>,
    /// Importance matrix of this model, .gguf or .dat, from planish imatrix or llama-imatrix: with it, low levels lose less
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    imatrix: Option<PathBuf>,
    /// Do not try files made from a checkpoint in llama.cpp
    #[arg(long)]
    no_check: bool,
    /// Go on with what a run that was killed left; if this one is interrupted, leave what it has for the next
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    overrides: Box<overrides::OverrideArgs>,
}

impl ConvertArgs {
    /// The levels in the given order, each once.
    fn levels(&self) -> Vec<Level> {
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
struct BenchArgs {
    /// Tokens of the prefill measurement
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    prompt_tokens: u32,
    /// Tokens of the decode measurement
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    gen_tokens: u32,
    /// Rounds; each measures every model once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// Threads of the runtime; default: one per physical core
    #[arg(long = "bench-threads", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    bench_threads: Option<u32>,
    /// After the rounds, decode each model for so long, to see what heat leaves of the speed
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    sustained: Option<u32>,
    /// Wait until other programs leave the processor alone, then measure
    #[arg(long)]
    when_quiet: bool,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// Write the report at the end; --force replaces it
    #[arg(long, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Write what the end of the name says: csv, tsv or json for the table, svg or png for a plot; --force replaces it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    export: Vec<PathBuf>,
    /// The plot of --export: size-loss, loss-speed, same-top, size-speed, decode, prefill or memory
    #[arg(long, value_name = "PLOT", default_value = "size-speed", value_parser = plot_from_text, requires = "export")]
    plot: ChartKind,
}

fn plot_from_text(text: &str) -> std::result::Result<ChartKind, String> {
    ChartKind::ALL
        .into_iter()
        .find(|kind| kind.file_stem() == text)
        .ok_or_else(|| format!("known plots: {}", ChartKind::ALL.map(ChartKind::file_stem).join(", ")))
}

#[derive(Debug, Args)]
struct QualityArgs {
    /// Text to measure on, in UTF-8, - for standard input; default: the bundled text of seven kinds
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    text: Option<PathBuf>,
    /// The most tokens to score for each model
    #[arg(long, value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tokens: u32,
    /// Tokens of a chunk, of which the second half is scored
    #[arg(long = "chunk", value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=16_384))]
    chunk_tokens: u32,
    /// Score all tokens, instead of stopping as soon as the gates are decided
    #[arg(long)]
    full: bool,
    /// Start of the random numbers for the order of the chunks and the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// How a command that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Done,
    GateNotMet,
}

/// Carries out the command, or says that the window is wanted.
///
/// Wrong usage ends the process with status 2 and touches nothing.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Action {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" of clap's too, with status 0.
            let _ = error.print();
            return Action::Exit(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    let Some(command) = cli.command else { return Action::Window(cli.model) };
    Action::Exit(match carry_out(command) {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::GateNotMet) => ExitCode::from(EXIT_GATE_NOT_MET),
        Err(Error::Cancelled) => {
            eprintln!("cancelled");
            ExitCode::from(EXIT_CANCELLED)
        }
        Err(error) => {
            print_error(&error);
            ExitCode::from(EXIT_FAILED)
        }
    })
}

fn parse(args: impl IntoIterator<Item = OsString>) -> std::result::Result<Cli, clap::Error> {
    let mut command = examples::with_examples(Cli::command());
    let mut matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    if let Some(word) = cli.model.as_deref().filter(|model| cli.command.is_none() && is_mistyped_command(model)) {
        CommandsOnly::try_parse_from([OsStr::new("planish"), word.as_os_str()])?;
    }
    Ok(cli)
}

/// True for one word that is no file here and does not look like one: it has neither separator nor ending.
fn is_mistyped_command(word: &Path) -> bool {
    let is_bare = word.file_name() == Some(word.as_os_str());
    is_bare && word.extension().is_none() && !word.exists()
}

/// One `error:` line and a `hint:` line on standard error.
pub fn print_error(error: &Error) {
    // On one line each: names of files and words of other programs may hold anything.
    eprintln!("error: {}\nhint: {}", one_line(&error.to_string()), one_line(&error.hint()));
}

fn overwrite(force: bool) -> Overwrite {
    if force { Overwrite::Allowed } else { Overwrite::Never }
}

fn carry_out(command: Command) -> Result<Status> {
    let done = match command {
        Command::Hardware { output } => run::hardware(output.json),
        Command::Inspect { model, tensors, metadata, output } => {
            run::inspect(&model, run::InspectParts { tensors, metadata }, output.json)
        }
        Command::Recommend { model, goal, all, output } => run::recommend(&model, &goal.to_goal(), all, output.json),
        Command::Convert { model, convert, output } => run::convert(&model, &convert, output.json),
        Command::Bench { models, bench, output } => run::bench(models, &bench, output.json),
        Command::Quality { models, reference, quality, gates, output } => {
            return quality::quality(models, reference, &quality, &gates, output.json);
        }
        Command::Compare { model, convert, reuse, no_source, no_quality, until_pass, bench, quality, limits, output, files } => {
            let parts = quality::CompareParts { reuse, no_source, no_quality, until_pass };
            let files = report::Files { report: files.report, exports: files.export, plot: files.plot };
            return quality::compare(
                &model,
                &quality::CompareArgs { convert, bench, quality, limits, files },
                parts,
                output.json,
            );
        }
        Command::Sample { out, only_unpack, bench, quality, limits, output } => {
            let sample = convert::unpack_sample(&out)?;
            if only_unpack {
                let text = output::print_text(&path_text::shown(&sample));
                return text.map(|()| Status::Done);
            }
            let convert = ConvertArgs {
                level: convert::SAMPLE_LEVELS.into(),
                out,
                threads: None,
                force: true,
                existing: None,
                imatrix: None,
                no_check: false,
                resume: false,
                overrides: Box::default(),
            };
            let parts = quality::CompareParts { reuse: false, no_source: false, no_quality: false, until_pass: false };
            let files = report::Files::default();
            return quality::compare(
                &sample,
                &quality::CompareArgs { convert, bench, quality, limits, files },
                parts,
                output.json,
            );
        }
        Command::Doctor { output } => run::doctor(output.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "planish", &mut script);
            output::print_bytes(&script)
        }
        Command::Man { words } => output::print_bytes(&manual::manual_page(examples::with_examples(Cli::command()), &words)?),
        Command::Errors { source, model, output } => errors::errors(&source, &model, output.json),
        Command::History(args) => history::history(&args),
        Command::Ask(args) => ask::ask(args),
        Command::Report { model, out, force, goal, limits } => {
            report::report(&model, &out, overwrite(force), &goal.to_goal(), &limits)
        }
        Command::Imatrix(args) => imatrix::imatrix(args),
        Command::Levels(args) => levels::levels(&args),
        Command::Verify(args) => verify::verify(args),
    };
    done.map(|()| Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_model_alone_opens_the_window() {
        let cli = Cli::try_parse_from(["planish", "a.gguf"]).unwrap();
        assert!(cli.command.is_none() && cli.model == Some("a.gguf".into()));
    }

    #[test]
    fn wrong_usage_is_found_before_any_work() {
        let check = |args: &[&str]| {
            let result = Cli::try_parse_from(std::iter::once("planish").chain(args.iter().copied()));
            assert_eq!(result.map(|_| ()).map_err(|error| error.exit_code()), Err(2), "{args:?}");
        };
        check(&["convert", "a.gguf", "--out", "x"]);
        check(&["convert", "a.gguf", "--level", "Q9", "--out", "x"]);
        check(&["convert", "a.gguf", "--level", "", "--out", "x"]);
        check(&["convert", "a.gguf", "--level", "Q8_0", "--out", "x", "--threads", "0"]);
        check(&["bench"]);
        check(&["bench", "a.gguf", "--repetitions", "0"]);
        check(&["recommend", "a.gguf", "--memory-budget", "much"]);
        check(&["recommend", "a.gguf", "--context", "0"]);
        check(&["compare", "a.gguf", "--level", "Q8_0", "--out", "x", "--force", "--reuse"]);
        check(&["quality", "a.gguf"]);
        check(&["quality", "a.gguf", "--reference", "b.gguf", "--max-kld", "little"]);
        check(&["quality", "a.gguf", "--reference", "b.gguf", "--max-kld", "-1"]);
        check(&["compare", "a.gguf", "--level", "Q8_0", "--out", "x", "--no-quality", "--until-pass"]);
        check(&["nonsense", "a.gguf"]);
        check(&["convert", "a.gguf", "--level", "Q4KM", "--out", "x"]);
        check(&["errors", "a.gguf"]);
        check(&["history", "show"]);
        check(&["history", "compare", "1"]);
        check(&["history", "delete"]);
        check(&["history", "delete", "1", "--all"]);
        check(&["history", "export"]);
        check(&["history", "export", "--format", "csv", "--force"]);
        check(&["history", "--kind", "smell"]);
        check(&["history", "--since", "soon"]);
        check(&["history", "--filter", "Q4", "show", "1"]);
        check(&["bench", "a.gguf", "--sustained", "0"]);
        check(&["ask", "a.gguf"]);
        check(&["ask", "--prompt", "why?"]);
        check(&["ask", "a.gguf", "--prompt", "why?", "--max-tokens", "0"]);
        check(&["ask", "a.gguf", "--prompt", "why?", "--temperature", "hot"]);
        check(&["ask", "a.gguf", "--prompt", "why?", "--loudly"]);
        check(&["report", "a.gguf"]);
        check(&["verify"]);
        check(&["levels"]);
        check(&["levels", "a.gguf", "--delete", "Q9"]);
        check(&["levels", "a.gguf", "--for-good"]);
        check(&["convert", "a.gguf", "--level", "Q8_0", "--out", "x", "--existing", "perhaps"]);
        check(&["convert", "a.gguf", "--level", "Q8_0", "--out", "x", "--existing", "skip", "--force"]);
        check(&["imatrix", "a.gguf"]);
        check(&["imatrix", "--out", "x.gguf"]);
        check(&["imatrix", "a.gguf", "--out", "x.gguf", "--chunks", "0"]);
        check(&["imatrix", "a.gguf", "--out", "x.gguf", "--context", "8"]);
        check(&["imatrix", "a.gguf", "--merge", "b.gguf", "c.gguf", "--out", "x.gguf"]);
        check(&["imatrix", "--merge", "b.gguf", "--out", "x.gguf"]);
        check(&["imatrix", "--merge", "b.gguf", "c.gguf", "--text", "t.txt", "--out", "x.gguf"]);
        check(&["compare", "a.gguf", "--level", "Q8_0", "--out", "x", "--export", "a.png", "--plot", "pie"]);
    }

    #[test]
    fn a_word_that_is_neither_command_nor_file_is_told_so() {
        let parsed = |word: &str| parse(["planish".into(), word.into()]).map_err(|error| error.to_string());
        let text = parsed("benhc").unwrap_err();
        assert!(text.contains("unrecognized subcommand 'benhc'") && text.contains("'bench'"), "{text}");
        assert!(parsed("fo").is_err());
        // A missing file is told in the window, a folder that is here is opened.
        for model in ["fo.gguf", "./fo", "fo/", "src"] {
            assert!(parsed(model).is_ok_and(|cli| cli.command.is_none()), "{model}");
        }
    }

    #[test]
    fn levels_are_taken_once_in_the_given_order() {
        let cli =
            Cli::try_parse_from(["planish", "convert", "a", "--level", "q4_k_m,Q8_0", "--level", "Q8_0", "--out", "x"]).unwrap();
        let Some(Command::Convert { convert, .. }) = cli.command else { panic!("not convert") };
        assert_eq!(convert.levels(), [Level::Q4_K_M, Level::Q8_0]);
    }
}
