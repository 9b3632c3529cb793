//! Against the vectors of ONNX Runtime (`tests/golden/onnx/make_nbits_golden.py`), and the properties that callers rely on.

use serde_json::Value;

use super::{Components, ComponentsMut, Method, NBits, NBitsError, Sizes, dequantize_rows, quantize_rows, rows};
use crate::model::DType;
use crate::quant::dispatch::{run_fastest, run_portable};
use crate::quant::float::Float;

const VECTORS: &[u8] = include_bytes!("../../../tests/golden/onnx/nbits.bin");
const INDEX: &str = include_str!("../../../tests/golden/onnx/nbits.json");
const ROW_LEN: usize = 128;
const METHODS: [Method; 2] = [Method::Plain, Method::Searched];

/// Components that own their bytes.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(in crate::quant) struct Matrix {
    codes: Vec<u8>,
    scales: Vec<u8>,
    zero_points: Vec<u8>,
}

impl Matrix {
    /// Components full of 0xa5, so that a byte that encoding leaves out shows.
    pub(in crate::quant) fn blank(nbits: NBits, float: Float, n_weights: usize, row_len: usize) -> Self {
        let Sizes { codes, scales, zero_points } = nbits.sizes(float, row_len as u64, n_weights as u64).unwrap();
        let bytes = |n_bytes| vec![0xa5; usize::try_from(n_bytes).unwrap()];
        Self { codes: bytes(codes), scales: bytes(scales), zero_points: bytes(zero_points) }
    }

    pub(in crate::quant) fn parts(&self) -> [&[u8]; 3] {
        [&self.codes, &self.scales, &self.zero_points]
    }

    pub(in crate::quant) fn view(&self) -> Components<'_> {
        Components { codes: &self.codes, scales: &self.scales, zero_points: &self.zero_points }
    }

    pub(in crate::quant) fn view_mut(&mut self) -> ComponentsMut<'_> {
        ComponentsMut { codes: &mut self.codes, scales: &mut self.scales, zero_points: &mut self.zero_points }
    }
}

/// What encoding is about but the weights.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    nbits: NBits,
    method: Method,
    float: Float,
    row_len: usize,
    importances: Option<&'a [f32]>,
}

impl Way<'_> {
    fn try_encode(self, weights: &[f32]) -> Result<Matrix, NBitsError> {
        let Self { nbits, method, float, row_len, importances } = self;
        let mut matrix = Matrix::blank(nbits, float, weights.len(), row_len);
        quantize_rows(nbits, method, float, weights, row_len, importances, matrix.view_mut())?;
        Ok(matrix)
    }

    fn encode(self, weights: &[f32]) -> Matrix {
        self.try_encode(weights).unwrap()
    }

    fn decode(self, matrix: &Matrix, n_weights: usize) -> Vec<f32> {
        let mut weights = vec![7.0; n_weights];
        dequantize_rows(self.nbits, self.float, matrix.view(), self.row_len, &mut weights).unwrap();
        weights
    }

    fn round_trip(self, weights: &[f32]) -> Vec<f32> {
        self.decode(&self.encode(weights), weights.len())
    }
}

/// Every kind with every method, in rows that are whole blocks.
fn ways(float: Float) -> impl Iterator<Item = Way<'static>> {
    let of = move |nbits| METHODS.map(|method| Way { nbits, method, float, row_len: ROW_LEN, importances: None });
    NBits::all().flat_map(of)
}

fn symmetric(bits: u8, block_len: u8) -> NBits {
    NBits::symmetric(bits, block_len).unwrap()
}

fn with_zero_points(bits: u8, block_len: u8) -> NBits {
    NBits::with_zero_points(bits, block_len).unwrap()
}

