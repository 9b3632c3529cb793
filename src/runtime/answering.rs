//! The child's work for an answer: puts the prompt into the model's chat template, chooses token after token and tells each.

use std::time::Instant;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::{LlamaChatMessage, LlamaModel};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use sha2::{Digest, Sha256};

use super::llama_cpp::{Emit, decode, load_model, new_context, prefill, take_complete_text};
use super::llama_sys::Context;
use super::{Event, GenerateTask, PromptMode, RuntimeInfo, Sampling, TOP_K, TOP_P, TemplateUse, memory};

/// Generates until the model ends its text, `n_predict` tokens are there, or the model's context is full.
pub(super) fn generate(backend: &LlamaBackend, info: RuntimeInfo, task: &GenerateTask, emit: Emit) -> Result<u64, String> {
    let started = Instant::now();
    let model = load_model(backend, &task.path)?;
    let (prompt, template) = prompt_tokens(&model, task)?;
    let n_prompt = u32::try_from(prompt.len()).map_err(|error| error.to_string())?;
    let n_ctx = model.n_ctx_train();
    let n_room = n_ctx.checked_sub(n_prompt).filter(|&n_room| n_room > 0);
    let n_room = n_room.ok_or_else(|| format!("the prompt has {n_prompt} tokens, the model's context holds {n_ctx}"))?;
    let n_predict = task.n_predict.min(n_room);
    let mut context = new_context(&model, n_prompt + n_predict, task.n_threads)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info })?;
    emit(Event::Prompt { n_tokens: n_prompt, template, vocabulary_sha256: vocabulary_sha256(&model) })?;

    let mut sampler = sampler(task.sampling);
    let started = Instant::now();
    prefill(&mut context, &prompt)?;
    emit(Event::Prefill { tokens_per_sec: f64::from(n_prompt) / started.elapsed().as_secs_f64() })?;

    let vocab = model.vocab();
    let (mut bytes, mut n_generated, mut ended_by_itself) = (Vec::new(), 0_u32, false);
    let started = Instant::now();
    while n_generated < n_predict {
        let token = sample(&mut context, &mut sampler)?;
        if vocab.is_eog(token) {
            ended_by_itself = true;
            break;
        }
        n_generated += 1;
        bytes.extend(vocab.token_to_piece(token, false, None));
        let text = take_complete_text(&mut bytes).unwrap_or_default();
        let id = u32::try_from(token.0).map_err(|error| error.to_string())?;
        emit(Event::Token { id, text, elapsed_secs: started.elapsed().as_secs_f64() })?;
        decode(&mut context, &[token])?;
    }
    let tokens_per_sec = (n_generated > 0).then(|| f64::from(n_generated) / started.elapsed().as_secs_f64());
    emit(Event::Generated { tokens_per_sec, ended_by_itself, rest: String::from_utf8_lossy(&bytes).into_owned() })?;
    Ok(memory::peak_memory_bytes())
}

/// The order of the steps is llama.cpp's. Source: `common_params_sampling::samplers` in common.h.
fn sampler(sampling: Sampling) -> LlamaSampler {
    match sampling {
        Sampling::Greedy => LlamaSampler::greedy(),
        Sampling::Random { temperature, seed } => LlamaSampler::chain_simple([
            LlamaSampler::top_k(TOP_K),
            LlamaSampler::top_p(TOP_P, 1),
            LlamaSampler::temp(temperature),
            LlamaSampler::dist(seed),
        ]),
    }
}

/// Chooses the next token.
fn sample(context: &mut Context, sampler: &mut LlamaSampler) -> Result<LlamaToken, String> {
    let logits = context.logits().ok_or("the model gave no logits")?;
    if logits.iter().any(|logit| logit.is_nan()) {
        return Err("its logits are not numbers".into());
    }
    let candidates = (0..).zip(logits).map(|(id, &logit)| LlamaTokenData::new(LlamaToken::new(id), logit, 0.0));
    let mut candidates = LlamaTokenDataArray::from_iter(candidates, false);
    sampler.apply(&mut candidates);
    let token = candidates.selected_token().ok_or("no token could be chosen")?;
    sampler.accept(token);
    Ok(token)
}

fn prompt_tokens(model: &LlamaModel, task: &GenerateTask) -> Result<(Vec<LlamaToken>, TemplateUse), String> {
    let (text, template) = match task.mode {
        PromptMode::Completion => (task.prompt.clone(), TemplateUse::Unwanted),
        PromptMode::Chat => templated(model, &task.prompt)?,
    };
    // Only a template's own marks are special tokens: a bare prompt is text.
    let tokens = model.vocab().tokenize(text.as_bytes(), true, template == TemplateUse::Applied);
    if tokens.is_empty() { Err("the prompt is empty".into()) } else { Ok((tokens, template)) }
}

/// The prompt as the user's turn, with the start of the model's own. llama.cpp knows the common templates by their marks.
fn templated(model: &LlamaModel, prompt: &str) -> Result<(String, TemplateUse), String> {
    let Ok(template) = model.chat_template(None) else { return Ok((prompt.into(), TemplateUse::Missing)) };
    let message = LlamaChatMessage::new("user".into(), prompt.into()).map_err(|error| error.to_string())?;
    Ok(match model.apply_chat_template(&template, &[message], true) {
        Ok(text) => (text, TemplateUse::Applied),
        Err(_) => (prompt.into(), TemplateUse::Unknown),
    })
}

fn vocabulary_sha256(model: &LlamaModel) -> String {
    let vocab = model.vocab();
    let mut hash = Sha256::new();
    for token in vocab.tokens() {
        hash.update(vocab.text(token).map_or(&b"\0"[..], std::ffi::CStr::to_bytes_with_nul));
    }
    super::hex(&hash.finalize())
}
