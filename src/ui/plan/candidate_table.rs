//! Frameworks and levels as a table: size, memory, predicted speed, expected loss, and whether it fits.

use std::cmp::Ordering;

use eframe::egui::{self, Align, Checkbox, ComboBox, Label, Layout, RichText, Ui};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use crate::advise::{Band, Basis, Candidate, Fit, Plan};
use crate::model::Framework;
use crate::state::Form;
use crate::ui::kit::drop_down::{drop_down_ui, entry_ui};
use crate::ui::kit::figures::{NumberColumns, SizeUnit, text_width};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::sorting::{Side, Sorting, compare_known};
use crate::ui::kit::theme::{self, Palette};
use crate::ui::kit::{glossary, loss_view, widgets};
use crate::units::{bytes_text, count_of, exact_bytes_text, nats_text, significant_text};

const ROW_HEIGHT: f32 = 28.0;
const HEADER_HEIGHT: f32 = 26.0;

/// A column that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Framework,
    Level,
    Size,
    BitsPerWeight,
    Memory,
    Decode,
    Loss,
    Fit,
}

/// How the user looks at the table; kept in egui's memory, not saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct View {
    sorting: Sorting<Column>,
    framework: Option<Framework>,
    shows_all: bool,
}

/// Draws the candidates of `plan` with a filter above them. A check mark adds the level to `form.levels`.
pub fn candidate_table_ui(ui: &mut Ui, plan: &Plan, form: &mut Form) {
    let palette = theme::palette(ui);
    let view_id = ui.make_persistent_id("candidate table view");
    let mut view: View = ui.data(|data| data.get_temp(view_id)).unwrap_or_default();
    filter_ui(ui, plan, &mut view);
    let rows = visible_rows(plan, view);
    if rows.is_empty() {
        ui.add_space(8.0);
        ui.weak("Nothing can be carried out here. Show all to see what is missing.");
    } else {
        table_ui(ui, palette, plan, &rows, &mut view, form);
    }
    ui.data_mut(|data| data.insert_temp(view_id, view));
}

fn filter_ui(ui: &mut Ui, plan: &Plan, view: &mut View) {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label("Framework");
        let text = view.framework.map_or("All frameworks", Framework::name);
        let field = ComboBox::from_id_salt("framework filter").width(170.0).selected_text(text);
        let response = drop_down_ui(ui, field, |ui| {
            for framework in std::iter::once(None).chain(Framework::ALL.map(Some)) {
                let name = framework.map_or("All frameworks", Framework::name);
                if entry_ui(ui, view.framework == framework, name).clicked() {
                    view.framework = framework;
                }
            }
        });
        response.labelled_by(label.id);
        ui.add_space(12.0);
        ui.checkbox(&mut view.shows_all, "Show what cannot be done here").on_hover_text(
            "Also list levels that do not fit, and frameworks that this version or machine lacks, each with the reason",
        );
        let n_visible = visible_rows(plan, *view).len();
        ui.weak(format!("{n_visible} of {}", plan.candidates.len()));
    });
}

/// Indices of the candidates to show, in the wanted order.
fn visible_rows(plan: &Plan, view: View) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..plan.candidates.len())
        .filter(|&idx| {
            let candidate = &plan.candidates[idx];
            let is_wanted = view.framework.is_none_or(|framework| framework == candidate.framework);
            is_wanted && (view.shows_all || is_possible(candidate) && candidate.is_offered())
        })
        .collect();
    view.sorting.sort(&mut rows, |column, &a, &b| compare(column, &plan.candidates[a], &plan.candidates[b]));
    rows
}

/// True for a candidate that fits and that this version can carry out here.
pub fn is_possible(candidate: &Candidate) -> bool {
    candidate.missing.is_none() && !matches!(candidate.fit, Fit::TooLarge { .. })
}

#[allow(clippy::cast_precision_loss, reason = "an order, not a number")]
fn compare(column: Column, a: &Candidate, b: &Candidate) -> Ordering {
    match column {
        Column::Framework => a.framework.cmp(&b.framework),
        Column::Level => (a.level, &a.level_name).cmp(&(b.level, &b.level_name)),
        Column::Size => a.size_bytes.cmp(&b.size_bytes),
        Column::BitsPerWeight => a.bits_per_weight.total_cmp(&b.bits_per_weight),
        Column::Memory => a.memory.total_bytes().cmp(&b.memory.total_bytes()),
        Column::Decode => {
            let mid = |candidate: &Candidate| candidate.decode_tokens_per_sec.map(|band| band.mid);
            compare_known(mid(a), mid(b))
        }
        Column::Loss => a.expected_loss_percent.total_cmp(&b.expected_loss_percent),
        Column::Fit => fit_order(a).cmp(&fit_order(b)),
    }
}

