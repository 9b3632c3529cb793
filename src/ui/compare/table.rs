//! The comparison as a table whose numbers line up at the decimal point; units stand in the headers.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use eframe::egui::{Align, CursorIcon, Label, Layout, RichText, Sense, Ui};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use crate::bench::rows::pair::{Pair, decode_pair, measured, measured_text, memory_pair, prefill_pair};
use crate::bench::{ComparisonRow, Energy, Run, Sustained, deviation_text};
use crate::hardware::PowerSource;
use crate::path_text;
use crate::ui::kit::figures::{NumberColumns, SizeUnit};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::sorting::{Side, Sorting, compare_known};
use crate::ui::kit::{glossary, loss_view, theme};
use crate::ui::plan::candidate_table::{band_text, basis_mark};
use crate::units::{count_of, duration_text, exact_bytes_text, percent_text, significant_text, watts_text};

const HEADER_HEIGHT: f32 = 26.0;
const MIN_NAME_WIDTH: f32 = 150.0;
/// The most that a column grows in a wide window: beyond that a number is far from its name.
const MAX_GROWTH: f32 = 40.0;
/// What stands in a cell without a measurement.
const MISSING: &str = "not measured";

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
    Energy,
    Sustained,
}

/// The columns with numbers: heading, explanation, and least width, which is that of the heading. Sizes get their unit from the rows.
const NUMBERS: [(Column, &str, &str, f32); 11] = [
    (Column::Size, "Size", "Size of the file", 62.0),
    (Column::BitsPerWeight, "Bits", "bits per weight", 34.0),
    (Column::Decode, "Decode, tok/s", "decode", 84.0),
    (Column::Prefill, "Prefill, tok/s", "prefill", 84.0),
    (
        Column::PredictedDecode,
        "Predicted decode, tok/s",
        "Decode speed as predicted before this file was measured, with its band; ● adjusted by runs of other files on this machine",
        142.0,
    ),
    (Column::Ratio, "Deviation, %", "Measured decode speed against the predicted one", 76.0),
    (Column::Load, "Load, s", "From the start of loading to a ready context", 50.0),
    (Column::Memory, "Peak memory", "Highest resident memory of the measuring process", 112.0),
    (
        Column::PredictedMemory,
        "Predicted memory",
        "Predicted memory at the measured context; ● adjusted by runs of other files on this machine",
        138.0,
    ),
    (Column::Energy, "Energy, J/tok", "Joules for each generated token, above what the idle machine uses", 84.0),
    (
        Column::Sustained,
        "Sustained, tok/s",
        "Decode speed in the last third of the long run; in brackets as a share of the speed in its first seconds",
        98.0,
    ),
];

/// Draws the table; a click on a heading sorts it. Returns the file that was chosen by a click on its name.
pub fn comparison_table_ui(ui: &mut Ui, rows: &[ComparisonRow], chosen: Option<&Path>) -> Option<PathBuf> {
    let mut rows = rows.to_vec();
    let id = ui.make_persistent_id("comparison sorting");
    let mut sorting: Sorting<Column> = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    sorting.sort(&mut rows, compare);
    let has_energy = rows.iter().any(|row| energy_of(row).is_some_and(Energy::is_measured));
    let has_sustained = rows.iter().any(|row| sustained_of(row).is_some());
    let table = Table::new(ui, &rows, |column| match column {
        Column::Energy => has_energy,
        Column::Sustained => has_sustained,
        _ => true,
    });
    let least_width = table.least_width(ui);
    let clicked = sideways_ui(ui, "comparison", least_width, |ui| table.ui(ui, &rows, chosen, &mut sorting));
    ui.data_mut(|data| data.insert_temp(id, sorting));
    let reason = rows.iter().filter_map(energy_of).find_map(|energy| energy.reason.as_deref());
    if let Some(reason) = reason.filter(|_| !has_energy) {
        let text = format!("Energy: not measurable here, because {reason}");
        ui.add_space(theme::UNIT);
        ui.add(Label::new(RichText::new(text).color(theme::muted(ui))).wrap());
    }
    clicked
}

