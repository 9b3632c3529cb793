//! Which of llama.cpp's pre-tokenizers a BPE vocabulary has: by what it encodes, else by its definition.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::encoder::Encoder;
use super::files::text_of;
use super::json::TokenizerJson;
use super::pre_definitions::DEFINITIONS;
use super::pre_hashes::{PRE_TOKENIZERS, PROBE};
use super::settings::Settings;

/// A pre-tokenizer, and how it was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pre {
    /// Its name in llama.cpp.
    pub name: String,
    /// True when only its definition gave it away, and no published hash.
    pub is_by_definition: bool,
}

/// Finds the pre-tokenizer of a vocabulary.
///
/// # Errors
/// What is unknown about it.
pub(super) fn pre_tokenizer_of(encoder: &Encoder, json: &TokenizerJson, settings: &Settings) -> std::result::Result<Pre, String> {
    let ids = encoder.encode(PROBE)?;
    if let Some(name) = by_hash(&ids, &frames(encoder, json, settings)) {
        return Ok(Pre { name: name.into(), is_by_definition: false });
    }
    let name = if json.kind() == "WordPiece" { Ok("bert-bge") } else { by_definition(json, settings) };
    name.map(|name| Pre { name: name.into(), is_by_definition: true })
}

/// `(before, after)`: special tokens that may frame a text, likeliest first.
///
/// The published hashes include the special tokens that transformers adds, which depend on class and version; all are tried.
fn frames(encoder: &Encoder, json: &TokenizerJson, settings: &Settings) -> Vec<(Vec<u32>, Vec<u32>)> {
    let id_of = |role: &str| -> Vec<u32> { settings.special(role).and_then(|token| encoder.id_of(token)).into_iter().collect() };
    let ids = |tokens: &[String]| tokens.iter().filter_map(|token| encoder.id_of(token)).collect::<Vec<u32>>();
    let (before, behind) = json.frame();
    let (bos, eos) = (id_of("bos_token"), id_of("eos_token"));
    let mut frames = vec![
        (ids(&before), ids(&behind)),
        (Vec::new(), Vec::new()),
        (bos.clone(), Vec::new()),
        (bos, eos.clone()),
        (Vec::new(), eos),
        (id_of("cls_token"), id_of("sep_token")),
    ];
    frames.dedup();
    frames
}

fn by_hash(ids: &[u32], frames: &[(Vec<u32>, Vec<u32>)]) -> Option<&'static str> {
    frames.iter().find_map(|(before, behind)| {
        let hash = hash_of(before.iter().chain(ids).chain(behind));
        PRE_TOKENIZERS.iter().find(|row| row.0 == hash).map(|row| row.1)
    })
}

/// SHA-256 of the ids as Python writes a list of them: `[1, 2]`.
fn hash_of<'a>(ids: impl Iterator<Item = &'a u32>) -> String {
    let texts: Vec<String> = ids.map(u32::to_string).collect();
    let hash = Sha256::digest(format!("[{}]", texts.join(", ")).as_bytes());
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// True for pre-tokenizers with which llama.cpp takes a whole word that is a token without merging.
///
/// Source: `ignore_merges` in `src/llama-vocab.cpp`, llama.cpp of 2026-08-21, as far as `by_definition` can give these names.
pub(super) fn ignores_merges(pre: &str) -> bool {
    ["llama-bpe", "tekken", "minicpm5"].contains(&pre)
}

/// Compares the steps with those that llama.cpp implements.
fn by_definition(json: &TokenizerJson, settings: &Settings) -> std::result::Result<&'static str, String> {
    let steps = canonical_steps(&json.pre_tokenizer.steps("pretokenizers"))?;
    let is_same = |definition: &[&str]| definition.len() == steps.len() && definition.iter().zip(&steps).all(|(a, b)| a == b);
    let Some(row) = DEFINITIONS.iter().find(|row| is_same(row.0)) else {
        let found = if steps.is_empty() { "none".into() } else { steps.join(", then ") };
        let found: String = found.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(format!("llama.cpp has no pre-tokenizer like this one: {found}"));
    };
    let ignores_merges = json.model.ignore_merges.unwrap_or(false);
    let cleans_up = settings.flag("clean_up_tokenization_spaces").unwrap_or(false);
    Ok(match row.1 {
        // The same pattern without the rule that a whole word which is a token is not merged.
        "llama-bpe" if !ignores_merges => "dbrx",
        "smollm" if cleans_up => "starcoder",
        name => name,
    })
}

/// Steps as `pre_definitions` writes them.
fn canonical_steps(steps: &[&Map<String, Json>]) -> std::result::Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for step in steps {
        let flag = |key: &str, default: bool| step.get(key).and_then(Json::as_bool).unwrap_or(default);
        let behavior = text_of(step, "behavior").unwrap_or_default();
        let text = match text_of(step, "type").unwrap_or_default() {
            "ByteLevel" if flag("use_regex", true) => "bytes of GPT-2's words".into(),
            "ByteLevel" => "bytes".into(),
            "Digits" if flag("individual_digits", false) => "digits".into(),
            "Digits" => "numbers".into(),
            "Punctuation" if behavior == "Contiguous" => "runs of punctuation".into(),
            "Split" => {
                let pattern = step.get("pattern").and_then(Json::as_object);
                let Some(regex) = pattern.and_then(|pattern| text_of(pattern, "Regex")) else {
                    return Err("its pre-tokenizer splits at a text".into());
                };
                match (behavior, flag("invert", false)) {
                    ("Isolated", false) | ("Removed", true) => canonical_regex(regex),
                    _ => {
                        return Err(format!(
                            "its pre-tokenizer has the behavior {:?}",
                            behavior.chars().take(32).collect::<String>()
                        ));
                    }
                }
            }
            other => return Err(format!("its pre-tokenizer is a {}", other.chars().take(32).collect::<String>())),
        };
        texts.push(text);
    }
    Ok(texts)
}

/// A pattern with line ends written as escapes, and upper and lower case as the published tokenizers write them.
fn canonical_regex(regex: &str) -> String {
    regex
        .replace('\r', "\\r")
        .replace('\n', "\\n")
        .replace("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", "(?i:'s|'t|'re|'ve|'m|'ll|'d)")
        .replace("\\p{N}{1}", "\\p{N}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_pythons_lists() {
        // python3 -c "import hashlib; print(hashlib.sha256(str([1, 22, 333]).encode()).hexdigest())"
        assert_eq!(hash_of([1, 22, 333].iter()), "276d8737d9d5a80805e0731e8d5ae18972a8e3ba721f4988f67151c6e9159068");
    }
}
