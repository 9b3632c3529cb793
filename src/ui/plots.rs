//! The pictures of the Compare page, drawn from the rows that its table shows.
//!
//! Measured values are solid, predicted ones hollow. Every plot starts at zero and names its axes with units.

use std::ops::RangeInclusive;

use eframe::egui::{self, Align2, FontId, Rect, Stroke, Ui, vec2};
use egui_plot::{AxisHints, Bar, BarChart, GridMark, HoverPosition, Line, PlotBounds, PlotPoint, Points, Text};

use super::plot_style::{
    Look, MARKER_RADIUS, axis_x, axis_y, base_plot, bytes_unit, class_legend_ui, error_bar, marker_labels, nice_marks,
    pair_legend_ui, shortened,
};
use super::theme;
use crate::bench::ComparisonRow;
use crate::bench::pair::{Pair, decode_pair, memory_pair, pair_scaled, pair_text, prefill_pair};
use crate::units::significant_text;

const PLOT_HEIGHT: f32 = 340.0;
/// Height of one level in a bar plot.
const BAR_ROW_HEIGHT: f32 = 44.0;
/// Thickness of one bar as a part of its level's height.
const BAR_THICKNESS: f64 = 0.34;
/// Between the middle of a level and the middle of its bars.
const BAR_OFFSET: f64 = 0.19;
/// File size against decode speed, one marker for each row.
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn size_speed_plot_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    let palette = theme::palette(ui);
    let sizes: Vec<f64> = rows.iter().map(|row| row.size_bytes as f64).collect();
    let (unit_bytes, unit) = bytes_unit(sizes.iter().copied().fold(0.0, f64::max));
    let pairs: Vec<Pair> = rows.iter().map(decode_pair).collect();
    let x_max = sizes.iter().copied().fold(0.0, f64::max) / unit_bytes * 1.14;
    let y_max = pairs.iter().map(|pair| pair.highest()).fold(0.0, f64::max) * 1.16;
    class_legend_ui(ui, palette, rows);
    let x_label = format!("File size ({unit})");
    let hover_rows: Vec<(String, f64, Pair)> =
        rows.iter().zip(&sizes).zip(&pairs).map(|((row, size), pair)| (row.name.clone(), size / unit_bytes, *pair)).collect();
    let plot = base_plot("size against decode speed", palette)
        .height(PLOT_HEIGHT)
        .custom_x_axes(vec![axis_x(palette, &x_label)])
        .custom_y_axes(vec![axis_y(palette, "Decode (tokens/s)")])
        .x_grid_spacer(nice_marks)
        .y_grid_spacer(nice_marks)
        .label_formatter(move |position| {
            let HoverPosition::NearDataPoint { plot_name, .. } = position else { return None };
            let (name, size, pair) = hover_rows.iter().find(|(name, ..)| name == plot_name)?;
            Some(format!("{name}\n{} {unit}\n{}", significant_text(*size), pair_text(*pair, "tok/s")))
        });
    let response = plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([0.0, 0.0], [x_max.max(1e-9), y_max.max(1e-9)]));
        let cap = x_max * 0.006;
        for ((row, size), pair) in rows.iter().zip(&sizes).zip(&pairs) {
            let x = size / unit_bytes;
            let look = Look::of(row, palette);
            let (y, low, high) = match (pair.measured, pair.predicted) {
                (Some((mid, spread)), _) => (mid, mid - spread, mid + spread),
                (None, Some(band)) => (band.mid, band.low, band.high),
                (None, None) => continue,
            };
            let is_measured = pair.measured.is_some();
            let error_color = if is_measured { look.color } else { look.color.gamma_multiply(0.55) };
            for line in error_bar([x, low], [x, high], [cap, 0.0]) {
                plot_ui.line(Line::new("", line).color(error_color).width(1.5).allow_hover(false));
            }
            let points = Points::new(row.name.clone(), vec![[x, y]]).shape(look.shape).radius(MARKER_RADIUS).color(look.color);
            plot_ui.points(points.filled(is_measured));
        }
    });
    let placed = rows.iter().zip(&sizes).zip(&pairs).filter_map(|((row, size), pair)| {
        let y = pair.measured.map(|(mid, _)| mid).or(pair.predicted.map(|band| band.mid))?;
        Some((row.name.as_str(), PlotPoint::new(size / unit_bytes, y)))
    });
    let bars = rows.iter().zip(&sizes).zip(&pairs).filter_map(|((_, size), pair)| {
        let (low, high) = match (pair.measured, pair.predicted) {
            (Some((mid, spread)), _) => (mid - spread, mid + spread),
            (None, band) => band.map(|band| (band.low, band.high))?,
        };
        Some(
            response
                .transform
                .rect_from_values(&PlotPoint::new(size / unit_bytes, low), &PlotPoint::new(size / unit_bytes, high)),
        )
    });
    let bars: Vec<Rect> = bars.map(|bar| bar.expand2(vec2(4.0, 1.0))).collect();
    marker_labels(ui, palette, &response.transform, placed, bars);
}

