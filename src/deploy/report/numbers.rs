//! Plots, and the same numbers as tables.

use super::super::chart::{ChartKind, chart};
use super::super::look::escaped;
use super::super::svg::{SvgStyle, chart_svg, has_measurement};
use super::advice::band_text;
use super::html::{self, Cell, Origin};
use crate::advise::{Interval, LossWords, scale_text};
use crate::bench::ComparisonRow;
use crate::bench::rows::pair::{Pair, decode_pair, measured, measured_text, prefill_pair};
use crate::units::{bytes_text, count_text, duration_text, nats_text, percent_text, significant_text};

/// The plots in which something is measured.
pub(super) fn plots(rows: &[ComparisonRow]) -> String {
    let figures: String = ChartKind::ALL
        .into_iter()
        .map(|kind| (kind, chart(kind, rows)))
        .filter(|(_, chart)| has_measurement(chart))
        .map(|(kind, chart)| {
            let svg = chart_svg(&chart, &SvgStyle::PAGE);
            format!(
                "<figure id=\"plot-{}\">\n<figcaption>{}</figcaption>\n{svg}</figure>\n",
                kind.file_stem(),
                escaped(kind.title())
            )
        })
        .collect();
    let body = if figures.is_empty() {
        "<p>Nothing is measured yet.</p>\n".to_string()
    } else {
        format!("<div class=\"plots\">\n{figures}</div>\n")
    };
    html::section("plots", "Plots", &body)
}

/// Speed and memory, and what is lost.
pub(super) fn tables(rows: &[ComparisonRow], n_ctx: u64) -> String {
    let mut body = format!("<h3>Speed and memory</h3>\n{}", speed_table(rows));
    body.push_str(&format!(
        "<p class=\"note\">± is half the range of the rounds around their median. Predictions come from the machine's measured bandwidth and \
         the file's size, for a context of {} tokens; of ten machines, nine are above the lower end of the band and nine below the \
         upper end. Adjusted ones learn from the runs of other files on this machine, never from the file's own.</p>\n",
        count_text(n_ctx)
    ));
    if let Some(reason) = rows.iter().filter_map(|row| row.run.as_ref()).find_map(|run| run.energy.reason.as_ref()) {
        body.push_str(&format!("<p class=\"note\">Energy: not measurable here, because {}.</p>\n", escaped(reason)));
    }
    if rows.iter().any(|row| row.quality.is_some() || row.quality_failure.is_some()) {
        body.push_str(&format!("<h3>What is lost against the source {}</h3>\n{}", Origin::Measured.tag(), loss_table(rows)));
        body.push_str("<p class=\"note\">± covers 95 %. KL divergence and its 99th percentile are in nats per token; perplexity and accuracy are divided by the source's.</p>\n");
        body.push_str(&format!("<p class=\"note\">{}</p>\n", escaped(&scale_text()).replace('\n', "<br>")));
    }
    html::section("numbers", "All numbers", &body)
}

