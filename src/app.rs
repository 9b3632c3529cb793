//! The joint: takes the worker's events into the store, draws, and carries out what the user wished.

mod imatrix;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::bench::quality::{QualityRequest, Stopping, TextSource};
use crate::bench::{AnswerRequest, BenchRequest, Measured, Start, comparison_rows};
use crate::convert::{self, ConvertRequest, Overwrite, Resume, VerifyRequest};
use crate::deploy::{Export, ExportRequest};
use crate::error::{Error, Result};
use crate::model::{Level, Model};
use crate::state::{Command, CompareTab, Form, JobStatus, Page, Slot, Store, TextChoice, Theme};
use crate::ui;
use crate::worker::{Event, HistoryAnswer, HistoryRequest, Job, JobId, NativePicker, Output, Picked, Worker};

/// The name of the window and of the settings folder.
const APP_NAME: &str = "Planish";

/// Everything the window holds.
pub struct App {
    worker: Worker,
    store: Store,
    form: Form,
    commands: Vec<Command>,
    /// How far the sample has come. Neither fact nor choice: the next wish, once a job is done.
    tour: Tour,
    /// What follows once this job has collected its importance matrix: a wish as well.
    after_imatrix: Option<(JobId, Job)>,
}

/// The way of the sample through all pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Tour {
    /// Nobody asked for it, it is over, or a job failed.
    #[default]
    Off,
    /// The checkpoint is being opened.
    Opening,
    /// This job converts it.
    Converting(JobId),
}

/// Opens the window, with `model` in it, and returns when it is closed.
///
/// # Errors
/// `Error::NoWindow` when there is no display or no OpenGL.
pub fn run(model: Option<PathBuf>, started: Instant) -> Result<()> {
    let options = eframe::NativeOptions {
        viewport: eframe::egui::ViewportBuilder::default()
            .with_title(APP_NAME)
            .with_app_id("planish")
            .with_inner_size([1280.0, 800.0])
            .with_min_inner_size([960.0, 600.0])
            .with_icon(ui::theme::icon())
            .with_drag_and_drop(true),
        ..Default::default()
    };
    let mut first_frame = Some(started);
    let created = move |context: &eframe::CreationContext<'_>| -> std::result::Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>> {
        ui::theme::install(&context.egui_ctx);
        let wake = context.egui_ctx.clone();
        let worker = Worker::spawn(Arc::new(move || wake.request_repaint()), Arc::new(NativePicker))?;
        let form = settings::load();
        context.egui_ctx.set_zoom_factor(form.zoom.clamp(0.5, 3.0));
        Ok(Box::new(FirstFrame { app: App::new(worker, form, model), started: first_frame.take() }))
    };
    eframe::run_native(APP_NAME, options, Box::new(created)).map_err(|error| Error::NoWindow { reason: error.to_string() })
}

/// Logs how long the first frame took, then is the app itself.
struct FirstFrame {
    app: App,
    started: Option<Instant>,
}

impl eframe::App for FirstFrame {
    fn logic(&mut self, ctx: &eframe::egui::Context, _: &mut eframe::Frame) {
        self.app.logic(ctx);
    }

    fn ui(&mut self, ui: &mut eframe::egui::Ui, _: &mut eframe::Frame) {
        self.app.frame_ui(ui);
        if let Some(started) = self.started.take() {
            tracing::info!("first frame after {} ms", started.elapsed().as_millis());
        }
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        settings::save(&self.app.form);
    }
}

impl App {
    /// A window's state at the start: the machine is looked at first, then the model from the command line.
    #[must_use]
    pub fn new(worker: Worker, form: Form, model: Option<PathBuf>) -> Self {
        let commands = vec![Command::Detect, Command::FindModels];
        let mut app = Self { worker, store: Store::default(), form, commands, tour: Tour::Off, after_imatrix: None };
        if let Some(path) = model {
            app.form.page = Page::Model;
            app.commands.push(Command::OpenModel(path));
        }
        app.carry_out();
        app
    }

