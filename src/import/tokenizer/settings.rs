//! What `tokenizer_config.json` and its predecessors say about special and added tokens.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::files::{Folder, text_of, token_text};
use super::json::{AddedEntry, TokenizerJson};
use crate::error::Result;
use crate::format::config_value::flag_of;

/// The special tokens that have a role, in the order of transformers.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// `(class without Fast, role, token)`: what classes have where no file names a token.
///
/// Source: the `__init__` of these classes in transformers 4.57.
const DEFAULT_TOKENS: [(&str, &str, &str); 20] = [
    ("LlamaTokenizer", "bos_token", "<s>"),
    ("LlamaTokenizer", "eos_token", "</s>"),
    ("LlamaTokenizer", "unk_token", "<unk>"),
    ("CodeLlamaTokenizer", "bos_token", "<s>"),
    ("CodeLlamaTokenizer", "eos_token", "</s>"),
    ("CodeLlamaTokenizer", "unk_token", "<unk>"),
    ("GemmaTokenizer", "bos_token", "<bos>"),
    ("GemmaTokenizer", "eos_token", "<eos>"),
    ("GemmaTokenizer", "unk_token", "<unk>"),
    ("GemmaTokenizer", "pad_token", "<pad>"),
    ("GPT2Tokenizer", "bos_token", "<|endoftext|>"),
    ("GPT2Tokenizer", "eos_token", "<|endoftext|>"),
    ("GPT2Tokenizer", "unk_token", "<|endoftext|>"),
    ("Qwen2Tokenizer", "eos_token", "<|endoftext|>"),
    ("Qwen2Tokenizer", "pad_token", "<|endoftext|>"),
    ("BertTokenizer", "unk_token", "[UNK]"),
    ("BertTokenizer", "sep_token", "[SEP]"),
    ("BertTokenizer", "pad_token", "[PAD]"),
    ("BertTokenizer", "cls_token", "[CLS]"),
    ("BertTokenizer", "mask_token", "[MASK]"),
];

/// What the files beside `tokenizer.json` say.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `tokenizer_config.json`; empty without one.
    pub config: Map<String, Json>,
    /// Class of the tokenizer, without `Fast`.
    pub class: String,
    /// `(role, text)` of the special tokens.
    pub specials: Vec<(String, String)>,
    special_texts: HashSet<String>,
    /// Tokens that these files add to those of `tokenizer.json`, or whose description they replace, sorted by id.
    pub added: Vec<AddedEntry>,
}

impl Settings {
    /// Reads the files of a folder.
    ///
    /// Source: `PreTrainedTokenizerBase._from_pretrained` in transformers 4.57.
    ///
    /// # Errors
    /// As `Folder::json`; `Error::DamagedFile` for added tokens that cannot be read.
    pub fn read(folder: &Folder) -> Result<Self> {
        const NAME: &str = "tokenizer_config.json";
        let config = folder.json(NAME)?.unwrap_or_default();
        let class = text_of(&config, "tokenizer_class").unwrap_or_default().trim_end_matches("Fast").to_string();
        let mut settings = Self { class, ..Self::default() };
        if let Some(tokens) = config.get("added_tokens_decoder").and_then(Json::as_object) {
            settings.added = added_by_number(tokens).map_err(|what| folder.damaged(NAME, what))?;
            settings.config = config;
            settings.find_specials(&Map::new());
        } else {
            settings.config = config;
            settings.find_specials(&folder.json("special_tokens_map.json")?.unwrap_or_default());
            for (content, id) in folder.json("added_tokens.json")?.unwrap_or_default() {
                let Some(id) = id.as_u64() else {
                    return Err(folder.damaged("added_tokens.json", format!("{content:?} has no number")));
                };
                let special = settings.is_special(&content);
                settings.added.push(AddedEntry { id, content, special, ..AddedEntry::default() });
            }
            settings.added.sort_by_key(|token| token.id);
        }
        Ok(settings)
    }

    fn find_specials(&mut self, older: &Map<String, Json>) {
        let default = |role: &str| DEFAULT_TOKENS.iter().find(|row| row.0 == self.class && row.1 == role).map(|row| row.2);
        let mut specials = Vec::new();
        for role in ROLES {
            // An explicit null takes the class's default away.
            let stated = self.config.get(role).or_else(|| older.get(role));
            let text = if stated.is_some() { token_text(stated) } else { default(role) };
            specials.extend(text.map(|text| (role.to_string(), text.to_string())));
        }
        let more = self.config.get("additional_special_tokens").or_else(|| older.get("additional_special_tokens"));
        for token in more.and_then(Json::as_array).into_iter().flatten() {
            specials.extend(token_text(Some(token)).map(|text| ("additional".to_string(), text.to_string())));
        }
        self.special_texts = specials.iter().map(|(_, text)| text.clone()).collect();
        self.specials = specials;
    }

    /// True for the text of a special token.
    pub fn is_special(&self, text: &str) -> bool {
        self.special_texts.contains(text)
    }

    /// The text of the token in a role such as `eos_token`.
    pub fn special(&self, role: &str) -> Option<&str> {
        self.specials.iter().find(|(name, _)| name == role).map(|(_, text)| text.as_str())
    }

    /// A yes or no of `tokenizer_config.json`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        flag_of(self.config.get(key)?).ok()?
    }

    /// All tokens that transformers adds to a loaded tokenizer, special where any file says so.
    ///
    /// Source: `PreTrainedTokenizerFast.__init__` in transformers 4.57.
    pub fn tokens_to_add(&self, json: &TokenizerJson) -> Vec<AddedEntry> {
        // What older files say counts less than tokenizer.json.
        let is_newer = self.config.contains_key("added_tokens_decoder");
        let mut tokens = if is_newer { Vec::new() } else { json.added_tokens().to_vec() };
        let numbers: HashSet<u64> = tokens.iter().map(|token| token.id).collect();
        tokens.extend(self.added.iter().filter(|token| !numbers.contains(&token.id)).cloned());
        tokens.sort_by_key(|token| token.id);
        for token in &mut tokens {
            token.normalized.get_or_insert(!token.special);
            token.special |= self.is_special(&token.content);
        }
        let mut known: HashSet<String> = tokens.iter().chain(json.added_tokens()).map(|token| token.content.clone()).collect();
        for (_, text) in &self.specials {
            if known.insert(text.clone()) {
                let content = text.clone();
                tokens.push(AddedEntry { content, special: true, normalized: Some(false), ..AddedEntry::default() });
            }
        }
        tokens
    }
}

/// The tokens of `added_tokens_decoder`, sorted by id.
pub(super) fn added_by_number(tokens: &Map<String, Json>) -> std::result::Result<Vec<AddedEntry>, String> {
    let mut added = Vec::with_capacity(tokens.len());
    for (number, token) in tokens {
        let id = number.parse().map_err(|_| format!("added_tokens_decoder has the number {number:?}"))?;
        let flag = |key: &str| {
            let flag = token.get(key).map_or(Ok(None), flag_of);
            flag.map_err(|what| format!("added token {number}: {key} is {what}"))
        };
        let content = token.get("content").and_then(Json::as_str).ok_or_else(|| format!("added token {number} has no text"))?;
        added.push(AddedEntry {
            id,
            content: content.to_string(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or(false),
        });
    }
    added.sort_by_key(|token| token.id);
    Ok(added)
}
