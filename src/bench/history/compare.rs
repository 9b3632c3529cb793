//! Runs beside each other, with what changed against the first of them.

use std::sync::Arc;

use serde::Serialize;

use super::row::power_name;
use super::{History, Kind, Measurement, Row};
use crate::advise::{Decision, Interval};
use crate::bench::quality::{ChunkSums, QualityRun, paired_difference};
use crate::bench::{Run, Stat};
use crate::error::Result;
use crate::units::{bytes_text, count_text, duration_text, local_time_text, nats_text, plus_minus_text, signed_text};

/// Start of the bootstrap's random numbers: the same two runs always differ by the same interval.
const SEED: u64 = 0;

/// A change of peak memory by less than this part is called not clear: peak memory is one number per run and has no error bar.
/// Repeated runs of one model on a machine with two cores differed by 0.003 % in November 2026, so this is on the safe side.
const MEMORY_NOISE: f64 = 0.01;

/// Runs beside each other. All lists that belong to runs are in the order of `runs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The runs; the first is what the others are held against.
    pub runs: Vec<Row>,
    /// What was measured.
    pub numbers: Vec<NumberLine>,
    /// What it was measured with.
    pub facts: Vec<FactLine>,
    /// What speaks against reading the numbers as a comparison of models.
    pub notes: Vec<String>,
}

/// One quantity of all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberLine {
    /// Which quantity.
    pub quantity: Quantity,
    /// Its value with the range of the rounds or the 95 % interval; `None` for runs that did not measure it.
    pub values: Vec<Option<Interval>>,
    /// Against the first run; `None` for that run itself and where there is nothing to compare.
    pub changes: Vec<Option<Change>>,
}

/// One fact of all runs as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactLine {
    /// Its name on screen.
    pub name: &'static str,
    /// Its values; empty where it is not known.
    pub values: Vec<String>,
    /// True when not all are the same.
    pub differs: bool,
}

/// What changed from the first run to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// How much: a part of the first value for sizes, times, speeds and memory, otherwise the difference; with the range that
    /// the rounds or the tokens allow.
    pub by: Interval,
    /// What that means.
    pub judgement: Judgement,
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The whole interval is on the good side.
    Better,
    /// The whole interval is on the bad side.
    Worse,
    /// No change at all.
    Same,
    /// The interval reaches both sides or touches zero, or the change of peak memory is too small to mean anything.
    Unclear,
}

impl Judgement {
    /// The word on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unclear => "not clear",
        }
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the labels below say it")]
pub enum Quantity {
    Size,
    Decode,
    Prefill,
    Load,
    PeakMemory,
    MeanKld,
    PplRatio,
    SameTop,
}

impl Quantity {
    /// All of them in the order of the screen.
    pub const ALL: [Self; 8] =
        [Self::Size, Self::Decode, Self::Prefill, Self::Load, Self::PeakMemory, Self::MeanKld, Self::PplRatio, Self::SameTop];