/// The columns in view with their widths, and what lines up their numbers.
struct Table {
    columns: Vec<(Column, String, String, f32)>,
    numbers: NumberColumns<Column>,
    size: SizeUnit,
    memory: SizeUnit,
}

impl Table {
    fn new(ui: &Ui, rows: &[ComparisonRow], is_shown: impl Fn(Column) -> bool) -> Self {
        let size = SizeUnit::of(rows.iter().map(|row| row.size_bytes));
        let memories = |row: &ComparisonRow| [row.run.as_ref().map(|run| run.peak_memory_bytes), row.predicted_memory_bytes];
        let memory = SizeUnit::of(rows.iter().flat_map(memories).flatten());
        let all: Vec<Column> = NUMBERS.iter().map(|column| column.0).collect();
        let numbers = NumberColumns::of(ui, &all, rows, |column, row| number_text(row, column, size, memory));
        let heading = |column, name: &str| match column {
            Column::Size => format!("{name}, {}", size.name),
            Column::Memory | Column::PredictedMemory => format!("{name}, {}", memory.name),
            _ => name.to_string(),
        };
        let has_missing = rows.iter().any(|row| row.run.is_none());
        let columns = NUMBERS.into_iter().filter(|column| is_shown(column.0)).map(|(column, name, explanation, least)| {
            let says_missing = matches!(column, Column::Decode | Column::Prefill | Column::Energy | Column::Sustained);
            let least = if says_missing && has_missing { f32::max(least, 90.0) } else { least };
            let explanation = glossary::explain(explanation).unwrap_or_else(|| explanation.to_string());
            (column, heading(column, name), explanation, numbers.width(column, least))
        });
        Self { columns: columns.collect(), numbers, size, memory }
    }

    /// Least width of all columns with the gaps between them.
    #[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
    fn least_width(&self, ui: &Ui) -> f32 {
        let gaps = ui.spacing().item_spacing.x * self.columns.len() as f32;
        MIN_NAME_WIDTH + gaps + self.columns.iter().map(|column| column.3).sum::<f32>()
    }

    #[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
    fn ui(&self, ui: &mut Ui, rows: &[ComparisonRow], chosen: Option<&Path>, sorting: &mut Sorting<Column>) -> Option<PathBuf> {
        let mut clicked = None;
        let spare = ui.available_width() - self.least_width(ui);
        let growth = (spare / (self.columns.len() as f32 + 1.0)).clamp(0.0, MAX_GROWTH).floor();
        ui.push_id("comparison", |ui| {
            let mut table = TableBuilder::new(ui)
                .striped(true)
                .vscroll(false)
                .cell_layout(Layout::left_to_right(Align::Center))
                .column(Width::remainder().at_least(MIN_NAME_WIDTH).clip(true));
            for column in &self.columns {
                table = table.column(Width::exact(column.3 + growth));
            }
            table
                .header(HEADER_HEIGHT, |mut header| {
                    header.col(|ui| {
                        sorting.header_ui(ui, Column::Name, "File", "The level, or the source's name", Side::Left);
                    });
                    for (column, name, explanation, _) in &self.columns {
                        header.col(|ui| sorting.header_ui(ui, *column, name, explanation, Side::Right));
                    }
                })
                .body(|body| {
                    body.rows(theme::ROW_HEIGHT, rows.len(), |mut line| {
                        if let Some(row) = rows.get(line.index()) {
                            line.set_selected(chosen == Some(row.path.as_path()));
                            if self.row_ui(&mut line, row) {
                                clicked = Some(row.path.clone());
                            }
                        }
                    });
                });
        });
        clicked
    }

