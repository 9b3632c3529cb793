//! The recipe: which type each tensor gets at a level, exactly as llama-quantize chooses.
//!
//! Source of all rules: `tensor_allows_quantization`, `llama_tensor_get_type`, `llama_tensor_get_type_impl`,
//! `tensor_type_fallback` and `init_quantize_state_counters` in src/llama-quant.cpp, llama.cpp of 2026-08-21. Two things may
//! differ: what takes the place of a type that does not fit a tensor's rows (`Fallback`), and the user's own changes
//! (`Overrides`). `tests/golden/recipes` holds what llama.cpp itself answered for models of many shapes.

use std::cmp::Ordering;

use super::fallback::Fallback;
use super::overrides::Overrides;
use super::own_level::quantized_origin;
use super::roles::{Category, Role};
use super::rules::{Counters, Facts, needs_importances};
use crate::error::Result;
use crate::format::Imatrix;
use crate::format::gguf_writer::{TensorSpec, file_size_bytes_from, metadata_size_bytes};
use crate::model::{DType, Metadata, Model, PROVENANCE_PREFIX, Preset, Tensor, Value, provenance_metadata};
use crate::units;

const FILE_TYPE_KEY: &str = "general.file_type";
const QUANTIZATION_VERSION_KEY: &str = "general.quantization_version";
/// What an output says about its importance matrix: nothing about an earlier one may be left.
const IMATRIX_KEYS: [&str; 4] =
    ["quantize.imatrix.file", "quantize.imatrix.dataset", "quantize.imatrix.entries_count", "quantize.imatrix.chunks_count"];
const SPLIT_KEYS: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// `GGML_QNT_VERSION` in ggml.h.
const QUANTIZATION_VERSION: u32 = 2;

/// The types of all tensors at a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The preset.
    pub preset: Preset,
    /// One type for each of `Model::tensors`, in the same order.
    pub dtypes: Vec<DType>,
    /// Tensors whose rows are not a whole number of the wanted blocks, so that they got another type.
    pub n_fallbacks: usize,
    /// Those of them whose wanted type was the level's choice, not the user's.
    pub n_fallbacks_of_level: usize,
    /// True when each of these got a type of more bits than the wanted one.
    pub is_larger: bool,
}

/// The recipe of one level. For several levels of one model, `Planner` does the common part once.
#[must_use]
pub fn recipe(model: &Model, preset: Preset) -> Recipe {
    Planner::new(model).recipe(preset)
}

/// The source's metadata with the output's file type and quantization version, without the keys of a split file and without what an
/// earlier conversion by Planish said of itself: the metadata of llama-quantize's output.
///
/// Keys keep their places; missing ones are appended. llama-quantize moves the two keys to the end, which nobody depends on.
#[must_use]
pub fn output_metadata(model: &Model, preset: Preset) -> Metadata {
    let mut metadata = model.metadata.clone();
    metadata.set(QUANTIZATION_VERSION_KEY, Value::U32(QUANTIZATION_VERSION));
    metadata.set(FILE_TYPE_KEY, Value::U32(preset.file_type_id()));
    for key in SPLIT_KEYS {
        metadata.remove(key);
    }
    metadata.0.retain(|(key, _)| !key.starts_with(PROVENANCE_PREFIX));
    metadata
}

/// What the output's header says about each tensor, in the source's order. Trailing dimensions of 1 are dropped, as llama-quantize does.
#[must_use]
pub fn output_specs(model: &Model, recipe: &Recipe) -> Vec<TensorSpec> {
    let specs = model.tensors.iter().zip(&recipe.dtypes);
    specs.map(|(tensor, &dtype)| TensorSpec { name: tensor.name.clone(), dtype, shape: output_shape(tensor).to_vec() }).collect()
}

/// Exact size of the output file in bytes.
///
/// # Errors
/// `Error::Internal` for a model that no reader accepts, as `gguf_writer::file_size_bytes`.
pub fn output_size_bytes(model: &Model, preset: Preset) -> Result<u64> {
    let planner = Planner::new(model);
    planner.output_size_bytes(&planner.recipe(preset))
}

