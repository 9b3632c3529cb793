//! What it cost: speed and memory of every file, measured beside predicted, and its loss.

use std::sync::Arc;

use eframe::egui::{self, Align, DragValue, Layout, RichText, Ui};

use super::table::comparison_table_ui;
use super::{answers_view, doubts_view, flips_view, gates_view, headline_view, plots, quality_view, tensors_view};
use crate::bench::{self, ComparisonRow, is_timed_here};
use crate::deploy::{ChartKind, rows_to_json as to_json, rows_to_tsv as to_tsv};
use crate::hardware::Machine;
use crate::model::{Level, Model};
use crate::state::{BenchForm, Command, CompareTab, Form, JobKind, JobRecord, Page, Store};
use crate::ui::history;
use crate::ui::kit::drop_down::{NUMBER_WIDTH, field_name_ui};
use crate::ui::kit::icons::Icon;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::opened::facts::Facts;
use crate::ui::opened::known_view::origins_ui;
use crate::ui::plan::page::{model_hint_ui, plan_before_measuring};
use crate::units::bytes_text;

const SUBTITLE: &str = "Speed, memory and loss of every file, measured on this machine";
/// Width of the button "Measure 12 files".
const MEASURE_WIDTH: f32 = 170.0;

/// Draws the page. The history is there without an open model too.
pub fn compare_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    widgets::page_header(ui, "Compare", SUBTITLE, |_| {});
    tabs_ui(ui, form);
    widgets::card_gap(ui);
    if form.compare_tab == CompareTab::History {
        return history::view::history_view_ui(ui, store, form, commands);
    }
    let Some(model) = store.model.ready().filter(|model| model.is_convertible()).cloned() else {
        return model_hint_ui(ui, store, form, commands);
    };
    if store.conversions.is_empty() && store.outcomes.is_empty() {
        return nothing_ui(ui, store, &model, form, commands);
    }
    match form.compare_tab {
        CompareTab::Levels => levels_ui(ui, store, &model, form, commands),
        CompareTab::Flips => flips_view::flips_view_ui(ui, store, form),
        CompareTab::Answers => answers_view::answers_view_ui(ui, store, &model, form, commands),
        CompareTab::Tensors => tensors_view::tensors_view_ui(ui, store, form, commands),
        CompareTab::History => {}
    }
}

fn nothing_ui(ui: &mut Ui, store: &Store, model: &Model, form: &mut Form, commands: &mut Vec<Command>) {
    let text = "Convert the model to some levels first. Their speed and memory are measured and compared here.";
    widgets::empty_state(ui, Icon::Compare, "Nothing to compare yet", text, |ui| {
        if widgets::primary_button(ui, "Go to Optimize").clicked() {
            form.page = Page::Optimize;
        }
        let source_alone = ui.add_enabled(model.is_runnable(), egui::Button::new("Measure the source alone"));
        let source_alone = source_alone.on_hover_text("Gives the reference that levels are compared with");
        if source_alone.on_disabled_hover_text(not_runnable_text(store, model, form)).clicked() {
            commands.push(Command::Bench(vec![model.path.clone()]));
        }
    });
}

/// The tabs in their order; Ctrl+PageDown and Ctrl+PageUp go through them, as in a browser.
const TABS: [(CompareTab, &str); 5] = [
    (CompareTab::Levels, "Levels"),
    (CompareTab::Flips, "Flips"),
    (CompareTab::Answers, "Answers"),
    (CompareTab::Tensors, "Tensors"),
    (CompareTab::History, "History"),
];

fn tabs_ui(ui: &mut Ui, form: &mut Form) {
    let is_pressed = |key| ui.input_mut(|input| input.consume_key(egui::Modifiers::COMMAND, key));
    let steps = usize::from(is_pressed(egui::Key::PageDown)) + (TABS.len() - 1) * usize::from(is_pressed(egui::Key::PageUp));
    let current = TABS.iter().position(|(tab, _)| *tab == form.compare_tab).unwrap_or_default();
    if let Some((tab, _)) = TABS.get((current + steps) % TABS.len()) {
        form.compare_tab = *tab;
    }
    widgets::segmented(ui, &mut form.compare_tab, &TABS);
}

