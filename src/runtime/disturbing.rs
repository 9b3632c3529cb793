//! The child's work for sensitivities: runs a model over some chunks of a text, undisturbed and then once for each round of errors.

use std::cell::RefCell;
use std::time::Instant;

use llama_cpp_2::token::LlamaToken;

use super::llama_cpp::{LlamaCpp, N_UBATCH, context_settings, load_model};
use super::llama_sys::{Context, ContextSettings, is_encoder_decoder};
use super::llama_watch::Watch;
use super::sensitivity::answers::{Answers, N_SAMPLES, mean_divergence};
use super::sensitivity::disturber::Disturber;
use super::sensitivity::{Agreement, Sensitivity, even_scales, n_rounds};
use super::session::Engine;
use super::split_text::{SplitText, n_rows_with_logits};
use super::tasks::Emit;
use super::tasks::scoring::read_corpus;
use super::text_plan::chunks;
use super::{Event, SensitivityTask, memory};
use crate::format;

/// The part of a chunk that only gives context: its predictions are not looked at.
const CONTEXT_PART: usize = 8;
/// Divergence of a round in nats: small enough for effects to add up, a thousand times what rounding in the runtime causes.
const WANTED_DIVERGENCE: f64 = 0.004;
/// What errors are multiplied by in the round that finds the right scale.
const FIRST_SCALE: f32 = 0.25;

/// Loads the model and tells what the rounding of each tensor costs. Returns the highest resident memory in bytes.
pub(super) fn disturb(engine: &LlamaCpp, task: &SensitivityTask, emit: Emit) -> Result<u64, String> {
    let started = Instant::now();
    let corpus = read_corpus(&task.corpus_path)?;
    let source = format::inspect(&task.path).map_err(|error| error.to_string())?;
    let model = load_model(&engine.backend, &task.path)?;
    if is_encoder_decoder(&model) || source.hyperparameters.is_encoder {
        return Err("only models that predict the next token can be disturbed".into());
    }
    let n_vocab = usize::try_from(model.n_vocab()).map_err(|error| error.to_string())?;
    let n_ctx = (task.n_ctx.min(N_UBATCH) as usize).min(n_rows_with_logits(n_vocab));
    let text = SplitText::of(&model, &corpus);
    let mut chunks = chunks(&text.lens(), n_ctx);
    chunks.truncate(task.n_chunks as usize);
    let texts = text.tokens_of(&chunks, n_ctx)?;
    if texts.is_empty() {
        return Err(format!("the text is shorter than a chunk of {n_ctx} tokens"));
    }
    let n_batch = u32::try_from(n_ctx).map_err(|error| error.to_string())?;
    let settings =
        ContextSettings { n_batch, n_ubatch: n_batch, exact_attention: true, ..context_settings(n_batch, task.n_threads)? };
    let rounded = format::inspect(&task.rounded_path).map_err(|error| error.to_string())?;
    let watch = RefCell::new(Watch::new(Disturber::new(&source, &rounded, &task.tensors, &task.work_dir)?));
    let mut context = Context::watched(&model, settings, &watch)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;
    let sensitivities = Rounds { context: &mut context, watch: &watch, n_vocab, emit }.run(&texts, task.tensors.len())?;
    emit(Event::Sensitivities { tensors: sensitivities })?;
    Ok(memory::peak_memory_bytes())
}

struct Rounds<'a, 'm, 'e> {
    context: &'a mut Context<'m>,
    watch: &'a RefCell<Watch<Disturber>>,
    n_vocab: usize,
    emit: Emit<'e>,
}

impl Rounds<'_, '_, '_> {
    fn run(&mut self, texts: &[Vec<LlamaToken>], n_tensors: usize) -> Result<Vec<Sensitivity>, String> {
        let n_rounds = n_rounds(n_tensors);
        let mut agreement = Agreement::new(n_rounds);
        let n_all = u32::try_from(texts.len() * n_rounds).map_err(|error| error.to_string())?;
        let mut n_done = 0;
        let mut used = vec![false; n_tensors];
        let mut scales = Vec::new();
        for tokens in texts {
            let first = tokens.len() / CONTEXT_PART;
            self.watch.borrow_mut().observer.start_text(tokens.iter().map(|token| token.0.cast_unsigned()).collect());
            let n_vocab = self.n_vocab;
            let answers = Answers::of(self.logits(tokens, first)?, n_vocab).ok_or("the logits are not numbers")?;
            self.watch.borrow().observer.used().iter().zip(&mut used).for_each(|(is_used, used)| *used |= is_used);
            if scales.is_empty() {
                scales = self.first_scales(n_tensors, tokens, first, &answers)?;
            } else {
                // What was learned from the texts before.
                scales = even_scales(&agreement.costs(n_tensors), WANTED_DIVERGENCE);
            }
            let mut changes = Vec::with_capacity(n_rounds);
            for round in 0..n_rounds {
                changes.push(self.round(round, &scales, tokens, first, &answers)?);
                n_done += 1;
                (self.emit)(Event::CollectedChunk { n_done, n_chunks: n_all, change: None })?;
            }
            agreement.add(&scales, &changes, N_SAMPLES);
        }
        let costs = agreement.costs(n_tensors);
        let watch = self.watch.borrow();
        let names = watch.observer.names().map(String::from);
        let found = names.zip(costs).zip(used).filter(|(_, used)| *used);
        Ok(found.map(|((tensor, (loss, loss_error)), _)| Sensitivity { tensor, loss, loss_error }).collect())
    }

    /// The same scale for all tensors, at which a round changes as much as is wanted.
    #[allow(clippy::cast_possible_truncation, reason = "a factor")]
    fn first_scales(&mut self, n: usize, tokens: &[LlamaToken], first: usize, answers: &Answers) -> Result<Vec<f32>, String> {
        let changes = self.round(0, &vec![FIRST_SCALE; n], tokens, first, answers)?;
        let divergence = mean_divergence(&changes).max(f64::MIN_POSITIVE);
        let scale = (f64::from(FIRST_SCALE) * (WANTED_DIVERGENCE / divergence).sqrt()).min(1.0);
        Ok(vec![scale as f32; n])
    }

    fn round(
        &mut self,
        idx: usize,
        scales: &[f32],
        tokens: &[LlamaToken],
        first: usize,
        answers: &Answers,
    ) -> Result<Vec<f32>, String> {
        self.watch.borrow_mut().observer.start_round(idx, scales.to_vec());
        Ok(answers.changes(self.logits(tokens, first)?))
    }

    /// Logits of the tokens from `first` on.
    fn logits(&mut self, tokens: &[LlamaToken], first: usize) -> Result<&[f32], String> {
        self.context.clear();
        let logits = self.context.decode_rows(tokens, 0, first)?;
        match self.watch.borrow().observer.problem() {
            Some(problem) => Err(problem.into()),
            None => Ok(logits),
        }
    }
}
