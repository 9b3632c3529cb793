//! Conversion with error feedback over second moments, from the folder of moments to bytes on disk.

use std::path::{Path, PathBuf};

use super::paths::journal_path;
use super::resume_tests::cancelling_at;
use super::tests::{Fixture, data, decode, tensor_bytes};
use super::*;
use crate::error::Error;
use crate::format::{self, Checksum, MOMENTS_INDEX, MomentsIndex, MomentsSite};
use crate::model::DType;
use crate::monitor::Monitor;
use crate::quant::feedback::output_error;

const N: usize = 256;

/// Lower triangle of the moments of inputs that go together: neighbours share most of what they are.
fn triangle(shift: usize) -> Vec<f32> {
    let scale = |column: usize| if (column + shift).is_multiple_of(37) { 6.0_f32 } else { 1.0 };
    let moment = |row: usize, column: usize| {
        #[allow(clippy::cast_precision_loss, reason = "a column")]
        let distance = row.abs_diff(column) as f32;
        scale(row) * scale(column) * 0.9_f32.powf(distance)
    };
    (0..N).flat_map(|row| (0..=row).map(move |column| moment(row, column))).collect()
}

fn matrix(triangle: &[f32]) -> Vec<f32> {
    let mut matrix = vec![0.0; N * N];
    let places = (0..N).flat_map(|row| (0..=row).map(move |column| (row, column)));
    for ((row, column), moment) in places.zip(triangle) {
        matrix[row * N + column] = *moment;
        matrix[column * N + row] = *moment;
    }
    matrix
}

/// Tensor, experts, parts of its moments.
const SITES: [(&str, usize, usize); 4] = [
    ("blk.0.attn_q.weight", 1, 1),
    ("blk.0.attn_v.weight", 1, 3),
    ("blk.0.ffn_down_exps.weight", 2, 1),
    ("blk.0.attn_k.weight", 1, 0),
];

fn fixture() -> Fixture {
    let shapes: [(&str, &[u64]); 5] = [
        ("blk.0.attn_q.weight", &[256, 64]),
        ("blk.0.attn_k.weight", &[256, 24]),
        ("blk.0.attn_v.weight", &[256, 24]),
        ("blk.0.ffn_down_exps.weight", &[256, 8, 2]),
        ("blk.0.ffn_up.weight", &[256, 32]),
    ];
    let tensors: Vec<_> =
        (1..).zip(shapes).map(|(seed, (name, shape))| (name, DType::F16, shape, data(seed, DType::F16, shape))).collect();
    Fixture::with(&tensors)
}

fn write_moments(fixture: &Fixture) -> PathBuf {
    let dir = fixture.dir.path().join("moments");
    std::fs::create_dir_all(&dir).unwrap();
    let mut index = MomentsIndex::new("bundled calibration text", "00", 512, 512);
    for (name, n_experts, n_parts) in SITES {
        let mut numbers = vec![1.0_f32; N * n_experts];
        (0..n_parts).for_each(|part| numbers.extend(triangle(part)));
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let file = format!("{name}.moments");
        std::fs::write(dir.join(&file), &bytes).unwrap();
        let blake3 = Checksum::of(&bytes);
        index.sites.push(MomentsSite { file, blake3, n_columns: N, n_parts, n_experts, tensors: vec![name.into()] });
    }
    let path = dir.join(MOMENTS_INDEX);
    std::fs::write(&path, index.to_json().unwrap()).unwrap();
    path
}

fn request(fixture: &Fixture, imatrix: Option<PathBuf>, calibrated: bool) -> ConvertRequest {
    let overrides = Overrides { calibrated, ..Overrides::default() };
    ConvertRequest { imatrix, overrides, ..fixture.request(&[Level::Q4_K_M]) }
}

fn made(fixture: &Fixture, request: &ConvertRequest) -> (PathBuf, Model) {
    let conversion = convert(&fixture.model, request, &Monitor::silent()).unwrap().remove(0);
    let model = format::inspect(&conversion.path).unwrap();
    (conversion.path, model)
}

/// Output errors of a tensor's shares of rows, each with the moments of its part.
fn errors(fixture: &Fixture, model: &Model, idx: usize, n_parts: usize) -> Vec<f64> {
    let source = &fixture.model.tensors[idx];
    let n = source.n_elements().try_into().unwrap();
    let weights = decode(DType::F16, &tensor_bytes(&fixture.model, idx), n);
    let decoded = decode(model.tensors[idx].dtype, &tensor_bytes(model, idx), n);
    let shares = weights.chunks(n / n_parts).zip(decoded.chunks(n / n_parts)).enumerate();
    shares.map(|(part, (weights, decoded))| output_error(weights, decoded, &matrix(&triangle(part)), N)).collect()
}

