//! `planish levels` and what becomes of outputs that exist.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::Path;

use planish::convert::unpack_sample;

use crate::common;
use crate::convert::{assert_refused, convert, names};

fn levels(model: &Path, more: &[&str]) -> serde_json::Value {
    let output = common::planish().arg("levels").arg(model).args(more).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn found(json: &serde_json::Value) -> Vec<&str> {
    json["levels"].as_array().unwrap().iter().map(|level| level["level"].as_str().unwrap()).collect()
}

#[test]
fn levels_are_found_in_the_folders_they_were_written_to_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let sample = unpack_sample(dir.path()).unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    for (levels, out) in [("BF16,Q8_0", &one), ("Q4_0", &other)] {
        let output = convert(&sample, levels, out).arg("--no-check").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let json = levels(&sample, &[]);
    assert_eq!(found(&json), ["Q8_0", "Q4_0"], "{json}");
    let sizes = json["levels"].as_array().unwrap().iter().map(|level| level["size_bytes"].as_u64().unwrap());
    assert_eq!(json["size_bytes"].as_u64(), Some(sizes.sum()));
    let text = common::planish().arg("levels").arg(&sample).output().unwrap();
    assert!(String::from_utf8_lossy(&text.stdout).contains("2 files, together"));
    // The file that keeps every weight has the same levels.
    let bf16 = names(&one).into_iter().find(|name| name.contains("BF16")).unwrap();
    assert_eq!(found(&levels(&one.join(bf16), &["--folder", other.to_str().unwrap()])), ["Q8_0", "Q4_0"]);
    let left = levels(&sample, &["--delete", "Q4_0", "--for-good"]);
    assert_eq!((found(&left), names(&other).len()), (vec!["Q8_0"], 0));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0, "the manifest went with it");
    let missing = common::planish().arg("levels").arg(&sample).args(["--delete", "Q2_K"]).output().unwrap();
    assert_refused(&missing, "no file of level Q2_K");
}

#[test]
fn an_existing_output_is_skipped_replaced_or_kept_beside_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let sample = unpack_sample(dir.path()).unwrap();
    let out = dir.path().join("out");
    let run = |existing: &[&str]| convert(&sample, "Q8_0,Q4_0", &out).arg("--no-check").args(existing).output().unwrap();
    assert!(run(&[]).status.success());
    let first = names(&out);
    assert_refused(&run(&[]), "output exists");
    let skipped = run(&["--existing", "skip"]);
    assert!(skipped.status.success() && String::from_utf8_lossy(&skipped.stderr).matches("skipped, exists").count() == 2);
    assert!(run(&["--existing", "replace"]).status.success());
    assert_eq!(names(&out), first);
    assert!(run(&["--existing", "keep-both"]).status.success());
    assert_eq!(names(&out).len(), 4);
    assert!(names(&out).iter().any(|name| name.ends_with("-Q4_0-2.gguf")), "{:?}", names(&out));
}

/// That includes the file that stands for the checkpoint, which its levels are compared with. Without quality, the wishes alone
/// decide the status.
#[test]
fn a_comparison_of_a_checkpoint_keeps_files_of_before_beside_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let sample = unpack_sample(dir.path()).unwrap();
    let out = dir.path().join("out");
    let compare = |more: &[&str]| {
        let mut command = common::planish();
        command.arg("compare").arg(&sample).args(["--level", "Q4_0", "--out"]).arg(&out);
        command.args(["--no-quality", "--prompt-tokens", "16", "--gen-tokens", "4", "--repetitions", "1", "--json"]);
        command.args(more).output().unwrap()
    };
    let paths = |output: &std::process::Output| {
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = |row: &serde_json::Value| row["path"].as_str().unwrap().rsplit('/').next().unwrap().to_string();
        json["rows"].as_array().unwrap().iter().map(path).collect::<Vec<_>>()
    };
    let first = compare(&["--max-size", "90%"]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(paths(&first), ["planish-sample-BF16.gguf", "planish-sample-Q4_0.gguf"]);
    let second = compare(&["--existing", "keep-both", "--max-size", "1%"]);
    assert_eq!(second.status.code(), Some(3), "no level is so small: {}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(paths(&second), ["planish-sample-BF16-2.gguf", "planish-sample-Q4_0-2.gguf"]);
    assert_eq!(names(&out).len(), 4);
    let output = compare(&["--existing", "keep-both", "--max-kld", "0.1"]);
    assert_refused(&output, "gates are about quality");
}
