//! Speed and memory of a real model, measured by real children of the built binary.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use planish::bench::{BenchRequest, Start, bench_with};
use planish::runtime::process::ChildProcess;
use planish::runtime::{BenchTask, Event, GenerateTask, PromptMode, Request, Sampling, Task, run_with};
use planish::{Error, Monitor};

use crate::common;

/// The longest that a cancelled job may take to return.
const CANCEL_LIMIT: Duration = Duration::from_millis(300);

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_planish"))
}

/// A measurement that lasts for minutes, with 2.4 GB of KV cache.
fn endless(path: PathBuf) -> Request {
    Request::llama_cpp(Task::Bench(BenchTask {
        path,
        n_prompt_tokens: 4096,
        n_gen_tokens: 100_000,
        n_threads: 1,
        sustained_secs: None,
    }))
}

/// A sound file of an architecture that llama.cpp does not know.
fn gguf_of_no_architecture() -> Vec<u8> {
    let text = |text: &[u8]| [&(text.len() as u64).to_le_bytes()[..], text].concat();
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(1_u64.to_le_bytes()); // tensors
    bytes.extend(1_u64.to_le_bytes()); // key-values
    bytes.extend(text(b"general.architecture"));
    bytes.extend(8_u32.to_le_bytes()); // a string
    bytes.extend(text(b"no such thing"));
    // Eight numbers: a file without any is not a model, and is refused before a runtime sees it.
    bytes.extend(text(b"t"));
    bytes.extend(1_u32.to_le_bytes()); // dimensions
    bytes.extend(8_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes()); // F32
    bytes.extend(0_u64.to_le_bytes()); // offset
    bytes.resize(bytes.len().next_multiple_of(32) + 32, 0);
    bytes
}

#[test]
fn a_small_benchmark_gives_plausible_numbers_and_a_broken_model_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let model = common::smollm2();
    let broken = dir.path().join("broken.gguf");
    std::fs::write(&broken, gguf_of_no_architecture()).unwrap();
    let missing = dir.path().join("missing.gguf");
    let request = BenchRequest {
        models: vec![broken.clone(), model.clone(), missing.clone()],
        n_prompt_tokens: 48,
        n_gen_tokens: 8,
        n_repetitions: 2,
        n_threads: None,
        sustained_secs: None,
        start: Start::Now,
        memory_limit: None,
    };
    let stages = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&stages);
    let monitor =
        Monitor::new(Arc::default(), move |progress| seen.lock().unwrap().push((progress.stage, progress.done, progress.total)));
    let outcomes = bench_with(exe(), &request, &monitor).unwrap();

    assert_eq!(outcomes.iter().map(|outcome| outcome.path.clone()).collect::<Vec<_>>(), request.models);
    match &outcomes[0].result {
        Err(Error::Runtime { reason, path, .. }) => {
            assert_eq!(path, &broken);
            assert_eq!(reason, "the model cannot be loaded: unknown model architecture: 'no such thing'");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(&outcomes[2].result, Err(Error::Io { path, .. }) if path == &missing), "{:?}", outcomes[2].result);

    let run = outcomes[1].result.as_ref().unwrap();
    for stat in [&run.prefill_tokens_per_sec, &run.decode_tokens_per_sec, &run.load_secs] {
        assert_eq!(stat.values.len(), 2);
        assert!(stat.values.iter().all(|value| value.is_finite() && *value > 0.0), "{stat:?}");
    }
    assert!(
        run.prefill_tokens_per_sec.median() > run.decode_tokens_per_sec.median(),
        "a batch shares the reading of the weights"
    );
    assert_eq!(run.size_bytes, model.metadata().unwrap().len());
    assert!(run.peak_memory_bytes > run.size_bytes / 2, "weights are resident: {}", run.peak_memory_bytes);
    assert!(run.provenance.runtime.starts_with("llama.cpp "), "{}", run.provenance.runtime);
    assert!(!run.provenance.backend.is_empty());
    assert!(run.provenance.n_threads >= 1);
    // Whether this machine can measure energy is not known here, but there must be a value or a reason.
    let energy = &run.energy;
    assert!(energy.is_measured() || energy.reason.as_ref().is_some_and(|reason| !reason.is_empty()), "{energy:?}");

    let stages = stages.lock().unwrap();
    let at = |text: &str| stages.iter().find(|(stage, ..)| stage.starts_with(text)).map(|&(_, done, total)| (done, total));
    assert_eq!(at("round 2 of 2: decode "), Some((4, 6)), "{stages:?}");
    assert_eq!(stages.last().map(|&(_, done, total)| (done, total)), Some((6, 6)));
}

/// The fastest of three attempts: other tests on a machine with two cores can delay one, not all.
fn fastest_of_three(attempt: impl Fn() -> Duration) -> Duration {
    (0..3).map(|_| attempt()).min().unwrap()
}

