//! The pictures of the Compare page, drawn from the rows that its table shows.
//!
//! Measured values are solid, predicted ones hollow. Every plot starts at zero and names its axes with units.

use std::ops::RangeInclusive;

use eframe::egui::{self, Align2, Color32, FontId, Rect, Stroke, Ui, Vec2, vec2};
use egui_plot::{
    AxisHints, Bar, BarChart, GridInput, GridMark, HoverPosition, Line, MarkerShape, Plot, PlotBounds, PlotPoint, PlotTransform,
    Points, Text,
};

use super::theme::{self, Palette};
use crate::advise::Band;
use crate::bench::{ComparisonRow, Stat};
use crate::model::PrecisionClass;
use crate::units::{count_text, significant_text};

const MARKER_RADIUS: f32 = 6.0;
const PLOT_HEIGHT: f32 = 340.0;
/// Height of one level in a bar plot.
const BAR_ROW_HEIGHT: f32 = 44.0;
/// Thickness of one bar as a part of its level's height.
const BAR_THICKNESS: f64 = 0.34;
/// Between the middle of a level and the middle of its bars.
const BAR_OFFSET: f64 = 0.19;

/// A quantity with what was predicted and what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pair {
    /// The prediction; low and high are the same where there is no band.
    pub predicted: Option<Band>,
    /// Median and spread of the measurements.
    pub measured: Option<(f64, f64)>,
}

impl Pair {
    /// Measured divided by predicted; `None` unless both are known.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        let predicted = self.predicted?.mid;
        let (measured, _) = self.measured?;
        (predicted > 0.0).then(|| measured / predicted)
    }

    fn highest(self) -> f64 {
        let predicted = self.predicted.map_or(0.0, |band| band.high);
        self.measured.map_or(predicted, |(mid, spread)| predicted.max(mid + spread))
    }
}

/// Median and spread of a measured quantity; `None` without values.
#[must_use]
pub fn measured(stat: &Stat) -> Option<(f64, f64)> {
    (!stat.values.is_empty()).then(|| (stat.median(), stat.spread()))
}

/// Decode speed of a row in tokens per second.
#[must_use]
pub fn decode_pair(row: &ComparisonRow) -> Pair {
    Pair {
        predicted: row.predicted_decode_tokens_per_sec,
        measured: row.run.as_ref().and_then(|run| measured(&run.decode_tokens_per_sec)),
    }
}

/// Prefill speed of a row in tokens per second.
#[must_use]
pub fn prefill_pair(row: &ComparisonRow) -> Pair {
    Pair {
        predicted: row.predicted_prefill_tokens_per_sec,
        measured: row.run.as_ref().and_then(|run| measured(&run.prefill_tokens_per_sec)),
    }
}

/// Memory of a row in bytes. The peak over all rounds is one number, so it has no spread.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn memory_pair(row: &ComparisonRow) -> Pair {
    Pair {
        predicted: row.predicted_memory_bytes.map(|size_bytes| {
            let mid = size_bytes as f64;
            Band { low: mid, mid, high: mid }
        }),
        measured: row.run.as_ref().map(|run| (run.peak_memory_bytes as f64, 0.0)),
    }
}

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
        Some(response.transform.rect_from_values(&PlotPoint::new(size / unit_bytes, low), &PlotPoint::new(size / unit_bytes, high)))
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
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a handful of rows")]
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

/// Colour and shape of a row: by precision class, the source apart.
struct Look {
    color: Color32,
    shape: MarkerShape,
}

impl Look {
    fn of(row: &ComparisonRow, palette: &Palette) -> Self {
        Self::of_class(row.level.map(crate::model::Level::class), palette)
    }

    fn of_class(class: Option<PrecisionClass>, palette: &Palette) -> Self {
        let shape = match class {
            None => MarkerShape::Asterisk,
            Some(PrecisionClass::Full) => MarkerShape::Diamond,
            Some(PrecisionClass::Medium) => MarkerShape::Circle,
            Some(PrecisionClass::Low) => MarkerShape::Square,
            Some(PrecisionClass::UltraLow) => MarkerShape::Up,
        };
        Self { color: class.map_or(palette.text, |class| theme::class_color(class)), shape }
    }
}

/// Three lines: the bar itself and a cap at each end, `cap` to both sides.
fn error_bar(low: [f64; 2], high: [f64; 2], cap: [f64; 2]) -> [Vec<[f64; 2]>; 3] {
    let cap_at = |end: [f64; 2]| vec![[end[0] - cap[0], end[1] - cap[1]], [end[0] + cap[0], end[1] + cap[1]]];
    [vec![low, high], cap_at(low), cap_at(high)]
}

