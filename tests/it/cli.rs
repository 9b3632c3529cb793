//! The command line as a user or a script meets it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{planish, run, run_json, smollm2};

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A header with these counts, then `rest`.
fn gguf(n_tensors: u64, n_kv: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(n_tensors.to_le_bytes());
    bytes.extend(n_kv.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn u32_entry(key: &str, value: u32) -> Vec<u8> {
    let mut bytes = string(key);
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

fn tensor(name: &str, dims: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend(u32::try_from(dims.len()).unwrap().to_le_bytes());
    for dim in dims {
        bytes.extend(dim.to_le_bytes());
    }
    bytes.extend(type_id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// An array of arrays of arrays… as deep as given.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = string("nested");
    bytes.extend(9u32.to_le_bytes());
    for _ in 0..depth {
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
    }
    bytes
}

/// Runs `planish inspect` on hostile input: status 1 within 5 s, an `error:` line with `expected` in it and a `hint:` line.
fn check_hostile(name: &str, path: &Path, expected: &str) {
    let started = Instant::now();
    let child = planish().arg("inspect").arg(path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let elapsed = started.elapsed();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("\nhint: "), "{name}: {stderr}");
    assert!(stderr.contains(expected), "{name}: expected {expected:?} in: {stderr}");
    // Loose by design: it tells a hang from an answer, not fast from slow.
    assert!(elapsed < Duration::from_secs(5), "{name} took {elapsed:?}");
}

#[test]
fn hostile_files_get_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let check = |name: &str, bytes: &[u8], expected: &str| check_hostile(name, &write(name, bytes), expected);
    check("empty", b"", "empty");
    check("html", b"<!doctype html><html>not found</html>", "an HTML page");
    check("magic only", b"GGUF", "left");
    check("huge counts", &gguf(u64::MAX, u64::MAX, &[]), "18446744073709551615 key-values");
    check("huge key", &gguf(0, 1, &u64::MAX.to_le_bytes()), "left");
    check("deep arrays", &gguf(0, 1, &nested(200_000)), "nest");
    check("alignment 0", &gguf(0, 1, &u32_entry("general.alignment", 0)), "alignment");
    check("alignment 3", &gguf(0, 1, &u32_entry("general.alignment", 3)), "alignment");
    check("duplicate key", &gguf(0, 2, &[u32_entry("a", 1), u32_entry("a", 1)].concat()), "a");
    // Shown, and nothing is offered.
    let weird = write("unknown type", &gguf(1, 0, &tensor("weird", &[32], 4711, 0)));
    let shown = String::from_utf8(run(&[&"inspect", &weird]).stdout).unwrap();
    assert!(shown.contains("blocked: a tensor is of a type that this version does not know: weird of type 4711"), "{shown}");
    check("overflow", &gguf(1, 0, &tensor("wide", &[1 << 40, 1 << 40], 0, 0)), "wide");
    check("past the end", &gguf(1, 0, &tensor("far", &[32], 0, 1 << 40)), "far");
    let two = [tensor("t", &[8], 0, 0), tensor("t", &[8], 0, 32), vec![0; 128]].concat();
    check("duplicate tensor", &gguf(2, 0, &two), "t");
    check_hostile("folder", folder.path(), "folder");
    check_hostile("missing", &folder.path().join("nothing.gguf"), "cannot open");
}

#[cfg(unix)]
#[test]
fn a_fifo_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    check_hostile("fifo", &path, "FIFO");
}

#[cfg(target_os = "linux")]
#[test]
fn a_hostile_file_costs_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims.gguf");
    // A string array that claims as many elements as the file has bytes.
    let mut entry = string("tokens");
    entry.extend(9u32.to_le_bytes());
    entry.extend(8u32.to_le_bytes());
    entry.extend((1u64 << 24).to_le_bytes());
    let mut bytes = gguf(0, 1, &entry);
    bytes.resize(bytes.len() + (1 << 24), 0xff);
    std::fs::write(&path, bytes).unwrap();
    // The shell's limit makes an allocation beyond 100 MB of data fail.
    let script = format!("ulimit -d 100000; exec {} inspect {}", env!("CARGO_BIN_EXE_planish"), path.display());
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr_of(&output));
}

