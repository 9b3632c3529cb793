//! MLX folders, before they are written.

use super::mlx_changes::MlxType;
use super::mlx_recipe::{MlxModel, MlxRecipe, asked_type, mode_of};
use super::output::Draft;
use super::overrides::Overrides;
use crate::error::{Error, Result};
use crate::format::mlx::{arranged, config_file};
use crate::format::{FolderFiles, Planned, model_card};
use crate::model::{Checkpoint, DType, Framework, Level, Model, Tensor};
use crate::quant::Coding;
use crate::quant::mlx::{Float, Mode};

/// MLX folders of one checkpoint, one per level.
#[derive(Debug)]
pub struct MlxOutputs<'a> {
    /// The checkpoint's tensors as mlx-lm has them.
    source: &'a Model,
    checkpoint: &'a Checkpoint,
    files: &'a FolderFiles,
    facts: MlxModel<'a>,
    /// The type that `config.json` asks for.
    asked: Option<Float>,
    overrides: &'a Overrides,
    /// One for each tensor: the type that the changes ask for.
    wanted: Vec<Option<MlxType>>,
}

/// What a level makes of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Making {
    /// All of them floats of one type.
    Floats(Float),
    /// Matrices quantized by a recipe, the rest floats.
    Quantized(MlxRecipe),
}

impl<'a> MlxOutputs<'a> {
    /// The outputs of a checkpoint; `source` has its tensors as `import::mlx_model` gives them.
    ///
    /// # Errors
    /// `Error::UnmatchedPattern` and `Error::BadChange` for changes that do not fit the model.
    pub fn new(source: &'a Model, checkpoint: &'a Checkpoint, files: &'a FolderFiles, overrides: &'a Overrides) -> Result<Self> {
        let text = |key: &str| files.config.get(key).and_then(serde_json::Value::as_str);
        let config = checkpoint.config.as_ref();
        let within = files.config.get("text_config").and_then(|part| part.get("dtype")?.as_str());
        let names = source.tensors.iter().map(|tensor| tensor.name.as_str());
        let facts =
            MlxModel::new(config.map_or("", |config| &config.model_type), config.map_or(0, |config| config.n_layers), names);
        Ok(Self {
            wanted: overrides.mlx.wanted(&source.tensors, &facts)?,
            asked: asked_type(text("torch_dtype"), within),
            facts,
            source,
            checkpoint,
            files,
            overrides,
        })
    }

