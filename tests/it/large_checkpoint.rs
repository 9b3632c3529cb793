//! Checkpoints that are larger than memory, which a limit pretends: Planish computes the reference itself, one layer at a time.

use std::path::{Path, PathBuf};

use planish::advise::{memory_estimate, recipe};
use planish::bench::MemoryLimit;
use planish::convert::{open_model, unpack_sample};
use planish::hardware::detect;
use planish::make::Reference;
use planish::model::Preset;

use crate::common::planish;
use crate::golden_checkpoints::{cases, write};

/// Tokens of context that the short measurements of this file need.
const N_CTX: u64 = 256;

/// The sample, and a limit that its `Q4_K_M` keeps but its file of full size does not.
fn sample_and_limit(folder: &Path) -> (PathBuf, u64) {
    let sample = unpack_sample(folder).unwrap();
    let (model, cpu) = (open_model(&sample).unwrap(), detect(folder).cpu);
    let limit = MemoryLimit::needed_bytes(&cpu, &model, N_CTX) - 1;
    assert!(memory_estimate(&model, &recipe(&model, Preset::Q4_K_M), &cpu, N_CTX).total_bytes() < limit);
    (sample, limit)
}

#[test]
fn what_planish_cannot_compute_itself_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let machine = detect(folder.path());
    let chosen = |name: &str, budget_bytes: u64| {
        let (_, case) = cases().into_iter().find(|case| case.0 == name).unwrap();
        let checkpoint = write(&case, &folder.path().join(name));
        Reference::of(&open_model(&checkpoint.path).unwrap(), &machine, Some(budget_bytes), N_CTX)
    };
    assert_eq!(chosen("falcon", 1 << 40), Reference::File);
    let Reference::LargeFile { obstacle, .. } = chosen("falcon", 1000) else { panic!("falcon has no description") };
    assert!(obstacle.contains("FalconForCausalLM is not described"), "{obstacle}");
    assert!(matches!(chosen("llama", 1000), Reference::Checkpoint { .. }));
    assert_eq!(chosen("llama", 1 << 40), Reference::File);
}

mod with_llama_cpp {
    use std::process::Output;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use planish::advise::Gates;
    use planish::bench::quality::{OWN_REFERENCE_FLOOR_NATS, QualityRequest, QualityRun, ReferenceBy, Stopping, quality_with};
    use planish::calibrate::text::TextSource;
    use planish::convert::{ConvertRequest, convert};
    use planish::error::{Error, Result};
    use planish::model::Level;
    use planish::monitor::{Monitor, Progress};
    use serde_json::Value as Json;

    use super::*;

    /// A short comparison of the sample.
    fn compare(sample: &Path, out: &Path, level: &str, more: &[&str]) -> Output {
        let mut command = planish();
        command.arg("compare").arg(sample).args(["--level", level, "--out"]).arg(out).args(more);
        command.args(["--prompt-tokens", "16", "--gen-tokens", "4", "--repetitions", "1", "--tokens", "500", "--chunk", "128"]);
        command.output().unwrap()
    }

