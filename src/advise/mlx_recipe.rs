//! Which matrices `mlx_lm.convert` quantizes, and how.
//!
//! Source: `quantize_model` in `mlx_lm/utils.py`, `mixed_quant_predicate_builder` in `mlx_lm/convert.py`, and `quant_predicate` and
//! `cast_predicate` of each model in `mlx_lm/models/`, mlx-lm 0.32.2.

use crate::model::Level;
use crate::quant::mlx::{Affine, Float, Mode};

/// How bits are divided among the matrices of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MlxRecipe {
    /// The same mode for all, but for the few matrices that mlx-lm keeps at 8 bits.
    Even(Mode),

    /// More bits where they count most: in the head, and in some layers' value and down projections.
    Mixed {
        /// For most matrices.
        low: Affine,
        /// For those that count most.
        high: Affine,
    },
}

/// `(name in mlx-lm, bits of most matrices, bits of the others)`.
const MIXED: [(&str, u8, u8); 4] = [("mixed_2_6", 2, 6), ("mixed_3_4", 3, 4), ("mixed_3_6", 3, 6), ("mixed_4_6", 4, 6)];

impl MlxRecipe {
    /// Names of the mixed recipes.
    pub fn mixed_names() -> impl Iterator<Item = &'static str> {
        MIXED.into_iter().map(|(name, ..)| name)
    }

    /// The mixed recipe of this name; `None` for an unknown name or group length. mlx-lm's group length is 64 unless another is
    /// asked for.
    #[must_use]
    pub fn mixed(name: &str, group_len: u8) -> Option<Self> {
        let (_, low, high) = MIXED.into_iter().find(|row| row.0 == name)?;
        Some(Self::Mixed { low: Affine::new(low, group_len)?, high: Affine::new(high, group_len)? })
    }
}

/// The mode that a level of MLX has for all matrices; `None` for mixed levels, for floats and for levels of other frameworks.
#[must_use]
pub fn mode_of(level: Level) -> Option<Mode> {
    let name = level.name().strip_prefix("mlx:")?;
    Mode::all().find(|mode| mode.to_string() == name)
}

/// `(model_type, ends of paths)` of matrices that an even recipe keeps at 8 bits in groups of 64, whatever its mode.
///
/// Those of the model types that Planish reads. Routers decide which expert answers; the projections of Granite are so small that
/// the scales of nvfp4 come out as zero.
const PINNED: [(&str, &[&str]); 3] =
    [("gpt_oss", &["router"]), ("granite", &["self_attn.o_proj", "mlp.down_proj", "lm_head"]), ("qwen3_moe", &["mlp.gate"])];

/// `(model_type, ends of paths)` of matrices that mlx-lm has no quantized layer for.
const PLAIN: [(&str, &[&str]); 2] = [("deepseek_v2", &["mlp.gate"]), ("deepseek_v3", &["mlp.gate"])];

/// `(model_type, ends of names)` of tensors that are not rounded to the type that `config.json` asks for.
const KEPT: [(&str, &[&str]); 1] = [("deepseek_v3", &["e_score_correction_bias"])];

/// The type that `config.json` asks for, to which all floating-point tensors are rounded, also before they are quantized;
/// `None` if they keep the type that they have.
///
/// `torch_dtype` is the key of that name, `text_dtype` is `text_config.dtype`: the second counts only without the first. mlx-lm
/// does not look for the `dtype` that newer files have in place of `torch_dtype`.
#[must_use]
pub fn asked_type(torch_dtype: Option<&str>, text_dtype: Option<&str>) -> Option<Float> {
    match torch_dtype.or(text_dtype)? {
        "float32" => Some(Float::F32),
        "float16" => Some(Float::F16),
        "bfloat16" => Some(Float::BF16),
        _ => None,
    }
}

/// What the choice of a mode depends on besides the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlxModel<'a> {
    model_type: &'a str,
    n_layers: u64,
    /// Part of a path that counts the layers, from 0; `None` for a model without `down_proj`.
    layer_part: Option<usize>,
}

