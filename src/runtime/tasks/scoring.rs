//! The child's work for a comparison: runs a model over chunks of a text as the parent grants them.
//!
//! The reference keeps its answers in files, a candidate is compared with them. Both split the text alike, so a chunk has the same
//! number for all models with the same tokenizer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::Emit;
use crate::path_text;
use crate::runtime::score::{ReferenceRow, RowScore, keep_reference, score_row};
use crate::runtime::session::{
    Engine, MAX_ROWS, Marks, Purpose, Session, SessionSettings, TextStart, Vocabulary, take_complete_text,
};
use crate::runtime::text_plan::{Chunk, chunks};
use crate::runtime::{ChunkScores, Corpus, Event, ScoreRole, ScoreTask, hex, reference_file};

/// Logits that are kept at a time: enough rows to use the cores well, few enough for a vocabulary of 256,000.
const MAX_LOGITS_BYTES: usize = 96 << 20;

/// A model, the text in its tokens, and where the reference's answers lie.
pub(super) struct Scorer<'a> {
    task: &'a ScoreTask,
    model: &'a dyn Vocabulary,
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
    let corpus = read_corpus(&task.corpus_path)?;
    let model = engine.load(&task.path, Purpose::Losses)?;
    let scorer = Scorer::new(task, model.as_ref(), &corpus)?;
    let settings = SessionSettings { n_tokens: task.n_ctx, n_threads: task.n_threads, exact_attention: false };
    let mut session = model.session(settings)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;
    emit(scorer.plan())?;
    for chunk_idx in grants {
        emit(scorer.run(session.as_mut(), chunk_idx)?)?;
    }
    Ok(model.peak_memory_bytes())
}

