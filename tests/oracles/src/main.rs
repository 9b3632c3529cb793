//! Reads GGUF files with two libraries that share no code with Planish and compares what they say.
//!
//! `cargo run -- FILE...` prints one line of JSON per file and exits with 1 when a file cannot be read, when the two
//! disagree, or when the file's size is not that of its tensors with padding.
//!
//! Known limits. `gguf-rs` 0.1.8 keeps neither the order of keys nor their types (both sides are compared as JSON), computes
//! wrong sizes for BF16, IQ4_NL, MXFP4, Q8_1, Q8_K, NVFP4 and integer types (its sizes are compared for the other types
//! only), knows no nested arrays and panics on some headers; unbuffered it makes 250,000 read calls on a small model, so it
//! gets a buffered reader here. `gguf-rs-lib` 0.3.3 accepts only keys in ASCII lower case and alignments that are multiples
//! of 8.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::process::ExitCode;

use gguf_rs::{ByteOrder, GGUFContainer, GGUFModel};
use gguf_rs_lib::format::MetadataValue;
use gguf_rs_lib::reader::GGUFFileReader;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, String>;

/// Types whose size gguf-rs computes rightly.
const SIZED_BY_GGUF_RS: [u32; 20] = [0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 29];

/// What both libraries tell.
#[derive(Debug, PartialEq)]
struct Facts {
    data_offset: u64,
    alignment: u64,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
}

#[derive(Debug, PartialEq)]
struct Tensor {
    name: String,
    type_id: u32,
    shape: Vec<u64>,
    offset: u64,
    size_bytes: Option<u64>, // None where one side is known to be wrong
}

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        eprintln!("usage: planish-oracles FILE...");
        return ExitCode::from(2);
    }
    for path in paths {
        match check(&path) {
            Ok(summary) => println!("{summary}"),
            Err(message) => {
                eprintln!("error: {message}: {path}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn check(path: &str) -> Result<Value> {
    let (of_lib, type_names, n_data_bytes) = read_with_gguf_rs_lib(path)?;
    let of_gguf_rs = read_with_gguf_rs(path)?;
    compare(&of_lib, &of_gguf_rs)?;
    let file_size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    let expected = of_lib.tensors.last().map_or(of_lib.data_offset, |last| of_lib.data_offset + last.offset)
        + n_data_bytes.last().map_or(0, |size| size.next_multiple_of(of_lib.alignment));
    if file_size != expected {
        return Err(format!("the file has {file_size} bytes, its tensors with padding end at {expected}"));
    }
    let mut types = BTreeMap::<&str, u64>::new();
    for name in &type_names {
        *types.entry(name).or_default() += 1;
    }
    let key = |name: &str| of_lib.metadata.get(name).cloned().unwrap_or(Value::Null);
    Ok(json!({
        "path": path,
        "file_size_bytes": file_size,
        "tensor_bytes": n_data_bytes.iter().sum::<u64>(),
        "n_tensors": of_lib.tensors.len(),
        "n_key_values": of_lib.metadata.len(),
        "types": types,
        "architecture": key("general.architecture"),
        "file_type": key("general.file_type"),
        "quantization_version": key("general.quantization_version"),
    }))
}

/// The facts, and for each tensor the name of its type and its size in bytes.
fn read_with_gguf_rs_lib(path: &str) -> Result<(Facts, Vec<&'static str>, Vec<u64>)> {
    let says = |error: gguf_rs_lib::GGUFError| format!("gguf-rs-lib says: {error}");
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = GGUFFileReader::new(BufReader::new(file)).map_err(says)?;
    reader.validate_all_tensor_data().map_err(says)?;
    let mut tensors = Vec::new();
    let (mut names, mut sizes) = (Vec::new(), Vec::new());
    for info in reader.tensor_infos() {
        let type_id = info.tensor_type() as u32;
        let size_bytes = info.checked_expected_data_size().map_err(says)?;
        names.push(info.tensor_type().name());
        sizes.push(size_bytes);
        tensors.push(Tensor {
            name: info.name().to_string(),
            type_id,
            shape: info.shape().dims().to_vec(),
            offset: info.data_offset(),
            size_bytes: SIZED_BY_GGUF_RS.contains(&type_id).then_some(size_bytes),
        });
    }
    let metadata = reader.metadata().iter().map(|(key, value)| (key.clone(), json_from(value))).collect();
    let facts = Facts { data_offset: reader.tensor_data_offset(), alignment: reader.tensor_alignment(), metadata, tensors };
    Ok((facts, names, sizes))
}

fn json_from(value: &MetadataValue) -> Value {
    match value {
        MetadataValue::U8(v) => Value::from(*v),
        MetadataValue::I8(v) => Value::from(*v),
        MetadataValue::U16(v) => Value::from(*v),
        MetadataValue::I16(v) => Value::from(*v),
        MetadataValue::U32(v) => Value::from(*v),
        MetadataValue::I32(v) => Value::from(*v),
        MetadataValue::F32(v) => Value::from(*v),
        MetadataValue::Bool(v) => Value::from(*v),
        MetadataValue::String(v) => Value::from(v.as_str()),
        MetadataValue::Array(array) => array.values.iter().map(json_from).collect(),
        MetadataValue::U64(v) => Value::from(*v),
        MetadataValue::I64(v) => Value::from(*v),
        MetadataValue::F64(v) => Value::from(*v),
    }
}

fn read_with_gguf_rs(path: &str) -> Result<Facts> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    // The container expects to stand behind the magic, which the other library has checked.
    reader.read_exact(&mut [0; 4]).map_err(|error| error.to_string())?;
    let mut container = GGUFContainer::new(ByteOrder::LE, Box::new(reader), u64::MAX);
    let model: GGUFModel = container.decode().map_err(|error| format!("gguf-rs says: {error}"))?;
    let tensor = |tensor: &gguf_rs::Tensor| Tensor {
        name: tensor.name.clone(),
        type_id: tensor.kind,
        shape: tensor.shape.clone(),
        offset: tensor.offset,
        size_bytes: SIZED_BY_GGUF_RS.contains(&tensor.kind).then_some(tensor.size),
    };
    Ok(Facts {
        data_offset: model.data_offset(),
        alignment: model.alignment(),
        metadata: model.metadata().clone(),
        tensors: model.tensors().iter().map(tensor).collect(),
    })
}

/// Says where the first difference is, in words short enough to read.
fn compare(lib: &Facts, gguf_rs: &Facts) -> Result<()> {
    if (lib.data_offset, lib.alignment) != (gguf_rs.data_offset, gguf_rs.alignment) {
        return Err(format!(
            "data starts at {} with alignment {} for gguf-rs-lib, at {} with {} for gguf-rs",
            lib.data_offset, lib.alignment, gguf_rs.data_offset, gguf_rs.alignment
        ));
    }
    if !lib.metadata.keys().eq(gguf_rs.metadata.keys()) {
        return Err("the libraries read different keys".into());
    }
    for (key, value) in &lib.metadata {
        if gguf_rs.metadata.get(key) != Some(value) {
            return Err(format!("the libraries read different values of {key}"));
        }
    }
    if lib.tensors.len() != gguf_rs.tensors.len() {
        return Err(format!("{} tensors for gguf-rs-lib, {} for gguf-rs", lib.tensors.len(), gguf_rs.tensors.len()));
    }
    match lib.tensors.iter().zip(&gguf_rs.tensors).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("gguf-rs-lib reads {a:?}, gguf-rs reads {b:?}")),
        None => Ok(()),
    }
}
