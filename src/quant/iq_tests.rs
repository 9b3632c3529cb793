//! The types without a linear grid against ggml's errors (`tests/golden/make_iq_golden.py`).

use serde_json::Value;

use super::tests::{decode, encode, input};
use super::weighted_tests::{columns, encode_by, weighted_error};
use super::{can_quantize, heeds_importances};
use crate::model::DType;

const GOLDEN: &str = include_str!("../../tests/golden/quant/iq.json");

/// Types that ggml encodes only with an importance matrix: its errors were measured with a matrix of ones, and so are ours.
const NEED_IMPORTANCES: [DType; 3] = [DType::IQ2_XXS, DType::IQ2_XS, DType::IQ1_S];

/// ggml's own importance of a weight without an importance matrix; see `importance` in make_iq_golden.py.
fn importance(dtype: DType, x: &[f32]) -> Vec<f64> {
    let of_super_block = |x: &[f32]| {
        let squares: Vec<f64> = x.iter().map(|&weight| f64::from(weight).powi(2)).collect();
        let mean = squares.iter().sum::<f64>() / 256.0;
        let of_square = |square: f64| match dtype {
            DType::MXFP4 | DType::TQ1_0 | DType::TQ2_0 => 1.0,
            DType::IQ2_XXS | DType::IQ2_XS => (mean + square).sqrt(),
            DType::IQ1_S => (2.0 * mean + square).sqrt(),
            DType::IQ2_S => 0.5 * mean + square,
            _ => square,
        };
        squares.into_iter().map(of_square).collect::<Vec<_>>()
    };
    x.chunks(256).flat_map(of_super_block).collect()
}

/// The largest allowed ratio of our error to ggml's.
///
/// Relative root mean squares may differ by 1e-6, so their squares by twice that. In IQ4_NL two inputs are decided by the fit of one
/// weight in a block, which is a matter of how its scale happens to round, and one trades plain for weighted error; in IQ1_S the
/// scales of the smallest input are subnormal f16, and it gains in weighted what it loses in plain error.
fn allowance(dtype: DType) -> f64 {
    match dtype {
        DType::IQ4_NL => 1.025,
        DType::IQ1_S => 1.015,
        _ => 1.0 + 2e-6,
    }
}

#[test]
fn types_without_a_linear_grid_err_at_most_as_ggmls() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut misses = Vec::new();
    for entry in golden["errors"].as_array().unwrap() {
        let (name, dtype) = (entry["input"].as_str().unwrap(), DType::from_name(entry["dtype"].as_str().unwrap()).unwrap());
        if !can_quantize(dtype) {
            continue;
        }
        assert!(heeds_importances(dtype), "{dtype}");
        let x = input(name);
        let blocks = if NEED_IMPORTANCES.contains(&dtype) { encode_by(dtype, &x, 256, &[1.0; 256]) } else { encode(dtype, &x) };
        let (mut plain, mut weighted) = (0.0, 0.0);
        for ((weight, decoded), importance) in x.iter().zip(decode(dtype, &blocks, x.len())).zip(importance(dtype, &x)) {
            let square = (f64::from(*weight) - f64::from(decoded)).powi(2);
            plain += square;
            weighted += importance * square;
        }
        let columns = columns();
        let by_columns = weighted_error(dtype, &x, &encode_by(dtype, &x, 256, &columns), &columns);
        for (kind, ours) in [("squared_error", plain), ("weighted_error", weighted), ("column_error", by_columns)] {
            let ggmls = entry[kind].as_f64().unwrap();
            if ours > ggmls * allowance(dtype) {
                misses.push(format!("{dtype} {name} {kind}: {:.4} of ggml's {ggmls:e}", ours / ggmls));
            }
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}
