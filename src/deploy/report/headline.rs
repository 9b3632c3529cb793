//! Model, machine, and the answer in a sentence.

use super::super::look::escaped;
use super::{ReportInput, html};
use crate::advise::{advise, decoded_from, own_name};
use crate::bench::rows::pair::{decode_pair, measured_text};
use crate::bench::{self, ComparisonRow};
use crate::hardware::Machine;
use crate::model::Model;
use crate::path_text;
use crate::units::{
    bytes_per_sec_text, bytes_text, count_of, count_text, exact_bytes_text, local_time_text, nats_text, parameters_text,
    percent_text, sentence, significant_text,
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

/// The headline of the comparison with its numbers; what is recommended, while nothing is judged.
fn answer(input: &ReportInput) -> String {
    // The plan from before this model was measured: the answer is compared with it.
    let planned = advise(input.model, input.machine, input.goal).recommended_level();
    let Some(found) = bench::headline(input.model, input.rows, planned, input.goal) else {
        return match planned {
            Some(level) => format!("The decision tree recommends {level}; no file has been judged yet."),
            None => "No file has been judged yet.".into(),
        };
    };
    let numbers = input.rows.get(found.row_idx).map(|row| numbers_text(row, input)).unwrap_or_default();
    let rest = [found.reason, numbers, found.advice].into_iter().chain(found.refused_wishes);
    let rest: Vec<String> = rest.filter(|part| !part.is_empty()).map(|part| sentence(&part) + ".").collect();
    format!("{}. {}", found.title, rest.join(" "))
}

/// `100 MiB (38.8 % of the source), decode 60.0 ± 6.0 tok/s, mean KL divergence 0.250 ± 0.125 nats, perplexity × 1.284`, as far
/// as it was measured.
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
        ("File", path_text::shown(&model.path)),
        ("Size", format!("{} ({})", bytes_text(model.size_bytes), exact_bytes_text(model.size_bytes))),
        ("Format", model.format_name.clone()),
        ("Architecture", shape.architecture.clone()),
        ("Weights", parameters_text(model.n_parameters())),
        ("Level", own_name(model)),
        ("Decoded from", decoded_from(model).unwrap_or_default()),
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
        let rate = bytes_per_sec_text(found.all_threads_bytes_per_sec);
        format!("{rate} with {}, measured", count_of(found.n_threads, "thread"))
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
