//! A bandwidth that was measured on a busy machine is measured again in the first quiet moment: this is not a job and has no
//! line in the queue.

use std::time::Duration;

use super::Output;
use crate::error::Result;
use crate::hardware::Bandwidth;
use crate::monitor::Monitor;

/// Time between two looks at the load, while nothing else is to do.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What the thread of the jobs remembers about the bandwidth.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// Threads to measure with; `None` while there is nothing to measure again.
    n_threads: Option<usize>,
}

impl Quiet {
    /// How long to wait for a job before [`Quiet::bandwidth`] is worth a try; `None`: without limit, so that an idle program
    /// costs nothing.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.n_threads.map(|_| LOOK_EVERY)
    }

    /// Notes what a job has found out about the machine.
    pub(super) fn note(&mut self, result: &Result<Output>) {
        if let Ok(Output::Machine(machine)) = result {
            let doubtful = machine.bandwidth.filter(Bandwidth::is_disturbed);
            self.n_threads = doubtful.map(|bandwidth| bandwidth.n_threads);
        }
    }

    /// Tries once: `measure` gives the bandwidth of a quiet machine, or nothing on a busy one. A failure ends all tries.
    pub(super) fn bandwidth(&mut self, measure: impl FnOnce(usize, &Monitor) -> Result<Option<Bandwidth>>) -> Option<Bandwidth> {
        let n_threads = self.n_threads?;
        match measure(n_threads, &Monitor::silent()) {
            Ok(None) => None,
            Ok(Some(bandwidth)) => {
                self.n_threads = None;
                Some(bandwidth)
            }
            Err(error) => {
                tracing::info!("memory bandwidth is not measured again: {error}");
                self.n_threads = None;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::hardware::Machine;

    fn bandwidth(other_load: Option<f32>) -> Bandwidth {
        Bandwidth { one_thread_bytes_per_sec: 1e10, all_threads_bytes_per_sec: 2e10, n_threads: 2, other_load }
    }

    fn found(bandwidth: Bandwidth) -> Output {
        Output::Machine(Box::new(Machine { bandwidth: Some(bandwidth), ..Machine::default() }))
    }

    #[test]
    fn only_a_doubtful_bandwidth_is_measured_again_and_only_until_it_is_good() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.patience(), None);
        quiet.note(&Ok(found(bandwidth(Some(0.02)))));
        assert_eq!(quiet.patience(), None, "it was quiet");
        quiet.note(&Ok(found(bandwidth(Some(0.6)))));
        assert_eq!(quiet.patience(), Some(LOOK_EVERY));
        assert_eq!(quiet.bandwidth(|_, _| Ok(None)), None, "still busy");
        assert_eq!(quiet.patience(), Some(LOOK_EVERY), "so it tries again");
        let good = bandwidth(Some(0.01));
        assert_eq!(quiet.bandwidth(|n_threads, _| Ok((n_threads == 2).then_some(good))), Some(good));
        assert_eq!(quiet.patience(), None);
        assert_eq!(quiet.bandwidth(|_, _| panic!("nothing to measure")), None);
    }

    #[test]
    fn a_failure_ends_the_tries_and_other_results_change_nothing() {
        let mut quiet = Quiet::default();
        quiet.note(&Ok(found(bandwidth(Some(0.6)))));
        quiet.note(&Ok(Output::Outcomes(Vec::new())));
        quiet.note(&Err(Error::Cancelled));
        assert_eq!(quiet.patience(), Some(LOOK_EVERY));
        assert_eq!(quiet.bandwidth(|_, _| Err(Error::Internal { message: "no memory".into() })), None);
        assert_eq!(quiet.patience(), None);
    }
}
