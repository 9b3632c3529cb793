//! What each tensor loses in each type, from what was measured of it.

use serde::{Deserialize, Serialize};

use super::super::choices::kind_of;
use super::super::recipe::tensor_bytes;
use crate::model::{DType, Tensor, layer_idx_of};

/// Types for rows of whole super-blocks: those that every processor computes fast.
const SUPER_BLOCKS: [DType; 7] = [DType::Q2_K, DType::Q3_K, DType::IQ4_XS, DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::Q8_0];
/// Types for all other rows of whole blocks.
const BLOCKS: [DType; 6] = [DType::IQ4_NL, DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0];

/// Layers on both sides that a tensor is compared with: what a noisy measurement says is drawn towards their mean.
const NEAR_LAYERS: u64 = 3;
/// How far sensitivities of neighbours differ, as a part of their mean: the spread in SmolLM2's layers (2026-11-30).
const NEIGHBOURS_DIFFER: f64 = 0.6;

/// Types that a tensor may get within a budget, the smallest first; empty where none fits its rows or has fewer bits than it.
#[must_use]
pub fn candidate_dtypes(tensor: &Tensor) -> Vec<DType> {
    let row_len = tensor.row_len();
    let all: &[DType] = if row_len.is_multiple_of(256) { &SUPER_BLOCKS } else { &BLOCKS };
    let fits =
        |dtype: &DType| row_len.is_multiple_of(dtype.block_len()) && dtype.bits_per_weight() < tensor.dtype.bits_per_weight();
    all.iter().copied().filter(fits).collect()
}

/// The least that a tensor is taken to cost, as a part of the error of what was measured.
const LEAST_OF_ERROR: f64 = 0.3;

/// What was measured of a model's tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// One for each tensor that levels change.
    pub tensors: Vec<TensorCosts>,
}

/// What was measured of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorCosts {
    /// The tensor.
    pub tensor: String,
    /// Mean KL divergence in nats that rounding to one type causes, and its standard error; `None` where the model did not use the tensor.
    pub disturbance: Option<(f64, f64)>,
    /// For each type the output error of its codes, divided by that of this type's.
    #[serde(with = "by_name")]
    pub errors: Vec<(DType, f64)>,
}

/// Types by their names.
mod by_name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::DType;

    pub(super) fn serialize<S: Serializer>(errors: &[(DType, f64)], serializer: S) -> Result<S::Ok, S::Error> {
        errors.iter().map(|(dtype, error)| (dtype.name(), error)).collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(DType, f64)>, D::Error> {
        let named: Vec<(String, f64)> = Vec::deserialize(deserializer)?;
        let known = |(name, error): (String, f64)| DType::from_name(&name).map(|dtype| (dtype, error));
        Ok(named.into_iter().filter_map(known).collect())
    }
}

/// A type for a tensor: what it takes and what it loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) dtype: DType,
    pub(super) size_bytes: u64,
    /// Mean KL divergence in nats.
    pub(super) loss: f64,
    /// Its standard error.
    pub(super) loss_error: f64,
}

impl Costs {
    /// The types that a tensor may get with what they lose, the smallest first; one type alone where nothing was measured.
    pub(super) fn choices(&self, tensor: &Tensor) -> Vec<Choice> {
        let choice = |dtype: DType, (loss, loss_error): (f64, f64)| Choice {
            dtype,
            size_bytes: tensor_bytes(tensor, dtype),
            loss,
            loss_error,
        };
        let measured = self.tensors.iter().find(|costs| costs.tensor == tensor.name);
        let kept = choice(tensor.dtype, (0.0, 0.0));
        let sensitivity = measured.and_then(|costs| self.sensitivity(costs));
        let (Some(measured), Some((loss, loss_error))) = (measured, sensitivity) else {
            // The type that loses least where nobody knows what is lost.
            let safe = candidate_dtypes(tensor).last().map(|&dtype| choice(dtype, (0.0, 0.0)));
            return vec![safe.unwrap_or(kept)];
        };
        let of_dtype = |&(dtype, error): &(DType, f64)| choice(dtype, (loss * error, loss_error * error));
        let mut choices: Vec<Choice> = measured.errors.iter().map(of_dtype).collect();
        // Floats of 32 bits are no choice: nobody would buy them.
        if tensor.dtype.bits_per_weight() <= 16.0 || choices.is_empty() {
            choices.push(kept);
        }
        choices.sort_by_key(|choice| choice.size_bytes);
        choices
    }

    /// What the disturbance of a tensor costs; never below a part of its error: what came out as nothing would get the fewest bits.
    fn sensitivity(&self, of: &TensorCosts) -> Option<(f64, f64)> {
        self.smoothed(of).map(|(loss, error)| (loss.max(LEAST_OF_ERROR * error), error))
    }

