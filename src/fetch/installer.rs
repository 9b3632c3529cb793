//! The program that sets up a Python environment: uv if it is installed, else Python's own venv and pip.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::monitor::Monitor;

/// How often a waiting set-up checks whether it was cancelled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The oldest Python that the packages are pinned for.
const OLDEST: (u32, u32) = (3, 11);
/// Python's option to import nothing from the current folder, and to heed none of the user's own settings.
const ISOLATED: &str = "-I";
/// How many of the last lines are kept at least, in case of a failure.
const N_LAST_LINES: usize = 40;

/// What sets up an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Installer {
    /// uv, which finds a Python by itself.
    Uv(PathBuf),
    /// A Python with its modules venv and pip.
    Python { program: PathBuf, version: (u32, u32) },
}

/// uv, else the first of `python3`, the newest `python3.…` and `python` that is new enough; `None` where there is none.
pub(super) fn find_installer() -> Option<Installer> {
    let folders: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let in_path = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file());
    if let Some(uv) = in_path("uv").or_else(|| in_path("uv.exe")) {
        return Some(Installer::Uv(uv));
    }
    let names = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python", "python.exe"];
    names.into_iter().filter_map(in_path).find_map(|program| {
        let version = version_of(&program).filter(|version| *version >= OLDEST)?;
        Some(Installer::Python { program, version })
    })
}

