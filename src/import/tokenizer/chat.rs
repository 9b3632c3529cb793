//! How a conversation becomes a text: the template, or several under names.

use serde_json::{Map, Value as Json};

use super::entries::Entries;
use super::files::{Folder, MAX_TEMPLATES, text_of};
use crate::error::Result;
use crate::model::Text;

/// A template, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChatTemplate {
    /// The only one.
    One(String),
    /// `(name, template)`; the one named `default` is used without being asked for.
    Several(Vec<(String, String)>),
}

impl ChatTemplate {
    /// What `tokenizer_config.json` holds, else a file of its own.
    ///
    /// Source: `SpecialVocab._try_load_from_tokenizer_json` in `gguf-py/gguf/vocab.py`, llama.cpp of 2026-08-21.
    ///
    /// # Errors
    /// As `Folder::json` for the files.
    pub fn read(folder: &Folder, config: &Map<String, Json>) -> Result<Option<Self>> {
        if let Some(stated) = config.get("chat_template") {
            return Ok(Self::of(stated));
        }
        if let Some(template) = folder.text("chat_template.jinja")? {
            let more = folder.additional_templates()?;
            if more.is_empty() {
                return Ok(Some(Self::One(template)));
            }
            return Ok(Some(Self::Several([("default".into(), template)].into_iter().chain(more).collect())));
        }
        let json = folder.json("chat_template.json")?.unwrap_or_default();
        Ok(json.get("chat_template").and_then(Self::of))
    }

    fn of(value: &Json) -> Option<Self> {
        match value {
            Json::String(template) => Some(Self::One(template.clone())),
            Json::Array(choices) => {
                let choice = |choice: &Json| {
                    let fields = choice.as_object()?;
                    Some((text_of(fields, "name")?.to_string(), text_of(fields, "template")?.to_string()))
                };
                Some(Self::Several(choices.iter().take(MAX_TEMPLATES).filter_map(choice).collect()))
            }
            _ => None,
        }
    }

    /// Writes it. Names are kept to letters and digits.
    ///
    /// Source: `GGUFWriter.add_chat_template` in gguf-py; the list of names is a set there, in no order.
    pub fn add_to(self, entries: &mut Entries) {
        const KEY: &str = "tokenizer.chat_template";
        let choices = match self {
            Self::One(template) => return entries.text(KEY, &template),
            Self::Several(choices) => choices,
        };
        let mut default = None;
        let mut names: Vec<Text> = Vec::new();
        for (name, template) in choices {
            let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            if name == "default" {
                default = Some(template);
            } else if !name.is_empty() {
                entries.text(&format!("{KEY}.{name}"), &template);
                let name = Text::from(name.as_str());
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        entries.texts("tokenizer.chat_templates", names);
        if let Some(template) = default {
            entries.text(KEY, &template);
        }
    }
}