fn speed_table(rows: &[ComparisonRow]) -> String {
    let yes = Origin::Measured.tag();
    let joules = |row: &ComparisonRow| row.run.as_ref().and_then(|run| measured(run.energy.decode_joules_per_token.as_ref()?));
    let sustained = |row: &ComparisonRow| row.run.as_ref().and_then(|run| run.sustained.clone());
    let has_joules = rows.iter().any(|row| joules(row).is_some());
    let has_sustained = rows.iter().any(|row| sustained(row).is_some());
    let mut heads = vec![
        "File".to_string(),
        "Size".into(),
        "Bits".into(),
        format!("Decode, tok/s<br>{yes}"),
        "Decode, tok/s<br>predicted".into(),
        format!("Prefill, tok/s<br>{yes}"),
        format!("Load<br>{yes}"),
        format!("Peak memory<br>{yes}"),
        "Memory<br>predicted".into(),
    ];
    if has_joules {
        heads.push(format!("Decode, J/tok<br>{yes}"));
    }
    if has_sustained {
        heads.push(format!("Sustained, tok/s<br>{yes}"));
    }
    let cells = rows.iter().map(|row| {
        let (decode, prefill) = (decode_pair(row), prefill_pair(row));
        let load = row.run.as_ref().and_then(|run| measured(&run.load_secs));
        let mut cells = vec![
            Cell::text(&row.name),
            Cell::number(&bytes_text(row.size_bytes)),
            row.bits_text().map_or_else(|| Cell::missing("–"), |bits| Cell::number(&bits)),
            measured_cell(row, decode),
            decode.predicted.map_or_else(|| Cell::missing("unknown"), |band| Cell::of_basis(&band_text(band), decode.basis)),
            measured_cell(row, prefill),
            load.map_or_else(|| Cell::missing("–"), |(secs, _)| Cell::number(&duration_text(secs))),
            row.run.as_ref().map_or_else(|| Cell::missing("–"), |run| Cell::number(&bytes_text(run.peak_memory_bytes))),
            row.predicted_memory_bytes
                .map_or_else(|| Cell::missing("unknown"), |size| Cell::of_basis(&bytes_text(size), row.memory_basis)),
        ];
        if has_joules {
            let text = joules(row).map(|(mid, spread)| measured_text(mid, spread));
            cells.push(text.map_or_else(|| Cell::missing("–"), |text| Cell::number(&text)));
        }
        if has_sustained {
            let text = sustained(row)
                .map(|found| format!("{} ({})", significant_text(found.sustained_tokens_per_sec), percent_text(found.ratio)));
            cells.push(text.map_or_else(|| Cell::missing("–"), |text| Cell::number(&text)));
        }
        cells
    });
    html::table(&heads, &cells.collect::<Vec<_>>())
}

fn measured_cell(row: &ComparisonRow, pair: Pair) -> Cell {
    match (pair.measured, &row.failure) {
        (Some((mid, spread)), _) => Cell::number(&measured_text(mid, spread)),
        (None, Some(reason)) => Cell::missing(&format!("failed: {}", super::super::look::shortened(reason))),
        (None, None) => Cell::missing(&row.not_run.as_ref().map_or("not measured".into(), |why| format!("not measured: {why}"))),
    }
}

fn loss_table(rows: &[ComparisonRow]) -> String {
    let heads =
        ["File", "Verdict", "Loss", "Mean KLD", "99 % KLD", "Perplexity ratio", "Same top token", "Accuracy ratio", "Tokens"];
    let cells = rows.iter().filter(|row| row.quality.is_some() || row.quality_failure.is_some()).map(|row| {
        let verdict = row.verdict.as_ref();
        let verdict = verdict.map_or_else(|| Cell::missing("–"), |verdict| Cell::html(html::decision(verdict.decision)));
        let mut cells = vec![Cell::text(&row.name), verdict];
        match (&row.quality, &row.quality_failure) {
            (Some(run), _) => {
                let summary = &run.summary;
                cells.extend([
                    Cell::text(&summary.loss_words().map_or_else(|| "unknown".into(), LossWords::text)),
                    Cell::number(&summary.mean_kld.text(nats_text)),
                    Cell::number(&nats_text(summary.kld_p99.value)),
                    Cell::number(&ratio_text(summary.ppl_ratio)),
                    Cell::number(&summary.same_top.text(percent_text)),
                    Cell::number(&summary.accuracy_ratio.text(percent_text)),
                    Cell::number(&count_text(summary.n_tokens)),
                ]);
            }
            (None, reason) => {
                cells.push(Cell::missing(&format!("failed: {}", reason.as_deref().unwrap_or("unknown"))));
                cells.extend((0..6).map(|_| Cell::missing("–")));
            }
        }
        cells
    });
    html::table(&heads.map(String::from), &cells.collect::<Vec<_>>())
}

/// A ratio near 1 with the digits in which good ones differ: `1.003 ± 0.002`.
pub(super) fn ratio_text(ratio: Interval) -> String {
    let half_width = ratio.half_width();
    // One chunk alone has no spread.
    let half_text = if half_width.is_finite() { format!("{half_width:.3}") } else { "unknown".into() };
    format!("{:.3} ± {half_text}", ratio.value)
}
