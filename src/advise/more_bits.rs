//! Chosen tensors with the next larger type: a recipe whose cost is exact.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Overrides, Planner, pruned};
use crate::error::Result;
use crate::model::{DType, Model, Preset};

/// Types for rows of whole super-blocks, and those for all other rows: the steps that llama.cpp's rules take when a tensor
/// deserves more bits or does not fit. Types that need importances are not steps.
///
/// Source: `llama_tensor_get_type` and `tensor_type_fallback` in src/llama-quant.cpp, llama.cpp of 2026-08-21.
const SUPER_BLOCKS: [DType; 7] = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::Q8_0, DType::F16];
const BLOCKS: [DType; 6] = [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::F16];
/// A smaller step in bits per weight is not worth a change.
const LEAST_STEP: f64 = 0.49;

/// A recipe that gives chosen tensors more bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreBits {
    /// The earlier changes together with the new types.
    pub overrides: Overrides,
    /// Tensors that get a larger type; those that already have as many bits as their source do not count.
    pub n_tensors: usize,
    /// Exact size of the file without it, in bytes.
    pub from_bytes: u64,
    /// Exact size of the file with it, in bytes.
    pub to_bytes: u64,
}

/// The next larger type for each of `names` at a preset, on top of `overrides`.
///
/// # Errors
/// As [`Planner::changed`] and [`pruned`].
pub fn more_bits(model: &Arc<Model>, preset: Preset, overrides: &Overrides, names: &BTreeSet<String>) -> Result<MoreBits> {
    let rest = if overrides.pruned_layers.is_empty() {
        Arc::clone(model)
    } else {
        Arc::new(pruned(model, &overrides.pruned_layers)?.model)
    };
    let before = Planner::changed(&rest, None, model, overrides)?;
    let recipe = before.recipe(preset);
    let mut changed = overrides.clone();
    let mut n_tensors = 0;
    for (idx, (tensor, &dtype)) in rest.tensors.iter().zip(&recipe.dtypes).enumerate() {
        if !names.contains(&tensor.name) || !before.is_quantizable(idx) {
            continue;
        }
        if let Some(larger) = next_larger(dtype, tensor.dtype, tensor.row_len()) {
            changed.choose_for_tensor(&tensor.name, Some(larger));
            n_tensors += 1;
        }
    }
    let after = Planner::changed(&rest, None, model, &changed)?;
    let (from_bytes, to_bytes) = (before.output_size_bytes(&recipe)?, after.output_size_bytes(&after.recipe(preset))?);
    Ok(MoreBits { overrides: changed, n_tensors, from_bytes, to_bytes })
}

/// The next type with at least half a bit more per weight; `None` where the source has no more to give.
fn next_larger(dtype: DType, source: DType, row_len: u64) -> Option<DType> {
    let steps: &[DType] = if row_len.is_multiple_of(256) { &SUPER_BLOCKS } else { &BLOCKS };
    let bits = DType::bits_per_weight;
    let fits = |step: &&DType| row_len.is_multiple_of(step.block_len());
    let larger = steps.iter().filter(fits).find(|step| bits(**step) >= bits(dtype) + LEAST_STEP).copied()?;
    (bits(larger) <= bits(source)).then_some(larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    fn model() -> Arc<Model> {
        let mut model = sample_model();
        for tensor in &mut model.tensors {
            if tensor.dtype.is_quantized() {
                tensor.dtype = DType::F16;
                tensor.size_bytes = 2 * tensor.n_elements();
            }
        }
        Arc::new(model)
    }

    #[test]
    fn the_next_type_fits_the_rows_and_never_exceeds_the_source() {
        let check = |dtype, source, row_len, expected| assert_eq!(next_larger(dtype, source, row_len), expected, "{dtype}");
        check(DType::Q4_K, DType::F16, 4096, Some(DType::Q5_K));
        check(DType::Q6_K, DType::F16, 4096, Some(DType::Q8_0));
        check(DType::Q8_0, DType::F16, 4096, Some(DType::F16));
        check(DType::IQ4_XS, DType::F16, 4096, Some(DType::Q5_K));
        check(DType::Q5_0, DType::F16, 576, Some(DType::Q5_1));
        check(DType::Q5_1, DType::F16, 576, Some(DType::Q8_0));
        check(DType::F16, DType::F16, 4096, None);
        check(DType::Q4_1, DType::Q4_1, 576, None);
        check(DType::Q4_K, DType::F16, 100, Some(DType::F16));
    }

    #[test]
    fn what_it_costs_is_exact() {
        let model = model();
        let names: BTreeSet<String> = (0..12).map(|idx| format!("blk.{idx}.ffn_down.weight")).collect();
        let found = more_bits(&model, Preset::Q4_K_M, &Overrides::default(), &names).unwrap();
        assert_eq!(found.n_tensors, 12);
        let planner = Planner::changed(&model, None, &model, &found.overrides).unwrap();
        let recipe = planner.recipe(Preset::Q4_K_M);
        let plain = Planner::new(&model).recipe(Preset::Q4_K_M);
        assert_eq!(planner.output_size_bytes(&recipe).unwrap(), found.to_bytes);
        assert!(found.to_bytes > found.from_bytes);
        for (tensor, (now, before)) in model.tensors.iter().zip(recipe.dtypes.iter().zip(&plain.dtypes)) {
            if names.contains(&tensor.name) {
                assert!(now.bits_per_weight() > before.bits_per_weight(), "{}", tensor.name);
            }
        }
        // A second time goes one step further.
        let again = more_bits(&model, Preset::Q4_K_M, &found.overrides, &names).unwrap();
        assert!(again.to_bytes > found.to_bytes && again.from_bytes == found.to_bytes);
    }

    #[test]
    fn norms_and_unknown_names_get_nothing() {
        let names = BTreeSet::from(["blk.0.attn_norm.weight".to_string(), "no such tensor".to_string()]);
        let found = more_bits(&model(), Preset::Q4_K_M, &Overrides::default(), &names).unwrap();
        assert_eq!((found.n_tensors, found.from_bytes), (0, found.to_bytes));
    }
}
