//! Types of tensors as changes of a level's recipe, in words that llama-quantize understands too.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::choices::{kind_of, kind_pattern, layers_pattern};
use super::super::overrides::TensorType;
use super::super::recipe::{Planner, bits_per_weight};
use super::{Budget, Costs, Curve, CurvePoint, GatedBy, named_levels};
use crate::advise::Overrides;
use crate::error::{Error, Result};
use crate::format::Imatrix;
use crate::model::{DType, Level, Model, layer_idx_of};
use crate::units::bytes_text;

/// Times that the size of the header, which has the recipe in it, is made up for.
const MAX_TRIES: usize = 4;

/// What a budget buys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetRecipe {
    /// The level whose plain file is about as large.
    pub level: Level,
    /// The types, as changes of it.
    pub overrides: Overrides,
    /// Exact size of the file in bytes.
    pub size_bytes: u64,
    /// Bytes of the tensors that levels change.
    pub data_bytes: u64,
    /// All tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// Predicted mean KL divergence in nats.
    pub loss: f64,
    /// Its error in nats.
    pub loss_error: f64,
    /// How it was found by gates; `None` where a size was asked for.
    pub gates: Option<GatedBy>,
}

/// The file of at most `size_bytes`, which this budget means, that is predicted to lose least. `imatrix` is the one that it will be made with.
///
/// # Errors
/// `Error::BadRequest` where the smallest file is larger; those of [`Planner::changed`].
pub fn budget_recipe(
    model: &Model,
    costs: &Costs,
    imatrix: Option<&Imatrix>,
    (size_bytes, budget): (u64, Budget),
) -> Result<BudgetRecipe> {
    let planner = Planner::by(model, imatrix);
    let level = nearest_level(&planner, size_bytes)?;
    let curve = Curve::new(model, costs, |idx| planner.is_quantizable(idx));
    let mut data_bytes = size_bytes;
    for _ in 0..MAX_TRIES {
        let found = bought(model, imatrix, (&curve, data_bytes), level, &budget.to_string())?;
        if found.size_bytes <= size_bytes {
            return Ok(found);
        }
        let over = found.size_bytes - size_bytes;
        let smallest = curve.choose(0).1.data_bytes;
        if found.data_bytes <= smallest {
            let message = format!(
                "{} are too few: with the smallest types that every processor computes fast, the file has {}",
                bytes_text(size_bytes),
                bytes_text(found.size_bytes),
            );
            return Err(Error::BadRequest { message });
        }
        data_bytes = found.data_bytes.saturating_sub(over).max(smallest);
    }
    Err(Error::Internal { message: "the size of the header does not settle".into() })
}

/// What at most `data_bytes` of the tensors on a curve buy, named by this level; `budget` is what the recipe says that they were chosen for.
///
/// # Errors
/// Those of [`Planner::changed`].
pub(super) fn bought(
    model: &Model,
    imatrix: Option<&Imatrix>,
    (curve, data_bytes): (&Curve, u64),
    level: Level,
    budget: &str,
) -> Result<BudgetRecipe> {
    let (dtypes, CurvePoint { data_bytes, loss, loss_error }) = curve.choose(data_bytes);
    let overrides = Overrides { calibrated: true, budget: Some(budget.into()), ..overrides_of(model, &dtypes) };
    let changed = Planner::changed(model, imatrix, model, &overrides)?;
    let (size_bytes, bits_per_weight) = exact_size(&changed, level)?;
    Ok(BudgetRecipe { level, overrides, size_bytes, data_bytes, bits_per_weight, loss, loss_error, gates: None })
}

/// Size of the file in bytes, and bits per weight.
fn exact_size(planner: &Planner, level: Level) -> Result<(u64, f64)> {
    let preset = level.preset().ok_or_else(|| Error::Internal { message: format!("{level} is no level of llama.cpp") })?;
    let recipe = planner.recipe(preset);
    Ok((planner.output_size_bytes(&recipe)?, bits_per_weight(planner.model(), &recipe)))
}

