//! How a text is cut into chunks: the same for every model that splits it into the same tokens.

/// A chunk of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Index of the part it belongs to.
    pub part_idx: u32,
    /// Position of its first token in that part.
    pub start: usize,
}

/// Cuts parts of these lengths, in tokens, into chunks of `n_ctx`; what is left at the end of a part is dropped. Chunks of the parts take
/// turns in proportion to their number, so that the first ones are a fair sample of all; those of a single part stay in order.
#[must_use]
pub fn chunks(part_lens: &[usize], n_ctx: usize) -> Vec<Chunk> {
    let mut placed: Vec<(f64, Chunk)> = Vec::new();
    for (part_idx, len) in (0..).zip(part_lens) {
        let n = len / n_ctx.max(1);
        #[allow(clippy::cast_precision_loss, reason = "a place between 0 and 1")]
        placed.extend((0..n).map(|idx| ((idx as f64 + 0.5) / n as f64, Chunk { part_idx, start: idx * n_ctx })));
    }
    placed.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.part_idx.cmp(&other.1.part_idx)));
    placed.into_iter().map(|(_, chunk)| chunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(part_lens: &[usize], expected: &[(u32, usize)]) {
        let found: Vec<_> = chunks(part_lens, 10).into_iter().map(|chunk| (chunk.part_idx, chunk.start)).collect();
        assert_eq!(found, expected, "{part_lens:?}");
    }

    #[test]
    fn parts_take_turns() {
        check(&[35], &[(0, 0), (0, 10), (0, 20)]);
        check(&[40, 20], &[(0, 0), (1, 0), (0, 10), (0, 20), (1, 10), (0, 30)]);
        check(&[9, 10], &[(1, 0)]);
        check(&[], &[]);
        check(&[0, 9], &[]);
    }
}
