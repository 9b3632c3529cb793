//! What llama-cpp-2's safe interface lacks: a context with threads that stay, backends from any folder, errors to standard error,
//! versions and CPU features.

#![allow(unsafe_code, reason = "calls into llama.cpp's C interface")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2 as sys;

use super::llama_watch::{Callback, Observer, Watch};

/// How a context computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContextSettings {
    /// Tokens that fit.
    pub n_ctx: u32,
    /// Tokens that one call of `llama_decode` may get; at least 1.
    pub n_batch: u32,
    /// Tokens that are computed at once.
    pub n_ubatch: u32,
    /// Threads; at least 1.
    pub n_threads: u32,
    /// Large products may go to a GPU even when the layer is not on it.
    pub offload_ops: bool,
    /// Keys and values are kept in F32, not F16, and attention is computed step by step, not at once: ten times more exact.
    pub exact_attention: bool,
}

/// A llama.cpp context of one sequence, with threads of its own.
///
/// llama-cpp-2's context has none: ggml then starts and ends all threads for every token, which made decoding with two threads slower than
/// with one. Measured on two cores of an AMD EPYC, November 2026, SmolLM2 `Q4_1`: 98 tokens per second with one thread, 87 with two, 110 with
/// two that stay. llama.cpp's own programs attach a pool as well. Source: `common_threadpools::init` in common.cpp, `ggml_graph_compute` in ggml-cpu.c.
pub(super) struct Context<'model> {
    raw: NonNull<sys::llama_context>,
    n_batch: usize,
    n_vocab: usize,
    /// Freed after the context: `drop` frees the context first, then the fields go.
    _threads: ThreadPool,
    model: PhantomData<&'model LlamaModel>,
}

impl<'model> Context<'model> {
    /// A ready context. When there is none, llama.cpp's log says why.
    pub(super) fn new(model: &'model LlamaModel, settings: ContextSettings) -> Result<Self, String> {
        Self::make(model, settings, None)
    }

    /// A context that shows its nodes to `watch` while they are computed, which is slower.
    pub(super) fn watched<O: Observer>(
        model: &'model LlamaModel,
        settings: ContextSettings,
        watch: &'model RefCell<Watch<O>>,
    ) -> Result<Self, String> {
        Self::make(model, settings, Some(Callback::to(watch)))
    }

    fn make(model: &'model LlamaModel, settings: ContextSettings, watch: Option<Callback>) -> Result<Self, String> {
        let n_threads = i32::try_from(settings.n_threads).map_err(|error| error.to_string())?;
        // A watched context computes node by node: threads that look for work in between would take the watcher's time.
        let threads = ThreadPool::new(n_threads, if watch.is_some() { Some(0) } else { None })?;
        // SAFETY: the parameters are llama.cpp's defaults with plain numbers changed. Model and watch outlive the context by the lifetime.
        // The pool is freed after the context.
        let raw = unsafe {
            let mut params = sys::llama_context_default_params();
            params.n_ctx = settings.n_ctx;
            params.n_batch = settings.n_batch;
            params.n_ubatch = settings.n_ubatch;
            params.n_threads = n_threads;
            params.n_threads_batch = n_threads;
            params.op_offload = settings.offload_ops;
            if settings.exact_attention {
                params.type_k = sys::GGML_TYPE_F32;
                params.type_v = sys::GGML_TYPE_F32;
                params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            }
            if let Some(Callback { function, data, shows_attention }) = watch {
                if shows_attention {
                    // Fused attention shows no probabilities.
                    params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
                }
                params.cb_eval = Some(function);
                params.cb_eval_user_data = data;
            }
            let raw = NonNull::new(sys::llama_init_from_model(raw_model(model), params))
                .ok_or_else(|| format!("no context of {} tokens can be made", settings.n_ctx))?;
            sys::llama_attach_threadpool(raw.as_ptr(), threads.raw.as_ptr(), std::ptr::null_mut());
            raw
        };
        let n_vocab = usize::try_from(model.n_vocab()).unwrap_or(0);
        Ok(Self { raw, n_batch: settings.n_batch as usize, n_vocab, _threads: threads, model: PhantomData })
    }

    /// Computes tokens that follow the ones so far, with the logits of the last one. May return before the result is there;
    /// without tokens it does nothing.
    pub(super) fn decode(&mut self, tokens: &[LlamaToken]) -> Result<(), String> {
        for chunk in tokens.chunks(self.n_batch) {
            let mut ids: Vec<sys::llama_token> = chunk.iter().map(|token| token.0).collect();
            let n_tokens = i32::try_from(ids.len()).map_err(|error| error.to_string())?;
            // SAFETY: the batch borrows the ids, which live until llama_decode has copied what it needs and returned.
            let status = unsafe { sys::llama_decode(self.raw.as_ptr(), sys::llama_batch_get_one(ids.as_mut_ptr(), n_tokens)) };
            match status {
                0 => {}
                1 => return Err("the context is full".into()),
                _ => return Err(format!("llama_decode returned {status}")),
            }
        }
        Ok(())
    }

