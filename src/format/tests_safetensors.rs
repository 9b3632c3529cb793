//! Hostile and odd safetensors headers: each is a clear error, never a panic, and costs little.

use std::path::Path;

use proptest::prelude::*;

use super::safetensors::{MAX_HEADER_BYTES, parse};
use crate::error::Error;
use crate::model::{CheckpointDType, CheckpointTensor};

/// A file with this header and `n_data` bytes of data.
fn file(json: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + n_data, 7);
    bytes
}

fn parse_file(bytes: &[u8]) -> Result<Vec<CheckpointTensor>, Error> {
    parse(bytes, bytes.len() as u64, Path::new("x"))
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let message = parse_file(bytes).expect_err(expected).to_string();
    assert!(message.contains(expected) && message.ends_with(": x"), "{message}");
}

fn tensor(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn header(tensors: &[String]) -> String {
    format!("{{{}}}", tensors.join(","))
}

const TWO: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[],"data_offsets":[12,16]},
    "a":{"shape":[2,3],"data_offsets":[0,12],"dtype":"BF16"}}   "#;

#[test]
fn tensors_come_in_the_order_of_their_data() {
    let bytes = file(TWO, 16);
    let tensors = parse_file(&bytes).unwrap();
    let data_start = (8 + TWO.len()) as u64;
    let expected = |name: &str, dtype, shape: &[u64], offset: u64, size_bytes| CheckpointTensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        file_idx: 0,
        offset: data_start + offset,
        size_bytes,
    };
    assert_eq!(tensors, [expected("a", CheckpointDType::BF16, &[2, 3], 0, 12), expected("b", CheckpointDType::F32, &[], 12, 4)]);
    assert_eq!(parse_file(&file("{}", 0)).unwrap(), []);
    let escaped = file(&header(&[tensor(r"a\u0041", "U8", "[0,5]", 0, 0)]), 0);
    assert_eq!(parse_file(&escaped).unwrap()[0].name, "aA");
}

#[test]
fn a_file_that_ends_anywhere_is_an_error() {
    let whole = file(TWO, 16);
    for n_bytes in 0..whole.len() {
        let error = parse_file(&whole[..n_bytes]).expect_err("truncated");
        assert!(matches!(error, Error::Truncated { .. }), "{n_bytes} bytes: {error}");
    }
    assert!(parse_file(&whole).is_ok());
}

#[test]
fn lengths_are_not_believed() {
    refused(&(1_u64 << 63).to_le_bytes(), "the header's length is 9223372036854775808 bytes, at most 100000000 are allowed");
    refused(&u64::MAX.to_le_bytes(), "at most");
    refused(&MAX_HEADER_BYTES.to_le_bytes(), "the header needs 100000000 bytes, only 0 are left in the file");
    refused(&file("", 0), "the header is not a JSON object");
    refused(&file("[]", 0), "the header is not a JSON object");
    refused(&file("{} x", 0), "trailing characters");
}

