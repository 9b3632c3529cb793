//! Tensors with a field for the type of each one. Only visible rows are drawn; the list of rows is kept until filter or recipe
//! change.

use std::sync::Arc;

use eframe::egui::{Align, Label, Layout, RichText, Ui};
use egui_extras::{Column, TableBuilder};

use super::recipe_data::{RecipeData, Row, fitting_dtypes};
use super::recipe_view::{TYPE_WIDTH, TypeField};
use crate::advise::Overrides;
use crate::advise::choices::kind_of;
use crate::model::Model;
use crate::ui::kit::bars::right_aligned;
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{search_field, term_rich};
use crate::units::{bytes_change_text, bytes_text, count_text, exact_bytes_change_text, exact_bytes_text};

/// As high as a field for a type.
const ROW_HEIGHT: f32 = 32.0;
const TITLES: [&str; 6] = ["Tensor", "Shape", "Level's type", "Type", "Size", "Change"];
/// Least widths of the columns: the first one takes what is left.
const WIDTHS: [f32; 6] = [200.0, 116.0, 84.0, TYPE_WIDTH + 12.0, 84.0, 84.0];
const COLUMN_GAP: f32 = 14.0;
/// Titles from here on stand over numbers.
const FIRST_NUMBER: usize = 4;

/// Draws filter and table, and takes choices of types.
pub fn recipe_table_ui(ui: &mut Ui, data: &RecipeData, filter: &mut String, overrides: &mut Overrides, max_height: f32) {
    let only_id = ui.make_persistent_id("changed tensors only");
    let mut is_changed_only = ui.data(|data| data.get_temp::<bool>(only_id)).unwrap_or(false);
    let mut indices = Arc::default();
    ui.horizontal_wrapped(|ui| {
        search_field(ui, "Search tensors", filter);
        if ui.checkbox(&mut is_changed_only, "Changed only").changed() {
            ui.data_mut(|data| data.insert_temp(only_id, is_changed_only));
        }
        indices = found(ui, data, filter, is_changed_only);
        let n_kept = data.model.tensors.len() - data.rows.len();
        let mut text = format!("{} of {} tensors", count_text(indices.len() as u64), count_text(data.rows.len() as u64));
        if n_kept > 0 {
            let keep = if n_kept == 1 { "other keeps its" } else { "others keep their" };
            text.push_str(&format!("; {} {keep} type", count_text(n_kept as u64)));
        }
        ui.label(RichText::new(text).color(theme::muted(ui)));
    });
    ui.add_space(theme::UNIT);
    table(ui, data, &indices, overrides, max_height);
}

/// Indices of the rows that contain all words of `filter` in the name or a type.
fn matching(data: &RecipeData, filter: &str, is_changed_only: bool) -> Vec<usize> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let is_wanted = |row: &Row| {
        let name = data.model.tensors[row.tensor_idx].name.to_lowercase();
        let dtype = row.dtype.name().to_lowercase();
        (!is_changed_only || row.chosen.is_some() || row.dtype != row.plain_dtype)
            && words.iter().all(|word| name.contains(word) || dtype.contains(word))
    };
    (0..data.rows.len()).filter(|&idx| is_wanted(&data.rows[idx])).collect()
}

/// [`matching`], computed when something has changed; the types of ten thousand tensors are compared in a tenth of a millisecond.
fn found(ui: &Ui, data: &RecipeData, filter: &str, is_changed_only: bool) -> Arc<Vec<usize>> {
    type Facts = (Same<Model>, Vec<Row>, String, bool);
    memo::kept_while(
        ui,
        "rows of the recipe",
        |(model, rows, text, only): &Facts| {
            model.is(&data.model) && text == filter && *only == is_changed_only && *rows == data.rows
        },
        || {
            let facts = (Same::of(&data.model), data.rows.clone(), filter.to_string(), is_changed_only);
            (facts, matching(data, filter, is_changed_only))
        },
    )
}

fn table(ui: &mut Ui, data: &RecipeData, indices: &[usize], overrides: &mut Overrides, max_height: f32) {
    let p = theme::palette(ui);
    let [name_width, others @ ..] = WIDTHS;
    sideways_ui(ui, "recipe sideways", WIDTHS.iter().sum::<f32>() + 5.0 * COLUMN_GAP, |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        ui.spacing_mut().interact_size.y = 26.0;
        let mut table = TableBuilder::new(ui)
            .id_salt("recipe")
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
                for (idx, title) in TITLES.into_iter().enumerate() {
                    header.col(|ui| {
                        if idx >= FIRST_NUMBER {
                            right_aligned(ui, title, p.muted);
                        } else {
                            ui.label(RichText::new(title).color(p.muted));
                        }
                    });
                }
            })
            .body(|body| {
                body.rows(ROW_HEIGHT, indices.len(), |mut table_row| {
                    let Some(row) = indices.get(table_row.index()).and_then(|&idx| data.rows.get(idx)) else { return };
                    let tensor = &data.model.tensors[row.tensor_idx];
                    let is_changed = row.dtype != row.plain_dtype;
                    table_row.col(|ui| {
                        let color = if is_changed { p.accent } else { p.text };
                        ui.add(Label::new(RichText::new(&tensor.name).monospace().color(color)).truncate());
                    });
                    table_row.col(|ui| {
                        ui.add(Label::new(RichText::new(tensor.shape_text()).color(p.text_secondary)).truncate());
                    });
                    table_row.col(|ui| {
                        let name = row.plain_dtype.name();
                        term_rich(ui, name, RichText::new(name).color(p.text_secondary));
                    });
                    table_row.col(|ui| {
                        let is_of_kind = kind_of(&tensor.name).is_some_and(|kind| overrides.chosen_for_kind(kind).is_some());
                        let field = TypeField {
                            name: &tensor.name,
                            shown: row.dtype.to_string(),
                            is_chosen: row.chosen.is_some(),
                            otherwise: if is_of_kind { "As in all layers" } else { "As the level" },
                        };
                        if let Some(choice) = field.ui(ui, || fitting_dtypes(&[tensor.row_len()].into())) {
                            overrides.choose_for_tensor(&tensor.name, choice.dtype());
                        }
                    });
                    table_row.col(|ui| {
                        number(ui, &bytes_text(row.size_bytes), &exact_bytes_text(row.size_bytes), p.text);
                    });
                    table_row.col(|ui| {
                        if is_changed {
                            let (from, to) = (row.plain_size_bytes, row.size_bytes);
                            number(ui, &bytes_change_text(from, to), &exact_bytes_change_text(from, to), p.accent);
                        }
                    });
                });
            });
    });
}

/// A number at the right edge, with every byte in the tooltip.
fn number(ui: &mut Ui, text: &str, exact: &str, color: eframe::egui::Color32) {
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.label(RichText::new(text).color(color)).on_hover_text(exact);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Preset};
    use crate::ui::test_support::sample_model;

    #[test]
    fn words_filter_names_and_types() {
        let model = Arc::new(sample_model());
        let mut overrides = Overrides::default();
        overrides.choose_for_tensor("blk.3.attn_v.weight", Some(DType::F16));
        let data = RecipeData::of(&model, Preset::Q8_0, &overrides).unwrap();
        let check = |filter: &str, is_changed_only: bool, expected: usize| {
            assert_eq!(matching(&data, filter, is_changed_only).len(), expected, "{filter}");
        };
        check("", false, 211);
        check("ATTN_V", false, 30);
        check("f16", false, 1);
        check("blk.3. attn", false, 4);
        check("", true, 1);
        check("ffn", true, 0);
    }
}
