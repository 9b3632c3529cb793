//! From finished measurements to rows of the history.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{History, Measured, Measurement, NewRun};
use crate::bench::identity::model_sha256;
use crate::error::Result;
use crate::format::inspect;
use crate::hardware::{self, Machine};
use crate::model::{Level, Model, Preset};
use crate::monitor::Monitor;
use crate::units::bytes_text;

/// Keeps all measurements among `outcomes` in the user's history; failed ones are left out.
///
/// A model that was measured for speed is hashed for it, once in its life. A cancelled `monitor` skips that and keeps the run without a hash:
/// what was measured is not thrown away.
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
    // It was measured a moment ago; if it is gone since, the numbers still are what they are.
    let model = inspect(path).ok();
    let model_sha256 = match measurement {
        Measurement::Speed(_) => model_sha256(path, monitor).ok(),
        Measurement::Quality(_) => None,
    };
    NewRun {
        recorded_unix_secs,
        machine,
        model_sha256,
        level: model.as_ref().and_then(level_of).map(|level| level.name().to_string()),
        recipe: model.as_ref().map(recipe_text),
        measurement,
    }
}

fn path_of(measurement: &Measurement) -> &Path {
    match measurement {
        Measurement::Speed(run) => &run.path,
        Measurement::Quality(run) => &run.path,
    }
}

fn level_of(model: &Model) -> Option<Level> {
    model.metadata.u64("general.file_type").and_then(Preset::from_file_type_id).map(Level::from)
}

/// Tensors of each data type, the most frequent first: `180 Q4_K, 31 Q6_K`; with the importance matrix where the header names one.
fn recipe_text(model: &Model) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for tensor in &model.tensors {
        let name = tensor.dtype.name();
        match counts.iter_mut().find(|count| count.0 == name) {
            Some(count) => count.1 += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by_key(|count| std::cmp::Reverse(count.1));
    let mut parts: Vec<String> = counts.into_iter().map(|(name, n)| format!("{n} {name}")).collect();
    parts.extend(model.metadata.str("quantize.imatrix.file").map(|file| format!("imatrix {file}")));
    parts.join(", ")
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
    use crate::model::{DType, Hyperparameters, Metadata, Tensor, Value};

    #[test]
    fn a_recipe_is_told_by_the_tensors_of_each_type() {
        let tensor = |dtype| Tensor { name: "t".into(), dtype, shape: vec![256], file_idx: 0, offset: 0, size_bytes: 144 };
        let mut metadata = Metadata::default();
        let mut model = Model {
            path: "m.gguf".into(),
            files: vec!["m.gguf".into()],
            size_bytes: 0,
            format_name: "GGUF v3".into(),
            alignment: 32,
            hyperparameters: Hyperparameters::from_metadata(&metadata),
            metadata: metadata.clone(),
            tensors: [DType::F32, DType::Q4_K, DType::Q4_K].map(tensor).to_vec(),
            warnings: Vec::new(),
            obstacles: Vec::new(),
            unknown: Vec::new(),
            import: None,
        };
        assert_eq!((recipe_text(&model).as_str(), level_of(&model)), ("2 Q4_K, 1 F32", None));
        metadata.set("general.file_type", Value::U32(Preset::Q4_K_M.file_type_id()));
        metadata.set("quantize.imatrix.file", Value::Str("chat.imatrix".into()));
        model.metadata = metadata;
        assert_eq!(
            (recipe_text(&model).as_str(), level_of(&model)),
            ("2 Q4_K, 1 F32, imatrix chat.imatrix", Some(Level::Q4_K_M))
        );
    }

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
