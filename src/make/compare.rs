//! A comparison from end to end: files are made, measured, held against their source, and become rows.

use std::path::PathBuf;
use std::sync::Arc;

use super::calibration::kind_warning;
use super::gated::{GatedFile, search_by_gates};
use super::{Made, MakeRequest, Reference, level_of_budget, make};
use crate::advise::budget::{Aim, BudgetRecipe};
use crate::advise::{self, Decision, Goal, Limits, Planner, memory_estimate, padded_n_ctx};
use crate::bench::quality::{QualityOutcome, QualityRequest, quality};
use crate::bench::{self, BenchRequest, ComparisonRow, Measured, MemoryLimit, Outcome};
use crate::calibrate::text::TextSource;
use crate::convert::{self, Conversion, ConvertRequest};
use crate::error::{Error, Result};
use crate::hardware::{self, Machine};
use crate::model::{Framework, Level, Model, Preset, RuntimeId};
use crate::monitor::Monitor;

/// What to compare, and how.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// The levels. For a checkpoint, the level that keeps every weight is made too and stands for it, unless it is larger than memory.
    pub make: MakeRequest,
    /// How speed is measured; its files are filled in once they are made.
    pub bench: BenchRequest,
    /// How losses are measured, likewise; `None`: not at all.
    pub quality: Option<QualityRequest>,
    /// What the levels are held against.
    pub limits: Limits,
    /// What counts most, and the memory that a checkpoint's file of full size and its levels may use: where the file needs more,
    /// Planish computes the reference itself, and levels that need more are made but not run.
    pub goal: Goal,
    /// Whether the source is measured beside them.
    pub with_source: bool,
    /// Make and measure only the levels that lead to the smallest one that passes the gates on quality.
    pub until_pass: bool,
}