/// Tensor data in bits divided by the number of weights; 0 for a model without tensors.
#[must_use]
pub fn bits_per_weight(model: &Model, recipe: &Recipe) -> f64 {
    let n_weights = model.tensors.iter().fold(0_u64, |sum, tensor| sum.saturating_add(n_elements(tensor)));
    let n_bytes = model
        .tensors
        .iter()
        .zip(&recipe.dtypes)
        .fold(0_u64, |sum, (tensor, &dtype)| sum.saturating_add(tensor_bytes(tensor, dtype)));
    units::bits_per_weight(n_bytes, n_weights)
}

/// Bytes of a tensor in this type; `u64::MAX` where that overflows or the rows are not whole blocks.
pub(super) fn tensor_bytes(tensor: &Tensor, dtype: DType) -> u64 {
    if dtype == tensor.dtype {
        return tensor.size_bytes;
    }
    dtype.row_bytes(tensor.row_len()).map_or(u64::MAX, |row_bytes| n_rows(tensor).saturating_mul(row_bytes))
}

/// `Tensor::n_elements` for models that no reader has checked.
pub(super) fn n_elements(tensor: &Tensor) -> u64 {
    tensor.shape.iter().fold(1, |product: u64, &dim| product.saturating_mul(dim))
}

/// `Tensor::n_rows` for models that no reader has checked.
pub(super) fn n_rows(tensor: &Tensor) -> u64 {
    tensor.shape.iter().skip(1).fold(1, |product: u64, &dim| product.saturating_mul(dim))
}

fn output_shape(tensor: &Tensor) -> &[u64] {
    tensor.shape.get(..tensor.n_dims()).unwrap_or(&tensor.shape)
}

/// The table that follows `--token-embedding-type`, unless a pattern names it.
const PER_LAYER_EMBEDDINGS: &str = "per_layer_token_embd.weight";

/// What does not depend on the level, computed once per model.
#[derive(Debug)]
pub struct Planner<'a> {
    model: &'a Model,
    /// One per tensor, in file order.
    roles: Vec<Role>,
    /// Indices of tensors in the order in which llama-quantize counts them.
    order: Vec<usize>,
    /// Bytes of the output's key-values without the text of the recipe.
    metadata_bytes: u64,
    imatrix: Option<&'a Imatrix>,
    /// What the source's weights were quantized to before; `None` where they were not.
    quantized_source: Option<String>,
    /// What the rules look at.
    facts: Facts,
    overrides: Overrides,
    /// One per tensor: the type of the first pattern that matches its name.
    named: Vec<Option<DType>>,
}

impl Recipe {
    /// What tensors got whose rows did not fit.
    #[must_use]
    pub fn other_type(&self) -> &'static str {
        if self.is_larger { "a larger type" } else { "another type" }
    }
}

impl<'a> Planner<'a> {
    /// Looks at every tensor's name and shape once.
    #[must_use]
    pub fn new(model: &'a Model) -> Self {
        Self::by(model, None)
    }

    /// The same for recipes alone: sizes and headers of outputs are not known.
    pub(super) fn plain(model: &'a Model) -> Self {
        Self::unchanged(model, None, model)
    }

    /// Looks at every tensor's name and shape once, for outputs that are made with this importance matrix.
    #[must_use]
    pub fn by(model: &'a Model, imatrix: Option<&'a Imatrix>) -> Self {
        Self::unchanged(model, imatrix, model).with_origin(model)
    }

    /// Looks at every tensor's name and shape once, for outputs with these changes of the levels' recipes.
    ///
    /// `model` and `imatrix` are without the layers that are left out; the rules still count those of the `whole` model, as in
    /// llama-quantize.
    ///
    /// # Errors
    /// `Error::BadChange` for a pattern that is not a regular expression or a type that cannot be written;
    /// `Error::UnmatchedPattern` for a pattern that changes nothing.
    pub fn changed(model: &'a Model, imatrix: Option<&'a Imatrix>, whole: &Model, overrides: &Overrides) -> Result<Self> {
        let mut planner = Self::unchanged(model, imatrix, whole).with_origin(whole);
        planner.named = overrides.matched(&model.tensors, |idx| planner.is_quantizable(idx))?;
        planner.facts.output = overrides.output;
        planner.overrides = overrides.clone();
        Ok(planner)
    }

