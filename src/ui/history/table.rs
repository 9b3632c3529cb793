//! The history as a table: models and days with one row for each level. Speed and loss of a level stand together.

use std::cmp::Ordering;
use std::sync::Arc;

use eframe::egui::{self, Align, Button, Checkbox, Id, Label, Layout, RichText, Ui, vec2};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use crate::advise::Decision;
use crate::bench::history::{Filter, Group, LevelRuns, Row, groups};
use crate::bench::known::Here;
use crate::hardware::PowerSource;
use crate::path_text;
use crate::state::{Command, HistoryForm};
use crate::ui::kit::figures::{NumberColumns, SizeUnit, text_width};
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::sorting::{Side, Sorting, compare_known};
use crate::ui::kit::{glossary, loss_view, theme, widgets};
use crate::units::{bytes_text, count_of, count_text, local_clock_text, nats_text, plus_minus_text};

const HEADER_HEIGHT: f32 = 26.0;
/// What stands in a cell without a value.
const NOTHING: &str = "–";
/// Between two columns: a number at the right edge of one must not touch a word at the left of the next.
const COLUMN_GAP: f32 = 14.0;
/// Width of the column of check boxes, and the least width of a level's name.
const CHECK_WIDTH: f32 = 26.0;
const LEVEL_WIDTH: f32 = 110.0;
/// How many models and days are shown at first, and how many more for each click.
const N_GROUPS: usize = 20;

/// A column that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Level,
    Size,
    Decode,
    Prefill,
    Kld,
    SameTop,
    Verdict,
    Loss,
    Time,
    Machine,
    Runtime,
    Runs,
}

/// `(column, title, explanation, side, least width)`; a width of 0 takes what is left.
const COLUMNS: [(Column, &str, &str, Side, f32); 12] = [
    (Column::Level, "Level", "level", Side::Left, 0.0),
    (Column::Size, "Size", "Size of the file", Side::Right, 62.0),
    (Column::Decode, "Decode, tok/s", "decode", Side::Right, 86.0),
    (Column::Prefill, "Prefill, tok/s", "prefill", Side::Right, 86.0),
    (Column::Verdict, "Verdict", "The measured loss against the gates; hover over the word to see them", Side::Left, 100.0),
    (Column::Loss, "Loss", "In a word; hover over it for what it means", Side::Left, 110.0),
    (Column::Kld, "KLD, nats", "kl divergence", Side::Right, 70.0),
    (Column::SameTop, "Same top, %", "How often both models put the same token first", Side::Right, 78.0),
    (Column::Time, "Time", "Time of day on this machine of the latest run", Side::Left, 42.0),
    (Column::Machine, "Machine", "Processor and memory; marked where it is not this machine", Side::Left, 150.0),
    (Column::Runtime, "Runtime", "What ran the file; marked where this program has a different one", Side::Left, 110.0),
    (Column::Runs, "Runs", "Numbers of the runs, as in planish history", Side::Left, 62.0),
];

/// Models and days that the filter leaves, the latest first; kept until rows or filter change.
pub fn visible_groups(ui: &Ui, rows: &Arc<Vec<Row>>, filter: &str) -> Arc<Vec<Group>> {
    cached_groups(ui, "visible runs", rows, filter)
}

/// All models and days, the latest first.
pub fn all_groups(ui: &Ui, rows: &Arc<Vec<Row>>) -> Arc<Vec<Group>> {
    cached_groups(ui, "all runs", rows, "")
}

fn cached_groups(ui: &Ui, name: &str, rows: &Arc<Vec<Row>>, filter: &str) -> Arc<Vec<Group>> {
    memo::kept(ui, name, (Same::of(rows), filter.to_string()), || {
        let wanted = Filter { text: filter.to_string(), ..Filter::default() };
        let indices: Vec<usize> = rows.iter().enumerate().filter(|(_, row)| wanted.matches(row)).map(|(idx, _)| idx).collect();
        groups(rows, &indices)
    })
}