    /// The model that is read.
    #[must_use]
    pub fn source(&self) -> &'a Model {
        self.source
    }

    fn making(&self, level: Level) -> Result<Making> {
        let cannot =
            |why: String| Error::CannotWrite { framework: Framework::Mlx.name(), why, path: self.checkpoint.path.clone() };
        let making = making_of(level).ok_or_else(|| Error::Internal { message: format!("{level} is no level of MLX") })?;
        match making {
            Making::Quantized(recipe) if !self.facts.has(recipe) => {
                Err(cannot(format!("{level} goes by names of matrices (down_proj) that this model does not have")))
            }
            _ => Ok(making),
        }
    }

    fn codings(&self, making: Making) -> Vec<Coding> {
        let coding = |(tensor, changed): (&Tensor, &Option<MlxType>)| {
            // Packed experts stay as they are, at every level.
            if tensor.dtype == DType::MXFP4 {
                return Coding::Mlx { mode: Mode::Mxfp4, float: Float::BF16 };
            }
            let own = Float::from_dtype(tensor.dtype).unwrap_or(Float::F32);
            let wanted = match making {
                Making::Floats(float) => Some(float),
                Making::Quantized(_) => self.asked,
            };
            let float = wanted.filter(|_| self.facts.is_rounded(&tensor.name)).unwrap_or(own);
            match making {
                Making::Quantized(recipe) if tensor.shape.len() > 1 => {
                    let mode = match changed {
                        Some(MlxType::Mode(mode)) => Some(*mode),
                        Some(MlxType::Float) => None,
                        None => self.facts.mode_of(recipe, &tensor.name, tensor.row_len()),
                    };
                    mode.map_or(Coding::Ggml(float.dtype()), |mode| Coding::Mlx { mode, float })
                }
                _ => Coding::Ggml(float.dtype()),
            }
        };
        self.source.tensors.iter().zip(&self.wanted).map(coding).collect()
    }

    /// All files but those that are copied as they are.
    fn own_files(&self, level: Level) -> Result<Planned> {
        let making = self.making(level)?;
        let codings = self.codings(making);
        let tensors: Vec<_> = self
            .source
            .tensors
            .iter()
            .zip(&codings)
            .map(|(tensor, coding)| (tensor.name.as_str(), *coding, &*tensor.shape))
            .collect();
        let broken = || Error::Internal { message: format!("{level} of {} has no layout", self.checkpoint.name) };
        let arranged = arranged(&tensors).ok_or_else(broken)?;
        let usual = self.usual_mode(making);
        let others: Vec<(&str, Mode)> = tensors.iter().filter_map(|&(name, coding, _)| other_mode(name, coding, usual)).collect();
        let mut files = arranged.files;
        files.push(config_file(&self.files.config, usual, &others).ok_or_else(broken)?);
        files.push(model_card(self.checkpoint, "mlx", "MLX", &self.recipe_text(level)));
        Ok(Planned { files, ways: arranged.ways })
    }

    pub(super) fn draft(&self, level: Level) -> Result<Draft> {
        let planned = self.own_files(level)?;
        let warnings = self.warnings(level, &planned);
        Ok(Draft::of_folder(self.source, &planned.files, &planned.ways, self.files, warnings))
    }

    /// The mode that `config.json` names for all: of packed experts where there are any, as in mlx-lm, else the level's.
    fn usual_mode(&self, making: Making) -> Option<Mode> {
        let has_packed = self.source.tensors.iter().any(|tensor| tensor.dtype == DType::MXFP4);
        if has_packed { Some(Mode::Mxfp4) } else { usual_mode(making) }
    }

    /// The level and what changes there.
    pub(super) fn recipe_text(&self, level: Level) -> String {
        self.overrides.recipe_text(level)
    }

    pub(super) fn planned(&self, level: Level) -> Result<Planned> {
        let mut planned = self.own_files(level)?;
        planned.files.extend(self.files.planned());
        Ok(planned)
    }

    fn warnings(&self, level: Level, planned: &Planned) -> Vec<String> {
        let mut warnings = self.source.warnings.clone();
        warnings.extend(self.overrides.mlx.warning(level));
        let making = making_of(level);
        let Some(group_len) = making.and_then(usual_mode).map(Mode::group_len) else { return warnings };
        let tensors = self.source.tensors.iter().zip(&planned.ways).zip(&self.wanted);
        let whole: Vec<&Tensor> = tensors
            .filter(|((tensor, way), wanted)| {
                let is_matrix_of_floats = tensor.shape.len() > 1 && matches!(way.coding, Coding::Ggml(_));
                is_matrix_of_floats && wanted.is_none() && !tensor.row_len().is_multiple_of(group_len)
            })
            .map(|((tensor, _), _)| tensor)
            .collect();
        if let Some(first) = whole.first() {
            let row_len = first.row_len();
            let names =
                if whole.len() == 1 { first.name.clone() } else { format!("{} and {} more", first.name, whole.len() - 1) };
            warnings.push(format!("rows of {row_len} are not whole groups of {group_len}: {names} stay floats, as in mlx-lm"));
        }
        if making == Some(Making::Quantized(MlxRecipe::Even(Mode::Nvfp4))) {
            warnings.push("nvfp4 in mlx-lm has no scale for the whole matrix: matrices of small weights lose much".into());
        }
        warnings
    }
}

/// What a level of MLX is; `None` for other levels.
fn making_of(level: Level) -> Option<Making> {
    if level == Level::MLX_BF16 {
        return Some(Making::Floats(Float::BF16));
    }
    let mixed = || MlxRecipe::mixed(level.name().strip_prefix("mlx:")?, 64);
    mode_of(level).map(MlxRecipe::Even).or_else(mixed).map(Making::Quantized)
}

/// The mode of most matrices.
fn usual_mode(making: Making) -> Option<Mode> {
    match making {
        Making::Floats(_) => None,
        Making::Quantized(MlxRecipe::Even(mode)) => Some(mode),
        Making::Quantized(MlxRecipe::Mixed { low, .. }) => Some(Mode::Affine(low)),
    }
}

/// Path and mode of a matrix with another mode than the usual one.
fn other_mode(name: &str, coding: Coding, usual: Option<Mode>) -> Option<(&str, Mode)> {
    match coding {
        Coding::Mlx { mode, .. } if Some(mode) != usual => Some((name.strip_suffix(".weight")?, mode)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_mlx_is_made_somehow() {
        let levels: Vec<Level> = Level::of(Framework::Mlx).collect();
        assert!(levels.len() > 20);
        for level in levels {
            assert!(making_of(level).is_some(), "{level}");
        }
        assert_eq!(making_of(Level::Q4_0), None);
    }
}
