//! A first run of files made from a checkpoint: do they load, and do they know language?

use std::path::Path;

use super::quality::{TextSource, corpus};
use crate::convert::{Conversion, SelfCheck, own_tokens};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::{self, Event, ProbeInput, ProbeTask, Request};
use crate::units::{count_text, significant_text};

/// Tokens of the bundled prose that each file is run over.
const N_TOKENS: u32 = 256;
/// A file is called wrong when its perplexity is above this part of the vocabulary: guessing gives the whole. Trained models stay below
/// 100 on this text, and rows in the wrong order give thousands.
const GUESSING: f64 = 0.25;
/// And when it is so many times that of the best of its siblings: the lowest levels of small models reach 3.
const FAR_WORSE: f64 = 30.0;

/// What a file said.
struct Probe {
    n_vocab: u32,
    ids: Vec<u32>,
    /// `None` for an encoder.
    perplexity: Option<f64>,
    n_tokens: usize,
}

/// Runs each file over a short text and keeps what it showed in `Conversion::check`. A build without llama.cpp checks nothing.
///
/// `model` is the checkpoint's: its own tokenizer says into which tokens the text must be split.
///
/// # Errors
/// `Error::Cancelled`; what goes wrong with a file is told in its check.
pub fn self_check(model: &Model, made: &mut [Conversion], monitor: &Monitor) -> Result<()> {
    if runtime::check_available().is_err() {
        return Ok(());
    }
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
    let best = probes.iter().flatten().filter_map(|probe| probe.perplexity).min_by(f64::total_cmp);
    for (conversion, probe) in made.iter_mut().zip(&probes) {
        conversion.check = Some(judged(probe, best, expected.as_deref()));
    }
    Ok(())
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
    runtime::run(&Request::Probe(task), &monitor.without_progress(), |event| {
        if let Event::Probed { n_vocab, ids, logps, .. } = event {
            #[allow(clippy::cast_precision_loss, reason = "a mean of 255 numbers")]
            let perplexity = (!logps.is_empty()).then(|| (-logps.iter().sum::<f64>() / logps.len() as f64).exp());
            found = Some(Probe { n_vocab, ids, perplexity, n_tokens: logps.len() + 1 });
        }
        Ok(())
    })?;
    found.ok_or_else(|| Error::Internal { message: "the probe gave no answer".into() })
}

fn judged(probe: &Result<Probe>, best: Option<f64>, expected: Option<&[u32]>) -> SelfCheck {
    let probe = match probe {
        Ok(probe) => probe,
        Err(error) => {
            let text = format!("wrong: llama.cpp cannot run it: {error}");
            return SelfCheck { is_plausible: false, perplexity: None, text };
        }
    };
    let is_split_otherwise = expected.is_some_and(|expected| expected != probe.ids);
    let measured = match probe.perplexity {
        Some(perplexity) => format!("perplexity {} on {} tokens", significant_text(perplexity), probe.n_tokens),
        None => format!("it is an encoder, its {} tokens of a text were looked at", count_text(probe.ids.len() as u64)),
    };
    let is_above = |limit: f64| probe.perplexity.is_some_and(|perplexity| !perplexity.is_finite() || perplexity > limit);
    let (is_plausible, text) = if is_above(f64::from(probe.n_vocab) * GUESSING) {
        let n_vocab = count_text(probe.n_vocab.into());
        (false, format!("wrong: {measured} is hardly better than guessing among {n_vocab}"))
    } else if best.is_some_and(|best| is_above(best * FAR_WORSE)) {
        (false, format!("wrong: {measured} is far above that of the other levels"))
    } else if is_split_otherwise {
        (false, format!("wrong: it splits text into other tokens than the checkpoint's tokenizer; {measured}"))
    } else {
        (true, format!("{}: {measured}", if probe.perplexity.is_some() { "runs" } else { "loads" }))
    };
    SelfCheck { is_plausible, perplexity: probe.perplexity, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_know_nothing_are_called_wrong() {
        let check = |perplexity: f64, expected: Option<&[u32]>, is_plausible: bool, text: &str| {
            let probe = Ok(Probe { n_vocab: 1000, ids: vec![1, 2], perplexity: Some(perplexity), n_tokens: 256 });
            let found = judged(&probe, Some(5.0), expected);
            assert!(found.is_plausible == is_plausible && found.text.contains(text), "{found:?}");
        };
        check(20.0, None, true, "runs: perplexity 20");
        check(20.0, Some(&[1, 2]), true, "runs");
        check(20.0, Some(&[1, 3]), false, "into other tokens");
        check(200.0, None, false, "far above that of the other levels");
        check(900.0, None, false, "guessing among 1,000");
        check(f64::NAN, None, false, "guessing");
        let encoder = Ok(Probe { n_vocab: 1000, ids: vec![1, 2], perplexity: None, n_tokens: 1 });
        assert_eq!(judged(&encoder, None, Some(&[1, 2])).text, "loads: it is an encoder, its 2 tokens of a text were looked at");
        assert!(!judged(&encoder, None, Some(&[1])).is_plausible);
        let failed = judged(&Err(Error::Internal { message: "no".into() }), None, None);
        assert!(!failed.is_plausible && failed.text.contains("cannot run it"), "{failed:?}");
    }
}
