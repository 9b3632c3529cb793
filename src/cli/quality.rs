//! The commands that measure what is lost: `quality` and `compare`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::CompareParts;
use super::limits::{GateArgs, LimitArgs};
use super::output::{columns_text, print_json, print_text};
use super::report::Files;
use super::run::{bench_request, calibration, convert_request, first_failure, outcomes_json};
use super::{BenchArgs, ConvertArgs, QualityArgs, Status, overwrite};
use super::{budget, comparison_table, progress, tables};
use crate::advise::{self, Decision, Goal, Interval, Limits, LossWords, WishResult, accuracy_remark, same_words_text};
use crate::bench::quality::{
    QualityOutcome, QualityRequest, QualityRun, ReferenceBy, Stopping, paired_difference, quality as measure_quality,
};
use crate::bench::{self, ComparisonRow, Headline};
use crate::calibrate::text::TextSource;
use crate::convert::{self, Existing, fitting_imatrix};
use crate::deploy::{llama_cli_command, mlx_command, ollama_command};
use crate::error::{Error, Result};
use crate::make::{self, CompareRequest, Comparison, GatedFile, MakeRequest, Step};
use crate::model::{Framework, Model};
use crate::path_text;
use crate::units::{bytes_text, count_of, duration_text, nats_text};

/// The arguments of `compare` by subject.
pub(super) struct CompareArgs {
    pub(super) convert: Box<ConvertArgs>,
    pub(super) bench: BenchArgs,
    pub(super) quality: QualityArgs,
    pub(super) limits: LimitArgs,
    pub(super) files: Files,
}

pub(super) fn quality(
    models: Vec<PathBuf>,
    reference: PathBuf,
    args: &QualityArgs,
    gates: &GateArgs,
    as_json: bool,
) -> Result<Status> {
    match crate::format::inspect(&reference) {
        // No architecture that Planish computes itself has recurrent layers, which are what is refused.
        Err(Error::CheckpointNotRunnable { .. }) => {}
        model => gates.check(&model?)?,
    }
    let request = QualityRequest { reference, candidates: models, gates: gates.to_gates(), ..quality_request(args)? };
    let outcomes = measure_quality(&request, &progress::monitor(), |outcome| on_step(Step::Quality(outcome)))?;
    if as_json {
        print_json(&json!({ "runs": outcomes_json("run", outcomes.iter().map(|outcome| (&outcome.path, &outcome.result))) }))?;
    } else {
        print_text(&quality_text(&outcomes))?;
    }
    first_failure(outcomes.iter().map(|outcome| &outcome.result))?;
    let all_pass = outcomes.iter().all(passes);
    Ok(if all_pass { Status::Done } else { Status::GateNotMet })
}

pub(super) fn compare(path: &Path, args: &CompareArgs, parts: CompareParts, as_json: bool) -> Result<Status> {
    let model = convert::open_model(path)?;
    args.files.check(overwrite(args.convert.force), &model)?;
    args.limits.gates.check(&model)?;
    if parts.no_quality && args.limits.gates.is_given() {
        return Err(Error::BadRequest { message: "gates are about quality, which --no-quality leaves out".into() });
    }
    if let Some(imatrix) = &args.convert.imatrix {
        fitting_imatrix(&model, imatrix)?;
    }
    let limits = args.limits.to_limits();
    let request = CompareRequest {
        make: MakeRequest {
            convert: convert_request(&args.convert)?,
            calibration: calibration(&args.convert)?,
            budget: args.convert.budget.map(|wanted| wanted.aim(limits.gates.clone())),
            is_checked: !args.convert.no_check,
            // What is skipped is measured as it is.
            reuses: parts.reuse || args.convert.existing == Some(Existing::Skip),
            memory_limit: None,
        },
        bench: bench_request(Vec::new(), &args.bench),
        quality: (!parts.no_quality).then(|| quality_request(&args.quality)).transpose()?,
        limits: limits.clone(),
        goal: Goal { memory_budget_bytes: parts.memory_budget, ..Goal::default() },
        with_source: !parts.no_source,
        until_pass: parts.until_pass,
    };
    let goal = request.goal.clone();
    let found = make::compare(model, request, &progress::monitor(), &on_step)?;
    if let Some(error) = &found.unread {
        eprintln!("warning: predictions do not learn from earlier runs: {error}");
    }
    if as_json {
        print_json(&comparison_json(&found, &limits, &goal))?;
    } else {
        print_text(&comparison_text(&found, &goal))?;
    }
    // The advice is for `recommend`'s default context, not for the few tokens of a measurement.
    args.files.write(&found.source, &found.machine, &goal, &limits, &found.rows, overwrite(args.convert.force))?;
    found.broken.clone().map_or(Ok(()), Err)?;
    // That the source is larger than memory is known and told: it is no failure.
    let is_source = |outcome: &&bench::Outcome| found.reference.limit().is_some() && outcome.path == found.source.path;
    first_failure(found.speed.iter().filter(|outcome| !is_source(outcome)).map(|outcome| &outcome.result))?;
    first_failure(found.quality.iter().map(|outcome| &outcome.result))?;
    let is_granted = !args.limits.is_given() || found.rows.iter().any(|row| is_wanted(row, parts));
    let is_found = found.search.is_none_or(|level| level.is_some())
        && found.gated.as_ref().is_none_or(|files| files.last().is_some_and(GatedFile::passes));
    let is_met = is_found && is_granted;
    Ok(if is_met { Status::Done } else { Status::GateNotMet })
}

