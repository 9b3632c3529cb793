//! Instruction sets that matter for inference, in the order and spelling in which they are shown.

/// What Linux calls an instruction set in `/proc/cpuinfo`, and its usual name.
///
/// Source: arch/x86/include/asm/cpufeatures.h and arch/arm64/kernel/cpuinfo.c, Linux 6.12.
const NAMES: [(&str, &str); 18] = [
    ("avx", "AVX"),
    ("avx2", "AVX2"),
    ("fma", "FMA"),
    ("f16c", "F16C"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512f", "AVX-512F"),
    ("avx512_vnni", "AVX-512 VNNI"),
    ("avx512_bf16", "AVX-512 BF16"),
    ("amx_int8", "AMX-INT8"),
    ("amx_bf16", "AMX-BF16"),
    ("asimd", "NEON"),
    ("asimdhp", "FP16"),
    ("asimddp", "dotprod"),
    ("i8mm", "i8mm"),
    ("bf16", "BF16"),
    ("sve", "SVE"),
    ("sve2", "SVE2"),
    ("sme", "SME"),
];

/// The usual names of those of `flags` that matter; `flags` are words of `/proc/cpuinfo`.
pub(super) fn from_flags(flags: &str) -> Vec<String> {
    let words: Vec<&str> = flags.split_ascii_whitespace().collect();
    NAMES.iter().filter(|(flag, _)| words.contains(flag)).map(|(_, name)| (*name).to_string()).collect()
}

/// Instruction sets of the processor that runs this. AMX is not asked for: the compiler's test for it is not stable.
#[cfg(target_arch = "x86_64")]
pub(super) fn of_this_processor() -> Vec<String> {
    use std::arch::is_x86_feature_detected as has;
    let found = [
        (has!("avx"), "AVX"),
        (has!("avx2"), "AVX2"),
        (has!("fma"), "FMA"),
        (has!("f16c"), "F16C"),
        (has!("avxvnni"), "AVX-VNNI"),
        (has!("avx512f"), "AVX-512F"),
        (has!("avx512vnni"), "AVX-512 VNNI"),
        (has!("avx512bf16"), "AVX-512 BF16"),
    ];
    found.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| (*name).to_string()).collect()
}

/// Instruction sets of the processor that runs this. SME is not asked for.
#[cfg(target_arch = "aarch64")]
pub(super) fn of_this_processor() -> Vec<String> {
    use std::arch::is_aarch64_feature_detected as has;
    let found = [
        (has!("neon"), "NEON"),
        (has!("fp16"), "FP16"),
        (has!("dotprod"), "dotprod"),
        (has!("i8mm"), "i8mm"),
        (has!("bf16"), "BF16"),
        (has!("sve"), "SVE"),
        (has!("sve2"), "SVE2"),
    ];
    found.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| (*name).to_string()).collect()
}

/// Nothing is known about other architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn of_this_processor() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_usual_names() {
        let check = |flags: &str, expected: &[&str]| assert_eq!(from_flags(flags), expected, "{flags}");
        check("", &[]);
        check("fpu sse2 avx2x avx", &["AVX"]);
        check("avx512f f16c avx fma avx2 avx512_vnni", &["AVX", "AVX2", "FMA", "F16C", "AVX-512F", "AVX-512 VNNI"]);
        check("amx_bf16 amx_tile amx_int8 avx_vnni avx512_bf16", &["AVX-VNNI", "AVX-512 BF16", "AMX-INT8", "AMX-BF16"]);
        check("fp asimd asimddp sve2 sve i8mm bf16", &["NEON", "dotprod", "i8mm", "BF16", "SVE", "SVE2"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_processor_and_the_kernel_agree() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags") || line.starts_with("Features")).unwrap();
        let told: Vec<String> = from_flags(flags).into_iter().filter(|name| !name.starts_with("AMX") && name != "SME").collect();
        assert_eq!(of_this_processor(), told);
    }
}
