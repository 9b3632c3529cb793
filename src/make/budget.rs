//! A budget becomes a level and the types of all its tensors.

use super::MakeRequest;
use super::calibration::costs;
use crate::advise::Planner;
use crate::advise::budget::{Budget, BudgetRecipe, budget_recipe, nearest_level};
use crate::convert::fitting_imatrix;
use crate::error::{Error, Result};
use crate::hardware;
use crate::model::{Level, Model};
use crate::monitor::Monitor;

/// Measures what each tensor of a model is worth, where that is not known yet, and finds the types that lose least within a budget.
///
/// The request says what the measurement sees, and the threads; its levels do not count.
///
/// # Errors
/// `Error::BadRequest` for a budget below the smallest file, and for an importance matrix or left-out layers, which do not go with it; those of
/// collecting moments and of measuring.
pub fn plan_budget(model: &Model, budget: Budget, request: &MakeRequest, monitor: &Monitor) -> Result<BudgetRecipe> {
    let refused = |what: &str| Err(Error::BadRequest { message: format!("a budget chooses all types itself: {what}") });
    if request.convert.imatrix.is_some() {
        return refused("it measures what columns are worth, and takes no importance matrix");
    }
    if !request.convert.overrides.pruned_layers.is_empty() {
        return refused("it cannot leave out layers");
    }
    let size_bytes = size_bytes(model, budget, request)?;
    let (costs, moments) = costs(model, &request.calibration, monitor)?;
    let imatrix = fitting_imatrix(model, &moments.path)?;
    budget_recipe(model, &costs, Some(&imatrix), (size_bytes, budget))
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
