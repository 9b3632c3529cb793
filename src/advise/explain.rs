//! Why this choice, with numbers; what would change it; what was assumed.

use std::cmp::Ordering;

use super::candidates::{Scored, is_acceptable};
use super::own_level::{decoded_from, own_name};
use super::ranking::{Choice, compare, group};
use super::{Basis, Budget, Fit, Goal, Leaf, Priority};
use crate::hardware::Machine;
use crate::model::{Framework, Model, PrecisionClass};
use crate::units::{bytes_text, count_of, count_text, percent_text, significant_text, tokens_per_sec_text};

pub(super) fn reasons(
    model: &Model,
    goal: &Goal,
    budget: &Budget,
    leaf: &Leaf,
    scored: &[Scored],
    choice: Choice,
) -> Vec<String> {
    let mut reasons = match (choice, scored.first()) {
        (Choice::First, Some(first)) => reasons_for(first, model, goal, budget),
        (Choice::Source, first) => reasons_for_source(model, first.filter(|first| group(first) == 0), undecodable(scored)),
        _ => vec![reason_for_nothing(model, goal, budget, scored)],
    };
    let framework = leaf.frameworks.first().filter(|&&framework| framework != Framework::LlamaCpp);
    let candidate = framework.and_then(|&framework| scored.iter().find(|scored| scored.candidate.framework == framework));
    if let Some((candidate, missing)) = candidate.and_then(|scored| Some((&scored.candidate, scored.candidate.missing.as_ref()?)))
    {
        reasons.push(format!("first choice here is {}, but {missing}", candidate.framework.name()));
    }
    reasons
}

fn reasons_for(first: &Scored, model: &Model, goal: &Goal, budget: &Budget) -> Vec<String> {
    let best = &first.candidate;
    let why =
        if is_acceptable(first, goal) { priority_facts(goal) } else { "nothing that fits is as good as wanted; the least loss" };
    let needed = bytes_text(best.memory.total_bytes());
    let where_it_fits = match best.fit {
        Fit::FitsWithOffload { n_gpu_layers } => format!("with {} on the GPU", count_of(n_gpu_layers, "layer")),
        _ => "it fits".into(),
    };
    let mut reasons = vec![
        format!("{}: {why}; {}", best.shown_name(), best.loss_phrase()),
        format!(
            "{}, {} of the source, {} bits per weight",
            bytes_text(best.size_bytes),
            part_text(best.size_bytes, model),
            significant_text(best.bits_per_weight)
        ),
        format!("needs {needed} at {} tokens; {where_it_fits} ({})", count_text(goal.n_ctx), budget.origin),
    ];
    if let Some(band) = best.decode_tokens_per_sec {
        let (low, high) = (significant_text(band.low), significant_text(band.high));
        let basis = match best.decode_basis {
            Basis::Predicted => "predicted".to_string(),
            Basis::Adjusted { n_runs: 1 } => "predicted, adjusted by 1 earlier run here:".into(),
            Basis::Adjusted { n_runs } => format!("predicted, adjusted by {n_runs} earlier runs here:"),
            Basis::Measured => "measured here:".into(),
        };
        reasons.push(format!("{basis} {} on the CPU ({low} to {high})", tokens_per_sec_text(band.mid)));
    }
    reasons
}

/// Why no GGUF file can be written from this source; `None` when it can.
fn undecodable(scored: &[Scored]) -> Option<String> {
    scored
        .iter()
        .filter(|scored| scored.is_eligible && scored.candidate.framework == Framework::LlamaCpp)
        .find_map(|scored| scored.candidate.missing.clone())
}

fn reasons_for_source(model: &Model, first: Option<&Scored>, undecodable: Option<String>) -> Vec<String> {
    let own = own_name(model);
    let bits = significant_text(model.bits_per_weight());
    let mut reasons = vec![format!("keep the file as it is: it is {own} already ({bits} bits per weight) and fits")];
    if first.is_none() && undecodable.is_none() {
        reasons.push("no level that fits saves 5 % or more".into());
    }
    reasons.extend(undecodable);
    if let Some(candidate) = first.map(|first| &first.candidate) {
        let size = bytes_text(candidate.size_bytes);
        reasons.push(format!(
            "if it must be smaller: {}, {size}, {} of the source, {}",
            candidate.shown_name(),
            part_text(candidate.size_bytes, model),
            candidate.loss_phrase()
        ));
    }
    reasons
}