/// All levels side by side: plot, speed, loss, limits, and the table of all numbers.
fn levels_ui(ui: &mut Ui, store: &Store, model: &Arc<Model>, form: &mut Form, commands: &mut Vec<Command>) {
    origins_ui(ui, store);
    // Measurements can be shown without a known machine; then there is nothing to predict from.
    let unknown = Machine::default();
    let machine = store.machine.ready().map_or(&unknown, |machine| machine);
    let rows = rows_of(ui, model, machine, form, store);
    // The answer first, as soon as there is one and nothing is being measured.
    let is_measuring = store.jobs.iter().any(|job| job.is_open() && matches!(job.kind, JobKind::Bench(_) | JobKind::Quality(_)));
    let is_answered = !is_measuring && rows.iter().any(|row| row.verdict.is_some());
    if !is_answered {
        settings_ui(ui, store, model, form, commands);
        widgets::card_gap(ui);
    }
    choice_ui(ui, model, machine, form, &rows, commands);
    widgets::card(ui, "", |ui| plot_ui(ui, store, model, &rows, form));
    widgets::card_gap(ui);
    if is_answered {
        settings_ui(ui, store, model, form, commands);
        widgets::card_gap(ui);
    }
    doubts_view::doubts_ui(ui, store, &rows, commands);
    quality_view::quality_view_ui(ui, store, model, form, &rows, commands);
    widgets::card_gap(ui);
    gates_view::gates_view_ui(ui, model, form);
    widgets::card_gap(ui);
    let chosen = form.chosen_path.clone();
    let mut clicked = None;
    widgets::card_with_actions(
        ui,
        "All numbers",
        |ui| {
            if widgets::small_button(ui, "Copy as JSON", "Copy as JSON").clicked() {
                commands.push(Command::Copy(to_json(&rows)));
            }
            if widgets::small_button(ui, "Copy as TSV", "Copy as TSV").on_hover_text("For spreadsheets").clicked() {
                commands.push(Command::Copy(to_tsv(&rows)));
            }
            super::export_view::export_menu_ui(ui, store, model, form, &rows, commands);
        },
        |ui| clicked = comparison_table_ui(ui, &rows, chosen.as_deref()),
    );
    if let Some(path) = clicked {
        form.choose_file(&path);
    }
}

/// The rows of plot and table; computed when a fact or the goal has changed, because the prediction takes longer than a millisecond.
pub fn rows_of(ui: &Ui, model: &Arc<Model>, machine: &Machine, form: &Form, store: &Store) -> Arc<Vec<ComparisonRow>> {
    Facts { model, machine, form, store }.memo(ui, "comparison rows", || {
        let measured = bench::Measured {
            speed: &store.outcomes,
            quality: &store.quality,
            limits: &form.limits,
            lessons: &store.lessons(machine),
            origins: &store.origins,
        };
        bench::comparison_rows(model, machine, &form.goal, &store.conversions, measured)
    })
}

fn settings_ui(ui: &mut Ui, store: &Store, model: &Model, form: &mut Form, commands: &mut Vec<Command>) {
    let is_measuring = store.latest_job(|kind| matches!(kind, JobKind::Bench(_))).is_some_and(JobRecord::is_open);
    widgets::card(ui, "", |ui| {
        ui.horizontal_wrapped(|ui| {
            number_ui(
                ui,
                "Prompt tokens",
                &mut form.bench.n_prompt_tokens,
                1..=65_536,
                "Length of the prompt whose reading (prefill) is timed",
            );
            number_ui(ui, "Generated tokens", &mut form.bench.n_gen_tokens, 1..=65_536, "Tokens whose writing (decode) is timed");
            number_ui(
                ui,
                "Rounds",
                &mut form.bench.n_repetitions,
                1..=100,
                "How many times each file is measured, interleaved with the others",
            );
            threads_ui(ui, &mut form.bench);
            number_ui(
                ui,
                "Sustained s",
                &mut form.bench.n_sustained_secs,
                0..=86_400,
                "After the rounds each file decodes for this many seconds, to see how much heat slows it down. 0: not at all",
            );
            let obstacle = not_runnable_text(store, model, form);
            ui.add_enabled(model.is_runnable(), egui::Checkbox::new(&mut form.bench.with_source, "With the source"))
                .on_hover_text("Measure the file that the levels were made from too")
                .on_disabled_hover_text(obstacle);
            // In a narrow window the button has a row of its own.
            if ui.available_size_before_wrap().x < MEASURE_WIDTH {
                ui.end_row();
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let paths = paths_to_measure(store, model, &form.bench);
                let text = match paths.len() {
                    1 => "Measure 1 file".to_string(),
                    n => format!("Measure {n} files"),
                };
                let is_possible = !is_measuring && !paths.is_empty();
                let button = ui.add_enabled_ui(is_possible, |ui| widgets::primary_button(ui, &text)).inner;
                let reason = if is_measuring {
                    "A measurement is waiting or running"
                } else {
                    "Choose the source or convert a level first"
                };
                if button.on_disabled_hover_text(reason).clicked() {
                    commands.push(Command::Bench(paths));
                }
            });
        });
        if store.conversions.iter().any(|made| !is_timed_here(made.level.framework())) {
            let text = "Levels of MLX are timed on Macs; here only what they lose is measured.";
            ui.label(RichText::new(text).small().color(theme::muted(ui)));
        }
        if let Some(job) = store.latest_job(|kind| matches!(kind, JobKind::Bench(_))).filter(|job| job.is_open()) {
            crate::ui::jobs::queue::job_ui(ui, job, commands);
        }
    });
}

