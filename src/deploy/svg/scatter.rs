//! Marks on two axes, with error bars, names and the Pareto front.

use super::super::chart::{Axis, Scatter};
use super::super::look::{LevelLook, legend_of, shortened};
use super::SvgStyle;
use super::canvas::{Area, Canvas, FONT_SIZE, Fill, MARGIN, Sign, look_color, text_width};
use super::labels::places;
use crate::advise::Interval;
use crate::model::{Framework, PrecisionClass};

/// Room for the numbers and the label of the horizontal axis.
pub(super) const AXIS_HEIGHT: f64 = 50.0;
/// About how many pixels lie between two numbers, on the horizontal and on the vertical axis.
const TICK_PIXELS: [f64; 2] = [84.0, 52.0];

/// Turns values into pixels.
struct Scales<'a> {
    x: &'a Axis,
    y: &'a Axis,
    area: Area,
}

impl Scales<'_> {
    fn x_at(&self, place: f64) -> f64 {
        self.area.left + part(self.x, place) * (self.area.right - self.area.left)
    }

    fn y_at(&self, place: f64) -> f64 {
        self.area.bottom - part(self.y, place) * (self.area.bottom - self.area.top)
    }

    /// Where a point is; what lies beyond an axis is put on its end.
    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        let at = [self.x_at(self.x.place(x)), self.y_at(self.y.place(y))];
        let finite = |value: f64, or: f64| if value.is_finite() { value } else { or };
        self.area.clamp([finite(at[0], self.area.left), finite(at[1], self.area.bottom)])
    }
}

/// How far along an axis a place is: 0 at the start, 1 at the end, beyond that outside.
pub(super) fn part(axis: &Axis, place: f64) -> f64 {
    let (start, end) = axis.ends();
    (place - start) / (end - start)
}

pub(super) fn scatter_svg(plot: &Scatter, style: &SvgStyle) -> String {
    let title = plot.kind.title();
    let mut canvas = Canvas::new(style);
    canvas.heading(title);
    canvas.legend(&legend(plot));
    let (top, bottom) = (canvas.top, style.height - AXIS_HEIGHT);
    let y_ticks = plot.y.ticks((bottom - top) / TICK_PIXELS[1]);
    let numbers = y_ticks.iter().map(|(_, text)| text_width(text)).fold(0.0, f64::max);
    let area = Area { left: MARGIN + FONT_SIZE + 14.0 + numbers, top, right: style.width - MARGIN, bottom };
    let scales = Scales { x: &plot.x, y: &plot.y, area };
    let x_ticks = plot.x.ticks((area.right - area.left) / TICK_PIXELS[0]);
    axes(&mut canvas, plot, &scales, &x_ticks, &y_ticks);
    let mut lines = front(&mut canvas, plot, &scales);
    for mark in &plot.marks {
        let color = look_color(mark.look, style);
        for (low, high) in bars_of(mark.x, mark.y, &scales) {
            canvas.error_bar(low, high, &color);
            lines.push(Area {
                left: low[0].min(high[0]) - 2.0,
                top: low[1].min(high[1]),
                right: low[0].max(high[0]) + 2.0,
                bottom: low[1].max(high[1]),
            });
        }
    }
    let points: Vec<([f64; 2], String)> =
        plot.marks.iter().map(|mark| (scales.at(mark.x.value, mark.y.value), shortened(&mark.name))).collect();
    let names = places(&points, &lines, area);
    for ((at, _), place) in points.iter().zip(&names) {
        if let Some(end) = place.leader {
            canvas.line(*at, end, style.muted, "stroke-width=\"0.8\"");
        }
    }
    for (mark, (at, _)) in plot.marks.iter().zip(&points) {
        let fill = if mark.is_measured { Fill::Solid } else { Fill::Hollow };
        canvas.mark(mark.look, fill, *at, &mark.details);
    }
    for ((_, name), place) in points.iter().zip(&names) {
        canvas.name(place.at, place.anchor, name);
    }
    let names: Vec<&str> = plot.marks.iter().map(|mark| mark.name.as_str()).collect();
    let description = format!("{} against {} of {}", plot.y.label, plot.x.label, names.join(", "));
    canvas.finish(title, &description, style.height)
}

