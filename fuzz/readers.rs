//! What is fuzzed: every reader of files that come from elsewhere, up to what the program does with what it read.
//!
//! The fuzz targets and a test of the ordinary suite (`tests/it/fuzz_seeds.rs`) share these functions. None may panic, hang or take
//! memory that its input does not account for; whatever an `Ok` hands out must hold what its documentation promises.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each target uses a part; a failure here is what is sought"
)]

use std::cell::LazyCell;
use std::path::{Path, PathBuf};

use planish::advise::{Planner, Room, advise, checklist, output_specs};
use planish::format::onnx::{read_onnx, to_bytes};
use planish::format::{Layout, Opened, TensorReader, TensorSpec, Writer, read_any, read_gguf, read_imatrix, read_safetensors};
use planish::hardware::Machine;
use planish::import::tokenizer::{encode, tokenizer_metadata};
use planish::import::{decoder, import, stored_model};
use planish::model::{Array, Checkpoint, DType, Metadata, Model, OnnxPlace, OnnxTensor, Preset, Text, Value};
use tempfile::TempDir;

#[path = "onnx_seeds.rs"]
mod onnx_seeds;

use crate::golden_checkpoints;

/// Files of a checkpoint that the target `checkpoint` replaces.
const CHECKPOINT_FILES: [&str; 12] = [
    "config.json",
    "README.md",
    "generation_config.json",
    "model.safetensors.index.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "chat_template.jinja",
    "quantize_config.json",
    // Last, because it is not a text file.
    "model.safetensors",
];
/// What is found in the place of files that were not fetched.
const PLACEHOLDERS: [&[u8]; 10] = [
    b"",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 123\n",
    b"/annex/objects/SHA256E-s1--4d.bin\n",
    b"<!DOCTYPE html><html>Access is restricted</html>",
    b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
    b"{\"error\":\"Repository not found\"}",
    b"Entry not found",
    b"../../blobs/4d7a2146",
    b"\xff\xfe{\0}\0",
    &[0; 64],
];
/// Values that scripts and people write into a `config.json`.
const ODD_VALUES: [&str; 16] = [
    "\"500000.0\"",
    "4.0",
    "\"4\"",
    "Infinity",
    "-Infinity",
    "NaN",
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"1e-05\"",
    "[]",
    "{}",
    "\"\"",
    "0.5",
];
/// Files that the target `tokenizer` replaces.
const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "chat_template.jinja",
];
/// Bytes of a tensor that are read from its start and its end.
const PROBE_BYTES: u64 = 512;

thread_local! {
    static SCRATCH: LazyCell<TempDir> = LazyCell::new(in_memory);
    static CHECKPOINTS: LazyCell<(TempDir, Vec<PathBuf>)> = LazyCell::new(checkpoint_folders);
    static TOKENIZERS: LazyCell<(TempDir, Vec<PathBuf>)> = LazyCell::new(tokenizer_folders);
}

/// A folder that costs no disk writes where the system has one.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs a target so that a panic that escapes from it ends the process, and one that it catches does not.
///
/// The fuzzer's own hook would end the process at every panic; those of the `tokenizers` library are caught on purpose.
pub fn escaping_panics_abort(target: impl FnOnce()) {
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
        target();
    }));
    if outcome.is_err() {
        std::process::abort();
    }
}

