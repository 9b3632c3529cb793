//! Tiny checkpoints whose weights follow from the tensors' names; see `tests/golden/checkpoints/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use planish::convert::open_model;
use planish::error::Error;
use planish::format::{Opened, read_any};
use planish::import::checked_model;
use planish::model::{Checkpoint, Model, Value};
use serde_json::Value as Json;

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    // The crate's folder, or the one of its fuzz targets inside it.
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("tests/golden/checkpoints"));
    folders.find(|folder| folder.is_dir()).unwrap()
}

/// All cases, by name.
pub fn cases() -> Vec<(String, Json)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            cases.push((path.file_stem().unwrap().to_string_lossy().into_owned(), case));
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 10, "only {} golden checkpoints", cases.len());
    cases
}

/// The elements of a tensor, in row-major order, as `(offset, k, scale)`: a weight is `offset + k * scale`.
fn elements(tensor: &Json) -> impl Iterator<Item = (i8, i8, f32)> {
    let name = tensor["name"].as_str().unwrap();
    let n: u64 = tensor["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).product();
    let number = |key: &str| tensor[key].as_i64().unwrap();
    let (offset, shift, exp) = (number("offset"), number("shift"), i32::try_from(number("exp")).unwrap());
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (0..n).map(move |idx| {
        let mut z = hash.wrapping_add(idx).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let k = ((z >> 56) as u8).cast_signed();
        (i8::try_from(offset).unwrap(), k >> shift, 2f32.powi(exp))
    })
}

/// The weights of a tensor, in row-major order.
fn weights(tensor: &Json) -> Vec<f32> {
    elements(tensor).map(|(offset, k, scale)| f32::from(offset) + f32::from(k) * scale).collect()
}

/// The tensor's bytes in its file.
fn bytes(tensor: &Json) -> Vec<u8> {
    match tensor["dtype"].as_str().unwrap() {
        "F32" => weights(tensor).into_iter().flat_map(f32::to_le_bytes).collect(),
        "F16" => weights(tensor).into_iter().flat_map(|weight| f16::from_f32(weight).to_le_bytes()).collect(),
        "BF16" => weights(tensor).into_iter().flat_map(|weight| bf16::from_f32(weight).to_le_bytes()).collect(),
        // Bytes of MXFP4: whole numbers modulo 256.
        "U8" => elements(tensor).map(|(offset, k, _)| offset.wrapping_add(k).cast_unsigned()).collect(),
        "I64" => elements(tensor).flat_map(|(_, k, _)| i64::from(k).to_le_bytes()).collect(),
        other => panic!("{other}"),
    }
}

/// A safetensors file with these tensors.
fn safetensors(tensors: &[&Json]) -> Vec<u8> {
    let (mut entries, mut data) = (serde_json::Map::new(), Vec::new());
    for tensor in tensors {
        let begin = data.len();
        data.extend(bytes(tensor));
        let entry = serde_json::json!({
            "dtype": tensor["dtype"], "shape": tensor["shape"], "data_offsets": [begin, data.len()],
        });
        entries.insert(tensor["name"].as_str().unwrap().into(), entry);
    }
    let header = Json::Object(entries).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Writes the case as a folder of Hugging Face's layout into `parent` and reads its headers.
pub fn write(case: &Json, parent: &Path) -> Checkpoint {
    let folder = parent.join(case["folder"].as_str().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), case["config"].to_string()).unwrap();
    for (name, content) in case["files"].as_object().unwrap() {
        let text = content.as_str().map_or_else(|| content.to_string(), String::from);
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(self::folder().join("tokenizer").join(name), folder.join(name)).unwrap();
    }
    let mut files: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    let mut weight_map = serde_json::Map::new();
    for tensor in case["tensors"].as_array().unwrap() {
        let file = tensor.get("file").map_or("model.safetensors", |file| file.as_str().unwrap());
        files.entry(file).or_default().push(tensor);
        weight_map.insert(tensor["name"].as_str().unwrap().into(), file.into());
    }
    if files.len() > 1 {
        let index = serde_json::json!({"metadata": {}, "weight_map": weight_map});
        std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
    for (name, tensors) in files {
        std::fs::write(folder.join(name), safetensors(&tensors)).unwrap();
    }
    match read_any(&folder).unwrap() {
        Opened::Checkpoint(checkpoint) => *checkpoint,
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_are_those_of_the_script() {
    let check = |name: &str, (offset, shift, exp): (i64, i64, i64), expected: [f32; 4]| {
        let tensor = serde_json::json!({"name": name, "shape": [4], "offset": offset, "shift": shift, "exp": exp});
        assert_eq!(weights(&tensor), expected, "{name}");
    };
    check("model.embed_tokens.weight", (0, 0, -7), [0.742_187_5, 0.703_125, -0.195_312_5, 0.015_625]);
    check("model.norm.weight", (1, 2, -7), [1.023_437_5, 1.156_25, 1.078_125, 1.218_75]);
}

/// The model of a checkpoint that was written; without a tokenizer where the class wants SentencePiece, which the golden one is not: prompts of
/// token ids need none.
pub fn opened(checkpoint: &Checkpoint) -> Model {
    match open_model(&checkpoint.path) {
        Err(Error::UnknownTokenizer { .. }) => without_tokenizer(checkpoint),
        model => model.unwrap_or_else(|error| panic!("{}: {error}", checkpoint.path.display())),
    }
}

/// The model without a tokenizer: its tokens are ids alone.
fn without_tokenizer(checkpoint: &Checkpoint) -> Model {
    let mut model = checked_model(checkpoint).unwrap();
    model.metadata.set("tokenizer.ggml.model", Value::Str("none".into()));
    let n_vocab = u32::try_from(checkpoint.config.as_ref().unwrap().n_vocab).unwrap();
    model.metadata.set(&format!("{}.vocab_size", model.hyperparameters.architecture), Value::U32(n_vocab));
    model
}
