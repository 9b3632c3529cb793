//! Progress out, cancellation in: the last parameter of every function that can take longer than 100 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::error::{Error, Result};

/// How far a piece of work has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is being done now, for a person: `quantizing blk.3.ffn_up.weight`.
    pub stage: String,
    /// How much is done, in `unit`.
    pub done: u64,
    /// How much there is, in `unit`; 0 when unknown.
    pub total: u64,
    /// What is counted.
    pub unit: ProgressUnit,
}

impl Progress {
    /// The part that is done, between 0 and 1; `None` when the total is unknown.
    #[must_use]
    pub fn fraction(&self) -> Option<f32> {
        #[allow(clippy::cast_precision_loss, reason = "a progress bar has a few hundred pixels")]
        (self.total > 0).then(|| (self.done as f32 / self.total as f32).min(1.0))
    }
}

/// What `Progress` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressUnit {
    /// Bytes that are read or written.
    Bytes,
    /// Measurements or other steps.
    Steps,
}

/// What happens to unfinished files, where the user decides that only on cancelling. Clones share the decision.
#[derive(Debug, Clone, Default)]
pub struct Leftovers(Arc<AtomicU8>);

impl Leftovers {
    const STAY: u8 = 1;
    const GO: u8 = 2;

    /// Decides whether unfinished files stay.
    pub fn set(&self, stay: bool) {
        self.0.store(if stay { Self::STAY } else { Self::GO }, Ordering::Relaxed);
    }

    /// Whether unfinished files stay; `None` while nobody has decided: then the request made at the start holds.
    #[must_use]
    pub fn stay(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            Self::STAY => Some(true),
            Self::GO => Some(false),
            _ => None,
        }
    }
}

type OnProgress = dyn Fn(Progress) + Send + Sync;

/// The line between a running function and whoever started it.
#[derive(Clone)]
pub struct Monitor {
    cancelled: Arc<AtomicBool>,
    leftovers: Leftovers,
    on_progress: Arc<OnProgress>,
}

impl Monitor {
    /// Calls `on_progress` for each report; ends the work once `cancelled` is true.
    pub fn new(cancelled: Arc<AtomicBool>, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { cancelled, leftovers: Leftovers::default(), on_progress: Arc::new(on_progress) }
    }

    /// The same monitor with a decision about unfinished files that may be made while the work runs.
    #[must_use]
    pub fn with_leftovers(self, leftovers: Leftovers) -> Self {
        Self { leftovers, ..self }
    }

    /// A monitor that reports to nobody and is never cancelled: for tests and short calls.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Arc::new(AtomicBool::new(false)), |_| {})
    }

    /// A monitor that is cancelled together with this one but reports nothing: for a part of the work whose own steps would
    /// make the progress bar jump.
    #[must_use]
    pub fn without_progress(&self) -> Self {
        Self { on_progress: Arc::new(|_| {}), ..self.clone() }
    }

    /// Reports progress.
    ///
    /// # Errors
    /// `Error::Cancelled` once the user has cancelled: return at once and leave nothing half-finished.
    pub fn report(&self, progress: Progress) -> Result<()> {
        self.check()?;
        (self.on_progress)(progress);
        Ok(())
    }

    /// Checks for a cancellation without reporting progress.
    ///
    /// # Errors
    /// `Error::Cancelled` once the user has cancelled.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Whether unfinished files stay after a cancellation: as decided since the start, else `as_asked`.
    #[must_use]
    pub fn leaves_unfinished(&self, as_asked: bool) -> bool {
        self.leftovers.stay().unwrap_or(as_asked)
    }

    /// True once the user has cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_monitor_reports_nothing_more() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = std::sync::mpsc::channel();
        let monitor = Monitor::new(Arc::clone(&cancelled), move |progress| sender.send(progress.done).unwrap());
        let at = |done| Progress { stage: String::new(), done, total: 10, unit: ProgressUnit::Steps };
        monitor.report(at(1)).unwrap();
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(monitor.report(at(2)), Err(Error::Cancelled));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn fraction_is_unknown_without_a_total_and_never_above_one() {
        let of = |done, total| Progress { stage: String::new(), done, total, unit: ProgressUnit::Bytes }.fraction();
        assert_eq!((of(1, 0), of(1, 4), of(5, 4)), (None, Some(0.25), Some(1.0)));
    }
}
