//! How far a tensor's outputs are off in each type, measured on some of its rows as they would be encoded.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::advise::budget::candidate_dtypes;
use crate::convert::factors_of;
use crate::error::{Error, Result};
use crate::format::{Imatrix, MomentsOf, TensorReader};
use crate::model::{DType, Model, Tensor};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::quant::feedback::{DEFAULT_SWEEPS, Factors, encode_rows, output_error};
use crate::quant::{QuantError, dequantize_rows, quantize_rows_by};
use crate::runtime::sensitivity::DISTURBANCE;

/// Rows of a tensor that are encoded: their errors differ by a third, so the sum is known to 4 %.
const N_ROWS: u64 = 64;

/// What the columns of a tensor's rows count by.
struct Part {
    /// The second moments as they are, `[n_columns, n_columns]`, and their factors.
    moments: Option<(Vec<f32>, Factors)>,
}

/// For each of these tensors, by its place in the model, the types that it may get, each with its output error divided by that of
/// [`DISTURBANCE`], all encoded in the same way.
///
/// # Errors
/// `Error::Cancelled`; `Error::BadImatrix` for damaged moments; what keeps the source from being read.
pub(super) fn type_errors(
    model: &Model,
    tensor_idxs: &[usize],
    imatrix: &Imatrix,
    monitor: &Monitor,
) -> Result<HashMap<usize, Vec<(DType, f64)>>> {
    let reader = TensorReader::open(model)?;
    let moments_of = |idx: usize| imatrix.moments.as_ref().and_then(|moments| moments.site_of(&model.tensors[idx]));
    // Tensors with the same inputs one after the other: their moments are factored once.
    let mut order: Vec<usize> = tensor_idxs.to_vec();
    order.sort_by_key(|&idx| (moments_of(idx).map(|of| of.site_idx), idx));
    let mut found = HashMap::new();
    let mut parts: (Option<usize>, Vec<Part>) = (None, Vec::new());
    for (n_done, &idx) in (0..).zip(&order) {
        let tensor = &model.tensors[idx];
        let stage = format!("errors of types, {}", tensor.name);
        monitor.report(Progress { stage, done: n_done, total: order.len() as u64, unit: ProgressUnit::Steps })?;
        let dtypes = candidate_dtypes(tensor);
        if dtypes.is_empty() {
            continue;
        }
        let moments = moments_of(idx);
        if parts.0.is_none() || parts.0 != moments.map(|of| of.site_idx) {
            parts = (moments.map(|of| of.site_idx), moments.map(|of| read_parts(&of, tensor)).transpose()?.unwrap_or_default());
        }
        let importances = imatrix.importances_of(tensor)?;
        found.insert(idx, errors_of(&reader, tensor, &dtypes, (moments.as_ref(), &parts.1), importances)?);
    }
    Ok(found)
}

fn read_parts(moments: &MomentsOf, tensor: &Tensor) -> Result<Vec<Part>> {
    moments.check()?;
    let n_rows = tensor.shape.get(1).copied().unwrap_or(1);
    let n_parts = usize::try_from(n_rows / moments.rows_per_part.max(1)).unwrap_or(0);
    let part = |part_idx: usize| {
        let matrix = moments.matrix(part_idx)?;
        let factors = factors_of(moments, tensor, &matrix)?;
        Ok(Part { moments: factors.map(|factors| (matrix, factors)) })
    };
    (0..n_parts).map(part).collect()
}

