//! GGUF files on disk → model: one file, or all shards of a split model.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::gguf::{MAGIC, MAX_HEADER_BYTES};
use super::gguf_header::{self, Header};
use super::open::open_regular;
use super::shard_name::ShardName;
use super::{obstacles, warnings};
use crate::error::{Error, HEAD_BYTES, Placeholder, Result};
use crate::model::{DType, Hyperparameters, Metadata, Model, Tensor};
use crate::path_text::{self, shown};

const SPLIT_NO: &str = "split.no"; // from 0
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";
/// Most entries of a folder that are searched for the other parts of a split model.
const MAX_BESIDE: usize = 10_000;

/// Reads the header of a GGUF file; tensor data stays on disk.
///
/// A shard of a split model (`split.count` above 1) stands for the whole: all shards are opened by their names
/// `NAME-00001-of-00003.gguf`, whichever was picked.
///
/// # Errors
/// `Error::NotAFile` and `Error::Io` for what cannot be opened; `Error::Placeholder` for what stands in for a file that was not
/// fetched; `Error::Truncated`, `Error::Malformed`, `Error::UnsupportedVersion` for what cannot be read; `Error::MissingShard`
/// when a shard is not beside the picked one and `Error::MisnamedPart` for a shard whose name does not match its header.
pub fn read_gguf(path: &Path) -> Result<Model> {
    let picked = OneFile::read(path)?;
    let n_shards = picked.header.metadata.u64(SPLIT_COUNT).unwrap_or(1);
    let name = ShardName::parse(path);
    if n_shards <= 1 {
        let mut model = joined(vec![picked])?;
        if let Some(ShardName { number, count, .. }) = &name.filter(|name| name.count > 1) {
            model.warnings.push(format!("named as shard {number} of {count}, but its header says that it is a whole model"));
        }
        return Ok(model);
    }
    let malformed = |path: &Path, what: String| Error::Malformed { what, path: path.to_path_buf() };
    let number = picked.header.metadata.u64(SPLIT_NO).unwrap_or(0).saturating_add(1);
    let Some(name) = name.filter(|name| u64::from(name.count) == n_shards) else {
        let name = shown(Path::new(&own_name(path, number, n_shards)));
        return Err(Error::MisnamedPart { number, count: n_shards, name, path: path.to_path_buf() });
    };
    let mut picked = Some(picked);
    let mut shards = Vec::new();
    for number in 1..=name.count {
        let shard = match picked.take_if(|_| number == name.number) {
            Some(shard) => shard,
            None => match OneFile::read(&name.sibling(path, number)) {
                Err(Error::Io { kind: std::io::ErrorKind::NotFound, path, .. }) => {
                    return Err(Error::MissingShard { number, count: name.count, path });
                }
                read => read?,
            },
        };
        check_place(&shard, &name, number)?;
        shards.push(shard);
    }
    let n_promised = shards.first().and_then(|shard| shard.header.metadata.u64(SPLIT_TENSORS_COUNT));
    let model = joined(shards)?;
    if let Some(n_promised) = n_promised.filter(|&n| n != model.tensors.len() as u64) {
        let what = format!("{SPLIT_TENSORS_COUNT} is {n_promised}, but the shards hold {} tensors", model.tensors.len());
        return Err(malformed(path, what));
    }
    Ok(model)
}

/// The header of one GGUF file without its arrays.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Key-values in file order; those that hold arrays are left out.
    pub metadata: Metadata,
    /// Tensors in file order.
    pub tensors: Vec<Tensor>,
}

/// Reads the header of one GGUF file without its arrays: about ten times as fast as `read_gguf` where the vocabulary is large.
/// A shard of a split model is read alone.
///
/// # Errors
/// As `read_gguf`.
pub fn summarize_gguf(path: &Path) -> Result<Summary> {
    let OneFile { size_bytes, header, .. } = OneFile::read_by(path, gguf_header::parse_summary)?;
    Ok(Summary { size_bytes, metadata: header.metadata, tensors: header.tensors })
}

