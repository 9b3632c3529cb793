//! The smallest file that passes the gates: made, measured, and where it does not pass made larger, with predictions that its
//! own measurement has corrected.

use std::path::PathBuf;

use super::budget::{BudgetFacts, check_budget};
use super::{Made, MakeRequest, make, make_bought};
use crate::advise::budget::{BudgetRecipe, LossLimit, MAX_GATED_FILES};
use crate::advise::{Decision, Gates, Verdict};
use crate::bench::quality::QualityOutcome;
use crate::calibrate::text::TextSource;
use crate::convert::{Conversion, ConvertRequest, Existing};
use crate::error::Result;
use crate::model::{Level, Model};
use crate::monitor::Monitor;

/// A file that was made for gates, and what they said when it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct GatedFile {
    /// The file.
    pub path: PathBuf,
    /// Its level, with what was predicted.
    pub recipe: BudgetRecipe,
    /// What the gates said.
    pub verdict: Verdict,
}

impl GatedFile {
    /// True where the file passed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.verdict.decision == Decision::Pass
    }
}

/// Makes at most [`MAX_GATED_FILES`] files and has `measure` measure them, until one passes; then makes the plain levels of the
/// request, or where there are none the level that is about as large as the last file. All files stay: a second one of a level
/// gets a number, the first one the answer of the request. `text` is the one that they are measured on, `on_file` hears of each
/// file before it is made.
///
/// # Errors
/// Those of `plan_budget`, of making and of measuring.
pub(super) fn search_by_gates(
    source: &Model,
    (gates, text): (&Gates, &TextSource),
    request: &MakeRequest,
    on_file: &dyn Fn(&BudgetRecipe),
    measure: &mut dyn FnMut(&[Conversion]) -> Result<Vec<QualityOutcome>>,
    monitor: &Monitor,
) -> Result<(Made, Vec<GatedFile>)> {
    check_budget(request)?;
    LossLimit::of(gates)?;
    let facts = BudgetFacts::learn(source, &request.calibration, monitor)?;
    let mut search = facts.search(source, gates, text, &request.convert.out_dir)?;
    let (mut all, mut files) = (Made::default(), Vec::<GatedFile>::new());
    while files.len() < MAX_GATED_FILES && !files.last().is_some_and(GatedFile::passes) {
        let (recipe, point) = match facts.gated(source, &search) {
            // That nothing larger is left is told by the verdict on the largest.
            Err(_) if !files.is_empty() => break,
            found => found?,
        };
        on_file(&recipe);
        let made = make_bought(source, recipe.clone(), &for_next(request, recipe.level, &files), monitor)?;
        let outcomes = measure(&made.conversions)?;
        let path = made.conversions.first().map(|made| made.path.clone());
        all.conversions.extend(made.conversions);
        all.broken = all.broken.take().or(made.broken);
        all.budgeted = made.budgeted;
        // One that was found broken is gone: there is nothing to go on from.
        let (Some(path), Some(outcome)) = (path, outcomes.into_iter().next()) else { break };
        let run = outcome.result?;
        let verdict = run.verdict.clone();
        search.note(&point, run.summary.mean_kld, &verdict);
        files.push(GatedFile { path, recipe, verdict });
    }
    let levels = match (request.convert.levels.as_slice(), files.last()) {
        ([], last) => last.map(|file| file.recipe.level).into_iter().collect(),
        (levels, _) => levels.to_vec(),
    };
    if !levels.is_empty() {
        let convert = ConvertRequest { levels, ..request.convert.clone() };
        all.add(make(source, &MakeRequest { convert, budget: None, ..request.clone() }, monitor)?);
    }
    Ok((all, files))
}

/// The request for a file of this level: one that would replace a file of the same search is numbered instead.
fn for_next(make: &MakeRequest, level: Level, files: &[GatedFile]) -> MakeRequest {
    let mut make = make.clone();
    if files.iter().any(|file| file.recipe.level == level) {
        make.convert.existing.insert(level, Existing::KeepBoth);
        // A file of an earlier run under the plain name cannot be this one.
        make.reuses = false;
    }
    make
}
