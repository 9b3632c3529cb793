//! How much the rounding of each tensor costs, told apart from runs in which all tensors are rounded at once.
//!
//! A run for each tensor would take hours. In a few dozen rounds here, the error that every tensor has in a rounded file is added to its outputs
//! with a random sign of its own. As long as the errors are small, what the logits change by is the sum of what each tensor causes, with these signs: two
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

/// What tensors are rounded to: it takes rows of any length that some quantized type takes. The codes must be chosen as those of the budgeted file
/// will be, because feedback shapes errors: plain rounding of SmolLM2's values costs far less than its squares under the moments say, and
/// predictions from it were four times too low (2026-11-30).
pub const DISTURBANCE: DType = DType::Q4_0;

/// Pairs of rounds for each tensor: four equations for an unknown.
const PAIRS_PER_TENSOR: usize = 4;

/// Parts of each text that are left out in turn, to see how far the costs depend on them.
const N_GROUPS: usize = 2;

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

/// How far rounds agree, text by text: each tensor's error was multiplied by a scale of its own in each text.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    n_rounds: usize,
    texts: Vec<OfText>,
}

/// The agreement of rounds over one text.
#[derive(Debug, Clone, PartialEq)]
struct OfText {
    /// What the errors of each tensor were multiplied by.
    scales: Vec<f64>,
    /// For each group of positions the sums of the products of what two rounds changed, `[n_rounds, n_rounds]`, upper triangles.
    groups: [Vec<f64>; N_GROUPS],
    n_positions: [usize; N_GROUPS],
}

impl Agreement {
    /// Of no texts yet.
    #[must_use]
    pub fn new(n_rounds: usize) -> Self {
        Self { n_rounds, texts: Vec::new() }
    }

    /// Adds a text: for each round what it changed, `n_answers` numbers for each position.
    pub fn add(&mut self, scales: &[f32], changes: &[Vec<f32>], n_answers: usize) {
        let n = self.n_rounds;
        let mut text = OfText {
            scales: scales.iter().map(|&scale| f64::from(scale)).collect(),
            groups: [(); N_GROUPS].map(|()| vec![0.0; n * n]),
            n_positions: [0; N_GROUPS],
        };
        let n_positions = changes.first().map_or(0, |changes| changes.len() / n_answers.max(1));
        for group_idx in 0..N_GROUPS {
            let positions = group_idx * n_positions / N_GROUPS..(group_idx + 1) * n_positions / N_GROUPS;
            text.n_positions[group_idx] = positions.len();
            let numbers = positions.start * n_answers..positions.end * n_answers;
            for (first, of_first) in changes.iter().enumerate() {
                for (second, of_second) in changes.iter().enumerate().skip(first) {
                    let pairs = of_first[numbers.clone()].iter().zip(&of_second[numbers.clone()]);
                    text.groups[group_idx][first * n + second] = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                }
            }
        }
        self.texts.push(text);
    }

    /// What the whole error of each of `n_tensors` costs on a position, with its standard error: half of the mean square that it changes.
    ///
    /// Costs are not negative. No texts give zeros.
    #[must_use]
    pub fn costs(&self, n_tensors: usize) -> Vec<(f64, f64)> {
        let signs: Vec<Vec<f64>> =
            (0..n_tensors).map(|idx| (0..self.n_rounds).map(|round| f64::from(sign(idx, round))).collect()).collect();
        let overlaps = overlaps(&signs);
        // How well each group alone matches the signs of each tensor: all estimates are made of these.
        let matches: Vec<Vec<Vec<f64>>> = self
            .texts
            .iter()
            .map(|text| text.groups.iter().map(|group| signs.iter().map(|signs| matched(signs, group)).collect()).collect())
            .collect();
        let without = |left_out: Option<(usize, usize)>| -> Vec<f64> {
            let mut weights = vec![0.0; n_tensors * n_tensors];
            let mut sums = vec![0.0; n_tensors];
            for (text_idx, text) in self.texts.iter().enumerate() {
                let squares: Vec<f64> = text.scales.iter().map(|scale| scale * scale).collect();
                let kept = || (0..N_GROUPS).filter(|&group_idx| Some((text_idx, group_idx)) != left_out);
                #[allow(clippy::cast_precision_loss, reason = "a number of positions")]
                let n_positions = kept().map(|idx| text.n_positions[idx]).sum::<usize>() as f64;
                for first in 0..n_tensors {
                    sums[first] += squares[first] * kept().map(|idx| matches[text_idx][idx][first]).sum::<f64>();
                    let row = weights[first * n_tensors..].iter_mut().zip(&overlaps[first * n_tensors..]).zip(&squares);
                    row.for_each(|((weight, overlap), square)| *weight += n_positions * squares[first] * square * overlap);
                }
            }
            least_squares(&weights, sums).into_iter().map(|cost| cost / 2.0).collect()
        };
        let whole = without(None);
        let groups = (0..self.texts.len()).flat_map(|text_idx| (0..N_GROUPS).map(move |group_idx| (text_idx, group_idx)));
        let parts: Vec<Vec<f64>> = groups.map(|group| without(Some(group))).collect();
        whole.into_iter().enumerate().map(|(idx, cost)| (cost, jackknife(parts.iter().map(|part| part[idx])))).collect()
    }
}

