//! What a changed recipe looks like: types and sizes of its tensors beside those of the plain level. Computed when a choice changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eframe::egui::Ui;

use crate::advise::choices::kind_of;
use crate::advise::overrides::writable_dtypes;
use crate::advise::{Overrides, Planner, bits_per_weight, pruned};
use crate::error::Result;
use crate::model::{DType, Model, Preset};
use crate::ui::kit::memo::{self, Same};

/// Types and sizes of one level's tensors with the user's changes.
#[derive(Debug)]
pub struct RecipeData {
    /// The model without the layers that are left out.
    pub model: Arc<Model>,
    /// Tensors that levels change, in the order of the file.
    pub rows: Vec<Row>,
    /// Kinds of tensors in the layers, in the order of the file.
    pub kinds: Vec<Kind>,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
    /// Size of the plain level's file, in bytes.
    pub plain_size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// Bits per weight of the plain level.
    pub plain_bits_per_weight: f64,
    /// What the user should know: types that do not fit, layers that are left out.
    pub warnings: Vec<String>,
    /// The first type that needs importances, and the name of its tensor; `None` without one.
    pub needs_imatrix: Option<(DType, String)>,
}

/// A tensor that levels change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Index among the tensors of the model without pruned layers.
    pub tensor_idx: usize,
    /// Its type.
    pub dtype: DType,
    /// Its type at the plain level.
    pub plain_dtype: DType,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Its size at the plain level.
    pub plain_size_bytes: u64,
    /// The type that was chosen for it alone.
    pub chosen: Option<DType>,
}

/// The tensors of one kind in all layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// What they have in common: `attn_v.weight`.
    pub name: String,
    /// How many there are.
    pub n_tensors: usize,
    /// The types that they have, without repeats.
    pub dtypes: Vec<DType>,
    /// Lengths of their rows, without repeats.
    pub row_lens: BTreeSet<u64>,
    /// Size of all, in bytes.
    pub size_bytes: u64,
    /// The type that was chosen for all of them.
    pub chosen: Option<DType>,
}

impl RecipeData {
    /// Types and sizes of the level `preset` of `whole` with these changes.
    ///
    /// # Errors
    /// Those of `advise::pruned` and `Planner::changed`; `Error::Internal` for a model that no reader accepts.
    pub fn of(whole: &Arc<Model>, preset: Preset, overrides: &Overrides) -> Result<Self> {
        let mut warnings = Vec::new();
        let model = if overrides.pruned_layers.is_empty() {
            Arc::clone(whole)
        } else {
            let rest = pruned(whole, &overrides.pruned_layers)?;
            warnings.extend(rest.warnings);
            Arc::new(rest.model)
        };
        let planner = Planner::changed(&model, None, whole, overrides)?;
        let recipe = planner.recipe(preset);
        warnings.extend(planner.change_warnings(&recipe));
        let plain_of_rest = Planner::changed(&model, None, whole, &Overrides::default())?.recipe(preset);
        let plain_planner = Planner::new(whole);
        let plain = plain_planner.recipe(preset);
        let size_of = |idx: usize, dtype: DType| {
            let tensor = &model.tensors[idx];
            if dtype == tensor.dtype {
                return tensor.size_bytes;
            }
            dtype.row_bytes(tensor.row_len()).map_or(0, |row_bytes| row_bytes.saturating_mul(tensor.n_rows()))
        };
        let changeable = (0..model.tensors.len()).filter(|&idx| planner.is_quantizable(idx));
        let rows: Vec<Row> = changeable
            .map(|idx| {
                let (dtype, plain_dtype) = (recipe.dtypes[idx], plain_of_rest.dtypes[idx]);
                Row {
                    tensor_idx: idx,
                    dtype,
                    plain_dtype,
                    size_bytes: size_of(idx, dtype),
                    plain_size_bytes: size_of(idx, plain_dtype),
                    chosen: overrides.chosen_for_tensor(&model.tensors[idx].name),
                }
            })
            .collect();
        Ok(Self {
            kinds: kinds(&model, &rows, overrides),
            size_bytes: planner.output_size_bytes(&recipe)?,
            plain_size_bytes: plain_planner.output_size_bytes(&plain)?,
            bits_per_weight: bits_per_weight(&model, &recipe),
            plain_bits_per_weight: bits_per_weight(whole, &plain),
            needs_imatrix: planner.without_importances(&recipe).map(|(tensor, dtype)| (dtype, tensor.name.clone())),
            rows,
            warnings,
            model,
        })
    }

    /// How many tensors have another type than at the plain level.
    #[must_use]
    pub fn n_changed(&self) -> usize {
        self.rows.iter().filter(|row| row.dtype != row.plain_dtype).count()
    }
}

fn kinds(model: &Model, rows: &[Row], overrides: &Overrides) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        let tensor = &model.tensors[row.tensor_idx];
        let Some(name) = kind_of(&tensor.name) else { continue };
        let place = *places.entry(name).or_insert_with(|| {
            kinds.push(Kind {
                name: name.to_string(),
                n_tensors: 0,
                dtypes: Vec::new(),
                row_lens: BTreeSet::new(),
                size_bytes: 0,
                chosen: overrides.chosen_for_kind(name),
            });
            kinds.len() - 1
        });
        let kind = &mut kinds[place];
        kind.n_tensors += 1;
        kind.size_bytes = kind.size_bytes.saturating_add(row.size_bytes);
        kind.row_lens.insert(tensor.row_len());
        if !kind.dtypes.contains(&row.dtype) {
            kind.dtypes.push(row.dtype);
        }
    }
    kinds
}

