//! The parent's side: start a child, read its events, stop it, and tell why it died.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::utf8_name::Utf8Name;
use super::{CHILD_ARGUMENT, Event, Request, RuntimeId};
use crate::error::{Error, Result};
use crate::monitor::Monitor;

/// How often a waiting parent checks whether it was cancelled.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How long a drop waits for a killed child, and how often it looks.
const REAP_LIMIT: Duration = Duration::from_millis(200);
const REAP_INTERVAL: Duration = Duration::from_millis(5);
/// A longer line is not an event.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// The line after which a child may finish.
pub(super) const END_OF_GRANTS: &str = "end";
/// What is kept of a child's standard error: the first lines name the cause.
const MAX_STDERR_BYTES: u64 = 64 * 1024;
/// Lines that may wait between child and parent.
const N_WAITING_LINES: usize = 64;

/// The executable that children run: the environment variable `PLANISH_EXE` where it is set (tests are another executable), else this one.
///
/// # Errors
/// `Error::Io` when the system does not tell.
pub fn executable() -> Result<PathBuf> {
    match std::env::var_os("PLANISH_EXE") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().map_err(Error::io("locate", Path::new("planish"))),
    }
}

/// A running child. Dropping it kills it, and returns when it is gone or after a fifth of a second.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    /// Held open: its end tells the child that nobody waits any more.
    stdin: Option<ChildStdin>,
    lines: Option<Receiver<Vec<u8>>>,
    stdout_reader: Option<JoinHandle<()>>,
    stderr_reader: Option<JoinHandle<String>>,
    /// For messages: the model, or the executable when there is none.
    path: PathBuf,
    runtime: RuntimeId,
    /// The UTF-8 name by which the child opens the model.
    _name: Option<Utf8Name>,
    last: Option<Event>,
}

/// What a short wait for a child has brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// An event.
    Event(Event),
    /// No event yet.
    Nothing,
    /// The child has ended well.
    Ended,
}

impl ChildProcess {
    /// Starts `exe` as a child and sends it the request.
    ///
    /// Call it on the thread that waits for the child: on Linux the child dies with the thread that started it.
    ///
    /// # Errors
    /// `Error::Io` when it cannot be started, or when a path that is not UTF-8 cannot be linked to one that is.
    pub fn spawn(exe: &Path, request: &Request) -> Result<Self> {
        let path = request.path().map_or_else(|| exe.to_path_buf(), Clone::clone);
        let name = request.path().map(|path| Utf8Name::of(path)).transpose()?;
        let renamed = name.as_ref().map(|name| request.at(name.path()));
        let mut line = serde_json::to_string(renamed.as_ref().unwrap_or(request))
            .map_err(|error| Error::Internal { message: format!("a request cannot be written as JSON: {error}") })?;
        line.push('\n');
        let mut command = Command::new(exe);
        command.arg(CHILD_ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // On a failed check ggml would start a debugger for a stack trace.
        command.env("GGML_NO_BACKTRACE", "1");
        #[cfg(windows)]
        {
            const CREATE_NO_WINDOW: u32 = 0x0800_0000;
            std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NO_WINDOW);
        }
        let mut child = command.spawn().map_err(Error::io("start", exe))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // From here on an early return drops the value, which ends the child.
        let mut process = Self {
            child,
            stdin,
            lines: None,
            stdout_reader: None,
            stderr_reader: None,
            path,
            runtime: request.runtime,
            _name: name,
            last: None,
        };
        // Threads of their own, because a pipe cannot be read with a timeout on all systems; they end when the child does.
        if let Some(stdout) = stdout {
            let (sender, receiver) = sync_channel(N_WAITING_LINES);
            process.lines = Some(receiver);
            process.stdout_reader = Some(start_thread("child-stdout", move || forward_lines(stdout, &sender))?);
        }
        if let Some(stderr) = stderr {
            process.stderr_reader = Some(start_thread("child-stderr", move || read_start(stderr))?);
        }
        process.send(&line);
        Ok(process)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets the child go on to these chunks. A child that has died is reported by `next_event`.
    pub fn grant(&mut self, chunks: &[u32]) {
        let lines: Vec<String> = chunks.iter().map(|chunk| format!("{chunk}\n")).collect();
        self.send(&lines.concat());
    }

    /// Tells the child that no more grants follow: it finishes what it has and ends.
    pub fn end_grants(&mut self) {
        self.send(&format!("{END_OF_GRANTS}\n"));
    }

    /// Writes to the child's standard input; a child that is already dead is reported by its exit status, not as a broken pipe.
    fn send(&mut self, text: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
        }
    }

