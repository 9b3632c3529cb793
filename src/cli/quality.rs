//! The commands that say what was lost: `quality` and `compare`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::limits::{GateArgs, LimitArgs};
use super::output::{columns_text, print_json, print_text};
use super::overrides::OverrideArgs;
use super::report::Files;
use super::run::{bench_request, converted, first_failure, folder_of, outcomes_json};
use super::{BenchArgs, ConvertArgs, QualityArgs, Status, overwrite};
use super::{comparison_table, progress, tables};
use crate::advise::{
    self, Decision, Gates, Goal, Interval, LossWords, Planner, WishResult, Wishes, accuracy_remark, same_words_text,
};
use crate::bench::quality::{
    QualityOutcome, QualityRequest, QualityRun, Stopping, paired_difference, quality as measure_quality,
};
use crate::bench::{self, ComparisonRow, Headline, Measured, MeasuredChoice, PredictionError};
use crate::calibrate::text::TextSource;
use crate::convert::{self, Conversion, Existing, fitting_imatrix};
use crate::deploy::{llama_cli_command, ollama_command};
use crate::error::{Error, Result};
use crate::hardware::{self, Machine};
use crate::model::{Level, Model};
use crate::path_text;
use crate::units::{bytes_text, count_text, duration_text, nats_text};

/// What `compare` does beside its levels.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "one for each flag of the command line")]
pub(super) struct CompareParts {
    pub(super) reuse: bool,
    pub(super) no_source: bool,
    pub(super) no_quality: bool,
    pub(super) until_pass: bool,
}

/// The arguments of `compare` by subject.
pub(super) struct CompareArgs {
    pub(super) convert: ConvertArgs,
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
    gates.check(&crate::format::inspect(&reference)?)?;
    let outcomes = measure(reference, models, args, &text_source(args)?, &gates.to_gates())?;
    if as_json {
        print_json(&json!({ "runs": outcomes_json("run", outcomes.iter().map(|outcome| (&outcome.path, &outcome.result))) }))?;
    } else {
        print_text(&quality_text(&outcomes))?;
    }
    first_failure(outcomes.iter().map(|outcome| &outcome.result))?;
    let all_pass = outcomes.iter().all(passes);
    Ok(if all_pass { Status::Done } else { Status::GateNotMet })
}

/// Writes the file that keeps every weight, with the levels in the same pass, and compares the levels with it.
fn compare_checkpoint(model: &Model, mut args: CompareArgs, parts: CompareParts, as_json: bool) -> Result<Status> {
    let own = model.own_level().unwrap_or(Level::F32);
    args.convert.level.retain(|&level| level != own);
    let mut first = args.convert.clone();
    // The reference keeps every weight: what is changed is compared with it.
    let is_custom = args.convert.overrides.to_overrides().is_custom();
    if parts.until_pass || is_custom {
        first.level.clear();
        *first.overrides = OverrideArgs::default();
    }
    first.level.insert(0, own);
    let mut made = converted(model, &first, parts.reuse)?;
    let at = made.iter().position(|conversion| conversion.level == own);
    let at = at.ok_or_else(|| Error::Internal { message: format!("no file of level {own} was made") })?;
    let source = made.remove(at).path;
    for level in &mut made {
        level.source.clone_from(&source);
    }
    // A search and a changed recipe make their own levels, from the file.
    let made = (!parts.until_pass && !is_custom).then_some(made);
    compare_file(&convert::open_model(&source)?, made, &args, parts, as_json)
}

pub(super) fn compare(path: &Path, args: CompareArgs, parts: CompareParts, as_json: bool) -> Result<Status> {
    let model = convert::open_model(path)?;
    // What is skipped is measured as it is.
    let parts = CompareParts { reuse: parts.reuse || args.convert.existing == Some(Existing::Skip), ..parts };
    args.files.check(overwrite(args.convert.force), &model)?;
    args.limits.gates.check(&model)?;
    if parts.no_quality && args.limits.gates.is_given() {
        return Err(Error::BadRequest { message: "gates are about quality, which --no-quality leaves out".into() });
    }
    if let Some(imatrix) = &args.convert.imatrix {
        fitting_imatrix(&model, imatrix)?;
    }
    if model.is_runnable() {
        compare_file(&model, None, &args, parts, as_json)
    } else {
        compare_checkpoint(&model, args, parts, as_json)
    }
}

