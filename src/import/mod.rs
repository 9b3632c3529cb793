//! What a Hugging Face checkpoint becomes as GGUF: names, shapes and key-values.

mod architectures;
mod llama_tensors;

pub use architectures::{class_name, gguf_architecture};
pub use llama_tensors::{Expected, Family, hyperparameters, is_harmless, model_of, tokenizer_bytes};
