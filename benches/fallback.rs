//! The error of every type with blocks of 32, on Gaussian weights and on the matrices of a model's layers: what
//! `advise::fallback` chooses by.
//!
//! `cargo bench --bench fallback -- MODEL.gguf [IMATRIX]`. Errors are relative root mean squares; with an importance matrix,
//! they are weighted by it, and so is the search. Bits are per weight in the file.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first failure")]

use std::path::Path;

use planish::format::{Imatrix, TensorReader, inspect, read_imatrix};
use planish::model::{DType, Tensor};
use planish::quant::{dequantize_rows, quantize_rows_by};

const DTYPES: [DType; 7] = [DType::Q8_0, DType::Q5_1, DType::Q5_0, DType::Q4_1, DType::IQ4_NL, DType::Q4_0, DType::MXFP4];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let gaussian = vec![(gaussian(576 * 1024), 576, None)];
    println!("{:8}{:>12}{:>12}{:>12}{:>12}", "type", "bits", "Gaussian", "model", "by imatrix");
    let (mut plain, mut weighted) = (Vec::new(), Vec::new());
    if let Some(path) = args.first() {
        let imatrix = args.get(1).map(|path| read_imatrix(Path::new(path)).unwrap());
        plain = matrices(Path::new(path), None);
        weighted = imatrix.map(|imatrix| matrices(Path::new(path), Some(&imatrix))).unwrap_or_default();
    }
    for dtype in DTYPES {
        let cells: Vec<String> = [&gaussian, &plain, &weighted].map(|matrices| error_text(dtype, matrices)).into();
        println!(
            "{:8}{:>12}{}",
            dtype.name(),
            dtype.bits_per_weight(),
            cells.iter().map(|cell| format!("{cell:>12}")).collect::<Vec<_>>().concat()
        );
    }
}

/// Weights, their row length and importances of the columns.
type Matrix = (Vec<f32>, usize, Option<Vec<f32>>);

/// Matrices of the layers; with an importance matrix only those that it knows.
fn matrices(path: &Path, imatrix: Option<&Imatrix>) -> Vec<Matrix> {
    let model = inspect(path).unwrap();
    let reader = TensorReader::open(&model).unwrap();
    let is_matrix = |tensor: &&Tensor| tensor.name.starts_with("blk.") && tensor.n_dims() == 2;
    let mut found = Vec::new();
    for tensor in model.tensors.iter().filter(is_matrix) {
        let importances = imatrix.map(|imatrix| imatrix.importances_of(tensor).unwrap().map(<[f32]>::to_vec));
        if importances == Some(None) {
            continue;
        }
        let mut raw = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
        reader.read(tensor, 0, &mut raw).unwrap();
        let mut weights = vec![0.0; usize::try_from(tensor.n_elements()).unwrap()];
        dequantize_rows(tensor.dtype, &raw, &mut weights).unwrap();
        found.push((weights, usize::try_from(tensor.row_len()).unwrap(), importances.flatten()));
    }
    found
}

/// The error as a mean over the matrices, each counted by its number of weights: in one sum, the largest weights would decide.
#[allow(clippy::cast_precision_loss, reason = "a mean")]
fn error_text(dtype: DType, matrices: &[Matrix]) -> String {
    let (mut sum, mut n_weights) = (0.0, 0.0);
    for (weights, row_len, importances) in matrices {
        let mut blocks = vec![0; usize::try_from(dtype.row_bytes(weights.len() as u64).unwrap()).unwrap()];
        let mut decoded = vec![0.0; weights.len()];
        quantize_rows_by(dtype, weights, *row_len, importances.as_deref(), &mut blocks).unwrap();
        dequantize_rows(dtype, &blocks, &mut decoded).unwrap();
        let (mut wrong, mut all) = (0.0, 0.0);
        for (idx, (weight, found)) in weights.iter().zip(&decoded).enumerate() {
            let importance = importances.as_ref().map_or(1.0, |importances| f64::from(importances[idx % row_len]));
            wrong += importance * f64::from(weight - found).powi(2);
            all += importance * f64::from(*weight).powi(2);
        }
        sum += wrong / all * weights.len() as f64;
        n_weights += weights.len() as f64;
    }
    if n_weights > 0.0 { format!("{:.5}", f64::sqrt(sum / n_weights)) } else { "-".into() }
}

/// Normally distributed weights, the same in every run.
fn gaussian(n: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut next = || f64::sqrt(-2.0 * (1.0 - random.f64()).ln()) * (std::f64::consts::TAU * random.f64()).cos();
    #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
    (0..n).map(|_| next() as f32).collect()
}
