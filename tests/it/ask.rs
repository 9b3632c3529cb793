//! Answers of the real model: repeatable, right, compared, stopped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use planish::bench::{Answer, AnswerEnd, AnswerRequest, answer_with, first_divergence};
use planish::error::Error;
use planish::monitor::Monitor;
use planish::runtime::TemplateUse;

use crate::common;

const QUESTION: &str = "What is the capital of France?";

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_planish"))
}

fn request(prompt: &str) -> AnswerRequest {
    AnswerRequest { paths: vec![common::smollm2()], prompts: vec![prompt.into()], max_tokens: 32, ..AnswerRequest::default() }
}

fn ask(request: &AnswerRequest) -> Vec<Arc<Answer>> {
    let outcomes = answer_with(exe(), request, &Monitor::silent(), |_, _| {}).unwrap();
    outcomes.into_iter().map(|outcome| outcome.result.unwrap()).collect()
}

#[test]
fn the_likeliest_answer_is_right_repeatable_and_streamed() {
    let request = AnswerRequest { paths: vec![common::smollm2(), common::smollm2()], ..request(QUESTION) };
    let mut lens = Vec::new();
    let outcomes = answer_with(exe(), &request, &Monitor::silent(), |_, part| {
        lens.push(part.result.as_ref().map_or(0, |answer| answer.text.len()));
    });
    let outcomes = outcomes.unwrap();
    let (one, other) = (outcomes[0].result.as_ref().unwrap(), outcomes[1].result.as_ref().unwrap());
    assert!(one.text.contains("Paris"), "{}", one.text);
    assert_eq!((&one.text, one.tokens.len()), (&other.text, other.tokens.len()));
    assert_eq!(first_divergence(one, other), None);
    assert_eq!((one.end, one.template), (Some(AnswerEnd::ByItself), Some(TemplateUse::Applied)));
    assert!(one.tokens_per_sec.unwrap() > 0.0 && one.n_prompt_tokens > 7, "{one:?}");
    assert_eq!(one.tokens.iter().map(|token| token.text.as_str()).collect::<String>(), one.text);
    assert!(one.tokens.is_sorted_by(|a, b| a.elapsed_secs <= b.elapsed_secs));
    // Empty, some of it, all of it; then the same again.
    assert!(lens[0] == 0 && lens.iter().any(|&len| len > 0 && len < one.text.len()), "{lens:?}");
    assert_eq!(lens.last(), Some(&other.text.len()));
}

#[test]
fn chance_is_ruled_by_the_seed() {
    let with_seed = |seed| AnswerRequest { temperature: 1.2, seed, max_tokens: 12, ..request("Tell me a story about a dragon.") };
    let text = |seed| ask(&with_seed(seed))[0].text.clone();
    let first = text(7);
    assert_eq!(first, text(7));
    assert!([8, 9].into_iter().any(|seed| text(seed) != first), "{first}");
}

#[test]
fn an_answer_ends_at_its_limit_and_may_have_any_characters() {
    let limited = AnswerRequest { max_tokens: 3, ..request("Count from one to twenty.") };
    let answer = &ask(&limited)[0];
    assert_eq!((answer.tokens.len(), answer.end), (3, Some(AnswerEnd::AtLimit)));
    let answer = &ask(&request("Repeat exactly: 日本語 🦀 ñ"))[0];
    assert!(answer.text.starts_with(&answer.tokens.iter().map(|token| token.text.as_str()).collect::<String>()));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_by_its_number_of_tokens() {
    let outcomes = answer_with(exe(), &request(&"word ".repeat(9000)), &Monitor::silent(), |_, _| {}).unwrap();
    match &outcomes[0].result {
        Err(Error::Runtime { reason, .. }) => assert!(reason.contains("the model's context holds"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cancelling_ends_it_at_once_and_keeps_what_has_come() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let monitor = Monitor::new(Arc::clone(&cancelled), |_| {});
    let endless = AnswerRequest { max_tokens: 4000, temperature: 1.5, ..request("Write a very long novel.") };
    let (mut when, mut n_tokens) = (None, 0);
    let result = answer_with(exe(), &endless, &monitor, |_, part| {
        n_tokens = part.result.as_ref().map_or(0, |answer| answer.tokens.len());
        if n_tokens >= 5 && when.is_none() {
            cancelled.store(true, Ordering::Relaxed);
            when = Some(Instant::now());
        }
    });
    assert_eq!(result.map(|_| ()), Err(Error::Cancelled));
    assert!(n_tokens >= 5 && when.unwrap().elapsed() < Duration::from_millis(300), "{:?}", when.unwrap().elapsed());
}

#[test]
fn the_command_line_streams_compares_and_prints_one_document() {
    let model = common::smollm2();
    let output = common::run(&[&"ask", &model, &model, &"--prompt", &QUESTION, &"--max-tokens", &"32", &"--threads", &"2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("== SmolLM2-135M-Instruct.Q4_1.gguf\n").count(), 2, "{text}");
    assert!(text.matches("Paris").count() >= 2 && text.contains("The same, all ") && text.contains("tok/s"), "{text}");

    let json = common::run_json(&[&"ask", &model, &"--prompt", &QUESTION, &"--max-tokens", &"16", &"--json"]);
    let answer = &json["answers"][0]["answer"];
    assert!(answer["text"].as_str().unwrap().contains("Paris") && answer["tokens"][0]["id"].is_number(), "{json}");

    let output = common::run(&[&"ask", &model, &"--prompt", &"  "]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(stderr.contains("error: the prompt is empty\nhint: write a question"), "{stderr}");
    let output = common::run(&[&"ask", &"/no/such.gguf", &"--prompt", &QUESTION]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: check the path"));
}

#[test]
fn without_a_usable_template_the_bare_prompt_is_continued_and_that_is_said() {
    const KEY: &[u8] = b"tokenizer.chat_template";
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(common::smollm2()).unwrap();
    let at = bytes.windows(KEY.len()).position(|window| window == KEY).unwrap();
    // After the key come the type of the value, its length, the text.
    let start = at + KEY.len() + 4 + 8;
    let len = usize::try_from(u64::from_le_bytes(bytes[start - 8..start].try_into().unwrap())).unwrap();
    let check = |name: &str, expected: TemplateUse, change: &dyn Fn(&mut Vec<u8>)| {
        let mut copy = bytes.clone();
        change(&mut copy);
        let path = dir.path().join(name);
        std::fs::write(&path, copy).unwrap();
        let answer = &ask(&AnswerRequest { paths: vec![path], max_tokens: 4, ..request("The capital of France is") })[0];
        assert_eq!((answer.template, answer.n_prompt_tokens), (Some(expected), 5));
        assert!(answer.text.contains("Paris") && answer.template_note().is_some(), "{answer:?}");
    };
    check("missing.gguf", TemplateUse::Missing, &|bytes| bytes[at + KEY.len() - 1] = b'X');
    check("unknown.gguf", TemplateUse::Unknown, &|bytes| bytes[start..start + len].fill(b'x'));
}
