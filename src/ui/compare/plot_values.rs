//! All that is known of a point of a plot, in words.

use crate::bench::ComparisonRow;
use crate::bench::rows::pair::{Pair, decode_pair, measured, memory_pair, pair_text, prefill_pair};
use crate::units::{bytes_text, count_of, count_text, duration_text, nats_text, percent_text, ratio_text};

/// Every measured and predicted value of a row, one line each.
pub fn values_text(row: &ComparisonRow) -> String {
    let mut lines = vec![row.name.clone()];
    let bits = row.bits_text().map(|bits| format!(", {bits} bits per weight")).unwrap_or_default();
    lines.push(format!("{}{bits}", bytes_text(row.size_bytes)));
    let speed = |name: &str, pair: Pair| {
        let text = pair_text(pair, "tok/s").replace('\n', ", ");
        (!text.is_empty()).then(|| format!("{name} {text}"))
    };
    lines.extend(speed("decode", decode_pair(row)));
    lines.extend(speed("prefill", prefill_pair(row)));
    lines.extend(
        row.run.as_ref().and_then(|run| measured(&run.load_secs)).map(|(secs, _)| format!("load {}", duration_text(secs))),
    );
    lines.extend(memory_text(memory_pair(row)));
    if let Some(run) = &row.quality {
        let summary = &run.summary;
        lines.push(format!("mean KLD {} nats", summary.mean_kld.text(nats_text)));
        lines.push(format!("same top token {}", summary.same_top.text(percent_text)));
        lines.push(format!("next-token accuracy {} of the source's", summary.accuracy_ratio.text(percent_text)));
        lines.push(format!("perplexity × {}", summary.ppl_ratio.text(ratio_text)));
        lines.push(format!("{} tokens of {}", count_text(summary.n_tokens), run.provenance.text_name));
    }
    lines.extend(row.run.as_ref().map(|run| {
        let used = &run.provenance;
        let threads = count_of(used.n_threads, "thread");
        format!("{}, {threads}, {}", used.runtime, count_of(run.decode_tokens_per_sec.values.len(), "round"))
    }));
    lines.extend(row.failure.iter().map(|reason| format!("speed failed: {reason}")));
    lines.extend(row.not_run.iter().map(|reason| format!("speed not measured: {reason}")));
    lines.extend(row.quality_failure.iter().map(|reason| format!("loss failed: {reason}")));
    lines.join("\n")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes in bytes")]
fn memory_text(pair: Pair) -> Option<String> {
    let text = |size_bytes: f64| bytes_text(size_bytes as u64);
    let measured = pair.measured.map(|(mid, _)| format!("measured {}", text(mid)));
    let predicted = pair.predicted.map(|band| format!("predicted {}", text(band.mid)));
    let parts: Vec<String> = measured.into_iter().chain(predicted).collect();
    (!parts.is_empty()).then(|| format!("memory {}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::test_rows;

    #[test]
    fn every_measured_value_is_told() {
        let rows = test_rows::rows();
        let row = rows.iter().find(|row| row.run.is_some() && row.quality.is_some()).unwrap();
        let text = values_text(row);
        for part in [
            "bits per weight",
            "decode measured",
            "prefill measured",
            "load",
            "memory measured",
            "mean KLD",
            "same top",
            "perplexity ×",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.starts_with(&row.name));
    }
}
