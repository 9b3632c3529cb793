//! Which file of a checkpoint holds its chat template.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::checkpoint::Listing;
use super::hf_config::read_small;
use super::python_json::from_python_json;

/// Name of the folder that holds further chat templates.
const ADDITIONAL: &str = "additional_chat_templates";
/// Most named templates that are read from one file, and most files of their folder that are taken.
const MAX_TEMPLATES: usize = 64;
/// Most entries of that folder that are looked at.
const MAX_FOLDER_ENTRIES: usize = 10_000;
/// Largest `chat_template.json` that is read.
const MAX_BYTES: u64 = 16 << 20;

/// The file or folder that the chat template is taken from; `None` without a template. `stated` is the value of `chat_template`
/// in `tokenizer_config.json`.
///
/// In the order of transformers: a file of its own, the settings, a processor's file; then the folder of further templates.
pub(super) fn chat_template_file(folder: &Path, listed: &Listing, stated: &Value) -> Option<&'static str> {
    let is_filled = |name: &str| std::fs::metadata(folder.join(name)).is_ok_and(|metadata| metadata.len() > 0);
    let of_processor = || {
        let bytes = read_small(&folder.join("chat_template.json"), "chat_template.json", MAX_BYTES).ok()?;
        from_python_json::<Map<String, Value>>(&bytes).ok()?.remove("chat_template")
    };
    match () {
        () if listed.has("chat_template.jinja") && is_filled("chat_template.jinja") => Some("chat_template.jinja"),
        () if !templates_of(stated).is_empty() => Some("tokenizer_config.json"),
        () if listed.has("chat_template.json") && of_processor().is_some_and(|value| !templates_of(&value).is_empty()) => {
            Some("chat_template.json")
        }
        () if !additional_files(folder).is_empty() => Some(ADDITIONAL),
        () => None,
    }
}

/// `(name, template)` of each template that a `chat_template` holds: a text, which is named `default`, a list of objects, or an
/// object of texts as tokenizers keep it in memory. Empty for null, empty values and values of another kind.
#[must_use]
pub fn templates_of(value: &Value) -> Vec<(String, String)> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(String::from);
    let choices: Vec<(Option<String>, Option<String>)> = match value {
        Value::String(_) => vec![(Some("default".into()), text(Some(value)))],
        Value::Object(choices) => {
            choices.iter().take(MAX_TEMPLATES).map(|(name, template)| (Some(name.clone()), text(Some(template)))).collect()
        }
        Value::Array(choices) => {
            choices.iter().take(MAX_TEMPLATES).map(|choice| (text(choice.get("name")), text(choice.get("template")))).collect()
        }
        _ => Vec::new(),
    };
    choices.into_iter().filter_map(|(name, template)| name.zip(template)).collect()
}

/// The files with templates in `additional_chat_templates`, sorted by name; empty if there is no such folder.
#[must_use]
pub fn additional_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join(ADDITIONAL)).into_iter().flatten().flatten();
    let is_template = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jinja") && path.is_file();
    let mut paths: Vec<PathBuf> = entries.take(MAX_FOLDER_ENTRIES).map(|entry| entry.path()).filter(is_template).collect();
    paths.sort();
    paths.truncate(MAX_TEMPLATES);
    paths
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_files_by_name_are_taken_whatever_lies_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(ADDITIONAL);
        std::fs::create_dir(&folder).unwrap();
        for number in 0..2 * MAX_TEMPLATES {
            std::fs::write(folder.join(format!("{number:03}.txt")), "x").unwrap();
            std::fs::write(folder.join(format!("{number:03}.jinja")), "x").unwrap();
        }
        let expected: Vec<PathBuf> = (0..MAX_TEMPLATES).map(|number| folder.join(format!("{number:03}.jinja"))).collect();
        assert_eq!(additional_files(dir.path()), expected);
    }

    #[test]
    fn templates_are_read_in_every_form() {
        let check = |value: Value, expected: &[(&str, &str)]| {
            let found = templates_of(&value);
            let found: Vec<(&str, &str)> = found.iter().map(|(name, template)| (name.as_str(), template.as_str())).collect();
            assert_eq!(found, expected, "{value}");
        };
        check(json!("T"), &[("default", "T")]);
        check(json!({"default": "A", "rag": "B"}), &[("default", "A"), ("rag", "B")]);
        check(json!([{"name": "default", "template": "A"}, {"name": "rag"}, "x", {"template": "C"}]), &[("default", "A")]);
        for nothing in
            [json!(null), json!(""), json!([]), json!({}), json!(7), json!(["T"]), json!({"default": null}), json!(true)]
        {
            check(nothing, &[]);
        }
    }
}
