//! A first run of files made from a checkpoint: do they load, and do they know language?

use std::path::Path;

use crate::bench::known::remember_conversions;
use crate::bench::{MemoryLimit, is_stand_in};
use crate::calibrate::text::{TextSource, corpus};
use crate::convert::{Conversion, ConvertRequest, Removal, SelfCheck, convert, own_tokens, preflight, remove_output};
use crate::error::{Error, Result};
use crate::format::Artifact;
use crate::model::{Framework, Level, Model, PrecisionClass};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::work_folder::WorkFolder;
use crate::runtime::{self, Event, ProbeInput, ProbeTask, Request, RuntimeId, Task};
use crate::units::{count_text, significant_text};

/// Tokens of the bundled prose that each file is run over.
const N_TOKENS: u32 = 256;
/// A perplexity above this fraction of the vocabulary is reported: guessing gives the whole vocabulary. Models that were
/// trained on English stay below 100 on this text; those that were not are no worse for it, so the file is kept.
const GUESSING: f64 = 0.25;
/// A file is broken when its perplexity is more than this many times its best sibling's: the lowest levels of small models
/// reach 3.
const FAR_WORSE: f64 = 30.0;
/// Below this perplexity a low level is believed without a closer one to compare it with: every model that was trained on
/// English stays below it.
const BELIEVED: f64 = 100.0;
/// The level that a low one is compared with when no closer one was asked for. It loses less than the trial can tell, is half
/// as large as 16-bit floats, and takes a third of a second per gigabyte to write.
const YARDSTICK: Level = Level::Q8_0;
/// The largest file that is made only for such a comparison, in bytes: that of a model of 4 billion weights.
const MAX_YARDSTICK_BYTES: u64 = 4 << 30;

/// Weights of the largest model that is tried with MLX on a CPU, which computes 2e9 products a second: ten seconds per level.
const MAX_STAND_IN_WEIGHTS: u64 = 80_000_000;

/// What a first run of a file showed.
struct Probe {
    n_vocab: u32,
    ids: Vec<u32>,
    /// `None` for an encoder.
    perplexity: Option<f64>,
    n_tokens: usize,
}

/// Tries what was made, removes what is broken, and notes the rest in the user's history. Returns what was wrong with the first
/// broken file.
///
/// # Errors
/// `Error::Cancelled`: then all files stay, and are noted. `Error::Io` when a broken one cannot be removed.
pub(super) fn try_made(
    model: &Model,
    made: &mut Vec<Conversion>,
    limit: Option<&MemoryLimit>,
    monitor: &Monitor,
) -> Result<Option<Error>> {
    let tried = if model.is_runnable() { Ok(()) } else { self_check(model, made, limit, monitor) };
    let broken = if tried.is_ok() { discard_broken(made) } else { Ok(None) };
    remember_conversions(model, made);
    tried.and(broken)
}

