//! How much memory this process has used.

/// Highest resident memory of this process in bytes; 0 when the system does not tell.
///
/// Weights mapped from the file count as soon as they are touched. Source: `VmHWM` in `proc_pid_status(5)`.
#[cfg(target_os = "linux")]
pub(super) fn peak_memory_bytes() -> u64 {
    high_water_mark_bytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or(0)
}

/// Resident memory of this process in bytes; 0 when the system does not tell.
///
/// Called while the model is loaded and has computed, so this is close to the peak: these systems tell their high-water mark only
/// through unsafe calls.
#[cfg(not(target_os = "linux"))]
pub(super) fn peak_memory_bytes() -> u64 {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let (Ok(mut system), Ok(pid)) = (System::new(), sysinfo::get_current_pid()) else { return 0 };
    let refresh = ProcessRefreshKind::nothing().with_memory();
    let _ = system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, refresh);
    system.process(pid).map_or(0, sysinfo::Process::memory)
}

#[cfg(target_os = "linux")]
fn high_water_mark_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status_file() {
        let check = |text: &str, expected| assert_eq!(high_water_mark_bytes(text), expected, "{text}");
        check("Name:\tplanish\nVmPeak:\t  999 kB\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n", Some(123_456 * 1024));
        check("VmHWM:\t12", None);
        check("VmHWM:\t18446744073709551615 kB", None);
        check("", None);
    }

    #[test]
    fn this_process_uses_some_memory() {
        assert!(peak_memory_bytes() > 100_000);
    }
}
