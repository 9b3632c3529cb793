//! Weights in files beside an ONNX file: reading the references to them, and writing some.
//!
//! Source: `external_data` of `TensorProto` in onnx.proto, onnx 1.23.2.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use super::label;
use super::proto::tensor_proto::DataLocation;
use super::proto::{StringStringEntryProto, TensorProto};
use super::wire::FORMAT;
use crate::error::{Error, HEAD_BYTES, Placeholder, Result};
use crate::format::open::open_regular;
use crate::model::OnnxPlace;
use crate::path_text;

/// Data in a file of their own begin at multiples of this many bytes, so that they can be mapped.
pub const EXTERNAL_ALIGNMENT: u64 = 4096;
/// Most files that tensors refer to, by their names; some programs write one for each tensor.
const MAX_LOCATIONS: usize = 10_000;
const LOCATION: &str = "location";
const OFFSET: &str = "offset";
const LENGTH: &str = "length";

/// True for a tensor whose data are in another file.
#[must_use]
pub fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

/// Lays out the data of tensors in one file, one after the other, each at a multiple of `EXTERNAL_ALIGNMENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalLayout {
    location: String,
    end: u64,
}

impl ExternalLayout {
    /// The layout of an empty file.
    ///
    /// `location` is its name, in the folder of the ONNX file.
    ///
    /// # Errors
    /// `Error::BadRequest` for anything but a plain name.
    pub fn new(location: impl Into<String>) -> Result<Self> {
        let location = location.into();
        if !crate::format::open::is_plain_name(&location) {
            return Err(Error::BadRequest { message: format!("{location:?} is no name for a file with weights") });
        }
        Ok(Self { location, end: 0 })
    }

    /// Makes a tensor refer to the next `size_bytes` of the file instead of holding data of its own; returns the position of
    /// the first.
    ///
    /// # Errors
    /// `Error::Internal` where positions overflow.
    pub fn place(&mut self, tensor: &mut TensorProto, size_bytes: u64) -> Result<u64> {
        let offset = self.end.checked_next_multiple_of(EXTERNAL_ALIGNMENT);
        let place = offset.and_then(|offset| Some((offset, offset.checked_add(size_bytes)?)));
        let Some((offset, end)) = place else {
            return Err(Error::Internal { message: format!("{} would be longer than 2^64 bytes", self.location) });
        };
        self.end = end;
        set_external(tensor, &self.location, offset, size_bytes);
        Ok(offset)
    }

    /// Size of the file in bytes, as far as it has been laid out.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.end
    }
}

/// Makes a tensor refer to bytes of another file; data of its own are dropped.
pub fn set_external(tensor: &mut TensorProto, location: &str, offset: u64, size_bytes: u64) {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    tensor.external_data =
        vec![entry(LOCATION, location.into()), entry(OFFSET, offset.to_string()), entry(LENGTH, size_bytes.to_string())];
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.int32_data.clear();
    tensor.int64_data.clear();
    tensor.uint64_data.clear();
    tensor.double_data.clear();
    tensor.string_data.clear();
}

/// What a tensor says about where its data are.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    location: &'a str,
    offset: u64,
    size_bytes: Option<u64>,
}

fn reference(tensor: &TensorProto) -> std::result::Result<Reference<'_>, String> {
    let mut found: [Option<&str>; 3] = [None; 3];
    for entry in &tensor.external_data {
        let key = entry.key.as_deref().unwrap_or_default();
        let Some(idx) = [LOCATION, OFFSET, LENGTH].iter().position(|known| *known == key) else { continue };
        if found[idx].replace(entry.value.as_deref().unwrap_or_default()).is_some() {
            return Err(format!("states its {key} twice"));
        }
    }
    let number = |key: &str, text: &str| {
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| is_decimal).ok_or_else(|| format!("has the {key} {}", label(text)))
    };
    let [location, offset, length] = found;
    Ok(Reference {
        location: location.ok_or("does not say in which file its data are")?,
        offset: offset.map_or(Ok(0), |text| number(OFFSET, text))?,
        size_bytes: length.map(|text| number(LENGTH, text)).transpose()?,
    })
}

