//! Key-values of a model file, searchable, with copy buttons.

use eframe::egui::{Align, Label, Layout, RichText, Ui};
use egui_extras::{Column, TableBuilder};

use crate::model::{Metadata, Value, ValueType};
use crate::state::Command;
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{copy_button, search_field};
use crate::units::count_text;

/// Characters of a value that are shown; the copy button gives the whole of it.
const PREVIEW_CHARS: usize = 160;
/// Of this many entries, from the first on, the values are searched too; of all others only the keys, to keep a hostile file
/// from stalling the window.
const MAX_SEARCHED_VALUES: usize = 4096;

const KEY_WIDTH: f32 = 300.0;
const TYPE_WIDTH: f32 = 110.0;
/// Least width of a value.
const VALUE_WIDTH: f32 = 320.0;
const COPY_WIDTH: f32 = 64.0;
const COLUMN_GAP: f32 = 16.0;
const LEAST_WIDTH: f32 = KEY_WIDTH + TYPE_WIDTH + VALUE_WIDTH + COPY_WIDTH + 3.0 * COLUMN_GAP;

/// Search field, count and table.
pub fn metadata_table_ui(ui: &mut Ui, metadata: &Metadata, filter: &mut String, max_height: f32, commands: &mut Vec<Command>) {
    let mut rows = Vec::new();
    ui.horizontal(|ui| {
        search_field(ui, "Search metadata", filter);
        rows = matching(metadata, filter);
        let shown = if filter.trim().is_empty() {
            format!("{} entries", count_text(rows.len() as u64))
        } else {
            format!("{} of {} entries", count_text(rows.len() as u64), count_text(metadata.0.len() as u64))
        };
        ui.label(RichText::new(shown).color(theme::muted(ui)));
    });
    ui.add_space(theme::UNIT);
    let p = theme::palette(ui);
    sideways_ui(ui, "metadata sideways", LEAST_WIDTH, |ui| {
        ui.spacing_mut().item_spacing.x = COLUMN_GAP;
        ui.spacing_mut().interact_size.y = 20.0;
        TableBuilder::new(ui)
            .id_salt("metadata")
            .striped(true)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Column::exact(KEY_WIDTH).clip(true))
            .column(Column::exact(TYPE_WIDTH).clip(true))
            .column(Column::remainder().at_least(VALUE_WIDTH).clip(true))
            .column(Column::exact(COPY_WIDTH))
            .min_scrolled_height(max_height)
            .max_scroll_height(max_height)
            .auto_shrink([false, true])
            .header(theme::ROW_HEIGHT, |mut header| {
                for title in ["Key", "Type", "Value", ""] {
                    header.col(|ui| {
                        ui.label(RichText::new(title).small().color(p.muted));
                    });
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, rows.len(), |mut row| {
                    let Some((key, value)) = rows.get(row.index()).and_then(|&idx| metadata.0.get(idx)) else { return };
                    row.col(|ui| {
                        ui.add(Label::new(RichText::new(key).monospace()).truncate());
                    });
                    row.col(|ui| {
                        ui.label(RichText::new(type_text(value)).small().color(p.muted));
                    });
                    row.col(|ui| {
                        ui.add(Label::new(value.preview(PREVIEW_CHARS)).truncate());
                    });
                    row.col(|ui| {
                        copy_button(ui, key, || full_text(value), commands);
                    });
                });
            });
    });
}

/// Indices of the entries with all words of `filter`, in any case, in the key or in what is shown of the value.
fn matching(metadata: &Metadata, filter: &str) -> Vec<usize> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let is_wanted = |idx: usize| {
        let Some((key, value)) = metadata.0.get(idx) else { return false };
        let key = key.to_lowercase();
        if words.iter().all(|word| key.contains(word)) {
            return true;
        }
        if idx >= MAX_SEARCHED_VALUES {
            return false;
        }
        let value = value.preview(PREVIEW_CHARS).to_lowercase();
        words.iter().all(|word| key.contains(word) || value.contains(word))
    };
    (0..metadata.0.len()).filter(|&idx| is_wanted(idx)).collect()
}

/// `u32`, `string`, `string × 49,152`.
fn type_text(value: &Value) -> String {
    match value {
        Value::Array(array) => format!("{} × {}", type_name(array.element_type()), count_text(array.len() as u64)),
        value => type_name(value.value_type()).to_string(),
    }
}

fn type_name(kind: ValueType) -> &'static str {
    match kind {
        ValueType::U8 => "u8",
        ValueType::I8 => "i8",
        ValueType::U16 => "u16",
        ValueType::I16 => "i16",
        ValueType::U32 => "u32",
        ValueType::I32 => "i32",
        ValueType::F32 => "f32",
        ValueType::Bool => "bool",
        ValueType::Str => "string",
        ValueType::Array => "array",
        ValueType::U64 => "u64",
        ValueType::I64 => "i64",
        ValueType::F64 => "f64",
    }
}

/// The whole value, line breaks kept; arrays one element per line.
fn full_text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.lossy().into_owned(),
        Value::Array(array) => {
            let lines: Vec<String> =
                (0..array.len()).filter_map(|idx| array.at(idx)).map(|element| full_text(&element)).collect();
            lines.join("\n")
        }
        value => value.preview(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Array, Text};
    use crate::ui::test_support::sample_model;

    #[test]
    fn keys_and_values_are_searched() {
        let metadata = sample_model().metadata;
        let check = |filter: &str, expected| assert_eq!(matching(&metadata, filter).len(), expected, "{filter}");
        check("", metadata.0.len());
        check("CONTEXT", 1);
        check("llama heads", 0);
        check("llama head_count", 2);
        check("huggingfacetb", 1);
    }

    #[test]
    fn copies_are_whole() {
        assert_eq!(full_text(&Value::Str(Text::from("a\nb"))), "a\nb");
        assert_eq!(full_text(&Value::Array(Array::U32(vec![1, 2]))), "1\n2");
        assert_eq!(full_text(&Value::F32(0.5)), "0.5");
    }
}
