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

/// Kind and text of the bundled calibration text, from which importances and second moments are collected: none of it is in the evaluation
/// text. Where chunks do not go round, the first kinds give one more.
const CALIBRATION: [(&str, &str); 17] = [
    ("prose", include_str!("../../assets/text/calibration/prose.txt")),
    ("chat", include_str!("../../assets/text/calibration/chat.txt")),
    ("code", include_str!("../../assets/text/calibration/code.txt")),
    ("facts", include_str!("../../assets/text/calibration/facts.txt")),
    ("tools", include_str!("../../assets/text/calibration/tools.txt")),
    ("templates", include_str!("../../assets/text/calibration/templates.txt")),
    ("maths", include_str!("../../assets/text/calibration/maths.txt")),
    ("sources", include_str!("../../assets/text/calibration/sources.txt")),
    ("reports", include_str!("../../assets/text/calibration/reports.txt")),
    ("manuals", include_str!("../../assets/text/calibration/manuals.txt")),
    ("papers", include_str!("../../assets/text/calibration/papers.txt")),
    ("german", include_str!("../../assets/text/calibration/german.txt")),
    ("spanish", include_str!("../../assets/text/calibration/spanish.txt")),
    ("french", include_str!("../../assets/text/calibration/french.txt")),
    ("portuguese", include_str!("../../assets/text/calibration/portuguese.txt")),
    ("russian", include_str!("../../assets/text/calibration/russian.txt")),
    ("chinese", include_str!("../../assets/text/calibration/chinese.txt")),
];

/// Where the text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSource {
    /// The bundled text, in parts of several kinds.
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
    /// `bundled evaluation text`, `bundled calibration text`, the file's name, `pasted text`, or of a mixture
    /// `letters.txt (50 %), bundled calibration text`.
    pub name: String,
    /// Its parts, as the runtime takes them.
    pub parts: runtime::Corpus,
    /// SHA-256 of kinds, texts and shares, in hexadecimal.
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

/// Reads the user's text, which gives `own_percent` of the tokens, and adds the bundled calibration text for the rest. With 100 percent, or
/// without a text of the user, as [`calibration_corpus`].
///
/// # Errors
/// As [`corpus`]; `Error::BadRequest` for 0 percent or more than 100.
pub fn mixed_corpus(source: &TextSource, own_percent: u32) -> Result<Corpus> {
    if !(1..=100).contains(&own_percent) {
        return Err(Error::BadRequest { message: format!("your text cannot give {own_percent} percent of the tokens") });
    }
    let own = calibration_corpus(source)?;
    if own_percent == 100 || *source == TextSource::Bundled {
        return Ok(own);
    }
    let name = format!("{} ({own_percent} %), {BUNDLED_CALIBRATION_TEXT}", own.name);
    let own = own.parts.parts.into_iter().map(|part| runtime::Part { percent: own_percent, ..part });
    let parts = own.chain(bundled_parts(&CALIBRATION)).collect();
    Ok(corpus_of(name, parts))
}

fn read(source: &TextSource, bundled_name: &str, bundled: &[(&str, &str)]) -> Result<Corpus> {
    let part = |text: String| runtime::Part { kind: "text".into(), text, percent: 0 };
    let (name, parts) = match source {
        TextSource::Bundled => (bundled_name.to_string(), bundled_parts(bundled)),
        TextSource::File(path) => {
            let name = path_text::file_name(path);
            let text = text_from_bytes(read_limited(path)?, &name)?;
            (name, vec![part(text)])
        }
        TextSource::Pasted(text) => {
            let name = "pasted text".to_string();
            (name.clone(), vec![part(text_from_bytes(text.clone().into_bytes(), &name)?)])
        }
    };
    Ok(corpus_of(name, parts))
}

fn bundled_parts(texts: &[(&str, &str)]) -> Vec<runtime::Part> {
    texts.iter().map(|&(kind, text)| runtime::Part { kind: kind.into(), text: text.into(), percent: 0 }).collect()
}

fn corpus_of(name: String, parts: Vec<runtime::Part>) -> Corpus {
    let mut hash = Sha256::new();
    for part in &parts {
        for text in [&part.kind, &part.text] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        if part.percent > 0 {
            hash.update(part.percent.to_le_bytes());
        }
    }
    Corpus { name, parts: runtime::Corpus { parts }, sha256: runtime::hex(&hash.finalize()) }
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
        for (kind, text) in CALIBRATION {
            let text = collapsed(text);
            if let Some(run) = text.windows(SHARED_RUN).find(|run| runs.contains(run)) {
                panic!("{kind} and the evaluation text have {:?}", run.iter().collect::<String>());
            }
        }
    }

    /// Windows of so many characters that were there before, of 10,000, white space collapsed.
    fn n_repeated(texts: &[&str], n_chars: usize) -> usize {
        let texts: Vec<Vec<char>> = texts.iter().map(|text| collapsed(text)).collect();
        let n_windows: usize = texts.iter().map(|text| text.windows(n_chars).count()).sum();
        let different: std::collections::HashSet<&[char]> = texts.iter().flat_map(|text| text.windows(n_chars)).collect();
        (n_windows - different.len()) * 10_000 / n_windows
    }

    #[test]
    fn the_calibration_text_is_long_and_does_not_repeat_itself() {
        let one = "A sentence that is sixty characters long, or a few more than that, said once.";
        assert!(n_repeated(&[one, one], 60) > 4000, "repetition is found");
        let texts = CALIBRATION.map(|(_, text)| text);
        let n = n_repeated(&texts, 60);
        assert!(n < 100, "{n} of 10,000 windows of 60 characters were there before");
        let n_bytes: usize = texts.iter().map(|text| text.len()).sum();
        assert!((380_000..440_000).contains(&n_bytes), "{n_bytes} bytes");
        for (kind, text) in CALIBRATION {
            assert!(text.len() > 12_000, "{kind} has {} bytes", text.len());
            assert!(!text.contains('\r') && !text.starts_with('\u{feff}') && text.ends_with('\n'), "{kind}: LF, no BOM");
        }
    }

    #[test]
    fn a_mixture_is_the_users_text_with_its_share_and_the_bundled_one() {
        let own = TextSource::Pasted("Dear Mrs Okafor".into());
        let mixed = mixed_corpus(&own, 30).unwrap();
        assert_eq!(mixed.name, "pasted text (30 %), bundled calibration text");
        let parts = &mixed.parts.parts;
        assert_eq!((parts.len(), parts[0].text.as_str(), parts[0].percent), (CALIBRATION.len() + 1, "Dear Mrs Okafor", 30));
        assert!(parts[1..].iter().all(|part| part.percent == 0));
        assert_ne!(mixed.sha256, mixed_corpus(&own, 31).unwrap().sha256);
        assert_eq!(mixed_corpus(&own, 100).unwrap(), calibration_corpus(&own).unwrap());
        let bundled = calibration_corpus(&TextSource::Bundled).unwrap();
        assert_eq!(mixed_corpus(&TextSource::Bundled, 30).unwrap(), bundled);
        assert!(matches!(mixed_corpus(&own, 0), Err(Error::BadRequest { .. })));
        assert!(matches!(mixed_corpus(&own, 101), Err(Error::BadRequest { .. })));
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
