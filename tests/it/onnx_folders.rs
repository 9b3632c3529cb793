//! Folders for ONNX Runtime, made from tiny checkpoints of every architecture: they are written as planned, and what their graphs
//! compute is what transformers computes.

use std::path::Path;
#[cfg(feature = "onnxruntime")]
use std::path::PathBuf;

use planish::convert::{ConvertRequest, VerifyRequest, convert, open_model, verify};
use planish::error::Error;
use planish::format::Artifact;
use planish::import::{onnx_hindrance, onnx_model};
use planish::model::{Framework, Level, Model};
use planish::monitor::Monitor;
#[cfg(feature = "onnxruntime")]
use planish::runtime::{Event, ProbeInput};
use serde_json::Value as Json;

use crate::common::folder_size;
use crate::golden_checkpoints::{cases, opened, write};
#[cfg(feature = "onnxruntime")]
use crate::onnxruntime::{child, environment, probe};

/// Largest allowed difference of a logit from that of transformers, as a fraction of the range of all logits.
///
/// Measured on 2026-12-01 with ONNX Runtime 1.32.0: at most 6e-7 (`phi3-longrope-long`).
const TOLERANCE: f64 = 1e-5;

/// Cases whose classes are described as decoders, but have no graph; and a part of the reason.
const REFUSED: [(&str, &str); 8] = [
    ("gemma3-linear", "heads have 24 dimensions"),
    ("llama-head-dim", "heads have 24 dimensions"),
    ("mistral-head-dim", "heads have 24 dimensions"),
    ("mixtral", "experts have no place"),
    ("phi4-mini", "12 dimensions are rotated"),
    ("qwen2-moe", "experts have no place"),
    ("qwen3", "heads have 24 dimensions"),
    ("qwen3-moe", "experts have no place"),
];

#[cfg(feature = "onnxruntime")]
fn made(model: &Model, level: &str, out: &Path) -> PathBuf {
    let request = ConvertRequest::new(vec![level.parse().unwrap()], out);
    convert(model, &request, &Monitor::silent()).unwrap().remove(0).path
}

#[test]
fn every_decoder_is_written_as_planned_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (mut n_written, mut refused) = (0, Vec::new());
    for (name, case) in cases() {
        let checkpoint = write(&case, &folder.path().join(&name));
        let hindrance = onnx_hindrance(checkpoint.config.as_ref().unwrap());
        match onnx_model(&checkpoint) {
            Err(Error::CannotWrite { why, .. }) => {
                assert!(hindrance.is_none_or(|hindrance| hindrance == why), "{name}: {why}");
                if !why.contains("is not described as a decoder") {
                    refused.push((name, why));
                }
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => assert_eq!(hindrance, None, "{name}"),
        }
        let model = opened(&checkpoint);
        for level in Level::of(Framework::OnnxRuntime) {
            let out = folder.path().join("out").join(&name);
            let request = ConvertRequest::new(vec![level], &out);
            let made = convert(&model, &request, &Monitor::silent()).unwrap_or_else(|error| panic!("{name} {level}: {error}"));
            assert_eq!(made[0].size_bytes, folder_size(&made[0].path), "{name} {level}");
            // A source whose tokenizer nobody reads cannot be opened again.
            let source = open_model(&model.path).is_ok().then(|| model.path.clone());
            let request = VerifyRequest { path: made[0].path.clone(), source, imatrix: None };
            assert_eq!(verify(&request, &Monitor::silent()).unwrap().findings, [""; 0], "{name} {level}");
            let artifact = Artifact::open(&made[0].path).unwrap();
            assert_eq!((artifact.framework, artifact.level), (Framework::OnnxRuntime, Some(level)), "{name}");
            n_written += 1;
        }
    }
    assert_eq!(refused.len(), REFUSED.len(), "{refused:?}");
    for ((name, why), (expected, part)) in refused.iter().zip(REFUSED) {
        assert!(name == expected && why.contains(part), "{name}: {why}");
    }
    assert!(n_written > 150, "{n_written}");
}

/// Logits after the last token of each prompt.
#[cfg(feature = "onnxruntime")]
fn logits_of(environment: &Path, model: &Path, prompts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let inputs = prompts.iter().cloned().map(ProbeInput::Ids).collect();
    let (events, stderr, is_well) = child(environment, probe(model, inputs));
    assert!(is_well, "{}: {stderr} {:?}", model.display(), events.last());
    let logits = events.into_iter().filter_map(|event| match event {
        Event::Probed { last_logits, .. } => Some(last_logits),
        _ => None,
    });
    logits.collect()
}

/// The largest difference as a fraction of the range of what is expected.
#[cfg(feature = "onnxruntime")]
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (low, high) = expected.iter().fold((f64::MAX, f64::MIN), |(low, high), &logit| (low.min(logit), high.max(logit)));
    let largest = found.iter().zip(expected).fold(0.0, |max: f64, (a, b)| max.max((f64::from(*a) - b).abs()));
    largest / (high - low)
}

#[test]
#[cfg(feature = "onnxruntime")]
fn graphs_compute_what_transformers_computes() {
    let Some(environment) = environment() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut n_compared = 0;
    for (name, case) in cases() {
        let checkpoint = write(&case, &folder.path().join(&name));
        if onnx_model(&checkpoint).is_err() {
            continue;
        }
        let model = opened(&checkpoint);
        let ids = |prompt: &Json| -> Vec<u32> { serde_json::from_value(prompt.clone()).unwrap() };
        let prompts: Vec<Vec<u32>> = case["prompts"].as_array().unwrap().iter().map(ids).collect();
        let exact = logits_of(&environment, &made(&model, "onnx:FP32", &folder.path().join("out").join(&name)), &prompts);
        for (found, golden) in exact.iter().zip(case["logits"].as_array().unwrap()) {
            let golden: Vec<f64> = serde_json::from_value(golden.clone()).unwrap();
            let difference = difference(found, &golden);
            assert!(difference < TOLERANCE, "{name}: {difference}");
        }
        // Codes of 8 bits err by a little, those of 4 bits run, whatever they say: the weights are random.
        for (level, limit) in [("onnx:FP16", 0.01), ("onnx:INT8", 0.05), ("onnx:INT8-g128", 0.05), ("onnx:INT4", f64::MAX)] {
            let found = logits_of(&environment, &made(&model, level, &folder.path().join("out").join(&name)), &prompts);
            for (found, exact) in found.iter().zip(&exact) {
                let exact: Vec<f64> = exact.iter().map(|&logit| logit.into()).collect();
                let difference = difference(found, &exact);
                assert!(difference.is_finite() && difference < limit, "{name} {level}: {difference}");
            }
        }
        n_compared += 1;
    }
    assert!(n_compared > 20, "{n_compared}");
}
