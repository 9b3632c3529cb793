//! Errors of tensors as a table, searchable and sortable, the worst first; and the same rows as text. Only visible rows are drawn.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use eframe::egui::{Align, Checkbox, Id, Label, Layout, RichText, Ui};
use egui_extras::{Column as Width, TableBuilder, TableRow};

use crate::bench::tensors::difference::Difference;
use crate::bench::tensors::tensor_error::{TensorError, TensorErrors};
use crate::model::DType;
use crate::ui::kit::figures::NumberColumns;
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::sorting::{Side, Sorting, compare_known};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::search_field;
use crate::units::{cosine_text, count_text, small_text};

/// A column that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Types,
    Weights,
    RelativeRms,
    Largest,
    Cosine,
}

const COLUMNS: [(Column, &str, &str, Side); 6] = [
    (Column::Name, "Name", "The name in the file", Side::Left),
    (Column::Types, "Types", "The type in the source and in the converted file", Side::Left),
    (Column::Weights, "Weights", "How many weights the tensor has", Side::Right),
    (
        Column::RelativeRms,
        "Relative RMS error, %",
        "Root of the summed squares of all differences, divided by the same root for the weights of the source",
        Side::Right,
    ),
    (Column::Largest, "Largest", "The largest difference between a weight and its source", Side::Right),
    (Column::Cosine, "Cosine", "Cosine similarity of all weights with those of the source: 1 is the same direction", Side::Right),
];

/// The rows that the filter leaves, in the order of the table.
struct Rows {
    indices: Vec<usize>,
    /// Measured with the rows: ten thousand texts are too many for a frame.
    numbers: NumberColumns<Column>,
}

/// The columns with numbers.
const NUMBERS: [Column; 4] = [Column::Weights, Column::RelativeRms, Column::Largest, Column::Cosine];
/// Their least widths, which their headings need.
const NUMBER_WIDTHS: [f32; 4] = [76.0, 134.0, 64.0, 70.0];
const CHECK_WIDTH: f32 = 22.0;
/// Least width of a tensor's name.
const NAME_WIDTH: f32 = 180.0;
const TYPES_WIDTH: f32 = 132.0;
const COLUMN_GAP: f32 = 16.0;

/// Draws search field, count and table, whose check boxes choose tensors; returns the rows as TSV when the user copies them.
pub fn error_table_ui(
    ui: &mut Ui,
    errors: &Arc<TensorErrors>,
    filter: &mut String,
    chosen: &mut BTreeSet<String>,
    max_height: f32,
) -> Option<String> {
    let id = Id::unique("error table sorting");
    let mut sorting: Sorting<Column> = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let mut copied = None;
    ui.horizontal(|ui| {
        search_field(ui, "Search errors", filter);
        let rows = cached_rows(ui, errors, filter, sorting);
        let rows = &rows.indices;
        let (n, n_all) = (count_text(rows.len() as u64), count_text(errors.tensors.len() as u64));
        let shown =
            if rows.len() == errors.tensors.len() { format!("{n_all} tensors") } else { format!("{n} of {n_all} tensors") };
        ui.label(RichText::new(shown).color(theme::muted(ui)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let button = crate::ui::kit::widgets::small_button(ui, "Copy as TSV", "Copy errors as TSV");
            if button.on_hover_text("The rows of the table, for spreadsheets").clicked() {
                copied = Some(to_tsv(rows.iter().filter_map(|&idx| errors.tensors.get(idx))));
            }
        });
    });
    ui.add_space(theme::UNIT);
    let rows = cached_rows(ui, errors, filter, sorting);
    table_ui(ui, errors, &rows, chosen, &mut sorting, max_height);
    ui.data_mut(|data| data.insert_temp(id, sorting));
    copied
}

fn cached_rows(ui: &Ui, errors: &Arc<TensorErrors>, filter: &str, sorting: Sorting<Column>) -> Arc<Rows> {
    memo::kept(ui, "error table rows", (Same::of(errors), filter.to_string(), sorting), || {
        let indices = rows_of(&errors.tensors, filter, sorting);
        let shown: Vec<&TensorError> = indices.iter().filter_map(|&idx| errors.tensors.get(idx)).collect();
        let numbers = NumberColumns::of(ui, &NUMBERS, &shown, |column, tensor| number_text(tensor, column));
        Rows { indices, numbers }
    })
}

/// What a cell says, without its unit; `None` where there is no number.
fn number_text(tensor: &TensorError, column: Column) -> Option<String> {
    let found = tensor.result.as_ref().ok();
    match column {
        Column::Name | Column::Types => None,
        Column::Weights => Some(count_text(tensor.n_elements)),
        Column::RelativeRms => found.filter(|found| !found.is_identical).map(|found| small_text(found.relative_rms * 100.0)),
        Column::Largest => found.map(|found| small_text(found.max_abs)),
        Column::Cosine => found.and_then(|found| found.cosine).map(cosine_text),
    }
}

