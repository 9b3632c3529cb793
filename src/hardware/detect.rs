//! All probes together.

use std::path::Path;

use super::gpu::Surroundings;
use super::nvml::NvmlDevice;
use super::root::Root;
use super::runtimes::{self, Platform};
use super::{Machine, Npu, Runtime, Vendor, apple, cpu, disk, gpu, memory, npu, nvml, os, portable, power};

use crate::path_text;

/// What this machine is, without the measurements of bandwidth, disk and load; `output_dir` chooses the disk and need not exist.
///
/// Takes some tens of milliseconds and never fails: what is not found is `None`, empty, or named in `warnings`.
#[must_use]
pub fn detect(output_dir: &Path) -> Machine {
    let mut machine = if cfg!(target_os = "linux") {
        let mut machine = linux_machine(&Root::real(), &nvml::devices(), &portable::video_memory);
        // An architecture without a known list of features.
        if machine.cpu.architecture.is_empty() {
            machine.cpu.architecture = std::env::consts::ARCH.into();
        }
        machine
    } else if let Some(sysctl) = cfg!(target_os = "macos").then(apple::sysctl).flatten() {
        let machine = apple::machine(&sysctl, &portable::facts());
        Machine { conditions: apple::conditions(), ..machine }
    } else {
        portable::machine(&portable::facts(), &nvml::devices())
    };
    machine.disk = disk::disk_of(output_dir);
    machine.runtimes = runtimes_beside(&machine.npus);
    if machine.disk.is_none() {
        machine.warnings.push(format!("free space at {} unknown", path_text::shown(output_dir)));
    }
    machine.warnings.extend(warnings(&machine));
    machine
}

/// The runtimes of all five frameworks, found or with a line that says how to get them.
#[must_use]
pub fn detect_runtimes() -> Vec<Runtime> {
    let npus = if cfg!(target_os = "linux") {
        npu::probe(&Root::real())
    } else {
        npu::by_cpu_name(&portable::facts().cpu_name).into_iter().collect()
    };
    runtimes_beside(&npus)
}

fn runtimes_beside(npus: &[Npu]) -> Vec<Runtime> {
    let platform = Platform {
        is_apple_silicon: cfg!(all(target_os = "macos", target_arch = "aarch64")),
        has_hexagon: npus.iter().any(|npu| npu.vendor == Vendor::Qualcomm),
        has_llama_cpp: cfg!(feature = "llama-cpp"),
    };
    runtimes::find(&runtimes::places(), platform)
}

/// The Linux machine below `root`. Disk, runtimes and the warnings that follow from the rest are not looked for.
pub(super) fn linux_machine(root: &Root, nvidia: &[NvmlDevice], video_memory: gpu::VideoMemory<'_>) -> Machine {
    let found = cpu::probe(root);
    let memory = memory::probe(root);
    let around = Surroundings { cpu_name: &found.cpu.name, memory: &memory, nvidia, video_memory };
    let gpus = gpu::probe(root, &around);
    let mut warnings = Vec::new();
    if !found.knows_cores {
        warnings.push("number of physical cores unknown, taken as the number of threads".to_string());
    }
    if found.cpu.name.is_empty() {
        warnings.push("name of the processor unknown".to_string());
    }
    Machine {
        os: os::probe(root, memory.limit_bytes.is_some()),
        npus: npu::probe(root),
        conditions: power::probe(root),
        cpu: found.cpu,
        memory,
        gpus,
        warnings,
        ..Machine::default()
    }
}

/// What the facts leave open, and what is assumed instead.
pub(super) fn warnings(machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    if machine.memory.total_bytes == 0 {
        warnings.push("size of main memory unknown: nothing can be said to fit".to_string());
    }
    if machine.cpu.caches.is_empty() {
        warnings.push("cache sizes unknown".to_string());
    }
    for gpu in &machine.gpus {
        if gpu.memory_bytes.is_none() {
            warnings.push(format!("GPU memory unknown, planned for CPU: {}", gpu.name));
        } else if gpu.is_unified && !matches!(gpu.vendor, Vendor::Apple | Vendor::Amd) {
            warnings.push(format!("{} shares main memory; half of it is assumed to be usable", gpu.name));
        }
    }
    // Windows and macOS show no driver of an NPU; on Linux one without a driver cannot be used.
    let without_driver = machine.npus.iter().filter(|npu| cfg!(target_os = "linux") && npu.driver.is_none());
    warnings.extend(without_driver.map(|npu| format!("{} has no driver loaded", npu.name)));
    warnings
}