impl<'a> MlxModel<'a> {
    /// `names` are the names of all tensors in mlx-lm.
    pub fn new<'n>(model_type: &'a str, n_layers: u64, names: impl IntoIterator<Item = &'n str>) -> Self {
        let layer_part = names.into_iter().find(|name| name.contains("down_proj")).map(|name| {
            let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            // Without a number, the last part, which is not a number elsewhere either: all matrices count as those of layer 0.
            name.split('.').position(is_number).unwrap_or_else(|| name.matches('.').count())
        });
        Self { model_type, n_layers, layer_part }
    }

    /// True if mlx-lm has this recipe for the model: the mixed ones go by names that some lack.
    #[must_use]
    pub const fn has(&self, recipe: MlxRecipe) -> bool {
        match recipe {
            MlxRecipe::Even(_) => true,
            MlxRecipe::Mixed { .. } => self.layer_part.is_some(),
        }
    }

    /// The mode of a tensor of two or more dimensions with rows of `row_len` weights; `None` if it stays as it is.
    ///
    /// `name` is its name in mlx-lm: only `….weight` are quantized. Where mlx-lm fails, because rows are whole groups of the recipe
    /// but not of the 8 bits that it wants for this matrix, the tensor stays as it is.
    #[must_use]
    pub fn mode_of(&self, recipe: MlxRecipe, name: &str, row_len: u64) -> Option<Mode> {
        let path = name.strip_suffix(".weight")?;
        let wanted = match recipe {
            MlxRecipe::Even(mode) => mode,
            MlxRecipe::Mixed { low, .. } => Mode::Affine(low),
        };
        if self.is_in(&PLAIN, path) || !row_len.is_multiple_of(wanted.group_len()) {
            return None;
        }
        let mode = match recipe {
            MlxRecipe::Even(_) if self.is_in(&PINNED, path) => Mode::Affine(Affine::new(8, 64)?),
            MlxRecipe::Even(mode) => mode,
            MlxRecipe::Mixed { low, high } => Mode::Affine(if self.counts_most(path)? { high } else { low }),
        };
        row_len.is_multiple_of(mode.group_len()).then_some(mode)
    }

    /// True if mlx-lm can have a quantized layer in place of this one: of matrices, by their names there.
    #[must_use]
    pub fn has_quantized_layer(&self, name: &str) -> bool {
        name.strip_suffix(".weight").is_some_and(|path| !self.is_in(&PLAIN, path))
    }

    /// True if a tensor takes the [`asked_type`].
    #[must_use]
    pub fn is_rounded(&self, name: &str) -> bool {
        !self.is_in(&KEPT, name)
    }

    /// True if the table has an end of this path for the model's type.
    fn is_in(&self, table: &[(&str, &[&str])], path: &str) -> bool {
        table.iter().any(|(model_type, ends)| *model_type == self.model_type && ends.iter().any(|end| path.ends_with(end)))
    }

    /// True if a mixed recipe gives this matrix more bits; `None` if the model has no such recipe.
    fn counts_most(&self, path: &str) -> Option<bool> {
        let part = path.split('.').nth(self.layer_part?);
        let layer_idx: u64 = part.and_then(|part| part.parse().ok()).unwrap_or(0);
        let first = self.n_layers / 8;
        let last = self.n_layers - self.n_layers.div_ceil(8);
        let is_layer_asked_for = layer_idx < first || layer_idx >= last || (layer_idx - first) % 3 == 2;
        // `v_proj` is a part of `qkv_proj` too, in mlx-lm as well.
        let has = |key: &str| path.contains(key);
        let is_asked_for = has("v_proj") || has("v_a_proj") || has("v_b_proj") || has("down_proj");
        Some(is_asked_for && is_layer_asked_for || has("lm_head"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const GOLDEN: &str = include_str!("../../tests/golden/mlx/recipes.json");

    /// `affine 4 64` as a mode.
    fn mode(label: &str) -> Mode {
        let [name, bits, group_len] = label.split(' ').collect::<Vec<_>>()[..] else { panic!("{label}") };
        match name {
            "affine" => Mode::Affine(Affine::new(bits.parse().unwrap(), group_len.parse().unwrap()).unwrap()),
            _ => Mode::all().find(|mode| mode.name() == name).unwrap(),
        }
    }

    /// `affine 4 64` or `mixed_2_6 64` as a recipe.
    fn recipe(label: &str) -> MlxRecipe {
        match label.split(' ').collect::<Vec<_>>()[..] {
            [name, group_len] => MlxRecipe::mixed(name, group_len.parse().unwrap()).unwrap(),
            _ => MlxRecipe::Even(mode(label)),
        }
    }

    #[test]
    fn matrices_get_the_modes_of_mlx_lm() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let (mut n_recipes, mut n_not_rounded, mut refused) = (0, 0, BTreeSet::new());
        for case in golden["cases"].as_array().unwrap() {
            let name = case["case"].as_str().unwrap();
            let matrices: Vec<(&str, u64)> = case["matrices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|matrix| (matrix[0].as_str().unwrap(), matrix[1].as_u64().unwrap()))
                .collect();
            let names = matrices.iter().map(|matrix| matrix.0);
            let model = MlxModel::new(case["model_type"].as_str().unwrap(), case["n_layers"].as_u64().unwrap(), names);
            let not_rounded: Vec<&str> = case["not_rounded"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            for name in &not_rounded {
                assert!(!model.is_rounded(name), "{name}");
            }
            n_not_rounded += not_rounded.len();
            assert!(matrices.iter().all(|matrix| model.is_rounded(matrix.0)), "{name}");
            for (label, letters) in case["recipes"].as_object().unwrap() {
                let recipe = recipe(label);
                let found = |(name, row_len)| model.mode_of(recipe, name, row_len);
                let Some(letters) = letters.as_str() else {
                    refused.insert((model.model_type.to_owned(), matches!(recipe, MlxRecipe::Mixed { .. })));
                    assert_eq!(model.has(recipe), matches!(recipe, MlxRecipe::Even(_)), "{name} {label}");
                    continue;
                };
                assert!(model.has(recipe), "{name} {label}");
                assert_eq!(letters.len(), matrices.len());
                for (letter, &matrix) in letters.chars().zip(&matrices) {
                    let expected = golden["modes"][letter.to_string()].as_str().map(mode);
                    assert_eq!(found(matrix), expected, "{name} {label} {}", matrix.0);
                }
                n_recipes += 1;
            }
        }
        assert!(n_recipes > 250 && n_not_rounded > 0, "{n_recipes} {n_not_rounded}");
        // No names to go by; and rows of 96, which are no whole groups of 64.
        let expected = [("gpt2", true), ("granite", false), ("starcoder2", true)].map(|(name, mixed)| (name.to_owned(), mixed));
        assert_eq!(refused, BTreeSet::from(expected));
    }

    #[test]
    fn tensors_get_the_types_of_mlx_lm() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let float = |name: &Value| asked_type(name.as_str(), None).unwrap();
        let rows = golden["types"].as_array().unwrap();
        for row in rows {
            let asked = asked_type(row[0]["torch_dtype"].as_str(), row[0]["text_config"]["dtype"].as_str());
            assert_eq!(asked.unwrap_or(float(&row[1])), float(&row[2]), "{row}");
        }
        assert!(rows.len() > 30);
    }

    #[test]
    fn matrices_that_mlx_lm_fails_at_stay_as_they_are() {
        let model = MlxModel::new("granite", 2, []);
        let even = MlxRecipe::Even(Mode::Nvfp4);
        assert_eq!(model.mode_of(even, "model.layers.0.mlp.down_proj.weight", 96), None);
        assert_eq!(model.mode_of(even, "model.layers.0.mlp.down_proj.weight", 128), Some(mode("affine 8 64")));
        assert_eq!(model.mode_of(even, "model.layers.0.mlp.up_proj.weight", 96), Some(Mode::Nvfp4));
    }

    #[test]
    fn names_of_mixed_recipes_are_found() {
        assert_eq!(MlxRecipe::mixed_names().filter(|name| MlxRecipe::mixed(name, 64).is_some()).count(), 4);
        assert_eq!(MlxRecipe::mixed("mixed_5_6", 64), None);
        assert_eq!(MlxRecipe::mixed("mixed_3_6", 48), None);
    }
}
