//! What is found in place of a file that was never fetched.

/// How many bytes of a file's start are looked at. XML prologues and HTML comments are shorter.
pub const HEAD_BYTES: usize = 4096;
/// A server's answer in plain text is at most this long.
const MAX_ANSWER_BYTES: usize = 1024;
/// How servers' answers begin that are sent instead of a file, in lower case.
const ANSWERS: [&str; 13] = [
    "entry not found",
    "repository not found",
    "file not found",
    "not found",
    "404",
    "access to model",
    "access denied",
    "invalid username or password",
    "invalid credentials",
    "unauthorized",
    "forbidden",
    "too many requests",
    "bad gateway",
];

/// What is in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// No byte at all.
    Empty,
    /// The three lines that Git keeps instead of a large file.
    LfsPointer,
    /// The line that git-annex or Xet keeps instead of a large file.
    OtherPointer(&'static str),
    /// The text of a link, as systems without links leave it: `../../blobs/4d7a…`.
    LinkText,
    /// A web page.
    Html,
    /// XML: the answer of a storage server.
    Xml,
    /// What a server said instead: `{"error":"Repository not found"}`, `Entry not found`.
    Answer,
    /// Nothing but zeros: space that a download reserved.
    Zeros,
    /// Text in UTF-16, as Windows PowerShell writes it.
    Utf16,
    /// An archive or a compressed file; its kind with its article.
    Archive(&'static str),
}

impl Placeholder {
    /// What the first bytes show, if it is neither a model file nor a part of one, else `None`. `head` holds up to `HEAD_BYTES`
    /// of a file.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let starts = |start: &str| text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()));
        let any_starts = |all: &[&str]| all.iter().any(|start| starts(start));
        Some(match head {
            [] => Self::Empty,
            _ if any_starts(&["version https://git-lfs", "version https://hawser"]) => Self::LfsPointer,
            _ if any_starts(&["/annex/objects/", ".git/annex/objects/", "../.git/annex/objects/"]) => {
                Self::OtherPointer("git-annex")
            }
            _ if starts("# xet version") => Self::OtherPointer("Xet"),
            _ if any_starts(&["<!doctype html", "<html", "<head>", "<body", "<title", "<script"]) => Self::Html,
            // A comment or an XML prologue may come first.
            _ if any_starts(&["<!--", "<?xml"]) && contains_ignoring_case(text, b"<html") => Self::Html,
            _ if any_starts(&["<?xml", "<error>"]) => Self::Xml,
            _ if is_answer(text) => Self::Answer,
            _ if is_link(text) => Self::LinkText,
            [b'P', b'K', 3, 4, ..] => Self::Archive("a ZIP archive"),
            [0x1f, 0x8b, 8, ..] => Self::Archive("a gzip archive"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Archive("a Zstandard archive"),
            [b'7', b'z', 0xbc, 0xaf, ..] => Self::Archive("a 7z archive"),
            [0xfd, b'7', b'z', b'X', ..] => Self::Archive("an xz archive"),
            _ if head.iter().all(|&byte| byte == 0) => Self::Zeros,
            _ => return None,
        })
    }

    /// The same for a file that should be text.
    #[must_use]
    pub fn of_text(head: &[u8]) -> Option<Self> {
        match head {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Self::Utf16),
            _ => Self::of(head),
        }
    }

    /// What it is, with its article.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Empty => "an empty file".into(),
            Self::LfsPointer => "a Git LFS pointer".into(),
            Self::OtherPointer(tool) => format!("a {tool} pointer"),
            Self::LinkText => "the text of a link".into(),
            Self::Html => "an HTML page".into(),
            Self::Xml => "an XML answer from a server".into(),
            Self::Answer => "an error message from a server".into(),
            Self::Zeros => "zeros, perhaps a download that has only reserved its space".into(),
            Self::Utf16 => "text in UTF-16".into(),
            Self::Archive(kind) => kind.into(),
        }
    }

    /// How to get the file itself.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::LfsPointer => "fetch the file itself: git lfs install, then git lfs pull in that folder",
            Self::OtherPointer(_) => "fetch the file itself with the tool that left the pointer, or download it again",
            Self::LinkText => "copy the file that it names to this place, or download it again",
            Self::Html | Self::Xml | Self::Answer => {
                "the server did not send the file: accept the model's terms and sign in where it asks for that, then download it again"
            }
            Self::Empty | Self::Zeros => "the download broke off: download the file again",
            Self::Utf16 => "write it again as UTF-8, or download it again",
            Self::Archive(_) => "unpack it first",
        }
    }
}

fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// An object with an `error` and nothing of a model, or a short text that begins like an answer.
fn is_answer(text: &[u8]) -> bool {
    if text.starts_with(b"{") {
        let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text);
        return object.is_ok_and(|object| {
            let tells = |key: &str| object.get(key).is_some_and(serde_json::Value::is_string);
            object.len() <= 4 && (tells("error") || tells("message") && (object.contains_key("status") || object.len() == 1))
        });
    }
    let text = text.trim_ascii_end();
    let is_short =
        text.len() <= MAX_ANSWER_BYTES && text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    is_short
        && ANSWERS.iter().any(|answer| {
            let rest = text.get(answer.len()..).filter(|_| text[..answer.len()].eq_ignore_ascii_case(answer.as_bytes()));
            rest.is_some_and(|rest| rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric()))
        })
}

/// One line with a relative path into a cache.
fn is_link(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let is_path = text.iter().all(u8::is_ascii_graphic);
    text.len() < MAX_ANSWER_BYTES && is_path && text.starts_with(b"../") && contains_ignoring_case(text, b"blobs/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_for_a_file_is_recognised() {
        let check = |content: &[u8], expected: Option<Placeholder>| {
            assert_eq!(Placeholder::of(content), expected, "{}", String::from_utf8_lossy(content));
            assert!(expected.is_none_or(|found| !found.name().is_empty() && !found.hint().is_empty()));
        };
        check(b"", Some(Placeholder::Empty));
        check(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n", Some(Placeholder::LfsPointer));
        check(b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1", Some(Placeholder::LfsPointer));
        check(b"/annex/objects/SHA256E-s1--4d.bin\n", Some(Placeholder::OtherPointer("git-annex")));
        check(b"# xet version 0\nfilesize = 1\n", Some(Placeholder::OtherPointer("Xet")));
        check(b"\n <!DOCTYPE HTML><title>404", Some(Placeholder::Html));
        check(b"<!-- x --><HTML>", Some(Placeholder::Html));
        check(b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", Some(Placeholder::Xml));
        check(b"{\"error\":\"Repository not found\"}", Some(Placeholder::Answer));
        check(b"Entry not found", Some(Placeholder::Answer));
        check(b"Access to model a/b is restricted. You must be authenticated.", Some(Placeholder::Answer));
        check(b"404: Not Found\n", Some(Placeholder::Answer));
        check(b"../../blobs/4d7a2146", Some(Placeholder::LinkText));
        check(b"PK\x03\x04 photos", Some(Placeholder::Archive("a ZIP archive")));
        check(&[0; 100], Some(Placeholder::Zeros));
        assert_eq!(Placeholder::of_text(b"\xff\xfe{\0"), Some(Placeholder::Utf16));
    }

    #[test]
    fn files_of_a_model_are_none() {
        for content in [
            &b"{}"[..],
            b"{\"model_type\":\"llama\"}",
            b"{\"error\":1}",
            b"[1]",
            b"GGUF",
            b"#version: 0.2\na b\n",
            b"[PAD]\n[UNK]\n",
            b"{{ messages }}",
            b"<|im_start|>{{ messages }}",
            b"<s>\n</s>\n",
            b"404s\nb\n",
            b"notable\n",
            b"\xff\xfe\0\0\0\0\0\0{",
        ] {
            assert_eq!(Placeholder::of(content), None, "{}", String::from_utf8_lossy(content));
        }
    }
}