/// Scales for the next text, with `costs` known so far: what costs little is enlarged, so that all tensors change about as much and none drowns
/// in what the others change. The sum stays about `wanted`.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "factors")]
pub fn even_scales(costs: &[(f64, f64)], wanted: f64) -> Vec<f32> {
    let share = wanted / costs.len().max(1) as f64;
    // An estimate below its error says no more than that the cost is not above it.
    let scale = |&(cost, error): &(f64, f64)| (share / cost.max(error).max(f64::MIN_POSITIVE)).sqrt().min(1.0);
    costs.iter().map(|of| scale(of) as f32).collect()
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
    fn agreement(costs: &[f64], scales: &[f32], n_positions: usize) -> Agreement {
        const N_ANSWERS: usize = 32;
        let n = n_rounds(costs.len());
        let mut random = fastrand::Rng::with_seed(7);
        let mut changes: Vec<Vec<f32>> = vec![Vec::new(); n];
        for _ in 0..n_positions {
            let mut normal = || (0..12).map(|_| random.f32()).sum::<f32>() - 6.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test")]
            let size = |cost: f64| (2.0 * cost / N_ANSWERS as f64).sqrt() as f32;
            let effects: Vec<Vec<f32>> =
                costs.iter().map(|&cost| (0..N_ANSWERS).map(|_| normal() * size(cost)).collect()).collect();
            for (round, changes) in changes.iter_mut().enumerate() {
                changes.extend((0..N_ANSWERS).map(|answer| {
                    let of_tensor = |(idx, effect): (usize, &Vec<f32>)| sign(idx, round) * scales[idx] * effect[answer];
                    effects.iter().enumerate().map(of_tensor).sum::<f32>()
                }));
            }
        }
        let mut found = Agreement::new(n);
        found.add(scales, &changes, N_ANSWERS);
        found
    }

    #[test]
    fn costs_are_told_apart_by_signs() {
        let costs: Vec<f64> = (0..60).map(|idx| if idx % 7 == 0 { 0.01 } else { 0.001 }).collect();
        let found = agreement(&costs, &[0.5; 60], 64).costs(costs.len());
        let mean = |idxs: &dyn Fn(usize) -> bool, n: f64| -> f64 {
            found.iter().enumerate().filter(|(idx, _)| idxs(*idx)).map(|(_, (cost, _))| cost).sum::<f64>() / n
        };
        let (high, low) = (mean(&|idx| idx % 7 == 0, 9.0), mean(&|idx| idx % 7 != 0, 51.0));
        assert!((high - 0.01).abs() < 0.0005 && (low - 0.001).abs() < 0.0002, "{high} {low}");
        for (idx, (cost, error)) in found.iter().enumerate() {
            assert!((cost - costs[idx]).abs() < 0.003, "{idx}: {cost} ± {error}");
            assert!(*error < 0.004, "{idx}: ± {error}");
        }
    }

    #[test]
    fn small_costs_are_seen_once_large_ones_are_scaled_down() {
        let costs: Vec<f64> = (0..60).map(|idx| if idx == 0 { 1.0 } else { 0.0001 + 0.00001 * f64::from(idx) }).collect();
        let off = |scales: &[f32]| {
            let found = agreement(&costs, scales, 64).costs(costs.len());
            found.iter().zip(&costs).skip(1).map(|(found, cost)| (found.0 / cost - 1.0).abs()).fold(0.0, f64::max)
        };
        let known: Vec<(f64, f64)> = costs.iter().map(|&cost| (cost, 0.0)).collect();
        let even = even_scales(&known, 0.006);
        assert!((even[0] - 0.01).abs() < 1e-6 && (even[1] - 0.953_46).abs() < 1e-3, "{even:?}");
        assert!(off(&even) < 0.5 && off(&[1.0; 60]) > 2.0, "{} {}", off(&even), off(&[1.0; 60]));
        assert_eq!(Agreement::new(8).costs(1), [(0.0, 0.0)]);
    }

    #[test]
    fn there_are_four_pairs_of_rounds_for_each_tensor() {
        let check = |n_tensors: usize, expected: usize| assert_eq!(n_rounds(n_tensors), expected, "{n_tensors}");
        check(1, 8);
        check(211, 42);
        check(2000, 127);
    }
}
