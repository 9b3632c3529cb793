//! From the type to its kernel, row by row and block by block.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use std::marker::PhantomData;

use bytemuck::Pod;

use super::QuantError;
use super::blocks::{
    BlockIQ1_M, BlockIQ1_S, BlockIQ2_S, BlockIQ2_XS, BlockIQ2_XXS, BlockIQ3_S, BlockIQ3_XXS, BlockIQ4_NL, BlockIQ4_XS,
    BlockMXFP4, BlockNVFP4, BlockQ1_0, BlockQ2_0, BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1,
    BlockQ5_K, BlockQ6_K, BlockQ8_0, BlockTQ1_0, BlockTQ2_0,
};
use super::dispatch::Kernel;
use super::lanes::{Simd, max_magnitude_bits};
use super::{dequant, dequant_iq, iq1, iq4, iq23, kquant, legacy, mxfp4, plain, ternary};
use crate::model::DType;

/// A block of `N` weights that can be decoded.
///
/// Traits, not function arguments: a call through `impl Fn` is not always inlined, and then misses the wide vectors.
trait DecodeBlock<const N: usize>: Pod {
    fn decode(&self, out: &mut [f32; N]);
}

/// A block of `N` weights that can be encoded.
trait EncodeBlock<const N: usize>: Pod {
    /// `columns` are the importances of the block's columns, where the caller has some.
    fn encode<S: Simd>(simd: S, x: &[f32; N], columns: Option<&[f32; N]>) -> Self;
}

/// Declares which functions decode and encode which block.
macro_rules! codecs {
    ($($block:ident, $n_weights:literal, $decode:path $(, $encode:path)?;)*) => {
        $(
            impl DecodeBlock<$n_weights> for $block {
                #[inline(always)]
                fn decode(&self, out: &mut [f32; $n_weights]) {
                    $decode(self, out);
                }
            }
            $(
                impl EncodeBlock<$n_weights> for $block {
                    #[inline(always)]
                    fn encode<S: Simd>(simd: S, x: &[f32; $n_weights], columns: Option<&[f32; $n_weights]>) -> Self {
                        $encode(simd, x, columns)
                    }
                }
            )?
        )*
    };
}

codecs! {
    BlockQ4_0, 32, dequant::decode_q4_0, legacy::encode_q4_0;
    BlockQ4_1, 32, dequant::decode_q4_1, legacy::encode_q4_1;
    BlockQ5_0, 32, dequant::decode_q5_0, legacy::encode_q5_0;
    BlockQ5_1, 32, dequant::decode_q5_1, legacy::encode_q5_1;
    BlockQ8_0, 32, dequant::decode_q8_0, legacy::encode_q8_0;
    BlockQ2_K, 256, dequant::decode_q2_k, kquant::encode_q2_k;
    BlockQ3_K, 256, dequant::decode_q3_k, kquant::encode_q3_k;
    BlockQ4_K, 256, dequant::decode_q4_k, kquant::encode_q4_k;
    BlockQ5_K, 256, dequant::decode_q5_k, kquant::encode_q5_k;
    BlockQ6_K, 256, dequant::decode_q6_k, kquant::encode_q6_k;
    BlockIQ1_S, 256, dequant_iq::decode_iq1_s, iq1::encode_iq1_s;
    BlockIQ1_M, 256, dequant_iq::decode_iq1_m, iq1::encode_iq1_m;
    BlockIQ2_XXS, 256, dequant_iq::decode_iq2_xxs, iq23::encode_iq2_xxs;
    BlockIQ2_XS, 256, dequant_iq::decode_iq2_xs, iq23::encode_iq2_xs;
    BlockIQ2_S, 256, dequant_iq::decode_iq2_s, iq23::encode_iq2_s;
    BlockIQ3_XXS, 256, dequant_iq::decode_iq3_xxs, iq23::encode_iq3_xxs;
    BlockIQ3_S, 256, dequant_iq::decode_iq3_s, iq23::encode_iq3_s;
    BlockIQ4_NL, 32, dequant_iq::decode_iq4_nl, iq4::encode_iq4_nl;
    BlockIQ4_XS, 256, dequant_iq::decode_iq4_xs, iq4::encode_iq4_xs;
    BlockTQ1_0, 256, dequant_iq::decode_tq1_0, ternary::encode_tq1_0;
    BlockTQ2_0, 256, dequant_iq::decode_tq2_0, ternary::encode_tq2_0;
    BlockMXFP4, 32, dequant_iq::decode_mxfp4, mxfp4::encode_mxfp4;
    BlockNVFP4, 64, dequant_iq::decode_nvfp4;
    BlockQ1_0, 128, dequant_iq::decode_q1_0;
    BlockQ2_0, 64, dequant_iq::decode_q2_0;
}