/// A GGUF file, and what is made of it: recipe, size, plan, header again.
pub fn gguf(bytes: &[u8]) {
    SCRATCH.with(|scratch| {
        let path = scratch.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(model) = read_gguf(&path) {
            use_model(&model);
            let specs = model.tensors.iter().map(|tensor| TensorSpec {
                name: tensor.name.clone(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
            });
            let specs: Vec<_> = specs.collect();
            if let Ok(layout) = Layout::plan(&model.metadata, &specs, model.alignment) {
                let expected = planish::format::file_size_bytes(&model.metadata, &specs, model.alignment);
                assert_eq!(Ok(layout.file_size_bytes), expected);
            }
        }
    });
}

/// The header of a safetensors file without a configuration beside it.
pub fn safetensors(bytes: &[u8]) {
    SCRATCH.with(|scratch| {
        let path = scratch.path().join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        if let Ok((size_bytes, tensors)) = read_safetensors(&path) {
            assert_eq!(size_bytes, bytes.len() as u64);
            for tensor in &tensors {
                assert!(tensor.offset.checked_add(tensor.size_bytes).is_some_and(|end| end <= size_bytes), "{tensor:?}");
            }
        }
        if let Ok(Opened::Checkpoint(checkpoint)) = read_any(&path) {
            use_checkpoint(&checkpoint);
        }
    });
}

/// A golden checkpoint with one of its small files replaced: the first byte chooses the checkpoint, the second the file.
pub fn checkpoint(bytes: &[u8]) {
    let &[case, file, ref content @ ..] = bytes else { return };
    CHECKPOINTS.with(|folders| {
        let (_, folders) = &**folders;
        let folder = &folders[usize::from(case) % folders.len()];
        replaced(&folder.join(CHECKPOINT_FILES[usize::from(file) % CHECKPOINT_FILES.len()]), content, || {
            if let Ok(Opened::Checkpoint(checkpoint)) = read_any(folder) {
                use_checkpoint(&checkpoint);
            }
        });
    });
}

/// A golden checkpoint with one value of its `config.json` replaced: the first byte chooses the checkpoint, the second the key.
pub fn config(bytes: &[u8]) {
    let &[case, key, ref value @ ..] = bytes else { return };
    CHECKPOINTS.with(|folders| {
        let (_, folders) = &**folders;
        let folder = &folders[usize::from(case) % folders.len()];
        let path = folder.join("config.json");
        let mut config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(key) = config.keys().nth(usize::from(key) % config.len().max(1)).cloned() else { return };
        config.remove(&key);
        let rest = serde_json::to_string(&config).unwrap();
        let start = format!("{{{}:", serde_json::Value::from(key));
        let text = [start.as_bytes(), value, if config.is_empty() { b"" } else { b"," }, &rest.as_bytes()[1..]].concat();
        replaced(&path, &text, || {
            if let Ok(Opened::Checkpoint(checkpoint)) = read_any(folder) {
                use_checkpoint(&checkpoint);
            }
        });
    });
}

/// A golden tokenizer with one of its files replaced, chosen as in `checkpoint`.
pub fn tokenizer(bytes: &[u8]) {
    let &[case, file, ref content @ ..] = bytes else { return };
    TOKENIZERS.with(|folders| {
        let (_, folders) = &**folders;
        let folder = &folders[usize::from(case) % folders.len()];
        replaced(&folder.join(TOKENIZER_FILES[usize::from(file) % TOKENIZER_FILES.len()]), content, || {
            let Ok(Opened::Checkpoint(checkpoint)) = read_any(folder) else { return };
            if let Ok(tokenizer) = tokenizer_metadata(&checkpoint) {
                let metadata = Metadata(tokenizer.entries);
                assert!(Layout::plan(&metadata, &[], 32).is_ok(), "{metadata:?}");
            }
            let _ = encode(&checkpoint, "Well, 12 naïve 日本語\r\n tokens\t…");
        });
    });
}

/// An importance matrix of either format.
pub fn imatrix(bytes: &[u8]) {
    SCRATCH.with(|scratch| {
        let path = scratch.path().join("imatrix");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(imatrix) = read_imatrix(&path) {
            let is_importance = |value: &f32| value.is_finite() && *value >= 0.0;
            assert!(imatrix.entries.values().flatten().all(is_importance));
            let _ = imatrix.metadata();
        }
    });
}

/// An ONNX file beside a file with weights, and what it says when it is written again.
pub fn onnx(bytes: &[u8]) {
    SCRATCH.with(|scratch| {
        let folder = scratch.path().join("onnx");
        std::fs::create_dir_all(&folder).unwrap();
        let (path, weights) = (folder.join("model.onnx"), folder.join(ONNX_WEIGHTS));
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(&weights, vec![7; ONNX_WEIGHTS_BYTES]).unwrap();
        let Ok(file) = read_onnx(&path) else {
            assert!(!matches!(read_any(&path), Ok(Opened::Onnx(_))));
            return;
        };
        assert!(file.files.iter().all(|file| *file == path || *file == weights), "{:?}", file.files);
        for tensor in &file.tensors {
            match tensor.place {
                OnnxPlace::External { offset, .. } => {
                    assert!(offset.checked_add(tensor.size_bytes).is_some_and(|end| end <= ONNX_WEIGHTS_BYTES as u64));
                }
                // A number of one byte in the file is one of eight bytes at most.
                _ => assert!(tensor.size_bytes <= 8 * bytes.len() as u64, "{tensor:?}"),
            }
        }
        for tensor in file.model.graph.iter().flat_map(|graph| &graph.initializer) {
            if let Ok(data) = file.data(tensor) {
                let is_it = |checked: &&OnnxTensor| checked.is_initializer && checked.name == tensor.name();
                assert!(file.tensors.iter().filter(is_it).any(|checked| checked.size_bytes == data.len() as u64), "{tensor:?}");
            }
        }
        // What was written reads back as the same.
        std::fs::write(&path, to_bytes(&file.model, &path).unwrap()).unwrap();
        let again = read_onnx(&path).unwrap();
        assert!(again.unknown_fields.is_empty() && again.tensors == file.tensors);
    });
}

/// The file beside the ONNX file, and its size.
const ONNX_WEIGHTS: &str = "weights.bin";
const ONNX_WEIGHTS_BYTES: usize = 64;

/// What the program does with every model that it could read.
fn use_model(model: &Model) {
    let planner = Planner::new(model);
    for preset in [Preset::Q4_K_M, Preset::IQ2_M, Preset::F16] {
        let recipe = planner.recipe(preset);
        assert_eq!(recipe.dtypes.len(), model.tensors.len());
        let _ = planner.output_size_bytes(&recipe);
        let _ = output_specs(model, &recipe);
    }
    let _ = advise(model, &Machine::default(), &planish::advise::Goal::default());
    let Ok(reader) = TensorReader::open(model) else { return };
    for tensor in &model.tensors {
        // Whole rows at the end: a checkpoint's tensor is made of them.
        let n_bytes = tensor.size_bytes.min(PROBE_BYTES);
        let mut piece = vec![0; usize::try_from(n_bytes).unwrap()];
        let _ = reader.read(tensor, 0, &mut piece);
        let _ = reader.read(tensor, tensor.size_bytes - n_bytes, &mut piece);
    }
}

fn use_checkpoint(checkpoint: &Checkpoint) {
    let mut found = checklist(checkpoint, &Room::default());
    let imported = import(checkpoint);
    if !found.is_blocked() {
        found.finish(&imported);
    }
    if let Ok(model) = &imported {
        assert!(!found.is_blocked(), "{found:?}");
        use_model(model);
    }
    if let Ok(decoder) = decoder(checkpoint) {
        let source = stored_model(checkpoint, &decoder).unwrap();
        for weight in decoder.weights() {
            let tensor = source.tensors.iter().find(|tensor| tensor.name == weight.name).unwrap();
            let end = (weight.first_row + weight.n_rows) * weight.row_len;
            assert!(end <= tensor.n_elements() && weight.n_rows > 0, "{weight:?}");
        }
        assert!(decoder.rope_tables.iter().flat_map(|table| &table.inv_freqs).all(|freq| freq.is_finite()));
    }
}

/// Runs `work` while a file has this content, then restores the file.
fn replaced(path: &Path, content: &[u8], work: impl FnOnce()) {
    let original = std::fs::read(path).ok();
    std::fs::write(path, content).unwrap();
    work();
    match original {
        Some(original) => std::fs::write(path, original).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
    }
}

fn checkpoint_folders() -> (TempDir, Vec<PathBuf>) {
    let dir = in_memory();
    let write = |(name, case)| golden_checkpoints::write(&case, &dir.path().join::<String>(name)).path;
    let folders = golden_checkpoints::cases().into_iter().map(write).collect();
    (dir, folders)
}

fn tokenizer_folders() -> (TempDir, Vec<PathBuf>) {
    let dir = in_memory();
    let mut folders = Vec::new();
    for source in golden_tokenizers() {
        let folder = dir.path().join(source.file_name().unwrap());
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(&source).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
        folders.push(folder);
    }
    (dir, folders)
}

/// The golden tokenizers, in a fixed order.
fn golden_tokenizers() -> Vec<PathBuf> {
    let parent = golden_checkpoints::folder().join("../tokenizers");
    let mut folders: Vec<_> =
        std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

/// The names of all targets.
pub const TARGETS: [&str; 7] = ["gguf", "safetensors", "checkpoint", "config", "tokenizer", "imatrix", "onnx"];

/// Good inputs of a target: the fuzzer starts from them.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "gguf" => vec![gguf_file(&model_metadata(), &model_tensors()), gguf_file(&Metadata::default(), &[])],
        "safetensors" => safetensors_seeds(),
        "checkpoint" => {
            let texts = &CHECKPOINT_FILES[..CHECKPOINT_FILES.len() - 1];
            let mut seeds = CHECKPOINTS.with(|folders| file_seeds(&folders.1, texts));
            for (file, _) in (0..).zip(CHECKPOINT_FILES) {
                seeds.extend(PLACEHOLDERS.iter().map(|content| [&[file, file], *content].concat()));
            }
            seeds
        }
        "config" => config_seeds(),
        "tokenizer" => TOKENIZERS.with(|folders| file_seeds(&folders.1, &TOKENIZER_FILES)),
        "imatrix" => vec![imatrix_file(), dat_file()],
        "onnx" => onnx_seeds::models().iter().map(|model| to_bytes(model, Path::new("seed")).unwrap()).collect(),
        other => panic!("{other}"),
    }
}

