//! Errors of tensors as colours: a row for each kind, a column for each layer, and one for what lies outside the layers.

use std::collections::{BTreeMap, BTreeSet};

use eframe::egui::{
    self, Align2, Color32, CornerRadius, FontId, Pos2, Rect, Response, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo,
    pos2, vec2,
};

use crate::bench::tensors::tensor_error::{TensorError, TensorErrors};
use crate::ui::kit::theme;
use crate::units::{cosine_text, count_text, small_percent_text, small_text};

/// More rows than this are no longer a picture: those with the smallest errors are left out.
const MAX_ROWS: usize = 48;
const ROW_HEIGHT: f32 = 20.0;
const MAX_CELL_WIDTH: f32 = 40.0;
const OUTSIDE_WIDTH: f32 = 56.0;
const OUTSIDE_GAP: f32 = 16.0;
const MAX_LABEL_WIDTH: f32 = 200.0;
const AXIS_HEIGHT: f32 = 40.0;
/// Least distance between two layer numbers.
const TICK_DISTANCE: f32 = 28.0;

/// From small to large, at equal distances: the colours of cividis, which look alike to people with and without colour vision deficiency
/// and get steadily lighter.
///
/// Source: Nuñez, Anderton and Renslow, "Optimizing colormaps with consideration for color vision deficiency", 2018.
const CIVIDIS: [[u8; 3]; 5] = [[0, 34, 78], [65, 77, 107], [124, 123, 120], [188, 175, 111], [254, 232, 56]];

/// Which tensor lies where.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The layers that occur, ascending.
    pub layers: Vec<u64>,
    /// Kinds in the order of the file.
    pub rows: Vec<GridRow>,
    /// Number of kinds that were left out.
    pub n_hidden: usize,
    /// The largest finite relative RMS error, the end of the colour scale; 0 without one.
    pub highest: f64,
}

/// One kind of tensor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GridRow {
    /// `attn_q`.
    pub kind: String,
    /// For each of the layers an index into `TensorErrors::tensors`; `None` where the layer has no such tensor.
    pub cells: Vec<Option<usize>>,
    /// Index of the tensor of this kind outside the layers.
    pub outside: Option<usize>,
}

impl Grid {
    /// Arranges the tensors of a file; of several in one place the worst is shown.
    #[must_use]
    pub fn new(errors: &TensorErrors) -> Self {
        let layers: Vec<u64> =
            errors.tensors.iter().filter_map(|tensor| tensor.layer_idx).collect::<BTreeSet<_>>().into_iter().collect();
        let column_of: BTreeMap<u64, usize> = layers.iter().copied().zip(0..).collect();
        let mut row_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut rows: Vec<GridRow> = Vec::new();
        for (idx, tensor) in errors.tensors.iter().enumerate() {
            let row_idx = *row_of.entry(&tensor.kind).or_insert(rows.len());
            if row_idx == rows.len() {
                rows.push(GridRow { kind: tensor.kind.clone(), cells: vec![None; layers.len()], outside: None });
            }
            let Some(row) = rows.get_mut(row_idx) else { continue };
            let column = tensor.layer_idx.and_then(|layer_idx| column_of.get(&layer_idx));
            let cell = column.map_or(Some(&mut row.outside), |&column| row.cells.get_mut(column));
            if let Some(cell) = cell {
                let is_worse = |known: usize| errors.tensors.get(known).is_none_or(|known| known.badness() < tensor.badness());
                if cell.is_none_or(is_worse) {
                    *cell = Some(idx);
                }
            }
        }
        let n_hidden = rows.len().saturating_sub(MAX_ROWS);
        if n_hidden > 0 {
            let badness = |row: &GridRow| {
                let tensors = row.cells.iter().chain([&row.outside]).flatten().filter_map(|&idx| errors.tensors.get(idx));
                tensors.map(TensorError::badness).fold(0.0, f64::max)
            };
            let mut order: Vec<f64> = rows.iter().map(badness).collect();
            order.sort_by(|a, b| b.total_cmp(a));
            let least = order.get(MAX_ROWS - 1).copied().unwrap_or(0.0);
            rows.retain(|row| badness(row) >= least);
            rows.truncate(MAX_ROWS);
        }
        let finite = errors.tensors.iter().map(TensorError::badness).filter(|error| error.is_finite());
        Self { layers, rows, n_hidden, highest: finite.fold(0.0, f64::max) }
    }