/// The text of a task.
pub(in crate::runtime) fn read_corpus(path: &Path) -> Result<Corpus, String> {
    let text = std::fs::read(path).map_err(|error| format!("the text cannot be read: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("the text cannot be read: {error}"))
}

impl<'a> Scorer<'a> {
    /// Splits the text and cuts it into chunks.
    pub(super) fn new(task: &'a ScoreTask, model: &'a dyn Vocabulary, corpus: &Corpus) -> Result<Self, String> {
        // As llama-perplexity does: special tokens where the model wants them, none from the text itself.
        let split = |part: &crate::runtime::Part| model.tokenize(&part.text, TextStart::Marked, Marks::Text);
        let parts: Vec<Vec<u32>> = corpus.parts.iter().map(split).collect::<Result<_, _>>()?;
        let lens: Vec<usize> = parts.iter().map(Vec::len).collect();
        let chunks = chunks(&lens, task.n_ctx as usize);
        Ok(Self { task, model, n_vocab: model.n_vocab(), bos: model.bos(), parts, chunks })
    }

    /// How the model splits the text.
    pub(super) fn plan(&self) -> Event {
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

    /// The tokens of a chunk as the model gets them: with the token that starts a text, where it wants one.
    pub(super) fn model_tokens(&self, chunk_idx: u32) -> Result<Vec<u32>, String> {
        let mut tokens = self.tokens(chunk_idx)?.to_vec();
        if let (Some(first), Some(bos)) = (tokens.first_mut(), self.bos) {
            *first = bos;
        }
        Ok(tokens)
    }

    /// Positions of a chunk whose logits are used. Those at a position speak of the next token: they are used from half the chunk on, as
    /// in llama-perplexity, up to the last but one.
    pub(super) fn answering_positions(&self) -> Range<usize> {
        self.first_scored() - 1..(self.task.n_ctx as usize).saturating_sub(1).max(self.first_scored() - 1)
    }

    /// Position of the first token that is scored: the one after half the chunk.
    fn first_scored(&self) -> usize {
        self.task.n_ctx as usize / 2 + 1
    }

    /// Runs the model over a chunk and judges its answers.
    fn run(&self, session: &mut dyn Session, chunk_idx: u32) -> Result<Event, String> {
        let tokens = self.model_tokens(chunk_idx)?;
        let used = self.answering_positions();
        let n_vocab = self.n_vocab as usize;
        let n_rows = (MAX_LOGITS_BYTES / (4 * n_vocab.max(1))).max(16);
        let mut judge = self.judge(chunk_idx)?;
        session.clear()?;
        let mut start = 0;
        // The last token's own answer is not used: it is not even computed.
        while start < used.end {
            let end = used.end.min(start + MAX_ROWS).min(start.max(used.start) + n_rows);
            let first_wanted = used.start.saturating_sub(start);
            let logits = session.rows(&tokens[start..end], start, first_wanted)?;
            judge.take(start + first_wanted, logits)?;
            start = end;
        }
        judge.finish()
    }

    /// What becomes of the answers to a chunk, before the first one.
    pub(super) fn judge(&self, chunk_idx: u32) -> Result<ChunkJudge<'_>, String> {
        let found = match self.task.role {
            ScoreRole::Reference => Found::Kept(Vec::new()),
            ScoreRole::Candidate => {
                let reference = reference_file::read(&self.task.reference_dir, chunk_idx, self.n_vocab);
                let reference = reference.ok_or_else(|| format!("the reference's answer to chunk {chunk_idx} is missing"))?;
                Found::Compared { reference, scores: Vec::new() }
            }
        };
        Ok(ChunkJudge { scorer: self, chunk_idx, tokens: self.tokens(chunk_idx)?, found })
    }

    /// A candidate's answer to a chunk.
    fn compared(&self, chunk_idx: u32, reference: &[ReferenceRow], scores: Vec<RowScore>) -> Result<Event, String> {
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
        let first_scored = u32::try_from(self.first_scored()).map_err(|error| error.to_string())?;
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

/// What becomes of the logits of one chunk: they are kept, or compared with what was kept.
pub(super) struct ChunkJudge<'a> {
    scorer: &'a Scorer<'a>,
    chunk_idx: u32,
    /// As the text has them.
    tokens: &'a [u32],
    found: Found,
}

enum Found {
    Kept(Vec<ReferenceRow>),
    Compared { reference: Vec<ReferenceRow>, scores: Vec<RowScore> },
}

impl ChunkJudge<'_> {
    /// Takes the logits of adjacent positions, which follow those that it has taken. Returns the position after them.
    pub(super) fn take(&mut self, first_position: usize, logits: &[f32]) -> Result<usize, String> {
        let (tokens, chunk_idx, first) = (self.tokens, self.chunk_idx, self.scorer.answering_positions().start);
        let rows = logits.par_chunks_exact(self.scorer.n_vocab.max(1) as usize).enumerate();
        match &mut self.found {
            Found::Kept(kept) => {
                let row = |(idx, logits): (usize, &[f32])| {
                    let position = first_position + idx;
                    keep_reference(logits, *tokens.get(position + 1)?, u64::from(chunk_idx) << 32 | position as u64)
                };
                add_all(kept, rows.map(row).collect(), first_position, chunk_idx)
            }
            Found::Compared { reference, scores } => {
                let row = |(idx, logits): (usize, &[f32])| score_row(logits, reference.get(first_position + idx - first)?);
                add_all(scores, rows.map(row).collect(), first_position, chunk_idx)
            }
        }
    }

    /// Keeps what is to be kept, and tells the parent.
    pub(super) fn finish(self) -> Result<Event, String> {
        let Self { scorer, chunk_idx, .. } = self;
        match self.found {
            Found::Kept(rows) => {
                let dir = &scorer.task.reference_dir;
                reference_file::write(dir, chunk_idx, scorer.n_vocab, &rows)
                    .map_err(|error| format!("the reference's answers cannot be kept in {}: {error}", path_text::shown(dir)))?;
                Ok(Event::ReferenceChunk { chunk_idx })
            }
            Found::Compared { reference, scores } => scorer.compared(chunk_idx, &reference, scores),
        }
    }
}

/// Adds rows in the order of their positions. Returns the position after them.
fn add_all<T>(all: &mut Vec<T>, rows: Vec<Option<T>>, first_position: usize, chunk_idx: u32) -> Result<usize, String> {
    let end = first_position + rows.len();
    for (position, row) in (first_position..).zip(rows) {
        all.push(row.ok_or_else(|| format!("its logits are not finite, first at token {position} of chunk {chunk_idx}"))?);
    }
    Ok(end)
}
