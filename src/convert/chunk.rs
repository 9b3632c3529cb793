//! A run of a tensor's weights on its way from the source's type to the types of all outputs.

use super::feedback::RowFactors;
use super::part_output::PartOutput;
use crate::error::{Error, Result};
use crate::format::{Checksum, Imatrix, MomentsOf, Spot, Way};
use crate::model::{DType, Model, Tensor};
use crate::monitor::Monitor;
use crate::quant::feedback::DEFAULT_SWEEPS;
use crate::quant::mlx::MlxError;
use crate::quant::nbits::NBitsError;
use crate::quant::{self, Coding, CodingError, MAX_COMPONENTS, QuantError};

/// Weights per chunk: 1 MiB as f32, so that channels and system calls cost nothing beside it.
///
/// A multiple of every block length, so that a row that is longer can be cut between two blocks.
const CHUNK_WEIGHTS: u64 = 256 * 1024;

/// Weights between two checks for cancellation: about 10 ms of the slowest encoder.
const ENCODED_AT_ONCE: u64 = 32 * 1024;

/// Rows between two checks for cancellation where their errors are fed back: some 50 ms at 1,536 columns.
const FED_BACK_AT_ONCE: u64 = 128;

/// A source tensor and what becomes of it.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// The source's number in the model and in every output.
    pub(super) tensor_idx: usize,
    /// The source.
    pub(super) tensor: &'a Tensor,
    /// One for each coding that some level wants: levels that agree on one share the encoding.
    pub(super) encodings: Vec<Encoding>,
    /// Importances of the columns, of one expert after the other; `None`: all count the same.
    pub(super) importances: Option<&'a [f32]>,
    /// The second moments of its inputs, where its codes are chosen by error feedback.
    pub(super) moments: Option<MomentsOf<'a>>,
}

/// A coding and the places that want the tensor in it.
#[derive(Debug)]
pub(super) struct Encoding {
    /// How the weights are written; a coding of the source's own type copies its bytes.
    pub(super) coding: Coding,
    /// `(index of the output, where each component begins in it)`.
    pub(super) places: Vec<(usize, [Spot; MAX_COMPONENTS])>,
}

impl Work<'_> {
    /// True when some output wants something other than the source's codes.
    pub(super) fn needs_decoding(&self) -> bool {
        let keeps_codes = |coding: Coding| coding.is_copy_of(self.tensor.dtype) || coding.is_rearranged_from(self.tensor.dtype);
        self.encodings.iter().any(|encoding| !keeps_codes(encoding.coding))
    }

    /// Importances of the columns of this row of a chunk, and how many rows from it on have the same ones.
    fn columns(&self, chunk: Chunk, row: u64) -> Result<(Option<&[f32]>, u64)> {
        let Some(importances) = self.importances else { return Ok((None, u64::MAX)) };
        let row_len = self.tensor.row_len().max(1);
        let rows_per_expert = self.tensor.shape.get(1).copied().unwrap_or(1).max(1);
        let first_weight = chunk.first_weight + row * chunk.row_len;
        let (tensor_row, first_column) = (first_weight / row_len, first_weight % row_len);
        let start = in_memory(tensor_row / rows_per_expert * row_len + first_column)?;
        let columns = importances.get(start..start + in_memory(chunk.row_len)?).ok_or_else(|| {
            let (name, n) = (&self.tensor.name, importances.len());
            Error::Internal { message: format!("{n} importances do not reach row {tensor_row} of tensor {name}") }
        })?;
        Ok((Some(columns), rows_per_expert - tensor_row % rows_per_expert))
    }
}

/// A run of weights of one tensor: whole rows, or whole blocks of one long row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Position of the first weight in the tensor.
    pub(super) first_weight: u64,
    /// Number of weights.
    pub(super) n_weights: u64,
    /// Weights that lie in one row of this chunk.
    pub(super) row_len: u64,
}

/// Cuts a tensor into chunks, in order.
pub(super) fn chunks(tensor: &Tensor) -> impl Iterator<Item = Chunk> + use<> {
    chunks_of(tensor.row_len(), tensor.n_elements())
}

/// [`chunks`] of a tensor of `n_weights` weights in rows of `row_len`.
pub(super) fn chunks_of(row_len: u64, n_weights: u64) -> impl Iterator<Item = Chunk> + use<> {
    let row_len = row_len.max(1);
    let whole_rows = (CHUNK_WEIGHTS / row_len) * row_len;
    let mut first_weight = 0;
    std::iter::from_fn(move || {
        let left = n_weights - first_weight;
        let n = if whole_rows > 0 { left.min(whole_rows) } else { (row_len - first_weight % row_len).min(CHUNK_WEIGHTS) };
        let chunk = Chunk { first_weight, n_weights: n, row_len: row_len.min(n) };
        first_weight += n;
        (left > 0).then_some(chunk)
    })
}

