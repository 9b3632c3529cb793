//! Graphics processors on Linux: NVML for NVIDIA, sysfs for the others, on PCI and inside ARM chips.

use super::nvml::{self, NvmlDevice};
use super::pci::{self, PciDevice};
use super::root::Root;
use super::{Gpu, Memory, Vendor};

/// Up to this size memory is taken for an APU's carve-out: these are 64 MiB to 2 GiB unless the owner raises them, and graphics
/// cards have had more since 2016.
const SMALL_VRAM_BYTES: u64 = 2 << 30;

/// Display adapters that compute nothing: emulators (1234, 1af4, 1b36, 15ad, 1414, 80ee, 1013) and service processors (1a03, 102b).
const DISPLAY_ONLY: [u32; 9] = [0x1234, 0x1af4, 0x1b36, 0x15ad, 0x1414, 0x80ee, 0x1013, 0x1a03, 0x102b];

/// Names of Adreno GPUs by their chip id in the device tree (`qcom,adreno-43050c01`).
///
/// Source: x1e80100.dtsi and x1p42100.dtsi, Linux 6.16.
const ADRENO: [(&str, &str); 2] = [("43050c01", "Qualcomm Adreno X1-85"), ("43030c00", "Qualcomm Adreno X1-45")];

/// Memory of a graphics card that sysfs does not tell, total and free in bytes, by PCI address.
pub(super) type VideoMemory<'a> = &'a dyn Fn(&str) -> Option<(u64, Option<u64>)>;

/// What a probe of graphics processors needs to know about the rest of the machine.
pub(super) struct Surroundings<'a> {
    /// The processor's name; AMD writes the name of the graphics unit into it.
    pub(super) cpu_name: &'a str,
    /// Main memory, which unified GPUs share.
    pub(super) memory: &'a Memory,
    /// What NVML lists.
    pub(super) nvidia: &'a [NvmlDevice],
    /// Asked only for cards whose memory sysfs does not tell.
    pub(super) video_memory: VideoMemory<'a>,
}

/// All graphics processors that can compute, the one with most memory first.
pub(super) fn probe(root: &Root, around: &Surroundings<'_>) -> Vec<Gpu> {
    let devices = pci::devices(root);
    let mut gpus: Vec<Gpu> = around.nvidia.iter().map(nvml::gpu).collect();
    for device in devices.iter().filter(|device| device.class >> 16 == 0x03 && !DISPLAY_ONLY.contains(&device.vendor)) {
        match device.vendor {
            pci::NVIDIA if !around.nvidia.is_empty() => {}
            pci::NVIDIA => gpus.push(nvidia_without_library(root, device, around)),
            pci::AMD_GRAPHICS => gpus.push(amd(root, device, around)),
            pci::INTEL => gpus.push(intel(root, device, around)),
            _ => gpus.push(card(root, device, around, None)),
        }
    }
    gpus.extend(in_chip(root, around.memory));
    sort(&mut gpus);
    gpus
}

/// Most memory first; with equal memory a card before a part of the processor.
pub(super) fn sort(gpus: &mut [Gpu]) {
    gpus.sort_by_key(|gpu| (std::cmp::Reverse(gpu.memory_bytes), gpu.is_unified));
}

/// What a GPU without a limit of its own may use of main memory: half.
///
/// Source: `xe_ttm_sys_mgr_init` and `ttm_device_init`, Linux 6.12, and Windows' shared GPU memory. Mesa offers up to three quarters.
pub(super) fn shared_bytes(memory: &Memory) -> (Option<u64>, Option<u64>) {
    let limit = (memory.total_bytes > 0).then_some(memory.total_bytes / 2);
    (limit, limit.map(|limit| limit.min(memory.available_bytes)))
}

/// Intel: the graphics unit of the processor is always device 2 on the first bus, a card is elsewhere.
fn intel(root: &Root, device: &PciDevice, around: &Surroundings<'_>) -> Gpu {
    if !device.address.ends_with(":00:02.0") {
        return card(root, device, around, None);
    }
    let (memory_bytes, free_bytes) = shared_bytes(around.memory);
    Gpu {
        name: name(root, device, "graphics"),
        vendor: Vendor::Intel,
        memory_bytes,
        free_bytes,
        is_unified: true,
        is_integrated: true,
        driver: device.driver.clone(),
    }
}

