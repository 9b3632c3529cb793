//! The joint: takes the worker's events into the store, draws, and carries out what the user wished.

mod budget;
mod events;
mod imatrix;
mod place;
mod requests;
mod settings;
#[cfg(test)]
mod tests;
mod title;
mod tour;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use self::settings::{Loaded, Settings};
use self::title::title_text;
use crate::bench::Start;
use crate::convert::VerifyRequest;
use crate::error::{Error, Result};
use crate::state::{Command, CompareTab, DeleteForm, Dialog, Form, JobKind, Leftovers, Page, Store, Theme};
use crate::ui;
use crate::ui::kit::toasts::Toast;
use crate::worker::{HistoryRequest, Job, JobId, NativePicker, Picked, Worker};

/// The program's name, with which the window's title begins.
const APP_NAME: &str = "Planish";

/// Everything the window holds.
pub struct App {
    worker: Worker,
    /// Where the form is kept; nowhere in tests.
    settings: Settings,
    store: Store,
    form: Form,
    commands: Vec<Command>,
    /// Messages for the next frame.
    toasts: Vec<Toast>,
    /// The outcome of a long job, until the next frame finds out whether the window has the focus.
    ended_unseen: Option<String>,
    /// True once the user has said what becomes of the work in progress: then closing is not asked about again.
    is_quitting: bool,
}

/// Opens the window, with `model` in it, and returns when it is closed.
///
/// # Errors
/// `Error::NoWindow` when there is no display or no OpenGL.
pub fn run(model: Option<PathBuf>, started: Instant) -> Result<()> {
    let Loaded { form, settings, note } = settings::load();
    let window = form.window;
    let options = eframe::NativeOptions {
        viewport: place::builder(window)
            .with_title(APP_NAME)
            .with_app_id("planish")
            .with_icon(ui::kit::theme::icon())
            .with_drag_and_drop(true),
        ..Default::default()
    };
    let mut first_frame = Some(started);
    let created = move |context: &eframe::CreationContext<'_>| -> std::result::Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>> {
        ui::kit::theme::install(&context.egui_ctx);
        let wake = context.egui_ctx.clone();
        let worker = Worker::spawn(Arc::new(move || wake.request_repaint()), Arc::new(NativePicker))?;
        context.egui_ctx.set_zoom_factor(form.zoom.clamp(0.5, 3.0));
        place::bring_back(context, window);
        let mut app = App::new(worker, form, model);
        (app.settings, app.store.notices) = (settings, note.into_iter().collect());
        Ok(Box::new(FirstFrame { app, started: first_frame.take() }))
    };
    eframe::run_native(APP_NAME, options, Box::new(created))
        .map_err(|error| Error::NoWindow { reason: system_words(&error.to_string()) })
}

/// The system's words without the source position that a library puts in front of them, as winit does:
/// `os error at /home/…/winit-0.30.13/src/x.rs:765: …`.
fn system_words(text: &str) -> String {
    let place = text.find(".rs:").and_then(|dot| {
        let start = text.get(..dot)?.rfind(" at ").or_else(|| text.get(..dot)?.rfind([' ', '(']))?;
        let behind = text.get(dot + 4..)?.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
        Some(format!("{}:{behind}", text.get(..start)?))
    });
    place.map_or_else(|| text.to_string(), |text| system_words(&text))
}

/// The app as eframe sees it: logs when the first frame was drawn, and saves the choices on exit.
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
        self.app.save();
    }
}

impl App {
    /// A window's state at the start: the machine is looked at first, then the model from the command line.
    #[must_use]
    pub fn new(worker: Worker, form: Form, model: Option<PathBuf>) -> Self {
        // Earlier runs teach the predictions, whether anybody looks at them or not.
        let commands = vec![Command::Detect, Command::FindModels, Command::LoadHistory];
        let mut app = Self {
            worker,
            settings: Settings::default(),
            store: Store::default(),
            form,
            commands,
            toasts: Vec::new(),
            ended_unseen: None,
            is_quitting: false,
        };
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
        place::observe(ctx, &mut self.form.window);
        self.ask_before_closing(ctx);
        self.call_for_attention(ctx);
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
        for toast in self.toasts.drain(..) {
            ui::kit::toasts::push(ui.ctx(), toast);
        }
        let was_in_history = shows_history(&self.form);
        ui::window_ui(ui, &self.store, &mut self.form, &mut self.commands);
        // Another program may have measured meanwhile.
        if shows_history(&self.form) && !was_in_history {
            self.commands.push(Command::LoadHistory);
        }
        // What needs the window itself is done here; the rest does not know egui.
        self.commands.retain(|command| match command {
            Command::Copy(text) => {
                ui.ctx().copy_text(text.clone());
                ui::kit::toasts::push(ui.ctx(), Toast::new("Copied"));
                false
            }
            Command::Quit(leftovers) => {
                self.worker.leave_unfinished(*leftovers == Leftovers::Keep);
                self.is_quitting = true;
                ui.ctx().send_viewport_cmd(eframe::egui::ViewportCommand::Close);
                false
            }
            _ => true,
        });
        self.carry_out();
        self.look_for_disk();
    }

    /// A window that is being closed while work is in progress stays and asks.
    fn ask_before_closing(&mut self, ctx: &eframe::egui::Context) {
        let is_asked = ctx.input(|input| input.viewport().close_requested());
        if is_asked && !self.is_quitting && self.store.jobs.iter().any(ui::is_worth_asking) {
            ctx.send_viewport_cmd(eframe::egui::ViewportCommand::CancelClose);
            self.form.dialog = Some(Dialog::Quit);
        }
    }

