//! How fast main memory is read: what bounds decoding, because every token reads every weight once.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use super::Bandwidth;
use super::root::Root;
use super::{cpu, memory};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress, ProgressUnit};

/// The buffer is this many times as large as all last-level caches together, so that at most a small part of it can stay in them.
const CACHE_FACTOR: u64 = 4;

/// The smallest buffer: four times the 32 MiB of last-level cache that a large laptop has.
const MIN_BUFFER_BYTES: u64 = 128 << 20;

/// The largest buffer: filling it must not take longer than measuring.
const MAX_BUFFER_BYTES: u64 = 768 << 20;

/// At most one eighth of the available memory is used.
const AVAILABLE_PART: u64 = 8;

/// How long one pass lasts, and how many there are with one thread and with all; the fastest counts.
const PASS: Duration = Duration::from_millis(25);
const N_PASSES: u32 = 3;

/// More threads than any memory controller needs to be saturated.
const MAX_THREADS: usize = 256;

/// Words between two looks at the clock: 256 KiB, about 20 µs.
const PIECE_WORDS: usize = 32 << 10;

/// Words summed side by side: a chain of additions for each, so that latency does not bound the speed.
const LANES: usize = 32;

/// Read bandwidth of main memory with one thread and with `n_threads`, in less than half a second.
///
/// The threads sum a buffer much larger than the last cache, each its own part, several times; the fastest time counts, because
/// anything else on the machine only makes it slower. In a build without optimization the additions may be the bound.
///
/// # Errors
/// `Error::Cancelled`; `Error::Internal` when the system gives no memory or no thread.
pub fn measure_bandwidth(n_threads: usize, monitor: &Monitor) -> Result<Bandwidth> {
    let n_threads = n_threads.clamp(1, MAX_THREADS);
    let steps = |done| Progress { stage: "measuring memory bandwidth".into(), done, total: 3, unit: ProgressUnit::Steps };
    monitor.report(steps(0))?;
    let parts = filled_parts(buffer_bytes(), n_threads)?;
    monitor.report(steps(1))?;
    let whole: Vec<&[u64]> = parts.iter().map(Vec::as_slice).collect();
    let one = fastest(&[whole.as_slice()], monitor)?;
    monitor.report(steps(2))?;
    let shares: Vec<&[&[u64]]> = whole.chunks(1).collect();
    let all = if n_threads == 1 { one } else { fastest(&shares, monitor)? };
    monitor.report(steps(3))?;
    Ok(Bandwidth { one_thread_bytes_per_sec: one, all_threads_bytes_per_sec: all, n_threads, other_load: None })
}

/// Four times the last-level caches, within what the machine can spare.
fn buffer_bytes() -> u64 {
    let root = Root::real();
    let caches = cpu::caches(&root, &cpu::online_cpus(&root));
    let last = caches.iter().map(|cache| cache.level).max();
    let last_bytes = caches
        .iter()
        .filter(|cache| Some(cache.level) == last)
        .map(|cache| cache.size_bytes * cache.n_instances as u64)
        .sum::<u64>();
    let spare_bytes = match memory::probe(&root).available_bytes {
        0 => MIN_BUFFER_BYTES,
        available => available / AVAILABLE_PART,
    };
    (last_bytes * CACHE_FACTOR).clamp(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES).min(spare_bytes)
}

/// A part for each thread, written by that thread: pages that nobody has written are all the same page of zeros, which stays in the
/// cache, and on a machine with several memory controllers a page lies beside the processor that wrote it first.
fn filled_parts(buffer_bytes: u64, n_threads: usize) -> Result<Vec<Vec<u64>>> {
    let n_words = usize::try_from(buffer_bytes / 8).unwrap_or(usize::MAX) / n_threads;
    let n_words = n_words.next_multiple_of(PIECE_WORDS);
    let fill = move || {
        let mut words: Vec<u64> = Vec::new();
        words.try_reserve_exact(n_words).map_err(|error| internal(&error))?;
        words.extend(0..n_words as u64);
        Ok(words)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| named().spawn_scoped(scope, fill)).collect();
        threads.into_iter().map(|thread| joined(thread.map_err(|error| internal(&error))?)).collect::<Result<Result<Vec<_>>>>()?
    })
}

