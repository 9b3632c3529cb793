//! Against MLX's vectors (`tests/golden/make_mlx_golden.py`), and the properties that callers rely on.

use serde_json::Value;

use super::{Affine, Components, ComponentsMut, Decode, Encode, Float, MlxError, Mode, Sizes, dequantize_rows, quantize_rows};
use crate::model::DType;
use crate::quant::dispatch::{run_fastest, run_portable};

const VECTORS: &[u8] = include_bytes!("../../../tests/golden/quant/mlx.bin");
const INDEX: &str = include_str!("../../../tests/golden/quant/mlx.json");
const ROW_LEN: usize = 128;

/// Components that own their bytes.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Matrix {
    weight: Vec<u8>,
    scales: Vec<u8>,
    biases: Vec<u8>,
}

impl Matrix {
    /// Components full of 0xa5, so that a byte that encoding leaves out shows.
    fn blank(mode: Mode, float: Float, n_weights: usize) -> Self {
        let Sizes { weight, scales, biases } = mode.sizes(float, n_weights as u64).unwrap();
        let bytes = |n_bytes| vec![0xa5; usize::try_from(n_bytes).unwrap()];
        Self { weight: bytes(weight), scales: bytes(scales), biases: bytes(biases) }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.weight, &self.scales, &self.biases]
    }

    fn view(&self) -> Components<'_> {
        Components { weight: &self.weight, scales: &self.scales, biases: &self.biases }
    }

    fn view_mut(&mut self) -> ComponentsMut<'_> {
        ComponentsMut { weight: &mut self.weight, scales: &mut self.scales, biases: &mut self.biases }
    }
}

fn try_encode(mode: Mode, float: Float, weights: &[f32], row_len: usize) -> Result<Matrix, MlxError> {
    let mut matrix = Matrix::blank(mode, float, weights.len());
    quantize_rows(mode, float, weights, row_len, matrix.view_mut())?;
    Ok(matrix)
}

fn encode(mode: Mode, float: Float, weights: &[f32]) -> Matrix {
    try_encode(mode, float, weights, ROW_LEN).unwrap()
}

