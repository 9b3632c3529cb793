//! What the reader and the writer of GGUF share: constants and the arithmetic of sizes.
//!
//! Source: `gguf.h` and `gguf.cpp`, llama.cpp of 2026-08-21 (the copy in llama-cpp-sys-2 0.1.160).

use crate::model::DType;

/// The first four bytes of a file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The version that is written. Version 2 has the same layout; version 1 had 32-bit lengths.
pub const VERSION: u32 = 3;

/// The key of the alignment; its value must be a `u32`.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// Alignment of tensor data in bytes where the file does not name one.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// The largest alignment that is read or written. llama.cpp allows 2^31, which would pad every tensor to 2 GiB;
/// real files have 32 to 4096.
pub const MAX_ALIGNMENT: u64 = 1 << 20;

/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
pub const MAX_DIMS: usize = 4;

/// Deepest nesting of arrays. llama.cpp reads no nested arrays at all; the format's description allows them.
pub const MAX_ARRAY_DEPTH: usize = 8;

/// Most bytes of metadata and tensor infos in one file, so that a sparse file cannot fill the memory. The largest known headers
/// are below 40 MiB (vocabularies of 260,000 tokens).
pub const MAX_HEADER_BYTES: u64 = 128 << 20;

/// True for a power of two that is not above `MAX_ALIGNMENT`.
#[must_use]
pub fn alignment_is_valid(alignment: u64) -> bool {
    alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT
}

/// The next multiple of `alignment`, which must be a power of two; `None` on overflow.
#[must_use]
pub fn align_up(position: u64, alignment: u64) -> Option<u64> {
    Some(position.checked_add(alignment - 1)? & !(alignment - 1))
}

/// Number of weights of a shape, 1 for a scalar; `None` when a dimension is 0 or the product is above `i64::MAX`.
#[must_use]
pub fn element_count(shape: &[u64]) -> Option<u64> {
    let mut n: u64 = 1;
    for &dim in shape {
        n = n.checked_mul(dim)?;
    }
    (n > 0 && i64::try_from(n).is_ok()).then_some(n)
}

/// Size of a tensor's data in bytes, without padding; `None` when `element_count` is, when rows are not whole blocks, or on
/// overflow.
#[must_use]
pub fn tensor_size_bytes(dtype: DType, shape: &[u64]) -> Option<u64> {
    let n_elements = element_count(shape)?;
    let row_len = shape.first().copied().unwrap_or(1);
    if row_len % dtype.block_len() == 0 { (n_elements / dtype.block_len()).checked_mul(dtype.block_bytes()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_aligned_upwards() {
        let check = |position, alignment, expected| assert_eq!(align_up(position, alignment), expected);
        check(0, 32, Some(0));
        check(1, 32, Some(32));
        check(32, 32, Some(32));
        check(33, 1, Some(33));
        check(u64::MAX, 1, Some(u64::MAX));
        check(u64::MAX - 5, 32, None);
    }

    #[test]
    fn sizes_follow_shape_and_type() {
        let check = |dtype, shape: &[u64], expected| assert_eq!(tensor_size_bytes(dtype, shape), expected, "{dtype} {shape:?}");
        check(DType::F32, &[], Some(4));
        check(DType::F16, &[3, 5], Some(30));
        check(DType::Q4_K, &[512, 2], Some(576));
        check(DType::Q4_K, &[128, 2], None);
        check(DType::Q8_0, &[], None);
        check(DType::F32, &[4, 0], None);
        check(DType::I64, &[i64::MAX as u64], None);
        check(DType::I8, &[1 << 32, 1 << 31], None);
        check(DType::I8, &[u64::MAX, 2], None);
    }
}
