//! Looking at llama.cpp's intermediate results while it computes, and changing them.
#![allow(unsafe_code, reason = "reads and writes tensors of llama.cpp's graphs")]

use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::panic::AssertUnwindSafe;

use llama_cpp_sys_2 as sys;

use super::importance::{ActivationType, Activations, Collector, Strided};
use super::sensitivity::disturber::{Disturber, Use};

/// Somebody who is shown the nodes of a graph.
pub(super) trait Observer {
    /// Whether attention must be computed step by step, so that its probabilities can be seen.
    fn shows_attention(&self) -> bool;

    /// Notes what went wrong.
    fn fail(&mut self, problem: String);

    /// Before a node is computed, with `ask`: whether its result is wanted. After that: false where nothing more is wanted.
    ///
    /// # Safety
    /// The node lives during the call together with its sources.
    unsafe fn visit(&mut self, node: &sys::ggml_tensor, ask: bool, rooms: &mut Rooms) -> bool;
}

/// Room for numbers that are copied out of a context.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    numbers: Vec<u8>,
    indices: Vec<u8>,
}

/// An observer while a context computes.
pub(super) struct Watch<O> {
    /// Who looks.
    pub observer: O,
    rooms: Rooms,
}

impl<O: Observer> Watch<O> {
    pub(super) fn new(observer: O) -> Self {
        Self { observer, rooms: Rooms::default() }
    }
}

/// What llama.cpp is given so that it shows its nodes.
#[derive(Clone, Copy)]
pub(super) struct Callback {
    pub(super) function: unsafe extern "C" fn(*mut sys::ggml_tensor, bool, *mut c_void) -> bool,
    pub(super) data: *mut c_void,
    pub(super) shows_attention: bool,
}

impl Callback {
    /// A call to this watch, which must live as long as the context.
    pub(super) fn to<O: Observer>(watch: &RefCell<Watch<O>>) -> Self {
        let shows_attention = watch.borrow().observer.shows_attention();
        Self { function: on_node::<O>, data: std::ptr::from_ref(watch).cast_mut().cast(), shows_attention }
    }
}

/// Called by llama.cpp for each node of a graph: before it is computed with `ask`, to learn whether its result is wanted, and after it.
/// It stops the computation when nothing more is wanted: what comes after it would be computed for nothing. Where the nodes lie on several
/// devices, those of the others still work, on what is left from before, and nobody looks at that.
unsafe extern "C" fn on_node<O: Observer>(node: *mut sys::ggml_tensor, ask: bool, watch: *mut c_void) -> bool {
    // SAFETY: the pointer is the watch that `Context::watched` borrowed for as long as the context lives. llama.cpp calls on the thread
    // that computes, so nobody borrows the cell meanwhile; where somebody did, nothing would be seen.
    let watch = unsafe { &*watch.cast::<RefCell<Watch<O>>>() };
    // A panic must not reach C++.
    let visited = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let Ok(mut watch) = watch.try_borrow_mut() else { return false };
        let Watch { observer, rooms } = &mut *watch;
        // SAFETY: llama.cpp passes a node that lives during the call, and so do its sources.
        unsafe { node.as_ref().is_some_and(|node| observer.visit(node, ask, rooms)) }
    }));
    visited.unwrap_or_else(|_| {
        if let Ok(mut watch) = watch.try_borrow_mut() {
            watch.observer.fail("a defect while looking at results".into());
        }
        true
    })
}

impl Observer for Collector {
    fn shows_attention(&self) -> bool {
        self.is_by_attention()
    }

    fn fail(&mut self, problem: String) {
        Collector::fail(self, problem);
    }

    /// True for a product of a weight that is counted; counts it when it is computed.
    ///
    /// Weights that the CPU backend has repacked keep their names and nodes, so nothing has to be switched off for them.
    unsafe fn visit(&mut self, node: &sys::ggml_tensor, ask: bool, rooms: &mut Rooms) -> bool {
        if node.op == sys::GGML_OP_SOFT_MAX && node.type_ == sys::GGML_TYPE_F32 {
            let Some(layer_idx) = attention_layer(node).filter(|&layer_idx| self.awaits_attention(layer_idx)) else {
                return false;
            };
            if !ask {
                // SAFETY: it was just computed and lives in a buffer until the graph ends.
                let numbers = unsafe { copied(node, &mut rooms.numbers) };
                self.take_attention(layer_idx, &numbers);
            }
            return ask || !self.is_satisfied();
        }
        if node.op != sys::GGML_OP_MUL_MAT && node.op != sys::GGML_OP_MUL_MAT_ID {
            return false;
        }
        // SAFETY: alive by the caller's promise.
        let operands = unsafe { operands(node) }.filter(|operands| self.wants(operands.name));
        let Some(Operands { name, numbers, experts }) = operands else { return false };
        if ask {
            return true;
        }
        // SAFETY: both were computed before this node and live in buffers until the graph ends.
        let activations = match unsafe { activations(numbers, &mut rooms.numbers) } {
            Ok(activations) => activations,
            Err(problem) => {
                self.fail(format!("{name}: {problem}"));
                return true;
            }
        };
        // SAFETY: as above.
        let experts = experts.map(|experts| unsafe { copied(experts, &mut rooms.indices) });
        self.take(name, &activations, experts.as_ref());
        !self.is_satisfied()
    }
}

