//! Runs of the history as a table with check boxes. Only visible rows are drawn.

use std::cmp::Ordering;
use std::sync::{Arc, Weak};

use eframe::egui::{Align, Checkbox, Id, Label, Layout, RichText, Ui};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use super::candidate_table::right_ui;
use super::sorting::{Side, Sorting, compare_known};
use super::{glossary, theme};
use crate::advise::Decision;
use crate::bench::history::{Filter, Row};
use crate::hardware::PowerSource;
use crate::units::{bytes_text, count_text, local_time_text, nats_text, percent_text, plus_minus_text};

const HEADER_HEIGHT: f32 = 26.0;
/// The rows scroll inside the table, so that the comparison below stays in reach.
const MAX_HEIGHT: f32 = 430.0;
/// What stands in a cell without a value.
const NOTHING: &str = "–";
/// From this width on the table has room for the machine.
const WIDTH_WITH_MACHINE: f32 = 1040.0;
/// From this width on the table has room for the kind, which the numbers show as well, and for the part of equal tokens.
const WIDTH_WITH_ALL_NUMBERS: f32 = 900.0;
/// Between two columns: a number at the right edge of one must not touch a word at the left of the next.
const COLUMN_GAP: f32 = 12.0;

/// A column that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Run,
    Time,
    Model,
    Level,
    Kind,
    Machine,
    Decode,
    Kld,
    SameTop,
    Verdict,
}

/// `(column, title, explanation, side, width)`; a width of 0 takes what is left.
const COLUMNS: [(Column, &str, &str, Side, f32); 10] = [
    (Column::Run, "Run", "The number of the run, as in planish history", Side::Right, 34.0),
    (Column::Time, "Measured", "Date and time on this machine", Side::Left, 120.0),
    (Column::Model, "Model", "The model's file", Side::Left, 0.0),
    (Column::Level, "Level", "level", Side::Left, 66.0),
    (Column::Kind, "Kind", "Speed and memory, or quality: the loss on a text", Side::Left, 52.0),
    (Column::Machine, "Machine", "Processor and memory", Side::Left, 160.0),
    (Column::Decode, "Decode tok/s", "decode", Side::Right, 90.0),
    (Column::Kld, "KLD, nats", "kl divergence", Side::Right, 112.0),
    (Column::SameTop, "Same top", "How often both models put the same token first", Side::Right, 62.0),
    (Column::Verdict, "Verdict", "The measured loss against your limits at that time", Side::Left, 104.0),
];

/// Which rows, in which order, and what they were computed from.
#[derive(Clone)]
struct Visible {
    /// Weak: the rows may be dropped, but while this exists no other ones can get their address.
    rows: Weak<Vec<Row>>,
    filter: Filter,
    sorting: Sorting<Column>,
    indices: Arc<Vec<usize>>,
}

/// Indices of the rows that the filter leaves, in the order of the table; kept until rows, filter or sorting change.
pub fn visible_rows(ui: &Ui, rows: &Arc<Vec<Row>>, filter: &Filter) -> Arc<Vec<usize>> {
    let sorting = sorting(ui);
    let id = Id::unique("visible runs");
    if let Some(known) = ui.data(|data| data.get_temp::<Visible>(id))
        && std::ptr::eq(known.rows.as_ptr(), Arc::as_ptr(rows))
        && known.filter == *filter
        && known.sorting == sorting
    {
        return known.indices;
    }
    let mut found: Vec<(usize, &Row)> = rows.iter().enumerate().filter(|(_, row)| filter.matches(row)).collect();
    sorting.sort(&mut found, |column, a, b| compare(column, a.1, b.1));
    let indices = Arc::new(found.into_iter().map(|(idx, _)| idx).collect::<Vec<_>>());
    let visible = Visible { rows: Arc::downgrade(rows), filter: filter.clone(), sorting, indices: Arc::clone(&indices) };
    ui.data_mut(|data| data.insert_temp(id, visible));
    indices
}

fn sorting_id() -> Id {
    Id::unique("runs sorting")
}

fn sorting(ui: &Ui) -> Sorting<Column> {
    ui.data(|data| data.get_temp(sorting_id())).unwrap_or_default()
}

fn compare(column: Column, a: &Row, b: &Row) -> Ordering {
    match column {
        Column::Run => a.id.cmp(&b.id),
        Column::Time => (a.recorded_unix_secs, a.id).cmp(&(b.recorded_unix_secs, b.id)),
        Column::Model => a.model_name.cmp(&b.model_name),
        Column::Level => a.level.cmp(&b.level),
        Column::Kind => a.kind.cmp(&b.kind),
        Column::Machine => a.machine.cmp(&b.machine),
        Column::Decode => compare_known(a.decode_tokens_per_sec, b.decode_tokens_per_sec),
        Column::Kld => compare_known(a.mean_kld.map(|kld| kld.value), b.mean_kld.map(|kld| kld.value)),
        Column::SameTop => compare_known(a.same_top.map(|top| top.value), b.same_top.map(|top| top.value)),
        // Runs without a verdict last.
        Column::Verdict => a.verdict.is_none().cmp(&b.verdict.is_none()).then(a.verdict.cmp(&b.verdict)),
    }
}

