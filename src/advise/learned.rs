//! Predictions that learn: how far earlier ones on this machine were off, and by how much the next are corrected for it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::speed::{decode_secs, prefill_secs};
use super::workload::Workload;
use super::{Band, Decision, Interval, LossWords};
use crate::hardware::Machine;
use crate::model::Level;
use crate::units::nats_text;

/// A single run of another network moves a prediction half of the way, four move it four fifths of the way: what holds for one
/// network may not hold for another. Runs of the same network move it nearly all of the way.
const DOUBT_OF_OTHERS: f64 = 1.0;
const DOUBT_OF_OWN: f64 = 0.1;
/// No correction is larger: what is further off has another cause than this machine, such as another program at work.
const MAX_FACTOR: f64 = 8.0;
/// Half width, as a logarithm, of a band that one run of the same network corrects: levels differ by that much from each other.
const OWN_WIDTH: f64 = 0.25;
/// Likewise where only other networks were measured.
const OTHER_WIDTH: f64 = 0.4;
/// No band is narrower: rounds of one file differ by a few per cent on a quiet machine.
const LEAST_WIDTH: f64 = 0.08;

/// How a number came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Basis {
    /// Computed from the file and the machine, or assumed from other models.
    #[default]
    Predicted,
    /// Predicted, then corrected by earlier runs on this machine.
    Adjusted {
        /// How many runs.
        n_runs: usize,
    },
    /// Measured on this machine, with this very level of this model.
    Measured,
}

impl Basis {
    /// The word beside the number.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Predicted => "predicted",
            Self::Adjusted { .. } => "adjusted",
            Self::Measured => "measured",
        }
    }

    /// Where the number comes from, for a tooltip.
    #[must_use]
    pub fn explanation(self) -> String {
        match self {
            Self::Predicted => "Predicted from the file and the machine; nothing was measured yet".into(),
            Self::Adjusted { n_runs: 1 } => "Predicted, and adjusted by 1 earlier run on this machine".into(),
            Self::Adjusted { n_runs } => format!("Predicted, and adjusted by {n_runs} earlier runs on this machine"),
            Self::Measured => "Measured on this machine, with this level of this model".into(),
        }
    }
}

/// One file that was run on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What it asks of the machine.
    pub workload: Workload,
    /// Median decode speed of the rounds; NaN where it is not known.
    pub decode_tokens_per_sec: f64,
    /// Median prefill speed of the rounds, likewise.
    pub prefill_tokens_per_sec: f64,
    /// Highest resident memory in bytes; 0 where it is not known.
    pub peak_memory_bytes: u64,
    /// True when other programs were at work beside it.
    pub is_disturbed: bool,
}

/// What was measured for one level of the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MeasuredLevel {
    /// Its run; `None` where it was not run.
    pub trial: Option<Trial>,
    /// Lowest and highest decode speed of the rounds, in tokens per second.
    pub decode_range: Option<(f64, f64)>,
    /// What it lost against the source.
    pub loss: Option<MeasuredLoss>,
}

/// What a level lost against its source, on a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasuredLoss {
    /// Mean KL divergence, in nats.
    pub mean_kld: Interval,
    /// Fraction of positions at which both put the same token first.
    pub same_top: Interval,
    /// What the gates on quality say about it.
    pub decision: Decision,
}

impl MeasuredLoss {
    /// The loss in the words of the scale, followed by the number: `measured: slight (0.0457 nats)`.
    #[must_use]
    pub fn text(&self) -> String {
        let nats = nats_text(self.mean_kld.value);
        match LossWords::of(self.mean_kld, self.same_top) {
            Some(words) => format!("measured: {} ({nats} nats)", words.text()),
            None => format!("measured: {nats} nats"),
        }
    }
}

/// A correction: what a predicted speed is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Correction {
    /// The factor.
    pub factor: f64,
    /// Half width of the band, as a logarithm.
    pub width: f64,
    /// Runs behind it.
    pub n_runs: usize,
}

impl Correction {
    fn band(self, predicted: f64) -> Option<Band> {
        let mid = predicted * self.factor;
        let spread = self.width.exp();
        (mid.is_finite() && mid > 0.0).then_some(Band { low: mid / spread, mid, high: mid * spread })
    }
}

