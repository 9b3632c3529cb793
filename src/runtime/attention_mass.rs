//! How much each position of a text matters to keys and values: by the attention that it receives.
//!
//! An error in the values of a token does harm where other tokens look at it, and the first token of a text, which many heads use as a
//! place to rest, gets a fifth to three quarters of all attention. Sums in which all tokens count the same see one position of 512 there.

use super::importance::Strided;

/// Part of a position's weight that does not depend on attention: tokens that nobody looks at in this text count a little.
const EVEN_PART: f64 = 0.1;

/// What each position counts in the sums of keys and of values, 1 on average.
#[derive(Debug, Clone, PartialEq)]
pub struct PositionWeights {
    /// By `Σ a (1 - a)` over all heads and all tokens that look: a key does no harm where it gets all or none of the attention.
    pub keys: Vec<f64>,
    /// By `Σ a`.
    pub values: Vec<f64>,
}

/// The attention `a` that positions have received, over some heads and the tokens that look.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// `Σ a (1 - a)`.
    pub keys: Vec<f64>,
    /// `Σ a`.
    pub values: Vec<f64>,
}

impl Received {
    /// Nothing, for each position.
    #[must_use]
    pub fn none(n_positions: usize) -> Self {
        Self { keys: vec![0.0; n_positions], values: vec![0.0; n_positions] }
    }

    /// The attention that the first `n_tokens` positions receive in a layer: F32, the positions that are looked at first, then the tokens
    /// that look, then heads.
    ///
    /// `None` where it cannot be that of `n_tokens` tokens in their order: where a token looks at a later position, unless
    /// `looks_ahead` says that it may, or where a number is no probability.
    #[must_use]
    pub fn of(attention: &Strided, n_tokens: usize, looks_ahead: bool) -> Option<Self> {
        let [n_positions, n_looking, n_heads, n_streams] = attention.shape;
        if n_looking != n_tokens || n_positions < n_tokens || n_streams != 1 || n_tokens == 0 {
            return None;
        }
        let mut received = Self::none(n_tokens);
        for head in 0..n_heads {
            for token in 0..n_tokens {
                let row = attention.row([token, head, 0])?;
                let n_seen = if looks_ahead { n_tokens } else { token + 1 };
                let (seen, unseen) = row.split_at_checked(n_seen)?;
                if unseen.iter().any(|part| *part != [0; 4]) {
                    return None;
                }
                let seen = seen.iter().map(|part| f32::from_le_bytes(*part));
                if !seen.clone().all(|part| (0.0..=1.001).contains(&part)) {
                    return None;
                }
                received.add(0, seen);
            }
        }
        Some(received)
    }

    /// Adds the attention that one token pays in one head to the positions from `first` on.
    pub fn add(&mut self, first: usize, paid: impl IntoIterator<Item = f32>) {
        let sums = self.keys.iter_mut().zip(&mut self.values).skip(first);
        for ((key, value), part) in sums.zip(paid) {
            let part = f64::from(part);
            *key += part * (1.0 - part).max(0.0);
            *value += part;
        }
    }

    /// Adds what the same positions have received elsewhere.
    pub fn add_all(&mut self, other: &Self) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.keys, &other.keys);
        add(&mut self.values, &other.values);
    }

    /// What the positions count by it.
    #[must_use]
    pub fn weights(&self) -> PositionWeights {
        PositionWeights { keys: evened(&self.keys), values: evened(&self.values) }
    }
}

/// Scaled to 1 on average, then moved a little towards 1.
#[allow(clippy::cast_precision_loss, reason = "a number of tokens")]
fn evened(sums: &[f64]) -> Vec<f64> {
    let mean = sums.iter().sum::<f64>() / sums.len().max(1) as f64;
    let weight = |sum: &f64| {
        // Nothing at all to choose between: all count the same.
        let scaled = if mean > 0.0 { sum / mean } else { 1.0 };
        (1.0 - EVEN_PART) * scaled + EVEN_PART
    };
    sums.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(attention: &[f32], shape: [usize; 4], n_tokens: usize, looks_ahead: bool) -> Option<PositionWeights> {
        let bytes: Vec<u8> = attention.iter().flat_map(|part| part.to_le_bytes()).collect();
        let strides = [4, 4 * shape[0], 4 * shape[0] * shape[1], 4 * shape[0] * shape[1] * shape[2]];
        Received::of(&Strided { bytes: &bytes, shape, strides }, n_tokens, looks_ahead).map(|received| received.weights())
    }

    #[test]
    fn positions_count_by_the_attention_that_they_get() {
        // Two tokens in a cache of three, one head: the second looks at both.
        let found = weights(&[1.0, 0.0, 0.0, 0.75, 0.25, 0.0], [3, 2, 1, 1], 2, false).unwrap();
        let close = |found: &[f64], expected: [f64; 2]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        // 1.75 and 0.25 are 1 on average; 0.1875 twice.
        assert!(close(&found.values, [0.9 * 1.75 + 0.1, 0.9 * 0.25 + 0.1]), "{found:?}");
        assert!(close(&found.keys, [1.0, 1.0]), "{found:?}");
        // A text of one token has nothing to choose.
        assert_eq!(weights(&[1.0], [1, 1, 1, 1], 1, false).unwrap().keys, [1.0]);
    }

    #[test]
    fn attention_in_another_order_is_not_used() {
        let check = |attention: &[f32], shape, n_tokens, looks_ahead, expected: bool| {
            assert_eq!(weights(attention, shape, n_tokens, looks_ahead).is_some(), expected, "{attention:?}");
        };
        check(&[0.5, 0.5, 0.5, 0.5], [2, 2, 1, 1], 2, false, false);
        check(&[0.5, 0.5, 0.5, 0.5], [2, 2, 1, 1], 2, true, true);
        check(&[1.0, 0.0, 0.2, 0.0, 1.0, 0.0], [3, 2, 1, 1], 2, true, false);
        check(&[1.0, 0.0, 0.5, 0.5], [2, 2, 1, 1], 3, false, false);
        check(&[1.0, 0.0], [2, 1, 1, 1], 2, false, false);
        check(&[f32::NAN], [1, 1, 1, 1], 1, false, false);
        check(&[2.0], [1, 1, 1, 1], 1, false, false);
    }
}
