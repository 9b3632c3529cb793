//! `planish ask`: prints models' answers to prompts as they come, and where they diverge.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::OutputArgs;
use super::output::{columns_text, print_bytes, print_json, print_text};
use super::progress;
use super::run::first_failure;
use crate::bench::answer as ask_models;
use crate::bench::{Answer, AnswerEnd, AnswerOutcome, AnswerRequest, agreement_text, first_divergence, realigned};
use crate::error::{Error, Result};
use crate::path_text;
use crate::units::{count_text, percent_text, significant_text};

/// Number of characters that are shown of each answer from the point where they diverge.
const N_SHOWN: usize = 60;

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// GGUF files, MLX folders and folders for ONNX Runtime; asked one after the other, each compared with the first
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The question or instruction; each model's own chat template is put around it. Repeat the option to ask several
    #[arg(long, short, value_name = "TEXT", required = true)]
    prompt: Vec<String>,
    /// The most tokens in an answer
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_tokens: u32,
    /// 0 always takes the likeliest token; the higher the value, the more is left to chance
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Seed of the random numbers, the same for every model
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Threads of the runtime; default: one per physical core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn ask(args: AskArgs) -> Result<()> {
    let request = AnswerRequest {
        paths: args.models,
        prompts: args.prompt,
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        seed: args.seed,
        n_threads: args.threads,
    };
    let outcomes = if args.output.json {
        let outcomes = ask_models(&request, &progress::monitor(), |_, _| {})?;
        print_json(&outcomes_json(&outcomes))?;
        outcomes
    } else {
        let mut stream = Stream { n_prompts: request.prompts.len(), ..Stream::default() };
        // No line of progress: on a terminal it would be drawn into the answer.
        let outcomes = ask_models(&request, &progress::monitor().without_progress(), |idx, part| stream.take(idx, part));
        stream.end();
        let outcomes = outcomes?;
        stream.failure.map_or(Ok(()), Err)?;
        let groups = outcomes.chunk_by(|one, next| one.prompt_idx == next.prompt_idx);
        let texts: Vec<String> = groups.map(|group| titled(group, request.prompts.len() > 1)).collect();
        print_text(&texts.join("\n\n"))?;
        outcomes
    };
    first_failure(outcomes.iter().map(|outcome| &outcome.result))
}

/// What has been printed of the answers so far.
#[derive(Default)]
struct Stream {
    /// Number of answers begun so far.
    n_begun: usize,
    /// Bytes printed of the current answer.
    n_printed: usize,
    /// Number of prompts; if there are several, the heading of each answer shows its prompt.
    n_prompts: usize,
    /// Standard output failed: the rest is not printed.
    failure: Option<Error>,
}

impl Stream {
    fn take(&mut self, idx: usize, part: &AnswerOutcome) {
        if idx >= self.n_begun {
            let gap = if idx > 0 { "\n\n" } else { "" };
            let of_several = |answer: &Answer| format!(" < {}", shown(&answer.prompt.replace('\n', " ")));
            let prompt = part.result.as_deref().ok().filter(|_| self.n_prompts > 1).map(of_several).unwrap_or_default();
            self.print(&format!("{gap}== {}{prompt}\n", file_name(&part.path)));
            (self.n_begun, self.n_printed) = (idx + 1, 0);
        }
        match &part.result {
            Ok(answer) => {
                self.print(&shown(answer.text.get(self.n_printed..).unwrap_or_default()));
                self.n_printed = answer.text.len();
            }
            Err(error) => self.print(&format!("failed: {error}")),
        }
    }

    /// Ends the line, so that what follows starts on its own.
    fn end(&mut self) {
        if self.n_begun > 0 {
            self.print("\n\n");
        }
    }

    fn print(&mut self, text: &str) {
        if self.failure.is_none() && !text.is_empty() {
            self.failure = print_bytes(text.as_bytes()).err();
        }
    }
}

/// A model's text made safe for a terminal: control characters other than line feeds and tabs become `�`.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{FFFD}' } else { c }).collect()
}

/// The summary of one prompt's answers; under the prompt itself if there are several.
fn titled(outcomes: &[AnswerOutcome], has_others: bool) -> String {
    let prompt = outcomes.iter().find_map(|outcome| outcome.result.as_ref().ok()).map(|answer| shown(&answer.prompt));
    match prompt.filter(|_| has_others) {
        Some(prompt) => format!("{}\n{}", prompt.replace('\n', " "), summary_text(outcomes)),
        None => summary_text(outcomes),
    }
}

