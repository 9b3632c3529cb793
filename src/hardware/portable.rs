//! Windows, macOS and the rest: what `sysinfo` tells, first as plain values, then as a machine.

use std::path::Path;
use std::time::Duration;

use sysinfo::{
    Components, CpuRefreshKind, Disks, Gpus, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

use super::nvml::{self, NvmlDevice};
use super::{Conditions, Cpu, Disk, Gpu, Machine, Memory, Os, Vendor, cpu, gpu, load, npu, pci, power, simd};
use crate::error::Result;
use crate::monitor::Monitor;
use crate::path_text;

/// Windows gives an integrated GPU at most 1 GiB of its own, unless it is an APU, which its name tells.
const SMALL_VRAM_BYTES: u64 = 1 << 30;

/// What the system tells, before anything is concluded from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts {
    /// The processor's own name.
    pub(super) cpu_name: String,
    /// `x86_64` or `aarch64`.
    pub(super) architecture: String,
    /// Instruction sets, in the usual spelling.
    pub(super) simd: Vec<String>,
    /// Physical cores; `None` when unknown.
    pub(super) n_physical: Option<usize>,
    /// Hardware threads that this process may use.
    pub(super) n_logical: usize,
    /// Main memory, all of it.
    pub(super) memory: Memory,
    /// Name, version, kernel.
    pub(super) os: Os,
    /// Graphics processors, in any order.
    pub(super) gpus: Vec<GpuFacts>,
    /// The hottest CPU sensor.
    pub(super) temperature_celsius: Option<f32>,
}

/// A graphics processor as `sysinfo` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GpuFacts {
    /// The maker's name in any spelling: `Advanced Micro Devices, Inc. [AMD/ATI]`.
    pub(super) vendor: String,
    /// Product name.
    pub(super) name: String,
    /// Dedicated memory; `None` when unknown.
    pub(super) total_bytes: Option<u64>,
    /// Used part of it.
    pub(super) used_bytes: Option<u64>,
}

/// Asks the system.
pub(super) fn facts() -> Facts {
    let kinds = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything()).with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kinds).ok();
    let memory = system.as_ref().map_or_else(Memory::default, |system| Memory {
        total_bytes: system.total_memory(),
        available_bytes: system.available_memory(),
        swap_bytes: system.total_swap(),
        limit_bytes: None,
    });
    let name = system.as_ref().and_then(|system| Some(cpu::single_spaced(system.cpus().first()?.brand())));
    Facts {
        cpu_name: name.unwrap_or_default(),
        architecture: std::env::consts::ARCH.into(),
        simd: simd::of_this_processor(),
        n_physical: System::physical_core_count().ok(),
        n_logical: std::thread::available_parallelism().map_or(1, usize::from),
        memory,
        os: Os {
            name: System::long_os_version().unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
            is_container: false,
        },
        gpus: gpus(),
        temperature_celsius: temperature(),
    }
}

/// Concludes the machine from what the system tells and what NVML lists. Disk and runtimes are not looked for.
pub(super) fn machine(facts: &Facts, nvidia: &[NvmlDevice]) -> Machine {
    let n_logical = facts.n_logical.max(1);
    let mut gpus: Vec<Gpu> = nvidia.iter().map(nvml::gpu).collect();
    let others = facts.gpus.iter().map(|found| gpu_from(found, facts));
    gpus.extend(others.filter(|gpu| gpu.vendor != Vendor::Nvidia || nvidia.is_empty()));
    gpu::sort(&mut gpus);
    Machine {
        cpu: Cpu {
            name: facts.cpu_name.clone(),
            architecture: facts.architecture.clone(),
            n_physical: facts.n_physical.unwrap_or(n_logical).clamp(1, n_logical),
            n_logical,
            simd: facts.simd.clone(),
            ..Cpu::default()
        },
        memory: facts.memory.clone(),
        gpus,
        npus: npu::by_cpu_name(&facts.cpu_name).into_iter().collect(),
        os: facts.os.clone(),
        conditions: Conditions { temperature_celsius: facts.temperature_celsius, ..Conditions::default() },
        ..Machine::default()
    }
}

