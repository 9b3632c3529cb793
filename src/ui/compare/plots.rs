//! The pictures of the Compare page: each draws a [`Chart`], which is made from the rows of the table.
//!
//! Measured values are solid, predicted ones hollow.

use std::ops::RangeInclusive;
use std::path::Path;

use eframe::egui::{self, Align2, FontId, Pos2, Rect, Response, RichText, Role, Stroke, Ui, WidgetInfo, vec2};
use egui_plot::{
    AxisHints, Bar, BarChart, GridInput, GridMark, Line, LineStyle, PlotBounds, PlotPoint, PlotTransform, PlotUi, Points, Text,
    VLine,
};

use super::plot_pointer::{View, plot_id, pointer_ui};
use super::plot_style::{
    Look, MARKER_RADIUS, axis_x, axis_y, base_plot, error_bar, look_legend_ui, marker_labels, pair_legend_ui, shortened,
};
use super::plot_values::values_text;
use crate::bench::ComparisonRow;
use crate::deploy::{Axis, Bars, Chart, ChartKind, Mark, Scatter, chart};
use crate::ui::kit::theme::{self, Palette};
use crate::units::bytes_text;

/// What a click on a level does, in every plot.
const CLICK_HINT: &str = "Click: choose this level everywhere.";
/// Memory beyond this many times the end of an axis is only told in words: its line would leave no room for the data.
const FAR: f64 = 1.6;
const PLOT_HEIGHT: f32 = 340.0;
/// Height of one level in a bar plot.
const BAR_ROW_HEIGHT: f32 = 44.0;
/// Thickness of one bar as a part of its level's height.
const BAR_THICKNESS: f64 = 0.34;
/// Distance from the middle of a level to the middle of each of its bars, as a part of its height.
const BAR_OFFSET: f64 = 0.19;
/// About how many marks an axis has.
const N_TICKS: f64 = 8.5;

/// What a plot shows beside its rows.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// How many bytes a model may use here, and where that number comes from: drawn as a line where an axis has sizes.
    pub memory: Option<(f64, &'a str)>,
    /// The file that is chosen.
    pub chosen: Option<&'a Path>,
}

/// Draws the plot of this kind; both speeds side by side where there is room. Returns the row that was clicked.
pub fn plot_ui<'a>(ui: &mut Ui, kind: ChartKind, rows: &'a [ComparisonRow], around: Around<'_>) -> Option<&'a ComparisonRow> {
    let clicked = match kind {
        ChartKind::Decode | ChartKind::Prefill => speed_plots_ui(ui, rows, around),
        kind => chart_ui(ui, chart(kind, rows), rows, around),
    };
    // Rows are known by their names in all plots.
    clicked.and_then(|name| rows.iter().find(|row| row.name == name))
}

/// Draws marks that belong to no row of the page.
pub fn bare_scatter_ui(ui: &mut Ui, scatter: Scatter) {
    scatter_ui(ui, scatter, &[], Around { memory: None, chosen: None });
}

fn chart_ui(ui: &mut Ui, chart: Chart, rows: &[ComparisonRow], around: Around<'_>) -> Option<String> {
    match chart {
        Chart::Scatter(scatter) => scatter_ui(ui, scatter, rows, around),
        Chart::Bars(mut bars) => {
            pair_legend_ui(ui, theme::palette(ui), bars.measured_meaning, bars.predicted_meaning);
            let memory = memory_line(&mut bars.x, around);
            memory_note_ui(ui, memory.as_ref());
            bars_ui(ui, &bars, rows, around.chosen, memory.and_then(|memory| memory.place))
        }
    }
}

/// Decode and prefill speed of each row, predicted above measured.
fn speed_plots_ui(ui: &mut Ui, rows: &[ComparisonRow], around: Around<'_>) -> Option<String> {
    let charts = [chart(ChartKind::Decode, rows), chart(ChartKind::Prefill, rows)];
    let [Chart::Bars(decode), Chart::Bars(prefill)] = &charts else { return None };
    pair_legend_ui(ui, theme::palette(ui), decode.measured_meaning, decode.predicted_meaning);
    let draw = |ui: &mut Ui, bars: &Bars| bars_ui(ui, bars, rows, around.chosen, None);
    if ui.available_width() > 760.0 {
        return ui.columns_const(|[left, right]| draw(left, decode).or(draw(right, prefill)));
    }
    let clicked = draw(ui, decode);
    ui.add_space(12.0);
    let other = draw(ui, prefill);
    clicked.or(other)
}