/// Keeps each measurement in the history as soon as it is known, so that cancelling loses no earlier one.
fn on_step(step: Step) {
    match step {
        Step::Trying(level) => eprintln!("trying {level}"),
        Step::TryingGates(recipe) => eprintln!("trying {}", budget::gated_text(recipe)),
        Step::Speed(outcomes) => super::history::keep(outcomes),
        Step::Quality(outcome) => super::history::keep(std::slice::from_ref(outcome)),
    }
}

/// What is to be known about the source that losses are against.
fn warnings_of(found: &Comparison) -> Vec<String> {
    let of_source = source_warning(&found.source).filter(|_| !found.quality.is_empty());
    let of_reference = reference_text(found).filter(|_| found.reference.by() == ReferenceBy::Runtime);
    of_reference.into_iter().chain(of_source).chain(found.other_kind.clone()).collect()
}

/// Who computed the reference and why; `None` for the usual one.
fn reference_text(found: &Comparison) -> Option<String> {
    found.reference.text(found.source.own_level())
}

fn comparison_text(found: &Comparison, goal: &Goal) -> String {
    let mut text = comparison_table::comparison_text(&found.rows);
    if !found.quality.is_empty() {
        text.push_str(&format!("\n\nWhat is lost, against {}\n", file_name(&found.source.path)));
        text.push_str(&quality_text(&found.quality));
    }
    text.extend(reference_text(found).filter(|_| found.reference.limit().is_some()).map(|text| format!("\n\n{text}")));
    text.push_str(&wishes_text(&found.rows));
    text.extend(found.budgeted.iter().map(|recipe| format!("\n\n{}", budget::budget_text(recipe))));
    let errors_line = bench::prediction_errors_text(&bench::prediction_errors(&found.rows));
    if !errors_line.is_empty() {
        text.push_str(&format!("\n\n{errors_line}"));
    }
    if let Some(level) = found.search {
        text.push_str(&match level {
            Some(level) => format!("\n\nThe smallest level that passes the gates on quality: {level}"),
            None => "\n\nNone of the levels passes the gates on quality".into(),
        });
    }
    text.extend(found.gated.iter().map(|files| format!("\n\n{}", budget::gated_files_text(files))));
    text.extend(warnings_of(found).iter().map(|warning| format!("\nwarning: {warning}")));
    let headline = bench::headline(&found.source, &found.rows, found.planned, goal);
    text.push_str(&headline.map_or_else(String::new, |headline| headline_text(&found.source, &found.rows, &headline)));
    text
}

fn comparison_json(found: &Comparison, limits: &Limits, goal: &Goal) -> serde_json::Value {
    let Comparison { source, machine, rows, planned, .. } = found;
    json!({
        "model": tables::model_json(source, false, false),
        "machine": machine,
        "reference": {
            "by": found.reference.by(),
            "needed_bytes": found.reference.bytes().map(|bytes| bytes.0),
            "limit_bytes": found.reference.bytes().map(|bytes| bytes.1),
            "text": reference_text(found),
        },
        "gates": limits.gates,
        "wishes": limits.wishes,
        "cheapest_passing": found.search.flatten(),
        "choice": bench::measured_choice(rows, *planned, goal),
        "headline": bench::headline(source, rows, *planned, goal),
        "prediction_errors": bench::prediction_errors(rows),
        "rows": rows,
        "budget": found.budgeted,
        "gated": found.gated.as_deref().map(budget::gated_files_json),
        "warnings": warnings_of(found),
    })
}