/// Memory of the card at a PCI address, total and free, by Vulkan.
pub(super) fn video_memory(address: &str) -> Option<(u64, Option<u64>)> {
    let gpus = Gpus::new_with_refreshed_list().ok()?;
    let gpu = gpus.iter().find(|gpu| gpu.pci().to_string() == address)?;
    let total = gpu.total_memory().filter(|total| *total > 0)?;
    Some((total, gpu.used_memory().map(|used| total.saturating_sub(used))))
}

/// The disk with the longest mount point above `folder`.
pub(super) fn disk_of(folder: &Path) -> Option<Disk> {
    // Windows resolves links to paths that begin with `\\?\`, mount points do not.
    let text = path_text::searchable(folder.as_os_str());
    let folder = Path::new(text.strip_prefix(r"\\?\").unwrap_or(&text));
    let disks = Disks::new_with_refreshed_list().ok()?;
    let disk = disks.iter().filter(|disk| folder.starts_with(disk.mount_point()));
    let disk = disk.max_by_key(|disk| disk.mount_point().components().count())?;
    Some(Disk {
        mount_point: path_text::shown(disk.mount_point()),
        file_system: path_text::shown(Path::new(disk.file_system())),
        total_bytes: disk.total_space(),
        free_bytes: disk.available_space(),
        write_bytes_per_sec: None,
    })
}

/// Temperature alone: `sysinfo` tells nothing about power.
pub(super) fn conditions() -> Conditions {
    Conditions { temperature_celsius: temperature(), ..Conditions::default() }
}

/// Part of all processors that other programs used over `duration`, 0 to 1; `None` where the system does not tell. `duration`
/// is extended to the shortest time that the system can measure.
pub(super) fn sample_load(duration: Duration, monitor: &Monitor) -> Result<Option<f32>> {
    let Ok(mut system) = System::new() else { return Ok(None) };
    let own = [Pid::from_u32(std::process::id())];
    let refresh = |system: &mut System| {
        system.refresh_cpu_usage();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&own), true, ProcessRefreshKind::nothing().with_cpu());
    };
    refresh(&mut system);
    load::nap(duration.max(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL), monitor)?;
    refresh(&mut system);
    let n_cpus = system.cpus().len();
    if n_cpus == 0 {
        return Ok(None);
    }
    // A process that keeps two processors busy counts 200 per cent.
    #[allow(clippy::cast_precision_loss, reason = "a number of processors")]
    let own_percent = own.first().and_then(|pid| system.process(*pid)).map_or(0.0, |process| process.cpu_usage() / n_cpus as f32);
    Ok(Some(((system.global_cpu_usage() - own_percent) / 100.0).clamp(0.0, 1.0)))
}

fn gpus() -> Vec<GpuFacts> {
    let Ok(gpus) = Gpus::new_with_refreshed_list() else { return Vec::new() };
    let facts = gpus.iter().map(|gpu| GpuFacts {
        vendor: gpu.vendor().unwrap_or_default().to_string(),
        name: cpu::single_spaced(gpu.model().unwrap_or_default()),
        total_bytes: gpu.total_memory(),
        used_bytes: gpu.used_memory(),
    });
    // Windows' software renderer.
    facts.filter(|gpu| !gpu.name.contains("Basic Render")).collect()
}

fn temperature() -> Option<f32> {
    let components = Components::new_with_refreshed_list().ok()?;
    power::hottest(
        components.iter().filter(|part| power::is_cpu_sensor(part.label())).filter_map(sysinfo::Component::temperature),
    )
}

