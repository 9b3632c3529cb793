//! Planish's own runtime in a child: what it says about checkpoints is what llama.cpp says about the GGUF files made from them.
#![cfg(feature = "llama-cpp")]

use std::path::{Path, PathBuf};

use planish::bench::quality::OWN_REFERENCE_FLOOR_NATS;
use planish::calibrate::text::{TextSource, corpus};
use planish::error::Error;
use planish::monitor::Monitor;
use planish::runtime::process::ChildProcess;
use planish::runtime::{
    ChunkScores, Corpus, Event, ProbeInput, ProbeTask, Request, RuntimeId, ScoreRole, ScoreTask, Task, info_with, run_with,
};
use serde_json::Value as Json;

use crate::common::{run, run_json, smollm2};
use crate::forward::order;
use crate::golden_checkpoints::{cases, write};
use crate::hf_layout;

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_planish"))
}

/// A model with who runs it.
#[derive(Clone)]
struct Runnable {
    runtime: RuntimeId,
    path: PathBuf,
}

/// What a child said about a text.
#[derive(Debug)]
struct Scored {
    tokens_sha256: String,
    n_kept: usize,
    chunks: Vec<ChunkScores>,
    peak_memory_bytes: u64,
}

impl Scored {
    /// Mean and largest KL divergence from the reference, and the part of the tokens whose likeliest successor is the same.
    fn divergence(&self) -> [f64; 3] {
        let scores = || self.chunks.iter().flat_map(|chunk| &chunk.scores);
        let tops = self.chunks.iter().flat_map(|chunk| &chunk.reference_tops);
        let n = f64::from(u32::try_from(scores().count()).unwrap());
        let n_same = scores().zip(tops).filter(|(score, top)| score.top == top.0).count();
        let largest = scores().map(|score| score.kld).fold(0.0, f64::max);
        [scores().map(|score| score.kld).sum::<f64>() / n, largest, f64::from(u32::try_from(n_same).unwrap()) / n]
    }
}

/// Lets a model score chunks of the text that lies in the folder.
fn score(model: &Runnable, role: ScoreRole, dir: &Path, n_ctx: u32, n_chunks: u32) -> Scored {
    let task = ScoreTask {
        path: model.path.clone(),
        role,
        corpus_path: dir.join("text.json"),
        reference_dir: dir.to_path_buf(),
        n_ctx,
        n_threads: 2,
    };
    let monitor = Monitor::silent();
    let mut child = ChildProcess::spawn(exe(), &Request { runtime: model.runtime, task: Task::Score(task) }).unwrap();
    let mut scored = Scored { tokens_sha256: String::new(), n_kept: 0, chunks: Vec::new(), peak_memory_bytes: 0 };
    while let Some(event) = child.next_event(&monitor).unwrap() {
        match event {
            Event::TextPlan { tokens_sha256, chunk_parts, .. } => {
                scored.tokens_sha256 = tokens_sha256;
                let chunks: Vec<u32> = (0..n_chunks.min(u32::try_from(chunk_parts.len()).unwrap())).collect();
                child.grant(&chunks);
                child.end_grants();
            }
            Event::ReferenceChunk { .. } => scored.n_kept += 1,
            Event::ScoredChunk { scores } => scored.chunks.push(*scores),
            Event::Done { peak_memory_bytes } => scored.peak_memory_bytes = peak_memory_bytes,
            _ => {}
        }
    }
    scored
}

fn write_text(dir: &Path, text: &Corpus) {
    std::fs::write(dir.join("text.json"), serde_json::to_vec(text).unwrap()).unwrap();
}

