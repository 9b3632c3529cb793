//! The history across programs: killed while they write, several at once, and the command that shows it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use planish::bench::history::{Filter, History, Measurement, NewRun};
use planish::bench::{Provenance, Run, Stat};
use planish::hardware::Conditions;

use crate::common;

/// The variable that tells a copy of this test program which history to write into.
const WRITER_VARIABLE: &str = "PLANISH_TEST_WRITER";

/// A speed run of `/models/m-LEVEL.gguf`.
pub fn speed_run(level: &str, decode: f64) -> NewRun {
    let stat = |value: f64| Stat { values: vec![value, value * 1.25, value * 0.75] };
    let run = Run {
        path: format!("/models/m-{level}.gguf").into(),
        size_bytes: 144_811_072,
        prefill_tokens_per_sec: stat(800.0),
        decode_tokens_per_sec: stat(decode),
        load_secs: stat(0.5),
        peak_memory_bytes: 200_000_000,
        provenance: Provenance {
            runtime: "llama.cpp b6500".into(),
            backend: "CPU".into(),
            n_threads: 8,
            n_prompt_tokens: 512,
            n_gen_tokens: 128,
            conditions: Conditions::default(),
            // As large as a quality run with its changed tokens, so that a write takes several pages.
            warnings: vec!["w".repeat(40_000)],
        },
        energy: planish::bench::Energy::default(),
        sustained: None,
        workload: None,
    };
    NewRun {
        measurement: Measurement::Speed(Box::new(run)),
        recorded_unix_secs: 1_787_321_100,
        machine: "AMD Ryzen 7 PRO 7840U, 27.3 GiB".into(),
        model_sha256: Some("a1".repeat(32)),
        level: Some(level.into()),
        recipe: None,
    }
}

/// Not a test of its own: run in a copy of this program, it writes until it is killed, and prints what it has committed.
#[test]
#[ignore = "started by a_kill_while_it_writes_costs_no_run_that_was_kept"]
fn writes_until_it_is_killed() {
    let path = std::env::var_os(WRITER_VARIABLE).expect("the history to write into");
    let mut history = History::open(Path::new(&path)).unwrap();
    loop {
        for id in history.record(&[speed_run("Q8_0", 40.0), speed_run("Q4_K_M", 60.0)]).unwrap() {
            println!("kept {id}");
        }
    }
}

fn start_writer(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "history::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(WRITER_VARIABLE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_while_it_writes_costs_no_run_that_was_kept() {
    const N_KILLS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite3");
    let mut kept: Vec<i64> = Vec::new();
    for kill in 0..N_KILLS {
        // Two at once, so that one is killed while the other holds the lock, too.
        let mut writers = [start_writer(&path), start_writer(&path)];
        let lines = writers.each_mut().map(|writer| BufReader::new(writer.stdout.take().unwrap()).lines());
        let [mut first, second] = lines;
        // Killed at another place in the work each time.
        let is_kept = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.contains("kept "));
        let n_wanted = 1 + kill * 3;
        let mut said: Vec<String> = first.by_ref().filter(is_kept).take(n_wanted).map(|line| line.unwrap()).collect();
        assert_eq!(said.len(), n_wanted, "the writer ended before it was killed");
        for writer in &mut writers {
            writer.kill().unwrap();
            assert!(writer.wait().unwrap().code().is_none(), "killed, not ended");
        }
        said.extend(first.chain(second).filter(is_kept).map(|line| line.unwrap()));
        kept.extend(said.iter().filter_map(|line| line.split("kept ").nth(1)?.trim().parse::<i64>().ok()));

        let history = History::open(&path).unwrap();
        assert_eq!(history.check(), Ok(Vec::new()), "after kill {kill}");
        let there: Vec<i64> = history.list(&Filter::default()).unwrap().iter().map(|row| row.id).collect();
        let lost: Vec<&i64> = kept.iter().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "lost after kill {kill}: {lost:?}");
        // Both runs of a write or none: an odd number would be half of one.
        assert_eq!(there.len() % 2, 0, "after kill {kill}");
        history.get(&there).unwrap();
    }
    assert!(kept.len() >= N_KILLS, "{kept:?}");
}

fn planish(history: &Path, args: &[&str]) -> Output {
    common::planish().env("PLANISH_HISTORY", history).arg("history").args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(history: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(&planish(history, args))).unwrap()
}

