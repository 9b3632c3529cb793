//! Large numbers in tiles, and the marks that tell measured, predicted and assumed values apart.

use eframe::egui::{
    self, Align, Color32, CornerRadius, Frame, Label, Layout, Margin, Pos2, RichText, Sense, Shape, Stroke, Ui, Vec2, vec2,
};

use super::theme::{self, GAP, ValueKind};
use super::widgets::{card_gap, term_rich};

/// A number with what it means, for tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct StatTile {
    /// What it is; explained when the glossary knows it.
    pub label: String,
    /// The number, without its unit.
    pub value: String,
    /// The unit; empty without.
    pub unit: String,
    /// Where the number comes from.
    pub kind: ValueKind,
    /// One short line below; empty without.
    pub note: String,
}

impl StatTile {
    /// A tile from a text as `units` makes it: what follows the first word becomes the unit when that word is a number.
    #[must_use]
    pub fn from_text(label: &str, text: &str, kind: ValueKind) -> Self {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '−');
        let (value, unit) = if is_number { text.split_once(' ').unwrap_or((text, "")) } else { (text, "") };
        Self { label: label.into(), value: value.into(), unit: unit.into(), kind, note: String::new() }
    }

    /// True when something stands below the number: where it comes from, or a note.
    fn has_second_line(&self) -> bool {
        self.kind != ValueKind::Fact || !self.note.is_empty()
    }

    /// The same tile with a line below the number.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Tiles of equal width, as many in a row as fit.
pub fn stat_tiles(ui: &mut Ui, tiles: &[StatTile]) {
    const MIN_WIDTH: f32 = 164.0;
    if tiles.is_empty() {
        return;
    }
    let width = ui.available_width();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few tiles")]
    let fitting = (((width + GAP) / (MIN_WIDTH + GAP)).floor() as usize).clamp(1, tiles.len());
    // Rows of equal length look better than a last row with one tile.
    let n_rows = tiles.len().div_ceil(fitting);
    let n_columns = tiles.len().div_ceil(n_rows);
    #[allow(clippy::cast_precision_loss, reason = "a few tiles")]
    let tile_width = ((width - GAP * (n_columns - 1) as f32) / n_columns as f32).floor();
    let has_notes = tiles.iter().any(StatTile::has_second_line);
    for (idx, row) in tiles.chunks(n_columns).enumerate() {
        if idx > 0 {
            card_gap(ui);
        }
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for (column, tile) in row.iter().enumerate() {
                // The last one takes the rounding, so that its edge is the page's.
                let tile_width = if column + 1 == n_columns { ui.available_width() } else { tile_width };
                ui.allocate_ui_with_layout(vec2(tile_width, 0.0), Layout::top_down(Align::Min), |ui| {
                    stat_tile_sized(ui, tile, tile_width, has_notes);
                });
            }
        });
    }
}

/// One tile over the available width.
pub fn stat_tile(ui: &mut Ui, tile: &StatTile) {
    let width = ui.available_width();
    stat_tile_sized(ui, tile, width, tile.has_second_line());
}

fn stat_tile_sized(ui: &mut Ui, tile: &StatTile, width: f32, has_note_line: bool) {
    let p = theme::palette(ui);
    Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(CornerRadius::same(theme::CARD_RADIUS))
        .inner_margin(Margin::symmetric(16, 12))
        .show(ui, |ui| {
            ui.set_width(width - 34.0);
            ui.spacing_mut().item_spacing = vec2(6.0, 2.0);
            term_rich(ui, &tile.label, RichText::new(&tile.label).size(13.0).color(p.muted));
            // One label for both, so that a screen reader says number and unit together.
            let mut job = egui::text::LayoutJob::default();
            // What is not known must not shout.
            let number_color = if tile.value == "unknown" { p.muted } else { p.text };
            let number_font = theme::number_style().resolve(ui.style());
            job.append(&tile.value, 0.0, egui::TextFormat::simple(number_font, number_color));
            if !tile.unit.is_empty() {
                let unit_font = egui::FontId::new(14.0, theme::medium());
                job.append(&format!(" {}", tile.unit), 0.0, egui::TextFormat::simple(unit_font, p.text_secondary));
            }
            ui.add(Label::new(job).truncate());
            if has_note_line {
                ui.allocate_ui_with_layout(vec2(ui.available_width(), 16.0), Layout::left_to_right(Align::Center), |ui| {
                    kind_tag(ui, tile.kind);
                    ui.add(Label::new(RichText::new(&tile.note).small().color(p.muted)).truncate());
                });
            }
        });
}

/// The mark and the word of a kind of value; nothing for facts.
pub fn kind_tag(ui: &mut Ui, kind: ValueKind) {
    if kind == ValueKind::Fact {
        return;
    }
    let color = kind.color(ui);
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let explanation = match kind {
            ValueKind::Measured => "Measured on this machine.",
            ValueKind::Predicted => "Predicted from the file's exact size and this machine's measured memory bandwidth.",
            ValueKind::Adjusted => "Predicted, then corrected by earlier measurements on this machine.",
            _ => "Assumed from publications or defaults; measure to be sure.",
        };
        let is_reversed = ui.layout().prefer_right_to_left();
        let mark = |ui: &mut Ui| {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(10.0), Sense::hover());
            paint_kind_mark(ui.painter(), rect.center(), kind, color);
        };
        if !is_reversed {
            mark(ui);
        }
        ui.label(RichText::new(kind.label()).small().color(color)).on_hover_text(explanation);
        if is_reversed {
            mark(ui);
        }
    });
}

/// A filled disc for measured, a ring for predicted, a hollow diamond for assumed values; also for legends of plots.
pub fn paint_kind_mark(painter: &egui::Painter, center: Pos2, kind: ValueKind, color: Color32) {
    match kind {
        ValueKind::Fact => {}
        ValueKind::Measured => {
            painter.circle_filled(center, 4.0, color);
        }
        ValueKind::Predicted | ValueKind::Adjusted => {
            painter.circle_stroke(center, 3.5, Stroke::new(1.5, color));
        }
        ValueKind::Assumed => {
            let corners = [vec2(0.0, -4.5), vec2(4.5, 0.0), vec2(0.0, 4.5), vec2(-4.5, 0.0)].map(|corner| center + corner);
            painter.add(Shape::closed_line(corners.to_vec(), Stroke::new(1.5, color)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_split_number_and_unit() {
        let check = |text: &str, value: &str, unit: &str| {
            let tile = StatTile::from_text("x", text, ValueKind::Fact);
            assert_eq!((tile.value.as_str(), tile.unit.as_str()), (value, unit));
        };
        check("1.87 GiB", "1.87", "GiB");
        check("49,152", "49,152", "");
        check("AMD Ryzen 7", "AMD Ryzen 7", "");
    }
}