    /// Draws a row; true when its name was clicked.
    fn row_ui(&self, line: &mut TableRow<'_, '_>, row: &ComparisonRow) -> bool {
        let mut is_clicked = false;
        line.col(|ui| is_clicked = name_ui(ui, row));
        for &(column, ..) in &self.columns {
            line.col(|ui| self.cell_ui(ui, row, column));
        }
        is_clicked
    }

    fn cell_ui(&self, ui: &mut Ui, row: &ComparisonRow, column: Column) {
        let p = theme::palette(ui);
        let text = number_text(row, column, self.size, self.memory);
        let color = match column {
            Column::PredictedDecode | Column::PredictedMemory if text.is_some() => p.predicted,
            Column::Ratio if is_outside(decode_pair(row)) => p.warn,
            _ => p.text,
        };
        let (text, color) = match (text, missing_text(row, column)) {
            (Some(text), _) => (text, color),
            (None, Some("failed")) => ("failed".into(), p.bad),
            (None, Some(words)) => (words.into(), p.muted),
            (None, None) => return,
        };
        let response = self.numbers.cell_ui(ui, column, &text, color);
        match (column, &row.run) {
            (Column::Size, _) => {
                response.on_hover_text(exact_bytes_text(row.size_bytes));
            }
            (Column::Memory, Some(run)) => {
                response.on_hover_text(exact_bytes_text(run.peak_memory_bytes));
            }
            (Column::PredictedDecode, _) => {
                response.on_hover_text(row.decode_basis.explanation());
            }
            (Column::PredictedMemory, _) => {
                response.on_hover_text(row.memory_basis.explanation());
            }
            (Column::Ratio, _) => {
                let words = if is_outside(decode_pair(row)) { "Outside the predicted band" } else { "Inside the predicted band" };
                response.on_hover_text(words);
            }
            (Column::Energy, Some(run)) => {
                response.on_hover_text(energy_text(&run.energy));
            }
            (Column::Sustained, _) => {
                if let Some(found) = sustained_of(row) {
                    response.on_hover_text(sustained_text(found));
                }
            }
            (Column::Decode | Column::Prefill | Column::Load, Some(run)) => {
                response.on_hover_ui(|ui| provenance_ui(ui, run));
            }
            (Column::Decode | Column::Prefill, None) => {
                if let Some(reason) = row.failure.as_ref().or(row.not_run.as_ref()) {
                    response.on_hover_text(reason);
                }
            }
            _ => {}
        }
    }
}

/// What a cell says; `None` where there is no number.
fn number_text(row: &ComparisonRow, column: Column, size: SizeUnit, memory: SizeUnit) -> Option<String> {
    let with_spread = |pair: Pair| pair.measured.map(|(mid, spread)| measured_text(mid, spread));
    match column {
        Column::Name => None,
        Column::Size => Some(size.text(row.size_bytes)),
        Column::BitsPerWeight => row.bits_text(),
        Column::Decode => with_spread(decode_pair(row)),
        Column::Prefill => with_spread(prefill_pair(row)),
        Column::PredictedDecode => {
            decode_pair(row).predicted.map(|band| format!("{}{}", band_text(band), basis_mark(row.decode_basis)))
        }
        Column::Ratio => decode_pair(row).ratio().map(|ratio| {
            let text = deviation_text(ratio).trim_end_matches(" %").to_string();
            if is_outside(decode_pair(row)) { format!("{text} !") } else { text }
        }),
        Column::Load => row.run.as_ref().and_then(|run| measured(&run.load_secs)).map(|(secs, _)| significant_text(secs)),
        Column::Memory => row.run.as_ref().map(|run| memory.text(run.peak_memory_bytes)),
        Column::PredictedMemory => {
            row.predicted_memory_bytes.map(|size_bytes| format!("{}{}", memory.text(size_bytes), basis_mark(row.memory_basis)))
        }
        Column::Energy => decode_joules(row).map(|(mid, spread)| measured_text(mid, spread)),
        Column::Sustained => sustained_of(row)
            .map(|found| format!("{} ({})", significant_text(found.sustained_tokens_per_sec), percent_text(found.ratio))),
    }
}