/// True for a path that leads from a folder to something in it, on every system.
fn stays_inside(location: &str) -> bool {
    let is_inner = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !location.is_empty()
        && !location.contains(['\\', ':'])
        && !location.chars().any(char::is_control)
        && Path::new(location).components().all(is_inner)
}

/// The files that hold weights for an ONNX file, each opened once.
pub(super) struct DataFiles<'a> {
    /// The ONNX file.
    path: &'a Path,
    /// The ONNX file, then the others in the order in which tensors refer to them.
    pub(super) files: Vec<PathBuf>,
    /// Their sizes in bytes.
    sizes: Vec<u64>,
    by_location: HashMap<String, usize>,
    /// The same by where links lead to: two names may mean one file.
    by_real_path: HashMap<PathBuf, usize>,
    /// Where the ONNX file lies: its folder, and for a link the folder of the file that it leads to.
    real_folders: Vec<PathBuf>,
}

impl<'a> DataFiles<'a> {
    /// No file but the ONNX file itself, which has this many bytes.
    pub(super) fn new(path: &'a Path, size_bytes: u64) -> Self {
        let folder = folder_of(path);
        let beside_file = path.canonicalize().ok().and_then(|real| real.parent().map(Path::to_path_buf));
        let real_folders = folder.canonicalize().ok().into_iter().chain(beside_file).collect();
        Self {
            path,
            files: vec![path.to_path_buf()],
            sizes: vec![size_bytes],
            by_location: HashMap::new(),
            by_real_path: HashMap::new(),
            real_folders,
        }
    }

    /// Size of all files together, in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.sizes.iter().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Where the data of a tensor are, which has `size_bytes` by its type and shape.
    ///
    /// # Errors
    /// `Error::DamagedFile` for a reference that makes no sense or leaves the folder; `Error::MissingWeights`,
    /// `Error::Truncated` and `Error::Placeholder` for a file that is not there or too short; else as `open_regular`.
    pub(super) fn place(&mut self, tensor: &TensorProto, name: &str, size_bytes: u64) -> Result<OnnxPlace> {
        let damaged = |what: String| Error::DamagedFile { format: FORMAT, what, path: self.path.to_path_buf() };
        let found = reference(tensor).map_err(|what| damaged(format!("tensor {} {what}", label(name))))?;
        if found.size_bytes.is_some_and(|own| own != size_bytes) {
            let own = found.size_bytes.unwrap_or(0);
            let what = format!("tensor {} needs {size_bytes} bytes, but refers to {own}", label(name));
            return Err(damaged(what));
        }
        let file_idx = match self.by_location.get(found.location) {
            Some(&file_idx) => file_idx,
            None => self.open(found.location, name)?,
        };
        let file_bytes = self.sizes.get(file_idx).copied().unwrap_or(0);
        let left = file_bytes.saturating_sub(found.offset);
        if found.offset.checked_add(size_bytes).is_some_and(|end| end <= file_bytes) {
            return Ok(OnnxPlace::External { file_idx, offset: found.offset });
        }
        let path = self.files.get(file_idx).cloned().unwrap_or_default();
        Err(placeholder(&path).unwrap_or(Error::Truncated {
            what: format!("tensor {}", label(name)),
            needed: size_bytes,
            left,
            path,
        }))
    }

