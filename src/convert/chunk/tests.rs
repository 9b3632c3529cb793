use std::sync::Arc;

use super::*;
use crate::quant::Float;
use crate::quant::feedback::{DEFAULT_DAMPING, Factors};
use crate::quant::nbits::{Method, NBits};

fn nbits(nbits: Option<NBits>) -> Coding {
    Coding::NBits { nbits: nbits.unwrap(), method: Method::Searched, float: Float::F16 }
}

fn tensor(dtype: DType, shape: &[u64]) -> Tensor {
    Tensor { name: "t".into(), dtype, shape: shape.into(), file_idx: 0, offset: 0, size_bytes: 0 }
}

#[test]
fn chunks_are_whole_rows_or_whole_blocks_of_a_long_row() {
    const C: u64 = CHUNK_WEIGHTS;
    let check = |shape: &[u64], expected: &[(u64, u64, u64)]| {
        let found: Vec<_> = chunks(&tensor(DType::F32, shape)).map(|c| (c.first_weight, c.n_weights, c.row_len)).collect();
        assert_eq!(found, expected, "{shape:?}");
    };
    check(&[], &[(0, 1, 1)]);
    check(&[576], &[(0, 576, 576)]);
    check(&[576, 3], &[(0, 3 * 576, 576)]);
    check(&[C / 2, 3], &[(0, C, C / 2), (C, C / 2, C / 2)]);
    check(&[C / 2 + 256, 2], &[(0, C / 2 + 256, C / 2 + 256), (C / 2 + 256, C / 2 + 256, C / 2 + 256)]);
    check(&[256, C / 256, 2], &[(0, C, 256), (C, C, 256)]);
    check(&[C + 256, 2], &[(0, C, C), (C, 256, 256), (C + 256, C, C), (2 * C + 256, 256, 256)]);
    check(&[1, 2 * C + 1], &[(0, C, 1), (C, C, 1), (2 * C, 1, 1)]);
    check(&[0, 5], &[]);
}

#[test]
fn chunks_follow_each_other_in_every_component() {
    const C: u64 = CHUNK_WEIGHTS;
    for coding in [nbits(NBits::with_zero_points(4, 32)), nbits(NBits::symmetric(8, 128)), Coding::Ggml(DType::F16)] {
        // Rows that are not whole blocks, and a row that is cut between two blocks.
        for shape in [vec![100, 3 * C / 100, 2], vec![C + 100, 2]] {
            let tensor = tensor(DType::F32, &shape);
            let mut ends = [0; MAX_COMPONENTS];
            for chunk in chunks(&tensor) {
                let extent = Extent::of(coding, tensor.row_len(), chunk).unwrap();
                assert_eq!(extent.starts, ends, "{coding} {shape:?} {chunk:?}");
                for (end, size) in ends.iter_mut().zip(extent.sizes) {
                    *end += size as u64;
                }
                // Each row is encoded for itself.
                let rows = Chunk { first_weight: 0, ..chunk };
                assert_eq!(Extent::of(coding, chunk.row_len, rows).unwrap().sizes, extent.sizes, "{coding} {chunk:?}");
            }
            assert_eq!(coding.component_bytes(shape[0], tensor.n_elements()), Some(ends), "{coding} {shape:?}");
        }
    }
}

#[test]
fn non_finite_weights_are_found_in_every_float_type() {
    let check = |dtype: DType, bytes: &[u8], expected: Option<(u64, &'static str)>| {
        let tensor = tensor(dtype, &[2, 2]);
        let chunk = Chunk { first_weight: 0, n_weights: 4, row_len: 2 };
        let found = check_copied(&tensor, chunk, bytes).err();
        let expected = expected.map(|(row, value)| Error::NonFinite { tensor: "t".into(), row, value });
        assert_eq!(found, expected, "{dtype} {bytes:02x?}");
    };
    let f32s = |values: [f32; 4]| values.map(f32::to_le_bytes).concat();
    check(DType::F32, &f32s([0.0, f32::MAX, f32::MIN, 1e-40]), None);
    check(DType::F32, &f32s([0.0, 0.0, 0.0, f32::NAN]), Some((1, "NaN")));
    check(DType::F32, &f32s([0.0, f32::NEG_INFINITY, 0.0, f32::NAN]), Some((0, "infinite")));
    let u16s = |values: [u16; 4]| values.map(u16::to_le_bytes).concat();
    check(DType::F16, &u16s([0x7bff, 0xfbff, 0x0001, 0x8000]), None);
    check(DType::F16, &u16s([0, 0, 0x7c00, 0]), Some((1, "infinite")));
    check(DType::F16, &u16s([0, 0xfe00, 0, 0]), Some((0, "NaN")));
    check(DType::F16, &u16s([0, 0x7c01, 0, 0]), Some((0, "NaN")));
    check(DType::BF16, &u16s([0x7f7f, 0xff7f, 0x0001, 0]), None);
    check(DType::BF16, &u16s([0, 0, 0, 0xff80]), Some((1, "infinite")));
    check(DType::BF16, &u16s([0, 0, 0, 0x7fc0]), Some((1, "NaN")));
    check(DType::Q8_0, &[0xff; 34], None);
}