impl Observer for Disturber {
    fn shows_attention(&self) -> bool {
        false
    }

    fn fail(&mut self, problem: String) {
        Disturber::fail(self, problem);
    }

    /// True for the uses of weights that are disturbed: notes or adds the errors when they are computed.
    unsafe fn visit(&mut self, node: &sys::ggml_tensor, ask: bool, rooms: &mut Rooms) -> bool {
        let is_lookup = node.op == sys::GGML_OP_GET_ROWS;
        if !is_lookup && node.op != sys::GGML_OP_MUL_MAT && node.op != sys::GGML_OP_MUL_MAT_ID {
            return false;
        }
        // SAFETY: alive by the caller's promise.
        let operands = unsafe { operands(node) }.filter(|operands| self.wants(operands.name));
        let Some(Operands { name, numbers, experts }) = operands else { return false };
        if ask {
            return true;
        }
        if self.is_adding() {
            // SAFETY: the node was just computed and lives in a buffer until the graph ends; nobody reads it before this call returns.
            let changed = unsafe { change(node, &mut rooms.numbers, |numbers| self.add(name, numbers)) };
            if let Err(problem) = changed {
                self.fail(format!("{name}: {problem}"));
            }
            return true;
        }
        let usage = if is_lookup {
            // The numbers of the rows are not read from the graph: their memory may be used for something else by now.
            Ok(Use::Lookup)
        } else {
            // SAFETY: sources were computed before this node and live in buffers until the graph ends.
            let experts = unsafe { experts.map(|experts| copied(experts, &mut rooms.indices)) };
            // SAFETY: as above.
            let activations = unsafe { activations(numbers, &mut rooms.numbers) };
            activations.map(|activations| match experts {
                Some(experts) => Use::Experts(activations, experts),
                None => Use::Product(activations),
            })
        };
        match usage {
            Ok(usage) => self.note(name, usage),
            Err(problem) => self.fail(format!("{name}: {problem}")),
        }
        true
    }
}

/// What a node makes its result from: a weight, by its name in the file, what it is multiplied by, and the experts that were chosen.
struct Operands<'a> {
    name: &'a str,
    numbers: &'a sys::ggml_tensor,
    experts: Option<&'a sys::ggml_tensor>,
}

/// The operands of a node; `None` where it has no two.
///
/// # Safety
/// Its sources live as long as the node.
unsafe fn operands(node: &sys::ggml_tensor) -> Option<Operands<'_>> {
    // SAFETY: alive by the caller's promise.
    let (weights, numbers, experts) = unsafe { (node.src[0].as_ref()?, node.src[1].as_ref()?, node.src[2].as_ref()) };
    let name = CStr::from_bytes_until_nul(bytemuck::cast_slice(&weights.name)).ok()?.to_str().ok()?;
    Some(Operands { name: plain_name(name), numbers, experts: experts.filter(|_| node.op == sys::GGML_OP_MUL_MAT_ID) })
}

/// What a weight is multiplied by.
///
/// # Safety
/// The tensor has been computed and has a buffer.
unsafe fn activations<'a>(tensor: &sys::ggml_tensor, room: &'a mut Vec<u8>) -> Result<Activations<'a>, String> {
    let kind = match tensor.type_ {
        sys::GGML_TYPE_F32 => ActivationType::F32,
        sys::GGML_TYPE_F16 => ActivationType::F16,
        sys::GGML_TYPE_BF16 => ActivationType::BF16,
        other => return Err(format!("it is multiplied by numbers of the type {other}")),
    };
    // SAFETY: passed on to the caller.
    Ok(Activations { numbers: unsafe { copied(tensor, room) }, kind })
}

/// Lets `change` change all numbers of a tensor.
///
/// # Safety
/// The tensor has been computed, has a buffer, and nobody else uses it meanwhile.
unsafe fn change(tensor: &sys::ggml_tensor, room: &mut Vec<u8>, change: impl FnOnce(&mut [f32])) -> Result<(), String> {
    // SAFETY: the tensor is alive.
    if tensor.type_ != sys::GGML_TYPE_F32 || !unsafe { sys::ggml_is_contiguous(tensor) } {
        return Err("its result is not F32 in one piece".into());
    }
    // SAFETY: passed on to the caller.
    let mut numbers: Vec<f32> =
        unsafe { copied(tensor, room) }.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    change(&mut numbers);
    let bytes: &[u8] = bytemuck::cast_slice(&numbers);
    // SAFETY: as many bytes as the tensor has are copied into it; the pointer stands for the node that llama.cpp passed as mutable.
    unsafe {
        sys::ggml_backend_tensor_set(std::ptr::from_ref(tensor).cast_mut(), bytes.as_ptr().cast(), 0, bytes.len());
    }
    Ok(())
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
