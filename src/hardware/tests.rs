//! The probes on recorded machines, on this one, and on rubbish.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::detect::{linux_machine, warnings};
use super::nvml::NvmlDevice;
use super::portable::{Facts, GpuFacts};
use super::root::Root;
use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hardware").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes the files of a recorded machine, whose form `tests/fixtures/hardware/README.md` describes, below a new folder.
pub(super) fn unpacked(tree: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut file: Option<(PathBuf, String)> = None;
    let write = |file: Option<(PathBuf, String)>| {
        if let Some((path, text)) = file {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("\\0", "\0")).unwrap();
        }
    };
    for line in tree.lines() {
        if let Some(path) = line.strip_prefix("-- /").and_then(|rest| rest.strip_suffix(" --")) {
            write(file.replace((dir.path().join(path), String::new())));
        } else if let Some((_, text)) = &mut file {
            text.push_str(line);
            text.push('\n');
        }
    }
    write(file);
    dir
}

fn recorded(name: &str, nvidia: &[NvmlDevice]) -> Machine {
    let dir = unpacked(&fixture(&format!("{name}.tree")));
    linux_machine(&Root::at(dir.path()), nvidia, &|_| None)
}

/// A small machine of some files.
fn linux_of(files: &[(&str, &str)]) -> Machine {
    let tree = files.iter().fold(String::new(), |tree, (path, text)| format!("{tree}-- {path} --\n{text}\n"));
    linux_machine(&Root::at(unpacked(&tree).path()), &[], &|_| None)
}

fn cache(level: u8, size_bytes: u64, n_instances: usize) -> Cache {
    Cache { level, size_bytes, n_instances }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_string()).collect()
}

#[test]
fn intel_laptop_with_graphics_unit_and_npu() {
    let memory = Memory {
        total_bytes: 32_460_416 * KIB,
        available_bytes: 23_500_800 * KIB,
        swap_bytes: 8_388_604 * KIB,
        limit_bytes: None,
    };
    let expected = Machine {
        cpu: Cpu {
            name: "Intel(R) Core(TM) Ultra 7 258V".into(),
            architecture: "x86_64".into(),
            n_physical: 8,
            n_logical: 8,
            n_performance: Some(4),
            n_efficiency: Some(4),
            simd: words(&["AVX", "AVX2", "FMA", "F16C", "AVX-VNNI"]),
            caches: vec![
                cache(1, 32 * KIB, 4),
                cache(1, 48 * KIB, 4),
                cache(2, 2560 * KIB, 4),
                cache(2, 4096 * KIB, 1),
                cache(3, 12 * MIB, 1),
            ],
        },
        gpus: vec![Gpu {
            name: "Intel Arc Graphics 130V / 140V".into(),
            vendor: Vendor::Intel,
            memory_bytes: Some(memory.total_bytes / 2),
            free_bytes: Some(memory.total_bytes / 2),
            is_unified: true,
            is_integrated: true,
            driver: Some("xe".into()),
        }],
        memory,
        npus: vec![Npu { name: "Intel AI Boost (Lunar Lake)".into(), vendor: Vendor::Intel, driver: Some("intel_vpu".into()) }],
        os: Os {
            name: "Fedora Linux 42 (Workstation Edition)".into(),
            kernel: "6.14.9-300.fc42.x86_64".into(),
            is_container: false,
        },
        conditions: Conditions {
            power_source: PowerSource::Battery,
            battery_percent: Some(63.0),
            temperature_celsius: Some(54.0),
            other_load: None,
        },
        ..Machine::default()
    };
    let machine = recorded("intel_core_ultra_laptop", &[]);
    assert_eq!(machine, expected);
    assert_eq!(warnings(&machine), ["Intel Arc Graphics 130V / 140V shares main memory; half of it is assumed to be usable"]);
}

