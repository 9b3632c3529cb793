//! One function per command.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::args::{BenchArgs, ConvertArgs, InspectParts};
use super::budget::BudgetArg;
use super::history::or_warn;
use super::output::{columns_text, print_json, print_text};
use super::plan_table::plan_text;
use super::{budget, progress, tables};
use crate::advise::{self, Gates, Goal, Learned, MAX_MEAN_KLD, Overrides};
use crate::bench::{self, BenchRequest, Start};
use crate::convert::{self, ConvertRequest, Existing, Overwrite, Resume};
use crate::error::{Error, Result};
use crate::format::{self, Opened};
use crate::hardware::{self, Machine};
use crate::make::{self, Calibration, Made, MakeRequest};
use crate::model::{Level, Model};
use crate::{path_text, units};

pub(super) fn hardware(as_json: bool) -> Result<()> {
    let machine = hardware::survey(&std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")), &progress::monitor())?;
    if as_json { print_json(&machine) } else { print_text(&tables::machine_text(&machine)) }
}

pub(super) fn inspect(path: &Path, parts: InspectParts, as_json: bool) -> Result<()> {
    let model = match format::read_any(path)? {
        Opened::Model(model) => *model,
        Opened::Checkpoint(checkpoint) => return super::checkpoint::inspect(*checkpoint, parts, as_json),
        Opened::Onnx(network) => return super::onnx::inspect(&network, parts, as_json),
    };
    if as_json {
        return print_json(&tables::model_json(&model, parts.tensors, parts.metadata));
    }
    let mut text = tables::model_text(&model);
    if parts.metadata {
        text.push_str(&tables::metadata_text(&model.metadata));
    }
    if parts.tensors {
        text.push_str("\n\n");
        let rows: Vec<Vec<String>> = model
            .tensors
            .iter()
            .map(|tensor| {
                vec![
                    tensor.name.clone(),
                    tensor.dtype.to_string(),
                    tensor.shape_text(),
                    units::exact_bytes_text(tensor.size_bytes),
                ]
            })
            .collect();
        text.push_str(&columns_text(&["tensor", "type", "shape", "size"], &rows, &[3]));
    }
    print_text(&text)
}

pub(super) fn recommend(path: &Path, goal: &Goal, all: bool, as_json: bool) -> Result<()> {
    let model = convert::open_model(path)?;
    let machine = hardware::survey(&folder_of(path), &progress::monitor())?;
    let plan = advise::advise_with(&model, &machine, goal, &learned(&model, &machine));
    if as_json {
        return print_json(&json!({ "model": tables::model_json(&model, false, false), "goal": goal, "plan": plan }));
    }
    print_text(&plan_text(&plan, all))
}

/// What the history teaches about predictions for this model. A history that cannot be read is a warning, and teaches nothing.
pub(super) fn learned(model: &Model, machine: &Machine) -> Learned {
    or_warn(bench::learned_from_history(model, machine), "predictions do not learn from earlier runs")
}

pub(super) fn convert(path: &Path, args: &ConvertArgs, max_kld: Option<f64>, as_json: bool) -> Result<()> {
    if max_kld.is_some() && args.budget != Some(BudgetArg::Gates) {
        return Err(Error::BadRequest { message: "--max-kld is about --budget gates: a size of a file leaves no choice".into() });
    }
    let request = convert_request(args)?;
    request.overrides.check(&request.levels)?;
    let model = convert::open_model(path)?;
    if args.existing == Some(Existing::Skip) {
        for (_, path) in convert::existing_outputs(&model, &request.levels, &request.overrides, &request.out_dir) {
            eprintln!("skipped, exists: {}", crate::path_text::shown(&path));
        }
    }
    let request = MakeRequest {
        is_checked: !args.no_check,
        calibration: calibration(args)?,
        budget: args.budget.map(|wanted| wanted.aim(Gates { max_mean_kld: Some(max_kld.unwrap_or(MAX_MEAN_KLD)), ..Gates::OFF })),
        ..MakeRequest::new(request)
    };
    let Made { mut conversions, broken, budgeted, .. } = make::make(&model, &request, &progress::monitor())?;
    for made in &mut conversions {
        if let Some(check) = made.check.as_ref().filter(|check| !check.is_plausible) {
            made.warnings.push(format!("{}; --no-check leaves this test out", check.text));
        }
    }
    if as_json {
        print_json(&json!({ "conversions": conversions, "budget": budgeted }))?;
    } else if !conversions.is_empty() {
        let bought = budgeted.map_or_else(String::new, |recipe| format!("\n\n{}", budget::budget_text(&recipe)));
        print_text(&format!("{}{bought}", tables::conversions_text(&conversions)))?;
    }
    broken.map_or(Ok(()), Err)
}

pub(super) fn bench(models: Vec<PathBuf>, args: &BenchArgs, as_json: bool) -> Result<()> {
    let outcomes = bench::bench(&bench_request(models, args), &progress::monitor())?;
    super::history::keep(&outcomes);
    if as_json {
        print_json(&json!({ "runs": outcomes_json("run", outcomes.iter().map(|outcome| (&outcome.path, &outcome.result))) }))?;
    } else {
        print_text(&tables::outcomes_text(&outcomes))?;
    }
    first_failure(outcomes.iter().map(|outcome| &outcome.result))
}

pub(super) fn doctor(as_json: bool) -> Result<()> {
    let runtimes = hardware::detect_runtimes();
    if as_json { print_json(&json!({ "runtimes": runtimes })) } else { print_text(&tables::runtimes_text(&runtimes)) }
}

/// What calibrated levels are calibrated on.
pub(super) fn calibration(args: &ConvertArgs) -> Result<Calibration> {
    let text = super::quality::named_text(args.calibration_text.as_deref())?;
    let own_percent = args.calibration_mix.unwrap_or(100);
    Ok(Calibration { text, own_percent, n_tokens: args.calibration_tokens })
}

pub(super) fn convert_request(args: &ConvertArgs) -> Result<ConvertRequest> {
    Ok(ConvertRequest {
        levels: args.levels(),
        out_dir: args.out.clone(),
        overwrite: if args.force { Overwrite::Allowed } else { Overwrite::Never },
        existing: args
            .existing
            .iter()
            .flat_map(|&existing| answered(args).into_iter().map(move |level| (level, existing)))
            .collect(),
        n_threads: args.threads.map(usize::from),
        imatrix: args.imatrix.clone(),
        overrides: Overrides { calibrated: args.calibrated, ..args.overrides.to_overrides()? },
        resume: if args.resume { Resume::Required } else { Resume::Never },
        keep_unfinished: args.resume,
    })
}

/// The levels whose outputs `--existing` is about: the one that a budget is named by is not known yet.
fn answered(args: &ConvertArgs) -> Vec<Level> {
    if args.budget.is_some() { Level::all().collect() } else { args.levels() }
}

pub(super) fn bench_request(models: Vec<PathBuf>, args: &BenchArgs) -> BenchRequest {
    BenchRequest {
        models,
        n_prompt_tokens: args.prompt_tokens,
        n_gen_tokens: args.gen_tokens,
        n_repetitions: args.repetitions,
        n_threads: args.bench_threads,
        sustained_secs: args.sustained,
        start: if args.when_quiet { Start::WhenQuiet } else { Start::Now },
        memory_limit: None,
    }
}

pub(super) fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Files with what was measured of each, or why nothing was.
pub(super) fn outcomes_json<'a, T: Serialize + 'a>(
    key: &str,
    outcomes: impl Iterator<Item = (&'a PathBuf, &'a Result<T>)>,
) -> Vec<serde_json::Value> {
    outcomes
        .map(|(path, result)| match result {
            Ok(outcome) => json!({ "path": path_text::to_text(path), key: outcome }),
            Err(error) => json!({ "path": path_text::to_text(path), "failure": error.to_string(), "hint": error.hint() }),
        })
        .collect()
}

/// The first failure among the results: it makes the command fail, after the others have been printed.
pub(super) fn first_failure<'a, T: 'a>(mut results: impl Iterator<Item = &'a Result<T>>) -> Result<()> {
    results.find_map(|result| result.as_ref().err()).map_or(Ok(()), |error| Err(error.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_file_name_lies_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("a.gguf")), PathBuf::from("."));
        assert_eq!(folder_of(Path::new("/x/a.gguf")), PathBuf::from("/x"));
    }
}
