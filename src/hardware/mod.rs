//! What this machine is. Each probe may find nothing; none fails the whole.
//!
//! On Linux the probes are pure parsers below a root folder (`root::Root`), so they are tested on the recorded trees of other machines in
//! `tests/fixtures/hardware`. Elsewhere `sysinfo` and, on macOS, `sysctl` deliver plain values that the same kind of parser reads.

mod apple;
mod bandwidth;
mod cgroup;
mod command;
mod conditions;
mod cpu;
mod detect;
mod disk;
mod disk_speed;
mod encoding;
mod energy;
mod environments;
mod gpu;
mod libraries;
mod load;
mod memory;
mod npu;
mod nvml;
mod os;
mod pci;
mod portable;
mod power;
mod root;
mod runtimes;
mod simd;
mod soc;
mod survey;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use bandwidth::measure_bandwidth;
pub use conditions::sample_conditions;
pub use detect::{detect, detect_runtimes};
pub use disk::disk_of;
pub use disk_speed::measure_disk_write;
pub use encoding::{EncodingSpeed, measure_encoding};
pub use energy::{EnergyMeter, EnergyReading, NotMeasurable};
pub use environments::own_environment;
pub use libraries::onnx_runtime_library;
pub use runtimes::{PythonPackages, python_below, python_with};
pub use survey::{measure_quiet_bandwidth, survey};

use crate::model::Framework;

/// Everything that is known about the machine. Unknown parts are `None`, 0, empty or listed in `warnings`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Machine {
    /// The processor.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
    /// Graphics processors, the one with most memory first.
    pub gpus: Vec<Gpu>,
    /// Neural processors.
    pub npus: Vec<Npu>,
    /// The disk that holds the output folder.
    pub disk: Option<Disk>,
    /// The operating system.
    pub os: Os,
    /// Mains or battery, heat, and what else is running.
    pub conditions: Conditions,
    /// Measured read bandwidth of main memory; `None` until measured.
    pub bandwidth: Option<Bandwidth>,
    /// How fast it encodes weights; empty until measured.
    #[serde(skip)]
    pub encoding: EncodingSpeed,
    /// The runtimes that Planish knows, found or not.
    pub runtimes: Vec<Runtime>,
    /// What could not be found out, and what is assumed instead.
    pub warnings: Vec<String>,
}

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cpu {
    /// The name that the processor gives itself.
    pub name: String,
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// Physical cores that this process can keep busy: never more than `n_logical`; at least 1.
    pub n_physical: usize,
    /// Hardware threads that this process may use, within its affinity mask and the container's quota; at least 1.
    pub n_logical: usize,
    /// Performance cores, where the processor has two kinds and the system tells.
    pub n_performance: Option<usize>,
    /// Efficiency cores, likewise.
    pub n_efficiency: Option<usize>,
    /// Instruction sets that matter for inference, in the usual spelling: `AVX2`, `AVX-512 VNNI`, `NEON`, `i8mm`.
    pub simd: Vec<String>,
    /// Data and unified caches, smallest level first.
    pub caches: Vec<Cache>,
}

/// One level of cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// 1 to 4.
    pub level: u8,
    /// Size of one instance in bytes.
    pub size_bytes: u64,
    /// How many instances the machine has.
    pub n_instances: usize,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// Installed, or the container's limit when that is lower.
    pub total_bytes: u64,
    /// What a new program can use without swapping, within the container's limit.
    pub available_bytes: u64,
    /// Swap space in all.
    pub swap_bytes: u64,
    /// The container's limit, where one is set (cgroup v2 `memory.max`, v1 `memory.limit_in_bytes`).
    pub limit_bytes: Option<u64>,
}

/// Who made a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Vendor {
    Nvidia,
    Amd,
    Intel,
    Apple,
    Qualcomm,
    Other,
}

impl Vendor {
    /// The maker's name as it stands before a product's; empty for [`Vendor::Other`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Apple => "Apple",
            Self::Qualcomm => "Qualcomm",
            Self::Other => "",
        }
    }
}

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Product name.
    pub name: String,
    /// Who made it.
    pub vendor: Vendor,
    /// Dedicated memory in bytes; for unified memory what the GPU may use of main memory; `None` when unknown.
    pub memory_bytes: Option<u64>,
    /// Free part of it.
    pub free_bytes: Option<u64>,
    /// True when the GPU shares main memory.
    pub is_unified: bool,
    /// True when it sits in the processor.
    pub is_integrated: bool,
    /// Driver and version.
    pub driver: Option<String>,
}

/// A neural processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Npu {
    /// Product name.
    pub name: String,
    /// Who made it.
    pub vendor: Vendor,
    /// Kernel driver, where the system tells.
    pub driver: Option<String>,
}

/// The disk that holds a folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disk {
    /// Where it is mounted.
    pub mount_point: String,
    /// File system: `ext4`, `apfs`.
    pub file_system: String,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free for this user.
    pub free_bytes: u64,
    /// Measured sequential write speed; `None` until measured.
    pub write_bytes_per_sec: Option<f64>,
}

/// The operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Os {
    /// Name and version: `Debian GNU/Linux 12`.
    pub name: String,
    /// Kernel version.
    pub kernel: String,
    /// True inside a container (cgroup limit, `/.dockerenv`, `/run/.containerenv`).
    pub is_container: bool,
}

/// Where the machine gets its power from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PowerSource {
    /// Mains.
    Mains,
    /// Battery, discharging.
    Battery,
    /// No battery and no sensor: a desktop, a server or a virtual machine; or a system that is not asked, such as Windows.
    #[default]
    Unknown,
}

/// What a measurement depends on and what changes from minute to minute.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// Mains or battery.
    pub power_source: PowerSource,
    /// Charge of the battery in per cent.
    pub battery_percent: Option<f32>,
    /// The hottest CPU sensor, in degrees Celsius.
    pub temperature_celsius: Option<f32>,
    /// Part of all cores that other programs used over the sampling time, 0 to 1; `None` until sampled.
    pub other_load: Option<f32>,
}

/// Read bandwidth of main memory, measured on a buffer much larger than the last cache.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bandwidth {
    /// With one thread.
    pub one_thread_bytes_per_sec: f64,
    /// With `n_threads` threads.
    pub all_threads_bytes_per_sec: f64,
    /// Threads that read at once: usually one for each physical core.
    pub n_threads: usize,
    /// Part of all cores that other programs used just before or just after, whichever is more, 0 to 1; `None` where it is not known.
    pub other_load: Option<f32>,
}

/// Above this part of all cores other programs disturb a measurement noticeably.
pub const BUSY_LOAD: f32 = 0.15;

impl Bandwidth {
    /// True when other programs took part of the bandwidth while it was measured.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.other_load.is_some_and(|load| load > BUSY_LOAD)
    }
}

/// A runtime and whether this machine has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Runtime {
    /// Which framework it runs.
    pub framework: Framework,
    /// Its version where it was found; `None` when it is missing.
    pub version: Option<String>,
    /// Where it was found (`built in`, a path) or, when missing, how to get it: one line.
    pub note: String,
}
