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
    /// A file of its own, else what `tokenizer_config.json` holds, else what a processor's file holds. What is null or empty says nothing.
    ///
    /// As transformers has it: the files win, and `convert_hf_to_gguf.py` takes the older text in `tokenizer_config.json` instead.
    ///
    /// Source: `PreTrainedTokenizerBase._from_pretrained` in `tokenization_utils_base.py`, transformers 4.57.
    ///
    /// # Errors
    /// As `Folder::json` for the files.
    pub fn read(folder: &Folder, config: Option<&Map<String, Json>>) -> Result<Option<Self>> {
        let stated = config.and_then(|config| config.get("chat_template")).and_then(Self::of);
        let own = folder.filled_text("chat_template.jinja")?;
        let more = folder.additional_templates()?;
        let template = match (own, stated) {
            (Some(template), _) => Some(Self::One(template)),
            (None, Some(stated)) => Some(stated),
            (None, None) => {
                let json = folder.json("chat_template.json")?.unwrap_or_default();
                json.get("chat_template").and_then(Self::of)
            }
        };
        if more.is_empty() {
            return Ok(template);
        }
        let mut all = match template {
            Some(Self::One(template)) => vec![("default".into(), template)],
            Some(Self::Several(choices)) => choices,
            None => Vec::new(),
        };
        all.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        all.extend(more);
        Ok(Some(Self::Several(all)))
    }

    fn of(value: &Json) -> Option<Self> {
        match value {
            Json::String(template) => (!template.is_empty()).then(|| Self::One(template.clone())),
            // As tokenizers keep it in memory.
            Json::Object(choices) => {
                let choice = |(name, template): (&String, &Json)| Some((name.clone(), template.as_str()?.to_string()));
                Self::several(choices.iter().take(MAX_TEMPLATES).filter_map(choice).collect())
            }
            Json::Array(choices) => {
                let choice = |choice: &Json| {
                    let fields = choice.as_object()?;
                    Some((text_of(fields, "name")?.to_string(), text_of(fields, "template")?.to_string()))
                };
                Self::several(choices.iter().take(MAX_TEMPLATES).filter_map(choice).collect())
            }
            _ => None,
        }
    }

    fn several(choices: Vec<(String, String)>) -> Option<Self> {
        (!choices.is_empty()).then_some(Self::Several(choices))
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