/// Decoding of blocks whose lengths and type were checked.
pub(super) struct Decode<'a> {
    pub(super) dtype: DType,
    pub(super) src: &'a [u8],
    pub(super) dst: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        match self.dtype {
            DType::F32 => plain::decode_f32(self.src, self.dst),
            DType::F16 => plain::decode_f16(self.src, self.dst),
            DType::BF16 => plain::decode_bf16(self.src, self.dst),
            DType::F64 => plain::decode_f64(self.src, self.dst),
            DType::Q4_0 => self.blocks::<BlockQ4_0, 32>(),
            DType::Q4_1 => self.blocks::<BlockQ4_1, 32>(),
            DType::Q5_0 => self.blocks::<BlockQ5_0, 32>(),
            DType::Q5_1 => self.blocks::<BlockQ5_1, 32>(),
            DType::Q8_0 => self.blocks::<BlockQ8_0, 32>(),
            DType::Q2_K => self.blocks::<BlockQ2_K, 256>(),
            DType::Q3_K => self.blocks::<BlockQ3_K, 256>(),
            DType::Q4_K => self.blocks::<BlockQ4_K, 256>(),
            DType::Q5_K => self.blocks::<BlockQ5_K, 256>(),
            DType::Q6_K => self.blocks::<BlockQ6_K, 256>(),
            DType::IQ1_S => self.blocks::<BlockIQ1_S, 256>(),
            DType::IQ1_M => self.blocks::<BlockIQ1_M, 256>(),
            DType::IQ2_XXS => self.blocks::<BlockIQ2_XXS, 256>(),
            DType::IQ2_XS => self.blocks::<BlockIQ2_XS, 256>(),
            DType::IQ2_S => self.blocks::<BlockIQ2_S, 256>(),
            DType::IQ3_XXS => self.blocks::<BlockIQ3_XXS, 256>(),
            DType::IQ3_S => self.blocks::<BlockIQ3_S, 256>(),
            DType::IQ4_NL => self.blocks::<BlockIQ4_NL, 32>(),
            DType::IQ4_XS => self.blocks::<BlockIQ4_XS, 256>(),
            DType::TQ1_0 => self.blocks::<BlockTQ1_0, 256>(),
            DType::TQ2_0 => self.blocks::<BlockTQ2_0, 256>(),
            DType::MXFP4 => self.blocks::<BlockMXFP4, 32>(),
            DType::NVFP4 => self.blocks::<BlockNVFP4, 64>(),
            DType::Q1_0 => self.blocks::<BlockQ1_0, 128>(),
            DType::Q2_0 => self.blocks::<BlockQ2_0, 64>(),
            // `can_dequantize` is false for these.
            DType::Q8_1 | DType::Q8_K | DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::Unknown => {}
        }
    }
}

impl Decode<'_> {
    /// Decodes block after block.
    #[inline(always)]
    fn blocks<B: DecodeBlock<N>, const N: usize>(self) {
        for (bytes, weights) in self.src.chunks_exact(size_of::<B>()).zip(self.dst.as_chunks_mut::<N>().0) {
            bytemuck::from_bytes::<B>(bytes).decode(weights);
        }
    }
}

/// Encoding of rows whose lengths and type were checked.
pub(super) struct Encode<'a> {
    pub(super) dtype: DType,
    pub(super) src: &'a [f32],
    pub(super) row_len: usize,
    /// One per column, or none.
    pub(super) importances: Option<&'a [f32]>,
    pub(super) dst: &'a mut [u8],
}

impl Kernel for Encode<'_> {
    type Output = Result<(), QuantError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        // One function for each type: together they would take minutes to compile.
        match self.dtype {
            DType::F32 => self.plain::<4>(),
            DType::F16 | DType::BF16 => self.plain::<2>(),
            DType::Q8_0 => self.blocks::<BlockQ8_0, 32>(simd),
            DType::Q6_K => self.blocks::<BlockQ6_K, 256>(simd),
            DType::Q5_K => self.blocks::<BlockQ5_K, 256>(simd),
            DType::Q5_1 => self.blocks::<BlockQ5_1, 32>(simd),
            DType::Q5_0 => self.blocks::<BlockQ5_0, 32>(simd),
            DType::Q4_K => self.blocks::<BlockQ4_K, 256>(simd),
            DType::Q4_1 => self.blocks::<BlockQ4_1, 32>(simd),
            DType::Q4_0 => self.blocks::<BlockQ4_0, 32>(simd),
            DType::Q3_K => self.blocks::<BlockQ3_K, 256>(simd),
            DType::Q2_K => self.blocks::<BlockQ2_K, 256>(simd),
            DType::IQ4_NL => self.blocks::<BlockIQ4_NL, 32>(simd),
            DType::IQ4_XS => self.blocks::<BlockIQ4_XS, 256>(simd),
            DType::MXFP4 => self.blocks::<BlockMXFP4, 32>(simd),
            DType::TQ1_0 => self.blocks::<BlockTQ1_0, 256>(simd),
            DType::TQ2_0 => self.blocks::<BlockTQ2_0, 256>(simd),
            DType::IQ3_S => self.blocks::<BlockIQ3_S, 256>(simd),
            DType::IQ3_XXS => self.blocks::<BlockIQ3_XXS, 256>(simd),
            DType::IQ2_S => self.blocks::<BlockIQ2_S, 256>(simd),
            DType::IQ2_XS => self.blocks::<BlockIQ2_XS, 256>(simd),
            DType::IQ2_XXS => self.blocks::<BlockIQ2_XXS, 256>(simd),
            DType::IQ1_M => self.blocks::<BlockIQ1_M, 256>(simd),
            DType::IQ1_S => self.blocks::<BlockIQ1_S, 256>(simd),
            dtype => Err(QuantError::Unsupported { action: "encode", dtype }),
        }
    }
}