fn base_plot<'a>(id: &str, palette: &Palette) -> Plot<'a> {
    // The page scrolls: a plot that took the wheel or the drag would trap the user. Its bounds are those of the data.
    Plot::new(id.to_string())
        .allow_zoom(false)
        .allow_drag(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_axis_zoom_drag(false)
        .allow_double_click_reset(false)
        .show_crosshair(false)
        .grid_color(palette.control_line)
        .grid_fade(0.2)
        .set_margin_fraction(Vec2::ZERO)
}

fn axis_x<'a>(palette: &Palette, label: &str) -> AxisHints<'a> {
    axis(AxisHints::new_x(), palette, label)
}

fn axis_y<'a>(palette: &Palette, label: &str) -> AxisHints<'a> {
    axis(AxisHints::new_y(), palette, label)
}

/// Labels at full strength: the stock fading makes minor ones unreadable on dark.
fn axis<'a>(hints: AxisHints<'a>, palette: &Palette, label: &str) -> AxisHints<'a> {
    hints
        .label(label)
        .formatter(|mark, _| tick_text(mark.value, mark.step_size))
        .tick_label_color(palette.muted)
        .tick_label_font(FontId::proportional(12.0))
        .label_spacing(1.0..=2.0)
}

/// A tick value with as many decimals as its step needs.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
fn tick_text(value: f64, step: f64) -> String {
    if step >= 1.0 {
        return count_text(value.round().max(0.0) as u64);
    }
    let n_decimals = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
    format!("{value:.n_decimals$}")
}

/// Marks at multiples of 1, 2 or 5 times a power of ten, about eight of them.
fn nice_marks(input: GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return Vec::new();
    }
    let step = nice_step(span / 8.5);
    let mut marks = Vec::new();
    let mut value = (low / step).ceil() * step;
    while value <= high && marks.len() < 50 {
        marks.push(GridMark { value, step_size: step });
        value += step;
    }
    marks
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `at_least`.
fn nice_step(at_least: f64) -> f64 {
    let magnitude = 10_f64.powf(at_least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * magnitude >= at_least * 0.999_999).unwrap_or(10.0);
    factor * magnitude
}

fn bytes_unit(highest: f64) -> (f64, &'static str) {
    const MIB: f64 = 1_048_576.0;
    if highest >= 1024.0 * MIB { (1024.0 * MIB, "GiB") } else { (MIB, "MiB") }
}

fn pair_scaled(pair: Pair, scale: f64) -> Pair {
    Pair {
        predicted: pair.predicted.map(|band| Band { low: band.low / scale, mid: band.mid / scale, high: band.high / scale }),
        measured: pair.measured.map(|(mid, spread)| (mid / scale, spread / scale)),
    }
}

fn pair_text(pair: Pair, unit: &str) -> String {
    let mut lines = Vec::new();
    if let Some((mid, spread)) = pair.measured {
        let spread = if spread > 0.0 { format!(" ± {}", significant_text(spread)) } else { String::new() };
        lines.push(format!("measured {}{spread} {unit}", significant_text(mid)));
    }
    if let Some(band) = pair.predicted {
        let range = if band.low < band.high {
            format!(" ({}–{})", significant_text(band.low), significant_text(band.high))
        } else {
            String::new()
        };
        lines.push(format!("predicted {}{range} {unit}", significant_text(band.mid)));
    }
    lines.join("\n")
}

fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 22;
    if name.chars().count() <= MAX_CHARS {
        return name.to_string();
    }
    let head: String = name.chars().take(MAX_CHARS - 1).collect();
    format!("{head}…")
}

/// Writes each name beside its marker, at the first place that is inside the plot and covers neither marker, error bar nor name.
fn marker_labels<'a>(
    ui: &Ui,
    palette: &Palette,
    transform: &PlotTransform,
    markers: impl Iterator<Item = (&'a str, PlotPoint)>,
    mut taken: Vec<Rect>,
) {
    let markers: Vec<(String, egui::Pos2)> =
        markers.map(|(name, point)| (shortened(name), transform.position_from_point(&point))).collect();
    let frame = *transform.frame();
    let painter = ui.painter_at(frame);
    taken.extend(markers.iter().map(|(_, at)| Rect::from_center_size(*at, Vec2::splat(2.0 * MARKER_RADIUS))));
    for (name, at) in &markers {
        let galley = painter.layout_no_wrap(name.clone(), FontId::proportional(12.5), palette.text);
        let gap = MARKER_RADIUS + 4.0;
        let places = [
            (Align2::LEFT_CENTER, vec2(gap, 0.0)),
            (Align2::RIGHT_CENTER, vec2(-gap, 0.0)),
            (Align2::CENTER_BOTTOM, vec2(0.0, -gap)),
            (Align2::CENTER_TOP, vec2(0.0, gap)),
            (Align2::LEFT_BOTTOM, vec2(gap, -gap)),
            (Align2::LEFT_TOP, vec2(gap, gap)),
        ];
        let rects = places.map(|(anchor, offset)| anchor.anchor_size(*at + offset, galley.size()));
        let is_free = |rect: &Rect| frame.contains_rect(*rect) && !taken.iter().any(|other| other.intersects(*rect));
        let rect = rects.iter().copied().find(is_free).unwrap_or(rects[0]);
        taken.push(rect);
        painter.galley(rect.min, galley, palette.text);
    }
}

