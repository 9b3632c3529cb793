//! One pass over the source: each chunk is read once, decoded once, encoded for every level and written to its places.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::chunk::{Chunk, Scratch, Sums, Work, carry_out, chunks, extent};
use super::feedback::{FactorCache, RowFactors};
use super::part_output::PartOutput;
use super::sums::Collector;
use crate::error::{Error, Result};
use crate::format::TensorReader;
use crate::model::Tensor;
use crate::monitor::{Monitor, Progress, ProgressUnit};

/// Time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// A chunk on its way from the reader to a worker.
struct Piece {
    /// Number in reading order.
    ordinal: u64,
    work_idx: usize,
    /// Number within the tensor.
    chunk_idx: usize,
    chunk: Chunk,
    /// The chunk as it is in the source.
    raw: Vec<u8>,
    /// What its rows' errors are weighed by; empty without error feedback.
    factors: Vec<RowFactors>,
}

/// What became of a piece.
struct Done {
    ordinal: u64,
    work_idx: usize,
    chunk_idx: usize,
    /// Bytes of the source.
    n_bytes: u64,
    /// Checksums; `None` for a piece that need not be carried out.
    outcome: Result<Option<Sums>>,
}

/// The number of the first piece that failed; later ones need not be carried out.
///
/// Earlier ones are, so that of several bad weights the first is reported, whatever the number of threads.
struct Failure(AtomicU64);

impl Failure {
    fn at(&self, ordinal: u64) {
        self.0.fetch_min(ordinal, Ordering::Relaxed);
    }

    fn is_before(&self, ordinal: u64) -> bool {
        self.0.load(Ordering::Relaxed) < ordinal
    }
}

/// A panicking thread stops the others, which would otherwise work to the end for nothing.
struct StopOnPanic<'a>(&'a Failure);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.at(0);
        }
    }
}

/// Carries out all `works` with one reading thread and `n_threads` that decode, encode and write.
///
/// Bytes of the outputs do not depend on the number of threads: every chunk has its own place.
///
/// `completed` is told the checksums of each tensor when all of its places are written.
///
/// Memory: `2 * n_threads + 2` raw chunks of at most 2 MiB, and 2 MiB of scratch per thread; with error feedback, 8 bytes for each pair of
/// columns of the tensors that are read and encoded.
///
/// # Errors
/// The first one in reading order; `Error::Cancelled` within some milliseconds.
pub(super) fn run(
    works: &[Work],
    source: &TensorReader,
    outputs: &[PartOutput],
    n_threads: usize,
    completed: &mut dyn FnMut(&Work, Sums),
    monitor: &Monitor,
) -> Result<()> {
    let failure = Failure(AtomicU64::new(u64::MAX));
    let n_buffers = 2 * n_threads + 2;
    // Scoped threads instead of rayon: the reader must run beside the workers and wait for them, which a work-stealing pool does
    // not promise; and the threads end with this function, so they are parallelism inside it and no background work.
    let (failure, source) = (&failure, source);
    std::thread::scope(move |scope| {
        let (free_sender, free) = bounded::<Vec<u8>>(n_buffers);
        for _ in 0..n_buffers {
            let _ = free_sender.send(Vec::new());
        }
        let (pieces, filled) = bounded::<Piece>(n_buffers);
        let (done_sender, done) = bounded::<Done>(n_buffers);
        let mut threads = Vec::with_capacity(n_threads + 1);
        let spawn = |name: String| std::thread::Builder::new().name(name);
        let no_thread = |error: std::io::Error| Error::Internal { message: format!("cannot start a thread: {error}") };

        let read_done = done_sender.clone();
        let read = move || {
            let _stop = StopOnPanic(failure);
            read_all(works, source, failure, &free, &pieces, &read_done);
        };
        threads.push(spawn("convert-read".into()).spawn_scoped(scope, read).map_err(no_thread)?);
        for idx in 0..n_threads {
            let (filled, free_sender, done_sender) = (filled.clone(), free_sender.clone(), done_sender.clone());
            let work = move || {
                let _stop = StopOnPanic(failure);
                work_off(works, outputs, failure, &filled, &free_sender, &done_sender, monitor);
            };
            threads.push(spawn(format!("convert-{idx}")).spawn_scoped(scope, work).map_err(no_thread)?);
        }
        // From here on each channel closes when the threads that hold its other end are through.
        drop((filled, free_sender, done_sender));
        let outcome = report_all(works, failure, &done, completed, monitor);
        join_all(threads).and(outcome)
    })
}

