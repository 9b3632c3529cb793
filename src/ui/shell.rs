//! What surrounds the pages: the rail at the left and the status bar at the bottom.

use eframe::egui::{
    self, Align, CornerRadius, Key, KeyboardShortcut, Layout, Modifiers, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui,
    Vec2, WidgetInfo, vec2,
};

use super::jobs::titles;
use super::kit::bars::bar_sized;
use super::kit::icons::{self, Icon};
use super::kit::theme;
use super::kit::widgets::{segmented, sentence, small_button};
use crate::error::Error;
use crate::monitor::ProgressUnit;
use crate::state::{Command, Dialog, Form, JobKind, JobRecord, JobStatus, Page, Store, Theme};
use crate::units::{bytes_per_sec_text, duration_text, percent_text};

/// Width of the rail.
pub const RAIL_WIDTH: f32 = 92.0;
/// Height of the status bar.
pub const STATUS_BAR_HEIGHT: f32 = 40.0;

/// A lower window has no room for all of the rail.
const LOW: f32 = 430.0;
/// From this width on the status bar has room for the choice between light and dark, which the settings have too.
const WIDE: f32 = 820.0;

const PAGE_KEYS: [Key; 5] = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5];

/// How far a page's part of the work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageMark {
    /// Nothing yet.
    None,
    /// A job of this page is queued or at work.
    Busy,
    /// It has results.
    Ready,
    /// Its last job failed.
    Failed,
}

/// The mark of a page on the rail.
#[must_use]
pub fn page_mark(page: Page, store: &Store) -> PageMark {
    let of_job = |is_wanted: fn(&JobKind) -> bool, has_results: bool| match store.latest_job(is_wanted).map(|job| &job.status) {
        Some(JobStatus::Queued | JobStatus::Running { .. }) => PageMark::Busy,
        Some(JobStatus::Failed(error)) if *error != Error::Cancelled => PageMark::Failed,
        _ if has_results => PageMark::Ready,
        _ => PageMark::None,
    };
    match page {
        Page::Model => of_job(|kind| matches!(kind, JobKind::Inspect(_)), store.opened_path().is_some()),
        Page::Machine => of_job(
            |kind| matches!(kind, JobKind::Detect | JobKind::SetUp(_) | JobKind::RemoveRuntime(_)),
            store.machine.ready().is_some(),
        ),
        Page::Plan if store.model.ready().is_some() && store.machine.ready().is_some() => PageMark::Ready,
        Page::Plan => PageMark::None,
        Page::Optimize => {
            let is_of_page =
                |kind: &JobKind| matches!(kind, JobKind::Convert(_) | JobKind::CollectImatrix(_) | JobKind::Weigh(_));
            of_job(is_of_page, !store.conversions.is_empty())
        }
        Page::Compare => of_job(
            |kind| matches!(kind, JobKind::Bench(_) | JobKind::Quality(_) | JobKind::Answer(_) | JobKind::TensorErrors(_)),
            !store.outcomes.is_empty() || !store.quality.is_empty() || store.tensor_errors.ready().is_some(),
        ),
    }
}

/// Turns Ctrl+1 to Ctrl+5 (⌘ on macOS) into pages.
pub fn page_shortcuts(ui: &mut Ui, form: &mut Form) {
    for (page, key) in Page::ALL.into_iter().zip(PAGE_KEYS) {
        if ui.input_mut(|input| input.consume_shortcut(&KeyboardShortcut::new(Modifiers::COMMAND, key))) {
            form.page = page;
        }
    }
}

/// The rail: the name of the program and one entry per page.
pub fn rail_ui(ui: &mut Ui, store: &Store, form: &mut Form) {
    let p = theme::palette(ui);
    ui.vertical_centered(|ui| {
        // In a low window the pages come first.
        let is_low = ui.available_height() < LOW;
        ui.add_space(if is_low { 6.0 } else { 14.0 });
        if !is_low {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(30.0), Sense::hover());
            brand_mark(ui, rect);
        }
        ui.label(RichText::new("Planish").font(egui::FontId::new(13.0, theme::semibold())).color(p.text));
        ui.add_space(if is_low { 4.0 } else { 12.0 });
        ui.spacing_mut().item_spacing.y = 4.0;
        for (idx, page) in Page::ALL.into_iter().enumerate() {
            if rail_item(ui, page, idx + 1, form.page == page, page_mark(page, store)) {
                form.page = page;
            }
        }
    });
}

