//! What a file made by Planish says about its origin, so that it can be checked without anything else.

use super::{Metadata, Text, Value};

/// What the keys start with.
pub const PROVENANCE_PREFIX: &str = "planish.";
/// The level alone, in files whose form does not tell it: `onnx:INT4-g32`.
pub const LEVEL_KEY: &str = "planish.level";
/// The version of Planish that made the file.
pub const VERSION_KEY: &str = "planish.version";
/// The level, followed by the changes to its recipe as command-line options: `Q4_K_M --pure`.
pub const RECIPE_KEY: &str = "planish.recipe";
/// Checksum of the source's tensors without those of layers that are left out.
pub const SOURCE_CHECKSUM_KEY: &str = "planish.source.blake3";
/// What the source's weights had been quantized to before: `Q4_1`; missing where they had not.
pub const QUANTIZED_SOURCE_KEY: &str = "planish.source.quantized";
/// BLAKE3 of the importance matrix's file; missing without one.
pub const IMATRIX_CHECKSUM_KEY: &str = "planish.imatrix.blake3";
/// Checksum of the file's own tensors.
pub const TENSORS_CHECKSUM_KEY: &str = "planish.tensors.blake3";
/// Checksum of all bytes before the first tensor, this value itself counted as zeros.
pub const HEADER_CHECKSUM_KEY: &str = "planish.header.blake3";

/// What stands in for a checksum until it is known: as long as a checksum, so that the file's size is known beforehand.
const UNKNOWN: [u8; 64] = [b'0'; 64];

/// The key-values of an output, with all checksums still zeros.
#[must_use]
pub fn provenance_metadata(recipe: &str, has_imatrix: bool, quantized_source: Option<&str>) -> Metadata {
    let text = |text: &str| Value::Str(Text::from(text));
    let mut metadata = Metadata::default();
    metadata.set(VERSION_KEY, text(env!("CARGO_PKG_VERSION")));
    metadata.set(RECIPE_KEY, text(recipe));
    if let Some(level) = quantized_source {
        metadata.set(QUANTIZED_SOURCE_KEY, text(level));
    }
    let checksums = [SOURCE_CHECKSUM_KEY, IMATRIX_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY, HEADER_CHECKSUM_KEY];
    for key in checksums.into_iter().filter(|&key| has_imatrix || key != IMATRIX_CHECKSUM_KEY) {
        metadata.set(key, Value::Str(Text(UNKNOWN.to_vec())));
    }
    metadata
}
