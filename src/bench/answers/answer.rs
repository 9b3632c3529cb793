//! Answers of models to prompts, one model after the other: two at once on the same cores slow each other tenfold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::check_built_in;
use crate::bench::speed::run::name;
use crate::error::{Error, Result};
use crate::format::Artifact;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::process::ChildProcess;
use crate::runtime::{self, Event, GenerateTask, PromptMode, Request, Sampling, TOP_K, TOP_P, Task, TemplateUse};
use crate::units::{count_of, percent_text};

/// The least time between two parts of an answer: a person reads no faster, and the window draws no more often.
const PART_INTERVAL: Duration = Duration::from_millis(50);
/// More than this is noise: all of the likeliest tokens get the same chance.
const MAX_TEMPERATURE: f32 = 10.0;

/// Which prompts to put to which models, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRequest {
    /// Model files; asked one after the other.
    pub paths: Vec<PathBuf>,
    /// What the user says; each model's own chat template is put around it. All models answer a prompt before the next one is
    /// asked.
    pub prompts: Vec<String>,
    /// The most tokens of an answer; at least 1.
    pub max_tokens: u32,
    /// 0 always takes the likeliest token; the higher, the more is left to chance. At most 10.
    pub temperature: f32,
    /// Start of the random numbers; the same for every model.
    pub seed: u32,
    /// Threads; `None`: one per physical core.
    pub n_threads: Option<u32>,
}

impl Default for AnswerRequest {
    fn default() -> Self {
        Self { paths: Vec::new(), prompts: Vec::new(), max_tokens: 128, temperature: 0.0, seed: 0, n_threads: None }
    }
}

impl AnswerRequest {
    fn sampling(&self) -> Sampling {
        if self.temperature > 0.0 {
            Sampling::Random { temperature: self.temperature, seed: self.seed }
        } else {
            Sampling::Greedy
        }
    }
}

/// A model's answer, as far as it has got.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The model.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// What was asked.
    pub prompt: String,
    /// How tokens were chosen.
    pub sampling: Sampling,
    /// The most tokens that were allowed.
    pub max_tokens: u32,
    /// Whether the prompt stood in the model's chat template; `None` until it is known.
    pub template: Option<TemplateUse>,
    /// Tokens of the prompt with its template; 0 until they are known.
    pub n_prompt_tokens: u32,
    /// The answer.
    pub text: String,
    /// Its tokens; their texts together are `text`, but for a character that the end has cut off.
    pub tokens: Vec<AnswerToken>,
    /// Generated tokens per second; `None` until the end, and for an answer without tokens.
    pub tokens_per_sec: Option<f64>,
    /// Why it is over; `None`: it is still going on, or was broken off.
    pub end: Option<AnswerEnd>,
    /// SHA-256 of the vocabulary, in hexadecimal; empty until it is known.
    pub vocabulary_sha256: String,
    /// The runtime with its version; empty until it is known.
    pub runtime: String,
    /// The device that computes; empty until it is known.
    pub backend: String,
    /// Threads of the runtime.
    pub n_threads: u32,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// The characters that it completes; empty for the first parts of a character that is spread over several tokens.
    pub text: String,
    /// Since the prompt was read, in seconds.
    pub elapsed_secs: f64,
}

/// Why an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEnd {
    /// The model ended it.
    ByItself,
    /// The answer reached its most tokens, or the model's context was full.
    AtLimit,
}

/// The outcome of asking one model one prompt; a failure leaves the others alone.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerOutcome {
    /// The model.
    pub path: PathBuf,
    /// Index of the prompt among those that were asked.
    pub prompt_idx: usize,
    /// Its answer, or why there is none.
    pub result: Result<Arc<Answer>>,
}

