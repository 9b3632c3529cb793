//! `--budget`: what it asks for, and what it has bought.

use serde_json::{Value as Json, json};

use crate::advise::budget::{Aim, Budget, BudgetRecipe, GATES_BUDGET};
use crate::advise::{Decision, Gates, Overrides};
use crate::error::Error;
use crate::make::GatedFile;
use crate::path_text;
use crate::units::{bytes_text, count_of, nats_text};

/// What `--budget` asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BudgetArg {
    /// A size.
    Size(Budget),
    /// The smallest file that passes the gates of the command.
    Gates,
}

impl BudgetArg {
    /// Parses `60%` or `gates`.
    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case(GATES_BUDGET) {
            return Ok(Self::Gates);
        }
        text.parse().map(Self::Size).map_err(|error: Error| format!("{error}, or {GATES_BUDGET}"))
    }

    /// What is wanted, with the gates of the command.
    pub(super) fn aim(self, gates: Gates) -> Aim {
        match self {
            Self::Size(budget) => Aim::Size(budget),
            Self::Gates => Aim::Gates(gates),
        }
    }
}

/// Parses a largest mean KL divergence: `0.05`.
pub(super) fn nats_from_text(text: &str) -> Result<f64, String> {
    let nats = text.trim().parse::<f64>().ok().filter(|nats| nats.is_finite() && *nats >= 0.0);
    nats.ok_or_else(|| "a number of nats, for example 0.05".into())
}

/// What a budget has bought: `budget 60%: 81.2 MB, predicted to lose 0.018 ± 0.007 nats`, and the types.
pub(super) fn budget_text(recipe: &BudgetRecipe) -> String {
    let wanted = recipe.overrides.budget.as_deref().unwrap_or_default();
    let types = Overrides { budget: None, calibrated: false, ..recipe.overrides.clone() };
    format!("budget {wanted}: {}\ntypes: {} {types}", predicted_text(recipe), recipe.level)
}

/// A file that a search by gates is going to make: `Q3_K_M budget: 81.2 MB, predicted to lose 0.060 ± 0.025 nats, …`.
pub(super) fn gated_text(recipe: &BudgetRecipe) -> String {
    format!("{} budget: {}", recipe.level, predicted_text(recipe))
}

fn predicted_text(recipe: &BudgetRecipe) -> String {
    let mut text = format!(
        "{}, predicted to lose {} ± {} nats",
        bytes_text(recipe.size_bytes),
        nats_text(recipe.loss),
        nats_text(recipe.loss_error)
    );
    if let Some(by) = &recipe.gates {
        if by.n_measured > 0 {
            text.push_str(&format!(", corrected by {}", count_of(by.n_measured, "measured file")));
        }
        text.push_str(&format!(", at most {} allowed by {}", nats_text(by.limit.nats), by.limit.kind.phrase()));
        if by.is_smallest {
            text.push_str("; no file is smaller, so looser gates change nothing");
        }
    }
    text
}

/// What a search by gates has found, and where its files are.
pub(super) fn gated_files_text(files: &[GatedFile]) -> String {
    let Some((last, failed)) = files.split_last() else { return "No file for the gates could be measured".into() };
    let name = |file: &GatedFile| path_text::file_name(&file.path);
    let size = bytes_text(last.recipe.size_bytes);
    let mut text = if last.passes() {
        format!("Predicted to be the smallest file that passes the gates on quality, and passes: {}, {size}", name(last))
    } else {
        format!(
            "None of {} for the gates passes; the largest, {}, {size}: {}",
            count_of(files.len(), "file"),
            name(last),
            last.verdict.decision.label()
        )
    };
    let open = last.verdict.gates.iter().filter(|gate| gate.decision != Decision::Pass);
    text.extend(open.map(|gate| format!("\n  {:<12}  {}: {}", gate.decision.label(), gate.kind.label(), gate.text())));
    if !failed.is_empty() {
        let names: Vec<String> =
            failed.iter().map(|file| format!("{} ({})", name(file), file.verdict.decision.label())).collect();
        text.push_str(&format!("\ntried before, kept as all levels are: {}", names.join(", ")));
    }
    text
}