/// The classes that occur, each with its marker: above the plot, where it covers nothing.
fn class_legend_ui(ui: &mut Ui, palette: &Palette, rows: &[ComparisonRow]) {
    ui.horizontal_wrapped(|ui| {
        for class in PrecisionClass::ALL.map(Some).into_iter().chain([None]) {
            if rows.iter().any(|row| row.level.map(crate::model::Level::class) == class) {
                let look = Look::of_class(class, palette);
                let (rect, _) = ui.allocate_exact_size(Vec2::splat(12.0), egui::Sense::hover());
                paint_marker(ui, rect.center(), &look);
                ui.label(egui::RichText::new(class.map_or("Source", PrecisionClass::label)).small());
                ui.add_space(10.0);
            }
        }
        ui.label(egui::RichText::new("Solid: measured, bar: spread of the rounds. Hollow: predicted, not yet measured.").small().color(palette.muted));
    });
}

fn paint_marker(ui: &Ui, at: egui::Pos2, look: &Look) {
    let radius = 5.0;
    let painter = ui.painter();
    let polygon = |points: &[(f32, f32)]| {
        let points = points.iter().map(|&(x, y)| at + radius * vec2(x, y)).collect();
        painter.add(egui::Shape::convex_polygon(points, look.color, Stroke::NONE));
    };
    match look.shape {
        MarkerShape::Diamond => polygon(&[(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]),
        MarkerShape::Square => polygon(&[(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]),
        MarkerShape::Up => polygon(&[(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7)]),
        MarkerShape::Asterisk => {
            for (x, y) in [(0.0, 1.0), (0.87, 0.5), (0.87, -0.5)] {
                let arm = radius * vec2(x, y);
                painter.line_segment([at - arm, at + arm], Stroke::new(1.5, look.color));
            }
        }
        _ => {
            painter.circle_filled(at, radius, look.color);
        }
    }
}

fn pair_legend_ui(ui: &mut Ui, palette: &Palette, measured: &str, predicted: &str) {
    ui.horizontal_wrapped(|ui| {
        let color = palette.text_secondary;
        for (text, is_solid) in [(predicted, false), (measured, true)] {
            let (rect, _) = ui.allocate_exact_size(vec2(22.0, 10.0), egui::Sense::hover());
            let fill = if is_solid { color } else { color.gamma_multiply(0.10) };
            ui.painter().rect(rect, 1.0, fill, Stroke::new(1.5, color), egui::StrokeKind::Inside);
            ui.label(egui::RichText::new(text).small());
            ui.add_space(10.0);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_or_five() {
        let check = |at_least: f64, expected: f64| {
            let step = nice_step(at_least);
            assert!((step - expected).abs() < expected * 1e-9, "{at_least}: {step}");
        };
        check(0.7, 1.0);
        check(1.0, 1.0);
        check(1.1, 2.0);
        check(3.0, 5.0);
        check(6.0, 10.0);
        check(0.013, 0.02);
        check(4200.0, 5000.0);
    }

    #[test]
    fn ticks_have_the_decimals_of_their_step() {
        assert_eq!(tick_text(1500.0, 500.0), "1,500");
        assert_eq!(tick_text(0.4, 0.2), "0.4");
        assert_eq!(tick_text(0.05, 0.05), "0.05");
        assert_eq!(tick_text(0.0, 0.2), "0.0");
    }

    #[test]
    fn ratio_needs_both_numbers() {
        let band = Band { low: 30.0, mid: 40.0, high: 50.0 };
        let ratio = |predicted, measured| Pair { predicted, measured }.ratio();
        assert_eq!(ratio(Some(band), Some((50.0, 1.0))), Some(1.25));
        assert_eq!(ratio(None, Some((50.0, 1.0))), None);
        assert_eq!(ratio(Some(band), None), None);
        assert_eq!(ratio(Some(Band { low: 0.0, mid: 0.0, high: 0.0 }), Some((50.0, 1.0))), None);
    }

    #[test]
    fn the_axis_holds_bands_and_spreads() {
        let band = Band { low: 30.0, mid: 40.0, high: 50.0 };
        let check = |measured, expected: f64| {
            let highest = Pair { predicted: Some(band), measured }.highest();
            assert!((highest - expected).abs() < 1e-9, "{highest}");
        };
        check(None, 50.0);
        check(Some((45.0, 2.0)), 50.0);
        check(Some((60.0, 2.0)), 62.0);
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shortened("Q4_K_M"), "Q4_K_M");
        assert_eq!(shortened("SmolLM2-135M-Instruct.Q4_1.gguf"), "SmolLM2-135M-Instruct…");
    }
}