/// Five keys of every golden checkpoint, each with one of the odd values.
fn config_seeds() -> Vec<Vec<u8>> {
    let n_cases = u8::try_from(golden_checkpoints::cases().len()).unwrap();
    let seed = |idx: usize, case: u8| {
        let key = u8::try_from((idx * 7 + usize::from(case) * 3) % 256).unwrap();
        [&[case, key], ODD_VALUES[(idx + usize::from(case)) % ODD_VALUES.len()].as_bytes()].concat()
    };
    (0..n_cases).flat_map(|case| (0..5).map(move |idx| seed(idx, case))).collect()
}

/// Every file of every folder, after the two bytes that choose it.
fn file_seeds(folders: &[PathBuf], names: &[&str]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (case, folder) in (0..).zip(folders) {
        for (file, name) in (0..).zip(names) {
            if let Ok(content) = std::fs::read(folder.join(name)) {
                seeds.push([&[case, file], content.as_slice()].concat());
            }
        }
    }
    seeds
}

fn gguf_file(metadata: &Metadata, tensors: &[TensorSpec]) -> Vec<u8> {
    let layout = Layout::plan(metadata, tensors, 32).unwrap();
    let sizes: Vec<_> = layout.tensors.iter().map(|placed| usize::try_from(placed.size_bytes).unwrap()).collect();
    let mut writer = Writer::start(Vec::new(), layout, Path::new("seed")).unwrap();
    // 1.0 as F32, and a small number in the bytes of a block's half-precision scale.
    for n_bytes in sizes {
        writer.write_tensor(&[0, 0, 0x80, 0x3f].repeat(n_bytes.div_ceil(4))[..n_bytes]).unwrap();
    }
    writer.finish().unwrap()
}

