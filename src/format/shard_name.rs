//! Names of GGUF files: the parts of a split model, and files that stand for a model.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::path_text;

/// Bytes of `-00001-of-00003.gguf`.
const END_BYTES: usize = 20;

/// The parts of `PREFIX-00002-of-00003.gguf`.
///
/// Source: `llama_split_path` in llama.cpp: `"%s-%05d-of-%05d.gguf"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardName {
    /// What all parts begin with.
    pub(crate) prefix: OsString,
    /// Which part it is, from 1.
    pub(crate) number: u32,
    /// How many parts there are.
    pub(crate) count: u32,
}

impl ShardName {
    /// Reads the name of a part; `None` for any other name.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let digits =
            |text: &str| (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?;
        // The end is ASCII; what is before it may be any bytes.
        let name = path.file_name()?;
        let end = name.as_encoded_bytes().last_chunk::<END_BYTES>().and_then(|end| std::str::from_utf8(end).ok())?;
        let (number, count) = end.strip_suffix(".gguf")?.strip_prefix('-')?.split_once("-of-")?;
        let (number, count) = (digits(number)?, digits(count)?);
        (1..=count).contains(&number).then(|| Self { prefix: path_text::without_end(name, END_BYTES), number, count })
    }

    /// The name of another part.
    pub(crate) fn named(&self, number: u64) -> OsString {
        let mut name = self.prefix.clone();
        name.push(format!("-{number:05}-of-{:05}.gguf", self.count));
        name
    }

    /// The path of another part.
    pub(crate) fn sibling(&self, path: &Path, number: u32) -> PathBuf {
        path.with_file_name(self.named(number.into()))
    }
}

/// True for the name of a GGUF file that may stand for a model: not a later part of a split model, not a model's image encoder.
pub(super) fn may_be_gguf_model(name: &OsStr) -> bool {
    let name = path_text::searchable(name).to_ascii_lowercase();
    let Some(stem) = name.strip_suffix(".gguf") else { return false };
    let is_later_part = ShardName::parse(Path::new(&name)).is_some_and(|part| part.number > 1);
    !is_later_part && !stem.contains("mmproj")
}

/// The name of the file that a piece belongs to, where a file was cut regardless of its content to fit a server's limit:
/// `big.gguf.part1of3`, `big.gguf-split-a`; `None` for other names. Unlike shards, pieces are not GGUF files by themselves.
pub(super) fn cut_from(path: &Path) -> Option<OsString> {
    let name = path.file_name()?;
    let text = path_text::searchable(name).to_ascii_lowercase();
    let is_number = |digits: &str| digits.parse::<u32>().is_ok_and(|number| number > 0);
    let (_, end) = text.rsplit_once(".gguf")?;
    let is_piece = if let Some((number, count)) = end.strip_prefix(".part").and_then(|rest| rest.split_once("of")) {
        is_number(number) && is_number(count) && count != "1"
    } else {
        end.strip_prefix("-split-")
            .is_some_and(|letters| (1..=2).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    is_piece.then(|| path_text::without_end(name, end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_follow_llama_cpp() {
        let check = |name: &str, expected: Option<(&str, u32, u32)>| {
            let found = ShardName::parse(Path::new(name));
            let expected = expected.map(|(prefix, number, count)| ShardName { prefix: prefix.into(), number, count });
            assert_eq!(found, expected, "{name}");
        };
        check("/x/a-b-00002-of-00003.gguf", Some(("a-b", 2, 3)));
        check("a-00004-of-00003.gguf", None);
        check("a-00000-of-00003.gguf", None);
        check("a-2-of-3.gguf", None);
        check("a-00002-of-+0003.gguf", None);
        check("a.gguf", None);
    }

    #[test]
    fn pieces_of_a_file_that_was_cut_are_known_by_their_names() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(cut_from(Path::new(name)), expected.map(OsString::from), "{name}");
        };
        check("a/Big.i1-Q4_K_M.gguf.part1of2", Some("Big.i1-Q4_K_M.gguf"));
        check("big.GGUF.Part10of12", Some("big.GGUF"));
        check("big.Q6_K.gguf-split-a", Some("big.Q6_K.gguf"));
        for whole in [
            "a.gguf",
            "a-00001-of-00002.gguf",
            "a.gguf.part",
            "a.gguf.part1of1",
            "a.gguf.part0of2",
            "a-split-a",
            "a.gguf-split-1",
        ] {
            check(whole, None);
        }
    }

    #[test]
    fn later_parts_and_projectors_stand_for_no_model() {
        let check = |name: &str, expected: bool| assert_eq!(may_be_gguf_model(OsStr::new(name)), expected, "{name}");
        check("a-Q4_0.gguf", true);
        check("a.GGUF", true);
        check("a-00001-of-00003.gguf", true);
        check("a-00002-of-00003.gguf", false);
        check("A-00002-OF-00003.GGUF", false);
        check("tales-of-ghost.gguf", true);
        check("a-of-00003.gguf", true);
        check("mmproj-a-F16.gguf", false);
        check("a-mmproj-f16.gguf", false);
        check("a.gguf.part", false);
        check("a.bin", false);
    }
}
