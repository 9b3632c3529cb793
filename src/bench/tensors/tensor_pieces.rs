//! Two tensors read side by side in pieces.

use rayon::prelude::*;

use super::difference::{Difference, Mismatch};
use super::weight_sums::WeightSums;
use crate::error::{Error, Result};
use crate::format::TensorReader;
use crate::model::Tensor;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::quant::{self, can_dequantize};

/// Weights that one thread reads, decodes and adds up at a time; each piece has a sum of its own, so that the result does not depend on
/// the number of threads. A multiple of every block length, so that a piece is a whole number of blocks in both files.
const PIECE_WEIGHTS: u64 = 64 * 1024;
/// Pieces between two reports.
const PIECES_AT_ONCE: u64 = 32;
/// Bytes of a piece while only bytes are compared.
const PIECE_BYTES: u64 = 1 << 20;

/// Where the comparison stands, in bytes of both files.
pub struct Meter<'a> {
    monitor: &'a Monitor,
    /// Bytes of the tensors that are done.
    before: u64,
    /// The highest that was reported: a tensor that is read a second time does not move the bar back.
    furthest: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    /// A meter at the start of a comparison of `total` bytes.
    pub fn new(monitor: &'a Monitor, total: u64) -> Self {
        Self { monitor, before: 0, furthest: 0, total }
    }

    /// Says what is being done, `in_tensor` bytes after the tensors that are done.
    pub fn report(&mut self, stage: String, in_tensor: u64) -> Result<()> {
        self.furthest = self.furthest.max(self.before + in_tensor);
        self.monitor.report(Progress { stage, done: self.furthest, total: self.total, unit: ProgressUnit::Bytes })
    }

    /// Counts a tensor that is done.
    pub fn pass(&mut self, size_bytes: u64) {
        self.before += size_bytes;
    }
}

/// A tensor that is read piece by piece.
#[derive(Clone, Copy)]
pub struct Piecewise<'a> {
    pub reader: &'a TensorReader,
    pub tensor: &'a Tensor,
}

/// Buffers of a thread, kept between pieces.
#[derive(Default)]
struct Scratch {
    raw: Vec<u8>,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Piecewise<'_> {
    /// Decodes `n` weights from `first` on.
    fn decode(self, first: u64, n: u64, raw: &mut Vec<u8>, weights: &mut Vec<f32>) -> Result<()> {
        let dtype = self.tensor.dtype;
        let broken = |message: String| Error::Internal { message: format!("tensor {}: {message}", self.tensor.name) };
        let bytes = dtype.row_bytes(first).zip(dtype.row_bytes(n).and_then(|n_bytes| usize::try_from(n_bytes).ok()));
        let (start, n_bytes) =
            bytes.ok_or_else(|| broken(format!("weights {first}..+{n} are not a whole number of {dtype} blocks")))?;
        raw.resize(n_bytes, 0);
        weights.resize(usize::try_from(n).map_err(|error| broken(error.to_string()))?, 0.0);
        self.reader.read(self.tensor, start, raw)?;
        quant::dequantize_rows(dtype, raw, weights).map_err(|error| broken(error.to_string()))
    }
}

/// Compares two tensors of the same name.
pub fn compare(a: Piecewise, b: Piecewise, meter: &mut Meter) -> Result<std::result::Result<Difference, Mismatch>> {
    if trimmed(&a.tensor.shape) != trimmed(&b.tensor.shape) {
        let (source_shape, converted_shape) = (a.tensor.shape_text(), b.tensor.shape_text());
        return Ok(Err(Mismatch::Shape { source_shape, converted_shape }));
    }
    if a.tensor.dtype == b.tensor.dtype && has_same_bytes(a, b, meter)? {
        return Ok(Ok(Difference::IDENTICAL));
    }
    if let Some(dtype) = [a.tensor.dtype, b.tensor.dtype].into_iter().find(|&dtype| !can_dequantize(dtype)) {
        return Ok(Err(Mismatch::Undecodable { dtype }));
    }
    Ok(difference(&sum_all(a, b, meter)?))
}

