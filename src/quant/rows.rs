//! From the type to its kernel, block by block.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use bytemuck::Pod;

use super::QuantError;
use super::blocks::{
    BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K, BlockQ8_0,
};
use super::dispatch::Kernel;
use super::lanes::max_magnitude_bits;
use super::{dequant, dequant_iq, kquant, legacy, plain};
use crate::model::DType;

/// Decoding of blocks whose lengths and type were checked.
pub(super) struct Decode<'a> {
    pub(super) dtype: DType,
    pub(super) src: &'a [u8],
    pub(super) dst: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { dtype, src, dst } = self;
        match dtype {
            DType::F32 => plain::decode_f32(src, dst),
            DType::F16 => plain::decode_f16(src, dst),
            DType::BF16 => plain::decode_bf16(src, dst),
            DType::F64 => plain::decode_f64(src, dst),
            DType::Q4_0 => decode(src, dst, dequant::decode_q4_0),
            DType::Q4_1 => decode(src, dst, dequant::decode_q4_1),
            DType::Q5_0 => decode(src, dst, dequant::decode_q5_0),
            DType::Q5_1 => decode(src, dst, dequant::decode_q5_1),
            DType::Q8_0 => decode(src, dst, dequant::decode_q8_0),
            DType::Q2_K => decode(src, dst, dequant::decode_q2_k),
            DType::Q3_K => decode(src, dst, dequant::decode_q3_k),
            DType::Q4_K => decode(src, dst, dequant::decode_q4_k),
            DType::Q5_K => decode(src, dst, dequant::decode_q5_k),
            DType::Q6_K => decode(src, dst, dequant::decode_q6_k),
            DType::IQ1_S => decode(src, dst, dequant_iq::decode_iq1_s),
            DType::IQ1_M => decode(src, dst, dequant_iq::decode_iq1_m),
            DType::IQ2_XXS => decode(src, dst, dequant_iq::decode_iq2_xxs),
            DType::IQ2_XS => decode(src, dst, dequant_iq::decode_iq2_xs),
            DType::IQ2_S => decode(src, dst, dequant_iq::decode_iq2_s),
            DType::IQ3_XXS => decode(src, dst, dequant_iq::decode_iq3_xxs),
            DType::IQ3_S => decode(src, dst, dequant_iq::decode_iq3_s),
            DType::IQ4_NL => decode(src, dst, dequant_iq::decode_iq4_nl),
            DType::IQ4_XS => decode(src, dst, dequant_iq::decode_iq4_xs),
            DType::TQ1_0 => decode(src, dst, dequant_iq::decode_tq1_0),
            DType::TQ2_0 => decode(src, dst, dequant_iq::decode_tq2_0),
            DType::MXFP4 => decode(src, dst, dequant_iq::decode_mxfp4),
            DType::NVFP4 => decode(src, dst, dequant_iq::decode_nvfp4),
            DType::Q1_0 => decode(src, dst, dequant_iq::decode_q1_0),
            DType::Q2_0 => decode(src, dst, dequant_iq::decode_q2_0),
            // `can_dequantize` is false for these.
            DType::Q8_1 | DType::Q8_K | DType::I8 | DType::I16 | DType::I32 | DType::I64 => {}
        }
    }
}

/// Decodes block after block.
#[inline(always)]
fn decode<B: Pod, const N: usize>(src: &[u8], dst: &mut [f32], decode_block: impl Fn(&B, &mut [f32; N])) {
    for (bytes, weights) in src.chunks_exact(size_of::<B>()).zip(dst.as_chunks_mut::<N>().0) {
        decode_block(bytemuck::from_bytes(bytes), weights);
    }
}

/// Encoding of rows whose lengths and type were checked.
pub(super) struct Encode<'a> {
    pub(super) dtype: DType,
    pub(super) src: &'a [f32],
    pub(super) row_len: usize,
    pub(super) dst: &'a mut [u8],
}

