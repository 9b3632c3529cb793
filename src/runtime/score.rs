//! The arithmetic of a comparison: what is kept of the reference's answer, and the candidate's KL divergence from it.
//!
//! A full answer of a model with 49,152 tokens is 196 kB for each position. Kept are its likeliest tokens exactly, and of the rest a
//! sample drawn by probability. With `f(r) = r - 1 - ln r`, which is never negative, the divergence is
//!
//! ```text
//! KL(p, q) = Σ p ln(p / q) = Σ p f(q / p)        because Σ (q - p) = 0
//!          ≈ Σ p f(q / p) over the likeliest + tail mass · mean of f(q / p) over the sample
//! ```
//!
//! The first sum is exact, the second an unbiased estimate of the small rest. Equal models give 0 up to rounding, of second order.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Likeliest tokens that are kept for each position.
pub const N_TOP: usize = 256;
/// Draws from the other tokens.
pub const N_TAIL: usize = 96;

/// What is kept of the reference's answer at one position: 2,832 bytes in a file, for a vocabulary of at least 256 tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceRow {
    /// The token that the text has.
    pub id: u32,
    /// Its log-probability in nats.
    pub logp: f32,
    /// Probability of all tokens that are not in `top`, together.
    pub tail_mass: f32,
    /// The likeliest tokens with their log-probabilities, the likeliest first; `N_TOP`, or all of a smaller vocabulary.
    pub top: Vec<(u32, f32)>,
    /// Tokens drawn from the others with their log-probabilities, in the order of their ids; `N_TAIL`, or none when there are no others.
    pub tail: Vec<(u32, f32)>,
}

/// What the candidate says about one position, beside the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RowScore {
    /// KL divergence in nats.
    pub kld: f64,
    /// Log-probability of the true token by the candidate, in nats.
    pub logp: f64,
    /// The token that the candidate puts first; the lowest of equals.
    pub top: u32,
    /// Its probability by the candidate.
    pub p_top: f32,
    /// Probability that the candidate gives the reference's first.
    pub p_reference_top: f32,
    /// Probability that the reference gives the candidate's first; `None` when it was not kept.
    pub p_top_by_reference: Option<f32>,
}

/// Index of the highest logit and the logarithm of `Σ exp(logit)`; `None` when a logit is NaN or infinite, or without logits.
#[must_use]
pub fn log_normalizer(logits: &[f32]) -> Option<(u32, f64)> {
    let (mut top, mut max) = (0, f32::NEG_INFINITY);
    let mut is_finite = true;
    for (idx, &logit) in (0..).zip(logits) {
        is_finite &= logit.is_finite();
        if logit > max {
            (top, max) = (idx, logit);
        }
    }
    (is_finite && !logits.is_empty()).then(|| (top, f64::from(max) + exp_sum(logits, max).ln()))
}

/// `Σ exp(logit - max)`; relative error below 1e-6.
fn exp_sum(logits: &[f32], max: f32) -> f64 {
    // Short blocks in single precision, which compilers turn into vector instructions, added up in double precision.
    logits
        .chunks(64)
        .map(|block| {
            let mut lanes = [0.0_f32; 8];
            let (eights, rest) = block.as_chunks::<8>();
            for eight in eights {
                for (lane, &logit) in lanes.iter_mut().zip(eight) {
                    *lane += exp_negative(logit - max);
                }
            }
            f64::from(lanes.iter().sum::<f32>() + rest.iter().map(|&logit| exp_negative(logit - max)).sum::<f32>())
        })
        .sum()
}

/// `exp(x)` for `x <= 0`; 0 below -87.
///
/// `x = n ln 2 + r` with the nearest integer `n`, the exponential of `r` by its Taylor series to the sixth power: the rest is
/// below `(ln 2 / 2)^7 / 7! = 1.2e-7`.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::excessive_precision, reason = "n lies between -126 and 0")]
fn exp_negative(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 in two parts, so that n times the first is exact. Source: Cody and Waite, "Software Manual for the Elementary Functions", 1980.
    const LN_2: (f32, f32) = (0.693_359_375, -2.121_944_4e-4);
    let clamped = x.max(-87.0);
    let n = (clamped * std::f32::consts::LOG2_E + ROUNDER) - ROUNDER;
    let r = (clamped - n * LN_2.0) - n * LN_2.1;
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let power = f32::from_bits(((n as i32 + 127) << 23).cast_unsigned());
    if x < -87.0 { 0.0 } else { series * power }
}