/// A shape without ones at its end, which some programs drop.
fn trimmed(shape: &[u64]) -> &[u64] {
    let len = shape.iter().rposition(|&dim| dim != 1).map_or(0, |last| last + 1);
    shape.get(..len).unwrap_or(shape)
}

/// True when all bytes are the same; ends at the first piece that differs.
fn has_same_bytes(a: Piecewise, b: Piecewise, meter: &mut Meter) -> Result<bool> {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    let size_bytes = a.tensor.size_bytes;
    let mut start = 0;
    while start < size_bytes {
        meter.report(format!("comparing bytes of {}", a.tensor.name), 2 * start)?;
        // At most a mebibyte.
        let n_bytes = usize::try_from((size_bytes - start).min(PIECE_BYTES)).unwrap_or(0);
        of_a.resize(n_bytes, 0);
        of_b.resize(n_bytes, 0);
        a.reader.read(a.tensor, start, &mut of_a)?;
        b.reader.read(b.tensor, start, &mut of_b)?;
        if of_a != of_b {
            return Ok(false);
        }
        start += n_bytes as u64;
    }
    Ok(true)
}

fn sum_all(a: Piecewise, b: Piecewise, meter: &mut Meter) -> Result<WeightSums> {
    let n = a.tensor.n_elements();
    let mut sums = WeightSums::default();
    let mut first = 0;
    while first < n {
        // Both types have rows of whole blocks, and the shapes are the same, so this is exact but for the rounding.
        let in_tensor = u128::from(a.tensor.size_bytes + b.tensor.size_bytes) * u128::from(first) / u128::from(n);
        meter.report(format!("comparing {}", a.tensor.name), u64::try_from(in_tensor).unwrap_or(u64::MAX))?;
        let end = n.min(first + PIECES_AT_ONCE * PIECE_WEIGHTS);
        let n_pieces = (end - first).div_ceil(PIECE_WEIGHTS);
        let monitor = meter.monitor;
        let pieces: Vec<Result<WeightSums>> = (0..n_pieces)
            .into_par_iter()
            .map_init(Scratch::default, |Scratch { raw, a: of_a, b: of_b }, piece_idx| {
                // A slow disk must not keep a cancelled comparison alive.
                monitor.check()?;
                let start = first + piece_idx * PIECE_WEIGHTS;
                let len = PIECE_WEIGHTS.min(end - start);
                a.decode(start, len, raw, of_a)?;
                b.decode(start, len, raw, of_b)?;
                Ok(WeightSums::of(of_a, of_b))
            })
            .collect();
        for piece in pieces {
            sums.add(&piece?);
        }
        first = end;
    }
    Ok(sums)
}

fn difference(sums: &WeightSums) -> std::result::Result<Difference, Mismatch> {
    if sums.n_bad_a > 0 || sums.n_bad_b > 0 {
        return Err(Mismatch::NotFinite { n_in_source: sums.n_bad_a, n_in_converted: sums.n_bad_b });
    }
    if sums.squares_a == 0.0 && sums.squares_difference > 0.0 {
        return Err(Mismatch::ZeroSource);
    }
    let norms = (sums.squares_a * sums.squares_b).sqrt();
    Ok(Difference {
        relative_rms: if sums.squares_a > 0.0 { (sums.squares_difference / sums.squares_a).sqrt() } else { 0.0 },
        max_abs: sums.max_difference,
        cosine: (norms > 0.0).then(|| (sums.products / norms).clamp(-1.0, 1.0)),
        is_identical: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_at_the_end_of_a_shape_do_not_count() {
        let check = |shape: &[u64], expected: &[u64]| assert_eq!(trimmed(shape), expected);
        check(&[512, 1, 1], &[512]);
        check(&[1, 512], &[1, 512]);
        check(&[1], &[]);
        check(&[], &[]);
    }
}
