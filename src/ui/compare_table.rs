//! The comparison as a table, as text for spreadsheets and as JSON.

use std::cmp::Ordering;

use eframe::egui::{Align, Label, Layout, RichText, ScrollArea, Ui};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use super::candidate_table::right_ui;
use super::sorting::{Side, Sorting, compare_known};
use super::{glossary, theme};
use crate::bench::pair::{Pair, decode_pair, measured, measured_text, memory_pair, prefill_pair};
use crate::bench::{ComparisonRow, Energy, Run, Sustained, deviation_text};
use crate::hardware::PowerSource;
use crate::units::{bytes_text, duration_text, exact_bytes_text, percent_text, significant_text, watts_text};

const HEADER_HEIGHT: f32 = 26.0;
const MIN_NAME_WIDTH: f32 = 110.0;
/// Least widths of the columns after the name, in the order of `header_ui`.
const NUMBER_WIDTHS: [f32; 9] = [84.0, 50.0, 112.0, 112.0, 136.0, 94.0, 72.0, 88.0, 98.0];

/// Columns that only some measurements fill, with heading, explanation and least width.
const EXTRAS: [(Column, &str, &str, f32); 2] = [
    (Column::Energy, "Decode J/tok", "Joules for each generated token, above those of the idle machine", 96.0),
    (
        Column::Sustained,
        "Sustained",
        "Decode speed in the last third of the long run, and the part of its first seconds that this is",
        92.0,
    ),
];
/// The part of its width that a column keeps in a narrow window; beyond that the table is scrolled.
const LEAST_PART: f32 = 0.86;

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

/// Draws the table; a click on a heading sorts it.
pub fn comparison_table_ui(ui: &mut Ui, mut rows: Vec<ComparisonRow>) {
    let id = ui.make_persistent_id("comparison sorting");
    let mut sorting: Sorting<Column> = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    sorting.sort(&mut rows, compare);
    let has_energy = rows.iter().any(|row| energy_of(row).is_some_and(Energy::is_measured));
    let has_sustained = rows.iter().any(|row| sustained_of(row).is_some());
    let extras = EXTRAS.into_iter().filter(|extra| if extra.0 == Column::Energy { has_energy } else { has_sustained });
    let extras: Vec<_> = extras.collect();
    // In a narrow window the table is wider than its card.
    ScrollArea::horizontal().id_salt("comparison").show(ui, |ui| table_ui(ui, &rows, &extras, &mut sorting));
    ui.data_mut(|data| data.insert_temp(id, sorting));
    let reason = rows.iter().filter_map(energy_of).find_map(|energy| energy.reason.as_deref());
    if let Some(reason) = reason.filter(|_| !has_energy) {
        let text = format!("Energy: not measurable here, because {reason}");
        ui.add_space(theme::UNIT);
        ui.add(Label::new(RichText::new(text).color(theme::muted(ui))).wrap());
    }
}

#[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
fn table_ui(ui: &mut Ui, rows: &[ComparisonRow], extras: &[(Column, &str, &str, f32)], sorting: &mut Sorting<Column>) {
    let extra_widths: f32 = extras.iter().map(|extra| extra.3).sum();
    let flexible = MIN_NAME_WIDTH + NUMBER_WIDTHS.iter().sum::<f32>();
    let gaps = ui.spacing().item_spacing.x * (NUMBER_WIDTHS.len() + extras.len()) as f32;
    let spare = ui.available_width() - gaps - extra_widths - flexible;
    // In a wide window all columns grow, so that no number is far from its name; in a narrow one they shrink a little.
    let growth = spare.max(0.0) / (NUMBER_WIDTHS.len() + extras.len() + 1) as f32;
    let part = (1.0 + spare.min(0.0) / flexible).max(LEAST_PART);
    let widths = NUMBER_WIDTHS.into_iter().map(|width| width * part).chain(extras.iter().map(|extra| extra.3));
    ui.push_id("comparison", |ui| {
        let mut table = TableBuilder::new(ui)
            .striped(true)
            .vscroll(false)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Width::remainder().at_least((MIN_NAME_WIDTH * part).floor()).clip(true));
        for width in widths {
            table = table.column(Width::exact((width + growth).floor()));
        }
        table
            .header(HEADER_HEIGHT, |mut header| {
                header_ui(&mut header, sorting);
                for &(column, name, explanation, _) in extras {
                    header.col(|ui| sorting.header_ui(ui, column, name, explanation, Side::Right));
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, rows.len(), |mut row| {
                    if let Some(data) = rows.get(row.index()) {
                        row_ui(&mut row, data);
                        for extra in extras {
                            row.col(|ui| if extra.0 == Column::Energy { energy_ui(ui, data) } else { sustained_ui(ui, data) });
                        }
                    }
                });
            });
    });
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

