//! Second moments for the levels that need them, and what a budget needs to know.

use std::path::PathBuf;

use super::MakeRequest;
use crate::advise::budget::Costs;
use crate::calibrate::costs::{known_costs, measure_costs};
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
    let mut runnable = Runnable::of(model);
    moments_of(&wanted(model, &request.calibration), &mut runnable, monitor).map(Some)
}

/// What each tensor loses in each type, with the moments that this follows from: measured, or taken where it is there.
///
/// # Errors
/// Those of [`collect_moments`] and [`measure_costs`].
pub(super) fn costs(model: &Model, calibration: &Calibration, monitor: &Monitor) -> Result<(Costs, CollectedMoments)> {
    let mut runnable = Runnable::of(model);
    let wanted = wanted(model, calibration);
    let moments = moments_of(&wanted, &mut runnable, monitor)?;
    if let Some(known) = known_costs(&moments) {
        return Ok((known, moments));
    }
    let measured = measure_costs(&wanted, &moments, runnable.model(monitor)?, monitor);
    let costs = measured.inspect_err(|error| moments.forget_if_damaged(error))?;
    Ok((costs, moments))
}

fn wanted<'a>(model: &'a Model, calibration: &'a Calibration) -> MomentsRequest<'a> {
    let Calibration { text, own_percent, n_tokens } = calibration;
    MomentsRequest { model, text, own_percent: *own_percent, n_tokens: *n_tokens }
}

fn moments_of(wanted: &MomentsRequest, runnable: &mut Runnable, monitor: &Monitor) -> Result<CollectedMoments> {
    match known_moments(wanted)? {
        Some(known) => Ok(known),
        None => collect_moments(wanted, runnable.model(monitor)?, monitor),
    }
}

/// A model that llama.cpp runs: a checkpoint is written to a file first, once and only where it is asked for.
struct Runnable<'a> {
    source: &'a Model,
    /// The file, and the folder that is removed with this value.
    made: Option<(Model, WorkFolder)>,
}

impl<'a> Runnable<'a> {
    fn of(source: &'a Model) -> Self {
        Self { source, made: None }
    }

    fn model(&mut self, monitor: &Monitor) -> Result<&Model> {
        if self.source.is_runnable() {
            return Ok(self.source);
        }
        if self.made.is_none() {
            let work = WorkFolder::new("calibration")?;
            self.made = Some((file_of(self.source, work.path().to_path_buf(), monitor)?, work));
        }
        self.made.as_ref().map(|(model, _)| model).ok_or_else(|| Error::Internal { message: "no file was made".into() })
    }
}

/// What is to be said about levels that are calibrated on the user's text and compared on one of another kind; `None` where no level is
/// calibrated, where it is on the bundled text, which has all kinds, and where both are of one kind.
///
/// # Errors
/// Those of [`corpus`].
pub(super) fn kind_warning(request: &MakeRequest, compared_on: &TextSource) -> Result<Option<String>> {
    let Calibration { text, own_percent, .. } = &request.calibration;
    let overrides = &request.convert.overrides;
    // What a budget buys is calibrated too.
    let is_calibrated = request.budget.is_some() || request.convert.levels.iter().any(|&level| overrides.calibrate(level));
    if *text == TextSource::Bundled || !is_calibrated {
        return Ok(None);
    }
    Ok(text_kind::kind_warning(&calibration_corpus(text)?, *own_percent, &corpus(compared_on)?))
}

/// A file with every weight of a checkpoint.
fn file_of(model: &Model, folder: PathBuf, monitor: &Monitor) -> Result<Model> {
    let own = model.own_level().unwrap_or(Level::F32);
    let made = convert(model, &ConvertRequest::new(vec![own], folder), monitor)?;
    let file = made.first().ok_or_else(|| Error::Internal { message: format!("no file of level {own} was made") })?;
    format::inspect(&file.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::Overrides;
    use crate::advise::budget::{Aim, Budget};

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
        let budgeted = MakeRequest { budget: Some(Aim::Size(Budget::Share(0.3))), ..request(&own, 100, false) };
        assert_eq!(warning(&budgeted, &TextSource::Bundled), Some(text));
        assert_eq!(warning(&request(&own, 100, true), &own), None);
        assert_eq!(warning(&request(&own, 10, true), &TextSource::Bundled), None);
        assert_eq!(warning(&request(&TextSource::Bundled, 100, true), &own), None);
    }
}
