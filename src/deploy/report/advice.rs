//! The recommendation with the path that led to it.

use super::super::look::escaped;
use super::ReportInput;
use super::html::{self, Cell, Origin};
use crate::advise::{Band, Candidate, Fit};
use crate::units::{bytes_text, count_of, count_text, sentence, significant_text};

/// The most candidates that are listed.
const MAX_CANDIDATES: usize = 6;

pub(super) fn advice(input: &ReportInput) -> String {
    let plan = input.plan;
    let choice = plan.recommended.and_then(|idx| plan.candidates.get(idx));
    let mut body = match choice {
        Some(candidate) => {
            format!("<p class=\"answer\">{} with {}</p>\n", escaped(&candidate.level_name), escaped(candidate.framework.name()))
        }
        None if plan.keeps_source => "<p class=\"answer\">Keep the file as it is</p>\n".into(),
        None => "<p class=\"answer\">Nothing is recommended</p>\n".into(),
    };
    let reasons: Vec<String> = plan.reasons.iter().chain(&plan.counterfactual).map(|reason| sentence(reason)).collect();
    body.push_str(&html::list("reasons", &reasons));
    let warnings: Vec<String> = plan.warnings.iter().map(|warning| sentence(warning)).collect();
    body.push_str(&html::list("warnings", &warnings));
    body.push_str("<h3>The path through the decision tree</h3>\n");
    body.push_str(&path(input));
    let leaf: Vec<String> = plan.leaf.reasons.iter().map(|reason| sentence(reason)).collect();
    body.push_str(&html::list("reasons", &leaf));
    body.push_str(&candidates(input));
    body.push_str(&format!(
        "<p class=\"note\">Wanted: {}, a context of {} tokens. Budget: {} of main memory{}, {}.</p>\n",
        escaped(&format!("{:?}", input.goal.priority).to_lowercase()),
        count_text(input.goal.n_ctx),
        bytes_text(plan.budget.ram_bytes),
        if plan.budget.vram_bytes > 0 {
            format!(" and {} of GPU memory", bytes_text(plan.budget.vram_bytes))
        } else {
            String::new()
        },
        escaped(&plan.budget.origin),
    ));
    html::section("recommendation", "Recommendation", &body)
}

fn path(input: &ReportInput) -> String {
    let steps = input.plan.path.iter().filter_map(|step| {
        let node = input.plan.tree.nodes.get(step.node_idx)?;
        let answer = step.branch_idx.and_then(|idx| node.branches.get(idx)).map(|branch| branch.answer);
        let said = answer.map_or_else(String::new, |answer| format!(" <b>{}</b>", escaped(answer)));
        Some(format!("<li>{}{said}<span class=\"why\">{}</span></li>\n", escaped(node.text), escaped(&step.facts)))
    });
    format!("<ol class=\"path\">\n{}</ol>\n", steps.collect::<String>())
}

fn candidates(input: &ReportInput) -> String {
    let possible = input.plan.candidates.iter().filter(|candidate| candidate.missing.is_none() && candidate.is_offered());
    let rows: Vec<Vec<Cell>> = possible.take(MAX_CANDIDATES).map(candidate_row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heads = ["Level", "Size", "Bits per weight", "Memory", "Decode, tok/s", "Loss", "Fits"].map(String::from);
    format!("<h3>The first candidates</h3>\n{}", html::table(&heads, &rows))
}

fn candidate_row(candidate: &Candidate) -> Vec<Cell> {
    vec![
        Cell::text(&candidate.shown_name()),
        Cell::number(&bytes_text(candidate.size_bytes)),
        Cell::number(&significant_text(candidate.bits_per_weight)),
        Cell::of_basis(&bytes_text(candidate.memory.total_bytes()), candidate.memory_basis),
        candidate
            .decode_tokens_per_sec
            .map_or_else(|| Cell::missing("unknown"), |band| Cell::of_basis(&band_text(band), candidate.decode_basis)),
        Cell::html(format!(
            "{} {}",
            escaped(&candidate.loss_text()),
            if candidate.measured_loss.is_none() { Origin::Assumed.tag() } else { String::new() }
        )),
        Cell::text(&match candidate.fit {
            Fit::Fits => "yes".to_string(),
            Fit::FitsWithOffload { n_gpu_layers } => format!("with {} on the GPU", count_of(n_gpu_layers, "layer")),
            Fit::TooLarge { .. } => "no".into(),
        }),
    ]
}

/// The prediction and its band: `41.8 (30.1–55.0)`; the prediction alone if the band has no width.
pub(super) fn band_text(band: Band) -> String {
    if band.low < band.high {
        format!("{} ({}–{})", significant_text(band.mid), significant_text(band.low), significant_text(band.high))
    } else {
        significant_text(band.mid)
    }
}
