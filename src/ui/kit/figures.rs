//! Numbers of a column, lined up at the decimal point.
//!
//! The digits of the program's fonts all have one width. What stands before a point ends at it, what stands behind it begins
//! there; a `±` and the number behind it have columns of their own. The whole stands at the right edge of its cell, below the
//! end of its header.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{Align, Color32, FontId, Label, Layout, Response, RichText, TextStyle, Ui, vec2};

use crate::deploy::bytes_unit;
use crate::units::significant_text;

/// What separates one number of a cell from the next.
const SEPARATORS: [&str; 2] = [" ± ", " ("];

/// The widths of a column's parts, in points.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// For each number of a cell: the widths of the separator in front, of what is before its point, and of what is behind it.
    parts: Vec<Part>,
    font: FontId,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Part {
    separator: f32,
    before: f32,
    behind: f32,
}

impl Figures {
    /// Measures all texts of a column; those that are no numbers, such as `not measured`, do not count.
    pub fn of(ui: &Ui, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let font = TextStyle::Body.resolve(ui.style());
        let width = |text: &str| {
            if text.is_empty() {
                0.0
            } else {
                ui.painter().layout_no_wrap(text.to_string(), font.clone(), Color32::WHITE).size().x
            }
        };
        let mut parts: Vec<Part> = Vec::new();
        for text in texts {
            let text = text.as_ref();
            if !is_number(text) {
                continue;
            }
            for (idx, (separator, before, behind)) in split(text).into_iter().enumerate() {
                if idx == parts.len() {
                    parts.push(Part::default());
                }
                if let Some(part) = parts.get_mut(idx) {
                    part.separator = part.separator.max(width(separator));
                    part.before = part.before.max(width(before));
                    part.behind = part.behind.max(width(behind));
                }
            }
        }
        Self { parts, font }
    }

    /// The width that the widest number of each part needs.
    #[must_use]
    pub fn width(&self) -> f32 {
        self.parts.iter().map(|part| part.separator + part.before + part.behind).sum()
    }

    /// The width of a column below a header of `header_width` points.
    #[must_use]
    pub fn column_width(&self, header_width: f32) -> f32 {
        self.width().max(header_width).ceil() + 2.0
    }

    /// Draws a number at its place; a text that is no number stands at the right edge.
    pub fn cell_ui(&self, ui: &mut Ui, text: &str, color: Color32) -> Response {
        if !is_number(text) {
            let text = RichText::new(text).color(color);
            return ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.label(text)).inner;
        }
        let left = (ui.available_width() - self.width()).max(0.0);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.add_space(left);
            ui.add(Label::new(self.job(ui, text, color)).extend())
        })
        .inner
    }

    /// The text with the gaps that bring its points into line.
    fn job(&self, ui: &Ui, text: &str, color: Color32) -> LayoutJob {
        let width = |text: &str| {
            let galley = ui.painter().layout_no_wrap(text.to_string(), self.font.clone(), color);
            if text.is_empty() { 0.0 } else { galley.size().x }
        };
        let format = TextFormat::simple(self.font.clone(), color);
        let mut job = LayoutJob::default();
        let mut gap = 0.0;
        for ((separator, before, behind), part) in split(text).into_iter().zip(&self.parts) {
            if !separator.is_empty() {
                job.append(separator, gap, format.clone());
                gap = 0.0;
            }
            job.append(before, gap + (part.before - width(before)).max(0.0), format.clone());
            job.append(behind, 0.0, format.clone());
            gap = (part.behind - width(behind)).max(0.0);
        }
        job
    }
}

/// The width of words in a table, for columns that must not cut them.
pub fn text_width(ui: &Ui, text: &str) -> f32 {
    let font = TextStyle::Body.resolve(ui.style());
    ui.painter().layout_no_wrap(text.to_string(), font, Color32::WHITE).size().x.ceil() + 2.0
}

/// The unit of a column of sizes: one for all its rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeUnit {
    /// How many bytes it is.
    pub bytes: f64,
    /// `MiB`.
    pub name: &'static str,
}

impl SizeUnit {
    /// GiB if the largest of these sizes has at least one, else MiB.
    #[allow(clippy::cast_precision_loss, reason = "an order of magnitude")]
    pub fn of(sizes: impl Iterator<Item = u64>) -> Self {
        let (bytes, name) = bytes_unit(sizes.max().unwrap_or(0) as f64);
        Self { bytes, name }
    }

    /// A size in this unit, without its name.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    pub fn text(self, size_bytes: u64) -> String {
        significant_text(size_bytes as f64 / self.bytes)
    }
}

/// The columns of a table that hold numbers, each lined up in itself.
pub struct NumberColumns<C> {
    columns: Vec<(C, Figures)>,
}

impl<C: Copy + PartialEq> NumberColumns<C> {
    /// Measures `text(column, row)` of all rows; `None` from `text` is an empty cell.
    pub fn of<R>(ui: &Ui, columns: &[C], rows: &[R], text: impl Fn(C, &R) -> Option<String>) -> Self {
        let figures = |column: C| Figures::of(ui, rows.iter().filter_map(|row| text(column, row)));
        Self { columns: columns.iter().map(|&column| (column, figures(column))).collect() }
    }

