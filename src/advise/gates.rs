//! The user's limits on quality, and the verdict on what was measured against them.
//!
//! The verdict is about quality alone, because a file loses the same everywhere. Size, memory and speed are `wishes`.

use serde::{Deserialize, Serialize};

use super::Interval;
use crate::units::{nats_text, percent_text};

/// What a gate looks at: always something measured on a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Next-token accuracy on the text as a fraction of the reference's; the limit is a minimum.
    AccuracyRatio,
    /// Mean KL divergence from the reference in nats; the limit is a maximum.
    MeanKld,
    /// Fraction of positions at which both models put the same token first; the limit is a minimum.
    SameTop,
    /// Perplexity as a multiple of the reference's; the limit is a maximum.
    PplRatio,
}

impl GateKind {
    /// All kinds in the order of the screen.
    pub const ALL: [Self; 4] = [Self::AccuracyRatio, Self::MeanKld, Self::SameTop, Self::PplRatio];

    /// The name on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::AccuracyRatio => "Next-token accuracy",
            Self::MeanKld => "Mean KL divergence",
            Self::SameTop => "Same top token",
            Self::PplRatio => "Perplexity",
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
        matches!(self, Self::AccuracyRatio | Self::SameTop)
    }

    /// A value of this kind with its unit: `97.2 % of the reference`, `0.0123 nats`; `unknown` for what is no number.
    #[must_use]
    pub fn value_text(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => "unknown".into(),
            Self::AccuracyRatio => format!("{} of the reference", percent_text(value)),
            Self::PplRatio => format!("{value:.3} × the reference"),
            Self::MeanKld => format!("{} nats", nats_text(value)),
            Self::SameTop => percent_text(value),
        }
    }

    /// The value without the words about the reference: `97.2 %`, `1.012`.
    fn bare_text(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => "unknown".into(),
            Self::AccuracyRatio => percent_text(value),
            Self::PplRatio => format!("{value:.3}"),
            Self::MeanKld | Self::SameTop => self.value_text(value),
        }
    }
}

/// The largest mean KL divergence that passes unless the user says otherwise, in nats.
///
/// It stands between what people use at 4 bits and what they begin to notice at 3 bits, on models of every size:
///
/// | | `Q8_0` | `Q4_K_M` | `Q3_K_M` | `Q2_K` |
/// |---|---|---|---|---|
/// | Llama 3 8B | 0.0014 | 0.031 | 0.102 | 0.445 |
/// | SmolLM2-135M | 0.0040 | 0.058 | 0.11 to 0.18 | 0.42 |
/// | the bundled sample | 0.0007 | 0.024 | 0.07 | 0.27 |
///
/// So `Q4_K_M` stays at about half of the limit or less and `Q2_K` is about three to four times the limit: distances far larger
/// than the measured floor of the method (5e-4 by llama-perplexity, whose logits are rounded; below 1e-6 here) and the error of
/// a measurement (5 % at 10,000 tokens). On the same files of SmolLM2, same top falls from 95.8 % to 86.1, about 80 and 64 %,
/// so 0.1 nats means about 8 of 10 next words the same. Next-token accuracy is the coarser gate: its own error is 1 to 4 %, and
/// a changed word is often as right as the one before.
///
/// Source: the scoreboard of Llama 3 8B in tools/perplexity/README.md, llama.cpp; `benches/README.md` for SmolLM2 (wiki.test.raw, 10,200 tokens)
/// and the sample (bundled text, 16,000 tokens).
pub const MAX_MEAN_KLD: f64 = 0.1;

/// The limits; `None` switches a gate off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// Least next-token accuracy as a part of the reference's.
    pub min_accuracy_ratio: Option<f64>,
    /// Largest mean KL divergence in nats.
    pub max_mean_kld: Option<f64>,
    /// Least fraction of positions with the same token first.
    pub min_same_top: Option<f64>,
    /// Largest perplexity as a multiple of the reference's.
    pub max_ppl_ratio: Option<f64>,
}

impl Default for Gates {
    fn default() -> Self {
        Self { min_accuracy_ratio: Some(0.95), max_mean_kld: Some(MAX_MEAN_KLD), min_same_top: None, max_ppl_ratio: None }
    }
}

impl Gates {
    /// No limit at all.
    pub const OFF: Self = Self { min_accuracy_ratio: None, max_mean_kld: None, min_same_top: None, max_ppl_ratio: None };

