//! Measures several models in turns, so that heat, clock and other programs hit all of them alike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::energy::{EnergyFacts, EnergyProbe, RoundEnergy, Span, energy};
use super::quiet::wait_for_quiet;
use super::round::{Round, measure};
use super::sustained::{LongRun, cool_down, sustain};
use crate::advise::{Workload, padded_n_ctx};
use crate::bench::{BenchRequest, MemoryLimit, NOT_A_MAC, Outcome, Provenance, Run, Start, Stat, check_built_in, is_stand_in};
use crate::error::{Error, Result};
use crate::format::{Artifact, read_genai_config};
use crate::hardware::{BUSY_LOAD, Conditions, Cpu, PowerSource, detect, sample_conditions};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::{self, BenchTask, Request, Task};
use crate::units::{percent_text, significant_text};

/// How long the load by other programs is sampled before each round.
const SAMPLING_TIME: Duration = Duration::from_millis(250);
/// Parts of the warnings by which they are recognised.
pub const BUSY_WARNING: &str = "other programs used";
pub const BATTERY_WARNING: &str = "measured on battery";
pub const HOT_WARNING: &str = "the processor was at";
pub const VARIED: &str = "speed varied by";
/// From here on laptops lower their clock. Intel and AMD mobile processors throttle between 95 and 105 °C and reduce boost earlier.
const HOT_CELSIUS: f32 = 85.0;
/// The longest run under load that may be asked for: a day.
const MAX_SUSTAINED_SECS: u32 = 24 * 60 * 60;
/// A spread above this part of the median hides the difference between neighbouring levels.
const WIDE_SPREAD: f64 = 0.10;

/// Measures every model in every round, each time in a fresh child: clean peak memory, and a crash costs one outcome.
///
/// One round measures load time, prefill of `n_prompt_tokens` and decode of `n_gen_tokens` that follow them, after a short warm-up that is
/// not counted. A model that fails gets its error and is left out of later rounds; the others go on. The outcomes are in the order of
/// `request.models`.
///
/// # Errors
/// `Error::Cancelled` within 300 ms of the cancellation with the child killed, `Error::BadRequest` for a request that makes no
/// sense, `Error::RuntimeMissing` in a build without llama.cpp.
pub fn bench(request: &BenchRequest, monitor: &Monitor) -> Result<Vec<Outcome>> {
    check_built_in(&request.models)?;
    bench_with(&runtime::process::executable()?, request, monitor)
}

/// As [`bench()`], with a given `planish` executable: for programs that use the library without being `planish`, such as its
/// tests.
///
/// # Errors
/// As [`bench()`].
pub fn bench_with(exe: &Path, request: &BenchRequest, monitor: &Monitor) -> Result<Vec<Outcome>> {
    check_request(request)?;
    let (request, shortened) = fitting(request);
    let request = &request;
    if request.start == Start::WhenQuiet {
        wait_for_quiet(monitor)?;
    }
    let n_threads = request.n_threads.unwrap_or_else(runtime::default_n_threads);
    let n_ctx = padded_n_ctx(u64::from(request.n_prompt_tokens) + u64::from(request.n_gen_tokens));
    let cpu = detect(Path::new(".")).cpu;
    let mut series: Vec<Series> =
        request.models.iter().map(|path| Series::new(path, &cpu, n_ctx, request.memory_limit.as_ref())).collect();
    let mut conditions: Vec<Conditions> = Vec::new();
    let mut probe = EnergyProbe::find();
    let steps = plan(series.len(), request.n_repetitions);
    let n_rounds = steps.len() as u64;
    let n_steps = n_rounds + request.sustained_secs.map_or(0, |_| series.len() as u64);
    for (step_idx, step) in steps.into_iter().enumerate() {
        let Some(model) = series.get_mut(step.model_idx) else { continue };
        let report = |what: &str| {
            let stage = format!("round {} of {}: {what} {}", step.round, request.n_repetitions, name(&model.path));
            monitor.report(Progress { stage, done: step_idx as u64, total: n_steps, unit: ProgressUnit::Steps })
        };
        if step.model_idx == 0 {
            let before = probe.read();
            conditions.push(sample_conditions(SAMPLING_TIME, monitor)?);
            let after = probe.read();
            probe.note_idle(Span::between(before, after));
        }
        if model.failure.is_some() {
            continue;
        }
        report("load")?;
        match model.request(request, n_threads).and_then(|round| measure(exe, &round, &mut probe, monitor, report)) {
            Ok(round) => model.rounds.push(round),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => model.failure = Some(error),
        }
    }
    if let Some(secs) = request.sustained_secs {
        // After all rounds: no model's rounds are measured on a processor that another one's long run has heated.
        let celsius = conditions.first().and_then(|before| before.temperature_celsius);
        for (done, model) in (n_rounds..).zip(&mut series).filter(|(_, model)| model.failure.is_none()) {
            let report = |what: &str| {
                let stage = format!("long run: {what} {}", name(&model.path));
                monitor.report(Progress { stage, done, total: n_steps, unit: ProgressUnit::Steps })
            };
            report("cooling down for")?;
            let is_cool = cool_down(celsius, monitor)?;
            report("load")?;
            let on_second = |second| report(&format!("{second} of {secs} s of"));
            let speeds = model.request(request, n_threads).and_then(|round| sustain(exe, &round, secs, monitor, on_second));
            model.long_run = match speeds {
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                speeds => Some(LongRun { speeds, is_cool }),
            };
        }
    }
    monitor.report(Progress { stage: "finished".into(), done: n_steps, total: n_steps, unit: ProgressUnit::Steps })?;
    let mut warnings = condition_warnings(&conditions);
    warnings.extend(shortened);
    let provenance = Provenance {
        runtime: String::new(),
        backend: String::new(),
        n_threads,
        n_prompt_tokens: request.n_prompt_tokens,
        n_gen_tokens: request.n_gen_tokens,
        conditions: conditions.into_iter().next().unwrap_or_default(),
        warnings,
    };
    let facts = probe.facts();
    Ok(series.into_iter().map(|series| series.into_outcome(&provenance, &facts)).collect())
}