/// A staircase on copper: many values become few.
fn brand_mark(ui: &Ui, rect: Rect) {
    let p = theme::palette(ui);
    ui.painter().rect_filled(rect, CornerRadius::same(7), p.accent_fill);
    let at = |x: f32, y: f32| rect.min + vec2(x * rect.width(), y * rect.height());
    let steps = [(0.18, 0.80), (0.36, 0.80), (0.36, 0.60), (0.55, 0.60), (0.55, 0.40), (0.73, 0.40), (0.73, 0.20), (0.86, 0.20)];
    ui.painter().line(steps.iter().map(|&(x, y)| at(x, y)).collect(), Stroke::new(2.5, p.on_accent));
}

/// One entry; true when it was chosen.
fn rail_item(ui: &mut Ui, page: Page, number: usize, is_current: bool, mark: PageMark) -> bool {
    let p = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(RAIL_WIDTH - 16.0, 60.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, ui.is_enabled(), is_current, page.label()));
    let fill = match (is_current, response.hovered()) {
        (true, _) => p.accent_soft,
        (false, true) => p.control_hovered,
        (false, false) => egui::Color32::TRANSPARENT,
    };
    let painter = ui.painter();
    painter.rect_filled(rect, CornerRadius::same(theme::CARD_RADIUS), fill);
    if response.has_focus() {
        painter.rect_stroke(rect, CornerRadius::same(theme::CARD_RADIUS), Stroke::new(2.0, p.accent), StrokeKind::Inside);
    }
    let ink = if is_current { p.accent } else { p.text_secondary };
    let icon_rect = Rect::from_center_size(rect.center_top() + vec2(0.0, 21.0), Vec2::splat(22.0));
    icons::paint(painter, icon_rect, Icon::from(page), ink);
    let font = egui::FontId::new(12.5, if is_current { theme::semibold() } else { theme::medium() });
    painter.text(rect.center_bottom() - vec2(0.0, 14.0), egui::Align2::CENTER_CENTER, page.label(), font, ink);
    let mark_rect = Rect::from_center_size(icon_rect.right_top() + vec2(8.0, 2.0), Vec2::splat(10.0));
    let state = match mark {
        PageMark::None => "nothing yet",
        PageMark::Busy => {
            painter.circle_stroke(mark_rect.center(), 3.5, Stroke::new(2.0, p.accent));
            "at work"
        }
        PageMark::Ready => {
            painter.circle_filled(mark_rect.center(), 3.5, p.good);
            "has results"
        }
        PageMark::Failed => {
            icons::paint(painter, mark_rect.expand(1.0), Icon::Error, p.bad);
            "failed"
        }
    };
    let shortcut = ui.ctx().format_shortcut(&KeyboardShortcut::new(Modifiers::COMMAND, PAGE_KEYS[number - 1]));
    response
        .on_hover_cursor(egui::CursorIcon::PointingHand)
        .on_hover_text(format!("{}, {shortcut}, {state}", page.label()))
        .clicked()
}

/// The bar at the bottom: what is being done, how far it is, how to stop it; the look of the window at the right.
pub fn status_bar_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    ui.horizontal_centered(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.available_width() >= WIDE {
                segmented(ui, &mut form.theme, &[(Theme::System, "System"), (Theme::Light, "Light"), (Theme::Dark, "Dark")]);
                ui.add_space(8.0);
            }
            zoom_ui(ui);
            if small_button(ui, "Settings", "Settings").on_hover_text("Ctrl+,").clicked() {
                form.dialog = Some(Dialog::Settings);
            }
            if small_button(ui, "Help", "Help").on_hover_text("Keys and versions: F1").clicked() {
                form.dialog = Some(Dialog::Shortcuts);
            }
            ui.add_space(8.0);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| match store.running_job() {
                Some(job) => running_job_ui(ui, store, job, commands),
                None => idle_ui(ui, store),
            });
        });
    });
}

fn zoom_ui(ui: &mut Ui) {
    let zoom = ui.ctx().zoom_factor();
    let response = small_button(ui, &percent_text(f64::from(zoom)), "Reset zoom");
    if response.on_hover_text("Zoom of the window: Ctrl + and Ctrl −. Click to reset.").clicked() {
        ui.ctx().set_zoom_factor(1.0);
    }
}

