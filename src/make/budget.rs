//! A budget becomes a level and the types of all its tensors.

use std::path::PathBuf;

use super::calibration::costs;
use super::{Calibration, MakeRequest};
use crate::advise::Planner;
use crate::advise::budget::{Budget, BudgetRecipe, Costs, budget_recipe, nearest_level};
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
}

/// Measures what each tensor of a model is worth, where that is not known yet, and finds the types that lose least within a budget.
///
/// The request says what the measurement sees; its levels do not count.
///
/// # Errors
/// `Error::BadRequest` for a budget below the smallest file, and for an importance matrix or left-out layers, which do not go with it; those of
/// collecting moments and of measuring.
pub fn plan_budget(model: &Model, budget: Budget, request: &MakeRequest, monitor: &Monitor) -> Result<BudgetRecipe> {
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
    let size_bytes = size_bytes(model, budget, request)?;
    BudgetFacts::learn(model, &request.calibration, monitor)?.recipe(model, (size_bytes, budget))
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