#[test]
fn amd_apu_with_unified_memory() {
    let gtt = 14_646_771_712;
    let expected = Machine {
        cpu: Cpu {
            name: "AMD Ryzen 7 7840U w/ Radeon 780M Graphics".into(),
            architecture: "x86_64".into(),
            n_physical: 8,
            n_logical: 16,
            n_performance: None,
            n_efficiency: None,
            simd: words(&["AVX", "AVX2", "FMA", "F16C", "AVX-512F", "AVX-512 VNNI", "AVX-512 BF16"]),
            caches: vec![cache(1, 32 * KIB, 8), cache(2, MIB, 8), cache(3, 16 * MIB, 1)],
        },
        memory: Memory { total_bytes: 28_606_976 * KIB, available_bytes: 20 * GIB, swap_bytes: 0, limit_bytes: None },
        gpus: vec![Gpu {
            name: "AMD Radeon 780M Graphics".into(),
            vendor: Vendor::Amd,
            memory_bytes: Some(4 * GIB + gtt),
            free_bytes: Some(4 * GIB - 512 * MIB + gtt - 98 * MIB),
            is_unified: true,
            is_integrated: true,
            driver: Some("amdgpu".into()),
        }],
        npus: vec![Npu { name: "AMD XDNA (Ryzen AI)".into(), vendor: Vendor::Amd, driver: None }],
        os: Os { name: "Ubuntu 24.04.2 LTS".into(), kernel: "6.11.0-26-generic".into(), is_container: false },
        conditions: Conditions {
            power_source: PowerSource::Mains,
            battery_percent: Some(50.0),
            temperature_celsius: Some(61.25),
            other_load: None,
        },
        ..Machine::default()
    };
    let machine = recorded("amd_ryzen_apu", &[]);
    assert_eq!(machine, expected);
    let without_driver: &[&str] = if cfg!(target_os = "linux") { &["AMD XDNA (Ryzen AI) has no driver loaded"] } else { &[] };
    assert_eq!(warnings(&machine), without_driver);
}

#[test]
fn desktop_with_two_nvidia_gpus() {
    let device = |name: &str, total: u64, free: u64| NvmlDevice {
        name: name.into(),
        total_bytes: Some(total),
        free_bytes: Some(free),
        driver: Some("550.163.01".into()),
    };
    let gpu = |name: &str, memory: Option<(u64, u64)>| Gpu {
        name: name.into(),
        vendor: Vendor::Nvidia,
        memory_bytes: memory.map(|(total, _)| total),
        free_bytes: memory.map(|(_, free)| free),
        is_unified: false,
        is_integrated: false,
        driver: Some("nvidia 550.163.01".into()),
    };
    let expected = Machine {
        cpu: Cpu {
            name: "12th Gen Intel(R) Core(TM) i5-12400F".into(),
            architecture: "x86_64".into(),
            n_physical: 6,
            n_logical: 12,
            n_performance: None,
            n_efficiency: None,
            simd: words(&["AVX", "AVX2", "FMA", "F16C", "AVX-VNNI"]),
            caches: vec![cache(1, 48 * KIB, 6), cache(2, 1280 * KIB, 6), cache(3, 18 * MIB, 1)],
        },
        memory: Memory {
            total_bytes: 65_684_164 * KIB,
            available_bytes: 58 * GIB,
            swap_bytes: 2_097_148 * KIB,
            limit_bytes: None,
        },
        gpus: vec![
            gpu("NVIDIA GeForce RTX 3090", Some((24 * GIB, 23 * GIB))),
            gpu("NVIDIA GeForce RTX 4060 Ti", Some((16 * GIB, 15 * GIB))),
        ],
        os: Os { name: "Debian GNU/Linux 12 (bookworm)".into(), kernel: "6.1.0-37-amd64".into(), is_container: false },
        ..Machine::default()
    };
    let nvidia =
        [device("NVIDIA GeForce RTX 4060 Ti", 16 * GIB, 15 * GIB), device("NVIDIA GeForce RTX 3090", 24 * GIB, 23 * GIB)];
    let machine = recorded("desktop_two_nvidia", &nvidia);
    assert_eq!(machine, expected);
    assert_eq!(warnings(&machine), [] as [&str; 0]);

    // Without the library the names are still known.
    let names = ["NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4060 Ti"];
    let machine = recorded("desktop_two_nvidia", &[]);
    assert_eq!(machine, Machine { gpus: names.map(|name| gpu(name, None)).to_vec(), ..expected });
    assert_eq!(warnings(&machine), names.map(|name| format!("GPU memory unknown, planned for CPU: {name}")));
}

