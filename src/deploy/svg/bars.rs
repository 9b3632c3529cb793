//! One pair of bars for each row: the prediction with its band above the measurement with its spread.

use super::super::chart::{BarRow, Bars};
use super::super::look::shortened;
use super::SvgStyle;
use super::canvas::{Area, Canvas, Fill, MARGIN, Sign, look_color, text_width};
use super::scatter::{AXIS_HEIGHT, part};
use crate::bench::rows::pair::measured_text;
use crate::units::significant_text;

const BAR_HEIGHT: f64 = 12.0;
/// From one row to the next.
const ROW_HEIGHT: f64 = 44.0;
/// Right of the plot, for numbers at the ends of long bars.
const NUMBER_ROOM: f64 = 48.0;

pub(super) fn bars_svg(plot: &Bars, style: &SvgStyle) -> String {
    let title = plot.kind.title();
    let mut canvas = Canvas::new(style);
    canvas.heading(title);
    let mut legend = vec![(Sign::Bar(Fill::Solid), plot.measured_meaning.to_string())];
    if plot.rows.iter().any(|row| row.pair.predicted.is_some()) {
        legend.push((Sign::Bar(Fill::Hollow), plot.predicted_meaning.to_string()));
    }
    canvas.legend(&legend);
    let names: Vec<String> = plot.rows.iter().map(|row| shortened(&row.name)).collect();
    let widest = names.iter().map(|name| text_width(name)).fold(0.0, f64::max);
    let top = canvas.top;
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let bottom = top + ROW_HEIGHT * plot.rows.len() as f64;
    let area = Area { left: MARGIN + widest + 10.0, top, right: style.width - MARGIN - NUMBER_ROOM, bottom };
    let x_at = |value: f64| {
        let part = part(&plot.x, plot.x.place(value));
        area.left + if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 } * (area.right - area.left)
    };
    let mut free_from = f64::NEG_INFINITY;
    for (place, text) in plot.x.ticks((area.right - area.left) / 84.0) {
        let x = area.left + part(&plot.x, place) * (area.right - area.left);
        canvas.line([x, top], [x, bottom], style.grid, "");
        let half = text_width(&text) / 2.0;
        if x - half >= free_from {
            canvas.text([x, bottom + 17.0], "middle", style.muted, &text);
            free_from = x + half + 6.0;
        }
    }
    canvas.frame(area);
    canvas.text([f64::midpoint(area.left, area.right), bottom + 40.0], "middle", style.muted, &plot.x.label);
    let mut row_top = top;
    for (row, name) in plot.rows.iter().zip(&names) {
        canvas.name([area.left - 10.0, row_top + ROW_HEIGHT / 2.0 + 4.0], "end", name);
        row_bars(&mut canvas, row, row_top, area.left, &x_at);
        row_top += ROW_HEIGHT;
    }
    let description = format!("{} of {}, measured and predicted", plot.x.label, names.join(", "));
    canvas.finish(title, &description, bottom + AXIS_HEIGHT)
}

fn row_bars(canvas: &mut Canvas, row: &BarRow, top: f64, left: f64, x_at: &dyn Fn(f64) -> f64) {
    let color = look_color(row.look, canvas.style);
    let (muted, ink) = (canvas.style.muted, canvas.style.text);
    let first = top + ROW_HEIGHT / 2.0 - BAR_HEIGHT - 2.0;
    let second = top + ROW_HEIGHT / 2.0 + 2.0;
    let number = |canvas: &mut Canvas, end: f64, bar_top: f64, fill: &str, text: &str| {
        canvas.note([end + 8.0, bar_top + BAR_HEIGHT - 2.0], "start", fill, text);
    };
    if let Some(band) = row.pair.predicted {
        let area = Area { left, top: first, right: x_at(band.mid), bottom: first + BAR_HEIGHT };
        canvas.bar(area, &color, Fill::Hollow, &row.details);
        let middle = first + BAR_HEIGHT / 2.0;
        canvas.error_bar([x_at(band.low), middle], [x_at(band.high), middle], &color);
        number(canvas, x_at(band.high.max(band.mid)), first, muted, &significant_text(band.mid));
    }
    match (row.pair.measured, row.missing) {
        (Some((value, spread)), _) => {
            let area = Area { left, top: second, right: x_at(value), bottom: second + BAR_HEIGHT };
            canvas.bar(area, &color, Fill::Solid, &row.details);
            let middle = second + BAR_HEIGHT / 2.0;
            canvas.error_bar([x_at(value - spread), middle], [x_at(value + spread), middle], ink);
            let text = if spread > 0.0 { measured_text(value, spread) } else { significant_text(value) };
            number(canvas, x_at(value + spread), second, ink, &text);
        }
        (None, Some(missing)) => number(canvas, left, second, muted, missing),
        (None, None) => {}
    }
}
