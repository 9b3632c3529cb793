//! The pictures of the Compare page: each draws a [`Chart`], which is made from the rows of the table.
//!
//! Measured values are solid, predicted ones hollow.

use std::ops::RangeInclusive;

use eframe::egui::{self, Align2, FontId, Rect, RichText, Stroke, Ui, vec2};
use egui_plot::{
    AxisHints, Bar, BarChart, GridInput, GridMark, HoverPosition, Line, LineStyle, PlotBounds, PlotPoint, Points, Text,
};

use super::plot_style::{
    Look, MARKER_RADIUS, axis_x, axis_y, base_plot, class_legend_ui, error_bar, marker_labels, pair_legend_ui, shortened,
};
use super::theme;
use crate::bench::ComparisonRow;
use crate::deploy::{Axis, Bars, Chart, ChartKind, Scatter, chart};

const PLOT_HEIGHT: f32 = 340.0;
/// Height of one level in a bar plot.
const BAR_ROW_HEIGHT: f32 = 44.0;
/// Thickness of one bar as a part of its level's height.
const BAR_THICKNESS: f64 = 0.34;
/// Between the middle of a level and the middle of its bars.
const BAR_OFFSET: f64 = 0.19;
/// About how many marks an axis has.
const N_TICKS: f64 = 8.5;

/// Draws the plot of this kind; both speeds side by side where there is room.
pub fn plot_ui(ui: &mut Ui, kind: ChartKind, rows: &[ComparisonRow]) {
    match kind {
        ChartKind::Decode | ChartKind::Prefill => speed_plots_ui(ui, rows),
        kind => chart_ui(ui, &chart(kind, rows)),
    }
}

fn chart_ui(ui: &mut Ui, chart: &Chart) {
    match chart {
        Chart::Scatter(scatter) => scatter_ui(ui, scatter),
        Chart::Bars(bars) => {
            pair_legend_ui(ui, theme::palette(ui), bars.measured_meaning, bars.predicted_meaning);
            bars_ui(ui, bars);
        }
    }
}

/// Decode and prefill speed of each row, predicted above measured.
fn speed_plots_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    let charts = [chart(ChartKind::Decode, rows), chart(ChartKind::Prefill, rows)];
    let [Chart::Bars(decode), Chart::Bars(prefill)] = &charts else { return };
    pair_legend_ui(ui, theme::palette(ui), decode.measured_meaning, decode.predicted_meaning);
    if ui.available_width() > 760.0 {
        ui.columns_const(|[left, right]| {
            bars_ui(left, decode);
            bars_ui(right, prefill);
        });
    } else {
        bars_ui(ui, decode);
        ui.add_space(12.0);
        bars_ui(ui, prefill);
    }
}