/// Runs each file over a short text and keeps what it showed in `Conversion::check`. What no runtime here can run, or MLX only
/// slowly on a CPU, is not checked, nor is what needs more memory than it may use.
///
/// `model` is the checkpoint's: its own tokenizer says into which tokens the text must be split.
///
/// # Errors
/// `Error::Cancelled`; what goes wrong with a file is told in its check.
fn self_check(model: &Model, made: &mut [Conversion], limit: Option<&MemoryLimit>, monitor: &Monitor) -> Result<()> {
    let here: Vec<RuntimeId> = RuntimeId::ALL.into_iter().filter(|runtime| runtime::check_available(*runtime).is_ok()).collect();
    let is_slow = made.iter().any(|made| made.level.framework() == Framework::Mlx)
        && model.n_parameters() > MAX_STAND_IN_WEIGHTS
        && runtime::info(RuntimeId::Mlx, &monitor.without_progress())
            .map_or(true, |info| is_stand_in(&info.version, &info.backend));
    let is_too_large = |path: &Path| {
        let check = |limit: &MemoryLimit| limit.check_artifact(&Artifact::open(path)?, N_TOKENS.into());
        matches!(limit.map(check), Some(Err(Error::LargerThanMemory { .. })))
    };
    let runs_here = |made: &&mut Conversion| {
        RuntimeId::of(made.level.framework()).is_some_and(|by| here.contains(&by) && !(is_slow && by == RuntimeId::Mlx))
            && !is_too_large(&made.path)
    };
    let made: Vec<&mut Conversion> = made.iter_mut().filter(runs_here).collect();
    let text = text();
    let expected = own_tokens(model, &text);
    let total = made.len() as u64;
    let mut probes = Vec::with_capacity(made.len());
    for (idx, conversion) in made.iter().enumerate() {
        let stage = format!("trying {}", conversion.level);
        monitor.report(Progress { stage, done: idx as u64, total, unit: ProgressUnit::Steps })?;
        // An encoder predicts no next token: it is loaded, and splits the text.
        let n_tokens = if model.hyperparameters.is_encoder { 0 } else { N_TOKENS };
        probes.push(match probe(&conversion.path, &text, n_tokens, monitor) {
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            probe => probe,
        });
    }
    let levels: Vec<Level> = made.iter().map(|made| made.level).collect();
    let perplexities: Vec<f64> = probes.iter().flatten().filter_map(|probe| probe.perplexity).collect();
    let best = perplexities.iter().copied().min_by(f64::total_cmp).map(|perplexity| Best { perplexity, of: Of::Siblings });
    let best = match best {
        Some(best) if needs_yardstick(&levels, &perplexities) => {
            let yardstick = yardstick(model, &text, monitor)?;
            let closer = yardstick.map(|perplexity| Best { perplexity, of: Of::Yardstick });
            Some(closer.unwrap_or(Best { of: Of::Low, ..best }))
        }
        best => best,
    };
    for (conversion, probe) in made.into_iter().zip(&probes) {
        let check = judged(probe, best, expected.as_deref(), lacking(&model.warnings));
        // Whether MLX or ONNX Runtime loads a folder depends on versions and folders of Python as much as on the folder.
        // And MLX's levels of 2 bits, rounded without an importance matrix, break most models: that is the level's loss, which the check
        // tells, and no fault of the file.
        let framework = conversion.level.framework();
        let is_kept = match framework {
            Framework::Mlx => probe.is_err() || conversion.level.class() == PrecisionClass::UltraLow,
            Framework::OnnxRuntime => probe.is_err(),
            Framework::LlamaCpp | Framework::OpenVino | Framework::Qnn => false,
        };
        conversion.check = Some(SelfCheck { is_broken: check.is_broken && !is_kept, ..check });
    }
    Ok(())
}

/// The lowest perplexity of the same checkpoint on the same text, and which files it comes from.
#[derive(Debug, Clone, Copy)]
struct Best {
    perplexity: f64,
    of: Of,
}

/// What something is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The levels that were made with it.
    Siblings,
    /// The same, all of them low, because there was nothing closer to the checkpoint.
    Low,
    /// `YARDSTICK`, made for this comparison.
    Yardstick,
}

impl Of {
    fn name(self) -> String {
        match self {
            Self::Siblings | Self::Low => "the other levels".into(),
            Self::Yardstick => format!("{YARDSTICK} of the same checkpoint"),
        }
    }
}

/// Whether the levels are all low and one of them is worse than English allows: then either the model knows other texts, or the file is
/// broken, and only a closer level tells which.
fn needs_yardstick(levels: &[Level], perplexities: &[f64]) -> bool {
    let is_low = |level: &Level| matches!(level.class(), PrecisionClass::Low | PrecisionClass::UltraLow);
    levels.iter().all(is_low) && perplexities.iter().any(|&perplexity| perplexity > BELIEVED)
}