/// The line of the user's memory on an axis of sizes.
struct MemoryLine {
    /// Where it stands, in the unit of the axis; `None` where it is so far away that the data would be squeezed.
    place: Option<f64>,
    text: String,
}

/// The line, for which the axis is lengthened if need be; `None` if no memory is known or the axis has no sizes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in bytes")]
fn memory_line(x: &mut Axis, around: Around<'_>) -> Option<MemoryLine> {
    let ((memory_bytes, origin), unit_bytes) = around.memory.zip(x.unit_bytes())?;
    let value = memory_bytes / unit_bytes;
    let size = bytes_text(memory_bytes as u64);
    if value > x.max * FAR {
        return Some(MemoryLine {
            place: None,
            text: format!("Memory for a model here: {size} ({origin}), more than this plot shows"),
        });
    }
    x.max = x.max.max(value * 1.04);
    Some(MemoryLine { place: Some(value), text: format!("Line: memory for a model here, {size} ({origin})") })
}

fn memory_note_ui(ui: &mut Ui, memory: Option<&MemoryLine>) {
    if let Some(memory) = memory {
        ui.label(RichText::new(&memory.text).small().color(theme::muted(ui)));
    }
}

fn scatter_ui(ui: &mut Ui, mut scatter: Scatter, rows: &[ComparisonRow], around: Around<'_>) -> Option<String> {
    let palette = theme::palette(ui);
    if scatter.marks.is_empty() {
        empty_ui(ui, scatter.kind);
        return None;
    }
    let memory = memory_line(&mut scatter.x, around);
    legend_ui(ui, &scatter);
    memory_note_ui(ui, memory.as_ref());
    let (x, y) = (scatter.x.clone(), scatter.y.clone());
    let id = plot_id(scatter.kind);
    let whole = View::whole(&x, &y);
    let view = View::of(ui, id, whole.clone());
    let (x_part, y_part) = (x.part(view.x.0, view.x.1), y.part(view.y.0, view.y.1));
    let plot = base_plot(scatter.kind.title(), palette)
        .height(PLOT_HEIGHT)
        .custom_x_axes(vec![axis_x(palette, &x.label).formatter(tick_texts(&x_part))])
        .custom_y_axes(vec![axis_y(palette, &y.label).formatter(tick_texts(&y_part))])
        .x_grid_spacer(grid(&x_part))
        .y_grid_spacer(grid(&y_part))
        .label_formatter(|_| None);
    let cap = [(view.x.1 - view.x.0) * 0.006, (view.y.1 - view.y.0) * 0.012];
    let response = plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([view.x.0, view.y.0], [view.x.1, view.y.1]));
        let front = staircase(&scatter.front).into_iter().map(|[left, top]| [x.place(left), y.place(top)]).collect::<Vec<_>>();
        if scatter.front.len() > 1 {
            let line = Line::new("Pareto front", front).style(LineStyle::dashed_dense()).width(1.5);
            plot_ui.line(line.color(palette.muted).allow_hover(false));
        }
        if let Some(at) = memory.as_ref().and_then(|memory| memory.place) {
            plot_ui.vline(VLine::new("Memory", x.place(at)).color(palette.warn).width(1.5).allow_hover(false));
        }
        for mark in &scatter.marks {
            mark_ui(plot_ui, mark, (&x, &y), cap, palette);
        }
    });
    let transform = response.transform;
    let places: Vec<PlotPoint> =
        scatter.marks.iter().map(|mark| PlotPoint::new(x.place(mark.x.value), y.place(mark.y.value))).collect();
    labels_ui(ui, &scatter, &transform, &places);
    let points: Vec<Pos2> = places.iter().map(|place| transform.position_from_point(place)).collect();
    let pointed = pointer_ui(ui, id, &response.response, &transform, &whole, &points);
    let name_of = |idx: usize| scatter.marks.get(idx).map(|mark| mark.name.as_str());
    let chosen = rows.iter().find(|row| around.chosen == Some(row.path.as_path())).map(|row| row.name.as_str());
    let painter = ui.painter_at(*transform.frame());
    for (mark, at) in scatter.marks.iter().zip(&points) {
        if Some(mark.name.as_str()) == chosen {
            painter.circle_stroke(*at, MARKER_RADIUS + 4.0, Stroke::new(2.0, palette.accent));
        }
    }
    if let Some(at) = pointed.hovered.and_then(|idx| points.get(idx)) {
        painter.circle_stroke(*at, MARKER_RADIUS + 2.0, Stroke::new(1.0, palette.text));
    }
    let hovered = pointed.hovered.and_then(name_of).and_then(|name| rows.iter().find(|row| row.name == name));
    describe(&response.response, scatter.kind, hovered, &format!("{CLICK_HINT} Drag: zoom. Double click: all again."));
    if let (None, Some(mark)) = (hovered, pointed.hovered.and_then(|idx| scatter.marks.get(idx))) {
        response.response.clone().on_hover_text_at_pointer(&mark.details);
    }
    pointed.clicked.and_then(name_of).map(str::to_string)
}

