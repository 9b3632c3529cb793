//! The command line: parsing and dispatch; the arguments are in `args`. Same domain, same words as the window.
#![allow(clippy::doc_markdown, reason = "the documentation of arguments is their help text, where backticks would be noise")]

mod args;
mod ask;
mod budget;
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
mod onnx;
mod output;
mod overrides;
mod plan_table;
mod progress;
mod quality;
mod report;
mod run;
mod runtime;
mod signals;
mod tables;
mod verify;

pub use signals::ignore_file_size_signal;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};

use args::{BenchArgs, Cli, Command, CommandsOnly, CompareParts, ConvertArgs, OutputArgs, QualityArgs};

use crate::calibrate::moments::DEFAULT_TOKENS;
use crate::convert::{self, Overwrite};
use crate::error::{Error, Result};
use crate::path_text;
use crate::path_text::one_line;

/// Exit status of a failed request.
const EXIT_FAILED: u8 = 1;
/// Exit status when a gate was not met.
const EXIT_GATE_NOT_MET: u8 = 3;
/// Exit status after a cancellation, as shells report it for SIGINT.
const EXIT_CANCELLED: u8 = 130;

/// What the arguments ask for.
pub enum Action {
    /// Open the window, with this model if there is one.
    Window(Option<PathBuf>),
    /// The command has been carried out; leave with this status.
    Exit(ExitCode),
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
            // The terminal may be gone.
            let _ = writeln!(std::io::stderr(), "cancelled");
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
    let mut matches = command.try_get_matches_from_mut(without_format(args.into_iter().collect()))?;
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    if let Some(word) = cli.model.as_deref().filter(|model| cli.command.is_none() && is_mistyped_command(model)) {
        CommandsOnly::try_parse_from([OsStr::new("planish"), word.as_os_str()])?;
    }
    Ok(cli)
}

/// Takes `--format mlx` out of the arguments and puts `mlx:` before each level, for people used to that spelling from other
/// tools. `--format gguf` is only taken out; any other value stays, because a command may have a `--format` of its own.
fn without_format(args: Vec<OsString>) -> Vec<OsString> {
    let text = |at: usize| args.get(at).map_or(Cow::Borrowed(""), |arg| path_text::searchable(arg));
    let is_known = |name: &str| matches!(name, "mlx" | "gguf");
    let Some(at) = (0..args.len()).find(|&at| match text(at).as_ref() {
        "--format" => is_known(&text(at + 1)),
        arg => arg.strip_prefix("--format=").is_some_and(is_known),
    }) else {
        return args;
    };
    let n_taken = if text(at) == "--format" { 2 } else { 1 };
    let is_mlx = text(at + n_taken - 1).ends_with("mlx");
    let mut rest: Vec<OsString> = args.iter().take(at).chain(args.iter().skip(at + n_taken)).cloned().collect();
    let mut is_value = false;
    for arg in rest.iter_mut().filter(|_| is_mlx) {
        let name = path_text::searchable(arg).into_owned();
        let (option, levels) = match name.split_once('=') {
            Some(("--level", levels)) => ("--level=", levels),
            _ if is_value => ("", name.as_str()),
            _ => {
                is_value = matches!(name.as_str(), "--level" | "-l");
                continue;
            }
        };
        is_value = false;
        let prefixed = |level: &str| if level.contains(':') { level.to_string() } else { format!("mlx:{level}") };
        *arg = format!("{option}{}", levels.split(',').map(prefixed).collect::<Vec<_>>().join(",")).into();
    }
    rest
}

/// True for one word that is no file here and does not look like one: it has neither separator nor ending.
fn is_mistyped_command(word: &Path) -> bool {
    let is_bare = word.file_name() == Some(word.as_os_str());
    is_bare && word.extension().is_none() && !word.exists()
}