/// Why a checkpoint itself cannot be measured, and what to do.
pub fn not_runnable_text(store: &Store, model: &Model, form: &Form) -> String {
    if let (Some(_), Some((needed_bytes, limit_bytes))) = (store.reference(form).limit(), store.reference(form).bytes()) {
        let (needed, limit) = (bytes_text(needed_bytes), bytes_text(limit_bytes));
        return format!("Larger than memory: it would need {needed}, and {limit} may be used");
    }
    let own = model.own_level();
    let level = own.map_or("F32", Level::name);
    let is_making = |job: &JobRecord| {
        job.is_open() && matches!(&job.kind, JobKind::Convert(levels) if own.is_some_and(|own| levels.contains(&own)))
    };
    if store.jobs.iter().any(is_making) {
        return format!("{level}, which keeps every weight, is being made: it will stand for the checkpoint");
    }
    format!("A checkpoint cannot be run as it is: convert it to {level} too, which keeps every weight")
}

/// The files whose speed is measured: those made from the model that can be timed here, with the source in front if it is
/// wanted and can run.
pub fn paths_to_measure(store: &Store, model: &Model, bench: &BenchForm) -> Vec<std::path::PathBuf> {
    let source = (bench.with_source && model.is_runnable()).then(|| model.path.clone());
    let timed = store.conversions.iter().filter(|made| is_timed_here(made.level.framework()));
    source.into_iter().chain(timed.map(|made| made.path.clone())).collect()
}

fn number_ui(ui: &mut Ui, name: &str, value: &mut u32, range: std::ops::RangeInclusive<u32>, explanation: &str) {
    let label = field_name_ui(ui, name, NUMBER_WIDTH);
    ui.add(DragValue::new(value).range(range).speed(1.0)).labelled_by(label.id).on_hover_text(explanation);
    ui.add_space(theme::UNIT);
}

fn threads_ui(ui: &mut Ui, bench: &mut BenchForm) {
    let label = field_name_ui(ui, "Threads", NUMBER_WIDTH);
    let field = DragValue::new(&mut bench.n_threads).range(0..=1024).speed(0.1);
    let field = field.custom_formatter(|value, _| if value == 0.0 { "auto".into() } else { format!("{value:.0}") });
    let field = field.custom_parser(|text| if text.trim() == "auto" { Some(0.0) } else { text.trim().parse().ok() });
    ui.add(field).labelled_by(label.id).on_hover_text("0 means one thread for each physical core, which is usually fastest");
    ui.add_space(theme::UNIT);
}

/// Draws the headline; while there is none, how far the predictions were off.
pub fn choice_ui(
    ui: &mut Ui,
    model: &Arc<Model>,
    machine: &Machine,
    form: &Form,
    rows: &[ComparisonRow],
    commands: &mut Vec<Command>,
) {
    let planned = plan_before_measuring(ui, model, machine, &form.goal).recommended_level();
    let errors = bench::prediction_errors_text(&bench::prediction_errors(rows));
    match bench::headline(model, rows, planned, &form.goal) {
        Some(headline) => headline_view::headline_ui(ui, model, &headline, rows, &errors, commands),
        None if errors.is_empty() => {}
        None => {
            widgets::notice(ui, Tone::Neutral, &errors);
            widgets::card_gap(ui);
        }
    }
}

fn plot_ui(ui: &mut Ui, store: &Store, model: &Arc<Model>, rows: &[ComparisonRow], form: &mut Form) {
    let choices = [
        (ChartKind::SizeLoss, ChartKind::SizeLoss.title()),
        (ChartKind::LossSpeed, ChartKind::LossSpeed.title()),
        (ChartKind::SameTop, ChartKind::SameTop.title()),
        (ChartKind::SizeSpeed, ChartKind::SizeSpeed.title()),
        (ChartKind::Decode, "Speed"),
        (ChartKind::Memory, ChartKind::Memory.title()),
    ];
    let mut kind = form.plot(rows);
    if widgets::segmented(ui, &mut kind, &choices) {
        form.compare_plot = Some(kind);
    }
    ui.add_space(theme::UNIT);
    let plan = store.machine.ready().map(|machine| plan_before_measuring(ui, model, machine, &form.goal));
    #[allow(clippy::cast_precision_loss, reason = "a place in a plot")]
    let memory = plan.as_ref().map(|plan| {
        let budget = &plan.budget;
        (budget.ram_bytes.saturating_add(budget.vram_bytes) as f64, budget.origin.as_str())
    });
    let around = plots::Around { memory: memory.filter(|memory| memory.0 > 0.0), chosen: form.chosen_path.as_deref() };
    if let Some(row) = plots::plot_ui(ui, kind, rows, around) {
        form.choose_file(&row.path.clone());
    }
    chosen_ui(ui, rows, form);
}

/// Draws which file is chosen, and buttons to the tabs that show more of it.
fn chosen_ui(ui: &mut Ui, rows: &[ComparisonRow], form: &mut Form) {
    let Some(row) = rows.iter().find(|row| form.chosen_path.as_deref() == Some(row.path.as_path())) else { return };
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("{} is chosen", row.name)).font(theme::strong_font()));
        for (tab, name) in
            [(CompareTab::Flips, "Its flips"), (CompareTab::Answers, "Its answers"), (CompareTab::Tensors, "Its tensors")]
        {
            if widgets::small_button(ui, name, name).clicked() {
                form.compare_tab = tab;
            }
        }
        if widgets::small_button(ui, "Choose none", "Choose no file").clicked() {
            form.chosen_path = None;
        }
    });
}