/// Compares the levels of a file that can be run: those that are made already, else those that the arguments name.
fn compare_file(
    model: &Model,
    made: Option<Vec<Conversion>>,
    args: &CompareArgs,
    parts: CompareParts,
    as_json: bool,
) -> Result<Status> {
    let limits = args.limits.to_limits();
    let overwrite = overwrite(args.convert.force);
    // The machine first: its bandwidth must be measured while nothing else runs.
    let machine = hardware::survey(&folder_of(&model.path), &progress::monitor())?;
    let text = text_source(&args.quality)?;
    let mut quality = Vec::new();
    let (conversions, found) = if parts.until_pass {
        let (conversions, found) = until_pass(model, args, parts, (&text, &limits.gates), &mut quality)?;
        (conversions, Some(found))
    } else {
        (made.map_or_else(|| converted(model, &args.convert, parts.reuse), Ok)?, None)
    };
    let mut files: Vec<PathBuf> = conversions.iter().map(|conversion| conversion.path.clone()).collect();
    if !parts.no_source {
        files.insert(0, model.path.clone());
    }
    let speed = bench::bench(&bench_request(files, &args.bench), &progress::monitor())?;
    super::history::keep(&speed);
    if !parts.no_quality && !parts.until_pass {
        let candidates = conversions.iter().map(|conversion| conversion.path.clone()).collect();
        quality = measure(model.path.clone(), candidates, &args.quality, &text, &limits.gates)?;
    }
    let goal = Goal::default();
    let kept = super::history::or_warn(bench::kept_runs(), "predictions do not learn from earlier runs");
    let lessons = bench::lessons(&speed.iter().collect::<Vec<_>>(), &kept, &machine);
    let measured = Measured { speed: &speed, quality: &quality, limits: &limits, lessons: &lessons, origins: &[] };
    let rows = bench::comparison_rows(model, &machine, &goal, &conversions, measured);
    let planned = advise::advise(model, &machine, &goal).recommended_level();
    let (choice, headline) =
        (bench::measured_choice(&rows, planned, goal.priority), bench::headline(model, &rows, planned, goal.priority));
    let errors = bench::prediction_errors(&rows);
    let warning = source_warning(model).filter(|_| !quality.is_empty());
    if as_json {
        print_json(&ComparisonJson {
            model: tables::model_json(model, false, false),
            machine: &machine,
            gates: &limits.gates,
            wishes: &limits.wishes,
            cheapest_passing: found.flatten(),
            choice: choice.as_ref(),
            headline: headline.as_ref(),
            prediction_errors: &errors,
            rows: &rows,
            warnings: warning.into_iter().collect(),
        })?;
    } else {
        let mut text = comparison_table::comparison_text(&rows);
        if !quality.is_empty() {
            text.push_str(&format!("\n\nWhat is lost, against {}\n", file_name(&model.path)));
            text.push_str(&quality_text(&quality));
        }
        text.push_str(&wishes_text(&rows));
        let errors_line = bench::prediction_errors_text(&errors);
        if !errors_line.is_empty() {
            text.push_str(&format!("\n\n{errors_line}"));
        }
        if let Some(found) = found {
            text.push_str(&match found {
                Some(level) => format!("\n\nThe smallest level that passes the gates on quality: {level}"),
                None => "\n\nNone of the levels passes the gates on quality".into(),
            });
        }
        text.extend(warning.map(|warning| format!("\nwarning: {warning}")));
        text.push_str(&headline.map_or_else(String::new, |headline| headline_text(model, &rows, &headline)));
        print_text(&text)?;
    }
    // The advice is the one that `recommend` gives, not for the few tokens of a measurement.
    args.files.write(model, &machine, &goal, &limits, &rows, overwrite)?;
    first_failure(speed.iter().map(|outcome| &outcome.result))?;
    first_failure(quality.iter().map(|outcome| &outcome.result))?;
    let is_granted = !args.limits.is_given() || rows.iter().any(|row| is_wanted(row, parts));
    let is_met = found.is_none_or(|found| found.is_some()) && is_granted;
    Ok(if is_met { Status::Done } else { Status::GateNotMet })
}

/// What losses against a source that was quantized before do not tell.
fn source_warning(model: &Model) -> Option<String> {
    let first = advise::quantized_origin(model)?;
    let how = if model.is_quantized() { format!("is {first} itself") } else { format!("was decoded from {first}") };
    Some(format!("the source {how}: losses are against it, and levels near {first} look better than they are"))
}

/// The answer at the end, where the eye is: the file to take, why, and how to run it.
fn headline_text(model: &Model, rows: &[ComparisonRow], headline: &Headline) -> String {
    let Some(row) = rows.get(headline.row_idx) else { return String::new() };
    let mut lines = vec![headline.title.clone(), headline.reason.clone()];
    lines.extend(Some(headline.advice.clone()).filter(|advice| !advice.is_empty()));
    lines.extend(headline.refused_wishes.iter().cloned());
    if headline.has_won {
        lines.push(format!("run it: {}", llama_cli_command(&row.path)));
        let ollama = ollama_command(&row.path, &model.file_stem(), &row.name);
        lines.push(format!("in Ollama: {ollama}"));
    }
    format!("\n\n{}", lines.join("\n"))
}

/// True for a level that grants every wish, and passes the gates where quality is measured.
fn is_wanted(row: &ComparisonRow, parts: CompareParts) -> bool {
    let does_pass = row.verdict.as_ref().is_some_and(|verdict| verdict.decision == Decision::Pass);
    let has_wishes = !row.wishes.is_empty(); // the source has none
    (does_pass || parts.no_quality && has_wishes) && row.wishes.iter().all(|wish| wish.decision == Decision::Pass)
}