/// The request with a prompt that fits the shortest context that cannot be exceeded, and what is to be said about it: graphs of ONNX end
/// there, llama.cpp does not. All models get the same prompt, so that they can be compared.
fn fitting(request: &BenchRequest) -> (BenchRequest, Option<String>) {
    let limits = request.models.iter().filter_map(|path| Some((read_genai_config(path).ok()?.n_ctx, path)));
    let (n_prompt, n_gen) = (request.n_prompt_tokens, request.n_gen_tokens);
    let shortest = limits.min_by_key(|(n_ctx, _)| *n_ctx).filter(|(n_ctx, _)| *n_ctx > n_gen && n_prompt > n_ctx - n_gen);
    let Some((n_ctx, path)) = shortest else { return (request.clone(), None) };
    let n_prompt_tokens = n_ctx - n_gen;
    let text =
        format!("prompts had {n_prompt_tokens} tokens in place of {n_prompt}: the context of {} holds {n_ctx}", name(path));
    (BenchRequest { n_prompt_tokens, ..request.clone() }, Some(text))
}

fn check_request(request: &BenchRequest) -> Result<()> {
    let problem = if request.models.is_empty() {
        "no model to measure"
    } else if request.n_prompt_tokens == 0 || request.n_gen_tokens == 0 || request.n_repetitions == 0 {
        "prompt tokens, generated tokens and repetitions must be at least 1"
    } else if request.sustained_secs.is_some_and(|secs| !(1..=MAX_SUSTAINED_SECS).contains(&secs)) {
        "a long run must last between a second and a day"
    } else {
        return runtime::check_threads(request.n_threads);
    };
    Err(Error::BadRequest { message: problem.into() })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// From 1.
    round: u32,
    model_idx: usize,
}

/// The order of measurement, A B C A B C: rounds outside, models inside.
fn plan(n_models: usize, n_rounds: u32) -> Vec<Step> {
    (1..=n_rounds).flat_map(|round| (0..n_models).map(move |model_idx| Step { round, model_idx })).collect()
}

/// All rounds of one model.
struct Series {
    /// As the user named it.
    path: PathBuf,
    artifact: Option<Artifact>,
    workload: Option<Workload>,
    rounds: Vec<Round>,
    failure: Option<Error>,
    long_run: Option<LongRun>,
}

impl Series {
    /// Looks at the header: a file that is missing, damaged or larger than memory needs no child to say so.
    fn new(path: &Path, cpu: &Cpu, n_ctx: u64, limit: Option<&MemoryLimit>) -> Self {
        let mut series =
            Self { path: path.to_path_buf(), artifact: None, workload: None, rounds: Vec::new(), failure: None, long_run: None };
        match Artifact::open(path) {
            Ok(artifact) => {
                series.failure = limit.and_then(|limit| limit.check_artifact(&artifact, n_ctx).err());
                series.workload = artifact.model.as_ref().map(|model| Workload::of_file(model, cpu, n_ctx));
                series.artifact = Some(artifact);
            }
            Err(error) => {
                let is_checkpoint = matches!(error, Error::CheckpointNotRunnable { .. });
                let refused = limit.filter(|_| is_checkpoint).and_then(|limit| limit.check_checkpoint(path, n_ctx).err());
                series.failure = Some(refused.unwrap_or(error));
            }
        }
        series
    }

