//! `planish imatrix`: collects importances, or merges what was collected.

use std::path::PathBuf;

use clap::Args;

use super::output::{facts_text, print_json, print_text};
use super::{OutputArgs, overwrite, progress, quality};
use crate::calibrate::imatrix::{
    CollectRequest, Collected, DEFAULT_CHUNK_TOKENS, Existing, MAX_CHUNK_TOKENS, MIN_CHUNK_TOKENS, collect_imatrix,
    merge_imatrices,
};
use crate::error::Result;
use crate::path_text;
use crate::units::{count_of, count_text, duration_text, small_percent_text};

#[derive(Debug, Args)]
pub(super) struct ImatrixArgs {
    /// GGUF file, preferably unquantized
    #[arg(required_unless_present = "merge", conflicts_with = "merge")]
    model: Option<PathBuf>,
    /// Instead, merge importance matrices of one model, .gguf or .dat; chunks of a .dat file count as long as the others'
    #[arg(long, num_args = 2.., value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["text", "chunks", "context", "threads"])]
    merge: Vec<PathBuf>,
    /// Text to run over, in UTF-8, - for standard input; default: the bundled calibration text of 17 kinds
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    text: Option<PathBuf>,
    /// The most chunks of text, drawn evenly over its kinds; default: all, which of the bundled text are about 240 of 512 tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    /// Tokens per chunk
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHUNK_TOKENS, value_parser = clap::value_parser!(u32).range(i64::from(MIN_CHUNK_TOKENS)..=i64::from(MAX_CHUNK_TOKENS)))]
    context: u32,
    /// Importance matrix to write, as llama-imatrix does: a GGUF file; its folder is created if missing
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// Let all tokens count alike for keys and values too, as llama-imatrix does; default: by the attention that they receive, in chunks of
    /// at most 512 tokens
    #[arg(long, conflicts_with = "merge")]
    even: bool,
    /// Threads; default: one per physical core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn imatrix(args: ImatrixArgs) -> Result<()> {
    let collected = match args.model {
        None => merge_imatrices(&args.merge, &args.out, overwrite(args.force))?,
        Some(model) => {
            let request = CollectRequest {
                model,
                text: quality::named_text(args.text.as_deref())?,
                n_ctx: args.context,
                max_chunks: args.chunks,
                out: args.out,
                existing: if args.force { Existing::Replace } else { Existing::Refuse },
                by_attention: !args.even,
                n_threads: args.threads,
            };
            collect_imatrix(&request, &progress::monitor())?
        }
    };
    if args.output.json { print_json(&collected) } else { print_text(&collected_text(&collected)) }
}

fn collected_text(collected: &Collected) -> String {
    let text = format!(
        "{}, {} tokens in {}",
        collected.texts.join(", "),
        count_text(collected.n_tokens()),
        count_of(collected.n_chunks, "chunk")
    );
    let mut facts = vec![
        ("file", path_text::shown(&collected.path)),
        ("tensors", count_text(collected.n_tensors as u64)),
        ("text", text),
        ("time", duration_text(collected.elapsed_secs)),
    ];
    if !collected.changes.is_empty() {
        let changes = collected.changes.iter().map(|at| format!("{} at {}", small_percent_text(at.change), at.n_chunks));
        facts.push(("changes", format!("{} chunks", changes.collect::<Vec<_>>().join(", "))));
    }
    let mut text = facts_text(&facts);
    text.extend(collected.change_text().map(|change| format!("\n{change}")));
    text.extend(collected.warnings().iter().map(|warning| format!("\nwarning: {warning}")));
    text
}
