//! The processor on Linux: `/proc/cpuinfo` for what it is, sysfs for how it is built, status and quota for what is left of it.

use std::collections::{BTreeMap, BTreeSet};

use super::root::{Root, hex_from_text};
use super::{Cache, Cpu, cgroup, simd, soc};

/// The most processors that are looked at; more than any single system has.
const MAX_CPUS: usize = 4096;

/// A core with less than this part of the fastest core's capacity is an efficiency core.
///
/// Little cores have 0.2 to 0.5 of a big one (`cpu_capacity` of the device trees in Linux 6.12); slower bins of the same core stay above 0.7.
const EFFICIENCY_CAPACITY: f64 = 0.6;

/// What was found, and whether the number of cores was told or taken from the number of threads.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    /// The processor.
    pub(super) cpu: Cpu,
    /// True when the system told which threads share a core.
    pub(super) knows_cores: bool,
}

/// Reads the processor; without any source it has one core and no name.
pub(super) fn probe(root: &Root) -> Found {
    let info = CpuInfo::parse(&root.text("/proc/cpuinfo").unwrap_or_default());
    let online = Some(online_cpus(root)).filter(|set| !set.is_empty());
    let online = online.unwrap_or_else(|| info.processors.keys().copied().collect());
    let allowed = allowed_cpus(root, &online);

    let n_logical = allowed.len().min(cgroup::cpu_limit(root).unwrap_or(usize::MAX)).max(1);
    let n_cores = count_cores(root, &info, &allowed);
    let (n_performance, n_efficiency) = kinds(root, &info, &allowed);
    let cpu = Cpu {
        name: info.name.clone().or_else(|| chip_name(root, &info)).unwrap_or_default(),
        architecture: info.architecture.to_string(),
        n_physical: n_cores.unwrap_or(n_logical).clamp(1, n_logical),
        n_logical,
        n_performance,
        n_efficiency,
        simd: simd::from_flags(&info.flags),
        caches: caches(root, &online),
    };
    Found { cpu, knows_cores: n_cores.is_some() }
}

/// Data and unified caches of the processors in `online`, smallest level first; empty where sysfs does not tell sizes.
///
/// Processors with the same `shared_cpu_list` have one instance together.
pub(super) fn caches(root: &Root, online: &BTreeSet<usize>) -> Vec<Cache> {
    let mut instances: BTreeMap<(u8, u64), BTreeSet<String>> = BTreeMap::new();
    for cpu in online.iter().take(MAX_CPUS) {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cache");
        for index in root.list(&folder).iter().filter(|name| name.starts_with("index")) {
            let file = |name: &str| root.text(&format!("{folder}/{index}/{name}"));
            if file("type").is_none_or(|kind| kind == "Instruction") {
                continue;
            }
            let level = file("level").and_then(|text| text.parse::<u8>().ok());
            let size = file("size").and_then(|text| cache_size(&text));
            if let (Some(level @ 1..=4), Some(size)) = (level, size) {
                let shared = file("shared_cpu_list").unwrap_or_else(|| cpu.to_string());
                instances.entry((level, size)).or_default().insert(shared);
            }
        }
    }
    instances.into_iter().map(|((level, size_bytes), sets)| Cache { level, size_bytes, n_instances: sets.len() }).collect()
}

/// The processors that are switched on; empty when sysfs does not tell.
pub(super) fn online_cpus(root: &Root) -> BTreeSet<usize> {
    root.text("/sys/devices/system/cpu/online").map(|text| cpu_set(&text)).unwrap_or_default()
}