    /// The name on screen with its unit.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Size => "File size",
            Self::Decode => "Decode, tok/s",
            Self::Prefill => "Prefill, tok/s",
            Self::Load => "Load time",
            Self::PeakMemory => "Peak memory",
            Self::MeanKld => "Mean KL divergence, nats",
            Self::PplRatio => "Perplexity, × the reference",
            Self::SameTop => "Same top token, %",
        }
    }

    /// A value as text, with its `±` where it has one.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes in bytes, shown with three digits")]
    pub fn value_text(self, value: Interval) -> String {
        let half = value.half_width();
        match self {
            Self::Size | Self::PeakMemory => bytes_text(value.value as u64),
            Self::Load => duration_text(value.value),
            Self::Decode | Self::Prefill => plus_minus_text(value.value, half),
            Self::MeanKld => format!("{} ± {}", nats_text(value.value), nats_text(half)),
            Self::PplRatio => format!("{:.4} ± {:.4}", value.value, half),
            Self::SameTop => plus_minus_text(value.value * 100.0, half * 100.0),
        }
    }

    /// A change as text: `+12.5 % (+8.00 to +17.1)`, `−0.0031 (−0.0040 to −0.0022)`.
    #[must_use]
    pub fn change_text(self, change: &Change) -> String {
        let (scale, unit) = match self {
            Self::SameTop => (100.0, " points"),
            _ if self.is_relative() => (100.0, " %"),
            _ => (1.0, ""),
        };
        let Interval { value, low, high } = change.by;
        if change.judgement == Judgement::Same {
            return "no change".into();
        }
        let text = |part: f64| signed_text(part * scale);
        let whole = format!("{}{unit}", text(value));
        #[allow(clippy::float_cmp, reason = "an exact quantity has no width at all")]
        if low == high { whole } else { format!("{whole} ({} to {})", text(low), text(high)) }
    }

    /// True where a change is shown as a part of the first value.
    fn is_relative(self) -> bool {
        matches!(self, Self::Size | Self::Decode | Self::Prefill | Self::Load | Self::PeakMemory)
    }

    fn is_more_better(self) -> bool {
        matches!(self, Self::Decode | Self::Prefill | Self::SameTop)
    }

    /// True for what is measured against a reference on a text.
    fn is_loss(self) -> bool {
        matches!(self, Self::MeanKld | Self::PplRatio | Self::SameTop)
    }

    fn change(self, by: Interval) -> Change {
        let (low, high) = if self.is_more_better() { (by.low, by.high) } else { (-by.high, -by.low) };
        let is_noise = self == Self::PeakMemory && by.value != 0.0 && by.value.abs() < MEMORY_NOISE;
        let judgement = if is_noise {
            Judgement::Unclear
        } else if low > 0.0 {
            Judgement::Better
        } else if high < 0.0 {
            Judgement::Worse
        } else if low == 0.0 && high == 0.0 {
            Judgement::Same
        } else {
            Judgement::Unclear
        };
        Change { by, judgement }
    }
}

/// A column of a comparison: a run, or the speed and the loss of one file together, with the details that a comparison needs.
struct Compared {
    row: Row,
    speed: Option<Box<Run>>,
    quality: Option<Arc<QualityRun>>,
    /// False when another version of Planish has written details that this one cannot read.
    is_read: bool,
}

impl Compared {
    fn of(row: Row, measurement: Option<Measurement>) -> Self {
        let is_read = measurement.is_some();
        let (speed, quality) = match measurement {
            Some(Measurement::Speed(run)) => (Some(run), None),
            Some(Measurement::Quality(run)) => (None, Some(run)),
            None => (None, None),
        };
        Self { row, speed, quality, is_read }
    }

    /// Takes in what another run of the same file measured and this column does not have.
    fn join(&mut self, other: Self) {
        let (row, from) = (&mut self.row, other.row);
        fill(&mut row.model_sha256, from.model_sha256);
        fill(&mut row.reference_sha256, from.reference_sha256);
        fill(&mut row.level, from.level);
        fill(&mut row.recipe, from.recipe);
        fill(&mut row.decode_tokens_per_sec, from.decode_tokens_per_sec);
        fill(&mut row.decode_spread, from.decode_spread);
        fill(&mut row.prefill_tokens_per_sec, from.prefill_tokens_per_sec);
        fill(&mut row.prefill_spread, from.prefill_spread);
        fill(&mut row.peak_memory_bytes, from.peak_memory_bytes);
        fill(&mut row.mean_kld, from.mean_kld);
        fill(&mut row.ppl_ratio, from.ppl_ratio);
        fill(&mut row.same_top, from.same_top);
        fill(&mut row.verdict, from.verdict);
        fill(&mut row.text_name, from.text_name);
        fill(&mut row.text_sha256, from.text_sha256);
        self.speed = self.speed.take().or(other.speed);
        self.quality = self.quality.take().or(other.quality);
        self.is_read &= other.is_read;
    }

    fn has_speed(&self) -> bool {
        self.row.decode_tokens_per_sec.is_some() || self.row.kind == Kind::Speed
    }

    fn has_quality(&self) -> bool {
        self.row.mean_kld.is_some() || self.row.kind == Kind::Quality
    }

    fn kind_text(&self) -> String {
        let kinds = [(self.has_speed(), Kind::Speed), (self.has_quality(), Kind::Quality)];
        kinds.into_iter().filter(|(has, _)| *has).map(|(_, kind)| kind.label()).collect::<Vec<_>>().join(" and ")
    }
}

