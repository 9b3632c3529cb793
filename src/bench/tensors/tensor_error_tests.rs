//! Errors of tensors in small made-up files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::difference::{Difference, Mismatch};
use super::tensor_error::{TensorError, TensorErrors, tensor_errors};
use crate::convert::ConvertRequest;
use crate::error::Error;
use crate::format::{Layout, TensorSpec};
use crate::model::{DType, Metadata, Text, Value};
use crate::monitor::{Monitor, ProgressUnit};
use crate::quant;

type Data<'a> = (&'a str, DType, &'a [u64], Vec<u8>);

fn encoded(dtype: DType, weights: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(dtype.row_bytes(weights.len() as u64).unwrap()).unwrap()];
    quant::quantize_rows(dtype, weights, weights.len(), &mut bytes).unwrap();
    bytes
}

/// Weights as f32, NaN included.
fn plain(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

/// Weights between -0.5 and 0.5, the same for the same seed.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| random.f32() - 0.5).collect()
}

fn write(path: &Path, tensors: &[Data]) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::Str(Text(b"llama".into())));
    let spec = |(name, dtype, shape, _): &Data| TensorSpec { name: (*name).into(), dtype: *dtype, shape: shape.to_vec() };
    let layout = Layout::plan(&metadata, &tensors.iter().map(spec).collect::<Vec<_>>(), 32).unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_size_bytes.try_into().unwrap(), 0);
    for ((.., data), placed) in tensors.iter().zip(&layout.tensors) {
        let start = usize::try_from(placed.offset).unwrap();
        bytes[start..start + data.len()].copy_from_slice(data);
    }
    std::fs::write(path, bytes).unwrap();
}

struct Files {
    _dir: tempfile::TempDir,
    source: PathBuf,
    converted: PathBuf,
}

fn files(source: &[Data], converted: &[Data]) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let files = Files { source: dir.path().join("source.gguf"), converted: dir.path().join("converted.gguf"), _dir: dir };
    write(&files.source, source);
    write(&files.converted, converted);
    files
}

fn errors(source: &[Data], converted: &[Data]) -> TensorErrors {
    let files = files(source, converted);
    tensor_errors(&files.source, &files.converted, &Monitor::silent()).unwrap()
}

/// The result for the only tensor of two files of f32.
fn of_plain(a: &[f32], b: &[f32]) -> std::result::Result<Difference, Mismatch> {
    let shape = [a.len() as u64];
    let found = errors(&[("t", DType::F32, &shape, plain(a))], &[("t", DType::F32, &shape, plain(b))]);
    assert_eq!(found.tensors.len(), 1);
    found.tensors[0].result.clone()
}

#[test]
fn numbers_are_those_of_the_formulas() {
    let check = |a: &[f32], b: &[f32], relative_rms: f64, max_abs: f64, cosine: Option<f64>| {
        let found = of_plain(a, b).unwrap();
        let is_near = |x: f64, y: f64| (x - y).abs() < 1e-7;
        assert!(is_near(found.relative_rms, relative_rms) && is_near(found.max_abs, max_abs), "{a:?} {b:?}: {found:?}");
        assert!(found.cosine.is_some() == cosine.is_some(), "{found:?}");
        assert!(is_near(found.cosine.unwrap_or(0.0), cosine.unwrap_or(0.0)), "{a:?} {b:?}: {found:?}");
        assert!(!found.is_identical);
    };
    check(&[2.0; 9], &[2.5; 9], 0.25, 0.5, Some(1.0));
    check(&[1.0, 0.0], &[0.0, 1.0], 2_f64.sqrt(), 1.0, Some(0.0));
    check(&[3.0, 4.0], &[-3.0, -4.0], 2.0, 8.0, Some(-1.0));
    check(&[3.0, 4.0], &[3.0, 0.0], 0.8, 4.0, Some(0.6));
    check(&[1.0, 2.0], &[0.0, 0.0], 1.0, 2.0, None);
    // Other bytes, same numbers.
    check(&[0.0, 0.0], &[-0.0, 0.0], 0.0, 0.0, None);
}

