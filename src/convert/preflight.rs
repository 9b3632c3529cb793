//! Everything that can be refused before the first byte, and what the outputs will be.

use std::path::{Path, PathBuf};

use super::existing::placed;
use super::manifest::may_be_written;
use super::paths::{FileId, manifest_path, output_path_by, part_path};
use super::{ConvertRequest, Overwrite, disk, without_layers};
use crate::advise::pruned_imatrix;
use crate::advise::recipe::{self, Planner, Recipe};
use crate::error::{Error, Result};
use crate::format::{Imatrix, Layout, TensorSpec, read_imatrix};
use crate::model::{Level, Model, Tensor};
use crate::quant;

/// More threads than any laptop has only cost memory.
const MAX_THREADS: usize = 256;

/// What a conversion will do, known to be possible.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkPlan {
    /// One for each level, in the order of the request, repeats and those that are skipped dropped.
    pub outputs: Vec<PlannedOutput>,
    /// Size of all outputs together, in bytes.
    pub needed_bytes: u64,
    /// Bytes free for this user where they go; `None` where the system does not tell.
    pub free_bytes: Option<u64>,
    /// Threads that decode, encode and write.
    pub n_threads: usize,
    /// The importance matrix that was asked for; it fits the model without the layers that are left out.
    pub imatrix: Option<Imatrix>,
}

/// An output file before it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedOutput {
    /// The level.
    pub level: Level,
    /// Its final name.
    pub path: PathBuf,
    /// Its exact size in bytes.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// What the user should know: `requantized from Q4_1`.
    pub warnings: Vec<String>,
    /// The type of each tensor.
    pub recipe: Recipe,
    /// Whether a file of this name is replaced.
    pub overwrite: Overwrite,
}

/// Plans a conversion and makes all checks that need no work. Creates and changes nothing.
///
/// # Errors
/// Whatever would keep the conversion from ending well: no weights or levels, a type that cannot be decoded, an output that exists
/// or is the source, a folder that is not writable, too little space, an importance matrix that is none or of another model.
pub fn preflight(model: &Model, request: &ConvertRequest) -> Result<WorkPlan> {
    let n_threads = n_threads(request)?;
    if let Some(kind) = model.other_kind() {
        return Err(Error::NotAModel { what: kind.name(), hint: kind.hint(), path: model.path.clone() });
    }
    if !model.obstacles.is_empty() {
        return Err(Error::NotLoadable { what: model.obstacles.join("; "), path: model.path.clone() });
    }
    let mut levels = Vec::new();
    for &level in &request.levels {
        if !levels.contains(&level) {
            levels.push(level);
        }
    }
    if levels.is_empty() {
        return Err(Error::BadRequest { message: "no level to convert to".into() });
    }
    let imatrix = request.imatrix.as_deref().map(|path| fitting_imatrix(model, path)).transpose()?;
    let imatrix = imatrix.map(|imatrix| pruned_imatrix(imatrix, &request.overrides.pruned_layers));
    let rest = without_layers(model, &request.overrides)?;
    let changed_model = rest.as_ref().map_or(model, |rest| &rest.model);
    let planner = Planner::changed(changed_model, imatrix.as_ref(), model, &request.overrides)?;
    let mut outputs = Vec::with_capacity(levels.len());
    for level in levels {
        let mut output = plan_output(&planner, level, &request.out_dir, imatrix.as_ref())?;
        output.warnings.extend(rest.iter().flat_map(|rest| rest.warnings.iter().cloned()));
        outputs.extend(placed(output, request));
    }
    let sources: Vec<_> = model.files.iter().filter_map(|file| Some((file, FileId::of(file)?))).collect();
    for output in &outputs {
        check_names(&output.path, &sources, output.overwrite)?;
    }
    let folder = disk::existing_ancestor(&request.out_dir)?;
    for output in &outputs {
        disk::check_name(&folder, &output.path)?;
    }
    disk::check_writable(&folder)?;
    let needed_bytes = outputs.iter().map(|output| output.size_bytes).fold(0, u64::saturating_add);
    let reclaimed: u64 = outputs.iter().map(|output| disk::reclaimed_bytes(&part_path(&output.path))).sum();
    let free_bytes = disk::free_bytes(&folder).map(|free| free.saturating_add(reclaimed));
    match free_bytes {
        Some(free_bytes) if free_bytes < needed_bytes => Err(Error::NotEnoughSpace { needed_bytes, free_bytes, path: folder }),
        _ => Ok(WorkPlan { outputs, needed_bytes, free_bytes, n_threads, imatrix }),
    }
}

