//! `planish levels`: the levels of a model that this machine has.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::OutputArgs;
use super::level_parser::LevelParser;
use super::output::{columns_text, print_json, print_text};
use super::print_error;
use crate::advise::LossWords;
use crate::bench::Run;
use crate::bench::history::Kind;
use crate::bench::known::{FindRequest, Known, find_known, forget_conversion};
use crate::bench::quality::QualityRun;
use crate::convert::{self, Conversion, Removal, remove_outputs};
use crate::error::{Error, Result};
use crate::model::Level;
use crate::units::{bytes_text, count_of, local_day_text, nats_text, plus_minus_text, significant_text};

/// What stands in a cell without a value.
const NOTHING: &str = "–";

#[derive(Debug, Args)]
pub(super) struct LevelsArgs {
    /// GGUF file or checkpoint
    #[arg(value_name = "MODEL", value_hint = clap::ValueHint::AnyPath)]
    model: PathBuf,
    /// Search this folder too; the model's own folder and those of its earlier conversions are always searched
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: Vec<PathBuf>,
    /// Move the files of these levels to the bin; what was measured of them stays in the history
    #[arg(long, value_name = "L[,L…]", value_delimiter = ',', value_parser = LevelParser, hide_possible_values = true)]
    delete: Vec<Level>,
    /// Delete them for good instead
    #[arg(long, requires = "delete")]
    for_good: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Lists the levels with their latest measurements; with `--delete` those that are left.
pub(super) fn levels(args: &LevelsArgs) -> Result<()> {
    let model = Arc::new(convert::open_model(&args.model)?);
    let request = FindRequest { model, folders: args.folder.clone(), known: Vec::new(), machine: None };
    let mut known = find_known(&request)?;
    if let Some(problem) = &known.problem {
        eprintln!("warning: runs are missing: {problem}");
    }
    if let Some(missing) = args.delete.iter().find(|level| !known.levels.iter().any(|made| made.level == **level)) {
        let message = format!("no file of level {missing} was made from {}", crate::path_text::shown(&args.model));
        return Err(Error::BadRequest { message });
    }
    let removal = if args.for_good { Removal::ForGood } else { Removal::Bin };
    let (gone, left): (Vec<_>, Vec<_>) = known.levels.into_iter().partition(|made| args.delete.contains(&made.level));
    known.levels = left;
    let gone: Vec<PathBuf> = gone.into_iter().map(|made| made.path).collect();
    let mut failures = remove_outputs(&gone, removal, |path| {
        forget_conversion(path);
        let verb = if args.for_good { "deleted" } else { "moved to the bin" };
        eprintln!("{verb}: {}", crate::path_text::shown(path));
    });
    if let Some(last) = failures.pop() {
        failures.iter().for_each(print_error);
        return Err(last);
    }
    if args.output.json { print_json(&levels_json(&known)) } else { print_text(&levels_text(&known)) }
}

fn sum_bytes(known: &Known) -> u64 {
    known.levels.iter().map(|made| made.size_bytes).fold(0, u64::saturating_add)
}

fn levels_json(known: &Known) -> serde_json::Value {
    let origin = |made: &Conversion, kind| {
        let origin = known.origins.iter().find(|origin| origin.path == made.path && origin.kind == kind)?;
        let mut found = json!({ "run": origin.run_id, "recorded_unix_secs": origin.recorded_unix_secs, "note": origin.note() });
        if let Some(run) = speed_of(known, made).filter(|_| kind == Kind::Speed) {
            found["decode_tokens_per_sec"] = json!(run.decode_tokens_per_sec.median());
            found["decode_spread"] = json!(run.decode_tokens_per_sec.spread());
            found["peak_memory_bytes"] = json!(run.peak_memory_bytes);
        }
        if let Some(run) = quality_of(known, made).filter(|_| kind == Kind::Quality) {
            found["mean_kld"] = json!(run.summary.mean_kld);
            found["same_top"] = json!(run.summary.same_top);
            found["loss"] = json!(run.summary.loss_words().map(LossWords::text));
            found["verdict"] = json!(run.verdict.decision);
        }
        Some(found)
    };
    let level = |made: &Conversion| {
        json!({
            "level": made.level,
            "path": crate::path_text::to_text(&made.path),
            "size_bytes": made.size_bytes,
            "bits_per_weight": made.bits_per_weight,
            "changes": made.changes,
            "speed": origin(made, Kind::Speed),
            "quality": origin(made, Kind::Quality),
        })
    };
    json!({
        "source": crate::path_text::to_text(known.stand_in.as_ref().map_or(&known.source, |model| &model.path)),
        "size_bytes": sum_bytes(known),
        "levels": known.levels.iter().map(level).collect::<Vec<_>>(),
    })
}

fn levels_text(known: &Known) -> String {
    if known.levels.is_empty() {
        return format!("no levels of {} were found", crate::path_text::shown(&known.source));
    }
    let rows: Vec<Vec<String>> = known.levels.iter().map(|made| row(known, made)).collect();
    let header = ["level", "size", "bits/weight", "decode tok/s", "loss", "mean KLD", "measured", "file"];
    let mut text = columns_text(&header, &rows, &[1, 2, 3, 5]);
    let files = count_of(known.levels.len(), "file");
    text.push_str(&format!("\n\n{files}, together {}", bytes_text(sum_bytes(known))));
    for origin in &known.origins {
        if let Some(note) = origin.note() {
            let kind = origin.kind.label().to_lowercase();
            text.push_str(&format!("\nwarning: {kind} of {}: {note}", crate::path_text::shown(&origin.path)));
        }
    }
    text
}

fn speed_of<'a>(known: &'a Known, made: &Conversion) -> Option<&'a Run> {
    known.outcomes.iter().find(|outcome| outcome.path == made.path)?.result.as_ref().ok()
}

fn quality_of<'a>(known: &'a Known, made: &Conversion) -> Option<&'a QualityRun> {
    known.quality.iter().find(|outcome| outcome.path == made.path)?.result.as_deref().ok()
}

fn row(known: &Known, made: &Conversion) -> Vec<String> {
    let (speed, loss) = (speed_of(known, made), quality_of(known, made));
    let decode = speed.map(|run| &run.decode_tokens_per_sec).map(|stat| plus_minus_text(stat.median(), stat.spread()));
    let latest = known.origins.iter().filter(|origin| origin.path == made.path).map(|origin| origin.recorded_unix_secs).max();
    vec![
        made.name(),
        bytes_text(made.size_bytes),
        significant_text(made.bits_per_weight),
        decode.unwrap_or_else(|| NOTHING.into()),
        loss.and_then(|run| run.summary.loss_words()).map_or_else(|| NOTHING.into(), LossWords::short_text),
        loss.map_or_else(|| NOTHING.into(), |run| nats_text(run.summary.mean_kld.value)),
        latest.map_or_else(|| NOTHING.into(), local_day_text),
        crate::path_text::shown(&made.path),
    ]
}
