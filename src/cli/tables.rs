//! Facts as text for a terminal, and as JSON where the plain structure of a type would not do.

use serde_json::{Value as Json, json};

use super::extras::{ExtraColumns, energy_note, stat_text};
use super::output::{columns_text, facts_text};
use crate::bench::{Outcome, Run, merged_warnings};
use crate::convert::Conversion;
use crate::hardware::{Conditions, Machine, Memory, PowerSource, Runtime};
use crate::model::{Metadata, Model, Value};
use crate::{path_text, units};

/// What stands in a cell without a value.
const NOTHING: &str = "–";

fn memory_text(memory: &Memory) -> String {
    let limit = memory.limit_bytes.map_or_else(String::new, |bytes| format!(" (container limit {})", units::bytes_text(bytes)));
    let (total, available) = (units::bytes_text(memory.total_bytes), units::bytes_text(memory.available_bytes));
    format!("{total}, {available} available{limit}")
}

fn power_text(conditions: &Conditions) -> String {
    match (conditions.power_source, conditions.battery_percent) {
        (PowerSource::Mains, None) => "mains".to_string(),
        (PowerSource::Mains, Some(percent)) => format!("mains, battery at {percent:.0} %"),
        (PowerSource::Battery, Some(percent)) => format!("battery at {percent:.0} %"),
        (PowerSource::Battery, None) => "battery".to_string(),
        (PowerSource::Unknown, _) => "unknown".to_string(),
    }
}

pub(super) fn machine_text(machine: &Machine) -> String {
    let cpu = &machine.cpu;
    let cores = match (cpu.n_performance, cpu.n_efficiency) {
        (Some(fast), Some(small)) => {
            format!("{} ({fast} performance, {small} efficiency), {} threads", cpu.n_physical, cpu.n_logical)
        }
        _ => format!("{} physical, {} logical", cpu.n_physical, cpu.n_logical),
    };
    let caches: Vec<String> = cpu
        .caches
        .iter()
        .map(|cache| format!("L{} {} × {}", cache.level, cache.n_instances, units::bytes_text(cache.size_bytes)))
        .collect();
    let memory = &machine.memory;
    let mut facts = vec![
        ("CPU", cpu.name.clone()),
        ("cores", cores),
        ("SIMD", list_text(&cpu.simd)),
        ("caches", list_text(&caches)),
        ("memory", memory_text(memory)),
        ("swap", units::bytes_text(memory.swap_bytes)),
    ];
    if let Some(bandwidth) = machine.bandwidth {
        let how = if bandwidth.is_disturbed() { "measured while the machine was busy" } else { "measured" };
        let text = format!(
            "{} on one thread, {} on {} ({how})",
            units::bytes_per_sec_text(bandwidth.one_thread_bytes_per_sec),
            units::bytes_per_sec_text(bandwidth.all_threads_bytes_per_sec),
            bandwidth.n_threads
        );
        facts.push(("bandwidth", text));
    }
    for gpu in &machine.gpus {
        let kind = if gpu.is_unified { "unified" } else { "dedicated" };
        let memory =
            gpu.memory_bytes.map_or_else(|| "memory unknown".into(), |bytes| format!("{} {kind}", units::bytes_text(bytes)));
        facts.push((
            "GPU",
            format!("{}, {memory}{}", gpu.name, gpu.driver.as_ref().map(|d| format!(", {d}")).unwrap_or_default()),
        ));
    }
    if machine.gpus.is_empty() {
        facts.push(("GPU", "none found".into()));
    }
    for npu in &machine.npus {
        facts.push(("NPU", npu.name.clone()));
    }
    if let Some(disk) = &machine.disk {
        let speed = disk
            .write_bytes_per_sec
            .map(|rate| format!(", writes {} (measured)", units::bytes_per_sec_text(rate)))
            .unwrap_or_default();
        facts.push((
            "disk",
            format!(
                "{} free of {} on {}{speed}",
                units::bytes_text(disk.free_bytes),
                units::bytes_text(disk.total_bytes),
                disk.mount_point
            ),
        ));
    }
    facts.push((
        "system",
        format!(
            "{}, kernel {}{}",
            machine.os.name,
            machine.os.kernel,
            if machine.os.is_container { ", in a container" } else { "" }
        ),
    ));
    let conditions = &machine.conditions;
    facts.push(("power", power_text(conditions)));
    if let Some(celsius) = conditions.temperature_celsius {
        facts.push(("temperature", format!("{celsius:.0} °C")));
    }
    if let Some(load) = conditions.other_load {
        facts.push(("other load", units::percent_text(load.into())));
    }
    with_warnings(facts_text(&facts), &machine.warnings)
}