    fn unchanged(model: &'a Model, imatrix: Option<&'a Imatrix>, whole: &Model) -> Self {
        let shape = &whole.hyperparameters;
        let architecture = shape.architecture.as_str();
        let is_glm5_next = architecture == "glm5-next";
        let roles: Vec<Role> = model.tensors.iter().map(|tensor| Role::of(tensor, is_glm5_next)).collect();
        let mut order: Vec<usize> = (0..roles.len()).collect();
        // The order of `weights_map`: `weight_name_comparer` in llama-model-loader.h.
        order.sort_by(|&a, &b| match roles[a].layer_idx.cmp(&roles[b].layer_idx) {
            Ordering::Equal => model.tensors[a].name.as_bytes().cmp(model.tensors[b].name.as_bytes()),
            unequal => unequal,
        });
        Self {
            facts: Facts {
                n_attention_v: count(roles.iter().filter(|role| role.category.is_attention_v()).count()),
                has_tied_embeddings: roles.iter().all(|role| role.category != Category::Output),
                has_imatrix: imatrix.is_some(),
                n_layers: n_quantize_layers(whole),
                n_experts: shape.n_experts,
                gqa_ratio: shape.gqa_ratio(),
                is_falcon: architecture == "falcon",
                is_bailing_moe3: architecture == "bailingmoe3",
                is_glm5_next,
                is_70b: is_70b(whole),
                output: None,
            },
            overrides: Overrides::default(),
            named: vec![None; roles.len()],
            metadata_bytes: 0,
            imatrix,
            quantized_source: None,
            model,
            roles,
            order,
        }
    }

