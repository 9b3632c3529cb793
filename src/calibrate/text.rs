//! The texts that models are compared on and importances are collected from.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::convert::BUNDLED_CALIBRATION_TEXT;
use crate::error::{Error, Result};
use crate::path_text;
use crate::runtime;

/// A longer text is refused: at a few hundred tokens per second nobody would see the end of it.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Kind and text of the bundled evaluation text, written for this project; see `assets/text/README.md`.
const EVALUATION: [(&str, &str); 7] = [
    ("prose", include_str!("../../assets/text/evaluation/prose.txt")),
    ("code", include_str!("../../assets/text/evaluation/code.txt")),
    ("german", include_str!("../../assets/text/evaluation/german.txt")),
    ("spanish", include_str!("../../assets/text/evaluation/spanish.txt")),
    ("chat", include_str!("../../assets/text/evaluation/chat.txt")),
    ("tools", include_str!("../../assets/text/evaluation/tools.txt")),
    ("facts", include_str!("../../assets/text/evaluation/facts.txt")),
];

/// Kind and text of the bundled calibration text, from which importances are collected: none of it is in the evaluation text.
const CALIBRATION: [(&str, &str); 7] = [
    ("prose", include_str!("../../assets/text/calibration/prose.txt")),
    ("code", include_str!("../../assets/text/calibration/code.txt")),
    ("german", include_str!("../../assets/text/calibration/german.txt")),
    ("spanish", include_str!("../../assets/text/calibration/spanish.txt")),
    ("chat", include_str!("../../assets/text/calibration/chat.txt")),
    ("tools", include_str!("../../assets/text/calibration/tools.txt")),
    ("facts", include_str!("../../assets/text/calibration/facts.txt")),
];

/// Where the text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSource {
    /// The bundled text, in parts of seven kinds.
    #[default]
    Bundled,
    /// The user's file, in UTF-8.
    #[serde(with = "crate::path_text")]
    File(PathBuf),
    /// What the user typed or pasted.
    Pasted(String),
}

impl TextSource {
    /// What a pipe delivers, read to its end; `name` is for errors.
    ///
    /// # Errors
    /// `Error::Io`; `Error::BadText` when it is empty, longer than 64 MiB or not UTF-8.
    pub fn from_reader(reader: impl Read, name: &str) -> Result<Self> {
        let bytes = limited_bytes(reader, Path::new(name))?;
        Ok(Self::Pasted(text_from_bytes(bytes, name)?))
    }
}

/// A text with its name and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// `bundled evaluation text`, `bundled calibration text`, the file's name, or `pasted text`.
    pub name: String,
    /// Its parts, as the runtime takes them.
    pub parts: runtime::Corpus,
    /// SHA-256 of kinds and texts, in hexadecimal.
    pub sha256: String,
}

impl Corpus {
    /// Writes the text as a child reads it.
    ///
    /// # Errors
    /// `Error::Io`.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(&self.parts).map_err(|error| Error::Internal { message: error.to_string() })?;
        std::fs::write(path, text).map_err(Error::io("write", path))
    }
}

/// Reads the text; `Bundled` is the evaluation text.
///
/// # Errors
/// `Error::Io`; `Error::BadText` when it is a folder, empty, longer than 64 MiB or not UTF-8.
pub fn corpus(source: &TextSource) -> Result<Corpus> {
    read(source, "bundled evaluation text", &EVALUATION)
}

/// Reads the text; `Bundled` is the calibration text.
///
/// # Errors
/// As [`corpus`].
pub fn calibration_corpus(source: &TextSource) -> Result<Corpus> {
    read(source, BUNDLED_CALIBRATION_TEXT, &CALIBRATION)
}