pub(super) fn model_text(model: &Model) -> String {
    let shape = &model.hyperparameters;
    let optional = |n: u64| if n == 0 { NOTHING.to_string() } else { units::count_text(n) };
    let mut facts = vec![
        ("name", model.display_name()),
        ("file", path_text::shown(&model.path)),
        ("format", model.format_name.clone()),
        ("size", format!("{} ({})", units::bytes_text(model.size_bytes), units::exact_bytes_text(model.size_bytes))),
        ("architecture", shape.architecture.clone()),
        ("parameters", format!("{} ({})", units::parameters_text(model.n_parameters()), units::count_text(model.n_parameters()))),
        ("bits per weight", units::significant_text(model.bits_per_weight())),
        ("layers", optional(shape.n_layers)),
        ("width", optional(shape.n_embd)),
        (
            "heads",
            format!(
                "{} query, {} key/value",
                optional(shape.n_heads.first().copied().unwrap_or(0)),
                optional(shape.n_kv_heads.first().copied().unwrap_or(0))
            ),
        ),
        ("context", optional(shape.n_ctx_train)),
        ("vocabulary", optional(shape.n_vocab)),
    ];
    if model.files.len() > 1 {
        facts.push(("files", model.files.len().to_string()));
    }
    if shape.n_experts > 0 {
        facts.push(("experts", format!("{}, {} per token", shape.n_experts, shape.n_experts_used)));
    }
    if let Some(window) = shape.sliding_window {
        facts.push(("sliding window", format!("{} tokens", units::count_text(window))));
    }
    let kinds: Vec<String> = model
        .weights_by_dtype()
        .iter()
        .map(|(dtype, n, bytes)| format!("{dtype}: {} weights in {}", units::parameters_text(*n), units::bytes_text(*bytes)))
        .collect();
    facts.push(("data types", list_text(&kinds)));
    facts.push(("tensors", units::count_text(model.tensors.len() as u64)));
    for (label, key) in [("tokenizer", "tokenizer.ggml.model"), ("licence", "general.license")] {
        if let Some(value) = model.metadata.str(key) {
            facts.push((label, value.into_owned()));
        }
    }
    facts.push(("chat template", if model.metadata.find("tokenizer.chat_template").is_some() { "yes" } else { "no" }.into()));
    let mut text = facts_text(&facts);
    text.push_str("\n\nWhat can be done with it (from the header alone)\n");
    text.push_str(&facts_text(
        &crate::advise::preflight(model).iter().map(|row| (row.framework.name(), row.text.clone())).collect::<Vec<_>>(),
    ));
    for obstacle in &model.obstacles {
        text.push_str(&format!("\nblocked: {obstacle}"));
    }
    with_warnings(text, &model.warnings)
}

pub(super) fn model_json(model: &Model, with_tensors: bool, with_metadata: bool) -> Json {
    let shape = &model.hyperparameters;
    let mut json = json!({
        "name": model.display_name(),
        "path": path_text::to_text(&model.path),
        "files": model.files.iter().map(|file| path_text::to_text(file)).collect::<Vec<_>>(),
        "format": model.format_name,
        "size_bytes": model.size_bytes,
        "architecture": shape.architecture,
        "n_parameters": model.n_parameters(),
        "bits_per_weight": model.bits_per_weight(),
        "n_layers": shape.n_layers,
        "n_embd": shape.n_embd,
        "n_heads": shape.n_heads,
        "n_kv_heads": shape.n_kv_heads,
        "n_ctx_train": shape.n_ctx_train,
        "n_vocab": shape.n_vocab,
        "n_experts": shape.n_experts,
        "n_experts_used": shape.n_experts_used,
        "sliding_window": shape.sliding_window,
        "n_tensors": model.tensors.len(),
        "dtypes": model.weights_by_dtype().iter().map(|(dtype, n, bytes)| json!({ "dtype": dtype.name(), "n_weights": n, "size_bytes": bytes })).collect::<Vec<_>>(),
        "licence": model.metadata.str("general.license"),
        "tokenizer": model.metadata.str("tokenizer.ggml.model"),
        "has_chat_template": model.metadata.find("tokenizer.chat_template").is_some(),
        "preflight": crate::advise::preflight(model),
        "obstacles": model.obstacles,
        "warnings": model.warnings,
    });
    if with_tensors {
        let tensors: Vec<Json> = model
            .tensors
            .iter()
            .map(|t| json!({ "name": t.name, "dtype": t.dtype.name(), "shape": t.shape, "offset": t.offset, "size_bytes": t.size_bytes, "file_idx": t.file_idx }))
            .collect();
        json["tensors"] = tensors.into();
    }
    if with_metadata {
        json["metadata"] = metadata_json(&model.metadata);
    }
    json
}