    fn logic(&mut self, ctx: &eframe::egui::Context) {
        while let Some(event) = self.worker.poll() {
            self.take(event);
        }
        let title = title_text(&self.store);
        // A viewport command makes another frame: sent only when it changes something, or an idle window would never rest.
        // (The viewport's own title cannot be asked: X11 does not report it back.)
        let shown = eframe::egui::Id::unique("shown title");
        if ctx.data(|data| data.get_temp::<String>(shown)).as_ref() != Some(&title) {
            ctx.data_mut(|data| data.insert_temp(shown, title.clone()));
            ctx.send_viewport_cmd(eframe::egui::ViewportCommand::Title(title));
        }
    }

    fn frame_ui(&mut self, ui: &mut eframe::egui::Ui) {
        self.shortcuts(ui.ctx());
        let was_in_history = shows_history(&self.form);
        ui::window_ui(ui, &self.store, &mut self.form, &mut self.commands);
        // Another program may have measured meanwhile. The first time the tab asks by itself.
        if shows_history(&self.form) && !was_in_history && self.knows_history() {
            self.commands.push(Command::LoadHistory);
        }
        // What needs the window itself is done here, the rest does not know egui.
        self.commands.retain(|command| match command {
            Command::Copy(text) => {
                ui.ctx().copy_text(text.clone());
                false
            }
            _ => true,
        });
        self.carry_out();
    }

    /// Keys of the window as a whole; those of the rail and of a page are drawn with it.
    fn shortcuts(&mut self, ctx: &eframe::egui::Context) {
        use eframe::egui::{Key, Modifiers, ViewportCommand};
        let pressed = |key| ctx.input_mut(|input| input.consume_key(Modifiers::COMMAND, key));
        if pressed(Key::O) {
            self.commands.push(Command::PickModel);
        }
        if pressed(Key::Q) || pressed(Key::W) {
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
        if pressed(Key::T) {
            self.form.theme = if ctx.theme() == eframe::egui::Theme::Dark { Theme::Light } else { Theme::Dark };
        }
        // Zoom is egui's own (Ctrl with plus, minus and 0); it is only remembered here.
        self.form.zoom = ctx.zoom_factor();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Picked { wanted: Picked::Model | Picked::ModelFolder, path: Some(path) } => {
                self.commands.push(Command::OpenModel(path));
            }
            Event::Picked { wanted: Picked::OutputDir, path: Some(path) } => {
                self.form.output_dir = path.to_string_lossy().into_owned();
            }
            Event::Picked { wanted: Picked::Imatrix, path: Some(path) } => {
                self.form.imatrix_path = path.to_string_lossy().into_owned();
            }
            Event::Picked { wanted: Picked::CalibrationText, path: Some(path) } => {
                self.form.imatrix.text_path = path.to_string_lossy().into_owned();
            }
            event => {
                let filled = self.store.imatrix.as_ref().map(|collected| collected.path.clone());
                let was_ready = self.store.model.ready().is_some() || self.store.checkpoint.is_some();
                let is_measured = matches!(&event, Event::Finished { result: Ok(output), .. } if output.is_measurement());
                let exported = match &event {
                    Event::Finished {
                        result: Ok(Output::History(HistoryAnswer::Exported(path)) | Output::Exported(path)),
                        ..
                    } => Some(path.clone()),
                    _ => None,
                };
                if let Event::Finished { result: Ok(Output::Imported { model, .. }), .. } = &event
                    && let Some(own) = model.own_level()
                {
                    // It is there now, and what stands for the checkpoint.
                    self.form.levels.remove(&own);
                }
                let ended = match &event {
                    Event::Finished { id, result, .. } => Some((*id, result.is_ok())),
                    _ => None,
                };
                let collected = match &event {
                    Event::Finished { result: Ok(Output::Imatrix(collected)), .. } => Some(collected.path.clone()),
                    _ => None,
                };
                self.store.apply(event);
                if self.store.imatrix.is_none() && filled.is_some_and(|path| path == Path::new(&self.form.imatrix_path)) {
                    // It was of the model before.
                    self.form.imatrix_path.clear();
                }
                if let Some((id, _)) = ended {
                    self.go_on_with_imatrix(id, collected);
                }
                if let Some((id, is_done)) = ended {
                    self.go_on_with_sample(id, is_done);
                }
                if is_measured && self.knows_history() {
                    self.commands.push(Command::LoadHistory);
                }
                self.commands.extend(exported.map(Command::Reveal));
                let opened = self.store.model.ready().map(|model| model.path.clone());
                let opened = opened.or_else(|| Some(self.store.checkpoint.as_ref()?.checkpoint.path.clone()));
                if let (false, Some(path)) = (was_ready, opened) {
                    self.form.remember(path);
                    // What a checkpoint's levels are measured against.
                    let own = self.store.model.ready().filter(|model| !model.is_runnable()).and_then(|model| model.own_level());
                    self.form.levels.extend(own);
                    settings::save(&self.form);
                }
            }
        }
        self.carry_out();
    }