fn text(text: &str) -> Value {
    Value::Str(Text::from(text))
}

fn model_metadata() -> Metadata {
    let mut metadata = Metadata::default();
    let texts = |texts: &[&str]| Value::Array(Array::Str(texts.iter().map(|&text| Text::from(text)).collect()));
    for (key, value) in [
        ("general.architecture", text("llama")),
        ("general.name", text("seed")),
        ("general.file_type", Value::U32(0)),
        ("general.alignment", Value::U32(32)),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(64)),
        ("llama.embedding_length", Value::U32(32)),
        ("llama.feed_forward_length", Value::Array(Array::I32(vec![32]))),
        ("llama.attention.head_count", Value::U32(2)),
        ("llama.attention.head_count_kv", Value::Array(Array::U32(vec![1]))),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F64(1e4)),
        ("llama.expert_count", Value::U8(0)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.tokens", texts(&["a", "b", "<s>"])),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 1, 3]))),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0, -1.0, 0.5]))),
        ("tokenizer.ggml.merges", texts(&["a b"])),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("odd.nested", Value::Array(Array::Array(vec![Array::U64(vec![1]), Array::Bool(vec![true]), Array::I8(vec![-1])]))),
        ("odd.numbers", Value::Array(Array::U16(vec![1, 2]))),
    ] {
        metadata.set(key, value);
    }
    metadata
}

