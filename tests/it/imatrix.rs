//! Importance matrices, collected by the real llama.cpp.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use planish::advise::Planner;
use planish::calibrate::imatrix::{CollectRequest, Collected, Existing, collect_imatrix_with};
use planish::calibrate::text::TextSource;
use planish::convert::{ConvertRequest, convert, open_model, unpack_sample};
use planish::error::Error;
use planish::format::{ColumnSums, inspect, read_imatrix_sums};
use planish::model::{DType, Level, Model, RuntimeId};
use planish::monitor::Monitor;
use planish::quant::can_quantize;

use crate::common::{folder_size, planish, run, run_json, smollm2};
use crate::golden_checkpoints::{cases, write};

const TEXT: &str = include_str!("../../assets/text/calibration/prose.txt");

fn request(model: &Path, out: PathBuf) -> CollectRequest {
    CollectRequest {
        model: model.to_path_buf(),
        text: TextSource::Pasted(TEXT.into()),
        n_ctx: 64,
        max_chunks: Some(2),
        out,
        existing: Existing::Refuse,
        by_attention: true,
        n_threads: None,
    }
}

fn collect(request: &CollectRequest) -> Result<Collected, Error> {
    collect_imatrix_with(Path::new(env!("CARGO_BIN_EXE_planish")), request, &Monitor::silent())
}

fn entries(path: &Path) -> BTreeMap<String, ColumnSums> {
    read_imatrix_sums(path).unwrap().entries
}

/// Files of a checkpoint at these levels.
fn converted(checkpoint: &Path, out_dir: &Path, levels: &[Level]) -> Vec<PathBuf> {
    let request = ConvertRequest::new(levels.into(), out_dir);
    let made = convert(&open_model(checkpoint).unwrap(), &request, &Monitor::silent()).unwrap();
    made.into_iter().map(|conversion| conversion.path).collect()
}

fn quantizable(model: &Model) -> Vec<&str> {
    let planner = Planner::new(model);
    let tensors = model.tensors.iter().enumerate().filter(|(idx, _)| planner.is_quantizable(*idx));
    tensors.map(|(_, tensor)| tensor.name.as_str()).collect()
}

#[test]
fn every_tensor_that_levels_change_gets_importances_and_levels_of_few_bits_become_possible() {
    let folder = tempfile::tempdir().unwrap();
    let sample = unpack_sample(folder.path()).unwrap();
    // On many processors llama.cpp repacks Q4_0 in memory: that must not hide a tensor.
    let files = converted(&sample, folder.path(), &[Level::BF16, Level::Q4_0]);
    for file in &files {
        let out = folder.path().join("sample.imatrix.gguf");
        let json = run_json(&[&"imatrix", file, &"--chunks", &"3", &"--context", &"64", &"--out", &out, &"--json", &"--force"]);
        assert_eq!((json["n_chunks"].as_u64(), json["unused_tensors"].as_array().map(Vec::len)), (Some(3), Some(0)), "{json}");
        assert_eq!(json["texts"][0], "bundled calibration text");
        let (model, entries) = (inspect(file).unwrap(), entries(&out));
        for name in quantizable(&model).into_iter().filter(|name| *name != "token_embd.weight" || model.has_tied_embeddings()) {
            let entry = entries.get(name).unwrap_or_else(|| panic!("{name} of {}", file.display()));
            assert_eq!(entry.counts, [192.0], "{name}");
            assert!(entry.sums.iter().any(|sum| *sum > 0.0), "{name}");
        }
    }
    let imatrix = folder.path().join("sample.imatrix.gguf");
    let out = folder.path().join("out");
    let without = run(&[&"convert", &files[0], &"--level", &"IQ2_XS", &"--out", &out]);
    let stderr = String::from_utf8(without.stderr).unwrap();
    assert!(stderr.contains("error: IQ2_XS needs an importance matrix") && stderr.contains("planish imatrix MODEL"), "{stderr}");
    let json = run_json(&[&"convert", &files[0], &"--level", &"IQ2_XS", &"--out", &out, &"--imatrix", &imatrix, &"--json"]);
    assert_eq!(json["conversions"][0]["warnings"].as_array().map(Vec::len), Some(0), "{json}");
}

/// The levels of the table that can be run here. Where `PLANISH_ALL_RUNTIMES` is set, all must be.
fn runnable_levels() -> Vec<Level> {
    let (here, missing): (Vec<Level>, Vec<Level>) = Level::all().partition(|level| {
        RuntimeId::of(level.framework()).is_some_and(|runtime| planish::runtime::check_available(runtime).is_ok())
    });
    if let Some(level) = missing.first() {
        eprintln!("SKIPPED: {level} and {} more levels are not tried: their runtime is not set up", missing.len() - 1);
        assert!(std::env::var_os("PLANISH_ALL_RUNTIMES").is_none(), "{level} cannot be run");
    }
    here
}

