//! Calibrated levels: second moments by the real llama.cpp, codes by error feedback, losses against the source.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use planish::convert::{ConvertRequest, convert, open_model, unpack_sample};
use planish::format::{MomentsIndex, inspect};
use planish::model::Level;
use planish::monitor::Monitor;
use serde_json::Value;

use crate::common::planish;

/// The program with a cache of its own, so that nothing is known from other tests.
pub fn program(cache: &Path) -> Command {
    let mut command = planish();
    command.env("XDG_CACHE_HOME", cache);
    command
}

pub fn json(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // 3: a level does not pass the gates, which is no error here.
    assert!([Some(0), Some(3)].contains(&output.status.code()), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The sample at BF16, which can be run.
pub fn sample(folder: &Path) -> PathBuf {
    let checkpoint = unpack_sample(folder).unwrap();
    let request = ConvertRequest::new(vec![Level::BF16], folder);
    convert(&open_model(&checkpoint).unwrap(), &request, &Monitor::silent()).unwrap().remove(0).path
}

/// The index of the moments that a run has kept.
fn index(cache: &Path, name: &str) -> Option<MomentsIndex> {
    let moments = std::fs::read_dir(cache.join("planish/second-moments")).ok()?;
    moments.flatten().find_map(|folder| MomentsIndex::read(&folder.path().join(name)).ok())
}

#[test]
fn calibrated_levels_of_the_sample_lose_far_less_at_the_same_size() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let source = sample(folder.path());
    let make = |calibrated: bool| {
        let mut command = program(&cache);
        command.arg("convert").arg(&source).args(["--level", "Q4_K_M,Q3_K_M"]).arg("--out").arg(&out);
        if calibrated {
            command.args(["--calibrated", "--calibration-tokens", "8192"]);
        }
        let made = json(&mut command);
        let paths = made["conversions"].as_array().unwrap().iter().map(|made| PathBuf::from(made["path"].as_str().unwrap()));
        paths.collect::<Vec<_>>()
    };
    let (plain, calibrated) = (make(false), make(true));
    let names: Vec<&str> = calibrated.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names[0].ends_with("-Q4_K_M-calibrated.gguf") && names[1].ends_with("-Q3_K_M-calibrated.gguf"), "{names:?}");
    for (plain, calibrated) in plain.iter().zip(&calibrated) {
        let dtypes = |path: &Path| inspect(path).unwrap().tensors.into_iter().map(|tensor| tensor.dtype).collect::<Vec<_>>();
        assert_eq!(dtypes(plain), dtypes(calibrated));
    }
    // Every matrix has moments, and keys and values have some for each of their heads.
    let index = index(&cache, "moments.json").unwrap();
    assert_eq!(index.n_tokens, 8192);
    assert!(index.sites.iter().all(|site| site.n_parts > 0), "{index:?}");
    let heads = inspect(&source).unwrap().hyperparameters.n_kv_heads[0];
    let values = index.sites.iter().find(|site| site.tensors == ["blk.0.attn_v.weight"]).unwrap();
    assert_eq!(values.n_parts as u64, heads);

    let mut command = program(&cache);
    command
        .arg("quality")
        .args(plain.iter().chain(&calibrated))
        .arg("--reference")
        .arg(&source)
        .args(["--full", "--tokens", "4000"]);
    let runs = json(&mut command);
    let losses: Vec<f64> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["run"]["summary"]["mean_kld"]["value"].as_f64().unwrap()).collect();
    let ratios = [losses[2] / losses[0], losses[3] / losses[1]];
    // 0.58 and 0.62 by the prototype, with twice the tokens.
    assert!(ratios.iter().all(|ratio| *ratio < 0.75), "{ratios:?} of {losses:?}");
}

#[test]
fn a_collection_that_was_killed_goes_on_and_its_moments_serve_again() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let source = sample(folder.path());
    let convert = |level: &str| {
        let mut command = program(&cache);
        command
            .arg("convert")
            .arg(&source)
            .args(["--level", level, "--calibrated", "--calibration-tokens", "2048", "--out"])
            .arg(&out);
        command
    };
    let mut child = convert("Q4_0").spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !cache.join("planish/second-moments").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let path = |level: &str| out.join(format!("{level}-calibrated.gguf"));
    assert!(!path("sample-Q4_0").exists());
    json(&mut convert("Q4_0"));
    let first = index(&cache, "moments.json").unwrap();
    assert!(index(&cache, "unfinished.json").is_none());
    json(&mut convert("Q5_0"));
    assert_eq!(index(&cache, "moments.json").unwrap(), first, "collected once");
    // Moments that are not whole are collected again; damaged ones are refused, and collected again the next time.
    let folder = std::fs::read_dir(cache.join("planish/second-moments")).unwrap().next().unwrap().unwrap().path();
    let file = folder.join(&first.sites[0].file);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..8]).unwrap();
    json(&mut convert("Q4_1"));
    let mut damaged = std::fs::read(&file).unwrap();
    assert_eq!(damaged.len(), bytes.len());
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let refused = convert("Q5_1").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("its bytes are not those"), "{refused:?}");
    json(&mut convert("Q5_1"));
}

#[test]
fn what_cannot_be_calibrated_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let source = sample(folder.path());
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "A text of a few words.").unwrap();
    let check = |args: &[&str], expected: &str| {
        let output =
            program(&cache).arg("convert").arg(&source).args(args).arg("--calibrated").arg("--out").arg(&out).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(expected), "{stderr}");
        assert!(!out.join("sample-Q4_0-calibrated.gguf").exists());
    };
    check(&["--level", "Q4_0", "--calibration-text", short.to_str().unwrap()], "and a chunk has 512");
    let mixed = ["--level", "Q4_0", "--calibration-text", short.to_str().unwrap(), "--calibration-mix"];
    check(&mixed, "your text has fewer tokens for this model than the 512 of a chunk");
    check(&["--level", "Q4_0", "--imatrix", "m.gguf"], "cannot be used with");
    check(&["--level", "mlx:4-bit"], "--calibrated is about levels of llama.cpp");
    check(&["--level", "Q4_0", "--calibration-tokens", "1"], "512");
}
