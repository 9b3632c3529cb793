//! The smallest file that passes the gates on quality: what loss they allow, and the first file on the curve that stays below
//! it even where the prediction is too low by its error.

use serde::Serialize;

use super::recipe::{bought, nearest_level};
use super::{BudgetRecipe, Correction, Costs, Curve, CurvePoint};
use crate::advise::{Decision, GateKind, GateResult, Gates, Interval, Planner, Verdict};
use crate::error::{Error, Result};
use crate::format::Imatrix;
use crate::model::{Level, Model};
use crate::units::{bytes_text, nats_text};

/// The most files that are made for one search: a first one, and two that the measured ones before them have corrected.
pub const MAX_GATED_FILES: usize = 3;

/// How `--budget` and recipes name a budget of this kind.
pub const GATES_BUDGET: &str = "gates";

/// The most places whose likeliest token changes, as a part of all, for each root of a nat of mean KL divergence.
///
/// `1 - same top = c √KLD` is what small changes of the logits do: both are about their spread. In the 18 files of
/// benches/README.md that have both (0.0040 to 0.42 nats, SmolLM2 and the sample) `c` is 0.55 to 0.73; the largest keeps the
/// gate for certain.
const CHANGED_TOP_PER_ROOT_NAT: f64 = 0.73;

/// The most that the logarithm of the perplexity grows for each nat of mean KL divergence: 0.4 to 1.14 in benches/README.md.
const LOG_PERPLEXITY_PER_NAT: f64 = 1.15;

/// The loss that the gates allow, and the gate that decides it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossLimit {
    /// Largest mean KL divergence in nats.
    pub nats: f64,
    /// The strictest gate.
    pub kind: GateKind,
}

impl LossLimit {
    /// What these gates allow.
    ///
    /// Next-token accuracy is left to the measurement: no row of benches/README.md has it beside the divergence, its own error
    /// is 1 to 4 %, and a token that changes is often as right as the one before, so that a limit in nats that follows from it
    /// would be invented.
    ///
    /// # Errors
    /// `Error::BadRequest` where no gate is on that a loss can be predicted for.
    pub fn of(gates: &Gates) -> Result<Self> {
        let top = |limit: f64| ((1.0 - limit).max(0.0) / CHANGED_TOP_PER_ROOT_NAT).powi(2);
        let perplexity = |limit: f64| limit.max(1.0).ln() / LOG_PERPLEXITY_PER_NAT;
        let limits = [
            (gates.max_mean_kld, GateKind::MeanKld),
            (gates.min_same_top.map(top), GateKind::SameTop),
            (gates.max_ppl_ratio.map(perplexity), GateKind::PplRatio),
        ];
        let limits = limits.into_iter().filter_map(|(nats, kind)| Some(Self { nats: nats?, kind }));
        limits.min_by(|one, other| one.nats.total_cmp(&other.nats)).ok_or_else(|| {
            let known = [GateKind::MeanKld, GateKind::SameTop, GateKind::PplRatio].map(GateKind::phrase).join(", ");
            Error::BadRequest {
                message: format!("{}: the size of a file can only be found for a limit on one of {known}", gates.text()),
            }
        })
    }
}

/// What was found on the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatedPoint {
    /// The point, as predicted before any measurement.
    pub point: CurvePoint,
    /// Its loss in nats, corrected by what was measured.
    pub loss: f64,
    /// The error of that, in nats.
    pub loss_error: f64,
    /// Whether no file is smaller: then the gates allow more than it loses.
    pub is_smallest: bool,
}

/// How a recipe was found by gates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GatedBy {
    /// What they allow.
    pub limit: LossLimit,
    /// Predicted mean KL divergence in nats before measured files corrected it.
    pub uncorrected_loss: f64,
    /// How many files corrected it.
    pub n_measured: usize,
    /// Whether no file is smaller.
    pub is_smallest: bool,
}

/// A search for the smallest file that passes: what was measured so far.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSearch {
    limit: LossLimit,
    /// The loss in nats that the next file aims at: the limit, less what measured files say about the gates.
    aim: f64,
    /// Predicted and measured losses in nats.
    measured: Vec<(f64, f64)>,
    /// Files up to this size in bytes did not pass.
    failed_bytes: Option<u64>,
}

impl GateSearch {
    /// A search by these gates, before anything was measured.
    ///
    /// # Errors
    /// Those of [`LossLimit::of`].
    pub fn new(gates: &Gates) -> Result<Self> {
        let limit = LossLimit::of(gates)?;
        Ok(Self { limit, aim: limit.nats, measured: Vec::new(), failed_bytes: None })
    }