impl Kernel for Encode<'_> {
    type Output = Result<(), QuantError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        match self.dtype {
            DType::F32 => self.rows(plain::encode_f32),
            DType::F16 => self.rows(plain::encode_f16),
            DType::BF16 => self.rows(plain::encode_bf16),
            DType::Q8_0 => self.rows(|src, dst| encode::<BlockQ8_0, 32>(src, dst, legacy::encode_q8_0)),
            DType::Q6_K => self.rows(|src, dst| encode::<BlockQ6_K, 256>(src, dst, kquant::encode_q6_k)),
            DType::Q5_K => self.rows(|src, dst| encode::<BlockQ5_K, 256>(src, dst, kquant::encode_q5_k)),
            DType::Q5_1 => self.rows(|src, dst| encode::<BlockQ5_1, 32>(src, dst, legacy::encode_q5_1)),
            DType::Q5_0 => self.rows(|src, dst| encode::<BlockQ5_0, 32>(src, dst, legacy::encode_q5_0)),
            DType::Q4_K => self.rows(|src, dst| encode::<BlockQ4_K, 256>(src, dst, kquant::encode_q4_k)),
            DType::Q4_1 => self.rows(|src, dst| encode::<BlockQ4_1, 32>(src, dst, legacy::encode_q4_1)),
            DType::Q4_0 => self.rows(|src, dst| encode::<BlockQ4_0, 32>(src, dst, legacy::encode_q4_0)),
            DType::Q3_K => self.rows(|src, dst| encode::<BlockQ3_K, 256>(src, dst, kquant::encode_q3_k)),
            DType::Q2_K => self.rows(|src, dst| encode::<BlockQ2_K, 256>(src, dst, kquant::encode_q2_k)),
            dtype => Err(QuantError::Unsupported { action: "encode", dtype }),
        }
    }
}

impl Encode<'_> {
    /// Encodes row after row, each checked first.
    #[inline(always)]
    fn rows(self, encode_row: impl Fn(&[f32], &mut [u8])) -> Result<(), QuantError> {
        let largest_bits = largest_magnitude(self.dtype).to_bits();
        let row_bytes = self.dst.len() / (self.src.len() / self.row_len);
        for (row, (src, dst)) in self.src.chunks_exact(self.row_len).zip(self.dst.chunks_exact_mut(row_bytes)).enumerate() {
            let magnitude_bits = max_magnitude_bits(src);
            if magnitude_bits > largest_bits {
                return Err(self.row_error(row as u64, src));
            }
            encode_row(src, dst);
        }
        Ok(())
    }

    /// What is wrong with a row that has a weight beyond the type's range.
    #[cold]
    fn row_error(&self, row: u64, src: &[f32]) -> QuantError {
        match src.iter().find(|weight| !weight.is_finite()) {
            Some(weight) => QuantError::NonFinite { row, value: if weight.is_nan() { "NaN" } else { "infinite" } },
            None => QuantError::OutOfRange { row, dtype: self.dtype },
        }
    }
}

/// The largest magnitude that the type holds without its f16 scale or offset becoming infinite.
fn largest_magnitude(dtype: DType) -> f32 {
    /// f32 from here on round to an infinite f16.
    const F16_OVERFLOW: f32 = 65520.0;
    const F16_MAX: f32 = 65504.0;
    match dtype {
        DType::F32 => f32::MAX,
        // Half a unit in the last place below 2^128 rounds up to infinity.
        DType::BF16 => f32::from_bits(0x7f7f_7fff),
        // The offset is an f16.
        DType::F16 | DType::Q4_1 | DType::Q5_1 => F16_OVERFLOW.next_down(),
        DType::Q4_0 => F16_MAX * 8.0,
        DType::Q5_0 => F16_MAX * 16.0,
        DType::Q8_0 => F16_MAX * 127.0,
        // d * scale * q; a minimum reaches d * scale.
        DType::Q2_K => F16_MAX * 15.0,
        DType::Q3_K => F16_MAX * 31.0 * 3.0,
        DType::Q4_K | DType::Q5_K => F16_MAX * 63.0,
        _ => F16_MAX * 127.0 * 31.0,
    }
}

/// Encodes block after block.
#[inline(always)]
fn encode<B: Pod, const N: usize>(src: &[f32], dst: &mut [u8], encode_block: impl Fn(&[f32; N]) -> B) {
    for (weights, bytes) in src.as_chunks::<N>().0.iter().zip(dst.chunks_exact_mut(size_of::<B>())) {
        bytes.copy_from_slice(bytemuck::bytes_of(&encode_block(weights)));
    }
}
