//! Attention proper: softmax(cap(q · k * scale)) · v, for some queries and all heads at a time.

use std::ops::Range;

use super::blocks::sized;
use crate::quant::functions::{soft_cap, softmax};
use crate::quant::matmul::{Matrix, MatrixMut};
use crate::runtime::attention_mass::Received;

/// Scores that are kept at a time, for the heads that share their keys: 4 MB.
const MAX_SCORES: usize = 1 << 20;
/// The fewest and the most queries of a block.
const QUERIES: [usize; 2] = [16, 128];

/// The heads of a layer.
#[derive(Debug)]
#[allow(clippy::struct_field_names, reason = "the words of the field")]
pub(super) struct Heads {
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
    /// What scores are multiplied by.
    pub(super) scale: f32,
    pub(super) softcap: Option<f32>,
    /// Tokens that a query sees, itself included.
    pub(super) window: Option<usize>,
}

/// Keys and values of a chunk, row after row: all heads of a position beside each other.
#[derive(Clone, Copy)]
pub(super) struct KeysValues<'a> {
    pub(super) keys: &'a [f32],   // [n_positions, n_kv_heads * head_dim]
    pub(super) values: &'a [f32], // [n_positions, n_kv_heads * head_dim]
}

/// Memory that a thread uses again and again.
#[derive(Default)]
pub(super) struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    outputs: Vec<f32>,
}

impl Heads {
    /// Queries that are computed together in a chunk of this many tokens.
    pub(super) fn block_queries(&self, n_positions: usize) -> usize {
        let n_seen = self.window.map_or(n_positions, |window| window.saturating_add(QUERIES[1]).min(n_positions));
        let n_per_query = n_seen.max(1) * (self.n_heads / self.n_kv_heads);
        (MAX_SCORES / n_per_query.max(1)).clamp(QUERIES[0], QUERIES[1])
    }

    /// Sets the outputs of all heads for the queries of adjacent positions, the first of which is `first`.
    pub(super) fn attend(
        &self,
        queries: &[f32], // [n_queries, n_heads * head_dim]
        first: usize,
        seen: KeysValues,
        out: &mut [f32], // [n_queries, n_heads * head_dim]
        scratch: &mut Scratch,
        mut received: Option<&mut Received>,
    ) {
        let (width, kv_width) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        let (n_queries, n_sharing) = (queries.len() / width, self.n_heads / self.n_kv_heads);
        let (oldest, end) = (self.first_seen(first), first + n_queries);
        let (n_seen, n_rows) = (end - oldest, n_sharing * n_queries);
        let n_positions = seen.keys.len() / kv_width;
        for kv_idx in 0..self.n_kv_heads {
            let columns = kv_idx * self.head_dim..(kv_idx + 1) * self.head_dim;
            let part = |of| Matrix::new(of, n_positions, kv_width).part(oldest..end, columns.clone());
            let heads = kv_idx * n_sharing..(kv_idx + 1) * n_sharing;
            let stacked = sized(&mut scratch.queries, n_rows * self.head_dim);
            self.stack(queries, &heads, stacked);
            let scores = sized(&mut scratch.scores, n_rows * n_seen);
            MatrixMut::new(scores, n_rows, n_seen).set_product(
                self.scale,
                Matrix::new(stacked, n_rows, self.head_dim),
                part(seen.keys).transposed(),
                0.0,
            );
            for (row, scores) in scores.chunks_exact_mut(n_seen).enumerate() {
                let position = first + row % n_queries;
                let (unseen, rest) = scores.split_at_mut(self.first_seen(position) - oldest);
                let (weights, later) = rest.split_at_mut(position + 1 - self.first_seen(position));
                unseen.fill(0.0);
                later.fill(0.0);
                if let Some(cap) = self.softcap {
                    soft_cap(weights, cap);
                }
                softmax(weights);
                if let Some(received) = &mut received {
                    received.add(self.first_seen(position), weights.iter().copied());
                }
            }
            let outputs = sized(&mut scratch.outputs, n_rows * self.head_dim);
            let scores = Matrix::new(scores, n_rows, n_seen);
            MatrixMut::new(outputs, n_rows, self.head_dim).set_product(1.0, scores, part(seen.values), 0.0);
            self.unstack(outputs, &heads, out);
        }
    }

    /// The first position that a query sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Copies the queries of some heads, head after head.
    fn stack(&self, queries: &[f32], heads: &Range<usize>, stacked: &mut [f32]) {
        let mut slots = stacked.chunks_exact_mut(self.head_dim);
        for head in heads.clone() {
            let rows = queries.chunks_exact(self.n_heads * self.head_dim);
            for (row, slot) in rows.zip(&mut slots) {
                slot.copy_from_slice(&row[head * self.head_dim..(head + 1) * self.head_dim]);
            }
        }
    }

