//! Rows of blocks, from weights to components and back.

use super::plain::{self, Block};
use super::{Components, ComponentsMut, Method, NBits, NBitsError, check_row, search};
use crate::quant::dispatch::Kernel;
use crate::quant::float::Float;
use crate::quant::lanes::{Simd, low_byte};
use crate::quant::search_block::column_importance;

/// Encoding of rows whose lengths were checked.
pub(super) struct Encode<'a> {
    pub(super) nbits: NBits,
    pub(super) method: Method,
    pub(super) float: Float,
    pub(super) src: &'a [f32],
    pub(super) row_len: usize,
    /// One per column, or none.
    pub(super) importances: Option<&'a [f32]>,
    pub(super) out: ComponentsMut<'a>,
}

impl Kernel for Encode<'_> {
    type Output = Result<(), NBitsError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        match self.nbits.block_len {
            16 => simd.call(EncodeBlocks::<16>(self)),
            32 => simd.call(EncodeBlocks::<32>(self)),
            64 => simd.call(EncodeBlocks::<64>(self)),
            _ => simd.call(EncodeBlocks::<128>(self)),
        }
    }
}

/// [`Encode`] for one length of blocks.
struct EncodeBlocks<'a, const N: usize>(Encode<'a>);

impl<const N: usize> Kernel for EncodeBlocks<'_, N> {
    type Output = Result<(), NBitsError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Encode { nbits, method, float, src, row_len, importances, out } = self.0;
        let mut writer = RowWriter::new(nbits, float, src.len() / row_len, out);
        for (row, src) in src.chunks_exact(row_len).enumerate() {
            check_row(row, src)?;
            for (idx, weights) in src.chunks(N).enumerate() {
                let x = filled_up::<N>(weights);
                let mut block = plain::fit(simd, &x, nbits, float);
                if block.scale.is_infinite() {
                    return Err(NBitsError::OutOfRange { row: row as u64, nbits });
                }
                if method == Method::Searched {
                    let columns = importances.and_then(|importances| importances.chunks(N).nth(idx));
                    let mut w = [1.0; N];
                    if let Some(columns) = columns
                        && let Some(weighted) = column_importance(simd, &x, &filled_up(columns), None)
                    {
                        w = weighted;
                    }
                    block = search::fit(simd, &x, &w, nbits, float, block);
                }
                let Block { scale, zero_point, codes } = block;
                writer.write(row, idx, scale, zero_point, &codes[..weights.len()]);
            }
        }
        Ok(())
    }
}

/// A block with zeros behind the end of the row.
#[inline(always)]
fn filled_up<const N: usize>(numbers: &[f32]) -> [f32; N] {
    if let Ok(whole) = numbers.try_into() {
        return whole;
    }
    let mut block = [0.0; N];
    block[..numbers.len()].copy_from_slice(numbers);
    block
}

/// Puts blocks into the components of a matrix.
pub(in crate::quant) struct RowWriter<'a> {
    nbits: NBits,
    float: Float,
    out: ComponentsMut<'a>,
    /// Blocks of a row.
    n_blocks: usize,
    /// Bytes of the zero points of a row.
    zero_point_bytes: usize,
}

impl<'a> RowWriter<'a> {
    /// For components of the right sizes for `n_rows` rows.
    #[inline(always)]
    pub(in crate::quant) fn new(nbits: NBits, float: Float, n_rows: usize, out: ComponentsMut<'a>) -> Self {
        let n_blocks = out.codes.len() / n_rows / nbits.block_bytes_in_memory();
        let zero_point_bytes = out.zero_points.len() / n_rows;
        Self { nbits, float, out, n_blocks, zero_point_bytes }
    }

    /// Writes block `idx` of a row; its codes may end before the block does.
    #[inline(always)]
    pub(in crate::quant) fn write(&mut self, row: usize, idx: usize, scale: f32, zero_point: f32, codes: &[u8]) {
        let block = row * self.n_blocks + idx;
        let block_bytes = self.nbits.block_bytes_in_memory();
        let bytes = &mut self.out.codes[block * block_bytes..][..block_bytes];
        if self.nbits.bits == 8 {
            bytes[..codes.len()].copy_from_slice(codes);
            bytes[codes.len()..].fill(0);
        } else {
            let (pairs, last) = codes.as_chunks::<2>();
            for (byte, [low, high]) in bytes.iter_mut().zip(pairs) {
                *byte = low | (high << 4);
            }
            bytes[pairs.len()..].fill(0);
            if let (Some(last), Some(byte)) = (last.first(), bytes.get_mut(pairs.len())) {
                *byte = *last;
            }
        }
        self.float.store(scale, block, self.out.scales);
        if self.nbits.has_zero_points {
            let points = &mut self.out.zero_points[row * self.zero_point_bytes..][..self.zero_point_bytes];
            let point = low_byte(zero_point);
            if self.nbits.bits == 8 {
                points[idx] = point;
            } else if idx.is_multiple_of(2) {
                // The middle, should no other block follow.
                points[idx / 2] = point | (8 << 4);
            } else {
                points[idx / 2] = (points[idx / 2] & 15) | (point << 4);
            }
        }
    }
}

impl NBits {
    /// [`NBits::block_bytes`], to index with.
    #[inline(always)]
    const fn block_bytes_in_memory(self) -> usize {
        self.block_len as usize * self.bits as usize / 8
    }
}

/// Decoding of components whose lengths were checked.
pub(super) struct Decode<'a> {
    pub(super) nbits: NBits,
    pub(super) float: Float,
    pub(super) src: Components<'a>,
    pub(super) row_len: usize,
    pub(super) dst: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Self { nbits, float, src, row_len, dst } = self;
        let (block_len, block_bytes) = (usize::from(nbits.block_len), nbits.block_bytes_in_memory());
        let n_blocks = row_len.div_ceil(block_len);
        let zero_point_bytes = src.zero_points.len() / (dst.len() / row_len);
        for (row, dst) in dst.chunks_exact_mut(row_len).enumerate() {
            let points = &src.zero_points[row * zero_point_bytes..][..zero_point_bytes];
            for (idx, weights) in dst.chunks_mut(block_len).enumerate() {
                let block = row * n_blocks + idx;
                let scale = float.load(block, src.scales);
                let codes = &src.codes[block * block_bytes..][..block_bytes];
                let zero_point = match (nbits.has_zero_points, nbits.bits) {
                    (false, _) => nbits.middle(),
                    (true, 4) => f32::from((points[idx / 2] >> (4 * (idx % 2))) & 15),
                    (true, _) => f32::from(points[idx]),
                };
                if nbits.bits == 8 {
                    for (weight, &code) in weights.iter_mut().zip(codes) {
                        *weight = scale * (f32::from(code) - zero_point);
                    }
                } else {
                    for (weights, &byte) in weights.chunks_mut(2).zip(codes) {
                        for (weight, code) in weights.iter_mut().zip([byte & 15, byte >> 4]) {
                            *weight = scale * (f32::from(code) - zero_point);
                        }
                    }
                }
            }
        }
    }
}
