//! What the pointer does in a plot: drag to zoom, double click to see all again, click to choose, hover to read. The wheel belongs to the page.

use eframe::egui::{self, Color32, CornerRadius, Id, Pos2, Rect, Response, Stroke, StrokeKind, Ui};
use egui_plot::PlotTransform;

use crate::deploy::{Axis, ChartKind};
use crate::ui::kit::theme;

/// The pointer means a point within this distance.
const REACH: f32 = 44.0;
/// A drag over fewer points is a shaky click.
const LEAST_DRAG: f32 = 8.0;

/// The part of a plot that is in view, as places on its axes.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Start and end on the horizontal axis.
    pub x: (f64, f64),
    /// Start and end on the vertical axis.
    pub y: (f64, f64),
}

/// A zoom, and the whole that it is a part of: once other data have changed the whole, the zoom no longer counts.
#[derive(Debug, Clone, PartialEq)]
struct Zoom {
    whole: View,
    part: View,
}

impl View {
    /// All of both axes.
    #[must_use]
    pub fn whole(x: &Axis, y: &Axis) -> Self {
        Self { x: x.ends(), y: y.ends() }
    }

    /// The part that the user has zoomed to, else the whole.
    pub fn of(ui: &Ui, plot: Id, whole: Self) -> Self {
        let zoom = ui.data(|data| data.get_temp::<Zoom>(plot)).filter(|zoom| zoom.whole == whole);
        zoom.map_or(whole, |zoom| zoom.part)
    }
}

/// The name under which a plot's zoom is kept.
pub fn plot_id(kind: ChartKind) -> Id {
    Id::unique(("plot", kind.title()))
}

/// True while a part of the plot is in view.
#[cfg(test)]
pub fn is_zoomed(ctx: &egui::Context, kind: ChartKind) -> bool {
    ctx.data(|data| data.get_temp::<Zoom>(plot_id(kind))).is_some()
}

/// What the pointer meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pointed {
    /// Index of the point nearest to the pointer, where one is in reach.
    pub hovered: Option<usize>,
    /// Index of the point that was clicked.
    pub clicked: Option<usize>,
}

/// Handles the pointer over a plot; `points` are the places of its points on the screen.
pub fn pointer_ui(ui: &Ui, plot: Id, response: &Response, transform: &PlotTransform, whole: &View, points: &[Pos2]) -> Pointed {
    zoom(ui, plot, response, transform, whole);
    let nearest = |at: Pos2| {
        let distances = points.iter().enumerate().filter(|(_, point)| transform.frame().contains(**point));
        let nearest = distances.map(|(idx, point)| (idx, point.distance(at))).min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.filter(|(_, distance)| *distance <= REACH).map(|(idx, _)| idx)
    };
    let hovered = response.hover_pos().filter(|_| !response.dragged()).and_then(nearest);
    let clicked = response.interact_pointer_pos().filter(|_| response.clicked()).and_then(nearest);
    if hovered.is_some() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
    }
    Pointed { hovered, clicked }
}

fn zoom(ui: &Ui, plot: Id, response: &Response, transform: &PlotTransform, whole: &View) {
    if response.double_clicked() {
        ui.data_mut(|data| data.remove::<Zoom>(plot));
        return;
    }
    let start_id = plot.with("drag");
    if response.drag_started()
        && let Some(at) = ui.input(|input| input.pointer.press_origin())
    {
        ui.data_mut(|data| data.insert_temp(start_id, at));
    }
    let Some(start) = ui.data(|data| data.get_temp::<Pos2>(start_id)) else { return };
    let frame = *transform.frame();
    let at = response.interact_pointer_pos().or(ui.input(|input| input.pointer.latest_pos()));
    let dragged = at.map(|at| Rect::from_two_pos(start, frame.clamp(at)));
    if response.dragged()
        && let Some(rect) = dragged
    {
        let color = theme::accent(ui);
        let fill: Color32 = color.gamma_multiply(0.12);
        ui.painter_at(frame).rect(rect, CornerRadius::ZERO, fill, Stroke::new(1.0, color), StrokeKind::Inside);
    }
    if response.drag_stopped() {
        ui.data_mut(|data| data.remove::<Pos2>(start_id));
        if let Some(rect) = dragged.filter(|rect| rect.width() > LEAST_DRAG && rect.height() > LEAST_DRAG) {
            let (from, to) = (transform.value_from_position(rect.left_bottom()), transform.value_from_position(rect.right_top()));
            let zoom = Zoom { whole: whole.clone(), part: View { x: (from.x, to.x), y: (from.y, to.y) } };
            ui.data_mut(|data| data.insert_temp(plot, zoom));
            ui.ctx().request_repaint();
        }
    }
}