/// The rows of a group in the order of the table.
pub fn sorted_levels(ui: &Ui, rows: &[Row], group: &Group) -> Vec<LevelRuns> {
    let mut levels = group.levels.clone();
    sorting(ui).sort(&mut levels, |column, a, b| compare(rows, column, a, b));
    levels
}

fn sorting_id() -> Id {
    Id::unique("runs sorting")
}

fn sorting(ui: &Ui) -> Sorting<Column> {
    ui.data(|data| data.get_temp(sorting_id())).unwrap_or_default()
}

fn compare(rows: &[Row], column: Column, a: &LevelRuns, b: &LevelRuns) -> Ordering {
    let by = |value: fn(&Row) -> Option<f64>, of: for<'a> fn(&LevelRuns, &'a [Row]) -> Option<&'a Row>| {
        compare_known(of(a, rows).and_then(value), of(b, rows).and_then(value))
    };
    let main = |level: &LevelRuns| level.main(rows).cloned();
    match column {
        Column::Level => main(a).map(|row| row.level).cmp(&main(b).map(|row| row.level)),
        Column::Size => main(a).map(|row| row.size_bytes).cmp(&main(b).map(|row| row.size_bytes)),
        Column::Decode => by(|row| row.decode_tokens_per_sec, LevelRuns::speed),
        Column::Prefill => by(|row| row.prefill_tokens_per_sec, LevelRuns::speed),
        Column::Kld => by(|row| row.mean_kld.map(|kld| kld.value), LevelRuns::quality),
        Column::SameTop => by(|row| row.same_top.map(|top| top.value), LevelRuns::quality),
        Column::Verdict => {
            let verdict = |level: &LevelRuns| level.quality(rows).and_then(|row| row.verdict);
            // Rows without a verdict last.
            verdict(a).is_none().cmp(&verdict(b).is_none()).then(verdict(a).cmp(&verdict(b)))
        }
        Column::Loss => {
            let words = |level: &LevelRuns| level.quality(rows).and_then(Row::loss_words);
            words(a).is_none().cmp(&words(b).is_none()).then(words(a).cmp(&words(b)))
        }
        Column::Time => latest_secs(rows, a).cmp(&latest_secs(rows, b)),
        Column::Machine => main(a).map(|row| row.machine).cmp(&main(b).map(|row| row.machine)),
        Column::Runtime => main(a).map(|row| row.runtime).cmp(&main(b).map(|row| row.runtime)),
        Column::Runs => a.ids.iter().max().cmp(&b.ids.iter().max()),
    }
}

fn latest_secs(rows: &[Row], level: &LevelRuns) -> Option<i64> {
    [level.speed(rows), level.quality(rows)].into_iter().flatten().map(|row| row.recorded_unix_secs).max()
}

/// The columns with numbers.
const NUMBERS: [Column; 5] = [Column::Size, Column::Decode, Column::Prefill, Column::Kld, Column::SameTop];

/// What a number of a row says; `None` where nothing was measured.
fn number_text(rows: &[Row], level: &LevelRuns, column: Column, unit: SizeUnit) -> Option<String> {
    let (speed, quality) = (level.speed(rows), level.quality(rows));
    let with_spread = |mid: Option<f64>, spread: Option<f64>| Some(plus_minus_text(mid?, spread.unwrap_or(f64::NAN)));
    match column {
        Column::Size => level.main(rows).map(|row| unit.text(row.size_bytes)),
        Column::Decode => speed.and_then(|row| with_spread(row.decode_tokens_per_sec, row.decode_spread)),
        Column::Prefill => speed.and_then(|row| with_spread(row.prefill_tokens_per_sec, row.prefill_spread)),
        Column::Kld => Some(quality?.mean_kld?.text(nats_text)),
        Column::SameTop => {
            let top = quality?.same_top?;
            Some(plus_minus_text(top.value * 100.0, top.half_width() * 100.0))
        }
        _ => None,
    }
}

