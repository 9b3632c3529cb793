//! ONNX files: protocol buffers with the graph of a network and its weights, or with references to files that hold the weights.
//!
//! ```text
//! bytes ─ wire, schema (checked) ─ proto (prost decodes) ─ graph, tensor, external (names, sizes, places) ─ OnnxFile
//!                                             OnnxFile ─ network, multiply_adds (what it is) ─ OnnxNetwork
//! ModelProto ─ ExternalLayout (weights in a file of their own) ─ to_bytes ─ bytes
//! Decoder ─ language (graph, places, settings of ONNX Runtime GenAI) ─ ModelProto, PlannedFile
//! ```
//!
//! Nothing in a file is trusted. Before prost decodes, `wire` has checked every length and added up what decoding will take;
//! before a name is used, `graph` has checked that it is given once; data lie inside their file, and no reference leads out
//! of the model's folder.

mod external;
mod file;
mod graph;
pub mod language;
mod multiply_adds;
mod network;
#[rustfmt::skip]
pub mod proto;
mod schema;
mod tensor;
#[cfg(test)]
mod test_files;
#[cfg(test)]
mod tests_hostile;
#[cfg(test)]
mod tests_network;
mod wire;
mod writer;

pub use external::{EXTERNAL_ALIGNMENT, ExternalLayout, is_external, set_external};
pub use file::{OnnxFile, read_onnx};
pub(super) use file::{inspect_onnx, only_onnx_file};
#[cfg(test)]
pub(crate) use test_files::write_small;
pub use wire::UnknownField;
pub use writer::to_bytes;

use crate::path_text;

/// The standard's own operators are of this domain, which may be left empty.
const STANDARD_DOMAIN: &str = "ai.onnx";
/// Most characters of a name that a message shows.
const SHOWN_CHARS: usize = 80;

/// The domain by its full name.
fn domain_name(domain: &str) -> &str {
    if domain.is_empty() { STANDARD_DOMAIN } else { domain }
}

/// A name from the file in quotation marks, on one line and not too long.
fn label(name: &str) -> String {
    let short: String = name.chars().take(SHOWN_CHARS).collect();
    let more = if short.len() < name.len() { "…" } else { "" };
    format!("\"{}{more}\"", path_text::one_line(&short))
}
