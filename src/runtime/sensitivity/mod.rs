//! How much the rounding of each tensor costs, told apart from runs in which all tensors are rounded at once.
//!
//! A run for each tensor would take hours. In a few dozen rounds here, the error of every tensor's rounding is added to its outputs with a random
//! sign of its own. As long as the errors are small, what the logits change by is the sum of what each tensor causes, with these signs: two
//! rounds agree as far as the signs of the costly tensors do. So the agreement of all pairs of rounds, known signs and least squares give the
//! cost of each tensor.
//!
//! ```text
//! mod       signs, and costs from what the rounds changed
//! disturber what happens at a product of a weight: its error is noted once, then added in every round
//! answers   what a round changes about the model's predictions
//! ```

pub mod answers;
pub mod disturber;

use serde::{Deserialize, Serialize};

use crate::model::DType;

/// What tensors are rounded to: it takes rows of any length that some quantized type takes.
pub const DISTURBANCE: DType = DType::Q4_0;

/// Pairs of rounds for each tensor: four equations for an unknown.
const PAIRS_PER_TENSOR: usize = 4;

/// Parts of the text that are left out in turn, to see how far the costs depend on it.
pub const N_GROUPS: usize = 8;

/// The most times that all costs are refined; a few hundred tensors need about thirty.
const MAX_SWEEPS: usize = 200;

/// What the rounding of one tensor to [`DISTURBANCE`] costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The tensor.
    pub tensor: String,
    /// Mean KL divergence of the model's predictions, in nats, as far as errors are small.
    pub loss: f64,
    /// Its standard error, in nats.
    pub loss_error: f64,
}

/// Rounds that tell so many tensors apart.
#[must_use]
pub fn n_rounds(n_tensors: usize) -> usize {
    // n (n - 1) / 2 pairs.
    let mut n = 8;
    while n * (n - 1) / 2 < PAIRS_PER_TENSOR * n_tensors {
        n += 1;
    }
    n
}

