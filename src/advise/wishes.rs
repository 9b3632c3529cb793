//! The user's wishes for size, memory and speed: judged beside the verdict, never part of it.

use serde::{Deserialize, Serialize};

use super::{Decision, Goal, Interval};
use crate::units::{bytes_text, duration_text, percent_text, significant_text};

/// What a wish is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WishKind {
    /// Peak memory as a fraction of the source's; the limit is a maximum.
    MemoryRatio,
    /// Peak memory in bytes; the limit is a maximum and is set in the goal.
    Memory,
    /// File size as a fraction of the source's; the limit is a maximum.
    SizeRatio,
    /// Decode speed as a multiple of the source's; the limit is a minimum.
    SpeedRatio,
    /// Time to read the measured prompt, in seconds; the limit is a maximum.
    FirstToken,
}

impl WishKind {
    /// The kinds that are set beside the gates, in the order of the screen. `Memory` is set in the goal.
    pub const SET: [Self; 4] = [Self::MemoryRatio, Self::SizeRatio, Self::SpeedRatio, Self::FirstToken];

    /// The name on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::MemoryRatio => "Peak memory",
            Self::Memory => "Memory limit",
            Self::SizeRatio => "File size",
            Self::SpeedRatio => "Decode speed",
            Self::FirstToken => "Time to first token",
        }
    }

    /// True when the limit is the least that is wished; false when it is the most.
    #[must_use]
    pub fn is_minimum(self) -> bool {
        self == Self::SpeedRatio
    }

    /// `(granted, not granted, what it is about)`: `fast enough`, `too slow`, `speed`.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::MemoryRatio | Self::Memory => ("memory low enough", "too much memory", "memory"),
            Self::SizeRatio => ("small enough", "too large", "size"),
            Self::SpeedRatio => ("fast enough", "too slow", "speed"),
            Self::FirstToken => ("first token soon enough", "first token too late", "time to first token"),
        }
    }

    /// A number without its unit, and the unit: `("1.7", " ×")`.
    fn number_and_unit(self, value: f64) -> (String, String) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, shown with three digits")]
        let text = match self {
            _ if !value.is_finite() => "unknown".to_string(),
            Self::MemoryRatio | Self::SizeRatio => percent_text(value),
            Self::Memory => bytes_text(value.max(0.0) as u64),
            Self::SpeedRatio => format!("{} ×", significant_text(value)),
            Self::FirstToken => duration_text(value),
        };
        match text.split_once(' ') {
            Some((number, unit)) => (number.to_string(), format!(" {unit}")),
            None => (text, String::new()),
        }
    }

    /// `at least 2.00 ×`.
    fn bound_text(self, limit: f64) -> String {
        let (limit, unit) = self.number_and_unit(limit);
        format!("{} {limit}{unit}", if self.is_minimum() { "at least" } else { "at most" })
    }

    /// `1.70 of 2.00 ×`; with both units where they differ: `1.20 s of 800 ms`.
    fn pair_text(self, value: f64, limit: f64) -> String {
        let ((value, value_unit), (limit, limit_unit)) = (self.number_and_unit(value), self.number_and_unit(limit));
        let value_unit = if value_unit == limit_unit { "" } else { value_unit.as_str() };
        format!("{value}{value_unit} of {limit}{limit_unit}")
    }
}

/// The wishes; `None` for what the user has not asked for. All are off at first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Largest peak memory as a part of the source's.
    pub max_memory_ratio: Option<f64>,
    /// Largest file as a part of the source's.
    pub max_size_ratio: Option<f64>,
    /// Least decode speed as a multiple of the source's.
    pub min_speed_ratio: Option<f64>,
    /// Longest time to read the measured prompt, in seconds.
    pub max_first_token_secs: Option<f64>,
}

impl Wishes {
    /// The limit of a kind; `None` when nothing is wished, and for `Memory`, which is the goal's.
    #[must_use]
    pub fn limit(&self, kind: WishKind) -> Option<f64> {
        match kind {
            WishKind::MemoryRatio => self.max_memory_ratio,
            WishKind::Memory => None,
            WishKind::SizeRatio => self.max_size_ratio,
            WishKind::SpeedRatio => self.min_speed_ratio,
            WishKind::FirstToken => self.max_first_token_secs,
        }
    }

    /// The wishes as part of a sentence: `decode speed at least 2.00 ×`; `none` without any.
    #[must_use]
    pub fn text(&self) -> String {
        let wish = |kind: WishKind| Some(format!("{} {}", kind.label().to_lowercase(), kind.bound_text(self.limit(kind)?)));
        let wishes: Vec<String> = WishKind::SET.into_iter().filter_map(wish).collect();
        if wishes.is_empty() { "none".into() } else { wishes.join(", ") }
    }