#[test]
fn a_wrong_importance_matrix_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let source = smollm2();
    let text = dir.path().join("text.txt");
    std::fs::write(&text, "No matrix but a text, long enough for a list of entries.").unwrap();
    let out = dir.path().join("out");
    let check = |imatrix: &Path, expected: &str| {
        for command in ["convert", "compare"] {
            let mut run = planish();
            run.arg(command).arg(&source).args(["--level", "Q4_0", "--out"]).arg(&out).arg("--imatrix").arg(imatrix);
            let output = run.output().unwrap();
            let stderr = stderr_of(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains(expected) && stderr.contains("hint: "), "{stderr}");
            assert!(!out.exists(), "{command}");
        }
    };
    check(&text, "error: not a usable importance matrix, it is neither a GGUF file nor a list of entries");
    check(&source, "error: not a usable importance matrix, it is a GGUF file of the type \"model\"");
    check(&dir.path().join("none"), "error: cannot open ");
}

#[test]
fn wrong_usage_exits_with_2() {
    let check = |args: &[&str]| {
        let output = planish().args(args).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{args:?}: {}", stderr_of(&output));
    };
    check(&["convert", "x.gguf"]);
    check(&["convert", "x.gguf", "--level", "Q9_9", "--out", "y"]);
    check(&["bench"]);
    check(&["inspect"]);
    check(&["--nonsense"]);
}

#[test]
fn inspect_knows_the_real_model() {
    let json = run_json(&[&"inspect", &smollm2(), &"--json", &"--tensors"]);
    let check = |key: &str, expected: serde_json::Value| assert_eq!(json[key], expected, "{key}");
    check("architecture", "llama".into());
    check("n_parameters", 134_515_008.into());
    check("n_layers", 30.into());
    check("n_vocab", 49152.into());
    check("n_tensors", 272.into());
    check("size_bytes", 98_362_432.into());
    check("licence", "apache-2.0".into());
    assert_eq!(json["tensors"][0]["name"], "token_embd.weight");
}