    /// The reverse of [`Heads::stack`].
    fn unstack(&self, stacked: &[f32], heads: &Range<usize>, out: &mut [f32]) {
        let mut slots = stacked.chunks_exact(self.head_dim);
        for head in heads.clone() {
            let rows = out.chunks_exact_mut(self.n_heads * self.head_dim);
            for (row, slot) in rows.zip(&mut slots) {
                row[head * self.head_dim..(head + 1) * self.head_dim].copy_from_slice(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| random.f32() * 4.0 - 2.0).collect()
    }

    /// The definition, one query after the other in double precision.
    fn plain(heads: &Heads, queries: &[f32], seen: KeysValues, n: usize) -> (Vec<f64>, Received) {
        let (dim, n_sharing) = (heads.head_dim, heads.n_heads / heads.n_kv_heads);
        let at = |of: &[f32], position: usize, head: usize, n_heads: usize| -> Vec<f64> {
            of[(position * n_heads + head) * dim..][..dim].iter().map(|&x| f64::from(x)).collect()
        };
        let (mut out, mut received) = (Vec::new(), Received::none(n));
        for position in 0..n {
            for head in 0..heads.n_heads {
                let query = at(queries, position, head, heads.n_heads);
                let first = heads.first_seen(position);
                let scores: Vec<f64> = (first..=position)
                    .map(|seen_at| {
                        let key = at(seen.keys, seen_at, head / n_sharing, heads.n_kv_heads);
                        let score = query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * f64::from(heads.scale);
                        heads.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    })
                    .collect();
                let sum: f64 = scores.iter().map(|score| score.exp()).sum();
                let mut output = vec![0.0; dim];
                for (seen_at, score) in (first..).zip(scores) {
                    let weight = score.exp() / sum;
                    received.keys[seen_at] += weight * (1.0 - weight);
                    received.values[seen_at] += weight;
                    let value = at(seen.values, seen_at, head / n_sharing, heads.n_kv_heads);
                    output.iter_mut().zip(value).for_each(|(out, value)| *out += weight * value);
                }
                out.extend(output);
            }
        }
        (out, received)
    }

    #[test]
    fn blocks_of_queries_give_the_attention_of_the_definition() {
        for (n_heads, n_kv_heads, softcap, window) in [
            (4, 2, None, None),
            (3, 3, Some(1.5), None),
            (6, 1, None, Some(3)),
            (2, 2, Some(4.0), Some(1)),
            (2, 1, None, Some(900)),
        ] {
            let heads = Heads { n_heads, n_kv_heads, head_dim: 8, scale: 0.35, softcap, window };
            for n in [1_usize, 5, 37] {
                let queries = numbers(n * n_heads * 8, 1);
                let (keys, values) = (numbers(n * n_kv_heads * 8, 2), numbers(n * n_kv_heads * 8, 3));
                let seen = KeysValues { keys: &keys, values: &values };
                let (expected, expected_received) = plain(&heads, &queries, seen, n);
                for block in [1, 4, 64] {
                    let mut found = vec![f32::NAN; queries.len()];
                    let (mut scratch, mut received) = (Scratch::default(), Received::none(n));
                    let width = n_heads * 8;
                    for (idx, (queries, out)) in queries.chunks(block * width).zip(found.chunks_mut(block * width)).enumerate() {
                        heads.attend(queries, idx * block, seen, out, &mut scratch, Some(&mut received));
                    }
                    let is_close = |a: f64, b: f64| (a - b).abs() < 1e-5;
                    assert!(found.iter().zip(&expected).all(|(&a, &b)| is_close(a.into(), b)), "{heads:?} {n} {block}");
                    assert!(received.values.iter().zip(&expected_received.values).all(|(&a, &b)| is_close(a, b)), "{heads:?}");
                    assert!(received.keys.iter().zip(&expected_received.keys).all(|(&a, &b)| is_close(a, b)), "{heads:?}");
                }
            }
        }
    }

    #[test]
    fn long_contexts_are_computed_with_fewer_queries_at_a_time() {
        let heads = |window| Heads { n_heads: 32, n_kv_heads: 8, head_dim: 128, scale: 1.0, softcap: None, window };
        assert_eq!(heads(None).block_queries(512), 128);
        assert_eq!(heads(None).block_queries(8192), 32);
        assert_eq!(heads(None).block_queries(1 << 20), 16);
        assert_eq!(heads(Some(512)).block_queries(1 << 20), 128);
        assert_eq!(heads(None).block_queries(0), 128);
    }
}
