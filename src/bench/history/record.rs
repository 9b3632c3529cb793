//! From finished measurements to rows of the history.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{History, Measured, Measurement, NewRun};
use crate::bench::identity::artifact_sha256;
use crate::error::Result;
use crate::format::Artifact;
use crate::hardware::{self, Machine};
use crate::monitor::Monitor;
use crate::units::bytes_text;

/// Keeps all measurements among `outcomes` in the user's history; failed ones are left out.
///
/// A model that was measured for speed is hashed, again only when it has changed. A cancelled `monitor` skips that and keeps
/// the run without a hash: what was measured is not thrown away.
///
/// # Errors
/// Why nothing was kept. The measurements themselves are as good as before: tell the user, and go on.
pub fn record_all(outcomes: &[impl Measured], monitor: &Monitor) -> Result<()> {
    let measurements: Vec<Measurement> = outcomes.iter().filter_map(Measured::measurement).collect();
    let Some(first) = measurements.first() else { return Ok(()) };
    // Opened before the models are read: a history that cannot be written needs no hashes.
    let mut history = History::open_default()?;
    let machine = machine_text(&hardware::detect(path_of(first).parent().unwrap_or(Path::new("."))));
    let now = unix_secs(SystemTime::now());
    let runs: Vec<NewRun> =
        measurements.into_iter().map(|measurement| new_run(measurement, machine.clone(), now, monitor)).collect();
    history.record(&runs).map(drop)
}

/// A measurement with what the model's header and its bytes tell.
fn new_run(measurement: Measurement, machine: String, recorded_unix_secs: i64, monitor: &Monitor) -> NewRun {
    let path = path_of(&measurement);
    // The model was measured a moment ago; if it is gone since, the numbers still hold.
    let artifact = Artifact::open(path).ok();
    let model_sha256 = match measurement {
        Measurement::Speed(_) => artifact.as_ref().and_then(|artifact| artifact_sha256(artifact, monitor).ok()),
        Measurement::Quality(_) => None,
    };
    NewRun {
        recorded_unix_secs,
        machine,
        model_sha256,
        level: artifact.as_ref().and_then(|artifact| artifact.level).map(|level| level.name().to_string()),
        recipe: artifact.map(|artifact| artifact.recipe),
        measurement,
    }
}

fn path_of(measurement: &Measurement) -> &Path {
    match measurement {
        Measurement::Speed(run) => &run.path,
        Measurement::Quality(run) => &run.path,
    }
}

/// Processor and memory, by which runs tell machines apart: `AMD Ryzen 7 PRO 7840U, 27.3 GiB`.
#[must_use]
pub fn machine_text(machine: &Machine) -> String {
    let name = if machine.cpu.name.is_empty() { &machine.cpu.architecture } else { &machine.cpu.name };
    format!("{name}, {}", bytes_text(machine.memory.total_bytes))
}

/// Seconds since 1970; negative before.
pub(super) fn unix_secs(moment: SystemTime) -> i64 {
    let secs = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    moment.duration_since(UNIX_EPOCH).map_or_else(|error| -secs(error.duration()), secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_processor_and_memory() {
        let mut machine = Machine::default();
        machine.cpu.architecture = "x86_64".into();
        machine.memory.total_bytes = 8 << 30;
        assert_eq!(machine_text(&machine), "x86_64, 8.00 GiB");
        machine.cpu.name = "AMD Ryzen 7".into();
        assert_eq!(machine_text(&machine), "AMD Ryzen 7, 8.00 GiB");
    }
}
