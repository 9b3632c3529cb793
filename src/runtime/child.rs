//! The child's side: one request in, events out, then the end.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::mlx::Mlx;
use super::session::Engine;
use super::tasks::{answering, probing, scoring, speed, streaming};
use super::{Event, Request, RuntimeId, Task, memory};

/// Reads one request from standard input, carries it out and writes events to standard output.
///
/// Called by `main` when the first argument is [`super::CHILD_ARGUMENT`]. The process ends at once when its parent does.
#[must_use]
pub fn child_main() -> ExitCode {
    tie_to_parent();
    let mut line = String::new();
    let request = match std::io::stdin().lock().read_line(&mut line) {
        Ok(_) => serde_json::from_str::<Request>(&line).map_err(|error| format!("unreadable request: {error}")),
        Err(error) => Err(format!("unreadable request: {error}")),
    };
    let (grant, grants) = channel();
    // The one thread besides the runtime's own: nothing else notices a parent that died on systems without a death signal.
    let watcher = std::thread::Builder::new().name("parent-watcher".into()).spawn(move || end_with_parent(grant));
    if let Err(error) = watcher {
        return fail(format!("cannot start a thread: {error}"));
    }
    match request.and_then(|request| carry_out(&request, &grants)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(reason),
    }
}

fn carry_out(request: &Request, grants: &Receiver<u32>) -> Result<(), String> {
    let peak_memory_bytes = match request.runtime {
        RuntimeId::LlamaCpp => with_llama_cpp(&request.task, grants),
        RuntimeId::OnnxRuntime => with_onnx_runtime(&request.task, grants),
        RuntimeId::Mlx => with_engine(&Mlx::start()?, &request.task, grants),
        RuntimeId::Planish => with_own(&request.task, grants),
    }?;
    emit(Event::Done { peak_memory_bytes })
}

#[cfg(feature = "llama-cpp")]
fn with_llama_cpp(task: &Task, grants: &Receiver<u32>) -> Result<u64, String> {
    let engine = super::llama_cpp::LlamaCpp::start()?;
    match task {
        Task::Collect(task) => super::collecting::collect(&engine, task, &mut emit),
        Task::Disturb(task) => super::disturbing::disturb(&engine, task, &mut emit),
        _ => with_engine(&engine, task, grants),
    }
}

#[cfg(not(feature = "llama-cpp"))]
fn with_llama_cpp(_: &Task, _: &Receiver<u32>) -> Result<u64, String> {
    Err("this build of planish was made without llama.cpp".into())
}

#[cfg(feature = "onnxruntime")]
fn with_onnx_runtime(task: &Task, grants: &Receiver<u32>) -> Result<u64, String> {
    with_engine(&super::onnx::OnnxRuntime::start()?, task, grants)
}

#[cfg(not(feature = "onnxruntime"))]
fn with_onnx_runtime(_: &Task, _: &Receiver<u32>) -> Result<u64, String> {
    Err("this build of planish was made without ONNX Runtime".into())
}

/// Planish's own runtime measures checkpoints; nobody uses a model with it.
fn with_own(task: &Task, grants: &Receiver<u32>) -> Result<u64, String> {
    match task {
        Task::Score(task) => streaming::score(task, grants, &mut emit),
        Task::Probe(task) => streaming::probe(task, &mut emit),
        Task::Info => emit(Event::Info { info: super::own::info() }).map(|()| memory::peak_memory_bytes()),
        Task::Bench(_) | Task::Generate(_) | Task::Collect(_) | Task::Disturb(_) => Err("it can only score and probe".into()),
    }
}

/// Carries out a task that every runtime can do. Returns the highest resident memory in bytes.
fn with_engine(engine: &dyn Engine, task: &Task, grants: &Receiver<u32>) -> Result<u64, String> {
    match task {
        Task::Bench(task) => speed::bench(engine, task, &mut emit),
        Task::Generate(task) => answering::generate(engine, task, &mut emit),
        Task::Score(task) => scoring::score(engine, task, grants, &mut emit),
        Task::Probe(task) => probing::probe(engine, task, &mut emit),
        Task::Collect(_) | Task::Disturb(_) => Err("only llama.cpp shows its intermediate results".into()),
        Task::Info => emit(Event::Info { info: engine.info() }).map(|()| memory::peak_memory_bytes()),
    }
}

fn fail(reason: String) -> ExitCode {
    // Without a reader nobody is left to be told.
    let _ = emit(Event::Error { reason });
    ExitCode::FAILURE
}

/// Writes one event; fails when the parent no longer reads.
#[allow(clippy::needless_pass_by_value, reason = "the callers have no further use for it")]
fn emit(event: Event) -> Result<(), String> {
    let mut line = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// Asks the system to end this process with its parent, and to write no core file: it would hold the whole model.
fn tie_to_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Refused by no known kernel; the watcher below works without it.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}

/// Forwards the numbers that the parent grants, one on each line, until it says `end`; once it closes standard input, which also happens
/// when it dies, ends the process without cleaning up: destructors of a library whose threads are computing can hang.
fn end_with_parent(grant: Sender<u32>) {
    let mut grant = Some(grant);
    let mut line = String::new();
    loop {
        line.clear();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => break,
            _ => match (line.trim().parse(), &grant) {
                // Nobody receives in a request without grants.
                (Ok(number), Some(sender)) => drop(sender.send(number)),
                _ if line.trim() == super::process::END_OF_GRANTS => grant = None,
                _ => {}
            },
        }
    }
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}
