//! The child's work with llama.cpp: load and measure.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};

use super::llama_sys::{self, Context, ContextSettings};
use super::{BenchTask, Event, Request, RuntimeInfo, memory};

use crate::path_text;

/// Tokens that llama.cpp accepts in one call. Source: `n_batch` in `common_params`, common.h, llama.cpp.
pub(super) const N_BATCH: u32 = 2048;
/// Tokens that it computes at once. Source: `n_ubatch`, likewise.
pub(super) const N_UBATCH: u32 = 512;
/// The context is a multiple of this. Source: `GGML_PAD(n_ctx, 256)` in llama-context.cpp.
const CTX_GRANULE: u32 = 256;
/// Prompt tokens of the warm-up: enough to touch every weight and to start every thread, few enough to cost little on a large model.
const N_WARM_UP_PROMPT: u32 = 64;
/// Generated tokens of the warm-up.
const N_WARM_UP_GEN: u32 = 4;
/// Start of the random tokens: every run computes the same ones.
const SEED: u64 = 0x0070_6C61_6E69_7368;
/// More layers than any model has: all of them.
const ALL_LAYERS: u32 = 9999;
/// Models run on the GPU only in builds made for one.
const USES_GPU: bool = cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal", feature = "opencl", feature = "rocm"));

pub(super) type Emit<'a> = &'a mut dyn FnMut(Event) -> Result<(), String>;

/// Carries out a request and returns the highest resident memory in bytes.
///
/// `grants` are the numbers of the chunks that a comparison may work on.
pub(super) fn carry_out(request: &Request, grants: &Receiver<u32>, emit: Emit) -> Result<u64, String> {
    llama_sys::log_only_errors();
    let dir = backends_dir().ok_or("its compute backends are not installed beside planish")?;
    llama_sys::load_backends(&dir)?;
    let backend = LlamaBackend::init().map_err(|error| error.to_string())?;
    let info = info(&backend);
    if info.devices.is_empty() {
        return Err(format!("no compute backend in {} runs on this machine", path_text::shown(&dir)));
    }
    match request {
        Request::Bench(task) => bench(&backend, info, task, emit),
        Request::Generate(task) => super::answering::generate(&backend, info, task, emit),
        Request::Score(task) => super::scoring::score(&backend, info, task, grants, emit),
        Request::Probe(task) => super::probing::probe(&backend, info, task, emit),
        Request::Collect(task) => super::collecting::collect(&backend, info, task, emit),
        Request::Info => emit(Event::Info { info }).map(|()| memory::peak_memory_bytes()),
    }
}

/// Where the backends are: beside an installed executable, else where this build has put them.
fn backends_dir() -> Option<PathBuf> {
    let exe_dir = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let installed = exe_dir.into_iter().flat_map(|dir| [dir.join("backends"), dir.join("../lib/planish/backends")]);
    installed.chain(llama_cpp_sys_2::BACKENDS_DIR.map(PathBuf::from)).find(|dir| dir.is_dir())
}

fn info(backend: &LlamaBackend) -> RuntimeInfo {
    let devices = list_llama_ggml_backend_devices();
    let gpu = devices
        .iter()
        .find(|device| matches!(device.device_type, LlamaBackendDeviceType::Gpu | LlamaBackendDeviceType::IntegratedGpu));
    let used = match gpu {
        Some(gpu) if USES_GPU && backend.supports_gpu_offload() => format!("{} ({})", gpu.name, gpu.description),
        _ => cpu_text(cpu_variant().as_deref(), &llama_sys::cpu_features()),
    };
    RuntimeInfo {
        version: llama_sys::version(),
        backend: used,
        system: llama_sys::system_info().trim_end_matches([' ', '|']).to_string(),
        devices: devices.iter().map(|device| format!("{}: {}", device.name, device.description)).collect(),
    }
}

