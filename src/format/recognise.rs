//! What a file or folder is, judged by its content and never by its name.

use std::io::Read;
use std::path::Path;

use super::gguf;
use super::open::open_regular;
use crate::error::{Error, Result};

/// Bytes that are looked at. XML prologues and HTML comments are shorter.
const HEAD_BYTES: u64 = 4096;
/// Files of a folder that are looked at.
const MAX_FOLDER_ENTRIES: usize = 10_000;

/// `Ok` for a GGUF file.
///
/// # Errors
/// `Error::UnsupportedFormat` for formats known by name, `Error::UnknownFormat` with the first bytes for the rest (and for an
/// empty file), `Error::NotAFile` and `Error::Io` as `open_regular`.
pub(super) fn expect_gguf(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(match folder_kind(path)? {
            Some(what) => Error::UnsupportedFormat { what: what.into(), path: path.to_path_buf() },
            None => Error::NotAFile { kind: "a folder", path: path.to_path_buf() },
        });
    }
    let (file, size_bytes) = open_regular(path)?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(Error::io("read", path))?;
    if head.starts_with(&gguf::MAGIC) {
        return Ok(());
    }
    Err(match model_format(&head, size_bytes) {
        Some(what) => Error::UnsupportedFormat { what: what.into(), path: path.to_path_buf() },
        None => Error::UnknownFormat { found: found(&head), path: path.to_path_buf() },
    })
}

/// Model formats that are known but not read.
fn model_format(head: &[u8], size_bytes: u64) -> Option<&'static str> {
    match head {
        // The magics of GGML, GGMF, GGJT and GGLA were written as little-endian numbers.
        [b'l' | b'f', b'm', b'g', b'g', ..] | [b't', b'j', b'g', b'g', ..] | [b'a', b'l', b'g', b'g', ..] => {
            Some("an old GGML file from before GGUF")
        }
        [b'P', b'K', 3, 4, ..] if contains(head, b"data.pkl") => Some("a PyTorch checkpoint"),
        [0x80, 2..=5, ..] => Some("a Python pickle (an old PyTorch checkpoint)"),
        [0x89, b'H', b'D', b'F', ..] => Some("an HDF5 file (Keras)"),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Some("a LiteRT (TensorFlow Lite) file"),
        _ if is_safetensors(head, size_bytes) => Some("a safetensors file"),
        _ if is_onnx(head) => Some("an ONNX file"),
        _ if contains(head, b"<net ") && text_starts_with(head, b"<") => Some("an OpenVINO IR file"),
        _ => None,
    }
}

/// A header length that fits the file, then a JSON object.
///
/// Source: the safetensors format description, <https://github.com/huggingface/safetensors>.
fn is_safetensors(head: &[u8], size_bytes: u64) -> bool {
    head.split_first_chunk::<8>().is_some_and(|(len, json)| {
        let len = u64::from_le_bytes(*len);
        len >= 2 && len <= size_bytes - 8 && json.starts_with(b"{")
    })
}

/// Field 1 (`ir_version`, a small number), then another field of `ModelProto` with its right wire type.
///
/// Source: `message ModelProto` in onnx.proto3.
fn is_onnx(head: &[u8]) -> bool {
    // producer_name 2, producer_version 3, domain 4, doc_string 6, graph 7, opset_import 8: length-delimited; model_version
    // 5: number.
    const NEXT_TAGS: [u8; 7] = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];
    matches!(head, [0x08, 1..=32, tag, ..] if NEXT_TAGS.contains(tag))
}

/// The first bytes in hexadecimal, and what they look like when that is known.
fn found(head: &[u8]) -> String {
    let Some(start) = head.get(..head.len().min(4)).filter(|start| !start.is_empty()) else {
        return "nothing (the file is empty)".into();
    };
    let hex = start.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let looks_like = match head {
        _ if text_starts_with(head, b"<!doctype html") || text_starts_with(head, b"<html") => "an HTML page",
        _ if text_starts_with(head, b"version https://git-lfs") => "a Git LFS pointer, the file itself was not fetched",
        _ if text_starts_with(head, b"{") => "JSON text",
        _ if text_starts_with(head, b"<") => "XML text",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a Zstandard archive",
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [0xfd, b'7', b'z', b'X', ..] => "an xz archive",
        _ if start.iter().all(|&byte| byte == 0) => "zeros, perhaps a download that has only reserved its space",
        _ => return hex,
    };
    format!("{hex} ({looks_like})")
}

