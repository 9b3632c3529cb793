//! What is lost: each gate with its numbers, each kind of text, the worst changed tokens.

use super::super::look::escaped;
use super::html::{self, Cell};
use super::numbers::ratio_text;
use crate::advise::{WishResult, accuracy_remark, same_words_text};
use crate::bench::ComparisonRow;
use crate::bench::quality::{Flip, KindSummary, QualityRun};
use crate::units::{count_of, count_text, nats_text, percent_text};

/// The most changed tokens that are shown for each file.
const MAX_FLIPS: usize = 10;

/// The verdict on each file, gate by gate.
pub(super) fn verdicts(rows: &[ComparisonRow]) -> String {
    let judged: String = rows
        .iter()
        .filter_map(|row| {
            let verdict = row.verdict.as_ref()?;
            let gates: Vec<Vec<Cell>> = verdict
                .gates
                .iter()
                .map(|gate| {
                    vec![Cell::text(gate.kind.label()), Cell::html(html::decision(gate.decision)), Cell::text(&gate.text())]
                })
                .collect();
            let table = html::table(&["Gate", "Decision", "Measured and wanted"].map(String::from), &gates);
            let same = row.quality.as_ref().map(|run| same_words_text(run.summary.same_top.value));
            let remark = row.quality.as_ref().and_then(|run| accuracy_remark(run.summary.accuracy_ratio));
            let words = same.into_iter().chain(remark).chain(row.wishes.iter().map(WishResult::text));
            let words: Vec<String> = words.map(|text| escaped(&super::sentence(&text)) + ".").collect();
            Some(format!(
                "<div class=\"gates\"><h3>{} {}</h3>\n<p>{}</p>\n{table}</div>\n",
                escaped(&row.name),
                html::decision(verdict.decision),
                words.join(" ")
            ))
        })
        .collect();
    if judged.is_empty() {
        return String::new();
    }
    let note = "<p class=\"note\">A gate passes or fails when its whole interval is on one side of the limit; the intervals of the gates on \
                quality hold for all looks of the measurement together, so they are wider than those in the table. The verdict is about quality \
                alone; wishes about size, memory and speed are reported beside it. They are judged against the source, which was measured \
                in turns with the file unless a warning says otherwise.</p>\n";
    html::section("verdicts", "Verdicts", &format!("{judged}{note}"))
}

/// The mean loss on each kind of text.
pub(super) fn kinds(rows: &[ComparisonRow]) -> String {
    let tables: String = with_quality(rows)
        .filter(|(_, run)| run.by_kind.len() > 1)
        .map(|(row, run)| {
            let lines: Vec<Vec<Cell>> = run
                .by_kind
                .iter()
                .map(|kind| {
                    vec![
                        Cell::text(&kind.kind),
                        Cell::number(&kind.mean_kld.text(nats_text)),
                        Cell::number(&ratio_text(kind.ppl_ratio)),
                        Cell::number(&same_top_text(kind)),
                        Cell::number(&count_text(kind.n_tokens)),
                    ]
                })
                .collect();
            let heads = ["Kind of text", "Mean KLD", "Perplexity ratio", "Same top token", "Tokens"].map(String::from);
            format!("<div class=\"gates\"><h3>{}</h3>\n{}</div>\n", escaped(&row.name), html::table(&heads, &lines))
        })
        .collect();
    if tables.is_empty() {
        return String::new();
    }
    let note = "<p class=\"note\">± covers 95 %; it is unknown where a kind has only one chunk.</p>\n";
    html::section("kinds", "Loss by kind of text", &format!("{tables}{note}"))
}

/// How often the top token is the same. One chunk alone has no spread, so its ± is unknown.
fn same_top_text(kind: &KindSummary) -> String {
    let is_known = kind.mean_kld.half_width().is_finite();
    if is_known { kind.same_top.text(percent_text) } else { format!("{} ± unknown", percent_text(kind.same_top.value)) }
}

/// The places where a file would have said something else, the most harmful first.
pub(super) fn flips(rows: &[ComparisonRow]) -> String {
    let tables: String = with_quality(rows)
        .filter(|(_, run)| !run.flips.is_empty())
        .map(|(row, run)| {
            let lines: Vec<Vec<Cell>> = run.flips.iter().take(MAX_FLIPS).map(flip_row).collect();
            let heads = ["Touches", "Text before, and the token that follows", "Source says", "This file says", "KLD, nats"]
                .map(String::from);
            format!(
                "<h3>{}: {} in {} tokens</h3>\n{}",
                escaped(&row.name),
                count_of(run.n_flips, "place"),
                count_text(run.summary.n_tokens),
                html::table(&heads, &lines)
            )
        })
        .collect();
    if tables.is_empty() {
        return String::new();
    }
    let note = format!(
        "<p>Places where the likeliest next token differs from the source's: the {MAX_FLIPS} worst of each file, numbers and structure before \
         words. Below each choice is its probability in the source, then in the file.</p>\n"
    );
    html::section("changes", "Changed tokens", &format!("{note}{tables}"))
}

fn flip_row(flip: &Flip) -> Vec<Cell> {
    let choice = |choice: &crate::bench::quality::TokenChoice| {
        let by_source = choice.p_reference.map_or_else(|| "unknown".into(), |p| percent_text(f64::from(p)));
        let by_file = percent_text(f64::from(choice.p_candidate));
        Cell::html(format!(
            "{}<br><span class=\"note\">{} → {}</span>",
            token(&choice.text),
            escaped(&by_source),
            escaped(&by_file)
        ))
    };
    let before = visible(&flip.before);
    vec![
        Cell::text(flip.class.label()),
        Cell::html(format!(
            "<div class=\"context\"><span class=\"note\">{}</span> …{}{}</div>",
            escaped(&flip.kind),
            escaped(&before),
            token(&flip.truth.text)
        )),
        choice(&flip.reference),
        choice(&flip.candidate),
        Cell::number(&nats_text(f64::from(flip.kld))),
    ]
}

fn token(text: &str) -> String {
    format!("<span class=\"token\">{}</span>", escaped(&visible(text)))
}

/// The text with line ends and tabs as signs, because changed tokens often are just those; `∅` if it is empty.
fn visible(text: &str) -> String {
    if text.is_empty() { "∅".into() } else { text.replace("\r\n", "⏎").replace(['\n', '\r'], "⏎").replace('\t', "⇥") }
}

fn with_quality(rows: &[ComparisonRow]) -> impl Iterator<Item = (&ComparisonRow, &QualityRun)> {
    rows.iter().filter_map(|row| Some((row, row.quality.as_deref()?)))
}
