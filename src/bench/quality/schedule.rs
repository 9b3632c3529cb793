//! Which chunks are scored, in which order, and when the gates are looked at.

use super::{QualityRequest, Stopping};

/// Scored tokens before the gates are looked at for the first time.
const FIRST_LOOK_TOKENS: u32 = 1000;
/// Each look is at this many times as many chunks as the one before.
const LOOK_GROWTH: f64 = 1.5;
/// The fewest chunks that say something about the spread between chunks.
pub(super) const MIN_CHUNKS: usize = 2;

/// Scored tokens of a chunk: the second half without its first token, which is predicted from the first half alone.
fn scored_per_chunk(n_ctx: u32) -> u32 {
    n_ctx - n_ctx / 2 - 1
}

/// The first chunks that make up the wanted tokens, in an order drawn by the seed: stopping early then sees a fair sample of them.
pub(super) fn order(n_chunks: usize, request: &QualityRequest) -> Vec<u32> {
    let n_wanted = request.max_tokens.div_ceil(scored_per_chunk(request.n_ctx)).max(u32::try_from(MIN_CHUNKS).unwrap_or(2));
    let n = u32::try_from(n_chunks).unwrap_or(u32::MAX).min(n_wanted);
    let mut order: Vec<u32> = (0..n).collect();
    fastrand::Rng::with_seed(request.seed).shuffle(&mut order);
    order
}

/// Numbers of chunks at which the gates are looked at; the last one is all.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a few hundred chunks")]
pub(super) fn looks(n_chunks: usize, request: &QualityRequest) -> Vec<usize> {
    let mut looks = Vec::new();
    if request.stopping == Stopping::Decided {
        let mut next = FIRST_LOOK_TOKENS.div_ceil(scored_per_chunk(request.n_ctx)).max(3) as usize;
        while next < n_chunks {
            looks.push(next);
            next = (next as f64 * LOOK_GROWTH).ceil() as usize;
        }
    }
    looks.push(n_chunks);
    looks
}

/// How many chunks are to be known after the next pass of a reference that reads all of its weights in each pass: those of the look,
/// at least twice as many as before, at most all.
///
/// 40 chunks then take five passes at most, not the seven of the looks, and the last pass computes at most as much in vain as all
/// before it were worth.
pub(super) fn pass_end(n_known: usize, look: usize, n_chunks: usize) -> usize {
    look.max(n_known.saturating_mul(2)).min(n_chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(max_tokens: u32, stopping: Stopping) -> QualityRequest {
        QualityRequest { candidates: vec!["m.gguf".into()], max_tokens, stopping, ..QualityRequest::default() }
    }

    #[test]
    fn gates_are_looked_at_after_a_thousand_tokens_and_then_less_and_less_often() {
        assert_eq!(looks(40, &request(10_000, Stopping::Decided)), [4, 6, 9, 14, 21, 32, 40]);
        assert_eq!(looks(3, &request(10_000, Stopping::Decided)), [3]);
        assert_eq!(looks(40, &request(10_000, Stopping::Full)), [40]);
    }

    #[test]
    fn passes_over_all_weights_are_fewer_than_looks() {
        let ends = |stopping| {
            let (mut n_known, mut ends) = (0, Vec::new());
            for look in looks(40, &request(10_000, stopping)) {
                if look > n_known {
                    n_known = pass_end(n_known, look, 40);
                    ends.push(n_known);
                }
            }
            ends
        };
        assert_eq!(ends(Stopping::Decided), [4, 8, 16, 32, 40]);
        assert_eq!(ends(Stopping::Full), [40], "all at once");
    }

    #[test]
    fn the_seed_decides_the_order_of_the_same_chunks() {
        let with_seed = |seed| order(100, &QualityRequest { seed, ..request(2550, Stopping::Full) });
        assert_ne!(with_seed(1), with_seed(2));
        let mut sorted = with_seed(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_eq!(order(3, &request(1_000_000, Stopping::Full)).len(), 3, "no more than the text has");
        assert_eq!(order(100, &request(1, Stopping::Full)).len(), 2, "two chunks at least");
    }
}
