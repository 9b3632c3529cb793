//! Predictions for single levels, without the rest of a plan.

use super::candidates::Context;
use super::plan::budget_here;
use super::{Budget, Candidate, Goal, Learned, Workload};
use crate::hardware::Machine;
use crate::model::{Level, Model};

/// Predicts levels of one model on this machine, whatever the goal's target is.
pub struct Predictor<'a> {
    model: &'a Model,
    machine: &'a Machine,
    goal: Goal,
    budget: Budget,
}

impl<'a> Predictor<'a> {
    /// A predictor for a context of `n_ctx` tokens.
    #[must_use]
    pub fn new(model: &'a Model, machine: &'a Machine, goal: &Goal, n_ctx: u64) -> Self {
        let goal = Goal { n_ctx, ..goal.clone() };
        Self { budget: budget_here(machine, &goal), model, machine, goal }
    }

    /// What the file itself asks of the machine, by which runs of the same network are recognised.
    #[must_use]
    pub fn workload(&self) -> Workload {
        Workload::of_file(self.model, &self.machine.cpu, self.goal.n_ctx)
    }

    /// These levels as a plan lists them, each with what is learned for it alone. Levels of other frameworks than llama.cpp are
    /// left out; empty for a model that cannot be run.
    #[must_use]
    pub fn predict(&self, wanted: &[(Level, Learned)]) -> Vec<Candidate> {
        if self.model.hindrance().is_some() {
            return Vec::new();
        }
        let context = Context::new(self.model, self.machine, &self.goal, &self.budget, true);
        let presets = wanted.iter().filter_map(|(level, learned)| Some((level.preset()?, learned)));
        presets.map(|(preset, learned)| context.gguf(preset, Some(learned)).candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::advise;
    use super::super::test_models::SMOLLM2;
    use super::*;

    #[test]
    fn a_single_level_is_predicted_as_in_a_plan() {
        let (model, goal) = (SMOLLM2.build(), Goal::default());
        let mut machine = Machine::default();
        machine.memory.available_bytes = 8 << 30;
        let plan = advise(&model, &machine, &goal);
        let levels = [Level::Q4_K_M, Level::Q8_0];
        let found = Predictor::new(&model, &machine, &goal, goal.n_ctx).predict(&levels.map(|level| (level, Learned::default())));
        for (level, candidate) in levels.into_iter().zip(&found) {
            assert_eq!(Some(candidate), plan.candidate_of(level));
        }
        let mut broken = model.clone();
        broken.tensors.clear();
        assert!(broken.hindrance().is_some());
        let found = Predictor::new(&broken, &machine, &goal, 512).predict(&[(Level::Q8_0, Learned::default())]);
        assert_eq!(found, []);
    }
}