#[test]
fn what_has_no_error_says_why() {
    let check = |a: &[f32], b: &[f32], expected: Mismatch| assert_eq!(of_plain(a, b), Err(expected));
    check(&[0.0, 0.0], &[0.0, 1.0], Mismatch::ZeroSource);
    check(&[1.0, f32::NAN, f32::INFINITY], &[1.0, 2.0, 3.0], Mismatch::NotFinite { n_in_source: 2, n_in_converted: 0 });
    check(&[1.0, 2.0], &[f32::NEG_INFINITY, 2.0], Mismatch::NotFinite { n_in_source: 0, n_in_converted: 1 });
}

#[test]
fn copied_bytes_are_recognised_even_when_they_cannot_be_decoded() {
    let blocks = |last: u8| [vec![7; 291], vec![last]].concat();
    let pair = |last| {
        let found = errors(&[("t", DType::Q8_K, &[256], blocks(1))], &[("t", DType::Q8_K, &[256], blocks(last))]);
        found.tensors[0].result.clone()
    };
    assert_eq!(pair(1), Ok(Difference::IDENTICAL));
    assert_eq!(pair(2), Err(Mismatch::Undecodable { dtype: DType::Q8_K }));
    assert_eq!(of_plain(&[f32::NAN, 1.0], &[f32::NAN, 1.0]), Ok(Difference::IDENTICAL), "copied as it was");
}

#[test]
fn each_tensor_is_found_by_its_name_and_strangers_are_listed() {
    let small = || plain(&[1.0, 2.0]);
    let source = [
        ("blk.0.attn_q.weight", DType::F32, &[2, 1][..], small()),
        ("blk.0.attn_k.weight", DType::F32, &[2], small()),
        ("blk.0.attn_v.weight", DType::F32, &[1, 2], small()),
        ("output.weight", DType::F32, &[2], small()),
    ];
    let converted = [
        ("extra", DType::F32, &[2][..], small()),
        ("blk.0.attn_v.weight", DType::F32, &[2], small()),
        ("output.weight", DType::F32, &[2], plain(&[1.0, 3.0])),
        ("blk.0.attn_q.weight", DType::F32, &[2], small()),
    ];
    let found = errors(&source, &converted);
    let rows: Vec<(&str, Option<DType>, Option<DType>)> =
        found.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.source_dtype, tensor.converted_dtype)).collect();
    let f32 = Some(DType::F32);
    let expected = [
        ("blk.0.attn_q.weight", f32, f32),
        ("blk.0.attn_k.weight", f32, None),
        ("blk.0.attn_v.weight", f32, f32),
        ("output.weight", f32, f32),
        ("extra", None, f32),
    ];
    assert_eq!(rows, expected);
    let result = |idx: usize| found.tensors[idx].result.clone();
    assert_eq!(
        (result(0), result(1), result(4)),
        (Ok(Difference::IDENTICAL), Err(Mismatch::OnlyInSource), Err(Mismatch::OnlyInConverted))
    );
    assert_eq!(result(2), Err(Mismatch::Shape { source_shape: "1 × 2".into(), converted_shape: "2".into() }));
    assert_eq!(
        found.warnings,
        ["3 of 5 tensors could not be compared: blk.0.attn_k.weight (missing in the converted file), blk.0.attn_v.weight \
          (shape 1 × 2 became 2), extra (missing in the source)"]
    );
    // Two of the four comparable weights in output.weight, the others copied: sqrt((2 * 0 + 2 * (1 / 5)) / 4).
    assert!((found.overall_relative_rms.unwrap() - 0.1_f64.sqrt()).abs() < 1e-9, "{:?}", found.overall_relative_rms);
}

#[test]
fn files_without_a_common_tensor_have_no_overall_error() {
    let found = errors(&[("a", DType::F32, &[1], plain(&[1.0]))], &[("b", DType::F32, &[1], plain(&[1.0]))]);
    assert_eq!((found.tensors.len(), found.overall_relative_rms), (2, None));
}

#[test]
fn the_worst_come_first_and_those_without_an_error_before_them() {
    let shape = &[4_u64][..];
    let tensor = |name: &'static str, weights: [f32; 4]| (name, DType::F32, shape, plain(&weights));
    let source = [tensor("same", [1.0; 4]), tensor("near", [1.0; 4]), tensor("far", [1.0; 4]), tensor("gone", [1.0; 4])];
    let converted = [tensor("same", [1.0; 4]), tensor("near", [1.1; 4]), tensor("far", [2.0; 4])];
    let found = errors(&source, &converted);
    let names: Vec<&str> = found.worst_first().into_iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["gone", "far", "near", "same"]);
}

