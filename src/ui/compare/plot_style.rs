//! What all plots share: markers, axes, error bars, labels, legends.

use eframe::egui::{self, Align2, Color32, FontId, Rect, Stroke, Ui, Vec2, vec2};
use egui_plot::{AxisHints, MarkerShape, Plot, PlotPoint, PlotTransform};

use crate::deploy::{LevelLook, legend_of};
use crate::model::Framework;
use crate::ui::kit::theme::{self, Palette};

/// Half the width of a marker.
pub const MARKER_RADIUS: f32 = 6.0;

/// Colour and shape of a row: by precision class and by framework, with a look of its own for the source.
pub struct Look {
    /// Colour of the marker with its error bars, or of the bar.
    pub color: Color32,
    /// Shape of the marker.
    pub shape: MarkerShape,
}

impl Look {
    /// The look of a row of this level; `None` stands for a source that is no level.
    #[must_use]
    pub fn of(look: Option<LevelLook>, palette: &Palette) -> Self {
        let shape = match look.map(|look| look.framework) {
            None => MarkerShape::Asterisk,
            Some(Framework::LlamaCpp) => MarkerShape::Circle,
            Some(Framework::Mlx) => MarkerShape::Square,
            Some(Framework::OnnxRuntime) => MarkerShape::Diamond,
            Some(Framework::OpenVino | Framework::Qnn) => MarkerShape::Up,
        };
        Self { color: look.map_or(palette.text, |look| theme::class_color(look.class)), shape }
    }
}

/// Three lines: the bar itself and a cap at each end, `cap` to both sides. No line where low and high are the same.
pub fn error_bar(low: [f64; 2], high: [f64; 2], cap: [f64; 2]) -> Vec<Vec<[f64; 2]>> {
    if low[0] >= high[0] && low[1] >= high[1] {
        return Vec::new();
    }
    let cap_at = |end: [f64; 2]| vec![[end[0] - cap[0], end[1] - cap[1]], [end[0] + cap[0], end[1] + cap[1]]];
    vec![vec![low, high], cap_at(low), cap_at(high)]
}

/// A plot that shows its data and nothing else, and lets the page scroll.
pub fn base_plot<'a>(id: &str, palette: &Palette) -> Plot<'a> {
    // The page scrolls: a plot that took the wheel would trap the user. `plot_pointer` handles drags.
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

/// The horizontal axis.
pub fn axis_x<'a>(palette: &Palette, label: &str) -> AxisHints<'a> {
    axis(AxisHints::new_x(), palette, label)
}

/// The vertical axis.
pub fn axis_y<'a>(palette: &Palette, label: &str) -> AxisHints<'a> {
    axis(AxisHints::new_y(), palette, label)
}

/// Labels at full strength: the stock fading makes minor ones unreadable on dark.
fn axis<'a>(hints: AxisHints<'a>, palette: &Palette, label: &str) -> AxisHints<'a> {
    hints.label(label).tick_label_color(palette.muted).tick_label_font(FontId::proportional(12.0)).label_spacing(1.0..=2.0)
}

/// A name that fits beside an axis.
pub fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 22;
    if name.chars().count() <= MAX_CHARS {
        return name.to_string();
    }
    let head: String = name.chars().take(MAX_CHARS - 1).collect();
    format!("{head}…")
}

/// Writes each name beside its marker, at the first place that is inside the plot and covers neither marker, error bar nor
/// name; to the right of the marker where no place is free.
pub fn marker_labels<'a>(
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
            (Align2::RIGHT_BOTTOM, vec2(-gap, -gap)),
            (Align2::RIGHT_TOP, vec2(-gap, gap)),
        ];
        let rects = places.map(|(anchor, offset)| anchor.anchor_size(*at + offset, galley.size()));
        let is_free = |rect: &Rect| frame.contains_rect(*rect) && !taken.iter().any(|other| other.intersects(*rect));
        let rect = rects.iter().copied().find(is_free).unwrap_or(rects[0]);
        taken.push(rect);
        painter.galley(rect.min, galley, palette.text);
    }
}

/// The looks that occur, each with its marker, and a note: above the plot, where it covers nothing.
pub fn look_legend_ui(ui: &mut Ui, palette: &Palette, looks: &[Option<LevelLook>], note: &str) {
    ui.horizontal_wrapped(|ui| {
        for (look, text) in legend_of(looks) {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(12.0), egui::Sense::hover());
            paint_marker(ui, rect.center(), &Look::of(look, palette));
            ui.label(egui::RichText::new(text).small());
            ui.add_space(10.0);
        }
        ui.label(egui::RichText::new(note).small().color(palette.muted));
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

/// What hollow and solid bars mean.
pub fn pair_legend_ui(ui: &mut Ui, palette: &Palette, measured: &str, predicted: &str) {
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
    fn a_value_without_spread_gets_no_error_bar() {
        assert!(error_bar([3.0, 1.0], [3.0, 1.0], [0.0, 0.1]).is_empty());
        assert_eq!(error_bar([3.0, 1.0], [5.0, 1.0], [0.0, 0.1])[2], [[5.0, 0.9], [5.0, 1.1]]);
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shortened("Q4_K_M"), "Q4_K_M");
        assert_eq!(shortened("SmolLM2-135M-Instruct.Q4_1.gguf"), "SmolLM2-135M-Instruct…");
    }
}