    /// The same, drawn towards what it costs in the same tensor of layers nearby: one measurement is noisy.
    fn smoothed(&self, of: &TensorCosts) -> Option<(f64, f64)> {
        let Some((layer_idx, kind)) = layer_idx_of(&of.tensor).zip(kind_of(&of.tensor)) else { return of.disturbance };
        let distance = |other: &TensorCosts| layer_idx_of(&other.tensor).map(|idx| idx.abs_diff(layer_idx));
        let of_kind = self.tensors.iter().filter(|other| other.tensor != of.tensor && kind_of(&other.tensor) == Some(kind));
        let mut others: Vec<(u64, f64)> = of_kind.filter_map(|other| Some((distance(other)?, other.disturbance?.0))).collect();
        others.sort_by_key(|(distance, _)| *distance);
        let n_near = others.iter().filter(|(distance, _)| *distance <= NEAR_LAYERS).count().max(2);
        others.truncate(n_near);
        #[allow(clippy::cast_precision_loss, reason = "a number of layers")]
        let mean = others.iter().map(|(_, loss)| loss).sum::<f64>() / others.len() as f64;
        let differ = NEIGHBOURS_DIFFER * mean;
        match of.disturbance {
            _ if others.is_empty() || mean <= 0.0 => of.disturbance,
            None => Some((mean, differ)),
            Some((_, error)) if error <= 0.0 => of.disturbance,
            Some((loss, error)) => {
                let (own, near) = (error.powi(-2), differ.powi(-2));
                Some(((loss * own + mean * near) / (own + near), (own + near).sqrt().recip()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(disturbances: &[Option<(f64, f64)>]) -> Costs {
        let tensor = |(idx, disturbance): (usize, &Option<(f64, f64)>)| TensorCosts {
            tensor: format!("blk.{idx}.attn_v.weight"),
            disturbance: *disturbance,
            errors: vec![(DType::Q4_0, 0.5), (DType::Q8_0, 0.01)],
        };
        Costs { tensors: disturbances.iter().enumerate().map(tensor).collect() }
    }

    #[test]
    fn noisy_measurements_are_drawn_to_their_neighbours() {
        let check = |disturbances: &[Option<(f64, f64)>], expected: f64| {
            let costs = costs(disturbances);
            let (loss, _) = costs.sensitivity(&costs.tensors[1]).unwrap();
            assert!((loss - expected).abs() < 0.02, "{loss} instead of {expected}");
        };
        // Exact, useless, missing, nothing at all beside noise.
        check(&[Some((1.0, 0.0)), Some((5.0, 0.001)), Some((1.0, 0.0))], 5.0);
        check(&[Some((1.0, 0.0)), Some((5.0, 100.0)), Some((1.0, 0.0))], 1.0);
        check(&[Some((1.0, 0.0)), None, Some((3.0, 0.0))], 2.0);
        check(&[Some((1.0, 0.0)), Some((0.0, 0.6)), Some((1.0, 0.0))], 0.5);
    }

    #[test]
    fn rows_decide_which_types_there_are() {
        let tensor = |dtype: DType, row_len: u64| Tensor {
            name: "blk.0.attn_v.weight".into(),
            dtype,
            shape: vec![row_len, 64],
            file_idx: 0,
            offset: 0,
            size_bytes: dtype.row_bytes(row_len).unwrap_or(0) * 64,
        };
        let check = |dtype: DType, row_len: u64, first: Option<DType>, n: usize| {
            let found = candidate_dtypes(&tensor(dtype, row_len));
            assert_eq!((found.first().copied(), found.len()), (first, n), "{dtype} {row_len}");
        };
        check(DType::F16, 512, Some(DType::Q2_K), 7);
        check(DType::BF16, 576, Some(DType::IQ4_NL), 6);
        check(DType::F16, 100, None, 0);
        check(DType::Q4_K, 512, Some(DType::Q2_K), 3);
        let choices = costs(&[Some((1.0, 0.1))]).choices(&tensor(DType::F16, 576));
        let found: Vec<(DType, f64)> = choices.iter().map(|choice| (choice.dtype, choice.loss)).collect();
        assert_eq!(found, [(DType::Q4_0, 0.5), (DType::Q8_0, 0.01), (DType::F16, 0.0)]);
        // Nothing is known of it.
        let unknown = Costs { tensors: Vec::new() }.choices(&tensor(DType::F16, 576));
        assert_eq!(unknown.iter().map(|choice| choice.dtype).collect::<Vec<_>>(), [DType::Q8_0]);
    }

    #[test]
    fn costs_are_kept_as_text() {
        let costs = costs(&[Some((1.0, 0.1)), None]);
        let text = serde_json::to_string(&costs).unwrap();
        assert_eq!(serde_json::from_str::<Costs>(&text).unwrap(), costs);
    }
}