#[test]
fn a_cancelled_benchmark_returns_at_once() {
    let took = fastest_of_three(|| {
        let cancelled = Arc::new(AtomicBool::new(false));
        let at = Arc::new(Mutex::new(None));
        let (flag, time) = (Arc::clone(&cancelled), Arc::clone(&at));
        let monitor = Monitor::new(cancelled, move |progress| {
            if progress.stage.contains("prefill") {
                *time.lock().unwrap() = Some(Instant::now());
                flag.store(true, Ordering::Relaxed);
            }
        });
        let request = BenchRequest { models: vec![common::smollm2()], n_prompt_tokens: 4096, ..BenchRequest::default() };
        assert_eq!(bench_with(exe(), &request, &monitor), Err(Error::Cancelled));
        let at = at.lock().unwrap();
        at.expect("it reached the prefill").elapsed()
    });
    assert!(took < CANCEL_LIMIT, "{took:?}");
}

/// A child that has loaded the model and is computing.
fn computing_child() -> ChildProcess {
    let mut child = ChildProcess::spawn(exe(), &endless(common::smollm2())).unwrap();
    let event = child.next_event(&Monitor::silent()).unwrap();
    assert!(matches!(event, Some(Event::Loaded { .. })), "{event:?}");
    child
}

#[cfg(unix)]
fn pid(child: &ChildProcess) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

#[cfg(unix)]
#[test]
fn a_dropped_child_is_gone_even_if_its_memory_takes_longer_to_free() {
    let took = fastest_of_three(|| {
        let child = computing_child();
        let pid = pid(&child);
        rustix::process::test_kill_process(pid).expect("it runs");
        let started = Instant::now();
        drop(child);
        let took = started.elapsed();
        let deadline = started + Duration::from_secs(20);
        while rustix::process::test_kill_process(pid).is_ok() {
            assert!(Instant::now() < deadline, "never reaped");
            std::thread::sleep(Duration::from_millis(10));
        }
        took
    });
    assert!(took < CANCEL_LIMIT, "{took:?}");
}

#[cfg(unix)]
#[test]
fn a_child_that_is_killed_says_by_which_signal() {
    let mut child = computing_child();
    rustix::process::kill_process(pid(&child), rustix::process::Signal::KILL).unwrap();
    match child.next_event(&Monitor::silent()) {
        Err(Error::ChildDied { reason, path }) => {
            assert!(reason.contains("SIGKILL"), "{reason}");
            assert_eq!(path, common::smollm2());
        }
        other => panic!("{other:?}"),
    }
}

/// Without `LD_LIBRARY_PATH`, which cargo sets for what it starts: as a user starts it.
fn bare_child() -> Command {
    let mut command = Command::new(exe());
    command.arg("__child").env_remove("LD_LIBRARY_PATH").env_remove("DYLD_FALLBACK_LIBRARY_PATH").stdin(Stdio::piped());
    command
}

#[test]
fn a_child_ends_when_its_parent_closes_the_line() {
    let mut child = bare_child().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let request = serde_json::to_string(&endless(common::smollm2())).unwrap();
    writeln!(stdin, "{request}").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it computes");
    drop(stdin);
    let deadline = Instant::now() + Duration::from_secs(5);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "still running");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_binary_starts_without_cargo_and_finds_its_libraries_and_backends() {
    let mut child = bare_child().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", serde_json::to_string(&Request::llama_cpp(Task::Info)).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    match &events[..] {
        [Event::Info { info }, Event::Done { peak_memory_bytes }] => {
            assert!(info.version.starts_with("llama.cpp "), "{info:?}");
            assert!(info.devices.iter().any(|device| device.starts_with("CPU: ")), "{info:?}");
            assert!(*peak_memory_bytes > 0);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_model_answers_a_question() {
    let task = GenerateTask {
        path: common::smollm2(),
        prompt: "What is the capital of France?".into(),
        mode: PromptMode::Chat,
        n_predict: 24,
        sampling: Sampling::Greedy,
        n_threads: 2,
    };
    let mut answer = String::new();
    run_with(exe(), &Request::llama_cpp(Task::Generate(task)), &Monitor::silent(), |event| {
        if let Event::Token { text, .. } = event {
            answer.push_str(&text);
        }
        Ok(())
    })
    .unwrap();
    assert!(answer.contains("Paris"), "{answer:?}");
}

#[test]
fn an_unreadable_request_is_an_error_not_a_crash() {
    let mut child = bare_child().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{{\"request\":\"dance\"}}").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let event: Event = serde_json::from_slice(&output.stdout).unwrap();
    assert!(matches!(&event, Event::Error { reason } if reason.contains("unreadable request")), "{event:?}");
    assert_eq!(output.status.code(), Some(1));
}