#[derive(Serialize)]
struct ComparisonJson<'a> {
    model: serde_json::Value,
    machine: &'a Machine,
    gates: &'a Gates,
    wishes: &'a Wishes,
    cheapest_passing: Option<Level>,
    choice: Option<&'a MeasuredChoice>,
    headline: Option<&'a Headline>,
    prediction_errors: &'a [PredictionError],
    rows: &'a [ComparisonRow],
    warnings: Vec<String>,
}

/// Size of the file of a level with the changes of its recipe, without what an importance matrix adds.
fn level_size_bytes(model: &Model, args: &CompareArgs, level: Level) -> Result<u64> {
    let overrides = args.convert.overrides.to_overrides();
    let rest = convert::without_layers(model, &overrides)?;
    let planner = Planner::changed(rest.as_ref().map_or(model, |rest| &rest.model), None, model, &overrides)?;
    planner.output_size_bytes(&planner.recipe(level))
}

/// Converts and measures only the levels that bisection asks for, from small to large; what it measured, and the level found.
fn until_pass(
    model: &Model,
    args: &CompareArgs,
    parts: CompareParts,
    (text, gates): (&TextSource, &Gates),
    quality: &mut Vec<QualityOutcome>,
) -> Result<(Vec<Conversion>, Option<Level>)> {
    let mut ladder = Vec::new();
    for level in args.convert.levels() {
        ladder.push((level_size_bytes(model, args, level)?, level));
    }
    ladder.sort();
    let mut conversions: Vec<Conversion> = Vec::new();
    let found = advise::cheapest_passing(ladder.len(), |idx| {
        let Some(&(_, level)) = ladder.get(idx) else { return Ok(false) };
        eprintln!("trying {level}");
        let convert = ConvertArgs { level: vec![level], ..args.convert.clone() };
        let made = converted(model, &convert, parts.reuse)?;
        let paths = made.iter().map(|conversion| conversion.path.clone()).collect();
        conversions.extend(made);
        let outcomes = measure(model.path.clone(), paths, &args.quality, text, gates)?;
        first_failure(outcomes.iter().map(|outcome| &outcome.result))?;
        let does_pass = outcomes.iter().all(passes);
        quality.extend(outcomes);
        Ok::<bool, Error>(does_pass)
    })?;
    conversions.sort_by_key(|conversion| std::cmp::Reverse(conversion.size_bytes));
    Ok((conversions, found.and_then(|idx| ladder.get(idx)).map(|(_, level)| *level)))
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

fn measure(
    reference: PathBuf,
    candidates: Vec<PathBuf>,
    args: &QualityArgs,
    text: &TextSource,
    gates: &Gates,
) -> Result<Vec<QualityOutcome>> {
    let request = QualityRequest {
        reference,
        candidates,
        text: text.clone(),
        n_ctx: args.chunk_tokens,
        max_tokens: args.tokens,
        gates: gates.clone(),
        stopping: if args.full { Stopping::Full } else { Stopping::Decided },
        seed: args.seed,
        n_threads: None,
        cache_dir: None,
    };
    // Each as it is finished: cancelling keeps those before.
    measure_quality(&request, &progress::monitor(), |outcome| super::history::keep(std::slice::from_ref(outcome)))
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
                "\n  {} places with another likeliest token; the worst: after {:?} the reference says {:?}, this one {:?}",
                count_text(run.n_flips),
                last_chars(&flip.before, 40),
                flip.reference.text,
                flip.candidate.text
            ));
        }
    }
    text.push_str(&differences_text(&runs));
    if let Some(run) = runs.first() {
        text.push_str(&provenance_text(run));
    }
    text
}

/// Neighbours beside each other: whether the one loses more than the other, beyond chance.
fn differences_text(runs: &[&QualityRun]) -> String {
    let lines: Vec<String> = runs
        .iter()
        .zip(runs.iter().skip(1))
        .filter_map(|(one, other)| {
            let difference = paired_difference(&other.chunks, &one.chunks, one.provenance.seed)?;
            let (verb, sure) = match difference {
                Interval { low, .. } if low > 0.0 => ("loses more than", "beyond chance"),
                Interval { high, .. } if high < 0.0 => ("loses less than", "beyond chance"),
                _ => ("is not told apart from", "within chance"),
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
        "\n\nmeasured with {}, {}, {} threads on {} in chunks of {}; reference {reference}, candidate {}; ± and ranges cover 95 %, gates hold for all {} looks together",
        p.runtime,
        p.backend,
        p.n_threads,
        p.text_name,
        p.n_ctx,
        duration_text(p.candidate_secs),
        run.n_looks
    );
    for warning in &p.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

/// What every row makes of the user's wishes; empty without a wish.
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
