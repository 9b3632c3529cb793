//! What is lost, on the real model: the numbers, the refusals, the verdicts.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use planish::advise::{Decision, Gates};
use planish::bench::quality::{QualityOutcome, QualityRequest, QualityRun, Stopping, quality_with};
use planish::calibrate::text::TextSource;
use planish::error::Error;
use planish::format::inspect;
use planish::monitor::Monitor;

use crate::common;

const TEXT: &str = include_str!("../../assets/text/evaluation/prose.txt");

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_planish"))
}

fn request(dir: &Path, candidates: Vec<PathBuf>) -> QualityRequest {
    QualityRequest {
        reference: common::smollm2(),
        candidates,
        text: TextSource::Pasted(TEXT.into()),
        n_ctx: 256,
        max_tokens: 500,
        gates: Gates::default(),
        stopping: Stopping::Full,
        seed: 1,
        n_threads: None,
        cache_dir: Some(dir.join("cache")),
        memory_limit: None,
    }
}

fn measure(request: &QualityRequest) -> Vec<QualityOutcome> {
    quality_with(exe(), request, &Monitor::silent(), |_| {}).unwrap()
}

fn measure_one(request: &QualityRequest) -> Arc<QualityRun> {
    measure(request).remove(0).result.unwrap()
}

#[test]
fn a_model_loses_nothing_against_itself_and_little_at_8_bits() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let output = common::run(&[&"convert", &common::smollm2(), &"--level", &"Q8_0", &"--out", &made]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let q8 = made.join("SmolLM2-135M-Instruct-Q8_0.gguf");
    let outcomes = measure(&request(dir.path(), vec![common::smollm2(), q8]));
    let [own, q8] = &outcomes[..] else { panic!("{outcomes:?}") };
    let (own, q8) = (own.result.as_ref().unwrap(), q8.result.as_ref().unwrap());

    assert!(own.summary.mean_kld.value < 1e-6, "{:e}", own.summary.mean_kld.value);
    assert!(own.summary.max_kld < 1e-6 && own.flips.is_empty() && own.n_flips == 0);
    assert_eq!((own.summary.same_top.value, own.summary.accuracy_ratio.value), (1.0, 1.0));
    assert!((own.summary.ppl_ratio.value - 1.0).abs() < 1e-6);
    assert!(own.provenance.reference_secs > 0.0);

    let kld = q8.summary.mean_kld;
    assert!(kld.low > 0.0 && kld.value > 1e-4 && kld.value < 0.1, "{kld:?}");
    assert!(q8.summary.same_top.value > 0.8 && q8.summary.same_top.value < 1.0);
    assert!(q8.provenance.reference_secs < 1e-9, "the reference does not run again");
    assert_eq!(q8.summary.n_tokens, q8.summary.n_chunks * 127);
    assert!(q8.n_flips > 0 && !q8.flips[0].before.is_empty());
    assert_eq!(q8.strips[0].tokens.len(), 256);
    assert!(TEXT.contains(q8.strips[0].tokens[5].0.as_str()));
    assert_eq!(q8.provenance.model_sha256.len(), 64);
    assert_eq!(q8.provenance.reference_sha256, own.provenance.model_sha256);
}

#[test]
fn texts_models_and_vocabularies_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = request(dir.path(), vec![common::smollm2()]);
    let refusal = |request: &QualityRequest| quality_with(exe(), request, &Monitor::silent(), |_| {}).unwrap_err();
    let short = QualityRequest { text: TextSource::Pasted("one".into()), ..good.clone() };
    match refusal(&short) {
        Error::BadText { problem, .. } => assert!(problem.contains("512 are needed for 2 chunks of 256"), "{problem}"),
        other => panic!("{other:?}"),
    }
    let missing = QualityRequest { reference: dir.path().join("none.gguf"), ..good.clone() };
    assert!(matches!(refusal(&missing), Error::Io { .. }));
    // A candidate that is missing, and one that splits the text differently, cost only themselves.
    let other = dir.path().join("other.gguf");
    rename_vocabulary(&other);
    let outcomes = measure(&QualityRequest { candidates: vec![dir.path().join("none.gguf"), other, common::smollm2()], ..good });
    assert!(matches!(outcomes[0].result, Err(Error::Io { .. })), "{:?}", outcomes[0]);
    assert!(matches!(outcomes[1].result, Err(Error::OtherVocabulary { what: "tokenizer", .. })), "{:?}", outcomes[1].result);
    assert!(outcomes[2].result.is_ok());
}

#[test]
fn cancelling_keeps_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let cancelled = Arc::new(AtomicBool::new(false));
    let monitor = Monitor::new(Arc::clone(&cancelled), |_| {});
    let mut finished = Vec::new();
    let result = quality_with(exe(), &request(dir.path(), vec![common::smollm2(), common::smollm2()]), &monitor, |outcome| {
        finished.push(outcome.path.clone());
        cancelled.store(true, Ordering::Relaxed);
    });
    assert_eq!(result.map(|_| ()), Err(Error::Cancelled));
    assert_eq!(finished, [common::smollm2()]);
}

