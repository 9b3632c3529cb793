//! Desktop notifications.
//!
//! Sent with the desktop's own command. The crate `notify-rust` would do it too, but turns on features of zbus that double its
//! part of the build, and on Windows brings the crate `windows` along. Windows has no such command: there the mark on the task
//! bar has to do.

use std::process::{Command, Stdio};

/// Shows a message and waits until the desktop has taken it. A desktop without notifications, or none at all, is no error: the window says
/// the same.
pub(super) fn show(text: &str) {
    let mut command = command(text);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
        tracing::info!("no notification: {ended:?}");
    }
}

#[cfg(not(target_os = "macos"))]
fn command(text: &str) -> Command {
    let mut command = Command::new("notify-send");
    // A text that starts with a dash must not be taken for an option.
    command.args(["--app-name=Planish", "--icon=planish", "--", "Planish", text]);
    command
}

#[cfg(target_os = "macos")]
fn command(text: &str) -> Command {
    let mut command = Command::new("osascript");
    // The text is an argument, not a part of the script: a file's name must not become code.
    let script = "on run argv\ndisplay notification (item 1 of argv) with title \"Planish\"\nend run";
    command.args(["-e", script, text]);
    command
}