    fn has_outside(&self) -> bool {
        self.rows.iter().any(|row| row.outside.is_some())
    }
}

/// Where the parts of the picture lie.
struct Geometry {
    origin: Pos2,
    label_width: f32,
    cell_width: f32,
    n_layers: usize,
}

impl Geometry {
    #[allow(clippy::cast_precision_loss, reason = "a few hundred columns and rows")]
    fn cell(&self, row: usize, column: Option<usize>) -> Rect {
        let top = self.origin.y + row as f32 * ROW_HEIGHT;
        let left_of = |column: usize| self.origin.x + self.label_width + (column as f32 * self.cell_width).round();
        let first_outside = || left_of(self.n_layers) + if self.n_layers > 0 { OUTSIDE_GAP } else { 0.0 };
        let left = column.map_or_else(first_outside, left_of);
        let right = column.map_or(left + OUTSIDE_WIDTH, |column| left_of(column + 1));
        // A gap between the cells, where they are wide enough to have one.
        let gap = if right - left > 4.0 { 1.0 } else { 0.0 };
        Rect::from_min_max(pos2(left, top), pos2(right - gap, top + ROW_HEIGHT - 1.0))
    }
}

impl Geometry {
    /// The row whose name stands here; it may be below the last one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred rows")]
    fn row_of_label(&self, at: Pos2) -> Option<usize> {
        let is_label = (self.origin.x..self.origin.x + self.label_width - 2.0).contains(&at.x) && at.y >= self.origin.y;
        is_label.then(|| ((at.y - self.origin.y) / ROW_HEIGHT) as usize)
    }
}

/// Draws the map with its scale, and a frame around the cells of the tensors that are `chosen`. Returns the tensors that were clicked: one for
/// a cell, all of its kind for the name of a row.
pub fn heat_map_ui(ui: &mut Ui, errors: &TensorErrors, grid: &Grid, chosen: &BTreeSet<String>) -> Vec<usize> {
    legend_ui(ui, errors, grid);
    ui.add_space(theme::UNIT);
    let font = FontId::proportional(12.0);
    let p = theme::palette(ui);
    let widest = grid
        .rows
        .iter()
        .map(|row| ui.painter().layout_no_wrap(row.kind.clone(), font.clone(), p.text).size().x)
        .fold(0.0, f32::max);
    let label_width = (widest + 12.0).min(MAX_LABEL_WIDTH);
    let outside = if grid.has_outside() { OUTSIDE_GAP + OUTSIDE_WIDTH } else { 0.0 };
    #[allow(clippy::cast_precision_loss, reason = "a few hundred columns and rows")]
    let (n_layers, n_rows) = (grid.layers.len() as f32, grid.rows.len() as f32);
    let cell_width = ((ui.available_width() - label_width - outside) / n_layers.max(1.0)).clamp(0.5, MAX_CELL_WIDTH);
    let size = vec2(label_width + cell_width * n_layers + outside, n_rows * ROW_HEIGHT + AXIS_HEIGHT);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    response.widget_info(|| {
        let highest = small_percent_text(grid.highest);
        let text = format!("Relative RMS error by kind and layer, up to {highest}; all numbers are in the table");
        WidgetInfo::labeled(Role::Image, true, text)
    });
    let geometry = Geometry { origin: rect.min, label_width, cell_width, n_layers: grid.layers.len() };
    let pointer = response.hover_pos();
    let pointed = paint(ui, errors, grid, &geometry, pointer, chosen);
    axis(ui, grid, &geometry);
    let found = pointed.and_then(|idx| Some((idx, errors.tensors.get(idx)?)));
    if let Some((_, tensor)) = found {
        tooltip_ui(&response, tensor);
    }
    let kind = pointer.and_then(|at| geometry.row_of_label(at)).and_then(|row| grid.rows.get(row));
    if found.is_some() || kind.is_some() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
    }
    match (response.clicked(), found, kind) {
        (true, Some((idx, _)), _) => vec![idx],
        (true, None, Some(kind)) => kind.cells.iter().chain([&kind.outside]).flatten().copied().collect(),
        _ => Vec::new(),
    }
}