/// Machine or runtime of a row, marked where it is not the one here; and whether it is marked.
fn marked(here: Option<&Here>, column: Column, row: &Row) -> (String, bool) {
    let (of_row, here) = match column {
        Column::Machine => (&row.machine, here.map(|here| &here.machine)),
        _ => (&row.runtime, here.and_then(|here| here.runtime.as_ref())),
    };
    let is_other = here.is_some_and(|here| here != of_row);
    (if is_other { format!("{of_row} (another)") } else { of_row.clone() }, is_other)
}

/// The columns with their widths, and what lines up their numbers.
struct Table<'a> {
    here: Option<&'a Here>,
    columns: [(Column, &'static str, &'static str, Side, f32); COLUMNS.len()],
    numbers: NumberColumns<Column>,
    unit: SizeUnit,
}

impl<'a> Table<'a> {
    fn new(ui: &Ui, rows: &[Row], groups: &[Group], here: Option<&'a Here>) -> Self {
        let levels: Vec<&LevelRuns> = groups.iter().flat_map(|group| &group.levels).collect();
        let unit = SizeUnit::of(levels.iter().filter_map(|level| level.main(rows)).map(|row| row.size_bytes));
        let numbers = NumberColumns::of(ui, &NUMBERS, &levels, |column, level| number_text(rows, level, column, unit));
        let widest = |column| {
            let texts = levels.iter().filter_map(|level| level.main(rows)).map(|row| marked(here, column, row).0);
            texts.map(|text| text_width(ui, &text)).fold(0.0, f32::max)
        };
        let columns = COLUMNS.map(|(column, name, explanation, side, least)| {
            let is_marked = matches!(column, Column::Machine | Column::Runtime);
            let width = if is_marked { least.max(widest(column)) } else { numbers.width(column, least) };
            (column, name, explanation, side, width)
        });
        Self { here, columns, numbers, unit }
    }

    /// Least width of all columns with the gaps between them.
    #[allow(clippy::cast_precision_loss, reason = "a dozen columns")]
    fn least_width(&self) -> f32 {
        let widths = self.columns.iter().map(|(.., width)| if *width > 0.0 { *width } else { LEVEL_WIDTH });
        CHECK_WIDTH + widths.sum::<f32>() + COLUMN_GAP * self.columns.len() as f32
    }

    fn builder<'ui>(&self, ui: &'ui mut Ui) -> TableBuilder<'ui> {
        let mut table = TableBuilder::new(ui)
            .striped(true)
            .vscroll(false)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Width::exact(CHECK_WIDTH));
        for (.., width) in &self.columns {
            let column = if *width > 0.0 { Width::exact(*width) } else { Width::remainder().at_least(LEVEL_WIDTH) };
            table = table.column(column.clip(true));
        }
        table
    }
}

/// Draws the groups. A check mark adds the numbers of a row's runs behind those chosen before; a click on a model opens it.
pub fn history_table_ui(
    ui: &mut Ui,
    rows: &[Row],
    groups: &[Group],
    here: Option<&Here>,
    form: &mut HistoryForm,
    commands: &mut Vec<Command>,
) {
    let n_shown = form.n_more * N_GROUPS + N_GROUPS;
    let shown = groups.get(..n_shown).unwrap_or(groups);
    let table = Table::new(ui, rows, shown, here);
    sideways_ui(ui, "runs", table.least_width(), |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        header_ui(ui, &table, rows, groups, &mut form.selected);
        for (idx, group) in shown.iter().enumerate() {
            group_ui(ui, group, idx, commands);
            let levels = sorted_levels(ui, rows, group);
            ui.push_id(("runs", idx), |ui| {
                table.builder(ui).body(|body| {
                    body.rows(theme::ROW_HEIGHT, levels.len(), |mut line| {
                        let Some(level) = levels.get(line.index()) else { return };
                        line.set_selected(is_chosen(level, &form.selected));
                        row_ui(&mut line, &table, rows, level, &mut form.selected);
                    });
                });
            });
        }
    });
    if groups.len() > n_shown {
        ui.add_space(theme::UNIT);
        let left = groups.len() - n_shown;
        if ui.button(format!("Show {} earlier", count_text(left.min(N_GROUPS) as u64))).clicked() {
            form.n_more += 1;
        }
    }
}

