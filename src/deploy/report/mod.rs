//! The report: one HTML file that says everything and asks for nothing, neither script nor network.
//!
//! ```text
//! html         escaping, tables, tags for measured, predicted and assumed
//! style        CSS, for the screen and for paper
//! headline     model, machine, and the answer in a sentence
//! advice       the recommendation with its path
//! numbers      plots and tables
//! loss         verdicts, losses by kind of text, changed tokens
//! provenance   what each number was measured with
//! commands     how to reproduce each number
//! ```

#![allow(clippy::format_collect, reason = "a page is put together from pieces; folding them would hide the markup")]

mod advice;
mod commands;
mod headline;
mod html;
mod loss;
mod numbers;
mod provenance;
mod style;
#[cfg(test)]
mod tests;

use super::look::escaped;
use crate::advise::{Goal, Limits, Plan};
use crate::bench::history::Row;
use crate::bench::{ComparisonRow, compared_n_ctx};
use crate::hardware::Machine;
use crate::model::Model;
use crate::units::sentence;

/// Everything that a report tells.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// The source.
    pub model: &'a Model,
    /// This machine.
    pub machine: &'a Machine,
    /// What is wanted.
    pub goal: &'a Goal,
    /// The advice for these three.
    pub plan: &'a Plan,
    /// What was predicted and measured.
    pub rows: &'a [ComparisonRow],
    /// The limits that the files are held against.
    pub limits: &'a Limits,
    /// The history's runs that the measurements come from; without those that were not kept.
    pub kept: &'a [Row],
    /// What makes the comparison doubtful, in sentences.
    pub warnings: &'a [String],
    /// When the report was made, in seconds since 1970 in UTC.
    pub made_at_unix_secs: i64,
}

/// The report as one HTML file.
#[must_use]
pub fn report_html(input: &ReportInput) -> String {
    let n_ctx = compared_n_ctx(input.rows).unwrap_or(input.goal.n_ctx);
    let title = format!("{}: what fits, and what it costs", input.model.display_name());
    let parts = [
        headline::headline(input),
        advice::advice(input),
        numbers::plots(input.rows),
        numbers::tables(input.rows, n_ctx),
        loss::verdicts(input.rows),
        loss::kinds(input.rows),
        loss::flips(input.rows),
        provenance::provenance(input),
        reproduce(input, n_ctx),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<meta name=\"generator\" content=\"Planish {version}\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>{css}</style>\n</head>\n<body>\n<main>\n\
         {body}<footer>Made by Planish {version} on this machine. The file needs nothing beside it: no script, no network.</footer>\n\
         </main>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
        title = escaped(&title),
        css = style::CSS,
        body = parts.concat(),
    )
}

fn reproduce(input: &ReportInput, n_ctx: u64) -> String {
    let mut body = String::from(
        "<p>Type these on the same machine; speeds vary with heat, power and what else is running; losses do not vary with the same text, \
         seed and build of the runtime.</p>\n",
    );
    for recipe in commands::recipes(input.rows, &input.model.path, input.goal, n_ctx) {
        body.push_str(&format!("<h3>{}</h3>\n{}", escaped(&sentence(&recipe.gives)), html::command(&recipe.line)));
        if !recipe.note.is_empty() {
            body.push_str(&format!("<p class=\"note\">{}</p>\n", escaped(&sentence(&recipe.note))));
        }
    }
    html::section("reproduce", "How to reproduce each number", &body)
}
