//! What a tokenizer does to a text before splitting it that llama.cpp does not do.
//!
//! `convert_hf_to_gguf.py` says nothing about it.

use serde_json::{Map, Value as Json};

use super::files::text_of;
use super::json::TokenizerJson;

/// The kinds of vocabulary that differ in what llama.cpp does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Byte-level: nothing.
    Bytes,
    /// Llama 2's: spaces become ▁, with one before the text.
    Pieces,
    /// BERT's: control characters, accents and capital letters go as the file says, Chinese characters stand alone.
    Words,
}

/// A warning that names the steps that llama.cpp leaves out; `None` if it leaves out none.
pub(super) fn warning(json: &TokenizerJson, kind: Kind) -> Option<String> {
    let steps = json.normalizer.steps("normalizers");
    let mut lacking: Vec<String> = steps.into_iter().filter(|step| !is_done(step, kind)).map(name_of).collect();
    lacking.dedup();
    let effect = match lacking.as_slice() {
        [] => return None,
        // Qwen and OLMo have it. Nearly all text is composed already, so that it changes nothing.
        [one] if one == "NFC" => "only texts with accents as separate characters, which are rare, are split into other tokens",
        [one] if one == "NFD" => "texts with accented letters may be split into other tokens",
        [one] if one == "NFKC" || one == "NFKD" => "texts with ligatures or full-width letters may be split into other tokens",
        [one] if one == "Lowercase" => "texts with capital letters are split into other tokens",
        _ => "some texts are split into other tokens",
    };
    Some(format!("llama.cpp does not have the tokenizer's normalizer {}: {effect}", lacking.join(", ")))
}

fn is_done(step: &Map<String, Json>, kind: Kind) -> bool {
    let flag = |key: &str, default: bool| step.get(key).and_then(Json::as_bool).unwrap_or(default);
    let pattern = || step.get("pattern").and_then(|pattern| pattern.get("String")).and_then(Json::as_str);
    match (kind, text_of(step, "type").unwrap_or_default()) {
        (_, "Strip") => !flag("strip_left", true) && !flag("strip_right", true),
        (Kind::Pieces, "Prepend") => text_of(step, "prepend") == Some("\u{2581}"),
        (Kind::Pieces, "Replace") => (pattern(), text_of(step, "content")) == (Some(" "), Some("\u{2581}")),
        // llama.cpp takes accents off by way of the decomposed form.
        (Kind::Words, "Lowercase" | "StripAccents" | "NFD") => true,
        (Kind::Words, "BertNormalizer") => flag("clean_text", true) && flag("handle_chinese_chars", true),
        _ => false,
    }
}

/// The name of a step, such as `NFKC`; for a replacement, also what it replaces.
fn name_of(step: &Map<String, Json>) -> String {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(32).collect::<String>();
    let kind = short(text_of(step, "type").unwrap_or("without a type"));
    let pattern = step.get("pattern").and_then(Json::as_object);
    let pattern = pattern.and_then(|pattern| text_of(pattern, "String").or_else(|| text_of(pattern, "Regex")));
    match (kind.as_str(), pattern) {
        ("Replace", Some(pattern)) => format!("Replace ({:?})", short(pattern)),
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_llama_cpp_lacks_are_named() {
        let check = |normalizer: &str, kind: Kind, expected: Option<&str>| {
            let json = format!(r#"{{"normalizer":{normalizer},"model":{{"type":"BPE"}}}}"#);
            let found = warning(&TokenizerJson::parse(json.as_bytes()).unwrap(), kind);
            assert_eq!(found.is_some(), expected.is_some(), "{normalizer} {found:?}");
            assert!(expected.is_none_or(|expected| found.as_ref().is_some_and(|found| found.contains(expected))), "{found:?}");
        };
        for name in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "BertNormalizer"] {
            check(&format!(r#"{{"type":"{name}"}}"#), Kind::Bytes, Some(&format!("normalizer {name}: ")));
        }
        check("null", Kind::Bytes, None);
        check(r#"{"type":"Sequence","normalizers":[]}"#, Kind::Bytes, None);
        check(r#"{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]}"#, Kind::Bytes, Some("NFC, Lowercase"));
        check(r#"{"type":"Strip","strip_left":true,"strip_right":false}"#, Kind::Bytes, Some("Strip"));
        check(r#"{"type":"Strip","strip_left":false,"strip_right":false}"#, Kind::Bytes, None);
        let replace = r#"{"type":"Replace","pattern":{"String":" "},"content":"▁"}"#;
        check(replace, Kind::Bytes, Some("Replace (\" \")"));
        check(replace, Kind::Pieces, None);
        check(r#"{"type":"Prepend","prepend":"▁"}"#, Kind::Pieces, None);
        check(r#"{"type":"Replace","pattern":{"String":"a"},"content":"b"}"#, Kind::Pieces, Some("Replace (\"a\")"));
        check(r#"{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"lowercase":true}"#, Kind::Words, None);
        check(r#"{"type":"BertNormalizer","handle_chinese_chars":false}"#, Kind::Words, Some("BertNormalizer"));
        check(r#"{"type":"NFKC"}"#, Kind::Words, Some("NFKC"));
    }
}