/// Types whose blocks fit rows of all these lengths, the widest first.
#[must_use]
pub fn fitting_dtypes(row_lens: &BTreeSet<u64>) -> Vec<DType> {
    let fits = |dtype: &DType| row_lens.iter().all(|row_len| row_len.is_multiple_of(dtype.block_len()));
    writable_dtypes().into_iter().filter(fits).collect()
}

/// [`RecipeData::of`], computed again only when model, level or changes differ from those of the frame before.
pub fn recipe_data(ui: &Ui, model: &Arc<Model>, preset: Preset, overrides: &Overrides) -> Arc<Result<RecipeData>> {
    memo::kept(ui, "recipe data", (Same::of(model), overrides.clone(), preset), || RecipeData::of(model, preset, overrides))
}

/// Exact sizes of the files of these levels with the changes, in bytes and in the order of `presets`.
pub fn changed_sizes(ui: &Ui, model: &Arc<Model>, presets: &BTreeSet<Preset>, overrides: &Overrides) -> Arc<Result<Vec<u64>>> {
    let presets: Vec<Preset> = presets.iter().copied().collect();
    memo::kept(ui, "sizes of changed recipes", (Same::of(model), overrides.clone(), presets.clone()), || {
        let rest = if overrides.pruned_layers.is_empty() { None } else { Some(pruned(model, &overrides.pruned_layers)?.model) };
        let planner = Planner::changed(rest.as_ref().unwrap_or(model), None, model, overrides)?;
        presets.iter().map(|&preset| planner.output_size_bytes(&planner.recipe(preset))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::ui::test_support::{model_with_tensors, sample_model};

    #[test]
    fn sizes_add_up_to_the_byte() {
        let model = Arc::new(sample_model());
        let plain = RecipeData::of(&model, Preset::Q8_0, &Overrides::default()).unwrap();
        assert_eq!((plain.n_changed(), plain.size_bytes), (0, plain.plain_size_bytes));
        assert_eq!(plain.kinds.len(), 7);
        let mut overrides = Overrides::default();
        overrides.choose_for_kind("attn_v.weight", Some(DType::F16));
        overrides.choose_for_tensor("blk.3.ffn_up.weight", Some(DType::Q4_1)); // the source's type
        let changed = RecipeData::of(&model, Preset::Q8_0, &overrides).unwrap();
        assert_eq!(changed.n_changed(), 31);
        let sum = |data: &RecipeData| data.rows.iter().map(|row| row.size_bytes).sum::<u64>();
        // The header says what was changed, and is padded.
        let grown = changed.size_bytes - sum(&changed) - (plain.size_bytes - sum(&plain));
        let text_bytes = " ".len() as u64 + overrides.to_string().len() as u64;
        assert!(grown.abs_diff(text_bytes) < model.alignment, "{grown} {text_bytes}");
        assert!(changed.bits_per_weight > plain.bits_per_weight);
        let kind = changed.kinds.iter().find(|kind| kind.name == "attn_v.weight").unwrap();
        assert_eq!((kind.n_tensors, kind.dtypes.as_slice(), kind.chosen), (30, &[DType::F16][..], Some(DType::F16)));
    }

    #[test]
    fn rows_follow_the_layers_that_are_left() {
        let model = Arc::new(sample_model());
        let overrides = Overrides { pruned_layers: BTreeSet::from([0, 7]), ..Overrides::default() };
        let data = RecipeData::of(&model, Preset::Q4_K_M, &overrides).unwrap();
        assert_eq!(data.rows.len(), 28 * 7 + 1);
        assert!(data.size_bytes < data.plain_size_bytes && !data.warnings.is_empty());
        let gone = Overrides { pruned_layers: BTreeSet::from([30]), ..Overrides::default() };
        assert!(matches!(RecipeData::of(&model, Preset::Q4_K_M, &gone), Err(Error::CannotPrune { .. })));
    }

    #[test]
    fn only_types_that_fit_are_offered() {
        let check = |row_lens: &[u64], dtype: DType, expected: bool| {
            assert_eq!(fitting_dtypes(&row_lens.iter().copied().collect()).contains(&dtype), expected, "{dtype} in {row_lens:?}");
        };
        check(&[576], DType::Q4_K, false);
        check(&[576], DType::IQ4_NL, true);
        check(&[1536, 256], DType::Q4_K, true);
        check(&[1536, 576], DType::Q4_K, false);
        check(&[100], DType::F16, true);
    }

    #[test]
    fn ten_thousand_tensors_take_milliseconds() {
        let model = Arc::new(model_with_tensors(10_000));
        let mut overrides = Overrides::default();
        for layer_idx in 0..20 {
            overrides.choose_for_tensor(&format!("blk.{layer_idx}.expert_7.weight"), Some(DType::Q8_0));
        }
        let data = RecipeData::of(&model, Preset::Q4_K_M, &overrides).unwrap();
        assert_eq!((data.rows.len(), data.n_changed(), data.kinds.len()), (10_000, 20, 100));
    }
}