/// Indices of the tensors whose name or types contain all words of `filter`, in the wanted order; without one the worst first.
fn rows_of(tensors: &[TensorError], filter: &str, sorting: Sorting<Column>) -> Vec<usize> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let is_wanted = |tensor: &TensorError| {
        let text = format!("{} {}", tensor.name, tensor.types_text()).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let mut indices: Vec<usize> = (0..tensors.len()).filter(|&idx| is_wanted(&tensors[idx])).collect();
    indices.sort_by(|&a, &b| tensors[b].badness().total_cmp(&tensors[a].badness()));
    sorting.sort(&mut indices, |column, &a, &b| compare(column, &tensors[a], &tensors[b]));
    indices
}

fn compare(column: Column, a: &TensorError, b: &TensorError) -> Ordering {
    let by = |value: fn(&Difference) -> Option<f64>| {
        let known = |tensor: &TensorError| tensor.result.as_ref().ok().and_then(value);
        compare_known(known(a), known(b))
    };
    match column {
        Column::Name => a.name.cmp(&b.name),
        Column::Types => a.types_text().cmp(&b.types_text()),
        Column::Weights => a.n_elements.cmp(&b.n_elements),
        Column::RelativeRms => by(|found| Some(found.relative_rms)),
        Column::Largest => by(|found| Some(found.max_abs)),
        Column::Cosine => by(|found| found.cosine),
    }
}

fn table_ui(
    ui: &mut Ui,
    errors: &TensorErrors,
    rows: &Rows,
    chosen: &mut BTreeSet<String>,
    sorting: &mut Sorting<Column>,
    max_height: f32,
) {
    let widths: Vec<f32> =
        NUMBERS.into_iter().zip(NUMBER_WIDTHS).map(|(column, least)| rows.numbers.width(column, least)).collect();
    let least_width = CHECK_WIDTH + NAME_WIDTH + TYPES_WIDTH + widths.iter().sum::<f32>() + 6.0 * COLUMN_GAP;
    sideways_ui(ui, "errors sideways", least_width, |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        ui.spacing_mut().interact_size.y = 20.0;
        let mut table = TableBuilder::new(ui)
            .id_salt("errors")
            .striped(true)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Width::exact(CHECK_WIDTH))
            .column(Width::remainder().at_least(NAME_WIDTH).clip(true))
            .column(Width::exact(TYPES_WIDTH).clip(true));
        for width in widths {
            table = table.column(Width::exact(width));
        }
        table
            .min_scrolled_height(max_height)
            .max_scroll_height(max_height)
            .auto_shrink([false, true])
            .header(theme::ROW_HEIGHT, |mut header| {
                header.col(|ui| all_ui(ui, errors, &rows.indices, chosen));
                for (column, name, explanation, side) in COLUMNS {
                    header.col(|ui| sorting.header_ui(ui, column, name, explanation, side));
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT - 2.0, rows.indices.len(), |mut row| {
                    if let Some(tensor) = rows.indices.get(row.index()).and_then(|&idx| errors.tensors.get(idx)) {
                        row.set_selected(chosen.contains(&tensor.name));
                        row.col(|ui| select_ui(ui, tensor, chosen));
                        row_ui(&mut row, &rows.numbers, tensor);
                    }
                });
            });
    });
}

/// The check box in the header: chooses all tensors of the table, or none of them.
fn all_ui(ui: &mut Ui, errors: &TensorErrors, rows: &[usize], chosen: &mut BTreeSet<String>) {
    let names = || rows.iter().filter_map(|&idx| errors.tensors.get(idx)).map(|tensor| &tensor.name);
    let mut is_all = !rows.is_empty() && rows.len() <= chosen.len() && names().all(|name| chosen.contains(name));
    let response = ui.add(Checkbox::without_text(&mut is_all)).accessible_name("Select all tensors of the table");
    if response.changed() {
        if is_all {
            chosen.extend(names().cloned());
        } else {
            for name in names() {
                chosen.remove(name);
            }
        }
    }
}

fn select_ui(ui: &mut Ui, tensor: &TensorError, chosen: &mut BTreeSet<String>) {
    let mut is_chosen = chosen.contains(&tensor.name);
    if ui.add(Checkbox::without_text(&mut is_chosen)).accessible_name(format!("Select {}", tensor.name)).changed() {
        toggle(chosen, &tensor.name);
    }
}

/// Chooses a tensor, or drops it if it is chosen.
pub fn toggle(chosen: &mut BTreeSet<String>, name: &str) {
    if !chosen.remove(name) {
        chosen.insert(name.to_string());
    }
}

fn row_ui(row: &mut TableRow<'_, '_>, numbers: &NumberColumns<Column>, tensor: &TensorError) {
    row.col(|ui| {
        ui.add(Label::new(RichText::new(&tensor.name).monospace()).truncate());
    });
    row.col(|ui| {
        ui.add(Label::new(RichText::new(tensor.types_text()).color(theme::palette(ui).text_secondary)).truncate());
    });
    for column in NUMBERS {
        row.col(|ui| number_ui(ui, numbers, tensor, column));
    }
}

