//! A plot as SVG: a picture that needs no program, for the report and for export.
//!
//! ```text
//! canvas    lines, texts, marks; text is escaped here
//! scatter   marks on two axes
//! bars      prediction above measurement, one pair for each row
//! labels    places for names beside marks
//! ```

mod bars;
mod canvas;
mod labels;
mod scatter;
#[cfg(test)]
mod tests;

use super::chart::Chart;
use canvas::Canvas;

/// Size and colours of a picture. Colours are CSS: `#1A2027`, or `var(--text)` inside a page that defines it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SvgStyle {
    /// Width in pixels.
    pub width: f64,
    /// Height of a plot with two axes, in pixels; a plot of bars is as high as its rows need.
    pub height: f64,
    /// Names and the title.
    pub text: &'static str,
    /// Axes, their numbers, the legend.
    pub muted: &'static str,
    /// Lines behind the data.
    pub grid: &'static str,
    /// The border of the plot.
    pub frame: &'static str,
    /// Behind everything; also around names, so that lines do not cross them.
    pub ground: &'static str,
    /// The Pareto front.
    pub front: &'static str,
    /// Whether the picture shows its own title: on a page, a heading stands above it.
    pub heading: Heading,
}

/// Where the title stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// In the picture.
    Inside,
    /// Outside it; the picture has the title only for people who cannot see it.
    Outside,
}

impl SvgStyle {
    /// Colours on white.
    pub const LIGHT: Self = Self {
        width: 760.0,
        height: 460.0,
        text: "#1A2027",
        muted: "#5A6572",
        grid: "#E6EAEE",
        frame: "#C3CAD3",
        ground: "#FFFFFF",
        front: "#A34F1C",
        heading: Heading::Inside,
    };
    /// Colours on the window's dark ground.
    pub const DARK: Self = Self {
        text: "#E8EBEF",
        muted: "#939DAA",
        grid: "#2B313A",
        frame: "#3B434E",
        ground: "#1B1F25",
        front: "#E39664",
        ..Self::LIGHT
    };
    /// The colours of the page that the picture stands in.
    pub const PAGE: Self = Self {
        text: "var(--text)",
        muted: "var(--muted)",
        grid: "var(--grid)",
        frame: "var(--edge)",
        ground: "var(--card)",
        front: "var(--accent)",
        heading: Heading::Outside,
        ..Self::LIGHT
    };
}

/// The plot as one SVG element.
///
/// The shape of a mark tells its framework, the colour its precision class; a solid mark is measured, a hollow one predicted. A
/// plot without marks or rows says that nothing is measured.
#[must_use]
pub fn chart_svg(chart: &Chart, style: &SvgStyle) -> String {
    match chart {
        Chart::Scatter(plot) if plot.marks.is_empty() => empty_svg(plot.kind.title(), style),
        Chart::Bars(plot) if plot.rows.is_empty() => empty_svg(plot.kind.title(), style),
        Chart::Scatter(plot) => scatter::scatter_svg(plot, style),
        Chart::Bars(plot) => bars::bars_svg(plot, style),
    }
}

/// True when something of the plot was measured; a plot of predictions alone is no result.
#[must_use]
pub fn has_measurement(chart: &Chart) -> bool {
    match chart {
        Chart::Scatter(plot) => plot.marks.iter().any(|mark| mark.is_measured),
        Chart::Bars(plot) => plot.rows.iter().any(|row| row.pair.measured.is_some()),
    }
}

fn empty_svg(title: &str, style: &SvgStyle) -> String {
    let mut canvas = Canvas::new(style);
    canvas.heading(title);
    canvas.text([style.width / 2.0, 90.0], "middle", style.muted, "nothing measured");
    canvas.finish(title, "nothing measured", 160.0)
}