/// Possible ones first, then by what is missing in bytes, then those that need another runtime.
fn fit_order(candidate: &Candidate) -> (bool, u64) {
    let missing_bytes = match candidate.fit {
        Fit::Fits => 0,
        Fit::FitsWithOffload { .. } => 1,
        Fit::TooLarge { missing_bytes } => missing_bytes.saturating_add(2),
    };
    (candidate.missing.is_some(), missing_bytes)
}

/// The columns with numbers, with their least widths, which their headings need.
const NUMBERS: [(Column, f32); 4] =
    [(Column::Size, 62.0), (Column::BitsPerWeight, 34.0), (Column::Memory, 84.0), (Column::Decode, 90.0)];
const CHECK_WIDTH: f32 = 24.0;
/// Least widths of the columns with words.
const FRAMEWORK_WIDTH: f32 = 110.0;
const LEVEL_WIDTH: f32 = 180.0;
const LOSS_WIDTH: f32 = 126.0;
const FIT_WIDTH: f32 = 130.0;
const COLUMN_GAP: f32 = 14.0;

/// What lines up the numbers of the rows in view.
struct Numbers {
    columns: NumberColumns<Column>,
    size: SizeUnit,
    memory: SizeUnit,
}

impl Numbers {
    fn of(ui: &Ui, candidates: &[&Candidate]) -> Self {
        let size = SizeUnit::of(candidates.iter().map(|candidate| candidate.size_bytes));
        let memory = SizeUnit::of(candidates.iter().map(|candidate| candidate.memory.total_bytes()));
        let all = NUMBERS.map(|column| column.0);
        let columns = NumberColumns::of(ui, &all, candidates, |column, candidate| number_text(candidate, column, size, memory));
        Self { columns, size, memory }
    }

    fn widths(&self) -> [f32; 4] {
        NUMBERS.map(|(column, least)| self.columns.width(column, least))
    }
}

/// What a number says, without its unit; `None` where it is not known.
fn number_text(candidate: &Candidate, column: Column, size: SizeUnit, memory: SizeUnit) -> Option<String> {
    match column {
        Column::Size if candidate.size_is_exact => Some(size.text(candidate.size_bytes)),
        Column::Size => Some(format!("≈ {}", size.text(candidate.size_bytes))),
        Column::BitsPerWeight => Some(significant_text(candidate.bits_per_weight)),
        Column::Memory => Some(memory.text(candidate.memory.total_bytes())),
        Column::Decode => candidate.decode_tokens_per_sec.map(|band| {
            let mark = basis_mark(candidate.decode_basis);
            format!("{}{mark}", band_text(band))
        }),
        Column::Framework | Column::Level | Column::Loss | Column::Fit => None,
    }
}

fn table_ui(ui: &mut Ui, palette: &Palette, plan: &Plan, rows: &[usize], view: &mut View, form: &mut Form) {
    ui.add_space(6.0);
    let sorting = &mut view.sorting;
    let candidates: Vec<&Candidate> = rows.iter().filter_map(|&idx| plan.candidates.get(idx)).collect();
    let numbers = Numbers::of(ui, &candidates);
    let loss_width = candidates.iter().map(|candidate| text_width(ui, &candidate.loss_text())).fold(LOSS_WIDTH, f32::max);
    let level_width = rows.iter().map(|&idx| level_width(ui, plan, idx)).fold(LEVEL_WIDTH, f32::max);
    let words = [CHECK_WIDTH, FRAMEWORK_WIDTH, level_width, loss_width, FIT_WIDTH];
    let least_width = words.iter().chain(&numbers.widths()).sum::<f32>() + 8.0 * COLUMN_GAP;
    sideways_ui(ui, "candidates", least_width, |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        let spare = (ui.available_width() - least_width).max(0.0);
        let mut table = TableBuilder::new(ui)
            .striped(true)
            .vscroll(false)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Width::exact(CHECK_WIDTH))
            .column(Width::exact(FRAMEWORK_WIDTH + (spare * 0.2).floor().min(40.0)).clip(true))
            .column(Width::exact(level_width + (spare * 0.3).floor().min(60.0)).clip(true));
        for width in numbers.widths() {
            table = table.column(Width::exact(width));
        }
        table
            .column(Width::exact(loss_width).clip(true))
            .column(Width::remainder().at_least(FIT_WIDTH).clip(true))
            .header(HEADER_HEIGHT, |mut header| header_ui(&mut header, sorting, &numbers))
            .body(|body| {
                body.rows(ROW_HEIGHT, rows.len(), |mut row| {
                    if let Some(&idx) = rows.get(row.index()) {
                        row_ui(&mut row, palette, plan, idx, &numbers, form);
                    }
                });
            });
    });
}

