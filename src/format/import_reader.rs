//! Weights of a checkpoint's tensors in the order and type in which a GGUF file holds them.

use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::model::{BlockScale, CheckpointDType, DType, Origin, Part, RowOrder, Tensor};

/// Fills a buffer from a file, given by its index, starting at a position.
pub(super) type ReadAt<'a> = dyn Fn(usize, u64, &mut [u8]) -> Result<()> + 'a;

/// A rectangle of a part: rows `rows.0..rows.1`, and in each the weights `columns.0..columns.1`.
struct Piece {
    rows: (u64, u64),
    columns: (u64, u64),
}

impl Piece {
    fn n_weights(&self) -> u64 {
        (self.rows.1 - self.rows.0) * (self.columns.1 - self.columns.0)
    }
}

/// Fills `dst` with the bytes of a tensor from byte `start` on, as they stand in a GGUF file of the tensor's type.
///
/// # Errors
/// `Error::Internal` when the range is not made of whole blocks inside the tensor or the tensor's type is none of F32, F16, BF16 and MXFP4;
/// those of `read_at`.
pub(super) fn read_import(tensor: &Tensor, origin: &Origin, start: u64, dst: &mut [u8], read_at: &ReadAt) -> Result<()> {
    let n_wanted = dst.len();
    let broken = || Error::Internal {
        message: format!("bytes {start}..{start}+{n_wanted} of tensor {} ({}) were asked for", tensor.name, tensor.dtype),
    };
    let (width, block_len) = match tensor.dtype {
        DType::F32 | DType::F16 | DType::BF16 | DType::MXFP4 => (tensor.dtype.block_bytes(), tensor.dtype.block_len()),
        _ => return Err(broken()),
    };
    let end = start.checked_add(n_wanted as u64).filter(|&end| end <= tensor.size_bytes).ok_or_else(broken)?;
    if !start.is_multiple_of(width) || !end.is_multiple_of(width) {
        return Err(broken());
    }
    let (first, last) = (start / width * block_len, end / width * block_len);
    match origin {
        Origin::Computed(weights) => {
            let range = in_memory(first).zip(in_memory(last));
            let weights = range.and_then(|(first, last)| weights.get(first..last)).ok_or_else(broken)?;
            encode(weights.iter().copied(), tensor.dtype, dst);
            Ok(())
        }
        Origin::Stored { parts, plus } => {
            let mut dst = dst;
            let mut part_start = 0; // position of the part's first weight in the tensor
            for part in parts {
                let n_weights = part.n_rows_out() * part.row_len_out();
                let (mut from, until) = (first.clamp(part_start, part_start + n_weights), last.min(part_start + n_weights));
                while from < until {
                    let piece = piece_of(part, from - part_start, until - part_start);
                    let n_bytes = in_memory(piece.n_weights() / block_len * width).ok_or_else(broken)?;
                    let (now, later) = std::mem::take(&mut dst).split_at_mut_checked(n_bytes).ok_or_else(broken)?;
                    if tensor.dtype == DType::MXFP4 {
                        read_mxfp4(part, &piece, now, read_at)?;
                    } else {
                        read_piece(part, &piece, *plus, tensor.dtype, now, read_at)?;
                    }
                    dst = later;
                    from += piece.n_weights();
                }
                part_start += n_weights;
            }
            if dst.is_empty() { Ok(()) } else { Err(broken()) }
        }
    }
}

/// The largest rectangle at the start of a range of a part's weights: whole rows, or a piece of one.
fn piece_of(part: &Part, from: u64, until: u64) -> Piece {
    let row_len = part.row_len_out().max(1);
    let (row, column) = (from / row_len, from % row_len);
    let n_whole = (until - from) / row_len;
    if column == 0 && n_whole > 0 {
        Piece { rows: (row, row + n_whole), columns: (0, row_len) }
    } else {
        Piece { rows: (row, row + 1), columns: (column, row_len.min(column + until - from)) }
    }
}

