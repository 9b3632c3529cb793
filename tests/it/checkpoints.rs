//! Checkpoints become what llama.cpp's own converter makes of them.

use std::collections::BTreeMap;

use half::{bf16, f16};
use planish::format::TensorReader;
use planish::import::checked_model;
use planish::model::{Array, DType, Metadata, Model, Value};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::golden_checkpoints::{cases, write};

/// Keys whose values differ on purpose, with the reason.
const EXCEPTIONS: [(&str, &str); 1] = [
    // Decided by the level.
    ("general.file_type", "the golden files have one for each output type"),
];

/// Type and value as the golden files write them.
fn golden_value(value: &Value) -> (String, Json) {
    let number = |number: f32| serde_json::from_str::<Json>(&number.to_string()).unwrap();
    match value {
        Value::U32(v) => ("UINT32".into(), (*v).into()),
        Value::I32(v) => ("INT32".into(), (*v).into()),
        Value::F32(v) => ("FLOAT32".into(), number(*v)),
        Value::Bool(v) => ("BOOL".into(), (*v).into()),
        Value::Str(v) => ("STRING".into(), v.lossy().into_owned().into()),
        Value::Array(Array::Bool(v)) => ("ARRAY[BOOL]".into(), v.clone().into()),
        Value::Array(Array::U32(v)) => ("ARRAY[UINT32]".into(), v.clone().into()),
        Value::Array(Array::I32(v)) => ("ARRAY[INT32]".into(), v.clone().into()),
        Value::Array(Array::F32(v)) => ("ARRAY[FLOAT32]".into(), v.iter().map(|v| number(*v)).collect()),
        Value::Array(Array::Str(v)) => ("ARRAY[STRING]".into(), v.iter().map(|text| text.lossy().into_owned()).collect()),
        other => panic!("{other:?}"),
    }
}

fn check_metadata(case: &str, metadata: &Metadata, golden: &Json) {
    let is_compared = |key: &str| !EXCEPTIONS.iter().any(|row| row.0 == key);
    // 1 and 1.0 are the same number in a golden file.
    let text = |kind: &str, value: &Json| match value.as_f64() {
        Some(number) => format!("{kind} {number}"),
        None => format!("{kind} {value}"),
    };
    let found: Vec<(String, String)> = metadata
        .0
        .iter()
        .filter(|(key, _)| is_compared(key))
        .map(|(key, value)| {
            let (kind, value) = golden_value(value);
            (key.clone(), text(&kind, &value))
        })
        .collect();
    let expected: Vec<(String, String)> = golden
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap().to_string(), text(row[1].as_str().unwrap(), &row[2])))
        .filter(|(key, _)| is_compared(key))
        .collect();
    assert_eq!(found, expected, "{case}");
}

/// The bytes of a tensor as F32.
fn as_f32(model: &Model, reader: &TensorReader, idx: usize) -> Vec<u8> {
    let tensor = &model.tensors[idx];
    let mut raw = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
    reader.read(tensor, 0, &mut raw).unwrap();
    let halves = || raw.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    match tensor.dtype {
        DType::F32 => raw,
        DType::BF16 => halves().flat_map(|bits| bf16::from_bits(bits).to_f32().to_le_bytes()).collect(),
        DType::F16 => halves().flat_map(|bits| f16::from_bits(bits).to_f32().to_le_bytes()).collect(),
        other => panic!("{other}"),
    }
}

fn check_tensors(case: &str, model: &Model, golden: &Json) {
    let reader = TensorReader::open(model).unwrap();
    let mut expected: BTreeMap<&str, (Json, String)> = BTreeMap::new();
    for tensor in golden.as_array().unwrap() {
        assert_eq!(tensor["type"], "F32", "{case}");
        let sha256 = tensor["sha256"].as_str().unwrap().to_string();
        expected.insert(tensor["name"].as_str().unwrap(), (tensor["shape"].clone(), sha256));
    }
    for (idx, tensor) in model.tensors.iter().enumerate() {
        let (shape, sha256) = expected.remove(tensor.name.as_str()).unwrap_or_else(|| panic!("{case}: {}", tensor.name));
        assert_eq!(Json::from(tensor.shape.clone()), shape, "{case}: {}", tensor.name);
        let found: String = Sha256::digest(as_f32(model, &reader, idx)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, sha256, "{case}: {}", tensor.name);
    }
    assert!(expected.is_empty(), "{case}: not made: {:?}", expected.keys());
}

#[test]
fn tensors_and_metadata_are_those_of_llama_cpps_converter() {
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in cases() {
        let checkpoint = write(&case, folder.path());
        let model = checked_model(&checkpoint).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = &case["gguf"]["f32"];
        check_tensors(&name, &model, &golden["tensors"]);
        check_metadata(&name, &model.metadata, &golden["metadata"]);
    }
}

#[test]
fn types_without_loss_are_the_checkpoints_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_checked = 0;
    for (name, case) in cases() {
        let dtypes: Vec<&str> =
            case["tensors"].as_array().unwrap().iter().map(|tensor| tensor["dtype"].as_str().unwrap()).collect();
        let Some(golden) = ["bf16", "f16"].iter().find_map(|outtype| {
            let is_all = dtypes.iter().all(|dtype| dtype.eq_ignore_ascii_case(outtype));
            case["gguf"].get(*outtype).filter(|_| is_all)
        }) else {
            continue;
        };
        let model = checked_model(&write(&case, folder.path())).unwrap();
        for tensor in golden["tensors"].as_array().unwrap() {
            let found = model.tensors.iter().find(|found| found.name == tensor["name"].as_str().unwrap()).unwrap();
            assert_eq!(found.dtype.name(), tensor["type"].as_str().unwrap(), "{name}: {}", found.name);
        }
        n_checked += 1;
    }
    assert!(n_checked > 0);
}
