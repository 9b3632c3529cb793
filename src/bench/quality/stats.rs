//! Intervals from chunks: tokens of one chunk depend on each other, chunks hardly do, so chunks are what is drawn again.

use serde::{Deserialize, Serialize};

use super::TokenScore;
use crate::advise::Interval;
use crate::units::nan_from_null;

/// 97.5th percentile of the normal distribution.
const NORMAL_97_5: f64 = 1.959_964;
/// Drawings of the bootstrap.
pub(super) const N_RESAMPLES: usize = 1000;

/// Sums over the scored tokens of one chunk.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChunkSums {
    /// The chunk's number in the text.
    pub chunk_idx: u32,
    /// Index of the chunk's part in the text.
    pub part_idx: u32,
    /// Scored tokens.
    pub n: f64,
    /// KL divergences, in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub kld: f64,
    /// Negative log-probabilities of the true tokens by the reference, in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub nll_reference: f64,
    /// The same by the candidate.
    #[serde(deserialize_with = "nan_from_null")]
    pub nll_candidate: f64,
    /// Tokens at which both put the same token first.
    pub same_top: f64,
    /// Tokens that the reference predicts right.
    pub right_reference: f64,
    /// Tokens that the candidate predicts right.
    pub right_candidate: f64,
    /// Squared changes of the true token's probability.
    #[serde(deserialize_with = "nan_from_null")]
    pub delta_p_squared: f64,
}

impl ChunkSums {
    /// The sums of a chunk's tokens.
    #[must_use]
    pub fn from_tokens(chunk_idx: u32, part_idx: u32, tokens: &[TokenScore]) -> Self {
        let mut sums = Self { chunk_idx, part_idx, ..Self::default() };
        for token in tokens {
            sums.n += 1.0;
            sums.kld += token.kld;
            sums.nll_reference -= token.logp_reference;
            sums.nll_candidate -= token.logp_candidate;
            sums.same_top += f64::from(u8::from(token.top_reference == token.top_candidate));
            sums.right_reference += f64::from(u8::from(token.top_reference == token.id));
            sums.right_candidate += f64::from(u8::from(token.top_candidate == token.id));
            sums.delta_p_squared += (token.logp_candidate.exp() - token.logp_reference.exp()).powi(2);
        }
        sums
    }
}

/// Two sums per chunk whose quotient is the statistic: a mean is a sum over a count, a ratio one sum over another.
#[derive(Debug, Clone)]
pub(super) struct Quotient {
    pairs: Vec<(f64, f64)>,
}

impl Quotient {
    pub(super) fn new(chunks: &[ChunkSums], part: impl Fn(&ChunkSums) -> f64, whole: impl Fn(&ChunkSums) -> f64) -> Self {
        Self { pairs: chunks.iter().map(|chunk| (part(chunk), whole(chunk))).collect() }
    }

    /// The quotient of the sums; NaN when the divisor is 0.
    pub(super) fn value(&self) -> f64 {
        quotient(self.pairs.iter().copied())
    }

    /// Standard error of the quotient, chunks being independent; infinite for fewer than two chunks.
    ///
    /// Source: the delta method for ratio estimators, Cochran, "Sampling Techniques", 3rd edition, section 6.4.
    pub(super) fn standard_error(&self) -> f64 {
        standard_error(&self.pairs, self.value())
    }

