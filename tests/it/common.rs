//! What the integration tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The built program, with a history that is not the one of the person who runs the tests.
pub fn planish() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    let history = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("history.sqlite3");
    command.stdin(Stdio::null()).env("PLANISH_HISTORY", history);
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// SmolLM2-135M-Instruct at `Q4_1`, fetched by `tests/fetch_fixtures.sh`.
pub fn smollm2() -> PathBuf {
    fixture("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// The checkpoint of all-MiniLM-L6-v2, fetched by `tests/fetch_fixtures.sh`.
pub fn minilm() -> PathBuf {
    fixture("all-MiniLM-L6-v2")
}

/// A file or folder that `tests/fetch_fixtures.sh` fetches.
///
/// # Panics
/// When it has not been fetched: a real model must not be skipped silently.
pub fn fixture(name: &str) -> PathBuf {
    let cache = std::env::var_os("PLANISH_FIXTURES").map_or_else(
        || {
            let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache")).join("planish-fixtures")
        },
        PathBuf::from,
    );
    let path = cache.join(name);
    assert!(path.exists(), "{} is missing: run tests/fetch_fixtures.sh", path.display());
    path
}

/// Runs `planish` with these arguments to its end.
pub fn run(args: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = planish();
    for arg in args {
        command.arg(arg.as_ref());
    }
    command.output().unwrap()
}

/// The JSON document that a successful run prints.
pub fn run_json(args: &[&dyn AsRef<std::ffi::OsStr>]) -> serde_json::Value {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "status {:?}: {stderr}", output.status.code());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// Size of all files but the manifest.
pub fn folder_size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_name() != "planish.manifest.json").map(|entry| entry.metadata().unwrap().len()).sum()
}
