//! Turns the user's choices into requests for the worker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{App, absolute};
use crate::bench::history::machine_text;
use crate::bench::known::FindRequest;
use crate::bench::quality::{QualityRequest, Stopping};
use crate::bench::{AnswerRequest, BenchRequest, Measured, Start, comparison_rows, is_timed_here};
use crate::calibrate::imatrix::imatrix_path;
use crate::calibrate::text::TextSource;
use crate::convert::{self, ConvertRequest, Existing, Overwrite, Removal, Resume};
use crate::deploy::{Export, ExportRequest};
use crate::error::{Error, Result};
use crate::model::{Level, Model};
use crate::state::{ExistingForm, Page, Store, TextChoice};
use crate::worker::{Job, JobId};

impl App {
    fn convert(&mut self, levels: Vec<Level>, existing: BTreeMap<Level, Existing>) -> Result<()> {
        self.save();
        let (levels, _) = self.convert_others(levels, &existing)?;
        if levels.is_empty() {
            return Ok(());
        }
        let (model, request) = self.conversion(levels, None)?;
        let imatrix = self.chosen_imatrix(&model);
        let calibration = self.calibration();
        self.submit(&Job::Convert { model, request: ConvertRequest { existing, imatrix, ..request }, calibration })
    }

    /// Converts the levels that are made from the checkpoint itself, even when one of its files stands for it, in a job of
    /// their own: changes to llama.cpp's recipes and importance matrices do not apply to them. Returns the other levels, and that job.
    pub(super) fn convert_others(
        &mut self,
        levels: Vec<Level>,
        existing: &BTreeMap<Level, Existing>,
    ) -> Result<(Vec<Level>, Option<JobId>)> {
        let (others, levels): (Vec<Level>, _) = levels.into_iter().partition(|level| level.preset().is_none());
        if others.is_empty() {
            return Ok((levels, None));
        }
        let (open, request) = self.conversion(others, None)?;
        let model = self.store.checkpoint_model().cloned().unwrap_or(open);
        let overrides = request.overrides.part_for(&request.levels);
        let request = ConvertRequest { existing: existing.clone(), overrides, ..request };
        let job = self.submit_for_id(&Job::Convert { model, request, calibration: self.calibration() })?;
        Ok((levels, Some(job)))
    }

    /// Converts, after collecting a matrix if `is_collecting`; asks first what becomes of files that exist.
    pub(super) fn begin_conversion(&mut self, levels: Vec<Level>, is_collecting: bool) -> Result<()> {
        let (model, request) = self.conversion(levels, None)?;
        let existing =
            |levels: &[Level], model: &Model| convert::existing_outputs(model, levels, &request.overrides, &request.out_dir);
        let (own, others): (Vec<Level>, Vec<Level>) = request.levels.iter().copied().partition(|level| level.preset().is_some());
        let mut levels = existing(&own, &model);
        levels.extend(existing(&others, self.store.checkpoint_model().unwrap_or(&model)));
        // Someone who asks again for levels that all exist wants second files; beside new levels the old ones are left alone.
        let usual = if levels.len() == request.levels.len() { Existing::KeepBoth } else { Existing::Skip };
        let matrix = imatrix_path(&model, &request.out_dir);
        let is_asked = is_collecting && !self.form.imatrix.reuse && matrix.exists();
        let question = ExistingForm {
            files: levels.into_iter().map(|(level, path)| (level, path, usual)).collect(),
            matrix: is_asked.then_some((matrix, Existing::Skip)),
            levels: request.levels,
            is_collecting,
        };
        if question.files.is_empty() && question.matrix.is_none() {
            return self.go_on_with_conversion(question);
        }
        self.form.existing = Some(question);
        Ok(())
    }

    /// Converts as the user has answered.
    pub(super) fn answer_existing(&mut self) -> Result<()> {
        self.form.existing.take().map_or(Ok(()), |answered| self.go_on_with_conversion(answered))
    }

