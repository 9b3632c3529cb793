//! Macs: what `sysctl` and `pmset` say.

use std::collections::HashMap;
use std::time::Duration;

use super::portable::{self, Facts};
use super::{Cache, Conditions, Cpu, Gpu, Machine, Memory, Os, Vendor, command, npu, power};

/// How long a tool may take; they answer in some milliseconds.
const LIMIT: Duration = Duration::from_millis(100);

/// What `sysctl` prints about the hardware of this Mac; `None` elsewhere.
pub(super) fn sysctl() -> Option<String> {
    let names = ["hw", "machdep.cpu", "kern.osproductversion", "kern.osrelease", "vm.swapusage", "iogpu"];
    // An unknown name, such as iogpu before macOS 14, makes the exit status 1: each is asked for on its own.
    let answers: Vec<String> = names.iter().filter_map(|name| command::output_of("/usr/sbin/sysctl", &[name], LIMIT)).collect();
    (!answers.is_empty()).then(|| answers.concat())
}

/// Power source and battery from `pmset`, temperature from the sensors.
pub(super) fn conditions() -> Conditions {
    let words = command::output_of("/usr/bin/pmset", &["-g", "batt"], LIMIT).unwrap_or_default();
    let (power_source, battery_percent) = power::from_pmset(&words);
    Conditions { power_source, battery_percent, ..portable::conditions() }
}

/// The Mac that `sysctl` describes. `facts` adds what it does not tell: available memory and, on Intel Macs, the GPUs.
pub(super) fn machine(sysctl: &str, facts: &Facts) -> Machine {
    let values = Values::parse(sysctl);
    let name = values.text("machdep.cpu.brand_string").map_or_else(|| facts.cpu_name.clone(), str::to_string);
    let is_apple_silicon = name.starts_with("Apple ");
    let n_logical = values.count("hw.logicalcpu").unwrap_or(facts.n_logical).max(1);
    let n_physical = values.count("hw.physicalcpu").or(facts.n_physical).unwrap_or(n_logical).clamp(1, n_logical);
    let has_two_kinds = values.count("hw.nperflevels").is_some_and(|n| n >= 2);
    let of_level = |level: u8| values.count(&format!("hw.perflevel{level}.physicalcpu")).filter(|_| has_two_kinds);
    let total_bytes = values.number("hw.memsize").unwrap_or(facts.memory.total_bytes);
    let memory = Memory {
        total_bytes,
        available_bytes: facts.memory.available_bytes.min(total_bytes),
        swap_bytes: swap_bytes(&values).unwrap_or(facts.memory.swap_bytes),
        limit_bytes: None,
    };
    let version = values.text("kern.osproductversion").map(|version| format!("macOS {version}"));
    let mut machine = portable::machine(facts, &[]);
    machine.cpu = Cpu {
        architecture: if is_apple_silicon { "aarch64".into() } else { "x86_64".into() },
        n_physical,
        n_logical,
        n_performance: of_level(0),
        n_efficiency: of_level(1),
        simd: simd(&values),
        caches: caches(&values, n_physical),
        name,
    };
    if is_apple_silicon {
        let memory_bytes = working_set_bytes(&values, total_bytes);
        machine.gpus = vec![Gpu {
            name: format!("{} GPU", machine.cpu.name),
            vendor: Vendor::Apple,
            memory_bytes,
            free_bytes: memory_bytes.map(|limit| limit.min(memory.available_bytes)),
            is_unified: true,
            is_integrated: true,
            driver: Some("Metal".into()),
        }];
        machine.npus = npu::by_cpu_name(&machine.cpu.name).into_iter().collect();
    }
    machine.memory = memory;
    machine.os = Os {
        name: version.unwrap_or_else(|| facts.os.name.clone()),
        kernel: values.text("kern.osrelease").map_or_else(|| facts.os.kernel.clone(), str::to_string),
        is_container: false,
    };
    machine
}

/// What Metal lets the GPU use: the limit that the owner has set, or two thirds of memory up to 32 GiB and three quarters above.
///
/// Source: `recommendedMaxWorkingSetSize` as llama.cpp prints it on Macs: 12.0 GiB of 18, 21.3 of 32, 27.0 of 36, 48.0 of 64.
fn working_set_bytes(values: &Values<'_>, total_bytes: u64) -> Option<u64> {
    let wired = values.number("iogpu.wired_limit_mb").filter(|mib| *mib > 0).and_then(|mib| mib.checked_mul(1 << 20));
    let default = match total_bytes {
        0 => None,
        total if total <= 32 << 30 => Some(total / 3 * 2),
        total => Some(total / 4 * 3),
    };
    wired.map(|limit| limit.min(total_bytes)).or(default)
}

