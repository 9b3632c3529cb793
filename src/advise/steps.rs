//! The few levels that most people need, among the many that there are.

use super::{Candidate, Fit, Plan};
use crate::model::{Framework, Level, Model};

/// Levels that are one clear step apart.
const STEPS: [Level; 7] = [Level::F16, Level::Q8_0, Level::Q6_K, Level::Q5_K_M, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K];
/// The same for MLX, by name.
const STEPS_OF_MLX: [&str; 4] = ["mlx:8-bit-g64", "mlx:6-bit-g64", "mlx:4-bit-g64", "mlx:3-bit-g64"];
/// The same for ONNX Runtime.
const STEPS_OF_ONNX: [&str; 4] = ["onnx:INT8-g32", "onnx:INT4-mixed", "onnx:INT4-g32", "onnx:INT4-g128"];
/// The levels that people use.
const USUAL: [Level; 5] = [Level::Q8_0, Level::Q6_K, Level::Q5_K_M, Level::Q4_K_M, Level::Q3_K_M];
/// What takes their places where the larger ones do not fit.
const SMALLER: [Level; 2] = [Level::Q3_K_S, Level::Q2_K];

/// The level and its neighbours, the next larger and the next smaller one a clear step away, from large to small.
#[must_use]
pub fn with_neighbours(level: Level) -> Vec<Level> {
    let named = |names: [&str; 4]| names.iter().filter_map(|name| name.parse().ok()).collect();
    let steps: Vec<Level> = match level.framework() {
        Framework::Mlx => named(STEPS_OF_MLX),
        Framework::OnnxRuntime => named(STEPS_OF_ONNX),
        Framework::LlamaCpp | Framework::OpenVino | Framework::Qnn => STEPS.to_vec(),
    };
    let larger = steps.iter().copied().rfind(|step| *step < level);
    let smaller = steps.iter().copied().find(|step| *step > level);
    [larger, Some(level), smaller].into_iter().flatten().collect()
}

impl Plan {
    /// This level among the candidates; `None` if it is not one of them.
    #[must_use]
    pub fn candidate_of(&self, level: Level) -> Option<&Candidate> {
        self.candidates.iter().find(|found| found.level == Some(level))
    }

    /// The recommended level and those neighbours of it that fit and are smaller than the source; empty without a recommendation.
    #[must_use]
    pub fn levels_to_compare(&self, model: &Model) -> Vec<Level> {
        let Some(best) = self.recommended_level() else { return Vec::new() };
        with_neighbours(best).into_iter().filter(|&level| level == best || self.is_worth_trying(model, level)).collect()
    }

    /// The levels that people use, as far as they fit and are smaller than the source, and the recommended one, from large to small.
    /// Smaller ones take the places of those that do not fit.
    #[must_use]
    pub fn usual_levels(&self, model: &Model) -> Vec<Level> {
        let is_worth_trying = |level: &Level| self.is_worth_trying(model, *level);
        let mut levels: Vec<Level> = USUAL.into_iter().filter(is_worth_trying).collect();
        let n_missing = USUAL.len() - levels.len();
        levels.extend(SMALLER.into_iter().filter(is_worth_trying).take(n_missing));
        levels.extend(self.recommended_level());
        levels.sort_unstable();
        levels.dedup();
        levels
    }

    fn is_worth_trying(&self, model: &Model, level: Level) -> bool {
        self.candidate_of(level).is_some_and(|found| {
            found.missing.is_none()
                && found.is_offered()
                && !matches!(found.fit, Fit::TooLarge { .. })
                && found.size_bytes < model.size_bytes
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::{Goal, advise, test_models};
    use crate::hardware::Machine;
    use crate::model::DType;

    #[test]
    fn neighbours_are_clear_steps() {
        let check = |level, expected: &[Level]| assert_eq!(with_neighbours(level), expected);
        check(Level::Q4_K_M, &[Level::Q5_K_M, Level::Q4_K_M, Level::Q3_K_M]);
        check(Level::Q4_0, &[Level::Q4_K_M, Level::Q4_0, Level::Q3_K_M]);
        check(Level::F32, &[Level::F32, Level::F16]);
        check(Level::Q2_K, &[Level::Q3_K_M, Level::Q2_K]);
        let onnx = |name: &str| -> Level { name.parse().unwrap() };
        check(onnx("onnx:INT4"), &["onnx:INT4-mixed", "onnx:INT4", "onnx:INT4-g128"].map(onnx));
    }

    #[test]
    fn only_levels_that_fit_and_save_something_are_tried() {
        let machine = Machine::default();
        let model = test_models::LLAMA3_8B.build();
        let of = |goal: &Goal| advise(&model, &machine, goal);
        let plan = of(&Goal { memory_budget_bytes: Some(64 << 30), ..Goal::default() });
        assert_eq!(plan.usual_levels(&model), USUAL);
        let best = plan.recommended_level().unwrap();
        assert_eq!(plan.levels_to_compare(&model), with_neighbours(best));
        let tight = of(&Goal { memory_budget_bytes: Some(5 << 30), ..Goal::default() });
        let usual = tight.usual_levels(&model);
        assert!(!usual.contains(&Level::Q8_0) && usual.contains(&Level::Q2_K), "{usual:?}");
        assert!(tight.levels_to_compare(&model).iter().all(|level| usual.contains(level)), "{usual:?}");

        let small = test_models::Decoder { dtype: DType::Q4_0, ..test_models::LLAMA3_8B }.build();
        let plan = advise(&small, &machine, &Goal { memory_budget_bytes: Some(64 << 30), ..Goal::default() });
        assert!(plan.usual_levels(&small).iter().all(|level| *level > Level::Q4_K_M), "{:?}", plan.usual_levels(&small));
    }
}
