//! Detection and measurement in one go: what the Machine page and `planish hardware` show.

use std::path::Path;
use std::time::Duration;

use super::{Machine, detect, measure_bandwidth, measure_disk_write, measure_encoding, sample_conditions};
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
        Ok(bandwidth) => machine.bandwidth = Some(bandwidth),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_a_warning() {
        let machine = survey(Path::new("/proc"), &Monitor::silent()).unwrap();
        assert!(machine.warnings.iter().any(|warning| warning.starts_with("disk speed not measured")), "{:?}", machine.warnings);
        assert!(machine.bandwidth.is_some() && !machine.encoding.secs_per_weight.is_empty());
    }
}