    /// Computes tokens of which the first stands at `position`, and waits for the result: logits of `tokens[first_wanted..]`, one row of
    /// the vocabulary each. At most as many tokens as a batch holds.
    pub(super) fn decode_rows(&mut self, tokens: &[LlamaToken], position: usize, first_wanted: usize) -> Result<&[f32], String> {
        self.compute(tokens, position, first_wanted)?;
        let n_rows = tokens.len().saturating_sub(first_wanted);
        if n_rows == 0 {
            return Ok(&[]);
        }
        // SAFETY: llama.cpp returns null or a row of n_vocab floats for each token with logits, in their order, which stay until the next
        // call that changes the context; the borrow of self forbids one.
        unsafe {
            let logits = sys::llama_get_logits(self.raw.as_ptr());
            if logits.is_null() {
                return Err("the model gave no logits".into());
            }
            Ok(std::slice::from_raw_parts(logits, self.n_vocab * n_rows))
        }
    }

    /// Computes tokens of which the first stands at `position`, with the logits or embeddings of `tokens[first_wanted..]`, and waits.
    pub(super) fn compute(&mut self, tokens: &[LlamaToken], position: usize, first_wanted: usize) -> Result<(), String> {
        if tokens.is_empty() || tokens.len() > self.n_batch {
            return Err(format!("a batch cannot have {} tokens", tokens.len()));
        }
        let n_tokens = i32::try_from(tokens.len()).map_err(|error| error.to_string())?;
        let first = i32::try_from(position).map_err(|error| error.to_string())?;
        let mut ids: Vec<sys::llama_token> = tokens.iter().map(|token| token.0).collect();
        let mut positions: Vec<sys::llama_pos> = (first..first + n_tokens).collect();
        let mut n_sequences = vec![1_i32; tokens.len()];
        let mut sequence: sys::llama_seq_id = 0;
        let mut sequences = vec![&raw mut sequence; tokens.len()];
        let mut wanted: Vec<i8> = (0..tokens.len()).map(|idx| i8::from(idx >= first_wanted)).collect();
        let batch = sys::llama_batch {
            n_tokens,
            token: ids.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: n_sequences.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: wanted.as_mut_ptr(),
        };
        // SAFETY: every list has n_tokens entries and lives until llama_decode has copied what it needs and returned.
        match unsafe { sys::llama_decode(self.raw.as_ptr(), batch) } {
            0 => {}
            status => return Err(format!("llama_decode returned {status}")),
        }
        self.synchronize();
        Ok(())
    }

    /// Waits until everything is computed.
    pub(super) fn synchronize(&mut self) {
        // SAFETY: the context is valid.
        unsafe { sys::llama_synchronize(self.raw.as_ptr()) }
    }

    /// Forgets all tokens.
    pub(super) fn clear(&mut self) {
        // SAFETY: the context is valid; a model without memory gives null, which llama_memory_clear ignores.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.raw.as_ptr()), true) }
    }

    /// Forgets the tokens from `position` on, so that the next one stands there; false when the model can only forget everything.
    pub(super) fn forget_from(&mut self, position: u32) -> bool {
        let Ok(first) = i32::try_from(position) else { return false };
        // SAFETY: the context is valid; a model without memory gives null, which llama_memory_seq_rm answers with true. Sequence 0 is the only
        // one, and a negative end means all positions.
        unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.raw.as_ptr()), 0, first, -1) }
    }

    /// Logits of the last token, one per entry of the vocabulary; `None` before the first `decode`.
    pub(super) fn logits(&mut self) -> Option<&[f32]> {
        // SAFETY: llama.cpp returns null or n_vocab floats that stay until the next call that changes the context, which the borrow of
        // self forbids.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.raw.as_ptr(), -1);
            (!logits.is_null()).then(|| std::slice::from_raw_parts(logits, self.n_vocab))
        }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made by llama_init_from_model and freed once.
        unsafe { sys::llama_free(self.raw.as_ptr()) }
    }
}

/// True for a model that reads with one half and writes with the other, such as T5.
pub(super) fn is_encoder_decoder(model: &LlamaModel) -> bool {
    // SAFETY: the model is valid.
    unsafe { sys::llama_model_has_encoder(raw_model(model)) && sys::llama_model_has_decoder(raw_model(model)) }
}

/// The pointer in llama-cpp-2's model.
fn raw_model(model: &LlamaModel) -> *mut sys::llama_model {
    const _: () = assert!(size_of::<LlamaModel>() == size_of::<NonNull<sys::llama_model>>());
    // SAFETY: LlamaModel is repr(transparent) over a type that is repr(transparent) over NonNull<llama_model>; Cargo.toml pins the version.
    unsafe { std::ptr::from_ref(model).cast::<NonNull<sys::llama_model>>().read().as_ptr() }
}

