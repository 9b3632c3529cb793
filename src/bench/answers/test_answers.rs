//! Answers for the tests of all layers.

use crate::bench::{Answer, AnswerEnd, AnswerToken};
use crate::runtime::{Sampling, TemplateUse};

/// An answer of these tokens, each with the number of its text's first character; ended by itself.
pub fn answer(pieces: &[&str]) -> Answer {
    let token =
        |piece: &&str| AnswerToken { id: piece.chars().next().map_or(0, u32::from), text: (*piece).into(), elapsed_secs: 0.0 };
    Answer {
        path: "m.gguf".into(),
        prompt: "Why?".into(),
        sampling: Sampling::Greedy,
        max_tokens: 128,
        template: Some(TemplateUse::Applied),
        n_prompt_tokens: 37,
        text: pieces.concat(),
        tokens: pieces.iter().map(token).collect(),
        tokens_per_sec: Some(41.8),
        end: Some(AnswerEnd::ByItself),
        vocabulary_sha256: "a".into(),
        runtime: "llama.cpp 0.6.0".into(),
        backend: "CPU icelake (AVX512)".into(),
        n_threads: 2,
    }
}