/// `CPU icelake (AVX2, AVX512, AVX512_VNNI)`: the module and the features that decide the speed.
fn cpu_text(variant: Option<&str>, features: &[String]) -> String {
    const DECISIVE: [&str; 16] = [
        "AVX",
        "AVX2",
        "AVX_VNNI",
        "AVX512",
        "AVX512_VBMI",
        "AVX512_VNNI",
        "AVX512_BF16",
        "AMX_INT8",
        "NEON",
        "DOTPROD",
        "MATMUL_INT8",
        "SVE",
        "SME",
        "RISCV_V",
        "VSX",
        "VXE",
    ];
    let decisive: Vec<&str> = features.iter().map(String::as_str).filter(|name| DECISIVE.contains(name)).collect();
    let name = variant.map_or_else(|| "CPU".to_string(), |variant| format!("CPU {variant}"));
    if decisive.is_empty() { name } else { format!("{name} ({})", decisive.join(", ")) }
}

/// The CPU module that was chosen: `icelake`. Known where the system lists what a process has mapped.
fn cpu_variant() -> Option<String> {
    variant_from_maps(&std::fs::read_to_string("/proc/self/maps").ok()?)
}

fn variant_from_maps(maps: &str) -> Option<String> {
    maps.lines().find_map(|line| {
        let file_name = line.rsplit('/').next()?;
        Some(file_name.strip_prefix("libggml-cpu-")?.strip_suffix(".so")?.to_string())
    })
}

pub(super) fn load_model(backend: &LlamaBackend, path: &Path) -> Result<LlamaModel, String> {
    let params = LlamaModelParams::default().with_n_gpu_layers(if USES_GPU { ALL_LAYERS } else { 0 });
    LlamaModel::load_from_file(backend, path, &params).map_err(|_| "the model cannot be loaded".to_string())
}

pub(super) fn new_context(model: &LlamaModel, n_tokens: u32, n_threads: u32) -> Result<Context<'_>, String> {
    Context::new(model, settings(n_tokens, n_threads)?)
}

/// A context for so many tokens.
pub(super) fn settings(n_tokens: u32, n_threads: u32) -> Result<ContextSettings, String> {
    let n_ctx = n_tokens.checked_next_multiple_of(CTX_GRANULE).ok_or("too many tokens")?;
    Ok(ContextSettings {
        n_ctx,
        n_batch: N_BATCH,
        n_ubatch: N_UBATCH,
        n_threads: n_threads.max(1),
        offload_ops: USES_GPU,
        exact_attention: false,
    })
}

/// Computes all tokens in batches and waits for the result.
pub(super) fn prefill(context: &mut Context, tokens: &[LlamaToken]) -> Result<(), String> {
    context.decode(tokens)?;
    context.synchronize();
    Ok(())
}

/// Computes the tokens one by one and waits for each, as a chat does, which needs a token to choose the next.
pub(super) fn decode(context: &mut Context, tokens: &[LlamaToken]) -> Result<(), String> {
    for token in tokens {
        context.decode(std::slice::from_ref(token))?;
        context.synchronize();
    }
    Ok(())
}

/// Measures prefill, then decode on top of the prompt, each once after a warm-up.
///
/// Tokens are random, as in llama-bench: the speed does not depend on them, and no sampler's time is counted.
fn bench(backend: &LlamaBackend, info: RuntimeInfo, task: &BenchTask, emit: Emit) -> Result<u64, String> {
    let n_tokens = task.n_prompt_tokens.checked_add(task.n_gen_tokens).ok_or("too many tokens")?;
    let started = Instant::now();
    let model = load_model(backend, &task.path)?;
    let mut context = new_context(&model, n_tokens, task.n_threads)?;
    emit(Event::Loaded { load_secs: started.elapsed().as_secs_f64(), info })?;

    let mut tokens = RandomTokens::new(&model)?;
    prefill(&mut context, &tokens.prompt(task.n_prompt_tokens.min(N_WARM_UP_PROMPT)))?;
    decode(&mut context, &tokens.take(task.n_gen_tokens.min(N_WARM_UP_GEN)))?;
    context.clear();

    let prompt = tokens.prompt(task.n_prompt_tokens);
    emit(Event::WarmedUp)?;
    let started = Instant::now();
    prefill(&mut context, &prompt)?;
    emit(Event::Prefill { tokens_per_sec: f64::from(task.n_prompt_tokens) / started.elapsed().as_secs_f64() })?;

    let continuation = tokens.take(task.n_gen_tokens);
    let started = Instant::now();
    decode(&mut context, &continuation)?;
    emit(Event::Decode { tokens_per_sec: f64::from(task.n_gen_tokens) / started.elapsed().as_secs_f64() })?;
    if let Some(secs) = task.sustained_secs {
        sustain(&mut context, &mut tokens, task, Duration::from_secs(u64::from(secs)), emit)?;
    }
    Ok(memory::peak_memory_bytes()) // before the model is dropped
}