    /// Tells the user of the end of a long job when nobody looks at the window.
    fn call_for_attention(&mut self, ctx: &eframe::egui::Context) {
        let Some(text) = self.ended_unseen.take() else { return };
        if ctx.input(|input| input.viewport().focused) == Some(false) {
            let kind = eframe::egui::UserAttentionType::Informational;
            ctx.send_viewport_cmd(eframe::egui::ViewportCommand::RequestUserAttention(kind));
            self.worker.notify(text);
        }
    }

    /// Asks how much space is free where outputs go, unless that is known or already being asked.
    fn look_for_disk(&mut self) {
        let dir = self.output_dir();
        let is_known = self.store.output_disk.as_ref().is_some_and(|(known, _)| *known == dir);
        let is_asked = self.store.jobs.iter().any(|job| job.kind == JobKind::FindDisk);
        if !is_known
            && !is_asked
            && let Err(error) = self.submit(&Job::FindDisk { dir })
        {
            self.store.refusal = Some(error);
        }
    }

    /// Handles the keys of the window as a whole; the rail and the pages handle their own where they are drawn.
    fn shortcuts(&mut self, ctx: &eframe::egui::Context) {
        use eframe::egui::{Key, Modifiers, ViewportCommand};
        let pressed = |key| ctx.input_mut(|input| input.consume_key(Modifiers::COMMAND, key));
        if pressed(Key::O) {
            self.commands.push(Command::Pick(Picked::Model));
        }
        if pressed(Key::Q) || pressed(Key::W) {
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
        if pressed(Key::Comma) {
            self.form.dialog = Some(Dialog::Settings);
        }
        if pressed(Key::T) {
            self.form.theme = if ctx.theme() == eframe::egui::Theme::Dark { Theme::Light } else { Theme::Dark };
        }
        // Zoom is egui's own (Ctrl with plus, minus and 0); it is only remembered here.
        self.form.zoom = ctx.zoom_factor();
    }

    /// Carries out all commands; the error of one that cannot be started is shown.
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
            Command::Pick(wanted) => {
                self.worker.pick(wanted);
                Ok(())
            }
            Command::ForgetRecent(path) => {
                self.form.recent.retain(|known| *known != path);
                self.save();
                Ok(())
            }
            Command::Detect => {
                let output_dir = self.output_dir();
                self.submit(&Job::Detect { output_dir })
            }
            Command::Convert(levels) => self.begin_conversion(levels, false),
            Command::AskDelete(paths) => {
                self.form.deleting = Some(DeleteForm { paths, no_bin: None });
                Ok(())
            }
            Command::AnswerDelete => self.delete(),
            Command::AnswerExisting => self.answer_existing(),
            Command::Bench(models) => self.bench(models, Start::Now),
            Command::BenchWhenQuiet(models) => self.bench(models, Start::WhenQuiet),
            Command::Cancel(id) => {
                self.worker.cancel(id);
                self.store.cancelling(id);
                Ok(())
            }
            Command::DismissNotice(idx) => {
                if idx < self.store.notices.len() {
                    self.store.notices.remove(idx);
                }
                Ok(())
            }
            Command::ClearFinished => {
                self.store.clear_finished();
                Ok(())
            }
            Command::Reveal(path) => self.worker.reveal(&path),
            Command::TensorErrors(converted) => self.tensor_errors(converted),
            // These need the window: `frame_ui` has carried them out.
            Command::Copy(_) | Command::Quit(_) => Ok(()),
            Command::OpenFile(path) => self.worker.open(&path),
            Command::Show(page) => {
                self.form.page = page;
                Ok(())
            }
            Command::ConvertAll(paths, levels) => self.convert_all(paths, &levels),
            Command::Quality(candidates) => self.quality(candidates),
            Command::LoadHistory => self.submit(&Job::History(HistoryRequest::List)),
            Command::CompareRuns(columns) => self.submit(&Job::History(HistoryRequest::Compare { columns })),
            Command::DeleteRuns(ids) => self.submit(&Job::History(HistoryRequest::Delete { ids })),
            Command::ExportRuns(ids, format) => {
                let dir = self.output_dir();
                self.submit(&Job::History(HistoryRequest::Export { ids, format, dir }))
            }
            Command::Ask(paths) => self.ask(paths),
            Command::Export(what) => self.export(what),
            Command::FindModels => self.submit(&Job::FindModels),
            Command::SetUp(runtime) => self.submit(&Job::SetUp { runtime }),
            Command::RemoveRuntime(runtime) => self.submit(&Job::RemoveRuntime { runtime }),
            Command::FindKnown => self.find_known(),
            Command::CollectImatrix(levels) => self.begin_conversion(levels, true),
            Command::ConvertAndCompare(levels) => self.convert_and_compare(levels),
            Command::ConvertBudget(budget) => self.spend(budget, false),
            Command::CompareBudget(budget) => self.spend(budget, true),
            Command::Weigh => self.weigh().map(drop),
            Command::ForgetTour => {
                self.store.tour = None;
                Ok(())
            }
            Command::Verify(path) => self.submit(&Job::Verify { request: VerifyRequest { path, source: None, imatrix: None } }),
            Command::TrySample => self.try_sample(),
        }
    }

    fn save(&mut self) {
        self.settings.save(&mut self.form);
    }

    fn submit(&mut self, job: &Job) -> Result<()> {
        self.submit_for_id(job).map(drop)
    }

    fn submit_for_id(&mut self, job: &Job) -> Result<JobId> {
        let id = self.worker.submit(job.clone())?;
        self.store.submitted(id, job);
        Ok(id)
    }
}

/// True while the tab with earlier measurements is in view.
fn shows_history(form: &Form) -> bool {
    form.page == Page::Compare && form.compare_tab == CompareTab::History
}

/// The path made absolute without touching the disk, so that a remembered one works from any folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
