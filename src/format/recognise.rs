//! What a file or folder is: a file is judged by its content, and by its name only where the content does not tell; a folder by
//! the names in it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use super::checkpoint::{CONFIG_NAME, INDEX_ENDING};
use super::gguf;
use super::gguf_reader::summarize_gguf;
use super::hub_cache::snapshot_of;
use super::magic::{is_onnx, is_safetensors, model_format, pickle_format, text_starts_with};
use super::onnx::only_onnx_file;
use super::open::open_regular;
use super::shard_name::{cut_from, may_be_gguf_model};
use crate::error::{Error, HEAD_BYTES, Placeholder, Result};
use crate::model::other_kind;
use crate::path_text;

/// Most bytes that a message shows.
const SHOWN_BYTES: usize = 4;
/// Most GGUF files in a folder whose headers are looked at.
const MAX_OPENED: usize = 64;
/// Most entries of a folder that are looked at.
const MAX_FOLDER_ENTRIES: usize = 10_000;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A GGUF file.
    Gguf,
    /// A Hugging Face checkpoint: its folder, `config.json`, index of shards, or a safetensors file.
    Checkpoint,
    /// An ONNX file.
    Onnx,
}

/// Which of the formats that are read this is, and the path that stands for it: for a folder that holds one GGUF or ONNX
/// model, that file.
///
/// # Errors
/// `Error::Pickle` and `Error::UnsupportedFormat` for formats known by name, `Error::UnknownFormat` with the first bytes for
/// the rest, `Error::Placeholder` for what stands in for a file that was not fetched, `Error::CutFile` for a piece of a file,
/// `Error::SeveralModels` for a folder with several GGUF or ONNX models, `Error::NotAFile` and `Error::Io` as `open_regular`.
pub(super) fn kind_of(path: &Path) -> Result<(Kind, Cow<'_, Path>)> {
    if !path.is_dir() {
        return file_kind(path).map(|kind| (kind, Cow::Borrowed(path)));
    }
    let folder = snapshot_of(path)?.path;
    match folder_kind(&folder)? {
        FolderKind::Checkpoint => Ok((Kind::Checkpoint, Cow::Borrowed(path))),
        FolderKind::Gguf(names) => match models_among(&folder, names).as_slice() {
            [only] => {
                let file = folder.join(only);
                file_kind(&file).map(|kind| (kind, Cow::Owned(file)))
            }
            several => {
                let names = several.iter().map(|name| path_text::shown(Path::new(name))).collect();
                Err(Error::SeveralModels { names, path: folder })
            }
        },
        FolderKind::Onnx => {
            let file = only_onnx_file(&folder)?;
            file_kind(&file).map(|kind| (kind, Cow::Owned(file)))
        }
        FolderKind::Other(what) => Err(Error::UnsupportedFormat { what: what.into(), path: path.to_path_buf() }),
        FolderKind::Unknown => Err(Error::NotAFile { kind: "a folder", path: path.to_path_buf() }),
    }
}

fn file_kind(path: &Path) -> Result<Kind> {
    let (file, size_bytes) = open_regular(path)?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(Error::io("read", path))?;
    if head.starts_with(&gguf::MAGIC) {
        return cut_error(path).map_or(Ok(Kind::Gguf), Err);
    }
    if is_safetensors(&head, size_bytes) || text_starts_with(&head, b"{") && is_part_of_checkpoint(path) {
        return Ok(Kind::Checkpoint);
    }
    if let Some(what) = pickle_format(&head) {
        return Err(Error::Pickle { what, path: path.to_path_buf() });
    }
    if let Some(what) = model_format(&head) {
        return Err(Error::UnsupportedFormat { what: what.into(), path: path.to_path_buf() });
    }
    if is_onnx(&head) {
        return Ok(Kind::Onnx);
    }
    if let Some(found) = Placeholder::of(&head) {
        return Err(Error::Placeholder { found, path: path.to_path_buf() });
    }
    if let Some(error) = cut_error(path) {
        return Err(error);
    }
    // It is damaged, which the reader explains better than a row of bytes does.
    let is_named = |end: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    if is_named("safetensors") && looks_like(&head).is_none() {
        return Ok(Kind::Checkpoint);
    }
    if is_named("onnx") && looks_like(&head).is_none() {
        return Ok(Kind::Onnx);
    }
    Err(Error::UnknownFormat { found: found(&head), path: path.to_path_buf() })
}