#[test]
fn texts_that_are_no_header_are_refused() {
    let check = |json: &str, expected: &str| refused(&file(json, 4), expected);
    check(r#"{"a":1}"#, "invalid type");
    check(r#"{"a":{"dtype":"F32","shape":[1]}}"#, "missing field `data_offsets`");
    check(r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "duplicate field");
    check(&header(&[tensor("a", "F31", "[1]", 0, 4)]), r#"tensor a has the unknown type "F31""#);
    check(&header(&[tensor("a", "F32", "[NaN]", 0, 4)]), "expected value");
    check(&header(&[tensor("a", "F32", "[1.0]", 0, 4)]), "invalid type");
    check(&header(&[tensor("a", "F32", "[-1]", 0, 4)]), "invalid value");
    check(&header(&[tensor("a", "F32", "[1e400]", 0, 4)]), "number out of range");
    check(&header(&[tensor("a", "F32", "null", 0, 4)]), "a list of dimensions");
    check(&header(&[tensor("a", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4)]), "more than 8 dimensions");
    check(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, "trailing characters");
    check(r#"{"__metadata__":{},"__metadata__":{}}"#, "__metadata__ appears twice");
    check(r#"{"__metadata__":{"a":[1]}}"#, "invalid type");
    check(&format!(r#"{{"{}":1}}"#, "n".repeat(2000)), "a name of 2000 bytes");
    check(&header(&[tensor(r"a\u001b[2J", "F32", "[1]", 0, 4)]), r"control characters");
    check(r#"{"a":{"\u001b[2J":1}}"#, "unknown field `[2J`");
    let mut bytes = file(r#"{"aaaa":1}"#, 0);
    bytes[11] = 0xff;
    refused(&bytes, "invalid unicode");
}

#[test]
fn ranges_fill_the_data_exactly() {
    let check = |tensors: &[String], n_data: usize, expected: &str| refused(&file(&header(tensors), n_data), expected);
    let f32s = |name: &str, begin: u64, end: u64| tensor(name, "F32", "[1]", begin, end);
    check(&[f32s("a", 0, 4), f32s("a", 4, 8)], 8, "tensor a appears twice");
    check(&[f32s("a", 0, 4), f32s("b", 2, 6)], 6, "the data of b begin at 2, inside those of a");
    check(&[f32s("a", 0, 4), f32s("b", 0, 4)], 4, "inside those of a");
    check(&[f32s("a", 4, 8)], 8, "4 bytes between the header and a belong to no tensor");
    check(&[f32s("a", 0, 4), f32s("b", 8, 12)], 12, "4 bytes between a and b belong to no tensor");
    check(&[f32s("a", 0, 4)], 9, "5 bytes after a belong to no tensor");
    check(&[f32s("a", 0, 4)], 3, "tensor a needs 4 bytes, only 3 are left in the file");
    check(&[f32s("a", 4, 0)], 4, "the data of a end at 0, before they begin at 4");
    check(&[f32s("a", 0, 5)], 5, "F32 of shape [1] needs 4 bytes, but a has 5");
    check(&[tensor("a", "F4", "[3]", 0, 2)], 2, "tensor a ends inside a byte");
    check(&[tensor("a", "U8", "[4294967296,4294967296]", 0, 1)], 1, "more than 2^64 bits");
    let most = u64::MAX;
    check(&[f32s("a", most - 4, most)], 4, "belong to no tensor");
    let huge = tensor("a", "U8", &format!("[{}]", most / 8), 0, most / 8);
    check(&[huge], 4, "tensor a needs 2305843009213693951 bytes, only 4 are left");
}

#[test]
fn large_nonsense_is_refused_quickly() {
    let check = |json: &str, expected: &str| {
        let started = std::time::Instant::now();
        refused(&file(json, 0), expected);
        // Loose by design: it tells a hang from an answer.
        assert!(started.elapsed().as_secs() < 5, "{expected} took {:?}", started.elapsed());
    };
    let n = 20_000_000;
    check(&format!("{{\"a\":{}", "[".repeat(n)), "more than 1048576 bytes");
    check(&format!("{{\"a\":{}", "[".repeat(1_000_000)), "invalid type");
    check(&format!("{{\"a\":{}", "{\"a\":".repeat(n / 5)), "unknown field");
    check(&format!("{{\"__metadata__\":{}", "{\"a\":".repeat(n / 5)), "invalid type");
    check(&format!("{{\"a\":\"{}\"}}", "\\n".repeat(n / 2)), "more than 1048576 bytes");
    check(&format!("{{\"{}\":1}}", "\\\"".repeat(n / 2)), "more than 1048576 bytes");
    let many: Vec<String> = (0..100_001).map(|idx| tensor(&format!("t{idx}"), "U8", "[0]", 0, 0)).collect();
    check(&header(&many), "more than 100000 tensors");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_file(&bytes);
        let mut with_length = (bytes.len() as u64).to_le_bytes().to_vec();
        with_length.extend(bytes);
        let _ = parse_file(&with_length);
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_header(at in 8_usize..8 + TWO.len(), byte in any::<u8>()) {
        let mut bytes = file(TWO, 16);
        bytes[at] = byte;
        if let Ok(tensors) = parse_file(&bytes) {
            let end = bytes.len() as u64;
            prop_assert!(tensors.iter().all(|tensor| tensor.offset + tensor.size_bytes <= end));
        }
    }
}