/// Paints labels and cells; returns the index of the tensor under the pointer.
fn paint(
    ui: &Ui,
    errors: &TensorErrors,
    grid: &Grid,
    geometry: &Geometry,
    pointer: Option<Pos2>,
    chosen: &BTreeSet<String>,
) -> Option<usize> {
    let p = theme::palette(ui);
    let painter = ui.painter();
    let mut pointed = None;
    for (row_idx, row) in grid.rows.iter().enumerate() {
        let first = geometry.cell(row_idx, if grid.layers.is_empty() { None } else { Some(0) });
        let label = pos2(geometry.origin.x + geometry.label_width - 10.0, first.center().y);
        painter.text(label, Align2::RIGHT_CENTER, &row.kind, FontId::proportional(12.0), p.text_secondary);
        let cells = row.cells.iter().enumerate().map(|(column, cell)| (Some(column), *cell)).chain([(None, row.outside)]);
        for (column, cell) in cells {
            let Some((idx, tensor)) = cell.and_then(|idx| Some((idx, errors.tensors.get(idx)?))) else { continue };
            let rect = geometry.cell(row_idx, column);
            paint_cell(ui, rect, Look::of(tensor, grid.highest));
            if chosen.contains(&tensor.name) {
                painter.rect_stroke(rect, CornerRadius::same(1), Stroke::new(2.0, p.accent), StrokeKind::Inside);
            }
            if pointer.is_some_and(|at| rect.expand(0.5).contains(at)) {
                painter.rect_stroke(rect, CornerRadius::same(1), Stroke::new(2.0, p.text), StrokeKind::Outside);
                pointed = Some(idx);
            }
        }
    }
    pointed
}

/// How a cell is shown: colour is never the only sign.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Look {
    /// The error as a part of the largest one, 0 to 1.
    Part(f32),
    /// Copied.
    Identical,
    /// Not comparable: there is no error to show.
    Problem,
}

impl Look {
    #[allow(clippy::cast_possible_truncation, reason = "a colour")]
    fn of(tensor: &TensorError, highest: f64) -> Self {
        match &tensor.result {
            Err(_) => Self::Problem,
            Ok(difference) if difference.is_identical => Self::Identical,
            Ok(difference) if highest > 0.0 => Self::Part((difference.relative_rms / highest) as f32),
            Ok(_) => Self::Part(0.0),
        }
    }
}

fn paint_cell(ui: &Ui, rect: Rect, look: Look) {
    let p = theme::palette(ui);
    let painter = ui.painter();
    let radius = CornerRadius::same(1);
    match look {
        Look::Part(part) => {
            painter.rect_filled(rect, radius, heat_color(ui.visuals().dark_mode, part));
        }
        Look::Identical => {
            painter.rect(rect, radius, p.well, Stroke::new(1.0, p.control_line), StrokeKind::Inside);
        }
        Look::Problem => {
            painter.rect(rect, radius, p.bad_soft, Stroke::new(1.0, p.bad), StrokeKind::Inside);
            painter.line_segment([rect.left_bottom(), rect.right_top()], Stroke::new(1.0, p.bad));
        }
    }
}

/// A colour of the scale, for 0 to 1: on dark ground large errors are light, on light ground dark.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "colours and five steps")]
pub fn heat_color(is_dark: bool, part: f32) -> Color32 {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 1.0 };
    let position = if is_dark { part } else { 1.0 - part } * (CIVIDIS.len() - 1) as f32;
    let low = (position as usize).min(CIVIDIS.len() - 2);
    let (from, to, between) = (CIVIDIS[low], CIVIDIS[low + 1], position - low as f32);
    let mix = |channel: usize| (f32::from(from[channel]) * (1.0 - between) + f32::from(to[channel]) * between).round() as u8;
    Color32::from_rgb(mix(0), mix(1), mix(2))
}