/// Decodes without a pause for `duration` and tells the speed of each second.
///
/// When the context is full, all but the prompt is forgotten: with a context that fills up anew the speed would rise and fall with its
/// length, not with heat. A model that cannot forget a part forgets all.
fn sustain(
    context: &mut Context,
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
            position = if context.forget_from(task.n_prompt_tokens) { task.n_prompt_tokens } else { 0 };
            if position == 0 {
                context.clear();
            }
        }
        decode(context, &tokens.take(1))?;
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

/// Removes and returns the complete characters at the start of `bytes`; a character can be spread over several tokens.
pub(super) fn take_complete_text(bytes: &mut Vec<u8>) -> Option<String> {
    let n_complete = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(), // not UTF-8 at all: shown with replacement characters
    };
    let complete: Vec<u8> = bytes.drain(..n_complete).collect();
    (n_complete > 0).then(|| String::from_utf8_lossy(&complete).into_owned())
}

/// The same random tokens for every model with the same vocabulary.
struct RandomTokens {
    state: u64,
    n_vocab: u64,
    /// Starts each text, where the model wants that.
    bos: Option<LlamaToken>,
}

impl RandomTokens {
    fn new(model: &LlamaModel) -> Result<Self, String> {
        let vocab = model.vocab();
        let n_vocab = u64::try_from(vocab.n_tokens()).ok().filter(|&n| n > 0).ok_or("the model has no vocabulary")?;
        Ok(Self { state: SEED, n_vocab, bos: vocab.should_add_bos().then(|| vocab.bos()) })
    }

    fn take(&mut self, n: u32) -> Vec<LlamaToken> {
        (0..n).map(|_| self.random()).collect()
    }

    fn prompt(&mut self, n: u32) -> Vec<LlamaToken> {
        let mut tokens = self.take(n);
        if let (Some(first), Some(bos)) = (tokens.first_mut(), self.bos) {
            *first = bos;
        }
        tokens
    }

    /// Source: `SplitMix64`, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn random(&mut self) -> LlamaToken {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        LlamaToken::new(i32::try_from((z ^ (z >> 31)) % self.n_vocab).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_module_is_recognised_among_the_mapped_files() {
        let check = |maps: &str, expected: Option<&str>| assert_eq!(variant_from_maps(maps).as_deref(), expected, "{maps}");
        check(
            "7f00-7f01 r-xp 0 08:01 1 /opt/p/libggml-base.so\n7f02-7f03 r 0 08:01 2 /opt/p/libggml-cpu-icelake.so\n",
            Some("icelake"),
        );
        check("7f00-7f01 r-xp 0 08:01 1 /opt/p/libggml-cpu.so\n", None);
        check("", None);
    }

    #[test]
    fn the_backend_names_what_decides_the_speed() {
        let features = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(cpu_text(Some("haswell"), &features(&["SSE3", "AVX2", "FMA", "REPACK"])), "CPU haswell (AVX2)");
        assert_eq!(cpu_text(None, &features(&["LLAMAFILE"])), "CPU");
    }

    #[test]
    fn a_character_spread_over_tokens_is_given_out_once() {
        let mut bytes = b"na\xC3".to_vec();
        assert_eq!(take_complete_text(&mut bytes).as_deref(), Some("na"));
        assert_eq!(take_complete_text(&mut bytes), None);
        bytes.extend(b"\xAFve");
        assert_eq!(take_complete_text(&mut bytes).as_deref(), Some("ïve"));
        bytes.extend(b"\xFFx");
        assert_eq!(take_complete_text(&mut bytes).as_deref(), Some("\u{FFFD}x"));
        assert!(bytes.is_empty());
    }
}
