//! Detection and measurement in one go: what the Machine page and `planish hardware` show.

use std::path::Path;
use std::time::Duration;

use super::{BUSY_LOAD, Bandwidth, Machine, detect, measure_bandwidth, measure_disk_write, measure_encoding, sample_conditions};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress, ProgressUnit};

/// Long enough for the kernel's clock ticks (10 ms) to give two digits.
const LOAD_SAMPLE: Duration = Duration::from_millis(200);

/// Detects the machine, samples load and heat, measures memory and disk: about two seconds.
///
/// A measurement that fails becomes a warning: a read-only folder must not hide what the machine is.
///
/// # Errors
/// `Error::Cancelled` only.
pub fn survey(output_dir: &Path, monitor: &Monitor) -> Result<Machine> {
    let step =
        |done: u64, stage: &str| monitor.report(Progress { stage: stage.into(), done, total: 5, unit: ProgressUnit::Steps });
    let quiet = monitor.without_progress();
    step(0, "looking at the hardware")?;
    let mut machine = detect(output_dir);
    step(1, "sampling load and temperature")?;
    machine.conditions = sample_conditions(LOAD_SAMPLE, &quiet)?;
    step(2, "measuring memory bandwidth")?;
    match measure_bandwidth(machine.cpu.n_physical, &quiet) {
        Ok(bandwidth) => {
            let after = sample_conditions(LOAD_SAMPLE, &quiet)?.other_load;
            machine.bandwidth = Some(Bandwidth { other_load: busier(machine.conditions.other_load, after), ..bandwidth });
        }
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Err(error) => machine.warnings.push(format!("memory bandwidth not measured: {error}")),
    }
    step(3, "measuring how fast weights are encoded")?;
    machine.encoding = measure_encoding();
    step(4, "measuring the disk")?;
    match (measure_disk_write(output_dir, &quiet), &mut machine.disk) {
        (Ok(rate), Some(disk)) => disk.write_bytes_per_sec = Some(rate),
        (Ok(_), None) => {}
        (Err(Error::Cancelled), _) => return Err(Error::Cancelled),
        (Err(error), _) => machine.warnings.push(format!("disk speed not measured: {error}")),
    }
    step(5, "done")?;
    Ok(machine)
}

/// The bandwidth, if the machine is quiet before and after measuring it; `None` when other programs are at work.
///
/// On a busy machine it costs a fifth of a second of waiting and nothing else, on a quiet one less than a second.
///
/// # Errors
/// `Error::Cancelled`; those of [`measure_bandwidth`].
pub fn measure_quiet_bandwidth(n_threads: usize, monitor: &Monitor) -> Result<Option<Bandwidth>> {
    let before = sample_conditions(LOAD_SAMPLE, monitor)?.other_load;
    if before.is_some_and(|load| load > BUSY_LOAD) {
        return Ok(None);
    }
    let bandwidth = measure_bandwidth(n_threads, monitor)?;
    let after = sample_conditions(LOAD_SAMPLE, monitor)?.other_load;
    let bandwidth = Bandwidth { other_load: busier(before, after), ..bandwidth };
    Ok((!bandwidth.is_disturbed()).then_some(bandwidth))
}

/// The higher of two loads.
fn busier(one: Option<f32>, other: Option<f32>) -> Option<f32> {
    one.into_iter().chain(other).reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_a_warning() {
        let machine = survey(Path::new("/proc"), &Monitor::silent()).unwrap();
        assert!(machine.warnings.iter().any(|warning| warning.starts_with("disk speed not measured")), "{:?}", machine.warnings);
        assert!(machine.bandwidth.is_some() && !machine.encoding.secs_per_weight.is_empty());
    }

    #[test]
    fn load_before_or_after_makes_a_bandwidth_doubtful() {
        let bandwidth = |before, after| Bandwidth {
            one_thread_bytes_per_sec: 1e10,
            all_threads_bytes_per_sec: 2e10,
            n_threads: 2,
            other_load: busier(before, after),
        };
        let check =
            |before, after, expected| assert_eq!(bandwidth(before, after).is_disturbed(), expected, "{before:?} {after:?}");
        check(None, None, false);
        check(Some(0.1), Some(0.15), false);
        check(Some(0.9), Some(0.0), true);
        check(None, Some(0.2), true);
    }

    #[test]
    fn what_is_measured_in_a_quiet_moment_is_not_disturbed() {
        // Whether this machine is quiet is not known here; both answers must hold what they promise.
        let found = measure_quiet_bandwidth(2, &Monitor::silent()).unwrap();
        assert!(
            found.is_none_or(|bandwidth| !bandwidth.is_disturbed() && bandwidth.all_threads_bytes_per_sec > 1e8),
            "{found:?}"
        );
    }
}
