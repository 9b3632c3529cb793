//! Reference and candidates on the same chunks, until the gates are decided.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{Cache, Key, TextPlan};
use super::flips::flips;
use super::reference::{Reference, ReferenceBy};
use super::schedule::{MIN_CHUNKS, looks, order, pass_end};
use super::stats::{ChunkSums, spent_alpha};
use super::summary::{ALPHA, gate_interval, summarize, summarize_kinds};
use super::{QualityOutcome, QualityProvenance, QualityRequest, QualityRun, ScoredChunk, Stopping, Strip, TokenScore};
use crate::advise::{Decision, Gates, Verdict, judge};
use crate::bench::decoded::Decoded;
use crate::bench::identity::artifact_sha256;
use crate::bench::speed::run::{condition_warnings, name};
use crate::bench::{OF_WEIGHTS_ALONE, is_timed_here};
use crate::calibrate::text::{Corpus, corpus};
use crate::error::{Error, Result};
use crate::format::Artifact;
use crate::hardware::sample_conditions;
use crate::model::{Framework, Model};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::process::ChildProcess;
use crate::runtime::{self, ChunkScores, Event, Request, RuntimeId, RuntimeInfo, ScoreRole, ScoreTask, Task, reference_file};
use crate::units::nats_text;

/// Chunks whose text is kept with the divergence of each token.
const MAX_STRIPS: usize = 24;
/// How long the load by other programs is sampled.
const SAMPLING_TIME: Duration = Duration::from_millis(250);
/// Products of weights that MLX computes on a CPU, per second. Measured on two cores of an AMD EPYC in November 2026: 1.9e9
/// with mlx-cpu 0.32.4.
const STAND_IN_PRODUCTS_PER_SEC: f64 = 2e9;
/// If one level would take longer than this, its decoded weights are measured with llama.cpp instead.
const MAX_STAND_IN_SECS: f64 = 120.0;
/// The longest chunk: a line of the protocol holds the answer to it.
const MAX_CTX: u32 = 16_384;
/// The shortest chunk.
const MIN_CTX: u32 = 16;

/// Compares the candidates with the reference; the outcomes are in their order.
///
/// The reference runs only on chunks whose answers no earlier comparison has kept. Each candidate runs in a child of its own:
/// one that fails gets its error, the others go on. On cancellation `on_outcome` has received the finished ones.
///
/// # Errors
/// `Error::Cancelled` within 300 ms with the children killed; `Error::BadRequest`; `Error::BadText` for a text that cannot be used or is
/// too short; `Error::RuntimeMissing`; what went wrong with the reference.
pub fn quality(
    request: &QualityRequest,
    monitor: &Monitor,
    on_outcome: impl FnMut(&QualityOutcome),
) -> Result<Vec<QualityOutcome>> {
    runtime::check_available(RuntimeId::LlamaCpp)?;
    quality_with(&runtime::process::executable()?, request, monitor, on_outcome)
}