    /// Waits for the next event; `None` after the child has ended well. Lines that are no events are skipped. `Event::Done` is returned
    /// like the others; `Event::Error` becomes the error.
    ///
    /// # Errors
    /// `Error::Cancelled` at most 50 ms after the cancellation: then drop the child. `Error::Runtime` when the child said why it failed,
    /// `Error::ChildDied` when it ended without.
    pub fn next_event(&mut self, monitor: &Monitor) -> Result<Option<Event>> {
        loop {
            match self.poll_event(monitor)? {
                Polled::Event(event) => return Ok(Some(event)),
                Polled::Nothing => {}
                Polled::Ended => return Ok(None),
            }
        }
    }

    /// Like `next_event`, but waits 25 ms at most for an event: for a parent that has something to do meanwhile.
    ///
    /// # Errors
    /// As `next_event`.
    pub fn poll_event(&mut self, monitor: &Monitor) -> Result<Polled> {
        monitor.check()?;
        let received = match &self.lines {
            Some(lines) => lines.recv_timeout(POLL_INTERVAL),
            None => Err(RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(line) => {
                let Some(event) = event_from_line(&line)? else { return Ok(Polled::Nothing) };
                self.last = Some(event.clone());
                Ok(if matches!(event, Event::Error { .. }) { Polled::Nothing } else { Polled::Event(event) })
            }
            Err(RecvTimeoutError::Timeout) => Ok(Polled::Nothing),
            Err(RecvTimeoutError::Disconnected) => self.end(monitor).map(|()| Polled::Ended),
        }
    }

    /// Judges the end of a child that has closed its standard output.
    fn end(&mut self, monitor: &Monitor) -> Result<()> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {
                    monitor.check()?;
                    std::thread::sleep(POLL_INTERVAL);
                }
                Err(error) => return Err(Error::io("wait for", &self.path)(error)),
            }
        };
        let stderr = self.stderr_reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        match self.last.take() {
            Some(Event::Done { .. }) if status.success() => Ok(()),
            Some(Event::Error { reason }) => {
                let reason = cause(&stderr).map_or(reason.clone(), |cause| format!("{reason}: {cause}"));
                Err(Error::Runtime { runtime: self.runtime.name().into(), reason, path: self.path.clone() })
            }
            _ => Err(Error::ChildDied { reason: death_text(status, &stderr), path: self.path.clone() }),
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        // A reader that waits for room in the channel has to notice that nobody listens.
        self.lines = None;
        let deadline = Instant::now() + REAP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                return reap_later(&mut self.child);
            }
            std::thread::sleep(REAP_INTERVAL);
        }
        if let Some(reader) = self.stdout_reader.take() {
            let _ = reader.join();
        }
        if let Some(reader) = self.stderr_reader.take() {
            let _ = reader.join();
        }
    }
}

/// Leaves a killed child to a thread. It runs no code any more, but the system needs time to take back its memory (measured: 0.6 s for
/// 2.4 GB on two busy cores). Nobody who cancels has to wait for that. The readers end with it.
#[cfg(unix)]
fn reap_later(child: &mut Child) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) else { return };
    let reap = move || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).map(drop);
    if std::thread::Builder::new().name("child-reaper".into()).spawn(reap).is_err() {
        let _ = child.wait();
    }
}

/// Other systems keep nothing of a dead child that has to be collected.
#[cfg(not(unix))]
fn reap_later(_: &mut Child) {}

