//! See `readers::onnx`.
#![no_main]

#[path = "../../tests/it/golden_checkpoints.rs"]
mod golden_checkpoints;
#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::escaping_panics_abort(|| readers::onnx(bytes)));