/// SmolLM2 as a checkpoint, and the F32 file made from it.
fn smollm2_twice(folder: &Path) -> [Runnable; 2] {
    let checkpoint = folder.join("SmolLM2-135M-Instruct");
    hf_layout::write(&smollm2(), &checkpoint);
    let out = folder.join("out");
    let output = run(&[&"convert", &checkpoint, &"--level", &"F32", &"--no-check", &"--out", &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let gguf = made.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf")).unwrap();
    [Runnable { runtime: RuntimeId::Planish, path: checkpoint }, Runnable { runtime: RuntimeId::LlamaCpp, path: gguf }]
}

#[test]
fn either_runtime_is_a_reference_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let models = smollm2_twice(folder.path());
    let bundled = corpus(&TextSource::Bundled).unwrap().parts;
    for [reference, candidate] in [[0, 1], [1, 0]] {
        let dir = tempfile::tempdir().unwrap();
        write_text(dir.path(), &bundled);
        let kept = score(&models[reference], ScoreRole::Reference, dir.path(), 128, 3);
        let scored = score(&models[candidate], ScoreRole::Candidate, dir.path(), 128, 3);
        assert_eq!(kept.tokens_sha256, scored.tokens_sha256);
        assert_eq!((kept.n_kept, scored.chunks.len()), (3, 3));
        assert_eq!(scored.chunks.iter().map(|chunk| chunk.scores.len()).collect::<Vec<_>>(), [63; 3]);
        // llama.cpp rounds keys and values to F16: measured 2e-6 on average.
        let [mean, largest, _] = scored.divergence();
        assert!(mean < OWN_REFERENCE_FLOOR_NATS && largest < 1e-3, "{mean:e} {largest:e}");
        let text: String = bundled.parts[usize::try_from(scored.chunks[0].part_idx).unwrap()].text.clone();
        let pieces = scored.chunks[0].pieces.concat();
        assert!(text.contains(&pieces), "{pieces}");
    }
}

/// The figures of the floor: `cargo test --release --test it floor -- --ignored --nocapture`.
#[test]
#[ignore = "measures the difference between the two runtimes on 16 chunks of 512 tokens"]
fn floor_between_the_runtimes() {
    let folder = tempfile::tempdir().unwrap();
    let [own, llama] = smollm2_twice(folder.path());
    let bundled = corpus(&TextSource::Bundled).unwrap().parts;
    for (name, reference, candidate) in
        [("own, llama.cpp", &own, &llama), ("llama.cpp, own", &llama, &own), ("own, own", &own, &own)]
    {
        let dir = tempfile::tempdir().unwrap();
        write_text(dir.path(), &bundled);
        let started = std::time::Instant::now();
        let kept = score(reference, ScoreRole::Reference, dir.path(), 512, 16);
        let (reference_secs, started) = (started.elapsed().as_secs_f64(), std::time::Instant::now());
        let scored = score(candidate, ScoreRole::Candidate, dir.path(), 512, 16);
        assert_eq!(kept.tokens_sha256, scored.tokens_sha256);
        let [mean, largest, same_top] = scored.divergence();
        println!(
            "{name}: mean KLD {mean:.2e}, largest {largest:.2e}, same top {:.2} %; {reference_secs:.1} s and {:.1} s, {} and {} MB",
            same_top * 100.0,
            started.elapsed().as_secs_f64(),
            kept.peak_memory_bytes >> 20,
            scored.peak_memory_bytes >> 20
        );
    }
}

/// What a child answers to a probe: tokens, log-probabilities and last logits of each input.
fn probe(model: &Runnable, inputs: Vec<ProbeInput>, max_tokens: u32) -> Vec<(Vec<u32>, Vec<f64>, Vec<f32>)> {
    let task = ProbeTask { path: model.path.clone(), inputs, max_tokens, with_logits: true, exact_attention: true, n_threads: 1 };
    let mut all = Vec::new();
    run_with(exe(), &Request { runtime: model.runtime, task: Task::Probe(task) }, &Monitor::silent(), |event| {
        if let Event::Probed { ids, logps, last_logits, .. } = event {
            all.push((ids, logps, last_logits));
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{}: {error}", model.path.display()));
    all
}

#[test]
fn probes_of_golden_checkpoints_have_the_logits_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "gemma2", "phi3-longrope-long", "qwen2-moe"] {
        let (_, case) = cases().into_iter().find(|case| case.0 == name).unwrap();
        let checkpoint = write(&case, &folder.path().join(name));
        let model = Runnable { runtime: RuntimeId::Planish, path: checkpoint.path.clone() };
        let ids =
            |prompt: &Json| prompt.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
        let prompts: Vec<Vec<u32>> = case["prompts"].as_array().unwrap().iter().map(ids).collect();
        let found = probe(&model, prompts.iter().cloned().map(ProbeInput::Ids).collect(), 2048);
        for ((ids, logps, logits), (prompt, golden)) in found.iter().zip(prompts.iter().zip(case["logits"].as_array().unwrap())) {
            assert_eq!((ids, logps.len()), (prompt, prompt.len() - 1), "{name}");
            assert!(logps.iter().all(|logp| *logp < 0.0), "{name}");
            let golden: Vec<f64> = golden.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
            let found: Vec<f64> = logits.iter().map(|&logit| logit.into()).collect();
            let largest = golden.iter().fold(0.0, |max: f64, logit| max.max(logit.abs()));
            let difference = found.iter().zip(&golden).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs())) / largest;
            assert!(difference < 1e-5, "{name}: {difference:e}");
            assert_eq!(order(&found)[0], order(&golden)[0], "{name}");
        }
    }
}

