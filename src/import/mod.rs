//! What a Hugging Face checkpoint becomes as GGUF: names, shapes and key-values.
//!
//! ```text
//! CheckpointConfig ─ architectures (class → table) ─ llama … ─ Mapping ─ checked against the tensors ─ Model
//! tokenizer files ─ tokenizer ─ key-values ──────────────────────────────────────────────────┘
//! ```

mod architectures;
mod config;
mod keys;
mod llama;
mod mapping;
mod model;
mod naming;
mod rope;
pub mod tokenizer;

pub use architectures::{class_name, gguf_architecture, mapping_of};
pub use mapping::{Content, Mapped, Mapping, Piece};
pub use model::{Disagreement, checked_model, disagreement, planned_model};
