//! Pieces of HTML. Whatever comes from a file goes through here and is escaped.

use super::super::look::escaped;
use crate::advise::{Basis, Decision};

/// A value of more characters gets a line of its own.
const LONG_VALUE: usize = 27;

/// Where a number comes from; shown by word, mark and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Measured,
    Predicted,
    Adjusted,
    Assumed,
}

impl Origin {
    /// The word with its mark.
    pub(super) fn tag(self) -> String {
        let (class, mark, word) = match self {
            Self::Measured => ("measured", "●", "measured"),
            Self::Predicted => ("predicted", "○", "predicted"),
            Self::Adjusted => ("predicted", "◐", "adjusted"),
            Self::Assumed => ("assumed", "◇", "assumed"),
        };
        format!("<span class=\"origin {class}\">{mark}&nbsp;{word}</span>")
    }
}

/// A verdict with its colour.
pub(super) fn decision(decision: Decision) -> String {
    let (class, mark) = match decision {
        Decision::Pass => ("pass", "✓"),
        Decision::Inconclusive => ("unclear", "?"),
        Decision::Fail => ("fail", "✗"),
    };
    format!("<span class=\"verdict {class}\">{mark}&nbsp;{}</span>", decision.label())
}

/// Labels with their values, in columns; lines without a value are left out.
pub(super) fn facts(lines: &[(&str, String)]) -> String {
    let lines: String = lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| {
            let class = if value.chars().count() > LONG_VALUE { " class=\"long\"" } else { "" };
            format!("<div{class}><dt>{}</dt><dd>{}</dd></div>\n", escaped(label), escaped(value))
        })
        .collect();
    format!("<dl class=\"facts\">\n{lines}</dl>\n")
}

/// A cell of a table: escaped HTML and its CSS class.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    html: String,
    class: &'static str,
}

impl Cell {
    /// Text from anywhere, flush left.
    pub(super) fn text(text: &str) -> Self {
        Self { html: escaped(text), class: "" }
    }

    /// A number, flush right.
    pub(super) fn number(text: &str) -> Self {
        Self { html: escaped(text), class: "number" }
    }

    /// A number with the tag of where it comes from.
    pub(super) fn of_basis(text: &str, basis: Basis) -> Self {
        let (class, origin) = match basis {
            Basis::Predicted => ("number predicted", Origin::Predicted),
            Basis::Adjusted { .. } => ("number predicted", Origin::Adjusted),
            Basis::Measured => ("number", Origin::Measured),
        };
        Self { html: format!("{} {}", escaped(text), origin.tag()), class }
    }

    /// A text in place of a missing number.
    pub(super) fn missing(text: &str) -> Self {
        Self { html: escaped(text), class: "number missing" }
    }

    /// HTML that has been escaped.
    pub(super) fn html(html: String) -> Self {
        Self { html, class: "" }
    }
}

/// A table. The heads are HTML, the first cell of each row names the row. A head is aligned like the cells below it.
pub(super) fn table(heads: &[String], rows: &[Vec<Cell>]) -> String {
    let is_number = |column: usize| rows.iter().filter_map(|row| row.get(column)).any(|cell| cell.class.starts_with("number"));
    let head = heads.iter().enumerate().map(|(column, head)| {
        let class = if is_number(column) { " class=\"number\"" } else { "" };
        format!("<th scope=\"col\"{class}>{head}</th>")
    });
    let head: String = head.collect();
    let body: String = rows
        .iter()
        .map(|row| {
            let cells: String = row
                .iter()
                .enumerate()
                .map(|(idx, Cell { html, class })| {
                    if idx == 0 { format!("<th scope=\"row\">{html}</th>") } else { format!("<td class=\"{class}\">{html}</td>") }
                })
                .collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    format!("<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n")
}

/// A part of the page with its heading.
pub(super) fn section(id: &str, title: &str, body: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{}</h2>\n{body}</section>\n", escaped(title))
}

/// A command line to be copied.
pub(super) fn command(line: &str) -> String {
    format!("<pre class=\"command\"><code>{}</code></pre>\n", escaped(line))
}

/// Sentences as a list; empty for no sentences.
pub(super) fn list(class: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect();
    format!("<ul class=\"{class}\">\n{items}</ul>\n")
}
