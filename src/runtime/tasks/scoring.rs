//! The child's work for a comparison: runs a model over chunks of a text as the parent grants them.
//!
//! The reference keeps its answers in files, a candidate is compared with them. Both split the text alike, so a chunk has the same
//! number for all models with the same tokenizer.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::Emit;
use crate::path_text;
use crate::runtime::score::{keep_reference, score_row};
use crate::runtime::session::{
    Engine, Language, MAX_ROWS, Marks, Purpose, Session, SessionSettings, TextStart, take_complete_text,
};
use crate::runtime::text_plan::{Chunk, chunks};
use crate::runtime::{ChunkScores, Corpus, Event, ScoreRole, ScoreTask, hex, reference_file};

/// Logits that are kept at a time: enough rows to use the cores well, few enough for a vocabulary of 256,000.
const MAX_LOGITS_BYTES: usize = 96 << 20;

/// A model, the text in its tokens, and where the reference's answers lie.
struct Scorer<'a> {
    task: &'a ScoreTask,
    model: &'a dyn Language,
    n_vocab: u32,
    bos: Option<u32>,
    parts: Vec<Vec<u32>>,
    chunks: Vec<Chunk>,
}

/// Loads the model, tells how it splits the text, and works on each granted chunk until the grants end. Returns the highest resident
/// memory in bytes.
pub(in crate::runtime) fn score(
    engine: &dyn Engine,
    task: &ScoreTask,
    grants: &Receiver<u32>,
    emit: Emit,
) -> Result<u64, String> {
    let started = Instant::now();
    let text = std::fs::read(&task.corpus_path).map_err(|error| format!("the text cannot be read: {error}"))?;
    let corpus: Corpus = serde_json::from_slice(&text).map_err(|error| format!("the text cannot be read: {error}"))?;
    let model = engine.load(&task.path, Purpose::Losses)?;
    let scorer = Scorer::new(task, model.as_ref(), &corpus)?;
    let settings = SessionSettings { n_tokens: task.n_ctx, n_threads: task.n_threads, exact_attention: false };
    let mut session = model.session(settings)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;
    emit(scorer.plan())?;
    for chunk_idx in grants {
        let event = match task.role {
            ScoreRole::Reference => scorer.keep(session.as_mut(), chunk_idx)?,
            ScoreRole::Candidate => scorer.compare(session.as_mut(), chunk_idx)?,
        };
        emit(event)?;
    }
    Ok(model.peak_memory_bytes())
}

impl<'a> Scorer<'a> {
    fn new(task: &'a ScoreTask, model: &'a dyn Language, corpus: &Corpus) -> Result<Self, String> {
        // As llama-perplexity does: special tokens where the model wants them, none from the text itself.
        let split = |part: &crate::runtime::Part| model.tokenize(&part.text, TextStart::Marked, Marks::Text);
        let parts: Vec<Vec<u32>> = corpus.parts.iter().map(split).collect::<Result<_, _>>()?;
        let lens: Vec<usize> = parts.iter().map(Vec::len).collect();
        let chunks = chunks(&lens, task.n_ctx as usize);
        Ok(Self { task, model, n_vocab: model.n_vocab(), bos: model.bos(), parts, chunks })
    }

    fn plan(&self) -> Event {
        let mut hash = Sha256::new();
        for part in &self.parts {
            hash.update((part.len() as u64).to_le_bytes());
            for token in part {
                hash.update(token.to_le_bytes());
            }
        }
        Event::TextPlan {
            n_vocab: self.n_vocab,
            n_tokens: self.parts.iter().map(|part| part.len() as u64).sum(),
            chunk_parts: self.chunks.iter().map(|chunk| chunk.part_idx).collect(),
            tokens_sha256: hex(&hash.finalize()),
        }
    }

    /// The tokens of a chunk as the text has them.
    fn tokens(&self, chunk_idx: u32) -> Result<&[u32], String> {
        let chunk = self.chunks.get(chunk_idx as usize).ok_or("no such chunk")?;
        let part = self.parts.get(chunk.part_idx as usize).ok_or("no such part")?;
        part.get(chunk.start..chunk.start + self.task.n_ctx as usize).ok_or_else(|| "no such tokens".into())
    }

