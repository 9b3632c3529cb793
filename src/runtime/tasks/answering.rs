//! The child's work for an answer: puts the prompt into the model's chat template, chooses token after token and tells each.

use std::time::Instant;

use super::Emit;
use crate::runtime::sampler::Sampler;
use crate::runtime::session::{Engine, Language, Marks, Purpose, SessionSettings, TextStart, take_complete_text};
use crate::runtime::{Event, GenerateTask, PromptMode, TemplateUse};

/// Generates until the model ends its text, `n_predict` tokens are there, or the model's context is full. Returns the highest resident
/// memory in bytes.
pub(in crate::runtime) fn generate(engine: &dyn Engine, task: &GenerateTask, emit: Emit) -> Result<u64, String> {
    let started = Instant::now();
    let model = engine.load(&task.path, Purpose::Use)?;
    let (prompt, template) = prompt_tokens(model.as_ref(), task)?;
    let n_prompt = u32::try_from(prompt.len()).map_err(|error| error.to_string())?;
    let n_ctx = model.n_ctx_train();
    let n_room = n_ctx.checked_sub(n_prompt).filter(|&n_room| n_room > 0);
    let n_room = n_room.ok_or_else(|| format!("the prompt has {n_prompt} tokens, the model's context holds {n_ctx}"))?;
    let n_predict = task.n_predict.min(n_room);
    let settings = SessionSettings { n_tokens: n_prompt + n_predict, n_threads: task.n_threads, exact_attention: false };
    let mut session = model.session(settings)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;
    emit(Event::Prompt { n_tokens: n_prompt, template, vocabulary_sha256: model.vocabulary_sha256() })?;

    let mut sampler = Sampler::new(task.sampling);
    let started = Instant::now();
    session.compute(&prompt)?;
    emit(Event::Prefill { tokens_per_sec: f64::from(n_prompt) / started.elapsed().as_secs_f64() })?;

    let (mut bytes, mut n_generated, mut ended_by_itself) = (Vec::new(), 0_u32, false);
    let started = Instant::now();
    while n_generated < n_predict {
        let token = sampler.choose(session.last_logits()?)?;
        if model.is_end(token) {
            ended_by_itself = true;
            break;
        }
        n_generated += 1;
        bytes.extend(model.piece(token, Marks::Text));
        let text = take_complete_text(&mut bytes).unwrap_or_default();
        emit(Event::Token { id: token, text, elapsed_secs: started.elapsed().as_secs_f64() })?;
        session.compute(&[token])?;
    }
    let tokens_per_sec = (n_generated > 0).then(|| f64::from(n_generated) / started.elapsed().as_secs_f64());
    emit(Event::Generated { tokens_per_sec, ended_by_itself, rest: String::from_utf8_lossy(&bytes).into_owned() })?;
    Ok(model.peak_memory_bytes())
}

fn prompt_tokens(model: &dyn Language, task: &GenerateTask) -> Result<(Vec<u32>, TemplateUse), String> {
    let (text, template) = match task.mode {
        PromptMode::Completion => (task.prompt.clone(), TemplateUse::Unwanted),
        PromptMode::Chat => model.templated(&task.prompt)?,
    };
    // Only a template's own marks are special tokens: a bare prompt is text.
    let marks = if template == TemplateUse::Applied { Marks::Tokens } else { Marks::Text };
    let tokens = model.tokenize(&text, TextStart::Marked, marks)?;
    if tokens.is_empty() { Err("the prompt is empty".into()) } else { Ok((tokens, template)) }
}