/// As [`quality()`], with a given `planish` executable: for programs that use the library without being `planish`, such as its
/// tests.
///
/// # Errors
/// As [`quality()`].
pub fn quality_with(
    exe: &Path,
    request: &QualityRequest,
    monitor: &Monitor,
    mut on_outcome: impl FnMut(&QualityOutcome),
) -> Result<Vec<QualityOutcome>> {
    check_request(request)?;
    let corpus = corpus(&request.text)?;
    let mut session = Session::start(exe, request, &corpus, monitor)?;
    let mut outcomes = Vec::new();
    for (idx, path) in request.candidates.iter().enumerate() {
        let result = session.candidate(idx, path, monitor);
        if let Err(error @ Error::Cancelled) = result {
            return Err(error);
        }
        // Without the reference no candidate can be judged.
        if let (Err(error), true) = (&result, session.reference_failed) {
            return Err(error.clone());
        }
        let outcome = QualityOutcome { path: path.clone(), result: result.map(Arc::new) };
        on_outcome(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn check_request(request: &QualityRequest) -> Result<()> {
    let problem = if request.candidates.is_empty() {
        "no model to compare with the reference".to_string()
    } else if !(MIN_CTX..=MAX_CTX).contains(&request.n_ctx) {
        format!("a chunk must have {MIN_CTX} to {MAX_CTX} tokens")
    } else if request.max_tokens == 0 {
        "at least one token must be scored".to_string()
    } else {
        return runtime::check_threads(request.n_threads);
    };
    Err(Error::BadRequest { message: problem })
}

/// What all candidates of a request share.
struct Session<'a> {
    exe: &'a Path,
    request: &'a QualityRequest,
    corpus: &'a Corpus,
    cache: Cache,
    plan: TextPlan,
    /// The chunks to score in the order of measurement.
    order: Vec<u32>,
    /// The gates of the request that mean something for the reference.
    gates: Gates,
    /// Numbers of chunks at which the gates are looked at.
    looks: Vec<usize>,
    /// The reference, opened once.
    opened: Reference,
    reference: Option<ChildProcess>,
    reference_failed: bool,
    reference_secs: f64,
    /// Shared by all candidates; hash, runtime, backend and times are filled in for each.
    provenance: QualityProvenance,
}

impl<'a> Session<'a> {
    fn start(exe: &'a Path, request: &'a QualityRequest, corpus: &'a Corpus, monitor: &Monitor) -> Result<Self> {
        let reference = Reference::open(&request.reference)?;
        let reference_sha256 = reference.sha256(monitor)?;
        let conditions = sample_conditions(SAMPLING_TIME, monitor)?;
        let info = runtime::info_with(exe, reference.runtime(), monitor)?;
        let n_threads = request.n_threads.unwrap_or_else(runtime::default_n_threads);
        let key = Key {
            reference_sha256: &(reference_sha256.clone() + &reference.side_sha256()?),
            text_sha256: &corpus.sha256,
            n_ctx: request.n_ctx,
            n_threads,
            info: &info,
        };
        let cache = Cache::open(request.cache_dir.as_deref(), &key, corpus)?;
        let provenance = QualityProvenance {
            planish: env!("CARGO_PKG_VERSION").into(),
            runtime: info.version.clone(),
            backend: info.backend.clone(),
            n_threads,
            text_name: corpus.name.clone(),
            text_sha256: corpus.sha256.clone(),
            model_sha256: String::new(),
            reference_sha256,
            reference_by: reference.by,
            n_ctx: request.n_ctx,
            max_tokens: request.max_tokens,
            stopping: request.stopping,
            seed: request.seed,
            warnings: condition_warnings(std::slice::from_ref(&conditions)),
            conditions,
            candidate_secs: 0.0,
            reference_secs: 0.0,
        };
        let known = cache.plan();
        let mut session = Self {
            exe,
            request,
            corpus,
            cache,
            plan: TextPlan { n_vocab: 0, n_tokens: 0, chunk_parts: Vec::new(), tokens_sha256: String::new() },
            order: Vec::new(),
            gates: request.gates.meaningful(reference.model.as_ref().is_some_and(Model::has_recurrent_layers)),
            opened: reference,
            looks: Vec::new(),
            reference: None,
            reference_failed: false,
            reference_secs: 0.0,
            provenance,
        };
        session.plan = match known {
            Some(plan) => plan,
            None => session.start_reference(monitor)?,
        };
        session.order = order(session.plan.chunk_parts.len(), request);
        if session.order.len() < MIN_CHUNKS {
            return Err(Error::BadText {
                problem: format!(
                    "it has {} tokens for this model, and {} are needed for {MIN_CHUNKS} chunks of {}",
                    session.plan.n_tokens,
                    MIN_CHUNKS * request.n_ctx as usize,
                    request.n_ctx
                ),
                name: corpus.name.clone(),
            });
        }
        session.looks = looks(session.order.len(), request);
        Ok(session)
    }

    fn task(&self, path: &Path, role: ScoreRole) -> ScoreTask {
        ScoreTask {
            path: path.to_path_buf(),
            role,
            corpus_path: self.cache.text_path(),
            reference_dir: self.cache.dir.clone(),
            n_ctx: self.request.n_ctx,
            n_threads: self.provenance.n_threads,
        }
    }

    /// Loads the reference and returns how it splits the text.
    fn start_reference(&mut self, monitor: &Monitor) -> Result<TextPlan> {
        let started = Instant::now();
        let stage = format!("load {}", name(&self.request.reference));
        monitor.report(Progress { stage, done: 0, total: 0, unit: ProgressUnit::Steps })?;
        let task = self.task(&self.opened.path, ScoreRole::Reference);
        let mut child = ChildProcess::spawn(self.exe, &self.opened.request(task)?)?;
        let (_, plan) = text_plan(&mut child, &self.request.reference, monitor)?;
        self.reference = Some(child);
        self.cache.keep_plan(&plan)?;
        self.reference_secs += started.elapsed().as_secs_f64();
        Ok(plan)
    }

    /// Makes sure that the reference's answers to the chunks from `n_done` up to the look are kept. One that reads all of its weights
    /// in each pass over them takes further chunks too.
    fn reference_chunks(
        &mut self,
        n_done: usize,
        look: usize,
        report: &dyn Fn(&str) -> Result<()>,
        monitor: &Monitor,
    ) -> Result<()> {
        let is_missing = |chunk: &u32| reference_file::read(&self.cache.dir, *chunk, self.plan.n_vocab).is_none();
        let missing_up_to =
            |end: usize| self.order.get(n_done..end).unwrap_or_default().iter().copied().filter(is_missing).collect::<Vec<u32>>();
        let mut missing = missing_up_to(look);
        if missing.is_empty() {
            return Ok(());
        }
        if self.opened.by == ReferenceBy::Planish {
            missing = missing_up_to(pass_end(n_done, look, self.order.len()));
        }
        if self.reference.is_none() {
            self.start_reference(monitor)?;
        }
        let Some(child) = &mut self.reference else { return Ok(()) };
        let started = Instant::now();
        child.grant(&missing);
        let n_missing = missing.len();
        let mut n_kept = 0;
        while n_kept < n_missing {
            if self.opened.by == ReferenceBy::Runtime {
                report(&format!("reference, chunk {} of {n_missing}", n_kept + 1))?;
            }
            match child.next_event(monitor)? {
                Some(Event::ReferenceChunk { .. }) => n_kept += 1,
                Some(Event::Layer { n_done, n_layers }) => monitor.report(pass_progress(n_done, n_layers, n_missing))?,
                _ => return Err(Error::ChildDied { reason: "it left out a chunk".into(), path: self.request.reference.clone() }),
            }
        }
        self.reference_secs += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn candidate(&mut self, candidate_idx: usize, path: &Path, monitor: &Monitor) -> Result<QualityRun> {
        let artifact = Artifact::open(path)?;
        self.check_memory(&artifact)?;
        let model_sha256 = artifact_sha256(&artifact, &monitor.without_progress())?;
        // Removes its file when the candidate has been measured.
        let decoded = self.decoded(&artifact, monitor)?;
        let in_place = decoded.as_ref().map(|decoded| Artifact::open(&decoded.gguf.path)).transpose()?;
        let run = in_place.as_ref().unwrap_or(&artifact);
        let n_chunks = self.order.len() as u64;
        let n_candidates = self.request.candidates.len() as u64;
        let started = Instant::now();
        let mut waited_secs = 0.0;
        let task = Task::Score(self.task(run.run_path(), ScoreRole::Candidate));
        let mut child = ChildProcess::spawn(self.exe, &Request::to_runtime_of(run, task)?)?;
        let (info, plan) = text_plan(&mut child, path, monitor)?;
        self.check_vocabulary(&plan, path)?;
        let mut chunks: Vec<ScoredChunk> = Vec::new();
        let mut sums: Vec<ChunkSums> = Vec::new();
        let mut verdict = None;
        let (mut spent, mut n_looks) = (0.0, 0);
        let (reference_secs, floor_nats) = (self.reference_secs, self.opened.by.floor_nats());
        for look in self.looks.clone() {
            let wanted = self.order.get(chunks.len()..look).unwrap_or_default().to_vec();
            let report = |done: usize, what: &str| {
                let done = candidate_idx as u64 * n_chunks + done as u64;
                let stage = format!("{}: {what}", name(path));
                monitor.report(Progress { stage, done, total: n_candidates * n_chunks, unit: ProgressUnit::Steps })
            };
            let before = Instant::now();
            let n_done = chunks.len();
            if let Err(error) = self.reference_chunks(n_done, look, &|what| report(n_done, what), monitor) {
                self.reference_failed = true;
                return Err(error);
            }
            waited_secs += before.elapsed().as_secs_f64();
            child.grant(&wanted);
            for _ in &wanted {
                report(chunks.len(), &running_text(&sums, self.order.len()))?;
                let Some(Event::ScoredChunk { scores }) = child.next_event(monitor)? else {
                    return Err(Error::ChildDied { reason: "it left out a chunk".into(), path: path.to_path_buf() });
                };
                let chunk = scored_chunk(*scores, self.corpus);
                sums.push(ChunkSums::from_tokens(chunk.chunk_idx, chunk.part_idx, &chunk.tokens));
                chunks.push(chunk);
            }
            let allowed = self.alpha_at(look);
            let now = verdict_at(&self.gates, &sums, floor_nats, allowed - spent);
            spent = allowed;
            n_looks += 1;
            let is_decided = now.gates.iter().all(|gate| gate.decision != Decision::Inconclusive) && !now.gates.is_empty();
            verdict = Some(now);
            if is_decided || chunks.iter().any(|chunk| chunk.tokens.iter().any(|token| !token.kld.is_finite())) {
                break;
            }
        }
        child.end_grants();
        // The answers are here: an error while it cleans up changes nothing.
        while let Ok(Some(_)) = child.next_event(monitor) {}
        let provenance = QualityProvenance {
            model_sha256,
            runtime: if decoded.is_some() { format!("{}{OF_WEIGHTS_ALONE}", info.version) } else { info.version },
            backend: info.backend,
            candidate_secs: started.elapsed().as_secs_f64() - waited_secs,
            reference_secs: self.reference_secs - if candidate_idx == 0 { 0.0 } else { reference_secs },
            ..self.provenance.clone()
        };
        let (flips, n_flips) = flips(&chunks);
        Ok(QualityRun {
            path: path.to_path_buf(),
            size_bytes: artifact.size_bytes,
            reference: self.request.reference.clone(),
            summary: summarize(&chunks, &sums, floor_nats, self.request.seed),
            by_kind: summarize_kinds(&chunks, &sums, floor_nats, self.request.seed),
            verdict: verdict.unwrap_or_else(|| verdict_at(&self.gates, &sums, floor_nats, ALPHA)),
            n_looks,
            strips: Arc::new(chunks.iter().take(MAX_STRIPS).map(strip).collect()),
            chunks: sums,
            flips,
            n_flips,
            provenance,
        })
    }

    /// The level that the looks up to this one may spend together.
    #[allow(clippy::cast_precision_loss, reason = "a part of one")]
    fn alpha_at(&self, look: usize) -> f64 {
        match self.request.stopping {
            Stopping::Full => ALPHA,
            Stopping::Decided => spent_alpha(ALPHA, look as f64 / self.order.len() as f64),
        }
    }

    /// Refuses a candidate that would need more memory than it may use. Decoded weights are as large as the reference.
    fn check_memory(&self, artifact: &Artifact) -> Result<()> {
        let Some(limit) = &self.request.memory_limit else { return Ok(()) };
        let n_ctx = u64::from(self.request.n_ctx);
        match self.opened.model.as_ref().filter(|_| self.is_decoded(artifact)) {
            Some(model) => limit.check_model(model, &artifact.path, n_ctx),
            None => limit.check_artifact(artifact, n_ctx),
        }
    }

    /// The decoded weights of a folder, where llama.cpp measures them in place of MLX; `None` elsewhere.
    fn decoded(&self, artifact: &Artifact, monitor: &Monitor) -> Result<Option<Decoded>> {
        if !self.is_decoded(artifact) {
            return Ok(None);
        }
        match Decoded::write(artifact, monitor) {
            // Tensors that MLX arranges in its own way, such as experts, cannot be decoded: MLX measures them, if slowly.
            Err(Error::CannotWrite { .. }) if runtime::check_available(RuntimeId::Mlx).is_ok() => Ok(None),
            decoded => decoded.map(Some),
        }
    }

    /// Whether llama.cpp measures the decoded weights of a folder, because MLX is missing or would take long here.
    fn is_decoded(&self, artifact: &Artifact) -> bool {
        let n_weights = self.opened.model.as_ref().map_or(0, Model::n_parameters);
        let n_tokens = self.order.len() as u64 * u64::from(self.request.n_ctx);
        #[allow(clippy::cast_precision_loss, reason = "a rough prediction")]
        let secs = n_weights as f64 * n_tokens as f64 / STAND_IN_PRODUCTS_PER_SEC;
        let is_slow = !is_timed_here(artifact.framework) && secs > MAX_STAND_IN_SECS;
        artifact.framework == Framework::Mlx && (is_slow || runtime::check_available(RuntimeId::Mlx).is_err())
    }

    fn check_vocabulary(&self, plan: &TextPlan, path: &Path) -> Result<()> {
        let other = |what, reference: String, candidate: String| {
            Err(Error::OtherVocabulary { what, reference, candidate, path: path.to_path_buf() })
        };
        if plan.n_vocab != self.plan.n_vocab {
            let text = |n: u32| format!("{} tokens", crate::units::count_text(u64::from(n)));
            return other("vocabulary", text(self.plan.n_vocab), text(plan.n_vocab));
        }
        if plan.tokens_sha256 != self.plan.tokens_sha256 {
            let text = |n: u64| format!("the text is {} tokens", crate::units::count_text(n));
            return other("tokenizer", text(self.plan.n_tokens), text(plan.n_tokens));
        }
        Ok(())
    }
}

/// Waits until the child has loaded its model; returns who computes and how the model splits the text.
fn text_plan(child: &mut ChildProcess, path: &Path, monitor: &Monitor) -> Result<(RuntimeInfo, TextPlan)> {
    let mut loaded = RuntimeInfo::default();
    while let Some(event) = child.next_event(monitor)? {
        match event {
            Event::Loaded { info, .. } => loaded = info,
            Event::TextPlan { n_vocab, n_tokens, chunk_parts, tokens_sha256 } => {
                return Ok((loaded, TextPlan { n_vocab, n_tokens, chunk_parts, tokens_sha256 }));
            }
            _ => {}
        }
    }
    Err(Error::ChildDied { reason: "it did not split the text".into(), path: path.to_path_buf() })
}

fn verdict_at(gates: &Gates, sums: &[ChunkSums], floor_nats: f64, alpha: f64) -> Verdict {
    judge(gates, |kind| Some(gate_interval(kind, sums, floor_nats, alpha)))
}

/// How far a pass of the reference over all layers has come.
fn pass_progress(n_done: u32, n_layers: u32, n_chunks: usize) -> Progress {
    let what = if n_done < n_layers { format!("layer {} of {n_layers}", n_done + 1) } else { "the head".into() };
    let stage = format!("reference, {what}, {}", crate::units::count_of(n_chunks, "chunk"));
    Progress { stage, done: n_done.into(), total: u64::from(n_layers) + 1, unit: ProgressUnit::Steps }
}

/// `chunk 12 of at most 40, mean KLD 0.0123 nats`; without the mean before the first chunk.
fn running_text(sums: &[ChunkSums], n_chunks: usize) -> String {
    let at = format!("chunk {} of at most {n_chunks}", sums.len() + 1);
    if sums.is_empty() {
        return at;
    }
    let kld = sums.iter().map(|chunk| chunk.kld).sum::<f64>() / sums.iter().map(|chunk| chunk.n).sum::<f64>();
    format!("{at}, mean KLD {} nats", nats_text(kld))
}

fn scored_chunk(scores: ChunkScores, corpus: &Corpus) -> ScoredChunk {
    let id = |id: u32| i32::try_from(id).unwrap_or(-1);
    let own = scores.ids.iter().zip(&scores.reference_logps).zip(&scores.reference_tops).zip(&scores.scores);
    let tokens = own
        .map(|(((&token, &logp), &(reference_top, reference_top_logp)), score)| TokenScore {
            id: id(token),
            kld: score.kld,
            logp_reference: f64::from(logp),
            logp_candidate: score.logp,
            top_reference: id(reference_top),
            top_candidate: id(score.top),
            p_top_reference: reference_top_logp.exp(),
            p_top_candidate: score.p_top,
            p_top_reference_by_candidate: score.p_reference_top,
            p_top_candidate_by_reference: score.p_top_by_reference,
        })
        .collect();
    ScoredChunk {
        chunk_idx: scores.chunk_idx,
        part_idx: scores.part_idx,
        kind: corpus.parts.parts.get(scores.part_idx as usize).map_or_else(String::new, |part| part.kind.clone()),
        first_scored: scores.first_scored,
        pieces: scores.pieces,
        tops: scores.tops.into_iter().map(|(token, text)| (id(token), text)).collect(),
        tokens,
    }
}

fn strip(chunk: &ScoredChunk) -> Strip {
    let klds = std::iter::repeat_n(None, chunk.first_scored as usize);
    #[allow(clippy::cast_possible_truncation, reason = "shown as a tint")]
    let klds = klds.chain(chunk.tokens.iter().map(|token| Some(token.kld as f32)));
    Strip { kind: chunk.kind.clone(), tokens: chunk.pieces.iter().cloned().zip(klds).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_requests_are_refused() {
        let good = QualityRequest { candidates: vec!["m.gguf".into()], ..QualityRequest::default() };
        assert_eq!(check_request(&good), Ok(()));
        for bad in [
            QualityRequest { candidates: Vec::new(), ..good.clone() },
            QualityRequest { n_ctx: 8, ..good.clone() },
            QualityRequest { n_ctx: 1 << 20, ..good.clone() },
            QualityRequest { max_tokens: 0, ..good.clone() },
            QualityRequest { n_threads: Some(0), ..good.clone() },
        ] {
            assert!(matches!(check_request(&bad), Err(Error::BadRequest { .. })), "{bad:?}");
        }
    }
}
