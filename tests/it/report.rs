//! `planish report`: what the history knows of a model, as one file.

use std::io::Write as _;
use std::path::Path;
use std::process::Output;

use planish::bench::history::{History, Measurement, NewRun};
use planish::format::{Layout, TensorSpec};
use planish::model::{DType, Metadata, Preset, Text, Value};

use crate::common;
use crate::history::speed_run;

/// A small F16 model whose weights are zero.
fn write_model(path: &Path) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::Str(Text(b"llama".into())));
    metadata.set("general.name", Value::Str(Text(b"Tiny <b>model</b>".into())));
    metadata.set("general.file_type", Value::U32(Preset::F16.file_type_id()));
    metadata.set("llama.block_count", Value::U32(1));
    metadata.set("llama.embedding_length", Value::U32(256));
    let spec = TensorSpec { name: "blk.0.ffn_up.weight".into(), dtype: DType::F16, shape: vec![256, 256] };
    let layout = Layout::plan(&metadata, &[spec], 32).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&layout.header).unwrap();
    file.set_len(layout.file_size_bytes).unwrap();
}

fn of_file(path: &Path, level: &str, decode: f64) -> NewRun {
    let mut run = speed_run(level, decode);
    // The warnings of `speed_run` are as long as a quality run.
    if let Measurement::Speed(speed) = &mut run.measurement {
        speed.path = path.to_path_buf();
        speed.provenance.warnings.clear();
    }
    run.model_sha256 = None;
    run
}

#[test]
fn a_report_is_made_from_the_history_without_measuring_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (model, history, out) = (at("tiny-F16.gguf"), at("history.sqlite3"), at("report.html"));
    write_model(&model);
    let report = |more: &[&str]| -> Output {
        let mut command = common::planish();
        command.env("PLANISH_HISTORY", &history).arg("report").arg(&model).arg("--out").arg(&out).args(more);
        command.output().unwrap()
    };
    let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let nothing = report(&[]);
    let text = stderr(&nothing);
    assert!(nothing.status.code() == Some(1) && text.contains("the history holds nothing about this model"), "{text}");
    assert!(text.contains("hint: measure it first: planish compare") && !out.exists(), "{text}");

    let mut kept = History::open(&history).unwrap();
    let runs = [of_file(&model, "F16", 20.0), of_file(&at("tiny-Q8_0.gguf"), "Q8_0", 50.0), speed_run("Q2_K", 90.0)];
    kept.record(&runs).unwrap();
    let written = report(&["--max-memory", "off"]);
    assert!(written.status.success(), "{}", stderr(&written));
    assert!(String::from_utf8_lossy(&written.stdout).contains("report on 2 files"), "the third is of another model");
    let html = std::fs::read_to_string(&out).unwrap();
    for expected in
        ["Tiny &lt;b&gt;model", "F16 (source)", "50.0 ± 12.5", "planish bench", "id=\"plot-size-speed\"", "Run of the history"]
    {
        assert!(html.contains(expected), "{expected}");
    }
    assert!(!html.contains("id=\"plot-size-loss\"") && !html.contains("Peak memory</th><td"), "neither measured nor asked for");

    let refused = report(&[]);
    assert!(refused.status.code() == Some(1) && stderr(&refused).contains("output exists"), "{}", stderr(&refused));
    assert!(report(&["--force"]).status.success());
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".part")));
}

#[test]
fn a_report_never_replaces_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny-F16.gguf");
    write_model(&model);
    let before = std::fs::read(&model).unwrap();
    let output = common::run(&[&"report", &model, &"--out", &model, &"--force"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("would overwrite its source"));
    assert_eq!(std::fs::read(&model).unwrap(), before);
}