    /// Runs the model over a chunk and gives `work` each scored position with its logits, in parallel; results are in the order
    /// of the positions.
    ///
    /// Logits at a position speak of the next token: those from half the chunk on are used, as in llama-perplexity.
    fn run<T: Send>(
        &self,
        session: &mut dyn Session,
        chunk_idx: u32,
        work: impl Fn(usize, &[f32]) -> Option<T> + Sync,
    ) -> Result<Vec<T>, String> {
        let mut tokens = self.tokens(chunk_idx)?.to_vec();
        if let (Some(first), Some(bos)) = (tokens.first_mut(), self.bos) {
            *first = bos;
        }
        let scored = self.first_scored() - 1..tokens.len() - 1;
        let n_vocab = self.n_vocab as usize;
        let n_rows = (MAX_LOGITS_BYTES / (4 * n_vocab.max(1))).max(16);
        session.clear()?;
        let mut results = Vec::with_capacity(scored.len());
        let mut start = 0;
        // The last token's own answer is not used: it is not even computed.
        while start < scored.end {
            let end = scored.end.min(start + MAX_ROWS).min(start.max(scored.start) + n_rows);
            let first_wanted = scored.start.saturating_sub(start);
            let logits = session.rows(&tokens[start..end], start, first_wanted)?;
            let rows = logits.par_chunks_exact(n_vocab).enumerate();
            let rows: Vec<Option<T>> = rows.map(|(idx, row)| work(start + first_wanted + idx, row)).collect();
            for (position, row) in (start + first_wanted..).zip(rows) {
                results.push(
                    row.ok_or_else(|| format!("its logits are not finite, first at token {position} of chunk {chunk_idx}"))?,
                );
            }
            start = end;
        }
        Ok(results)
    }

    /// Position of the first token that is scored: the one after half the chunk.
    fn first_scored(&self) -> usize {
        self.task.n_ctx as usize / 2 + 1
    }

    fn keep(&self, session: &mut dyn Session, chunk_idx: u32) -> Result<Event, String> {
        let tokens = self.tokens(chunk_idx)?;
        let rows = self.run(session, chunk_idx, |position, logits| {
            keep_reference(logits, *tokens.get(position + 1)?, u64::from(chunk_idx) << 32 | position as u64)
        })?;
        reference_file::write(&self.task.reference_dir, chunk_idx, self.n_vocab, &rows).map_err(|error| {
            format!("the reference's answers cannot be kept in {}: {error}", path_text::shown(&self.task.reference_dir))
        })?;
        Ok(Event::ReferenceChunk { chunk_idx })
    }

    fn compare(&self, session: &mut dyn Session, chunk_idx: u32) -> Result<Event, String> {
        let reference = reference_file::read(&self.task.reference_dir, chunk_idx, self.n_vocab)
            .ok_or_else(|| format!("the reference's answer to chunk {chunk_idx} is missing"))?;
        let first = self.first_scored();
        let scores = self.run(session, chunk_idx, |position, logits| score_row(logits, reference.get(position + 1 - first)?))?;
        let mut bytes = Vec::new();
        let pieces = self.tokens(chunk_idx)?.iter().map(|&token| {
            bytes.extend(self.model.piece(token, Marks::Tokens));
            // A character that is spread over several tokens stands at the last of them.
            take_complete_text(&mut bytes).unwrap_or_default()
        });
        let pieces: Vec<String> = pieces.collect();
        let mut tops = BTreeMap::new();
        for (row, score) in reference.iter().zip(&scores) {
            let reference_top = row.top.first().map_or(0, |entry| entry.0);
            if reference_top != score.top {
                for id in [reference_top, score.top] {
                    tops.entry(id).or_insert_with(|| String::from_utf8_lossy(&self.model.piece(id, Marks::Tokens)).into_owned());
                }
            }
        }
        let first_scored = u32::try_from(first).map_err(|error| error.to_string())?;
        Ok(Event::ScoredChunk {
            scores: Box::new(ChunkScores {
                chunk_idx,
                part_idx: self.chunks.get(chunk_idx as usize).map_or(0, |chunk| chunk.part_idx),
                first_scored,
                pieces,
                tops: tops.into_iter().collect(),
                ids: reference.iter().map(|row| row.id).collect(),
                reference_logps: reference.iter().map(|row| row.logp).collect(),
                reference_tops: reference.iter().filter_map(|row| row.top.first().copied()).collect(),
                scores,
            }),
        })
    }
}