fn read_all(
    works: &[Work],
    source: &TensorReader,
    failure: &Failure,
    free: &Receiver<Vec<u8>>,
    pieces: &Sender<Piece>,
    done: &Sender<Done>,
) {
    let mut ordinal = 0;
    let mut cache = FactorCache::default();
    for (work_idx, work) in works.iter().enumerate() {
        for (chunk_idx, chunk) in chunks(work.tensor).enumerate() {
            // No free buffer will come when all workers are gone.
            let Ok(mut raw) = free.recv() else { return };
            if failure.is_before(ordinal) {
                return;
            }
            // Here and not in the workers: they still encode earlier chunks meanwhile, and none of them waits for another's factors.
            let factors = read(work.tensor, chunk, source, &mut raw).and_then(|()| match &work.moments {
                Some(moments) => cache.of_chunk(moments, work.tensor, chunk),
                None => Ok(Vec::new()),
            });
            match factors {
                Ok(factors) => {
                    if pieces.send(Piece { ordinal, work_idx, chunk_idx, chunk, raw, factors }).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    failure.at(ordinal);
                    let _ = done.send(Done { ordinal, work_idx, chunk_idx, n_bytes: 0, outcome: Err(error) });
                    return;
                }
            }
            ordinal += 1;
        }
    }
}

fn read(tensor: &Tensor, chunk: Chunk, source: &TensorReader, raw: &mut Vec<u8>) -> Result<()> {
    let (start, n_bytes) = extent(tensor.dtype, chunk)?;
    raw.resize(n_bytes, 0);
    source.read(tensor, start, raw)
}

fn work_off(
    works: &[Work],
    outputs: &[PartOutput],
    failure: &Failure,
    filled: &Receiver<Piece>,
    free: &Sender<Vec<u8>>,
    done: &Sender<Done>,
    monitor: &Monitor,
) {
    let mut scratch = Scratch::default();
    while let Ok(Piece { ordinal, work_idx, chunk_idx, chunk, raw, factors }) = filled.recv() {
        let outcome = match works.get(work_idx) {
            Some(work) if !failure.is_before(ordinal) => {
                carry_out(work, chunk, &raw, &factors, &mut scratch, outputs, monitor).map(Some)
            }
            _ => Ok(None),
        };
        if outcome.is_err() {
            failure.at(ordinal);
        }
        let n_bytes = raw.len() as u64;
        // Nobody waits for the buffer once the reader is through.
        let _ = free.send(raw);
        if done.send(Done { ordinal, work_idx, chunk_idx, n_bytes, outcome }).is_err() {
            return;
        }
    }
}

/// Adds up what is done and reports it, until all threads are through.
fn report_all(
    works: &[Work],
    failure: &Failure,
    done: &Receiver<Done>,
    completed: &mut dyn FnMut(&Work, Sums),
    monitor: &Monitor,
) -> Result<()> {
    let mut collector = Collector::default();
    let total = works.iter().map(|work| work.tensor.size_bytes).sum();
    let mut progress = Progress { stage: "reading".into(), done: 0, total, unit: ProgressUnit::Bytes };
    let mut first: Option<(u64, Error)> = None;
    let mut last_report: Option<Instant> = None;
    loop {
        match done.recv_timeout(REPORT_EVERY) {
            Ok(Done { outcome: Ok(sums), work_idx, chunk_idx, n_bytes, .. }) => {
                if let (Some(sums), Some(work)) = (sums, works.get(work_idx)) {
                    progress.done += n_bytes;
                    let verb = if work.needs_decoding() { "quantizing" } else { "copying" };
                    progress.stage = format!("{verb} {}", work.tensor.name);
                    if let Some(sums) = collector.add(work_idx, work, chunk_idx, sums) {
                        completed(work, sums);
                    }
                }
            }
            Ok(Done { outcome: Err(error), ordinal, .. }) => {
                if first.as_ref().is_none_or(|&(before, _)| ordinal < before) {
                    first = Some((ordinal, error));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if first.is_none() && last_report.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            last_report = Some(Instant::now());
            if let Err(cancelled) = monitor.report(progress.clone()) {
                failure.at(0);
                first = Some((0, cancelled));
            }
        }
    }
    match first {
        Some((_, error)) => Err(error),
        None => monitor.report(progress),
    }
}

fn join_all(threads: Vec<ScopedJoinHandle<()>>) -> Result<()> {
    // All are joined before the first panic is told: the scope would otherwise panic about the others.
    let outcomes: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    for outcome in outcomes {
        outcome.map_err(|panic| {
            let message =
                panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
            Error::Internal { message: message.unwrap_or_else(|| "a conversion thread panicked".into()) }
        })?;
    }
    Ok(())
}
