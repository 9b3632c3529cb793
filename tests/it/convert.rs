//! `planish convert` on the real model: sizes, refusals, memory.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use planish::advise::recipe;
use planish::format::{Layout, TensorSpec, inspect};
use planish::model::{DType, Framework, Level, Metadata, Text, Value};

use crate::common;

/// `planish convert SOURCE --level LEVELS --out DIR`.
pub fn convert(source: &Path, levels: &str, out_dir: &Path) -> Command {
    let mut command = common::planish();
    command.arg("convert").arg(source).args(["--level", levels]).arg("--out").arg(out_dir);
    command
}

/// Where SmolLM2's output at a level goes.
pub fn smollm2_output(out_dir: &Path, level: Level) -> PathBuf {
    out_dir.join(format!("SmolLM2-135M-Instruct-{level}.gguf"))
}

/// Names in a folder, sorted, without manifests and journals of files that are there; none for a missing folder.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let is_beside = |name: &&String| {
        let of = name.strip_suffix(".manifest.json").or_else(|| name.strip_suffix(".journal"));
        of.is_some_and(|of| names.contains(of))
    };
    names.iter().filter(|name| !is_beside(name)).cloned().collect()
}

/// Asserts exit status 1 with one `error:` and one `hint:` line, the first with `expected` in it.
pub fn assert_refused(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let error: Vec<_> = stderr.lines().filter(|line| line.contains("error:")).collect();
    assert!(error.len() == 1 && error[0].contains(expected), "expected {expected:?} in {stderr}");
    assert!(stderr.contains("hint:"), "{stderr}");
}

/// The sizes that `planish recommend --json` predicts, by level name.
fn predicted_sizes(source: &Path) -> Vec<(String, u64)> {
    fn collect(value: &serde_json::Value, found: &mut Vec<(String, u64)>) {
        match value {
            serde_json::Value::Object(fields) => {
                let level = fields.get("level").and_then(|level| level.as_str());
                let is_exact = fields.get("size_is_exact").and_then(serde_json::Value::as_bool);
                if let (Some(level), Some(true), Some(size)) = (level, is_exact, fields.get("size_bytes")) {
                    found.push((level.to_string(), size.as_u64().unwrap()));
                }
                fields.values().for_each(|field| collect(field, found));
            }
            serde_json::Value::Array(elements) => elements.iter().for_each(|element| collect(element, found)),
            _ => {}
        }
    }
    let output = common::planish().arg("recommend").arg(source).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = Vec::new();
    collect(&serde_json::from_slice(&output.stdout).unwrap(), &mut found);
    found
}

#[test]
fn smollm2_at_all_levels_has_the_predicted_sizes_and_types() {
    let dir = tempfile::tempdir().unwrap();
    let source = common::smollm2();
    let levels: Vec<_> = Level::of(Framework::LlamaCpp).filter(|level| !level.preset().unwrap().needs_imatrix()).collect();
    let list = levels.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let output = convert(&source, &list, dir.path()).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(names(dir.path()).len(), levels.len());
    let predicted = predicted_sizes(&source);
    let model = inspect(&source).unwrap();
    for level in levels {
        let path = smollm2_output(dir.path(), level);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(predicted.contains(&(level.to_string(), size)), "{level} has {size} bytes, predicted {predicted:?}");
        assert!(printed.to_string().contains(path.to_str().unwrap()), "{level} is not in {printed}");
        let written = inspect(&path).unwrap();
        let dtypes: Vec<_> = written.tensors.iter().map(|tensor| tensor.dtype).collect();
        assert_eq!(dtypes, recipe::recipe(&model, level.preset().unwrap()).dtypes, "{level}");
        assert_eq!(written.metadata.u64("general.file_type"), Some(level.preset().unwrap().file_type_id().into()));
        assert_eq!(written.metadata.find("tokenizer.ggml.tokens"), model.metadata.find("tokenizer.ggml.tokens"));
    }
}

#[test]
fn an_existing_output_is_replaced_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = smollm2_output(dir.path(), Level::Q4_0);
    std::fs::write(&path, "precious").unwrap();
    let source = common::smollm2();
    assert_refused(&convert(&source, "Q4_0", dir.path()).output().unwrap(), "output exists");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let forced = convert(&source, "Q4_0", dir.path()).arg("--force").output().unwrap();
    assert!(forced.status.success(), "{}", String::from_utf8_lossy(&forced.stderr));
    assert_eq!(inspect(&path).unwrap().tensors.len(), inspect(&source).unwrap().tensors.len());
    assert_eq!(names(dir.path()), ["SmolLM2-135M-Instruct-Q4_0.gguf"]);
}