fn n_threads(request: &ConvertRequest) -> Result<usize> {
    match request.n_threads {
        Some(0) => Err(Error::BadRequest { message: "a conversion needs at least one thread".into() }),
        Some(n_threads) => Ok(n_threads.min(MAX_THREADS)),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)),
    }
}

fn plan_output(planner: &Planner, level: Level, out_dir: &Path, imatrix: Option<&Imatrix>) -> Result<PlannedOutput> {
    let (model, recipe) = (planner.model(), planner.recipe(level));
    check_types(model, &recipe)?;
    if let Some((tensor, dtype)) = planner.without_importances(&recipe) {
        let level = if level.needs_imatrix() { level.name() } else { dtype.name() };
        return Err(Error::NeedsImatrix { level, tensor: tensor.name.clone() });
    }
    // What was assumed of a checkpoint, or is odd about a GGUF file, goes into the output.
    let mut warnings = model.warnings.clone();
    warnings.extend(loss_warnings(model, &recipe));
    warnings.extend(planner.change_warnings(&recipe));
    warnings.extend(imatrix.iter().flat_map(|imatrix| imatrix_warnings(model, &recipe, imatrix)));
    Ok(PlannedOutput {
        level,
        path: output_path_by(model, level, planner.overrides(), out_dir),
        size_bytes: planner.output_size_bytes(&recipe)?,
        bits_per_weight: recipe::bits_per_weight(model, &recipe),
        warnings,
        recipe,
        overwrite: Overwrite::Never,
    })
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

/// Reads an importance matrix that was made from this model.
///
/// # Errors
/// Those of `format::read_imatrix`; `Error::BadImatrix` when it knows no tensor of the model, `Error::ImatrixMismatch` when one has
/// other columns.
pub fn fitting_imatrix(model: &Model, path: &Path) -> Result<Imatrix> {
    let imatrix = read_imatrix(path)?;
    let planner = Planner::new(model);
    let mut n_found = 0;
    for (idx, tensor) in model.tensors.iter().enumerate() {
        if planner.is_quantizable(idx) {
            n_found += usize::from(imatrix.importances_of(tensor)?.is_some());
        }
    }
    if n_found > 0 {
        return Ok(imatrix);
    }
    let what = format!("none of its {} entries is for a tensor of this model", imatrix.entries.len());
    Err(Error::BadImatrix { what, path: imatrix.path })
}

/// What the importance matrix leaves open: tensors that it does not know, and what it says of itself.
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
        warnings.push(format!(
            "{} of {} tensors are not in the importance matrix, so all their columns count the same: {names}",
            unknown.len(),
            searched.len(),
        ));
    }
    if !searched.is_empty() {
        warnings.extend(imatrix.warnings.iter().cloned());
    }
    warnings
}

/// Refuses outputs that exist or are a source, under whatever name.
fn check_names(path: &Path, sources: &[(&PathBuf, FileId)], overwrite: Overwrite) -> Result<()> {
    for name in [path, &part_path(path)] {
        let id = FileId::of(name);
        if let Some((source, _)) = sources.iter().find(|(_, source)| Some(source) == id.as_ref()) {
            return Err(Error::OutputIsSource { path: (*source).clone() });
        }
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(Error::NotAFile { kind: "a folder", path: path.to_path_buf() }),
        Ok(_) if overwrite == Overwrite::Never => Err(Error::OutputExists { path: path.to_path_buf() }),
        _ => {
            let manifest = manifest_path(path);
            let is_replaced = !manifest.is_dir() && (overwrite == Overwrite::Allowed || may_be_written(&manifest));
            if is_replaced { Ok(()) } else { Err(Error::OutputExists { path: manifest }) }
        }
    }
}

fn loss_warnings(model: &Model, recipe: &Recipe) -> Vec<String> {
    let base = recipe.level.base_dtype();
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
    // Of types that the user asked for, `change_warnings` tells.
    if recipe.n_fallbacks_of_level > 0 {
        warnings.push(format!(
            "{} of {} tensors got {} than {} foresees: their rows are not a whole number of its blocks",
            recipe.n_fallbacks_of_level,
            recipe.dtypes.len(),
            recipe.other_type(),
            recipe.level,
        ));
    }
    warnings
}

/// Tensors of a level's output, in the order of the source, and the layout that its predicted size belongs to.
pub(super) fn layout(planner: &Planner, output: &PlannedOutput) -> Result<(Vec<TensorSpec>, Layout)> {
    let model = planner.model();
    let specs = recipe::output_specs(model, &output.recipe);
    let layout = Layout::plan(&planner.output_metadata(output.level), &specs, model.alignment)?;
    Ok((specs, layout))
}
