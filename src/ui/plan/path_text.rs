//! The taken path of the decision tree in sentences.

use crate::advise::{Plan, Step};
use crate::ui::kit::widgets::sentence;

/// One sentence for each answer, then what follows from them: the recommendation itself, or why there is none.
pub fn path_sentences(plan: &Plan) -> Vec<String> {
    let mut sentences: Vec<String> = plan.path.iter().filter_map(|step| step_sentence(plan, step)).collect();
    sentences.push(end_sentence(plan));
    sentences
}

fn step_sentence(plan: &Plan, step: &Step) -> Option<String> {
    let node = plan.tree.nodes.get(step.node_idx)?;
    let answer = node.branches.get(step.branch_idx?)?.answer;
    let facts = &step.facts;
    let question = node.id.split('-').next().unwrap_or_default();
    Some(match (question, answer) {
        ("kind", "unknown") => format!("It is not clear what kind of network this is: {facts}."),
        ("kind", "language model") => format!("This is a language model: {facts}."),
        ("kind", answer) => format!("This is a {answer} network: {facts}."),
        ("where", answer) => format!("It will run on {answer}: {facts}."),
        ("enterprise", "yes") => "A versioned enterprise pipeline is wanted.".into(),
        ("enterprise", _) => "No versioned enterprise pipeline is wanted.".into(),
        ("memory", answer) => format!("{} into memory ({facts}).", sentence(answer)),
        ("priority", answer) => format!("The goal is {answer}: {facts}."),
        _ => format!("{} {}: {facts}.", node.text, sentence(answer)),
    })
}

fn end_sentence(plan: &Plan) -> String {
    if plan.recommended.is_none() {
        return match plan.reasons.first() {
            Some(reason) if plan.keeps_source => format!("So: {reason}."),
            Some(reason) => format!("So no conversion is recommended: {reason}."),
            None => "So no conversion is recommended.".into(),
        };
    }
    let end = format!("So: {}.", end_title(plan));
    match plan.reasons.iter().find(|reason| reason.starts_with("first choice here is")) {
        Some(reason) => format!("{end} {}.", sentence(reason)),
        None => end,
    }
}

/// What stands at the end of the taken path: `llama.cpp at Q4_K_M`.
pub fn end_title(plan: &Plan) -> String {
    match plan.recommended.and_then(|idx| plan.candidates.get(idx)) {
        Some(best) => format!("{} at {}", best.framework.name(), best.shown_name()),
        None if plan.keeps_source => "Keep the file as it is".into(),
        None => "No conversion".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::{Goal, Target, advise};
    use crate::ui::test_support::{sample_machine, sample_model};

    #[test]
    fn the_path_ends_in_the_recommendation_itself() {
        let plan = |goal: &Goal| advise(&sample_model(), &sample_machine(), goal);
        // Quantized already: the leaf would say `Q4_K_M and neighbours`.
        let as_it_is = path_sentences(&plan(&Goal::default()));
        assert!(as_it_is[0].starts_with("This is a language model: llama,"), "{as_it_is:?}");
        assert!(as_it_is.last().unwrap().starts_with("So: keep the file as it is: it is "), "{as_it_is:?}");
        let mut source = sample_model();
        for tensor in &mut source.tensors {
            tensor.dtype = crate::model::DType::F32;
        }
        source.size_bytes *= 8;
        let of_full = advise(&source, &sample_machine(), &Goal { target: Target::Apple, ..Goal::default() });
        let best = of_full.recommended_level().and_then(|level| of_full.candidate_of(level)).unwrap().shown_name();
        let sentences = path_sentences(&of_full);
        let end = sentences.last().unwrap();
        assert!(end.starts_with(&format!("So: llama.cpp at {best}. First choice here is MLX, but")), "{end}");
        assert_eq!(sentences.len(), of_full.path.len(), "one for each question and one for the end");
    }
}