    /// The same planner with what outputs say in their headers, also about a quantized source.
    fn with_origin(mut self, whole: &Model) -> Self {
        self.quantized_source = quantized_origin(whole);
        let said = provenance_metadata("", false, self.quantized_source.as_deref());
        let origin_bytes = metadata_size_bytes(&said) - metadata_size_bytes(&provenance_metadata("", false, None));
        self.metadata_bytes = output_metadata_bytes(&self.model.metadata, self.imatrix) + origin_bytes;
        self
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// The key-values of one level's output: `output_metadata`, what it says of its importance matrix, and where it comes from, with
    /// zeros for the checksums that are known only at the end.
    #[must_use]
    pub fn output_metadata(&self, preset: Preset) -> Metadata {
        let mut metadata = output_metadata(self.model, preset);
        if let Some(imatrix) = self.imatrix {
            for key in IMATRIX_KEYS {
                metadata.remove(key);
            }
            metadata.0.extend(imatrix.metadata().0);
        }
        metadata.0.extend(self.provenance(preset).0);
        metadata
    }

    fn provenance(&self, preset: Preset) -> Metadata {
        provenance_metadata(&self.recipe_text(preset), self.imatrix.is_some(), self.quantized_source.as_deref())
    }

    /// The level and the changes of its recipe: `Q4_K_M --pure`.
    #[must_use]
    pub fn recipe_text(&self, preset: Preset) -> String {
        self.overrides.recipe_text(preset.into())
    }

    /// The recipe of one level.
    #[must_use]
    pub fn recipe(&self, preset: Preset) -> Recipe {
        self.recipe_by(preset, self.overrides.fallback)
    }

    /// The recipe of one level with this menu of fallbacks.
    pub(super) fn recipe_by(&self, preset: Preset, fallback: Fallback) -> Recipe {
        let mut dtypes: Vec<DType> = self.model.tensors.iter().map(|tensor| tensor.dtype).collect();
        let mut counters = Counters::default();
        let (mut n_fallbacks, mut n_fallbacks_of_level, mut is_larger) = (0, 0, true);
        for &idx in &self.order {
            if self.roles[idx].is_quantizable {
                let wanted = self.wanted(idx, &mut counters, preset);
                let row_len = self.model.tensors[idx].row_len();
                let dtype = fallback.dtype(wanted, row_len);
                if !self.is_kept(idx, dtype) {
                    dtypes[idx] = dtype;
                    if !row_len.is_multiple_of(wanted.block_len()) {
                        n_fallbacks += 1;
                        if !self.is_chosen(idx, wanted) {
                            n_fallbacks_of_level += 1;
                            is_larger &= dtype.bits_per_weight() > wanted.bits_per_weight();
                        }
                    }
                }
            }
        }
        Recipe { preset, dtypes, n_fallbacks, n_fallbacks_of_level, is_larger }
    }

    /// True for blocks of a checkpoint (MXFP4) that another type would not make smaller: its makers trained with them.
    ///
    /// `convert_hf_to_gguf.py` keeps them in files of floats too, and llama-quantize refuses to quantize such files any further.
    fn is_kept(&self, idx: usize, dtype: DType) -> bool {
        let own = self.model.tensors[idx].dtype;
        let is_blocks = self.model.import.is_some() && own.is_quantized();
        is_blocks && self.named[idx].is_none() && dtype.bits_per_weight() >= own.bits_per_weight()
    }

    /// The type of a tensor that levels change, before its rows are looked at. Only the rules count tensors.
    ///
    /// Source: `llama_tensor_get_type`. There the types of the head and of the embeddings are taken even where they do not fit, and the
    /// program aborts.
    fn wanted(&self, idx: usize, counters: &mut Counters, preset: Preset) -> DType {
        let (tensor, role, named) = (&self.model.tensors[idx], self.roles[idx], self.named[idx]);
        let overrides = &self.overrides;
        let is_named_table = tensor.name == PER_LAYER_EMBEDDINGS && named.is_some();
        let special = match role.category {
            Category::TokenEmbedding if !is_named_table => overrides.token_embedding,
            Category::Output => overrides.output,
            _ => None,
        };
        let base = preset.base_dtype();
        match (special, named) {
            (Some(dtype), _) => dtype,
            // Levels of floats have no exceptions.
            _ if !base.is_quantized() => base,
            (None, Some(dtype)) => dtype,
            _ if overrides.pure => base,
            _ => self.facts.wanted(counters, tensor, role, preset),
        }
    }

    /// What the user should know about the changes at a level: types that do not fit, patterns that change nothing there.
    #[must_use]
    pub fn change_warnings(&self, recipe: &Recipe) -> Vec<String> {
        let mut warnings: Vec<String> = self.overrides.warning(recipe.preset).into_iter().collect();
        let mut unfit: Vec<(usize, DType)> = Vec::new();
        for idx in 0..self.roles.len() {
            let is_special = matches!(self.roles[idx].category, Category::TokenEmbedding | Category::Output);
            if self.is_quantizable(idx) && (self.named[idx].is_some() || is_special) {
                let chosen = self.wanted(idx, &mut Counters::default(), recipe.preset);
                if self.is_chosen(idx, chosen) && !self.model.tensors[idx].row_len().is_multiple_of(chosen.block_len()) {
                    unfit.push((idx, chosen));
                }
            }
        }
        if let Some(&(idx, chosen)) = unfit.first() {
            let (tensor, found) = (&self.model.tensors[idx], recipe.dtypes[idx]);
            let more = if unfit.len() == 1 { String::new() } else { format!(" and {} more", unfit.len() - 1) };
            let (name, row_len) = (&tensor.name, tensor.row_len());
            warnings.push(format!("rows of {row_len} are not whole blocks of {chosen}: {found} instead for {name}{more}"));
        }
        warnings
    }

    /// True where the user asked for this type, for this tensor or for its role.
    fn is_chosen(&self, idx: usize, wanted: DType) -> bool {
        // A tied embedding is the head too.
        let is_special = matches!(self.roles[idx].category, Category::TokenEmbedding | Category::Output);
        let special = [self.overrides.token_embedding, self.overrides.output];
        self.named[idx] == Some(wanted) || is_special && special.contains(&Some(wanted))
    }

    /// The user's changes to the recipes.
    #[must_use]
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Exact size of the output file in bytes.
    ///
    /// # Errors
    /// `Error::Internal` for a model that no reader accepts, as `gguf_writer::file_size_bytes`.
    pub fn output_size_bytes(&self, recipe: &Recipe) -> Result<u64> {
        let tensors = self.model.tensors.iter().zip(&recipe.dtypes);
        let infos = tensors.map(|(tensor, &dtype)| (tensor.name.as_str(), dtype, output_shape(tensor)));
        let metadata_bytes = self.metadata_bytes + self.recipe_text(recipe.preset).len() as u64;
        file_size_bytes_from(metadata_bytes, infos, self.model.alignment)
    }

    /// The first tensor whose type needs importances that the matrix lacks, or for which there is no matrix; and that type.
    ///
    /// Source: `tensor_requires_imatrix` in src/llama-quant.cpp, which refuses such files: they would be garbage.
    #[must_use]
    pub fn without_importances(&self, recipe: &Recipe) -> Option<(&'a Tensor, DType)> {
        let is_needy = |idx: usize, dtype: DType| {
            self.is_quantizable(idx)
                && !matches!(self.roles[idx].category, Category::Output | Category::TokenEmbedding)
                && needs_importances(dtype, recipe.preset)
        };
        let is_known = |tensor| self.imatrix.is_some_and(|imatrix| matches!(imatrix.importances_of(tensor), Ok(Some(_))));
        let tensors = self.model.tensors.iter().zip(&recipe.dtypes).enumerate();
        let mut unknown =
            tensors.filter(|(idx, (tensor, dtype))| tensor.dtype != **dtype && is_needy(*idx, **dtype) && !is_known(tensor));
        unknown.next().map(|(_, (tensor, &dtype))| (tensor, dtype))
    }

    /// True for tensors that levels change: matrices except those that llama-quantize leaves alone.
    #[must_use]
    pub fn is_quantizable(&self, tensor_idx: usize) -> bool {
        self.roles.get(tensor_idx).is_some_and(|role| role.is_quantizable)
    }
}

/// Blocks that the rules for `ffn_down` divide by.
///
/// Source: `hparams.n_layer_all`, which nanbeige and granite-switch change after reading it, and which a vision model never reads.
fn n_quantize_layers(model: &Model) -> i64 {
    let shape = &model.hyperparameters;
    let n_layers = i64::try_from(shape.n_layers).unwrap_or(i64::MAX / 8);
    match shape.architecture.as_str() {
        "clip" => 0,
        "nanbeige" => {
            let n_loops = model.metadata.u64("nanbeige.num_loops").unwrap_or(1);
            i64::try_from(n_loops).ok().and_then(|n_loops| n_layers.checked_mul(n_loops)).unwrap_or(n_layers).min(i64::MAX / 8)
        }
        "graniteswitch" => n_layers + 1,
        _ => n_layers,
    }
}

/// True where llama.cpp calls the model a 70B.
///
/// Source: `load_arch_hparams` in src/models/{llama,deci,olmo,qwen2,jais2}.cpp.
fn is_70b(model: &Model) -> bool {
    let shape = &model.hyperparameters;
    let n_predict_layers = model.metadata.u64(&format!("{}.nextn_predict_layers", shape.architecture)).unwrap_or(0);
    let n_layers = shape.n_layers.saturating_sub(n_predict_layers);
    match shape.architecture.as_str() {
        "llama" | "llama-embed" => n_layers == 80 && shape.n_experts != 8 && shape.n_heads.first() != shape.n_kv_heads.first(),
        "deci" | "olmo" | "qwen2" => n_layers == 80,
        "jais2" => n_layers == 68,
        _ => false,
    }
}

/// Bytes of the output's key-values without the recipe's text, counted without building them: a vocabulary has 100,000 strings.
fn output_metadata_bytes(metadata: &Metadata, imatrix: Option<&Imatrix>) -> u64 {
    const U32_BYTES: u64 = 4;
    let entry = |key: &str, value_bytes: u64| 8 + key.len() as u64 + 4 + value_bytes;
    let of =
        |key: &str| metadata.find(key).map_or(0, |value| metadata_size_bytes(&Metadata(vec![(key.to_string(), value.clone())])));
    let added: u64 = [FILE_TYPE_KEY, QUANTIZATION_VERSION_KEY].into_iter().map(|key| entry(key, U32_BYTES)).sum();
    let replaced = IMATRIX_KEYS.into_iter().filter(|_| imatrix.is_some());
    let dropped: u64 = SPLIT_KEYS.into_iter().chain([FILE_TYPE_KEY, QUANTIZATION_VERSION_KEY]).chain(replaced).map(of).sum();
    let added = added + imatrix.map_or(0, |imatrix| metadata_size_bytes(&imatrix.metadata()));
    let added = added + metadata_size_bytes(&provenance_metadata("", imatrix.is_some(), None));
    let earlier = metadata.0.iter().filter(|(key, _)| key.starts_with(PROVENANCE_PREFIX));
    let dropped =
        dropped + earlier.map(|(key, value)| metadata_size_bytes(&Metadata(vec![(key.clone(), value.clone())]))).sum::<u64>();
    (metadata_size_bytes(metadata) + added).saturating_sub(dropped)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX / 8)
}