/// The perplexity of the same checkpoint in a level that loses nearly nothing, from a file that is gone again afterwards; `None` for a
/// checkpoint that is too large for that, or when there is no room for it.
///
/// # Errors
/// `Error::Cancelled`.
fn yardstick(model: &Model, text: &str, monitor: &Monitor) -> Result<Option<f64>> {
    let made = || -> Result<Option<f64>> {
        let folder = WorkFolder::new("trial")?;
        let request = ConvertRequest::new(vec![YARDSTICK], folder.path());
        if preflight(model, &request)?.needed_bytes > MAX_YARDSTICK_BYTES {
            return Ok(None);
        }
        let monitor = monitor.without_progress();
        let made = convert(model, &request, &monitor)?;
        let Some(made) = made.first() else { return Ok(None) };
        Ok(probe(&made.path, text, N_TOKENS, &monitor)?.perplexity.filter(|perplexity| perplexity.is_finite()))
    };
    match made() {
        Err(Error::Cancelled) => Err(Error::Cancelled),
        // Why it cannot be had does not matter: the file itself was tried.
        found => Ok(found.unwrap_or(None)),
    }
}

/// Removes files that were found broken, also from the list. Returns what was wrong with the first of them.
///
/// # Errors
/// `Error::Io` when one cannot be removed.
fn discard_broken(made: &mut Vec<Conversion>) -> Result<Option<Error>> {
    let mut first = None;
    for broken in made.extract_if(.., |made| made.check.as_ref().is_some_and(|check| check.is_broken)) {
        remove_output(&broken.path, Removal::ForGood)?;
        let reason = broken.check.map(|check| check.text).unwrap_or_default();
        first.get_or_insert(Error::WrongOutput { reason, path: broken.path });
    }
    Ok(first)
}

/// The first warning about a part of the tokenizer that llama.cpp lacks.
fn lacking(warnings: &[String]) -> Option<&str> {
    warnings.iter().map(String::as_str).find(|warning| warning.contains("normalizer") || warning.contains("pre-tokenizer"))
}

/// True for a failure that says nothing about the file: too little memory, no runtime or only a part of it, or a process that
/// said nothing and reported no failure.
fn is_of_the_machine(error: &Error) -> bool {
    let tells_of_it = |reason: &str| {
        let reason = reason.to_ascii_lowercase();
        ["memory", "allocat", "sigkill", "bad_alloc", "without a result", "not installed"]
            .iter()
            .any(|word| reason.contains(word))
    };
    match error {
        Error::RuntimeMissing { .. } | Error::Io { .. } => true,
        Error::ChildDied { reason, .. } | Error::Runtime { reason, .. } => tells_of_it(reason),
        _ => false,
    }
}

/// The text that files are tried on.
fn text() -> String {
    let prose = corpus(&TextSource::Bundled).ok().and_then(|corpus| corpus.parts.parts.into_iter().next());
    prose.map_or_else(String::new, |part| part.text)
}

fn probe(path: &Path, text: &str, n_tokens: u32, monitor: &Monitor) -> Result<Probe> {
    let task = ProbeTask {
        path: path.to_path_buf(),
        inputs: vec![ProbeInput::Text(text.into())],
        max_tokens: n_tokens,
        with_logits: false,
        exact_attention: false,
        n_threads: runtime::default_n_threads(),
    };
    let mut found = None;
    runtime::run(&Request::to_runtime_of(&Artifact::open(path)?, Task::Probe(task))?, &monitor.without_progress(), |event| {
        if let Event::Probed { n_vocab, ids, logps, .. } = event {
            #[allow(clippy::cast_precision_loss, reason = "a mean of 255 numbers")]
            let perplexity = (!logps.is_empty()).then(|| (-logps.iter().sum::<f64>() / logps.len() as f64).exp());
            found = Some(Probe { n_vocab, ids, perplexity, n_tokens: logps.len() + 1 });
        }
        Ok(())
    })?;
    found.ok_or_else(|| Error::Internal { message: "the probe gave no answer".into() })
}

