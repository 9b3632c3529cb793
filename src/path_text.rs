//! Paths and other text from outside: for a person on one line, and in JSON without loss.
//!
//! A path is bytes. Most are UTF-8 and are written as they are. One that is not, or that begins with `file:` itself, is written as a
//! `file:` URI (RFC 8089) with percent signs: `file:///models/caf%E9.gguf`, relative ones without slashes: `file:caf%E9.gguf`. So every
//! path survives JSON, the pipe to a child, the settings and the history. `planish help` says it too.
//!
//! A name may hold anything: line ends, escape sequences, marks that change the writing direction. They are escaped when shown.
//!
//! `clippy.toml` forbids `Path::display`, `to_str` and `to_string_lossy` everywhere else, tests excepted.
#![allow(clippy::disallowed_methods, reason = "the place for these")]

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

/// How the text of a path begins that is not written as it is.
const URI_START: &str = "file:";

/// A path for a person: on one line, nothing in it moves the cursor; U+FFFD stands for bytes that are not UTF-8.
#[must_use]
pub fn shown(path: &Path) -> String {
    one_line(&path.as_os_str().to_string_lossy()).into_owned()
}

/// The last part of a path for a person; the whole path where it has none.
#[must_use]
pub fn file_name(path: &Path) -> String {
    shown(Path::new(path.file_name().unwrap_or(path.as_os_str())))
}

/// True for a path that is valid UTF-8.
#[must_use]
pub fn is_utf8(path: &Path) -> bool {
    path.to_str().is_some()
}

/// A name as text, only for finding ASCII in it: files are opened and shown by the name itself.
#[must_use]
pub fn searchable(name: &OsStr) -> Cow<'_, str> {
    name.to_string_lossy()
}

/// The name of a model's file for a person, without `.gguf`.
#[must_use]
pub fn stem(path: &Path) -> String {
    shown(Path::new(&stem_of(path)))
}

/// The last part of a path without `.gguf` or `.GGUF`: anything else after a dot is part of the name, as in `Qwen2.5-0.5B`.
#[must_use]
pub fn stem_of(path: &Path) -> OsString {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    match path.file_stem() {
        Some(stem) if is_gguf => stem.to_os_string(),
        _ => name.to_os_string(),
    }
}

/// `name` without its last `n_bytes` bytes, which are ASCII; the bytes before them stay as they are.
#[must_use]
pub fn without_end(name: &OsStr, n_bytes: usize) -> OsString {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = name.as_bytes();
        OsStr::from_bytes(bytes.get(..bytes.len().saturating_sub(n_bytes)).unwrap_or_default()).to_os_string()
    }
    #[cfg(not(unix))]
    {
        let text = name.to_string_lossy();
        text.get(..text.len().saturating_sub(n_bytes)).unwrap_or_default().into()
    }
}

/// Text from a file or a name on one line: control characters, line ends and direction marks are written as escapes.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(is_unprintable) { text.chars().map(escaped).collect::<String>().into() } else { text.into() }
}

/// The same for text of several lines: line ends and tabs stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| is_unprintable(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return text.into();
    }
    text.chars().map(|c| if is_bad(c) { escaped(c) } else { c.to_string() }).collect::<String>().into()
}

/// True for a character that a terminal or a window would obey instead of showing it.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        // Marks that change the direction of what follows: a name could hide its end. UAX #9, section 2.
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // Line and paragraph separator, and the byte order mark.
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn escaped(c: char) -> String {
    if is_unprintable(c) { c.escape_default().to_string() } else { c.to_string() }
}

/// The path as text without loss; the module says how.
#[must_use]
pub fn to_text(path: &Path) -> String {
    match path.as_os_str().to_str() {
        Some(text) if !text.starts_with(URI_START) => text.to_string(),
        _ => uri(path),
    }
}

/// The path that a text of [`to_text`] stands for; any other text is a path as it is.
#[must_use]
pub fn from_text(text: &str) -> PathBuf {
    let Some(rest) = text.strip_prefix(URI_START) else { return text.into() };
    let rest = rest.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(rest);
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let Some((&byte, behind)) = left.split_first() {
        let digits = behind.get(..2).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(decoded) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(decoded);
            left = behind.get(2..).unwrap_or_default();
        } else {
            bytes.push(byte);
            left = behind;
        }
    }
    #[cfg(unix)]
    return PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes));
    #[cfg(not(unix))]
    return String::from_utf8_lossy(&bytes).into_owned().into();
}

