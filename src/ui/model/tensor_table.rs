//! The tensors of a model, searchable and sortable. Only visible rows are drawn; the order is kept until filter, sorting or model change.

use std::cmp::Ordering;
use std::sync::Arc;

use eframe::egui::{self, Align, Button, Id, Label, Layout, RichText, Role, Ui, WidgetInfo};
use egui_extras::{Column, TableBuilder};

use crate::model::{Model, Tensor};
use crate::ui::kit::figures::{Figures, SizeUnit};
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{search_field, term_rich};
use crate::units::{count_of, count_text, exact_bytes_text};

/// What the table is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SortKey {
    /// The order in the file.
    #[default]
    File,
    Name,
    Shape,
    DType,
    Weights,
    Bytes,
    Layer,
}

const COLUMNS: [(SortKey, &str); 6] = [
    (SortKey::Name, "Name"),
    (SortKey::Layer, "Layer"),
    (SortKey::Shape, "Shape"),
    (SortKey::DType, "Type"),
    (SortKey::Weights, "Weights"),
    (SortKey::Bytes, "Size"),
];

/// Least widths of the columns: the first one takes what is left.
const WIDTHS: [f32; 6] = [220.0, 48.0, 160.0, 72.0, 120.0, 104.0];
const COLUMN_GAP: f32 = 24.0;

/// Sorting as the user has chosen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sorting {
    key: SortKey,
    is_descending: bool,
}

/// The rows that the filter leaves, in the order of the table.
struct Rows {
    indices: Vec<usize>,
    /// Measured with the rows: ten thousand texts are too many for a frame.
    sizes: Figures,
    unit: SizeUnit,
}

/// The unit of all sizes in the table: KiB if no tensor has 100 MiB, so that norms are not zeros with decimals; else MiB.
fn unit_of(tensors: &[Tensor]) -> SizeUnit {
    let largest = tensors.iter().map(|tensor| tensor.size_bytes).max().unwrap_or(0);
    if largest < 100 << 20 { SizeUnit { bytes: 1024.0, name: "KiB" } } else { SizeUnit { bytes: 1_048_576.0, name: "MiB" } }
}

/// Indices of the tensors that contain all words of `filter` in name or type, in the wanted order; equal ones in file order.
fn rows_of(tensors: &[Tensor], filter: &str, sorting: Sorting) -> Vec<usize> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let mut indices: Vec<usize> = (0..tensors.len())
        .filter(|&idx| {
            let tensor = &tensors[idx];
            let name = tensor.name.to_lowercase();
            let dtype = tensor.dtype.name().to_lowercase();
            words.iter().all(|word| name.contains(word) || dtype.contains(word))
        })
        .collect();
    let compare = |one: &Tensor, other: &Tensor| match sorting.key {
        SortKey::File => Ordering::Equal,
        SortKey::Name => one.name.cmp(&other.name),
        SortKey::Shape => one.shape.cmp(&other.shape),
        SortKey::DType => one.dtype.name().cmp(other.dtype.name()),
        SortKey::Weights => one.n_elements().cmp(&other.n_elements()),
        SortKey::Bytes => one.size_bytes.cmp(&other.size_bytes),
        SortKey::Layer => one.layer_idx().cmp(&other.layer_idx()),
    };
    indices.sort_by(|&one, &other| {
        let order = compare(&tensors[one], &tensors[other]);
        if sorting.is_descending { order.reverse() } else { order }
    });
    indices
}

/// Search field, count and table. `max_height` limits the rows in view.
pub fn tensor_table_ui(ui: &mut Ui, model: &Arc<Model>, filter: &mut String, max_height: f32) {
    let sorting_id = Id::unique("tensor table sorting");
    let sorting = ui.data(|data| data.get_temp::<Sorting>(sorting_id)).unwrap_or_default();
    ui.horizontal(|ui| {
        search_field(ui, "Search tensors", filter);
        let n_rows = cached_rows(ui, model, filter, sorting).indices.len();
        let shown = if n_rows == model.tensors.len() {
            count_of(n_rows, "tensor")
        } else {
            format!("{} of {} tensors", count_text(n_rows as u64), count_text(model.tensors.len() as u64))
        };
        ui.label(RichText::new(shown).color(theme::muted(ui)));
    });
    ui.add_space(theme::UNIT);
    let rows = cached_rows(ui, model, filter, sorting);
    if let Some(new) = table(ui, &model.tensors, &rows, sorting, max_height) {
        ui.data_mut(|data| data.insert_temp(sorting_id, new));
    }
}

fn cached_rows(ui: &Ui, model: &Arc<Model>, filter: &str, sorting: Sorting) -> Arc<Rows> {
    memo::kept(ui, "tensor table rows", (Same::of(model), filter.to_string(), sorting), || {
        let indices = rows_of(&model.tensors, filter, sorting);
        let unit = unit_of(&model.tensors);
        let texts = indices.iter().filter_map(|&idx| model.tensors.get(idx)).map(|tensor| unit.text(tensor.size_bytes));
        let sizes = Figures::of(ui, texts);
        Rows { indices, sizes, unit }
    })
}

