//! Neural processors: by their kernel driver, by their PCI id where the driver is missing, by the processor's name elsewhere.

use super::pci::{self, PciDevice};
use super::root::Root;
use super::{Npu, Vendor, soc};

/// Vendor id, device id and name of NPUs on PCI.
///
/// Source: drivers/accel/ivpu/ivpu_drv.h and drivers/accel/amdxdna/amdxdna_pci_drv.c, Linux 6.18.
const NPUS: [(u32, u32, &str); 7] = [
    (pci::INTEL, 0x7d1d, "Intel AI Boost (Meteor Lake)"),
    (pci::INTEL, 0xad1d, "Intel AI Boost (Arrow Lake)"),
    (pci::INTEL, 0x643e, "Intel AI Boost (Lunar Lake)"),
    (pci::INTEL, 0xb03e, "Intel AI Boost (Panther Lake)"),
    (pci::INTEL, 0xfd3e, "Intel AI Boost (Wildcat Lake)"),
    (pci::AMD, 0x1502, "AMD XDNA (Ryzen AI)"),
    (pci::AMD, 0x17f0, "AMD XDNA 2 (Ryzen AI)"),
];

/// All NPUs that Linux shows, with or without a driver.
pub(super) fn probe(root: &Root) -> Vec<Npu> {
    let mut npus: Vec<Npu> = pci::devices(root).iter().filter_map(known).collect();
    // Accelerators without an entry above, such as Qualcomm's Cloud AI cards, still have a driver of the accel subsystem.
    for accel in root.list("/sys/class/accel") {
        let folder = format!("/sys/class/accel/{accel}/device");
        let ids = root.hex(&format!("{folder}/vendor")).zip(root.hex(&format!("{folder}/device")));
        let driver = root.uevent(&folder, "DRIVER");
        let npu = match ids {
            Some((vendor, device)) if is_known(vendor, device) => named(vendor, device, driver),
            Some((vendor, device)) => {
                let name = pci::listed_name(root, vendor, device).unwrap_or_else(|| {
                    pci::with_vendor(pci::vendor(vendor), &format!("accelerator ({vendor:04x}:{device:04x})"))
                });
                Some(Npu { name, vendor: pci::vendor(vendor), driver })
            }
            None => {
                driver.map(|driver| Npu { name: format!("accelerator ({driver})"), vendor: Vendor::Other, driver: Some(driver) })
            }
        };
        if let Some(npu) = npu.filter(|npu| !npus.contains(npu)) {
            npus.push(npu);
        }
    }
    if soc::chip(root).is_some_and(|chip| chip.has_hexagon) {
        let driver = root.exists("/dev/fastrpc-cdsp").then(|| "fastrpc".to_string());
        npus.push(Npu { driver, ..hexagon() });
    }
    npus
}

/// The NPU that a processor of this name has, where the system shows no devices: Windows and macOS.
///
/// Every Core Ultra, Ryzen AI, Snapdragon X and Apple M has one.
pub(super) fn by_cpu_name(cpu_name: &str) -> Option<Npu> {
    let of = |name: &str, vendor| Some(Npu { name: name.into(), vendor, driver: None });
    match cpu_name {
        name if name.contains("Snapdragon") => Some(hexagon()),
        name if name.contains("Core(TM) Ultra") => of("Intel AI Boost", Vendor::Intel),
        name if name.contains("Ryzen AI") => of("AMD XDNA (Ryzen AI)", Vendor::Amd),
        name if name.starts_with("Apple M") => of("Apple Neural Engine", Vendor::Apple),
        _ => None,
    }
}

fn hexagon() -> Npu {
    Npu { name: "Qualcomm Hexagon".into(), vendor: Vendor::Qualcomm, driver: None }
}

fn known(device: &PciDevice) -> Option<Npu> {
    named(device.vendor, device.device, device.driver.clone())
}

fn is_known(vendor: u32, device: u32) -> bool {
    named(vendor, device, None).is_some()
}

fn named(vendor: u32, device: u32, driver: Option<String>) -> Option<Npu> {
    let (_, _, name) = NPUS.iter().find(|(v, d, _)| (*v, *d) == (vendor, device))?;
    Some(Npu { name: (*name).into(), vendor: pci::vendor(vendor), driver })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_with_an_npu() {
        let check =
            |cpu: &str, expected: Option<&str>| assert_eq!(by_cpu_name(cpu).map(|npu| npu.name).as_deref(), expected, "{cpu}");
        check("Snapdragon(R) X Elite - X1E78100 - Qualcomm(R) Oryon(TM) CPU", Some("Qualcomm Hexagon"));
        check("Intel(R) Core(TM) Ultra 7 258V", Some("Intel AI Boost"));
        check("Intel(R) Core(TM) i7-1370P", None);
        check("AMD Ryzen AI 9 HX 370 w/ Radeon 890M", Some("AMD XDNA (Ryzen AI)"));
        check("AMD Ryzen 9 5950X 16-Core Processor", None);
        check("Apple M3 Pro", Some("Apple Neural Engine"));
        check("", None);
    }
}
