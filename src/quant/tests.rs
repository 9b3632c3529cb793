//! Against ggml's vectors (`tests/golden/make_quant_golden.py`), and the properties that callers rely on.

use serde_json::Value;

use super::dispatch::{run_fastest, run_portable};
use super::{QuantError, can_dequantize, can_quantize, dequantize_rows, quantize_rows, rows};
use crate::model::DType;

const VECTORS: &[u8] = include_bytes!("../../tests/golden/quant/vectors.bin");
const INDEX: &str = include_str!("../../tests/golden/quant/index.json");

const LEGACY: [DType; 5] = [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0];
const K_QUANTS: [DType; 5] = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K];

/// Entries of one part of the index.
fn entries(part: &str) -> Vec<Value> {
    let index: Value = serde_json::from_str(INDEX).unwrap();
    index[part].as_array().unwrap().clone()
}

fn text(entry: &Value, key: &str) -> String {
    entry[key].as_str().unwrap().to_owned()
}

/// The bytes that the entry names.
fn slice(entry: &Value, offset: &str, n_bytes: usize) -> &'static [u8] {
    let offset = usize::try_from(entry[offset].as_u64().unwrap()).unwrap();
    &VECTORS[offset..offset + n_bytes]
}

fn count(entry: &Value, key: &str) -> usize {
    usize::try_from(entry[key].as_u64().unwrap()).unwrap()
}

fn dtype(entry: &Value) -> DType {
    DType::from_name(&text(entry, "dtype")).unwrap()
}

/// Name and weights of every input, in rows of 256.
pub(super) fn inputs() -> Vec<(String, Vec<f32>)> {
    let weights = |entry: &Value| {
        let n_weights = count(entry, "n_weights");
        let (dtype, width) = if entry["f32"].as_bool().unwrap() { (DType::F32, 4) } else { (DType::F16, 2) };
        decode(dtype, slice(entry, "offset", n_weights * width), n_weights)
    };
    entries("inputs").iter().map(|entry| (text(entry, "name"), weights(entry))).collect()
}

pub(super) fn input(name: &str) -> Vec<f32> {
    inputs().into_iter().find(|input| input.0 == name).unwrap().1
}

pub(super) fn encode(dtype: DType, x: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0xa5; usize::try_from(dtype.row_bytes(x.len() as u64).unwrap()).unwrap()];
    quantize_rows(dtype, x, 256, &mut blocks).unwrap();
    blocks
}

