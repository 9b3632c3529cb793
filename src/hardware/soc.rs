//! Systems on a chip and cores that do not give themselves a name on Linux.

use super::root::Root;

/// A device tree's `compatible` entry, the chip's name, and whether it has a Hexagon NPU.
///
/// Source: Documentation/devicetree/bindings/arm/qcom.yaml, Linux 6.12; names from Qualcomm's product briefs.
const CHIPS: [(&str, &str, bool); 12] = [
    ("qcom,x1e80100", "Snapdragon X Elite (X1E80100)", true),
    ("qcom,x1e78100", "Snapdragon X Elite (X1E78100)", true),
    ("qcom,x1e001de", "Snapdragon X Elite (X1E001DE)", true),
    ("qcom,x1p64100", "Snapdragon X Plus (X1P64100)", true),
    ("qcom,x1p42100", "Snapdragon X Plus (X1P42100)", true),
    ("qcom,glymur", "Snapdragon X2 Elite", true),
    ("qcom,sc8280xp", "Snapdragon 8cx Gen 3", true),
    ("qcom,sc8180x", "Snapdragon 8cx", true),
    ("qcom,sm8650", "Snapdragon 8 Gen 3", true),
    ("qcom,sm8550", "Snapdragon 8 Gen 2", true),
    ("brcm,bcm2712", "Broadcom BCM2712", false),
    ("rockchip,rk3588", "Rockchip RK3588", false),
];

/// Implementer and part number of a core in `/proc/cpuinfo`, and its name.
///
/// Source: arch/arm64/include/asm/cputype.h, Linux 6.12.
const CORES: [(u32, u32, &str); 14] = [
    (0x41, 0xd03, "ARM Cortex-A53"),
    (0x41, 0xd08, "ARM Cortex-A72"),
    (0x41, 0xd0b, "ARM Cortex-A76"),
    (0x41, 0xd0c, "ARM Neoverse-N1"),
    (0x41, 0xd40, "ARM Neoverse-V1"),
    (0x41, 0xd41, "ARM Cortex-A78"),
    (0x41, 0xd49, "ARM Neoverse-N2"),
    (0x41, 0xd4f, "ARM Neoverse-V2"),
    (0x41, 0xd84, "ARM Neoverse-V3"),
    (0x41, 0xd8e, "ARM Neoverse-N3"),
    (0x51, 0x001, "Qualcomm Oryon"),
    (0x61, 0x022, "Apple M1"),
    (0x61, 0x032, "Apple M2"),
    (0xc0, 0xac3, "Ampere-1"),
];

/// A chip by its device tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chip {
    /// Product name.
    pub(super) name: &'static str,
    /// True when it has a Hexagon NPU.
    pub(super) has_hexagon: bool,
}

/// The chip that the device tree names, most specific entry first; `None` without a device tree or for an unknown chip.
pub(super) fn chip(root: &Root) -> Option<Chip> {
    let compatible = root.text("/sys/firmware/devicetree/base/compatible")?;
    let mut entries = compatible.split('\0');
    entries.find_map(|entry| {
        let (_, name, has_hexagon) = CHIPS.iter().find(|(id, _, _)| *id == entry)?;
        Some(Chip { name, has_hexagon: *has_hexagon })
    })
}

/// The name of an ARM core; `None` when it is not in the table.
pub(super) fn core_name(implementer: u32, part: u32) -> Option<&'static str> {
    CORES.iter().find(|(i, p, _)| (*i, *p) == (implementer, part)).map(|(_, _, name)| *name)
}
