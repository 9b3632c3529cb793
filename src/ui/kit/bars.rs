//! Bars whose parts have names: progress, shares, stacked sizes.

use eframe::egui::{
    Align, Color32, CornerRadius, Layout, Rect, Response, RichText, Role, Sense, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::theme;

/// A bar filled to `fraction` (0 to 1) over the available width. `name` is its accessible name.
pub fn bar(ui: &mut Ui, name: &str, fraction: f32, color: Color32) -> Response {
    let width = ui.available_width();
    bar_sized(ui, name, fraction, color, vec2(width, 8.0))
}

/// A bar of a given size.
pub fn bar_sized(ui: &mut Ui, name: &str, fraction: f32, color: Color32, size: Vec2) -> Response {
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, ui.is_enabled(), name);
        info.value = Some(f64::from(fraction * 100.0).floor());
        info
    });
    let radius = CornerRadius::same(4);
    ui.painter().rect_filled(rect, radius, track(ui));
    if fraction > 0.0 {
        // Never thinner than the rounding, else a small part would look like nothing.
        let filled = Rect::from_min_size(rect.min, vec2((rect.width() * fraction).max(rect.height()), rect.height()));
        ui.painter().rect_filled(filled, radius, color);
    }
    response
}

/// A share of a stacked bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// What it is: `Q4_K`.
    pub label: String,
    /// Its size in any unit, the same for all segments.
    pub size: f64,
    /// The size as a text: `61.2 MiB`.
    pub size_text: String,
    /// Colour in bar and legend.
    pub color: Color32,
}

/// Shares of a whole, side by side, in the order given. `name` and all shares are its accessible name. Nothing for an empty whole.
pub fn stacked_bar(ui: &mut Ui, name: &str, segments: &[Segment], height: f32) {
    let total: f64 = segments.iter().map(|segment| segment.size).sum();
    if total <= 0.0 {
        return;
    }
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    response.widget_info(|| {
        let shares: Vec<String> =
            segments.iter().map(|segment| format!("{} {}", segment.label, share_text(segment.size / total))).collect();
        WidgetInfo::labeled(Role::Image, true, format!("{name}: {}", shares.join(", ")))
    });
    ui.painter().rect_filled(rect, CornerRadius::same(4), track(ui));
    let gap = 2.0;
    let mut left = rect.left();
    let mut hovered = None;
    for (idx, segment) in segments.iter().enumerate() {
        #[allow(clippy::cast_possible_truncation, reason = "a width in points")]
        let width = (f64::from(rect.width()) * segment.size / total) as f32;
        let right = (left + width).min(rect.right());
        let is_last = idx + 1 == segments.len();
        let visible_right = if is_last || width < gap * 2.0 { right } else { right - gap };
        let part = Rect::from_min_max(pos2(left, rect.top()), pos2(visible_right, rect.bottom()));
        let round = |is_edge: bool| if is_edge { 4 } else { 1 };
        let (west, east) = (round(idx == 0), round(is_last));
        ui.painter().rect_filled(part, CornerRadius { nw: west, sw: west, ne: east, se: east }, segment.color);
        if response.hover_pos().is_some_and(|pos| pos.x >= left && pos.x < right) {
            hovered = Some(segment);
        }
        left = right;
    }
    if let Some(segment) = hovered {
        response.on_hover_text(format!("{}: {}, {}", segment.label, segment.size_text, share_text(segment.size / total)));
    }
}

/// Colour, name, size and share of each segment, one per line, the numbers in columns.
pub fn legend(ui: &mut Ui, segments: &[Segment]) {
    const LINE_HEIGHT: f32 = 24.0;
    let total: f64 = segments.iter().map(|segment| segment.size).sum();
    let p = theme::palette(ui);
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for segment in segments {
            let line = vec2(ui.available_width(), LINE_HEIGHT);
            ui.allocate_ui_with_layout(line, Layout::left_to_right(Align::Center), |ui| {
                let (rect, _) = ui.allocate_exact_size(Vec2::splat(10.0), Sense::hover());
                ui.painter().rect_filled(rect, CornerRadius::same(2), segment.color);
                super::widgets::term_rich(ui, &segment.label, RichText::new(&segment.label).color(p.text));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let mut column = |width: f32, text: &str, color: Color32| {
                        ui.allocate_ui_with_layout(vec2(width, LINE_HEIGHT), Layout::right_to_left(Align::Center), |ui| {
                            ui.set_width(width);
                            ui.label(RichText::new(text).color(color));
                        });
                    };
                    if total > 0.0 {
                        column(72.0, &share_text(segment.size / total), p.muted);
                    }
                    column(96.0, &segment.size_text, p.text);
                });
            });
        }
    });
}

/// A share with one decimal, so that shares of one bar line up: `68.7 %`, `< 0.1 %`.
fn share_text(share: f64) -> String {
    if share > 0.0 && share < 0.001 { "< 0.1 %".into() } else { format!("{:.1} %", share * 100.0) }
}

/// A number at the right edge of its cell, so that units line up.
pub fn right_aligned(ui: &mut Ui, text: &str, color: Color32) {
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.label(RichText::new(text).color(color));
    });
}

/// The empty part of a bar: visible on cards of both variants.
fn track(ui: &Ui) -> Color32 {
    let p = theme::palette(ui);
    if ui.visuals().dark_mode { p.control_hovered } else { p.control_active }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shares_are_not_nothing() {
        let check = |share, expected: &str| assert_eq!(share_text(share), expected);
        check(0.0, "0.0 %");
        check(0.0002, "< 0.1 %");
        check(0.687, "68.7 %");
        check(1.0, "100.0 %");
    }
}