    /// What the gates allow.
    #[must_use]
    pub fn limit(&self) -> LossLimit {
        self.limit
    }

    /// The smallest point of a curve that stays within the limit with the upper end of its error, and is larger than the files
    /// that failed.
    ///
    /// # Errors
    /// `Error::BadRequest` where there is none, with what the largest is predicted to lose.
    pub fn find(&self, points: &[CurvePoint]) -> Result<GatedPoint> {
        let correction = Correction::of(&self.measured);
        let corrected = |(idx, point): (usize, &CurvePoint)| {
            let (loss, loss_error) = correction.apply(point.loss, point.loss_error);
            GatedPoint { point: *point, loss, loss_error, is_smallest: idx == 0 }
        };
        let is_open = |found: &GatedPoint| self.failed_bytes.is_none_or(|failed| found.point.data_bytes > failed);
        let mut last = None;
        for found in points.iter().enumerate().map(corrected) {
            if is_open(&found) && found.loss + found.loss_error <= self.aim {
                return Ok(found);
            }
            last = Some(found);
        }
        let Some(largest) = last else {
            return Err(Error::BadRequest { message: "the model has no weights to choose types for".into() });
        };
        Err(self.no_file(&largest))
    }

    fn no_file(&self, largest: &GatedPoint) -> Error {
        let loss = format!("{} ± {} nats", nats_text(largest.loss), nats_text(largest.loss_error));
        let size = bytes_text(largest.point.data_bytes);
        let message = if self.failed_bytes.is_some_and(|failed| failed >= largest.point.data_bytes) {
            format!(
                "no file is larger than those that did not pass: the largest has {size} of weights and was predicted to lose {loss}"
            )
        } else {
            let limit = nats_text(self.limit.nats);
            format!(
                "no file is predicted to pass {}, which allows {limit} nats: the largest has {size} of weights and is predicted to lose {loss}",
                self.limit.kind.phrase()
            )
        };
        Error::BadRequest { message }
    }

    /// Takes in a measured file: predictions are corrected by it, and if it did not pass, the next one is larger.
    ///
    /// `point` is what was predicted at its size. Gates that nothing is predicted for move the aim by what the file lost there:
    /// changes of the likeliest token grow with the root of the divergence, the logarithm of the perplexity with the divergence
    /// itself, and accuracy changes at most as much as the likeliest tokens.
    pub fn note(&mut self, point: &CurvePoint, mean_kld: Interval, verdict: &Verdict) {
        let is_measured = mean_kld.value.is_finite() && mean_kld.value > 0.0;
        self.measured.extend(is_measured.then_some((point.loss, mean_kld.value)));
        if verdict.decision == Decision::Pass {
            return;
        }
        self.failed_bytes = self.failed_bytes.max(Some(point.data_bytes));
        let open = verdict.gates.iter().filter(|gate| gate.decision != Decision::Pass);
        for part in open.filter_map(|gate| allowed_part(gate, mean_kld)) {
            self.aim = self.aim.min(part);
        }
    }
}

/// The mean KL divergence in nats at which a gate that did not pass would, by what a file with this one showed; `None` where it
/// shows nothing.
fn allowed_part(gate: &GateResult, mean_kld: Interval) -> Option<f64> {
    let measured = gate.measured.filter(|measured| measured.low.is_finite() && measured.high.is_finite())?;
    let part = match gate.kind {
        // A part of what is measured is chance: the whole interval has to be within the limit.
        GateKind::MeanKld => return Some(gate.limit * measured.value / measured.high).filter(|aim| aim.is_finite()),
        GateKind::AccuracyRatio | GateKind::SameTop => ((1.0 - gate.limit).max(0.0) / (1.0 - measured.low)).powi(2),
        GateKind::PplRatio => gate.limit.max(1.0).ln() / measured.high.ln(),
    };
    Some(mean_kld.value * part).filter(|aim| aim.is_finite() && *aim >= 0.0)
}

/// The curve of whole files: what is no tensor that levels change is as large in all of them, but for some bytes of the
/// recipe's text.
///
/// # Errors
/// Those of `Planner::changed`.
pub fn file_points(model: &Model, costs: &Costs, imatrix: Option<&Imatrix>) -> Result<Vec<CurvePoint>> {
    with_rest(model, imatrix, &curve(model, costs, imatrix)).map(|(points, _)| points)
}

fn curve(model: &Model, costs: &Costs, imatrix: Option<&Imatrix>) -> Curve {
    let planner = Planner::by(model, imatrix);
    Curve::new(model, costs, |idx| planner.is_quantizable(idx))
}