/// The version that a Python reports, as `(major, minor)`; `None` where it reports none.
fn version_of(program: &Path) -> Option<(u32, u32)> {
    let output =
        Command::new(program).args(["-c", "import sys; print(*sys.version_info[:2])"]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Installer {
    /// Its name for a person.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Uv(_) => "uv".into(),
            Self::Python { version: (major, minor), .. } => format!("Python {major}.{minor}"),
        }
    }

    /// Makes an empty environment.
    pub(super) fn make_environment(&self, folder: &Path, monitor: &Monitor) -> Result<()> {
        run(&mut self.environment_command(folder), beside(folder), monitor, &mut |_| Ok(()))
    }

    fn environment_command(&self, folder: &Path) -> Command {
        let mut command = match self {
            Self::Uv(uv) => {
                let mut command = Command::new(uv);
                command.args(["venv", "--quiet", "--python", ">=3.11,<3.15"]);
                command
            }
            Self::Python { program, .. } => {
                let mut command = Command::new(program);
                command.args([ISOLATED, "-m", "venv"]);
                command
            }
        };
        command.arg(folder);
        command
    }

    /// Fetches packages into an environment; `on_package` gets the name of each as it begins.
    pub(super) fn install(
        &self,
        folder: &Path,
        requirements: &Path,
        monitor: &Monitor,
        on_package: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let mut command = self.packages_command(folder, requirements);
        run(&mut command, beside(folder), monitor, &mut |line| package_of(line).map_or(Ok(()), &mut *on_package))
    }

    fn packages_command(&self, folder: &Path, requirements: &Path) -> Command {
        let python = python_in(folder);
        let mut command = match self {
            Self::Uv(uv) => {
                let mut command = Command::new(uv);
                command.args(["pip", "install", "--verbose", "--require-hashes", "--python"]).arg(python);
                command
            }
            Self::Python { .. } => {
                let mut command = Command::new(python);
                command.args([ISOLATED, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
                command.args(["--no-deps", "--require-hashes"]);
                command
            }
        };
        // A wheel is checked by its checksum; a source distribution would run code to be built.
        command.args(["--only-binary", ":all:", "--requirement"]).arg(requirements);
        command
    }
}

/// Loads the packages of an environment once.
pub(super) fn try_import(folder: &Path, packages: &[&str], monitor: &Monitor) -> Result<()> {
    let code = format!("import {}", packages.join(", "));
    run(Command::new(python_in(folder)).args([ISOLATED, "-c", &code]), beside(folder), monitor, &mut |_| Ok(()))
}

/// The folder in which an environment lies: the user's own, with nothing in it that others have put there.
fn beside(environment: &Path) -> &Path {
    environment.parent().unwrap_or(environment)
}

fn python_in(folder: &Path) -> PathBuf {
    if cfg!(windows) { folder.join("Scripts").join("python.exe") } else { folder.join("bin").join("python") }
}

/// The package that a line says is begun: `mlx==0.32.4`; `None` for other lines.
fn package_of(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("Collecting ").or_else(|| line.split_once("Selecting: ").map(|(_, rest)| rest))?;
    rest.split([' ', '[']).next().filter(|name| !name.is_empty())
}

/// Runs a program in `folder` to its end; `on_line` gets each line that it writes.
///
/// The folder must be the user's own: uv takes settings from where it is started, and Python would take modules.
fn run(command: &mut Command, folder: &Path, monitor: &Monitor, on_line: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    // None of the user's own settings for Python may reach a private environment.
    for name in ["PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    command.current_dir(folder);
    // What it starts itself ends with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = KilledOnDrop(command.spawn().map_err(Error::io("start", &program))?);
    let (sender, lines) = channel();
    if let Some(stdout) = child.0.stdout.take() {
        read_lines(stdout, sender.clone());
    }
    if let Some(stderr) = child.0.stderr.take() {
        read_lines(stderr, sender);
    }
    let mut last: Vec<String> = Vec::new();
    loop {
        monitor.check()?;
        match lines.recv_timeout(POLL_INTERVAL) {
            Ok(line) => {
                on_line(&line)?;
                last.push(line);
                if last.len() > 2 * N_LAST_LINES {
                    last.drain(..N_LAST_LINES);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.0.wait().map_err(Error::io("wait for", &program))?;
    if status.success() { Ok(()) } else { Err(failure(&last)) }
}

/// A child that does not outlive its set-up.
struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // All fail when it has ended already.
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends the lines of a pipe until it ends or nobody listens.
fn read_lines(pipe: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_string();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// What went wrong, by what the installer wrote last.
fn failure(lines: &[String]) -> Error {
    let has = |marks: &[&str]| lines.iter().any(|line| marks.iter().any(|mark| line.contains(mark)));
    let error = |reason: String, advice| Error::SetUp { runtime: String::new(), reason, advice };
    if has(&["ensurepip is not available", "No module named venv", "No module named ensurepip"]) {
        return error("this Python cannot make environments".into(), "on Debian and Ubuntu: sudo apt install python3-venv");
    }
    if has(&["No module named pip"]) {
        return error("this Python has no pip".into(), "on Debian and Ubuntu: sudo apt install python3-pip");
    }
    if has(&["No space left on device", "os error 28", "Errno 28"]) {
        return error("the disk is full".into(), "free some space and try again; what was fetched has been removed");
    }
    let offline = [
        "name resolution",
        "Name or service not known",
        "NewConnectionError",
        "Failed to establish a new connection",
        "dns error",
        "Network is unreachable",
        "error sending request",
        "Could not connect",
        "nodename nor servname",
    ];
    if has(&offline) {
        return error(
            "the packages cannot be fetched: no connection to the index of Python packages".into(),
            "connect to the network and try again",
        );
    }
    if has(&["DO NOT MATCH THE HASHES", "hash mismatch", "Hash mismatch"]) {
        return error(
            "what was fetched is not what was pinned, and has been thrown away".into(),
            "try again; a proxy may have changed it",
        );
    }
    if let Some(line) = lines.iter().find(|line| line.contains("(from versions: none)")) {
        let package = line.split_whitespace().find(|word| word.contains("==")).unwrap_or("a package");
        let reason = format!("{package}: the index cannot be reached, or has nothing for this system and this Python");
        return error(reason, "connect to the network, or install Python 3.11 to 3.14, and try again");
    }
    let is_error = |line: &&String| line.starts_with("ERROR:") || line.starts_with("error:") || line.contains("Error: ");
    let told = lines.iter().find(is_error).or(lines.last()).map_or("it gave no reason", String::as_str);
    error(
        told.trim().trim_start_matches("ERROR: ").trim_start_matches("error: ").into(),
        "try again, or install the packages into an environment of your own",
    )
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn told(lines: &[&str]) -> (String, &'static str) {
        match failure(&lines.iter().map(ToString::to_string).collect::<Vec<_>>()) {
            Error::SetUp { reason, advice, .. } => (reason, advice),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn failures_are_told_by_their_cause() {
        let debian = "The virtual environment was not created successfully because ensurepip is not available.  On Debian/Ubuntu";
        assert!(told(&[debian, "systems, you need to install the python3-venv"]).1.contains("python3-venv"));
        let pip = "WARNING: Retrying after connection broken by 'NewConnectionError(...): Failed to establish a new connection: [Errno -3] Temporary failure in name resolution'";
        let last = "ERROR: No matching distribution found for mlx==0.32.4";
        assert!(told(&[pip, last]).0.contains("no connection"), "an index that cannot be reached looks like a missing package");
        assert_eq!(told(&["Collecting mlx", last]).0, "No matching distribution found for mlx==0.32.4");
        assert_eq!(told(&["ERROR: Could not install: [Errno 28] No space left on device"]).0, "the disk is full");
        let none = "ERROR: Could not find a version that satisfies the requirement mlx==0.32.4 (from versions: none)";
        assert!(told(&[none, last]).0.starts_with("mlx==0.32.4: the index cannot be reached"));
        assert_eq!(told(&[]).0, "it gave no reason");
    }

    #[test]
    fn packages_are_named_as_they_begin() {
        assert_eq!(package_of("Collecting mlx==0.32.4 (from -r mlx.txt (line 3))"), Some("mlx==0.32.4"));
        assert_eq!(package_of("DEBUG Selecting: numpy==2.4.6 [compatible] (numpy-2.4.6-cp311.whl)"), Some("numpy==2.4.6"));
        assert_eq!(package_of("  Downloading mlx-0.32.4.whl (600 kB)"), None);
    }

    #[test]
    fn a_program_is_watched_and_killed_when_cancelled() {
        let mut lines = Vec::new();
        let root = Path::new("/");
        run(Command::new("/bin/sh").args(["-c", "echo one; echo two >&2"]), root, &Monitor::silent(), &mut |line| {
            lines.push(line.to_string());
            Ok(())
        })
        .unwrap();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        let mut command = Command::new("/bin/sh");
        let failed = run(command.args(["-c", "echo error: no; exit 3"]), root, &Monitor::silent(), &mut |_| Ok(()));
        assert!(matches!(failed, Err(Error::SetUp { reason, .. }) if reason == "no"));
        let cancelled = Arc::new(AtomicBool::new(true));
        cancelled.store(true, Ordering::Relaxed);
        let outcome = run(Command::new("/bin/sleep").arg("600"), root, &Monitor::new(cancelled, |_| {}), &mut |_| Ok(()));
        assert_eq!(outcome, Err(Error::Cancelled));
    }

    #[test]
    fn an_installer_imports_nothing_from_where_it_is_started() {
        let environment = Path::new("/home/me/runtimes/mlx.part");
        let python = Installer::Python { program: "/usr/bin/python3".into(), version: (3, 12) };
        for command in
            [python.environment_command(environment), python.packages_command(environment, Path::new("/requirements.txt"))]
        {
            assert_eq!(command.get_args().next(), Some(std::ffi::OsStr::new("-I")), "{command:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().canonicalize().unwrap();
        let started_in = run(
            Command::new("/bin/sh").args(["-c", "echo \"error: $(pwd)\"; exit 1"]),
            beside(&own.join("mlx.part")),
            &Monitor::silent(),
            &mut |_| Ok(()),
        );
        assert!(matches!(started_in, Err(Error::SetUp { reason, .. }) if reason == own.display().to_string()));
    }
}