fn header_ui(ui: &mut Ui, table: &Table<'_>, rows: &[Row], groups: &[Group], selected: &mut Vec<i64>) {
    let before = sorting(ui);
    let mut sorting = before;
    ui.push_id("runs header", |ui| {
        table
            .builder(ui)
            .header(HEADER_HEIGHT, |mut header| {
                header.col(|ui| all_ui(ui, rows, groups, selected));
                for &(column, name, explanation, side, _) in &table.columns {
                    header.col(|ui| {
                        let explanation = glossary::explain(explanation).unwrap_or_else(|| explanation.to_string());
                        let name = if column == Column::Size { format!("{name}, {}", table.unit.name) } else { name.to_string() };
                        sorting.header_ui(ui, column, &name, &explanation, side);
                    });
                }
            })
            .body(|_| {});
    });
    if sorting != before {
        ui.data_mut(|data| data.insert_temp(sorting_id(), sorting));
    }
}

/// The line above the levels of a model: its name, which opens it, and the day.
fn group_ui(ui: &mut Ui, group: &Group, idx: usize, commands: &mut Vec<Command>) {
    ui.add_space(if idx == 0 { 2.0 } else { 8.0 });
    let p = theme::palette(ui);
    ui.allocate_ui_with_layout(vec2(ui.available_width(), 24.0), Layout::left_to_right(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        ui.spacing_mut().button_padding.x = 0.0;
        let day = RichText::new(&group.day).color(p.text_secondary);
        let day_width = ui.painter().layout_no_wrap(group.day.clone(), egui::FontId::proportional(14.0), p.text).size().x;
        let name = RichText::new(&group.model).font(theme::strong_font()).color(p.accent);
        let widest = (ui.available_width() - day_width - 8.0).max(60.0);
        ui.scope(|ui| {
            ui.set_max_width(widest);
            let response = ui.add(Button::new(name).frame(false).truncate());
            let response = response.on_hover_cursor(egui::CursorIcon::PointingHand);
            if response.on_hover_text(format!("Open {}", path_text::shown(&group.source))).clicked() {
                commands.push(Command::OpenModel(group.source.clone()));
            }
        });
        ui.label(day);
    });
}

fn is_chosen(level: &LevelRuns, selected: &[i64]) -> bool {
    level.ids.iter().all(|id| selected.contains(id))
}