/// What is known before the end, for a caller that stores or shows it.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A search is trying this level now.
    Trying(Level),
    /// A search by gates is trying this file now.
    TryingGates(&'a BudgetRecipe),
    /// The speed of all files.
    Speed(&'a [Outcome]),
    /// The losses of one file.
    Quality(&'a QualityOutcome),
}

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What was compared with: the model, the file that keeps every weight of a checkpoint, or the checkpoint itself.
    pub source: Arc<Model>,
    /// Which of them, and why.
    pub reference: Reference,
    /// The machine.
    pub machine: Machine,
    /// Speed and memory of each file, or why there is none.
    pub speed: Vec<Outcome>,
    /// Losses of each level.
    pub quality: Vec<QualityOutcome>,
    /// All of it, a row for each file.
    pub rows: Vec<ComparisonRow>,
    /// What the plan recommends before anything is measured.
    pub planned: Option<Level>,
    /// What a search for the smallest passing level found; `None` where it was not asked for.
    pub search: Option<Option<Level>>,
    /// The files that a search by gates has made, the smallest and first one first; `None` where there was no such search.
    pub gated: Option<Vec<GatedFile>>,
    /// What was wrong with the first broken file, which is gone; `None` when none was found broken.
    pub broken: Option<Error>,
    /// What the budget has bought; `None` where there was none.
    pub budgeted: Option<BudgetRecipe>,
    /// Why earlier runs could not be read, so that predictions learn nothing from them; `None` where they could.
    pub unread: Option<Error>,
    /// That levels are calibrated on another kind of text than they are compared on; `None` where they are not.
    pub other_kind: Option<String>,
}

/// Makes the levels of `model` that are missing and measures all of them.
///
/// # Errors
/// Those of [`make`], and those that end a whole measurement; those of single files are in the result. `Error::WrongOutput`
/// when the file that is to stand for a checkpoint is broken.
pub fn compare(model: Model, mut request: CompareRequest, monitor: &Monitor, on_step: &dyn Fn(Step)) -> Result<Comparison> {
    check_runtimes(&request)?;
    if let (Some(Aim::Size(budget)), true) = (&request.make.budget, request.make.convert.levels.is_empty()) {
        // What the budget has won shows beside the plain level of the same size.
        request.make.convert.levels = vec![level_of_budget(&model, *budget, &request.make)?];
    }
    let order = request.make.convert.levels.clone();
    let reference = reference_of(&model, &request);
    request.make.memory_limit = reference.limit().cloned();
    let stands_for_itself = model.is_runnable() || reference.limit().is_some();
    // Both texts are read before any work.
    let compared_on = request.quality.as_ref().map(|quality| &quality.text);
    let other_kind = compared_on.map(|text| kind_warning(&request.make, text)).transpose()?.flatten();
    let (source, mut made) =
        if stands_for_itself { (Arc::new(model), Made::default()) } else { import(&model, &mut request, monitor)? };
    // The machine before the measurements: its bandwidth must be measured while nothing else runs.
    let folder = source.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let machine = hardware::survey(folder.unwrap_or(".".as_ref()), monitor)?;
    let mut losses = Vec::new();
    let (mut search, mut gated) = (None, None);
    if request.until_pass {
        let (found, smallest) = search_passing(&source, &request, &mut losses, monitor, on_step)?;
        search = Some(smallest);
        made.add(found);
    } else if let Some(Aim::Gates(gates)) = &request.make.budget {
        let mut measure = |made: &[Conversion]| {
            let found = losses_of(&source, made, &request, monitor, on_step)?;
            losses.extend(found.iter().cloned());
            Ok(found)
        };
        let on_file = |recipe: &BudgetRecipe| on_step(Step::TryingGates(recipe));
        let text = request.quality.as_ref().map_or(TextSource::Bundled, |quality| quality.text.clone());
        let (found, files) = search_by_gates(&source, (gates, &text), &request.make, &on_file, &mut measure, monitor)?;
        gated = Some(files);
        made.add(found);
    } else if !request.make.convert.levels.is_empty() || request.make.budget.is_some() {
        made.add(make(&source, &request.make, monitor)?);
    }
    let Made { mut conversions, broken, budgeted, .. } = made;
    conversions.sort_by_key(|made| order.iter().position(|&level| level == made.level));
    let speed = speeds_of(&source, &conversions, &request, monitor)?;
    on_step(Step::Speed(&speed));
    if search.is_none() {
        let is_measured = |made: &Conversion| losses.iter().any(|known| known.path == made.path);
        let rest: Vec<Conversion> = conversions.iter().filter(|made| !is_measured(made)).cloned().collect();
        losses.extend(losses_of(&source, &rest, &request, monitor, on_step)?);
    }
    let (kept, unread) = match bench::kept_runs() {
        Ok(kept) => (kept, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let lessons = bench::lessons(&speed.iter().collect::<Vec<_>>(), &kept, &machine);
    let measured = Measured { speed: &speed, quality: &losses, limits: &request.limits, lessons: &lessons, origins: &[] };
    let rows = bench::comparison_rows(&source, &machine, &request.goal, &conversions, measured);
    let planned = advise::advise(&source, &machine, &request.goal).recommended_level();
    Ok(Comparison {
        source,
        reference,
        machine,
        speed,
        quality: losses,
        rows,
        planned,
        search,
        gated,
        broken,
        budgeted,
        unread,
        other_kind,
    })
}

/// What stands for the model, by the memory that its file of full size would need for these measurements.
fn reference_of(model: &Model, request: &CompareRequest) -> Reference {
    if model.is_runnable() {
        return Reference::File;
    }
    let machine = hardware::detect(&request.make.convert.out_dir);
    let n_ctx_of_loss = request.quality.as_ref().map_or(0, |quality| u64::from(quality.n_ctx));
    Reference::of(model, &machine, request.goal.memory_budget_bytes, n_ctx_of_loss.max(n_ctx_of_speed(&request.bench)))
}

fn n_ctx_of_speed(bench: &BenchRequest) -> u64 {
    padded_n_ctx(u64::from(bench.n_prompt_tokens) + u64::from(bench.n_gen_tokens))
}

/// Speed and memory of the files that are worth timing here, the source before the levels.
fn speeds_of(source: &Model, conversions: &[Conversion], request: &CompareRequest, monitor: &Monitor) -> Result<Vec<Outcome>> {
    let is_timed = |made: &&Conversion| bench::is_timed_here(made.level.framework());
    let levels = conversions.iter().filter(is_timed).map(|made| &made.path);
    let models: Vec<PathBuf> = request.with_source.then_some(&source.path).into_iter().chain(levels).cloned().collect();
    if models.is_empty() {
        return Ok(Vec::new());
    }
    let memory_limit = request.make.memory_limit.clone();
    bench::bench(&BenchRequest { models, memory_limit, ..request.bench.clone() }, monitor)
}

/// Refuses levels of other frameworks than llama.cpp in a search or with changes of the recipe, and levels that no known
/// runtime runs.
fn check_runtimes(request: &CompareRequest) -> Result<()> {
    let levels = &request.make.convert.levels;
    let of_others = |level: &&Level| level.framework() != Framework::LlamaCpp;
    if let Some(level) = levels.iter().find(of_others).filter(|_| request.until_pass) {
        return Err(Error::BadRequest {
            message: format!("the search for the smallest passing level only takes levels of llama.cpp, and {level} is not one"),
        });
    }
    if matches!(request.make.budget, Some(Aim::Gates(_))) && request.quality.is_none() {
        return Err(Error::BadRequest { message: "a file for gates cannot be found without measuring what it loses".into() });
    }
    request.make.convert.overrides.check(levels)?;
    let unknown = levels.iter().find(|level| RuntimeId::of(level.framework()).is_none());
    unknown.map_or(Ok(()), |level| {
        let name = level.framework().name();
        Err(Error::BadRequest { message: format!("{level} cannot be measured: Planish knows no runtime of {name}") })
    })
}

/// Writes the file that keeps every weight of a checkpoint, and in the same pass those levels that can be. Returns that file's model and
/// what else was made; the other levels stay in the request.
fn import(model: &Model, request: &mut CompareRequest, monitor: &Monitor) -> Result<(Arc<Model>, Made)> {
    let own = model.own_level().unwrap_or(Level::F32);
    let convert = &mut request.make.convert;
    convert.levels.retain(|&level| level != own);
    // The reference keeps every weight: what is changed is compared with it. A search and a changed recipe make their own levels of llama.cpp,
    // from the file; those of others can be made from the checkpoint alone.
    let is_alone = request.until_pass || convert.overrides.part_of(Framework::LlamaCpp).is_custom();
    let mut first = ConvertRequest { levels: vec![own], ..convert.clone() };
    // It is asked for as much as the levels are: what to do with existing files of theirs holds for it too.
    let answer = convert.existing.values().next().copied();
    first.existing.extend(answer.map(|answer| (own, answer)));
    if is_alone {
        let others: Vec<Level> = convert.levels.extract_if(.., |level| level.preset().is_none()).collect();
        first.overrides = convert.overrides.part_for(&others);
        first.levels.extend(others);
    } else {
        first.levels.append(&mut convert.levels);
    }
    let mut made = make(model, &MakeRequest { convert: first, budget: None, ..request.make.clone() }, monitor)?;
    let Some(source) = made.adopted.take() else {
        let missing = || Error::Internal { message: format!("no file of level {own} was made") };
        return Err(made.broken.unwrap_or_else(missing));
    };
    made.conversions.retain(|conversion| conversion.path != source.path);
    for level in &mut made.conversions {
        level.source.clone_from(&source.path);
    }
    Ok((source, made))
}

/// Makes and measures the levels that bisection asks for, from small to large; returns what was made and the level found.
fn search_passing(
    source: &Model,
    request: &CompareRequest,
    losses: &mut Vec<QualityOutcome>,
    monitor: &Monitor,
    on_step: &dyn Fn(Step),
) -> Result<(Made, Option<Level>)> {
    let convert = &request.make.convert;
    // What an importance matrix adds to the sizes is the same for all.
    let rest = convert::without_layers(source, &convert.overrides)?;
    let planner = Planner::changed(rest.as_ref().map_or(source, |rest| &rest.model), None, source, &convert.overrides)?;
    let size = |preset: Preset| Ok((planner.output_size_bytes(&planner.recipe(preset))?, preset.into()));
    let n_ctx = n_ctx_of_speed(&request.bench);
    // What is larger than memory is no answer.
    let fits = |preset: &Preset| {
        let needed =
            |limit: &MemoryLimit| memory_estimate(planner.model(), &planner.recipe(*preset), &limit.cpu, n_ctx).total_bytes();
        request.make.memory_limit.as_ref().is_none_or(|limit| needed(limit) <= limit.limit_bytes)
    };
    let presets = convert.levels.iter().filter_map(|level| level.preset()).filter(fits);
    let mut ladder: Vec<(u64, Level)> = presets.map(size).collect::<Result<_>>()?;
    ladder.sort();
    let mut all = Made::default();
    let found = advise::cheapest_passing(ladder.len(), |idx| {
        let Some(&(_, level)) = ladder.get(idx) else { return Ok(false) };
        on_step(Step::Trying(level));
        let convert = ConvertRequest { levels: vec![level], ..convert.clone() };
        let made = make(source, &MakeRequest { convert, budget: None, ..request.make.clone() }, monitor)?;
        all.broken = all.broken.take().or(made.broken);
        let outcomes = losses_of(source, &made.conversions, request, monitor, on_step)?;
        all.conversions.extend(made.conversions);
        let mut does_pass = !outcomes.is_empty();
        for outcome in outcomes {
            does_pass &= outcome.result.as_ref().map_err(Error::clone)?.verdict.decision == Decision::Pass;
            losses.push(outcome);
        }
        Ok::<bool, Error>(does_pass)
    })?;
    all.conversions.sort_by_key(|conversion| std::cmp::Reverse(conversion.size_bytes));
    Ok((all, found.and_then(|idx| ladder.get(idx)).map(|(_, level)| *level)))
}

/// What these levels lose; empty where losses are not asked for.
fn losses_of(
    source: &Model,
    levels: &[Conversion],
    request: &CompareRequest,
    monitor: &Monitor,
    on_step: &dyn Fn(Step),
) -> Result<Vec<QualityOutcome>> {
    let Some(wanted) = request.quality.as_ref().filter(|_| !levels.is_empty()) else { return Ok(Vec::new()) };
    let candidates = levels.iter().map(|conversion| conversion.path.clone()).collect();
    let wanted = QualityRequest {
        reference: source.path.clone(),
        candidates,
        gates: request.limits.gates.clone(),
        memory_limit: request.make.memory_limit.clone(),
        ..wanted.clone()
    };
    quality(&wanted, monitor, |outcome| on_step(Step::Quality(outcome)))
}