fn read_piece(part: &Part, piece: &Piece, plus: f32, dtype: DType, dst: &mut [u8], read_at: &ReadAt) -> Result<()> {
    let is_same = matches!(
        (part.dtype, dtype),
        (CheckpointDType::F32, DType::F32) | (CheckpointDType::F16, DType::F16) | (CheckpointDType::BF16, DType::BF16)
    );
    if is_same && plus == 0.0 {
        return gather(part, piece, dst, read_at);
    }
    let n_bytes = in_memory(piece.n_weights() * (part.dtype.bits() / 8));
    let Some(n_bytes) = n_bytes else { return Err(Error::Internal { message: "a piece does not fit into memory".into() }) };
    let mut raw = vec![0; n_bytes];
    gather(part, piece, &mut raw, read_at)?;
    let mut weights = decode(&raw, part.dtype)?;
    if let Some(scale) = &part.scale {
        apply_scale(part, piece, scale, &mut weights, read_at)?;
    }
    encode(weights.iter().map(|weight| weight + plus), dtype, dst);
    Ok(())
}

/// Fills `dst` with blocks of MXFP4 as GGUF has them: the exponent, then 16 bytes whose lower halves are the first 16 weights and whose
/// upper halves the others. The checkpoint has exponents and weights in two tensors, and two neighbours in a byte.
///
/// Source: `GptOssModel.repack_mxfp4` in `conversion/gpt_oss.py` and `block_mxfp4` in ggml-common.h, llama.cpp of 2026-08-21.
fn read_mxfp4(part: &Part, piece: &Piece, dst: &mut [u8], read_at: &ReadAt) -> Result<()> {
    let broken = || Error::Internal { message: "a piece of MXFP4 that is not made of rows of blocks".into() };
    let exponents = part.scale.as_ref().ok_or_else(broken)?;
    let step = match part.order {
        RowOrder::AsStored => 1,
        RowOrder::Strided { step } => step,
        RowOrder::Rope { .. } | RowOrder::Transposed { .. } => return Err(broken()),
    };
    let (rows, columns) = (piece.rows.1 - piece.rows.0, piece.columns.1 - piece.columns.0);
    let block_len = DType::MXFP4.block_len();
    // Either whole rows or a piece of one row: one run in each file, with rows between those that are wanted.
    let (row_blocks, n_blocks) = (in_memory(part.row_len / block_len), in_memory(columns / block_len));
    let (row_blocks, n_blocks) = row_blocks.zip(n_blocks).filter(|&(_, n)| n > 0).ok_or_else(broken)?;
    let first = part.source_row(piece.rows.0) * row_blocks as u64 + piece.columns.0 / block_len;
    let row_step = in_memory(step).ok_or_else(broken)? * row_blocks;
    let n_run = in_memory(rows - 1).ok_or_else(broken)? * row_step + n_blocks;
    let (mut packed, mut scales) = (vec![[0_u8; 16]; n_run], vec![0_u8; n_run]);
    read_at(part.file_idx, part.offset + first * 16, packed.as_flattened_mut())?;
    read_at(exponents.file_idx, exponents.offset + first, &mut scales)?;
    let wanted = packed.chunks(row_step).zip(scales.chunks(row_step));
    let wanted = wanted.flat_map(|(packed, scales)| packed.iter().zip(scales).take(n_blocks));
    for (block, (pairs, exponent)) in dst.as_chunks_mut::<17>().0.iter_mut().zip(wanted) {
        let weight = |idx: usize| pairs[idx / 2] >> (idx % 2 * 4) & 0xf;
        block[0] = *exponent;
        for (idx, byte) in block[1..].iter_mut().enumerate() {
            *byte = weight(idx) | weight(idx + 16) << 4;
        }
    }
    Ok(())
}

