//! A plot as data: what the window draws, the report prints and the export writes.

use serde::{Deserialize, Serialize};

use super::look::LevelLook;
use crate::advise::Interval;
use crate::bench::ComparisonRow;
use crate::bench::quality::QualityRun;
use crate::bench::rows::pair::{Pair, decode_pair, memory_pair, pair_scaled, pair_text, prefill_pair};
use crate::model::Level;
use crate::units::{count_of, count_text, nats_text, percent_text, significant_text};

/// Which plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    /// File size against mean KL divergence, with the Pareto front.
    SizeLoss,
    /// Mean KL divergence against decode speed, with the Pareto front.
    LossSpeed,
    /// File size against the share of tokens whose top choice changed, with the Pareto front.
    SameTop,
    /// File size against decode speed.
    #[default]
    SizeSpeed,
    /// Decode speed.
    Decode,
    /// Prefill speed.
    Prefill,
    /// Peak memory.
    Memory,
}

impl ChartKind {
    /// All plots in the order of the page.
    pub const ALL: [Self; 7] =
        [Self::SizeLoss, Self::LossSpeed, Self::SameTop, Self::SizeSpeed, Self::Decode, Self::Prefill, Self::Memory];

    /// The title on screen.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::SizeLoss => "Size against loss",
            Self::LossSpeed => "Loss against speed",
            Self::SameTop => "Size against same top",
            Self::SizeSpeed => "Size against speed",
            Self::Decode => "Decode speed",
            Self::Prefill => "Prefill speed",
            Self::Memory => "Memory",
        }
    }

    /// The name of an exported file, without its ending.
    #[must_use]
    pub fn file_stem(self) -> &'static str {
        match self {
            Self::SizeLoss => "size-loss",
            Self::LossSpeed => "loss-speed",
            Self::SameTop => "same-top",
            Self::SizeSpeed => "size-speed",
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Memory => "memory",
        }
    }
}

/// A plot of either form.
#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    /// Markers on two axes.
    Scatter(Scatter),
    /// One pair of bars for each row.
    Bars(Bars),
}

/// Markers on two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// Which plot it is.
    pub kind: ChartKind,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// One for each row that has both values.
    pub marks: Vec<Mark>,
    /// The Pareto front from left to right: the measured marks that no other measured mark beats in both values; empty if the
    /// plot has none.
    pub front: Vec<[f64; 2]>,
    /// What the bars of the markers mean.
    pub bar_meaning: &'static str,
}

/// A marker with its error bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The row's name.
    pub name: String,
    /// Its framework and precision class; `None` for a source that is no level.
    pub look: Option<LevelLook>,
    /// Horizontal value in the axis' unit.
    pub x: Interval,
    /// Vertical value in the axis' unit.
    pub y: Interval,
    /// False when the vertical value is predicted.
    pub is_measured: bool,
    /// All numbers in words, one line each, shown while the pointer rests on the mark.
    pub details: String,
}

/// One pair of bars for each row, the prediction above the measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Which plot it is.
    pub kind: ChartKind,
    /// The axis of the values.
    pub x: Axis,
    /// One for each row, the first on top.
    pub rows: Vec<BarRow>,
    /// What a solid bar is: `measured, median ± spread`.
    pub measured_meaning: &'static str,
    /// What a hollow bar is.
    pub predicted_meaning: &'static str,
}

/// The bars of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct BarRow {
    /// The row's name.
    pub name: String,
    /// Its framework and precision class; `None` for a source that is no level.
    pub look: Option<LevelLook>,
    /// Both values in the axis' unit.
    pub pair: Pair,
    /// Why there is no measurement: `failed` or `not measured`; `None` when there is one.
    pub missing: Option<&'static str>,
    /// All numbers in words, one line each.
    pub details: String,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit: `File size (MiB)`.
    pub label: String,
    /// How values become lengths.
    pub scale: Scale,
    /// The value at its start; 0 on a linear axis that is not a part of another.
    pub min: f64,
    /// The value at its end; larger than `min`.
    pub max: f64,
}

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps, equal lengths.
    Linear,
    /// Equal factors, equal lengths.
    Log10,
}

