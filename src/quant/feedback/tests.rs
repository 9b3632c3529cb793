//! What feedback is for, and the properties that callers rely on.

use super::codec::{BlockType, Levels};
use super::*;
use crate::quant::dequantize_rows;

/// A number of a bell curve.
fn normal(random: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| random.f32()).sum::<f32>() - 6.0
}

/// Moments of vectors with a decaying spectrum, columns of different magnitudes, and one that is much larger than the others.
pub(super) fn moments(n: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(3);
    let (n_factors, n_vectors) = (n / 4, 2 * n);
    let mut loadings: Vec<f32> = (0..n_factors * n).map(|_| normal(&mut random)).collect();
    for (idx, loadings) in loadings.chunks_exact_mut(n).enumerate() {
        let size = 1.0 / f32::from(u16::try_from(idx + 1).unwrap()).powf(0.6);
        for loading in loadings {
            *loading *= size;
        }
    }
    let scores: Vec<f32> = (0..n_vectors * n_factors).map(|_| normal(&mut random)).collect();
    let mut vectors: Vec<f32> = (0..n_vectors * n).map(|_| 1.5 * normal(&mut random)).collect();
    let (scores, loadings) = (Matrix::new(&scores, n_vectors, n_factors), Matrix::new(&loadings, n_factors, n));
    MatrixMut::new(&mut vectors, n_vectors, n).set_product(1.0, scores, loadings, 1.0);
    let sizes: Vec<f32> = (0..n).map(|idx| if idx == n / 3 { 20.0 } else { (0.5 * normal(&mut random)).exp() }).collect();
    for vector in vectors.chunks_exact_mut(n) {
        vector.iter_mut().zip(&sizes).for_each(|(number, size)| *number *= size);
    }
    let vectors = Matrix::new(&vectors, n_vectors, n);
    let mut moments = vec![0.0; n * n];
    MatrixMut::new(&mut moments, n, n).set_product(1.0, vectors.transposed(), vectors, 0.0);
    moments
}