fn model_tensors() -> Vec<TensorSpec> {
    let spec = |(name, dtype, shape): (&str, DType, &[u64])| TensorSpec { name: name.into(), dtype, shape: shape.to_vec() };
    let tensors: [(&str, DType, &[u64]); 6] = [
        ("token_embd.weight", DType::F16, &[32, 3]),
        ("blk.0.attn_q.weight", DType::Q8_0, &[32, 2]),
        ("blk.0.attn_v.weight", DType::Q4_0, &[32, 2]),
        ("blk.0.ffn_down.weight", DType::Q4_K, &[256, 1]),
        ("blk.0.ffn_up_exps.weight", DType::F32, &[32, 1, 2]),
        ("output_norm.weight", DType::F32, &[32]),
    ];
    tensors.into_iter().map(spec).collect()
}

fn imatrix_file() -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.set("general.type", text("imatrix"));
    metadata.set("imatrix.datasets", Value::Array(Array::Str(vec![Text::from("seed.txt")])));
    metadata.set("imatrix.chunk_count", Value::U32(2));
    metadata.set("imatrix.chunk_size", Value::U32(512));
    let spec = |(name, shape): (&str, &[u64])| TensorSpec { name: name.into(), dtype: DType::F32, shape: shape.to_vec() };
    let tensors: [(&str, &[u64]); 4] = [
        ("blk.0.attn_q.weight.in_sum2", &[4]),
        ("blk.0.attn_q.weight.counts", &[1]),
        ("blk.0.ffn_up_exps.weight.in_sum2", &[4, 2]),
        ("blk.0.ffn_up_exps.weight.counts", &[1, 2]),
    ];
    gguf_file(&metadata, &tensors.map(spec))
}

fn dat_file() -> Vec<u8> {
    let number = |number: i32| number.to_le_bytes();
    let name = "blk.0.attn_q.weight";
    let mut bytes = [number(1), number(19)].concat();
    bytes.extend(name.as_bytes());
    bytes.extend([number(2), number(3)].concat());
    bytes.extend([1.0f32, 0.5, 2.0].map(f32::to_le_bytes).concat());
    bytes.extend([number(2), number(4)].concat());
    bytes.extend(b"seed");
    bytes
}

fn safetensors_seeds() -> Vec<Vec<u8>> {
    let file = |header: &str, n_data: usize| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; n_data]].concat();
    vec![
        file(
            r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}"#,
            32,
        ),
        file(
            r#"{"x":{"dtype":"F8_E4M3","shape":[],"data_offsets":[0,1]},"y":{"dtype":"I64","shape":[0,7],"data_offsets":[1,1]}}"#,
            1,
        ),
        file("{}", 0),
    ]
}
