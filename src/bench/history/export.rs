//! The history as files for other programs.

use std::path::{Path, PathBuf};

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::row::COLUMNS;
use super::{History, Row};
use crate::convert::write_new;
use crate::error::{Error, Result};
use crate::units::utc_time_text;

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// One line per run, for spreadsheets: comma-separated, quoted as in RFC 4180.
    Csv,
    /// Everything.
    Json,
}

impl ExportFormat {
    /// The extension of the file's name, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

impl History {
    /// These runs as text, in the order of `ids`.
    ///
    /// CSV has the columns of [`Row`], numbers in basic units, empty cells for what is unknown. JSON has everything that was measured as
    /// well; numbers that are not finite are null.
    ///
    /// # Errors
    /// `Error::UnknownRun`; `Error::History`.
    pub fn export(&self, ids: &[i64], format: ExportFormat) -> Result<String> {
        let runs = self.raw(ids)?;
        match format {
            ExportFormat::Csv => runs.iter().try_fold(csv_header(), |text, (row, _)| Ok(text + &csv_line(row)?)),
            ExportFormat::Json => {
                // The text of the details goes through as it is, so that those of another version are exported too.
                let run = |(row, text): &(Row, String)| -> serde_json::Result<Json> {
                    let mut run = serde_json::to_value(row)?;
                    run["recorded_utc"] = utc_time_text(row.recorded_unix_secs).into();
                    run["run"] = serde_json::from_str(text)?;
                    Ok(run)
                };
                let runs = runs.iter().map(run).collect::<serde_json::Result<Vec<Json>>>();
                let text = runs.and_then(|runs| {
                    serde_json::to_string_pretty(&json!({ "planish": env!("CARGO_PKG_VERSION"), "runs": runs }))
                });
                text.map_err(|error| Error::Internal { message: format!("history as JSON: {error}") })
            }
        }
    }
}

/// Writes an export into `dir`, which is made if need be, as `planish-history.csv`, or as `planish-history-2.csv` and so on;
/// returns the file's path.
///
/// # Errors
/// `Error::Io`.
pub fn save_new(dir: &Path, text: &str, format: ExportFormat) -> Result<PathBuf> {
    write_new(dir, "planish-history", format.extension(), text.as_bytes())
}

fn csv_header() -> String {
    format!("id,recorded_utc,{}\r\n", COLUMNS.join(","))
}

fn csv_line(row: &Row) -> Result<String> {
    let mut cells = vec![row.id.to_string(), utc_time_text(row.recorded_unix_secs)];
    for value in row.values() {
        cells.push(cell_text(value.as_ref())?);
    }
    Ok(cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\r\n")
}

/// A value of the database as plain text.
fn cell_text(value: &dyn ToSql) -> Result<String> {
    let failed = |error: rusqlite::Error| Error::Internal { message: format!("history as CSV: {error}") };
    let value = match value.to_sql().map_err(failed)? {
        ToSqlOutput::Borrowed(ValueRef::Text(text)) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ToSqlOutput::Borrowed(ValueRef::Integer(number)) => Value::Integer(number),
        ToSqlOutput::Borrowed(ValueRef::Real(number)) => Value::Real(number),
        ToSqlOutput::Owned(value) => value,
        _ => Value::Null,
    };
    Ok(match value {
        Value::Text(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Real(number) if number.is_finite() => number.to_string(),
        _ => String::new(),
    })
}

/// A cell, in quotes where it needs them. Source: RFC 4180, section 2.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_and_quotes_are_quoted() {
        let check = |cell: &str, expected: &str| assert_eq!(quoted(cell), expected);
        check("plain text", "plain text");
        check("a, b", "\"a, b\"");
        check("the \"best\"", "\"the \"\"best\"\"\"");
    }

    #[test]
    fn an_export_takes_the_next_free_name() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..3)
            .map(|_| save_new(&dir.path().join("new"), "x", ExportFormat::Csv).unwrap())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["planish-history.csv", "planish-history-2.csv", "planish-history-3.csv"]);
    }
}