#[test]
fn apple_m_series() {
    let memory = Memory { available_bytes: 9 * GIB, ..Memory::default() };
    let facts = Facts { memory, temperature_celsius: Some(48.5), ..Facts::default() };
    let machine = apple::machine(&fixture("apple_m3_pro.sysctl"), &facts);
    let expected = Machine {
        cpu: Cpu {
            name: "Apple M3 Pro".into(),
            architecture: "aarch64".into(),
            n_physical: 11,
            n_logical: 11,
            n_performance: Some(5),
            n_efficiency: Some(6),
            simd: words(&["NEON", "FP16", "dotprod", "i8mm", "BF16"]),
            caches: vec![cache(1, 64 * KIB, 6), cache(1, 128 * KIB, 5), cache(2, 4 * MIB, 1), cache(2, 16 * MIB, 1)],
        },
        memory: Memory { total_bytes: 18 * GIB, available_bytes: 9 * GIB, swap_bytes: 2 * GIB, limit_bytes: None },
        gpus: vec![Gpu {
            name: "Apple M3 Pro GPU".into(),
            vendor: Vendor::Apple,
            memory_bytes: Some(12 * GIB),
            free_bytes: Some(9 * GIB),
            is_unified: true,
            is_integrated: true,
            driver: Some("Metal".into()),
        }],
        npus: vec![Npu { name: "Apple Neural Engine".into(), vendor: Vendor::Apple, driver: None }],
        os: Os { name: "macOS 15.5".into(), kernel: "24.5.0".into(), is_container: false },
        conditions: Conditions { temperature_celsius: Some(48.5), ..Conditions::default() },
        ..Machine::default()
    };
    assert_eq!(machine, expected);
}

#[test]
fn snapdragon_x_on_linux() {
    let expected = Machine {
        cpu: Cpu {
            name: "Snapdragon X Elite (X1E80100)".into(),
            architecture: "aarch64".into(),
            n_physical: 12,
            n_logical: 12,
            n_performance: None,
            n_efficiency: None,
            simd: words(&["NEON", "FP16", "dotprod", "i8mm", "BF16"]),
            caches: vec![],
        },
        memory: Memory { total_bytes: 16_003_112 * KIB, available_bytes: 11 * GIB, swap_bytes: 0, limit_bytes: None },
        gpus: vec![Gpu {
            name: "Qualcomm Adreno X1-85".into(),
            vendor: Vendor::Qualcomm,
            memory_bytes: Some(8_001_556 * KIB),
            free_bytes: Some(8_001_556 * KIB),
            is_unified: true,
            is_integrated: true,
            driver: Some("adreno".into()),
        }],
        npus: vec![Npu { name: "Qualcomm Hexagon".into(), vendor: Vendor::Qualcomm, driver: Some("fastrpc".into()) }],
        os: Os { name: "Ubuntu 25.04".into(), kernel: "6.14.0-1006-qcom-x1e".into(), is_container: false },
        conditions: Conditions {
            power_source: PowerSource::Mains,
            battery_percent: Some(100.0),
            temperature_celsius: Some(45.2),
            other_load: None,
        },
        ..Machine::default()
    };
    let machine = recorded("snapdragon_x_elite", &[]);
    assert_eq!(machine, expected);
    let assumed = "Qualcomm Adreno X1-85 shares main memory; half of it is assumed to be usable";
    assert_eq!(warnings(&machine), ["cache sizes unknown", assumed]);
}

#[test]
fn snapdragon_x_on_windows() {
    let facts = Facts {
        cpu_name: "Snapdragon(R) X Elite - X1E78100 - Qualcomm(R) Oryon(TM) CPU".into(),
        architecture: "aarch64".into(),
        simd: words(&["NEON", "dotprod"]),
        n_physical: Some(12),
        n_logical: 12,
        memory: Memory { total_bytes: 16 * GIB, available_bytes: 6 * GIB, swap_bytes: GIB, limit_bytes: None },
        os: Os { name: "Windows 11 Home".into(), kernel: "26100".into(), is_container: false },
        gpus: vec![GpuFacts {
            vendor: "Qualcomm".into(),
            name: "Qualcomm(R) Adreno(TM) X1-85 GPU".into(),
            total_bytes: Some(0),
            used_bytes: Some(0),
        }],
        temperature_celsius: None,
    };
    let expected = Machine {
        cpu: Cpu {
            name: facts.cpu_name.clone(),
            architecture: "aarch64".into(),
            n_physical: 12,
            n_logical: 12,
            simd: facts.simd.clone(),
            ..Cpu::default()
        },
        memory: facts.memory.clone(),
        gpus: vec![Gpu {
            name: "Qualcomm(R) Adreno(TM) X1-85 GPU".into(),
            vendor: Vendor::Qualcomm,
            memory_bytes: Some(8 * GIB),
            free_bytes: Some(6 * GIB),
            is_unified: true,
            is_integrated: true,
            driver: None,
        }],
        npus: vec![Npu { name: "Qualcomm Hexagon".into(), vendor: Vendor::Qualcomm, driver: None }],
        os: facts.os.clone(),
        ..Machine::default()
    };
    assert_eq!(portable::machine(&facts, &[]), expected);
}

