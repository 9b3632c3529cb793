//! How a text is cut into chunks: the same for every model that splits it into the same tokens.

/// Which chunks [`drawn`] takes where not all are wanted: belongs to the key of what is collected on them, and changes with the rule.
pub const DRAWING: &str = "evenly over parts and their lengths";

/// A chunk of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Index of the part it belongs to.
    pub part_idx: u32,
    /// Position of its first token in that part.
    pub start: usize,
}

/// A part of a text to draw chunks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawable {
    /// Its tokens.
    pub n_tokens: usize,
    /// Percent of the drawn chunks that should come from it; 0: what the others leave is shared evenly.
    pub percent: u32,
}

/// Cuts parts of these lengths, in tokens, into chunks of `n_ctx`; what is left at the end of a part is dropped. Chunks of the parts take
/// turns in proportion to their number, so that the first ones are a fair sample of all; those of a single part stay in order.
#[must_use]
pub fn chunks(part_lens: &[usize], n_ctx: usize) -> Vec<Chunk> {
    let counts: Vec<usize> = part_lens.iter().map(|len| len / n_ctx.max(1)).collect();
    taking_turns(&counts, &counts, n_ctx)
}

/// Draws at most `n_chunks` chunks of `n_ctx` tokens: as many from each part, or its percentage, and from a part at even distances over its
/// whole length. What a short part cannot give, the others do. They take turns as those of [`chunks`], which are all of them.
#[must_use]
pub fn drawn(parts: &[Drawable], n_ctx: usize, n_chunks: usize) -> Vec<Chunk> {
    let counts: Vec<usize> = parts.iter().map(|part| part.n_tokens / n_ctx.max(1)).collect();
    let n = n_chunks.min(counts.iter().sum());
    let share = |percent: u32| (n * percent.min(100) as usize + 50) / 100;
    let mut taken: Vec<usize> = counts.iter().zip(parts).map(|(&count, part)| count.min(share(part.percent))).collect();
    let mut n_left = n.saturating_sub(taken.iter().sum());
    // A chunk from each part a round; those with a percentage have theirs, and give more only when the others are used up.
    for also_weighted in [false, true] {
        let mut n_before = usize::MAX;
        while n_left < n_before {
            n_before = n_left;
            for ((taken, &count), part) in taken.iter_mut().zip(&counts).zip(parts) {
                if n_left > 0 && *taken < count && (also_weighted || part.percent == 0) {
                    *taken += 1;
                    n_left -= 1;
                }
            }
        }
    }
    taking_turns(&counts, &taken, n_ctx)
}

/// Takes `taken` of the `counts` chunks of each part from the middle of as many equal pieces, ordered by their place in the part.
fn taking_turns(counts: &[usize], taken: &[usize], n_ctx: usize) -> Vec<Chunk> {
    let mut placed: Vec<(f64, Chunk)> = Vec::new();
    for (part_idx, (&count, &taken)) in (0..).zip(counts.iter().zip(taken)) {
        #[allow(clippy::cast_precision_loss, reason = "a place between 0 and 1")]
        placed.extend((0..taken).map(|idx| {
            let start = (2 * idx + 1) * count / (2 * taken) * n_ctx;
            ((idx as f64 + 0.5) / taken as f64, Chunk { part_idx, start })
        }));
    }
    placed.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.part_idx.cmp(&other.1.part_idx)));
    placed.into_iter().map(|(_, chunk)| chunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(chunks: Vec<Chunk>) -> Vec<(u32, usize)> {
        chunks.into_iter().map(|chunk| (chunk.part_idx, chunk.start)).collect()
    }

    fn check(part_lens: &[usize], expected: &[(u32, usize)]) {
        assert_eq!(pairs(chunks(part_lens, 10)), expected, "{part_lens:?}");
        let parts: Vec<Drawable> = part_lens.iter().map(|&n_tokens| Drawable { n_tokens, percent: 0 }).collect();
        assert_eq!(pairs(drawn(&parts, 10, usize::MAX)), expected, "all of {part_lens:?}");
    }

    #[test]
    fn parts_take_turns() {
        check(&[35], &[(0, 0), (0, 10), (0, 20)]);
        check(&[40, 20], &[(0, 0), (1, 0), (0, 10), (0, 20), (1, 10), (0, 30)]);
        check(&[9, 10], &[(1, 0)]);
        check(&[], &[]);
        check(&[0, 9], &[]);
    }

    #[test]
    fn few_chunks_are_drawn_evenly_over_the_parts_and_their_lengths() {
        let check = |parts: &[(usize, u32)], n_chunks: usize, expected: &[(u32, usize)]| {
            let parts: Vec<Drawable> = parts.iter().map(|&(n_tokens, percent)| Drawable { n_tokens, percent }).collect();
            assert_eq!(pairs(drawn(&parts, 10, n_chunks)), expected, "{n_chunks} of {parts:?}");
        };
        check(&[(100, 0)], 1, &[(0, 50)]);
        check(&[(100, 0)], 2, &[(0, 20), (0, 70)]);
        // A long part gives no more than a short one, and the first ones one more.
        check(&[(1000, 0), (40, 0)], 4, &[(0, 250), (1, 10), (0, 750), (1, 30)]);
        check(&[(1000, 0), (40, 0)], 3, &[(0, 250), (1, 20), (0, 750)]);
        // What a short part does not have, the others give.
        check(&[(1000, 0), (10, 0), (9, 0)], 4, &[(0, 160), (0, 500), (1, 0), (0, 830)]);
        check(&[(50, 0)], 0, &[]);
        // Half of the chunks from a part, whatever the number of the others.
        check(&[(1000, 50), (100, 0), (100, 0)], 4, &[(0, 250), (1, 50), (2, 50), (0, 750)]);
        check(&[(20, 50), (1000, 0)], 8, &[(1, 80), (0, 0), (1, 250), (1, 410), (1, 580), (0, 10), (1, 750), (1, 910)]);
        check(&[(1000, 10), (10, 0)], 4, &[(0, 160), (0, 500), (1, 0), (0, 830)]);
    }

    #[test]
    fn every_chunk_is_drawn_once_and_no_part_is_left_out() {
        let parts: Vec<Drawable> =
            [7000, 512, 90_000, 3000, 511].into_iter().map(|n_tokens| Drawable { n_tokens, percent: 0 }).collect();
        for n_chunks in 1..300 {
            let chunks = drawn(&parts, 512, n_chunks);
            assert_eq!(chunks.len(), n_chunks.min(13 + 1 + 175 + 5));
            let mut places = pairs(chunks);
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), n_chunks.min(194), "{n_chunks}: no chunk twice");
            let n_parts = (0..4).filter(|part| places.iter().any(|place| place.0 == *part)).count();
            assert_eq!(n_parts, n_chunks.min(4), "{n_chunks}");
            assert!(places.iter().all(|&(part, start)| start + 512 <= parts[part as usize].n_tokens));
        }
    }
}
