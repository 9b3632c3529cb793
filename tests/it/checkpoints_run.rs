//! Checkpoints, converted and run: llama.cpp says what transformers says.

use std::path::Path;

use planish::convert::{ConvertRequest, convert, open_model};
use planish::format::{TensorReader, inspect};
use planish::model::{Level, Metadata, Model, Value};
use planish::monitor::Monitor;
use planish::runtime::{Event, ProbeInput, ProbeTask, Request, Task, run_with};
use serde_json::Value as Json;

use crate::common::{minilm, run, run_json, smollm2};
use crate::forward::order;
use crate::golden_checkpoints::{cases, opened, write};
use crate::hf_layout;

/// Largest allowed difference of a logit, as a fraction of the largest logit.
///
/// llama.cpp looks GELU up in a table of half floats and uses its tanh form throughout, so models with it are less exact.
const TOLERANCE: f64 = 1e-3;

/// Cases that cannot be compared, with the reason.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("bert", "an encoder has no logits"),
    ("bert-masked-lm", "an encoder has no logits"),
    ("deepseek-v2-lite", "llama.cpp knows a model of this class without q_lora_rank by its 26 or 27 layers"),
    ("phi3-longrope-long", "llama.cpp chooses the long factors by the size of the context, not of the prompt"),
];

fn logits_of(model: &Path, prompts: &Json) -> Vec<Vec<f32>> {
    let ids = |prompt: &Json| prompt.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
    let request = Request::llama_cpp(Task::Probe(ProbeTask {
        path: model.to_path_buf(),
        inputs: prompts.as_array().unwrap().iter().map(|prompt| ProbeInput::Ids(ids(prompt))).collect(),
        max_tokens: 256,
        with_logits: true,
        exact_attention: true,
        n_threads: 1,
    }));
    let mut all = Vec::new();
    run_with(Path::new(env!("CARGO_BIN_EXE_planish")), &request, &Monitor::silent(), |event| {
        if let Event::Probed { last_logits, .. } = event {
            all.push(last_logits);
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    all
}

#[test]
fn converted_checkpoints_have_the_logits_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_compared = 0;
    for (name, case) in cases() {
        if EXCEPTIONS.iter().any(|row| row.0 == name) {
            continue;
        }
        let checkpoint = write(&case, folder.path());
        let model = opened(&checkpoint);
        let levels = vec![Level::F32, Level::Q8_0, Level::Q4_K_M];
        let out_dir = folder.path().join(format!("{name}-out"));
        let request = ConvertRequest { n_threads: Some(1), ..ConvertRequest::new(levels, out_dir) };
        let made = convert(&model, &request, &Monitor::silent()).unwrap();
        let mut exact = made[0].path.clone();
        if model.tensors.iter().any(|tensor| tensor.dtype.is_quantized()) {
            // llama.cpp rounds what it multiplies such weights with to 8 bits: decoded to floats, they show whether they are right.
            let out_dir = folder.path().join(format!("{name}-decoded"));
            let request = ConvertRequest { levels: vec![Level::F32], out_dir, ..request.clone() };
            exact = convert(&inspect(&exact).unwrap(), &request, &Monitor::silent()).unwrap().remove(0).path;
        }
        let found = logits_of(&exact, &case["prompts"]);
        let golden = case["logits"].as_array().unwrap();
        assert_eq!(found.len(), golden.len(), "{name}");
        for (found, golden) in found.iter().zip(golden) {
            let found: Vec<f64> = found.iter().map(|&logit| f64::from(logit)).collect();
            let golden: Vec<f64> = golden.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
            assert_eq!(found.len(), golden.len(), "{name}");
            let largest = golden.iter().fold(0.0, |max: f64, logit| max.max(logit.abs()));
            let difference = found.iter().zip(&golden).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs())) / largest;
            assert!(difference < TOLERANCE, "{name}: {difference}");
            // Tokens whose logits are closer than the tolerance may change places.
            for (rank, (a, b)) in order(&found).into_iter().zip(order(&golden)).take(10).enumerate() {
                assert!(a == b || (golden[a] - golden[b]).abs() < TOLERANCE * largest, "{name}: rank {rank}: {a} and {b}");
            }
        }
        // Quantized ones run, whatever they say: the weights are random.
        for quantized in &made[1..] {
            let found = logits_of(&quantized.path, &case["prompts"]);
            assert!(found.iter().all(|logits| logits.len() == 320), "{}", quantized.path.display());
        }
        n_compared += 1;
    }
    assert!(n_compared > 10, "{n_compared}");
}

/// Keys that may differ: a checkpoint does not hold them, or llama.cpp has written them only since the GGUF file was published.
const SMOLLM2_EXCEPTIONS: [&str; 12] = [
    // From the name of the folder in which its makers had it.
    "general.name",
    "general.organization",
    "general.finetune",
    "general.basename",
    // From a model card that is not there.
    "general.license",
    "general.languages",
    // The level's.
    "general.file_type",
    // Since 2025, from `head_dim`.
    "llama.attention.key_length",
    "llama.attention.value_length",
    // Their order among the others.
    "general.quantization_version",
    "general.size_label",
    "tokenizer.ggml.add_space_prefix",
];