/// The word in place of a number; `None` for an empty cell.
fn missing_text(row: &ComparisonRow, column: Column) -> Option<&'static str> {
    match column {
        Column::Decode | Column::Prefill if row.failure.is_some() => Some("failed"),
        Column::Decode | Column::Prefill => Some(MISSING),
        Column::PredictedDecode | Column::PredictedMemory => Some("unknown"),
        Column::Energy | Column::Sustained if row.run.is_some() => Some(MISSING),
        _ => None,
    }
}

fn is_outside(pair: Pair) -> bool {
    pair.predicted.zip(pair.measured).is_some_and(|(band, (mid, _))| !(band.low..=band.high).contains(&mid))
}

fn energy_of(row: &ComparisonRow) -> Option<&Energy> {
    row.run.as_ref().map(|run| &run.energy)
}

/// Joules for each generated token, with their spread.
fn decode_joules(row: &ComparisonRow) -> Option<(f64, f64)> {
    measured(energy_of(row)?.decode_joules_per_token.as_ref()?)
}

fn sustained_of(row: &ComparisonRow) -> Option<&Sustained> {
    row.run.as_ref()?.sustained.as_ref()
}

fn sustained_text(found: &Sustained) -> String {
    format!(
        "{} tok/s in the first seconds, {} tok/s in the last third of {}",
        significant_text(found.burst_tokens_per_sec),
        significant_text(found.sustained_tokens_per_sec),
        duration_text(found.elapsed_secs())
    )
}

fn energy_text(energy: &Energy) -> String {
    let prefill = energy.prefill_joules_per_token.as_ref().and_then(measured);
    let mut lines: Vec<String> = energy.source.iter().map(|source| format!("Energy of the {source}")).collect();
    lines.extend(energy.idle_watts.map(|watts| format!("less {} of the idle machine", watts_text(watts))));
    lines.extend(prefill.map(|(mid, spread)| format!("prefill: {} J for each prompt token", measured_text(mid, spread))));
    lines.extend(energy.reason.clone());
    lines.join("\n")
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
        Column::Energy => by(|row| decode_joules(row).map(|(mid, _)| mid)),
        Column::Sustained => by(|row| sustained_of(row).map(|found| found.sustained_tokens_per_sec)),
    }
}

/// The name, with the conditions of the measurement; true when it was clicked.
fn name_ui(ui: &mut Ui, row: &ComparisonRow) -> bool {
    let Some(origin) = &row.speed_origin else { return name_alone_ui(ui, row) };
    let layout = Layout::right_to_left(Align::Center);
    ui.with_layout(layout, |ui| {
        loss_view::origin_ui(ui, origin);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| name_alone_ui(ui, row)).inner
    })
    .inner
}

fn name_alone_ui(ui: &mut Ui, row: &ComparisonRow) -> bool {
    let name = Label::new(RichText::new(&row.name).font(theme::strong_font())).truncate();
    let response = ui.add(name.selectable(false).sense(Sense::click())).on_hover_cursor(CursorIcon::PointingHand);
    let response = response.on_hover_ui(|ui| {
        ui.set_max_width(420.0);
        ui.label(path_text::shown(&row.path));
        if let Some(run) = &row.run {
            provenance_ui(ui, run);
        }
    });
    response.clicked()
}

fn provenance_ui(ui: &mut Ui, run: &Run) {
    let provenance = &run.provenance;
    let conditions = &provenance.conditions;
    let mut lines = vec![
        provenance.runtime.clone(),
        provenance.backend.clone(),
        format!(
            "{}, {} prompt and {} generated tokens, {}",
            count_of(provenance.n_threads, "thread"),
            provenance.n_prompt_tokens,
            provenance.n_gen_tokens,
            count_of(run.decode_tokens_per_sec.values.len(), "round")
        ),
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