fn summary_text(outcomes: &[AnswerOutcome]) -> String {
    let answers: Vec<&Answer> = outcomes.iter().filter_map(|outcome| outcome.result.as_deref().ok()).collect();
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|answer| {
            vec![
                file_name(&answer.path),
                answer.tokens_per_sec.map_or_else(|| "–".into(), significant_text),
                count_text(answer.tokens.len() as u64),
                count_text(u64::from(answer.n_prompt_tokens)),
                match answer.end {
                    Some(AnswerEnd::ByItself) => "by itself".into(),
                    _ => "at the limit".into(),
                },
            ]
        })
        .collect();
    let Some((first, others)) = answers.split_first() else { return String::new() };
    let mut text = columns_text(&["model", "tok/s", "tokens", "prompt tokens", "ended"], &rows, &[1, 2, 3]);
    for other in others {
        let same = percent_text(realigned(first, other).same_part());
        text.push_str(&format!("\n\n{} ({same} of the text is the same, in order)", agreement_text(first, other)));
        if let Some(found) = first_divergence(first, other) {
            for answer in [first, other] {
                let rest: String = found.split(answer).1.chars().take(N_SHOWN).collect();
                let rest = if rest.is_empty() { "(its end)".into() } else { format!("{rest:?}") };
                text.push_str(&format!("\n  {}: {rest}", file_name(&answer.path)));
            }
        }
    }
    text.push_str(&format!("\n\n{}", first.settings_text()));
    for answer in &answers {
        if let Some(note) = answer.template_note() {
            text.push_str(&format!("\nwarning: {}: {note}", file_name(&answer.path)));
        }
    }
    text
}

/// The answers; each but the first of a prompt says where it diverges from the first.
fn outcomes_json(outcomes: &[AnswerOutcome]) -> serde_json::Value {
    let first_of = |prompt_idx: usize| outcomes.iter().find(|outcome| outcome.prompt_idx == prompt_idx);
    let json_of = |outcome: &AnswerOutcome| match &outcome.result {
        Ok(answer) => {
            let first = first_of(outcome.prompt_idx).filter(|first| !std::ptr::eq(*first, outcome));
            let first = first.and_then(|first| first.result.as_deref().ok());
            let divergence = first.and_then(|first| first_divergence(first, answer));
            let same_part = first.map(|first| realigned(first, answer).same_part());
            json!({ "path": path_text::to_text(&outcome.path), "prompt_idx": outcome.prompt_idx, "answer": **answer,
                "divergence_from_first": divergence, "same_part": same_part })
        }
        Err(error) => {
            json!({ "path": path_text::to_text(&outcome.path), "prompt_idx": outcome.prompt_idx, "failure": error.to_string(), "hint": error.hint() })
        }
    };
    let answers: Vec<serde_json::Value> = outcomes.iter().map(json_of).collect();
    json!({ "answers": answers })
}

fn file_name(path: &Path) -> String {
    path_text::file_name(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::answers::test_answers::answer;

    #[test]
    fn answers_are_summed_up_with_the_place_where_they_part() {
        let outcome = |name: &str, pieces: &[&str]| {
            let answer = Answer { path: name.into(), ..answer(pieces) };
            AnswerOutcome { path: name.into(), prompt_idx: 0, result: Ok(std::sync::Arc::new(answer)) }
        };
        let outcomes =
            [outcome("a.gguf", &["Paris", ".", "\n"]), outcome("b.gguf", &["Paris", "!"]), outcome("c.gguf", &["Paris"])];
        let text = summary_text(&outcomes);
        assert!(text.contains("Same for 1 token, then they differ (76.9 % of the text is the same, in order)\n  a.gguf: \".\\n\"\n  b.gguf: \"!\""), "{text}");
        assert!(
            text.contains(
                "then the second ends (83.3 % of the text is the same, in order)\n  a.gguf: \".\\n\"\n  c.gguf: (its end)"
            ),
            "{text}"
        );
        assert!(text.contains("\n\ngreedy, llama.cpp"), "{text}");
        let json = outcomes_json(&outcomes);
        assert_eq!(json["answers"][0]["divergence_from_first"], serde_json::Value::Null);
        assert_eq!(json["answers"][1]["divergence_from_first"]["token_idx"], 1);
        assert_eq!(
            (&json["answers"][2]["answer"]["text"], &json["answers"][2]["answer"]["end"]),
            (&json!("Paris"), &json!("by_itself"))
        );
    }

    #[test]
    fn what_would_rule_the_terminal_is_made_visible() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected);
        check("a\n\tb", "a\n\tb");
        check("\x1b[2Jé\r\u{9b}1m", "\u{FFFD}[2Jé\u{FFFD}\u{FFFD}1m");
    }
}