/// Names the plot for screen readers, and tells all values of the row under the pointer and what the pointer can do.
fn describe(response: &Response, kind: ChartKind, hovered: Option<&ComparisonRow>, hint: &str) {
    response
        .widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("{}; all numbers are in the tables below", kind.title())));
    if let Some(row) = hovered {
        response.clone().on_hover_text_at_pointer(format!("{}\n\n{hint}", values_text(row)));
    }
}

fn empty_ui(ui: &mut Ui, kind: ChartKind) {
    ui.allocate_ui(vec2(ui.available_width(), PLOT_HEIGHT), |ui| {
        ui.vertical_centered(|ui| {
            ui.add_space(PLOT_HEIGHT * 0.4);
            ui.label(RichText::new(missing_text(kind)).color(theme::muted(ui)));
            ui.add_space(PLOT_HEIGHT * 0.4);
        });
    });
}

fn legend_ui(ui: &mut Ui, scatter: &Scatter) {
    let mut note = format!("Bar: {}.", scatter.bar_meaning);
    if scatter.marks.iter().any(|mark| !mark.is_measured) {
        note.push_str(" Hollow: predicted, not yet measured.");
    }
    if scatter.front.len() > 1 {
        note.push_str(" Dashed: Pareto front, nothing is better in both.");
    }
    let looks: Vec<_> = scatter.marks.iter().map(|mark| mark.look).collect();
    look_legend_ui(ui, theme::palette(ui), &looks, &note);
}

/// A marker with its error bars.
fn mark_ui(plot_ui: &mut PlotUi<'_>, mark: &Mark, (x, y): (&Axis, &Axis), cap: [f64; 2], palette: &Palette) {
    let look = Look::of(mark.look, palette);
    let color = if mark.is_measured { look.color } else { look.color.gamma_multiply(0.55) };
    let at = [x.place(mark.x.value), y.place(mark.y.value)];
    let vertical = error_bar([at[0], y.place(mark.y.low)], [at[0], y.place(mark.y.high)], [cap[0], 0.0]);
    let horizontal = error_bar([x.place(mark.x.low), at[1]], [x.place(mark.x.high), at[1]], [0.0, cap[1]]);
    for line in vertical.into_iter().chain(horizontal) {
        plot_ui.line(Line::new("", line).color(color).width(1.5).allow_hover(false));
    }
    let points = Points::new(mark.name.clone(), vec![at]).shape(look.shape).radius(MARKER_RADIUS).color(look.color);
    plot_ui.points(points.filled(mark.is_measured).allow_hover(false));
}