/// The error for a piece of a file that was cut; `None` for a whole file. Only the first piece has a GGUF file's magic.
fn cut_error(path: &Path) -> Option<Error> {
    let whole = cut_from(path)?;
    Some(Error::CutFile { whole: path_text::shown(Path::new(&whole)), path: path.to_path_buf() })
}

/// JSON has no magic: these two names say what it is.
fn is_part_of_checkpoint(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == CONFIG_NAME || name.as_encoded_bytes().ends_with(INDEX_ENDING.as_bytes()))
}

/// The first bytes in hexadecimal, and what they look like when that is known.
fn found(head: &[u8]) -> String {
    let start = head.get(..head.len().min(SHOWN_BYTES)).unwrap_or_default();
    let hex = start.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    looks_like(head).map_or_else(|| hex.clone(), |what| format!("{hex} ({what})"))
}

/// What the first bytes are, when that is known.
fn looks_like(head: &[u8]) -> Option<&'static str> {
    if text_starts_with(head, b"{") {
        Some("JSON text")
    } else if text_starts_with(head, b"<") {
        Some("XML text")
    } else {
        None
    }
}

/// What the names in a folder tell.
enum FolderKind {
    Checkpoint,
    /// GGUF models, by name; for a split model, its first part.
    Gguf(Vec<OsString>),
    Onnx,
    Other(&'static str),
    Unknown,
}

fn folder_kind(path: &Path) -> Result<FolderKind> {
    let mut own_names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("open", path))?.take(MAX_FOLDER_ENTRIES) {
        own_names.push(entry.map_err(Error::io("read", path))?.file_name());
    }
    let names: Vec<String> = own_names.iter().map(|name| path_text::searchable(name).to_ascii_lowercase()).collect();
    let has = |name: &str| names.iter().any(|found| found == name);
    let has_extension =
        |extension: &str| names.iter().any(|found| Path::new(found).extension().is_some_and(|found| found == extension));
    let has_pickle = names.iter().any(|name| name.starts_with("pytorch_model"));
    let has_weights = has_extension("safetensors") || names.iter().any(|name| name.ends_with(INDEX_ENDING)) || has_pickle;
    own_names.retain(|name| may_be_gguf_model(name));
    own_names.sort();
    Ok(match () {
        () if has_weights => FolderKind::Checkpoint,
        // Many repositories of GGUF files have a config.json beside them.
        () if !own_names.is_empty() => FolderKind::Gguf(own_names),
        () if has_extension("onnx") => FolderKind::Onnx,
        () if has_extension("xml") && has_extension("bin") => FolderKind::Other("a folder with an OpenVINO IR"),
        () if has("manifest.json") && has("data") => FolderKind::Other("a Core ML package"),
        () if has(CONFIG_NAME) || has("adapter_config.json") => FolderKind::Checkpoint,
        () => FolderKind::Unknown,
    })
}

