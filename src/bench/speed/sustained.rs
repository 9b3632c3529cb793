//! Speed under load that lasts: what is left when the processor has become hot.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::bench::Stat;
use crate::error::Result;
use crate::hardware::sample_conditions;
use crate::monitor::Monitor;
use crate::runtime::{self, BenchTask, Event, Request, Task};
use crate::units::{duration_text, percent_text, tokens_per_sec_text};

/// Seconds from the start that count as burst.
const BURST_SECS: usize = 10;
/// A loss below this part of the burst speed is no more than speeds vary by anyway.
const NOTABLE_LOSS: f64 = 0.10;

/// A processor this much warmer than before the first round counts as cool again.
const COOL_MARGIN_CELSIUS: f32 = 5.0;
/// The longest wait for a hot processor: a fan takes the heat of a short run away in this time.
const COOL_LIMIT: Duration = Duration::from_mins(1);
/// Time between two looks at its temperature.
const COOL_LOOK: Duration = Duration::from_secs(1);
/// The most tokens that are generated before the long run: the child measures decode first, which must not use up the burst.
const N_LEAD_IN: u32 = 16;

/// Decode speed of a run that went on for long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// Tokens per second in each second, in order; for a model that needs longer for a token, in the time of each token.
    pub tokens_per_sec: Vec<f64>,
    /// Median of the first ten seconds, or of the first fifth of a run so short that this is less.
    pub burst_tokens_per_sec: f64,
    /// Median of the last third.
    pub sustained_tokens_per_sec: f64,
    /// `sustained_tokens_per_sec / burst_tokens_per_sec`.
    pub ratio: f64,
}

impl Sustained {
    /// Burst and sustained speed from the speeds of all seconds; `None` without any, or if the burst speed is 0.
    #[must_use]
    pub fn from_speeds(tokens_per_sec: Vec<f64>) -> Option<Self> {
        let n = tokens_per_sec.len();
        let median = |part: &[f64]| Stat { values: part.to_vec() }.median();
        let burst = median(tokens_per_sec.get(..n.div_ceil(5).min(BURST_SECS))?);
        let sustained = median(tokens_per_sec.get(n - n.div_ceil(3)..)?);
        (burst > 0.0).then(|| Self {
            tokens_per_sec,
            burst_tokens_per_sec: burst,
            sustained_tokens_per_sec: sustained,
            ratio: sustained / burst,
        })
    }

    /// How long the run took, in seconds: each speed is that of the fewest tokens that took a second or more.
    #[must_use]
    pub fn elapsed_secs(&self) -> f64 {
        self.tokens_per_sec.iter().filter(|speed| **speed > 0.0).map(|speed| speed.ceil() / speed).sum()
    }

    /// A warning for users who would take the burst speed for the speed; `None` when less than a tenth was lost.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.ratio < 1.0 - NOTABLE_LOSS).then(|| {
            format!(
                "decode fell by {} from {} to {} in a run of {}: the processor cannot hold its speed",
                percent_text(1.0 - self.ratio),
                tokens_per_sec_text(self.burst_tokens_per_sec),
                tokens_per_sec_text(self.sustained_tokens_per_sec),
                duration_text(self.elapsed_secs())
            )
        })
    }
}

/// The result of a run under load.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRun {
    /// Tokens per second in each second.
    pub speeds: Result<Vec<f64>>,
    /// False when the processor was still hot from what ran before.
    pub is_cool: bool,
}

impl LongRun {
    /// The result with its warnings.
    pub fn into_result(self) -> (Option<Sustained>, Vec<String>) {
        let mut warnings = Vec::new();
        let sustained = match self.speeds {
            Ok(speeds) => Sustained::from_speeds(speeds),
            Err(error) => {
                warnings.push(format!("the long run failed: {error}"));
                None
            }
        };
        if let Some(found) = &sustained {
            warnings.extend(found.warning());
            if !self.is_cool {
                warnings.push("the processor was still hot when the long run began: its burst speed is too low".into());
            }
        }
        (sustained, warnings)
    }
}

