//! `planish report`, and the files that `compare` writes beside its text.

use std::path::{Path, PathBuf};

use super::limits::LimitArgs;
use super::output::print_text;
use super::progress;
use super::run::{folder_of, learned};
use crate::advise::{Goal, Limits};
use crate::bench::history::History;
use crate::bench::{ComparisonRow, model_sha256};
use crate::convert::{Overwrite, write_whole};
use crate::deploy::{ChartKind, Export, ExportInput, export_bytes, kept_rows, stored_comparison, stored_gates};
use crate::error::{Error, Result};
use crate::format;
use crate::hardware::{self, Machine};
use crate::model::Model;
use crate::path_text;

/// Writes what the history knows of a model and of the files made from it.
pub(super) fn report(path: &Path, out: &Path, overwrite: Overwrite, goal: &Goal, args: &LimitArgs) -> Result<()> {
    let model = format::inspect(path)?;
    args.gates.check(&model)?;
    check_target(out, overwrite, &model)?;
    let history = History::open_default()?;
    let monitor = progress::monitor();
    let sha256 = model_sha256(path, &monitor)?;
    let machine = hardware::survey(&folder_of(path), &monitor)?;
    let mut limits = args.to_limits();
    if !args.gates.is_given() {
        // A run has one verdict: that of the gates it was judged by.
        limits.gates = stored_gates(&history, &sha256)?.unwrap_or_default();
    }
    let stored = stored_comparison(&history, &model, &sha256, &machine, goal, &limits)?;
    let input = ExportInput {
        model: &model,
        machine: &machine,
        goal,
        limits: &limits,
        learned: &learned(&model, &machine),
        rows: &stored.rows,
        kept: &stored.kept,
        warnings: &stored.warnings,
    };
    write_whole(out, &export_bytes(Export::Report, &input)?, overwrite)?;
    let mut text = format!("report on {} written to {}", files_text(stored.rows.len()), path_text::shown(out));
    for warning in &stored.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    print_text(&text)
}

/// Refuses before any work what cannot be written, or would replace the model.
pub(super) fn check_target(out: &Path, overwrite: Overwrite, model: &Model) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if let Some(found) = real(out) {
        if model.files.iter().filter_map(|file| real(file)).any(|file| file == found) {
            return Err(Error::OutputIsSource { path: out.to_path_buf() });
        }
        if found.is_dir() {
            return Err(Error::NotAFile { kind: "a folder", path: out.to_path_buf() });
        }
        if overwrite == Overwrite::Never {
            return Err(Error::OutputExists { path: out.to_path_buf() });
        }
    }
    let folder = folder_of(out);
    std::fs::metadata(&folder).map(drop).map_err(Error::io("open", &folder))
}

/// The files that `compare` writes at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) report: Option<PathBuf>,
    pub(super) exports: Vec<PathBuf>,
    pub(super) plot: ChartKind,
}

impl Files {
    /// Each file with what it holds; `Error::BadRequest` for a name whose extension is unknown.
    fn wanted(&self) -> Result<Vec<(&Path, Export)>> {
        let report = self.report.iter().map(|path| Ok((path.as_path(), Export::Report)));
        let exports = self.exports.iter().map(|path| match Export::from_path(path, self.plot) {
            Some(what) => Ok((path.as_path(), what)),
            None => Err(Error::BadRequest {
                message: format!(
                    "the extension does not say what to write, known are html, svg, png, csv, tsv and json: {}",
                    path_text::shown(path)
                ),
            }),
        });
        report.chain(exports).collect()
    }

    /// Refuses before any work what cannot be written at the end.
    pub(super) fn check(&self, overwrite: Overwrite, model: &Model) -> Result<()> {
        self.wanted()?.into_iter().try_for_each(|(path, _)| check_target(path, overwrite, model))
    }

    /// Writes the files, and prints their paths to standard error: standard output is for the result.
    pub(super) fn write(
        &self,
        model: &Model,
        machine: &Machine,
        goal: &Goal,
        limits: &Limits,
        rows: &[ComparisonRow],
        overwrite: Overwrite,
    ) -> Result<()> {
        let wanted = self.wanted()?;
        if wanted.is_empty() {
            return Ok(());
        }
        // The report is as good without the run numbers; a history that cannot be used has been reported before.
        let kept = History::open_default().and_then(|history| kept_rows(&history, rows)).unwrap_or_default();
        let input =
            ExportInput { model, machine, goal, limits, learned: &learned(model, machine), rows, kept: &kept, warnings: &[] };
        for (path, what) in wanted {
            write_whole(path, &export_bytes(what, &input)?, overwrite)?;
            eprintln!("written: {}", path_text::shown(path));
        }
        Ok(())
    }
}

fn files_text(n_files: usize) -> String {
    if n_files == 1 { "1 file".into() } else { format!("{n_files} files") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    #[test]
    fn a_target_that_cannot_be_written_is_refused_before_any_work() {
        let dir = tempfile::tempdir().unwrap();
        let mut model = sample_model();
        let at = |name: &str| dir.path().join(name);
        model.files = vec![at("m.gguf")];
        for name in ["m.gguf", "there.html"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let check = |name: &str, overwrite| check_target(&at(name), overwrite, &model);
        assert_eq!(check("new.html", Overwrite::Never), Ok(()));
        assert_eq!(check("there.html", Overwrite::Allowed), Ok(()));
        assert_eq!(check("there.html", Overwrite::Never), Err(Error::OutputExists { path: at("there.html") }));
        assert_eq!(check("m.gguf", Overwrite::Allowed), Err(Error::OutputIsSource { path: at("m.gguf") }));
        assert!(matches!(check("no/new.html", Overwrite::Never), Err(Error::Io { .. })));
        assert!(matches!(check_target(dir.path(), Overwrite::Allowed, &model), Err(Error::NotAFile { .. })));
    }

    #[test]
    fn the_end_of_a_name_must_say_what_to_write() {
        let files = |name: &str| Files { exports: vec![name.into()], ..Files::default() };
        assert_eq!(files("a.csv").wanted().unwrap()[0].1, Export::TableCsv);
        assert!(matches!(files("a.pdf").wanted(), Err(Error::BadRequest { .. })));
        assert_eq!(Files::default().wanted(), Ok(Vec::new()));
    }
}
