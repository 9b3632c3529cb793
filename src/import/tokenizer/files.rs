//! The tokenizer's files in a checkpoint's folder, read with limits.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};
use crate::format::{additional_files, from_python_json, read_small};
use crate::path_text;

/// Largest file that is read: the largest tokenizers have 35 MB.
pub(super) const MAX_FILE_BYTES: u64 = 96 << 20;
/// Largest JSON file that is kept as it is: `tokenizer_config.json` may hold thousands of added tokens and some templates.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// A checkpoint's folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder<'a> {
    /// Where it is.
    pub path: &'a Path,
}

impl Folder<'_> {
    /// True when something other than a folder has this name, even a link to nothing: opening it then says what is wrong.
    pub fn has(&self, name: &str) -> bool {
        let path = self.path.join(name);
        path.symlink_metadata().is_ok() && !path.is_dir()
    }

    /// A file's path.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The error for a tokenizer that is wrong as a whole.
    pub fn unknown(&self, what: impl Into<String>) -> Error {
        Error::UnknownTokenizer { what: what.into(), path: self.path.to_path_buf() }
    }

    /// The error for a token that the model has no row for.
    pub fn beyond(&self, token: String, number: u64, n_tokens: u64) -> Error {
        Error::TokenBeyondModel { token, number, n_tokens, path: self.path.to_path_buf() }
    }

    /// The error for a damaged file.
    pub fn damaged(&self, name: &'static str, what: impl Into<String>) -> Error {
        Error::DamagedFile { format: name, what: what.into(), path: self.file(name) }
    }

    /// All of a file; `None` when it is not there.
    pub fn bytes(&self, name: &'static str) -> Result<Option<Vec<u8>>> {
        if self.has(name) { read_small(&self.file(name), name, MAX_FILE_BYTES).map(Some) } else { Ok(None) }
    }

    /// A text in UTF-8; `None` when it is not there.
    pub fn text(&self, name: &'static str) -> Result<Option<String>> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|error| self.damaged(name, format!("not UTF-8: {error}")))
    }

    /// A text in UTF-8; `None` when it is not there or empty.
    pub fn filled_text(&self, name: &'static str) -> Result<Option<String>> {
        let is_empty = std::fs::metadata(self.file(name)).is_ok_and(|metadata| metadata.len() == 0);
        if is_empty { Ok(None) } else { self.text(name) }
    }

    /// A JSON object of moderate size; `None` when it is not there.
    pub fn json(&self, name: &'static str) -> Result<Option<Map<String, Json>>> {
        if !self.has(name) {
            return Ok(None);
        }
        let bytes = read_small(&self.file(name), name, MAX_JSON_BYTES)?;
        from_python_json(&bytes).map(Some).map_err(|what| self.damaged(name, what))
    }

    /// `(name, text)` of the templates in `additional_chat_templates`, sorted by name.
    pub fn additional_templates(&self) -> Result<Vec<(String, String)>> {
        let read = |path: PathBuf| {
            let bytes = read_small(&path, "chat template", MAX_JSON_BYTES)?;
            let name = path.file_stem().map(|stem| path_text::searchable(stem).into_owned()).unwrap_or_default();
            let text = String::from_utf8(bytes).map_err(|error| Error::DamagedFile {
                format: "chat template",
                what: format!("not UTF-8: {error}"),
                path,
            })?;
            Ok((name, text))
        };
        additional_files(self.path).into_iter().map(read).collect()
    }
}

/// A text of a JSON object; `None` for anything else.
pub(super) fn text_of<'a>(object: &'a Map<String, Json>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// The content of a special token, which is a text or an object that holds it; `None` for an empty one.
pub(super) fn token_text(value: Option<&Json>) -> Option<&str> {
    let text = match value? {
        Json::String(text) => text,
        Json::Object(entries) => text_of(entries, "content")?,
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}