/// What measurements on this machine say about predictions for one model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Learned {
    /// For decode speed; `None` without a run.
    pub decode: Option<Correction>,
    /// For prefill speed, likewise.
    pub prefill: Option<Correction>,
    /// Bytes that are added to predicted memory, and how many runs they come from.
    pub memory: Option<(i64, usize)>,
    /// What was measured for levels of this model.
    pub levels: BTreeMap<Level, MeasuredLevel>,
}

impl Learned {
    /// How many of the latest runs count.
    pub const MAX_RUNS: usize = 32;

    /// What `trials`, the latest first, teach about the network of `workload`; `levels` of this model stand for themselves.
    ///
    /// All runs must come from this machine, with the runtime, device and number of threads that are predicted for. Runs of the
    /// same network teach more than others: where there are any, the others are left out. Likewise, where the machine was quiet
    /// for some runs, those on the busy machine do not count for speed.
    #[must_use]
    pub fn new(trials: &[Trial], levels: BTreeMap<Level, MeasuredLevel>, workload: &Workload, machine: &Machine) -> Self {
        let own = levels.values().filter_map(|level| level.trial.as_ref());
        let all: Vec<&Trial> = own.chain(trials.iter().take(Self::MAX_RUNS)).collect();
        let same: Vec<&Trial> = all.iter().copied().filter(|trial| trial.workload.is_same_network(workload)).collect();
        let (used, doubt, width) =
            if same.is_empty() { (all, DOUBT_OF_OTHERS, OTHER_WIDTH) } else { (same, DOUBT_OF_OWN, OWN_WIDTH) };
        let quiet: Vec<&Trial> = used.iter().copied().filter(|trial| !trial.is_disturbed).collect();
        let speed = if quiet.is_empty() { &used } else { &quiet };
        let decode = |trial: &&Trial| Some(trial.decode_tokens_per_sec * decode_secs(&trial.workload, machine)?);
        let prefill = |trial: &&Trial| Some(trial.prefill_tokens_per_sec * prefill_secs(&trial.workload, &machine.cpu)?);
        Self {
            decode: correction(speed.iter().filter_map(decode), doubt, width),
            prefill: correction(speed.iter().filter_map(prefill), doubt, width),
            // Memory is the same on a busy machine.
            memory: offset(&used, doubt),
            levels,
        }
    }

    /// Decode speed of a level, and where it comes from; `plain` is the prediction without lessons.
    #[must_use]
    pub fn decode_band(
        &self,
        level: Level,
        workload: &Workload,
        machine: &Machine,
        plain: Option<Band>,
    ) -> (Option<Band>, Basis) {
        if let Some(measured) = self.levels.get(&level)
            && let Some((low, high)) = measured.decode_range
            && let Some(mid) = measured.trial.as_ref().map(|trial| trial.decode_tokens_per_sec).filter(|mid| mid.is_finite())
        {
            return (Some(Band { low, mid, high }), Basis::Measured);
        }
        let adjusted = self.decode.zip(decode_secs(workload, machine));
        adjusted.map_or((plain, Basis::Predicted), |(correction, secs)| {
            (correction.band(1.0 / secs), Basis::Adjusted { n_runs: correction.n_runs })
        })
    }

    /// Prefill speed, which hardly depends on the level, and where it comes from; `plain` is the prediction without lessons.
    #[must_use]
    pub fn prefill_band(&self, workload: &Workload, machine: &Machine, plain: Option<Band>) -> (Option<Band>, Basis) {
        let adjusted = self.prefill.zip(prefill_secs(workload, &machine.cpu));
        adjusted.map_or((plain, Basis::Predicted), |(correction, secs)| {
            (correction.band(1.0 / secs), Basis::Adjusted { n_runs: correction.n_runs })
        })
    }

    /// Bytes to add to the predicted memory of a level at this context, and where they come from.
    #[must_use]
    pub fn memory_offset(&self, level: Level, n_ctx: u64) -> (i64, Basis) {
        if let Some(trial) = self.levels.get(&level).and_then(|measured| measured.trial.as_ref()) {
            let basis = if trial.workload.n_ctx == n_ctx { Basis::Measured } else { Basis::Adjusted { n_runs: 1 } };
            return (memory_error(trial), basis);
        }
        self.memory.map_or((0, Basis::Predicted), |(bytes, n_runs)| (bytes, Basis::Adjusted { n_runs }))
    }

    /// The measured loss of a level; `None` until it was measured.
    #[must_use]
    pub fn loss(&self, level: Level) -> Option<MeasuredLoss> {
        self.levels.get(&level)?.loss
    }
}

