//! Files of an earlier run that are just what would be made now.

use std::path::Path;

use crate::advise::{self, Planner};
use crate::convert::{self, Conversion, ConvertRequest};
use crate::error::Result;
use crate::format;
use crate::model::{Level, Metadata, Model, Preset, Value};

/// The files that are there already, and the levels that are missing.
///
/// # Errors
/// Those of the importance matrix and of layers that cannot be left out.
pub(super) fn reused(model: &Model, request: &ConvertRequest) -> Result<(Vec<Conversion>, Vec<Level>)> {
    let overrides = &request.overrides;
    let imatrix = request.imatrix.as_deref().map(|path| convert::fitting_imatrix(model, path)).transpose()?;
    let imatrix = imatrix.map(|imatrix| advise::pruned_imatrix(imatrix, &overrides.pruned_layers));
    let rest = convert::without_layers(model, overrides)?;
    let changed = rest.as_ref().map_or(model, |rest| &rest.model);
    let planner = Planner::changed(changed, imatrix.as_ref(), model, overrides)?;
    let (mut known, mut missing) = (Vec::new(), Vec::new());
    for &level in &request.levels {
        let found = match level.preset() {
            Some(preset) => existing(&planner, preset, &request.out_dir)?,
            None => convert::made_before(model, level, request)?,
        };
        match found {
            Some(conversion) => known.push(conversion),
            None => missing.push(level),
        }
    }
    Ok((known, missing))
}

/// An output of an earlier run, when it has exactly the predicted size and types and was made with the same importance matrix, if any.
fn existing(planner: &Planner, preset: Preset, out_dir: &Path) -> Result<Option<Conversion>> {
    let (model, recipe, overrides) = (planner.model(), planner.recipe(preset), planner.overrides());
    let level = Level::from(preset);
    // Size and types do not show which layers were left out.
    if !overrides.pruned_layers.is_empty() {
        return Ok(None);
    }
    let path = convert::output_path_by(model, level, overrides, out_dir);
    let size_bytes = planner.output_size_bytes(&recipe)?;
    let is_complete = std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size_bytes);
    // Padding may hide what the keys of an importance matrix add to the size.
    let of_imatrix =
        |metadata: Metadata| metadata.0.into_iter().filter(|(key, _)| key.starts_with("quantize.imatrix.")).collect();
    let expected: Vec<(String, Value)> = of_imatrix(planner.output_metadata(preset));
    let is_alike = || {
        format::inspect(&path).is_ok_and(|made| {
            made.tensors.iter().map(|tensor| tensor.dtype).eq(recipe.dtypes.iter().copied())
                && of_imatrix(made.metadata) == expected
        })
    };
    if !is_complete || !is_alike() {
        return Ok(None);
    }
    Ok(Some(Conversion {
        level,
        path,
        source: model.path.clone(),
        size_bytes,
        bits_per_weight: advise::bits_per_weight(model, &recipe),
        elapsed_secs: 0.0,
        warnings: vec!["taken from an earlier run".into()],
        check: None,
        changes: overrides.text_of(level),
    }))
}
