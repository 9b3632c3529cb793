//! The user's limits, and the verdict on what was measured against them.

use serde::{Deserialize, Serialize};

use crate::units::{nan_from_null, nats_text, percent_text, rounded_like, significant_text};

/// A measured value between the ends of its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    #[serde(deserialize_with = "nan_from_null")]
    pub value: f64,
    /// The lower end; at most `value`.
    #[serde(deserialize_with = "nan_from_null")]
    pub low: f64,
    /// The upper end; at least `value`.
    #[serde(deserialize_with = "nan_from_null")]
    pub high: f64,
}

impl Interval {
    /// A value that is known exactly.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// The interval of `f` of the value; `f` must not fall.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { value: f(self.value), low: f(self.low), high: f(self.high) }
    }

    /// The value and half the width of its interval, both in the unit of `text`, with one percent sign: `95.3 ± 0.8 %`.
    #[must_use]
    pub fn text(&self, text: impl Fn(f64) -> String) -> String {
        let value = text(self.value);
        let half = text(self.half_width());
        let half = half.trim_end_matches(" %");
        let unit = if value.ends_with(" %") { " %" } else { "" };
        let value = value.trim_end_matches(" %");
        // A number in thousands or beyond is no number to parse: it stays as it is.
        let rounded = half.parse().map_or_else(|_| half.to_string(), |number| rounded_like(value, number, half));
        format!("{value} ± {rounded}{unit}")
    }

    /// Half its width: the `±` behind the value.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// What a gate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Next-token accuracy on the text, as a part of the reference's; at least.
    AccuracyRatio,
    /// Perplexity, as a multiple of the reference's; at most.
    PplRatio,
    /// Mean KL divergence from the reference in nats; at most.
    MeanKld,
    /// Part of the tokens at which both models put the same token first; at least.
    SameTop,
    /// Peak memory, as a part of the reference's; at most.
    MemoryRatio,
    /// Decode speed, as a multiple of the reference's; at least.
    SpeedRatio,
}

impl GateKind {
    /// All kinds in the order of the screen: quality first.
    pub const ALL: [Self; 6] =
        [Self::AccuracyRatio, Self::PplRatio, Self::MeanKld, Self::SameTop, Self::MemoryRatio, Self::SpeedRatio];

    /// The name on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::AccuracyRatio => "Next-token accuracy",
            Self::PplRatio => "Perplexity",
            Self::MeanKld => "Mean KL divergence",
            Self::SameTop => "Same top token",
            Self::MemoryRatio => "Peak memory",
            Self::SpeedRatio => "Decode speed",
        }
    }

    /// The name inside a sentence: `mean KL divergence`.
    #[must_use]
    pub fn phrase(self) -> String {
        let mut chars = self.label().chars();
        chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
    }

    /// True when the limit is the least that passes; false when it is the most.
    #[must_use]
    pub fn is_minimum(self) -> bool {
        matches!(self, Self::AccuracyRatio | Self::SameTop | Self::SpeedRatio)
    }

    /// True for what is measured on a text, false for what is measured with a clock.
    #[must_use]
    pub fn is_quality(self) -> bool {
        !matches!(self, Self::MemoryRatio | Self::SpeedRatio)
    }

    /// A value of this kind with its unit: `97.2 % of the reference`, `0.0123 nats`.
    #[must_use]
    pub fn value_text(self, value: f64) -> String {
        match self {
            Self::AccuracyRatio | Self::MemoryRatio => format!("{} of the reference", percent_text(value)),
            Self::PplRatio => format!("{value:.3} × the reference"),
            Self::SpeedRatio => format!("{} × the reference", significant_text(value)),
            Self::MeanKld => format!("{} nats", nats_text(value)),
            Self::SameTop => percent_text(value),
        }
    }
}

/// The limits; `None` switches a gate off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// Least next-token accuracy as a part of the reference's.
    pub min_accuracy_ratio: Option<f64>,
    /// Largest perplexity as a multiple of the reference's.
    pub max_ppl_ratio: Option<f64>,
    /// Largest mean KL divergence in nats.
    pub max_mean_kld: Option<f64>,
    /// Least part of tokens with the same token first.
    pub min_same_top: Option<f64>,
    /// Largest peak memory as a part of the reference's.
    pub max_memory_ratio: Option<f64>,
    /// Least decode speed as a multiple of the reference's.
    pub min_speed_ratio: Option<f64>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            min_accuracy_ratio: Some(0.95),
            max_ppl_ratio: Some(1.05),
            max_mean_kld: None,
            min_same_top: None,
            max_memory_ratio: Some(0.5),
            min_speed_ratio: Some(2.0),
        }
    }
}