/// The median ratio of measured to predicted speed, drawn towards 1 where runs are few; `None` without a run.
#[allow(clippy::cast_precision_loss, reason = "a handful")]
fn correction(ratios: impl Iterator<Item = f64>, doubt: f64, width: f64) -> Option<Correction> {
    let logs: Vec<f64> = ratios.filter(|ratio| ratio.is_finite() && *ratio > 0.0).map(f64::ln).collect();
    let n_runs = logs.len();
    let middle = median(logs.clone())?;
    let trust = n_runs as f64 / (n_runs as f64 + doubt);
    let limit = MAX_FACTOR.ln();
    // Deviations tell the width once there are a few of them; until then the width of one run holds.
    let deviation = median(logs.iter().map(|log| (log - middle).abs()).collect()).unwrap_or(0.0);
    let known = if n_runs < 3 { width } else { (2.5 * deviation).max(width / (n_runs as f64).sqrt()) };
    Some(Correction { factor: (middle * trust).clamp(-limit, limit).exp(), width: known.max(LEAST_WIDTH), n_runs })
}

/// The median error of predicted memory in bytes, drawn towards 0 where runs are few.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "some megabytes")]
fn offset(trials: &[&Trial], doubt: f64) -> Option<(i64, usize)> {
    let errors: Vec<f64> =
        trials.iter().filter(|trial| trial.peak_memory_bytes > 0).map(|trial| memory_error(trial) as f64).collect();
    let n_runs = errors.len();
    let trust = n_runs as f64 / (n_runs as f64 + doubt);
    Some(((median(errors)? * trust) as i64, n_runs))
}

