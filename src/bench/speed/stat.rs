//! Repeated measurements in two numbers.

use crate::bench::Stat;

impl Stat {
    /// The middle value, the mean of the two middle ones for an even number; NaN without values.
    ///
    /// Not the mean: one round that another program disturbed would move it.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.get(middle), sorted.len() % 2) {
            (None, _) => f64::NAN,
            (Some(&upper), 1) => upper,
            (Some(&upper), _) => f64::midpoint(sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(upper), upper),
        }
    }

    /// The lowest value; NaN without values.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The highest value; NaN without values.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.values.iter().copied().fold(f64::NAN, f64::max)
    }

    /// Half the distance between the lowest and the highest value: the `±` after the median and the error bar of the plots. 0
    /// for one value, NaN without values.
    ///
    /// With the usual three rounds a standard deviation or a median deviation would claim to know more than three numbers tell.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.max() - self.min()) / 2.0
    }

    /// The spread as a part of the median; NaN without values or with a median of 0.
    #[must_use]
    pub fn relative_spread(&self) -> f64 {
        let median = self.median();
        if median == 0.0 { f64::NAN } else { self.spread() / median.abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_measurements_in_numbers() {
        let check = |values: &[f64], median: f64, spread: f64, relative: f64| {
            let stat = Stat { values: values.to_vec() };
            assert!((stat.median() - median).abs() < 1e-12, "median of {values:?} is {}", stat.median());
            assert!((stat.spread() - spread).abs() < 1e-12, "spread of {values:?} is {}", stat.spread());
            assert!(
                (stat.relative_spread() - relative).abs() < 1e-12,
                "relative spread of {values:?} is {}",
                stat.relative_spread()
            );
        };
        check(&[4.0], 4.0, 0.0, 0.0);
        check(&[3.0, 1.0], 2.0, 1.0, 0.5);
        check(&[10.0, 2.0, 4.0], 4.0, 4.0, 1.0);
        check(&[1.0, 2.0, 3.0, 100.0], 2.5, 49.5, 19.8);
    }

    #[test]
    fn nothing_measured_is_no_number() {
        let stat = Stat::default();
        assert!(
            [stat.median(), stat.min(), stat.max(), stat.spread(), stat.relative_spread()].iter().all(|value| value.is_nan())
        );
    }
}