fn start_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(Error::io("start a thread for", Path::new(name)))
}

/// Sends complete lines until the pipe ends or nobody listens; a line above the limit is dropped.
fn forward_lines(pipe: impl Read, sender: &SyncSender<Vec<u8>>) {
    let mut pipe = BufReader::new(pipe);
    let mut is_too_long = false;
    loop {
        let mut line = Vec::new();
        match pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let is_complete = line.ends_with(b"\n");
                if is_complete && !is_too_long && sender.send(line).is_err() {
                    return;
                }
                is_too_long = !is_complete;
            }
        }
    }
}

/// The start of what a pipe delivers; the rest is read and dropped, so that the writer is never blocked.
fn read_start(mut pipe: impl Read) -> String {
    let mut start = Vec::new();
    // What was read before an error is still worth showing.
    let _ = pipe.by_ref().take(MAX_STDERR_BYTES).read_to_end(&mut start);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&start).into_owned()
}

/// The event of a line; `None` for what a library printed.
///
/// # Errors
/// `Error::Internal` for a line that begins like an event and is none: if it were skipped, the parent could wait forever.
fn event_from_line(line: &[u8]) -> Result<Option<Event>> {
    match serde_json::from_slice(line) {
        Ok(event) => Ok(Some(event)),
        Err(_) if !line.starts_with(br#"{"event":"#) => Ok(None),
        Err(error) => {
            let start = String::from_utf8_lossy(line.get(..120).unwrap_or(line)).into_owned();
            Err(Error::Internal { message: format!("unreadable event from a child process: {error}: {start}") })
        }
    }
}

/// `signal: 9 (SIGKILL), the system may have run out of memory`, or `exit status: 2, sh: not found`.
fn death_text(status: ExitStatus, stderr: &str) -> String {
    let status = if status.success() { "it ended without a result".to_string() } else { status.to_string() };
    match cause(stderr) {
        Some(cause) => format!("{status}, {cause}"),
        None if status.contains("SIGKILL") => format!("{status}, the system may have run out of memory"),
        None => status,
    }
}

/// The line of standard error that names the cause: the first one, because llama.cpp reports a failure from the inside out, without the
/// name of the C++ function. A Rust panic has its message on the second line.
fn cause(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    if first.starts_with("thread '") && first.contains("panicked at") {
        return Some(format!("panic: {}", lines.next().unwrap_or(first)));
    }
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let text = match first.split_once(": ") {
        Some((name, rest)) if is_name(name) => rest,
        _ => first,
    };
    Some(without_source_path(text.strip_prefix("error loading model: ").unwrap_or(text)))
}

/// `llama-vocab.cpp:12: GGML_ASSERT(a == b) failed` for `/home/builder/…/llama-vocab.cpp:12: GGML_ASSERT(a == b) failed`: where
/// the library was built is nobody's business. Other texts stay as they are.
fn without_source_path(text: &str) -> String {
    const ENDINGS: [&str; 11] = [".c:", ".cc:", ".cpp:", ".cu:", ".h:", ".hpp:", ".cuh:", ".m:", ".mm:", ".rs:", ".comp:"];
    let end = ENDINGS.iter().filter_map(|ending| text.find(ending)).min();
    let Some(place) = end.and_then(|end| text.get(..end)) else { return text.to_string() };
    let Some(slash) = place.rfind(['/', '\\']) else { return text.to_string() };
    // The path begins at the first slash that begins a word: what it was built in may have a space in its name.
    let begins_word =
        |at: usize| place.get(..at).is_none_or(|before| before.is_empty() || before.ends_with([' ', '(', '"', '\'']));
    let drive = |at: usize| at >= 2 && place.get(at - 2..at).is_some_and(|drive| drive.ends_with(':')) && begins_word(at - 2);
    let start = place.match_indices(['/', '\\']).find_map(|(at, _)| match () {
        () if begins_word(at) => Some(at),
        () if drive(at) => Some(at - 2),
        () => None,
    });
    let start = start.unwrap_or_else(|| place.rfind(' ').map_or(0, |space| space + 1).min(slash));
    format!("{}{}", text.get(..start).unwrap_or_default(), text.get(slash + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{RuntimeInfo, Task, TemplateUse};

    #[test]
    fn garbage_between_events_is_skipped() {
        let check = |line: &str, expected: Option<Event>| assert_eq!(event_from_line(line.as_bytes()), Ok(expected), "{line}");
        check(r#"{"event":"prefill","tokens_per_sec":12.5}"#, Some(Event::Prefill { tokens_per_sec: 12.5 }));
        check(r#"{"event":"done","peak_memory_bytes":7}"#, Some(Event::Done { peak_memory_bytes: 7 }));
        check(r#"{"level":"info"}"#, None);
        for broken in [r#"{"event":"done","peak_memory_bytes":-7}"#, r#"{"event":"unheard of"}"#, r#"{"event":"done""#] {
            assert!(matches!(event_from_line(broken.as_bytes()), Err(Error::Internal { .. })), "{broken}");
        }
        check("ggml_init: hello", None);
        check("", None);
        assert_eq!(event_from_line(b"\xFF\xFE{"), Ok(None));
    }

    #[test]
    fn every_event_survives_the_pipe() {
        let info = RuntimeInfo { version: "v".into(), backend: "CPU".into(), system: "s".into(), devices: vec!["d".into()] };
        let events = [
            Event::Loaded { load_secs: 0.25, info: info.clone() },
            Event::Info { info },
            Event::Decode { tokens_per_sec: 1e-3 },
            Event::Token { id: 7, text: "two\nlines \u{1F980}".into(), elapsed_secs: 0.5 },
            Event::Prompt { n_tokens: 3, template: TemplateUse::Missing, vocabulary_sha256: "ab".into() },
            Event::Generated { tokens_per_sec: None, ended_by_itself: true, rest: "\u{FFFD}".into() },
            Event::TextPlan { n_vocab: 3, n_tokens: 9, chunk_parts: vec![0, 1], tokens_sha256: "ab".into() },
            Event::ReferenceChunk { chunk_idx: 7 },
            Event::Layer { n_done: 3, n_layers: 32 },
            Event::ScoredChunk { scores: Box::new(chunk_scores()) },
            Event::Error { reason: "\"quoted\"".into() },
        ];
        for event in events {
            let line = serde_json::to_vec(&event).unwrap();
            assert!(!line.contains(&b'\n'), "one line each");
            assert_eq!(event_from_line(&line), Ok(Some(event)));
        }
    }

    fn chunk_scores() -> crate::runtime::ChunkScores {
        let score = crate::runtime::score::RowScore {
            kld: 1e-12,
            logp: -0.1 - 0.2,
            top: 5,
            p_top: 0.1,
            p_reference_top: 0.2,
            p_top_by_reference: None,
        };
        crate::runtime::ChunkScores {
            chunk_idx: 1,
            part_idx: 2,
            first_scored: 3,
            pieces: vec!["\u{1F980}".into(), String::new()],
            tops: vec![(5, " a".into())],
            ids: vec![4],
            reference_logps: vec![-0.1],
            reference_tops: vec![(4, -0.3)],
            scores: vec![score],
        }
    }

    #[test]
    fn overlong_lines_are_dropped_and_the_next_one_is_read() {
        let (sender, receiver) = sync_channel(8);
        let mut input = b"first\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', 48 << 20));
        input.extend(b"\nlast\nincomplete");
        forward_lines(&input[..], &sender);
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [b"first\n".to_vec(), b"last\n".to_vec()]);
    }

    #[test]
    fn the_cause_is_the_first_line_without_function_names() {
        let check = |stderr: &str, expected: Option<&str>| assert_eq!(cause(stderr).as_deref(), expected, "{stderr}");
        check("", None);
        check("\n \n", None);
        check(
            "llama_model_load: error loading model: unknown model architecture: 'x'\nllama_load: failed to load model\n",
            Some("unknown model architecture: 'x'"),
        );
        check("gguf_init: invalid magic characters: '????'\nsecond\n", Some("invalid magic characters: '????'"));
        check("/src/ggml.c:12: GGML_ASSERT(a == b) failed", Some("ggml.c:12: GGML_ASSERT(a == b) failed"));
        check(
            "/home/a b/.cargo/registry/src/x-1/ggml/src/ggml-backend.cpp:1200: GGML_ASSERT(a) failed",
            Some("ggml-backend.cpp:1200: GGML_ASSERT(a) failed"),
        );
        check("C:\\build\\ggml.c:5: fatal error", Some("ggml.c:5: fatal error"));
        check("read/write failed in src/a.c:12: x", Some("read/write failed in a.c:12: x"));
        check("cannot open /models/my.cpp.gguf: no such file", Some("cannot open /models/my.cpp.gguf: no such file"));
        check("thread 'main' panicked at src/x.rs:1:2:\nindex out of bounds\nnote: …", Some("panic: index out of bounds"));
    }

    #[test]
    fn standard_error_is_capped_but_read_to_its_end() {
        let input = vec![b'e'; 200_000];
        let mut rest = &input[..];
        assert_eq!(read_start(&mut rest).len(), 64 * 1024);
        assert!(rest.is_empty());
    }

    /// A script that stands in for the child.
    #[cfg(unix)]
    fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("child.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, path)
    }

    /// Another test's fork can hold the script open for writing for a moment.
    #[cfg(unix)]
    fn spawn(exe: &Path) -> ChildProcess {
        loop {
            match ChildProcess::spawn(exe, &Request::llama_cpp(Task::Info)) {
                Err(Error::Io { kind: std::io::ErrorKind::ExecutableFileBusy, .. }) => std::thread::yield_now(),
                other => return other.unwrap(),
            }
        }
    }

    #[cfg(unix)]
    fn outcome(body: &str) -> (Vec<Event>, Result<()>) {
        let (_dir, exe) = script(body);
        let mut child = spawn(&exe);
        let mut events = Vec::new();
        loop {
            match child.next_event(&Monitor::silent()) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, Ok(())),
                Err(error) => return (events, Err(error)),
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_child_ends_well_only_after_done_and_with_status_zero() {
        let done = r#"echo '{"event":"done","peak_memory_bytes":1}'"#;
        assert_eq!(outcome(&format!("read line; {done}")), (vec![Event::Done { peak_memory_bytes: 1 }], Ok(())));
        let reason = |body: &str| match outcome(body).1 {
            Err(Error::ChildDied { reason, .. }) => reason,
            other => panic!("{body}: {other:?}"),
        };
        assert!(reason(&format!("{done}; exit 3")).contains("exit status: 3"));
        assert!(reason("exit 0").contains("without a result"));
        assert!(reason("echo 'ggml_abort: out of memory' >&2; kill -ABRT $$").contains("SIGABRT"));
        assert!(reason("echo 'ggml_abort: out of memory' >&2; kill -ABRT $$").ends_with("out of memory"));
        assert!(reason("kill -KILL $$").contains("SIGKILL"));
    }

    #[cfg(unix)]
    #[test]
    fn a_reported_failure_carries_the_runtimes_words() {
        let body = "read line\necho 'load: wrong magic' >&2\necho '{\"event\":\"error\",\"reason\":\"cannot load\"}'\nexit 1";
        match outcome(body).1 {
            Err(Error::Runtime { reason, .. }) => assert_eq!(reason, "cannot load: wrong magic"),
            other => panic!("{other:?}"),
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_cancelled_child_is_killed_and_reaped() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let (_dir, exe) = script("exec sleep 600");
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut child = spawn(&exe);
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_ok());
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(child.next_event(&Monitor::new(cancelled, |_| {})), Err(Error::Cancelled));
        drop(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while rustix::process::test_kill_process(pid).is_ok() {
            assert!(Instant::now() < deadline, "still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
