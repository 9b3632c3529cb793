//! What it cost: speed and memory of every file, measured beside predicted.

use std::cmp::Ordering;
use std::fmt::Write as _;

use eframe::egui::{Align, DragValue, Label, Layout, RichText, Ui};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use super::candidate_table::right_ui;
use super::icons::Icon;
use super::plan_page::model_or_hint_ui;
use super::plots::{self, Pair, decode_pair, measured, memory_pair, prefill_pair};
use super::sorting::{Side, Sorting, compare_known};
use super::widgets::{self, Tone};
use super::{glossary, theme};
use crate::bench::{self, ComparisonRow, Run};
use crate::hardware::{Machine, PowerSource};
use crate::model::Model;
use crate::state::{BenchForm, Command, ComparePlot, Form, JobKind, Page, Store};
use crate::units::{bytes_text, duration_text, exact_bytes_text, percent_text, significant_text};

const SUBTITLE: &str = "Speed and memory of every file, measured on this machine beside the prediction";
const HEADER_HEIGHT: f32 = 26.0;

/// A column that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Size,
    BitsPerWeight,
    Decode,
    Prefill,
    PredictedDecode,
    Ratio,
    Load,
    Memory,
    PredictedMemory,
}

/// Draws the page.
pub fn compare_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(model) = model_or_hint_ui(ui, store, form, "Compare", SUBTITLE) else { return };
    widgets::page_header(ui, "Compare", SUBTITLE, |_| {});
    if store.conversions.is_empty() && store.outcomes.is_empty() {
        let text = "Convert the model to some levels first. Their speed and memory are measured and compared here.";
        widgets::empty_state(ui, Icon::Compare, "Nothing to compare yet", text, |ui| {
            if widgets::primary_button(ui, "Go to Optimize").clicked() {
                form.page = Page::Optimize;
            }
            if ui.button("Measure the source alone").on_hover_text("Gives the reference that levels are compared with").clicked() {
                commands.push(Command::Bench(vec![model.path.clone()]));
            }
        });
        return;
    }
    settings_ui(ui, store, &model, form, commands);
    widgets::card_gap(ui);
    // Measurements can be shown without a known machine; then there is nothing to predict from.
    let unknown = Machine::default();
    let machine = store.machine.ready().map_or(&unknown, |machine| machine);
    let rows = bench::comparison_rows(&model, machine, &form.goal, &store.conversions, &store.outcomes);
    warnings_ui(ui, &rows);
    widgets::card(ui, "", |ui| plot_ui(ui, &rows, form));
    widgets::card_gap(ui);
    let copied = rows.clone();
    widgets::card_with_actions(
        ui,
        "All numbers",
        |ui| {
            if widgets::small_button(ui, "Copy as JSON", "Copy as JSON").clicked() {
                commands.push(Command::Copy(to_json(&copied)));
            }
            if widgets::small_button(ui, "Copy as TSV", "Copy as TSV").on_hover_text("For spreadsheets").clicked() {
                commands.push(Command::Copy(to_tsv(&copied)));
            }
        },
        |ui| table_ui(ui, rows),
    );
}

fn settings_ui(ui: &mut Ui, store: &Store, model: &Model, form: &mut Form, commands: &mut Vec<Command>) {
    let is_measuring = store.latest_job(|kind| matches!(kind, JobKind::Bench(_))).is_some_and(crate::state::JobRecord::is_open);
    widgets::card(ui, "", |ui| {
        ui.horizontal_wrapped(|ui| {
            number_ui(ui, "Prompt tokens", &mut form.bench.n_prompt_tokens, 1..=65_536, "Length of the prompt whose reading (prefill) is timed");
            number_ui(ui, "Generated tokens", &mut form.bench.n_gen_tokens, 1..=65_536, "Tokens whose writing (decode) is timed");
            number_ui(ui, "Rounds", &mut form.bench.n_repetitions, 1..=100, "Each file is measured so often, interleaved with the others");
            threads_ui(ui, &mut form.bench);
            ui.checkbox(&mut form.bench.with_source, "With the source").on_hover_text("Measure the file that the levels were made from too");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let paths = paths_to_measure(store, model, &form.bench);
                let text = match paths.len() {
                    1 => "Measure 1 file".to_string(),
                    n => format!("Measure {n} files"),
                };
                let is_possible = !is_measuring && !paths.is_empty();
                let button = ui.add_enabled_ui(is_possible, |ui| widgets::primary_button(ui, &text)).inner;
                let reason = if is_measuring { "A measurement is waiting or running" } else { "Choose the source or convert a level first" };
                if button.on_disabled_hover_text(reason).clicked() {
                    commands.push(Command::Bench(paths));
                }
            });
        });
        if let Some(job) = store.latest_job(|kind| matches!(kind, JobKind::Bench(_))).filter(|job| job.is_open()) {
            super::queue::job_ui(ui, store, job, commands);
        }
    });
}

