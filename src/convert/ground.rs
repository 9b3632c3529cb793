//! What a request's outputs are made from, read once for all of them.

use std::path::Path;

use super::manifest::{FileEntry, Manifest, name_of};
use super::paths::output_path_by;
use super::{Conversion, ConvertRequest, folder, without_layers};
use rayon::prelude::*;

use crate::advise::recipe::Planner;
use crate::advise::{GgufOutputs, MlxChanges, MlxOutputs, OnnxOutputs, Outputs, Overrides, Pruned, pruned_imatrix};
use crate::error::{Error, Result};
use crate::format::{FolderFiles, Imatrix, MOMENTS_INDEX, Opened, read_any, read_folder_files, read_imatrix};
use crate::import::{mlx_model, onnx_model};
use crate::model::{Checkpoint, Decoder, Framework, Level, Model, OtherLevel, Tensor, Text};

/// Name of the text that importances are collected on where the user has none.
pub const BUNDLED_CALIBRATION_TEXT: &str = "bundled calibration text";

/// The model, what was left out of it, and what is read beside it.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    whole: &'a Model,
    request: &'a ConvertRequest,
    pub(super) rest: Option<Pruned>,
    pub(super) imatrix: Option<Imatrix>,
    /// Read where a level asks for a folder.
    folders: Option<FolderGround>,
    /// The tensors of the checkpoint as mlx-lm has them.
    mlx: Option<Model>,
    /// What the checkpoint computes, and its tensors as graphs of ONNX have them.
    onnx: Option<(Decoder, Model)>,
}

/// What folders are made from besides tensors.
#[derive(Debug)]
pub(super) struct FolderGround {
    checkpoint: Checkpoint,
    files: FolderFiles,
}

impl<'a> Ground<'a> {
    /// Reads what the levels of the request need.
    ///
    /// # Errors
    /// Those of [`fitting_imatrix`] and [`without_layers`]; what keeps a model from being written for MLX.
    pub(super) fn read(whole: &'a Model, request: &'a ConvertRequest) -> Result<Self> {
        let imatrix = request.imatrix.as_deref().map(|path| fitting_imatrix(whole, path)).transpose()?;
        let imatrix = imatrix.map(|imatrix| pruned_imatrix(imatrix, &request.overrides.pruned_layers));
        let is_calibrated = request.levels.iter().any(|&level| request.overrides.calibrate(level));
        let imatrix = if is_calibrated { Some(with_moments(whole, imatrix)?) } else { imatrix };
        let first_other = request.levels.iter().find(|level| level.preset().is_none());
        let folders = first_other.map(|level| FolderGround::read(level.framework(), whole, request)).transpose()?;
        let wanted = |framework: Framework| {
            let is_wanted = request.levels.iter().any(|level| level.framework() == framework);
            folders.as_ref().filter(|_| is_wanted).map(|folders| &folders.checkpoint)
        };
        let mlx = wanted(Framework::Mlx).map(mlx_model).transpose()?;
        let onnx = wanted(Framework::OnnxRuntime).map(onnx_model).transpose()?;
        Ok(Self { rest: without_layers(whole, &request.overrides)?, whole, request, imatrix, folders, mlx, onnx })
    }

    /// The outputs of a framework.
    ///
    /// # Errors
    /// Those of `Planner::changed` and `MlxOutputs::new`; `Error::Internal` for a framework that nothing was read for.
    pub(super) fn outputs(&self, framework: Framework) -> Result<Outputs<'_>> {
        let overrides = &self.request.overrides;
        match (framework, &self.folders, &self.mlx, &self.onnx) {
            (Framework::LlamaCpp, ..) => {
                let model = self.rest.as_ref().map_or(self.whole, |rest| &rest.model);
                let imatrix = self.imatrix.as_ref();
                let planner = Planner::changed(model, imatrix, self.whole, overrides)?;
                Ok(Outputs::Gguf(Box::new(GgufOutputs::new(planner, imatrix))))
            }
            (Framework::Mlx, Some(folders), Some(source), _) => folders.of_mlx(source, overrides),
            (Framework::OnnxRuntime, Some(folders), _, Some((decoder, source))) => {
                Ok(folders.of_onnx(decoder, source, overrides))
            }
            _ => Err(Error::Internal { message: format!("nothing is written for {}", framework.name()) }),
        }
    }

    /// Whether codes are chosen by error feedback.
    pub(super) fn is_calibrated(&self) -> bool {
        self.request.overrides.calibrated
    }

    /// The importance matrix that outputs of a framework heed.
    pub(super) fn imatrix_of(&self, framework: Framework) -> Option<&Imatrix> {
        self.imatrix.as_ref().filter(|_| matches!(framework, Framework::LlamaCpp | Framework::OnnxRuntime))
    }
}

impl FolderGround {
    fn read(framework: Framework, model: &Model, request: &ConvertRequest) -> Result<Self> {
        let cannot = |why: &str| Error::CannotWrite { framework: framework.name(), why: why.into(), path: model.path.clone() };
        if model.import.is_none() {
            return Err(cannot("it is made from the checkpoint of a model, not from its GGUF file"));
        }
        if !request.overrides.pruned_layers.is_empty() {
            return Err(cannot("only levels of llama.cpp can leave out layers"));
        }
        match read_any(&model.path)? {
            Opened::Checkpoint(checkpoint) => {
                let files = read_folder_files(&checkpoint)?;
                Ok(Self { checkpoint: *checkpoint, files })
            }
            Opened::Model(_) | Opened::Onnx(_) => Err(Error::SourceChanged { path: model.path.clone() }),
        }
    }