fn legend(plot: &Scatter) -> Vec<(Sign, String)> {
    let looks: Vec<Option<LevelLook>> = plot.marks.iter().map(|mark| mark.look).collect();
    let mut items: Vec<(Sign, String)> =
        legend_of(&looks).into_iter().map(|(look, text)| (Sign::Mark(look, Fill::Solid), text.to_lowercase())).collect();
    if plot.marks.iter().any(|mark| !mark.is_measured) {
        let look = LevelLook { framework: Framework::LlamaCpp, class: PrecisionClass::Medium };
        items.push((Sign::Mark(Some(look), Fill::Hollow), "hollow: predicted".into()));
    }
    items.push((Sign::ErrorBar, plot.bar_meaning.into()));
    if plot.front.len() > 1 {
        items.push((Sign::Dashes, "Pareto front".into()));
    }
    items
}

fn axes(canvas: &mut Canvas, plot: &Scatter, scales: &Scales, x_ticks: &[(f64, String)], y_ticks: &[(f64, String)]) {
    let Area { left, top, right, bottom } = scales.area;
    let (grid, muted) = (canvas.style.grid, canvas.style.muted);
    let mut free_from = f64::NEG_INFINITY;
    for (place, text) in x_ticks {
        let x = scales.x_at(*place);
        canvas.line([x, top], [x, bottom], grid, "");
        let half = text_width(text) / 2.0;
        if x - half >= free_from && x + half <= canvas.style.width {
            canvas.text([x, bottom + 17.0], "middle", muted, text);
            free_from = x + half + 6.0;
        }
    }
    let mut free_below = f64::INFINITY;
    for (place, text) in y_ticks {
        let y = scales.y_at(*place);
        canvas.line([left, y], [right, y], grid, "");
        if y <= free_below {
            canvas.text([left - 8.0, y + 4.0], "end", muted, text);
            free_below = y - FONT_SIZE - 4.0;
        }
    }
    canvas.frame(scales.area);
    canvas.text([f64::midpoint(left, right), bottom + 40.0], "middle", muted, &plot.x.label);
    canvas.text_upwards([MARGIN + 8.0, f64::midpoint(top, bottom)], muted, &plot.y.label);
}

/// Draws the front as steps: between two marks nothing better is known. Returns the room it takes.
fn front(canvas: &mut Canvas, plot: &Scatter, scales: &Scales) -> Vec<Area> {
    let points: Vec<[f64; 2]> = plot.front.iter().map(|&[x, y]| scales.at(x, y)).collect();
    if points.len() < 2 {
        return Vec::new();
    }
    let mut steps: Vec<[f64; 2]> = Vec::new();
    for point in points {
        if let Some(before) = steps.last().copied() {
            steps.push([point[0], before[1]]);
        }
        steps.push(point);
    }
    let color = canvas.style.front;
    canvas.path(&steps, color, "stroke-width=\"1.5\" stroke-dasharray=\"5 4\"");
    let area = |(a, b): (&[f64; 2], &[f64; 2])| Area {
        left: a[0].min(b[0]) - 1.0,
        top: a[1].min(b[1]) - 1.0,
        right: a[0].max(b[0]) + 1.0,
        bottom: a[1].max(b[1]) + 1.0,
    };
    steps.iter().zip(steps.iter().skip(1)).map(area).collect()
}

/// The ends of the horizontal and the vertical error bar.
fn bars_of(x: Interval, y: Interval, scales: &Scales) -> [([f64; 2], [f64; 2]); 2] {
    [(scales.at(x.low, y.value), scales.at(x.high, y.value)), (scales.at(x.value, y.low), scales.at(x.value, y.high))]
}