    /// Carries out all wishes; those that cannot even be started are shown.
    fn carry_out(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            if let Err(error) = self.carry_out_one(command) {
                self.store.refusal = Some(error);
            }
        }
    }

    fn carry_out_one(&mut self, command: Command) -> Result<()> {
        match command {
            Command::OpenModel(path) => self.submit(&Job::Inspect { path: absolute(&path) }),
            Command::PickModel => {
                self.worker.pick(Picked::Model);
                Ok(())
            }
            Command::PickModelFolder => {
                self.worker.pick(Picked::ModelFolder);
                Ok(())
            }
            Command::PickOutputDir => {
                self.worker.pick(Picked::OutputDir);
                Ok(())
            }
            Command::ForgetRecent(path) => {
                self.form.recent.retain(|known| *known != path);
                settings::save(&self.form);
                Ok(())
            }
            Command::Detect => {
                let output_dir = self.output_dir();
                self.submit(&Job::Detect { output_dir })
            }
            Command::Convert(levels) => self.convert(levels),
            Command::Bench(models) => self.bench(models, Start::Now),
            Command::BenchWhenQuiet(models) => self.bench(models, Start::WhenQuiet),
            Command::Cancel(id) => {
                self.worker.cancel(id);
                self.store.cancelling(id);
                Ok(())
            }
            Command::ClearFinished => {
                self.store.clear_finished();
                Ok(())
            }
            Command::Reveal(path) => self.worker.reveal(&path),
            Command::TensorErrors(converted) => self.tensor_errors(converted),
            Command::Copy(_) => Ok(()),
            Command::Quality(candidates) => self.quality(candidates),
            Command::LoadHistory => self.submit(&Job::History(HistoryRequest::List)),
            Command::CompareRuns(columns) => self.submit(&Job::History(HistoryRequest::Compare { columns })),
            Command::DeleteRuns(ids) => self.submit(&Job::History(HistoryRequest::Delete { ids })),
            Command::ExportRuns(ids, format) => {
                let dir = self.output_dir();
                self.submit(&Job::History(HistoryRequest::Export { ids, format, dir }))
            }
            Command::Ask(paths) => {
                let ask = &self.form.ask;
                let request = AnswerRequest {
                    paths,
                    prompt: ask.prompt.clone(),
                    max_tokens: ask.max_tokens,
                    temperature: ask.temperature,
                    seed: ask.seed,
                    n_threads: (self.form.bench.n_threads > 0).then_some(self.form.bench.n_threads),
                };
                settings::save(&self.form);
                self.submit(&Job::Answer { request })
            }
            Command::Export(what) => self.export(what),
            Command::FindModels => self.submit(&Job::FindModels),
            Command::PickImatrix => {
                self.worker.pick(Picked::Imatrix);
                Ok(())
            }
            Command::PickCalibrationText => {
                self.worker.pick(Picked::CalibrationText);
                Ok(())
            }
            Command::CollectImatrix(levels) => self.collect_imatrix(levels),
            Command::Verify(path) => self.submit(&Job::Verify { request: VerifyRequest { path, source: None, imatrix: None } }),
            Command::TrySample => {
                let parent = sample_parent()?;
                self.submit(&Job::Inspect { path: convert::sample_path(&parent) })?;
                self.tour = Tour::Opening;
                Ok(())
            }
        }
    }

    /// Takes the sample's next step once a job of its tour has ended; a failure, which the pages show, ends the tour.
    fn go_on_with_sample(&mut self, ended: JobId, is_done: bool) {
        match self.tour {
            Tour::Opening if self.store.model.waiting_for().is_none() => {
                self.tour = Tour::Off;
                if let Err(error) = self.convert_sample() {
                    self.store.refusal = Some(error);
                }
            }
            Tour::Converting(id) if id == ended => {
                self.tour = Tour::Off;
                if let (true, Some(model)) = (is_done, self.store.model.ready()) {
                    let made: Vec<PathBuf> = self.store.conversions.iter().map(|made| made.path.clone()).collect();
                    let source = model.path.clone();
                    self.commands.push(Command::Bench(std::iter::once(source).chain(made.clone()).collect()));
                    self.commands.push(Command::Quality(made));
                    self.form.page = Page::Compare;
                }
            }
            Tour::Off | Tour::Opening | Tour::Converting(_) => {}
        }
    }

    fn convert_sample(&mut self) -> Result<()> {
        let parent = sample_parent()?;
        let sample = convert::sample_path(&parent);
        // Another model may have been opened meanwhile.
        let Some(model) = self.store.model.ready().filter(|model| model.path == sample).cloned() else { return Ok(()) };
        let levels = model.own_level().into_iter().chain(convert::SAMPLE_LEVELS).collect();
        let request = ConvertRequest {
            overwrite: Overwrite::Allowed,
            resume: Resume::IfSame,
            ..ConvertRequest::new(levels, parent.join("levels"))
        };
        self.tour = Tour::Converting(self.submit_for_id(&Job::Convert { model, request })?);
        self.form.page = Page::Optimize;
        Ok(())
    }

    /// True once the history has been asked for: then it is kept up to date.
    fn knows_history(&self) -> bool {
        !matches!(self.store.history, Slot::Empty)
    }

    fn convert(&mut self, levels: Vec<Level>) -> Result<()> {
        let imatrix = Some(self.form.imatrix_path.trim()).filter(|path| !path.is_empty()).map(|path| absolute(Path::new(path)));
        let (model, request) = self.conversion(levels, imatrix)?;
        settings::save(&self.form);
        self.submit(&Job::Convert { model, request })
    }

    /// What the form asks for, with this importance matrix.
    fn conversion(&self, levels: Vec<Level>, imatrix: Option<PathBuf>) -> Result<(Arc<Model>, ConvertRequest)> {
        let Some(model) = self.store.model.ready().cloned() else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        let request = ConvertRequest {
            levels,
            out_dir: self.output_dir(),
            overwrite: if self.form.overwrite { Overwrite::Allowed } else { Overwrite::Never },
            n_threads: usize::try_from(self.form.convert_threads).ok().filter(|&n| n > 0),
            imatrix,
            overrides: self.form.recipe.of(&model),
            resume: Resume::IfSame,
            keep_unfinished: self.form.keep_unfinished,
        };
        Ok((model, request))
    }

    fn bench(&mut self, models: Vec<PathBuf>, start: Start) -> Result<()> {
        let bench = &self.form.bench;
        let request = BenchRequest {
            models,
            n_prompt_tokens: bench.n_prompt_tokens,
            n_gen_tokens: bench.n_gen_tokens,
            n_repetitions: bench.n_repetitions,
            n_threads: (bench.n_threads > 0).then_some(bench.n_threads),
            sustained_secs: (bench.n_sustained_secs > 0).then_some(bench.n_sustained_secs),
            start,
        };
        self.submit(&Job::Bench { request })
    }

    fn tensor_errors(&mut self, converted: PathBuf) -> Result<()> {
        let made = self.store.conversions.iter().find(|made| made.path == converted).map(|made| made.source.clone());
        let Some(source) = made.or_else(|| self.store.model.ready().map(|model| model.path.clone())) else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        self.submit(&Job::TensorErrors { source, converted })
    }

    fn quality(&mut self, candidates: Vec<PathBuf>) -> Result<()> {
        let Some(model) = self.store.model.ready() else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        let form = &self.form.quality;
        let text = match form.text {
            TextChoice::Bundled => TextSource::Bundled,
            TextChoice::File => TextSource::File(absolute(Path::new(form.text_path.trim()))),
            TextChoice::Pasted => TextSource::Pasted(form.pasted.clone()),
        };
        let request = QualityRequest {
            reference: model.path.clone(),
            candidates,
            text,
            max_tokens: form.max_tokens,
            gates: self.form.gates.clone(),
            stopping: if form.full { Stopping::Full } else { Stopping::Decided },
            n_threads: (self.form.bench.n_threads > 0).then_some(self.form.bench.n_threads),
            ..QualityRequest::default()
        };
        settings::save(&self.form);
        self.submit(&Job::Quality { request })
    }

    /// The rows are those of the Compare page.
    fn export(&mut self, what: Export) -> Result<()> {
        let Some(model) = self.store.model.ready().cloned() else {
            return Err(Error::BadRequest { message: "no model is open".into() });
        };
        let machine = self.store.machine.ready().cloned().unwrap_or_default();
        let (goal, gates) = (self.form.goal.clone(), self.form.gates.clone());
        let measured = Measured { speed: &self.store.outcomes, quality: &self.store.quality, gates: &gates };
        let rows = comparison_rows(&model, &machine, &goal, &self.store.conversions, measured);
        let dir = self.output_dir();
        self.submit(&Job::Export(Box::new(ExportRequest { what, dir, model, machine, goal, gates, rows })))
    }

    fn submit(&mut self, job: &Job) -> Result<()> {
        self.submit_for_id(job).map(drop)
    }

    fn submit_for_id(&mut self, job: &Job) -> Result<JobId> {
        let id = self.worker.submit(job.clone())?;
        self.store.submitted(id, job);
        Ok(id)
    }

    /// The folder from the form; else the model's; else the user's.
    fn output_dir(&self) -> PathBuf {
        if !self.form.output_dir.trim().is_empty() {
            return absolute(Path::new(self.form.output_dir.trim()));
        }
        convert::default_output_dir(self.store.model.ready().map(|model| &**model))
    }
}

