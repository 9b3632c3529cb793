//! A quantity of the comparison: what was predicted and what was measured, as numbers and as text.

use crate::advise::{Band, Basis};
use crate::bench::{ComparisonRow, Stat};
pub use crate::units::plus_minus_text as measured_text;
use crate::units::significant_text;

/// A quantity with what was predicted and what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pair {
    /// The prediction; low and high are the same where there is no band.
    pub predicted: Option<Band>,
    /// Median and spread of the measurements.
    pub measured: Option<(f64, f64)>,
    /// How the prediction came about.
    pub basis: Basis,
}

impl Pair {
    /// Measured divided by predicted; `None` unless both are known and the prediction is above 0.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        let predicted = self.predicted?.mid;
        let (measured, _) = self.measured?;
        (predicted > 0.0).then(|| measured / predicted)
    }

    /// The largest number that a plot of it must hold: the end of the band or of the error bar.
    #[must_use]
    pub fn highest(self) -> f64 {
        let predicted = self.predicted.map_or(0.0, |band| band.high);
        self.measured.map_or(predicted, |(mid, spread)| predicted.max(mid + spread))
    }
}

/// Median and spread of a measured quantity; `None` without values.
#[must_use]
pub fn measured(stat: &Stat) -> Option<(f64, f64)> {
    (!stat.values.is_empty()).then(|| (stat.median(), stat.spread()))
}

/// Decode speed of a row in tokens per second.
#[must_use]
pub fn decode_pair(row: &ComparisonRow) -> Pair {
    Pair {
        predicted: row.predicted_decode_tokens_per_sec,
        measured: row.telling_run().and_then(|run| measured(&run.decode_tokens_per_sec)),
        basis: row.decode_basis,
    }
}

/// Prefill speed of a row in tokens per second.
#[must_use]
pub fn prefill_pair(row: &ComparisonRow) -> Pair {
    Pair {
        predicted: row.predicted_prefill_tokens_per_sec,
        measured: row.telling_run().and_then(|run| measured(&run.prefill_tokens_per_sec)),
        basis: row.prefill_basis,
    }
}

/// Memory of a row in bytes. The peak over all rounds is one number, so it has no spread.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn memory_pair(row: &ComparisonRow) -> Pair {
    Pair {
        predicted: row.predicted_memory_bytes.map(|size_bytes| {
            let mid = size_bytes as f64;
            Band { low: mid, mid, high: mid }
        }),
        measured: row.telling_run().map(|run| (run.peak_memory_bytes as f64, 0.0)),
        basis: row.memory_basis,
    }
}

/// The same pair in a unit that is `scale` times as large.
#[must_use]
pub fn pair_scaled(pair: Pair, scale: f64) -> Pair {
    Pair {
        predicted: pair.predicted.map(|band| Band { low: band.low / scale, mid: band.mid / scale, high: band.high / scale }),
        measured: pair.measured.map(|(mid, spread)| (mid / scale, spread / scale)),
        basis: pair.basis,
    }
}

/// The known numbers in words, one line each, the measured one first.
#[must_use]
pub fn pair_text(pair: Pair, unit: &str) -> String {
    let mut lines = Vec::new();
    if let Some((mid, spread)) = pair.measured {
        let text = if spread > 0.0 { measured_text(mid, spread) } else { significant_text(mid) };
        lines.push(format!("measured {text} {unit}"));
    }
    if let Some(band) = pair.predicted {
        let range = if band.low < band.high {
            format!(" ({}–{})", significant_text(band.low), significant_text(band.high))
        } else {
            String::new()
        };
        lines.push(format!("{} {}{range} {unit}", pair.basis.word(), significant_text(band.mid)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_no_more_precise_than_their_median() {
        let check = |mid, spread, expected: &str| assert_eq!(measured_text(mid, spread), expected);
        check(168.2, 7.58, "168 ± 8");
        check(16.82, 0.758, "16.8 ± 0.8");
        check(168.2, 0.2, "168 ± 0.200");
        check(168.2, 0.0, "168 ± 0");
        check(1668.6, 41.7, "1,669 ± 42");
    }

    #[test]
    fn ratio_needs_both_numbers() {
        let band = Band { low: 30.0, mid: 40.0, high: 50.0 };
        let ratio = |predicted, measured| Pair { predicted, measured, ..Pair::default() }.ratio();
        assert_eq!(ratio(Some(band), Some((50.0, 1.0))), Some(1.25));
        assert_eq!(ratio(None, Some((50.0, 1.0))), None);
        assert_eq!(ratio(Some(band), None), None);
        assert_eq!(ratio(Some(Band { low: 0.0, mid: 0.0, high: 0.0 }), Some((50.0, 1.0))), None);
    }

    #[test]
    fn the_axis_holds_bands_and_spreads() {
        let band = Band { low: 30.0, mid: 40.0, high: 50.0 };
        let check = |measured, expected: f64| {
            let highest = Pair { predicted: Some(band), measured, ..Pair::default() }.highest();
            assert!((highest - expected).abs() < 1e-9, "{highest}");
        };
        check(None, 50.0);
        check(Some((45.0, 2.0)), 50.0);
        check(Some((60.0, 2.0)), 62.0);
    }
}