    /// The request for one round of this model.
    fn request(&self, request: &BenchRequest, n_threads: u32) -> Result<Request> {
        let opened = || Error::Internal { message: "a model that was not opened is measured".into() };
        let artifact = self.artifact.as_ref().ok_or_else(opened)?;
        let task = BenchTask {
            path: artifact.run_path().to_path_buf(),
            n_prompt_tokens: request.n_prompt_tokens,
            n_gen_tokens: request.n_gen_tokens,
            n_threads,
            sustained_secs: None,
        };
        Request::to_runtime_of(artifact, Task::Bench(task))
    }

    fn into_outcome(self, shared: &Provenance, facts: &EnergyFacts) -> Outcome {
        let Self { path, artifact, workload, rounds, failure, long_run } = self;
        if let Some(error) = failure {
            return Outcome { path, result: Err(error) };
        }
        let stat = |value: fn(&Round) -> f64| Stat { values: rounds.iter().map(value).collect() };
        let prefill_tokens_per_sec = stat(|round| round.prefill_tokens_per_sec);
        let decode_tokens_per_sec = stat(|round| round.decode_tokens_per_sec);
        let info = rounds.first().map(|round| round.info.clone()).unwrap_or_default();
        let mut provenance = Provenance { runtime: info.version, backend: info.backend, ..shared.clone() };
        provenance.warnings.extend(spread_warning("prefill", &prefill_tokens_per_sec));
        provenance.warnings.extend(spread_warning("decode", &decode_tokens_per_sec));
        if is_stand_in(&provenance.runtime, &provenance.backend) {
            provenance.warnings.push(NOT_A_MAC.into());
        }
        let (sustained, warnings) = long_run.map(LongRun::into_result).unwrap_or_default();
        provenance.warnings.extend(warnings);
        let of_rounds: Vec<RoundEnergy> = rounds.iter().map(|round| round.energy).collect();
        let energy = energy(facts, &of_rounds, provenance.n_prompt_tokens, provenance.n_gen_tokens);
        let run = Run {
            path: path.clone(),
            size_bytes: artifact.map_or(0, |artifact| artifact.size_bytes),
            prefill_tokens_per_sec,
            decode_tokens_per_sec,
            load_secs: stat(|round| round.load_secs),
            peak_memory_bytes: rounds.iter().map(|round| round.peak_memory_bytes).max().unwrap_or(0),
            provenance,
            energy,
            sustained,
            workload,
        };
        Outcome { path, result: Ok(run) }
    }
}

/// What a model is called in progress: the name of its file without the extension, or of its folder.
pub fn name(path: &Path) -> String {
    if path.is_dir() { crate::path_text::file_name(path) } else { crate::path_text::stem(path) }
}

/// What made the rounds doubtful; `conditions` has one entry per round.
pub fn condition_warnings(conditions: &[Conditions]) -> Vec<String> {
    let mut warnings = Vec::new();
    let busiest = conditions.iter().filter_map(|now| now.other_load).fold(0.0, f32::max);
    if busiest > BUSY_LOAD {
        warnings.push(format!("{BUSY_WARNING} {} of the CPU", percent_text(f64::from(busiest))));
    }
    if conditions.iter().any(|now| now.power_source == PowerSource::Battery) {
        warnings.push(format!("{BATTERY_WARNING}: the processor may run slower than on mains"));
    }
    let hottest = conditions.iter().filter_map(|now| now.temperature_celsius).fold(f32::NEG_INFINITY, f32::max);
    if hottest >= HOT_CELSIUS {
        let celsius = significant_text(f64::from(hottest));
        warnings.push(format!("{HOT_WARNING} {celsius} °C and may have lowered its clock"));
    }
    warnings
}

