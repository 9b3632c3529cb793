//! Importance matrices of both formats, right, odd and hostile.

use std::path::Path;

use super::gguf_writer::{Layout, TensorSpec};
use super::{Imatrix, read_imatrix};
use crate::error::{Error, Result};
use crate::model::{Array, DType, Metadata, Tensor, Text, Value};

fn read(bytes: &[u8]) -> Result<Imatrix> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.imatrix");
    std::fs::write(&path, bytes).unwrap();
    read_imatrix(&path)
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let message = read(bytes).expect_err(expected).to_string();
    assert!(message.starts_with(expected), "{message}");
}

/// A GGUF file of `(name, shape, f32 values)`.
fn gguf(kind: &str, dtype: DType, tensors: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.set("general.type", Value::Str(kind.into()));
    metadata.set("imatrix.datasets", Value::Array(Array::Str(vec!["calm.txt".into(), "wild.txt".into()])));
    metadata.set("imatrix.chunk_count", Value::U32(12));
    metadata.set("imatrix.chunk_size", Value::U32(512));
    let spec = |(name, shape, _): &(&str, &[u64], &[f32])| TensorSpec { name: (*name).into(), dtype, shape: shape.to_vec() };
    let specs: Vec<_> = tensors.iter().map(spec).collect();
    let layout = Layout::plan(&metadata, &specs, 32).unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_size_bytes.try_into().unwrap(), 0);
    for ((_, _, values), placed) in tensors.iter().zip(&layout.tensors) {
        let start = usize::try_from(placed.offset).unwrap();
        let width = if dtype == DType::F32 { 4 } else { 2 };
        for (place, value) in bytes[start..].chunks_mut(width).zip(*values) {
            place.copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    bytes
}

fn imatrix_gguf(tensors: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    gguf("imatrix", DType::F32, tensors)
}

/// A `.dat` file of `(name, calls, values)`, without the optional end.
fn dat(entries: &[(&str, i32, &[f32])]) -> Vec<u8> {
    let number = |n: usize| i32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = number(entries.len()).to_vec();
    for (name, n_calls, values) in entries {
        bytes.extend(number(name.len()));
        bytes.extend(name.as_bytes());
        bytes.extend(n_calls.to_le_bytes());
        bytes.extend(number(values.len()));
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

fn with_end(mut bytes: Vec<u8>, n_chunks: i32, dataset: &str) -> Vec<u8> {
    bytes.extend(n_chunks.to_le_bytes());
    bytes.extend(i32::try_from(dataset.len()).unwrap().to_le_bytes());
    bytes.extend(dataset.as_bytes());
    bytes
}

#[test]
fn a_gguf_gives_means_of_squares_for_each_expert() {
    let bytes = imatrix_gguf(&[
        ("a.in_sum2", &[3, 2], &[2.0, 4.0, 0.0, 9.0, 6.0, 3.0]),
        ("a.counts", &[1, 2], &[2.0, 3.0]),
        ("b.counts", &[1, 1], &[4.0]),
        ("b.in_sum2", &[2, 1], &[4.0, 1.0]),
    ]);
    let imatrix = read(&bytes).unwrap();
    assert_eq!(imatrix.entries["a"], [1.0, 2.0, 0.0, 3.0, 2.0, 1.0]);
    assert_eq!(imatrix.entries["b"], [1.0, 0.25]);
    assert_eq!((imatrix.dataset, imatrix.n_chunks), (Some(Text(b"calm.txt".into())), 12));
    assert!(imatrix.warnings.is_empty());
}

#[test]
fn a_dat_file_gives_sums_over_calls() {
    let bytes = dat(&[("a", 2, &[2.0, 4.0]), ("b", 1, &[0.5])]);
    let imatrix = read(&bytes).unwrap();
    assert_eq!(imatrix.entries["a"], [1.0, 2.0]);
    assert_eq!((imatrix.entries.len(), imatrix.dataset, imatrix.n_chunks), (2, None, 0));
    let imatrix = read(&with_end(bytes, 80, "wiki.train.raw")).unwrap();
    assert_eq!((imatrix.dataset, imatrix.n_chunks), (Some(Text(b"wiki.train.raw".into())), 80));
}

#[test]
fn what_was_never_counted_is_uniform_and_reported() {
    let bytes = imatrix_gguf(&[
        ("a.in_sum2", &[2, 3], &[2.0, 4.0, 0.0, 0.0, 5.0, 5.0]),
        ("a.counts", &[1, 3], &[2.0, 0.0, 5.0]),
        ("b.in_sum2", &[2, 1], &[0.0, 0.0]),
        ("b.counts", &[1, 1], &[0.0]),
    ]);
    let imatrix = read(&bytes).unwrap();
    assert_eq!(imatrix.entries["a"], [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(imatrix.entries["b"], [1.0, 1.0]);
    let expected = [
        "1 of 2 tensors in the importance matrix was not used by its text: all its columns count the same",
        "1 expert in the importance matrix was not used by its text: all its columns count the same",
    ];
    assert_eq!(imatrix.warnings, expected);
    assert_eq!(read(&dat(&[("a", 0, &[3.0, 4.0])])).unwrap().entries["a"], [1.0, 1.0]);
}

#[test]
fn numbers_that_are_no_importances_are_refused() {
    let check = |sum: f32, count: f32, expected: &str| {
        let expected = format!("not a usable importance matrix, {expected}");
        refused(&imatrix_gguf(&[("a.in_sum2", &[2], &[1.0, sum]), ("a.counts", &[1], &[count])]), &expected);
    };
    check(f32::NAN, 1.0, "a sum of squares of a is NaN");
    check(f32::INFINITY, 1.0, "a sum of squares of a is inf");
    check(-1.0, 1.0, "a sum of squares of a is -1");
    check(1.0, -2.0, "a count of a is -2");
    check(1.0, f32::NAN, "a count of a is NaN");
    refused(&dat(&[("a", -1, &[1.0])]), "not a usable importance matrix, a count of a is -1");
    refused(&dat(&[("a", 1, &[f32::NAN])]), "not a usable importance matrix, a sum of squares of a is NaN");
    refused(&dat(&[("a", 1, &[])]), "not a usable importance matrix, it is neither");
    refused(&dat(&[("a", 1, &[1.0]), ("a", 1, &[1.0])]), "not a usable importance matrix, a appears twice");
}

#[test]
fn sums_and_counts_belong_together() {
    let check = |tensors: &[(&str, &[u64], &[f32])], expected: &str| {
        refused(&imatrix_gguf(tensors), &format!("not a usable importance matrix, {expected}"));
    };
    check(&[], "it has no entries");
    check(&[("a.in_sum2", &[1], &[1.0])], "it has sums but no counts of a");
    check(&[("a.counts", &[1], &[1.0])], "it has counts but no sums of a");
    check(&[("a.in_sum2", &[3], &[1.0; 3]), ("a.counts", &[2], &[1.0; 2])], "a has 3 sums for 2 counts");
    check(&[("a.in_sum2", &[1], &[1.0]), ("a.counts", &[2], &[1.0; 2])], "a has 1 sums for 2 counts");
}

#[test]
fn other_files_are_refused() {
    let tensors: &[(&str, &[u64], &[f32])] = &[("a.in_sum2", &[1], &[1.0]), ("a.counts", &[1], &[1.0])];
    let weights: &[(&str, &[u64], &[f32])] = &[("token_embd.weight", &[1], &[1.0])];
    refused(&gguf("model", DType::F32, weights), "not a usable importance matrix, it is a GGUF file of the type \"model\"");
    refused(&gguf("adapter", DType::F32, weights), "not a usable importance matrix, it is a LoRA adapter");
    refused(&gguf("imatrix", DType::F16, tensors), "not a usable importance matrix, a.in_sum2 is stored as F16, not as F32");
    for bytes in [&b""[..], b"GGU", b"\0\0\0\0", b"A text that is no matrix at all, but long enough.", &[0xff; 64]] {
        refused(bytes, "not a usable importance matrix, it is neither a GGUF file nor a list of entries");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_imatrix(folder.path()), Err(Error::NotAFile { kind: "a folder", .. })));
    assert!(matches!(read_imatrix(&folder.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn truncation_anywhere_is_an_error() {
    let dat = with_end(dat(&[("blk.0.attn_q.weight", 2, &[2.0, 4.0]), ("b", 1, &[0.5, 1.0, 2.0])]), 80, "wiki");
    let gguf = imatrix_gguf(&[("a.in_sum2", &[3], &[2.0; 3]), ("a.counts", &[1], &[2.0])]);
    // A .dat file may end after its last entry, and after the number of chunks.
    let complete = [dat.len() - 12, dat.len() - 8];
    for n_bytes in (0..dat.len()).filter(|n| !complete.contains(n)) {
        assert!(read(&dat[..n_bytes]).is_err(), "{n_bytes} of {}", dat.len());
    }
    // The padding after the last number may be missing.
    for n_bytes in 0..gguf.len() - 28 {
        assert!(read(&gguf[..n_bytes]).is_err(), "{n_bytes} of {}", gguf.len());
    }
}

#[test]
fn lengths_beyond_the_file_allocate_nothing() {
    let check = |place: usize, value: i32| {
        let mut bytes = dat(&[("ab", 2, &[2.0, 4.0]), ("b", 1, &[0.5])]);
        bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
        assert!(read(&bytes).is_err(), "{value} at {place}");
    };
    for value in [-1, 0, i32::MIN, i32::MAX, 1 << 30] {
        check(0, value); // entries
        check(4, value); // length of the first name
        check(14, value); // values of the first entry
    }
}

#[test]
fn an_entry_must_have_the_columns_of_its_tensor() {
    let imatrix = read(&dat(&[
        ("blk.0.ffn_up.weight", 1, &[1.0, 2.0]),
        ("blk.0.ffn_up_exps.weight", 1, &[1.0, 2.0, 3.0, 4.0]),
        ("token_embd.weight", 1, &[1.0]),
    ]))
    .unwrap();
    let check = |name: &str, shape: &[u64], expected: Result<Option<&[f32]>>| {
        let tensor = Tensor { name: name.into(), dtype: DType::F32, shape: shape.into(), file_idx: 0, offset: 0, size_bytes: 0 };
        assert_eq!(imatrix.importances_of(&tensor), expected, "{name} {shape:?}");
    };
    let mismatch = |tensor: &str, found, expected| {
        Err(Error::ImatrixMismatch { tensor: tensor.into(), found, expected, path: imatrix.path.clone() })
    };
    check("blk.0.ffn_up.weight", &[2, 7], Ok(Some(&[1.0, 2.0])));
    check("blk.0.ffn_up_exps.weight", &[2, 7, 2], Ok(Some(&[1.0, 2.0, 3.0, 4.0])));
    check("blk.0.ffn_gate.weight", &[2, 7], Ok(None));
    check("token_embd.weight", &[2, 7], Ok(None));
    check("blk.0.ffn_up.weight", &[3, 7], mismatch("blk.0.ffn_up.weight", 2, 3));
    check("blk.0.ffn_up_exps.weight", &[2, 7, 3], mismatch("blk.0.ffn_up_exps.weight", 4, 6));
}

#[test]
fn the_key_values_are_llama_quantizes_without_the_folder() {
    let imatrix = Imatrix { path: Path::new("/home/me/secret/text.imatrix").into(), ..read(&dat(&[("a", 1, &[1.0])])).unwrap() };
    let expected = [
        ("quantize.imatrix.file".to_string(), Value::Str("text.imatrix".into())),
        ("quantize.imatrix.entries_count".to_string(), Value::U32(1)),
    ];
    assert_eq!(imatrix.metadata().0, expected);
    let imatrix = Imatrix { dataset: Some("wiki".into()), n_chunks: 8, ..imatrix };
    let keys: Vec<_> = imatrix.metadata().0.into_iter().map(|(key, _)| key).collect();
    let parts = ["file", "dataset", "entries_count", "chunks_count"];
    assert_eq!(keys, parts.map(|part| format!("quantize.imatrix.{part}")));
}
