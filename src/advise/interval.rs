//! A measured value with the ends of its confidence interval.

use serde::{Deserialize, Serialize};

use crate::units::{nan_from_null, rounded_like};

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

    /// The interval with `f` applied to the value and both ends; `f` must not decrease.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { value: f(self.value), low: f(self.low), high: f(self.high) }
    }

    /// The value and half the width of its interval, both in the unit of `text`, with one percent sign: `95.3 ± 0.8 %`.
    ///
    /// What is not known is one word: `unknown`, or `95.3 % ± unknown`.
    #[must_use]
    pub fn text(&self, text: impl Fn(f64) -> String) -> String {
        if !self.value.is_finite() {
            return "unknown".into();
        }
        let value = text(self.value);
        if !self.half_width().is_finite() {
            return format!("{value} ± unknown");
        }
        let half = text(self.half_width());
        let half = half.trim_end_matches(" %");
        let unit = if value.ends_with(" %") { " %" } else { "" };
        let value = value.trim_end_matches(" %");
        // A number with commas between its thousands does not parse: it stays as it is.
        let rounded = half.parse().map_or_else(|_| half.to_string(), |number| rounded_like(value, number, half));
        format!("{value} ± {rounded}{unit}")
    }

    /// True when this value lies between the ends.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Half its width: the `±` behind the value.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{nats_text, percent_text, significant_text};

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
    fn what_is_unknown_is_one_word() {
        let check = |value: f64, half: f64, expected: &str| {
            assert_eq!(Interval { value, low: value - half, high: value + half }.text(percent_text), expected);
        };
        check(f64::NAN, f64::NAN, "unknown");
        check(f64::INFINITY, 0.1, "unknown");
        check(0.953, f64::INFINITY, "95.3 % ± unknown");
    }
}
