//! The use cases, for every front door alike: files that are made, tried and noted; levels that are compared.
//!
//! ```text
//! mod         make: convert, check whether the files run, let the one that keeps every weight stand for its checkpoint
//! reuse       which files of an earlier run are just what would be made now
//! self_check  a first run of files made from a checkpoint
//! calibration second moments for levels whose codes are chosen by error feedback
//! budget      types for a size or for gates, by what each tensor is worth
//! gated       the smallest file that passes the gates: made, measured, and made larger where it does not
//! reference what the levels of a checkpoint are held against
//! compare     make, measure speed and losses, and the rows of both
//! ```

mod budget;
mod calibration;
mod compare;
mod gated;
mod reference;
mod reuse;
mod self_check;

use std::sync::Arc;

use crate::advise::budget::{Aim, BudgetRecipe};
use crate::bench::MemoryLimit;
use crate::bench::known::remember_conversions;
use crate::convert::{Conversion, ConvertRequest, Existing, convert};
use crate::error::{Error, Result};
use crate::format;
use crate::model::Model;
use crate::monitor::Monitor;

pub use budget::{BudgetFacts, gate_search, level_of_budget, plan_budget};
pub use calibration::Calibration;
pub use compare::{CompareRequest, Comparison, Step, compare};
pub use gated::GatedFile;
pub use reference::Reference;

/// What to make.
#[derive(Debug, Clone, PartialEq)]
pub struct MakeRequest {
    /// Levels, folder, recipe.
    pub convert: ConvertRequest,
    /// What calibrated levels are calibrated on.
    pub calibration: Calibration,
    /// One more file, with types chosen for this.
    pub budget: Option<Aim>,
    /// Whether files made from a checkpoint are run before they count.
    pub is_checked: bool,
    /// Whether files of an earlier run are used as they are, where they are just what would be made now.
    pub reuses: bool,
    /// Files that would need more memory are made but not tried; `None`: all are.
    pub memory_limit: Option<MemoryLimit>,
}

impl MakeRequest {
    /// A request to make and check everything, whatever an earlier run made.
    #[must_use]
    pub fn new(convert: ConvertRequest) -> Self {
        Self { convert, calibration: Calibration::default(), budget: None, is_checked: true, reuses: false, memory_limit: None }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Made {
    /// The files in the order of the levels, without those that were found broken and removed.
    pub conversions: Vec<Conversion>,
    /// The model of the file that keeps every weight of a checkpoint, where one was made: it can be run, and stands for the checkpoint.
    pub adopted: Option<Arc<Model>>,
    /// What was wrong with the first broken file; `None` when none was found broken.
    pub broken: Option<Error>,
    /// What the budget has bought.
    pub budgeted: Option<BudgetRecipe>,
}

impl Made {
    /// Adds what was made after it.
    fn add(&mut self, later: Self) {
        self.conversions.extend(later.conversions);
        self.adopted = self.adopted.take().or(later.adopted);
        self.broken = self.broken.take().or(later.broken);
        self.budgeted = self.budgeted.take().or(later.budgeted);
    }
}

/// Converts, runs what came from a checkpoint, removes what is broken, and notes the rest in the user's history.
///
/// # Errors
/// Those of [`convert`] and [`plan_budget`]; `Error::Cancelled` also while files are tried: then all that was made stays and is noted.
pub fn make(model: &Model, request: &MakeRequest, monitor: &Monitor) -> Result<Made> {
    let mut made = if request.convert.levels.is_empty() { Made::default() } else { make_levels(model, request, monitor)? };
    if let Some(aim) = &request.budget {
        let recipe = plan_budget(model, aim, request, monitor)?;
        made.add(make_bought(model, recipe, request, monitor)?);
    }
    Ok(made)
}

/// Makes the file that a budget has bought.
fn make_bought(model: &Model, recipe: BudgetRecipe, request: &MakeRequest, monitor: &Monitor) -> Result<Made> {
    let convert = ConvertRequest { levels: vec![recipe.level], overrides: recipe.overrides.clone(), ..request.convert.clone() };
    let made = make_levels(model, &MakeRequest { convert, ..request.clone() }, monitor)?;
    Ok(Made { budgeted: Some(recipe), ..made })
}

fn make_levels(model: &Model, request: &MakeRequest, monitor: &Monitor) -> Result<Made> {
    let moments = calibration::moments(model, request, monitor)?;
    let mut convert_request = request.convert.clone();
    convert_request.imatrix = moments.as_ref().map(|moments| moments.path.clone()).or(convert_request.imatrix);
    let (mut conversions, missing) =
        if request.reuses { reuse::reused(model, &convert_request)? } else { (Vec::new(), convert_request.levels.clone()) };
    let mut broken = None;
    if !request.reuses || !missing.is_empty() {
        let mut to_make = ConvertRequest { levels: missing, ..convert_request.clone() };
        if request.reuses {
            // A file that is there but is not what would be made is neither measured nor silently replaced.
            to_make.existing.retain(|_, existing| *existing != Existing::Skip);
        }
        let made = convert(model, &to_make, monitor);
        let mut made = made.inspect_err(|error| moments.iter().for_each(|moments| moments.forget_if_damaged(error)))?;
        for made in &mut made {
            made.warnings.extend(moments.iter().flat_map(|moments| moments.warnings.clone()));
        }
        if request.is_checked {
            broken = self_check::try_made(model, &mut made, request.memory_limit.as_ref(), monitor)?;
        } else {
            remember_conversions(model, &made);
        }
        conversions.extend(made);
    }
    let order = &convert_request.levels;
    conversions.sort_by_key(|conversion| order.iter().position(|&level| level == conversion.level));
    // From here on the file that keeps every weight stands for the checkpoint: it can be run.
    let own = model.own_level().filter(|_| !model.is_runnable());
    let keeps_all = conversions.iter().find(|conversion| Some(conversion.level) == own && conversion.changes.is_empty());
    let adopted = keeps_all.map(|conversion| format::inspect(&conversion.path)).transpose()?.map(Arc::new);
    Ok(Made { conversions, adopted, broken, budgeted: None })
}