fn judged(probe: &Result<Probe>, best: Option<Best>, expected: Option<&[u32]>, lacking: Option<&str>) -> SelfCheck {
    let broken = |text: String| SelfCheck { is_plausible: false, is_broken: true, perplexity: None, text };
    let probe = match probe {
        Ok(probe) => probe,
        Err(error) if is_of_the_machine(error) => {
            let text = format!("not tried: {error}");
            return SelfCheck { is_plausible: true, is_broken: false, perplexity: None, text };
        }
        Err(error) => return broken(format!("wrong: it cannot be run: {error}")),
    };
    let measured = match probe.perplexity {
        Some(perplexity) => format!("perplexity {} on {} tokens", significant_text(perplexity), probe.n_tokens),
        None => format!("it is an encoder, which split a text into {} tokens", count_text(probe.ids.len() as u64)),
    };
    let is_above = |limit: f64| probe.perplexity.is_some_and(|perplexity| perplexity > limit);
    let check = |is_broken: bool, text| SelfCheck { is_plausible: !is_broken, is_broken, perplexity: probe.perplexity, text };
    if probe.perplexity.is_some_and(|perplexity| !perplexity.is_finite()) {
        broken("wrong: its predictions are not numbers".into())
    } else if let Some(best) = best.filter(|best| is_above(best.perplexity * FAR_WORSE)) {
        let (far, of) = (significant_text(best.perplexity), best.of.name());
        check(true, format!("wrong: {measured} is far above that of {of} ({far})"))
    } else if expected.is_some_and(|expected| expected != probe.ids) {
        let why = lacking.map_or(String::new(), |lacking| format!(": {lacking}"));
        check(true, format!("wrong: it splits text into other tokens than the checkpoint's tokenizer{why}; {measured}"))
    } else if is_above(f64::from(probe.n_vocab) * GUESSING) {
        let n_vocab = count_text(probe.n_vocab.into());
        let of_english = format!("{measured} of English is hardly better than guessing among {n_vocab}");
        if let Some(best) = best.filter(|best| best.perplexity <= f64::from(probe.n_vocab) * GUESSING) {
            let (far, of) = (significant_text(best.perplexity), best.of.name());
            let text = format!("{of_english}, that of {of} is {far}: this level is too low for the model");
            return SelfCheck { is_plausible: false, ..check(false, text) };
        }
        let is_alone = best.is_some_and(|best| best.of == Of::Low);
        let alone = if is_alone { "; nothing closer to the checkpoint was there to compare it with" } else { "" };
        let text = format!("{of_english}: the model may know other texts, or none{alone}");
        SelfCheck { is_plausible: false, ..check(false, text) }
    } else {
        check(false, format!("{}: {measured}", if probe.perplexity.is_some() { "runs" } else { "loads" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Level;

    fn best(perplexity: f64) -> Best {
        Best { perplexity, of: Of::Siblings }
    }

    fn probed(perplexity: Option<f64>) -> Probe {
        Probe { n_vocab: 1000, ids: vec![1, 2], perplexity, n_tokens: 256 }
    }

    #[test]
    fn files_are_judged_by_their_first_run() {
        // `(is plausible, is broken)`
        let check = |perplexity: f64, expected: Option<&[u32]>, state: (bool, bool), text: &str| {
            let found = judged(&Ok(probed(Some(perplexity))), Some(best(5.0)), expected, None);
            assert!((found.is_plausible, found.is_broken) == state && found.text.contains(text), "{found:?}");
        };
        let (fine, broken) = ((true, false), (false, true));
        check(20.0, None, fine, "runs: perplexity 20");
        check(20.0, Some(&[1, 2]), fine, "runs");
        check(20.0, Some(&[1, 3]), broken, "into other tokens");
        check(200.0, None, broken, "far above that of the other levels (5.00)");
        check(f64::NAN, None, broken, "not numbers");
        check(f64::INFINITY, None, broken, "not numbers");
        let encoder = Ok(probed(None));
        assert_eq!(judged(&encoder, None, Some(&[1, 2]), None).text, "loads: it is an encoder, which split a text into 2 tokens");
        assert!(judged(&encoder, None, Some(&[1]), None).is_broken);
    }

    #[test]
    fn a_model_that_speaks_no_english_keeps_its_file() {
        let found = judged(&Ok(probed(Some(900.0))), Some(best(880.0)), None, None);
        assert!(!found.is_plausible && !found.is_broken && found.text.contains("guessing among 1,000"), "{found:?}");
        let close = Best { perplexity: 40.0, of: Of::Yardstick };
        let found = judged(&Ok(probed(Some(900.0))), Some(close), None, None);
        assert!(
            !found.is_plausible && !found.is_broken && found.text.contains("that of Q8_0 of the same checkpoint is 40.0"),
            "{found:?}"
        );
        let alone = Best { perplexity: 900.0, of: Of::Low };
        let found = judged(&Ok(probed(Some(900.0))), Some(alone), None, None);
        assert!(!found.is_broken && found.text.contains("nothing closer to the checkpoint was there"), "{found:?}");
    }

    #[test]
    fn only_low_levels_that_english_does_not_explain_need_a_yardstick() {
        let check = |levels: &[Level], perplexities: &[f64], expected: bool| {
            assert_eq!(needs_yardstick(levels, perplexities), expected, "{levels:?} {perplexities:?}");
        };
        check(&[Level::Q2_K], &[20.0], false);
        check(&[Level::Q2_K], &[500.0], true);
        check(&[Level::Q2_K, Level::Q4_K_M], &[20.0, 500.0], true);
        check(&[Level::Q2_K, Level::Q8_0], &[500.0, 20.0], false);
        check(&[Level::Q2_K], &[], false);
    }

    #[test]
    fn a_part_of_the_tokenizer_that_is_lacking_is_named() {
        let warnings = ["a".to_string(), "llama.cpp does not have the tokenizer's normalizer Lowercase: x".to_string()];
        let found = judged(&Ok(probed(Some(20.0))), None, Some(&[7]), lacking(&warnings));
        assert!(found.is_broken && found.text.contains("normalizer Lowercase"), "{found:?}");
        assert_eq!(lacking(&warnings[..1]), None);
    }

    #[test]
    fn a_machine_that_is_too_small_breaks_no_file() {
        let check = |error: Error, is_broken: bool| {
            let found = judged(&Err(error.clone()), None, None, None);
            assert_eq!((found.is_broken, found.text.contains("not tried")), (is_broken, !is_broken), "{error}");
        };
        let died = |reason: &str| Error::ChildDied { reason: reason.into(), path: "m".into() };
        let failed = |reason: &str| Error::Runtime { runtime: "llama.cpp".into(), reason: reason.into(), path: "m".into() };
        check(died("it ended without a result"), false);
        check(died("signal: 9 (SIGKILL), the system may have run out of memory"), false);
        check(died("signal: 6 (SIGABRT), GGML_ASSERT(id_to_token.size() == token_to_id.size()) failed"), true);
        check(failed("unable to allocate CPU buffer"), false);
        check(failed("its compute backends are not installed beside planish"), false);
        check(failed("missing tensor blk.0.attn_q.weight"), true);
        check(failed("its logits are not numbers"), true);
        check(Error::Internal { message: "no".into() }, true);
    }

    #[test]
    fn broken_files_lose_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str, is_broken: bool| {
            let path = dir.path().join(name);
            std::fs::write(&path, "x").unwrap();
            std::fs::write(crate::convert::manifest_path(&path), "{\n  \"planish_manifest\": 1}").unwrap();
            let check = SelfCheck { is_plausible: !is_broken, is_broken, perplexity: None, text: "wrong: x".into() };
            Conversion {
                level: Level::Q8_0,
                path,
                source: "s".into(),
                size_bytes: 1,
                bits_per_weight: 8.5,
                elapsed_secs: 1.0,
                warnings: Vec::new(),
                check: Some(check),
                changes: String::new(),
            }
        };
        let mut all = vec![made("a.gguf", true), made("b.gguf", false)];
        let error = discard_broken(&mut all).unwrap().unwrap();
        assert!(matches!(&error, Error::WrongOutput { path, .. } if path.ends_with("a.gguf")), "{error}");
        assert_eq!(all.len(), 1);
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["b.gguf", "b.gguf.manifest.json"]);
        assert_eq!(discard_broken(&mut all), Ok(None));
    }
}