fn uri(path: &Path) -> String {
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    // On Windows a name is UTF-16; half a surrogate pair, which nobody types, becomes U+FFFD.
    #[cfg(not(unix))]
    let bytes = path.as_os_str().to_string_lossy().into_owned().into_bytes();
    let mut text = String::from(if path.is_absolute() { "file://" } else { URI_START });
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A path, an optional path or a list of paths: what `#[serde(with = "crate::path_text")]` takes.
pub trait Paths: Sized {
    /// The paths as text.
    type Text: serde::Serialize + for<'de> serde::Deserialize<'de>;
    /// The paths as text, by [`to_text`].
    fn to_texts(&self) -> Self::Text;
    /// The paths that the texts stand for, by [`from_text`].
    fn from_texts(texts: Self::Text) -> Self;
}

impl Paths for PathBuf {
    type Text = String;
    fn to_texts(&self) -> String {
        to_text(self)
    }
    fn from_texts(text: String) -> Self {
        from_text(&text)
    }
}

impl Paths for Option<PathBuf> {
    type Text = Option<String>;
    fn to_texts(&self) -> Option<String> {
        self.as_deref().map(to_text)
    }
    fn from_texts(text: Option<String>) -> Self {
        text.as_deref().map(from_text)
    }
}

impl Paths for Vec<PathBuf> {
    type Text = Vec<String>;
    fn to_texts(&self) -> Vec<String> {
        self.iter().map(|path| to_text(path)).collect()
    }
    fn from_texts(texts: Vec<String>) -> Self {
        texts.iter().map(|text| from_text(text)).collect()
    }
}

/// Writes paths as text, for `#[serde(with = "crate::path_text")]`.
pub fn serialize<P: Paths, S: Serializer>(paths: &P, serializer: S) -> Result<S::Ok, S::Error> {
    paths.to_texts().serialize(serializer)
}

/// Reads paths from text, for `#[serde(with = "crate::path_text")]`.
pub fn deserialize<'de, P: Paths, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    P::Text::deserialize(deserializer).map(P::from_texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes.to_vec()))
    }

    #[cfg(unix)]
    #[test]
    fn every_path_survives_its_text() {
        let check = |bytes: &[u8], expected: &str| {
            let path = path(bytes);
            assert_eq!(to_text(&path), expected);
            assert_eq!(from_text(expected), path, "{expected}");
        };
        check("/models/Größe 1.gguf".as_bytes(), "/models/Größe 1.gguf");
        check(b"/models/caf\xe9.gguf", "file:///models/caf%E9.gguf");
        check(b"caf\xe9 100%.gguf", "file:caf%E9%20100%25.gguf");
        check(b"../\xff", "file:../%FF");
        check(b"//\xff", "file:////%FF");
        // A path that looks like a URI is written as one.
        check(b"file:a.gguf", "file:file%3Aa.gguf");
        check(b"100%E9.gguf", "100%E9.gguf");
        check(b"", "");
        check(b"a\nb", "a\nb");
    }

    #[test]
    fn other_texts_are_paths() {
        assert_eq!(from_text("file:///a/b.gguf"), Path::new("/a/b.gguf"));
        assert_eq!(from_text("file:a%zz%+1%4"), Path::new("a%zz%+1%4"));
        assert_eq!(from_text("a%41"), Path::new("a%41"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_shown_is_one_line() {
        assert_eq!(shown(&path(b"/a\x1b[31m\n/caf\xe9")), "/a\\u{1b}[31m\\n/caf\u{FFFD}");
        assert_eq!(one_line("a\u{202e}fgug.b\u{85}"), "a\\u{202e}fgug.b\\u{85}");
        assert_eq!(one_line("Größe 数 👩‍💻"), "Größe 数 👩‍💻");
        assert_eq!(printable("a\tb\r\n\x07c"), "a\tb\\r\n\\u{7}c");
    }

    #[test]
    fn only_gguf_is_an_extension() {
        let check = |name: &str, expected: &str| assert_eq!(stem_of(Path::new(name)), OsStr::new(expected), "{name}");
        check("/a/Qwen2.5-0.5B", "Qwen2.5-0.5B");
        check("/a/Qwen2.5-0.5B.GGUF", "Qwen2.5-0.5B");
        check("a.b.gguf", "a.b");
        check(".gguf", ".gguf");
        check("a.gguf.part", "a.gguf.part");
        check("a.bin", "a.bin");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_before_an_end_stay() {
        assert_eq!(without_end(path(b"caf\xe9-F32").as_os_str(), 4), path(b"caf\xe9").into_os_string());
        assert_eq!(without_end(OsStr::new("abc"), 9), OsStr::new(""));
    }
}