/// Asks each model; `on_part` gets each answer as it grows, from its empty start to its end, with its index: all models answer
/// a prompt in the order of `request.paths` before the next. The outcomes are in that order.
///
/// # Errors
/// `Error::Cancelled` within 300 ms of the cancellation with the child killed, `Error::EmptyPrompt`, `Error::BadRequest` for
/// settings that make no sense, `Error::RuntimeMissing` in a build without llama.cpp.
pub fn answer(
    request: &AnswerRequest,
    monitor: &Monitor,
    on_part: impl FnMut(usize, &AnswerOutcome),
) -> Result<Vec<AnswerOutcome>> {
    check_built_in(&request.paths)?;
    answer_with(&runtime::process::executable()?, request, monitor, on_part)
}

/// As [`answer()`], with a given `planish` executable: for programs that use the library without being `planish`, such as its
/// tests.
///
/// # Errors
/// As [`answer()`].
pub fn answer_with(
    exe: &Path,
    request: &AnswerRequest,
    monitor: &Monitor,
    mut on_part: impl FnMut(usize, &AnswerOutcome),
) -> Result<Vec<AnswerOutcome>> {
    check_request(request)?;
    let mut outcomes = Vec::new();
    let questions = request.prompts.iter().enumerate();
    let questions = questions.flat_map(|(prompt_idx, prompt)| request.paths.iter().map(move |path| (prompt_idx, prompt, path)));
    for (idx, (prompt_idx, prompt, path)) in questions.enumerate() {
        let report = |verb: &str, n_tokens: usize| {
            let per_answer = u64::from(request.max_tokens);
            let done = idx as u64 * per_answer + n_tokens as u64;
            let total = (request.paths.len() * request.prompts.len()) as u64 * per_answer;
            monitor.report(Progress { stage: format!("{verb} {}", name(path)), done, total, unit: ProgressUnit::Steps })
        };
        let mut part = |answer: &Answer| {
            on_part(idx, &AnswerOutcome { path: path.clone(), prompt_idx, result: Ok(Arc::new(answer.clone())) });
        };
        let result = answer_one(exe, request, prompt, path, monitor, &report, &mut part);
        if let Err(error @ Error::Cancelled) = result {
            return Err(error);
        }
        let outcome = AnswerOutcome { path: path.clone(), prompt_idx, result: result.map(Arc::new) };
        on_part(idx, &outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn check_request(request: &AnswerRequest) -> Result<()> {
    let problem = if request.prompts.is_empty() || request.prompts.iter().any(|prompt| prompt.trim().is_empty()) {
        return Err(Error::EmptyPrompt);
    } else if request.paths.is_empty() {
        "no model to ask".to_string()
    } else if request.prompts.iter().any(|prompt| prompt.contains('\0')) {
        "the prompt has a NUL character".to_string()
    } else if request.max_tokens == 0 {
        "an answer must have room for at least one token".to_string()
    } else if !(0.0..=MAX_TEMPERATURE).contains(&request.temperature) {
        format!("the temperature must be between 0 and {MAX_TEMPERATURE}")
    } else {
        return runtime::check_threads(request.n_threads);
    };
    Err(Error::BadRequest { message: problem })
}

fn answer_one(
    exe: &Path,
    request: &AnswerRequest,
    prompt: &str,
    path: &Path,
    monitor: &Monitor,
    report: &dyn Fn(&str, usize) -> Result<()>,
    on_part: &mut dyn FnMut(&Answer),
) -> Result<Answer> {
    let mut answer = Answer {
        path: path.into(),
        prompt: prompt.to_string(),
        sampling: request.sampling(),
        max_tokens: request.max_tokens,
        template: None,
        n_prompt_tokens: 0,
        text: String::new(),
        tokens: Vec::new(),
        tokens_per_sec: None,
        end: None,
        vocabulary_sha256: String::new(),
        runtime: String::new(),
        backend: String::new(),
        n_threads: request.n_threads.unwrap_or_else(runtime::default_n_threads),
    };
    report("loading", 0)?;
    on_part(&answer);
    // Opened here first: the runtime has worse words for a file that is not a model.
    let artifact = Artifact::open(path)?;
    let task = GenerateTask {
        path: artifact.run_path().to_path_buf(),
        prompt: prompt.to_string(),
        mode: PromptMode::Chat,
        n_predict: request.max_tokens,
        sampling: request.sampling(),
        n_threads: answer.n_threads,
    };
    let mut child = ChildProcess::spawn(exe, &Request::to_runtime_of(&artifact, Task::Generate(task))?)?;
    let mut shown = Instant::now();
    while let Some(event) = child.next_event(monitor)? {
        answer.take(event);
        if shown.elapsed() >= PART_INTERVAL || answer.tokens.len() == 1 {
            report("asking", answer.tokens.len())?;
            on_part(&answer);
            shown = Instant::now();
        }
    }
    Ok(answer)
}

impl Answer {
    /// Takes in an event of the child.
    fn take(&mut self, event: Event) {
        match event {
            Event::Loaded { info, .. } => (self.runtime, self.backend) = (info.version, info.backend),
            Event::Prompt { n_tokens, template, vocabulary_sha256 } => {
                (self.n_prompt_tokens, self.template, self.vocabulary_sha256) = (n_tokens, Some(template), vocabulary_sha256);
            }
            Event::Token { id, text, elapsed_secs } => {
                self.text.push_str(&text);
                self.tokens.push(AnswerToken { id, text, elapsed_secs });
            }
            Event::Generated { tokens_per_sec, ended_by_itself, rest } => {
                self.text.push_str(&rest);
                self.tokens_per_sec = tokens_per_sec;
                self.end = Some(if ended_by_itself { AnswerEnd::ByItself } else { AnswerEnd::AtLimit });
            }
            _ => {}
        }
    }

    /// How it was made: `greedy, llama.cpp 0.6.0, CPU icelake, 2 threads`.
    #[must_use]
    pub fn settings_text(&self) -> String {
        let how = match self.sampling {
            Sampling::Greedy => "greedy".to_string(),
            Sampling::Random { temperature, seed } => {
                format!("temperature {temperature}, seed {seed}, the {TOP_K} likeliest up to {}", percent_text(f64::from(TOP_P)))
            }
        };
        let threads = count_of(self.n_threads, "thread");
        [how.as_str(), &self.runtime, &self.backend, &threads]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// A note about a prompt without its template: `the model has no chat template: …`; `None` when there is nothing unusual.
    #[must_use]
    pub fn template_note(&self) -> Option<&'static str> {
        match self.template? {
            TemplateUse::Missing => Some("the model has no chat template: it continued the bare prompt"),
            TemplateUse::Unknown => Some("the runtime cannot use the model's chat template: it continued the bare prompt"),
            TemplateUse::Applied | TemplateUse::Unwanted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_without_sense_are_refused_before_any_work() {
        let good =
            AnswerRequest { paths: vec!["/no/such/file.gguf".into()], prompts: vec!["hello".into()], ..AnswerRequest::default() };
        let check = |request: AnswerRequest, expected: &str| {
            let result = answer_with(Path::new("/no/such/exe"), &request, &Monitor::silent(), |_, _| panic!("work was done"));
            let error = result.unwrap_err();
            assert!(error.to_string().contains(expected) && !error.hint().is_empty(), "{error}");
        };
        check(AnswerRequest { prompts: vec!["hello".into(), " \n\t".into()], ..good.clone() }, "the prompt is empty");
        check(AnswerRequest { paths: Vec::new(), ..good.clone() }, "no model to ask");
        check(AnswerRequest { prompts: vec!["a\0b".into()], ..good.clone() }, "NUL");
        check(AnswerRequest { max_tokens: 0, ..good.clone() }, "at least one token");
        check(AnswerRequest { temperature: -0.5, ..good.clone() }, "between 0 and 10");
        check(AnswerRequest { temperature: f32::NAN, ..good.clone() }, "between 0 and 10");
        check(AnswerRequest { n_threads: Some(0), ..good }, "threads");
    }

    #[test]
    fn a_file_that_is_missing_costs_only_itself() {
        let paths = vec![PathBuf::from("/no/such/file.gguf"), "/no/other.gguf".into()];
        let request = AnswerRequest { paths: paths.clone(), prompts: vec!["hello".into()], ..AnswerRequest::default() };
        let mut parts = Vec::new();
        let outcomes = answer_with(Path::new("/no/such/exe"), &request, &Monitor::silent(), |_, part| parts.push(part.clone()));
        let outcomes = outcomes.unwrap();
        assert_eq!(outcomes.iter().map(|outcome| outcome.path.clone()).collect::<Vec<_>>(), paths);
        assert!(outcomes.iter().all(|outcome| matches!(outcome.result, Err(Error::Io { .. }))), "{outcomes:?}");
        // Each starts empty and ends with its outcome.
        let kinds: Vec<bool> =
            parts.iter().map(|part| part.result.as_ref().is_ok_and(|answer| answer.tokens.is_empty())).collect();
        assert_eq!(kinds, [true, false, true, false]);
    }

    /// The answer when a script prints these lines in place of the child.
    #[cfg(unix)]
    fn told(lines: &[&str]) -> Result<Arc<Answer>> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("child.sh");
        std::fs::write(&exe, format!("#!/bin/sh\nread line\n{}\n", lines.join("\n"))).unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
        let model = dir.path().join("m.gguf");
        // Version 3, one tensor of eight numbers, no keys.
        let counts = [1_u64.to_le_bytes(), 0_u64.to_le_bytes()].concat();
        let tensor = [&1_u64.to_le_bytes()[..], b"t", &1_u32.to_le_bytes(), &8_u64.to_le_bytes(), &[0; 12]].concat();
        std::fs::write(&model, [&b"GGUF\x03\0\0\0"[..], &counts, &tensor, &[0; 7 + 32]].concat()).unwrap();
        let request = AnswerRequest { paths: vec![model], prompts: vec!["hello".into()], ..AnswerRequest::default() };
        loop {
            match answer_with(&exe, &request, &Monitor::silent(), |_, _| {}).unwrap().remove(0).result {
                // Another test's fork can hold the script open for writing for a moment.
                Err(Error::Io { kind: std::io::ErrorKind::ExecutableFileBusy, .. }) => std::thread::yield_now(),
                result => return result,
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_answer_is_put_together_from_its_tokens() {
        let answer = told(&[
            r#"echo '{"event":"prompt","n_tokens":5,"template":"missing","vocabulary_sha256":"ab"}'"#,
            r#"echo '{"event":"token","id":7,"text":"","elapsed_secs":0.1}'"#,
            r#"echo '{"event":"token","id":8,"text":"é!","elapsed_secs":0.2}'"#,
            r#"echo '{"event":"token","id":9,"text":"","elapsed_secs":0.3}'"#,
            r#"echo '{"event":"generated","tokens_per_sec":12.5,"ended_by_itself":true,"rest":"?"}'"#,
            r#"echo '{"event":"done","peak_memory_bytes":1}'"#,
        ]);
        let answer = answer.unwrap();
        assert_eq!((answer.text.as_str(), answer.n_prompt_tokens), ("é!?", 5));
        assert_eq!(answer.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!((answer.tokens_per_sec, answer.end), (Some(12.5), Some(AnswerEnd::ByItself)));
        assert!(answer.template_note().unwrap().contains("no chat template"));
    }

    #[cfg(unix)]
    #[test]
    fn a_dead_child_is_told_apart_from_an_answer() {
        let death = told(&[r#"echo '{"event":"token","id":7,"text":"a","elapsed_secs":0.1}'"#, "kill -KILL $$"]);
        assert!(matches!(&death, Err(Error::ChildDied { reason, .. }) if reason.contains("SIGKILL")), "{death:?}");
    }
}
