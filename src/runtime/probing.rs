//! The child's work for a probe: what a model says about given tokens.

use std::time::Instant;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::llama_cpp::{Emit, load_model, settings};
use super::llama_sys::{Context, ContextSettings};
use super::score::log_normalizer;
use super::{Event, ProbeInput, ProbeTask, RuntimeInfo, memory};

/// Most tokens of an input: one batch of llama.cpp.
const MAX_TOKENS: usize = super::llama_cpp::N_BATCH as usize;

/// Loads the model and tells of each input its tokens and how likely the model finds each next one.
pub(super) fn probe(backend: &LlamaBackend, info: RuntimeInfo, task: &ProbeTask, emit: Emit) -> Result<u64, String> {
    let started = Instant::now();
    let model = load_model(backend, &task.path)?;
    let n_vocab = u32::try_from(model.n_vocab()).map_err(|error| error.to_string())?;
    let inputs: Vec<Vec<LlamaToken>> = task.inputs.iter().map(|input| tokens_of(&model, input)).collect::<Result<_, _>>()?;
    let longest = inputs.iter().map(Vec::len).max().unwrap_or(0);
    let mut context = None;
    if task.max_tokens > 0 && longest > 0 {
        let n_tokens = longest.min(task.max_tokens as usize).min(MAX_TOKENS);
        let n_tokens = u32::try_from(n_tokens).unwrap_or(u32::MAX);
        let settings = ContextSettings { exact_attention: task.exact_attention, ..settings(n_tokens, task.n_threads)? };
        context = Some(Context::new(&model, settings)?);
    }
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info })?;
    for tokens in &inputs {
        let ids = tokens.iter().map(|token| u32::try_from(token.0).map_err(|error| error.to_string()));
        let ids = ids.collect::<Result<Vec<u32>, String>>()?;
        let run = tokens.get(..tokens.len().min(task.max_tokens as usize).min(MAX_TOKENS)).unwrap_or_default();
        let (mut logps, mut last_logits) = (Vec::new(), Vec::new());
        if let (Some(context), false) = (&mut context, run.is_empty()) {
            context.clear();
            let logits = context.decode_rows(run, 0, 0)?;
            let rows: Vec<&[f32]> = logits.chunks_exact(n_vocab as usize).collect();
            for (row, next) in rows.iter().zip(run.iter().skip(1)) {
                let (_, normalizer) = log_normalizer(row).ok_or("its logits are not numbers")?;
                let logit = usize::try_from(next.0).ok().and_then(|id| row.get(id)).ok_or("a token outside the vocabulary")?;
                logps.push(f64::from(*logit) - normalizer);
            }
            last_logits = rows.last().map(|row| row.to_vec()).unwrap_or_default();
            log_normalizer(&last_logits).ok_or("its logits are not numbers")?;
        }
        emit(Event::Probed { n_vocab, ids, logps, last_logits: if task.with_logits { last_logits } else { Vec::new() } })?;
    }
    Ok(memory::peak_memory_bytes())
}

fn tokens_of(model: &LlamaModel, input: &ProbeInput) -> Result<Vec<LlamaToken>, String> {
    match input {
        ProbeInput::Text(text) => Ok(model.vocab().tokenize(text.as_bytes(), false, false)),
        ProbeInput::Ids(ids) => {
            ids.iter().map(|&id| i32::try_from(id).map(LlamaToken::new).map_err(|error| error.to_string())).collect()
        }
    }
}
