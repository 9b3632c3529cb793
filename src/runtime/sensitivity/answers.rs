//! What a round changes about a model's predictions, in few numbers for each position.

use crate::runtime::score::log_normalizer;

/// Tokens of the vocabulary that are looked at on each position.
pub const N_SAMPLES: usize = 256;

/// The undisturbed predictions on some positions of a chunk.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// For each position tokens of the vocabulary, each as often as it is likely. `[n_positions, N_SAMPLES]`
    tokens: Vec<u32>,
    /// Their logits. `[n_positions, N_SAMPLES]`
    logits: Vec<f32>,
    n_vocab: usize,
}

impl Answers {
    /// Those of these logits, `[n_positions, n_vocab]`; `None` where some are not numbers.
    #[must_use]
    pub fn of(logits: &[f32], n_vocab: usize) -> Option<Self> {
        let mut answers = Self { n_vocab, ..Self::default() };
        for row in logits.chunks_exact(n_vocab.max(1)) {
            answers.sample(row)?;
        }
        Some(answers)
    }

    /// Takes tokens at even steps of the summed probability: the mean over them stands for the mean over the vocabulary.
    fn sample(&mut self, row: &[f32]) -> Option<()> {
        let (_, normalizer) = log_normalizer(row)?;
        let n_before = self.tokens.len();
        let mut sum = 0.0;
        for (token, logit) in (0..).zip(row) {
            sum += (f64::from(*logit) - normalizer).exp();
            while self.tokens.len() < n_before + N_SAMPLES && sum >= step(self.tokens.len() - n_before) {
                self.tokens.push(token);
                self.logits.push(*logit);
            }
        }
        // Rounding may leave the sum below the last step.
        let (token, logit) = (*self.tokens.last()?, *self.logits.last()?);
        self.tokens.resize(n_before + N_SAMPLES, token);
        self.logits.resize(n_before + N_SAMPLES, logit);
        Some(())
    }

    /// What disturbed logits, `[n_positions, n_vocab]`, change: half of the sum of squares of a position is its KL divergence in nats, as long as
    /// it is small. `[n_positions, N_SAMPLES]`
    ///
    /// To second order the divergence is half the variance of the logits' change under the undisturbed probabilities.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a small number of samples, and small changes"
    )]
    pub fn changes(&self, logits: &[f32]) -> Vec<f32> {
        let mut changes = Vec::with_capacity(self.tokens.len());
        let rows = logits.chunks_exact(self.n_vocab.max(1));
        for (row, (tokens, before)) in rows.zip(self.tokens.chunks(N_SAMPLES).zip(self.logits.chunks(N_SAMPLES))) {
            let change = |(token, before): (&u32, &f32)| row.get(*token as usize).map_or(0.0, |now| f64::from(now - before));
            let of_position: Vec<f64> = tokens.iter().zip(before).map(change).collect();
            let n = of_position.len() as f64;
            let mean = of_position.iter().sum::<f64>() / n;
            changes.extend(of_position.into_iter().map(|change| ((change - mean) / n.sqrt()) as f32));
        }
        changes
    }
}

#[allow(clippy::cast_precision_loss, reason = "a small number of samples")]
fn step(idx: usize) -> f64 {
    (idx as f64 + 0.5) / N_SAMPLES as f64
}

/// Mean KL divergence on a position in nats, from changes of all positions.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a number of positions")]
pub fn mean_divergence(changes: &[f32]) -> f64 {
    let n_positions = (changes.len() / N_SAMPLES).max(1) as f64;
    changes.iter().map(|change| f64::from(*change).powi(2)).sum::<f64>() / (2.0 * n_positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divergence(before: &[f32], after: &[f32]) -> f64 {
        let logp = |row: &[f32]| {
            let (_, normalizer) = log_normalizer(row).unwrap();
            row.iter().map(|logit| f64::from(*logit) - normalizer).collect::<Vec<_>>()
        };
        logp(before).iter().zip(logp(after)).map(|(before, after)| before.exp() * (before - after)).sum()
    }

    #[test]
    fn squares_of_small_changes_are_the_divergence() {
        let mut random = fastrand::Rng::with_seed(3);
        for spread in [1.0, 4.0] {
            let before: Vec<f32> = (0..2000).map(|_| spread * 2.0 * (random.f32() - 0.5)).collect();
            let after: Vec<f32> = before.iter().map(|logit| logit + 0.1 * (random.f32() - 0.5)).collect();
            let answers = Answers::of(&[before.clone(), before.clone()].concat(), before.len()).unwrap();
            let changes = answers.changes(&[before.clone(), after.clone()].concat());
            let [same, changed] = [0, 1].map(|idx| &changes[idx * N_SAMPLES..][..N_SAMPLES]);
            assert!(mean_divergence(same) < 1e-12);
            let (found, expected) = (mean_divergence(changed), divergence(&before, &after));
            assert!((found / expected - 1.0).abs() < 0.25, "{found} {expected}");
            assert!((mean_divergence(&changes) / found - 0.5).abs() < 1e-3);
        }
    }

    #[test]
    fn a_shift_of_all_logits_changes_nothing() {
        let before = [0.5, -2.0, 3.0];
        let answers = Answers::of(&before, 3).unwrap();
        assert!(mean_divergence(&answers.changes(&before.map(|logit| logit + 5.0))) < 1e-9);
        assert!(Answers::of(&[f32::NAN, 0.0], 2).is_none());
    }
}