/// The files made from the model, with the source in front if wanted.
fn paths_to_measure(store: &Store, model: &Model, bench: &BenchForm) -> Vec<std::path::PathBuf> {
    let source = bench.with_source.then(|| model.path.clone());
    source.into_iter().chain(store.conversions.iter().map(|made| made.path.clone())).collect()
}

fn number_ui(ui: &mut Ui, name: &str, value: &mut u32, range: std::ops::RangeInclusive<u32>, explanation: &str) {
    let label = ui.label(RichText::new(name).color(theme::muted(ui)));
    ui.add(DragValue::new(value).range(range).speed(1.0)).labelled_by(label.id).on_hover_text(explanation);
    ui.add_space(theme::UNIT);
}

fn threads_ui(ui: &mut Ui, bench: &mut BenchForm) {
    let label = ui.label(RichText::new("Threads").color(theme::muted(ui)));
    let field = DragValue::new(&mut bench.n_threads).range(0..=1024).speed(0.1);
    let field = field.custom_formatter(|value, _| if value == 0.0 { "auto".into() } else { format!("{value:.0}") });
    let field = field.custom_parser(|text| if text.trim() == "auto" { Some(0.0) } else { text.trim().parse().ok() });
    ui.add(field).labelled_by(label.id).on_hover_text("0 means one thread for each physical core, which is usually fastest");
    ui.add_space(theme::UNIT);
}

/// What makes the numbers doubtful, each warning once.
fn warnings_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    let mut shown: Vec<&str> = Vec::new();
    for warning in rows.iter().filter_map(|row| row.run.as_ref()).flat_map(|run| &run.provenance.warnings) {
        if !shown.contains(&warning.as_str()) {
            widgets::notice(ui, Tone::Warn, &widgets::sentence(warning));
            widgets::card_gap(ui);
            shown.push(warning);
        }
    }
}

fn plot_ui(ui: &mut Ui, rows: &[ComparisonRow], form: &mut Form) {
    let choices =
        [(ComparePlot::SizeSpeed, "Size against speed"), (ComparePlot::Speed, "Speed"), (ComparePlot::Memory, "Memory")];
    widgets::segmented(ui, &mut form.compare_plot, &choices);
    ui.add_space(theme::UNIT);
    match form.compare_plot {
        ComparePlot::SizeSpeed => plots::size_speed_plot_ui(ui, rows),
        ComparePlot::Speed => plots::speed_plots_ui(ui, rows),
        ComparePlot::Memory => plots::memory_plot_ui(ui, rows),
    }
}

fn table_ui(ui: &mut Ui, mut rows: Vec<ComparisonRow>) {
    let id = ui.make_persistent_id("comparison sorting");
    let mut sorting: Sorting<Column> = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    sorting.sort(&mut rows, compare);
    ui.push_id("comparison", |ui| {
        TableBuilder::new(ui)
            .striped(true)
            .vscroll(false)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Width::remainder().at_least(110.0).clip(true))
            .column(Width::exact(84.0))
            .column(Width::exact(50.0))
            .column(Width::exact(112.0))
            .column(Width::exact(112.0))
            .column(Width::exact(136.0))
            .column(Width::exact(94.0))
            .column(Width::exact(72.0))
            .column(Width::exact(88.0))
            .column(Width::exact(98.0))
            .header(HEADER_HEIGHT, |mut header| header_ui(&mut header, &mut sorting))
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, rows.len(), |mut row| {
                    if let Some(data) = rows.get(row.index()) {
                        row_ui(&mut row, data);
                    }
                });
            });
    });
    ui.data_mut(|data| data.insert_temp(id, sorting));
}