/// Writes the names of the markers in view, clear of error bars and the front.
fn labels_ui(ui: &Ui, scatter: &Scatter, transform: &PlotTransform, places: &[PlotPoint]) {
    let (x, y) = (&scatter.x, &scatter.y);
    let rect_of = |low: [f64; 2], high: [f64; 2]| {
        transform.rect_from_values(&PlotPoint::new(low[0], low[1]), &PlotPoint::new(high[0], high[1])).expand(3.0)
    };
    let bars = scatter.marks.iter().flat_map(|mark| {
        let at = [x.place(mark.x.value), y.place(mark.y.value)];
        [
            rect_of([at[0], y.place(mark.y.low)], [at[0], y.place(mark.y.high)]),
            rect_of([x.place(mark.x.low), at[1]], [x.place(mark.x.high), at[1]]),
        ]
    });
    let front: Vec<[f64; 2]> = staircase(&scatter.front).into_iter().map(|[left, top]| [x.place(left), y.place(top)]).collect();
    let segments = front.windows(2).map(|ends| rect_of(ends[0], ends[1]));
    let taken: Vec<Rect> = bars.chain(segments).collect();
    let named = scatter.marks.iter().zip(places).map(|(mark, place)| (mark.name.as_str(), *place));
    let seen = named.filter(|(_, place)| transform.frame().contains(transform.position_from_point(place)));
    marker_labels(ui, theme::palette(ui), transform, seen, taken);
}

/// What to do where a plot has nothing to show.
fn missing_text(kind: ChartKind) -> &'static str {
    match kind {
        ChartKind::SizeLoss | ChartKind::SameTop => "Measure the quality below: then each level has its place here",
        ChartKind::LossSpeed => "Measure speed and quality: then each level has its place here",
        _ => "Nothing is measured or predicted yet",
    }
}

/// The front as a line of right angles: each point holds until the next is better.
fn staircase(front: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut line: Vec<[f64; 2]> = Vec::new();
    for &point in front {
        if let Some(last) = line.last().copied() {
            line.push([point[0], last[1]]);
        }
        line.push(point);
    }
    line
}

/// The texts of an axis' marks.
fn tick_texts(axis: &Axis) -> impl Fn(GridMark, &RangeInclusive<f64>) -> String + 'static {
    let ticks = axis.ticks(N_TICKS);
    move |mark, _| {
        let nearest = ticks.iter().min_by(|a, b| (a.0 - mark.value).abs().total_cmp(&(b.0 - mark.value).abs()));
        nearest.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

/// The places of an axis' marks.
fn grid(axis: &Axis) -> impl Fn(GridInput) -> Vec<GridMark> + 'static {
    let (start, end) = axis.ends();
    let step_size = (end - start) / N_TICKS;
    let places: Vec<f64> = axis.ticks(N_TICKS).into_iter().map(|(place, _)| place).collect();
    move |_| places.iter().map(|&value| GridMark { value, step_size }).collect()
}

