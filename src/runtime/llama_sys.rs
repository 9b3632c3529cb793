//! What llama-cpp-2's safe interface lacks: a context with threads that stay, backends from any folder, errors to standard error,
//! versions and CPU features.

#![allow(unsafe_code, reason = "calls into llama.cpp's C interface")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2 as sys;

use super::importance::{ActivationType, Activations, Collector, Strided};

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

    /// A context that shows each product of a weight to `watch` while it is computed, which is slower.
    pub(super) fn watched(
        model: &'model LlamaModel,
        settings: ContextSettings,
        watch: &'model RefCell<Watch>,
    ) -> Result<Self, String> {
        Self::make(model, settings, Some(watch))
    }

    fn make(model: &'model LlamaModel, settings: ContextSettings, watch: Option<&'model RefCell<Watch>>) -> Result<Self, String> {
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
            if let Some(watch) = watch {
                if watch.borrow().collector.is_by_attention() {
                    // Fused attention shows no probabilities.
                    params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
                }
                params.cb_eval = Some(on_node);
                params.cb_eval_user_data = std::ptr::from_ref(watch).cast_mut().cast();
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

/// Counts while a context computes, with room for the numbers that are copied out of it.
pub(super) struct Watch {
    /// The sums so far.
    pub collector: Collector,
    activations: Vec<u8>,
    experts: Vec<u8>,
}

impl Watch {
    pub(super) fn new(collector: Collector) -> Self {
        Self { collector, activations: Vec::new(), experts: Vec::new() }
    }
}

/// Called by llama.cpp for each node of a graph: before it is computed with `ask`, to learn whether its result is wanted, and after it.
/// It stops the computation when nothing more is wanted: what comes after it would be computed for nothing. Where the nodes lie on several
/// devices, those of the others still work, on what is left from before, and nobody looks at that.
unsafe extern "C" fn on_node(node: *mut sys::ggml_tensor, ask: bool, watch: *mut c_void) -> bool {
    // SAFETY: the pointer is the watch that `Context::watched` borrowed for as long as the context lives. llama.cpp calls on the thread
    // that computes, so nobody borrows the cell meanwhile; where somebody did, nothing would be counted.
    let watch = unsafe { &*watch.cast::<RefCell<Watch>>() };
    // A panic must not reach C++.
    let visited = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let Ok(mut watch) = watch.try_borrow_mut() else { return false };
        // SAFETY: llama.cpp passes a node that lives during the call, and so do its sources.
        unsafe { visit(node, ask, &mut watch) }
    }));
    visited.unwrap_or_else(|_| {
        if let Ok(mut watch) = watch.try_borrow_mut() {
            watch.collector.fail("a defect while counting".into());
        }
        true
    })
}

/// True for a product of a weight that is counted; counts it when it is computed.
///
/// Weights that the CPU backend has repacked keep their names and nodes, so nothing has to be switched off for them.
///
/// # Safety
/// `node` is null or a tensor that lives during the call together with its sources.
unsafe fn visit(node: *const sys::ggml_tensor, ask: bool, watch: &mut Watch) -> bool {
    // SAFETY: null or alive by the caller's promise.
    let Some(node) = (unsafe { node.as_ref() }) else { return false };
    if node.op == sys::GGML_OP_SOFT_MAX && node.type_ == sys::GGML_TYPE_F32 {
        let Some(layer_idx) = attention_layer(node).filter(|&layer_idx| watch.collector.awaits_attention(layer_idx)) else {
            return false;
        };
        if !ask {
            // SAFETY: it was just computed and lives in a buffer until the graph ends.
            let numbers = unsafe { copied(node, &mut watch.activations) };
            watch.collector.take_attention(layer_idx, &numbers);
        }
        return ask || !watch.collector.is_satisfied();
    }
    if node.op != sys::GGML_OP_MUL_MAT && node.op != sys::GGML_OP_MUL_MAT_ID {
        return false;
    }
    // SAFETY: as for the node.
    let (weights, numbers, experts) = unsafe { (node.src[0].as_ref(), node.src[1].as_ref(), node.src[2].as_ref()) };
    let (Some(weights), Some(numbers)) = (weights, numbers) else { return false };
    let name = CStr::from_bytes_until_nul(bytemuck::cast_slice(&weights.name)).ok().and_then(|name| name.to_str().ok());
    let Some(name) = name.map(plain_name).filter(|name| watch.collector.wants(name)) else { return false };
    if ask {
        return true;
    }
    let kind = match numbers.type_ {
        sys::GGML_TYPE_F32 => ActivationType::F32,
        sys::GGML_TYPE_F16 => ActivationType::F16,
        sys::GGML_TYPE_BF16 => ActivationType::BF16,
        other => {
            watch.collector.fail(format!("{name}: it is multiplied by numbers of the type {other}"));
            return true;
        }
    };
    // SAFETY: both were computed before this node and live in buffers until the graph ends.
    let numbers = unsafe { copied(numbers, &mut watch.activations) };
    let experts = experts.filter(|_| node.op == sys::GGML_OP_MUL_MAT_ID);
    // SAFETY: as above.
    let experts = experts.map(|experts| unsafe { copied(experts, &mut watch.experts) });
    watch.collector.take(name, &Activations { numbers, kind }, experts.as_ref());
    !watch.collector.is_satisfied()
}

/// The layer whose attention a node is: 3 for `kq_soft_max-3`.
///
/// Source: `build_attn_mha` in src/llama-graph.cpp, llama.cpp of 2026-08-21.
fn attention_layer(node: &sys::ggml_tensor) -> Option<u64> {
    let name = CStr::from_bytes_until_nul(bytemuck::cast_slice(&node.name)).ok()?.to_str().ok()?;
    name.strip_prefix("kq_soft_max-")?.parse().ok()
}

/// `blk.0.attn_k.weight` for `CUDA0#blk.0.attn_k.weight#0`, the name of a copy on another device.
///
/// Source: `filter_tensor_name` in tools/imatrix/imatrix.cpp, llama.cpp of 2026-08-21.
fn plain_name(name: &str) -> &str {
    name.split('#').nth(1).unwrap_or(name)
}

/// A tensor's bytes, copied from the device that has them.
///
/// # Safety
/// The tensor has been computed and has a buffer.
unsafe fn copied<'a>(tensor: &sys::ggml_tensor, bytes: &'a mut Vec<u8>) -> Strided<'a> {
    // SAFETY: exactly as many bytes as the tensor has from its first to its last number are copied into room for them.
    unsafe {
        bytes.resize(sys::ggml_nbytes(tensor), 0);
        sys::ggml_backend_tensor_get(tensor, bytes.as_mut_ptr().cast(), 0, bytes.len());
    }
    Strided { bytes, shape: tensor.ne.map(|dim| usize::try_from(dim).unwrap_or(0)), strides: tensor.nb }
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
