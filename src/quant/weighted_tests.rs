//! Encoding with importances of columns: against ggml's errors (`tests/golden/make_weighted_golden.py`) and by properties.

use serde_json::Value;

use super::dispatch::run_portable;
use super::tests::{decode, encode, input, inputs};
use super::{QuantError, can_quantize, heeds_importances, quantize_rows_by, rows};
use crate::model::DType;

const GOLDEN: &str = include_str!("../../tests/golden/quant/weighted.json");

/// Types whose search looks at importances.
fn weighted() -> impl Iterator<Item = DType> {
    DType::all().filter(|&dtype| heeds_importances(dtype))
}

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

/// Lognormal importances of 256 columns.
#[allow(clippy::cast_possible_truncation, reason = "written from f32")]
pub(super) fn columns() -> Vec<f32> {
    golden()["columns"].as_array().unwrap().iter().map(|column| column.as_f64().unwrap() as f32).collect()
}

pub(super) fn encode_by(dtype: DType, x: &[f32], row_len: usize, importances: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0xa5; usize::try_from(dtype.row_bytes(x.len() as u64).unwrap()).unwrap()];
    quantize_rows_by(dtype, x, row_len, Some(importances), &mut blocks).unwrap();
    blocks
}

/// Squared error weighted by the columns' importances.
pub(super) fn weighted_error(dtype: DType, x: &[f32], blocks: &[u8], columns: &[f32]) -> f64 {
    let decoded = decode(dtype, blocks, x.len());
    let squares = x.iter().zip(decoded).map(|(x, decoded)| (f64::from(*x) - f64::from(decoded)).powi(2));
    squares.zip(columns.iter().cycle()).map(|(square, &column)| square * f64::from(column)).sum()
}

#[test]
fn importances_lower_the_weighted_error_to_ggmls() {
    let (golden, columns) = (golden(), columns());
    let mut misses = Vec::new();
    for entry in golden["errors"].as_array().unwrap() {
        let (name, dtype) = (entry["input"].as_str().unwrap(), DType::from_name(entry["dtype"].as_str().unwrap()).unwrap());
        let weights = input(name);
        let ours = weighted_error(dtype, &weights, &encode_by(dtype, &weights, 256, &columns), &columns);
        let uniform = weighted_error(dtype, &weights, &encode(dtype, &weights), &columns);
        let ggmls = entry["weighted_error"].as_f64().unwrap();
        if ours >= uniform || ours > 1.02 * ggmls {
            misses.push(format!("{dtype} {name}: {:.4} of ggml's, {:.4} of the uniform one", ours / ggmls, ours / uniform));
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn all_paths_give_the_same_bits_with_importances() {
    let columns = columns();
    for dtype in DType::all().filter(|&dtype| can_quantize(dtype)) {
        for (name, weights) in inputs() {
            let blocks = encode_by(dtype, &weights, 256, &columns);
            let mut portable = vec![0; blocks.len()];
            let encoding = rows::Encode { dtype, src: &weights, row_len: 256, importances: Some(&columns), dst: &mut portable };
            run_portable(encoding).unwrap();
            assert!(portable == blocks, "{dtype} {name}");
        }
    }
}

#[test]
fn blocks_depend_on_their_weights_and_importances_alone() {
    let (weights, columns) = (input("heavy_tail"), columns());
    let as_one_row = columns.repeat(weights.len() / 256);
    for dtype in weighted() {
        let together = encode_by(dtype, &weights, 256, &columns);
        let apart: Vec<u8> = weights.chunks(256).flat_map(|row| encode_by(dtype, row, 256, &columns)).collect();
        assert!(together == apart, "{dtype}");
        assert!(together == encode_by(dtype, &weights, weights.len(), &as_one_row), "{dtype}");
    }
}

#[test]
fn only_ratios_of_importances_matter() {
    let (weights, columns) = (input("gauss"), columns());
    let scaled: Vec<f32> = columns.iter().map(|column| column * 1024.0).collect();
    for dtype in weighted() {
        assert!(encode_by(dtype, &weights, 256, &columns) == encode_by(dtype, &weights, 256, &scaled), "{dtype}");
    }
}

#[test]
fn types_without_a_search_ignore_importances() {
    let (weights, columns) = (input("gauss"), columns());
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q8_0] {
        assert_eq!(encode_by(dtype, &weights, 256, &columns), encode(dtype, &weights), "{dtype}");
    }
}

#[test]
fn blocks_without_any_importance_are_encoded_as_without_a_matrix() {
    for dtype in weighted() {
        let weights = input("laplace");
        assert!(encode_by(dtype, &weights, 256, &[0.0; 256]) == encode(dtype, &weights), "{dtype}");
    }
}

#[test]
fn extreme_importances_and_weights_come_out_finite() {
    let mut one = vec![0.0; 256];
    one[77] = 1.0;
    let mut huge = vec![f32::MIN_POSITIVE; 256];
    huge[3] = f32::MAX;
    for dtype in weighted() {
        for columns in [&one, &huge] {
            for (name, weights) in inputs() {
                let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
                let decoded = decode(dtype, &encode_by(dtype, &weights, 256, columns), weights.len());
                // Weights that do not count may be clipped, but not blown up.
                assert!(decoded.iter().all(|weight| weight.abs() <= 4.0 * largest + 1e-6), "{dtype} {name}");
            }
        }
    }
}

#[test]
fn importances_must_be_one_per_column() {
    let mut blocks = vec![0; 144];
    let found = quantize_rows_by(DType::Q4_K, &[0.5; 256], 256, Some(&[1.0; 255]), &mut blocks);
    assert_eq!(found, Err(QuantError::Importances { row_len: 256, n_importances: 255 }));
}

/// FNV-1a, 64 bits.
fn hash(blocks: &[u8]) -> u64 {
    blocks.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// `tests/neon.sh` runs this on another processor. After a change of an encoder the message has the new constants.
#[test]
fn bytes_are_the_same_on_every_processor() {
    let columns = columns();
    let rows: Vec<f32> = inputs().into_iter().flat_map(|(_, weights)| weights).collect();
    let found: Vec<String> = DType::all()
        .filter(|&dtype| can_quantize(dtype))
        .map(|dtype| {
            let (uniform, weighted) = (encode(dtype, &rows), encode_by(dtype, &rows, 256, &columns));
            format!("{dtype} {:016x} {:016x}", hash(&uniform), hash(&weighted))
        })
        .collect();
    assert_eq!(found.join("\n"), include_str!("../../tests/golden/quant/hashes.txt").trim_end());
}