#[test]
fn recommend_shows_the_path_and_exact_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let converted = run_json(&[&"convert", &smollm2(), &"--level", &"F16", &"--out", &folder.path(), &"--json"]);
    let source = converted["conversions"][0]["path"].as_str().unwrap().to_string();
    let json = run_json(&[&"recommend", &source, &"--json"]);
    let plan = &json["plan"];
    assert!(plan["path"].as_array().unwrap().len() >= 3);
    let level_of = |name: &str| {
        plan["candidates"].as_array().unwrap().iter().find(|c| c["level"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    assert_eq!(level_of("Q8_0")["size_is_exact"], true);
    assert!(plan["recommended"].is_u64(), "{}", plan["reasons"]);
    let text = run(&[&"recommend", &source]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("Recommended: llama.cpp"));
    // A file that is quantized already is best left alone, and the reasons say so.
    let quantized = run_json(&[&"recommend", &smollm2(), &"--json"]);
    assert!(quantized["plan"]["recommended"].is_null());
    assert!(quantized["plan"]["reasons"].to_string().contains("Q4_1"), "{}", quantized["plan"]["reasons"]);
}

#[test]
fn hardware_and_doctor_print_one_json_document() {
    let machine = run_json(&[&"hardware", &"--json"]);
    assert!(machine["cpu"]["n_physical"].as_u64().unwrap() >= 1);
    assert!(machine["memory"]["total_bytes"].as_u64().unwrap() > 0);
    assert!(machine["bandwidth"]["all_threads_bytes_per_sec"].as_f64().unwrap() > 0.0);
    let doctor = run_json(&[&"doctor", &"--json"]);
    assert_eq!(doctor["runtimes"].as_array().unwrap().len(), 5);
}

#[test]
fn completions_and_manual_page_come_from_the_definitions() {
    let check = |args: &[&str], expected: &str| {
        let output = planish().args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(expected), "{args:?}: {text}");
    };
    check(&["completions", "bash"], "convert");
    check(&["completions", "fish"], "recommend");
    check(&["man"], ".TH planish");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let script = format!("{} inspect {} --tensors | head -1", env!("CARGO_BIN_EXE_planish"), smollm2().display());
    let output = std::process::Command::new("bash").arg("-c").arg(format!("set -o pipefail; {script}")).output().unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
}

#[test]
fn errors_tells_how_far_each_tensor_is_from_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let converted = run_json(&[&"convert", &smollm2(), &"--level", &"Q8_0", &"--out", &folder.path(), &"--json"]);
    let path = PathBuf::from(converted["conversions"][0]["path"].as_str().unwrap());
    let json = run_json(&[&"errors", &smollm2(), &path, &"--json"]);
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!((tensors.len(), &json["warnings"]), (272, &serde_json::json!([])));
    let (mut n_identical, mut n_different) = (0, 0);
    for tensor in tensors {
        let error = tensor["relative_rms"].as_f64().unwrap();
        if tensor["is_identical"] == true {
            assert_eq!(error.to_bits(), 0, "{tensor}");
            n_identical += 1;
        } else {
            // 8 bits after 4: far below the 7 % that 4 bits cost, but not nothing.
            assert!(error > 0.0005 && error < 0.01, "{tensor}");
            assert!(tensor["cosine"].as_f64().unwrap() > 0.9999, "{tensor}");
            n_different += 1;
        }
    }
    // Seven matrices in each of 30 layers; the norms and the embedding, which is Q8_0 already, are copied.
    assert_eq!((n_different, n_identical), (210, 62));
    let overall = json["overall_relative_rms"].as_f64().unwrap();
    assert!(overall > 0.0005 && overall < 0.01, "{overall}");
    let text = run(&[&"errors", &smollm2(), &path]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("Q4_1 → Q8_0") && text.contains("relative RMS error of all weights"), "{text}");
    // One of the two is not a model: an empty folder. A folder with one GGUF file would stand for that file.
    let empty = tempfile::tempdir().unwrap();
    let refused = run(&[&"errors", &smollm2(), &empty.path()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr_of(&refused).contains("a folder"), "{}", stderr_of(&refused));
}

#[cfg(feature = "llama-cpp")]
#[test]
fn compare_ends_with_prediction_beside_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let quick: [&dyn AsRef<std::ffi::OsStr>; 8] =
        [&"--prompt-tokens", &"64", &"--gen-tokens", &"8", &"--repetitions", &"2", &"--tokens", &"1000"];
    let source = smollm2();
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"compare", &source, &"--level", &"Q8_0,Q2_K", &"--out", &out, &"--json"];
    args.extend(quick);
    let json = run_json(&args);
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), ["Q4_1 (source)", "Q8_0", "Q2_K"]);
    assert!(rows[0]["quality"].is_null() && rows[0]["verdict"].is_null(), "the source is what others are held against");
    let kld = |row: usize| rows[row]["quality"]["summary"]["mean_kld"]["value"].as_f64().unwrap();
    assert!(kld(1) < kld(2), "fewer bits lose more: {} and {}", kld(1), kld(2));
    assert_eq!(rows[2]["verdict"]["decision"], "FAIL");
    for row in &rows[1..] {
        let size = std::fs::metadata(row["path"].as_str().unwrap()).unwrap().len();
        assert_eq!(row["size_bytes"], size);
        assert_eq!(row["run"]["decode_tokens_per_sec"]["values"].as_array().unwrap().len(), 2);
        assert!(row["run"]["peak_memory_bytes"].as_u64().unwrap() > size / 2);
        assert!(row["predicted_decode_tokens_per_sec"]["mid"].as_f64().unwrap() > 0.0);
        assert!(row["predicted_memory_bytes"].as_u64().unwrap() > 0);
    }
    // A second time: refused without --reuse, measured again with it, as text.
    let refused = run(&args[..6]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr_of(&refused).contains("exists"));
    let mut again: Vec<&dyn AsRef<std::ffi::OsStr>> = args[..6].to_vec();
    again.push(&"--reuse");
    again.extend(quick);
    let (report, plot) = (folder.path().join("report.html"), folder.path().join("plot.png"));
    again.extend([&"--report" as &dyn AsRef<std::ffi::OsStr>, &report, &"--export", &plot, &"--plot", &"size-loss"]);
    let output = run(&again);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains("Run of the history") && html.contains("id=\"plot-size-loss\"") && html.ends_with("</html>\n"));
    assert!(std::fs::read(&plot).unwrap().starts_with(b"\x89PNG"));
    assert!(output.status.success() && text.contains("Q2_K") && text.contains("±"), "{text}{}", stderr_of(&output));
    // One verdict for a file, wherever it stands, and the answer at the end.
    assert!(text.contains("warning: the source is Q4_1 itself"), "{text}");
    assert_eq!(text.matches("Q2_K.gguf: FAIL").count(), 1, "{text}");
    let end: Vec<&str> = text.lines().rev().take(5).collect();
    assert!(end.iter().any(|line| line.starts_with("Q8_0: ") && line.ends_with("next words the same")), "{text}");
    let kept = run_json(&[&"history", &"--json"]);
    let is_own = |row: &&serde_json::Value| row["kind"] == "quality" && row["path"].as_str() == rows[2]["path"].as_str();
    let verdicts: Vec<&str> =
        kept["runs"].as_array().unwrap().iter().filter(is_own).filter_map(|row| row["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["FAIL", "FAIL"], "both runs of it");
}

#[test]
fn what_was_decoded_from_a_quantized_file_says_so_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let converted = run_json(&[&"convert", &smollm2(), &"--level", &"F16", &"--out", &folder.path(), &"--json"]);
    let path = PathBuf::from(converted["conversions"][0]["path"].as_str().unwrap());
    let text = |args: &[&dyn AsRef<std::ffi::OsStr>]| String::from_utf8_lossy(&run(args).stdout).into_owned();
    let seen = text(&[&"inspect", &path]);
    assert!(seen.contains("decoded from Q4_1"), "{seen}");
    let advice = text(&[&"recommend", &path]);
    assert!(advice.contains("the source was decoded from Q4_1") && !advice.contains("one loss only"), "{advice}");
}