fn spread_warning(what: &str, stat: &Stat) -> Option<String> {
    let part = stat.relative_spread();
    (part > WIDE_SPREAD).then(|| format!("{what} {VARIED} ±{} between rounds", percent_text(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Framework;
    use crate::runtime::RuntimeInfo;

    #[test]
    fn models_take_turns() {
        let order: Vec<_> = plan(3, 2).into_iter().map(|step| (step.round, step.model_idx)).collect();
        assert_eq!(order, [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]);
        assert!(plan(0, 3).is_empty() && plan(3, 0).is_empty());
    }

    #[test]
    fn prompts_are_shortened_for_graphs_that_end_at_their_context() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx/int4");
        let n_ctx = read_genai_config(&folder).unwrap().n_ctx;
        let fitted = |models: &[&Path], n_prompt_tokens| {
            let models = models.iter().map(PathBuf::from).collect();
            let (request, text) = fitting(&BenchRequest { models, n_prompt_tokens, n_gen_tokens: 8, ..BenchRequest::default() });
            (request.n_prompt_tokens, text.is_some())
        };
        assert_eq!(fitted(&[Path::new("a.gguf"), &folder], n_ctx), (n_ctx - 8, true));
        assert_eq!(fitted(&[&folder], n_ctx - 8), (n_ctx - 8, false));
        assert_eq!(fitted(&[Path::new("a.gguf")], 1_000_000), (1_000_000, false));
    }

    #[test]
    fn doubtful_conditions_are_named() {
        let check = |conditions: &[Conditions], expected: &[&str]| assert_eq!(condition_warnings(conditions), expected);
        let quiet = Conditions { other_load: Some(0.15), temperature_celsius: Some(84.9), ..Conditions::default() };
        check(&[], &[]);
        check(&[quiet.clone(), quiet.clone()], &[]);
        let busy = Conditions { other_load: Some(0.5), ..quiet.clone() };
        check(&[quiet.clone(), busy, quiet.clone()], &["other programs used 50.0 % of the CPU"]);
        let hot = Conditions { temperature_celsius: Some(97.0), power_source: PowerSource::Battery, ..quiet };
        check(
            &[hot],
            &[
                "measured on battery: the processor may run slower than on mains",
                "the processor was at 97.0 °C and may have lowered its clock",
            ],
        );
    }

    #[test]
    fn unsteady_speeds_are_named() {
        let warning = |values: &[f64]| spread_warning("decode", &Stat { values: values.to_vec() });
        assert_eq!(warning(&[10.0, 10.5, 9.5]), None);
        assert_eq!(warning(&[10.0, 14.0, 6.0]).as_deref(), Some("decode speed varied by ±40.0 % between rounds"));
        assert_eq!(warning(&[]), None);
    }

    fn round(decode: f64, peak: u64) -> Round {
        let info = RuntimeInfo { version: "llama.cpp 1".into(), backend: "CPU".into(), ..RuntimeInfo::default() };
        let energy = RoundEnergy { prefill: None, decode: Some(Span { secs: 2.0, joules: 18.0 }) };
        Round {
            load_secs: 0.5,
            prefill_tokens_per_sec: 100.0,
            decode_tokens_per_sec: decode,
            peak_memory_bytes: peak,
            info,
            energy,
        }
    }

    fn series(rounds: Vec<Round>, failure: Option<Error>) -> Series {
        let artifact = Artifact {
            path: "m.gguf".into(),
            framework: Framework::LlamaCpp,
            files: vec!["m.gguf".into()],
            size_bytes: 9,
            level: None,
            recipe: String::new(),
            model: None,
        };
        Series { path: "m.gguf".into(), artifact: Some(artifact), workload: None, rounds, failure, long_run: None }
    }

    fn shared(warnings: Vec<String>) -> Provenance {
        Provenance {
            runtime: String::new(),
            backend: String::new(),
            n_threads: 2,
            n_prompt_tokens: 8,
            n_gen_tokens: 4,
            conditions: Conditions::default(),
            warnings,
        }
    }

    #[test]
    fn rounds_become_one_run() {
        let series = series(vec![round(10.0, 5), round(20.0, 7)], None);
        let facts = EnergyFacts { idle_watts: Some(1.0), ..EnergyFacts::default() };
        let run = series.into_outcome(&shared(vec!["busy".into()]), &facts).result.unwrap();
        assert_eq!(run.decode_tokens_per_sec.values, [10.0, 20.0]);
        assert_eq!((run.peak_memory_bytes, run.size_bytes), (7, 9));
        assert_eq!((run.provenance.runtime.as_str(), run.provenance.backend.as_str()), ("llama.cpp 1", "CPU"));
        // 18 J, less 2 s of 1 W, for 4 tokens.
        assert_eq!(run.energy.decode_joules_per_token.map(|stat| stat.values), Some(vec![4.0, 4.0]));
        assert_eq!(run.provenance.warnings, ["busy", "decode speed varied by ±33.3 % between rounds"]);
    }

    #[test]
    fn a_model_that_failed_in_a_later_round_has_no_run() {
        let failure = Error::ChildDied { reason: "signal: 9 (SIGKILL)".into(), path: "m.gguf".into() };
        let series = series(vec![round(10.0, 5)], Some(failure.clone()));
        assert_eq!(series.into_outcome(&shared(Vec::new()), &EnergyFacts::default()).result, Err(failure));
    }

    #[test]
    fn a_long_run_adds_its_speeds_and_warnings_and_costs_no_round_when_it_fails() {
        let check = |long_run: LongRun, expected: Option<f64>, warnings: &[&str]| {
            let series = Series { long_run: Some(long_run), ..series(vec![round(10.0, 5)], None) };
            let run = series.into_outcome(&shared(Vec::new()), &EnergyFacts::default()).result.unwrap();
            assert_eq!(run.sustained.map(|found| found.sustained_tokens_per_sec), expected);
            assert_eq!(run.provenance.warnings, warnings);
        };
        check(LongRun { speeds: Ok(vec![40.0, 39.0, 38.0]), is_cool: true }, Some(38.0), &[]);
        check(
            LongRun { speeds: Ok(vec![40.0, 30.0, 20.0]), is_cool: false },
            Some(20.0),
            &[
                "decode fell by 50.0 % from 40.0 tok/s to 20.0 tok/s in a run of 3.0 s: the processor cannot hold its speed",
                "the processor was still hot when the long run began: its burst speed is too low",
            ],
        );
        let died = Error::ChildDied { reason: "signal: 9 (SIGKILL)".into(), path: "m.gguf".into() };
        check(LongRun { speeds: Err(died.clone()), is_cool: true }, None, &[&format!("the long run failed: {died}")]);
    }

    #[test]
    fn senseless_requests_are_refused() {
        let one = BenchRequest { models: vec!["m.gguf".into()], ..BenchRequest::default() };
        assert_eq!(check_request(&one), Ok(()));
        for bad in [
            BenchRequest::default(),
            BenchRequest { n_prompt_tokens: 0, ..one.clone() },
            BenchRequest { n_gen_tokens: 0, ..one.clone() },
            BenchRequest { n_repetitions: 0, ..one.clone() },
            BenchRequest { n_threads: Some(0), ..one.clone() },
            BenchRequest { n_threads: Some(513), ..one.clone() },
            BenchRequest { sustained_secs: Some(0), ..one.clone() },
            BenchRequest { sustained_secs: Some(MAX_SUSTAINED_SECS + 1), ..one.clone() },
        ] {
            assert!(matches!(check_request(&bad), Err(Error::BadRequest { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_or_a_missing_or_empty_file_needs_no_child() {
        use crate::error::Placeholder;

        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.gguf");
        std::fs::write(&empty, b"").unwrap();
        let failure = |path: &Path| Series::new(path, &Cpu::default(), 768, None).failure;
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(failure(&folder), Some(Error::NotAFile { kind: "a folder", .. })));
        assert!(matches!(failure(&dir.path().join("none")), Some(Error::Io { kind: std::io::ErrorKind::NotFound, .. })));
        assert!(matches!(failure(&empty), Some(Error::Placeholder { found: Placeholder::Empty, .. })));
    }

    #[test]
    fn what_is_larger_than_memory_needs_no_child() {
        let dir = tempfile::tempdir().unwrap();
        let sample = crate::convert::unpack_sample(dir.path()).unwrap();
        let request = crate::convert::ConvertRequest::new(vec![crate::model::Level::Q4_0], dir.path());
        let model = crate::convert::open_model(&sample).unwrap();
        let level = crate::convert::convert(&model, &request, &Monitor::silent()).unwrap().remove(0).path;
        let failure = |path: &Path, limit_bytes: Option<u64>| {
            let limit = limit_bytes.map(|limit_bytes| MemoryLimit { limit_bytes, cpu: Cpu::default() });
            Series::new(path, &Cpu::default(), 768, limit.as_ref()).failure
        };
        for path in [&sample, &level] {
            match failure(path, Some(1000)) {
                Some(Error::LargerThanMemory { needed_bytes, limit_bytes: 1000, path: named }) => {
                    assert!(needed_bytes > 1_000_000 && named == *path);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(failure(&level, Some(1 << 40)), None);
        for limit_bytes in [None, Some(1 << 40)] {
            assert!(matches!(failure(&sample, limit_bytes), Some(Error::CheckpointNotRunnable { .. })), "{limit_bytes:?}");
        }
    }
}