    /// The limit of a kind; `None` when that gate is off.
    #[must_use]
    pub fn limit(&self, kind: GateKind) -> Option<f64> {
        match kind {
            GateKind::AccuracyRatio => self.min_accuracy_ratio,
            GateKind::MeanKld => self.max_mean_kld,
            GateKind::SameTop => self.min_same_top,
            GateKind::PplRatio => self.max_ppl_ratio,
        }
    }

    /// The limit of a kind, to be changed.
    pub fn limit_mut(&mut self, kind: GateKind) -> &mut Option<f64> {
        match kind {
            GateKind::AccuracyRatio => &mut self.min_accuracy_ratio,
            GateKind::MeanKld => &mut self.max_mean_kld,
            GateKind::SameTop => &mut self.min_same_top,
            GateKind::PplRatio => &mut self.max_ppl_ratio,
        }
    }

    /// These gates for a model: without perplexity where `has_recurrent_layers`, because it says nothing there.
    ///
    /// There an F16 file can have a higher perplexity than a `Q8_0` one: the state carries every rounding on from token to token.
    #[must_use]
    pub fn meaningful(&self, has_recurrent_layers: bool) -> Self {
        Self { max_ppl_ratio: self.max_ppl_ratio.filter(|_| !has_recurrent_layers), ..self.clone() }
    }

