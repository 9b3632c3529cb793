//! The strokes that all plots are made of.

use super::super::look::{LevelLook, class_rgb, escaped};
use super::{Heading, SvgStyle};
use crate::model::Framework;

/// Size of all texts but the title, in pixels.
pub(super) const FONT_SIZE: f64 = 12.0;
const TITLE_SIZE: f64 = 16.0;
/// Half the width of a mark.
pub(super) const MARK_RADIUS: f64 = 6.0;
/// Distance of the outermost things from the border.
pub(super) const MARGIN: f64 = 16.0;
/// Height of a line of the legend.
const LEGEND_LINE: f64 = 22.0;
const FONTS: &str = "IBM Plex Sans, IBM Plex Sans Var, system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif";

/// Whether a mark or bar is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Measured.
    Solid,
    /// Predicted.
    Hollow,
}

/// What stands before the words of a legend.
pub(super) enum Sign {
    Mark(Option<LevelLook>, Fill),
    Dashes,
    ErrorBar,
    Bar(Fill),
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    pub(super) fn around([x, y]: [f64; 2], half_width: f64, half_height: f64) -> Self {
        Self { left: x - half_width, top: y - half_height, right: x + half_width, bottom: y + half_height }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    pub(super) fn contains(&self, inner: &Self) -> bool {
        inner.left >= self.left && inner.right <= self.right && inner.top >= self.top && inner.bottom <= self.bottom
    }

    pub(super) fn clamp(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [x.max(self.left).min(self.right), y.max(self.top).min(self.bottom)]
    }
}

/// A picture in the making: each stroke is appended to it.
pub(super) struct Canvas<'a> {
    pub(super) style: &'a SvgStyle,
    body: String,
    /// The first free height below title and legend.
    pub(super) top: f64,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(style: &'a SvgStyle) -> Self {
        Self { style, body: String::new(), top: MARGIN }
    }