    fn go_on_with_conversion(&mut self, answered: ExistingForm) -> Result<()> {
        let existing: BTreeMap<Level, Existing> = answered.files.iter().map(|(level, _, answer)| (*level, *answer)).collect();
        let is_left = |level: &Level| existing.get(level) != Some(&Existing::Skip);
        let levels: Vec<Level> = answered.levels.into_iter().filter(is_left).collect();
        if levels.is_empty() {
            // All were skipped: the files that exist may be new to the list.
            return self.find_known();
        }
        if answered.is_collecting {
            let matrix = answered.matrix.map(|(_, answer)| answer);
            return self.collect_and_convert(levels, existing, matrix);
        }
        self.convert(levels, existing)
    }

    /// Deletes the files that the user has been asked about.
    pub(super) fn delete(&mut self) -> Result<()> {
        let Some(question) = self.form.deleting.take() else { return Ok(()) };
        let removal = if question.no_bin.is_some() { Removal::ForGood } else { Removal::Bin };
        self.submit(&Job::Remove { paths: question.paths, removal })
    }

    /// Looks for levels and runs of the open model.
    pub(super) fn find_known(&mut self) -> Result<()> {
        let Some(model) = self.store.model.ready().cloned() else { return Ok(()) };
        let made = self.store.conversions.iter().map(|made| made.path.clone());
        let request = FindRequest {
            folders: vec![self.output_dir()],
            known: made.chain(model.is_runnable().then(|| model.path.clone())).collect(),
            machine: self.store.machine.ready().map(|machine| machine_text(machine)),
            model,
        };
        self.submit(&Job::FindKnown { request })
    }

    /// Converts models that were dropped together. The first of them is opened, so that the window shows what is going on.
    pub(super) fn convert_all(&mut self, paths: Vec<PathBuf>, levels: &[Level]) -> Result<()> {
        if let Some(first) = paths.first() {
            self.submit(&Job::Inspect { path: absolute(first) })?;
        }
        let out_dir = match self.form.output_dir.trim() {
            "" => PathBuf::new(),
            dir => absolute(&crate::path_text::from_text(dir)),
        };
        for path in paths {
            let request = ConvertRequest {
                n_threads: usize::try_from(self.form.convert_threads).ok().filter(|&n| n > 0),
                resume: Resume::IfSame,
                keep_unfinished: self.form.keep_unfinished,
                ..ConvertRequest::new(levels.to_vec(), out_dir.clone())
            };
            self.submit(&Job::ConvertFile { path: absolute(&path), request })?;
        }
        self.form.page = Page::Optimize;
        Ok(())
    }

    /// The importance matrix that the form names for levels of this model; none for calibrated ones, which have more.
    pub(super) fn chosen_imatrix(&self, model: &Model) -> Option<PathBuf> {
        Some(self.form.imatrix_path.trim())
            .filter(|path| !path.is_empty() && !self.form.recipe.of(model).calibrated)
            .map(|path| absolute(&crate::path_text::from_text(path)))
    }

    /// The open model and the conversion that the form asks for, with this importance matrix.
    pub(super) fn conversion(&self, levels: Vec<Level>, imatrix: Option<PathBuf>) -> Result<(Arc<Model>, ConvertRequest)> {
        let Some(model) = self.store.model.ready().cloned() else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        let request = ConvertRequest {
            levels,
            out_dir: self.output_dir(),
            overwrite: Overwrite::Never,
            existing: BTreeMap::new(),
            n_threads: usize::try_from(self.form.convert_threads).ok().filter(|&n| n > 0),
            imatrix,
            overrides: self.form.recipe.of(&model),
            resume: Resume::IfSame,
            keep_unfinished: self.form.keep_unfinished,
        };
        Ok((model, request))
    }

    pub(super) fn bench(&mut self, models: Vec<PathBuf>, start: Start) -> Result<()> {
        let request = BenchRequest { start, ..self.bench_request(models) };
        self.submit(&Job::Bench { request })
    }

