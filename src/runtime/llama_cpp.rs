//! llama.cpp, built in.

use std::path::{Path, PathBuf};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaChatMessage, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use sha2::{Digest, Sha256};

use super::llama_sys::{self, Context, ContextSettings};
use super::session::{Engine, Language, MAX_ROWS, Marks, Purpose, Session, SessionSettings, TextStart, Vocabulary};
use super::{RuntimeInfo, TemplateUse, hex, memory};
use crate::path_text;

/// Tokens that llama.cpp accepts in one call.
pub(super) const N_BATCH: u32 = 2048;
const _: () = assert!(N_BATCH as usize == MAX_ROWS);
/// Tokens that it computes at once. Source: `n_ubatch` in `common_params`, common.h, llama.cpp.
pub(super) const N_UBATCH: u32 = 512;
/// The context length is a multiple of this. Source: `GGML_PAD(n_ctx, 256)` in llama-context.cpp.
const CTX_GRANULE: u32 = 256;
/// More layers than any model has: all of them.
const ALL_LAYERS: u32 = 9999;
/// Models run on the GPU only in builds made for one.
const USES_GPU: bool = cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal", feature = "opencl", feature = "rocm"));

/// llama.cpp with its back ends loaded.
pub(super) struct LlamaCpp {
    pub(super) backend: LlamaBackend,
    info: RuntimeInfo,
}

impl LlamaCpp {
    /// Loads the back ends that run on this machine.
    pub(super) fn start() -> Result<Self, String> {
        llama_sys::log_only_errors();
        let dir = backends_dir().ok_or("its compute backends are not installed beside planish")?;
        llama_sys::load_backends(&dir)?;
        let backend = LlamaBackend::init().map_err(|error| error.to_string())?;
        let info = info(&backend);
        if info.devices.is_empty() {
            return Err(format!("no compute backend in {} runs on this machine", path_text::shown(&dir)));
        }
        Ok(Self { backend, info })
    }
}

impl Engine for LlamaCpp {
    fn info(&self) -> RuntimeInfo {
        self.info.clone()
    }

    fn load(&self, path: &Path, _: Purpose) -> Result<Box<dyn Language + '_>, String> {
        Ok(Box::new(load_model(&self.backend, path)?))
    }
}

impl Vocabulary for LlamaModel {
    fn n_vocab(&self) -> u32 {
        u32::try_from(Self::n_vocab(self)).unwrap_or(0)
    }

    fn bos(&self) -> Option<u32> {
        let vocab = self.vocab();
        if vocab.should_add_bos() { u32::try_from(vocab.bos().0).ok() } else { None }
    }

    fn piece(&self, token: u32, marks: Marks) -> Vec<u8> {
        self.vocab().token_to_piece(llama_token(token), marks == Marks::Tokens, None)
    }

    fn tokenize(&self, text: &str, start: TextStart, marks: Marks) -> Result<Vec<u32>, String> {
        let tokens = self.vocab().tokenize(text.as_bytes(), start == TextStart::Marked, marks == Marks::Tokens);
        tokens.into_iter().map(|token| u32::try_from(token.0).map_err(|error| error.to_string())).collect()
    }
}

impl Language for LlamaModel {
    fn n_ctx_train(&self) -> u32 {
        Self::n_ctx_train(self)
    }

    fn is_end(&self, token: u32) -> bool {
        self.vocab().is_eog(llama_token(token))
    }

    /// llama.cpp knows the common templates by their marks.
    fn templated(&self, prompt: &str) -> Result<(String, TemplateUse), String> {
        let Ok(template) = self.chat_template(None) else { return Ok((prompt.into(), TemplateUse::Missing)) };
        let message = LlamaChatMessage::new("user".into(), prompt.into()).map_err(|error| error.to_string())?;
        Ok(match self.apply_chat_template(&template, &[message], true) {
            Ok(text) => (text, TemplateUse::Applied),
            Err(_) => (prompt.into(), TemplateUse::Unknown),
        })
    }

    fn vocabulary_sha256(&self) -> String {
        let vocab = self.vocab();
        let mut hash = Sha256::new();
        for token in vocab.tokens() {
            hash.update(vocab.text(token).map_or(&b"\0"[..], std::ffi::CStr::to_bytes_with_nul));
        }
        hex(&hash.finalize())
    }

    fn session(&self, settings: SessionSettings) -> Result<Box<dyn Session + '_>, String> {
        let exact_attention = settings.exact_attention;
        let settings = context_settings(settings.n_tokens, settings.n_threads)?;
        Ok(Box::new(Context::new(self, ContextSettings { exact_attention, ..settings })?))
    }

    fn peak_memory_bytes(&self) -> u64 {
        memory::peak_memory_bytes()
    }
}

impl Session for Context<'_> {
    fn clear(&mut self) -> Result<(), String> {
        Context::clear(self);
        Ok(())
    }

    fn forget_from(&mut self, position: u32) -> Result<bool, String> {
        Ok(Context::forget_from(self, position))
    }

    fn compute(&mut self, tokens: &[u32]) -> Result<(), String> {
        self.decode(&llama_tokens(tokens))?;
        self.synchronize();
        Ok(())
    }

    fn last_logits(&mut self) -> Result<&[f32], String> {
        self.logits().ok_or_else(|| "the model gave no logits".into())
    }

    fn rows(&mut self, tokens: &[u32], position: usize, first_wanted: usize) -> Result<&[f32], String> {
        self.decode_rows(&llama_tokens(tokens), position, first_wanted)
    }
}

/// Numbers that no vocabulary has become -1, which llama.cpp refuses.
fn llama_token(token: u32) -> LlamaToken {
    LlamaToken::new(i32::try_from(token).unwrap_or(-1))
}

fn llama_tokens(tokens: &[u32]) -> Vec<LlamaToken> {
    tokens.iter().copied().map(llama_token).collect()
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

/// Settings of a context for at least `n_tokens` tokens.
pub(super) fn context_settings(n_tokens: u32, n_threads: u32) -> Result<ContextSettings, String> {
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
}
