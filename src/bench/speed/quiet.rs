//! Waiting until other programs leave the processor alone.

use std::time::Duration;

use crate::error::Result;
use crate::hardware::BUSY_LOAD;
use crate::hardware::sample_conditions;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::units::percent_text;

/// How long the load is sampled at a time.
const SAMPLING_TIME: Duration = Duration::from_secs(1);
/// This many quiet samples in a row are wanted: a build that pauses for a second is not over.
const N_QUIET: u32 = 3;

/// Returns when the processor has been quiet for three seconds, or at once where the system does not tell its load.
///
/// # Errors
/// `Error::Cancelled`.
pub fn wait_for_quiet(monitor: &Monitor) -> Result<()> {
    wait(|| Ok(sample_conditions(SAMPLING_TIME, monitor)?.other_load), monitor)
}

fn wait(mut load: impl FnMut() -> Result<Option<f32>>, monitor: &Monitor) -> Result<()> {
    let mut n_quiet = 0;
    while n_quiet < N_QUIET {
        let Some(load) = load()? else { return Ok(()) };
        n_quiet = if load <= BUSY_LOAD { n_quiet + 1 } else { 0 };
        let stage = if n_quiet > 0 {
            "waiting: the processor is quiet now".to_string()
        } else {
            format!("waiting until the processor is quiet: other programs use {}", percent_text(f64::from(load)))
        };
        monitor.report(Progress { stage, done: 0, total: 0, unit: ProgressUnit::Steps })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::error::Error;

    #[test]
    fn three_quiet_samples_in_a_row_are_waited_for() {
        let check = |loads: &[f32], n_left: usize| {
            let loads = RefCell::new(loads.to_vec());
            let next = || Ok(Some(loads.borrow_mut().remove(0)));
            wait(next, &Monitor::silent()).unwrap();
            assert_eq!(loads.borrow().len(), n_left);
        };
        check(&[0.0, 0.1, 0.15, 0.9], 1);
        check(&[0.9, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0], 0);
    }

    #[test]
    fn a_load_that_nobody_tells_is_not_waited_for() {
        wait(|| Ok(None), &Monitor::silent()).unwrap();
    }

    #[test]
    fn the_wait_says_why_and_can_be_cancelled() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let stages = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&stages);
        let monitor = Monitor::new(Arc::clone(&cancelled), move |progress| {
            seen.lock().unwrap().push((progress.stage.clone(), progress.fraction()));
        });
        let mut n_samples = 0;
        let load = || {
            n_samples += 1;
            cancelled.store(n_samples == 3, Ordering::Relaxed);
            Ok(Some(0.64))
        };
        assert_eq!(wait(load, &monitor), Err(Error::Cancelled));
        let said = ("waiting until the processor is quiet: other programs use 64.0 %".to_string(), None);
        assert_eq!(stages.lock().unwrap().first(), Some(&said));
    }
}
