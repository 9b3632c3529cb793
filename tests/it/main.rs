//! Integration tests: one binary, because each one links the whole program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test should end here; clippy exempts only test functions")]
#![allow(clippy::disallowed_methods, reason = "tests name their own files")]

#[cfg(feature = "llama-cpp")]
mod ask;
#[cfg(feature = "llama-cpp")]
mod bench;
#[cfg(feature = "llama-cpp")]
mod budget;
#[cfg(feature = "llama-cpp")]
mod calibrated;
mod checkpoints;
#[cfg(feature = "llama-cpp")]
mod checkpoints_run;
mod cli;
mod common;
mod convert;
mod decoder;
#[cfg(unix)]
mod faults;
mod folder_faults;
mod forward;
mod forward_pass;
mod fuzz_seeds;
mod gguf;
mod golden_checkpoints;
mod hf_layout;
mod history;
#[cfg(feature = "llama-cpp")]
mod imatrix;
#[cfg(feature = "llama-cpp")]
mod large_checkpoint;
mod layering;
mod levels;
mod mlx;
#[cfg(unix)]
mod odd_files;
mod onnx;
mod onnx_folders;
mod onnxruntime;
mod overrides;
mod own_runtime;
#[cfg(feature = "llama-cpp")]
mod quality;
#[cfg(feature = "llama-cpp")]
mod recipes;
mod report;
#[cfg(feature = "llama-cpp")]
mod tokenizers;