    /// The limits that are on, as part of a sentence: `next-token accuracy at least 95.0 % of the reference, mean KL divergence
    /// at most 0.100 nats`; `no gate` without any.
    #[must_use]
    pub fn text(&self) -> String {
        let limit = |kind: GateKind| {
            let bound = if kind.is_minimum() { "at least" } else { "at most" };
            Some(format!("{} {bound} {}", kind.phrase(), kind.value_text(self.limit(kind)?)))
        };
        let limits: Vec<String> = GateKind::ALL.into_iter().filter_map(limit).collect();
        if limits.is_empty() { "no gate".into() } else { limits.join(", ") }
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

    /// On which side of the limit the interval lies; a limit that is just reached passes. NaN decides nothing.
    #[must_use]
    pub fn of(measured: Option<Interval>, limit: f64, is_minimum: bool) -> Self {
        let Some(Interval { low, high, .. }) = measured else { return Self::Inconclusive };
        // (worst, best) so that larger is better.
        let (worst, best, limit) = if is_minimum { (low, high, limit) } else { (-high, -low, -limit) };
        if worst >= limit {
            Self::Pass
        } else if best < limit {
            Self::Fail
        } else {
            Self::Inconclusive
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
    /// The gate in words: `97.2 % of the reference (96.1 % to 98.0 %), at least 95.0 % of the reference wanted`.
    #[must_use]
    pub fn text(&self) -> String {
        let bound = if self.kind.is_minimum() { "at least" } else { "at most" };
        let limit = self.kind.value_text(self.limit);
        match self.measured {
            None => format!("not measured; {bound} {limit} wanted"),
            Some(Interval { value, .. }) if !value.is_finite() => format!("unknown; {bound} {limit} wanted"),
            Some(Interval { value, low, high }) => {
                let ends = format!("{} to {}", self.kind.bare_text(low), self.kind.bare_text(high));
                format!("{} ({ends}), {bound} {limit} wanted", self.kind.value_text(value))
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
            Some(GateResult { kind, limit, measured, decision: Decision::of(measured, limit, kind.is_minimum()) })
        })
        .collect();
    let decision = results.iter().map(|result| result.decision).max().unwrap_or(Decision::Inconclusive);
    Verdict { decision, gates: results }
}

/// The first of `n` files, from the cheapest to the dearest, that passes: by bisection, so about log₂ `n` of them are measured.
///
/// `passes` gets a file's index. A dearer file is assumed to lose no more than a cheaper one: where that is wrong, what is
/// returned still passes, but a cheaper one might too. `None` when the dearest does not pass.
///
/// # Errors
/// The first error of `passes`.
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
        let check = |kind: GateKind, limit, measured, expected| {
            assert_eq!(Decision::of(measured, limit, kind.is_minimum()), expected, "{kind:?} {measured:?}");
        };
        check(GateKind::PplRatio, 1.05, interval(1.02, 1.01, 1.05), Decision::Pass);
        check(GateKind::PplRatio, 1.05, interval(1.04, 1.01, 1.06), Decision::Inconclusive);
        check(GateKind::PplRatio, 1.05, interval(1.10, 1.06, 1.20), Decision::Fail);
        check(GateKind::SameTop, 0.9, interval(0.95, 0.9, 1.0), Decision::Pass);
        check(GateKind::SameTop, 0.9, interval(0.92, 0.88, 1.0), Decision::Inconclusive);
        check(GateKind::SameTop, 0.9, interval(0.80, 0.7, 0.89), Decision::Fail);
        check(GateKind::MeanKld, 0.1, interval(f64::NAN, f64::NAN, f64::NAN), Decision::Inconclusive);
        check(GateKind::MeanKld, 0.1, None, Decision::Inconclusive);
    }

    #[test]
    fn the_worst_gate_decides() {
        let gates = Gates::default();
        let verdict = |kld: Option<Interval>, accuracy: Option<Interval>| {
            judge(&gates, |kind| match kind {
                GateKind::MeanKld => kld,
                GateKind::AccuracyRatio => accuracy,
                _ => panic!("{kind:?} is off"),
            })
        };
        let good = interval(1.0, 0.99, 1.01);
        assert_eq!(verdict(interval(0.01, 0.0, 0.02), good).decision, Decision::Pass);
        assert_eq!(verdict(interval(0.01, 0.0, 0.02), None).decision, Decision::Inconclusive);
        assert_eq!(verdict(interval(0.5, 0.4, 0.6), None).decision, Decision::Fail);
        assert_eq!(verdict(None, None).gates.len(), 2, "those that are on");
        assert_eq!(judge(&Gates::OFF, |_| None).decision, Decision::Inconclusive, "no gate is no pass");
    }

    /// The measurements that the default limit was chosen from; see `MAX_MEAN_KLD`.
    #[test]
    fn levels_that_people_use_are_on_the_good_side_of_the_default_limit() {
        for (kld, is_good) in [
            (0.0014, true), // Llama 3 8B
            (0.031, true),
            (0.102, false),
            (0.445, false),
            (0.0040, true), // SmolLM2-135M
            (0.058, true),
            (0.11, false),
            (0.42, false),
            (0.024, true), // the bundled sample
            (0.27, false),
        ] {
            let decision = Decision::of(Some(Interval::exact(kld)), MAX_MEAN_KLD, GateKind::MeanKld.is_minimum());
            assert_eq!(decision == Decision::Pass, is_good, "{kld}");
        }
    }

    #[test]
    fn perplexity_decides_nothing_where_layers_are_recurrent() {
        let gates = Gates { max_ppl_ratio: Some(1.05), ..Gates::default() };
        assert_eq!(gates.meaningful(true), Gates::default());
        assert_eq!(gates.meaningful(false), gates);
    }

    #[test]
    fn a_result_says_its_numbers() {
        let result = |kind, limit, measured| GateResult { kind, limit, measured, decision: Decision::Pass }.text();
        assert_eq!(
            result(GateKind::AccuracyRatio, 0.95, interval(0.972, 0.961, 0.98)),
            "97.2 % of the reference (96.1 % to 98.0 %), at least 95.0 % of the reference wanted"
        );
        assert_eq!(result(GateKind::SameTop, 0.9, None), "not measured; at least 90.0 % wanted");
        assert_eq!(
            result(GateKind::MeanKld, 0.05, interval(0.0005, 0.0004, 0.002)),
            "5.0e-4 nats (4.0e-4 nats to 0.0020 nats), at most 0.0500 nats wanted"
        );
        let nothing = interval(f64::NAN, f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(
            result(GateKind::AccuracyRatio, 0.95, nothing),
            "unknown; at least 95.0 % of the reference wanted",
            "the reference is never right"
        );
    }

    #[test]
    fn gates_say_their_limits() {
        let text = "next-token accuracy at least 95.0 % of the reference, mean KL divergence at most 0.100 nats";
        assert_eq!(Gates::default().text(), text);
        assert_eq!(Gates::OFF.text(), "no gate");
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
    fn saved_limits_keep_gates_that_are_off() {
        let gates = Gates { min_accuracy_ratio: None, ..Gates::default() };
        let text = serde_json::to_string(&gates).unwrap();
        assert_eq!(serde_json::from_str::<Gates>(&text).unwrap(), gates);
    }
}
