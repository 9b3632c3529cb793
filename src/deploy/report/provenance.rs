//! What each number was measured with.

use super::super::look::escaped;
use super::{ReportInput, html};
use crate::bench::ComparisonRow;
use crate::bench::Run;
use crate::bench::history::{Kind, Row};
use crate::bench::quality::{QualityRun, Stopping};
use crate::hardware::{Conditions, PowerSource};
use crate::path_text;
use crate::units::{count_of, count_text, duration_text, local_time_text, percent_text, sentence, watts_text};

pub(super) fn provenance(input: &ReportInput) -> String {
    let mut body = String::new();
    for row in input.rows {
        let kept = |kind| input.kept.iter().find(|kept| kept.kind == kind && kept.path == row.path);
        let mut part = String::new();
        if let Some(run) = &row.run {
            part.push_str(&format!(
                "<h3>{}: speed and memory</h3>\n{}",
                escaped(&row.name),
                html::facts(&speed_facts(run, kept(Kind::Speed)))
            ));
            part.push_str(&warnings(&run.provenance.warnings));
        }
        if let Some(run) = &row.quality {
            part.push_str(&format!(
                "<h3>{}: loss</h3>\n{}",
                escaped(&row.name),
                html::facts(&quality_facts(run, kept(Kind::Quality)))
            ));
            part.push_str(&warnings(&run.provenance.warnings));
        }
        part.push_str(&failures(row));
        body.push_str(&part);
    }
    if body.is_empty() {
        return String::new();
    }
    html::section("provenance", "How each number was measured", &body)
}

fn warnings(lines: &[String]) -> String {
    html::list("warnings", &lines.iter().map(|line| sentence(line)).collect::<Vec<_>>())
}

fn failures(row: &ComparisonRow) -> String {
    let told = [(&row.failure, "speed and memory"), (&row.quality_failure, "loss")];
    let lines: Vec<String> = told
        .into_iter()
        .filter_map(|(failure, what)| Some(format!("{}: the measurement of {what} failed: {}", row.name, failure.as_ref()?)))
        .collect();
    html::list("warnings", &lines)
}

fn speed_facts(run: &Run, kept: Option<&Row>) -> Vec<(&'static str, String)> {
    let used = &run.provenance;
    let mut facts = vec![
        ("File", path_text::shown(&run.path)),
        ("Model SHA-256", kept.and_then(|row| row.model_sha256.clone()).unwrap_or_default()),
        ("Runtime", used.runtime.clone()),
        ("Backend", used.backend.clone()),
        ("Threads", used.n_threads.to_string()),
        (
            "Prompt and generated tokens",
            format!("{} and {}", count_text(used.n_prompt_tokens.into()), count_text(used.n_gen_tokens.into())),
        ),
        ("Rounds", run.decode_tokens_per_sec.values.len().to_string()),
    ];
    if let Some(sustained) = &run.sustained {
        facts.push(("Long run", format!("{} values", sustained.tokens_per_sec.len())));
    }
    if let Some(source) = &run.energy.source {
        let idle = run.energy.idle_watts.map(|watts| format!(", less {} of the idle machine", watts_text(watts)));
        facts.push(("Energy of", format!("{source}{}", idle.unwrap_or_default())));
    }
    facts.extend(condition_facts(&used.conditions));
    facts.extend(kept_facts(kept));
    facts
}

fn quality_facts(run: &QualityRun, kept: Option<&Row>) -> Vec<(&'static str, String)> {
    let used = &run.provenance;
    let stopping = match used.stopping {
        Stopping::Decided => format!("once every gate is decided; {}", count_of(run.n_looks, "look")),
        Stopping::Full => "after the most tokens".to_string(),
    };
    let reference = if used.reference_secs > 0.0 { duration_text(used.reference_secs) } else { "known before".into() };
    let mut facts = vec![
        ("File", path_text::shown(&run.path)),
        ("Model SHA-256", used.model_sha256.clone()),
        ("Source", path_text::shown(&run.reference)),
        ("Source computed as", used.reference_by.text().unwrap_or_default().into()),
        ("Source SHA-256", used.reference_sha256.clone()),
        ("Text", used.text_name.clone()),
        ("Text SHA-256", used.text_sha256.clone()),
        ("Runtime", used.runtime.clone()),
        ("Backend", used.backend.clone()),
        ("Threads", used.n_threads.to_string()),
        (
            "Scored tokens",
            format!("{} in {} of {}", count_text(run.summary.n_tokens), count_of(run.summary.n_chunks, "chunk"), used.n_ctx),
        ),
        ("Most tokens", count_text(used.max_tokens.into())),
        ("Stops", stopping),
        ("Seed", used.seed.to_string()),
        ("Time of the source", reference),
        ("Time of the file", duration_text(used.candidate_secs)),
    ];
    facts.extend(condition_facts(&used.conditions));
    facts.extend(kept_facts(kept));
    facts
}

fn condition_facts(conditions: &Conditions) -> Vec<(&'static str, String)> {
    let power = match conditions.power_source {
        PowerSource::Mains => "mains".to_string(),
        PowerSource::Battery => conditions
            .battery_percent
            .map_or_else(|| "battery".into(), |percent| format!("battery, {} full", percent_text(f64::from(percent) / 100.0))),
        PowerSource::Unknown => "unknown".into(),
    };
    let heat = conditions.temperature_celsius.map_or_else(|| "unknown".into(), |celsius| format!("{celsius:.0} °C"));
    let load =
        conditions.other_load.map_or_else(|| "unknown".into(), |load| format!("{} of the CPU", percent_text(f64::from(load))));
    vec![("Power", power), ("Temperature at the start", heat), ("Other programs", load)]
}

fn kept_facts(kept: Option<&Row>) -> Vec<(&'static str, String)> {
    kept.map_or_else(Vec::new, |row| {
        vec![
            ("Measured", local_time_text(row.recorded_unix_secs)),
            ("Machine", row.machine.clone()),
            ("Run of the history", row.id.to_string()),
            ("Planish", row.planish.clone()),
        ]
    })
}