/// The level whose plain file has the size nearest to this one.
///
/// # Errors
/// `Error::Internal` for a model that no reader accepts.
pub fn nearest_level(planner: &Planner, size_bytes: u64) -> Result<Level> {
    let mut nearest = (u64::MAX, Level::Q4_K_M);
    for level in named_levels() {
        nearest = nearest.min((exact_size(planner, level)?.0.abs_diff(size_bytes), level));
    }
    Ok(nearest.1)
}

/// The types of these tensors, by their place in the model: for each kind the type that most layers get, and before it the exceptions.
fn overrides_of(model: &Model, dtypes: &[(usize, DType)]) -> Overrides {
    let mut overrides = Overrides::default();
    let mut kinds: BTreeMap<&str, BTreeMap<DType, Vec<u64>>> = BTreeMap::new();
    for &(idx, dtype) in dtypes {
        let name = model.tensors[idx].name.as_str();
        match kind_of(name).zip(layer_idx_of(name)) {
            Some((kind, layer_idx)) => kinds.entry(kind).or_default().entry(dtype).or_default().push(layer_idx),
            None => overrides.choose_for_tensor(name, Some(dtype)),
        }
    }
    for (kind, mut layers) in kinds {
        for layers in layers.values_mut() {
            layers.sort_unstable();
        }
        let most = layers.iter().max_by_key(|(_, layers)| layers.len()).map(|(dtype, _)| *dtype);
        let exceptions = layers.iter().filter(|(dtype, _)| Some(**dtype) != most);
        overrides
            .tensor_types
            .extend(exceptions.map(|(&dtype, layers)| TensorType { pattern: layers_pattern(kind, layers), dtype }));
        overrides.tensor_types.extend(most.map(|dtype| TensorType { pattern: kind_pattern(kind), dtype }));
    }
    overrides
}

#[cfg(test)]
mod tests {
    use super::super::{GateSearch, TensorCosts, file_points, gated_recipe};
    use super::*;
    use crate::advise::Gates;
    use crate::advise::budget::candidate_dtypes;
    use crate::advise::test_models::{Decoder, LLAMA3_8B};

    fn model() -> Model {
        Decoder { n_layers: 6, n_embd: 512, n_ff: 1024, n_heads: 8, n_vocab: 4096, ..LLAMA3_8B }.build()
    }

    /// Early layers and values are worth more than others.
    fn costs(model: &Model) -> Costs {
        let planner = Planner::new(model);
        let tensors = model.tensors.iter().enumerate().filter(|(idx, _)| planner.is_quantizable(*idx));
        let tensors = tensors.map(|(_, tensor)| {
            let layer = layer_idx_of(&tensor.name).unwrap_or(3);
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            let loss = if tensor.name.contains("attn_v") { 0.01 } else { 0.001 } / (1.0 + layer as f64);
            let error = |dtype: DType| 4.0_f64.powf(4.0 - dtype.bits_per_weight());
            let errors = candidate_dtypes(tensor).into_iter().map(|dtype| (dtype, error(dtype))).collect();
            TensorCosts { tensor: tensor.name.clone(), disturbance: Some((loss, 0.0)), errors }
        });
        Costs { tensors: tensors.collect() }
    }