fn errors_of(
    reader: &TensorReader,
    tensor: &Tensor,
    dtypes: &[DType],
    (moments, parts): (Option<&MomentsOf>, &[Part]),
    importances: Option<&[f32]>,
) -> Result<Vec<(DType, f64)>> {
    let mut disturbed = 0.0;
    let mut sums = vec![0.0; dtypes.len()];
    for (part, rows, importances) in samples(reader, tensor, (moments, parts), importances)? {
        let by_moments = part.and_then(|part| part.moments.as_ref());
        let failed = |error| refused(&error, tensor);
        let error_of = |dtype: DType| -> Result<f64> {
            let n_columns = row_len(tensor)?;
            let n_bytes = dtype.row_bytes(rows.len() as u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            let (mut coded, mut decoded) = (vec![0; n_bytes], vec![0.0; rows.len()]);
            match by_moments {
                Some((_, factors)) => encode_rows(dtype, &rows, factors, DEFAULT_SWEEPS, &mut coded),
                None => quantize_rows_by(dtype, &rows, n_columns, importances.as_deref(), &mut coded),
            }
            .and_then(|()| dequantize_rows(dtype, &coded, &mut decoded))
            .map_err(failed)?;
            Ok(match by_moments {
                Some((matrix, _)) => output_error(&rows, &decoded, matrix, n_columns),
                None => weighted_error(&rows, &decoded, importances.as_deref(), n_columns),
            })
        };
        disturbed += error_of(DISTURBANCE)?;
        let of_part: Vec<f64> = dtypes.par_iter().map(|&dtype| error_of(dtype)).collect::<Result<_>>()?;
        sums.iter_mut().zip(of_part).for_each(|(sum, error)| *sum += error);
    }
    let ratio = |error: f64| if disturbed > 0.0 { error / disturbed } else { 0.0 };
    Ok(dtypes.iter().copied().zip(sums.into_iter().map(ratio)).collect())
}

/// Rows that count by the same moments or importances.
type Sample<'a> = (Option<&'a Part>, Vec<f32>, Option<Vec<f32>>);

/// Rows from all over a tensor, together with those that their columns count by the same way.
fn samples<'a>(
    reader: &TensorReader,
    tensor: &Tensor,
    (moments, parts): (Option<&MomentsOf>, &'a [Part]),
    importances: Option<&[f32]>,
) -> Result<Vec<Sample<'a>>> {
    let n_columns = row_len(tensor)?;
    let rows_per_expert = tensor.shape.get(1).copied().unwrap_or(1).max(1);
    let n_rows = tensor.n_rows();
    let n_samples = N_ROWS.min(n_rows);
    let row_bytes = tensor.dtype.row_bytes(tensor.row_len()).unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(row_bytes).unwrap_or(0)];
    let mut samples: Vec<((u64, u64), Vec<f32>)> = Vec::new();
    for sample_idx in 0..n_samples {
        let row = sample_idx * n_rows / n_samples;
        let (expert, in_expert) = (row / rows_per_expert, row % rows_per_expert);
        let part_idx = moments.map_or(0, |of| in_expert / of.rows_per_part.max(1));
        reader.read(tensor, row * row_bytes, &mut bytes)?;
        let mut weights = vec![0.0; n_columns];
        dequantize_rows(tensor.dtype, &bytes, &mut weights).map_err(|error| refused(&error, tensor))?;
        // With moments, experts count alike.
        let place = if moments.is_some() { (part_idx, 0) } else { (0, expert) };
        match samples.iter_mut().find(|(known, _)| *known == place) {
            Some((_, rows)) => rows.extend(weights),
            None => samples.push((place, weights)),
        }
    }
    let whole = samples.into_iter().map(|((part_idx, expert), rows)| {
        let part = usize::try_from(part_idx).ok().and_then(|part_idx| parts.get(part_idx));
        let start = usize::try_from(expert).unwrap_or(usize::MAX).saturating_mul(n_columns);
        let of_expert = importances.and_then(|all| all.get(start..start.saturating_add(n_columns)));
        (part, rows, of_expert.map(<[f32]>::to_vec))
    });
    Ok(whole.collect())
}

/// Weights that cannot be decoded or encoded.
fn refused(error: &QuantError, tensor: &Tensor) -> Error {
    match *error {
        QuantError::NonFinite { row, value } => Error::NonFinite { tensor: tensor.name.clone(), row, value },
        QuantError::Unsupported { action, dtype } => {
            Error::UnsupportedDType { action, dtype: dtype.to_string(), tensor: tensor.name.clone() }
        }
        other => Error::Internal { message: format!("{}: {other}", tensor.name) },
    }
}

fn row_len(tensor: &Tensor) -> Result<usize> {
    usize::try_from(tensor.row_len()).map_err(|error| Error::Internal { message: error.to_string() })
}

/// Sum of the squared errors, each times the importance of its column.
fn weighted_error(weights: &[f32], decoded: &[f32], importances: Option<&[f32]>, n_columns: usize) -> f64 {
    let errors = weights.iter().zip(decoded).enumerate();
    errors
        .map(|(idx, (weight, decoded))| {
            let importance = importances.map_or(1.0, |importances| f64::from(importances[idx % n_columns]));
            importance * f64::from(decoded - weight).powi(2)
        })
        .sum()
}