pub(super) fn decode(dtype: DType, blocks: &[u8], n_weights: usize) -> Vec<f32> {
    let mut weights = vec![f32::NAN; n_weights];
    dequantize_rows(dtype, blocks, &mut weights).unwrap();
    weights
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

fn error_of(dtype: DType, x: &[f32]) -> Result<(), QuantError> {
    let mut blocks = vec![0; usize::try_from(dtype.row_bytes(x.len() as u64).unwrap()).unwrap()];
    quantize_rows(dtype, x, 256, &mut blocks)
}

#[test]
fn q8_0_has_ggmls_bytes_and_the_other_legacy_types_err_less() {
    let mut n_exact = 0;
    for entry in entries("legacy") {
        let (dtype, name) = (dtype(&entry), text(&entry, "input"));
        let weights = &input(&name)[..256];
        let (ours, ggmls) = (encode(dtype, weights), slice(&entry, "offset", count(&entry, "n_bytes")));
        if dtype == DType::Q8_0 {
            assert_eq!(ours, ggmls, "{entry}");
            n_exact += 1;
            continue;
        }
        let error = |blocks: &[u8]| squared_error(weights, &decode(dtype, blocks, 256));
        let (ours, ggmls) = (error(&ours), error(ggmls));
        assert!(ours <= ggmls * (1.0 + 2e-6), "{dtype} {name}: {ours:e}, ggml {ggmls:e}");
    }
    assert!(n_exact > 5);
}

fn squared_error(weights: &[f32], decoded: &[f32]) -> f64 {
    weights.iter().zip(decoded).map(|(weight, decoded)| (f64::from(*weight) - f64::from(*decoded)).powi(2)).sum()
}

#[test]
fn decoded_values_are_ggmls() {
    for entry in entries("decoded") {
        let n_weights = count(&entry, "n_weights");
        let blocks = slice(&entry, "blocks", count(&entry, "n_bytes"));
        let expected = decode(DType::F32, slice(&entry, "values", 4 * n_weights), n_weights);
        assert_eq!(bits(&decode(dtype(&entry), blocks, n_weights)), bits(&expected), "{}", dtype(&entry));
    }
}

#[test]
fn two_bit_blocks_without_golden_vectors_follow_their_formula() {
    // Q2_0: d = 0.5, then the quants 0, 1, 2, 3 in every byte.
    let blocks = [&[0x00, 0x38][..], &[0b11_10_01_00; 16]].concat();
    assert_eq!(decode(DType::Q2_0, &blocks, 64), [-0.5, 0.0, 0.5, 1.0].repeat(16));
}

/// ggml's own importance of a weight without an importance matrix; see `importance` in make_quant_golden.py.
fn importance(dtype: DType, x: &[f32]) -> Vec<f64> {
    let x: Vec<f64> = x.iter().map(|&weight| f64::from(weight)).collect();
    match dtype {
        DType::Q4_K | DType::Q5_K => x
            .chunks(32)
            .flat_map(|sub_block| {
                let rms = (sub_block.iter().map(|weight| weight * weight).sum::<f64>() / 32.0).sqrt();
                sub_block.iter().map(move |weight| rms + weight.abs())
            })
            .collect(),
        DType::Q2_K => x.iter().map(|weight| weight.abs()).collect(),
        _ => x.iter().map(|weight| weight * weight).collect(),
    }
}

#[test]
fn k_quants_err_at_most_as_ggmls() {
    let mut worse = Vec::new();
    for entry in entries("k_quants") {
        let (dtype, name) = (dtype(&entry), text(&entry, "input"));
        let weights = input(&name);
        let decoded = decode(dtype, &encode(dtype, &weights), weights.len());
        let (mut plain, mut weighted) = (0.0, 0.0);
        for ((weight, decoded), importance) in weights.iter().zip(decoded).zip(importance(dtype, &weights)) {
            let square = (f64::from(*weight) - f64::from(decoded)).powi(2);
            plain += square;
            weighted += importance * square;
        }
        for (kind, ours) in [("squared_error", plain), ("weighted_error", weighted)] {
            let ggmls = entry[kind].as_f64().unwrap();
            // Relative root mean squares may differ by 1e-6, so their squares by twice that.
            if ours > ggmls * (1.0 + 2e-6) {
                worse.push(format!("{dtype} {name} {kind}: {ours:e}, ggml {ggmls:e}"));
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn all_paths_give_the_same_bits() {
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        for (name, weights) in inputs() {
            let blocks = encode(dtype, &weights);
            let mut portable = vec![0; blocks.len()];
            run_portable(rows::Encode { dtype, src: &weights, row_len: 256, importances: None, dst: &mut portable }).unwrap();
            assert!(portable == blocks, "{dtype} {name}");
        }
    }
    for entry in entries("decoded") {
        let blocks = slice(&entry, "blocks", count(&entry, "n_bytes"));
        let (mut fastest, mut portable) = (vec![0.0; count(&entry, "n_weights")], vec![0.0; count(&entry, "n_weights")]);
        run_fastest(rows::Decode { dtype: dtype(&entry), src: blocks, dst: &mut fastest });
        run_portable(rows::Decode { dtype: dtype(&entry), src: blocks, dst: &mut portable });
        assert_eq!(bits(&fastest), bits(&portable), "{entry}");
    }
}

#[test]
fn blocks_depend_on_their_weights_alone() {
    let weights = input("laplace");
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        let together = encode(dtype, &weights);
        let apart: Vec<u8> = weights.chunks(256).flat_map(|row| encode(dtype, row)).collect();
        assert_eq!(together, apart, "{dtype}");
        let mut as_one_row = vec![0; together.len()];
        quantize_rows(dtype, &weights, weights.len(), &mut as_one_row).unwrap();
        assert_eq!(together, as_one_row, "{dtype}");
    }
}

#[test]
fn blocks_may_lie_at_any_address() {
    let weights = input("gauss");
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        let blocks = encode(dtype, &weights);
        let mut shifted = vec![0; blocks.len() + 1];
        shifted[1..].copy_from_slice(&blocks);
        assert_eq!(bits(&decode(dtype, &shifted[1..], weights.len())), bits(&decode(dtype, &blocks, weights.len())), "{dtype}");
        quantize_rows(dtype, &weights, 256, &mut shifted[1..]).unwrap();
        assert_eq!(shifted[1..], blocks, "{dtype}");
    }
}

#[test]
fn weights_on_the_grid_stay_there() {
    let norm = |x: &[f32]| x.iter().map(|&weight| f64::from(weight).powi(2)).sum::<f64>();
    for dtype in LEGACY.into_iter().chain(K_QUANTS) {
        let weights = input("gauss");
        let once = decode(dtype, &encode(dtype, &weights), weights.len());
        let twice = decode(dtype, &encode(dtype, &once), weights.len());
        let difference = |a: &[f32], b: &[f32]| norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>());
        let (first, second) = (difference(&weights, &once), difference(&once, &twice));
        // The second pass finds most of the grid again: what it adds is far below what the first one lost.
        assert!(second <= 0.25 * first, "{dtype}: {second:e} after {first:e}");
    }
}

#[test]
fn zeros_stay_zeros() {
    let weights = input("zero");
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        assert!(decode(dtype, &encode(dtype, &weights), weights.len()).iter().all(|&weight| weight == 0.0), "{dtype}");
    }
}