/// Ignores case, white space and a byte order mark before the text.
fn text_starts_with(head: &[u8], start: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

fn contains(head: &[u8], part: &[u8]) -> bool {
    head.windows(part.len()).any(|window| window == part)
}

fn folder_kind(path: &Path) -> Result<Option<&'static str>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("open", path))?.take(MAX_FOLDER_ENTRIES) {
        names.push(entry.map_err(Error::io("read", path))?.file_name().to_string_lossy().to_ascii_lowercase());
    }
    let has = |name: &str| names.iter().any(|found| found == name);
    let has_extension =
        |extension: &str| names.iter().any(|found| Path::new(found).extension().is_some_and(|found| found == extension));
    Ok(match () {
        () if has("config.json")
            && (has_extension("safetensors") || names.iter().any(|name| name.starts_with("pytorch_model"))) =>
        {
            Some("a Hugging Face folder")
        }
        () if has("genai_config.json") || has_extension("onnx") => Some("a folder with an ONNX model"),
        () if has_extension("xml") && has_extension("bin") => Some("a folder with an OpenVINO IR"),
        () if has("manifest.json") && has("data") => Some("a Core ML package"),
        () => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &[u8]) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, content).unwrap();
        expect_gguf(&path)
    }

    #[test]
    fn known_formats_are_named() {
        let check = |content: &[u8], expected: &str| match of(content) {
            Err(Error::UnsupportedFormat { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        };
        check(b"\x02\0\0\0\0\0\0\0{}", "a safetensors file");
        check(b"\x08\x07\x12\x07pytorch", "an ONNX file");
        check(b"\x08\x08\x3a\xff\x01", "an ONNX file");
        check(b"<?xml version=\"1.0\"?>\n<net name=\"Model0\" version=\"11\">", "an OpenVINO IR file");
        check(b"PK\x03\x04\0\0\x08\x08\0\0model/data.pkl", "a PyTorch checkpoint");
        check(b"\x80\x02\x8a\nl\xfc\x9cF", "a Python pickle (an old PyTorch checkpoint)");
        check(b"tjgg\x03\0\0\0", "an old GGML file from before GGUF");
        check(b"lmgg\0\0\0\0", "an old GGML file from before GGUF");
        check(b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)");
        check(b"\x1c\0\0\0TFL3", "a LiteRT (TensorFlow Lite) file");
    }

    #[test]
    fn other_content_is_described() {
        let check = |content: &[u8], expected: &str| match of(content) {
            Err(Error::UnknownFormat { found, .. }) => assert_eq!(found, expected),
            other => panic!("{expected}: {other:?}"),
        };
        check(b"", "nothing (the file is empty)");
        check(b"G", "47");
        check(b"GGU", "47 47 55");
        check(b"\n<!DOCTYPE HTML><title>404", "0a 3c 21 44 (an HTML page)");
        check(b"\xef\xbb\xbf<html>", "ef bb bf 3c (an HTML page)");
        check(b"version https://git-lfs.github.com/spec/v1", "76 65 72 73 (a Git LFS pointer, the file itself was not fetched)");
        check(b"{\"error\":\"Repository not found\"}", "7b 22 65 72 (JSON text)");
        check(b"PK\x03\x04 photos", "50 4b 03 04 (a ZIP archive)");
        check(&[0; 5000], "00 00 00 00 (zeros, perhaps a download that has only reserved its space)");
        // A length that does not fit the file, and a JSON object: no safetensors.
        check(b"\xff\0\0\0\0\0\0\0{}", "ff 00 00 00");
    }

    #[test]
    fn gguf_is_recognised_by_its_content() {
        assert_eq!(of(b"GGUF"), Ok(()));
    }

    #[test]
    fn folders_are_named() {
        let check = |names: &[&str], expected: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                std::fs::write(folder.path().join(name), "").unwrap();
            }
            match (expect_gguf(folder.path()), expected) {
                (Err(Error::UnsupportedFormat { what, .. }), Some(expected)) => assert_eq!(what, expected),
                (Err(Error::NotAFile { kind, .. }), None) => assert_eq!(kind, "a folder"),
                other => panic!("{other:?}"),
            }
        };
        check(&[], None);
        check(&["config.json", "model-00001-of-00002.safetensors"], Some("a Hugging Face folder"));
        check(&["config.json", "pytorch_model.bin"], Some("a Hugging Face folder"));
        check(&["model.onnx", "model.onnx.data"], Some("a folder with an ONNX model"));
        check(&["openvino_model.xml", "openvino_model.bin"], Some("a folder with an OpenVINO IR"));
        check(&["config.json"], None);
    }
}
