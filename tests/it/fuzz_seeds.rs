//! The fuzz targets on their seeds and on every input that once broke a reader; `fuzz/run.sh` looks for new ones.

#[path = "../../fuzz/readers.rs"]
mod readers;

use std::path::Path;

fn check(name: &str, target: fn(&[u8])) {
    let seeds = readers::seeds(name);
    assert!(!seeds.is_empty());
    for seed in &seeds {
        target(seed);
        target(&seed[..seed.len() / 2]);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        target(&std::fs::read(path).unwrap());
    }
}

#[test]
fn gguf_seeds() {
    check("gguf", readers::gguf);
}

#[test]
fn safetensors_seeds() {
    check("safetensors", readers::safetensors);
}

#[test]
fn checkpoint_seeds() {
    check("checkpoint", readers::checkpoint);
}

#[test]
fn config_seeds() {
    check("config", readers::config);
}

#[test]
fn tokenizer_seeds() {
    check("tokenizer", readers::tokenizer);
}

#[test]
fn imatrix_seeds() {
    check("imatrix", readers::imatrix);
}

#[test]
fn onnx_seeds() {
    check("onnx", readers::onnx);
}