/// The table; returns the sorting when a heading was clicked.
fn table(ui: &mut Ui, tensors: &[Tensor], rows: &Rows, sorting: Sorting, max_height: f32) -> Option<Sorting> {
    let p = theme::palette(ui);
    let mut new_sorting = None;
    let [name_width, others @ ..] = WIDTHS;
    sideways_ui(ui, "tensors sideways", WIDTHS.iter().sum::<f32>() + 5.0 * COLUMN_GAP, |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        ui.spacing_mut().interact_size.y = 20.0;
        let mut table = TableBuilder::new(ui)
            .id_salt("tensors")
            .striped(true)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Column::remainder().at_least(name_width).clip(true));
        for width in others {
            table = table.column(Column::exact(width).clip(true));
        }
        table
            .min_scrolled_height(max_height)
            .max_scroll_height(max_height)
            .auto_shrink([false, true])
            .header(theme::ROW_HEIGHT, |mut header| {
                for (key, title) in COLUMNS {
                    header.col(|ui| {
                        let is_number = matches!(key, SortKey::Weights | SortKey::Bytes | SortKey::Layer);
                        let layout = if is_number { Layout::right_to_left(Align::Center) } else { *ui.layout() };
                        ui.with_layout(layout, |ui| {
                            let unit = if key == SortKey::Bytes { rows.unit.name } else { "" };
                            if heading(ui, title, unit, key, sorting) {
                                new_sorting = Some(clicked(sorting, key));
                            }
                        });
                    });
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT - 2.0, rows.indices.len(), |mut row| {
                    let Some(tensor) = rows.indices.get(row.index()).and_then(|&idx| tensors.get(idx)) else { return };
                    row.col(|ui| {
                        ui.add(Label::new(RichText::new(&tensor.name).monospace()).truncate());
                    });
                    row.col(|ui| right(ui, &tensor.layer_idx().map(|idx| idx.to_string()).unwrap_or_default(), p.text_secondary));
                    row.col(|ui| {
                        ui.add(Label::new(RichText::new(tensor.shape_text()).color(p.text_secondary)).truncate());
                    });
                    row.col(|ui| {
                        term_rich(ui, tensor.dtype.name(), RichText::new(tensor.dtype.name()).color(p.text));
                    });
                    row.col(|ui| right(ui, &count_text(tensor.n_elements()), p.text));
                    row.col(|ui| {
                        let text = rows.unit.text(tensor.size_bytes);
                        rows.sizes.cell_ui(ui, &text, p.text).on_hover_text(exact_bytes_text(tensor.size_bytes));
                    });
                });
            });
    });
    new_sorting
}

/// A first click sorts upwards, a second downwards, a third as in the file.
fn clicked(sorting: Sorting, key: SortKey) -> Sorting {
    match sorting {
        Sorting { key: old, is_descending: false } if old == key => Sorting { key, is_descending: true },
        Sorting { key: old, is_descending: true } if old == key => Sorting::default(),
        _ => Sorting { key, is_descending: false },
    }
}

fn heading(ui: &mut Ui, title: &str, unit: &str, key: SortKey, sorting: Sorting) -> bool {
    let p = theme::palette(ui);
    let is_sorted = sorting.key == key;
    let arrow = match (is_sorted, sorting.is_descending) {
        (false, _) => "",
        (true, false) => " ↑",
        (true, true) => " ↓",
    };
    let color = if is_sorted { p.accent } else { p.muted };
    let comma = if unit.is_empty() { "" } else { ", " };
    let text = RichText::new(format!("{title}{comma}{unit}{arrow}")).font(egui::FontId::new(12.0, theme::medium())).color(color);
    let response = ui.add(Button::new(text).frame(false));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Sort by {}", title.to_lowercase())));
    response.clicked()
}

fn right(ui: &mut Ui, text: &str, color: egui::Color32) {
    crate::ui::kit::bars::right_aligned(ui, text, color);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    #[test]
    fn words_filter_name_and_type() {
        let tensors = sample_model().tensors;
        let check =
            |filter: &str, expected| assert_eq!(rows_of(&tensors, filter, Sorting::default()).len(), expected, "{filter}");
        check("", 272);
        check("ATTN_Q", 30);
        check("q8_0", 1);
        check("blk.3. q4_1", 7);
        check("no such thing", 0);
    }

    #[test]
    fn rows_are_sorted_and_ties_keep_the_file_order() {
        let tensors = sample_model().tensors;
        let names = |key, is_descending| -> Vec<&str> {
            rows_of(&tensors, "", Sorting { key, is_descending }).iter().map(|&idx| tensors[idx].name.as_str()).collect()
        };
        assert_eq!(names(SortKey::Bytes, true)[0], "token_embd.weight");
        assert_eq!(names(SortKey::Layer, false)[..2], ["token_embd.weight", "output_norm.weight"]);
        assert_eq!(names(SortKey::File, false)[1], "blk.0.attn_norm.weight");
        assert_eq!(names(SortKey::Name, false)[0], "blk.0.attn_k.weight");
    }

    #[test]
    fn a_heading_cycles_through_three_orders() {
        let first = clicked(Sorting::default(), SortKey::Name);
        let second = clicked(first, SortKey::Name);
        assert_eq!((first.is_descending, second.is_descending), (false, true));
        assert_eq!(clicked(second, SortKey::Name), Sorting::default());
        assert_eq!(clicked(second, SortKey::Bytes), Sorting { key: SortKey::Bytes, is_descending: false });
    }
}
