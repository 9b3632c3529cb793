//! What a container may use: the limits of this process's control group and of all groups around it, version 2 and 1.

use super::root::Root;

/// A memory limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    /// The lowest limit of the group and those around it.
    pub(super) limit_bytes: u64,
    /// What can still be used below every limit; file cache that can be dropped counts as free.
    pub(super) headroom_bytes: u64,
}

/// Names of the memory files of one version.
struct MemoryFiles {
    limit: &'static str,
    usage: &'static str,
    droppable: &'static str,
}

/// Source: Documentation/admin-guide/cgroup-v2.rst, Linux 6.12.
const MEMORY_V2: MemoryFiles = MemoryFiles { limit: "memory.max", usage: "memory.current", droppable: "inactive_file" };

/// Source: Documentation/admin-guide/cgroup-v1/memory.rst, Linux 6.12.
const MEMORY_V1: MemoryFiles =
    MemoryFiles { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", droppable: "total_inactive_file" };

/// The memory limit; `None` where none is set below `total_bytes`, what the machine has (0 when unknown).
///
/// Version 1 writes "no limit" as the largest multiple of a page, version 2 as `max`: both lie above what the machine has.
pub(super) fn memory_limit(root: &Root, total_bytes: u64) -> Option<MemoryLimit> {
    let v2 = folders(root, None).into_iter().map(|folder| (folder, &MEMORY_V2));
    let v1 = folders(root, Some("memory")).into_iter().map(|folder| (folder, &MEMORY_V1));
    let cap = if total_bytes == 0 { 1 << 60 } else { total_bytes };
    let limits = v2.chain(v1).filter_map(|(folder, files)| {
        let limit_bytes: u64 = root.number(&format!("{folder}/{}", files.limit))?;
        (limit_bytes < cap).then(|| {
            let usage: u64 = root.number(&format!("{folder}/{}", files.usage)).unwrap_or(0);
            let stat = root.text(&format!("{folder}/memory.stat")).unwrap_or_default();
            let droppable =
                stat.lines().find_map(|line| line.strip_prefix(files.droppable)?.trim().parse::<u64>().ok()).unwrap_or(0);
            MemoryLimit { limit_bytes, headroom_bytes: limit_bytes.saturating_sub(usage.saturating_sub(droppable)) }
        })
    });
    limits.reduce(|a, b| MemoryLimit {
        limit_bytes: a.limit_bytes.min(b.limit_bytes),
        headroom_bytes: a.headroom_bytes.min(b.headroom_bytes),
    })
}

/// How many processors the quota lets run at once, rounded up; `None` without a quota.
pub(super) fn cpu_limit(root: &Root) -> Option<usize> {
    let v2 = folders(root, None).into_iter().filter_map(|folder| {
        let text = root.text(&format!("{folder}/cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        Some((quota.parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?))
    });
    let v1 = ["cpu", "cpu,cpuacct"].into_iter().flat_map(|mount| folders_below(root, mount, "cpu")).filter_map(|folder| {
        let quota: i64 = root.number(&format!("{folder}/cpu.cfs_quota_us"))?;
        Some((u64::try_from(quota).ok()?, root.number::<u64>(&format!("{folder}/cpu.cfs_period_us"))?))
    });
    let counts = v2.chain(v1).filter(|(_, period)| *period > 0);
    counts.map(|(quota, period)| usize::try_from(quota.div_ceil(period)).unwrap_or(usize::MAX).max(1)).min()
}

/// True when the name of the group is one that container engines give.
pub(super) fn is_named_by_engine(root: &Root) -> bool {
    let text = root.text("/proc/self/cgroup").unwrap_or_default();
    ["/docker", "/kubepods", "/lxc", "/libpod", "containerd"].iter().any(|name| text.contains(name))
}

/// This process's group and those around it, where they are mounted; `controller` is `None` for version 2.
fn folders(root: &Root, controller: Option<&str>) -> Vec<String> {
    match controller {
        Some(name) => folders_below(root, name, name),
        // A hybrid system mounts version 2 beside the controllers of version 1.
        None => ["", "unified"].into_iter().flat_map(|mount| folders_below(root, mount, "")).collect(),
    }
}

/// The groups below `/sys/fs/cgroup/mount` that hold this process, innermost first.
///
/// A container without its own view of the groups sees its group as the mount itself, under a path that does not exist there: walking
/// up to the mount finds it.
fn folders_below(root: &Root, mount: &str, controller: &str) -> Vec<String> {
    let text = root.text("/proc/self/cgroup").unwrap_or_default();
    let group = text
        .lines()
        .find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            controllers.split(',').any(|name| name == controller).then_some(path)
        })
        .unwrap_or("/");
    let names: Vec<&str> = group.split('/').filter(|name| !matches!(*name, "" | "." | "..")).collect();
    let base = if mount.is_empty() { "/sys/fs/cgroup".to_string() } else { format!("/sys/fs/cgroup/{mount}") };
    (0..=names.len()).rev().map(|depth| names[..depth].iter().fold(base.clone(), |path, name| format!("{path}/{name}"))).collect()
}