#[test]
fn texts_are_split_as_in_the_file_made_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[&"sample", &"--out", &folder.path(), &"--only-unpack"]);
    let checkpoint = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let out = folder.path().join("out");
    let made = run_json(&[&"convert", &checkpoint, &"--level", &"F32", &"--no-check", &"--out", &out, &"--json"]);
    let gguf = PathBuf::from(made["conversions"][0]["path"].as_str().unwrap());
    let texts = ["Hello, world! 12345 §", "def f(x):\n\treturn x  # 漢字 🙂", "<|endoftext|>once", "", " "];
    let inputs = || texts.iter().map(|text| ProbeInput::Text((*text).into())).collect();
    let own = probe(&Runnable { runtime: RuntimeId::Planish, path: checkpoint.clone() }, inputs(), 64);
    let llama = probe(&Runnable { runtime: RuntimeId::LlamaCpp, path: gguf }, inputs(), 64);
    assert_eq!(own.len(), texts.len());
    for (own, llama) in own.iter().zip(&llama) {
        assert_eq!(own.0, llama.0);
        assert_eq!((own.1.len(), own.2.len()), (llama.1.len(), llama.2.len()));
        assert!(own.1.iter().zip(&llama.1).all(|(a, b)| (a - b).abs() < 1e-3), "{:?} {:?}", own.1, llama.1);
    }
}

#[test]
fn what_it_cannot_do_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let info = info_with(exe(), RuntimeId::Planish, &Monitor::silent()).unwrap();
    assert!(info.version.starts_with("Planish's own "), "{}", info.version);
    let refusal = |path: &Path, max_tokens: u32, input: ProbeInput| {
        let inputs = vec![input];
        let task = ProbeTask { path: path.into(), inputs, max_tokens, with_logits: false, exact_attention: true, n_threads: 1 };
        let request = Request { runtime: RuntimeId::Planish, task: Task::Probe(task) };
        match run_with(exe(), &request, &Monitor::silent(), |_| Ok(())).unwrap_err() {
            Error::Runtime { reason, .. } => reason,
            other => panic!("{other}"),
        }
    };
    let reason = refusal(&smollm2(), 8, ProbeInput::Ids(vec![1]));
    assert!(reason.contains("only checkpoints"), "{reason}");
    let (_, case) = cases().into_iter().find(|case| case.0 == "falcon").unwrap();
    let reason = refusal(&write(&case, folder.path()).path, 8, ProbeInput::Ids(vec![1]));
    assert!(reason.contains("FalconForCausalLM is not described"), "{reason}");
    let (_, case) = cases().into_iter().find(|case| case.0 == "llama").unwrap();
    let llama = write(&case, folder.path()).path;
    let reason = refusal(&llama, 8, ProbeInput::Ids(vec![320]));
    assert!(reason.contains("token 320 is outside the vocabulary"), "{reason}");
    std::fs::remove_file(llama.join("tokenizer.json")).unwrap();
    let reason = refusal(&llama, 8, ProbeInput::Text("a".into()));
    assert!(reason.contains("tokenizer"), "{reason}");
}