fn decode(mode: Mode, stored: Float, computed: Float, matrix: &Matrix, n_weights: usize) -> Vec<f32> {
    let mut weights = vec![7.0; n_weights];
    dequantize_rows(mode, stored, computed, matrix.view(), &mut weights).unwrap();
    weights
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

fn mode(entry: &Value) -> Mode {
    let size = |key: &str| u8::try_from(number(&entry[key])).unwrap();
    let found = match entry["mode"].as_str().unwrap() {
        "affine" => Mode::Affine(Affine::new(size("bits"), size("group")).unwrap()),
        name => Mode::all().find(|mode| mode.name() == name).unwrap(),
    };
    assert_eq!((found.bits(), found.group_len()), (u64::from(size("bits")), u64::from(size("group"))));
    found
}

/// The odd rows, as numbers of the type.
fn input(wanted: Float) -> Vec<f32> {
    let entry = entries("inputs").into_iter().find(|entry| float(entry) == wanted).unwrap();
    let n_weights = entries("rows").len() * ROW_LEN;
    (0..n_weights).map(|idx| wanted.load(idx, &VECTORS[number(&entry["offset"])..])).collect()
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// Hash of the numbers, every NaN as the same one.
fn hash_of_numbers(numbers: &[f32]) -> String {
    let bytes: Vec<u8> =
        numbers.iter().flat_map(|&number| if number.is_nan() { f32::NAN } else { number }.to_le_bytes()).collect();
    hash(&bytes)
}

#[test]
fn bytes_and_decoded_values_are_those_of_mlx() {
    let (mut n_modes, mut n_whole) = (0, 0);
    for entry in entries("quantized") {
        let (mode, float) = (mode(&entry), float(&entry));
        let weights = &input(float)[..number(&entry["n_rows"]) * ROW_LEN];
        let matrix = encode(mode, float, weights);
        for (idx, offset) in entry["offsets"].as_array().into_iter().flatten().enumerate() {
            let part = matrix.parts()[idx];
            assert_eq!(part, &VECTORS[number(offset)..][..part.len()], "{mode} {float:?}");
            n_whole += 1;
        }
        for (idx, expected) in entry["hashes"].as_array().unwrap().iter().enumerate() {
            assert_eq!(&hash(matrix.parts()[idx]), expected.as_str().unwrap(), "{mode} {float:?}");
        }
        for (computed, expected) in [float, Float::F32].into_iter().zip(entry["decoded"].as_array().unwrap()) {
            let decoded = decode(mode, float, computed, &matrix, weights.len());
            assert_eq!(&hash_of_numbers(&decoded), expected.as_str().unwrap(), "{mode} {float:?} {computed:?}");
        }
        n_modes += 1;
    }
    assert_eq!((n_modes, n_whole), (3 * Mode::all().count(), 2 * (3 + 3 + 2 + 2 + 2)));
}

#[test]
fn any_bytes_decode_as_in_mlx() {
    let any_bytes = |n_bytes: u64, factor: u64| (0..n_bytes).map(|idx| ((idx * factor + 13) >> 3).to_le_bytes()[0]).collect();
    let mut n_modes = 0;
    for entry in entries("decoded") {
        let (mode, stored) = (mode(&entry), float(&entry));
        let sizes = mode.sizes(stored, 4096).unwrap();
        let matrix = Matrix {
            weight: any_bytes(sizes.weight, 1667),
            scales: any_bytes(sizes.scales, 2411),
            biases: any_bytes(sizes.biases, 3137),
        };
        for (computed, expected) in [stored, Float::F32].into_iter().zip(entry["hashes"].as_array().unwrap()) {
            let decoded = decode(mode, stored, computed, &matrix, 4096);
            assert_eq!(&hash_of_numbers(&decoded), expected.as_str().unwrap(), "{mode} {stored:?} {computed:?}");
        }
        n_modes += 1;
    }
    assert_eq!(n_modes, 3 * Mode::all().count());
}

#[test]
fn weights_of_another_type_are_rounded_as_by_astype() {
    for entry in entries("cast") {
        let bits = |idx: usize| u32::try_from(entry[idx].as_u64().unwrap()).unwrap();
        let weight = f32::from_bits(bits(0));
        let f16 = half::f16::from_bits(u16::try_from(bits(1)).unwrap()).to_f32();
        let bf16 = f32::from_bits(bits(2) << 16);
        for (float, dtype, expected) in [(Float::F16, DType::F16, f16), (Float::BF16, DType::BF16, bf16)] {
            // Enough of them for a whole register and a rest.
            let mut rounded = [weight; 11];
            float.round_all(&mut rounded);
            assert_eq!(rounded.map(f32::to_bits), [expected.to_bits(); 11], "{weight:e} {dtype}");
            // Tensors that stay unquantized have the same bytes, except that weights that would become infinite are refused.
            let mut bytes = [0; 2];
            let kept = crate::quant::quantize_rows(dtype, &[weight], 1, &mut bytes);
            assert_eq!(kept.is_ok(), expected.is_finite(), "{weight:e} {dtype}");
            if kept.is_ok() {
                assert_eq!(float.load(0, &bytes).to_bits(), expected.to_bits(), "{weight:e} {dtype}");
            }
        }
        let mut same = [weight];
        Float::F32.round_all(&mut same);
        assert_eq!(same[0].to_bits(), bits(0));
    }
}

#[test]
fn groups_too_small_for_a_power_of_two_keep_their_weights() {
    for entry in entries("wrapped") {
        let name = entry["mode"].as_str().unwrap();
        let mode = Mode::all().find(|mode| mode.name() == name).unwrap();
        let weight: f32 = entry["weight"].to_string().parse().unwrap();
        assert!(number(&entry["scale"]) > 200, "MLX's CPU takes the scale for a large one: {entry}");
        let matrix = encode(mode, Float::F32, &[weight; ROW_LEN]);
        assert_eq!(matrix.scales, [0; 4], "{mode}");
        let decoded = decode(mode, Float::F32, Float::F32, &matrix, ROW_LEN);
        assert!(decoded.iter().all(|decoded| (decoded / weight - 1.0).abs() < 0.3), "{mode}: {}", decoded[0]);
    }
}

#[test]
fn weights_without_a_value_are_refused() {
    for mode in Mode::all() {
        for float in Float::ALL {
            for (weight, value) in
                [(f32::NAN, "NaN"), (-f32::NAN, "NaN"), (f32::INFINITY, "infinite"), (f32::NEG_INFINITY, "infinite")]
            {
                for position in [0, 127] {
                    let mut weights = vec![0.5; 4 * ROW_LEN];
                    weights[2 * ROW_LEN + position] = weight;
                    weights[3 * ROW_LEN] = f32::NAN;
                    let found = try_encode(mode, float, &weights, ROW_LEN);
                    assert_eq!(found, Err(MlxError::NonFinite { row: 2, value }), "{mode} {float:?}");
                }
            }
        }
    }
}

#[test]
fn weights_beyond_the_modes_range_are_refused() {
    let check = |mode: Mode, pair: [f32; 2], is_held: bool| {
        let mut weights = vec![0.5; 2 * ROW_LEN];
        weights[ROW_LEN + 40..ROW_LEN + 42].copy_from_slice(&pair);
        let found = try_encode(mode, Float::F32, &weights, ROW_LEN);
        assert_eq!(found.err(), (!is_held).then_some(MlxError::OutOfRange { row: 1, mode }), "{mode} {pair:?}");
    };
    for mode in Affine::all().map(Mode::Affine) {
        check(mode, [f32::MAX, 0.0], true);
        check(mode, [f32::MIN, f32::MIN], true);
        check(mode, [f32::MAX, -1e38], false);
    }
    for mode in [Mode::Mxfp4, Mode::Mxfp8] {
        check(mode, [f32::MAX, f32::MIN], true);
    }
    check(Mode::Nvfp4, [2688.0, -2688.0], true);
    check(Mode::Nvfp4, [0.0, 2688.0_f32.next_up()], false);
    check(Mode::Nvfp4, [-3e38, 0.0], false);
}

#[test]
fn all_paths_give_the_same_bits() {
    for mode in Mode::all() {
        for float in Float::ALL {
            let weights = input(float);
            let (mut fastest, mut portable) =
                (Matrix::blank(mode, float, weights.len()), Matrix::blank(mode, float, weights.len()));
            let src = &weights[..];
            run_fastest(Encode { mode, float, src, row_len: ROW_LEN, out: fastest.view_mut() }).unwrap();
            run_portable(Encode { mode, float, src, row_len: ROW_LEN, out: portable.view_mut() }).unwrap();
            assert!(fastest == portable, "{mode} {float:?}");
            let (mut ours, mut portable) = (vec![0.0; src.len()], vec![0.0; src.len()]);
            run_fastest(Decode { mode, stored: float, computed: float, src: fastest.view(), dst: &mut ours });
            run_portable(Decode { mode, stored: float, computed: float, src: fastest.view(), dst: &mut portable });
            assert_eq!(hash_of_numbers(&ours), hash_of_numbers(&portable), "{mode} {float:?}");
        }
    }
}

#[test]
fn groups_depend_on_their_weights_alone() {
    let weights = input(Float::BF16);
    for mode in Mode::all() {
        let together = encode(mode, Float::BF16, &weights);
        let as_one_row = try_encode(mode, Float::BF16, &weights, weights.len()).unwrap();
        assert!(together == as_one_row, "{mode}");
        // A row of three groups is not a multiple of what is encoded together.
        let short_row = 3 * usize::try_from(mode.group_len()).unwrap();
        let n_rows = weights.len() / short_row;
        let short = try_encode(mode, Float::BF16, &weights[..n_rows * short_row], short_row).unwrap();
        for (part, whole) in short.parts().into_iter().zip(together.parts()) {
            assert!(part == &whole[..part.len()], "{mode}");
        }
    }
}

#[test]
fn components_may_lie_at_any_address() {
    let weights = input(Float::F16);
    for mode in Mode::all() {
        let expected = encode(mode, Float::F16, &weights);
        let mut shifted = Matrix::blank(mode, Float::F16, weights.len());
        let parts = [&mut shifted.weight, &mut shifted.scales, &mut shifted.biases];
        let [weight, scales, biases] = parts.map(|part| {
            part.insert(0, 0);
            &mut part[1..]
        });
        quantize_rows(mode, Float::F16, &weights, ROW_LEN, ComponentsMut { weight, scales, biases }).unwrap();
        let parts = [&shifted.weight[1..], &shifted.scales[1..], &shifted.biases[1..]];
        assert!(parts == expected.parts(), "{mode}");
        let [weight, scales, biases] = parts;
        let mut decoded = vec![0.0; weights.len()];
        dequantize_rows(mode, Float::F16, Float::F16, Components { weight, scales, biases }, &mut decoded).unwrap();
        assert!(decoded == decode(mode, Float::F16, Float::F16, &expected, weights.len()), "{mode}");
    }
}

#[test]
fn affine_groups_keep_zero_and_the_weight_farthest_from_it() {
    let weights = [[0.75, -0.25, 0.0, 0.5], [-0.75, 0.25, 0.0, -0.5]].map(|pattern| pattern.repeat(32)).concat();
    for affine in Affine::all() {
        let mode = Mode::Affine(affine);
        let decoded = decode(mode, Float::F32, Float::F32, &encode(mode, Float::F32, &weights), weights.len());
        for (weight, decoded) in weights.iter().zip(&decoded) {
            let is_kept = weight.abs() == 0.75;
            let is_zero = *weight == 0.0;
            assert!(!is_kept || weight == decoded, "{mode}: {weight} became {decoded}");
            assert!(!is_zero || decoded.abs() < 1e-6, "{mode}: {weight} became {decoded}");
            assert!((weight - decoded).abs() <= 0.5, "{mode}: {weight} became {decoded}");
        }
    }
}

#[test]
fn sizes_are_exact() {
    let affine = |bits, group_len| Mode::Affine(Affine::new(bits, group_len).unwrap());
    let check = |mode: Mode, float: Float, n_weights: u64, expected: Option<[u64; 3]>, bits_per_weight: f64| {
        let sizes = mode.sizes(float, n_weights).map(|sizes| [sizes.weight, sizes.scales, sizes.biases]);
        assert_eq!(sizes, expected, "{mode} {float:?}");
        assert_eq!(mode.bits_per_weight(float), bits_per_weight, "{mode} {float:?}");
    };
    check(affine(4, 64), Float::BF16, 576 * 49152, Some([14_155_776, 884_736, 884_736]), 4.5);
    check(affine(4, 64), Float::F32, 64, Some([32, 4, 4]), 5.0);
    check(affine(3, 32), Float::F16, 96, Some([36, 6, 6]), 4.0);
    check(affine(2, 128), Float::F16, 128, Some([32, 2, 2]), 2.25);
    check(affine(5, 128), Float::BF16, 128, Some([80, 2, 2]), 5.25);
    check(affine(6, 64), Float::BF16, 128, Some([96, 4, 4]), 6.5);
    check(affine(8, 64), Float::BF16, 64, Some([64, 2, 2]), 8.5);
    check(Mode::Mxfp4, Float::F32, 64, Some([32, 2, 0]), 4.25);
    check(Mode::Mxfp8, Float::BF16, 64, Some([64, 2, 0]), 8.25);
    check(Mode::Nvfp4, Float::BF16, 48, Some([24, 3, 0]), 4.5);
    check(affine(4, 64), Float::BF16, 0, Some([0, 0, 0]), 4.5);
    check(affine(4, 64), Float::BF16, 96, None, 4.5);
    check(Mode::Nvfp4, Float::BF16, 40, None, 4.5);
    assert_eq!(affine(4, 64).sizes(Float::BF16, 64).unwrap().total(), 36);
    assert_eq!(Affine::all().count(), 18);
    for (bits, group_len) in [(1, 64), (7, 64), (9, 64), (4, 16), (4, 0), (0, 32)] {
        assert_eq!(Affine::new(bits, group_len), None, "{bits} {group_len}");
    }
    assert_eq!(affine(4, 64).to_string(), "4-bit-g64");
    assert_eq!(Mode::Nvfp4.to_string(), "nvfp4");
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let mode = Mode::Affine(Affine::new(4, 64).unwrap());
    let check = |n_weights: usize, row_len: usize, sizes: [usize; 3], expected: Result<(), MlxError>| {
        let [mut weight, mut scales, mut biases] = sizes.map(|n_bytes| vec![0; n_bytes]);
        let out = ComponentsMut { weight: &mut weight, scales: &mut scales, biases: &mut biases };
        assert_eq!(quantize_rows(mode, Float::BF16, &vec![0.5; n_weights], row_len, out), expected);
    };
    let row_error = |n_weights, row_len| Err(MlxError::RowLength { mode, n_weights, row_len });
    let length_error =
        |component, expected_bytes, n_bytes| Err(MlxError::Length { mode, component, n_weights: 128, expected_bytes, n_bytes });
    check(128, 64, [64, 4, 4], Ok(()));
    check(128, 128, [64, 4, 4], Ok(()));
    check(128, 32, [64, 4, 4], row_error(128, 32));
    check(128, 0, [64, 4, 4], row_error(128, 0));
    check(192, 128, [96, 6, 6], row_error(192, 128));
    check(128, 64, [63, 4, 4], length_error("weight", 64, 63));
    check(128, 64, [64, 8, 4], length_error("scales", 4, 8));
    check(128, 64, [64, 4, 0], length_error("biases", 4, 0));
    check(0, 0, [0, 0, 0], Ok(()));
    check(0, 64, [0, 0, 0], Ok(()));

    let check = |mode: Mode, sizes: [usize; 3], n_weights: usize, expected: Result<(), MlxError>| {
        let [weight, scales, biases] = sizes.map(|n_bytes| vec![0; n_bytes]);
        let src = Components { weight: &weight, scales: &scales, biases: &biases };
        assert_eq!(dequantize_rows(mode, Float::BF16, Float::F32, src, &mut vec![0.0; n_weights]), expected);
    };
    check(mode, [64, 4, 4], 128, Ok(()));
    check(mode, [0, 0, 0], 0, Ok(()));
    check(mode, [64, 4, 2], 128, length_error("biases", 4, 2));
    check(mode, [48, 4, 4], 96, row_error(96, 96));
    let biased = MlxError::Length { mode: Mode::Mxfp4, component: "biases", n_weights: 32, expected_bytes: 0, n_bytes: 2 };
    check(Mode::Mxfp4, [16, 1, 2], 32, Err(biased));
    assert_eq!(biased.to_string(), "biases of 32 weights in mxfp4 take 0 bytes, found 2");
}