    /// The width of a column in points, `least` or more.
    #[must_use]
    pub fn width(&self, column: C, least: f32) -> f32 {
        self.figures(column).map_or(least, |figures| figures.column_width(least))
    }

    /// Draws a number of a column.
    pub fn cell_ui(&self, ui: &mut Ui, column: C, text: &str, color: Color32) -> Response {
        match self.figures(column) {
            Some(figures) => figures.cell_ui(ui, text, color),
            None => ui.label(RichText::new(text).color(color)),
        }
    }

    /// Draws a number of a column of a grid, whose cells have no width of their own.
    pub fn grid_cell_ui(&self, ui: &mut Ui, column: C, text: &str, least: f32) -> Response {
        let size = vec2(self.width(column, least), ui.spacing().interact_size.y);
        let color = ui.visuals().text_color();
        let layout = Layout::left_to_right(Align::Center);
        ui.allocate_ui_with_layout(size, layout, |ui| {
            ui.set_width(size.x);
            self.cell_ui(ui, column, text, color)
        })
        .inner
    }

    fn figures(&self, column: C) -> Option<&Figures> {
        self.columns.iter().find(|known| known.0 == column).map(|(_, figures)| figures)
    }
}

/// True for a text that begins as a number does.
fn is_number(text: &str) -> bool {
    text.trim_start_matches(['+', '−', '-', '≈', '±', '<', ' ']).starts_with(|first: char| first.is_ascii_digit())
}

/// The numbers of a cell: `(separator, before the point, from the point on)`.
fn split(text: &str) -> Vec<(&str, &str, &str)> {
    let mut parts = Vec::new();
    let (mut separator, mut rest) = ("", text);
    loop {
        // Not at the very start, where a sign may stand.
        let found = SEPARATORS.iter().filter_map(|mark| Some((rest.find(mark).filter(|&at| at > 0)?, mark.len()))).min();
        let (number, next) =
            found.map_or((rest, None), |(at, len)| (&rest[..at], Some((&rest[at..at + len], &rest[at + len..]))));
        let point = number.find(|letter: char| !letter.is_ascii_digit() && !"+−-≈±< ,".contains(letter));
        // A blank before a unit belongs to what is behind.
        let n_before = number.get(..point.unwrap_or(number.len())).unwrap_or_default().trim_end().len();
        let (before, behind) = number.split_at(n_before);
        parts.push((separator, before, behind));
        match next {
            Some((mark, following)) => (separator, rest) = (mark, following),
            None => return parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use eframe::egui::{CentralPanel, Context, RawInput};

    use super::*;
    use crate::ui::kit::theme;

    #[test]
    fn a_cell_is_cut_at_its_points() {
        let check = |text: &str, expected: &[(&str, &str, &str)]| assert_eq!(split(text), expected, "{text}");
        check("1,234", &[("", "1,234", "")]);
        check("41.2 ± 0.6", &[("", "41", ".2"), (" ± ", "0", ".6")]);
        check("168 ± 8", &[("", "168", ""), (" ± ", "8", "")]);
        check("48.2 (36.1–62.0)", &[("", "48", ".2"), (" (", "36", ".1–62.0)")]);
        check("−0.5 %", &[("", "−0", ".5 %")]);
        check("12 %", &[("", "12", " %")]);
        check("≈ 4.20", &[("", "≈ 4", ".20")]);
        check("1.4e-4", &[("", "1", ".4e-4")]);
    }

    #[test]
    fn words_are_no_numbers() {
        for (text, expected) in [("failed", false), ("–", false), ("", false), ("0", true), ("−3.5", true), ("< 0.1", true)] {
            assert_eq!(is_number(text), expected, "{text}");
        }
    }

    /// Places of all points of these texts, in the column that they make.
    fn points(texts: &[&str]) -> Vec<Vec<f32>> {
        let ctx = Context::default();
        theme::install(&ctx);
        let mut found = Vec::new();
        for _ in 0..2 {
            let mut output = ctx.run_ui(RawInput::default(), |ui| {
                CentralPanel::default().show(ui, |ui| {
                    let figures = Figures::of(ui, texts);
                    found = texts
                        .iter()
                        .map(|text| {
                            let galley = ui.painter().layout_job(figures.job(ui, text, Color32::WHITE));
                            assert_eq!(galley.text(), *text, "what is read is the number");
                            assert!(galley.size().x <= figures.width() + 0.5, "{text}");
                            let glyphs = galley.rows.iter().flat_map(|row| row.glyphs.clone());
                            glyphs.filter(|glyph| glyph.chr == '.').map(|glyph| glyph.pos.x).collect()
                        })
                        .collect();
                });
            });
            output.textures_delta.clear();
        }
        found
    }

    #[test]
    fn the_points_of_a_column_stand_below_each_other() {
        let found = points(&["41.2 ± 0.6", "1,234.5 ± 12.25", "7.125 ± 100.5"]);
        let [first, others @ ..] = found.as_slice() else { panic!() };
        assert_eq!(first.len(), 2);
        for other in others {
            for (one, other) in first.iter().zip(other) {
                assert!((one - other).abs() < 0.6, "{found:?}");
            }
        }
        assert!(first[1] - first[0] > 30.0, "{found:?}");
    }
}
