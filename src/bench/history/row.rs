//! One measured file as a row: what is filtered, sorted and shown in lists.

use std::path::{Path, PathBuf};

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

use super::{Measurement, NewRun};
use crate::advise::{Decision, Gates, Interval, LossWords, Workload};
use crate::hardware::PowerSource;
use crate::path_text;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Speed and memory.
    Speed,
    /// Loss on a text.
    Quality,
}

impl Kind {
    /// The word on screen: `Speed`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Speed => "Speed",
            Self::Quality => "Quality",
        }
    }
}

/// A run without its details.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Names the run for good; later runs have higher numbers.
    pub id: i64,
    /// When it was recorded, in seconds since 1970 in UTC.
    pub recorded_unix_secs: i64,
    /// What was measured.
    pub kind: Kind,
    /// The model's file name.
    pub model_name: String,
    /// The model's file.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// SHA-256 of the model; `None` when it could not be computed.
    pub model_sha256: Option<String>,
    /// SHA-256 of what it was compared with.
    pub reference_sha256: Option<String>,
    /// The level that the header names.
    pub level: Option<String>,
    /// Tensors of each data type.
    pub recipe: Option<String>,
    /// Size of the model in bytes.
    pub size_bytes: u64,
    /// `llama.cpp` and its build.
    pub runtime: String,
    /// The compute backend.
    pub backend: String,
    /// Processor and memory.
    pub machine: String,
    /// Threads.
    pub n_threads: u32,
    /// Mains or battery at the start.
    pub power_source: PowerSource,
    /// The hottest CPU sensor at the start, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Median of the rounds.
    pub decode_tokens_per_sec: Option<f64>,
    /// Half the range of the rounds.
    pub decode_spread: Option<f64>,
    /// Median of the rounds.
    pub prefill_tokens_per_sec: Option<f64>,
    /// Half the range of the rounds.
    pub prefill_spread: Option<f64>,
    /// Highest resident memory in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Mean KL divergence from the reference, in nats.
    pub mean_kld: Option<Interval>,
    /// Perplexity divided by the reference's.
    pub ppl_ratio: Option<Interval>,
    /// Part of the tokens at which both put the same token first.
    pub same_top: Option<Interval>,
    /// The verdict on quality.
    pub verdict: Option<Decision>,
    /// The gates that gave the verdict; `None` for a run without one.
    pub gates: Option<Gates>,
    /// Tokens that were measured: the scored ones, or prompt and generated tokens of all rounds.
    pub n_tokens: Option<u64>,
    /// Name of the text.
    pub text_name: Option<String>,
    /// SHA-256 of the text.
    pub text_sha256: Option<String>,
    /// Version of Planish.
    pub planish: String,
    /// What the file asks of the machine; `None` in quality runs and in runs of earlier versions. Read from the details.
    #[serde(skip)]
    pub workload: Option<Workload>,
    /// Part of all cores that other programs used at the start, 0 to 1. Read from the details.
    #[serde(skip)]
    pub other_load: Option<f64>,
    /// Lowest and highest decode speed of the rounds. Read from the details.
    #[serde(skip)]
    pub decode_range: Option<(f64, f64)>,
}