pub(super) fn identity(n: usize) -> Vec<f32> {
    (0..n * n).map(|idx| if idx % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

/// Weights as models have them: a bell curve with longer tails.
pub(super) fn weights(n_weights: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(5);
    (0..n_weights).map(|_| 0.02 * normal(&mut random) * (0.3 * normal(&mut random)).exp()).collect()
}

/// True for types with a code for each weight.
fn is_scalar(dtype: DType) -> bool {
    !["IQ1", "IQ2", "IQ3", "TQ"].iter().any(|grid| dtype.name().starts_with(grid))
}

#[test]
fn types_with_a_code_for_each_weight_have_sweeps() {
    assert!(types().all(|dtype| has_sweeps(dtype) == is_scalar(dtype)));
}

fn types() -> impl Iterator<Item = DType> {
    DType::all().filter(|&dtype| can_feed_back(dtype))
}

fn encode(dtype: DType, weights: &[f32], factors: &Factors, sweeps: usize) -> Vec<u8> {
    let mut blocks = vec![0xa5; usize::try_from(dtype.row_bytes(weights.len() as u64).unwrap()).unwrap()];
    encode_rows(dtype, weights, factors, sweeps, &mut blocks).unwrap();
    blocks
}

fn decode(dtype: DType, blocks: &[u8], n_weights: usize) -> Vec<f32> {
    let mut weights = vec![f32::NAN; n_weights];
    dequantize_rows(dtype, blocks, &mut weights).unwrap();
    weights
}

/// Output error with feedback.
fn error(dtype: DType, weights: &[f32], factors: &Factors, sweeps: usize, moments: &[f32]) -> f64 {
    let decoded = decode(dtype, &encode(dtype, weights, factors, sweeps), weights.len());
    output_error(weights, &decoded, moments, factors.n_columns())
}

/// Output error of the plain encoder with the moments' diagonal as importances.
fn plain_error(dtype: DType, weights: &[f32], moments: &[f32], n: usize) -> f64 {
    let importances: Vec<f32> = moments.iter().step_by(n + 1).copied().collect();
    let mut blocks = vec![0; usize::try_from(dtype.row_bytes(weights.len() as u64).unwrap()).unwrap()];
    quantize_rows_by(dtype, weights, n, Some(&importances), &mut blocks).unwrap();
    output_error(weights, &decode(dtype, &blocks, weights.len()), moments, n)
}

/// Of the plain encoder's output error, without and with sweeps; measured on 2026-11-30, and a tenth added.
const SHARES: [(DType, f64, f64); 22] = [
    (DType::IQ1_S, 0.70, 0.70),
    (DType::IQ1_M, 0.73, 0.73),
    (DType::IQ2_XXS, 0.74, 0.74),
    (DType::IQ2_XS, 0.76, 0.76),
    (DType::IQ2_S, 0.70, 0.70),
    (DType::IQ3_XXS, 0.75, 0.75),
    (DType::IQ3_S, 0.83, 0.83),
    (DType::TQ1_0, 0.79, 0.79),
    (DType::TQ2_0, 0.79, 0.79),
    (DType::Q4_0, 0.42, 0.37),
    (DType::Q4_1, 0.43, 0.38),
    (DType::Q5_0, 0.45, 0.40),
    (DType::Q5_1, 0.44, 0.39),
    (DType::Q8_0, 0.38, 0.33),
    (DType::Q2_K, 0.52, 0.45),
    (DType::Q3_K, 0.43, 0.39),
    (DType::Q4_K, 0.47, 0.42),
    (DType::Q5_K, 0.50, 0.45),
    (DType::Q6_K, 0.44, 0.40),
    (DType::IQ4_NL, 0.43, 0.39),
    (DType::IQ4_XS, 0.43, 0.38),
    (DType::MXFP4, 0.50, 0.43),
];

#[test]
fn the_output_error_falls_well_below_the_plain_encoders() {
    let n = 512;
    let (weights, moments) = (weights(12 * n), moments(n));
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    assert!(types().eq(DType::all().filter(|dtype| SHARES.iter().any(|(known, ..)| known == dtype))));
    let mut misses = Vec::new();
    for (dtype, without, with) in SHARES {
        let plain = plain_error(dtype, &weights, &moments, n);
        let share = |sweeps: usize| error(dtype, &weights, &factors, sweeps, &moments) / plain;
        let (found_without, found_with) = (share(0), share(DEFAULT_SWEEPS));
        if found_without > without || found_with > with {
            misses.push(format!("{dtype}: {found_without:.3} without sweeps, {found_with:.3} with them"));
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn inputs_that_do_not_go_together_are_rounded_no_worse_than_plainly() {
    let n = 256;
    let (weights, moments) = (weights(16 * n), identity(n));
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    for dtype in types() {
        let (plain, found) = (plain_error(dtype, &weights, &moments, n), error(dtype, &weights, &factors, 4, &moments));
        assert!(found <= 1.01 * plain, "{dtype}: {} of the plain error", found / plain);
    }
}

#[test]
fn sweeps_never_raise_the_error() {
    let n = 512;
    let (weights, moments) = (weights(4 * n), moments(n));
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    for dtype in types() {
        let errors: Vec<f64> = (0..6).map(|sweeps| error(dtype, &weights, &factors, sweeps, factors.moments())).collect();
        assert!(errors.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-6)), "{dtype}: {errors:?}");
        assert!(errors[4] < 0.97 * errors[0] || !is_scalar(dtype), "{dtype}: {errors:?}");
    }
}

#[test]
fn bytes_of_a_row_depend_on_it_alone() {
    // Columns that do not fill a panel, rows that do not fill a group.
    for (n, dtypes) in [(288, vec![DType::Q4_0, DType::Q5_1, DType::Q8_0]), (512, vec![DType::Q4_K, DType::Q3_K, DType::TQ2_0])] {
        let weights = weights((group::N_ROWS + 3) * n);
        let factors = Factors::new(&moments(n), n, DEFAULT_DAMPING).unwrap();
        for dtype in dtypes {
            let together = encode(dtype, &weights, &factors, 2);
            assert!(together == encode(dtype, &weights, &factors, 2), "{dtype}: again");
            let apart: Vec<u8> = weights.chunks(n).flat_map(|row| encode(dtype, row, &factors, 2)).collect();
            assert!(together == apart, "{dtype}: one by one");
            let shifted = encode(dtype, &weights[5 * n..], &factors, 2);
            assert!(together[5 * together.len() / (group::N_ROWS + 3)..] == shifted, "{dtype}: from the sixth on");
        }
    }
}

/// The errors that are fed back are those of the bytes, to the bit.
fn check_round_trip<L: Levels, const N: usize>(of: &BlockType<L, N>, dtype: DType, weights: &[f32], factors: &Factors) {
    for sweeps in [0, 3] {
        let group = group::rounded(&of.codec, weights, factors, sweeps);
        let decoded = decode(dtype, &encode(dtype, weights, factors, sweeps), weights.len());
        for (idx, ((decoded, weight), error)) in decoded.iter().zip(weights).zip(&group.errors).enumerate() {
            assert_eq!(decoded - weight, *error, "{dtype}, {sweeps} sweeps, weight {idx}");
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
    check_round_trip(&types::Q4_0, DType::Q4_0, &weights, &factors);
    check_round_trip(&types::Q4_1, DType::Q4_1, &weights, &factors);
    check_round_trip(&types::Q5_0, DType::Q5_0, &weights, &factors);
    check_round_trip(&types::Q5_1, DType::Q5_1, &weights, &factors);
    check_round_trip(&types::Q8_0, DType::Q8_0, &weights, &factors);
    check_round_trip(&types::IQ4_NL, DType::IQ4_NL, &weights, &factors);
    check_round_trip(&types::MXFP4, DType::MXFP4, &weights, &factors);
    check_round_trip(&types::Q2_K, DType::Q2_K, &weights, &factors);
    check_round_trip(&types::Q3_K, DType::Q3_K, &weights, &factors);
    check_round_trip(&types::Q4_K, DType::Q4_K, &weights, &factors);
    check_round_trip(&types::Q5_K, DType::Q5_K, &weights, &factors);
    check_round_trip(&types::Q6_K, DType::Q6_K, &weights, &factors);
    check_round_trip(&types::IQ4_XS, DType::IQ4_XS, &weights, &factors);
}

#[test]
fn zeros_stay_zeros_and_extremes_stay_finite() {
    let n = 256;
    let moments = moments(n);
    let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
    for dtype in types() {
        let decoded = decode(dtype, &encode(dtype, &vec![0.0; n], &factors, 2), n);
        assert!(decoded.iter().all(|&weight| weight == 0.0), "{dtype}");
        for size in [1e-38_f32, 1e-20, 1e-7, 1e3, 2e4] {
            let weights: Vec<f32> = weights(n).iter().map(|weight| weight * size * 10.0).collect();
            let decoded = decode(dtype, &encode(dtype, &weights, &factors, 2), n);
            let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            assert!(decoded.iter().all(|weight| weight.abs() <= 4.0 * largest + 1e-5), "{dtype}, {size:e}");
        }
    }
    // Beyond what can be squared, between rows that can.
    let mut weights = weights(3 * n);
    weights[n..2 * n].iter_mut().for_each(|weight| *weight *= 1e35);
    let decoded = decode(DType::MXFP4, &encode(DType::MXFP4, &weights, &factors, 2), 3 * n);
    let row = |idx: usize| output_error(&weights[idx * n..][..n], &decoded[idx * n..][..n], &identity(n), n);
    let energy = |idx: usize| weights[idx * n..][..n].iter().map(|weight| f64::from(*weight).powi(2)).sum::<f64>();
    assert!(row(0) < 0.05 * energy(0) && row(2) < 0.05 * energy(2));
    assert!(decoded[n..2 * n].iter().zip(&weights[n..]).all(|(decoded, weight)| (decoded - weight).abs() < 4e33));
}

#[test]
fn dead_columns_and_any_number_of_blocks_work() {
    for n in [32, 96, 288, 320] {
        let mut moments = moments(n);
        for dead in [0, 7, n - 1] {
            moments[dead * n..][..n].fill(0.0);
            moments.iter_mut().skip(dead).step_by(n).for_each(|moment| *moment = 0.0);
        }
        let factors = Factors::new(&moments, n, DEFAULT_DAMPING).unwrap();
        let weights = weights(3 * n);
        for dtype in types().filter(|dtype| dtype.block_len() == 32) {
            let (plain, found) = (plain_error(dtype, &weights, &moments, n), error(dtype, &weights, &factors, 2, &moments));
            assert!(found < plain, "{dtype}, {n} columns: {found:e}, plainly {plain:e}");
        }
    }
}

#[test]
fn only_ratios_of_moments_matter() {
    let n = 256;
    let (weights, moments) = (weights(2 * n), moments(n));
    let scaled: Vec<f32> = moments.iter().map(|moment| moment * 2.0_f32.powi(-90)).collect();
    let (a, b) = (Factors::new(&moments, n, 0.03).unwrap(), Factors::new(&scaled, n, 0.03).unwrap());
    assert_eq!(encode(DType::Q4_K, &weights, &a, 2), encode(DType::Q4_K, &weights, &b, 2));
}

#[test]
fn rows_are_checked_as_by_the_plain_encoder() {
    let n = 256;
    let factors = Factors::new(&identity(n), n, DEFAULT_DAMPING).unwrap();
    let check = |dtype: DType, weights: &[f32], n_bytes: usize, expected: Result<(), QuantError>| {
        let mut blocks = vec![0xa5; n_bytes];
        assert_eq!(encode_rows(dtype, weights, &factors, 1, &mut blocks), expected);
        assert!(expected.is_ok() || blocks.iter().all(|&byte| byte == 0xa5), "nothing is written");
    };
    let with = |weight: f32| {
        let mut weights = weights(3 * n);
        weights[n + 9] = weight;
        weights
    };
    let dtype = DType::Q4_K;
    check(dtype, &[], 0, Ok(()));
    check(dtype, &with(f32::NAN), 432, Err(QuantError::NonFinite { row: 1, value: "NaN" }));
    check(dtype, &with(f32::NEG_INFINITY), 432, Err(QuantError::NonFinite { row: 1, value: "infinite" }));
    check(dtype, &with(1e9), 432, Err(QuantError::OutOfRange { row: 1, dtype }));
    check(dtype, &with(1.0), 431, Err(QuantError::Length { dtype, n_weights: 768, n_bytes: 431 }));
    check(dtype, &[1.0; 300], 144, Err(QuantError::RowLength { dtype, n_weights: 300, row_len: 256 }));
    check(DType::F16, &[1.0; 256], 512, Err(QuantError::Unsupported { action: "encode", dtype: DType::F16 }));
    let narrow = Factors::new(&identity(32), 32, DEFAULT_DAMPING).unwrap();
    let found = encode_rows(dtype, &[1.0; 256], &narrow, 1, &mut [0; 144]);
    assert_eq!(found, Err(QuantError::RowLength { dtype, n_weights: 256, row_len: 32 }));
}

#[test]
fn output_errors_are_those_of_the_formula() {
    let moments = [2.0, 1.0, 1.0, 4.0];
    // Errors (1, 0), (1, -1): 2, and 2 - 2 + 4.
    let found = output_error(&[0.0, 5.0, 1.0, 1.0], &[1.0, 5.0, 2.0, 0.0], &moments, 2);
    assert!((found - 6.0).abs() < 1e-9);
    assert!(output_error(&[], &[], &moments, 2).abs() < 1e-9);
    assert!(output_error(&[1.0; 3], &[1.0; 3], &moments, 2).is_nan());
    assert!(output_error(&[1.0; 2], &[1.0; 4], &moments, 2).is_nan());
    assert!(output_error(&[1.0; 2], &[1.0; 2], &moments, 3).is_nan());
    assert!(output_error(&[1.0; 2], &[1.0; 2], &[], 0).is_nan());
}
