//! How long converting, measuring and judging will take, before any of it.

use super::recipe::{Planner, Recipe};
use super::{Candidate, Plan};
use crate::hardware::Machine;
use crate::model::{Level, Model};

/// About how many tokens the bundled text has: 241 kB of prose, code and tables, with three to four bytes per token of a large
/// vocabulary.
const TEXT_TOKENS: u32 = 70_000;
/// What one child process takes beside the measurement: to start, to load from the page cache, to warm up.
const CHILD_SECS: f64 = 0.5;
/// Sampling of the load before each round.
const SAMPLING_SECS: f64 = 0.25;
/// The first run of a file that was made from a checkpoint: a child, and a short text.
const CHECK_SECS: f64 = 1.0;
/// Loading, in bytes per second: from the page cache into fresh memory.
const LOAD_BYTES_PER_SEC: f64 = 1.5e9;
/// Prompt tokens per second when every token is scored, as a fraction of those when only the last one is: the head runs for
/// each, and all its answers are written and compared.
const SCORING_PART: f64 = 0.6;
/// Part of the wanted tokens that are scored until the gates are decided: most levels are clearly on one side.
const DECIDED_PART: f64 = 0.5;

/// What a chain of jobs will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainWork<'a> {
    /// Levels to make.
    pub convert: &'a [Level],
    /// Levels to measure beside the source.
    pub measure: &'a [Level],
    /// Tokens of the prompt, in each round.
    pub n_prompt_tokens: u32,
    /// Tokens to generate, in each round.
    pub n_gen_tokens: u32,
    /// Number of rounds.
    pub n_repetitions: u32,
    /// Length of the run under load, for each file.
    pub n_sustained_secs: u32,
    /// The most tokens to score.
    pub max_tokens: u32,
    /// Whether all of them are scored, even when the gates are decided earlier.
    pub is_full: bool,
}

/// Predicted seconds of a chain; `None` where a speed of this machine is not known, or a level's types were not measured.
///
/// Converting takes as long as encoding on all threads, or as writing where the disk is slower, and a checkpoint's levels are run once.
/// Measuring goes at each file's predicted speeds, scoring at a part of the predicted prefill speed.
#[must_use]
pub fn chain_secs(model: &Model, machine: &Machine, plan: &Plan, work: &ChainWork) -> Option<f64> {
    let source = Speeds::of_source(model, plan)?;
    let levels = work.measure.iter().map(|&level| Speeds::of(plan.candidate_of(level)?));
    let levels = levels.collect::<Option<Vec<_>>>()?;
    let measured: f64 = std::iter::once(&source).chain(&levels).map(|speeds| speeds.measuring_secs(work)).sum();
    let n_tokens = f64::from(work.max_tokens.min(TEXT_TOKENS)) * if work.is_full { 1.0 } else { DECIDED_PART };
    let judged: f64 = std::iter::once(&source).chain(&levels).map(|speeds| speeds.judging_secs(n_tokens)).sum();
    Some(converting_secs(model, machine, work.convert)? + measured + judged)
}

#[allow(clippy::cast_precision_loss, reason = "a prediction")]
fn converting_secs(model: &Model, machine: &Machine, levels: &[Level]) -> Option<f64> {
    let planner = Planner::new(model);
    let recipes: Vec<Recipe> = levels.iter().filter_map(|level| level.preset()).map(|preset| planner.recipe(preset)).collect();
    let secs = |recipe: &Recipe| machine.encoding.predicted_secs(&model.tensors, &recipe.dtypes);
    let encoding = recipes.iter().map(secs).sum::<Option<f64>>()?;
    let size_bytes: u64 = recipes.iter().filter_map(|recipe| planner.output_size_bytes(recipe).ok()).sum();
    let disk_rate = machine.disk.as_ref().and_then(|disk| disk.write_bytes_per_sec).filter(|rate| *rate > 0.0);
    let writing = disk_rate.map_or(0.0, |rate| size_bytes as f64 / rate);
    // What comes from a checkpoint is run once.
    let checks = if model.is_runnable() { 0.0 } else { CHECK_SECS * levels.len() as f64 };
    Some(encoding.max(writing) + checks)
}

/// Size and predicted speeds of one file.
struct Speeds {
    size_bytes: u64,
    prefill_tokens_per_sec: f64,
    decode_tokens_per_sec: f64,
}

impl Speeds {
    /// Those of the level whose file is closest in size to the source: a token costs what it reads.
    fn of_source(model: &Model, plan: &Plan) -> Option<Self> {
        Self::of(plan.nearest_in_size(model)?)
    }

