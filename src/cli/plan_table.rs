//! The text form of a plan.

use super::output::columns_text;
use super::tables::with_warnings;
use crate::advise::{Band, Basis, Candidate, Fit, Plan};
use crate::units;

/// What stands in a cell without a value.
const NOTHING: &str = "–";

pub(super) fn plan_text(plan: &Plan, all: bool) -> String {
    let mut text = String::from("Decision\n");
    for step in &plan.path {
        let Some(node) = plan.tree.nodes.get(step.node_idx) else { continue };
        text.push_str(&match step.branch_idx.and_then(|idx| node.branches.get(idx)) {
            Some(branch) => format!("  {} → {}\n      {}\n", node.text, branch.answer, step.facts),
            // The tree ends in the actual recommendation, not in what its leaf usually leads to.
            None => format!("  → {}\n      usually here: {}, {}\n", recommendation_text(plan), node.text, step.facts),
        });
    }
    text.push_str(&format!("\nMemory  {}\n", plan.budget.origin));
    text.push_str(&format!("\nRecommended: {}\n", recommendation_text(plan)));
    for reason in &plan.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    if let Some(second) = plan.runner_up.and_then(|idx| plan.candidates.get(idx)) {
        text.push_str(&format!("Runner-up: {} {}\n", second.framework.name(), second.shown_name()));
    }
    if let Some(counterfactual) = &plan.counterfactual {
        text.push_str(&format!("Otherwise: {counterfactual}\n"));
    }
    let rows: Vec<Vec<String>> = plan
        .candidates
        .iter()
        .filter(|candidate| all || candidate.missing.is_none() && candidate.is_offered())
        .map(candidate_row)
        .collect();
    text.push('\n');
    let header = ["level", "framework", "size", "bits/weight", "memory", "decode tok/s", "loss", "fits"];
    text.push_str(&columns_text(&header, &rows, &[2, 3, 4, 5]));
    text.push_str(BASIS_NOTE);
    if all {
        text.push_str("\npublished: EdgeAI for Beginners, module 04");
    }
    with_warnings(text, &plan.warnings)
}

/// The end of the path, in a few words.
fn recommendation_text(plan: &Plan) -> String {
    match plan.recommended.and_then(|idx| plan.candidates.get(idx)) {
        Some(best) => format!("{} {}", best.framework.name(), best.shown_name()),
        None if plan.keeps_source => "keep the file as it is".into(),
        None => "no conversion".into(),
    }
}

/// What the marks of a table of candidates mean.
const BASIS_NOTE: &str = "\nmemory and decode are predicted, losses are expected from published results for such levels;\n\
     a: adjusted by earlier runs on this machine, m: measured here";

/// The mark after a number; empty for a plain prediction.
pub(super) fn basis_mark(basis: Basis) -> &'static str {
    match basis {
        Basis::Predicted => "",
        Basis::Adjusted { .. } => " a",
        Basis::Measured => " m",
    }
}

fn candidate_row(candidate: &Candidate) -> Vec<String> {
    let size = if candidate.size_is_exact {
        units::exact_bytes_text(candidate.size_bytes)
    } else {
        format!("≈ {}", units::bytes_text(candidate.size_bytes))
    };
    let fit = match (&candidate.missing, candidate.fit) {
        (_, Fit::TooLarge { missing_bytes }) => format!("no, {} too large", units::bytes_text(missing_bytes)),
        (Some(missing), _) => format!("not here: {missing}"),
        (None, Fit::Fits) => "yes".into(),
        (None, Fit::FitsWithOffload { n_gpu_layers }) => format!("with {} on the GPU", units::count_of(n_gpu_layers, "layer")),
    };
    vec![
        candidate.shown_name(),
        candidate.framework.name().into(),
        size,
        units::significant_text(candidate.bits_per_weight),
        format!("{}{}", units::bytes_text(candidate.memory.total_bytes()), basis_mark(candidate.memory_basis)),
        match (candidate.decode_tokens_per_sec, candidate.published) {
            (Some(band), _) => format!("{}{}", band_text(band), basis_mark(candidate.decode_basis)),
            (None, Some(published)) => format!("published: {}", published.speed),
            (None, None) => NOTHING.into(),
        },
        match candidate.measured_loss {
            Some(loss) => format!("{} ({} nats) m", candidate.loss_word().label(), units::nats_text(loss.mean_kld.value)),
            None => candidate.expected_loss.label().into(),
        },
        fit,
    ]
}

/// The prediction and its band: `42 (30-55)`.
pub(super) fn band_text(band: Band) -> String {
    format!(
        "{} ({}-{})",
        units::significant_text(band.mid),
        units::significant_text(band.low),
        units::significant_text(band.high)
    )
}
