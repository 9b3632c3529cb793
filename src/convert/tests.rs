//! Conversion of small made-up models, from request to bytes on disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::part_file::PartFile;
use super::*;
use crate::advise::recipe::{self, Planner};
use crate::error::Error;
use crate::format::{self, Layout, TensorReader, TensorSpec};
use crate::model::{Array, DType, Framework, Hyperparameters, Metadata, Text, Value};
use crate::monitor::{Monitor, ProgressUnit};
use crate::quant;

/// A model of which nothing is known but its name.
pub(super) fn model_named(path: &Path) -> Model {
    Model {
        path: path.to_path_buf(),
        files: vec![path.to_path_buf()],
        size_bytes: 0,
        format_name: String::new(),
        alignment: 32,
        metadata: Metadata::default(),
        tensors: Vec::new(),
        hyperparameters: Hyperparameters::default(),
        warnings: Vec::new(),
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: None,
        others: Vec::new(),
    }
}

/// Names, types and shapes that take every path: rows of 256, 32 and 20, longer than a chunk, three dimensions, one row, kept types.
const TENSORS: [(&str, DType, &[u64]); 10] = [
    ("token_embd.weight", DType::F16, &[512, 520]),
    ("blk.0.attn_norm.weight", DType::F32, &[512]),
    ("blk.0.attn_q.weight", DType::F32, &[512, 24]),
    ("blk.0.attn_k.weight", DType::BF16, &[96, 16]),
    ("blk.0.attn_v.weight", DType::F16, &[20, 8]),
    ("blk.0.attn_output.weight", DType::Q8_0, &[512, 4]),
    ("blk.0.ffn_up.weight", DType::F16, &[256 * 1024 + 512, 1]),
    ("blk.0.ffn_down_exps.weight", DType::F16, &[256, 8, 4]),
    ("blk.0.ffn_gate.weight", DType::F32, &[256, 1]),
    ("blk.0.table", DType::I32, &[7]),
];

/// Weights that look like a model's: centred, within ±0.1, the same for the same seed.
fn weights(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[allow(clippy::cast_precision_loss, reason = "24 bits fit")]
        let unit = (state >> 40) as f32 / (1_u64 << 24) as f32;
        unit - 0.5
    };
    (0..n).map(|_| next() * next() * 0.4).collect()
}

pub(super) fn data(seed: u64, dtype: DType, shape: &[u64]) -> Vec<u8> {
    let n: usize = shape.iter().product::<u64>().try_into().unwrap();
    if dtype == DType::I32 {
        return (0..n).flat_map(|idx| u32::try_from(idx).unwrap().to_le_bytes()).collect();
    }
    encode(dtype, &weights(seed, n), shape[0])
}

fn encode(dtype: DType, weights: &[f32], row_len: u64) -> Vec<u8> {
    let size = dtype.row_bytes(row_len).unwrap() * (weights.len() as u64 / row_len);
    let mut bytes = vec![0; size.try_into().unwrap()];
    quant::quantize_rows(dtype, weights, row_len.try_into().unwrap(), &mut bytes).unwrap();
    bytes
}

pub(super) fn decode(dtype: DType, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut weights = vec![0.0; n];
    quant::dequantize_rows(dtype, bytes, &mut weights).unwrap();
    weights
}

fn metadata() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::Str(Text(b"llama".into())));
    metadata.set("llama.block_count", Value::U32(1));
    metadata.set("llama.embedding_length", Value::U32(512));
    metadata.set("tokenizer.ggml.tokens", Value::Array(Array::Str(vec![Text(b"a".into()), Text(b"\xff".into())])));
    metadata
}

/// Writes a GGUF file and reads its header.
fn write_model(path: &Path, tensors: &[(&str, DType, &[u64], Vec<u8>)]) -> Model {
    let spec = |(name, dtype, shape, _): &(&str, DType, &[u64], Vec<u8>)| TensorSpec {
        name: (*name).into(),
        dtype: *dtype,
        shape: shape.to_vec(),
    };
    let specs: Vec<_> = tensors.iter().map(spec).collect();
    let layout = Layout::plan(&metadata(), &specs, 32).unwrap();
    let mut bytes = layout.header;
    bytes.resize(layout.file_size_bytes.try_into().unwrap(), 0);
    for ((_, _, _, data), placed) in tensors.iter().zip(&layout.tensors) {
        let start = usize::try_from(placed.offset).unwrap();
        bytes[start..start + data.len()].copy_from_slice(data);
    }
    std::fs::write(path, bytes).unwrap();
    read_model(path)
}