    /// The title, where the style wants one.
    pub(super) fn heading(&mut self, title: &str) {
        if self.style.heading == Heading::Inside {
            let title = escaped(title);
            let (x, y, fill) = (MARGIN, self.top + TITLE_SIZE - 2.0, self.style.text);
            self.body.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{TITLE_SIZE}\" font-weight=\"600\" fill=\"{fill}\">{title}</text>\n"
            ));
            self.top += TITLE_SIZE + 12.0;
        }
    }

    /// Signs with their words, in as many lines as they need.
    pub(super) fn legend(&mut self, items: &[(Sign, String)]) {
        let mut x = MARGIN;
        for (sign, words) in items {
            let width = 30.0 + text_width(words);
            if x > MARGIN && x + width > self.style.width - MARGIN {
                x = MARGIN;
                self.top += LEGEND_LINE;
            }
            let middle = self.top + LEGEND_LINE / 2.0;
            self.sign(sign, [x + 10.0, middle]);
            self.text([x + 24.0, middle + 4.0], "start", self.style.muted, words);
            x += width + 16.0;
        }
        self.top += LEGEND_LINE + 8.0;
    }

    fn sign(&mut self, sign: &Sign, [x, y]: [f64; 2]) {
        let ink = self.style.muted;
        match *sign {
            Sign::Mark(look, fill) => self.mark(look, fill, [x, y], ""),
            Sign::Dashes => {
                self.line([x - 10.0, y], [x + 10.0, y], self.style.front, "stroke-width=\"1.5\" stroke-dasharray=\"5 4\"");
            }
            Sign::ErrorBar => self.error_bar([x, y - 7.0], [x, y + 7.0], ink),
            Sign::Bar(fill) => self.bar(Area::around([x, y], 9.0, 5.0), ink, fill, ""),
        }
    }

    pub(super) fn line(&mut self, from: [f64; 2], to: [f64; 2], stroke: &str, more: &str) {
        let ([x1, y1], [x2, y2]) = (from, to);
        self.body.push_str(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\" {more}/>\n"
        ));
    }

    pub(super) fn path(&mut self, points: &[[f64; 2]], stroke: &str, more: &str) {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        self.body.push_str(&format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" {more}/>\n", points.join(" ")));
    }

    /// A text whose base line starts, is centred or ends at a point, as `anchor` says: `start`, `middle` or `end`.
    pub(super) fn text(&mut self, [x, y]: [f64; 2], anchor: &str, fill: &str, text: &str) {
        let text = escaped(text);
        self.body.push_str(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{text}</text>\n"));
    }

    /// The name of a mark or row, outlined in the ground colour so that lines do not cross it.
    pub(super) fn name(&mut self, at: [f64; 2], anchor: &str, text: &str) {
        self.grounded("name", at, anchor, self.style.text, text);
    }

    /// A number beside a bar, likewise.
    pub(super) fn note(&mut self, at: [f64; 2], anchor: &str, fill: &str, text: &str) {
        self.grounded("amount", at, anchor, fill, text);
    }

    fn grounded(&mut self, class: &str, [x, y]: [f64; 2], anchor: &str, fill: &str, text: &str) {
        let (ground, text) = (self.style.ground, escaped(text));
        self.body.push_str(&format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\" stroke=\"{ground}\" \
             stroke-width=\"3\" stroke-linejoin=\"round\" paint-order=\"stroke\">{text}</text>\n"
        ));
    }

    /// The label of the vertical axis, read from below.
    pub(super) fn text_upwards(&mut self, [x, y]: [f64; 2], fill: &str, text: &str) {
        let text = escaped(text);
        self.body.push_str(&format!(
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"{fill}\">{text}</text>\n"
        ));
    }

    pub(super) fn frame(&mut self, area: Area) {
        let Area { left, top, right, bottom } = area;
        let stroke = self.style.frame;
        self.body.push_str(&format!(
            "<rect class=\"frame\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"{stroke}\"/>\n",
            right - left,
            bottom - top
        ));
    }

    /// The shape of a framework in the colour of a precision class around a point; `details` show while the pointer rests on it.
    pub(super) fn mark(&mut self, look: Option<LevelLook>, fill: Fill, [x, y]: [f64; 2], details: &str) {
        let color = look_color(look, self.style);
        let r = MARK_RADIUS;
        let (inside, width) = match fill {
            Fill::Solid => (color.as_str(), 1.0),
            Fill::Hollow => (self.style.ground, 1.8),
        };
        let paint = format!("fill=\"{inside}\" stroke=\"{color}\" stroke-width=\"{width}\"");
        let shape = match look.map(|look| look.framework) {
            Some(Framework::LlamaCpp) => format!("<circle r=\"{:.1}\" {paint}/>", r * 0.95),
            Some(Framework::Mlx) => format!("<path d=\"M-{0:.1} -{0:.1}H{0:.1}V{0:.1}H-{0:.1}Z\" {paint}/>", r * 0.85),
            Some(Framework::OnnxRuntime) => {
                format!("<path d=\"M0 {0:.1}L{0:.1} 0L0 -{0:.1}L-{0:.1} 0Z\" {paint}/>", r * 1.15)
            }
            Some(Framework::OpenVino | Framework::Qnn) => {
                format!("<path d=\"M0 -{:.1}L{:.1} {:.1}H-{:.1}Z\" {paint}/>", r * 1.1, r, r * 0.8, r)
            }
            None => {
                let width = if fill == Fill::Solid { 2.2 } else { 1.1 };
                let (half, side) = (r * 0.5, r * 0.87);
                format!(
                    "<path d=\"M0 -{r}V{r}M-{side:.1} -{half:.1}L{side:.1} {half:.1}M-{side:.1} {half:.1}L{side:.1} -{half:.1}\" fill=\"none\" \
                     stroke=\"{color}\" stroke-width=\"{width}\" stroke-linecap=\"round\"/>"
                )
            }
        };
        self.group("mark", [x, y], details, &shape);
    }

    /// A bar, solid or hollow.
    pub(super) fn bar(&mut self, area: Area, color: &str, fill: Fill, details: &str) {
        let (width, height) = ((area.right - area.left).max(1.0), area.bottom - area.top);
        let (inside, dashes) = match fill {
            Fill::Solid => (color, ""),
            Fill::Hollow => ("none", " stroke-dasharray=\"3 2\""),
        };
        let shape = format!(
            "<rect width=\"{width:.1}\" height=\"{height:.1}\" rx=\"1.5\" fill=\"{inside}\" stroke=\"{color}\"{dashes}/>"
        );
        self.group("bar", [area.left, area.top], details, &shape);
    }

    fn group(&mut self, class: &str, [x, y]: [f64; 2], details: &str, shape: &str) {
        // A sign of the legend has no details and is not data.
        let (class, title) =
            if details.is_empty() { ("sign", String::new()) } else { (class, format!("<title>{}</title>", escaped(details))) };
        self.body.push_str(&format!("<g class=\"{class}\" transform=\"translate({x:.1} {y:.1})\">{title}{shape}</g>\n"));
    }

    /// A line with a cap at each end; nothing if the ends are less than half a pixel apart.
    pub(super) fn error_bar(&mut self, low: [f64; 2], high: [f64; 2], color: &str) {
        const CAP: f64 = 4.0;
        if (low[0] - high[0]).abs() < 0.5 && (low[1] - high[1]).abs() < 0.5 {
            return;
        }
        let is_upright = (low[0] - high[0]).abs() < 0.5;
        let more = "stroke-width=\"1.4\"";
        self.line(low, high, color, more);
        for [x, y] in [low, high] {
            let (dx, dy) = if is_upright { (CAP, 0.0) } else { (0.0, CAP) };
            self.line([x - dx, y - dy], [x + dx, y + dy], color, more);
        }
    }

    /// The finished SVG element, `height` pixels high.
    pub(super) fn finish(self, title: &str, description: &str, height: f64) -> String {
        let (width, ground, body) = (self.style.width, self.style.ground, self.body);
        let (title, description) = (escaped(title), escaped(description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             role=\"img\" font-family=\"{FONTS}\" font-size=\"{FONT_SIZE}\">\n<title>{title}</title>\n<desc>{description}</desc>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"{ground}\"/>\n{body}</svg>\n"
        )
    }
}

/// The colour of a precision class; the text colour for a source that is no level.
pub(super) fn look_color(look: Option<LevelLook>, style: &SvgStyle) -> String {
    look.map_or_else(
        || style.text.to_string(),
        |look| {
            let [red, green, blue] = class_rgb(look.class);
            format!("#{red:02X}{green:02X}{blue:02X}")
        },
    )
}

/// The width of a text in pixels, rather too large than too small: nobody knows which font the reader has.
pub(super) fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | '!' | ' ' | '(' | ')' => 0.34,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
        'A'..='Z' | '0'..='9' | '_' => 0.66,
        c if c.is_ascii() || ('\u{A0}'..'\u{250}').contains(&c) => 0.58,
        _ => 1.0,
    };
    text.chars().map(width).sum::<f64>() * FONT_SIZE
}