fn tokens_of(model: &Path, texts: &[&str]) -> Vec<(Vec<u32>, Vec<f32>)> {
    let request = Request::llama_cpp(Task::Probe(ProbeTask {
        path: model.to_path_buf(),
        inputs: texts.iter().map(|text| ProbeInput::Text((*text).into())).collect(),
        max_tokens: 32,
        with_logits: true,
        exact_attention: false,
        n_threads: 1,
    }));
    let mut all = Vec::new();
    run_with(Path::new(env!("CARGO_BIN_EXE_planish")), &request, &Monitor::silent(), |event| {
        if let Event::Probed { ids, last_logits, .. } = event {
            all.push((ids, last_logits));
        }
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn smollm2_comes_back_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let original_path = smollm2();
    let original = inspect(&original_path).unwrap();
    let checkpoint = folder.path().join("SmolLM2-135M-Instruct");
    hf_layout::write(&original_path, &checkpoint);
    let model = open_model(&checkpoint).unwrap();
    assert_eq!(model.own_level(), Some(Level::F32));

    // Every weight, bit by bit.
    let (readers, mut n_compared) = ([TensorReader::open(&original).unwrap(), TensorReader::open(&model).unwrap()], 0);
    for tensor in &original.tensors {
        let same = model.tensors.iter().find(|same| same.name == tensor.name).unwrap();
        assert_eq!(same.shape, tensor.shape, "{}", tensor.name);
        let bits = |weights: Vec<f32>| weights.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (a, b) = (hf_layout::weights(&readers[0], tensor), hf_layout::weights(&readers[1], same));
        assert!(bits(a) == bits(b), "{}", tensor.name);
        n_compared += 1;
    }
    assert_eq!((n_compared, model.tensors.len()), (272, 272));

    let is_compared = |(key, _): &&(String, Value)| !SMOLLM2_EXCEPTIONS.contains(&key.as_str());
    let sorted = |metadata: &Metadata| {
        let mut entries: Vec<(String, Value)> = metadata.0.iter().filter(is_compared).cloned().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    };
    for (found, expected) in sorted(&model.metadata).iter().zip(&sorted(&original.metadata)) {
        assert!(found == expected, "{}: {}, not {}: {}", found.0, found.1.preview(80), expected.0, expected.1.preview(80));
    }
    assert_eq!(sorted(&model.metadata).len(), sorted(&original.metadata).len());

    // Tokens and logits of files of both.
    let made = |source: &Model, name: &str| {
        let request = ConvertRequest::new(vec![Level::F16], folder.path().join(name));
        convert(source, &request, &Monitor::silent()).unwrap().remove(0).path
    };
    let texts = ["Hello, world! 12345 §", "def f(x):\n\treturn x  # 漢字 🙂", "<|im_start|>user\n"];
    assert!(tokens_of(&made(&model, "a"), &texts) == tokens_of(&made(&original, "b"), &texts));

    // As a user does it. The self-check runs them.
    let out = folder.path().join("levels");
    let json = run_json(&[&"convert", &checkpoint, &"--level", &"Q8_0,Q4_K_M", &"--out", &out, &"--json"]);
    let made = json["conversions"].as_array().unwrap();
    assert_eq!(made.len(), 2);
    // 30 to 40 on this text; guessing gives 49152.
    assert!(made.iter().all(|made| made["check"]["perplexity"].as_f64().is_some_and(|found| found < 100.0)), "{json}");
}

#[test]
fn an_encoder_and_the_sample_are_converted_and_tried() {
    let folder = tempfile::tempdir().unwrap();
    let checks = |source: &Path, levels: &str| -> Vec<Json> {
        let json = run_json(&[&"convert", &source, &"--level", &levels, &"--out", &folder.path(), &"--json"]);
        json["conversions"].as_array().unwrap().iter().map(|made| made["check"].clone()).collect()
    };
    let encoder = checks(&minilm(), "F16,Q8_0");
    assert_eq!(encoder.len(), 2);
    assert!(encoder.iter().all(|check| check["is_plausible"] == true && check["perplexity"].is_null()), "{encoder:?}");

    let output = run(&[&"sample", &"--out", &folder.path(), &"--only-unpack"]);
    let sample = String::from_utf8(output.stdout).unwrap();
    let sample = checks(Path::new(sample.trim()), "BF16,Q8_0,Q4_K_M,Q2_K");
    let perplexities: Vec<f64> = sample.iter().map(|check| check["perplexity"].as_f64().unwrap()).collect();
    assert!(sample.iter().all(|check| check["is_plausible"] == true), "{sample:?}");
    // 75 on this text; guessing gives 2048.
    assert!(perplexities.iter().all(|&perplexity| perplexity < 150.0), "{perplexities:?}");
}

#[test]
fn an_exact_file_of_a_model_that_speaks_no_english_is_kept_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (_, case) = cases().into_iter().find(|(name, _)| name == "llama").unwrap();
    let checkpoint = write(&case, folder.path());
    let output = run(&[&"convert", &checkpoint.path, &"--level", &"BF16", &"--out", &folder.path()]);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("hardly better than guessing among 320") && text.contains("--no-check"), "{text}");
    let made = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(made.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")).count(), 1);
}

#[test]
fn a_file_that_was_found_broken_does_not_keep_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[&"sample", &"--out", &folder.path(), &"--only-unpack"]);
    let sample = std::path::PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let path = sample.join("tokenizer.json");
    let mut tokenizer: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    // llama.cpp does not know this step, so that it splits the text otherwise.
    tokenizer["normalizer"] = serde_json::json!({"type": "Lowercase"});
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let out = folder.path().join("out");
    let output = run(&[&"convert", &sample, &"--level", &"Q8_0", &"--out", &out]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("into other tokens") && stderr.contains("normalizer Lowercase"), "{stderr}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    // Whoever wants the file all the same gets it.
    let output = run(&[&"convert", &sample, &"--level", &"Q8_0", &"--out", &out, &"--no-check"]);
    assert!(output.status.success() && std::fs::read_dir(&out).unwrap().count() == 2);
}

