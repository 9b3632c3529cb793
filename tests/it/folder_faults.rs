//! The same as `faults` for outputs that are folders: killed, starved of disk, killed while they replace a folder.
//!
//! In full, with 100 kills each and 20 full disks: `PLANISH_FAULTS=full cargo nextest run --no-capture folder_faults`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use planish::convert::{VerifyRequest, verify};
use planish::monitor::Monitor;
use serde_json::json;

use crate::convert::{assert_refused, names};
use crate::faults::{Disk, eventually, fill, have_their_size, n_tries, start, wait};
use crate::golden_checkpoints::{cases, folder};

const OUTPUT: &str = "big-mlx-4-bit-g64";

/// A checkpoint of 34 million weights: large enough to be caught in the middle.
fn checkpoint(parent: &Path) -> PathBuf {
    let (n_layers, n_embd, n_ff) = (8, 512, 2048);
    let (_, case) = cases().into_iter().find(|(name, _)| name == "llama").unwrap();
    let mut config = case["config"].clone();
    let n_vocab = config["vocab_size"].as_u64().unwrap();
    for (key, value) in [
        ("hidden_size", json!(n_embd)),
        ("intermediate_size", json!(n_ff)),
        ("num_hidden_layers", json!(n_layers)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(8)),
        ("head_dim", json!(n_embd / 8)),
        ("tie_word_embeddings", json!(true)),
        ("torch_dtype", json!("bfloat16")),
    ] {
        config[key] = value;
    }
    let path = parent.join("big");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(folder().join("tokenizer").join(name), path.join(name)).unwrap();
    }
    let mut shapes: Vec<(String, Vec<u64>)> = vec![("model.embed_tokens.weight".into(), vec![n_vocab, n_embd])];
    for layer in 0..n_layers {
        let mut add = |part: &str, shape: &[u64]| shapes.push((format!("model.layers.{layer}.{part}.weight"), shape.to_vec()));
        for part in ["q", "k", "v", "o"] {
            add(&format!("self_attn.{part}_proj"), &[n_embd, n_embd]);
        }
        for part in ["gate", "up"] {
            add(&format!("mlp.{part}_proj"), &[n_ff, n_embd]);
        }
        add("mlp.down_proj", &[n_embd, n_ff]);
        for part in ["input_layernorm", "post_attention_layernorm"] {
            add(part, &[n_embd]);
        }
    }
    shapes.push(("model.norm.weight".into(), vec![n_embd]));
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in shapes {
        let start = end;
        end += 2 * shape.iter().product::<u64>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    let mut random = fastrand::Rng::with_seed(5);
    bytes.extend((0..end / 2).flat_map(|_| half::bf16::from_f32(random.f32() - 0.5).to_le_bytes()));
    std::fs::write(path.join("model.safetensors"), bytes).unwrap();
    path
}

fn convert(source: &Path, out_dir: &Path) -> Command {
    crate::convert::convert(source, "mlx:4-bit", out_dir)
}

/// Names and contents of a folder's files.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