impl Axis {
    fn linear(label: impl Into<String>, highest: f64) -> Self {
        Self { label: label.into(), scale: Scale::Linear, min: 0.0, max: (highest * 1.14).max(1e-9) }
    }

    /// A logarithmic axis around values above 0; the part of an error bar that reaches 0 is cut off.
    fn log10(label: impl Into<String>, values: impl Iterator<Item = Interval> + Clone) -> Self {
        let lowest = values.clone().map(|value| if value.low > 0.0 { value.low.max(value.value / 10.0) } else { value.value });
        let lowest = lowest.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let highest = values.map(|value| value.high).fold(0.0, f64::max);
        let (low, high) = if lowest.is_finite() && highest >= lowest { (lowest, highest) } else { (0.1, 1.0) };
        Self { label: label.into(), scale: Scale::Log10, min: low / 1.6, max: high * 1.8 }
    }

    /// The place of a value: the value itself, or its logarithm to base 10. On a logarithmic axis, values below the start are
    /// placed at the start.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log10 => value.max(self.min).log10(),
        }
    }

    /// The places of the start and the end.
    #[must_use]
    pub fn ends(&self) -> (f64, f64) {
        (self.place(self.min), self.place(self.max))
    }

    /// The part of the axis between two places, with the same label and scale.
    #[must_use]
    pub fn part(&self, start: f64, end: f64) -> Self {
        let value = |place: f64| match self.scale {
            Scale::Linear => place,
            Scale::Log10 => 10_f64.powf(place),
        };
        Self { label: self.label.clone(), scale: self.scale, min: value(start), max: value(end) }
    }

    /// How many bytes the unit of its label has; `None` for an axis that shows no sizes.
    #[must_use]
    pub fn unit_bytes(&self) -> Option<f64> {
        [1.0, 2048.0 * 1_048_576.0]
            .map(bytes_unit)
            .into_iter()
            .find(|unit| self.label.ends_with(&format!("({})", unit.1)))
            .map(|unit| unit.0)
    }

    /// Places and texts of the ticks: multiples of 1, 2 or 5 times a power of ten, about `n_wanted` of them. A logarithmic axis
    /// that has more than two ticks of its own ignores `n_wanted`.
    #[must_use]
    pub fn ticks(&self, n_wanted: f64) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => linear_ticks(self.min, self.max, n_wanted),
            Scale::Log10 => {
                let decades = self.max.log10() - self.min.log10();
                let factors: &[f64] = if decades < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let first = self.min.log10().floor();
                let exponents = std::iter::successors(Some(first), |exponent| Some(exponent + 1.0));
                let exponents = exponents.take_while(|exponent| *exponent <= self.max.log10()).take(20);
                let values = exponents.flat_map(|exponent| factors.iter().map(move |factor| factor * 10_f64.powf(exponent)));
                let inside = values.filter(|value| (self.min..=self.max).contains(value));
                let ticks: Vec<(f64, String)> =
                    inside.map(|value| (value.log10(), tick_text(value, 10_f64.powf(value.log10().floor())))).collect();
                if ticks.len() > 2 {
                    return ticks;
                }
                // A small part of a decade, as after a zoom.
                linear_ticks(self.min, self.max, n_wanted).into_iter().map(|(value, text)| (value.log10(), text)).collect()
            }
        }
    }
}

/// Multiples of a nice step between two values, with their texts.
fn linear_ticks(min: f64, max: f64, n_wanted: f64) -> Vec<(f64, String)> {
    let step = nice_step((max - min) / n_wanted);
    let first = (min / step - 1e-9).ceil() * step;
    let count = ((max - first) / step + 1e-9).floor().min(50.0);
    let indices = std::iter::successors(Some(0.0), |idx| (*idx < count).then_some(idx + 1.0));
    indices.map(|idx| (first + idx * step, tick_text(first + idx * step, step))).collect()
}