/// Draws the rows; a check mark adds the run's number to `selected`, behind those chosen before.
pub fn history_table_ui(ui: &mut Ui, rows: &[Row], visible: &[usize], selected: &mut Vec<i64>) {
    let width = ui.available_width();
    let is_shown = |column| match column {
        Column::Machine => width >= WIDTH_WITH_MACHINE,
        Column::Kind | Column::SameTop => width >= WIDTH_WITH_ALL_NUMBERS,
        _ => true,
    };
    let columns: Vec<_> = COLUMNS.into_iter().filter(|column| is_shown(column.0)).collect();
    let before = sorting(ui);
    let mut sorting = before;
    ui.push_id("runs", |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        let mut table = TableBuilder::new(ui)
            .striped(true)
            .cell_layout(Layout::left_to_right(Align::Center))
            .min_scrolled_height(MAX_HEIGHT)
            .max_scroll_height(MAX_HEIGHT)
            .auto_shrink([false, true])
            .column(Width::exact(26.0));
        for (.., width) in &columns {
            let column = if *width > 0.0 { Width::exact(*width) } else { Width::remainder().at_least(90.0) };
            table = table.column(column.clip(true));
        }
        table
            .header(HEADER_HEIGHT, |mut header| {
                header.col(|ui| all_ui(ui, rows, visible, selected));
                for &(column, name, explanation, side, _) in &columns {
                    header.col(|ui| {
                        let explanation = glossary::explain(explanation).unwrap_or_else(|| explanation.to_string());
                        sorting.header_ui(ui, column, name, &explanation, side);
                    });
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, visible.len(), |mut line| {
                    let Some(row) = visible.get(line.index()).and_then(|&idx| rows.get(idx)) else { return };
                    line.col(|ui| select_ui(ui, row, selected));
                    for &(column, ..) in &columns {
                        cell_ui(&mut line, column, row);
                    }
                });
            });
    });
    if sorting != before {
        ui.data_mut(|data| data.insert_temp(sorting_id(), sorting));
    }
}

/// The box above all others: chooses the rows of the table or none.
fn all_ui(ui: &mut Ui, rows: &[Row], visible: &[usize], selected: &mut Vec<i64>) {
    let of_table = || visible.iter().filter_map(|&idx| rows.get(idx)).map(|row| row.id);
    let mut is_all = of_table().all(|id| selected.contains(&id));
    let response = ui.add(Checkbox::without_text(&mut is_all)).accessible_name("Select all runs of the table");
    if !response.changed() {
        return;
    }
    if is_all {
        let missing: Vec<i64> = of_table().filter(|id| !selected.contains(id)).collect();
        selected.extend(missing);
    } else {
        let shown: Vec<i64> = of_table().collect();
        selected.retain(|id| !shown.contains(id));
    }
}

fn select_ui(ui: &mut Ui, row: &Row, selected: &mut Vec<i64>) {
    let mut is_selected = selected.contains(&row.id);
    if ui.add(Checkbox::without_text(&mut is_selected)).accessible_name(format!("Select run {}", row.id)).changed() {
        selected.retain(|id| *id != row.id);
        if is_selected {
            selected.push(row.id);
        }
    }
}

fn cell_ui(line: &mut TableRow<'_, '_>, column: Column, row: &Row) {
    let words = |ui: &mut Ui, text: &str| {
        ui.add(Label::new(text).truncate());
    };
    let number = |ui: &mut Ui, text: Option<String>| {
        let is_known = text.is_some();
        let text = RichText::new(text.unwrap_or_else(|| NOTHING.into()));
        right_ui(ui, if is_known { text } else { text.color(theme::muted(ui)) });
    };
    line.col(|ui| match column {
        Column::Run => number(ui, Some(row.id.to_string())),
        Column::Time => words(ui, &local_time_text(row.recorded_unix_secs)),
        Column::Model => {
            ui.add(Label::new(RichText::new(&row.model_name).font(theme::strong_font())).truncate())
                .on_hover_ui(|ui| details_ui(ui, row));
        }
        Column::Level => words(ui, row.level.as_deref().unwrap_or(NOTHING)),
        Column::Kind => words(ui, row.kind.label()),
        Column::Machine => words(ui, &row.machine),
        Column::Decode => {
            number(ui, row.decode_tokens_per_sec.map(|mid| plus_minus_text(mid, row.decode_spread.unwrap_or(f64::NAN))));
        }
        Column::Kld => {
            number(ui, row.mean_kld.map(|kld| kld.text(nats_text)));
        }
        Column::SameTop => number(ui, row.same_top.map(|top| percent_text(top.value))),
        Column::Verdict => verdict_ui(ui, row.verdict),
    });
}

fn verdict_ui(ui: &mut Ui, verdict: Option<Decision>) {
    let color = match verdict {
        Some(Decision::Pass) => theme::good(ui),
        Some(Decision::Inconclusive) => theme::warn(ui),
        Some(Decision::Fail) => theme::bad(ui),
        None => theme::muted(ui),
    };
    ui.label(RichText::new(verdict.map_or(NOTHING, Decision::label)).color(color));
}

/// What a run depends on, as far as the list knows it.
fn details_ui(ui: &mut Ui, row: &Row) {
    ui.set_max_width(460.0);
    let mut lines = vec![
        format!("Run {}", row.id),
        row.path.display().to_string(),
        bytes_text(row.size_bytes),
        row.runtime.clone(),
        row.backend.clone(),
        format!("{}, {} threads", row.machine, row.n_threads),
    ];
    match row.power_source {
        PowerSource::Mains => lines.push("on mains".into()),
        PowerSource::Battery => lines.push("on battery".into()),
        PowerSource::Unknown => {}
    }
    lines.extend(row.temperature_celsius.map(|celsius| format!("{celsius:.0} °C")));
    let tokens = row.n_tokens.map(|n_tokens| format!("{} tokens", count_text(n_tokens)));
    lines.extend(match (tokens, &row.text_name) {
        (Some(tokens), Some(text)) => Some(format!("{tokens} of {text}")),
        (tokens, _) => tokens,
    });
    lines.extend(row.model_sha256.as_ref().map(|sha256| format!("SHA-256 {sha256}")));
    ui.label(lines.join("\n"));
}