/// Refuses a part whose header states another number or count than its name, or none.
fn check_place(shard: &OneFile, name: &ShardName, number: u32) -> Result<()> {
    let says = |key: &str| shard.header.metadata.u64(key);
    let malformed = |what: String| Err(Error::Malformed { what, path: shard.path.clone() });
    match (says(SPLIT_NO), says(SPLIT_COUNT)) {
        (Some(no), Some(count)) if count == u64::from(name.count) && no < count => {
            let own = no + 1;
            if own == u64::from(number) {
                return Ok(());
            }
            let name = shown(Path::new(&name.named(own)));
            Err(Error::MisnamedPart { number: own, count, name, path: shard.path.clone() })
        }
        (Some(no), Some(count)) => {
            let own = no.saturating_add(1);
            malformed(format!("named as part {number} of {}, but its header says part {own} of {count}", name.count))
        }
        _ => malformed(format!("named as part {number} of {}, but its header does not say which part it is", name.count)),
    }
}

/// The name that a part should have: the name of the parts beside it with its own number, if those parts share one prefix, else
/// its current name with numbers added.
fn own_name(path: &Path, number: u64, count: u64) -> OsString {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(folder).into_iter().flatten().take(MAX_BESIDE).flatten();
    let mut names: Vec<ShardName> = beside
        .filter_map(|entry| ShardName::parse(Path::new(&entry.file_name())))
        .filter(|name| u64::from(name.count) == count && u64::from(name.number) != number)
        .collect();
    names.sort_by(|a, b| (&a.prefix, a.number).cmp(&(&b.prefix, b.number)));
    names.dedup_by(|a, b| a.prefix == b.prefix);
    match names.as_slice() {
        [name] => name.named(number),
        _ => ShardName { prefix: path_text::stem_of(path), number: 1, count: u32::try_from(count).unwrap_or(u32::MAX) }
            .named(number),
    }
}

/// A file and its header.
struct OneFile {
    path: PathBuf,
    size_bytes: u64,
    header: Header,
}

impl OneFile {
    fn read(path: &Path) -> Result<Self> {
        Self::read_by(path, gguf_header::parse)
    }

    fn read_by(path: &Path, parse: fn(&[u8], u64, &Path) -> Result<Header>) -> Result<Self> {
        let (file, size_bytes) = open_regular(path)?;
        let mapped_bytes = usize::try_from(size_bytes.min(MAX_HEADER_BYTES)).unwrap_or(0);
        let header = if mapped_bytes == 0 {
            return Err(Error::Placeholder { found: Placeholder::Empty, path: path.to_path_buf() });
        } else {
            let map = map::map_start(&file, mapped_bytes).map_err(Error::io("read", path))?;
            // The other parts of a split model have not been through `recognise`.
            let head = map.get(..HEAD_BYTES).unwrap_or(&map);
            if let Some(found) = Placeholder::of(head).filter(|_| !head.starts_with(&MAGIC)) {
                return Err(Error::Placeholder { found, path: path.to_path_buf() });
            }
            parse(&map, size_bytes, path)?
        };
        Ok(Self { path: path.to_path_buf(), size_bytes, header })
    }
}