    #[test]
    fn sizes_are_exact_and_within_the_budget() {
        let model = model();
        let costs = costs(&model);
        let mut before = f64::INFINITY;
        for level in [Level::Q2_K, Level::Q3_K_M, Level::Q4_K_M, Level::Q5_K_M, Level::Q8_0] {
            let planner = Planner::new(&model);
            let (budget, _) = exact_size(&planner, level).unwrap();
            let found = budget_recipe(&model, &costs, None, (budget, Budget::Bytes(budget))).unwrap();
            assert!(
                found.size_bytes <= budget && found.size_bytes > budget - budget / 50,
                "{level}: {} {budget}",
                found.size_bytes
            );
            assert!(found.loss < before, "{level}");
            before = found.loss;
            let changed = Planner::changed(&model, None, &model, &found.overrides).unwrap();
            let recipe = changed.recipe(found.level.preset().unwrap());
            assert_eq!(recipe.n_fallbacks, 0);
            assert_eq!(changed.change_warnings(&recipe), Vec::<String>::new());
            // The types are those that were bought: what a name says in text, it says again when it is read.
            let curve = Curve::new(&model, &costs, |idx| planner.is_quantizable(idx));
            let types: Vec<TensorType> =
                found.overrides.tensor_types.iter().map(|wanted| wanted.to_string().parse().unwrap()).collect();
            assert_eq!(types, found.overrides.tensor_types);
            let data_bytes: u64 = curve
                .choose(u64::MAX)
                .0
                .iter()
                .map(|&(idx, _)| crate::advise::recipe::tensor_bytes(&model.tensors[idx], recipe.dtypes[idx]))
                .sum();
            assert!(data_bytes < found.size_bytes);
        }
    }

    #[test]
    fn a_budget_below_the_smallest_file_is_refused_with_its_size() {
        let model = model();
        let error = budget_recipe(&model, &costs(&model), None, (1000, Budget::Bytes(1000))).unwrap_err();
        assert!(error.to_string().contains("too few"), "{error}");
    }

    #[test]
    fn gates_buy_just_the_types_of_their_point_on_the_curve() {
        let model = model();
        let costs = costs(&model);
        let points = file_points(&model, &costs, None).unwrap();
        let found = |limit: f64| {
            let search = GateSearch::new(&Gates { max_mean_kld: Some(limit), ..Gates::OFF }).unwrap();
            gated_recipe(&model, &costs, None, &search).unwrap()
        };
        let mut before = 0;
        for limit in [0.05, 0.01, 0.002] {
            let (recipe, point) = found(limit);
            assert!((recipe.loss / point.loss - 1.0).abs() < 1e-9, "nothing was measured");
            assert!(recipe.loss + recipe.loss_error <= limit && recipe.size_bytes > before, "{limit}: {recipe:?}");
            assert!(recipe.size_bytes.abs_diff(point.data_bytes) < 4096, "{limit}: {} {}", recipe.size_bytes, point.data_bytes);
            let smaller = points.iter().rev().find(|other| other.data_bytes < point.data_bytes);
            assert!(smaller.is_none_or(|smaller| smaller.loss + smaller.loss_error > limit), "{limit}: {smaller:?}");
            assert_eq!(recipe.overrides.budget.as_deref(), Some("gates"));
            assert!(!recipe.gates.unwrap().is_smallest);
            before = recipe.size_bytes;
        }
        let (smallest, point) = found(100.0);
        assert!(smallest.gates.unwrap().is_smallest && point == points[0]);
    }

    #[test]
    fn layers_with_another_type_come_before_their_kind() {
        let model = model();
        let of = |name: &str| model.tensors.iter().position(|tensor| tensor.name == name).unwrap();
        let mut dtypes: Vec<(usize, DType)> = (0..6).map(|idx| (of(&format!("blk.{idx}.attn_v.weight")), DType::Q6_K)).collect();
        dtypes
            .extend((0..6).map(|idx| (of(&format!("blk.{idx}.ffn_up.weight")), if idx < 2 { DType::Q5_K } else { DType::Q3_K })));
        dtypes.push((of("output.weight"), DType::Q5_K));
        let found = overrides_of(&model, &dtypes).to_string();
        let expected = concat!(
            r"--tensor-type '^blk\.\d+\.attn_v\.weight$=Q6_K' --tensor-type '^blk\.(0|1)\.ffn_up\.weight$=Q5_K' ",
            r"--tensor-type '^blk\.\d+\.ffn_up\.weight$=Q3_K' --output-tensor-type Q5_K",
        );
        assert_eq!(found, expected);
    }
}