#[test]
fn every_level_and_type_is_written_verified_loaded_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    let sample = unpack_sample(folder.path()).unwrap();
    let files = converted(&sample, folder.path(), &[Level::BF16]);
    let imatrix = folder.path().join("sample.imatrix.gguf");
    run_json(&[&"imatrix", &files[0], &"--chunks", &"3", &"--context", &"64", &"--out", &imatrix, &"--json"]);
    let out = folder.path().join("out");
    let levels = runnable_levels().into_iter().map(Level::name).collect::<Vec<_>>().join(",");
    let convert = |level: &str, options: &[&str]| {
        let mut command = planish();
        command.arg("convert").arg(&sample).args(["--level", level, "--json"]).args(options);
        let output = command.arg("--out").arg(&out).arg("--imatrix").arg(&imatrix).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["conversions"].as_array().unwrap().clone()
    };
    // No level gives a model without experts MXFP4.
    let made = [convert(&levels, &[]), convert("Q4_0", &["--tensor-type", "ffn=MXFP4"])].concat();
    let mut paths = Vec::new();
    let mut dtypes = BTreeSet::new();
    for conversion in &made {
        // The vocabulary has 2,048 tokens: a model that has learned nothing has that perplexity or a higher one.
        let perplexity = conversion["check"]["perplexity"].as_f64();
        assert!(perplexity.is_some_and(|perplexity| perplexity < 250.0), "{conversion}");
        let path = PathBuf::from(conversion["path"].as_str().unwrap());
        if !path.is_dir() {
            dtypes.extend(inspect(&path).unwrap().tensors.iter().map(|tensor| tensor.dtype));
        }
        let size: u64 = if path.is_dir() { folder_size(&path) } else { path.metadata().unwrap().len() };
        assert_eq!(conversion["size_bytes"].as_u64(), Some(size), "{conversion}");
        run_json(&[&"verify", &path, &"--source", &sample, &"--json"]);
        paths.push(path);
    }
    let missing: Vec<_> = DType::all().filter(|dtype| can_quantize(*dtype) && !dtypes.contains(dtype)).collect();
    assert_eq!(missing, []);
    let output = planish().arg("ask").args(&paths).args(["--prompt", "Once", "--max-tokens", "8", "--json"]).output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let answers = printed["answers"].as_array().unwrap();
    assert_eq!(answers.len(), paths.len());
    for (answer, path) in answers.iter().zip(&paths) {
        let n_tokens = answer["answer"]["tokens"].as_array().map_or(0, Vec::len);
        let is_ended = answer["answer"]["end"] != "at_limit";
        assert!(n_tokens == 8 || n_tokens > 0 && is_ended, "{}: {answer}", path.display());
    }
}

#[test]
fn the_tied_head_of_smollm2_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.gguf");
    let collected = collect(&CollectRequest { max_chunks: Some(4), ..request(&smollm2(), out.clone()) }).unwrap();
    assert_eq!((collected.n_tensors, collected.n_tokens(), collected.texts.len()), (211, 256, 1));
    assert!(collected.unused_tensors.is_empty() && collected.unused_experts.is_empty(), "{collected:?}");
    let at: Vec<u32> = collected.changes.iter().map(|change| change.n_chunks).collect();
    assert_eq!(at, [2, 4]);
    assert!(collected.changes.iter().all(|at| at.change > 0.0 && at.change < 0.5), "{:?}", collected.changes);
    let entries = entries(&out);
    assert_eq!((entries["token_embd.weight"].sums.len(), &entries["token_embd.weight"].counts[..]), (576, &[256.0][..]));
    // Queries, keys and values are computed from the same activations; keys and values count by the attention that tokens receive.
    let [q, k, v] = ["q", "k", "v"].map(|side| entries[&format!("blk.3.attn_{side}.weight")].clone());
    assert!(q.counts == v.counts && q.counts == k.counts && q.sums != v.sums && q.sums != k.sums && k.sums != v.sums);
    let even = folder.path().join("even.gguf");
    collect(&CollectRequest { max_chunks: Some(4), by_attention: false, ..request(&smollm2(), even.clone()) }).unwrap();
    let evenly = self::entries(&even);
    assert_eq!(evenly["blk.3.attn_q.weight"], evenly["blk.3.attn_v.weight"]);
    assert_ne!(entries["blk.3.attn_q.weight"], entries["blk.4.attn_q.weight"]);
}

#[test]
fn experts_count_the_tokens_that_reach_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in cases().into_iter().filter(|(name, _)| name == "qwen3-moe" || name == "qwen2-moe") {
        let checkpoint = write(&case, folder.path());
        let file = converted(&checkpoint.path, &folder.path().join(format!("{name}-out")), &[Level::F32]).remove(0);
        let out = folder.path().join(format!("{name}.imatrix.gguf"));
        let collected = collect(&CollectRequest { n_ctx: 32, ..request(&file, out.clone()) }).unwrap();
        let number = |key: &str| u16::try_from(case["config"][key].as_u64().unwrap()).unwrap();
        let (n_experts, n_used) = (number("num_experts"), number("num_experts_per_tok"));
        let entries = entries(&out);
        let experts: Vec<_> = entries.iter().filter(|(name, _)| name.ends_with("_exps.weight")).collect();
        assert!(!experts.is_empty(), "{name}");
        for (tensor, entry) in experts {
            assert_eq!(entry.counts.len(), usize::from(n_experts), "{name} {tensor}");
            let n_rows = 64.0 * f32::from(n_used);
            assert!((entry.counts.iter().sum::<f32>() - n_rows).abs() < 0.5, "{name} {tensor}: {:?}", entry.counts);
            let n_columns = entry.sums.len() / entry.counts.len();
            for (sums, count) in entry.sums.chunks(n_columns).zip(&entry.counts) {
                assert_eq!(*count > 0.0, sums.iter().any(|sum| *sum > 0.0), "{name} {tensor}");
            }
        }
        assert!(collected.unused_tensors.is_empty(), "{name}: {:?}", collected.unused_tensors);
    }
}

