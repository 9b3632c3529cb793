//! One scale of words for what a file loses, the same everywhere: the window, the command line, the report.

use serde::Serialize;

use super::Interval;
use crate::units::percent_text;

/// How much a file loses, in a word. Later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossWord {
    /// As good as the source for all that a person can tell.
    None,
    /// Other words now and then, as good as the source's.
    HardToNotice,
    /// A careful reader notices it beside the source.
    Slight,
    /// Answers are worse.
    Noticeable,
    /// Answers go astray.
    Broken,
}

/// `(word, largest mean KL divergence in nats, least fraction of equal next tokens)`; what is in no class is broken.
///
/// The steps of KL divergence are those between levels that people tell apart: on Llama 3 8B `Q8_0` has 0.0014, `Q6_K` 0.0055, `Q5_K_M`
/// 0.011, `Q4_K_M` 0.031, `Q3_K_M` 0.10, `Q2_K` 0.45 (its scoreboard in tools/perplexity/README.md, llama.cpp). Those of equal next tokens are what
/// the same divergence gives on SmolLM2-135M (0.004: 95.8 %, 0.058: 86 %, 0.14: 79 %, 0.42: 64 %; `benches/README.md`), rounded down:
/// they decide only where many near ties have changed sides.
const CLASSES: [(LossWord, f64, f64); 4] = [
    (LossWord::None, 0.005, 0.95),
    (LossWord::HardToNotice, 0.02, 0.9),
    (LossWord::Slight, 0.1, 0.8),
    (LossWord::Noticeable, 0.3, 0.7),
];

impl LossWord {
    /// The word on screen: `hard to notice`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "no visible loss",
            Self::HardToNotice => "hard to notice",
            Self::Slight => "slight",
            Self::Noticeable => "noticeable",
            Self::Broken => "broken",
        }
    }

    /// The word for a mean KL divergence in nats.
    #[must_use]
    pub fn of_kld(mean_kld: f64) -> Self {
        CLASSES.into_iter().find(|(_, most, _)| mean_kld <= *most).map_or(Self::Broken, |(word, ..)| word)
    }

    /// The word for a fraction of equal next tokens.
    #[must_use]
    pub fn of_same_top(same_top: f64) -> Self {
        CLASSES.into_iter().find(|(.., least)| same_top >= *least).map_or(Self::Broken, |(word, ..)| word)
    }
}

/// The loss of a file in words, from both numbers and their intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LossWords {
    /// The word for what was measured: the worse of the two numbers'.
    pub word: LossWord,
    /// The worst that the intervals allow.
    pub at_worst: LossWord,
}

impl LossWords {
    /// The words for a measurement; `None` where one of the two is not a number.
    #[must_use]
    pub fn of(mean_kld: Interval, same_top: Interval) -> Option<Self> {
        let word = |kld: f64, top: f64| LossWord::of_kld(kld).max(LossWord::of_same_top(top));
        (mean_kld.value.is_finite() && same_top.value.is_finite()).then(|| {
            let at = word(mean_kld.value, same_top.value);
            // An end that is unknown says nothing, so anything is possible.
            Self { word: at, at_worst: at.max(word(mean_kld.high, same_top.low)) }
        })
    }

    /// `slight`, or `slight?` where the intervals reach into worse classes: for a narrow column, beside `text` in full.
    #[must_use]
    pub fn short_text(self) -> String {
        let mark = if self.at_worst == self.word { "" } else { "?" };
        format!("{}{mark}", self.word.label())
    }

    /// `slight`, or `slight, perhaps noticeable` where the intervals reach into worse classes.
    #[must_use]
    pub fn text(self) -> String {
        if self.at_worst == self.word {
            self.word.label().into()
        } else {
            format!("{}, perhaps {}", self.word.label(), self.at_worst.label())
        }
    }
}

/// How often the next word is the source's, as people count: `9 of 10 next words the same`; `unknown` for what is not a number.
#[must_use]
pub fn same_words_text(same_top: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count up to 100")]
    let of = |n: f64| (same_top * n).round() as u64;
    match same_top {
        top if !top.is_finite() => "unknown".into(),
        top if top >= 1.0 => "all next words the same".into(),
        top if top >= 0.995 => "more than 99 of 100 next words the same".into(),
        top if top >= 0.95 => format!("{} of 100 next words the same", of(100.0)),
        _ => format!("{} of 10 next words the same", of(10.0)),
    }
}