fn header_ui(header: &mut TableRow<'_, '_>, sorting: &mut Sorting<Column>, numbers: &Numbers) {
    header.col(|_| {});
    let columns = [
        (Column::Framework, "Framework", "The program that runs the model", Side::Left),
        (Column::Level, "Level", "level", Side::Left),
        (Column::Size, "Size", "Size of the output file; ≈ marks an estimate, all others are exact to the byte", Side::Right),
        (Column::BitsPerWeight, "Bits", "bits per weight", Side::Right),
        (Column::Memory, "Memory", "Weights, KV cache at the wanted context, compute buffers and the program", Side::Right),
        (Column::Decode, "Decode, tok/s", "decode", Side::Right),
        (
            Column::Loss,
            "Loss",
            "Measured on this model where it says so, else expected from published measurements of such levels",
            Side::Left,
        ),
        (Column::Fit, "Fits", "Whether it fits the memory budget, and what else is missing here", Side::Left),
    ];
    for (column, name, explanation, side) in columns {
        header.col(|ui| {
            let explanation = glossary::explain(explanation).unwrap_or_else(|| explanation.to_string());
            let name = match column {
                Column::Size => format!("{name}, {}", numbers.size.name),
                Column::Memory => format!("{name}, {}", numbers.memory.name),
                _ => name.to_string(),
            };
            sorting.header_ui(ui, column, &name, &explanation, side);
        });
    }
}

/// Width of the name and the mark of a candidate.
fn level_width(ui: &Ui, plan: &Plan, idx: usize) -> f32 {
    let name = plan.candidates.get(idx).map(Candidate::shown_name).unwrap_or_default();
    // The name is strong and the mark small: measured as one text of the body's font, with the gap between them.
    text_width(ui, &name) + mark_of(plan, idx).map_or(0.0, |mark| text_width(ui, mark) + COLUMN_GAP)
}

fn row_ui(row: &mut TableRow<'_, '_>, palette: &Palette, plan: &Plan, idx: usize, numbers: &Numbers, form: &mut Form) {
    let candidate = &plan.candidates[idx];
    let ink = if is_possible(candidate) { palette.text } else { palette.muted };
    let mark = mark_of(plan, idx);
    row.set_selected(mark == Some("recommended"));
    row.col(|ui| select_ui(ui, candidate, form));
    row.col(|ui| {
        ui.add(Label::new(RichText::new(candidate.framework.name()).color(ink)).truncate());
    });
    row.col(|ui| {
        let description = candidate.level.map_or("", crate::model::Level::description);
        let response = ui.label(RichText::new(candidate.shown_name()).strong().color(ink));
        if !description.is_empty() {
            response.on_hover_text(description);
        }
        if let Some(mark) = mark {
            let color = if mark == "recommended" { palette.accent } else { palette.muted };
            ui.label(RichText::new(mark).small().color(color));
        }
    });
    for (column, _) in NUMBERS {
        row.col(|ui| number_ui(ui, candidate, column, numbers, ink));
    }
    row.col(|ui| {
        let color = if is_possible(candidate) { loss_view::word_color(ui, candidate.loss_word()) } else { ink };
        let origin = match candidate.measured_loss.map(|loss| loss.mean_kld) {
            Some(kld) => format!("Measured on this model: mean KLD {} to {} nats", nats_text(kld.low), nats_text(kld.high)),
            None => format!(
                "{}: published for such levels, not measured on this model",
                widgets::sentence(&candidate.expected_loss_note())
            ),
        };
        ui.label(RichText::new(candidate.loss_text()).color(color)).on_hover_text(origin);
    });
    row.col(|ui| {
        let (words, color) = fit_words(candidate, palette);
        let response = ui.add(Label::new(RichText::new(&words).color(color)).truncate());
        let mut lines = vec![words];
        lines.extend(candidate.note.clone());
        response.on_hover_text(lines.join("\n"));
    });
}