/// All key-values under a heading.
pub(super) fn metadata_text(metadata: &Metadata) -> String {
    let rows: Vec<(&str, String)> = metadata.0.iter().map(|(key, value)| (key.as_str(), value.preview(100))).collect();
    format!("\n\nMetadata\n{}", facts_text(&rows))
}

/// All key-values with their types.
pub(super) fn metadata_json(metadata: &Metadata) -> Json {
    let entry = |(key, value): &(String, Value)| json!({ "key": key, "type": format!("{:?}", value.value_type()), "value": value.preview(400) });
    metadata.0.iter().map(entry).collect()
}

pub(super) fn conversions_text(conversions: &[Conversion]) -> String {
    let rows: Vec<Vec<String>> = conversions
        .iter()
        .map(|conversion| {
            vec![
                conversion.name(),
                units::exact_bytes_text(conversion.size_bytes),
                units::significant_text(conversion.bits_per_weight),
                path_text::shown(&conversion.path),
            ]
        })
        .collect();
    let mut text = columns_text(&["level", "size", "bits/weight", "file"], &rows, &[1, 2]);
    if let Some(first) = conversions.first() {
        text.push_str(&format!(
            "\n{} in one pass of {}",
            if conversions.len() == 1 { "written" } else { "all written" },
            units::duration_text(first.elapsed_secs)
        ));
    }
    // An implausible file is among the warnings.
    let checked = conversions.iter().filter_map(|made| Some((made, made.check.as_ref().filter(|check| check.is_plausible)?)));
    for (conversion, check) in checked {
        text.push_str(&format!("\n{}: {}", conversion.name(), check.text));
    }
    let names: Vec<String> = conversions.iter().map(Conversion::name).collect();
    let warnings: Vec<_> = names.iter().zip(conversions).map(|(name, made)| (name.as_str(), made.warnings.as_slice())).collect();
    with_warnings(text, &merged_warnings(&warnings))
}

pub(super) fn outcomes_text(outcomes: &[Outcome]) -> String {
    let measured = || outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
    let extras = ExtraColumns::of(measured());
    let name_of = |outcome: &Outcome| path_text::file_name(&outcome.path);
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            let name = name_of(outcome);
            match &outcome.result {
                Ok(run) => {
                    let mut cells = vec![
                        name,
                        units::exact_bytes_text(run.size_bytes),
                        stat_text(&run.prefill_tokens_per_sec),
                        stat_text(&run.decode_tokens_per_sec),
                        units::duration_text(run.load_secs.median()),
                        units::bytes_text(run.peak_memory_bytes),
                    ];
                    cells.extend(extras.cells(run));
                    cells
                }
                Err(error) => vec![name, format!("failed: {error}")],
            }
        })
        .collect();
    let header = extras.header(&["model", "size", "prefill tok/s", "decode tok/s", "load", "peak memory"]);
    let mut text = columns_text(&header, &rows, &(1..header.len()).collect::<Vec<_>>());
    text.push_str(&provenances_text(measured()));
    text.push_str(&energy_note(measured()));
    let names: Vec<String> = outcomes.iter().map(name_of).collect();
    let runs: Vec<(&str, &[String])> = names
        .iter()
        .zip(outcomes)
        .filter_map(|(name, outcome)| Some((name.as_str(), outcome.result.as_ref().ok()?.provenance.warnings.as_slice())))
        .collect();
    with_warnings(text, &merged_warnings(&runs))
}

pub(super) fn runtimes_text(runtimes: &[Runtime]) -> String {
    let rows: Vec<Vec<String>> = runtimes
        .iter()
        .map(|runtime| {
            vec![
                runtime.framework.name().into(),
                runtime.version.clone().unwrap_or_else(|| "missing".into()),
                runtime.note.clone(),
            ]
        })
        .collect();
    columns_text(&["runtime", "version", "where, or how to get it"], &rows, &[])
}

/// What the runs were measured with, a line for each runtime and device.
pub(super) fn provenances_text<'a>(runs: impl Iterator<Item = &'a Run>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in runs.map(provenance_text) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() { String::new() } else { format!("\n\n{}", lines.join("\n")) }
}

fn provenance_text(run: &Run) -> String {
    let p = &run.provenance;
    format!(
        "measured with {}, {}, {}; {} prompt and {} generated tokens, {}; ± is half the range of the rounds",
        p.runtime,
        p.backend,
        units::count_of(p.n_threads, "thread"),
        p.n_prompt_tokens,
        p.n_gen_tokens,
        units::count_of(run.decode_tokens_per_sec.values.len(), "round")
    )
}

fn list_text(items: &[String]) -> String {
    if items.is_empty() { NOTHING.into() } else { items.join(", ") }
}

pub(super) fn with_warnings(mut text: String, warnings: &[String]) -> String {
    for warning in warnings {
        text.push_str(&format!("\nwarning: {}", crate::path_text::one_line(warning)));
    }
    text
}