#[test]
fn rows_with_factors_are_fed_back_and_others_are_searched() {
    const ROW_LEN: usize = 96;
    const N_ROWS: usize = 40;
    let tensor = tensor(DType::F32, &[ROW_LEN as u64, N_ROWS as u64]);
    let mut random = fastrand::Rng::with_seed(1);
    let weights: Vec<f32> = (0..ROW_LEN * N_ROWS).map(|_| random.f32() + random.f32() - 1.0).collect();
    let importances: Vec<f32> = (0..ROW_LEN).map(|_| 1.0 + 20.0 * random.f32()).collect();
    let moment =
        |row: usize, column: usize| (importances[row] * importances[column]).sqrt() * if row == column { 1.0 } else { 0.8 };
    let moments: Vec<f32> = (0..ROW_LEN * ROW_LEN).map(|idx| moment(idx / ROW_LEN, idx % ROW_LEN)).collect();
    let factors = Arc::new(Factors::new(&moments, ROW_LEN, DEFAULT_DAMPING).unwrap());
    let chunk = Chunk { first_weight: 0, n_weights: weights.len() as u64, row_len: ROW_LEN as u64 };
    for (coding, feeds_back) in [
        (nbits(NBits::with_zero_points(4, 32)), true),
        (nbits(NBits::symmetric(8, 16)), true),
        // A row is one block and a half: the search alone.
        (nbits(NBits::with_zero_points(4, 64)), false),
        (Coding::Ggml(DType::Q4_0), true),
    ] {
        let work = Work { tensor_idx: 0, tensor: &tensor, encodings: Vec::new(), importances: Some(&importances), moments: None };
        let rows = [RowFactors { rows: 10..30, factors: Arc::clone(&factors) }];
        let extent = Extent::of(coding, ROW_LEN as u64, chunk).unwrap();
        let encoded = |factors: &[RowFactors]| {
            let mut bytes = vec![0xa5; extent.n_bytes()];
            encode(coding, &weights, &mut bytes, &work, chunk, factors, &Monitor::silent()).unwrap();
            bytes
        };
        let (found, searched) = (encoded(&rows), encoded(&[]));
        let mut fed_back = vec![0xa5; extent.n_bytes()];
        if feeds_back {
            let parts = split(&mut fed_back, extent.sizes).unwrap().0;
            coding.feed_back(&weights, &factors, DEFAULT_SWEEPS, parts).unwrap();
        }
        let mut start = 0;
        for size in extent.sizes {
            let row_bytes = size / N_ROWS;
            for row in 0..N_ROWS {
                let place = start + row * row_bytes..start + (row + 1) * row_bytes;
                let expected = if feeds_back && (10..30).contains(&row) { &fed_back } else { &searched };
                assert!(found[place.clone()] == expected[place], "{coding}, row {row}");
            }
            start += size;
        }
        assert_eq!(found != searched, feeds_back, "{coding}");
    }
}

#[test]
fn errors_name_the_row_of_the_tensor() {
    let tensor = tensor(DType::F32, &[48, 30]);
    let chunk = Chunk { first_weight: 48 * 10, n_weights: 48 * 20, row_len: 48 };
    let work = Work { tensor_idx: 0, tensor: &tensor, encodings: Vec::new(), importances: None, moments: None };
    let check = |weight: f32, expected: Error| {
        let mut weights = vec![0.5; 48 * 20];
        weights[48 * 7 + 3] = weight;
        let coding = nbits(NBits::with_zero_points(4, 32));
        let mut bytes = vec![0; Extent::of(coding, 48, chunk).unwrap().n_bytes()];
        let found = encode(coding, &weights, &mut bytes, &work, chunk, &[], &Monitor::silent());
        assert_eq!(found, Err(expected));
    };
    check(f32::NAN, Error::NonFinite { tensor: "t".into(), row: 17, value: "NaN" });
    check(1e30, Error::OutOfRange { tensor: "t".into(), row: 17, dtype: "UINT4-g32".into() });
}
