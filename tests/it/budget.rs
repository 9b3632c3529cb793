//! Files within a budget: what tensors are worth by the real llama.cpp, types for a size, losses against plain levels of that size.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::Path;

use serde_json::Value;

use crate::calibrated::{json, program, sample};

/// The file with what was measured of the tensors, and when it was written.
fn costs(cache: &Path) -> Option<std::time::SystemTime> {
    let folders = std::fs::read_dir(cache.join("planish/second-moments")).ok()?;
    folders.flatten().find_map(|folder| std::fs::metadata(folder.path().join("costs.json")).ok()?.modified().ok())
}

fn loss(run: &Value) -> f64 {
    run["summary"]["mean_kld"]["value"].as_f64().unwrap()
}

#[test]
fn a_budget_loses_far_less_than_the_plain_level_of_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let source = sample(folder.path());
    let convert = |arguments: &[&str]| {
        let mut command = program(&cache);
        command.arg("convert").arg(&source).args(arguments).arg("--out").arg(&out);
        json(&mut command)
    };
    let plain = convert(&["--level", "Q3_K_M"]);
    let size_bytes = plain["conversions"][0]["size_bytes"].as_u64().unwrap();
    let tokens = ["--calibration-tokens", "8192"];
    let made = convert(&[&["--budget", &size_bytes.to_string()], tokens.as_slice()].concat());
    let [made, bought] = [&made["conversions"][0], &made["budget"]];
    let path = made["path"].as_str().unwrap();
    assert!(path.ends_with("-Q3_K_M-budget.gguf"), "{path}");
    assert_eq!(made["size_bytes"], bought["size_bytes"]);
    let found = bought["size_bytes"].as_u64().unwrap();
    assert!(found <= size_bytes && found > size_bytes - size_bytes / 25, "{found} of {size_bytes}");

    let mut command = program(&cache);
    command.arg("quality").arg(plain["conversions"][0]["path"].as_str().unwrap()).arg(path);
    command.arg("--reference").arg(&source).args(["--full", "--tokens", "4000"]);
    let runs = json(&mut command);
    let [plain, budgeted] = [0, 1].map(|idx| loss(&runs["runs"][idx]["run"]));
    // 0.30 by the prototype, with twice the tokens.
    assert!(budgeted < 0.6 * plain, "{budgeted} instead of {plain}");
    let predicted = bought["loss"].as_f64().unwrap();
    assert!((0.25..4.0).contains(&(budgeted / predicted)), "predicted {predicted}, measured {budgeted}");

    // What was learned serves the next budget, whatever its size.
    let learned = costs(&cache).unwrap();
    let larger = convert(&[&["--budget", "50%"], tokens.as_slice()].concat());
    assert_eq!(costs(&cache).unwrap(), learned);
    assert!(larger["budget"]["loss"].as_f64().unwrap() < predicted);
    // The recipe says all of it again.
    let types = bought["overrides"]["tensor_types"].as_array().unwrap();
    assert_eq!((types.is_empty(), bought["overrides"]["budget"].as_str()), (false, Some(size_bytes.to_string().as_str())));
}

#[test]
fn a_comparison_tells_what_a_budget_has_won() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let source = sample(folder.path());
    let compare = |budget: &str| {
        let mut command = program(&cache);
        command.arg("compare").arg(&source).args(["--budget", budget, "--calibration-tokens", "2048", "--no-source"]);
        command.args(["--repetitions", "1", "--gen-tokens", "8", "--prompt-tokens", "16", "--full", "--tokens", "3000", "--out"]);
        command.arg(folder.path().join("out"));
        command
    };
    let found = json(&mut compare("30%"));
    let names: Vec<&str> = found["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    let budgeted = names.iter().find(|name| name.ends_with(" budget")).unwrap();
    let plain = budgeted.trim_end_matches(" budget");
    assert!(names.contains(&plain), "{names:?}");
    let gain = found["headline"]["gain"].as_str().unwrap();
    assert!(gain.starts_with(&format!("{budgeted} loses ")) && gain.contains("% less than"), "{gain}");

    let output = compare("1%").arg("--force").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("are too few"), "{text}");
}

#[test]
fn gates_find_the_smallest_file_that_passes_and_go_on_where_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let source = sample(folder.path());
    let compare = |gates: &[&str]| {
        let mut command = program(&cache);
        // What is kept of an earlier search would teach the next one.
        command.env("PLANISH_HISTORY", folder.path().join(format!("{}.sqlite3", gates.join("").len())));
        command.arg("compare").arg(&source).args(["--budget", "gates", "--calibration-tokens", "2048", "--no-source"]);
        command.args(["--repetitions", "1", "--gen-tokens", "8", "--prompt-tokens", "16", "--tokens", "3000"]).args(gates);
        command.arg("--out").arg(out.join(gates.join("")));
        command
    };
    let files = |found: &Value| found["gated"].as_array().unwrap().clone();
    let size = |file: &Value| file["size_bytes"].as_u64().unwrap();

    let found = json(&mut compare(&["--max-kld", "0.05"]));
    let tried = files(&found);
    assert!((1..=3).contains(&tried.len()), "{tried:?}");
    assert!(tried.is_sorted_by(|one, other| size(one) < size(other)), "{tried:?}");
    for file in &tried {
        let upper = file["predicted_loss"].as_f64().unwrap() + file["predicted_loss_error"].as_f64().unwrap();
        assert!(upper <= 0.05 && Path::new(file["path"].as_str().unwrap()).exists(), "{file}");
    }
    let last = tried.last().unwrap();
    assert_eq!(last["passes"], true, "{last}");
    // The plain level of that size stands beside it, measured too.
    let rows = found["rows"].as_array().unwrap();
    let measured = rows.iter().filter(|row| row["quality"].is_object()).count();
    assert_eq!(measured, tried.len() + 1, "{rows:?}");

    // Only the source keeps every word: after the first file, which stays, comes one that keeps all weights.
    let tried = files(&json(&mut compare(&["--min-accuracy", "100%"])));
    assert_eq!(tried.iter().map(|file| file["passes"] == true).collect::<Vec<_>>(), [false, true], "{tried:?}");
    assert!(size(&tried[1]) > size(&tried[0]) && tried.iter().all(|file| Path::new(file["path"].as_str().unwrap()).exists()));
    assert_eq!(tried[1]["gates"]["n_measured"], 1, "the first one has corrected the prediction");

    // Not even that file loses nothing at all, and none is larger.
    let output = compare(&["--max-kld", "0"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("None of 1 file for the gates passes; the largest, "), "{text}");

    let refused = compare(&["--no-quality"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("without measuring what it loses"), "{text}");

    let convert = |limit: &str| {
        let mut command = program(&cache);
        command.arg("convert").arg(&source).args(["--budget", "gates", "--calibration-tokens", "2048", "--max-kld", limit]);
        command.arg("--out").arg(out.join(limit));
        json(&mut command)
    };
    let (loose, tight) = (convert("20"), convert("0.01"));
    assert_eq!(
        (&loose["budget"]["gates"]["is_smallest"], &tight["budget"]["gates"]["is_smallest"]),
        (&true.into(), &false.into())
    );
    assert!(size(&loose["budget"]) < size(&tight["budget"]), "{loose} {tight}");
}
