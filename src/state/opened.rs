//! What belongs to the open model: found when it is opened, put aside when another one is opened, taken up again when it comes
//! back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Form, Slot, Store};
use crate::advise::{CheckedCheckpoint, Gates, Learned};
use crate::bench::history::Kind;
use crate::bench::known::{Known, RunOrigin};
use crate::bench::quality::{QualityOutcome, QualityRequest};
use crate::bench::tensors::tensor_error::TensorErrors;
use crate::bench::{self, AnswerOutcome, Lesson, Outcome};
use crate::calibrate::imatrix::Collected;
use crate::convert::Conversion;
use crate::error::Error;
use crate::hardware::Machine;
use crate::make::Reference;
use crate::model::{Level, Model, OnnxNetwork, OtherLevel};
use crate::units::{count_of, local_day_text};
use crate::worker::JobId;

/// The most models whose results are kept in memory; older ones are found again on the disk.
const MAX_ASIDE: usize = 16;

/// What was made and measured of a model that is not open now.
#[derive(Debug, Clone)]
pub struct Aside {
    model: Arc<Model>,
    checkpoint: Option<Arc<CheckedCheckpoint>>,
    conversions: Vec<Conversion>,
    outcomes: Vec<Outcome>,
    quality: Vec<QualityOutcome>,
    answers: Vec<AnswerOutcome>,
    origins: Vec<RunOrigin>,
    tensor_errors: Slot<Arc<TensorErrors>>,
    imatrix: Option<Arc<Collected>>,
}

/// What the disk and the history had of a model when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FoundNote {
    /// Levels on the disk.
    pub n_levels: usize,
    /// Files with a measurement, the source included.
    pub n_measured: usize,
    /// The latest measurement, in seconds since 1970.
    pub latest_unix_secs: Option<i64>,
    /// Whether the model has run over the bundled calibration text.
    pub has_moments: bool,
}

impl FoundNote {
    /// `5 levels found, measured on 29 November 2026`; `None` where there was nothing.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let day = self.latest_unix_secs.map(|secs| format!("measured on {}", local_day_text(secs)));
        match (self.n_levels, day) {
            (0, None) => None,
            (0, Some(day)) => Some(format!("No level found; the model itself was {day}")),
            (n, day) => Some(format!("{} found, {}", count_of(n, "level"), day.unwrap_or_else(|| "not measured yet".into()))),
        }
    }
}

impl Store {
    /// The path that was opened: the folder of a checkpoint even when one of its files stands for it.
    #[must_use]
    pub fn opened_path(&self) -> Option<&Path> {
        let network = self.network.as_ref().map(|network| network.path.as_path());
        let checkpoint = || self.checkpoint.as_ref().map(|checked| checked.checkpoint.path.as_path());
        network.or_else(checkpoint).or_else(|| self.model.ready().map(|model| model.path.as_path()))
    }