impl Gates {
    /// The limit of a kind; `None` when that gate is off.
    #[must_use]
    pub fn limit(&self, kind: GateKind) -> Option<f64> {
        match kind {
            GateKind::AccuracyRatio => self.min_accuracy_ratio,
            GateKind::PplRatio => self.max_ppl_ratio,
            GateKind::MeanKld => self.max_mean_kld,
            GateKind::SameTop => self.min_same_top,
            GateKind::MemoryRatio => self.max_memory_ratio,
            GateKind::SpeedRatio => self.min_speed_ratio,
        }
    }

    /// The limit of a kind, to be changed.
    pub fn limit_mut(&mut self, kind: GateKind) -> &mut Option<f64> {
        match kind {
            GateKind::AccuracyRatio => &mut self.min_accuracy_ratio,
            GateKind::PplRatio => &mut self.max_ppl_ratio,
            GateKind::MeanKld => &mut self.max_mean_kld,
            GateKind::SameTop => &mut self.min_same_top,
            GateKind::MemoryRatio => &mut self.max_memory_ratio,
            GateKind::SpeedRatio => &mut self.min_speed_ratio,
        }
    }

    /// Only the gates that are decided on a text.
    #[must_use]
    pub fn quality_only(&self) -> Self {
        Self { max_memory_ratio: None, min_speed_ratio: None, ..self.clone() }
    }
}

/// What a measurement says about a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Decision {
    /// The whole interval is on the good side.
    Pass,
    /// The interval straddles the limit, or nothing was measured.
    Inconclusive,
    /// The whole interval is on the bad side.
    Fail,
}

impl Decision {
    /// The word on screen: `PASS`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Fail => "FAIL",
        }
    }
}

/// One gate with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// What was looked at.
    pub kind: GateKind,
    /// The limit.
    pub limit: f64,
    /// What was measured, with the interval that decided; `None` when it was not measured.
    pub measured: Option<Interval>,
    /// On which side it is.
    pub decision: Decision,
}

impl GateResult {
    /// `97.2 % of the reference (96.1 % to 98.0 %), at least 95 % wanted`.
    #[must_use]
    pub fn text(&self) -> String {
        let bound = if self.kind.is_minimum() { "at least" } else { "at most" };
        let limit = self.kind.value_text(self.limit);
        match self.measured {
            None => format!("not measured; {bound} {limit} wanted"),
            Some(Interval { value, low, high }) => {
                let of = |end: f64| self.kind.value_text(end).split(" of ").next().unwrap_or_default().to_string();
                let of = |end: f64| of(end).split(" × ").next().unwrap_or_default().to_string();
                format!("{} ({} to {}), {bound} {limit} wanted", self.kind.value_text(value), of(low), of(high))
            }
        }
    }
}

/// All gates of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// FAIL when one gate fails; else INCONCLUSIVE when one is, or when there is none; else PASS.
    pub decision: Decision,
    /// Those that are on, in the order of `GateKind::ALL`.
    pub gates: Vec<GateResult>,
}

/// Holds what was measured against the limits; `measured` gives the interval of a kind, `None` where nothing was measured.
#[must_use]
pub fn judge(gates: &Gates, measured: impl Fn(GateKind) -> Option<Interval>) -> Verdict {
    let results: Vec<GateResult> = GateKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let limit = gates.limit(kind)?;
            let measured = measured(kind);
            Some(GateResult { kind, limit, measured, decision: decide(kind, limit, measured) })
        })
        .collect();
    let decision = results.iter().map(|result| result.decision).max().unwrap_or(Decision::Inconclusive);
    Verdict { decision, gates: results }
}

/// On which side of the limit the interval lies; a limit that is just reached passes. NaN decides nothing.
#[must_use]
pub fn decide(kind: GateKind, limit: f64, measured: Option<Interval>) -> Decision {
    let Some(Interval { low, high, .. }) = measured else { return Decision::Inconclusive };
    // (worst, best) so that larger is better.
    let (worst, best, limit) = if kind.is_minimum() { (low, high, limit) } else { (-high, -low, -limit) };
    if worst >= limit {
        Decision::Pass
    } else if best < limit {
        Decision::Fail
    } else {
        Decision::Inconclusive
    }
}