    fn texts(output: &Output) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    #[test]
    fn a_checkpoint_larger_than_memory_is_compared_without_its_file_of_full_size() {
        let folder = tempfile::tempdir().unwrap();
        let (sample, limit) = sample_and_limit(folder.path());
        let (out, report) = (folder.path().join("out"), folder.path().join("report.html"));
        let more = ["--memory-budget", &limit.to_string(), "--json", "--report", report.to_str().unwrap()];
        let output = compare(&sample, &out, "Q4_K_M,Q2_K", &more);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let json: Json = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&json["reference"]["by"], &json["reference"]["limit_bytes"]), (&"planish".into(), &limit.into()));
        assert!(json["reference"]["text"].as_str().unwrap().contains("its BF16 file would need"), "{}", json["reference"]);
        let rows = json["rows"].as_array().unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["BF16 (source)", "Q4_K_M", "Q2_K"]);
        assert!(rows[0]["run"].is_null() && rows[0]["failure"].is_null(), "{}", rows[0]);
        assert!(rows[0]["not_run"].as_str().unwrap().starts_with("larger than memory"), "{}", rows[0]);
        for row in &rows[1..] {
            assert_eq!(row["quality"]["provenance"]["reference_by"], "planish");
            assert!(row["run"]["peak_memory_bytes"].as_u64().unwrap() > 0 && row["verdict"]["decision"].is_string());
        }
        let kld = |row: usize| rows[row]["quality"]["summary"]["mean_kld"]["value"].as_f64().unwrap();
        assert!(kld(1) > 0.0 && kld(1) < kld(2), "{} {}", kld(1), kld(2));
        let title = json["headline"]["title"].as_str().unwrap();
        assert!(
            title.contains("smaller") && !title.contains("faster") && !title.contains("slower"),
            "no speed to compare: {title}"
        );
        let mut made: Vec<PathBuf> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
        made.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
        made.sort();
        assert_eq!(made, ["planish-sample-Q2_K.gguf", "planish-sample-Q4_K_M.gguf"].map(|name| out.join(name)));
        let label = "the checkpoint, computed by Planish in F32, one layer at a time";
        let html = std::fs::read_to_string(&report).unwrap();
        assert!(html.contains(label) && html.contains("not measured: larger than memory"));
        let history = planish().args(["history", "--json"]).output().unwrap();
        let kept: Json = serde_json::from_slice(&history.stdout).unwrap();
        let is_own = |run: &&Json| run["kind"] == "quality" && run["path"] == rows[1]["path"];
        let id = kept["runs"].as_array().unwrap().iter().find(is_own).unwrap()["id"].to_string();
        let shown = texts(&planish().args(["history", "show", &id]).output().unwrap()).0;
        assert!(shown.contains(label), "{shown}");
    }

    #[test]
    fn a_level_larger_than_memory_is_made_and_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let (sample, limit) = sample_and_limit(folder.path());
        let out = folder.path().join("out");
        let output = compare(&sample, &out, "F32,Q4_K_M", &["--memory-budget", &limit.to_string(), "--min-speed", "1.5"]);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
        assert!(stderr.contains("error: larger than memory") && stderr.contains("--memory-budget"), "{stderr}");
        assert!(out.join("planish-sample-F32.gguf").is_file());
        assert_eq!(stdout.matches("not measured: larger than memory").count(), 2, "source and F32: {stdout}");
        assert!(stdout.contains("planish-sample-Q4_K_M.gguf: ") && stdout.contains("reference: the checkpoint"), "{stdout}");
        assert!(stdout.contains("speed not measured; you want at least 1.50 ×"), "{stdout}");
        assert!(stdout.contains("0.00001 nats more"), "{stdout}");
    }

    fn request(dir: &Path, reference: PathBuf, candidates: Vec<PathBuf>) -> QualityRequest {
        QualityRequest {
            reference,
            candidates,
            text: TextSource::Bundled,
            n_ctx: 256,
            max_tokens: 1000,
            gates: Gates::default(),
            stopping: Stopping::Full,
            cache_dir: Some(dir.join("cache")),
            ..QualityRequest::default()
        }
    }

    fn measured(request: &QualityRequest, monitor: &Monitor) -> Result<Vec<Arc<QualityRun>>> {
        let exe = Path::new(env!("CARGO_BIN_EXE_planish"));
        quality_with(exe, request, monitor, |_| {})?.into_iter().map(|outcome| outcome.result).collect()
    }

    #[test]
    fn losses_against_it_are_those_against_its_file_within_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let sample = unpack_sample(folder.path()).unwrap();
        let model = open_model(&sample).unwrap();
        let levels = vec![Level::F32, Level::Q8_0, Level::Q4_K_M];
        let made = convert(&model, &ConvertRequest::new(levels, folder.path().join("out")), &Monitor::silent()).unwrap();
        let files: Vec<PathBuf> = made.into_iter().map(|made| made.path).collect();
        let by = |reference: &Path, files: &[PathBuf]| {
            measured(&request(folder.path(), reference.to_path_buf(), files.to_vec()), &Monitor::silent()).unwrap()
        };
        let (own, usual) = (by(&sample, &files), by(&files[0], &files));
        let floor = OWN_REFERENCE_FLOOR_NATS;
        let kld = |run: &QualityRun| run.summary.mean_kld;
        assert!(kld(&own[0]).value < floor && kld(&own[0]).low.abs() < 1e-12, "the floor itself: {:?}", kld(&own[0]));
        assert!(kld(&own[0]).high >= floor && own[0].n_flips == 0, "{:?}", kld(&own[0]));
        for (own, usual) in own.iter().zip(&usual) {
            assert_eq!(
                (own.provenance.reference_by, usual.provenance.reference_by),
                (ReferenceBy::Planish, ReferenceBy::Runtime)
            );
            assert_eq!(own.summary.n_tokens, usual.summary.n_tokens);
            assert!((kld(own).value - kld(usual).value).abs() < floor, "{:?} {:?}", kld(own), kld(usual));
            assert!(kld(own).high - kld(own).value >= floor);
            assert_eq!(own.summary.same_top.value.to_bits(), usual.summary.same_top.value.to_bits());
            assert_eq!(own.verdict.decision, usual.verdict.decision);
        }
        assert!(kld(&own[1]).value < kld(&own[2]).value);
        // Known answers are not computed again, and another tokenizer or configuration is another reference.
        let again = by(&sample, &files[..1]);
        assert!(own[0].provenance.reference_secs > 0.0 && again[0].provenance.reference_secs < 1e-9);
        let config = std::fs::read_to_string(sample.join("config.json")).unwrap();
        std::fs::write(sample.join("config.json"), format!("{config} ")).unwrap();
        assert!(by(&sample, &files[..1])[0].provenance.reference_secs > 0.0);
    }

    #[test]
    fn the_reference_tells_each_layer_and_is_cancelled_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let sample = unpack_sample(folder.path()).unwrap();
        let model = open_model(&sample).unwrap();
        let out = folder.path().join("out");
        let made = convert(&model, &ConvertRequest::new(vec![Level::Q4_0], &out), &Monitor::silent()).unwrap();
        let request = request(folder.path(), sample, vec![made[0].path.clone()]);
        let n_layers = model.hyperparameters.n_layers;
        let of_layer =
            |progress: &Progress| progress.stage.strip_prefix("reference, ").map(|rest| (rest.to_string(), progress.done));

        let cancelled = Arc::new(AtomicBool::new(false));
        let (flag, (sender, layers)) = (Arc::clone(&cancelled), std::sync::mpsc::channel());
        let monitor = Monitor::new(cancelled, move |progress| {
            if of_layer(&progress).is_some() {
                flag.store(true, Ordering::Relaxed);
                sender.send(Instant::now()).unwrap();
            }
        });
        assert_eq!(measured(&request, &monitor).map(|_| ()), Err(Error::Cancelled));
        let took = layers.try_iter().last().unwrap().elapsed();
        assert!(took < Duration::from_millis(300), "{took:?}");

        let (sender, layers) = std::sync::mpsc::channel();
        let monitor = Monitor::new(Arc::default(), move |progress| sender.send(progress).unwrap());
        measured(&request, &monitor).unwrap();
        let told: Vec<(String, u64)> = layers.try_iter().filter_map(|progress| of_layer(&progress)).collect();
        let expected: Vec<(String, u64)> = (0..n_layers)
            .map(|idx| (format!("layer {} of {n_layers}, 8 chunks", idx + 1), idx))
            .chain([("the head, 8 chunks".into(), n_layers)])
            .collect();
        assert_eq!(told, expected, "all chunks in one pass");
    }
}