    fn open(&mut self, location: &str, name: &str) -> Result<usize> {
        let outside = || Error::DamagedFile {
            format: FORMAT,
            what: format!(
                "tensor {} refers to {}, outside the folder of the file, which is never opened",
                label(name),
                label(location)
            ),
            path: self.path.to_path_buf(),
        };
        if !stays_inside(location) {
            return Err(outside());
        }
        if self.by_location.len() == MAX_LOCATIONS {
            let what = format!("its tensors refer to more than {MAX_LOCATIONS} files");
            return Err(Error::DamagedFile { format: FORMAT, what, path: self.path.to_path_buf() });
        }
        let path = folder_of(self.path).join(location);
        let (_, size_bytes) = open_regular(&path).map_err(|error| match error {
            Error::Io { kind: ErrorKind::NotFound, .. } => {
                Error::MissingWeights { name: path_text::shown(Path::new(location)), path: self.path.to_path_buf() }
            }
            other => other,
        })?;
        let real = path.canonicalize().map_err(Error::io("open", &path))?;
        if !self.real_folders.iter().any(|folder| real.starts_with(folder)) {
            return Err(outside());
        }
        let n_files = self.files.len();
        let file_idx = *self.by_real_path.entry(real).or_insert(n_files);
        if file_idx == n_files {
            self.files.push(path);
            self.sizes.push(size_bytes);
        }
        self.by_location.insert(location.into(), file_idx);
        Ok(file_idx)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error for what stands in for a file that was not fetched.
fn placeholder(path: &Path) -> Option<Error> {
    let (file, _) = open_regular(path).ok()?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    // Weights may begin with zeros, and an empty file is told by its length.
    let found = Placeholder::of(&head).filter(|found| !matches!(found, Placeholder::Zeros | Placeholder::Empty))?;
    Some(Error::Placeholder { found, path: path.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_into_the_folder_are_followed() {
        let check = |location: &str, expected: bool| assert_eq!(stays_inside(location), expected, "{location:?}");
        check("model.onnx.data", true);
        check("weights/a.bin", true);
        check("./a.bin", true);
        check("a..b", true);
        check("", false);
        check("..", false);
        check("../a.bin", false);
        check("weights/../../a.bin", false);
        check("/etc/passwd", false);
        check("C:\\a.bin", false);
        check("C:a.bin", false);
        check("..\\a.bin", false);
        check("a\0b", false);
    }

    #[test]
    fn references_are_decimal() {
        let check = |entries: &[(&str, &str)], expected: std::result::Result<(u64, Option<u64>), &str>| {
            let entry =
                |&(key, value): &(&str, &str)| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
            let tensor = TensorProto { external_data: entries.iter().map(entry).collect(), ..TensorProto::default() };
            let found = reference(&tensor).map(|found| (found.offset, found.size_bytes));
            assert_eq!(found, expected.map_err(str::to_string));
        };
        let file = ("location", "a.bin");
        check(&[file], Ok((0, None)));
        check(&[("length", "12"), ("offset", "4096"), file, ("checksum", "x")], Ok((4096, Some(12))));
        check(&[file, ("offset", "18446744073709551615")], Ok((u64::MAX, None)));
        check(&[], Err("does not say in which file its data are"));
        check(&[file, file], Err("states its location twice"));
        for text in ["-1", "+1", "", "0x10", " 1", "18446744073709551616", "1e3"] {
            check(&[file, ("offset", text)], Err(&format!("has the offset {text:?}")));
        }
    }

    #[test]
    fn data_are_laid_out_in_pages() {
        let mut layout = ExternalLayout::new("m.onnx.data").unwrap();
        let mut tensor = TensorProto { raw_data: Some(bytes::Bytes::from_static(&[1; 5])), ..TensorProto::default() };
        assert_eq!(layout.place(&mut tensor, 5), Ok(0));
        assert!(is_external(&tensor) && tensor.raw_data.is_none());
        assert_eq!(layout.place(&mut tensor, 5000), Ok(4096));
        assert_eq!(layout.place(&mut tensor, 0), Ok(12288));
        assert_eq!(layout.size_bytes(), 12288);
        assert_eq!(reference(&tensor), Ok(Reference { location: "m.onnx.data", offset: 12288, size_bytes: Some(0) }));
        assert!(layout.place(&mut tensor, u64::MAX).is_err());
        assert!(ExternalLayout::new("../a").is_err() && ExternalLayout::new("a/b").is_err());
    }
}