fn entries(part: &str) -> Vec<Value> {
    let index: Value = serde_json::from_str(INDEX).unwrap();
    index[part].as_array().unwrap().clone()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn float(entry: &Value) -> Float {
    Float::from_dtype(DType::from_name(entry["float"].as_str().unwrap()).unwrap()).unwrap()
}

/// The first `row_len` weights of each odd row, as numbers of the type.
fn input(wanted: Float, row_len: usize) -> Vec<f32> {
    if wanted == Float::BF16 {
        let mut weights = input(Float::F32, row_len);
        wanted.round_all(&mut weights);
        return weights;
    }
    let entry = entries("inputs").into_iter().find(|entry| float(entry) == wanted).unwrap();
    let weights = (0..entries("rows").len() * ROW_LEN).map(|idx| wanted.load(idx, &VECTORS[number(&entry["offset"])..]));
    weights.collect::<Vec<_>>().chunks(ROW_LEN).flat_map(|row| &row[..row_len]).copied().collect()
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

fn hash_of_numbers(numbers: &[f32]) -> String {
    hash(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
}

/// A bell curve with longer tails.
fn model_like(n_weights: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut normal = || (0..12).map(|_| random.f32()).sum::<f32>() - 6.0;
    (0..n_weights).map(|_| 0.02 * normal() * (0.3 * normal()).exp()).collect()
}

/// `Σ v (ŵ - w)²` over `Σ v w²`, with one `v` for each column.
fn relative_error(weights: &[f32], decoded: &[f32], columns: &[f32]) -> f64 {
    let numbers = weights.iter().zip(decoded).zip(columns.iter().cycle());
    let (mut error, mut energy) = (0.0, 0.0);
    for ((weight, decoded), column) in numbers {
        let [weight, decoded, column] = [weight, decoded, column].map(|number| f64::from(*number));
        error += column * (decoded - weight).powi(2);
        energy += column * weight.powi(2);
    }
    error / energy
}

#[test]
fn plain_bytes_and_decoded_values_are_those_of_onnx_runtime() {
    let (mut n_kinds, mut n_whole) = (0, 0);
    for entry in entries("quantized") {
        let [bits, block_len] = ["bits", "block_len"].map(|key| u8::try_from(number(&entry[key])).unwrap());
        let make = if entry["points"].as_bool().unwrap() { NBits::with_zero_points } else { NBits::symmetric };
        let (nbits, row_len) = (make(bits, block_len).unwrap(), number(&entry["row_len"]));
        let way = Way { nbits, method: Method::Plain, float: float(&entry), row_len, importances: None };
        let weights = input(way.float, row_len);
        let matrix = way.encode(&weights);
        for (idx, offset) in entry["offsets"].as_array().into_iter().flatten().enumerate() {
            let part = matrix.parts()[idx];
            assert_eq!(part, &VECTORS[number(offset)..][..part.len()], "{way:?}, component {idx}");
            n_whole += 1;
        }
        for (idx, expected) in entry["hashes"].as_array().unwrap().iter().enumerate() {
            assert_eq!(&hash(matrix.parts()[idx]), expected.as_str().unwrap(), "{way:?}, component {idx}");
        }
        assert_eq!(hash_of_numbers(&way.decode(&matrix, weights.len())), entry["decoded"].as_str().unwrap(), "{way:?}");
        n_kinds += 1;
    }
    assert_eq!((n_kinds, n_whole), (2 * 4 * NBits::all().count(), 2 + 3 + 3));
}

#[test]
fn no_block_is_worse_than_the_plain_one() {
    let mut random = fastrand::Rng::with_seed(11);
    let columns: Vec<f32> = (0..ROW_LEN).map(|_| (6.0 * random.f32()).exp()).collect();
    for float in Float::ALL {
        let mut weights = input(float, ROW_LEN);
        weights.extend(model_like(32 * ROW_LEN));
        for nbits in NBits::all() {
            for importances in [None, Some(columns.as_slice())] {
                let [plain, searched] =
                    METHODS.map(|method| Way { nbits, method, float, row_len: ROW_LEN, importances }.round_trip(&weights));
                let block_len = usize::try_from(nbits.block_len()).unwrap();
                for (idx, weights) in weights.chunks(block_len).enumerate() {
                    let place = idx * block_len..(idx + 1) * block_len;
                    let v: Vec<f32> = importances.map_or(vec![1.0; block_len], |columns| {
                        let start = place.start % ROW_LEN;
                        columns[start..start + block_len].to_vec()
                    });
                    let error = |decoded: &[f32]| relative_error(weights, &decoded[place.clone()], &v);
                    let (plain, searched) = (error(&plain), error(&searched));
                    // Sums are rounded, and a millionth of the importance is spread evenly.
                    let is_fine = searched <= plain * (1.0 + 1e-4) + 1e-12 || plain.is_nan() && searched.is_nan();
                    assert!(is_fine, "{nbits} {float:?}, block {idx}: {searched:e}, plainly {plain:e}");
                }
            }
        }
    }
}

/// Relative squared errors of `model_like` weights with F32 scales: plain, searched; measured on 2026-12-01, and a percent
/// added.
const ERRORS: [(u8, u8, bool, f64, f64); 8] = [
    (4, 32, false, 0.009_43, 0.008_49),
    (4, 64, false, 0.012_37, 0.011_08),
    (4, 128, false, 0.015_65, 0.013_52),
    (4, 32, true, 0.007_69, 0.006_98),
    (4, 64, true, 0.010_50, 0.009_63),
    (4, 128, true, 0.013_71, 0.012_25),
    (8, 32, false, 3.61e-5, 3.17e-5),
    (8, 32, true, 2.66e-5, 2.16e-5),
];

#[test]
fn errors_are_what_was_measured() {
    let weights = model_like(1024 * ROW_LEN);
    let mut misses = Vec::new();
    for (bits, block_len, points, plain, searched) in ERRORS {
        let nbits = if points { with_zero_points(bits, block_len) } else { symmetric(bits, block_len) };
        let found = METHODS.map(|method| {
            let way = Way { nbits, method, float: Float::F32, row_len: ROW_LEN, importances: None };
            relative_error(&weights, &way.round_trip(&weights), &[1.0])
        });
        if found[0] > plain || found[1] > searched {
            misses.push(format!("{nbits}: plain {:.7}, searched {:.7}", found[0], found[1]));
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn importances_lower_the_weighted_error() {
    let weights = model_like(64 * ROW_LEN);
    let mut random = fastrand::Rng::with_seed(12);
    let columns: Vec<f32> = (0..ROW_LEN).map(|_| (7.0 * random.f32()).exp()).collect();
    for nbits in NBits::all() {
        let error = |importances| {
            let way = Way { nbits, method: Method::Searched, float: Float::F32, row_len: ROW_LEN, importances };
            relative_error(&weights, &way.round_trip(&weights), &columns)
        };
        let (with, without) = (error(Some(columns.as_slice())), error(None));
        assert!(with < 0.96 * without, "{nbits}: {with:e}, without importances {without:e}");
    }
    let zeros = vec![0.0; ROW_LEN];
    let way =
        Way { nbits: with_zero_points(4, 32), method: Method::Searched, float: Float::F32, row_len: ROW_LEN, importances: None };
    assert!(way.encode(&weights) == Way { importances: Some(zeros.as_slice()), ..way }.encode(&weights));
}

#[test]
fn zeros_stay_zeros_and_a_single_weight_keeps_its_value() {
    let mut weights = vec![0.0; 4 * ROW_LEN];
    weights[ROW_LEN + 17] = 0.625;
    weights[2 * ROW_LEN + 3] = -0.625;
    for float in Float::ALL {
        for way in ways(float) {
            let decoded = way.round_trip(&weights);
            for (idx, (decoded, weight)) in decoded.iter().zip(&weights).enumerate() {
                let reach = if *weight == 0.0 { 0.0 } else { 2e-3 };
                assert!((decoded - weight).abs() <= reach, "{way:?}, weight {idx}: {decoded}");
            }
        }
    }
}

#[test]
fn rows_that_are_not_whole_blocks_are_those_with_zeros_behind() {
    for row_len in [1, 15, 16, 37, 100, 129] {
        let weights = model_like(5 * row_len);
        for nbits in NBits::all() {
            let n_blocks = usize::try_from(nbits.n_blocks(row_len as u64)).unwrap();
            let wide = n_blocks * usize::try_from(nbits.block_len()).unwrap();
            let filled: Vec<f32> =
                weights.chunks(row_len).flat_map(|row| row.iter().copied().chain(vec![0.0; wide - row_len])).collect();
            for method in METHODS {
                let way = Way { nbits, method, float: Float::F32, row_len, importances: None };
                let (short, long) = (way.encode(&weights), Way { row_len: wide, ..way }.encode(&filled));
                assert!(short.scales == long.scales && short.zero_points == long.zero_points, "{way:?}");
                let of_long = Way { row_len: wide, ..way }.decode(&long, filled.len());
                let expected: Vec<f32> = of_long.chunks(wide).flat_map(|row| &row[..row_len]).copied().collect();
                assert!(way.decode(&short, weights.len()) == expected, "{way:?}");
                // Codes behind the end are zeros.
                let block_bytes = usize::try_from(nbits.block_bytes()).unwrap();
                let used = (row_len * usize::try_from(nbits.bits()).unwrap()).div_ceil(8);
                for row in short.codes.chunks(n_blocks * block_bytes) {
                    assert!(row[used..].iter().all(|&byte| byte == 0), "{way:?}");
                    assert!(nbits.bits() == 8 || row_len % 2 == 0 || row[used - 1] < 16, "{way:?}");
                }
            }
        }
    }
}

#[test]
fn weights_without_a_value_are_refused() {
    for way in ways(Float::F16) {
        for (weight, value) in
            [(f32::NAN, "NaN"), (-f32::NAN, "NaN"), (f32::INFINITY, "infinite"), (f32::NEG_INFINITY, "infinite")]
        {
            for position in [0, 127] {
                let mut weights = vec![0.5; 4 * ROW_LEN];
                weights[2 * ROW_LEN + position] = weight;
                weights[3 * ROW_LEN] = f32::NAN;
                assert_eq!(way.try_encode(&weights), Err(NBitsError::NonFinite { row: 2, value }), "{way:?}");
            }
        }
    }
}

#[test]
fn weights_beyond_the_reach_of_a_scale_are_refused() {
    let check = |nbits: NBits, float: Float, pair: [f32; 2], is_held: bool| {
        for method in METHODS {
            let mut weights = vec![0.5; 2 * ROW_LEN];
            weights[ROW_LEN + 40..ROW_LEN + 42].copy_from_slice(&pair);
            let way = Way { nbits, method, float, row_len: ROW_LEN, importances: None };
            let expected = (!is_held).then_some(NBitsError::OutOfRange { row: 1, nbits });
            assert_eq!(way.try_encode(&weights).err(), expected, "{way:?} {pair:?}");
        }
    };
    for bits in [4, 8] {
        check(symmetric(bits, 32), Float::F32, [f32::MAX, f32::MIN], true);
        check(with_zero_points(bits, 32), Float::F32, [f32::MAX, 0.0], true);
        check(with_zero_points(bits, 32), Float::F32, [f32::MAX, -1e38], false);
        check(with_zero_points(bits, 32), Float::F16, [65504.0, -65504.0], true);
    }
    check(symmetric(4, 32), Float::F16, [65504.0 * 8.0, 0.0], true);
    check(symmetric(4, 32), Float::F16, [65520.0 * 8.0, 0.0], false);
    check(symmetric(8, 32), Float::F16, [65520.0 * 8.0, 0.0], true);
    check(with_zero_points(4, 32), Float::BF16, [3e38, 0.0], true);
}

#[test]
fn all_paths_give_the_same_bits() {
    for float in Float::ALL {
        let mut weights = input(float, ROW_LEN);
        weights.extend(model_like(8 * ROW_LEN));
        let columns: Vec<f32> = (0..ROW_LEN).map(|idx| if idx % 7 == 0 { 9.0 } else { 0.5 }).collect();
        for Way { nbits, method, float, row_len, .. } in ways(float) {
            let mut fastest = Matrix::blank(nbits, float, weights.len(), row_len);
            let mut portable = fastest.clone();
            let importances = Some(columns.as_slice());
            let src = &weights[..];
            run_fastest(rows::Encode { nbits, method, float, src, row_len, importances, out: fastest.view_mut() }).unwrap();
            run_portable(rows::Encode { nbits, method, float, src, row_len, importances, out: portable.view_mut() }).unwrap();
            assert!(fastest == portable, "{nbits} {method:?} {float:?}");
            let (mut ours, mut others) = (vec![0.0; src.len()], vec![0.0; src.len()]);
            run_fastest(rows::Decode { nbits, float, src: fastest.view(), row_len, dst: &mut ours });
            run_portable(rows::Decode { nbits, float, src: fastest.view(), row_len, dst: &mut others });
            assert_eq!(hash_of_numbers(&ours), hash_of_numbers(&others), "{nbits} {method:?} {float:?}");
        }
    }
}

#[test]
fn blocks_depend_on_their_weights_alone() {
    let weights = model_like(12 * ROW_LEN);
    for way in ways(Float::F16) {
        let together = way.encode(&weights);
        let as_one_row = Way { row_len: weights.len(), ..way }.encode(&weights);
        assert!(together.codes == as_one_row.codes && together.scales == as_one_row.scales, "{way:?}");
        let apart: Vec<Matrix> = weights.chunks(ROW_LEN).map(|row| way.encode(row)).collect();
        for part in 0..3 {
            assert!(
                together.parts()[part] == apart.iter().flat_map(|row| row.parts()[part]).copied().collect::<Vec<_>>(),
                "{way:?}"
            );
        }
    }
}

#[test]
fn components_may_lie_at_any_address() {
    let weights = input(Float::F16, 100);
    for way in ways(Float::F16).map(|way| Way { row_len: 100, ..way }) {
        let expected = way.encode(&weights);
        let mut shifted = Matrix::blank(way.nbits, way.float, weights.len(), 100);
        let [codes, scales, zero_points] = [&mut shifted.codes, &mut shifted.scales, &mut shifted.zero_points].map(|part| {
            part.insert(0, 0);
            &mut part[1..]
        });
        quantize_rows(way.nbits, way.method, way.float, &weights, 100, None, ComponentsMut { codes, scales, zero_points })
            .unwrap();
        let [codes, scales, zero_points] = [&shifted.codes[1..], &shifted.scales[1..], &shifted.zero_points[1..]];
        assert!([codes, scales, zero_points] == expected.parts(), "{way:?}");
        let mut decoded = vec![0.0; weights.len()];
        dequantize_rows(way.nbits, way.float, Components { codes, scales, zero_points }, 100, &mut decoded).unwrap();
        assert!(decoded == way.decode(&expected, weights.len()), "{way:?}");
    }
}

#[test]
fn sizes_are_exact() {
    let check = |nbits: NBits, float: Float, row_len: u64, n_weights: u64, expected: Option<[u64; 3]>| {
        let sizes = nbits.sizes(float, row_len, n_weights).map(|sizes| [sizes.codes, sizes.scales, sizes.zero_points]);
        assert_eq!(sizes, expected, "{nbits} {float:?}, {n_weights} in rows of {row_len}");
    };
    check(symmetric(4, 32), Float::F32, 576, 576 * 49152, Some([14_155_776, 3_538_944, 0]));
    check(with_zero_points(4, 32), Float::F16, 576, 576 * 2, Some([576, 72, 18]));
    check(with_zero_points(4, 64), Float::F32, 576, 576 * 2, Some([576, 72, 10]));
    check(with_zero_points(4, 128), Float::F32, 576, 576 * 3, Some([960, 60, 9]));
    check(with_zero_points(8, 128), Float::F16, 576, 576 * 3, Some([1920, 30, 15]));
    check(symmetric(8, 16), Float::F32, 1, 3, Some([48, 12, 0]));
    // Part of a row.
    check(symmetric(4, 32), Float::F16, 100, 132, Some([80, 10, 0]));
    check(with_zero_points(4, 32), Float::F16, 100, 100 + 64, Some([96, 12, 3]));
    check(with_zero_points(4, 32), Float::F16, 100, 100 + 32, None);
    check(with_zero_points(8, 32), Float::F16, 100, 100 + 32, Some([160, 10, 5]));
    check(symmetric(4, 32), Float::F16, 100, 101, None);
    check(symmetric(4, 32), Float::F16, 100, 0, Some([0, 0, 0]));
    check(symmetric(4, 32), Float::F16, 0, 0, Some([0, 0, 0]));
    check(symmetric(4, 32), Float::F16, 0, 32, None);
    check(symmetric(4, 128), Float::F32, 1, u64::MAX, None);
    for (nbits, float, expected) in [
        (symmetric(4, 32), Float::F32, 5.0),
        (symmetric(4, 32), Float::F16, 4.5),
        (with_zero_points(4, 32), Float::F16, 4.625),
        (with_zero_points(4, 128), Float::F16, 4.156_25),
        (symmetric(8, 64), Float::F32, 8.5),
        (with_zero_points(8, 64), Float::F16, 8.375),
    ] {
        assert_eq!(nbits.bits_per_weight(float), expected, "{nbits}");
    }
    assert_eq!(NBits::all().count(), 16);
    for (bits, block_len) in [(2, 32), (3, 32), (16, 32), (4, 8), (4, 0), (4, 48), (0, 32), (8, 255)] {
        assert_eq!(NBits::symmetric(bits, block_len), None, "{bits} {block_len}");
        assert_eq!(NBits::with_zero_points(bits, block_len), None, "{bits} {block_len}");
    }
    assert_eq!([symmetric(4, 32), with_zero_points(8, 128)].map(|nbits| nbits.to_string()), ["INT4-g32", "UINT8-g128"]);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let nbits = with_zero_points(4, 32);
    let check = |n_weights: usize, row_len: usize, sizes: [usize; 3], expected: Result<(), NBitsError>| {
        let [mut codes, mut scales, mut zero_points] = sizes.map(|n_bytes| vec![0; n_bytes]);
        let out = ComponentsMut { codes: &mut codes, scales: &mut scales, zero_points: &mut zero_points };
        let found = quantize_rows(nbits, Method::Plain, Float::F16, &vec![0.5; n_weights], row_len, None, out);
        assert_eq!(found, expected);
        let src = Components { codes: &codes, scales: &scales, zero_points: &zero_points };
        assert_eq!(dequantize_rows(nbits, Float::F16, src, row_len, &mut vec![0.0; n_weights]), expected);
    };
    let length = |component, expected_bytes, n_bytes| {
        Err(NBitsError::Length { nbits, component, n_weights: 200, expected_bytes, n_bytes })
    };
    check(200, 100, [128, 16, 4], Ok(()));
    check(200, 50, [128, 16, 4], Ok(()));
    check(200, 200, [112, 14, 4], Ok(()));
    check(200, 100, [127, 16, 4], length("codes", 128, 127));
    check(200, 100, [128, 32, 4], length("scales", 16, 32));
    check(200, 100, [128, 16, 0], length("zero points", 4, 0));
    check(200, 0, [128, 16, 4], Err(NBitsError::RowLength { n_weights: 200, row_len: 0 }));
    check(164, 100, [96, 12, 3], Err(NBitsError::RowLength { n_weights: 164, row_len: 100 }));
    check(0, 0, [0, 0, 0], Ok(()));
    check(0, 100, [0, 0, 0], Ok(()));
    let symmetric =
        NBitsError::Length { nbits: symmetric(4, 16), component: "zero points", n_weights: 16, expected_bytes: 0, n_bytes: 1 };
    let src = Components { codes: &[0; 8], scales: &[0; 4], zero_points: &[0] };
    assert_eq!(dequantize_rows(NBits::symmetric(4, 16).unwrap(), Float::F32, src, 16, &mut [0.0; 16]), Err(symmetric));
    assert_eq!(symmetric.to_string(), "zero points of 16 weights in INT4-g16 take 0 bytes, found 1");
    let way = Way { nbits, method: Method::Searched, float: Float::F32, row_len: 64, importances: Some(&[1.0; 63]) };
    assert_eq!(way.try_encode(&[1.0; 64]), Err(NBitsError::Importances { row_len: 64, n_importances: 63 }));
}
