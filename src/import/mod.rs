//! What a Hugging Face checkpoint becomes as GGUF: names, shapes and key-values; its tensors as mlx-lm has them (`mlx`) and
//! as graphs of ONNX have them (`onnx`); and what it computes (`decoder`).
//!
//! ```text
//! CheckpointConfig ─ architectures (class → table) ─ llama … ─ Mapping ─ checked against the tensors ─ Model
//! tokenizer files ─ tokenizer ─ key-values ──────────────────────────────────────────────────┘
//! CheckpointConfig ─ architectures (class → traits) ─ llama … ─ Traits ─┐
//!                                                             Mapping ──┴ decoder ─ Decoder ─ stored (its tensors)
//! ```

mod architectures;
mod bert;
mod config;
mod decoder;
mod deepseek2;
mod disagreement;
mod falcon;
mod gemma;
mod general;
mod gpt2;
mod gpt_oss;
mod granite;
mod keys;
mod limits;
mod llama;
mod mapping;
mod mlx;
mod model;
mod moe;
mod names;
mod naming;
mod olmo2;
mod onnx;
mod phi3;
mod rope;
mod rope_table;
mod smollm3;
mod starcoder2;
mod stored;
pub mod tokenizer;
mod traits;

pub use architectures::{class_name, class_of_runtime_type, gguf_architecture, mapping_of};
pub use decoder::decoder;
pub use disagreement::{Disagreement, disagreement};
pub use mapping::{Content, Mapped, Mapping, Piece, Spelling};
pub use mlx::{mlx_hindrance, mlx_model};
pub use model::{checked_model, import, planned_model};
pub use onnx::{onnx_hindrance, onnx_model};
pub use stored::{check_computable, stored_model};