fn reason_for_nothing(model: &Model, goal: &Goal, budget: &Budget, scored: &[Scored]) -> String {
    let gguf = || scored.iter().map(|scored| &scored.candidate).filter(|candidate| candidate.framework == Framework::LlamaCpp);
    if let Some(hindrance) = model.hindrance() {
        return hindrance;
    }
    if let Some(missing) = undecodable(scored) {
        return missing;
    }
    if gguf().any(|candidate| !matches!(candidate.fit, Fit::TooLarge { .. })) {
        return format!(
            "no level that fits is clearly smaller than the source with its {} bits per weight",
            significant_text(model.bits_per_weight())
        );
    }
    let least = gguf().map(|candidate| candidate.memory.total_bytes()).min().unwrap_or(0);
    format!("no level fits at {} tokens: the smallest needs {} ({})", count_text(goal.n_ctx), bytes_text(least), budget.origin)
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn part_text(size_bytes: u64, model: &Model) -> String {
    percent_text(size_bytes as f64 / model.size_bytes.max(1) as f64)
}

/// What would change the choice. For a source that should stay: a better source. Else the nearest change of memory: more for a
/// better level, or less for the next one.
pub(super) fn counterfactual(goal: &Goal, scored: &[Scored], choice: Choice) -> Option<String> {
    if choice == Choice::Source {
        let quantized = |scored: &&Scored| {
            scored.is_eligible && scored.candidate.level.is_some_and(|level| level.class() != PrecisionClass::Full)
        };
        let fitting = scored.iter().filter(quantized).filter(|scored| !matches!(scored.candidate.fit, Fit::TooLarge { .. }));
        let best = fitting.map(Scored::with_full_source).min_by(|a, b| compare(a, b, goal));
        return best.map(|best| format!("from an F16 source: {}", best.candidate.level_name));
    }
    let best = scored.first().filter(|_| choice == Choice::First);
    let better = scored
        .iter()
        .filter(|scored| scored.gains && scored.is_eligible && scored.candidate.missing.is_none())
        .filter(|scored| best.is_none_or(|best| compare(scored, best, goal) == Ordering::Less))
        .filter_map(|scored| match scored.candidate.fit {
            Fit::TooLarge { missing_bytes } => Some((missing_bytes, &scored.candidate.level_name)),
            _ => None,
        })
        .min();
    if let Some((missing_bytes, name)) = better {
        return Some(format!("with {} more memory: {name}", bytes_text(missing_bytes)));
    }
    let best = best?;
    let needed = best.candidate.memory.total_bytes();
    let next = scored.iter().filter(|scored| group(scored) == 0 && scored.candidate.memory.total_bytes() < needed);
    let next = next.min_by(|a, b| compare(a, b, goal))?;
    Some(format!("with less than {} of memory: {}", bytes_text(needed), next.candidate.level_name))
}

pub(super) fn warn(model: &Model, machine: &Machine, goal: &Goal, is_here: bool, warnings: &mut Vec<String>) {
    if model.is_quantized() {
        let own = own_name(model);
        warnings.push(format!(
            "the source is quantized already ({own}, {} bits per weight): a second quantization adds to its loss; an F16 source is better",
            significant_text(model.bits_per_weight())
        ));
    }
    if let Some(first) = decoded_from(model) {
        warnings.push(format!(
            "the source was decoded from {first}: what that lost stays lost, and each level loses a second time; an original F16 source is better"
        ));
    }
    if !is_here {
        warnings.push(
            "the target is another machine: its speed is unknown, and memory is taken from this one unless a budget is given"
                .into(),
        );
    } else if machine.bandwidth.is_none() {
        warnings.push("memory bandwidth not measured yet: no speed is predicted".into());
    } else if machine.bandwidth.is_some_and(|bandwidth| bandwidth.is_disturbed()) {
        warnings.push("memory bandwidth was measured while the machine was busy: speeds may be predicted too low".into());
    } else if !machine.gpus.is_empty() {
        warnings.push("speeds are predicted for the CPU".into());
    }
    let n_ctx_train = model.hyperparameters.n_ctx_train;
    if n_ctx_train > 0 && goal.n_ctx > n_ctx_train {
        warnings.push(format!(
            "the model was trained for {} tokens, {} are wanted",
            count_text(n_ctx_train),
            count_text(goal.n_ctx)
        ));
    }
}

/// What counts most, as a criterion.
pub(super) fn priority_facts(goal: &Goal) -> &'static str {
    match (goal.priority, goal.battery) {
        (Priority::Balanced, false) => "the smallest with at most 3 % loss predicted, or within the gates once measured",
        (Priority::Balanced, true) => {
            "on battery: few bytes per token with at most 8 % loss predicted, or within the gates once measured"
        }
        (Priority::Quality, false) => "the least loss that fits",
        (Priority::Quality, true) => "on battery: the mildest word for the loss, then the fewest bytes per token",
        (Priority::Speed, _) => "few bytes per token with at most 8 % loss predicted, or within the gates once measured",
        (Priority::Size, _) => "the smallest with at most 20 % loss predicted, or within the gates once measured",
    }
}