    fn of(candidate: &Candidate) -> Option<Self> {
        Some(Self {
            size_bytes: candidate.size_bytes,
            prefill_tokens_per_sec: candidate.prefill_tokens_per_sec?.mid,
            decode_tokens_per_sec: candidate.decode_tokens_per_sec?.mid,
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "a prediction")]
    fn load_secs(&self) -> f64 {
        CHILD_SECS + self.size_bytes as f64 / LOAD_BYTES_PER_SEC
    }

    fn measuring_secs(&self, work: &ChainWork) -> f64 {
        let round = self.load_secs()
            + SAMPLING_SECS
            + f64::from(work.n_prompt_tokens) / self.prefill_tokens_per_sec
            + f64::from(work.n_gen_tokens) / self.decode_tokens_per_sec;
        round * f64::from(work.n_repetitions) + f64::from(work.n_sustained_secs)
    }

    fn judging_secs(&self, n_tokens: f64) -> f64 {
        self.load_secs() + n_tokens / (self.prefill_tokens_per_sec * SCORING_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::{Goal, advise, test_models};
    use crate::hardware::{Bandwidth, Cpu, Disk, EncodingSpeed};
    use crate::model::DType;

    const WORK: ChainWork = ChainWork {
        convert: &[],
        measure: &[Level::Q8_0, Level::Q4_K_M],
        n_prompt_tokens: 512,
        n_gen_tokens: 128,
        n_repetitions: 3,
        n_sustained_secs: 0,
        max_tokens: 16_000,
        is_full: false,
    };

    fn machine() -> Machine {
        Machine {
            cpu: Cpu { n_physical: 4, n_logical: 4, simd: vec!["AVX2".into()], ..Cpu::default() },
            bandwidth: Some(Bandwidth {
                one_thread_bytes_per_sec: 1e10,
                all_threads_bytes_per_sec: 2e10,
                n_threads: 4,
                other_load: None,
            }),
            encoding: EncodingSpeed {
                secs_per_weight: [DType::F32, DType::F16, DType::Q8_0, DType::Q6_K, DType::Q5_0, DType::Q4_K]
                    .map(|dtype| (dtype, 1e-8))
                    .to_vec(),
                n_threads: 4,
            },
            ..Machine::default()
        }
    }

    fn secs(machine: &Machine, work: &ChainWork) -> Option<f64> {
        let model = test_models::SMOLLM2.build();
        chain_secs(&model, machine, &advise(&model, machine, &Goal::default()), work)
    }

    #[test]
    fn each_part_of_the_work_takes_its_time() {
        let machine = machine();
        let least = secs(&machine, &WORK).unwrap();
        assert!(least > 3.0 * 3.0 * (CHILD_SECS + SAMPLING_SECS), "{least}");
        let check = |work: ChainWork, expected: f64| {
            let more = secs(&machine, &work).unwrap() - least;
            assert!((more - expected).abs() < 0.05 * expected, "{more} instead of {expected}: {work:?}");
        };
        // 134.5 million weights at 10 ns on four threads.
        check(ChainWork { convert: &[Level::Q8_0], ..WORK }, 0.336);
        check(ChainWork { n_sustained_secs: 10, ..WORK }, 30.0);
        let scored = secs(&machine, &ChainWork { max_tokens: 0, ..WORK }).unwrap();
        check(ChainWork { is_full: true, ..WORK }, least - scored);
        check(ChainWork { max_tokens: 32_000, ..WORK }, least - scored);
    }

    #[test]
    fn a_slow_disk_bounds_the_conversion() {
        let disk = |rate| Disk {
            mount_point: "/".into(),
            file_system: "ext4".into(),
            total_bytes: 1 << 40,
            free_bytes: 1 << 40,
            write_bytes_per_sec: Some(rate),
        };
        let work = ChainWork { convert: &[Level::Q8_0], ..WORK };
        let at = |rate| secs(&Machine { disk: Some(disk(rate)), ..machine() }, &work).unwrap();
        let (fast, slow) = (at(1e9), at(1e6));
        assert!(slow - fast > 100.0, "{fast} and {slow}: 143 MB at 1 MB/s");
    }

    #[test]
    fn nothing_is_predicted_from_what_was_not_measured() {
        assert_eq!(secs(&Machine { bandwidth: None, ..machine() }, &WORK), None);
        assert_eq!(secs(&machine(), &ChainWork { convert: &[Level::Q2_K], ..WORK }), None);
        assert!(secs(&Machine { encoding: EncodingSpeed::default(), ..machine() }, &WORK).is_some(), "nothing is to be made");
    }
}
