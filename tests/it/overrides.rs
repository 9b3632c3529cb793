//! Changed recipes on the real model: the file has the types that were asked for, the predicted size, and runs in llama.cpp.

use std::path::{Path, PathBuf};

use planish::format::{TensorReader, inspect};
use planish::model::{DType, Model};

use crate::common;
use crate::convert::{assert_refused, convert, names};

fn dtype_of(model: &Model, name: &str) -> DType {
    model.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype
}

/// Converts; returns the printed conversion and the path of the only file.
fn convert_by(source: &Path, level: &str, out_dir: &Path, options: &[&str]) -> (serde_json::Value, PathBuf) {
    let output = convert(source, level, out_dir).args(options).args(["--json", "--no-check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let made = printed["conversions"][0].clone();
    let path = PathBuf::from(made["path"].as_str().unwrap());
    assert_eq!(made["size_bytes"].as_u64().unwrap(), std::fs::metadata(&path).unwrap().len());
    (made, path)
}

#[cfg(feature = "llama-cpp")]
fn runs_in_llama_cpp(path: &Path) {
    let args: [&dyn AsRef<std::ffi::OsStr>; 8] =
        [&"bench", &path, &"--prompt-tokens", &"16", &"--gen-tokens", &"4", &"--repetitions", &"1"];
    let output = common::run(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(not(feature = "llama-cpp"))]
fn runs_in_llama_cpp(_: &Path) {}

#[test]
fn a_changed_recipe_is_carried_out_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    let options = [
        "--tensor-type",
        r"blk\.[0-3]\.ffn_down=F16",
        "--tensor-type",
        "attn_v=Q8_0",
        "--token-embedding-type",
        "Q6_K",
        "--prune-layers",
        "10,20",
        "--fallback",
        "same-size",
    ];
    let (made, path) = convert_by(&common::smollm2(), "Q4_K_M", dir.path(), &options);
    assert_eq!(names(dir.path()), ["SmolLM2-135M-Instruct-Q4_K_M-custom.gguf"]);
    let model = inspect(&path).unwrap();
    assert_eq!((model.hyperparameters.n_layers, model.tensors.len()), (28, 272 - 2 * 9));
    let check = |name: &str, expected: DType| assert_eq!(dtype_of(&model, name), expected, "{name}");
    check("blk.0.ffn_down.weight", DType::F16);
    check("blk.27.attn_v.weight", DType::Q8_0);
    check("blk.9.attn_q.weight", DType::IQ4_NL); // rows of 576 do not hold Q4_K
    check("token_embd.weight", DType::Q5_1); // nor Q6_K
    let text = r"--tensor-type 'blk\.[0-3]\.ffn_down=F16' --tensor-type 'attn_v=Q8_0' --token-embedding-type Q6_K --prune-layers 10,20 --fallback same-size";
    assert_eq!(made["changes"], text);
    // Layer 10 of this file was layer 11: a comparison by name would compare different layers.
    let errors = common::run(&[&"errors", &common::smollm2(), &path, &"--json"]);
    let errors: serde_json::Value = serde_json::from_slice(&errors.stdout).unwrap();
    let text = errors.to_string();
    assert!(text.contains("layers were left out") && !text.contains("shape 576"), "{text}");
    runs_in_llama_cpp(&path);
}

#[test]
fn layers_behind_a_pruned_one_keep_their_weights() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path) = convert_by(&common::smollm2(), "Q4_1", dir.path(), &["--pure", "--prune-layers", "0,10"]);
    let bytes_of = |path: &Path, name: &str| {
        let model = inspect(path).unwrap();
        let tensor = model.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let mut bytes = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
        TensorReader::open(&model).unwrap().read(tensor, 0, &mut bytes).unwrap();
        bytes
    };
    let check = |layer_idx: u64, was: u64| {
        let name = |layer_idx: u64| format!("blk.{layer_idx}.attn_q.weight");
        assert!(bytes_of(&path, &name(layer_idx)) == bytes_of(&common::smollm2(), &name(was)), "{layer_idx}");
    };
    check(0, 1);
    check(8, 9);
    check(9, 11);
    check(27, 29);
}

#[test]
fn a_pruned_checkpoint_runs() {
    let dir = tempfile::tempdir().unwrap();
    let output = common::run(&[&"sample", &"--only-unpack", &"--out", &dir.path()]);
    let sample = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let n_layers = planish::convert::open_model(&sample).unwrap().hyperparameters.n_layers;
    let (_, path) = convert_by(&sample, "Q8_0", &dir.path().join("out"), &["--prune-layers", "1"]);
    assert_eq!(inspect(&path).unwrap().hyperparameters.n_layers, n_layers - 1);
    runs_in_llama_cpp(&path);
}

#[test]
fn changes_that_cannot_be_made_are_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let out_dir = dir.path().join("out");
    let check = |options: &[&str], expected: &str| {
        let output = convert(&common::smollm2(), "Q4_K_M", &out_dir).args(options).output().unwrap();
        assert_refused(&output, expected);
        assert!(!out_dir.exists());
    };
    check(&["--tensor-type", "attn_x=Q8_0"], "no tensor of the model matches attn_x");
    check(
        &["--tensor-type", "_norm=Q8_0"],
        "matches only tensors that every level leaves as they are, such as blk.0.attn_norm.weight",
    );
    check(&["--prune-layers", "30"], "there is no layer 30, only 0 to 29");
    check(&["--tensor-type", "ffn_down=IQ2_XS"], "IQ2_XS needs an importance matrix that covers blk.0.ffn_down.weight");
}