fn fill<T>(known: &mut Option<T>, other: Option<T>) {
    if known.is_none() {
        *known = other;
    }
}

impl History {
    /// These runs beside each other, each once; the first is what the others are held against.
    ///
    /// # Errors
    /// `Error::UnknownRun`; `Error::History`.
    pub fn compare(&self, ids: &[i64]) -> Result<Comparison> {
        let columns: Vec<Vec<i64>> = ids.iter().map(|&id| vec![id]).collect();
        self.compare_joined(&columns)
    }

    /// As [`Self::compare`], with columns that join several runs of one file, so that its speed and its loss stand together. A
    /// column has the number of its first run.
    ///
    /// # Errors
    /// `Error::UnknownRun`; `Error::History`.
    pub fn compare_joined(&self, columns: &[Vec<i64>]) -> Result<Comparison> {
        let mut compared: Vec<Compared> = Vec::new();
        for ids in columns {
            let runs =
                self.raw(ids)?.into_iter().map(|(row, text)| Compared::of(row.clone(), self.measurement(&row, &text).ok()));
            let joined = runs.reduce(|mut column, run| {
                column.join(run);
                column
            });
            // Each once.
            compared.extend(joined.filter(|new| compared.iter().all(|known| known.row.id != new.row.id)));
        }
        Ok(comparison(&compared))
    }
}

fn comparison(runs: &[Compared]) -> Comparison {
    let numbers = Quantity::ALL.into_iter().map(|quantity| number_line(quantity, runs));
    Comparison {
        runs: runs.iter().map(|run| run.row.clone()).collect(),
        numbers: numbers.filter(|line| line.values.iter().any(Option::is_some)).collect(),
        facts: facts(runs),
        notes: notes(runs),
    }
}

fn number_line(quantity: Quantity, runs: &[Compared]) -> NumberLine {
    let change = |run: &Compared| {
        let first = runs.first()?;
        let by = if quantity == Quantity::MeanKld {
            // Both were measured on the same tokens: the difference is far better known than the two values.
            let (before, after) = (chunks(first)?, chunks(run)?);
            has_same_chunks(first, run).then(|| paired_difference(after, before, SEED)).flatten()?
        } else {
            let (before, after) = (value(quantity, first)?, value(quantity, run)?);
            if quantity.is_loss() && !has_same_text(&first.row, &run.row) {
                return None;
            }
            if quantity.is_relative() { ratio(before, after) } else { difference(before, after) }
        };
        by.value.is_finite().then(|| quantity.change(by))
    };
    NumberLine {
        quantity,
        values: runs.iter().map(|run| value(quantity, run)).collect(),
        changes: runs.iter().enumerate().map(|(idx, run)| if idx == 0 { None } else { change(run) }).collect(),
    }
}

/// `after / before - 1`; the ends pair the rounds at their worst and at their best.
fn ratio(before: Interval, after: Interval) -> Interval {
    Interval { value: after.value / before.value - 1.0, low: after.low / before.high - 1.0, high: after.high / before.low - 1.0 }
}

