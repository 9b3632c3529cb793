//! Weights of a checkpoint as numbers: projections and norms, loaded when they are needed.

use std::collections::HashMap;

use rayon::prelude::*;

use super::size;
use crate::error::{Error, Result};
use crate::format::TensorReader;
use crate::model::{Model, Norm, Projection, Tensor, Weight};
use crate::quant::functions::rms_norm;
use crate::quant::matmul::{Matrix, MatrixMut};
use crate::quant::{QuantError, dequantize_rows};

/// Weights that one thread reads and decodes at a time.
const READ_WEIGHTS: usize = 1 << 18;

/// Where a network's weights come from: its checkpoint, or whatever replaces some of them.
pub trait WeightSource: Sync {
    /// Fills `out` with the rows of a weight, one after the other: `n_rows * row_len` numbers.
    ///
    /// # Errors
    /// What the source cannot give.
    fn read(&self, weight: &Weight, out: &mut [f32]) -> Result<()>;
}

/// The tensors of a model on disk, of any type that can be decoded.
#[derive(Debug)]
pub struct StoredWeights<'a> {
    tensors: HashMap<&'a str, &'a Tensor>,
    reader: TensorReader,
}

impl<'a> StoredWeights<'a> {
    /// Opens the files of a model whose tensors have the names of the decoder's weights, such as `import::stored_model` gives.
    ///
    /// # Errors
    /// Those of [`TensorReader::open`].
    pub fn open(model: &'a Model) -> Result<Self> {
        let tensors = model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Ok(Self { tensors, reader: TensorReader::open(model)? })
    }
}

impl WeightSource for StoredWeights<'_> {
    fn read(&self, weight: &Weight, out: &mut [f32]) -> Result<()> {
        let unreadable = |what: &str| Error::Internal { message: format!("{}: {what}", weight.name) };
        let tensor = self.tensors.get(weight.name.as_str()).ok_or_else(|| unreadable("the model has no such tensor"))?;
        let row_bytes = tensor.dtype.row_bytes(weight.row_len).ok_or_else(|| unreadable("its rows are not whole blocks"))?;
        let row_len = size(weight.row_len)?.max(1);
        if out.len() as u64 != weight.n_weights() {
            return Err(unreadable("another number of weights was asked for"));
        }
        let n_rows = (READ_WEIGHTS / row_len).max(1);
        out.par_chunks_mut(n_rows * row_len).enumerate().try_for_each(|(idx, out)| {
            let first_row = weight.first_row + (idx * n_rows) as u64;
            let n_bytes = (out.len() / row_len) as u64 * row_bytes;
            let mut raw = vec![0; size(n_bytes)?];
            self.reader.read(tensor, first_row * row_bytes, &mut raw)?;
            dequantize_rows(tensor.dtype, &raw, out).map_err(|error| undecodable(&error, tensor))
        })
    }
}

fn undecodable(error: &QuantError, tensor: &Tensor) -> Error {
    match error {
        QuantError::Unsupported { action, dtype } => {
            Error::UnsupportedDType { action, dtype: dtype.to_string(), tensor: tensor.name.clone() }
        }
        other => Error::Internal { message: format!("{}: {other}", tensor.name) },
    }
}

/// A projection that is in memory.
#[derive(Debug)]
pub(super) struct Linear {
    weights: Vec<f32>,      // [n_out, n_in]
    bias: Option<Vec<f32>>, // [n_out]
    pub(super) n_in: usize,
    pub(super) n_out: usize,
}

impl Linear {
    /// Loads a projection that must have these sizes.
    pub(super) fn load(source: &dyn WeightSource, projection: &Projection, n_out: usize, n_in: usize) -> Result<Self> {
        let bias = projection.bias.as_ref().map(|bias| matrix(source, bias, n_out, 1)).transpose()?;
        Ok(Self { weights: matrix(source, &projection.weight, n_out, n_in)?, bias, n_in, n_out })
    }

    /// Loads a matrix without a bias.
    pub(super) fn matrix(source: &dyn WeightSource, weight: &Weight, n_out: usize, n_in: usize) -> Result<Self> {
        Ok(Self { weights: matrix(source, weight, n_out, n_in)?, bias: None, n_in, n_out })
    }

    /// Sets `out`, rows of `n_out`, for `x`, as many rows of `n_in`, on the calling thread.
    pub(super) fn apply(&self, x: &[f32], out: &mut [f32]) {
        let n_rows = x.len() / self.n_in.max(1);
        let weights = Matrix::new(&self.weights, self.n_out, self.n_in).transposed();
        MatrixMut::new(out, n_rows, self.n_out).set_product(1.0, Matrix::new(x, n_rows, self.n_in), weights, 0.0);
        if let Some(bias) = &self.bias {
            for row in out.chunks_exact_mut(self.n_out) {
                row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
    }

    /// [`Linear::apply`] on all threads, each with a part of the outputs: for large matrices and few rows. Without a bias.
    pub(super) fn apply_by_columns(&self, x: &[f32], out: &mut [f32]) {
        let n_rows = x.len() / self.n_in.max(1);
        let weights = Matrix::new(&self.weights, self.n_out, self.n_in).transposed();
        MatrixMut::new(out, n_rows, self.n_out).set_product_by_columns(1.0, Matrix::new(x, n_rows, self.n_in), weights, 0.0);
    }
}

/// A norm that is in memory.
#[derive(Debug)]
pub(super) struct RmsNorm {
    /// Offset included.
    weights: Vec<f32>,
    epsilon: f64,
}

impl RmsNorm {
    /// Loads a norm that must take `n` numbers together.
    pub(super) fn load(source: &dyn WeightSource, norm: &Norm, n: usize) -> Result<Self> {
        let mut weights = matrix(source, &norm.weight, n, 1)?;
        #[allow(clippy::cast_possible_truncation, reason = "0 or 1")]
        let offset = norm.offset as f32;
        for weight in &mut weights {
            *weight += offset;
        }
        Ok(Self { weights, epsilon: norm.epsilon })
    }

    /// Loads a norm that a layer may lack.
    pub(super) fn load_some(source: &dyn WeightSource, norm: Option<&Norm>, n: usize) -> Result<Option<Self>> {
        norm.map(|norm| Self::load(source, norm, n)).transpose()
    }

    /// Sets `out` for all vectors in `x`, one after the other.
    pub(super) fn apply(&self, x: &[f32], out: &mut [f32]) {
        let n = self.weights.len().max(1);
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            rms_norm(x, &self.weights, self.epsilon, out);
        }
    }

    /// Norms all vectors in `x` in place; `scratch` is overwritten.
    pub(super) fn apply_in_place(&self, x: &mut [f32], scratch: &mut Vec<f32>) {
        scratch.clear();
        scratch.extend_from_slice(x);
        self.apply(scratch, x);
    }
}

/// A norm's output, or its input where there is none.
pub(super) fn normed(norm: Option<&RmsNorm>, x: &[f32], out: &mut [f32]) {
    match norm {
        Some(norm) => norm.apply(x, out),
        None => out.copy_from_slice(x),
    }
}

fn matrix(source: &dyn WeightSource, weight: &Weight, n_rows: usize, row_len: usize) -> Result<Vec<f32>> {
    let shape = (size(weight.n_rows)?, size(weight.row_len)?);
    if shape != (n_rows, row_len) {
        let message = format!("{} has {} x {} weights where {n_rows} x {row_len} are needed", weight.name, shape.0, shape.1);
        return Err(Error::Internal { message });
    }
    let mut weights = vec![0.0; n_rows * row_len];
    source.read(weight, &mut weights)?;
    Ok(weights)
}