/// Keeps what later comparisons need of the reference's logits at one position, whose text goes on with `id`; `None` when a logit is NaN
/// or infinite or `id` is outside the vocabulary. The same logits and `seed` give the same draws.
#[must_use]
pub fn keep_reference(logits: &[f32], id: u32, seed: u64) -> Option<ReferenceRow> {
    let (likeliest, normalizer) = log_normalizer(logits)?;
    let max = *logits.get(likeliest as usize)?;
    let logit = *logits.get(id as usize)?;
    #[allow(clippy::cast_possible_truncation, reason = "kept in single precision")]
    let logp = |logit: f32| (f64::from(logit) - normalizer) as f32;
    let with_logp = |id: u32| (id, logp(logits[id as usize]));
    let top_ids = top_ids(logits);
    // Relative to the likeliest token; what is in the top is no part of the tail.
    let mut weights: Vec<f32> = logits.iter().map(|logit| exp_negative(logit - max)).collect();
    for &id in &top_ids {
        weights[id as usize] = 0.0;
    }
    let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let tail = draw(&weights, sum, seed).into_iter().map(with_logp).collect();
    #[allow(clippy::cast_possible_truncation, reason = "kept in single precision")]
    let tail_mass = (sum * (f64::from(max) - normalizer).exp()) as f32;
    Some(ReferenceRow { id, logp: logp(logit), tail_mass, top: top_ids.into_iter().map(with_logp).collect(), tail })
}

/// The ids of the `N_TOP` largest logits, the largest first, of equal ones the lower id first.
///
/// Selects among values and not among ids: sorting ids by what they point to took a twentieth of a whole measurement.
fn top_ids(logits: &[f32]) -> Vec<u32> {
    let n_top = N_TOP.min(logits.len());
    let mut values = logits.to_vec();
    let least = match n_top.checked_sub(1) {
        Some(nth) => *values.select_nth_unstable_by(nth, |one, other| other.total_cmp(one)).1,
        None => return Vec::new(),
    };
    let mut n_equal = n_top - logits.iter().filter(|logit| logit.total_cmp(&least).is_gt()).count();
    let mut ids = Vec::with_capacity(n_top);
    for (id, logit) in (0..).zip(logits) {
        match logit.total_cmp(&least) {
            Ordering::Greater => ids.push(id),
            Ordering::Equal if n_equal > 0 => {
                n_equal -= 1;
                ids.push(id);
            }
            _ => {}
        }
    }
    ids.sort_by(|one: &u32, other: &u32| logits[*other as usize].total_cmp(&logits[*one as usize]));
    ids
}

/// `N_TAIL` ids by systematic sampling: every id's expected number of draws is `N_TAIL` times its part of the `sum` of the weights, and
/// neighbours in the vocabulary are drawn evenly, which varies less than independent draws. Empty without weight.
///
/// Source: Madow and Madow, "On the theory of systematic sampling", Annals of Mathematical Statistics 15, 1944.
fn draw(weights: &[f32], sum: f64, seed: u64) -> Vec<u32> {
    if sum <= 0.0 {
        return Vec::new();
    }
    #[allow(clippy::cast_precision_loss, reason = "96")]
    let step = sum / N_TAIL as f64;
    let mut next = fastrand::Rng::with_seed(seed).f64() * step;
    let mut reached = 0.0;
    let mut drawn = Vec::with_capacity(N_TAIL);
    let mut last = None;
    for (id, &weight) in (0_u32..).zip(weights).filter(|(_, weight)| **weight > 0.0) {
        reached += f64::from(weight);
        while reached > next && drawn.len() < N_TAIL {
            drawn.push(id);
            next += step;
        }
        last = Some(id);
    }
    // Rounding can leave the last draw beyond the sum.
    while let (Some(last), true) = (last, drawn.len() < N_TAIL) {
        drawn.push(last);
    }
    drawn
}

/// Compares the candidate's logits with what was kept of the reference; `None` when a logit is NaN or infinite or the vocabulary is
/// smaller than the reference's ids.
#[must_use]
pub fn score_row(logits: &[f32], reference: &ReferenceRow) -> Option<RowScore> {
    let (top, normalizer) = log_normalizer(logits)?;
    let logq = |id: u32| logits.get(id as usize).map(|&logit| f64::from(logit) - normalizer);
    let mut kld = 0.0;
    for &(id, logp) in &reference.top {
        let logp = f64::from(logp);
        kld += logp.exp() * excess(logq(id)? - logp);
    }
    if !reference.tail.is_empty() {
        let mut sum = 0.0;
        for &(id, logp) in &reference.tail {
            sum += excess(logq(id)? - f64::from(logp));
        }
        #[allow(clippy::cast_precision_loss, reason = "96")]
        let n = reference.tail.len() as f64;
        kld += f64::from(reference.tail_mass) * sum / n;
    }
    let kept =
        |wanted: u32| reference.top.iter().chain(&reference.tail).find(|(id, _)| *id == wanted).map(|(_, logp)| logp.exp());
    let (reference_top, _) = *reference.top.first()?;
    #[allow(clippy::cast_possible_truncation, reason = "shown with three digits")]
    Some(RowScore {
        kld,
        logp: logq(reference.id)?,
        top,
        p_top: logq(top)?.exp() as f32,
        p_reference_top: logq(reference_top)?.exp() as f32,
        p_top_by_reference: kept(top),
    })
}

