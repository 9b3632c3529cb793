//! Background work: one job at a time on a named thread, so that a benchmark never shares the machine with another job.
//!
//! Quick jobs (the history, exports, deletions, looking for files) have a thread of their own: they take a moment, and must not
//! wait for hours behind a conversion.

mod history;
mod notify;
mod picker;
mod protocol;
mod quiet;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

pub use history::{HistoryAnswer, HistoryRequest};
pub use picker::{NativePicker, Picker};
pub use protocol::{Event, Job, JobId, Output, Picked};
use quiet::Quiet;

use crate::bench::history::{Measured, record_all};
use crate::bench::tensors::tensor_error::tensor_errors;
use crate::error::{Error, Result};
use crate::format::Opened;
use crate::make::{BudgetFacts, Made, MakeRequest};
use crate::model::{Model, Preset};
use crate::monitor::{Leftovers, Monitor, Progress};
use crate::{bench, convert, deploy, fetch, format, hardware, make};

/// The most jobs that may wait in a queue: more than a person queues by hand.
const MAX_WAITING_JOBS: usize = 64;
/// Events that may wait for the window; progress beyond that is dropped, results never are.
const MAX_WAITING_EVENTS: usize = 256;

/// Called after each event, from the worker's thread: wakes the window.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

struct Ticket {
    id: JobId,
    job: Job,
    cancelled: Arc<AtomicBool>,
}

