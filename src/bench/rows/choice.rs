//! What the measurements say about the plan: which level to take now, and how far the predictions were off.

use std::path::PathBuf;

use serde::Serialize;

use super::pair::{Pair, decode_pair, memory_pair, prefill_pair};
use crate::advise::{Basis, Decision, Goal, Priority, Target, Verdict};
use crate::bench::ComparisonRow;
use crate::model::Level;
use crate::units::percent_text;

/// The recommendation after measuring.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredChoice {
    /// The level of the file that passes the gates on quality and serves the goal best; of those, one that refuses no wish where there is
    /// one. `None` where none passes.
    pub level: Option<Level>,
    /// That file; not in JSON, which has no place for a path that is not Unicode.
    #[serde(skip)]
    pub path: Option<PathBuf>,
    /// What the plan recommends before anything is measured.
    pub planned: Option<Level>,
    /// True while an undecided verdict could change the choice; files without a verdict do not count.
    pub is_open: bool,
    /// In words, as one sentence.
    pub text: String,
}

/// What the choice looks at.
#[derive(Clone, Copy)]
struct Judged<'a> {
    row: &'a ComparisonRow,
    level: Level,
    decision: Decision,
    refuses_a_wish: bool,
}

/// The measured file that passes the gates on quality and serves the goal best, compared with the plan's; `None` while no file
/// has a verdict.
///
/// A file that was tried here in place of a Mac is chosen only where the goal is a Mac.
///
/// For quality that is the one that loses least, for speed the one that decodes fastest, else the smallest.
#[must_use]
pub fn measured_choice(rows: &[ComparisonRow], planned: Option<Level>, goal: &Goal) -> Option<MeasuredChoice> {
    let priority = goal.priority;
    let mut judged: Vec<Judged> = rows
        .iter()
        .filter(|row| row.stand_in().is_none() || goal.target == Target::Apple)
        .filter_map(|row| {
            let refuses_a_wish = row.wishes.iter().any(|wish| wish.decision == Decision::Fail);
            Some(Judged { row, level: row.level?, decision: row.verdict.as_ref()?.decision, refuses_a_wish })
        })
        .collect();
    let size = |judged: &Judged| (judged.row.size_bytes, judged.level);
    judged.sort_by(|a, b| cost(a.row, priority).total_cmp(&cost(b.row, priority)).then_with(|| size(a).cmp(&size(b))));
    let n_open = judged.iter().filter(|judged| judged.decision == Decision::Inconclusive).count();
    let passing = || judged.iter().filter(|judged| judged.decision == Decision::Pass);
    let best = passing().find(|judged| !judged.refuses_a_wish).or_else(|| passing().next()).copied();
    let text = match best {
        _ if judged.is_empty() => return None,
        Some(best) => {
            let is_first = passing().next().is_some_and(|first| first.row.path == best.row.path);
            let wishes = if is_first { "" } else { " and grants your wishes" };
            let beside = beside_plan(&judged, best, planned);
            let what = match priority {
                Priority::Quality => "loses least of the levels here that pass the gates on quality",
                Priority::Speed => "is the fastest level here that passes the gates on quality",
                Priority::Balanced | Priority::Size => "is the smallest level here that passes the gates on quality",
            };
            format!("{} {what}{wishes}{beside}", best.row.name)
        }
        None if n_open > 0 => format!("No level here passes the gates on quality yet; {n_open} of {} undecided", judged.len()),
        None => format!("No level here passes the gates on quality{}", closest_text(rows)),
    };
    let before_best = judged.iter().take_while(|judged| best.is_none_or(|best| judged.row.path != best.row.path));
    Some(MeasuredChoice {
        level: best.map(|best| best.level),
        path: best.map(|best| best.row.path.clone()),
        planned,
        is_open: before_best.into_iter().any(|judged| judged.decision == Decision::Inconclusive),
        text,
    })
}

/// What the goal wants as little of as possible: mean KL divergence, or seconds per token; 0 for all where it looks at the size
/// alone, infinity where it was not measured.
fn cost(row: &ComparisonRow, priority: Priority) -> f64 {
    match priority {
        Priority::Quality => row.quality.as_ref().map_or(f64::INFINITY, |run| run.summary.mean_kld.value),
        Priority::Speed => row.run.as_ref().map_or(f64::INFINITY, |run| 1.0 / run.decode_tokens_per_sec.median()),
        Priority::Balanced | Priority::Size => 0.0,
    }
}

