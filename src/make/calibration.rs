//! Second moments for the levels that need them.

use std::path::PathBuf;

use super::MakeRequest;
use crate::calibrate::moments::{CollectedMoments, DEFAULT_TOKENS, MomentsRequest, collect_moments, known_moments};
use crate::calibrate::text::{TextSource, calibration_corpus, corpus};
use crate::calibrate::text_kind;
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
    /// Percent of the tokens that come from the user's text, 1 to 100; the others come from the bundled text.
    pub own_percent: u32,
    /// The most tokens of it.
    pub n_tokens: u32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { text: TextSource::Bundled, own_percent: 100, n_tokens: DEFAULT_TOKENS }
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
    let Calibration { text, own_percent, n_tokens } = &request.calibration;
    let wanted = MomentsRequest { model, text, own_percent: *own_percent, n_tokens: *n_tokens };
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

/// What is to be said about levels that are calibrated on the user's text and compared on one of another kind; `None` where no level is
/// calibrated, where it is on the bundled text, which has all kinds, and where both are of one kind.
///
/// # Errors
/// Those of [`corpus`].
pub(super) fn kind_warning(request: &MakeRequest, compared_on: &TextSource) -> Result<Option<String>> {
    let Calibration { text, own_percent, .. } = &request.calibration;
    let overrides = &request.convert.overrides;
    if *text == TextSource::Bundled || !request.convert.levels.iter().any(|&level| overrides.calibrate(level)) {
        return Ok(None);
    }
    Ok(text_kind::kind_warning(&calibration_corpus(text)?, *own_percent, &corpus(compared_on)?))
}

/// A file with every weight of a checkpoint.
fn runnable_of(model: &Model, folder: PathBuf, monitor: &Monitor) -> Result<Model> {
    let own = model.own_level().unwrap_or(Level::F32);
    let made = convert(model, &ConvertRequest::new(vec![own], folder), monitor)?;
    let file = made.first().ok_or_else(|| Error::Internal { message: format!("no file of level {own} was made") })?;
    format::inspect(&file.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::Overrides;

    #[test]
    fn only_a_text_of_the_user_that_calibrates_levels_can_be_of_another_kind() {
        let russian = "Поезд стоял на станции две минуты, и за эти две минуты она успевала продать ведро яблок. ".repeat(20);
        let request = |text: &TextSource, own_percent: u32, calibrated: bool| {
            let overrides = Overrides { calibrated, ..Overrides::default() };
            let convert = ConvertRequest { overrides, ..ConvertRequest::new(vec![Level::Q4_K_M], "out") };
            let calibration = Calibration { text: text.clone(), own_percent, ..Calibration::default() };
            MakeRequest { calibration, ..MakeRequest::new(convert) }
        };
        let own = TextSource::Pasted(russian);
        let warning = |request: &MakeRequest, compared_on: &TextSource| kind_warning(request, compared_on).unwrap();
        let text = warning(&request(&own, 100, true), &TextSource::Bundled).unwrap_or_default();
        assert!(text.contains("calibrated on pasted text and compared on bundled evaluation text"), "{text}");
        assert_eq!(warning(&request(&own, 100, false), &TextSource::Bundled), None);
        assert_eq!(warning(&request(&own, 100, true), &own), None);
        assert_eq!(warning(&request(&own, 10, true), &TextSource::Bundled), None);
        assert_eq!(warning(&request(&TextSource::Bundled, 100, true), &own), None);
    }
}
