//! How a conversation becomes a text: the template, or several with names.

use serde_json::{Map, Value as Json};

use super::entries::Entries;
use super::files::Folder;
use crate::error::Result;
use crate::format::config_value::odd;
use crate::format::templates_of;
use crate::model::Text;
use crate::path_text::one_line;

/// Most names that a warning lists.
const MAX_NAMED: usize = 4;

/// A template, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChatTemplate {
    /// The only one.
    One(String),
    /// `(name, template)`; the one named `default` is used without being asked for.
    Several(Vec<(String, String)>),
}

impl ChatTemplate {
    /// Reads the template from a file of its own, else from `tokenizer_config.json`, else from a processor's file, and adds the
    /// ones in `additional_chat_templates`. Null and empty values count as absent; `None` without any template.
    ///
    /// As in transformers, files win; `convert_hf_to_gguf.py` takes the older text in `tokenizer_config.json` instead.
    ///
    /// Source: `PreTrainedTokenizerBase._from_pretrained` in `tokenization_utils_base.py`, transformers 4.57.
    ///
    /// # Errors
    /// As `Folder::json` for the files.
    pub fn read(folder: &Folder, config: Option<&Map<String, Json>>, warnings: &mut Vec<String>) -> Result<Option<Self>> {
        let mut of = |name: &str, entries: &Map<String, Json>| {
            let stated = entries.get("chat_template").unwrap_or(&Json::Null);
            let mut choices = templates_of(stated);
            let is_empty = match stated {
                Json::Null => true,
                Json::String(text) => text.is_empty(),
                Json::Array(list) => list.is_empty(),
                Json::Object(entries) => entries.is_empty(),
                _ => false,
            };
            if choices.is_empty() && !is_empty {
                warnings.push(format!("chat_template in {name} is {}; it is left out", odd(stated, "not a template")));
            }
            // llama.cpp and transformers use any other template only when asked for it by name.
            if !choices.is_empty() && !choices.iter().any(|(name, _)| name == "default") {
                let names = choices.iter().take(MAX_NAMED).map(|(name, _)| one_line(name)).collect::<Vec<_>>().join(", ");
                warnings.push(format!(
                    "no chat template in {name} is named default, llama.cpp uses none unless asked for by name: {names}"
                ));
            }
            match stated {
                Json::String(_) => choices.pop().map(|(_, template)| Self::One(template)),
                _ => (!choices.is_empty()).then_some(Self::Several(choices)),
            }
        };
        let stated = config.and_then(|config| of("tokenizer_config.json", config));
        let own = folder.filled_text("chat_template.jinja")?;
        let template = match (own, stated) {
            (Some(template), _) => Some(Self::One(template)),
            (None, Some(stated)) => Some(stated),
            (None, None) => of("chat_template.json", &folder.json("chat_template.json")?.unwrap_or_default()),
        };
        let more = folder.additional_templates()?;
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

    /// Writes the template or templates. What is not an ASCII letter or digit in a name becomes `_`.
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