/// What the choice means for the plan's level: `, as the plan recommended before measuring`.
fn beside_plan(judged: &[Judged], best: Judged, planned: Option<Level>) -> String {
    let Some(planned) = planned else { return String::new() };
    // By name: a changed recipe of a level is not what was planned.
    if planned.name() == best.row.name {
        return ", as the plan recommended before measuring".into();
    }
    let found = judged.iter().find(|judged| judged.row.name == planned.name());
    let what = match found.map(|found| (found.decision, found.refuses_a_wish)) {
        Some((Decision::Fail, _)) => "fails",
        Some((Decision::Inconclusive, _)) => "is undecided",
        Some((Decision::Pass, true)) => "passes too and grants fewer wishes",
        Some((Decision::Pass, false)) if found.is_some_and(|found| found.row.size_bytes > best.row.size_bytes) => {
            "passes too and is larger"
        }
        Some((Decision::Pass, false)) => "passes too",
        None => return format!("; {planned}, which the plan recommended before measuring, is not measured yet"),
    };
    format!("; {planned}, which the plan recommended before measuring, {what}")
}

/// The judged file that comes closest to passing: with the best decision, then the fewest gates that do not pass, then the
/// least loss, then the smallest.
#[must_use]
pub fn closest_judged(rows: &[ComparisonRow]) -> Option<(&ComparisonRow, &Verdict)> {
    let n_open = |verdict: &Verdict| verdict.gates.iter().filter(|gate| gate.decision != Decision::Pass).count();
    let judged = rows.iter().filter_map(|row| Some((row, row.verdict.as_ref()?)));
    let kld = |row: &ComparisonRow| row.quality.as_ref().map_or(f64::INFINITY, |run| run.summary.mean_kld.value);
    judged.min_by(|(a, one), (b, other)| {
        let by_gates = (one.decision, n_open(one)).cmp(&(other.decision, n_open(other)));
        by_gates.then(kld(a).total_cmp(&kld(b))).then(a.size_bytes.cmp(&b.size_bytes))
    })
}

/// Which level comes closest, and what it fails: `; Q8_0 comes closest and fails mean KL divergence`; else empty.
fn closest_text(rows: &[ComparisonRow]) -> String {
    let Some((row, verdict)) = closest_judged(rows) else { return String::new() };
    let failed = verdict.gates.iter().filter(|gate| gate.decision == Decision::Fail);
    let failed: Vec<String> = failed.map(|gate| gate.kind.phrase()).collect();
    if failed.is_empty() { String::new() } else { format!("; {} comes closest and fails {}", row.name, failed.join(" and ")) }
}

/// How far the predictions of one quantity were off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PredictionError {
    /// `decode`, `prefill` or `memory`.
    pub quantity: &'static str,
    /// Median over the files of measured divided by predicted; 1 is exact.
    pub median_ratio: f64,
    /// Files that have both.
    pub n_files: usize,
    /// Files whose measurement lies inside the predicted band.
    pub n_inside: usize,
    /// Files whose prediction was adjusted by runs of other files.
    pub n_adjusted: usize,
}