fn header_ui(header: &mut TableRow<'_, '_>, sorting: &mut Sorting<Column>) {
    let columns = [
        (Column::Name, "File", "The level, or the source's name", Side::Left),
        (Column::Size, "Size", "Size of the file", Side::Right),
        (Column::BitsPerWeight, "Bits", "bits per weight", Side::Right),
        (Column::Decode, "Decode tok/s", "decode", Side::Right),
        (Column::Prefill, "Prefill tok/s", "prefill", Side::Right),
        (Column::PredictedDecode, "Predicted decode", "Predicted before measuring, with the band of nine of ten machines", Side::Right),
        (Column::Ratio, "Deviation", "Measured decode speed against the predicted one", Side::Right),
        (Column::Load, "Load", "From the start of loading to a ready context", Side::Right),
        (Column::Memory, "Peak memory", "Highest resident memory of the measuring process", Side::Right),
        (Column::PredictedMemory, "Predicted mem.", "Predicted memory at the measured context", Side::Right),
    ];
    for (column, name, explanation, side) in columns {
        header.col(|ui| {
            let explanation = glossary::explain(explanation).unwrap_or_else(|| explanation.to_string());
            sorting.header_ui(ui, column, name, &explanation, side);
        });
    }
}

fn compare(column: Column, a: &ComparisonRow, b: &ComparisonRow) -> Ordering {
    let by = |value: fn(&ComparisonRow) -> Option<f64>| compare_known(value(a), value(b));
    match column {
        Column::Name => a.name.cmp(&b.name),
        Column::Size => a.size_bytes.cmp(&b.size_bytes),
        Column::BitsPerWeight => a.bits_per_weight.total_cmp(&b.bits_per_weight),
        Column::Decode => by(|row| decode_pair(row).measured.map(|(mid, _)| mid)),
        Column::Prefill => by(|row| prefill_pair(row).measured.map(|(mid, _)| mid)),
        Column::PredictedDecode => by(|row| decode_pair(row).predicted.map(|band| band.mid)),
        Column::Ratio => by(|row| decode_pair(row).ratio()),
        Column::Load => by(|row| row.run.as_ref().and_then(|run| measured(&run.load_secs)).map(|(mid, _)| mid)),
        Column::Memory => by(|row| memory_pair(row).measured.map(|(mid, _)| mid)),
        Column::PredictedMemory => by(|row| memory_pair(row).predicted.map(|band| band.mid)),
    }
}

fn row_ui(row: &mut TableRow<'_, '_>, data: &ComparisonRow) {
    let (decode, prefill) = (decode_pair(data), prefill_pair(data));
    row.col(|ui| name_ui(ui, data));
    row.col(|ui| {
        right_ui(ui, RichText::new(bytes_text(data.size_bytes))).on_hover_text(exact_bytes_text(data.size_bytes));
    });
    row.col(|ui| {
        right_ui(ui, RichText::new(significant_text(data.bits_per_weight)));
    });
    row.col(|ui| measured_ui(ui, data, decode));
    row.col(|ui| measured_ui(ui, data, prefill));
    row.col(|ui| {
        let text = decode.predicted.map_or_else(|| "unknown".into(), super::candidate_table::band_text);
        right_ui(ui, RichText::new(text).color(theme::predicted(ui)));
    });
    row.col(|ui| ratio_ui(ui, decode));
    row.col(|ui| {
        if let Some((secs, _)) = data.run.as_ref().and_then(|run| measured(&run.load_secs)) {
            right_ui(ui, RichText::new(duration_text(secs)));
        }
    });
    row.col(|ui| {
        if let Some(run) = &data.run {
            right_ui(ui, RichText::new(bytes_text(run.peak_memory_bytes))).on_hover_text(exact_bytes_text(run.peak_memory_bytes));
        }
    });
    row.col(|ui| {
        let text = data.predicted_memory_bytes.map_or_else(|| "unknown".into(), bytes_text);
        right_ui(ui, RichText::new(text).color(theme::predicted(ui)));
    });
}

/// The name, with the conditions of the measurement or the reason of its failure.
fn name_ui(ui: &mut Ui, row: &ComparisonRow) {
    let response = ui.add(Label::new(RichText::new(&row.name).font(theme::strong_font())).truncate());
    response.on_hover_ui(|ui| {
        ui.set_max_width(420.0);
        ui.label(row.path.display().to_string());
        if let Some(run) = &row.run {
            provenance_ui(ui, run);
        }
    });
}