/// The handle of the background threads. Dropping it cancels everything and waits for them.
pub struct Worker {
    jobs: Option<Sender<Ticket>>,
    /// The queue of the quick jobs.
    questions: Option<Sender<Ticket>>,
    events: Receiver<Event>,
    events_in: Sender<Event>,
    cancel_flags: HashMap<JobId, Arc<AtomicBool>>,
    leftovers: Leftovers,
    next_id: u64,
    picker: Arc<dyn Picker>,
    wake: Wake,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Worker {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Error::Internal` when the system gives no thread.
    pub fn spawn(wake: Wake, picker: Arc<dyn Picker>) -> Result<Self> {
        let (events_in, events) = bounded(MAX_WAITING_EVENTS);
        let line = EventLine { events: events_in.clone(), wake: Arc::clone(&wake) };
        let leftovers = Leftovers::default();
        let (jobs, worker) = start("planish-worker", line.clone(), leftovers.clone())?;
        let (questions, historian) = start("planish-history", line, leftovers.clone())?;
        Ok(Self {
            jobs: Some(jobs),
            questions: Some(questions),
            events,
            events_in,
            cancel_flags: HashMap::new(),
            leftovers,
            next_id: 1,
            picker,
            wake,
            threads: vec![worker, historian],
        })
    }

    /// Puts a job at the end of the queue.
    ///
    /// # Errors
    /// `Error::BadRequest` when the queue is full, `Error::Internal` when the thread is gone.
    pub fn submit(&mut self, job: Job) -> Result<JobId> {
        let id = JobId(self.next_id);
        let cancelled = Arc::new(AtomicBool::new(false));
        let jobs = if job.is_quick() { &self.questions } else { &self.jobs };
        let Some(jobs) = jobs else { return Err(Error::Internal { message: "the worker has stopped".into() }) };
        match jobs.try_send(Ticket { id, job, cancelled: Arc::clone(&cancelled) }) {
            Ok(()) => {
                self.next_id += 1;
                self.cancel_flags.insert(id, cancelled);
                Ok(id)
            }
            Err(TrySendError::Full(_)) => {
                Err(Error::BadRequest { message: format!("{MAX_WAITING_JOBS} jobs are waiting already") })
            }
            Err(TrySendError::Disconnected(_)) => Err(Error::Internal { message: "the worker has stopped".into() }),
        }
    }

    /// Asks a job to end. Its `Finished` follows; nothing happens when it has ended already.
    pub fn cancel(&self, id: JobId) {
        if let Some(flag) = self.cancel_flags.get(&id) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Opens a native dialog on a thread of its own: a silent desktop portal blocks for 25 seconds.
    pub fn pick(&self, wanted: Picked) {
        let picker = Arc::clone(&self.picker);
        let line = EventLine { events: self.events_in.clone(), wake: Arc::clone(&self.wake) };
        let spawned = std::thread::Builder::new().name("planish-picker".into()).spawn(move || {
            let is_there = picker.is_available();
            line.send(if is_there { Event::Picked { wanted, path: picker.pick(wanted) } } else { Event::NoDialog { wanted } });
        });
        if spawned.is_err() {
            tracing::warn!("no thread for the file dialog");
        }
    }

    /// Shows a file in the system's file manager, on a thread of its own: the desktop may be slow to answer.
    ///
    /// # Errors
    /// `Error::Internal` when the system gives no thread; a desktop that refuses is reported by `Event::Refused`.
    pub fn reveal(&self, path: &Path) -> Result<()> {
        let path = path.to_path_buf();
        let line = EventLine { events: self.events_in.clone(), wake: Arc::clone(&self.wake) };
        let spawned = std::thread::Builder::new().name("planish-reveal".into()).spawn(move || {
            if let Err(error) = opener::reveal(&path) {
                let reason = error.to_string();
                line.send(Event::Refused {
                    error: Error::Io { action: "show in the file manager", path, kind: std::io::ErrorKind::Other, reason },
                });
            }
        });
        spawned.map(drop).map_err(|error| Error::Internal { message: format!("no thread for the file manager: {error}") })
    }

    /// Opens a file with the program that the system has for it, on a thread of its own.
    ///
    /// # Errors
    /// As [`Self::reveal`].
    pub fn open(&self, path: &Path) -> Result<()> {
        let path = path.to_path_buf();
        let line = EventLine { events: self.events_in.clone(), wake: Arc::clone(&self.wake) };
        let spawned = std::thread::Builder::new().name("planish-open".into()).spawn(move || {
            if let Err(error) = opener::open(&path) {
                let reason = error.to_string();
                line.send(Event::Refused { error: Error::Io { action: "open", path, kind: std::io::ErrorKind::Other, reason } });
            }
        });
        spawned.map(drop).map_err(|error| Error::Internal { message: format!("no thread to open a file: {error}") })
    }

    /// Shows a desktop notification, on a thread of its own; without a desktop that shows them nothing happens.
    pub fn notify(&self, text: String) {
        let spawned = std::thread::Builder::new().name("planish-notify".into()).spawn(move || notify::show(&text));
        if spawned.is_err() {
            tracing::warn!("no thread for a notification");
        }
    }

    /// Says whether conversions that are cancelled from now on leave their unfinished files, whatever was asked for at their start.
    pub fn leave_unfinished(&self, stays: bool) {
        self.leftovers.set(stays);
    }

    /// The next event that has arrived; never waits.
    pub fn poll(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        if let Event::Finished { id, .. } = &event {
            self.cancel_flags.remove(id);
        }
        Some(event)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for flag in self.cancel_flags.values() {
            flag.store(true, Ordering::Relaxed);
        }
        self.jobs = None;
        self.questions = None;
        // A thread may be blocked on a full event channel: drain it until all are done.
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            let _ = self.events.recv_timeout(std::time::Duration::from_millis(10));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The worker's end of the event channel.
#[derive(Clone)]
struct EventLine {
    events: Sender<Event>,
    wake: Wake,
}

impl EventLine {
    /// Delivers, waiting for room if need be. A window that is gone is no error.
    fn send(&self, event: Event) {
        if self.events.send(event).is_ok() {
            (self.wake)();
        }
    }

    /// Delivers if there is room.
    fn try_send(&self, event: Event) {
        if self.events.try_send(event).is_ok() {
            (self.wake)();
        }
    }
}

/// Starts a thread that carries out what is put into the returned queue.
fn start(name: &str, line: EventLine, leftovers: Leftovers) -> Result<(Sender<Ticket>, std::thread::JoinHandle<()>)> {
    let (jobs, waiting) = bounded::<Ticket>(MAX_WAITING_JOBS);
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&waiting, &line, &leftovers));
    let thread = thread.map_err(|error| Error::Internal { message: format!("no thread for background work: {error}") })?;
    Ok((jobs, thread))
}

fn work(waiting: &Receiver<Ticket>, line: &EventLine, leftovers: &Leftovers) {
    let mut quiet = Quiet::default();
    loop {
        let ticket = match quiet.patience().map_or_else(|| waiting.recv().map_err(Into::into), |time| waiting.recv_timeout(time))
        {
            Ok(ticket) => ticket,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(bandwidth) = quiet.bandwidth(hardware::measure_quiet_bandwidth) {
                    line.send(Event::Bandwidth { bandwidth });
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let id = ticket.id;
        if ticket.cancelled.load(Ordering::Relaxed) {
            line.send(Event::Finished { id, result: Err(Error::Cancelled), elapsed_secs: 0.0 });
            continue;
        }
        line.send(Event::Started { id });
        let started = Instant::now();
        let on_progress = {
            let line = line.clone();
            move |progress: Progress| {
                line.try_send(Event::Progress { id, progress, elapsed_secs: started.elapsed().as_secs_f64() });
            }
        };
        let monitor = Monitor::new(ticket.cancelled, on_progress).with_leftovers(leftovers.clone());
        let on_part = |output| line.send(Event::Partial { id, output });
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(ticket.job, &monitor, &on_part, line)))
            .unwrap_or_else(|panic| Err(Error::Internal { message: panic_text(panic.as_ref()) }));
        quiet.note(&result);
        line.send(Event::Finished { id, result, elapsed_secs: started.elapsed().as_secs_f64() });
    }
}

/// Does the work; `on_part` gets what is finished before the end.
fn run(job: Job, monitor: &Monitor, on_part: &dyn Fn(Output), line: &EventLine) -> Result<Output> {
    match job {
        Job::Inspect { path } => {
            // The sample comes with the program.
            if let Some(parent) = convert::sample_parent().filter(|parent| convert::sample_path(parent) == path) {
                convert::unpack_sample(&parent)?;
            }
            Ok(match format::read_any(&path)? {
                Opened::Model(model) => Output::Model(Arc::new(*model)),
                Opened::Onnx(network) => Output::Network(Arc::new(*network)),
                Opened::Checkpoint(checkpoint) => Output::Checkpoint(Arc::new(convert::check_checkpoint(*checkpoint))),
            })
        }
        Job::Detect { output_dir } => hardware::survey(&output_dir, monitor).map(|machine| Output::Machine(Box::new(machine))),
        Job::Convert { model, request, calibration } => {
            make(&model, &MakeRequest { calibration, ..MakeRequest::new(request) }, monitor, on_part)
        }
        Job::ConvertFile { path, mut request } => {
            let model = convert::open_model(&path)?;
            if request.out_dir.as_os_str().is_empty() {
                request.out_dir = convert::default_output_dir(Some(&model));
            }
            make(&model, &MakeRequest::new(request), monitor, on_part)
        }
        Job::Bench { request } => {
            let outcomes = bench::bench(&request, monitor)?;
            keep(&outcomes, monitor, line);
            Ok(Output::Outcomes(outcomes))
        }
        Job::Quality { request } => {
            let on_outcome = |outcome: &bench::quality::QualityOutcome| {
                keep(std::slice::from_ref(outcome), monitor, line);
                on_part(Output::Quality(vec![outcome.clone()]));
            };
            bench::quality::quality(&request, monitor, on_outcome).map(Output::Quality)
        }
        Job::TensorErrors { source, converted } => {
            tensor_errors(&source, &converted, monitor).map(|errors| Output::TensorErrors(Arc::new(errors)))
        }
        Job::History(request) => history::answer(&request).map(Output::History),
        Job::Answer { request } => {
            let on_part = |_: usize, part: &bench::AnswerOutcome| on_part(Output::Answers(vec![part.clone()]));
            bench::answer(&request, monitor, on_part).map(Output::Answers)
        }
        Job::Export(request) => deploy::export(&request).map(Output::Exported),
        Job::FindModels => {
            let hub = format::hub_folder();
            Ok(Output::FoundModels(hub.map(|hub| format::cached_models(&hub)).unwrap_or_default()))
        }
        Job::Remove { paths, removal } => remove(&paths, removal, on_part, line),
        Job::FindKnown { request } => bench::known::find_known(&request).map(|known| Output::Known(Box::new(known))),
        Job::FindDisk { dir } => {
            let disk = hardware::disk_of(&dir);
            Ok(Output::Disk { dir, disk })
        }
        Job::CollectImatrix { request, before } => {
            if let Some(before) = before {
                let (model, convert) = &*before;
                // Levels that need a matrix cannot be checked before there is one.
                let levels: Vec<_> =
                    convert.levels.iter().copied().filter(|level| !level.preset().is_some_and(Preset::needs_imatrix)).collect();
                if !levels.is_empty() {
                    convert::preflight(model, &convert::ConvertRequest { levels, imatrix: None, ..convert.clone() })?;
                }
            }
            crate::calibrate::imatrix::collect_imatrix(&request, monitor).map(|collected| Output::Imatrix(Arc::new(collected)))
        }
        Job::Weigh { model, calibration } => {
            BudgetFacts::learn(&model, &calibration, monitor).map(|facts| Output::Weighed(Arc::new(facts)))
        }
        Job::SetUp { runtime } => {
            fetch::install(runtime, monitor)?;
            Ok(Output::Runtimes(hardware::detect_runtimes()))
        }
        Job::RemoveRuntime { runtime } => {
            fetch::remove(runtime)?;
            Ok(Output::Runtimes(hardware::detect_runtimes()))
        }
        Job::Verify { request } => convert::verify(&request, monitor).map(|found| Output::Verified(Arc::new(found))),
    }
}

/// Takes away what can be taken away; `on_part` gets each file that is gone. The first failure is the job's, others are
/// reported beside it.
fn remove(paths: &[PathBuf], removal: convert::Removal, on_part: &dyn Fn(Output), line: &EventLine) -> Result<Output> {
    let on_gone = |path: &Path| {
        bench::known::forget_conversion(path);
        on_part(Output::Removed(vec![path.to_path_buf()]));
    };
    let mut failures = convert::remove_outputs(paths, removal, on_gone).into_iter();
    let first = failures.next();
    failures.for_each(|error| line.send(Event::Refused { error }));
    first.map_or(Ok(Output::Removed(Vec::new())), Err)
}

/// Makes and tries the files. If one is found broken, nothing is left of it, `on_part` gets the others, and the error is
/// returned.
fn make(model: &Model, request: &MakeRequest, monitor: &Monitor, on_part: &dyn Fn(Output)) -> Result<Output> {
    let Made { conversions: made, adopted, broken, .. } = make::make(model, request, monitor)?;
    if let Some(error) = broken {
        if !made.is_empty() {
            on_part(Output::Conversions(made));
        }
        return Err(error);
    }
    Ok(match adopted {
        Some(model) => Output::Imported { made, model },
        None => Output::Conversions(made),
    })
}

/// Keeps what was measured in the history. A failure is reported beside the result, which is as good as before.
fn keep(outcomes: &[impl Measured], monitor: &Monitor, line: &EventLine) {
    if let Err(error) = record_all(outcomes, monitor) {
        tracing::warn!("not kept in the history: {error}");
        line.send(Event::Refused { error });
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".into())
}