    /// Sets the limit of a kind; the one of `Memory` is set in the goal and stays as it is.
    pub fn set_limit(&mut self, kind: WishKind, limit: Option<f64>) {
        match kind {
            WishKind::MemoryRatio => self.max_memory_ratio = limit,
            WishKind::Memory => {}
            WishKind::SizeRatio => self.max_size_ratio = limit,
            WishKind::SpeedRatio => self.min_speed_ratio = limit,
            WishKind::FirstToken => self.max_first_token_secs = limit,
        }
    }
}

/// One wish with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WishResult {
    /// What it is about.
    pub kind: WishKind,
    /// What was wished.
    pub limit: f64,
    /// What was measured; `None` when it was not.
    pub measured: Option<Interval>,
    /// Whether it is granted, as far as the rounds tell.
    pub decision: Decision,
}

impl WishResult {
    /// The wish in words: `too slow for your wish: 1.70 of 2.00 ×`.
    #[must_use]
    pub fn text(&self) -> String {
        let (granted, refused, subject) = self.kind.words();
        let Some(Interval { value, .. }) = self.measured else {
            return format!("{subject} not measured; you want {}", self.kind.bound_text(self.limit));
        };
        let pair = self.kind.pair_text(value, self.limit);
        match self.decision {
            Decision::Pass => format!("{granted} for your wish: {pair}"),
            Decision::Fail => format!("{refused} for your wish: {pair}"),
            Decision::Inconclusive => format!("cannot tell whether the {subject} meets your wish: {pair}"),
        }
    }
}

/// Holds what was measured against the wishes and the goal's limit of memory; `measured` gives the interval of a kind, `None` where
/// nothing was measured.
#[must_use]
pub fn judge_wishes(wishes: &Wishes, goal: &Goal, measured: impl Fn(WishKind) -> Option<Interval>) -> Vec<WishResult> {
    #[allow(clippy::cast_precision_loss, reason = "a limit that a person has typed")]
    let of_goal = goal.memory_budget_bytes.map(|limit| (WishKind::Memory, limit as f64));
    let set = WishKind::SET.into_iter().filter_map(|kind| Some((kind, wishes.limit(kind)?)));
    of_goal
        .into_iter()
        .chain(set)
        .map(|(kind, limit)| {
            let measured = measured(kind);
            WishResult { kind, limit, measured, decision: Decision::of(measured, limit, kind.is_minimum()) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(kind: WishKind, limit: f64, measured: Option<(f64, f64, f64)>) -> WishResult {
        let mut wishes = Wishes::default();
        wishes.set_limit(kind, Some(limit));
        let measured = measured.map(|(value, low, high)| Interval { value, low, high });
        judge_wishes(&wishes, &Goal::default(), |_| measured).remove(0)
    }

    #[test]
    fn nothing_is_wished_at_first() {
        assert_eq!(judge_wishes(&Wishes::default(), &Goal::default(), |_| None), []);
    }

    #[test]
    fn a_wish_says_what_is_missing() {
        let check = |kind, limit, measured, expected: &str| assert_eq!(result(kind, limit, measured).text(), expected);
        check(WishKind::SpeedRatio, 2.0, Some((1.7, 1.6, 1.8)), "too slow for your wish: 1.70 of 2.00 ×");
        check(WishKind::SpeedRatio, 2.0, Some((2.5, 2.4, 2.6)), "fast enough for your wish: 2.50 of 2.00 ×");
        check(WishKind::SpeedRatio, 2.0, Some((2.1, 1.9, 2.3)), "cannot tell whether the speed meets your wish: 2.10 of 2.00 ×");
        check(WishKind::SpeedRatio, 2.0, None, "speed not measured; you want at least 2.00 ×");
        check(WishKind::MemoryRatio, 0.5, Some((0.6, 0.6, 0.6)), "too much memory for your wish: 60.0 of 50.0 %");
        check(WishKind::SizeRatio, 0.5, Some((0.3, 0.3, 0.3)), "small enough for your wish: 30.0 of 50.0 %");
        check(WishKind::FirstToken, 0.5, Some((1.5, 1.4, 1.6)), "first token too late for your wish: 1.5 s of 500 ms");
    }

    #[test]
    fn the_goals_limit_of_memory_is_a_wish() {
        let goal = Goal { memory_budget_bytes: Some(2 << 30), ..Goal::default() };
        let of = |bytes: f64| judge_wishes(&Wishes::default(), &goal, |_| Some(Interval::exact(bytes)));
        let found = of(f64::from(3 << 29) * 2.0);
        assert_eq!((found.len(), found[0].text().as_str()), (1, "too much memory for your wish: 3.00 of 2.00 GiB"));
        assert_eq!(of(f64::from(1 << 30))[0].decision, Decision::Pass);
    }
}
