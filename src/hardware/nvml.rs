//! NVIDIA's GPUs by its management library, which is loaded at run time: no library, no GPU, no error.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{Gpu, Vendor, pci};

/// What the library tells about one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NvmlDevice {
    /// `NVIDIA GeForce RTX 4090`.
    pub(super) name: String,
    /// Memory in bytes; `None` where the GPU has none of its own, as in a GB10.
    pub(super) total_bytes: Option<u64>,
    /// Free part of it.
    pub(super) free_bytes: Option<u64>,
    /// The driver's version.
    pub(super) driver: Option<String>,
}

/// All GPUs that the library lists; none without it.
pub(super) fn devices() -> Vec<NvmlDevice> {
    read().unwrap_or_else(|error| {
        tracing::debug!(%error, "no NVIDIA GPU by NVML");
        Vec::new()
    })
}

fn read() -> Result<Vec<NvmlDevice>, NvmlError> {
    let nvml = Nvml::init()?;
    let driver = nvml.sys_driver_version().ok();
    let mut devices = Vec::new();
    for idx in 0..nvml.device_count()? {
        // A GPU that has fallen off the bus answers with an error; the others still count.
        let Ok(device) = nvml.device_by_index(idx) else { continue };
        let memory = device.memory_info().ok();
        devices.push(NvmlDevice {
            name: device.name().unwrap_or_else(|_| "NVIDIA GPU".into()),
            total_bytes: memory.as_ref().map(|m| m.total),
            free_bytes: memory.as_ref().map(|m| m.free),
            driver: driver.clone(),
        });
    }
    Ok(devices)
}

/// The GPU as the rest of the program knows it. NVIDIA's GPUs have memory of their own, unless the library reports none.
pub(super) fn gpu(device: &NvmlDevice) -> Gpu {
    Gpu {
        name: pci::with_vendor(Vendor::Nvidia, &device.name),
        vendor: Vendor::Nvidia,
        memory_bytes: device.total_bytes,
        free_bytes: device.free_bytes,
        is_unified: device.total_bytes.is_none(),
        is_integrated: device.total_bytes.is_none(),
        driver: device.driver.as_ref().map(|version| format!("nvidia {version}")),
    }
}
