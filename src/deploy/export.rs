//! Writes what is shown to a file.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::chart::{ChartKind, chart};
use super::png::png_from_svg;
use super::report::{ReportInput, report_html};
use super::stored::{kept_rows, mixed_warnings};
use super::svg::{SvgStyle, chart_svg};
use super::table::{rows_to_csv, rows_to_json, rows_to_tsv};
use crate::advise::{Goal, Learned, Limits, advise_with};
use crate::bench::ComparisonRow;
use crate::bench::history::{History, Row};
use crate::convert::write_new;
use crate::error::Result;
use crate::hardware::Machine;
use crate::model::Model;
use crate::path_text;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// Everything, as HTML.
    Report,
    /// A plot in pixels.
    PlotPng(ChartKind),
    /// A plot as SVG.
    PlotSvg(ChartKind),
    /// The rows, with commas.
    TableCsv,
    /// The rows, with tabs.
    TableTsv,
    /// The rows with everything that was measured.
    TableJson,
}

impl Export {
    /// The extension of the file.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Report => "html",
            Self::PlotPng(_) => "png",
            Self::PlotSvg(_) => "svg",
            Self::TableCsv => "csv",
            Self::TableTsv => "tsv",
            Self::TableJson => "json",
        }
    }

    /// The part of the file's name after the model's name: `report`, `size-loss`, `table`.
    #[must_use]
    pub fn file_stem(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::PlotPng(kind) | Self::PlotSvg(kind) => kind.file_stem(),
            Self::TableCsv | Self::TableTsv | Self::TableJson => "table",
        }
    }

    /// What a file of this name holds, by its extension in upper or lower case; a picture shows the plot `kind`. `None` for an
    /// unknown extension.
    #[must_use]
    pub fn from_path(path: &Path, kind: ChartKind) -> Option<Self> {
        let extension = path_text::searchable(path.extension()?).to_lowercase();
        match extension.as_str() {
            "html" | "htm" => Some(Self::Report),
            "png" => Some(Self::PlotPng(kind)),
            "svg" => Some(Self::PlotSvg(kind)),
            "csv" => Some(Self::TableCsv),
            "tsv" => Some(Self::TableTsv),
            "json" => Some(Self::TableJson),
            _ => None,
        }
    }
}

/// What a file is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportInput<'a> {
    /// The source.
    pub model: &'a Model,
    /// This machine.
    pub machine: &'a Machine,
    /// What is wanted.
    pub goal: &'a Goal,
    /// The limits.
    pub limits: &'a Limits,
    /// What measurements have taught the advice.
    pub learned: &'a Learned,
    /// What was predicted and measured.
    pub rows: &'a [ComparisonRow],
    /// The history's runs that the rows come from.
    pub kept: &'a [Row],
    /// What makes the comparison doubtful, in sentences.
    pub warnings: &'a [String],
}

/// The whole contents of the file.
///
/// # Errors
/// `Error::Internal` when a picture cannot be drawn.
pub fn export_bytes(what: Export, input: &ExportInput) -> Result<Vec<u8>> {
    let svg = |kind| chart_svg(&chart(kind, input.rows), &SvgStyle::LIGHT);
    Ok(match what {
        Export::Report => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            report_html(&ReportInput {
                model: input.model,
                machine: input.machine,
                goal: input.goal,
                plan: &advise_with(input.model, input.machine, input.goal, input.learned),
                rows: input.rows,
                limits: input.limits,
                kept: input.kept,
                warnings: input.warnings,
                made_at_unix_secs: i64::try_from(now).unwrap_or(i64::MAX),
            })
            .into_bytes()
        }
        Export::PlotPng(kind) => png_from_svg(&svg(kind))?,
        Export::PlotSvg(kind) => svg(kind).into_bytes(),
        Export::TableCsv => rows_to_csv(input.rows).into_bytes(),
        Export::TableTsv => rows_to_tsv(input.rows).into_bytes(),
        Export::TableJson => rows_to_json(input.rows).into_bytes(),
    })
}

/// A request for a file, with everything that it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRequest {
    /// What to write.
    pub what: Export,
    /// Folder of the file; created if missing.
    pub dir: PathBuf,
    /// The source.
    pub model: std::sync::Arc<Model>,
    /// This machine.
    pub machine: Box<Machine>,
    /// What is wanted.
    pub goal: Goal,
    /// The limits.
    pub limits: Limits,
    /// What measurements have taught the advice.
    pub learned: Learned,
    /// What was predicted and measured.
    pub rows: Vec<ComparisonRow>,
}

/// Writes the file under a name that is free, `MODEL-report.html` or `MODEL-report-2.html`, and returns it.
///
/// # Errors
/// `Error::Io`; `Error::Internal`.
pub fn export(request: &ExportRequest) -> Result<PathBuf> {
    let kept = match History::open_default().and_then(|history| kept_rows(&history, &request.rows)) {
        Ok(kept) => kept,
        // The report is as good without the run numbers.
        Err(error) => {
            tracing::warn!("the history is not used for the export: {error}");
            Vec::new()
        }
    };
    let warnings = mixed_warnings(&kept);
    let input = ExportInput {
        model: &request.model,
        machine: &request.machine,
        goal: &request.goal,
        limits: &request.limits,
        learned: &request.learned,
        rows: &request.rows,
        kept: &kept,
        warnings: &warnings,
    };
    let mut stem = request.model.file_stem_os();
    stem.push(format!("-{}", request.what.file_stem()));
    write_new(&request.dir, &stem, request.what.extension(), &export_bytes(request.what, &input)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::test_rows::{model, rows};

    #[test]
    fn the_end_of_the_name_says_what_is_written() {
        let check = |path: &str, expected| assert_eq!(Export::from_path(Path::new(path), ChartKind::Decode), expected);
        check("a/report.HTML", Some(Export::Report));
        check("a.png", Some(Export::PlotPng(ChartKind::Decode)));
        check("a.svg", Some(Export::PlotSvg(ChartKind::Decode)));
        check("a.csv", Some(Export::TableCsv));
        check("a.tsv", Some(Export::TableTsv));
        check("a.json", Some(Export::TableJson));
        check("a.pdf", None);
        check("png", None);
    }

    #[test]
    fn every_kind_is_written_under_a_free_name() {
        let dir = tempfile::tempdir().unwrap();
        let write = |what| {
            let request = ExportRequest {
                what,
                dir: dir.path().join("new"),
                model: std::sync::Arc::new(model()),
                machine: Box::default(),
                goal: Goal::default(),
                limits: Limits::default(),
                learned: Learned::default(),
                rows: rows(),
            };
            let path = export(&request).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        };
        let check = |what, name: &str, start: &[u8]| {
            let (found, bytes) = write(what);
            assert_eq!(found, name);
            assert!(bytes.starts_with(start), "{what:?}");
        };
        check(Export::Report, "m-F16-report.html", b"<!DOCTYPE html>");
        check(Export::Report, "m-F16-report-2.html", b"<!DOCTYPE html>");
        check(Export::PlotPng(ChartKind::SizeLoss), "m-F16-size-loss.png", b"\x89PNG");
        check(Export::PlotSvg(ChartKind::Memory), "m-F16-memory.svg", b"<svg ");
        check(Export::TableCsv, "m-F16-table.csv", b"name,");
        check(Export::TableTsv, "m-F16-table.tsv", b"name\t");
        check(Export::TableJson, "m-F16-table.json", b"[");
    }
}