    /// A request to measure these files, without those whose framework is not worth timing on this machine.
    pub(super) fn bench_request(&self, mut models: Vec<PathBuf>) -> BenchRequest {
        let is_untimed = |path: &PathBuf| {
            self.store.conversions.iter().any(|made| made.path == *path && !is_timed_here(made.level.framework()))
        };
        models.retain(|path| !is_untimed(path));
        let bench = &self.form.bench;
        BenchRequest {
            models,
            n_prompt_tokens: bench.n_prompt_tokens,
            n_gen_tokens: bench.n_gen_tokens,
            n_repetitions: bench.n_repetitions,
            n_threads: (bench.n_threads > 0).then_some(bench.n_threads),
            sustained_secs: (bench.n_sustained_secs > 0).then_some(bench.n_sustained_secs),
            start: Start::Now,
            memory_limit: self.store.reference(&self.form).limit().cloned(),
        }
    }

    pub(super) fn ask(&mut self, paths: Vec<PathBuf>) -> Result<()> {
        let ask = &self.form.ask;
        let request = AnswerRequest {
            paths,
            prompts: ask.prompts(),
            max_tokens: ask.max_tokens,
            temperature: ask.temperature,
            seed: ask.seed,
            n_threads: (self.form.bench.n_threads > 0).then_some(self.form.bench.n_threads),
        };
        self.save();
        self.submit(&Job::Answer { request })
    }

    pub(super) fn tensor_errors(&mut self, converted: PathBuf) -> Result<()> {
        let made = self.store.conversions.iter().find(|made| made.path == converted).map(|made| made.source.clone());
        let Some(source) = made.or_else(|| self.store.model.ready().map(|model| model.path.clone())) else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        self.submit(&Job::TensorErrors { source, converted })
    }

    pub(super) fn quality(&mut self, candidates: Vec<PathBuf>) -> Result<()> {
        let Some(model) = self.store.model.ready() else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        let request = self.quality_request(model.path.clone(), candidates);
        self.save();
        self.submit(&Job::Quality { request })
    }

    pub(super) fn quality_request(&self, reference: PathBuf, candidates: Vec<PathBuf>) -> QualityRequest {
        let form = &self.form.quality;
        let text = match form.text {
            TextChoice::Bundled => TextSource::Bundled,
            TextChoice::File => TextSource::File(absolute(&crate::path_text::from_text(form.text_path.trim()))),
            TextChoice::Pasted => TextSource::Pasted(form.pasted.clone()),
        };
        QualityRequest {
            reference,
            candidates,
            text,
            max_tokens: form.max_tokens,
            gates: self.form.limits.gates.clone(),
            stopping: if form.full { Stopping::Full } else { Stopping::Decided },
            n_threads: (self.form.bench.n_threads > 0).then_some(self.form.bench.n_threads),
            memory_limit: self.store.reference(&self.form).limit().cloned(),
            ..QualityRequest::default()
        }
    }

    /// Exports the rows that the Compare page shows.
    pub(super) fn export(&mut self, what: Export) -> Result<()> {
        let Some(model) = self.store.model.ready().cloned() else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        let machine = self.store.machine.ready().cloned().unwrap_or_default();
        let (goal, limits) = (self.form.goal.clone(), self.form.limits.clone());
        let (learned, lessons) = (self.store.learned(&model, &machine, &limits.gates), self.store.lessons(&machine));
        let Store { outcomes, quality, origins, .. } = &self.store;
        let measured = Measured { speed: outcomes, quality, limits: &limits, lessons: &lessons, origins };
        let rows = comparison_rows(&model, &machine, &goal, &self.store.conversions, measured);
        let dir = self.output_dir();
        self.submit(&Job::Export(Box::new(ExportRequest { what, dir, model, machine, goal, limits, learned, rows })))
    }

    /// The folder for outputs: the form's, else the usual one of the open model.
    pub(super) fn output_dir(&self) -> PathBuf {
        if !self.form.output_dir.trim().is_empty() {
            return absolute(&crate::path_text::from_text(self.form.output_dir.trim()));
        }
        convert::default_output_dir(self.store.model.ready().map(|model| &**model))
    }
}