/// Bytes per second of the fastest pass with one thread for each share.
fn fastest(shares: &[&[&[u64]]], monitor: &Monitor) -> Result<f64> {
    let mut best = 0.0_f64;
    for _ in 0..N_PASSES {
        monitor.check()?;
        let rates = thread::scope(|scope| {
            let threads: Vec<_> = shares.iter().map(|share| named().spawn_scoped(scope, || rate(share, monitor))).collect();
            threads.into_iter().map(|thread| joined(thread.map_err(|error| internal(&error))?)).collect::<Result<Vec<f64>>>()
        })?;
        best = best.max(rates.iter().sum());
    }
    // A cancelled pass has read too little to count.
    monitor.check()?;
    Ok(best)
}

/// Bytes per second at which this thread reads its share, over and over, for the time of a pass.
#[allow(clippy::cast_precision_loss, reason = "some gigabytes")]
fn rate(share: &[&[u64]], monitor: &Monitor) -> f64 {
    let mut n_bytes = 0_u64;
    let started = Instant::now();
    loop {
        for piece in share.iter().flat_map(|part| part.chunks_exact(PIECE_WORDS)) {
            black_box(sum(piece));
            n_bytes += size_of_val(piece) as u64;
            let elapsed = started.elapsed();
            if elapsed >= PASS || monitor.is_cancelled() {
                return n_bytes as f64 / elapsed.as_secs_f64().max(1e-9);
            }
        }
        if n_bytes == 0 {
            return 0.0;
        }
    }
}

/// The wrapping sum of all words.
fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0_u64; LANES];
    let chunks = words.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.iter().fold(rest, |sum, lane| sum.wrapping_add(*lane))
}

fn named() -> thread::Builder {
    thread::Builder::new().name("planish-bandwidth".into())
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> Result<T> {
    thread.join().map_err(|_| internal(&"a thread panicked"))
}

fn internal(reason: &dyn std::fmt::Display) -> Error {
    Error::Internal { message: format!("cannot measure memory bandwidth: {reason}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn every_word_is_summed() {
        let check = |n: u64| assert_eq!(sum(&(0..n).collect::<Vec<_>>()), n * n.saturating_sub(1) / 2, "{n}");
        for n in [0, 1, 31, 32, 33, 1000] {
            check(n);
        }
        assert_eq!(sum(&[u64::MAX, 2]), 1);
    }

    #[test]
    fn memory_can_be_read() {
        let started = Instant::now();
        let bandwidth = measure_bandwidth(2, &Monitor::silent()).unwrap();
        println!("{:?} {bandwidth:?}", started.elapsed());
        assert!(bandwidth.one_thread_bytes_per_sec.is_finite() && bandwidth.one_thread_bytes_per_sec > 1e8, "{bandwidth:?}");
        assert!(bandwidth.all_threads_bytes_per_sec.is_finite() && bandwidth.all_threads_bytes_per_sec > 1e8, "{bandwidth:?}");
        assert_eq!(bandwidth.n_threads, 2);
        assert_eq!(measure_bandwidth(0, &Monitor::silent()).unwrap().n_threads, 1);
    }

    #[test]
    fn a_cancelled_measurement_has_no_result() {
        for at_step in 0..=3 {
            let cancelled = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&cancelled);
            let monitor = Monitor::new(cancelled, move |progress| flag.store(progress.done >= at_step, Ordering::Relaxed));
            let is_late = at_step == 3;
            assert_eq!(measure_bandwidth(2, &monitor).is_ok(), is_late, "step {at_step}");
        }
    }
}