/// Of several GGUF files, the ones that are models by their headers: an importance matrix or an adapter often lies beside a
/// model. All of them if none is a model or there are more than `MAX_OPENED`.
fn models_among(folder: &Path, mut names: Vec<OsString>) -> Vec<OsString> {
    if (2..=MAX_OPENED).contains(&names.len()) {
        let is_other = |name: &OsString| {
            summarize_gguf(&folder.join(name)).is_ok_and(|summary| other_kind(&summary.metadata, &summary.tensors).is_some())
        };
        let models: Vec<OsString> = names.iter().filter(|name| !is_other(name)).cloned().collect();
        if !models.is_empty() {
            names = models;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &[u8]) -> Result<Kind> {
        named("model.gguf", content)
    }

    fn named(name: &str, content: &[u8]) -> Result<Kind> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        kind_of(&path).map(|found| found.0)
    }

    #[test]
    fn known_formats_are_named() {
        let check = |content: &[u8], expected: &str| match of(content) {
            Err(Error::UnsupportedFormat { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        };
        check(b"<?xml version=\"1.0\"?>\n<net name=\"Model0\" version=\"11\">", "an OpenVINO IR file");
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
        check(b"G", "47");
        check(b"GGU", "47 47 55");
        check(b"{\"a\":1}", "7b 22 61 22 (JSON text)");
        check(b"<svg>", "3c 73 76 67 (XML text)");
        // A length that does not fit the file, and a JSON object: no safetensors.
        check(b"\xff\0\0\0\0\0\0\0{}", "ff 00 00 00");
    }

    #[test]
    fn what_lies_in_the_place_of_a_file_is_named() {
        let check = |content: &[u8], expected: Placeholder| match of(content) {
            Err(Error::Placeholder { found, .. }) => assert_eq!(found, expected),
            other => panic!("{expected:?}: {other:?}"),
        };
        check(b"", Placeholder::Empty);
        check(b"\n<!DOCTYPE HTML><title>404", Placeholder::Html);
        check(b"version https://git-lfs.github.com/spec/v1", Placeholder::LfsPointer);
        check(b"{\"error\":\"Repository not found\"}", Placeholder::Answer);
        check(b"PK\x03\x04 photos", Placeholder::Archive("a ZIP archive"));
        check(&[0; 5000], Placeholder::Zeros);
    }

    #[test]
    fn a_piece_of_a_file_is_called_one() {
        for content in [&b"GGUF"[..], b"\x07\x01\x02\x03"] {
            match named("big.gguf.part2of3", content) {
                Err(error @ Error::CutFile { .. }) => {
                    assert!(error.hint().contains("one file named big.gguf,"), "{}", error.hint());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_read_is_recognised_by_its_content() {
        assert_eq!(of(b"GGUF"), Ok(Kind::Gguf));
        assert_eq!(of(b"\x02\0\0\0\0\0\0\0{}"), Ok(Kind::Checkpoint));
        assert_eq!(named("config.json", b" {}"), Ok(Kind::Checkpoint));
        assert_eq!(named("model.safetensors.index.json", b"{}"), Ok(Kind::Checkpoint));
        assert!(matches!(named("other.json", b"{}"), Err(Error::UnknownFormat { .. })));
        assert!(matches!(named("config.json", b"nothing"), Err(Error::UnknownFormat { .. })));
    }

    #[test]
    fn an_onnx_file_is_recognised_by_its_first_fields() {
        let check = |name: &str, content: &[u8], expected: bool| {
            assert_eq!(named(name, content) == Ok(Kind::Onnx), expected, "{name} {content:?}");
        };
        check("m.gguf", b"\x08\x07\x12\x07pytorch", true);
        check("m", b"\x08\x08\x3a\xff\x01", true);
        check("m.pb", b"\x08\x01\x12\x40\x0a\x02", false); // TensorFlow
        check("m.pb", b"\x08\x01\x12\xff\x01", false);
        // Damaged: the reader says how.
        check("m.onnx", b"\xff\xff\xff\xff", true);
        check("m.onnx", b"<html>", false);
        check("m.onnx", b"{}", false);
        check("m.onnx", b"version https://git-lfs.github.com/spec/v1", false);
        check("m.onnx", b"", false);
        check("m.onnx", b"GGUF", false);
    }

    #[test]
    fn a_damaged_safetensors_file_is_left_to_its_reader() {
        let check = |content: &[u8], expected: bool| {
            assert_eq!(named("a.safetensors", content) == Ok(Kind::Checkpoint), expected, "{content:?}");
        };
        check(&[0xff; 8], true);
        check(b"GG", true);
        check(b"", false);
        check(b"<html>", false);
        check(b"version https://git-lfs.github.com/spec/v1", false);
        check(&[0; 5000], false);
    }

    #[test]
    fn pickles_are_refused() {
        let check = |content: &[u8], expected: &str| match named("pytorch_model.bin", content) {
            Err(Error::Pickle { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        };
        check(b"PK\x03\x04\0\0\x08\x08\0\0model/data.pkl", "a PyTorch checkpoint");
        check(b"\x80\x02\x8a\nl\xfc\x9cF", "an old PyTorch checkpoint");
    }

    #[test]
    fn folders_are_named() {
        let check = |names: &[&str], expected: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                std::fs::write(folder.path().join(name), "").unwrap();
            }
            match (kind_of(folder.path()).map(|found| found.0), expected) {
                (Ok(Kind::Checkpoint), Some("a checkpoint")) => {}
                (Err(Error::UnsupportedFormat { what, .. }), Some(expected)) => assert_eq!(what, expected),
                (Err(Error::NotAFile { kind, .. }), None) => assert_eq!(kind, "a folder"),
                other => panic!("{other:?}"),
            }
        };
        check(&[], None);
        check(&["config.json", "model-00001-of-00002.safetensors"], Some("a checkpoint"));
        check(&["config.json", "pytorch_model.bin"], Some("a checkpoint"));
        check(&["openvino_model.xml", "openvino_model.bin"], Some("a folder with an OpenVINO IR"));
        check(&["config.json"], Some("a checkpoint"));
        check(&["model.safetensors"], Some("a checkpoint"));
        check(&["adapter_config.json"], Some("a checkpoint"));
        check(&["notes.txt"], None);
    }

    #[test]
    fn a_folder_with_one_gguf_model_stands_for_it() {
        let check = |names: &[&str], expected: std::result::Result<&str, &[&str]>| {
            let folder = tempfile::tempdir().unwrap();
            let snapshot = folder.path().join("models--a--b/snapshots/1");
            std::fs::create_dir_all(&snapshot).unwrap();
            for name in names {
                std::fs::write(snapshot.join(name), "GGUF").unwrap();
            }
            for path in [&snapshot, &folder.path().join("models--a--b")] {
                match (kind_of(path), expected) {
                    (Ok((Kind::Gguf, path)), Ok(name)) => assert_eq!(*path, snapshot.join(name)),
                    (Err(Error::SeveralModels { names, .. }), Err(expected)) => assert_eq!(names, expected),
                    other => panic!("{other:?}"),
                }
            }
        };
        check(&["tiny-F32.gguf"], Ok("tiny-F32.gguf"));
        check(&["tiny.gguf", "mmproj-tiny.gguf", "config.json", "README.md"], Ok("tiny.gguf"));
        check(&["t-00001-of-00002.gguf", "t-00002-of-00002.gguf"], Ok("t-00001-of-00002.gguf"));
        check(&["b-Q4_K_M.gguf", "a-Q8_0.gguf"], Err(&["a-Q8_0.gguf", "b-Q4_K_M.gguf"]));
    }

    #[test]
    fn a_folder_with_an_onnx_model_stands_for_it() {
        let check = |names: &[&str], expected: std::result::Result<&str, &[&str]>| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                std::fs::write(folder.path().join(name), "\x08\x08\x3a\x01").unwrap();
            }
            match (kind_of(folder.path()), expected) {
                (Ok((Kind::Onnx, path)), Ok(name)) => assert_eq!(*path, folder.path().join(name)),
                (Err(Error::SeveralModels { names, .. }), Err(expected)) => assert_eq!(names, expected),
                other => panic!("{other:?}"),
            }
        };
        check(&["model.onnx", "model.onnx.data"], Ok("model.onnx"));
        check(&["config.json", "genai_config.json", "decoder.onnx"], Ok("decoder.onnx"));
        check(&["model.onnx", "model_int8.onnx"], Ok("model.onnx"));
        check(&["b.onnx", "A.ONNX"], Err(&["A.ONNX", "b.onnx"]));
    }

    #[cfg(unix)]
    #[test]
    fn the_name_of_the_only_gguf_file_may_be_any_bytes() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.gguf"));
        std::fs::write(&file, "GGUF").unwrap();
        let (kind, path) = kind_of(folder.path()).unwrap();
        assert_eq!((kind, path.as_ref()), (Kind::Gguf, file.as_path()));
    }

    #[test]
    fn a_matrix_beside_a_model_is_no_second_one() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, kind: &str| {
            let mut metadata = crate::model::Metadata::default();
            metadata.set("general.type", crate::model::Value::Str(kind.into()));
            let spec = super::super::TensorSpec { name: "t".into(), dtype: crate::model::DType::F32, shape: vec![8] };
            let mut header = super::super::Layout::plan(&metadata, &[spec], 32).unwrap().header;
            header.resize(header.len() + 32, 0);
            std::fs::write(folder.path().join(name), header).unwrap();
        };
        put("model.gguf", "model");
        put("imatrix.gguf", "imatrix");
        put("lora.gguf", "adapter");
        assert_eq!(*kind_of(folder.path()).unwrap().1, folder.path().join("model.gguf"));
        put("second.gguf", "model");
        assert!(
            matches!(kind_of(folder.path()), Err(Error::SeveralModels { names, .. }) if names == ["model.gguf", "second.gguf"])
        );
    }
}