/// The warning that losses against a source that was itself quantized hide its own loss; `None` for any other source.
fn source_warning(model: &Model) -> Option<String> {
    let first = advise::quantized_origin(model)?;
    let how = if model.is_quantized() { format!("is {first} itself") } else { format!("was decoded from {first}") };
    Some(format!("the source {how}: losses are against it, and levels near {first} look better than they are"))
}

/// The answer at the end, where the eye is: the file to take, why, and how to run it.
fn headline_text(model: &Model, rows: &[ComparisonRow], headline: &Headline) -> String {
    let Some(row) = rows.get(headline.row_idx) else { return String::new() };
    let mut lines = vec![headline.title.clone(), headline.reason.clone()];
    lines.extend(Some(headline.gain.clone()).filter(|gain| !gain.is_empty()));
    lines.extend(Some(headline.advice.clone()).filter(|advice| !advice.is_empty()));
    lines.extend(headline.refused_wishes.iter().cloned());
    if headline.has_won {
        if row.is_for(Framework::Mlx) {
            lines.push(format!("run it: {}", mlx_command(&row.path)));
        } else {
            lines.push(format!("run it: {}", llama_cli_command(&row.path)));
            let ollama = ollama_command(&row.path, &model.file_stem(), &row.name);
            lines.push(format!("in Ollama: {ollama}"));
        }
    }
    format!("\n\n{}", lines.join("\n"))
}

/// True for a level that meets every wish, and passes the gates if quality is measured.
fn is_wanted(row: &ComparisonRow, parts: CompareParts) -> bool {
    let does_pass = row.verdict.as_ref().is_some_and(|verdict| verdict.decision == Decision::Pass);
    let has_wishes = !row.wishes.is_empty(); // the source has none
    (does_pass || parts.no_quality && has_wishes) && row.wishes.iter().all(|wish| wish.decision == Decision::Pass)
}

/// The text that the arguments name; `-` is standard input, read to its end.
fn text_source(args: &QualityArgs) -> Result<TextSource> {
    named_text(args.text.as_deref())
}

/// The same for a path; the bundled text without one.
pub(super) fn named_text(path: Option<&Path>) -> Result<TextSource> {
    match path {
        None => Ok(TextSource::Bundled),
        Some(path) if path == Path::new("-") => TextSource::from_reader(std::io::stdin(), "standard input"),
        Some(path) => Ok(TextSource::File(path.to_path_buf())),
    }
}

/// The measurement without its files.
fn quality_request(args: &QualityArgs) -> Result<QualityRequest> {
    Ok(QualityRequest {
        text: text_source(args)?,
        n_ctx: args.chunk_tokens,
        max_tokens: args.tokens,
        stopping: if args.full { Stopping::Full } else { Stopping::Decided },
        seed: args.seed,
        ..QualityRequest::default()
    })
}

fn passes(outcome: &QualityOutcome) -> bool {
    outcome.result.as_ref().is_ok_and(|run| run.verdict.decision == Decision::Pass)
}

