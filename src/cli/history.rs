//! `planish history`: browse, compare, delete and export what was measured.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::OutputArgs;
use super::output::{columns_text, facts_text, print_bytes, print_json, print_text};
use super::progress;
use crate::advise::{Decision, LossWords, same_words_text};
use crate::bench::history::{
    Comparison, Entry, ExportFormat, Filter, History, Judgement, Kind, Measured, Measurement, Row, Saving, record_all, savings,
};
use crate::convert::{Overwrite, write_whole};
use crate::error::{Error, Result};
use crate::path_text;
use crate::units::{
    count_of, count_text, local_date_from_text, local_time_text, nats_text, percent_text, plus_minus_text, significant_text,
};

/// What stands in a cell without a value.
const NOTHING: &str = "–";
/// Digits of a hash that are shown: enough to tell files apart.
const HASH_DIGITS: usize = 12;

/// Without a command, the runs are listed.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The runs are in a SQLite file in your data folder; the variable PLANISH_HISTORY names another file."
)]
pub(super) struct HistoryArgs {
    #[command(subcommand)]
    action: Option<HistoryCommand>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// Show runs in full, with the settings and conditions of the measurement
    Show {
        /// Run numbers, as planish history lists them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show runs side by side, with what changed against the first
    Compare {
        /// Run numbers, as planish history lists them
        #[arg(required = true, num_args = 2.., value_name = "ID")]
        ids: Vec<i64>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete runs for good
    Delete {
        /// Run numbers, as planish history lists them
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
        ids: Vec<i64>,
        /// Delete every run
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write runs for other programs
    Export {
        /// csv: one line per run; json: everything that was measured
        #[arg(long, value_enum)]
        format: ExportFormat,
        /// File to write; default: standard output
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        out: Option<PathBuf>,
        /// Replace the file if it exists
        #[arg(long, requires = "out")]
        force: bool,
        #[command(flatten)]
        filter: FilterArgs,
    },
}

#[derive(Debug, Args)]
struct FilterArgs {
    /// Words that must all occur in model, level or machine
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Only this kind of measurement
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only runs of this day or later, for example 2026-08-21
    #[arg(long, value_name = "DATE", value_parser = local_date_from_text)]
    since: Option<i64>,
    /// Show at most this many runs: the latest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl FilterArgs {
    fn to_filter(&self) -> Filter {
        Filter { text: self.filter.clone(), kind: self.kind, since_unix_secs: self.since, limit: self.limit }
    }
}

/// Keeps measurements in the history. A failure is only a warning: the numbers are as good without it.
pub(super) fn keep(outcomes: &[impl Measured]) {
    if let Err(error) = record_all(outcomes, &progress::monitor()) {
        eprintln!("warning: not kept in the history: {}", path_text::one_line(&error.to_string()));
    }
}

/// The value read from the history. A failure is printed as a warning with its consequence, and gives the default.
pub(super) fn or_warn<T: Default>(read: Result<T>, consequence: &str) -> T {
    read.unwrap_or_else(|error| {
        eprintln!("warning: {consequence}: {}", path_text::one_line(&error.to_string()));
        T::default()
    })
}

pub(super) fn history(args: &HistoryArgs) -> Result<()> {
    let mut history = History::open_default()?;
    match &args.action {
        None => list(&history, &args.filter.to_filter(), args.output.json),
        Some(HistoryCommand::Show { ids, output }) => show(&history, ids, output.json),
        Some(HistoryCommand::Compare { ids, output }) => {
            let comparison = history.compare(ids)?;
            if comparison.runs.len() < 2 {
                return Err(Error::BadRequest { message: "two different runs are needed to compare".into() });
            }
            let columns: Vec<Vec<i64>> = ids.iter().map(|&id| vec![id]).collect();
            let savings = savings(&history.list(&Filter::default())?, &columns);
            if output.json {
                return print_json(&ComparedJson { comparison: &comparison, savings: savings.iter().map(saving_json).collect() });
            }
            print_text(&format!("{}{}", comparison_text(&comparison), savings_text(&savings)))
        }
        Some(HistoryCommand::Delete { ids, all, output }) => delete(&mut history, ids, *all, output.json),
        Some(HistoryCommand::Export { format, out, force, filter }) => {
            let ids: Vec<i64> = history.list(&filter.to_filter())?.iter().map(|row| row.id).collect();
            let text = history.export(&ids, *format)?;
            match out {
                Some(path) => write_whole(path, text.as_bytes(), if *force { Overwrite::Allowed } else { Overwrite::Never }),
                None => print_bytes(text.as_bytes()),
            }
        }
    }
}

fn list(history: &History, filter: &Filter, as_json: bool) -> Result<()> {
    let rows = history.list(filter)?;
    if as_json {
        return print_json(&json!({ "runs": rows }));
    }
    if rows.is_empty() {
        let is_filtered = *filter != Filter { limit: filter.limit, ..Filter::default() };
        let text =
            if is_filtered { "no run matches" } else { "no runs yet: planish bench and planish compare keep what they measure" };
        return print_text(text);
    }
    print_text(&rows_text(&rows))
}

fn rows_text(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let decode = row.decode_tokens_per_sec.zip(row.decode_spread).map(|(mid, spread)| plus_minus_text(mid, spread));
            let kld = row.mean_kld.map(|kld| kld.text(nats_text));
            let top = row.same_top.map(|top| percent_text(top.value));
            vec![
                row.id.to_string(),
                local_time_text(row.recorded_unix_secs),
                row.kind.label().to_lowercase(),
                row.level.clone().unwrap_or_else(|| NOTHING.into()),
                decode.unwrap_or_else(|| NOTHING.into()),
                row.verdict.map_or(NOTHING, Decision::label).into(),
                row.loss_words().map_or_else(|| NOTHING.into(), LossWords::text),
                kld.unwrap_or_else(|| NOTHING.into()),
                top.unwrap_or_else(|| NOTHING.into()),
                row.model_name.clone(),
                row.machine.clone(),
            ]
        })
        .collect();
    let header =
        ["run", "measured", "kind", "level", "decode tok/s", "verdict", "loss", "KLD, nats", "same top", "model", "machine"];
    columns_text(&header, &cells, &[0, 4, 7, 8])
}

fn show(history: &History, ids: &[i64], as_json: bool) -> Result<()> {
    if as_json {
        return print_text(&history.export(ids, ExportFormat::Json)?);
    }
    let mut texts = Vec::new();
    for entry in history.get(ids)? {
        texts.push(entry_text(&entry, &history.compare(&[entry.row.id])?));
    }
    print_text(&texts.join("\n\n"))
}

fn entry_text(entry: &Entry, alone: &Comparison) -> String {
    let first = |values: &[String]| values.first().cloned().unwrap_or_default();
    let mut facts: Vec<(&str, String)> = alone.facts.iter().map(|fact| (fact.name, first(&fact.values))).collect();
    facts.push(("File", path_text::shown(&entry.row.path)));
    for line in &alone.numbers {
        facts
            .extend(line.values.first().copied().flatten().map(|value| (line.quantity.label(), line.quantity.value_text(value))));
    }
    let warnings = match &entry.measurement {
        Measurement::Speed(run) => {
            let used = &run.provenance;
            let rounds = run.decode_tokens_per_sec.values.len();
            facts.push(("Rounds", rounds.to_string()));
            facts.push(("Prompt and generated tokens", format!("{} and {}", used.n_prompt_tokens, used.n_gen_tokens)));
            facts.extend(used.conditions.other_load.map(|load| ("Other programs", percent_text(load.into()))));
            &used.warnings
        }
        Measurement::Quality(run) => {
            let used = &run.provenance;
            facts.push(("Reference", path_text::shown(&run.reference)));
            facts.push(("Tokens of a chunk", used.n_ctx.to_string()));
            facts.push(("Seed", used.seed.to_string()));
            facts.push(("Changed tokens", count_text(run.n_flips)));
            facts.extend(used.conditions.other_load.map(|load| ("Other programs", percent_text(load.into()))));
            facts.push(("Loss", run.summary.loss_words().map_or_else(|| "unknown".into(), LossWords::text)));
            facts.push(("Next words", same_words_text(run.summary.same_top.value)));
            for gate in entry.verdict().iter().flat_map(|verdict| &verdict.gates) {
                facts.push((gate.kind.label(), format!("{}: {}", gate.decision.label(), gate.text())));
            }
            &used.warnings
        }
    };
    let mut text = format!("Run {}\n{}", entry.row.id, facts_text(&facts));
    for warning in warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

fn delete(history: &mut History, ids: &[i64], all: bool, as_json: bool) -> Result<()> {
    let known: Vec<i64> = history.list(&Filter::default())?.iter().map(|row| row.id).collect();
    // A mistyped number must not pass as a deletion, nor delete the others.
    if let Some(&id) = ids.iter().find(|id| !known.contains(id)) {
        return Err(Error::UnknownRun { id });
    }
    let n_deleted = history.delete(if all { &known } else { ids })?;
    if as_json {
        return print_json(&json!({ "n_deleted": n_deleted }));
    }
    print_text(&format!("deleted {}", count_of(n_deleted, "run")))
}

/// Numbers with their changes below them, then facts; `≠` marks facts that differ.
fn comparison_text(comparison: &Comparison) -> String {
    let titles: Vec<String> = comparison.runs.iter().map(|row| format!("run {}: {}", row.id, row.short_name())).collect();
    let header: Vec<&str> = std::iter::once("").chain(titles.iter().map(String::as_str)).collect();
    let mut cells: Vec<Vec<String>> = Vec::new();
    for line in &comparison.numbers {
        let value = line.values.iter().map(|value| value.map_or_else(|| NOTHING.into(), |value| line.quantity.value_text(value)));
        cells.push(std::iter::once(line.quantity.label().to_string()).chain(value).collect());
        if line.changes.iter().any(Option::is_some) {
            let change = line.changes.iter().map(|change| {
                change.map_or_else(String::new, |change| {
                    let text = line.quantity.change_text(&change);
                    if change.judgement == Judgement::Same { text } else { format!("{text}, {}", change.judgement.label()) }
                })
            });
            cells.push(std::iter::once(String::new()).chain(change).collect());
        }
    }
    for fact in &comparison.facts {
        let name = if fact.differs { format!("{} ≠", fact.name) } else { fact.name.to_string() };
        let is_hash = fact.name.ends_with("SHA-256");
        let value = fact.values.iter().map(|value| match value.get(..HASH_DIGITS) {
            _ if value.is_empty() => NOTHING.to_string(),
            Some(start) if is_hash => start.to_string(),
            _ => value.clone(),
        });
        cells.push(std::iter::once(name).chain(value).collect());
    }
    let mut text = columns_text(&header, &cells, &[]);
    for note in &comparison.notes {
        text.push_str(&format!("\nwarning: {note}"));
    }
    text
}

/// A comparison; for runs of several models also what each saves and loses against its own source.
#[derive(Serialize)]
struct ComparedJson<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    savings: Vec<serde_json::Value>,
}

fn saving_json(saving: &Saving) -> serde_json::Value {
    let mut json = json!(saving);
    json["saved_bytes"] = json!(saving.saved_bytes());
    json["loss_per_gb"] = json!(saving.loss_per_gb());
    json
}

/// A table of levels of several models, each against its own source; empty for one model.
fn savings_text(savings: &[Saving]) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    let gb = |size_bytes: Option<u64>| size_bytes.map_or_else(|| NOTHING.into(), |size| significant_text(size as f64 / 1e9));
    let row = |saving: &Saving| {
        vec![
            saving.model.clone(),
            saving.level.clone(),
            gb(Some(saving.size_bytes)),
            gb(saving.source_bytes),
            gb(saving.saved_bytes()),
            saving.mean_kld.map_or_else(|| NOTHING.into(), |kld| kld.text(nats_text)),
            saving.loss_per_gb().map_or_else(|| NOTHING.into(), nats_text),
        ]
    };
    if savings.is_empty() {
        return String::new();
    }
    let header = ["model", "level", "size, GB", "source, GB", "saved, GB", "own loss, nats", "loss per GB"];
    let table = columns_text(&header, &savings.iter().map(row).collect::<Vec<_>>(), &[2, 3, 4, 5, 6]);
    let mut text = format!("\n\nEach against its own source: what a level cost that model, not which model is better\n{table}");
    if savings.iter().any(|saving| saving.mean_kld.is_none()) {
        text.push_str("\nthe loss of a file is known from its quality run: compare that run");
    }
    if savings.iter().any(|saving| saving.mean_kld.is_some() && saving.source_bytes.is_none()) {
        text.push_str("\nthe size of a source is known once its speed was measured: planish bench");
    }
    text
}