fn measured_ui(ui: &mut Ui, row: &ComparisonRow, pair: Pair) {
    match (pair.measured, &row.failure) {
        (Some((mid, spread)), _) => {
            let text = format!("{} ± {}", significant_text(mid), significant_text(spread));
            let response = right_ui(ui, RichText::new(text));
            if let Some(run) = &row.run {
                response.on_hover_ui(|ui| provenance_ui(ui, run));
            }
        }
        (None, Some(reason)) => {
            right_ui(ui, RichText::new("failed").color(theme::bad(ui))).on_hover_text(reason);
        }
        (None, None) => {
            right_ui(ui, RichText::new("not measured").color(theme::muted(ui)));
        }
    }
}

fn ratio_ui(ui: &mut Ui, pair: Pair) {
    let Some(ratio) = pair.ratio() else { return };
    let is_inside = pair.predicted.zip(pair.measured).is_some_and(|(band, (mid, _))| (band.low..=band.high).contains(&mid));
    let text = ratio_text(ratio);
    if is_inside {
        right_ui(ui, RichText::new(text)).on_hover_text("Inside the predicted band");
    } else {
        right_ui(ui, RichText::new(format!("{text} !")).color(theme::warn(ui))).on_hover_text("Outside the predicted band");
    }
}

/// A ratio as a deviation: `+12.0 %`, `−8.00 %`.
fn ratio_text(ratio: f64) -> String {
    let sign = if ratio >= 1.0 { "+" } else { "" };
    format!("{sign}{}", percent_text(ratio - 1.0))
}

fn provenance_ui(ui: &mut Ui, run: &Run) {
    let provenance = &run.provenance;
    let conditions = &provenance.conditions;
    let mut lines = vec![
        provenance.runtime.clone(),
        provenance.backend.clone(),
        format!("{} threads, {} prompt and {} generated tokens, {} rounds", provenance.n_threads, provenance.n_prompt_tokens, provenance.n_gen_tokens, run.decode_tokens_per_sec.values.len()),
    ];
    match conditions.power_source {
        PowerSource::Mains => lines.push("on mains".into()),
        PowerSource::Battery => lines.push("on battery".into()),
        PowerSource::Unknown => {}
    }
    lines.extend(conditions.temperature_celsius.map(|celsius| format!("{celsius:.0} °C")));
    lines.extend(conditions.other_load.map(|load| format!("other programs used {} of the CPU", percent_text(f64::from(load)))));
    lines.extend(provenance.warnings.iter().cloned());
    ui.label(lines.join("\n"));
}

/// The table for spreadsheets: a header line, plain numbers in basic units, empty cells for what is unknown.
fn to_tsv(rows: &[ComparisonRow]) -> String {
    let mut text = String::from(
        "name\tsize_bytes\tbits_per_weight\tdecode_tokens_per_sec\tdecode_spread\tprefill_tokens_per_sec\tprefill_spread\t\
         predicted_decode_tokens_per_sec\tpredicted_decode_low\tpredicted_decode_high\tload_secs\tpeak_memory_bytes\t\
         predicted_memory_bytes\tfailure\tpath\n",
    );
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value}"));
    for row in rows {
        let (decode, prefill) = (decode_pair(row), prefill_pair(row));
        let load = row.run.as_ref().and_then(|run| measured(&run.load_secs));
        let cells = [
            row.name.clone(),
            row.size_bytes.to_string(),
            row.bits_per_weight.to_string(),
            number(decode.measured.map(|(mid, _)| mid)),
            number(decode.measured.map(|(_, spread)| spread)),
            number(prefill.measured.map(|(mid, _)| mid)),
            number(prefill.measured.map(|(_, spread)| spread)),
            number(decode.predicted.map(|band| band.mid)),
            number(decode.predicted.map(|band| band.low)),
            number(decode.predicted.map(|band| band.high)),
            number(load.map(|(mid, _)| mid)),
            row.run.as_ref().map_or(String::new(), |run| run.peak_memory_bytes.to_string()),
            row.predicted_memory_bytes.map_or(String::new(), |size_bytes| size_bytes.to_string()),
            row.failure.clone().unwrap_or_default(),
            row.path.display().to_string(),
        ];
        // A tab or line break inside a cell would shift all that follows.
        let cells = cells.map(|cell| cell.replace(['\t', '\n', '\r'], " "));
        let _ = writeln!(text, "{}", cells.join("\t"));
    }
    text
}

/// The same rows as JSON; writing a list of plain values cannot fail, an error would be shown in place of the rows.
fn to_json(rows: &[ComparisonRow]) -> String {
    serde_json::to_string_pretty(rows).unwrap_or_else(|error| error.to_string())
}