/// One model from its files in shard order.
fn joined(files: Vec<OneFile>) -> Result<Model> {
    let mut files = files.into_iter();
    let Some(first) = files.next() else {
        return Err(Error::Internal { message: "a model without files".into() });
    };
    let Header { version, metadata, alignment, tensors, mut unknown, warnings } = first.header;
    let mut model = Model {
        path: first.path.clone(),
        files: vec![first.path],
        size_bytes: first.size_bytes,
        format_name: format!("GGUF v{version}"),
        alignment,
        hyperparameters: Hyperparameters::from_metadata(&metadata),
        metadata,
        tensors,
        warnings,
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: None,
        others: Vec::new(),
    };
    for file in files {
        let file_idx = model.files.len();
        unknown.extend(file.header.unknown);
        model.tensors.extend(file.header.tensors.into_iter().map(|mut tensor| {
            tensor.file_idx = file_idx;
            tensor
        }));
        model.size_bytes += file.size_bytes;
        model.warnings.extend(file.header.warnings.into_iter().map(|warning| format!("shard {}: {warning}", file_idx + 1)));
        model.files.push(file.path);
    }
    check_shards(&model)?;
    model.warnings.extend(warnings::of(&model));
    let found = obstacles::of(&model);
    model.warnings.extend(found.warnings);
    model.warnings.extend(found.unknown.iter().cloned());
    model.unknown = found.unknown;
    if !unknown.is_empty() {
        let named: Vec<String> =
            unknown.iter().map(|(name, id)| format!("{name} of type {}", DType::foreign_text(*id))).collect();
        let what = obstacles::n_tensors_text(unknown.len());
        model.obstacles.push(format!("{what} of a type that this version does not know: {}", obstacles::listed(&named)));
    }
    model.obstacles.extend(found.obstacles);
    Ok(model)
}

/// What holds for each file must hold for all together: unique names, a countable number of weights.
fn check_shards(model: &Model) -> Result<()> {
    let mut seen = HashSet::new();
    let mut n_weights: u64 = 0;
    for tensor in &model.tensors {
        let malformed = |what: String| Error::Malformed { what, path: model.path.clone() };
        if model.files.len() > 1 && !seen.insert(&tensor.name) {
            return Err(malformed(format!("tensor {} is in two shards", tensor.name)));
        }
        n_weights = n_weights
            .checked_add(tensor.n_elements())
            .ok_or_else(|| malformed("the tensors together have more than 2^64 weights".into()))?;
    }
    Ok(())
}

/// The only `unsafe` of the module.
#[allow(unsafe_code, reason = "a map cannot be made safely: somebody else may truncate the file meanwhile")]
pub(super) mod map {
    use std::fs::File;
    use std::io::Result;

    use memmap2::{Mmap, MmapOptions};