impl Row {
    /// The level, or the model's file name where the level is not known.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.level.as_deref().unwrap_or(&self.model_name)
    }

    /// The loss in words; `None` for a run that measured none.
    #[must_use]
    pub fn loss_words(&self) -> Option<LossWords> {
        LossWords::of(self.mean_kld?, self.same_top?)
    }

    /// A row with what all kinds of runs say; what was measured is left empty.
    fn unmeasured(new: &NewRun, kind: Kind, path: &Path, size_bytes: u64) -> Self {
        Self {
            id: 0,
            recorded_unix_secs: new.recorded_unix_secs,
            kind,
            model_name: path_text::file_name(path),
            path: path.to_path_buf(),
            model_sha256: new.model_sha256.clone(),
            reference_sha256: None,
            level: new.level.clone(),
            recipe: new.recipe.clone(),
            size_bytes,
            runtime: String::new(),
            backend: String::new(),
            machine: new.machine.clone(),
            n_threads: 0,
            power_source: PowerSource::Unknown,
            temperature_celsius: None,
            decode_tokens_per_sec: None,
            decode_spread: None,
            prefill_tokens_per_sec: None,
            prefill_spread: None,
            peak_memory_bytes: None,
            mean_kld: None,
            ppl_ratio: None,
            same_top: None,
            verdict: None,
            gates: None,
            n_tokens: None,
            text_name: None,
            text_sha256: None,
            planish: env!("CARGO_PKG_VERSION").into(),
            workload: None,
            other_load: None,
            decode_range: None,
        }
    }

    /// The row that a new run gets; its number is not known yet.
    pub(super) fn of(new: &NewRun) -> Self {
        match &new.measurement {
            Measurement::Speed(run) => {
                let used = &run.provenance;
                let n_rounds = run.decode_tokens_per_sec.values.len() as u64;
                Self {
                    runtime: used.runtime.clone(),
                    backend: used.backend.clone(),
                    n_threads: used.n_threads,
                    power_source: used.conditions.power_source,
                    temperature_celsius: used.conditions.temperature_celsius.map(f64::from),
                    decode_tokens_per_sec: known(run.decode_tokens_per_sec.median()),
                    decode_spread: known(run.decode_tokens_per_sec.spread()),
                    prefill_tokens_per_sec: known(run.prefill_tokens_per_sec.median()),
                    prefill_spread: known(run.prefill_tokens_per_sec.spread()),
                    peak_memory_bytes: Some(run.peak_memory_bytes),
                    workload: run.workload.clone(),
                    other_load: used.conditions.other_load.map(f64::from),
                    decode_range: range(&run.decode_tokens_per_sec.values),
                    n_tokens: Some((u64::from(used.n_prompt_tokens) + u64::from(used.n_gen_tokens)) * n_rounds),
                    ..Self::unmeasured(new, Kind::Speed, &run.path, run.size_bytes)
                }
            }
            Measurement::Quality(run) => {
                let used = &run.provenance;
                let interval = |interval: Interval| (!interval.value.is_nan()).then_some(interval);
                Self {
                    model_sha256: Some(used.model_sha256.clone()),
                    reference_sha256: Some(used.reference_sha256.clone()),
                    runtime: used.runtime.clone(),
                    backend: used.backend.clone(),
                    n_threads: used.n_threads,
                    power_source: used.conditions.power_source,
                    temperature_celsius: used.conditions.temperature_celsius.map(f64::from),
                    mean_kld: interval(run.summary.mean_kld),
                    ppl_ratio: interval(run.summary.ppl_ratio),
                    same_top: interval(run.summary.same_top),
                    verdict: Some(run.verdict.decision),
                    gates: Some(run.gates()),
                    n_tokens: Some(run.summary.n_tokens),
                    text_name: Some(used.text_name.clone()),
                    text_sha256: Some(used.text_sha256.clone()),
                    planish: used.planish.clone(),
                    ..Self::unmeasured(new, Kind::Quality, &run.path, run.size_bytes)
                }
            }
        }
    }

    /// The values of all columns but `id` and `run`, in the order of [`COLUMNS`].
    pub(super) fn values(&self) -> Vec<Box<dyn ToSql>> {
        let parts =
            |interval: Option<Interval>| interval.map_or([None; 3], |one| [Some(one.value), Some(one.low), Some(one.high)]);
        let size = |size_bytes: u64| i64::try_from(size_bytes).unwrap_or(i64::MAX);
        let mut values: Vec<Box<dyn ToSql>> = vec![
            Box::new(self.recorded_unix_secs),
            Box::new(self.kind),
            Box::new(self.model_name.clone()),
            Box::new(path_text::to_text(&self.path)),
            Box::new(self.model_sha256.clone()),
            Box::new(self.reference_sha256.clone()),
            Box::new(self.level.clone()),
            Box::new(self.recipe.clone()),
            Box::new(size(self.size_bytes)),
            Box::new(self.runtime.clone()),
            Box::new(self.backend.clone()),
            Box::new(self.machine.clone()),
            Box::new(self.n_threads),
            Box::new(power_name(self.power_source)),
            Box::new(self.temperature_celsius),
            Box::new(self.decode_tokens_per_sec),
            Box::new(self.decode_spread),
            Box::new(self.prefill_tokens_per_sec),
            Box::new(self.prefill_spread),
            Box::new(self.peak_memory_bytes.map(size)),
        ];
        for part in [self.mean_kld, self.ppl_ratio, self.same_top].map(parts).concat() {
            values.push(Box::new(part));
        }
        let last: [Box<dyn ToSql>; 5] = [
            Box::new(self.verdict.map(Decision::label)),
            Box::new(self.n_tokens.map(size)),
            Box::new(self.text_name.clone()),
            Box::new(self.text_sha256.clone()),
            Box::new(self.planish.clone()),
        ];
        values.extend(last);
        values
    }

    /// Reads a row from a query of `id`, all [`COLUMNS`], [`DETAILS`], and `decision` and `gates` of `verdicts`.
    pub(super) fn from_sql(found: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let size = |name: &str| -> rusqlite::Result<Option<u64>> {
            Ok(found.get::<_, Option<i64>>(name)?.map(|size_bytes| u64::try_from(size_bytes).unwrap_or(0)))
        };
        let interval = |name: &str| -> rusqlite::Result<Option<Interval>> {
            let end = |end: &str| found.get::<_, Option<f64>>(format!("{name}{end}").as_str());
            let (value, low, high) = (end("")?, end("_low")?, end("_high")?);
            // An end that was no number has become NULL.
            Ok(value.map(|value| Interval { value, low: low.unwrap_or(f64::NAN), high: high.unwrap_or(f64::NAN) }))
        };
        Ok(Self {
            id: found.get("id")?,
            recorded_unix_secs: found.get("recorded_unix_secs")?,
            kind: found.get("kind")?,
            model_name: found.get("model_name")?,
            path: path_text::from_text(&found.get::<_, String>("path")?),
            model_sha256: found.get("model_sha256")?,
            reference_sha256: found.get("reference_sha256")?,
            level: found.get("level")?,
            recipe: found.get("recipe")?,
            size_bytes: size("size_bytes")?.unwrap_or(0),
            runtime: found.get("runtime")?,
            backend: found.get("backend")?,
            machine: found.get("machine")?,
            n_threads: found.get("n_threads")?,
            power_source: power_from_name(&found.get::<_, String>("power_source")?),
            temperature_celsius: found.get("temperature_celsius")?,
            decode_tokens_per_sec: found.get("decode_tokens_per_sec")?,
            decode_spread: found.get("decode_spread")?,
            prefill_tokens_per_sec: found.get("prefill_tokens_per_sec")?,
            prefill_spread: found.get("prefill_spread")?,
            peak_memory_bytes: size("peak_memory_bytes")?,
            mean_kld: interval("mean_kld")?,
            ppl_ratio: interval("ppl_ratio")?,
            same_top: interval("same_top")?,
            verdict: found.get::<_, Option<String>>("decision")?.as_deref().and_then(verdict_from_label),
            gates: found.get::<_, Option<String>>("gates")?.and_then(|text| serde_json::from_str(&text).ok()),
            n_tokens: size("n_tokens")?,
            text_name: found.get("text_name")?,
            text_sha256: found.get("text_sha256")?,
            planish: found.get("planish")?,
            // A run of another version, whose details this one cannot read, teaches nothing.
            workload: found.get::<_, Option<String>>("workload")?.and_then(|text| serde_json::from_str(&text).ok()),
            other_load: found.get("other_load")?,
            decode_range: found
                .get::<_, Option<String>>("decode_rounds")?
                .and_then(|text| range(&serde_json::from_str::<Vec<f64>>(&text).ok()?)),
        })
    }
}