/// Draws the scale with its ends, and the looks of cells that are not on the scale.
fn legend_ui(ui: &mut Ui, errors: &TensorErrors, grid: &Grid) {
    const SCALE: egui::Vec2 = vec2(160.0, 12.0);
    const SWATCH: egui::Vec2 = vec2(16.0, 12.0);
    let p = theme::palette(ui);
    let is_dark = ui.visuals().dark_mode;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().interact_size.y = 20.0;
        let small = |text: &str| RichText::new(text).small().color(p.text_secondary);
        if grid.highest > 0.0 {
            ui.label(small("0 %"));
            let (rect, _) = ui.allocate_exact_size(SCALE, Sense::hover());
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "160 points")]
            for step in 0..SCALE.x as usize {
                let left = rect.left() + step as f32;
                let line = Rect::from_min_max(pos2(left, rect.top()), pos2(left + 1.0, rect.bottom()));
                ui.painter().rect_filled(line, CornerRadius::ZERO, heat_color(is_dark, step as f32 / (SCALE.x - 1.0)));
            }
            ui.label(small(&small_percent_text(grid.highest)));
            ui.add_space(12.0);
        }
        let looks = || errors.tensors.iter().map(|tensor| Look::of(tensor, grid.highest));
        for (look, name) in [(Look::Identical, "copied, no error"), (Look::Problem, "not comparable")] {
            if looks().any(|found| found == look) {
                let (rect, _) = ui.allocate_exact_size(SWATCH, Sense::hover());
                paint_cell(ui, rect, look);
                ui.label(small(name));
                ui.add_space(12.0);
            }
        }
        if grid.n_hidden > 0 {
            let n = count_text(grid.n_hidden as u64);
            ui.label(small(&format!("{n} kinds with smaller errors are only in the table")));
        }
    });
}

/// Numbers of the layers below their columns, with the name of the axis.
#[allow(clippy::cast_precision_loss, reason = "a few hundred columns")]
fn axis(ui: &Ui, grid: &Grid, geometry: &Geometry) {
    let p = theme::palette(ui);
    let font = FontId::proportional(12.0);
    let painter = ui.painter();
    let below = grid.rows.len().saturating_sub(1);
    let step = tick_step(geometry.cell_width);
    for (column, layer_idx) in grid.layers.iter().enumerate().step_by(step) {
        let cell = geometry.cell(below, Some(column));
        painter.text(
            pos2(cell.center().x, cell.bottom() + 3.0),
            Align2::CENTER_TOP,
            layer_idx.to_string(),
            font.clone(),
            p.muted,
        );
    }
    if let Some(last) = grid.layers.len().checked_sub(1) {
        let (first, last) = (geometry.cell(below, Some(0)), geometry.cell(below, Some(last)));
        let middle = f32::midpoint(first.left(), last.right());
        painter.text(pos2(middle, first.bottom() + 20.0), Align2::CENTER_TOP, "Layer", font.clone(), p.text);
    }
    if grid.has_outside() {
        let cell = geometry.cell(below, None);
        painter.text(pos2(cell.center().x, cell.bottom() + 3.0), Align2::CENTER_TOP, "outside", font, p.muted);
    }
}

/// Columns from one number to the next: 1, 2 or 5 times a power of ten.
#[allow(clippy::cast_precision_loss, reason = "a few hundred columns")]
fn tick_step(cell_width: f32) -> usize {
    let mut power = 1_usize;
    loop {
        if let Some(factor) = [1, 2, 5].into_iter().find(|factor| (factor * power) as f32 * cell_width >= TICK_DISTANCE) {
            return factor * power;
        }
        if power >= 100_000 {
            return power;
        }
        power *= 10;
    }
}