/// How long a run without faults takes, and what it makes.
fn undisturbed(source: &Path, out_dir: &Path) -> (Duration, BTreeMap<String, Vec<u8>>) {
    let started = Instant::now();
    let output = wait(start(&mut convert(source, out_dir)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let elapsed = started.elapsed();
    let made = contents(&out_dir.join(OUTPUT));
    let request = VerifyRequest { path: out_dir.join(OUTPUT), source: Some(source.into()), imatrix: None };
    assert_eq!(verify(&request, &Monitor::silent()).unwrap().findings, [""; 0]);
    (elapsed, made)
}

#[test]
fn a_killed_folder_is_whole_or_has_no_name_and_resumes_to_the_same_bytes() {
    let n_kills = n_tries(12, 100);
    let dir = tempfile::tempdir().unwrap();
    let source = checkpoint(dir.path());
    let (whole_run, expected) = undisturbed(&source, &dir.path().join("expected"));
    let out_dir = dir.path().join("out");
    let (mut n_killed, mut n_whole) = (0, 0);
    let mut random = fastrand::Rng::with_seed(1);
    while n_killed < n_kills || n_whole < n_kills / 4 {
        let mut command = convert(&source, &out_dir);
        // Every third run starts over, so that what is left over is replaced too.
        let resume: &[&str] = if random.u8(0..3) == 0 { &[] } else { &["--resume"] };
        let mut child = start(command.args(resume));
        std::thread::sleep(whole_run.mul_f64(random.f64()));
        child.kill().unwrap();
        let output = wait(child);
        n_killed += u32::from(output.status.code().is_none());
        let left = names(&out_dir);
        if left.iter().any(|name| name == OUTPUT) {
            assert!(contents(&out_dir.join(OUTPUT)) == expected, "after {n_killed} kills");
            n_whole += 1;
            std::fs::remove_dir_all(&out_dir).unwrap();
        } else {
            let is_part = |name: &String| [".part", ".part.journal"].iter().any(|end| *name == format!("{OUTPUT}{end}"));
            assert!(left.iter().all(is_part), "{left:?}");
        }
    }
    println!("{n_killed} kills, {n_whole} folders compared");
}

#[test]
fn a_kill_while_a_folder_is_replaced_loses_neither() {
    let n_kills = n_tries(8, 100);
    let dir = tempfile::tempdir().unwrap();
    let source = checkpoint(dir.path());
    let (whole_run, expected) = undisturbed(&source, &dir.path().join("expected"));
    let out_dir = dir.path().join("out");
    undisturbed(&source, &out_dir);
    let mut random = fastrand::Rng::with_seed(2);
    for kill in 0..n_kills {
        // Late, where names change.
        let mut child = start(convert(&source, &out_dir).arg("--force"));
        std::thread::sleep(whole_run.mul_f64(0.7 + 0.4 * random.f64()));
        child.kill().unwrap();
        wait(child);
        assert!(contents(&out_dir.join(OUTPUT)) == expected, "after kill {kill}: {:?}", names(&out_dir));
    }
    assert!(wait(start(convert(&source, &out_dir).arg("--force"))).status.success());
    assert_eq!(names(&out_dir), [OUTPUT]);
}

#[test]
fn a_full_disk_leaves_no_folder() {
    const TEST: &str = "disk filled meanwhile";
    let n_disks = n_tries(2, 20);
    let dir = tempfile::tempdir().unwrap();
    let source = checkpoint(dir.path());
    let (_, expected) = undisturbed(&source, &dir.path().join("expected"));
    let Some(disk) = Disk::ext2(dir.path(), 60 << 20, TEST) else { return };
    let (out_dir, other) = (disk.at.join("out"), disk.at.join("other"));
    let mut n_starved = 0;
    let mut random = fastrand::Rng::with_seed(3);
    for disk_idx in 0..n_disks {
        let resume: &[&str] = if disk_idx % 2 == 1 { &["--resume"] } else { &[] };
        let child = start(convert(&source, &out_dir).args(resume));
        assert!(eventually(|| have_their_size(&out_dir, 1)), "the conversion never started");
        std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        fill(&other);
        let output = wait(child);
        if output.status.success() {
            assert!(contents(&out_dir.join(OUTPUT)) == expected);
        } else {
            n_starved += 1;
            assert_refused(&output, "cannot write");
            assert!(!out_dir.join(OUTPUT).exists());
            if resume.is_empty() {
                assert_eq!(names(&out_dir), [""; 0]);
            }
            std::fs::write(&other, "").unwrap();
            let output = wait(start(convert(&source, &out_dir).args(resume)));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(contents(&out_dir.join(OUTPUT)) == expected);
        }
        std::fs::remove_dir_all(&out_dir).unwrap();
        std::fs::remove_file(&other).unwrap();
    }
    println!("{n_starved} of {n_disks} disks were full before the end");
}