/// All columns of `runs` but `id` and `run`: also the order of the CSV export.
pub(super) const COLUMNS: [&str; 34] = [
    "recorded_unix_secs",
    "kind",
    "model_name",
    "path",
    "model_sha256",
    "reference_sha256",
    "level",
    "recipe",
    "size_bytes",
    "runtime",
    "backend",
    "machine",
    "n_threads",
    "power_source",
    "temperature_celsius",
    "decode_tokens_per_sec",
    "decode_spread",
    "prefill_tokens_per_sec",
    "prefill_spread",
    "peak_memory_bytes",
    "mean_kld",
    "mean_kld_low",
    "mean_kld_high",
    "ppl_ratio",
    "ppl_ratio_low",
    "ppl_ratio_high",
    "same_top",
    "same_top_low",
    "same_top_high",
    "verdict",
    "n_tokens",
    "text_name",
    "text_sha256",
    "planish",
];

/// What is read from the details of speed runs, which are small, beside the columns.
pub(super) const DETAILS: &str = "CASE WHEN kind = 'speed' AND json_valid(run) THEN json_extract(run, '$.workload') END AS workload, \
     CASE WHEN kind = 'speed' AND json_valid(run) THEN json_extract(run, '$.decode_tokens_per_sec.values') END AS decode_rounds, \
     CASE WHEN kind = 'speed' AND json_valid(run) THEN json_extract(run, '$.provenance.conditions.other_load') END AS other_load";

/// The lowest and the highest of the rounds; `None` without one.
fn range(rounds: &[f64]) -> Option<(f64, f64)> {
    let low = rounds.iter().copied().reduce(f64::min)?;
    Some((low, rounds.iter().copied().fold(low, f64::max)))
}

/// The value; `None` where it is not finite.
fn known(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The word that is stored and shown.
pub(super) fn power_name(source: PowerSource) -> &'static str {
    match source {
        PowerSource::Mains => "mains",
        PowerSource::Battery => "battery",
        PowerSource::Unknown => "unknown",
    }
}

fn power_from_name(name: &str) -> PowerSource {
    match name {
        "mains" => PowerSource::Mains,
        "battery" => PowerSource::Battery,
        _ => PowerSource::Unknown,
    }
}

fn verdict_from_label(label: &str) -> Option<Decision> {
    [Decision::Pass, Decision::Inconclusive, Decision::Fail].into_iter().find(|decision| decision.label() == label)
}

impl ToSql for Kind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Speed => "speed",
            Self::Quality => "quality",
        }))
    }
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "speed" => Ok(Self::Speed),
            "quality" => Ok(Self::Quality),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}
