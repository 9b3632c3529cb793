//! Rotary positions: tables of sines and cosines, and the rotation.

use crate::model::RopeTable;

/// Sines and cosines of all positions of a context.
#[derive(Debug)]
pub(super) struct Rotation {
    /// For each position the cosines of all pairs, then the sines, both multiplied by the magnitude.
    table: Vec<f32>, // [n_positions, 2, n_pairs]
    n_pairs: usize,
}

impl Rotation {
    /// The rotation of a context of `n_ctx` tokens. Angles are computed in double precision: single precision has four digits left of
    /// them at position 10,000.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "positions are small; the result is f32")]
    pub(super) fn new(table: &RopeTable, n_ctx: usize) -> Self {
        let freqs = table.inv_freqs_for(n_ctx as u64);
        let mut numbers = Vec::with_capacity(n_ctx * 2 * freqs.len());
        for position in 0..n_ctx {
            let angles = freqs.iter().map(|&freq| position as f64 * f64::from(freq));
            numbers.extend(angles.clone().map(|angle| (angle.cos() * table.magnitude) as f32));
            numbers.extend(angles.map(|angle| (angle.sin() * table.magnitude) as f32));
        }
        Self { table: numbers, n_pairs: freqs.len() }
    }

    /// Rotates all heads of rows that stand at `first_position` and after it; nothing without pairs.
    pub(super) fn rotate(&self, rows: &mut [f32], n_heads: usize, head_dim: usize, first_position: usize) {
        if self.n_pairs == 0 {
            return;
        }
        let rows = rows.chunks_exact_mut((n_heads * head_dim).max(1));
        let angles = self.table.chunks_exact(2 * self.n_pairs).skip(first_position);
        for (row, angles) in rows.zip(angles) {
            let (cosines, sines) = angles.split_at(self.n_pairs);
            for head in row.chunks_exact_mut(head_dim) {
                let (first, rest) = head.split_at_mut(self.n_pairs);
                for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LongRope;

    fn table(long: Option<LongRope>) -> RopeTable {
        RopeTable { n_dims: 2, inv_freqs: vec![1.0], long, magnitude: 2.0 }
    }

    #[test]
    fn pairs_turn_with_their_position_and_the_rest_of_a_head_stays() {
        let rotation = Rotation::new(&table(None), 4);
        let mut rows = vec![1.0, 0.0, 5.0, 0.0, 1.0, 6.0];
        rotation.rotate(&mut rows, 2, 3, 3);
        let (cos, sin) = (2.0 * 3.0_f32.cos(), 2.0 * 3.0_f32.sin());
        let expected = [cos, sin, 5.0, -sin, cos, 6.0];
        assert!(rows.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{rows:?}");
    }

    #[test]
    fn the_length_of_the_context_chooses_the_frequencies() {
        let table = table(Some(LongRope { above: 2, inv_freqs: vec![0.5] }));
        let check = |n_ctx: usize, angle: f32| {
            let mut row = vec![1.0, 0.0];
            Rotation::new(&table, n_ctx).rotate(&mut row, 1, 2, 1);
            assert!((row[0] - 2.0 * angle.cos()).abs() < 1e-6, "{n_ctx}: {row:?}");
        };
        check(2, 1.0);
        check(3, 0.5);
    }
}