#[test]
fn the_command_lists_shows_compares_exports_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite3");
    assert!(stdout(&planish(&path, &[])).contains("no runs yet"));
    let mut history = History::open(&path).unwrap();
    history.record(&[speed_run("Q8_0", 40.0), speed_run("Q4_K_M", 60.0), speed_run("Q2_K", 80.0)]).unwrap();
    // The window may be open all the while.
    let text = stdout(&planish(&path, &[]));
    assert!(text.contains("60.0 ± 15.0") && text.contains("m-Q4_K_M.gguf") && text.lines().count() == 4, "{text}");
    assert!(stdout(&planish(&path, &["--filter", "nothing"])).contains("no run matches"));
    let ids = |args: &[&str]| -> Vec<i64> {
        json(&path, args)["runs"].as_array().unwrap().iter().map(|run| run["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&["--json"]), [3, 2, 1]);
    assert_eq!(ids(&["--json", "--filter", "ryzen q4", "--kind", "speed"]), [2]);
    assert_eq!(ids(&["--json", "--limit", "2"]), [3, 2]);
    assert_eq!(ids(&["--json", "--kind", "quality"]), [0; 0]);
    assert_eq!(ids(&["--json", "--since", "2200-01-01"]), [0; 0]);

    let text = stdout(&planish(&path, &["show", "2", "1"]));
    for expected in ["Run 2\n", "llama.cpp b6500", "Peak memory", "Prompt and generated tokens", "warning: www"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(json(&path, &["show", "2", "--json"])["runs"][0]["run"]["decode_tokens_per_sec"]["values"][1], 75.0);

    let text = stdout(&planish(&path, &["compare", "1", "3"]));
    assert!(text.contains("run 1: Q8_0") && text.contains("+100 % (+20.0 to +233), better"), "{text}");
    assert_eq!(json(&path, &["compare", "1", "2", "--json"])["numbers"][1]["changes"][1]["judgement"], "unclear");

    let csv = dir.path().join("runs.csv");
    let export = ["export", "--format", "csv", "--out", csv.to_str().unwrap()];
    stdout(&planish(&path, &export));
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), 4);
    let refused = planish(&path, &export);
    assert!(refused.status.code() == Some(1) && String::from_utf8_lossy(&refused.stderr).contains("exists"));
    stdout(&planish(&path, &[&export[..], &["--force", "--filter", "q4"]].concat()));
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), 2);
    assert_eq!(json(&path, &["export", "--format", "json"])["runs"].as_array().unwrap().len(), 3);

    let unknown = planish(&path, &["delete", "1", "9"]);
    let stderr = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(1) && stderr.contains("no run 9") && stderr.contains("\nhint: "), "{stderr}");
    assert_eq!(stdout(&planish(&path, &["delete", "1"])), "deleted 1 run\n");
    assert_eq!(ids(&["--json"]), [3, 2]);
    assert_eq!(json(&path, &["delete", "--all", "--json"])["n_deleted"], 2);
    assert!(stdout(&planish(&path, &[])).contains("no runs yet"));
}

#[test]
fn a_file_that_is_no_history_is_refused_by_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "my notes").unwrap();
    let output = planish(&path, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && stderr.starts_with("error: not a history of Planish"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
}

#[cfg(feature = "llama-cpp")]
#[test]
fn a_benchmark_is_kept_with_what_it_depends_on_and_works_without_a_history() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite3");
    let bench = |history: &Path| {
        let quick = ["--prompt-tokens", "32", "--gen-tokens", "4", "--repetitions", "1", "--json"];
        let output = common::planish().env("PLANISH_HISTORY", history).arg("bench").arg(common::smollm2()).args(quick).output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), stderr)
    };
    let (printed, stderr) = bench(&path);
    assert!(!stderr.contains("warning:"), "{stderr}");
    let runs = json(&path, &["export", "--format", "json"]);
    let kept = &runs["runs"][0];
    for part in ["prefill_tokens_per_sec", "decode_tokens_per_sec", "load_secs", "peak_memory_bytes"] {
        assert_eq!(kept["run"][part], printed["runs"][0]["run"][part], "{part}");
    }
    assert_eq!((&kept["level"], &kept["kind"], &kept["size_bytes"]), (&"Q4_1".into(), &"speed".into(), &98_362_432.into()));
    assert!(kept["recipe"].as_str().unwrap().contains("210 Q4_1"), "{}", kept["recipe"]);
    assert!(kept["machine"].as_str().unwrap().contains("GiB") && kept["runtime"].as_str().unwrap().starts_with("llama.cpp"));
    let hashed = Command::new("sha256sum").arg(common::smollm2()).output();
    if let Ok(output) = hashed.as_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) {
        assert_eq!(output.split(' ').next(), kept["model_sha256"].as_str());
    }
    // A history that cannot be written is a warning, and costs nothing else.
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "my notes").unwrap();
    let (_, stderr) = bench(&notes);
    assert!(stderr.contains("warning: not kept in the history: not a history of Planish"), "{stderr}");
}