    /// The first `n_bytes` of a file as memory, read-only.
    pub(in crate::format) fn map_start(file: &File, n_bytes: usize) -> Result<Mmap> {
        // SAFETY: the map is private to `OneFile::read_by`, `read_safetensors`, `is_saved_by_mlx`, `read_summary` and `inspect_onnx`, is only
        // read as plain bytes that are all checked, and is dropped when the header is parsed, some milliseconds later. Should the file be
        // truncated in that time, the process ends with SIGBUS, which is not undefined behaviour. Tensor data, which takes
        // minutes to read, is never read through a map (see `TensorReader`).
        unsafe { MmapOptions::new().len(n_bytes).map(file) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_header::Raw;
    use super::*;

    /// A shard with one tensor of 32 bytes, written as `name`; `split` is `(no, count, tensors)`.
    fn shard(folder: &Path, name: &str, tensor: &str, split: Option<(u32, u32, u32)>) -> PathBuf {
        let raw = match split {
            Some((no, count, n_tensors)) => Raw::file(3, 1, 3)
                .text("split.no")
                .u32(4)
                .u32(no)
                .text("split.count")
                .u32(4)
                .u32(count)
                .text("split.tensors.count")
                .u32(4)
                .u32(n_tensors),
            None => Raw::file(3, 1, 0),
        };
        let path = folder.join(name);
        std::fs::write(&path, raw.tensor(tensor, &[8], 0, 0).data(32, 32).0).unwrap();
        path
    }

    #[test]
    fn any_shard_opens_the_whole_model() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [("m-00001-of-00003.gguf", "a", 0), ("m-00002-of-00003.gguf", "b", 1), ("m-00003-of-00003.gguf", "c", 2)]
            .map(|(name, tensor, no)| shard(folder.path(), name, tensor, Some((no, 3, 3))));
        let size_bytes: u64 = paths.iter().map(|path| path.metadata().unwrap().len()).sum();
        for path in &paths {
            let model = read_gguf(path).unwrap();
            assert_eq!((&model.path, &model.files[..], model.size_bytes), (&paths[0], &paths[..], size_bytes));
            let tensors: Vec<_> = model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.file_idx)).collect();
            assert_eq!(tensors, [("a", 0), ("b", 1), ("c", 2)]);
            assert_eq!(model.file_stem(), "m");
        }
    }

    #[test]
    fn shards_that_do_not_fit_together_are_refused() {
        let check = |first: (&str, (u32, u32, u32)), second: (&str, (u32, u32, u32)), expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            let picked = shard(folder.path(), "m-00001-of-00002.gguf", first.0, Some(first.1));
            shard(folder.path(), "m-00002-of-00002.gguf", second.0, Some(second.1));
            let message = read_gguf(&picked).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        let good = ("b", (1, 2, 2));
        check(("a", (1, 2, 2)), good, "this is part 2 of 2 of a split model, but its name does not say so: ");
        check(("a", (0, 2, 2)), ("b", (0, 2, 2)), "this is part 1 of 2 of a split model, but its name does not say so: ");
        check(("a", (0, 2, 2)), ("b", (1, 3, 2)), "damaged GGUF, named as part 2 of 2, but its header says part 2 of 3");
        check(("a", (0, 2, 5)), good, "damaged GGUF, split.tensors.count is 5, but the shards hold 2 tensors");
        check(("b", (0, 2, 2)), good, "damaged GGUF, tensor b is in two shards");
        check(("a", (0, 3, 2)), good, "this is part 1 of 3 of a split model, but its name does not say so: ");
        check(("a", (0, u32::MAX, 2)), good, "this is part 1 of 4294967295 of a split model, but its name does not say so: ");
    }

    #[test]
    fn a_renamed_part_is_told_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let hint = |path: &Path| read_gguf(path).unwrap_err().hint();
        let alone = shard(folder.path(), "first.gguf", "a", Some((0, 2, 2)));
        assert!(hint(&alone).contains("its name, first-00001-of-00002.gguf,"), "{}", hint(&alone));
        // The part beside it knows the name.
        shard(folder.path(), "m-00002-of-00002.gguf", "b", Some((1, 2, 2)));
        assert!(hint(&alone).contains("its name, m-00001-of-00002.gguf,"), "{}", hint(&alone));
        // Swapped numbers.
        let swapped = shard(folder.path(), "x-00001-of-00002.gguf", "a", Some((1, 2, 2)));
        assert!(hint(&swapped).contains("its name, x-00002-of-00002.gguf,"), "{}", hint(&swapped));
    }

    #[cfg(unix)]
    #[test]
    fn parts_are_found_whatever_bytes_their_names_begin_with() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        for (idx, tensor) in ["a", "b"].into_iter().enumerate() {
            let no = u32::try_from(idx).unwrap();
            let made = shard(folder.path(), "made", tensor, Some((no, 2, 2)));
            let name = [b"caf\xe9-0000", (idx + 1).to_string().as_bytes(), b"-of-00002.gguf"].concat();
            std::fs::rename(made, folder.path().join(std::ffi::OsStr::from_bytes(&name))).unwrap();
        }
        let picked = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9-00002-of-00002.gguf"));
        let model = read_gguf(&picked).unwrap();
        assert_eq!(model.files.len(), 2);
        assert_eq!(model.file_stem_os(), std::ffi::OsStr::from_bytes(b"caf\xe9"));
    }

    #[test]
    fn a_part_that_was_not_fetched_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let picked = shard(folder.path(), "m-00001-of-00002.gguf", "a", Some((0, 2, 2)));
        let path = folder.path().join("m-00002-of-00002.gguf");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123456789\n").unwrap();
        let error = read_gguf(&picked).unwrap_err();
        assert_eq!(error, Error::Placeholder { found: Placeholder::LfsPointer, path });
        assert!(error.hint().contains("git lfs pull"), "{}", error.hint());
    }

    #[test]
    fn a_missing_shard_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let picked = shard(folder.path(), "m-00002-of-00003.gguf", "b", Some((1, 3, 3)));
        shard(folder.path(), "m-00001-of-00003.gguf", "a", Some((0, 3, 3)));
        let path = folder.path().join("m-00003-of-00003.gguf");
        assert_eq!(read_gguf(&picked), Err(Error::MissingShard { number: 3, count: 3, path }));
    }

    #[test]
    fn the_header_decides_whether_a_model_is_split() {
        let folder = tempfile::tempdir().unwrap();
        let model = read_gguf(&shard(folder.path(), "m-00001-of-00002.gguf", "a", None)).unwrap();
        assert_eq!(model.files.len(), 1);
        let expected = "named as shard 1 of 2, but its header says that it is a whole model";
        assert!(model.warnings.iter().any(|warning| warning == expected), "{:?}", model.warnings);
        let model = read_gguf(&shard(folder.path(), "m-00001-of-00001.gguf", "a", Some((0, 1, 1)))).unwrap();
        assert!(!model.warnings.iter().any(|warning| warning.starts_with("named")), "{:?}", model.warnings);
    }

    #[test]
    fn oddities_are_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.gguf");
        let name = "n".repeat(64);
        let raw = Raw::file(3, 1, 1).text("general.type").u32(8).text("novel").tensor(&name, &[8], 0, 0).data(32, 40);
        std::fs::write(&path, raw.0).unwrap();
        let expected = [
            "8 bytes after the last tensor are not used",
            "architecture unknown: general.architecture is missing, llama.cpp cannot run it",
            "general.type says \"novel\", not \"model\"",
            &format!("tensor name {name} is longer than 63 bytes: llama.cpp refuses such a file"),
            "tokenizer missing: text cannot be turned into tokens, llama.cpp cannot run it",
        ];
        assert_eq!(read_gguf(&path).unwrap().warnings, expected);
        let raw = Raw::file(3, 1, 1).text("general.type").u32(8).text("adapter").tensor("t", &[8], 0, 0).data(32, 32);
        std::fs::write(&path, raw.0).unwrap();
        assert_eq!(read_gguf(&path).unwrap().warnings, ["this is not a language model but a LoRA adapter"]);
        std::fs::write(&path, Raw::file(3, 0, 0).0).unwrap();
        assert!(read_gguf(&path).unwrap().warnings.iter().any(|warning| warning.starts_with("no weights")));
    }

    #[test]
    fn a_summary_is_the_header_without_its_arrays() {
        let folder = tempfile::tempdir().unwrap();
        let path = crate::convert::unpack_sample(folder.path()).unwrap();
        let model = crate::convert::open_model(&path).unwrap();
        let request = crate::convert::ConvertRequest::new(vec![crate::model::Level::Q8_0], folder.path());
        let made = crate::convert::convert(&model, &request, &crate::Monitor::silent()).unwrap();
        let whole = read_gguf(&made[0].path).unwrap();
        let summary = summarize_gguf(&made[0].path).unwrap();
        assert_eq!((summary.size_bytes, &summary.tensors), (whole.size_bytes, &whole.tensors));
        let mut scalars = whole.metadata.clone();
        scalars.0.retain(|(_, value)| !matches!(value, crate::model::Value::Array(_)));
        assert!(scalars.0.len() < whole.metadata.0.len());
        assert_eq!(summary.metadata, scalars);
    }

    #[test]
    fn an_empty_file_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.gguf");
        std::fs::write(&path, "").unwrap();
        assert_eq!(read_gguf(&path).unwrap_err(), Error::Placeholder { found: Placeholder::Empty, path });
    }

    #[cfg(unix)]
    #[test]
    fn a_sparse_file_cannot_fill_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse.gguf");
        std::fs::write(&path, Raw::file(3, 0, 1).text("key").u32(9).u32(0).u64(1 << 39).0).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        let message = read_gguf(&path).unwrap_err().to_string();
        assert!(message.contains("makes the header longer than"), "{message}");
    }
}