fn number_ui(ui: &mut Ui, numbers: &NumberColumns<Column>, tensor: &TensorError, column: Column) {
    let p = theme::palette(ui);
    let color = if column == Column::Weights { p.text_secondary } else { p.text };
    match (number_text(tensor, column), &tensor.result) {
        (Some(text), _) => {
            numbers.cell_ui(ui, column, &text, color);
        }
        (None, Err(mismatch)) if column == Column::RelativeRms => {
            numbers.cell_ui(ui, column, "not comparable", p.bad).on_hover_text(mismatch.to_string());
        }
        (None, Ok(_)) if column == Column::RelativeRms => {
            numbers.cell_ui(ui, column, "copied, 0", p.muted).on_hover_text("The same type and the same bytes");
        }
        (None, _) => {}
    }
}

/// The rows for spreadsheets: a header line, plain numbers, empty cells for what is unknown.
pub fn to_tsv<'a>(tensors: impl Iterator<Item = &'a TensorError>) -> String {
    let mut text = String::from(
        "name\tlayer\tkind\tsource_type\tconverted_type\tn_elements\trelative_rms\tmax_abs\tcosine\tis_identical\tproblem\n",
    );
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for tensor in tensors {
        let found = tensor.result.as_ref().ok();
        let cells = [
            tensor.name.clone(),
            tensor.layer_idx.map_or(String::new(), |layer_idx| layer_idx.to_string()),
            tensor.kind.clone(),
            tensor.source_dtype.map_or("", DType::name).to_string(),
            tensor.converted_type().unwrap_or_default().to_string(),
            tensor.n_elements.to_string(),
            number(found.map(|found| found.relative_rms)),
            number(found.map(|found| found.max_abs)),
            number(found.and_then(|found| found.cosine)),
            found.map_or(String::new(), |found| found.is_identical.to_string()),
            tensor.result.as_ref().err().map_or(String::new(), ToString::to_string),
        ];
        // A tab or line break inside a cell would shift all that follows.
        let cells = cells.map(|cell| cell.replace(['\t', '\n', '\r'], " "));
        let _ = writeln!(text, "{}", cells.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tensors::difference::Mismatch;

    fn tensors() -> Vec<TensorError> {
        let tensor = |name: &str, n_elements, dtype, result| TensorError {
            name: name.into(),
            layer_idx: Some(0),
            kind: "k".into(),
            source_dtype: Some(DType::F16),
            converted_dtype: dtype,
            packed: None,
            n_elements,
            result,
        };
        let error =
            |relative_rms| Ok(Difference { relative_rms, max_abs: 1.0, cosine: Some(1.0 - relative_rms), is_identical: false });
        vec![
            tensor("copied", 5, Some(DType::F16), Ok(Difference::IDENTICAL)),
            tensor("far\taway", 3, Some(DType::Q4_0), error(0.5)),
            tensor("near", 4, Some(DType::Q8_0), error(0.25)),
            tensor("gone", 2, None, Err(Mismatch::OnlyInSource)),
        ]
    }

    #[test]
    fn the_worst_come_first_unless_a_column_is_chosen() {
        let sorted = |sorting: Sorting<Column>| rows_of(&tensors(), "", sorting);
        assert_eq!(sorted(Sorting::default()), [3, 1, 2, 0]);
        let by = |column| Sorting::default().clicked(column);
        assert_eq!(sorted(by(Column::RelativeRms)), [0, 2, 1, 3], "unknown last");
        assert_eq!(sorted(by(Column::Weights)), [3, 1, 2, 0]);
        assert_eq!(sorted(by(Column::Cosine)), [1, 2, 0, 3]);
        assert_eq!(sorted(by(Column::Name).clicked(Column::Name)), [2, 3, 1, 0]);
    }

    #[test]
    fn words_filter_name_and_types() {
        let check =
            |filter: &str, expected: &[usize]| assert_eq!(rows_of(&tensors(), filter, Sorting::default()), expected, "{filter}");
        check("q8", &[2]);
        check("F16 AWAY", &[1]);
        check("none", &[3]);
        check("nothing", &[]);
    }

    #[test]
    fn a_spreadsheet_gets_plain_numbers_and_as_many_cells_in_each_line() {
        let tensors = tensors();
        let text = to_tsv(tensors.iter());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), 5);
        assert!(lines.iter().all(|cells| cells.len() == lines[0].len()), "{text}");
        assert_eq!(lines[2], ["far away", "0", "k", "F16", "Q4_0", "3", "0.5", "1", "0.5", "false", ""]);
        assert_eq!(lines[4], ["gone", "0", "k", "F16", "", "2", "", "", "", "", "missing in the converted file"]);
    }
}