/// True while the tab with earlier measurements is in view.
fn shows_history(form: &Form) -> bool {
    form.page == Page::Compare && form.compare_tab == CompareTab::History
}

fn sample_parent() -> Result<PathBuf> {
    convert::sample_parent().ok_or_else(|| Error::Internal { message: "the system names no data folder for the sample".into() })
}

/// Absolute without touching the disk, so that remembered paths work from any folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// `Planish`, the model, and what is being done: also readable in a task bar.
fn title_text(store: &Store) -> String {
    let mut title = APP_NAME.to_string();
    if let Some(model) = store.model.ready() {
        title.push_str(&format!(" · {}", model.file_stem()));
    } else if let Some(checked) = &store.checkpoint {
        title.push_str(&format!(" · {}", checked.checkpoint.name));
    }
    if let Some(job) = store.running_job() {
        let verb = match job.kind {
            crate::state::JobKind::Inspect(_) => "opening",
            crate::state::JobKind::Detect => "measuring the machine",
            crate::state::JobKind::Convert(_) => "converting",
            crate::state::JobKind::Bench(_) => "measuring",
            crate::state::JobKind::TensorErrors(_) => "comparing tensors",
            crate::state::JobKind::Quality(_) => "measuring quality",
            crate::state::JobKind::History(_) => "reading the history",
            crate::state::JobKind::Answer(_) => "asking",
            crate::state::JobKind::Export(_) => "exporting",
            crate::state::JobKind::FindModels => "looking for models",
            crate::state::JobKind::CollectImatrix(_) => "collecting importances",
            crate::state::JobKind::Verify(_) => "verifying",
        };
        title.push_str(&format!(" · {verb}"));
        if let JobStatus::Running { progress: Some(progress), .. } = &job.status
            && let Some(fraction) = progress.fraction()
        {
            title.push_str(&format!(" {:.0} %", fraction * 100.0));
        }
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JobKind;

    struct NoPicker;

    impl crate::worker::Picker for NoPicker {
        fn pick(&self, _: Picked) -> Option<PathBuf> {
            None
        }
    }

    #[test]
    fn nothing_is_exported_or_judged_without_a_model() {
        for command in [Command::Export(Export::Report), Command::Quality(vec!["a.gguf".into()])] {
            let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
            let mut app = App::new(worker, Form::default(), None);
            app.store.jobs.clear();
            app.commands.push(command);
            app.carry_out();
            assert!(app.store.jobs.is_empty());
            assert!(matches!(&app.store.refusal, Some(Error::BadRequest { message }) if message == "no model is open"));
        }
    }

    #[test]
    fn the_history_is_read_again_after_a_measurement_once_somebody_has_looked_at_it() {
        let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
        let mut app = App::new(worker, Form::default(), None);
        let measured = || Event::Finished { id: JobId(99), result: Ok(Output::Outcomes(Vec::new())), elapsed_secs: 1.0 };
        let is_asked = |app: &App| app.store.jobs.iter().any(|job| job.kind == JobKind::History(HistoryRequest::List));
        app.take(measured());
        assert!(!is_asked(&app));
        app.store.history = Slot::Ready(Arc::default());
        app.take(measured());
        assert!(is_asked(&app));
        drop(app);
        // That of this test's process.
        let _ = std::fs::remove_dir_all(crate::bench::history::default_path().unwrap().parent().unwrap());
    }

    #[test]
    fn the_sample_goes_from_the_model_page_to_the_comparison() {
        let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
        let mut app = App::new(worker, Form::default(), None);
        app.commands.push(Command::TrySample);
        app.carry_out();
        let deadline = Instant::now() + std::time::Duration::from_secs(100);
        let is_measuring = |app: &App| app.store.jobs.iter().any(|job| matches!(job.kind, JobKind::Quality(_)));
        while !is_measuring(&app) {
            assert!(Instant::now() < deadline, "{:?}", app.store.jobs);
            match app.worker.poll() {
                Some(event) => app.take(event),
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
        assert_eq!((app.form.page, app.tour), (Page::Compare, Tour::Off));
        let levels: Vec<Level> = app.store.conversions.iter().map(|made| made.level).collect();
        assert_eq!(levels, convert::SAMPLE_LEVELS);
        assert_eq!(app.store.model.ready().and_then(|model| model.own_level()), Some(Level::BF16));
        assert!(!app.form.levels.contains(&Level::BF16), "its file is the source now");
        let bench = app.store.jobs.iter().find(|job| matches!(job.kind, JobKind::Bench(_))).map(|job| job.kind.clone());
        assert_eq!(bench, Some(JobKind::Bench(6)));
        drop(app);
        let _ = std::fs::remove_dir_all(convert::sample_parent().unwrap().parent().unwrap());
    }
}
