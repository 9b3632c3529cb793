//! The codes of ONNX Runtime with error feedback.

use super::LARGEST_SQUARED;
use super::codec::{Codec, Integers, Neighbours, Offsets, Scales, quants};
use super::factors::Factors;
use super::group::{N_ROWS, rounded};
use super::types::{real_steps, subs};
use crate::quant::dispatch::run_fastest;
use crate::quant::float::Float;
use crate::quant::lanes::N_LANES;
use crate::quant::nbits::{
    ComponentsMut, FitScale, Method, NBits, NBitsError, RowWriter, check_lengths, check_row, quantize_rows,
};

/// Steps to neighbours of a zero point: a larger range goes with a smaller scale.
const POINT_STEPS: [[f32; N_LANES]; 2] = [[0.0; N_LANES], [1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 0.0, 0.0]];

/// Weights of rows below this have squares that are near the other end of f32.
const SMALLEST_SQUARED: f32 = 1e-15;

/// Encodes whole rows of `factors.n_columns()` weights, with scales of type `float` and at most `sweeps` sweeps over each.
///
/// The columns must be whole blocks. `out` must have exactly the [`NBits::sizes`] of the weights. A row's bytes depend on its
/// weights and the factors alone, and on the instructions of this CPU, which the products of matrices depend on. Rows before
/// the one that an error names may be written. No weights give no bytes.
///
/// Nanoseconds of processor time per weight on one core of a busy Sapphire Rapids at 1,536 columns (2026-12-01), with feedback
/// and with four sweeps: INT4-g32 72 and 283, UINT4-g32 70 and 273, UINT4-g64 63 and 256, INT4-g128 93 and 317.
///
/// # Errors
/// See [`NBitsError`].
pub fn encode_nbits(
    nbits: NBits,
    float: Float,
    weights: &[f32],
    factors: &Factors,
    sweeps: usize,
    out: ComponentsMut<'_>,
) -> Result<(), NBitsError> {
    let row_len = factors.n_columns();
    check_lengths(nbits, float, weights.len(), row_len, [out.codes.len(), out.scales.len(), out.zero_points.len()])?;
    if !(row_len as u64).is_multiple_of(nbits.block_len()) {
        return Err(NBitsError::PartOfBlock { nbits, row_len });
    }
    for (row, weights) in weights.chunks_exact(row_len).enumerate() {
        check_row(row, weights)?;
    }
    let n_rows = (weights.len() / row_len).max(1);
    let sizes = [out.codes.len() / n_rows, out.scales.len() / n_rows, out.zero_points.len() / n_rows];
    let ComponentsMut { mut codes, mut scales, mut zero_points } = out;
    let rows: Vec<&[f32]> = weights.chunks_exact(row_len).collect();
    let mut done = 0;
    // Rows that are too large or too small to compute with are rounded plainly; those between them keep together.
    for same in rows.chunk_by(|a, b| is_ordinary(a, float) == is_ordinary(b, float)) {
        let weights = &weights[done * row_len..][..same.len() * row_len];
        let taken = [
            codes.split_off_mut(..same.len() * sizes[0]),
            scales.split_off_mut(..same.len() * sizes[1]),
            zero_points.split_off_mut(..same.len() * sizes[2]),
        ];
        let [codes, scales, zero_points] = taken.map(Option::unwrap_or_default);
        let out = ComponentsMut { codes, scales, zero_points };
        if same.first().is_some_and(|row| is_ordinary(row, float)) {
            encode_ordinary(nbits, float, weights, factors, sweeps, out);
        } else {
            let importances = Some(factors.importances());
            quantize_rows(nbits, Method::Searched, float, weights, row_len, importances, out)
                .map_err(|error| error.in_rows_from(done as u64))?;
        }
        done += same.len();
    }
    Ok(())
}

/// True for rows of weights that can be squared, and whose scales are within the type's range.
fn is_ordinary(row: &[f32], float: Float) -> bool {
    let largest = row.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    let reach = if float == Float::F16 { 65504.0 } else { LARGEST_SQUARED };
    largest == 0.0 || (SMALLEST_SQUARED..=reach).contains(&largest)
}

fn encode_ordinary(nbits: NBits, float: Float, weights: &[f32], factors: &Factors, sweeps: usize, out: ComponentsMut<'_>) {
    match nbits.block_len() {
        16 => encode_blocks::<16>(nbits, float, weights, factors, sweeps, out),
        32 => encode_blocks::<32>(nbits, float, weights, factors, sweeps, out),
        64 => encode_blocks::<64>(nbits, float, weights, factors, sweeps, out),
        _ => encode_blocks::<128>(nbits, float, weights, factors, sweeps, out),
    }
}

fn encode_blocks<const N: usize>(
    nbits: NBits,
    float: Float,
    weights: &[f32],
    factors: &Factors,
    sweeps: usize,
    out: ComponentsMut<'_>,
) {
    let codec = codec::<N>(nbits, float);
    let row_len = factors.n_columns();
    let mut writer = RowWriter::new(nbits, float, weights.len() / row_len, out);
    for (part, weights) in weights.chunks(N_ROWS * row_len).enumerate() {
        let group = rounded(&codec, weights, factors, sweeps);
        let rows = group.levels.chunks_exact(row_len).zip(group.scales.chunks_exact(row_len / N));
        for (row, (levels, scales)) in rows.enumerate() {
            for (idx, (levels, scales)) in levels.chunks_exact(N).zip(scales).enumerate() {
                let codes = quants::<N>(levels, codec.levels.low);
                writer.write(part * N_ROWS + row, idx, scales.d, scales.mins[0], &codes);
            }
        }
    }
}

/// What blocks of `N` weights can represent.
pub(super) fn codec<const N: usize>(nbits: NBits, float: Float) -> Codec<Integers, N> {
    let (has_points, q_max) = (nbits.has_zero_points(), nbits.q_max());
    let low = if has_points { 0.0 } else { -nbits.middle() };
    let search = match (has_points, nbits.bits()) {
        (false, 4) => scale::<15, N>,
        (false, _) => scale::<255, N>,
        (true, 4) => scale_and_point::<15, N>,
        (true, _) => scale_and_point::<255, N>,
    };
    let scale_steps = if nbits.bits() == 4 { const { real_steps(0.02) } } else { const { real_steps(0.0015) } };
    Codec {
        levels: Integers { low, high: low + q_max },
        n_subs: 1,
        offsets: if has_points { Offsets::ZeroPoint } else { Offsets::None },
        neighbours: Neighbours::ZeroPoints {
            scale_steps,
            point_steps: if has_points { POINT_STEPS } else { [[0.0; N_LANES]; 2] },
            q_max,
            float,
        },
        search,
    }
}

/// The real scale that the search of the plain encoder starts with; it is rounded with its neighbours.
fn scale<const Q_MAX: u8, const N: usize>(x: &[f32], w: &[f32]) -> Scales {
    let ([x], [w]) = (subs(x), subs(w));
    let (scale, _) = run_fastest(FitScale::<N> { x: &x, w: &w, q_max: f32::from(Q_MAX), has_zero_points: false });
    Scales::of_block(scale, 0.0, 0.0)
}

/// The same with a zero point.
fn scale_and_point<const Q_MAX: u8, const N: usize>(x: &[f32], w: &[f32]) -> Scales {
    let ([x], [w]) = (subs(x), subs(w));
    let (scale, point) = run_fastest(FitScale::<N> { x: &x, w: &w, q_max: f32::from(Q_MAX), has_zero_points: true });
    Scales::of_block(scale, scale, point)
}
