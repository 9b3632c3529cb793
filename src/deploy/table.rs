//! The comparison as text for other programs: tab-separated, comma-separated, JSON.
//!
//! Both texts have a header line, plain numbers in basic units and empty cells for what is unknown.

use crate::advise::{Decision, Interval, LossWords};
use crate::bench::ComparisonRow;
use crate::bench::quality::QualitySummary;
use crate::bench::rows::pair::{decode_pair, measured, prefill_pair};
use crate::path_text;

/// Names of the columns. Only ever appended to: spreadsheets count on the order.
const COLUMNS: [&str; 44] = [
    "name",
    "size_bytes",
    "bits_per_weight",
    "decode_tokens_per_sec",
    "decode_spread",
    "prefill_tokens_per_sec",
    "prefill_spread",
    "predicted_decode_tokens_per_sec",
    "predicted_decode_low",
    "predicted_decode_high",
    "load_secs",
    "peak_memory_bytes",
    "predicted_memory_bytes",
    "failure",
    "path",
    "decode_joules_per_token",
    "decode_joules_spread",
    "prefill_joules_per_token",
    "prefill_joules_spread",
    "idle_watts",
    "burst_tokens_per_sec",
    "sustained_tokens_per_sec",
    "mean_kld",
    "mean_kld_low",
    "mean_kld_high",
    "kld_p99",
    "ppl_ratio",
    "ppl_ratio_low",
    "ppl_ratio_high",
    "same_top",
    "same_top_low",
    "same_top_high",
    "accuracy_ratio",
    "accuracy_ratio_low",
    "accuracy_ratio_high",
    "n_tokens",
    "verdict",
    "text_name",
    "quality_failure",
    "speed_origin",
    "quality_origin",
    "decode_basis",
    "memory_basis",
    "loss",
];

/// The cells of a row, in the order of [`COLUMNS`].
fn cells(row: &ComparisonRow) -> [String; 44] {
    let number = |value: Option<f64>| value.filter(|value| value.is_finite()).map_or(String::new(), |value| value.to_string());
    let whole = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    let (decode, prefill) = (decode_pair(row), prefill_pair(row));
    let run = row.run.as_ref();
    let energy = run.map(|run| &run.energy);
    let decode_joules = energy.and_then(|energy| measured(energy.decode_joules_per_token.as_ref()?));
    let prefill_joules = energy.and_then(|energy| measured(energy.prefill_joules_per_token.as_ref()?));
    let sustained = run.and_then(|run| run.sustained.as_ref());
    let summary = row.quality.as_ref().map(|quality| &quality.summary);
    let ends = |interval: Option<Interval>| {
        [interval.map(|one| one.value), interval.map(|one| one.low), interval.map(|one| one.high)].map(number)
    };
    let [kld, kld_low, kld_high] = ends(summary.map(|summary| summary.mean_kld));
    let [ppl, ppl_low, ppl_high] = ends(summary.map(|summary| summary.ppl_ratio));
    let [top, top_low, top_high] = ends(summary.map(|summary| summary.same_top));
    let [accuracy, accuracy_low, accuracy_high] = ends(summary.map(|summary| summary.accuracy_ratio));
    [
        row.name.clone(),
        row.size_bytes.to_string(),
        number(Some(row.bits_per_weight).filter(|bits| *bits > 0.0)),
        number(decode.measured.map(|(mid, _)| mid)),
        number(decode.measured.map(|(_, spread)| spread)),
        number(prefill.measured.map(|(mid, _)| mid)),
        number(prefill.measured.map(|(_, spread)| spread)),
        number(decode.predicted.map(|band| band.mid)),
        number(decode.predicted.map(|band| band.low)),
        number(decode.predicted.map(|band| band.high)),
        number(run.and_then(|run| measured(&run.load_secs)).map(|(mid, _)| mid)),
        whole(run.map(|run| run.peak_memory_bytes)),
        whole(row.predicted_memory_bytes),
        row.failure.clone().or(row.not_run.clone()).unwrap_or_default(),
        path_text::shown(&row.path),
        number(decode_joules.map(|(mid, _)| mid)),
        number(decode_joules.map(|(_, spread)| spread)),
        number(prefill_joules.map(|(mid, _)| mid)),
        number(prefill_joules.map(|(_, spread)| spread)),
        number(energy.and_then(|energy| energy.idle_watts)),
        number(sustained.map(|found| found.burst_tokens_per_sec)),
        number(sustained.map(|found| found.sustained_tokens_per_sec)),
        kld,
        kld_low,
        kld_high,
        number(summary.map(|summary| summary.kld_p99.value)),
        ppl,
        ppl_low,
        ppl_high,
        top,
        top_low,
        top_high,
        accuracy,
        accuracy_low,
        accuracy_high,
        whole(summary.map(|summary| summary.n_tokens)),
        row.verdict.as_ref().map_or("", |verdict| Decision::label(verdict.decision)).into(),
        row.quality.as_ref().map_or(String::new(), |quality| quality.provenance.text_name.clone()),
        row.quality_failure.clone().unwrap_or_default(),
        row.speed_origin.clone().unwrap_or_default(),
        row.quality_origin.clone().unwrap_or_default(),
        decode.predicted.map_or(String::new(), |_| row.decode_basis.word().into()),
        row.predicted_memory_bytes.map_or(String::new(), |_| row.memory_basis.word().into()),
        summary.and_then(QualitySummary::loss_words).map_or(String::new(), LossWords::text),
    ]
}