fn gpu_from(found: &GpuFacts, facts: &Facts) -> Gpu {
    let vendor = vendor_from(&format!("{} {}", found.vendor, found.name));
    let is_apu = vendor == Vendor::Amd
        && (found.name.ends_with("Graphics") || facts.cpu_name.contains("Ryzen AI"))
        && !found.name.contains("RX");
    let is_small = found.total_bytes.is_some_and(|total| total <= SMALL_VRAM_BYTES);
    let is_integrated = match vendor {
        Vendor::Apple | Vendor::Qualcomm => true,
        Vendor::Nvidia => false,
        Vendor::Amd => is_apu || is_small,
        Vendor::Intel | Vendor::Other => is_small,
    };
    let dedicated = found.total_bytes.filter(|total| *total > 0);
    let (memory_bytes, free_bytes) = if is_integrated {
        gpu::shared_bytes(&facts.memory)
    } else {
        (dedicated, dedicated.zip(found.used_bytes).map(|(total, used)| total.saturating_sub(used)))
    };
    let name = if found.name.is_empty() { "graphics" } else { &found.name };
    Gpu {
        name: pci::with_vendor(vendor, name),
        vendor,
        memory_bytes,
        free_bytes,
        is_unified: is_integrated,
        is_integrated,
        driver: None,
    }
}

fn vendor_from(text: &str) -> Vendor {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match () {
        () if has(&["nvidia", "geforce"]) => Vendor::Nvidia,
        () if has(&["amd", "advanced micro", "radeon"]) => Vendor::Amd,
        () if has(&["intel"]) => Vendor::Intel,
        () if has(&["qualcomm", "adreno"]) => Vendor::Qualcomm,
        () if has(&["apple"]) => Vendor::Apple,
        () => Vendor::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrated_and_dedicated_are_told_apart() {
        let memory = Memory { total_bytes: 32 << 30, available_bytes: 20 << 30, ..Memory::default() };
        let facts = Facts { cpu_name: "AMD Ryzen 7 7840U".into(), memory, ..Facts::default() };
        let check = |vendor: &str, name: &str, total_mib: u64, expected: (Vendor, bool, u64)| {
            let found =
                GpuFacts { vendor: vendor.into(), name: name.into(), total_bytes: Some(total_mib << 20), used_bytes: None };
            let gpu = gpu_from(&found, &facts);
            assert_eq!((gpu.vendor, gpu.is_unified, gpu.memory_bytes.unwrap_or(0) >> 20), expected, "{name}");
            assert_eq!(gpu.is_integrated, gpu.is_unified);
        };
        check("Intel Corporation", "Intel(R) Arc(TM) 140V GPU (16GB)", 128, (Vendor::Intel, true, 16384));
        check("Intel Corporation", "Intel(R) Arc(TM) B580 Graphics", 12216, (Vendor::Intel, false, 12216));
        check("AMD", "AMD Radeon 780M Graphics", 4096, (Vendor::Amd, true, 16384));
        check("AMD", "AMD Radeon(TM) Graphics", 512, (Vendor::Amd, true, 16384));
        check("Advanced Micro Devices, Inc. [AMD/ATI]", "AMD Radeon RX 7900 XTX", 24560, (Vendor::Amd, false, 24560));
        check("NVIDIA Corporation", "NVIDIA GeForce MX150", 1024, (Vendor::Nvidia, false, 1024));
        check("Qualcomm", "Qualcomm(R) Adreno(TM) X1-85 GPU", 0, (Vendor::Qualcomm, true, 16384));
        check("Matrox", "G200", 16, (Vendor::Other, true, 16384));
    }

    #[test]
    fn this_machine_is_told_by_the_portable_way_too() {
        let facts = facts();
        let machine = machine(&facts, &[]);
        assert!(machine.memory.total_bytes > 0 && machine.memory.available_bytes <= machine.memory.total_bytes, "{facts:?}");
        assert!((1..=machine.cpu.n_logical).contains(&machine.cpu.n_physical));
        assert!(!machine.os.name.is_empty());
    }

    #[test]
    fn the_portable_load_is_a_part_of_one() {
        let load = sample_load(Duration::ZERO, &Monitor::silent()).unwrap();
        assert!(load.is_none_or(|load| (0.0..=1.0).contains(&load)), "{load:?}");
    }
}
