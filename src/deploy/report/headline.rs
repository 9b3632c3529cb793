//! Model, machine, and the answer in a sentence.

use super::super::look::escaped;
use super::{ReportInput, html, sentence};
use crate::advise::{Decision, Verdict};
use crate::bench::pair::{decode_pair, measured_text};
use crate::bench::{ComparisonRow, closest_judged};
use crate::hardware::Machine;
use crate::model::Model;
use crate::units::{
    bytes_per_sec_text, bytes_text, count_text, exact_bytes_text, local_time_text, nats_text, parameters_text, percent_text,
    significant_text,
};

pub(super) fn headline(input: &ReportInput) -> String {
    let made = format!("Report of {}, Planish {}", local_time_text(input.made_at_unix_secs), env!("CARGO_PKG_VERSION"));
    let warnings: Vec<String> = input.warnings.iter().map(|warning| sentence(warning)).collect();
    format!(
        "<header>\n<h1>{}</h1>\n<div class=\"byline\">{}</div>\n<p class=\"answer\">{}</p>\n{}<h3>Model</h3>\n{}<h3>Machine</h3>\n{}</header>\n",
        escaped(&input.model.display_name()),
        escaped(&made),
        escaped(&answer(input)),
        html::list("warnings", &warnings),
        html::facts(&model_facts(input)),
        html::facts(&machine_facts(input.machine)),
    )
}

/// The verdict on the cheapest passing level, else on the recommended one.
fn answer(input: &ReportInput) -> String {
    let judged = || input.rows.iter().filter_map(|row| Some((row, row.verdict.as_ref()?)));
    let is_recommended = |row: &ComparisonRow| row.level.is_some() && row.level == input.plan.recommended_level();
    let cheapest = judged().filter(|(_, verdict)| verdict.decision == Decision::Pass).min_by_key(|(row, _)| row.size_bytes);
    if let Some((row, _)) = cheapest {
        let also = match input.plan.recommended_level() {
            Some(level) if is_recommended(row) => format!(" It also is what the decision tree recommends: {level}."),
            Some(level) => format!(" The decision tree recommends {level}, before anything is measured."),
            None => String::new(),
        };
        return format!("{} is the smallest measured file that passes all gates: {}.{also}", row.name, numbers_text(row, input));
    }
    let own = judged().find(|(row, _)| is_recommended(row));
    let Some((row, verdict)) = own.or_else(|| closest_judged(input.rows)) else {
        return match input.plan.recommended_level() {
            Some(level) => format!("The decision tree recommends {level}; no file has been judged yet."),
            None => "No file has been judged yet.".into(),
        };
    };
    let what = if own.is_some() { "which the decision tree recommends" } else { "which comes closest" };
    let unmeasured = match input.plan.recommended_level() {
        Some(level) if own.is_none() => format!(" The decision tree recommends {level}, which is not measured."),
        _ => String::new(),
    };
    let blocked = blocking_text(verdict);
    format!("No measured file passes all gates. {}, {what}, {blocked}: {}.{unmeasured}", row.name, numbers_text(row, input))
}

/// `fails on peak memory and decode speed, with perplexity undecided`.
fn blocking_text(verdict: &Verdict) -> String {
    let of = |decision| {
        let found = verdict.gates.iter().filter(|gate| gate.decision == decision);
        let kinds: Vec<String> = found.map(|gate| gate.kind.phrase()).collect();
        kinds.join(" and ")
    };
    let (failed, open) = (of(Decision::Fail), of(Decision::Inconclusive));
    match (failed.is_empty(), open.is_empty()) {
        (false, false) => format!("fails on {failed}, with {open} undecided"),
        (false, true) => format!("fails on {failed}"),
        (true, false) => format!("is undecided on {open}"),
        (true, true) => "is held against no gate".into(),
    }
}

/// `100 MiB (37.0 % of the source), 60.0 ± 6.0 tok/s, mean KLD 0.250 nats`.
fn numbers_text(row: &ComparisonRow, input: &ReportInput) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    let part = row.size_bytes as f64 / input.model.size_bytes.max(1) as f64;
    let mut parts = vec![format!("{} ({} of the source)", bytes_text(row.size_bytes), percent_text(part))];
    parts.extend(decode_pair(row).measured.map(|(mid, spread)| format!("decode {} tok/s", measured_text(mid, spread))));
    if let Some(run) = &row.quality {
        parts.push(format!("mean KL divergence {} nats", run.summary.mean_kld.text(nats_text)));
        parts.push(format!("perplexity × {:.3}", run.summary.ppl_ratio.value));
    }
    parts.join(", ")
}

fn model_facts(input: &ReportInput) -> Vec<(&'static str, String)> {
    let model: &Model = input.model;
    let shape = &model.hyperparameters;
    let known = |count: u64| if count == 0 { String::new() } else { count_text(count) };
    let text = |key: &str| model.metadata.str(key).map(std::borrow::Cow::into_owned).unwrap_or_default();
    let source_sha256 = input
        .rows
        .iter()
        .find_map(|row| row.quality.as_ref().map(|run| run.provenance.reference_sha256.clone()))
        .or_else(|| input.kept.iter().find(|row| row.path == model.path).and_then(|row| row.model_sha256.clone()));
    let dtype = model.main_dtype().map_or_else(String::new, |dtype| dtype.to_string());
    vec![
        ("File", model.path.display().to_string()),
        ("Size", format!("{} ({})", bytes_text(model.size_bytes), exact_bytes_text(model.size_bytes))),
        ("Format", model.format_name.clone()),
        ("Architecture", shape.architecture.clone()),
        ("Weights", parameters_text(model.n_parameters())),
        ("Most weights are", dtype),
        ("Bits per weight", significant_text(model.bits_per_weight())),
        ("Layers", known(shape.n_layers)),
        ("Licence", text("general.license")),
        ("Organization", text("general.organization")),
        ("SHA-256", source_sha256.unwrap_or_default()),
    ]
}

fn machine_facts(machine: &Machine) -> Vec<(&'static str, String)> {
    let cpu = &machine.cpu;
    let bandwidth = machine.bandwidth.map(|found| {
        format!("{} with {} threads, measured", bytes_per_sec_text(found.all_threads_bytes_per_sec), found.n_threads)
    });
    let gpus: Vec<&str> = machine.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let known = |count: usize| if cpu.name.is_empty() && count == 0 { String::new() } else { count.to_string() };
    let memory = &machine.memory;
    let memory = if memory.total_bytes == 0 {
        String::new()
    } else {
        format!("{}, {} free", bytes_text(memory.total_bytes), bytes_text(memory.available_bytes))
    };
    vec![
        ("Processor", if cpu.name.is_empty() { cpu.architecture.clone() } else { cpu.name.clone() }),
        (
            "Cores and threads",
            [known(cpu.n_physical), known(cpu.n_logical)].join(" and ").trim_matches(|c| " and".contains(c)).into(),
        ),
        ("Instruction sets", cpu.simd.join(", ")),
        ("Memory", memory),
        ("Memory bandwidth", bandwidth.unwrap_or_default()),
        ("Graphics", gpus.join(", ")),
        ("System", [machine.os.name.as_str(), machine.os.kernel.as_str()].join(" ").trim().into()),
    ]
}