/// Decodes for `secs` seconds in a child of its own and returns the speed of each second. `on_second` gets the number of seconds so far.
///
/// # Errors
/// Those of the child; `Error::Cancelled`.
pub fn sustain(
    exe: &Path,
    request: &Request,
    secs: u32,
    monitor: &Monitor,
    on_second: impl Fn(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut request = request.clone();
    if let Task::Bench(task) = &mut request.task {
        *task = BenchTask { n_gen_tokens: task.n_gen_tokens.min(N_LEAD_IN), sustained_secs: Some(secs), ..task.clone() };
    }
    let mut speeds = Vec::new();
    runtime::run_with(exe, &request, monitor, |event| {
        if let Event::SustainedSecond { tokens_per_sec } = event {
            speeds.push(tokens_per_sec);
            on_second(speeds.len())?;
        }
        Ok(())
    })?;
    Ok(speeds)
}

/// Waits until the processor is nearly as cool as it was at `celsius`, so that the burst of each model starts alike; false when a minute
/// was not enough. Without a sensor there is nothing to wait for.
///
/// # Errors
/// Only `Error::Cancelled`.
pub fn cool_down(celsius: Option<f32>, monitor: &Monitor) -> Result<bool> {
    let Some(limit) = celsius.map(|celsius| celsius + COOL_MARGIN_CELSIUS) else { return Ok(true) };
    let started = Instant::now();
    loop {
        let now = sample_conditions(COOL_LOOK, monitor)?.temperature_celsius;
        if now.is_none_or(|now| now <= limit) {
            return Ok(true);
        }
        if started.elapsed() >= COOL_LIMIT {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(speeds: &[f64]) -> (f64, f64, Option<String>) {
        let sustained = Sustained::from_speeds(speeds.to_vec()).unwrap();
        assert!((sustained.ratio - sustained.sustained_tokens_per_sec / sustained.burst_tokens_per_sec).abs() < 1e-12);
        (sustained.burst_tokens_per_sec, sustained.sustained_tokens_per_sec, sustained.warning())
    }

    fn check(speeds: &[f64], burst: f64, sustained: f64) {
        let (is_burst, is_sustained, _) = found(speeds);
        assert!((is_burst - burst).abs() < 1e-12 && (is_sustained - sustained).abs() < 1e-12, "{speeds:?}");
    }

    #[test]
    fn burst_is_the_start_and_sustained_the_end() {
        check(&[7.0], 7.0, 7.0);
        check(&[9.0, 8.0, 7.0], 9.0, 7.0);
        check(&[10.0, 20.0, 1.0, 1.0, 1.0, 1.0, 5.0, 6.0, 7.0], 15.0, 6.0);
        // Of two minutes the first ten seconds, not the first fifth.
        let long: Vec<f64> = (0..120_u8).map(|second| if second < 10 { 40.0 } else { 30.0 }).collect();
        check(&long, 40.0, 30.0);
    }

    #[test]
    fn one_slow_second_is_not_the_speed() {
        let mut speeds = vec![40.0; 60];
        (speeds[3], speeds[59]) = (1.0, 1.0);
        check(&speeds, 40.0, 40.0);
    }

    #[test]
    fn a_loss_above_a_tenth_is_warned_about() {
        assert_eq!(found(&[40.0, 38.0, 36.0]).2, None);
        assert_eq!(
            found(&[40.0, 38.0, 35.0]).2.as_deref(),
            Some("decode fell by 12.5 % from 40.0 tok/s to 35.0 tok/s in a run of 3.0 s: the processor cannot hold its speed")
        );
        // Two and four seconds for a token.
        let slow = found(&[0.5, 0.5, 0.25]).2.unwrap();
        assert!(slow.contains("in a run of 8.0 s"), "{slow}");
        assert_eq!(found(&[40.0, 41.0, 50.0]).2, None);
    }

    #[test]
    fn without_a_sensor_nobody_waits() {
        let cancelled = Monitor::new(std::sync::Arc::new(true.into()), |_| {});
        assert_eq!(cool_down(None, &cancelled), Ok(true));
        assert_eq!(cool_down(Some(40.0), &cancelled), Err(crate::error::Error::Cancelled));
        // Nothing that computes is as hot as that.
        assert_eq!(cool_down(Some(1000.0), &Monitor::silent()), Ok(true));
    }

    #[test]
    fn nothing_measured_is_no_result() {
        assert_eq!(Sustained::from_speeds(Vec::new()), None);
        assert_eq!(Sustained::from_speeds(vec![0.0]), None);
    }
}