#[cfg(feature = "llama-cpp")]
#[test]
fn a_long_run_tells_burst_and_sustained_speed() {
    // A context so small that it is full, and used again, many times a second.
    let args: [&dyn AsRef<std::ffi::OsStr>; 10] =
        [&"bench", &smollm2(), &"--prompt-tokens", &"16", &"--gen-tokens", &"4", &"--repetitions", &"1", &"--sustained", &"3"];
    let mut as_json = args.to_vec();
    as_json.push(&"--json");
    let started = Instant::now();
    let json = run_json(&as_json);
    assert!(started.elapsed() >= Duration::from_secs(3));
    let sustained = &json["runs"][0]["run"]["sustained"];
    let speeds: Vec<f64> = sustained["tokens_per_sec"].as_array().unwrap().iter().map(|speed| speed.as_f64().unwrap()).collect();
    // On a machine whose cores are taken a token may take longer than a second.
    assert!((1..=3).contains(&speeds.len()) && speeds.iter().all(|speed| *speed > 0.0), "{speeds:?}");
    let number = |key: &str| sustained[key].as_f64().unwrap();
    assert_eq!(number("burst_tokens_per_sec").to_bits(), speeds[0].to_bits());
    assert_eq!(number("sustained_tokens_per_sec").to_bits(), speeds[speeds.len() - 1].to_bits());
    assert!((number("ratio") - number("sustained_tokens_per_sec") / number("burst_tokens_per_sec")).abs() < 1e-9);
    let text = run(&args);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("burst tok/s") && text.contains("sustained tok/s"), "{text}");
}

