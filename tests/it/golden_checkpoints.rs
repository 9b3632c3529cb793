//! Tiny checkpoints whose weights follow from the tensors' names; see `tests/golden/checkpoints/README.md`.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use planish::format::{Opened, read_any};
use planish::model::Checkpoint;
use serde_json::Value as Json;

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints")
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

/// The weights of a tensor, in row-major order.
fn weights(tensor: &Json) -> Vec<f32> {
    let name = tensor["name"].as_str().unwrap();
    let n: u64 = tensor["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).product();
    let number = |key: &str| tensor[key].as_i64().unwrap();
    let (offset, shift, exp) = (number("offset"), number("shift"), i32::try_from(number("exp")).unwrap());
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let weight = |idx: u64| {
        let mut z = hash.wrapping_add(idx).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let k = (z >> 56) as u8 as i8;
        f32::from(i8::try_from(offset).unwrap()) + f32::from(k >> shift) * 2f32.powi(exp)
    };
    (0..n).map(weight).collect()
}

/// Writes the case as a folder of Hugging Face's layout into `parent` and reads its headers.
pub fn write(case: &Json, parent: &Path) -> Checkpoint {
    let folder = parent.join(case["folder"].as_str().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), case["config"].to_string()).unwrap();
    for (name, content) in case["files"].as_object().unwrap() {
        let text = content.as_str().map_or_else(|| content.to_string(), String::from);
        std::fs::write(folder.join(name), text).unwrap();
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(self::folder().join("tokenizer").join(name), folder.join(name)).unwrap();
    }
    let (mut entries, mut data) = (serde_json::Map::new(), Vec::new());
    for tensor in case["tensors"].as_array().unwrap() {
        let begin = data.len();
        for weight in weights(tensor) {
            match tensor["dtype"].as_str().unwrap() {
                "F32" => data.extend(weight.to_le_bytes()),
                "F16" => data.extend(f16::from_f32(weight).to_le_bytes()),
                "BF16" => data.extend(bf16::from_f32(weight).to_le_bytes()),
                other => panic!("{other}"),
            }
        }
        let entry = serde_json::json!({
            "dtype": tensor["dtype"], "shape": tensor["shape"], "data_offsets": [begin, data.len()],
        });
        entries.insert(tensor["name"].as_str().unwrap().into(), entry);
    }
    let header = Json::Object(entries).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    match read_any(&folder).unwrap() {
        Opened::Checkpoint(checkpoint) => *checkpoint,
        Opened::Model(model) => panic!("{}", model.format_name),
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
