//! The operating system on Linux.

use super::Os;
use super::cgroup;
use super::root::Root;

/// Reads name, kernel and the marks that container engines leave.
pub(super) fn probe(root: &Root, is_memory_limited: bool) -> Os {
    let release = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| root.text(path)).unwrap_or_default();
    let value_of = |key: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim().trim_matches(['"', '\'']).to_string())
    };
    let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
    Os {
        name: value_of("PRETTY_NAME").or_else(|| value_of("NAME")).unwrap_or_default(),
        kernel: root.text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        is_container: is_memory_limited || marks.iter().any(|mark| root.exists(mark)) || cgroup::is_named_by_engine(root),
    }
}