fn running_job_ui(ui: &mut Ui, store: &Store, job: &JobRecord, commands: &mut Vec<Command>) {
    let p = theme::palette(ui);
    let (progress, is_cancelling) = match &job.status {
        JobStatus::Running { progress, is_cancelling, .. } => (progress.as_ref(), *is_cancelling),
        _ => (None, false),
    };
    let title = titles::doing(&job.kind);
    let fraction = progress.and_then(crate::monitor::Progress::fraction);
    bar_sized(ui, &title, fraction.unwrap_or(0.0), p.accent, vec2(140.0, 6.0));
    if let Some(fraction) = fraction {
        ui.label(RichText::new(format!("{:.0} %", fraction * 100.0)).font(egui::FontId::new(13.0, theme::semibold())));
    }
    let mut cancel = |ui: &mut Ui| {
        ui.add_enabled_ui(!is_cancelling, |ui| {
            let text = if is_cancelling { "Cancelling…" } else { "Cancel" };
            if small_button(ui, text, "Cancel job").clicked() {
                commands.push(Command::Cancel(job.id));
            }
        });
    };
    cancel(ui);
    let n_waiting = store.jobs.iter().filter(|other| other.status == JobStatus::Queued && other.id != job.id).count();
    let mut parts = vec![title];
    parts.extend(progress.map(|progress| progress.stage.clone()).filter(|stage| !stage.is_empty()));
    parts.extend(job_speed_text(job));
    parts.extend(job.left_secs().map(|secs| format!("{} left", duration_text(secs))));
    if n_waiting > 0 {
        parts.push(format!("{n_waiting} waiting"));
    }
    ui.add(egui::Label::new(RichText::new(parts.join("  ·  ")).size(13.0).color(p.text_secondary)).truncate());
}

fn idle_ui(ui: &mut Ui, store: &Store) {
    let p = theme::palette(ui);
    let (color, text) = match store.jobs.iter().rev().find(|job| !job.is_open()) {
        None => (p.muted, "Ready".to_string()),
        Some(job) => match &job.status {
            JobStatus::Failed(Error::Cancelled) => (p.muted, format!("Cancelled: {}", titles::doing(&job.kind))),
            JobStatus::Failed(error) => (p.bad, format!("Failed: {}", sentence(&error.to_string()))),
            JobStatus::Done { elapsed_secs } => {
                (p.muted, format!("Done in {}: {}", duration_text(*elapsed_secs), titles::doing(&job.kind)))
            }
            JobStatus::Queued | JobStatus::Running { .. } => return,
        },
    };
    ui.add(egui::Label::new(RichText::new(text).size(13.0).color(color)).truncate());
}

/// Speed of a job that counts bytes: `212 MB/s`; `None` for others.
#[must_use]
pub fn job_speed_text(job: &JobRecord) -> Option<String> {
    match &job.status {
        JobStatus::Running { progress: Some(progress), .. } if progress.unit == ProgressUnit::Bytes => {
            job.rate_per_sec().filter(|rate| *rate > 0.0).map(bytes_per_sec_text)
        }
        _ => None,
    }
}

/// What a page shows while the value it needs is on its way: stage and bar of the job.
pub fn waiting_ui(ui: &mut Ui, store: &Store, id: crate::worker::JobId) {
    let p = theme::palette(ui);
    let job = store.jobs.iter().find(|job| job.id == id);
    let title = job.map_or_else(|| "Waiting".to_string(), |job| titles::doing(&job.kind));
    super::kit::widgets::card(ui, "", |ui| {
        ui.add_space(40.0);
        ui.vertical_centered(|ui| {
            super::kit::widgets::big_heading_ui(ui, &title);
            let (stage, fraction) = match job.map(|job| &job.status) {
                Some(JobStatus::Running { progress: Some(progress), .. }) => (progress.stage.clone(), progress.fraction()),
                Some(JobStatus::Queued) => ("waits for the job before it".to_string(), None),
                _ => (String::new(), None),
            };
            ui.label(RichText::new(if stage.is_empty() { "starting".to_string() } else { stage }).color(p.text_secondary));
            ui.add_space(4.0);
            // The job in the status bar has the name already: two bars of one name would be told twice.
            bar_sized(ui, "Progress of this page", fraction.unwrap_or(0.0), p.accent, vec2(320.0, 8.0));
        });
        ui.add_space(40.0);
    });
}
