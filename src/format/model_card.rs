//! Front matter of a checkpoint's model card: what the start of `README.md` says about licence, languages and origin.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value as Json};

use super::hf_config::read_any_small;

/// Largest `README.md` that is read.
const MAX_CARD_BYTES: u64 = 1 << 20;
/// Deepest nesting that is followed; the results of evaluations in real cards nest 7 deep.
const MAX_DEPTH: usize = 64;
/// Longest description of what is wrong.
const MAX_TEXT_CHARS: usize = 200;

/// Reads the front matter of `README.md`: empty without one.
///
/// # Errors
/// Why it cannot be read, for a person.
pub(super) fn read_card(path: &Path) -> Result<Map<String, Json>, String> {
    let bytes = read_any_small(path, "README.md", MAX_CARD_BYTES).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    front_matter(&text).map_or_else(|| Ok(Map::new()), |yaml| entries_from_yaml(&yaml))
}

/// The lines between the first line `---` and the next; tabs, which YAML forbids there and cards contain, become spaces.
fn front_matter(text: &str) -> Option<String> {
    let mut lines = text.lines();
    if lines.next() != Some("---") {
        return None;
    }
    Some(lines.take_while(|&line| line != "---").map(|line| line.replace('\t', "  ") + "\n").collect())
}

/// A list or an object that is still open.
enum Open {
    List(Vec<Json>),
    /// The entries so far, and the key that waits for its value.
    Object(Map<String, Json>, Option<String>),
}

/// The entries of a YAML mapping. Scalars stay texts as written; aliases become null, so that a small card cannot become large.
fn entries_from_yaml(yaml: &str) -> Result<Map<String, Json>, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(yaml) {
        let (event, _) = event.map_err(|error| short(&error.to_string()))?;
        if open.len() > MAX_DEPTH {
            return Err(format!("lists nested more than {MAX_DEPTH} deep"));
        }
        let value = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Object(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Json::Array(list),
                Some(Open::Object(entries, _)) => Json::Object(entries),
                None => Json::Null,
            },
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::Alias(_) => Json::Null,
            Event::DocumentEnd | Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
        };
        match open.last_mut() {
            Some(Open::List(list)) => list.push(value),
            Some(Open::Object(entries, key)) => match key.take() {
                Some(key) => {
                    entries.insert(key, value);
                }
                None => *key = Some(value.as_str().unwrap_or_default().to_string()),
            },
            None => {
                return match value {
                    Json::Object(entries) => Ok(entries),
                    Json::Null => Ok(Map::new()),
                    _ => Err("it does not hold keys with values".into()),
                };
            }
        }
    }
    Ok(Map::new())
}

/// Null for an empty or a null scalar, else its text.
fn scalar(text: &str, style: ScalarStyle) -> Json {
    let is_null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if is_null { Json::Null } else { text.into() }
}

/// The start of a message, without control characters: it may quote the card, and goes to the screen.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_read() {
        let check = |card: &str, expected: &str| {
            let found = front_matter(card).map_or_else(|| Ok(Map::new()), |yaml| entries_from_yaml(&yaml));
            assert_eq!(found.map(Json::Object), Ok(serde_json::from_str(expected).unwrap()), "{card}");
        };
        check("---\nlicense: mit\n---\n# Title", r#"{"license":"mit"}"#);
        check("---\r\nlicense: mit\r\n---\r\n", r#"{"license":"mit"}"#);
        check("# Title\n---\nlicense: mit\n---\n", "{}");
        check("", "{}");
        check("---\n---\n", "{}");
        check("---\nlanguage:\n- en\n- no\n---\n", r#"{"language":["en","no"]}"#);
        check("---\nlanguage: [en, \"de\"] # both\n---\n", r#"{"language":["en","de"]}"#);
        check("---\ntags:\n\t- a\n\t- 8bit\nbase_model: null\n---\n", r#"{"tags":["a","8bit"],"base_model":null}"#);
        check("---\nlicense: 'other'\nversion: 1.0\nempty:\n---", r#"{"license":"other","version":"1.0","empty":null}"#);
        check("---\nextra_gated_prompt: >-\n  one\n  two\nlicense: mit\n", r#"{"extra_gated_prompt":"one two","license":"mit"}"#);
        let nested = "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: a}\nlicense: mit\n---\n";
        check(nested, r#"{"model-index":[{"name":"x","results":[{"task":{"type":"a"}}]}],"license":"mit"}"#);
        check("---\na: &x [1, 2]\nb: *x\n---\n", r#"{"a":["1","2"],"b":null}"#);
    }

    #[test]
    fn bad_front_matter_is_told() {
        let check = |yaml: &str| assert!(entries_from_yaml(yaml).is_err(), "{yaml}");
        check("- a\n- b\n");
        check("just a text\n");
        check("a: [1\n");
        check("a: \"b\n");
        check("a: b: c\n");
        check(&("a: ".to_string() + &"[".repeat(100_000)));
        check(&"- ".repeat(100_000));
        check(&"? ".repeat(1000));
    }
}