/// A tick value with as many decimals as its step needs.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
fn tick_text(value: f64, step: f64) -> String {
    if step >= 1.0 {
        return count_text(value.round().max(0.0) as u64);
    }
    let n_decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 8.0) as usize;
    format!("{value:.n_decimals$}")
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `at_least`.
fn nice_step(at_least: f64) -> f64 {
    let magnitude = 10_f64.powf(at_least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * magnitude >= at_least * 0.999_999).unwrap_or(10.0);
    factor * magnitude
}

/// The binary unit for sizes up to `highest` bytes: how many bytes it has, and its name.
#[must_use]
pub fn bytes_unit(highest: f64) -> (f64, &'static str) {
    const MIB: f64 = 1_048_576.0;
    if highest >= 1024.0 * MIB { (1024.0 * MIB, "GiB") } else { (MIB, "MiB") }
}

/// The plot of these rows. Marks need both values, so rows without them are left out; bars keep every row.
#[must_use]
pub fn chart(kind: ChartKind, rows: &[ComparisonRow]) -> Chart {
    const SPEED: (&str, &str) = ("measured, median ± spread", "predicted, with its band");
    match kind {
        ChartKind::SizeLoss => size_loss(rows),
        ChartKind::LossSpeed => loss_speed(rows),
        ChartKind::SameTop => same_top(rows),
        ChartKind::SizeSpeed => size_speed(rows),
        ChartKind::Decode => bars(kind, rows, "Decode (tokens/s)", "tok/s", 1.0, SPEED, decode_pair),
        ChartKind::Prefill => bars(kind, rows, "Prefill (tokens/s)", "tok/s", 1.0, SPEED, prefill_pair),
        ChartKind::Memory => {
            let highest = rows.iter().map(|row| memory_pair(row).highest()).fold(0.0, f64::max);
            let (unit_bytes, unit) = bytes_unit(highest);
            let meaning = ("measured peak", "predicted");
            bars(kind, rows, &format!("Memory while running ({unit})"), unit, unit_bytes, meaning, memory_pair)
        }
    }
}

const QUALITY_BARS: &str = "95 % of the measured mean";

fn size_loss(rows: &[ComparisonRow]) -> Chart {
    let sizes = Sizes::of(with_quality(rows).map(|(row, _)| row));
    let marks: Vec<Mark> =
        with_quality(rows).map(|(row, run)| sizes.mark(row, run.summary.mean_kld, quality_text(run))).collect();
    let front = front(&marks, Better::Lower);
    let y = Axis::log10("Mean KL divergence (nats), lower is better", marks.iter().map(|mark| mark.y));
    Chart::Scatter(Scatter { kind: ChartKind::SizeLoss, x: sizes.axis(), y, marks, front, bar_meaning: QUALITY_BARS })
}

/// Size against loss of files of any models, each measured against its own source; no front, because they are not alternatives.
///
/// A file is its name, level, size in bytes and mean KL divergence in nats.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn own_losses(files: &[(String, Option<Level>, u64, Interval)]) -> Scatter {
    let highest = files.iter().map(|file| file.2 as f64).fold(0.0, f64::max);
    let (unit_bytes, unit) = bytes_unit(highest);
    let sizes = Sizes { unit_bytes, unit, highest: highest / unit_bytes };
    let mark = |(name, level, size_bytes, loss): &(String, Option<Level>, u64, Interval)| Mark {
        name: name.clone(),
        look: level.map(LevelLook::of),
        x: Interval::exact(*size_bytes as f64 / unit_bytes),
        y: *loss,
        is_measured: true,
        details: format!("{name}\nmean KLD {} nats", loss.text(nats_text)),
    };
    let marks: Vec<Mark> = files.iter().map(mark).collect();
    let y = Axis::log10("Mean KL divergence from its own source (nats)", marks.iter().map(|mark| mark.y));
    Scatter { kind: ChartKind::SizeLoss, x: sizes.axis(), y, marks, front: Vec::new(), bar_meaning: QUALITY_BARS }
}