/// The points of a curve with the sizes of whole files, and the bytes that these have beside the tensors of the curve.
fn with_rest(model: &Model, imatrix: Option<&Imatrix>, curve: &Curve) -> Result<(Vec<CurvePoint>, u64)> {
    let largest = bought(model, imatrix, (curve, u64::MAX), Level::Q8_0, GATES_BUDGET)?;
    let rest = largest.size_bytes.saturating_sub(largest.data_bytes);
    let whole = |point: CurvePoint| CurvePoint { data_bytes: point.data_bytes.saturating_add(rest), ..point };
    Ok((curve.points().into_iter().map(whole).collect(), rest))
}

/// The recipe of the smallest file that a search finds, and its point on the curve of whole files; `imatrix` is the one that it
/// will be made with.
///
/// # Errors
/// Those of [`GateSearch::find`] and of `Planner::changed`.
pub fn gated_recipe(
    model: &Model,
    costs: &Costs,
    imatrix: Option<&Imatrix>,
    search: &GateSearch,
) -> Result<(BudgetRecipe, CurvePoint)> {
    let curve = curve(model, costs, imatrix);
    let (points, rest) = with_rest(model, imatrix, &curve)?;
    let GatedPoint { point, loss, loss_error, is_smallest } = search.find(&points)?;
    let n_measured = Correction::of(&search.measured).n_points();
    let by = GatedBy { limit: search.limit, uncorrected_loss: point.loss, n_measured, is_smallest };
    let level = nearest_level(&Planner::by(model, imatrix), point.data_bytes)?;
    let found = bought(model, imatrix, (&curve, point.data_bytes.saturating_sub(rest)), level, GATES_BUDGET)?;
    Ok((BudgetRecipe { loss, loss_error, gates: Some(by), ..found }, point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::judge;

    /// Each point has twice the size and a quarter of the loss of the one before.
    fn points() -> Vec<CurvePoint> {
        let point = |(idx, loss): (u32, f64)| CurvePoint { data_bytes: 1000 << idx, loss, loss_error: 0.4 * loss };
        (0..6).zip([0.64, 0.16, 0.04, 0.01, 0.0025, 0.000_625]).map(point).collect()
    }

    fn kld(limit: f64) -> Gates {
        Gates { max_mean_kld: Some(limit), ..Gates::OFF }
    }

    fn interval(value: f64, half: f64) -> Interval {
        Interval { value, low: value - half, high: value + half }
    }

    #[test]
    fn the_strictest_gate_that_has_a_prediction_decides() {
        let check = |gates: Gates, expected: Option<(f64, GateKind)>| match (LossLimit::of(&gates), expected) {
            (Ok(found), Some((nats, kind))) => {
                assert_eq!(found.kind, kind, "{gates:?}");
                assert!((found.nats / nats - 1.0).abs() < 0.01, "{gates:?}: {}", found.nats);
            }
            (Err(Error::BadRequest { message }), None) => assert!(message.contains("mean KL divergence"), "{message}"),
            (found, _) => panic!("{gates:?}: {found:?}"),
        };
        check(Gates::default(), Some((0.1, GateKind::MeanKld)));
        check(Gates { min_same_top: Some(0.9), ..Gates::default() }, Some((0.01877, GateKind::SameTop)));
        check(Gates { min_same_top: Some(0.5), ..Gates::default() }, Some((0.1, GateKind::MeanKld)));
        check(Gates { max_ppl_ratio: Some(1.05), ..Gates::OFF }, Some((0.04243, GateKind::PplRatio)));
        check(Gates { min_accuracy_ratio: Some(0.95), ..Gates::OFF }, None);
        check(Gates::OFF, None);
    }

    /// Mean KL divergence, same top and perplexity ratio of the files in benches/README.md that have them.
    #[test]
    fn what_was_measured_stays_within_what_is_taken_to_follow_from_it() {
        let files = [
            (0.0040, 0.958, 1.0017),
            (0.0584, 0.861, 1.0533),
            (0.419, 0.640, 1.4137),
            (0.0147, 0.925, 1.015),
            (0.0267, 0.899, 1.021),
            (0.0749, 0.842, 1.080),
            (0.0566, 0.858, 1.062),
            (0.160, 0.772, 1.165),
            (0.0150, 0.922, 1.016),
            (0.0182, 0.917, 1.016),
            (0.0307, 0.892, 1.027),
            (0.0368, 0.880, 1.036),
            (0.0419, 0.870, 1.043),
            (0.0251, 0.885, 1.0),
            (0.0086, 0.932, 1.0),
            (0.0762, 0.814, 1.0),
            (0.0197, 0.900, 1.0),
            (0.0523, 0.875, 1.0),
        ];
        for (nats, same_top, perplexity) in files {
            // A gate that the file just passes allows no more than the file loses: nothing that loses more is taken to pass.
            let by_top = LossLimit::of(&Gates { min_same_top: Some(same_top), ..Gates::OFF }).unwrap().nats;
            assert!(by_top <= nats * 1.01 && by_top > nats * 0.5, "{nats}: {by_top}");
            let by_perplexity = LossLimit::of(&Gates { max_ppl_ratio: Some(perplexity), ..Gates::OFF }).unwrap().nats;
            assert!(by_perplexity <= nats, "{nats}: {by_perplexity}");
        }
    }

    #[test]
    fn the_first_point_whose_upper_end_is_within_the_limit_is_found() {
        let check = |limit: f64, measured: &[(f64, f64)], expected: Option<u64>| {
            let search = GateSearch { measured: measured.to_vec(), ..GateSearch::new(&kld(limit)).unwrap() };
            let found = search.find(&points());
            assert_eq!(found.as_ref().ok().map(|found| found.point.data_bytes), expected, "{limit}: {found:?}");
        };
        check(0.1, &[], Some(4000));
        // 0.04 with its error is 0.056.
        check(0.056_01, &[], Some(4000));
        check(0.055, &[], Some(8000));
        // Three times as much is lost as predicted: 0.12 instead of 0.04.
        check(0.1, &[(0.1, 0.3)], Some(8000));
        check(0.1, &[(0.1, 0.05)], Some(4000));
        check(1.0, &[], Some(1000));
        check(0.0005, &[], None);
    }

    #[test]
    fn limits_that_are_too_tight_or_too_loose_are_told() {
        let find = |limit: f64| GateSearch::new(&kld(limit)).unwrap().find(&points());
        assert!(find(2.0).unwrap().is_smallest && !find(0.1).unwrap().is_smallest);
        let error = find(0.0001).unwrap_err().to_string();
        assert!(error.contains("allows 1.0e-4 nats") && error.contains("6.3e-4 ± 2.5e-4 nats"), "{error}");
    }

    #[test]
    fn a_file_that_fails_makes_the_next_one_larger() {
        let gates = Gates { min_accuracy_ratio: Some(0.95), ..kld(0.1) };
        let failed = |value: f64, half: f64, accuracy: Interval| {
            let mut search = GateSearch::new(&gates).unwrap();
            let first = search.find(&points()).unwrap();
            assert_eq!(first.point.data_bytes, 4000);
            let measured = interval(value, half);
            let verdict = judge(&gates, |kind| Some(if kind == GateKind::MeanKld { measured } else { accuracy }));
            search.note(&first.point, measured, &verdict);
            search
        };
        let good = interval(0.99, 0.01);
        // Twice what was predicted, or near the limit: the next point on the curve.
        for search in [failed(0.2, 0.01, good), failed(0.095, 0.02, good)] {
            assert_eq!(search.find(&points()).unwrap().point.data_bytes, 8000, "{search:?}");
        }
        // Less is lost than predicted, but accuracy fails: half of the changes at a quarter of the loss.
        let search = failed(0.02, 0.002, Interval { value: 0.92, low: 0.90, high: 0.94 });
        assert!((search.aim / 0.005 - 1.0).abs() < 1e-9, "{search:?}");
        assert_eq!(search.find(&points()).unwrap().point.data_bytes, 16_000);
        // Nothing was measured: the next size all the same.
        assert_eq!(failed(f64::NAN, 0.0, good).find(&points()).unwrap().point.data_bytes, 8000);
        // One that passes corrects predictions alone.
        let mut search = GateSearch::new(&gates).unwrap();
        let point = points()[3];
        search.note(
            &point,
            interval(0.02, 0.001),
            &judge(&gates, |kind| Some(if kind == GateKind::MeanKld { interval(0.02, 0.001) } else { good })),
        );
        assert_eq!((search.failed_bytes, search.aim, search.measured.as_slice()), (None, 0.1, [(0.01, 0.02)].as_slice()));
        // Nothing is left.
        let mut search = failed(0.2, 0.01, good);
        let largest = points()[5];
        search.note(&largest, interval(0.2, 0.01), &judge(&gates, |_| None));
        let error = search.find(&points()).unwrap_err().to_string();
        assert!(error.contains("no file is larger than those that did not pass"), "{error}");
    }
}