/// Groups what all levels want of each source tensor. `ways[level][tensor]` is how that level's output gets the tensor, `None`
/// where it has the tensor already; tensors that no output wants are left out.
///
/// The importance matrix is known to fit all tensors that can be quantized; what it says of others does not matter. Its second moments are
/// used if the outputs are `calibrated`.
pub(super) fn works<'a>(
    model: &'a Model,
    ways: &[Vec<Option<&Way>>],
    imatrix: Option<&'a Imatrix>,
    calibrated: bool,
) -> Vec<Work<'a>> {
    let moments = imatrix.and_then(|imatrix| imatrix.moments.as_ref()).filter(|_| calibrated);
    let importances = |tensor: &Tensor| imatrix.and_then(|imatrix| imatrix.importances_of(tensor).ok().flatten());
    let work = |(tensor_idx, tensor): (usize, &'a Tensor)| Work {
        tensor_idx,
        tensor,
        encodings: Vec::new(),
        importances: importances(tensor),
        moments: None,
    };
    let mut works: Vec<_> = model.tensors.iter().enumerate().map(work).collect();
    for (output_idx, ways) in ways.iter().enumerate() {
        for (work, way) in works.iter_mut().zip(ways) {
            let &Some(Way { coding, spots, .. }) = way else { continue };
            match work.encodings.iter_mut().find(|encoding| encoding.coding == *coding) {
                Some(encoding) => encoding.places.push((output_idx, *spots)),
                None => work.encodings.push(Encoding { coding: *coding, places: vec![(output_idx, *spots)] }),
            }
        }
    }
    works.retain(|work| !work.encodings.is_empty());
    for work in &mut works {
        let feeds_back = |encoding: &Encoding| feeds_back(encoding.coding, work.tensor);
        work.moments = moments.filter(|_| work.encodings.iter().any(feeds_back)).and_then(|moments| moments.site_of(work.tensor));
    }
    works
}

/// True if error feedback chooses the codes of a tensor that is written like this.
fn feeds_back(coding: Coding, tensor: &Tensor) -> bool {
    coding.feeds_back(tensor.row_len()) && !coding.is_copy_of(tensor.dtype)
}

/// Where a chunk lies in the components of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes from the start of each component.
    pub(super) starts: [u64; MAX_COMPONENTS],
    /// Bytes in each component.
    pub(super) sizes: [usize; MAX_COMPONENTS],
}

impl Extent {
    /// Of a chunk of a tensor with rows of `row_len`, which may be longer than those of the chunk.
    pub(super) fn of(coding: Coding, row_len: u64, chunk: Chunk) -> Result<Self> {
        let broken = || Error::Internal { message: format!("{chunk:?} is not a whole number of blocks in {coding}") };
        let bytes = |n_weights| coding.component_bytes(row_len, n_weights).ok_or_else(broken);
        let (starts, mut sizes) = (bytes(chunk.first_weight)?, bytes(chunk.first_weight + chunk.n_weights)?);
        for (size, start) in sizes.iter_mut().zip(starts) {
            *size = size.saturating_sub(start);
        }
        Ok(Self { starts, sizes: sizes_in_memory(sizes)? })
    }

    /// Bytes of the chunk in all components.
    pub(super) fn n_bytes(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// The components of the chunk in a buffer that holds one after the other, each with its place; empty ones are left out.
    pub(super) fn pieces<'a>(&self, bytes: &'a [u8], spots: [Spot; MAX_COMPONENTS]) -> impl Iterator<Item = (&'a [u8], Spot)> {
        let (starts, sizes) = (self.starts, self.sizes);
        let mut rest = bytes;
        (0..MAX_COMPONENTS).filter_map(move |idx| {
            let (piece, later) = rest.split_at_checked(sizes[idx])?;
            rest = later;
            (!piece.is_empty()).then(|| (piece, spots[idx].behind(starts[idx])))
        })
    }
}

fn sizes_in_memory(sizes: [u64; MAX_COMPONENTS]) -> Result<[usize; MAX_COMPONENTS]> {
    let [first, second, third] = sizes.map(in_memory);
    Ok([first?, second?, third?])
}

/// Position and size in bytes of a chunk within a tensor of this type.
pub(super) fn extent(dtype: DType, chunk: Chunk) -> Result<(u64, usize)> {
    Extent::of(Coding::Ggml(dtype), chunk.row_len, chunk).map(|extent| (extent.starts[0], extent.sizes[0]))
}