fn read(source: &TextSource, bundled_name: &str, bundled: &[(&str, &str)]) -> Result<Corpus> {
    let part = |kind: &str, text: String| runtime::Part { kind: kind.into(), text };
    let (name, parts) = match source {
        TextSource::Bundled => {
            let parts = bundled.iter().map(|(kind, text)| part(kind, (*text).to_string())).collect();
            (bundled_name.to_string(), parts)
        }
        TextSource::File(path) => {
            let name = path_text::file_name(path);
            let text = text_from_bytes(read_limited(path)?, &name)?;
            (name, vec![part("text", text)])
        }
        TextSource::Pasted(text) => {
            let name = "pasted text".to_string();
            (name.clone(), vec![part("text", text_from_bytes(text.clone().into_bytes(), &name)?)])
        }
    };
    let mut hash = Sha256::new();
    for part in &parts {
        for text in [&part.kind, &part.text] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    Ok(Corpus { name, parts: runtime::Corpus { parts }, sha256: runtime::hex(&hash.finalize()) })
}

/// The file's bytes; a file that is longer than the limit gives one byte more than the limit.
fn read_limited(path: &Path) -> Result<Vec<u8>> {
    // Before it is opened: opening a FIFO would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a folder" } else { "a FIFO, a device or a socket" };
        return Err(Error::BadText { problem: format!("it is {kind}, not a file"), name: path_text::shown(path) });
    }
    limited_bytes(std::fs::File::open(path).map_err(Error::io("open", path))?, path)
}

fn limited_bytes(reader: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

fn text_from_bytes(bytes: Vec<u8>, name: &str) -> Result<String> {
    let bad = |problem: String| Error::BadText { problem, name: name.to_string() };
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(bad(format!("it is longer than {}", crate::units::bytes_text(MAX_TEXT_BYTES))));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| bad(format!("it is not UTF-8, first at byte {}", error.utf8_error().valid_up_to())))?;
    if text.trim().is_empty() {
        return Err(bad("it is empty".into()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters of a run that both texts may not have.
    const SHARED_RUN: usize = 50;

    fn collapsed(text: &str) -> Vec<char> {
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect()
    }

    #[test]
    fn calibration_and_evaluation_do_not_overlap() {
        let evaluation: Vec<Vec<char>> = EVALUATION.iter().map(|(_, text)| collapsed(text)).collect();
        let runs: std::collections::HashSet<&[char]> = evaluation.iter().flat_map(|text| text.windows(SHARED_RUN)).collect();
        assert!(runs.len() > 100_000, "the evaluation text is long enough to say something: {}", runs.len());
        for (_, text) in CALIBRATION {
            let text = collapsed(text);
            if let Some(run) = text.windows(SHARED_RUN).find(|run| runs.contains(run)) {
                panic!("both have {:?}", run.iter().collect::<String>());
            }
        }
    }

    #[test]
    fn the_bundled_text_has_a_fair_part_of_each_kind() {
        let corpus = corpus(&TextSource::Bundled).unwrap();
        assert_eq!(corpus.parts.parts.len(), 7);
        for part in &corpus.parts.parts {
            assert!(part.text.len() > 15_000, "{} has {} bytes", part.kind, part.text.len());
        }
    }

    #[test]
    fn texts_that_cannot_be_used_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: &str| {
            let path = dir.path().join("text.txt");
            std::fs::write(&path, bytes).unwrap();
            match corpus(&TextSource::File(path)) {
                Err(Error::BadText { problem, name }) => assert_eq!((problem.as_str(), name.as_str()), (expected, "text.txt")),
                other => panic!("{other:?}"),
            }
        };
        check(b"", "it is empty");
        check(b" \n\t", "it is empty");
        check(b"good \xFF\xFE bad", "it is not UTF-8, first at byte 5");
        let folder = corpus(&TextSource::File(dir.path().into())).unwrap_err();
        assert!(matches!(&folder, Error::BadText { problem, .. } if problem == "it is a folder, not a file"), "{folder}");
        assert!(folder.hint().contains("text"), "{}", folder.hint());
        assert!(matches!(corpus(&TextSource::File(dir.path().join("none"))), Err(Error::Io { .. })));
        assert!(matches!(corpus(&TextSource::Pasted(String::new())), Err(Error::BadText { .. })));
    }

    #[test]
    fn the_hash_names_the_text() {
        let hash = |text: &str| corpus(&TextSource::Pasted(text.into())).unwrap().sha256;
        assert_eq!(hash("a b"), hash("a b"));
        assert_ne!(hash("a b"), hash("a c"));
        assert_eq!(hash("a b").len(), 64);
    }
}