/// Multiplies each weight by the factor of its block.
fn apply_scale(part: &Part, piece: &Piece, scale: &BlockScale, weights: &mut [f32], read_at: &ReadAt) -> Result<()> {
    let no_factor = || Error::Internal { message: "a weight lies outside the blocks that have factors".into() };
    let (block_rows, block_columns) = (scale.block_rows.max(1), scale.block_columns.max(1));
    let width = scale.dtype.bits() / 8;
    let mut factors: Option<(u64, Vec<f32>)> = None; // of the row of blocks that was read last
    let mut weights = weights.iter_mut();
    for row in piece.rows.0..piece.rows.1 {
        for column in piece.columns.0..piece.columns.1 {
            let (source_row, source_column) = part.source_of(row, column);
            let block_row = source_row / block_rows;
            if factors.as_ref().is_none_or(|(known, _)| *known != block_row) {
                let mut raw = vec![0; in_memory(scale.n_columns * width).ok_or_else(no_factor)?];
                read_at(scale.file_idx, scale.offset + block_row * scale.n_columns * width, &mut raw)?;
                factors = Some((block_row, decode(&raw, scale.dtype)?));
            }
            let factor = factors.as_ref().and_then(|(_, row)| row.get(in_memory(source_column / block_columns)?).copied());
            let weight = weights.next().ok_or_else(no_factor)?;
            *weight *= factor.ok_or_else(no_factor)?;
        }
    }
    Ok(())
}

/// Reads a rectangle in the checkpoint's own type.
fn gather(part: &Part, piece: &Piece, dst: &mut [u8], read_at: &ReadAt) -> Result<()> {
    let width = part.dtype.bits() / 8;
    let (rows, columns) = (piece.rows, piece.columns);
    let position = |row: u64, column: u64| part.offset + (row * part.row_len + column) * width;
    let short = || Error::Internal { message: "a piece is longer than its buffer".into() };
    match part.order {
        // Either whole rows or a piece of one row: one run in the file.
        RowOrder::AsStored => read_at(part.file_idx, position(part.source_row(rows.0), columns.0), dst),
        RowOrder::Rope { .. } | RowOrder::Strided { .. } => {
            let n_bytes = in_memory((columns.1 - columns.0) * width).filter(|&n| n > 0).ok_or_else(short)?;
            for (row, dst) in (rows.0..rows.1).zip(dst.chunks_exact_mut(n_bytes)) {
                read_at(part.file_idx, position(part.source_row(row), columns.0), dst)?;
            }
            Ok(())
        }
        RowOrder::Transposed { first, step } => {
            // A run of the checkpoint's row holds one weight of each wanted row, with others between them.
            let (n_rows, n_columns) = (in_memory(rows.1 - rows.0).ok_or_else(short)?, in_memory(columns.1 - columns.0));
            let (n_columns, width_bytes) = n_columns.zip(in_memory(width)).ok_or_else(short)?;
            let step_bytes = in_memory(step).filter(|&step| step > 0).ok_or_else(short)? * width_bytes;
            let mut strip = vec![0; n_rows.saturating_sub(1) * step_bytes + width_bytes];
            for (idx, column) in (columns.0..columns.1).enumerate() {
                read_at(part.file_idx, position(part.first_row + column, first + rows.0 * step), &mut strip)?;
                let places = dst.chunks_exact_mut(n_columns * width_bytes);
                for (weight, row) in strip.chunks(step_bytes).zip(places) {
                    row[idx * width_bytes..][..width_bytes].copy_from_slice(&weight[..width_bytes]);
                }
            }
            Ok(())
        }
    }
}

fn in_memory(n: u64) -> Option<usize> {
    usize::try_from(n).ok()
}

/// Weights of the checkpoint's type as f32.
fn decode(raw: &[u8], dtype: CheckpointDType) -> Result<Vec<f32>> {
    let halves = || raw.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    Ok(match dtype {
        CheckpointDType::F32 => raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        CheckpointDType::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        CheckpointDType::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        #[allow(clippy::cast_possible_truncation, reason = "GGUF holds weights as f32 at most, as convert_hf_to_gguf.py does it")]
        CheckpointDType::F64 => raw.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        CheckpointDType::F8_E4M3 => raw.iter().map(|&bits| f8_e4m3(bits)).collect(),
        // Its bits are the upper half of an f16's.
        CheckpointDType::F8_E5M2 => raw.iter().map(|&bits| f16::from_bits(u16::from(bits) << 8).to_f32()).collect(),
        other => return Err(Error::Internal { message: format!("weights of type {} were asked for", other.name()) }),
    })
}

