//! What llama-cpp-2's safe interface lacks: loading backends from any path, errors to standard error, versions and CPU features.

#![allow(unsafe_code, reason = "calls into llama.cpp's C interface")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write;
use std::path::Path;

use llama_cpp_sys_2 as sys;

/// Loads the best module of each kind of backend from a folder: of the CPU's one for each generation, it asks all and takes the one with
/// the highest score that runs here. A folder without modules loads nothing.
pub(super) fn load_backends(dir: &Path) -> Result<(), String> {
    let text = dir.to_str().ok_or("the backends folder's name is not UTF-8")?;
    let path = CString::new(text).map_err(|error| error.to_string())?;
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
    // SAFETY: the names are static C strings; a null device or function is checked before use; the function has the type that
    // ggml-backend.h gives it under this name, and its array ends with a null name.
    unsafe {
        let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        if device.is_null() {
            return names;
        }
        let reg = sys::ggml_backend_dev_backend_reg(device);
        let address = sys::ggml_backend_reg_get_proc_address(reg, c"ggml_backend_get_features".as_ptr());
        let Some(get_features) = std::mem::transmute::<*mut c_void, sys::ggml_backend_get_features_t>(address) else {
            return names;
        };
        let mut feature = get_features(reg);
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