/// Chooses the runs of a row, or drops them from the choice.
fn choose(level: &LevelRuns, selected: &mut Vec<i64>, wanted: Wanted) {
    match wanted {
        Wanted::Chosen => {
            let missing: Vec<i64> = level.ids.iter().copied().filter(|id| !selected.contains(id)).collect();
            selected.extend(missing);
        }
        Wanted::Not => selected.retain(|id| !level.ids.contains(id)),
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    Chosen,
    Not,
}

impl From<bool> for Wanted {
    fn from(is_chosen: bool) -> Self {
        if is_chosen { Self::Chosen } else { Self::Not }
    }
}

/// The check box in the header: chooses all rows that the filter leaves, also those not shown yet, or none of them.
fn all_ui(ui: &mut Ui, rows: &[Row], groups: &[Group], selected: &mut Vec<i64>) {
    let of_table: Vec<LevelRuns> = groups.iter().flat_map(|group| sorted_levels(ui, rows, group)).collect();
    let mut is_all = of_table.iter().all(|level| is_chosen(level, selected));
    let response = ui.add(Checkbox::without_text(&mut is_all)).accessible_name("Select all runs of the table");
    if response.changed() {
        for level in &of_table {
            choose(level, selected, is_all.into());
        }
    }
}

fn select_ui(ui: &mut Ui, level: &LevelRuns, selected: &mut Vec<i64>) {
    let mut is_selected = is_chosen(level, selected);
    let name = if level.ids.len() == 1 { "Select run" } else { "Select runs" };
    let response = ui.add(Checkbox::without_text(&mut is_selected)).accessible_name(format!("{name} {}", ids_text(&level.ids)));
    if response.changed() {
        choose(level, selected, is_selected.into());
    }
}

/// `4, 7`, in ascending order.
fn ids_text(ids: &[i64]) -> String {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn row_ui(line: &mut TableRow<'_, '_>, table: &Table<'_>, rows: &[Row], level: &LevelRuns, selected: &mut Vec<i64>) {
    line.col(|ui| select_ui(ui, level, selected));
    let Some(main) = level.main(rows) else { return };
    for &(column, ..) in &table.columns {
        line.col(|ui| {
            if NUMBERS.contains(&column) {
                let text = number_text(rows, level, column, table.unit);
                let color = text.as_ref().map_or(theme::palette(ui).muted, |_| theme::palette(ui).text);
                table.numbers.cell_ui(ui, column, text.as_deref().unwrap_or(NOTHING), color);
            } else {
                words_ui(ui, table.here, column, rows, level, main);
            }
        });
    }
}

fn words_ui(ui: &mut Ui, here: Option<&Here>, column: Column, rows: &[Row], level: &LevelRuns, main: &Row) {
    let words = |ui: &mut Ui, text: &str| ui.add(Label::new(text).truncate());
    match column {
        Column::Level => {
            let name = RichText::new(main.short_name()).font(theme::strong_font());
            ui.add(Label::new(name).truncate()).on_hover_ui(|ui| details_ui(ui, rows, level));
        }
        Column::Verdict => verdict_ui(ui, level.quality(rows)),
        Column::Loss => match level.quality(rows) {
            Some(row) => drop(loss_view::loss_label(ui, row.mean_kld, row.same_top)),
            None => drop(ui.label(RichText::new(NOTHING).color(theme::muted(ui)))),
        },
        Column::Time => {
            words(ui, &latest_secs(rows, level).map(local_clock_text).unwrap_or_default());
        }
        Column::Machine | Column::Runtime => {
            let (text, is_other) = marked(here, column, main);
            let color = if is_other { theme::warn(ui) } else { theme::palette(ui).text };
            ui.add(Label::new(RichText::new(text).color(color)).truncate());
        }
        Column::Runs => {
            let text = RichText::new(ids_text(&level.ids)).color(theme::muted(ui));
            ui.add(Label::new(text).truncate());
        }
        Column::Size | Column::Decode | Column::Prefill | Column::Kld | Column::SameTop => {}
    }
}

fn verdict_ui(ui: &mut Ui, row: Option<&Row>) {
    let verdict = row.and_then(|row| row.verdict);
    let color = verdict.map_or_else(|| theme::muted(ui), |decision| loss_view::decision_tone(decision).color(ui));
    let label = ui.label(RichText::new(verdict.map_or(NOTHING, Decision::label)).color(color));
    if let Some(gates) = row.and_then(|row| row.gates.as_ref()) {
        label.on_hover_text(format!("Gates: {}", gates.text()));
    }
}

/// What the runs of a row depend on, as far as the list knows it.
fn details_ui(ui: &mut Ui, rows: &[Row], level: &LevelRuns) {
    ui.set_max_width(460.0);
    for row in [level.speed(rows), level.quality(rows)].into_iter().flatten() {
        ui.label(details_text(row));
    }
    let n_earlier = level.ids.len() - level.shown_ids().len();
    if n_earlier > 0 {
        let runs = super::view::runs_text(n_earlier);
        ui.label(format!("and {runs} from earlier that day, which are chosen along with these"));
    }
}

fn details_text(row: &Row) -> String {
    let mut lines = vec![
        format!("Run {}: {}, {}", row.id, row.kind.label().to_lowercase(), local_clock_text(row.recorded_unix_secs)),
        path_text::shown(&row.path),
        bytes_text(row.size_bytes),
        row.runtime.clone(),
        row.backend.clone(),
        format!("{}, {}", row.machine, count_of(row.n_threads, "thread")),
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
    widgets::sentence(&lines.join("\n"))
}