/// `after - before`; wider than it need be, because it ignores that both were measured on the same tokens.
fn difference(before: Interval, after: Interval) -> Interval {
    Interval { value: after.value - before.value, low: after.low - before.high, high: after.high - before.low }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are shown with three digits")]
fn value(quantity: Quantity, run: &Compared) -> Option<Interval> {
    let row = &run.row;
    let stat = |stat: fn(&Run) -> &Stat| match &run.speed {
        Some(run) if !stat(run).values.is_empty() => {
            Some(Interval { value: stat(run).median(), low: stat(run).min(), high: stat(run).max() })
        }
        _ => None,
    };
    // The row has the same with less detail, for runs whose details cannot be read.
    let around = |value: Option<f64>, spread: Option<f64>| {
        let (value, spread) = (value?, spread.unwrap_or(0.0));
        Some(Interval { value, low: value - spread, high: value + spread })
    };
    match quantity {
        Quantity::Size => Some(Interval::exact(row.size_bytes as f64)),
        Quantity::Decode => {
            stat(|run| &run.decode_tokens_per_sec).or_else(|| around(row.decode_tokens_per_sec, row.decode_spread))
        }
        Quantity::Prefill => {
            stat(|run| &run.prefill_tokens_per_sec).or_else(|| around(row.prefill_tokens_per_sec, row.prefill_spread))
        }
        Quantity::Load => stat(|run| &run.load_secs),
        Quantity::PeakMemory => row.peak_memory_bytes.map(|size_bytes| Interval::exact(size_bytes as f64)),
        Quantity::MeanKld => row.mean_kld,
        Quantity::PplRatio => row.ppl_ratio,
        Quantity::SameTop => row.same_top,
    }
}

fn chunks(run: &Compared) -> Option<&[ChunkSums]> {
    run.quality.as_ref().map(|run| run.chunks.as_slice())
}

/// Whether two losses can be compared: a loss is measured against a reference on a text, and both must be the same.
fn has_same_text(one: &Row, other: &Row) -> bool {
    one.text_sha256 == other.text_sha256 && one.reference_sha256 == other.reference_sha256
}

/// Whether a chunk's index stands for the same tokens in both.
fn has_same_chunks(one: &Compared, other: &Compared) -> bool {
    let n_ctx = |run: &Compared| run.quality.as_ref().map(|run| run.provenance.n_ctx);
    has_same_text(&one.row, &other.row) && n_ctx(one).is_some() && n_ctx(one) == n_ctx(other)
}

fn facts(runs: &[Compared]) -> Vec<FactLine> {
    let of_values = |name, values: Vec<String>| {
        let differs = values.windows(2).any(|pair| pair.first() != pair.last());
        FactLine { name, values, differs }
    };
    let line = |name, value: fn(&Row) -> String| of_values(name, runs.iter().map(|run| value(&run.row)).collect());
    let of_column = |name, value: fn(&Compared) -> String| of_values(name, runs.iter().map(value).collect());
    let lines = [
        line("Measured", |row| local_time_text(row.recorded_unix_secs)),
        of_column("Kind", Compared::kind_text),
        line("Model", |row| row.model_name.clone()),
        line("Model SHA-256", |row| row.model_sha256.clone().unwrap_or_default()),
        line("Level", |row| row.level.clone().unwrap_or_default()),
        line("Tensors", |row| row.recipe.clone().unwrap_or_default()),
        line("Verdict", |row| row.verdict.map_or("", Decision::label).into()),
        of_column("Reference computed as", |run| {
            run.quality.as_ref().and_then(|run| run.provenance.reference_by.text()).unwrap_or_default().into()
        }),
        line("Reference SHA-256", |row| row.reference_sha256.clone().unwrap_or_default()),
        line("Text", |row| row.text_name.clone().unwrap_or_default()),
        line("Text SHA-256", |row| row.text_sha256.clone().unwrap_or_default()),
        line("Tokens", |row| row.n_tokens.map_or_else(String::new, count_text)),
        line("Runtime", |row| row.runtime.clone()),
        line("Backend", |row| row.backend.clone()),
        line("Machine", |row| row.machine.clone()),
        line("Threads", |row| row.n_threads.to_string()),
        line("Power", |row| power_name(row.power_source).into()),
        line("Temperature", |row| row.temperature_celsius.map_or_else(String::new, |celsius| format!("{celsius:.0} °C"))),
        line("Planish", |row| row.planish.clone()),
    ];
    lines.into_iter().filter(|line| line.values.iter().any(|value| !value.is_empty())).collect()
}

fn notes(runs: &[Compared]) -> Vec<String> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let mut notes = Vec::new();
    for run in others {
        let id = run.row.id;
        let mut note = |text: &str| notes.push(format!("run {id} {text}"));
        let (is_speed, is_quality) = (run.has_speed() && first.has_speed(), run.has_quality() && first.has_quality());
        if !is_speed && !is_quality {
            note("measured something other than the first run: only the file size can be compared");
            continue;
        }
        if !run.is_read || !first.is_read {
            note("or the first was written by another version of Planish: not all of it can be compared");
        }
        if is_speed && run.row.machine != first.row.machine {
            note("was measured on another machine");
        }
        if is_quality && run.row.text_sha256 != first.row.text_sha256 {
            note("was measured on another text: losses on different texts cannot be compared");
        } else if is_quality && run.row.reference_sha256 != first.row.reference_sha256 {
            note("was compared with another reference: the losses cannot be compared");
        }
    }
    notes
}