/// AMD: an APU has a carve-out of main memory (`vram`) and may use more of it (`gtt`), a card has memory of its own.
///
/// The driver shows `mem_busy_percent` for cards only (`amdgpu_pm.c`, Linux 6.12, hides it for `AMD_IS_APU`); without it, a small carve-out
/// or a processor named after its graphics unit tells an APU.
fn amd(root: &Root, device: &PciDevice, around: &Surroundings<'_>) -> Gpu {
    let file = |name: &str| root.number::<u64>(&format!("{}/{name}", device.folder));
    let total = file("mem_info_vram_total");
    let free = total.zip(file("mem_info_vram_used")).map(|(total, used)| total.saturating_sub(used));
    let unit = around.cpu_name.split_once("w/ ").map(|(_, unit)| unit).filter(|unit| unit.contains("Radeon"));
    let is_named = unit.is_some() || around.cpu_name.contains("Radeon") || around.cpu_name.contains("Ryzen AI");
    let is_card = root.exists(&format!("{}/mem_busy_percent", device.folder))
        || !(is_named || total.is_some_and(|total| total <= SMALL_VRAM_BYTES));
    if is_card {
        return card(root, device, around, total.map(|total| (total, free)));
    }
    let gtt = file("mem_info_gtt_total");
    let gtt_free = gtt.map(|gtt| gtt.saturating_sub(file("mem_info_gtt_used").unwrap_or(0)).min(around.memory.available_bytes));
    Gpu {
        name: unit.map_or_else(|| name(root, device, "Radeon Graphics"), |unit| pci::with_vendor(Vendor::Amd, unit)),
        vendor: Vendor::Amd,
        memory_bytes: total.zip(gtt).map(|(total, gtt)| total.saturating_add(gtt)),
        free_bytes: free.zip(gtt_free).map(|(free, gtt)| free.saturating_add(gtt)),
        is_unified: true,
        is_integrated: true,
        driver: device.driver.clone(),
    }
}

/// NVIDIA without NVML: the kernel module tells the name, but not the memory.
fn nvidia_without_library(root: &Root, device: &PciDevice, around: &Surroundings<'_>) -> Gpu {
    let information = root.text(&format!("/proc/driver/nvidia/gpus/{}/information", device.address)).unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("Model:")).map(str::trim).filter(|model| !model.is_empty());
    let mut gpu = card(root, device, around, None);
    if let Some(model) = model {
        gpu.name = pci::with_vendor(Vendor::Nvidia, model);
    }
    if let Some(version) = root.text("/sys/module/nvidia/version") {
        gpu.driver = Some(format!("nvidia {version}"));
    }
    gpu
}

/// A card with memory of its own, in bytes, total and free, where that is known.
fn card(root: &Root, device: &PciDevice, around: &Surroundings<'_>, memory: Option<(u64, Option<u64>)>) -> Gpu {
    let memory = memory.or_else(|| (around.video_memory)(&device.address));
    Gpu {
        name: name(root, device, "graphics card"),
        vendor: pci::vendor(device.vendor),
        memory_bytes: memory.map(|(total, _)| total),
        free_bytes: memory.and_then(|(_, free)| free),
        is_unified: false,
        is_integrated: false,
        driver: device.driver.clone(),
    }
}

/// The name that the device or the list of PCI ids gives, or the maker and the ids.
fn name(root: &Root, device: &PciDevice, kind: &str) -> String {
    let told = root.text(&format!("{}/product_name", device.folder)).filter(|name| !name.is_empty());
    let told = told.map(|name| pci::with_vendor(pci::vendor(device.vendor), &name));
    told.or_else(|| pci::listed_name(root, device.vendor, device.device)).unwrap_or_else(|| {
        let plain = format!("{kind} ({:04x}:{:04x})", device.vendor, device.device);
        pci::with_vendor(pci::vendor(device.vendor), &plain)
    })
}

/// The GPU of an ARM chip, which is no PCI device but a node `….gpu` of the device tree.
fn in_chip(root: &Root, memory: &Memory) -> Vec<Gpu> {
    let nodes = root.list("/sys/bus/platform/devices").into_iter().filter(|name| name.rsplit('.').next() == Some("gpu"));
    let gpu = |node: String| {
        let folder = format!("/sys/bus/platform/devices/{node}");
        let compatible = root.uevent(&folder, "OF_COMPATIBLE_0")?;
        let (maker, model) = compatible.split_once(',')?;
        let (vendor, name) = match maker {
            "qcom" => {
                let known = ADRENO.iter().find(|(id, _)| model.ends_with(id)).map(|(_, name)| (*name).to_string());
                (Vendor::Qualcomm, known.unwrap_or_else(|| "Qualcomm Adreno".into()))
            }
            "apple" => (Vendor::Apple, "Apple GPU".into()),
            "nvidia" => (Vendor::Nvidia, format!("NVIDIA Tegra ({model})")),
            "arm" => (Vendor::Other, format!("ARM {model}")),
            _ => (Vendor::Other, compatible.clone()),
        };
        let (memory_bytes, free_bytes) = shared_bytes(memory);
        let driver = root.uevent(&folder, "DRIVER");
        Some(Gpu { name, vendor, memory_bytes, free_bytes, is_unified: true, is_integrated: true, driver })
    };
    nodes.filter_map(gpu).collect()
}