#[test]
fn cancelling_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancelled);
    let monitor = Monitor::new(cancelled, move |progress| flag.store(progress.done > 0, Ordering::Relaxed));
    let request = CollectRequest { max_chunks: None, ..request(&smollm2(), folder.path().join("a.gguf")) };
    let result = collect_imatrix_with(Path::new(env!("CARGO_BIN_EXE_planish")), &request, &monitor);
    assert_eq!(result, Err(Error::Cancelled));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_collected_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.gguf");
    let good = request(&smollm2(), out.clone());
    match collect(&CollectRequest { text: TextSource::Pasted("one two three".into()), ..good.clone() }) {
        Err(Error::BadText { problem, .. }) => assert_eq!(problem, "it has 3 tokens for this model, and a chunk has 64"),
        other => panic!("{other:?}"),
    }
    match collect(&CollectRequest { text: TextSource::Bundled, n_ctx: 16_384, ..good.clone() }) {
        Err(Error::BadText { problem, .. }) => {
            assert!(problem.contains("none of its 17 parts has the 16384 tokens"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    let sample = unpack_sample(folder.path()).unwrap();
    let output = run(&[&"imatrix", &sample, &"--out", &out]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("hint: convert it first: planish convert"), "{stderr}");
    // A weight that turns activations into NaN.
    let mut bytes = std::fs::read(smollm2()).unwrap();
    let model = inspect(&smollm2()).unwrap();
    let norm = model.tensors.iter().find(|tensor| tensor.name == "blk.7.ffn_norm.weight").unwrap();
    let at = usize::try_from(norm.offset).unwrap();
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let broken = folder.path().join("broken.gguf");
    std::fs::write(&broken, bytes).unwrap();
    match collect(&CollectRequest { model: broken, ..good.clone() }) {
        Err(Error::Runtime { reason, .. }) => {
            let expected = "blk.7.ffn_gate.weight: it is multiplied by numbers that are not finite, in chunk 1";
            assert!(reason == expected || reason == expected.replace("gate", "up"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!out.exists());
}

#[test]
fn a_matrix_that_is_there_is_refused_reused_or_replaced_and_several_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let first = request(&smollm2(), at("a.gguf"));
    collect(&first).unwrap();
    assert_eq!(collect(&first), Err(Error::OutputExists { path: at("a.gguf") }));
    let reused = collect(&CollectRequest { existing: Existing::Reuse, ..first.clone() }).unwrap();
    assert!(reused.is_reused && reused.n_tensors == 211 && reused.n_tokens() == 128, "{reused:?}");
    let replaced = CollectRequest { existing: Existing::Replace, max_chunks: Some(1), ..first };
    assert_eq!(collect(&replaced).unwrap().n_tokens(), 64);

    collect(&request(&smollm2(), at("b.gguf"))).unwrap();
    let json = run_json(&[&"imatrix", &"--merge", &at("a.gguf"), &at("b.gguf"), &"--out", &at("c.gguf"), &"--json"]);
    assert_eq!((json["n_chunks"].as_u64(), json["n_tensors"].as_u64()), (Some(3), Some(211)), "{json}");
    let (a, b, c) = (entries(&at("a.gguf")), entries(&at("b.gguf")), entries(&at("c.gguf")));
    for (name, sum) in &c {
        assert_eq!(sum.counts, [192.0], "{name}");
        let pairs = sum.sums.iter().zip(a[name].sums.iter().zip(&b[name].sums));
        assert!(pairs.into_iter().all(|(c, (a, b))| (c - (a + b)).abs() <= c.abs() * 1e-6), "{name}");
    }
    let output = run(&[&"imatrix", &"--merge", &at("a.gguf"), &smollm2(), &"--out", &at("d.gguf")]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("error: not a usable importance matrix"), "{stderr}");
    assert!(!at("d.gguf").exists());
    // A source is not replaced, whatever is allowed.
    let merge = run(&[&"imatrix", &"--merge", &at("a.gguf"), &at("b.gguf"), &"--out", &at("b.gguf"), &"--force"]);
    assert!(String::from_utf8(merge.stderr).unwrap().starts_with("error: output would overwrite its source"));
    let own = CollectRequest { model: at("model.gguf"), out: at("model.gguf"), ..replaced };
    std::fs::copy(smollm2(), at("model.gguf")).unwrap();
    assert_eq!(collect(&own), Err(Error::OutputIsSource { path: at("model.gguf") }));
}
