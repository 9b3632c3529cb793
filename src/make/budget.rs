//! A budget becomes a level and the types of all its tensors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::calibration::costs;
use super::{Calibration, MakeRequest};
use crate::advise::budget::{
    Aim, Budget, BudgetRecipe, Costs, CurvePoint, GateSearch, LossLimit, budget_recipe, file_points, gated_recipe, nearest_level,
    nearest_point,
};
use crate::advise::{Gates, Planner};
use crate::bench::known::{FindRequest, find_known};
use crate::bench::quality::QualityRun;
use crate::calibrate::text::{TextSource, corpus};
use crate::convert::fitting_imatrix;
use crate::error::{Error, Result};
use crate::format::Imatrix;
use crate::hardware;
use crate::model::{Level, Model};
use crate::monitor::Monitor;
use crate::units::count_text;

/// What budgets for a model are spent by.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetFacts {
    /// The model's path.
    pub model: PathBuf,
    /// What each tensor loses in each type.
    pub costs: Costs,
    /// The importances and moments that files are made with.
    pub imatrix: Imatrix,
    /// The text and its tokens that all of it was learned from, in words.
    pub seen: String,
}

impl BudgetFacts {
    /// Learns it by running the model over a text, or takes what is known.
    ///
    /// # Errors
    /// Those of collecting moments and of measuring.
    pub fn learn(model: &Model, calibration: &Calibration, monitor: &Monitor) -> Result<Self> {
        let (costs, moments) = costs(model, calibration, monitor)?;
        Ok(Self {
            model: model.path.clone(),
            imatrix: fitting_imatrix(model, &moments.path)?,
            seen: format!("{} tokens of {}", count_text(moments.n_tokens), moments.text),
            costs,
        })
    }

    /// The file of at most `size_bytes`, which this budget means, that is predicted to lose least.
    ///
    /// # Errors
    /// Those of [`budget_recipe`].
    pub fn recipe(&self, model: &Model, (size_bytes, budget): (u64, Budget)) -> Result<BudgetRecipe> {
        budget_recipe(model, &self.costs, Some(&self.imatrix), (size_bytes, budget))
    }

    /// The curve of whole files.
    ///
    /// # Errors
    /// Those of [`file_points`].
    pub fn file_points(&self, model: &Model) -> Result<Vec<CurvePoint>> {
        file_points(model, &self.costs, Some(&self.imatrix))
    }

    /// A search by gates for this model, which knows what earlier budgeted files have lost on this text that lie beside the model, in `folder`, or
    /// where the history says. A history that cannot be read teaches nothing.
    ///
    /// # Errors
    /// Those of [`corpus`], [`GateSearch::new`] and [`file_points`].
    pub(super) fn search(&self, model: &Model, gates: &Gates, text: &TextSource, folder: &Path) -> Result<GateSearch> {
        let text_sha256 = corpus(text)?.sha256;
        let request =
            FindRequest { model: Arc::new(model.clone()), folders: vec![folder.to_path_buf()], known: Vec::new(), machine: None };
        let known = find_known(&request).ok();
        let (levels, quality) = known.map(|known| (known.levels, known.quality)).unwrap_or_default();
        let run = |path: &Path| quality.iter().find(|outcome| outcome.path == path)?.result.as_ref().ok();
        let budgeted = levels.iter().filter(|made| made.is_budgeted());
        let measured = budgeted.filter_map(|made| Some((made.size_bytes, run(&made.path)?.as_ref())));
        let of_text = measured.filter(|(_, run)| run.provenance.text_sha256 == text_sha256);
        gate_search(model, gates, &self.file_points(model)?, of_text)
    }

    /// The smallest file that a search finds, and its point on the curve of whole files.
    ///
    /// # Errors
    /// Those of [`gated_recipe`].
    pub(super) fn gated(&self, model: &Model, search: &GateSearch) -> Result<(BudgetRecipe, CurvePoint)> {
        gated_recipe(model, &self.costs, Some(&self.imatrix), search)
    }
}

/// A search by gates for this model that knows what budgeted files of these sizes in bytes have lost; `points` is the curve of whole files.
///
/// # Errors
/// Those of [`GateSearch::new`].
pub fn gate_search<'a>(
    model: &Model,
    gates: &Gates,
    points: &[CurvePoint],
    measured: impl Iterator<Item = (u64, &'a QualityRun)>,
) -> Result<GateSearch> {
    let gates = gates.meaningful(model.has_recurrent_layers());
    let mut search = GateSearch::new(&gates)?;
    for (size_bytes, run) in measured {
        if let Some(point) = nearest_point(points, size_bytes) {
            search.note(point, run.summary.mean_kld, &run.judged(&gates));
        }
    }
    Ok(search)
}

/// Measures what each tensor of a model is worth, where that is not known yet, and finds the types for the request's aim.
///
/// The request says what the measurement sees; its levels do not count.
///
/// # Errors
/// `Error::BadRequest` for a budget below the smallest file, for gates that no file is predicted to pass, and for an importance matrix or left-out
/// layers, which do not go with it; those of collecting moments and of measuring.
pub fn plan_budget(model: &Model, aim: &Aim, request: &MakeRequest, monitor: &Monitor) -> Result<BudgetRecipe> {
    check_budget(request)?;
    match aim {
        Aim::Size(budget) => {
            let size_bytes = size_bytes(model, *budget, request)?;
            BudgetFacts::learn(model, &request.calibration, monitor)?.recipe(model, (size_bytes, *budget))
        }
        Aim::Gates(gates) => {
            // Gates that say nothing about a size are refused before the model runs.
            LossLimit::of(gates)?;
            let facts = BudgetFacts::learn(model, &request.calibration, monitor)?;
            // What is not measured here would be on the bundled text.
            let search = facts.search(model, gates, &TextSource::Bundled, &request.convert.out_dir)?;
            facts.gated(model, &search).map(|(recipe, _)| recipe)
        }
    }
}

/// Refuses what does not go with types that a budget chooses.
///
/// # Errors
/// `Error::BadRequest`.
pub(super) fn check_budget(request: &MakeRequest) -> Result<()> {
    let refused = |what: &str| Err(Error::BadRequest { message: format!("a budget chooses all types itself: {what}") });
    if request.convert.imatrix.is_some() {
        return refused("it measures what columns are worth, and takes no importance matrix");
    }
    let overrides = &request.convert.overrides;
    if !overrides.pruned_layers.is_empty() {
        return refused("it cannot leave out layers");
    }
    if request.convert.levels.is_empty() && overrides.of_types().is_custom() {
        return refused(&format!("{} changes none of them", overrides.of_types()));
    }
    Ok(())
}

/// The level whose plain file is about as large as a budget.
///
/// # Errors
/// Those of [`Budget::size_bytes`].
pub fn level_of_budget(model: &Model, budget: Budget, request: &MakeRequest) -> Result<Level> {
    nearest_level(&Planner::new(model), size_bytes(model, budget, request)?)
}

fn size_bytes(model: &Model, budget: Budget, request: &MakeRequest) -> Result<u64> {
    budget.size_bytes(model, &hardware::detect(&request.convert.out_dir).cpu)
}