/// A safetensors file with this header and no data.
fn safetensors(json: &str) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

#[test]
fn hostile_checkpoints_get_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let path = folder.path().join(format!("{}.safetensors", name.replace(' ', "-")));
        std::fs::write(&path, bytes).unwrap();
        check_hostile(name, &path, expected);
        std::fs::remove_file(&path).unwrap();
    };
    check("huge length", &(1_u64 << 63).to_le_bytes(), "at most 100000000 are allowed");
    check("deep", &safetensors(&format!("{{\"a\":{}", "[".repeat(99_000_000))), "a text of more than");
    check("deep with names", &safetensors(&format!("{{\"a\":{}", "{\"a\":".repeat(19_000_000))), "unknown field");
    check("no data", &safetensors(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#), "only 0 are left");
    check("overflow", &safetensors(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}"#), "2^64");
    check("pickle", b"PK\x03\x04\0\0\x08\x08\0\0model/data.pkl", "never opened");
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map":{"a":"../a.safetensors"}}"#).unwrap();
    check_hostile("index", &index, "not in its folder");
}

#[cfg(target_os = "linux")]
#[test]
fn a_hostile_checkpoint_costs_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.safetensors");
    let mut json = String::from("{");
    for idx in 0..1_500_000 {
        json.push_str(&format!(r#""t{idx}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"#));
    }
    std::fs::write(&path, safetensors(&json)).unwrap();
    let script = format!("ulimit -d 100000; exec {} inspect {}", env!("CARGO_BIN_EXE_planish"), path.display());
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let stderr = stderr_of(&output);
    assert!(output.status.code() == Some(1) && stderr.contains("more than 100000 tensors"), "{stderr}");
}

#[test]
fn an_incomplete_checkpoint_is_inspected_and_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", br#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","num_hidden_layers":2}"#);
    let mut weights = safetensors(r#"{"model.norm.weight":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}"#);
    weights.extend([0; 8]);
    write("model.safetensors", &weights);
    let json = run_json(&[&"inspect", &folder.path(), &"--json", &"--tensors"]);
    assert_eq!(
        (&json["can_be_converted"], &json["n_parameters"], &json["config"]["n_layers"]),
        (&false.into(), &4.into(), &2.into())
    );
    assert_eq!(json["tensors"][0]["name"], "model.norm.weight");
    let blocked = |item: &serde_json::Value| (item["state"] == "blocked").then(|| item["name"].as_str().unwrap().to_string());
    let blocked: Vec<String> = json["checklist"].as_array().unwrap().iter().filter_map(blocked).collect();
    assert_eq!(blocked, ["Tokenizer", "Tensors"]);
    let output = planish().arg("inspect").arg(folder.path().join("config.json")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("Checklist") && text.contains("config.json does not say hidden_size"),
        "{text}"
    );
    for (command, expected) in [
        ("convert", "cannot convert this checkpoint: config.json does not say hidden_size"),
        ("recommend", "cannot convert this checkpoint"),
        ("bench", "cannot be run or measured as it is"),
    ] {
        let out = folder.path().join("out");
        let mut args: Vec<&std::ffi::OsStr> = vec![command.as_ref(), folder.path().as_ref()];
        if command == "convert" {
            args.extend::<[&std::ffi::OsStr; 4]>(["--level".as_ref(), "Q8_0".as_ref(), "--out".as_ref(), out.as_ref()]);
        }
        let output = planish().args(args).output().unwrap();
        let stderr = stderr_of(&output);
        assert!(output.status.code() == Some(1) && stderr.contains(expected), "{command}: {stderr}");
        assert!(!out.exists());
    }
}