/// The errors of the predictions of speed and memory, each over the files that have both numbers.
#[must_use]
pub fn prediction_errors(rows: &[ComparisonRow]) -> Vec<PredictionError> {
    type PairOf = fn(&ComparisonRow) -> Pair;
    let quantities: [(&'static str, PairOf); 3] = [("decode", decode_pair), ("prefill", prefill_pair), ("memory", memory_pair)];
    quantities
        .into_iter()
        .filter_map(|(quantity, pair_of)| {
            let pairs: Vec<Pair> = rows.iter().map(pair_of).filter(|pair| pair.ratio().is_some()).collect();
            let mut ratios: Vec<f64> = pairs.iter().filter_map(|pair| pair.ratio()).collect();
            ratios.sort_by(f64::total_cmp);
            let is_inside = |pair: &&Pair| {
                pair.predicted.zip(pair.measured).is_some_and(|(band, (mid, _))| (band.low..=band.high).contains(&mid))
            };
            let (n_files, n_inside) = (ratios.len(), pairs.iter().filter(is_inside).count());
            let median_ratio = match n_files {
                0 => return None,
                n if n % 2 == 1 => ratios[n / 2],
                n => f64::midpoint(ratios[n / 2 - 1], ratios[n / 2]),
            };
            let n_adjusted = pairs.iter().filter(|pair| pair.basis != Basis::Predicted).count();
            Some(PredictionError { quantity, median_ratio, n_files, n_inside, n_adjusted })
        })
        .collect()
}

/// All errors in one line: `Measured against predicted, median of 4 files: decode +12.0 %, memory −3.00 %`; empty without any.
#[must_use]
pub fn prediction_errors_text(errors: &[PredictionError]) -> String {
    let Some(most) = errors.iter().map(|error| error.n_files).max() else { return String::new() };
    let each: Vec<String> =
        errors.iter().map(|error| format!("{} {}", error.quantity, deviation_text(error.median_ratio))).collect();
    let files = if most == 1 { "1 file".to_string() } else { format!("median of {most} files") };
    let adjusted = if errors.iter().any(|error| error.n_adjusted > 0) { ", adjusted by runs of other files" } else { "" };
    format!("Measured against predicted{adjusted}, {files}: {}", each.join(", "))
}

/// A ratio as a deviation: `+12.0 %`, `−8.00 %`.
#[must_use]
pub fn deviation_text(ratio: f64) -> String {
    // Rounded to tenths of a per cent first, so that nothing is called -0 %.
    let deviation = ((ratio - 1.0) * 1000.0).round() / 1000.0;
    let sign = if deviation > 0.0 { "+" } else { "" };
    format!("{sign}{}", percent_text(deviation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::{Band, GateKind, GateResult};
    use crate::bench::history::{Measurement, test_runs};

    fn row(level: Level, size_bytes: u64, decision: Option<Decision>) -> ComparisonRow {
        ComparisonRow {
            level: Some(level),
            name: level.name().into(),
            path: format!("m-{level}.gguf").into(),
            size_bytes,
            bits_per_weight: 4.5,
            predicted_decode_tokens_per_sec: None,
            predicted_prefill_tokens_per_sec: None,
            predicted_memory_bytes: None,
            decode_basis: Basis::Predicted,
            prefill_basis: Basis::Predicted,
            memory_basis: Basis::Predicted,
            run: None,
            failure: None,
            not_run: None,
            quality: None,
            quality_failure: None,
            speed_origin: None,
            quality_origin: None,
            verdict: decision.map(|decision| Verdict { decision, gates: Vec::new() }),
            wishes: Vec::new(),
        }
    }

    #[test]
    fn a_changed_recipe_is_not_what_was_planned() {
        let custom = ComparisonRow { name: "Q4_K_M custom".into(), ..row(Level::Q4_K_M, 100, Some(Decision::Pass)) };
        let found = measured_choice(&[custom], Some(Level::Q4_K_M), &Goal::default()).unwrap();
        let text = "Q4_K_M custom is the smallest level here that passes the gates on quality; Q4_K_M, which the plan recommended before measuring, is not measured yet";
        assert_eq!((found.level, found.text.as_str()), (Some(Level::Q4_K_M), text));
    }

    #[test]
    fn what_was_tried_for_a_mac_is_chosen_for_one_and_has_no_speed_here() {
        let Measurement::Speed(run) = test_runs::speed("x", &[10.0]).measurement else { panic!() };
        let measured_by = |runtime: &str, backend: &str, level: Level, size_bytes| {
            let mut run = run.clone();
            (run.provenance.runtime, run.provenance.backend) = (runtime.into(), backend.into());
            ComparisonRow { run: Some(*run), ..row(level, size_bytes, Some(Decision::Pass)) }
        };
        let mlx: Level = "mlx:4-bit".parse().unwrap();
        let own = measured_by("llama.cpp 0.6.0", "CPU", Level::Q4_K_M, 100);
        let chosen =
            |rows: &[ComparisonRow], target| measured_choice(rows, None, &Goal { target, ..Goal::default() }).unwrap().level;
        let tried = measured_by("MLX 0.32.4 (mlx-lm 0.32.2)", "CPU", mlx, 50);
        assert_eq!(tried.stand_in(), Some(crate::bench::NOT_A_MAC));
        assert_eq!((decode_pair(&tried).measured, memory_pair(&tried).measured), (None, None));
        let decoded = measured_by("llama.cpp 0.6.0 (weights of MLX, decoded)", "CPU", mlx, 50);
        assert!(decoded.stand_in().is_some(), "llama.cpp's speed of decoded weights is nobody's");
        let rows = [own.clone(), tried];
        assert_eq!(chosen(&rows, Target::ThisMachine), Some(Level::Q4_K_M));
        assert_eq!(chosen(&rows, Target::Apple), Some(mlx));
        let on_a_mac = measured_by("MLX 0.32.4 (mlx-lm 0.32.2)", "Metal (Apple M3)", mlx, 50);
        assert!(on_a_mac.stand_in().is_none() && decode_pair(&on_a_mac).measured.is_some());
        assert_eq!(chosen(&[own, on_a_mac], Target::ThisMachine), Some(mlx));
    }

    #[test]
    fn the_smallest_passing_level_is_held_against_the_plan() {
        use Decision::{Fail, Inconclusive, Pass};
        const Q2_K: Level = Level::Q2_K;
        const Q4_K_M: Level = Level::Q4_K_M;
        const Q8_0: Level = Level::Q8_0;
        let check = |decisions: [Option<Decision>; 3], planned, expected: Option<(Option<Level>, bool, &str)>| {
            let [q8, q4, q2] = decisions;
            let rows = [row(Q8_0, 300, q8), row(Q4_K_M, 200, q4), row(Q2_K, 100, q2)];
            let found = measured_choice(&rows, planned, &Goal::default());
            let Some((level, is_open, words)) = expected else { return assert_eq!(found, None) };
            let found = found.unwrap();
            assert_eq!((found.level, found.is_open, found.planned), (level, is_open, planned), "{}", found.text);
            assert!(found.text.contains(words), "{}", found.text);
        };
        check([None, None, None], Some(Q8_0), None);
        check([Some(Pass), Some(Pass), Some(Fail)], Some(Q4_K_M), Some((Some(Q4_K_M), false, "as the plan recommended")));
        check([Some(Pass), Some(Fail), Some(Fail)], Some(Q4_K_M), Some((Some(Q8_0), false, "Q4_K_M, which the plan")));
        check([Some(Pass), Some(Pass), Some(Fail)], Some(Q8_0), Some((Some(Q4_K_M), false, "passes too and is larger")));
        check(
            [Some(Pass), Some(Inconclusive), None],
            Some(Q2_K),
            Some((Some(Q8_0), true, "Q2_K, which the plan recommended before measuring, is not")),
        );
        check([Some(Fail), Some(Inconclusive), Some(Fail)], None, Some((None, true, "1 of 3 undecided")));
        check([Some(Fail), Some(Fail), None], None, Some((None, false, "No level here passes the gates")));
    }

    #[test]
    fn where_none_passes_the_closest_is_named() {
        let gate = |kind, decision| GateResult { kind, limit: 1.0, measured: None, decision };
        let failing = |level, decisions: [Decision; 2]| {
            let mut row = row(level, 100, Some(Decision::Fail));
            let gates = [GateKind::AccuracyRatio, GateKind::MeanKld].into_iter().zip(decisions);
            row.verdict = Some(Verdict { decision: Decision::Fail, gates: gates.map(|(kind, d)| gate(kind, d)).collect() });
            row
        };
        let rows =
            [failing(Level::Q2_K, [Decision::Fail, Decision::Fail]), failing(Level::Q8_0, [Decision::Pass, Decision::Fail])];
        let text = measured_choice(&rows, None, &Goal::default()).unwrap().text;
        assert_eq!(text, "No level here passes the gates on quality; Q8_0 comes closest and fails mean KL divergence");
    }

    #[test]
    fn errors_of_predictions_are_medians_over_the_files_that_have_both() {
        let measured = |level, predicted: f64| {
            let Measurement::Speed(run) = test_runs::speed("Q8_0", &[100.0]).measurement else { panic!() };
            let mut row = row(level, 1, None);
            row.predicted_decode_tokens_per_sec = Some(Band { low: predicted * 0.9, mid: predicted, high: predicted * 1.1 });
            row.run = Some(*run);
            row
        };
        let rows =
            [measured(Level::Q8_0, 80.0), measured(Level::Q4_K_M, 100.0), measured(Level::Q2_K, 50.0), row(Level::F16, 1, None)];
        let errors = prediction_errors(&rows);
        assert_eq!(errors.len(), 1, "nothing else is predicted");
        assert_eq!((errors[0].quantity, errors[0].n_files, errors[0].n_inside), ("decode", 3, 1));
        assert!((errors[0].median_ratio - 1.25).abs() < 1e-12);
        assert_eq!(prediction_errors_text(&errors), "Measured against predicted, median of 3 files: decode +25.0 %");
        assert_eq!(
            prediction_errors_text(&prediction_errors(&rows[..2])),
            "Measured against predicted, median of 2 files: decode +12.5 %"
        );
        assert_eq!(prediction_errors_text(&[]), "");
    }

    #[test]
    fn deviations_have_a_sign() {
        let check = |ratio, expected: &str| assert_eq!(deviation_text(ratio), expected);
        check(1.125, "+12.5 %");
        check(0.8, "−20.0 %");
        check(1.000_01, "0 %");
        check(0.999_99, "0 %");
    }
}
