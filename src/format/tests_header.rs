//! Hostile and odd headers: each is a clear error or a warning, never a panic.
//!
//! The cases of llama.cpp's tests/test-gguf.cpp are all here, under its names in comments.

use std::path::Path;

use super::gguf_header::{Header, parse};
use super::gguf_writer::{Layout, TensorSpec, Writer};
use crate::error::Error;
use crate::model::{Array, DType, Metadata, Value};

/// Bytes written field by field, right or wrong.
#[derive(Clone, Default)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl Raw {
    pub(super) fn file(version: u32, n_tensors: u64, n_key_values: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(n_tensors).u64(n_key_values)
    }
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub(super) fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_le_bytes())
    }
    pub(super) fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }
    pub(super) fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }
    pub(super) fn alignment(self, alignment: u32) -> Self {
        self.text("general.alignment").u32(4).u32(alignment)
    }
    pub(super) fn tensor(self, name: &str, shape: &[u64], type_id: u32, offset: u64) -> Self {
        let raw = self.text(name).u32(u32::try_from(shape.len()).unwrap());
        shape.iter().fold(raw, |raw, &dim| raw.u64(dim)).u32(type_id).u64(offset)
    }
    /// Padding and `n_bytes` of data.
    pub(super) fn data(mut self, alignment: usize, n_bytes: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(alignment) + n_bytes, 7);
        self
    }
}

fn parse_raw(raw: &Raw) -> Result<Header, Error> {
    parse(&raw.0, raw.0.len() as u64, Path::new("x"))
}

#[track_caller]
fn refused(raw: &Raw, expected: &str) {
    let message = parse_raw(raw).expect_err(expected).to_string();
    assert_eq!(message, format!("{expected}: x"));
}

fn one_tensor(shape: &[u64], type_id: u32, offset: u64) -> Raw {
    Raw::file(3, 1, 0).tensor("t", shape, type_id, offset).data(32, 64)
}

const F32: u32 = 0;
const Q4_0: u32 = 2;
const I8: u32 = 24;
const I64: u32 = 27;

#[test]
fn headers() {
    refused(&Raw::default(), "the magic needs 4 bytes, only 0 are left in the file");
    refused(&Raw(b"FUGG0000".to_vec()), "damaged GGUF, the first bytes are 46 55 47 47, not GGUF"); // BAD_MAGIC
    refused(&Raw::file(0, 0, 0), "damaged GGUF, the version is 0"); // BAD_VERSION_0
    refused(&Raw::file(1, 0, 0), "GGUF version 1 cannot be read"); // BAD_VERSION_1
    refused(&Raw::file(4, 0, 0), "GGUF version 4 cannot be read"); // BAD_VERSION_FUTURE
    refused(&Raw::file(3u32.swap_bytes(), 0, 0), "a big-endian GGUF file (version 3) cannot be read");
    let all = u64::MAX;
    refused(
        &Raw::file(3, all, 0),
        "18446744073709551615 tensor infos needs 18446744073709551615 bytes, only 0 are left in the file", // BAD_N_TENSORS
    );
    refused(
        &Raw::file(3, 0, all).data(1, 100),
        "18446744073709551615 key-values needs 18446744073709551615 bytes, only 100 are left in the file", // BAD_N_KV
    );
    refused(&Raw::file(3, 5, 0).data(1, 100), "5 tensor infos needs 125 bytes, only 100 are left in the file");
    let empty = parse_raw(&Raw::file(3, 0, 0)).unwrap(); // HEADER_EMPTY
    assert_eq!((empty.version, empty.alignment, empty.tensors.len(), empty.metadata.0.len()), (3, 32, 0, 0));
    assert_eq!(parse_raw(&Raw::file(2, 0, 0)).unwrap().version, 2);
}