/// Instruction sets: from `hw.optional.*` on Apple silicon, from `machdep.cpu.*features` on Intel.
fn simd(values: &Values<'_>) -> Vec<String> {
    let arm = [
        ("AdvSIMD", "NEON"),
        ("arm.FEAT_FP16", "FP16"),
        ("arm.FEAT_DotProd", "dotprod"),
        ("arm.FEAT_I8MM", "i8mm"),
        ("arm.FEAT_BF16", "BF16"),
        ("arm.FEAT_SME", "SME"),
    ];
    let intel = [
        ("AVX1.0", "AVX"),
        ("AVX2", "AVX2"),
        ("FMA", "FMA"),
        ("F16C", "F16C"),
        ("AVX512F", "AVX-512F"),
        ("AVX512VNNI", "AVX-512 VNNI"),
    ];
    let features = ["machdep.cpu.features", "machdep.cpu.leaf7_features"].map(|key| values.text(key).unwrap_or(""));
    let has_intel = |name: &str| features.iter().any(|list| list.split_whitespace().any(|word| word == name));
    let arm = arm.iter().filter(|(key, _)| values.number(&format!("hw.optional.{key}")) == Some(1));
    arm.chain(intel.iter().filter(|(key, _)| has_intel(key))).map(|(_, name)| (*name).to_string()).collect()
}

/// Caches by kind of core on Apple silicon, by level on Intel.
fn caches(values: &Values<'_>, n_physical: usize) -> Vec<Cache> {
    let mut caches = Vec::new();
    let mut push = |level: u8, size: Option<u64>, n_instances: usize| {
        if let Some(size_bytes) = size.filter(|size| *size > 0) {
            caches.push(Cache { level, size_bytes, n_instances: n_instances.max(1) });
        }
    };
    let n_levels = values.count("hw.nperflevels").unwrap_or(0).min(4);
    for kind in 0..n_levels {
        let value = |key: &str| values.number(&format!("hw.perflevel{kind}.{key}"));
        let n_cores = values.count(&format!("hw.perflevel{kind}.physicalcpu")).unwrap_or(1);
        let n_sharing = values.count(&format!("hw.perflevel{kind}.cpusperl2")).unwrap_or(1).max(1);
        push(1, value("l1dcachesize"), n_cores);
        push(2, value("l2cachesize"), n_cores.div_ceil(n_sharing));
    }
    if n_levels == 0 {
        push(1, values.number("hw.l1dcachesize"), n_physical);
        push(2, values.number("hw.l2cachesize"), n_physical);
        push(3, values.number("hw.l3cachesize"), values.count("hw.packages").unwrap_or(1));
    }
    caches.sort_by_key(|cache| (cache.level, cache.size_bytes));
    caches
}

/// Total swap in bytes, from `total = 2048.00M  used = 1026.25M  free = 1021.75M  (encrypted)`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "used only in range")]
fn swap_bytes(values: &Values<'_>) -> Option<u64> {
    let text = values.text("vm.swapusage")?.strip_prefix("total = ")?;
    let mib: f64 = text.split('M').next()?.parse().ok()?;
    (0.0..1e12).contains(&mib).then_some((mib * 1_048_576.0) as u64)
}

/// `key: value` lines.
struct Values<'a>(HashMap<&'a str, &'a str>);

impl<'a> Values<'a> {
    fn parse(text: &'a str) -> Self {
        Self(text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim())).collect())
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied().filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// A number of cores, below 4096.
    fn count(&self, key: &str) -> Option<usize> {
        self.text(key)?.parse().ok().filter(|count| *count < 4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpu_gets_what_metal_recommends() {
        let check = |text: &str, total_gib: u64, expected_mib: Option<u64>| {
            let found = working_set_bytes(&Values::parse(text), total_gib << 30);
            assert_eq!(found.map(|size| size >> 20), expected_mib, "{text} {total_gib}");
        };
        check("", 0, None);
        check("", 18, Some(12288));
        check("iogpu.wired_limit_mb: 0", 36, Some(27648));
        check("iogpu.wired_limit_mb: 57344", 64, Some(57344));
        check("iogpu.wired_limit_mb: 999999999", 64, Some(65536));
        check("iogpu.wired_limit_mb: 18446744073709551615", 64, Some(49152));
    }

    #[test]
    fn an_intel_mac() {
        let sysctl = "machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\nhw.physicalcpu: 6\nhw.logicalcpu: 12\nhw.memsize: 17179869184\n\
                      machdep.cpu.features: FPU SSE4.2 FMA F16C AVX1.0\nmachdep.cpu.leaf7_features: BMI1 AVX2\nhw.l1dcachesize: 32768\n\
                      hw.l2cachesize: 262144\nhw.l3cachesize: 12582912\nhw.packages: 1\nvm.swapusage: total = 2048.00M  used = 1.00M\nkern.osproductversion: 14.5";
        let machine = machine(sysctl, &Facts::default());
        assert_eq!((machine.cpu.n_physical, machine.cpu.n_logical, machine.cpu.n_performance), (6, 12, None));
        assert_eq!(machine.cpu.simd, ["AVX", "AVX2", "FMA", "F16C"].map(String::from).to_vec());
        assert_eq!(
            machine.cpu.caches.iter().map(|c| (c.level, c.size_bytes >> 10, c.n_instances)).collect::<Vec<_>>(),
            [(1, 32, 6), (2, 256, 6), (3, 12288, 1)]
        );
        assert_eq!((machine.memory.total_bytes, machine.memory.swap_bytes), (16 << 30, 2 << 30));
        assert_eq!((machine.npus.len(), machine.gpus.len(), machine.os.name.as_str()), (0, 0, "macOS 14.5"));
    }
}