/// Checksums of one chunk, or of one tensor: of its bytes in the source, and of what they became in each of its encodings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) source: Checksum,
    /// In the order of `Work::encodings`.
    pub(super) encodings: Vec<Checksum>,
}

/// Buffers of a worker, kept between chunks.
#[derive(Default)]
pub(super) struct Scratch {
    weights: Vec<f32>,
    encoded: Vec<u8>,
}

/// Decodes a chunk once, encodes it for each type that is wanted, and writes it to its places; returns the checksums of its bytes.
pub(super) fn carry_out(
    work: &Work,
    chunk: Chunk,
    raw: &[u8],
    factors: &[RowFactors],
    scratch: &mut Scratch,
    outputs: &[PartOutput],
    monitor: &Monitor,
) -> Result<Sums> {
    let tensor = work.tensor;
    let mut sums = Sums { source: Checksum::of(raw), encodings: Vec::with_capacity(work.encodings.len()) };
    let Scratch { weights, encoded } = scratch;
    if work.needs_decoding() {
        weights.resize(in_memory(chunk.n_weights)?, 0.0);
        quant::dequantize_rows(tensor.dtype, raw, weights).map_err(|error| quant_error(error, tensor, chunk, 0))?;
    } else {
        check_copied(tensor, chunk, raw)?;
    }
    for Encoding { coding, places } in &work.encodings {
        let extent = Extent::of(*coding, tensor.row_len(), chunk)?;
        let bytes = if coding.is_copy_of(tensor.dtype) {
            sums.encodings.push(sums.source);
            raw
        } else {
            encoded.resize(extent.n_bytes(), 0);
            if coding.is_rearranged_from(tensor.dtype) {
                coding.rearrange(raw, split(encoded, extent.sizes).ok_or_else(|| too_long(chunk))?.0);
            } else {
                encode(*coding, weights, encoded, work, chunk, factors, monitor)?;
            }
            sums.encodings.push(Checksum::of(encoded));
            encoded.as_slice()
        };
        for &(output_idx, spots) in places {
            for (piece, spot) in extent.pieces(bytes, spots) {
                if let Some(output) = outputs.get(output_idx) {
                    output.write_at(piece, spot)?;
                }
            }
        }
    }
    Ok(sums)
}

/// Encodes a chunk into its components, one after the other, checking for cancellation every few milliseconds.
fn encode(
    coding: Coding,
    weights: &[f32],
    encoded: &mut [u8],
    work: &Work,
    chunk: Chunk,
    factors: &[RowFactors],
    monitor: &Monitor,
) -> Result<()> {
    let feeds_back = feeds_back(coding, work.tensor);
    let too_long = || too_long(chunk);
    let row_len = in_memory(chunk.row_len)?;
    let n_rows = chunk.n_weights / chunk.row_len.max(1);
    // Error feedback packs its factors for each call: many rows share that.
    let rows_at_once = if factors.is_empty() { (ENCODED_AT_ONCE / chunk.row_len.max(1)).max(1) } else { FED_BACK_AT_ONCE };
    let mut weights = weights;
    let mut components = split(encoded, Extent::of(coding, work.tensor.row_len(), chunk)?.sizes).ok_or_else(too_long)?.0;
    let mut first_row = 0;
    while first_row < n_rows {
        monitor.check()?;
        let (columns, n_alike) = work.columns(chunk, first_row)?;
        let factors = factors.iter().find(|of| feeds_back && of.rows.end > first_row);
        let n_in_part =
            factors.map_or(u64::MAX, |of| if of.rows.start > first_row { of.rows.start } else { of.rows.end } - first_row);
        let n = rows_at_once.min(n_alike).min(n_rows - first_row).min(n_in_part);
        let rows = Chunk { first_weight: 0, n_weights: n * chunk.row_len, ..chunk };
        let sizes = Extent::of(coding, chunk.row_len, rows)?.sizes;
        let (now, later) = weights.split_at_checked(in_memory(n * chunk.row_len)?).ok_or_else(too_long)?;
        let [first, second, third] = &mut components;
        let taken = [first.split_off_mut(..sizes[0]), second.split_off_mut(..sizes[1]), third.split_off_mut(..sizes[2])];
        let [Some(first), Some(second), Some(third)] = taken else { return Err(too_long()) };
        let encoded = match factors.filter(|of| of.rows.contains(&first_row)) {
            Some(of) => coding.feed_back(now, &of.factors, DEFAULT_SWEEPS, [first, second, third]),
            None => coding.encode(now, row_len, work.tensor.dtype, columns, [first, second, third]),
        };
        encoded.map_err(|error| coding_error(error, work.tensor, chunk, first_row))?;
        weights = later;
        first_row += n;
    }
    Ok(())
}