/// The first of `n` files, from the cheapest to the dearest, that passes: by bisection, so about log₂ `n` of them are measured.
///
/// `passes` gets a file's index. It supposes that a dearer file loses no more than a cheaper one: where that is wrong, what is returned
/// still passes, but a cheaper one might too. `None` when the dearest does not pass.
///
/// # Errors
/// The first of `passes`.
pub fn cheapest_passing<E>(n: usize, mut passes: impl FnMut(usize) -> Result<bool, E>) -> Result<Option<usize>, E> {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = usize::midpoint(low, high);
        if passes(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok((low < n).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "what is measured may be missing")]
    fn interval(value: f64, low: f64, high: f64) -> Option<Interval> {
        Some(Interval { value, low, high })
    }

    #[test]
    fn the_whole_interval_must_be_on_one_side() {
        let check =
            |kind, limit, measured, expected| assert_eq!(decide(kind, limit, measured), expected, "{kind:?} {measured:?}");
        check(GateKind::PplRatio, 1.05, interval(1.02, 1.01, 1.05), Decision::Pass);
        check(GateKind::PplRatio, 1.05, interval(1.04, 1.01, 1.06), Decision::Inconclusive);
        check(GateKind::PplRatio, 1.05, interval(1.10, 1.06, 1.20), Decision::Fail);
        check(GateKind::SameTop, 0.9, interval(0.95, 0.9, 1.0), Decision::Pass);
        check(GateKind::SameTop, 0.9, interval(0.92, 0.88, 1.0), Decision::Inconclusive);
        check(GateKind::SameTop, 0.9, interval(0.80, 0.7, 0.89), Decision::Fail);
        check(GateKind::MeanKld, 0.1, interval(f64::NAN, f64::NAN, f64::NAN), Decision::Inconclusive);
        check(GateKind::MeanKld, 0.1, None, Decision::Inconclusive);
        check(GateKind::SpeedRatio, 2.0, interval(2.0, 2.0, 2.0), Decision::Pass);
    }

    #[test]
    fn the_worst_gate_decides() {
        let gates = Gates { max_mean_kld: Some(0.1), ..Gates::default() };
        let verdict = |kld: Option<Interval>, speed: Option<Interval>| {
            judge(&gates, |kind| match kind {
                GateKind::MeanKld => kld,
                GateKind::SpeedRatio => speed,
                GateKind::MemoryRatio => interval(0.4, 0.4, 0.4),
                _ => interval(1.0, 1.0, 1.0),
            })
        };
        assert_eq!(verdict(interval(0.01, 0.0, 0.02), interval(3.0, 3.0, 3.0)).decision, Decision::Pass);
        assert_eq!(verdict(interval(0.01, 0.0, 0.02), None).decision, Decision::Inconclusive);
        assert_eq!(verdict(interval(0.5, 0.4, 0.6), None).decision, Decision::Fail);
        assert_eq!(verdict(None, None).gates.len(), 5, "those that are on");
        assert_eq!(judge(&gates.quality_only(), |_| None).gates.len(), 3);
        let none = Gates { min_accuracy_ratio: None, max_ppl_ratio: None, ..Gates::default() }.quality_only();
        assert_eq!(judge(&none, |_| None).decision, Decision::Inconclusive, "no gate is no pass");
    }

    #[test]
    fn a_result_says_its_numbers() {
        let result = |kind, limit, measured| GateResult { kind, limit, measured, decision: Decision::Pass }.text();
        assert_eq!(
            result(GateKind::AccuracyRatio, 0.95, interval(0.972, 0.961, 0.98)),
            "97.2 % of the reference (96.1 % to 98.0 %), at least 95.0 % of the reference wanted"
        );
        assert_eq!(result(GateKind::SpeedRatio, 2.0, None), "not measured; at least 2.00 × the reference wanted");
        assert_eq!(
            result(GateKind::MeanKld, 0.05, interval(0.0005, 0.0004, 0.002)),
            "5.0e-4 nats (4.0e-4 nats to 0.0020 nats), at most 0.0500 nats wanted"
        );
    }

    #[test]
    fn the_cheapest_passing_file_is_found_without_measuring_all() {
        for n in 0..20 {
            for first in 0..=n {
                let mut measured = Vec::new();
                let found = cheapest_passing(n, |idx| {
                    measured.push(idx);
                    Ok::<_, ()>(idx >= first)
                });
                assert_eq!(found, Ok((first < n).then_some(first)), "{first} of {n}");
                assert!(measured.len() <= 5, "{measured:?}");
            }
        }
        assert_eq!(cheapest_passing(3, |_| Err("broken")), Err("broken"));
    }

    #[test]
    fn errors_have_the_decimals_of_their_value() {
        let check = |value: f64, half: f64, text: fn(f64) -> String, expected: &str| {
            assert_eq!(Interval { value, low: value - half, high: value + half }.text(text), expected);
        };
        check(0.953, 0.008, percent_text, "95.3 ± 0.8 %");
        check(0.0605, 0.0045, nats_text, "0.0605 ± 0.0045");
        check(0.0043, 0.000_27, nats_text, "0.0043 ± 0.0003");
        check(0.45, 0.125, nats_text, "0.450 ± 0.125");
        check(0.0043, 0.000_001, nats_text, &format!("0.0043 ± {}", nats_text(0.000_001)));
        check(12.0, 0.0, significant_text, "12.0 ± 0.0");
    }

    #[test]
    fn saved_limits_keep_gates_that_are_off() {
        let gates = Gates { max_ppl_ratio: None, ..Gates::default() };
        let text = serde_json::to_string(&gates).unwrap();
        assert_eq!(serde_json::from_str::<Gates>(&text).unwrap(), gates);
    }
}
