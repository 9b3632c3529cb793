use super::*;
use crate::quant::feedback::{DEFAULT_DAMPING, DEFAULT_SWEEPS, Factors, encode_nbits, output_error};

/// Numbers like those of a trained matrix: most are small, a few in a hundred are large.
fn weights(n: usize) -> Vec<f32> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap()) / 32768.0 - 1.0
    };
    (0..n).map(|idx| (next() + next() + next()) * if idx % 37 == 0 { 0.1 } else { 0.02 }).collect()
}

fn encoded(n_bits: NBits, weights: &[f32], row_len: usize, importances: Option<&[f32]>) -> (Vec<u8>, Vec<u8>) {
    let sizes = n_bits.sizes(weights.len() as u64, row_len as u64).unwrap();
    let [mut codes, mut scales] = sizes.map(|size| vec![0; usize::try_from(size).unwrap()]);
    n_bits.quantize_rows(weights, row_len, importances, &mut codes, &mut scales).unwrap();
    (codes, scales)
}

fn decoded(n_bits: NBits, (codes, scales): &(Vec<u8>, Vec<u8>), row_len: usize, n: usize) -> Vec<f32> {
    let mut weights = vec![f32::NAN; n];
    assert!(n_bits.dequantize_rows(codes, scales, row_len, &mut weights));
    weights
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[test]
fn sizes_count_the_last_block_of_a_row_as_whole() {
    let check = |bits, len, n_weights, row_len, expected: Option<[u64; 2]>| {
        assert_eq!(NBits::new(bits, len).unwrap().sizes(n_weights, row_len), expected);
    };
    check(4, 32, 64, 64, Some([32, 8]));
    check(4, 32, 66, 33, Some([64, 16]));
    check(8, 128, 576, 576, Some([640, 20]));
    check(8, 16, 48, 16, Some([48, 12]));
    check(4, 32, 65, 33, None);
    check(4, 32, 0, 0, None);
    assert_eq!((NBits::new(4, 24), NBits::new(5, 32), NBits::all().count()), (None, None, 8));
}

#[test]
fn plain_bytes_are_those_of_onnx_runtime() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../../../tests/golden/onnx/nbits.json")).unwrap();
    let bytes = |value: &serde_json::Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let weights: Vec<f32> = bytes(&golden["weights"]).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let row_len = usize::try_from(golden["row_len"].as_u64().unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), NBits::all().count());
    for (case, n_bits) in cases.iter().zip(NBits::all()) {
        let named = (case["bits"].as_u64().unwrap(), case["block_len"].as_u64().unwrap());
        assert_eq!(named, (n_bits.bits().into(), n_bits.block_len().into()));
        let (codes, scales) = encoded(n_bits.with_scales(Scales::Extreme), &weights, row_len, None);
        assert_eq!(scales, bytes(&case["scales"]), "{n_bits}");
        assert_eq!(codes, bytes(&case["codes"]), "{n_bits}");
    }
}

#[test]
fn a_searched_block_is_never_worse_than_a_plain_one() {
    for n_bits in NBits::all() {
        for row_len in [256, 200] {
            let weights = weights(40 * row_len);
            let plain = n_bits.with_scales(Scales::Extreme);
            let error = |n_bits: NBits| {
                squared_error(&weights, &decoded(n_bits, &encoded(n_bits, &weights, row_len, None), row_len, weights.len()))
            };
            let (plain, searched) = (error(plain), error(n_bits));
            // Large weights count more in the search, but the sum of plain errors falls all the same.
            let limit = if n_bits.bits() == 4 { 0.97 } else { 1.0 };
            assert!(searched < limit * plain, "{n_bits} {row_len}: {searched} {plain}");
        }
    }
}

#[test]
fn importances_move_errors_to_other_columns() {
    let n_bits = NBits::new(4, 32).unwrap();
    let weights = weights(64 * 64);
    let importances: Vec<f32> = (0..64_u8).map(|column| if column % 8 == 0 { 50.0 } else { 1.0 }).collect();
    let error = |importances: Option<&[f32]>| {
        let found = decoded(n_bits, &encoded(n_bits, &weights, 64, importances), 64, weights.len());
        let important = |numbers: &[f32]| numbers.iter().copied().step_by(8).collect::<Vec<f32>>();
        squared_error(&important(&weights), &important(&found))
    };
    assert!(error(Some(&importances)) < 0.8 * error(None));
}

#[test]
fn zeros_and_extremes_are_kept() {
    for n_bits in NBits::all() {
        for scales in [Scales::Extreme, Scales::Searched] {
            let n_bits = n_bits.with_scales(scales);
            let mut weights = vec![0.0; 3 * 150];
            assert!(decoded(n_bits, &encoded(n_bits, &weights, 150, None), 150, 450).iter().all(|weight| *weight == 0.0));
            weights[7] = -3.5;
            weights[300] = 1e-30;
            let found = decoded(n_bits, &encoded(n_bits, &weights, 150, None), 150, 450);
            for (weight, found) in weights.iter().zip(&found) {
                assert!((weight - found).abs() <= 1e-6 * weight.abs(), "{n_bits} {weight} {found}");
            }
        }
    }
}

#[test]
fn what_is_no_number_is_told_with_its_row() {
    let n_bits = NBits::new(4, 32).unwrap();
    for (value, expected) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "infinite")] {
        let mut weights = weights(3 * 32);
        weights[40] = value;
        let (mut codes, mut scales) = (vec![9; 48], vec![9; 12]);
        let error = n_bits.quantize_rows(&weights, 32, None, &mut codes, &mut scales).unwrap_err();
        assert_eq!(error, NBitsError::NonFinite { row: 1, value: expected });
        assert!(codes.iter().chain(&scales).all(|byte| *byte == 9));
    }
    let error = n_bits.quantize_rows(&[0.0; 32], 32, Some(&[1.0; 31]), &mut [0; 16], &mut [0; 4]).unwrap_err();
    assert!(matches!(error, NBitsError::Length { row_len: 32, .. }));
}

#[test]
fn feedback_lowers_the_error_of_outputs() {
    const N: usize = 256;
    let weights = weights(64 * N);
    // Inputs that go together: moments of a smooth process.
    let mut moments = vec![0.0; N * N];
    for (row, moments) in moments.chunks_exact_mut(N).enumerate() {
        for (column, moment) in moments.iter_mut().enumerate() {
            *moment = 0.9_f32.powi(i32::try_from(row.abs_diff(column)).unwrap());
        }
    }
    let factors = Factors::new(&moments, N, DEFAULT_DAMPING).unwrap();
    for n_bits in NBits::all() {
        let plain = encoded(n_bits, &weights, N, Some(factors.importances()));
        let (mut codes, mut scales) = (vec![0; plain.0.len()], vec![0; plain.1.len()]);
        assert!(encode_nbits(n_bits, &weights, &factors, DEFAULT_SWEEPS, &mut codes, &mut scales));
        let error = |parts: &(Vec<u8>, Vec<u8>)| output_error(&weights, &decoded(n_bits, parts, N, weights.len()), &moments, N);
        let (plain, fed_back) = (error(&plain), error(&(codes, scales)));
        assert!(fed_back < 0.5 * plain, "{n_bits}: {fed_back} {plain}");
    }
    // Rows that are not whole blocks have none.
    let n_bits = NBits::new(4, 128).unwrap();
    let factors = Factors::new(&moments[..192 * 192], 192, DEFAULT_DAMPING);
    if let Ok(factors) = factors {
        assert!(!encode_nbits(n_bits, &weights[..192], &factors, 1, &mut [0; 128], &mut [0; 8]));
    }
}
