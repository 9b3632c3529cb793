//! ONNX files on the disk → checked messages.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;

use super::external::{DataFiles, is_external};
use super::graph::{Survey, survey};
use super::proto::{FunctionProto, ModelProto, OperatorSetIdProto, TensorProto};
use super::wire::{self, FORMAT, UnknownField};
use super::{domain_name, label, network, tensor};
use crate::error::{Error, HEAD_BYTES, Placeholder, Result};
use crate::format::gguf_reader::map::map_start;
use crate::format::hub_cache::snapshot_of;
use crate::format::open::open_regular;
use crate::format::read_exact_at;
use crate::model::{OnnxNetwork, OnnxPlace, OnnxTensor};
use crate::path_text;

/// Largest protocol buffer that programs read.
///
/// Source: <https://protobuf.dev/programming-guides/proto-limits/>.
pub(super) const MAX_FILE_BYTES: u64 = (2 << 30) - 1;
/// Newest version of the format that onnx.proto here describes.
pub(super) const NEWEST_IR_VERSION: i64 = super::proto::Version::IrVersion as i64;
/// The first version that states which operators it uses.
const FIRST_WITH_OPSETS: i64 = 3;
/// The name of the model among several ONNX files.
const MODEL_NAME: &str = "model.onnx";
/// Most entries of a folder that are looked at.
const MAX_FOLDER_ENTRIES: usize = 10_000;

/// An ONNX file that has been read and checked. Data of tensors are views of the file's bytes, or stay in the files beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxFile {
    /// The `.onnx` file.
    pub path: PathBuf,
    /// The `.onnx` file, then the files with weights, in the order in which tensors refer to them.
    pub files: Vec<PathBuf>,
    /// Size of all files together, in bytes.
    pub size_bytes: u64,
    /// All that it says.
    pub model: ModelProto,
    /// Initializers and tensors in attributes of all graphs, each checked against its type, shape and place.
    pub tensors: Vec<OnnxTensor>,
    /// Kinds of fields that onnx.proto does not define, which `model` has lost; at most 16.
    pub unknown_fields: Vec<UnknownField>,
    /// What is odd but no reason to refuse it.
    pub warnings: Vec<String>,
    pub(super) survey: Survey,
}

impl OnnxFile {
    /// Refuses a file that cannot be written again without loss.
    ///
    /// # Errors
    /// `Error::CannotRewrite` for a file with fields that Planish does not know.
    pub fn check_rewritable(&self) -> Result<()> {
        match self.unknown_fields.first() {
            None => Ok(()),
            Some(field) => Err(Error::CannotRewrite {
                what: format!("field {} of {}", field.number, field.message),
                path: self.path.clone(),
            }),
        }
    }

    /// The values of one of its tensors as `raw_data` would hold them: little-endian, row after row, elements of less than a
    /// byte packed from the lowest bits up. Raw data are not copied.
    ///
    /// # Errors
    /// `Error::DamagedFile` for texts and for numbers that do not fit their type; `Error::SourceChanged` and `Error::Io` for
    /// a file that cannot be read any more.
    pub fn data(&self, tensor: &TensorProto) -> Result<Bytes> {
        let damaged = |what: String| {
            let what = format!("tensor {} {what}", label(tensor.name()));
            Error::DamagedFile { format: FORMAT, what, path: self.path.clone() }
        };
        if !is_external(tensor) {
            return tensor::own_bytes(tensor).map_err(damaged);
        }
        let mut files = DataFiles::new(&self.path, 0);
        let found = tensor::checked(tensor, tensor.name(), &mut files, &self.path)?;
        let OnnxPlace::External { file_idx, offset } = found.place else { return Ok(Bytes::new()) };
        let path = files.files.get(file_idx).unwrap_or(&self.path);
        let (file, _) = open_regular(path)?;
        let mut data = zeros(found.size_bytes, path)?;
        read_exact_at(&file, &mut data, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::SourceChanged { path: path.clone() },
            _ => Error::io("read", path)(error),
        })?;
        Ok(data.into())
    }
}

/// Reads an ONNX file, or the one in a folder: `model.onnx`, or the only one.
///
/// The file's bytes are kept in memory, all others stay on the disk. Decoding takes at most 64 MiB and three times the file's
/// size.
///
/// # Errors
/// `Error::DamagedFile` and `Error::Truncated` for what contradicts the format, `Error::TooLargeForOnnx` for more than 2 GiB,
/// `Error::MissingWeights` for a file with weights that is not there, `Error::Placeholder` for what stands in for a file that
/// was not fetched, `Error::SeveralModels` for a folder with several, `Error::NotAFile` and `Error::Io` for what cannot be
/// opened.
pub fn read_onnx(path: &Path) -> Result<OnnxFile> {
    let path = file_at(path)?;
    let (mut file, size_bytes) = open_checked(&path)?;
    let mut content = zeros(size_bytes, &path)?;
    file.read_exact(&mut content).map_err(Error::io("read", &path))?;
    parse(content.into(), &path)
}

/// What an ONNX file holds; its bytes are not kept.
///
/// # Errors
/// As `read_onnx`.
pub(in crate::format) fn inspect_onnx(path: &Path) -> Result<OnnxNetwork> {
    let path = file_at(path)?;
    let (file, size_bytes) = open_checked(&path)?;
    let map = map_start(&file, usize::try_from(size_bytes).unwrap_or(0)).map_err(Error::io("read", &path))?;
    parse(Bytes::from_owner(map), &path).map(|file| network::network(&file))
}