/// The same for other programs: one object for each file in the order of the search.
pub(super) fn gated_files_json(files: &[GatedFile]) -> Json {
    let file = |file: &GatedFile| {
        json!({
            "path": path_text::to_text(&file.path),
            "level": file.recipe.level,
            "size_bytes": file.recipe.size_bytes,
            "predicted_loss": file.recipe.loss,
            "predicted_loss_error": file.recipe.loss_error,
            "gates": file.recipe.gates,
            "verdict": file.verdict,
            "passes": file.passes(),
        })
    };
    files.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::budget::{GatedBy, LossLimit};
    use crate::advise::{GateKind, Interval, judge};
    use crate::model::Level;

    #[test]
    fn sizes_and_gates_are_read() {
        assert_eq!(BudgetArg::from_text(" Gates "), Ok(BudgetArg::Gates));
        assert_eq!(BudgetArg::from_text("60%"), Ok(BudgetArg::Size(Budget::Share(0.6))));
        let error = BudgetArg::from_text("gate").unwrap_err();
        assert!(error.contains("\"gate\" is no budget") && error.ends_with("or gates"), "{error}");
        assert_eq!(nats_from_text("0.05"), Ok(0.05));
        assert!(nats_from_text("-1").is_err() && nats_from_text("5%").is_err());
    }

    fn file(name: &str, kld: f64) -> GatedFile {
        let limit = LossLimit { nats: 0.1, kind: GateKind::MeanKld };
        let by = GatedBy { limit, uncorrected_loss: 0.04, n_measured: 1, is_smallest: false };
        let recipe = BudgetRecipe {
            level: Level::Q3_K_M,
            overrides: Overrides { budget: Some("gates".into()), calibrated: true, ..Overrides::default() },
            size_bytes: 1 << 20,
            data_bytes: 1 << 20,
            bits_per_weight: 3.5,
            loss: 0.06,
            loss_error: 0.025,
            gates: Some(by),
        };
        let gates = Gates { max_mean_kld: Some(0.1), ..Gates::OFF };
        GatedFile {
            path: name.into(),
            recipe,
            verdict: judge(&gates, |_| Some(Interval { value: kld, low: kld - 0.01, high: kld + 0.01 })),
        }
    }

    #[test]
    fn a_search_tells_its_last_verdict_and_what_became_of_the_others() {
        let text = gated_files_text(&[file("a-Q3_K_M-budget.gguf", 0.2), file("a-Q3_K_M-budget-2.gguf", 0.05)]);
        let expected = "Predicted to be the smallest file that passes the gates on quality, and passes: a-Q3_K_M-budget-2.gguf, 1.00 MiB\n\
                        tried before, kept as all levels are: a-Q3_K_M-budget.gguf (FAIL)";
        assert_eq!(text, expected);
        let text = gated_files_text(&[file("a.gguf", 0.2), file("b.gguf", 0.15), file("c.gguf", 0.105)]);
        assert!(
            text.starts_with("None of 3 files for the gates passes; the largest, c.gguf, 1.00 MiB: INCONCLUSIVE\n"),
            "{text}"
        );
        assert!(text.contains("Mean KL divergence: 0.105 nats") && text.ends_with("a.gguf (FAIL), b.gguf (FAIL)"), "{text}");
        let text = budget_text(&file("a.gguf", 0.1).recipe);
        let expected = "budget gates: 1.00 MiB, predicted to lose 0.0600 ± 0.0250 nats, corrected by 1 measured file, at most 0.100 allowed by mean \
                        KL divergence\ntypes: Q3_K_M ";
        assert!(text.starts_with(expected), "{text}");
    }
}
