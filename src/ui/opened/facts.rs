//! What plans and comparisons are computed from, and how to tell that none of it has changed.

use std::sync::Arc;

use eframe::egui::Ui;

use crate::advise::{Goal, Limits};
use crate::bench::Outcome;
use crate::bench::history::Row;
use crate::bench::known::RunOrigin;
use crate::bench::quality::QualityOutcome;
use crate::convert::Conversion;
use crate::hardware::Machine;
use crate::model::Model;
use crate::state::{Form, Store};
use crate::ui::kit::memo::{self, Same};

/// The open model with what was made of it and measured, and what the user wants.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The open model.
    pub model: &'a Arc<Model>,
    /// Where it is to run.
    pub machine: &'a Machine,
    /// Goal and limits.
    pub form: &'a Form,
    /// What was made and measured.
    pub store: &'a Store,
}

/// A copy of the facts, kept with what was computed from them.
struct Kept {
    model: Same<Model>,
    machine: Machine,
    goal: Goal,
    limits: Limits,
    conversions: Vec<Conversion>,
    outcomes: Vec<Outcome>,
    quality: Vec<QualityOutcome>,
    origins: Vec<RunOrigin>,
    history: Option<Same<Vec<Row>>>,
}

impl Facts<'_> {
    /// What `compute` made of these facts, kept under `name` until one of them changes.
    pub fn memo<T: Send + Sync + 'static>(self, ui: &Ui, name: &'static str, compute: impl FnOnce() -> T) -> Arc<T> {
        memo::kept_while(ui, name, |kept: &Kept| self.are(kept), || (self.kept(), compute()))
    }

    fn are(self, kept: &Kept) -> bool {
        let Self { model, machine, form, store } = self;
        kept.model.is(model)
            && kept.machine == *machine
            && kept.goal == form.goal
            && kept.limits == form.limits
            && kept.conversions == store.conversions
            && kept.outcomes == store.outcomes
            && kept.origins == store.origins
            && same_quality(&kept.quality, &store.quality)
            && kept.history == store.history.ready().map(Same::of)
    }

    fn kept(self) -> Kept {
        let Self { model, machine, form, store } = self;
        Kept {
            model: Same::of(model),
            machine: machine.clone(),
            goal: form.goal.clone(),
            limits: form.limits.clone(),
            conversions: store.conversions.clone(),
            outcomes: store.outcomes.clone(),
            quality: store.quality.clone(),
            origins: store.origins.clone(),
            history: store.history.ready().map(Same::of),
        }
    }
}

/// Whether these are the same measurements: compared by the address of each, because they hold every chunk.
fn same_quality(one: &[QualityOutcome], other: &[QualityOutcome]) -> bool {
    let is_same = |(a, b): (&QualityOutcome, &QualityOutcome)| {
        a.path == b.path
            && match (&a.result, &b.result) {
                (Ok(a), Ok(b)) => Arc::ptr_eq(a, b),
                (Err(a), Err(b)) => a == b,
                _ => false,
            }
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}