    /// True while a model is being opened.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.opening.is_some() || self.model.waiting_for().is_some()
    }

    /// Where the shown measurement of a file comes from; `None` for one of this session.
    #[must_use]
    pub fn origin_of(&self, path: &Path, kind: Kind) -> Option<&RunOrigin> {
        self.origins.iter().find(|origin| origin.kind == kind && origin.path == path)
    }

    /// Measurements of the open model that say something about this machine: runs of another machine or runtime are shown, but
    /// left out here.
    fn outcomes_of_here(&self) -> Vec<&Outcome> {
        let is_of_here =
            |outcome: &&Outcome| self.origin_of(&outcome.path, Kind::Speed).is_none_or(|origin| origin.differences.is_empty());
        self.outcomes.iter().filter(is_of_here).collect()
    }

    /// The runs that predictions for this machine learn from: of the open model, and of the history.
    #[must_use]
    pub fn lessons(&self, machine: &Machine) -> Vec<Lesson> {
        bench::lessons(&self.outcomes_of_here(), self.history.ready().map_or(&[], |rows| rows.as_slice()), machine)
    }

    /// What was measured on this machine, as far as it teaches predictions for the open model; its losses are judged by `gates`.
    #[must_use]
    pub fn learned(&self, model: &Model, machine: &Machine, gates: &Gates) -> Learned {
        let levels = bench::levels_of_session(&self.conversions, &self.outcomes_of_here(), &self.quality, gates);
        bench::learned(model, machine, levels, &self.lessons(machine))
    }

    /// Notes that a model is being opened. What is open stays in place until the new one has been read: it may not be readable.
    pub(super) fn begin_opening(&mut self, id: JobId, path: &Path) {
        self.open_failure = None;
        if self.opened_path().is_some() {
            self.opening = Some((id, path.to_path_buf()));
        } else {
            self.model = Slot::Waiting { id };
            self.model_path = Some(path.to_path_buf());
        }
    }

    pub(super) fn fail_opening(&mut self, id: JobId, error: &Error) {
        if let Some((_, path)) = self.opening.take_if(|(opening, _)| *opening == id) {
            self.open_failure = Some((path, error.clone()));
        }
    }

    /// True when this job is the latest that opens something; its note in `opening` is taken away.
    fn ends_opening(&mut self, id: JobId) -> bool {
        self.opening.take_if(|(opening, _)| *opening == id).is_some() || self.model.waiting_for() == Some(id)
    }

    /// Takes a model that has been read in place of the one that is open.
    pub(super) fn open_model(&mut self, id: JobId, model: Arc<Model>) {
        if !self.ends_opening(id) {
            return;
        }
        self.put_aside();
        (self.checkpoint, self.network) = (None, None);
        self.model_path = Some(model.path.clone());
        self.take_up(|aside| aside.checkpoint.is_none() && aside.model == model);
        self.model = Slot::Ready(model);
    }

    /// Takes a checkpoint that has been read in place of what is open. A file that keeps its weights goes on standing for it.
    pub(super) fn open_checkpoint(&mut self, id: JobId, checked: Arc<CheckedCheckpoint>) {
        if !self.ends_opening(id) {
            return;
        }
        self.put_aside();
        self.network = None;
        self.model_path = Some(checked.checkpoint.path.clone());
        let is_it = |aside: &Aside| aside.checkpoint.as_ref().is_some_and(|known| known.checkpoint == checked.checkpoint);
        let stand_in = self.take_up(is_it).filter(|model| model.is_runnable());
        self.model = stand_in.or_else(|| checked.model.clone()).map_or(Slot::Empty, Slot::Ready);
        self.checkpoint = Some(checked);
    }

    /// Takes a network that has been read in place of what is open.
    pub(super) fn open_network(&mut self, id: JobId, network: Arc<OnnxNetwork>) {
        if !self.ends_opening(id) {
            return;
        }
        self.put_aside();
        (self.checkpoint, self.model) = (None, Slot::Empty);
        self.model_path = Some(network.path.clone());
        self.network = Some(network);
    }

    /// Puts what belongs to the open model aside.
    fn put_aside(&mut self) {
        let (conversions, outcomes) = (std::mem::take(&mut self.conversions), std::mem::take(&mut self.outcomes));
        let (quality, answers) = (std::mem::take(&mut self.quality), std::mem::take(&mut self.answers));
        let (origins, imatrix) = (std::mem::take(&mut self.origins), self.imatrix.take());
        let tensor_errors = std::mem::take(&mut self.tensor_errors);
        let checkpoint = self.checkpoint.clone();
        let aside = self.model.ready().cloned().map(|model| Aside {
            model,
            checkpoint,
            conversions,
            outcomes,
            quality,
            answers,
            origins,
            tensor_errors,
            imatrix,
        });
        self.found = None;
        if let Some(aside) = aside {
            let key = |aside: &Aside| aside.checkpoint.as_ref().map_or(&aside.model.path, |known| &known.checkpoint.path).clone();
            self.aside.retain(|known| key(known) != key(&aside));
            self.aside.push(aside);
            let n_old = self.aside.len().saturating_sub(MAX_ASIDE);
            self.aside.drain(..n_old);
        }
    }

    /// Takes up again what was put aside and returns its model; `None` when `is_it` accepts nothing, as for a file that has
    /// changed since.
    fn take_up(&mut self, is_it: impl Fn(&Aside) -> bool) -> Option<Arc<Model>> {
        let at = self.aside.iter().position(is_it)?;
        let aside = self.aside.remove(at);
        self.conversions = aside.conversions;
        self.outcomes = aside.outcomes;
        self.quality = aside.quality;
        self.answers = aside.answers;
        self.origins = aside.origins;
        // A comparison that was under way belonged to what was shown then.
        self.tensor_errors = if aside.tensor_errors.ready().is_some() { aside.tensor_errors } else { Slot::Empty };
        self.imatrix = aside.imatrix;
        Some(aside.model)
    }

    /// Adds what the disk and the history have of the open model. What this session made and measured takes precedence.
    pub(super) fn take_known(&mut self, known: Known) {
        let Some(model) = self.model.ready().filter(|model| model.path == known.source).cloned() else { return };
        if known.problem.is_some() {
            self.refusal = known.problem;
        }
        let latest_unix_secs = known.origins.iter().map(|origin| origin.recorded_unix_secs).max();
        let mut measured: Vec<&Path> = known.origins.iter().map(|origin| origin.path.as_path()).collect();
        measured.sort_unstable();
        measured.dedup();
        self.forget_files(&known.gone);
        let (n_levels, n_measured, has_moments) = (known.levels.len(), measured.len(), known.has_moments);
        self.found = Some(FoundNote { n_levels, n_measured, latest_unix_secs, has_moments });
        if known.gone.contains(&model.path)
            && let Some(whole) = self.checkpoint.as_ref().and_then(|checked| checked.model.clone())
        {
            self.model = Slot::Ready(whole);
        }
        if let Some(stand_in) = known.stand_in.filter(|_| !model.is_runnable()) {
            for conversion in &mut self.conversions {
                conversion.source.clone_from(&stand_in.path);
            }
            self.conversions.retain(|conversion| conversion.path != stand_in.path);
            self.model = Slot::Ready(self.standing_in(stand_in));
        }
        for level in known.levels {
            if !self.conversions.iter().any(|made| made.path == level.path) {
                self.conversions.push(level);
            }
        }
        self.conversions.sort_by_key(|made| std::cmp::Reverse(made.size_bytes));
        let mut origins = known.origins;
        for outcome in known.outcomes {
            if !self.outcomes.iter().any(|own| own.path == outcome.path && own.result.is_ok()) {
                self.adopt_origin(&mut origins, Kind::Speed, &outcome.path);
                self.outcomes.retain(|own| own.path != outcome.path);
                self.outcomes.push(outcome);
            }
        }
        for outcome in known.quality {
            if !self.quality.iter().any(|own| own.path == outcome.path && own.result.is_ok()) {
                self.adopt_origin(&mut origins, Kind::Quality, &outcome.path);
                self.quality.retain(|own| own.path != outcome.path);
                self.quality.push(outcome);
            }
        }
    }

    fn adopt_origin(&mut self, origins: &mut Vec<RunOrigin>, kind: Kind, path: &Path) {
        let is_it = |origin: &RunOrigin| origin.kind == kind && origin.path == path;
        if let Some(at) = origins.iter().position(is_it) {
            self.origins.retain(|origin| !is_it(origin));
            self.origins.push(origins.remove(at));
        }
    }

    /// Takes files that are gone off all lists; the history keeps their runs.
    pub fn forget_files(&mut self, gone: &[PathBuf]) {
        if let Some(found) = &mut self.found {
            found.n_levels -= self.conversions.iter().filter(|made| gone.contains(&made.path)).count().min(found.n_levels);
        }
        self.conversions.retain(|made| !gone.contains(&made.path));
        self.outcomes.retain(|outcome| !gone.contains(&outcome.path));
        self.quality.retain(|outcome| !gone.contains(&outcome.path));
        self.answers.retain(|outcome| !gone.contains(&outcome.path));
        self.origins.retain(|origin| !gone.contains(&origin.path));
        self.verified.retain(|found| !gone.contains(&found.path));
        self.forget_tensor_errors(|errors| gone.contains(&errors.converted));
    }

    pub(super) fn take_conversions(&mut self, new: Vec<Conversion>) {
        let Some(open_path) = self.model.ready().map(|model| model.path.clone()) else { return };
        for mut conversion in new {
            // The user may have opened another model meanwhile: the file is on disk, but it is not about this one.
            if !self.is_of_open_model(&conversion) {
                continue;
            }
            conversion.source.clone_from(&open_path);
            self.outcomes.retain(|outcome| outcome.path != conversion.path);
            self.origins.retain(|origin| origin.path != conversion.path);
            self.forget_tensor_errors(|errors| errors.converted == conversion.path);
            self.quality.retain(|outcome| outcome.path != conversion.path);
            self.answers.retain(|outcome| outcome.path != conversion.path);
            self.verified.retain(|found| found.path != conversion.path);
            self.conversions.retain(|known| known.path != conversion.path);
            self.conversions.push(conversion);
        }
    }

    /// Makes the file that keeps every weight of the open checkpoint the open model: it can be run and measured against. What
    /// was made from the checkpoint is what would have been made from the file.
    pub(super) fn adopt(&mut self, mut made: Vec<Conversion>, model: Arc<Model>) {
        if !made.iter().any(|conversion| self.is_of_open_model(conversion)) {
            return;
        }
        made.retain(|conversion| conversion.path != model.path);
        self.conversions.retain(|conversion| conversion.path != model.path);
        for conversion in &mut self.conversions {
            conversion.source.clone_from(&model.path);
        }
        self.model = Slot::Ready(self.standing_in(model));
        self.take_conversions(made);
    }

    /// A file that stands for the open checkpoint, with the levels that are made from the checkpoint.
    fn standing_in(&self, mut model: Arc<Model>) -> Arc<Model> {
        Arc::make_mut(&mut model).others = self.other_levels().to_vec();
        model
    }

    /// The open checkpoint as a model, even when one of its files stands for it: some levels are made from it alone.
    #[must_use]
    pub fn checkpoint_model(&self) -> Option<&Arc<Model>> {
        self.checkpoint.as_ref()?.model.as_ref()
    }

    /// What the levels of the open model are held against. A checkpoint whose file of full size is larger than memory is computed by
    /// Planish itself, as soon as the machine is known.
    #[must_use]
    pub fn reference(&self, form: &Form) -> Reference {
        let (Some(model), Some(checked), Some(machine)) = (self.model.ready(), &self.checkpoint, self.machine.ready()) else {
            return Reference::File;
        };
        let n_ctx = u64::from(form.bench.n_prompt_tokens) + u64::from(form.bench.n_gen_tokens);
        let n_ctx = n_ctx.max(QualityRequest::default().n_ctx.into());
        Reference::with(model, machine, form.goal.memory_budget_bytes, n_ctx, || checked.own_obstacle.clone())
    }

    /// What a level is made from: some are made from the checkpoint itself, even when one of its files stands for it.
    #[must_use]
    pub fn source_of(&self, level: Level) -> Option<&Arc<Model>> {
        let of_checkpoint = || self.checkpoint_model().filter(|_| level.preset().is_none());
        of_checkpoint().or(self.model.ready())
    }

    /// Levels that can be made from the open checkpoint alone.
    #[must_use]
    pub fn other_levels(&self) -> &[OtherLevel] {
        self.checkpoint_model().map_or(&[], |model| model.others.as_slice())
    }

    /// True for a file that was made from the open model, or from the checkpoint that it stands for.
    fn is_of_open_model(&self, conversion: &Conversion) -> bool {
        let checkpoint = self.checkpoint.as_ref().map(|checked| &checked.checkpoint.path);
        self.model.ready().is_some_and(|model| model.path == conversion.source || checkpoint == Some(&conversion.source))
    }

    /// Drops the tensor errors if `is_old` is true of them: their files are gone or made anew.
    pub(super) fn forget_tensor_errors(&mut self, is_old: impl Fn(&TensorErrors) -> bool) {
        if self.tensor_errors.ready().is_some_and(|errors| is_old(errors)) {
            self.tensor_errors = Slot::Empty;
        }
    }
}