/// The sign with which a tensor's error counts in a round: random, the same in every run.
#[must_use]
pub fn sign(tensor_idx: usize, round: usize) -> f32 {
    // SplitMix64 (Steele, Lea and Flood, 2014).
    let mut z = ((tensor_idx as u64) << 32 | round as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    if (z ^ (z >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
}

/// How far rounds agree: sums over positions of the products of what two rounds changed. `[n_rounds, n_rounds]`, a matrix for each group of
/// positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    n_rounds: usize,
    groups: Vec<Vec<f64>>,
    n_positions: Vec<usize>,
}

impl Agreement {
    /// Of no positions yet.
    #[must_use]
    pub fn new(n_rounds: usize) -> Self {
        Self { n_rounds, groups: vec![vec![0.0; n_rounds * n_rounds]; N_GROUPS], n_positions: vec![0; N_GROUPS] }
    }

    /// Adds positions to a group: for each round the changes there, `n_positions` times as many as each position has.
    pub fn add(&mut self, group_idx: usize, n_positions: usize, changes: &[&[f32]]) {
        let group_idx = group_idx % N_GROUPS;
        self.n_positions[group_idx] += n_positions;
        for (first, of_first) in changes.iter().enumerate() {
            for (second, of_second) in changes.iter().enumerate().skip(first) {
                let product: f64 = of_first.iter().zip(*of_second).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                self.groups[group_idx][first * self.n_rounds + second] += product;
            }
        }
    }

    /// What each of `n_tensors` costs on a position, with its standard error: half of the mean square that it changes. `scale` is what errors
    /// were multiplied by.
    ///
    /// Costs are not negative. No positions give zeros.
    #[must_use]
    pub fn costs(&self, n_tensors: usize, scale: f64) -> Vec<(f64, f64)> {
        let signs: Vec<Vec<f64>> =
            (0..n_tensors).map(|idx| (0..self.n_rounds).map(|round| f64::from(sign(idx, round))).collect()).collect();
        let overlaps = overlaps(&signs);
        let per_cost = 2.0 * scale * scale;
        let without = |left_out: Option<usize>| -> Vec<f64> {
            let kept = || (0..N_GROUPS).filter(|idx| Some(*idx) != left_out);
            let n_positions: usize = kept().map(|idx| self.n_positions[idx]).sum();
            if n_positions == 0 || per_cost <= 0.0 {
                return vec![0.0; n_tensors];
            }
            let sum = |place: usize| kept().map(|idx| self.groups[idx][place]).sum::<f64>();
            let agreement: Vec<f64> = (0..self.n_rounds * self.n_rounds).map(sum).collect();
            #[allow(clippy::cast_precision_loss, reason = "a number of positions")]
            let factor = 1.0 / (n_positions as f64 * per_cost);
            let matched = signs.iter().map(|signs| matched(signs, &agreement)).collect();
            least_squares(&overlaps, matched).into_iter().map(|cost| cost * factor).collect()
        };
        let whole = without(None);
        let used: Vec<usize> = (0..N_GROUPS).filter(|&idx| self.n_positions[idx] > 0).collect();
        let parts: Vec<Vec<f64>> = used.iter().map(|&idx| without(Some(idx))).collect();
        whole.into_iter().enumerate().map(|(idx, cost)| (cost, jackknife(parts.iter().map(|part| part[idx])))).collect()
    }
}

/// The standard error of an estimate from those that leave out a group each.
#[allow(clippy::cast_precision_loss, reason = "a number of groups")]
fn jackknife(estimates: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = estimates.clone().count() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = estimates.clone().sum::<f64>() / n;
    let squares: f64 = estimates.map(|estimate| (estimate - mean).powi(2)).sum();
    (squares * (n - 1.0) / n).sqrt()
}

/// For each two tensors the sum over pairs of rounds of the product of all four signs. `[n, n]`
fn overlaps(signs: &[Vec<f64>]) -> Vec<f64> {
    let n = signs.len();
    let mut overlaps = vec![0.0; n * n];
    for (first, of_first) in signs.iter().enumerate() {
        for (second, of_second) in signs.iter().enumerate() {
            let dot: f64 = of_first.iter().zip(of_second).map(|(a, b)| a * b).sum();
            #[allow(clippy::cast_precision_loss, reason = "a number of rounds")]
            let n_rounds = of_first.len() as f64;
            overlaps[first * n + second] = (dot * dot - n_rounds) / 2.0;
        }
    }
    overlaps
}

/// Sum over pairs of rounds of their agreement, times the signs of a tensor in both. Only the upper triangle of the agreement is read.
fn matched(signs: &[f64], agreement: &[f64]) -> f64 {
    let n = signs.len();
    let pairs = (0..n).flat_map(|first| (first + 1..n).map(move |second| (first, second)));
    pairs.map(|(first, second)| signs[first] * signs[second] * agreement[first * n + second]).sum()
}

/// The numbers, not negative, with `overlaps · x` nearest to `matched` in the sense of the pairs: cyclic descent.
fn least_squares(overlaps: &[f64], matched: Vec<f64>) -> Vec<f64> {
    let n = matched.len();
    let mut found = vec![0.0; n];
    let mut left = matched;
    let first_sum: f64 = left.iter().map(|left| left.abs()).sum();
    for _ in 0..MAX_SWEEPS {
        let mut moved = 0.0;
        for idx in 0..n {
            let pivot = overlaps[idx * n + idx];
            if pivot <= 0.0 {
                continue;
            }
            let step = (left[idx] / pivot).max(-found[idx]);
            if step != 0.0 {
                found[idx] += step;
                left.iter_mut().zip(&overlaps[idx * n..]).for_each(|(left, overlap)| *left -= step * overlap);
                moved += (step * pivot).abs();
            }
        }
        if moved <= 1e-6 * first_sum {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rounds change when each tensor changes `costs[idx]` on every position, in a direction of its own.
    fn agreement(costs: &[f64], n_positions: usize, n_answers: usize) -> Agreement {
        let n = n_rounds(costs.len());
        let mut random = fastrand::Rng::with_seed(7);
        let mut found = Agreement::new(n);
        for position in 0..n_positions {
            let mut normal = || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            let of_tensor = |cost: &f64| (2.0 * cost / n_answers as f64).sqrt();
            let effects: Vec<Vec<f64>> =
                costs.iter().map(|cost| (0..n_answers).map(|_| normal() * of_tensor(cost)).collect()).collect();
            let of_round = |round: usize| -> Vec<f32> {
                let sum = |answer: usize| {
                    effects.iter().enumerate().map(|(idx, effect)| f64::from(sign(idx, round)) * effect[answer]).sum::<f64>()
                };
                #[allow(clippy::cast_possible_truncation, reason = "a test")]
                (0..n_answers).map(|answer| sum(answer) as f32).collect()
            };
            let changes: Vec<Vec<f32>> = (0..n).map(of_round).collect();
            let changes: Vec<&[f32]> = changes.iter().map(Vec::as_slice).collect();
            found.add(position, 1, &changes);
        }
        found
    }

    #[test]
    fn costs_are_told_apart_by_signs() {
        let costs: Vec<f64> = (0..60).map(|idx| if idx % 7 == 0 { 0.01 } else { 0.001 }).collect();
        let found = agreement(&costs, 64, 32).costs(costs.len(), 1.0);
        let sum = |idxs: &dyn Fn(usize) -> bool| -> f64 {
            found.iter().enumerate().filter(|(idx, _)| idxs(*idx)).map(|(_, (cost, _))| cost).sum()
        };
        let high = sum(&|idx| idx % 7 == 0) / 9.0;
        let low = sum(&|idx| idx % 7 != 0) / 51.0;
        assert!((high - 0.01).abs() < 0.0005 && (low - 0.001).abs() < 0.0002, "{high} {low}");
        for (idx, (cost, error)) in found.iter().enumerate() {
            assert!((cost - costs[idx]).abs() < 0.003, "{idx}: {cost} ± {error}");
            assert!(*error < 0.003, "{idx}: ± {error}");
        }
    }

    #[test]
    fn errors_that_were_added_in_part_count_in_full() {
        let whole = agreement(&[0.01, 0.02], 16, 8);
        let found = whole.costs(2, 0.5);
        for (found, at_one) in found.iter().zip(whole.costs(2, 1.0)) {
            assert!((found.0 - 4.0 * at_one.0).abs() < 1e-9);
        }
        assert_eq!(Agreement::new(8).costs(1, 1.0), [(0.0, 0.0)]);
    }

    #[test]
    fn there_are_four_pairs_of_rounds_for_each_tensor() {
        let check = |n_tensors: usize, expected: usize| assert_eq!(n_rounds(n_tensors), expected, "{n_tensors}");
        check(1, 8);
        check(211, 42);
        check(2000, 127);
    }
}