#[test]
fn container_limited_to_4_gib_and_2_cpus() {
    let expected = Machine {
        cpu: Cpu {
            name: "AMD EPYC 7B13".into(),
            architecture: "x86_64".into(),
            n_physical: 2,
            n_logical: 2,
            n_performance: None,
            n_efficiency: None,
            simd: words(&["AVX", "AVX2", "FMA", "F16C"]),
            caches: vec![],
        },
        memory: Memory {
            total_bytes: 4 * GIB,
            available_bytes: 4 * GIB - 1536 * MIB + 384 * MIB,
            swap_bytes: 0,
            limit_bytes: Some(4 * GIB),
        },
        os: Os { name: "Debian GNU/Linux 12 (bookworm)".into(), kernel: "5.15.0-1060-gke".into(), is_container: true },
        ..Machine::default()
    };
    assert_eq!(recorded("container_4_gib", &[]), expected);
}

#[test]
fn the_lowest_limit_of_all_groups_counts() {
    let meminfo = ("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB");
    let check = |group: &str, limits: &[(&str, &str)], expected_gib: Option<u64>| {
        let files: Vec<(&str, &str)> =
            [meminfo, ("/proc/self/cgroup", group)].into_iter().chain(limits.iter().copied()).collect();
        let memory = linux_of(&files).memory;
        assert_eq!(memory.limit_bytes.map(|limit| limit / GIB), expected_gib, "{group} {limits:?}");
        assert_eq!(memory.total_bytes / GIB, expected_gib.unwrap_or(16));
        assert!(memory.available_bytes <= memory.total_bytes);
    };
    let outer = ("/sys/fs/cgroup/a/memory.max", "2147483648");
    let inner = ("/sys/fs/cgroup/a/b/memory.max", "8589934592");
    check("0::/a/b", &[outer, inner], Some(2));
    check("0::/a/b", &[inner], Some(8));
    check("0::/a", &[inner], None);
    check("0::/../../a/b", &[outer], Some(2));
    check("0::/a/b", &[("/sys/fs/cgroup/a/b/memory.max", "max")], None);
    check("0::/a/b", &[("/sys/fs/cgroup/a/b/memory.max", "99999999999999")], None);
    check("0::/", &[("/sys/fs/cgroup/unified/memory.max", "1073741824")], Some(1));
    // Version 1, as Docker mounts it without a view of its own.
    check("4:memory:/docker/0123\n1:cpu:/", &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3221225472")], Some(3));
    check("4:memory:/x", &[("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712")], None);
    check("rubbish", &[], None);
}

#[test]
fn quota_and_mask_reduce_the_threads() {
    let online = ("/sys/devices/system/cpu/online", "0-15");
    let check = |files: &[(&str, &str)], expected: usize| {
        let files: Vec<(&str, &str)> = std::iter::once(online).chain(files.iter().copied()).collect();
        assert_eq!(linux_of(&files).cpu.n_logical, expected, "{files:?}");
    };
    check(&[], 16);
    check(&[("/sys/fs/cgroup/cpu.max", "250000 100000")], 3);
    check(&[("/sys/fs/cgroup/cpu.max", "10000 100000")], 1);
    check(&[("/sys/fs/cgroup/cpu.max", "max 100000")], 16);
    check(&[("/sys/fs/cgroup/cpu.max", "100000 0")], 16);
    check(&[("/sys/fs/cgroup/cpu.max", "9900000 100000")], 16);
    check(&[("/proc/self/status", "Cpus_allowed_list:\t2,4-6")], 4);
    check(&[("/proc/self/status", "Cpus_allowed_list:\t99")], 16);
    let v1 =
        [("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000"), ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")];
    check(&v1, 4);
    check(&[("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"), ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")], 16);
}

#[test]
fn big_and_little_cores_by_capacity() {
    let capacities = [("0", "1024"), ("1", "900"), ("2", "414"), ("3", "414"), ("4", "414")];
    let files: Vec<(String, &str)> = capacities
        .iter()
        .flat_map(|(cpu, capacity)| {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
            [(format!("{folder}/cpu_capacity"), *capacity), (format!("{folder}/topology/core_cpus_list"), *cpu)]
        })
        .chain([("/sys/devices/system/cpu/online".to_string(), "0-4")])
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let cpu = linux_of(&files).cpu;
    assert_eq!((cpu.n_physical, cpu.n_performance, cpu.n_efficiency), (5, Some(2), Some(3)));
}

#[test]
fn cards_and_parts_of_the_processor_are_told_apart() {
    let check = |cpu: &str, ids: (&str, &str, &str), files: &[(&str, &str)], expected: &[(&str, bool, Option<u64>)]| {
        let (address, vendor, device) = ids;
        let folder = format!("/sys/bus/pci/devices/{address}");
        let mut all = vec![
            ("/proc/meminfo".to_string(), "MemTotal: 33554432 kB\nMemAvailable: 16777216 kB".to_string()),
            ("/proc/cpuinfo".to_string(), format!("processor : 0\nmodel name : {cpu}")),
            (format!("{folder}/class"), "0x030000".to_string()),
            (format!("{folder}/vendor"), vendor.to_string()),
            (format!("{folder}/device"), device.to_string()),
        ];
        all.extend(files.iter().map(|(file, text)| (format!("{folder}/{file}"), (*text).to_string())));
        let all: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let gpus = linux_of(&all).gpus;
        let found: Vec<_> =
            gpus.iter().map(|gpu| (gpu.name.as_str(), gpu.is_unified, gpu.memory_bytes.map(|size| size / MIB))).collect();
        assert_eq!(found, expected, "{cpu} {ids:?}");
        assert!(gpus.iter().all(|gpu| gpu.is_integrated == gpu.is_unified));
    };
    let memory = |vram: &'static str| [("mem_info_vram_total", vram), ("mem_info_gtt_total", "17179869184")];
    let amd = ("0000:03:00.0", "0x1002", "0x73df");
    // A desktop processor with a small graphics unit that its name does not tell.
    check(
        "AMD Ryzen 9 7950X 16-Core Processor",
        amd,
        &memory("536870912"),
        &[("AMD Radeon Graphics (1002:73df)", true, Some(16896))],
    );
    check(
        "AMD Ryzen 9 7950X 16-Core Processor",
        amd,
        &memory("12868124672"),
        &[("AMD graphics card (1002:73df)", false, Some(12272))],
    );
    // An owner has given an APU half of 128 GiB.
    check("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", amd, &memory("68719476736"), &[("AMD Radeon 8060S", true, Some(81920))]);
    // A card beside an APU, and a card with little memory.
    let card = [("mem_busy_percent", "0"), ("mem_info_vram_total", "2147483648"), ("product_name", "Radeon Pro W6300")];
    check("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", amd, &card, &[("AMD Radeon Pro W6300", false, Some(2048))]);
    check("", ("0000:03:00.0", "0x8086", "0xe20b"), &[], &[("Intel graphics card (8086:e20b)", false, None)]);
    check("", ("0000:00:02.0", "0x8086", "0x7d55"), &[], &[("Intel graphics (8086:7d55)", true, Some(16384))]);
    // Emulated and service displays.
    check("", ("0000:00:02.0", "0x1234", "0x1111"), &[], &[]);
    check("", ("0000:04:00.0", "0x1a03", "0x2000"), &[], &[]);
}

#[test]
fn memory_that_sysfs_does_not_tell_is_asked_for_by_address() {
    let folder = "/sys/bus/pci/devices/0000:03:00.0";
    let tree = format!("-- {folder}/class --\n0x030000\n-- {folder}/vendor --\n0x8086\n-- {folder}/device --\n0xe20b\n");
    let dir = unpacked(&tree);
    let machine = linux_machine(&Root::at(dir.path()), &[], &|address| (address == "0000:03:00.0").then_some((12 * GIB, None)));
    assert_eq!((machine.gpus[0].memory_bytes, machine.gpus[0].free_bytes), (Some(12 * GIB), None));
}

#[test]
fn an_empty_system_is_unknown_in_all_parts() {
    let dir = tempfile::tempdir().unwrap();
    for root in [Root::at(dir.path()), Root::at(dir.path().join("missing"))] {
        let machine = linux_machine(&root, &[], &|_| None);
        let found = machine.warnings.clone();
        assert_eq!(found, ["number of physical cores unknown, taken as the number of threads", "name of the processor unknown"]);
        let cpu = Cpu { n_physical: 1, n_logical: 1, ..Cpu::default() };
        assert_eq!(machine, Machine { cpu, warnings: found, ..Machine::default() });
        assert_eq!(warnings(&machine), ["size of main memory unknown: nothing can be said to fit", "cache sizes unknown"]);
    }
    assert_eq!(apple::machine("", &Facts::default()).cpu.n_logical, 1);
}

/// Every text of every recorded machine, replaced by rubbish: numbers out of range, long lines, bytes that are no text, folders.
#[test]
fn rubbish_never_stops_a_probe() {
    let long = "9".repeat(100_000);
    let rubbish: [&[u8]; 9] = [
        b"",
        b"\xff\xfe\x00\x80\n\xc3",
        b"18446744073709551615",
        b"-1",
        b"0-18446744073709551615,,-,5-",
        b":=[]] : = -- \\0 ]x[",
        b"processor : 4294967296\ncore id : 9\nprocessor : 3\nflags :\nMemTotal: 18446744073709551615 kB",
        b"Cpus_allowed_list:\xf0\x9f\x92\xa9 max max\n0::/../..//a/../\nDRIVER",
        long.as_bytes(),
    ];
    let names = ["intel_core_ultra_laptop", "amd_ryzen_apu", "desktop_two_nvidia", "snapdragon_x_elite", "container_4_gib"];
    let trees = names.map(|name| fixture(&format!("{name}.tree"))).concat();
    let paths = trees.lines().filter_map(|line| line.strip_prefix("-- /")?.strip_suffix(" --"));
    // All machines at once; one processor's folder stands for all, because thousands of files would test the disk.
    let paths: BTreeSet<&str> = paths.filter(|path| !path.contains("/cpu/cpu") || path.contains("/cpu0/")).collect();
    let dir = tempfile::tempdir().unwrap();
    for path in &paths {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
    }
    for bytes in rubbish {
        for path in &paths {
            fs::write(dir.path().join(path), bytes).unwrap();
        }
        let machine = linux_machine(&Root::at(dir.path()), &[], &|_| None);
        assert!((1..=machine.cpu.n_logical).contains(&machine.cpu.n_physical), "{machine:?}");
        assert!(machine.conditions.battery_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        let _ = warnings(&machine);
    }
    for path in &paths {
        fs::remove_file(dir.path().join(path)).unwrap();
        fs::create_dir(dir.path().join(path)).unwrap();
    }
    assert_eq!(linux_machine(&Root::at(dir.path()), &[], &|_| None).memory, Memory::default());
    for bytes in rubbish {
        let text = String::from_utf8_lossy(bytes);
        let _ = apple::machine(&text, &Facts::default());
        let _ = apple::machine(&fixture("apple_m3_pro.sysctl").replace(": 1", &format!(": {text}")), &Facts::default());
    }
}

#[test]
fn this_machine() {
    let dir = tempfile::tempdir().unwrap();
    // The first call of a process also loads libraries.
    let started = Instant::now();
    let machine = detect(&dir.path().join("not/yet"));
    let elapsed = started.elapsed();
    println!("{elapsed:?} {machine:#?}");
    assert!((1..=machine.cpu.n_logical).contains(&machine.cpu.n_physical));
    assert_eq!(machine.cpu.architecture, std::env::consts::ARCH);
    assert!(machine.memory.total_bytes > 0 && machine.memory.available_bytes <= machine.memory.total_bytes);
    assert!(machine.disk.is_some_and(|disk| disk.free_bytes <= disk.total_bytes && !disk.mount_point.is_empty()));
    assert!(!machine.os.name.is_empty() && !machine.os.kernel.is_empty());
    assert_eq!(machine.runtimes.iter().map(|runtime| runtime.framework).collect::<Vec<_>>(), Framework::ALL);
    assert_eq!(machine.runtimes, detect_runtimes());
    assert_eq!(machine.runtimes[0].version.is_some(), cfg!(feature = "llama-cpp"));
    assert!(machine.gpus.is_sorted_by_key(|gpu| std::cmp::Reverse(gpu.memory_bytes)));
    assert_eq!((machine.bandwidth, machine.conditions.other_load), (None, None));
    // Generous: the promise of 300 ms is for a quiet machine.
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}