/// Horizontal bars: the first row is on top, in each row the prediction above the measurement.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of rows")]
fn bars_ui(ui: &mut Ui, bars: &Bars, rows: &[ComparisonRow], chosen: Option<&Path>, memory: Option<f64>) -> Option<String> {
    let palette = theme::palette(ui);
    let n = bars.rows.len();
    let names: Vec<String> = bars.rows.iter().map(|row| shortened(&row.name)).collect();
    let name_at = move |value: f64| -> Option<String> {
        let idx = (n as f64 - 1.0 - value).round();
        (idx >= 0.0 && (value - value.round()).abs() < 1e-6).then(|| names.get(idx as usize).cloned())?
    };
    let axis_names = AxisHints::new_y()
        .label("Level")
        .formatter(move |mark, _: &RangeInclusive<f64>| name_at(mark.value).unwrap_or_default())
        .tick_label_color(palette.text)
        .tick_label_font(FontId::proportional(12.5))
        .label_spacing(1.0..=2.0);
    let plot = base_plot(bars.kind.title(), palette)
        .height(BAR_ROW_HEIGHT * n as f32 + 58.0)
        .custom_x_axes(vec![axis_x(palette, &bars.x.label).formatter(tick_texts(&bars.x))])
        .custom_y_axes(vec![axis_names])
        .x_grid_spacer(grid(&bars.x))
        .y_grid_spacer(move |_| (0..n).map(|idx| GridMark { value: idx as f64, step_size: 1.0 }).collect())
        .show_grid([true, false])
        .label_formatter(|_| None);
    let response = plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([0.0, -0.55], [bars.x.max, n as f64 - 0.45]));
        for (idx, row) in bars.rows.iter().enumerate() {
            let middle = (n - 1 - idx) as f64;
            let look = Look::of(row.look, palette);
            if let Some(band) = row.pair.predicted {
                let y = middle + BAR_OFFSET;
                let bar = Bar::new(y, band.mid).width(BAR_THICKNESS).fill(look.color.gamma_multiply(0.10));
                let bar = bar.stroke(Stroke::new(1.5, look.color.gamma_multiply(0.8)));
                plot_ui.bar_chart(BarChart::new(format!("predicted {}", row.name), vec![bar]).horizontal().allow_hover(false));
                for line in error_bar([band.low, y], [band.high, y], [0.0, 0.07]) {
                    plot_ui.line(Line::new("", line).color(palette.muted).width(1.5).allow_hover(false));
                }
            }
            if let Some((mid, spread)) = row.pair.measured {
                let y = middle - BAR_OFFSET;
                let bar = Bar::new(y, mid).width(BAR_THICKNESS).fill(look.color).stroke(Stroke::new(1.0, look.color));
                plot_ui.bar_chart(BarChart::new(format!("measured {}", row.name), vec![bar]).horizontal().allow_hover(false));
                for line in error_bar([mid - spread, y], [mid + spread, y], [0.0, 0.07]) {
                    plot_ui.line(Line::new("", line).color(palette.text).width(1.5).allow_hover(false));
                }
            }
            if let Some(words) = row.missing {
                let color = if words == "failed" { palette.bad } else { palette.muted };
                let words = egui::RichText::new(words).size(12.0);
                let at = PlotPoint::new(bars.x.max * 0.008, middle - BAR_OFFSET);
                plot_ui.text(Text::new("", at, words).anchor(Align2::LEFT_CENTER).color(color).allow_hover(false));
            }
        }
        if let Some(at) = memory {
            plot_ui.vline(VLine::new("Memory", at).color(palette.warn).width(1.5).allow_hover(false));
        }
    });
    // The pointer means a level anywhere in its row, not only on its bars.
    let transform = response.transform;
    let row_at = |at: egui::Pos2| {
        let idx = (n as f64 - 1.0 - transform.value_from_position(at).y).round();
        transform.frame().contains(at).then_some(()).filter(|()| idx >= 0.0).and_then(|()| bars.rows.get(idx as usize))
    };
    let hovered = response.response.hover_pos().and_then(row_at);
    let row_of = |name: &str| rows.iter().find(|row| row.name == name);
    if let Some(idx) = bars.rows.iter().position(|bar| row_of(&bar.name).is_some_and(|row| chosen == Some(row.path.as_path()))) {
        let middle = (n - 1 - idx) as f64;
        let (low, high) = (PlotPoint::new(0.0, middle - 0.46), PlotPoint::new(bars.x.max, middle + 0.46));
        let rect = transform.rect_from_values(&low, &high);
        ui.painter_at(*transform.frame()).rect_stroke(rect, 3.0, Stroke::new(1.5, palette.accent), egui::StrokeKind::Inside);
    }
    describe(&response.response, bars.kind, hovered.and_then(|bar| row_of(&bar.name)), CLICK_HINT);
    let clicked = response.response.interact_pointer_pos().filter(|_| response.response.clicked()).and_then(row_at);
    clicked.map(|bar| bar.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_holds_until_the_next_point_is_better() {
        assert!(staircase(&[]).is_empty());
        assert_eq!(staircase(&[[1.0, 9.0], [2.0, 4.0]]), [[1.0, 9.0], [2.0, 9.0], [2.0, 4.0]]);
    }
}
