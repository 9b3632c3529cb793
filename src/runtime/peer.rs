//! A runtime that is another program: requests and answers on its standard streams.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest line of an answer: the tokens of a text.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// The most bytes after an answer: the logits of `MAX_ROWS` tokens of a large vocabulary.
const MAX_DATA_BYTES: usize = 4 << 30;
/// Lines of standard error that are kept: the last ones of a Python program name the cause.
const N_LAST_LINES: usize = 20;

/// A program that answers one request after the other. Killed on drop.
pub(super) struct Peer {
    child: RefCell<Child>,
    streams: RefCell<Streams>,
    last_lines: RefCell<Option<JoinHandle<VecDeque<String>>>>,
    /// Why it answers no more, once that is known.
    death: RefCell<Option<String>>,
    name: &'static str,
}

struct Streams {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Head {
    error: Option<String>,
    #[serde(default)]
    n_bytes: usize,
}

impl Peer {
    /// Starts a program; `name` is the runtime's for messages.
    pub(super) fn start(command: &mut Command, name: &'static str) -> Result<Self, String> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
            format!("{} cannot be started: {error}", crate::path_text::shown(Path::new(command.get_program())))
        })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else { return Err("it has no streams".into()) };
        let reader = std::thread::Builder::new().name("peer-stderr".into()).spawn(move || last_lines(stderr));
        let reader = reader.map_err(|error| format!("cannot start a thread: {error}"))?;
        let streams = RefCell::new(Streams { stdin, stdout: BufReader::new(stdout) });
        let (child, last_lines) = (RefCell::new(child), RefCell::new(Some(reader)));
        Ok(Self { child, streams, last_lines, death: RefCell::default(), name })
    }

    /// Sends a request and returns the answer.
    pub(super) fn ask<T: DeserializeOwned>(&self, request: &Value) -> Result<T, String> {
        self.exchange(request, &mut Vec::new())
    }

    /// Sends a request and replaces what `data` holds with the bytes that follow the answer.
    pub(super) fn ask_for_bytes(&self, request: &Value, data: &mut Vec<u8>) -> Result<(), String> {
        self.exchange::<Value>(request, data).map(drop)
    }

    fn exchange<T: DeserializeOwned>(&self, request: &Value, data: &mut Vec<u8>) -> Result<T, String> {
        let streams = &mut *self.streams.borrow_mut();
        let mut line = Vec::new();
        let sent = writeln!(streams.stdin, "{request}").and_then(|()| streams.stdin.flush());
        let received = sent.and_then(|()| (&mut streams.stdout).take(MAX_LINE_BYTES).read_until(b'\n', &mut line));
        if received.is_err() || !line.ends_with(b"\n") {
            return Err(self.death_text());
        }
        let unreadable = |error: serde_json::Error| format!("{} gave an unreadable answer: {error}", self.name);
        let head: Head = serde_json::from_slice(&line).map_err(unreadable)?;
        if let Some(error) = head.error {
            return Err(error);
        }
        if head.n_bytes > MAX_DATA_BYTES {
            return Err(format!("{} gave an answer of {} bytes", self.name, head.n_bytes));
        }
        data.resize(head.n_bytes, 0);
        streams.stdout.read_exact(data).map_err(|_| self.death_text())?;
        serde_json::from_slice(&line).map_err(unreadable)
    }

    /// Why it answers no more: the last line that it wrote to standard error.
    fn death_text(&self) -> String {
        let ask = || {
            // It may still be alive, with an answer that cannot be read.
            let _ = self.child.borrow_mut().kill();
            let lines = self.last_lines.borrow_mut().take().and_then(|reader| reader.join().ok()).unwrap_or_default();
            match lines.back() {
                Some(line) => format!("{} ended: {line}", self.name),
                None => format!("{} ended without a word; the system may have run out of memory", self.name),
            }
        };
        self.death.borrow_mut().get_or_insert_with(ask).clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Reads to the end and returns the last lines that are not empty.
fn last_lines(pipe: impl Read) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut pipe).take(64 << 10).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim().to_string();
        if !text.is_empty() {
            last.push_back(text);
        }
        if last.len() > N_LAST_LINES {
            last.pop_front();
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use serde_json::json;

    fn peer(script: &str) -> Peer {
        Peer::start(Command::new("/bin/sh").args(["-c", script]), "it").unwrap()
    }

    #[test]
    fn answers_come_with_their_bytes() {
        let peer = peer(r#"read a; echo '{"n":3}'; read a; printf '{"n_bytes":4}\n1234'; read a; echo '{"error":"no"}'; read a"#);
        let answer: Value = peer.ask(&json!({ "request": "a" })).unwrap();
        assert_eq!(answer, json!({ "n": 3 }));
        let mut data = vec![9; 10];
        peer.ask_for_bytes(&json!({}), &mut data).unwrap();
        assert_eq!(data, b"1234");
        assert_eq!(peer.ask::<Value>(&json!({})), Err("no".into()));
    }

    #[test]
    fn an_end_is_told_with_its_last_words() {
        let last_words = |script: &str| peer(script).ask::<Value>(&json!({})).unwrap_err();
        assert_eq!(last_words("read a; echo 'Traceback:' >&2; echo 'ImportError: no mlx' >&2"), "it ended: ImportError: no mlx");
        assert!(last_words("read a; kill -KILL $$").contains("out of memory"));
        assert!(last_words("read a; echo oops; sleep 5").contains("unreadable"));
        assert!(last_words(r#"read a; echo '{"n_bytes":99999999999}'; sleep 5"#).contains("99999999999 bytes"));
        assert!(last_words(r#"read a; printf '{"n_bytes":5}\n12'"#).contains("ended"));
    }
}