/// Decode and prefill speed of each row, predicted above measured.
pub fn speed_plots_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    let palette = theme::palette(ui);
    pair_legend_ui(ui, palette, "measured, median ± spread", "predicted, with its band");
    let is_wide = ui.available_width() > 760.0;
    let decode = |ui: &mut Ui| bars_ui(ui, rows, "Decode (tokens/s)", "tok/s", 1.0, decode_pair);
    let prefill = |ui: &mut Ui| bars_ui(ui, rows, "Prefill (tokens/s)", "tok/s", 1.0, prefill_pair);
    if is_wide {
        ui.columns_const(|[left, right]| {
            decode(left);
            prefill(right);
        });
    } else {
        decode(ui);
        ui.add_space(12.0);
        prefill(ui);
    }
}

/// Peak memory of each row, predicted above measured.
pub fn memory_plot_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    let palette = theme::palette(ui);
    pair_legend_ui(ui, palette, "measured peak", "predicted");
    let highest = rows.iter().map(|row| memory_pair(row).highest()).fold(0.0, f64::max);
    let (unit_bytes, unit) = bytes_unit(highest);
    bars_ui(ui, rows, &format!("Memory while running ({unit})"), unit, unit_bytes, memory_pair);
}

/// Horizontal bars: the first row is on top, in each row the prediction above the measurement.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of rows")]
fn bars_ui(ui: &mut Ui, rows: &[ComparisonRow], label: &str, unit: &str, scale: f64, pair_of: impl Fn(&ComparisonRow) -> Pair) {
    let palette = theme::palette(ui);
    let pairs: Vec<Pair> = rows.iter().map(pair_of).collect();
    let x_max = pairs.iter().map(|pair| pair.highest()).fold(0.0, f64::max) / scale * 1.12;
    let n = rows.len();
    let names: Vec<String> = rows.iter().map(|row| shortened(&row.name)).collect();
    let name_at = move |value: f64| -> Option<String> {
        let idx = (n as f64 - 1.0 - value).round();
        (idx >= 0.0 && (value - value.round()).abs() < 1e-6).then(|| names.get(idx as usize).cloned())?
    };
    let hover_texts: Vec<String> = rows
        .iter()
        .zip(&pairs)
        .map(|(row, pair)| format!("{}\n{}", row.name, pair_text(pair_scaled(*pair, scale), unit)))
        .collect();
    let axis_names = AxisHints::new_y()
        .label("Level")
        .formatter(move |mark, _: &RangeInclusive<f64>| name_at(mark.value).unwrap_or_default())
        .tick_label_color(palette.text)
        .tick_label_font(FontId::proportional(12.5))
        .label_spacing(1.0..=2.0);
    let plot = base_plot(label, palette)
        .height(BAR_ROW_HEIGHT * n as f32 + 58.0)
        .custom_x_axes(vec![axis_x(palette, label)])
        .custom_y_axes(vec![axis_names])
        .x_grid_spacer(nice_marks)
        .y_grid_spacer(move |_| (0..n).map(|idx| GridMark { value: idx as f64, step_size: 1.0 }).collect())
        .show_grid([true, false])
        .label_formatter(move |position| {
            let HoverPosition::NearDataPoint { position, .. } = position else { return None };
            let idx = (n as f64 - 1.0 - position.y).round();
            (idx >= 0.0).then(|| hover_texts.get(idx as usize).cloned())?
        });
    plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([0.0, -0.55], [x_max.max(1e-9), n as f64 - 0.45]));
        for (idx, (row, pair)) in rows.iter().zip(&pairs).enumerate() {
            let middle = (n - 1 - idx) as f64;
            let look = Look::of(row, palette);
            let pair = pair_scaled(*pair, scale);
            if let Some(band) = pair.predicted {
                let y = middle + BAR_OFFSET;
                let bar = Bar::new(y, band.mid).width(BAR_THICKNESS).fill(look.color.gamma_multiply(0.10));
                let bar = bar.stroke(Stroke::new(1.5, look.color.gamma_multiply(0.8)));
                plot_ui.bar_chart(BarChart::new(format!("predicted {}", row.name), vec![bar]).horizontal().allow_hover(false));
                for line in error_bar([band.low, y], [band.high, y], [0.0, 0.07]) {
                    plot_ui.line(Line::new("", line).color(palette.muted).width(1.5).allow_hover(false));
                }
            }
            if let Some((mid, spread)) = pair.measured {
                let y = middle - BAR_OFFSET;
                let bar = Bar::new(y, mid).width(BAR_THICKNESS).fill(look.color).stroke(Stroke::new(1.0, look.color));
                plot_ui.bar_chart(BarChart::new(format!("measured {}", row.name), vec![bar]).horizontal().allow_hover(false));
                for line in error_bar([mid - spread, y], [mid + spread, y], [0.0, 0.07]) {
                    plot_ui.line(Line::new("", line).color(palette.text).width(1.5).allow_hover(false));
                }
            }
            if pair.measured.is_none() {
                let (words, color) = match &row.failure {
                    Some(_) => ("failed", palette.bad),
                    None => ("not measured", palette.muted),
                };
                let words = egui::RichText::new(words).size(12.0);
                let at = PlotPoint::new(x_max * 0.008, middle - BAR_OFFSET);
                plot_ui.text(Text::new("", at, words).anchor(Align2::LEFT_CENTER).color(color).allow_hover(false));
            }
            // An invisible point at the end of the longer bar takes the pointer for the whole level.
            let end = pair.measured.map(|(mid, _)| mid).or(pair.predicted.map(|band| band.mid));
            if let Some(end) = end {
                plot_ui.points(Points::new(row.name.clone(), vec![[end, middle]]).radius(0.5).color(look.color));
            }
        }
    });
}