/// Reads a header without its warnings: the tests ask how tensors are written, not what llama.cpp would say of so few of them.
pub(super) fn read_model(path: &Path) -> Model {
    Model { warnings: Vec::new(), obstacles: Vec::new(), unknown: Vec::new(), ..format::read_gguf(path).unwrap() }
}

pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    pub(super) model: Model,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let tensors: Vec<_> =
            (0..).zip(TENSORS).map(|(seed, (name, dtype, shape))| (name, dtype, shape, data(seed, dtype, shape))).collect();
        Self::with(&tensors)
    }

    pub(super) fn with(tensors: &[(&str, DType, &[u64], Vec<u8>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = write_model(&dir.path().join("tiny-F16.gguf"), tensors);
        Self { dir, model }
    }

    fn out_dir(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub(super) fn request(&self, levels: &[Level]) -> ConvertRequest {
        ConvertRequest { n_threads: Some(2), ..ConvertRequest::new(levels.into(), self.out_dir()) }
    }

    fn convert(&self, levels: &[Level]) -> Result<Vec<Conversion>> {
        convert(&self.model, &self.request(levels), &Monitor::silent())
    }

    /// Names in the output folder, without the manifests of files that are there.
    pub(super) fn outputs(&self) -> Vec<String> {
        let names = names(&self.out_dir());
        let is_beside =
            |name: &&String| name.strip_suffix(".manifest.json").is_some_and(|of| names.iter().any(|name| name == of));
        names.iter().filter(|name| !is_beside(name)).cloned().collect()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Metadata with zeros for the checksums of what was made, as it was planned.
pub(super) fn unsealed(mut metadata: Metadata) -> Metadata {
    for (key, value) in &mut metadata.0 {
        if key.starts_with("planish.") && key.ends_with(".blake3") {
            let Value::Str(Text(digits)) = value else { panic!("{key} is no text") };
            assert!(digits.len() == 64 && digits.iter().any(|&digit| digit != b'0'), "{key} was not filled in");
            digits.fill(b'0');
        }
    }
    metadata
}

pub(super) fn tensor_bytes(model: &Model, idx: usize) -> Vec<u8> {
    let tensor = &model.tensors[idx];
    let mut bytes = vec![0; tensor.size_bytes.try_into().unwrap()];
    TensorReader::open(model).unwrap().read(tensor, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn all_levels_at_once_have_the_predicted_sizes_and_the_bytes_of_the_quantizer() {
    let fixture = Fixture::new();
    let levels: Vec<_> = Level::of(Framework::LlamaCpp).filter(|level| !level.preset().unwrap().needs_imatrix()).collect();
    let conversions = fixture.convert(&levels).unwrap();
    assert_eq!(fixture.outputs().len(), levels.len());
    for (conversion, level) in conversions.iter().zip(levels) {
        assert_eq!(conversion.level, level);
        assert_eq!(conversion.path, fixture.out_dir().join(format!("tiny-{level}.gguf")));
        assert_eq!(conversion.source, fixture.model.path);
        assert_eq!(conversion.size_bytes, std::fs::metadata(&conversion.path).unwrap().len(), "{level}");
        assert_eq!(conversion.size_bytes, recipe::output_size_bytes(&fixture.model, level.preset().unwrap()).unwrap(), "{level}");
        let output = format::inspect(&conversion.path).unwrap();
        assert!((conversion.bits_per_weight - output.bits_per_weight()).abs() < 1e-9, "{level}");
        assert_eq!(unsealed(output.metadata.clone()), Planner::new(&fixture.model).output_metadata(level.preset().unwrap()));
        assert_eq!(output.tensors.len(), TENSORS.len());
        let dtypes = recipe::recipe(&fixture.model, level.preset().unwrap()).dtypes;
        for (idx, tensor) in output.tensors.iter().enumerate() {
            let source = &fixture.model.tensors[idx];
            assert_eq!((&tensor.name, tensor.dtype), (&source.name, dtypes[idx]), "{level}");
            let raw = tensor_bytes(&fixture.model, idx);
            let expected = if tensor.dtype == source.dtype {
                raw
            } else {
                let weights = decode(source.dtype, &raw, source.n_elements().try_into().unwrap());
                encode(tensor.dtype, &weights, source.row_len())
            };
            assert!(tensor_bytes(&output, idx) == expected, "{level} {}", tensor.name);
        }
    }
}

#[test]
fn the_bytes_depend_neither_on_threads_nor_on_other_levels() {
    let fixture = Fixture::new();
    let together = [Level::Q4_K_M, Level::Q8_0, Level::IQ4_XS, Level::IQ3_S];
    let run = |name: &str, levels: &[Level], n_threads| {
        let out_dir = fixture.dir.path().join(name);
        let request = ConvertRequest { out_dir, n_threads: Some(n_threads), ..fixture.request(levels) };
        let conversions = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
        conversions.into_iter().map(|conversion| std::fs::read(conversion.path).unwrap()).collect::<Vec<_>>()
    };
    let expected = run("one", &together, 1);
    assert!(run("two", &together, 2) == expected);
    assert!(run("seven", &together, 7) == expected);
    for (level, expected) in together.into_iter().zip(&expected) {
        assert!(run("alone", &[level], 3).first() == Some(expected), "{level}");
    }
}

#[test]
fn progress_counts_every_byte_of_the_source_once() {
    let fixture = Fixture::new();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let monitor = Monitor::new(Arc::default(), move |progress| sink.lock().unwrap().push(progress));
    convert(&fixture.model, &fixture.request(&[Level::Q8_0, Level::Q4_0]), &monitor).unwrap();
    let reports = reports.lock().unwrap();
    assert!(reports.is_sorted_by_key(|progress| progress.done));
    assert!(
        reports.iter().all(|progress| progress.total == fixture.model.tensor_bytes() && progress.unit == ProgressUnit::Bytes)
    );
    assert_eq!(reports.last().unwrap().done, fixture.model.tensor_bytes());
}

#[test]
fn cancelling_anywhere_leaves_nothing() {
    let fixture = Fixture::new();
    let levels: Vec<_> = Level::of(Framework::LlamaCpp).filter(|level| !level.preset().unwrap().needs_imatrix()).collect();
    let check = |percent: u64| {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        let monitor = Monitor::new(cancelled, move |progress| {
            if progress.done * 100 >= progress.total * percent {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let outcome = convert(&fixture.model, &fixture.request(&levels), &monitor);
        assert_eq!(outcome, Err(Error::Cancelled), "at {percent} %");
        assert_eq!(fixture.outputs(), [""; 0]);
    };
    for percent in [0, 1, 50, 100] {
        check(percent);
    }
    assert_eq!(names(fixture.dir.path()), ["out", "tiny-F16.gguf"]);
}

#[test]
fn a_run_cancelled_before_it_starts_does_nothing() {
    let fixture = Fixture::new();
    let cancelled = Monitor::new(Arc::new(AtomicBool::new(true)), |_| {});
    assert_eq!(convert(&fixture.model, &fixture.request(&[Level::Q8_0]), &cancelled), Err(Error::Cancelled));
    assert_eq!(fixture.outputs(), [""; 0]);
}

#[test]
fn a_panic_leaves_nothing() {
    let fixture = Fixture::new();
    let monitor = Monitor::new(Arc::default(), |_| panic!("the listener died"));
    let run = std::panic::AssertUnwindSafe(|| convert(&fixture.model, &fixture.request(&[Level::Q8_0]), &monitor));
    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!(fixture.outputs(), [""; 0]);
}

#[test]
fn a_damaged_weight_is_found_with_its_row() {
    let check = |dtype: DType, position: usize, bad: f32, level: Level, row: u64, value: &'static str| {
        let mut bad_weights = weights(1, 512 * 1500);
        bad_weights[position] = bad;
        // A later one must not be reported instead, whichever thread is faster.
        bad_weights[512 * 1400] = f32::NAN;
        let bytes = match dtype {
            DType::F32 => bad_weights.iter().flat_map(|weight| weight.to_le_bytes()).collect(),
            DType::BF16 => bad_weights.iter().flat_map(|weight| weight.to_le_bytes()[2..].to_vec()).collect(),
            _ => unreachable!(),
        };
        let fixture = Fixture::with(&[
            ("token_embd.weight", DType::F32, &[512, 2], data(0, DType::F32, &[512, 2])),
            ("blk.0.ffn_up.weight", dtype, &[512, 1500], bytes),
        ]);
        let expected = Error::NonFinite { tensor: "blk.0.ffn_up.weight".into(), row, value };
        assert_eq!(fixture.convert(&[level]), Err(expected), "{dtype} {position} {level}");
        assert_eq!(fixture.outputs(), [""; 0]);
    };
    check(DType::F32, 0, f32::NAN, Level::Q8_0, 0, "NaN");
    check(DType::F32, 512 * 700 + 511, f32::INFINITY, Level::Q4_K_M, 700, "infinite");
    check(DType::BF16, 512 * 1100, f32::NEG_INFINITY, Level::F16, 1100, "infinite");
    check(DType::F32, 512 * 600, f32::NAN, Level::F32, 600, "NaN");
}

#[test]
fn a_damaged_weight_in_a_long_row_is_found_with_its_row() {
    let row_len = 256 * 1024 + 512;
    let mut bad_weights = weights(1, 2 * row_len);
    bad_weights[2 * row_len - 1] = f32::NAN;
    let bytes = bad_weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let fixture = Fixture::with(&[("blk.0.ffn_up.weight", DType::F32, &[256 * 1024 + 512, 2], bytes)]);
    let expected = Error::NonFinite { tensor: "blk.0.ffn_up.weight".into(), row: 1, value: "NaN" };
    assert_eq!(fixture.convert(&[Level::Q4_0]), Err(expected));
}

#[test]
fn a_source_that_changes_meanwhile_gives_no_output() {
    let check = |change: fn(&Path)| {
        let fixture = Fixture::new();
        let path = fixture.model.path.clone();
        let changed = AtomicBool::new(false);
        let monitor = Monitor::new(Arc::default(), move |_| {
            if !changed.swap(true, Ordering::Relaxed) {
                change(&path);
            }
        });
        let outcome = convert(&fixture.model, &fixture.request(&[Level::Q4_K_M]), &monitor);
        assert_eq!(outcome, Err(Error::SourceChanged { path: fixture.model.path.clone() }));
        assert_eq!(fixture.outputs(), [""; 0]);
    };
    check(|path| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap());
    check(|path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    });
}

#[test]
fn a_changed_source_is_refused_at_once() {
    let fixture = Fixture::new();
    std::fs::write(&fixture.model.path, "short").unwrap();
    assert_eq!(fixture.convert(&[Level::Q8_0]), Err(Error::SourceChanged { path: fixture.model.path.clone() }));
    assert_eq!(fixture.outputs(), [""; 0]);
}

#[test]
fn an_existing_output_is_kept_unless_overwriting_is_allowed() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.out_dir()).unwrap();
    let path = output_path(&fixture.model, Level::Q8_0, &fixture.out_dir());
    std::fs::write(&path, "old").unwrap();
    assert_eq!(fixture.convert(&[Level::Q4_0, Level::Q8_0]), Err(Error::OutputExists { path: path.clone() }));
    assert_eq!(fixture.outputs(), ["tiny-Q8_0.gguf"]);

    let allowed = ConvertRequest { overwrite: Overwrite::Allowed, ..fixture.request(&[Level::Q8_0]) };
    let cancelled = Monitor::new(Arc::new(AtomicBool::new(true)), |_| {});
    assert_eq!(convert(&fixture.model, &allowed, &cancelled), Err(Error::Cancelled));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");

    let conversions = convert(&fixture.model, &allowed, &Monitor::silent()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), conversions[0].size_bytes);
    assert_eq!(fixture.outputs(), ["tiny-Q8_0.gguf"]);
}

#[test]
fn the_source_is_never_an_output() {
    let check = |make: fn(&Path, &Path), name: &str, overwrite| {
        let fixture = Fixture::new();
        std::fs::create_dir(fixture.out_dir()).unwrap();
        make(&fixture.model.path, &fixture.out_dir().join(name));
        let before = std::fs::read(&fixture.model.path).unwrap();
        let request = ConvertRequest { overwrite, ..fixture.request(&[Level::Q8_0]) };
        let outcome = convert(&fixture.model, &request, &Monitor::silent());
        assert_eq!(outcome, Err(Error::OutputIsSource { path: fixture.model.path.clone() }), "{name}");
        assert!(std::fs::read(&fixture.model.path).unwrap() == before);
        assert_eq!(fixture.outputs(), [name]);
    };
    #[cfg(unix)]
    for name in ["tiny-Q8_0.gguf", "tiny-Q8_0.gguf.part"] {
        for overwrite in [Overwrite::Never, Overwrite::Allowed] {
            check(|source, link| std::os::unix::fs::symlink(source, link).unwrap(), name, overwrite);
            check(|source, link| std::fs::hard_link(source, link).unwrap(), name, overwrite);
        }
    }
    let fixture = Fixture::new();
    let same = ConvertRequest { out_dir: fixture.dir.path().to_path_buf(), ..fixture.request(&[Level::F16]) };
    assert_eq!(
        convert(&fixture.model, &same, &Monitor::silent()),
        Err(Error::OutputIsSource { path: fixture.model.path.clone() })
    );
}

#[test]
fn an_output_that_another_run_writes_is_refused() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.out_dir()).unwrap();
    let path = output_path(&fixture.model, Level::Q8_0, &fixture.out_dir());
    let other = PartFile::create(&path).unwrap();
    let locked = Error::OutputLocked { path: paths::part_path(&path) };
    assert_eq!(fixture.convert(&[Level::Q4_0, Level::Q8_0]), Err(locked));
    assert_eq!(fixture.outputs(), ["tiny-Q8_0.gguf.part"]);
    drop(other);
    std::fs::write(paths::part_path(&path), "left over by a kill").unwrap();
    fixture.convert(&[Level::Q4_0, Level::Q8_0]).unwrap();
    assert_eq!(fixture.outputs(), ["tiny-Q4_0.gguf", "tiny-Q8_0.gguf"]);
}

#[test]
fn senseless_requests_are_refused() {
    let fixture = Fixture::new();
    let check = |request: ConvertRequest| {
        let outcome = convert(&fixture.model, &request, &Monitor::silent());
        assert!(matches!(outcome, Err(Error::BadRequest { .. })), "{outcome:?}");
    };
    check(fixture.request(&[]));
    check(ConvertRequest { n_threads: Some(0), ..fixture.request(&[Level::Q8_0]) });
    let empty = Fixture::with(&[]);
    assert!(matches!(empty.convert(&[Level::Q8_0]), Err(Error::NotAModel { what: "a vocabulary without weights", .. })));
    assert!(!fixture.out_dir().exists() && !empty.out_dir().exists());
}

#[test]
fn a_repeated_level_is_converted_once() {
    let fixture = Fixture::new();
    assert_eq!(fixture.convert(&[Level::Q8_0, Level::Q8_0]).unwrap().len(), 1);
}

#[test]
fn undecodable_types_are_refused_unless_they_are_copied() {
    let tensors = |name: &'static str| {
        let mut tensors = vec![("token_embd.weight", DType::F32, [256, 2].as_slice(), data(0, DType::F32, &[256, 2]))];
        tensors.push((name, DType::Q8_K, &[256, 2], vec![0; 2 * 292]));
        tensors
    };
    let fixture = Fixture::with(&tensors("blk.0.ffn_up.weight"));
    let expected = Error::UnsupportedDType { action: "decode", dtype: "Q8_K".into(), tensor: "blk.0.ffn_up.weight".into() };
    assert_eq!(fixture.convert(&[Level::Q8_0]), Err(expected));
    assert!(!fixture.out_dir().exists());
    assert!(Fixture::with(&tensors("blk.0.ffn_up.other")).convert(&[Level::Q8_0]).is_ok());
}

#[test]
fn the_plan_tells_sizes_and_creates_nothing() {
    let fixture = Fixture::new();
    let plan = preflight(&fixture.model, &fixture.request(&[Level::Q8_0, Level::Q2_K])).unwrap();
    assert!(!fixture.out_dir().exists());
    assert_eq!(plan.needed_bytes, plan.outputs.iter().map(|output| output.size_bytes).sum::<u64>());
    let conversions = fixture.convert(&[Level::Q8_0, Level::Q2_K]).unwrap();
    for (planned, done) in plan.outputs.iter().zip(conversions) {
        assert_eq!((planned.size_bytes, &planned.path, &planned.warnings), (done.size_bytes, &done.path, &done.warnings));
    }
}

#[test]
fn warnings_tell_what_the_level_hides() {
    let fixture = Fixture::new();
    let check = |level: Level, expected: &[&str]| {
        let plan = preflight(&fixture.model, &fixture.request(&[level])).unwrap();
        assert_eq!(plan.outputs[0].warnings, expected, "{level}");
    };
    check(Level::F16, &["decoded from Q8_0: larger than its source, not better"]);
    check(
        Level::Q8_0,
        &["1 of 10 tensors got a larger type than Q8_0 foresees: the tensor's rows are not a whole number of its blocks"],
    );
    check(
        Level::Q4_K_M,
        &[
            "requantized from Q8_0: loses more than a conversion from the original would",
            "2 of 10 tensors got a larger type than Q4_K_M foresees: their rows are not a whole number of its blocks",
        ],
    );
}
