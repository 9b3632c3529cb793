//! The child's work for a probe: what a model says about given tokens.

use std::time::Instant;

use super::Emit;
use crate::runtime::score::log_normalizer;
use crate::runtime::session::{Engine, MAX_ROWS, Marks, Purpose, SessionSettings, TextStart, Vocabulary};
use crate::runtime::{Event, ProbeInput, ProbeTask};

/// Loads the model and tells, for each input, its tokens and how likely the model finds each next one. Returns the highest
/// resident memory in bytes.
pub(in crate::runtime) fn probe(engine: &dyn Engine, task: &ProbeTask, emit: Emit) -> Result<u64, String> {
    let started = Instant::now();
    let model = engine.load(&task.path, Purpose::Losses)?;
    let n_vocab = model.n_vocab();
    let inputs: Vec<Vec<u32>> = task.inputs.iter().map(|input| tokens_of(model.as_ref(), input)).collect::<Result<_, _>>()?;
    let longest = inputs.iter().map(Vec::len).max().unwrap_or(0);
    let mut session = None;
    if task.max_tokens > 0 && longest > 0 {
        let n_tokens = u32::try_from(longest.min(task.max_tokens as usize).min(MAX_ROWS)).unwrap_or(u32::MAX);
        let exact_attention = task.exact_attention;
        session = Some(model.session(SessionSettings { n_tokens, n_threads: task.n_threads, exact_attention })?);
    }
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;
    for ids in inputs {
        let run = ids.get(..ids.len().min(task.max_tokens as usize).min(MAX_ROWS)).unwrap_or_default();
        let (mut logps, mut last_logits) = (Vec::new(), Vec::new());
        if let (Some(session), false) = (&mut session, run.is_empty()) {
            session.clear()?;
            let logits = session.rows(run, 0, 0)?;
            let rows: Vec<&[f32]> = logits.chunks_exact(n_vocab as usize).collect();
            for (row, &next) in rows.iter().zip(run.iter().skip(1)) {
                let (_, normalizer) = log_normalizer(row).ok_or("its logits are not numbers")?;
                let logit = row.get(next as usize).ok_or("a token outside the vocabulary")?;
                logps.push(f64::from(*logit) - normalizer);
            }
            last_logits = rows.last().map(|row| row.to_vec()).unwrap_or_default();
            log_normalizer(&last_logits).ok_or("its logits are not numbers")?;
        }
        emit(Event::Probed { n_vocab, ids, logps, last_logits: if task.with_logits { last_logits } else { Vec::new() } })?;
    }
    Ok(model.peak_memory_bytes())
}

pub(super) fn tokens_of(model: &dyn Vocabulary, input: &ProbeInput) -> Result<Vec<u32>, String> {
    match input {
        ProbeInput::Text(text) => model.tokenize(text, TextStart::Bare, Marks::Text),
        ProbeInput::Ids(ids) => Ok(ids.clone()),
    }
}
