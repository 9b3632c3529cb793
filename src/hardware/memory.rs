//! Main memory on Linux, within the container's limit.

use super::Memory;
use super::cgroup;
use super::root::Root;

/// Reads `/proc/meminfo` and the control groups; zeros where nothing is known.
pub(super) fn probe(root: &Root) -> Memory {
    let text = root.text("/proc/meminfo").unwrap_or_default();
    let bytes_of = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        value.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let installed_bytes = bytes_of("MemTotal").unwrap_or(0);
    // Kernels before 3.14 lack MemAvailable; the sum is what `free` showed then.
    let available_bytes = bytes_of("MemAvailable")
        .unwrap_or_else(|| ["MemFree", "Buffers", "Cached"].iter().filter_map(|key| bytes_of(key)).fold(0, u64::saturating_add));
    let limit = cgroup::memory_limit(root, installed_bytes);
    let at_most = |size: u64, limit: Option<u64>| match limit {
        Some(limit) if size == 0 || limit < size => limit,
        _ => size,
    };
    Memory {
        total_bytes: at_most(installed_bytes, limit.map(|l| l.limit_bytes)),
        available_bytes: at_most(available_bytes, limit.map(|l| l.headroom_bytes)),
        swap_bytes: bytes_of("SwapTotal").unwrap_or(0),
        limit_bytes: limit.map(|l| l.limit_bytes),
    }
}