/// Threads of the CPU backend that wait between two computations instead of ending.
struct ThreadPool {
    raw: NonNull<sys::ggml_threadpool>,
    free: unsafe extern "C" fn(*mut sys::ggml_threadpool),
}

impl ThreadPool {
    /// `poll` is how long threads look for work before they sleep, from 0 to 100; `None`: as ggml has it.
    fn new(n_threads: i32, poll: Option<u32>) -> Result<Self, String> {
        type New = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
        type Free = unsafe extern "C" fn(*mut sys::ggml_threadpool);
        let (Some(new), Some(free)) = (cpu_function(c"ggml_threadpool_new"), cpu_function(c"ggml_threadpool_free")) else {
            return Err("the CPU backend has no thread pool".into());
        };
        // SAFETY: ggml-cpu.h declares these functions with these types under these names. The parameters live during the call.
        unsafe {
            let new = std::mem::transmute::<NonNull<c_void>, New>(new);
            let free = std::mem::transmute::<NonNull<c_void>, Free>(free);
            let mut params = sys::ggml_threadpool_params_default(n_threads);
            params.poll = poll.unwrap_or(params.poll);
            let raw = NonNull::new(new(&raw mut params)).ok_or_else(|| format!("no pool of {n_threads} threads can be made"))?;
            Ok(Self { raw, free })
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: made by the matching function, freed once, and the context that used it is gone.
        unsafe { (self.free)(self.raw.as_ptr()) }
    }
}

/// A function of the loaded CPU backend; it is a module, so its functions cannot be linked.
fn cpu_function(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: a null device is checked; the name is a C string.
    unsafe {
        let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        if device.is_null() {
            return None;
        }
        NonNull::new(sys::ggml_backend_reg_get_proc_address(sys::ggml_backend_dev_backend_reg(device), name.as_ptr()))
    }
}

/// Loads the best module of each kind of backend from a folder: of the CPU's modules, one for each generation, ggml takes the
/// one with the highest score that runs here. A folder without modules loads nothing.
pub(super) fn load_backends(dir: &Path) -> Result<(), String> {
    // Bytes as they are: on Unix a path is nothing else, elsewhere they are UTF-8.
    let path = CString::new(dir.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: a valid C string that outlives the call.
    unsafe { sys::ggml_backend_load_all_from_path(path.as_ptr()) };
    Ok(())
}

/// Sends llama.cpp's errors to standard error and drops the rest of its log.
pub(super) fn log_only_errors() {
    // SAFETY: the callback is a plain function and needs no user data; llama_log_set also sets ggml's.
    unsafe { sys::llama_log_set(Some(log_error), std::ptr::null_mut()) };
}

extern "C" fn log_error(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if level == sys::GGML_LOG_LEVEL_ERROR && !text.is_null() {
        // SAFETY: llama.cpp passes a C string that lives during the call.
        let text = unsafe { CStr::from_ptr(text) };
        // A closed standard error is no reason to stop.
        let _ = std::io::stderr().write_all(text.to_bytes());
    }
}

/// `llama.cpp 0.6.0 (ggml 0.26.0)`.
pub(super) fn version() -> String {
    // SAFETY: both return static C strings.
    let (llama, ggml) = unsafe { (text(sys::llama_version()), text(sys::ggml_version())) };
    format!("llama.cpp {llama} (ggml {ggml})")
}

/// One line with the features of all loaded backends: `CPU : SSE3 = 1 | AVX2 = 1 | …`.
pub(super) fn system_info() -> String {
    // SAFETY: returns a C string that lives until the next call; this process has one thread that calls it.
    unsafe { text(sys::llama_print_system_info()) }
}

/// Names of the CPU features that the loaded CPU backend uses; empty without one.
pub(super) fn cpu_features() -> Vec<String> {
    let mut names = Vec::new();
    let Some(address) = cpu_function(c"ggml_backend_get_features") else { return names };
    // SAFETY: ggml-backend.h gives the function this type under this name; it ignores its argument and returns a static array of C strings
    // that ends with a null name.
    unsafe {
        type GetFeatures = unsafe extern "C" fn(sys::ggml_backend_reg_t) -> *mut sys::ggml_backend_feature;
        let get_features = std::mem::transmute::<NonNull<c_void>, GetFeatures>(address);
        let mut feature = get_features(std::ptr::null_mut());
        while !feature.is_null() && !(*feature).name.is_null() {
            if text((*feature).value) != "0" {
                names.push(text((*feature).name));
            }
            feature = feature.add(1);
        }
    }
    names
}

/// A copy of a C string; empty for null.
///
/// # Safety
/// `pointer` is null or a C string that lives during the call.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, the rest is the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