/// `f(r) = r - 1 - ln r` of `r = exp(d)`, never negative.
fn excess(d: f64) -> f64 {
    (d.exp_m1() - d).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits with a few likely tokens and a long tail, as language models have.
    fn logits(n: usize, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| (random.f32() + random.f32() + random.f32() - 1.5) * 8.0).collect()
    }

    fn disturbed(logits: &[f32], size: f32, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        logits.iter().map(|logit| logit + (random.f32() - 0.5) * size).collect()
    }

    /// The definition, over the whole vocabulary in double precision.
    fn full_kld(reference: &[f32], candidate: &[f32]) -> f64 {
        let log_softmax = |logits: &[f32]| {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
            logits.iter().map(|&logit| f64::from(logit - max) - sum.ln()).collect::<Vec<f64>>()
        };
        log_softmax(reference).iter().zip(log_softmax(candidate)).map(|(p, q)| p.exp() * (p - q)).sum()
    }

    #[test]
    fn the_exponential_is_exact_to_a_millionth() {
        for idx in 0..50_000_u16 {
            let x = -f32::from(idx % 10_000) * 0.0087 - 1e-5 * f32::from(idx / 10_000);
            let expected = f64::from(x).exp();
            let error = (f64::from(exp_negative(x)) - expected).abs() / expected;
            assert!(error < 1e-6, "exp({x}) is off by {error:e}");
        }
        assert_eq!((exp_negative(0.0), exp_negative(-100.0)), (1.0, 0.0));
    }

    #[test]
    fn the_mean_divergence_is_that_over_the_full_vocabulary_to_one_per_cent() {
        for size in [0.05, 0.5, 2.0] {
            let (mut kept, mut full, mut tail_mass) = (0.0, 0.0, 0.0);
            for seed in 0..400 {
                let reference = logits(8_000, seed);
                let candidate = disturbed(&reference, size, seed + 1000);
                let row = keep_reference(&reference, 17, seed).unwrap();
                tail_mass += f64::from(row.tail_mass) / 400.0;
                kept += score_row(&candidate, &row).unwrap().kld;
                full += full_kld(&reference, &candidate);
            }
            assert!(tail_mass > 0.1, "the tail matters here: {tail_mass}");
            assert!((kept / full - 1.0).abs() < 0.01, "size {size}: {kept} instead of {full}");
        }
    }

    #[test]
    fn a_model_does_not_diverge_from_itself() {
        let logits = logits(5000, 1);
        let row = keep_reference(&logits, 3, 1).unwrap();
        let score = score_row(&logits, &row).unwrap();
        assert!(score.kld < 1e-11, "{:e}", score.kld);
        assert_eq!((score.top, score.p_top_by_reference), (row.top[0].0, Some(row.top[0].1.exp())));
        assert!((score.logp - f64::from(row.logp)).abs() < 1e-5);
        // All logits moved by the same amount are the same answer.
        let moved: Vec<f32> = logits.iter().map(|logit| logit + 1.0).collect();
        assert!(score_row(&moved, &row).unwrap().kld < 1e-11);
    }

    #[test]
    fn a_small_vocabulary_is_kept_whole() {
        let reference = logits(100, 1);
        let candidate = disturbed(&reference, 1.0, 2);
        let row = keep_reference(&reference, 99, 1).unwrap();
        assert_eq!((row.top.len(), row.tail.len()), (100, 0));
        assert!((score_row(&candidate, &row).unwrap().kld - full_kld(&reference, &candidate)).abs() < 1e-5);
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut logits = logits(300, 1);
            let row = keep_reference(&logits, 0, 1).unwrap();
            logits[299] = bad;
            assert_eq!((keep_reference(&logits, 0, 1), score_row(&logits, &row)), (None, None), "{bad}");
        }
        assert_eq!(keep_reference(&[1.0, 2.0], 2, 0), None, "a token outside the vocabulary");
        let row = keep_reference(&logits(300, 1), 0, 1).unwrap();
        assert_eq!(score_row(&[1.0; 10], &row), None, "another vocabulary");
        assert_eq!(log_normalizer(&[]), None);
    }

    #[test]
    fn of_equal_logits_the_lower_ids_are_the_top() {
        let mut logits = vec![1.0_f32; 600];
        logits[500] = 2.0;
        let ids = top_ids(&logits);
        assert_eq!((ids.len(), ids[0], ids[1], ids[N_TOP - 1]), (N_TOP, 500, 0, 254));
        assert_eq!(top_ids(&[0.5, 1.5, 1.0]), [1, 2, 0]);
        assert!(top_ids(&[]).is_empty());
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let mut logits = vec![-1e30_f32; 500];
        logits[7] = 1e30;
        let row = keep_reference(&logits, 7, 1).unwrap();
        assert_eq!((row.top[0], row.tail_mass, row.tail.len()), ((7, 0.0), 0.0, 0));
        assert!(score_row(&logits, &row).unwrap().kld < 1e-11);
    }
}