fn tooltip_ui(response: &Response, tensor: &TensorError) {
    let mut lines = vec![tensor.name.clone(), tensor.types_text()];
    match &tensor.result {
        Err(mismatch) => lines.push(mismatch.to_string()),
        Ok(difference) if difference.is_identical => lines.push("copied byte by byte: no error".into()),
        Ok(difference) => {
            lines.push(format!("relative RMS error {}", small_percent_text(difference.relative_rms)));
            lines.push(format!("largest difference {}", small_text(difference.max_abs)));
            lines.extend(difference.cosine.map(|cosine| format!("cosine similarity {}", cosine_text(cosine))));
        }
    }
    response.clone().on_hover_text_at_pointer(lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tensors::difference::{Difference, Mismatch};

    fn tensor(layer_idx: Option<u64>, kind: &str, error: Option<f64>) -> TensorError {
        TensorError {
            name: format!("{layer_idx:?}.{kind}"),
            layer_idx,
            kind: kind.into(),
            source_dtype: None,
            converted_dtype: None,
            packed: None,
            n_elements: 1,
            result: error
                .map(|relative_rms| Difference { relative_rms, max_abs: 1.0, cosine: None, is_identical: false })
                .ok_or(Mismatch::OnlyInSource),
        }
    }

    fn errors(tensors: Vec<TensorError>) -> TensorErrors {
        TensorErrors { source: "a".into(), converted: "b".into(), tensors, overall_relative_rms: None, warnings: Vec::new() }
    }

    #[test]
    fn kinds_are_rows_and_layers_columns() {
        let found = errors(vec![
            tensor(None, "token_embd", Some(0.5)),
            tensor(Some(7), "attn_q", Some(0.1)),
            tensor(Some(2), "attn_q", Some(0.2)),
            tensor(Some(2), "ffn_up", None),
        ]);
        let grid = Grid::new(&found);
        assert_eq!(grid.layers, [2, 7]);
        let row = |kind: &str, cells: [Option<usize>; 2], outside| GridRow { kind: kind.into(), cells: cells.into(), outside };
        let expected = [
            row("token_embd", [None, None], Some(0)),
            row("attn_q", [Some(2), Some(1)], None),
            row("ffn_up", [Some(3), None], None),
        ];
        assert_eq!((grid.rows.as_slice(), grid.n_hidden), (&expected[..], 0));
        assert!((grid.highest - 0.5).abs() < 1e-12, "a tensor without an error is not the end of the scale");
    }

    #[test]
    fn of_two_tensors_in_one_place_the_worse_is_shown() {
        let found =
            errors(vec![tensor(Some(0), "a", Some(0.1)), tensor(Some(0), "a", Some(0.3)), tensor(Some(0), "a", Some(0.2))]);
        assert_eq!(Grid::new(&found).rows[0].cells, [Some(1)]);
    }

    #[test]
    fn too_many_kinds_leave_the_worst() {
        let kinds: Vec<TensorError> =
            (0..100_u32).map(|idx| tensor(Some(0), &format!("kind{idx}"), Some(f64::from(idx)))).collect();
        let grid = Grid::new(&errors(kinds));
        assert_eq!((grid.rows.len(), grid.n_hidden, grid.rows[0].kind.as_str()), (MAX_ROWS, 100 - MAX_ROWS, "kind52"));
        assert!(Grid::new(&errors(Vec::new())).rows.is_empty());
    }

    #[test]
    fn larger_errors_stand_out_more_in_both_variants() {
        let steps = || (0..=20_u8).map(|step| f32::from(step) / 20.0);
        let of =
            |is_dark: bool| steps().map(|part| theme::contrast(heat_color(is_dark, part), Color32::BLACK)).collect::<Vec<_>>();
        assert!(of(true).is_sorted() && of(false).iter().rev().is_sorted());
        for (is_dark, palette) in [(true, theme::DARK), (false, theme::LIGHT)] {
            let of_highest = theme::contrast(heat_color(is_dark, 1.0), palette.card);
            assert!(of_highest > 7.0, "{of_highest}");
        }
        assert_eq!(heat_color(true, f32::NAN), heat_color(true, 1.0));
        assert_eq!(heat_color(true, -1.0), heat_color(false, 2.0));
    }

    #[test]
    fn layer_numbers_do_not_touch() {
        let check = |cell_width, expected| assert_eq!(tick_step(cell_width), expected, "{cell_width}");
        check(40.0, 1);
        check(28.0, 1);
        check(14.0, 2);
        check(8.0, 5);
        check(0.5, 100);
        check(0.0, 100_000);
    }
}
