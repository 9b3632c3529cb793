//! The token that ends a text, from wherever a checkpoint names it.
//!
//! `convert_hf_to_gguf.py` writes none where the settings name none and `config.json` has a list: llama.cpp then takes token 11.

use serde_json::{Map, Value as Json};

use super::files::Folder;
use super::settings::Settings;
use crate::error::Result;
use crate::format::config_value::whole_of;
use crate::model::Text;

/// Roles under which llama.cpp ends an answer, in the order in which tokens get them.
pub(super) const ROLES: [&str; 3] = ["eos", "eot", "eom"];

/// Ids of the tokens that end a text, the likeliest first; empty where nothing names one.
///
/// The settings name it as text, or else by the tokenizer's class; `generation_config.json` and `config.json` name it by id.
///
/// # Errors
/// As `Folder::json`.
pub(super) fn end_tokens(folder: &Folder, tokens: &[Text]) -> Result<Vec<u64>> {
    let settings = Settings::read(folder)?;
    let by_text = settings.special("eos_token").and_then(|text| tokens.iter().position(|token| token.0 == text.as_bytes()));
    if let Some(id) = by_text {
        return Ok(vec![id as u64]);
    }
    // A side file that cannot be read was already reported.
    let generation = folder.json("generation_config.json").ok().flatten().unwrap_or_default();
    let config = folder.json("config.json")?.unwrap_or_default();
    let inner = ["text_config", "llm_config"].iter().find_map(|key| config.get(*key)?.as_object());
    for entries in [Some(&generation), inner, Some(&config)].into_iter().flatten() {
        let found = numbers(entries, tokens.len() as u64);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// One id or several, at most one for each role; ids that no token has are left out.
fn numbers(entries: &Map<String, Json>, n_tokens: u64) -> Vec<u64> {
    let all = match entries.get("eos_token_id") {
        Some(Json::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let mut found = Vec::new();
    for id in all.iter().filter_map(|id| whole_of(id).ok()?).filter(|&id| id < n_tokens) {
        if !found.contains(&id) && found.len() < ROLES.len() {
            found.push(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_it_is_named() {
        let check = |files: &[(&str, &str)], expected: &[u64]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(dir.path().join(name), text).unwrap();
            }
            let tokens: Vec<Text> = ["a", "</s>", "<|end|>", "b", "c", "d"].map(Text::from).to_vec();
            assert_eq!(end_tokens(&Folder { path: dir.path() }, &tokens), Ok(expected.to_vec()), "{files:?}");
        };
        check(&[], &[]);
        check(&[("tokenizer_config.json", r#"{"eos_token":"</s>"}"#)], &[1]);
        check(&[("tokenizer_config.json", r#"{"eos_token":{"content":"<|end|>"}}"#)], &[2]);
        check(&[("special_tokens_map.json", r#"{"eos_token":{"content":"</s>"}}"#)], &[1]);
        check(&[("tokenizer_config.json", r#"{"tokenizer_class":"LlamaTokenizerFast"}"#)], &[1]);
        check(&[("generation_config.json", r#"{"eos_token_id":[2,1,2]}"#), ("config.json", r#"{"eos_token_id":3}"#)], &[2, 1]);
        check(&[("config.json", r#"{"eos_token_id":[0,5]}"#)], &[0, 5]);
        check(&[("config.json", r#"{"eos_token_id":"4"}"#)], &[4]);
        check(&[("config.json", r#"{"eos_token_id":3.0}"#)], &[3]);
        check(&[("config.json", r#"{"text_config":{"eos_token_id":2},"eos_token_id":1}"#)], &[2]);
        check(&[("config.json", r#"{"eos_token_id":[-1,6]}"#)], &[]);
        check(&[("config.json", r#"{"eos_token_id":[0,1,2,3]}"#)], &[0, 1, 2]);
        check(
            &[("tokenizer_config.json", r#"{"eos_token":"no token"}"#), ("generation_config.json", r#"{"eos_token_id":1}"#)],
            &[1],
        );
    }
}
