//! What a measurement depends on and what changes from minute to minute.

use std::time::Duration;

use super::root::Root;
use super::{Conditions, apple, load, portable, power};
use crate::error::Result;
use crate::monitor::Monitor;

/// Power source, battery, temperature, and the load by other programs sampled over `duration`; 200 ms tell a busy machine from a quiet one.
///
/// # Errors
/// Only `Error::Cancelled`: what cannot be found out is `None` or `PowerSource::Unknown`.
pub fn sample_conditions(duration: Duration, monitor: &Monitor) -> Result<Conditions> {
    if cfg!(target_os = "linux") {
        let root = Root::real();
        let other_load = load::sample(&root, duration, monitor)?;
        return Ok(Conditions { other_load, ..power::probe(&root) });
    }
    let other_load = portable::sample_load(duration, monitor)?;
    let sensors = if cfg!(target_os = "macos") { apple::conditions() } else { portable::conditions() };
    Ok(Conditions { other_load, ..sensors })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;
    use crate::error::Error;

    #[test]
    fn the_load_is_a_part_of_one() {
        let conditions = sample_conditions(Duration::from_millis(100), &Monitor::silent()).unwrap();
        assert!(conditions.other_load.is_none_or(|load| (0.0..=1.0).contains(&load)), "{conditions:?}");
        assert!(!cfg!(target_os = "linux") || conditions.other_load.is_some());
    }

    #[test]
    fn a_cancelled_sample_ends_at_once() {
        let started = Instant::now();
        let monitor = Monitor::new(Arc::new(AtomicBool::new(true)), |_| {});
        assert_eq!(sample_conditions(Duration::from_secs(3600), &monitor), Err(Error::Cancelled));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