fn sustained_ui(ui: &mut Ui, row: &ComparisonRow) {
    let Some(found) = sustained_of(row) else {
        if row.run.is_some() {
            right_ui(ui, RichText::new("not measured").color(theme::muted(ui)));
        }
        return;
    };
    let (burst, sustained) = (found.burst_tokens_per_sec, found.sustained_tokens_per_sec);
    let text = format!("{} ({})", significant_text(sustained), percent_text(found.ratio));
    right_ui(ui, RichText::new(text)).on_hover_text(format!(
        "{} tok/s in the first seconds, {} tok/s in the last third of {} s",
        significant_text(burst),
        significant_text(sustained),
        found.tokens_per_sec.len()
    ));
}

fn energy_ui(ui: &mut Ui, row: &ComparisonRow) {
    let Some(energy) = energy_of(row) else { return };
    let response = match decode_joules(row) {
        Some((mid, spread)) => right_ui(ui, RichText::new(measured_text(mid, spread))),
        None => right_ui(ui, RichText::new("not measured").color(theme::muted(ui))),
    };
    let prefill = energy.prefill_joules_per_token.as_ref().and_then(measured);
    let mut lines: Vec<String> = energy.source.iter().map(|source| format!("Energy of the {source}")).collect();
    lines.extend(energy.idle_watts.map(|watts| format!("less {} of the idle machine", watts_text(watts))));
    lines.extend(prefill.map(|(mid, spread)| format!("prefill: {} J for each prompt token", measured_text(mid, spread))));
    lines.extend(energy.reason.clone());
    response.on_hover_text(lines.join("\n"));
}

fn header_ui(header: &mut TableRow<'_, '_>, sorting: &mut Sorting<Column>) {
    let columns = [
        (Column::Name, "File", "The level, or the source's name", Side::Left),
        (Column::Size, "Size", "Size of the file", Side::Right),
        (Column::BitsPerWeight, "Bits", "bits per weight", Side::Right),
        (Column::Decode, "Decode tok/s", "decode", Side::Right),
        (Column::Prefill, "Prefill tok/s", "prefill", Side::Right),
        (
            Column::PredictedDecode,
            "Predicted decode",
            "Predicted before measuring, with the band of nine of ten machines",
            Side::Right,
        ),
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
        Column::Energy => by(|row| decode_joules(row).map(|(mid, _)| mid)),
        Column::Sustained => by(|row| sustained_of(row).map(|found| found.sustained_tokens_per_sec)),
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
            let response = right_ui(ui, RichText::new(measured_text(mid, spread)));
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
    let text = deviation_text(ratio);
    if is_inside {
        right_ui(ui, RichText::new(text)).on_hover_text("Inside the predicted band");
    } else {
        right_ui(ui, RichText::new(format!("{text} !")).color(theme::warn(ui))).on_hover_text("Outside the predicted band");
    }
}

fn provenance_ui(ui: &mut Ui, run: &Run) {
    let provenance = &run.provenance;
    let conditions = &provenance.conditions;
    let mut lines = vec![
        provenance.runtime.clone(),
        provenance.backend.clone(),
        format!(
            "{} threads, {} prompt and {} generated tokens, {} rounds",
            provenance.n_threads,
            provenance.n_prompt_tokens,
            provenance.n_gen_tokens,
            run.decode_tokens_per_sec.values.len()
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