/// A file of a size that a protocol buffer may have, with that size.
fn open_checked(path: &Path) -> Result<(File, u64)> {
    let (file, size_bytes) = open_regular(path)?;
    if size_bytes == 0 {
        return Err(Error::Placeholder { found: Placeholder::Empty, path: path.to_path_buf() });
    }
    if size_bytes > MAX_FILE_BYTES {
        return Err(Error::TooLargeForOnnx { size_bytes, path: path.to_path_buf() });
    }
    Ok((file, size_bytes))
}

/// Memory for bytes that a file has; its size has been checked.
fn zeros(n_bytes: u64, path: &Path) -> Result<Vec<u8>> {
    let no_memory = || Error::io("read", path)(std::io::ErrorKind::OutOfMemory.into());
    let n_bytes = usize::try_from(n_bytes).map_err(|_| no_memory())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(n_bytes).map_err(|_| no_memory())?;
    bytes.resize(n_bytes, 0);
    Ok(bytes)
}

/// The file itself, or the ONNX file in a folder.
fn file_at(path: &Path) -> Result<Cow<'_, Path>> {
    if path.is_dir() { only_onnx_file(&snapshot_of(path)?.path).map(Cow::Owned) } else { Ok(Cow::Borrowed(path)) }
}

/// The ONNX file in a folder: `model.onnx`, or the only one.
///
/// # Errors
/// `Error::SeveralModels` for several, `Error::NotAFile` for none.
pub(in crate::format) fn only_onnx_file(folder: &Path) -> Result<PathBuf> {
    let mut names: Vec<OsString> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("open", folder))?.take(MAX_FOLDER_ENTRIES) {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
            names.push(name);
        }
    }
    names.sort();
    match names.as_slice() {
        [] => Err(Error::NotAFile { kind: "a folder", path: folder.to_path_buf() }),
        [only] => Ok(folder.join(only)),
        _ if names.iter().any(|name| name == MODEL_NAME) => Ok(folder.join(MODEL_NAME)),
        _ => {
            let names = names.iter().map(|name| path_text::shown(Path::new(name))).collect();
            Err(Error::SeveralModels { names, path: folder.to_path_buf() })
        }
    }
}

/// Checks and decodes the bytes of the file at `path`.
///
/// # Errors
/// As `read_onnx`.
pub(super) fn parse(content: Bytes, path: &Path) -> Result<OnnxFile> {
    // Only after checking has failed: a sound file may begin like anything.
    let told = |error| {
        let head = content.get(..HEAD_BYTES).unwrap_or(&content);
        Placeholder::of(head).map_or(error, |found| Error::Placeholder { found, path: path.to_path_buf() })
    };
    let unknown_fields = wire::check(&content, path).map_err(told)?;
    let n_bytes = content.len() as u64;
    let damaged = |what: String| Error::DamagedFile { format: FORMAT, what, path: path.to_path_buf() };
    let model = ModelProto::decode(content).map_err(|error| damaged(error.to_string()))?;
    let mut warnings = check_versions(&model).map_err(damaged)?;
    let mut files = DataFiles::new(path, n_bytes);
    let mut survey = survey(&model, &mut files, path)?;
    warnings.append(&mut survey.warnings);
    warnings.extend(unimported(&model, &survey));
    if !model.training_info.is_empty() {
        warnings.push("it has instructions for training, which are not looked at".into());
    }
    if let Some(field) = unknown_fields.first() {
        let (number, message) = (field.number, field.message);
        warnings.push(format!("it has fields that this version of Planish does not know (field {number} of {message})"));
    }
    let (size_bytes, tensors) = (files.size_bytes(), std::mem::take(&mut survey.tensors));
    Ok(OnnxFile { path: path.to_path_buf(), files: files.files, size_bytes, model, tensors, unknown_fields, warnings, survey })
}

/// Checks which version of the format and of its operators a model states; returns what is odd.
fn check_versions(model: &ModelProto) -> std::result::Result<Vec<String>, String> {
    let version = model.ir_version();
    let mut warnings = Vec::new();
    if version < 1 {
        return Err(format!("its IR version is {version}"));
    }
    if version > NEWEST_IR_VERSION {
        warnings.push(format!("its IR version is {version}, this version of Planish knows up to {NEWEST_IR_VERSION}"));
    }
    if model.opset_import.is_empty() && version >= FIRST_WITH_OPSETS {
        return Err("it does not say which version of the operators it uses; the end of the file may be missing".into());
    }
    let mut seen: Vec<(&str, i64)> = Vec::new();
    for opset in &model.opset_import {
        let (domain, version) = (domain_name(opset.domain()), opset.version());
        if version < 1 {
            return Err(format!("it uses version {version} of the operators of {}", label(domain)));
        }
        match seen.iter().find(|known| known.0 == domain) {
            Some(known) if known.1 != version => {
                return Err(format!("it uses versions {} and {version} of the operators of {}", known.1, label(domain)));
            }
            Some(_) => {}
            None => seen.push((domain, version)),
        }
    }
    Ok(warnings)
}

/// A warning for operators of domains that the model does not import.
fn unimported(model: &ModelProto, survey: &Survey) -> Option<String> {
    let of_functions = model.functions.iter().flat_map(|function| &function.opset_import);
    let imported = model.opset_import.iter().chain(of_functions).map(OperatorSetIdProto::domain);
    let known: Vec<&str> = imported.chain(model.functions.iter().map(FunctionProto::domain)).map(domain_name).collect();
    let is_old = model.opset_import.is_empty();
    let ((domain, name), _) = survey.operators.iter().find(|((domain, _), _)| !is_old && !known.contains(&domain.as_str()))?;
    Some(format!("it uses {} of {} without saying which version", label(name), label(domain)))
}
