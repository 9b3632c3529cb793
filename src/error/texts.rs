//! Error messages that need more than a format string.

use std::path::PathBuf;

use crate::path_text::shown;

/// The first few names, each already on one line, and how many more there are.
pub(super) fn several_text(names: &[String]) -> String {
    const MAX_NAMES: usize = 8;
    let first: Vec<String> = names.iter().take(MAX_NAMES).cloned().collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// [`several_text`] of files.
pub(super) fn paths_text(paths: &[PathBuf]) -> String {
    several_text(&paths.iter().map(|path| shown(path)).collect::<Vec<_>>())
}

pub(super) fn beyond_text(token: &str, number: u64, n_tokens: u64) -> String {
    let token: String = token.escape_debug().take(40).collect();
    format!(
        "the tokenizer's token {token} has the number {number}, but the model has only {n_tokens} tokens (0 to {})",
        n_tokens.saturating_sub(1)
    )
}

pub(super) fn unmatched_text(pattern: &str, fixed: Option<&str>) -> String {
    match fixed {
        Some(tensor) => format!("{pattern} matches only tensors that every level leaves as they are, such as {tensor}"),
        None => format!("no tensor of the model matches {pattern}"),
    }
}

/// What to do about a child that died: a failed check in llama.cpp is not a lack of memory, a kill usually is.
pub(super) fn death_hint(reason: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["out of memory", "failed to allocate", "unable to allocate", "bad_alloc", "cannot allocate", "Cannot allocate"]) {
        "the model may need more memory than is free: try a smaller level or context"
    } else if says(&["panic: "]) {
        "this is a defect of Planish: please report it with the command and the model's name"
    } else if says(&["ASSERT", "SIGABRT"]) {
        "llama.cpp gave up on what is in the file: planish inspect shows what is odd about it"
    } else if says(&["SIGKILL", "signal: 9", "signal 9"]) {
        "the model may need more memory than is free: try a smaller level or context"
    } else if says(&["SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE"]) {
        "llama.cpp crashed: the file may be damaged or cut off while it was read; planish inspect shows what is odd about it"
    } else {
        "try again; if it dies again, another level or another conversion of the model may do"
    }
}