    /// A 95 % interval by the bootstrap over chunks: percentiles of the drawings, moved away from the value by what few chunks hide.
    ///
    /// The plain percentiles of a few chunks are too narrow, and the studentized ones of four chunks are wider than anybody believes. When
    /// all chunks agree the interval has no width; `bounded_proportion` mends that for parts of a whole.
    ///
    /// Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section 5.3 (expanded
    /// percentile interval).
    pub(super) fn interval(&self, seed: u64) -> Interval {
        let value = self.value();
        let n = self.pairs.len();
        if n < 2 || !value.is_finite() {
            return Interval { value, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let mut drawn: Vec<f64> = (0..N_RESAMPLES)
            .map(|_| quotient((0..n).map(|_| self.pairs.get(random.usize(..n)).copied().unwrap_or_default())))
            .filter(|drawn| drawn.is_finite())
            .collect();
        drawn.sort_by(f64::total_cmp);
        let expansion = student_quantile(0.05, n - 1) / NORMAL_97_5 * (count(n) / count(n - 1)).sqrt();
        let cut = N_RESAMPLES / 40;
        let end = |idx: usize| value + (drawn.get(idx).copied().unwrap_or(value) - value) * expansion;
        Interval { value, low: end(cut).min(value), high: end(drawn.len().saturating_sub(1 + cut)).max(value) }
    }

    /// Bounds that hold at this level, from the chunks' deviations alone: no random numbers, so that a verdict does not depend on them.
    ///
    /// Student's bounds, corrected for skewed chunks: the plain ones of a quantity with rare large values lie too low.
    ///
    /// Source: Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical Society B 54, 1992, section 2.
    pub(super) fn student_interval(&self, alpha: f64) -> Interval {
        let value = self.value();
        let error = self.standard_error();
        if error == 0.0 {
            return Interval::exact(value);
        }
        let n = count(self.pairs.len());
        let quantile = student_quantile(alpha, self.pairs.len().saturating_sub(1));
        let deviations: Vec<f64> = self.pairs.iter().map(|pair| pair.0 - value * pair.1).collect();
        let moment = |power: i32| deviations.iter().map(|deviation| deviation.powi(power)).sum::<f64>() / n;
        let skew = moment(3) / moment(2).powf(1.5) / n.sqrt();
        let corrected = |x: f64| if skew.abs() < 1e-9 { x } else { ((1.0 + skew * (x - skew / 6.0)).cbrt() - 1.0) * 3.0 / skew };
        let (low, high) = (value - error * corrected(quantile), value - error * corrected(-quantile));
        Interval { value, low: low.min(value), high: high.max(value) }
    }
}

fn quotient(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (part, whole) = pairs.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    part / whole
}

fn standard_error(pairs: &[(f64, f64)], value: f64) -> f64 {
    if pairs.len() < 2 {
        return f64::INFINITY;
    }
    let n = count(pairs.len());
    let whole: f64 = pairs.iter().map(|pair| pair.1).sum();
    let squares: f64 = pairs.iter().map(|pair| (pair.0 - value * pair.1).powi(2)).sum();
    (squares * n / (n - 1.0)).sqrt() / whole
}

#[allow(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}

/// Widens an interval of a part of a whole so that agreement of all tokens is not certainty: the exact bound for no exception among `n`.
///
/// Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", 1934.
pub(super) fn bounded_proportion(interval: Interval, n: f64, alpha: f64) -> Interval {
    let exception = 1.0 - (alpha / 2.0).powf(1.0 / n.max(1.0));
    let low = if interval.value >= 1.0 { interval.low.min(1.0 - exception) } else { interval.low };
    let high = if interval.value <= 0.0 { interval.high.max(exception) } else { interval.high };
    Interval { value: interval.value, low: low.clamp(0.0, 1.0), high: high.clamp(0.0, 1.0) }
}

/// Percentiles of the tokens with 95 % intervals by the bootstrap over chunks; `tokens` has one list per chunk, `parts` are between 0 and 1.
///
/// A percentile beyond `1 - 1 / n` is the largest value; its interval then only says how the largest values of other chunks look.
pub(super) fn percentiles(tokens: &[Vec<f64>], parts: &[f64], seed: u64) -> Vec<Interval> {
    let all: Vec<f64> = tokens.iter().flatten().copied().collect();
    let values = percentiles_of(all, parts);
    let mut random = fastrand::Rng::with_seed(seed);
    // Sorting dominates: a fifth of the drawings still places the ends of a 95 % interval.
    let n_resamples = N_RESAMPLES / 5;
    let mut drawn: Vec<Vec<f64>> = vec![Vec::with_capacity(n_resamples); parts.len()];
    for _ in 0..n_resamples {
        let resample: Vec<f64> = (0..tokens.len()).flat_map(|_| tokens[random.usize(..tokens.len())].iter().copied()).collect();
        for (values, value) in drawn.iter_mut().zip(percentiles_of(resample, parts)) {
            values.push(value);
        }
    }
    values
        .into_iter()
        .zip(drawn)
        .map(|(value, mut drawn)| {
            drawn.sort_by(f64::total_cmp);
            let cut = n_resamples / 40;
            let low = drawn.get(cut).copied().unwrap_or(value);
            let high = drawn.get(drawn.len().saturating_sub(1 + cut)).copied().unwrap_or(value);
            Interval { value, low: low.min(value), high: high.max(value) }
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index between 0 and the length")]
fn percentiles_of(mut values: Vec<f64>, parts: &[f64]) -> Vec<f64> {
    if values.is_empty() {
        return vec![f64::NAN; parts.len()];
    }
    let last = values.len() - 1;
    parts
        .iter()
        .map(|part| {
            let idx = ((part * count(last)).round() as usize).min(last);
            *values.select_nth_unstable_by(idx, f64::total_cmp).1
        })
        .collect()
}

/// The part of the allowed error that may be used up when a part `t` (0 to 1) of all tokens is known.
///
/// Early looks get a fair share, so that a hopeless or a harmless level is recognised after a thousand tokens; all looks together never
/// use more than `alpha`.
///
/// Source: Lan and `DeMets`, "Discrete sequential boundaries for clinical trials", Biometrika 70, 1983, spending function α2*.
pub(super) fn spent_alpha(alpha: f64, t: f64) -> f64 {
    alpha * ((std::f64::consts::E - 1.0) * t.clamp(0.0, 1.0)).ln_1p()
}

/// Difference of two candidates' mean KL divergence in nats (first minus second) on the chunks that both were measured on, paired by chunk;
/// `None` when there are fewer than two such chunks.
#[must_use]
pub fn paired_difference(first: &[ChunkSums], second: &[ChunkSums], seed: u64) -> Option<Interval> {
    let pairs: Vec<(f64, f64)> = first
        .iter()
        .filter_map(|one| {
            let other = second.iter().find(|other| other.chunk_idx == one.chunk_idx && (other.n - one.n).abs() < 0.5)?;
            Some((one.kld - other.kld, one.n))
        })
        .collect();
    (pairs.len() >= 2).then(|| Quotient { pairs }.interval(seed))
}

/// `t` with `P(|T| > t) = alpha` for Student's distribution with `df` degrees of freedom; infinite for none.
///
/// Source: Hill, "Algorithm 396: Student's t-quantiles", Communications of the ACM 13, 1970. Exact for one and two degrees of
/// freedom.
pub(super) fn student_quantile(alpha: f64, df: usize) -> f64 {
    let n = count(df);
    if df == 0 {
        return f64::INFINITY;
    }
    if df == 1 {
        return 1.0 / (alpha * std::f64::consts::FRAC_PI_2).tan();
    }
    if df == 2 {
        return (2.0 / (alpha * (2.0 - alpha)) - 2.0).sqrt();
    }
    let a = 1.0 / (n - 0.5);
    let b = 48.0 / (a * a);
    let mut c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * std::f64::consts::FRAC_PI_2).sqrt() * n;
    let mut x = d * alpha;
    let mut y = x.powf(2.0 / n);
    if y > 0.05 + a {
        x = normal_quantile(alpha * 0.5);
        y = x * x;
        if df < 5 {
            c += 0.3 * (n - 4.5) * (x + 0.6);
        }
        c += ((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0 * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = (a * y * y).exp_m1();
    } else {
        y = ((1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * y - 1.0) * (n + 1.0)
            / (n + 2.0)
            + 1.0 / y;
    }
    (n * y).sqrt()
}

/// `x` with `P(X < x) = p` for the normal distribution.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.2.23; error below 4.5e-4.
fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p);
    let t = (-2.0 * tail.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let x = t - numerator / denominator;
    if p < 0.5 { -x } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, tolerance: f64) {
        assert!((value - expected).abs() <= tolerance, "{value}, expected {expected}");
    }

    #[test]
    fn student_quantiles_are_those_of_the_tables() {
        for (alpha, df, expected) in [
            (0.05, 1, 12.706),
            (0.05, 2, 4.303),
            (0.05, 3, 3.182),
            (0.05, 10, 2.228),
            (0.05, 30, 2.042),
            (0.05, 120, 1.980),
            (0.01, 4, 4.604),
            (0.001, 7, 5.408),
            (0.002, 3, 10.215),
            (0.9, 5, 0.132),
        ] {
            near(student_quantile(alpha, df), expected, 0.004 * expected);
        }
        assert!(student_quantile(0.05, 0).is_infinite());
    }

    #[test]
    fn all_looks_together_spend_the_allowed_error() {
        near(spent_alpha(0.05, 0.0), 0.0, 1e-12);
        near(spent_alpha(0.05, 1.0), 0.05, 1e-12);
        let looks = [0.1, 0.2, 0.4, 0.8, 1.0].map(|t| spent_alpha(0.05, t));
        assert!(looks.is_sorted());
    }

    /// Skewed chunk means with a true mean of 1: exponentials to the power of two, halved; skewness 1.2.
    fn skewed(random: &mut fastrand::Rng) -> f64 {
        (0..32).map(|_| (-(1.0 - random.f64()).ln()).powi(2) / 2.0).sum::<f64>() / 32.0
    }

    fn quotient_of(random: &mut fastrand::Rng, n: usize) -> Quotient {
        Quotient { pairs: (0..n).map(|_| (skewed(random) * 100.0, 100.0)).collect() }
    }

    #[test]
    fn ninety_five_per_cent_intervals_cover_the_truth_that_often() {
        let mut random = fastrand::Rng::with_seed(1);
        for n_chunks in [8, 40] {
            let n_covered = (0..300_u64)
                .filter(|&seed| {
                    let interval = quotient_of(&mut random, n_chunks).interval(seed);
                    interval.low <= 1.0 && 1.0 <= interval.high
                })
                .count();
            // The standard error of the part is 1.3 %; skewed data and few chunks cost some cover.
            assert!((270..=300).contains(&n_covered), "{n_covered} of 300 with {n_chunks} chunks");
        }
    }

    #[test]
    fn looking_again_and_again_errs_no_more_often_than_allowed() {
        let mut random = fastrand::Rng::with_seed(2);
        let n_wrong = (0..400)
            .filter(|_| {
                let all = quotient_of(&mut random, 64);
                let mut spent = 0.0;
                [4_usize, 8, 16, 32, 64].iter().any(|&n| {
                    let now = spent_alpha(0.05, count(n) / 64.0);
                    let interval = Quotient { pairs: all.pairs[..n].to_vec() }.student_interval(now - spent);
                    spent = now;
                    interval.low > 1.0 || interval.high < 1.0
                })
            })
            .count();
        // 5 % of 400 are 20, with a standard error of 4.4; the heavy skew of this example costs some more.
        assert!(n_wrong <= 32, "{n_wrong} of 400 ended wrongly");
    }

    #[test]
    fn intervals_are_the_same_for_the_same_seed_and_narrow_with_more_chunks() {
        let mut random = fastrand::Rng::with_seed(3);
        let many = quotient_of(&mut random, 100);
        let few = Quotient { pairs: many.pairs[..10].to_vec() };
        assert_eq!(many.interval(7), many.interval(7));
        assert!(many.interval(7).half_width() < few.interval(7).half_width());
    }

    #[test]
    fn agreement_of_all_tokens_is_not_certainty() {
        let agreed = Quotient { pairs: vec![(255.0, 255.0); 8] };
        let interval = bounded_proportion(agreed.interval(1), 2040.0, 0.05);
        near(interval.low, 1.0 - 3.69 / 2040.0, 1e-5);
        near(interval.high, 1.0, 0.0);
        let single = Quotient { pairs: vec![(1.0, 2.0)] };
        assert!(single.interval(1).half_width().is_infinite(), "one chunk says nothing about its error");
    }

    #[test]
    fn percentiles_lie_in_their_intervals() {
        let tokens: Vec<Vec<f64>> = (0..10).map(|chunk| (0..100).map(|idx| f64::from(idx * 10 + chunk)).collect()).collect();
        let found = percentiles(&tokens, &[0.5, 0.9, 0.999], 1);
        for (interval, expected) in found.iter().zip([500.0, 899.0, 998.0]) {
            near(interval.value, expected, 1.0);
            assert!(interval.low <= interval.value && interval.value <= interval.high, "{interval:?}");
        }
        assert!(percentiles(&[], &[0.5], 1)[0].value.is_nan());
    }

    #[test]
    fn a_paired_difference_is_narrower_than_its_parts() {
        let mut random = fastrand::Rng::with_seed(5);
        let chunk = |chunk_idx: u32, kld: f64| ChunkSums { chunk_idx, n: 100.0, kld, ..ChunkSums::default() };
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for idx in 0..20 {
            let common = skewed(&mut random) * 100.0;
            one.push(chunk(idx, common + 10.0 + random.f64()));
            other.push(chunk(idx, common));
        }
        let difference = paired_difference(&one, &other, 1).unwrap();
        assert!(difference.low > 0.09 && difference.high < 0.12, "{difference:?}");
        assert_eq!(paired_difference(&one, &[], 1), None);
    }
}
