//! Second moments for the levels that need them.

use std::path::PathBuf;

use super::MakeRequest;
use crate::calibrate::moments::{CollectedMoments, DEFAULT_TOKENS, MomentsRequest, collect_moments, known_moments};
use crate::calibrate::text::TextSource;
use crate::convert::{ConvertRequest, convert, preflight};
use crate::error::{Error, Result};
use crate::format;
use crate::model::{Level, Model};
use crate::monitor::Monitor;
use crate::runtime::work_folder::WorkFolder;

/// What calibrated levels are calibrated on.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// The text; `Bundled` is the calibration text.
    pub text: TextSource,
    /// The most tokens of it.
    pub n_tokens: u32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { text: TextSource::Bundled, n_tokens: DEFAULT_TOKENS }
    }
}

/// Collects second moments, or takes those that are there; `None` where no level needs any, or the request has some already.
///
/// What would be refused when the levels are made is refused before.
///
/// # Errors
/// Those of `convert::preflight` and [`collect_moments`].
pub(super) fn moments(model: &Model, request: &MakeRequest, monitor: &Monitor) -> Result<Option<CollectedMoments>> {
    let convert = &request.convert;
    if convert.imatrix.is_some() || !convert.levels.iter().any(|&level| convert.overrides.calibrate(level)) {
        return Ok(None);
    }
    if !request.reuses {
        preflight(model, convert)?;
    }
    let wanted = MomentsRequest { model, text: &request.calibration.text, n_tokens: request.calibration.n_tokens };
    if let Some(known) = known_moments(&wanted)? {
        return Ok(Some(known));
    }
    if model.is_runnable() {
        return collect_moments(&wanted, model, monitor).map(Some);
    }
    // A checkpoint must be written before it can be run.
    let work = WorkFolder::new("calibration")?;
    let runnable = runnable_of(model, work.path().to_path_buf(), monitor)?;
    collect_moments(&wanted, &runnable, monitor).map(Some)
}

/// A file with every weight of a checkpoint.
fn runnable_of(model: &Model, folder: PathBuf, monitor: &Monitor) -> Result<Model> {
    let own = model.own_level().unwrap_or(Level::F32);
    let made = convert(model, &ConvertRequest::new(vec![own], folder), monitor)?;
    let file = made.first().ok_or_else(|| Error::Internal { message: format!("no file of level {own} was made") })?;
    format::inspect(&file.path)
}