fn scatter_ui(ui: &mut Ui, scatter: &Scatter) {
    let palette = theme::palette(ui);
    if scatter.marks.is_empty() {
        ui.allocate_ui(vec2(ui.available_width(), PLOT_HEIGHT), |ui| {
            ui.vertical_centered(|ui| {
                ui.add_space(PLOT_HEIGHT * 0.4);
                ui.label(RichText::new(missing_text(scatter.kind)).color(palette.muted));
                ui.add_space(PLOT_HEIGHT * 0.4);
            });
        });
        return;
    }
    let mut note = format!("Bar: {}.", scatter.bar_meaning);
    if scatter.marks.iter().any(|mark| !mark.is_measured) {
        note.push_str(" Hollow: predicted, not yet measured.");
    }
    if scatter.front.len() > 1 {
        note.push_str(" Dashed: Pareto front, nothing is better in both.");
    }
    let classes: Vec<_> = scatter.marks.iter().map(|mark| mark.class).collect();
    class_legend_ui(ui, palette, &classes, &note);
    let (x, y) = (scatter.x.clone(), scatter.y.clone());
    let details: Vec<(String, String)> = scatter.marks.iter().map(|mark| (mark.name.clone(), mark.details.clone())).collect();
    let plot = base_plot(scatter.kind.title(), palette)
        .height(PLOT_HEIGHT)
        .custom_x_axes(vec![axis_x(palette, &x.label).formatter(tick_texts(&x))])
        .custom_y_axes(vec![axis_y(palette, &y.label).formatter(tick_texts(&y))])
        .x_grid_spacer(grid(&x))
        .y_grid_spacer(grid(&y))
        .label_formatter(move |position| {
            let HoverPosition::NearDataPoint { plot_name, .. } = position else { return None };
            details.iter().find(|(name, _)| name == plot_name).map(|(_, details)| details.clone())
        });
    let ((x_start, x_end), (y_start, y_end)) = (x.ends(), y.ends());
    let cap = [(x_end - x_start) * 0.006, (y_end - y_start) * 0.012];
    let response = plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([x_start, y_start], [x_end, y_end]));
        let front = staircase(&scatter.front).into_iter().map(|[left, top]| [x.place(left), y.place(top)]).collect::<Vec<_>>();
        if scatter.front.len() > 1 {
            let line = Line::new("Pareto front", front).style(LineStyle::dashed_dense()).width(1.5);
            plot_ui.line(line.color(palette.muted).allow_hover(false));
        }
        for mark in &scatter.marks {
            let look = Look::of(mark.class, palette);
            let color = if mark.is_measured { look.color } else { look.color.gamma_multiply(0.55) };
            let at = [x.place(mark.x.value), y.place(mark.y.value)];
            let vertical = error_bar([at[0], y.place(mark.y.low)], [at[0], y.place(mark.y.high)], [cap[0], 0.0]);
            let horizontal = error_bar([x.place(mark.x.low), at[1]], [x.place(mark.x.high), at[1]], [0.0, cap[1]]);
            for line in vertical.into_iter().chain(horizontal) {
                plot_ui.line(Line::new("", line).color(color).width(1.5).allow_hover(false));
            }
            let points = Points::new(mark.name.clone(), vec![at]).shape(look.shape).radius(MARKER_RADIUS).color(look.color);
            plot_ui.points(points.filled(mark.is_measured));
        }
    });
    let transform = response.transform;
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
    // Names keep off the front too.
    let front: Vec<[f64; 2]> = staircase(&scatter.front).into_iter().map(|[left, top]| [x.place(left), y.place(top)]).collect();
    let segments = front.windows(2).map(|ends| rect_of(ends[0], ends[1]));
    let bars: Vec<Rect> = bars.chain(segments).collect();
    let placed =
        scatter.marks.iter().map(|mark| (mark.name.as_str(), PlotPoint::new(x.place(mark.x.value), y.place(mark.y.value))));
    marker_labels(ui, palette, &transform, placed, bars);
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
fn bars_ui(ui: &mut Ui, bars: &Bars) {
    let palette = theme::palette(ui);
    let n = bars.rows.len();
    let names: Vec<String> = bars.rows.iter().map(|row| shortened(&row.name)).collect();
    let name_at = move |value: f64| -> Option<String> {
        let idx = (n as f64 - 1.0 - value).round();
        (idx >= 0.0 && (value - value.round()).abs() < 1e-6).then(|| names.get(idx as usize).cloned())?
    };
    let details: Vec<String> = bars.rows.iter().map(|row| row.details.clone()).collect();
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
        .label_formatter(move |position| {
            let HoverPosition::NearDataPoint { position, .. } = position else { return None };
            let idx = (n as f64 - 1.0 - position.y).round();
            (idx >= 0.0).then(|| details.get(idx as usize).cloned())?
        });
    plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([0.0, -0.55], [bars.x.max, n as f64 - 0.45]));
        for (idx, row) in bars.rows.iter().enumerate() {
            let middle = (n - 1 - idx) as f64;
            let look = Look::of(row.class, palette);
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
            // An invisible point at the end of the longer bar takes the pointer for the whole level.
            let end = row.pair.measured.map(|(mid, _)| mid).or(row.pair.predicted.map(|band| band.mid));
            if let Some(end) = end {
                plot_ui.points(Points::new(row.name.clone(), vec![[end, middle]]).radius(0.5).color(look.color));
            }
        }
    });
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