/// The rows with tabs between cells. Tabs and line ends inside a cell become blanks: they would shift all that follows.
#[must_use]
pub fn rows_to_tsv(rows: &[ComparisonRow]) -> String {
    let line = |cells: [String; 44]| cells.map(|cell| cell.replace(['\t', '\n', '\r'], " ")).join("\t") + "\n";
    std::iter::once(COLUMNS.map(String::from)).chain(rows.iter().map(cells)).map(line).collect()
}

/// The rows with commas between cells, quoted as in RFC 4180.
#[must_use]
pub fn rows_to_csv(rows: &[ComparisonRow]) -> String {
    let line = |cells: [String; 44]| cells.map(|cell| quoted(&cell)).join(",") + "\r\n";
    std::iter::once(COLUMNS.map(String::from)).chain(rows.iter().map(cells)).map(line).collect()
}

/// The rows with everything that was measured, as a list; numbers that are not finite are null.
///
/// Writing plain values cannot fail; an error would be shown in place of the rows.
#[must_use]
pub fn rows_to_json(rows: &[ComparisonRow]) -> String {
    serde_json::to_string_pretty(rows).unwrap_or_else(|error| error.to_string())
}

/// A CSV cell, quoted where it has to be. Source: RFC 4180, section 2.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::test_rows::rows;

    #[test]
    fn each_line_has_a_cell_for_each_column() {
        let rows = rows();
        let tsv = rows_to_tsv(&rows);
        assert_eq!(tsv.lines().count(), 1 + rows.len());
        assert!(tsv.lines().all(|line| line.split('\t').count() == COLUMNS.len()));
        let value = |name: &str, column: &str| {
            let line: Vec<&str> = tsv.lines().find(|line| line.starts_with(name)).unwrap().split('\t').collect();
            line[COLUMNS.iter().position(|known| *known == column).unwrap()].to_string()
        };
        assert_eq!(value("Q4_K_M", "decode_tokens_per_sec"), "60");
        assert_eq!(value("Q4_K_M", "mean_kld"), "0.25");
        assert_eq!(value("Q4_K_M", "mean_kld_low"), "0.125");
        assert_eq!(value("Q4_K_M", "n_tokens"), "512");
        assert_eq!(value("F16", "mean_kld"), "");
        assert_eq!(value("Q2_K", "speed_origin"), "measured on another machine (Apple M3, 16.0 GiB)");
        assert_eq!(value("F16", "speed_origin"), "", "measured here and now");
        assert_eq!(value("Q2_K", "failure"), "died, by \"signal 9\" and more");
    }

    #[test]
    fn commas_quotes_and_line_ends_stay_inside_their_cell() {
        let check = |cell: &str, expected: &str| assert_eq!(quoted(cell), expected);
        check("plain text", "plain text");
        check("a, b", "\"a, b\"");
        check("the \"best\"\n", "\"the \"\"best\"\"\n\"");
        let csv = rows_to_csv(&rows());
        assert!(csv.contains("\"died, by \"\"signal 9\"\"\nand more\""), "{csv}");
        assert!(csv.starts_with("name,size_bytes,") && csv.ends_with("\r\n"));
    }

    #[test]
    fn json_has_everything() {
        let json: serde_json::Value = serde_json::from_str(&rows_to_json(&rows())).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 3);
        assert_eq!(json[1]["quality"]["summary"]["mean_kld"]["value"], 0.25);
        assert_eq!(json[1]["run"]["decode_tokens_per_sec"]["values"][0], 60.0);
    }
}
