//! The child's work for an importance matrix: runs a model over a text and sums the squares of what its weights multiply.
//!
//! Chunks are those of llama-imatrix: `n_ctx` tokens each, nothing remembered between them, the first token replaced by the one that starts
//! a text where the model wants that, logits for all tokens, so that the last layer and the head see all of them.

use std::cell::RefCell;
use std::time::Instant;

use llama_cpp_2::token::LlamaToken;

use super::importance::{Collector, points};
use super::llama_cpp::{LlamaCpp, N_BATCH, N_UBATCH, context_settings, load_model};
use super::llama_sys::{Context, ContextSettings, is_encoder_decoder};
use super::llama_watch::Watch;
use super::moment_sites::MomentSites;
use super::session::Engine;
use super::split_text::{SplitText, n_rows_with_logits};
use super::tasks::Emit;
use super::tasks::scoring::read_corpus;
use super::text_plan::{Drawable, drawn};
use super::{CollectTask, Event, Part, memory};
use crate::format::ImatrixSums;
use crate::path_text;

/// Loads the model, tells how it splits the text, sums over the chunks and writes the sums; writes nothing for a text shorter
/// than a chunk. Returns the highest resident memory in bytes.
pub(super) fn collect(engine: &LlamaCpp, task: &CollectTask, emit: Emit) -> Result<u64, String> {
    let started = Instant::now();
    let corpus = read_corpus(&task.corpus_path)?;
    let model = load_model(&engine.backend, &task.path)?;
    if is_encoder_decoder(&model) {
        return Err("a model with encoder and decoder does not run over a text as others do".into());
    }
    let n_ctx = task.n_ctx as usize;
    let text = SplitText::of(&model, &corpus);
    let lens = text.lens();
    let drawable = |(&n_tokens, part): (&usize, &Part)| Drawable { n_tokens, percent: part.percent };
    let parts_to_draw: Vec<Drawable> = lens.iter().zip(&corpus.parts).map(drawable).collect();
    let chunks = drawn(&parts_to_draw, n_ctx, task.max_chunks.map_or(usize::MAX, |max| max as usize));

    let n_vocab = u32::try_from(model.n_vocab()).map_err(|error| error.to_string())?;
    let n_fitting = n_rows_with_logits(n_vocab as usize);
    let n_rows = if task.is_encoder { n_ctx } else { n_fitting.min(n_ctx).min(N_BATCH as usize) };
    let settings = context_settings(task.n_ctx, task.n_threads)?;
    let n_batch = u32::try_from(n_rows).map_err(|error| error.to_string())?;
    let n_ubatch = if task.is_encoder { n_batch } else { n_batch.min(N_UBATCH) };
    let settings = ContextSettings { n_batch, n_ubatch, ..settings };
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;
    emit(Event::TextPlan {
        n_vocab,
        n_tokens: lens.iter().map(|&len| len as u64).sum(),
        chunk_parts: chunks.iter().map(|chunk| chunk.part_idx).collect(),
        tokens_sha256: String::new(),
    })?;

    let chunks = text.tokens_of(&chunks, n_ctx)?;
    // A chunk that is computed piece by piece does not show all of its attention at once.
    let by_attention = task.by_attention && n_rows >= n_ctx && n_ctx <= N_UBATCH as usize;
    let run = |collector: Collector, n_before: usize, n_all: usize, emit: Emit| {
        let collector = if by_attention { collector.by_attention(task.is_encoder) } else { collector };
        let watch = RefCell::new(Watch::new(collector));
        let mut context = Context::watched(&model, settings, &watch)?;
        run_over(&mut context, &watch, &chunks, [n_rows, n_before, n_all], emit)?;
        drop(context);
        Ok::<_, String>(watch.into_inner().observer)
    };
    match &task.moments {
        _ if chunks.is_empty() => {}
        None => {
            let entries = run(Collector::new(task.tensors.clone()), 0, chunks.len(), emit)?.entries()?;
            let n_chunks = u32::try_from(chunks.len()).map_err(|error| error.to_string())?;
            let sums = ImatrixSums { datasets: Vec::new(), n_chunks, chunk_tokens: Some(task.n_ctx), is_dat: false, entries };
            let bytes = sums.to_gguf(&task.sums_path).map_err(|error| error.to_string())?;
            std::fs::write(&task.sums_path, bytes)
                .map_err(|error| format!("the sums cannot be written to {}: {error}", path_text::shown(&task.sums_path)))?;
        }
        Some(moments) => {
            let n_all = chunks.len() * moments.passes.len();
            for (pass_idx, tensors) in moments.passes.iter().enumerate() {
                let tensors = tensors.iter().filter_map(|&idx| task.tensors.get(idx).cloned()).collect();
                let collector = Collector::new(tensors).with_moments(MomentSites::new(moments.n_groups));
                let collector = run(collector, pass_idx * chunks.len(), n_all, emit)?;
                let sites = collector.moments().ok_or("no moments")?.write(&moments.folder, &collector.entries()?)?;
                emit(Event::MomentsWritten { sites })?;
            }
        }
    }
    Ok(memory::peak_memory_bytes())
}

/// Runs a model over the chunks, `n_rows` tokens at a time; before it `n_before` of `n_all` chunks were done.
fn run_over(
    context: &mut Context,
    watch: &RefCell<Watch<Collector>>,
    chunks: &[Vec<LlamaToken>],
    [n_rows, n_before, n_all]: [usize; 3],
    emit: Emit,
) -> Result<(), String> {
    let number = |n: usize| u32::try_from(n).map_err(|error| error.to_string());
    let points = points(number(chunks.len())?);
    for (n_done, tokens) in (1..).zip(chunks) {
        context.clear();
        for (idx, piece) in tokens.chunks(n_rows).enumerate() {
            watch.borrow_mut().observer.start_piece();
            context.compute(piece, idx * n_rows, 0)?;
        }
        let mut watch = watch.borrow_mut();
        watch.observer.end_text();
        if let Some(problem) = watch.observer.problem() {
            return Err(format!("{problem}, in chunk {n_done}"));
        }
        let change = if points.contains(&number(n_done)?) { watch.observer.change() } else { None };
        emit(Event::CollectedChunk { n_done: number(n_before + n_done)?, n_chunks: number(n_all)?, change })?;
    }
    Ok(())
}