#[test]
fn key_values() {
    let one = || Raw::file(3, 0, 1);
    refused(&one().u64(u64::MAX).data(1, 10), "key 0 needs 18446744073709551615 bytes, only 10 are left in the file"); // BAD_KEY_SIZE
    refused(&one().text("").data(1, 10), "damaged GGUF, key 0 is empty"); // EMPTY_KEY
    refused(
        &one().u64(2).bytes(&[b'a', 0xff]).data(1, 10),
        "damaged GGUF, key 0 is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1",
    );
    refused(&one().text("key").u32(13).u64(0), r#"damaged GGUF, "key" has unknown value type 13"#); // BAD_TYPE
    refused(&one().text("key").u32(u32::MAX).u64(0), r#"damaged GGUF, "key" has unknown value type 4294967295"#);
    refused(&one().text("key").u32(7).bytes(&[2]), r#"damaged GGUF, "key" holds 2 where a truth value is 0 or 1"#);
    refused(
        &one().text("key").u32(9).u32(7).u64(2).bytes(&[1, 255]),
        r#"damaged GGUF, "key" holds 255 where a truth value is 0 or 1"#,
    );
    refused(
        &one().text("key").u32(8).u64(1 << 62),
        r#"the value of "key" needs 4611686018427387904 bytes, only 0 are left in the file"#,
    );
    let twice = Raw::file(3, 0, 2).text("key").u32(0).bytes(&[1]).text("key").u32(4).u32(1);
    refused(&twice, r#"damaged GGUF, key "key" appears twice"#); // DUPLICATE_KEY
}

#[test]
fn alignments() {
    let one = |alignment| Raw::file(3, 0, 1).alignment(alignment);
    for bad in [0, 3, 13, 1 << 21, 1 << 31, u32::MAX] {
        refused(&one(bad), &format!("damaged GGUF, alignment {bad} is not a power of two between 1 and 1048576")); // BAD_ALIGN
    }
    for good in [1, 8, 32, 4096, 1 << 20] {
        assert_eq!(parse_raw(&one(good)).unwrap().alignment, u64::from(good)); // CUSTOM_ALIGN
    }
    let wrong_type = Raw::file(3, 0, 1).text("general.alignment").u32(5).u32(32);
    refused(&wrong_type, "damaged GGUF, general.alignment has type I32, not U32"); // WRONG_TYPE_ALIGN
}

#[test]
fn array_lengths() {
    let array = |element_type, len| Raw::file(3, 0, 1).text("key").u32(9).u32(element_type).u64(len).data(1, 16);
    // Type and bytes that each element needs at least.
    for (element_type, width) in
        [(0, 1u64), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (8, 8), (9, 12), (10, 8), (11, 8), (12, 8)]
    {
        for len in [17, 1 << 30, u64::MAX / 8, u64::MAX] {
            let needed = len.saturating_mul(width);
            refused(
                &array(element_type, len),
                &format!(r#"{len} values of "key" needs {needed} bytes, only 16 are left in the file"#),
            );
        }
    }
}

#[test]
fn arrays_nested_200_000_deep() {
    let nested = |depth| (0..depth).fold(Raw::file(3, 0, 1).text("key").u32(9), |raw, _| raw.u32(9).u64(1)).u32(0).u64(0);
    refused(&nested(200_000), r#"damaged GGUF, "key" nests arrays deeper than 8"#);
    refused(&nested(8), r#"damaged GGUF, "key" nests arrays deeper than 8"#);
    let mut value = parse_raw(&nested(7)).unwrap().metadata.0.remove(0).1;
    for _ in 0..7 {
        let Value::Array(array @ Array::Array(_)) = &value else { panic!("{value:?}") };
        assert_eq!(array.len(), 1);
        value = array.at(0).unwrap();
    }
    assert_eq!(value, Value::Array(Array::U8(Vec::new())));
}

#[test]
fn tensor_infos() {
    refused(
        &Raw::file(3, 1, 0).u64(u64::MAX).data(1, 20),
        "the name of tensor 0 needs 18446744073709551615 bytes, only 20 are left in the file",
    );
    refused(&Raw::file(3, 1, 0), "1 tensor infos needs 25 bytes, only 0 are left in the file");
    refused(&Raw::file(3, 1, 0).tensor("", &[32], F32, 0).data(32, 128), "damaged GGUF, the name of tensor 0 is empty");
    refused(
        &Raw::file(3, 2, 0).tensor("t", &[8], F32, 0).tensor("t", &[8], F32, 32).data(32, 64),
        "damaged GGUF, tensor t appears twice", // DUPLICATE_NAME
    );
    refused(&one_tensor(&[1, 1, 1, 1, 1], F32, 0), "damaged GGUF, tensor t has 5 dimensions, at most 4 are possible"); // BAD_N_DIMS
    let many = Raw::file(3, 1, 0).text("t").u32(u32::MAX).data(1, 64);
    refused(&many, "damaged GGUF, tensor t has 4294967295 dimensions, at most 4 are possible");
    refused(&one_tensor(&[u64::MAX], F32, 0), "damaged GGUF, tensor t has the impossible shape [-1]"); // BAD_SHAPE
    // ZERO_DIM: llama.cpp lets it pass, but no model has one, and nothing can be computed from it.
    refused(&one_tensor(&[4, 0], F32, 0), "damaged GGUF, tensor t has the impossible shape [4, 0]");
    let big = 4 * (i32::MAX as u64);
    refused(&one_tensor(&[big, big], I8, 0), &format!("damaged GGUF, tensor t has the impossible shape [{big}, {big}]")); // NE_TOO_BIG
    refused(
        &one_tensor(&[1 << 31, 1 << 31], I64, 0), // NBYTES_TOO_BIG
        "damaged GGUF, tensor t of shape [2147483648, 2147483648] is not a whole number of I64 blocks per row",
    );
    refused(
        &one_tensor(&[4, (1 << 30) - 1, (1 << 30) + 1], F32, 0), // NBYTES_PAD_WRAP
        "data of tensor t needs 18446744073709551600 bytes, only 64 are left in the file",
    );
    refused(&one_tensor(&[31], Q4_0, 0), "damaged GGUF, tensor t of shape [31] is not a whole number of Q4_0 blocks per row");
    refused(&one_tensor(&[], Q4_0, 0), "damaged GGUF, tensor t of shape [] is not a whole number of Q4_0 blocks per row");
    for id in [4, 5, 31, 36, 43, u32::MAX] {
        // BAD_TYPE: shown, with all bytes up to the end of the file.
        let header = parse_raw(&one_tensor(&[32], id, 0)).unwrap();
        assert_eq!(header.unknown, [("t".to_string(), id)]);
        assert_eq!((header.tensors[0].dtype, header.tensors[0].size_bytes), (DType::Unknown, 64));
    }
}

#[test]
fn tensor_offsets() {
    refused(&one_tensor(&[8], F32, u64::MAX), "damaged GGUF, tensor t starts at 18446744073709551615, not at a multiple of 32"); // BAD_OFFSET
    refused(&one_tensor(&[8], F32, u64::MAX - 31), "data of tensor t needs 32 bytes, only 0 are left in the file");
    refused(&one_tensor(&[8], F32, 64), "data of tensor t needs 32 bytes, only 0 are left in the file");
    refused(&one_tensor(&[17], F32, 0), "data of tensor t needs 68 bytes, only 64 are left in the file"); // NOT_ENOUGH_DATA
    refused(&one_tensor(&[8], F32, 1), "damaged GGUF, tensor t starts at 1, not at a multiple of 32");
    let two =
        |first: u64, second: u64| Raw::file(3, 2, 0).tensor("a", &[16], F32, first).tensor("b", &[16], F32, second).data(32, 256);
    let start = 96; // 24 + 2 * (9 + 4 + 8 + 4 + 8), aligned
    let overlap = |end: u64, next: u64, names: [&str; 2]| {
        let [before, after] = names;
        format!("damaged GGUF, tensor {before} ends at {} but tensor {after} starts at {}", start + end, start + next)
    };
    refused(&two(0, 0), &overlap(64, 0, ["a", "b"]));
    refused(&two(0, 32), &overlap(64, 32, ["a", "b"]));
    refused(&two(96, 64), &overlap(128, 96, ["b", "a"]));
    // INCONSISTENT_ALIGN: offsets that were computed for another alignment.
    refused(
        &Raw::file(3, 2, 0).tensor("a", &[4], I8, 0).tensor("b", &[4], I8, 4).data(32, 64),
        "damaged GGUF, tensor b starts at 4, not at a multiple of 32",
    );
    let odd = parse_raw(&two(64, 0)).unwrap();
    assert_eq!(
        odd.warnings.first().map(String::as_str),
        Some("tensor data is not packed in file order: llama.cpp refuses such a file")
    );
    assert_eq!(odd.tensors.iter().map(|tensor| tensor.offset - start).collect::<Vec<_>>(), [64, 0]);
    assert_eq!(parse_raw(&two(0, 64)).unwrap().warnings, ["128 bytes after the last tensor are not used"]);
}

#[test]
fn sizes_that_only_together_are_too_large() {
    // DATA_MEM_SIZE_OVERFLOW
    let huge = 0x7fff_ffff_ffff_ffc0;
    let raw = Raw::file(3, 2, 0).tensor("a", &[huge], I8, 0).tensor("b", &[huge], I8, huge).data(32, 32);
    refused(&raw, &format!("data of tensor a needs {huge} bytes, only 32 are left in the file"));
    // The same in a file that claims to be as large: only the part that is mapped may be read.
    let header = parse(&raw.0, u64::MAX, Path::new("x")).unwrap();
    assert_eq!(header.tensors.len(), 2);
}

#[test]
fn a_header_beyond_the_mapped_part_is_refused() {
    let raw = Raw::file(3, 0, 1).text("key").u32(9).u32(0).u64(1 << 40);
    let error = parse(&raw.0, 1 << 50, Path::new("x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"damaged GGUF, 1099511627776 values of "key" makes the header longer than 134217728 bytes: x"#
    );
}

#[test]
fn scalars_have_no_dimensions() {
    let header = parse_raw(&one_tensor(&[], F32, 0)).unwrap();
    assert_eq!(header.tensors.iter().map(|tensor| (tensor.n_elements(), tensor.size_bytes)).collect::<Vec<_>>(), [(1, 4)]);
}

/// A small file with every value type; its last tensor needs no padding, so that every prefix lacks something.
pub(super) fn small_file() -> Vec<u8> {
    let metadata = Metadata(vec![
        ("general.architecture".into(), Value::Str("llama".into())),
        ("u8".into(), Value::U8(1)),
        ("i8".into(), Value::I8(-1)),
        ("u16".into(), Value::U16(2)),
        ("i16".into(), Value::I16(-2)),
        ("u32".into(), Value::U32(3)),
        ("i32".into(), Value::I32(-3)),
        ("u64".into(), Value::U64(u64::MAX)),
        ("i64".into(), Value::I64(i64::MIN)),
        ("f32".into(), Value::F32(0.1)),
        ("f64".into(), Value::F64(0.1)),
        ("bool".into(), Value::Bool(true)),
        ("texts".into(), Value::Array(Array::Str(vec!["a".into(), "".into(), "\u{fffd}".into()]))),
        ("bools".into(), Value::Array(Array::Bool(vec![true, false]))),
        ("nested".into(), Value::Array(Array::Array(vec![Array::U16(vec![1, 2]), Array::Array(Vec::new())]))),
    ]);
    let spec = |name: &str, dtype, shape: &[u64]| TensorSpec { name: name.into(), dtype, shape: shape.into() };
    let tensors = [spec("a", DType::F16, &[3]), spec("b", DType::Q4_0, &[64, 3]), spec("c", DType::F32, &[2, 2, 2, 2])];
    let layout = Layout::plan(&metadata, &tensors, 32).unwrap();
    let mut writer = Writer::start(Vec::new(), layout, Path::new("x")).unwrap();
    for (byte, size_bytes) in [(1, 6), (2, 108), (3, 64)] {
        writer.write_tensor(&vec![byte; size_bytes]).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn every_prefix_is_an_error() {
    let file = small_file();
    assert_eq!(parse(&file, file.len() as u64, Path::new("x")).unwrap().warnings, [""; 0]);
    for len in 0..file.len() {
        let error = parse(&file[..len], len as u64, Path::new("x")).expect_err(&format!("prefix of {len} bytes"));
        assert!(matches!(error, Error::Truncated { .. }), "{len}: {error}");
    }
}

#[test]
fn padding_after_the_last_tensor_may_be_missing() {
    // llama.cpp's loader accepts it, too: all data is there.
    let raw = Raw::file(3, 1, 0).tensor("t", &[3], F32, 0).data(32, 12);
    assert_eq!(parse_raw(&raw).unwrap().warnings, [""; 0]);
}