fn quality_text(outcomes: &[QualityOutcome]) -> String {
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            let name = file_name(&outcome.path);
            match &outcome.result {
                Err(error) => vec![name, format!("failed: {error}")],
                Ok(run) => {
                    let words = run.summary.loss_words().map_or_else(|| "unknown".into(), LossWords::text);
                    let mut cells = vec![name, run.verdict.decision.label().into(), words, bytes_text(run.size_bytes)];
                    cells.extend(run.summary.texts());
                    cells
                }
            }
        })
        .collect();
    let header =
        ["model", "verdict", "loss", "size", "mean KLD", "99 % KLD", "perplexity ratio", "same top", "accuracy ratio", "tokens"];
    let mut text = columns_text(&header, &rows, &[3, 4, 5, 6, 7, 8, 9]);
    let runs: Vec<&QualityRun> = outcomes.iter().filter_map(|outcome| outcome.result.as_deref().ok()).collect();
    for run in &runs {
        let same = same_words_text(run.summary.same_top.value);
        text.push_str(&format!("\n\n{}: {}, {same}", file_name(&run.path), run.verdict.decision.label()));
        for gate in &run.verdict.gates {
            text.push_str(&format!("\n  {:<12}  {}: {}", gate.decision.label(), gate.kind.label(), gate.text()));
        }
        if let Some(remark) = accuracy_remark(run.summary.accuracy_ratio) {
            text.push_str(&format!("\n  {remark}"));
        }
        if run.by_kind.len() > 1 {
            let kinds: Vec<String> =
                run.by_kind.iter().map(|kind| format!("{} {}", kind.kind, nats_text(kind.mean_kld.value))).collect();
            text.push_str(&format!("\n  mean KLD by kind: {}", kinds.join(", ")));
        }
        if let Some(flip) = run.flips.first() {
            text.push_str(&format!(
                "\n  {} where the likeliest token differs; the worst: after {:?} the reference says {:?}, this one {:?}",
                count_of(run.n_flips, "place"),
                last_chars(&flip.before, 40),
                flip.reference.text,
                flip.candidate.text
            ));
        }
    }
    text.push_str(&differences_text(&runs));
    let by = |run: &&QualityRun| (run.provenance.runtime.clone(), run.provenance.backend.clone());
    for (idx, run) in runs.iter().enumerate() {
        let is_told = runs.iter().take(idx).any(|told| by(told) == by(run));
        if !is_told {
            text.push_str(&provenance_text(run));
        }
    }
    text
}

/// Each model compared with the one before it: whether it loses more or less, beyond chance. Empty for fewer than two.
fn differences_text(runs: &[&QualityRun]) -> String {
    let lines: Vec<String> = runs
        .iter()
        .zip(runs.iter().skip(1))
        .filter_map(|(one, other)| {
            let difference = paired_difference(&other.chunks, &one.chunks, one.provenance.seed)?;
            let (verb, sure) = match difference {
                Interval { low, .. } if low > 0.0 => ("loses more than", "beyond chance"),
                Interval { high, .. } if high < 0.0 => ("loses less than", "beyond chance"),
                _ => ("cannot be told apart from", "within chance"),
            };
            Some(format!(
                "\n  {} {verb} {}: {} nats ({} to {}), {sure}",
                file_name(&other.path),
                file_name(&one.path),
                nats_text(difference.value),
                nats_text(difference.low),
                nats_text(difference.high)
            ))
        })
        .collect();
    if lines.is_empty() { String::new() } else { format!("\n\nPaired differences of mean KLD{}", lines.concat()) }
}

fn provenance_text(run: &QualityRun) -> String {
    let p = &run.provenance;
    let reference = if p.reference_secs > 0.0 { duration_text(p.reference_secs) } else { "known before".into() };
    let mut text = format!(
        "\n\nmeasured with {}, {}, {} on {} in chunks of {}; reference {reference}, candidate {}; ± and ranges cover 95 %, gates hold for {} together",
        p.runtime,
        p.backend,
        count_of(p.n_threads, "thread"),
        p.text_name,
        p.n_ctx,
        duration_text(p.candidate_secs),
        count_of(run.n_looks, "look")
    );
    if let Some(by) = p.reference_by.text() {
        let floor = p.reference_by.floor_nats();
        text.push_str(&format!("\nthe reference is {by}; the error of each mean KLD has {floor} nats more for that"));
    }
    for warning in &p.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

/// How each row meets the user's wishes; empty without a wish.
fn wishes_text(rows: &[ComparisonRow]) -> String {
    let wished: Vec<String> = rows
        .iter()
        .filter(|row| !row.wishes.is_empty())
        .map(|row| {
            let wishes: Vec<String> = row.wishes.iter().map(WishResult::text).collect();
            format!("\n  {:<8}  {}", row.name, wishes.join("; "))
        })
        .collect();
    if wished.is_empty() { String::new() } else { format!("\n\nWishes, beside the verdict{}", wished.concat()) }
}

fn last_chars(text: &str, n: usize) -> String {
    text.chars().skip(text.chars().count().saturating_sub(n)).collect()
}

fn file_name(path: &Path) -> String {
    path_text::file_name(path)
}
