//! How busy other programs keep the processor.

use std::time::Duration;

use super::root::Root;
use crate::error::Result;
use crate::monitor::Monitor;

/// The longest sleep between two checks for cancellation.
const NAP: Duration = Duration::from_millis(50);

/// Processor time since the start, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    /// Of all processors, working or waiting.
    total: u64,
    /// Of all processors, working.
    busy: u64,
    /// Of this process, all threads.
    own: u64,
}

/// Part of all processors that other programs used over `duration`, 0 to 1; `None` where the system does not tell.
pub(super) fn sample(root: &Root, duration: Duration, monitor: &Monitor) -> Result<Option<f32>> {
    let before = ticks(root);
    nap(duration, monitor)?;
    Ok(before.zip(ticks(root)).and_then(|(before, after)| other_load(before, after)))
}

/// Sleeps, but no longer than 50 ms after a cancellation.
pub(super) fn nap(duration: Duration, monitor: &Monitor) -> Result<()> {
    let mut left = duration;
    while !left.is_zero() {
        monitor.check()?;
        let piece = left.min(NAP);
        std::thread::sleep(piece);
        left -= piece;
    }
    monitor.check()
}

fn ticks(root: &Root) -> Option<Ticks> {
    parse(&root.text("/proc/stat")?, &root.text("/proc/self/stat").unwrap_or_default())
}

/// Ticks from `/proc/stat` and `/proc/self/stat`.
///
/// Source: `proc_stat(5)`: user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time. `proc_pid_stat(5)`: fields
/// 14 and 15 are user and system time; the command's name in field 2 may hold spaces and parentheses.
fn parse(stat: &str, own_stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let total = fields.iter().try_fold(0_u64, |sum, field| sum.checked_add(*field))?;
    let waiting = fields.get(3)?.checked_add(fields.get(4).copied().unwrap_or(0))?;
    let after_name = own_stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let own =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).fold(0, u64::saturating_add);
    Some(Ticks { total, busy: total - waiting, own })
}

#[allow(clippy::cast_precision_loss, reason = "a few hundred ticks")]
fn other_load(before: Ticks, after: Ticks) -> Option<f32> {
    let total = after.total.checked_sub(before.total).filter(|total| *total > 0)?;
    let others = after.busy.saturating_sub(before.busy).saturating_sub(after.own.saturating_sub(before.own));
    Some((others as f32 / total as f32).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_no_load() {
        let before = parse("cpu  100 0 50 800 50 0 0 0 10 0\ncpu0 1 2 3", "1 (a b) c) R 1 1 1 0 -1 4 0 0 0 0 30 20 0 0").unwrap();
        assert_eq!(before, Ticks { total: 1000, busy: 150, own: 50 });
        let check = |total: u64, busy: u64, own: u64, expected| {
            assert_eq!(other_load(before, Ticks { total: 1000 + total, busy: 150 + busy, own: 50 + own }), expected);
        };
        check(40, 30, 10, Some(0.5));
        check(40, 10, 10, Some(0.0));
        check(40, 9, 10, Some(0.0));
        check(40, 99, 0, Some(1.0));
        check(0, 0, 0, None);
    }

    #[test]
    fn garbage_is_no_load() {
        let check = |stat: &str| assert_eq!(parse(stat, ") ) 1 2"), None, "{stat}");
        check("");
        check("cpu x y");
        check("cpu 1 2 3");
        check("cpu 18446744073709551615 1 1 1");
    }
}