/// What the words mean, for a tooltip.
#[must_use]
pub fn scale_text() -> String {
    let mut lines = vec!["What a file loses against its source, in five words:".to_string()];
    for (word, most, least) in CLASSES {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number up to 100")]
        let n = (least * 100.0).round() as u64;
        lines.push(format!("{}: KL divergence up to {most} nats, at least {n} of 100 next words the same", word.label()));
    }
    lines.push(format!("{}: beyond that", LossWord::Broken.label()));
    lines.push("The worse of the two numbers counts; “perhaps” names what the error bars still allow.".into());
    lines.push(WORDS_ARE_TOKENS.into());
    lines.join("\n")
}

/// What a next word is, for a tooltip.
pub const WORDS_ARE_TOKENS: &str = "Words are the model's word pieces (tokens), each about three quarters of an English word. “The same” \
    means that source and file put the same one first; another one is often as good.";

/// What to say about an accuracy that is not below the source's, or not known: a file cannot become better by losing bits.
/// `None` where it is plainly lower.
#[must_use]
pub fn accuracy_remark(accuracy_ratio: Interval) -> Option<String> {
    if !accuracy_ratio.value.is_finite() {
        return Some("accuracy is unknown: the source guesses no word of this text".into());
    }
    let text = accuracy_ratio.text(percent_text);
    if accuracy_ratio.low > 1.0 {
        let text = format!(
            "accuracy {text} of the source's: it guesses this text better by chance; the other numbers show what changed"
        );
        return Some(text);
    }
    accuracy_ratio.holds(1.0).then(|| format!("accuracy {text} of the source's is within the error: no difference was measured"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(value: f64, half: f64) -> Interval {
        Interval { value, low: value - half, high: value + half }
    }

    #[test]
    fn levels_get_the_words_that_people_use_for_them() {
        let check = |kld: f64, same_top: f64, expected: &str| {
            assert_eq!(
                LossWords::of(Interval::exact(kld), Interval::exact(same_top)).unwrap().text(),
                expected,
                "{kld} {same_top}"
            );
        };
        // Mean KL divergence and same top of SmolLM2-135M at Q8_0, Q4_K_M, Q3_K_M, Q2_K.
        check(0.0040, 0.958, "no visible loss");
        check(0.0584, 0.861, "slight");
        check(0.136, 0.795, "noticeable");
        check(0.419, 0.64, "broken");
        // Where many near ties have changed sides, the words count.
        check(0.004, 0.92, "hard to notice");
        check(0.0, 1.0, "no visible loss");
    }

    #[test]
    fn error_bars_are_part_of_the_words() {
        let check = |kld: Interval, expected: Option<&str>| {
            let found = LossWords::of(kld, Interval::exact(0.99)).map(LossWords::text);
            assert_eq!(found.as_deref(), expected, "{kld:?}");
            let short = LossWords::of(kld, Interval::exact(0.99)).map(LossWords::short_text);
            assert_eq!(short.is_some_and(|text| text.ends_with('?')), expected.is_some_and(|text| text.contains("perhaps")));
        };
        check(around(0.05, 0.02), Some("slight"));
        check(around(0.09, 0.02), Some("slight, perhaps noticeable"));
        check(around(0.05, f64::INFINITY), Some("slight, perhaps broken"));
        check(around(f64::NAN, 0.0), None);
    }

    #[test]
    fn next_words_are_counted_as_people_count() {
        let check = |same_top: f64, expected: &str| assert_eq!(same_words_text(same_top), expected);
        check(0.861, "9 of 10 next words the same");
        check(0.64, "6 of 10 next words the same");
        check(0.958, "96 of 100 next words the same");
        check(0.9991, "more than 99 of 100 next words the same");
        check(1.0, "all next words the same");
        check(f64::NAN, "unknown");
    }

    #[test]
    fn nothing_is_called_better_than_its_source() {
        let check = |accuracy: Interval, expected: Option<&str>| {
            let found = accuracy_remark(accuracy);
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        check(around(1.01, 0.04), Some("accuracy 101 ± 4 % of the source's is within the error: no difference was measured"));
        check(around(0.99, 0.04), Some("no difference was measured"));
        check(around(1.05, 0.01), Some("by chance;"));
        check(around(0.9, 0.01), None);
        check(around(f64::NAN, f64::INFINITY), Some("accuracy is unknown"));
    }

    #[test]
    fn the_scale_explains_every_word() {
        let text = scale_text();
        for word in [LossWord::None, LossWord::HardToNotice, LossWord::Slight, LossWord::Noticeable, LossWord::Broken] {
            assert!(text.contains(word.label()), "{text}");
        }
        assert!(text.contains("tokens") && text.contains("0.005 nats"));
    }
}