/// A number at its place in the column; where it is not known, words at the right edge.
fn number_ui(ui: &mut Ui, candidate: &Candidate, column: Column, numbers: &Numbers, ink: egui::Color32) {
    let muted = theme::muted(ui);
    match (column, number_text(candidate, column, numbers.size, numbers.memory)) {
        (_, Some(text)) => {
            let response = numbers.columns.cell_ui(ui, column, &text, ink);
            match column {
                Column::Size if candidate.size_is_exact => {
                    response.on_hover_text(format!("{}, exact", exact_bytes_text(candidate.size_bytes)));
                }
                Column::Size => drop(response.on_hover_text("Estimated: only GGUF sizes are known to the byte")),
                Column::Memory => drop(response.on_hover_ui(|ui| {
                    memory_tooltip_ui(ui, candidate);
                    ui.label(candidate.memory_basis.explanation());
                })),
                Column::Decode => {
                    let basis = candidate.decode_basis.explanation();
                    response.on_hover_text(format!("{basis}. In brackets: the likely range"));
                }
                _ => {}
            }
        }
        (Column::Decode, None) => match &candidate.published {
            Some(published) => {
                right_ui(ui, RichText::new(published.speed).color(muted).small()).on_hover_text(format!(
                    "{}. Not measured on this machine",
                    crate::ui::kit::widgets::sentence(&published.text())
                ));
            }
            None => {
                right_ui(ui, RichText::new("unknown").color(muted))
                    .on_hover_text("Needs the measured memory bandwidth: see the Machine page");
            }
        },
        _ => {}
    }
}

/// `recommended`, `runner-up`, or nothing.
fn mark_of(plan: &Plan, idx: usize) -> Option<&'static str> {
    if plan.recommended == Some(idx) {
        Some("recommended")
    } else if plan.runner_up == Some(idx) {
        Some("runner-up")
    } else {
        None
    }
}

fn select_ui(ui: &mut Ui, candidate: &Candidate, form: &mut Form) {
    let Some(level) = candidate.level.filter(|_| candidate.missing.is_none()) else {
        return;
    };
    let mut is_selected = form.levels.contains(&level);
    let response = ui.add(Checkbox::without_text(&mut is_selected)).accessible_name(format!("Select {level}"));
    if response.on_hover_text("Choose this level for the Optimize page").changed() {
        if is_selected {
            form.levels.insert(level);
        } else {
            form.levels.remove(&level);
        }
    }
}

fn memory_tooltip_ui(ui: &mut Ui, candidate: &Candidate) {
    let memory = candidate.memory;
    egui::Grid::new("memory parts").num_columns(2).spacing([16.0, 2.0]).show(ui, |ui| {
        for (name, size_bytes) in [
            ("Weights", memory.weights_bytes),
            ("KV cache at the wanted context", memory.kv_cache_bytes),
            ("Compute buffers", memory.compute_bytes),
            ("The program itself", memory.fixed_bytes),
            ("Sum", memory.total_bytes()),
        ] {
            ui.label(name);
            right_ui(ui, RichText::new(bytes_text(size_bytes)));
            ui.end_row();
        }
    });
}

/// Whether a candidate fits, in words, with the colour that goes with them.
pub fn fit_words(candidate: &Candidate, palette: &Palette) -> (String, egui::Color32) {
    let (fits, color) = match candidate.fit {
        Fit::Fits => ("fits".to_string(), palette.good),
        Fit::FitsWithOffload { n_gpu_layers } => {
            (format!("fits with {} on the GPU", count_of(n_gpu_layers, "layer")), palette.warn)
        }
        Fit::TooLarge { missing_bytes } => (format!("{} too large", bytes_text(missing_bytes)), palette.bad),
    };
    match &candidate.missing {
        Some(missing) => (format!("{fits}; {missing}"), palette.muted),
        None => (fits, color),
    }
}

/// The mark behind a number that is not a plain prediction; empty for one that is.
pub fn basis_mark(basis: Basis) -> &'static str {
    if basis == Basis::Predicted { "" } else { " ●" }
}

/// A prediction with its band: `48.2 (36.1–62.0)`.
pub fn band_text(band: Band) -> String {
    format!("{} ({}–{})", significant_text(band.mid), significant_text(band.low), significant_text(band.high))
}

/// A label at the right edge of a cell.
pub fn right_ui(ui: &mut Ui, text: RichText) -> egui::Response {
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.label(text)).inner
}