#[test]
fn verify_tells_intact_files_from_damaged_ones() {
    let dir = tempfile::tempdir().unwrap();
    let source = common::smollm2();
    let made = convert(&source, "Q4_0,Q8_0", dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let paths = [Level::Q4_0, Level::Q8_0].map(|level| smollm2_output(dir.path(), level));
    let verify = |paths: &[PathBuf], from: &Path| {
        common::planish().arg("verify").args(paths).arg("--source").arg(from).arg("--json").output().unwrap()
    };
    let findings = |output: &Output| -> Vec<serde_json::Value> {
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        printed["files"].as_array().unwrap().iter().map(|file| file["verification"]["findings"].clone()).collect()
    };
    let intact = verify(&paths, &source);
    assert!(intact.status.success(), "{}", String::from_utf8_lossy(&intact.stderr));
    assert_eq!(findings(&intact), [serde_json::json!([]), serde_json::json!([])]);
    // One bit in the middle of the first file: the second is looked at all the same.
    let mut bytes = std::fs::read(&paths[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&paths[0], bytes).unwrap();
    let damaged = verify(&paths, &source);
    assert_refused(&damaged, "1 of 272 tensors is not what was written");
    assert_eq!(findings(&damaged)[1], serde_json::json!([]));
    assert_refused(&verify(&paths[1..], &paths[1]), "it was not made from");
    assert_refused(&verify(std::slice::from_ref(&source), &source), "no checksums");
}

#[cfg(unix)]
#[test]
fn the_source_is_never_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let source = common::smollm2();
    let before = std::fs::metadata(&source).unwrap();
    // The output's name leads to the source.
    let link = smollm2_output(dir.path(), Level::Q8_0);
    std::os::unix::fs::symlink(std::fs::canonicalize(&source).unwrap(), &link).unwrap();
    for force in [&[][..], &["--force"]] {
        assert_refused(&convert(&source, "Q8_0", dir.path()).args(force).output().unwrap(), "overwrite its source");
        assert_refused(&convert(&link, "Q8_0", dir.path()).args(force).output().unwrap(), "overwrite its source");
    }
    let after = std::fs::metadata(&source).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn bytes_are_the_same_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = ["1", "3"].map(|n_threads| {
        let out_dir = dir.path().join(n_threads);
        let output = convert(&common::smollm2(), "Q4_K_M", &out_dir).args(["--threads", n_threads]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(smollm2_output(&out_dir, Level::Q4_K_M)).unwrap()
    });
    assert!(bytes[0] == bytes[1]);
}

/// Rows and columns of the matrices of a sparse model.
const N_ROWS: u64 = 8192;
const N_COLUMNS: u64 = 4096;
const MATRIX_BYTES: u64 = N_ROWS * N_COLUMNS * 2;

/// Writes an F16 model of these tensors, whose weights are a hole in the file, except for the first and the last `N_ROWS` rows.
///
/// The hole takes no space and no time to write, yet every byte of it has to be read and converted.
fn write_sparse_model(path: &Path, n_layers: u64, n_experts: u64, specs: &[TensorSpec]) {
    use std::io::{Seek, SeekFrom, Write};
    let mut metadata = Metadata::default();
    // A known architecture would need all of its tensors.
    metadata.set("general.architecture", Value::Str(Text(b"sparse".into())));
    metadata.set("sparse.block_count", Value::U32(n_layers.try_into().unwrap()));
    metadata.set("sparse.embedding_length", Value::U32(4096));
    metadata.set("sparse.expert_count", Value::U32(n_experts.try_into().unwrap()));
    let layout = Layout::plan(&metadata, specs, 32).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&layout.header).unwrap();
    file.set_len(layout.file_size_bytes).unwrap();
    // F16 numbers of either sign between 2^-8 and 2^-7, in an order without a short period.
    let noise = |idx: u64| (idx * idx + idx / 7).to_le_bytes();
    let weight = |idx| (0x1c00 | u16::from_le_bytes([noise(idx)[0], noise(idx)[1]]) & 0x83ff).to_le_bytes();
    let values: Vec<u8> = (0..N_COLUMNS * N_ROWS).flat_map(weight).collect();
    for place in [layout.tensors.first().unwrap().offset, layout.file_size_bytes - MATRIX_BYTES] {
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(&values).unwrap();
    }
}

/// The most memory that a process has had resident, in bytes; `None` once it is gone.
#[cfg(target_os = "linux")]
fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Converts with two threads, and asserts the promise: 64 MB, and 16 MB for each thread.
#[cfg(target_os = "linux")]
fn assert_small_memory(source: &Path, levels: &str, out_dir: &Path) {
    const LIMIT_BYTES: u64 = (64 + 2 * 16) * 1_000_000;
    let mut command = convert(source, levels, out_dir);
    let mut child = command.args(["--threads", "2"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak_memory_bytes(child.id()).unwrap_or(0).max(peak_bytes);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    let source_bytes = std::fs::metadata(source).unwrap().len();
    println!("peak memory {} MB on a source of {} MB", peak_bytes / 1_000_000, source_bytes / 1_000_000);
    assert!(peak_bytes > 1_000_000 && peak_bytes < LIMIT_BYTES, "{peak_bytes} bytes");
}

/// Size in bytes of the sources in tests of memory: 1 GB unless `PLANISH_TEST_SOURCE_GB` says otherwise.
#[cfg(target_os = "linux")]
fn source_bytes() -> u64 {
    std::env::var("PLANISH_TEST_SOURCE_GB").ok().and_then(|text| text.parse().ok()).unwrap_or(1) * 1_000_000_000
}

/// Memory does not grow with the model.
#[cfg(target_os = "linux")]
#[test]
fn peak_memory_stays_small_on_a_large_source() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("sparse-F16.gguf");
    let n_layers = source_bytes() / MATRIX_BYTES;
    let spec = |idx| TensorSpec { name: format!("blk.{idx}.ffn_up.weight"), dtype: DType::F16, shape: vec![N_COLUMNS, N_ROWS] };
    write_sparse_model(&source, n_layers, 0, &(0..n_layers).map(spec).collect::<Vec<_>>());
    assert_small_memory(&source, "Q8_0", &dir.path().join("out"));
}

/// Nor does it grow with a tensor: all experts of a layer are one.
#[cfg(target_os = "linux")]
#[test]
fn peak_memory_stays_small_on_a_large_tensor_of_experts() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("sparse-F16.gguf");
    let n_experts = source_bytes() / MATRIX_BYTES;
    let shape = vec![N_COLUMNS, N_ROWS, n_experts];
    write_sparse_model(
        &source,
        1,
        n_experts,
        &[TensorSpec { name: "blk.0.ffn_up_exps.weight".into(), dtype: DType::F16, shape }],
    );
    assert_small_memory(&source, "Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M", &dir.path().join("out"));
}