fn loss_speed(rows: &[ComparisonRow]) -> Chart {
    let marks: Vec<Mark> = with_quality(rows)
        .filter_map(|(row, run)| {
            let pair = decode_pair(row);
            let y = interval_of(pair)?;
            let details = format!("{}\n{}", quality_text(run), speed_text(row, pair, "tok/s"));
            Some(mark(row, run.summary.mean_kld, y, pair.measured.is_some(), &details))
        })
        .collect();
    let front = front(&marks, Better::Higher);
    let x = Axis::log10("Mean KL divergence (nats), lower is better", marks.iter().map(|mark| mark.x));
    let y = Axis::linear("Decode (tokens/s)", highest(&marks));
    let bar_meaning = "95 % of the mean, and spread of the rounds";
    Chart::Scatter(Scatter { kind: ChartKind::LossSpeed, x, y, marks, front, bar_meaning })
}

fn same_top(rows: &[ComparisonRow]) -> Chart {
    let sizes = Sizes::of(with_quality(rows).map(|(row, _)| row));
    let changed = |same: Interval| Interval {
        value: (1.0 - same.value) * 100.0,
        low: (1.0 - same.high) * 100.0,
        high: (1.0 - same.low) * 100.0,
    };
    let marks: Vec<Mark> =
        with_quality(rows).map(|(row, run)| sizes.mark(row, changed(run.summary.same_top), quality_text(run))).collect();
    let y = Axis::linear("Tokens whose top choice changed (%)", highest(&marks));
    Chart::Scatter(Scatter {
        kind: ChartKind::SameTop,
        x: sizes.axis(),
        y,
        front: front(&marks, Better::Lower),
        marks,
        bar_meaning: QUALITY_BARS,
    })
}

fn size_speed(rows: &[ComparisonRow]) -> Chart {
    let sizes = Sizes::of(rows.iter());
    let marks: Vec<Mark> = rows
        .iter()
        .filter_map(|row| {
            let pair = decode_pair(row);
            let mut mark = sizes.mark(row, interval_of(pair)?, speed_text(row, pair, "tok/s"));
            mark.is_measured = pair.measured.is_some();
            Some(mark)
        })
        .collect();
    let y = Axis::linear("Decode (tokens/s)", highest(&marks));
    let bar_meaning = "spread of the rounds";
    Chart::Scatter(Scatter { kind: ChartKind::SizeSpeed, x: sizes.axis(), y, marks, front: Vec::new(), bar_meaning })
}

fn bars(
    kind: ChartKind,
    rows: &[ComparisonRow],
    label: &str,
    unit: &str,
    scale: f64,
    (measured_meaning, predicted_meaning): (&'static str, &'static str),
    pair_of: fn(&ComparisonRow) -> Pair,
) -> Chart {
    let rows: Vec<BarRow> = rows
        .iter()
        .map(|row| {
            let pair = pair_scaled(pair_of(row), scale);
            let missing = match (pair.measured, &row.failure) {
                (Some(_), _) => None,
                (None, Some(_)) => Some("failed"),
                (None, None) => Some("not measured"),
            };
            let details = format!("{}\n{}", row.name, speed_text(row, pair, unit));
            BarRow { name: row.name.clone(), look: row.level.map(LevelLook::of), pair, missing, details }
        })
        .collect();
    let x = Axis::linear(label, rows.iter().map(|row| row.pair.highest()).fold(0.0, f64::max));
    Chart::Bars(Bars { kind, x, rows, measured_meaning, predicted_meaning })
}

/// The unit of the file sizes, and the largest size in that unit.
struct Sizes {
    unit_bytes: f64,
    unit: &'static str,
    highest: f64,
}