/// Sign, four bits of exponent with bias 7, three of mantissa; no infinity, NaN where all seven are set.
///
/// Source: `OCP 8-bit Floating Point Specification (OFP8)`, revision 1.0, section 5.
fn f8_e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (bits >> 3 & 0xf, f32::from(bits & 7));
    let magnitude = match exponent {
        0xf if bits & 7 == 7 => f32::NAN,
        0 => mantissa * 2f32.powi(-9),
        exponent => (8.0 + mantissa) * 2f32.powi(i32::from(exponent) - 10),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

fn encode(weights: impl Iterator<Item = f32>, dtype: DType, dst: &mut [u8]) {
    match dtype {
        DType::F16 => {
            for (weight, bytes) in weights.zip(dst.as_chunks_mut::<2>().0) {
                *bytes = f16::from_f32(weight).to_le_bytes();
            }
        }
        DType::BF16 => {
            for (weight, bytes) in weights.zip(dst.as_chunks_mut::<2>().0) {
                *bytes = bf16::from_f32(weight).to_le_bytes();
            }
        }
        _ => {
            for (weight, bytes) in weights.zip(dst.as_chunks_mut::<4>().0) {
                *bytes = weight.to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 24 weights `0, 1, 2 …` as BF16 after 6 other bytes, seen as 6 rows of 4.
    fn file() -> Vec<u8> {
        let weights = (0u8..24).flat_map(|n| bf16::from_f32(f32::from(n)).to_le_bytes());
        [0xff; 6].into_iter().chain(weights).collect()
    }

    fn part(first_row: u64, n_rows: u64, order: RowOrder) -> Part {
        Part { file_idx: 0, offset: 6, dtype: CheckpointDType::BF16, row_len: 4, first_row, n_rows, order, scale: None }
    }

    fn read(parts: Vec<Part>, plus: f32, dtype: DType, range: std::ops::Range<u64>) -> Vec<f32> {
        let width = if dtype == DType::F32 { 4 } else { 2 };
        let n_weights: u64 = parts.iter().map(|part| part.n_rows_out() * part.row_len_out()).sum();
        let row_len = parts[0].row_len_out();
        let tensor = Tensor {
            name: "t".into(),
            dtype,
            shape: vec![row_len, n_weights / row_len],
            file_idx: 0,
            offset: 6,
            size_bytes: n_weights * width,
        };
        let bytes = file();
        let read_at = |_: usize, position: u64, dst: &mut [u8]| {
            let position = usize::try_from(position).unwrap();
            dst.copy_from_slice(&bytes[position..position + dst.len()]);
            Ok(())
        };
        let n_bytes = usize::try_from((range.end - range.start) * width).unwrap();
        let mut dst = vec![0; n_bytes];
        read_import(&tensor, &Origin::Stored { parts, plus }, range.start * width, &mut dst, &read_at).unwrap();
        match dtype {
            DType::F32 => dst.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            DType::F16 => dst.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
            _ => dst.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        }
    }

    #[test]
    fn every_range_is_cut_from_the_whole() {
        let check = |parts: &[Part], expected: &[f32]| {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                for start in 0..expected.len() {
                    for end in start + 1..=expected.len() {
                        let range = start as u64..end as u64;
                        assert_eq!(read(parts.to_vec(), 0.0, dtype, range), expected[start..end], "{parts:?} {start}..{end}");
                    }
                }
            }
        };
        check(&[part(0, 2, RowOrder::AsStored)], &[0., 1., 2., 3., 4., 5., 6., 7.]);
        check(&[part(5, 1, RowOrder::AsStored), part(1, 1, RowOrder::AsStored)], &[20., 21., 22., 23., 4., 5., 6., 7.]);
        let rope = part(1, 4, RowOrder::Rope { head_rows: 4 });
        check(&[rope], &[4., 5., 6., 7., 12., 13., 14., 15., 8., 9., 10., 11., 16., 17., 18., 19.]);
        check(&[part(1, 3, RowOrder::TRANSPOSED)], &[4., 8., 12., 5., 9., 13., 6., 10., 14., 7., 11., 15.]);
        check(&[part(1, 2, RowOrder::Strided { step: 3 })], &[4., 5., 6., 7., 16., 17., 18., 19.]);
        check(&[part(1, 3, RowOrder::Transposed { first: 1, step: 2 })], &[5., 9., 13., 7., 11., 15.]);
        let heads = [part(0, 2, RowOrder::TRANSPOSED), part(3, 2, RowOrder::TRANSPOSED)];
        check(&heads, &[0., 4., 1., 5., 2., 6., 3., 7., 12., 16., 13., 17., 14., 18., 15., 19.]);
    }

    #[test]
    fn one_is_added_where_the_checkpoint_leaves_it_out() {
        assert_eq!(read(vec![part(0, 1, RowOrder::AsStored)], 1.0, DType::F32, 0..4), [1., 2., 3., 4.]);
    }

    #[test]
    fn other_types_become_floats() {
        let check = |from, raw: &[u8], expected: f32| {
            let found = decode(raw, from).unwrap();
            assert_eq!((found.len(), found[0].to_bits()), (1, expected.to_bits()), "{from:?} {raw:?}");
        };
        check(CheckpointDType::F64, &0.1f64.to_le_bytes(), 0.1);
        check(CheckpointDType::F32, &1e-40f32.to_le_bytes(), 1e-40);
        check(CheckpointDType::F16, &[0x01, 0x80], -5.960_464_5e-8);
        // The largest, the least normal, the largest subnormal and the least of the specification's table 2.
        check(CheckpointDType::F8_E4M3, &[0x7e], 448.0);
        check(CheckpointDType::F8_E4M3, &[0x88], -0.015_625);
        check(CheckpointDType::F8_E4M3, &[0x07], 0.013_671_875);
        check(CheckpointDType::F8_E4M3, &[0x01], 0.001_953_125);
        check(CheckpointDType::F8_E4M3, &[0x00], 0.0);
        check(CheckpointDType::F8_E5M2, &[0x7b], 57344.0);
        check(CheckpointDType::F8_E5M2, &[0x81], -1.525_878_9e-5);
        assert!(decode(&[0xff], CheckpointDType::F8_E4M3).unwrap()[0].is_nan());
        assert!(decode(&[1], CheckpointDType::I8).is_err());
    }

    #[test]
    fn eight_bit_floats_are_multiplied_by_the_factor_of_their_block() {
        // Four rows of three ones, in blocks of two rows and two columns, then the factors 1, 2, 3, 4.
        let bytes: Vec<u8> = [0x38; 12].into_iter().chain((1u8..5).flat_map(|n| f32::from(n).to_le_bytes())).collect();
        let read_at = |_: usize, position: u64, dst: &mut [u8]| {
            let position = usize::try_from(position).unwrap();
            dst.copy_from_slice(&bytes[position..position + dst.len()]);
            Ok(())
        };
        let scale =
            BlockScale { file_idx: 0, offset: 12, dtype: CheckpointDType::F32, block_rows: 2, block_columns: 2, n_columns: 2 };
        let check = |order, shape: [u64; 2], expected: [f32; 12]| {
            let (dtype, scale) = (CheckpointDType::F8_E4M3, Some(scale.clone()));
            let part = Part { file_idx: 0, offset: 0, dtype, row_len: 3, first_row: 0, n_rows: 4, order, scale };
            let tensor =
                Tensor { name: "t".into(), dtype: DType::BF16, shape: shape.into(), file_idx: 0, offset: 0, size_bytes: 24 };
            let mut dst = [0; 24];
            read_import(&tensor, &Origin::Stored { parts: vec![part], plus: 0.0 }, 0, &mut dst, &read_at).unwrap();
            let found: Vec<f32> = dst.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect();
            assert_eq!(found, expected);
        };
        check(RowOrder::AsStored, [3, 4], [1., 1., 2., 1., 1., 2., 3., 3., 4., 3., 3., 4.]);
        check(RowOrder::Rope { head_rows: 4 }, [3, 4], [1., 1., 2., 3., 3., 4., 1., 1., 2., 3., 3., 4.]);
        check(RowOrder::TRANSPOSED, [4, 3], [1., 1., 3., 3., 1., 1., 3., 3., 2., 2., 4., 4.]);
    }

    #[test]
    fn blocks_of_mxfp4_are_packed_anew() {
        // Three rows of two blocks, all bytes different, then their exponents.
        let bytes: Vec<u8> = (0..96).chain(200..206).collect();
        let read_at = |_: usize, position: u64, dst: &mut [u8]| {
            let position = usize::try_from(position).unwrap();
            dst.copy_from_slice(&bytes[position..position + dst.len()]);
            Ok(())
        };
        // The weight `idx` of a block in the checkpoint, and in GGUF.
        let stored = |block: usize, idx: usize| bytes[block * 16 + idx / 2] >> (4 * (idx % 2)) & 0xf;
        let found = |block: &[u8; 17], idx: usize| block[1 + idx % 16] >> (4 * (idx / 16)) & 0xf;
        let scale =
            BlockScale { file_idx: 0, offset: 96, dtype: CheckpointDType::U8, block_rows: 1, block_columns: 32, n_columns: 2 };
        let check = |order, n_rows: u64, expected: &[usize]| {
            let (dtype, scale) = (CheckpointDType::U8, Some(scale.clone()));
            let parts = vec![Part { file_idx: 0, offset: 0, dtype, row_len: 64, first_row: 0, n_rows, order, scale }];
            let (shape, size_bytes) = (vec![64, n_rows], n_rows * 2 * 17);
            let tensor = Tensor { name: "t".into(), dtype: DType::MXFP4, shape, file_idx: 0, offset: 0, size_bytes };
            let origin = Origin::Stored { parts, plus: 0.0 };
            for start in 0..expected.len() {
                for end in start + 1..=expected.len() {
                    let mut dst = vec![0; (end - start) * 17];
                    read_import(&tensor, &origin, start as u64 * 17, &mut dst, &read_at).unwrap();
                    for (block, &from) in dst.as_chunks::<17>().0.iter().zip(&expected[start..end]) {
                        assert_eq!(block[0], 200 + u8::try_from(from).unwrap());
                        assert!((0..32).all(|idx| found(block, idx) == stored(from, idx)), "block {from}");
                    }
                }
            }
            assert!(read_import(&tensor, &origin, 1, &mut [0; 17], &read_at).is_err());
        };
        check(RowOrder::AsStored, 3, &[0, 1, 2, 3, 4, 5]);
        check(RowOrder::Strided { step: 2 }, 2, &[0, 1, 4, 5]);
    }

    #[test]
    fn ranges_outside_or_between_weights_are_refused() {
        let tensor = Tensor { name: "t".into(), dtype: DType::F32, shape: vec![2], file_idx: 0, offset: 0, size_bytes: 8 };
        let origin = Origin::Computed(vec![1.0, 2.0]);
        let read = |start, n: usize| {
            let mut dst = vec![0; n];
            read_import(&tensor, &origin, start, &mut dst, &|_, _, _| Ok(())).map(|()| dst)
        };
        assert_eq!(read(4, 4).unwrap(), 2.0f32.to_le_bytes());
        for (start, n) in [(0, 12), (2, 4), (0, 3), (u64::MAX, 4)] {
            assert!(matches!(read(start, n), Err(Error::Internal { .. })), "{start} {n}");
        }
    }
}