/// Multiplies column 0 of the matrices after each norm by 2^14 and divides the norm's weight by as much: the network stays the
/// same.
fn give_outliers(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let start = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Map<String, Json> = serde_json::from_slice(&bytes[8..start]).unwrap();
    for (name, info) in header.iter().filter(|(name, _)| name.as_str() != "__metadata__") {
        let change: i32 = match name.rsplit('.').nth(1).unwrap() {
            "input_layernorm" | "post_attention_layernorm" => -14,
            "q_proj" | "k_proj" | "v_proj" | "gate_proj" | "up_proj" => 14,
            _ => continue,
        };
        let size = |number: &Json| usize::try_from(number.as_u64().unwrap()).unwrap();
        let shape: Vec<usize> = info["shape"].as_array().unwrap().iter().map(size).collect();
        let (n_rows, row_len) = if let [rows, columns] = shape[..] { (rows, columns) } else { (1, 0) };
        let begin = start + size(&info["data_offsets"][0]);
        for row in 0..n_rows {
            // BF16: the exponent begins at bit 7.
            let number = &mut bytes[begin + row * row_len * 2..][..2];
            let bits = i32::from(u16::from_le_bytes(number.try_into().unwrap()));
            if bits & 0x7f80 != 0 {
                number.copy_from_slice(&u16::try_from(bits + (change << 7)).unwrap().to_le_bytes());
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_low_level_alone_is_compared_with_a_close_one_that_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[&"sample", &"--out", &folder.path(), &"--only-unpack"]);
    let sample = std::path::PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    give_outliers(&sample.join("model.safetensors"));
    let out = folder.path().join("out");
    let cache = folder.path().join("cache");
    let convert = |level: &str| {
        let mut command = crate::common::planish();
        command.arg("convert").arg(&sample).args(["--level", level, "--out"]).arg(&out).env("XDG_CACHE_HOME", &cache);
        command.output().unwrap()
    };
    let output = convert("Q2_K");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is far above that of Q8_0 of the same checkpoint"), "{stderr}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    let left = files_below(&cache);
    assert!(left.is_empty(), "{left:?}");
    // A level whose blocks are small enough for the outliers stays.
    assert!(convert("Q4_0").status.success());
}

#[test]
fn a_comparison_tries_what_it_makes_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[&"sample", &"--out", &folder.path(), &"--only-unpack"]);
    let sample = std::path::PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    give_outliers(&sample.join("model.safetensors"));
    let compare = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let mut command = crate::common::planish();
        command.arg("compare").arg(&sample).args(["--level", "Q4_0,Q2_K", "--no-quality", "--out"]).arg(&out).args(more);
        command.args(["--prompt-tokens", "16", "--gen-tokens", "4", "--repetitions", "1"]);
        let output = command.env("XDG_DATA_HOME", folder.path().join("data")).output().unwrap();
        let is_there = files_below(&out).iter().any(|path| path.to_string_lossy().ends_with("Q2_K.gguf"));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr), is_there)
    };
    // What is sound is measured all the same.
    let (code, table, error, is_there) = compare("tried", &[]);
    assert!(error.contains("is far above"), "{error}");
    assert!(code == Some(1) && !is_there && table.contains("Q4_0") && !table.contains("Q2_K"), "{table}");
    let (code, table, error, is_there) = compare("untried", &["--no-check"]);
    assert!(code == Some(0) && is_there && table.contains("Q2_K"), "{table} {error}");
    // `--existing` also applies to the file that stands for the checkpoint.
    let (code, _, error, _) = compare("untried", &["--no-check"]);
    assert!(code == Some(1) && error.contains("exists"), "{error}");
    for (answer, n_files) in [("replace", 3), ("skip", 3), ("keep-both", 6)] {
        let (code, _, error, _) = compare("untried", &["--no-check", "--existing", answer]);
        let made = files_below(&folder.path().join("untried"));
        let n = made.iter().filter(|path| path.extension().is_some_and(|end| end == "gguf")).count();
        assert_eq!((code, n), (Some(0), n_files), "{answer}: {error}");
    }
}

/// All files below a folder.
fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
