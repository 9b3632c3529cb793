//! The child's work with Planish's own runtime: all chunks pass through a layer before the next one is loaded.
//!
//! The same answers as those of `scoring` and `probing`, in another order of work: whatever the parent has granted by then is one pass.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Emit;
use super::probing::tokens_of;
use super::scoring::{ChunkJudge, Scorer, read_corpus};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::runtime::forward::{Chunk, ForwardPass, Sink, StoredWeights, run};
use crate::runtime::own::{OwnModel, info};
use crate::runtime::score::log_normalizer;
use crate::runtime::session::{MAX_ROWS, Vocabulary};
use crate::runtime::{Event, ProbeTask, RuntimeId, ScoreTask, memory};

/// How long the next grant may take to belong to the same pass: a parent writes all that it wants at once.
const GRANT_GAP: Duration = Duration::from_millis(50);

/// Lets the forward pass use this many threads. Called once, before it computes: this process has one request.
fn use_threads(n_threads: u32) -> std::result::Result<(), String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads.max(1) as usize);
    pool.build_global().map_err(|error| format!("cannot start threads: {error}"))
}

/// Opens the checkpoint, tells how it splits the text, and works on the granted chunks, all that are there in one pass. Returns the
/// highest resident memory in bytes.
pub(in crate::runtime) fn score(task: &ScoreTask, grants: &Receiver<u32>, emit: Emit) -> std::result::Result<u64, String> {
    let started = Instant::now();
    use_threads(task.n_threads)?;
    let corpus = read_corpus(&task.corpus_path)?;
    let model = OwnModel::open(&task.path)?;
    let weights = model.weights()?;
    let scorer = Scorer::new(task, &model, &corpus)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: info() })?;
    emit(scorer.plan())?;
    while let Ok(first) = grants.recv() {
        let mut granted = vec![first];
        let mut is_last = false;
        loop {
            match grants.recv_timeout(GRANT_GAP) {
                Ok(chunk_idx) => granted.push(chunk_idx),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    is_last = true;
                    break;
                }
            }
        }
        let chunks = granted
            .iter()
            .map(|&chunk_idx| Ok(Chunk { tokens: scorer.model_tokens(chunk_idx)?, wanted: scorer.answering_positions() }));
        let chunks = chunks.collect::<std::result::Result<Vec<_>, String>>()?;
        let mut sink = Scores { scorer: &scorer, granted: &granted, judge: None, emit: &mut *emit };
        sink.run(&model, &weights, &chunks).map_err(|error| reason_of(&error))?;
        if is_last {
            break;
        }
    }
    Ok(memory::peak_memory_bytes())
}

/// Judges each chunk as its logits come.
struct Scores<'a, 'b> {
    scorer: &'a Scorer<'a>,
    granted: &'a [u32],
    /// That of the chunk whose logits are coming.
    judge: Option<ChunkJudge<'a>>,
    emit: Emit<'b>,
}

impl Scores<'_, '_> {
    /// Lets the chunks pass through all layers, and tells before each how far they have come.
    fn run(&mut self, model: &OwnModel, weights: &StoredWeights, chunks: &[Chunk]) -> Result<()> {
        // The parent ends the work by ending this process.
        let monitor = Monitor::silent();
        let n_layers = model.decoder.layers.len();
        let mut pass = ForwardPass::start(&model.decoder, weights, chunks)?;
        for layer_idx in 0..n_layers {
            self.tell(layer_idx, n_layers)?;
            pass.layer(layer_idx, weights, self, &monitor)?;
        }
        self.tell(n_layers, n_layers)?;
        pass.head(weights, self, &monitor)
    }

    fn tell(&mut self, n_done: usize, n_layers: usize) -> Result<()> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (self.emit)(Event::Layer { n_done: count(n_done), n_layers: count(n_layers) }).map_err(failure)
    }
}

impl Sink for Scores<'_, '_> {
    fn logits(&mut self, chunk_idx: usize, first_position: usize, logits: &[f32]) -> Result<()> {
        let begin = || self.scorer.judge(self.granted.get(chunk_idx).copied().unwrap_or(u32::MAX)).map_err(failure);
        let mut judge = self.judge.take().map_or_else(begin, Ok)?;
        let end = judge.take(first_position, logits).map_err(failure)?;
        if end < self.scorer.answering_positions().end {
            self.judge = Some(judge);
            return Ok(());
        }
        judge.finish().and_then(|event| (self.emit)(event)).map_err(failure)
    }
}

/// Opens the checkpoint and tells, for each input, its tokens and how likely the model finds each next one. Returns the highest
/// resident memory in bytes.
pub(in crate::runtime) fn probe(task: &ProbeTask, emit: Emit) -> std::result::Result<u64, String> {
    let started = Instant::now();
    use_threads(task.n_threads)?;
    let model = OwnModel::open(&task.path)?;
    let weights = model.weights()?;
    let inputs = task.inputs.iter().map(|input| tokens_of(&model, input)).collect::<std::result::Result<Vec<_>, _>>()?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: info() })?;
    let n_run = |ids: &Vec<u32>| ids.len().min(task.max_tokens as usize).min(MAX_ROWS);
    let chunks: Vec<Chunk> = inputs
        .iter()
        .map(|ids| Chunk { tokens: ids.iter().copied().take(n_run(ids)).collect(), wanted: 0..n_run(ids) })
        .collect();
    let n_vocab = model.n_vocab();
    let mut answers = Answers { chunks: &chunks, n_vocab: n_vocab as usize, found: vec![Answer::default(); chunks.len()] };
    run(&model.decoder, &weights, &chunks, &mut answers, &Monitor::silent()).map_err(|error| reason_of(&error))?;
    for (ids, Answer { logps, last_logits }) in inputs.into_iter().zip(answers.found) {
        emit(Event::Probed { n_vocab, ids, logps, last_logits: if task.with_logits { last_logits } else { Vec::new() } })?;
    }
    Ok(memory::peak_memory_bytes())
}

/// What the model says about one input.
#[derive(Debug, Clone, Default)]
struct Answer {
    logps: Vec<f64>,
    last_logits: Vec<f32>,
}

struct Answers<'a> {
    chunks: &'a [Chunk],
    n_vocab: usize,
    found: Vec<Answer>,
}

impl Sink for Answers<'_> {
    fn logits(&mut self, chunk_idx: usize, first_position: usize, logits: &[f32]) -> Result<()> {
        let (Some(chunk), Some(answer)) = (self.chunks.get(chunk_idx), self.found.get_mut(chunk_idx)) else { return Ok(()) };
        for (position, row) in (first_position..).zip(logits.chunks_exact(self.n_vocab)) {
            let (_, normalizer) = log_normalizer(row).ok_or_else(|| failure("its logits are not numbers".into()))?;
            match chunk.tokens.get(position + 1).and_then(|&next| row.get(next as usize)) {
                Some(logit) => answer.logps.push(f64::from(*logit) - normalizer),
                None => answer.last_logits = row.to_vec(),
            }
        }
        Ok(())
    }
}

/// An error of this task that passes through the forward pass.
fn failure(reason: String) -> Error {
    Error::Runtime { runtime: RuntimeId::Planish.name().into(), reason, path: std::path::PathBuf::new() }
}

/// What the parent is told, which knows the runtime and the path.
fn reason_of(error: &Error) -> String {
    match error {
        Error::Runtime { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}
