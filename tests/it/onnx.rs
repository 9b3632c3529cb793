//! Networks in ONNX that others made: what is said of them is what Python's `onnx` 1.23.2 counts, and they are written as they were read.

use std::path::Path;

use planish::format::onnx::{read_onnx, to_bytes};
use serde_json::{Value, json};

use crate::common::{fixture, run, run_json};

fn inspected(path: &Path) -> Value {
    run_json(&[&"inspect", &path, &"--json", &"--tensors"])
}

#[test]
fn real_networks_are_described() {
    let check = |name: &str, opset: i64, n_nodes: u64, n_subgraphs: u64, n_tensors: usize, n_initializers: usize, first: &str| {
        let found = inspected(&fixture(name));
        assert_eq!(found["opsets"], json!([{ "domain": "ai.onnx", "version": opset }]), "{name}");
        assert_eq!((&found["n_nodes"], &found["n_subgraphs"]), (&json!(n_nodes), &json!(n_subgraphs)), "{name}");
        let tensors = found["tensors"].as_array().unwrap();
        let n_own = tensors.iter().filter(|tensor| tensor["is_initializer"] == json!(true)).count();
        assert_eq!((tensors.len(), n_own), (n_tensors, n_initializers), "{name}");
        assert_eq!(found["operators"][0]["name"], json!(first), "{name}");
        assert_eq!(
            (&found["quantization"], &found["unknown_fields"], &found["warnings"]),
            (&json!([]), &json!([]), &json!([])),
            "{name}"
        );
        assert_eq!(found["can_be_converted"], json!(false), "{name}");
        found
    };
    let det = check("ch_PP-OCRv4_det_infer.onnx", 12, 672, 0, 342, 0, "Constant");
    assert_eq!(
        det["inputs"][0]["shape"],
        json!(["p2o.DynamicDimension.0", 3, "p2o.DynamicDimension.1", "p2o.DynamicDimension.2"])
    );
    assert_eq!(det["multiply_adds"]["n_total"], json!(null), "its lengths are open");
    assert!(det["n_parameters"].as_u64().unwrap() > 1_000_000);
    let vad = check("silero_vad.onnx", 16, 689, 50, 345, 0, "Constant");
    assert_eq!(vad["inputs"][1]["shape"], json!([2, null, 128]));
    check("silero_vad_half.onnx", 16, 325, 24, 172, 15, "Constant");
}

#[test]
fn real_networks_are_written_as_they_were_read() {
    for name in ["ch_PP-OCRv4_det_infer.onnx", "silero_vad.onnx", "silero_vad_half.onnx"] {
        let path = fixture(name);
        let file = read_onnx(&path).unwrap();
        assert_eq!(file.check_rewritable(), Ok(()), "{name}");
        assert!(to_bytes(&file.model, &path).unwrap() == std::fs::read(&path).unwrap(), "{name}");
    }
}

#[test]
fn a_network_is_shown_and_nothing_else_is_done_with_it() {
    let path = fixture("ch_PP-OCRv4_det_infer.onnx");
    let shown = run(&[&"inspect", &path]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("it can be inspected, but not converted, run or measured yet"), "{text}");
    let out = tempfile::tempdir().unwrap();
    for args in [
        vec![&"recommend" as &dyn AsRef<std::ffi::OsStr>, &path],
        vec![&"convert", &path, &"--level", &"Q8_0", &"--out", &out.path()],
        vec![&"bench", &path],
    ] {
        let refused = run(&args);
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains("an ONNX network can be inspected, but not"), "{error}");
        assert!(error.contains("planish inspect shows what is in it"), "{error}");
    }
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
