//! The text form of a comparison: prediction and measurement side by side.

use super::extras::{ExtraColumns, energy_note, stat_text};
use super::output::columns_text;
use super::plan_table::{band_text, basis_mark};
use super::tables::{provenances_text, with_warnings};
use crate::advise::{Band, Basis};
use crate::bench::{ComparisonRow, merged_warnings};
use crate::units;

/// What stands in a cell without a value.
const NOTHING: &str = "–";

pub(super) fn comparison_text(rows: &[ComparisonRow]) -> String {
    let measured = || rows.iter().filter_map(ComparisonRow::telling_run);
    let extras = ExtraColumns::of(measured());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let bits = row.bits_text().unwrap_or_else(|| NOTHING.into());
            let mut cells = vec![row.name.clone(), units::exact_bytes_text(row.size_bytes), bits];
            let band = |band: Option<Band>, basis| {
                band.map_or_else(|| NOTHING.to_string(), |band| format!("{}{}", band_text(band), basis_mark(basis)))
            };
            let memory = |size_bytes| format!("{}{}", units::bytes_text(size_bytes), basis_mark(row.memory_basis));
            match (&row.run, &row.failure) {
                _ if row.stand_in().is_some() => cells.extend(vec![NOTHING.to_string(); 6]),
                (Some(run), _) => {
                    cells.extend([
                        stat_text(&run.prefill_tokens_per_sec),
                        band(row.predicted_prefill_tokens_per_sec, row.prefill_basis),
                        stat_text(&run.decode_tokens_per_sec),
                        band(row.predicted_decode_tokens_per_sec, row.decode_basis),
                        units::bytes_text(run.peak_memory_bytes),
                        row.predicted_memory_bytes.map_or_else(|| NOTHING.into(), memory),
                    ]);
                    cells.extend(extras.cells(run));
                }
                (None, Some(failure)) => cells.push(format!("failed: {failure}")),
                (None, None) => {
                    cells.push(row.not_run.as_ref().map_or_else(|| "not measured".into(), |why| format!("not measured: {why}")));
                }
            }
            cells
        })
        .collect();
    let header = extras.header(&[
        "level",
        "size",
        "bits/weight",
        "prefill tok/s",
        "predicted",
        "decode tok/s",
        "predicted",
        "peak memory",
        "predicted",
    ]);
    let mut text = columns_text(&header, &cells, &(1..header.len()).collect::<Vec<_>>());
    for row in rows {
        text.extend(row.stand_in().map(|why| format!("\n{}: no speed and memory, because {why}", row.name)));
    }
    if rows.iter().any(is_adjusted) {
        text.push_str("\na: adjusted by runs of other files on this machine");
    }
    text.push_str(&provenances_text(measured()));
    text.push_str(&energy_note(measured()));
    let runs: Vec<(&str, &[String])> =
        rows.iter().filter_map(|row| Some((row.name.as_str(), row.run.as_ref()?.provenance.warnings.as_slice()))).collect();
    with_warnings(text, &merged_warnings(&runs))
}

fn is_adjusted(row: &ComparisonRow) -> bool {
    row.run.is_some() && [row.decode_basis, row.prefill_basis, row.memory_basis].iter().any(|basis| *basis != Basis::Predicted)
}