/// Sizes that end inside a piece, at its end, and after more pieces than are reported at once; types of both families.
#[test]
fn quantized_tensors_have_the_error_of_their_decoded_weights_whatever_the_number_of_threads() {
    const N: usize = 64 * 1024 * 33 + 256;
    let shapes: [&[u64]; 3] = [&[256, 3], &[1024, 64], &[256, N as u64 / 256]];
    let types = [DType::Q4_K, DType::Q8_0, DType::Q4_1];
    let mut weights = Vec::new();
    for (seed, shape) in (0..).zip(shapes) {
        weights.push(noise(seed, usize::try_from(shape.iter().product::<u64>()).unwrap()));
    }
    let names = ["blk.0.ffn_down.weight", "blk.1.ffn_down.weight", "token_embd.weight"];
    let row = |shape: &[u64]| usize::try_from(shape[0]).unwrap();
    let quantized = |idx: usize| {
        let n_bytes = types[idx].row_bytes(weights[idx].len() as u64).unwrap();
        let mut bytes = vec![0; usize::try_from(n_bytes).unwrap()];
        quant::quantize_rows(types[idx], &weights[idx], row(shapes[idx]), &mut bytes).unwrap();
        bytes
    };
    let source: Vec<Data> = (0..3).map(|idx| (names[idx], DType::F16, shapes[idx], encoded(DType::F16, &weights[idx]))).collect();
    let converted: Vec<Data> = (0..3).map(|idx| (names[idx], types[idx], shapes[idx], quantized(idx))).collect();
    let files = files(&source, &converted);
    let with_threads = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| tensor_errors(&files.source, &files.converted, &Monitor::silent()).unwrap())
    };
    let found = with_threads(1);
    assert_eq!(found, with_threads(3));
    for (idx, tensor) in found.tensors.iter().enumerate() {
        let decode = |data: &Data| {
            let mut decoded = vec![0.0; weights[idx].len()];
            quant::dequantize_rows(data.1, &data.3, &mut decoded).unwrap();
            decoded
        };
        let (a, b) = (decode(&source[idx]), decode(&converted[idx]));
        let sum = |f: fn(f64, f64) -> f64| -> f64 { a.iter().zip(&b).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum() };
        let expected = (sum(|a, b| (a - b) * (a - b)) / sum(|a, _| a * a)).sqrt();
        let difference = tensor.result.clone().unwrap();
        assert!((difference.relative_rms / expected - 1.0).abs() < 1e-9, "{}: {difference:?}, {expected}", tensor.name);
        assert!(difference.relative_rms > 0.001 && difference.relative_rms < 0.2, "{}: {difference:?}", tensor.name);
        assert!(difference.cosine.unwrap() > 0.98, "{}: {difference:?}", tensor.name);
    }
    let places: Vec<(Option<u64>, &str)> = found.tensors.iter().map(|tensor| (tensor.layer_idx, tensor.kind.as_str())).collect();
    assert_eq!(places, [(Some(0), "ffn_down"), (Some(1), "ffn_down"), (None, "token_embd")]);
}

