//! A budget becomes a level and the types of all its tensors.

use super::MakeRequest;
use super::calibration::costs;
use crate::advise::budget::{Budget, BudgetRecipe, budget_recipe};
use crate::convert::fitting_imatrix;
use crate::error::{Error, Result};
use crate::hardware::Cpu;
use crate::model::Model;
use crate::monitor::Monitor;

/// Measures what each tensor of a model is worth, where that is not known yet, and finds the types that lose least within a budget.
///
/// The request says what the measurement sees; its levels and changes do not count.
///
/// # Errors
/// `Error::BadRequest` for a budget below the smallest file, and for changes of types, which are the budget's to make; those of collecting
/// moments and of measuring.
pub fn plan_budget(model: &Model, budget: Budget, cpu: &Cpu, request: &MakeRequest, monitor: &Monitor) -> Result<BudgetRecipe> {
    let overrides = &request.convert.overrides;
    if overrides.of_types().is_custom() {
        return Err(Error::BadRequest {
            message: format!("a budget chooses all types itself, so {} cannot be heeded", overrides.of_types()),
        });
    }
    if request.convert.imatrix.is_some() {
        return Err(Error::BadRequest {
            message: "a budget measures what columns are worth itself: give no importance matrix".into(),
        });
    }
    let size_bytes = budget.size_bytes(model, cpu)?;
    let (costs, moments) = costs(model, &request.calibration, monitor)?;
    let imatrix = fitting_imatrix(model, &moments.path)?;
    budget_recipe(model, &costs, Some(&imatrix), size_bytes)
}
