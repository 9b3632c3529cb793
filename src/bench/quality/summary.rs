//! What is reported: every number with its interval, together and for each kind of text.

use super::stats::{Quotient, bounded_proportion, percentiles};
use super::{ChunkSums, KindSummary, QualitySummary, ScoredChunk};
use crate::advise::{GateKind, Interval};

/// The level of reported intervals: they cover `1 - ALPHA`.
pub(super) const ALPHA: f64 = 0.05;

type Sum = fn(&ChunkSums) -> f64;

const N: Sum = |chunk| chunk.n;
const KLD: Sum = |chunk| chunk.kld;
const SAME_TOP: Sum = |chunk| chunk.same_top;
const LOG_PPL_RATIO: Sum = |chunk| chunk.nll_candidate - chunk.nll_reference;
const RIGHT_REFERENCE: Sum = |chunk| chunk.right_reference;
const RIGHT_CANDIDATE: Sum = |chunk| chunk.right_candidate;

/// All numbers of these chunks; the same `seed` gives the same intervals.
///
/// `floor_nats` is what the reference's runtime may differ by from the candidate's on the same weights (`ReferenceBy::floor_nats`): it
/// widens the interval of the mean KL divergence at both ends. What the runtimes differ by at random is in the spread of the chunks
/// already.
pub(super) fn summarize(chunks: &[ScoredChunk], sums: &[ChunkSums], floor_nats: f64, seed: u64) -> QualitySummary {
    let interval = |part: Sum, whole: Sum| Quotient::new(sums, part, whole).interval(seed);
    let n_tokens: f64 = sums.iter().map(N).sum();
    let proportion = |part: Sum| bounded_proportion(interval(part, N), n_tokens, ALPHA);
    let klds: Vec<Vec<f64>> = chunks.iter().map(|chunk| chunk.tokens.iter().map(|token| token.kld).collect()).collect();
    let quantiles = percentiles(&klds, &[0.5, 0.9, 0.99, 0.999], seed);
    let quantile = |idx: usize| quantiles.get(idx).copied().unwrap_or(Interval::exact(f64::NAN));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    QualitySummary {
        n_tokens: n_tokens as u64,
        n_chunks: sums.len() as u64,
        mean_kld: never_negative(widened(interval(KLD, N), floor_nats)),
        median_kld: quantile(0),
        kld_p90: quantile(1),
        kld_p99: quantile(2),
        kld_p999: quantile(3),
        max_kld: klds.iter().flatten().copied().fold(0.0, f64::max),
        ppl_reference: interval(|chunk| chunk.nll_reference, N).map(f64::exp),
        ppl_candidate: interval(|chunk| chunk.nll_candidate, N).map(f64::exp),
        ppl_ratio: interval(LOG_PPL_RATIO, N).map(f64::exp),
        same_top: proportion(SAME_TOP),
        rms_delta_p: never_negative(interval(|chunk| chunk.delta_p_squared, N)).map(f64::sqrt),
        accuracy_reference: proportion(RIGHT_REFERENCE),
        accuracy_candidate: proportion(RIGHT_CANDIDATE),
        accuracy_ratio: never_negative(interval(RIGHT_CANDIDATE, RIGHT_REFERENCE)),
    }
}

/// The losses on each kind of text, in the order of the text's parts.
pub(super) fn summarize_kinds(chunks: &[ScoredChunk], sums: &[ChunkSums], floor_nats: f64, seed: u64) -> Vec<KindSummary> {
    let mut parts: Vec<(u32, &str)> = chunks.iter().map(|chunk| (chunk.part_idx, chunk.kind.as_str())).collect();
    parts.sort_unstable();
    parts.dedup();
    parts
        .into_iter()
        .map(|(part_idx, kind)| {
            let own: Vec<ChunkSums> = sums.iter().filter(|chunk| chunk.part_idx == part_idx).cloned().collect();
            let n_tokens: f64 = own.iter().map(N).sum();
            let interval = |part: Sum| Quotient::new(&own, part, N).interval(seed);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            KindSummary {
                kind: kind.to_string(),
                n_tokens: n_tokens as u64,
                mean_kld: never_negative(widened(interval(KLD), floor_nats)),
                ppl_ratio: interval(LOG_PPL_RATIO).map(f64::exp),
                same_top: bounded_proportion(interval(SAME_TOP), n_tokens, ALPHA),
            }
        })
        .collect()
}

/// The interval of a gate's quantity at level `alpha`, for verdicts; `floor_nats` as for [`summarize`].
pub(super) fn gate_interval(kind: GateKind, sums: &[ChunkSums], floor_nats: f64, alpha: f64) -> Interval {
    let n_tokens: f64 = sums.iter().map(N).sum();
    let interval = |part: Sum, whole: Sum| Quotient::new(sums, part, whole).student_interval(alpha);
    match kind {
        GateKind::AccuracyRatio => interval(RIGHT_CANDIDATE, RIGHT_REFERENCE),
        GateKind::PplRatio => interval(LOG_PPL_RATIO, N).map(f64::exp),
        GateKind::MeanKld => never_negative(widened(interval(KLD, N), floor_nats)),
        GateKind::SameTop => bounded_proportion(interval(SAME_TOP, N), n_tokens, alpha),
    }
}

fn widened(interval: Interval, by: f64) -> Interval {
    Interval { low: interval.low - by, high: interval.high + by, ..interval }
}