#[test]
fn progress_counts_both_files_and_a_cancelled_comparison_ends() {
    let (same, other) = (noise(1, 300_000), noise(2, 300_000));
    let shape = &[300_000_u64][..];
    // The second tensor is compared byte by byte first, then weight by weight: its bar must not go back.
    let late = [&same[..299_999], &[9.0]].concat();
    let source =
        [("a", DType::F32, shape, plain(&same)), ("b", DType::F32, shape, plain(&same)), ("c", DType::F32, shape, plain(&other))];
    let converted = [
        ("a", DType::F32, shape, plain(&same)),
        ("b", DType::F32, shape, plain(&late)),
        ("c", DType::F16, shape, encoded(DType::F16, &other)),
    ];
    let files = files(&source, &converted);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let monitor = Monitor::new(Arc::default(), move |progress| sink.lock().unwrap().push(progress));
    tensor_errors(&files.source, &files.converted, &monitor).unwrap();
    let reports = reports.lock().unwrap();
    let total = 300_000 * (4 + 4 + 4 + 4 + 4 + 2);
    assert!(reports.is_sorted_by_key(|progress| progress.done));
    assert!(reports.iter().all(|progress| progress.total == total && progress.unit == ProgressUnit::Bytes));
    assert_eq!(reports.last().map(|progress| progress.done), Some(total));

    for at in 0..reports.len() {
        let flag = Arc::new(AtomicBool::new(false));
        let (cancel, seen) = (Arc::clone(&flag), Mutex::new(0));
        let monitor = Monitor::new(flag, move |_| {
            let mut seen = seen.lock().unwrap();
            cancel.store(*seen == at, Ordering::Relaxed);
            *seen += 1;
        });
        let outcome = tensor_errors(&files.source, &files.converted, &monitor);
        // Cancelled during the last report, the comparison is already complete.
        assert!(outcome == Err(Error::Cancelled) || at + 1 == reports.len(), "{at}");
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let files = files(&[("a", DType::F32, &[1], plain(&[1.0]))], &[]);
    let missing = files.source.with_file_name("none.gguf");
    let outcome = tensor_errors(&files.source, &missing, &Monitor::silent());
    assert!(matches!(&outcome, Err(Error::Io { path, .. }) if *path == missing), "{outcome:?}");
}

#[test]
fn json_is_flat_and_what_is_unknown_is_null() {
    let tensor = |result| TensorError {
        name: "blk.2.attn_q.weight".into(),
        layer_idx: Some(2),
        kind: "attn_q".into(),
        source_dtype: Some(DType::F16),
        converted_dtype: None,
        packed: None,
        n_elements: 64,
        result,
    };
    let json = |result| serde_json::to_value(tensor(result)).unwrap();
    let measured = json(Ok(Difference { relative_rms: 0.5, max_abs: 2.0, cosine: None, is_identical: false }));
    let expected = serde_json::json!({
        "name": "blk.2.attn_q.weight", "layer_idx": 2, "kind": "attn_q", "source_dtype": "F16", "converted_dtype": null,
        "n_elements": 64, "relative_rms": 0.5, "max_abs": 2.0, "cosine": null, "is_identical": false, "problem": null,
    });
    assert_eq!(measured, expected);
    let missing = json(Err(Mismatch::OnlyInSource));
    assert_eq!(
        (&missing["relative_rms"], &missing["problem"]),
        (&serde_json::Value::Null, &"missing in the converted file".into())
    );
}

#[test]
fn tensors_of_an_mlx_folder_are_those_of_the_checkpoint_with_their_modes() {
    let dir = tempfile::tempdir().unwrap();
    let model = crate::convert::open_model(&crate::convert::unpack_sample(dir.path()).unwrap()).unwrap();
    let levels = ["mlx:4-bit", "mlx:mixed_3_6"].map(|name| name.parse().unwrap());
    let made = crate::convert::convert(&model, &ConvertRequest::new(levels.to_vec(), dir.path()), &Monitor::silent()).unwrap();
    let found = made.iter().map(|made| tensor_errors(&model.path, &made.path, &Monitor::silent()).unwrap()).collect::<Vec<_>>();
    for (found, made) in found.iter().zip(&made) {
        assert_eq!((&found.converted, found.warnings.as_slice()), (&made.path, [].as_slice()));
        assert_eq!(found.tensors.len(), model.tensors.len());
    }
    let rms = |of: &TensorErrors, name: &str| {
        let tensor = of.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        (tensor.types_text(), tensor.result.as_ref().unwrap().relative_rms)
    };
    let (text, error) = rms(&found[0], "blk.1.ffn_up.weight");
    assert!(text == "BF16 → 4-bit-g64" && (0.05..0.12).contains(&error), "{text} {error}");
    // BF16 in F16 loses nothing but what is too small for it.
    let (text, error) = rms(&found[0], "blk.1.attn_norm.weight");
    assert!(text == "F32 → F32" && error < 1e-6, "{text} {error}");
    let [(low, low_error), (high, high_error)] = ["blk.1.ffn_up.weight", "blk.3.attn_v.weight"].map(|name| rms(&found[1], name));
    assert!(low == "BF16 → 3-bit-g64" && high == "BF16 → 6-bit-g64" && 4.0 * high_error < low_error, "{low} {high}");
}