impl Encode<'_> {
    #[inline(always)]
    fn blocks<B: EncodeBlock<N>, const N: usize>(self, simd: impl Simd) -> Result<(), QuantError> {
        simd.call(EncodeBlocks::<B, N>(self, PhantomData))
    }

    /// Encodes row after row of a type without blocks, of `WIDTH` bytes per weight.
    #[inline(always)]
    fn plain<const WIDTH: usize>(self) -> Result<(), QuantError> {
        let row_bytes = self.row_len * WIDTH;
        for (row, (src, dst)) in self.src.chunks_exact(self.row_len).zip(self.dst.chunks_exact_mut(row_bytes)).enumerate() {
            check_row(self.dtype, row, src)?;
            match self.dtype {
                DType::F32 => plain::encode_f32(src, dst),
                DType::F16 => plain::encode_f16(src, dst),
                _ => plain::encode_bf16(src, dst),
            }
        }
        Ok(())
    }
}

/// [`Encode`] for a type with blocks.
struct EncodeBlocks<'a, B, const N: usize>(Encode<'a>, PhantomData<B>);

impl<B: EncodeBlock<N>, const N: usize> Kernel for EncodeBlocks<'_, B, N> {
    type Output = Result<(), QuantError>;

    /// Encodes row after row, block after block.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Encode { dtype, src, row_len, importances, dst } = self.0;
        let row_bytes = row_len / N * size_of::<B>();
        let columns = importances.unwrap_or_default().as_chunks::<N>().0;
        for (row, (src, dst)) in src.chunks_exact(row_len).zip(dst.chunks_exact_mut(row_bytes)).enumerate() {
            check_row(dtype, row, src)?;
            let blocks = src.as_chunks::<N>().0.iter().zip(dst.chunks_exact_mut(size_of::<B>()));
            for (idx, (weights, bytes)) in blocks.enumerate() {
                bytes.copy_from_slice(bytemuck::bytes_of(&B::encode(simd, weights, columns.get(idx))));
            }
        }
        Ok(())
    }
}

/// Refuses a row with a weight that the type cannot hold.
#[inline(always)]
pub(super) fn check_row(dtype: DType, row: usize, src: &[f32]) -> Result<(), QuantError> {
    if max_magnitude_bits(src) <= largest_magnitude(dtype).to_bits() { Ok(()) } else { Err(row_error(dtype, row as u64, src)) }
}

/// What is wrong with a row that has a weight beyond the type's range.
#[cold]
fn row_error(dtype: DType, row: u64, src: &[f32]) -> QuantError {
    match src.iter().find(|weight| !weight.is_finite()) {
        Some(weight) => QuantError::NonFinite { row, value: if weight.is_nan() { "NaN" } else { "infinite" } },
        None => QuantError::OutOfRange { row, dtype },
    }
}

/// The largest magnitude that the type holds, of either sign, without its f16 scale or offset becoming infinite.
fn largest_magnitude(dtype: DType) -> f32 {
    const F16_MAX: f32 = 65504.0;
    match dtype {
        DType::F32 => f32::MAX,
        // From half a unit in the last place below 2^128 on, f32 round to an infinite bf16.
        DType::BF16 => f32::from_bits(0x7f7f_7fff),
        // From 65520 on, f32 round to an infinite f16. Q4_1 and Q5_1 keep an offset near their smallest weight as one.
        DType::F16 | DType::Q4_1 | DType::Q5_1 => 65520_f32.next_down(),
        DType::Q4_0 => F16_MAX * 8.0,
        DType::Q5_0 => F16_MAX * 16.0,
        DType::Q8_0 => F16_MAX * 127.0,
        // The reach of a minimum, dmin * min, which is less than that of d * scale * q.
        DType::Q2_K => F16_MAX * 15.0,
        DType::Q4_K | DType::Q5_K => F16_MAX * 63.0,
        // d * scale * q.
        DType::Q3_K => F16_MAX * 31.0 * 3.0,
        // The end that is nearer to zero.
        DType::IQ4_NL => F16_MAX * 113.0,
        DType::IQ4_XS => F16_MAX * 31.0 * 113.0,
        DType::TQ1_0 | DType::TQ2_0 => F16_MAX,
        // All weights at the smallest coordinate.
        DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S | DType::IQ3_XXS | DType::IQ3_S => F16_MAX * 31.0,
        // All weights at 7/8.
        DType::IQ1_S | DType::IQ1_M => F16_MAX * 15.0 * 0.875,
        // 12 * 2^124: with the next exponent the largest value would not fit an f32.
        DType::MXFP4 => f32::from_bits(0x7f40_0000),
        _ => F16_MAX * 127.0 * 31.0,
    }
}
