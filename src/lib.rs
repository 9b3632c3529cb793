//! Planish: make a model fit your laptop, and prove what it cost.
//!
//! A file is inspected, the machine is measured, a decision tree chooses a plan, the plan is carried out in the background,
//! the result is measured and drawn. The window and the command line are two front doors to the same functions.
//!
//! ```text
//! path_text  paths as text: for a person, and in JSON without loss
//! error      what can go wrong, and what the user can do about it
//! units      numbers to text and back
//! monitor    progress out, cancellation in
//! model      what a model is, and what a decoder computes: plain data, no I/O
//! quant      numbers ↔ blocks of GGUF and ONNX, groups of MLX, by themselves or with error feedback: pure functions on slices
//! format     bytes ↔ model: recognise, read and write GGUF and ONNX, read the headers of Hugging Face checkpoints, lay out folders of MLX
//!            and graphs of decoders
//! hardware   what this machine is: detect, probe, measure
//! fetch      getting it, when asked: runtimes that are not built in
//! import     what a Hugging Face checkpoint becomes: names, shapes and key-values in GGUF, its tokenizer; its tensors in MLX and
//!            ONNX; what it computes
//! advise     what to do, pure: goal, tree, estimate, recipe, what each output will be
//! convert    doing it: stream → quantize → write, files and folders
//! runtime    running it, in a child process: llama.cpp, ONNX Runtime, MLX, and checkpoints by a forward pass of our own
//! calibrate  what the model sees: texts, importance matrices, second moments
//! bench      measuring it: speed, memory, what is lost and how it answers, compared with the prediction, kept in a history
//! make       the use cases: calibrate, convert, check and adopt; compare
//! deploy     shipping it: plots, report
//! worker     background: jobs in, events out
//! state      what is known (Store, Slot), what is wished (Command, Form)
//! ui         drawing: the kit, and a room for each page
//! app        the joint of worker, state and ui
//! cli        the other front door
//! ```
//!
//! ```text
//! file pick ─ Command::OpenModel ─ Job::Inspect ─ format::inspect ─ Output::Model ─ Store.model
//!  ─ advise(model, machine, goal) = Plan ─ Command::Convert ─ Job::Convert ─ make ─ Output::Conversions
//!  ─ Command::Bench ─ Job::Bench ─ bench ─ Output::Outcomes ─ Store.outcomes ─ ui::compare
//! ```
//!
//! A module uses only modules above it in the first list; `tests/it/layering.rs` checks that.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests name their own files"))]

pub mod advise;
pub mod app;
pub mod bench;
pub mod calibrate;
pub mod cli;
pub mod convert;
pub mod deploy;
pub mod error;
pub mod fetch;
pub mod format;
pub mod hardware;
pub mod import;
pub mod make;
pub mod model;
pub mod monitor;
pub mod path_text;
pub mod quant;
pub mod runtime;
pub mod state;
pub mod ui;
pub mod units;
pub mod worker;

pub use error::{Error, Result};
pub use monitor::{Monitor, Progress, ProgressUnit};