/// Copies of the model with something broken: none may pass the default gates.
#[test]
fn broken_models_never_pass() {
    let dir = tempfile::tempdir().unwrap();
    let candidates: Vec<PathBuf> = broken_models(dir.path());
    assert_eq!(candidates.len(), 10);
    let request = QualityRequest { stopping: Stopping::Decided, max_tokens: 1000, ..request(dir.path(), candidates) };
    for outcome in measure(&request) {
        if let Ok(run) = &outcome.result {
            assert_ne!(run.verdict.decision, Decision::Pass, "{}: {:?}", outcome.path.display(), run.verdict);
        }
    }
}

/// If the gate is not within one per cent of the value, other orders of the chunks and other resamplings decide alike.
#[test]
fn the_verdict_does_not_hang_on_chance() {
    let dir = tempfile::tempdir().unwrap();
    let broken = broken_models(dir.path()).remove(0);
    let gates = Gates { min_accuracy_ratio: None, max_ppl_ratio: None, max_mean_kld: Some(0.01), ..Gates::default() };
    for candidate in [common::smollm2(), broken] {
        let decisions: Vec<Decision> = (0..20)
            .map(|seed| {
                let request = QualityRequest {
                    seed,
                    stopping: Stopping::Decided,
                    n_ctx: 128,
                    max_tokens: 400,
                    gates: gates.clone(),
                    ..request(dir.path(), vec![candidate.clone()])
                };
                measure_one(&request).verdict.decision
            })
            .collect();
        let n_same = decisions.iter().filter(|&&decision| decision == decisions[0]).count();
        assert!(n_same >= 19 && decisions[0] != Decision::Inconclusive, "{decisions:?}");
    }
}

#[test]
fn a_gate_that_is_not_met_is_status_3() {
    let model = common::smollm2();
    let status = |limit: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = common::planish();
        command.env("XDG_CACHE_HOME", dir.path());
        command.arg("quality").arg(&model).arg("--reference").arg(&model).args([
            "--tokens",
            "1200",
            "--chunk",
            "256",
            "--min-same-top",
            limit,
        ]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = status("0.9");
    assert!(code == Some(0) && text.contains("PASS"), "{text}");
    // More than everything cannot be reached.
    let (code, text) = status("1.5");
    assert!(code == Some(3) && text.contains("FAIL"), "{text}");
}

/// A copy of the model in which one token has another text: the same number of tokens, another tokenizer.
fn rename_vocabulary(path: &Path) {
    let mut bytes = std::fs::read(common::smollm2()).unwrap();
    // "Ġthe" as the vocabulary writes it, with its length before.
    let mut wanted = ("Ġthe".len() as u64).to_le_bytes().to_vec();
    wanted.extend("Ġthe".as_bytes());
    let places: Vec<usize> =
        bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the vocabulary has the word");
    for at in places {
        bytes[at + wanted.len() - 1] = b'#';
    }
    std::fs::write(path, bytes).unwrap();
}

/// Ten ways to break a model that still loads.
fn broken_models(dir: &Path) -> Vec<PathBuf> {
    let source = common::smollm2();
    let model = inspect(&source).unwrap();
    let bytes = std::fs::read(&source).unwrap();
    let range = |name: &str| {
        let tensor = model.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let start = usize::try_from(tensor.offset).unwrap();
        start..start + usize::try_from(tensor.size_bytes).unwrap()
    };
    let swap = |bytes: &mut Vec<u8>, one: &str, other: &str| {
        let (one, other) = (range(one), range(other));
        assert_eq!(one.len(), other.len());
        let kept = bytes[one.clone()].to_vec();
        bytes.copy_within(other.clone(), one.start);
        bytes[other].copy_from_slice(&kept);
    };
    let mut made = Vec::new();
    let mut make = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut copy = bytes.clone();
        change(&mut copy);
        assert!(copy != bytes, "{name} changes nothing");
        let path = dir.join(format!("{name}.gguf"));
        std::fs::write(&path, copy).unwrap();
        made.push(path);
    };
    for (name, tensor) in [
        ("zero-values", "blk.3.attn_v.weight"),
        ("zero-down", "blk.0.ffn_down.weight"),
        ("zero-output", "blk.29.ffn_down.weight"),
        ("zero-norm", "blk.10.ffn_norm.weight"),
    ] {
        make(name, &|bytes| bytes[range(tensor)].fill(0));
    }
    make("swapped-keys-and-values", &|bytes| swap(bytes, "blk.5.attn_k.weight", "blk.5.attn_v.weight"));
    make("swapped-gate-and-up", &|bytes| swap(bytes, "blk.8.ffn_gate.weight", "blk.8.ffn_up.weight"));
    make("swapped-layers", &|bytes| {
        for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm"] {
            swap(bytes, &format!("blk.1.{part}.weight"), &format!("blk.28.{part}.weight"));
        }
    });
    make("rope-base", &|bytes| set_f32(bytes, "llama.rope.freq_base", 100.0));
    make("norm-epsilon", &|bytes| set_f32(bytes, "llama.attention.layer_norm_rms_epsilon", 1.0));
    make("noise", &|bytes| {
        let at = range("token_embd.weight");
        for place in at.step_by(97) {
            bytes[place] ^= 0x55;
        }
    });
    made
}

/// Changes a number in the metadata.
fn set_f32(bytes: &mut [u8], key: &str, value: f32) {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len();
    assert_eq!(bytes[at..at + 4], 6_u32.to_le_bytes(), "{key} is a 32-bit float");
    bytes[at + 4..at + 8].copy_from_slice(&value.to_le_bytes());
}
