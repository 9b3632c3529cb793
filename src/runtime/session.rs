//! What a runtime must be able to do; the tasks are written once against it.

use std::path::Path;

use super::{RuntimeInfo, TemplateUse};

/// A runtime that is ready to load models.
pub(super) trait Engine {
    /// What it is and what it computes with.
    fn info(&self) -> RuntimeInfo;

    /// Loads a model.
    fn load(&self, path: &Path, purpose: Purpose) -> Result<Box<dyn Language + '_>, String>;
}

/// What a model is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be run as its user would run it.
    Use,
    /// To say what its weights are worth: rounding while computing should be small beside what they have lost.
    Losses,
}

/// The vocabulary of a loaded language model.
pub(super) trait Vocabulary {
    /// Entries of the vocabulary.
    fn n_vocab(&self) -> u32;

    /// The token that starts a text, where the model wants one.
    fn bos(&self) -> Option<u32>;

    /// The bytes of a token; a character can be spread over several. For a special token, its name or nothing, as `marks` says.
    fn piece(&self, token: u32, marks: Marks) -> Vec<u8>;

    /// Splits a text.
    fn tokenize(&self, text: &str, start: TextStart, marks: Marks) -> Result<Vec<u32>, String>;
}

/// A loaded language model: its vocabulary, and what computes with it.
pub(super) trait Language: Vocabulary {
    /// Tokens of the longest text that it was trained on.
    fn n_ctx_train(&self) -> u32;

    /// Whether a token ends a text.
    fn is_end(&self, token: u32) -> bool;

    /// The text with the prompt as the user's turn and the start of the model's own.
    fn templated(&self, prompt: &str) -> Result<(String, TemplateUse), String>;

    /// SHA-256 of the vocabulary's texts in their order, each with a zero byte behind it, in hexadecimal.
    fn vocabulary_sha256(&self) -> String;

    /// A session that computes with the model.
    fn session(&self, settings: SessionSettings) -> Result<Box<dyn Session + '_>, String>;

    /// Highest resident memory in bytes of the process that holds the model.
    fn peak_memory_bytes(&self) -> u64;
}

/// What stands before the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextStart {
    /// What the model wants before a text.
    Marked,
    /// Nothing.
    Bare,
}

/// What a special token's name, such as `<|im_start|>`, is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// The token.
    Tokens,
    /// Text like any other when a text is split; nothing when the token itself is written out.
    Text,
}

/// How a session computes.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "llama-cpp"), expect(dead_code, reason = "MLX leaves no choice"))]
pub(super) struct SessionSettings {
    /// Tokens that fit.
    pub n_tokens: u32,
    /// Threads; at least 1.
    pub n_threads: u32,
    /// Attention in F32 throughout, where the runtime has a choice: slower.
    pub exact_attention: bool,
}

/// Computes one text.
pub(super) trait Session {
    /// Forgets all tokens.
    fn clear(&mut self) -> Result<(), String>;

    /// Forgets the tokens from `position` on, so that the next one stands there; false when the model can only forget everything.
    fn forget_from(&mut self, position: u32) -> Result<bool, String>;

    /// Computes tokens that follow the ones so far, and waits.
    fn compute(&mut self, tokens: &[u32]) -> Result<(), String>;

    /// Logits of the last token, one for each entry of the vocabulary.
    fn last_logits(&mut self) -> Result<&[f32], String>;

    /// Computes at most [`MAX_ROWS`] tokens that follow those so far, the first of which stands at `position`: logits of
    /// `tokens[first_wanted..]`, one row of the vocabulary each.
    fn rows(&mut self, tokens: &[u32], position: usize, first_wanted: usize) -> Result<&[f32], String>;
}

/// Tokens that [`Session::rows`] takes at once. Source: `n_batch` in `common_params`, common.h, llama.cpp.
pub(super) const MAX_ROWS: usize = 2048;

/// Removes and returns the complete characters at the start of `bytes`, `None` without any; a character can be spread over
/// several tokens.
pub(super) fn take_complete_text(bytes: &mut Vec<u8>) -> Option<String> {
    let n_complete = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(), // not UTF-8 at all: shown with replacement characters
    };
    let complete: Vec<u8> = bytes.drain(..n_complete).collect();
    (n_complete > 0).then(|| String::from_utf8_lossy(&complete).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_spread_over_tokens_is_given_out_once() {
        let mut bytes = b"na\xC3".to_vec();
        assert_eq!(take_complete_text(&mut bytes).as_deref(), Some("na"));
        assert_eq!(take_complete_text(&mut bytes), None);
        bytes.extend(b"\xAFve");
        assert_eq!(take_complete_text(&mut bytes).as_deref(), Some("ïve"));
        bytes.extend(b"\xFFx");
        assert_eq!(take_complete_text(&mut bytes).as_deref(), Some("\u{FFFD}x"));
        assert!(bytes.is_empty());
    }
}
