//! Feedback in the codes of ONNX Runtime: what it is for, and the properties that callers rely on.

use super::nbits::codec;
use super::tests::{identity, moments, weights};
use super::{DEFAULT_DAMPING, DEFAULT_SWEEPS, Factors, encode_nbits, group, output_error};
use crate::quant::float::Float;
use crate::quant::nbits::tests::Matrix as Owned;
use crate::quant::nbits::{ComponentsMut, Method, NBits, NBitsError, dequantize_rows, quantize_rows};

/// Components with what they are the components of.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Matrix {
    nbits: NBits,
    float: Float,
    row_len: usize,
    components: Owned,
}

impl Matrix {
    fn blank(nbits: NBits, float: Float, n_weights: usize, row_len: usize) -> Self {
        Self { nbits, float, row_len, components: Owned::blank(nbits, float, n_weights, row_len) }
    }

    fn try_fed_back(nbits: NBits, float: Float, weights: &[f32], factors: &Factors, sweeps: usize) -> Result<Self, NBitsError> {
        let mut matrix = Self::blank(nbits, float, weights.len(), factors.n_columns());
        encode_nbits(nbits, float, weights, factors, sweeps, matrix.components.view_mut())?;
        Ok(matrix)
    }

    fn fed_back(nbits: NBits, float: Float, weights: &[f32], factors: &Factors, sweeps: usize) -> Self {
        Self::try_fed_back(nbits, float, weights, factors, sweeps).unwrap()
    }

    /// By the search alone, with the moments' diagonal as importances.
    fn searched(nbits: NBits, float: Float, weights: &[f32], moments: &[f32], n: usize) -> Self {
        let importances: Vec<f32> = moments.iter().step_by(n + 1).copied().collect();
        let mut matrix = Self::blank(nbits, float, weights.len(), n);
        quantize_rows(nbits, Method::Searched, float, weights, n, Some(&importances), matrix.components.view_mut()).unwrap();
        matrix
    }

    fn decoded(&self, n_weights: usize) -> Vec<f32> {
        let mut weights = vec![f32::NAN; n_weights];
        dequantize_rows(self.nbits, self.float, self.components.view(), self.row_len, &mut weights).unwrap();
        weights
    }

    fn error(&self, weights: &[f32], moments: &[f32]) -> f64 {
        output_error(weights, &self.decoded(weights.len()), moments, self.row_len)
    }
}

/// Bits, block length, zero points; of the error of the search alone, without and with sweeps; measured on 2026-12-01, and a
/// tenth added.
const SHARES: [(u8, u8, bool, f64, f64); 16] = [
    (4, 16, false, 0.49, 0.43),
    (4, 32, false, 0.46, 0.42),
    (4, 64, false, 0.48, 0.43),
    (4, 128, false, 0.44, 0.39),
    (4, 16, true, 0.47, 0.42),
    (4, 32, true, 0.41, 0.36),
    (4, 64, true, 0.43, 0.38),
    (4, 128, true, 0.48, 0.43),
    (8, 16, false, 0.48, 0.42),
    (8, 32, false, 0.45, 0.40),
    (8, 64, false, 0.46, 0.41),
    (8, 128, false, 0.46, 0.41),
    (8, 16, true, 0.48, 0.44),
    (8, 32, true, 0.47, 0.42),
    (8, 64, true, 0.44, 0.39),
    (8, 128, true, 0.47, 0.42),
];

