//! Icons drawn with lines, so that they are sharp at every zoom and need no icon font.

use eframe::egui::{self, Color32, CornerRadius, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, pos2};

use crate::state::Page;

/// A drawing on a grid of 24 × 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// Three layers of a model.
    Model,
    /// A chip.
    Machine,
    /// A branching path.
    Plan,
    /// A hammer.
    Optimize,
    /// Bars of a chart.
    Compare,
    /// An arrow into a tray.
    Drop,
    /// A tick.
    Check,
    /// A triangle with an exclamation mark.
    Warning,
    /// A cross in a circle.
    Error,
    /// A circle with an i.
    Info,
    /// A dash.
    Dash,
    /// A clock that runs backwards.
    History,
}

impl From<Page> for Icon {
    fn from(page: Page) -> Self {
        match page {
            Page::Model => Self::Model,
            Page::Machine => Self::Machine,
            Page::Plan => Self::Plan,
            Page::Optimize => Self::Optimize,
            Page::Compare => Self::Compare,
        }
    }
}

/// Draws `icon` into the largest square in the middle of `rect`.
#[allow(clippy::too_many_lines, reason = "one line for each icon")]
pub fn paint(painter: &Painter, rect: Rect, icon: Icon, color: Color32) {
    let side = rect.width().min(rect.height());
    let square = Rect::from_center_size(rect.center(), egui::Vec2::splat(side));
    let scale = side / 24.0;
    let at = |x: f32, y: f32| -> Pos2 { pos2(square.left() + x * scale, square.top() + y * scale) };
    let stroke = Stroke::new((1.75 * scale).max(1.25), color);
    let line = |points: &[(f32, f32)]| {
        painter.line(points.iter().map(|&(x, y)| at(x, y)).collect(), stroke);
    };
    let closed = |points: &[(f32, f32)]| {
        painter.add(Shape::closed_line(points.iter().map(|&(x, y)| at(x, y)).collect(), stroke));
    };
    let boxed = |x0: f32, y0: f32, x1: f32, y1: f32| {
        let rect = Rect::from_min_max(at(x0, y0), at(x1, y1));
        painter.rect_stroke(rect, CornerRadius::same(1), stroke, StrokeKind::Middle);
    };
    let filled = |x0: f32, y0: f32, x1: f32, y1: f32| {
        painter.rect_filled(Rect::from_min_max(at(x0, y0), at(x1, y1)), CornerRadius::same(1), color);
    };
    match icon {
        Icon::Model => {
            closed(&[(12.0, 3.0), (21.0, 8.0), (12.0, 13.0), (3.0, 8.0)]);
            line(&[(3.0, 12.5), (12.0, 17.5), (21.0, 12.5)]);
            line(&[(3.0, 17.0), (12.0, 22.0), (21.0, 17.0)]);
        }
        Icon::Machine => {
            boxed(6.0, 6.0, 18.0, 18.0);
            boxed(10.0, 10.0, 14.0, 14.0);
            for step in [9.0, 15.0] {
                line(&[(step, 2.5), (step, 6.0)]);
                line(&[(step, 18.0), (step, 21.5)]);
                line(&[(2.5, step), (6.0, step)]);
                line(&[(18.0, step), (21.5, step)]);
            }
        }
        Icon::Plan => {
            painter.circle_stroke(at(12.0, 5.0), 2.5 * scale, stroke);
            painter.circle_stroke(at(5.0, 19.0), 2.5 * scale, stroke);
            painter.circle_filled(at(19.0, 19.0), 3.0 * scale, color);
            line(&[(12.0, 7.5), (12.0, 12.0), (5.0, 12.0), (5.0, 16.5)]);
            line(&[(12.0, 12.0), (19.0, 12.0), (19.0, 16.5)]);
        }
        Icon::Optimize => {
            closed(&[(5.0, 8.5), (10.0, 3.5), (19.0, 8.0), (16.0, 11.0), (13.0, 9.8), (10.5, 12.3)]);
            line(&[(11.6, 11.2), (20.5, 20.5)]);
            line(&[(3.0, 21.0), (13.0, 21.0)]);
        }
        Icon::Compare => {
            line(&[(3.0, 3.0), (3.0, 21.0), (21.5, 21.0)]);
            filled(6.5, 13.0, 9.5, 18.5);
            filled(11.5, 8.0, 14.5, 18.5);
            filled(16.5, 4.0, 19.5, 18.5);
        }
        Icon::Drop => {
            line(&[(12.0, 3.0), (12.0, 14.5)]);
            line(&[(7.0, 10.0), (12.0, 15.0), (17.0, 10.0)]);
            line(&[(3.0, 15.0), (3.0, 20.5), (21.0, 20.5), (21.0, 15.0)]);
        }
        Icon::Check => line(&[(5.0, 12.5), (10.0, 17.5), (19.5, 7.0)]),
        Icon::Warning => {
            closed(&[(12.0, 3.5), (22.0, 20.5), (2.0, 20.5)]);
            line(&[(12.0, 9.5), (12.0, 14.5)]);
            painter.circle_filled(at(12.0, 17.4), 1.2 * scale, color);
        }
        Icon::Error => {
            painter.circle_stroke(at(12.0, 12.0), 9.5 * scale, stroke);
            line(&[(8.5, 8.5), (15.5, 15.5)]);
            line(&[(15.5, 8.5), (8.5, 15.5)]);
        }
        Icon::Info => {
            painter.circle_stroke(at(12.0, 12.0), 9.5 * scale, stroke);
            line(&[(12.0, 11.0), (12.0, 17.0)]);
            painter.circle_filled(at(12.0, 7.6), 1.3 * scale, color);
        }
        Icon::Dash => line(&[(6.0, 12.0), (18.0, 12.0)]),
        Icon::History => {
            // From the left over the bottom and the right to the upper left, where the arrow is.
            let arc = (0..=30_u8).map(|step| {
                let angle = (205.0 - 31.0 / 3.0 * f32::from(step)).to_radians();
                at(12.5 + 8.5 * angle.cos(), 12.0 + 8.5 * angle.sin())
            });
            painter.line(arc.collect(), stroke);
            line(&[(3.2, 4.0), (4.2, 8.8), (9.0, 8.0)]);
            line(&[(12.5, 7.5), (12.5, 12.5), (16.0, 14.5)]);
        }
    }
}