impl Sizes {
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn of<'a>(rows: impl Iterator<Item = &'a ComparisonRow>) -> Self {
        let highest = rows.map(|row| row.size_bytes as f64).fold(0.0, f64::max);
        let (unit_bytes, unit) = bytes_unit(highest);
        Self { unit_bytes, unit, highest: highest / unit_bytes }
    }

    fn axis(&self) -> Axis {
        Axis::linear(format!("File size ({})", self.unit), self.highest)
    }

    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    #[allow(clippy::needless_pass_by_value, reason = "made for this call only")]
    fn mark(&self, row: &ComparisonRow, y: Interval, details: String) -> Mark {
        let size = row.size_bytes as f64 / self.unit_bytes;
        let details = format!("{} {}\n{details}", significant_text(size), self.unit);
        mark(row, Interval::exact(size), y, true, &details)
    }
}

fn mark(row: &ComparisonRow, x: Interval, y: Interval, is_measured: bool, details: &str) -> Mark {
    let details = format!("{}\n{details}", row.name);
    Mark { name: row.name.clone(), look: row.level.map(LevelLook::of), x, y, is_measured, details }
}

fn with_quality(rows: &[ComparisonRow]) -> impl Iterator<Item = (&ComparisonRow, &QualityRun)> {
    rows.iter().filter_map(|row| Some((row, row.quality.as_deref()?))).filter(|(_, run)| run.summary.mean_kld.value.is_finite())
}

fn quality_text(run: &QualityRun) -> String {
    let summary = &run.summary;
    let provenance = &run.provenance;
    format!(
        "mean KLD {} nats\nsame top token {}\nperplexity × {:.3}\n{} tokens of {}\n{}, {}",
        summary.mean_kld.text(nats_text),
        summary.same_top.text(percent_text),
        summary.ppl_ratio.value,
        count_text(summary.n_tokens),
        provenance.text_name,
        provenance.runtime,
        count_of(provenance.n_threads, "thread"),
    )
}

/// Both values in words, and what the measurement was made with.
fn speed_text(row: &ComparisonRow, pair: Pair, unit: &str) -> String {
    let made_with = row.run.as_ref().map(|run| {
        let provenance = &run.provenance;
        let threads = count_of(provenance.n_threads, "thread");
        format!("\n{}, {threads}, {}", provenance.runtime, count_of(run.decode_tokens_per_sec.values.len(), "round"))
    });
    pair_text(pair, unit) + &made_with.unwrap_or_default()
}

/// The measured value with its spread, else the prediction with its band; `None` without either.
fn interval_of(pair: Pair) -> Option<Interval> {
    match (pair.measured, pair.predicted) {
        (Some((value, spread)), _) => Some(Interval { value, low: value - spread, high: value + spread }),
        (None, band) => band.map(|band| Interval { value: band.mid, low: band.low, high: band.high }),
    }
}

fn highest(marks: &[Mark]) -> f64 {
    marks.iter().map(|mark| mark.y.high.max(mark.y.value)).fold(0.0, f64::max)
}

/// Which vertical values are better; on the horizontal axis lower is always better.
#[derive(Clone, Copy)]
enum Better {
    Lower,
    Higher,
}