#[test]
fn what_has_moments_loses_less_and_the_rest_is_as_without() {
    let fixture = fixture();
    let moments = write_moments(&fixture);
    let (path, calibrated) = made(&fixture, &request(&fixture, Some(moments.clone()), true));
    assert_eq!(path.file_name().unwrap(), "tiny-Q4_K_M-calibrated.gguf");
    let (plain_path, plain) = made(&fixture, &request(&fixture, Some(moments), false));
    assert_eq!(plain_path.file_name().unwrap(), "tiny-Q4_K_M.gguf");
    for (idx, tensor) in fixture.model.tensors.iter().enumerate() {
        let n_parts = SITES.iter().find(|site| site.0 == tensor.name).map_or(0, |site| site.2);
        let is_same = tensor_bytes(&plain, idx) == tensor_bytes(&calibrated, idx);
        assert_eq!(is_same, n_parts == 0, "{}", tensor.name);
        if n_parts > 0 {
            let (before, after) = (errors(&fixture, &plain, idx, n_parts), errors(&fixture, &calibrated, idx, n_parts));
            assert!(
                before.iter().zip(&after).all(|(before, after)| *after < 0.8 * before),
                "{}: {before:?} {after:?}",
                tensor.name
            );
        }
    }
    let recipe = calibrated.metadata.str("planish.recipe").unwrap();
    assert_eq!(recipe, "Q4_K_M --calibrated");
}

#[test]
fn threads_and_an_interruption_change_no_byte() {
    let fixture = fixture();
    let base = request(&fixture, Some(write_moments(&fixture)), true);
    let bytes = |dir: &str, n_threads: usize| {
        let out_dir = fixture.dir.path().join(dir);
        let request = ConvertRequest { out_dir, n_threads: Some(n_threads), resume: Resume::IfSame, ..base.clone() };
        std::fs::read(made(&fixture, &request).0).unwrap()
    };
    let one = bytes("one", 1);
    assert!(one == bytes("three", 3));
    let out_dir = fixture.dir.path().join("stopped");
    let stopped = ConvertRequest { out_dir: out_dir.clone(), keep_unfinished: true, ..base.clone() };
    assert_eq!(convert(&fixture.model, &stopped, &cancelling_at(fixture.model.tensor_bytes() / 2)), Err(Error::Cancelled));
    assert!(journal_path(&out_dir.join("tiny-Q4_K_M-calibrated.gguf")).exists());
    assert!(one == bytes("stopped", 2));
}

#[test]
fn the_plan_is_exact_before_there_are_moments() {
    let fixture = fixture();
    let planned = preflight(&fixture.model, &request(&fixture, None, true)).unwrap().outputs.remove(0);
    let (path, _) = made(&fixture, &request(&fixture, Some(write_moments(&fixture)), true));
    assert_eq!((planned.size_bytes, planned.path), (std::fs::metadata(&path).unwrap().len(), path));
}

#[test]
fn calibration_without_sound_moments_is_refused_and_leaves_nothing() {
    let check = |spoil: &dyn Fn(&Path), expected: &str| {
        let fixture = fixture();
        let moments = write_moments(&fixture);
        spoil(moments.parent().unwrap());
        let error = convert(&fixture.model, &request(&fixture, Some(moments), true), &Monitor::silent()).unwrap_err();
        assert!(matches!(error, Error::BadImatrix { .. } | Error::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(fixture.outputs().is_empty(), "{:?}", fixture.outputs());
    };
    let file = |dir: &Path| dir.join("blk.0.attn_q.weight.moments");
    check(&|dir| std::fs::write(file(dir), b"short").unwrap(), "length");
    check(&|dir| std::fs::remove_file(file(dir)).unwrap(), "attn_q");
    let flip = |dir: &Path| {
        let mut bytes = std::fs::read(file(dir)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(file(dir), bytes).unwrap();
    };
    check(&flip, "its bytes");
    let fixture = fixture();
    let without = convert(&fixture.model, &request(&fixture, None, true), &Monitor::silent());
    assert!(matches!(without, Err(Error::Internal { .. })), "{without:?}");
}
