//! PCI devices on Linux: who made them, what they are, what they are called.

use super::Vendor;
use super::root::Root;

/// Intel. These are the vendor ids of the PCI-SIG that matter here.
pub(super) const INTEL: u32 = 0x8086;
/// AMD, graphics.
pub(super) const AMD_GRAPHICS: u32 = 0x1002;
/// AMD, everything else.
pub(super) const AMD: u32 = 0x1022;
/// NVIDIA.
pub(super) const NVIDIA: u32 = 0x10de;
/// Qualcomm, in its own name and as Qualcomm Technologies.
const QUALCOMM: [u32; 2] = [0x17cb, 0x5143];
/// Apple.
const APPLE: u32 = 0x106b;

/// A PCI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PciDevice {
    /// `0000:01:00.0`.
    pub(super) address: String,
    /// Its folder in sysfs.
    pub(super) folder: String,
    /// Vendor id.
    pub(super) vendor: u32,
    /// Device id.
    pub(super) device: u32,
    /// Class, subclass and programming interface: `0x030000` is a VGA controller.
    pub(super) class: u32,
    /// The bound kernel driver.
    pub(super) driver: Option<String>,
}

/// All devices, by address.
pub(super) fn devices(root: &Root) -> Vec<PciDevice> {
    let addresses = root.list("/sys/bus/pci/devices");
    let device = |address: String| {
        let folder = format!("/sys/bus/pci/devices/{address}");
        Some(PciDevice {
            vendor: root.hex(&format!("{folder}/vendor"))?,
            device: root.hex(&format!("{folder}/device"))?,
            class: root.hex(&format!("{folder}/class"))?,
            driver: root.uevent(&folder, "DRIVER"),
            address,
            folder,
        })
    };
    addresses.into_iter().filter_map(device).collect()
}

/// The maker behind a vendor id.
pub(super) fn vendor(id: u32) -> Vendor {
    match id {
        INTEL => Vendor::Intel,
        AMD_GRAPHICS | AMD => Vendor::Amd,
        NVIDIA => Vendor::Nvidia,
        APPLE => Vendor::Apple,
        id if QUALCOMM.contains(&id) => Vendor::Qualcomm,
        _ => Vendor::Other,
    }
}

/// The product's name in the list of PCI ids that most distributions install; `None` without the list or an entry.
///
/// An entry such as `AD102 [GeForce RTX 4090]` has the name that people know in brackets.
pub(super) fn listed_name(root: &Root, vendor_id: u32, device_id: u32) -> Option<String> {
    let list = ["/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/var/lib/pciutils/pci.ids"];
    let text = list.iter().find_map(|path| root.text(path))?;
    let (vendor_start, device_start) = (format!("{vendor_id:04x}  "), format!("\t{device_id:04x}  "));
    let devices = text.lines().skip_while(|line| !line.starts_with(&vendor_start)).skip(1);
    let mut devices = devices.take_while(|line| line.starts_with('\t') || line.starts_with('#') || line.is_empty());
    let entry = devices.find_map(|line| line.strip_prefix(&device_start))?.trim();
    let name = match (entry.find('['), entry.rfind(']')) {
        (Some(open), Some(close)) => entry.get(open + 1..close).unwrap_or(entry).trim(),
        _ => entry,
    };
    Some(with_vendor(vendor(vendor_id), name))
}

/// `name` with the maker's name before it, once.
pub(super) fn with_vendor(vendor: Vendor, name: &str) -> String {
    let maker = vendor.name();
    if maker.is_empty() || name.to_ascii_lowercase().starts_with(&maker.to_ascii_lowercase()) {
        name.to_string()
    } else {
        format!("{maker} {name}")
    }
}
