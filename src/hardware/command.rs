//! Runs a system tool and reads its output, within a time limit.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The longest output that is read; what a pipe holds on every system, so that the tool never waits for us.
const MAX_BYTES: u64 = 64 << 10;

/// Standard output of a tool; `None` when it is missing, fails or takes longer than `limit`, after which it is ended.
pub(super) fn output_of(program: &str, arguments: &[&str], limit: Duration) -> Option<String> {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(2)),
            _ => break None,
        }
    };
    let Some(status) = status else {
        // Already gone or not: either way it is waited for, so that no zombie stays.
        let _ = child.kill();
        let _ = child.wait();
        return None;
    };
    let mut bytes = Vec::new();
    child.stdout.take()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    status.success().then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn tools_answer_in_time_or_not_at_all() {
        let check = |script: &str, expected: Option<&str>| {
            assert_eq!(output_of("sh", &["-c", script], Duration::from_millis(900)).as_deref(), expected, "{script}");
        };
        check("echo hw.memsize: 1", Some("hw.memsize: 1\n"));
        check("echo partly; exit 3", None);
        check("exec sleep 30", None);
        assert_eq!(output_of("/no/such/tool", &[], Duration::from_secs(1)), None);
    }
}