#[test]
fn plain_types_round_to_nearest_even() {
    let check = |dtype, weight: f32, expected: f32| {
        let blocks = encode(dtype, &[weight; 256]);
        assert_eq!(decode(dtype, &blocks, 256)[7].to_bits(), expected.to_bits(), "{dtype} {weight}");
    };
    check(DType::F32, f32::MAX, f32::MAX);
    check(DType::F32, -1e-45, -1e-45);
    check(DType::F16, 1.0 + 1.0 / 2048.0, 1.0);
    check(DType::F16, 1.0 + 3.0 / 2048.0, 1.0 + 4.0 / 2048.0);
    check(DType::F16, -65519.0, -65504.0);
    check(DType::F16, 1e-7, 2.0_f32.powi(-23));
    check(DType::BF16, 1.0 + 1.0 / 256.0, 1.0);
    check(DType::BF16, 1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0);
    check(DType::BF16, -1e-40, f32::from_bits(0x8001_0000));
    assert_eq!(decode(DType::F64, &[1.5_f64.to_le_bytes(), (-1e300_f64).to_le_bytes()].concat(), 2), [1.5, f32::NEG_INFINITY]);
    assert_eq!(decode(DType::F16, &[0x00, 0x7c, 0x01, 0x80], 2), [f32::INFINITY, -(2.0_f32.powi(-24))]);
}

#[test]
fn rows_that_no_level_can_represent_are_named() {
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        for (weight, value) in
            [(f32::NAN, "NaN"), (-f32::NAN, "NaN"), (f32::INFINITY, "infinite"), (f32::NEG_INFINITY, "infinite")]
        {
            for position in [0, 255] {
                let mut weights = vec![0.5; 4 * 256];
                weights[2 * 256 + position] = weight;
                weights[3 * 256] = f32::NAN;
                assert_eq!(error_of(dtype, &weights), Err(QuantError::NonFinite { row: 2, value }), "{dtype}");
            }
        }
    }
}

#[test]
fn weights_beyond_the_types_range_are_refused() {
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype) && dtype != DType::F32) {
        let mut weights = vec![0.5; 2 * 256];
        weights[300] = f32::MAX;
        assert_eq!(error_of(dtype, &weights), Err(QuantError::OutOfRange { row: 1, dtype }), "{dtype}");
    }
    assert_eq!(error_of(DType::F16, &[65520.0; 256]), Err(QuantError::OutOfRange { row: 0, dtype: DType::F16 }));
    assert_eq!(error_of(DType::BF16, &[3.39e38; 256]), Ok(()));
    // The largest weights that are accepted come out finite and close, of either sign and beside zeros.
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        let mut largest = 60_000.0_f32;
        while error_of(dtype, &[largest * 1.01; 256]).is_ok() && largest < 1e30 {
            largest *= 1.01;
        }
        for pattern in [[largest, largest], [-largest, -largest], [largest, -largest], [0.0, largest], [0.0, -largest]] {
            let weights = pattern.repeat(128);
            let decoded = decode(dtype, &encode(dtype, &weights), 256);
            for (weight, decoded) in weights.iter().zip(decoded) {
                // Zeros beside large weights are far from the points of the ultra-low types.
                let tolerance = if dtype.bits_per_weight() < 3.1 { 0.75 } else { 0.2 };
                assert!((weight - decoded).abs() <= tolerance * largest, "{dtype}: {weight} became {decoded}");
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let check = |dtype: DType, n_weights: usize, row_len: usize, n_bytes: usize, expected: Result<(), QuantError>| {
        assert_eq!(quantize_rows(dtype, &vec![0.5; n_weights], row_len, &mut vec![0; n_bytes]), expected);
    };
    let row_error = |dtype, n_weights, row_len| Err(QuantError::RowLength { dtype, n_weights, row_len });
    check(DType::Q4_K, 512, 256, 288, Ok(()));
    check(DType::Q4_K, 576, 576, 324, row_error(DType::Q4_K, 576, 576));
    check(DType::Q4_K, 512, 128, 288, row_error(DType::Q4_K, 512, 128));
    check(DType::Q8_0, 96, 64, 102, row_error(DType::Q8_0, 96, 64));
    check(DType::Q8_0, 32, 0, 34, row_error(DType::Q8_0, 32, 0));
    check(DType::Q8_0, 32, 32, 33, Err(QuantError::Length { dtype: DType::Q8_0, n_weights: 32, n_bytes: 33 }));
    check(DType::Q8_0, 0, 0, 0, Ok(()));
    check(DType::NVFP4, 256, 256, 144, Err(QuantError::Unsupported { action: "encode", dtype: DType::NVFP4 }));

    let check = |dtype: DType, n_bytes: usize, n_weights: usize, expected: Result<(), QuantError>| {
        assert_eq!(dequantize_rows(dtype, &vec![0; n_bytes], &mut vec![0.0; n_weights]), expected);
    };
    check(DType::Q6_K, 210, 256, Ok(()));
    check(DType::Q6_K, 0, 0, Ok(()));
    check(DType::Q6_K, 211, 256, Err(QuantError::Length { dtype: DType::Q6_K, n_weights: 256, n_bytes: 211 }));
    check(DType::Q6_K, 210, 255, row_error(DType::Q6_K, 255, 255));
    check(DType::I32, 4, 1, Err(QuantError::Unsupported { action: "decode", dtype: DType::I32 }));
}

#[test]
fn every_type_that_is_encoded_is_decoded() {
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        assert!(can_dequantize(dtype), "{dtype}");
    }
}