/// The measured marks that no other one beats in both values, from left to right.
fn front(marks: &[Mark], better: Better) -> Vec<[f64; 2]> {
    let mut points: Vec<[f64; 2]> =
        marks.iter().filter(|mark| mark.is_measured).map(|mark| [mark.x.value, mark.y.value]).collect();
    let cost = |y: f64| match better {
        Better::Lower => y,
        Better::Higher => -y,
    };
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(cost(a[1]).total_cmp(&cost(b[1]))));
    let mut best = f64::INFINITY;
    points.retain(|point| {
        let is_better = cost(point[1]) < best;
        best = best.min(cost(point[1]));
        is_better
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark_at(x: f64, y: f64) -> Mark {
        let (x, y) = (Interval::exact(x), Interval::exact(y));
        Mark { name: String::new(), look: None, x, y, is_measured: true, details: String::new() }
    }

    #[test]
    fn the_front_holds_what_nothing_else_beats() {
        let check = |points: &[(f64, f64)], better, expected: &[[f64; 2]]| {
            let marks: Vec<Mark> = points.iter().map(|&(x, y)| mark_at(x, y)).collect();
            assert_eq!(front(&marks, better), expected);
        };
        check(&[], Better::Lower, &[]);
        check(&[(3.0, 1.0), (1.0, 9.0), (2.0, 10.0), (2.5, 4.0)], Better::Lower, &[[1.0, 9.0], [2.5, 4.0], [3.0, 1.0]]);
        check(&[(3.0, 1.0), (1.0, 9.0), (2.0, 10.0), (2.0, 11.0)], Better::Higher, &[[1.0, 9.0], [2.0, 11.0]]);
        check(&[(1.0, 5.0), (1.0, 5.0)], Better::Lower, &[[1.0, 5.0]]);
        let predicted = Mark { is_measured: false, ..mark_at(0.5, 0.5) };
        assert_eq!(front(&[predicted, mark_at(1.0, 1.0)], Better::Lower), [[1.0, 1.0]], "a prediction is no point of the front");
    }

    #[test]
    fn steps_are_one_two_or_five() {
        let check = |at_least: f64, expected: f64| {
            let step = nice_step(at_least);
            assert!((step - expected).abs() < expected * 1e-9, "{at_least}: {step}");
        };
        check(0.7, 1.0);
        check(1.0, 1.0);
        check(1.1, 2.0);
        check(3.0, 5.0);
        check(6.0, 10.0);
        check(0.013, 0.02);
        check(4200.0, 5000.0);
    }

    #[test]
    fn ticks_have_the_decimals_of_their_step() {
        let check = |axis: Axis, expected: &[&str]| {
            let ticks = axis.ticks(4.0);
            assert_eq!(ticks.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), expected);
            let (start, end) = axis.ends();
            assert!(ticks.iter().all(|(place, _)| (start..=end).contains(place)));
        };
        let log = |min, max| Axis { label: String::new(), scale: Scale::Log10, min, max };
        check(Axis::linear("", 1500.0), &["0", "500", "1,000", "1,500"]);
        check(Axis::linear("", 0.7), &["0.0", "0.2", "0.4", "0.6"]);
        check(log(0.0015, 0.6), &["0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]);
        check(log(0.00015, 12.0), &["0.001", "0.01", "0.1", "1", "10"]);
        check(log(0.3, 1.9), &["0.5", "1.0", "1.5"]);
        check(log(0.0021, 0.0029), &["0.0022", "0.0024", "0.0026", "0.0028"]);
        let part = Axis::linear("", 1000.0).part(210.0, 290.0);
        check(part, &["220", "240", "260", "280"]);
    }

    #[test]
    fn an_axis_of_sizes_knows_its_unit() {
        let unit = |label: &str| Axis::linear(label, 1.0).unit_bytes();
        assert_eq!(unit("File size (MiB)"), Some(1_048_576.0));
        assert_eq!(unit("Memory while running (GiB)"), Some(1_073_741_824.0));
        assert_eq!(unit("Decode (tokens/s)"), None);
    }

    #[test]
    fn a_logarithmic_axis_holds_every_value_and_cuts_bars_at_zero() {
        let interval = |value, low, high| Interval { value, low, high };
        let values = [interval(0.004, -0.001, 0.009), interval(0.5, 0.4, 0.6)];
        let axis = Axis::log10("", values.iter().copied());
        assert!(axis.min < 0.004 && axis.max > 0.6);
        assert!((axis.place(-1.0) - axis.ends().0).abs() < 1e-12);
        let empty = Axis::log10("", std::iter::empty());
        assert!(empty.min > 0.0 && empty.max > empty.min);
        let zero = Axis::log10("", std::iter::once(interval(0.0, 0.0, 0.0)));
        assert!(zero.min > 0.0 && zero.max > zero.min && zero.place(0.0).is_finite());
    }
}