#[test]
fn the_output_error_falls_well_below_that_of_the_search() {
    let n = 512;
    let (weights, moments) = (weights(12 * n), moments(n));
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    let mut misses = Vec::new();
    for (bits, block_len, points, without, with) in SHARES {
        let make = if points { NBits::with_zero_points } else { NBits::symmetric };
        let nbits = make(bits, block_len).unwrap();
        let plain = Matrix::searched(nbits, Float::F32, &weights, &moments, n).error(&weights, &moments);
        let share =
            |sweeps: usize| Matrix::fed_back(nbits, Float::F32, &weights, &factors, sweeps).error(&weights, &moments) / plain;
        let (found_without, found_with) = (share(0), share(DEFAULT_SWEEPS));
        if found_without > without || found_with > with {
            misses.push(format!("{nbits}: {found_without:.3} without sweeps, {found_with:.3} with them"));
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn inputs_that_do_not_go_together_are_rounded_no_worse_than_by_the_search() {
    let n = 256;
    let (weights, moments) = (weights(16 * n), identity(n));
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    for nbits in NBits::all() {
        for float in Float::ALL {
            let plain = Matrix::searched(nbits, float, &weights, &moments, n).error(&weights, &moments);
            let found = Matrix::fed_back(nbits, float, &weights, &factors, DEFAULT_SWEEPS).error(&weights, &moments);
            assert!(found <= 1.01 * plain, "{nbits} {float:?}: {} of the error of the search", found / plain);
        }
    }
}

#[test]
fn sweeps_never_raise_the_error() {
    let n = 256;
    let (weights, moments) = (weights(4 * n), moments(n));
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    for nbits in NBits::all() {
        let error = |sweeps| Matrix::fed_back(nbits, Float::F16, &weights, &factors, sweeps).error(&weights, factors.moments());
        let errors: Vec<f64> = (0..6).map(error).collect();
        assert!(errors.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-5)), "{nbits}: {errors:?}");
        assert!(errors[4] < 0.97 * errors[0], "{nbits}: {errors:?}");
    }
}

#[test]
fn bytes_of_a_row_depend_on_it_alone() {
    let n_rows = group::N_ROWS + 3;
    // Columns that do not fill a panel, rows that do not fill a group, an odd number of blocks.
    for (n, nbits) in
        [(288, NBits::with_zero_points(4, 32)), (288, NBits::symmetric(8, 16)), (384, NBits::with_zero_points(4, 128))]
    {
        let nbits = nbits.unwrap();
        let weights = weights(n_rows * n);
        let factors = Factors::new(&moments(n), n, DEFAULT_DAMPING).unwrap();
        let encode = |weights: &[f32]| Matrix::fed_back(nbits, Float::F16, weights, &factors, 2);
        let together = encode(&weights);
        assert!(together == encode(&weights), "{nbits}: again");
        let apart: Vec<Matrix> = weights.chunks(n).map(encode).collect();
        let shifted = encode(&weights[5 * n..]);
        for part in 0..3 {
            let bytes = together.components.parts()[part];
            assert!(
                bytes == apart.iter().flat_map(|row| row.components.parts()[part]).copied().collect::<Vec<_>>(),
                "{nbits}: one by one"
            );
            assert!(&bytes[5 * bytes.len() / n_rows..] == shifted.components.parts()[part], "{nbits}: from the sixth on");
        }
    }
}

/// The errors that are fed back are those of the bytes.
fn check_round_trip<const N: usize>(nbits: NBits, float: Float, weights: &[f32], factors: &Factors) {
    for sweeps in [0, 3] {
        let rounded = group::rounded(&codec::<N>(nbits, float), weights, factors, sweeps);
        let decoded = Matrix::fed_back(nbits, float, weights, factors, sweeps).decoded(weights.len());
        let blocks = decoded.chunks(N).zip(weights.chunks(N)).zip(rounded.errors.chunks(N).zip(&rounded.scales));
        for (idx, ((decoded, weights), (errors, scales))) in blocks.enumerate() {
            // The decoder multiplies the difference of code and zero point, feedback each of them.
            let reach = if nbits.has_zero_points() { scales.d.abs() * 3e-5 } else { 0.0 };
            for ((decoded, weight), error) in decoded.iter().zip(weights).zip(errors) {
                assert!((decoded - weight - error).abs() <= reach, "{nbits} {float:?}, {sweeps} sweeps, block {idx}");
            }
        }
    }
}

#[test]
fn blocks_decode_to_what_the_search_saw() {
    let n = 512;
    let mut weights = weights(3 * n);
    // A row of zeros, and weights that are far from the others.
    weights[n..2 * n].fill(0.0);
    weights[2 * n + 40] = 3.0;
    weights[2 * n + 300..2 * n + 360].iter_mut().for_each(|weight| *weight = -*weight * *weight - 0.01);
    let factors = Factors::new(&moments(n), n, DEFAULT_DAMPING).unwrap();
    for nbits in NBits::all() {
        for float in Float::ALL {
            match nbits.block_len() {
                16 => check_round_trip::<16>(nbits, float, &weights, &factors),
                32 => check_round_trip::<32>(nbits, float, &weights, &factors),
                64 => check_round_trip::<64>(nbits, float, &weights, &factors),
                _ => check_round_trip::<128>(nbits, float, &weights, &factors),
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_and_extremes_stay_near() {
    let n = 256;
    let factors = Factors::new(&moments(n), n, DEFAULT_DAMPING).unwrap();
    for nbits in NBits::all() {
        let decoded = Matrix::fed_back(nbits, Float::F32, &vec![0.0; n], &factors, 2).decoded(n);
        assert!(decoded.iter().all(|&weight| weight == 0.0), "{nbits}");
        // Rows that can be squared, between others that cannot.
        let sizes = [1.0, 1e-33, 1e-17, 1e-13, 1e12, 1e17, 1e36, 1.0];
        let weights: Vec<f32> = sizes.iter().flat_map(|size| weights(n).into_iter().map(move |weight| size * weight)).collect();
        let decoded = Matrix::fed_back(nbits, Float::F32, &weights, &factors, 2).decoded(weights.len());
        for (idx, (decoded, weights)) in decoded.chunks(n).zip(weights.chunks(n)).enumerate() {
            let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            let is_near = decoded.iter().zip(weights).all(|(decoded, weight)| (decoded - weight).abs() < 0.3 * largest);
            assert!(is_near, "{nbits}, row {idx}");
        }
    }
}

#[test]
fn dead_columns_and_any_number_of_blocks_work() {
    for n in [32, 48, 272, 336] {
        let mut moments = moments(n);
        for dead in [0, 7, n - 1] {
            moments[dead * n..][..n].fill(0.0);
            moments.iter_mut().skip(dead).step_by(n).for_each(|moment| *moment = 0.0);
        }
        let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
        let weights = weights(3 * n);
        for nbits in NBits::all().filter(|nbits| nbits.block_len() == 16) {
            let plain = Matrix::searched(nbits, Float::F32, &weights, &moments, n).error(&weights, &moments);
            let found = Matrix::fed_back(nbits, Float::F32, &weights, &factors, 2).error(&weights, &moments);
            assert!(found < plain, "{nbits}, {n} columns: {found:e}, by the search {plain:e}");
        }
    }
}

#[test]
fn rows_are_checked_as_by_the_plain_encoder() {
    let n = 128;
    let factors = Factors::new(&identity(n), n, DEFAULT_DAMPING).unwrap();
    let nbits = NBits::with_zero_points(4, 64).unwrap();
    let check = |float: Float, weight: f32, expected: Result<(), NBitsError>| {
        let mut weights = weights(4 * n);
        weights[2 * n + 9] = weight;
        assert_eq!(Matrix::try_fed_back(nbits, float, &weights, &factors, 1).map(|_| ()), expected, "{float:?} {weight}");
    };
    check(Float::F16, f32::NAN, Err(NBitsError::NonFinite { row: 2, value: "NaN" }));
    check(Float::F32, f32::NEG_INFINITY, Err(NBitsError::NonFinite { row: 2, value: "infinite" }));
    check(Float::F16, 1e6, Err(NBitsError::OutOfRange { row: 2, nbits }));
    check(Float::F16, 9e5, Ok(()));
    check(Float::F32, 3e38, Ok(()));
    let mut short = [0; 8];
    let out = ComponentsMut { codes: &mut short, scales: &mut [0; 8], zero_points: &mut [0; 1] };
    let length = NBitsError::Length { nbits, component: "codes", n_weights: n, expected_bytes: 64, n_bytes: 8 };
    assert_eq!(encode_nbits(nbits, Float::F32, &[0.0; 128], &factors, 1, out), Err(length));
    let empty = ComponentsMut { codes: &mut [], scales: &mut [], zero_points: &mut [] };
    assert_eq!(encode_nbits(nbits, Float::F32, &[], &factors, 1, empty), Ok(()));
    let narrow = Factors::new(&identity(96), 96, DEFAULT_DAMPING).unwrap();
    let found = Matrix::try_fed_back(nbits, Float::F32, &[1.0; 96], &narrow, 1);
    assert_eq!(found, Err(NBitsError::PartOfBlock { nbits, row_len: 96 }));
}
