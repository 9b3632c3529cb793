//! A budget: learning what tensors are worth, then the files that it buys and the comparison with a plain level of the same size.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::{App, absolute};
use crate::advise::Overrides;
use crate::advise::budget::Budget;
use crate::calibrate::text::TextSource;
use crate::convert::{self, ConvertRequest, Existing};
use crate::error::{Error, Result};
use crate::hardware::Machine;
use crate::make::{BudgetFacts, Calibration};
use crate::model::{Level, Model};
use crate::state::{CompareTab, Page, TextChoice, Tour, TourStep};
use crate::worker::{Job, JobId};

/// Conversions that are still to be made, and files that are there already.
type Spending = (VecDeque<Job>, Vec<PathBuf>);

impl App {
    /// What the model runs over before a calibrated conversion.
    pub(super) fn calibration(&self) -> Calibration {
        let form = &self.form.imatrix;
        let text = match form.text {
            TextChoice::File => TextSource::File(absolute(&crate::path_text::from_text(form.text_path.trim()))),
            TextChoice::Bundled | TextChoice::Pasted => TextSource::Bundled,
        };
        Calibration { text, ..Calibration::default() }
    }

    /// Starts to learn what each tensor of the open model is worth.
    pub(super) fn weigh(&mut self) -> Result<JobId> {
        self.save();
        let (model, _) = self.conversion(Vec::new(), None)?;
        let calibration = self.calibration();
        self.submit_for_id(&Job::Weigh { model, calibration })
    }

    /// Makes a file within a budget; then measures it, the plain level of its size and the source, if `compares`.
    pub(super) fn spend(&mut self, budget: Budget, compares: bool) -> Result<()> {
        self.refuse_second_tour()?;
        self.save();
        let after: &[TourStep] = if compares { &[TourStep::Measure, TourStep::Judge] } else { &[] };
        let known = self.store.budget_facts().map(|(facts, model)| (Arc::clone(facts), Arc::clone(model)));
        let tour = if let Some((facts, model)) = known {
            let (mut jobs, files) = self.spending(&facts, &model, budget, compares)?;
            let steps = [vec![TourStep::Convert; jobs.len()], after.to_vec()].concat();
            let source = self.store.model.ready().map_or_else(|| model.path.clone(), |open| open.path.clone());
            let first = match jobs.pop_front() {
                Some(job) => job,
                None if compares => {
                    Job::Bench { request: self.bench_request(std::iter::once(&source).chain(&files).cloned().collect()) }
                }
                None => return Err(Error::BadRequest { message: "the file for this budget is there already".into() }),
            };
            let job = self.submit_for_id(&first)?;
            Tour { conversions: jobs, files, ..Tour::new(steps, job, source) }
        } else {
            let job = self.weigh()?;
            let (model, _) = self.conversion(Vec::new(), None)?;
            let steps = [&[TourStep::Weigh, TourStep::Convert], after].concat();
            Tour { budget: Some(budget), ..Tour::new(steps, job, model.path.clone()) }
        };
        self.form.page = if tour.step() == Some(TourStep::Measure) { Page::Compare } else { Page::Optimize };
        self.form.compare_tab = CompareTab::Levels;
        self.store.tour = Some(tour);
        Ok(())
    }

    /// Plans the rest of a tour that has just learned what tensors are worth.
    pub(super) fn spend_in_tour(&mut self, tour: &mut Tour, facts: &BudgetFacts) -> Result<()> {
        let Some(budget) = tour.budget.take() else { return Ok(()) };
        let Some((_, model)) = self.store.budget_facts() else {
            return Err(Error::BadRequest { message: "another model was opened before the budget could be spent".into() });
        };
        let (model, compares) = (Arc::clone(model), tour.steps.contains(&TourStep::Judge));
        let (jobs, files) = self.spending(facts, &model, budget, compares)?;
        let rest = tour.steps.split_off((tour.step_idx + 2).min(tour.steps.len()));
        tour.steps.truncate(tour.step_idx + 1);
        tour.steps.extend(std::iter::repeat_n(TourStep::Convert, jobs.len()));
        tour.steps.extend(rest);
        tour.files.extend(files);
        tour.conversions = jobs;
        Ok(())
    }

    /// What a budget for a model needs: its file, and if `compares` the plain level of that size, and for a checkpoint the file that stands for it.
    fn spending(&self, facts: &BudgetFacts, model: &Arc<Model>, budget: Budget, compares: bool) -> Result<Spending> {
        let unknown = Machine::default();
        let cpu = &self.store.machine.ready().map_or(&unknown, |machine| machine).cpu;
        let recipe = facts.recipe(model, (budget.size_bytes(model, cpu)?, budget))?;
        let (open, request) = self.conversion(Vec::new(), None)?;
        let calibration = self.calibration();
        let (mut jobs, mut files) = (VecDeque::new(), Vec::new());
        if compares {
            let plain = ConvertRequest { overrides: Overrides::default(), ..request.clone() };
            let path_of = |level: &Level| convert::output_path_by(&open, *level, &plain.overrides, &plain.out_dir);
            let is_there = |level: &Level| self.store.conversions.iter().any(|made| made.path == path_of(level));
            let own = open.own_level().filter(|own| !open.is_runnable() && *own != recipe.level);
            let (there, missing): (Vec<Level>, Vec<Level>) = own.into_iter().chain([recipe.level]).partition(is_there);
            files.extend(there.iter().map(path_of));
            if !missing.is_empty() {
                let request = ConvertRequest { levels: missing, ..plain };
                jobs.push_back(Job::Convert { model: open, request, calibration: calibration.clone() });
            }
        }
        let changes = recipe.overrides.text_of(recipe.level);
        let made = self.store.conversions.iter().find(|made| made.level == recipe.level && made.changes == changes);
        if let Some(made) = made {
            files.push(made.path.clone());
        } else {
            let request = ConvertRequest {
                levels: vec![recipe.level],
                existing: BTreeMap::from([(recipe.level, Existing::KeepBoth)]),
                overrides: recipe.overrides,
                ..request
            };
            jobs.push_back(Job::Convert { model: Arc::clone(model), request, calibration });
        }
        Ok((jobs, files))
    }
}