/// Those of `online` on which this process may run; all when the mask is unknown.
fn allowed_cpus(root: &Root, online: &BTreeSet<usize>) -> BTreeSet<usize> {
    let status = root.text("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(cpu_set).unwrap_or_default();
    let allowed: BTreeSet<usize> = online.intersection(&mask).copied().collect();
    if allowed.is_empty() { online.clone() } else { allowed }
}

/// How many cores the processors in `cpus` make up; `None` when the system does not tell which share a core.
fn count_cores(root: &Root, info: &CpuInfo, cpus: &BTreeSet<usize>) -> Option<usize> {
    let siblings: Option<BTreeSet<String>> = cpus
        .iter()
        .map(|cpu| {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
            // The second name is that of kernels before 5.3.
            root.text(&format!("{folder}/core_cpus_list")).or_else(|| root.text(&format!("{folder}/thread_siblings_list")))
        })
        .collect();
    let from_info = || cpus.iter().map(|cpu| info.processors.get(cpu).copied().flatten()).collect::<Option<BTreeSet<_>>>();
    let n = siblings.map(|set| set.len()).or_else(|| from_info().map(|set| set.len()))?;
    (n > 0).then_some(n)
}

/// Numbers of performance and efficiency cores; `None` unless there are both.
fn kinds(root: &Root, info: &CpuInfo, cpus: &BTreeSet<usize>) -> (Option<usize>, Option<usize>) {
    let of_kind = |name: &str| root.text(&format!("/sys/devices/{name}/cpus")).map(|text| cpu_set(&text));
    let (fast, slow) = match (of_kind("cpu_core"), of_kind("cpu_atom")) {
        (Some(fast), Some(slow)) => (&fast & cpus, &slow & cpus),
        _ => by_capacity(root, cpus),
    };
    if fast.is_empty() || slow.is_empty() {
        return (None, None);
    }
    (count_cores(root, info, &fast), count_cores(root, info, &slow))
}

/// Fast and slow processors by the capacity that the scheduler gives them.
fn by_capacity(root: &Root, cpus: &BTreeSet<usize>) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let capacity = |cpu: &usize| root.number::<f64>(&format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity"));
    let capacities: Option<Vec<(usize, f64)>> = cpus.iter().map(|cpu| Some((*cpu, capacity(cpu)?))).collect();
    let capacities = capacities.unwrap_or_default();
    let most = capacities.iter().map(|(_, c)| *c).fold(0.0, f64::max);
    let (fast, slow): (Vec<_>, Vec<_>) = capacities.into_iter().partition(|(_, c)| *c >= most * EFFICIENCY_CAPACITY);
    let ids = |list: Vec<(usize, f64)>| list.into_iter().map(|(cpu, _)| cpu).collect();
    (ids(fast), ids(slow))
}

/// The name of an ARM processor, by the device tree or by its cores.
fn chip_name(root: &Root, info: &CpuInfo) -> Option<String> {
    let by_core = || soc::core_name(info.implementer?, info.part?).map(str::to_string);
    soc::chip(root).map(|chip| chip.name.to_string()).or_else(by_core)
}

/// What `/proc/cpuinfo` says.
#[derive(Debug, Default)]
struct CpuInfo {
    name: Option<String>,
    architecture: &'static str,
    flags: String,
    implementer: Option<u32>,
    part: Option<u32>,
    /// For each processor its package and core, where both are told.
    processors: BTreeMap<usize, Option<(u32, u32)>>,
}

impl CpuInfo {
    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        let (mut current, mut package) = (None, None);
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "processor" => {
                    (current, package) = (value.parse().ok().filter(|cpu| *cpu < MAX_CPUS), None);
                    if let Some(cpu) = current {
                        info.processors.insert(cpu, None);
                    }
                }
                "physical id" => package = value.parse().ok(),
                "core id" => {
                    if let (Some(cpu), Some(package), Ok(core)) = (current, package, value.parse()) {
                        info.processors.insert(cpu, Some((package, core)));
                    }
                }
                "model name" if info.name.is_none() && !value.is_empty() => info.name = Some(single_spaced(value)),
                "flags" if info.flags.is_empty() => (info.architecture, info.flags) = ("x86_64", value.to_string()),
                "Features" if info.flags.is_empty() => (info.architecture, info.flags) = ("aarch64", value.to_string()),
                "CPU implementer" => info.implementer = info.implementer.or_else(|| hex_from_text(value)),
                "CPU part" => info.part = info.part.or_else(|| hex_from_text(value)),
                _ => {}
            }
        }
        info
    }
}

/// The name without the runs of spaces with which vendors pad it.
pub(super) fn single_spaced(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `0-3,8` as a set; parts that are no numbers, and numbers above 4095, are left out.
fn cpu_set(text: &str) -> BTreeSet<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(first..last.saturating_add(1).min(MAX_CPUS))
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// `48K`, `12M` or plain bytes; `None` for zero.
fn cache_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.strip_prefix(digits)? {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        let check =
            |text: &str, expected: &[usize]| assert_eq!(cpu_set(text).into_iter().collect::<Vec<_>>(), expected, "{text}");
        check("", &[]);
        check("0", &[0]);
        check("0-3,8,10-11\n", &[0, 1, 2, 3, 8, 10, 11]);
        check("3-1", &[]);
        check("a-b,,-,7", &[7]);
        check("4094-99999999999999999999,4094-18446744073709551615", &[4094, 4095]);
    }

    #[test]
    fn cache_sizes() {
        let check = |text: &str, expected| assert_eq!(cache_size(text), expected, "{text}");
        check("48K", Some(49152));
        check("12M", Some(12 << 20));
        check("512", Some(512));
        check("0K", None);
        check("K", None);
        check("12KiB", None);
        check("18446744073709551615M", None);
    }
}