/// Measured less predicted memory, in bytes.
fn memory_error(trial: &Trial) -> i64 {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    signed(trial.peak_memory_bytes).saturating_sub(signed(trial.workload.memory().total_bytes()))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Bandwidth;
    use crate::model::DType;

    fn machine() -> Machine {
        let mut machine = Machine::default();
        machine.cpu.n_physical = 2;
        machine.cpu.simd = vec!["AVX2".into()];
        machine.bandwidth =
            Some(Bandwidth { one_thread_bytes_per_sec: 12e9, all_threads_bytes_per_sec: 20e9, n_threads: 2, other_load: None });
        machine
    }

    fn workload(n_layers: u64, gigabytes: f64) -> Workload {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let weights_bytes = (gigabytes * 1e9) as u64;
        Workload {
            n_layers,
            n_embd: 1024,
            n_ff: 4096,
            n_vocab: 32000,
            n_ctx: 768,
            weights_bytes,
            reads: vec![(DType::Q8_0, gigabytes * 1e9)],
            flops_per_prompt_token: 2e9,
            ..Workload::default()
        }
    }

    /// A run that was `factor` times as fast as predicted and took 10 MB more.
    fn trial(workload: Workload, factor: f64) -> Trial {
        let machine = machine();
        Trial {
            decode_tokens_per_sec: factor / decode_secs(&workload, &machine).unwrap(),
            prefill_tokens_per_sec: factor / prefill_secs(&workload, &machine.cpu).unwrap(),
            peak_memory_bytes: workload.memory().total_bytes() + 10_000_000,
            is_disturbed: false,
            workload,
        }
    }

    fn learned(trials: &[Trial]) -> Learned {
        Learned::new(trials, BTreeMap::new(), &workload(10, 1.0), &machine())
    }

    fn factor(trials: &[Trial]) -> f64 {
        learned(trials).decode.unwrap().factor
    }

    #[test]
    fn nothing_measured_changes_nothing() {
        let learned = learned(&[]);
        assert_eq!(learned, Learned::default());
        let plain = Some(Band { low: 1.0, mid: 2.0, high: 3.0 });
        assert_eq!(learned.decode_band(Level::Q8_0, &workload(10, 1.0), &machine(), plain), (plain, Basis::Predicted));
        assert_eq!(learned.memory_offset(Level::Q8_0, 768), (0, Basis::Predicted));
    }

    #[test]
    fn one_run_of_the_same_network_moves_nearly_all_of_the_way_and_one_of_another_half() {
        let own = factor(&[trial(workload(10, 0.5), 2.0)]);
        assert!((1.85..2.0).contains(&own), "{own}");
        let other = factor(&[trial(workload(20, 0.5), 2.0)]);
        assert!((other - 2.0_f64.sqrt()).abs() < 1e-9, "{other}");
        let many: Vec<Trial> = (0..9).map(|_| trial(workload(20, 0.5), 2.0)).collect();
        assert!(factor(&many) > 1.8, "{}", factor(&many));
        let memory = learned(&many).memory.unwrap();
        assert_eq!((memory.0, memory.1), (9_000_000, 9));
    }

    #[test]
    fn own_runs_silence_those_of_other_networks_and_quiet_ones_those_of_a_busy_machine() {
        let own = trial(workload(10, 0.5), 2.0);
        let busy = Trial { is_disturbed: true, ..trial(workload(10, 0.25), 0.2) };
        let others: Vec<Trial> = (0..5).map(|_| trial(workload(20, 0.5), 0.5)).collect();
        let all: Vec<Trial> = others.iter().cloned().chain([busy.clone(), own]).collect();
        assert!(factor(&all) > 1.8, "{}", factor(&all));
        assert!(factor(&[busy]) < 0.3, "better than nothing");
    }

    #[test]
    fn a_single_outlier_does_not_count() {
        let runs = [1.5, 1.5, 0.01, 1.6, 1.4].map(|factor| trial(workload(10, 0.5), factor));
        let found = learned(&runs).decode.unwrap();
        assert!((1.4..1.6).contains(&found.factor), "{found:?}");
        assert!(found.width < OWN_WIDTH, "five runs tell more than one: {found:?}");
        let lone = learned(&runs[2..3]).decode.unwrap();
        assert!((1.0 / MAX_FACTOR..0.2).contains(&lone.factor), "{lone:?}");
    }

    #[test]
    fn a_measured_level_stands_for_itself() {
        let run = trial(workload(10, 0.5), 3.0);
        let mean_kld = Interval { value: 0.05, low: 0.04, high: 0.06 };
        let same_top = Interval { value: 0.9, low: 0.89, high: 0.91 };
        let loss = MeasuredLoss { mean_kld, same_top, decision: Decision::Pass };
        let measured = MeasuredLevel {
            decode_range: Some((run.decode_tokens_per_sec * 0.9, run.decode_tokens_per_sec * 1.2)),
            trial: Some(run.clone()),
            loss: Some(loss),
        };
        let learned = Learned::new(&[], BTreeMap::from([(Level::Q4_K_M, measured)]), &workload(10, 1.0), &machine());
        let (band, basis) = learned.decode_band(Level::Q4_K_M, &run.workload, &machine(), None);
        assert_eq!((band.unwrap().mid, basis), (run.decode_tokens_per_sec, Basis::Measured));
        assert_eq!(learned.memory_offset(Level::Q4_K_M, 768), (10_000_000, Basis::Measured));
        assert_eq!(learned.memory_offset(Level::Q4_K_M, 4096), (10_000_000, Basis::Adjusted { n_runs: 1 }), "another context");
        assert_eq!((learned.loss(Level::Q4_K_M), learned.loss(Level::Q8_0)), (Some(loss), None));
        assert!(loss.text().starts_with("measured: ") && loss.text().ends_with("(0.0500 nats)"), "{}", loss.text());
        // And it teaches its siblings.
        let (band, basis) = learned.decode_band(Level::Q8_0, &workload(10, 1.0), &machine(), None);
        let ratio = band.unwrap().mid * decode_secs(&workload(10, 1.0), &machine()).unwrap();
        assert!((2.6..3.0).contains(&ratio), "{ratio}");
        assert_eq!(basis, Basis::Adjusted { n_runs: 1 });
        assert_eq!(basis.explanation(), "Predicted, and adjusted by 1 earlier run on this machine");
    }

    #[test]
    fn numbers_that_are_none_teach_nothing() {
        let broken = Trial {
            decode_tokens_per_sec: f64::NAN,
            prefill_tokens_per_sec: 0.0,
            peak_memory_bytes: 0,
            ..trial(workload(10, 0.5), 1.0)
        };
        assert_eq!(learned(&[broken]), Learned::default());
    }

    #[test]
    fn only_the_latest_of_many_runs_count() {
        let new = (0..Learned::MAX_RUNS).map(|_| trial(workload(10, 0.5), 2.0));
        let old = (0..1000).map(|_| trial(workload(10, 0.5), 0.5));
        let found = learned(&new.chain(old).collect::<Vec<_>>()).decode.unwrap();
        assert_eq!(found.n_runs, Learned::MAX_RUNS);
        assert!(found.factor > 1.8, "{found:?}");
    }
}
