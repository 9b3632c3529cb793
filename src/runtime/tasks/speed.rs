//! The child's work for a measurement of speed and memory.

use std::time::{Duration, Instant};

use super::Emit;
use crate::runtime::session::{Engine, Language, Purpose, Session, SessionSettings};
use crate::runtime::{BenchTask, Event};

/// Prompt tokens of the warm-up: enough to touch every weight and to start every thread, few enough to cost little on a large model.
const N_WARM_UP_PROMPT: u32 = 64;
/// Generated tokens of the warm-up.
const N_WARM_UP_GEN: u32 = 4;
/// Start of the random tokens: every run computes the same ones.
const SEED: u64 = 0x0070_6C61_6E69_7368;

/// Measures prefill, then decode on top of the prompt, each once after a warm-up. Returns the highest resident memory in bytes.
///
/// Tokens are random, as in llama-bench: the speed does not depend on them, and no sampler's time is counted.
pub(in crate::runtime) fn bench(engine: &dyn Engine, task: &BenchTask, emit: Emit) -> Result<u64, String> {
    let n_tokens = task.n_prompt_tokens.checked_add(task.n_gen_tokens).ok_or("too many tokens")?;
    let started = Instant::now();
    let model = engine.load(&task.path, Purpose::Use)?;
    let mut session = model.session(SessionSettings { n_tokens, n_threads: task.n_threads, exact_attention: false })?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info: engine.info() })?;

    let mut tokens = RandomTokens::new(model.as_ref())?;
    session.compute(&tokens.prompt(task.n_prompt_tokens.min(N_WARM_UP_PROMPT)))?;
    decode(session.as_mut(), &tokens.take(task.n_gen_tokens.min(N_WARM_UP_GEN)))?;
    session.clear()?;

    let prompt = tokens.prompt(task.n_prompt_tokens);
    emit(Event::WarmedUp)?;
    let started = Instant::now();
    session.compute(&prompt)?;
    emit(Event::Prefill { tokens_per_sec: f64::from(task.n_prompt_tokens) / started.elapsed().as_secs_f64() })?;

    let continuation = tokens.take(task.n_gen_tokens);
    let started = Instant::now();
    decode(session.as_mut(), &continuation)?;
    emit(Event::Decode { tokens_per_sec: f64::from(task.n_gen_tokens) / started.elapsed().as_secs_f64() })?;
    if let Some(secs) = task.sustained_secs {
        sustain(session.as_mut(), &mut tokens, task, Duration::from_secs(u64::from(secs)), emit)?;
    }
    Ok(model.peak_memory_bytes()) // before the model is dropped
}

/// Computes the tokens one by one and waits for each, as a chat does, which needs a token to choose the next.
fn decode(session: &mut dyn Session, tokens: &[u32]) -> Result<(), String> {
    tokens.iter().try_for_each(|token| session.compute(std::slice::from_ref(token)))
}

/// Decodes without a pause for `duration` and tells the speed of each second.
///
/// When the context is full, all but the prompt is forgotten: with a context that fills up anew the speed would rise and fall with its
/// length, not with heat. A model that cannot forget a part forgets all.
fn sustain(
    session: &mut dyn Session,
    tokens: &mut RandomTokens,
    task: &BenchTask,
    duration: Duration,
    emit: Emit,
) -> Result<(), String> {
    const SECOND: Duration = Duration::from_secs(1);
    let n_tokens = task.n_prompt_tokens + task.n_gen_tokens; // `bench` has checked the sum
    let mut position = n_tokens;
    let started = Instant::now();
    let (mut second_started, mut n_decoded) = (started, 0_u32);
    loop {
        if position >= n_tokens {
            position = if session.forget_from(task.n_prompt_tokens)? { task.n_prompt_tokens } else { 0 };
            if position == 0 {
                session.clear()?;
            }
        }
        decode(session, &tokens.take(1))?;
        (position, n_decoded) = (position + 1, n_decoded + 1);
        let (elapsed, is_over) = (second_started.elapsed(), started.elapsed() >= duration);
        // The rest of a second at the end counts if it is most of one, or all there is.
        if elapsed >= SECOND || is_over && (elapsed >= SECOND / 2 || duration < SECOND) {
            emit(Event::SustainedSecond { tokens_per_sec: f64::from(n_decoded) / elapsed.as_secs_f64() })?;
            (second_started, n_decoded) = (Instant::now(), 0);
        }
        if is_over {
            return Ok(());
        }
    }
}

/// The same random tokens for every model with the same vocabulary.
struct RandomTokens {
    state: u64,
    n_vocab: u64,
    /// Starts each text, where the model wants that.
    bos: Option<u32>,
}

impl RandomTokens {
    fn new(model: &dyn Language) -> Result<Self, String> {
        let n_vocab = Some(u64::from(model.n_vocab())).filter(|&n| n > 0).ok_or("the model has no vocabulary")?;
        Ok(Self { state: SEED, n_vocab, bos: model.bos() })
    }

    fn take(&mut self, n: u32) -> Vec<u32> {
        (0..n).map(|_| self.random()).collect()
    }

    fn prompt(&mut self, n: u32) -> Vec<u32> {
        let mut tokens = self.take(n);
        if let (Some(first), Some(bos)) = (tokens.first_mut(), self.bos) {
            *first = bos;
        }
        tokens
    }

    /// The next random token.
    ///
    /// Source: `SplitMix64`, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn random(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((z ^ (z >> 31)) % self.n_vocab).unwrap_or(0)
    }
}