fn never_negative(interval: Interval) -> Interval {
    Interval { low: interval.low.max(0.0), ..interval }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::quality::TokenScore;

    fn chunk(chunk_idx: u32, part_idx: u32, kld: f64) -> ScoredChunk {
        let token = |idx: i32| TokenScore {
            id: idx % 2,
            kld: kld * f64::from(1 + idx % 3),
            logp_reference: -1.0,
            logp_candidate: -1.0 - kld,
            top_reference: 0,
            top_candidate: idx % 4 / 3,
            p_top_reference: 0.5,
            p_top_candidate: 0.5,
            p_top_reference_by_candidate: 0.5,
            p_top_candidate_by_reference: None,
        };
        ScoredChunk {
            chunk_idx,
            part_idx,
            kind: if part_idx == 0 { "prose".into() } else { "code".into() },
            first_scored: 1,
            pieces: Vec::new(),
            tops: std::collections::BTreeMap::new(),
            tokens: (0..60).map(token).collect(),
        }
    }

    fn sums(chunks: &[ScoredChunk]) -> Vec<ChunkSums> {
        chunks.iter().map(|chunk| ChunkSums::from_tokens(chunk.chunk_idx, chunk.part_idx, &chunk.tokens)).collect()
    }

    #[test]
    fn the_numbers_are_those_of_their_definitions() {
        let chunks: Vec<ScoredChunk> = (0..10).map(|idx| chunk(idx, idx % 2, 0.1 + 0.01 * f64::from(idx))).collect();
        let summary = summarize(&chunks, &sums(&chunks), 0.0, 1);
        let near = |interval: Interval, expected: f64| {
            assert!((interval.value - expected).abs() < 1e-9, "{interval:?}, expected {expected}");
            assert!(interval.low <= interval.value && interval.value <= interval.high, "{interval:?}");
        };
        assert_eq!((summary.n_tokens, summary.n_chunks), (600, 10));
        near(summary.mean_kld, 2.0 * 0.145);
        near(summary.ppl_reference, 1.0_f64.exp());
        near(summary.ppl_ratio, 0.145_f64.exp());
        near(summary.ppl_candidate, 1.145_f64.exp());
        near(summary.same_top, 0.75);
        near(summary.accuracy_reference, 0.5);
        near(summary.accuracy_candidate, 0.75);
        near(summary.accuracy_ratio, 1.5);
        assert!((summary.max_kld - 0.57).abs() < 1e-9);
        assert!(summary.mean_kld.half_width() > 0.0 && summary.median_kld.value > 0.0);
        let kinds = summarize_kinds(&chunks, &sums(&chunks), 0.0, 1);
        assert_eq!(
            kinds.iter().map(|kind| (kind.kind.as_str(), kind.n_tokens)).collect::<Vec<_>>(),
            [("prose", 300), ("code", 300)]
        );
        near(kinds[1].mean_kld, 2.0 * 0.15);
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "the same sums give the same numbers")]
    fn gates_see_the_same_values_as_the_report() {
        let chunks: Vec<ScoredChunk> = (0..6).map(|idx| chunk(idx, 0, 0.1 + 0.02 * f64::from(idx))).collect();
        let sums = sums(&chunks);
        let summary = summarize(&chunks, &sums, 0.0, 1);
        let value = |kind| gate_interval(kind, &sums, 0.0, 0.05).value;
        assert_eq!(value(GateKind::MeanKld), summary.mean_kld.value);
        assert_eq!(value(GateKind::PplRatio), summary.ppl_ratio.value);
        assert_eq!(value(GateKind::SameTop), summary.same_top.value);
        assert_eq!(value(GateKind::AccuracyRatio), summary.accuracy_ratio.value);
        let width = |alpha| gate_interval(GateKind::MeanKld, &sums, 0.0, alpha).half_width();
        assert!(width(0.001) > width(0.05), "a stricter level is wider");
    }

    #[test]
    fn the_floor_of_another_runtime_widens_the_loss_alone() {
        let chunks: Vec<ScoredChunk> = (0..6).map(|idx| chunk(idx, 0, 0.1 + 0.02 * f64::from(idx))).collect();
        let sums = sums(&chunks);
        let (plain, with_floor) = (summarize(&chunks, &sums, 0.0, 1), summarize(&chunks, &sums, 0.01, 1));
        let wider = |plain: Interval, with_floor: Interval| {
            let by = [plain.low - with_floor.low, with_floor.high - plain.high];
            assert!(by.iter().all(|by| (by - 0.01).abs() < 1e-12), "{plain:?} {with_floor:?}");
        };
        wider(plain.mean_kld, with_floor.mean_kld);
        wider(summarize_kinds(&chunks, &sums, 0.0, 1)[0].mean_kld, summarize_kinds(&chunks, &sums, 0.01, 1)[0].mean_kld);
        let gate = |kind, floor_nats| gate_interval(kind, &sums, floor_nats, 0.05);
        wider(gate(GateKind::MeanKld, 0.0), gate(GateKind::MeanKld, 0.01));
        assert_eq!(gate(GateKind::SameTop, 0.0), gate(GateKind::SameTop, 0.01));
        assert_eq!(QualitySummary { mean_kld: plain.mean_kld, ..with_floor }, plain);
        assert!(summarize(&chunks, &sums, 9.0, 1).mean_kld.low.abs() < 1e-12, "never below zero");
    }
}