    /// Reads what a checkpoint's folders are made from; gives the checkpoint back where one of its files cannot be read.
    pub(super) fn of(checkpoint: Checkpoint) -> std::result::Result<Self, Box<Checkpoint>> {
        match read_folder_files(&checkpoint) {
            Ok(files) => Ok(Self { checkpoint, files }),
            Err(_) => Err(Box::new(checkpoint)),
        }
    }

    fn of_mlx<'a>(&'a self, source: &'a Model, overrides: &'a Overrides) -> Result<Outputs<'a>> {
        Ok(Outputs::Mlx(Box::new(MlxOutputs::new(source, &self.checkpoint, &self.files, overrides)?)))
    }

    fn of_onnx<'a>(&'a self, decoder: &'a Decoder, source: &'a Model, overrides: &'a Overrides) -> Outputs<'a> {
        Outputs::Onnx(Box::new(OnnxOutputs::new(decoder, source, &self.checkpoint, &self.files, overrides)))
    }

    /// All levels that folders can be made of, with their sizes, framework after framework. Where a framework does not take the
    /// checkpoint it has none; when asked for one, the conversion says why.
    pub(super) fn levels(&self) -> Vec<OtherLevel> {
        let (plain, wide) = (Overrides::default(), Overrides { mlx: MlxChanges::wide_ends(), ..Overrides::default() });
        let mut all = Vec::new();
        if let Ok((decoder, source)) = onnx_model(&self.checkpoint) {
            all.extend(sized(Framework::OnnxRuntime, &self.of_onnx(&decoder, &source, &plain), None));
        }
        let of_mlx = mlx_model(&self.checkpoint).and_then(|source| {
            let wide = self.of_mlx(&source, &wide).ok();
            Ok(sized(Framework::Mlx, &self.of_mlx(&source, &plain)?, wide.as_ref()))
        });
        all.extend(of_mlx.unwrap_or_default());
        all
    }

    pub(super) fn into_checkpoint(self) -> Checkpoint {
        self.checkpoint
    }
}

/// The levels of a framework with their sizes; `wide` has embeddings and head in 8 bits.
fn sized(framework: Framework, plain: &Outputs, wide: Option<&Outputs>) -> Vec<OtherLevel> {
    let other = |level: Level| {
        let draft = plain.draft(level).ok()?;
        let wide = wide.filter(|_| level != Level::MLX_BF16).and_then(|wide| wide.draft(level).ok());
        Some(OtherLevel {
            level,
            size_bytes: draft.size_bytes,
            bits_per_weight: draft.bits_per_weight,
            wide_ends: wide.map(|wide| (wide.size_bytes, wide.bits_per_weight)),
        })
    };
    // Each draft lays out a whole folder, and a checkpoint is opened while the user waits.
    Level::of(framework).collect::<Vec<_>>().into_par_iter().filter_map(other).collect()
}

/// The folder that an earlier run has made of a level, if it has the files and sizes that would be made now.
///
/// # Errors
/// What keeps the level from being made.
pub fn made_before(model: &Model, level: Level, request: &ConvertRequest) -> Result<Option<Conversion>> {
    let path = output_path_by(model, level, &request.overrides, &request.out_dir);
    let Ok(Some(manifest)) = Manifest::read(&folder::manifest_path(&path)) else { return Ok(None) };
    let request = ConvertRequest { levels: vec![level], ..request.clone() };
    let ground = Ground::read(model, &request)?;
    let outputs = ground.outputs(level.framework())?;
    let draft = outputs.draft(level)?;
    let is_there = |file: &FileEntry| std::fs::metadata(path.join(&file.name)).is_ok_and(|found| found.len() == file.size_bytes);
    let is_alike = manifest.size_bytes == draft.size_bytes
        && manifest.recipe == outputs.recipe_text(level)
        && manifest.source.name == name_of(&model.path)
        && folder::files_of(&path, &manifest).is_some()
        && manifest.files.iter().all(is_there);
    Ok(is_alike.then(|| Conversion {
        level,
        path,
        source: model.path.clone(),
        size_bytes: draft.size_bytes,
        bits_per_weight: draft.bits_per_weight,
        elapsed_secs: 0.0,
        warnings: vec!["taken from an earlier run".into()],
        check: None,
        changes: request.overrides.text_of(level),
    }))
}

/// The importance matrix of calibrated levels, which has second moments. Where there is none yet, the one that will be collected: of the
/// same size, so that a plan is exact, but without numbers.
fn with_moments(model: &Model, imatrix: Option<Imatrix>) -> Result<Imatrix> {
    match imatrix {
        Some(imatrix) if imatrix.moments.is_some() => Ok(imatrix),
        Some(Imatrix { path, .. }) => {
            let what = "it has no second moments, which calibrated levels need".to_string();
            Err(Error::BadImatrix { what, path })
        }
        None => {
            let planner = Planner::new(model);
            let quantizable = model.tensors.iter().enumerate().filter(|(idx, _)| planner.is_quantizable(*idx));
            let even = |tensor: &Tensor| {
                vec![1.0; usize::try_from(tensor.row_len() * tensor.shape.iter().skip(2).product::<u64>()).unwrap_or(0)]
            };
            Ok(Imatrix {
                path: MOMENTS_INDEX.into(),
                dataset: Some(Text::from(BUNDLED_CALIBRATION_TEXT)),
                n_chunks: 1,
                entries: quantizable.map(|(_, tensor)| (tensor.name.clone(), even(tensor))).collect(),
                warnings: Vec::new(),
                moments: None,
            })
        }
    }
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