/// Prints an `error:` line and a `hint:` line to standard error.
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
            run::inspect(&model, args::InspectParts { tensors, metadata }, output.json)
        }
        Command::Recommend { model, goal, all, output } => run::recommend(&model, &goal.to_goal(), all, output.json),
        Command::Convert { model, convert, max_kld, output } => run::convert(&model, &convert, max_kld, output.json),
        Command::Bench { models, bench, output } => run::bench(models, &bench, output.json),
        Command::Quality { models, reference, quality, gates, output } => {
            return quality::quality(models, reference, &quality, &gates, output.json);
        }
        Command::Compare { model, convert, parts, bench, quality, limits, output, files } => {
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
            let convert = Box::new(ConvertArgs {
                level: convert::SAMPLE_LEVELS.into(),
                out,
                threads: None,
                force: true,
                existing: None,
                imatrix: None,
                calibrated: false,
                budget: None,
                calibration_text: None,
                calibration_mix: None,
                calibration_tokens: DEFAULT_TOKENS,
                no_check: false,
                resume: false,
                overrides: Box::default(),
            });
            let parts = CompareParts::default();
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
        Command::Runtime(args) => runtime::runtime(args),
        Command::Verify(args) => verify::verify(args),
    };
    done.map(|()| Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Level;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_format_stands_before_the_levels_too() {
        let levels = |args: &[&str]| match parse(args.iter().map(OsString::from)).map(|cli| cli.command) {
            Ok(Some(Command::Convert { convert, .. })) => convert.level.into_iter().map(Level::name).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let convert = ["planish", "convert", "m", "--out", "d"];
        let with = |more: &[&'static str]| levels(&[&convert[..], more].concat());
        assert_eq!(
            with(&["--format", "mlx", "--level", "4-bit,8-bit-g32,mxfp4"]),
            ["mlx:4-bit-g64", "mlx:8-bit-g32", "mlx:mxfp4"]
        );
        assert_eq!(with(&["-l", "bf16", "--format=mlx"]), ["mlx:bf16"]);
        assert_eq!(with(&["--level=mlx:4-bit", "--format", "mlx"]), ["mlx:4-bit-g64"]);
        assert_eq!(with(&["--format", "gguf", "--level", "Q4_K_M"]), ["Q4_K_M"]);
        assert_eq!(with(&["--format", "onnx", "--level", "Q4_K_M"]), [""; 0], "an unknown one is an error");
        assert!(parse(["planish", "history", "export", "--format", "csv", "--out", "a"].map(OsString::from)).is_ok());
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
        check(&["convert", "a.gguf", "--level", "Q8_0", "--out", "x", "--calibrated", "--calibration-mix"]);
        check(&[
            "convert",
            "a.gguf",
            "--level",
            "Q8_0",
            "--out",
            "x",
            "--calibrated",
            "--calibration-text",
            "t",
            "--calibration-mix=0",
        ]);
        check(&["convert", "a.gguf", "--budget", "gate", "--out", "x"]);
        check(&["convert", "a.gguf", "--level", "Q8_0", "--max-kld", "0.1", "--out", "x"]);
        check(&["convert", "a.gguf", "--budget", "gates", "--max-kld", "-1", "--out", "x"]);
        check(&["compare", "a.gguf", "--budget", "gates", "--no-quality", "--until-pass", "--out", "x"]);
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
        // A missing file is reported in the window, an existing folder is opened.
        for model in ["fo.gguf", "./fo", "fo/", "src"] {
            assert!(parsed(model).is_ok_and(|cli| cli.command.is_none()), "{model}");
        }
    }

    #[test]
    fn a_mixture_is_half_unless_told_otherwise() {
        let percent = |more: &[&str]| {
            let command = ["planish", "convert", "--level", "Q4_0", "--out", "d", "--calibrated", "--calibration-text", "t.txt"];
            match Cli::try_parse_from(command.iter().chain(more)).unwrap().command {
                Some(Command::Convert { convert, .. }) => run::calibration(&convert).unwrap().own_percent,
                _ => 0,
            }
        };
        assert_eq!(percent(&["m"]), 100);
        assert_eq!(percent(&["--calibration-mix", "m"]), 50);
        assert_eq!(percent(&["--calibration-mix=30", "m"]), 30);
    }

    #[test]
    fn levels_are_taken_once_in_the_given_order() {
        let cli =
            Cli::try_parse_from(["planish", "convert", "a", "--level", "q4_k_m,Q8_0", "--level", "Q8_0", "--out", "x"]).unwrap();
        let Some(Command::Convert { convert, .. }) = cli.command else { panic!("not convert") };
        assert_eq!(convert.levels(), [Level::Q4_K_M, Level::Q8_0]);
    }
}
