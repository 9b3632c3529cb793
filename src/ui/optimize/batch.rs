//! What a conversion on the Optimize page would do: what the page and its bar both show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::Ui;

use super::existing_view::being_made;
use super::imatrix_view::imatrix_refusal;
use super::level_cards::names;
use super::recipe_data::changed_sizes;
use crate::advise::{Overrides, Plan};
use crate::convert;
use crate::hardware::{Disk, Machine};
use crate::model::{Framework, Level, Model};
use crate::state::{Form, Store};
use crate::ui::kit::widgets;
use crate::ui::plan::page::plan_of;
use crate::units::bytes_text;

/// The chosen levels of the open model, and what is known about them.
pub struct Batch {
    /// The open model.
    pub model: Arc<Model>,
    /// Sizes, losses and what fits, for every level.
    pub plan: Arc<Plan>,
    /// The level that is best here; `None` where none is, and while the machine is not known.
    pub recommended: Option<Level>,
    /// What is changed in the recipes of all levels.
    pub overrides: Overrides,
    /// The chosen levels that can be made of the open model.
    pub chosen: Vec<Level>,
    /// Levels whose outputs are there already.
    pub existing: BTreeSet<Level>,
    /// Chosen levels that a job is making, or will make.
    pub in_work: Vec<Level>,
    /// All levels that a job is making, or will make.
    pub all_in_work: Vec<Level>,
    /// Chosen levels that are still to be made.
    pub todo: Vec<Level>,
    /// Size of what is still to be made, in bytes.
    pub todo_bytes: u64,
    /// Where the outputs go.
    pub dir: PathBuf,
    /// Why the chosen levels cannot be converted; `None` when nothing is in the way. It can be there with no level chosen.
    pub refusal: Option<String>,
}

impl Batch {
    /// The batch that the form describes; `None` without a model that can be converted.
    pub fn of(ui: &Ui, store: &Store, form: &Form) -> Option<Self> {
        let model = Arc::clone(store.model.ready().filter(|model| model.has_weights())?);
        // Sizes do not depend on the machine, so converting works also while it is being measured or could not be.
        let unknown = Machine::default();
        let machine: &Machine = store.machine.ready().map_or(&unknown, |machine| machine);
        let plan = plan_of(ui, &model, machine, form, store);
        let recommended = plan.recommended_level().filter(|_| store.machine.ready().is_some());
        let overrides = form.recipe.of(&model);
        let dir = output_dir(&model, form);
        let path_of = |level: Level| {
            convert::output_path_by(store.source_of(level).map_or(&model, |source| source), level, &overrides, &dir)
        };
        // Levels chosen for a checkpoint stay chosen while a GGUF file is open, where they are not shown.
        let is_possible =
            |level: &Level| level.preset().is_some() || store.other_levels().iter().any(|other| other.level == *level);
        let chosen: Vec<Level> = form.levels.iter().copied().filter(is_possible).collect();
        let existing: BTreeSet<Level> =
            store.conversions.iter().filter(|made| made.path == path_of(made.level)).map(|made| made.level).collect();
        let all_in_work = being_made(store, Level::all(), path_of);
        let in_work: Vec<Level> = all_in_work.iter().copied().filter(|level| chosen.contains(level)).collect();
        let is_todo = |level: &Level| !in_work.contains(level) && !existing.contains(level);
        let todo: Vec<Level> = chosen.iter().copied().filter(is_todo).collect();
        let (own_bytes, broken) = sizes_of(ui, &model, &plan, &overrides, &todo);
        let others = store.other_levels().iter().filter(|other| todo.contains(&other.level));
        let has_wide_ends = overrides.mlx.are_wide_ends();
        let todo_bytes = others.map(|other| other.size_and_bits(has_wide_ends).0).fold(own_bytes, u64::saturating_add);
        let disk = store.disk_of(&dir);
        let refusal = broken
            .map(|reason| widgets::sentence(&reason))
            .or_else(|| space_refusal(todo_bytes, disk))
            .or_else(|| if overrides.calibrated { None } else { imatrix_refusal(&model, &form.imatrix) });
        Some(Self { model, plan, recommended, overrides, chosen, existing, in_work, all_in_work, todo, todo_bytes, dir, refusal })
    }

    /// What the button would do, or why there is nothing to do: `3 levels, 412 MiB`.
    pub fn text(&self) -> String {
        let chosen = &self.chosen;
        match (self.todo.len(), chosen.len()) {
            (_, 0) => "No level is chosen yet".into(),
            (0, _) if !self.in_work.is_empty() => {
                format!("{} {} being converted already", names(chosen), if chosen.len() == 1 { "is" } else { "are" })
            }
            (0, 1) => format!("{} is there already", names(chosen)),
            (0, n) => format!("All {n} chosen levels are there already"),
            (1, 1) => format!("{}, {}", names(&self.todo), bytes_text(self.todo_bytes)),
            (n, m) if n == m => format!("{n} levels, {}", bytes_text(self.todo_bytes)),
            (n, m) => format!("{n} of {m} levels are still to be made, {}", bytes_text(self.todo_bytes)),
        }
    }
}

/// The folder that outputs go to: the chosen one, made absolute, else that of the source.
pub fn output_dir(model: &Model, form: &Form) -> PathBuf {
    match form.output_dir.trim() {
        "" => convert::default_output_dir(Some(model)),
        dir => std::path::absolute(dir).unwrap_or_else(|_| PathBuf::from(dir)),
    }
}

/// Size in bytes of all levels of llama.cpp among these together, and what is wrong with the changes to their recipes.
fn sizes_of(ui: &Ui, model: &Arc<Model>, plan: &Plan, overrides: &Overrides, levels: &[Level]) -> (u64, Option<String>) {
    if overrides.part_of(Framework::LlamaCpp).is_custom() {
        let sizes = changed_sizes(ui, model, &levels.iter().filter_map(|level| level.preset()).collect(), overrides);
        let sum = sizes.as_deref().unwrap_or_default().iter().copied().fold(0, u64::saturating_add);
        (sum, sizes.as_ref().as_ref().err().map(ToString::to_string))
    } else {
        let own = levels.iter().filter(|level| level.preset().is_some());
        let sizes = own.filter_map(|&level| plan.candidate_of(level)).map(|candidate| candidate.size_bytes);
        (sizes.fold(0, u64::saturating_add), None)
    }
}

fn space_refusal(needed_bytes: u64, disk: Option<&Disk>) -> Option<String> {
    let free_bytes = disk?.free_bytes;
    (needed_bytes > free_bytes).then(|| format!("{} more are needed on this disk", bytes_text(needed_bytes - free_bytes)))
}

/// Where a folder lies and what is free there: `380 GiB free on /home`.
pub fn free_text(store: &Store, dir: &Path) -> String {
    match store.disk_of(dir) {
        Some(disk) => format!("{} free on {}", bytes_text(disk.free_bytes), disk.mount_point),
        None => "free space unknown".into(),
    }
}
