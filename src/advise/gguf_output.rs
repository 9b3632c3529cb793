//! GGUF files of llama.cpp's levels, before they are written.

use super::output::Draft;
use super::recipe::{self, Planner, Recipe};
use crate::error::{Error, Result};
use crate::format::{Imatrix, Layout, Planned, PlannedFile, Spot, Way};
use crate::model::{Framework, Level, Model, Preset, Tensor};
use crate::quant::{self, Coding};

/// GGUF files of one model, one per level.
#[derive(Debug)]
pub struct GgufOutputs<'a> {
    planner: Planner<'a>,
    imatrix: Option<&'a Imatrix>,
}

impl<'a> GgufOutputs<'a> {
    /// The files that a planner plans, made with this importance matrix.
    #[must_use]
    pub fn new(planner: Planner<'a>, imatrix: Option<&'a Imatrix>) -> Self {
        Self { planner, imatrix }
    }

    /// The model that is read.
    #[must_use]
    pub fn source(&self) -> &'a Model {
        self.planner.model()
    }

    pub(super) fn recipe_text(&self, level: Level) -> String {
        level.preset().map_or_else(|| level.to_string(), |preset| self.planner.recipe_text(preset))
    }

    pub(super) fn draft(&self, level: Level) -> Result<Draft> {
        let (planner, preset) = (&self.planner, preset_of(level)?);
        let (model, recipe) = (planner.model(), planner.recipe(preset));
        check_types(model, &recipe)?;
        if let Some((tensor, dtype)) = planner.without_importances(&recipe) {
            let level = if preset.needs_imatrix() { preset.name() } else { dtype.name() };
            return Err(Error::NeedsImatrix { level, tensor: tensor.name.clone() });
        }
        // What was assumed of a checkpoint, or is odd about a GGUF file, goes into the output.
        let mut warnings = model.warnings.clone();
        warnings.extend(loss_warnings(model, &recipe));
        warnings.extend(planner.change_warnings(&recipe));
        warnings.extend(self.imatrix.iter().flat_map(|imatrix| imatrix_warnings(model, &recipe, imatrix)));
        Ok(Draft {
            size_bytes: planner.output_size_bytes(&recipe)?,
            bits_per_weight: recipe::bits_per_weight(model, &recipe),
            warnings,
        })
    }

    pub(super) fn planned(&self, level: Level) -> Result<Planned> {
        let (planner, preset) = (&self.planner, preset_of(level)?);
        let model = planner.model();
        let recipe = planner.recipe(preset);
        let specs = recipe::output_specs(model, &recipe);
        let layout = Layout::plan(&planner.output_metadata(preset), &specs, model.alignment)?;
        let ways = specs.into_iter().zip(&layout.tensors).map(|(spec, place)| Way {
            name: spec.name,
            coding: Coding::Ggml(spec.dtype),
            shape: spec.shape,
            spots: [Spot { file_idx: 0, offset: place.offset }, Spot::default(), Spot::default()],
        });
        let ways = ways.collect();
        let file = PlannedFile { name: String::new(), size_bytes: layout.file_size_bytes, head: layout.header };
        Ok(Planned { files: vec![file], ways })
    }
}

fn preset_of(level: Level) -> Result<Preset> {
    let other = || Error::Internal { message: format!("{level} is no level of {}", Framework::LlamaCpp.name()) };
    level.preset().ok_or_else(other)
}

/// Tensors that a level changes.
fn changed<'a>(model: &'a Model, recipe: &'a Recipe) -> impl Iterator<Item = &'a Tensor> {
    model.tensors.iter().zip(&recipe.dtypes).filter(|(tensor, dtype)| tensor.dtype != **dtype).map(|(tensor, _)| tensor)
}

/// Refuses source types that would have to be decoded and cannot be.
fn check_types(model: &Model, recipe: &Recipe) -> Result<()> {
    let mut undecodable = changed(model, recipe).filter(|tensor| !quant::can_dequantize(tensor.dtype));
    let Some(first) = undecodable.next() else { return Ok(()) };
    let mut dtypes = vec![first.dtype.name()];
    let mut n_others = 0;
    for tensor in undecodable {
        n_others += 1;
        if !dtypes.contains(&tensor.dtype.name()) {
            dtypes.push(tensor.dtype.name());
        }
    }
    let tensor = if n_others == 0 { first.name.clone() } else { format!("{} and {n_others} more", first.name) };
    Err(Error::UnsupportedDType { action: "decode", dtype: dtypes.join(", "), tensor })
}

/// What the importance matrix leaves open: tensors that it does not cover, and its own warnings.
fn imatrix_warnings(model: &Model, recipe: &Recipe, imatrix: &Imatrix) -> Vec<String> {
    let searched = model.tensors.iter().zip(&recipe.dtypes);
    let searched: Vec<&Tensor> = searched
        .filter(|(tensor, dtype)| tensor.dtype != **dtype && quant::heeds_importances(**dtype))
        .map(|(tensor, _)| tensor)
        .collect();
    let is_unknown = |tensor: &&&Tensor| matches!(imatrix.importances_of(tensor), Ok(None));
    let unknown: Vec<&str> = searched.iter().filter(is_unknown).map(|tensor| tensor.name.as_str()).collect();
    let mut warnings = Vec::new();
    if let Some(first) = unknown.first() {
        let names = if unknown.len() == 1 { (*first).to_string() } else { format!("{first} and {} more", unknown.len() - 1) };
        let (is, its) = if unknown.len() == 1 { ("is", "its") } else { ("are", "their") };
        warnings.push(format!(
            "{} of {} tensors {is} not in the importance matrix, so all {its} columns count the same: {names}",
            unknown.len(),
            searched.len(),
        ));
    }
    if !searched.is_empty() {
        warnings.extend(imatrix.warnings.iter().cloned());
    }
    warnings
}

fn loss_warnings(model: &Model, recipe: &Recipe) -> Vec<String> {
    let base = recipe.preset.base_dtype();
    let mut grids: Vec<&str> = Vec::new();
    for tensor in changed(model, recipe).filter(|tensor| tensor.dtype.is_quantized()) {
        if !grids.contains(&tensor.dtype.name()) {
            grids.push(tensor.dtype.name());
        }
    }
    let mut warnings = Vec::new();
    if !grids.is_empty() {
        let grids = grids.join(", ");
        warnings.push(if base.is_quantized() {
            format!("requantized from {grids}: loses more than a conversion from the original would")
        } else {
            format!("decoded from {grids}: larger than its source, not better")
        });
    }
    // `change_warnings` reports types that the user asked for.
    if recipe.n_fallbacks_of_level > 0 {
        let whose = if recipe.n_fallbacks_of_level == 1 { "the tensor's" } else { "their" };
        warnings.push(format!(
            "{} of {} tensors got {} than {} foresees: {whose} rows are not a whole number of its blocks",
            recipe.n_fallbacks_of_level,
            recipe.dtypes.len(),
            recipe.other_type(),
            recipe.preset,
        ));
    }
    warnings
}