fn too_long(chunk: Chunk) -> Error {
    Error::Internal { message: format!("{chunk:?} is longer than its buffers") }
}

/// Cuts a buffer into components of these sizes; `None` where it is too short.
fn split(buffer: &mut [u8], sizes: [usize; MAX_COMPONENTS]) -> Option<([&mut [u8]; MAX_COMPONENTS], &mut [u8])> {
    let (first, rest) = buffer.split_at_mut_checked(sizes[0])?;
    let (second, rest) = rest.split_at_mut_checked(sizes[1])?;
    let (third, rest) = rest.split_at_mut_checked(sizes[2])?;
    Some(([first, second, third], rest))
}

fn in_memory(n: u64) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::Internal { message: format!("a chunk of {n} weights does not fit into memory") })
}

/// Refuses NaN and infinity in floats that are copied, as the encoders do in those that are encoded: a level must not decide
/// whether a damaged source is noticed. Blocks and integers are taken as they are.
fn check_copied(tensor: &Tensor, chunk: Chunk, raw: &[u8]) -> Result<()> {
    let (halves, words) = (raw.as_chunks::<2>().0, raw.as_chunks::<4>().0);
    let half = |bytes: &[u8; 2]| u32::from(u16::from_le_bytes(*bytes));
    match tensor.dtype {
        DType::F32 => check_bits(tensor, chunk, 0x7f80_0000, words.iter().map(|bytes| u32::from_le_bytes(*bytes) & 0x7fff_ffff)),
        DType::BF16 => check_bits(tensor, chunk, 0x7f80, halves.iter().map(|bytes| half(bytes) & 0x7fff)),
        DType::F16 => check_bits(tensor, chunk, 0x7c00, halves.iter().map(|bytes| half(bytes) & 0x7fff)),
        _ => Ok(()),
    }
}

/// Looks for a float whose bits without the sign are those of infinity or, above them, a NaN.
fn check_bits(tensor: &Tensor, chunk: Chunk, infinity: u32, bits: impl Iterator<Item = u32> + Clone) -> Result<()> {
    // Without an early exit this becomes vector code; the position is looked up only when there is one.
    if bits.clone().fold(0, u32::max) < infinity {
        return Ok(());
    }
    let found = (chunk.first_weight..).zip(bits).find(|&(_, bits)| bits >= infinity);
    found.map_or(Ok(()), |(weight_idx, bits)| {
        let value = if bits > infinity { "NaN" } else { "infinite" };
        Err(Error::NonFinite { tensor: tensor.name.clone(), row: weight_idx / tensor.row_len().max(1), value })
    })
}

/// `first_row` is the row of the chunk at which the failed call started.
fn coding_error(error: CodingError, tensor: &Tensor, chunk: Chunk, first_row: u64) -> Error {
    let name = tensor.name.clone();
    let row_of = |row: u64| chunk.first_weight / tensor.row_len().max(1) + first_row + row;
    match error {
        CodingError::Ggml(error) => quant_error(error, tensor, chunk, first_row),
        CodingError::Mlx(MlxError::NonFinite { row, value }) | CodingError::NBits(NBitsError::NonFinite { row, value }) => {
            Error::NonFinite { tensor: name, row: row_of(row), value }
        }
        CodingError::Mlx(MlxError::OutOfRange { row, mode }) => {
            Error::OutOfRange { tensor: name, row: row_of(row), dtype: mode.to_string() }
        }
        CodingError::Mlx(error) => Error::Internal { message: format!("{error} (tensor {name}, {chunk:?})") },
        CodingError::NBits(NBitsError::OutOfRange { row, nbits }) => {
            Error::OutOfRange { tensor: name, row: row_of(row), dtype: nbits.to_string() }
        }
        CodingError::NBits(error) => Error::Internal { message: format!("{error} (tensor {name}, {chunk:?})") },
    }
}

/// `first_row` is the row of the chunk at which the failed call started.
fn quant_error(error: QuantError, tensor: &Tensor, chunk: Chunk, first_row: u64) -> Error {
    let name = tensor.name.clone();
    let row_of = |row: u64| chunk.first_weight / tensor.row_len().max(1) + first_row + row;
    match error {
        QuantError::NonFinite { row, value } => Error::NonFinite { tensor: name, row: row_of(row), value },
        QuantError::OutOfRange { row, dtype } => Error::OutOfRange { tensor: name, row: row_of(row), dtype: dtype.to_string() },
        QuantError::Unsupported { action, dtype } => Error::UnsupportedDType { action, dtype: dtype.to_string(), tensor: name },
        error => Error::Internal { message: format!("{error} (tensor {name}, {chunk:?})") },
    }
}

#[cfg(test)]
mod tests;
